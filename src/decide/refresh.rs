//! Balancers that fail while their targets are well: which one to refresh, how it went, when to stop.

use std::time::Duration;

use super::{Case, Hold, cause, diagnose, respond};
use crate::balancer::cure::{Purpose, Step};
use crate::domain::{BalancerName, RegionName, Tally};
use crate::health::{BalancerView, Failing, Reading, RegionView};
use crate::memory::{OpenCure, Refresh};
use crate::plan::{RefreshAct, Wanted};
use crate::policy::{GiveUp, RefreshRules, Symptom};

/// Load above this part of capacity explains errors at the balancer by itself.
const FULL: f64 = 0.95;

/// A refresh that hears nothing for so long beyond its own waits, or fails so often in a row, stands still: no
/// region waits for it any longer. The same as the tries that one of its calls has.
const STALLED_FOR: Duration = Duration::from_secs(120);
const STALLED_FAILURES: u32 = 6;

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
    let other = is_something_else(case, name, view, &faulty);
    if let Some(open) = &case.acts.cure {
        return under_way(case, rules, open, name, view, &faulty, other);
    }
    if let Some(treatment) = last_one(case, rules, name, view, other) {
        return treatment;
    }
    // One that got better is left to get well while there are others to try.
    let mut next = None;
    for balancer in &faulty.sure {
        if let Some(hold) = elsewhere(case, rules, balancer) {
            return Treatment::Wait(hold, balancer.clone());
        }
        match next_act(case, rules, balancer) {
            Next::Act(act) => {
                next = Some((balancer, act));
                break;
            }
            Next::ActLater(act) => next = next.or(Some((balancer, act))),
            Next::Nothing => {}
        }
    }
    if let Some((balancer, act)) = next {
        return want(case, name, balancer, act);
    }
    if let Some(wait) = unsure(case, rules, name, view, &faulty.unsure) {
        return wait;
    }
    let left_alone = |balancer: &&BalancerName| {
        case.convicted_since(name).is_some()
            && matches!(next_act(case, rules, balancer), Next::Nothing)
    };
    let done = faulty.sure.first().or_else(|| faulty.unsure.iter().find(left_alone));
    done.map_or(Treatment::None, |balancer| give_up(case, rules, name, view, balancer))
}

/// A region that would be left is kept while a balancer explains its trouble and is not bad for long
/// enough, or not in the newest probes of enough vantages: vantages agree that a region is bad before they
/// agree which of its balancers is, and one that drops half answers every other probe. Balancers may come
/// and go by turns for ever, so this ends when one that was bad from the beginning would be sure: counted
/// from when the region could have been left, or from the end of the last refresh here.
fn unsure(
    case: &Case<'_>,
    rules: &RefreshRules,
    name: &RegionName,
    view: &RegionView,
    unsure: &[BalancerName],
) -> Option<Treatment> {
    case.convicted_since(name)?;
    let sustain = case.policy.judge.sustain;
    let refreshed = view.balancers.keys().filter_map(|balancer| tries(case, balancer).last());
    let refreshed = refreshed.map(|refresh| refresh.at.plus(rules.wait)).max();
    let began = view.bad_since.map(|since| since.plus(sustain)).max(refreshed);
    let until = began.unwrap_or(case.incident).max(case.incident).plus(sustain);
    let balancer = unsure
        .iter()
        .find(|balancer| !matches!(next_act(case, rules, balancer), Next::Nothing))
        .filter(|_| case.now < until)?;
    let hold = Hold::BalancerUnsure { balancer: balancer.clone(), until };
    Some(Treatment::Wait(hold, balancer.clone()))
}

fn want(
    case: &Case<'_>,
    region: &RegionName,
    balancer: &BalancerName,
    act: Option<RefreshAct>,
) -> Treatment {
    let before = case.evidence.tally(balancer, case.now.minus(case.policy.judge.window), case.now);
    let before = act.is_some().then_some(before);
    let (balancer, region) = (balancer.clone(), region.clone());
    Treatment::Refresh(
        Wanted::Refresh { balancer: balancer.clone(), region, act, before },
        balancer,
    )
}

