//! The way from one configuration to another: for undoing a cure at whatever step it stands, and for
//! bringing a snapshot back. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cure::{Cure, Step, Until};
use super::rungs::{Draft, health_check, unwritable};
use super::swap::TWIN_OF;
use super::{Action, Call, Group, Snapshot, Target, Tree};
use crate::ports::TargetState;

/// Steps, and what they cannot bring back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Way {
    pub draft: Draft,
    /// Fields that differ and that nobody here writes: certificates, conditions, security groups, tags.
    pub cannot: Vec<String>,
}

/// From `live` to `wanted`, so that traffic is never on less than on the way there: what is missing comes
/// first, then the traffic turns, and only then goes what is too much.
pub fn way(live: &Snapshot, wanted: &Snapshot, healthy_within: Duration) -> Way {
    let mut way = Way::default();
    let mut waits = Vec::new();
    for (name, to) in &wanted.groups {
        let Some(is) = live.groups.get(name) else { continue };
        settle_group(&mut way.draft, name, is, to);
        let missing: BTreeSet<Target> = missing(is, to);
        if !missing.is_empty() {
            let targets = missing.clone();
            way.draft.call(Call::Register { group: name.clone(), targets });
            waits.push(healthy(name, missing, is, to, healthy_within));
        }
    }
    let attributes = changed(&live.attributes, &wanted.attributes);
    if !attributes.is_empty() {
        way.draft.call(Call::BalancerAttributes { attributes });
    }
    if live.subnets != wanted.subnets {
        way.draft.call(Call::Subnets { subnets: wanted.subnets.clone() });
    }
    turn_traffic(&mut way, live, wanted);
    // An undo is in a hurry: requests go back at once to targets that were there all the time, and what
    // was registered anew is waited for only before something else is taken away.
    way.draft.steps.extend(waits);
    for (name, to) in &wanted.groups {
        let Some(is) = live.groups.get(name) else { continue };
        let extra: BTreeSet<Target> =
            is.targets.iter().filter(|t| !to.targets.iter().any(|o| o.is(t))).cloned().collect();
        if !extra.is_empty() {
            way.draft.call(Call::Deregister { group: name.clone(), targets: extra });
        }
    }
    for (name, group) in live.groups.iter().filter(|(name, _)| !wanted.groups.contains_key(*name)) {
        // Only what carries our own mark is ever deleted.
        if group.tags.contains_key(TWIN_OF) {
            way.draft.call(Call::DeleteGroup { group: name.clone() });
        }
    }
    way.cannot = remaining(live, wanted, &way.draft);
    way
}

