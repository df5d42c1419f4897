//! One observation line as samples and events: the same that the live service takes in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::hello::Hello;
use crate::domain::{BalancerName, RegionName, SignalName, Timestamp, VantageName};
use crate::health::{About, AlarmState, Event, Happening, Measure, Sample};
use crate::policy::{Balancer, Class, Measures, Policy, Region, Signal, Source};

#[derive(Debug, Deserialize)]
struct Line {
    t: f64,
    regions: BTreeMap<RegionName, RegionLine>,
    #[serde(default)]
    vantages: BTreeMap<VantageName, VantageLine>,
    #[serde(default)]
    events: Vec<EventLine>,
}

#[derive(Debug, Deserialize)]
struct RegionLine {
    #[serde(default)]
    probes: BTreeMap<VantageName, BTreeMap<BalancerName, ProbeLine>>,
    metrics: Option<MetricsLine>,
}

#[derive(Debug, Deserialize)]
struct ProbeLine {
    ok: Option<f64>,
    ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct MetricsLine {
    stamp: f64,
    #[serde(default)]
    lbs: BTreeMap<BalancerName, BalancerLine>,
    requests_rps: Option<f64>,
    capacity_rps: Option<f64>,
    /// Absent and `null` are two things: no such instrument, and an instrument that does not know.
    #[serde(default, deserialize_with = "told")]
    replication_lag_s: Option<Option<f64>>,
}

fn told<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::<f64>::deserialize(from).map(Some)
}

#[derive(Debug, Deserialize)]
struct BalancerLine {
    healthy_hosts: Option<f64>,
    elb_5xx: Option<f64>,
    target_5xx: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct VantageLine {
    beacon_ok: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct EventLine {
    t: f64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// Turns lines into samples: each signal of the policy brings what the line says of its kind, at its own
/// rhythm. A signal of which a trace says nothing (a latency counter, a metric with a limit of its own)
/// stays silent.
pub(super) struct Intake<'a> {
    hello: &'a Hello,
    policy: Policy,
    due: BTreeMap<SignalName, Timestamp>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(hello: &'a Hello, policy: &Policy) -> Self {
        Self { hello, policy: policy.clone(), due: BTreeMap::new() }
    }

    pub(super) fn take(&mut self, line: &Value) -> Result<(Vec<Sample>, Vec<Event>), String> {
        let line: Line = Line::deserialize(line).map_err(|error| error.to_string())?;
        let now = stamp(line.t);
        let mut samples = Vec::new();
        for (name, signal) in &self.policy.signals {
            let due = self.due.entry(name.clone()).or_insert(now);
            if now < *due {
                continue;
            }
            *due = now.plus(every(&signal.source));
            let page = Page { name, class: signal.class, now, samples: &mut samples };
            Taking { hello: self.hello, policy: &self.policy, line: &line, page }.signal(signal);
        }
        let events = line.events.iter().filter_map(|event| happened(event, now)).collect();
        Ok((samples, events))
    }
}

/// The rhythm of a signal. What is pushed is new in every line.
fn every(source: &Source) -> Duration {
    match source {
        Source::Probe(probe) => probe.every,
        Source::TargetHealth { every } | Source::Beacon { every, .. } => *every,
        Source::Metric(metric) => metric.every,
        Source::Pushed => Duration::ZERO,
    }
}

/// One signal and one line.
struct Taking<'a> {
    hello: &'a Hello,
    policy: &'a Policy,
    line: &'a Line,
    page: Page<'a>,
}

impl Taking<'_> {
    fn signal(&mut self, signal: &Signal) {
        match &signal.source {
            Source::Probe(probe) => {
                let from = |name: &VantageName| probe.from.is_empty() || probe.from.contains(name);
                let of =
                    |name: &RegionName| probe.regions.is_empty() || probe.regions.contains(name);
                self.probes(&from, &of);
            }
            Source::TargetHealth { .. } => {
                let groups = |balancer: &Balancer| !balancer.target_groups.is_empty();
                self.regions(|this, name, region, seen| {
                    for balancer in region.balancers.iter().filter(|b| groups(b)) {
                        this.counter(name, Some(&balancer.name), seen, Measures::HealthyHosts);
                    }
                });
            }
            Source::Metric(metric) => {
                self.regions(|this, name, _, seen| {
                    for query in metric.queries.get(name).into_iter().flatten() {
                        this.counter(name, query.balancer.as_ref(), seen, metric.measures);
                    }
                });
            }
            Source::Beacon { .. } => self.beacons(),
            Source::Pushed => match signal.class {
                Class::Outside => self.probes(&|_| true, &|_| true),
                Class::Traffic => self.pushed(&[
                    Measures::HealthyHosts,
                    Measures::BalancerErrors,
                    Measures::TargetErrors,
                    Measures::Requests,
                    Measures::Capacity,
                    Measures::ReplicationLag,
                ]),
                Class::Inside => self.pushed(&[Measures::HealthyHosts, Measures::ReplicationLag]),
                Class::Context => self.beacons(),
            },
        }
    }

