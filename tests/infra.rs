//! `infra/iam/policy.json` allows exactly what the AWS clients call, on exactly what they need.

use std::collections::BTreeSet;

use serde_json::Value;

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
        let changes = list(&statement["Action"]).iter().any(|action| {
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
fn changes_are_narrowed_to_a_zone_and_to_names_types_and_actions() {
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
