//! `infra/iam/policy.json` allows exactly what the AWS clients call, on exactly what they need; the templates
//! allow the same between them, and can be deployed as far as the test server knows what they make.

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use leeward::steer::{Checks, Found, Health, HealthCheck, Watches};
use serde_json::{Value, json};

use crate::wire::servers::{self, lint, templates};

const POLICY: &str = include_str!("../infra/iam/policy.json");

fn statements() -> Vec<Value> {
    let policy: Value = serde_json::from_str(POLICY).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    policy["Statement"].as_array().unwrap().clone()
}

/// IAM takes a text or a list of texts.
fn list(value: &Value) -> BTreeSet<&str> {
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    items.iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn the_permissions_are_the_calls_of_the_clients() {
    let statements = statements();
    let allowed: BTreeSet<&str> =
        statements.iter().flat_map(|statement| list(&statement["Action"])).collect();
    let called: BTreeSet<&str> = leeward::aws::actions().collect();
    assert_eq!(allowed, called);
    for statement in &statements {
        assert_eq!(statement["Effect"], "Allow", "{statement}");
        assert!(statement.get("NotAction").is_none() && statement.get("NotResource").is_none());
    }
}

/// The SDK names the method of an operation after it: `.set_subnets()` is `SetSubnets`.
const VERBS: [&str; 20] = [
    "add",
    "cancel",
    "change",
    "create",
    "delete",
    "deregister",
    "describe",
    "get",
    "head",
    "list",
    "modify",
    "publish",
    "put",
    "receive",
    "register",
    "remove",
    "set",
    "simulate",
    "start",
    "update",
];

/// Every operation that the code of the AWS edge names, as IAM does, without its service.
fn operations() -> BTreeSet<String> {
    let sources = crate::tidy::source::sources(Path::new(env!("CARGO_MANIFEST_DIR")));
    let edge = sources.iter().filter(|source| source.path.starts_with("src/aws"));
    let methods =
        edge.flat_map(|source| source.code.split('.').filter_map(|part| part.split_once("()")));
    let plain =
        |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    let named = methods.map(|(name, _)| name).filter(|name| plain(name));
    let begins = |name: &&str| VERBS.contains(&name.split('_').next().unwrap_or_default());
    let camel = |name: &str| {
        name.split('_')
            .fold(String::new(), |all, word| all + &word[..1].to_uppercase() + &word[1..])
    };
    named.filter(begins).map(camel).collect()
}

#[test]
fn the_list_of_calls_is_what_the_code_calls() {
    let listed = leeward::aws::actions().chain(leeward::aws::preflight_actions());
    let listed: BTreeSet<String> =
        listed.map(|action| action.split_once(':').unwrap().1.to_owned()).collect();
    // Asked of whoever makes a group with tags, and of whoever is to hear 404 instead of 403 (Service
    // Authorization Reference, "Elastic Load Balancing V2"; API reference, S3 `GetObject`).
    let without_call = ["AddTags", "ListBucket"].map(str::to_owned).into();
    let mut called = operations();
    // A field of an answer.
    assert!(called.remove("ChangeInfo"));
    assert_eq!(&listed - &called, without_call, "allowed, and called nowhere");
    assert_eq!(&called - &listed, BTreeSet::new(), "called, and allowed nowhere");
}

/// The statement that allows this action, which allows nothing else.
fn alone(action: &str) -> Value {
    let allows = |statement: &Value| list(&statement["Action"]).contains(action);
    let mut found = statements().into_iter().filter(allows);
    let statement = found.next().unwrap_or_else(|| panic!("nothing allows {action}"));
    assert!(found.next().is_none() && list(&statement["Action"]).len() == 1, "{action}");
    statement
}

#[test]
fn whatever_changes_something_stands_alone_and_is_narrowed() {
    let reading = ["Describe", "Get", "List"];
    for statement in statements() {
        // Messages of our own queue are put away, which changes nothing that serves anybody.
        let actions = list(&statement["Action"]);
        let changes = actions.iter().filter(|action| !action.starts_with("sqs:")).any(|action| {
            let verb = action.split(':').nth(1).unwrap();
            !reading.iter().any(|reading| verb.starts_with(reading))
        });
        if changes {
            assert_eq!(list(&statement["Action"]).len(), 1, "{statement}");
            assert!(!list(&statement["Resource"]).contains("*"), "{statement}");
        }
    }
}

#[test]
fn a_queue_is_named_and_only_taken_from() {
    let of_queues = |statement: &Value| {
        list(&statement["Action"]).iter().any(|action| action.starts_with("sqs:"))
    };
    let statements: Vec<Value> = statements().into_iter().filter(of_queues).collect();
    assert_eq!(statements.len(), 1);
    for resource in list(&statements[0]["Resource"]) {
        assert!(resource.starts_with("arn:aws:sqs:") && !resource.contains('*'), "{resource}");
    }
}

#[test]
fn changes_are_narrowed_to_a_zone_and_to_names_types_and_actions() {
    // Gates and the public status are objects of two buckets: each statement is narrowed by itself.
    for action in ["s3:PutObject", "s3:DeleteObject"] {
        let writes: Vec<Value> = statements()
            .into_iter()
            .filter(|statement| list(&statement["Action"]).contains(action))
            .collect();
        assert!(!writes.is_empty(), "nothing allows {action}");
        for resource in writes.iter().flat_map(|statement| list(&statement["Resource"])) {
            let path = resource.strip_prefix("arn:aws:s3:::").unwrap();
            assert!(path.split_once('/').is_some_and(|(_, key)| key.len() > 1), "{resource}");
        }
    }
    let statement = alone("route53:ChangeResourceRecordSets");
    for resource in list(&statement["Resource"]) {
        assert!(resource.starts_with("arn:aws:route53:::hostedzone/Z"), "{resource}");
    }
    let conditions = &statement["Condition"]["ForAllValues:StringEquals"];
    let key = |name: &str| list(&conditions[format!("route53:ChangeResourceRecordSets{name}")]);
    assert_eq!(conditions.as_object().unwrap().len(), 3);
    assert_eq!(key("Actions"), ["CREATE", "DELETE"].into());
    assert!(key("RecordTypes").contains("TXT"));
    for name in key("NormalizedRecordNames") {
        let parsed: leeward::domain::RecordName = name.parse().unwrap();
        assert_eq!(parsed.as_str(), name, "the normal form");
    }
}

#[test]
fn routing_controls_are_named_one_by_one_and_safety_rules_are_not_overridden() {
    let update = alone("route53-recovery-cluster:UpdateRoutingControlStates");
    let key = "route53-recovery-cluster:AllowSafetyRulesOverrides";
    assert_eq!(update["Condition"]["Bool"][key], "false");
    let look = alone("route53-recovery-cluster:GetRoutingControlState");
    assert_eq!(look["Resource"], update["Resource"]);
    for resource in list(&update["Resource"]) {
        assert!(resource.contains("/routingcontrol/") && !resource.contains('*'), "{resource}");
    }
}

const PREFLIGHT: &str = include_str!("../infra/iam/doctor.json");

/// Verbs with which AWS names what only reads. A simulation judges policies and grants nothing.
fn only_reads(action: &str) -> bool {
    let verb = action.split(':').nth(1).unwrap();
    ["Describe", "Get", "List"].iter().any(|reading| verb.starts_with(reading))
        || action == "iam:SimulatePrincipalPolicy"
}

#[test]
fn the_preflight_is_allowed_what_it_calls_and_calls_only_what_reads() {
    let policy: Value = serde_json::from_str(PREFLIGHT).unwrap();
    let statements = policy["Statement"].as_array().unwrap().clone();
    let allowed: BTreeSet<&str> =
        statements.iter().flat_map(|statement| list(&statement["Action"])).collect();
    let called: BTreeSet<&str> = leeward::aws::preflight_actions().collect();
    assert_eq!(allowed, called);
    assert!(called.into_iter().all(only_reads));
}

fn template(name: &str) -> String {
    format!("infra/cloudformation/{name}.yaml")
}

/// Every template, and `ecs`, which allows nothing.
const TEMPLATES: [&str; 10] =
    ["weights", "gates", "slots", "arc", "queue", "alarms", "telling", "refresh", "zones", "ecs"];

#[tokio::test]
async fn the_templates_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/cloudformation");
    let listed: BTreeSet<PathBuf> =
        TEMPLATES.iter().map(|name| folder.join(format!("{name}.yaml"))).collect();
    let there: BTreeSet<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(listed, there);
    let listed: Vec<PathBuf> = listed.into_iter().collect();
    assert_eq!(lint(&listed).await, "");
}

