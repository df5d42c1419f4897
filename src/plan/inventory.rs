//! The records as they were read, and what they say when taken together. No IO.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{RecordName, RegionName, Split, Timestamp, Weight, ZoneId};
use crate::health::Answers;
use crate::plan::{Epoch, EpochTxt, RecordData, RecordSet};
use crate::policy::{Records, Region, WeightsLever, WhichRecords};

/// Every record set of every zone that a service touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    pub read_at: Timestamp,
    pub zones: BTreeMap<ZoneId, Vec<RecordSet>>,
}

/// The weighted sets of one name and type, with the region of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    pub zone: &'a ZoneId,
    pub name: RecordName,
    pub kind: String,
    pub sets: BTreeMap<RegionName, &'a RecordSet>,
}

/// Why the records cannot be taken as one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unclear {
    /// A zone was not read.
    NotRead,
    /// The records are not as the policy describes them; says which, found and expected.
    Drift(String),
}

impl Inventory {
    /// The weights of all selected records as one answer: a split if all agree, drift if not.
    ///
    /// Regions of the policy that have no record count as weight 0.
    pub fn answers(&self, lever: &WeightsLever, regions: &BTreeMap<RegionName, Region>) -> Answers {
        let split = self.groups(lever).and_then(|groups| agreed(&groups, regions));
        match split {
            Ok(split) => Answers::Split { split, read_at: self.read_at },
            Err(Unclear::Drift(what)) => Answers::Drift { what },
            Err(Unclear::NotRead) => Answers::Unknown,
        }
    }

    /// What the epoch TXT says. `None` if there is none, or none of ours.
    pub fn epoch(&self, lever: &WeightsLever) -> Option<EpochTxt> {
        match &self.epoch_set(lever)?.data {
            RecordData::Values(values) => EpochTxt::parse(values.first()?).ok(),
            RecordData::Alias { .. } => None,
        }
    }

    /// The epoch after both ours and the published one, so that it only ever counts up, even if the
    /// journal was lost.
    pub fn next_epoch(&self, lever: &WeightsLever, ours: Epoch) -> Epoch {
        self.epoch(lever).map_or(ours, |txt| ours.max(txt.epoch)).next()
    }

    /// The set of the epoch record, whatever it holds.
    pub fn epoch_set(&self, lever: &WeightsLever) -> Option<&RecordSet> {
        let record = &lever.epoch_record;
        self.zones
            .get(&record.zone)?
            .iter()
            .find(|set| set.name == record.name && set.kind == "TXT")
    }

    /// The groups that the policy selects, busiest first: in the order of `records`, and by name
    /// where an entry selects many.
    pub fn groups(&self, lever: &WeightsLever) -> Result<Vec<Group<'_>>, Unclear> {
        let mut chosen: BTreeSet<(&ZoneId, RecordName, String)> = BTreeSet::new();
        let mut groups = Vec::new();
        let zones: BTreeMap<&ZoneId, ByName<'_>> =
            self.zones.iter().map(|(zone, sets)| (zone, by_name(sets))).collect();
        for records in &lever.records {
            let (zone, by_name) = zones.get_key_value(&records.zone).ok_or(Unclear::NotRead)?;
            for group in select(zone, by_name, records)? {
                if chosen.insert((group.zone, group.name.clone(), group.kind.clone())) {
                    groups.push(group);
                }
            }
        }
        Ok(groups)
    }
}

type ByName<'a> = BTreeMap<(&'a RecordName, &'a str), Vec<&'a RecordSet>>;

fn by_name(sets: &[RecordSet]) -> ByName<'_> {
    let mut groups: ByName<'_> = BTreeMap::new();
    for set in sets {
        groups.entry((&set.name, set.kind.as_str())).or_default().push(set);
    }
    groups
}

