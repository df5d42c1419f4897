//! Alarms of CloudWatch, as SNS and as EventBridge carry them (Amazon CloudWatch User Guide, "Alarm
//! events and EventBridge", and captures of messages).
//!
//! `Region` in the form of SNS is a display name ("US East (Ohio)"): the region is taken from the ARN.

use serde_json::Value;

use super::json::{self, needed, text};
use super::{Alarm, AlarmKind, Event, Unknown, What, key};
use crate::domain::Timestamp;
use crate::health::AlarmState;

pub(super) fn from_sns(value: &Value) -> Result<Event, Unknown> {
    let name = needed(value, &["AlarmName"])?;
    let state = state_of(&needed(value, &["NewStateValue"])?)?;
    let (arn, aws_region) = place(text(value, &["AlarmArn"]))?;
    let alarm = Alarm {
        name,
        arn,
        aws_region,
        kind: kind_of_sns(value),
        state,
        reason: text(value, &["NewStateReason"]).unwrap_or_default(),
        suppressed: value.get("ActionsSuppressedBy").is_some_and(Value::is_string),
    };
    Ok(event(alarm, json::time(value, &["StateChangeTime"]), value))
}

pub(super) fn from_bridge(value: &Value) -> Result<Event, Unknown> {
    let resource = value.get("resources").and_then(|list| list.get(0)).and_then(Value::as_str);
    let (arn, from_arn) = place(resource.map(|arn| json::clip(arn, 512)))?;
    let aws_region = text(value, &["region"]).filter(|region| json::is_region(region));
    let state = state_of(&needed(value, &["detail", "state", "value"])?)?;
    let suppressed = text(value, &["detail", "state", "actionsSuppressedBy"]).is_some();
    let alarm = Alarm {
        name: needed(value, &["detail", "alarmName"])?,
        arn,
        aws_region: from_arn.or(aws_region),
        kind: kind_of_bridge(value),
        state,
        reason: text(value, &["detail", "state", "reason"]).unwrap_or_default(),
        suppressed,
    };
    let at = json::time(value, &["detail", "state", "timestamp"]);
    Ok(event(alarm, at.or_else(|| json::time(value, &["time"])), value))
}

/// One transition is one event, by whichever way and however often it is told: CloudWatch may notify of a
/// transition more than once, and only the time identifies it (Amazon CloudWatch User Guide, "Using Amazon
/// CloudWatch alarms"). Without a time nothing tells two transitions apart but the whole text.
fn event(alarm: Alarm, at: Option<Timestamp>, value: &Value) -> Event {
    let who = alarm.arn.as_deref().unwrap_or(&alarm.name);
    let when = match at {
        Some(at) => at.as_millis().to_string(),
        None => super::digest(value.to_string().as_bytes()),
    };
    let key = key(&["alarm", who, state_word(alarm.state), &when]);
    Event { key, at, topic: None, what: What::Alarm(alarm) }
}

fn place(arn: Option<String>) -> Result<(Option<String>, Option<String>), Unknown> {
    let Some(text) = arn else { return Ok((None, None)) };
    let region = match json::arn(&text) {
        Some(arn) if arn.service == "cloudwatch" && arn.rest.starts_with("alarm:") => {
            arn.aws_region.to_owned()
        }
        Some(_) | None => return Err(Unknown::new(format!("`{text}` is not the ARN of an alarm"))),
    };
    Ok((Some(text), Some(region)))
}

fn state_of(text: &str) -> Result<AlarmState, Unknown> {
    match text {
        "OK" => Ok(AlarmState::Ok),
        "ALARM" => Ok(AlarmState::Alarm),
        "INSUFFICIENT_DATA" => Ok(AlarmState::InsufficientData),
        _ => Err(Unknown::new(format!("`{text}` is not a state of an alarm"))),
    }
}

pub(super) fn state_word(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Ok => "OK",
        AlarmState::Alarm => "ALARM",
        AlarmState::InsufficientData => "INSUFFICIENT_DATA",
    }
}

/// A composite alarm has a rule and no `Trigger`.
fn kind_of_sns(value: &Value) -> AlarmKind {
    if value.get("AlarmRule").is_some() {
        return AlarmKind::Composite;
    }
    match value.get("Trigger") {
        Some(trigger) if trigger.get("ThresholdMetricId").is_some_and(Value::is_string) => {
            AlarmKind::Anomaly
        }
        Some(trigger) if trigger.get("Metrics").is_some_and(Value::is_array) => AlarmKind::Math,
        Some(_) | None => AlarmKind::Metric,
    }
}

fn kind_of_bridge(value: &Value) -> AlarmKind {
    let Some(configuration) = value.get("detail").and_then(|detail| detail.get("configuration"))
    else {
        return AlarmKind::Metric;
    };
    if configuration.get("alarmRule").is_some() {
        return AlarmKind::Composite;
    }
    let metrics = configuration.get("metrics").and_then(Value::as_array);
    let expression =
        |metric: &Value| metric.get("expression").and_then(Value::as_str).map(str::to_owned);
    let expressions: Vec<String> = metrics.into_iter().flatten().filter_map(expression).collect();
    if expressions.iter().any(|text| text.contains("ANOMALY_DETECTION_BAND")) {
        AlarmKind::Anomaly
    } else if expressions.is_empty() {
        AlarmKind::Metric
    } else {
        AlarmKind::Math
    }
}
