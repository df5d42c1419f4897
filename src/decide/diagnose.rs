//! Names for what is seen: findings with evidence, and the verdict on each region.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::convict::Charge;
use super::refresh::Treatment;
use super::respond::Response;
use super::{
    Case, ClassReading, Diagnosis, Finding, Fitness, Hold, Verdict, cause, is_stuck, refresh,
    shares, zonal,
};
use crate::domain::{Ratio, RegionName, Timestamp, span};
use crate::health::{ClassView, Failing, Instruments, Picture, Reading, RegionView};
use crate::policy::{Class, LeverKind, Policy};

/// Below this success a region is down rather than degraded: nine of ten users are lost.
pub(super) const DOWN_BELOW: f64 = 0.1;

/// So many bad spells within memory are flapping: once is an outage, twice a relapse.
pub(super) const FLAPPING_SPELLS: usize = 3;

/// Instruments that are out for this long are worth a word. Shorter gaps are usual for CloudWatch.
pub(super) const INSTRUMENTS_OUT: Duration = Duration::from_secs(300);

pub(super) fn findings(
    case: &Case<'_>,
    sick: &BTreeSet<RegionName>,
    treated: &BTreeMap<RegionName, Treatment>,
    response: &Response,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let left = case.charges.iter().filter(|(name, charge)| {
        matches!(charge, Charge::Convicted { .. }) && case.home_split.weight(name).0 > 0
    });
    let bad: BTreeSet<&RegionName> = sick.iter().chain(left.map(|(name, _)| name)).collect();
    for name in bad {
        findings.extend(sick_region(case, name, treated.get(name), response));
    }
    if response.nowhere && response.common.is_none() {
        findings.push(about(Diagnosis::NowhereToGo, None, case.incident, words(&response.holds)));
    }
    findings.extend(control_plane(case));
    for (name, view) in &case.picture.regions {
        findings.extend(flapping(case, name, view));
        findings.extend(standby(case, name, view));
        findings.extend(zone(case, name, view));
        findings.extend(stale(case, name, view));
        findings.extend(blind(case, name, view));
    }
    findings.extend(vantages(case));
    findings
        .sort_by_key(|finding| (gravity(finding.diagnosis), finding.since, finding.region.clone()));
    findings
}

fn gravity(diagnosis: Diagnosis) -> u8 {
    match diagnosis {
        Diagnosis::NowhereToGo => 0,
        Diagnosis::CommonCause => 1,
        Diagnosis::RegionDown => 2,
        Diagnosis::RegionDegraded => 3,
        Diagnosis::BalancerFault => 4,
        Diagnosis::ControlPlaneImpaired => 5,
        Diagnosis::Flapping => 6,
        Diagnosis::StandbyUnready => 7,
        Diagnosis::ZoneFault => 8,
        Diagnosis::ObserverIsolated => 9,
        Diagnosis::PathBroken => 10,
        Diagnosis::SignalsStale => 11,
        Diagnosis::Well => 12,
    }
}

fn about(
    diagnosis: Diagnosis,
    region: Option<&RegionName>,
    since: Timestamp,
    evidence: Vec<String>,
) -> Finding {
    Finding {
        diagnosis,
        region: region.cloned(),
        balancer: None,
        since,
        evidence,
        ruled_out: Vec::new(),
        turns_if: turns_if(diagnosis),
    }
}

/// What would change a diagnosis that does not depend on numbers.
fn turns_if(diagnosis: Diagnosis) -> Option<String> {
    let change = match diagnosis {
        Diagnosis::NowhereToGo => "one region proves fit to take the traffic",
        Diagnosis::ControlPlaneImpaired => "the next call is answered and takes effect",
        Diagnosis::Flapping => "it stays as it is until the oldest of these is two hours ago",
        Diagnosis::StandbyUnready => "nothing of this speaks against it any more",
        Diagnosis::ZoneFault => "the targets of the zone are healthy, and the zone is in use",
        Diagnosis::ObserverIsolated => "what it watches to know its own network answers again",
        Diagnosis::PathBroken => "it sees the region well, or another vantage sees it bad",
        Diagnosis::SignalsStale => "a fresh reading arrives",
        Diagnosis::Well
        | Diagnosis::RegionDown
        | Diagnosis::RegionDegraded
        | Diagnosis::BalancerFault
        | Diagnosis::CommonCause => return None,
    };
    Some(change.to_owned())
}