/// What ails a convicted region is surely nothing that a refresh of its balancers cures: its targets fail,
/// nobody is answered at all, or the way to a balancer or its certificate is at fault.
fn is_something_else(
    case: &Case<'_>,
    name: &RegionName,
    view: &RegionView,
    faulty: &Faulty,
) -> bool {
    let accepted = 1.0 - case.policy.judge.success_below.get();
    let targets_fail = |seen: &BalancerView| seen.target_errors.is_some_and(|e| e >= accepted);
    let beyond = |seen: &BalancerView| seen.still_bad && is_beyond_refreshes(case, view, seen);
    faulty.sure.is_empty()
        && faulty.unsure.is_empty()
        && case.convicted_since(name).is_some()
        && (view.balancers.values().any(beyond)
            || view.inside.reading == Reading::Bad
            || fails_open(case, name)
            || view.balancers.values().any(targets_fail)
            || view.success.is_some_and(|success| success.get() < diagnose::DOWN_BELOW))
}

/// Refreshing has done what it may. The policy says whether the region is left then. It stays, and somebody is
/// told, where its counters know of no trouble and probes fail at all of its balancers alike: then they may be
/// what is wrong.
fn give_up(
    case: &Case<'_>,
    rules: &RefreshRules,
    name: &RegionName,
    view: &RegionView,
    balancer: &BalancerName,
) -> Treatment {
    let hold = Hold::RefreshExhausted { balancer: balancer.clone() };
    let others = view.balancers.iter().filter(|(other, _)| *other != balancer);
    let sure = case.convicted_since(name).is_some()
        || others.into_iter().any(|(_, seen)| seen.outside == Reading::Good);
    match rules.care.get(balancer).map(|care| care.give_up) {
        Some(GiveUp::Shift) | None if sure => Treatment::GiveUp(hold, balancer.clone()),
        Some(GiveUp::Shift | GiveUp::Page) | None => Treatment::Wait(hold, balancer.clone()),
    }
}

/// Refreshes of one balancer in this incident, oldest first.
fn tries<'a>(case: &'a Case<'_>, balancer: &BalancerName) -> impl Iterator<Item = &'a Refresh> {
    let since = case.incident;
    let all = case.acts.refreshes.get(balancer).map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(move |refresh| refresh.at >= since)
}

/// While one is made step by step nothing else is begun. It is turned back if it does harm. Trouble that no
/// balancer explains does not wait for it, and none waits for one that stands still.
fn under_way(
    case: &Case<'_>,
    rules: &RefreshRules,
    open: &OpenCure,
    name: &RegionName,
    view: &RegionView,
    faulty: &Faulty,
    other: bool,
) -> Treatment {
    let balancer = &open.cure.balancer;
    let here = case.policy.region_of(balancer) == Some(name);
    let harms = here
        && matches!(open.cure.purpose, Purpose::Rung(_))
        && open.cure.tally.is_some_and(|before| {
            let since = open.intended_at.max(case.now.minus(case.policy.judge.window));
            effect(before, case.evidence.tally(balancer, since, case.now)) == Effect::Worse
        });
    let stopped = case.acts.abort_at(case.now).is_some_and(|abort| {
        here && abort.at >= open.intended_at && matches!(open.cure.purpose, Purpose::Rung(_))
    });
    if harms || stopped {
        return want(case, name, balancer, Some(RefreshAct::Undo));
    }
    let explained = !faulty.sure.is_empty() || !faulty.unsure.is_empty();
    let waits = explained || (here && view.outside.reading == Reading::Bad);
    if other || !waits {
        return Treatment::None;
    }
    let patience = open.cure.steps.get(open.done).map_or(Duration::ZERO, Step::patience);
    let silent = case.now.since(open.last_at) >= patience + STALLED_FOR;
    if open.failures >= STALLED_FAILURES || silent {
        return give_up(case, rules, name, view, balancer);
    }
    let (done, steps) = (open.done, open.cure.steps.len());
    let hold = Hold::RefreshUnderWay { balancer: balancer.clone(), done, steps };
    Treatment::Wait(hold, balancer.clone())
}

