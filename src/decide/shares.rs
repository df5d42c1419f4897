//! Shares of the answers: what records and gates together make of the weights, and where traffic fits.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{InAnswers, RegionName, Split};
use crate::health::Picture;
use crate::policy::{Overflow, Policy, Role};
use crate::steer::{Health, weighted};

/// Part of the answers by region; the parts add up to 1.
pub(super) type Shares = BTreeMap<RegionName, f64>;

/// Shares closer than this are the same. Route 53 hands out weights as integers.
pub(super) const SAME: f64 = 0.02;

/// Shares as Route 53 hands them out, after the switches that stand. A region with slots has a record
/// for each of them, and as many as every other region.
pub fn effective(
    split: &Split,
    switches: &BTreeMap<RegionName, InAnswers>,
) -> BTreeMap<RegionName, f64> {
    let stands = |region: &RegionName| switches.get(region).copied().unwrap_or(InAnswers::In);
    let slots = switches.values().map(|stands| match stands {
        InAnswers::Part { of, .. } => usize::from(*of),
        InAnswers::In | InAnswers::Out => 1,
    });
    let slots = slots.max().unwrap_or(1);
    let records = split.weights().iter().flat_map(|(region, weight)| {
        let closed = stands(region).closed(slots);
        (0..slots).map(move |slot| (region.clone(), weight.0, Health::of(slot >= closed)))
    });
    weighted(records)
}

/// The largest difference that any region sees.
pub(super) fn distance(a: &Shares, b: &Shares) -> f64 {
    let of = |shares: &Shares, region: &RegionName| shares.get(region).copied().unwrap_or(0.0);
    a.keys().chain(b.keys()).map(|region| (of(a, region) - of(b, region)).abs()).fold(0.0, f64::max)
}

/// Where traffic goes when `sick` regions are to be left.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Allocation {
    pub(super) shares: Shares,
    /// Requests per second that fit nowhere and stay where they are.
    pub(super) unplaced_rps: f64,
}

/// Requests per second that a region may be given: what it can take less what stays free.
pub(super) fn room(policy: &Policy, picture: &Picture, region: &RegionName) -> Option<f64> {
    let capacity = picture.regions.get(region)?.capacity_rps?;
    Some(capacity * (1.0 - policy.shift.spare.get()))
}

/// What must fit somewhere, if anything tells.
pub(super) fn demand(policy: &Policy, picture: &Picture) -> Option<f64> {
    picture.demand_rps.or(policy.shift.demand_rps)
}

/// Spreads all traffic over `fit` regions: first over those that carry some on a calm day, in that
/// proportion, then over standbys, the roomiest first. What fits nowhere stays where it is now.
pub(super) fn allocate(
    policy: &Policy,
    picture: &Picture,
    fit: &BTreeSet<RegionName>,
    now: &Shares,
) -> Option<Allocation> {
    if fit.is_empty() {
        return None;
    }
    let all = demand(policy, picture);
    let room_share = |region: &RegionName| match (all, room(policy, picture, region)) {
        (Some(all), Some(room)) if all > 0.0 => room / all,
        _ => f64::INFINITY,
    };
    let mut shares: Shares = policy.regions.keys().map(|region| (region.clone(), 0.0)).collect();
    let mut left = 1.0;
    let carrying = fit.iter().filter_map(|region| {
        let weight = policy.regions.get(region)?.weight.0;
        (weight > 0).then(|| (region.clone(), f64::from(weight)))
    });
    left = pour(&mut shares, left, carrying.collect(), &room_share);
    let mut standbys: Vec<&RegionName> = fit
        .iter()
        .filter(|region| {
            policy
                .regions
                .get(*region)
                .is_some_and(|r| r.weight.0 == 0 && r.role != Role::LastResort)
        })
        .collect();
    standbys.sort_by(|a, b| room_share(b).total_cmp(&room_share(a)).then(a.cmp(b)));
    for standby in standbys {
        left = pour(&mut shares, left, vec![(standby.clone(), 1.0)], &room_share);
    }
    let unplaced = if left > 1e-9 { left } else { 0.0 };
    if unplaced > 0.0 {
        stay(&mut shares, unplaced, fit, now);
    }
    Some(Allocation { shares, unplaced_rps: unplaced * all.unwrap_or(0.0) })
}

/// Pours `left` into regions in proportion to their parts, none above its room. Returns what is left.
fn pour(
    shares: &mut Shares,
    mut left: f64,
    mut open: Vec<(RegionName, f64)>,
    room: &dyn Fn(&RegionName) -> f64,
) -> f64 {
    // Every pass fills at least one region, so there are no more passes than regions.
    while left > 1e-9 && !open.is_empty() {
        let sum: f64 = open.iter().map(|(_, part)| part).sum();
        let before = left;
        let mut still = Vec::new();
        for (region, part) in &open {
            let want = before * part / sum;
            let have = shares.get(region).copied().unwrap_or(0.0);
            let give = want.min((room(region) - have).max(0.0));
            *shares.entry(region.clone()).or_default() += give;
            left -= give;
            if give >= want - 1e-12 {
                still.push((region.clone(), *part));
            }
        }
        if still.len() == open.len() {
            break;
        }
        open = still;
    }
    left.max(0.0)
}

/// What fits nowhere stays with those that carry it now, in proportion, and none of them gets more than it
/// has: a destination that became too small sends nothing back to where nothing works. The rest is for the
/// fit ones to bear.
fn stay(shares: &mut Shares, unplaced: f64, fit: &BTreeSet<RegionName>, now: &Shares) {
    let others: Vec<(&RegionName, f64)> = now
        .iter()
        .filter(|(region, share)| !fit.contains(*region) && **share > 0.0)
        .map(|(r, s)| (r, *s))
        .collect();
    let sum: f64 = others.iter().map(|(_, share)| share).sum();
    let kept = unplaced.min(sum);
    let rest = unplaced - kept;
    let placed: f64 = shares.values().sum();
    for region in fit {
        let has = shares.entry(region.clone()).or_default();
        let of_rest = if placed > 1e-9 {
            *has / placed
        } else {
            now.get(region).map_or(0.0, |share| share / (1.0 - sum).max(1e-9))
        };
        *has += rest * of_rest;
    }
    for (region, share) in others {
        *shares.entry(region.clone()).or_default() += kept * share / sum;
    }
}

/// Whether a part may move where not all fits.
pub(super) fn may_spill(policy: &Policy) -> bool {
    match policy.shift.overflow {
        Overflow::Spill => true,
        Overflow::Hold => false,
    }
}

/// `eu-west-1` from 100% to 0%, and so on: the regions whose share changes.
pub(super) fn changes(from: &Split, to: &Split) -> String {
    let percent = |split: &Split, name: &RegionName| (split.share(name).get() * 100.0).round();
    let names: BTreeSet<&RegionName> = from.weights().keys().chain(to.weights().keys()).collect();
    let changed = names.into_iter().filter_map(|name| {
        let (before, after) = (percent(from, name), percent(to, name));
        // Exactly what is printed.
        (before.to_bits() != after.to_bits())
            .then(|| format!("`{name}` from {before}% to {after}%"))
    });
    changed.collect::<Vec<_>>().join(", ")
}
