//! Who hears of it and what the public reads, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Secret;
use super::template::Template;
use crate::domain::RegionName;
use crate::tell::Severity;

/// Who hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tell {
    pub channels: Vec<Channel>,
    /// The public status is renewed at least this often: while an incident is open, and with a status
    /// page at all times.
    pub status_every: Option<Duration>,
}

/// A way to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// No two of a policy are the same.
    pub name: String,
    /// Less grave notes do not go there. Never [`Severity::Status`].
    pub from: Severity,
    /// It hears only of what a channel before it did not take.
    pub stands_in: bool,
    pub way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Webhook(Webhook),
    /// A local program with the note as JSON on its standard input.
    Command {
        program: String,
        arguments: Vec<String>,
    },
    /// An incoming webhook of Slack.
    Slack {
        url: Secret,
    },
    PagerDuty {
        key: Secret,
        url: String,
    },
    Opsgenie {
        key: Secret,
        url: String,
    },
    Sns {
        topic: String,
        aws_region: String,
    },
    Mail(Box<Mail>),
}

/// A request to an HTTP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub url: Address,
    /// `None`: the note as JSON.
    pub body: Option<Template>,
    pub content_type: String,
    /// Values are written as inside of JSON quotes.
    pub is_json: bool,
}

/// An address, in the open or as a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Open(String),
    Hidden(Secret),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub sender: String,
    pub to: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    Implicit,
    Starttls,
    Nothing,
}

/// Places in the body of a webhook.
pub(super) const NOTE_PLACES: &[&str] = &[
    "text",
    "subject",
    "severity",
    "kind",
    "thread",
    "sequence",
    "service",
    "at",
    "seen",
    "done",
    "not_done",
    "would_help",
    "to_stop",
    "everything",
];

/// A status page that everybody can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPage {
    pub title: String,
    pub mode: PageMode,
    /// Never empty.
    pub components: BTreeMap<String, Component>,
    pub publish: Vec<PagePlace>,
    pub url: Option<String>,
    pub words: Words,
    /// It is renewed at least this often.
    pub every: Duration,
}

/// Who sends what is new in an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageMode {
    /// A human.
    Draft,
    /// The controller.
    Auto,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    pub name: String,
    /// Empty: all.
    pub regions: Vec<RegionName>,
}

/// Where a status page is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PagePlace {
    Directory { path: String },
    S3 { bucket: String, aws_region: String, prefix: String },
    Statuspage { url: String, page: String, key: Secret, components: BTreeMap<String, String> },
}

/// What the public reads in each phase of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    pub investigating: Template,
    pub identified: Template,
    pub monitoring: Template,
    pub resolved: Template,
}

/// Places in the words of a status page.
pub(super) const PAGE_PLACES: &[&str] = &["service", "components", "since"];
