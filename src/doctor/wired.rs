//! What is answered, from records and health checks as they were read: the model of Route 53's rules over the
//! account's own wiring, for switches that stand in a given way.

use std::collections::{BTreeMap, BTreeSet};

use super::gates::{sees, words};
use super::{Facts, Findings, Severity, checks, controls, gates, members, named, shown};
use crate::domain::{InAnswers, Ratio, RegionName};
use crate::plan::RecordSet;
use crate::policy::{Gate, GatesLever, Policy};
use crate::ports::CheckFacts;
use crate::steer::{Checks, Found, Health, HealthCheck, Record, Watches, weighted};

/// How gates and routing controls stand. One that is not named lets its region in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub gates: BTreeMap<RegionName, InAnswers>,
    pub controls: BTreeMap<RegionName, InAnswers>,
    /// For the gates: how many controllers publish, where more than one has to.
    pub voters: u32,
}

/// The shares of the answers to one name, by region.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// `api.example.com A`
    pub name: String,
    pub shares: BTreeMap<RegionName, Ratio>,
}

/// What the names of the service are answered with, or why that does not follow from what was read.
///
/// A check that looks at none of the policy's switches (an app check, an alarm, another controller's
/// control) is taken for healthy, unless it is disabled in a way that makes it unhealthy.
pub fn answered(
    policy: &Policy,
    facts: &Facts,
    standing: &Standing,
) -> Result<Vec<Answered>, String> {
    for (zone, read) in &facts.records {
        if let Err(failure) = read {
            return Err(format!("the records of zone {zone} could not be read: {failure}"));
        }
    }
    let model = model(policy, facts, standing)?;
    let mut names: BTreeMap<String, Vec<(RegionName, u8, Health)>> = BTreeMap::new();
    for (region, set) in services(policy, facts) {
        let record = Record { check: set.health_check.clone(), target: None };
        let health = model.eligible(&record).map_err(|unsound| unsound.to_string())?;
        // The sets of a failover pair have no weight: they are answered as those of 1 and of 0 would be.
        let calm = policy.regions.get(&region).map_or(0, |region| region.weight.0);
        let weight = set.weight.map_or(calm, |weight| weight.0);
        names
            .entry(format!("{} {}", set.name, set.kind))
            .or_default()
            .push((region, weight, health));
    }
    if names.is_empty() {
        return Err("the policy names no record that hangs on the switches".to_owned());
    }
    let answered = names.into_iter().map(|(name, records)| {
        let shares = weighted(records).into_iter();
        let shares = shares.map(|(region, share)| (region, Ratio::new(share))).collect();
        Answered { name, shares }
    });
    Ok(answered.collect())
}

/// What of the wiring would keep a move by switches from working, in words.
pub fn unsound(policy: &Policy, facts: &Facts) -> Vec<String> {
    // How they stand is told elsewhere.
    let wiring = Facts { gates: BTreeMap::new(), controls: BTreeMap::new(), ..facts.clone() };
    let mut findings = Findings::default();
    checks::look(policy, &wiring, &mut findings);
    gates::look(policy, &wiring, &mut findings);
    controls::look(policy, &wiring, &mut findings);
    let stops = findings.0.into_iter().filter(|finding| finding.severity == Severity::Stops);
    let told: BTreeSet<String> =
        stops.map(|one| format!("{}: {}: {}", one.about, one.what, one.why)).collect();
    told.into_iter().collect()
}

/// The service's own records; where the policy names none, those of its witnesses, which stand for them.
fn services<'a>(policy: &Policy, facts: &'a Facts) -> Vec<(RegionName, &'a RecordSet)> {
    let own = members(policy, facts);
    if own.is_empty() { shown(policy, facts) } else { own }
}

