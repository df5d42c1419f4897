//! A fault matrix: kinds of faults, the cells that are played at the same time, and the table that tells of
//! them, which is compared.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::wire::http::Message;
use crate::wire::proxy::Fault;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Throttled,
    ServerError,
    Refused,
    Reset,
    HangBefore,
    HangAfter,
    Slow,
    Garbage,
    Expired,
    Pending,
    /// Two faults after each other: the effect is there, its answer is lost, and nothing of it can be read.
    HangThenThrottled,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Throttled,
        Self::ServerError,
        Self::Refused,
        Self::Reset,
        Self::HangBefore,
        Self::HangAfter,
        Self::Slow,
        Self::Garbage,
        Self::Expired,
        Self::Pending,
        Self::HangThenThrottled,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::ServerError => "5xx",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::HangBefore => "hangs before the effect",
            Self::HangAfter => "hangs after the effect",
            Self::Slow => "slow",
            Self::Garbage => "garbage",
            Self::Expired => "credentials expired",
            Self::Pending => "stuck PENDING",
            Self::HangThenThrottled => "hangs after the effect, then all throttled",
        }
    }

    pub(super) fn fault(self, of: OfService) -> Fault {
        match self {
            Self::Throttled | Self::HangThenThrottled => of.throttled,
            Self::ServerError => {
                Fault::Answer(Message::answer(503, "text/html", "<html>sorry</html>"))
            }
            // The port is shut instead.
            Self::Refused | Self::Reset => Fault::Reset,
            Self::HangBefore => Fault::SilenceBefore,
            Self::HangAfter => Fault::SilenceAfter,
            Self::Slow => Fault::Slow(of.slow),
            Self::Garbage => of.garbage,
            Self::Expired => of.expired,
            Self::Pending => of.pending.expect("nothing is pending here"),
        }
    }
}

/// Faults that look different from service to service.
pub(super) struct OfService {
    pub(super) throttled: Fault,
    pub(super) expired: Fault,
    pub(super) garbage: Fault,
    pub(super) pending: Option<Fault>,
    /// Longer than a healthy answer, shorter than a time-out.
    pub(super) slow: Duration,
}

/// A call that can fail.
pub(super) trait Step: fmt::Debug + Copy + Send + 'static {
    const ALL: &'static [Self];

    /// The service and the call, as the table has them.
    fn names(self) -> (&'static str, &'static str);

    /// Why this cannot be, if it cannot.
    fn is_senseless(self, fault: Kind) -> Option<&'static str>;
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cell<S> {
    pub(super) step: S,
    pub(super) fault: Kind,
}

impl<S: Step> fmt::Display for Cell<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.step, self.fault.name())
    }
}

/// What the table says of a cell.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) during: &'static str,
    pub(super) story: String,
}

fn cells<S: Step>() -> impl Iterator<Item = (usize, Cell<S>)> {
    let of = |step: &S| Kind::ALL.map(|fault| Cell { step: *step, fault });
    S::ALL.iter().flat_map(of).enumerate()
}

/// Plays all cells, `at_once` of them at the same time, and compares the table in `tests/aws_wire/` with what
/// they told. `head` is what stands above the table.
pub(super) async fn play_all<S: Step, P: Future<Output = Told> + Send + 'static>(
    table: &str,
    head: &[&str],
    at_once: usize,
    play: impl Fn(Cell<S>, usize) -> P,
) {
    let places = Arc::new(Semaphore::new(at_once));
    let mut playing = JoinSet::new();
    for (number, cell) in cells::<S>() {
        if cell.step.is_senseless(cell.fault).is_none() {
            let (play, places) = (Box::pin(play(cell, number)), Arc::clone(&places));
            playing.spawn(async move {
                let _place = places.acquire().await.unwrap();
                (number, play.await)
            });
        }
    }
    let mut told = BTreeMap::new();
    let mut failed = Vec::new();
    while let Some(played) = playing.join_next().await {
        match played {
            Ok((number, said)) => drop(told.insert(number, said)),
            Err(error) => failed.push(error.to_string()),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    compare(table, &text::<S>(head, &told));
}

fn compare(table: &str, is: &str) {
    let path = format!("{}/tests/aws_wire/{table}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_FAULT_MATRIX").is_some() {
        std::fs::write(path, is).unwrap();
        return;
    }
    let known = std::fs::read_to_string(path).unwrap();
    for (is, was) in is.lines().zip(known.lines()) {
        assert_eq!(is, was, "run with UPDATE_FAULT_MATRIX=1 to accept");
    }
    assert_eq!(is.lines().count(), known.lines().count());
}

fn text<S: Step>(head: &[&str], told: &BTreeMap<usize, Told>) -> String {
    let mut lines: Vec<String> = head.iter().map(|&line| line.to_owned()).collect();
    lines.push(String::new());
    lines.push("| service | call | fault | while it lasts | the journal |".to_owned());
    lines.push("| --- | --- | --- | --- | --- |".to_owned());
    for (number, cell) in cells::<S>() {
        let (service, call) = cell.step.names();
        let (during, story) = match (cell.step.is_senseless(cell.fault), told.get(&number)) {
            (Some(why), _) => ("–", why),
            (None, Some(told)) => (told.during, told.story.as_str()),
            (None, None) => ("not played", ""),
        };
        lines.push(format!("| {service} | {call} | {} | {during} | {story} |", cell.fault.name()));
    }
    lines.push(String::new());
    lines.join("\n")
}
