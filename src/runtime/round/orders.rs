//! How what is under way and what a decision wants go together.

use crate::decide::Decision;
use crate::domain::InAnswers;
use crate::health::Reading;
use crate::memory::{Acts, Order};
use crate::plan::batch::Unplannable;
use crate::plan::{Move, Purpose, RefreshAct, Wanted};
use crate::policy::LeverKind;

pub(super) fn lever_of(wanted: &Wanted) -> Option<LeverKind> {
    match wanted {
        Wanted::Move(moved) => Some(moved.lever),
        Wanted::Refresh { .. } => None,
    }
}

pub(super) fn goes_on(order: &Order, decision: &Decision) -> bool {
    match (&order.plan.wanted, &decision.wanted) {
        (Wanted::Move(open), Some(Wanted::Move(wanted))) => {
            open.lever == wanted.lever && open.to == wanted.to
        }
        (Wanted::Move(_) | Wanted::Refresh { .. }, _) => false,
    }
}

/// No region is left that our votes would have left: each is seen well again. Silence is no reason to take a
/// vote back.
pub(super) fn votes_are_over(acts: &Acts, decision: &Decision) -> bool {
    let well = |region| decision.regions.get(region).map(|verdict| verdict.reading);
    !acts.voted.is_empty() && acts.voted.keys().all(|region| well(region) == Some(Reading::Good))
}

/// A move beside a hanging order is given up for one that leaves other regions, for one by a third lever,
/// and for none. While its own lever has its pause, the order's own may be shown or tried instead: both ask
/// for the same.
pub(super) fn is_still_wanted(moved: &Move, order: Option<&Order>, decision: &Decision) -> bool {
    let shown = decision.wanted.as_ref().or(decision.proposed.as_ref());
    let Some(Wanted::Move(wanted)) = shown else { return false };
    let lever = wanted.lever == moved.lever
        || decision.wanted.is_none()
        || order.is_some_and(|order| order.lever() == wanted.lever);
    let mut out = moved.turned().into_iter().filter(|turn| turn.to == InAnswers::Out);
    lever
        && wanted.purpose == moved.purpose
        && out.all(|turn| wanted.to.weight(&turn.region).0 == 0)
}

/// The lever of a move that no reading will make possible: records that somebody has to mend keep nobody
/// from pulling the next one. The way home waits for them.
pub(super) fn spoiled(wanted: &Wanted, why: &Unplannable) -> Option<LeverKind> {
    let Wanted::Move(moved) = wanted else { return None };
    let lasts = match why {
        Unplannable::Drift(_)
        | Unplannable::AllZero { .. }
        | Unplannable::NoMember { .. }
        | Unplannable::NameTooBig { .. }
        | Unplannable::EpochNotOurs { .. }
        | Unplannable::EpochTooLong { .. } => true,
        Unplannable::NoLever
        | Unplannable::NotRead
        | Unplannable::NotAsRead { .. }
        | Unplannable::NothingToDo => false,
    };
    (lasts && moved.purpose != Purpose::Failback).then_some(moved.lever)
}

pub(super) fn undoes(decision: &Decision) -> bool {
    // Also while a guard keeps it from being undone: what does harm does not go on.
    matches!(&decision.proposed, Some(Wanted::Refresh { act: Some(RefreshAct::Undo), .. }))
}

/// An order that hangs does not keep another lever from being pulled.
pub(super) fn takes_other_lever(order: Option<&Order>, decision: &Decision) -> bool {
    match (order.map(|order| &order.plan.wanted), &decision.wanted) {
        (Some(Wanted::Move(open)), Some(Wanted::Move(wanted))) => {
            open.lever != wanted.lever && wanted.lever.is_switch()
        }
        (_, Some(Wanted::Refresh { .. })) => true,
        (_, Some(Wanted::Move(_)) | None) => false,
    }
}
