//! What a person sees: one line a second, events between them, and the sum at the end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::clients::Sent;
use super::control::Moment;
use super::setup::{EPOCH_NAME, Front, HOST, Layout};
use super::summary::Summary;
use super::world::World;
use crate::balancer::cure::Purpose;
use crate::decide::{Decision, Diagnosis, Hold};
use crate::domain::{Split, Timestamp, span};
use crate::health::Reading;
use crate::memory::Outcome;
use crate::plan::Wanted;
use crate::tell::Severity;

/// Octets of the last column, so that a line fits into 110 columns with two regions.
const SAYS_MAX: usize = 44;
/// Columns and lines of one event.
const EVENT_WIDTH: usize = 96;
const EVENT_LINES_MAX: usize = 6;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBT: Style = AnsiColor::Yellow.on_default();
const FAINT: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// How to look at it from another terminal.
pub fn head(
    layout: &Layout,
    title: &str,
    policy: &str,
    listen: SocketAddr,
    requests_per_second: u32,
) -> String {
    let port = layout.name_server.port();
    let mut head = format!("\n{}\n\n", paint(STRONG, &format!("leeward lab: {title}")));
    let mut row = |name: &str, text: &str| {
        let _ = writeln!(head, "  {:<10} {text}", paint_padded(FAINT, name, 10));
    };
    for (number, place) in layout.places.iter().enumerate() {
        let role = if number == 0 { "primary" } else { "standby" };
        let url = |front: &Front| format!("http://{}:{}/", front.address, layout.port);
        let urls: Vec<String> = place.fronts.iter().map(url).collect();
        let text = format!("{role}, {}", urls.join(" "));
        row(place.region.as_str(), &text);
    }
    if let Some(resort) = &layout.resort {
        let text =
            format!("last resort, a copy of the shop, http://{}:{}/", resort.address, layout.port);
        row(resort.region.as_str(), &text);
    }
    if let Some((address, _)) = &layout.pipeline {
        row("pipeline", &format!("rolls versions out, and takes them back at http://{address}/"));
    }
    row("answers", &format!("dig @127.0.0.1 -p {port} {HOST} +short"));
    row("who moved", &format!("dig @127.0.0.1 -p {port} {EPOCH_NAME} TXT +short"));
    row("policy", policy);
    row("status", &format!("leeward status --address http://{listen}"));
    let ttl = span(layout.tempo.ttl);
    row("visitors", &format!("{requests_per_second} requests a second, answers kept for {ttl}"));
    head
}

fn paint_padded(style: Style, text: &str, width: usize) -> String {
    let fill = width.saturating_sub(text.chars().count());
    format!("{}{}", paint(style, text), " ".repeat(fill))
}

/// The names over the columns.
pub fn columns(layout: &Layout) -> String {
    let mut line = format!("{:>6}  ", "time");
    for place in &layout.places {
        let _ = write!(line, "{:<20}  ", format!("{} (weight)", place.region));
    }
    if let Some(resort) = &layout.resort {
        let _ = write!(line, "{:<12}  ", resort.region);
    }
    let _ = write!(line, "{:<17}  Leeward", "visitors served");
    paint(FAINT, &line)
}

/// One second. `at` counts from the start.
pub fn line(at: Duration, world: &World, sent: &Sent, decision: Option<&Decision>) -> String {
    let mut line = format!("{:>5}s  ", at.as_secs());
    let weights = world.answers();
    for place in &world.layout.places {
        let verdict = decision.and_then(|decision| decision.regions.get(&place.region));
        let suspected = verdict.is_some_and(|verdict| verdict.bad_since.is_some());
        let (mark, state, style) = match verdict.map(|verdict| verdict.reading) {
            Some(Reading::Bad) => ("✗", "BAD", BAD),
            _ if suspected => ("▼", "fails", DOUBT),
            Some(Reading::Good) => ("●", "well", GOOD),
            Some(Reading::Unknown) | None => ("?", "unclear", DOUBT),
        };
        let success = verdict.and_then(|verdict| verdict.success);
        let success =
            success.map_or(String::new(), |success| format!(" {:.0}%", success.get() * 100.0));
        let weight = weights.get(&place.region).copied().unwrap_or_default();
        let text = format!("{mark} {state}{success}");
        let weight = format!("({weight})");
        line.push_str(&paint_padded(style, &text, 14));
        line.push_str(&paint_padded(if weight == "(0)" { FAINT } else { STRONG }, &weight, 6));
        line.push_str("  ");
    }
    if let Some(resort) = &world.layout.resort {
        let weight = weights.get(&resort.region).copied().unwrap_or_default();
        let style = if weight == 0 { FAINT } else { STRONG };
        line.push_str(&paint_padded(style, &format!("copy ({weight})"), 12));
        line.push_str("  ");
    }
    line.push_str(&visitors(sent));
    line.push_str("  ");
    let says: String = decision.map(says).unwrap_or_default().chars().take(SAYS_MAX).collect();
    line.push_str(&says);
    line.trim_end().to_owned()
}

