//! The levers of the DNS data plane, checked: gates and routing controls.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{RecordName, RegionName, ZoneId};

/// The part of a key or URL that stands for the name of the controller that publishes there.
pub const HOLDER: &str = "{holder}";

/// Gates: objects that inverted health checks look at. Publishing one takes its region out of the
/// answers, so a controller that is dead, or cut off, takes nothing out.
#[derive(Debug, Clone, PartialEq)]
pub struct GatesLever {
    /// The gates of each region. A region with several has as many weighted records of equal weight, and
    /// can be taken out in steps.
    pub slots: BTreeMap<RegionName, Vec<Slot>>,
    pub check: Check,
    pub votes: Votes,
    pub proof: Proof,
}

impl GatesLever {
    /// One gate for each region, where only the port knows it: for traces and simulations.
    pub fn unnamed(regions: impl IntoIterator<Item = RegionName>, ttl: Duration) -> Self {
        let slot = Slot { gate: Gate::Unnamed, health_check: None };
        Self {
            slots: regions.into_iter().map(|region| (region, vec![slot.clone()])).collect(),
            check: Check { every: Duration::from_secs(10), failures: 3 },
            votes: Votes { needed: 1, of: 1 },
            proof: Proof { ttl, in_force_within: Duration::from_secs(300), witness: None },
        }
    }
}

/// One gate and the health check that looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub gate: Gate,
    /// The id of the Route 53 health check, for asking how it sees the gate.
    pub health_check: Option<String>,
}

/// Where a gate stands. The names may have [`HOLDER`] in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// An object; absent is open. `url`: where health checks find it, if not at the bucket's own name.
    S3 { bucket: String, key: String, aws_region: String, url: Option<String> },
    /// An address that this process answers itself, as it is reached from outside.
    Http { url: String, aws_region: Option<String> },
    /// The port knows where.
    Unnamed,
}

impl Gate {
    /// The AWS region that has to work for this gate to be turned.
    pub fn aws_region(&self) -> Option<&str> {
        match self {
            Self::S3 { aws_region, .. } => Some(aws_region),
            Self::Http { aws_region, .. } => aws_region.as_deref(),
            Self::Unnamed => None,
        }
    }

    /// Where health checks look at it, if this controller publishes it.
    pub fn url(&self, holder: &str) -> Option<String> {
        let url = match self {
            Self::Http { url, .. } | Self::S3 { url: Some(url), .. } => url.clone(),
            Self::S3 { url: None, bucket, key, aws_region } => {
                format!("https://{bucket}.s3.{aws_region}.amazonaws.com/{key}")
            }
            Self::Unnamed => return None,
        };
        Some(url.replace(HOLDER, holder))
    }
}

/// The request interval and failure threshold of the health checks. Both directions count the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// 10 or 30 seconds.
    pub every: Duration,
    /// 1 to 10 in a row.
    pub failures: u32,
}

impl Check {
    /// How long until a check has changed its mind, at most: each checker asks at its own time, so its
    /// first look comes within one interval, and it wants `failures` of them (Developer Guide, "How
    /// Amazon Route 53 determines whether a health check is healthy").
    pub fn flips_within(self) -> Duration {
        self.every * self.failures
    }
}

/// So many of the controllers must publish before a region is out. Others than 1 of 1 need a calculated
/// health check over the gates of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Votes {
    pub needed: u32,
    pub of: u32,
}

/// How it is seen that switches are in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Time to live of the records behind the checks.
    pub ttl: Duration,
    /// What is not in force after this long has failed, and the next lever is tried.
    pub in_force_within: Duration,
    pub witness: Option<Witness>,
}

/// A TXT name with one weighted record for each region, with the weights and the health checks of the
/// service's own records, whose value is the region's name: what it answers, the service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    pub zone: ZoneId,
    pub name: RecordName,
    /// The zone's name servers, each as host and port. They are written down because looking them up
    /// would be a call of the control plane.
    pub servers: Vec<String>,
}

/// Routing controls of Amazon Application Recovery Controller.
#[derive(Debug, Clone, PartialEq)]
pub struct ArcLever {
    /// The cluster's five, by AWS region.
    pub endpoints: BTreeMap<String, String>,
    /// The ARN of each region's control: `On` is in the answers.
    pub controls: BTreeMap<RegionName, String>,
    /// ARNs of safety rules that are overridden. Empty unless the operator wrote them down.
    pub override_rules: Vec<String>,
    pub proof: Proof,
}
