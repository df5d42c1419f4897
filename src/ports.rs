//! What Leeward needs of the world, in its own words. The edges implement these; so do the simulator,
//! the laboratory and the player of traces.

mod account;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::balancer::{Call, Snapshot};
use crate::domain::{
    BalancerName, InAnswers, RecordName, RegionName, ServiceName, Timestamp, Turn, ZoneId,
};
use crate::plan::{Batch, HookCall, HookEnd, RecordSet};
use crate::policy::{ArcLever, GatesLever, Hook, LeverKind, Policy, QueryBody};
use crate::steer::Found;
use crate::tell::{Letter, Receipt};

pub use account::{
    Account, BalancerFacts, Caller, CheckFacts, ControlFacts, GateFacts, GroupFacts, Permission,
    Quota, Verdict, ZoneFacts,
};

/// The one door to the clock.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
}

/// Why a call did not do what was asked, by what may be believed afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallFailed {
    /// Never left this machine, or was never taken in. Nothing happened.
    #[error("not sent: {why}")]
    NotSent { why: String },
    /// Too many calls. Nothing happened.
    #[error("throttled ({code}): {why}")]
    Throttled { code: String, why: String },
    /// An earlier change of the same zone is still being processed. Nothing happened.
    #[error("an earlier change of the zone is still being processed")]
    Busy,
    /// What we expected to find is not there: somebody else changed it. Nothing happened.
    #[error("the records are not as they were read: {why}")]
    Conflict { why: String },
    /// Refused for another reason (permission, shape, limits). Nothing happened.
    #[error("refused ({code}): {why}")]
    Refused { code: String, why: String },
    /// The thing asked for does not exist.
    #[error("not found ({code}): {why}")]
    NotFound { code: String, why: String },
    /// It may or may not have happened. Read before trying again.
    #[error("outcome unknown: {why}")]
    Unknown { why: String },
}

impl CallFailed {
    /// True if the call certainly had no effect.
    pub fn nothing_happened(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }

    /// True if the same call would be refused again until somebody mends a permission, a name or a place.
    pub fn is_for_good(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NotFound { .. })
    }
}

/// The id of an accepted change, without the `/change/` in front.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangeId(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    Pending,
    InSync,
}

/// Weighted records: the control-plane lever.
#[async_trait]
pub trait Weights: Send + Sync + fmt::Debug {
    /// All record sets of one name, or of the whole zone, with every page.
    async fn read(
        &self,
        zone: &ZoneId,
        name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed>;
    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed>;
    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed>;
    /// The zone's own name servers, as host names.
    async fn name_servers(&self, zone: &ZoneId) -> Result<Vec<String>, CallFailed>;
}

/// What the name servers of a zone really answer.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// The values of one authoritative answer of one server (`host` or `host:port`).
    async fn ask(
        &self,
        server: &str,
        name: &RecordName,
        kind: &str,
    ) -> Result<Vec<String>, CallFailed>;
}

/// Switches in the DNS data plane, one or several for each region: gates or routing controls.
#[async_trait]
pub trait Switches: Send + Sync + fmt::Debug {
    /// Turns them all, in one call where the service can; otherwise those that let in before those that
    /// take out, so that the answers are never empty. May be repeated without harm.
    ///
    /// `Ok`: all of them stand so, by what the service says when it is read. After a failure other than
    /// [`CallFailed::Unknown`] none was turned.
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed>;

    /// How they stand now. Regions of which that cannot be read are left out.
    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        Ok(BTreeMap::new())
    }

    /// Whether what comes after the switch sees it so: health checks, where they can be asked.
    async fn followed(&self, turns: &[Turn]) -> Result<Followed, CallFailed> {
        let _ = turns;
        Ok(Followed::CannotTell)
    }
}

/// What health checks say of switches that were turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    Yes,
    NotYet,
    CannotTell,
}

/// Small objects in buckets, each at its own AWS region.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug {
    /// May be repeated without harm.
    async fn put(
        &self,
        aws_region: &str,
        bucket: &str,
        key: &str,
        body: &str,
    ) -> Result<(), CallFailed>;
    /// Well done if it was not there.
    async fn delete(&self, aws_region: &str, bucket: &str, key: &str) -> Result<(), CallFailed>;
    async fn exists(&self, aws_region: &str, bucket: &str, key: &str) -> Result<bool, CallFailed>;
}

/// Health checks by id.
#[async_trait]
pub trait HealthChecks: Send + Sync + fmt::Debug {
    /// What the checkers find, whether or not the check is inverted.
    async fn found(&self, id: &str) -> Result<Found, CallFailed>;
}

