//! The envelope of SNS: what is in it, and the text that its signature is about (Amazon SNS Developer Guide,
//! "Amazon SNS message and JSON formats", "Verifying the signatures of Amazon SNS messages").
//!
//! Whether the signature is right is found out at the edge, where certificates are fetched.

use serde_json::Value;

use super::json;
use super::{Event, Unknown, What, key, read_text};
use crate::domain::Timestamp;

/// Every field that a check needs, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub kind: Kind,
    pub message_id: String,
    pub topic: String,
    pub message: String,
    pub subject: Option<String>,
    /// As written, because it is signed as written.
    pub timestamp: String,
    pub token: Option<String>,
    pub subscribe_url: Option<String>,
    pub signature_version: Option<String>,
    /// Base64.
    pub signature: Option<String>,
    pub certificate_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

/// SNS asks whether it may send here, or says that somebody ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub kind: Kind,
    pub topic: String,
    /// Fetching it says yes. Never fetched before its host was checked.
    pub subscribe_url: String,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

impl Envelope {
    /// The envelope in a body.
    pub fn parse(body: &[u8]) -> Result<Self, Unknown> {
        if body.len() > super::BYTES_MAX {
            return Err(Unknown::new(format!("more than {} octets", super::BYTES_MAX)));
        }
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Unknown::new(format!("not JSON: {error}")))?;
        Self::of(&value)
    }

    fn of(value: &Value) -> Result<Self, Unknown> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let needed = |key: &str| {
            text(key).ok_or_else(|| Unknown::new(format!("an envelope of SNS without `{key}`")))
        };
        let kind = needed("Type")?;
        let kind =
            [Kind::Notification, Kind::SubscriptionConfirmation, Kind::UnsubscribeConfirmation]
                .into_iter()
                .find(|known| known.as_str() == kind)
                .ok_or_else(|| Unknown::new(format!("an envelope of SNS of the type `{kind}`")))?;
        let envelope = Self {
            kind,
            message_id: needed("MessageId")?,
            topic: needed("TopicArn")?,
            message: needed("Message")?,
            subject: text("Subject"),
            timestamp: needed("Timestamp")?,
            token: text("Token"),
            subscribe_url: text("SubscribeURL"),
            signature_version: text("SignatureVersion"),
            signature: text("Signature"),
            // In an event of a Lambda function the name is spelt otherwise.
            certificate_url: text("SigningCertURL").or_else(|| text("SigningCertUrl")),
        };
        let topic = json::arn(&envelope.topic).is_some_and(|arn| arn.service == "sns");
        if topic { Ok(envelope) } else { Err(Unknown::new("`TopicArn` is not the ARN of a topic")) }
    }

    /// When it was published.
    pub fn at(&self) -> Option<Timestamp> {
        json::time_of(&self.timestamp)
    }

    /// The AWS region of the topic.
    pub fn aws_region(&self) -> &str {
        json::arn(&self.topic).map_or("", |arn| arn.aws_region)
    }

    /// The text that is signed: keys in the order of their octets, each key and value on a line of its own.
    /// `None` if a field that is signed is missing.
    pub fn signed_text(&self) -> Option<String> {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            text.push_str(key);
            text.push('\n');
            text.push_str(value);
            text.push('\n');
        };
        line("Message", &self.message);
        line("MessageId", &self.message_id);
        match self.kind {
            Kind::Notification => {
                if let Some(subject) = &self.subject {
                    line("Subject", subject);
                }
                line("Timestamp", &self.timestamp);
            }
            Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation => {
                line("SubscribeURL", self.subscribe_url.as_deref()?);
                line("Timestamp", &self.timestamp);
                line("Token", self.token.as_deref()?);
            }
        }
        line("TopicArn", &self.topic);
        line("Type", self.kind.as_str());
        Some(text)
    }
}

pub(super) fn read(value: &Value, wraps: u32) -> Vec<Result<Event, Unknown>> {
    let envelope = match Envelope::of(value) {
        Ok(envelope) => envelope,
        Err(unknown) => return vec![Err(unknown)],
    };
    match envelope.kind {
        Kind::Notification => {
            let mut events = read_text(&envelope.message, wraps + 1);
            for event in events.iter_mut().flatten() {
                event.topic = Some(json::clip(&envelope.topic, 512));
                event.at = event.at.or_else(|| envelope.at());
            }
            events
        }
        Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation => {
            vec![handshake(&envelope)]
        }
    }
}

fn handshake(envelope: &Envelope) -> Result<Event, Unknown> {
    let without = || Unknown::new("a handshake of SNS without `SubscribeURL`");
    let handshake = Handshake {
        kind: envelope.kind,
        topic: envelope.topic.clone(),
        subscribe_url: envelope.subscribe_url.clone().ok_or_else(without)?,
    };
    Ok(Event {
        key: key(&["sns", &envelope.message_id]),
        at: envelope.at(),
        topic: Some(json::clip(&envelope.topic, 512)),
        what: What::Handshake(handshake),
    })
}
