//! Doors over real sockets, with a service behind them that keeps what it hears.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::http::signed_text;
use super::*;
use crate::journal::Forgetful;
use crate::pace::Pacer;
use crate::policy::{KeyTrigger, May, Pace, QueueTrigger, Secret, Sender, Triggers};
use crate::ports::{CallFailed, Levers, Message, Queue, QueuePlace};
use crate::report::samples;
use crate::runtime::round::Service;
use crate::runtime::serve::tests::connect;

/// 2027-01-15T08:00:30Z, half a minute after the events in tests/events.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_030);
const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:alarms";
const KEY: &str = "a-secret-that-is-long-enough";

macro_rules! body {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/events/", $name, ".json")).as_slice()
    };
}

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Believes every certificate to be missing: nothing of SNS gets past it.
#[derive(Debug)]
struct Nowhere;

#[async_trait::async_trait]
impl sns::Fetch for Nowhere {
    async fn fetch(&self, _: &str) -> Result<bytes::Bytes, String> {
        Err("no network".to_owned())
    }
}

/// A service behind the doors: hears, and answers at once.
struct Bench {
    intake: Arc<Intake>,
    heard: Arc<Mutex<Vec<String>>>,
    samples: mpsc::Receiver<Sample>,
    state: tempfile::TempDir,
    port: u16,
    _stop: tokio_util::sync::DropGuard,
}

fn triggers(state: &Path) -> Triggers {
    let key = state.join("key");
    std::fs::write(&key, KEY).unwrap();
    let secret = || Secret::File(key.display().to_string());
    let sender = |may: &[May]| Sender { key: secret(), may: may.iter().copied().collect() };
    Triggers {
        topics: [TOPIC.to_owned()].into(),
        eventbridge: Some(KeyTrigger { header: "x-leeward-key".to_owned(), key: secret() }),
        alertmanager: Some(secret()),
        senders: [
            ("pipeline".to_owned(), sender(&[May::Deploy, May::Reading, May::Look])),
            ("ada".to_owned(), sender(&[May::Approve])),
        ]
        .into(),
        queues: vec![QueueTrigger {
            url: "https://sqs.eu-central-1.amazonaws.com/111122223333/q".to_owned(),
            aws_region: "eu-central-1".to_owned(),
            topics: [TOPIC.to_owned()].into(),
        }],
        ..Triggers::default()
    }
}

/// Has the file of certificates that signed the messages in tests/sns.
#[derive(Debug)]
struct Chain;

#[async_trait::async_trait]
impl sns::Fetch for Chain {
    async fn fetch(&self, _: &str) -> Result<bytes::Bytes, String> {
        Ok(bytes::Bytes::from_static(include_bytes!("../../../tests/sns/chain.pem")))
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(Verifier::new(Arc::new(Nowhere), &[], Vec::new())).await
    }

    /// Believes what openssl signed.
    async fn believing() -> Self {
        use tokio_rustls::rustls::pki_types::CertificateDer;
        use tokio_rustls::rustls::pki_types::pem::PemObject as _;
        let root = include_bytes!("../../../tests/sns/root.pem");
        let root = CertificateDer::from_pem_slice(root).unwrap();
        Self::with(Verifier::new(Arc::new(Chain), &[root], Vec::new())).await
    }

