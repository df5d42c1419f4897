//! What each vantage sees of each region, and which vantages can be believed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Reading;
use super::assess::freshness;
use super::evidence::{Evidence, Heard};
use super::picture::VantageView;
use crate::domain::{BalancerName, Timestamp, VantageName};
use crate::policy::{Class, Policy, Region};

/// A neutral place that fails more often than one time in ten says that our own network is not fit to
/// judge others.
const BEACON_GOOD: f64 = 0.9;

/// One vantage's look at one region.
pub(super) struct Look<'p> {
    pub(super) vantage: &'p VantageName,
    pub(super) reading: Reading,
    pub(super) newest_bad: bool,
    pub(super) success: Option<f64>,
    pub(super) latency: Option<f64>,
    pub(super) balancers: Vec<BalancerLook<'p>>,
}

/// By region in the order of the policy, then by vantage in the order of the policy.
pub(super) type Looks<'p> = Vec<Vec<Look<'p>>>;

impl Look<'_> {
    pub(super) fn balancer(&self, name: &BalancerName) -> Option<&BalancerLook<'_>> {
        self.balancers.iter().find(|look| look.name == name)
    }
}

pub(super) struct BalancerLook<'p> {
    pub(super) name: &'p BalancerName,
    pub(super) reading: Reading,
    pub(super) newest_bad: bool,
    pub(super) success: Option<f64>,
}

impl Evidence {
    /// Every vantage's look at every region.
    pub(super) fn looks<'p>(&self, policy: &'p Policy, now: Timestamp) -> Looks<'p> {
        let fresh = freshness(policy, Class::Outside);
        let looks = policy.regions.iter().map(|(name, region)| {
            let heard = self.heard.get(name);
            let vantages = policy.vantages.keys();
            vantages.map(|vantage| look(policy, region, heard, vantage, fresh, now)).collect()
        });
        looks.collect()
    }

    /// Which vantages cannot be believed, and which have a broken way to one region only.
    pub(super) fn vantages(
        &mut self,
        policy: &Policy,
        looks: &Looks<'_>,
        now: Timestamp,
    ) -> BTreeMap<VantageName, VantageView> {
        let mut views = std::mem::take(&mut self.picture.vantages);
        views.retain(|name, _| policy.vantages.contains_key(name));
        for vantage in policy.vantages.keys() {
            let isolated = self.is_isolated(policy, vantage, looks, now);
            let track = self.vantage_tracks.entry(vantage.clone()).or_default();
            track.take(if isolated { Reading::Bad } else { Reading::Good }, now);
            let isolated_since = track.bad_since;
            let mut broken_paths = Vec::new();
            for (region, by_vantage) in policy.regions.keys().zip(looks) {
                let alone = isolated_since.is_none()
                    && seen_by(by_vantage, vantage).is_some_and(|l| l.reading == Reading::Bad)
                    && by_vantage.len() > 1
                    && by_vantage
                        .iter()
                        .all(|look| look.vantage == vantage || look.reading == Reading::Good);
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
        looks: &Looks<'_>,
        now: Timestamp,
    ) -> bool {
        if let Some(beacon) = self.beacons.get(vantage) {
            let fresh = freshness(policy, Class::Context);
            // The newest word as well: a prober that just lost its network must not be believed for
            // the length of a window.
            let mean = beacon.mean(policy.judge.window, fresh, now);
            let newest = beacon.newest(fresh, now);
            return mean.is_some_and(|b| b < BEACON_GOOD)
                || newest.is_some_and(|b| b < BEACON_GOOD / 2.0);
        }
        // Without a beacon: it sees everything bad while most others see everything good.
        let sees = |who: &VantageName, what: Reading| {
            looks.iter().filter_map(|by| seen_by(by, who)).all(|look| look.reading == what)
        };
        let others = || policy.vantages.keys().filter(|other| *other != vantage);
        looks.len() >= 2
            && sees(vantage, Reading::Bad)
            && others().count() >= 2
            && others().filter(|other| sees(other, Reading::Good)).count() * 2 > others().count()
    }
}

fn seen_by<'l, 'p>(looks: &'l [Look<'p>], vantage: &VantageName) -> Option<&'l Look<'p>> {
    looks.iter().find(|look| look.vantage == vantage)
}

fn look<'p>(
    policy: &'p Policy,
    region: &'p Region,
    heard_of: Option<&Heard>,
    vantage: &'p VantageName,
    fresh: Duration,
    now: Timestamp,
) -> Look<'p> {
    let judge = &policy.judge;
    let limit_ms = judge.latency_above.map(|limit| limit.as_secs_f64() * 1000.0);
    let bad = |success: Option<f64>, latency: Option<f64>| {
        success.is_some_and(|s| s < judge.success_below.get())
            || limit_ms.is_some_and(|limit| latency.is_some_and(|ms| ms > limit))
    };
    let whole = region.balancers.is_empty().then_some((None, 1.0));
    let parts = region.balancers.iter().map(|b| (Some(&b.name), b.carries.get())).chain(whole);
    let (mut heard, mut success_sum, mut success_part) = (false, 0.0, 0.0);
    let (mut newest_sum, mut latency_sum, mut latency_part) = (0.0, 0.0, 0.0);
    let (mut any_bad, mut any_newest_bad) = (false, false);
    let mut balancers = Vec::with_capacity(region.balancers.len());
    // Probes of the region as a whole stand for every balancer that has none of its own.
    let probed = |balancer| heard_of.and_then(|heard| heard.probed(balancer, vantage));
    for (balancer, carries) in parts {
        let Some(series) = probed(balancer).or_else(|| probed(None)) else {
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
        if let Some(name) = balancer {
            balancers.push(BalancerLook { name, reading, newest_bad, success });
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
    Look { vantage, reading, newest_bad, success, latency, balancers }
}
