//! Proof: in sync by the service's own word, then seen in the answers of the zone's name servers.

use crate::domain::{RecordName, ServiceName};
use crate::execute::read::Found;
use crate::execute::weights::look;
use crate::execute::{Executor, Stage, no_client};
use crate::journal::JournalError;
use crate::memory::{BatchState, Entry, Outcome};
use crate::plan::{Epoch, EpochTxt};
use crate::policy::Readback;
use crate::ports::{CallFailed, ChangeId, ChangeStatus, Resolver};

impl Executor<'_> {
    /// Asks for the status of each accepted change, the newest first, and stops at the first that is
    /// pending: one call a round while waiting.
    ///
    /// A change that stays pending keeps the order open. Nothing is stacked on it.
    pub(super) async fn see_in_sync(&mut self) -> Result<Stage, JournalError> {
        let Some(order) = &self.acts.order else { return Ok(Stage::Next) };
        if order.in_sync_at.is_some() {
            return Ok(Stage::Next);
        }
        let epoch = order.plan.epoch;
        let changes: Vec<(usize, ChangeId)> = order
            .batches
            .iter()
            .enumerate()
            .filter_map(|(number, state)| match state {
                BatchState::Accepted { change, .. } => Some((number, change.clone()?)),
                BatchState::Waiting | BatchState::Sending { .. } => None,
            })
            .collect();
        for (number, change) in changes.into_iter().rev() {
            if self.pace.try_take(1, 0).is_err() {
                return Ok(Stage::Later);
            }
            let status = match &self.levers.weights {
                Some(weights) => weights.status(&change).await,
                None => Err(no_client()),
            };
            match status {
                Ok(ChangeStatus::InSync) => {}
                Ok(ChangeStatus::Pending) => return Ok(Stage::Later),
                Err(failure @ CallFailed::NotFound { .. }) => {
                    match self.forgotten(epoch, number, failure).await? {
                        Stage::Next => {}
                        stage @ (Stage::Later | Stage::Over(_)) => return Ok(stage),
                    }
                }
                Err(failure) => return self.lever_failed(failure),
            }
        }
        self.note(&Entry::InSync { epoch })?;
        Ok(Stage::Next)
    }

    /// The service does not know a change that it had accepted, as after an event in its region. The
    /// records tell whether it survived.
    async fn forgotten(
        &mut self,
        epoch: Epoch,
        number: usize,
        failure: CallFailed,
    ) -> Result<Stage, JournalError> {
        let batch = self.acts.order.as_ref().and_then(|order| order.plan.batches.get(number));
        let Some(batch) = batch.cloned() else { return Ok(Stage::Next) };
        match look(self.levers, &batch).await {
            Ok(Found::After) => Ok(Stage::Next),
            Ok(Found::Before) => {
                self.note(&Entry::Failed { epoch, batch: number, failure })?;
                Ok(Stage::Later)
            }
            Ok(Found::Other(what)) => {
                self.note(&Entry::Drifted { what: what.clone() })?;
                self.end(Outcome::Refused { why: what }).map(Stage::Over)
            }
            Err(failure) => self.lever_failed(failure),
        }
    }

    /// Every name server of the epoch record's zone must answer with our epoch. A single answer of a
    /// weighted name proves nothing, as any region may be drawn; the TXT changed in the same batch.
    ///
    /// Zones without the epoch record have only the word of the service. Where nothing can be asked,
    /// that word is the end too.
    pub(super) async fn see_answered(&mut self) -> Result<Stage, JournalError> {
        let (Some(order), Some(lever)) = (&self.acts.order, self.lever()) else {
            return Ok(Stage::Next);
        };
        let record = lever.epoch_record.clone();
        let published = order.plan.batches.iter().flat_map(|batch| &batch.swaps).any(|swap| {
            swap.after.zone == record.zone
                && swap.after.name == record.name
                && swap.after.kind == "TXT"
        });
        let epoch = order.plan.epoch;
        let readback = lever.readback.clone();
        let resolver = self.levers.resolver.clone().filter(|_| published);
        let Some(resolver) = resolver else { return Ok(Stage::Next) };
        let servers = match readback {
            Readback::None => return Ok(Stage::Next),
            Readback::Servers(servers) => servers,
            Readback::NameServers => {
                if self.pace.try_take(1, 0).is_err() {
                    return Ok(Stage::Later);
                }
                let known = match &self.levers.weights {
                    Some(weights) => weights.name_servers(&record.zone).await,
                    None => Err(no_client()),
                };
                match known {
                    Ok(servers) => servers,
                    Err(failure) => return self.lever_failed(failure),
                }
            }
        };
        for server in &servers {
            let wanted = (&self.policy.service, epoch);
            if !shows(resolver.as_ref(), server, &record.name, wanted).await {
                return Ok(Stage::Later);
            }
        }
        Ok(if servers.is_empty() { Stage::Later } else { Stage::Next })
    }
}

/// True if the server answers with this epoch of this service. Silence is no proof.
async fn shows(
    resolver: &dyn Resolver,
    server: &str,
    name: &RecordName,
    wanted: (&ServiceName, Epoch),
) -> bool {
    let values = resolver.ask(server, name, "TXT").await.unwrap_or_default();
    let mut read = values.iter().filter_map(|value| EpochTxt::parse(value).ok());
    read.any(|txt| (&txt.service, txt.epoch) == wanted)
}