#[tokio::test]
async fn the_roles_of_the_templates_are_allowed_what_the_levers_call() {
    let allowed = async |name: &str| -> BTreeSet<String> {
        serde_json::from_value(templates(&["actions", &template(name)]).await).unwrap()
    };
    let file: Value = serde_json::from_str(POLICY).unwrap();
    let statements = file["Statement"].as_array().unwrap();
    let weights = allowed("weights").await;
    let known: BTreeSet<String> = leeward::aws::actions().map(str::to_owned).collect();
    assert!(weights.is_subset(&known), "{weights:?}");
    let sids = [
        "ReadTheZone",
        "MoveTheServicesRecords",
        "SeeAChangeThrough",
        "LookAtTargets",
        "LookAtMetrics",
    ];
    let of_the_lever = statements.iter().filter(|one| sids.contains(&one["Sid"].as_str().unwrap()));
    let expected: BTreeSet<String> =
        of_the_lever.flat_map(|one| list(&one["Action"])).map(str::to_owned).collect();
    assert_eq!(weights, expected);
    let gates: BTreeSet<String> = [
        "route53:GetHealthCheckStatus",
        "s3:DeleteObject",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(allowed("gates").await, gates);
    assert_eq!(allowed("slots").await, gates);
    let arc = known.iter().filter(|action| action.starts_with("route53-recovery-cluster:"));
    let arc: BTreeSet<String> = arc.cloned().collect();
    assert_eq!(allowed("arc").await, arc);
    let queue: BTreeSet<String> =
        known.iter().filter(|action| action.starts_with("sqs:")).cloned().collect();
    assert_eq!(allowed("queue").await, queue);
    let telling: BTreeSet<String> = known
        .iter()
        .filter(|action| action.starts_with("s3:") || action.starts_with("sns:"))
        .cloned()
        .collect();
    assert_eq!(allowed("telling").await, telling);
    // Balancers: all that is called, but for the look at targets, which `weights` has.
    let refresh: BTreeSet<String> = known
        .iter()
        .filter(|action| action.starts_with("elasticloadbalancing:"))
        .filter(|action| !weights.contains(*action))
        .cloned()
        .collect();
    assert_eq!(allowed("refresh").await, refresh);
    let zones = known.iter().filter(|action| action.starts_with("arc-zonal-shift:"));
    let zones: BTreeSet<String> = zones.cloned().collect();
    assert_eq!(allowed("zones").await, zones);
    let together: BTreeSet<String> =
        [weights, gates, arc, queue, telling, refresh, zones].into_iter().flatten().collect();
    assert_eq!(together, known, "the templates together allow what is called, and nothing else");
}

/// Nobody but the named topics fills the queue, and nobody but alarms of this account the topic.
#[tokio::test]
async fn the_way_of_alarms_is_open_to_alarms_only() {
    let queue = templates(&["read", &template("queue")]).await;
    let statements =
        queue["Resources"]["OnlyTheTopics"]["Properties"]["PolicyDocument"]["Statement"].clone();
    let allowing: Vec<&Value> =
        statements.as_array().unwrap().iter().filter(|one| one["Effect"] == "Allow").collect();
    let [send] = allowing[..] else { panic!("{statements:#}") };
    assert_eq!(send["Principal"], json!({"Service": "sns.amazonaws.com"}));
    assert_eq!(send["Action"], "sqs:SendMessage");
    assert_eq!(send["Condition"]["ArnEquals"]["aws:SourceArn"], json!({"Ref": "TopicArns"}));
    assert!(send["Condition"]["StringEquals"]["aws:SourceAccount"].is_object());
    let alarms = templates(&["read", &template("alarms")]).await;
    let resources = &alarms["Resources"];
    let publish = &resources["OnlyAlarms"]["Properties"]["PolicyDocument"]["Statement"]
        .as_array()
        .unwrap()[..];
    assert_eq!(publish.len(), 1);
    assert_eq!(publish[0]["Principal"], json!({"Service": "cloudwatch.amazonaws.com"}));
    assert!(publish[0]["Condition"]["ArnLike"]["aws:SourceArn"].is_object());
    // Without its envelope a message does not say of which topic it is.
    let raw = &resources["ToTheController"]["Properties"]["RawMessageDelivery"];
    assert_eq!(*raw, false);
    for alarm in ["BalancerFails", "NothingServes"] {
        let properties = &resources[alarm]["Properties"];
        for actions in ["AlarmActions", "OKActions"] {
            assert_eq!(properties[actions], json!([{"Ref": "Topic"}]), "{alarm}");
        }
    }
}

#[tokio::test]
async fn every_gate_is_inverted_and_quick_and_the_votes_add_up() {
    let checks = templates(&["checks", &template("gates")]).await;
    let slots = templates(&["checks", &template("slots")]).await;
    let mut places = BTreeSet::new();
    for (checks, count) in [(&checks, 3), (&slots, 4)] {
        let gates = checks.as_object().unwrap().values().filter(|check| check["Type"] == "HTTPS");
        let gates: Vec<&Value> = gates.collect();
        assert_eq!(gates.len(), count);
        for gate in gates {
            assert_eq!(gate["Inverted"], true, "{gate}");
            let (every, failures) = (&gate["RequestInterval"], &gate["FailureThreshold"]);
            assert_eq!(every.as_u64().unwrap() * failures.as_u64().unwrap(), 30, "seconds");
            assert!(
                places.insert(gate["ResourcePath"].to_string()),
                "each looks at its own object"
            );
        }
    }
    let calculated = &checks["EnoughGatesOpen"];
    assert_eq!(calculated["Type"], "CALCULATED");
    assert!(calculated.get("Inverted").is_none(), "the children are");
    let arc = templates(&["checks", &template("arc")]).await;
    assert!(arc.as_object().unwrap().values().all(|check| check["Type"] == "RECOVERY_CONTROL"));
}

/// Which of a template's values a policy of these conditions has.
fn chosen<'a>(value: &'a Value, conditions: &BTreeSet<&str>) -> &'a Value {
    let Some(parts) = value.get("Fn::If").and_then(Value::as_array) else { return value };
    let holds = conditions.contains(parts[0].as_str().unwrap());
    chosen(&parts[if holds { 1 } else { 2 }], conditions)
}

