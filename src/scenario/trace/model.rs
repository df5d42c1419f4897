//! An outage trace, read and checked: names are places in lists, so that nothing can dangle.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::signal::Signal;

/// One recorded incident: what was true, what could be seen of it, and what is demanded.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub id: String,
    pub title: String,
    /// Seconds.
    pub(super) duration: u64,
    /// Seconds.
    pub(super) tick: u64,
    pub(super) seed: String,
    pub(super) users: f64,
    pub(super) demand: Signal,
    pub(super) regions: Vec<Region>,
    /// Of all regions, in their order.
    pub(super) balancers: Vec<Balancer>,
    pub(super) probers: Vec<Named>,
    pub(super) dns: Dns,
    pub(super) levers: BTreeSet<String>,
    /// As written: `play` makes a policy of it.
    pub(super) intent: Value,
    pub(super) noise: BTreeMap<Gauge, f64>,
    pub(super) phases: Vec<Phase>,
    /// Nothing the matter.
    pub(super) calm: Phase,
    /// In the order of delivery.
    pub(super) events: Vec<Event>,
    /// When the controller is dead: from, until.
    pub(super) restarts: Vec<(f64, f64)>,
    pub(super) expect: Vec<Expect>,
    pub(super) responders: Vec<Responder>,
    pub(super) shift_costs: Vec<ShiftCost>,
    pub(super) sparse_counts: bool,
    pub(super) beacons: bool,
    pub(super) metric_delay: f64,
}

/// A name as it is spoken now, and as it was recorded: noise depends on the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) recorded: String,
}

impl Named {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), recorded: name.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Region {
    pub(super) id: Named,
    pub(super) role: String,
    pub(super) weight: u8,
    pub(super) capacity: f64,
    /// Success is multiplied by this when load exceeds capacity.
    pub(super) overload_collapse: f64,
    pub(super) autoscale: Option<Autoscale>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Autoscale {
    pub(super) start: f64,
    pub(super) max: f64,
    pub(super) per_min: f64,
    pub(super) trigger: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Balancer {
    pub(super) id: Named,
    /// Place in the regions.
    pub(super) region: usize,
    pub(super) carries: f64,
}

/// Seconds, and a part of the clients.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dns {
    pub(super) ttl: f64,
    pub(super) sync: f64,
    pub(super) straggler_share: f64,
    pub(super) straggler: f64,
}

/// What instruments show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gauge {
    ProbeOk,
    ProbeMs,
    HealthyHosts,
    BalancerErrors,
    TargetErrors,
    Lag,
    RequestsFactor,
    Capacity,
}

impl Gauge {
    /// With the least and the most that each can show.
    pub(super) const ALL: [(Self, f64, f64); 8] = [
        (Self::ProbeOk, 0.0, 1.0),
        (Self::ProbeMs, 0.0, 120_000.0),
        (Self::HealthyHosts, 0.0, 1.0),
        (Self::BalancerErrors, 0.0, 1.0),
        (Self::TargetErrors, 0.0, 1.0),
        (Self::Lag, 0.0, 86_400.0),
        (Self::RequestsFactor, 0.0, 2.0),
        (Self::Capacity, 0.0, 1e7),
    ];
    /// The first of them are also shown of each balancer.
    pub(super) const OF_BALANCERS: usize = 5;

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ProbeOk => "probe_ok",
            Self::ProbeMs => "probe_ms",
            Self::HealthyHosts => "healthy_hosts",
            Self::BalancerErrors => "elb_5xx",
            Self::TargetErrors => "target_5xx",
            Self::Lag => "replication_lag_s",
            Self::RequestsFactor => "requests_factor",
            Self::Capacity => "capacity_rps",
        }
    }

    pub(super) fn is_ratio(self) -> bool {
        matches!(
            self,
            Self::ProbeOk | Self::HealthyHosts | Self::BalancerErrors | Self::TargetErrors
        )
    }

    /// What is counted only if somebody asks for something.
    pub(super) fn is_count(self) -> bool {
        matches!(self, Self::BalancerErrors | Self::TargetErrors)
    }
}

pub(super) type Gauges = BTreeMap<Gauge, Signal>;

