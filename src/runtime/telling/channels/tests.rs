//! Each channel against somebody on loopback who answers as the documents say, or not.

use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::bulletin::{Bulletin, Chronicle, Light, Page, Phase, Update};
use crate::domain::Timestamp;
use crate::policy::{Address, Mail, MailTls, PagePlace, Secret, Webhook};
use crate::ports::{Announcement, CallFailed};
use crate::report::samples;
use crate::tell::{Account, Kind, Note, Severity, Thread};

fn note(kind: Kind, sequence: u32) -> Note {
    let service: crate::domain::ServiceName = "shop".parse().unwrap();
    Note {
        thread: Thread::incident(&service, samples::NOW),
        service,
        at: samples::NOW,
        severity: if kind == Kind::Resolved { Severity::Info } else { Severity::Page },
        about: std::collections::BTreeSet::new(),
        text: "shop: `eu-west-1` is bad: <10%> & \"falling\". Moving away".to_owned(),
        sequence,
        kind,
        account: Account {
            seen: vec!["10% of probes succeed".to_owned()],
            to_stop: vec!["`leeward hold shop`".to_owned()],
            ..Account::default()
        },
        automation_off: None,
        public: None,
    }
}

fn bundle(kind: Kind, sequence: u32) -> Bundle {
    Bundle { notes: vec![note(kind, sequence)], page: None }
}

/// What came in: the first line, the head, and the body.
type Heard = Vec<(String, String, String)>;

/// Answers so many requests with these, one connection each, and gives back what was asked.
async fn server(answers: Vec<(&'static str, String)>) -> (String, JoinHandle<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut all = Vec::new();
        for (status, answer) in answers {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
            }
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1);
            let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            let length = answer.len();
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{answer}");
            stream.write_all(text.as_bytes()).await.unwrap();
            let first = head.lines().next().unwrap().to_owned();
            all.push((first, lower, String::from_utf8(body).unwrap()));
        }
        all
    });
    (url, task)
}

fn channel(way: policy::Way) -> Post {
    let (name, from) = ("x".to_owned(), Severity::Info);
    let channel = Channel { name, from, stands_in: false, way };
    Post { channel, topics: None, taken: Taken::default() }
}

/// A secret of this content, kept until the test is over.
fn secret(text: &str) -> (tempfile::NamedTempFile, Secret) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let secret = Secret::File(file.path().display().to_string());
    (file, secret)
}

fn as_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_webhook_gets_the_note_as_json() {
    let (url, heard) = server(vec![("204 No Content", String::new())]).await;
    let url = Address::Open(format!("{url}/hook"));
    let content_type = "application/json".to_owned();
    let hook = Webhook { url, body: None, content_type, is_json: true };
    channel(policy::Way::Webhook(hook)).carry(&bundle(Kind::Opened, 1)).await.unwrap();
    let (first, _, body) = heard.await.unwrap().remove(0);
    assert_eq!(first, "POST /hook HTTP/1.1");
    let note = as_json(&body);
    assert_eq!((&note["kind"], &note["sequence"]), (&json!("opened"), &json!(1)));
    assert_eq!(note["account"]["seen"][0], "10% of probes succeed");
}

