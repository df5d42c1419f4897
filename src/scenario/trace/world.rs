//! The reference world of a trace: what users really get, and what actions change of it.
//!
//! As defined by the trace format; `tests/traces/check.py` is the same world in another language, and a
//! test holds the two together number by number.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::model::{Api, BalancerPhase, Phase, RegionPhase, Severity, Trace};
use super::seen::SeenNow;
use super::signal::{Signal, When, noise};

/// Shares that differ by less count as the same.
pub(super) const SAME_SHARE: f64 = 0.02;
/// Seconds until a switch in the DNS data plane is in force.
const FLIP_SYNC: f64 = 30.0;
/// A refresh drops a tenth of a balancer's requests for so many seconds.
const REFRESH_COSTS: (f64, f64) = (0.9, 20.0);
/// Milliseconds of a calm day.
pub(super) const CALM_MS: f64 = 120.0;

/// Of each region, in the trace's order.
pub(super) type Shares = Vec<f64>;

/// Replays one trace. Each tick is: [`World::observe`], [`World::act`] as often as wanted,
/// [`World::advance`].
#[derive(Debug)]
pub struct World<'t> {
    pub(super) trace: &'t Trace,
    /// Seconds since the beginning.
    pub(super) now: u64,
    pub(super) weights: Vec<u8>,
    /// Regions that are switched unhealthy.
    flips: BTreeSet<usize>,
    /// In force at the name servers.
    live: Shares,
    /// With clients that follow in time, and with those that do not.
    main: Shares,
    stragglers: Shares,
    /// Accepted at these times.
    pub(super) accepted: Vec<(u64, Shares)>,
    pub(super) pending: VecDeque<Change>,
    changes: usize,
    /// When an interface was last called, and how often.
    calls: BTreeMap<&'static str, (u64, usize)>,
    healed: BTreeMap<String, f64>,
    worse: BTreeSet<String>,
    refreshed: BTreeMap<usize, u64>,
    cleared: BTreeMap<(usize, Option<usize>), f64>,
    fired: BTreeSet<usize>,
    scale: Vec<f64>,
    pub(super) history: Vec<(u64, Vec<SeenNow>)>,
    pub(super) frozen: BTreeMap<usize, u64>,
    pub(super) delivered: usize,
    lost: f64,
    cost: f64,
    pub(super) log: Vec<Act>,
    pub(super) results: Vec<Value>,
}

#[derive(Debug)]
pub(super) struct Change {
    pub(super) id: String,
    shares: Shares,
    /// `None` while it is stuck.
    ready: Option<f64>,
}

/// What a controller did, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Act {
    pub(super) at: u64,
    pub(super) did: Did,
    /// Not well formed.
    pub(super) bad: bool,
    pub(super) applied: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Did {
    /// With the shares that this would give.
    Weights {
        all_zero: bool,
        want: Option<Shares>,
    },
    Flip {
        want: Option<Shares>,
    },
    Refresh {
        balancer: Option<usize>,
    },
    Notify {
        severity: Option<Severity>,
        about: BTreeSet<String>,
    },
    Report {
        done: bool,
        pending: bool,
    },
    Other(String),
}

/// What is true of a region.
struct Truth {
    ok: f64,
    ms: f64,
    capacity_factor: f64,
    balancers_ok: f64,
}

