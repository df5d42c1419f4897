//! The instruments inside a region: whether they speak, of the present, and what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::assess::{REQUESTS_MIN, freshness};
use super::evidence::{Evidence, Heard, Metered, Stamps};
use super::picture::{BalancerView, Instruments, Lag};
use super::{Answers, Reading, window};
use crate::domain::{BalancerName, RegionName, Timestamp};
use crate::policy::{Class, Measures, Policy, Region, Source};

/// How long the readings of a signal count that the policy does not have any more.
const FRESH_UNNAMED: Duration = Duration::from_secs(180);

/// What a number of requests speaks for that others push: as long as the shortest period of most metrics.
const COUNTED_OVER: Duration = Duration::from_secs(60);

/// Above this part of its capacity a region may be bad because of what arrives.
const FULL: f64 = 0.95;

/// One region in one round: what the policy says of it, and what was heard.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) policy: &'a Policy,
    pub(super) region: &'a Region,
    pub(super) heard: Option<&'a Heard>,
    pub(super) metrics: Instruments,
    pub(super) now: Timestamp,
}

impl Site<'_> {
    pub(super) fn hosts(&self, balancers: &BTreeMap<BalancerName, BalancerView>) -> Option<f64> {
        let (mut sum, mut part) = (0.0, 0.0);
        for balancer in &self.region.balancers {
            if let Some(hosts) = balancers.get(&balancer.name).and_then(|view| view.hosts) {
                sum += balancer.carries.get() * hosts;
                part += balancer.carries.get();
            }
        }
        if part > 0.0 { Some(sum / part) } else { self.told(Measures::HealthyHosts) }
    }

    pub(super) fn capacity(&self) -> Option<f64> {
        if let Some(told) = self.told(Measures::Capacity) {
            return Some(told);
        }
        let last = self.metered(None, Measures::Capacity).and_then(|m| m.series.last_known());
        match (last.map(|(_, capacity)| capacity), self.region.capacity_rps) {
            (Some(last), Some(declared)) => Some(last.min(declared)),
            (last, declared) => last.or(declared),
        }
    }

    pub(super) fn lag(&self) -> Lag {
        let Some(metered) = self.metered(None, Measures::ReplicationLag) else {
            return Lag::Absent;
        };
        match self.metrics {
            Instruments::Usable => {
                metered.series.points_newest().map_or(Lag::Absent, |newest| match newest {
                    Some(secs) => Lag::Known(Duration::from_secs_f64(secs.clamp(0.0, 1e9))),
                    None => Lag::ReportedUnknown,
                })
            }
            Instruments::None
            | Instruments::Silent { .. }
            | Instruments::Old { .. }
            | Instruments::Odd { .. } => self.lag_before(metered),
        }
    }

    /// An instrument that stops while it tells of too much lag, or does not know it, has not taken that back. One
    /// that told of none is only missing.
    fn lag_before(&self, metered: &Metered) -> Lag {
        let Some(max) = self.policy.guards.replication_lag_max else { return Lag::Absent };
        let kept = |at: Timestamp| self.now.since(at) <= window::KEPT;
        let heard = metered.series.heard_at().is_some_and(kept);
        let silent = matches!(self.metrics, Instruments::Silent { .. });
        if heard
            && silent
            && self.was_believed(metered)
            && metered.series.points_newest() == Some(None)
        {
            return Lag::ReportedUnknown;
        }
        match metered.series.last_known() {
            Some((at, secs)) if kept(at) && secs > max.as_secs_f64() => {
                Lag::Known(Duration::from_secs_f64(secs.clamp(0.0, 1e9)))
            }
            Some(_) | None => Lag::Absent,
        }
    }

    /// Whether the newest numbers of its signal were of the present when they came: what is not is heard as
    /// "could not tell" as well.
    fn was_believed(&self, metered: &Metered) -> bool {
        let mut stamps = self.heard.into_iter().flat_map(|heard| &heard.stamps);
        stamps.find(|(signal, _)| *signal == metered.signal).is_some_and(|(_, stamps)| {
            let fresh = self.now.since(metered.fresh_from);
            let fresh = |(stamp, heard): (Timestamp, Timestamp)| heard.since(stamp) <= fresh;
            stamps.odd_since.is_none() && stamps.newest.is_some_and(fresh)
        })
    }

    /// What [`Site::number`] tells, if the instruments can be used.
    pub(super) fn told(&self, measures: Measures) -> Option<f64> {
        if self.metrics == Instruments::Usable { self.number(measures) } else { None }
    }

    /// The newest number of a region as a whole: its own series, or the sum or mean over balancers.
    fn number(&self, measures: Measures) -> Option<f64> {
        if let Some(metered) = self.metered(None, measures) {
            return metered.series.newest(metered.fresh_from);
        }
        let mut sum = None;
        for balancer in &self.region.balancers {
            let metered = self.metered(Some(&balancer.name), measures)?;
            let value = metered.series.newest(metered.fresh_from)?;
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

    /// The mean over the policy's window of one number of a balancer, if the instruments can be used.
    pub(super) fn mean_of(&self, balancer: &BalancerName, measures: Measures) -> Option<f64> {
        if self.metrics != Instruments::Usable {
            return None;
        }
        let metered = self.metered(Some(balancer), measures)?;
        metered.series.mean(self.now.minus(self.policy.judge.window), metered.fresh_from)
    }

    fn metered(&self, balancer: Option<&BalancerName>, measures: Measures) -> Option<&Metered> {
        self.heard?.metered(balancer, measures)
    }

    pub(super) fn stamp_age(&self) -> Option<Duration> {
        newest_stamp(self.heard?).map(|stamp| self.now.since(stamp))
    }

    pub(super) fn probe_age(&self) -> Option<Duration> {
        let heard_at = self.heard?.probes.iter().filter_map(|p| p.success.heard_at()).max();
        heard_at.map(|at| self.now.since(at))
    }

    /// Three answers in one: bad, good, or no such signal.
    pub(super) fn verdict(&self, class: Class) -> Option<bool> {
        let mut heard = None;
        for (_, of, series) in self.heard.into_iter().flat_map(|h| &h.verdicts) {
            if *of == class {
                let newest = series.newest(self.now.minus(freshness(self.policy, class)));
                heard = newest.map(|v| v > 0.5).or(heard).map(|bad| bad || heard == Some(true));
            }
        }
        heard
    }
}

impl Evidence {
    /// Whether the instruments of a region speak, and of the present. Remembers since when not, and for how
    /// long their numbers count in this round.
    pub(super) fn instruments(
        &mut self,
        policy: &Policy,
        name: &RegionName,
        now: Timestamp,
    ) -> Instruments {
        let mut result = Instruments::None;
        let Some(heard) = self.heard.get_mut(name) else { return result };
        for (signal, stamps) in &mut heard.stamps {
            let fresh = stamps.take_fresh_for(policy, signal);
            let fresh_from = now.minus(fresh.unwrap_or(FRESH_UNNAMED));
            for metered in heard.metrics.iter_mut().filter(|metered| metered.signal == *signal) {
                metered.fresh_from = fresh_from;
            }
            let state = state_of(stamps, fresh.unwrap_or(Duration::MAX), now);
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

    /// Requests per second that arrive at a region, and from when on they were counted: by the stamps of their
    /// signal, and no later than they were heard. `None` where no instrument that can be used tells.
    pub fn arrives(&self, policy: &Policy, name: &RegionName) -> Option<(f64, Timestamp)> {
        let requests = self.picture().regions.get(name)?.requests_rps?;
        let heard = self.heard.get(name)?;
        let counted = heard.metrics.iter().filter(|m| m.measures == Measures::Requests);
        let began = counted.filter_map(|metered| {
            let (_, stamps) = heard.stamps.iter().find(|(signal, _)| *signal == metered.signal)?;
            let (stamp, _) = stamps.newest?;
            let period = match &policy.signals.get(&metered.signal)?.source {
                Source::Metric(metric) => metric.period,
                Source::Probe(_)
                | Source::TargetHealth { .. }
                | Source::Beacon { .. }
                | Source::Pushed => COUNTED_OVER,
            };
            Some(stamp.min(metered.series.heard_at()?).minus(period))
        });
        Some((requests, began.min()?))
    }

    /// When the newest metrics of a region were taken, by their own stamps.
    pub fn stamped(&self, name: &RegionName) -> Option<Timestamp> {
        newest_stamp(self.heard.get(name)?)
    }

    /// What must fit somewhere: the sum over the regions that carry traffic, if all of them speak. While users of
    /// one fail, what arrives there is more than the demand as they try again, or less as they give up, so the demand
    /// of before stands.
    pub(super) fn hear_demand(&mut self, policy: &Policy, states: &[Instruments], now: Timestamp) {
        let mut sum = 0.0;
        for ((name, region), metrics) in policy.regions.iter().zip(states) {
            let heard = self.heard.get(name);
            let site = Site { policy, region, heard, metrics: *metrics, now };
            let told = site.told(Measures::Requests);
            let upset = told.and_then(|_| self.upset_since(&site, name));
            if let Some(since) = upset {
                let window = policy.judge.window;
                if now.since(since) <= window {
                    // It takes as long until the trouble shows.
                    self.demand.forget_after(since.minus(window));
                }
                return;
            }
            match told {
                Some(requests) => sum += requests,
                None if self.may_carry(name) => return,
                None => {}
            }
        }
        if sum >= REQUESTS_MIN {
            self.demand.push(now, Some(sum));
        }
    }

    /// Since when the requests to a region tell of its trouble and not of the demand: it carries traffic, it is bad,
    /// no counters that are wholly of that time say that its users are served, and it is not full. A crowd that a
    /// region cannot take makes it bad as well, and that is demand.
    fn upset_since(&self, site: &Site<'_>, name: &RegionName) -> Option<Timestamp> {
        let since = self.region_tracks.get(name)?.outside.bad_since?;
        let told = site.told(Measures::Requests);
        let full = told.zip(site.capacity()).is_some_and(|(rps, most)| rps > most * FULL);
        let whole = since.plus(site.policy.judge.window * 2);
        let served = self.stamped(name).is_some_and(|stamp| stamp >= whole)
            && self.picture.regions.get(name).is_some_and(|v| v.traffic.reading == Reading::Good);
        (self.may_carry(name) && !full && !served).then_some(since)
    }

    fn may_carry(&self, name: &RegionName) -> bool {
        match &self.answers {
            Answers::Split { split, .. } => split.weight(name).0 > 0,
            Answers::Drift { .. } | Answers::Unknown => true,
        }
    }
}

fn newest_stamp(heard: &Heard) -> Option<Timestamp> {
    heard.stamps.iter().filter_map(|(_, s)| s.newest).map(|(stamp, _)| stamp).max()
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
