//! What goes over the wire to each kind of channel. No IO.
//!
//! Shapes: Slack, "Sending messages using incoming webhooks"; `PagerDuty`, "Send an Alert Event" (Events
//! API v2); Opsgenie, "Alert API"; Amazon SNS API reference, "Publish".

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Bundle;
use crate::policy::{Template, Webhook};
use crate::tell::{Kind, Note, Severity};

/// What `PagerDuty` takes of a summary and of a key, Opsgenie of a message and of a description, in
/// characters.
const SUMMARY_MAX: usize = 1024;
const DEDUP_MAX: usize = 255;
const MESSAGE_MAX: usize = 130;
const DESCRIPTION_MAX: usize = 15_000;
/// Slack cuts a text after 40,000 characters; nobody reads so much.
const TEXT_MAX: usize = 4000;

pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Page => "page",
        Severity::Warn => "warn",
        Severity::Info => "info",
        Severity::Status => "status",
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// `[page] shop: ...`, for the subject of a mail.
pub(super) fn subject(bundle: &Bundle) -> String {
    let newest = bundle.newest();
    let more = match bundle.notes.len() {
        0 | 1 => String::new(),
        several => format!(" (and {} before it)", several - 1),
    };
    let text = newest.map(Note::subject).unwrap_or_default();
    format!("[{}] {text}{more}", word(bundle.severity()))
}

/// All of it for people, the newest first.
pub(super) fn everything(bundle: &Bundle) -> String {
    let notes: Vec<String> = bundle.notes.iter().rev().map(whole).collect();
    notes.join("\n\n")
}

fn whole(note: &Note) -> String {
    // Writing to a string cannot fail.
    let mut text = format!("{}\n", note.text);
    for (heading, sentences) in note.details().parts() {
        let _ = writeln!(text, "\n{heading}:");
        for sentence in sentences {
            let _ = writeln!(text, "- {sentence}");
        }
    }
    let _ = write!(text, "\n{} no. {}, {}, {}", note.thread, note.sequence, note.kind, note.at);
    text
}

/// Slack's own marks are `&`, `<` and `>`; everything else is shown as written.
pub(super) fn slack(bundle: &Bundle) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mark = match bundle.severity() {
        Severity::Page => "*PAGE*",
        Severity::Warn => "*warning*",
        Severity::Info | Severity::Status => "",
    };
    let text = escape(&everything(bundle));
    json!({ "text": cut(format!("{mark} {text}").trim_start(), TEXT_MAX) })
}

/// A proxy that answers 200 is no Slack: that says `ok`, and what speaks like it says so too.
pub(super) fn slack_took(answer: &[u8]) -> bool {
    answer.trim_ascii() == b"ok"
        || serde_json::from_slice::<Value>(answer)
            .is_ok_and(|answer| answer["ok"] == true || answer["success"] == true)
}

/// One thread is one alert: later messages join it, the last resolves it.
pub(super) fn pagerduty(bundle: &Bundle, key: &str) -> Value {
    let Some(note) = bundle.newest() else { return Value::Null };
    let dedup = cut(note.thread.as_str(), DEDUP_MAX);
    if note.kind == Kind::Resolved {
        return json!({ "routing_key": key, "event_action": "resolve", "dedup_key": dedup });
    }
    let severity = match bundle.severity() {
        Severity::Page => "critical",
        Severity::Warn => "warning",
        Severity::Info | Severity::Status => "info",
    };
    json!({
        "routing_key": key,
        "event_action": "trigger",
        "dedup_key": dedup,
        "client": "Leeward",
        "payload": {
            "summary": cut(&note.text, SUMMARY_MAX),
            "source": note.service,
            "severity": severity,
            "timestamp": note.at.to_string(),
            "component": note.service,
            "class": note.kind.to_string(),
            "custom_details": details(note),
        },
    })
}

/// `202` with `"status": "success"`; anything else is somebody else's answer.
pub(super) fn pagerduty_took(answer: &[u8]) -> bool {
    serde_json::from_slice::<Value>(answer).is_ok_and(|answer| answer["status"] == "success")
}