/// Whatever is published and however the control stands, by the rules of Route 53: the region is out when enough
/// have voted, or its control is off, and otherwise not.
#[tokio::test]
async fn the_check_of_the_records_counts_votes_and_the_routing_control() {
    let whole = templates(&["read", &template("gates")]).await;
    let config = &whole["Resources"]["EnoughGatesOpen"]["Properties"]["HealthCheckConfig"];
    let values = whole["Parameters"]["Votes"]["AllowedValues"].as_array().unwrap();
    assert_eq!(values.len(), 4);
    for votes in values.iter().map(|votes| votes.as_str().unwrap()) {
        let (needed, of) = votes.split_once("-of-").unwrap();
        let (needed, of): (u32, u32) = (needed.parse().unwrap(), of.parse().unwrap());
        for controlled in [false, true] {
            let all = [("Two", of > 1), ("Three", of > 2), ("Controlled", controlled)];
            let conditions: BTreeSet<&str> =
                all.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect();
            let threshold = &chosen(&config["HealthThreshold"], &conditions)["Fn::FindInMap"];
            let column = threshold[2].as_str().unwrap();
            let threshold = whole["Mappings"]["Open"][votes][column].as_u64().unwrap();
            let children = config["ChildHealthChecks"].as_array().unwrap();
            let children = children.iter().map(|child| chosen(child, &conditions));
            let children = children.filter_map(|child| child["Fn::GetAtt"][0].as_str());
            let children: Vec<String> = children.map(str::to_owned).collect();
            assert_eq!(children.len(), of as usize + if controlled { 2 } else { 0 });
            for published in 0..1_u32 << of {
                for on in [true, false] {
                    let gates = ["FirstGate", "SecondGate", "ThirdGate"];
                    let check = |name: &String| {
                        let gate = gates.iter().position(|gate| gate == name);
                        let check = match gate {
                            Some(place) => HealthCheck {
                                inverted: true,
                                ..HealthCheck::new(Watches::Endpoint {
                                    found: Some(Found {
                                        healthy: 16 * (published >> place & 1),
                                        checkers: 16,
                                    }),
                                })
                            },
                            None => HealthCheck::new(Watches::RecoveryControl(Health::of(on))),
                        };
                        (name.clone(), check)
                    };
                    let mut checks: BTreeMap<String, HealthCheck> =
                        children.iter().map(check).collect();
                    let threshold = u32::try_from(threshold).unwrap();
                    let what = Watches::Calculated { threshold, children: children.clone() };
                    checks.insert("records".to_owned(), HealthCheck::new(what));
                    let out = published.count_ones() >= needed || (controlled && !on);
                    let verdict = Checks(checks).verdict("records").unwrap();
                    assert_eq!(
                        verdict,
                        Health::of(!out),
                        "{votes} {controlled} {published:b} {on}"
                    );
                }
            }
        }
    }
}

