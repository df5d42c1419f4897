//! The command line as scripts and people meet it: the real binary, its streams and its exit status.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use leeward::domain::Timestamp;
use leeward::journal::{Journal, Log as _};
use leeward::memory::Entry;
use serde_json::Value;

use crate::service::bench::policy_text;

fn leeward(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeward"));
    command.args(arguments).stdin(Stdio::null()).env_clear().env("USER", "ana");
    if cfg!(feature = "aws") {
        // Nothing answers there: no test may reach the real thing.
        command.env("LEEWARD_ENDPOINTS", "route53=http://127.0.0.1:1,elbv2=http://127.0.0.1:1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    }
    command
}

struct Said {
    status: i32,
    out: String,
    err: String,
}

fn said(output: &Output) -> Said {
    Said {
        status: output.status.code().expect("an exit status"),
        out: String::from_utf8(output.stdout.clone()).unwrap(),
        err: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

fn run(arguments: &[&str]) -> Said {
    said(&leeward(arguments).output().unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A state directory in which `shop` has run, with a line for each of `entries`.
fn state_with(entries: &[Entry]) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(&state.path().join("shop.journal")).unwrap();
    for (second, entry) in (1_795_230_000..).zip(entries) {
        journal.append(Timestamp::from_secs(second), entry).unwrap();
    }
    state
}

fn started() -> Entry {
    Entry::Started { version: "0.1.0".to_owned() }
}

fn policy_file() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.yaml");
    std::fs::write(&path, policy_text("advise", 1)).unwrap();
    let path = text(&path).to_owned();
    (directory, path)
}

#[test]
fn help_is_data_and_names_every_command() {
    let help = run(&["--help"]);
    assert_eq!((help.status, help.err.as_str()), (0, ""));
    for command in [
        "check", "plan", "run", "status", "why", "history", "hold", "resume", "shift", "failback",
        "abort", "apply", "lab", "schema",
    ] {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command} in {}", help.out);
        let own = run(&[command, "--help"]);
        assert_eq!((own.status, own.err.as_str()), (0, ""), "{command}");
    }
    assert!(!help.out.contains("generate"), "a packager's tool is not in the way");
    assert!(help.out.contains("Exit status"));
}

#[test]
fn a_wrong_command_line_is_wrong_input_and_not_a_planned_change() {
    for arguments in [
        &[][..],
        &["pln"],
        &["plan"],
        &["plan", "x.yaml", "--nonsense"],
        &["plan", "x.yaml", "--assume", "east"],
        &["plan", "x.yaml", "--for", "soon"],
        &["run", "x.yaml"],
        &["hold", "shop"],
        &["status", "--address", "http://127.0.0.1:1", "--state", "."],
    ] {
        let said = run(arguments);
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{arguments:?}: {}", said.err);
        assert!(!said.err.is_empty());
    }
    assert!(run(&["pln"]).err.contains("'plan'"), "a slip of the fingers gets a suggestion");
}

#[test]
fn a_missing_policy_is_named_with_a_hint() {
    for command in ["plan", "run"] {
        let state = tempfile::tempdir().unwrap();
        let mut arguments = vec![command, "nowhere.yaml"];
        arguments.extend(if command == "run" {
            vec!["--state", text(state.path())]
        } else {
            vec![]
        });
        let said = run(&arguments);
        assert_eq!((said.status, said.out.as_str()), (1, ""));
        assert!(said.err.contains("read the policy `nowhere.yaml`"), "{}", said.err);
        assert!(said.err.contains("\nhint: "), "{}", said.err);
    }
}

#[test]
fn two_policies_of_one_service_do_not_run_together() {
    let (directory, path) = policy_file();
    let other = directory.path().join("other.yaml");
    std::fs::copy(&path, &other).unwrap();
    let state = tempfile::tempdir().unwrap();
    let said = run(&["run", &path, text(&other), "--state", text(state.path())]);
    assert_eq!((said.status, said.out.as_str()), (1, ""), "{}", said.err);
    assert!(said.err.contains("both are policies of `shop`"), "{}", said.err);
}

#[test]
fn an_address_that_is_taken_is_our_trouble_with_a_hint() {
    let (_directory, path) = policy_file();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let state = tempfile::tempdir().unwrap();
    let said = run(&["run", &path, "--listen", &address, "--state", text(state.path())]);
    assert_eq!((said.status, said.out.as_str()), (5, ""), "{}", said.err);
    assert!(said.err.contains("hint: choose another address"), "{}", said.err);
}

#[test]
fn an_invalid_policy_is_refused_with_its_place() {
    let (directory, _) = policy_file();
    let path = directory.path().join("bad.yaml");
    std::fs::write(&path, policy_text("advise", 1).replace("role: standby", "role: spare"))
        .unwrap();
    let said = run(&["plan", text(&path)]);
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    assert!(
        said.err.contains("is not a valid policy") && said.err.contains("spare"),
        "{}",
        said.err
    );
}

#[test]
fn a_plan_that_cannot_read_the_records_says_so_and_is_our_trouble() {
    let (_directory, path) = policy_file();
    let said = run(&["plan", &path, "--assume", "east=down", "--assume", "west=well"]);
    assert_eq!(said.status, 5, "{}{}", said.out, said.err);
    assert!(said.out.contains("because    RegionDown east"), "{}", said.out);
    assert!(said.out.contains("holds      the records could not be read"), "{}", said.out);
    assert!(said.out.contains("nothing was changed"), "{}", said.out);
}

#[test]
fn a_plan_for_a_program_is_one_json_value_and_nothing_else() {
    let (_directory, path) = policy_file();
    let all = ["--assume", "east=well", "--assume", "west=well", "--format", "json"];
    let mut arguments = vec!["plan", &path];
    arguments.extend(all);
    let said = run(&arguments);
    let value: Value = serde_json::from_str(&said.out).expect("JSON on stdout");
    assert_eq!(value["changed"], Value::Bool(false));
    assert_eq!(value["assumed"][0], "east=well");
    assert!(value["decision"]["regions"]["east"]["reading"] == "good", "{}", said.out);
}

#[test]
fn an_assumption_about_an_unknown_region_names_the_known_ones() {
    let (_directory, path) = policy_file();
    let said = run(&["plan", &path, "--assume", "north=down"]);
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    assert!(said.err.contains("`north` is not a region"), "{}", said.err);
    assert!(said.err.contains("hint: regions: east, west"), "{}", said.err);
}

#[test]
fn a_closed_pipe_ends_the_output_and_not_the_program() {
    for arguments in [&["generate", "completions", "bash"][..], &["schema"], &["--help"]] {
        let mut child =
            leeward(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = said(&child.wait_with_output().unwrap());
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn colour_is_for_terminals_and_for_those_who_ask() {
    let state = state_with(&[started()]);
    let arguments = ["status", "--state", text(state.path())];
    let coloured = |variables: &[(&str, &str)]| {
        let decided = state_with(&[started(), decided()]);
        let arguments = ["why", "--state", text(decided.path())];
        let mut command = leeward(&arguments);
        for (name, value) in variables {
            command.env(name, value);
        }
        said(&command.output().unwrap()).out.contains('\u{1b}')
    };
    assert_eq!(run(&arguments).status, 0);
    assert!(!coloured(&[]), "a pipe gets no colour");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("NO_COLOR", "1"), ("TERM", "xterm")]));
}

fn decided() -> Entry {
    let digest = serde_json::json!({
        "findings": [{ "diagnosis": "Well", "since": 0, "evidence": ["all is well"] }],
        "holds": ["answers_unknown"], "wanted": null, "proposed": null, "split": null, "readings": {}
    });
    Entry::Decided(Box::new(serde_json::from_value(digest).unwrap()))
}

#[test]
fn the_journal_is_read_without_a_running_controller() {
    let state = state_with(&[started(), decided()]);
    let history = run(&["history", "--state", text(state.path())]);
    assert_eq!(history.status, 0, "{}", history.err);
    assert_eq!(history.out.lines().count(), 2);
    assert!(history.out.starts_with("2026-11-21T03:00:00Z      1 started"), "{}", history.out);
    let last = run(&["history", "--state", text(state.path()), "--last", "1", "--format", "json"]);
    let value: Value = serde_json::from_str(last.out.trim()).unwrap();
    assert_eq!(value["seq"], 2);
    let why = run(&["why", "shop", "--state", text(state.path())]);
    assert!(why.out.contains("flips when the records can be read"), "{}", why.out);
    let status = run(&["status", "--state", text(state.path()), "--format", "json"]);
    let value: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(value[0]["service"], "shop");
}

#[test]
fn a_service_that_is_not_there_is_wrong_input_with_the_known_ones() {
    let state = state_with(&[started()]);
    for command in
        [&["history", "--service", "shp"][..], &["why", "shp"], &["status", "--service", "shp"]]
    {
        let mut arguments = command.to_vec();
        arguments.extend(["--state", text(state.path())]);
        let said = run(&arguments);
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{command:?}");
        assert!(said.err.contains("`shp`"), "{}", said.err);
    }
}

#[test]
fn nothing_that_answers_is_our_trouble_and_hints_at_the_disk() {
    for command in ["status", "why"] {
        let said = run(&[command, "--address", "http://127.0.0.1:1"]);
        assert_eq!((said.status, said.out.as_str()), (5, ""));
        assert!(said.err.contains("hint: ") && said.err.contains("--state DIR"), "{}", said.err);
    }
}

fn hold(state: &Path, time: &str, reason: &str, service: &str) -> Said {
    run(&["hold", service, "--for", time, "--reason", reason, "--state", text(state)])
}

#[test]
fn a_hold_has_an_author_a_reason_and_an_end() {
    let state = state_with(&[started()]);
    let pin = state.path().join("shop.pin.json");
    for (time, reason) in [("8d", "upgrade"), ("0s", "upgrade"), ("-1h", "upgrade"), ("2h", "  ")] {
        let said = hold(state.path(), time, reason, "shop");
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{time} {reason}");
        assert!(!pin.exists());
    }
    let said = hold(state.path(), "2h", "upgrade", "shop");
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.contains("by ana: upgrade"), "{}", said.out);
    let value: Value = serde_json::from_str(&std::fs::read_to_string(&pin).unwrap()).unwrap();
    let length = value["until"].as_i64().unwrap() - value["since"].as_i64().unwrap();
    assert_eq!(length, 2 * 3600 * 1000);
    let status = run(&["status", "--state", text(state.path())]);
    assert!(status.out.contains("PINNED     by ana until"), "{}", status.out);
}

#[test]
fn a_hold_on_a_service_that_never_ran_here_is_refused() {
    let state = state_with(&[started()]);
    let said = hold(state.path(), "2h", "upgrade", "shpo");
    assert_eq!(said.status, 1);
    assert!(said.err.contains("hint: known here: shop"), "{}", said.err);
    assert!(!state.path().join("shpo.pin.json").exists());
}

#[test]
fn resume_lifts_a_hold_and_leaves_word_of_it() {
    let state = state_with(&[started()]);
    hold(state.path(), "2h", "upgrade", "shop");
    let arguments =
        ["resume", "shop", "--reason", "done", "--unlatch", "--state", text(state.path())];
    let said = run(&arguments);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.contains("no longer held; the latch opens"), "{}", said.out);
    assert!(!state.path().join("shop.pin.json").exists());
    let word = std::fs::read_to_string(state.path().join("shop.resume.json")).unwrap();
    let word: Value = serde_json::from_str(&word).unwrap();
    assert_eq!((&word["by"], &word["unlatch"]), (&"ana".into(), &true.into()));
    assert!(run(&arguments).out.contains("was not held"));
}

#[test]
fn packagers_get_completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["generate", "completions", shell]);
        assert_eq!(script.status, 0);
        assert!(script.out.contains("leeward"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(run(&["generate", "man", text(directory.path())]).status, 0);
    for page in ["leeward.1", "leeward-plan.1", "leeward-hold.1"] {
        assert!(directory.path().join(page).exists(), "{page}");
    }
}

#[test]
fn words_for_the_public_are_refused_while_no_page_would_show_them() {
    let publish = |state: &Path, more: &[&str]| {
        let all = ["status-page", "publish", "shop", "--state", text(state)];
        run(&[&all, more].concat())
    };
    let calm = state_with(&[started()]);
    let over = [started(), Entry::Incident { open: true }, Entry::Incident { open: false }];
    for state in [calm, state_with(&over)] {
        for more in [&["--text", "We are upgrading."][..], &[]] {
            let said = publish(state.path(), more);
            assert_eq!((said.status, said.out.as_str()), (3, ""), "{}", said.err);
            assert!(said.err.contains("no incident is open"), "{}", said.err);
            assert!(said.err.contains("\nhint: send them when"), "{}", said.err);
            assert!(!state.path().join("shop.words.json").exists(), "nothing waits for later");
        }
    }
    let open = state_with(&[started(), Entry::Incident { open: true }]);
    let said = publish(open.path(), &["--text", "We are on it."]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(open.path().join("shop.words.json").exists());
    // It is over, and the public has not heard so.
    let told = leeward::bulletin::Bulletin {
        at: Timestamp::from_secs(1),
        components: [("shop".to_owned(), leeward::bulletin::Light::Degraded)].into(),
        incident: Some(("shop-1".to_owned(), Timestamp::from_secs(1))),
        update: None,
        blind: None,
        unworded: false,
    };
    let worded = Entry::Worded { by: "ana".to_owned(), bulletin: Box::new(told) };
    let untold = state_with(&[
        started(),
        Entry::Incident { open: true },
        worded,
        Entry::Incident { open: false },
    ]);
    let said = publish(untold.path(), &["--phase", "resolved"]);
    assert_eq!(said.status, 0, "{}", said.err);
}