/// Clusters of routing controls.
pub trait Clusters: Send + Sync + fmt::Debug {
    fn cluster(&self, lever: &ArcLever) -> Arc<dyn Switches>;
}

/// Makes the switches that a policy describes.
pub trait Switchboard: Send + Sync + fmt::Debug {
    /// `None` where this build, or this deployment, cannot turn gates.
    fn gates(&self, service: &ServiceName, lever: &GatesLever) -> Option<Arc<dyn Switches>>;
    /// `None` where this build, or this deployment, cannot turn routing controls.
    fn arc(&self, service: &ServiceName, lever: &ArcLever) -> Option<Arc<dyn Switches>>;
}

/// The configuration of load balancers.
#[async_trait]
pub trait Balancers: Send + Sync + fmt::Debug {
    async fn refresh(&self, balancer: &BalancerName) -> Result<(), CallFailed>;
}

/// The configuration of load balancers, call by call.
#[async_trait]
pub trait Configurations: Send + Sync + fmt::Debug {
    /// Everything about one load balancer, with every page. `also` names target groups that no action
    /// has yet and that are looked for as well.
    async fn read(
        &self,
        arn: &str,
        also: &BTreeSet<String>,
        at: Timestamp,
    ) -> Result<Snapshot, CallFailed>;
    /// One write. `live` is what was read just before: names are looked up in it.
    async fn change(&self, live: &Snapshot, call: &Call) -> Result<(), CallFailed>;
}

/// Zonal shifts of load balancers.
#[async_trait]
pub trait ZonalShifts: Send + Sync + fmt::Debug {
    /// What is shifted away from where, whoever began it.
    async fn read(&self, balancer_arn: &str) -> Result<Shiftable, CallFailed>;
    /// Traffic leaves the zone for that long, in whole minutes.
    async fn start(
        &self,
        balancer_arn: &str,
        zone_id: &str,
        expires: std::time::Duration,
        comment: &str,
    ) -> Result<ShiftBegun, CallFailed>;
    /// Ends so long after now. Says when that is.
    async fn renew(
        &self,
        balancer_arn: &str,
        id: &str,
        expires: std::time::Duration,
    ) -> Result<Timestamp, CallFailed>;
    async fn cancel(&self, balancer_arn: &str, id: &str) -> Result<(), CallFailed>;
}

/// What is known of one load balancer that zonal shifts may be made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shiftable {
    /// The ids of its zones, as the service names them.
    pub zones: BTreeSet<String>,
    /// All that are not over, of every kind.
    pub shifts: Vec<ShiftSeen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShiftSeen {
    pub id: String,
    pub zone_id: String,
    /// When it ends by itself. `None` if nobody says, as for one that AWS began.
    pub until: Option<Timestamp>,
    pub comment: String,
    /// Such as `ZONAL_SHIFT`, `PRACTICE_RUN` or `ZONAL_AUTOSHIFT`.
    pub kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShiftBegun {
    pub id: String,
    pub until: Timestamp,
}

/// People. Takes what is to be told and returns at once, whatever becomes of it: a channel that hangs
/// must not hold up a round.
pub trait Outbox: Send + Sync + fmt::Debug {
    /// Never waits. An error means that it was not taken in, and nothing will be heard of it.
    fn post(&self, letter: Letter) -> Result<(), CallFailed>;
    /// What became of letters since this was last asked. Never waits.
    fn receipts(&self) -> Vec<Receipt>;
}

/// Programs and services of the operator. Calls run by themselves; a round never waits for one.
pub trait Hooks: Send + Sync + fmt::Debug {
    /// Begins a call, for which [`Hooks::ended`] will have an end within the hook's `timeout`.
    fn begin(&self, hook: &Hook, call: &HookCall);
    /// The calls that ended since this was last asked.
    fn ended(&self) -> Vec<HookEnd>;
}

/// Topics that people subscribe to.
#[async_trait]
pub trait Topics: Send + Sync + fmt::Debug {
    /// `subject` is cut to what the service takes. `thread` groups messages where the topic keeps an order.
    async fn publish(
        &self,
        aws_region: &str,
        topic: &str,
        message: &Announcement<'_>,
    ) -> Result<(), CallFailed>;
}

/// What is published to a topic.
#[derive(Debug, Clone, Copy)]
pub struct Announcement<'a> {
    pub subject: &'a str,
    pub text: &'a str,
    /// `page`, `warn` or `info`, for filters of subscribers.
    pub severity: &'a str,
    pub thread: &'a str,
    /// Counts the messages of the thread.
    pub sequence: u32,
}

