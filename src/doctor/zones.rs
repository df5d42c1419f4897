//! Zones, quotas, clocks and places: what the levers stand on.

use std::time::Duration;

use super::{Facts, Findings, Severity, Told};
use crate::domain::span;
use crate::policy::{Policy, Readback};

/// The commercial partition's control plane of Route 53 (AWS Fault Isolation Boundaries, Appendix B).
const CONTROL_PLANE: &str = "us-east-1";
/// AWS refuses requests whose time is further off than five minutes ("Signature Version 4: Troubleshooting");
/// four leave a minute for what is still drifting.
const SKEW_REFUSED: Duration = Duration::from_secs(240);
/// The `Date` header has whole seconds, and the answer travelled.
const SKEW_SEEN: Duration = Duration::from_secs(5);
/// Of a quota, in per cent.
const NEARLY_FULL: u64 = 90;

pub(super) fn look(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    zones(policy, facts, findings);
    quotas(policy, facts, findings);
    clock(facts, findings);
    place(policy, facts, findings);
}

fn zones(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    let Some(lever) = policy.weights_lever() else { return };
    let only_lever = policy.levers.len() == 1;
    for (id, read) in &facts.zones {
        let about = format!("zone {id}");
        let zone = match read {
            Ok(zone) => zone,
            Err(failure) => {
                findings.unread(Severity::Stops, &about, failure, "route53:GetHostedZone");
                continue;
            }
        };
        if zone.private && lever.readback == Readback::NameServers {
            findings.add(Severity::Stops, &about, Told {
                what: "is private and has no name servers that could be asked".to_owned(),
                why: "a move would never be seen to be in force, and so never be done",
                mend: "`readback: [HOST:PORT]` with resolvers inside the network, or `readback: none`",
            });
        }
        if zone.private && !lever.records.is_empty() {
            findings.add(
                Severity::Note,
                &about,
                Told {
                    what: "is private: accelerated recovery does not cover it".to_owned(),
                    why: "while the control plane is impaired its weights cannot be changed",
                    mend: "a lever of the data plane",
                },
            );
            continue;
        }
        accelerated(&about, zone.accelerated_recovery.as_deref(), only_lever, findings);
    }
}

/// Accelerated recovery for public DNS records (Developer Guide): a copy of the zone in us-west-2 takes
/// over within about 60 minutes after AWS has detected the impairment. It is no failover.
fn accelerated(about: &str, status: Option<&str>, only_lever: bool, findings: &mut Findings) {
    match status {
        Some(status) if status.ends_with("_LOCKED") => {
            findings.add(
                Severity::Stops,
                about,
                Told {
                    what: format!("accelerated recovery is {status}"),
                    why: "in this state Route 53 refuses changes of the zone for some minutes",
                    mend: "wait until it is through, and ask again",
                },
            );
        }
        Some("ENABLED") => findings.add(
            Severity::Note,
            about,
            Told {
                what: "accelerated recovery is on".to_owned(),
                why: "changes work again about 60 minutes after AWS has detected that us-east-1 is \
                  impaired; health checks cannot be changed meanwhile",
                mend: "nothing: but do not count on it for the first hour",
            },
        ),
        Some(status @ ("ENABLE_FAILED" | "DISABLE_FAILED")) => {
            findings.add(
                Severity::Weakens,
                about,
                Told {
                    what: format!("accelerated recovery is {status}"),
                    why: "nobody knows which half of it works",
                    mend: "switch it on again (`UpdateHostedZoneFeatures`)",
                },
            );
        }
        Some(_) | None => {
            let severity = if only_lever { Severity::Weakens } else { Severity::Note };
            findings.add(severity, about, Told {
                what: "accelerated recovery is off".to_owned(),
                why: "while us-east-1 is impaired, its weights cannot be changed at all: seven hours \
                      on 2021-12-07",
                mend: "a lever of the data plane; and switch it on (free, `UpdateHostedZoneFeatures`)",
            });
        }
    }
}

fn quotas(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    for (id, read) in &facts.quotas {
        let about = format!("zone {id}");
        let quota = match read {
            Ok(quota) => *quota,
            Err(failure) => {
                findings.unread(Severity::Note, &about, failure, "route53:GetHostedZoneLimit");
                continue;
            }
        };
        let needs_one = policy.weights_lever().is_some_and(|lever| {
            lever.epoch_record.zone == *id
                && facts.inventory().is_some_and(|read| read.epoch_set(lever).is_none())
        });
        if quota.used >= quota.max && needs_one {
            findings.add(Severity::Stops, &about, Told {
                what: format!("is full: {} of {} record sets", quota.used, quota.max),
                why: "the first move creates the epoch record, and the whole batch would be refused",
                mend: "have the quota raised, or create the epoch record elsewhere",
            });
        } else if quota.max > 0 && quota.used * 100 / quota.max >= NEARLY_FULL {
            findings.add(
                Severity::Weakens,
                &about,
                Told {
                    what: format!("is nearly full: {} of {} record sets", quota.used, quota.max),
                    why: "when it is full, nothing can be added on a bad day",
                    mend: "have the quota raised",
                },
            );
        }
    }
}

fn clock(facts: &Facts, findings: &mut Findings) {
    let Some(Ok(caller)) = &facts.caller else { return };
    let Some(theirs) = caller.says_now else { return };
    let skew = facts.at.since(theirs).max(theirs.since(facts.at));
    if skew >= SKEW_REFUSED {
        findings.add(
            Severity::Stops,
            "clock",
            Told {
                what: format!("is {} off", span(skew)),
                why: "AWS refuses signed requests that are more than five minutes off",
                mend: "run a time service (chrony, systemd-timesyncd)",
            },
        );
    } else if skew >= SKEW_SEEN {
        findings.add(Severity::Weakens, "clock", Told {
            what: format!("is {} off", span(skew)),
            why: "ages of metrics, cooldowns and the time in the epoch record are wrong by as much",
            mend: "run a time service (chrony, systemd-timesyncd)",
        });
    }
}

/// Who rescues a region must not die with it.
fn place(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    for (name, region) in policy.serving().filter(|(_, region)| region.weight.0 > 0) {
        let Some(code) = region.aws_region.as_deref() else { continue };
        if facts.here.as_deref() == Some(code) {
            findings.add(
                Severity::Weakens,
                format!("region {name}"),
                Told {
                    what: format!("the controller runs in {code}, which it is to rescue"),
                    why: "when that region fails, the rescuer fails with it",
                    mend: "run it where the standby is, and a second one elsewhere as a vantage",
                },
            );
        }
        let only_weights = policy.weights_lever().is_some() && policy.levers.len() == 1;
        if code == CONTROL_PLANE && only_weights {
            findings.add(
                Severity::Stops,
                format!("region {name}"),
                Told {
                    what: format!("is {CONTROL_PLANE}, and `weights` is the only lever"),
                    why: "the lever's control plane is in the region that it is to leave",
                    mend: "a lever of the data plane before `weights`: `gates` or `arc`",
                },
            );
        }
    }
    if facts.here.is_none() {
        findings.add(
            Severity::Note,
            "controller",
            Told {
                what: "it is not known where it runs".to_owned(),
                why: "a controller inside the region that it rescues dies with it",
                mend: "`--here REGION`, or AWS_REGION in its environment",
            },
        );
    }
}
