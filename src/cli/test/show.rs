//! The tests of policies as people read them: pictures, first differences, reasons.

use std::fmt::Write as _;
use std::time::Duration;

use super::{How, Played, Tested, What, recorded};
use crate::decide::{Decision, Finding};
use crate::domain::span;
use crate::policy::{Case, Line};
use crate::scenario::{Fault, Ran, Step, hold_name};

/// One file with all its cases: a line for each that passed, the picture of each that did not.
pub(super) fn file(one: &Tested) -> String {
    let mut text = String::new();
    if let Some(why) = one.invalid() {
        let _ = writeln!(text, "{why}\n\n{}: not valid, nothing was played", one.path);
    }
    if let What::Played { of, played } = &one.what {
        if played.is_empty() {
            let _ = writeln!(text, "{}: `{of}` has no tests", one.path);
            return text;
        }
        let _ = writeln!(text, "{}: `{of}`", one.path);
        for played in played {
            if played.passed() {
                let _ = writeln!(text, "  passed  {}{}", played.name, remark(played));
            } else {
                let line = played.line.map(|line| format!(" (line {line})")).unwrap_or_default();
                let _ = writeln!(text, "  FAILED  {}{line}", played.name);
                text.push_str(&indented(&failure(played)));
            }
        }
    }
    text
}

/// What is worth saying of a case that passed.
fn remark(played: &Played) -> String {
    match &played.how {
        How::Recorded(ran) => format!(" ({})", recorded::summary(ran)),
        How::Drawn(..) | How::Broken(_) => String::new(),
    }
}

pub(super) fn summary(tested: &[Tested]) -> String {
    let all = || tested.iter().flat_map(Tested::played);
    let failed = all().filter(|one| !one.passed()).count();
    let mut text = format!("{} passed, {failed} failed", all().count() - failed);
    let empty = |one: &&Tested| one.invalid().is_none() && one.played().is_empty();
    let counts = [
        (tested.iter().filter(empty).count(), "without tests"),
        (tested.iter().filter(|one| one.invalid().is_some()).count(), "not valid"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let policies = if count == 1 { "policy" } else { "policies" };
        let _ = write!(text, ", {count} {policies} {what}");
    }
    text
}

/// Why a case failed.
pub(super) fn failure(played: &Played) -> String {
    match &played.how {
        How::Drawn(case, ran) => drawn_failure(case, ran),
        How::Recorded(ran) => recorded::failure(ran),
        How::Broken(why) => format!("{why}\n"),
    }
}

/// The first reason in one line.
pub(super) fn first_fault(played: &Played) -> Option<String> {
    match &played.how {
        How::Drawn(case, ran) => ran.faults.first().map(|first| fault(case, first)),
        How::Recorded(ran) => recorded::faults(ran).into_iter().next(),
        How::Broken(why) => Some(why.lines().next().unwrap_or_default().to_owned()),
    }
}

/// The picture of a case that failed, what differs, and what was thought at that step.
fn drawn_failure(case: &Case, ran: &Ran) -> String {
    let mut text = String::new();
    let mut rows = drawn(case);
    let expected = case.expect.as_ref().map(|line| ("expected".to_owned(), line.to_string()));
    rows.extend(expected);
    rows.push(("done".to_owned(), ran.line()));
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, line) in &rows {
        let _ = writeln!(text, "{name:width$}  {line}");
    }
    let marked = ran.faults.iter().find_map(|fault| match fault {
        Fault::Done { step, .. } => Some(*step),
        Fault::NotFound { .. }
        | Fault::NotHeld { .. }
        | Fault::NotCalled { .. }
        | Fault::Ends { .. } => None,
    });
    if let Some(step) = marked {
        let _ = writeln!(text, "{:width$}  {:step$}^", "", "");
    }
    for fault in &ran.faults {
        let _ = writeln!(text, "{}", self::fault(case, fault));
    }
    if let Some((place, step)) = ran.step_to_show() {
        let _ = writeln!(text, "{}:", moment(case, place));
        text.push_str(&indented(&thoughts(&step.decision)));
    }
    text
}

/// One difference as a sentence.
pub(super) fn fault(case: &Case, fault: &Fault) -> String {
    match fault {
        Fault::Done { step, expected, done } => {
            format!("{}: expected {}, done {}", moment(case, *step), act(*expected), act(*done))
        }
        Fault::NotFound { diagnosis } => format!("`{diagnosis}` was found in no step"),
        Fault::NotCalled { hook } => format!("hook `{hook}` was called in no step"),
        Fault::NotHeld { hold } => format!("`{hold}` held in no step"),
        Fault::Ends { region, expected, found } => {
            format!("`{region}` ends with weight {found}, expected {expected}")
        }
    }
}

