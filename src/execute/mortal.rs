//! For tests: a process that dies at a line of its journal or at a call, and the lines that outlive it.

use crate::domain::Timestamp;
use crate::journal::JournalError;
use crate::memory::{Acts, Entry};

#[derive(Debug, Default)]
pub(super) struct Mortal {
    /// Lines and calls until it dies.
    pub(super) fuse: Option<usize>,
    pub(super) log: Vec<(Timestamp, Entry)>,
}

impl Mortal {
    /// Whether it is dead, at one more line or call.
    pub(super) fn burns(&mut self) -> bool {
        match &mut self.fuse {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    /// It may die before the line is written and after it.
    pub(super) fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        let dead = || JournalError::Poisoned { path: "gone".into() };
        if self.burns() {
            return Err(dead());
        }
        // As a real line: what cannot be read again would be lost.
        let text = serde_json::to_string(entry).unwrap();
        self.log.push((at, serde_json::from_str(&text).unwrap()));
        if self.burns() { Err(dead()) } else { Ok(()) }
    }

    /// What the next process remembers.
    pub(super) fn acts(&self) -> Acts {
        let mut acts = Acts::default();
        for (at, entry) in &self.log {
            acts.apply(*at, entry);
        }
        acts
    }
}
