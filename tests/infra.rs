//! `infra/iam/policy.json` allows exactly what the AWS clients call, on exactly what they need.

use std::collections::BTreeSet;

use serde_json::Value;

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

#[tokio::test]
async fn the_templates_are_sound() {
    for name in ["weights", "gates", "arc"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(template(name));
        assert_eq!(lint(&path).await, "", "{name}");
    }
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
    let gates: Vec<&str> = vec![
        "route53:GetHealthCheckStatus",
        "s3:DeleteObject",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
    ];
    assert_eq!(allowed("gates").await, gates.into_iter().map(str::to_owned).collect());
    let arc = known.iter().filter(|action| action.starts_with("route53-recovery-cluster:"));
    assert_eq!(allowed("arc").await, arc.cloned().collect());
}

#[tokio::test]
async fn every_gate_is_inverted_and_quick_and_the_votes_add_up() {
    let checks = templates(&["checks", &template("gates")]).await;
    let gates: Vec<&Value> = checks
        .as_object()
        .unwrap()
        .values()
        .filter(|check| check["Type"] != "CALCULATED")
        .collect();
    assert_eq!(gates.len(), 3);
    for gate in gates {
        assert_eq!(gate["Inverted"], true, "{gate}");
        let flips =
            gate["RequestInterval"].as_u64().unwrap() * gate["FailureThreshold"].as_u64().unwrap();
        assert_eq!(flips, 30, "seconds");
    }
    let calculated = &checks["EnoughGatesOpen"];
    assert_eq!(calculated["Type"], "CALCULATED");
    assert!(calculated.get("Inverted").is_none(), "the children are");
    let arc = templates(&["checks", &template("arc")]).await;
    assert!(arc.as_object().unwrap().values().all(|check| check["Type"] == "RECOVERY_CONTROL"));
}

/// The test server knows neither health checks nor ARC: the rest of `gates` is made, `arc` is only linted.
#[tokio::test]
async fn the_templates_can_be_deployed_as_far_as_the_test_server_knows_them() {
    let server = servers::ministack().await;
    let port = server.port.to_string();
    let votes = ["Service=shop", "ProtectedRegion=eu-west-1", "Votes=2-of-3", "HealthChecks=no"];
    let stack =
        templates(&[&["deploy", port.as_str(), &template("gates")][..], &votes].concat()).await;
    assert_eq!(stack["status"], "CREATE_COMPLETE", "{stack:#}");
    assert_eq!(stack["outputs"]["Key"], "gates/shop/eu-west-1/{holder}");
    assert_eq!(stack["resources"]["Gates"], "AWS::S3::Bucket");
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
