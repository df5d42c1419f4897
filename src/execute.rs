//! Obeys plans: intention on disk, call, what came of it on disk, proof. Never chooses.
//!
//! The life of an order by the `weights` lever: intended → each batch sending → accepted → all in sync
//! → the epoch TXT seen at every name server → ended. It is journaled before each call, so that after a
//! crash at any point the records can be read and the order finished, abandoned or put back:
//!
//! - nothing written: abandoned at the next start, or after `in_sync_within`, and the decision is made
//!   anew; unless a call may still be on its way, for then it is sent again and so finished;
//! - a part written: finished while the order is younger than `in_sync_within`, put back when it is
//!   older, withdrawn, or refused in another zone;
//! - everything written: cannot be recalled; waits until it is in sync, however long that takes, and no
//!   other order is stacked on it.
//!
//! What is put back is exactly what was written, again as compare-and-swap: an order of its own, whose
//! purpose is [`Purpose::Repair`] and which is always carried to its end.

use std::time::Duration;

use crate::domain::{Timestamp, backoff};
use crate::journal::{JournalError, Log};
use crate::memory::{Acts, BatchState, Entry, Order, Outcome};
use crate::pace::Pacer;
use crate::plan::{Plan, Purpose, SETTLED_AFTER, Wanted};
use crate::policy::{LeverKind, Policy, WeightsLever};
use crate::ports::{CallFailed, Clock, Levers};

pub mod cure;
mod proof;
mod read;
mod rehearse;
mod switches;
mod weights;
pub mod zonal;

pub use read::read_inventory;
pub use rehearse::{Call, Rehearse};
pub use switches::users_go_within;

/// After the first failed call; doubled with each further one in a row.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How far an order has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// There is no open order.
    Nothing,
    /// The order is open; call [`Executor::advance`] again later.
    Working,
    Ended(Outcome),
}

/// Carries plans out, or only says what it would call ([`Rehearse`]).
#[async_trait::async_trait]
pub trait Execute {
    async fn carry_out(&mut self, plan: Plan) -> Result<Progress, JournalError>;
}

/// Everything an execution needs, borrowed for one round.
pub struct Executor<'a> {
    pub policy: &'a Policy,
    pub levers: &'a Levers,
    pub log: &'a mut dyn Log,
    pub acts: &'a mut Acts,
    pub clock: &'a dyn Clock,
    pub pace: &'a Pacer,
}

impl std::fmt::Debug for Executor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("service", &self.policy.service).finish_non_exhaustive()
    }
}

/// What a stage came to, inside the executor.
enum Stage {
    /// Go on with the next stage now.
    Next,
    /// Nothing more can be done now.
    Later,
    Over(Outcome),
}

