//! What is going to be done to one balancer, step by step, and how far it has come. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, Call, Difference, Snapshot, Target};
use crate::domain::{BalancerName, Timestamp, span};
use crate::policy::RungKind;
use crate::ports::TargetState;

/// Everything about one refresh of one balancer, worked out before the first call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cure {
    pub balancer: BalancerName,
    pub made_at: Timestamp,
    pub purpose: Purpose,
    /// Whose wish it was, and why.
    pub because: String,
    /// The configuration before the first step; what an undo brings back.
    pub before: Snapshot,
    /// The file of the snapshot beside the journal, for `leeward lb restore`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept_in: Option<String>,
    pub steps: Vec<Step>,
    /// Healthy targets that stay, whatever happens: by group and zone.
    pub floor: Floor,
    /// Healthy targets that the other zones must have before one leaves the balancer: by group.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub rest: BTreeMap<String, usize>,
    /// How probes of it went before, for the comparison afterwards.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tally: Option<crate::domain::Tally>,
    /// Where it is to lead, for ways back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<Snapshot>,
    /// Calls of a way back that were refused and are left out.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub skipped: Vec<Call>,
    /// What is left as it is, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left: Vec<String>,
    /// Of a way back: what it takes back did no harm.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub harmless: bool,
}

pub type Floor = BTreeMap<String, BTreeMap<String, usize>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Rung(RungKind),
    /// The way back from a refresh that failed or made it worse.
    Undo,
    /// A human brings a snapshot back.
    Restore,
    /// To what the policy declares, by a human's word.
    Mend,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rung(kind) => write!(f, "{kind}"),
            Self::Undo => f.write_str("undo"),
            Self::Restore => f.write_str("restore"),
            Self::Mend => f.write_str("mend"),
        }
    }
}

/// One call, and what has to be true before the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call: Option<Call>,
    pub until: Until,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The configuration is read back as expected.
    Told,
    Healthy {
        group: String,
        targets: BTreeSet<Target>,
        within: Duration,
    },
    Drained {
        group: String,
        targets: BTreeSet<Target>,
        within: Duration,
    },
    Passed {
        time: Duration,
    },
}

impl Step {
    /// How long it may take before something is wrong with it.
    pub fn patience(&self) -> Duration {
        match &self.until {
            Until::Told => Duration::ZERO,
            Until::Healthy { within, .. } | Until::Drained { within, .. } => *within,
            Until::Passed { time } => *time,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |targets: &BTreeSet<Target>| {
            targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        if let Some(call) = &self.call {
            write!(f, "{call}")?;
            if self.until != Until::Told {
                f.write_str("; ")?;
            }
        }
        match &self.until {
            Until::Told => Ok(()),
            Until::Healthy { group, targets, within } => {
                let (targets, within) = (joined(targets), span(*within));
                write!(f, "wait until {targets} are healthy in {group}, at most {within}")
            }
            Until::Drained { group, targets, within } => {
                let (targets, within) = (joined(targets), span(*within));
                write!(f, "wait until {targets} have drained from {group}, at most {within}")
            }
            Until::Passed { time } => write!(f, "wait {}", span(*time)),
        }
    }
}

/// Whether a step is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    Yes,
    NotYet,
    /// It took longer than it may, or went wrong.
    Never(String),
}

impl Cure {
    /// The configuration that is expected before each step, and at last the one after all.
    ///
    /// # Errors
    ///
    /// The first step that cannot follow on those before it, in words. A planner's mistake.
    pub fn states(&self) -> Result<Vec<Snapshot>, String> {
        let mut state = self.before.clone();
        let mut states = vec![state.clone()];
        for (at, step) in self.steps.iter().enumerate() {
            if let Some(call) = &step.call {
                state.apply(call).map_err(|why| format!("step {}: {why}", at + 1))?;
            }
            states.push(state.clone());
        }
        Ok(states)
    }

    /// The configuration that is expected when so many steps are over.
    ///
    /// # Errors
    ///
    /// As [`Cure::states`].
    pub fn state(&self, done: usize) -> Result<Snapshot, String> {
        let mut state = self.before.clone();
        for (at, step) in self.steps.iter().take(done).enumerate() {
            if let Some(call) = &step.call {
                state.apply(call).map_err(|why| format!("step {}: {why}", at + 1))?;
            }
        }
        Ok(state)
    }

    /// The calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.steps.iter().filter_map(|step| step.call.as_ref())
    }

    /// Why the call must not be made now, going by the health that was just read. That a group which gets
    /// requests keeps a healthy target holds for every purpose.
    pub fn broken_floor(&self, live: &Snapshot, call: &Call) -> Option<String> {
        match call {
            Call::Deregister { group, targets } => self.too_few_left(live, group, targets),
            Call::Subnets { subnets } => self.too_small_a_rest(live, subnets),
            Call::ListenerActions { listener, actions } => no_answer(live, listener, None, actions),
            Call::RuleActions { listener, rule, actions } => {
                no_answer(live, listener, Some(rule), actions)
            }
            Call::BalancerAttributes { .. }
            | Call::GroupSettings { .. }
            | Call::GroupAttributes { .. }
            | Call::Register { .. }
            | Call::CreateGroup { .. }
            | Call::DeleteGroup { .. } => None,
        }
    }