fn visitors(sent: &Sent) -> String {
    let all = sent.all();
    if all.sent == 0 {
        return format!("{:<17}", "-");
    }
    #[expect(clippy::cast_precision_loss, reason = "requests of one second")]
    let part = all.served as f64 / all.sent as f64 * 100.0;
    // Nothing but all of them is 100 per cent.
    let part = if all.served == all.sent { 100.0 } else { part.floor().min(99.0) };
    let style = if all.served == all.sent {
        GOOD
    } else if part < 50.0 {
        BAD
    } else {
        DOUBT
    };
    paint_padded(style, &format!("{}/{} {part:.0}%", all.served, all.sent), 17)
}

/// What it thinks, in a few words.
fn says(decision: &Decision) -> String {
    let finding = decision.findings.first();
    let about = finding.and_then(|finding| finding.region.as_ref());
    let diagnosis = finding.map_or(Diagnosis::Well, |finding| finding.diagnosis);
    let balancer = finding.and_then(|finding| finding.balancer.as_ref());
    let words = match (balancer, about, diagnosis) {
        (_, _, Diagnosis::Well) => String::new(),
        (Some(balancer), _, _) => format!("{diagnosis} {balancer}"),
        (None, Some(region), _) => format!("{diagnosis} {region}"),
        (None, None, _) => diagnosis.to_string(),
    };
    if let (None, Some(Hold::FailbackManual { .. })) = (&decision.wanted, decision.holds.first()) {
        return "moved; going home waits for a human".to_owned();
    }
    let of_refresh = |hold: &&Hold| {
        matches!(
            hold,
            Hold::RefreshUnderWay { .. }
                | Hold::RefreshWatching { .. }
                | Hold::BalancerUnsure { .. }
        )
    };
    let hold = decision.holds.iter().find(of_refresh).filter(|_| balancer.is_some());
    let act = match (&decision.wanted, hold.or(decision.holds.first())) {
        (Some(Wanted::Move(moved)), _) => format!("moves to {}", weights(&moved.to)),
        (Some(Wanted::Refresh { .. }), _) => "refreshes it".to_owned(),
        (None, Some(hold)) => in_short(hold, decision.at),
        (None, None) => String::new(),
    };
    match (words.as_str(), act.as_str()) {
        ("", "") => "all well".to_owned(),
        ("", one) | (one, "") => one.to_owned(),
        (words, act) => format!("{words}: {act}"),
    }
}

/// The holds that are met in the laboratory, without the words that a second of a line has no room for.
fn in_short(hold: &Hold, now: Timestamp) -> String {
    let left = |until: Timestamp| format!("{:.0}s", until.since(now).as_secs_f64().ceil());
    if let Hold::WarmingUp { until } = hold {
        format!("warming up, {} more", left(*until))
    } else if let Hold::NotSustained { region, since, needs } = hold {
        let lasted = now.since(*since);
        if lasted >= *needs {
            return format!("{region} bad, newest probes well");
        }
        format!("{region} bad for {:.1}s, acts after {}", lasted.as_secs_f64(), span(*needs))
    } else if let Hold::Cooldown { until } = hold {
        format!("cooling down, {} more", left(*until))
    } else if let Hold::CommonCause { .. } = hold {
        "same fault everywhere".to_owned()
    } else if let Hold::DestinationUnready { region, .. } = hold {
        format!("{region} is not ready")
    } else if let Hold::RefreshUnderWay { done, steps, .. } = hold {
        format!("step {} of {steps}", (done + 1).min(*steps))
    } else if let Hold::RefreshWatching { until, .. } = hold {
        format!("watched, {} more", left(*until))
    } else if let Hold::BalancerUnsure { .. } = hold {
        "not yet sure".to_owned()
    } else if let Hold::RefreshExhausted { balancer } = hold {
        format!("{balancer} not refreshed again")
    } else if let Hold::OrderOpen { to, .. } = hold {
        format!("moving to {}", weights(to))
    } else {
        hold.to_string().replace('`', "")
    }
}

fn weights(split: &Split) -> String {
    let parts = split.weights().iter().filter(|(_, weight)| weight.0 > 0);
    parts.map(|(region, weight)| format!("{region} {weight}")).collect::<Vec<_>>().join(", ")
}

/// Something that was done to the world.
pub fn done(at: Duration, text: &str) -> String {
    let mark = paint(AnsiColor::Magenta.on_default().bold(), "!!");
    format!("{:>5.1}s  {mark} {}", at.as_secs_f64(), paint(STRONG, text))
}

