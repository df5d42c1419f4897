//! Hooks of the operator: whom to ask before a move, whom to tell after it, and when to undo a change.

use std::time::Duration;

use super::respond::Response;
use super::{Case, Hold, guard, shares};
use crate::domain::{RegionName, Timestamp};
use crate::health::Deploy;
use crate::memory::HookState;
use crate::plan::{HookAnswer, HookCall, Move, Purpose};
use crate::policy::{Hook, HookPhase, HookedMove, IfItFails};

/// A yes was said about the world as it was: after so long it is asked for again.
const YES_LASTS: Duration = Duration::from_secs(600);

/// After a no: what stood in the way may be gone in a minute, and a minute more of an outage is the least
/// that a veto costs anyway.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Whom it was not told within this time, because of a restart or a pin, need not hear of it any more.
const AFTER_WITHIN: Duration = Duration::from_secs(3600);

/// A call has an end soon after its time-out. If none is heard of, it is taken for failed.
const UNHEARD: Duration = Duration::from_secs(60);

/// What stands between a move that may be made and making it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) calls: Vec<HookCall>,
    pub(super) hold: Option<Hold>,
}

/// Asks the hooks of the policy one after the other, the fence last.
pub(super) fn before(case: &Case<'_>, moved: &Move) -> Asked {
    let hooks = &case.policy.hooks;
    let fence = hooks.fence.iter().map(|hook| (hook, HookPhase::Fence));
    let all = hooks.before.iter().map(|hook| (hook, HookPhase::Before)).chain(fence);
    for (hook, phase) in all {
        let Some(kind) = kind(moved.purpose).filter(|kind| is_for(hook, *kind)) else { continue };
        // A fence keeps two regions from writing at once: nothing to do where nothing is left.
        let left = left(moved);
        if phase == HookPhase::Fence && left.is_empty() {
            continue;
        }
        let since = case.acts.shifts.last().map_or(0, |shift| shift.at.as_millis());
        let key =
            format!("{}/{}/{kind:?}/{}/{since}", case.policy.service, hook.name, left.join("+"));
        let state = case.acts.hooks.get(&key);
        let ask = |attempt: u32| Asked {
            calls: vec![HookCall {
                service: case.policy.service.clone(),
                hook: hook.name.clone(),
                phase,
                key: key.clone(),
                attempt,
                purpose: Some(moved.purpose),
                from: Some(moved.from.clone()),
                to: Some(moved.to.clone()),
                version: None,
                because: moved.because.clone(),
            }],
            hold: Some(Hold::HookAsked {
                hook: hook.name.clone(),
                until: case.now.plus(hook.timeout),
            }),
        };
        let Some(state) = state else { return ask(1) };
        let until = state.called_at.plus(hook.timeout);
        let unheard = (until, HookAnswer::Failed, "nothing was heard of its end".to_owned());
        let overdue = case.now >= until.plus(UNHEARD);
        let Some((ended, answer, says)) = state.ended.as_ref().or(overdue.then_some(&unheard))
        else {
            let hold = Hold::HookAsked { hook: hook.name.clone(), until };
            return Asked { calls: Vec::new(), hold: Some(hold) };
        };
        if goes_on(hook, *answer) {
            if case.now.since(*ended) < YES_LASTS {
                continue;
            }
            return ask(state.attempt + 1);
        }
        let until = ended.plus(ASK_AGAIN);
        if case.now >= until {
            return ask(state.attempt + 1);
        }
        let hold = Hold::HookVetoed { hook: hook.name.clone(), why: says.clone(), until };
        return Asked { calls: Vec::new(), hold: Some(hold) };
    }
    Asked::default()
}

/// Tells the hooks of the policy that the last move is in force.
pub(super) fn after(case: &Case<'_>) -> Vec<HookCall> {
    let Some(last) = case.acts.shifts.last().filter(|_| case.acts.order.is_none()) else {
        return Vec::new();
    };
    let Some(kind) = kind(last.purpose) else { return Vec::new() };
    if case.now.since(last.at) >= AFTER_WITHIN || case.acts.pin_at(case.now).is_some() {
        return Vec::new();
    }
    let hooks = case.policy.hooks.after.iter().filter(|hook| is_for(hook, kind));
    let key = |hook: &Hook| {
        format!("{}/{}/{kind:?}/{}", case.policy.service, hook.name, last.at.as_millis())
    };
    hooks
        .map(|hook| (hook, key(hook)))
        .filter(|(_, key)| !case.acts.hooks.contains_key(key))
        .map(|(hook, key)| HookCall {
            service: case.policy.service.clone(),
            hook: hook.name.clone(),
            phase: HookPhase::After,
            key,
            attempt: 1,
            purpose: Some(last.purpose),
            from: Some(last.from.clone()),
            to: Some(last.to.clone()),
            version: None,
            because: format!("in force since {}", last.at),
        })
        .collect()
}

