//! What a batch may do: limits, preconditions, and which record sets can live beside each other.

use super::{Key, Sets};
use crate::domain::RecordName;
use crate::plan::{Batch, RecordData, RecordSet};
use crate::ports::CallFailed;

/// Elements a request may carry (`ChangeResourceRecordSets`, limits).
const ELEMENTS_MAX: usize = 1000;
/// Characters of all values of a request.
const CHARACTERS_MAX: usize = 32_000;
const COMMENT_MAX: usize = 256;

/// The record sets after the batch, or why nothing of it happens.
pub(super) fn apply(apex: &RecordName, sets: &Sets, batch: &Batch) -> Result<Sets, CallFailed> {
    within_limits(batch)?;
    let mut after = sets.clone();
    let mut stale = Vec::new();
    for before in batch.swaps.iter().filter_map(|swap| swap.before.as_ref()) {
        match after.remove(&Key::of(before)) {
            Some(found) if same(&found, before) => {}
            Some(_) => stale.push(format!(
                "tried to delete {} but the values provided do not match the current values",
                described(before)
            )),
            None => {
                stale.push(format!("tried to delete {} but it was not found", described(before)));
            }
        }
    }
    for set in batch.swaps.iter().map(|swap| &swap.after) {
        well_formed(apex, set)?;
        if after.insert(Key::of(set), set.clone()).is_some() {
            stale.push(format!("tried to create {} but it already exists", described(set)));
        }
    }
    if !stale.is_empty() {
        return Err(CallFailed::Conflict { why: stale.join(", ") });
    }
    batch.swaps.iter().try_for_each(|swap| get_along(&after, &swap.after))?;
    Ok(after)
}

fn refused(why: String) -> CallFailed {
    CallFailed::Refused { code: "InvalidChangeBatch".to_owned(), why }
}

fn described(set: &RecordSet) -> String {
    let id = set.set_identifier.as_ref().map(|id| format!(" `{id}`")).unwrap_or_default();
    format!("{} {}{id}", set.name, set.kind)
}

fn within_limits(batch: &Batch) -> Result<(), CallFailed> {
    let sets = || batch.swaps.iter().flat_map(|swap| swap.before.iter().chain([&swap.after]));
    let elements: usize = sets().map(|set| values(set).len().max(1)).sum();
    let characters: usize = sets().flat_map(values).map(String::len).sum();
    if batch.swaps.is_empty() {
        return Err(refused("a batch needs a change".to_owned()));
    }
    if elements > ELEMENTS_MAX {
        return Err(refused(format!("{elements} elements, at most {ELEMENTS_MAX} are taken")));
    }
    if characters > CHARACTERS_MAX {
        return Err(refused(format!(
            "{characters} characters, at most {CHARACTERS_MAX} are taken"
        )));
    }
    if batch.comment.chars().count() > COMMENT_MAX {
        return Err(refused(format!("a comment has at most {COMMENT_MAX} characters")));
    }
    Ok(())
}

fn values(set: &RecordSet) -> &[String] {
    match &set.data {
        RecordData::Values(values) => values,
        RecordData::Alias { .. } => &[],
    }
}

/// Equal but for the order of the values, which Route 53 does not keep.
fn same(found: &RecordSet, named: &RecordSet) -> bool {
    let sorted = |set: &RecordSet| {
        let mut set = set.clone();
        if let RecordData::Values(values) = &mut set.data {
            values.sort();
        }
        set
    };
    sorted(found) == sorted(named)
}

fn well_formed(apex: &RecordName, set: &RecordSet) -> Result<(), CallFailed> {
    let what = described(set);
    if !set.name.is_in(apex) {
        return Err(refused(format!("{what} is not in the zone of `{apex}`")));
    }
    if set.weight.is_some() != set.set_identifier.is_some() {
        return Err(refused(format!(
            "{what} needs both a weight and a set identifier, or neither"
        )));
    }
    match &set.data {
        RecordData::Values(values) if values.is_empty() => {
            Err(refused(format!("{what} has no value")))
        }
        RecordData::Values(_) if set.ttl.is_none() => Err(refused(format!("{what} has no TTL"))),
        RecordData::Values(values) if set.kind == "CNAME" && values.len() > 1 => {
            Err(refused(format!("{what} has more than one value")))
        }
        RecordData::Alias { .. } if set.ttl.is_some() => {
            Err(refused(format!("{what} is an alias and has a TTL")))
        }
        RecordData::Values(_) | RecordData::Alias { .. } => Ok(()),
    }
}

/// A CNAME lives alone at its name, and a name of one type is either weighted or not.
fn get_along(sets: &Sets, set: &RecordSet) -> Result<(), CallFailed> {
    for other in sets.values().filter(|other| other.name == set.name) {
        if other.kind == set.kind && other.weight.is_some() != set.weight.is_some() {
            return Err(refused(format!(
                "{} is {} but one beside it is not",
                described(set),
                if set.weight.is_some() { "weighted" } else { "not weighted" }
            )));
        }
        if other.kind != set.kind && (other.kind == "CNAME" || set.kind == "CNAME") {
            return Err(refused(format!("{} cannot stand beside a CNAME", described(set))));
        }
    }
    Ok(())
}