/// What the newest refresh in a region asks for: to be watched, to be undone, or to stop.
fn last_one(
    case: &Case<'_>,
    rules: &RefreshRules,
    name: &RegionName,
    view: &RegionView,
    other: bool,
) -> Option<Treatment> {
    let last = view
        .balancers
        .keys()
        .filter_map(|balancer| Some((tries(case, balancer).last()?, balancer)));
    let (refresh, balancer) = last.max_by_key(|(refresh, _)| refresh.at)?;
    if refresh.undone {
        let bad = view.outside.reading == Reading::Bad;
        return Some(give_up(case, rules, name, view, balancer)).filter(|_| bad && !other);
    }
    if refresh.refused {
        return None;
    }
    let wait = if refresh.accepted { rules.wait } else { case.policy.judge.window };
    let until = refresh.at.plus(wait);
    // Later than that it is some other trouble.
    let window = case.policy.judge.window;
    let blamed = case.now <= refresh.at.plus(wait.max(window) + window);
    if refresh.accepted && blamed && effect_of(case, balancer, refresh) == Effect::Worse {
        return Some(if case.acts.cured.contains_key(balancer) {
            want(case, name, balancer, Some(RefreshAct::Undo))
        } else {
            give_up(case, rules, name, view, balancer)
        });
    }
    let in_trouble = view.outside.reading == Reading::Bad && !other;
    (case.now < until && in_trouble).then(|| {
        let hold = Hold::RefreshWatching { balancer: balancer.clone(), until };
        Treatment::Wait(hold, balancer.clone())
    })
}

/// What may be tried next on one balancer.
enum Next {
    Act(Option<RefreshAct>),
    /// If there is nothing to try on another.
    ActLater(Option<RefreshAct>),
    Nothing,
}

fn next_act(case: &Case<'_>, rules: &RefreshRules, balancer: &BalancerName) -> Next {
    let tries: Vec<&Refresh> = tries(case, balancer).collect();
    // One that could not even be planned touched nothing, and counts as no try.
    let made = tries.iter().filter(|refresh| !refresh.refused).count();
    if made >= rules.tries_max as usize || made_lately(case, balancer) >= lately_max(rules) {
        return Next::Nothing;
    }
    let Some(allowed) = rules.care.get(balancer) else {
        // Untouched ones only: one that did not get well by a refresh is not refreshed again for
        // nothing, unless the call itself failed.
        let untouched = tries.iter().all(|refresh| !refresh.accepted);
        return if untouched { Next::Act(None) } else { Next::Nothing };
    };
    if tries.iter().any(|refresh| refresh.undone) {
        return Next::Nothing;
    }
    // What was taken back without having done harm is over as well: the next rung may do better.
    let over = |refresh: &&&Refresh| refresh.accepted || refresh.refused || refresh.withdrawn;
    let taken = tries.iter().filter(over).count();
    let Some(rung) = allowed.rungs.get(taken) else { return Next::Nothing };
    let act = Some(RefreshAct::Rung(rung.kind()));
    let last = tries.iter().rev().find(|refresh| refresh.accepted);
    match last.map(|refresh| effect_of(case, balancer, refresh)) {
        Some(Effect::Better) => Next::ActLater(act),
        Some(Effect::None | Effect::Worse) | None => Next::Act(act),
    }
}

/// Incidents may follow each other all day, each with its tries: so many refreshes within the time of the latch
/// are the most for one balancer.
const fn lately_max(rules: &RefreshRules) -> usize {
    2 * rules.tries_max as usize
}

/// Another service refreshes the same balancer: its effect is waited for as that of our own. One of which
/// nothing is heard any more is not waited for.
fn elsewhere(case: &Case<'_>, rules: &RefreshRules, balancer: &BalancerName) -> Option<Hold> {
    let until = case.elsewhere.get(balancer)?.newest?.plus(rules.wait);
    let balancer = balancer.clone();
    (case.now < until).then_some(Hold::RefreshWatching { balancer, until })
}

fn made_lately(case: &Case<'_>, balancer: &BalancerName) -> usize {
    let since = case.now.minus(case.policy.guards.latch_window);
    let others =
        case.elsewhere.get(balancer).map(|other| other.made.as_slice()).unwrap_or_default();
    let others = others.iter().filter(|at| **at > since).count();
    let all = case.acts.refreshes.get(balancer).map(Vec::as_slice).unwrap_or_default();
    others + all.iter().filter(|refresh| !refresh.refused && refresh.at > since).count()
}

/// What a refresh did to a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Better,
    /// Nothing that could be told from chance.
    None,
    Worse,
}

