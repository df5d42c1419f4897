//! The fault matrix: every kind of fault in every call of a shift, one at a time, until it passes.
//!
//! Each cell is a region that dies and one kind of call that fails in one way for half a minute of
//! made-up time. Whatever the fault: never said to be done before it is, moved in the end, changed once
//! and no more, no more calls than the waits allow, and a journal that tells what happened. What was
//! played stands in `tests/aws_wire/fault-matrix.md`, which this test compares.

mod bench;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use leeward::aws::Edge;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::settings;
use super::signals::{cbor_error, target_group_in};
use crate::wire::http::Message;
use crate::wire::proxy::Fault;
use crate::wire::servers;
use bench::{Ground, play};

const LIST: &str = "ListResourceRecordSets";
const CHANGE: &str = "ChangeResourceRecordSets";
const STATUS: &str = "GetChange";
const ZONE: &str = "GetHostedZone";
const TARGETS: &str = "DescribeTargetHealth";
const METRICS: &str = "GetMetricData";

/// A call of a shift, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Targets,
    Metrics,
    Records,
    Change,
    InSync,
    NameServers,
    Answers,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Targets,
        Self::Metrics,
        Self::Records,
        Self::Change,
        Self::InSync,
        Self::NameServers,
        Self::Answers,
    ];

    /// `None` for a question to a name server, which is no call of an API.
    fn action(self) -> Option<&'static str> {
        match self {
            Self::Targets => Some(TARGETS),
            Self::Metrics => Some(METRICS),
            Self::Records => Some(LIST),
            Self::Change => Some(CHANGE),
            Self::InSync => Some(STATUS),
            Self::NameServers => Some(ZONE),
            Self::Answers => None,
        }
    }

    /// All day long, and not only for a shift.
    fn is_looked_at(self) -> bool {
        matches!(self, Self::Targets | Self::Metrics | Self::Records)
    }

    /// Calls into a fault that lasts for thirty seconds, and for as long before it if it is looked at all
    /// day long. Each try that only reads is three attempts of the SDK's.
    fn calls_max(self) -> usize {
        const ATTEMPTS: usize = 3;
        match self {
            // Both regions, every five seconds, as the policy wants it.
            Self::Targets => 12 * 2 * ATTEMPTS,
            Self::Metrics => 12 * ATTEMPTS,
            // Every ten seconds while they cannot be read.
            Self::Records => 7 * ATTEMPTS,
            // After waits of 2, 4, 8 and 16 seconds.
            Self::Change => 5,
            Self::InSync | Self::NameServers => 5 * ATTEMPTS,
            Self::Answers => 0,
        }
    }

    fn service(self) -> &'static str {
        match self {
            Self::Targets => "elbv2",
            Self::Metrics => "cloudwatch",
            Self::Records | Self::Change | Self::InSync | Self::NameServers => "route53",
            Self::Answers => "dns",
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
    /// Why there is no such thing, if there is none.
    fn is_senseless(self) -> Option<&'static str> {
        let Self { step, fault } = self;
        if fault == Kind::Pending {
            // The same of a name server: it does not know the change yet.
            let pends = [Step::InSync, Step::Answers].contains(&step);
            return (!pends).then_some("nothing that is pending is asked for here");
        }
        if step == Step::Answers {
            return Some(
                "a question to a name server is no call: it is answered with the new epoch or not, see `stuck PENDING`",
            );
        }
        if fault == Kind::HangAfter && step != Step::Change {
            return Some("a call that only reads has no effect: see `hangs before the effect`");
        }
        (fault == Kind::Refused && !step.is_looked_at()).then_some(
            "who refuses a connection does not know which call it would have carried: see the reading of records",
        )
    }
}

/// Longer than a healthy answer, shorter than a time-out.
const SLOWLY: Duration = Duration::from_millis(500);

