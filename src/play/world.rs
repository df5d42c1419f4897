//! The ports of the round, played: a call becomes an action, its result comes with the next line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::hello::{EPOCH_NAME, Hello, NAME};
use super::intake::stamp;
use crate::domain::{
    BalancerName, InAnswers, RecordName, RegionName, Timestamp, Turn, Weight, ZoneId,
};
use crate::memory::Order;
use crate::plan::{Batch, RecordData, RecordSet};
use crate::ports::{
    Balancers, CallFailed, ChangeId, ChangeStatus, Clock, Outbox, Switches, Weights,
};
use crate::tell::{Letter, Receipt};

/// What the player has told us, and what we have told it.
#[derive(Debug)]
pub struct World {
    regions: Vec<RegionName>,
    /// A policy may have others, of which the trace knows nothing.
    balancers: BTreeSet<BalancerName>,
    ttl: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Timestamp,
    /// `None` while the DNS service does not answer.
    dns: Option<Dns>,
    last_weights: BTreeMap<RegionName, u8>,
    spoken: Vec<Value>,
    waiting: VecDeque<Waiting>,
    receipts: Vec<Receipt>,
    /// The epoch record as last accepted, and that of a call whose outcome is not known, with the
    /// weights by which its effect can be told.
    epoch: Option<RecordSet>,
    attempt: Option<(BTreeMap<RegionName, u8>, RecordSet)>,
}

/// Who waits for the result of an action.
#[derive(Debug)]
enum Waiting {
    Nobody,
    Call(oneshot::Sender<Value>),
    Letter(Box<Letter>),
}

#[derive(Debug, Clone)]
struct Dns {
    weights: BTreeMap<RegionName, u8>,
    pending: Vec<String>,
}

