//! What each vantage sees of each region, and which vantages can be believed.

use std::collections::BTreeMap;

use super::Reading;
use super::assess::freshness;
use super::evidence::Evidence;
use super::picture::VantageView;
use crate::domain::{BalancerName, RegionName, Timestamp, VantageName};
use crate::policy::{Class, Policy};

/// A neutral place that fails more often than one time in ten says that our own network is not fit to
/// judge others.
const BEACON_GOOD: f64 = 0.9;

/// One vantage's look at one region.
pub(super) struct Look {
    pub(super) reading: Reading,
    pub(super) newest_bad: bool,
    pub(super) success: Option<f64>,
    pub(super) latency: Option<f64>,
    pub(super) balancers: BTreeMap<BalancerName, BalancerLook>,
}

pub(super) struct BalancerLook {
    pub(super) reading: Reading,
    pub(super) newest_bad: bool,
    pub(super) success: Option<f64>,
}

impl Evidence {
    /// Every vantage's look at every region.
    pub(super) fn looks(
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

    pub(super) fn look(
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
    pub(super) fn vantages(
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

    pub(super) fn is_isolated(
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
}
