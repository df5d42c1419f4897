//! Gates as they are set and as they are seen: in buckets, and over HTTP by this very process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use leeward::domain::{InAnswers, RegionName, ServiceName, Turn};
use leeward::memory::Acts;
use leeward::policy::{Check, Gate, GatesLever, Proof, Slot, Votes};
use leeward::ports::{CallFailed, Followed, HealthChecks, Objects, Switchboard};
use leeward::runtime::board::Board as Views;
use leeward::runtime::gates::Board;
use leeward::runtime::http::{Ask, ask};
use leeward::runtime::serve;
use leeward::steer::Found;
use leeward::telemetry::Numbers;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::orders::world::ByHand;

/// A bucket that keeps what it is given, or does not.
#[derive(Debug, Default)]
struct Bucket {
    objects: Mutex<BTreeSet<String>>,
    forgets: bool,
    /// Keys that it refuses.
    refuses: &'static str,
}

#[async_trait]
impl Objects for Bucket {
    async fn put(&self, _: &str, _: &str, key: &str, _: &str) -> Result<(), CallFailed> {
        if !self.refuses.is_empty() && key.contains(self.refuses) {
            return Err(CallFailed::Refused {
                code: "AccessDenied".to_owned(),
                why: key.to_owned(),
            });
        }
        if !self.forgets {
            self.objects.lock().unwrap().insert(key.to_owned());
        }
        Ok(())
    }

    async fn delete(&self, _: &str, _: &str, key: &str) -> Result<(), CallFailed> {
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }

    async fn exists(&self, _: &str, _: &str, key: &str) -> Result<bool, CallFailed> {
        Ok(self.objects.lock().unwrap().contains(key))
    }
}

#[derive(Debug)]
struct Checkers(u32);

#[async_trait]
impl HealthChecks for Checkers {
    async fn found(&self, _: &str) -> Result<Found, CallFailed> {
        Ok(Found { healthy: self.0, checkers: 16 })
    }
}

fn service() -> ServiceName {
    "shop".parse().unwrap()
}

fn east() -> RegionName {
    "east".parse().unwrap()
}

fn lever(slots: Vec<Gate>, health_check: Option<&str>) -> GatesLever {
    let slot = |gate| Slot { gate, health_check: health_check.map(str::to_owned) };
    GatesLever {
        slots: [(east(), slots.into_iter().map(slot).collect())].into(),
        check: Check { every: Duration::from_secs(10), failures: 3 },
        votes: Votes { needed: 1, of: 1 },
        proof: Proof {
            ttl: Duration::from_secs(60),
            in_force_within: Duration::from_secs(300),
            witness: None,
        },
    }
}

fn object(key: &str) -> Gate {
    // Nobody answers there, so that nothing is seen from outside.
    let url = Some("http://127.0.0.1:9/".to_owned());
    Gate::S3 {
        bucket: "b".to_owned(),
        key: key.to_owned(),
        aws_region: "us-west-2".to_owned(),
        url,
    }
}

fn board(bucket: Bucket, checkers: Option<u32>) -> Board {
    Board {
        objects: Some(Arc::new(bucket)),
        checks: checkers.map(|healthy| Arc::new(Checkers(healthy)) as Arc<dyn HealthChecks>),
        clusters: None,
        served: Arc::default(),
        holder: "two".to_owned(),
    }
}

fn to(to: InAnswers) -> [Turn; 1] {
    [Turn { region: east(), to }]
}

#[tokio::test]
async fn each_controller_publishes_under_its_own_name() {
    let board = board(Bucket::default(), None);
    let gates = board.gates(&service(), &lever(vec![object("shop/{holder}")], None)).unwrap();
    gates.turn(&to(InAnswers::Out)).await.unwrap();
    assert_eq!(board.objects.unwrap().exists("", "", "shop/two").await, Ok(true));
}

#[tokio::test]
async fn an_object_that_was_taken_and_is_not_there_is_not_done() {
    let board = board(Bucket { forgets: true, ..Bucket::default() }, None);
    let gates = board.gates(&service(), &lever(vec![object("shop")], None)).unwrap();
    let failure = gates.turn(&to(InAnswers::Out)).await.unwrap_err();
    assert!(matches!(failure, CallFailed::Unknown { .. }), "{failure}");
}

