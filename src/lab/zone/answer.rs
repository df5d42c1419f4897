//! What the name servers answer: the record set of a name, chosen by weight.

use std::collections::BTreeMap;

use super::{Key, Sets, Zone, Zones, health_of, reversed};
use crate::domain::{RecordName, ZoneId};
use crate::plan::{RecordData, RecordSet};
use crate::steer::{Health, parts};

/// An alias leads to an alias at most this often.
const ALIASES_MAX: u8 = 3;
/// Seconds an alias answer lives: that of the load balancer it names (Route 53 fixes 60).
const ALIAS_TTL: u32 = 60;

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Found(Found),
    /// The name exists, but not with this type.
    NoData {
        apex: RecordName,
    },
    NoSuchName {
        apex: RecordName,
    },
    /// None of our zones.
    NotOurs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As asked, or `CNAME` where one stands in its place.
    pub kind: String,
    pub ttl: u32,
    pub values: Vec<String>,
}

impl Zones {
    /// Answers from what is in force. Each question with a weighted answer draws the next lot.
    pub fn answer(&self, name: &RecordName, kind: &str) -> Answer {
        let mut state = self.lock();
        let lot = mixed(self.seed, state.queries);
        state.queries += 1;
        // The zone with the longest name is the one that knows.
        let zone = state
            .zones
            .values()
            .filter(|zone| name.is_in(&zone.apex))
            .max_by_key(|zone| zone.apex.as_str().len());
        zone.map_or(Answer::NotOurs, |zone| look(zone, &state.health, name, kind, lot))
    }

    /// The zones' ids with the names they stand for.
    pub fn apexes(&self) -> Vec<(ZoneId, RecordName)> {
        self.lock().zones.iter().map(|(id, zone)| (id.clone(), zone.apex.clone())).collect()
    }
}

fn look(
    zone: &Zone,
    health: &BTreeMap<String, Health>,
    name: &RecordName,
    kind: &str,
    lot: u64,
) -> Answer {
    let mut name = name.clone();
    for _ in 0..ALIASES_MAX {
        let chosen = chosen(&zone.in_force, health, &name, kind, lot)
            .or_else(|| chosen(&zone.in_force, health, &name, "CNAME", lot));
        let Some(set) = chosen else { return nothing(zone, &name) };
        match &set.data {
            RecordData::Values(values) => {
                return Answer::Found(Found {
                    kind: set.kind.clone(),
                    ttl: set.ttl.unwrap_or(ALIAS_TTL),
                    values: values.clone(),
                });
            }
            RecordData::Alias { name: target, .. } => match target.parse() {
                Ok(target) => name = target,
                Err(_) => return nothing(zone, &name),
            },
        }
    }
    Answer::NoData { apex: zone.apex.clone() }
}

fn nothing(zone: &Zone, name: &RecordName) -> Answer {
    let below = reversed(name);
    let exists = zone.in_force.keys().any(|key| key.reversed.starts_with(&below));
    let apex = zone.apex.clone();
    if exists { Answer::NoData { apex } } else { Answer::NoSuchName { apex } }
}

/// Drawn by the parts that Route 53's rules give to each set.
fn chosen<'a>(
    sets: &'a Sets,
    health: &BTreeMap<String, Health>,
    name: &RecordName,
    kind: &str,
    lot: u64,
) -> Option<&'a RecordSet> {
    let first = Key { reversed: reversed(name), kind: kind.to_owned(), set_identifier: None };
    let of_name: Vec<&RecordSet> = sets
        .range(first..)
        .map(|(_, set)| set)
        .take_while(|set| &set.name == name && set.kind == kind)
        .collect();
    let weighed =
        of_name.iter().map(|set| (set.weight.map_or(1, |weight| weight.0), health_of(health, set)));
    let parts = parts(&weighed.collect::<Vec<_>>());
    let sum: u64 = parts.iter().copied().map(u64::from).sum();
    let mut left = lot % sum.max(1);
    let drawn = parts.into_iter().map(u64::from).position(|part| {
        let hit = left < part;
        left = left.saturating_sub(part);
        hit
    });
    of_name.get(drawn?).copied()
}

/// A counter made random-looking by splitmix64, so that runs repeat and lots spread evenly.
fn mixed(seed: u64, count: u64) -> u64 {
    let mut z = seed.wrapping_add(count.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
