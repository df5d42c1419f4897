//! The two strongest rungs: a twin of each target group, and one zone out and in after the other. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::cure::{Step, Until};
use super::rungs::{
    Draft, HEALTH_CHECK, Refusal, health_check, is_alive, is_owned, is_understood, part_of,
    unwritable,
};
use super::{
    Action, Call, Form, Forward, GROUPS_MAX, Group, Holder, Snapshot, Target, WEIGHT_MAX, Weighted,
};
use crate::domain::Ratio;
use crate::policy::{BalancerCare, SwapGroups, ZoneByZone};

/// The tag by which a twin is known as ours, with the name of the group that it was made from.
pub const TWIN_OF: &str = "leeward:twin-of";
/// A name has at most so many characters (API reference, "`CreateTargetGroup`").
const NAME_MAX: usize = 32;
/// A single group gets this weight in place of AWS's 1, so that it can be divided.
const SCALE: u32 = 100;

/// A group that gave its requests to a twin and is not registered in as the twin is any more: whoever registers
/// targets (an autoscaling group, a service) knows nothing of the twin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    pub group: String,
    pub twin: String,
    /// In the group only: they get no requests.
    pub unserved: BTreeSet<Target>,
    /// In the twin only.
    pub gone: BTreeSet<Target>,
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, twin, unserved, gone } = self;
        let joined = |targets: &BTreeSet<Target>| {
            targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        write!(f, "`{twin}` gets the requests of `{group}`")?;
        if !unserved.is_empty() {
            write!(f, "; registered in `{group}` only, without requests: {}", joined(unserved))?;
        }
        if !gone.is_empty() {
            write!(f, "; registered in `{twin}` only: {}", joined(gone))?;
        }
        Ok(())
    }
}

/// Groups that gave all their requests to a twin, each with it.
pub fn twins(live: &Snapshot) -> impl Iterator<Item = (&String, &String)> {
    live.groups.iter().filter_map(|(twin, group)| {
        let (old, _) = live.groups.get_key_value(group.tags.get(TWIN_OF)?)?;
        (live.is_used(twin) && !live.is_used(old)).then_some((old, twin))
    })
}

/// Those of them that are not registered in alike.
pub fn apart(live: &Snapshot) -> Vec<Apart> {
    let only = |one: &Group, other: &Group| -> BTreeSet<Target> {
        let known = |target: &&Target| other.targets.iter().any(|known| known.is(target));
        one.targets.iter().filter(|target| !known(target)).cloned().collect()
    };
    let pairs = twins(live).map(|(group, twin)| {
        let (old, new) = (&live.groups[group], &live.groups[twin]);
        let (unserved, gone) = (only(old, new), only(new, old));
        Apart { group: group.clone(), twin: twin.clone(), unserved, gone }
    });
    pairs.filter(|apart| !apart.unserved.is_empty() || !apart.gone.is_empty()).collect()
}

/// The settings that a group is made with. The rest of what is told follows from them.
const MADE_WITH: [&str; 7] = [
    "Protocol",
    "ProtocolVersion",
    "Port",
    "VpcId",
    "TargetType",
    "IpAddressType",
    "TargetControlPort",
];