    fn probes(&mut self, from: &dyn Fn(&VantageName) -> bool, of: &dyn Fn(&RegionName) -> bool) {
        for (name, region) in self.policy.regions.iter().filter(|(name, _)| of(name)) {
            let Some(seen) = self.line.regions.get(name) else { continue };
            for (vantage, probes) in seen.probes.iter().filter(|(vantage, _)| from(vantage)) {
                for balancer in parts(region) {
                    let (ok, ms) = match balancer.and_then(|balancer| probes.get(balancer)) {
                        Some(own) => (own.ok, own.ms),
                        None => (
                            self.mean(name, probes, |probe| probe.ok),
                            self.mean(name, probes, |probe| probe.ms),
                        ),
                    };
                    let measure = match ok {
                        Some(success) => Measure::Probe { success, latency_ms: ms, failure: None },
                        None => Measure::NoProbe { why: "no data point".to_owned() },
                    };
                    let vantage = Some(vantage.clone());
                    self.page.write(
                        About { vantage, ..about(name, balancer) },
                        measure,
                        self.page.now,
                    );
                }
            }
        }
    }

    /// Everything that is counted in each region that a line speaks of; or that nothing is.
    fn regions(&mut self, mut take: impl FnMut(&mut Self, &RegionName, &Region, &MetricsLine)) {
        for (name, region) in &self.policy.regions {
            match self.line.regions.get(name).map(|seen| seen.metrics.as_ref()) {
                None => {}
                Some(None) => {
                    let why = "no metrics of this region".to_owned();
                    self.page.write(about(name, None), Measure::Silence { why }, self.page.now);
                }
                Some(Some(metrics)) => take(self, name, region, metrics),
            }
        }
    }

    fn pushed(&mut self, all: &[Measures]) {
        self.regions(|this, name, region, seen| {
            for measures in all {
                if of_balancers(*measures) {
                    for balancer in parts(region) {
                        this.counter(name, balancer, seen, *measures);
                    }
                } else {
                    this.counter(name, None, seen, *measures);
                }
            }
        });
    }

    /// One number, if the line has it.
    fn counter(
        &mut self,
        region: &RegionName,
        balancer: Option<&BalancerName>,
        seen: &MetricsLine,
        measures: Measures,
    ) {
        // A counter that is only published when it is not zero says zero by its silence, if there was
        // anything to count.
        let silent_zero =
            self.hello.sparse_counts && seen.requests_rps.is_some_and(|rps| rps >= 1.0);
        let counted = |value: Option<f64>| value.or(silent_zero.then_some(0.0));
        let number = |of: &dyn Fn(&BalancerLine) -> Option<f64>| match balancer
            .and_then(|balancer| seen.lbs.get(balancer))
        {
            Some(own) => of(own),
            None => self.mean(region, &seen.lbs, of),
        };
        // Of the whole region's number, a balancer has the part that it carries.
        let part = balancer.map_or(1.0, |name| {
            let region = self.policy.regions.get(region);
            let own = region.and_then(|r| r.balancers.iter().find(|b| b.name == *name));
            own.map_or(1.0, |own| own.carries.get())
        });
        let measure = match measures {
            Measures::HealthyHosts => Measure::HealthyHosts(number(&|line| line.healthy_hosts)),
            Measures::BalancerErrors => {
                Measure::BalancerErrors(number(&|line| counted(line.elb_5xx)))
            }
            Measures::TargetErrors => {
                Measure::TargetErrors(number(&|line| counted(line.target_5xx)))
            }
            Measures::Requests => Measure::Requests(seen.requests_rps.map(|all| all * part)),
            Measures::Capacity => Measure::Capacity(seen.capacity_rps.map(|all| all * part)),
            Measures::ReplicationLag => match seen.replication_lag_s {
                Some(lag) => Measure::ReplicationLag(lag),
                None => return,
            },
            Measures::Latency | Measures::Verdict => return,
        };
        self.page.write(about(region, balancer), measure, stamp(seen.stamp));
    }

