//! What a service makes of an event: the line in the journal, and what goes into the round.

use tracing::info;

use super::intake::Taken;
use super::round::Service;
use crate::domain::Timestamp;
use crate::event::{self, Answer, Event, Meaning};
use crate::health::{self, Sample};
use crate::journal::JournalError;
use crate::memory::Entry;

/// What an event brings to the next round.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) taken: Taken,
    pub(super) event: Option<health::Event>,
    pub(super) sample: Option<Sample>,
    /// State is to be read anew.
    pub(super) look: bool,
}

impl Heard {
    fn quiet(taken: Taken) -> Self {
        Self { taken, event: None, sample: None, look: false }
    }
}

impl Service {
    /// Takes in one event, by whoever signed it. It is in the journal when this returns, if anything
    /// follows from it.
    pub(super) fn hear_event(
        &mut self,
        event: &Event,
        by: Option<&str>,
        now: Timestamp,
    ) -> Result<Heard, JournalError> {
        if self.memory.acts.heard.contains_key(&event.key) {
            return Ok(Heard::quiet(Taken::Duplicate));
        }
        let judged = event::judge(&self.policy, event, now);
        let service = self.policy.service.clone();
        let text = match by {
            Some(by) => format!("{} (from {by})", judged.text),
            None => judged.text,
        };
        match judged.meaning {
            Meaning::Nothing => {
                info!(%service, why = text, "Heard, and nothing follows.");
                Ok(Heard::quiet(Taken::Nothing { why: text }))
            }
            Meaning::Sample(sample) => {
                Ok(Heard { sample: Some(*sample), ..Heard::quiet(Taken::Handled { text }) })
            }
            Meaning::Answer(answer) => {
                // Who says so is the one whose key it was signed with; without one nobody says it.
                let Some(by) = by else {
                    let why = "an answer that nobody has signed".to_owned();
                    return Ok(Heard::quiet(Taken::Nothing { why }));
                };
                self.write_down_answer(&answer, by, now)?;
                self.write_heard(event, &text, None, now)?;
                info!(%service, by, text, "Answered.");
                Ok(Heard { look: true, ..Heard::quiet(Taken::Handled { text }) })
            }
            Meaning::Look { happening } => {
                let at = event.at.unwrap_or(now).min(now);
                let happened = happening.map(|what| health::Event { at, heard_at: now, what });
                self.write_heard(event, &text, happened.clone(), now)?;
                info!(%service, text, "Heard, looking now.");
                Ok(Heard { event: happened, look: true, ..Heard::quiet(Taken::Handled { text }) })
            }
        }
    }

    fn write_heard(
        &mut self,
        event: &Event,
        text: &str,
        happened: Option<health::Event>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let (key, text) = (event.key.clone(), text.to_owned());
        self.put(now, &Entry::Heard { key, text, event: happened })
    }

    /// The same entry as by `leeward approve`.
    fn write_down_answer(
        &mut self,
        answer: &Answer,
        by: &str,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let by = format!("{by} ({})", answer.reason);
        let entry = match answer.yes_for {
            Some(lasts) => Entry::Approved { by, until: Some(now.plus(lasts)) },
            None => Entry::Denied { by },
        };
        self.put(now, &entry)
    }

    fn put(&mut self, now: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        self.log.append(now, entry)?;
        self.memory.acts.apply(now, entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
