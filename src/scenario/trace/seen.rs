//! What a controller is shown of the reference world: probes, metrics, beacons, events, records.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::model::{Api, BalancerPhase, Gauge, Metrics, RegionPhase};
use super::signal::{When, noise};
use super::world::{CALM_MS, World};

/// Fewer requests in a second leave nothing to count errors against.
const REQUESTS_COUNTED: f64 = 1.0;
/// With sparse counters, less than this is not published.
const SPARSE_BELOW: f64 = 0.0005;

/// One region as its instruments would show it without noise.
#[derive(Debug, Clone)]
pub(super) struct SeenNow {
    balancers: BTreeMap<usize, BTreeMap<Gauge, Option<f64>>>,
    lag: Option<f64>,
    capacity: Option<f64>,
    requests: Option<f64>,
}

fn calm(gauge: Gauge) -> Option<f64> {
    match gauge {
        Gauge::ProbeOk | Gauge::HealthyHosts | Gauge::Lag | Gauge::RequestsFactor => Some(1.0),
        Gauge::ProbeMs => Some(CALM_MS),
        Gauge::BalancerErrors => Some(0.0005),
        Gauge::TargetErrors => Some(0.001),
        Gauge::Capacity => None,
    }
}

impl World<'_> {
    /// What can be seen in this tick, with the results of the last one's actions.
    pub fn observe(&mut self) -> Value {
        let places = 0..self.trace.regions.len();
        let seen: Vec<SeenNow> = places.map(|region| self.seen_now(region)).collect();
        self.history.push((self.now, seen));
        let now = self.seconds();
        let due = |event: &&super::model::Event| event.deliver <= now;
        let events: Vec<Value> = self
            .trace
            .events
            .iter()
            .skip(self.delivered)
            .take_while(due)
            .map(|e| e.shown.clone())
            .collect();
        self.delivered += events.len();
        let mut regions = Map::new();
        for (place, region) in self.trace.regions.iter().enumerate() {
            let probes = self.probes(place);
            let metrics = self.metrics(place);
            regions.insert(region.id.name.clone(), json!({"probes": probes, "metrics": metrics}));
        }
        let (_, phase, _) = self.phase();
        let dns = match phase.dns_change {
            Api::Error | Api::Timeout => Value::Null,
            Api::Ok
            | Api::TimeoutApplied
            | Api::StuckPending
            | Api::SlowSync(_)
            | Api::Throttle { .. } => {
                let names = self.trace.regions.iter().map(|region| region.id.name.clone());
                let weights: BTreeMap<String, u8> =
                    names.zip(self.weights.iter().copied()).collect();
                let pending: Vec<&str> = self.pending.iter().map(|c| c.id.as_str()).collect();
                json!({"weights": weights, "pending": pending})
            }
        };
        let results = std::mem::take(&mut self.results);
        let mut observation = json!({
            "t": self.now, "regions": regions, "events": events, "results": results, "dns": dns,
        });
        if self.trace.beacons {
            let mut vantages = Map::new();
            for (place, prober) in self.trace.probers.iter().enumerate() {
                let factor = phase.probers.get(&place).map_or(1.0, |own| own.ok_factor);
                let beacon = self.noisy(Some(factor), Gauge::ProbeOk, "-", &prober.recorded);
                vantages.insert(prober.name.clone(), json!({"beacon_ok": rounded(beacon, 4)}));
            }
            if let Some(map) = observation.as_object_mut() {
                map.insert("vantages".to_owned(), Value::Object(vantages));
            }
        }
        observation
    }

    fn seen_now(&self, region: usize) -> SeenNow {
        let (trouble, when) = self.trouble(region);
        let shown = |gauge: Gauge| whole(trouble, gauge, when);
        let overload = self.overload_ok(region);
        let mut balancers = BTreeMap::new();
        for (place, _) in self.of_region(region) {
            let (own, own_when) = self.balancer_trouble(place);
            let mut gauges = BTreeMap::new();
            for (gauge, _, _) in Gauge::ALL.into_iter().take(Gauge::OF_BALANCERS) {
                let value = match own.and_then(|own| of_balancer(own, gauge, own_when)) {
                    Some(own) => own,
                    None => shown(gauge),
                };
                gauges.insert(gauge, value.map(|value| overloaded(gauge, value, overload)));
            }
            balancers.insert(place, gauges);
        }
        let live = trouble.and_then(|trouble| trouble.seen.get(&Gauge::Capacity));
        let requests = shown(Gauge::RequestsFactor);
        SeenNow {
            balancers,
            lag: shown(Gauge::Lag),
            capacity: live.map_or_else(|| Some(self.capacity(region)), |signal| signal.at(when)),
            requests: requests.map(|factor| self.share(region) * self.demand() * factor),
        }
    }

    fn noisy(&self, value: Option<f64>, gauge: Gauge, region: &str, place: &str) -> Option<f64> {
        let mut value = value?;
        let phase = self.phase().1;
        let level = phase.noise.get(&gauge).or_else(|| self.trace.noise.get(&gauge)).copied();
        if let Some(level) = level.filter(|level| *level != 0.0) {
            let now = self.now.to_string();
            value += level * noise(&[&self.trace.seed, region, gauge.name(), place, &now]);
        }
        if gauge.is_ratio() {
            value = value.clamp(0.0, 1.0);
        }
        Some(value.max(0.0))
    }

    /// By prober, by balancer.
    fn probes(&self, region: usize) -> Value {
        let phase = self.phase().1;
        let Some(of) = self.trace.regions.get(region) else { return Value::Null };
        let Some(now) = self.history.last().and_then(|(_, seen)| seen.get(region)) else {
            return Value::Null;
        };
        let mut probes = Map::new();
        for (place, prober) in self.trace.probers.iter().enumerate() {
            let own = phase.probers.get(&place);
            let path = own.and_then(|own| own.paths.get(&region)).copied().unwrap_or(1.0);
            let factor = own.map_or(1.0, |own| own.ok_factor) * path;
            let extra = own.map_or(0.0, |own| own.extra_ms);
            let mut by_balancer = Map::new();
            for (place, balancer) in self.of_region(region) {
                let gauge = |gauge: Gauge| now.gauge(place, gauge);
                let spot = format!("{}/{}", prober.recorded, balancer.id.recorded);
                let ok = gauge(Gauge::ProbeOk).map(|ok| ok * factor);
                let ok = self.noisy(ok, Gauge::ProbeOk, &of.id.recorded, &spot);
                let ms = gauge(Gauge::ProbeMs).map(|ms| ms + extra);
                let ms = self.noisy(ms, Gauge::ProbeMs, &of.id.recorded, &spot);
                by_balancer.insert(
                    balancer.id.name.clone(),
                    json!({"ok": rounded(ok, 4), "ms": rounded(ms, 1)}),
                );
            }
            probes.insert(prober.name.clone(), Value::Object(by_balancer));
        }
        Value::Object(probes)
    }

    fn metrics(&mut self, region: usize) -> Value {
        let trouble = self.trouble(region).0;
        let mode = trouble.map(|trouble| trouble.metrics).unwrap_or_default();
        if mode != Metrics::Frozen {
            self.frozen.remove(&region);
        }
        let now = self.seconds();
        let (want, stamp) = match mode {
            Metrics::Missing => return Value::Null,
            Metrics::Frozen => {
                let since = *self.frozen.entry(region).or_insert(self.now);
                (super::world::seconds(since), now)
            }
            Metrics::Delayed(delay) => (now - delay, now - delay),
            Metrics::Ok => (now - self.trace.metric_delay, now - self.trace.metric_delay),
        };
        if want < 0.0 {
            return Value::Null;
        }
        let then = self.history.iter().rposition(|(at, _)| super::world::seconds(*at) <= want);
        let then =
            then.and_then(|place| self.history.get(place)).and_then(|(_, all)| all.get(region));
        let (Some(then), Some(of)) = (then, self.trace.regions.get(region)) else {
            return Value::Null;
        };
        let quiet = then.requests.is_none_or(|requests| requests < REQUESTS_COUNTED);
        let mut by_balancer = Map::new();
        for (place, balancer) in self.of_region(region) {
            let mut shown = Map::new();
            for gauge in [Gauge::HealthyHosts, Gauge::BalancerErrors, Gauge::TargetErrors] {
                let spot = format!("m/{}", balancer.id.recorded);
                let value = then.gauge(place, gauge).filter(|_| !(gauge.is_count() && quiet));
                let value = self.noisy(value, gauge, &of.id.recorded, &spot).filter(|value| {
                    !(gauge.is_count() && self.trace.sparse_counts && *value < SPARSE_BELOW)
                });
                shown.insert(gauge.name().to_owned(), json!(rounded(value, 4)));
            }
            by_balancer.insert(balancer.id.name.clone(), Value::Object(shown));
        }
        json!({
            "stamp": stamp + trouble.map_or(0.0, |trouble| trouble.clock_skew),
            "lbs": by_balancer,
            "requests_rps": rounded(then.requests, 1),
            "capacity_rps": rounded(then.capacity, 1),
            "replication_lag_s": rounded(then.lag, 1),
        })
    }
}

