//! Words for people: notes with a severity and what they are about. No IO.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bulletin::{Bulletin, Page};
use crate::domain::{BalancerName, RegionName, ServiceName, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warn,
    /// Wakes somebody.
    Page,
    /// The public page; counts only as itself.
    Status,
}

/// What a note is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    Region(RegionName),
    Balancer(BalancerName),
    Word(Word),
}

/// The closed list of subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    Deploy,
    MissingData,
    StaleData,
    ProbeNetwork,
    ControlPlane,
    Capacity,
    Replication,
    Zone,
    Flapping,
    NoSafeTarget,
    Clock,
    Throttle,
    StuckChange,
    Latency,
    Correlated,
    OperatorHold,
    Recovered,
    Shifted,
    Lb,
    RegionDown,
    Overload,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(name) => write!(f, "{name}"),
            Self::Balancer(name) => write!(f, "{name}"),
            Self::Word(word) => {
                let text = serde_json::to_value(word).unwrap_or_default();
                f.write_str(text.as_str().unwrap_or_default())
            }
        }
    }
}

/// What belongs together: an incident, or a matter outside of incidents. Made of what is in the journal, so
/// that it is the same after a restart, on every channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thread(String);

impl Thread {
    /// The incident of `service` that began at `began`, to the second.
    pub fn incident(service: &ServiceName, began: Timestamp) -> Self {
        let stamp: String = began.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        Self(format!("{service}-{stamp}"))
    }

    /// A matter that is no incident, such as a standby that is not ready.
    pub fn matter(service: &ServiceName, key: &str) -> Self {
        Self(format!("{service}/{key}"))
    }

    /// False for a matter beside incidents.
    pub fn is_incident(&self) -> bool {
        !self.0.contains('/')
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where in the life of its thread a note stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first one.
    Opened,
    #[default]
    Changed,
    /// Nothing goes on without a human.
    NeedsYou,
    /// The last one.
    Resolved,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opened => "opened",
            Self::Changed => "changed",
            Self::NeedsYou => "needs you",
            Self::Resolved => "resolved",
        })
    }
}

/// What somebody who was woken wants to know, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    pub seen: Vec<String>,
    pub done: Vec<String>,
    /// With the reason.
    pub not_done: Vec<String>,
    pub would_help: Vec<String>,
    pub to_stop: Vec<String>,
}

impl Account {
    /// Headings and their sentences, without those that have nothing to say.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        [
            ("seen", &self.seen),
            ("done", &self.done),
            ("not done", &self.not_done),
            ("would help", &self.would_help),
            ("to stop it", &self.to_stop),
        ]
        .into_iter()
        .filter(|(_, sentences)| !sentences.is_empty())
        .map(|(heading, sentences)| (heading, sentences.as_slice()))
    }
}

/// One message of a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub service: ServiceName,
    pub at: Timestamp,
    pub severity: Severity,
    pub about: BTreeSet<Topic>,
    /// All of it in a paragraph, for channels that take no more.
    pub text: String,
    #[serde(default)]
    pub thread: Thread,
    /// Counts the messages of the thread from 1. A message that is sent again keeps its number.
    #[serde(default)]
    pub sequence: u32,
    #[serde(default)]
    pub kind: Kind,
    #[serde(default)]
    pub account: Account,
    /// Why nothing is moved whatever happens, if that is so: a mode, or a human's hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automation_off: Option<String>,
    /// What the public is told with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<Box<Bulletin>>,
}

/// Subjects of mails and alerts are cut after so many characters: SNS takes 100.
const SUBJECT_MAX: usize = 100;

impl Note {
    /// The account without what the text says anyway: nobody reads the same twice at night.
    pub fn details(&self) -> Account {
        let new = |sentences: &[String]| -> Vec<String> {
            sentences.iter().filter(|one| !self.text.contains(one.as_str())).cloned().collect()
        };
        Account {
            seen: new(&self.account.seen),
            done: new(&self.account.done),
            not_done: new(&self.account.not_done),
            would_help: new(&self.account.would_help),
            to_stop: new(&self.account.to_stop),
        }
    }

    /// One line: what it is about, without what follows from it.
    pub fn subject(&self) -> String {
        let first = self.text.split([';', '\n']).next().unwrap_or_default();
        let first = first.split(". ").next().unwrap_or_default();
        let mut line: String = match self.kind {
            Kind::NeedsYou => format!("needs you: {first}"),
            Kind::Opened | Kind::Changed | Kind::Resolved => first.to_owned(),
        };
        if line.chars().count() > SUBJECT_MAX {
            line = line.chars().take(SUBJECT_MAX - 1).chain(['…']).collect();
        }
        line
    }
}

/// A note on its way, with the key under which it is not sent twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    pub key: String,
    pub note: Note,
    /// The status page to be published with it. Made anew from what is remembered, so never kept.
    #[serde(skip)]
    pub page: Option<Arc<Page>>,
}

/// A channel that did not take a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub channel: String,
    pub why: String,
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    pub letter: Letter,
    /// Somebody has it, or nobody wants to hear so little.
    pub delivered: bool,
    /// The channels that took it.
    pub took: Vec<String>,
    pub lost: Vec<Lost>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: Kind, text: &str) -> Note {
        Note {
            service: "shop".parse().unwrap(),
            at: Timestamp::from_secs(0),
            severity: Severity::Page,
            about: BTreeSet::new(),
            text: text.to_owned(),
            thread: Thread::default(),
            sequence: 1,
            kind,
            account: Account::default(),
            automation_off: None,
            public: None,
        }
    }

    #[test]
    fn a_thread_is_named_by_what_the_journal_keeps() {
        let began = Timestamp::from_millis(1_795_262_640_999);
        let thread = Thread::incident(&"shop".parse().unwrap(), began);
        assert_eq!(thread.as_str(), "shop-20261121T120400Z");
    }

    #[test]
    fn a_subject_is_the_first_sentence() {
        let text = "shop: `east` is bad since 12:04: 10% of probes succeed. Moving away; soon";
        let subject = "shop: `east` is bad since 12:04: 10% of probes succeed";
        assert_eq!(note(Kind::Opened, text).subject(), subject);
        assert_eq!(note(Kind::NeedsYou, text).subject(), format!("needs you: {subject}"));
        let long = note(Kind::Opened, &"é".repeat(300)).subject();
        assert_eq!(long.chars().count(), 100);
    }
}