    fn too_few_left(
        &self,
        live: &Snapshot,
        name: &str,
        leaving: &BTreeSet<Target>,
    ) -> Option<String> {
        let group = live.groups.get(name)?;
        let before = group.healthy();
        let mut healthy = before.clone();
        for target in leaving.iter().filter(|target| group.is_healthy(target)) {
            if let Some(left) = healthy.get_mut(target.zone()) {
                *left = left.saturating_sub(1);
            }
        }
        if live.is_used(name) {
            let stays = |known: &&Target| !leaving.iter().any(|target| target.is(known));
            if group.targets.iter().filter(stays).count() == 0 {
                return Some(format!("`{name}` would have no target any more"));
            }
            if !before.is_empty() && healthy.values().all(|left| *left == 0) {
                return Some(format!("`{name}` would have no healthy target any more"));
            }
        }
        self.floor.get(name)?.iter().find_map(|(zone, least)| {
            let left = healthy.get(zone).copied().unwrap_or(0);
            let takes = leaving.iter().any(|target| target.zone() == zone);
            (takes && left < *least).then(|| {
                format!(
                    "`{name}` would have {left} healthy targets in {}, {least} must stay",
                    called(zone)
                )
            })
        })
    }

    /// What the others have was true when it was planned; a zone leaves minutes, or a restart, later.
    fn too_small_a_rest(
        &self,
        live: &Snapshot,
        subnets: &BTreeMap<String, String>,
    ) -> Option<String> {
        let leaving = live.subnets.keys().find(|zone| !subnets.contains_key(*zone))?;
        if let Some(away) = live.shifted_away().find(|zone| zone != leaving) {
            return Some(format!("{away} is shifted away from it: {leaving} must stay"));
        }
        self.rest.iter().find_map(|(name, least)| {
            let healthy = live.groups.get(name)?.healthy();
            let left: usize =
                healthy.iter().filter(|(zone, _)| *zone != leaving).map(|(_, n)| n).sum();
            (left < *least).then(|| {
                format!("without {leaving} `{name}` has {left} healthy targets, {least} are needed")
            })
        })
    }
}

/// A group that gets more requests than before and is seen to have nobody who answers them.
fn no_answer(
    live: &Snapshot,
    listener: &str,
    rule: Option<&String>,
    actions: &[Action],
) -> Option<String> {
    let lists = live.action_lists();
    let now = lists.iter().find(|(holder, _)| {
        holder.listener == listener && holder.rule.map(|(arn, _)| arn) == rule.map(String::as_str)
    });
    let weights = |actions: &[Action]| {
        let forwards = actions.iter().filter_map(Action::forward).flat_map(|f| &f.groups);
        let mut weights: BTreeMap<String, u32> = BTreeMap::new();
        for weighted in forwards {
            *weights.entry(weighted.group.clone()).or_default() += weighted.weight;
        }
        weights
    };
    let (now, then) = (weights(now.map_or(&[][..], |(_, now)| now)), weights(actions));
    let serving = |weights: &BTreeMap<String, u32>| {
        weights
            .iter()
            .filter(|(_, w)| **w > 0)
            .any(|(name, _)| live.groups.get(name).is_some_and(|group| !group.healthy().is_empty()))
    };
    let is_ill = |name: &str| {
        live.groups.get(name).is_some_and(|group| {
            group.healthy().is_empty()
                && group.targets.iter().all(|target| {
                    // Who is not attached is not looked at, and one that nothing is told of is not known.
                    !matches!(group.state(target), None | Some(TargetState::Unused))
                })
        })
    };
    let gains = |(name, weight): &(&String, &u32)| {
        **weight > 0 && now.get(*name).copied().unwrap_or(0) == 0
    };
    let (name, _) = then.iter().filter(gains).find(|(name, _)| is_ill(name))?;
    serving(&now).then(|| format!("`{name}` has no healthy target"))
}

/// A zone in words.
pub(super) fn called(zone: &str) -> &str {
    if zone.is_empty() { "the zone that is not told" } else { zone }
}

impl Step {
    /// Whether the step is over, by what was just read, `waited` after its call.
    pub fn reached(&self, live: &Snapshot, waited: Duration) -> Reached {
        let patience = |within: &Duration, why: String| {
            if waited >= *within { Reached::Never(why) } else { Reached::NotYet }
        };
        match &self.until {
            Until::Told => Reached::Yes,
            Until::Passed { time } if waited >= *time => Reached::Yes,
            Until::Passed { .. } => Reached::NotYet,
            Until::Healthy { group, targets, within } => {
                let Some(found) = live.groups.get(group) else {
                    return Reached::Never(format!("target group `{group}` is gone"));
                };
                let missing: Vec<&Target> =
                    targets.iter().filter(|target| !found.is_healthy(target)).collect();
                match missing.first() {
                    None => Reached::Yes,
                    Some(first) => patience(
                        within,
                        format!(
                            "{} of {} targets of `{group}` did not become healthy, `{first}` among them",
                            missing.len(),
                            targets.len()
                        ),
                    ),
                }
            }
            Until::Drained { group, targets, within } => {
                let draining = live.groups.get(group).is_some_and(|found| {
                    targets.iter().any(|target| {
                        matches!(
                            found.state(target),
                            Some(TargetState::Draining | TargetState::UnhealthyDraining)
                        )
                    })
                });
                if draining {
                    patience(within, format!("targets of `{group}` are still draining"))
                } else {
                    Reached::Yes
                }
            }
        }
    }
}

/// Differences on one line, the first few of them.
pub fn in_short(differences: &[Difference]) -> String {
    const SHOWN_MAX: usize = 3;
    let mut text: Vec<String> =
        differences.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if differences.len() > SHOWN_MAX {
        text.push(format!("and {} more", differences.len() - SHOWN_MAX));
    }
    text.join("; ")
}