impl World {
    pub fn new(hello: &Hello) -> Self {
        let regions = hello.regions.iter().map(|region| region.id.clone()).collect();
        let balancers = hello.regions.iter().flat_map(|region| &region.load_balancers);
        let balancers = balancers.map(|balancer| balancer.id.clone()).collect();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time to live, clamped"
        )]
        let ttl = hello.dns.ttl_s.clamp(0.0, 1e6) as u32;
        Self { regions, balancers, ttl, state: Mutex::default() }
    }

    /// After a restart: an order that was open may have happened.
    pub(super) fn remember(&self, order: Option<&Order>) {
        for batch in order.into_iter().flat_map(|order| &order.plan.batches) {
            let mut state = self.state();
            state.attempt = attempt(batch);
            let before = batch.swaps.iter().find(|swap| swap.after.kind == "TXT");
            state.epoch = before.and_then(|swap| swap.before.clone());
        }
    }

    /// Takes in one line: the time, the records, and the results of the actions before.
    pub(super) fn observe(&self, line: &Value) -> Result<(), String> {
        let now = line.get("t").and_then(Value::as_f64).ok_or("expected a time `t`")?;
        let dns = line.get("dns").filter(|dns| !dns.is_null()).map(read_dns).transpose()?;
        let results = line.get("results").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut state = self.state();
        state.now = stamp(now);
        if let Some(dns) = &dns {
            state.last_weights.clone_from(&dns.weights);
        }
        state.dns = dns;
        let mut results = results.into_iter();
        for waiting in std::mem::take(&mut state.waiting) {
            // What gets no answer now gets none any more: outcome unknown.
            let result = results.next();
            match waiting {
                Waiting::Nobody => {}
                // The round may have been given up; then nobody waits for the result.
                Waiting::Call(sender) => drop(result.map(|result| sender.send(result))),
                Waiting::Letter(letter) => {
                    let delivered = result.is_some_and(|result| result["ok"] == true);
                    // One channel is all there is: that it is dead could be told to nobody.
                    let (letter, took, lost) = (*letter, Vec::new(), Vec::new());
                    state.receipts.push(Receipt { letter, delivered, took, lost });
                }
            }
        }
        Ok(())
    }

    /// Speaks without waiting for a result.
    pub(super) fn say(&self, action: Value) {
        let mut state = self.state();
        state.spoken.push(action);
        state.waiting.push_back(Waiting::Nobody);
    }

    /// The actions since the last call, in order.
    pub(super) fn spoken(&self) -> Vec<Value> {
        std::mem::take(&mut self.state().spoken)
    }

    async fn call(&self, action: Value) -> Result<Value, CallFailed> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state();
            state.spoken.push(action);
            state.waiting.push_back(Waiting::Call(sender));
        }
        let result =
            receiver.await.map_err(|_| CallFailed::Unknown { why: "no result came".to_owned() })?;
        if result.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(result);
        }
        let code = result.get("error").and_then(Value::as_str).unwrap_or("Unknown").to_owned();
        Err(match code.as_str() {
            "Throttling" => CallFailed::Throttled { code, why: "rate exceeded".to_owned() },
            "InvalidInput" => CallFailed::Refused { code, why: "invalid input".to_owned() },
            // As with the real service, neither a 5xx nor silence tells whether it happened.
            _ => CallFailed::Unknown { why: code },
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_dns(dns: &Value) -> Result<Dns, String> {
    let weights = dns.get("weights").cloned().ok_or("expected `dns.weights`")?;
    let weights = serde_json::from_value(weights).map_err(|error| error.to_string())?;
    let pending = dns.get("pending").cloned().unwrap_or_default();
    let pending = serde_json::from_value(pending).map_err(|error| error.to_string())?;
    Ok(Dns { weights, pending })
}

fn attempt(batch: &Batch) -> Option<(BTreeMap<RegionName, u8>, RecordSet)> {
    let epoch = batch.swaps.iter().find(|swap| swap.after.kind == "TXT")?.after.clone();
    let weights = batch.swaps.iter().filter_map(|swap| {
        let region = swap.after.set_identifier.as_ref()?.parse().ok()?;
        Some((region, swap.after.weight?.0))
    });
    Some((weights.collect(), epoch))
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        self.state().now
    }
}

#[async_trait]
impl Weights for World {
    async fn read(
        &self,
        zone: &ZoneId,
        _name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed> {
        let mut state = self.state();
        let Some(dns) = state.dns.clone() else {
            return Err(CallFailed::Unknown { why: "the DNS service does not answer".to_owned() });
        };
        let happened = |(weights, _): &(BTreeMap<RegionName, u8>, RecordSet)| {
            weights.iter().all(|(region, weight)| dns.weights.get(region) == Some(weight))
        };
        if state.attempt.as_ref().is_some_and(happened) {
            state.epoch = state.attempt.take().map(|(_, epoch)| epoch);
        }
        let malformed =
            |error: crate::domain::Malformed| CallFailed::Unknown { why: error.to_string() };
        let name: RecordName = NAME.parse().map_err(malformed)?;
        let mut sets: Vec<RecordSet> = dns
            .weights
            .iter()
            .map(|(region, weight)| RecordSet {
                zone: zone.clone(),
                name: name.clone(),
                kind: "A".to_owned(),
                set_identifier: Some(region.to_string()),
                weight: Some(Weight(*weight)),
                ttl: Some(self.ttl),
                data: RecordData::Values(vec!["192.0.2.1".to_owned()]),
                health_check: None,
                foreign: Vec::new(),
            })
            .collect();
        let epoch_name: RecordName = EPOCH_NAME.parse().map_err(malformed)?;
        sets.extend(state.epoch.clone().filter(|set| set.name == epoch_name));
        Ok(sets)
    }

    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        let Some((changed, epoch)) = attempt(batch) else {
            return Err(CallFailed::Refused {
                code: "InvalidInput".to_owned(),
                why: "no epoch record".to_owned(),
            });
        };
        let mut weights = self.state().last_weights.clone();
        weights.extend(changed.clone());
        weights.retain(|region, _| self.regions.contains(region));
        self.state().attempt = Some((changed, epoch.clone()));
        let result = self.call(json!({"do": "set_weights", "weights": weights})).await?;
        let mut state = self.state();
        state.epoch = Some(epoch);
        state.attempt = None;
        Ok(ChangeId(result.get("change").and_then(Value::as_str).unwrap_or_default().to_owned()))
    }

    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        match &self.state().dns {
            None => Err(CallFailed::Unknown { why: "the DNS service does not answer".to_owned() }),
            Some(dns) if dns.pending.contains(&change.0) => Ok(ChangeStatus::Pending),
            Some(_) => Ok(ChangeStatus::InSync),
        }
    }

    async fn name_servers(&self, _zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Switches for World {
    /// The world knows one gate at a time. A flip that failed did nothing, unless one before it went
    /// through.
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        for (number, turn) in turns.iter().enumerate() {
            let healthy = turn.to == InAnswers::In;
            let flip = json!({"do": "health_flip", "region": turn.region, "healthy": healthy});
            match self.call(flip).await {
                Ok(_) => {}
                Err(failure) if number == 0 => return Err(failure),
                Err(failure) => return Err(CallFailed::Unknown { why: failure.to_string() }),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Balancers for World {
    async fn refresh(&self, balancer: &BalancerName) -> Result<(), CallFailed> {
        if !self.balancers.contains(balancer) {
            let why = format!("the trace has no balancer `{balancer}`");
            return Err(CallFailed::Refused { code: "NotFound".to_owned(), why });
        }
        self.call(json!({"do": "refresh_lb", "lb": balancer})).await.map(drop)
    }
}

impl Outbox for World {
    fn post(&self, letter: Letter) -> Result<(), CallFailed> {
        let about: Vec<String> = letter.note.about.iter().map(ToString::to_string).collect();
        let mut state = self.state();
        state.spoken.push(json!({
            "do": "notify", "severity": letter.note.severity, "about": about
        }));
        state.waiting.push_back(Waiting::Letter(Box::new(letter)));
        Ok(())
    }

    fn receipts(&self) -> Vec<Receipt> {
        std::mem::take(&mut self.state().receipts)
    }
}
