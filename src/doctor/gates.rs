//! Gates: they stand open on a calm day, are seen from outside as they stand, and hang on the records in a
//! way that publishing one really takes its region out.

use super::{Facts, Findings, Read, Severity, Told, watched};
use crate::domain::{RegionName, span};
use crate::policy::{Gate, GatesLever, HOLDER, Policy, Slot};
use crate::ports::{CheckFacts, GateFacts};
use crate::steer::{Checks, Found, Health, HealthCheck, Watches};

pub(super) fn look(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    let Some(lever) = policy.gates_lever() else { return };
    for (region, slots) in &lever.slots {
        for (number, slot) in slots.iter().enumerate() {
            let about = format!("gate {number} of {region}");
            if let Some(gate) = facts.gates.get(&(region.clone(), number)) {
                stands(policy, region, &about, gate, findings);
                if gate.stranger {
                    let check = check_of(facts, slot).and_then(|(_, read)| read.as_ref().ok());
                    let searches = check.is_some_and(|check| check.search.is_some());
                    strange(&about, gate, searches, findings);
                }
                let id = slot.health_check.as_ref();
                let found = id.and_then(|id| facts.found.get(id));
                if let Some(found) = found {
                    checkers(&about, gate, found, findings);
                }
            }
            if let Some((id, check)) = check_of(facts, slot) {
                let about = format!("{about} (check {id})");
                wiring(lever, facts, slot, &about, check, findings);
            }
        }
        if let Some(region_slots) = lever.slots.get(region) {
            attached(policy, facts, lever, region, region_slots, findings);
        }
    }
    let closed = |region: &RegionName| {
        let mut own = facts.gates.iter().filter(|((owner, _), _)| owner == region).peekable();
        own.peek().is_some() && own.all(|(_, gate)| gate.closed() == Some(true))
    };
    if policy.serving().all(|(name, _)| closed(name)) {
        findings.add(Severity::Stops, "gates", Told {
            what: "those of every region are closed".to_owned(),
            why: "where nothing is healthy Route 53 answers as if everything were: no gate takes anybody out",
            mend: "open those of the regions that are well",
        });
    }
}

fn check_of<'a>(facts: &'a Facts, slot: &'a Slot) -> Option<(&'a str, &'a Read<CheckFacts>)> {
    let id = slot.health_check.as_ref()?;
    Some((id, facts.checks.get(id)?))
}

/// Somebody else answers in its place.
fn strange(about: &str, gate: &GateFacts, searches: bool, findings: &mut Findings) {
    let status = gate.outside.as_ref().copied().unwrap_or_default();
    let (severity, why) = match gate.looks_closed() {
        Some(true) if !searches => (
            Severity::Stops,
            "to a checker that searches for no text it is published: the region is out of the answers, and \
             nothing lets it in",
        ),
        Some(true) => (
            Severity::Weakens,
            "only the text that the check searches for keeps this from taking the region out",
        ),
        Some(false) | None => {
            (Severity::Weakens, "when the gate is closed, checkers may not see it")
        }
    };
    findings.add(
        severity,
        about,
        Told {
            what: format!("answers {status} from outside with a page that is not the gate's"),
            why,
            mend: "lead the address to `/gates/SERVICE/REGION/NUMBER` of `leeward run`, with no page or \
                   redirection in its place, and let the check search for `out`",
        },
    );
}