fn details(note: &Note) -> Value {
    let mut details: serde_json::Map<String, Value> = note
        .account
        .parts()
        .map(|(heading, sentences)| (heading.to_owned(), sentences.join("\n").into()))
        .collect();
    details.insert("sequence".to_owned(), note.sequence.into());
    let about: Vec<String> = note.about.iter().map(ToString::to_string).collect();
    details.insert("about".to_owned(), about.join(", ").into());
    if let Some(why) = &note.automation_off {
        details.insert("automation is off".to_owned(), why.as_str().into());
    }
    details.into()
}

/// The requests that bring an alert to where it should be, in order: what follows the address, and the
/// body.
pub(super) fn opsgenie(bundle: &Bundle) -> Vec<(String, Value)> {
    let Some(note) = bundle.newest() else { return Vec::new() };
    let alias = note.thread.as_str();
    let of_alias = |what: &str| format!("/{}/{what}?identifierType=alias", percent(alias));
    if note.kind == Kind::Resolved {
        let body = json!({ "source": "Leeward", "note": cut(&note.text, DESCRIPTION_MAX) });
        return vec![(of_alias("close"), body)];
    }
    let priority = match bundle.severity() {
        Severity::Page => "P1",
        Severity::Warn => "P3",
        Severity::Info | Severity::Status => "P5",
    };
    let tags: Vec<String> = note.about.iter().map(ToString::to_string).take(20).collect();
    // The same alias again is counted, not raised again, and its text stays: hence the note.
    let create = json!({
        "message": cut(&note.subject(), MESSAGE_MAX),
        "alias": alias,
        "description": cut(&everything(bundle), DESCRIPTION_MAX),
        "priority": priority,
        "source": "Leeward",
        "entity": note.service,
        "tags": tags,
    });
    let mut requests = vec![(String::new(), create)];
    if note.sequence > 1 {
        let body =
            json!({ "source": "Leeward", "note": cut(&everything(bundle), DESCRIPTION_MAX) });
        requests.push((of_alias("notes"), body));
    }
    requests
}

/// `202` with the id of the request, which is then worked off.
pub(super) fn opsgenie_took(answer: &[u8]) -> bool {
    serde_json::from_slice::<Value>(answer).is_ok_and(|answer| answer["requestId"].is_string())
}

/// Letters and digits stay (RFC 3986, 2.3); a thread has others in it.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The body of a webhook, which takes one note at a time.
pub(super) fn webhook(note: &Note, hook: &Webhook) -> String {
    match &hook.body {
        None => serde_json::to_string(note).unwrap_or_default(),
        Some(template) => fill(template, note, hook.is_json),
    }
}

fn fill(template: &Template, note: &Note, is_json: bool) -> String {
    template.fill(|place| {
        let list = |sentences: &[String]| sentences.join("; ");
        let value = match place {
            "text" => note.text.clone(),
            "subject" => note.subject(),
            "severity" => word(note.severity).to_owned(),
            "kind" => note.kind.to_string(),
            "thread" => note.thread.to_string(),
            "sequence" => note.sequence.to_string(),
            "service" => note.service.to_string(),
            "at" => note.at.to_string(),
            "seen" => list(&note.account.seen),
            "done" => list(&note.account.done),
            "not_done" => list(&note.account.not_done),
            "would_help" => list(&note.account.would_help),
            "to_stop" => list(&note.account.to_stop),
            // `everything`: the loader lets nothing else through.
            _ => whole(note),
        };
        if is_json { in_quotes(&value) } else { value }
    })
}

/// A text as it stands inside of JSON quotes.
fn in_quotes(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// Of a mail: its own id and that of the first of its thread, so that mail programs keep them together.
pub(super) fn message_ids(note: &Note) -> (String, String) {
    let thread: String = note
        .thread
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' })
        .collect();
    let id = |number: u32| format!("<{thread}.{number}@leeward.invalid>");
    (id(note.sequence), id(1))
}
