//! From an alarm to a shift: CloudWatch, SNS and SQS on the wire as `infra/cloudformation` makes them, the program
//! itself, and at the end a page, a message to those on call and a status page.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::program::{Place, hurried, output, stop, wait_for, with_credentials, words};
use super::service::{Shop, eu, split};
use super::words::{OnCall, STATUS_PAGE, aws, bucket};
use crate::infra::{ALARMS_TOPIC, deployed};
use crate::wire::http;
use crate::wire::servers::templates;

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

/// The way of alarms, from the templates: the address of the queue.
async fn way_of_alarms(port: u16) -> String {
    let topics = format!("TopicArns={ALARMS_TOPIC}");
    let queue = deployed(port, "eu-central-1", "queue", &["Service=shop", &topics]).await;
    let arn = format!("QueueArn={}", queue["outputs"]["QueueArn"].as_str().unwrap());
    let balancer = "LoadBalancer=app/shop/50dc6c495c0c9188";
    let group = "TargetGroup=targetgroup/shop/73e2d6bc24d8a067";
    let alarms = ["Service=shop", &arn, balancer, group];
    let alarms = deployed(port, "eu-west-1", "alarms", &alarms).await;
    assert_eq!(alarms["outputs"]["TopicArn"], ALARMS_TOPIC, "known beforehand");
    queue["outputs"]["QueueUrl"].as_str().unwrap().to_owned()
}

/// The status page as the public gets it; `None` before it is published.
async fn status(port: u16) -> Option<serde_json::Value> {
    let answer = http::get(port, "/status/status.json").await.unwrap();
    (answer.status() == 200).then(|| serde_json::from_slice(&answer.body).unwrap())
}

/// What the task of ECS asks every half minute, asked here.
async fn is_healthy_to_ecs(port: u16) -> bool {
    let template = templates(&["read", "infra/cloudformation/ecs.yaml"]).await;
    let task = &template["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0];
    let command = task["HealthCheck"]["Command"][1].as_str().unwrap();
    assert!(command.contains("/9464 "), "{command}");
    let command = command.replace("/9464 ", &format!("/{port} "));
    Command::new("sh").args(["-c", &command]).output().await.unwrap().status.success()
}

/// What a cluster asks, by the paths of the manifest.
async fn is_well_to_the_cluster(port: u16) -> bool {
    let all = templates(&["documents", "infra/kubernetes/leeward.yaml"]).await;
    let deployment = all.as_array().unwrap().iter().find(|one| one["kind"] == "Deployment");
    let container = &deployment.unwrap()["spec"]["template"]["spec"]["containers"][0];
    for probe in ["livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        if !http::get(port, path).await.is_ok_and(|answer| answer.status() == 200) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn from_the_alarm_to_the_page_and_no_copy_counts_twice() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    let port = shop.world.server.port;
    let queue = way_of_alarms(port).await;
    let on_call = OnCall::new(port, "on-call").await;
    bucket(port, "status").await;
    let (url, pages) = receiver().await;
    let channels = format!(
        "[ {{ webhook: \"{url}\" }}, {{ sns: {{ topic: \"{}\", from: page }} }} ]",
        on_call.topic
    );
    let text = hurried(&shop).replace(r#"[ { command: ["/bin/true"] } ]"#, &channels);
    assert!(text.contains(&url));
    let triggers = format!(
        "triggers: {{ queues: [ {{ url: \"{queue}\", aws_region: eu-central-1, topics: [\"{ALARMS_TOPIC}\"] }} ] }}\n"
    );
    std::fs::write(&place.policy, text + &triggers + STATUS_PAGE).unwrap();

    let (log, state) = (place.path("log"), place.path("state"));
    let told_at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut run = place.leeward("run", &shop.world.proxy.url());
    for service in ["sqs", "sns", "s3"] {
        run.arg("--endpoint").arg(format!("{service}=http://127.0.0.1:{port}"));
    }
    run.arg("--listen").arg(told_at.to_string()).arg("--state").arg(&state);
    run.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null());
    assert!(!is_healthy_to_ecs(told_at.port()).await, "nothing runs");
    let running = with_credentials(&mut run).spawn().unwrap();
    let proxy = &shop.world.proxy;
    wait_for("the first looks", &log, async || proxy.count("DescribeTargetHealth") > 20).await;
    let calm = async || status(port).await.is_some_and(|page| page["overall"] == "operational");
    wait_for("a calm status page", &log, calm).await;
    assert!(
        is_healthy_to_ecs(told_at.port()).await && is_well_to_the_cluster(told_at.port()).await
    );

    let journal = state.join("shop.journal");
    shop.kill(&eu());
    aws(port, &["fire", "leeward-shop-balancer-errors"], "").await;
    wait_for("the alarm", &log, async || heard(&journal) == 1).await;
    // SNS may deliver more than once, and so may a queue.
    let copy = alarm_of_now();
    for _ in 0..3 {
        aws(port, &["publish", ALARMS_TOPIC], &copy).await;
    }
    aws(port, &["publish", ALARMS_TOPIC], "this is no alarm").await;
    let zone = &shop.zones[0];
    wait_for("the move", &log, async || shop.weights(zone).await == split([100, 0])).await;
    let was_told = async || {
        let pages = pages.lock().unwrap();
        pages.iter().any(|page| page.contains("\"page\"") && page.contains("eu-west-1"))
    };
    wait_for("the page", &log, was_told).await;
    let (mut severities, mut texts) = (Vec::new(), String::new());
    let was_called = async || {
        for message in on_call.heard().await {
            severities.push(message["MessageAttributes"]["severity"]["Value"].clone());
            texts.push_str(message["Message"].as_str().unwrap());
        }
        texts.contains("eu-west-1")
    };
    wait_for("the call", &log, was_called).await;
    assert!(severities.iter().all(|severity| severity == "page"), "{severities:?}");

    let mut page = serde_json::Value::Null;
    let is_said = async || {
        page = status(port).await.unwrap();
        page["incidents"][0]["updates"].as_array().is_some_and(|updates| !updates.is_empty())
    };
    wait_for("the status page", &log, is_said).await;
    assert_ne!(page["overall"], "operational", "never green while an incident is open");
    assert_eq!(page["incidents"][0]["until"], serde_json::Value::Null);
    let text = page["incidents"][0]["updates"][0]["text"].as_str().unwrap();
    assert!(STATUS_PAGE.contains(text), "the policy's own words: {text}");
    for file in ["index.html", "feed.atom"] {
        let shown = http::get(port, &format!("/status/{file}")).await.unwrap();
        assert!(shown.text().contains(text), "{file}: {}", shown.text());
    }

    let emptied = async || aws(port, &["waiting", &queue], "").await.trim() == "0";
    wait_for("an empty queue", &log, emptied).await;
    assert_eq!(heard(&journal), 2, "the one that fired, and three copies of another");
    assert_eq!(shop.changes().len(), 1, "one action");
    let kept: Vec<_> = std::fs::read_dir(state.join("quarantine")).unwrap().collect();
    assert_eq!(kept.len(), 2, "a body and its report");
    assert!(is_well_to_the_cluster(told_at.port()).await, "an outage makes nobody end us");
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
