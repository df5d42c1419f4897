//! The fault matrix of the levers in the data plane, and of the sessions that all calls are signed with: every
//! kind of fault in every call, one at a time, until it passes, with another lever beside.
//!
//! Whatever the fault: the region is out of the answers in the end, never said to be before it is, not taken
//! out twice by one lever, with no more writes than the pauses allow. What was played stands in
//! `tests/aws_wire/lever-matrix.md`, which this test compares.

use std::sync::Arc;
use std::time::Duration;

use leeward::memory::Outcome;

use super::bench::{Bench, Order};
use crate::aws_wire::faults::{self, Kind, OfService, Told, play_all};
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

impl faults::Step for Step {
    const ALL: &'static [Self] =
        &[Self::Asked, Self::Turned, Self::Put, Self::ReadBack, Self::Session, Self::Renewal];

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

    fn is_senseless(self, fault: Kind) -> Option<&'static str> {
        let writes = matches!(self, Self::Turned | Self::Put);
        match (self, fault) {
            (_, Kind::Pending) => Some("a switch stands or not: nothing is pending"),
            (_, Kind::HangAfter) if !writes => {
                Some("a call that only reads has no effect: see `hangs before the effect`")
            }
            (Self::Turned, Kind::Refused) => Some(
                "who refuses a connection does not know which call it would have carried: see the question",
            ),
            (Self::ReadBack, Kind::Refused) => Some(
                "who refuses a connection does not know which call it would have carried: see `PutObject`",
            ),
            _ => None,
        }
    }
}

impl Step {
    fn order(self) -> Order {
        match self {
            Self::Asked | Self::Turned => Order::ArcFirst,
            Self::Put | Self::ReadBack | Self::Session | Self::Renewal => Order::GatesFirst,
        }
    }
}

type Cell = faults::Cell<Step>;

fn fault_of(cell: Cell) -> Fault {
    let arc = cell.step.order() == Order::ArcFirst;
    let sts = matches!(cell.step, Step::Session | Step::Renewal);
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
    let (throttled, expired) = if arc {
        let expired = error(403, "ExpiredTokenException", "The security token is expired");
        (error(429, "ThrottlingException", "Rate exceeded"), expired)
    } else {
        let throttled = if sts {
            error(400, "Throttling", "Rate exceeded")
        } else {
            error(503, "SlowDown", "Please reduce your request rate.")
        };
        (throttled, error(400, "ExpiredToken", "The provided token has expired."))
    };
    cell.fault.fault(OfService {
        throttled,
        expired,
        garbage: Fault::rewrite(|_| Message::answer(200, "text/html", "<html>welcome</html>")),
        pending: None,
        slow: Duration::from_millis(300),
    })
}

/// How long a fault lasts once it struck, in rounds of five seconds.
const FAULT_ROUNDS: usize = 6;
const ROUNDS_MAX: usize = 60;
const AFTER_ROUNDS: usize = 6;
/// Writes into a fault of thirty seconds: a try, two more after pauses of 5 and 10 seconds, each taken back
/// once, at five endpoints or with three attempts.
const WRITES_MAX: usize = 30;

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
    let inject = |proxy: &Proxy| proxy.inject(&action, "the fault", fault_of(cell), usize::MAX);
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

const HEAD: [&str; 7] = [
    "# Faults in the calls of the levers in the data plane",
    "",
    "Made by `tests/aws_wire/rescue/matrix.rs`, which compares it. In each row a region dies and one kind of",
    "call fails until thirty seconds after it was first made. The policy has two levers: routing controls and",
    "then a gate for the calls of `arc`, the other way round for the rest. In all of them: never said to be",
    "done before it is, out of the answers in the end, done once. The journal's story is told without",
    "repetitions.",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_call_of_a_switch_ends_well() {
    let server = Arc::new(servers::ministack().await);
    let cell = |cell: Cell, number| {
        let server = Arc::clone(&server);
        async move {
            let bench = Bench::at(cell.step.order(), &server, number).await;
            Box::pin(play(cell, bench)).await
        }
    };
    play_all("lever-matrix.md", &HEAD, AT_ONCE, cell).await;
}