fn act(mark: char) -> String {
    let word = match mark {
        'S' => "a shift",
        'H' => "home",
        'L' => "last resort",
        'R' => "a refresh",
        _ => "nothing",
    };
    format!("`{mark}` ({word})")
}

fn moment(case: &Case, step: usize) -> String {
    let after = case.step * u32::try_from(step).unwrap_or(u32::MAX);
    format!("step {} (after {})", step + 1, span_from_zero(after))
}

pub(super) fn span_from_zero(after: Duration) -> String {
    if after.is_zero() { "0s".to_owned() } else { span(after) }
}

/// Every drawn line with its name.
fn drawn(case: &Case) -> Vec<(String, String)> {
    let mut rows: Vec<(String, &Line)> = Vec::new();
    rows.extend(case.seen.iter().map(|(of, line)| (of.to_string(), line)));
    for (vantage, lines) in &case.seen_from {
        rows.extend(lines.iter().map(|(of, line)| (format!("{of} from {vantage}"), line)));
    }
    rows.extend(case.counters.iter().map(|(of, line)| (format!("counters of {of}"), line)));
    rows.extend(case.beacons.iter().map(|(of, line)| (format!("beacons of {of}"), line)));
    rows.extend(case.control_plane.iter().map(|line| ("control plane".to_owned(), line)));
    rows.extend(case.gates.iter().map(|line| ("gates".to_owned(), line)));
    rows.extend(case.arc.iter().map(|line| ("arc".to_owned(), line)));
    rows.into_iter().map(|(name, line)| (name, line.to_string())).collect()
}

/// What was found and why nothing, or no more, was done.
pub(super) fn thoughts(decision: &Decision) -> String {
    let mut text = String::new();
    for found in &decision.findings {
        let _ = writeln!(text, "found {}", finding(found));
    }
    for hold in &decision.holds {
        let _ = writeln!(text, "held by {}: {hold}; until {}", hold_name(hold), hold.flips_when());
    }
    text
}

fn finding(found: &Finding) -> String {
    let mut text = found.diagnosis.to_string();
    let about = [
        found.region.as_ref().map(ToString::to_string),
        found.balancer.as_ref().map(ToString::to_string),
    ];
    for name in about.iter().flatten() {
        let _ = write!(text, " `{name}`");
    }
    if !found.evidence.is_empty() {
        let _ = write!(text, ": {}", found.evidence.join("; "));
    }
    text
}

/// Step by step what is seen, found and done. Thoughts are written where their kind changes.
pub(super) fn timeline(one: &Tested, played: &Played) -> String {
    let result = if played.passed() { "passed" } else { "FAILED" };
    let of = match &one.what {
        What::Played { of, .. } => of.as_str(),
        What::Invalid(_) | What::InvalidTrace(_) => "",
    };
    let title = format!("{}: `{of}`, {}: {result}\n", one.path, played.name);
    title
        + &match &played.how {
            How::Drawn(case, ran) => drawn_timeline(case, ran),
            How::Recorded(ran) => recorded::timeline(ran),
            How::Broken(why) => format!("{why}\n"),
        }
}

fn drawn_timeline(case: &Case, ran: &Ran) -> String {
    let mut text = String::new();
    let rows = drawn(case);
    for (number, (name, _)) in rows.iter().enumerate() {
        let _ = writeln!(text, "  {:>width$}  {name}", "|", width = number + 1);
    }
    let mut before = None;
    for (place, step) in ran.steps.iter().enumerate() {
        let marks: String =
            rows.iter().map(|(_, line)| line.chars().nth(place).unwrap_or('.')).collect();
        let split = step.decision.split.as_ref().map(ToString::to_string).unwrap_or_default();
        let after = span_from_zero(case.step * u32::try_from(place).unwrap_or(u32::MAX));
        let _ = writeln!(text, "  {marks}  {after:>7}  {}  {split}", step.done);
        let kind = kind(step);
        if before.as_ref() != Some(&kind) {
            text.push_str(&indented(&indented(&indented(&thoughts(&step.decision)))));
        }
        before = Some(kind);
    }
    if !ran.passed() {
        text.push_str(&indented(&drawn_failure(case, ran)));
    }
    text
}

/// What two steps must share for the second to need no words.
fn kind(step: &Step) -> Vec<String> {
    let found = step
        .decision
        .findings
        .iter()
        .map(|found| format!("{} {:?} {:?}", found.diagnosis, found.region, found.balancer));
    found.chain(step.decision.holds.iter().map(|hold| hold_name(hold).to_owned())).collect()
}

pub(super) fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| all + "          " + line + "\n")
}
