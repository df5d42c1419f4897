//! The fault matrix: every kind of fault in every call of a shift, one at a time, until it passes.
//!
//! Each cell is a region that dies and one kind of call that fails in one way for half a minute of
//! made-up time. Whatever the fault: never said to be done before it is, moved in the end, changed once
//! and no more, no more calls than the waits allow, and a journal that tells what happened. What was
//! played stands in `tests/aws_wire/fault-matrix.md`, which this test compares.

mod bench;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leeward::aws::Edge;

use super::faults::{self, Kind, OfService, play_all};
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

impl faults::Step for Step {
    const ALL: &'static [Self] = &[
        Self::Targets,
        Self::Metrics,
        Self::Records,
        Self::Change,
        Self::InSync,
        Self::NameServers,
        Self::Answers,
    ];

    fn names(self) -> (&'static str, &'static str) {
        let service = match self {
            Self::Targets => "elbv2",
            Self::Metrics => "cloudwatch",
            Self::Records | Self::Change | Self::InSync | Self::NameServers => "route53",
            Self::Answers => "dns",
        };
        (service, self.action().unwrap_or("TXT of the epoch"))
    }

    fn is_senseless(self, fault: Kind) -> Option<&'static str> {
        if fault == Kind::Pending {
            // The same of a name server: it does not know the change yet.
            let pends = [Self::InSync, Self::Answers].contains(&self);
            return (!pends).then_some("nothing that is pending is asked for here");
        }
        if self == Self::Answers {
            return Some(
                "a question to a name server is no call: it is answered with the new epoch or not, see `stuck PENDING`",
            );
        }
        if matches!(fault, Kind::HangAfter | Kind::HangThenThrottled) && self != Self::Change {
            return Some("a call that only reads has no effect: see `hangs before the effect`");
        }
        (fault == Kind::Refused && !self.is_looked_at()).then_some(
            "who refuses a connection does not know which call it would have carried: see the reading of records",
        )
    }
}

impl Step {
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
    fn calls_max(self, fault: Kind) -> usize {
        const ATTEMPTS: usize = 3;
        match self {
            // Everything fails then: the records are read as often as below, and the change is tried as often.
            Self::Change if fault == Kind::HangThenThrottled => 7 * ATTEMPTS + 5,
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
}

type Cell = faults::Cell<Step>;

fn fault_of(cell: Cell) -> Fault {
    let metrics = cell.step == Step::Metrics;
    let error = |status, code: &str, why: &str| {
        if metrics { cbor_error(status, code, why) } else { Fault::error(status, code, why) }
    };
    cell.fault.fault(OfService {
        throttled: error(400, "Throttling", "Rate exceeded"),
        expired: error(403, "ExpiredToken", "The security token is expired"),
        garbage: Fault::rewrite(|_| Message::answer(200, "text/xml", "<garbage")),
        pending: Some(Fault::replace("INSYNC", "PENDING")),
        slow: Duration::from_millis(500),
    })
}

/// Cells that are played at the same time: they mostly wait, and each needs a moment of the processor
/// before its time-outs are over.
const AT_ONCE: usize = 12;

const HEAD: [&str; 6] = [
    "# Faults in the calls of a shift",
    "",
    "Made by `tests/aws_wire/matrix.rs`, which compares it. In each row a region dies and one kind of call",
    "fails until thirty seconds after (from before the death if it is made all day long). In all of them:",
    "never said to be done before it is, moved in the end, changed exactly once, no more calls than the",
    "waits allow. The journal's story is told without repetitions.",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_call_ends_well_and_nothing_is_done_twice() {
    let server = servers::ministack().await;
    let mut groups = BTreeMap::new();
    for region in ["eu-west-1", "eu-central-1"] {
        groups.insert(region, target_group_in(server.port, region).await);
    }
    let direct = Edge::connect(&settings(&format!("http://127.0.0.1:{}", server.port))).await;
    let ground = Arc::new(Ground { port: server.port, groups, direct });
    let cell = |cell: Cell, number| {
        let ground = Arc::clone(&ground);
        async move { Box::pin(play(cell, number, &ground)).await }
    };
    play_all("fault-matrix.md", &HEAD, AT_ONCE, cell).await;
}
