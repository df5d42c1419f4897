//! Reading records: the whole inventory before a plan, and one zone after a call of unknown outcome.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{RecordName, Timestamp, ZoneId};
use crate::plan::{Batch, Inventory, RecordSet};
use crate::policy::WeightsLever;
use crate::ports::{CallFailed, Weights};

/// Every record set of every zone of the lever: the zones of its records and of its epoch record.
pub async fn read_inventory(
    lever: &WeightsLever,
    weights: &dyn Weights,
    now: Timestamp,
) -> Result<Inventory, CallFailed> {
    let zones: BTreeSet<&ZoneId> = lever
        .records
        .iter()
        .map(|records| &records.zone)
        .chain([&lever.epoch_record.zone])
        .collect();
    let mut inventory = Inventory { read_at: now, zones: BTreeMap::new() };
    for zone in zones {
        let mut sets = weights.read(zone, None).await?;
        sets.retain(|set| set.zone == *zone);
        inventory.zones.insert(zone.clone(), sets);
    }
    Ok(inventory)
}

/// What a batch looks like in its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Every set as the batch leaves it.
    After,
    /// Every set as the batch expects it.
    Before,
    /// Anything else; says which set.
    Other(String),
}

type Key<'a> = (&'a RecordName, &'a str, Option<&'a str>);

/// Compares the sets of a batch, whole, with the sets of its zone as read.
pub(super) fn compare(batch: &Batch, read: &[RecordSet]) -> Found {
    let found: BTreeMap<Key<'_>, &RecordSet> = read.iter().map(|set| (key(set), set)).collect();
    let is = |wanted: Option<&RecordSet>, at: Key<'_>| found.get(&at).copied() == wanted;
    let after = |swap: &crate::plan::Swap| is(Some(&swap.after), key(&swap.after));
    let before = |swap: &crate::plan::Swap| is(swap.before.as_ref(), key(&swap.after));
    if batch.swaps.iter().all(after) {
        return Found::After;
    }
    if batch.swaps.iter().all(before) {
        return Found::Before;
    }
    let odd = batch.swaps.iter().find(|swap| !after(swap) && !before(swap));
    let Some(odd) = odd.or_else(|| batch.swaps.iter().find(|swap| !after(swap))) else {
        return Found::After;
    };
    let there = found.get(&key(&odd.after)).copied();
    Found::Other(format!(
        "{} is {}, expected {} or {}",
        name_of(&odd.after),
        there.map_or_else(|| "missing".to_owned(), in_words),
        odd.before.as_ref().map_or_else(|| "nothing".to_owned(), in_words),
        in_words(&odd.after),
    ))
}

fn key(set: &RecordSet) -> Key<'_> {
    (&set.name, set.kind.as_str(), set.set_identifier.as_deref())
}

fn name_of(set: &RecordSet) -> String {
    let id = set.set_identifier.as_ref().map(|id| format!(" set `{id}`")).unwrap_or_default();
    format!("`{}` {}{id} in zone {}", set.name, set.kind, set.zone)
}

/// Weight, time to live and values: short, for a message.
fn in_words(set: &RecordSet) -> String {
    use crate::plan::RecordData;
    let weight = set.weight.map(|weight| format!("weight {weight} ")).unwrap_or_default();
    let ttl = set.ttl.map(|ttl| format!("ttl {ttl} ")).unwrap_or_default();
    let data = match &set.data {
        RecordData::Values(values) => values.join(", "),
        RecordData::Alias { name, .. } => format!("alias of {name}"),
    };
    let data: String = data.chars().take(120).collect();
    format!("{weight}{ttl}({data})")
}
