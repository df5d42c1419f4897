//! The truth: regions, users, name servers and instruments in virtual time, and what of it is seen.

#![expect(clippy::wildcard_enum_match_arm, reason = "each trouble concerns one place in the world")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::check::{Check, Facts};
use super::dice::Dice;
use super::scenario::{BEACONS, GROWS_TO, METRICS, PROBES, START, Scenario, Trouble, record, zone};
use super::zones::Zonal;
use crate::domain::{
    BalancerName, InAnswers, Malformed, RegionName, Split, Timestamp, Turn, VantageName, Weight,
};
use crate::health::{About, Event, Happening, Measure, Sample};
use crate::lab::zone::{Impairment, Zones};
use crate::memory::{Acts, Entry};
use crate::plan::{Batch, Epoch, RecordData, RecordSet};
use crate::policy::{Class, LeverKind, Role};
use crate::ports::{ChangeId, Clock};
use crate::tell::Receipt;

/// A gate is in force after the checkers have seen it three times, ten seconds apart.
const GATE_DELAY: Duration = Duration::from_secs(30);

/// From this part of its capacity on a region grows.
const NEARLY_FULL: f64 = 0.7;

/// True time, and how far the controller's clock is from it.
#[derive(Debug)]
pub(super) struct Time {
    truth: AtomicI64,
    offset: AtomicI64,
}

impl Time {
    pub(super) fn truth(&self) -> Timestamp {
        Timestamp::from_millis(self.truth.load(Ordering::Relaxed))
    }

    pub(super) fn pass(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(0);
        self.truth.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) fn step(&self, seconds: i64) {
        self.offset.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    pub(super) fn told(&self) -> Timestamp {
        let offset = self.offset.load(Ordering::Relaxed);
        Timestamp::from_millis(self.truth().as_millis() + offset)
    }
}

/// The clock of the world itself, by which the name servers go.
#[derive(Debug)]
struct TrueClock(Arc<Time>);

impl Clock for TrueClock {
    fn now(&self) -> Timestamp {
        self.0.truth()
    }
}

/// One data point of a region's instruments.
#[derive(Debug, Clone)]
struct Point {
    stamp: Timestamp,
    requests: f64,
    capacity: Option<f64>,
    counted: Vec<Counted>,
    lag: Option<Option<f64>>,
}

/// Of one balancer.
#[derive(Debug, Clone)]
struct Counted {
    balancer: BalancerName,
    /// Errors of the balancer itself and of its targets, per request.
    own: f64,
    targets: f64,
    /// Part of the targets in use that are healthy.
    hosts: f64,
}

/// Parts of all users at one region, of those who follow in time and of the others.
#[derive(Debug, Clone, Copy)]
struct Users {
    prompt: f64,
    late: f64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) scenario: Scenario,
    pub(super) ports: Dice,
    seen: Dice,
    /// Where users really are: they follow the answers as their caches run out.
    users: BTreeMap<RegionName, Users>,
    users_at: Timestamp,
    pub(super) gates: BTreeMap<RegionName, (InAnswers, Timestamp)>,
    pub(super) cured: BTreeSet<BalancerName>,
    pub(super) zonal: Zonal,
    /// The capacity of each region before it grew.
    began_with: BTreeMap<RegionName, f64>,
    /// What became of notes, until the controller asks.
    pub(super) receipts: Vec<Receipt>,
    points: BTreeMap<RegionName, Vec<Point>>,
    pointed_at: Option<Timestamp>,
    down_since: BTreeMap<RegionName, Timestamp>,
    /// What is on disk.
    pub(super) log: Vec<(Timestamp, Entry)>,
    /// Steps until the controller dies.
    pub(super) fuse: Option<u32>,
    pub(super) dead: bool,
    /// Changes that are still on their way though the caller gave up.
    pub(super) late: Vec<(Timestamp, Batch)>,
    /// The same of gates.
    pub(super) late_turns: Vec<(Timestamp, Turn)>,
    pub(super) changes: Vec<(ChangeId, Epoch)>,
    pub(super) theirs: Option<Split>,
    /// What humans said and the controller has not written down yet.
    pub(super) said: Vec<Event>,
    /// A human who waits for an order to be begun, and then for so many lines.
    pub(super) aim: Option<(u32, Option<Duration>)>,
    /// What such humans said in the last round.
    pub(super) aimed: Vec<Happening>,
    pub(super) check: Check,
    pub(super) trace: Option<Vec<String>>,
}

