//! Route 53 in memory: hosted zones that take, delay and answer changes as the real ones do.
//!
//! It holds state and refuses what Route 53 refuses: a batch happens as a whole or not at all, a
//! `DELETE` must name the record set exactly, a `CREATE` must not find one. An accepted change is listed
//! at once and `PENDING`; the name servers answer it only when it is `INSYNC`. What is deliberately
//! absent: geography, private zones, request rates. Health checks are told from outside.

mod answer;
mod rules;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Found};

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use crate::domain::{RecordName, Timestamp, ZoneId};
use crate::plan::{Batch, RecordData, RecordSet, Swap};
use crate::ports::{CallFailed, ChangeId, ChangeStatus, Clock, Weights};
use crate::steer::Health;

/// Changes whose fate can be asked for; older ones are forgotten and taken for in sync.
const CHANGES_MAX: usize = 10_000;

/// What is wrong with the control plane at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Impairment {
    #[default]
    None,
    /// Every call fails like this, and nothing happens.
    Fails(CallFailed),
    /// No call is answered: whoever made it gives up after so long.
    Hangs(Duration),
    /// Changes are taken, and stay `PENDING` until this ends.
    Stuck,
    /// Changes are taken, and the answer gets lost.
    AnswerLost,
}

/// Record sets by name (reversed by label, as Route 53 lists them), type and set identifier.
type Sets = BTreeMap<Key, RecordSet>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    reversed: Vec<String>,
    kind: String,
    set_identifier: Option<String>,
}

impl Key {
    fn of(set: &RecordSet) -> Self {
        Self {
            reversed: reversed(&set.name),
            kind: set.kind.clone(),
            set_identifier: set.set_identifier.clone(),
        }
    }
}

fn reversed(name: &RecordName) -> Vec<String> {
    name.as_str().rsplit('.').map(str::to_owned).collect()
}

#[derive(Debug, Clone)]
struct Zone {
    apex: RecordName,
    name_servers: Vec<String>,
    /// What a list shows: everything that was accepted.
    accepted: Sets,
    /// What the name servers answer.
    in_force: Sets,
}

#[derive(Debug)]
struct Pending {
    change: ChangeId,
    zone: ZoneId,
    swaps: Vec<Swap>,
    /// `None` while the control plane is stuck.
    in_sync_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct State {
    zones: BTreeMap<ZoneId, Zone>,
    pending: VecDeque<Pending>,
    done: VecDeque<ChangeId>,
    changes: u64,
    impairment: Impairment,
    queries: u64,
    /// What health checks say; one that says nothing yet is healthy.
    health: BTreeMap<String, Health>,
}

/// The zones of one account.
pub struct Zones {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    /// From acceptance to `INSYNC`. Generally within 60 s at Route 53.
    propagation: Duration,
    /// Makes the weighted choice repeatable.
    seed: u64,
}

impl fmt::Debug for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zones").field("propagation", &self.propagation).finish_non_exhaustive()
    }
}

impl Zones {
    pub fn new(clock: Arc<dyn Clock>, propagation: Duration, seed: u64) -> Self {
        Self { state: Mutex::default(), clock, propagation, seed }
    }

    /// Adds a zone with the records that every zone has, and those given, all of them in force.
    pub fn add(
        &self,
        id: ZoneId,
        apex: RecordName,
        name_servers: Vec<String>,
        records: impl IntoIterator<Item = RecordSet>,
    ) {
        let own = own_records(&id, &apex, &name_servers);
        let sets: Sets = own.into_iter().chain(records).map(|set| (Key::of(&set), set)).collect();
        let zone = Zone { apex, name_servers, accepted: sets.clone(), in_force: sets };
        self.lock().zones.insert(id, zone);
    }

    pub fn impair(&self, impairment: Impairment) {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.impairment == Impairment::Stuck && impairment != Impairment::Stuck {
            for pending in &mut state.pending {
                pending.in_sync_at = pending.in_sync_at.or(Some(now.plus(self.propagation)));
            }
        }
        state.impairment = impairment;
    }

    /// A health check has spoken: records with it are answered accordingly, at once.
    pub fn set_health(&self, check: &str, health: Health) {
        self.lock().health.insert(check.to_owned(), health);
    }

    /// What the check of a record says.
    pub fn health_of(&self, set: &RecordSet) -> Health {
        health_of(&self.lock().health, set)
    }

