//! The journal in sentences: one line for each entry. No IO.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::card::{purpose, title, wish};
use super::{cures, plain, zones};
use crate::domain::{InAnswers, Timestamp, Turn};
use crate::memory::{Copied, Entry, Outcome};
use crate::plan::{Plan, Wanted};
use crate::ports::CallFailed;

/// One line of the journal for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub seq: u64,
    pub at: Timestamp,
    /// One word: what kind of entry.
    pub what: String,
    pub text: String,
}

impl Line {
    pub fn of(seq: u64, at: Timestamp, entry: &Entry) -> Self {
        let (what, text) = sentence(entry);
        Self { seq, at, what: what.to_owned(), text: plain(&text) }
    }

    /// `2026-11-21T02:51:20Z     41 intended   epoch 5: ...`
    pub fn text(&self) -> String {
        format!("{} {:>6} {:<10} {}", self.at, self.seq, self.what, self.text).trim_end().to_owned()
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each entry, each a sentence")]
fn sentence(entry: &Entry) -> (&'static str, String) {
    match entry {
        Entry::Started { version } => ("started", format!("leeward {version}")),
        Entry::Snapshot(acts) => {
            ("snapshot", format!("older lines are dropped, epoch {}", acts.epoch))
        }
        Entry::Decided(digest) => {
            let finding =
                digest.findings.first().map_or("nothing found".to_owned(), |finding| match finding
                    .evidence
                    .first()
                {
                    Some(evidence) => format!("{}: {evidence}", title(finding)),
                    None => title(finding),
                });
            let does = match (&digest.wanted, &digest.proposed) {
                (Some(wanted), _) => format!("; does: {}", wish(wanted)),
                (None, Some(proposed)) => format!("; would: {}", wish(proposed)),
                (None, None) => String::new(),
            };
            let holds: Vec<String> = digest.holds.iter().map(ToString::to_string).collect();
            let holds = if holds.is_empty() {
                String::new()
            } else {
                format!("; holds: {}", holds.join(", "))
            };
            ("decided", format!("{finding}{does}{holds}"))
        }
        Entry::Intended(plan) => ("intended", intention(plan)),
        Entry::Sending { epoch, batch } => {
            ("sending", format!("epoch {epoch}, call {}", batch + 1))
        }
        Entry::Accepted { epoch, batch, change } => {
            ("accepted", format!("epoch {epoch}, call {}, change {}", batch + 1, change.0))
        }
        Entry::FoundDone { epoch, batch } => {
            ("found", format!("epoch {epoch}, call {} did happen, as the records show", batch + 1))
        }
        Entry::Failed { epoch, batch, failure } => {
            ("failed", format!("epoch {epoch}, call {}: {failure}", batch + 1))
        }
        Entry::InSync { epoch } => ("in-sync", format!("epoch {epoch} is on all name servers")),
        Entry::Ended { epoch, outcome } => (
            "ended",
            match outcome {
                Outcome::Done => format!("epoch {epoch}: done"),
                Outcome::Abandoned { why } => format!("epoch {epoch}: abandoned, {why}"),
                Outcome::Refused { why } => format!("epoch {epoch}: refused, {why}"),
            },
        ),
        Entry::LeverHeard { lever, failure } => {
            let lever = format!("{lever:?}").to_lowercase();
            ("lever", outcome(&format!("`{lever}`"), "answers again", failure.as_ref()))
        }
        Entry::Turning { lever, turns } => ("turning", format!("{lever}: {}", turned(turns))),
        Entry::Turned { lever, turns, failure } => {
            let what = format!("{lever}: {}", turned(turns));
            ("turned", outcome(&what, "done", failure.as_ref()))
        }
        Entry::Stood { lever, standing } => {
            let stands = standing.iter().map(|(region, to)| format!("`{region}` {}", answers(*to)));
            ("read", format!("{lever}: {}", stands.collect::<Vec<_>>().join(", ")))
        }
        Entry::Voted { back } => {
            let regions = back.iter().map(|turn| format!("`{}`", turn.region));
            let regions = regions.collect::<Vec<_>>().join(", ");
            ("voted", format!("to take out {regions}; not enough others did, the vote stands"))
        }
        Entry::Gating { region, to } => ("gating", format!("`{region}` {}", answers(*to))),
        Entry::Gated { region, to, failure } => {
            ("gated", outcome(&format!("`{region}` {}", answers(*to)), "done", failure.as_ref()))
        }
        Entry::MovingBeside(moved) => ("moving", format!("by {} to {}", moved.lever, moved.to)),
        Entry::MovedByGates(moved) => ("moved", format!("by {} to {}", moved.lever, moved.to)),
        Entry::BesideEnded { outcome: ended } => ("beside", format!("{ended:?}").to_lowercase()),
        Entry::Refreshing { balancer } => ("refreshing", format!("balancer `{balancer}`")),
        Entry::Refreshed { balancer, failure } => {
            ("refreshed", outcome(&format!("balancer `{balancer}`"), "accepted", failure.as_ref()))
        }
        Entry::HookCalled(call) => {
            let phase = format!("{:?}", call.phase).to_lowercase();
            ("hook", format!("`{}` ({phase}) called, attempt {}", call.hook, call.attempt))
        }
        Entry::HookEnded(end) => {
            let answer = format!("{:?}", end.answer).to_lowercase();
            ("hook", format!("{} ended: {answer}, {}", end.key, end.says))
        }
        Entry::Cure { balancer, note } => cures::line(balancer, note),
        Entry::Zone { balancer, note } => zones::line(balancer, note),
        Entry::Posted(letter) => {
            let note = &letter.note;
            let severity = format!("{:?}", note.severity).to_lowercase();
            let number = format!("{} no. {}", note.thread, note.sequence);
            ("telling", format!("{severity}: {} ({number})", note.text))
        }
        Entry::Told { severity, text, delivered, took, lost, .. } => {
            let severity = format!("{severity:?}").to_lowercase();
            let mut ways = if *delivered { String::new() } else { " (NOT delivered)".to_owned() };
            if !took.is_empty() {
                let _ = write!(ways, " (by {})", took.join(", "));
            }
            for lost in lost {
                let _ = write!(ways, " (not by {}: {})", lost.channel, lost.why);
            }
            ("told", format!("{severity}{ways}: {text}"))
        }
        Entry::Worded { by, bulletin } => {
            let text = bulletin.update.as_ref().map_or("", |update| &update.text);
            ("worded", format!("for the public by {by}: {text}"))
        }
        Entry::Pinned(pin) => {
            let end = pin.until.map_or("with no end".to_owned(), |until| format!("until {until}"));
            ("pinned", format!("by {} {end}: {}", pin.by, pin.reason))
        }
        Entry::Unpinned { by } => ("unpinned", format!("by {by}")),
        Entry::Approved { by, until } => {
            let end = until.map_or(String::new(), |until| format!(" until {until}"));
            ("approved", format!("by {by}{end}"))
        }
        Entry::Denied { by } => ("denied", format!("by {by}")),
        Entry::Unlatched { by } => ("unlatched", format!("by {by}")),
        Entry::Heard { text, .. } => ("heard", text.clone()),
        Entry::Incident { open } => {
            ("incident", if *open { "begins" } else { "is over" }.to_owned())
        }
        Entry::Drifted { what } => ("drifted", what.clone()),
        Entry::Asked(request) => ("asked", request.to_string()),
        Entry::AskMet => ("met", "the answers are as asked".to_owned()),
        Entry::AskDropped { why } => ("dropped", format!("what was asked: {why}")),
        Entry::Aborted(abort) => {
            ("aborted", format!("by {} until {}: {}", abort.by, abort.until, abort.reason))
        }
        Entry::Copied(Copied { failure: None, pages, octets, .. }) => {
            ("copied", format!("{pages} pages, {octets} octets, for the last resort"))
        }
        Entry::Copied(Copied { failure: Some(why), .. }) => {
            ("copied", format!("no new copy for the last resort: {why}"))
        }
        Entry::TurnedElsewhere { lever, found } if found.is_empty() => {
            ("elsewhere", format!("`{lever}` stands as it was left again"))
        }
        Entry::TurnedElsewhere { lever, found } => {
            let stand: Vec<String> = found
                .iter()
                .map(|(region, stands)| format!("{region} {}", answers(*stands)))
                .collect();
            ("elsewhere", format!("somebody else turned `{lever}`: {}", stand.join(", ")))
        }
        Entry::KeptAside { doors, count } => {
            let doors: Vec<String> =
                doors.iter().map(|(door, why)| format!("by `{door}`: {why}")).collect();
            ("aside", format!("{count} messages are not understood, {}", doors.join(", ")))
        }
    }
}

fn intention(plan: &Plan) -> String {
    let calls = plan.batches.len();
    let tokens: usize = plan.batches.iter().map(crate::plan::Batch::change_tokens).sum();
    match &plan.wanted {
        Wanted::Move(wanted) => format!(
            "epoch {}: {}: {} -> {} in {calls} call(s), {tokens} change tokens: {}",
            plan.epoch,
            purpose(wanted.purpose),
            wanted.from,
            wanted.to,
            wanted.because
        ),
        Wanted::Refresh { .. } => format!("epoch {}: {}", plan.epoch, wish(&plan.wanted)),
    }
}

pub(super) fn outcome(about: &str, well: &str, failure: Option<&CallFailed>) -> String {
    match failure {
        None => format!("{about} {well}"),
        Some(failure) => format!("{about}: {failure}"),
    }
}

fn turned(turns: &[Turn]) -> String {
    let each = turns.iter().map(|turn| format!("`{}` {}", turn.region, answers(turn.to)));
    each.collect::<Vec<_>>().join(", ")
}

fn answers(to: InAnswers) -> String {
    match to {
        InAnswers::In => "into the answers".to_owned(),
        InAnswers::Part { closed, of } => format!("with {closed} of {of} slots closed"),
        InAnswers::Out => "out of the answers".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn every_entry_is_one_line() {
        let lines: Vec<String> = samples::entries()
            .iter()
            .zip(1..)
            .map(|(entry, seq)| Line::of(seq, samples::NOW, entry).text())
            .collect();
        assert!(lines.iter().all(|line| !line.contains('\n')));
        samples::settings().bind(|| insta::assert_snapshot!("history", lines.join("\n")));
    }
}
