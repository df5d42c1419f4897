//! Recorded outages: the world and the judge of this crate against those of the trace format, and traces
//! as tests of policies.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leeward::scenario::trace::{self, Trace, World};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

fn open() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("open")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), 18);
    paths
}

fn load(path: &Path) -> Trace {
    let bytes = std::fs::read(path).unwrap();
    trace::load(&bytes, &path.display().to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// Each line that a script prints, as JSON.
fn lines(script: &str, arguments: &[&str]) -> Vec<Value> {
    let done = Command::new("python3").arg(folder().join(script)).args(arguments).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Where two values differ, numbers compared as numbers.
fn difference(a: &Value, b: &Value, way: &str) -> Option<String> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64() => None,
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => x
            .iter()
            .zip(y)
            .enumerate()
            .find_map(|(n, (x, y))| difference(x, y, &format!("{way}[{n}]"))),
        (Value::Object(x), Value::Object(y)) if x.len() == y.len() => {
            x.iter().find_map(|(key, x)| {
                difference(x, y.get(key).unwrap_or(&Value::Null), &format!("{way}.{key}"))
            })
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{way}: {a} and {b}")),
    }
}

#[test]
fn both_worlds_show_the_same_to_the_last_decimal() {
    for path in open() {
        let trace = load(&path);
        let mut world = World::new(&trace);
        for theirs in lines("check.py", &["--expand", path.to_str().unwrap()]) {
            let ours = world.observe();
            if let Some(difference) = difference(&ours, &theirs, "") {
                panic!("{} at {}: {difference}", path.display(), world.now());
            }
            world.advance();
        }
        assert!(world.is_over(), "{}", path.display());
    }
}

/// Doing nothing, the ideal run, what naive controllers do, and what nobody would do.
#[test]
fn both_judges_say_the_same_of_every_reference_run() {
    let paths = open();
    let arguments: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let runs = lines("verdicts.py", &arguments);
    let (mut passed, mut failed) = (0, 0);
    for run in &runs {
        let trace = load(Path::new(run["path"].as_str().unwrap()));
        let mut world = World::new(&trace);
        let mut actions = run["actions"].as_array().unwrap().iter().peekable();
        while !world.is_over() {
            let now = world.now();
            while let Some(action) = actions.next_if(|a| a["t"].as_u64().unwrap() <= now) {
                world.act(action);
            }
            world.advance();
        }
        let ours: Vec<Value> = world
            .judge()
            .into_iter()
            .map(|v| serde_json::json!([v.label, v.hard, v.met, v.detail]))
            .collect();
        let name = format!("{}: {}", run["path"], run["run"]);
        assert_eq!(Value::Array(ours), run["verdicts"], "{name}");
        let (ours, theirs) = (world.lost_user_minutes(), run["lost"].as_f64().unwrap());
        assert!((ours - theirs).abs() <= 1e-6 * theirs.max(1.0), "{name}: {ours} and {theirs}");
        let all_met =
            run["verdicts"].as_array().unwrap().iter().all(|v| v[1] == false || v[2] == true);
        if all_met { passed += 1 } else { failed += 1 }
    }
    assert!(passed >= 18 && failed >= 36, "{passed} passed, {failed} failed: nothing is compared");
}

/// Where the value of `trace` stands in the policy of [`test`].
fn place() -> String {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let text = std::fs::read_to_string(policies.join("region-loss.yaml")).unwrap();
    let before = text.split_once("\ntests:").unwrap().0.lines().count();
    format!("policy.yaml:{}:12: ", before + 3)
}

struct Said {
    status: i32,
    out: String,
    err: String,
}

/// The policy `region-loss.yaml` with one test, and beside it a trace, run by the real binary.
fn test(lines: &str, trace: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let text = std::fs::read_to_string(policies.join("region-loss.yaml")).unwrap();
    let (policy, _) = text.split_once("\ntests:").unwrap();
    let policy = format!("{policy}\ntests:\n  - name: recorded\n{lines}");
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    std::fs::create_dir(folder.path().join("traces")).unwrap();
    std::fs::write(folder.path().join("traces/one.json"), trace).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeward"));
    command.current_dir(folder.path()).arg("test").args(arguments);
    let output = command.stdin(Stdio::null()).env_clear().output().unwrap();
    Said {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

const MAPPED: &str =
    "    trace: traces/one.json\n    regions: { east: us-east-2, west: us-west-2 }\n";

fn region_loss() -> String {
    std::fs::read_to_string(folder().join("open/open-01-clean-region-loss.json")).unwrap()
}

/// The same trace with other expectations.
fn demanding(expect: &str) -> String {
    let mut trace: Value = serde_json::from_str(&region_loss()).unwrap();
    trace["expect"] = serde_json::from_str(expect).unwrap();
    trace.to_string()
}

#[test]
fn a_trace_is_a_test_of_a_policy() {
    let said = test(MAPPED, &region_loss(), &["policy.yaml"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains("passed  recorded (10 of 10 met, lost "), "{}", said.out);
    assert!(said.out.ends_with("1 passed, 0 failed\n"), "{}", said.out);
}

#[test]
fn what_a_trace_demands_and_is_not_done_fails_with_its_reason() {
    let trace = demanding(
        r#"[{"kind": "no_shift", "from_t": 0, "to_t": 7200, "why": "it is <only> a drill"}]"#,
    );
    let said = test(MAPPED, &trace, &["policy.yaml"]);
    assert_eq!(said.status, 1, "{}", said.out);
    for words in [
        "FAILED  recorded (line ",
        "no_shift: tried to move traffic at 10",
        "because: it is <only> a drill",
        "weights us-east-2=0 us-west-2=100",
        "page about ",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = test(MAPPED, &trace, &["policy.yaml", "--format", "json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let case = &json["files"][0]["tests"][0];
    assert_eq!((&json["ok"], &case["passed"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!(case["verdicts"][3]["kind"], "no_shift");
    assert_eq!(
        (&case["verdicts"][3]["met"], &case["verdicts"][3]["counts"]),
        (&false.into(), &true.into())
    );
    let said = test(MAPPED, &trace, &["policy.yaml", "--format", "junit"]);
    assert!(said.out.contains("failures=\"1\" errors=\"0\""), "{}", said.out);
    assert!(said.out.contains("because: it is &lt;only&gt; a drill"), "{}", said.out);
    // Whoever does not share that demand says so, and is told that it was not met.
    let without = format!("{MAPPED}    without: [no_shift]\n");
    let said = test(&without, &trace, &["policy.yaml"]);
    assert_eq!(said.status, 0, "{}", said.out);
    assert!(said.out.contains("not counted: no_shift"), "{}", said.out);
}

#[test]
fn what_a_test_expects_besides_its_trace_counts_as_well() {
    let more = format!(
        "{MAPPED}    finds: [ZoneFault]\n    holds: [Latched]\n    ends: {{ us-east-2: 7 }}\n"
    );
    let said = test(&more, &region_loss(), &["policy.yaml"]);
    assert_eq!(said.status, 1);
    for words in [
        "`ZoneFault` was found in no round",
        "`Latched` held in no round",
        "`us-east-2` ends with weight 0, expected 7",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
}

#[test]
fn a_controller_that_may_do_nothing_fails_the_trace() {
    let said = test(&format!("{MAPPED}    mode: observe\n"), &region_loss(), &["policy.yaml"]);
    assert_eq!(said.status, 1);
    assert!(
        said.out.contains("shift: at 1140 only 0.00 of the share on us-west-2"),
        "{}",
        said.out
    );
}

#[test]
fn names_and_shares_that_do_not_fit_point_to_the_line_of_the_test() {
    let place = place();
    for (lines, words) in [
        (
            "    trace: traces/one.json\n",
            "region `east` of the trace is none of this policy\n  help: say which it is: `regions: { east: us-east-2 | us-west-2 }`",
        ),
        (
            "    trace: traces/one.json\n    regions: { est: us-east-2, west: us-west-2 }\n",
            "`est` is not a region of the trace\n  help: its regions are `east`, `west`",
        ),
        (
            "    trace: traces/one.json\n    regions: { west: us-east-2, east: us-west-2 }\n",
            "`us-west-2` begins with 100% of the traffic in the trace, and has 0% in this policy",
        ),
        ("    trace: traces/two.json\n", "read the trace `traces/two.json`: "),
    ] {
        let said = test(lines, &region_loss(), &["policy.yaml"]);
        assert_eq!(said.status, 1, "{}", said.out);
        let flat: String = said.out.lines().map(|line| line.trim().to_owned() + "\n").collect();
        let words: String = words.lines().map(str::trim).collect::<Vec<_>>().join("\n");
        assert!(flat.contains(&format!("{place}{words}")), "{words}: {}", said.out);
    }
    let said = test("    trace: traces/two.json\n", "", &["policy.yaml", "--format", "junit"]);
    assert!(said.out.contains("failures=\"0\" errors=\"1\""), "{}", said.out);
}

#[test]
fn mistakes_in_a_trace_have_their_places_all_of_them() {
    let trace =
        region_loss().replace("\"max_shifts\"", "\"max_shfits\"").replace("\"seen\"", "\"sen\"");
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let trace = format!("{trace:#}");
    let said = test(MAPPED, &trace, &["policy.yaml"]);
    assert_eq!(said.status, 1);
    for words in [
        &format!("{}the trace cannot be played:", place()),
        "`max_shfits` is not an expectation",
        "help: did you mean `max_shifts`?",
        "`sen` is not known here",
        "help: did you mean `seen`?",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let line = trace.lines().position(|line| line.contains("max_shfits")).unwrap() + 1;
    assert!(said.out.contains(&format!("one.json:{line}:")), "{line}: {}", said.out);
    let said = test(MAPPED, "{\n \"format\": outage", &["traces/one.json"]);
    assert_eq!(said.status, 1);
    assert!(said.out.contains("traces/one.json:2:12: not JSON: expected value"), "{}", said.out);
}

type Change = fn(&mut Value);

#[test]
fn what_is_not_known_of_a_trace_is_refused() {
    let whole: Value = serde_json::from_str(&region_loss()).unwrap();
    let changes: [(Change, &str); 8] = [
        (|t| t["expect"][0]["kind"] = "be_nice".into(), "`be_nice` is not an expectation"),
        (|t| t["expect"][0]["until"] = 3.into(), "`until` is not known here"),
        (|t| t["intent"]["hurry"] = true.into(), "`hurry` is not known here"),
        (|t| t["levers"][0] = "teleport".into(), "`teleport` is not a lever"),
        (|t| t["phases"][1]["regions"]["north"] = serde_json::json!({}), "`north` is not a region"),
        (|t| t["phases"][1]["t"] = 0.into(), "phases begin at 0 and rise"),
        (|t| t["tick_s"] = 7.into(), "is not a whole number of ticks"),
        (|t| t["duration_s"] = 90_000_000.into(), "more than 20000 ticks"),
    ];
    for (change, words) in changes {
        let mut trace = whole.clone();
        change(&mut trace);
        let error = trace::load(trace.to_string().as_bytes(), "one.json").unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    let (deep, long) = (vec![b'['; 100_000], vec![b' '; 1 << 21]);
    for bytes in [&b""[..], b"[]", b"{}", b"null", b"\xff", &deep, &long] {
        let error = trace::load(bytes, "one.json").unwrap_err();
        assert!(!error.mistakes.is_empty());
    }
}

#[test]
fn a_trace_is_played_alone_and_explained() {
    let said = test(MAPPED, &region_loss(), &["traces/one.json"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains("passed  open-01-clean-region-loss (10 of 10 met"), "{}", said.out);
    for (path, name) in
        [("traces/one.json", "open-01-clean-region-loss"), ("policy.yaml", "recorded")]
    {
        let said = test(MAPPED, &region_loss(), &[path, "--explain", name]);
        assert_eq!(said.status, 0, "{}", said.err);
        for words in
            ["found RegionDown", "held by NotSustained", "> weights ", "met             shift: "]
        {
            assert!(said.out.contains(words), "{words}: {}", said.out);
        }
    }
}

/// Nothing of the progress may stand between the data.
#[test]
fn progress_is_not_in_the_output_and_short_runs_say_nothing() {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for arguments in [&["--format", "json"][..], &["--format", "json", "--quiet"]] {
        let path = policies.join("region-loss.yaml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_leeward"));
        let output = command.arg("test").arg(path).args(arguments).output().unwrap();
        assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok());
        if arguments.contains(&"--quiet") {
            assert!(output.stderr.is_empty());
        }
    }
}
