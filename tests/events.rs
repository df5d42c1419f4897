//! Bodies in their documented shapes, and what each comes to: `tests/events/*.json` beside one table.

use std::collections::BTreeSet;
use std::path::PathBuf;

use leeward::domain::Timestamp;
use leeward::event::{self, Envelope, Event, Meaning, What};
use leeward::health::Happening;
use leeward::policy::{self, Policy};

/// 2027-01-15T08:00:30Z, half a minute after the events of the folder.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_030);

/// File, and what each of its parts is: what it says, and what it means to the shop.
const TABLE: &[(&str, &[&str])] = &[
    ("alarm-metric", &["alarm `web-errors` is ALARM => look at eu-west-1"]),
    ("alarm-metric-ok", &["alarm `web-errors` is OK => look at eu-west-1"]),
    ("alarm-insufficient-data", &["alarm `web-errors` is INSUFFICIENT_DATA => look at eu-west-1"]),
    ("alarm-math", &["alarm `error-rate` is ALARM => look at eu-west-1"]),
    ("alarm-anomaly", &["alarm `odd-traffic` is ALARM => look at eu-west-1"]),
    ("alarm-composite", &["alarm `region-ill` is ALARM => look at eu-west-1"]),
    ("alarm-composite-forced", &["alarm `region-ill-forced` is ALARM => look at eu-west-1"]),
    (
        "alarm-composite-suppressed",
        &["alarm `region-ill` is ALARM, suppressed => look at eu-west-1"],
    ),
    ("alarm-few-fields", &["alarm `sparse` is ALARM => look"]),
    ("alarm-colon-in-name", &["alarm `web: errors` is ALARM => look at eu-west-1"]),
    ("alarm-too-late", &["alarm `web-errors` is ALARM, told too late => nothing"]),
    ("alarm-from-the-future", &["stamped 2027-01-15T09:00:00Z, which is still to come => nothing"]),
    ("alarm-state-nobody-knows", &["unknown: `SNOOZED` is not a state of an alarm"]),
    ("alarm-without-a-name", &["unknown: an object of no known kind"]),
    (
        "alarm-arn-of-something-else",
        &["unknown: `arn:aws:sns:eu-west-1:111122223333:alarms` is not the ARN"],
    ),
    ("sns-alarm", &["alarm `web-errors` is ALARM => look at eu-west-1"]),
    ("sns-no-subject", &["alarm `web-errors` is ALARM => look at eu-west-1"]),
    ("sns-subscription-confirmation", &["a handshake => nothing"]),
    ("sns-unsubscribe-confirmation", &["a handshake => nothing"]),
    ("sns-plain-text", &["unknown: the message is not JSON"]),
    ("sns-of-a-queue", &["unknown: `TopicArn` is not the ARN of a topic"]),
    ("bridge-alarm", &["alarm `web-errors` is ALARM => look at eu-west-1"]),
    (
        "bridge-alarm-composite-suppressed",
        &["alarm `region-ill` is ALARM, suppressed => look at eu-west-1"],
    ),
    ("bridge-alarm-anomaly", &["alarm `odd-traffic` is OK => look at eu-west-1"]),
    ("bridge-alarm-configuration", &["an alarm was configured => nothing"]),
    (
        "bridge-health-issue",
        &[
            "AWS Health, open: EC2 in eu-west-1: AWS_EC2_OPERATIONAL_ISSUE We are investigating increased error rates and latencies. => notice",
        ],
    ),
    ("bridge-health-planned", &["a notice of AWS Health about no trouble => nothing"]),
    ("bridge-health-abuse", &["a notice of AWS Health that is not about its services => nothing"]),
    ("bridge-codedeploy-start", &["deploy of d-123456789 (shop start) to eu-west-1 => deploy"]),
    ("bridge-codedeploy-instance", &["one instance of a deployment => nothing"]),
    ("codedeploy-trigger", &["deploy of d-123456789 (shop succeeded) to eu-west-1 => deploy"]),
    (
        "bridge-codepipeline-deploy",
        &[
            "deploy of 9f1b4a4d-5d11-4b1e-a6b2-f6a5a0b3a1f4 (shop deploy-web started) to eu-west-1 => deploy",
        ],
    ),
    ("bridge-codepipeline-build", &["an action of a pipeline that deploys nothing => nothing"]),
    (
        "bridge-codepipeline-pipeline",
        &["a pipeline does not say where it deploys, its actions do => nothing"],
    ),
    (
        "bridge-ecs-deployment",
        &["deploy of ecs-svc/123 (servicetest in progress) to eu-west-1 => deploy"],
    ),
    ("bridge-autoscaling", &["EC2 Instance Terminate Successful: web => look"]),
    ("autoscaling-notification", &["autoscaling:EC2_INSTANCE_TERMINATE: web => look"]),
    ("autoscaling-test", &["a test of Auto Scaling => nothing"]),
    (
        "bridge-instance-state",
        &["EC2 Instance State-change Notification: i-1234567890abcdef0: stopped => look"],
    ),
    ("bridge-targets-registered", &["DeregisterTargets => look"]),
    ("bridge-unknown-source", &["unknown: an event `Invoice Created` of `com.example.billing`"]),
    (
        "lambda-sqs",
        &[
            "alarm `web-errors` is ALARM => look at eu-west-1",
            "unknown: an object of no known kind, with hello",
        ],
    ),
    ("lambda-sns", &["alarm `web-errors` is ALARM => look at eu-west-1"]),
    (
        "alertmanager",
        &[
            "alarm `ShopErrors` is ALARM => look at eu-west-1",
            "alarm `ShopErrors` is OK => look at eu-central-1",
        ],
    ),
    ("alertmanager-version-3", &["unknown: alerts in another version than 4"]),
    ("ours-deploy", &["deploy of v42 (web) to eu-west-1 => deploy"]),
    ("ours-notice", &["the provider says that the network in the west is impaired => notice"]),
    ("ours-approve", &["yes: standby looks fine => answer"]),
    ("ours-deny", &["no: the database is being moved => answer"]),
    ("ours-reading", &["reading of `burn` => sample"]),
    ("ours-reading-out-of-range", &["unknown: 7.5 is not from 0 to 1"]),
    ("ours-look", &["a drill => look"]),
    ("ours-two-at-once", &["unknown: our form with 2 of"]),
    ("ours-unknown-field", &["unknown: not in our form: unknown field `force`"]),
    ("ours-for-another-service", &["meant for another service => nothing"]),
    ("wrapped-too-often", &["unknown: too many envelopes around each other"]),
    ("s3-test", &["unknown: an object of no known kind"]),
    ("empty", &["unknown: not JSON"]),
    ("text", &["unknown: not JSON"]),
    ("list", &["unknown: a list"]),
    ("deep", &["unknown: not JSON"]),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/events")
}