/// Makes a stack at the test server and gives back what it says of it.
pub(crate) async fn deployed(port: u16, region: &str, name: &str, parameters: &[&str]) -> Value {
    let (port, file) = (port.to_string(), template(name));
    let stack =
        templates(&[&["deploy", port.as_str(), region, &file][..], parameters].concat()).await;
    assert_eq!(stack["status"], "CREATE_COMPLETE", "{stack:#}");
    stack
}

/// The topic that `alarms` will make in the account of the test server.
pub(crate) const ALARMS_TOPIC: &str = "arn:aws:sns:eu-west-1:000000000000:leeward-shop-alarms";

/// The test server knows neither health checks nor ARC: the rest of `gates` is made, `arc` is only linted.
#[tokio::test]
async fn the_templates_can_be_deployed_as_far_as_the_test_server_knows_them() {
    let server = servers::ministack().await;
    let port = server.port;
    let votes = ["Service=shop", "ProtectedRegion=eu-west-1", "Votes=2-of-3", "HealthChecks=no"];
    let stack = deployed(port, "eu-central-1", "gates", &votes).await;
    assert_eq!(stack["outputs"]["Key"], "gates/shop/eu-west-1/{holder}");
    assert_eq!(stack["resources"]["Gates"], "AWS::S3::Bucket");

    let three = ["Service=shop", "ProtectedRegion=eu-west-1", "Slots=3", "HealthChecks=no"];
    let stack = deployed(port, "eu-central-1", "slots", &three).await;
    assert_eq!(stack["outputs"]["KeyOfSlot0"], "gates/shop/eu-west-1/0");

    let topics = format!("TopicArns={ALARMS_TOPIC}");
    let queue = deployed(port, "eu-central-1", "queue", &["Service=shop", &topics]).await;
    let output = |name: &str| queue["outputs"][name].as_str().unwrap().to_owned();
    let (url, other) = (output("QueueUrl"), output("UnhandledUrl"));
    let port_text = port.to_string();
    let given = templates(&["give-up", &port_text, "eu-central-1", &url, &other]).await;
    assert_eq!(given, json!({"times": 20, "left": ["nobody can handle this"]}));

    let role = format!("RoleName={}", output("RoleName"));
    let topic = "OnCallTopicArn=arn:aws:sns:eu-central-1:000000000000:on-call";
    let words = [&role[..], topic, "StatusBucket=status", "CopyBucket=copy"];
    deployed(port, "eu-central-1", "telling", &words).await;
    deployed(port, "eu-central-1", "refresh", &[&role]).await;
    let task = [
        &role[..],
        "Service=shop",
        "Image=leeward:0.1.0",
        "ExecutionRoleArn=arn:aws:iam::000000000000:role/ecsTaskExecutionRole",
        "FileSystemId=fs-01234567",
        "AccessPointId=fsap-0123456789abcdef0",
        "Cluster=default",
        "Subnets=subnet-0123456789abcdef0",
        "SecurityGroups=sg-0123456789abcdef0",
    ];
    let task = deployed(port, "eu-central-1", "ecs", &task).await;
    assert_eq!(task["resources"]["Task"], "AWS::ECS::TaskDefinition");
}

/// Listing needs everything, changing needs the operator's tag: on what is changed, or on what is made.
#[test]
fn balancers_are_only_changed_where_they_carry_the_tag() {
    let mut changing = 0;
    for statement in statements() {
        for action in list(&statement["Action"]) {
            let Some(verb) = action.strip_prefix("elasticloadbalancing:") else { continue };
            if verb.starts_with("Describe") {
                continue;
            }
            changing += 1;
            let conditions = statement["Condition"]["StringEquals"].as_object().unwrap();
            let expected = match verb {
                "CreateTargetGroup" | "AddTags" => "aws:RequestTag/leeward",
                _ => "aws:ResourceTag/leeward",
            };
            assert_eq!(conditions[expected], "may-refresh", "{action}");
            assert!(list(&statement["Resource"]).iter().all(|resource| *resource != "*"));
        }
    }
    assert_eq!(changing, 11);
}
