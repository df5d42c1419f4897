//! Proof: in sync by the service's own word, then seen in the answers of the zone's name servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::warn;

use crate::domain::{RecordName, ServiceName, ZoneId};
use crate::execute::read::Found;
use crate::execute::weights::look;
use crate::execute::{Executor, Stage, no_client};
use crate::journal::JournalError;
use crate::memory::{BatchState, Entry, Outcome};
use crate::plan::{Batch, Epoch, EpochTxt};
use crate::policy::{EpochRecord, Readback};
use crate::ports::{CallFailed, ChangeId, ChangeStatus, Resolver};

/// Route 53 gives a zone four; laboratories have one.
const SERVERS_MAX: usize = 16;

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
                Ok(ChangeStatus::InSync) => self.lever_well()?,
                Ok(ChangeStatus::Pending) => {
                    self.lever_well()?;
                    return Ok(Stage::Later);
                }
                Err(failure @ CallFailed::NotFound { .. }) => {
                    match self.forgotten(epoch, number, failure).await? {
                        Stage::Next => {}
                        stage @ (Stage::Later | Stage::Over(_)) => return Ok(stage),
                    }
                }
                Err(failure) => return self.lever_failed(failure),
            }
        }
        if !self.nameless_have_settled() {
            return Ok(Stage::Later);
        }
        self.note(&Entry::InSync { epoch })?;
        Ok(Stage::Next)
    }

    /// A batch that was found done by reading has no change to ask about. The records show what is
    /// accepted, not what is in force, so it counts as in sync only when the time that the policy gives
    /// a change has passed. Where the name servers can be asked, they prove the batch that carries the
    /// epoch record, and that one alone: the other zones have no epoch to show.
    fn nameless_have_settled(&self) -> bool {
        let (Some(order), Some(lever)) = (&self.acts.order, self.lever()) else { return true };
        let asked = lever.readback != Readback::None && self.levers.resolver.is_some();
        let now = self.clock.now();
        order.batches.iter().zip(&order.plan.batches).all(|(state, batch)| match state {
            BatchState::Accepted { at, change: None } => {
                (asked && publishes(batch, &lever.epoch_record))
                    || now.since(*at) >= lever.in_sync_within
            }
            BatchState::Accepted { change: Some(_), .. }
            | BatchState::Waiting
            | BatchState::Sending { .. } => true,
        })
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
            Ok(Found::Other(what)) => self.drifted(&what),
            Err(failure) => self.lever_failed(failure),
        }
    }

    /// Every name server of the epoch record's zone must answer with our epoch. A single answer of a
    /// weighted name proves nothing, as any region may be drawn; the TXT changed in the same batch.
    ///
    /// Zones without the epoch record have only the word of the service. Where nothing can be asked,
    /// that word is the end too. A server that stays silent is excused when the change has been in sync
    /// for `in_sync_within`; one that answers something else never is.
    pub(super) async fn see_answered(&mut self) -> Result<Stage, JournalError> {
        let (Some(order), Some(lever)) = (&self.acts.order, self.lever()) else {
            return Ok(Stage::Next);
        };
        let record = lever.epoch_record.clone();
        let publishing = order.plan.batches.iter().find(|batch| publishes(batch, &record)).cloned();
        let epoch = order.plan.epoch;
        let overdue =
            order.in_sync_at.is_some_and(|at| self.clock.now().since(at) > lever.in_sync_within);
        let (Some(batch), Some(resolver)) = (publishing, self.levers.resolver.clone()) else {
            return Ok(Stage::Next);
        };
        let servers = match lever.readback.clone() {
            Readback::None => return Ok(Stage::Next),
            Readback::Servers(servers) => servers,
            Readback::NameServers => match self.name_servers(&record.zone).await? {
                Some(servers) => servers,
                None => return Ok(Stage::Later),
            },
        };
        let shown = ask_all(&resolver, servers, &record.name, &self.policy.service).await;
        let is = |wanted: &dyn Fn(&Shown) -> bool| shown.values().any(wanted);
        let overtaken = is(&|shown| matches!(shown, Shown::Epoch(other) if *other > epoch));
        let behind = is(&|shown| *shown != Shown::Epoch(epoch) && *shown != Shown::Silence);
        let silent = shown.is_empty() || is(&|shown| *shown == Shown::Silence);
        if overtaken || (behind && overdue) {
            return self.overtaken(&batch).await;
        }
        if behind || (silent && !overdue) {
            return Ok(Stage::Later);
        }
        if silent {
            let service = self.policy.service.as_str();
            warn!(
                service,
                epoch = epoch.0,
                ?shown,
                "In sync, but not every name server could be asked."
            );
        }
        Ok(Stage::Next)
    }

    async fn name_servers(&mut self, zone: &ZoneId) -> Result<Option<Vec<String>>, JournalError> {
        if self.pace.try_take(1, 0).is_err() {
            return Ok(None);
        }
        let known = match &self.levers.weights {
            Some(weights) => weights.name_servers(zone).await,
            None => Err(no_client()),
        };
        match known {
            Ok(mut servers) => {
                self.lever_well()?;
                servers.truncate(SERVERS_MAX);
                Ok(Some(servers))
            }
            Err(failure) => self.lever_failed(failure).map(|_| None),
        }
    }

    /// Servers answer something else than ours. Only the records tell whether it was overwritten or is
    /// still on its way.
    async fn overtaken(&mut self, batch: &Batch) -> Result<Stage, JournalError> {
        match look(self.levers, batch).await {
            Ok(Found::After) => Ok(Stage::Later),
            Ok(Found::Before) => self.drifted("the records are as they were before our change"),
            Ok(Found::Other(what)) => self.drifted(&what),
            Err(failure) => self.lever_failed(failure),
        }
    }

    /// Somebody else changed what we had written, before it was proven.
    fn drifted(&mut self, what: &str) -> Result<Stage, JournalError> {
        self.note(&Entry::Drifted { what: what.to_owned() })?;
        self.end(Outcome::Refused { why: what.to_owned() }).map(Stage::Over)
    }
}

/// What one server says of the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Epoch(Epoch),
    /// It answered, but with nothing of this service.
    Nothing,
    /// It could not be asked.
    Silence,
}

fn publishes(batch: &Batch, record: &EpochRecord) -> bool {
    batch.zone == record.zone
        && batch.swaps.iter().any(|swap| swap.after.name == record.name && swap.after.kind == "TXT")
}

/// Asks all servers at the same time, so that silent ones cost one time-out together.
async fn ask_all(
    resolver: &Arc<dyn Resolver>,
    servers: Vec<String>,
    name: &RecordName,
    service: &ServiceName,
) -> BTreeMap<String, Shown> {
    let mut shown: BTreeMap<String, Shown> =
        servers.iter().map(|server| (server.clone(), Shown::Silence)).collect();
    let mut asking = JoinSet::new();
    for server in servers {
        let (resolver, name) = (Arc::clone(resolver), name.clone());
        asking.spawn(async move {
            let values = resolver.ask(&server, &name, "TXT").await;
            (server, values)
        });
    }
    while let Some(answered) = asking.join_next().await {
        // A task that died has not answered.
        let Ok((server, Ok(values))) = answered else { continue };
        let ours = values
            .iter()
            .filter_map(|value| EpochTxt::parse(value).ok())
            .find(|txt| txt.service == *service);
        shown.insert(server, ours.map_or(Shown::Nothing, |txt| Shown::Epoch(txt.epoch)));
    }
    shown
}
