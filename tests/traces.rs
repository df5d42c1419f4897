//! Outage traces in closed loop: the reference world judges what the real round does.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use leeward::scenario::trace::{self, Ran};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

fn python(script: &str, arguments: &[&str]) {
    let done = Command::new("python3").arg(folder().join(script)).args(arguments).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Who judges a run.
#[derive(Clone, Copy, PartialEq)]
enum Judges {
    /// The reference world and judge, around the real program.
    Theirs,
    /// Ours as well, in this process: not a word may differ.
    Both,
}

/// Plays every trace of a folder, two at a time, and gives the reports of those that failed.
fn play_all(traces: &Path, judges: Judges) -> (usize, Vec<String>) {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(traces).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let report = play(path, judges);
                    if let Err(report) = report {
                        failed.lock().unwrap().push(format!("{}:\n{report}", path.display()));
                    }
                }
            });
        }
    });
    (paths.len(), failed.into_inner().unwrap())
}

fn play(trace: &Path, judges: Judges) -> Result<(), String> {
    let state = tempfile::tempdir().unwrap();
    let done = Command::new("python3")
        .arg(folder().join("check.py"))
        .arg("--play")
        .arg(trace)
        .args([env!("CARGO_BIN_EXE_leeward"), "play", "--state"])
        .arg(state.path().join("journal"))
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    if judges == Judges::Both {
        let alone = told(&trace::run_alone(&load(trace)).unwrap());
        if alone != text {
            return Err(format!("judged in two ways:\n{text}\n{alone}"));
        }
    }
    // A report without its closing line is a player that broke, not an outage that passed.
    if done.status.success() && text.contains("; PASSED") {
        return Ok(());
    }
    Err(text.lines().filter(|line| !line.starts_with("pass")).collect::<Vec<_>>().join("\n"))
}

fn load(path: &Path) -> trace::Trace {
    let bytes = std::fs::read(path).unwrap();
    trace::load(&bytes, &path.display().to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// As the reference judge prints it.
fn told(ran: &Ran) -> String {
    let mut text = String::new();
    for one in &ran.verdicts {
        let word = if one.met {
            "pass"
        } else if one.hard {
            "FAIL"
        } else {
            "soft"
        };
        writeln!(text, "{word} {:28} {}", one.label, one.detail).unwrap();
    }
    let failed = ran.failed().count();
    let end = if failed > 0 { format!("FAILED ({failed})") } else { "PASSED".to_owned() };
    text + &format!("lost {:.0} user-minutes; {end}\n", ran.lost_user_minutes)
}

#[test]
fn every_open_trace_passes() {
    let (count, failed) = play_all(&folder().join("open"), Judges::Both);
    assert_eq!(count, 18);
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Other names, other times, other sizes, other noise: nothing is fitted to a trace. They are judged once:
/// whether both judges agree on what happens in them is told by the open traces.
#[test]
fn changed_traces_pass_as_well() {
    let changed = tempfile::tempdir().unwrap();
    let out = changed.path().to_str().unwrap();
    let open = folder().join("open");
    let traces: Vec<String> =
        std::fs::read_dir(open).unwrap().map(|e| e.unwrap().path().display().to_string()).collect();
    let mut arguments: Vec<&str> = traces.iter().map(String::as_str).collect();
    arguments.extend(["--out", out, "--changed", "--seeds", "1"]);
    python("vary.py", &arguments);
    let (count, failed) = play_all(changed.path(), Judges::Theirs);
    assert_eq!(count, 36);
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn outages_of_other_kinds_pass() {
    let more = tempfile::tempdir().unwrap();
    for script in ["more.py", "rare.py"] {
        python(script, &[more.path().to_str().unwrap()]);
    }
    let (count, failed) = play_all(more.path(), Judges::Both);
    assert!(count >= 70, "only {count} traces");
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// A player that does nothing fails: the judge bites.
#[test]
fn doing_nothing_fails() {
    let idle = r#"import sys
sys.stdin.readline()
for line in sys.stdin: print("[]", flush=True)"#;
    let trace = folder().join("open/open-01-clean-region-loss.json");
    let done = Command::new("python3")
        .arg(folder().join("check.py"))
        .arg("--play")
        .arg(trace)
        .args(["python3", "-c", idle])
        .output()
        .unwrap();
    assert!(!done.status.success());
    assert!(String::from_utf8_lossy(&done.stdout).contains("FAILED"));
}
