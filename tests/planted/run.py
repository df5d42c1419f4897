#!/usr/bin/env python3
"""run.py - does a test notice when the controller is broken on purpose?

  run.py [--keep] [--aws] [NAME...]     all faults of faults*.txt, or these

With --aws, or where a fault is in src/aws, the AWS SDK is built as well, which takes longer unless it is built
already.

Copies the crate beside itself, puts every fault into the copy (asleep), builds the tests once, sees that the
expected tests pass while all faults sleep, and runs them again with one fault awake at a time. Prints a table in
Markdown: which test caught which fault. With all faults it is also written to table.md. The copy, and its target
directory, are removed unless --keep. Standard library only. Exit status 1 if a fault survives.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT_S = 900
ASLEEP = '''
/// Whether this fault is awake.
pub(crate) fn planted(name: &str) -> bool {
    static AWAKE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    AWAKE.get_or_init(|| std::env::vars().find(|(key, _)| key == "PLANTED").map(|(_, name)| name)).as_deref()
        == Some(name)
}
'''


def read():
    faults = []
    lists = sorted(HERE.glob("faults*.txt"))
    parts = [part for one in lists for part in one.read_text().split("\nfault: ")[1:]]
    for part in parts:
        name, rest = part.split("\n", 1)
        fault = {"name": name.strip()}
        for line in rest.strip().splitlines():
            key, value = line.split(": ", 1)
            fault[key] = value
        missing = {"why", "file", "tests", "is", "becomes"} - set(fault)
        if missing:
            sys.exit("%s lacks %s" % (name, ", ".join(sorted(missing))))
        faults.append(fault)
    return faults


def plant(copy, faults):
    for fault in faults:
        path = copy / fault["file"]
        text = path.read_text()
        if text.count(fault["is"]) != 1:
            sys.exit("%s: found %d times in %s, expected once: %s"
                     % (fault["name"], text.count(fault["is"]), fault["file"], fault["is"]))
        awake = 'crate::planted("%s")' % fault["name"]
        if "PLANTED" in fault["becomes"]:
            new = fault["becomes"].replace("PLANTED", awake)
        else:
            new = "(if %s { %s } else { %s })" % (awake, fault["becomes"], fault["is"])
        path.write_text(text.replace(fault["is"], new))
    lib = copy / "src/lib.rs"
    lib.write_text(lib.read_text() + ASLEEP)


def build(copy, features):
    """The paths of the two test binaries."""
    command = ["cargo", "test", "--no-run", "--lib", "--test", "all"] + features
    done = subprocess.run(command, cwd=copy,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout[-6000:])
    found = dict(re.findall(r"Executable (?:unittests )?(src/lib\.rs|tests/main\.rs) \((.+)\)", done.stdout))
    return {"lib": found["src/lib.rs"], "all": found["tests/main.rs"]}


def run(copy, binaries, which, name=None):
    """The tests that fail, of those that are expected to. None of them may hang for ever."""
    kind, pattern = ("lib", which[4:]) if which.startswith("lib:") else ("all", which)
    env = dict(os.environ, CARGO_MANIFEST_DIR=str(copy))
    if name:
        env["PLANTED"] = name
    try:
        done = subprocess.run([str(copy / binaries[kind]), pattern], cwd=copy, env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return ["%s (hangs)" % pattern]
    ran = re.search(r"running (\d+) test", done.stdout)
    if not ran or ran.group(1) == "0":
        sys.exit("no test is called `%s`" % which)
    # They end in another order every time, and the table should change only if something did.
    failed = sorted(re.findall(r"^test (\S+) .*\.\.\. FAILED$", done.stdout, re.M))
    return failed or (["%s (dies)" % pattern] if done.returncode != 0 else [])


def main(argv):
    keep = "--keep" in argv
    names = [a for a in argv if not a.startswith("--")]
    faults = read()
    unknown = set(names) - {f["name"] for f in faults}
    if unknown:
        sys.exit("no fault is called %s" % ", ".join(sorted(unknown)))
    chosen = [f for f in faults if not names or f["name"] in names]
    scratch = pathlib.Path(os.environ.get("PLANTED_DIR") or tempfile.mkdtemp(prefix="planted-", dir=ROOT.parent))
    copy = scratch / "crate"
    if copy.exists():
        for entry in copy.iterdir():
            if entry.name != "target":
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("target", ".git", ".venv"), dirs_exist_ok=True)
    if (ROOT / ".venv").exists():
        # The wire servers.
        (copy / ".venv").symlink_to((ROOT / ".venv").resolve())
    try:
        plant(copy, chosen)
        edge = "--aws" in argv or any(f["file"].startswith("src/aws/") for f in chosen)
        binaries = build(copy, [] if edge else ["--no-default-features"])
        asleep = {}
        for which in sorted({w for f in chosen for w in f["tests"].split()}):
            asleep[which] = run(copy, binaries, which)
            if asleep[which]:
                sys.exit("fails with no fault awake: %s" % ", ".join(asleep[which]))
        lines, survivors = [], 0
        for fault in chosen:
            caught = []
            for which in fault["tests"].split():
                caught = run(copy, binaries, which, fault["name"])
                if caught:
                    break
            survivors += not caught
            by = "`%s`" % caught[0] if caught else "**nothing**"
            more = " and %d more" % (len(caught) - 1) if len(caught) > 1 else ""
            lines.append("| `%s` | %s | %s%s |" % (fault["name"], fault["why"], by, more))
            print(lines[-1], flush=True)
        print("%d of %d faults caught" % (len(chosen) - survivors, len(chosen)))
        if not names:
            head = "# Planted faults\n\nWritten by `tests/planted/run.py`: each fault of `faults*.txt`, and what noticed it.\n\n"
            table = "| fault | why it would hurt | caught by |\n|---|---|---|\n" + "\n".join(lines) + "\n"
            (HERE / "table.md").write_text(head + table)
        return 1 if survivors else 0
    finally:
        if not keep:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
