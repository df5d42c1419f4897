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

#[test]
fn changes_are_narrowed_to_a_zone_and_to_names_types_and_actions() {
    let mutating = |statement: &Value| {
        list(&statement["Action"]).iter().any(|action| {
            let verb = action.split(':').nth(1).unwrap();
            !["Describe", "Get", "List"].iter().any(|reading| verb.starts_with(reading))
        })
    };
    let changing: Vec<Value> = statements().into_iter().filter(mutating).collect();
    assert_eq!(changing.len(), 1, "one statement changes anything");
    let statement = &changing[0];
    assert_eq!(list(&statement["Action"]).len(), 1);
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
