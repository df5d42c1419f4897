//! Balancers that fail while their targets are well: which one to refresh, how it went, when to stop.

use super::{Case, Hold};
use crate::domain::{BalancerName, RegionName, Timestamp};
use crate::health::{BalancerView, Failing, Reading, RegionView};
use crate::memory::Refresh;
use crate::plan::Wanted;
use crate::policy::RefreshRules;

/// A success that fell by this much after a refresh is worse, not noise: three times the share that one
/// failed probe in a window of a minute at one probe every three seconds makes.
const WORSE_BY: f64 = 0.15;

/// Load above this part of capacity explains errors at the balancer by itself.
const FULL: f64 = 0.95;

/// What to do about balancers of one region.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Treatment {
    /// No balancer is at fault.
    None,
    /// This one is to be refreshed now.
    Refresh(Wanted, BalancerName),
    /// A refresh is being watched, or its lever waits.
    Wait(Hold, BalancerName),
    /// Refreshing has done what it may and it did not help.
    GiveUp(Hold, BalancerName),
}

pub(super) fn treatment(case: &Case<'_>, name: &RegionName, view: &RegionView) -> Treatment {
    let Some(rules) = &case.policy.refresh else { return Treatment::None };
    let faulty = faulty(case, name, view);
    let tries = |balancer: &BalancerName| -> Vec<Refresh> {
        let since = case.incident;
        let all = case.acts.refreshes.get(balancer).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|refresh| refresh.at >= since).cloned().collect()
    };
    let last = view
        .balancers
        .keys()
        .filter_map(|balancer| {
            tries(balancer).last().map(|refresh| (refresh.clone(), balancer.clone()))
        })
        .max_by_key(|(refresh, _)| refresh.at);
    if let Some((refresh, balancer)) = &last {
        let until =
            refresh.at.plus(if refresh.accepted { rules.wait } else { case.policy.judge.window });
        if refresh.accepted && got_worse(case, balancer, refresh.at) {
            return Treatment::GiveUp(
                Hold::RefreshExhausted { balancer: balancer.clone() },
                balancer.clone(),
            );
        }
        let in_trouble = view.outside.reading == Reading::Bad;
        if case.now < until && in_trouble {
            let hold = Hold::RefreshWatching { balancer: balancer.clone(), until };
            return Treatment::Wait(hold, balancer.clone());
        }
    }
    let Some(first) = faulty.first() else { return Treatment::None };
    // Untouched ones first; one that did not get well by a refresh is not refreshed again for nothing,
    // unless the call itself failed.
    let next = faulty.iter().find(|balancer| {
        let tries = tries(balancer);
        tries.len() < rules.tries_max as usize && tries.iter().all(|refresh| !refresh.accepted)
    });
    match next {
        Some(balancer) => Treatment::Refresh(
            Wanted::Refresh { balancer: balancer.clone(), region: name.clone() },
            balancer.clone(),
        ),
        None => {
            Treatment::GiveUp(Hold::RefreshExhausted { balancer: first.clone() }, first.clone())
        }
    }
}

/// Balancers at fault, in the order in which they are to be refreshed.
fn faulty(case: &Case<'_>, name: &RegionName, view: &RegionView) -> Vec<BalancerName> {
    let Some(rules) = &case.policy.refresh else { return Vec::new() };
    if view.failing != Some(Failing::Errors) || is_full(view) {
        return Vec::new();
    }
    let mut found: Vec<(BalancerName, f64)> = Vec::new();
    for balancer in case.policy.regions.get(name).into_iter().flat_map(|region| &region.balancers) {
        let Some(seen) = view.balancers.get(&balancer.name) else { continue };
        let is_bad = seen.outside == Reading::Bad && seen.still_bad;
        let sustained =
            seen.bad_since.is_some_and(|since| case.now.since(since) >= case.policy.judge.sustain);
        if !is_bad {
            continue;
        }
        if !targets_are_well(case, seen) || !is_its_own(case, seen) {
            // One bad balancer whose targets fail is explained by them: no refresh will cure it.
            return Vec::new();
        }
        if sustained {
            found.push((balancer.name.clone(), balancer.carries.get()));
        }
    }
    order(rules, &mut found);
    found.into_iter().map(|(name, _)| name).collect()
}

fn order(rules: &RefreshRules, found: &mut [(BalancerName, f64)]) {
    let place =
        |name: &BalancerName| rules.order.iter().position(|n| n == name).unwrap_or(usize::MAX);
    found.sort_by(|(a, x), (b, y)| place(a).cmp(&place(b)).then(y.total_cmp(x)).then(a.cmp(b)));
}

fn targets_are_well(case: &Case<'_>, seen: &BalancerView) -> bool {
    let accepted = 1.0 - case.policy.judge.success_below.get();
    seen.target_errors.is_some_and(|errors| errors < accepted)
        && seen
            .hosts
            .is_some_and(|hosts| hosts >= case.policy.guards.standby_healthy_hosts_min.get())
}

/// The balancer makes the errors itself: it counts them, or a part of the requests (not all) fails from
/// every side with clean counters, as with a balancer that drops requests. When everything fails and
/// nobody but the probe notices, the probe's own address or path is the likelier fault; when only some
/// vantages see it, the way from there is.
fn is_its_own(case: &Case<'_>, seen: &BalancerView) -> bool {
    let accepted = 1.0 - case.policy.judge.success_below.get();
    let counted = seen.own_errors.is_some_and(|errors| errors >= accepted / 2.0);
    let partly = seen.success.is_some_and(|success| success >= accepted / 2.0);
    counted || (partly && seen.unanimous)
}

fn is_full(view: &RegionView) -> bool {
    view.requests_rps.zip(view.capacity_rps).is_some_and(|(rps, capacity)| rps > capacity * FULL)
}

fn got_worse(case: &Case<'_>, balancer: &BalancerName, at: Timestamp) -> bool {
    // For the length of a window after the refresh the mean still holds the time before it, and the
    // refresh itself drops a few connections.
    if case.now.since(at) < case.policy.judge.window {
        return false;
    }
    let before = case.evidence.balancer_success_at(case.policy, balancer, at);
    let after = case.evidence.balancer_success_at(case.policy, balancer, case.now);
    before.zip(after).is_some_and(|(before, after)| after < before - WORSE_BY)
}