/// How one gate stands, by its bucket and from outside.
fn stands(
    policy: &Policy,
    region: &RegionName,
    about: &str,
    gate: &GateFacts,
    findings: &mut Findings,
) {
    if let Some(Err(failure)) = &gate.kept {
        // The answer without `s3:ListBucket` is the same for an object that is not there.
        let action = "s3:GetObject` and `s3:ListBucket";
        findings.unread(Severity::Stops, about, failure, action);
    }
    if gate.closed() == Some(true) && !gate.stranger {
        let home = policy.regions.get(region).is_some_and(|region| region.weight.0 > 0);
        let why = if home {
            "traffic is away from it, or somebody forgot it: visitors are not sent there"
        } else {
            "it cannot take over as long as it is kept out of the answers"
        };
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: format!("is published now: `{region}` is taken out of the answers"),
                why,
                mend: "`leeward failback` if a move is over; otherwise delete the object",
            },
        );
    }
    let (kept, looks) =
        (gate.kept.as_ref().and_then(|kept| kept.as_ref().ok()), gate.looks_closed());
    match (&gate.outside, kept, looks) {
        (Err(why), _, _) => findings.add(
            Severity::Trouble,
            about,
            Told {
                what: format!("does not answer from here: {why}"),
                why: "checkers come from the public internet: what they cannot reach they never see published",
                mend: "let its address be reached from outside, or run this where it is",
            },
        ),
        (Ok(status), Some(false), Some(true)) => findings.add(Severity::Stops, about, Told {
            what: format!("answers {status} from outside though the object is not there"),
            why: "to a checker it is published: the region is out of the answers, and nothing lets it in",
            mend: "no error page and no redirection for objects that are missing",
        }),
        (Ok(status), Some(true), Some(false)) => findings.add(Severity::Stops, about, Told {
            what: format!("answers {status} from outside though the object is there"),
            why: "checkers do not see it published, so the region stays in the answers",
            mend: "let everybody read the object (bucket policy, and no block of public access)",
        }),
        (Ok(403), Some(false), _) => findings.add(Severity::Note, about, Told {
            what: "answers 403 from outside, as S3 does for what is missing and for what is private".to_owned(),
            why: "whether checkers could read the object is seen only when it is there",
            mend: "compare the bucket's policy with infra/cloudformation/gates.yaml, and publish it in a drill",
        }),
        (Ok(status), None, Some(false))
            if gate.kept.is_none() && *status != 404 && !gate.stranger => findings.add(Severity::Weakens, about, Told {
            what: format!("answers {status} from outside, and not the 404 of an open gate"),
            why: "somebody else answers there: when it is closed, checkers may not see it",
            mend: "lead the address to `/gates/SERVICE/REGION/NUMBER` of `leeward run`",
        }),
        (Ok(_), _, _) => {}
    }
}

/// What Route 53's checkers say, against how it stands.
fn checkers(about: &str, gate: &GateFacts, read: &Read<Found>, findings: &mut Findings) {
    let found = match read {
        Ok(found) => *found,
        Err(failure) => {
            findings.unread(Severity::Note, about, failure, "route53:GetHealthCheckStatus");
            return;
        }
    };
    let Some(closed) = gate.closed().filter(|_| found.checkers > 0) else { return };
    let check = HealthCheck::new(Watches::Endpoint { found: Some(found) });
    let seen = Checks([(String::new(), check)].into()).verdict("") == Ok(Health::Healthy);
    if seen != closed {
        let state = |closed| if closed { "published" } else { "open" };
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: format!(
                    "is {} and {} of {} checkers find it {}",
                    state(closed),
                    if seen {
                        found.healthy
                    } else {
                        found.checkers - found.healthy.min(found.checkers)
                    },
                    found.checkers,
                    state(seen)
                ),
                why: "the answers follow what the checkers find",
                mend: "the check's endpoint and path; or it was turned a moment ago: ask again",
            },
        );
    }
}