/// The effect of a refresh that is over, by the last window against the one before it began.
fn effect_of(case: &Case<'_>, balancer: &BalancerName, refresh: &Refresh) -> Effect {
    let window = case.policy.judge.window;
    // For the length of a window after the refresh what is counted still holds the time of it, and the
    // refresh itself drops a few connections.
    if case.now.since(refresh.at) < window {
        return Effect::None;
    }
    let began = refresh.began.unwrap_or(refresh.at);
    let before =
        refresh.before.unwrap_or_else(|| case.evidence.tally(balancer, began.minus(window), began));
    effect(before, case.evidence.tally(balancer, case.now.minus(window), case.now))
}

/// The standard normal quantile of 99.5%: a difference counts if chance alone would show it once in a
/// hundred comparisons. Not 95%: the comparison is made anew each round while a refresh is watched, and
/// probes of one balancer fail in runs, which makes them fewer than they seem.
const SURE: f64 = 2.576;

/// Compares two shares of failed probes, each of a few dozen tries, with the noise known: Newcombe's
/// interval for the difference of two proportions (R. G. Newcombe, "Interval estimation for the difference
/// between independent proportions", Statistics in Medicine 17, 1998, method 10), made from the two Wilson
/// score intervals. The plain difference with its normal error, and a fixed threshold as well, fail where
/// it matters here: with none or all of twenty tries failed they find an error of zero, and call the next
/// single failure a change. This one widens as tries get fewer, and without tries says nothing.
fn effect(before: Tally, after: Tally) -> Effect {
    if before.all < 1.0 || after.all < 1.0 {
        return Effect::None;
    }
    let (p, low_p, high_p) = wilson(before);
    let (q, low_q, high_q) = wilson(after);
    let rise = q - p;
    let least = rise - ((q - low_q).powi(2) + (high_p - p).powi(2)).sqrt();
    let most = rise + ((high_q - q).powi(2) + (p - low_p).powi(2)).sqrt();
    if least > 0.0 {
        Effect::Worse
    } else if most < 0.0 {
        Effect::Better
    } else {
        Effect::None
    }
}

/// The share of failures with its Wilson score interval.
fn wilson(tally: Tally) -> (f64, f64, f64) {
    let n = tally.all;
    let p = (1.0 - tally.well / n).clamp(0.0, 1.0);
    let square = SURE * SURE / n;
    let middle = (p + square / 2.0) / (1.0 + square);
    let spread = SURE * (p * (1.0 - p) / n + square / (4.0 * n)).sqrt() / (1.0 + square);
    (p, (middle - spread).max(0.0), (middle + spread).min(1.0))
}

/// Balancers at fault, in the order in which they are to be refreshed.
#[derive(Default)]
struct Faulty {
    /// Bad for long enough, and in the newest probes still.
    sure: Vec<BalancerName>,
    unsure: Vec<BalancerName>,
}

fn faulty(case: &Case<'_>, name: &RegionName, view: &RegionView) -> Faulty {
    let Some(rules) = &case.policy.refresh else { return Faulty::default() };
    if view.failing != Some(Failing::Errors) || is_full(view) || hangs(case, name, view) {
        return Faulty::default();
    }
    if fails_open(case, name) {
        return Faulty::default();
    }
    let (mut sure, mut unsure) = (Vec::new(), Vec::new());
    let mut others = false;
    for balancer in case.policy.regions.get(name).into_iter().flat_map(|region| &region.balancers) {
        let Some(seen) = view.balancers.get(&balancer.name) else { continue };
        if seen.outside != Reading::Bad {
            continue;
        }
        let sustained =
            seen.bad_since.is_some_and(|since| case.now.since(since) >= case.policy.judge.sustain);
        let curable = targets_are_well(case, seen) && !is_beyond_refreshes(case, view, seen);
        if !curable || !is_its_own(case, seen) {
            // Whether trouble is a balancer's own shows later than the trouble: not every vantage sees it at once,
            // and its counters come late. Until then it speaks neither for a refresh nor against one.
            if curable && !sustained {
                continue;
            }
            if seen.still_bad {
                // One bad balancer whose targets fail is explained by them: no refresh will cure it.
                return Faulty::default();
            }
            others = true;
            continue;
        }
        let found = if seen.still_bad && sustained { &mut sure } else { &mut unsure };
        found.push((balancer.name.clone(), balancer.carries.get()));
    }
    if others {
        // Not all of the trouble is the balancers' own: no reason to wait.
        unsure.clear();
    }
    Faulty { sure: order(rules, sure), unsure: order(rules, unsure) }
}

