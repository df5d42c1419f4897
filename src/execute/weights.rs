//! Sending batches of record changes, and finding out what became of them.

use crate::execute::read::{Found, compare};
use crate::execute::{Executor, Stage, Written, is_shift, no_client, written};
use crate::journal::JournalError;
use crate::memory::{BatchState, Entry, Outcome};
use crate::plan::{Batch, Epoch, batch::put_back};
use crate::policy::LeverKind;
use crate::ports::{CallFailed, Levers};

impl Executor<'_> {
    /// Sends the waiting batches one after the other: never two calls of a service at once, hence never
    /// two of a zone.
    pub(super) async fn send_waiting(&mut self) -> Result<Stage, JournalError> {
        loop {
            let Some(order) = &self.acts.order else { return Ok(Stage::Next) };
            let waiting = order.batches.iter().position(|state| *state == BatchState::Waiting);
            let Some(number) = waiting else { return Ok(Stage::Next) };
            // A pin stops an order that is under way as well: nothing more is sent until it ends.
            if self.pinned() {
                return Ok(Stage::Later);
            }
            if self.too_old() {
                return self.give_up("could not be written in time").await;
            }
            let Some(batch) = order.plan.batches.get(number).cloned() else {
                return Ok(Stage::Next);
            };
            let epoch = order.plan.epoch;
            if self.pace.try_take(1, batch.change_tokens()).is_err() {
                return Ok(Stage::Later);
            }
            match self.send(epoch, number, &batch).await? {
                Stage::Next => {}
                stage @ (Stage::Later | Stage::Over(_)) => return Ok(stage),
            }
        }
    }

    /// One call: announced, made, and what came of it written down.
    async fn send(
        &mut self,
        epoch: Epoch,
        number: usize,
        batch: &Batch,
    ) -> Result<Stage, JournalError> {
        self.note(&Entry::Sending { epoch, batch: number })?;
        let answer = match &self.levers.weights {
            Some(weights) => weights.change(batch).await,
            None => Err(no_client()),
        };
        self.pace.answered(batch.change_tokens());
        let failure = match answer {
            Ok(change) => {
                self.note(&Entry::Accepted { epoch, batch: number, change })?;
                return Ok(Stage::Next);
            }
            Err(failure) => failure,
        };
        match &failure {
            CallFailed::Throttled { .. } => self.pace.throttled(),
            // A call that was thought lost may have landed meanwhile: then ours is refused, rightly.
            CallFailed::Conflict { .. } => {
                return self.conflict(epoch, number, batch, failure).await;
            }
            CallFailed::NotSent { .. }
            | CallFailed::Busy
            | CallFailed::Refused { .. }
            | CallFailed::NotFound { .. }
            | CallFailed::Unknown { .. } => {}
        }
        self.note(&Entry::Failed { epoch, batch: number, failure: failure.clone() })?;
        match failure {
            CallFailed::NotSent { .. }
            | CallFailed::Throttled { .. }
            | CallFailed::Busy
            | CallFailed::Conflict { .. }
            | CallFailed::Unknown { .. } => Ok(Stage::Later),
            CallFailed::Refused { .. } | CallFailed::NotFound { .. } => {
                // One before it may have landed: that is looked for when the time of the order is over.
                let in_doubt = self.acts.order.as_ref().is_some_and(|order| order.lost_call);
                if in_doubt { Ok(Stage::Later) } else { self.refuse(&failure.to_string()) }
            }
        }
    }

    /// The batch was refused as a whole. Either it is there already, or somebody else was faster.
    async fn conflict(
        &mut self,
        epoch: Epoch,
        number: usize,
        batch: &Batch,
        failure: CallFailed,
    ) -> Result<Stage, JournalError> {
        match look(self.levers, batch).await {
            Ok(Found::After) => {
                self.note(&Entry::FoundDone { epoch, batch: number })?;
                self.lever_well()?;
                Ok(Stage::Next)
            }
            Ok(Found::Before) => {
                self.note(&Entry::Failed { epoch, batch: number, failure: failure.clone() })?;
                self.refuse(&failure.to_string())
            }
            Ok(Found::Other(what)) => {
                self.note(&Entry::Failed { epoch, batch: number, failure })?;
                self.note(&Entry::Drifted { what: what.clone() })?;
                self.refuse(&what)
            }
            // Left as sending: the next round reads again and knows.
            Err(failure) => self.lever_failed(failure),
        }
    }

    /// Reads the zone of every batch of unknown outcome, before anything else is done with the order. What
    /// cannot be read is sent `again` after a while, if the order is to be carried out.
    pub(super) async fn settle_unknown(&mut self, again: bool) -> Result<Stage, JournalError> {
        loop {
            let Some(order) = &self.acts.order else { return Ok(Stage::Next) };
            let sending = |state: &BatchState| matches!(state, BatchState::Sending { .. });
            let Some(number) = order.batches.iter().position(sending) else {
                return Ok(Stage::Next);
            };
            let Some(batch) = order.plan.batches.get(number).cloned() else {
                return Ok(Stage::Next);
            };
            let epoch = order.plan.epoch;
            if self.pace.try_take(1, 0).is_err() {
                return Ok(Stage::Later);
            }
            match look(self.levers, &batch).await {
                Ok(Found::After) => {
                    self.note(&Entry::FoundDone { epoch, batch: number })?;
                    self.lever_well()?;
                }
                Ok(Found::Before) => {
                    // Sent again even if the lost call may still land: then the second is refused as a
                    // whole, and reading shows why.
                    let failure = CallFailed::NotSent { why: "read back: not there".to_owned() };
                    self.note(&Entry::Failed { epoch, batch: number, failure })?;
                }
                Ok(Found::Other(what)) => {
                    let failure = CallFailed::Conflict { why: what.clone() };
                    self.note(&Entry::Failed { epoch, batch: number, failure })?;
                    self.note(&Entry::Drifted { what: what.clone() })?;
                    return self.refuse(&what);
                }
                Err(failure) if again => {
                    self.lever_failed(failure)?;
                    match self.send_unread(epoch, number, &batch).await? {
                        Stage::Next => {}
                        stage @ (Stage::Later | Stage::Over(_)) => return Ok(stage),
                    }
                }
                Err(failure) => return self.lever_failed(failure),
            }
        }
    }

    /// Sends a batch again whose call got no answer and cannot be looked for either: what reads may be out for
    /// hours while what writes is not. It swaps as a whole or is refused as a whole, so that the second of the
    /// two cannot do harm whichever lands first (Route 53 API reference, `ChangeResourceRecordSets`: either all
    /// or none of the changes in a batch are made).
    async fn send_unread(
        &mut self,
        epoch: Epoch,
        number: usize,
        batch: &Batch,
    ) -> Result<Stage, JournalError> {
        let Some(order) = &self.acts.order else { return Ok(Stage::Next) };
        if !self.settled() || self.pinned() || self.too_old() {
            return Ok(Stage::Later);
        }
        if !order.lost_call {
            // Stopped between the call and its answer.
            let why = "nothing was written down of its answer".to_owned();
            self.note(&Entry::Failed {
                epoch,
                batch: number,
                failure: CallFailed::Unknown { why },
            })?;
        }
        if self.pace.try_take(1, batch.change_tokens()).is_err() {
            return Ok(Stage::Later);
        }
        self.send(epoch, number, batch).await
    }

    pub(super) fn lever_failed(&mut self, failure: CallFailed) -> Result<Stage, JournalError> {
        if matches!(failure, CallFailed::Throttled { .. }) {
            self.pace.throttled();
        }
        self.note(&Entry::LeverHeard { lever: LeverKind::Weights, failure: Some(failure) })?;
        Ok(Stage::Later)
    }

    /// The order cannot be completed. A put-back is not put back: a human has to look.
    fn refuse(&mut self, why: &str) -> Result<Stage, JournalError> {
        let part = self
            .acts
            .order
            .as_ref()
            .is_some_and(|order| is_shift(order) && written(order) == Written::Part);
        if part {
            self.put_back(why)?;
            return Ok(Stage::Later);
        }
        self.end(Outcome::Refused { why: why.to_owned() }).map(Stage::Over)
    }

    /// A decision this old is not carried out any more: it may have stopped being right.
    fn too_old(&self) -> bool {
        let Some(lever) = self.lever() else { return false };
        let now = self.clock.now();
        self.acts.order.as_ref().is_some_and(|order| {
            is_shift(order) && now.since(order.intended_at) > lever.in_sync_within
        })
    }

    async fn give_up(&mut self, why: &str) -> Result<Stage, JournalError> {
        if !self.settled() {
            return Ok(Stage::Later);
        }
        self.abandon(why).await
    }

    /// Ends an order after its calls have had time to land, and puts back what did. A call that went
    /// unanswered may have landed since it was looked for: where nothing is known to be written, it is looked
    /// for once more.
    pub(super) async fn abandon(&mut self, why: &str) -> Result<Stage, JournalError> {
        let Some(order) = self.acts.order.as_ref() else { return Ok(Stage::Next) };
        let epoch = order.plan.epoch;
        let in_doubt = order.lost_call && written(order) == Written::Nothing;
        let lost = if in_doubt { order.plan.batches.clone() } else { Vec::new() };
        for (number, batch) in lost.iter().enumerate() {
            if self.pace.try_take(1, 0).is_err() {
                return Ok(Stage::Later);
            }
            match look(self.levers, batch).await {
                Ok(Found::Before) => {}
                Ok(Found::After) => self.note(&Entry::FoundDone { epoch, batch: number })?,
                Ok(Found::Other(what)) => {
                    self.note(&Entry::Drifted { what: what.clone() })?;
                    return self.refuse(&what);
                }
                Err(failure) => return self.lever_failed(failure),
            }
        }
        let written = self.acts.order.as_ref().map(written);
        match written {
            Some(Written::Part) => {
                self.put_back(why)?;
                Ok(Stage::Later)
            }
            Some(Written::All | Written::Unclear) => Ok(Stage::Later),
            Some(Written::Nothing) | None => {
                self.end(Outcome::Abandoned { why: why.to_owned() }).map(Stage::Over)
            }
        }
    }

    /// Replaces the open order by the one that swaps back what was written. One line of the journal does
    /// both, so that no crash can fall between.
    pub(super) fn put_back(&mut self, why: &str) -> Result<(), JournalError> {
        let now = self.clock.now();
        let plan = self
            .lever()
            .zip(self.acts.order.as_ref())
            .and_then(|(lever, order)| put_back(order, lever, why, now));
        match plan {
            Some(plan) => self.note(&Entry::Intended(Box::new(plan))),
            None => Ok(()),
        }
    }
}

/// What the batch looks like in its zone now.
///
/// Not a method: a shared borrow of the executor cannot be held across a wait, as its log is not `Sync`.
pub(super) async fn look(levers: &Levers, batch: &Batch) -> Result<Found, CallFailed> {
    let weights = levers.weights.as_ref().ok_or_else(no_client)?;
    Ok(compare(batch, &weights.read(&batch.zone, None).await?))
}
