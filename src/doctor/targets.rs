//! Target groups and balancers: what would make a good region look dead, or a bad one well, and whether
//! the standby could take over now.

use std::time::Duration;

use super::{Facts, Findings, Severity, Told, members};
use crate::domain::{RegionName, span};
use crate::plan::RecordData;
use crate::policy::{Measures, Policy, Region, Role, Source};
use crate::ports::{BalancerFacts, GroupFacts, Target, TargetState};

/// ALB keeps connections of clients for an hour by default; AWS suggests 300 seconds for failover.
const KEEP_ALIVE: &str = "client_keep_alive.seconds";
const KEEP_ALIVE_LONG_SECONDS: u64 = 300;
const KEEP_ALIVE_DEFAULT_SECONDS: u64 = 3600;
const DEREGISTRATION: &str = "deregistration_delay.timeout_seconds";
const DEREGISTRATION_LONG_SECONDS: u64 = 300;
/// Until a dead target is called so.
const TARGET_SLOW: Duration = Duration::from_secs(60);
const DNS_COUNT: &str = "target_group_health.dns_failover.minimum_healthy_targets.count";
const DNS_PERCENTAGE: &str = "target_group_health.dns_failover.minimum_healthy_targets.percentage";

pub(super) fn look(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    for (name, region) in policy.serving() {
        let takes_over = region.role == Role::Standby || region.weight.0 == 0;
        for arn in region.balancers.iter().flat_map(|balancer| &balancer.target_groups) {
            let place =
                Place { region: name, takes_over, evaluated: is_evaluated(policy, facts, name) };
            group(policy, facts, &place, arn, findings);
        }
        for arn in region.balancers.iter().filter_map(|balancer| balancer.arn.as_ref()) {
            balancer(facts, name, arn, findings);
        }
        if takes_over {
            readiness(policy, name, region, findings);
        }
    }
    limits(policy, facts, findings);
}

/// What a group is to its region.
struct Place<'a> {
    region: &'a RegionName,
    takes_over: bool,
    /// Route 53 itself evaluates the balancer's health for the record.
    evaluated: bool,
}

fn is_evaluated(policy: &Policy, facts: &Facts, name: &RegionName) -> bool {
    members(policy, facts).iter().any(|(region, set)| {
        region == name
            && matches!(&set.data, RecordData::Alias { evaluate_target_health: true, .. })
    })
}

fn group(policy: &Policy, facts: &Facts, place: &Place<'_>, arn: &str, findings: &mut Findings) {
    let short = arn.rsplit("targetgroup/").next().unwrap_or(arn);
    let about = format!("target group {short} of {}", place.region);
    let targets = match facts.targets.get(arn) {
        Some(Ok(targets)) => Some(targets),
        Some(Err(failure)) => {
            let action = "elasticloadbalancing:DescribeTargetHealth";
            findings.unread(Severity::Stops, &about, failure, action);
            None
        }
        None => None,
    };
    if let Some(targets) = targets {
        health(policy, place, &about, targets, findings);
    }
    match facts.groups.get(arn) {
        Some(Ok(group)) => settings(place, &about, group, targets, findings),
        Some(Err(failure)) if targets.is_some() => {
            let action = "elasticloadbalancing:DescribeTargetGroups";
            findings.unread(Severity::Weakens, &about, failure, action);
        }
        Some(Err(_)) | None => {}
    }
}

fn count(targets: &[Target], is: impl Fn(&Target) -> bool) -> usize {
    targets.iter().filter(|target| is(target)).count()
}

fn health(
    policy: &Policy,
    place: &Place<'_>,
    about: &str,
    targets: &[Target],
    findings: &mut Findings,
) {
    if targets.is_empty() {
        let why = if place.evaluated {
            "a group without targets counts as unhealthy, and the alias evaluates it: Route 53 takes the \
             whole balancer for dead, however well its other groups are"
        } else {
            "nothing would serve what is sent here"
        };
        let severity =
            if place.takes_over || place.evaluated { Severity::Stops } else { Severity::Weakens };
        findings.add(
            severity,
            about,
            Told {
                what: "has no targets".to_owned(),
                why,
                mend: "register targets, or detach the group from the balancer and from the policy",
            },
        );
        return;
    }
    let healthy = count(targets, |target| target.state == TargetState::Healthy);
    let unknown = count(targets, |target| {
        matches!(target.state, TargetState::Unavailable | TargetState::Initial | TargetState::Other)
    });
    let shifted = count(targets, |target| target.shifted_away);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let part = healthy as f64 / targets.len() as f64;
    let needs = policy.guards.standby_healthy_hosts_min.get();
    if unknown == targets.len() {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: "says nothing about any of its targets".to_owned(),
                why: "unknown proves nobody fit: a move into this region would be held",
                mend: "switch its health checks on, or bring another signal",
            },
        );
    } else if place.takes_over && part < needs {
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: format!(
                    "{healthy} of {} targets are healthy, the policy wants {:.0}%",
                    targets.len(),
                    needs * 100.0
                ),
                why: "a standby that is not ready takes no traffic, and the outage goes on",
                mend: "mend the standby now, while nothing depends on it",
            },
        );
    }
    if shifted > 0 {
        findings.add(
            Severity::Note,
            about,
            Told {
                what: format!(
                    "{shifted} of {} targets are shifted away by a zonal shift",
                    targets.len()
                ),
                why: "the region has less room than it seems",
                mend: "nothing, if it is meant; it ends by itself",
            },
        );
    }
}

