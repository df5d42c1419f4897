//! Every file in `policies/` is whole, free of hazards, and in step with the language.

use std::path::PathBuf;

use leeward::policy;

fn files() -> Vec<PathBuf> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn the_examples_load_without_warnings() {
    let files = files();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        match policy::load(&text, &file.display().to_string()) {
            Ok((_, warnings)) => assert_eq!(warnings, [], "{}", file.display()),
            Err(problems) => panic!("{problems}"),
        }
    }
}

/// A file that is written by a command, and the command.
fn assert_in_step(name: &str, now: &str, command: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name);
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "policies/{name} is out of step: `{command} > policies/{name}`");
}

#[test]
fn the_schema_is_in_step_with_the_types() {
    assert_in_step("schema.json", &format!("{:#}\n", policy::json_schema()), "leeward schema");
}

#[test]
fn the_description_is_in_step_with_the_types() {
    let now = format!("{}\n", policy::markdown().trim_end());
    assert_in_step("README.md", &now, "leeward schema --markdown");
}
