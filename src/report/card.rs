//! The card: one service on one screen, readable at three in the morning. No IO.
//!
//! The first line says what is wrong and who is in charge; every number has its age; unknown is drawn
//! as unknown; what is not done is there with what would change it.

use std::fmt::Write as _;
use std::time::Duration;

use super::history::Line;
use super::view::{Did, OpenOrder, View};
use super::{BAD, Cell, GOOD, STRONG, UNKNOWN, ago, paint, paragraph, reading, table, zones};
use crate::decide::{Decision, Diagnosis, Finding, Fitness, Verdict};
use crate::domain::{BalancerName, RegionName, Timestamp, span};
use crate::memory::Pin;
use crate::plan::{Purpose, RefreshAct, Wanted};
use crate::policy::Mode;

/// A decision older than this is called so: rounds are made every few seconds.
const OLD_AFTER: Duration = Duration::from_secs(60);

/// The whole card.
pub fn card(view: &View, now: Timestamp) -> String {
    let mut page = String::new();
    let diagnosis = view.decision.as_ref().and_then(|decision| decision.findings.first());
    let _ = writeln!(page, "{}", headline(view, diagnosis, now));
    for (label, text) in alarms(view, now) {
        paragraph(&mut page, label, &text);
    }
    match &view.decision {
        Some(decision) => {
            matrix(&mut page, decision, view.ready.answers_read);
            reasons(&mut page, decision);
        }
        None => paragraph(&mut page, "sees", "nothing yet: no round is finished"),
    }
    did(&mut page, &view.did, &view.journal, now);
    page
}

/// What a stopped controller left: pin, order and the newest journal lines.
pub fn left(did_last: &Did, journal: &[Line], now: Timestamp) -> String {
    let mut page = String::new();
    if let Some(pin) = &did_last.pin {
        paragraph(&mut page, "PINNED", &pinned(pin));
    }
    for (label, text) in words(did_last) {
        paragraph(&mut page, label, &text);
    }
    did(&mut page, did_last, journal, now);
    page
}

/// What humans asked for and took back.
fn words(did: &Did) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(abort) = &did.abort {
        lines.push(("ABORTED", format!("by {} until {}: {}", abort.by, abort.until, abort.reason)));
    }
    if let Some(request) = &did.request {
        let stage = match request.met_at {
            Some(at) => format!("the answers are so since {at}"),
            None => "not yet so".to_owned(),
        };
        lines.push(("ASKED", format!("{request}; {stage}")));
    }
    lines.extend(did.zones_away.iter().map(|text| ("AWAY", text.clone())));
    lines.extend(did.left_over.iter().map(|text| ("LEFT", text.clone())));
    lines
}

fn pinned(pin: &Pin) -> String {
    let end = pin.until.map_or("with no end".to_owned(), |until| format!("until {until}"));
    format!("by {} {end}: {}", pin.by, pin.reason)
}

fn headline(view: &View, finding: Option<&Finding>, now: Timestamp) -> String {
    let service = paint(STRONG, view.service.as_str());
    let mode = mode(view.mode);
    let Some(finding) = finding else { return format!("{service}   mode {mode}") };
    let style = if finding.diagnosis == Diagnosis::Well { GOOD } else { BAD };
    let what = paint(style, &title(finding));
    let since = format!("since {} ({})", finding.since, span(now.since(finding.since)));
    let armed = if view.mode == Mode::Auto && view.did.pin.is_none() {
        ""
    } else {
        ", moves nothing by itself"
    };
    format!("{service}   {what}   {since}   mode {mode}{armed}")
}

/// `RegionDown eu-west-1`
pub fn title(finding: &Finding) -> String {
    let mut text = finding.diagnosis.to_string();
    for name in [
        finding.region.as_ref().map(RegionName::as_str),
        finding.balancer.as_ref().map(BalancerName::as_str),
    ]
    .into_iter()
    .flatten()
    {
        text.push(' ');
        text.push_str(name);
    }
    text
}

pub fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Advise => "advise",
        Mode::Approve => "approve",
        Mode::Auto => "auto",
    }
}

/// What a person must know before anything else on the card is believed.
fn alarms(view: &View, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(pin) = &view.did.pin {
        lines.push(("PINNED", pinned(pin)));
    }
    lines.extend(words(&view.did));
    if let Some(since) = view.did.latched_since {
        lines.push(("LATCHED", format!("since {since}: only a human moves again")));
    }
    if let Some(why) = &view.policy.refused {
        lines.push((
            "POLICY",
            format!(
                "the changed file `{}` is refused, the older policy is in force: {why}",
                view.policy.path
            ),
        ));
    }
    if let Some(why) = &view.trouble {
        lines.push(("TROUBLE", why.clone()));
    }
    match view.last_round {
        Some(last) if now.since(last) > OLD_AFTER => {
            lines.push((
                "OLD",
                format!("the last round was {}: what follows may be wrong", ago(now, last)),
            ));
        }
        Some(_) | None => {}
    }
    let missing: Vec<&str> = [
        (view.ready.journal_open, "the journal is not open"),
        (view.ready.answers_read, "the records were never read"),
        (view.ready.windows_full, "the windows are not full"),
    ]
    .iter()
    .filter_map(|(done, text)| (!done).then_some(*text))
    .collect();
    if !missing.is_empty() {
        lines.push(("NOT READY", missing.join(", ")));
    }
    lines
}

