//! What arrives from outside, in our words: alarms, deploys, notices, answers and readings. No IO, no clock.
//!
//! An event is a hint. It says where to look, and state is read anew before anything is decided. Whatever is
//! not in a shape that is known here is [`Unknown`]: it is kept aside and reported, never guessed at.
//! Elastic Load Balancing sends no event about target health: there are only the records of API calls.

use std::time::Duration;

use serde_json::Value;

use crate::domain::{BalancerName, RegionName, ServiceName, SignalName, Timestamp};
use crate::health::AlarmState;
use crate::policy::Measures;

mod alarm;
mod alertmanager;
mod bridge;
mod deploy;
mod json;
mod meaning;
mod ours;
mod sns;

pub use meaning::{Judged, Meaning, judge};
pub use sns::{Envelope, Handshake, Kind as EnvelopeKind};

/// The largest body that is read, in octets. SNS and SQS carry at most 256 KiB before JSON escaping
/// (Amazon SNS Developer Guide, "Publishing large messages").
pub const BYTES_MAX: usize = 1024 * 1024;
/// Events in one body: a batch of SQS has 10, one of Alertmanager may have many more.
const PARTS_MAX: usize = 200;
/// Envelopes around an event: a Lambda record around SNS around EventBridge, and one to spare.
const WRAPS_MAX: u32 = 4;
/// Octets of a key; see [`Event::key`].
const KEY_BYTES_MAX: usize = 400;

/// One thing that somebody told us.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The same for every copy of the same thing, by whichever way it comes, and for nothing else.
    pub key: String,
    /// When it happened, as its source says; `None` if it does not.
    pub at: Option<Timestamp>,
    /// The SNS topic it came through, if it came in an envelope of SNS.
    pub topic: Option<String>,
    pub what: What,
}

impl Event {
    /// In our own form: its sender has chosen the id in its key.
    pub fn is_ours(&self) -> bool {
        self.key.starts_with(ours::KEY)
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Alarm(Alarm),
    Deploy(Deploy),
    Notice(Notice),
    /// Something changed that is worth a look: instances came or went, targets were registered.
    Changed {
        aws_region: Option<String>,
        text: String,
    },
    Answer(Answer),
    Reading(Reading),
    /// Somebody asks for a look, and for nothing else.
    Look {
        service: Option<ServiceName>,
        reason: String,
    },
    /// SNS asks whether it may send, or says that it stops.
    Handshake(Handshake),
    /// Known, and of no meaning for us.
    Nothing {
        why: String,
    },
}

/// An alarm that changed its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    pub name: String,
    /// `None` where the sender leaves it out. The region and the account are in it.
    pub arn: Option<String>,
    pub aws_region: Option<String>,
    pub kind: AlarmKind,
    pub state: AlarmState,
    pub reason: String,
    /// The actions of a composite alarm are suppressed by another one.
    pub suppressed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmKind {
    Metric,
    /// Over an expression of several metrics.
    Math,
    /// Against a band that the service learned.
    Anomaly,
    Composite,
    /// Not from CloudWatch.
    Foreign,
}

/// A change of what runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Deploy {
    pub service: Option<ServiceName>,
    pub place: Place,
    pub version: String,
    /// What is deployed, and how far it is.
    pub scope: String,
}

/// Where something is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An AWS region code.
    Aws(String),
    /// Regions as the policy calls them.
    Ours(Vec<RegionName>),
}

/// What a provider says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub service: Option<ServiceName>,
    /// `None`: about no region in particular.
    pub aws_region: Option<String>,
    pub text: String,
}

/// A human's yes or no. Who says so is known from the key it was signed with, never from the body.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub service: Option<ServiceName>,
    /// `None` is a no; a yes holds for so long.
    pub yes_for: Option<Duration>,
    pub reason: String,
}

/// A number that was measured elsewhere and pushed here.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub service: Option<ServiceName>,
    pub signal: SignalName,
    pub region: RegionName,
    pub balancer: Option<BalancerName>,
    pub measures: Measures,
    /// `None`: the source could not tell.
    pub value: Option<f64>,
    /// For [`Measures::Verdict`].
    pub bad: bool,
}

/// The kinds of events, for saying what a sender may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Anything that only asks for a look: alarms, changes, a plain request.
    Look,
    Deploy,
    Notice,
    Answer,
    Reading,
}

