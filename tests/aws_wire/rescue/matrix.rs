//! The fault matrix of the levers in the data plane, and of the sessions that all calls are signed with: every
//! kind of fault in every call, one at a time, until it passes, with another lever beside.
//!
//! Whatever the fault: in the end the region is out of the answers by exactly one lever, or home again by none;
//! never said to be before it is; no switch turned more often than that takes; no more calls than the pauses
//! allow; and the journal has it as it is. What was played stands in `tests/aws_wire/lever-matrix.md`, which this
//! test compares.

use std::sync::Arc;
use std::time::Duration;

use leeward::memory::Outcome;

use super::bench::{Bench, Order, STATUS};
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
    /// The control is turned on again, on the way home.
    TurnedBack,
    /// The object is deleted, on the way home.
    Deleted,
    /// What the gate's checkers find, before it is called done.
    Checked,
    /// The last session is over.
    Session,
    /// It is past half of its life.
    Renewal,
}

impl faults::Step for Step {
    const ALL: &'static [Self] = &[
        Self::Asked,
        Self::Turned,
        Self::TurnedBack,
        Self::Put,
        Self::ReadBack,
        Self::Deleted,
        Self::Checked,
        Self::Session,
        Self::Renewal,
    ];

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Asked => ("arc, all five endpoints", GET),
            Self::Turned => ("arc, all five endpoints", UPDATE),
            Self::Put => ("s3", "PutObject"),
            Self::ReadBack => ("s3", "GetObject"),
            Self::TurnedBack => {
                ("arc, all five endpoints", "UpdateRoutingControlStates, back to On")
            }
            Self::Deleted => ("s3", "DeleteObject"),
            Self::Checked => ("route53", STATUS),
            Self::Session => ("sts", "AssumeRole, the session is over"),
            Self::Renewal => ("sts", "AssumeRole, a session lives"),
        }
    }

    fn is_senseless(self, fault: Kind) -> Option<&'static str> {
        let writes = matches!(self, Self::Turned | Self::TurnedBack | Self::Put | Self::Deleted);
        match (self, fault) {
            (_, Kind::Pending) => Some("a switch stands or not: nothing is pending"),
            (_, Kind::HangAfter | Kind::HangThenThrottled) if !writes => {
                Some("a call that only reads has no effect: see `hangs before the effect`")
            }
            (Self::Turned | Self::TurnedBack, Kind::Refused) => Some(
                "who refuses a connection does not know which call it would have carried: see the question",
            ),
            (Self::ReadBack | Self::Checked, Kind::Refused) => Some(
                "who refuses a connection does not know which call it would have carried: see `PutObject`",
            ),
            _ => None,
        }
    }
}

impl Step {
    fn order(self) -> Order {
        match self {
            Self::Asked | Self::Turned | Self::TurnedBack => Order::ArcFirst,
            Self::Put
            | Self::ReadBack
            | Self::Deleted
            | Self::Checked
            | Self::Session
            | Self::Renewal => Order::GatesFirst,
        }
    }

    /// Calls into a fault of thirty seconds: a try, two more after pauses of 5 and 10 seconds, each taken back once.
    fn calls_max(self, fault: Kind) -> usize {
        const TURNS: usize = 3 * 2;
        const ENDPOINTS: usize = 5;
        const CONTROLS: usize = 2;
        // The SDK makes three attempts to read, and one to write.
        const READS: usize = 3;
        let also_read = fault == Kind::HangThenThrottled;
        match self {
            Self::Asked => TURNS * ENDPOINTS * CONTROLS,
            Self::Turned | Self::TurnedBack if also_read => TURNS * ENDPOINTS * (CONTROLS + 1),
            Self::Turned | Self::TurnedBack => TURNS * ENDPOINTS,
            Self::Put | Self::Deleted if also_read => TURNS * (READS + 1),
            // Checkers once in ten seconds, of the machine's own.
            Self::Put | Self::Deleted | Self::Checked | Self::Renewal => TURNS,
            Self::ReadBack => TURNS * READS,
            // For each call of either lever, over whichever endpoint.
            Self::Session => TURNS * (READS + ENDPOINTS),
        }
    }

    fn is_the_way_home(self) -> bool {
        matches!(self, Self::TurnedBack | Self::Deleted)
    }
}

type Cell = faults::Cell<Step>;