/// What differs from the calm baseline for a time. The next phase replaces it completely.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Phase {
    pub(super) at: f64,
    pub(super) name: String,
    pub(super) regions: BTreeMap<usize, RegionPhase>,
    pub(super) dns_change: Api,
    pub(super) lb_control: Api,
    pub(super) notify: Api,
    pub(super) probers: BTreeMap<usize, ProberPhase>,
    pub(super) noise: BTreeMap<Gauge, f64>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct RegionPhase {
    pub(super) truth_ok: Option<Signal>,
    pub(super) truth_ms: Option<Signal>,
    pub(super) capacity_factor: Option<Signal>,
    pub(super) seen: Gauges,
    pub(super) metrics: Metrics,
    pub(super) clock_skew: f64,
    pub(super) balancers: BTreeMap<usize, BalancerPhase>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct BalancerPhase {
    pub(super) truth_ok: Option<Signal>,
    pub(super) seen: Gauges,
    pub(super) fault: Option<String>,
    /// A refresh cures it after so many seconds.
    pub(super) heals: Option<f64>,
    /// What it is like after a refresh.
    pub(super) worse: Option<Box<BalancerPhase>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Metrics {
    #[default]
    Ok,
    Missing,
    Delayed(f64),
    /// Old values under fresh stamps.
    Frozen,
}

/// How an interface takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Api {
    #[default]
    Ok,
    Error,
    /// Nothing happened.
    Timeout,
    /// It did happen.
    TimeoutApplied,
    StuckPending,
    SlowSync(f64),
    Throttle {
        accept: f64,
        gap: f64,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ProberPhase {
    pub(super) ok_factor: f64,
    pub(super) paths: BTreeMap<usize, f64>,
    pub(super) extra_ms: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) deliver: f64,
    /// As it is shown to the controller.
    pub(super) shown: Value,
}

/// People: the first note that fits makes phases harmless after a while.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Responder {
    pub(super) severity: Severity,
    pub(super) about_any: Vec<String>,
    pub(super) not_before: f64,
    pub(super) after: f64,
    /// Phase, and region if not all.
    pub(super) clears: Vec<(usize, Option<usize>)>,
}

/// What moving all traffic costs by itself in a window, in user-minutes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShiftCost {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) user_minutes: f64,
}

/// In the order of their rank; `status` is the public page, and counts only as itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Status,
    Info,
    Warn,
    Page,
}

impl Severity {
    pub(super) const NAMES: [&str; 4] = ["status", "info", "warn", "page"];
    const ALL: [Self; 4] = [Self::Status, Self::Info, Self::Warn, Self::Page];

    pub(super) fn parse(text: &str) -> Option<Self> {
        let place = Self::NAMES.iter().position(|name| *name == text)?;
        Self::ALL.get(place).copied()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Page => "page",
        }
    }
}

/// One demand of the trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expect {
    /// The name of its kind.
    pub(super) kind: &'static str,
    pub(super) why: String,
    pub(super) hard: bool,
    pub(super) demand: Demand,
}

/// From inclusive, to exclusive, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Window {
    pub(super) fn holds(self, at: f64) -> bool {
        self.from <= at && at < self.to
    }
}

/// An interface whose calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    DnsChange,
    LbControl,
    Notify,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Demand {
    Shift {
        from: usize,
        to: Vec<usize>,
        by: f64,
        not_before: f64,
        since: f64,
        min_share: f64,
        max_left: f64,
    },
    NoShift(Window),
    FinalShares {
        shares: Vec<(usize, f64)>,
        tolerance: f64,
    },
    MaxShifts(f64),
    MaxShare {
        region: usize,
        share: f64,
        window: Window,
    },
    MinShare {
        region: usize,
        share: f64,
        window: Window,
    },
    MaxStep {
        region: usize,
        step: f64,
        window: Window,
    },
    Refresh {
        balancer: usize,
        by: f64,
        not_before: f64,
        ahead_of: Vec<usize>,
    },
    NoRefresh {
        balancers: BTreeSet<usize>,
        window: Window,
    },
    MaxRefreshes {
        balancers: BTreeSet<usize>,
        n: f64,
        total: bool,
    },
    Notify {
        by: f64,
        severity: Severity,
        about_any: Vec<String>,
        not_before: f64,
    },
    MaxNotes {
        severity: Severity,
        n: f64,
        window: Window,
    },
    StatusGap {
        window: Window,
        max_gap: f64,
    },
    MaxCalls {
        api: Called,
        n: f64,
        window: f64,
    },
    Tries {
        api: Called,
        n: f64,
        window: Window,
    },
    MaxLost(f64),
}