/// What would make trouble of a region that carries traffic: of the one that is nearest to it.
fn bad_if(policy: &Policy, picture: &Picture) -> Option<String> {
    let judge = &policy.judge;
    let serving = policy.serving().filter_map(|(name, _)| picture.regions.get_key_value(name));
    let success = |view: &RegionView| view.success.map_or(0.0, Ratio::get);
    let (name, view) = serving.min_by(|(_, a), (_, b)| success(a).total_cmp(&success(b)))?;
    let (needed, vantages) = (policy.vantages_needed(), policy.vantages.len());
    let now = view.success.map_or("unknown".to_owned(), |success| success.to_string());
    Some(format!(
        "for {} less than {} of the probes of `{name}` succeed (now {now}) as {needed} of {vantages} vantages see it",
        span(judge.sustain),
        judge.success_below,
    ))
}

/// What would take a charge back: so many of those that see a region bad see it well that too few are left.
fn well_if(policy: &Policy, view: &RegionView) -> Option<String> {
    let (needed, bad) = (policy.vantages_needed(), view.bad_vantages());
    let fewer = (bad + 1).checked_sub(needed).filter(|fewer| *fewer > 0)?;
    Some(format!("the newest probes of {fewer} of the {bad} vantages that see it bad are well"))
}

pub(super) fn well(policy: &Policy, picture: &Picture, now: Timestamp) -> Finding {
    let evidence = picture
        .regions
        .iter()
        .map(|(name, view)| format!("`{name}`: {}", view.outside.says))
        .collect();
    let mut finding = about(Diagnosis::Well, None, now, evidence);
    finding.turns_if = bad_if(policy, picture);
    finding
}

fn sick_region(
    case: &Case<'_>,
    name: &RegionName,
    treatment: Option<&Treatment>,
    response: &Response,
) -> Option<Finding> {
    let view = case.picture.regions.get(name)?;
    let since = case.convicted_since(name).or(view.bad_since)?;
    let diagnosis = match treatment {
        Some(Treatment::Refresh(..) | Treatment::Wait(..)) => Diagnosis::BalancerFault,
        Some(Treatment::None | Treatment::GiveUp(..)) | None if response.common.is_some() => {
            Diagnosis::CommonCause
        }
        Some(Treatment::None | Treatment::GiveUp(..)) | None => match view.success {
            Some(success) if success.get() < DOWN_BELOW => Diagnosis::RegionDown,
            Some(_) | None => Diagnosis::RegionDegraded,
        },
    };
    let mut evidence = evidence(view);
    evidence.extend(cause::lines(case.policy, view));
    let symptoms = case.evidence.symptoms(case.policy, name, case.now);
    evidence.extend(symptoms.iter().map(|symptom| cause::says(*symptom).to_owned()));
    if let Some(change) = response.common.as_ref().and_then(|common| common.change.as_ref()) {
        evidence.push(format!("{change} came just before"));
    }
    let mut finding = about(diagnosis, Some(name), since, evidence);
    if let Some(Treatment::Refresh(_, balancer) | Treatment::Wait(_, balancer)) = treatment {
        finding.balancer = Some(balancer.clone());
    }
    finding.ruled_out = ruled_out(case, name, view, diagnosis);
    finding.turns_if = match (diagnosis, well_if(case.policy, view)) {
        (Diagnosis::CommonCause, Some(well)) => Some(format!("another region is well, or {well}")),
        (_, well) => well,
    };
    Some(finding)
}

fn evidence(view: &RegionView) -> Vec<String> {
    let classes =
        [("outside", &view.outside), ("traffic", &view.traffic), ("inside", &view.inside)];
    let mut lines: Vec<String> = classes
        .iter()
        .filter(|(_, class)| class.reading != Reading::Unknown)
        .map(|(name, class)| format!("{name}: {}", class.says))
        .collect();
    for (name, balancer) in view.balancers.iter().filter(|(_, b)| b.outside == Reading::Bad) {
        let percent = |value: Option<f64>| {
            value.map_or("unknown".to_owned(), |v| format!("{:.1}%", v * 100.0))
        };
        lines.push(format!(
            "balancer `{name}`: {} succeed from outside, {} errors of its own, {} of its targets",
            percent(balancer.success),
            percent(balancer.own_errors),
            percent(balancer.target_errors)
        ));
    }
    lines
}

