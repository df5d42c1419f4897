//! Fences: who may import whom, what the core may not do, sizes, and nothing left lying about.
//!
//! The table of imports is read out of `src/ARCHITECTURE.md`, so that text and test cannot differ.

pub(crate) mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{Source, is, sources, walk};

/// Pure: no waiting, no clock, no IO, no chance, no logging, no order that differs from run to run.
const CORE: &[&str] = &["domain", "tell", "policy", "health", "plan", "memory", "decide"];

/// No file is longer, but for these.
const LINES_MAX: usize = 900;
const LONG_FILES: &[(&str, &str)] = &[
    ("tests/traces/check.py", "the judge of the traces: one file, so that it can be carried away"),
    ("policies/README.md", "written by `leeward schema --markdown`, one part after the other"),
    ("tests/timeline.rs", "one drawing after the other"),
    ("src/policy/raw.rs", "the language: one declaration after the other"),
    ("src/memory.rs", "what each entry of the journal means, one arm after the other"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with all that was found, not with the first.
fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Every line of production code, as `(file, number, line)`, of the modules that are chosen.
fn lines(sources: &[Source], chosen: impl Fn(&str) -> bool) -> Vec<(String, usize, String)> {
    let chosen = sources.iter().filter(|source| chosen(source.module()));
    chosen
        .flat_map(|source| {
            let numbered = source.code.lines().zip(1..);
            numbered.map(|(line, number)| (source.path.clone(), number, line.to_owned()))
        })
        .collect()
}

/// Where production code says one of these words.
fn hits(sources: &[Source], words: &[&str], chosen: impl Fn(&str) -> bool) -> Vec<String> {
    let said = |line: &str| words.iter().any(|word| has_word(line, word));
    let found = lines(sources, chosen).into_iter().filter(|(_, _, line)| said(line));
    found.map(|(path, number, line)| format!("{path}:{number}: {}", line.trim())).collect()
}

/// True if the text has this word, not only as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let runs_on_left = part(before) && part(word.chars().next());
        let runs_on_right = part(after) && part(word.chars().last());
        !runs_on_left && !runs_on_right
    })
}

#[test]
fn words_are_whole_words() {
    assert!(has_word("use tokio::time;", "tokio"));
    assert!(has_word("x.unwrap()", ".unwrap()"));
    assert!(!has_word("my_tokio", "tokio") && !has_word("tokios", "tokio"));
}

/// The rows of the table: module, and what it may use, each `module` or `module::Item`.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    let rows = text
        .lines()
        .skip_while(|line| *line != "| Module | May use |")
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let names = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        for module in names(cells[1]) {
            let doubled = table.insert(module.clone(), names(cells[2]).into_iter().collect());
            assert!(doubled.is_none(), "`{module}` stands twice in the table");
        }
    }
    assert!(table.len() > 10, "the table of imports is gone");
    table
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let table = table();
    let mut found = Vec::new();
    let mut used: BTreeSet<(String, String)> = BTreeSet::new();
    for source in sources(root()) {
        let module = source.module().to_owned();
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        if let Some(line) = source.escape() {
            found.push(format!("{}: `{line}` leaves its module, write `crate::`", source.path));
        }
        let Some(allowed) = table.get(&module) else {
            found.push(format!("{}: `{module}` has no row in the table", source.path));
            continue;
        };
        for (to, item) in source.imports() {
            let narrow = format!("{to}::{item}");
            if to != module && !allowed.contains(&to) && !allowed.contains(&narrow) {
                found.push(format!("{}: `{module}` may not use `{narrow}`", source.path));
            }
            used.insert((module.clone(), narrow));
        }
    }
    for (module, allowed) in &table {
        let narrow = allowed.iter().filter(|name| name.contains("::"));
        for name in narrow.filter(|name| !used.contains(&(module.clone(), (*name).clone()))) {
            found.push(format!("ARCHITECTURE.md: `{module}` no longer uses `{name}`"));
        }
    }
    assert_none(&found, "the table of imports in src/ARCHITECTURE.md is law");
}

