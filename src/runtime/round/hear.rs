//! Events that come with a round: what of them goes into the journal.

use super::Service;
use crate::domain::Timestamp;
use crate::health::{Event, Happening};
use crate::journal::JournalError;
use crate::memory::{Entry, Pin};

impl Service {
    /// What humans say is kept in the journal before anything else happens, and so is what lasts: a version that
    /// runs is still the suspect after a restart.
    pub(super) fn hear(&mut self, event: &Event, now: Timestamp) -> Result<(), JournalError> {
        let entry = match &event.what {
            Happening::Freeze { by, reason, until } => {
                let (by, reason) = (by.clone(), reason.clone());
                Entry::Pinned(Pin { by, reason, since: now, until: *until })
            }
            Happening::Unfreeze { by } => Entry::Unpinned { by: by.clone() },
            Happening::Approve { by, until } => Entry::Approved { by: by.clone(), until: *until },
            Happening::Deny { by } => Entry::Denied { by: by.clone() },
            // By the intake it is in the journal already.
            Happening::Deploy { .. } | Happening::Notice { .. }
                if self.memory.acts.context.contains(event) =>
            {
                return Ok(());
            }
            Happening::Deploy { regions, version, scope } => {
                let names: Vec<String> = regions.iter().map(ToString::to_string).collect();
                lasts(event, format!("deploy of {version} ({scope}) to {}", names.join(", ")))
            }
            Happening::Notice { text } => lasts(event, format!("notice: {text}")),
            Happening::Alarm { .. } => return Ok(()),
        };
        self.note(&entry)
    }
}

/// Of an event that came to a round by itself, as in a trace: there it has no id of its own.
fn lasts(event: &Event, text: String) -> Entry {
    Entry::Heard { key: format!("round {} {text}", event.at), text, event: Some(event.clone()) }
}
