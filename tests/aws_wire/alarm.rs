//! From an alarm to a shift: CloudWatch, SNS and SQS on the wire, the program itself, and a page at the end.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::program::{Place, hurried, output, stop, wait_for, with_credentials, words};
use super::service::{Shop, eu, split};

/// Runs the helper beside the test server.
async fn aws(port: u16, arguments: &[&str], input: &str) -> String {
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

/// Whoever is told: keeps the bodies of what is posted.
async fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/page", listener.local_addr().unwrap());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let pages = Arc::clone(&kept);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = Vec::new();
            let mut part = [0; 4096];
            while let Ok(read) = stream.read(&mut part).await {
                text.extend_from_slice(&part[..read]);
                if read == 0 || text.ends_with(b"}") {
                    break;
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            kept.lock().unwrap().push(String::from_utf8_lossy(&text).into_owned());
        }
    });
    (url, pages)
}

/// The example alarm as if it had gone off now.
fn alarm_of_now() -> String {
    let text = include_str!("../events/alarm-metric.json");
    let now = leeward::ports::Clock::now(&leeward::clock::SystemClock).to_string();
    let text = text.replace("2027-01-15T08:00:00.589+0000", &now);
    assert!(text.contains(&now));
    text
}

fn heard(journal: &Path) -> usize {
    let records = leeward::journal::Journal::read(journal).unwrap_or_default();
    let is_heard =
        |entry: &leeward::memory::Entry| matches!(entry, leeward::memory::Entry::Heard { .. });
    records.iter().filter(|record| is_heard(&record.entry)).count()
}

#[tokio::test]
async fn from_the_alarm_to_the_page_and_no_copy_counts_twice() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    let port = shop.world.server.port;
    let made: serde_json::Value = serde_json::from_str(&aws(port, &["make"], "").await).unwrap();
    let (queue, topic) = (made["queue"].as_str().unwrap(), made["topic"].as_str().unwrap());
    let (url, pages) = receiver().await;
    let text = hurried(&shop)
        .replace(r#"[ { command: ["/bin/true"] } ]"#, &format!("[ {{ webhook: \"{url}\" }} ]"));
    assert!(text.contains(&url));
    let triggers = format!(
        "triggers: {{ queues: [ {{ url: \"{queue}\", aws_region: eu-central-1, topics: [\"{topic}\"] }} ] }}\n"
    );
    std::fs::write(&place.policy, text + &triggers).unwrap();

    let (log, state) = (place.path("log"), place.path("state"));
    let mut run = place.leeward("run", &shop.world.proxy.url());
    run.arg("--endpoint").arg(format!("sqs=http://127.0.0.1:{port}"));
    run.args(["--listen", "127.0.0.1:0", "--state"]).arg(&state);
    run.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null());
    let running = with_credentials(&mut run).spawn().unwrap();
    let proxy = &shop.world.proxy;
    wait_for("the first looks", &log, async || proxy.count("DescribeTargetHealth") > 20).await;

    let journal = state.join("shop.journal");
    shop.kill(&eu());
    aws(port, &["fire", "web-errors"], "").await;
    wait_for("the alarm", &log, async || heard(&journal) == 1).await;
    // SNS may deliver more than once, and so may a queue.
    let copy = alarm_of_now();
    for _ in 0..3 {
        aws(port, &["publish", topic], &copy).await;
    }
    aws(port, &["publish", topic], "this is no alarm").await;
    let zone = &shop.zones[0];
    wait_for("the move", &log, async || shop.weights(zone).await == split([100, 0])).await;
    let was_told = async || {
        let pages = pages.lock().unwrap();
        pages.iter().any(|page| page.contains("\"page\"") && page.contains("eu-west-1"))
    };
    wait_for("the page", &log, was_told).await;
    let emptied = async || aws(port, &["waiting", queue], "").await.trim() == "0";
    wait_for("an empty queue", &log, emptied).await;
    assert_eq!(heard(&journal), 2, "the one that fired, and three copies of another");
    assert_eq!(shop.changes().len(), 1, "one action");
    let kept: Vec<_> = std::fs::read_dir(state.join("quarantine")).unwrap().collect();
    assert_eq!(kept.len(), 2, "a body and its report");
    assert_eq!(stop(running).await, Some(0));
}

#[tokio::test]
async fn one_look_from_a_pipeline_moves_and_a_copy_of_the_event_does_nothing() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    shop.kill(&eu());
    let event = place.path("event.json");
    std::fs::write(&event, alarm_of_now()).unwrap();
    let trigger = || {
        let mut trigger = place.leeward("trigger", &shop.world.proxy.url());
        trigger.arg("--event").arg(&event).arg("--state").arg(place.path("state"));
        with_credentials(&mut trigger);
        trigger
    };
    let first = output(&mut trigger()).await;
    assert_eq!(first.status.code(), Some(0), "{}", words(&first));
    assert!(words(&first).contains("handled: alarm `web-errors` is ALARM"), "{}", words(&first));
    assert!(words(&first).contains("RegionDown"), "{}", words(&first));
    assert!(words(&first).contains("done, and seen"), "{}", words(&first));
    assert_eq!(shop.weights(&shop.zones[0]).await, split([100, 0]));
    let second = output(&mut trigger()).await;
    assert_eq!(second.status.code(), Some(0), "{}", words(&second));
    assert!(words(&second).contains("duplicate: was heard before"), "{}", words(&second));
    assert_eq!(shop.changes().len(), 1, "one action");
    std::fs::write(&event, "{\"hello\": 1}").unwrap();
    let odd = output(&mut trigger()).await;
    assert_eq!(odd.status.code(), Some(1), "{}", words(&odd));
    assert!(words(&odd).contains("quarantine"), "{}", words(&odd));
}
