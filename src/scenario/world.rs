//! The world around a case: a clock that is set by hand, records as the policy describes them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::domain::{BalancerName, RecordName, Timestamp, ZoneId};
use crate::lab::zone::Zones;
use crate::plan::{HookAnswer, HookCall, HookEnd, RecordData, RecordSet};
use crate::policy::{Hook, Policy, Records, WhichRecords};
use crate::ports::{Balancers, CallFailed, Clock, Hooks};

/// Virtual time.
#[derive(Debug)]
pub(super) struct Clockwork(AtomicI64);

impl Clockwork {
    pub(super) fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.as_millis()))
    }

    pub(super) fn set(&self, at: Timestamp) {
        self.0.store(at.as_millis(), Ordering::Relaxed);
    }
}

impl Clock for Clockwork {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Takes every refresh.
#[derive(Debug)]
pub(super) struct Refresher;

#[async_trait]
impl Balancers for Refresher {
    async fn refresh(&self, _balancer: &BalancerName) -> Result<(), CallFailed> {
        Ok(())
    }
}

/// Hooks that answer at once: no, if they are in the list.
#[derive(Debug)]
pub(super) struct Answering {
    vetoes: Vec<String>,
    ended: Mutex<Vec<HookEnd>>,
}

impl Answering {
    pub(super) fn new(vetoes: &[String]) -> Self {
        Self { vetoes: vetoes.to_vec(), ended: Mutex::default() }
    }
}

impl Hooks for Answering {
    fn begin(&self, hook: &Hook, call: &HookCall) {
        let (answer, says) = if self.vetoes.contains(&hook.name) {
            (HookAnswer::Veto, "the test says so".to_owned())
        } else {
            (HookAnswer::Yes, String::new())
        };
        let end = HookEnd { key: call.key.clone(), attempt: call.attempt, answer, says };
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(end);
    }

    fn ended(&self) -> Vec<HookEnd> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A zone for each that the policy names, with its records as on a calm day.
pub(super) fn records(policy: &Policy, zones: &Zones) {
    let Some(lever) = policy.weights_lever() else { return };
    let mut by_zone: BTreeMap<ZoneId, Vec<RecordName>> = BTreeMap::new();
    for records in &lever.records {
        let names = by_zone.entry(records.zone.clone()).or_default();
        if let WhichRecords::Named { name, .. } = &records.which {
            names.push(name.clone());
        }
    }
    by_zone
        .entry(lever.epoch_record.zone.clone())
        .or_default()
        .push(lever.epoch_record.name.clone());
    for (zone, names) in by_zone {
        let Some(apex) = apex(&names) else { continue };
        let ttl = u32::try_from(lever.ttl.as_secs()).unwrap_or(u32::MAX);
        let of_zone = lever.records.iter().filter(|records| records.zone == zone);
        let sets: Vec<RecordSet> =
            of_zone.flat_map(|records| sets(policy, records, &apex, ttl)).collect();
        zones.add(zone, apex, vec!["ns.invalid".to_owned()], sets);
    }
}

/// The longest name that all of them are in. A zone of unnamed records gets a name of its own.
fn apex(names: &[RecordName]) -> Option<RecordName> {
    let Some((first, rest)) = names.split_first() else { return "zone.invalid".parse().ok() };
    let mut candidate = first.as_str();
    loop {
        if let Ok(apex) = candidate.parse::<RecordName>()
            && rest.iter().all(|name| name.is_in(&apex))
        {
            return Some(apex);
        }
        candidate = candidate.split_once('.')?.1;
    }
}

fn sets(policy: &Policy, records: &Records, apex: &RecordName, ttl: u32) -> Vec<RecordSet> {
    let names: Vec<(RecordName, String)> = match &records.which {
        WhichRecords::Named { name, types } => {
            types.iter().map(|kind| (name.clone(), kind.clone())).collect()
        }
        // Which names there are is only known by reading: one stands for all.
        WhichRecords::All => {
            format!("any.{apex}").parse().map(|name| (name, "A".to_owned())).into_iter().collect()
        }
    };
    let mut sets = Vec::new();
    for (name, kind) in names {
        for (region, identifier) in &records.members {
            sets.push(RecordSet {
                zone: records.zone.clone(),
                name: name.clone(),
                kind: kind.clone(),
                set_identifier: Some(identifier.clone()),
                weight: policy.regions.get(region).map(|region| region.weight),
                ttl: Some(ttl),
                data: RecordData::Values(vec![value(&kind).to_owned()]),
                health_check: None,
                foreign: Vec::new(),
            });
        }
    }
    sets
}

/// Something that a record of this type may say. Nobody asks for it.
fn value(kind: &str) -> &'static str {
    match kind {
        "A" => "192.0.2.1",
        "AAAA" => "2001:db8::1",
        "TXT" => "\"test\"",
        _ => "somewhere.invalid.",
    }
}