fn ruled_out(
    case: &Case<'_>,
    name: &RegionName,
    view: &RegionView,
    diagnosis: Diagnosis,
) -> Vec<String> {
    let mut lines = Vec::new();
    let isolated = case.picture.vantages.values().filter(|v| v.isolated_since.is_some()).count();
    lines.push(format!(
        "ObserverIsolated: {isolated} of {} vantages have lost their own network",
        case.picture.vantages.len()
    ));
    let others: Vec<String> = case
        .picture
        .regions
        .iter()
        .filter(|(other, view)| *other != name && view.outside.reading == Reading::Good)
        .map(|(other, _)| format!("`{other}`"))
        .collect();
    if diagnosis != Diagnosis::CommonCause && !others.is_empty() {
        lines.push(format!("CommonCause: {} is well", others.join(", ")));
    }
    if diagnosis != Diagnosis::BalancerFault && case.policy.refresh.is_some() {
        let bad = view.balancers.values().filter(|seen| seen.outside == Reading::Bad);
        let mut causes = bad.filter_map(|seen| cause::of(case.policy, view, seen));
        let why = match view.metrics {
            _ if refresh::fails_open(case, name) => "no target is healthy (fail-open)",
            _ if causes.any(cause::Cause::is_cured_by_no_refresh) => {
                "what probes run into is cured by no refresh"
            }
            Instruments::Usable => {
                "the targets fail as well, or the balancers count no errors of their own"
            }
            Instruments::None
            | Instruments::Silent { .. }
            | Instruments::Old { .. }
            | Instruments::Odd { .. } => "nothing proves the targets well",
        };
        lines.push(format!("BalancerFault: {why}"));
    }
    lines
}

fn control_plane(case: &Case<'_>) -> Option<Finding> {
    if let Some(order) = case.acts.order.as_ref().filter(|order| is_stuck(case, order)) {
        let since = order.accepted_at().unwrap_or(order.intended_at);
        let says =
            format!("a change accepted {} ago is still pending", span(case.now.since(since)));
        return Some(about(Diagnosis::ControlPlaneImpaired, None, since, vec![says]));
    }
    let lever = case.acts.levers.get(&LeverKind::Weights);
    if let Some((at, failure)) =
        lever.filter(|l| l.failures_in_a_row > 0).and_then(|l| l.last_failure.as_ref())
    {
        let since = lever.and_then(|l| l.first_failure).unwrap_or(*at);
        return Some(about(
            Diagnosis::ControlPlaneImpaired,
            None,
            since,
            vec![failure.to_string()],
        ));
    }
    let since = case.unread_since()?;
    let says = format!("the records could not be read for {}", span(case.now.since(since)));
    Some(about(Diagnosis::ControlPlaneImpaired, None, since, vec![says]))
}

fn flapping(case: &Case<'_>, name: &RegionName, view: &RegionView) -> Option<Finding> {
    let says = format!("bad {} times within two hours", view.spells);
    (view.spells >= FLAPPING_SPELLS).then(|| {
        about(Diagnosis::Flapping, Some(name), view.bad_since.unwrap_or(case.now), vec![says])
    })
}

/// A region that carries nothing now but would have to: down, too small, too far behind.
pub(super) fn standby(case: &Case<'_>, name: &RegionName, view: &RegionView) -> Option<Finding> {
    // A region that carries traffic on a calm day and has none now was left: that is its outage, not a
    // matter of readiness.
    if case.share(name) >= shares::SAME / 2.0 || case.home_split.weight(name).0 > 0 {
        return None;
    }
    let mut evidence: Vec<String> = view.unfit.iter().cloned().collect();
    let since = view.bad_since.unwrap_or(case.now);
    let long =
        view.bad_since.is_some_and(|since| case.now.since(since) >= case.policy.judge.sustain);
    if !long {
        evidence.clear();
    }
    (!evidence.is_empty()).then(|| about(Diagnosis::StandbyUnready, Some(name), since, evidence))
}

/// A part of the hosts is gone and the rest carries, or the targets of one zone fail, or a zone is away by
/// our doing.
pub(super) fn zone(case: &Case<'_>, name: &RegionName, view: &RegionView) -> Option<Finding> {
    let part_gone =
        view.part_gone_since.filter(|since| case.now.since(*since) >= case.policy.judge.sustain);
    let mut says = Vec::new();
    let (mut bad_since, mut about_one) = (None, None);
    for (balancer, zone) in zonal::bad(case, view) {
        let allowed = case.policy.balancer(balancer).is_some_and(|b| b.zonal_shift.is_some());
        if view.outside.reading == Reading::Good || allowed {
            bad_since = bad_since.min(zone.bad_since).or(zone.bad_since);
            about_one = Some(balancer);
            let (healthy, known) = (zone.healthy, zone.known);
            says.push(format!(
                "zone {} of `{balancer}`: {healthy} of {known} targets are healthy",
                zone.zone
            ));
        }
    }
    let ours = case.acts.zones_away.values().filter(|away| away.act.region == *name);
    let mut begun = None;
    for away in ours {
        begun = Some(away.intended_at);
        let (balancer, zone) = (&away.act.balancer, &away.act.zone);
        let until = away.stands.as_ref().map_or(String::new(), |s| format!(" until {}", s.until));
        says.push(format!("`{balancer}` is shifted away from zone {zone}{until}"));
    }
    let since = bad_since.or(begun).or(part_gone)?;
    let hosts = view.hosts.map(|hosts| format!("{:.0}% of the targets are healthy", hosts * 100.0));
    let users = format!("users are served: {}", view.outside.says);
    says = hosts.into_iter().chain([users]).chain(says).collect();
    let mut finding = about(Diagnosis::ZoneFault, Some(name), since, says);
    finding.balancer = about_one.cloned();
    Some(finding)
}