/// Undoes the change that broke every region that it reached, once, if nothing speaks against acting at
/// all. The holds say what does.
pub(super) fn rollback(case: &Case<'_>, response: &Response) -> (Option<HookCall>, Vec<Hold>) {
    let Some((hook, deploy)) = broken_change(case, response) else { return (None, Vec::new()) };
    let key = rollback_key(case, hook, deploy);
    if case.acts.hooks.contains_key(&key) {
        return (None, Vec::new());
    }
    let nobody = std::collections::BTreeSet::new();
    let intent = guard::Intent { purpose: Purpose::Operator, gaining: &nobody };
    let mut holds = guard::objections(case.policy, case.acts, case.picture, &intent, case.now);
    // Budgets and latches are about moving traffic; undoing a change moves none.
    holds.retain(|hold| {
        matches!(
            hold,
            Hold::Pinned { .. }
                | Hold::Denied { .. }
                | Hold::ModeObserves { .. }
                | Hold::ApprovalNeeded { .. }
        )
    });
    holds.extend(super::warming_up(case));
    if !holds.is_empty() {
        return (None, holds);
    }
    let call = HookCall {
        service: case.policy.service.clone(),
        hook: hook.name.clone(),
        phase: HookPhase::Rollback,
        key,
        attempt: 1,
        purpose: None,
        from: None,
        to: None,
        version: Some(deploy.version.clone()),
        because: format!("`{}` ({}) broke what it reached", deploy.version, deploy.scope),
    };
    (Some(call), holds)
}

fn broken_change<'a>(case: &'a Case<'_>, response: &Response) -> Option<(&'a Hook, &'a Deploy)> {
    let hook = case.policy.hooks.rollback.as_ref()?;
    response.common.as_ref()?;
    let sick = case
        .charges
        .iter()
        .filter(|(_, charge)| super::respond::convicted(charge))
        .map(|(name, _)| name.clone())
        .collect();
    Some((hook, case.deploy_behind(&sick)?))
}

fn rollback_key(case: &Case<'_>, hook: &Hook, deploy: &Deploy) -> String {
    format!("{}/{}/{}/{}", case.policy.service, hook.name, deploy.version, deploy.at.as_millis())
}

/// The kind of a move as hooks tell them apart. More of the same move, and putting records back, are not
/// asked about again.
fn kind(purpose: Purpose) -> Option<HookedMove> {
    match purpose {
        Purpose::Evacuate => Some(HookedMove::Evacuate),
        Purpose::Failback => Some(HookedMove::Failback),
        Purpose::LastResort => Some(HookedMove::LastResort),
        Purpose::Operator => Some(HookedMove::Operator),
        Purpose::Ramp | Purpose::Repair => None,
    }
}

fn is_for(hook: &Hook, kind: HookedMove) -> bool {
    hook.moves.is_empty() || hook.moves.contains(&kind)
}

fn goes_on(hook: &Hook, answer: HookAnswer) -> bool {
    match answer {
        HookAnswer::Yes => true,
        HookAnswer::Veto => false,
        HookAnswer::Failed | HookAnswer::Cut => hook.if_it_fails == IfItFails::GoOn,
    }
}

/// Regions from which the move takes traffic.
fn left(moved: &Move) -> Vec<String> {
    let takes = |name: &RegionName| {
        moved.from.share(name).get() - moved.to.share(name).get() >= shares::SAME
    };
    moved.from.weights().keys().filter(|name| takes(name)).map(ToString::to_string).collect()
}

/// When a hook that did not do what it should became known, for messages.
pub(super) fn failed_at(state: &HookState) -> Option<(Timestamp, HookAnswer, &str)> {
    let (at, answer, says) = state.ended.as_ref()?;
    (*answer != HookAnswer::Yes).then_some((*at, *answer, says.as_str()))
}
