//! From windows to a picture: the vantage x region x balancer matrix, three-valued throughout.
//!
//! Nothing here decides anything. What cannot be told is `Unknown`, and stays so.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::{Evidence, Stamps};
use super::{Answers, Reading};
use crate::domain::{BalancerName, Ratio, RegionName, SignalName, Split, Timestamp, VantageName};
use crate::policy::{Class, Measures, Policy, Region, Role};

/// A neutral place that fails more often than one time in ten says that our own network is not fit to
/// judge others.
const BEACON_GOOD: f64 = 0.9;

/// Fewer requests per second than this are no traffic to speak of: one failed request would be a
/// large share.
const REQUESTS_MIN: f64 = 1.0;

/// Less than this part of the requests that its share should bring means that users do not get
/// through to the balancer; then its error counters say little about users.
const REQUESTS_EXPECTED_PART: f64 = 0.5;

/// Hosts missing beyond this part are a part of the region gone (one of three zones is a third; one
/// host of ten may be a deploy).
const HOSTS_WHOLE: f64 = 0.85;

/// Bad spells are remembered this long for telling flapping.
const SPELLS_KEPT: Duration = Duration::from_secs(2 * 3600);

/// What the last round saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    pub regions: BTreeMap<RegionName, RegionView>,
    pub vantages: BTreeMap<VantageName, VantageView>,
    /// Requests per second of the whole service: the most heard of in the last quarter of an hour.
    pub demand_rps: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VantageView {
    /// Our own network there does not work since then; its readings count as Unknown.
    pub isolated_since: Option<Timestamp>,
    /// It alone sees these regions bad.
    pub broken_paths: Vec<(RegionName, Timestamp)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RegionView {
    /// By vantage, on the mean over the policy's window.
    pub by_vantage: BTreeMap<VantageName, Reading>,
    pub outside: ClassView,
    pub traffic: ClassView,
    /// What users got is bad by the balancers' counters since then.
    pub traffic_bad_since: Option<Timestamp>,
    pub inside: ClassView,
    /// Median over usable vantages, of the whole region by what its balancers carry.
    pub success: Option<Ratio>,
    pub latency_ms: Option<f64>,
    /// Why outside is bad, where it is.
    pub failing: Option<Failing>,
    pub bad_since: Option<Timestamp>,
    pub good_since: Option<Timestamp>,
    /// Nothing from outside tells how it is, since then.
    pub blind_since: Option<Timestamp>,
    /// The newest probes are bad as well, not only the mean.
    pub still_bad: bool,
    pub balancers: BTreeMap<BalancerName, BalancerView>,
    pub hosts: Option<f64>,
    pub requests_rps: Option<f64>,
    /// By its own metric while that is usable, else the smaller of what was last told and declared.
    pub capacity_rps: Option<f64>,
    pub lag: Lag,
    pub metrics: Instruments,
    /// A part of the hosts is gone while the rest carries, since then.
    pub part_gone_since: Option<Timestamp>,
    /// Well enough to take traffic, without a break, since then.
    pub fit_since: Option<Timestamp>,
    pub unfit: Option<String>,
    pub spells: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    Errors,
    Slow,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClassView {
    pub reading: Reading,
    pub age: Option<Duration>,
    pub says: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BalancerView {
    pub outside: Reading,
    pub success: Option<f64>,
    /// Errors made by the balancer, per request.
    pub own_errors: Option<f64>,
    pub target_errors: Option<f64>,
    pub hosts: Option<f64>,
    pub bad_since: Option<Timestamp>,
    pub still_bad: bool,
    /// Every vantage that can be believed sees it bad.
    pub unanimous: bool,
}

/// How far a region's data is behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lag {
    Known(Duration),
    /// The instrument speaks and says that it does not know.
    ReportedUnknown,
    /// There is no such instrument, or all of them are silent.
    Absent,
}

/// Whether the instruments of a region can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruments {
    /// The policy has none, or none spoke yet.
    None,
    Usable,
    /// Asked, no answer.
    Silent {
        since: Timestamp,
    },
    /// What arrives is old.
    Old {
        since: Timestamp,
    },
    /// The stamps contradict our clock.
    Odd {
        since: Timestamp,
    },
}

impl Instruments {
    pub fn trouble_since(self) -> Option<Timestamp> {
        match self {
            Self::None | Self::Usable => None,
            Self::Silent { since } | Self::Old { since } | Self::Odd { since } => Some(since),
        }
    }
}

/// One vantage's look at one region.
struct Look {
    reading: Reading,
    newest_bad: bool,
    success: Option<f64>,
    latency: Option<f64>,
    balancers: BTreeMap<BalancerName, BalancerLook>,
}

struct BalancerLook {
    reading: Reading,
    newest_bad: bool,
    success: Option<f64>,
}

impl Evidence {
    pub(super) fn assess(&mut self, policy: &Policy, now: Timestamp) {
        let looks = self.looks(policy, now);
        let vantages = self.vantages(policy, &looks, now);
        self.hear_demand(policy, now);
        let mut regions = BTreeMap::new();
        for (name, region) in &policy.regions {
            let view = self.region(policy, name, region, &looks, &vantages, now);
            regions.insert(name.clone(), view);
        }
        self.picture = Picture { regions, vantages, demand_rps: self.demand.largest() };
    }

    /// Every vantage's look at every region.
    fn looks(
        &self,
        policy: &Policy,
        now: Timestamp,
    ) -> BTreeMap<RegionName, BTreeMap<VantageName, Look>> {
        let mut looks: BTreeMap<RegionName, BTreeMap<VantageName, Look>> = BTreeMap::new();
        for name in policy.regions.keys() {
            let mut by_vantage = BTreeMap::new();
            for vantage in policy.vantages.keys() {
                if let Some(look) = self.look(policy, name, vantage, now) {
                    by_vantage.insert(vantage.clone(), look);
                }
            }
            looks.insert(name.clone(), by_vantage);
        }
        looks
    }

    fn look(
        &self,
        policy: &Policy,
        name: &RegionName,
        vantage: &VantageName,
        now: Timestamp,
    ) -> Option<Look> {
        let region = policy.regions.get(name)?;
        let judge = &policy.judge;
        let fresh = freshness(policy, Class::Outside);
        let limit_ms = judge.latency_above.map(|limit| limit.as_secs_f64() * 1000.0);
        let bad = |success: Option<f64>, latency: Option<f64>| {
            success.is_some_and(|s| s < judge.success_below.get())
                || limit_ms.is_some_and(|limit| latency.is_some_and(|ms| ms > limit))
        };
        let parts: Vec<(Option<BalancerName>, f64)> = if region.balancers.is_empty() {
            vec![(None, 1.0)]
        } else {
            region.balancers.iter().map(|b| (Some(b.name.clone()), b.carries.get())).collect()
        };
        let (mut heard, mut success_sum, mut success_part) = (false, 0.0, 0.0);
        let (mut newest_sum, mut latency_sum, mut latency_part) = (0.0, 0.0, 0.0);
        let (mut any_bad, mut any_newest_bad) = (false, false);
        let mut balancers = BTreeMap::new();
        // Probes of the region as a whole stand for every balancer that has none of its own.
        let whole = (name.clone(), None, vantage.clone());
        for (balancer, carries) in parts {
            let own = (name.clone(), balancer.clone(), vantage.clone());
            let Some(series) = self.probes.get(&own).or_else(|| self.probes.get(&whole)) else {
                continue;
            };
            let success = series.success.mean(judge.window, fresh, now);
            let latency = series.latency.mean(judge.window, fresh, now);
            let newest = series.success.newest(fresh, now);
            let newest_latency = series.latency.newest(fresh, now);
            heard |= series.success.heard_at().is_some_and(|at| now.since(at) <= fresh);
            if let Some(success) = success {
                success_sum += carries * success;
                success_part += carries;
                newest_sum += carries * newest.unwrap_or(success);
            }
            if let Some(latency) = latency {
                latency_sum += carries * latency;
                latency_part += carries;
            }
            let reading = match success {
                None => Reading::Unknown,
                Some(_) if bad(success, latency) => Reading::Bad,
                Some(_) => Reading::Good,
            };
            let newest_bad = bad(newest, newest_latency);
            any_bad |= reading == Reading::Bad;
            any_newest_bad |= newest_bad;
            if let Some(balancer) = balancer {
                balancers.insert(balancer, BalancerLook { reading, newest_bad, success });
            }
        }
        let mean = |sum: f64, part: f64| (part > 0.0).then(|| sum / part);
        let (success, latency) = (mean(success_sum, success_part), mean(latency_sum, latency_part));
        let reading = match success {
            _ if !heard => Reading::Unknown,
            None => Reading::Unknown,
            Some(_) if any_bad || bad(success, latency) => Reading::Bad,
            Some(_) => Reading::Good,
        };
        let newest_bad = any_newest_bad || bad(mean(newest_sum, success_part), None);
        Some(Look { reading, newest_bad, success, latency, balancers })
    }

    /// Which vantages cannot be believed, and which have a broken way to one region only.
    fn vantages(
        &mut self,
        policy: &Policy,
        looks: &BTreeMap<RegionName, BTreeMap<VantageName, Look>>,
        now: Timestamp,
    ) -> BTreeMap<VantageName, VantageView> {
        let mut views = BTreeMap::new();
        for vantage in policy.vantages.keys() {
            let isolated = self.is_isolated(policy, vantage, looks, now);
            let track = self.vantage_tracks.entry(vantage.clone()).or_default();
            track.take(if isolated { Reading::Bad } else { Reading::Good }, now);
            let isolated_since = track.bad_since;
            let mut broken_paths = Vec::new();
            for (region, by_vantage) in looks {
                let alone = isolated_since.is_none()
                    && by_vantage.get(vantage).is_some_and(|look| look.reading == Reading::Bad)
                    && by_vantage.len() > 1
                    && by_vantage
                        .iter()
                        .all(|(other, look)| other == vantage || look.reading == Reading::Good);
                let track = self.path_tracks.entry((vantage.clone(), region.clone())).or_default();
                track.take(if alone { Reading::Bad } else { Reading::Good }, now);
                broken_paths.extend(track.bad_since.map(|since| (region.clone(), since)));
            }
            views.insert(vantage.clone(), VantageView { isolated_since, broken_paths });
        }
        views
    }

    fn is_isolated(
        &self,
        policy: &Policy,
        vantage: &VantageName,
        looks: &BTreeMap<RegionName, BTreeMap<VantageName, Look>>,
        now: Timestamp,
    ) -> bool {
        let fresh = freshness(policy, Class::Context);
        if let Some(beacon) = self.beacons.get(vantage) {
            // The newest word as well: a prober that just lost its network must not be believed for
            // the length of a window.
            let mean = beacon.mean(policy.judge.window, fresh, now);
            let newest = beacon.newest(fresh, now);
            return mean.is_some_and(|b| b < BEACON_GOOD)
                || newest.is_some_and(|b| b < BEACON_GOOD / 2.0);
        }
        // Without a beacon: it sees everything bad while most others see everything good.
        let sees = |who: &VantageName, what: Reading| {
            looks.values().filter_map(|by| by.get(who)).map(|look| look.reading).all(|r| r == what)
        };
        let others: Vec<&VantageName> =
            policy.vantages.keys().filter(|other| *other != vantage).collect();
        let well = others.iter().filter(|other| sees(other, Reading::Good)).count();
        looks.values().filter(|by| by.contains_key(vantage)).count() >= 2
            && sees(vantage, Reading::Bad)
            && others.len() >= 2
            && well * 2 > others.len()
    }

    /// What must fit somewhere: the sum over the regions that carry traffic, if all of them speak.
    fn hear_demand(&mut self, policy: &Policy, now: Timestamp) {
        let mut sum = 0.0;
        for name in policy.regions.keys() {
            let requests = match self.instruments(policy, name, now) {
                Instruments::Usable => self.number(policy, name, Measures::Requests, now),
                Instruments::None
                | Instruments::Silent { .. }
                | Instruments::Old { .. }
                | Instruments::Odd { .. } => None,
            };
            match requests {
                Some(requests) => sum += requests,
                None if self.may_carry(name) => return,
                None => {}
            }
        }
        if sum >= REQUESTS_MIN {
            self.demand.push(now, Some(sum));
        }
    }

    fn may_carry(&self, name: &RegionName) -> bool {
        match &self.answers {
            Answers::Split { split, .. } => split.weight(name).0 > 0,
            Answers::Drift { .. } | Answers::Unknown => true,
        }
    }

    fn region(
        &mut self,
        policy: &Policy,
        name: &RegionName,
        region: &Region,
        looks: &BTreeMap<RegionName, BTreeMap<VantageName, Look>>,
        vantages: &BTreeMap<VantageName, VantageView>,
        now: Timestamp,
    ) -> RegionView {
        let usable: Vec<(&VantageName, &Look)> = looks
            .get(name)
            .into_iter()
            .flatten()
            .filter(|(vantage, _)| {
                vantages.get(*vantage).is_none_or(|v| v.isolated_since.is_none())
            })
            .collect();
        let needed = policy.judge.vantages_min.min(policy.vantages.len()).max(1);
        let readings = usable.iter().map(|(_, look)| look.reading);
        let reading = agreed(readings, needed);
        let track = self.region_tracks.entry(name.clone()).or_default();
        let was_bad = track.bad_since.is_some();
        track.take(reading, now);
        let (bad_since, good_since) = (track.bad_since, track.good_since);
        let blind = self.blind_tracks.entry(name.clone()).or_default();
        blind.take(bad_if(reading == Reading::Unknown), now);
        let blind_since = blind.bad_since;
        let spells = self.spells.entry(name.clone()).or_default();
        if bad_since.is_some() && !was_bad {
            spells.push(now);
        }
        spells.retain(|began| now.since(*began) < SPELLS_KEPT);
        let spells = spells.len();
        let success = median(usable.iter().filter_map(|(_, look)| look.success));
        let latency_ms = median(usable.iter().filter_map(|(_, look)| look.latency));
        let failing = (reading == Reading::Bad).then(|| {
            let errors = success.is_some_and(|s| s < policy.judge.success_below.get())
                || usable.iter().any(|(_, look)| {
                    look.balancers
                        .values()
                        .any(|b| b.success.is_some_and(|s| s < policy.judge.success_below.get()))
                });
            if errors { Failing::Errors } else { Failing::Slow }
        });
        let mut by_vantage: BTreeMap<VantageName, Reading> =
            usable.iter().map(|(vantage, look)| ((*vantage).clone(), look.reading)).collect();
        for vantage in looks.get(name).into_iter().flatten().map(|(vantage, _)| vantage) {
            by_vantage.entry(vantage.clone()).or_insert(Reading::Unknown);
        }
        let metrics = self.instruments(policy, name, now);
        let balancers = self.balancers(policy, region, name, &usable, metrics, needed, now);
        let outside = ClassView {
            reading,
            age: self.probe_age(name, now),
            says: says_outside(&by_vantage, success, latency_ms),
        };
        let hosts = self.hosts(policy, name, region, &balancers, metrics, now);
        let requests_rps = self.told(policy, name, Measures::Requests, metrics, now);
        let traffic = self.traffic(policy, name, region, &balancers, metrics, requests_rps, now);
        let inside = inside(policy, hosts, metrics);
        let capacity_rps = self.capacity(policy, name, region, metrics, now);
        let part_gone = hosts.is_some_and(|h| h < HOSTS_WHOLE) && reading == Reading::Good;
        let zone = self.zone_tracks.entry(name.clone()).or_default();
        zone.take(if part_gone { Reading::Bad } else { Reading::Good }, now);
        let part_gone_since = zone.bad_since;
        let track = self.traffic_tracks.entry(name.clone()).or_default();
        track.take(traffic.reading, now);
        let traffic_bad_since = track.bad_since;
        let mut view = RegionView {
            by_vantage,
            outside,
            traffic,
            traffic_bad_since,
            inside,
            success: success.map(Ratio::new),
            latency_ms,
            failing,
            bad_since,
            good_since,
            blind_since,
            still_bad: agreed(usable.iter().map(|(_, look)| bad_if(look.newest_bad)), needed)
                == Reading::Bad,
            balancers,
            hosts,
            requests_rps,
            capacity_rps,
            lag: self.lag(name, metrics),
            metrics,
            part_gone_since,
            fit_since: None,
            unfit: None,
            spells,
        };
        view.unfit = unfit(policy, region, &view);
        let fit = match (&view.unfit, view.outside.reading, metrics) {
            (Some(_), _, _) | (None, Reading::Bad, _) => Reading::Bad,
            (None, Reading::Good, Instruments::Usable | Instruments::None) => Reading::Good,
            (None, _, _) => Reading::Unknown,
        };
        let track = self.fit_tracks.entry(name.clone()).or_default();
        track.take(fit, now);
        view.fit_since = track.good_since;
        view
    }

    #[expect(clippy::too_many_arguments, reason = "one caller; the parts of one picture")]
    fn balancers(
        &mut self,
        policy: &Policy,
        region: &Region,
        name: &RegionName,
        usable: &[(&VantageName, &Look)],
        metrics: Instruments,
        needed: usize,
        now: Timestamp,
    ) -> BTreeMap<BalancerName, BalancerView> {
        let mut views = BTreeMap::new();
        for balancer in &region.balancers {
            let looks = || usable.iter().filter_map(|(_, look)| look.balancers.get(&balancer.name));
            let outside = agreed(looks().map(|look| look.reading), needed);
            let still_bad =
                agreed(looks().map(|look| bad_if(look.newest_bad)), needed) == Reading::Bad;
            let track = self.balancer_tracks.entry(balancer.name.clone()).or_default();
            track.take(outside, now);
            let bad_since = track.bad_since;
            let read = |measures| match metrics {
                Instruments::Usable => {
                    self.mean_of(policy, name, Some(&balancer.name), measures, now)
                }
                Instruments::None
                | Instruments::Silent { .. }
                | Instruments::Old { .. }
                | Instruments::Odd { .. } => None,
            };
            let view = BalancerView {
                outside,
                success: median(looks().filter_map(|look| look.success)),
                own_errors: read(Measures::BalancerErrors),
                target_errors: read(Measures::TargetErrors),
                hosts: read(Measures::HealthyHosts),
                bad_since,
                still_bad,
                unanimous: looks().all(|look| look.reading == Reading::Bad),
            };
            views.insert(balancer.name.clone(), view);
        }
        views
    }

    /// What users got, by the balancers' own counters.
    #[expect(clippy::too_many_arguments, reason = "one caller; the parts of one picture")]
    fn traffic(
        &self,
        policy: &Policy,
        name: &RegionName,
        region: &Region,
        balancers: &BTreeMap<BalancerName, BalancerView>,
        metrics: Instruments,
        requests: Option<f64>,
        now: Timestamp,
    ) -> ClassView {
        let unknown =
            |says: &str| ClassView { reading: Reading::Unknown, age: None, says: says.to_owned() };
        let verdict = self.verdict(policy, name, Class::Traffic, now);
        if metrics != Instruments::Usable && verdict.is_none() {
            return unknown("no usable counters");
        }
        if requests.is_some_and(|rps| rps < REQUESTS_MIN) {
            return unknown("no requests to count");
        }
        let expected = match &self.answers {
            Answers::Split { split, .. } => self
                .demand
                .largest()
                .or(policy.shift.demand_rps)
                .map(|all| all * split.share(name).get()),
            Answers::Drift { .. } | Answers::Unknown => None,
        };
        if let (Some(requests), Some(expected)) = (requests, expected)
            && requests < expected * REQUESTS_EXPECTED_PART
        {
            return unknown(&format!(
                "only {requests:.0} of about {expected:.0} requests per second arrive"
            ));
        }
        let (mut lost, mut part, mut worst) = (0.0, 0.0, 1.0_f64);
        for balancer in &region.balancers {
            let Some(view) = balancers.get(&balancer.name) else { continue };
            if view.own_errors.is_none() && view.target_errors.is_none() {
                continue;
            }
            let errors = view.own_errors.unwrap_or(0.0) + view.target_errors.unwrap_or(0.0);
            worst = worst.min(1.0 - errors);
            lost += balancer.carries.get() * errors.min(1.0);
            part += balancer.carries.get();
        }
        if part <= 0.0 {
            // Counters of the region as a whole, where the policy names no balancer for them.
            let whole = |measures| self.told(policy, name, measures, metrics, now);
            let counted = [whole(Measures::BalancerErrors), whole(Measures::TargetErrors)];
            if counted.iter().any(Option::is_some) {
                lost = counted.iter().flatten().sum::<f64>().min(1.0);
                part = 1.0;
                worst = 1.0 - lost;
            }
        }
        let latency_bad = self
            .told(policy, name, Measures::Latency, metrics, now)
            .zip(policy.judge.latency_above)
            .is_some_and(|(ms, limit)| ms > limit.as_secs_f64() * 1000.0);
        let age = self.stamp_age(name, now);
        if part <= 0.0 {
            return match verdict {
                Some(bad) => {
                    ClassView { reading: bad_if(bad), age, says: "by its own limit".to_owned() }
                }
                None => unknown("no error counters"),
            };
        }
        let success = 1.0 - lost / part;
        // As for probes: the limit holds for the region as a whole and for each of its balancers.
        let least = success.min(worst);
        let bad = least < policy.judge.success_below.get() || latency_bad || verdict == Some(true);
        ClassView {
            reading: bad_if(bad),
            age,
            says: format!("{} succeed at the balancers", Ratio::new(success)),
        }
    }

    /// Three answers in one: bad, good, or no such signal.
    fn verdict(
        &self,
        policy: &Policy,
        name: &RegionName,
        class: Class,
        now: Timestamp,
    ) -> Option<bool> {
        let mut heard = None;
        for ((region, _), (of, series)) in &self.verdicts {
            if region == name && *of == class {
                let newest = series.newest(freshness(policy, class), now);
                heard = newest.map(|v| v > 0.5).or(heard).map(|bad| bad || heard == Some(true));
            }
        }
        heard
    }

    fn hosts(
        &self,
        policy: &Policy,
        name: &RegionName,
        region: &Region,
        balancers: &BTreeMap<BalancerName, BalancerView>,
        metrics: Instruments,
        now: Timestamp,
    ) -> Option<f64> {
        let (mut sum, mut part) = (0.0, 0.0);
        for balancer in &region.balancers {
            if let Some(hosts) = balancers.get(&balancer.name).and_then(|view| view.hosts) {
                sum += balancer.carries.get() * hosts;
                part += balancer.carries.get();
            }
        }
        if part > 0.0 {
            Some(sum / part)
        } else {
            self.told(policy, name, Measures::HealthyHosts, metrics, now)
        }
    }

    fn capacity(
        &self,
        policy: &Policy,
        name: &RegionName,
        region: &Region,
        metrics: Instruments,
        now: Timestamp,
    ) -> Option<f64> {
        if let Some(told) = self.told(policy, name, Measures::Capacity, metrics, now) {
            return Some(told);
        }
        let last = self
            .metrics
            .get(&(name.clone(), None, Measures::Capacity))
            .and_then(|(_, s)| s.last_known());
        match (last.map(|(_, capacity)| capacity), region.capacity_rps) {
            (Some(last), Some(declared)) => Some(last.min(declared)),
            (last, declared) => last.or(declared),
        }
    }

    fn lag(&self, name: &RegionName, metrics: Instruments) -> Lag {
        let Some((_, series)) = self.metrics.get(&(name.clone(), None, Measures::ReplicationLag))
        else {
            return Lag::Absent;
        };
        match metrics {
            Instruments::Usable => {
                series.points_newest().map_or(Lag::Absent, |newest| match newest {
                    Some(secs) => Lag::Known(Duration::from_secs_f64(secs.clamp(0.0, 1e9))),
                    None => Lag::ReportedUnknown,
                })
            }
            Instruments::None
            | Instruments::Silent { .. }
            | Instruments::Old { .. }
            | Instruments::Odd { .. } => Lag::Absent,
        }
    }

    /// Whether the instruments of a region speak, and of the present. Remembers since when not.
    fn instruments(&mut self, policy: &Policy, name: &RegionName, now: Timestamp) -> Instruments {
        let mut result = Instruments::None;
        for ((region, signal), stamps) in &mut self.stamps {
            if region != name {
                continue;
            }
            let fresh = policy.signals.get(signal).map_or(Duration::MAX, |s| s.fresh_for);
            let state = state_of(stamps, fresh, now);
            match state {
                Instruments::Usable => {
                    stamps.unusable_since = None;
                    result = Instruments::Usable;
                }
                trouble @ (Instruments::None
                | Instruments::Silent { .. }
                | Instruments::Old { .. }
                | Instruments::Odd { .. }) => {
                    let since = *stamps.unusable_since.get_or_insert(now);
                    if result != Instruments::Usable {
                        result = since_when(trouble, since);
                    }
                }
            }
        }
        result
    }

    fn told(
        &self,
        policy: &Policy,
        name: &RegionName,
        measures: Measures,
        metrics: Instruments,
        now: Timestamp,
    ) -> Option<f64> {
        if metrics == Instruments::Usable { self.number(policy, name, measures, now) } else { None }
    }

    /// The newest number of a region as a whole: its own series, or the sum or mean over balancers.
    fn number(
        &self,
        policy: &Policy,
        name: &RegionName,
        measures: Measures,
        now: Timestamp,
    ) -> Option<f64> {
        if let Some((signal, series)) = self.metrics.get(&(name.clone(), None, measures)) {
            return series.newest(heard_for(policy, signal), now);
        }
        let region = policy.regions.get(name)?;
        let mut sum = None;
        for balancer in &region.balancers {
            let (signal, series) =
                self.metrics.get(&(name.clone(), Some(balancer.name.clone()), measures))?;
            let value = series.newest(heard_for(policy, signal), now)?;
            let part = match measures {
                Measures::Requests | Measures::Capacity => value,
                Measures::BalancerErrors
                | Measures::TargetErrors
                | Measures::ReplicationLag
                | Measures::HealthyHosts
                | Measures::Latency
                | Measures::Verdict => value * balancer.carries.get(),
            };
            sum = Some(sum.unwrap_or(0.0) + part);
        }
        sum
    }

    fn mean_of(
        &self,
        policy: &Policy,
        name: &RegionName,
        balancer: Option<&BalancerName>,
        measures: Measures,
        now: Timestamp,
    ) -> Option<f64> {
        let (signal, series) = self.metrics.get(&(name.clone(), balancer.cloned(), measures))?;
        series.mean(policy.judge.window, heard_for(policy, signal), now)
    }

    fn probe_age(&self, name: &RegionName, now: Timestamp) -> Option<Duration> {
        let heard = self.probes.iter().filter(|((region, _, _), _)| region == name);
        heard.filter_map(|(_, series)| series.success.heard_at()).max().map(|at| now.since(at))
    }

    fn stamp_age(&self, name: &RegionName, now: Timestamp) -> Option<Duration> {
        let stamps = self.stamps.iter().filter(|((region, _), _)| region == name);
        stamps
            .filter_map(|(_, s)| s.newest)
            .map(|(stamp, _)| stamp)
            .max()
            .map(|stamp| now.since(stamp))
    }

    /// When the newest metrics of a region were taken, by their own stamps.
    pub fn stamped(&self, name: &RegionName) -> Option<Timestamp> {
        let stamps = self.stamps.iter().filter(|((region, _), _)| region == name);
        stamps.filter_map(|(_, s)| s.newest).map(|(stamp, _)| stamp).max()
    }

    /// When the records were last read.
    pub fn read_at(&self) -> Option<Timestamp> {
        match &self.answers {
            Answers::Split { read_at, .. } => Some(*read_at),
            Answers::Drift { .. } | Answers::Unknown => None,
        }
    }

    /// The split that the records were last read to have.
    pub fn split(&self) -> Option<&Split> {
        match &self.answers {
            Answers::Split { split, .. } => Some(split),
            Answers::Drift { .. } | Answers::Unknown => None,
        }
    }

    /// How one balancer did in the window before `at`, over all vantages: the median of their means.
    pub fn balancer_success_at(
        &self,
        policy: &Policy,
        name: &BalancerName,
        at: Timestamp,
    ) -> Option<f64> {
        let fresh = freshness(policy, Class::Outside);
        let of_it =
            self.probes.iter().filter(|((_, balancer, _), _)| balancer.as_ref() == Some(name));
        median(
            of_it.filter_map(|(_, series)| {
                series.success.mean_until(policy.judge.window, fresh, at)
            }),
        )
    }
}

fn state_of(stamps: &Stamps, fresh: Duration, now: Timestamp) -> Instruments {
    if let Some(since) = stamps.silent_since {
        return Instruments::Silent { since };
    }
    if let Some(since) = stamps.odd_since {
        return Instruments::Odd { since };
    }
    match stamps.newest {
        Some((stamp, heard)) if now.since(stamp) <= fresh && now.since(heard) <= fresh => {
            Instruments::Usable
        }
        Some((_, heard)) => Instruments::Old { since: heard },
        None => Instruments::None,
    }
}

fn since_when(state: Instruments, since: Timestamp) -> Instruments {
    match state {
        Instruments::None => Instruments::None,
        Instruments::Usable => Instruments::Usable,
        Instruments::Silent { .. } => Instruments::Silent { since },
        Instruments::Old { .. } => Instruments::Old { since },
        Instruments::Odd { .. } => Instruments::Odd { since },
    }
}

fn inside(policy: &Policy, hosts: Option<f64>, metrics: Instruments) -> ClassView {
    match hosts {
        Some(hosts) if metrics != Instruments::None => ClassView {
            reading: bad_if(hosts < policy.judge.healthy_hosts_below.get()),
            age: None,
            says: format!("{} of the targets healthy", Ratio::new(hosts)),
        },
        _ => ClassView {
            reading: Reading::Unknown,
            age: None,
            says: "target health unknown".to_owned(),
        },
    }
}

/// What speaks against sending traffic there, if anything does.
fn unfit(policy: &Policy, region: &Region, view: &RegionView) -> Option<String> {
    if view.outside.reading == Reading::Bad {
        return Some(format!("probes fail: {}", view.outside.says));
    }
    if view.traffic.reading == Reading::Bad {
        return Some(format!("its users fail: {}", view.traffic.says));
    }
    let enough = match region.role {
        Role::LastResort => 0.0,
        Role::Primary | Role::Active | Role::Standby => {
            policy.guards.standby_healthy_hosts_min.get()
        }
    };
    view.hosts.filter(|hosts| *hosts < enough).map(|hosts| {
        format!(
            "{} of its targets are healthy, {} are needed",
            Ratio::new(hosts),
            Ratio::new(enough)
        )
    })
}

fn says_outside(
    by_vantage: &BTreeMap<VantageName, Reading>,
    success: Option<f64>,
    latency: Option<f64>,
) -> String {
    let bad = by_vantage.values().filter(|r| **r == Reading::Bad).count();
    let success = success.map_or("unknown".to_owned(), |s| Ratio::new(s).to_string());
    let latency = latency.map_or(String::new(), |ms| format!(", {ms:.0} ms"));
    format!(
        "{success} of probes succeed{latency}; {bad} of {} vantages see it bad",
        by_vantage.len()
    )
}

/// What enough of them agree on. Fewer than `needed` usable looks is Unknown.
fn agreed(readings: impl Iterator<Item = Reading>, needed: usize) -> Reading {
    let (mut good, mut bad) = (0, 0);
    for reading in readings {
        match reading {
            Reading::Good => good += 1,
            Reading::Bad => bad += 1,
            Reading::Unknown => {}
        }
    }
    if bad >= needed {
        Reading::Bad
    } else if good >= needed {
        Reading::Good
    } else {
        Reading::Unknown
    }
}

fn bad_if(bad: bool) -> Reading {
    if bad { Reading::Bad } else { Reading::Good }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// The longest freshness of any signal of a class; a minute and a half if there is none.
pub(super) fn freshness(policy: &Policy, class: Class) -> Duration {
    let of_class = policy.signals.values().filter(|signal| signal.class == class);
    of_class.map(|signal| signal.fresh_for).max().unwrap_or(Duration::from_secs(90))
}

fn heard_for(policy: &Policy, signal: &SignalName) -> Duration {
    policy.signals.get(signal).map_or(Duration::from_secs(180), |s| s.fresh_for)
}