impl SeenNow {
    fn gauge(&self, balancer: usize, gauge: Gauge) -> Option<f64> {
        self.balancers.get(&balancer).and_then(|gauges| gauges.get(&gauge)).copied().flatten()
    }
}

/// Of the region as a whole: as shown; or as true, for what follows the truth; or calm.
fn whole(trouble: Option<&RegionPhase>, gauge: Gauge, when: When) -> Option<f64> {
    let Some(trouble) = trouble else { return calm(gauge) };
    let truth = match gauge {
        Gauge::ProbeOk => trouble.truth_ok.as_ref(),
        Gauge::ProbeMs => trouble.truth_ms.as_ref(),
        Gauge::HealthyHosts
        | Gauge::BalancerErrors
        | Gauge::TargetErrors
        | Gauge::Lag
        | Gauge::RequestsFactor
        | Gauge::Capacity => None,
    };
    match trouble.seen.get(&gauge).or(truth) {
        Some(signal) => signal.at(when),
        None => calm(gauge),
    }
}

/// Of one balancer, if it has something of its own to show. `Some(None)` is shown too: no data point.
#[expect(
    clippy::option_option,
    reason = "nothing of its own, and nothing to be seen, are two things"
)]
fn of_balancer(own: &BalancerPhase, gauge: Gauge, when: When) -> Option<Option<f64>> {
    let truth = own.truth_ok.as_ref().filter(|_| gauge == Gauge::ProbeOk);
    own.seen.get(&gauge).or(truth).map(|signal| signal.at(when))
}

/// What instruments show of a region that is asked for more than it can give.
fn overloaded(gauge: Gauge, value: f64, left: f64) -> f64 {
    if left >= 1.0 {
        return value;
    }
    match gauge {
        Gauge::ProbeOk => value * left,
        Gauge::ProbeMs => value + 4000.0 * (1.0 - left),
        Gauge::BalancerErrors => 1.0 - (1.0 - value) * left,
        Gauge::HealthyHosts => value * left.max(0.4),
        Gauge::TargetErrors | Gauge::Lag | Gauge::RequestsFactor | Gauge::Capacity => value,
    }
}

/// To so many decimals, ties to even, as the decimal expansion of the number demands.
fn rounded(value: Option<f64>, decimals: usize) -> Option<f64> {
    value.map(|value| format!("{value:.decimals$}").parse().unwrap_or(value))
}
