//! What tasks beside the rounds have to tell: a round writes it into the journal, and people hear of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::memory::{Copied, Entry};

/// Reports that wait for a round.
pub const REPORTS_MAX: usize = 64;
/// Messages that are kept aside make at most one line of the journal in so long, however many they are.
const ASIDE_EVERY: Duration = Duration::from_secs(60);
/// Of a reason in the journal.
const WHY_MAX: usize = 300;

/// Something that happened beside the rounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Copied(Copied),
    /// A message from outside was not understood, or may not come this way.
    Aside {
        door: &'static str,
        why: String,
    },
    /// Nothing comes from this topic any more.
    Ended {
        topic: String,
    },
}

/// Gathers reports until they are worth a line.
#[derive(Debug, Default)]
pub struct Gathered {
    doors: BTreeMap<String, String>,
    count: u64,
    written_at: Option<Instant>,
}

impl Gathered {
    /// Takes what is waiting, and gives the lines that are due.
    pub fn lines(&mut self, reports: impl Iterator<Item = Report>) -> Vec<Entry> {
        let mut lines = Vec::new();
        for report in reports {
            match report {
                Report::Copied(copied) => lines.push(Entry::Copied(copied)),
                Report::Aside { door, why } => {
                    let why = why.chars().take(WHY_MAX).collect();
                    self.doors.insert(door.to_owned(), why);
                    self.count = self.count.saturating_add(1);
                }
                // Not gathered: one that is overlooked is an alarm that never comes.
                Report::Ended { topic } => {
                    let door = format!("subscription to {topic}");
                    let why = "it was ended, its alarms come no more".to_owned();
                    lines.push(Entry::KeptAside { doors: [(door, why)].into(), count: 1 });
                }
            }
        }
        let due = self.written_at.is_none_or(|at| at.elapsed() >= ASIDE_EVERY);
        if self.count > 0 && due {
            self.written_at = Some(Instant::now());
            let doors = std::mem::take(&mut self.doors);
            lines.push(Entry::KeptAside { doors, count: std::mem::take(&mut self.count) });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aside(why: &str) -> Report {
        Report::Aside { door: "sns", why: why.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_what_nobody_understands_is_a_line_a_minute() {
        let mut gathered = Gathered::default();
        let mut lines = Vec::new();
        for number in 0..600 {
            lines.extend(gathered.lines([aside(&"x".repeat(1000)), aside("last")].into_iter()));
            assert!(lines.len() <= 1 + number / 60, "{lines:?}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(lines.len(), 10);
        let count = |entry: &Entry| {
            let Entry::KeptAside { count, doors } = entry else { panic!("{entry:?}") };
            assert_eq!(doors["sns"], "last");
            *count
        };
        assert_eq!(lines.iter().map(count).sum::<u64>(), 2 + 9 * 120, "all of them are counted");
        assert!(gathered.lines(std::iter::empty()).len() <= 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_subscription_is_lost_in_no_flood() {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.lines([aside("first")].into_iter()).len(), 1);
        let topic = "arn:aws:sns:eu-west-1:1:alarms";
        let ended = Report::Ended { topic: topic.to_owned() };
        let lines = gathered.lines([aside("within a minute"), ended].into_iter());
        let [Entry::KeptAside { doors, count: 1 }] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(doors.keys().all(|door| door.ends_with(topic)), "{doors:?}");
    }
}
