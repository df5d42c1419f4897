//! A bad zone taken out of a balancer by a zonal shift, and put in again. No IO.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{BalancerName, RegionName, ServiceName, Timestamp, span};

/// A comment has at most 128 characters (API reference of ARC zonal shift, "`StartZonalShift`").
const COMMENT_CHARS_MAX: usize = 128;

/// One call about one zone of one balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneAct {
    pub balancer: BalancerName,
    pub region: RegionName,
    pub arn: String,
    /// `eu-west-1a`
    pub zone: String,
    /// `euw1-az2`
    pub zone_id: String,
    pub step: ZoneStep,
    /// One sentence for people.
    pub because: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneStep {
    /// Traffic leaves the zone.
    Start { expires: Duration },
    /// It stays away for longer.
    Renew { expires: Duration },
    /// It comes back.
    Cancel,
}

/// What a round has in mind for a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZonePlan {
    pub act: ZoneAct,
    /// Every guard let it pass. If not, the decision's holds say why.
    pub go: bool,
}

impl ZoneAct {
    /// The comment of a shift that begins now. By it the shift is known again when the answer to the call
    /// was lost.
    pub fn mark(&self, service: &ServiceName, now: Timestamp) -> String {
        let mark = format!("leeward {} {service} {}", now.as_millis(), self.balancer);
        mark.chars().take(COMMENT_CHARS_MAX).collect()
    }

    /// The call, as a dry run shows it.
    pub fn call(&self) -> String {
        let Self { arn, zone_id, .. } = self;
        match self.step {
            ZoneStep::Start { expires } => format!(
                "StartZonalShift resourceIdentifier={arn} awayFrom={zone_id} expiresIn={}",
                minutes(expires)
            ),
            ZoneStep::Renew { expires } => {
                format!(
                    "UpdateZonalShift expiresIn={} (of {arn}, away from {zone_id})",
                    minutes(expires)
                )
            }
            ZoneStep::Cancel => format!("CancelZonalShift (of {arn}, away from {zone_id})"),
        }
    }
}

/// `180m`: whole minutes, one at least.
pub fn minutes(expires: Duration) -> String {
    format!("{}m", (expires.as_secs() / 60).max(1))
}

impl fmt::Display for ZoneAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { balancer, zone, zone_id, because, .. } = self;
        match self.step {
            ZoneStep::Start { expires } => write!(
                f,
                "shift balancer `{balancer}` away from zone {zone} ({zone_id}) for {}: {because}",
                span(expires)
            ),
            ZoneStep::Renew { expires } => write!(
                f,
                "keep balancer `{balancer}` away from zone {zone} ({zone_id}) for another {}: {because}",
                span(expires)
            ),
            ZoneStep::Cancel => {
                write!(f, "let balancer `{balancer}` use zone {zone} ({zone_id}) again: {because}")
            }
        }
    }
}
