//! Gates and balancers: switches that can be set again without harm, so no compare-and-swap.

use std::time::Duration;

use crate::domain::{BalancerName, RegionName, Weight};
use crate::execute::{Executor, Progress};
use crate::journal::JournalError;
use crate::memory::{Entry, Outcome};
use crate::plan::{Move, Wanted};
use crate::ports::{CallFailed, InAnswers};

/// A gate is a health check: it is in the answers after its interval times its threshold (10 s times 3
/// for a fast check, Developer Guide, "How Amazon Route 53 determines whether a health check is
/// healthy"), and as much again for the checkers, which are not coordinated.
const IN_FORCE_AFTER: Duration = Duration::from_secs(60);

impl Executor<'_> {
    /// Sets one gate, written down before and after.
    pub async fn gate(
        &mut self,
        region: &RegionName,
        to: InAnswers,
    ) -> Result<Progress, JournalError> {
        self.note(&Entry::Gating { region: region.clone(), to })?;
        let answer = match &self.levers.gates {
            Some(gates) => gates.set(region, to).await,
            None => Err(CallFailed::NotSent { why: "there are no gates".to_owned() }),
        };
        let failure = answer.err();
        self.note(&Entry::Gated { region: region.clone(), to, failure: failure.clone() })?;
        Ok(ended(failure))
    }

    /// Refreshes the configuration of one balancer, written down before and after.
    pub async fn refresh(&mut self, balancer: &BalancerName) -> Result<Progress, JournalError> {
        self.note(&Entry::Refreshing { balancer: balancer.clone() })?;
        let answer = match &self.levers.balancers {
            Some(balancers) => balancers.refresh(balancer).await,
            None => Err(CallFailed::NotSent { why: "there is no client for balancers".to_owned() }),
        };
        let failure = answer.err();
        self.note(&Entry::Refreshed { balancer: balancer.clone(), failure: failure.clone() })?;
        Ok(ended(failure))
    }

    /// Opens gates before it closes any, so that the answers are never empty, and goes on where it was
    /// stopped: a gate may be set twice.
    pub(super) async fn take_gates_on(&mut self) -> Result<Progress, JournalError> {
        let Some(Wanted::Move(moved)) = self.acts.order.as_ref().map(|order| &order.plan.wanted)
        else {
            return Ok(Progress::Nothing);
        };
        let moved = moved.clone();
        let unset = self.acts.order.as_ref().is_some_and(|order| order.in_sync_at.is_none());
        if unset && self.pinned() {
            return Ok(Progress::Working);
        }
        if !self.set_gates(&moved).await? {
            return Ok(Progress::Working);
        }
        let Some(order) = &self.acts.order else { return Ok(Progress::Nothing) };
        let epoch = order.plan.epoch;
        let Some(stood_at) = order.in_sync_at else {
            self.note(&Entry::InSync { epoch })?;
            return Ok(Progress::Working);
        };
        if self.clock.now().since(stood_at) < IN_FORCE_AFTER {
            return Ok(Progress::Working);
        }
        self.end(Outcome::Done).map(Progress::Ended)
    }

    /// Moves by gates while an order by another lever hangs. That order keeps its place; the gates need
    /// none, because setting them again does no harm: after a crash the next decision finishes them.
    pub async fn move_by_gates(&mut self, moved: &Move) -> Result<Progress, JournalError> {
        if !self.set_gates(moved).await? {
            return Ok(Progress::Working);
        }
        self.note(&Entry::MovedByGates(Box::new(moved.clone())))?;
        Ok(Progress::Ended(Outcome::Done))
    }

    /// True if all gates stand as the move wants them.
    async fn set_gates(&mut self, moved: &Move) -> Result<bool, JournalError> {
        for (to, region) in turns(moved) {
            if self.acts.gates.get(&region).copied().unwrap_or(InAnswers::In) == to {
                continue;
            }
            match self.gate(&region, to).await? {
                Progress::Ended(Outcome::Done) => {}
                Progress::Ended(_) | Progress::Working | Progress::Nothing => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The gates that a move turns, in the order in which it does: opened before any is closed.
///
/// A region that had nothing and gets nothing keeps its gate: closing it would only keep it from taking
/// over later.
pub(super) fn turns(moved: &Move) -> Vec<(InAnswers, RegionName)> {
    let turned = |(region, weight): (&RegionName, &Weight)| match weight.0 {
        0 if moved.from.weight(region).0 == 0 => None,
        0 => Some((InAnswers::Out, region.clone())),
        _ => Some((InAnswers::In, region.clone())),
    };
    let mut turns: Vec<(InAnswers, RegionName)> =
        moved.to.weights().iter().filter_map(turned).collect();
    // `In` sorts before `Out`.
    turns.sort();
    turns
}

fn ended(failure: Option<CallFailed>) -> Progress {
    Progress::Ended(match failure {
        None => Outcome::Done,
        Some(failure) => Outcome::Refused { why: failure.to_string() },
    })
}
