//! Alerts of Prometheus' Alertmanager: version 4 of its webhook (Prometheus documentation, "Configuration",
//! `webhook_config`). Each alert of the group is an event; a group is told again while it fires.

use serde_json::Value;

use super::json::{self, needed, text};
use super::{Alarm, AlarmKind, Event, PARTS_MAX, Unknown, What, key};
use crate::health::AlarmState;

pub(super) fn read(value: &Value) -> Vec<Result<Event, Unknown>> {
    if value.get("version").and_then(Value::as_str) != Some("4") {
        return vec![Err(Unknown::new("alerts in another version than 4"))];
    }
    match value.get("alerts").and_then(Value::as_array) {
        Some(alerts) if !alerts.is_empty() && alerts.len() <= PARTS_MAX => {
            alerts.iter().map(alert).collect()
        }
        Some(alerts) => vec![Err(Unknown::new(format!("{} alerts in one body", alerts.len())))],
        None => vec![Err(Unknown::new("`alerts` is no list"))],
    }
}

/// Told again, a firing alert has the same beginning: it stays one event until it resolves.
fn alert(value: &Value) -> Result<Event, Unknown> {
    let name = needed(value, &["labels", "alertname"])?;
    let (state, at) = match needed(value, &["status"])?.as_str() {
        "firing" => (AlarmState::Alarm, json::time(value, &["startsAt"])),
        "resolved" => (AlarmState::Ok, json::time(value, &["endsAt"])),
        other => return Err(Unknown::new(format!("`{other}` is not a state of an alert"))),
    };
    let fingerprint = match text(value, &["fingerprint"]) {
        Some(fingerprint) => fingerprint,
        None => super::digest(value["labels"].to_string().as_bytes()),
    };
    let when = at.map_or(0, crate::domain::Timestamp::as_millis).to_string();
    let key = key(&["alert", &name, &fingerprint, super::alarm::state_word(state), &when]);
    let reason = text(value, &["annotations", "summary"])
        .or_else(|| text(value, &["annotations", "description"]))
        .unwrap_or_default();
    let region = text(value, &["labels", "region"]).filter(|region| json::is_region(region));
    let what = What::Alarm(Alarm {
        name,
        arn: None,
        aws_region: region,
        kind: AlarmKind::Foreign,
        state,
        reason,
        suppressed: false,
    });
    Ok(Event { key, at, topic: None, what })
}