    async fn with(verifier: Verifier) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut policy = samples::policy();
        for (name, region) in &mut policy.regions {
            region.aws_region = Some(name.to_string());
        }
        policy.triggers = triggers(state.path());
        let signal = crate::policy::Signal {
            class: crate::policy::Class::Traffic,
            fresh_for: Duration::from_secs(180),
            usual_delay: None,
            source: crate::policy::Source::Pushed,
        };
        policy.signals.insert("burn".parse().unwrap(), signal);
        let (arriving, mut arrivals) = mpsc::channel::<Arrival>(ARRIVALS_MAX);
        let (sender, samples) = mpsc::channel(16);
        let registry = Arc::new(Registry::default());
        registry.enter(Arc::new(policy.clone()), arriving, sender);
        let pace = Arc::new(Pacer::new(Pace::default()));
        let (levers, log, clock) = (Levers::default(), Box::new(Forgetful), Arc::new(Still));
        let mut service = Service::new(policy, levers, log, clock, pace, "t".to_owned());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (told, stop) = (Arc::clone(&heard), CancellationToken::new());
        let end = stop.clone();
        tokio::spawn(async move {
            loop {
                let arrival = tokio::select! {
                    () = end.cancelled() => return,
                    Some(arrival) = arrivals.recv() => arrival,
                };
                let by = arrival.by.as_deref();
                let heard = service.hear_event(&arrival.event, by, NOW).unwrap();
                if let Taken::Handled { text } = &heard.taken {
                    told.lock().unwrap().push(text.clone());
                }
                arrival.done.send(heard.taken).unwrap();
            }
        });
        let intake = Arc::new(Intake {
            registry,
            quarantine: Quarantine::new(state.path()),
            verifier,
            clock: Arc::new(Still),
            numbers: Arc::new(Numbers::new()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(http::serve(listener, http::router(Arc::clone(&intake)), stop.clone()));
        Self { intake, heard, samples, state, port, _stop: stop.drop_guard() }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn kept(&self) -> usize {
        let folder = std::fs::read_dir(self.state.path().join("quarantine"));
        folder.map_or(0, |folder| {
            folder.filter(|e| e.as_ref().unwrap().path().extension().unwrap() == "json").count()
        })
    }

    async fn post(&self, door: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        self.post_from(Ipv4Addr::LOCALHOST, door, headers, body).await
    }

    /// The status is 0 for somebody who gets no answer at all.
    async fn post_from(
        &self,
        from: Ipv4Addr,
        door: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        let mut stream = connect(from, (Ipv4Addr::LOCALHOST, self.port).into()).await;
        let mut head =
            format!("POST /v1/events/shop/{door} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
        // Somebody who is refused early may not read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or("0").parse().unwrap();
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    async fn signed(&self, sender: &str, nonce: &str, body: &[u8]) -> (u16, String) {
        self.signed_at(sender, nonce, NOW.as_secs(), KEY, body).await
    }

    async fn signed_at(
        &self,
        sender: &str,
        nonce: &str,
        at: i64,
        key: &str,
        body: &[u8],
    ) -> (u16, String) {
        let at = at.to_string();
        let text = signed_text("shop", sender, &at, nonce, body);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.as_bytes());
        let made = aws_lc_rs::hmac::sign(&key, &text);
        let mut signature = String::new();
        for byte in made.as_ref() {
            let _ = write!(signature, "{byte:02x}");
        }
        let headers = [
            ("x-leeward-sender", sender),
            ("x-leeward-timestamp", at.as_str()),
            ("x-leeward-nonce", nonce),
            ("x-leeward-signature", signature.as_str()),
        ];
        self.post("signed", &headers, body).await
    }
}

/// The status of a request that comes over no socket: time may stand still meanwhile.
async fn ask(doors: &axum::Router, door: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    let mut request = hyper::Request::post(format!("/v1/events/shop/{door}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(axum::body::Body::from(body.to_vec())).unwrap();
    let doors = hyper_util::service::TowerToHyperService::new(doors.clone());
    hyper::service::Service::call(&doors, request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_api_destination_needs_its_key() {
    let bench = Bench::new().await;
    let body = body!("bridge-alarm");
    for headers in [
        [].as_slice(),
        &[("x-leeward-key", "")],
        &[("x-leeward-key", "a-secret-that-is-long-enougH")],
        &[("authorization", KEY)],
    ] {
        assert_eq!(bench.post("eventbridge", headers, body).await.0, 401, "{headers:?}");
    }
    assert_eq!(bench.heard(), Vec::<String>::new());
    let right = [("x-leeward-key", KEY)];
    assert_eq!(bench.post("eventbridge", &right, body).await.0, 200);
    let (status, answer) = bench.post("eventbridge", &right, body).await;
    assert_eq!((status, answer.contains("\"duplicates\":1")), (200, true), "{answer}");
    assert_eq!(bench.heard(), ["alarm `web-errors` is ALARM"], "once");
}

#[tokio::test]
async fn alertmanager_needs_its_token() {
    let bench = Bench::new().await;
    let body = body!("alertmanager");
    for value in ["", KEY, "Bearer wrong", "Basic eDp5"] {
        assert_eq!(bench.post("alertmanager", &[("authorization", value)], body).await.0, 401);
    }
    let right = format!("Bearer {KEY}");
    let (status, answer) = bench.post("alertmanager", &[("authorization", &right)], body).await;
    assert_eq!((status, answer.contains("\"handled\":2")), (200, true), "{answer}");
}

#[tokio::test]
async fn a_signed_request_is_believed_once_and_in_its_time() {
    let bench = Bench::new().await;
    let body = body!("ours-deploy");
    let now = NOW.as_secs();
    assert_eq!(bench.signed("pipeline", "nonce-0001", body).await.0, 200);
    assert_eq!(bench.signed("pipeline", "nonce-0001", body).await.0, 409, "replayed");
    let (status, answer) = bench.signed("pipeline", "nonce-0002", body).await;
    assert_eq!((status, answer.contains("\"duplicates\":1")), (200, true), "{answer}");
    assert_eq!(bench.signed_at("pipeline", "nonce-0003", now - 301, KEY, body).await.0, 403);
    assert_eq!(bench.signed_at("pipeline", "nonce-0004", now + 301, KEY, body).await.0, 403);
    assert_eq!(
        bench.signed_at("pipeline", "nonce-0005", now, "another key, long enough", body).await.0,
        401
    );
    assert_eq!(bench.signed("nobody", "nonce-0006", body).await.0, 401);
    assert_eq!(bench.signed("pipeline", "short", body).await.0, 403);
    assert_eq!(bench.post("signed", &[], body).await.0, 401);
    assert_eq!(bench.heard(), ["deploy of v42 (web) to eu-west-1 (from pipeline)"]);
}

#[tokio::test]
async fn who_deploys_cannot_approve_and_who_approves_is_known_by_the_key() {
    let bench = Bench::new().await;
    let (status, answer) = bench.signed("pipeline", "nonce-0001", body!("ours-approve")).await;
    assert_eq!(
        (status, answer.contains("`pipeline` may not send a human's answers")),
        (202, true),
        "{answer}"
    );
    let (status, answer) = bench.signed("ada", "nonce-0002", body!("ours-deploy")).await;
    assert_eq!((status, answer.contains("`ada` may not send deploys")), (202, true), "{answer}");
    assert_eq!(bench.heard(), Vec::<String>::new());
    assert_eq!(bench.signed("ada", "nonce-0003", body!("ours-approve")).await.0, 200);
    assert_eq!(bench.heard(), ["yes: standby looks fine (from ada)"]);
    for door in ["eventbridge", "alertmanager"] {
        let headers = [("x-leeward-key", KEY), ("authorization", &format!("Bearer {KEY}"))];
        let (status, answer) = bench.post(door, &headers, body!("ours-deny")).await;
        assert_eq!(
            (status, answer.contains("may not send a human's answers")),
            (202, true),
            "{answer}"
        );
    }
    assert_eq!(bench.heard().len(), 1);
}

#[tokio::test]
async fn a_reading_goes_to_the_windows_and_not_to_a_round() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.signed("pipeline", "nonce-0001", body!("ours-reading")).await.0, 200);
    let sample = bench.samples.try_recv().unwrap();
    assert_eq!(sample.signal.as_str(), "burn");
    assert_eq!(sample.class, crate::policy::Class::Traffic, "the policy's class, whoever sends");
    assert_eq!(bench.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn over_http_sns_must_be_signed_and_on_the_list() {
    let bench = Bench::new().await;
    let raw = [("x-amz-sns-rawdelivery", "true")];
    assert_eq!(bench.post("sns", &raw, body!("alarm-metric")).await.0, 403);
    assert_eq!(bench.post("sns", &[], body!("alarm-metric")).await.0, 400, "no envelope");
    let other =
        String::from_utf8_lossy(body!("sns-alarm")).replace("3333:alarms\"", "3333:others\"");
    assert_eq!(bench.post("sns", &[], other.as_bytes()).await.0, 403);
    // On the list, and its certificate cannot be fetched: not believed, and not lost.
    assert_eq!(bench.post("sns", &[], body!("sns-alarm")).await.0, 503);
    let confirm = body!("sns-subscription-confirmation");
    assert_eq!(bench.post("sns", &[], confirm).await.0, 503, "never confirmed unseen");
    assert_eq!(bench.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn what_sns_signed_counts_once_and_what_stands_beside_it_never() {
    let bench = Bench::believing().await;
    let signed = include_bytes!("../../../tests/sns/v2.json");
    let mut forged: serde_json::Value = serde_json::from_slice(signed).unwrap();
    let deploy = String::from_utf8_lossy(body!("ours-deploy"));
    forged["Records"] = serde_json::json!([{ "body": deploy }]);
    let (status, answer) = bench.post("sns", &[], forged.to_string().as_bytes()).await;
    assert_eq!((status, answer.contains("\"handled\":1")), (200, true), "{answer}");
    let (status, answer) = bench.post("sns", &[], signed).await;
    assert_eq!((status, answer.contains("\"duplicates\":1")), (200, true), "{answer}");
    assert_eq!(bench.heard(), ["alarm `web` is ALARM"], "what was signed, once");
}

/// SNS does not come again after 429.
#[tokio::test(start_paused = true)]
async fn a_storm_of_sns_is_told_to_come_again_and_strangers_use_up_nothing() {
    let bench = Bench::believing().await;
    let doors = http::router(Arc::clone(&bench.intake));
    let signed = include_bytes!("../../../tests/sns/v2.json");
    let other = String::from_utf8_lossy(signed).replace("3333:alarms\"", "3333:others\"");
    for _ in 0..250 {
        assert_eq!(ask(&doors, "sns", &[], other.as_bytes()).await, 403);
    }
    assert_eq!(ask(&doors, "sns", &[], signed).await, 200, "there is room for what is ours");
    let mut later = 0;
    for _ in 0..300 {
        let status = ask(&doors, "sns", &[], signed).await;
        assert!(status == 200 || status == 503, "{status}");
        later += u32::from(status == 503);
    }
    assert!(later > 0, "three hundred at once are too many");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_gives_its_place_back() {
    let bench = Bench::new().await;
    let drops = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let request = hyper::Request::post("/v1/events/shop/eventbridge")
        .body(axum::body::Body::from_stream(drops))
        .unwrap();
    let router = http::router(Arc::clone(&bench.intake));
    let router = hyper_util::service::TowerToHyperService::new(router);
    let began = tokio::time::Instant::now();
    let answer = hyper::service::Service::call(&router, request).await.unwrap();
    assert_eq!(answer.status(), hyper::StatusCode::SERVICE_UNAVAILABLE);
    assert!(began.elapsed() < Duration::from_secs(15), "before SNS gives up");
}

#[tokio::test]
async fn alertmanager_rings_the_bell_and_says_no_more() {
    let bench = Bench::new().await;
    let right = format!("Bearer {KEY}");
    for body in [body!("ours-deploy"), body!("ours-notice")] {
        let (status, answer) = bench.post("alertmanager", &[("authorization", &right)], body).await;
        assert_eq!((status, answer.contains("may not send")), (202, true), "{answer}");
    }
    assert_eq!(bench.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn doors_that_no_policy_opens_are_not_there() {
    let bench = Bench::new().await;
    assert_eq!(bench.post("nothing", &[], b"{}").await.0, 404);
    let (arriving, _arrivals) = mpsc::channel(1);
    let (sender, _samples) = mpsc::channel(1);
    bench.intake.registry.enter(Arc::new(samples::policy()), arriving, sender);
    for door in ["sns", "eventbridge", "alertmanager", "signed"] {
        assert_eq!(bench.post(door, &[], body!("sns-alarm")).await.0, 404, "{door}");
    }
}

#[tokio::test(start_paused = true)]
async fn size_and_rate_are_bounded() {
    let bench = Bench::new().await;
    let doors = http::router(Arc::clone(&bench.intake));
    let right = [("x-leeward-key", KEY)];
    let large = vec![b' '; event::BYTES_MAX + 1];
    assert_eq!(ask(&doors, "eventbridge", &right, &large).await, 413);
    let mut refused = 0;
    for _ in 0..300 {
        let status = ask(&doors, "eventbridge", &right, body!("bridge-alarm")).await;
        assert!(status == 200 || status == 429, "{status}");
        refused += u32::from(status == 429);
    }
    assert!(refused > 0, "three hundred at once are too many");
    assert_eq!(ask(&doors, "eventbridge", &[("x-leeward-key", "wrong")], b"{}").await, 401);
}

#[tokio::test]
async fn what_was_told_to_come_again_may_come_again_as_it_is() {
    let bench = Bench::new().await;
    let shop = "shop".parse().unwrap();
    let policy = bench.intake.registry.find(&shop).unwrap().policy;
    let (sender, _samples) = mpsc::channel(1);
    let (arriving, arrivals) = mpsc::channel(1);
    drop(arrivals);
    bench.intake.registry.enter(Arc::clone(&policy), arriving, sender.clone());
    let body = body!("ours-deploy");
    let (status, answer) = bench.signed("pipeline", "nonce-0001", body).await;
    assert_eq!((status, answer.contains("come again")), (503, true), "{answer}");
    let (arriving, mut arrivals) = mpsc::channel::<Arrival>(1);
    bench.intake.registry.enter(policy, arriving, sender);
    tokio::spawn(async move {
        while let Some(arrival) = arrivals.recv().await {
            arrival.done.send(Taken::Handled { text: "there".to_owned() }).unwrap();
        }
    });
    let (status, answer) = bench.signed("pipeline", "nonce-0001", body).await;
    assert_eq!((status, answer.contains("\"handled\":1")), (200, true), "{answer}");
    assert_eq!(bench.signed("pipeline", "nonce-0001", body).await.0, 409, "and once only");
}

/// A topic is no secret: whoever knows ours still cannot sign for it.
#[tokio::test]
async fn forged_messages_of_our_topic_use_up_nothing() {
    let bench = Bench::believing().await;
    let signed = include_bytes!("../../../tests/sns/v2.json");
    let mut forged: serde_json::Value = serde_json::from_slice(signed).unwrap();
    forged["MessageId"] = "forged".into();
    let forged = forged.to_string();
    for _ in 0..250 {
        assert_eq!(bench.post("sns", &[], forged.as_bytes()).await.0, 403);
    }
    assert_eq!(bench.post("sns", &[], signed).await.0, 200, "there is room for what is ours");
    assert_eq!(bench.heard(), ["alarm `web` is ALARM"]);
}

#[tokio::test]
async fn idle_connections_of_one_address_keep_no_event_out() {
    let bench = Bench::new().await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(("127.0.0.1", bench.port)).await.unwrap());
    }
    let right = [("x-leeward-key", KEY)];
    let body = body!("bridge-alarm");
    assert_eq!(bench.post("eventbridge", &right, body).await.0, 0, "one more than an address may");
    let other = Ipv4Addr::new(127, 0, 0, 2);
    assert_eq!(bench.post_from(other, "eventbridge", &right, body).await.0, 200);
    assert_eq!(bench.heard(), ["alarm `web-errors` is ALARM"]);
    drop(silent);
}

#[tokio::test]
async fn what_is_unknown_is_kept_aside_with_a_report() {
    let bench = Bench::new().await;
    let right = [("x-leeward-key", KEY)];
    for _ in 0..2 {
        let (status, answer) =
            bench.post("eventbridge", &right, body!("bridge-unknown-source")).await;
        assert_eq!((status, answer.contains("Invoice Created")), (202, true), "{answer}");
    }
    assert_eq!(bench.kept(), 1, "the same once");
    assert_eq!(bench.heard(), Vec::<String>::new());
    let text = bench.intake.numbers.render().unwrap();
    let line = "leeward_events_total{service=\"shop\",door=\"eventbridge\",outcome=\"aside\"} 2";
    assert!(text.contains(line), "{text}");
}

/// A queue that holds what it is given, and hides what was received.
#[derive(Debug, Default)]
struct Fake {
    waiting: Mutex<Vec<Message>>,
    deleted: Mutex<Vec<String>>,
    released: Mutex<Vec<String>>,
}

impl Fake {
    fn with(bodies: &[&[u8]]) -> Arc<Self> {
        let message = |(place, body): (usize, &&[u8])| Message {
            id: place.to_string(),
            body: String::from_utf8_lossy(body).into_owned(),
            receipt: place.to_string(),
            times: 1,
        };
        let waiting = bodies.iter().enumerate().map(message).collect();
        Arc::new(Self { waiting: Mutex::new(waiting), ..Self::default() })
    }

    async fn settled(&self, count: usize) -> (Vec<String>, Vec<String>) {
        for _ in 0..2000 {
            let both =
                (self.deleted.lock().unwrap().clone(), self.released.lock().unwrap().clone());
            if both.0.len() + both.1.len() >= count {
                return both;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the queue is not emptied");
    }
}

#[async_trait::async_trait]
impl Queue for Fake {
    async fn receive(&self, _: &QueuePlace) -> Result<Vec<Message>, CallFailed> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        if waiting.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(waiting)
    }

    async fn delete(&self, _: &QueuePlace, message: &Message) -> Result<(), CallFailed> {
        self.deleted.lock().unwrap().push(message.id.clone());
        Ok(())
    }

    async fn release(
        &self,
        _: &QueuePlace,
        message: &Message,
        _: Duration,
    ) -> Result<(), CallFailed> {
        self.released.lock().unwrap().push(message.id.clone());
        Ok(())
    }
}

#[tokio::test]
async fn a_message_is_deleted_when_it_is_handled_and_poison_when_it_is_kept() {
    let bench = Bench::new().await;
    let queue = Fake::with(&[
        body!("sns-alarm"),
        body!("sns-alarm"),
        b"poison",
        // Raw, and so without the topic that the policy demands.
        body!("alarm-metric-ok"),
    ]);
    let stop = CancellationToken::new();
    let polling =
        tokio::spawn(queue::poll_all(queue.clone(), Arc::clone(&bench.intake), stop.clone()));
    let (mut deleted, released) = queue.settled(4).await;
    deleted.sort();
    assert_eq!((deleted, released.len()), (["0", "1", "2", "3"].map(str::to_owned).to_vec(), 0));
    assert_eq!(bench.heard(), ["alarm `web-errors` is ALARM"], "two copies, one look");
    assert_eq!(bench.kept(), 2);
    stop.cancel();
    polling.await.unwrap();
}

#[tokio::test]
async fn a_queue_that_a_policy_has_just_dropped_brings_nothing_of_any_topic() {
    let bench = Bench::new().await;
    let shop = "shop".parse().unwrap();
    let named = bench.intake.registry.find(&shop).unwrap().policy.triggers.queues[0].clone();
    let poller = |url: String| queue::Poller {
        queues: Fake::with(&[]),
        intake: Arc::clone(&bench.intake),
        place: QueuePlace { url, aws_region: named.aws_region.clone() },
    };
    let dropped = poller(format!("{}-dropped", named.url));
    assert!(dropped.bring(&shop, body!("sns-alarm")).await.is_some(), "it comes again");
    assert_eq!((bench.heard(), bench.kept()), (Vec::new(), 0));
    assert_eq!(poller(named.url.clone()).bring(&shop, body!("sns-alarm")).await, None);
    assert_eq!(bench.heard().len(), 1);
}

#[tokio::test]
async fn what_is_not_handled_is_let_go_to_come_again() {
    let bench = Bench::new().await;
    let policy = bench.intake.registry.find(&"shop".parse().unwrap()).unwrap().policy;
    let (arriving, arrivals) = mpsc::channel(1);
    let (sender, _samples) = mpsc::channel(1);
    // The service went away in the middle of it.
    drop(arrivals);
    bench.intake.registry.enter(policy, arriving, sender);
    let queue = Fake::with(&[body!("sns-alarm")]);
    let stop = CancellationToken::new();
    let polling =
        tokio::spawn(queue::poll_all(queue.clone(), Arc::clone(&bench.intake), stop.clone()));
    let (deleted, released) = queue.settled(1).await;
    assert_eq!((deleted.len(), released.len()), (0, 1));
    stop.cancel();
    polling.await.unwrap();
}

#[test]
fn no_door_lets_in_more_than_it_can_know() {
    for door in [Door::Queue, Door::Sns, Door::EventBridge, Door::Alertmanager, Door::Command] {
        assert!(!door.lets_in(Kind::Answer), "{door:?}");
        assert!(door.lets_in(Kind::Look), "{door:?}");
    }
    assert!(Door::Signed.lets_in(Kind::Answer));
    assert!(!Door::Alertmanager.lets_in(Kind::Reading));
}

#[tokio::test]
async fn what_is_kept_aside_is_reported_to_its_service() {
    let bench = Bench::new().await;
    let (reports, mut heard) = mpsc::channel(2);
    bench.intake.registry.report_to(&"shop".parse().unwrap(), reports);
    let body = br#"{"what": "is this"}"#;
    for nonce in ["nonce-01", "nonce-02", "nonce-03"] {
        assert_eq!(bench.signed("pipeline", nonce, body).await.0, 202);
    }
    assert!(matches!(heard.try_recv(), Ok(Report::Aside { door: "signed", .. })));
    assert!(heard.try_recv().is_ok());
    // A flood is not waited for: what finds no room is in the quarantine all the same.
    assert!(heard.try_recv().is_err());
    assert_eq!(bench.kept(), 1);
    // Whoever is not believed makes no report.
    assert_eq!(
        bench
            .signed_at("pipeline", "nonce-04", NOW.as_secs(), "a key of somebody else", body)
            .await
            .0,
        401
    );
    assert!(heard.try_recv().is_err());
}