fn fault_of(cell: Cell) -> Fault {
    let arc = cell.step.order() == Order::ArcFirst;
    let of_xml = matches!(cell.step, Step::Session | Step::Renewal | Step::Checked);
    let error = |status, code: &str, why: &str| {
        if arc {
            return Fault::json_error(status, code, why);
        }
        if of_xml {
            return Fault::error(status, code, why);
        }
        let body = format!("<Error><Code>{code}</Code><Message>{why}</Message></Error>");
        Fault::Answer(Message::answer(status, "application/xml", body))
    };
    let (throttled, expired) = if arc {
        let expired = error(403, "ExpiredTokenException", "The security token is expired");
        (error(429, "ThrottlingException", "Rate exceeded"), expired)
    } else {
        let throttled = if of_xml {
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
/// What was in doubt is settled: half a minute after the last call, and no sooner than its pause is over.
const SETTLING_ROUNDS: usize = 18;
const AFTER_ROUNDS: usize = 6;
/// Longer than the cooldown and the time in which a region is seen to be well.
const WELL_ROUNDS: usize = 24;
async fn set(cell: Cell, bench: &mut Bench) -> Vec<Rule> {
    let proxies: Vec<&Proxy> = match cell.step {
        Step::Session | Step::Renewal => {
            bench.session_ages(if cell.step == Step::Session { SESSION * 2 } else { SESSION / 2 });
            vec![&bench.sts]
        }
        Step::Asked | Step::Turned | Step::TurnedBack => bench.cluster.endpoints.iter().collect(),
        Step::Put | Step::ReadBack | Step::Deleted | Step::Checked => vec![&bench.bucket],
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
        Step::Turned | Step::TurnedBack => UPDATE.to_owned(),
        Step::Deleted => bench.delete(),
        Step::Checked => STATUS.to_owned(),
        Step::Session | Step::Renewal => ASSUME_ROLE.to_owned(),
    };
    if cell.fault == Kind::HangThenThrottled {
        let first = proxies[0].inject(&action, "its answer is lost", Fault::SilenceAfter, 1);
        proxies[1..].iter().for_each(|proxy| proxy.share(&first));
        let then = |proxy: &Proxy| proxy.inject_after(&first, "throttled", fault_of(cell));
        let then: Vec<Rule> = proxies.into_iter().map(then).collect();
        return [vec![first], then].concat();
    }
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
    let told = through(cell, &mut bench, &rules, false).await;
    let (arc, gate) = bench.is_out().await;
    assert!(arc != gate, "{cell}: out by one lever and no other: {}", told.story);
    told
}

/// The region was left and is well again, and somebody asks for the way home.
async fn play_home(cell: Cell, mut bench: Bench) -> Told {
    bench.have_session().await;
    bench.calm().await;
    bench.lose();
    assert_eq!(bench.until_an_order_ends().await, Outcome::Done, "{cell}");
    bench.recover();
    bench.rounds(WELL_ROUNDS).await;
    bench.begin_again();
    let rules = set(cell, &mut bench).await;
    bench.go_home();
    let told = through(cell, &mut bench, &rules, true).await;
    assert_eq!(bench.is_out().await, (false, false), "{cell}: {}", told.story);
    told
}

/// What has to be so at the end of an order, and when nothing is under way any more.
async fn reached(bench: &mut Bench, home: bool) -> bool {
    (bench.is_out().await == (false, false)) == home
}

/// Rounds until the fault is over and the order done, with everything that holds for every cell.
async fn through(cell: Cell, bench: &mut Bench, rules: &[Rule], home: bool) -> Told {
    let mut done = false;
    let mut struck = 0;
    for _ in 0..ROUNDS_MAX {
        done |= bench.round().await == Some(Outcome::Done);
        assert!(!done || reached(bench, home).await, "{cell}: said to be done and is not");
        let told = bench.story();
        struck +=
            usize::from(rules.iter().any(|rule| rule.fired() > 0) || told.contains("turning"));
        if struck >= FAULT_ROUNDS && (done || cell.step != Step::Checked) {
            break;
        }
    }
    if cell.fault != Kind::Refused {
        let fired: usize = rules.iter().map(Rule::fired).sum();
        let most = cell.step.calls_max(cell.fault);
        assert!((1..=most).contains(&fired), "{cell}: {fired} calls into the fault");
    }
    let during = out(bench.is_out().await);
    mend(bench, rules).await;
    for _ in 0..ROUNDS_MAX {
        if done {
            break;
        }
        done = bench.round().await == Some(Outcome::Done);
    }
    let story = bench.story();
    assert!(done, "{cell}: never done: {story}");
    bench.rounds(SETTLING_ROUNDS).await;
    let (story, flips) = (bench.story(), bench.flips());
    assert!(reached(bench, home).await, "{cell}: {story}");
    let acts = bench.acts();
    assert!(acts.order.is_none() && acts.beside.is_none(), "{cell}: {story}");
    assert!(acts.doubtful.is_empty(), "{cell}: {story}");
    assert_eq!(bench.believed(), bench.is_out().await, "{cell}: the journal knows it: {story}");
    assert_eq!(story.matches("done").count(), 1, "{cell}: done once: {story}");
    // Each switch is turned by an order once, and where a try was given up it is turned back.
    let given_up = story.matches("given up").count();
    assert!(flips.0 + flips.1 <= 1 + 2 * given_up, "{cell}: turned {flips:?} times: {story}");
    bench.rounds(AFTER_ROUNDS).await;
    assert_eq!((bench.flips(), bench.story()), (flips, story.clone()), "{cell}: it is over");
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

const HEAD: [&str; 12] = [
    "# Faults in the calls of the levers in the data plane",
    "",
    "Made by `tests/aws_wire/rescue/matrix.rs`, which compares it. In each row a region dies and one kind of",
    "call fails until thirty seconds after it was first made. The policy has two levers: routing controls and",
    "then a gate for the calls of `arc`, the other way round for the rest. In all of them: never said to be",
    "done before it is, out of the answers by exactly one lever in the end, done once, no switch turned more",
    "often than the tries that were given up make it, no more calls than the pauses allow, nothing afterwards.",
    "The journal's story is told without repetitions.",
    "",
    "`DeleteObject`, and the update `back to On`, fail on the way home: the region was left and is well, and",
    "somebody asks for it. Those stories begin there, and end with nobody kept out (`holds`). `then all",
    "throttled`: the first answer is lost, and whatever is called there after it is throttled.",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_call_of_a_switch_ends_well() {
    let server = Arc::new(servers::ministack().await);
    let cell = |cell: Cell, number| {
        let server = Arc::clone(&server);
        async move {
            let checked = cell.step == Step::Checked;
            let bench = Bench::at(cell.step.order(), &server, number, checked).await;
            if cell.step.is_the_way_home() {
                return Box::pin(play_home(cell, bench)).await;
            }
            Box::pin(play(cell, bench)).await
        }
    };
    play_all("lever-matrix.md", &HEAD, AT_ONCE, cell).await;
}