fn order(rules: &RefreshRules, mut found: Vec<(BalancerName, f64)>) -> Vec<BalancerName> {
    let place =
        |name: &BalancerName| rules.order.iter().position(|n| n == name).unwrap_or(usize::MAX);
    found.sort_by(|(a, x), (b, y)| place(a).cmp(&place(b)).then(y.total_cmp(x)).then(a.cmp(b)));
    found.into_iter().map(|(name, _)| name).collect()
}

/// How its probes fail is something that no refresh changes.
fn is_beyond_refreshes(case: &Case<'_>, view: &RegionView, seen: &BalancerView) -> bool {
    cause::of(case.policy, view, seen).is_some_and(cause::Cause::is_cured_by_no_refresh)
}

/// Balancers there send requests to targets of which none is healthy: no refresh makes one well.
pub(super) fn fails_open(case: &Case<'_>, name: &RegionName) -> bool {
    case.evidence.symptoms(case.policy, name, case.now).contains(&Symptom::FailOpen)
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

/// Nobody is answered, or only after longer than the policy allows: what the balancers count then are targets
/// or a network that do not answer them. With somewhere to go this is no time to try a refresh.
fn hangs(case: &Case<'_>, name: &RegionName, view: &RegionView) -> bool {
    let late = view.latency_ms.zip(case.policy.judge.latency_above);
    let slow = late.is_some_and(|(ms, above)| ms > above.as_secs_f64() * 1000.0);
    let silent = view.latency_ms.is_none()
        && view.success.is_some_and(|success| success.get() < diagnose::DOWN_BELOW);
    let refuge = || {
        let mut serving = case.policy.serving();
        serving.any(|(other, _)| other != name && respond::is_fit(case, other))
    };
    slow || (silent && refuge())
}

fn is_full(view: &RegionView) -> bool {
    view.requests_rps.zip(view.capacity_rps).is_some_and(|(rps, capacity)| rps > capacity * FULL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(failed: f64, all: f64) -> Tally {
        Tally { well: all - failed, all }
    }

    #[test]
    fn a_change_is_believed_only_beyond_what_chance_shows() {
        for (before, after, expected) in [
            // One or two more failures among few are chance, also where there were none before.
            (failed(0.0, 20.0), failed(2.0, 20.0), Effect::None),
            (failed(20.0, 20.0), failed(18.0, 20.0), Effect::None),
            (failed(6.0, 20.0), failed(10.0, 20.0), Effect::None),
            (failed(6.0, 20.0), failed(17.0, 20.0), Effect::Worse),
            (failed(12.0, 20.0), failed(0.0, 20.0), Effect::Better),
            (failed(0.0, 20.0), failed(9.0, 20.0), Effect::Worse),
            // The same shares say more when more was tried.
            (failed(60.0, 200.0), failed(100.0, 200.0), Effect::Worse),
            (failed(0.0, 0.0), failed(20.0, 20.0), Effect::None),
            (failed(1.0, 1.0), failed(0.0, 1.0), Effect::None),
        ] {
            assert_eq!(effect(before, after), expected, "{before:?} {after:?}");
            let turned = match expected {
                Effect::Better => Effect::Worse,
                Effect::None => Effect::None,
                Effect::Worse => Effect::Better,
            };
            assert_eq!(effect(after, before), turned, "{after:?} {before:?}");
        }
    }

    #[test]
    fn with_equal_luck_hardly_one_comparison_in_a_hundred_finds_a_change() {
        // Every outcome of two dozen tries, with the probability that chance gives it.
        let n = 24_u32;
        for p in [0.02_f64, 0.1, 0.3, 0.5] {
            let mut chance = vec![(1.0 - p).powi(24)];
            for k in 1..=n {
                let last = chance[k as usize - 1];
                chance.push(last * f64::from(n - k + 1) / f64::from(k) * p / (1.0 - p));
            }
            let mut wrong = 0.0;
            for (a, pa) in chance.iter().enumerate() {
                for (b, pb) in chance.iter().enumerate() {
                    #[expect(clippy::cast_precision_loss, reason = "at most 24")]
                    let (a, b) = (failed(a as f64, 24.0), failed(b as f64, 24.0));
                    if effect(a, b) != Effect::None {
                        wrong += pa * pb;
                    }
                }
            }
            assert!(wrong < 0.015, "{p}: {wrong}");
        }
    }
}
