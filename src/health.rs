//! Readings: what was seen, from where, how old it is, and what it means. No IO, no clock.

mod assess;
mod evidence;
mod failures;
mod few;
mod instruments;
mod looks;
mod picture;
mod symptoms;
mod window;
mod zones;

pub use evidence::{Deploy, Evidence};
pub use picture::{
    BalancerView, ClassView, Failing, Instruments, Lag, Picture, RegionView, Says, VantageView,
    ZoneView,
};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{BalancerName, RegionName, SignalName, Timestamp, VantageName};
use crate::policy::Class;

/// One thing that was measured, or that could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Where it comes from.
    pub signal: SignalName,
    pub class: Class,
    pub about: About,
    pub measure: Measure,
    /// When the source says it was taken. Sources' clocks lie: see `heard_at`.
    pub taken_at: Timestamp,
    /// When it reached us, by our own clock.
    pub heard_at: Timestamp,
}

/// What a sample speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct About {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<RegionName>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub balancer: Option<BalancerName>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vantage: Option<VantageName>,
}

/// The number, with what it counts. `None` means the source was asked and could not tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// One probe or many: part that succeeded, 0 to 1, and how long it took.
    Probe {
        success: f64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        latency_ms: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        failure: Option<ProbeFailure>,
    },
    /// The probe could not be made for a reason of our own (no file handles, no route from here).
    NoProbe { why: String },
    /// Part of the registered targets that is healthy.
    HealthyHosts(Option<f64>),
    /// Targets by zone, as far as they tell theirs.
    Zones(Vec<ZoneHosts>),
    /// Errors made by the balancer, per request.
    BalancerErrors(Option<f64>),
    /// Errors made by targets, per request.
    TargetErrors(Option<f64>),
    /// Requests per second that arrive.
    Requests(Option<f64>),
    /// Requests per second that could be served.
    Capacity(Option<f64>),
    /// Seconds that the region's data is behind.
    ReplicationLag(Option<f64>),
    /// Milliseconds.
    Latency(Option<f64>),
    /// A metric with its own limit in the policy: bad or not.
    Verdict { value: Option<f64>, bad: bool },
    /// Whether a neutral place could be reached, 0 to 1.
    Beacon { success: f64 },
    /// The whole source is silent for this region: asked, and no answer at all.
    Silence { why: String },
}

/// The targets of a balancer in one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneHosts {
    /// `eu-west-1a`
    pub zone: String,
    pub healthy: u32,
    /// Targets whose health is not known count neither here nor there.
    pub unhealthy: u32,
    /// Targets that get nothing because of a zonal shift, whatever their health.
    pub shifted: u32,
}

/// In which phase a probe failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeFailure {
    Resolve,
    ConnectRefused,
    ConnectTimeout,
    /// The handshake fails for any other reason than the certificate, or for one that is not told.
    Tls,
    CertificateExpired,
    /// The certificate is for another name.
    CertificateName,
    /// Nobody whom the probing machine trusts vouches for the certificate.
    CertificateUntrusted,
    FirstByteTimeout,
    BodyTimeout,
    Reset,
    Status(u16),
    Body,
    Garbage,
}

impl ProbeFailure {
    /// Whether both are one kind: they differ at most in a number, or in how far an answer came.
    pub const fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Status(one), Self::Status(two)) => one / 100 == two / 100,
            _ => self.kind() == other.kind(),
        }
    }

    const fn kind(self) -> u8 {
        match self {
            Self::Resolve => 0,
            Self::ConnectRefused => 1,
            Self::ConnectTimeout => 2,
            Self::Tls => 3,
            Self::CertificateExpired => 4,
            Self::CertificateName => 5,
            Self::CertificateUntrusted => 6,
            Self::FirstByteTimeout | Self::BodyTimeout => 7,
            Self::Reset => 8,
            Self::Status(_) => 9,
            Self::Body => 10,
            Self::Garbage => 11,
        }
    }
}

/// What a reading comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    Good,
    Bad,
    /// Never good and never bad.
    Unknown,
}

/// What arrived since the last round.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observations {
    pub samples: Vec<Sample>,
    pub events: Vec<Event>,
    pub answers: Answers,
}

/// What the lever says the world is answered now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// Read, by the owner's own order or found to be so: weights as accepted, whether or not in force yet.
    Split { split: crate::domain::Split, read_at: Timestamp },
    /// Records of one service disagree with each other or are not as the policy describes them.
    Drift { what: String },
    /// The lever could not be asked.
    #[default]
    Unknown,
}

/// Something that happened, as opposed to something that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// When it reached us.
    pub heard_at: Timestamp,
    pub what: Happening,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    Deploy { regions: Vec<RegionName>, version: String, scope: String },
    Alarm { alarm: String, region: Option<RegionName>, state: AlarmState },
    Notice { text: String },
    Freeze { by: String, reason: String, until: Option<Timestamp> },
    Unfreeze { by: String },
    Approve { by: String, until: Option<Timestamp> },
    Deny { by: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlarmState {
    Ok,
    Alarm,
    InsufficientData,
}

impl Sample {
    /// Age by the source's stamp, zero if that lies ahead of us.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.taken_at)
    }
}
