//! From a rung of the policy and the configuration as read to the steps of a cure. No IO.

use std::collections::{BTreeMap, BTreeSet};

use super::cure::{Floor, Step, Until, called};
use super::{Action, Call, Group, Holder, Snapshot, Target, Tree, Weighted, restore, swap};
use crate::domain::Ratio;
use crate::policy::{BalancerCare, Declared, Owned, Reassert, RollTargets, Rung};
use crate::ports::TargetState;

/// The settings of a health check that `ModifyTargetGroup` takes back as they were told.
pub(super) const HEALTH_CHECK: [&str; 9] = [
    "HealthCheckProtocol",
    "HealthCheckPort",
    "HealthCheckPath",
    "HealthCheckEnabled",
    "HealthCheckIntervalSeconds",
    "HealthCheckTimeoutSeconds",
    "HealthyThresholdCount",
    "UnhealthyThresholdCount",
    "Matcher",
];

/// Steps that were worked out, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    pub steps: Vec<Step>,
    pub floor: Floor,
    /// Healthy targets of each group that the other zones have while one is out of the balancer.
    pub rest: BTreeMap<String, usize>,
    /// What is left as it is, and why.
    pub left: Vec<String>,
}

impl Draft {
    /// The target groups that it makes.
    pub fn made(&self) -> BTreeSet<String> {
        let made = |step: &Step| match &step.call {
            Some(Call::CreateGroup { group, .. }) => Some(group.clone()),
            _ => None,
        };
        self.steps.iter().filter_map(made).collect()
    }

    pub(super) fn call(&mut self, call: Call) {
        self.steps.push(Step { call: Some(call), until: Until::Told });
    }
}

/// Why a rung cannot be taken on a balancer as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{place} holds {what}, which cannot be written back: the list is left alone")]
    NotUnderstood { place: String, what: String },
    #[error("target group `{group}` is not declared as owned: it carries no tag {proof}")]
    NotOwned { group: String, proof: String },
    #[error(
        "`{group}` has {healthy} healthy targets in {zone} and {least} must stay: none can be taken out"
    )]
    FloorTooHigh { group: String, zone: String, healthy: usize, least: usize },
    #[error("`{group}` has targets and none is healthy: what is taken out of it is missed")]
    NothingHealthy { group: String },
    #[error("only an Application Load Balancer can be refreshed like this")]
    NotApplication,
    #[error("it has {zones} zones; one can only be taken out of three or more")]
    TooFewZones { zones: usize },
    #[error(
        "without {zone}, {left} of {all} healthy targets of `{group}` remain, {least} are needed"
    )]
    RestTooSmall { group: String, zone: String, left: usize, all: usize, least: usize },
    #[error("{zone} is shifted away from it already: no second zone is taken out")]
    ZoneAway { zone: String },
    #[error("it is not told in which zones the targets of `{group}` are")]
    ZoneUnknown { group: String },
    #[error("{place} forwards to as many target groups as it can: there is no room for a twin")]
    NoRoom { place: String },
    #[error("there is nothing to do")]
    NothingToDo,
    #[error("it is already as declared")]
    AsDeclared,
    #[error("{what} is declared and not there")]
    NotThere { what: String },
    #[error("the plan does not hold together: {why}")]
    Broken { why: String },
}

/// The steps of one rung.
///
/// # Errors
///
/// Why this rung cannot be taken on this balancer as it is now. Nothing is half planned.
pub fn draft(before: &Snapshot, rung: &Rung, care: &BalancerCare) -> Result<Draft, Refusal> {
    match rung {
        Rung::Reassert(Reassert::AsRead) => reassert(before, care),
        Rung::Reassert(Reassert::Declared) => declared(before, care),
        Rung::Targets(rules) => targets(before, rules, care),
        Rung::Swap(rules) => swap::swap(before, rules, care),
        Rung::Zones(rules) => swap::zones(before, rules),
    }
}