impl Executor<'_> {
    /// Journals the intention, then starts. Returns as soon as nothing more can be done now: accepted,
    /// refused, or out of tokens.
    pub async fn carry_out(&mut self, plan: Plan) -> Result<Progress, JournalError> {
        if let Some(why) = self.objection(&plan) {
            return Ok(Progress::Ended(Outcome::Refused { why }));
        }
        if let Wanted::Refresh { balancer, act, before, .. } = &plan.wanted {
            let (balancer, before) = (balancer.clone(), *before);
            return match act {
                None => self.refresh(&balancer).await,
                Some(act) => Box::pin(self.treat(&balancer, *act, before, "a diagnosis")).await,
            };
        }
        self.note(&Entry::Intended(Box::new(plan)))?;
        self.take_on().await
    }

    /// Takes the open order one stage further without waiting: sends what is waiting, reads after calls
    /// of unknown outcome, asks for `INSYNC`, asks the name servers, ends it.
    pub async fn advance(&mut self) -> Result<Progress, JournalError> {
        let Some(order) = &self.acts.order else { return Ok(Progress::Nothing) };
        if self.waits(order.lever()) {
            return Ok(Progress::Working);
        }
        self.take_on().await
    }

    /// After a start: what became of the open order? Reads, then finishes, abandons or puts back.
    pub async fn recover(&mut self) -> Result<Progress, JournalError> {
        if self.acts.order.as_ref().is_some_and(|order| order.lever().is_switch()) {
            return self.recover_switches().await;
        }
        if let Stage::Over(outcome) = self.settle_unknown(false).await? {
            return Ok(Progress::Ended(outcome));
        }
        let untouched = self.acts.order.as_ref().is_some_and(|order| {
            is_shift(order) && order.batches.iter().all(|state| *state == BatchState::Waiting)
        });
        if untouched && self.settled() {
            let why = "stopped before anything was sent; decided anew after the start";
            if let Stage::Over(outcome) = self.abandon(why).await? {
                return Ok(Progress::Ended(outcome));
            }
        }
        self.take_on().await
    }

    /// Gives up the open order as far as it has not happened; puts back what has if it is only a part.
    ///
    /// What is accepted as a whole cannot be recalled: it stays open and [`Progress::Working`] is
    /// returned. So does a put-back: half-moved records help nobody.
    pub async fn withdraw(&mut self, why: &str) -> Result<Progress, JournalError> {
        let unclear = self.acts.order.as_ref().filter(|order| written(order) == Written::Unclear);
        if unclear.is_some_and(|order| self.waits(order.lever())) {
            return Ok(Progress::Working);
        }
        if let Stage::Over(outcome) = self.settle_unknown(false).await? {
            return Ok(Progress::Ended(outcome));
        }
        let Some(order) = &self.acts.order else { return Ok(Progress::Nothing) };
        if order.lever().is_switch() {
            return self.withdraw_switches(why).await;
        }
        if !is_shift(order) {
            return Ok(Progress::Working);
        }
        match written(order) {
            Written::Nothing if !self.settled() => Ok(Progress::Working),
            Written::Nothing => match self.abandon(why).await? {
                Stage::Over(outcome) => Ok(Progress::Ended(outcome)),
                Stage::Next | Stage::Later => Ok(Progress::Working),
            },
            Written::All | Written::Unclear => Ok(Progress::Working),
            Written::Part => {
                self.put_back(why)?;
                self.take_on().await
            }
        }
    }

    /// When the lever may be tried again after failures in a row. The wait doubles from two seconds to a
    /// minute; it is derived from the journal, so a restart does not forget it.
    pub fn retry_at(&self, lever: LeverKind) -> Option<Timestamp> {
        let lever = self.acts.levers.get(&lever)?;
        let (failed_at, _) = lever.last_failure.as_ref()?;
        let failures = Some(lever.failures_in_a_row).filter(|failures| *failures > 0)?;
        Some(failed_at.plus(backoff(RETRY_FIRST, failures, RETRY_MAX)))
    }

    /// Why this plan may not be begun. All of these would be mistakes of ours.
    fn objection(&self, plan: &Plan) -> Option<String> {
        if plan.service != self.policy.service {
            return Some(format!("the plan is for service `{}`", plan.service));
        }
        if let Some(open) = &self.acts.order {
            return Some(format!("order {} is still open", open.plan.epoch));
        }
        let Wanted::Move(wanted) = &plan.wanted else { return None };
        if plan.epoch <= self.acts.epoch {
            return Some(format!("epoch {} was used before", plan.epoch));
        }
        match wanted.lever {
            kind @ (LeverKind::Gates | LeverKind::Arc) => self
                .levers
                .switches(kind)
                .is_none()
                .then(|| format!("there is no client for `{kind}`")),
            LeverKind::Weights if self.levers.weights.is_none() => {
                Some("there is no client for the records".to_owned())
            }
            LeverKind::Weights if plan.batches.is_empty() => {
                Some("there is nothing to do".to_owned())
            }
            LeverKind::Weights => None,
        }
    }

    /// The stages in their order, until one of them has to wait.
    async fn take_on(&mut self) -> Result<Progress, JournalError> {
        let Some(order) = &self.acts.order else { return Ok(Progress::Nothing) };
        if order.lever().is_switch() {
            return self.take_switches_on().await;
        }
        for stage in 0..4 {
            let reached = match stage {
                0 => self.settle_unknown(true).await?,
                1 => self.send_waiting().await?,
                2 => self.see_in_sync().await?,
                _ => self.see_answered().await?,
            };
            match reached {
                Stage::Next => {}
                Stage::Later => return Ok(Progress::Working),
                Stage::Over(outcome) => return Ok(Progress::Ended(outcome)),
            }
        }
        let outcome = self.outcome_when_proven();
        self.end(outcome).map(Progress::Ended)
    }

    /// A put-back that is proven means that the move before it was given up.
    fn outcome_when_proven(&self) -> Outcome {
        match self.acts.order.as_ref().map(|order| &order.plan.wanted) {
            Some(Wanted::Move(moved)) if moved.purpose == Purpose::Repair => {
                Outcome::Abandoned { why: moved.because.clone() }
            }
            _ => Outcome::Done,
        }
    }

    fn end(&mut self, outcome: Outcome) -> Result<Outcome, JournalError> {
        if let Some(order) = &self.acts.order {
            let epoch = order.plan.epoch;
            self.note(&Entry::Ended { epoch, outcome: outcome.clone() })?;
        }
        Ok(outcome)
    }

    /// On disk first, then in memory. An error here stops whatever was about to happen.
    fn note(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let now = self.clock.now();
        self.log.append(now, entry)?;
        self.acts.apply(now, entry);
        Ok(())
    }

    /// The lever answers again after failures: so that nobody goes on waiting or warning.
    fn lever_well(&mut self) -> Result<(), JournalError> {
        let lever = LeverKind::Weights;
        if self.acts.levers.get(&lever).is_some_and(|state| state.failures_in_a_row > 0) {
            self.note(&Entry::LeverHeard { lever, failure: None })?;
        }
        Ok(())
    }

    fn lever(&self) -> Option<&WeightsLever> {
        self.policy.weights_lever()
    }

    /// A human's order not to move is in force.
    fn pinned(&self) -> bool {
        self.acts.pin_at(self.clock.now()).is_some()
    }

    /// The lever failed lately and has its pause.
    fn waits(&self, lever: LeverKind) -> bool {
        self.retry_at(lever).is_some_and(|at| self.clock.now() < at)
    }

    /// True if no call can still be on its way: the last was tried long enough ago.
    fn settled(&self) -> bool {
        let now = self.clock.now();
        let tries = self.acts.levers.get(&LeverKind::Weights).map(|lever| lever.tries.as_slice());
        let unsure = self.acts.order.as_ref().is_some_and(|order| {
            tries.unwrap_or_default().iter().any(|at| *at >= order.intended_at)
        });
        !unsure || tries.and_then(<[_]>::last).is_none_or(|at| now.since(*at) >= SETTLED_AFTER)
    }
}

