//! A policy's own tests, checked: drawn outages, and what is expected of the decision. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Mode, Place};
use crate::domain::{BalancerName, RegionName, Timestamp, VantageName, Weight};

/// One test of a policy.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a policy has a few, in one list, once read")]
pub enum Test {
    Drawn(Case),
    Recorded(Recording),
}

impl Test {
    pub fn name(&self) -> &str {
        match self {
            Self::Drawn(case) => &case.name,
            Self::Recorded(recording) => &recording.name,
        }
    }

    /// Of its name in the file, counted from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Drawn(case) => case.line,
            Self::Recorded(recording) => recording.line,
        }
    }
}

/// A recorded outage in a file of its own, and what it is in terms of this policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    pub name: String,
    /// Of its name in the file, counted from 1.
    pub line: usize,
    /// The file, as written: relative to the policy.
    pub trace: String,
    /// Where it is written.
    pub place: Place,
    pub mode: Option<Mode>,
    /// The policy's region for each of the trace; those of one name need not be written.
    pub regions: BTreeMap<String, RegionName>,
    /// The policy's balancer for each of the trace. What is not named stands for its region's mean.
    pub balancers: BTreeMap<String, BalancerName>,
    /// The policy's vantage for each prober of the trace. The others are paired in their order.
    pub vantages: BTreeMap<String, VantageName>,
    /// Kinds of [`EXPECTATIONS`] that do not count.
    pub without: BTreeSet<String>,
    /// Names of [`DIAGNOSES`].
    pub finds: Vec<String>,
    /// Names of [`HOLDS`].
    pub holds: Vec<String>,
    pub ends: BTreeMap<RegionName, Weight>,
}

/// One drawn outage.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub name: String,
    /// Of its name in the file, counted from 1.
    pub line: usize,
    pub begins: Timestamp,
    /// What one character stands for.
    pub step: Duration,
    /// The length of every line.
    pub steps: usize,
    pub mode: Option<Mode>,
    pub seen: BTreeMap<Drawn, Line>,
    pub seen_from: BTreeMap<VantageName, BTreeMap<Drawn, Line>>,
    pub counters: BTreeMap<Drawn, Line>,
    pub beacons: BTreeMap<VantageName, Line>,
    pub control_plane: Option<Line>,
    pub gates: Option<Line>,
    pub arc: Option<Line>,
    pub refreshes: Refreshes,
    pub lag: Lag,
    pub requests_rps: Option<f64>,
    pub capacity_rps: BTreeMap<RegionName, f64>,
    /// In the order of time, each so long after the beginning.
    pub events: Vec<(Duration, Happens)>,
    pub expect: Option<Line>,
    /// Names of [`DIAGNOSES`].
    pub finds: Vec<String>,
    /// Names of [`HOLDS`].
    pub holds: Vec<String>,
    /// Hooks that say no; the others say yes.
    pub vetoes: Vec<String>,
    /// Hooks that are called in some step.
    pub calls: Vec<String>,
    pub ends: BTreeMap<RegionName, Weight>,
}

/// What has a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drawn {
    Region(RegionName),
    Balancer(BalancerName),
}

impl std::fmt::Display for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Region(name) => name.fmt(f),
            Self::Balancer(name) => name.fmt(f),
        }
    }
}

/// One character for each step, each of them one of the line's legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(Vec<char>);

impl Line {
    pub(super) fn new(marks: Vec<char>) -> Self {
        Self(marks)
    }

    /// `.` behind its end: what is not drawn is well.
    pub fn mark(&self, step: usize) -> char {
        self.0.get(step).copied().unwrap_or('.')
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|mark| write!(f, "{mark}"))
    }
}

/// What becomes of the refresh of a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshes {
    Work,
    /// As in `leeward run` of this version, which has no such lever.
    Fail,
}

/// What happens besides, as opposed to what is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happens {
    Deploy { regions: Vec<RegionName>, version: String },
    Freeze { reason: String },
    Unfreeze,
    Approve,
    Deny,
}

/// How far data is behind; the instrument may also say that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    Known(Duration),
    Unknown,
}

/// The names that `finds` may use: the variants of `decide::Diagnosis`, in their order.
///
/// Written down here because the policy does not know the decision; `scenario` has a test that they agree.
pub const DIAGNOSES: &[&str] = &[
    "Well",
    "RegionDown",
    "RegionDegraded",
    "BalancerFault",
    "ZoneFault",
    "CommonCause",
    "ObserverIsolated",
    "PathBroken",
    "SignalsStale",
    "StandbyUnready",
    "ControlPlaneImpaired",
    "NowhereToGo",
    "Flapping",
];

/// The names that `holds` may use: the variants of `decide::Hold`, in their order.
pub const HOLDS: &[&str] = &[
    "WarmingUp",
    "NotSustained",
    "OneClassOnly",
    "TooFewVantages",
    "EvidenceStale",
    "ObserverIsolated",
    "ModeObserves",
    "ApprovalNeeded",
    "Denied",
    "Pinned",
    "Cooldown",
    "ShiftsExhausted",
    "Latched",
    "Blocked",
    "DestinationUnready",
    "NoRoom",
    "LagTooHigh",
    "LagUnknown",
    "CommonCause",
    "DeploySuspected",
    "OrderOpen",
    "ChangeStuck",
    "LeverImpaired",
    "Drift",
    "AnswersUnknown",
    "NowhereToGo",
    "RefreshExhausted",
    "RefreshWatching",
    "RefreshUnderWay",
    "BalancerUnsure",
    "ZoneMustStay",
    "ZoneShiftPaused",
    "ZoneShiftWatching",
    "FailbackManual",
    "FailbackSoaking",
    "StepNeedsWeights",
    "Kept",
    "Aborted",
    "HookAsked",
    "HookVetoed",
];

/// The kinds of expectations in the trace format, all of them.
pub const EXPECTATIONS: &[&str] = &[
    "shift",
    "no_shift",
    "final_shares",
    "max_shifts",
    "max_share",
    "min_share",
    "max_step",
    "refresh",
    "no_refresh",
    "max_refreshes",
    "notify",
    "max_notes",
    "status_gap",
    "max_calls",
    "tries",
    "max_lost",
];
