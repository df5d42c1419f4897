//! What may be believed after a change: compare-and-swap, refusals, and answers that never came.

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use leeward::aws::{Edge, Settings, Timeouts};
use leeward::domain::Weight;
use leeward::plan::{Batch, RecordSet, Swap};
use leeward::ports::CallFailed;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Duration, timeout};

use super::{World, kind, kind_of, settings, weighted};
use crate::wire::http::{self, Message, PATIENCE};
use crate::wire::proxy::Fault;
use crate::wire::servers;

const CHANGE: &str = "ChangeResourceRecordSets";

fn swap(before: &RecordSet, weight: u8) -> Swap {
    let after = RecordSet { weight: Some(Weight(weight)), ..before.clone() };
    Swap { before: Some(before.clone()), after }
}

#[tokio::test]
async fn a_swap_of_what_was_read_is_taken_and_a_stale_one_changes_nothing() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    let name = "api.example.com".parse().unwrap();
    let read = || world.edge.weights.read(&zone, Some(&name));
    let eu = weighted(&zone, "api.example.com", "eu", 100);
    let us = weighted(&zone, "api.example.com", "us", 0);
    world.create(vec![eu.clone(), us.clone()]).await.unwrap();
    world.swap(vec![swap(&eu, 0), swap(&us, 100)]).await.unwrap();
    let after = read().await.unwrap();
    assert_eq!(after, [swap(&eu, 0).after, swap(&us, 100).after]);

    // The first half would fit, the second was read before the last change.
    let stale = vec![swap(&after[0], 7), swap(&us, 9)];
    let failure = world.swap(stale).await.unwrap_err();
    let CallFailed::Conflict { why } = &failure else { panic!("{failure}") };
    assert!(why.contains("do not match"), "{why}");
    assert_eq!(read().await.unwrap(), after, "nothing of a refused batch stays");

    let failure = world.create(vec![eu]).await.unwrap_err();
    assert_eq!(kind_of(&failure), "conflict", "what exists is not created again: {failure}");
}

/// Whether the change has happened although the call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Happened,
}

#[tokio::test]
async fn every_way_to_fail_is_told_apart_and_tried_once() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    let error = Fault::error;
    let old_form = "<?xml version=\"1.0\"?>\n<InvalidChangeBatch xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Messages><Message>Tried to delete</Message></Messages></InvalidChangeBatch>";
    let answer = |status, kind, body: &str| Fault::Answer(Message::answer(status, kind, body));
    let garbage = Fault::rewrite(|_| Message::answer(200, "text/xml", "<garbage>"));
    let empty = Fault::rewrite(|_| Message::answer(200, "text/xml", ""));
    for (name, fault, expected, effect) in [
        ("busy", error(400, "PriorRequestNotComplete", "wait"), "busy", Effect::None),
        ("throttled", error(400, "Throttling", "Rate exceeded"), "throttled", Effect::None),
        ("conflict", error(400, "InvalidChangeBatch", "[no]"), "conflict", Effect::None),
        ("old conflict", answer(400, "text/xml", old_form), "refused", Effect::None),
        ("bad input", error(400, "InvalidInput", "no"), "refused", Effect::None),
        ("no permission", error(403, "AccessDenied", "no"), "refused", Effect::None),
        ("no zone", error(404, "NoSuchHostedZone", "no"), "not found", Effect::None),
        ("broken", error(500, "InternalFailure", "?"), "unknown", Effect::None),
        ("gateway", answer(503, "text/html", "<html>sorry</html>"), "unknown", Effect::None),
        ("silence before", Fault::SilenceBefore, "unknown", Effect::None),
        ("silence after", Fault::SilenceAfter, "unknown", Effect::Happened),
        ("closed", Fault::CloseAfter, "unknown", Effect::Happened),
        ("cut", Fault::CutBody, "unknown", Effect::Happened),
        ("garbage", garbage, "unknown", Effect::Happened),
        ("empty", empty, "unknown", Effect::Happened),
    ] {
        world.proxy.forget();
        let set = weighted(&zone, &format!("{}.example.com", name.replace(' ', "-")), "eu", 1);
        let rule = world.proxy.inject(CHANGE, name, fault, 1);
        let outcome = world.create(vec![set.clone()]).await;
        assert_eq!(kind(&outcome), expected, "{name}: {outcome:?}");
        assert_eq!(rule.fired(), 1, "{name}");
        assert_eq!(world.proxy.count(CHANGE), 1, "{name}: a change is tried once");
        let request = world.proxy.seen().pop().unwrap();
        let reached = if request.forwarded { Effect::Happened } else { Effect::None };
        assert_eq!((reached, request.fault.as_deref()), (effect, Some(name)));
        let read = world.edge.weights.read(&zone, Some(&set.name)).await.unwrap();
        let found = if read.is_empty() { Effect::None } else { Effect::Happened };
        assert_eq!(found, effect, "{name}");
        if found == Effect::Happened {
            assert!(!outcome.unwrap_err().nothing_happened(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_refusal_nobody_understood_keeps_its_words() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    let fault = Fault::Answer(Message::answer(400, "text/xml", "<Odd>because of the moon</Odd>"));
    let rule = world.proxy.inject(CHANGE, "odd", fault, 1);
    let failure = world.create(vec![weighted(&zone, "a.example.com", "eu", 1)]).await.unwrap_err();
    assert_eq!(rule.fired(), 1);
    assert!(failure.to_string().contains("because of the moon"), "{failure}");
}

/// A provider as the standard chain is on a machine without any credentials.
#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nothing configured")))
    }
}

async fn change_at(settings: Settings) -> CallFailed {
    let edge = Edge::connect(&settings).await;
    let zone = "Z1".parse().unwrap();
    let after = weighted(&zone, "a.example.com", "eu", 1);
    let swaps = vec![Swap { before: None, after }];
    edge.weights.change(&Batch { zone, comment: String::new(), swaps }).await.unwrap_err()
}

#[tokio::test]
async fn what_never_left_this_machine_is_not_sent() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let failure = change_at(settings(&format!("http://{closed}"))).await;
    assert_eq!(kind_of(&failure), "not sent", "connection refused: {failure}");

    // A label of more than 63 octets is turned down before anybody is asked for it.
    let failure = change_at(settings(&format!("http://{}.test", "x".repeat(70)))).await;
    assert_eq!(kind_of(&failure), "not sent", "no such host: {failure}");

    let full = FullHouse::open().await;
    let failure = change_at(settings(&format!("http://127.0.0.1:{}", full.port))).await;
    assert_eq!(kind_of(&failure), "not sent", "connect timeout: {failure}");
}

