//! What an operator wants, checked: after [`load`] a [`Policy`] cannot be wrong by itself.
//!
//! The file as written is `policy::raw`, the way from one to the other `policy::compile`. No IO: the
//! caller reads the file.

mod care;
mod case;
mod compile;
mod decode;
mod load;
mod problem;
mod raw;
mod raw_care;
mod raw_site;
mod raw_tell;
mod schema;
mod site;
mod switches;
mod tell;
mod template;
mod tree;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bulletin::Frame;
use crate::domain::{
    BalancerName, Ratio, RecordName, RegionName, ServiceName, SignalName, Split, VantageName,
    Weight, ZoneId,
};

pub use care::{
    BalancerCare, Declared, DeclaredForward, ElbPace, GiveUp, Owned, Reassert, RollTargets, Rung,
    RungKind, SwapGroups, ZonalShift, ZoneByZone,
};
pub use case::{
    Case, DIAGNOSES, Drawn, EXPECTATIONS, HOLDS, Happens, Lag, Line, Recording, Refreshes, Test,
};
pub use load::{BYTES_MAX, load, load_bytes};
pub use problem::{Code, Place, Problem, Problems, Severity};
pub use schema::{json_schema, markdown};
pub use site::{Site, SitePlace};
pub use switches::{ArcLever, Check, Gate, GatesLever, HOLDER, Proof, Slot, Votes, Witness};
pub use tell::{
    Address, Channel, Component, Mail, MailTls, PageMode, PagePlace, StatusPage, Tell, Way,
    Webhook, Words,
};
pub use template::Template;

/// One service, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub service: ServiceName,
    pub mode: Mode,
    pub regions: BTreeMap<RegionName, Region>,
    pub vantages: BTreeMap<VantageName, Vantage>,
    /// In order of preference.
    pub levers: Vec<Lever>,
    pub signals: BTreeMap<SignalName, Signal>,
    pub judge: Judge,
    pub shift: ShiftRules,
    pub failback: Failback,
    pub refresh: Option<RefreshRules>,
    pub guards: Guards,
    pub tell: Tell,
    pub status_page: Option<StatusPage>,
    /// The cached copy of the last resort, if it is ours to keep.
    pub site: Option<Site>,
    pub triggers: Triggers,
    pub hooks: Hooks,
    /// Drawn and recorded outages for `leeward test`. They have no part in any decision.
    pub tests: Vec<Test>,
}

impl Policy {
    /// The split when all is well: the weights written in the policy.
    pub fn home(&self) -> BTreeMap<RegionName, Weight> {
        self.regions.iter().map(|(name, region)| (name.clone(), region.weight)).collect()
    }

    /// The same as a [`Split`]. `None` cannot happen for a compiled policy: it has a region with weight.
    pub fn home_split(&self) -> Option<Split> {
        Split::new(self.home()).ok()
    }

    /// Regions that can carry the real service, so without the last resort.
    pub fn serving(&self) -> impl Iterator<Item = (&RegionName, &Region)> {
        self.regions.iter().filter(|(_, region)| region.role != Role::LastResort)
    }

    /// So many vantages must agree: as the policy says, and never more than it has.
    pub fn vantages_needed(&self) -> usize {
        self.judge.vantages_min.min(self.vantages.len()).max(1)
    }

    /// What stands on the status page whatever happens, if there is one.
    pub fn page_frame(&self) -> Option<Frame> {
        let page = self.status_page.as_ref()?;
        let components = page.components.iter();
        Some(Frame {
            service: self.service.clone(),
            title: page.title.clone(),
            url: page.url.clone(),
            renewed_every: page.every,
            components: components.map(|(id, one)| (id.clone(), one.name.clone())).collect(),
        })
    }

    /// Time between two rounds: a twelfth of the window that is judged, from one to five seconds.
    pub fn round_every(&self) -> Duration {
        (self.judge.window / 12).clamp(Duration::from_secs(1), Duration::from_secs(5))
    }

    pub fn last_resort(&self) -> Option<&RegionName> {
        self.regions
            .iter()
            .find(|(_, region)| region.role == Role::LastResort)
            .map(|(name, _)| name)
    }

    pub fn balancer(&self, name: &BalancerName) -> Option<&Balancer> {
        self.regions.values().flat_map(|region| &region.balancers).find(|b| b.name == *name)
    }

    pub fn region_of(&self, balancer: &BalancerName) -> Option<&RegionName> {
        self.regions
            .iter()
            .find(|(_, r)| r.balancers.iter().any(|b| &b.name == balancer))
            .map(|(n, _)| n)
    }

