//! What may not happen now, and why. A guard can only take away.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Hold;
use super::shares::{Shares, effective};
use crate::domain::{RegionName, Timestamp, backoff};
use crate::health::{Lag, Picture};
use crate::memory::{Acts, LeverState};
use crate::plan::Purpose;
use crate::policy::{BlockedWindow, LeverKind, Mode, Policy};
use crate::ports::CallFailed;

/// First pause after a failed call, and the longest. A service that fails is asked again within two
/// minutes, so that its return is used; at most ten calls go out in ten minutes.
const RETRY_FIRST: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(120);

/// A service that throttles wants fewer calls, but its bucket may be full again in a second (Route 53
/// refills ten requests and a hundred changes a second): the first pause is short, and doubles up to five
/// minutes.
const RETRY_THROTTLED_FIRST: Duration = Duration::from_secs(30);
const RETRY_THROTTLED_MAX: Duration = Duration::from_secs(300);

/// A switch in the data plane that did not answer: to turn it again does no harm, and it may be the only
/// lever that is left.
const RETRY_SWITCH_FIRST: Duration = Duration::from_secs(5);
const RETRY_SWITCH_MAX: Duration = Duration::from_secs(60);

/// What is about to be done, as far as guards care.
pub(super) struct Intent<'a> {
    pub(super) purpose: Purpose,
    /// Regions that would get more than they have.
    pub(super) gaining: &'a BTreeSet<RegionName>,
}

/// Every reason that speaks against it. Empty: it may be done.
pub(super) fn objections(
    policy: &Policy,
    acts: &Acts,
    picture: &Picture,
    intent: &Intent<'_>,
    now: Timestamp,
) -> Vec<Hold> {
    let mut holds = Vec::new();
    if let Some(pin) = acts.pin_at(now) {
        let (by, reason) = (pin.by.clone(), pin.reason.clone());
        holds.push(Hold::Pinned { by, reason, until: pin.until });
    }
    if let Some(abort) = acts.abort_at(now) {
        let (by, reason) = (abort.by.clone(), abort.reason.clone());
        holds.push(Hold::Aborted { by, reason, since: abort.at, until: abort.until });
    }
    holds.extend(latch(policy, acts));
    holds.extend(budget(policy, acts, intent.purpose, now));
    let approved = is_approved(acts, now);
    if let Some(since) = acts.denied_at {
        holds.push(Hold::Denied { since });
    } else if !approved {
        if let Some(why) = &policy.guards.needs_approval {
            holds.push(Hold::ApprovalNeeded { why: why.clone() });
        } else if policy.mode == Mode::Approve {
            holds.push(Hold::ApprovalNeeded { why: "mode is `approve`".to_owned() });
        }
        holds.extend(lag(policy, picture, intent.gaining));
    }
    if let Some(window) = policy.guards.blocked.iter().find(|window| is_within(window, now))
        && !approved
    {
        holds.push(Hold::Blocked { window: window.text.clone() });
    }
    match policy.mode {
        Mode::Observe | Mode::Advise => holds.push(Hold::ModeObserves { mode: policy.mode }),
        Mode::Approve | Mode::Auto => {}
    }
    holds
}

pub(super) fn is_approved(acts: &Acts, now: Timestamp) -> bool {
    acts.approved.as_ref().is_some_and(|approval| approval.until.is_none_or(|until| now < until))
}

fn latch(policy: &Policy, acts: &Acts) -> Option<Hold> {
    let since_opened = |at: Timestamp| acts.unlatched_at.is_none_or(|opened| at > opened);
    let turns: Vec<Timestamp> = turns(acts).into_iter().filter(|at| since_opened(*at)).collect();
    let latest = *turns.last()?;
    let within = turns.iter().filter(|at| latest.since(**at) < policy.guards.latch_window).count();
    (within >= policy.guards.latch_after as usize).then_some(Hold::Latched { since: latest })
}

/// When traffic turned, by the answers: moves that go on in the direction of the one before are one shift. A move that
/// was torn half-way turned it as well, and so did putting it back.
fn turns(acts: &Acts) -> Vec<Timestamp> {
    let mut turns = Vec::new();
    let (mut gained, mut lost) = (BTreeSet::new(), BTreeSet::new());
    let mut moves: Vec<_> = acts.shifts.iter().chain(&acts.torn).collect();
    moves.sort_by_key(|shift| shift.at);
    for shift in moves {
        let (from, to) =
            (effective(&shift.from, &shift.closed), effective(&shift.to, &shift.closed));
        let change = |region: &RegionName| {
            let of = |shares: &Shares| shares.get(region).copied().unwrap_or_default();
            of(&to) - of(&from)
        };
        let regions = || to.keys().chain(from.keys());
        let up: BTreeSet<_> =
            regions().filter(|r| change(r) >= super::shares::SAME).cloned().collect();
        let down: BTreeSet<_> =
            regions().filter(|r| change(r) <= -super::shares::SAME).cloned().collect();
        if up.is_empty() && down.is_empty() {
            continue;
        }
        if turns.is_empty() || !up.is_disjoint(&lost) || !down.is_disjoint(&gained) {
            turns.push(shift.at);
            (gained, lost) = (up, down);
        } else {
            gained.extend(up);
            lost.extend(down);
        }
    }
    turns
}