#[tokio::test]
async fn without_credentials_nothing_is_sent_and_the_way_out_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let credentials = Some(SharedCredentialsProvider::new(Nobody));
    let failure = change_at(Settings { credentials, ..settings(&url) }).await;
    assert_eq!(kind_of(&failure), "not sent", "{failure}");
    for word in ["no AWS credentials", "AWS_PROFILE"] {
        assert!(failure.to_string().contains(word), "{failure}");
    }
    let nobody = timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(nobody.is_err(), "not even a connection");
}

/// A port whose queue of connections is full: the next one is neither refused nor accepted.
struct FullHouse {
    port: u16,
    _listener: TcpListener,
    _guests: Vec<TcpStream>,
}

impl FullHouse {
    async fn open() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut guests = Vec::new();
        while let Ok(guest) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            guests.push(guest.unwrap());
            assert!(guests.len() < 50, "the queue takes everybody");
        }
        Self { port: address.port(), _listener: listener, _guests: guests }
    }
}

/// A second source of faults, with bodies that its authors took from the service's own model.
#[tokio::test]
async fn somebody_elses_faults_are_read_the_same_way() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    let microburst = servers::microburst(world.server.port).await;
    // It loads the model of a service with the first call, which takes seconds.
    let patient = Timeouts {
        read_attempt: PATIENCE,
        read_whole: PATIENCE,
        change: PATIENCE,
        ..Timeouts::default()
    };
    let settings = settings(&format!("http://127.0.0.1:{}", microburst.port));
    let edge = Edge::connect(&Settings { timeouts: patient, ..settings }).await;
    // Only changes carry a content type; microburst does not know the SDK's path of the operation.
    let rule = |code: &str| {
        format!(
            "[{{\"service\":\"route53\",\"headers\":{{\"content-type\":\"xml\"}},\"error\":{{\"code\":\"{code}\",\"message\":\"m\"}}}}]"
        )
    };
    for (place, (code, expected)) in
        [("Throttling", "throttled"), ("PriorRequestNotComplete", "busy")].into_iter().enumerate()
    {
        let rules = http::call(microburst.port, "POST", "/_microburst/rules", &rule(code)).await;
        assert_eq!(rules.unwrap().status(), 200);
        let set = weighted(&zone, &format!("n{place}.example.com"), "eu", 1);
        let swaps = vec![Swap { before: None, after: set.clone() }];
        let batch = Batch { zone: zone.clone(), comment: "wire".to_owned(), swaps };
        let outcome = edge.weights.change(&batch).await;
        assert_eq!(kind(&outcome), expected, "{outcome:?}");
        let fired = http::get(microburst.port, "/_microburst/fired").await.unwrap().text();
        assert_eq!(fired.matches(code).count(), 1, "fired once: {fired}");
        let read = edge.weights.read(&zone, Some(&set.name)).await.unwrap();
        assert!(read.is_empty(), "{read:?}");
    }
}