/// Whether the policy proves that a group is ours to touch.
///
/// The twin of a listed group is ours as well: it was made by a swap, after the list was written.
pub(super) fn is_owned(name: &str, all: &Snapshot, care: &BalancerCare) -> Result<(), Refusal> {
    let group = |name: &str| all.groups.get(name);
    let (owned, proof) = match &care.owned {
        Owned::Tag { key, value } => (
            group(name).is_some_and(|group| group.tags.get(key) == Some(value)),
            format!("{key}={value}"),
        ),
        Owned::Listed(arns) => {
            let listed = |group: &Group| group.arn.as_ref().is_some_and(|arn| arns.contains(arn));
            let twin_of = |group: &Group| group.tags.get(swap::TWIN_OF).cloned();
            // A twin may have been twinned again.
            let first = Some(name.to_owned());
            let next = |name: &String| group(name).and_then(twin_of);
            let mut line = std::iter::successors(first, next).take(all.groups.len());
            (line.any(|name| group(&name).is_some_and(listed)), "and is not listed".to_owned())
        }
    };
    if owned { Ok(()) } else { Err(Refusal::NotOwned { group: name.to_owned(), proof }) }
}

/// Registrations are only written where everything about them is understood.
pub(super) fn is_understood(name: &str, group: &Group) -> Result<(), Refusal> {
    match group.foreign.first() {
        None => Ok(()),
        Some(what) => Err(Refusal::NotUnderstood {
            place: format!("a target of `{name}`"),
            what: format!("`{what}`"),
        }),
    }
}

/// The first action of a list that cannot be written back.
pub(super) fn unwritable(holder: &Holder<'_>, actions: &[Action]) -> Option<Refusal> {
    let what = actions.iter().find_map(Action::unwritable)?;
    Some(Refusal::NotUnderstood { place: holder.to_string(), what })
}

/// Writes back what was read, in the order of the least harm should a write go wrong.
fn reassert(before: &Snapshot, care: &BalancerCare) -> Result<Draft, Refusal> {
    let mut draft = Draft::default();
    let set = |attributes: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        // An attribute without a value is not set; whether it can be written so is not documented, and
        // one that cannot be applied fails the whole call.
        let set = attributes.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let attributes = set(&before.attributes);
    if !attributes.is_empty() {
        draft.call(Call::BalancerAttributes { attributes });
    }
    for (name, group) in &before.groups {
        if let Err(why) = is_owned(name, before, care) {
            draft.left.push(why.to_string());
            continue;
        }
        let attributes = set(&group.attributes);
        if !attributes.is_empty() {
            draft.call(Call::GroupAttributes { group: name.clone(), attributes });
        }
        let settings = health_check(group);
        if !settings.is_empty() {
            draft.call(Call::GroupSettings { group: name.clone(), settings });
        }
    }
    for (holder, actions) in before.action_lists() {
        match unwritable(&holder, actions) {
            Some(why) => draft.left.push(why.to_string()),
            None => draft.call(holder.write(actions.to_vec())),
        }
    }
    if draft.steps.is_empty() { Err(Refusal::NothingToDo) } else { Ok(draft) }
}