/// Regions across, kinds of evidence down.
fn matrix(page: &mut String, decision: &Decision, answers_read: bool) {
    let regions: Vec<&Verdict> = decision.regions.values().collect();
    let head: Vec<String> = decision.regions.keys().map(ToString::to_string).collect();
    let mut rows: Vec<(String, Vec<Cell>)> = Vec::new();
    let shares = decision.regions.keys().map(|name| {
        match decision.split.as_ref().filter(|_| answers_read) {
            Some(split) => Cell::new(split.share(name).to_string()),
            None => Cell::styled("unknown", UNKNOWN),
        }
    });
    rows.push(("answers".to_owned(), shares.collect()));
    rows.push((
        "reading".to_owned(),
        regions.iter().map(|v| reading_cell(v.reading, None)).collect(),
    ));
    let mut classes: Vec<_> = regions.iter().flat_map(|v| v.classes.keys()).collect();
    classes.sort();
    classes.dedup();
    for class in classes {
        let cells = regions.iter().map(|verdict| {
            verdict.classes.get(class).map_or(Cell::new("-"), |c| reading_cell(c.reading, c.age))
        });
        rows.push((format!("{class:?}").to_lowercase(), cells.collect()));
    }
    let mut vantages: Vec<_> = regions.iter().flat_map(|v| v.vantages.keys()).collect();
    vantages.sort();
    vantages.dedup();
    for vantage in vantages {
        let cells = regions.iter().map(|verdict| {
            verdict.vantages.get(vantage).map_or(Cell::new("-"), |r| reading_cell(*r, None))
        });
        rows.push((format!("from {vantage}"), cells.collect()));
    }
    balancer_row(&mut rows, &regions);
    let success = |v: &&Verdict| Cell::new(v.success.map_or("-".to_owned(), |r| r.to_string()));
    rows.push(("success".to_owned(), regions.iter().map(success).collect()));
    let latency =
        |v: &&Verdict| Cell::new(v.latency_ms.map_or("-".to_owned(), |ms| format!("{ms:.0}ms")));
    rows.push(("latency".to_owned(), regions.iter().map(latency).collect()));
    rows.push(("may take".to_owned(), regions.iter().map(|v| fitness(&v.fit)).collect()));
    table(page, &head, &rows);
}

/// All balancers of a region in one cell: they have different names in each region.
fn balancer_row(rows: &mut Vec<(String, Vec<Cell>)>, regions: &[&Verdict]) {
    if regions.iter().all(|verdict| verdict.balancers.is_empty()) {
        return;
    }
    let most = regions.iter().map(|verdict| verdict.balancers.len()).max().unwrap_or(0);
    for place in 0..most {
        let cells = regions.iter().map(|verdict| {
            verdict.balancers.iter().nth(place).map_or(Cell::new("-"), |(name, read)| {
                let (word, style) = reading(*read);
                Cell::styled(format!("{name} {word}"), style)
            })
        });
        let label = if place == 0 { "balancers" } else { "" };
        rows.push((label.to_owned(), cells.collect()));
    }
}

fn reading_cell(read: crate::health::Reading, age: Option<Duration>) -> Cell {
    let (word, style) = reading(read);
    match age {
        Some(age) => Cell::styled(format!("{word} {}", span(age)), style),
        None => Cell::styled(word, style),
    }
}

fn fitness(fit: &Fitness) -> Cell {
    match fit {
        Fitness::Fit { room_rps: Some(room) } => {
            Cell::styled(format!("yes, {room:.0}/s more"), GOOD)
        }
        Fitness::Fit { room_rps: None } => Cell::styled("yes", GOOD),
        Fitness::Unfit { .. } => Cell::styled("no", BAD),
        Fitness::Unproven { .. } => Cell::styled("unproven", UNKNOWN),
    }
}