#[tokio::test]
async fn what_failed_in_the_middle_goes_on_from_there() {
    let answers = ["204 No Content", "500 Oh", "204 No Content", "204 No Content", "200 OK"];
    let (url, heard) = server(answers.map(|status| (status, String::new())).to_vec()).await;
    let (url, content_type) = (Address::Open(url), "application/json".to_owned());
    let hook =
        channel(policy::Way::Webhook(Webhook { url, body: None, content_type, is_json: true }));
    let state = tempfile::tempdir().unwrap();
    let (told, broken) = (state.path().join("told"), state.path().join("broken"));
    // The second note is not taken as long as that file is there.
    let script = format!(
        "read -r note; case $note in *'\"sequence\":2'*) test ! -e {1} || exit 1;; esac; echo \"$note\" >> {0}",
        told.display(),
        broken.display()
    );
    let arguments = vec!["-c".to_owned(), script];
    let program = channel(policy::Way::Command { program: "/bin/sh".to_owned(), arguments });
    std::fs::write(&broken, "").unwrap();
    let notes = [1, 2, 3].map(|sequence| note(Kind::Changed, sequence)).to_vec();
    let three = Bundle { notes, page: None };
    for way in [&hook, &program] {
        assert!(way.carry(&three).await.unwrap_err().again);
    }
    std::fs::remove_file(broken).unwrap();
    for way in [&hook, &program] {
        way.carry(&three).await.unwrap();
    }
    // It is over and forgotten: whoever asks for the same later gets it.
    hook.carry(&bundle(Kind::Changed, 1)).await.unwrap();
    let number = |text: &str| as_json(text)["sequence"].as_u64().unwrap();
    let heard = heard.await.unwrap();
    let posted: Vec<u64> = heard.iter().map(|(_, _, body)| number(body)).collect();
    assert_eq!(posted, [1, 2, 2, 3, 1], "the second came twice, as it was refused once");
    let told = std::fs::read_to_string(told).unwrap();
    assert_eq!(told.lines().map(number).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_template_is_filled_so_that_json_stays_json() {
    let policy = "\
tell: { channels: [{ webhook: { url: \"URL\", body: '{\"t\": \"${text}\", \"n\": \"${sequence}\"}' } }], status_every: 15m }
";
    let (url, heard) = server(vec![("200 OK", String::new())]).await;
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/policies/two-region-web.yaml"
    ))
    .unwrap();
    let start = text.find("\ntell:").unwrap() + 1;
    let end = text[start..].find("\n\n").map_or(text.len(), |at| start + at + 1);
    let text = format!("{}{}{}", &text[..start], policy.replace("URL", &url), &text[end..]);
    let policy = match crate::policy::load(&text, "x.yaml") {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    };
    let ways = ways(&policy, None);
    ways[0].carrier.carry(&bundle(Kind::Opened, 3)).await.unwrap();
    let body = as_json(&heard.await.unwrap()[0].2);
    assert_eq!(body["t"], note(Kind::Opened, 3).text);
    assert_eq!(body["n"], "3");
}

#[tokio::test]
async fn slack_says_ok_and_a_proxy_does_not() {
    let answers = vec![("200 OK", "ok".to_owned()), ("200 OK", "<html>log in</html>".to_owned())];
    let (url, heard) = server(answers).await;
    let (_file, url) = secret(&url);
    let slack = channel(policy::Way::Slack { url });
    slack.carry(&bundle(Kind::Opened, 1)).await.unwrap();
    let untaken = slack.carry(&bundle(Kind::Opened, 1)).await.unwrap_err();
    assert!(untaken.again && untaken.why.contains("not that of such a service"), "{untaken:?}");
    let text = as_json(&heard.await.unwrap()[0].2)["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("*PAGE* shop: `eu-west-1` is bad: &lt;10%&gt; &amp; \""), "{text}");
    assert!(text.contains("seen:\n- 10% of probes succeed"), "{text}");
    assert!(text.ends_with("no. 1, opened, 2026-11-21T03:00:00Z"), "{text}");
}