    /// The AWS regions that this service runs in, those without traffic on a calm day first: the others
    /// may be what has failed.
    pub fn aws_regions(&self) -> Vec<String> {
        let mut regions: Vec<&Region> = self.regions.values().collect();
        regions.sort_by_key(|region| region.weight);
        let mut codes: Vec<String> = Vec::new();
        for code in regions.into_iter().filter_map(|region| region.aws_region.clone()) {
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        codes
    }

    pub fn has_lever(&self, kind: LeverKind) -> bool {
        self.levers.iter().any(|lever| lever.kind() == kind)
    }

    pub fn weights_lever(&self) -> Option<&WeightsLever> {
        self.levers.iter().find_map(|lever| match lever {
            Lever::Weights(weights) => Some(weights),
            Lever::Gates(_) | Lever::Arc(_) => None,
        })
    }

    pub fn gates_lever(&self) -> Option<&GatesLever> {
        self.levers.iter().find_map(|lever| match lever {
            Lever::Gates(gates) => Some(gates),
            Lever::Weights(_) | Lever::Arc(_) => None,
        })
    }

    pub fn arc_lever(&self) -> Option<&ArcLever> {
        self.levers.iter().find_map(|lever| match lever {
            Lever::Arc(arc) => Some(arc),
            Lever::Weights(_) | Lever::Gates(_) => None,
        })
    }

    /// How switches of this kind are seen to be in force. `None` if the policy has none.
    pub fn proof(&self, kind: LeverKind) -> Option<&Proof> {
        match kind {
            LeverKind::Gates => self.gates_lever().map(|lever| &lever.proof),
            LeverKind::Arc => self.arc_lever().map(|lever| &lever.proof),
            LeverKind::Weights => None,
        }
    }

    /// How many switches of this kind a region has.
    pub fn switches(&self, kind: LeverKind, region: &RegionName) -> usize {
        match kind {
            LeverKind::Gates => {
                self.gates_lever().and_then(|lever| lever.slots.get(region)).map_or(0, Vec::len)
            }
            LeverKind::Arc => {
                self.arc_lever().map_or(0, |lever| usize::from(lever.controls.contains_key(region)))
            }
            LeverKind::Weights => 0,
        }
    }
}

/// How far the controller may go by itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Says what it sees.
    #[default]
    Observe,
    /// Says what it would do.
    Advise,
    /// Does it after a yes.
    Approve,
    /// Does it within its budget.
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Where traffic belongs.
    Primary,
    /// Carries a part of the traffic on a calm day.
    Active,
    /// Waits.
    Standby,
    /// A cached copy with a friendly page, for when nothing else is left.
    LastResort,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    pub role: Role,
    /// The weight on a calm day.
    pub weight: Weight,
    /// Requests per second it can carry; `None` if only a signal tells, or nobody knows.
    pub capacity_rps: Option<f64>,
    /// The AWS region code, for endpoints and for seeing that a lever depends on the sick region.
    pub aws_region: Option<String>,
    pub balancers: Vec<Balancer>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Balancer {
    pub name: BalancerName,
    /// Part of the region's traffic; the parts of a region add up to 1.
    pub carries: Ratio,
    /// Where a probe connects: the balancer's own name or address, without port.
    pub connect: Option<String>,
    /// `arn:aws:elasticloadbalancing:...:loadbalancer/...`
    pub arn: Option<String>,
    pub target_groups: Vec<String>,
    pub zonal_shift: Option<ZonalShift>,
}

/// A place from which probes are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vantage {
    /// This process, from the given source address if there is one.
    Here { source: Option<IpAddr> },
    /// Another Leeward, whose readings are fetched from its HTTP address.
    Peer { url: String },
}

/// A way to move traffic.
#[derive(Debug, Clone, PartialEq)]
pub enum Lever {
    /// Route 53 weighted records, through the control plane in us-east-1.
    Weights(WeightsLever),
    /// Health checks that look at objects which the controller publishes.
    Gates(GatesLever),
    /// Routing controls of Amazon Application Recovery Controller.
    Arc(ArcLever),
}

/// Which kind of lever, without its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeverKind {
    Weights,
    Gates,
    Arc,
}

impl LeverKind {
    /// True for the levers of the DNS data plane: they turn switches and write no records.
    pub fn is_switch(self) -> bool {
        match self {
            Self::Gates | Self::Arc => true,
            Self::Weights => false,
        }
    }
}

impl fmt::Display for LeverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => "weights",
            Self::Gates => "gates",
            Self::Arc => "arc",
        })
    }
}

