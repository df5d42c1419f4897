//! What the public would be told now.

use std::collections::BTreeSet;

use super::{Case, Decision, Diagnosis, shares};
use crate::bulletin::{Bulletin, Light, Phase, Update};
use crate::domain::{RegionName, Timestamp};
use crate::health::Reading;
use crate::plan::{Purpose, Wanted};
use crate::policy::{Component, Role, StatusPage};
use crate::tell::Thread;

/// Of the users of a component so many are lost before it is called partly, or wholly, out.
const PARTLY: f64 = 0.05;
const WHOLLY: f64 = 0.5;

/// `None` without a status page.
pub(super) fn bulletin(
    case: &Case<'_>,
    decision: &Decision,
    sick: &BTreeSet<RegionName>,
) -> Option<Bulletin> {
    let page = case.policy.status_page.as_ref()?;
    let lights = page.components.iter().map(|(id, component)| {
        let light = light(case, component, sick);
        // Just out of trouble is not well yet.
        (id.clone(), if decision.incident { light.max(Light::Degraded) } else { light })
    });
    let phase = phase(case, decision, sick);
    let incident = decision.incident.then(|| {
        let id = Thread::incident(&case.policy.service, case.incident);
        (id.as_str().to_owned(), case.incident)
    });
    Some(Bulletin {
        at: case.now,
        components: lights.collect(),
        incident,
        update: Some(Update { at: case.now, phase, text: words(case, page, phase) }),
        blind: blind(decision).map(|since| format!("since {}", short(since))),
        unworded: false,
    })
}

fn phase(case: &Case<'_>, decision: &Decision, sick: &BTreeSet<RegionName>) -> Phase {
    let acts = case.acts;
    let moved = acts.incident_since.is_some_and(|since| {
        acts.order.is_some() || acts.shifts.last().is_some_and(|shift| shift.at >= since)
    });
    let refreshed = acts
        .incident_since
        .is_some_and(|since| acts.refreshes.values().flatten().any(|refresh| refresh.at >= since));
    // A friendly page is not the service: it does not work again while visitors get that.
    let resort = case.policy.last_resort().is_some_and(|name| case.share(name) >= shares::SAME);
    // Ordered and not in force yet: nobody is told that it works again.
    let moving = acts.order.as_ref().is_some_and(|order| {
        matches!(&order.plan.wanted, Wanted::Move(moved) if moved.purpose != Purpose::Failback)
    });
    match (decision.incident, sick.is_empty()) {
        (false, _) => Phase::Resolved,
        (true, _) if resort => Phase::Identified,
        (true, true) if moving => Phase::Identified,
        (true, true) => Phase::Monitoring,
        (true, false) if moved || refreshed || decision.wanted.is_some() => Phase::Identified,
        (true, false) => Phase::Investigating,
    }
}

/// How users of a component fare: by what part of its traffic goes where it is lost.
fn light(case: &Case<'_>, component: &Component, sick: &BTreeSet<RegionName>) -> Light {
    let own = |name: &RegionName| component.regions.is_empty() || component.regions.contains(name);
    let (mut total, mut lost, mut ill, mut unknown) = (0.0, 0.0, false, false);
    for (name, region) in &case.policy.regions {
        let share = case.share(name);
        if share < shares::SAME / 2.0 || !own(name) {
            continue;
        }
        total += share;
        let view = case.picture.regions.get(name);
        if region.role == Role::LastResort {
            // A friendly page is not the service.
            lost += share;
        } else if let Some(view) = view.filter(|_| sick.contains(name)) {
            ill = true;
            lost += share * (1.0 - view.success.map_or(0.0, crate::domain::Ratio::get));
        } else if view.is_none_or(|view| view.outside.reading == Reading::Unknown) {
            unknown = true;
        }
    }
    let part = if total > 0.0 { lost / total } else { 0.0 };
    if part >= WHOLLY {
        Light::MajorOutage
    } else if part >= PARTLY {
        Light::PartialOutage
    } else if ill {
        Light::Degraded
    } else if unknown {
        Light::Unknown
    } else {
        Light::Operational
    }
}

fn words(case: &Case<'_>, page: &StatusPage, phase: Phase) -> String {
    let template = match phase {
        Phase::Investigating => &page.words.investigating,
        Phase::Identified => &page.words.identified,
        Phase::Monitoring => &page.words.monitoring,
        Phase::Resolved => &page.words.resolved,
    };
    let names: Vec<&str> = page.components.values().map(|one| one.name.as_str()).collect();
    template.fill(|place| match place {
        "components" => names.join(", "),
        "since" => short(case.incident),
        // `service`: the loader lets nothing else through.
        _ => case.policy.service.to_string(),
    })
}

/// Since when instruments of ours are silent.
fn blind(decision: &Decision) -> Option<Timestamp> {
    let out = decision.findings.iter().filter(|finding| {
        matches!(finding.diagnosis, Diagnosis::SignalsStale | Diagnosis::ObserverIsolated)
    });
    out.map(|finding| finding.since).min()
}

fn short(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ") + " UTC"
}
