//! Records: there, weighted, as the policy says, and quick enough.

use std::collections::BTreeMap;

use super::{Facts, Findings, Severity, Told, members, named};
use crate::domain::{Split, Weight, span};
use crate::health::Answers;
use crate::plan::{Epoch, EpochTxt, Move, Purpose, RecordData, RecordSet, Wanted, batch};
use crate::policy::{LeverKind, Policy, WeightsLever};

/// ARC best practices: 60 or 120 seconds for records used in failover. More than this is no failover
/// record any more.
const TTL_LONG_SECONDS: u32 = 120;
const TTL_TOO_LONG_SECONDS: u32 = 300;

pub(super) fn look(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    for (zone, read) in &facts.records {
        if let Err(failure) = read {
            let action = "route53:ListResourceRecordSets";
            findings.unread(Severity::Stops, &format!("records of zone {zone}"), failure, action);
        }
    }
    let Some(lever) = policy.weights_lever() else { return };
    let Some(inventory) = facts.inventory() else { return };
    match inventory.answers(lever, &policy.regions) {
        Answers::Drift { what } => findings.add(Severity::Stops, "records", Told {
            what: format!("are not as the policy describes them: {what}"),
            why: "a move starts from the records as described, and is refused otherwise",
            mend: "make weighted sets with the set identifiers of the policy, or mend the policy",
        }),
        Answers::Split { split, .. } => {
            away(policy, &split, findings);
            rehearse(policy, facts, &inventory, &split, findings);
        }
        Answers::Unknown => {}
    }
    epoch(policy, lever, inventory.epoch_set(lever), findings);
    times_to_live(policy, facts, lever, findings);
    mixed(policy, facts, findings);
}

fn away(policy: &Policy, split: &Split, findings: &mut Findings) {
    let home = policy.home_split();
    if home.as_ref().is_some_and(|home| home.distance(split) >= 0.02) {
        let home = home.map_or(String::new(), |home| home.to_string());
        findings.add(
            Severity::Note,
            "records",
            Told {
                what: format!("say {split}, the policy says {home}"),
                why: "traffic is away from home, or the policy is not what is in force",
                mend: "`leeward failback`, or the weights of the policy",
            },
        );
    }
}

/// Works out, for each region that carries traffic, what leaving it would take.
fn rehearse(
    policy: &Policy,
    facts: &Facts,
    inventory: &crate::plan::Inventory,
    split: &Split,
    findings: &mut Findings,
) {
    for (name, _) in policy.serving().filter(|(name, _)| split.weight(name).0 > 0) {
        let heirs = policy.serving().filter(|(other, _)| *other != name);
        let to: BTreeMap<_, _> = policy
            .regions
            .keys()
            .map(|region| (region.clone(), Weight(0)))
            .chain(heirs.map(|(other, _)| (other.clone(), Weight(100))))
            .collect();
        let Ok(to) = Split::new(to) else { continue };
        let wanted = Wanted::Move(Move {
            lever: LeverKind::Weights,
            purpose: Purpose::Evacuate,
            from: split.clone(),
            to,
            turns: Vec::new(),
            because: String::new(),
        });
        let (epoch, at) = (Epoch(0).next(), facts.at);
        match batch::plan(policy, inventory, &wanted, epoch, &facts.holder, at) {
            Ok(_) => {}
            Err(why) => findings.add(Severity::Stops, format!("region {name}"), Told {
                what: format!("leaving it cannot be worked out: {why}"),
                why: "the same would be found out in the middle of an outage",
                mend: "mend the records or the policy until `leeward plan --assume` shows a plan",
            }),
        }
    }
}

