//! The fault matrix of the levers in the data plane, and of the sessions that all calls are signed with: every
//! kind of fault in every call, one at a time, until it passes, with another lever beside.
//!
//! Whatever the fault: the region is out of the answers in the end, never said to be before it is, not taken
//! out twice by one lever, with no more writes than the pauses allow. What was played stands in
//! `tests/aws_wire/lever-matrix.md`, which this test compares.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use leeward::memory::Outcome;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::bench::{Bench, Order};
use crate::wire::cluster::{GET, UPDATE};
use crate::wire::http::Message;
use crate::wire::proxy::{Fault, Proxy, Rule};
use crate::wire::servers;
use crate::wire::sts::{ASSUME_ROLE, SESSION};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Asked,
    Turned,
    Put,
    ReadBack,
    /// The last session is over.
    Session,
    /// It is past half of its life.
    Renewal,
}

impl Step {
    const ALL: [Self; 6] =
        [Self::Asked, Self::Turned, Self::Put, Self::ReadBack, Self::Session, Self::Renewal];

    fn order(self) -> Order {
        match self {
            Self::Asked | Self::Turned => Order::ArcFirst,
            Self::Put | Self::ReadBack | Self::Session | Self::Renewal => Order::GatesFirst,
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Asked => ("arc, all five endpoints", GET),
            Self::Turned => ("arc, all five endpoints", UPDATE),
            Self::Put => ("s3", "PutObject"),
            Self::ReadBack => ("s3", "GetObject"),
            Self::Session => ("sts", "AssumeRole, the session is over"),
            Self::Renewal => ("sts", "AssumeRole, a session lives"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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
}

impl Kind {
    const ALL: [Self; 10] = [
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
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    step: Step,
    fault: Kind,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.step, self.fault.name())
    }
}

impl Cell {
    fn is_senseless(self) -> Option<&'static str> {
        let writes = matches!(self.step, Step::Turned | Step::Put);
        match (self.step, self.fault) {
            (_, Kind::Pending) => Some("a switch stands or not: nothing is pending"),
            (_, Kind::HangAfter) if !writes => {
                Some("a call that only reads has no effect: see `hangs before the effect`")
            }
            (Step::Turned, Kind::Refused) => Some(
                "who refuses a connection does not know which call it would have carried: see the question",
            ),
            (Step::ReadBack, Kind::Refused) => Some(
                "who refuses a connection does not know which call it would have carried: see `PutObject`",
            ),
            _ => None,
        }
    }

    fn fault(self) -> Fault {
        let arc = self.step.order() == Order::ArcFirst;
        let sts = matches!(self.step, Step::Session | Step::Renewal);
        let error = |status, code: &str, why: &str| {
            if arc {
                return Fault::json_error(status, code, why);
            }
            if sts {
                return Fault::error(status, code, why);
            }
            let body = format!("<Error><Code>{code}</Code><Message>{why}</Message></Error>");
            Fault::Answer(Message::answer(status, "application/xml", body))
        };
        match self.fault {
            Kind::Throttled if arc => error(429, "ThrottlingException", "Rate exceeded"),
            Kind::Throttled if sts => error(400, "Throttling", "Rate exceeded"),
            Kind::Throttled => error(503, "SlowDown", "Please reduce your request rate."),
            Kind::ServerError => {
                Fault::Answer(Message::answer(503, "text/html", "<html>sorry</html>"))
            }
            // The port is shut instead.
            Kind::Refused | Kind::Reset => Fault::Reset,
            Kind::HangBefore => Fault::SilenceBefore,
            Kind::HangAfter => Fault::SilenceAfter,
            Kind::Slow => Fault::Slow(Duration::from_millis(300)),
            Kind::Garbage => {
                Fault::rewrite(|_| Message::answer(200, "text/html", "<html>welcome</html>"))
            }
            Kind::Expired if arc => {
                error(403, "ExpiredTokenException", "The security token is expired")
            }
            Kind::Expired | Kind::Pending => {
                error(400, "ExpiredToken", "The provided token has expired.")
            }
        }
    }
}

fn cells() -> Vec<Cell> {
    let of = |step| Kind::ALL.map(|fault| Cell { step, fault });
    Step::ALL.into_iter().flat_map(of).collect()
}

/// How long a fault lasts once it struck, in rounds of five seconds.
const FAULT_ROUNDS: usize = 6;
const ROUNDS_MAX: usize = 60;
const AFTER_ROUNDS: usize = 6;
/// Writes into a fault of thirty seconds: a try, two more after pauses of 5 and 10 seconds, each taken back
/// once, at five endpoints or with three attempts.
const WRITES_MAX: usize = 30;

struct Told {
    during: &'static str,
    story: String,
}

async fn set(cell: Cell, bench: &mut Bench) -> Vec<Rule> {
    let proxies: Vec<&Proxy> = match cell.step {
        Step::Session | Step::Renewal => {
            bench.session_ages(if cell.step == Step::Session { SESSION * 2 } else { SESSION / 2 });
            vec![&bench.sts]
        }
        Step::Asked | Step::Turned => bench.cluster.endpoints.iter().collect(),
        Step::Put | Step::ReadBack => vec![&bench.bucket],
    };
    if cell.fault == Kind::Refused {
        for proxy in proxies {
            proxy.shut(true).await;
        }
        return Vec::new();
    }
    let action = match cell.step {
        Step::Put => bench.put(),
        Step::ReadBack => bench.get(),
        Step::Asked => GET.to_owned(),
        Step::Turned => UPDATE.to_owned(),
        Step::Session | Step::Renewal => ASSUME_ROLE.to_owned(),
    };
    let inject = |proxy: &Proxy| proxy.inject(&action, "the fault", cell.fault(), usize::MAX);
    proxies.into_iter().map(inject).collect()
}

async fn mend(bench: &mut Bench, rules: &[Rule]) {
    bench.release(rules);
    bench.sts.shut(false).await;
    bench.bucket.shut(false).await;
    for endpoint in &bench.cluster.endpoints {
        endpoint.shut(false).await;
    }
}

fn out(by: (bool, bool)) -> &'static str {
    match by {
        (true, true) => "out by both",
        (true, false) => "out by arc",
        (false, true) => "out by gate",
        (false, false) => "holds",
    }
}