/// Diagnosis with its numbers, what is wanted, and why it does not happen.
fn reasons(page: &mut String, decision: &Decision) {
    for finding in &decision.findings {
        let says = finding.evidence.join("; ");
        let text =
            if says.is_empty() { title(finding) } else { format!("{}: {says}", title(finding)) };
        paragraph(page, "because", &text);
    }
    match (&decision.wanted, &decision.proposed) {
        (Some(wanted), _) => paragraph(page, "does", &wish(wanted)),
        (None, Some(proposed)) => paragraph(page, "would", &wish(proposed)),
        (None, None) => paragraph(page, "does", "nothing: nothing is to be done"),
    }
    if let Some((label, text)) = zones::wish(decision) {
        paragraph(page, label, &text);
    }
    for hold in &decision.holds {
        paragraph(page, "holds", &format!("{hold}; flips when {}", hold.flips_when()));
    }
    if let Some(why) = &decision.withdraw {
        paragraph(page, "withdraws", why);
    }
}

/// `evacuate: eu=0 central=100, because ...`
pub fn wish(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Move(a_move) => {
            format!(
                "{}: {} -> {}, {}",
                purpose(a_move.purpose),
                a_move.from,
                a_move.to,
                a_move.because
            )
        }
        Wanted::Refresh { balancer, region, act, .. } => {
            let act = match act {
                None => String::new(),
                Some(RefreshAct::Rung(kind)) => {
                    format!(" by `{kind}`, which touches {}", kind.radius())
                }
                Some(RefreshAct::Undo) => ": back to how it was".to_owned(),
            };
            format!("refresh the configuration of balancer `{balancer}` in `{region}`{act}")
        }
    }
}

pub fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Evacuate => "evacuate",
        Purpose::Ramp => "next step",
        Purpose::Failback => "go home",
        Purpose::LastResort => "last resort",
        Purpose::Operator => "as ordered by a human",
        Purpose::Repair => "repair",
    }
}

fn did(page: &mut String, did: &Did, journal: &[Line], now: Timestamp) {
    if let Some(order) = &did.order {
        paragraph(page, "order", &order_line(order, now));
    }
    let last = did.last_end.map_or("nothing was moved yet".to_owned(), |end| {
        format!("last move ended {end} ({})", ago(now, end))
    });
    paragraph(page, "did", &format!("epoch {}, {last}", did.epoch));
    if did.order.is_some() || did.last_end.is_some() {
        let text =
            "the controller goes home as `failback` says; `leeward hold` keeps it where it is";
        paragraph(page, "undo", text);
    }
    if let Some(line) = journal.last() {
        paragraph(page, "journal", &format!("{} {} {}", line.at, line.what, line.text));
    }
}

fn order_line(order: &OpenOrder, now: Timestamp) -> String {
    let stage = match (order.accepted == order.batches, order.in_sync_at) {
        (_, Some(at)) => format!("in sync {}", ago(now, at)),
        (true, None) => "accepted, not in sync yet".to_owned(),
        (false, None) if order.outcome_unknown > 0 => {
            "a call has no answer: it may or may not have happened".to_owned()
        }
        (false, None) => format!("{} of {} calls accepted", order.accepted, order.batches),
    };
    format!(
        "epoch {} of {} ({}): {}; {stage}",
        order.epoch,
        order.intended_at,
        ago(now, order.intended_at),
        wish(&order.wanted)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn bare(view: &View, now: Timestamp) -> String {
        anstream::adapter::strip_str(&card(view, now)).to_string()
    }

    #[test]
    fn a_calm_day_fits_a_small_card() {
        samples::settings().bind(|| {
            insta::assert_snapshot!("card_calm", bare(&samples::calm_view(), samples::NOW));
        });
    }

    #[test]
    fn an_outage_names_region_evidence_holds_and_order() {
        samples::settings().bind(|| {
            insta::assert_snapshot!("card_outage", bare(&samples::outage_view(), samples::NOW));
        });
    }

    #[test]
    fn a_pin_stands_above_everything_else() {
        let mut view = samples::calm_view();
        view.did.pin = Some(samples::pin());
        let text = bare(&view, samples::NOW);
        assert!(text.lines().nth(1).unwrap().starts_with(" PINNED     by ana until"), "{text}");
    }

    #[test]
    fn what_humans_asked_and_aborted_is_shown_with_author_and_end() {
        let mut view = samples::calm_view();
        view.did.request = Some(samples::request());
        view.did.abort = Some(samples::abort());
        let text = bare(&view, samples::NOW);
        for line in [
            " ASKED      25% of the answers to `eu-central-1`, by ana until 2026-11-21T04:00:00Z: drill",
            " ABORTED    by ben until 2026-11-21T03:10:00Z: wrong region",
            "(overrides cooldown); not yet so",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn an_old_round_is_called_old() {
        let view = samples::calm_view();
        assert!(!bare(&view, samples::NOW).contains(" OLD "));
        let late = samples::NOW.plus(Duration::from_secs(300));
        assert!(bare(&view, late).contains(" OLD        the last round was 5m"));
    }
}
