//! Tells people beside the rounds: takes letters at once, carries them out in tasks of its own, and keeps
//! what became of them until a round asks.
//!
//! Every channel has its own queue, so that one that hangs delays nobody else. What waits for the same
//! channel and belongs to the same thread goes out as one message. A letter that its channel does not
//! take falls through to those that stand in, and in the end to any that is left.

mod channels;
mod forms;
mod line;
mod mail;
mod publish;
mod secret;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::warn;

use crate::bulletin::Page;
use crate::policy::Policy;
use crate::ports::{CallFailed, Outbox, Pages, Topics};
use crate::tell::{Kind, Letter, Lost, Note, Receipt, Severity};

pub use publish::write;

use line::{Job, Line};

/// Letters that may be under way at once. A service in trouble writes some ten an hour.
const UNDER_WAY_MAX: usize = 256;

/// Messages of one thread that go out together, oldest first. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    pub notes: Vec<Note>,
    /// The status page that belongs to the newest of them.
    pub page: Option<Arc<Page>>,
}

impl Bundle {
    pub fn newest(&self) -> Option<&Note> {
        self.notes.iter().max_by_key(|note| note.sequence)
    }

    /// The gravest of them.
    pub fn severity(&self) -> Severity {
        self.notes
            .iter()
            .map(|note| note.severity)
            .max_by_key(|s| rank(*s))
            .unwrap_or(Severity::Info)
    }
}

/// `Status` is no step of the ladder: it is what the public reads.
pub(super) fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Status => 0,
        Severity::Info => 1,
        Severity::Warn => 2,
        Severity::Page => 3,
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Untaken {
    pub why: String,
    /// Whether the same message may be taken a moment later.
    pub again: bool,
}

impl Untaken {
    /// Trying again would not help.
    fn for_good(why: String) -> Self {
        Self { why, again: false }
    }

    /// What AWS said to it: a permission that is missing, or a bucket elsewhere, passes by no waiting.
    fn by(failure: &CallFailed) -> Self {
        Self { why: failure.to_string(), again: !failure.is_for_good() }
    }

    /// Something answered, but not who should have: a proxy, or half a service.
    fn strange() -> Self {
        Self { why: "the answer is not that of such a service".to_owned(), again: true }
    }
}

/// One way to people.
#[async_trait]
pub trait Carrier: Send + Sync + fmt::Debug {
    /// Tries once. May hang: whoever calls gives up.
    async fn carry(&self, bundle: &Bundle) -> Result<(), Untaken>;
}

/// A way to people, and what goes there.
#[derive(Debug, Clone)]
pub struct Way {
    pub name: String,
    pub carrier: Arc<dyn Carrier>,
    /// Less grave notes do not go there.
    pub from: Severity,
    /// Only what another way did not take goes there.
    pub stands_in: bool,
    /// It keeps an alert open until it hears that the matter is over.
    pub keeps_alerts: bool,
    pub takes_status: bool,
    /// One try is given up after this long.
    pub within: Duration,
}

/// Everything that people and the public are reached by.
pub fn ways(policy: &Policy, reach: &Reach) -> Vec<Way> {
    let mut ways = channels::ways(policy, reach.topics.as_ref());
    ways.extend(publish::ways(policy, reach.pages.as_ref()));
    ways
}

/// What channels need of the cloud. `None` where this build has none.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    pub topics: Option<Arc<dyn Topics>>,
    pub pages: Option<Arc<dyn Pages>>,
}

impl Way {
    /// False for a status page: what is for people alone never goes there.
    fn is_private(&self) -> bool {
        self.from != Severity::Status
    }

    fn wants(&self, note: &Note) -> bool {
        match note.severity {
            Severity::Status => self.takes_status,
            Severity::Info | Severity::Warn | Severity::Page => {
                self.is_private()
                    && (rank(note.severity) >= rank(self.from)
                        || (note.kind == Kind::Resolved
                            && (self.keeps_alerts || note.thread.is_incident())))
            }
        }
    }
}

type Receipts = Arc<Mutex<VecDeque<Receipt>>>;

/// The outbox of a service. Dropping it lets what is under way come to its end.
#[derive(Debug)]
pub struct Teller {
    letters: mpsc::Sender<Letter>,
    receipts: Receipts,
}

impl Teller {
    /// The outbox, and the task to be run for it. Receipts of `before`, the outbox of an older policy, come
    /// out of this one.
    pub fn new(ways: Vec<Way>, before: Option<&Self>) -> (Self, impl Future<Output = ()> + use<>) {
        let (letters, waiting) = mpsc::channel(UNDER_WAY_MAX);
        let receipts = before.map(|before| Arc::clone(&before.receipts)).unwrap_or_default();
        let teller = Self { letters, receipts: Arc::clone(&receipts) };
        (teller, run(ways, waiting, receipts))
    }

