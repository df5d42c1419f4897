//! Mistakes that operators make, one a file, each with what they are told.
//!
//! `UPDATE_EXPECT=1 cargo test bad_policies` writes the texts anew: read them before they are kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use leeward::policy::{self, Code, Problem};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-policies")
}

/// The mistakes, by name.
fn mistakes() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

/// What an operator reads, and the problems that it is made of.
fn told(file: &Path) -> (String, Vec<Problem>) {
    let name = file.file_name().unwrap().to_string_lossy();
    match policy::load_bytes(&std::fs::read(file).unwrap(), &name) {
        Ok((policy, warnings)) => {
            let problems = policy::Problems { path: name.to_string(), list: warnings, unlisted: 0 };
            (format!("{problems}\n\nvalid: {}\n", policy.service), problems.list)
        }
        Err(problems) => (format!("{problems}\n"), problems.list),
    }
}

#[test]
fn every_mistake_is_explained_as_written_down() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for file in mistakes() {
        let (text, problems) = told(&file);
        assert!(!problems.is_empty(), "{} is no mistake", file.display());
        let expected = file.with_extension("txt");
        if update {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{}\n{text}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "not as written down:\n{}", wrong.join("\n"));
}

#[test]
fn every_text_belongs_to_a_mistake() {
    let mistakes: BTreeSet<PathBuf> = mistakes().into_iter().collect();
    assert!(mistakes.len() >= 60, "{}", mistakes.len());
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        assert!(mistakes.contains(&path.with_extension("yaml")), "{}", path.display());
    }
}

#[test]
fn every_kind_of_problem_occurs() {
    let seen: BTreeSet<Code> =
        mistakes().iter().flat_map(|file| told(file).1).map(|problem| problem.code).collect();
    let missing: Vec<Code> =
        Code::ALL.iter().copied().filter(|code| !seen.contains(code)).collect();
    assert_eq!(missing, []);
}

#[test]
fn every_problem_has_a_place_that_exists() {
    for file in mistakes() {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        let lines: Vec<&str> = text.split('\n').collect();
        for problem in told(&file).1 {
            let Some(place) = problem.place else { continue };
            let line = lines.get(place.line - 1).copied().unwrap_or_else(|| panic!("{problem:?}"));
            assert!(place.column <= line.chars().count() + 1, "{}: {problem:?}", file.display());
        }
    }
}