    fn beacons(&mut self) {
        for (vantage, seen) in &self.line.vantages {
            if let Some(success) = seen.beacon_ok {
                let about = About { vantage: Some(vantage.clone()), ..About::default() };
                self.page.write(about, Measure::Beacon { success }, self.page.now);
            }
        }
    }

    /// Over the balancers of a region in the trace, by what each carries. Those that say nothing do not
    /// count.
    fn mean<T>(
        &self,
        region: &RegionName,
        lines: &BTreeMap<BalancerName, T>,
        of: impl Fn(&T) -> Option<f64>,
    ) -> Option<f64> {
        let told = self.hello.regions.iter().find(|told| told.id == *region)?;
        let (mut sum, mut part) = (0.0, 0.0);
        for balancer in &told.load_balancers {
            if let Some(value) = lines.get(&balancer.id).and_then(&of) {
                sum += balancer.carries * value;
                part += balancer.carries;
            }
        }
        (part > 0.0).then(|| sum / part)
    }
}

/// What is measured of each balancer, as opposed to the region as a whole.
fn of_balancers(measures: Measures) -> bool {
    match measures {
        Measures::HealthyHosts
        | Measures::BalancerErrors
        | Measures::TargetErrors
        | Measures::Latency
        | Measures::Verdict => true,
        Measures::Requests | Measures::Capacity | Measures::ReplicationLag => false,
    }
}

/// The balancers of a region, or the region as a whole if it has none.
fn parts(region: &Region) -> Vec<Option<&BalancerName>> {
    if region.balancers.is_empty() {
        return vec![None];
    }
    region.balancers.iter().map(|balancer| Some(&balancer.name)).collect()
}

fn about(region: &RegionName, balancer: Option<&BalancerName>) -> About {
    About { region: Some(region.clone()), balancer: balancer.cloned(), vantage: None }
}

/// The samples of one signal.
struct Page<'a> {
    name: &'a SignalName,
    class: Class,
    now: Timestamp,
    samples: &'a mut Vec<Sample>,
}

impl Page<'_> {
    fn write(&mut self, about: About, measure: Measure, taken_at: Timestamp) {
        let (signal, class, heard_at) = (self.name.clone(), self.class, self.now);
        self.samples.push(Sample { signal, class, about, measure, taken_at, heard_at });
    }
}

/// Events of kinds that are not known are left out: they may not be acted on.
fn happened(event: &EventLine, now: Timestamp) -> Option<Event> {
    let text =
        |key: &str| event.rest.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let what = match event.kind.as_str() {
        "deploy" => Happening::Deploy {
            regions: serde_json::from_value(event.rest.get("regions")?.clone()).ok()?,
            version: text("version"),
            scope: text("scope"),
        },
        "alarm" => Happening::Alarm {
            alarm: text("alarm"),
            region: text("region").parse().ok(),
            state: serde_json::from_value(event.rest.get("state")?.clone())
                .unwrap_or(AlarmState::InsufficientData),
        },
        "notice" => Happening::Notice { text: text("text") },
        "operator" => {
            let (by, reason) = ("operator".to_owned(), text("scope"));
            let until = event.rest.get("until").and_then(Value::as_f64).map(stamp);
            match text("do").as_str() {
                "freeze" => Happening::Freeze { by, reason, until },
                "unfreeze" => Happening::Unfreeze { by },
                "approve" => Happening::Approve { by, until: None },
                "deny" => Happening::Deny { by },
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Event { at: stamp(event.t), heard_at: now, what })
}

/// Seconds of a trace as a time. Bounded, so that no number can overflow.
pub(super) fn stamp(seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to far less than i64 holds")]
    Timestamp::from_millis((seconds.clamp(-1e12, 1e12) * 1000.0).round() as i64)
}
