//! `leeward test` as people and CI meet it: pictures of what differs, JSON, JUnit, exit status.

use std::process::{Command, Stdio};

use leeward::policy::{Case, Policy, Test, load};
use leeward::scenario::{self, Fault, Ran};
use serde_json::Value;

fn example(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The policy of `region-loss.yaml` with other tests.
fn with_tests(tests: &str) -> String {
    let text = example("region-loss.yaml");
    let (policy, _) = text.split_once("\ntests:").unwrap();
    format!("{policy}\n{tests}")
}

fn policy(tests: &str) -> Policy {
    load(&with_tests(tests), "policy.yaml").unwrap_or_else(|problems| panic!("{problems}")).0
}

fn drawn(policy: &Policy) -> &Case {
    let Test::Drawn(case) = &policy.tests[0] else { panic!("it is recorded") };
    case
}

fn play(test: &str) -> Ran {
    let policy = policy(&format!("tests:\n  - {test}\n"));
    scenario::run(&policy, drawn(&policy)).unwrap()
}

struct Said {
    status: i32,
    out: String,
    err: String,
}

/// Runs the real binary over one policy.
fn test(policy: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeward"));
    command.current_dir(folder.path()).args(["test", "policy.yaml"]).args(arguments);
    let output = command.stdin(Stdio::null()).env_clear().output().unwrap();
    Said {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The shift comes at the thirteenth step, not at the tenth.
const WRONG: &str = "tests:
  - name: moves <too> \"early\" & fails
    seen: { us-east-2: \"xxxxxxxxxxxxxx\" }
    expect: \"---------S----\"
";

#[test]
fn a_case_that_fails_shows_the_picture_the_place_and_the_reason() {
    let said = test(&with_tests(WRONG), &[]);
    assert_eq!(said.status, 1, "{}", said.err);
    let lines: Vec<&str> = said.out.lines().map(str::trim_end).collect();
    let expected = lines.iter().position(|line| line.contains("expected   -----")).unwrap();
    let mark = lines[expected + 2];
    assert_eq!(mark.trim(), "^");
    let place = mark.find('^').unwrap();
    assert_eq!(lines[expected].as_bytes()[place], b'S', "{}", said.out);
    assert_eq!(lines[expected + 1].as_bytes()[place], b'-', "{}", said.out);
    assert!(
        said.out.contains("step 10 (after 1m 30s): expected `S` (a shift), done `-` (nothing)")
    );
    assert!(
        said.out.contains("held by NotSustained: `us-east-2` has been bad since"),
        "{}",
        said.out
    );
    assert!(said.out.ends_with("0 passed, 1 failed\n"), "{}", said.out);
}

#[test]
fn json_says_the_same_to_programs() {
    let said = test(&with_tests(WRONG), &["--format", "json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.status, &json["ok"]), (1, &Value::Bool(false)));
    let case = &json["files"][0]["tests"][0];
    assert_eq!(case["passed"], false);
    assert_eq!(case["done"], "------------S-");
    assert_eq!(case["faults"][0]["step"], 9);
    assert_eq!(case["ends"]["us-west-2"], 100);
    assert!(case["shown"]["holds"][0]["not_sustained"].is_object(), "{case:#}");
}

#[test]
fn junit_is_whole_whatever_a_case_is_called() {
    let said = test(&with_tests(WRONG), &["--format", "junit"]);
    assert_eq!(said.status, 1);
    assert!(said.out.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>"));
    assert!(
        said.out
            .contains("<testsuite name=\"policy.yaml\" tests=\"1\" failures=\"1\" errors=\"0\">")
    );
    assert!(
        said.out.contains("<testcase name=\"moves &lt;too&gt; &quot;early&quot; &amp; fails\"")
    );
    assert!(said.out.contains("<failure message=\"step 10 (after 1m 30s)"), "{}", said.out);
    for (open, close) in [("<testcase", "</testcase>"), ("<failure", "</failure>")] {
        assert_eq!(said.out.matches(open).count(), said.out.matches(close).count(), "{}", said.out);
    }
}

#[test]
fn a_policy_without_tests_is_said() {
    let said = test(&with_tests(""), &[]);
    assert_eq!(said.status, 0);
    assert!(said.out.contains("policy.yaml: `courses` has no tests"), "{}", said.out);
    assert!(said.out.contains("0 passed, 0 failed, 1 policy without tests"), "{}", said.out);
}

#[test]
fn a_policy_that_is_not_valid_fails_with_its_place() {
    let tests = "tests:\n  - { name: one, expect: \"--\", holds: [Coldown] }\n";
    for format in ["text", "json", "junit"] {
        let said = test(&with_tests(tests), &["--format", format]);
        assert_eq!(said.status, 1, "{format}: {}", said.out);
        assert!(said.out.contains("unknown-hold") || format == "junit", "{format}: {}", said.out);
        assert!(said.out.contains("did you mean `Cooldown`?"), "{format}: {}", said.out);
    }
}

#[test]
fn a_case_is_explained_step_by_step() {
    let said = test(
        &example("region-loss.yaml"),
        &["--explain", "the region is dark, and its counters with it"],
    );
    assert_eq!(said.status, 0, "{}", said.err);
    let rows = said.out.lines().filter(|line| line.contains("us-east-2=") && !line.contains('`'));
    assert_eq!(rows.count(), 18, "one for each step: {}", said.out);
    for words in ["x?   2m 20s  S", "held by NotSustained", "found RegionDown `us-east-2`"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = test(&example("region-loss.yaml"), &["--explain", "silence proves nothin"]);
    assert_eq!(said.status, 1);
    assert!(said.err.contains("did you mean `silence proves nothing`?"), "{}", said.err);
}

#[test]
fn what_was_never_found_never_held_or_ends_elsewhere_fails() {
    let seen = "seen: { us-east-2: \"xxxxxxxxxxxxxx\" }";
    let found = play(&format!("{{ name: a, {seen}, finds: [RegionDown, ZoneFault] }}"));
    assert_eq!(found.faults, [Fault::NotFound { diagnosis: "ZoneFault".to_owned() }]);
    let held = play(&format!("{{ name: a, {seen}, holds: [NotSustained, Latched] }}"));
    assert_eq!(held.faults, [Fault::NotHeld { hold: "Latched".to_owned() }]);
    let ended = play(&format!("{{ name: a, {seen}, ends: {{ us-east-2: 1, us-west-2: 100 }} }}"));
    assert!(
        matches!(ended.faults.as_slice(), [Fault::Ends { region, .. }] if region.as_str() == "us-east-2")
    );
}

#[test]
fn any_mark_may_stand_where_nothing_is_expected() {
    let seen = "seen: { us-east-2: \"xxxxxxxxxxxxxx\" }";
    assert!(play(&format!("{{ name: a, {seen}, expect: \"-------- ..... -\" }}")).passed());
    assert!(!play(&format!("{{ name: a, {seen}, expect: \"-------- ....- -\" }}")).passed());
}

#[test]
fn the_same_case_always_ends_alike() {
    let policy = policy(
        "tests:\n  - { name: a, seen: { us-east-2: \"xxxxxxxxxxxxxx\" }, holds: [NotSustained] }\n",
    );
    let first = scenario::run(&policy, drawn(&policy)).unwrap();
    assert_eq!(first, scenario::run(&policy, drawn(&policy)).unwrap());
    let step = &first.steps[3];
    assert_eq!(step.at.since(drawn(&policy).begins).as_secs(), 30, "of the step's first round");
}

#[test]
fn a_change_that_stays_pending_is_not_done_twice() {
    let line = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let pending = line.replace('x', "p");
    let ran = play(&format!(
        "{{ name: a, seen: {{ us-east-2: \"{line}\" }}, control_plane: \"{pending}\", holds: [ChangeStuck] }}"
    ));
    assert_eq!(ran.line().matches('S').count(), 1, "{}", ran.line());
}
