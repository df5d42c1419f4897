//! One look at one thing, and what its answer is worth.

use std::sync::Arc;

use super::job::{Job, What, probed};
use super::{Beacon, Sources, share};
use crate::domain::{BalancerName, RegionName, SignalName, Timestamp};
use crate::health::{About, Measure, Sample, ZoneHosts};
use crate::policy::{BadWhen, Class, Measures, Metric, MetricQuery, Policy, Source};
use crate::ports::{Point, Target, TargetState};
use crate::runtime::peer::Heard;

/// Does the looking for one job, and remembers what a peer said before.
pub(super) struct Looker {
    policy: Arc<Policy>,
    sources: Sources,
    heard: Heard,
}

/// What a sample is about, before anything was seen.
struct Blank<'a> {
    signal: &'a SignalName,
    class: Class,
    about: About,
}

impl Looker {
    pub(super) fn new(policy: Arc<Policy>, sources: Sources) -> Self {
        Self { policy, sources, heard: Heard::default() }
    }

    pub(super) async fn look(&mut self, job: &Job) -> Vec<Sample> {
        if let What::Targets { aws_region, groups, .. } = &job.what
            && self.sources.targets.is_some()
        {
            // Before the permit: what waits for its turn there must not hold up a probe.
            self.sources.pace.turn_to_watch(aws_region, groups.len()).await;
        }
        // The permit is held during the look and no longer: waiting looks keep their place.
        let in_flight = Arc::clone(&self.sources.in_flight);
        let Ok(_permit) = in_flight.acquire().await else { return Vec::new() };
        match &job.what {
            What::Probe { signal, class, spec, target, vantage } => {
                vec![self.sources.prober.probe(signal, *class, spec, target, vantage).await]
            }
            What::Beacon(beacon) => vec![self.sources.prober.beacon(beacon).await],
            What::Targets { aws_region, groups, .. } => {
                let (measure, zones) = self.targets(aws_region, groups).await;
                let mut samples = self.say(job, |_| (measure.clone(), None));
                if !zones.is_empty() {
                    samples.extend(self.say(job, |_| (Measure::Zones(zones.clone()), None)));
                }
                samples
            }
            What::Metrics { metric, aws_region, queries, .. } => {
                self.metrics(job, metric, aws_region, queries).await
            }
            What::Peer { vantage, url } => {
                match self.sources.prober.readings(url, &self.policy).await {
                    Ok(readings) => {
                        let now = self.sources.clock.now();
                        self.heard.take(&self.policy, vantage, readings, now)
                    }
                    Err(why) => self.silence(job, &why),
                }
            }
        }
    }

    /// Says of everything the job is about that there was no answer.
    pub(super) fn silence(&self, job: &Job, why: &str) -> Vec<Sample> {
        self.say(job, |_| (Measure::Silence { why: why.to_owned() }, None))
    }

    /// One sample for each thing the job is about; `None` for the time means now.
    fn say(
        &self,
        job: &Job,
        mut measure: impl FnMut(usize) -> (Measure, Option<Timestamp>),
    ) -> Vec<Sample> {
        let now = self.sources.clock.now();
        let sample = |(place, blank): (usize, Blank<'_>)| {
            let (measure, taken_at) = measure(place);
            Sample {
                signal: blank.signal.clone(),
                class: blank.class,
                about: blank.about,
                measure,
                taken_at: taken_at.unwrap_or(now),
                heard_at: now,
            }
        };
        blanks(&self.policy, job).into_iter().enumerate().map(sample).collect()
    }

    async fn targets(&self, aws_region: &str, groups: &[String]) -> (Measure, Vec<ZoneHosts>) {
        let silence = |why: String| (Measure::Silence { why }, Vec::new());
        let Some(port) = &self.sources.targets else {
            return silence("this build or set-up cannot ask for targets".to_owned());
        };
        let mut all = Vec::new();
        for group in groups {
            match port.targets(aws_region, group).await {
                Ok(targets) => all.extend(targets),
                // Half of the groups would be a wrong number.
                Err(failure) => return silence(failure.to_string()),
            }
        }
        (Measure::HealthyHosts(healthy_part(&all)), by_zone(&all))
    }

    async fn metrics(
        &self,
        job: &Job,
        metric: &Metric,
        aws_region: &str,
        queries: &[(RegionName, MetricQuery)],
    ) -> Vec<Sample> {
        let Some(port) = &self.sources.metrics else {
            return self.silence(job, "this build or set-up cannot ask for metrics");
        };
        let now = self.sources.clock.now();
        let bodies: Vec<_> = queries.iter().map(|(_, query)| query.what.clone()).collect();
        let from = now.minus(metric.window);
        let asked = share::asked(&bodies);
        match port.query(aws_region, &asked, metric.period, from, now).await {
            Ok(answers) if answers.len() == asked.len() => {
                let answers = share::joined(&bodies, answers);
                self.say(job, |place| {
                    let newest = newest(&answers[place], metric, now);
                    (
                        measure(metric, newest.map(|point| point.value)),
                        newest.map(|p| ends(&p, metric, now)),
                    )
                })
            }
            Ok(answers) => {
                let why = format!("{} answers to {} queries", answers.len(), asked.len());
                self.silence(job, &why)
            }
            Err(failure) => self.silence(job, &failure.to_string()),
        }
    }
}