#[test]
fn every_module_has_a_row_and_every_row_a_module() {
    let listed: BTreeSet<String> = std::fs::read_to_string(root().join("src/lib.rs"))
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned()))
        .collect();
    let rows: BTreeSet<String> = table().into_keys().collect();
    assert_eq!(listed, rows);
}

#[test]
fn whole_modules_never_import_in_a_circle() {
    let table = table();
    let mut open: BTreeMap<&str, BTreeSet<&str>> = table
        .iter()
        .map(|(module, allowed)| {
            let whole = allowed.iter().map(String::as_str).filter(|name| !name.contains("::"));
            (module.as_str(), whole.collect())
        })
        .collect();
    while !open.is_empty() {
        let free: Vec<&str> = open
            .iter()
            .filter(|(_, uses)| uses.iter().all(|name| !open.contains_key(name)))
            .map(|(module, _)| *module)
            .collect();
        assert!(!free.is_empty(), "a circle among {:?}", open.keys());
        open.retain(|module, _| !free.contains(module));
    }
}

#[test]
fn the_code_map_names_what_is_there() {
    let text = std::fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    let names: BTreeSet<&str> =
        text.split('`').skip(1).step_by(2).filter(|name| is(name, "rs")).collect();
    let mut found = Vec::new();
    for name in &names {
        if !root().join("src").join(name).exists() && !root().join(name).exists() {
            found.push(format!("`{name}` is not there"));
        }
    }
    for module in table().keys() {
        if !names.contains(format!("{module}.rs").as_str()) {
            found.push(format!("`{module}.rs` is not in the map"));
        }
    }
    assert_none(&found, "the code map of src/ARCHITECTURE.md is true, and names every module");
}

#[test]
fn aws_types_stay_at_the_aws_edge() {
    let sdk = ["aws_sdk_", "aws_config", "aws_smithy_", "aws_credential_types", "aws_types"];
    let outside = lines(&sources(root()), |module| module != "aws").into_iter();
    let found: Vec<String> = outside
        .filter(|(_, _, line)| sdk.iter().any(|name| line.contains(name)))
        .map(|(path, number, line)| format!("{path}:{number}: {}", line.trim()))
        .collect();
    assert_none(&found, "the AWS SDK is used in src/aws only");
}

#[test]
fn one_file_reads_the_clock() {
    let clocks = ["SystemTime", "std::time::Instant", "jiff::Timestamp::now", "Zoned::now"];
    let found = hits(&sources(root()), &clocks, |module| module != "clock");
    assert_none(&found, "the time is read in src/clock.rs only, spans by tokio's clock");
}

#[test]
fn the_core_is_pure() {
    let words = [
        "async",
        "await",
        "tokio",
        "futures_util",
        "tracing",
        "fastrand",
        "Instant",
        "now()",
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "TcpStream",
        "UdpSocket",
        "HashMap",
        "HashSet",
        "println!",
        "eprintln!",
        "static mut",
        "OnceLock",
        "LazyLock",
    ];
    let found = hits(&sources(root()), &words, |module| CORE.contains(&module));
    assert_none(&found, "the core neither waits, reads, writes, logs nor rolls dice");
}

#[test]
fn production_code_does_not_panic_by_shorthand() {
    let found = hits(&sources(root()), &[".unwrap()", ".expect("], |_| true);
    assert_none(&found, "`unwrap` and `expect` are for tests");
}

#[test]
fn every_file_says_what_it_is_about() {
    let silent = sources(root()).into_iter().filter(|source| !source.text.starts_with("//!"));
    let silent = silent.filter(|source| !source.text.starts_with("#![doc = include_str!"));
    let found: Vec<String> = silent.map(|source| source.path).collect();
    assert_none(&found, "the first line of a file says what it is about (`//!`)");
}

