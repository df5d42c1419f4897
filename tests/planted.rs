//! The list of planted faults keeps up with the code. `tests/planted/run.py` plants them.

use std::collections::BTreeSet;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each fault as its fields.
fn faults() -> Vec<Vec<(String, String)>> {
    let field = |line: &str| {
        let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line}"));
        (key.to_owned(), value.to_owned())
    };
    let lists = ["faults.txt", "faults-of-levers.txt"].map(|list| {
        let text = std::fs::read_to_string(root().join("tests/planted").join(list)).unwrap();
        text.split_once("\n\nfault: ").unwrap().1.to_owned()
    });
    let faults = lists.iter().flat_map(|list| list.split("\n\nfault: "));
    faults.map(|fault| format!("fault: {fault}").trim().lines().map(field).collect()).collect()
}

#[test]
fn every_fault_is_whole_and_its_text_is_found_exactly_once() {
    let (mut wrong, mut names) = (Vec::new(), BTreeSet::new());
    let faults = faults();
    for fault in &faults {
        let keys: Vec<&str> = fault.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["fault", "why", "file", "tests", "is", "becomes"], "{fault:?}");
        let field = |place: usize| fault[place].1.as_str();
        let (name, file, is) = (field(0), field(2), field(4));
        assert!(names.insert(name.to_owned()), "two faults are called {name}");
        assert_ne!(is, field(5), "{name} changes nothing");
        let code = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        let production = code.split("#[cfg(test)]").next().unwrap_or_default();
        let count = production.matches(is).count();
        if count != 1 || code.matches(is).count() != 1 {
            wrong.push(format!("{name}: `{is}` is found {count} times in {file}"));
        }
    }
    assert!(wrong.is_empty(), "the list is out of step:\n{}", wrong.join("\n"));
    assert!(faults.len() >= 20, "{} faults", faults.len());
}

#[test]
fn the_table_tells_of_every_fault_and_nothing_survived() {
    let table = std::fs::read_to_string(root().join("tests/planted/table.md")).unwrap_or_default();
    let told: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let listed: BTreeSet<String> = faults().iter().map(|fault| fault[0].1.clone()).collect();
    assert_eq!(told, listed, "write it anew: tests/planted/run.py");
    assert!(!table.contains("**nothing**"), "a fault survives");
}