/// `live` with everything taken back that the first `called` steps of a cure did, where it still is as
/// one of them left it; and what somebody else has changed since, which is left alone.
pub fn without(live: &Snapshot, cure: &Cure, called: usize) -> (Snapshot, Vec<String>) {
    let states = cure.states().unwrap_or_else(|_| vec![cure.before.clone()]);
    let ours: Vec<&Snapshot> = states.iter().take(called + 1).collect();
    let (mut to, mut left) = (live.clone(), Vec::new());
    let before = &cure.before;
    for call in cure.steps.iter().take(called).filter_map(|step| step.call.as_ref()) {
        let foreign = match call {
            Call::BalancerAttributes { attributes } => {
                let pick = |s: &Snapshot| s.attributes.clone();
                take_back(&mut to.attributes, attributes.keys(), &before.attributes, &ours, pick)
            }
            Call::GroupAttributes { group, attributes } => {
                let pick = |s: &Snapshot| {
                    s.groups.get(group).map(|g| g.attributes.clone()).unwrap_or_default()
                };
                match (to.groups.get_mut(group), before.groups.get(group)) {
                    (Some(to), Some(was)) => {
                        let keys = attributes.keys();
                        take_back(&mut to.attributes, keys, &was.attributes, &ours, pick)
                    }
                    (_, _) => false,
                }
            }
            Call::GroupSettings { group, settings } => {
                let pick = |s: &Snapshot| {
                    s.groups.get(group).map(|g| g.settings.clone()).unwrap_or_default()
                };
                match (to.groups.get_mut(group), before.groups.get(group)) {
                    (Some(to), Some(was)) => {
                        take_back(&mut to.settings, settings.keys(), &was.settings, &ours, pick)
                    }
                    (_, _) => false,
                }
            }
            Call::ListenerActions { listener, .. } => {
                let pick = |s: &Snapshot| Some(s.listeners.get(listener)?.actions.clone());
                let ours = ours.iter().any(|state| pick(state) == pick(live));
                if let (true, Some(to), Some(was)) =
                    (ours, to.listeners.get_mut(listener), pick(before))
                {
                    to.actions = was;
                }
                !ours
            }
            Call::RuleActions { listener, rule, .. } => {
                let pick = |s: &Snapshot| {
                    Some(s.listeners.get(listener)?.rules.get(rule)?.actions.clone())
                };
                let ours = ours.iter().any(|state| pick(state) == pick(live));
                let found = to.listeners.get_mut(listener).and_then(|l| l.rules.get_mut(rule));
                if let (true, Some(to), Some(was)) = (ours, found, pick(before)) {
                    to.actions = was;
                }
                !ours
            }
            Call::Register { group, targets } => {
                if let (Some(to), Some(was)) = (to.groups.get_mut(group), before.groups.get(group))
                {
                    let new = |target: &Target| {
                        targets.iter().any(|t| t.is(target))
                            && !was.targets.iter().any(|t| t.is(target))
                    };
                    to.targets.retain(|target| !new(target));
                }
                false
            }
            Call::Deregister { group, targets } => {
                if let (Some(to), Some(was)) = (to.groups.get_mut(group), before.groups.get(group))
                {
                    let gone =
                        was.targets.iter().filter(|known| targets.iter().any(|t| t.is(known)));
                    for target in gone {
                        if !to.targets.iter().any(|t| t.is(target)) {
                            to.targets.insert(target.clone());
                        }
                    }
                    to.health.clone_from(&was.health);
                }
                false
            }
            Call::CreateGroup { group, .. } => {
                to.groups.remove(group);
                false
            }
            Call::DeleteGroup { .. } => false,
            Call::Subnets { .. } => {
                let ours = ours.iter().any(|state| state.subnets == live.subnets);
                if ours {
                    to.subnets.clone_from(&before.subnets);
                }
                !ours
            }
        };
        if foreign {
            left.push(format!("{call}: changed by somebody else since, left as it is"));
        }
    }
    (to, left)
}

/// Where a way back from `before` to `to` leads when somebody else has made `live` of `before` meanwhile: only
/// what it was to change is changed, where that still is as it was.
pub fn rebased(before: &Snapshot, to: &Snapshot, live: &Snapshot) -> Snapshot {
    let mut new = live.clone();
    rebase(&mut new.attributes, &before.attributes, &to.attributes);
    if live.subnets == before.subnets {
        new.subnets.clone_from(&to.subnets);
    }
    for (arn, listener) in &mut new.listeners {
        let (Some(was), Some(to)) = (before.listeners.get(arn), to.listeners.get(arn)) else {
            continue;
        };
        if listener.actions == was.actions {
            listener.actions.clone_from(&to.actions);
        }
        for (arn, rule) in &mut listener.rules {
            if let (Some(was), Some(to)) = (was.rules.get(arn), to.rules.get(arn))
                && rule.actions == was.actions
            {
                rule.actions.clone_from(&to.actions);
            }
        }
    }
    for (name, group) in &mut new.groups {
        let (Some(was), Some(to)) = (before.groups.get(name), to.groups.get(name)) else {
            continue;
        };
        rebase(&mut group.attributes, &was.attributes, &to.attributes);
        rebase(&mut group.settings, &was.settings, &to.settings);
        let has = |all: &BTreeSet<Target>, one: &Target| all.iter().any(|other| other.is(one));
        group.targets.retain(|one| !has(&was.targets, one) || has(&to.targets, one));
        for one in to.targets.iter().filter(|one| !has(&was.targets, one)) {
            if !has(&group.targets, one) {
                group.targets.insert(one.clone());
            }
        }
        group.health.clone_from(&to.health);
    }
    new.groups.retain(|name, _| !before.groups.contains_key(name) || to.groups.contains_key(name));
    new
}

fn rebase<V: Clone + PartialEq>(
    live: &mut BTreeMap<String, V>,
    before: &BTreeMap<String, V>,
    to: &BTreeMap<String, V>,
) {
    for (key, value) in to {
        if before.get(key) != Some(value) && live.get(key) == before.get(key) {
            live.insert(key.clone(), value.clone());
        }
    }
}

