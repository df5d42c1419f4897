//! Recorded outages of policies: their files, and how they went.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json as value};

use super::super::check::read_bounded;
use super::show::{indented, span_from_zero, thoughts};
use super::{Exit, Failure, How};
use crate::domain::Timestamp;
use crate::policy::{Policy, Recording};
use crate::scenario::trace::{self, Missing, Ran, RunError, Trace, Verdict};

/// Reads the trace that a test names, and plays it. What is wrong with it points to the test's line.
pub(super) fn play(policy: &Policy, recording: &Recording, file: &Path) -> Result<How, Failure> {
    let at = format!("{}:{}:{}", file.display(), recording.place.line, recording.place.column);
    let path = file.parent().unwrap_or(Path::new("")).join(&recording.trace);
    let shown = path.display().to_string();
    let bytes = match read_bounded(&path, trace::BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(How::Broken(format!("{at}: read the trace `{shown}`: {error}"))),
    };
    let trace = match trace::load(&bytes, &shown) {
        Ok(trace) => trace,
        Err(error) => {
            return Ok(How::Broken(format!("{at}: the trace cannot be played:\n{error}")));
        }
    };
    outcome(trace::run(policy, &trace, recording), &at)
}

pub(super) fn play_alone(trace: &Trace, path: &str) -> Result<How, Failure> {
    outcome(trace::run_alone(trace), path)
}

fn outcome(ran: Result<Ran, RunError>, at: &str) -> Result<How, Failure> {
    match ran {
        Ok(ran) => Ok(How::Recorded(Box::new(ran))),
        Err(RunError::Misfit(misfit)) => {
            let help = misfit.help.as_ref().map(|help| format!("\n  help: {help}"));
            Ok(How::Broken(format!("{at}: {misfit}{}", help.unwrap_or_default())))
        }
        Err(error @ RunError::Play(_)) => {
            Err(Failure::new(Exit::Trouble, format!("play `{at}`: {error}")))
        }
    }
}

/// In a few words.
pub(super) fn summary(ran: &Ran) -> String {
    let met = ran.verdicts.iter().filter(|verdict| verdict.met).count();
    let lost = format!("{met} of {} met, lost {}", ran.verdicts.len(), lost(ran));
    let without: Vec<&str> = unmet_but_left_out(ran).into_iter().collect();
    if without.is_empty() {
        return lost;
    }
    format!("{lost}; not counted: {}", without.join(", "))
}

fn unmet_but_left_out(ran: &Ran) -> BTreeSet<&str> {
    let unmet = ran.verdicts.iter().filter(|verdict| !verdict.met);
    unmet.map(|verdict| verdict.label.as_str()).collect()
}

fn lost(ran: &Ran) -> String {
    format!("{:.0} user-minutes", ran.lost_user_minutes)
}

/// Each thing that makes it fail, as a sentence.
pub(super) fn faults(ran: &Ran) -> Vec<String> {
    let failed = ran.failed().map(|verdict| format!("{}: {}", verdict.label, verdict.detail));
    failed.chain(ran.missing.iter().map(missing)).collect()
}

fn missing(missing: &Missing) -> String {
    match missing {
        Missing::Diagnosis(name) => format!("`{name}` was found in no round"),
        Missing::Hold(name) => format!("`{name}` held in no round"),
        Missing::Ends { region, expected, found } => {
            format!("`{region}` ends with weight {found}, expected {expected}")
        }
    }
}

/// What was demanded and not done, what was done, and what was thought last.
pub(super) fn failure(ran: &Ran) -> String {
    let mut text = String::new();
    for verdict in ran.failed() {
        let _ = writeln!(text, "{}: {}", verdict.label, verdict.detail);
        let _ = writeln!(text, "    because: {}", verdict.why);
    }
    for one in &ran.missing {
        let _ = writeln!(text, "{}", missing(one));
    }
    let _ = writeln!(text, "lost {}; done:", lost(ran));
    let mut moved = false;
    for moment in &ran.moments {
        for done in &moment.done {
            moved = true;
            let _ = writeln!(text, "  {:>7}  {done}", after(moment.at));
        }
    }
    if !moved {
        text.push_str("  nothing\n");
    }
    if let Some(last) = ran.moments.last() {
        let _ = writeln!(text, "thought from {} on:", after(last.at));
        text.push_str(&indented(&thoughts(&last.decision)));
    }
    text
}

/// What was done and thought, where it changed; then every verdict.
pub(super) fn timeline(ran: &Ran) -> String {
    let mut text = String::new();
    for moment in &ran.moments {
        let split = moment.decision.split.as_ref().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "  {:>7}  {split}", after(moment.at));
        for done in &moment.done {
            let _ = writeln!(text, "           > {done}");
        }
        text.push_str(&indented(&indented(&thoughts(&moment.decision))));
    }
    for verdict in &ran.verdicts {
        let _ =
            writeln!(text, "  {:14}  {}: {}", word(verdict, ran), verdict.label, verdict.detail);
    }
    for one in &ran.missing {
        let _ = writeln!(text, "  {:14}  {}", "FAILED", missing(one));
    }
    let _ = writeln!(text, "  lost {}", lost(ran));
    text
}

fn word(verdict: &Verdict, ran: &Ran) -> &'static str {
    match (verdict.met, ran.failed().any(|failed| failed == verdict)) {
        (true, _) => "met",
        (false, true) => "FAILED",
        (false, false) => "not counted",
    }
}

fn after(at: Timestamp) -> String {
    span_from_zero(at.since(Timestamp::from_secs(0)))
}

pub(super) fn json(ran: &Ran) -> Value {
    let verdicts: Vec<Value> = ran
        .verdicts
        .iter()
        .map(|verdict| {
            value!({
                "kind": verdict.label,
                "met": verdict.met,
                "counts": verdict.hard && !ran.without.contains(&verdict.label),
                "detail": verdict.detail,
                "why": verdict.why,
            })
        })
        .collect();
    let faults: Vec<Value> =
        faults(ran).into_iter().map(|what| value!({ "what": what, "step": null })).collect();
    let done: Vec<Value> = ran
        .moments
        .iter()
        .flat_map(|moment| {
            let at = moment.at.as_millis() / 1000;
            moment.done.iter().map(move |done| value!({ "at": at, "done": done }))
        })
        .collect();
    value!({
        "verdicts": verdicts,
        "lost_user_minutes": ran.lost_user_minutes,
        "ends": ran.ends,
        "done": done,
        "faults": faults,
    })
}