impl Lever {
    pub fn kind(&self) -> LeverKind {
        match self {
            Self::Weights(_) => LeverKind::Weights,
            Self::Gates(_) => LeverKind::Gates,
            Self::Arc(_) => LeverKind::Arc,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct WeightsLever {
    /// Busiest first: batches are filled in this order.
    pub records: Vec<Records>,
    /// Whose TXT value names service, epoch, split and holder.
    pub epoch_record: EpochRecord,
    pub pace: Pace,
    /// An accepted change that is not in sync after this long is stuck.
    pub in_sync_within: Duration,
    /// How the zone's own name servers are asked after a change.
    pub readback: Readback,
    /// Time to live of the records, for the bounds that `plan` prints and for judging stragglers.
    pub ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    pub zone: ZoneId,
    pub name: RecordName,
}

/// Weighted record sets that move together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    pub zone: ZoneId,
    pub which: WhichRecords,
    /// The set identifier of each region's record.
    pub members: BTreeMap<RegionName, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichRecords {
    /// One name, with these types (A, AAAA, CNAME, ...).
    Named { name: RecordName, types: BTreeSet<String> },
    /// Every weighted name of the zone that has one set for each of `members`.
    All,
}

/// Our own limits, well under the account's.
///
/// Route 53 has two token buckets per account since 2026-07-30: 10 requests per second with a burst
/// of 50, and 100 record changes per second with a burst of 1,500, where CREATE and DELETE cost one
/// and UPSERT two (Developer Guide, "throttling-api-requests"; the change figures are second-hand).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    pub requests_per_second: f64,
    pub requests_burst: f64,
    pub changes_per_second: f64,
    pub changes_burst: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            requests_per_second: 5.0,
            requests_burst: 25.0,
            changes_per_second: 80.0,
            changes_burst: 1200.0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readback {
    /// Look up the zone's NS records and ask each server.
    NameServers,
    /// Ask these `host:port`, for private zones and laboratories.
    Servers(Vec<String>),
    /// Not observable from here. A change is done when it is in sync, and `plan` says so.
    None,
}

/// Independent kinds of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Probes from vantages.
    Outside,
    /// What users got, counted at the balancer.
    Traffic,
    /// Targets, capacity, replication.
    Inside,
    /// Deploys, notices, beacons.
    Context,
}

/// One source of readings.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    pub class: Class,
    /// A reading older than this is `Unknown`.
    pub fresh_for: Duration,
    /// How old its readings usually are when they arrive, where that is told; learned otherwise.
    pub usual_delay: Option<Duration>,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Probe(Probe),
    /// ELBv2 target health of the target groups of every balancer, by region.
    TargetHealth {
        every: Duration,
    },
    Metric(Metric),
    /// A neutral place that tells whether our own network is well.
    Beacon {
        url: String,
        every: Duration,
        timeout: Duration,
    },
    /// Readings that arrive by themselves (pushed, traces, the laboratory).
    Pushed,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    pub protocol: ProbeProtocol,
    /// What is sent as `Host` and SNI, whatever address is connected to.
    pub host: Option<String>,
    pub port: u16,
    pub path: String,
    pub every: Duration,
    /// Per phase; the whole is bounded by their sum.
    pub timeout: ProbeTimeouts,
    pub expect: ProbeExpect,
    /// All regions but the last resort if empty.
    pub regions: BTreeSet<RegionName>,
    /// All vantages if empty.
    pub from: BTreeSet<VantageName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeProtocol {
    Http,
    Https { verify: Verify },
    Tcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Chain and host name, against the system's roots.
    Certificate,
    /// As Route 53's own checkers do: any certificate will do.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeTimeouts {
    pub connect: Duration,
    pub tls: Duration,
    pub first_byte: Duration,
    pub body: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeExpect {
    /// Inclusive ranges of status codes.
    pub status: Vec<(u16, u16)>,
    /// Must occur in the first 16 KiB of the body.
    pub body_contains: Option<String>,
}

/// A CloudWatch metric or metric-math expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub measures: Measures,
    pub every: Duration,
    pub period: Duration,
    /// How far back data points are asked for.
    pub window: Duration,
    /// Per region; the place to ask and what to ask for.
    pub queries: BTreeMap<RegionName, Vec<MetricQuery>>,
    /// For [`Measures::Verdict`] only.
    pub bad: Option<BadWhen>,
    /// What a derived verdict is about.
    pub symptom: Option<Symptom>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuery {
    pub balancer: Option<BalancerName>,
    pub aws_region: String,
    pub what: QueryBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryBody {
    Metric {
        namespace: String,
        name: String,
        statistic: String,
        dimensions: BTreeMap<String, String>,
    },
    /// Metric math over other inputs, each an id with a metric.
    Expression { expression: String, inputs: BTreeMap<String, MetricInput> },
    /// Counts per request, of which each is asked for by itself.
    Share(Share),
}

/// What is counted of requests, 0 to 1. Counts of errors have a data point only where there were errors, so one
/// that is missing is zero, if requests speak for that time. What metric math makes of a metric without a single
/// point is documented nowhere, so this is not left to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Added up.
    pub of: Vec<QueryBody>,
    /// Taken off that.
    pub but: Vec<QueryBody>,
    /// The requests, added up.
    pub among: Vec<QueryBody>,
    /// What is counted comes on top of the requests, and speaks for itself where there are none.
    pub beside: bool,
}

/// What a balancer counts of trouble, for verdicts and for saying what ails it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symptom {
    /// Requests that are sent to targets although none is healthy.
    FailOpen,
    /// Connections to targets that failed.
    ConnectionErrors,
    /// Clients that did not agree on TLS with it.
    HandshakeErrors,
    /// Connections that were refused at its limit.
    RejectedConnections,
    /// Connections that it has reset.
    Resets,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricInput {
    pub namespace: String,
    pub name: String,
    pub statistic: String,
    pub dimensions: BTreeMap<String, String>,
}

/// What a number of a metric is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measures {
    /// Errors made by the balancer, per request, 0 to 1.
    BalancerErrors,
    /// Errors made by targets, per request, 0 to 1.
    TargetErrors,
    /// Requests per second that arrive.
    Requests,
    /// Requests per second that could be served now.
    Capacity,
    /// Seconds that this region's data is behind.
    ReplicationLag,
    /// Healthy part of the registered targets, 0 to 1.
    HealthyHosts,
    /// Milliseconds, 95th percentile or what the statistic says.
    Latency,
    /// Bad when it crosses the signal's own limit.
    Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BadWhen {
    Above(f64),
    Below(f64),
}

/// When a region counts as bad.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// Fewer successes than this, on a mean over `window`, is bad. Holds for a region as a whole and
    /// for each of its balancers.
    pub success_below: Ratio,
    /// Slower than this is bad.
    pub latency_above: Option<Duration>,
    /// The mean is taken over this long.
    pub window: Duration,
    /// Bad for this long, and still bad, before anything is moved.
    pub sustain: Duration,
    /// So many vantages must agree.
    pub vantages_min: usize,
    /// So many independent classes must agree.
    pub classes_min: usize,
    /// Healthy part of the targets under which the inside class calls a region bad.
    pub healthy_hosts_below: Ratio,
    /// A change this recent is the first suspect.
    pub deploy_guard: Option<Duration>,
}

/// How traffic moves away from a bad region.
#[derive(Debug, Clone, PartialEq)]
pub struct ShiftRules {
    /// Requests per second of the whole service, for when no signal tells.
    pub demand_rps: Option<f64>,
    /// Parts of the traffic that the destination gets, step by step; `[1.0]` is all at once.
    pub ramp: Vec<Ratio>,
    /// Time between steps, and the look that decides about the next one.
    pub hold: Duration,
    /// Part of a destination's capacity that stays free.
    pub spare: Ratio,
    pub overflow: Overflow,
    /// When nothing acceptable is left.
    pub last_resort: LastResort,
    /// Where traffic may go even though nothing proves it fit: which evil is lesser.
    pub unready: Unready,
}

/// What happens if the destination cannot take all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Move what fits, and more as it grows.
    Spill,
    /// Move nothing and call a human.
    Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastResort {
    /// Switch to the region of that role after this much patience.
    After(Duration),
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    Hold,
    /// Anything is better than a region that is down.
    ShiftAnyway,
}

/// Going home.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Failback {
    /// A human says when.
    Manual,
    Auto {
        /// Unbroken health needed first.
        hold: Duration,
        /// Largest step of share.
        step_max: Ratio,
        /// Between two steps.
        every: Duration,
    },
}

/// Refreshing the configuration of a balancer that fails while its targets are well.
#[derive(Debug, Clone, PartialEq)]
pub struct RefreshRules {
    /// Empty: busiest first.
    pub order: Vec<BalancerName>,
    /// Look at the effect for so long before the next.
    pub wait: Duration,
    /// At most so often each.
    pub tries_max: u32,
    /// For all balancers together.
    pub pace: ElbPace,
    /// What may be done to which; a balancer that is not here is refreshed as its lever knows.
    pub care: BTreeMap<BalancerName, BalancerCare>,
}

/// What may not happen now.
#[derive(Debug, Clone, PartialEq)]
pub struct Guards {
    /// After the end of an execution.
    pub cooldown: Duration,
    pub shifts_max: u32,
    pub shifts_window: Duration,
    /// After so many shifts within `latch_window` only a human moves again.
    pub latch_after: u32,
    pub latch_window: Duration,
    /// Writes on the home region would be lost above this.
    pub replication_lag_max: Option<Duration>,
    /// A text that says why; then a human must approve.
    pub needs_approval: Option<String>,
    /// Targets under which a destination is not ready.
    pub standby_healthy_hosts_min: Ratio,
    /// Local times in which nothing moves by itself.
    pub blocked: Vec<BlockedWindow>,
}

/// A weekly window in a time zone, from minute to minute of the week beginning Monday 00:00.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedWindow {
    pub text: String,
    pub time_zone: String,
    pub from_minute: u32,
    pub to_minute: u32,
}