impl<'t> World<'t> {
    pub fn new(trace: &'t Trace) -> Self {
        let weights: Vec<u8> = trace.regions.iter().map(|region| region.weight).collect();
        let shares = shares(&weights, &BTreeSet::new());
        let scales = trace.regions.iter().map(|r| r.autoscale.as_ref().map_or(1.0, |a| a.start));
        Self {
            trace,
            now: 0,
            weights,
            flips: BTreeSet::new(),
            live: shares.clone(),
            main: shares.clone(),
            stragglers: shares.clone(),
            accepted: vec![(0, shares)],
            pending: VecDeque::new(),
            changes: 0,
            calls: BTreeMap::new(),
            healed: BTreeMap::new(),
            worse: BTreeSet::new(),
            refreshed: BTreeMap::new(),
            cleared: BTreeMap::new(),
            fired: BTreeSet::new(),
            scale: scales.collect(),
            history: Vec::new(),
            frozen: BTreeMap::new(),
            delivered: 0,
            lost: 0.0,
            cost: 0.0,
            log: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Seconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now
    }

    pub fn is_over(&self) -> bool {
        self.now >= self.trace.duration
    }

    /// What the outage has cost so far, with what moving traffic cost by itself.
    pub fn lost_user_minutes(&self) -> f64 {
        self.lost + self.cost
    }

    /// Of the records, as last accepted, in the trace's order.
    pub fn weights(&self) -> &[u8] {
        &self.weights
    }

    pub(super) fn seconds(&self) -> f64 {
        seconds(self.now)
    }

    /// The phase now, its place, and its time.
    pub(super) fn phase(&self) -> (usize, &'t Phase, When) {
        let now = self.seconds();
        let phases = &self.trace.phases;
        let place = phases.iter().rposition(|phase| phase.at <= now).unwrap_or(0);
        let to = phases.get(place + 1).map_or(seconds(self.trace.duration), |next| next.at);
        // The reader has made sure that there is one, at zero.
        let phase = phases.get(place).unwrap_or(&self.trace.calm);
        (place, phase, When { now, from: phase.at, to })
    }

    /// What is not as on a calm day in a region, unless people have mended it.
    pub(super) fn trouble(&self, region: usize) -> (Option<&'t RegionPhase>, When) {
        let (place, phase, when) = self.phase();
        let mended = [(place, Some(region)), (place, None)]
            .iter()
            .any(|key| self.cleared.get(key).is_some_and(|at| when.now >= *at));
        (phase.regions.get(&region).filter(|_| !mended), when)
    }

    /// The same of one balancer, unless a refresh has healed it.
    pub(super) fn balancer_trouble(&self, balancer: usize) -> (Option<&'t BalancerPhase>, When) {
        let region = self.trace.balancers.get(balancer).map_or(0, |b| b.region);
        let (trouble, when) = self.trouble(region);
        let Some(own) = trouble.and_then(|trouble| trouble.balancers.get(&balancer)) else {
            return (None, when);
        };
        if let Some(fault) = &own.fault {
            if self.healed.get(fault).is_some_and(|at| when.now >= *at) {
                return (None, when);
            }
            if self.worse.contains(fault)
                && let Some(worse) = &own.worse
            {
                return (Some(worse), when);
            }
        }
        (Some(own), when)
    }

    fn truth(&self, region: usize) -> Truth {
        let (trouble, when) = self.trouble(region);
        let value = |of: fn(&RegionPhase) -> &Option<Signal>, calm: f64| {
            let signal = trouble.and_then(|trouble| of(trouble).as_ref());
            signal.and_then(|signal| signal.at(when)).unwrap_or(calm)
        };
        let mut balancers_ok = 0.0;
        for (place, balancer) in self.of_region(region) {
            let (trouble, when) = self.balancer_trouble(place);
            let ok = trouble.and_then(|trouble| trouble.truth_ok.as_ref());
            let mut ok = ok.and_then(|signal| signal.at(when)).unwrap_or(1.0);
            let (factor, span) = REFRESH_COSTS;
            let since = self.refreshed.get(&place).map(|at| seconds(self.now - at));
            if since.is_some_and(|since| since < span) {
                ok *= factor;
            }
            balancers_ok += balancer.carries * ok;
        }
        Truth {
            ok: value(|trouble| &trouble.truth_ok, 1.0),
            ms: value(|trouble| &trouble.truth_ms, CALM_MS),
            capacity_factor: value(|trouble| &trouble.capacity_factor, 1.0),
            balancers_ok,
        }
    }

    pub(super) fn of_region(
        &self,
        region: usize,
    ) -> impl Iterator<Item = (usize, &'t super::model::Balancer)> + use<'t> {
        self.trace.balancers.iter().enumerate().filter(move |(_, b)| b.region == region)
    }

    pub(super) fn demand(&self) -> f64 {
        let to = seconds(self.trace.duration);
        self.trace.demand.at(When { now: self.seconds(), from: 0.0, to }).unwrap_or(1.0)
    }

    pub(super) fn share(&self, region: usize) -> f64 {
        let part = self.trace.dns.straggler_share;
        (1.0 - part) * at(&self.main, region) + part * at(&self.stragglers, region)
    }

    pub(super) fn capacity(&self, region: usize) -> f64 {
        let capacity = self.trace.regions.get(region).map_or(0.0, |region| region.capacity);
        capacity * at(&self.scale, region) * self.truth(region).capacity_factor
    }

    /// Success left by overload.
    pub(super) fn overload_ok(&self, region: usize) -> f64 {
        let load = self.share(region) * self.demand();
        let capacity = self.capacity(region);
        if load <= capacity || load <= 0.0 {
            return 1.0;
        }
        if capacity <= 0.0 {
            return 0.0;
        }
        let collapse = self.trace.regions.get(region).map_or(1.0, |r| r.overload_collapse);
        (capacity / load) * collapse
    }

    fn user_ok(&self, region: usize) -> f64 {
        let truth = self.truth(region);
        let slow = ((truth.ms - 2000.0) / 8000.0).clamp(0.0, 1.0);
        truth.ok * truth.balancers_ok * self.overload_ok(region) * (1.0 - slow)
    }

    /// Takes one action. Its result comes with the next observation.
    pub fn act(&mut self, action: &Value) {
        let kind = action.get("do").and_then(Value::as_str).unwrap_or_default();
        let mut result = json!({"do": action.get("do"), "ok": false});
        let (did, outcome) = match kind {
            "set_weights" => self.set_weights(action),
            "health_flip" => self.flip(action),
            "refresh_lb" => {
                let (did, outcome) = self.refresh(action);
                if outcome != Outcome::Bad {
                    put(&mut result, "lb", action.get("lb").cloned().unwrap_or_default());
                }
                (did, outcome)
            }
            "notify" => {
                let (did, outcome) = self.notify(action);
                if outcome != Outcome::Bad {
                    put(
                        &mut result,
                        "severity",
                        action.get("severity").cloned().unwrap_or_default(),
                    );
                }
                (did, outcome)
            }
            "report" => {
                let done = action.get("state").and_then(Value::as_str) == Some("done");
                (Did::Report { done, pending: !self.pending.is_empty() }, Outcome::Taken)
            }
            other => (Did::Other(other.to_owned()), Outcome::Bad),
        };
        match &outcome {
            Outcome::Bad => put(&mut result, "error", json!("InvalidInput")),
            Outcome::Refused(error) | Outcome::TakenUnheard(error) => {
                put(&mut result, "error", json!(error));
            }
            Outcome::Taken => put(&mut result, "ok", json!(true)),
            Outcome::Accepted(change) => {
                put(&mut result, "ok", json!(true));
                put(&mut result, "change", json!(change));
                put(&mut result, "state", json!("PENDING"));
            }
        }
        let applied = match outcome {
            Outcome::Bad | Outcome::Refused(_) => false,
            Outcome::TakenUnheard(_) | Outcome::Taken | Outcome::Accepted(_) => true,
        };
        self.log.push(Act { at: self.now, did, bad: outcome == Outcome::Bad, applied });
        self.results.push(result);
    }

    fn set_weights(&mut self, action: &Value) -> (Did, Outcome) {
        let Some(weights) = self.weights_of(action) else {
            return (Did::Weights { all_zero: false, want: None }, Outcome::Bad);
        };
        let want = shares(&weights, &self.flips);
        let all_zero = weights.iter().all(|weight| *weight == 0);
        let did = Did::Weights { all_zero, want: Some(want) };
        let api = self.phase().1.dns_change;
        if let Err(error) = self.gate("dns_change", api) {
            return (did, Outcome::Refused(error));
        }
        let sync = if let Api::SlowSync(sync) = api { sync } else { self.trace.dns.sync };
        let ready = (api != Api::StuckPending).then(|| self.seconds() + sync);
        self.weights = weights;
        let id = self.accept(ready);
        let unheard = api == Api::TimeoutApplied;
        (did, if unheard { Outcome::TakenUnheard("Timeout") } else { Outcome::Accepted(id) })
    }

    /// Every region and nothing else, with whole numbers from 0 to 255.
    fn weights_of(&self, action: &Value) -> Option<Vec<u8>> {
        let weights = action.get("weights")?.as_object()?;
        if weights.len() != self.trace.regions.len() {
            return None;
        }
        let of = |name: &String| u8::try_from(weights.get(name)?.as_u64()?).ok();
        self.trace.regions.iter().map(|region| of(&region.id.name)).collect()
    }

    fn flip(&mut self, action: &Value) -> (Did, Outcome) {
        let name = action.get("region").and_then(Value::as_str);
        let region =
            name.and_then(|name| self.trace.regions.iter().position(|r| r.id.name == name));
        let Some(region) = region.filter(|_| self.trace.levers.contains("health_flip")) else {
            return (Did::Flip { want: None }, Outcome::Bad);
        };
        let mut flips = self.flips.clone();
        if action.get("healthy").and_then(Value::as_bool) == Some(true) {
            flips.remove(&region);
        } else {
            flips.insert(region);
        }
        let want = shares(&self.weights, &flips);
        self.flips = flips;
        let id = self.accept(Some(self.seconds() + FLIP_SYNC));
        (Did::Flip { want: Some(want) }, Outcome::Accepted(id))
    }

    fn accept(&mut self, ready: Option<f64>) -> String {
        self.changes += 1;
        let id = format!("c{}", self.changes);
        let shares = shares(&self.weights, &self.flips);
        let before = self.accepted.last().map(|(_, shares)| shares.clone()).unwrap_or_default();
        if differ(&before, &shares) {
            let moved: f64 =
                before.iter().zip(&shares).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0;
            let now = self.seconds();
            for cost in self.trace.shift_costs.iter().filter(|c| c.from <= now && now < c.to) {
                self.cost += cost.user_minutes * moved;
            }
        }
        self.accepted.push((self.now, shares.clone()));
        self.pending.push_back(Change { id: id.clone(), shares, ready });
        id
    }

    fn refresh(&mut self, action: &Value) -> (Did, Outcome) {
        let name = action.get("lb").and_then(Value::as_str);
        let balancer =
            name.and_then(|name| self.trace.balancers.iter().position(|b| b.id.name == name));
        let did = Did::Refresh { balancer };
        let Some(balancer) = balancer.filter(|_| self.trace.levers.contains("lb_refresh")) else {
            return (did, Outcome::Bad);
        };
        if let Err(error) = self.gate("lb_control", self.phase().1.lb_control) {
            return (did, Outcome::Refused(error));
        }
        self.refreshed.insert(balancer, self.now);
        let (trouble, when) = self.balancer_trouble(balancer);
        if let Some((trouble, fault)) = trouble.and_then(|t| t.fault.as_ref().map(|f| (t, f))) {
            if let Some(after) = trouble.heals {
                self.healed.entry(fault.clone()).or_insert(when.now + after);
            }
            if trouble.worse.is_some() {
                self.worse.insert(fault.clone());
            }
        }
        (did, Outcome::Taken)
    }

    fn notify(&mut self, action: &Value) -> (Did, Outcome) {
        let severity = action.get("severity").and_then(Value::as_str).and_then(Severity::parse);
        let about = action.get("about").and_then(Value::as_array);
        let subjects = about.into_iter().flatten().filter_map(Value::as_str);
        let subjects: BTreeSet<String> = subjects.map(str::to_owned).collect();
        let did = Did::Notify { severity, about: subjects.clone() };
        let Some(severity) = severity.filter(|_| about.is_some()) else {
            return (did, Outcome::Bad);
        };
        if let Err(error) = self.gate("notify", self.phase().1.notify) {
            return (did, Outcome::Refused(error));
        }
        self.respond(severity, &subjects);
        (did, Outcome::Taken)
    }

    fn respond(&mut self, severity: Severity, about: &BTreeSet<String>) {
        let now = self.seconds();
        for (place, responder) in self.trace.responders.iter().enumerate() {
            if self.fired.contains(&place)
                || severity < responder.severity
                || now < responder.not_before
                || !responder.about_any.iter().any(|tag| about.contains(tag))
            {
                continue;
            }
            self.fired.insert(place);
            for key in &responder.clears {
                let when = now + responder.after;
                let cleared = self.cleared.entry(*key).or_insert(when);
                *cleared = cleared.min(when);
            }
        }
    }

    /// Whether an interface takes a call now.
    fn gate(&mut self, name: &'static str, api: Api) -> Result<(), &'static str> {
        match api {
            Api::Error => Err("ServiceUnavailable"),
            Api::Timeout => Err("Timeout"),
            Api::Throttle { accept, gap } => {
                let last = self.calls.get(name).copied();
                let count = last.map_or(0, |(_, count)| count);
                self.calls.insert(name, (self.now, count + 1));
                let hurried = last.is_some_and(|(at, _)| seconds(self.now - at) < gap);
                let dice = noise(&[&self.trace.seed, "throttle", name, &count.to_string()]);
                let lucky = f64::midpoint(dice, 1.0) < accept;
                if hurried || !lucky { Err("Throttling") } else { Ok(()) }
            }
            Api::Ok | Api::TimeoutApplied | Api::StuckPending | Api::SlowSync(_) => Ok(()),
        }
    }

    /// A tick passes.
    pub fn advance(&mut self) {
        let (now, tick) = (self.seconds(), seconds(self.trace.tick));
        if self.phase().1.dns_change != Api::StuckPending {
            for change in &mut self.pending {
                change.ready = change.ready.or(Some(now + self.trace.dns.sync));
            }
        }
        // In the order of acceptance.
        while self.pending.front().and_then(|c| c.ready).is_some_and(|ready| ready <= now) {
            if let Some(change) = self.pending.pop_front() {
                self.live = change.shares;
            }
        }
        let dns = &self.trace.dns;
        for (store, constant) in [(&mut self.main, dns.ttl), (&mut self.stragglers, dns.straggler)]
        {
            let part = 1.0 - (-tick / constant).exp();
            for (share, live) in store.iter_mut().zip(&self.live) {
                *share += (live - *share) * part;
            }
        }
        let (demand, users) =
            (self.demand(), self.trace.users * self.demand() / self.base_demand());
        for (place, region) in self.trace.regions.iter().enumerate() {
            let share = self.share(place);
            if share > 0.0 {
                self.lost += users * share * (1.0 - self.user_ok(place)) * tick / 60.0;
            }
            if let Some(autoscale) = &region.autoscale {
                let capacity = self.capacity(place);
                if capacity > 0.0
                    && share * demand / capacity > autoscale.trigger
                    && let Some(scale) = self.scale.get_mut(place)
                {
                    *scale = autoscale.max.min(*scale + autoscale.per_min * tick / 60.0);
                }
            }
        }
        self.now += self.trace.tick;
    }

    pub(super) fn base_demand(&self) -> f64 {
        let to = seconds(self.trace.duration);
        self.trace.demand.at(When { now: 0.0, from: 0.0, to }).unwrap_or(1.0)
    }
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Bad,
    Refused(&'static str),
    /// Done, but the caller heard an error.
    TakenUnheard(&'static str),
    Taken,
    Accepted(String),
}

/// Shares as the DNS service hands them out: regions with weight that are not switched unhealthy; if
/// there are none, regions without weight that are not, evenly; if there are none, health is ignored.
fn shares(weights: &[u8], flips: &BTreeSet<usize>) -> Shares {
    let any = weights.iter().any(|weight| *weight > 0);
    let healthy = |place: usize| !flips.contains(&place);
    let all = || weights.iter().enumerate();
    let weighted =
        |(place, weight): (usize, &u8)| if healthy(place) { f64::from(*weight) } else { 0.0 };
    let mut parts: Vec<f64> = all().map(weighted).collect();
    let none = |parts: &[f64]| parts.iter().all(|part| *part == 0.0);
    if none(&parts) && any {
        let waiting =
            |(place, weight): (usize, &u8)| f64::from(u8::from(healthy(place) && *weight == 0));
        parts = all().map(waiting).collect();
    }
    if none(&parts) {
        parts = weights.iter().map(|weight| f64::from(*weight)).collect();
    }
    if none(&parts) {
        parts = vec![1.0; weights.len()];
    }
    let sum: f64 = parts.iter().sum();
    parts.iter().map(|part| part / sum).collect()
}

/// Whether any region's share is another.
pub(super) fn differ(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).any(|(a, b)| (a - b).abs() >= SAME_SHARE)
}

pub(super) fn at(of: &[f64], place: usize) -> f64 {
    of.get(place).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a trace is far shorter than 2^53 seconds")]
pub(super) fn seconds(whole: u64) -> f64 {
    whole as f64
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::shares;

    fn of(weights: &[u8], flips: &[usize]) -> Vec<f64> {
        shares(weights, &flips.iter().copied().collect())
    }

    #[test]
    fn shares_follow_the_documented_order() {
        assert_eq!(of(&[100, 0], &[]), [1.0, 0.0]);
        assert_eq!(of(&[60, 20], &[]), [0.75, 0.25]);
        assert_eq!(of(&[100, 0], &[0]), [0.0, 1.0], "the region that waits");
        assert_eq!(of(&[100, 0], &[0, 1]), [1.0, 0.0], "all unhealthy: health is ignored");
        assert_eq!(of(&[0, 0], &[]), [0.5, 0.5], "all zero: evenly");
    }
}
