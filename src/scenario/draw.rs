//! From a drawn picture to the samples that the policy's own signals would bring, each at its rhythm.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{BalancerName, RegionName, SignalName, Split, Timestamp, VantageName};
use crate::health::{About, Measure, Sample};
use crate::policy::{
    BadWhen, Case, Class, Drawn, Lag, Line, Measures, Metric, Policy, Region, Signal, Source,
};

/// Errors per request where something fails: well above every sensible limit.
const ERRORS_MANY: f64 = 0.6;
/// A few errors are always counted.
const ERRORS_FEW: f64 = 0.001;
/// Healthy part of the hosts when one of three zones is gone, with some more.
const HOSTS_ZONE_GONE: f64 = 0.6;
const HOSTS_GONE: f64 = 0.1;
/// Milliseconds of a good answer.
const LATENCY_GOOD: f64 = 100.0;
/// Slow is this many times the policy's limit, or ten seconds if it has none.
const SLOW_TIMES: f64 = 3.0;
const LATENCY_SLOW: f64 = 10_000.0;
/// Requests per second of a service that says nothing of its size.
const REQUESTS_DEFAULT: f64 = 1000.0;

/// What counters show that agree with failing probes: errors of balancers and of targets. Not drawn.
const ALL_FAILS: char = '!';

type Lines = BTreeMap<Drawn, Line>;

/// Draws samples. Remembers which signal is due. Without a step the picture has not begun, and all is well.
pub(super) struct Pencil<'a> {
    policy: &'a Policy,
    case: &'a Case,
    due: BTreeMap<&'a SignalName, Timestamp>,
    requests: f64,
}

impl<'a> Pencil<'a> {
    pub(super) fn new(policy: &'a Policy, case: &'a Case) -> Self {
        let capacities = policy.serving().filter_map(|(_, region)| region.capacity_rps);
        let smallest = capacities.fold(f64::INFINITY, f64::min);
        let assumed = if smallest.is_finite() { smallest / 2.0 } else { REQUESTS_DEFAULT };
        let requests = case.requests_rps.or(policy.shift.demand_rps).unwrap_or(assumed);
        Self { policy, case, due: BTreeMap::new(), requests }
    }

    /// What arrives in the round of this time. `split` is what the records say.
    pub(super) fn samples(
        &mut self,
        now: Timestamp,
        step: Option<usize>,
        split: &Split,
    ) -> Vec<Sample> {
        let mut samples = Vec::new();
        let policy = self.policy;
        for (name, signal) in &policy.signals {
            let due = self.due.entry(name).or_insert(now);
            if now < *due {
                continue;
            }
            *due = now.plus(every(signal));
            let mut page = Page { name, class: signal.class, now, samples: &mut samples };
            self.signal(signal, step, split, &mut page);
        }
        samples
    }

    fn signal(&self, signal: &Signal, step: Option<usize>, split: &Split, page: &mut Page<'_>) {
        match &signal.source {
            Source::Probe(probe) => {
                let from = |name: &VantageName| probe.from.contains(name) || probe.from.is_empty();
                let regions: Vec<&RegionName> = if probe.regions.is_empty() {
                    self.policy.serving().map(|(name, _)| name).collect()
                } else {
                    probe.regions.iter().collect()
                };
                for vantage in self.policy.vantages.keys().filter(|name| from(name)) {
                    for region in &regions {
                        self.probe(region, vantage, step, page);
                    }
                }
            }
            Source::TargetHealth { .. } => {
                for (name, region) in &self.policy.regions {
                    let groups = region.balancers.iter().any(|b| !b.target_groups.is_empty());
                    if groups && self.speaks(name, step, page) {
                        self.hosts(name, region, step, page);
                    }
                }
            }
            Source::Metric(metric) => self.metric(metric, step, split, page),
            Source::Beacon { .. } => self.beacons(step, page),
            Source::Pushed => self.pushed(signal.class, step, split, page),
        }
    }

    fn probe(
        &self,
        region: &RegionName,
        vantage: &VantageName,
        step: Option<usize>,
        page: &mut Page<'_>,
    ) {
        let mut say = |balancer: Option<&BalancerName>| {
            let mark = self.probe_mark(region, balancer, Some(vantage), step);
            let (success, latency_ms) = match mark {
                'x' => (0.0, None),
                '~' => (0.5, Some(LATENCY_GOOD)),
                's' => (1.0, Some(self.slow_ms())),
                '?' => return,
                _ => (1.0, Some(LATENCY_GOOD)),
            };
            let about = About {
                region: Some(region.clone()),
                balancer: balancer.cloned(),
                vantage: Some(vantage.clone()),
            };
            page.write(about, Measure::Probe { success, latency_ms, failure: None });
        };
        match self.policy.regions.get(region).map(|region| region.balancers.as_slice()) {
            Some([]) | None => say(None),
            Some(balancers) => balancers.iter().for_each(|balancer| say(Some(&balancer.name))),
        }
    }

