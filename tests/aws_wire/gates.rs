//! Gates in buckets: the real SDK against a server that others wrote, with faults in between.

use std::sync::Arc;

use leeward::aws::Edge;
use leeward::domain::{InAnswers, RegionName, Turn};
use leeward::policy::{Check, Gate, GatesLever, Proof, Slot, Votes};
use leeward::ports::{CallFailed, Switchboard, Switches};
use leeward::runtime::gates::Board;

use super::{World, kind_of};
use crate::wire::http::{self, Message};
use crate::wire::proxy::{ALL, Fault};

const BUCKET: &str = "shop-gates";
/// Where a bucket is that was made without saying where.
const REGION: &str = "us-east-1";
const PUT: &str = "PUT /shop-gates/shop/eu-west-1/0/one";

async fn bucket(port: u16) {
    let made = http::call(port, "PUT", &format!("/{BUCKET}"), "").await.unwrap();
    assert_eq!(made.status(), 200, "{}", made.text());
}

async fn is_there(port: u16, key: &str) -> bool {
    http::call(port, "GET", &format!("/{BUCKET}/{key}"), "").await.unwrap().status() == 200
}

fn sick() -> RegionName {
    "eu-west-1".parse().unwrap()
}

/// Two slots, as controller `one`.
fn gates(edge: &Edge) -> Arc<dyn Switches> {
    let slot = |number: usize| Slot {
        gate: Gate::S3 {
            bucket: BUCKET.to_owned(),
            key: format!("shop/eu-west-1/{number}/{{holder}}"),
            aws_region: REGION.to_owned(),
            url: None,
        },
        health_check: None,
    };
    let lever = GatesLever {
        slots: [(sick(), vec![slot(0), slot(1)])].into(),
        check: Check { every: std::time::Duration::from_secs(10), failures: 3 },
        votes: Votes { needed: 2, of: 3 },
        proof: Proof {
            ttl: std::time::Duration::from_secs(60),
            in_force_within: std::time::Duration::from_secs(300),
            witness: None,
        },
    };
    let board = Board {
        objects: Some(Arc::clone(&edge.objects)),
        checks: None,
        clusters: None,
        served: Arc::default(),
        holder: "one".to_owned(),
    };
    board.gates(&"shop".parse().unwrap(), &lever).unwrap()
}

/// What Route 53 tells of the checkers of a health check, which find the gate closed or not.
pub(super) fn checkers(find_it: bool) -> Message {
    let status = if find_it {
        "Success: HTTP Status Code 200, OK"
    } else {
        "Failure: HTTP Status Code 404, Not Found"
    };
    let seen = format!(
        "<HealthCheckObservation><Region>eu-west-1</Region><IPAddress>192.0.2.1</IPAddress><StatusReport><Status>{status}</Status><CheckedTime>2026-11-22T09:00:00Z</CheckedTime></StatusReport></HealthCheckObservation>"
    );
    Message::answer(
        200,
        "text/xml",
        format!(
            "<?xml version=\"1.0\"?>\n<GetHealthCheckStatusResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><HealthCheckObservations>{}</HealthCheckObservations></GetHealthCheckStatusResponse>",
            seen.repeat(3)
        ),
    )
}

/// The account has a bucket of four such calls for everybody, and every service looks at its own gates.
#[tokio::test]
async fn checkers_are_asked_three_times_in_six_seconds_by_all_services_together() {
    let world = World::start().await;
    let answer = Fault::Answer(checkers(true));
    let asked = world.proxy.inject("GetHealthCheckStatus", "told", answer, usize::MAX);
    for _ in 0..3 {
        let found = world.edge.checks.found("gate").await.unwrap();
        assert_eq!((found.healthy, found.checkers), (3, 3));
    }
    for _ in 0..3 {
        let failure = world.edge.checks.found("gate").await.unwrap_err();
        assert_eq!(kind_of(&failure), "not sent", "{failure}");
        assert!(failure.to_string().contains("our own pace"), "{failure}");
    }
    assert_eq!(asked.fired(), 3);
}

fn to(to: InAnswers) -> [Turn; 1] {
    [Turn { region: sick(), to }]
}

#[tokio::test]
async fn a_gate_is_published_withdrawn_and_read_back() {
    let world = World::start().await;
    let port = world.server.port;
    bucket(port).await;
    let gates = gates(&world.edge);
    let stands = |gates: Arc<dyn Switches>| async move { gates.standing().await.unwrap()[&sick()] };
    assert_eq!(stands(Arc::clone(&gates)).await, InAnswers::In);
    let half = InAnswers::Part { closed: 1, of: 2 };
    for (turn, there) in [
        (InAnswers::Out, [true, true]),
        (half, [true, false]),
        (half, [true, false]),
        (InAnswers::In, [false, false]),
    ] {
        gates.turn(&to(turn)).await.unwrap();
        assert_eq!(stands(Arc::clone(&gates)).await, turn);
        for (number, there) in there.into_iter().enumerate() {
            let key = format!("shop/eu-west-1/{number}/one");
            assert_eq!(is_there(port, &key).await, there, "{key} for {turn:?}");
        }
    }
    // Withdrawing what is not there is no failure.
    gates.turn(&to(InAnswers::In)).await.unwrap();
}

