//! The instruments inside a region: whether they speak, of the present, and what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Answers;
use super::assess::{REQUESTS_MIN, freshness};
use super::evidence::{Evidence, Metered, Stamps};
use super::picture::{BalancerView, Instruments, Lag};
use crate::domain::{BalancerName, RegionName, SignalName, Timestamp};
use crate::policy::{Class, Measures, Policy, Region};

impl Evidence {
    pub(super) fn hosts(
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

    pub(super) fn capacity(
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
        let last = self.metered(name, None, Measures::Capacity).and_then(|m| m.series.last_known());
        match (last.map(|(_, capacity)| capacity), region.capacity_rps) {
            (Some(last), Some(declared)) => Some(last.min(declared)),
            (last, declared) => last.or(declared),
        }
    }

    pub(super) fn lag(&self, name: &RegionName, metrics: Instruments) -> Lag {
        let Some(metered) = self.metered(name, None, Measures::ReplicationLag) else {
            return Lag::Absent;
        };
        match metrics {
            Instruments::Usable => {
                metered.series.points_newest().map_or(Lag::Absent, |newest| match newest {
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
    pub(super) fn instruments(
        &mut self,
        policy: &Policy,
        name: &RegionName,
        now: Timestamp,
    ) -> Instruments {
        let mut result = Instruments::None;
        for (signal, stamps) in self.heard.get_mut(name).into_iter().flat_map(|h| &mut h.stamps) {
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

    pub(super) fn told(
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
    pub(super) fn number(
        &self,
        policy: &Policy,
        name: &RegionName,
        measures: Measures,
        now: Timestamp,
    ) -> Option<f64> {
        if let Some(metered) = self.metered(name, None, measures) {
            return metered.series.newest(heard_for(policy, &metered.signal), now);
        }
        let region = policy.regions.get(name)?;
        let mut sum = None;
        for balancer in &region.balancers {
            let metered = self.metered(name, Some(&balancer.name), measures)?;
            let value = metered.series.newest(heard_for(policy, &metered.signal), now)?;
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

    pub(super) fn mean_of(
        &self,
        policy: &Policy,
        name: &RegionName,
        balancer: Option<&BalancerName>,
        measures: Measures,
        now: Timestamp,
    ) -> Option<f64> {
        let metered = self.metered(name, balancer, measures)?;
        metered.series.mean(policy.judge.window, heard_for(policy, &metered.signal), now)
    }

    fn metered(
        &self,
        name: &RegionName,
        balancer: Option<&BalancerName>,
        measures: Measures,
    ) -> Option<&Metered> {
        self.heard.get(name)?.metered(balancer, measures)
    }

    pub(super) fn stamp_age(&self, name: &RegionName, now: Timestamp) -> Option<Duration> {
        self.stamped(name).map(|stamp| now.since(stamp))
    }

    /// When the newest metrics of a region were taken, by their own stamps.
    pub fn stamped(&self, name: &RegionName) -> Option<Timestamp> {
        let stamps = &self.heard.get(name)?.stamps;
        stamps.iter().filter_map(|(_, s)| s.newest).map(|(stamp, _)| stamp).max()
    }

    /// Three answers in one: bad, good, or no such signal.
    pub(super) fn verdict(
        &self,
        policy: &Policy,
        name: &RegionName,
        class: Class,
        now: Timestamp,
    ) -> Option<bool> {
        let mut heard = None;
        for (_, of, series) in self.heard.get(name).into_iter().flat_map(|h| &h.verdicts) {
            if *of == class {
                let newest = series.newest(freshness(policy, class), now);
                heard = newest.map(|v| v > 0.5).or(heard).map(|bad| bad || heard == Some(true));
            }
        }
        heard
    }

    /// What must fit somewhere: the sum over the regions that carry traffic, if all of them speak.
    pub(super) fn hear_demand(&mut self, policy: &Policy, states: &[Instruments], now: Timestamp) {
        let mut sum = 0.0;
        for (name, state) in policy.regions.keys().zip(states) {
            let requests = match state {
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

    pub(super) fn may_carry(&self, name: &RegionName) -> bool {
        match &self.answers {
            Answers::Split { split, .. } => split.weight(name).0 > 0,
            Answers::Drift { .. } | Answers::Unknown => true,
        }
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

fn heard_for(policy: &Policy, signal: &SignalName) -> Duration {
    policy.signals.get(signal).map_or(Duration::from_secs(180), |s| s.fresh_for)
}