pub(super) fn health_check(group: &Group) -> BTreeMap<String, Tree> {
    let known = |name: &str| HEALTH_CHECK.contains(&name);
    let settings = group.settings.iter().filter(|(name, _)| known(name));
    settings.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Steps from what is to what the policy declares.
fn declared(before: &Snapshot, care: &BalancerCare) -> Result<Draft, Refusal> {
    let wanted = as_declared(before, &care.declared)?;
    if before.differences(&wanted).is_empty() {
        return Err(Refusal::AsDeclared);
    }
    for (name, group) in &before.groups {
        if wanted.groups.get(name).is_some_and(|wanted| wanted.targets != group.targets) {
            is_owned(name, before, care)?;
        }
    }
    let way = restore::way(before, &wanted, care.healthy_within);
    let floor = floor_of(before, &way.draft.steps, Some(care));
    for (name, zones) in &floor {
        let (Some(group), Some(to)) = (before.groups.get(name), wanted.groups.get(name)) else {
            continue;
        };
        // Where new ones are nobody knows before they are registered: then it is seen before the call.
        if to.targets.difference(&group.targets).next().is_some() {
            continue;
        }
        let stay = Group { targets: to.targets.clone(), ..group.clone() }.healthy();
        for (zone, least) in zones {
            if stay.get(zone).copied().unwrap_or(0) < *least {
                return Err(Refusal::FloorTooHigh {
                    group: name.clone(),
                    zone: called(zone).to_owned(),
                    healthy: group.healthy().get(zone).copied().unwrap_or(0),
                    least: *least,
                });
            }
        }
    }
    match way.cannot.first() {
        None => Ok(Draft { floor, ..way.draft }),
        Some(what) => {
            Err(Refusal::NotUnderstood { place: "the way there".to_owned(), what: what.clone() })
        }
    }
}

/// The healthy targets that stay in every group that loses some: as many as the rung `targets` says, or half of
/// them where the policy has no such rung.
pub fn floor_of(before: &Snapshot, steps: &[Step], care: Option<&BalancerCare>) -> Floor {
    let said = care.into_iter().flat_map(|care| &care.rungs).find_map(|rung| match rung {
        Rung::Targets(rules) => Some(rules.floor),
        Rung::Reassert(_) | Rung::Swap(_) | Rung::Zones(_) => None,
    });
    let floor = said.unwrap_or(Ratio::new(0.5));
    let losing = steps.iter().filter_map(|step| step.call.as_ref()?.removes());
    losing
        .filter_map(|(name, _)| Some((name.to_owned(), least(before.groups.get(name)?, floor))))
        .collect()
}

/// Of a group with targets of which none is healthy all are asked ("fail-open", User Guide, "Target group health
/// checks"), so none of them can be spared.
pub(super) fn is_alive(name: &str, group: &Group) -> Result<(), Refusal> {
    if group.targets.is_empty() || !group.healthy().is_empty() {
        Ok(())
    } else {
        Err(Refusal::NothingHealthy { group: name.to_owned() })
    }
}

/// The configuration as it would be if everything declared were so.
///
/// # Errors
///
/// Something is declared that is not there.
pub fn as_declared(live: &Snapshot, declared: &Declared) -> Result<Snapshot, Refusal> {
    let mut wanted = live.clone();
    wanted.attributes.extend(declared.attributes.clone());
    for forward in &declared.forwards {
        let place = match &forward.rule {
            Some(rule) => format!("rule {rule} of listener {}", forward.listener),
            None => format!("listener {}", forward.listener),
        };
        let missing = || Refusal::NotThere { what: place.clone() };
        let listener =
            wanted.listeners.values_mut().find(|listener| listener.port == forward.listener);
        let listener = listener.ok_or_else(missing)?;
        let actions = match &forward.rule {
            None => &mut listener.actions,
            Some(priority) => {
                let rule = listener.rules.values_mut().find(|rule| &rule.priority == priority);
                &mut rule.ok_or_else(missing)?.actions
            }
        };
        let found = actions.iter_mut().find_map(|action| match action {
            Action::Forward(forward) => Some(forward),
            Action::Other { .. } => None,
        });
        let found =
            found.ok_or_else(|| Refusal::NotThere { what: format!("a forward of {place}") })?;
        let as_is = |(group, weight): (&String, &u32)| {
            found.groups.iter().any(|w| &w.group == group && w.weight == *weight)
        };
        if found.groups.len() == forward.weights.len() && forward.weights.iter().all(as_is) {
            continue;
        }
        let weighted =
            |(group, weight): (&String, &u32)| Weighted { group: group.clone(), weight: *weight };
        found.groups = forward.weights.iter().map(weighted).collect();
        found.form = super::Form::Weighted;
        if let Some((group, _)) =
            forward.weights.iter().find(|(group, _)| !live.groups.contains_key(*group))
        {
            return Err(Refusal::NotThere { what: format!("target group `{group}`") });
        }
    }
    for (name, targets) in &declared.targets {
        let group = wanted
            .groups
            .get_mut(name)
            .ok_or_else(|| Refusal::NotThere { what: format!("target group `{name}`") })?;
        let declared = targets.iter().map(|(id, port)| {
            let new = Target { id: id.clone(), port: Some(*port), zone: None };
            group.targets.iter().find(|known| known.is(&new)).cloned().unwrap_or(new)
        });
        group.targets = declared.collect();
    }
    Ok(wanted)
}

/// Healthy targets that must stay, by zone: the floor's part of those that are healthy now, at least one
/// where there is one.
pub(super) fn least(group: &Group, floor: Ratio) -> BTreeMap<String, usize> {
    group.healthy().into_iter().map(|(zone, healthy)| (zone, part_of(healthy, floor))).collect()
}

/// The part of a number, rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most thousands of targets, and a part of them"
)]
pub(super) fn part_of(all: usize, part: Ratio) -> usize {
    // A millionth below, so that 60% of 5 is 3 whatever the binary fraction of 0.6.
    ((all as f64 * part.get() - 1e-6).ceil().max(0.0) as usize).max(usize::from(all > 0)).min(all)
}

