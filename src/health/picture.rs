//! What the last round saw: the vantage x region x balancer matrix as plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{ProbeFailure, Reading};
use crate::domain::{BalancerName, Ratio, RegionName, Timestamp, VantageName};

/// What the last round saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    pub regions: BTreeMap<RegionName, RegionView>,
    pub vantages: BTreeMap<VantageName, VantageView>,
    /// Requests per second of the whole service: the most heard of in the last quarter of an hour.
    pub demand_rps: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VantageView {
    /// Our own network there does not work since then; its readings count as Unknown.
    pub isolated_since: Option<Timestamp>,
    /// It alone sees these regions bad.
    pub broken_paths: Vec<(RegionName, Timestamp)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RegionView {
    /// By vantage, on the mean over the policy's window.
    pub by_vantage: BTreeMap<VantageName, Reading>,
    pub outside: ClassView,
    pub traffic: ClassView,
    /// What users got is bad by the balancers' counters since then.
    pub traffic_bad_since: Option<Timestamp>,
    pub inside: ClassView,
    /// Median over usable vantages, of the whole region by what its balancers carry.
    pub success: Option<Ratio>,
    pub latency_ms: Option<f64>,
    /// Why outside is bad, where it is.
    pub failing: Option<Failing>,
    /// How nearly all failed probes of the window failed, where outside is bad and they say so.
    pub failing_by: Option<ProbeFailure>,
    pub bad_since: Option<Timestamp>,
    pub good_since: Option<Timestamp>,
    /// Nothing from outside tells how it is, since then.
    pub blind_since: Option<Timestamp>,
    /// The newest probes are bad as well, not only the mean.
    pub still_bad: bool,
    pub balancers: BTreeMap<BalancerName, BalancerView>,
    pub hosts: Option<f64>,
    pub requests_rps: Option<f64>,
    /// By its own metric while that is usable, else the smaller of what was last told and declared.
    pub capacity_rps: Option<f64>,
    pub lag: Lag,
    pub metrics: Instruments,
    /// A part of the hosts is gone while the rest carries, since then.
    pub part_gone_since: Option<Timestamp>,
    /// Well enough to take traffic, without a break, since then.
    pub fit_since: Option<Timestamp>,
    pub unfit: Option<String>,
    pub spells: usize,
}

impl RegionView {
    /// How many vantages see it bad.
    pub fn bad_vantages(&self) -> usize {
        self.by_vantage.values().filter(|reading| **reading == Reading::Bad).count()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    Errors,
    Slow,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClassView {
    pub reading: Reading,
    pub age: Option<Duration>,
    pub says: Says,
}

/// What a class of evidence says. Put into words only when somebody reads them: most rounds nobody does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Says {
    Plain(&'static str),
    /// Probes: part that succeeds, milliseconds, and how many vantages of those that look see it bad.
    Probed {
        success: Option<f64>,
        latency_ms: Option<f64>,
        bad: usize,
        vantages: usize,
    },
    /// Requests per second.
    FewArrive {
        requests: f64,
        expected: f64,
    },
    /// Part of the requests that succeed, by the balancers' counters.
    Served(Ratio),
    /// Part of the targets.
    Healthy(Ratio),
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(words) => f.write_str(words),
            Self::Probed { success, latency_ms, bad, vantages } => {
                match success {
                    Some(success) => write!(f, "{} of probes succeed", Ratio::new(*success))?,
                    None => f.write_str("unknown of probes succeed")?,
                }
                if let Some(ms) = latency_ms {
                    write!(f, ", {ms:.0} ms")?;
                }
                write!(f, "; {bad} of {vantages} vantages see it bad")
            }
            Self::FewArrive { requests, expected } => {
                write!(f, "only {requests:.0} of about {expected:.0} requests per second arrive")
            }
            Self::Served(part) => write!(f, "{part} succeed at the balancers"),
            Self::Healthy(part) => write!(f, "{part} of the targets healthy"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct BalancerView {
    pub outside: Reading,
    pub success: Option<f64>,
    /// Errors made by the balancer, per request.
    pub own_errors: Option<f64>,
    pub target_errors: Option<f64>,
    pub hosts: Option<f64>,
    pub bad_since: Option<Timestamp>,
    pub still_bad: bool,
    /// How nearly all failed probes of the window failed, where outside is bad and they say so.
    pub failing_by: Option<ProbeFailure>,
    /// Every vantage that can be believed sees it bad.
    pub unanimous: bool,
    /// Its zones, as far as its targets tell them.
    pub zones: Vec<ZoneView>,
}

/// One zone of a balancer, by its targets.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneView {
    /// `eu-west-1a`
    pub zone: String,
    pub healthy: u32,
    /// Targets whose health is known.
    pub known: u32,
    /// A zonal shift keeps traffic from targets there, whoever began it.
    pub shifted: bool,
    pub reading: Reading,
    pub bad_since: Option<Timestamp>,
    pub good_since: Option<Timestamp>,
}

/// How far a region's data is behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lag {
    Known(Duration),
    /// The instrument speaks and says that it does not know.
    ReportedUnknown,
    /// There is no such instrument, or all of them are silent.
    Absent,
}

/// Whether the instruments of a region can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruments {
    /// The policy has none, or none spoke yet.
    None,
    Usable,
    /// Asked, no answer.
    Silent {
        since: Timestamp,
    },
    /// What arrives is old.
    Old {
        since: Timestamp,
    },
    /// The stamps contradict our clock.
    Odd {
        since: Timestamp,
    },
}

impl Instruments {
    pub fn trouble_since(self) -> Option<Timestamp> {
        match self {
            Self::None | Self::Usable => None,
            Self::Silent { since } | Self::Old { since } | Self::Odd { since } => Some(since),
        }
    }
}
