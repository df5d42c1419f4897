//! Health checks on the records: attached to the right record, watching the right side, the right way
//! round.
//!
//! The trap that they are here for: a gate is an *inverted* check on an object of the standby side, and an
//! app check is a plain check on the region itself. Swap one property of either, and Route 53 takes a well
//! region out, or never a dead one.

use std::net::IpAddr;
use std::time::Duration;

use super::{Facts, Findings, Severity, Told, named, watched};
use crate::domain::{RegionName, span};
use crate::policy::{Policy, Source};
use crate::ports::CheckFacts;

/// 30 seconds three times: 90 until a verdict changes. Ten times three is 30.
const SLOW: Duration = Duration::from_secs(60);

pub(super) fn look(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    for (region, set) in watched(policy, facts) {
        let Some(id) = &set.health_check else { continue };
        let about = format!("{} (check {id})", named(set));
        let check = match facts.checks.get(id) {
            Some(Ok(check)) => check,
            Some(Err(failure)) => {
                findings.unread(Severity::Weakens, &about, failure, "route53:GetHealthCheck");
                continue;
            }
            None => continue,
        };
        one(policy, facts, &region, &about, check, findings);
    }
}

fn one(
    policy: &Policy,
    facts: &Facts,
    region: &RegionName,
    about: &str,
    check: &CheckFacts,
    findings: &mut Findings,
) {
    state(about, check, findings);
    match check.kind.as_str() {
        "CALCULATED" => calculated(policy, facts, region, about, check, findings),
        "CLOUDWATCH_METRIC" => alarm(policy, region, about, check, findings),
        // `controls` sees to these.
        "RECOVERY_CONTROL" => {}
        _ => endpoint(policy, region, about, check, findings),
    }
}

fn state(about: &str, check: &CheckFacts, findings: &mut Findings) {
    if check.disabled {
        let (what, why) = if check.inverted {
            (
                "is disabled and inverted: unhealthy for good",
                "its record is never answered while \
              another one is healthy",
            )
        } else {
            ("is disabled: healthy for good", "its record stays in the answers whatever happens")
        };
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: what.to_owned(),
                why,
                mend: "enable the check (`UpdateHealthCheck --no-disabled`)",
            },
        );
    }
    let flips = check.every * check.failures;
    let timed =
        !matches!(check.kind.as_str(), "CALCULATED" | "CLOUDWATCH_METRIC" | "RECOVERY_CONTROL");
    if timed && flips > SLOW {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: format!(
                    "needs {} to change its mind ({} x {})",
                    span(flips),
                    span(check.every),
                    check.failures
                ),
                why: "every move by this check takes as long, and the time to live on top",
                mend: "a check with an interval of 10s (it cannot be changed: make a new one)",
            },
        );
    }
}

/// Where an endpoint check looks, as far as names tell.
enum Looks<'a> {
    /// At a balancer of this region.
    At(&'a RegionName),
    /// At something whose name has this region's AWS code in it.
    In(&'a RegionName),
    /// At the name of the service itself, which every region answers.
    Service,
    Elsewhere,
}

fn looks<'a>(policy: &'a Policy, check: &CheckFacts) -> Looks<'a> {
    let place = check.endpoint.as_deref().or(check.address.as_deref()).unwrap_or_default();
    let place = place.trim_end_matches('.').to_ascii_lowercase();
    for (name, region) in &policy.regions {
        let connects = region.balancers.iter().filter_map(|balancer| balancer.connect.as_deref());
        if connects.map(str::to_ascii_lowercase).any(|connect| connect == place)
            || check.address.as_deref().is_some_and(|address| {
                region.balancers.iter().any(|b| b.connect.as_deref() == Some(address))
            })
        {
            return Looks::At(name);
        }
    }
    for (name, region) in &policy.regions {
        if region.aws_region.as_deref().is_some_and(|code| has_label(&place, code)) {
            return Looks::In(name);
        }
    }
    let host = policy.signals.values().any(|signal| match &signal.source {
        Source::Probe(probe) => probe.host.as_deref() == Some(place.as_str()),
        Source::TargetHealth { .. }
        | Source::Metric(_)
        | Source::Beacon { .. }
        | Source::Pushed => false,
    });
    if host { Looks::Service } else { Looks::Elsewhere }
}

/// `eu-west-1` in `gates.s3.eu-west-1.amazonaws.com`, and not in `us-eu-west-10.example.com`.
fn has_label(host: &str, code: &str) -> bool {
    host.match_indices(code).any(|(at, _)| {
        let edge = |c: Option<char>| !c.is_some_and(|c| c.is_ascii_alphanumeric());
        edge(host[..at].chars().next_back()) && edge(host[at + code.len()..].chars().next())
    })
}