/// Shared by the controller's ports and by the one who drives it.
pub(super) struct World {
    state: Mutex<State>,
    pub(super) zones: Zones,
    pub(super) time: Arc<Time>,
    pub(super) died: Notify,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        self.time.told()
    }
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario, traced: bool) -> Result<Self, Malformed> {
        let time =
            Arc::new(Time { truth: AtomicI64::new(START.as_millis()), offset: AtomicI64::new(0) });
        let zones = Zones::new(Arc::new(TrueClock(Arc::clone(&time))), scenario.propagation, seed);
        let lever = scenario.policy.weights_lever();
        // Where only gates are turned there are records all the same.
        let count = lever.map_or(1, |lever| lever.records.len() as u64);
        for number in 0..count {
            let servers = vec![format!("ns1.z{number}.test"), format!("ns2.z{number}.test")];
            let apex = format!("z{number}.test").parse()?;
            zones.add(zone(number)?, apex, servers, records(&scenario, number)?);
        }
        let home = scenario.policy.home_split();
        let users = scenario.policy.regions.keys().map(|name| {
            let share = home.as_ref().map_or(0.0, |split| split.share(name).get());
            (name.clone(), Users { prompt: share, late: share })
        });
        let state = State {
            users: users.collect(),
            users_at: START,
            ports: Dice::of(seed, "ports"),
            seen: Dice::of(seed, "seen"),
            gates: BTreeMap::new(),
            cured: BTreeSet::new(),
            zonal: Zonal::default(),
            began_with: scenario.capacity_rps.clone(),
            receipts: Vec::new(),
            points: BTreeMap::new(),
            pointed_at: None,
            down_since: BTreeMap::new(),
            log: Vec::new(),
            fuse: None,
            dead: false,
            late: Vec::new(),
            late_turns: Vec::new(),
            changes: Vec::new(),
            theirs: None,
            said: Vec::new(),
            aim: None,
            aimed: Vec::new(),
            check: Check::default(),
            trace: traced.then(Vec::new),
            scenario,
        };
        Ok(Self { state: Mutex::new(state), zones, time, died: Notify::new() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.time.truth().since(START)
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        let elapsed = self.elapsed();
        if let Some(trace) = &mut self.state().trace {
            trace.push(format!("{:>7.1}s {}", elapsed.as_secs_f64(), what()));
        }
    }

    /// A gate is turned.
    pub(super) fn turn_gate(&self, turn: &Turn) {
        let now = self.time.truth();
        let mut state = self.state();
        if state.gate(&turn.region) != turn.to {
            state.gates.insert(turn.region.clone(), (turn.to, now));
        }
        drop(state);
        self.say(|| format!("gate of {}: {:?}", turn.region, turn.to));
    }

    /// Calls of gates that were given up by their caller and arrive after all.
    pub(super) fn land_turns(&self) {
        let now = self.time.truth();
        let landing: Vec<Turn> = {
            let mut state = self.state();
            let due = state.late_turns.extract_if(.., |(due, _)| *due <= now);
            due.map(|(_, turn)| turn).collect()
        };
        for turn in landing {
            self.say(|| "a late call arrives".to_owned());
            self.turn_gate(&turn);
        }
    }

    /// What the journal knows of gates is true, where it does not say that it may not be.
    pub(super) fn know_gates(&self) {
        let mut state = self.state();
        // By a clock that jumps nobody can tell how long ago a call went out.
        if state.scenario.has_clock_steps() {
            return;
        }
        let mut acts = Acts::default();
        for (at, entry) in &state.log {
            acts.apply(*at, entry);
        }
        let kind = LeverKind::Gates;
        let mut regions = state.scenario.policy.regions.keys();
        let wrong = |region: &&RegionName| {
            acts.stands(kind, region) != state.gate(region) && !acts.doubts(kind, region)
        };
        let wrong = regions.find(wrong).cloned();
        if let Some(region) = wrong {
            state.check.fail(format!("the gate of `{region}` stands as nobody knows"));
        }
    }

    /// Runs a check with what the world knows now.
    pub(super) fn check(&self, run: impl FnOnce(&mut Check, &Facts<'_>)) {
        let pending = self.pending();
        let (now, true_now) = (self.time.told(), self.time.truth());
        let mut state = self.state();
        let mut check = std::mem::take(&mut state.check);
        let switches =
            state.gates.iter().map(|(region, (stands, _))| (region.clone(), *stands)).collect();
        let unseen =
            state.gates.iter().filter(|(_, (_, since))| true_now.since(*since) < GATE_DELAY);
        let unseen = unseen.map(|(region, _)| region.clone()).collect();
        let sick_zones = state.zonal.sick_lately(true_now);
        let regions = state.scenario.policy.regions.keys();
        let zones_out =
            regions.map(|region| (region.clone(), state.zones_out(region, true_now))).collect();
        run(
            &mut check,
            &Facts {
                switches: &switches,
                unseen: &unseen,
                sick_zones: &sick_zones,
                zones_out: &zones_out,
                scenario: &state.scenario,
                now,
                true_now,
                down_since: &state.down_since,
                pending: &pending,
            },
        );
        state.check = check;
    }

    /// Epochs that are accepted and not yet in force.
    fn pending(&self) -> BTreeSet<Epoch> {
        let changes = self.state().changes.clone();
        changes
            .into_iter()
            .filter(|(change, _)| !self.zones.is_in_force(change))
            .map(|(_, epoch)| epoch)
            .collect()
    }

    pub(super) fn troubled(&self, is: impl Fn(&Trouble) -> bool) -> bool {
        let elapsed = self.elapsed();
        self.state().troubles(elapsed).any(is)
    }

    /// Lets the world go on until now.
    pub(super) fn settle(&self) -> Result<(), Malformed> {
        let (elapsed, now) = (self.elapsed(), self.time.truth());
        let stuck = self.troubled(|trouble| *trouble == Trouble::Stuck);
        self.zones.impair(if stuck { Impairment::Stuck } else { Impairment::None });
        let answers = self.zones.in_force(&zone(0)?);
        let mut state = self.state();
        let target = state.answered(&answers, &record(0)?, now);
        let ttl = state.scenario.policy.weights_lever().map_or(60.0, |l| l.ttl.as_secs_f64());
        let passed = now.since(state.users_at).as_secs_f64();
        state.users_at = now;
        let part = 1.0 - (-passed * 2.0 / ttl).exp();
        let slow = 1.0 - (-passed / state.scenario.stragglers.1.as_secs_f64()).exp();
        for (region, users) in &mut state.users {
            let target = target.get(region).copied().unwrap_or(0.0);
            users.prompt += (target - users.prompt) * part;
            users.late += (target - users.late) * slow;
        }
        state.grow(passed);
        state.watch_zones(elapsed, now);
        let regions: Vec<RegionName> = state.users.keys().cloned().collect();
        let usable = state.usable_vantages(elapsed);
        for region in regions {
            let seen = usable >= state.scenario.policy.judge.vantages_min;
            if seen && state.success(&region, None, elapsed) < 0.01 {
                state.down_since.entry(region).or_insert(now);
            } else {
                state.down_since.remove(&region);
            }
        }
        state.measure(elapsed, now);
        Ok(())
    }

    /// Part of the answers that point to each region, as the name servers give them now.
    pub(super) fn answered(&self) -> Result<BTreeMap<RegionName, f64>, Malformed> {
        let answers = self.zones.in_force(&zone(0)?);
        let now = self.time.truth();
        Ok(self.state().answered(&answers, &record(0)?, now))
    }

    /// What the instruments bring to this round.
    pub(super) fn samples(&self) -> Result<Vec<Sample>, Malformed> {
        let (elapsed, heard, truth) = (self.elapsed(), self.time.told(), self.time.truth());
        let mut state = self.state();
        let mut samples = Vec::new();
        state.probe(elapsed, heard, &mut samples)?;
        state.read_metrics(elapsed, heard, truth, &mut samples)?;
        Ok(samples)
    }
}

impl State {
    /// How a gate stands.
    pub(super) fn gate(&self, region: &RegionName) -> InAnswers {
        self.gates.get(region).map_or(InAnswers::In, |(stands, _)| *stands)
    }

    pub(super) fn troubles(&self, elapsed: Duration) -> impl Iterator<Item = &Trouble> {
        self.scenario
            .troubles
            .iter()
            .filter(move |(from, to, _)| (*from..*to).contains(&elapsed))
            .map(|(_, _, trouble)| trouble)
    }

    /// Part of the requests that succeed, at one balancer or at the best of the region.
    fn success(&self, region: &RegionName, balancer: Option<&BalancerName>, at: Duration) -> f64 {
        let mut success = self.overload(region);
        for trouble in self.troubles(at) {
            match trouble {
                Trouble::Sick { region: sick, success: part } if sick == region => success *= part,
                Trouble::Grey { balancer: grey }
                    if Some(grey) == balancer && !self.cured.contains(grey) =>
                {
                    success *= 0.3;
                }
                _ => {}
            }
        }
        success
    }

    /// Requests per second that come to a region.
    fn requests(&self, region: &RegionName) -> f64 {
        let (late, _) = self.scenario.stragglers;
        let share = |users: &Users| users.prompt * (1.0 - late) + users.late * late;
        self.users.get(region).map_or(0.0, share) * self.scenario.demand_rps
    }

    /// A region that is nearly full gets more machines.
    fn grow(&mut self, passed: f64) {
        let by = self.scenario.growth_per_minute * passed / 60.0;
        if by <= 0.0 {
            return;
        }
        let full: Vec<(RegionName, f64)> = self
            .began_with
            .iter()
            .filter(|(name, _)| {
                let capacity = self.scenario.capacity_rps.get(*name).copied().unwrap_or(f64::MAX);
                self.requests(name) > capacity * NEARLY_FULL
            })
            .map(|(name, began)| (name.clone(), began * GROWS_TO))
            .collect();
        for (name, most) in full {
            if let Some(capacity) = self.scenario.capacity_rps.get_mut(&name) {
                *capacity = (*capacity * (1.0 + by)).min(most);
            }
        }
    }

    /// Beyond its capacity a region serves less than its capacity.
    fn overload(&self, region: &RegionName) -> f64 {
        let capacity = self.scenario.capacity_rps.get(region).copied().unwrap_or(f64::MAX);
        let requests = self.requests(region);
        if requests > capacity * 1.001 { capacity / requests * 0.8 } else { 1.0 }
    }

    fn usable_vantages(&self, at: Duration) -> usize {
        let broken = |vantage: &VantageName| {
            self.troubles(at).any(|trouble| match trouble {
                Trouble::Isolated(v) | Trouble::ProbesSilent(v) | Trouble::Path(v, _) => {
                    v == vantage
                }
                _ => false,
            })
        };
        self.scenario.policy.vantages.keys().filter(|vantage| !broken(vantage)).count()
    }

    /// Shares by the rules of weighted records with health checks: positive weights that are in, then
    /// zero weights that are in, then positive weights whatever their health.
    fn answered(
        &self,
        sets: &[RecordSet],
        name: &crate::domain::RecordName,
        now: Timestamp,
    ) -> BTreeMap<RegionName, f64> {
        let out = |region: &RegionName| match self.gates.get(region) {
            Some((InAnswers::Out, since)) => now.since(*since) >= GATE_DELAY,
            Some((InAnswers::In | InAnswers::Part { .. }, since)) => now.since(*since) < GATE_DELAY,
            None => false,
        };
        let all: Vec<(RegionName, f64)> = sets
            .iter()
            .filter(|set| set.name == *name)
            .filter_map(|set| {
                let region = set.set_identifier.as_ref()?.parse().ok()?;
                Some((region, f64::from(set.weight.unwrap_or(Weight(0)).0)))
            })
            .collect();
        let sum = |list: &[(RegionName, f64)]| list.iter().map(|(_, w)| w).sum::<f64>();
        let within: Vec<_> = all.iter().filter(|(r, _)| !out(r)).cloned().collect();
        let chosen = if sum(&within) > 0.0 {
            within
        } else if !within.is_empty() {
            within.into_iter().map(|(region, _)| (region, 1.0)).collect()
        } else if sum(&all) > 0.0 {
            all
        } else {
            all.into_iter().map(|(region, _)| (region, 1.0)).collect()
        };
        let whole = sum(&chosen).max(1e-9);
        chosen.into_iter().map(|(region, weight)| (region, weight / whole)).collect()
    }

    /// Every vantage probes every balancer of every region, and its beacon.
    fn probe(
        &mut self,
        elapsed: Duration,
        heard: Timestamp,
        samples: &mut Vec<Sample>,
    ) -> Result<(), Malformed> {
        let vantages: Vec<VantageName> = self.scenario.policy.vantages.keys().cloned().collect();
        let regions: Vec<(RegionName, Vec<Option<BalancerName>>)> = self
            .scenario
            .policy
            .regions
            .iter()
            .map(|(name, region)| {
                let parts: Vec<_> = region.balancers.iter().map(|b| Some(b.name.clone())).collect();
                (name.clone(), if parts.is_empty() { vec![None] } else { parts })
            })
            .collect();
        for vantage in vantages {
            let is = |trouble: &Trouble, wanted: &Trouble| trouble == wanted;
            let has = |state: &Self, wanted: Trouble| {
                state.troubles(elapsed).any(|trouble| is(trouble, &wanted))
            };
            if has(self, Trouble::ProbesSilent(vantage.clone())) {
                continue;
            }
            let isolated = has(self, Trouble::Isolated(vantage.clone()));
            let about = About { vantage: Some(vantage.clone()), ..About::default() };
            let success = if isolated { 0.0 } else { 1.0 };
            let beacon = Measure::Beacon { success };
            samples.push(sample(BEACONS, Class::Context, about, beacon, heard, heard)?);
            for (region, parts) in &regions {
                let cut = has(self, Trouble::Path(vantage.clone(), region.clone()));
                for balancer in parts {
                    let zones = balancer.as_ref().map_or(1.0, |b| self.zones_serve(b, elapsed));
                    let part =
                        (self.success(region, balancer.as_ref(), elapsed) * zones).min(0.999);
                    let good = self.seen.chance(part) && !isolated && !cut;
                    let measure = Measure::Probe {
                        success: if good { 1.0 } else { 0.0 },
                        latency_ms: good.then_some(40.0),
                        failure: None,
                    };
                    let about = About {
                        region: Some(region.clone()),
                        balancer: balancer.clone(),
                        vantage: Some(vantage.clone()),
                    };
                    samples.push(sample(PROBES, Class::Outside, about, measure, heard, heard)?);
                }
            }
        }
        Ok(())
    }

    /// Once a minute every region's counters are published.
    fn measure(&mut self, elapsed: Duration, now: Timestamp) {
        if self.pointed_at.is_some_and(|at| now.since(at) < Duration::from_secs(60)) {
            return;
        }
        self.pointed_at = Some(now);
        let mut points = Vec::new();
        for (name, region) in &self.scenario.policy.regions {
            if region.role == Role::LastResort {
                continue;
            }
            let whole = self.success(name, None, elapsed);
            let sick = whole < self.overload(name) * 0.5;
            let counted = region.balancers.iter().map(|balancer| {
                let here = self.success(name, Some(&balancer.name), elapsed);
                let served = self.zones_serve(&balancer.name, elapsed);
                Counted {
                    balancer: balancer.name.clone(),
                    own: if whole > 0.0 { 1.0 - here / whole } else { 0.0 },
                    targets: 1.0 - whole * served,
                    hosts: if sick { 0.2 } else { served },
                }
            });
            let lag = self.troubles(elapsed).find_map(|trouble| match trouble {
                Trouble::Lag(region, lag) if region == name => Some(*lag),
                _ => None,
            });
            let point = Point {
                stamp: now,
                requests: self.requests(name),
                capacity: self.scenario.capacity_rps.get(name).copied(),
                counted: counted.collect(),
                lag: Some(lag.unwrap_or(Some(1.0))),
            };
            points.push((name.clone(), point));
        }
        for (name, point) in points {
            let list = self.points.entry(name).or_default();
            list.push(point);
            if list.len() > 40 {
                list.remove(0);
            }
        }
    }

    /// The newest counters that have arrived.
    fn read_metrics(
        &self,
        elapsed: Duration,
        heard: Timestamp,
        truth: Timestamp,
        samples: &mut Vec<Sample>,
    ) -> Result<(), Malformed> {
        // Asked for every half a minute.
        if elapsed.as_secs() % 30 >= self.scenario.policy.round_every().as_secs() {
            return Ok(());
        }
        for (region, points) in &self.points {
            let about = About { region: Some(region.clone()), ..About::default() };
            let (mut delay, mut until) = (self.scenario.metric_delay, truth);
            let mut silent = false;
            for (from, to, trouble) in &self.scenario.troubles {
                if !(*from..*to).contains(&elapsed) {
                    continue;
                }
                match trouble {
                    Trouble::MetricsSilent(r) if r == region => silent = true,
                    Trouble::MetricsFrozen(r) if r == region => until = START.plus(*from),
                    Trouble::MetricsLate(r, by) if r == region => delay += *by,
                    _ => {}
                }
            }
            if silent {
                let measure = Measure::Silence { why: "no answer".to_owned() };
                samples.push(sample(METRICS, Class::Traffic, about, measure, heard, heard)?);
                continue;
            }
            let arrived = points.iter().rev().find(|point| point.stamp.plus(delay) <= until);
            let Some(point) = arrived else { continue };
            let mut add = |balancer: Option<&BalancerName>, class, measure| {
                let about = About { balancer: balancer.cloned(), ..about.clone() };
                sample(METRICS, class, about, measure, point.stamp, heard)
                    .map(|sample| samples.push(sample))
            };
            add(None, Class::Traffic, Measure::Requests(Some(point.requests)))?;
            if let Some(lag) = point.lag {
                add(None, Class::Inside, Measure::ReplicationLag(lag))?;
            }
            if self.scenario.growth_per_minute > 0.0 {
                add(None, Class::Inside, Measure::Capacity(point.capacity))?;
            }
            // Counters of nothing are not published.
            let any = point.requests >= 1.0;
            for Counted { balancer, own, targets, hosts } in &point.counted {
                let balancer = Some(balancer);
                add(balancer, Class::Traffic, Measure::BalancerErrors(any.then_some(*own)))?;
                add(balancer, Class::Traffic, Measure::TargetErrors(any.then_some(*targets)))?;
                add(balancer, Class::Inside, Measure::HealthyHosts(Some(*hosts)))?;
            }
            // Asked for, and so of now.
            if until == truth {
                self.read_zones(region, elapsed, heard, samples)?;
            }
        }
        Ok(())
    }
}

impl State {
    /// The targets of each balancer by zone, where the policy wants to know.
    fn read_zones(
        &self,
        region: &RegionName,
        elapsed: Duration,
        heard: Timestamp,
        samples: &mut Vec<Sample>,
    ) -> Result<(), Malformed> {
        let well = self.success(region, None, elapsed) >= self.overload(region) * 0.5;
        let balancers = self.scenario.policy.regions.get(region).map(|region| &region.balancers);
        for balancer in balancers.into_iter().flatten().filter(|b| b.zonal_shift.is_some()) {
            let (region, balancer) = (Some(region.clone()), Some(balancer.name.clone()));
            let hosts = balancer.as_ref().map(|name| self.zone_hosts(name, elapsed, well));
            let about = About { region, balancer, vantage: None };
            let measure = Measure::Zones(hosts.unwrap_or_default());
            samples.push(sample(METRICS, Class::Inside, about, measure, heard, heard)?);
        }
        Ok(())
    }
}

fn sample(
    signal: &str,
    class: Class,
    about: About,
    measure: Measure,
    taken_at: Timestamp,
    heard_at: Timestamp,
) -> Result<Sample, Malformed> {
    Ok(Sample { signal: signal.parse()?, class, about, measure, taken_at, heard_at })
}

/// The service's own weighted name, one of somebody else, and a plain record.
fn records(scenario: &Scenario, number: u64) -> Result<Vec<RecordSet>, Malformed> {
    let plain = |name: &str| -> Result<RecordSet, Malformed> {
        Ok(RecordSet {
            zone: zone(number)?,
            name: name.parse()?,
            kind: "A".to_owned(),
            set_identifier: None,
            weight: None,
            ttl: Some(60),
            data: RecordData::Values(vec!["192.0.2.1".to_owned()]),
            health_check: None,
            foreign: Vec::new(),
        })
    };
    let mut sets = vec![plain(&format!("plain.z{number}.test"))?];
    for (region, weight) in scenario.policy.home() {
        for name in [record(number)?.to_string(), format!("other.z{number}.test")] {
            let set = RecordSet {
                set_identifier: Some(region.to_string()),
                weight: Some(weight),
                ..plain(&name)?
            };
            sets.push(set);
        }
    }
    Ok(sets)
}
