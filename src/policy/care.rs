//! What may be done to a load balancer's configuration, checked. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::Ratio;

/// Our own limits for calls of Elastic Load Balancing, for each account and region.
///
/// What the service allows (User Guide, "API throttling for Elastic Load Balancing"): 10 calls a second
/// of any kind with a burst of 40, registrations 4 (20), other changes 3 (20), `SetSubnets` 0.2 (10). The
/// defaults are half of each: whoever repairs something by hand shares them. Looks at targets as a signal
/// come on top of `calls`, half as much again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ElbPace {
    pub calls_per_second: f64,
    pub calls_burst: f64,
    pub registrations_per_second: f64,
    pub changes_per_second: f64,
    pub subnets_per_second: f64,
}

impl Default for ElbPace {
    fn default() -> Self {
        Self {
            calls_per_second: 5.0,
            calls_burst: 20.0,
            registrations_per_second: 2.0,
            changes_per_second: 1.5,
            subnets_per_second: 0.1,
        }
    }
}

impl ElbPace {
    /// Looks at targets as a signal, in each second and region, with a burst: a bucket of their own, half as
    /// large as that of calls.
    pub const fn looks(&self) -> (f64, f64) {
        (self.calls_per_second / 2.0, self.calls_burst / 2.0)
    }

    /// The lower of both, limit by limit: what both may be held to.
    #[must_use]
    pub fn slower(self, other: Self) -> Self {
        Self {
            calls_per_second: self.calls_per_second.min(other.calls_per_second),
            calls_burst: self.calls_burst.min(other.calls_burst),
            registrations_per_second: self
                .registrations_per_second
                .min(other.registrations_per_second),
            changes_per_second: self.changes_per_second.min(other.changes_per_second),
            subnets_per_second: self.subnets_per_second.min(other.subnets_per_second),
        }
    }
}

/// How one balancer may be refreshed.
#[derive(Debug, Clone, PartialEq)]
pub struct BalancerCare {
    /// What proves that a target group is ours to touch.
    pub owned: Owned,
    /// Mildest first.
    pub rungs: Vec<Rung>,
    pub give_up: GiveUp,
    pub declared: Declared,
    /// How long targets may take to become healthy on the way back and to what is declared: the longest
    /// patience of any rung.
    pub healthy_within: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owned {
    /// The group carries this tag.
    Tag { key: String, value: String },
    /// By ARN.
    Listed(BTreeSet<String>),
}

/// When no rung helped, or one made it worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GiveUp {
    /// The region is left, as if it could not be refreshed.
    Shift,
    /// Nothing moves; a human is called.
    Page,
}

/// One way to refresh a balancer.
#[derive(Debug, Clone, PartialEq)]
pub enum Rung {
    Reassert(Reassert),
    Targets(RollTargets),
    Swap(SwapGroups),
    Zones(ZoneByZone),
}

impl Rung {
    pub fn kind(&self) -> RungKind {
        match self {
            Self::Reassert(_) => RungKind::Reassert,
            Self::Targets(_) => RungKind::Targets,
            Self::Swap(_) => RungKind::Swap,
            Self::Zones(_) => RungKind::Zones,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RungKind {
    Reassert,
    Targets,
    Swap,
    Zones,
}

impl RungKind {
    /// What is touched at once at worst: the blast radius.
    pub fn radius(self) -> &'static str {
        match self {
            Self::Reassert => "settings, written back as they are",
            Self::Targets => "one batch of targets",
            Self::Swap => "the requests of one target group",
            Self::Zones => "one zone of the balancer",
        }
    }
}

impl fmt::Display for RungKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reassert => "reassert",
            Self::Targets => "targets",
            Self::Swap => "swap",
            Self::Zones => "zones",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reassert {
    /// Everything is written back as it was read.
    AsRead,
    /// What differs from what is declared is written.
    Declared,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RollTargets {
    /// So many targets at once at most.
    pub batch: usize,
    /// The part of a zone's healthy targets that stays.
    pub floor: Ratio,
    pub healthy_within: Duration,
    pub drained_within: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SwapGroups {
    /// Parts of the requests for the twin, rising to all of them.
    pub steps: Vec<Ratio>,
    /// Between two steps.
    pub hold: Duration,
    pub healthy_within: Duration,
    /// After the last step, for the connections to the old group to end.
    pub drain: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ZoneByZone {
    /// The part of all healthy targets that the other zones must have.
    pub rest: Ratio,
    /// After each change of the subnets.
    pub pause: Duration,
    pub healthy_within: Duration,
}

/// A configuration as it should be, as far as it is written down. What is not, is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    pub attributes: BTreeMap<String, String>,
    pub forwards: Vec<DeclaredForward>,
    /// By group: address or instance, and port.
    pub targets: BTreeMap<String, BTreeSet<(String, u16)>>,
}

impl Declared {
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.forwards.is_empty() && self.targets.is_empty()
    }

    /// The target groups that it names: one that gets no requests yet is not found at any listener.
    pub fn groups(&self) -> BTreeSet<String> {
        let forwards = self.forwards.iter().flat_map(|forward| forward.weights.keys());
        forwards.chain(self.targets.keys()).cloned().collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredForward {
    /// The listener's port.
    pub listener: u16,
    /// The rule's priority; the default action if there is none.
    pub rule: Option<String>,
    pub weights: BTreeMap<String, u32>,
}

/// Taking a bad zone out of a balancer by a zonal shift.
#[derive(Debug, Clone, PartialEq)]
pub struct ZonalShift {
    /// Every zone of the balancer with its id: `eu-west-1a`, `euw1-az2`.
    pub zones: BTreeMap<String, String>,
    /// The part of all targets that must be healthy in the other zones.
    pub rest: Ratio,
    /// Whole minutes, one to 72 hours' worth.
    pub expires: Duration,
    /// The zone has been well for so long before the shift is taken back.
    pub back_after: Duration,
}
