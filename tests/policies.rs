//! Every file in `policies/` is whole and free of hazards.

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