    /// A way to the last receipts, for when this outbox is gone.
    pub fn last_receipts(&self) -> impl FnOnce() -> Vec<Receipt> + use<> {
        let receipts = Arc::clone(&self.receipts);
        move || receipts.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

impl Outbox for Teller {
    fn post(&self, letter: Letter) -> Result<(), CallFailed> {
        self.letters.try_send(letter).map_err(|error| CallFailed::NotSent {
            why: match error {
                TrySendError::Full(_) => "too many messages are under way".to_owned(),
                TrySendError::Closed(_) => "telling broke down".to_owned(),
            },
        })
    }

    fn receipts(&self) -> Vec<Receipt> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

/// Carries letters until the outbox is gone and nothing is under way.
async fn run(ways: Vec<Way>, mut letters: mpsc::Receiver<Letter>, receipts: Receipts) {
    let mut lines = JoinSet::new();
    let ends: Vec<End> = ways
        .into_iter()
        .map(|way| {
            let (jobs, line) = Line::new(&way);
            lines.spawn(line.run());
            End { way, jobs }
        })
        .collect();
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            letter = letters.recv(), if open && under_way.len() < UNDER_WAY_MAX => match letter {
                Some(letter) => under_way.push(deliver(&ends, letter)),
                None => open = false,
            },
            Some(receipt) = under_way.next() => {
                receipts.lock().unwrap_or_else(PoisonError::into_inner).push_back(receipt);
            }
        }
    }
    drop(under_way);
    drop(ends);
    lines.shutdown().await;
}

/// Where jobs of a way are put in.
#[derive(Debug)]
struct End {
    way: Way,
    jobs: mpsc::Sender<Job>,
}

impl End {
    async fn carry(&self, letter: &Letter) -> Result<(), String> {
        let (done, result) = oneshot::channel();
        self.jobs.try_send(Job { letter: letter.clone(), done }).map_err(|error| match error {
            TrySendError::Full(_) => "too many messages wait for it".to_owned(),
            TrySendError::Closed(_) => "it broke down".to_owned(),
        })?;
        result.await.unwrap_or_else(|_| Err("it broke down".to_owned()))
    }
}

/// Brings one letter to everybody who should have it, and to somebody in any case.
async fn deliver(ends: &[End], letter: Letter) -> Receipt {
    let note = &letter.note;
    // Of an end they hear as well that may have opened an alert when another was down.
    let stands_back =
        |way: &Way| way.stands_in && !(note.kind == Kind::Resolved && way.keeps_alerts);
    let wanted =
        ends.iter().enumerate().filter(|(_, end)| !stands_back(&end.way) && end.way.wants(note));
    let first: Vec<usize> = wanted.map(|(place, _)| place).collect();
    let results = join_all(first.iter().map(|place| try_one(ends, *place, &letter))).await;
    let mut tried: Vec<(usize, Result<(), String>)> = first.iter().copied().zip(results).collect();
    // The next that stands in, for each that failed.
    for place in first {
        let failed = tried.iter().any(|(other, result)| *other == place && result.is_err());
        for next in place + 1..ends.len() {
            let fits = ends.get(next).is_some_and(|end| end.way.stands_in && end.way.wants(note));
            let new = tried.iter().all(|(other, _)| *other != next);
            if !failed || !fits || !new {
                continue;
            }
            let result = try_one(ends, next, &letter).await;
            let took = result.is_ok();
            tried.push((next, result));
            if took {
                break;
            }
        }
    }
    // Nobody has it: whoever is left, even one that usually hears of less.
    let unwanted = tried.is_empty();
    for next in 0..ends.len() {
        let done = unwanted || tried.iter().any(|(_, result)| result.is_ok());
        if done || note.severity == Severity::Status {
            break;
        }
        let private = ends.get(next).is_some_and(|end| end.way.is_private());
        if private && tried.iter().all(|(other, _)| *other != next) {
            let result = try_one(ends, next, &letter).await;
            tried.push((next, result));
        }
    }
    if note.severity != Severity::Status && !ends.iter().any(|end| end.way.is_private()) {
        warn!(service = %note.service, note = note.text, "No channel to tell it to.");
    }
    let name = |place: usize| ends.get(place).map_or(String::new(), |end| end.way.name.clone());
    let (mut took, mut lost) = (Vec::new(), Vec::new());
    for (place, result) in tried {
        match result {
            Ok(()) => took.push(name(place)),
            Err(why) => {
                warn!(service = %note.service, channel = name(place), why, "A note was not delivered.");
                lost.push(Lost { channel: name(place), why });
            }
        }
    }
    // People hear of it by any one way. Each place of a status page has readers of its own.
    let delivered =
        if note.public.is_some() { lost.is_empty() } else { unwanted || !took.is_empty() };
    Receipt { letter, delivered, took, lost }
}

async fn try_one(ends: &[End], place: usize, letter: &Letter) -> Result<(), String> {
    match ends.get(place) {
        Some(end) => end.carry(letter).await,
        None => Err("it is gone".to_owned()),
    }
}

#[cfg(test)]
mod tests;
