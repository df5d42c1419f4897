//! Routing controls: their endpoints answer, they stand as on a calm day, and the records hang on them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Findings, Severity, Told, watched};
use crate::domain::{InAnswers, RegionName};
use crate::policy::{ArcLever, Policy};
use crate::ports::CallFailed;

/// A cluster answers as long as three of its five endpoints are up (ARC Developer Guide, "About ARC
/// components"): with fewer, the next one to go may be the last.
const ENDPOINTS_SAFE: usize = 3;

const READ: &str = "route53-recovery-cluster:GetRoutingControlState";

pub(super) fn look(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    let Some(lever) = policy.arc_lever() else { return };
    endpoints(facts, findings);
    stands(policy, facts, findings);
    attached(policy, facts, lever, findings);
}

/// Each endpoint is asked about each control, as a move asks.
fn endpoints(facts: &Facts, findings: &mut Findings) {
    let answers = |told: &BTreeMap<RegionName, Result<InAnswers, CallFailed>>| {
        !told.is_empty() && told.values().all(Result::is_ok)
    };
    let all = facts.controls.len();
    let well = facts.controls.values().filter(|told| answers(told)).count();
    for (aws_region, told) in &facts.controls {
        // One word for one endpoint: what is wrong with it is wrong for all controls, or told below.
        let failures =
            told.iter().filter_map(|(region, read)| Some((region, read.as_ref().err()?)));
        let mut seen = BTreeSet::new();
        for (region, failure) in failures {
            let missing = matches!(failure, CallFailed::NotFound { .. });
            let about = if missing {
                format!("routing control of {region}, by the endpoint in {aws_region}")
            } else {
                format!("endpoint of the cluster in {aws_region}")
            };
            if seen.insert(about.clone()) {
                findings.unread(Severity::Stops, &about, failure, READ);
            }
        }
    }
    if all > 0 && well < ENDPOINTS_SAFE.min(all) {
        let severity = if well == 0 { Severity::Stops } else { Severity::Weakens };
        findings.add(severity, "cluster of routing controls", Told {
            what: format!("{well} of {all} endpoints tell how the controls stand"),
            why: "any one of them is enough, and on a bad day some of those that answer now will not",
            mend: "addresses as `DescribeCluster` tells them, and a way to them from where this runs",
        });
    }
}

fn stands(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    let mut said: BTreeMap<&RegionName, BTreeSet<InAnswers>> = BTreeMap::new();
    for (region, read) in facts.controls.values().flatten() {
        if let Ok(stands) = read {
            said.entry(region).or_default().insert(*stands);
        }
    }
    for (region, stands) in &said {
        let about = format!("routing control of {region}");
        if stands.len() > 1 {
            findings.add(
                Severity::Weakens,
                &about,
                Told {
                    what: "some endpoints say `On` and some `Off`".to_owned(),
                    why: "it was turned a moment ago, or a part of the cluster is cut off",
                    mend: "ask again in a minute",
                },
            );
            continue;
        }
        let serves = policy.serving().any(|(name, _)| name == *region);
        if serves && stands.contains(&InAnswers::Out) {
            let home = policy.regions.get(*region).is_some_and(|region| region.weight.0 > 0);
            let why = if home {
                "traffic is away from it, or somebody forgot it: visitors are not sent there"
            } else {
                "another lever that takes the other regions out leaves no healthy record then, and \
                 Route 53 answers all of them, the sick one too"
            };
            findings.add(Severity::Weakens, &about, Told {
                what: "is `Off`".to_owned(),
                why,
                mend: "`leeward failback` if a move is over; otherwise `On`, as for every region that may serve",
            });
        }
    }
    let is_out = |stands: &BTreeSet<InAnswers>| !stands.contains(&InAnswers::In);
    if !said.is_empty() && said.values().all(is_out) {
        findings.add(Severity::Stops, "routing controls", Told {
            what: "none of them is `On`".to_owned(),
            why: "where nothing is healthy Route 53 answers as if everything were: turning one off changes nothing",
            mend: "`On` for the regions that are well",
        });
    }
}

/// Whether the records of each region hang on its own control.
fn attached(policy: &Policy, facts: &Facts, lever: &ArcLever, findings: &mut Findings) {
    let records = watched(policy, facts);
    if records.is_empty() {
        if policy.weights_lever().is_none() && lever.proof.witness.is_none() {
            findings.add(Severity::Note, "routing controls", Told {
                what: "no record is known that hangs on them".to_owned(),
                why: "without `weights` and without a witness the policy names no record, so the wiring \
                      between control and answer was not looked at",
                mend: "a `witness` with the service's own health checks",
            });
        }
        return;
    }
    for (region, set) in records {
        let Some(own) = lever.controls.get(&region) else { continue };
        let about = format!("{} and the routing control of {region}", super::named(set));
        let ids = set.health_check.iter().flat_map(|id| {
            let children = facts.checks.get(id).and_then(|read| read.as_ref().ok());
            let children = children.map_or(&[][..], |check| check.children.as_slice());
            std::iter::once(id).chain(children)
        });
        let checks: Option<Vec<_>> =
            ids.map(|id| Some((id, facts.checks.get(id)?.as_ref().ok()?))).collect();
        // What could not be read is told elsewhere.
        let Some(checks) = checks else { continue };
        let mut hangs = false;
        for (id, check) in checks {
            let Some(control) = check.routing_control.as_deref() else { continue };
            if control == own {
                hangs = true;
                if check.inverted {
                    findings.add(
                        Severity::Stops,
                        &about,
                        Told {
                            what: format!("check {id} is inverted"),
                            why: "`On` takes the region out of the answers, and `Off` lets it in",
                            mend: "`Inverted: false` (`UpdateHealthCheck`)",
                        },
                    );
                }
            } else if let Some((other, _)) = lever.controls.iter().find(|(_, arn)| *arn == control)
            {
                findings.add(
                    Severity::Stops,
                    &about,
                    Told {
                        what: format!("check {id} hangs on the control of `{other}`"),
                        why: "turning that one off takes the wrong region out",
                        mend: "attach each control's check to the records of its own region",
                    },
                );
            }
        }
        if !hangs {
            findings.add(Severity::Stops, &about, Told {
                what: "none of its health checks hangs on the control".to_owned(),
                why: "turning the control leaves this record in the answers",
                mend: "a check of type RECOVERY_CONTROL with the control's ARN, alone or below a calculated one",
            });
        }
    }
}
