//! `leeward check` and `leeward schema`, as a person or a pipeline calls them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn mistake(name: &str) -> PathBuf {
    root().join("tests/bad-policies").join(name)
}

fn leeward(arguments: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leeward"))
        .args(arguments)
        .args(paths)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_folder_of_right_policies_is_right() {
    let output = leeward(&["check", "--deny-warnings"], &[&root().join("policies")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let files = std::fs::read_dir(root().join("policies")).unwrap();
    let policies =
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "yaml"));
    assert_eq!(said(&output).matches("is valid").count(), policies.count());
    assert!(output.stderr.is_empty());
}

#[test]
fn one_wrong_policy_fails_all() {
    let right = root().join("policies/last-resort.yaml");
    let output = leeward(&["check"], &[&right, &mistake("unknown-mode.yaml")]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("unknown-mode.yaml:3:7"), "{said}");
    assert!(said.contains("last-resort.yaml: `news` is valid"), "{said}");
    assert!(said.trim_end().ends_with("1 error, 0 warnings"), "{said}");
    assert!(!said.contains('\u{1b}'), "colour in a pipe: {said}");
}

#[test]
fn warnings_fail_only_if_they_are_denied() {
    let hazard = mistake("ttl-longer-than-the-look.yaml");
    let output = leeward(&["check"], &[&hazard]);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("warning[long-ttl]"));
    let output = leeward(&["check", "--deny-warnings"], &[&hazard]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn programs_get_places_and_codes() {
    let files = [mistake("many-mistakes-at-once.yaml"), mistake("file-is-empty.yaml")];
    let output = leeward(&["check", "--format", "json"], &[&files[0], &files[1]]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["ok"], false);
    let problems = json["files"][0]["problems"].as_array().unwrap();
    let codes: Vec<&str> = problems.iter().map(|p| p["code"].as_str().unwrap()).collect();
    let expected = [
        "unknown-choice",
        "malformed",
        "carries-sum",
        "unknown-region",
        "malformed",
        "bad-ramp",
        "latch-too-early",
        "bad-window",
    ];
    assert_eq!(codes, expected);
    assert_eq!((&problems[0]["line"], &problems[0]["column"]), (&3.into(), &7.into()));
    assert_eq!(problems[0]["severity"], "error");
    assert_eq!(problems[0]["help"][0], "did you mean `mode: auto`?");
    assert_eq!(json["files"][1]["problems"][0]["code"], "empty");
    assert_eq!(json["files"][1]["problems"][0].get("line"), None);
}

#[test]
fn what_cannot_be_read_is_said_with_its_name() {
    let output = leeward(&["check"], &[&root().join("policies/none.yaml")]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("policies/none.yaml"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let output = leeward(&["check"], &[folder.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no policy"));
}

#[test]
fn the_schema_is_printed() {
    let output = leeward(&["schema"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "Leeward policy");
    let required = schema["required"].as_array().unwrap();
    for field in ["version", "service", "regions", "levers", "judge", "shift", "failback", "guards"]
    {
        assert!(required.contains(&field.into()), "{field}");
    }
    for field in ["mode", "vantages", "refresh", "tell"] {
        assert!(!required.contains(&field.into()), "{field}");
    }
    assert!(said(&leeward(&["schema", "--markdown"], &[])).contains("## Guards"));
}