/// The check that the policy names for a gate.
fn wiring(
    lever: &GatesLever,
    facts: &Facts,
    slot: &Slot,
    about: &str,
    read: &Read<CheckFacts>,
    findings: &mut Findings,
) {
    let check = match read {
        Ok(check) => check,
        Err(failure) => {
            findings.unread(Severity::Weakens, about, failure, "route53:GetHealthCheck");
            return;
        }
    };
    if check.kind == "CALCULATED" && lever.votes.of > 1 {
        return;
    }
    if !check.kind.starts_with("HTTP") {
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: format!(
                    "is of type {}, which does not see whether an object is there",
                    check.kind
                ),
                why: "publishing the gate changes nothing",
                mend: "an inverted check of type HTTPS on the gate's own address",
            },
        );
        return;
    }
    upright(check, about, findings);
    if !sees(check, &slot.gate, &facts.holder) {
        let host = check.endpoint.as_deref().or(check.address.as_deref()).unwrap_or_default();
        let place = slot.gate.url(&facts.holder).unwrap_or_default();
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: format!(
                    "looks at {host}{}, and the gate stands at {place}",
                    check.path.as_deref().unwrap_or_default()
                ),
                why: "publishing the gate changes nothing that this check sees",
                mend: "the gate's host and path in the check, or the right check in the policy",
            },
        );
    }
    if let Some(text) = check.search.as_deref().filter(|text| !words(&slot.gate).contains(text)) {
        findings.add(Severity::Stops, about, Told {
            what: format!("wants `{text}` in the body of the answer"),
            why: "what is published is a line of the controller's own, without that text: it is never seen",
            mend: "a check without a text (type HTTPS)",
        });
    }
    if (check.every, check.failures) != (lever.check.every, lever.check.failures) {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: format!(
                    "asks every {}, {} times; the policy says every {}, {} times",
                    span(check.every),
                    check.failures,
                    span(lever.check.every),
                    lever.check.failures
                ),
                why: "every bound of `leeward plan`, and when a move is called done, is reckoned from it",
                mend: "the real numbers under `check`",
            },
        );
    }
}

fn upright(check: &CheckFacts, about: &str, findings: &mut Findings) {
    if !check.inverted {
        findings.add(Severity::Stops, about, Told {
            what: "is not inverted".to_owned(),
            why: "an open gate would take its region out, and publishing it would let it in; so would a dead controller",
            mend: "`Inverted: true` (`UpdateHealthCheck`)",
        });
    }
}

/// What can be counted on in the answer of a published gate.
pub(super) fn words(gate: &Gate) -> &'static str {
    match gate {
        Gate::S3 { .. } => " takes ",
        Gate::Http { .. } | Gate::Unnamed => "out",
    }
}

/// Whether a check looks where a gate stands. With several holders each has a place of its own.
pub(super) fn sees(check: &CheckFacts, gate: &Gate, holder: &str) -> bool {
    let host = check.endpoint.as_deref().or(check.address.as_deref()).unwrap_or_default();
    let place = format!("{}{}", host.to_ascii_lowercase(), check.path.as_deref().unwrap_or("/"));
    if let Gate::S3 { bucket, key, url: None, .. } = gate {
        // S3 has several names for an object: with the bucket in front, in the path, dual-stack.
        let (head, tail) = key.split_once(HOLDER).unwrap_or((key, key));
        let matches = if key.contains(HOLDER) {
            place.contains(&format!("/{head}")) && place.ends_with(tail)
        } else {
            place.ends_with(&format!("/{head}"))
        };
        return matches && place.contains(bucket.as_str()) && host.contains("amazonaws.");
    }
    let Some(url) = gate.url(holder) else { return true };
    let Some((scheme, rest)) = url.split_once("://") else { return true };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let standard = if scheme == "https" { 443 } else { 80 };
    let (name, port) = match authority.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
        Some((name, Ok(port))) => (name, port),
        Some((_, Err(_))) | None => (authority, standard),
    };
    let asked = check.port.unwrap_or(if check.kind.starts_with("HTTPS") { 443 } else { 80 });
    place == format!("{}/{path}", name.to_ascii_lowercase()) && asked == port
}