fn endpoint(
    policy: &Policy,
    region: &RegionName,
    about: &str,
    check: &CheckFacts,
    findings: &mut Findings,
) {
    if check.address.as_deref().and_then(|text| text.parse().ok()).is_some_and(is_private) {
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: format!(
                    "watches {}, a private address",
                    check.address.clone().unwrap_or_default()
                ),
                why: "Route 53's checkers come from the public internet and never reach it",
                mend: "a public name or address, or a check on a CloudWatch alarm",
            },
        );
    }
    let place = check.endpoint.as_deref().or(check.address.as_deref()).unwrap_or("its endpoint");
    match (check.inverted, looks(policy, check)) {
        (true, Looks::At(seen)) => findings.add(Severity::Stops, about, Told {
            what: format!("is inverted and watches the app of `{seen}` at {place}"),
            why: "an inverted app check calls the region dead while it is well, and well when it dies",
            mend: "invert the gate, never the app check: `Inverted: false`, or the gate's object as its endpoint",
        }),
        (true, Looks::Service) => findings.add(Severity::Stops, about, Told {
            what: format!("is inverted and watches the service's own name {place}"),
            why: "it calls the region dead as long as anybody answers",
            mend: "the gate's object as its endpoint",
        }),
        (true, Looks::In(seen)) if seen == region => findings.add(Severity::Stops, about, Told {
            what: format!("is a gate whose object lies in {place}, in the region that it takes out"),
            why: "when that region fails nobody can publish there: the gate fails with it",
            mend: "the object on the standby's side: standby takes over primary",
        }),
        (false, Looks::At(seen) | Looks::In(seen)) if seen != region => {
            findings.add(Severity::Stops, about, Told {
                what: format!("is on the record of `{region}` and watches `{seen}` at {place}"),
                why: "when that one fails, the well region is taken out; when its own fails, it stays",
                mend: "attach each check to the record of the region that it watches",
            });
        }
        (true, Looks::In(_) | Looks::Elsewhere)
        | (false, Looks::At(_) | Looks::In(_) | Looks::Service | Looks::Elsewhere) => {}
    }
    if !check.inverted && matches!(looks(policy, check), Looks::Service) {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: format!("watches the service's own name {place}"),
                why: "it sees whichever region answers, not the one of its record",
                mend: "the balancer's own name as the endpoint",
            },
        );
    }
}

fn calculated(
    policy: &Policy,
    facts: &Facts,
    region: &RegionName,
    about: &str,
    check: &CheckFacts,
    findings: &mut Findings,
) {
    let (threshold, count) = (check.threshold.unwrap_or(0), check.children.len());
    if threshold == 0 {
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: "wants 0 of its children healthy: it is always healthy".to_owned(),
                why: "no vote of any gate takes the region out",
                mend: "a threshold of 1 or more",
            },
        );
    } else if usize::try_from(threshold).is_ok_and(|threshold| threshold > count) {
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: format!("wants {threshold} of {count} children healthy: it never is"),
                why: "the region is out of the answers for good, or in them only as a last resort",
                mend: "a threshold of at most the number of children",
            },
        );
    }
    for id in &check.children {
        let about = format!("{about} child {id}");
        match facts.checks.get(id) {
            Some(Ok(child)) if child.kind == "CALCULATED" => {}
            Some(Ok(child)) => one(policy, facts, region, &about, child, findings),
            Some(Err(failure)) => {
                findings.unread(Severity::Weakens, &about, failure, "route53:GetHealthCheck");
            }
            None => {}
        }
    }
}

fn alarm(
    policy: &Policy,
    region: &RegionName,
    about: &str,
    check: &CheckFacts,
    findings: &mut Findings,
) {
    let own = policy.regions.get(region).and_then(|region| region.aws_region.as_deref());
    if own.is_some() && check.alarm_region.as_deref() == own {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: format!(
                    "hangs on an alarm in {}, the region that it is to judge",
                    own.unwrap_or_default()
                ),
                why: "when that region fails, its metrics stop, and the check keeps what it knew",
                mend: "an alarm in another region, over a metric that is taken from outside",
            },
        );
    }
    if check.without_data.as_deref() == Some("Healthy") {
        findings.add(Severity::Weakens, about, Told {
            what: "counts missing data as healthy".to_owned(),
            why: "a region that went dark sends no data",
            mend: "`InsufficientDataHealthStatus: LastKnownStatus`, and another kind of check beside it",
        });
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}