/// Everything that people write in this repository, but for traces and generated files.
fn texts() -> Vec<(String, String)> {
    let mut files = Vec::new();
    walk(root(), root(), &mut files);
    let written = ["rs", "md", "py", "sh", "toml", "yaml", "yml", "txt", "snap"];
    files
        .into_iter()
        .filter(|path| written.iter().any(|kind| is(path, kind)) || path.starts_with(".ci/"))
        .filter(|path| !path.starts_with("tests/bad-policies/"))
        .filter_map(|path| Some((path.clone(), std::fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}

/// Where a text that people write says something that it should not.
fn said(wrong: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in texts() {
        let lines = text.lines().zip(1..).filter(|(line, _)| wrong(&path, line));
        found.extend(lines.map(|(line, number)| format!("{path}:{number}: {}", line.trim())));
    }
    found
}

#[test]
fn nothing_is_left_for_later() {
    // In two parts, so that this file is clean.
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let found = said(|_, line| marks.iter().any(|mark| has_word(line, mark)));
    assert_none(&found, "what is missing belongs into the issue list");
}

#[test]
fn no_trace_is_named_where_judgement_is_made() {
    let kinds = ["open-", "held-"];
    let id = |line: &str, kind: &str| {
        line.match_indices(kind).any(|(at, _)| {
            let rest = &line.as_bytes()[at + kind.len()..];
            rest.len() > 2
                && rest[0].is_ascii_digit()
                && rest[1].is_ascii_digit()
                && rest[2] == b'-'
        })
    };
    // The tests of an example policy are no judgement.
    let tried = |path: &str, line: &str| {
        path.starts_with("policies/") && line.trim_start().starts_with("trace: ")
    };
    let found = said(|path, line| {
        !path.starts_with("tests/") && !tried(path, line) && kinds.iter().any(|kind| id(line, kind))
    });
    assert_none(&found, "no trace is known to the code that is judged by it");
}

#[test]
fn nothing_depends_on_one_machine() {
    let folders = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/t", "mp/"),
        concat!("index", "-url"),
        concat!("extra", "-index"),
        concat!("replace", "-with"),
        concat!("GO", "PROXY"),
        concat!("trusted", "-host"),
    ];
    let found = said(|_, line| folders.iter().any(|folder| line.contains(folder)));
    assert_none(&found, "no folder and no registry of one machine is named");
}

#[test]
fn files_have_one_subject_or_a_reason() {
    let mut found = Vec::new();
    for (path, text) in texts() {
        let (count, listed) =
            (text.lines().count(), LONG_FILES.iter().any(|(name, _)| *name == path));
        match (count > LINES_MAX, listed) {
            (true, false) => found.push(format!("{path}: {count} lines")),
            (false, true) => found.push(format!("{path}: {count} lines, need not be listed")),
            (true, true) | (false, false) => {}
        }
    }
    assert_none(&found, "a file over 900 lines has two subjects");
}

/// The variants of an enum of ours, from its definition.
fn variants(sources: &[Source], name: &str) -> Vec<String> {
    let head = format!("pub enum {name} {{");
    // Of moves and of refreshes there are purposes of the same name.
    let bodies = sources.iter().filter_map(|source| source.code.split_once(&head));
    let lines = bodies.flat_map(|(_, body)| body.split_once("\n}").unwrap().0.lines());
    lines
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_word_of_the_core_occurs_in_a_test() {
    let sources = sources(root());
    let mut tests: String = sources.iter().map(|source| source.tests.as_str()).collect();
    for (path, text) in texts() {
        if path.starts_with("tests/") && path != "tests/tidy.rs" {
            tests.push_str(&text);
        }
    }
    let mut found = Vec::new();
    let actions = [("Wanted", 2), ("Purpose", 10), ("RefreshAct", 2), ("RungKind", 4)];
    for (name, least) in [("Diagnosis", 13), ("Hold", 30), ("Entry", 30)].into_iter().chain(actions)
    {
        let variants = variants(&sources, name);
        assert!(variants.len() >= least, "{name}: {variants:?}");
        for variant in variants {
            let full = format!("{name}::{variant}");
            if !has_word(&tests, &full) {
                found.push(format!("{full} occurs in no test"));
            }
        }
    }
    assert_none(
        &found,
        "each diagnosis, hold, action and journal entry is met in at least one test",
    );
}
