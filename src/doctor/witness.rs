//! Witnesses: the TXT records that show which regions are answered, and the servers that are asked for them.

use std::collections::BTreeSet;

use super::{Facts, Findings, Severity, Told, members};
use crate::domain::{RegionName, span};
use crate::plan::{RecordData, RecordSet};
use crate::policy::{LeverKind, Policy, Proof, Witness};

pub(super) fn look(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    let mut seen = Vec::new();
    for kind in SWITCHES {
        let Some(proof) = policy.proof(kind) else { continue };
        let Some(witness) = proof.witness.as_ref().filter(|witness| !seen.contains(witness)) else {
            continue;
        };
        seen.push(witness);
        servers(facts, witness, findings);
        records(policy, facts, proof, witness, findings);
    }
}

const SWITCHES: [LeverKind; 2] = [LeverKind::Gates, LeverKind::Arc];

/// Whether a lever that this witness shows turns switches of the region.
fn is_shown(policy: &Policy, witness: &Witness, region: &RegionName) -> bool {
    SWITCHES.into_iter().any(|kind| {
        let shows = |proof: &Proof| proof.witness.as_ref() == Some(witness);
        policy.proof(kind).is_some_and(shows) && policy.switches(kind, region) > 0
    })
}

/// Its record sets, each with the region that its value names.
pub(super) fn sets<'a>(
    policy: &Policy,
    facts: &'a Facts,
    witness: &Witness,
) -> Vec<(RegionName, &'a RecordSet)> {
    let Some(Ok(sets)) = facts.records.get(&witness.zone) else { return Vec::new() };
    let own = sets.iter().filter(|set| set.name == witness.name && set.kind == "TXT");
    own.filter_map(|set| {
        let RecordData::Values(values) = &set.data else { return None };
        let value = values.first()?.trim_matches('"');
        let region = policy.regions.keys().find(|region| region.as_str() == value)?;
        Some((region.clone(), set))
    })
    .collect()
}

fn servers(facts: &Facts, witness: &Witness, findings: &mut Findings) {
    let asked = witness.servers.iter().filter_map(|name| Some((name, facts.servers.get(name)?)));
    let (mut silent, mut well) = (Vec::new(), 0);
    for (name, read) in asked {
        match read {
            Ok(values) if !values.is_empty() => well += 1,
            Ok(_) => silent.push(format!("{name} (no such record)")),
            Err(failure) => silent.push(format!("{name} ({failure})")),
        }
    }
    if !silent.is_empty() {
        let severity = if well == 0 { Severity::Trouble } else { Severity::Weakens };
        findings.add(severity, format!("witness {}", witness.name), Told {
            what: format!("is not answered by {}", silent.join(", ")),
            why: "a move is done when these servers are seen to answer so, and turned back when they never are",
            mend: "the servers of the zone's delegation, and UDP port 53 from where this runs",
        });
    }
}

fn records(
    policy: &Policy,
    facts: &Facts,
    proof: &Proof,
    witness: &Witness,
    findings: &mut Findings,
) {
    // A zone that could not be read is told with the records.
    let Some(Ok(_)) = facts.records.get(&witness.zone) else { return };
    let about = format!("witness {}", witness.name);
    let sets = sets(policy, facts, witness);
    for region in policy.regions.keys().filter(|region| is_shown(policy, witness, region)) {
        if !sets.iter().any(|(owner, _)| owner == region) {
            findings.add(Severity::Stops, &about, Told {
                what: format!("has no TXT set with the value `{region}`"),
                why: "whether that region is answered is never seen, so a move of it is never done and is turned back",
                mend: "a weighted TXT set for each region, with the region's name as its value",
            });
        }
    }
    let services = members(policy, facts);
    for (region, set) in &sets {
        let about = super::named(set);
        if set.ttl.is_some_and(|ttl| u64::from(ttl) > proof.ttl.as_secs()) {
            findings.add(
                Severity::Note,
                &about,
                Told {
                    what: format!(
                        "may be cached for {}s, the policy says {} for the service",
                        set.ttl.unwrap_or_default(),
                        span(proof.ttl)
                    ),
                    why: "the name servers are asked themselves, so nothing is late by it; it only looks odd",
                    mend: "the service's own time to live",
                },
            );
        }
        let own =
            services.iter().filter(|(owner, own)| owner == region && own.name != witness.name);
        let own: Vec<&RecordSet> = own.map(|(_, set)| *set).collect();
        let checks: BTreeSet<_> = own.iter().map(|set| set.health_check.as_deref()).collect();
        let weights: BTreeSet<_> = own.iter().map(|set| set.weight).collect();
        if !own.is_empty()
            && (!checks.contains(&set.health_check.as_deref()) || !weights.contains(&set.weight))
        {
            findings.add(Severity::Stops, &about, Told {
                what: format!("has another weight or another health check than the records of `{region}`"),
                why: "it shows other answers than visitors get, and `done` would be said or denied wrongly",
                mend: "the same weight and the same health check as the service's own record",
            });
        }
    }
}