#[tokio::test]
async fn a_refusal_is_sure_only_while_nothing_was_set() {
    for (refuses, sure) in [("shop/", true), ("0", false), ("1", false)] {
        let board = board(Bucket { refuses, ..Bucket::default() }, None);
        let lever = lever(vec![object("shop/0"), object("shop/1")], None);
        let gates = board.gates(&service(), &lever).unwrap();
        let failure = gates.turn(&to(InAnswers::Out)).await.unwrap_err();
        assert_eq!(failure.nothing_happened(), sure, "{failure}");
    }
}

#[tokio::test]
async fn k_of_n_slots_are_closed_and_read_back() {
    let board = board(Bucket::default(), None);
    let slots: Vec<Gate> = (0..10).map(|n| object(&format!("shop/{n}"))).collect();
    let gates = board.gates(&service(), &lever(slots, None)).unwrap();
    for closed in [3, 7, 10, 2, 0] {
        let stands = InAnswers::slots(closed, 10);
        gates.turn(&to(stands)).await.unwrap();
        assert_eq!(gates.standing().await.unwrap()[&east()], stands);
    }
}

/// More than 18 % of the checkers see the object: the check is healthy, so the region is out.
#[tokio::test]
async fn the_health_check_has_followed_when_enough_checkers_see_the_gate() {
    for (healthy, followed) in [(0, Followed::NotYet), (2, Followed::NotYet), (3, Followed::Yes)] {
        let board = board(Bucket::default(), Some(healthy));
        let gates = board.gates(&service(), &lever(vec![object("shop")], Some("id"))).unwrap();
        assert_eq!(gates.followed(&to(InAnswers::Out)).await, Ok(followed), "{healthy}");
    }
    let board = board(Bucket::default(), None);
    let gates = board.gates(&service(), &lever(vec![object("shop")], Some("id"))).unwrap();
    assert_eq!(gates.followed(&to(InAnswers::Out)).await, Ok(Followed::CannotTell));
}

async fn status(url: &str) -> u16 {
    let look = Ask {
        method: hyper::Method::GET,
        url,
        body: bytes::Bytes::new(),
        headers: Vec::new(),
        answer_max: 1024,
        within: Duration::from_secs(5),
    };
    ask(look).await.unwrap().0.as_u16()
}

#[tokio::test]
async fn a_gate_over_http_is_closed_by_the_controller_and_by_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let views = Arc::new(Views::new(Arc::new(Numbers::new()), Arc::new(ByHand::new())));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve::serve(listener, Arc::clone(&views), stop.clone()));
    let url = format!("http://{address}/gates/shop/east/0");
    let gate = Gate::Http { url: url.clone(), aws_region: None };
    let lever = lever(vec![gate], None);
    let board = Board { served: Arc::clone(&views.gates), ..board(Bucket::default(), None) };
    let gates = board.gates(&service(), &lever).unwrap();

    assert_eq!(status(&url).await, 404);
    assert_eq!(gates.followed(&to(InAnswers::Out)).await, Ok(Followed::NotYet));
    gates.turn(&to(InAnswers::Out)).await.unwrap();
    assert_eq!(status(&url).await, 200);
    assert_eq!(gates.followed(&to(InAnswers::Out)).await, Ok(Followed::Yes));
    for other in ["shop/east/1", "shop/west/0", "other/east/0", "shop/east/x", "%00/%00/0"] {
        assert_ne!(status(&format!("http://{address}/gates/{other}")).await, 200, "{other}");
    }
    for method in [hyper::Method::PUT, hyper::Method::POST, hyper::Method::DELETE] {
        let look = Ask {
            method,
            url: &url,
            body: bytes::Bytes::new(),
            headers: Vec::new(),
            answer_max: 1024,
            within: Duration::from_secs(5),
        };
        assert_eq!(ask(look).await.unwrap().0.as_u16(), 405);
    }
    assert_eq!(status(&url).await, 200, "still as it was");
    gates.turn(&to(InAnswers::In)).await.unwrap();
    assert_eq!(status(&url).await, 404);

    // After a start the journal says how it stood.
    let mut acts = Acts::default();
    acts.gates.insert(east(), InAnswers::Out);
    views.gates.restore(&service(), &lever, &acts);
    assert_eq!(status(&url).await, 200);
    stop.cancel();
    serving.await.unwrap();
}

