//! Preflight: what would stop a rescue, or make it slower, judged from facts that were read. No IO.
//!
//! `decide` asks what is wrong with the service now; this asks what would be wrong with the rescue
//! tomorrow. A fact that could not be read is a finding too, with the permission that is missing.

mod access;
mod checks;
mod controls;
mod gates;
mod records;
mod targets;
mod wired;
mod witness;
mod zones;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::{RegionName, Timestamp, ZoneId};
use crate::plan::{Inventory, RecordSet};
use crate::policy::{LeverKind, Policy};
use crate::ports::{
    BalancerFacts, CallFailed, Caller, CheckFacts, ControlFacts, GateFacts, GroupFacts, Permission,
    Quota, Target, Verdict, ZoneFacts,
};
use crate::steer::Found;

pub use access::{permissions, role_of};
pub use wired::{Answered, Standing, answered, unsound};

/// What was read, or why it could not be.
pub type Read<T> = Result<T, CallFailed>;

/// Everything that was read.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Our own clock.
    pub at: Timestamp,
    /// Who would act, as written into the epoch record.
    pub holder: String,
    /// The AWS region in which the controller runs, if it is known.
    pub here: Option<String>,
    pub caller: Option<Read<Caller>>,
    pub zones: BTreeMap<ZoneId, Read<ZoneFacts>>,
    pub quotas: BTreeMap<ZoneId, Read<Quota>>,
    pub records: BTreeMap<ZoneId, Read<Vec<RecordSet>>>,
    pub checks: BTreeMap<String, Read<CheckFacts>>,
    /// What the checkers of a gate's health check find.
    pub found: BTreeMap<String, Read<Found>>,
    /// By region and number.
    pub gates: BTreeMap<(RegionName, usize), GateFacts>,
    pub controls: ControlFacts,
    /// What the servers of a witness answer.
    pub servers: BTreeMap<String, Read<Vec<String>>>,
    /// By ARN.
    pub groups: BTreeMap<String, Read<GroupFacts>>,
    pub targets: BTreeMap<String, Read<Vec<Target>>>,
    pub balancers: BTreeMap<String, Read<BalancerFacts>>,
    /// By AWS region.
    pub limits: BTreeMap<String, Read<BTreeMap<String, u64>>>,
    pub may: BTreeMap<Permission, Read<Verdict>>,
}

impl Facts {
    /// The records as one inventory; `None` if a zone could not be read.
    fn inventory(&self) -> Option<Inventory> {
        let zones: Option<BTreeMap<_, _>> = self
            .records
            .iter()
            .map(|(zone, read)| Some((zone.clone(), read.as_ref().ok()?.clone())))
            .collect();
        Some(Inventory { read_at: self.at, zones: zones? })
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A rescue would not happen, or would do harm.
    Stops,
    /// It could not be found out, for a reason of ours: network, throttling, no credentials.
    Trouble,
    /// A rescue would be slower, or lean on luck.
    Weakens,
    /// Good to know.
    Note,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// What it is about: a record, a check, a group, a permission.
    pub about: String,
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// How to mend it.
    pub mend: String,
}

/// Collects findings.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, about: impl Into<String>, told: Told<'_>) {
        let Told { what, why, mend } = told;
        self.0.push(Finding {
            severity,
            about: about.into(),
            what,
            why: why.to_owned(),
            mend: mend.to_owned(),
        });
    }

    /// What could not be read. `needed` is how bad it is if a permission is missing.
    fn unread(&mut self, needed: Severity, about: &str, failure: &CallFailed, action: &str) {
        let (severity, why) = match failure {
            CallFailed::Refused { .. } => (needed, "what cannot be seen cannot be vouched for"),
            CallFailed::NotFound { .. } => (Severity::Stops, "it is in the policy and not there"),
            CallFailed::NotSent { .. }
            | CallFailed::Throttled { .. }
            | CallFailed::Busy
            | CallFailed::Conflict { .. }
            | CallFailed::Unknown { .. } => (Severity::Trouble, "nothing was found out about it"),
        };
        let mend = match failure {
            CallFailed::Refused { code, .. } if is_forbidden(code) => {
                format!("allow `{action}` (infra/iam/doctor.json)")
            }
            CallFailed::Refused { .. } => "see what the refusal says".to_owned(),
            CallFailed::NotFound { .. } => "mend the policy, or make it".to_owned(),
            CallFailed::NotSent { .. }
            | CallFailed::Throttled { .. }
            | CallFailed::Busy
            | CallFailed::Conflict { .. }
            | CallFailed::Unknown { .. } => "see to the cause and ask again".to_owned(),
        };
        let forbidden = matches!(failure, CallFailed::Refused { code, .. } if is_forbidden(code));
        let what = match failure {
            CallFailed::Refused { .. } if forbidden => {
                format!("could not be read: permission `{action}` is missing: {failure}")
            }
            CallFailed::Refused { .. }
            | CallFailed::NotSent { .. }
            | CallFailed::Throttled { .. }
            | CallFailed::Busy
            | CallFailed::Conflict { .. }
            | CallFailed::NotFound { .. }
            | CallFailed::Unknown { .. } => format!("could not be read: {failure}"),
        };
        self.add(severity, about, Told { what, why, mend: &mend });
    }
}

