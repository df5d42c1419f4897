//! How what is under way and what a decision wants go together.

use crate::decide::Decision;
use crate::domain::InAnswers;
use crate::memory::Order;
use crate::plan::{Move, RefreshAct, Wanted};
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