/// Something that Leeward saw, did or said; nothing for what the lines show anyway.
pub fn moment(at: Duration, what: &Moment) -> Option<String> {
    let (style, text) = match what {
        Moment::Suspected { region } => (DOUBT, format!("{region} begins to look bad")),
        Moment::Read { region, reading: Reading::Bad } => {
            (BAD, format!("{region} is bad: enough witnesses for long enough"))
        }
        Moment::Diagnosed { diagnosis: Diagnosis::Well, .. }
        | Moment::Read { reading: Reading::Good | Reading::Unknown, .. } => return None,
        Moment::Diagnosed { diagnosis, region, balancer } => {
            let balancer = balancer.as_ref().map(ToString::to_string);
            let about = balancer.or_else(|| region.as_ref().map(ToString::to_string));
            let about = about.map_or(String::new(), |about| format!(" ({about})"));
            (DOUBT, format!("diagnosis: {diagnosis}{about}"))
        }
        Moment::Decided { lever, to } => {
            (STRONG, format!("decides to move by {lever}: {}", weights(to)))
        }
        Moment::Turned { lever } => {
            (STRONG, format!("{lever} stand; what looks at them must follow"))
        }
        Moment::Accepted => (STRONG, "the change is accepted, and pending".to_owned()),
        Moment::InForce => (GOOD, "in force, and seen in the answers".to_owned()),
        Moment::Refreshing { balancer, purpose: Purpose::Rung(rung), .. } => {
            (STRONG, format!("refreshes {balancer}: {rung} (touches {})", rung.radius()))
        }
        Moment::Refreshing { balancer, purpose, because } => {
            (DOUBT, format!("{purpose} of what was done to {balancer}: {because}"))
        }
        Moment::Refreshed {
            balancer,
            purpose: Some(Purpose::Rung(rung)),
            outcome: Outcome::Done,
        } => (STRONG, format!("{balancer}: {rung} is done; its probes are watched")),
        Moment::Refreshed { balancer, purpose: Some(Purpose::Undo), .. } => {
            (DOUBT, format!("{balancer} stands as before its refresh"))
        }
        Moment::Refreshed { balancer, outcome: Outcome::Done, .. } => {
            (STRONG, format!("the refresh of {balancer} is over"))
        }
        Moment::Refreshed {
            balancer,
            outcome: Outcome::Abandoned { why } | Outcome::Refused { why },
            ..
        } => (DOUBT, format!("the refresh of {balancer} is given up: {why}")),
        Moment::Ended(outcome) => (DOUBT, format!("the order ended: {outcome:?}")),
        Moment::Told { severity, text } => {
            let (style, word) = match severity {
                Severity::Info => (FAINT, "tells"),
                Severity::Warn => (DOUBT, "warns"),
                Severity::Page => (BAD, "pages"),
                Severity::Status => (FAINT, "status page"),
            };
            (style, format!("{word}: {text}"))
        }
    };
    let mut lines = wrapped(&text).into_iter();
    let first = lines.next().unwrap_or_default();
    let mut page = format!("{:>5.1}s  {} {first}", at.as_secs_f64(), paint(style, "->"));
    for line in lines {
        let _ = write!(page, "\n{:>11}{line}", "");
    }
    Some(page)
}

/// Broken between words; what is far too long is cut.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + word.chars().count() < EVENT_WIDTH {
            let _ = write!(line, " {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.truncate(EVENT_LINES_MAX);
    lines
}

/// The sum.
pub fn summary(summary: &Summary) -> String {
    let mut page = String::from("\n");
    let style = if summary.ok { GOOD.bold() } else { BAD };
    let mut row = |name: &str, text: String| {
        let _ = writeln!(page, "  {name:<17} {text}");
    };
    row("verdict", paint(style, &summary.verdict));
    let stages = [
        ("detected after", summary.detected_after, "the first sign in the readings"),
        (
            "decided after",
            summary.decided_after,
            "bad for as long as the policy asks, and every guard passed",
        ),
        ("accepted after", summary.accepted_after, "the zone took the change"),
        ("in force after", summary.in_force_after, "answered by the name server"),
        ("last loss after", summary.last_loss_after, "the last request that was lost"),
    ];
    for (name, at, meaning) in stages {
        if let Some(at) = at {
            row(name, format!("{:<9}{}", format!("{at:.1} s"), paint(FAINT, meaning)));
        }
    }
    if let Some(lever) = summary.lever {
        row("moved by", lever.to_string());
    }
    if !summary.refreshes.is_empty() {
        row("refreshed", summary.refreshes.join(", "));
    }
    row("requests lost", format!("{} of {}", summary.lost, summary.requests));
    if let (Some(lost), Some(how)) = (summary.lost_without, &summary.lost_without_how) {
        row("without Leeward", format!("{lost} until now"));
        row("", paint(FAINT, how));
    }
    page
}
