//! What a preflight reads of an account, in our words: zones, health checks, target groups, balancers,
//! limits and permissions. Reading only: there is no way to change anything through this port.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::CallFailed;
use crate::domain::{InAnswers, RegionName, Timestamp, ZoneId};
use crate::policy::ArcLever;

/// Who asks, as the account sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub account: String,
    pub arn: String,
    /// The `Date` of the answer: the service's clock, to the second.
    pub says_now: Option<Timestamp>,
}

/// A hosted zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneFacts {
    /// Lower case, without the final dot.
    pub name: String,
    pub private: bool,
    /// As the service writes it: `ENABLED`, `DISABLED`, `ENABLING_HOSTED_ZONE_LOCKED`, ...; `None` if it
    /// says nothing.
    pub accelerated_recovery: Option<String>,
    pub name_servers: Vec<String>,
}

/// How much of a quota is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    pub used: u64,
    pub max: u64,
}

/// A Route 53 health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFacts {
    /// `HTTP`, `HTTPS_STR_MATCH`, `CALCULATED`, `CLOUDWATCH_METRIC`, `RECOVERY_CONTROL`, ...
    pub kind: String,
    pub inverted: bool,
    /// Counts as healthy whatever it would see (API reference, `HealthCheckConfig`, `Disabled`).
    pub disabled: bool,
    /// Domain name or address that is asked.
    pub endpoint: Option<String>,
    pub address: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    /// The text that the body of an answer must have in it.
    pub search: Option<String>,
    pub every: Duration,
    /// Readings in a row until the verdict changes.
    pub failures: u32,
    /// For `CALCULATED`: so many of `children` must be healthy.
    pub threshold: Option<u32>,
    pub children: Vec<String>,
    /// For `CLOUDWATCH_METRIC`: where the alarm lives.
    pub alarm_region: Option<String>,
    pub without_data: Option<String>,
    pub routing_control: Option<String>,
}

/// A target group with the settings that make its targets look well or dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFacts {
    pub name: String,
    /// `instance`, `ip`, `lambda` or `alb`.
    pub target_type: String,
    pub health_checked: bool,
    pub every: Duration,
    pub timeout: Duration,
    pub healthy_after: u32,
    pub unhealthy_after: u32,
    /// Status codes that count as well, as written: `200`, `200-299`.
    pub matcher: Option<String>,
    /// ARNs of the balancers that use it.
    pub balancers: Vec<String>,
    /// As the service names them: `deregistration_delay.timeout_seconds`, ...
    pub attributes: BTreeMap<String, String>,
}

/// A load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerFacts {
    /// `active`, `provisioning`, `active_impaired` or `failed`.
    pub state: String,
    pub dns_name: String,
    pub attributes: BTreeMap<String, String>,
}

/// How one gate was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateFacts {
    /// Whether the object is there, by its bucket. `None` for a gate that no bucket keeps.
    pub kept: Option<Result<bool, CallFailed>>,
    /// The status with which it answers somebody without credentials, as a checker is, or why it does not.
    pub outside: Result<u16, String>,
    /// At the address of an `http` gate somebody answers with another text than this program: a proxy's page, a
    /// redirection.
    pub stranger: bool,
}

impl GateFacts {
    /// Whether it is closed: by its bucket, or else by how it looks. `None` if neither tells.
    pub fn closed(&self) -> Option<bool> {
        match &self.kept {
            Some(kept) => kept.as_ref().ok().copied(),
            None => self.looks_closed(),
        }
    }

    /// 2xx and 3xx are healthy to a checker (Developer Guide, "How Amazon Route 53 determines whether a
    /// health check is healthy"), and to be healthy is to be closed.
    pub fn looks_closed(&self) -> Option<bool> {
        self.outside.as_ref().ok().map(|status| (200..400).contains(status))
    }
}

/// How the routing control of each region stands by each endpoint, under the endpoint's AWS region.
pub type ControlFacts = BTreeMap<String, BTreeMap<RegionName, Result<InAnswers, CallFailed>>>;

/// A question to the account's own judgement of permissions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permission {
    /// `route53:ChangeResourceRecordSets`
    pub action: String,
    pub resource: String,
    /// Values of condition keys, as the real call would carry them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Allowed,
    /// A statement says no.
    Denied,
    /// No statement says yes.
    NotAllowed,
}

/// An account, to be read.
#[async_trait]
pub trait Account: Send + Sync + fmt::Debug {
    async fn caller(&self) -> Result<Caller, CallFailed>;
    async fn zone(&self, zone: &ZoneId) -> Result<ZoneFacts, CallFailed>;
    /// Record sets in a zone.
    async fn zone_quota(&self, zone: &ZoneId) -> Result<Quota, CallFailed>;
    async fn check(&self, id: &str) -> Result<CheckFacts, CallFailed>;
    async fn group(&self, aws_region: &str, arn: &str) -> Result<GroupFacts, CallFailed>;
    async fn balancer(&self, aws_region: &str, arn: &str) -> Result<BalancerFacts, CallFailed>;
    /// Limits of Elastic Load Balancing, by name.
    async fn balancing_limits(&self, aws_region: &str)
    -> Result<BTreeMap<String, u64>, CallFailed>;
    /// Whether an object is there.
    async fn object(&self, aws_region: &str, bucket: &str, key: &str) -> Result<bool, CallFailed>;
    /// What every endpoint of a cluster tells, each asked by itself.
    async fn controls(&self, lever: &ArcLever) -> ControlFacts;
    async fn may(&self, principal: &str, asked: &Permission) -> Result<Verdict, CallFailed>;
}