fn number(group: &GroupFacts, key: &str) -> Option<u64> {
    group.attributes.get(key).and_then(|text| text.parse().ok())
}

fn settings(
    place: &Place<'_>,
    about: &str,
    group: &GroupFacts,
    targets: Option<&Vec<Target>>,
    findings: &mut Findings,
) {
    if group.balancers.is_empty() {
        findings.add(
            Severity::Stops,
            about,
            Told {
                what: "is not attached to any balancer".to_owned(),
                why: "its targets are `unused` and never checked: they prove nothing",
                mend: "attach it, or name the group that is in use",
            },
        );
    }
    if group.target_type == "lambda" && !group.health_checked {
        findings.add(Severity::Weakens, about, Told {
            what: "has a function as its target, without health checks".to_owned(),
            why: "its health is `unavailable` for good: unknown, never good or bad",
            mend: "another signal of the class `inside` or `traffic`, such as errors at the balancer",
        });
    }
    if group.health_checked {
        probing(about, group, findings);
    }
    fail_open(place, about, group, targets, findings);
    if let Some(seconds) =
        number(group, DEREGISTRATION).filter(|s| *s > DEREGISTRATION_LONG_SECONDS)
    {
        findings.add(Severity::Note, about, Told {
            what: format!("drains targets for {}", span(Duration::from_secs(seconds))),
            why: "as long, a target that was taken out shows as draining and serves open requests",
            mend: "a shorter `deregistration_delay.timeout_seconds`, if requests are short",
        });
    }
}

fn probing(about: &str, group: &GroupFacts, findings: &mut Findings) {
    let dies = group.every * group.unhealthy_after;
    if dies > TARGET_SLOW {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: format!(
                    "calls a target dead after {} ({} x {})",
                    span(dies),
                    span(group.every),
                    group.unhealthy_after
                ),
                why: "until then the class `inside` speaks for a region that is down",
                mend: "a lower `UnhealthyThresholdCount` or interval; or count on other classes",
            },
        );
    }
    if group.timeout >= group.every && group.every > Duration::ZERO {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: format!(
                    "waits {} in an interval of {}",
                    span(group.timeout),
                    span(group.every)
                ),
                why: "a slow target is called dead by its own checker",
                mend: "a time-out below the interval",
            },
        );
    }
    let wide = group.matcher.as_deref().is_some_and(|matcher| {
        matcher
            .split(',')
            .filter_map(|range| range.split('-').next_back()?.trim().parse::<u16>().ok())
            .any(|last| last >= 400)
    });
    if wide {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: format!("takes {} for healthy", group.matcher.clone().unwrap_or_default()),
                why: "a target that only says errors looks well",
                mend: "a `Matcher` of 200, or of what the app really answers when it is well",
            },
        );
    }
}

/// Below the minimum the balancer is taken out of DNS, or sends to all targets, well or not (Target group
/// health).
fn fail_open(
    place: &Place<'_>,
    about: &str,
    group: &GroupFacts,
    targets: Option<&Vec<Target>>,
    findings: &mut Findings,
) {
    let Some(targets) = targets.filter(|targets| !targets.is_empty()) else { return };
    let healthy = count(targets, |target| target.state == TargetState::Healthy);
    let (healthy, all) =
        (u64::try_from(healthy).unwrap_or(0), u64::try_from(targets.len()).unwrap_or(0));
    let too_few = number(group, DNS_COUNT).is_some_and(|minimum| healthy < minimum && minimum > 1)
        || number(group, DNS_PERCENTAGE).is_some_and(|minimum| healthy * 100 < minimum * all);
    if too_few && healthy > 0 {
        findings.add(if place.evaluated { Severity::Stops } else { Severity::Weakens }, about, Told {
            what: format!("{healthy} healthy targets are below the minimum of its DNS failover settings"),
            why: "zones below it leave the balancer's DNS name; with every zone out, a region that serves \
                  looks dead to Route 53",
            mend: "a lower `target_group_health.dns_failover` minimum, or more targets",
        });
    }
    let off = |key: &str| group.attributes.get(key).is_some_and(|value| value == "off");
    if place.evaluated && off(DNS_COUNT) && off(DNS_PERCENTAGE) {
        findings.add(
            Severity::Weakens,
            about,
            Told {
                what: "never leaves DNS by itself: its DNS failover settings are off".to_owned(),
                why: "the alias evaluates a health that does not change",
                mend: "`target_group_health.dns_failover.minimum_healthy_targets.count: 1`",
            },
        );
    }
}