fn epoch(policy: &Policy, lever: &WeightsLever, set: Option<&RecordSet>, findings: &mut Findings) {
    let about = format!("epoch record {}", lever.epoch_record.name);
    let Some(set) = set else {
        findings.add(Severity::Note, about, Told {
            what: "is not there yet".to_owned(),
            why: "the first move creates it; until then nobody can see by DNS who moved traffic",
            mend: "nothing: allow `CREATE` of this TXT record",
        });
        return;
    };
    let said = match &set.data {
        RecordData::Values(values) => values.first().map(|value| EpochTxt::parse(value)),
        RecordData::Alias { .. } => None,
    };
    let what = match said {
        Some(Ok(txt)) if txt.service == policy.service => return,
        Some(Ok(txt)) => format!("belongs to service `{}`", txt.service),
        Some(Err(why)) => format!("is not ours: {why}"),
        None => "is not a TXT record of ours".to_owned(),
    };
    findings.add(Severity::Stops, about, Told {
        what,
        why: "every batch swaps it, and a batch that does not find what it expects is refused whole",
        mend: "give each service an epoch record of its own, and remove what is in the way",
    });
}

fn times_to_live(policy: &Policy, facts: &Facts, lever: &WeightsLever, findings: &mut Findings) {
    let promised = u32::try_from(lever.ttl.as_secs()).unwrap_or(u32::MAX);
    let mut groups: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (_, set) in members(policy, facts) {
        let Some(ttl) = set.ttl else { continue };
        groups.entry((set.name.clone(), set.kind.clone())).or_default().push(ttl);
        if ttl > promised {
            findings.add(
                Severity::Weakens,
                named(set),
                Told {
                    what: format!("is cached for {ttl}s, the policy says {}", span(lever.ttl)),
                    why: "every bound that `leeward plan` prints is too short by the difference",
                    mend: "lower the time to live of the record, or say the real one under `ttl`",
                },
            );
        }
        if ttl > TTL_TOO_LONG_SECONDS {
            findings.add(
                Severity::Stops,
                named(set),
                Told {
                    what: format!("is cached for {ttl}s"),
                    why: "whatever is done, clients keep coming for as long",
                    mend: "60s or 120s (ARC best practices, \"Set a lower TTL\")",
                },
            );
        } else if ttl > TTL_LONG_SECONDS {
            findings.add(
                Severity::Weakens,
                named(set),
                Told {
                    what: format!("is cached for {ttl}s"),
                    why: "clients keep coming for as long after every move",
                    mend: "60s or 120s (ARC best practices)",
                },
            );
        }
    }
    for ((name, kind), times) in groups {
        if times.iter().any(|ttl| Some(ttl) != times.first()) {
            findings.add(Severity::Weakens, format!("{name} {kind}"), Told {
                what: format!("its sets have different times to live: {times:?}"),
                why: "Route 53 wants them equal in a weighted group; the longer ones get more clients",
                mend: "the same time to live on every set",
            });
        }
    }
}

/// A set without a health check is always healthy (Developer Guide, "How Route 53 chooses records when
/// health checking is configured"), and weight 0 means three different things.
fn mixed(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    let mut groups: BTreeMap<_, Vec<&RecordSet>> = BTreeMap::new();
    for (_, set) in members(policy, facts) {
        groups.entry((set.name.clone(), set.kind.clone())).or_default().push(set);
    }
    for ((name, kind), sets) in groups {
        let about = format!("{name} {kind}");
        let checked = |set: &&&RecordSet| set.health_check.is_some() || evaluates(set);
        let count = sets.iter().filter(checked).count();
        if count > 0 && count < sets.len() {
            let bare: Vec<&str> = sets
                .iter()
                .filter(|set| !checked(set))
                .filter_map(|set| set.set_identifier.as_deref())
                .collect();
            findings.add(Severity::Weakens, &about, Told {
                what: format!("some sets are health-checked, not {}", bare.join(", ")),
                why: "a set without a check is always healthy: it gets the traffic when the others \
                      fail, well or not",
                mend: "a check on every set of the group, or on none",
            });
        }
        let zero = sets.iter().any(|set| set.weight == Some(Weight(0)));
        if zero && count == sets.len() {
            findings.add(Severity::Note, &about, Told {
                what: "weight 0 is a last resort here, not off".to_owned(),
                why: "with a check on every set, Route 53 answers those of weight 0 as soon as all \
                      others are unhealthy, whatever the controller wants",
                mend: "nothing, if that is meant",
            });
        }
    }
}

pub(super) fn evaluates(set: &RecordSet) -> bool {
    matches!(&set.data, RecordData::Alias { evaluate_target_health: true, .. })
}