/// Whether the records of a region hang on its gates, and whether as many votes as the policy says turn them.
fn attached(
    policy: &Policy,
    facts: &Facts,
    lever: &GatesLever,
    region: &RegionName,
    slots: &[Slot],
    findings: &mut Findings,
) {
    let about = format!("gates of {region}");
    let records: Vec<_> =
        watched(policy, facts).into_iter().filter(|(owner, _)| owner == region).collect();
    if records.is_empty() {
        let named = policy.weights_lever().is_some() || lever.proof.witness.is_some();
        if !named {
            findings.add(Severity::Note, &about, Told {
                what: "no record is known that hangs on them".to_owned(),
                why: "without `weights` and without a witness the policy names no record, so the wiring \
                      between gate and answer was not looked at",
                mend: "a `witness` with the service's own health checks",
            });
        }
        return;
    }
    let is_gate = |id: &str, check: &CheckFacts| {
        slots.iter().any(|slot| {
            slot.health_check.as_deref() == Some(id)
                || (check.kind.starts_with("HTTP") && sees(check, &slot.gate, &facts.holder))
        })
    };
    for (_, set) in records {
        let about = format!("{} and the {about}", super::named(set));
        let Some(id) = set.health_check.as_deref() else {
            hangs_on_none(&about, "has no health check", findings);
            continue;
        };
        // What could not be read is told elsewhere.
        let Some(Ok(check)) = facts.checks.get(id) else { continue };
        // One that the policy names is looked at whether or not a record hangs on it.
        let unnamed = |id: &str| !slots.iter().any(|slot| slot.health_check.as_deref() == Some(id));
        if check.kind != "CALCULATED" {
            if is_gate(id, check) && unnamed(id) {
                upright(check, &format!("{about} (check {id})"), findings);
            }
            if !is_gate(id, check) {
                hangs_on_none(
                    &about,
                    &format!("hangs on check {id}, which is none of theirs"),
                    findings,
                );
            } else if lever.votes.needed > 1 {
                votes(&about, lever, 1, findings);
            }
            continue;
        }
        let children: Option<Vec<(&str, &CheckFacts)>> = check
            .children
            .iter()
            .map(|id| Some((id.as_str(), facts.checks.get(id)?.as_ref().ok()?)))
            .collect();
        let Some(children) = children else { continue };
        for (id, check) in &children {
            if is_gate(id, check) && unnamed(id) {
                upright(check, &format!("{about} (check {id})"), findings);
            }
        }
        let theirs = children.iter().filter(|(id, check)| is_gate(id, check)).count();
        if theirs == 0 && !slots.iter().any(|slot| slot.health_check.as_deref() == Some(id)) {
            hangs_on_none(
                &about,
                &format!("hangs on check {id}, which counts none of theirs"),
                findings,
            );
            continue;
        }
        if check.inverted {
            findings.add(Severity::Stops, &about, Told {
                what: format!("the calculated check {id} is inverted"),
                why: "its gates are inverted already: the record is answered only while they are published",
                mend: "`Inverted: false` for the calculated check",
            });
        }
        // With the other children healthy, so many published gates make it unhealthy.
        let threshold = usize::try_from(check.threshold.unwrap_or(0)).unwrap_or(usize::MAX);
        let takes = (children.len() + 1).saturating_sub(threshold);
        if threshold > 0 && threshold <= children.len() {
            votes(&about, lever, u32::try_from(takes).unwrap_or(u32::MAX), findings);
        }
    }
}

fn votes(about: &str, lever: &GatesLever, takes: u32, findings: &mut Findings) {
    let needed = lever.votes.needed;
    if takes == needed {
        return;
    }
    let severity = if takes > needed { Severity::Stops } else { Severity::Weakens };
    let why = if takes > needed {
        "what this policy publishes does not take the region out"
    } else {
        "fewer controllers than the policy wants take the region out"
    };
    findings.add(severity, about, Told {
        what: format!("{takes} published gate(s) take it out, the policy says {needed}"),
        why,
        mend: "a threshold of (children + 1 - `needed`) in the calculated check, or `votes` as they are",
    });
}

fn hangs_on_none(about: &str, what: &str, findings: &mut Findings) {
    findings.add(
        Severity::Stops,
        about,
        Told {
            what: what.to_owned(),
            why: "publishing a gate leaves this record in the answers",
            mend: "the gate's check on every record of its region, or a calculated check over it",
        },
    );
}