fn select<'a>(
    zone: &'a ZoneId,
    sets: &ByName<'a>,
    records: &Records,
) -> Result<Vec<Group<'a>>, Unclear> {
    let keys: Vec<(RecordName, String)> = match &records.which {
        WhichRecords::Named { name, types } => {
            types.iter().map(|kind| (name.clone(), kind.to_ascii_uppercase())).collect()
        }
        WhichRecords::All => sets
            .iter()
            .filter(|(_, group)| has_every_member(group, records))
            .map(|((name, kind), _)| ((*name).clone(), (*kind).to_owned()))
            .collect(),
    };
    if keys.is_empty() {
        let members: Vec<String> = records.members.values().map(|id| format!("`{id}`")).collect();
        return Err(Unclear::Drift(format!(
            "zone {zone} has no weighted name with a set for each of {}",
            members.join(", ")
        )));
    }
    keys.into_iter()
        .map(|(name, kind)| {
            let found = sets.get(&(&name, kind.as_str())).cloned().unwrap_or_default();
            group(zone, name, kind, &found, records)
        })
        .collect()
}

fn has_every_member(group: &[&RecordSet], records: &Records) -> bool {
    let ids: BTreeSet<&str> = group
        .iter()
        .filter(|set| set.weight.is_some())
        .filter_map(|set| set.set_identifier.as_deref())
        .collect();
    records.members.values().all(|id| ids.contains(id.as_str()))
}

/// One group, every set of it known, weighted and whole.
fn group<'a>(
    zone: &'a ZoneId,
    name: RecordName,
    kind: String,
    found: &[&'a RecordSet],
    records: &Records,
) -> Result<Group<'a>, Unclear> {
    let drift = |what: String| Unclear::Drift(format!("`{name}` {kind} in zone {zone}: {what}"));
    let mut sets = BTreeMap::new();
    for set in found {
        let id = set.set_identifier.as_deref().unwrap_or_default();
        let Some((region, _)) = records.members.iter().find(|(_, member)| *member == id) else {
            return Err(drift(if set.set_identifier.is_none() {
                "found a plain record, expected weighted sets".to_owned()
            } else {
                format!("found a set `{id}` that no region of the policy owns")
            }));
        };
        if let Some(field) = set.foreign.first() {
            return Err(drift(format!("set `{id}` has `{field}`, which is not understood")));
        }
        if set.weight.is_none() {
            return Err(drift(format!("set `{id}` has no weight")));
        }
        sets.insert(region.clone(), *set);
    }
    if let Some((region, id)) =
        records.members.iter().find(|(region, _)| !sets.contains_key(*region))
    {
        return Err(drift(format!("the set `{id}` of region `{region}` is missing")));
    }
    Ok(Group { zone, name, kind, sets })
}

/// The one split on which all groups agree.
fn agreed(groups: &[Group<'_>], regions: &BTreeMap<RegionName, Region>) -> Result<Split, Unclear> {
    let mut weights: BTreeMap<RegionName, (Weight, &Group<'_>)> = BTreeMap::new();
    for group in groups {
        let mut sum = 0_u32;
        for (region, set) in &group.sets {
            let weight = set.weight.unwrap_or_default();
            sum += u32::from(weight.0);
            let (expected, first) = *weights.entry(region.clone()).or_insert((weight, group));
            if expected != weight {
                return Err(Unclear::Drift(format!(
                    "`{}` {} in zone {}: set `{}` of region `{region}` has weight {weight}, \
                     expected {expected} as on `{}` {}",
                    group.name,
                    group.kind,
                    group.zone,
                    set.set_identifier.as_deref().unwrap_or_default(),
                    first.name,
                    first.kind,
                )));
            }
        }
        if sum == 0 {
            return Err(Unclear::Drift(format!(
                "`{}` {} in zone {}: every weight is 0, so all regions are answered alike",
                group.name, group.kind, group.zone
            )));
        }
    }
    let zeros = regions.keys().map(|region| (region.clone(), Weight(0)));
    let mut split: BTreeMap<RegionName, Weight> = zeros.collect();
    split.extend(weights.into_iter().map(|(region, (weight, _))| (region, weight)));
    Split::new(split).map_err(|_| Unclear::Drift("no record has a weight above 0".to_owned()))
}