async fn play(cell: Cell, mut bench: Bench) -> Told {
    bench.have_session().await;
    bench.calm().await;
    bench.lose();
    let rules = set(cell, &mut bench).await;
    let mut done = false;
    let mut struck = 0;
    for _ in 0..ROUNDS_MAX {
        let ended = bench.round().await;
        done |= ended == Some(Outcome::Done);
        assert!(
            !done || bench.is_out().await != (false, false),
            "{cell}: said to be out and is not"
        );
        let told = bench.story();
        struck +=
            usize::from(rules.iter().any(|rule| rule.fired() > 0) || told.contains("turning"));
        if struck >= FAULT_ROUNDS {
            break;
        }
    }
    let fired: usize = rules.iter().map(Rule::fired).sum();
    let writes = matches!(cell.step, Step::Turned | Step::Put) && cell.fault != Kind::Refused;
    assert!(!writes || (1..=WRITES_MAX).contains(&fired), "{cell}: {fired} writes into the fault");
    let during = out(bench.is_out().await);
    mend(&mut bench, &rules).await;
    for _ in 0..ROUNDS_MAX {
        if done {
            break;
        }
        done = bench.round().await == Some(Outcome::Done);
    }
    assert!(done, "{cell}: never done: {}", bench.story());
    bench.rounds(AFTER_ROUNDS).await;
    let story = bench.story();
    assert_ne!(bench.is_out().await, (false, false), "{cell}: done and not out: {story}");
    assert!(bench.acts().order.is_none() && bench.acts().doubtful.is_empty(), "{cell}: {story}");
    assert_eq!(story.matches("done").count(), 1, "{cell}: {story}");
    // Out once, and back and out again at most where the first try had to be taken back.
    let taken_back = usize::from(story.contains("given up")) * 2;
    assert!(
        bench.cluster.changes() <= 1 + taken_back,
        "{cell}: {}: {story}",
        bench.cluster.changes()
    );
    Told {
        during,
        story: format!("{}; in the end {}", condensed(&story), out(bench.is_out().await)),
    }
}

/// Without repetitions of whole tries.
fn condensed(story: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in story.split(", ") {
        words.push(word);
        for length in 1..=8 {
            let end = words.len();
            if end >= 2 * length && words[end - length..] == words[end - 2 * length..end - length] {
                words.truncate(end - length);
            }
        }
    }
    words.join(", ")
}

/// Cells that are played at the same time: they mostly wait.
const AT_ONCE: usize = 10;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aws_wire/lever-matrix.md");
/// Writes the table in place of comparing it.
const UPDATE_TABLE: Option<&str> = option_env!("UPDATE_FAULT_MATRIX");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_call_of_a_switch_ends_well() {
    let server = Arc::new(servers::ministack().await);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    for (number, cell) in cells().into_iter().enumerate() {
        if cell.is_senseless().is_some() {
            continue;
        }
        let (server, places) = (Arc::clone(&server), Arc::clone(&places));
        playing.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let bench = Bench::at(cell.step.order(), &server, number).await;
            (number, Box::pin(play(cell, bench)).await)
        });
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
    let table = table(&told);
    if UPDATE_TABLE.is_some() || std::env::var_os("UPDATE_FAULT_MATRIX").is_some() {
        std::fs::write(TABLE, table).unwrap();
        return;
    }
    let known = std::fs::read_to_string(TABLE).unwrap();
    for (is, was) in table.lines().zip(known.lines()) {
        assert_eq!(is, was, "run with UPDATE_FAULT_MATRIX=1 to accept");
    }
    assert_eq!(table.lines().count(), known.lines().count());
}

fn table(told: &BTreeMap<usize, Told>) -> String {
    let mut lines: Vec<String> = [
        "# Faults in the calls of the levers in the data plane",
        "",
        "Made by `tests/aws_wire/rescue/matrix.rs`, which compares it. In each row a region dies and one kind of",
        "call fails until thirty seconds after it was first made. The policy has two levers: routing controls and",
        "then a gate for the calls of `arc`, the other way round for the rest. In all of them: never said to be",
        "done before it is, out of the answers in the end, done once. The journal's story is told without",
        "repetitions.",
        "",
        "| service | call | fault | while it lasts | the journal |",
        "| --- | --- | --- | --- | --- |",
    ]
    .map(str::to_owned)
    .into();
    for (number, cell) in cells().into_iter().enumerate() {
        let (service, call) = cell.step.names();
        let (during, story) = match (cell.is_senseless(), told.get(&number)) {
            (Some(why), _) => ("–", why.to_owned()),
            (None, Some(told)) => (told.during, told.story.clone()),
            (None, None) => ("not played", String::new()),
        };
        lines.push(format!("| {service} | {call} | {} | {during} | {story} |", cell.fault.name()));
    }
    lines.push(String::new());
    lines.join("\n")
}