fn balancer(facts: &Facts, region: &RegionName, arn: &str, findings: &mut Findings) {
    let short = arn.rsplit("loadbalancer/").next().unwrap_or(arn);
    let about = format!("balancer {short} of {region}");
    let found: &BalancerFacts = match facts.balancers.get(arn) {
        Some(Ok(found)) => found,
        Some(Err(failure)) => {
            let action = "elasticloadbalancing:DescribeLoadBalancers";
            findings.unread(Severity::Weakens, &about, failure, action);
            return;
        }
        None => return,
    };
    match found.state.as_str() {
        "active" => {}
        "active_impaired" => findings.add(Severity::Weakens, &about, Told {
            what: "is active_impaired".to_owned(),
            why: "it routes, but cannot scale: the traffic of another region may be too much for it",
            mend: "see its event log; more subnets or addresses",
        }),
        state => findings.add(Severity::Stops, &about, Told {
            what: format!("is {state}"),
            why: "it serves nobody",
            mend: "make it work, or take it out of the policy",
        }),
    }
    let keep = found.attributes.get(KEEP_ALIVE).and_then(|text| text.parse().ok());
    let is_alb = short.starts_with("app/");
    let keep: Option<u64> = keep.or(is_alb.then_some(KEEP_ALIVE_DEFAULT_SECONDS));
    if let Some(seconds) = keep.filter(|seconds| *seconds > KEEP_ALIVE_LONG_SECONDS) {
        findings.add(
            Severity::Weakens,
            &about,
            Told {
                what: format!(
                    "lets clients keep a connection for {}",
                    span(Duration::from_secs(seconds))
                ),
                why: "after a move, connected clients stay as long, whatever DNS says",
                mend: "`client_keep_alive.seconds: 300` (ARC best practices)",
            },
        );
    }
}

/// Whether anything tells how much the standby can take.
fn readiness(policy: &Policy, name: &RegionName, region: &Region, findings: &mut Findings) {
    let measured = policy.signals.values().any(|signal| match &signal.source {
        Source::Metric(metric) => {
            metric.measures == Measures::Capacity && metric.queries.contains_key(name)
        }
        Source::Pushed => true,
        Source::Probe(_) | Source::TargetHealth { .. } | Source::Beacon { .. } => false,
    });
    if region.capacity_rps.is_none() && !measured {
        findings.add(Severity::Weakens, format!("region {name}"), Told {
            what: "nobody knows how much it can take".to_owned(),
            why: "all traffic would be sent there at once, and nothing would hold back the part that \
                  does not fit",
            mend: "`capacity:` of the region, or a metric with `measures: capacity`",
        });
    }
}

fn limits(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    let registered = |region: &Region| -> u64 {
        let groups = region.balancers.iter().flat_map(|balancer| &balancer.target_groups);
        groups
            .filter_map(|arn| facts.targets.get(arn)?.as_ref().ok())
            .map(|targets| u64::try_from(targets.len()).unwrap_or(0))
            .sum()
    };
    let most = policy.serving().map(|(_, region)| registered(region)).max().unwrap_or(0);
    for (code, read) in &facts.limits {
        let about = format!("limits of Elastic Load Balancing in {code}");
        let limits = match read {
            Ok(limits) => limits,
            Err(failure) => {
                let action = "elasticloadbalancing:DescribeAccountLimits";
                findings.unread(Severity::Note, &about, failure, action);
                continue;
            }
        };
        for key in ["targets-per-application-load-balancer", "targets-per-target-group"] {
            if let Some(max) = limits.get(key).filter(|max| **max < most) {
                findings.add(Severity::Weakens, &about, Told {
                    what: format!("`{key}` is {max}; the largest region has {most} targets"),
                    why: "this region could not be made as large as the one whose traffic it takes",
                    mend: "have the quota raised before it is needed",
                });
            }
        }
    }
}