/// Takes targets out and registers them again, batch by batch. What the policy declares in addition is
/// registered first and what it does not declare any more is taken out last.
fn targets(before: &Snapshot, rules: &RollTargets, care: &BalancerCare) -> Result<Draft, Refusal> {
    let wanted = as_declared(before, &care.declared)?;
    let zones = before.subnets.len().max(1);
    let mut draft = Draft::default();
    for (name, group) in before.groups.iter().filter(|(name, _)| before.is_used(name)) {
        is_owned(name, before, care)?;
        is_understood(name, group)?;
        is_alive(name, group)?;
        let to = wanted.groups.get(name).map_or(&group.targets, |wanted| &wanted.targets);
        let new: BTreeSet<Target> = to.difference(&group.targets).cloned().collect();
        let gone: BTreeSet<Target> = group.targets.difference(to).cloned().collect();
        let stay: Vec<Target> = group.targets.intersection(to).cloned().collect();
        draft.floor.insert(name.clone(), least(group, rules.floor));
        if !new.is_empty() {
            draft.steps.push(register(name, &new, group, rules));
        }
        for batch in batches(name, group, &stay, rules, zones)? {
            draft.steps.push(deregister(name, &batch, rules));
            draft.steps.push(register(name, &batch, group, rules));
        }
        let gone: Vec<Target> = gone.into_iter().collect();
        for batch in batches(name, group, &gone, rules, zones)? {
            draft.steps.push(deregister(name, &batch, rules));
        }
    }
    if draft.steps.is_empty() { Err(Refusal::NothingToDo) } else { Ok(draft) }
}

/// Only what was healthy is waited for: a target that was ill stays ill, and must not hold up the rest.
fn register(name: &str, batch: &BTreeSet<Target>, group: &Group, rules: &RollTargets) -> Step {
    let was_ill = |target: &&Target| group.targets.contains(*target) && !group.is_healthy(target);
    Step {
        call: Some(Call::Register { group: name.to_owned(), targets: batch.clone() }),
        until: Until::Healthy {
            group: name.to_owned(),
            targets: batch.iter().filter(|target| !was_ill(target)).cloned().collect(),
            within: rules.healthy_within,
        },
    }
}

fn deregister(name: &str, batch: &BTreeSet<Target>, rules: &RollTargets) -> Step {
    Step {
        call: Some(Call::Deregister { group: name.to_owned(), targets: batch.clone() }),
        until: Until::Drained {
            group: name.to_owned(),
            targets: batch.clone(),
            within: rules.drained_within,
        },
    }
}

/// Batches that leave the floor of each zone standing, spread over the zones. Of targets that tell no zone
/// (instances) a batch may be all of one: it is as small as if each of the balancer's `zones` had its part of them.
fn batches(
    name: &str,
    group: &Group,
    targets: &[Target],
    rules: &RollTargets,
    zones: usize,
) -> Result<Vec<BTreeSet<Target>>, Refusal> {
    let healthy = group.healthy();
    let least = least(group, rules.floor);
    let room = |zone: &str| {
        let (has, stay) = (healthy.get(zone).copied(), least.get(zone).copied());
        let spare = has.unwrap_or(0).saturating_sub(stay.unwrap_or(0));
        if zone.is_empty() { (spare / zones).max(spare.min(1)) } else { spare }
    };
    let mut waiting: Vec<&Target> = targets.iter().collect();
    let mut batches = Vec::new();
    while !waiting.is_empty() {
        let mut batch = BTreeSet::new();
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        waiting.retain(|target| {
            let of_zone = taken.entry(target.zone()).or_default();
            // One that is known to be ill carries nothing: taking it out lowers no floor. Of the others
            // nobody knows.
            let ill = matches!(
                group.state(target),
                Some(TargetState::Unhealthy | TargetState::UnhealthyDraining)
            );
            let costs = usize::from(!ill);
            if batch.len() >= rules.batch || *of_zone + costs > room(target.zone()) {
                return true;
            }
            *of_zone += costs;
            batch.insert((*target).clone());
            false
        });
        if batch.is_empty() {
            let zone = waiting.first().map_or("", |target| target.zone());
            return Err(Refusal::FloorTooHigh {
                group: name.to_owned(),
                zone: called(zone).to_owned(),
                healthy: healthy.get(zone).copied().unwrap_or(0),
                least: least.get(zone).copied().unwrap_or(0),
            });
        }
        batches.push(batch);
    }
    Ok(batches)
}
