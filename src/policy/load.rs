//! A policy from its text. No IO: the caller reads the file.

use super::decode::Decode as _;
use super::problem::{Bytes, Code, Finding, Findings, Problem, Problems};
use super::{Policy, compile, raw, tree};

/// More than any policy needs: three thousand records written one by one fit in.
pub const BYTES_MAX: usize = 512 * 1024;

/// The checked policy and the warnings about it, or everything that is wrong with it.
///
/// `path` is only shown in messages. Problems of YAML syntax end the reading at the first; all problems
/// of shape and meaning are found in one run, except that a value of the wrong shape is not looked at
/// any further.
pub fn load(text: &str, path: &str) -> Result<(Policy, Vec<Problem>), Problems> {
    let mut findings = Findings::new(text);
    let policy = read(text, &mut findings);
    let failed = findings.errors() > 0;
    let problems = findings.finish(path);
    match policy {
        Some(policy) if !failed => Ok((policy, problems.list)),
        Some(_) | None => Err(problems),
    }
}

/// The same from bytes that may not be text.
pub fn load_bytes(bytes: &[u8], path: &str) -> Result<(Policy, Vec<Problem>), Problems> {
    match std::str::from_utf8(bytes) {
        Ok(text) => load(text, path),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let text = String::from_utf8_lossy(good);
            let mut findings = Findings::new(&text);
            let end = text.len();
            findings.add(
                Finding::new(Code::NotText, Bytes { start: end, end }, "this is not a text file")
                    .label("a byte here is not UTF-8"),
            );
            Err(findings.finish(path))
        }
    }
}

fn read(text: &str, to: &mut Findings<'_>) -> Option<Policy> {
    if text.len() > BYTES_MAX {
        let message = format!("the file has {} KiB", text.len().div_ceil(1024));
        to.add(
            Finding::file(Code::TooLarge, message)
                .help(format!("a policy has at most {} KiB", BYTES_MAX / 1024)),
        );
        return None;
    }
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    if let Some((start, found)) =
        body.char_indices().find(|(_, c)| !allowed(*c) || *c == '\u{feff}')
    {
        let start = start + (text.len() - body.len());
        let end = start + found.len_utf8();
        let message = format!("there is a control character, U+{:04X}", u32::from(found));
        to.add(Finding::new(Code::NotText, Bytes { start, end }, message).label("not text"));
        return None;
    }
    let root = tree::parse(text, to)?;
    let file = raw::File::decode(&root, to)?;
    compile::compile(&file, to)
}
