//! Words out: a topic for those on call and a status page in a bucket, against a server that others wrote, with
//! faults in between.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use leeward::aws::Edge;
use leeward::memory::Outcome;
use leeward::policy;
use leeward::ports::{Announcement, CallFailed};
use leeward::runtime::telling::{Reach, Teller, ways};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::Instant;

use super::service::{Shop, eu, split};
use super::{World, kind_of, settings};
use crate::wire::http::{self, Message};
use crate::wire::proxy::{ALL, Fault, Proxy};

/// Where those on call and the public are served from: no region of the shop.
const REGION: &str = "eu-north-1";
const PUBLISH: &str = "Publish";

/// Runs the helper beside the test server.
pub(super) async fn aws(port: u16, arguments: &[&str], input: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut helper = Command::new(root.join(".venv/bin/python"));
    helper.arg(root.join("tests/wire/alarm.py")).arg(port.to_string()).args(arguments);
    helper.env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    let mut running =
        helper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let said = running.wait_with_output().await.unwrap();
    assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

/// A topic and a queue that hears it: those on call.
pub(super) struct OnCall {
    port: u16,
    pub(super) topic: String,
    queue: String,
}

impl OnCall {
    pub(super) async fn new(port: u16, name: &str) -> Self {
        let made = aws(port, &["on-call", name], "").await;
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        Self { port, topic: text("topic"), queue: text("queue") }
    }

    /// What came since the last time.
    pub(super) async fn heard(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&aws(self.port, &["heard", &self.queue], "").await).unwrap()
    }
}

pub(super) async fn bucket(port: u16, name: &str) {
    let place = format!(
        "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
    );
    let made = http::call(port, "PUT", &format!("/{name}"), &place).await.unwrap();
    assert_eq!(made.status(), 200, "{}", made.text());
}

fn page(sequence: u32) -> Announcement<'static> {
    Announcement {
        subject: "[page] shop: `eu-west-1` is bad\nand é",
        text: "Seen: 10 % of probes succeed.\nNot done: <nothing> & \"quoted\" é",
        severity: "page",
        thread: "shop-1800000000",
        sequence,
    }
}

async fn publish(edge: &Edge, topic: &str, sequence: u32) -> Result<(), CallFailed> {
    edge.topics.publish(REGION, topic, &page(sequence)).await
}

async fn put(edge: &Edge, bucket: &str) -> Result<(), CallFailed> {
    let body = "<p>é</p>".into();
    edge.pages.publish(REGION, bucket, "s/index.html", "text/html; charset=utf-8", body).await
}

#[tokio::test]
async fn a_topic_hears_it_whole_and_a_topic_with_an_order_hears_it_once() {
    let world = World::start().await;
    let plain = OnCall::new(world.server.port, "on-call").await;
    publish(&world.edge, &plain.topic, 1).await.unwrap();
    let heard = plain.heard().await;
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0]["Message"], page(1).text);
    assert_eq!(heard[0]["Subject"], "[page] shop: `eu-west-1` is bad and", "as SNS takes it");
    let attributes = &heard[0]["MessageAttributes"];
    assert_eq!(attributes["severity"]["Value"], "page");
    assert_eq!(attributes["thread"]["Value"], "shop-1800000000");

    let ordered = OnCall::new(world.server.port, "on-call.fifo").await;
    for sequence in [1, 1, 2] {
        publish(&world.edge, &ordered.topic, sequence).await.unwrap();
    }
    assert_eq!(ordered.heard().await.len(), 2, "a message that is tried again is heard once");
}