/// Cooldown and shifts per window. Going on in the same direction is the same shift.
fn budget(policy: &Policy, acts: &Acts, purpose: Purpose, now: Timestamp) -> Vec<Hold> {
    let mut holds = Vec::new();
    match purpose {
        Purpose::Ramp | Purpose::Repair => return holds,
        Purpose::Failback | Purpose::Evacuate | Purpose::LastResort | Purpose::Operator => {}
    }
    let goes_on =
        purpose == Purpose::Failback && acts.shifts.last().is_some_and(|s| s.purpose == purpose);
    // A lever that did nothing must not keep the next one from being pulled.
    let moved_at = acts.cools_from.or(acts.last_end);
    let cools = moved_at.filter(|_| !goes_on && !acts.shifts.is_empty());
    if let Some(until) =
        cools.map(|end| end.plus(policy.guards.cooldown)).filter(|until| now < *until)
    {
        holds.push(Hold::Cooldown { until });
    }
    let window = policy.guards.shifts_window;
    let recent: Vec<Timestamp> =
        turns(acts).into_iter().filter(|at| now.since(*at) < window).collect();
    if let Some(oldest) =
        recent.first().filter(|_| !goes_on && recent.len() >= policy.guards.shifts_max as usize)
    {
        let until = oldest.plus(window);
        holds.push(Hold::ShiftsExhausted {
            done: recent.len(),
            max: policy.guards.shifts_max,
            until,
        });
    }
    holds
}

/// Writes that did not arrive at a region are lost when it takes over. A cached copy takes none.
fn lag(policy: &Policy, picture: &Picture, gaining: &BTreeSet<RegionName>) -> Vec<Hold> {
    let Some(max) = policy.guards.replication_lag_max else { return Vec::new() };
    let mut holds = Vec::new();
    let serves = |name: &&RegionName| policy.serving().any(|(region, _)| region == *name);
    for region in gaining.iter().filter(serves) {
        match picture.regions.get(region).map(|view| view.lag) {
            Some(Lag::Known(lag)) if lag > max => holds.push(Hold::LagTooHigh { lag, max }),
            Some(Lag::ReportedUnknown) => holds.push(Hold::LagUnknown { region: region.clone() }),
            Some(Lag::Known(_) | Lag::Absent) | None => {}
        }
    }
    holds
}

fn is_within(window: &BlockedWindow, now: Timestamp) -> bool {
    let Ok(instant) = jiff::Timestamp::from_millisecond(now.as_millis()) else { return false };
    // The zone was looked up when the policy was checked; should its data have gone since, the window
    // holds: not moving is the smaller harm that its author asked for.
    let Ok(local) = instant.in_tz(&window.time_zone) else { return true };
    let day = local.weekday().to_monday_zero_offset();
    let minute = u32::from(day.unsigned_abs()) * 1440
        + u32::from(local.hour().unsigned_abs()) * 60
        + u32::from(local.minute().unsigned_abs());
    if window.from_minute <= window.to_minute {
        (window.from_minute..window.to_minute).contains(&minute)
    } else {
        minute >= window.from_minute || minute < window.to_minute
    }
}

/// When a lever that failed may be tried again; `None` if it may be tried now. The pause is that of one
/// lever: another one is taken at once.
///
/// `read_at`: when the service behind it last answered a question. An answer after the failure means
/// that it is back, so only the first pause counts.
pub(super) fn retry_at(
    kind: LeverKind,
    lever: &LeverState,
    read_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let (failed_at, failure) =
        lever.last_failure.as_ref().filter(|_| lever.failures_in_a_row > 0)?;
    let (first, most) = match failure {
        CallFailed::Throttled { .. } | CallFailed::Busy => {
            (RETRY_THROTTLED_FIRST, RETRY_THROTTLED_MAX)
        }
        CallFailed::NotSent { .. } | CallFailed::Unknown { .. } if kind.is_switch() => {
            (RETRY_SWITCH_FIRST, RETRY_SWITCH_MAX)
        }
        CallFailed::NotSent { .. }
        | CallFailed::Unknown { .. }
        | CallFailed::Conflict { .. }
        | CallFailed::Refused { .. }
        | CallFailed::NotFound { .. } => (RETRY_FIRST, RETRY_MAX),
    };
    // Reading records says nothing of switches.
    let back = first == RETRY_FIRST
        && kind == LeverKind::Weights
        && read_at.is_some_and(|read| read > *failed_at);
    let failures = if back { 1 } else { lever.failures_in_a_row };
    Some(failed_at.plus(backoff(first, failures, most))).filter(|at| now < *at)
}

/// The first lever of the policy that works, and the holds of those before it.
pub(super) fn lever(
    policy: &Policy,
    acts: &Acts,
    answers_unknown_since: Option<Timestamp>,
    read_at: Option<Timestamp>,
    drifted: bool,
    now: Timestamp,
) -> (Option<LeverKind>, Vec<Hold>) {
    let mut holds = Vec::new();
    let mut blind = None;
    for lever in policy.levers.iter().map(crate::policy::Lever::kind) {
        let state = acts.levers.get(&lever).cloned().unwrap_or_default();
        let failing = state.failures_in_a_row > 0;
        if let Some(retry_at) = retry_at(lever, &state, read_at, now) {
            let why = state.last_failure.map_or(String::new(), |(_, failure)| failure.to_string());
            holds.push(Hold::LeverImpaired { lever, why, retry_at });
            continue;
        }
        // Its service does not even answer questions, it failed and nothing says it is back, or the records
        // are not what they should be: take it only if no other lever is left.
        let unread =
            lever == LeverKind::Weights && (answers_unknown_since.is_some() || failing || drifted);
        if unread {
            blind = blind.or(Some(lever));
            continue;
        }
        return (Some(lever), holds);
    }
    (blind, holds)
}
