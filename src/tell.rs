//! Words for people: notes with a severity and what they are about. No IO.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{BalancerName, RegionName, ServiceName, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warn,
    /// Wakes somebody.
    Page,
    /// The public page; counts only as itself.
    Status,
}

/// What a note is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    Region(RegionName),
    Balancer(BalancerName),
    Word(Word),
}

/// The closed list of subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    Deploy,
    MissingData,
    StaleData,
    ProbeNetwork,
    ControlPlane,
    Capacity,
    Replication,
    Zone,
    Flapping,
    NoSafeTarget,
    Clock,
    Throttle,
    StuckChange,
    Latency,
    Correlated,
    OperatorHold,
    Recovered,
    Shifted,
    Lb,
    RegionDown,
    Overload,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(name) => write!(f, "{name}"),
            Self::Balancer(name) => write!(f, "{name}"),
            Self::Word(word) => {
                let text = serde_json::to_value(word).unwrap_or_default();
                f.write_str(text.as_str().unwrap_or_default())
            }
        }
    }
}

/// One message of an incident's thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub service: ServiceName,
    pub at: Timestamp,
    pub severity: Severity,
    pub about: BTreeSet<Topic>,
    pub text: String,
}