/// All checks of these records with what each of them finds.
fn model(policy: &Policy, facts: &Facts, standing: &Standing) -> Result<Checks, String> {
    let mut checks = BTreeMap::new();
    let mut due: Vec<(String, String)> = services(policy, facts)
        .into_iter()
        .filter_map(|(_, set)| Some((set.health_check.clone()?, named(set))))
        .collect();
    let closed = closed(policy, facts, standing);
    while let Some((id, about)) = due.pop() {
        if checks.contains_key(&id) {
            continue;
        }
        let check = match facts.checks.get(&id) {
            Some(Ok(check)) => check,
            Some(Err(failure)) => {
                return Err(format!("check {id} of {about} could not be read: {failure}"));
            }
            None => return Err(format!("check {id} of {about} was not read")),
        };
        due.extend(check.children.iter().map(|child| (child.clone(), about.clone())));
        let what = watches(policy, &id, check, standing, &closed);
        let (inverted, disabled) = (check.inverted, check.disabled);
        checks.insert(id, HealthCheck { what, inverted, disabled });
    }
    Ok(Checks(checks))
}

fn watches(
    policy: &Policy,
    id: &str,
    check: &CheckFacts,
    standing: &Standing,
    closed: &BTreeMap<&str, bool>,
) -> Watches {
    let finds = |healthy| Watches::Endpoint {
        found: Some(Found { healthy: u32::from(healthy), checkers: 1 }),
    };
    if check.kind == "CALCULATED" {
        let threshold = check.threshold.unwrap_or(0);
        return Watches::Calculated { threshold, children: check.children.clone() };
    }
    if let Some(found) = closed.get(id) {
        return finds(*found);
    }
    let control = check.routing_control.as_deref().and_then(|arn| {
        let controls = &policy.arc_lever()?.controls;
        controls.iter().find(|(_, own)| *own == arn).map(|(region, _)| region)
    });
    if let Some(region) = control {
        let stands = standing.controls.get(region).copied().unwrap_or(InAnswers::In);
        return Watches::RecoveryControl(Health::of(stands == InAnswers::In));
    }
    // None of ours: healthy in the end, whichever way round.
    finds(!check.inverted)
}

/// What each check that looks at a gate finds there, before it is inverted.
fn closed<'a>(policy: &Policy, facts: &'a Facts, standing: &Standing) -> BTreeMap<&'a str, bool> {
    let mut closed = BTreeMap::new();
    let Some(lever) = policy.gates_lever() else { return closed };
    for (region, slots) in &lever.slots {
        let stands = standing.gates.get(region).copied().unwrap_or(InAnswers::In);
        let count = stands.closed(slots.len());
        for (number, slot) in slots.iter().enumerate() {
            for (id, published) in of_gate(lever, facts, &slot.gate, standing.voters) {
                closed.insert(id, published && number < count);
            }
        }
    }
    closed
}

/// The checks that look at a gate, and whether they find it published when it is closed: where controllers
/// vote, our own comes first, and so many publish as vote. One that searches for other words finds nothing.
fn of_gate<'a>(
    lever: &GatesLever,
    facts: &'a Facts,
    gate: &Gate,
    voters: u32,
) -> Vec<(&'a str, bool)> {
    let own = |check: &CheckFacts| {
        let path = check.path.as_deref().unwrap_or("/");
        gate.url(&facts.holder).is_some_and(|url| url.ends_with(path))
    };
    let looks =
        |check: &CheckFacts| check.kind.starts_with("HTTP") && sees(check, gate, &facts.holder);
    let read = facts.checks.iter();
    let read = read.filter_map(|(id, read)| Some((id.as_str(), read.as_ref().ok()?)));
    let mut looking: Vec<(&str, &CheckFacts)> = read.filter(|(_, check)| looks(check)).collect();
    looking.sort_by_key(|(_, check)| !own(check));
    let voters = if lever.votes.of > 1 { voters.max(1) } else { u32::MAX };
    let found = looking.into_iter().zip(0..).map(|((id, check), place)| {
        let text = check.search.as_deref().is_none_or(|text| words(gate).contains(text));
        (id, place < voters && text)
    });
    found.collect()
}
