//! What people were told, with what every calm round has to know of it at hand.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Serialize, Serializer};

use super::Told;
use crate::domain::Timestamp;
use crate::tell::Severity;

/// By key: so that the same words are not sent twice. Read as the map that it is, and changed only through
/// its methods: hundreds of messages are remembered, and nearly no round has anything to do with one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "BTreeMap<String, Told>")]
pub struct Tellings {
    by_key: BTreeMap<String, Told>,
    /// How many of them still have to be said.
    open: usize,
    /// No word of a grave matter outside of incidents is newer than this. It may be older.
    grave_until: Option<Timestamp>,
}

impl Tellings {
    /// True if nothing is left to be said, and nothing was lost.
    pub fn all_said(&self) -> bool {
        self.open == 0
    }

    /// When the newest of those was said whose matter may have to be called over: none is newer.
    pub fn grave_until(&self) -> Option<Timestamp> {
        self.grave_until
    }

    pub(super) fn put(&mut self, key: String, told: Told) {
        if is_grave(&told) {
            self.grave_until = self.grave_until.max(Some(told.at));
        }
        self.open += usize::from(is_open(&told));
        let before = self.by_key.insert(key, told);
        self.forget(before.as_ref());
    }

    /// Whoever carried them did not survive.
    pub(super) fn lose_carriers(&mut self) {
        for told in self.by_key.values_mut() {
            told.on_its_way = false;
        }
    }

    /// Keeps the newest.
    pub(super) fn trim(&mut self, most: usize) {
        while self.by_key.len() > most {
            let oldest = self.by_key.iter().min_by_key(|(_, told)| told.at);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            let gone = self.by_key.remove(&key);
            self.forget(gone.as_ref());
        }
    }

    fn forget(&mut self, gone: Option<&Told>) {
        self.open -= usize::from(gone.is_some_and(is_open));
    }
}

fn is_open(told: &Told) -> bool {
    !told.delivered || told.unsaid.is_some()
}

/// A matter with a thread of its own or of an incident, that was told as one that needs somebody.
pub(crate) fn is_grave(told: &Told) -> bool {
    let grave = matches!(told.severity, Severity::Page | Severity::Warn);
    grave && told.delivered && told.thread.is_some()
}

impl Deref for Tellings {
    type Target = BTreeMap<String, Told>;

    fn deref(&self) -> &Self::Target {
        &self.by_key
    }
}

/// The rest follows from it, or is a bound.
impl PartialEq for Tellings {
    fn eq(&self, other: &Self) -> bool {
        self.by_key == other.by_key
    }
}

impl From<BTreeMap<String, Told>> for Tellings {
    fn from(by_key: BTreeMap<String, Told>) -> Self {
        let open = by_key.values().filter(|told| is_open(told)).count();
        let grave_until = by_key.values().filter(|told| is_grave(told)).map(|told| told.at).max();
        Self { by_key, open, grave_until }
    }
}

impl Serialize for Tellings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.by_key.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::memory::{Acts, Entry};
    use crate::tell::{Letter, Lost};

    fn posted(key: &str, severity: &str) -> Entry {
        let text = format!(
            r#"{{"service":"shop","at":0,"severity":"{severity}","about":[],"text":"x","thread":"t/{key}"}}"#
        );
        let note = serde_json::from_str(&text).unwrap();
        Entry::Posted(Box::new(Letter { key: key.to_owned(), note, page: None }))
    }

    fn told(key: &str, severity: Severity, delivered: bool) -> Entry {
        let lost = Lost { channel: "mail".to_owned(), why: "full".to_owned() };
        Entry::Told {
            severity,
            about: Vec::new(),
            key: key.to_owned(),
            text: String::new(),
            delivered,
            took: Vec::new(),
            lost: if delivered { Vec::new() } else { vec![lost] },
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        /// After whatever was said, lost and forgotten, and read back from a file.
        #[test]
        fn what_is_kept_at_hand_is_what_the_map_says(
            steps in prop::collection::vec((0_u8..6, 0_u16..300, 0_u64..100), 0..600)
        ) {
            let mut acts = Acts::default();
            let mut now = Timestamp::from_secs(1000);
            for (kind, key, passes) in steps {
                now = now.plus(Duration::from_secs(passes));
                let key = format!("k{key}");
                acts.apply(now, &match kind {
                    0 | 1 => posted(&key, "warn"),
                    2 => told(&key, Severity::Warn, true),
                    3 => told(&key, Severity::Info, true),
                    4 => told(&key, Severity::Page, false),
                    _ => Entry::Started { version: String::new() },
                });
                let anew = Tellings::from((*acts.told).clone());
                prop_assert_eq!(acts.told.open, anew.open);
                prop_assert_eq!(acts.told.all_said(), acts.told.values().all(|told| told.delivered));
                prop_assert!(acts.told.grave_until() >= anew.grave_until());
            }
            let read: Acts = serde_json::from_str(&serde_json::to_string(&acts).unwrap()).unwrap();
            prop_assert_eq!(&read, &acts);
            prop_assert_eq!(read.told.open, acts.told.open);
        }
    }
}