/// Everything one job speaks about, in the order of its queries.
fn blanks<'a>(policy: &'a Policy, job: &'a Job) -> Vec<Blank<'a>> {
    let about = |region: &RegionName, balancer: Option<&BalancerName>| About {
        region: Some(region.clone()),
        balancer: balancer.cloned(),
        vantage: None,
    };
    match &job.what {
        What::Probe { signal, class, target, vantage, .. } => {
            let about = About {
                vantage: Some(vantage.clone()),
                ..about(&target.region, target.balancer.as_ref())
            };
            vec![Blank { signal, class: *class, about }]
        }
        What::Beacon(Beacon { signal, class, vantage, .. }) => {
            let about = About { vantage: Some(vantage.clone()), ..About::default() };
            vec![Blank { signal, class: *class, about }]
        }
        What::Targets { signal, class, region, balancer, .. } => {
            vec![Blank { signal, class: *class, about: about(region, Some(balancer)) }]
        }
        What::Metrics { signal, class, queries, .. } => {
            let blank = |(region, query): &(RegionName, MetricQuery)| Blank {
                signal,
                class: *class,
                about: about(region, query.balancer.as_ref()),
            };
            queries.iter().map(blank).collect()
        }
        What::Peer { vantage, .. } => {
            let mut blanks = Vec::new();
            for (name, signal) in &policy.signals {
                let Source::Probe(probe) = &signal.source else { continue };
                if !probe.from.is_empty() && !probe.from.contains(vantage) {
                    continue;
                }
                blanks.extend(probed(policy, probe).map(|(region, _)| Blank {
                    signal: name,
                    class: signal.class,
                    about: About { vantage: Some(vantage.clone()), ..about(region, None) },
                }));
            }
            blanks
        }
    }
}

/// Healthy targets over those whose health is known and whose traffic is wanted.
///
/// Targets that are leaving, not in use or shifted away tell nothing about the region; those that are
/// new, or whose health the service could not tell, are neither healthy nor unhealthy. The same holds
/// for a target that is unhealthy by a fault of the balancer's own (reason `Elb.*`).
fn healthy_part(targets: &[Target]) -> Option<f64> {
    let (mut healthy, mut unhealthy) = (0_u32, 0_u32);
    for target in targets.iter().filter(|target| !target.shifted_away) {
        match is_healthy(target) {
            Some(true) => healthy += 1,
            Some(false) => unhealthy += 1,
            None => {}
        }
    }
    let known = healthy + unhealthy;
    (known > 0).then(|| f64::from(healthy) / f64::from(known))
}

fn is_healthy(target: &Target) -> Option<bool> {
    match target.state {
        TargetState::Healthy | TargetState::ShiftedAway => Some(true),
        TargetState::Unhealthy | TargetState::UnhealthyDraining => {
            let balancers_fault =
                target.reason.as_ref().is_some_and(|reason| reason.starts_with("Elb."));
            (!balancers_fault).then_some(false)
        }
        TargetState::Initial
        | TargetState::Unused
        | TargetState::Draining
        | TargetState::Unavailable
        | TargetState::Other => None,
    }
}

/// The targets that tell their zone. Those that are shifted away count as well: by their health it is seen
/// when they may come back. Targets registered as instances tell no zone, and `all` is none (API reference of
/// Elastic Load Balancing, "`TargetDescription`").
fn by_zone(targets: &[Target]) -> Vec<ZoneHosts> {
    let mut zones: Vec<ZoneHosts> = Vec::new();
    for target in targets {
        let Some(name) = target.zone.as_ref().filter(|zone| *zone != "all") else { continue };
        let place = zones.iter().position(|hosts| hosts.zone == *name).unwrap_or_else(|| {
            let zone = name.clone();
            zones.push(ZoneHosts { zone, healthy: 0, unhealthy: 0, shifted: 0 });
            zones.len() - 1
        });
        match is_healthy(target) {
            Some(true) => zones[place].healthy += 1,
            Some(false) => zones[place].unhealthy += 1,
            None => {}
        }
        zones[place].shifted += u32::from(target.shifted_away);
    }
    zones.sort_by(|a, b| a.zone.cmp(&b.zone));
    zones
}

/// The newest data point that is complete. A period that still runs has half of its requests, so its
/// sums would look like a loss of traffic; a source with nothing complete is taken at its newest word.
fn newest(points: &[Point], metric: &Metric, now: Timestamp) -> Option<Point> {
    let usable = |point: &&Point| point.value.is_finite() && point.at <= now;
    let complete = points.iter().filter(usable).filter(|p| p.at.plus(metric.period) <= now);
    complete
        .max_by_key(|p| p.at)
        .or_else(|| points.iter().filter(usable).max_by_key(|p| p.at))
        .copied()
}

/// A data point is stamped with the beginning of its period and speaks for its end.
fn ends(point: &Point, metric: &Metric, now: Timestamp) -> Timestamp {
    point.at.plus(metric.period).min(now)
}

fn measure(metric: &Metric, value: Option<f64>) -> Measure {
    match metric.measures {
        Measures::BalancerErrors => Measure::BalancerErrors(value),
        Measures::TargetErrors => Measure::TargetErrors(value),
        Measures::Requests => Measure::Requests(value),
        Measures::Capacity => Measure::Capacity(value),
        Measures::ReplicationLag => Measure::ReplicationLag(value),
        Measures::HealthyHosts => Measure::HealthyHosts(value),
        Measures::Latency => Measure::Latency(value),
        Measures::Verdict => {
            let bad = match (value, metric.bad) {
                (Some(value), Some(BadWhen::Above(limit))) => value > limit,
                (Some(value), Some(BadWhen::Below(limit))) => value < limit,
                (None, _) | (_, None) => false,
            };
            Measure::Verdict { value, bad }
        }
    }
}