fn fault_of(cell: Cell) -> Fault {
    let metrics = cell.step == Step::Metrics;
    let error = |status, code: &str, why: &str| {
        if metrics { cbor_error(status, code, why) } else { Fault::error(status, code, why) }
    };
    match cell.fault {
        Kind::Throttled => error(400, "Throttling", "Rate exceeded"),
        Kind::ServerError => Fault::Answer(Message::answer(503, "text/html", "<html>sorry</html>")),
        // The port is shut instead.
        Kind::Refused | Kind::Reset => Fault::Reset,
        Kind::HangBefore => Fault::SilenceBefore,
        Kind::HangAfter => Fault::SilenceAfter,
        Kind::Slow => Fault::Slow(SLOWLY),
        Kind::Garbage => Fault::rewrite(|_| Message::answer(200, "text/xml", "<garbage")),
        Kind::Expired => error(403, "ExpiredToken", "The security token is expired"),
        Kind::Pending => Fault::rewrite(|mut answer| {
            answer.body = answer.text().replace("INSYNC", "PENDING").into_bytes();
            answer
        }),
    }
}

fn cells() -> Vec<Cell> {
    let of = |step| Kind::ALL.map(|fault| Cell { step, fault });
    Step::ALL.into_iter().flat_map(of).collect()
}

/// Cells that are played at the same time: they mostly wait, and each needs a moment of the processor
/// before its time-outs are over.
const AT_ONCE: usize = 12;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aws_wire/fault-matrix.md");
/// Writes the table in place of comparing it.
const UPDATE: Option<&str> = option_env!("UPDATE_FAULT_MATRIX");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_call_ends_well_and_nothing_is_done_twice() {
    let server = servers::ministack().await;
    let mut groups = BTreeMap::new();
    for region in ["eu-west-1", "eu-central-1"] {
        groups.insert(region, target_group_in(server.port, region).await);
    }
    let direct = Edge::connect(&settings(&format!("http://127.0.0.1:{}", server.port))).await;
    let ground = Arc::new(Ground { port: server.port, groups, direct });
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    for (number, cell) in cells().into_iter().enumerate() {
        if cell.is_senseless().is_some() {
            continue;
        }
        let (ground, places) = (Arc::clone(&ground), Arc::clone(&places));
        playing.spawn(async move {
            let _place = places.acquire().await.unwrap();
            (number, Box::pin(play(cell, number, &ground)).await)
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
    if UPDATE.is_some() {
        std::fs::write(TABLE, table).unwrap();
        return;
    }
    let known = std::fs::read_to_string(TABLE).unwrap();
    for (is, was) in table.lines().zip(known.lines()) {
        assert_eq!(is, was, "build with UPDATE_FAULT_MATRIX=1 to accept");
    }
    assert_eq!(table.lines().count(), known.lines().count());
}

fn table(told: &BTreeMap<usize, bench::Told>) -> String {
    let mut lines = vec![
        "# Faults in the calls of a shift".to_owned(),
        String::new(),
        "Made by `tests/aws_wire/matrix.rs`, which compares it. In each row a region dies and one kind of call"
            .to_owned(),
        "fails until thirty seconds after (from before the death if it is made all day long). In all of them:"
            .to_owned(),
        "never said to be done before it is, moved in the end, changed exactly once, no more calls than the"
            .to_owned(),
        "waits allow. The journal's story is told without repetitions.".to_owned(),
        String::new(),
        "| service | call | fault | while it lasts | the journal |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    for (number, cell) in cells().into_iter().enumerate() {
        let call = cell.step.action().unwrap_or("TXT of the epoch");
        let (during, story) = match (cell.is_senseless(), told.get(&number)) {
            (Some(why), _) => ("–", why.to_owned()),
            (None, Some(told)) => (told.during, told.story.clone()),
            (None, None) => ("not played", String::new()),
        };
        let (service, fault) = (cell.step.service(), cell.fault.name());
        lines.push(format!("| {service} | {call} | {fault} | {during} | {story} |"));
    }
    lines.push(String::new());
    lines.join("\n")
}