/// A twin for each group in use: made, filled, attached with weight 0, healthy, then weight in steps.
/// The old group keeps its targets and stays attached with weight 0, so that the way back is one write.
pub(super) fn swap(
    before: &Snapshot,
    rules: &SwapGroups,
    care: &BalancerCare,
) -> Result<Draft, Refusal> {
    if !before.is_application() {
        return Err(Refusal::NotApplication);
    }
    let mut draft = Draft::default();
    let mut state = before.clone();
    for (name, group) in before.groups.iter().filter(|(name, _)| before.is_used(name)) {
        is_owned(name, before, care)?;
        is_understood(name, group)?;
        is_made_whole(name, group)?;
        is_alive(name, group)?;
        let lists = lists_with(before, &state, name)?;
        draft.left.extend(sticks(&lists, name));
        let twin = twin_name(name, &state);
        let mut tags = group.tags.clone();
        tags.insert(TWIN_OF.to_owned(), name.clone());
        // Tags of AWS itself cannot be given.
        tags.retain(|key, _| !key.starts_with("aws:"));
        let mut settings = health_check(group);
        let made_with = group.settings.iter().filter(|(key, _)| MADE_WITH.contains(&key.as_str()));
        settings.extend(made_with.map(|(key, value)| (key.clone(), value.clone())));
        let mut steps = vec![told(Call::CreateGroup { group: twin.clone(), settings, tags })];
        let attributes: BTreeMap<String, String> = group
            .attributes
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !attributes.is_empty() {
            steps.push(told(Call::GroupAttributes { group: twin.clone(), attributes }));
        }
        if !group.targets.is_empty() {
            let targets = group.targets.clone();
            steps.push(told(Call::Register { group: twin.clone(), targets }));
        }
        // Only an attached group is checked (User Guide, "Target group health checks": `unused`).
        steps.extend(turned(&lists, name, &twin, Ratio::ZERO));
        let healthy = group.targets.iter().filter(|target| group.is_healthy(target));
        steps.push(Step {
            call: None,
            until: Until::Healthy {
                group: twin.clone(),
                targets: healthy.cloned().collect(),
                within: rules.healthy_within,
            },
        });
        for part in &rules.steps {
            steps.extend(turned(&lists, name, &twin, *part));
            let time = if part.get() < 1.0 { rules.hold } else { rules.drain };
            steps.push(Step { call: None, until: Until::Passed { time } });
        }
        for step in &steps {
            if let Some(call) = &step.call {
                state.apply(call).map_err(|why| Refusal::Broken { why })?;
            }
        }
        draft.steps.extend(steps);
        draft.left.push(format!(
            "whoever registers targets in `{name}` goes on there and knows nothing of `{twin}`: it is told when the \
             two are not registered in alike"
        ));
    }
    let unused = |(name, group): &(&String, &Group)| {
        group.tags.contains_key(TWIN_OF) && !before.is_attached(name)
    };
    draft.left.extend(before.groups.iter().filter(unused).map(|(name, _)| {
        format!("`{name}` is left of an earlier swap and gets no requests: delete it")
    }));
    if draft.steps.is_empty() { Err(Refusal::NothingToDo) } else { Ok(draft) }
}

/// A setting that a twin could not be given would be lost.
fn is_made_whole(name: &str, group: &Group) -> Result<(), Refusal> {
    let known = |key: &str| MADE_WITH.contains(&key) || HEALTH_CHECK.contains(&key);
    match group.settings.keys().find(|key| !known(key)) {
        None => Ok(()),
        Some(what) => Err(Refusal::NotUnderstood {
            place: format!("target group `{name}`"),
            what: format!("the setting `{what}`"),
        }),
    }
}

