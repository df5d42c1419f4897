//! What is said of refusals, and what is believed after several endpoints failed in different ways.

use super::*;

const RULE: &str =
    "arn:aws:route53-recovery-control::111122223333:controlpanel/0123abcd/safetyrule/4567ef01";

#[test]
fn a_refusal_names_the_rule_that_the_service_names() {
    for message in [
        format!("Rule {RULE} is not satisfied"),
        format!("not satisfied: ['{RULE}']."),
        format!("{RULE}."),
    ] {
        let told = forbidden(&message, false);
        assert!(told.starts_with(&format!("safety rule {RULE} forbids it: ")), "{told}");
        assert!(told.ends_with(&message), "{told}");
    }
    let told = forbidden("please wait", false);
    assert_eq!(told, "a safety rule of the cluster, or its wait period, forbids it: please wait");
    assert!(forbidden("no", true).contains("although the rules of the policy were overridden"));
}

#[test]
fn any_side_may_come_up_first() {
    let dice = Dice::default();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let side = dice.roll(5);
        assert!(side < 5);
        seen.insert(side);
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(dice.roll(0), 0, "no endpoint is no reason to panic");
}

fn failures(failures: &[CallFailed]) -> Failures {
    Failures(failures.iter().map(|failure| ("eu-west-1".to_owned(), failure.clone())).collect())
}

#[test]
fn one_lost_write_makes_the_whole_unknown_and_a_lost_question_does_not() {
    let not_sent = CallFailed::NotSent { why: "refused".to_owned() };
    let unknown = CallFailed::Unknown { why: "time-out".to_owned() };
    let throttled = CallFailed::Throttled { code: "T".to_owned(), why: "slow".to_owned() };
    let denied =
        CallFailed::Refused { code: "AccessDeniedException".to_owned(), why: "no".to_owned() };
    let conflict = CallFailed::Refused { code: CONFLICT.to_owned(), why: RULE.to_owned() };

    let mixed = failures(&[not_sent.clone(), unknown.clone(), denied.clone()]);
    assert!(matches!(mixed.of_a_change(false), CallFailed::Unknown { .. }));
    assert!(matches!(mixed.of_a_question(), CallFailed::Refused { .. }));

    let silent = failures(&[not_sent.clone(), not_sent.clone()]);
    assert!(matches!(silent.of_a_change(false), CallFailed::NotSent { .. }));
    let slow = failures(&[not_sent.clone(), throttled]);
    assert!(matches!(slow.of_a_change(false), CallFailed::Throttled { .. }));
    let forbidden = failures(&[not_sent, denied, conflict]).of_a_change(false);
    assert!(forbidden.to_string().contains(&format!("safety rule {RULE}")), "{forbidden}");
}

#[test]
fn nothing_on_at_all_is_refused_before_it_is_sent() {
    let region = |name: &str| -> RegionName { name.parse().unwrap() };
    let seen = Seen {
        states: [(region("eu-west-1"), InAnswers::In), (region("eu-central-1"), InAnswers::Out)]
            .into(),
        endpoint: 0,
    };
    let out = [(region("eu-west-1"), InAnswers::Out)];
    assert!(matches!(keeps_something_on(&seen, &out), Err(CallFailed::Refused { .. })));
    let over = [(region("eu-central-1"), InAnswers::In), (region("eu-west-1"), InAnswers::Out)];
    assert_eq!(keeps_something_on(&seen, &over), Ok(()));
}
