//! What a service makes of an event: the line in the journal, and what goes into the round.

use std::time::Duration;

use tracing::info;

use super::intake::Taken;
use super::round::Service;
use crate::domain::Timestamp;
use crate::event::{self, Answer, Event, Kind, Meaning, What};
use crate::health::{self, Sample};
use crate::journal::JournalError;
use crate::memory::Entry;

/// Requests for a look without a time that come within this are copies. Looking once more does no harm.
const SAME_LOOK: Duration = Duration::from_secs(60);
/// Longer than a signed request is believed (five minutes before and after its time), so that nobody can send an
/// answer again.
const SAME_ANSWER: Duration = Duration::from_secs(15 * 60);
/// A deploy or a notice without a time, said again after so long, is another one: whoever sends copies does so
/// within minutes.
const SAME_CHANGE: Duration = Duration::from_secs(3600);

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
        let key = key_of(event, by);
        if self.memory.acts.heard.get(&key).is_some_and(|at| self.is_copy(event, now.since(*at))) {
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
                self.write_heard(key, &text, None, now)?;
                info!(%service, by, text, "Answered.");
                Ok(Heard { look: true, ..Heard::quiet(Taken::Handled { text }) })
            }
            Meaning::Look { happening } => {
                let at = event.at.unwrap_or(now).min(now);
                let happened = happening.map(|what| health::Event { at, heard_at: now, what });
                self.write_heard(key, &text, happened.clone(), now)?;
                info!(%service, text, "Heard, looking now.");
                Ok(Heard { event: happened, look: true, ..Heard::quiet(Taken::Handled { text }) })
            }
        }
    }

    /// Whether what has a key that was heard so long ago is the same thing again. A time in it makes it one of a
    /// kind; without, a request of every five minutes and the same yes to another question look alike.
    fn is_copy(&self, event: &Event, ago: Duration) -> bool {
        if event.at.is_some() {
            return true;
        }
        match event.what.kind() {
            Some(Kind::Look) if matches!(event.what, What::Look { .. }) => ago < SAME_LOOK,
            Some(Kind::Answer) => ago < self.policy.triggers.late_after.max(SAME_ANSWER),
            // The same version may be rolled out twice in a week.
            Some(Kind::Deploy | Kind::Notice) => ago < SAME_CHANGE,
            Some(Kind::Look | Kind::Reading) | None => true,
        }
    }

    fn write_heard(
        &mut self,
        key: String,
        text: &str,
        happened: Option<health::Event>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.put(now, &Entry::Heard { key, text: text.to_owned(), event: happened })
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

/// An id in our own form is its sender's: nobody uses up that of another.
fn key_of(event: &Event, by: Option<&str>) -> String {
    match by {
        Some(by) if event.is_ours() => format!("signed {by} {}", event.key),
        Some(_) | None => event.key.clone(),
    }
}

#[cfg(test)]
mod tests;
