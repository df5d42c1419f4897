//! What a policy asks to be looked at, one job for each thing with a rhythm of its own. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Beacon;
use crate::domain::{BalancerName, RegionName, SignalName, VantageName};
use crate::policy::{Class, Metric, MetricQuery, Policy, Probe, Role, Signal, Source, Vantage};
use crate::probe::Target;

/// A policy without vantages is seen from here, under this name.
const HERE: &str = "here";
/// How often a peer is asked for its readings: as often as probes are commonly made.
const PEER_EVERY: Duration = Duration::from_secs(5);
/// Nothing is looked at more often than this.
const EVERY_MIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    pub(super) what: What,
    pub(super) every: Duration,
    /// Spread over the interval by a stable hash, so that a restart keeps the rhythm and thousands of
    /// looks do not begin at once.
    pub(super) first_after: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Probe {
        signal: SignalName,
        class: Class,
        spec: Box<Probe>,
        target: Target,
        vantage: VantageName,
    },
    Beacon(Beacon),
    Targets {
        signal: SignalName,
        class: Class,
        region: RegionName,
        balancer: BalancerName,
        aws_region: String,
        groups: Vec<String>,
    },
    Metrics {
        signal: SignalName,
        class: Class,
        metric: Metric,
        aws_region: String,
        queries: Vec<(RegionName, MetricQuery)>,
    },
    Peer {
        vantage: VantageName,
        url: String,
    },
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Probe { signal, target, vantage, .. } => {
                write!(f, "probe {signal} {} {} {vantage}", target.region, target.connect)
            }
            What::Beacon(beacon) => write!(f, "beacon {} {}", beacon.signal, beacon.vantage),
            What::Targets { signal, region, balancer, .. } => {
                write!(f, "targets {signal} {region} {balancer}")
            }
            What::Metrics { signal, aws_region, .. } => write!(f, "metrics {signal} {aws_region}"),
            What::Peer { vantage, .. } => write!(f, "peer {vantage}"),
        }
    }
}

/// All jobs of a policy, in a stable order.
pub(super) fn jobs(policy: &Policy) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut add = |what: What, every: Duration| {
        let mut job = Job { what, every: every.max(EVERY_MIN), first_after: Duration::ZERO };
        job.first_after = spread(&format!("{} {job}", policy.service), job.every);
        jobs.push(job);
    };
    for (name, signal) in &policy.signals {
        match &signal.source {
            Source::Probe(probe) => {
                for what in probes(policy, name, signal.class, probe) {
                    add(what, probe.every);
                }
            }
            Source::TargetHealth { every } => {
                for what in targets(policy, name, signal) {
                    add(what, *every);
                }
            }
            Source::Metric(metric) => {
                for what in metrics(name, signal.class, metric) {
                    add(what, metric.every);
                }
            }
            Source::Beacon { url, every, timeout } => {
                for (vantage, source) in own_vantages(policy) {
                    let beacon = Beacon {
                        signal: name.clone(),
                        class: signal.class,
                        url: url.clone(),
                        timeout: *timeout,
                        vantage,
                        source,
                    };
                    add(What::Beacon(beacon), *every);
                }
            }
            // Comes by itself.
            Source::Pushed => {}
        }
    }
    for (vantage, place) in &policy.vantages {
        match place {
            Vantage::Peer { url } => {
                add(What::Peer { vantage: vantage.clone(), url: url.clone() }, PEER_EVERY);
            }
            Vantage::Here { .. } => {}
        }
    }
    jobs
}

/// The vantages of this process, with the address each sends from.
fn own_vantages(policy: &Policy) -> Vec<(VantageName, Option<IpAddr>)> {
    if policy.vantages.is_empty() {
        return HERE.parse().map(|name| vec![(name, None)]).unwrap_or_default();
    }
    let own = policy.vantages.iter().filter_map(|(name, place)| match place {
        Vantage::Here { source } => Some((name.clone(), *source)),
        Vantage::Peer { .. } => None,
    });
    own.collect()
}

/// The regions a probe looks at: all that serve, unless the policy names them.
pub(super) fn probed<'a>(
    policy: &'a Policy,
    probe: &'a Probe,
) -> impl Iterator<Item = (&'a RegionName, &'a crate::policy::Region)> {
    policy.regions.iter().filter(|(name, region)| {
        if probe.regions.is_empty() {
            region.role != Role::LastResort
        } else {
            probe.regions.contains(*name)
        }
    })
}

fn probes(policy: &Policy, name: &SignalName, class: Class, probe: &Probe) -> Vec<What> {
    let mut whats = Vec::new();
    let vantages = own_vantages(policy)
        .into_iter()
        .filter(|(name, _)| probe.from.is_empty() || probe.from.contains(name));
    for (vantage, source) in vantages {
        for (region, place) in probed(policy, probe) {
            for balancer in &place.balancers {
                let Some(connect) = &balancer.connect else { continue };
                whats.push(What::Probe {
                    signal: name.clone(),
                    class,
                    spec: Box::new(probe.clone()),
                    target: Target {
                        region: region.clone(),
                        balancer: Some(balancer.name.clone()),
                        connect: connect.clone(),
                        source,
                    },
                    vantage: vantage.clone(),
                });
            }
        }
    }
    whats
}

fn targets(policy: &Policy, name: &SignalName, signal: &Signal) -> Vec<What> {
    let mut whats = Vec::new();
    for (region, place) in &policy.regions {
        let Some(aws_region) = &place.aws_region else { continue };
        for balancer in place.balancers.iter().filter(|b| !b.target_groups.is_empty()) {
            whats.push(What::Targets {
                signal: name.clone(),
                class: signal.class,
                region: region.clone(),
                balancer: balancer.name.clone(),
                aws_region: aws_region.clone(),
                groups: balancer.target_groups.clone(),
            });
        }
    }
    whats
}

/// One job for each place that is asked: all queries of a signal there go in one call.
fn metrics(name: &SignalName, class: Class, metric: &Metric) -> Vec<What> {
    let mut places: BTreeMap<&str, Vec<(RegionName, MetricQuery)>> = BTreeMap::new();
    for (region, queries) in &metric.queries {
        for query in queries {
            places.entry(&query.aws_region).or_default().push((region.clone(), query.clone()));
        }
    }
    let what = |(aws_region, queries): (&str, Vec<_>)| What::Metrics {
        signal: name.clone(),
        class,
        metric: metric.clone(),
        aws_region: aws_region.to_owned(),
        queries,
    };
    places.into_iter().map(what).collect()
}

/// A moment within `every` that only depends on the text (FNV-1a, 64 bit).
fn spread(text: &str, every: Duration) -> Duration {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(hash % millis)
}