impl What {
    /// `None` for what nobody needs a permission for, because nothing follows from it.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Alarm(_) | Self::Changed { .. } | Self::Look { .. } => Some(Kind::Look),
            Self::Deploy(_) => Some(Kind::Deploy),
            Self::Notice(_) => Some(Kind::Notice),
            Self::Answer(_) => Some(Kind::Answer),
            Self::Reading(_) => Some(Kind::Reading),
            Self::Handshake(_) | Self::Nothing { .. } => None,
        }
    }

    /// The service that is meant, if the event names one.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Deploy(deploy) => deploy.service.as_ref(),
            Self::Notice(notice) => notice.service.as_ref(),
            Self::Answer(answer) => answer.service.as_ref(),
            Self::Reading(reading) => reading.service.as_ref(),
            Self::Look { service, .. } => service.as_ref(),
            Self::Alarm(_) | Self::Changed { .. } | Self::Handshake(_) | Self::Nothing { .. } => {
                None
            }
        }
    }
}

/// Not a shape that is known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unknown {
    pub why: String,
}

impl Unknown {
    fn new(why: impl Into<String>) -> Self {
        Self { why: json::clip(&why.into(), 300) }
    }
}

/// The events of one body, each read by itself: one that is unknown does not spoil the others.
///
/// The list is never empty and has at most 200 parts; a body with more is unknown as a whole.
pub fn parse(body: &[u8]) -> Vec<Result<Event, Unknown>> {
    if body.len() > BYTES_MAX {
        return vec![Err(Unknown::new(format!("more than {BYTES_MAX} octets")))];
    }
    // Nesting is bounded by the reader: it refuses what is deeper than 128.
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => read(&value, body, 0),
        Err(error) => vec![Err(Unknown::new(format!("not JSON: {error}")))],
    }
}

/// What `value` says. `body` are the octets it was read from, for telling copies of one thing.
fn read(value: &Value, body: &[u8], wraps: u32) -> Vec<Result<Event, Unknown>> {
    if wraps > WRAPS_MAX {
        return vec![Err(Unknown::new("too many envelopes around each other"))];
    }
    let has = |key: &str| value.get(key).is_some();
    // First: over HTTP this is what was signed, and whatever else stands beside it was not.
    if has("TopicArn") && has("Type") {
        return sns::read(value, wraps);
    }
    if let Some(Value::Array(records)) = value.get("Records") {
        return records_of(records, wraps);
    }
    if has("detail-type") && has("source") {
        return vec![bridge::read(value)];
    }
    if has("AlarmName") && has("NewStateValue") {
        return vec![alarm::from_sns(value)];
    }
    if has("alerts") && has("version") {
        return alertmanager::read(value);
    }
    if has("leeward") {
        return vec![ours::read(value, body)];
    }
    if has("deploymentId") && has("eventTriggerName") {
        return vec![deploy::codedeploy_trigger(value)];
    }
    if has("AutoScalingGroupName") && has("Event") {
        return vec![bridge::scaling_notification(value)];
    }
    vec![Err(Unknown::new(shape_of(value)))]
}

/// What a function gets from the runtime of AWS Lambda: records of SQS or of SNS (AWS Lambda Developer
/// Guide, "Using Lambda with Amazon SQS", "Using Lambda with Amazon SNS").
fn records_of(records: &[Value], wraps: u32) -> Vec<Result<Event, Unknown>> {
    if records.is_empty() || records.len() > PARTS_MAX {
        return vec![Err(Unknown::new(format!("{} records", records.len())))];
    }
    let mut events = Vec::new();
    for record in records {
        if let Some(envelope) = record.get("Sns") {
            events.extend(sns::read(envelope, wraps + 1));
        } else if let Some(body) = record.get("body").and_then(Value::as_str) {
            events.extend(read_text(body, wraps + 1));
        } else {
            events.push(Err(Unknown::new(format!("a record that is {}", shape_of(record)))));
        }
        if events.len() > PARTS_MAX {
            return vec![Err(Unknown::new(format!("more than {PARTS_MAX} events in one body")))];
        }
    }
    events
}

/// A body that is a text inside another one.
fn read_text(text: &str, wraps: u32) -> Vec<Result<Event, Unknown>> {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => read(&value, text.as_bytes(), wraps),
        Err(error) => vec![Err(Unknown::new(format!("the message is not JSON: {error}")))],
    }
}

/// What can be said of something that nobody knows.
fn shape_of(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let keys: Vec<&str> = map.keys().take(8).map(String::as_str).collect();
            format!("an object of no known kind, with {}", keys.join(", "))
        }
        Value::Array(_) => "a list".to_owned(),
        Value::String(_) => "a text".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => "a bare value".to_owned(),
    }
}

/// A key of parts that tell it from everything else. Long ones are cut, with a digest for what is cut off.
fn key(parts: &[&str]) -> String {
    let whole = json::clip(&parts.join(" "), 4096);
    if whole.len() <= KEY_BYTES_MAX {
        return whole;
    }
    let mut end = KEY_BYTES_MAX - 40;
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} {}", whole.get(..end).unwrap_or_default(), digest(whole.as_bytes()))
}

/// The first 128 bits of SHA-256, for telling bodies without an id of their own.
fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in Sha256::digest(bytes).iter().take(16) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