pub(super) fn stale(case: &Case<'_>, name: &RegionName, view: &RegionView) -> Option<Finding> {
    let since =
        view.metrics.trouble_since().filter(|since| case.now.since(*since) >= INSTRUMENTS_OUT)?;
    let says = match view.metrics {
        Instruments::Silent { .. } => "its metrics are silent",
        Instruments::Odd { .. } => {
            "the stamps of its metrics contradict our clock, or old values come as new"
        }
        Instruments::Old { .. } => "its metrics are too old to act on",
        Instruments::None | Instruments::Usable => return None,
    };
    Some(about(Diagnosis::SignalsStale, Some(name), since, vec![says.to_owned()]))
}

/// Nothing from outside tells how a region is: that is not "well".
pub(super) fn blind(case: &Case<'_>, name: &RegionName, view: &RegionView) -> Option<Finding> {
    // A cached copy that nobody probes is not missed.
    let copy = case.policy.last_resort() == Some(name) && !super::respond::is_probed(case, name);
    if copy {
        return None;
    }
    let since =
        view.blind_since.filter(|since| case.now.since(*since) >= case.policy.judge.window)?;
    let says = format!("no probe has told how it is for {}", span(case.now.since(since)));
    Some(about(Diagnosis::SignalsStale, Some(name), since, vec![says]))
}

fn vantages(case: &Case<'_>) -> Vec<Finding> {
    let sustain = case.policy.judge.sustain;
    let mut findings = Vec::new();
    for (vantage, view) in &case.picture.vantages {
        if let Some(since) = view.isolated_since.filter(|since| case.now.since(*since) >= sustain) {
            let says =
                format!("`{vantage}` has lost its own network; its readings are not counted");
            findings.push(about(Diagnosis::ObserverIsolated, None, since, vec![says]));
        }
        for (region, since) in &view.broken_paths {
            if case.now.since(*since) >= sustain {
                let says = format!("only `{vantage}` sees `{region}` bad");
                findings.push(about(Diagnosis::PathBroken, Some(region), *since, vec![says]));
            }
        }
    }
    findings
}

fn words(holds: &[Hold]) -> Vec<String> {
    holds.iter().map(ToString::to_string).collect()
}

pub(super) fn verdict(
    policy: &Policy,
    picture: &Picture,
    charge: &Charge,
    name: &RegionName,
    view: &RegionView,
) -> Verdict {
    let class =
        |c: &ClassView| ClassReading { reading: c.reading, age: c.age, says: c.says.to_string() };
    let reading = match charge {
        Charge::Convicted { .. } => Reading::Bad,
        Charge::Accused(_) => Reading::Unknown,
        Charge::None => view.outside.reading,
    };
    let fit = match (&view.unfit, view.outside.reading) {
        (Some(why), _) => Fitness::Unfit { why: why.clone() },
        (None, Reading::Good) => Fitness::Fit { room_rps: shares::room(policy, picture, name) },
        (None, Reading::Bad) => Fitness::Unfit { why: view.outside.says.to_string() },
        (None, Reading::Unknown) => Fitness::Unproven { why: "no fresh good evidence".to_owned() },
    };
    Verdict {
        reading,
        classes: BTreeMap::from([
            (Class::Outside, class(&view.outside)),
            (Class::Traffic, class(&view.traffic)),
            (Class::Inside, class(&view.inside)),
        ]),
        vantages: view.by_vantage.clone(),
        balancers: view.balancers.iter().map(|(name, b)| (name.clone(), b.outside)).collect(),
        success: view.success,
        latency_ms: view.latency_ms,
        bad_since: view.bad_since,
        good_since: view.good_since,
        fit,
    }
}

/// What kind of bad, in the words of notes.
pub(super) fn is_slow(view: &RegionView) -> bool {
    view.failing == Some(Failing::Slow)
}
