//! Zonal shifts in sentences. No IO.

use crate::decide::Decision;
use crate::domain::BalancerName;
use crate::memory::{Acts, ZoneAway, ZoneEnd, ZoneNote};
use crate::plan::ZoneStep;

/// One line of the journal.
pub(super) fn line(balancer: &BalancerName, note: &ZoneNote) -> (&'static str, String) {
    match note {
        ZoneNote::Intended { act, mark } => ("zone", format!("{act} (comment `{mark}`)")),
        ZoneNote::Calling { step: ZoneStep::Cancel } => {
            ("zone", format!("taking the zonal shift of `{balancer}` back"))
        }
        ZoneNote::Calling { step: ZoneStep::Start { .. } | ZoneStep::Renew { .. } } => {
            ("zone", format!("renewing the zonal shift of `{balancer}`"))
        }
        ZoneNote::Stands { id, until } => {
            ("zone", format!("the zonal shift of `{balancer}` stands until {until} ({id})"))
        }
        ZoneNote::Failed { failure } => ("zone", format!("zonal shift of `{balancer}`: {failure}")),
        ZoneNote::Ended { end } => {
            let how = match end {
                ZoneEnd::Cancelled => "was taken back",
                ZoneEnd::Expired => "is over, its time ran out",
                ZoneEnd::TakenBack => "was taken back by somebody else",
                ZoneEnd::NeverBegan => "never began",
            };
            ("zone", format!("the zonal shift of `{balancer}` {how}"))
        }
        ZoneNote::Waits { until, why } => {
            ("zone", format!("no zonal shift of `{balancer}` before {until}: {why}"))
        }
    }
}

/// What is done about a zone in this round, or would be, with its call.
pub(super) fn wish(decision: &Decision) -> Option<(&'static str, String)> {
    let plan = decision.zone.as_ref()?;
    let label = if plan.go { "does" } else { "would" };
    Some((label, format!("{}; call: {}", plan.act, plan.act.call())))
}

/// Zones that are away by our doing.
pub(super) fn away(acts: &Acts) -> Vec<String> {
    let line = |away: &ZoneAway| {
        let act = &away.act;
        let until = match &away.stands {
            Some(stands) => format!("until {} ({})", stands.until, stands.id),
            None => "or not: the call has no answer yet".to_owned(),
        };
        format!("balancer `{}` from zone {} ({}) {until}", act.balancer, act.zone, act.zone_id)
    };
    acts.zones_away.values().map(line).collect()
}