/// The codes with which AWS says that a permission is missing; other refusals have other causes.
fn is_forbidden(code: &str) -> bool {
    [
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "AuthorizationError",
        "NotAuthorized",
    ]
    .contains(&code)
}

struct Told<'a> {
    what: String,
    why: &'a str,
    mend: &'a str,
}

/// All findings, the gravest first, and in the order of the topics within one severity.
pub fn examine(policy: &Policy, facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings::default();
    zones::look(policy, facts, &mut findings);
    records::look(policy, facts, &mut findings);
    checks::look(policy, facts, &mut findings);
    gates::look(policy, facts, &mut findings);
    controls::look(policy, facts, &mut findings);
    witness::look(policy, facts, &mut findings);
    targets::look(policy, facts, &mut findings);
    access::look(policy, facts, &mut findings);
    let mut findings = findings.0;
    findings.dedup();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The weighted sets of the policy's records, each with the region that owns it.
fn members<'a>(policy: &Policy, facts: &'a Facts) -> Vec<(RegionName, &'a RecordSet)> {
    let Some(lever) = policy.weights_lever() else { return Vec::new() };
    let mut members = Vec::new();
    for records in &lever.records {
        let Some(Ok(sets)) = facts.records.get(&records.zone) else { continue };
        for set in sets {
            let chosen = match &records.which {
                crate::policy::WhichRecords::Named { name, types } => {
                    set.name == *name
                        && types.iter().any(|kind| kind.eq_ignore_ascii_case(&set.kind))
                }
                crate::policy::WhichRecords::All => set.weight.is_some(),
            };
            let owner = records
                .members
                .iter()
                .find(|(_, id)| chosen && set.set_identifier.as_deref() == Some(id.as_str()));
            if let Some((region, _)) = owner {
                members.push((region.clone(), set));
            }
        }
    }
    members
}

/// The records whose health checks decide what is answered: the service's own, and those of witnesses.
fn watched<'a>(policy: &Policy, facts: &'a Facts) -> Vec<(RegionName, &'a RecordSet)> {
    let mut watched = members(policy, facts);
    for (region, set) in shown(policy, facts) {
        if !watched.iter().any(|(_, known)| *known == set) {
            watched.push((region, set));
        }
    }
    watched
}

/// The sets of all witnesses, each with the region that it shows.
fn shown<'a>(policy: &Policy, facts: &'a Facts) -> Vec<(RegionName, &'a RecordSet)> {
    let mut shown = Vec::new();
    for kind in [LeverKind::Gates, LeverKind::Arc] {
        let witness = policy.proof(kind).and_then(|proof| proof.witness.as_ref());
        for one in witness.map_or(Vec::new(), |one| witness::sets(policy, facts, one)) {
            if !shown.contains(&one) {
                shown.push(one);
            }
        }
    }
    shown
}

/// `api.example.com A "eu"`
fn named(set: &RecordSet) -> String {
    let id = set.set_identifier.as_deref().unwrap_or_default();
    format!("{} {} \"{id}\"", set.name, set.kind)
}

/// Ids of the health checks that gates have, for whoever asks their checkers.
pub fn checks_of_gates(policy: &Policy) -> Vec<String> {
    let slots = policy.gates_lever().into_iter().flat_map(|lever| lever.slots.values().flatten());
    slots.filter_map(|slot| slot.health_check.clone()).collect()
}

/// Ids of the health checks that records of the policy carry and that its gates have, for whoever reads them.
pub fn checks_of(policy: &Policy, facts: &Facts) -> Vec<String> {
    let mut ids = checks_of_gates(policy);
    ids.extend(watched(policy, facts).iter().filter_map(|(_, set)| set.health_check.clone()));
    ids.sort();
    ids.dedup();
    ids
}