    fn metric(&self, metric: &Metric, step: Option<usize>, split: &Split, page: &mut Page<'_>) {
        for (region, queries) in &metric.queries {
            if !self.speaks(region, step, page) {
                continue;
            }
            for query in queries {
                let balancer = query.balancer.as_ref();
                let measure = self.number(metric, region, balancer, step, split);
                page.write(about(region, balancer), measure);
            }
        }
    }

    fn number(
        &self,
        metric: &Metric,
        region: &RegionName,
        balancer: Option<&BalancerName>,
        step: Option<usize>,
        split: &Split,
    ) -> Measure {
        let mark = self.counter_mark(region, balancer, step);
        let (own, targets) = errors(mark);
        let share = split.share(region).get();
        let part = balancer.map_or(1.0, |name| self.carries(region, name));
        // Without requests there is nothing to count errors against.
        let counted = |value: f64| (share > 0.0).then_some(value);
        match metric.measures {
            Measures::BalancerErrors => Measure::BalancerErrors(counted(own)),
            Measures::TargetErrors => Measure::TargetErrors(counted(targets)),
            Measures::Requests => Measure::Requests(Some(self.requests * share * part)),
            Measures::Capacity => Measure::Capacity(self.capacity(region).map(|all| all * part)),
            Measures::ReplicationLag => Measure::ReplicationLag(self.lag()),
            Measures::HealthyHosts => Measure::HealthyHosts(Some(healthy(mark))),
            Measures::Latency => {
                let ms = if mark == 's' { self.slow_ms() } else { LATENCY_GOOD };
                Measure::Latency(counted(ms))
            }
            Measures::Verdict => {
                let bad = matches!(mark, 'x' | 'b' | 's' | 'h' | ALL_FAILS);
                let (within, beyond) = match metric.bad {
                    Some(BadWhen::Above(limit)) => (limit / 2.0, limit * 2.0 + 1.0),
                    Some(BadWhen::Below(limit)) => (limit * 2.0 + 1.0, limit / 2.0),
                    None => (0.0, 1.0),
                };
                Measure::Verdict { value: Some(if bad { beyond } else { within }), bad }
            }
        }
    }

    fn hosts(&self, name: &RegionName, region: &Region, step: Option<usize>, page: &mut Page<'_>) {
        for balancer in &region.balancers {
            let mark = self.counter_mark(name, Some(&balancer.name), step);
            let measure = Measure::HealthyHosts(Some(healthy(mark)));
            page.write(about(name, Some(&balancer.name)), measure);
        }
    }

    fn beacons(&self, step: Option<usize>, page: &mut Page<'_>) {
        for vantage in self.policy.vantages.keys() {
            let line = self.case.beacons.get(vantage);
            let mark = line.zip(step).map_or('.', |(line, step)| line.mark(step));
            let success = if mark == 'x' { 0.0 } else { 1.0 };
            let about = About { vantage: Some(vantage.clone()), ..About::default() };
            page.write(about, Measure::Beacon { success });
        }
    }

