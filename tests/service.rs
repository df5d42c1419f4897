//! The sidecar as it is run: the real binary with real sockets, real signals and a real disk.

use std::process::Stdio;
use std::time::Duration;

use leeward::journal::Journal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

pub(crate) mod bench;

use bench::{Bench, Sidecar, WITHIN, policy_text, program};

fn reading(shop: &Value, region: &str) -> String {
    shop["decision"]["regions"][region]["reading"].as_str().unwrap_or_default().to_owned()
}

fn diagnoses(shop: &Value) -> Vec<String> {
    let findings = shop["decision"]["findings"].as_array().cloned().unwrap_or_default();
    findings.iter().filter_map(|f| f["diagnosis"].as_str().map(str::to_owned)).collect()
}

/// Value of one sample line of the exposition.
fn number(text: &str, line: &str) -> Option<f64> {
    let rest = text.lines().find_map(|found| found.strip_prefix(line))?;
    rest.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_seen_told_and_held_without_records() {
    let bench = Bench::new().await;
    let sidecar = bench.start().await;
    assert_eq!(sidecar.get("/healthz").await, (200, "ok\n".to_owned()));
    let both = |shop: &Value| reading(shop, "east") == "good" && reading(shop, "west") == "good";
    sidecar.shop_when("both regions are good", both).await;
    bench.east_is_well(false);
    let seen = |shop: &Value| diagnoses(shop).contains(&"RegionDown".to_owned());
    let shop = sidecar.shop_when("the outage has a name", seen).await;
    assert_eq!(reading(&shop, "west"), "good");
    // Nothing can read the records here: it must say so, and never be ready.
    assert!(shop["decision"]["holds"].to_string().contains("answers_unknown"), "{shop:#}");
    assert_eq!(shop["decision"]["wanted"], Value::Null);
    let (status, text) = sidecar.get("/readyz").await;
    assert_eq!((status, text.contains("shop: the records were never read")), (503, true), "{text}");
    assert_eq!(sidecar.get("/healthz").await.0, 200, "an outage is no illness of the controller");
    let (status, numbers) = sidecar.get("/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(
        number(&numbers, "leeward_region_reading{service=\"shop\",region=\"east\"}"),
        Some(-1.0)
    );
    assert_eq!(
        number(&numbers, "leeward_region_reading{service=\"shop\",region=\"west\"}"),
        Some(1.0)
    );
    let line = "leeward_diagnosis{service=\"shop\",diagnosis=\"RegionDown\"}";
    assert_eq!(number(&numbers, line), Some(1.0));
    assert_eq!(number(&numbers, "leeward_armed{service=\"shop\"}"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_told_in_the_exposition_format() {
    let bench = Bench::new().await;
    let sidecar = bench.start().await;
    sidecar.shop_when("a round is done", |shop| shop["last_round"].is_i64()).await;
    let (_, text) = sidecar.get("/metrics").await;
    assert!(text.ends_with("# EOF\n"));
    let mut described = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let words: Vec<&str> = rest.split(' ').collect();
            assert!(matches!(words[0], "HELP" | "TYPE" | "UNIT" | "EOF"), "{line}");
            words.get(1).map(|name| described.insert((*name).to_owned()));
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("name and value");
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
        let family = name.split('{').next().unwrap();
        let known = described.iter().any(|known| family.starts_with(known.as_str()));
        assert!(known && family.starts_with("leeward_"), "{line}");
    }
    let good = "leeward_samples_total{service=\"shop\",signal=\"outside\",reading=\"good\"}";
    assert!(number(&text, good).is_some_and(|count| count > 0.0), "{text}");
    assert!(
        number(&text, "leeward_rounds_total{service=\"shop\"}").is_some_and(|count| count >= 1.0)
    );
    assert!(
        number(&text, "leeward_journal_append_seconds_count").is_some_and(|count| count >= 1.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_is_taken_if_valid_and_refused_if_not() {
    let bench = Bench::new().await;
    let sidecar = bench.start().await;
    sidecar.shop_when("a round is done", |shop| shop["last_round"].is_i64()).await;
    bench.write_policy(&policy_text("advise", bench.port));
    sidecar.signal("-HUP").await;
    sidecar.shop_when("the new mode is in force", |shop| shop["mode"] == "advise").await;
    bench.write_policy(&policy_text("auto", bench.port).replace("weight: 100", "weight: 999"));
    // Found by looking, without a signal.
    let refused = |shop: &Value| shop["policy"]["refused"].is_string();
    let shop = sidecar.shop_when("the bad policy is refused", refused).await;
    assert_eq!(shop["mode"], "advise", "the older policy stays");
    assert!(shop["policy"]["refused"].as_str().unwrap().contains("weight"), "{shop:#}");
    let (_, numbers) = sidecar.get("/metrics").await;
    assert_eq!(number(&numbers, "leeward_policy_reload_ok{service=\"shop\"}"), Some(0.0));
    bench.write_policy(&policy_text("observe", bench.port));
    sidecar.signal("-HUP").await;
    let shop =
        sidecar.shop_when("the mended policy is in force", |shop| shop["mode"] == "observe").await;
    assert_eq!(shop["policy"]["refused"], Value::Null);
    bench.write_policy(
        &policy_text("observe", bench.port).replace("service: shop", "service: other"),
    );
    sidecar.signal("-HUP").await;
    sidecar.shop_when("another service is refused", refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_asked_with_status_zero() {
    for name in ["-TERM", "-INT"] {
        let bench = Bench::new().await;
        let sidecar = bench.start().await;
        sidecar.shop_when("a round is done", |shop| shop["last_round"].is_i64()).await;
        let asked = Instant::now();
        sidecar.signal(name).await;
        let (status, log) = sidecar.end().await;
        assert_eq!(status, Some(0), "{log}");
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        assert!(log.contains("Stopped."), "{log}");
    }
}

async fn leeward(bench: &Bench, arguments: &[&str]) -> std::process::Output {
    let mut command = program();
    command.args(arguments).arg("--state").arg(bench.state());
    timeout(WITHIN, command.output()).await.expect("it ends").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_honoured_and_survives_being_killed() {
    let bench = Bench::new().await;
    let sidecar = bench.start().await;
    sidecar.shop_when("a round is done", |shop| shop["last_round"].is_i64()).await;
    let held = leeward(&bench, &["hold", "shop", "--for", "2h", "--reason", "upgrade"]).await;
    assert!(held.status.success(), "{held:?}");
    let is_pinned = |shop: &Value| shop["did"]["pin"]["by"] == "ana";
    sidecar.shop_when("the hold is seen", is_pinned).await;
    let (_, numbers) = sidecar.get("/metrics").await;
    assert_eq!(number(&numbers, "leeward_pin_active{service=\"shop\"}"), Some(1.0));
    sidecar.kill().await;
    // Another one, left while nothing ran.
    let later = leeward(&bench, &["hold", "shop", "--for", "3h", "--reason", "still"]).await;
    assert!(later.status.success(), "{later:?}");
    let again = bench.start().await;
    // From the very first state on: there is no moment without it.
    let shop = again.shop_when("it is there", |shop| !shop.is_null()).await;
    assert!(is_pinned(&shop) && shop["did"]["pin"]["reason"] == "still", "{shop:#}");
    let lifted = leeward(&bench, &["resume", "shop", "--reason", "done"]).await;
    assert!(lifted.status.success(), "{lifted:?}");
    again.shop_when("the hold is lifted", |shop| shop["did"]["pin"].is_null()).await;
    let history = leeward(&bench, &["history"]).await;
    let history = String::from_utf8(history.stdout).unwrap();
    assert_eq!(history.matches(" started ").count(), 2, "{history}");
    assert_eq!(history.matches(" pinned ").count(), 2, "{history}");
    assert!(history.contains("unpinned   by ana (done)"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_cannot_be_read_holds() {
    let bench = Bench::new().await;
    let sidecar = bench.start().await;
    sidecar.shop_when("a round is done", |shop| shop["last_round"].is_i64()).await;
    std::fs::write(bench.state().join("shop.pin.json"), "{ half a").unwrap();
    let shop = sidecar.shop_when("it holds", |shop| shop["did"]["pin"].is_object()).await;
    assert!(shop["did"]["pin"]["reason"].as_str().unwrap().contains("shop.pin.json"), "{shop:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_controller_does_not_begin() {
    let bench = Bench::new().await;
    let _first = bench.start().await;
    let mut command = program();
    command.arg("run").arg(bench.policy()).args(["--listen", "127.0.0.1:0", "--state"]);
    command.arg(bench.state()).stderr(Stdio::piped());
    let second = timeout(WITHIN, command.output()).await.expect("it ends").unwrap();
    let text = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(5), "{text}");
    assert!(text.contains("held by another controller") && text.contains("hint: "), "{text}");
}

/// A controller that was killed while it started a program leaves the lock to that child for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_let_go_at_once_is_waited_for() {
    let bench = Bench::new().await;
    std::fs::create_dir_all(bench.state()).unwrap();
    let (held, _) = Journal::open(&bench.state().join("shop.journal")).unwrap();
    let lets_go = tokio::spawn(async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(held);
    });
    let _runs = bench.start().await;
    lets_go.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_ends_its_own_connection_and_nothing_else() {
    let bench = Bench::new().await;
    let mut sidecar = bench.start().await;
    let address = sidecar.url.trim_start_matches("http://").to_owned();
    let huge =
        [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20], b"\r\n\r\n".to_vec()].concat();
    let rubbish: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0; 4096],
        huge,
        b"POST /v1/state HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n"
            .to_vec(),
        b"GET /v1/readings?service=%00%ff HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET /v1/readings HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"".to_vec(),
    ];
    for bytes in &rubbish {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // It may close before all is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(WITHIN, stream.read_to_end(&mut answer)).await.expect("it is closed");
        let refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        assert!(read.is_err() || refused, "{}", String::from_utf8_lossy(&answer));
    }
    // Silent connections do not take the place of the next asker.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    assert_eq!(sidecar.get("/healthz").await.0, 200);
    assert_eq!(sidecar.get("/nonsense").await.0, 404);
    assert!(sidecar.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_changed_over_http() {
    let bench = Bench::new().await;
    let sidecar = bench.start().await;
    for path in ["/healthz", "/readyz", "/metrics", "/v1/state", "/v1/readings"] {
        for method in [hyper::Method::POST, hyper::Method::PUT, hyper::Method::DELETE] {
            let url = format!("{}{path}", sidecar.url);
            let (status, _) = leeward::runtime::http::ask(leeward::runtime::http::Ask {
                method: method.clone(),
                url: &url,
                headers: Vec::new(),
                body: bytes::Bytes::from_static(b"{}"),
                answer_max: 1 << 20,
                within: WITHIN,
            })
            .await
            .unwrap();
            assert_eq!(status.as_u16(), 405, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_lends_its_eyes() {
    let bench = Bench::new().await;
    let peer = bench.start().await;
    let here = bench.directory.path().join("two.yaml");
    let vantages = format!("vantages: {{ here: {{}}, us: {{ peer: \"{}\" }} }}", peer.url);
    let text = policy_text("observe", bench.port).replace("vantages: { here: {} }", &vantages);
    std::fs::write(&here, text).unwrap();
    let sidecar = Sidecar::start(&here, &bench.directory.path().join("other")).await;
    let seen_from = |shop: &Value, vantage: &str, what: &str| {
        shop["decision"]["regions"]["east"]["vantages"][vantage] == what
    };
    sidecar.shop_when("the peer sees east", |shop| seen_from(shop, "us", "good")).await;
    bench.east_is_well(false);
    sidecar
        .shop_when("both see it bad", |shop| {
            seen_from(shop, "us", "bad") && seen_from(shop, "here", "bad")
        })
        .await;
    peer.kill().await;
    sidecar.shop_when("a silent peer is unknown", |shop| seen_from(shop, "us", "unknown")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_runs_many_services() {
    let bench = Bench::new().await;
    let other = bench.directory.path().join("other.yaml");
    std::fs::write(
        &other,
        policy_text("observe", bench.port).replace("service: shop", "service: api"),
    )
    .unwrap();
    let sidecar = Sidecar::start_all(&[bench.policy(), other], &bench.state()).await;
    sidecar.shop_when("shop sees", |shop| reading(shop, "west") == "good").await;
    let (_, body) = sidecar.get("/v1/state").await;
    let state: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(state["services"].as_object().unwrap().keys().collect::<Vec<_>>(), ["api", "shop"]);
    // A hold is about one of them.
    let held = leeward(&bench, &["hold", "api", "--for", "1h", "--reason", "upgrade"]).await;
    assert!(held.status.success(), "{held:?}");
    let pinned = |text: &str, service: &str| {
        number(text, &format!("leeward_pin_active{{service=\"{service}\"}}"))
    };
    let deadline = Instant::now() + WITHIN;
    loop {
        let (_, text) = sidecar.get("/metrics").await;
        if (pinned(&text, "api"), pinned(&text, "shop")) == (Some(1.0), Some(0.0)) {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_nothing_begins() {
    let bench = Bench::new().await;
    std::fs::create_dir_all(bench.state().join("shop.journal")).unwrap();
    let mut command = program();
    command.arg("run").arg(bench.policy()).args(["--listen", "127.0.0.1:0", "--state"]);
    command.arg(bench.state()).stderr(Stdio::piped());
    let ended = timeout(WITHIN, command.output()).await.expect("it ends").unwrap();
    assert_eq!(ended.status.code(), Some(5));
}