    /// Everything that the name servers of a zone answer now, for eyes and tests.
    pub fn in_force(&self, zone: &ZoneId) -> Vec<RecordSet> {
        let state = self.lock();
        state
            .zones
            .get(zone)
            .map(|zone| zone.in_force.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Everything that a list shows now.
    pub fn accepted(&self, zone: &ZoneId) -> Vec<RecordSet> {
        let state = self.lock();
        state
            .zones
            .get(zone)
            .map(|zone| zone.accepted.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether the name servers answer by this change already; one that was forgotten counts.
    pub fn is_in_force(&self, change: &ChangeId) -> bool {
        !self.lock().pending.iter().any(|pending| &pending.change == change)
    }

    /// Number of changes that were accepted.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// As long as a caller waits for a control plane that does not answer.
    async fn hang(&self) {
        let impairment = self.lock().impairment.clone();
        if let Impairment::Hangs(patience) = impairment {
            sleep(patience).await;
        }
    }

    /// The state, with everything in force that is due by now.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle(self.clock.now());
        state
    }
}

impl State {
    /// Brings changes into force in the order in which they were accepted.
    fn settle(&mut self, now: Timestamp) {
        while let Some(first) = self.pending.front()
            && first.in_sync_at.is_some_and(|due| due <= now)
            && let Some(due) = self.pending.pop_front()
        {
            if let Some(zone) = self.zones.get_mut(&due.zone) {
                for swap in &due.swaps {
                    if let Some(before) = &swap.before {
                        zone.in_force.remove(&Key::of(before));
                    }
                    zone.in_force.insert(Key::of(&swap.after), swap.after.clone());
                }
            }
            self.done.push_back(due.change);
            if self.done.len() > CHANGES_MAX {
                self.done.pop_front();
            }
        }
    }

    fn call(&self) -> Result<(), CallFailed> {
        match &self.impairment {
            Impairment::Fails(failure) => Err(failure.clone()),
            Impairment::Hangs(_) => Err(CallFailed::Unknown { why: "no answer".to_owned() }),
            Impairment::None | Impairment::Stuck | Impairment::AnswerLost => Ok(()),
        }
    }

    fn zone(&self, id: &ZoneId) -> Result<&Zone, CallFailed> {
        self.zones.get(id).ok_or_else(|| CallFailed::NotFound {
            code: "NoSuchHostedZone".to_owned(),
            why: format!("no hosted zone `{id}`"),
        })
    }
}

fn health_of(known: &BTreeMap<String, Health>, set: &RecordSet) -> Health {
    let check = set.health_check.as_ref();
    check.and_then(|check| known.get(check)).copied().unwrap_or(Health::Healthy)
}

fn own_records(id: &ZoneId, apex: &RecordName, name_servers: &[String]) -> [RecordSet; 2] {
    let set = |kind: &str, ttl: u32, values: Vec<String>| RecordSet {
        zone: id.clone(),
        name: apex.clone(),
        kind: kind.to_owned(),
        set_identifier: None,
        weight: None,
        ttl: Some(ttl),
        data: RecordData::Values(values),
        health_check: None,
        foreign: Vec::new(),
    };
    let dotted = |host: &String| format!("{}.", host.trim_end_matches('.'));
    let first = name_servers.first().map_or_else(|| "ns.invalid.".to_owned(), dotted);
    let soa = format!("{first} hostmaster.{apex}. 1 7200 900 1209600 86400");
    [set("NS", 172_800, name_servers.iter().map(dotted).collect()), set("SOA", 900, vec![soa])]
}

#[async_trait]
impl Weights for Zones {
    async fn read(
        &self,
        zone: &ZoneId,
        name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed> {
        self.hang().await;
        let state = self.lock();
        state.call()?;
        let from = name.map(reversed).unwrap_or_default();
        let listed = state.zone(zone)?.accepted.iter().filter(|(key, _)| key.reversed >= from);
        Ok(listed.map(|(_, set)| set.clone()).collect())
    }

    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        self.hang().await;
        let now = self.clock.now();
        let mut state = self.lock();
        state.call()?;
        let zone = state.zone(&batch.zone)?;
        let accepted = rules::apply(&zone.apex, &zone.accepted, batch)?;
        let stuck = state.impairment == Impairment::Stuck
            || state.pending.iter().any(|before| before.in_sync_at.is_none());
        state.changes += 1;
        let change = ChangeId(format!("C{:020X}", state.changes));
        state.pending.push_back(Pending {
            change: change.clone(),
            zone: batch.zone.clone(),
            swaps: batch.swaps.clone(),
            in_sync_at: (!stuck).then(|| now.plus(self.propagation)),
        });
        if let Some(zone) = state.zones.get_mut(&batch.zone) {
            zone.accepted = accepted;
        }
        if state.impairment == Impairment::AnswerLost {
            return Err(CallFailed::Unknown { why: "the connection was cut".to_owned() });
        }
        Ok(change)
    }

    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        self.hang().await;
        let state = self.lock();
        state.call()?;
        if state.done.contains(change) {
            return Ok(ChangeStatus::InSync);
        }
        if state.pending.iter().any(|pending| &pending.change == change) {
            return Ok(ChangeStatus::Pending);
        }
        Err(CallFailed::NotFound {
            code: "NoSuchChange".to_owned(),
            why: format!("no change `{}`", change.0),
        })
    }

    async fn name_servers(&self, zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
        self.hang().await;
        let state = self.lock();
        state.call()?;
        Ok(state.zone(zone)?.name_servers.clone())
    }
}