fn body(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.json"))).unwrap()
}

/// The example policy of two regions, with a pushed signal added.
fn shop() -> Policy {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies/two-region-web.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text
        .replace("signals:\n", "signals:\n  burn: { class: traffic, fresh_for: 3m, pushed: {} }\n");
    match policy::load(&text, "shop.yaml") {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

fn meaning(meaning: &Meaning) -> String {
    match meaning {
        Meaning::Look { happening: Some(Happening::Alarm { region: Some(region), .. }) } => {
            format!("look at {region}")
        }
        Meaning::Look { happening: Some(Happening::Deploy { .. }) } => "deploy".to_owned(),
        Meaning::Look { happening: Some(Happening::Notice { .. }) } => "notice".to_owned(),
        Meaning::Look { .. } => "look".to_owned(),
        Meaning::Sample(_) => "sample".to_owned(),
        Meaning::Answer(_) => "answer".to_owned(),
        Meaning::Nothing => "nothing".to_owned(),
    }
}

fn one(name: &str) -> Event {
    let mut events = event::parse(&body(name));
    assert_eq!(events.len(), 1, "{name}");
    events.remove(0).unwrap()
}

#[test]
fn every_body_comes_to_what_the_table_says() {
    let shop = shop();
    let mut wrong = Vec::new();
    for (name, expected) in TABLE {
        let got: Vec<String> = event::parse(&body(name))
            .iter()
            .map(|part| match part {
                Ok(event) => {
                    let judged = event::judge(&shop, event, NOW);
                    format!("{} => {}", judged.text, meaning(&judged.meaning))
                }
                Err(unknown) => format!("unknown: {unknown}"),
            })
            .collect();
        // What is unknown is compared by its beginning: the reader of JSON has words of its own.
        let same = |(got, expected): (&String, &&str)| {
            got == expected || (expected.starts_with("unknown: ") && got.starts_with(*expected))
        };
        if got.len() != expected.len() || !got.iter().zip(*expected).all(same) {
            wrong.push(format!("{name}: {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_and_the_folder_are_the_same() {
    let listed: BTreeSet<String> = TABLE.iter().map(|(name, _)| format!("{name}.json")).collect();
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(listed, there);
    assert!(there.len() >= 25);
}

#[test]
fn copies_of_one_transition_have_one_key_by_whichever_way_they_come() {
    let keys: BTreeSet<String> =
        ["alarm-metric", "sns-alarm", "sns-no-subject", "bridge-alarm", "lambda-sns"]
            .into_iter()
            .map(|name| one(name).key)
            .collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_ne!(one("alarm-metric").key, one("alarm-metric-ok").key);
    assert_ne!(one("alarm-metric").key, one("alarm-too-late").key, "another transition");
    assert_ne!(one("alarm-metric").key, one("alarm-math").key, "another alarm");
}

/// Over HTTP the signature is about the envelope alone.
#[test]
fn what_stands_beside_a_signed_envelope_is_not_read() {
    let mut forged: serde_json::Value = serde_json::from_slice(&body("sns-alarm")).unwrap();
    let deploy = String::from_utf8(body("ours-deploy")).unwrap();
    forged["Records"] = serde_json::json!([{ "body": deploy }]);
    let events = event::parse(forged.to_string().as_bytes());
    assert_eq!(events, [Ok(one("sns-alarm"))], "the alarm that was signed, and nothing else");
}

#[test]
fn the_region_of_an_alarm_comes_from_its_arn_and_not_from_its_display_name() {
    let What::Alarm(alarm) = one("alarm-metric").what else { panic!("an alarm") };
    assert_eq!(alarm.aws_region.as_deref(), Some("eu-west-1"));
    let What::Alarm(alarm) = one("alarm-few-fields").what else { panic!("an alarm") };
    assert_eq!(alarm.aws_region, None, "`Region` is not believed");
}

#[test]
fn a_batch_too_large_is_unknown_as_a_whole() {
    let record = r#"{"body":"{}"}"#;
    let many = vec![record; 201].join(",");
    let parts = event::parse(format!("{{\"Records\":[{many}]}}").as_bytes());
    assert!(parts.len() == 1 && parts[0].is_err());
    let large = vec![b' '; event::BYTES_MAX + 1];
    assert!(event::parse(&large)[0].is_err());
}

#[test]
fn the_signed_text_is_as_documented() {
    let envelope = Envelope::parse(&body("sns-no-subject")).unwrap();
    let text = envelope.signed_text().unwrap();
    let keys: Vec<&str> = text.lines().step_by(2).collect();
    assert_eq!(keys, ["Message", "MessageId", "Timestamp", "TopicArn", "Type"]);
    assert!(text.ends_with("Type\nNotification\n"));
    let with = Envelope::parse(&body("sns-alarm")).unwrap().signed_text().unwrap();
    assert!(with.contains("\nSubject\nALARM: \"web-errors\" in EU (Ireland)\n"));
    let asked = Envelope::parse(&body("sns-subscription-confirmation")).unwrap();
    let text = asked.signed_text().unwrap();
    let keys: Vec<&str> = text.lines().step_by(2).collect();
    assert_eq!(
        keys,
        ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    );
}