/// Sets keys back to what they were where they are as some step of ours left them. True if one is not.
fn take_back<'k, V: Clone + PartialEq>(
    to: &mut BTreeMap<String, V>,
    keys: impl Iterator<Item = &'k String>,
    before: &BTreeMap<String, V>,
    ours: &[&Snapshot],
    pick: impl Fn(&Snapshot) -> BTreeMap<String, V>,
) -> bool {
    let mut foreign = false;
    for key in keys {
        if ours.iter().any(|state| pick(state).get(key) == to.get(key)) {
            if let Some(was) = before.get(key) {
                to.insert(key.clone(), was.clone());
            }
        } else {
            foreign = true;
        }
    }
    foreign
}

/// Where every step leads must be `wanted`; what still differs then cannot be brought back.
fn remaining(live: &Snapshot, wanted: &Snapshot, draft: &Draft) -> Vec<String> {
    let mut reached = live.clone();
    let mut cannot = draft.left.clone();
    for call in draft.steps.iter().filter_map(|step| step.call.as_ref()) {
        if let Err(why) = reached.apply(call) {
            cannot.push(format!("{call}: {why}"));
        }
    }
    cannot.extend(wanted.differences(&reached).iter().map(ToString::to_string));
    cannot
}

fn changed(
    is: &BTreeMap<String, String>,
    to: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    // One without a value is not set, and one that cannot be applied fails the whole call.
    let differs =
        |(key, value): &(&String, &String)| is.get(*key) != Some(value) && !value.is_empty();
    to.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn missing(is: &Group, to: &Group) -> BTreeSet<Target> {
    let known = |target: &&Target| is.targets.iter().any(|other| other.is(target));
    to.targets.iter().filter(|target| !known(target)).cloned().collect()
}

/// Only what was healthy in the snapshot is waited for, if that is known; all of it otherwise.
fn healthy(
    name: &str,
    missing: BTreeSet<Target>,
    is: &Group,
    to: &Group,
    within: Duration,
) -> Step {
    let was_ill = |target: &Target| {
        let state = to.state(target).or_else(|| is.state(target));
        state.is_some_and(|state| {
            // One that is not in use now tells nothing of how it will be.
            !matches!(
                state,
                TargetState::Healthy
                    | TargetState::Initial
                    | TargetState::Draining
                    | TargetState::Unused
            )
        })
    };
    let targets = missing.into_iter().filter(|target| !was_ill(target)).collect();
    Step { call: None, until: Until::Healthy { group: name.to_owned(), targets, within } }
}

fn settle_group(draft: &mut Draft, name: &str, is: &Group, to: &Group) {
    let check = health_check(to);
    let settings: BTreeMap<String, Tree> =
        check.into_iter().filter(|(key, value)| is.settings.get(key) != Some(value)).collect();
    if !settings.is_empty() {
        draft.call(Call::GroupSettings { group: name.to_owned(), settings });
    }
    let attributes = changed(&is.attributes, &to.attributes);
    if !attributes.is_empty() {
        draft.call(Call::GroupAttributes { group: name.to_owned(), attributes });
    }
}

fn turn_traffic(way: &mut Way, live: &Snapshot, wanted: &Snapshot) {
    let is: Vec<_> = live.action_lists();
    for (holder, actions) in wanted.action_lists() {
        let same_place = |other: &super::Holder<'_>| {
            other.listener == holder.listener
                && other.rule.map(|(arn, _)| arn) == holder.rule.map(|(arn, _)| arn)
        };
        let Some((_, now)) = is.iter().find(|(other, _)| same_place(other)) else { continue };
        if *now == actions {
            continue;
        }
        let forwards = actions.iter().filter_map(Action::forward);
        let gone = forwards.flat_map(|forward| &forward.groups).find(|weighted| {
            let name = &weighted.group;
            !live.groups.contains_key(name)
        });
        let blocked = unwritable(&holder, actions).or_else(|| unwritable(&holder, now));
        match (blocked, gone) {
            (Some(why), _) => way.draft.left.push(why.to_string()),
            (None, Some(gone)) => {
                let why = format!("{holder}: target group `{}` is not there", gone.group);
                way.draft.left.push(why);
            }
            (None, None) => way.draft.call(holder.write(actions.to_vec())),
        }
    }
}