#[tokio::test]
async fn pagerduty_opens_one_alert_for_a_thread_and_resolves_it() {
    let answer = || ("202 Accepted", r#"{"status":"success","dedup_key":"x"}"#.to_owned());
    let (url, heard) = server(vec![answer(), answer(), answer()]).await;
    let (_file, key) = secret("R0UTE\n");
    let pager = channel(policy::Way::PagerDuty { key, url });
    for (kind, sequence) in [(Kind::Opened, 1), (Kind::NeedsYou, 2), (Kind::Resolved, 3)] {
        pager.carry(&bundle(kind, sequence)).await.unwrap();
    }
    let bodies: Vec<Value> = heard.await.unwrap().iter().map(|(_, _, b)| as_json(b)).collect();
    let key = json!("shop-20261121T030000Z");
    for (body, action) in bodies.iter().zip(["trigger", "trigger", "resolve"]) {
        assert_eq!(body["event_action"], action);
        assert_eq!(body["dedup_key"], key);
        assert_eq!(body["routing_key"], "R0UTE");
    }
    assert_eq!(bodies[0]["payload"]["severity"], "critical");
    assert_eq!(bodies[0]["payload"]["source"], "shop");
    assert_eq!(bodies[0]["payload"]["custom_details"]["to stop it"], "`leeward hold shop`");
}

#[tokio::test]
async fn pagerduty_is_asked_again_only_if_that_can_help() {
    let answers = vec![
        ("500 Oh", String::new()),
        ("429 Too Many Requests", String::new()),
        ("400 Bad Request", r#"{"status":"invalid event"}"#.to_owned()),
        ("200 OK", "garbage".to_owned()),
    ];
    let (url, _heard) = server(answers).await;
    let (_file, key) = secret("k");
    let pager = channel(policy::Way::PagerDuty { key, url });
    for again in [true, true, false, true] {
        let untaken = pager.carry(&bundle(Kind::Opened, 1)).await.unwrap_err();
        assert_eq!(untaken.again, again, "{untaken:?}");
    }
    let gone = pager.carry(&bundle(Kind::Opened, 1)).await.unwrap_err();
    assert!(gone.again, "nobody listens any more: {gone:?}");
}

#[tokio::test]
async fn opsgenie_creates_notes_and_closes_by_alias() {
    let answer = || ("202 Accepted", r#"{"result":"ok","requestId":"4"}"#.to_owned());
    let (url, heard) = server(vec![answer(), answer(), answer(), answer()]).await;
    let url = format!("{url}/v2/alerts");
    let (_file, key) = secret("K3Y");
    let alerts = channel(policy::Way::Opsgenie { key, url });
    for (kind, sequence) in [(Kind::Opened, 1), (Kind::Changed, 2), (Kind::Resolved, 3)] {
        alerts.carry(&bundle(kind, sequence)).await.unwrap();
    }
    let heard = heard.await.unwrap();
    let first: Vec<&str> = heard.iter().map(|(first, _, _)| first.as_str()).collect();
    let alias = "/v2/alerts/shop-20261121T030000Z";
    assert_eq!(first[0], "POST /v2/alerts HTTP/1.1");
    assert_eq!(first[2], format!("POST {alias}/notes?identifierType=alias HTTP/1.1"));
    assert_eq!(first[3], format!("POST {alias}/close?identifierType=alias HTTP/1.1"));
    assert!(heard[0].1.contains("authorization: geniekey k3y"), "{}", heard[0].1);
    let body = as_json(&heard[0].2);
    assert_eq!(
        (&body["priority"], &body["alias"]),
        (&json!("P1"), &json!("shop-20261121T030000Z"))
    );
    assert!(body["message"].as_str().unwrap().chars().count() <= 130);
}

#[derive(Debug, Default)]
struct Topic(Mutex<Vec<(String, String, String, u32)>>, Mutex<Option<CallFailed>>);

#[async_trait]
impl Topics for Topic {
    async fn publish(
        &self,
        aws_region: &str,
        topic: &str,
        message: &Announcement<'_>,
    ) -> Result<(), CallFailed> {
        let told =
            (aws_region.to_owned(), topic.to_owned(), message.subject.to_owned(), message.sequence);
        self.0.lock().unwrap().push(told);
        self.1.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

#[tokio::test]
async fn a_topic_gets_the_message_with_its_number() {
    let topic = Arc::new(Topic::default());
    let (arn, region) = ("arn:aws:sns:eu-central-1:1:t".to_owned(), "eu-central-1".to_owned());
    let mut sns = channel(policy::Way::Sns { topic: arn.clone(), aws_region: region.clone() });
    assert!(!sns.carry(&bundle(Kind::Opened, 4)).await.unwrap_err().again, "a build without SNS");
    sns.topics = Some(topic.clone());
    sns.carry(&bundle(Kind::Opened, 4)).await.unwrap();
    let told = topic.0.lock().unwrap().remove(0);
    assert_eq!((told.0, told.1, told.3), (region, arn, 4));
    assert!(told.2.starts_with("[page] shop: `eu-west-1` is bad"), "{}", told.2);
    let (code, why) = ("AuthorizationError".to_owned(), "not authorized".to_owned());
    for (failure, again) in [
        (CallFailed::Refused { code, why }, false),
        (CallFailed::Throttled { code: "Throttling".to_owned(), why: String::new() }, true),
        (CallFailed::Unknown { why: "no answer".to_owned() }, true),
    ] {
        *topic.1.lock().unwrap() = Some(failure.clone());
        let untaken = sns.carry(&bundle(Kind::Opened, 5)).await.unwrap_err();
        assert_eq!(untaken.again, again, "{failure}");
    }
}

/// A mail server as of RFC 5321 that takes one mail, or refuses the recipient.
async fn smtp(recipient: &'static str) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mail.example.com ESMTP\r\n").await.unwrap();
        let (mut told, mut data) = (String::new(), false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return told;
            }
            told.push_str(&line);
            let answer = match line.split([' ', ':', '\r']).next().unwrap() {
                _ if data && line != ".\r\n" => continue,
                "." => {
                    data = false;
                    "250 OK\r\n"
                }
                "EHLO" => "250-mail.example.com\r\n250 8BITMIME\r\n",
                "RCPT" => recipient,
                "DATA" => {
                    data = true;
                    "354 go on\r\n"
                }
                "QUIT" => "221 bye\r\n",
                _ => "250 OK\r\n",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, task)
}

fn mail(port: u16) -> Post {
    channel(policy::Way::Mail(Box::new(Mail {
        host: "127.0.0.1".to_owned(),
        port,
        tls: MailTls::Nothing,
        user: None,
        password: None,
        sender: "leeward@example.com".to_owned(),
        to: vec!["on-call@example.com".to_owned()],
    })))
}

#[tokio::test]
async fn a_mail_joins_those_of_its_thread() {
    let (port, told) = smtp("250 OK\r\n").await;
    mail(port).carry(&bundle(Kind::NeedsYou, 2)).await.unwrap();
    let told = told.await.unwrap();
    for line in [
        "MAIL FROM:<leeward@example.com>",
        "RCPT TO:<on-call@example.com>",
        "Message-ID: <shop-20261121T030000Z.2@leeward.invalid>",
        "In-Reply-To: <shop-20261121T030000Z.1@leeward.invalid>",
        "References: <shop-20261121T030000Z.1@leeward.invalid>",
        "Subject: [page] needs you: shop:",
    ] {
        assert!(told.contains(line), "{line} is missing in\n{told}");
    }
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_not_tried_again() {
    let (port, _told) = smtp("550 no such user\r\n").await;
    let untaken = mail(port).carry(&bundle(Kind::Opened, 1)).await.unwrap_err();
    assert!(!untaken.again && untaken.why.contains("no such user"), "{untaken:?}");
    let (port, _told) = smtp("451 try later\r\n").await;
    assert!(mail(port).carry(&bundle(Kind::Opened, 1)).await.unwrap_err().again);
}

#[tokio::test]
async fn a_program_gets_the_note_on_its_standard_input() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("note");
    let run = |script: String| {
        let (program, arguments) = ("/bin/sh".to_owned(), vec!["-c".to_owned(), script]);
        channel(policy::Way::Command { program, arguments })
    };
    run(format!("cat > {}", file.display())).carry(&bundle(Kind::Opened, 1)).await.unwrap();
    assert!(std::fs::read_to_string(file).unwrap().contains("eu-west-1"));
    assert!(run("exit 3".to_owned()).carry(&bundle(Kind::Opened, 1)).await.unwrap_err().again);
    let (program, arguments) = ("/does/not/exist".to_owned(), Vec::new());
    let gone = channel(policy::Way::Command { program, arguments });
    assert!(!gone.carry(&bundle(Kind::Opened, 1)).await.unwrap_err().again);
}

fn page(phase: Phase, open: bool) -> Arc<Page> {
    let at = Timestamp::from_secs(1_795_262_640);
    let mut told = Chronicle::default();
    for (phase, open) in [(Phase::Investigating, true), (phase, open)] {
        told.take(&Bulletin {
            at,
            components: [("shop".to_owned(), Light::MajorOutage)].into(),
            incident: open.then(|| ("shop-1".to_owned(), at)),
            update: Some(Update { at, phase, text: format!("It is {phase}.") }),
            blind: None,
            unworded: false,
        });
    }
    let frame = crate::bulletin::Frame {
        service: "shop".parse().unwrap(),
        title: "Shop".to_owned(),
        url: None,
        renewed_every: Duration::from_secs(900),
        components: vec![("shop".to_owned(), "Web shop".to_owned())],
    };
    Arc::new(Page::of(&frame, &told, at))
}

fn publisher(place: PagePlace) -> Arc<dyn Carrier> {
    let mut policy = samples::policy();
    let text = "x".to_owned();
    let words = || policy::Template::plain(&text);
    policy.status_page = Some(policy::StatusPage {
        title: "Shop".to_owned(),
        mode: policy::PageMode::Auto,
        components: [(
            "shop".to_owned(),
            policy::Component { name: text.clone(), regions: Vec::new() },
        )]
        .into(),
        publish: vec![place],
        url: None,
        words: policy::Words {
            investigating: words(),
            identified: words(),
            monitoring: words(),
            resolved: words(),
        },
        every: Duration::from_secs(900),
    });
    let ways = super::super::publish::ways(&policy, None);
    Arc::clone(&ways[0].carrier)
}

#[tokio::test]
async fn a_directory_gets_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("deep/status");
    let to = publisher(PagePlace::Directory { path: place.display().to_string() });
    for (phase, open) in [(Phase::Identified, true), (Phase::Resolved, false)] {
        let bundle = Bundle { page: Some(page(phase, open)), ..bundle(Kind::Changed, 1) };
        to.carry(&bundle).await.unwrap();
        let html = std::fs::read_to_string(place.join("index.html")).unwrap();
        assert!(html.contains(&format!("It is {phase}.")), "{html}");
    }
    let mut names: Vec<String> = std::fs::read_dir(&place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["feed.atom", "index.html", "status.json"], "nothing half-written is left");
    assert!(to.carry(&bundle(Kind::Changed, 1)).await.is_err(), "no page, nothing published");
}

#[tokio::test]
async fn a_hosted_page_is_brought_to_where_ours_is() {
    let ok = || ("200 OK", "{}".to_owned());
    let there = json!([{
        "id": "i1", "status": "investigating",
        "metadata": { "leeward": { "incident": "shop-1" } },
        "incident_updates": [{ "body": "It is Investigating." }],
    }]);
    let same = json!([{
        "id": "i1", "status": "identified",
        "metadata": { "leeward": { "incident": "shop-1" } },
        "incident_updates": [{ "body": "It is Identified." }],
    }]);
    let answers = vec![
        // Nothing is there: it is created.
        ("200 OK", "[]".to_owned()),
        ("201 Created", r#"{"id":"i1"}"#.to_owned()),
        ok(),
        // It is there, and says less: it is told the newest.
        ("200 OK", there.to_string()),
        ok(),
        ok(),
        // It says the same: nothing is said twice.
        ("200 OK", same.to_string()),
        ok(),
    ];
    let (url, heard) = server(answers).await;
    let (_file, key) = secret("K3Y");
    let to = publisher(PagePlace::Statuspage {
        url,
        page: "p1".to_owned(),
        key,
        components: [("shop".to_owned(), "c1".to_owned())].into(),
    });
    for _ in 0..3 {
        let page = Some(page(Phase::Identified, true));
        to.carry(&Bundle { page, ..bundle(Kind::Changed, 1) }).await.unwrap();
    }
    let heard = heard.await.unwrap();
    let first: Vec<&str> =
        heard.iter().map(|(first, _, _)| first.trim_end_matches(" HTTP/1.1")).collect();
    assert_eq!(
        first,
        [
            "GET /pages/p1/incidents/unresolved",
            "POST /pages/p1/incidents",
            "PATCH /pages/p1/components/c1",
            "GET /pages/p1/incidents/unresolved",
            "PATCH /pages/p1/incidents/i1",
            "PATCH /pages/p1/components/c1",
            "GET /pages/p1/incidents/unresolved",
            "PATCH /pages/p1/components/c1",
        ]
    );
    assert!(heard[1].1.contains("authorization: oauth k3y"), "{}", heard[1].1);
    let (created, changed) = (as_json(&heard[1].2), as_json(&heard[4].2));
    assert_eq!(created["incident"]["metadata"]["leeward"]["incident"], "shop-1");
    assert_eq!(created["incident"]["name"], "Web shop");
    assert_eq!(changed["incident"]["status"], "identified");
    assert_eq!(changed["incident"]["body"], "It is Identified.");
    assert_eq!(as_json(&heard[2].2)["component"]["status"], "major_outage");
}

fn hosted(url: String, key: policy::Secret) -> Arc<dyn Carrier> {
    let components = [("shop".to_owned(), "c1".to_owned())].into();
    publisher(PagePlace::Statuspage { url, page: "p1".to_owned(), key, components })
}

#[tokio::test]
async fn a_component_that_is_not_there_keeps_no_incident_from_the_public() {
    let answers = vec![
        ("200 OK", "[]".to_owned()),
        ("201 Created", r#"{"id":"i1"}"#.to_owned()),
        ("404 Not Found", "{}".to_owned()),
    ];
    let (url, heard) = server(answers).await;
    let (_file, key) = secret("K3Y");
    let page = Some(page(Phase::Identified, true));
    let told = hosted(url, key).carry(&Bundle { page, ..bundle(Kind::Changed, 1) }).await;
    assert!(!told.unwrap_err().again, "somebody has to mend the id");
    let heard = heard.await.unwrap();
    assert!(heard[1].0.starts_with("POST /pages/p1/incidents "), "{}", heard[1].0);
}

#[tokio::test]
async fn nothing_is_green_at_a_hosted_page_while_an_incident_waits_for_its_words() {
    for (unworded, requests) in [(true, 2), (false, 1)] {
        let answers = vec![("200 OK", "[]".to_owned()), ("200 OK", "{}".to_owned())];
        let (url, heard) = server(answers.into_iter().take(requests).collect()).await;
        let (_file, key) = secret("K3Y");
        let mut page = (*page(Phase::Resolved, false)).clone();
        page.components[0].state = crate::bulletin::Light::Unknown;
        (page.unworded, page.incidents) = (unworded, Vec::new());
        let page = Some(Arc::new(page));
        hosted(url, key).carry(&Bundle { page, ..bundle(Kind::Changed, 1) }).await.unwrap();
        let heard = heard.await.unwrap();
        assert_eq!(heard.len(), requests, "what is not known otherwise stays as it is there");
        if let Some((_, _, body)) = heard.get(1) {
            assert_eq!(as_json(body)["component"]["status"], "degraded_performance");
        }
    }
}

#[test]
fn a_directory_that_hangs_stops_nothing_else() {
    // One thread for what may hang, and it is taken: what is written waits.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (go_on, hangs) = std::sync::mpsc::channel::<()>();
        let hanging = tokio::task::spawn_blocking(move || hangs.recv().is_err());
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("status").display().to_string();
        let to = publisher(PagePlace::Directory { path: place });
        let told = Bundle { page: Some(page(Phase::Identified, true)), ..bundle(Kind::Changed, 1) };
        let mut first = Box::pin(to.carry(&told));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        let second = to.carry(&told).await.unwrap_err();
        assert!(second.again && second.why.contains("has not come to its end"), "{second:?}");
        drop(go_on);
        assert!(hanging.await.unwrap());
        first.await.unwrap();
        to.carry(&told).await.unwrap();
    });
}