    /// All that a signal of this class can bring.
    fn pushed(&self, class: Class, step: Option<usize>, split: &Split, page: &mut Page<'_>) {
        match class {
            Class::Outside => {
                for vantage in self.policy.vantages.keys() {
                    for (region, _) in self.policy.serving() {
                        self.probe(region, vantage, step, page);
                    }
                }
            }
            Class::Context => self.beacons(step, page),
            Class::Inside | Class::Traffic => {
                for (name, region) in self.policy.serving() {
                    if !self.speaks(name, step, page) {
                        continue;
                    }
                    self.hosts(name, region, step, page);
                    let whole = |measure: Measure, page: &mut Page<'_>| {
                        page.write(about(name, None), measure);
                    };
                    whole(Measure::ReplicationLag(self.lag()), page);
                    if class == Class::Inside {
                        continue;
                    }
                    let share = split.share(name).get();
                    for balancer in &region.balancers {
                        let mark = self.counter_mark(name, Some(&balancer.name), step);
                        let (own, targets) = errors(mark);
                        let counted = |value: f64| (share > 0.0).then_some(value);
                        let of_it = about(name, Some(&balancer.name));
                        page.write(of_it.clone(), Measure::BalancerErrors(counted(own)));
                        page.write(of_it, Measure::TargetErrors(counted(targets)));
                    }
                    whole(Measure::Requests(Some(self.requests * share)), page);
                    if let Some(capacity) = self.capacity(name) {
                        whole(Measure::Capacity(Some(capacity)), page);
                    }
                }
            }
        }
    }

    /// Whether the counters of a region answer at all. If not, that is written.
    fn speaks(&self, region: &RegionName, step: Option<usize>, page: &mut Page<'_>) -> bool {
        let silent = self.counter_mark(region, None, step) == '?';
        if silent {
            page.write(about(region, None), Measure::Silence { why: "no answer".to_owned() });
        }
        !silent
    }

    fn probe_mark(
        &self,
        region: &RegionName,
        balancer: Option<&BalancerName>,
        vantage: Option<&VantageName>,
        step: Option<usize>,
    ) -> char {
        let Some(step) = step else { return '.' };
        let own = vantage.and_then(|vantage| self.case.seen_from.get(vantage));
        own.and_then(|lines| mark(lines, region, balancer, step))
            .or_else(|| mark(&self.case.seen, region, balancer, step))
            .unwrap_or('.')
    }

    /// Counters that are not drawn agree with the probes.
    fn counter_mark(
        &self,
        region: &RegionName,
        balancer: Option<&BalancerName>,
        step: Option<usize>,
    ) -> char {
        let Some(at) = step else { return '.' };
        mark(&self.case.counters, region, balancer, at).unwrap_or_else(|| {
            match self.probe_mark(region, balancer, None, step) {
                'x' | '~' => ALL_FAILS,
                same => same,
            }
        })
    }

    fn carries(&self, region: &RegionName, name: &BalancerName) -> f64 {
        let region = self.policy.regions.get(region);
        let balancer = region.and_then(|r| r.balancers.iter().find(|b| b.name == *name));
        balancer.map_or(1.0, |balancer| balancer.carries.get())
    }

    fn capacity(&self, region: &RegionName) -> Option<f64> {
        self.policy.regions.get(region).and_then(|region| region.capacity_rps)
    }

    fn lag(&self) -> Option<f64> {
        match self.case.lag {
            Lag::Known(lag) => Some(lag.as_secs_f64()),
            Lag::Unknown => None,
        }
    }

    fn slow_ms(&self) -> f64 {
        let limit = self.policy.judge.latency_above;
        limit.map_or(LATENCY_SLOW, |limit| limit.as_secs_f64() * 1000.0 * SLOW_TIMES)
    }
}

/// The samples of one signal.
struct Page<'p> {
    name: &'p SignalName,
    class: Class,
    now: Timestamp,
    samples: &'p mut Vec<Sample>,
}

impl Page<'_> {
    fn write(&mut self, about: About, measure: Measure) {
        let (signal, class) = (self.name.clone(), self.class);
        let (taken_at, heard_at) = (self.now, self.now);
        self.samples.push(Sample { signal, class, about, measure, taken_at, heard_at });
    }
}

fn about(region: &RegionName, balancer: Option<&BalancerName>) -> About {
    About { region: Some(region.clone()), balancer: balancer.cloned(), vantage: None }
}

/// The balancer's own line, or that of its region.
fn mark(
    lines: &Lines,
    region: &RegionName,
    balancer: Option<&BalancerName>,
    step: usize,
) -> Option<char> {
    let own = balancer.and_then(|name| lines.get(&Drawn::Balancer(name.clone())));
    let line = own.or_else(|| lines.get(&Drawn::Region(region.clone())));
    line.map(|line| line.mark(step))
}

/// Errors of the balancer and of its targets, per request.
fn errors(mark: char) -> (f64, f64) {
    match mark {
        'x' | 'h' => (ERRORS_FEW, ERRORS_MANY),
        'b' => (ERRORS_MANY, ERRORS_FEW),
        ALL_FAILS => (0.5, 0.5),
        _ => (ERRORS_FEW, ERRORS_FEW),
    }
}

fn healthy(mark: char) -> f64 {
    match mark {
        'h' => HOSTS_GONE,
        'z' => HOSTS_ZONE_GONE,
        _ => 1.0,
    }
}

/// The rhythm of a signal. What is pushed is taken for new in every round.
fn every(signal: &Signal) -> Duration {
    match &signal.source {
        Source::Probe(probe) => probe.every,
        Source::TargetHealth { every } | Source::Beacon { every, .. } => *every,
        Source::Metric(metric) => metric.every,
        Source::Pushed => Duration::ZERO,
    }
}