/// Whoever has a cookie of the forward stays with the old group, whatever the weights (User Guide, "Listener
/// rules for your Application Load Balancer": target group stickiness).
fn sticks(lists: &[(Holder<'_>, Vec<Action>)], group: &str) -> Vec<String> {
    let mut stay = Vec::new();
    for (holder, actions) in lists {
        let forwards = actions.iter().filter_map(Action::forward);
        for forward in forwards.filter(|f| f.groups.iter().any(|w| w.group == group)) {
            let said = |name: &str| forward.stickiness.as_ref().and_then(|tree| tree.said(name));
            if said("Enabled") == Some("true") {
                let time = said("DurationSeconds").unwrap_or("an unknown number of");
                stay.push(format!(
                    "clients of {holder} with a cookie stay on `{group}` for up to {time} seconds: what is measured \
                     meanwhile is new clients"
                ));
            }
        }
    }
    stay
}

fn told(call: Call) -> Step {
    Step { call: Some(call), until: Until::Told }
}

/// One write for each list, with the part of the old group's weight that the twin has after it.
fn turned(lists: &[(Holder<'_>, Vec<Action>)], old: &str, twin: &str, part: Ratio) -> Vec<Step> {
    let write = |(holder, actions): &(Holder<'_>, Vec<Action>)| {
        told(holder.write(shared(actions, old, twin, part)))
    };
    lists.iter().map(write).collect()
}

/// Every list of actions that sends something to the group, as it is by now, if all can be written.
fn lists_with<'a>(
    before: &'a Snapshot,
    now: &Snapshot,
    group: &str,
) -> Result<Vec<(Holder<'a>, Vec<Action>)>, Refusal> {
    let mut lists = Vec::new();
    for ((holder, _), (_, actions)) in before.action_lists().into_iter().zip(now.action_lists()) {
        let used =
            |forward: &&Forward| forward.groups.iter().any(|w| w.group == group && w.weight > 0);
        let forwards: Vec<&Forward> =
            actions.iter().filter_map(Action::forward).filter(used).collect();
        if forwards.is_empty() {
            continue;
        }
        if let Some(why) = unwritable(&holder, actions) {
            return Err(why);
        }
        if forwards.iter().any(|forward| forward.groups.len() >= GROUPS_MAX) {
            return Err(Refusal::NoRoom { place: holder.to_string() });
        }
        lists.push((holder, actions.to_vec()));
    }
    Ok(lists)
}

/// `web` and `web-lw1` are twinned as the next number that is free.
fn twin_name(name: &str, state: &Snapshot) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let stem = name.rsplit_once("-lw").filter(|(_, number)| is_number(number));
    let stem = stem.map_or(name, |(stem, _)| stem);
    let mut number = 0_u32;
    loop {
        number += 1;
        let ending = format!("-lw{number}");
        let kept: String = stem.chars().take(NAME_MAX - ending.len()).collect();
        let twin = format!("{}{ending}", kept.trim_end_matches('-'));
        if !state.groups.contains_key(&twin) {
            return twin;
        }
    }
}

/// The same actions with `part` of what `old` gets given to `twin`.
///
/// Weights are scaled up first: of a weight of 1 no part can be given. Those of other groups grow by the
/// same factor, so that every share stays what it was.
fn shared(actions: &[Action], old: &str, twin: &str, part: Ratio) -> Vec<Action> {
    let forward = |forward: &Forward| {
        if !forward.groups.iter().any(|w| w.group == old && w.weight > 0) {
            return forward.clone();
        }
        let largest = forward.groups.iter().map(|w| w.weight).max().unwrap_or(1).max(1);
        let factor = if largest >= SCALE { 1 } else { (WEIGHT_MAX / largest).clamp(1, SCALE) };
        let mut groups = Vec::new();
        for weighted in &forward.groups {
            let whole = weighted.weight * factor;
            if weighted.group == old {
                let given = part_of(whole as usize, part);
                let given =
                    if part.get() <= 0.0 { 0 } else { u32::try_from(given).unwrap_or(whole) };
                groups.push(Weighted { group: old.to_owned(), weight: whole - given });
                groups.push(Weighted { group: twin.to_owned(), weight: given });
            } else {
                groups.push(Weighted { group: weighted.group.clone(), weight: whole });
            }
        }
        Forward { groups, form: Form::Weighted, ..forward.clone() }
    };
    actions
        .iter()
        .map(|action| match action {
            Action::Forward(told) => Action::Forward(forward(told)),
            Action::Other { .. } => action.clone(),
        })
        .collect()
}

/// One zone after the other out of the balancer's subnets and in again.
pub(super) fn zones(before: &Snapshot, rules: &ZoneByZone) -> Result<Draft, Refusal> {
    if !before.is_application() {
        return Err(Refusal::NotApplication);
    }
    let zones = before.subnets.len();
    if zones <= super::ZONES_MIN {
        return Err(Refusal::TooFewZones { zones });
    }
    if let Some(zone) = before.shifted_away().next() {
        return Err(Refusal::ZoneAway { zone: zone.to_owned() });
    }
    let used: Vec<_> = before.groups.iter().filter(|(name, _)| before.is_used(name)).collect();
    let mut draft = Draft::default();
    for (name, group) in &used {
        if group.targets.iter().any(|target| target.zone.is_none()) {
            return Err(Refusal::ZoneUnknown { group: (*name).clone() });
        }
        let healthy = group.healthy();
        let all: usize = healthy.values().sum();
        let least = part_of(all, rules.rest);
        draft.rest.insert((*name).clone(), least);
        for zone in before.subnets.keys() {
            let left = all - healthy.get(zone).copied().unwrap_or(0);
            if left < least || left == 0 {
                let (group, zone) = ((*name).clone(), zone.clone());
                return Err(Refusal::RestTooSmall { group, zone, left, all, least });
            }
        }
    }
    for zone in before.subnets.keys() {
        let mut without = before.subnets.clone();
        without.remove(zone);
        let out = Call::Subnets { subnets: without };
        draft.steps.push(Step { call: Some(out), until: Until::Passed { time: rules.pause } });
        draft.call(Call::Subnets { subnets: before.subnets.clone() });
        for (name, group) in &used {
            let of_zone =
                |target: &&super::Target| target.zone() == zone && group.is_healthy(target);
            let targets: BTreeSet<_> = group.targets.iter().filter(of_zone).cloned().collect();
            if !targets.is_empty() {
                let (group, within) = ((*name).clone(), rules.healthy_within);
                let until = Until::Healthy { group, targets, within };
                draft.steps.push(Step { call: None, until });
            }
        }
        draft.steps.push(Step { call: None, until: Until::Passed { time: rules.pause } });
    }
    Ok(draft)
}