#[tokio::test]
async fn a_page_is_there_for_everybody_as_what_it_is() {
    let world = World::start().await;
    let port = world.server.port;
    bucket(port, "status").await;
    put(&world.edge, "status").await.unwrap();
    let read = http::get(port, "/status/s/index.html").await.unwrap();
    assert_eq!((read.status(), read.text().as_str()), (200, "<p>é</p>"));
    assert_eq!(read.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(read.header("cache-control"), Some("public, max-age=30"));
}

/// The same of both services.
fn both(fault: Fault) -> [Fault; 2] {
    [fault.clone(), fault]
}

/// A refusal as each of the two puts it: SNS in `ErrorResponse`, S3 at the top.
fn errors(status: u16, code: &str) -> [Fault; 2] {
    let error = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    let wrapped = format!("<ErrorResponse>{error}</ErrorResponse>");
    [wrapped, error].map(|text| Fault::Answer(Message::answer(status, "text/xml", text)))
}

/// Every fault is an error in time, and none is taken for having been heard.
#[tokio::test]
async fn a_topic_or_a_bucket_that_fails_is_never_taken_for_one_that_took_it() {
    let world = World::start().await;
    let port = world.server.port;
    let on_call = OnCall::new(port, "on-call").await;
    bucket(port, "status").await;
    let html = Message::answer(200, "text/html", "<html><body>Please log in</body></html>");
    let (empty, busy) =
        (Message::answer(200, "text/xml", ""), Message::answer(503, "text/html", "no"));
    let cases = [
        ("hangs", both(Fault::SilenceBefore), "unknown"),
        ("took it and hangs", both(Fault::SilenceAfter), "unknown"),
        ("500", errors(500, "InternalError"), "unknown"),
        ("503 of a balancer", both(Fault::Answer(busy)), "unknown"),
        ("a page of a proxy", both(Fault::Answer(html)), "unknown"),
        ("nothing", both(Fault::Answer(empty)), "unknown"),
        ("resets", both(Fault::Reset), "unknown"),
        ("throttled", errors(400, "Throttling"), "throttled"),
        ("forbidden", errors(403, "AccessDenied"), "refused"),
    ];
    for (name, [of_sns, of_s3], expected) in cases {
        let rules = [(PUBLISH, of_sns), ("PUT /status/s/index.html", of_s3)];
        let rules = rules.map(|(action, fault)| world.proxy.inject(action, name, fault, 2));
        let begun = Instant::now();
        let told = publish(&world.edge, &on_call.topic, 1).await;
        let written = put(&world.edge, "status").await;
        assert!(rules.iter().all(|rule| rule.fired() == 1), "{name}: the edge tries once");
        for failure in [told.unwrap_err(), written.unwrap_err()] {
            assert_eq!(kind_of(&failure), expected, "{name}: {failure}");
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{name}: {:?}", begun.elapsed());
        world.proxy.calm();
    }
    let gone = on_call.topic.replace("on-call", "gone");
    assert!(publish(&world.edge, &gone, 1).await.is_err());
    assert!(put(&world.edge, "gone").await.is_err());
    // And when it is over, it is over.
    publish(&world.edge, &on_call.topic, 2).await.unwrap();
    put(&world.edge, "status").await.unwrap();
}

/// How many rounds a shift takes from the fault on, and the longest of them.
async fn rounds_of_a_shift(shop: &mut Shop) -> (usize, Duration) {
    shop.calm(24).await;
    shop.kill(&eu());
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    loop {
        let begun = Instant::now();
        let ended = shop.round().await.ended;
        longest = longest.max(begun.elapsed());
        rounds += 1;
        if let Some(outcome) = ended {
            assert_eq!(outcome, Outcome::Done);
            assert_eq!(shop.weights(&shop.zones[0]).await, split([100, 0]));
            return (rounds, longest);
        }
        assert!(rounds < 60, "{:#?}", shop.service.last);
    }
}

#[tokio::test]
async fn a_shift_waits_for_no_topic_and_no_bucket_that_hang() {
    let mut shop = Shop::open(1).await;
    let (usual, _) = rounds_of_a_shift(&mut shop).await;

    let mut shop = Shop::open(1).await;
    let dead = Proxy::start(1).await;
    dead.inject(ALL, "hangs", Fault::SilenceBefore, usize::MAX);
    let edge = Edge::connect(&settings(&dead.url())).await;
    let text = shop.policy_text.replace(
        r#"[ { command: ["/bin/true"] } ]"#,
        r#"[ { sns: { topic: "arn:aws:sns:eu-north-1:000000000000:on-call", from: info } } ]"#,
    ) + STATUS_PAGE;
    let Ok((policy, _)) = policy::load(&text, "shop.yaml") else { panic!("{text}") };
    let reach = Reach { topics: Some(edge.topics), pages: Some(edge.pages) };
    let all = ways(&policy, &reach);
    // A round that waited for one of them would take as long as one try.
    let shortest = all.iter().map(|way| way.within).min().unwrap();
    assert!(shortest >= Duration::from_secs(5), "{shortest:?}");
    let (teller, desk) = Teller::new(all, None);
    shop.service.policy = policy;
    shop.service.outbox = Some(Arc::new(teller));
    let desk = tokio::spawn(desk);
    let (rounds, longest) = rounds_of_a_shift(&mut shop).await;
    assert_eq!(rounds, usual, "as if there were nobody to tell");
    assert!(longest < shortest, "{longest:?}");
    assert!(dead.count(PUBLISH) > 0, "those on call were called");
    let pages = dead.seen().iter().filter(|seen| seen.action.starts_with("PUT /s")).count();
    assert!(pages > 0, "and the public");
    desk.abort();
}

/// A status page that speaks by itself, in a bucket.
pub(super) const STATUS_PAGE: &str = r#"
status_page:
  title: Example Shop status
  mode: auto
  components: { shop: { name: Web shop } }
  publish: [ { s3: { bucket: status, region: eu-north-1 } } ]
  words:
    investigating: "Some visitors cannot reach the shop. We are looking into it."
    identified: "One of our locations fails. We are moving visitors to another one."
    monitoring: "The shop can be reached again. We keep watching."
    resolved: "The shop has been well for a while. We are sorry for the trouble."
"#;
