//! Rust files as the fences read them: without comments and texts, and with the tests set apart.

use std::collections::BTreeSet;
use std::path::Path;

/// One file of `src`.
pub(crate) struct Source {
    /// From the root of the repository, such as `src/plan/batch.rs`.
    pub path: String,
    /// As written.
    pub text: String,
    /// What runs in production: comments, texts and tests are blank, line numbers are kept.
    pub code: String,
    /// What is compiled for tests only, as written.
    pub tests: String,
}

impl Source {
    /// `plan` for `src/plan/batch.rs`.
    pub(crate) fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap();
        below.split(['/', '.']).next().unwrap()
    }

    /// 1 for `src/plan.rs`, 2 for `src/plan/batch.rs`.
    fn depth(&self) -> usize {
        self.path.matches('/').count()
    }

    /// Everything of ours that production code names: `(module, item)` for each `crate::module::item`.
    pub(crate) fn imports(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let (module, rest) = word(&self.code[at + "crate::".len()..]);
            assert!(!module.is_empty(), "{}: write one `use crate::module` a line", self.path);
            for item in items(rest) {
                found.insert((module.to_owned(), item));
            }
        }
        found
    }

    /// A path such as `super::super::x` that leaves its own top-level module, if there is one.
    pub(crate) fn escape(&self) -> Option<&str> {
        let up = "super::".repeat(self.depth());
        let mut hits = self.code.match_indices(&up);
        hits.next().map(|(at, _)| self.code[at..].lines().next().unwrap_or_default())
    }
}

/// The leading name of a text, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

/// The first names after a module: `::Item`, `::{A, B::C}`, or the module itself (`self`).
fn items(rest: &str) -> Vec<String> {
    let Some(rest) = rest.strip_prefix("::") else { return vec!["self".to_owned()] };
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest).0.to_owned()] };
    let mut depth = 0_usize;
    let mut end = group.len();
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                end = at;
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    let names = starts.iter().map(|start| word(group[*start..end.max(*start)].trim_start()).0);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// All Rust files of `src`, tests apart.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    walk(root, &root.join("src"), &mut files);
    let mut sources: Vec<Source> = files
        .into_iter()
        .filter(|path| is(path, "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(root.join(&path)).unwrap();
            let (code, tests) = set_tests_apart(&blank(&text), &text);
            Source { path, text, code, tests }
        })
        .collect();
    let for_tests: BTreeSet<String> = sources.iter().flat_map(test_files).collect();
    for source in &mut sources {
        if for_tests.contains(&source.path) {
            source.tests = source.text.clone();
            source.code = String::new();
        }
    }
    sources
}

/// True if the name of the file ends so.
pub(crate) fn is(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// The files below a folder, from `root`, sorted. Nothing that is built, fetched or hidden.
pub(crate) fn walk(root: &Path, folder: &Path, to: &mut Vec<String>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let kept = !["target", "corpus", "artifacts", "__pycache__"].contains(&name.as_str())
            && (!name.starts_with('.') || name == ".ci");
        if path.is_dir() && kept {
            walk(root, &path, to);
        } else if kept {
            to.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
        }
    }
}

/// Files that `#[cfg(test)] mod name;` names.
fn test_files(source: &Source) -> Vec<String> {
    let folder = source.path.strip_suffix(".rs").unwrap();
    let declared = source.tests.lines().filter_map(|line| {
        let name = line.split("mod ").nth(1)?.strip_suffix(';')?;
        Some(format!("{folder}/{name}.rs"))
    });
    declared.collect()
}

/// Moves every item under `#[cfg(test)]` from the first text to the second.
fn set_tests_apart(code: &str, text: &str) -> (String, String) {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut tests) = (String::new(), String::new());
    let mut at = 0;
    while let Some(found) = code[at..].find(MARK) {
        let begin = at + found;
        let end = begin + item_length(&code[begin..]);
        kept.push_str(&code[at..begin]);
        kept.extend(code[begin..end].chars().filter(|c| *c == '\n'));
        tests.push_str(&text[begin..end]);
        tests.push('\n');
        at = end;
    }
    kept.push_str(&code[at..]);
    (kept, tests)
}

/// Up to the end of an item: its semicolon, or its closing brace.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    code.len()
}

/// Comments, texts and characters become spaces, byte for byte, so that both texts share their places.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = hidden(rest, out.chars().next_back());
        let (piece, after) = rest.split_at(length.max(c.len_utf8()));
        if length == 0 {
            out.push_str(piece);
        } else {
            out.extend(piece.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    out
}

/// The length of the comment, text or character literal that begins here; 0 if none does.
fn hidden(rest: &str, before: Option<char>) -> usize {
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with('"') {
        return literal(rest, '"');
    }
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !in_name || before == Some('b')) {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let from = 1 + hashes + 1;
            return rest[from..].find(&close).map_or(rest.len(), |end| from + end + close.len());
        }
    }
    // `'a'` and `'\n'`, but not the lifetime `'a`.
    if let Some(after) = rest.strip_prefix('\'') {
        let mut letters = after.chars();
        let first = letters.next();
        if first == Some('\\') || letters.next() == Some('\'') {
            return literal(rest, '\'');
        }
    }
    0
}

/// A literal with escapes, from its opening quotation mark.
fn literal(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn comments_texts_and_tests_are_not_code() {
    let text = "use crate::a::{B, c::D}; // crate::x\nlet s = \"crate::y \\\" \"; let c = '\"';\n\
                let r = r#\"crate::z \" \"#; fn f<'a>() {}\n#[cfg(test)]\nmod tests { use crate::t::U; }\n\
                #[cfg(test)]\nmod more;\nuse crate::e;\n";
    let (code, tests) = set_tests_apart(&blank(text), text);
    let source = Source { path: "src/m.rs".into(), text: text.into(), code: code.clone(), tests };
    let imports: Vec<String> =
        source.imports().into_iter().map(|(module, item)| format!("{module}::{item}")).collect();
    assert_eq!(imports, ["a::B", "a::c", "e::self"]);
    assert!(source.tests.contains("crate::t::U"), "{}", source.tests);
    assert_eq!(test_files(&source), ["src/m/more.rs"]);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(code.contains("fn f<'a>()"), "{code}");
}