#[async_trait::async_trait]
impl Execute for Executor<'_> {
    async fn carry_out(&mut self, plan: Plan) -> Result<Progress, JournalError> {
        Executor::carry_out(self, plan).await
    }
}

/// How much of an order stands in the records, as far as the journal knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    Part,
    All,
    /// A call of unknown outcome is among them.
    Unclear,
}

fn written(order: &Order) -> Written {
    let accepted = |state: &BatchState| matches!(state, BatchState::Accepted { .. });
    let sending = |state: &BatchState| matches!(state, BatchState::Sending { .. });
    if order.batches.iter().any(sending) {
        Written::Unclear
    } else if order.batches.iter().all(accepted) {
        Written::All
    } else if order.batches.iter().any(accepted) {
        Written::Part
    } else {
        Written::Nothing
    }
}

/// True for a move of weights that is not itself a put-back.
fn is_shift(order: &Order) -> bool {
    matches!(
        &order.plan.wanted,
        Wanted::Move(moved) if moved.lever == LeverKind::Weights && moved.purpose != Purpose::Repair
    )
}

/// What a failed call is recorded as when there is no client at all.
fn no_client() -> CallFailed {
    CallFailed::NotSent { why: "there is no client for the records".to_owned() }
}

#[cfg(test)]
mod mortal;