/// A bucket that takes its time, and checkers that never answer.
#[derive(Debug)]
struct Slow(Duration);

#[async_trait]
impl Objects for Slow {
    async fn put(&self, _: &str, _: &str, _: &str, _: &str) -> Result<(), CallFailed> {
        tokio::time::sleep(self.0).await;
        Ok(())
    }

    async fn delete(&self, _: &str, _: &str, _: &str) -> Result<(), CallFailed> {
        tokio::time::sleep(self.0).await;
        Ok(())
    }

    async fn exists(&self, _: &str, _: &str, _: &str) -> Result<bool, CallFailed> {
        tokio::time::sleep(self.0).await;
        Ok(true)
    }
}

#[async_trait]
impl HealthChecks for Slow {
    async fn found(&self, _: &str) -> Result<Found, CallFailed> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn many_slow_gates_and_silent_checkers_hold_up_nobody_for_long() {
    let slots = |count: usize| {
        let slot = |number| Slot {
            gate: Gate::S3 {
                bucket: "b".to_owned(),
                key: format!("shop/{number}"),
                aws_region: "us-west-2".to_owned(),
                url: Some("not an address".to_owned()),
            },
            health_check: Some(format!("check-{number}")),
        };
        let slots = [(east(), (0..count).map(slot).collect())].into();
        GatesLever { slots, ..lever(Vec::new(), None) }
    };
    // (gates, seconds of a call, whether all of them can be set, seconds that it takes)
    for (count, takes, whole, most) in [(10, 2900, true, 6), (60, 2900, false, 20)] {
        let slow = Arc::new(Slow(Duration::from_millis(takes)));
        let board = Board {
            objects: Some(Arc::<Slow>::clone(&slow)),
            checks: Some(slow),
            ..board(Bucket::default(), None)
        };
        let gates = board.gates(&service(), &slots(count)).unwrap();
        let began = tokio::time::Instant::now();
        match gates.turn(&to(InAnswers::Out)).await {
            Ok(()) => assert!(whole, "{count}"),
            Err(failure) => assert!(!whole && !failure.nothing_happened(), "{failure}"),
        }
        assert!(began.elapsed() <= Duration::from_secs(most), "{count}: {:?}", began.elapsed());
        let began = tokio::time::Instant::now();
        let stands = gates.standing().await;
        assert!(stands.is_ok_and(|stands| stands[&east()] == InAnswers::Out), "{count}");
        assert!(began.elapsed() <= Duration::from_secs(20), "{count}: {:?}", began.elapsed());
        let minute = Duration::from_secs(60);
        let began = tokio::time::Instant::now();
        let followed = tokio::time::timeout(minute, gates.followed(&to(InAnswers::Out))).await;
        assert_eq!(followed, Ok(Ok(Followed::CannotTell)), "{count}");
        assert!(began.elapsed() <= Duration::from_secs(5), "{count}: {:?}", began.elapsed());
    }
    // More than can be read in time: nothing is known then, and the round goes on.
    let slow = Some(Arc::new(Slow(Duration::from_millis(2900))) as Arc<dyn Objects>);
    let board = Board { objects: slow, ..board(Bucket::default(), None) };
    let gates = board.gates(&service(), &slots(100)).unwrap();
    let began = tokio::time::Instant::now();
    let failure = gates.standing().await.unwrap_err();
    assert!(began.elapsed() <= Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(failure.to_string().contains("not all gates could be read within 20s"), "{failure}");
}

/// A proxy in front of a dead controller may have a page for everything.
#[tokio::test]
async fn a_page_of_somebody_else_is_neither_a_closed_gate_nor_an_open_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/gates/shop/east/0", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            let page = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nwelcome";
            stream.write_all(page).await.unwrap();
        }
    });
    let gate = Gate::Http { url, aws_region: None };
    let gates = board(Bucket::default(), None).gates(&service(), &lever(vec![gate], None)).unwrap();
    for stands in [InAnswers::Out, InAnswers::In] {
        assert_eq!(gates.followed(&to(stands)).await, Ok(Followed::NotYet), "{stands:?}");
    }
    serving.abort();
}