/// Programs and services of the operator around a move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// Asked in this order; each may veto.
    pub before: Vec<Hook>,
    /// Stops writes where traffic leaves; asked last.
    pub fence: Option<Hook>,
    pub after: Vec<Hook>,
    /// Called once for each change that is the common cause.
    pub rollback: Option<Hook>,
}

impl Hooks {
    /// The hook of that phase and name.
    pub fn find(&self, phase: HookPhase, name: &str) -> Option<&Hook> {
        let of: Vec<&Hook> = match phase {
            HookPhase::Before => self.before.iter().collect(),
            HookPhase::Fence => self.fence.iter().collect(),
            HookPhase::After => self.after.iter().collect(),
            HookPhase::Rollback => self.rollback.iter().collect(),
        };
        of.into_iter().find(|hook| hook.name == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub name: String,
    pub does: HookDoes,
    /// It is given so long; a second to ten minutes.
    pub timeout: Duration,
    pub if_it_fails: IfItFails,
    /// Empty: every kind of move.
    pub moves: BTreeSet<HookedMove>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookDoes {
    Run { program: String, arguments: Vec<String> },
    Call { url: String, token_file: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfItFails {
    Veto,
    GoOn,
}

/// The kinds of moves that hooks tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookedMove {
    Evacuate,
    Failback,
    LastResort,
    Operator,
}

/// Where in the life of a move, or of a change, a hook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPhase {
    Before,
    Fence,
    After,
    Rollback,
}

/// By which ways events may come. An event asks for a look; it never decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triggers {
    /// An alarm or a notice that is told later than this after it happened asks for nothing any more.
    pub late_after: Duration,
    pub queues: Vec<QueueTrigger>,
    /// Topics of SNS that may send over HTTP; empty: nobody may.
    pub topics: BTreeSet<String>,
    pub eventbridge: Option<KeyTrigger>,
    /// The token that Alertmanager sends.
    pub alertmanager: Option<Secret>,
    /// By the name that a sender gives.
    pub senders: BTreeMap<String, Sender>,
}

impl Triggers {
    /// Alarms may come 13 minutes late and more (three tries of SNS over HTTP, a queue behind it).
    pub const LATE_AFTER: Duration = Duration::from_secs(15 * 60);

    /// True if some way needs an HTTP address to be listened on.
    pub fn over_http(&self) -> bool {
        !self.topics.is_empty()
            || self.eventbridge.is_some()
            || self.alertmanager.is_some()
            || !self.senders.is_empty()
    }
}

impl Default for Triggers {
    fn default() -> Self {
        Self {
            late_after: Self::LATE_AFTER,
            queues: Vec::new(),
            topics: BTreeSet::new(),
            eventbridge: None,
            alertmanager: None,
            senders: BTreeMap::new(),
        }
    }
}

/// A queue of SQS that is polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueTrigger {
    pub url: String,
    pub aws_region: String,
    /// Topics whose messages are taken; empty: all, because who may send is the queue's own policy.
    pub topics: BTreeSet<String>,
}

/// A key that is sent in a header of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTrigger {
    /// In small letters.
    pub header: String,
    pub key: Secret,
}

/// Where a secret is; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secret {
    /// The name of an environment variable.
    Env(String),
    /// The whole path of a file, one secret a line; read anew each time.
    File(String),
}

/// Somebody who signs what they send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub key: Secret,
    pub may: BTreeSet<May>,
}

/// What a sender may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum May {
    Look,
    Deploy,
    Notice,
    Reading,
    Approve,
}
