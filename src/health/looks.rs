//! What each vantage sees of each region, and which vantages can be believed.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Reading;
use super::assess::freshness;
use super::evidence::{Evidence, Heard};
use super::picture::VantageView;
use crate::domain::{BalancerName, Timestamp, VantageName};
use crate::policy::{Class, Policy, Region};

/// A neutral place that fails more often than one time in ten, or than a region may, says that our own network is
/// not fit to judge others.
const BEACON_GOOD: f64 = 0.9;

/// One vantage's look at one region.
pub(super) struct Look<'p> {
    pub(super) vantage: &'p VantageName,
    pub(super) reading: Reading,
    pub(super) newest_bad: bool,
    pub(super) success: Option<f64>,
    pub(super) latency: Option<f64>,
    /// Its vantage cannot be believed.
    pub(super) isolated: bool,
    /// Where its balancers begin and end in [`Looks::balancers`].
    balancers: Range<usize>,
}

/// By region in the order of the policy, then by vantage in the order of the policy: two lists for all,
/// because there is one for every round.
pub(super) struct Looks<'p> {
    all: Vec<Look<'p>>,
    balancers: Vec<BalancerLook<'p>>,
    vantages: usize,
}

impl<'p> Looks<'p> {
    /// The looks of all vantages at the region with this place in the policy.
    pub(super) fn at(&self, region: usize) -> &[Look<'p>] {
        &self.all[region * self.vantages..(region + 1) * self.vantages]
    }

    fn regions(&self) -> usize {
        self.all.len().checked_div(self.vantages).unwrap_or(0)
    }

    pub(super) fn balancers(&self, look: &Look<'p>) -> &[BalancerLook<'p>] {
        &self.balancers[look.balancers.clone()]
    }

    /// What one look tells of one balancer.
    pub(super) fn balancer(
        &self,
        look: &Look<'p>,
        name: &BalancerName,
    ) -> Option<&BalancerLook<'p>> {
        self.balancers(look).iter().find(|look| look.name == name)
    }

    fn set_isolated(&mut self, vantage: usize, isolated: bool) {
        for look in self.all.iter_mut().skip(vantage).step_by(self.vantages) {
            look.isolated = isolated;
        }
    }

    /// True if the vantage with this place in the policy has the same reading of every region.
    fn sees(&self, vantage: usize, what: Reading) -> bool {
        self.all.iter().skip(vantage).step_by(self.vantages).all(|look| look.reading == what)
    }

    /// True if it sees a region bad that all others see good.
    fn alone_sees_bad(&self, vantage: usize, region: usize) -> bool {
        let looks = self.at(region);
        looks[vantage].reading == Reading::Bad
            && looks.len() > 1
            && looks
                .iter()
                .enumerate()
                .all(|(place, look)| place == vantage || look.reading == Reading::Good)
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
        let since = Since {
            window: now.minus(policy.judge.window),
            fresh: now.minus(freshness(policy, Class::Outside)),
        };
        let vantages = policy.vantages.len();
        let mut all = Vec::with_capacity(policy.regions.len() * vantages);
        let mut balancers = Vec::new();
        for (name, region) in &policy.regions {
            let heard = self.heard.get(name);
            balancers.reserve(region.balancers.len() * vantages);
            for vantage in policy.vantages.keys() {
                all.push(look(policy, region, heard, vantage, since, &mut balancers));
            }
        }
        Looks { all, balancers, vantages }
    }

    /// Which vantages cannot be believed, and which have a broken way to one region only.
    pub(super) fn vantages(
        &mut self,
        policy: &Policy,
        looks: &mut Looks<'_>,
        now: Timestamp,
    ) -> BTreeMap<VantageName, VantageView> {
        let mut views = std::mem::take(&mut self.picture.vantages);
        if !views.keys().eq(policy.vantages.keys()) {
            views.retain(|name, _| policy.vantages.contains_key(name));
        }
        for (place, vantage) in policy.vantages.keys().enumerate() {
            let isolated = self.is_isolated(policy, vantage, place, looks, now);
            let tracks = self.vantage_tracks.of(vantage);
            tracks.own.take(if isolated { Reading::Bad } else { Reading::Good }, now);
            let isolated_since = tracks.own.bad_since;
            let mut broken_paths = Vec::new();
            for (at, region) in policy.regions.keys().enumerate() {
                let alone = isolated_since.is_none() && looks.alone_sees_bad(place, at);
                let track = tracks.paths.of(region);
                track.take(if alone { Reading::Bad } else { Reading::Good }, now);
                broken_paths.extend(track.bad_since.map(|since| (region.clone(), since)));
            }
            let view = VantageView { isolated_since, broken_paths };
            looks.set_isolated(place, isolated_since.is_some());
            match views.get_mut(vantage) {
                Some(was) => *was = view,
                None => drop(views.insert(vantage.clone(), view)),
            }
        }
        views
    }

    fn is_isolated(
        &self,
        policy: &Policy,
        vantage: &VantageName,
        place: usize,
        looks: &Looks<'_>,
        now: Timestamp,
    ) -> bool {
        if let Some(beacon) = self.beacons.get(vantage) {
            // The newest word as well: a prober that just lost its network must not be believed for
            // the length of a window.
            let fresh_from = now.minus(freshness(policy, Class::Context));
            let mean = beacon.mean(now.minus(policy.judge.window), fresh_from);
            let newest = beacon.newest(fresh_from);
            let good = BEACON_GOOD.max(policy.judge.success_below.get());
            return mean.is_some_and(|b| b < good) || newest.is_some_and(|b| b < BEACON_GOOD / 2.0);
        }
        // Without a beacon: it sees everything bad while most others see everything good.
        let others = looks.vantages - 1;
        let see_good = |other: &usize| *other != place && looks.sees(*other, Reading::Good);
        looks.regions() >= 2
            && looks.sees(place, Reading::Bad)
            && others >= 2
            && (0..looks.vantages).filter(see_good).count() * 2 > others
    }
}

/// What is older than this does not count: for a mean, and at all.
#[derive(Clone, Copy)]
struct Since {
    window: Timestamp,
    fresh: Timestamp,
}

fn look<'p>(
    policy: &'p Policy,
    region: &'p Region,
    heard_of: Option<&Heard>,
    vantage: &'p VantageName,
    since: Since,
    balancers: &mut Vec<BalancerLook<'p>>,
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
    let first = balancers.len();
    // Probes of the region as a whole stand for every balancer that has none of its own.
    let probed = |balancer| heard_of.and_then(|heard| heard.probed(balancer, vantage));
    for (balancer, carries) in parts {
        let Some(series) = probed(balancer).or_else(|| probed(None)) else {
            continue;
        };
        let success = series.success.mean(since.window, since.fresh);
        let latency = series.latency.mean(since.window, since.fresh);
        let newest = series.success.newest(since.fresh);
        let newest_latency = series.latency.newest(since.fresh);
        heard |= series.success.heard_at().is_some_and(|at| at >= since.fresh);
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
    let balancers = first..balancers.len();
    Look { vantage, reading, newest_bad, success, latency, isolated: false, balancers }
}