/// Where the files of a status page and of cached copies are kept for everybody to read.
#[async_trait]
pub trait Pages: Send + Sync + fmt::Debug {
    /// Replaces one file as a whole.
    async fn publish(
        &self,
        aws_region: &str,
        bucket: &str,
        key: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<(), CallFailed>;
    /// `None` if it is not there. Fails if it has more than `octets_max` octets.
    async fn read(
        &self,
        aws_region: &str,
        bucket: &str,
        key: &str,
        octets_max: usize,
    ) -> Result<Option<Bytes>, CallFailed>;
    /// Well done if it was not there.
    async fn remove(&self, aws_region: &str, bucket: &str, key: &str) -> Result<(), CallFailed>;
}

/// The levers that the executor may pull. What a deployment does not have is `None`.
#[derive(Debug, Clone, Default)]
pub struct Levers {
    pub weights: Option<Arc<dyn Weights>>,
    pub resolver: Option<Arc<dyn Resolver>>,
    pub gates: Option<Arc<dyn Switches>>,
    pub arc: Option<Arc<dyn Switches>>,
    pub balancers: Option<Arc<dyn Balancers>>,
    pub hooks: Option<Arc<dyn Hooks>>,
    pub configurations: Option<Arc<dyn Configurations>>,
    pub zonal_shifts: Option<Arc<dyn ZonalShifts>>,
    /// Where a policy's own switches come from ([`Levers::of`]).
    pub switchboard: Option<Arc<dyn Switchboard>>,
}

impl Levers {
    /// The levers of one policy: with its own gates and routing controls.
    #[must_use]
    pub fn of(&self, policy: &Policy) -> Self {
        let board = self.switchboard.as_ref();
        let service = &policy.service;
        let gates = || board?.gates(service, policy.gates_lever()?);
        let arc = || board?.arc(service, policy.arc_lever()?);
        Self {
            gates: self.gates.clone().or_else(gates),
            arc: self.arc.clone().or_else(arc),
            ..self.clone()
        }
    }

    /// The switches of this kind.
    pub fn switches(&self, kind: LeverKind) -> Option<&Arc<dyn Switches>> {
        match kind {
            LeverKind::Gates => self.gates.as_ref(),
            LeverKind::Arc => self.arc.as_ref(),
            LeverKind::Weights => None,
        }
    }
}

/// Where a queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePlace {
    pub url: String,
    pub aws_region: String,
}

/// A message that is hidden from others until it is deleted or released, or its time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub body: String,
    /// For this reception only.
    pub receipt: String,
    /// How often it was received, this time included.
    pub times: u32,
}

/// Queues that bring events. A message may come more than once and in any order.
#[async_trait]
pub trait Queue: Send + Sync + fmt::Debug {
    /// Waits for messages, for some seconds at most. An empty list means that none came.
    async fn receive(&self, place: &QueuePlace) -> Result<Vec<Message>, CallFailed>;
    async fn delete(&self, place: &QueuePlace, message: &Message) -> Result<(), CallFailed>;
    /// Lets it come again after this long, at most 12 hours.
    async fn release(
        &self,
        place: &QueuePlace,
        message: &Message,
        after: std::time::Duration,
    ) -> Result<(), CallFailed>;
}

/// State of one registered target, as `DescribeTargetHealth` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: String,
    pub port: Option<u16>,
    pub zone: Option<String>,
    pub state: TargetState,
    /// Such as `Target.Timeout` or `Elb.InternalError`.
    pub reason: Option<String>,
    /// An administrator's override (a zonal shift) keeps traffic away whatever its health.
    pub shifted_away: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    Initial,
    Healthy,
    Unhealthy,
    UnhealthyDraining,
    Unused,
    Draining,
    Unavailable,
    /// Healthy, and a zonal shift keeps requests away from it.
    ShiftedAway,
    /// A state that this version does not know. Unknown, like `Unavailable`.
    Other,
}

/// Target health of load balancers.
#[async_trait]
pub trait TargetHealth: Send + Sync + fmt::Debug {
    async fn targets(
        &self,
        aws_region: &str,
        target_group: &str,
    ) -> Result<Vec<Target>, CallFailed>;
}

/// One data point of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub at: Timestamp,
    pub value: f64,
}

/// Metrics over a window.
#[async_trait]
pub trait Metrics: Send + Sync + fmt::Debug {
    /// One list of points, oldest first, for each query, in the order of the queries, all in one AWS
    /// region. Batched into as few calls as the service allows. An empty list means no data point.
    async fn query(
        &self,
        aws_region: &str,
        queries: &[QueryBody],
        period: std::time::Duration,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Vec<Point>>, CallFailed>;
}