#[tokio::test]
async fn what_is_not_sure_to_stand_is_not_done() {
    let world = World::start().await;
    bucket(world.server.port).await;
    let gates = gates(&world.edge);
    // The answer gets lost, after the effect and before it: read back in one case, unknown in the other.
    let after = world.proxy.inject(PUT, "after", Fault::CloseAfter, 1);
    gates.turn(&to(InAnswers::Out)).await.unwrap();
    gates.turn(&to(InAnswers::In)).await.unwrap();
    assert_eq!(after.fired(), 1);
    world.proxy.inject(PUT, "silence", Fault::SilenceBefore, 9);
    let failure = gates.turn(&to(InAnswers::Out)).await.unwrap_err();
    assert_eq!(kind_of(&failure), "unknown", "{failure}");
    // The slots are published side by side: the other one stands, and reading tells so.
    let stands = gates.standing().await.unwrap()[&sick()];
    assert_eq!(stands, InAnswers::Part { closed: 1, of: 2 });
}

/// Of several tries only the last one is told: a write whose answer was lost, and which was refused when it was
/// tried again, would be taken for one that did nothing.
#[tokio::test]
async fn a_write_that_may_have_landed_is_never_called_refused() {
    let world = World::start().await;
    let port = world.server.port;
    bucket(port).await;
    let gates = gates(&world.edge);
    let delete = PUT.replace("PUT", "DELETE");
    let busy = || Fault::error(503, "SlowDown", "Please reduce your request rate.");
    for (write, turn, there) in [(PUT, InAnswers::Out, true), (&delete, InAnswers::In, false)] {
        for (fault, landed) in [(Fault::SilenceBefore, false), (Fault::SilenceAfter, true)] {
            let refused = world.proxy.inject(write, "refused", busy(), usize::MAX);
            // The newest comes first.
            let lost = world.proxy.inject(write, "lost", fault, 1);
            let failure = gates.turn(&to(turn)).await.err();
            let kind = failure.as_ref().map(kind_of);
            assert_eq!(kind, (!landed).then_some("unknown"), "{write}: {failure:?}");
            assert_eq!((lost.fired(), refused.fired()), (1, 0), "{write}: tried once");
            assert_eq!(is_there(port, "shop/eu-west-1/0/one").await, there == landed, "{write}");
            world.proxy.calm();
        }
    }
}

#[tokio::test]
async fn a_bucket_that_refuses_is_refused_and_one_that_is_not_there_says_so() {
    let world = World::start().await;
    let gates = gates(&world.edge);
    let failure = gates.turn(&to(InAnswers::Out)).await.unwrap_err();
    let told = matches!(&failure, CallFailed::NotFound { code, .. } | CallFailed::Refused { code, .. } if code == "NoSuchBucket");
    assert!(told, "{failure}");
}

#[tokio::test]
async fn a_bucket_elsewhere_and_an_answer_that_is_not_s3s_are_told_apart_from_done() {
    let world = World::start().await;
    bucket(world.server.port).await;
    let gates = gates(&world.edge);
    let body = "<?xml version=\"1.0\"?>\n<Error><Code>PermanentRedirect</Code><Message>use the endpoint</Message><Endpoint>shop-gates.s3.ap-south-1.amazonaws.com</Endpoint></Error>";
    let mut moved = Message::answer(301, "application/xml", body);
    moved.headers.push(("x-amz-bucket-region".to_owned(), "ap-south-1".to_owned()));
    let elsewhere = world.proxy.inject(ALL, "elsewhere", Fault::Answer(moved), usize::MAX);
    let failures =
        [gates.turn(&to(InAnswers::Out)).await.unwrap_err(), gates.standing().await.unwrap_err()];
    for failure in failures {
        assert!(failure.is_for_good(), "{failure}");
        assert!(failure.to_string().contains("the bucket is in ap-south-1"), "{failure}");
    }
    assert_eq!(elsewhere.fired(), 4, "once for each of two slots: it would say the same again");
    world.proxy.calm();

    // Somebody on the way who welcomes everybody: nothing is published and nothing is closed.
    let welcome = Message::answer(200, "text/html", "<html>welcome</html>");
    world.proxy.inject(ALL, "welcome", Fault::Answer(welcome), usize::MAX);
    let failures =
        [gates.turn(&to(InAnswers::Out)).await.unwrap_err(), gates.standing().await.unwrap_err()];
    for failure in failures {
        assert_eq!(kind_of(&failure), "unknown", "{failure}");
    }
}
