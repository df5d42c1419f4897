//! `leeward check`: tells whether policies are valid and free of hazards.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Exit, Failure, Output};
use crate::policy::{self, Problem, Problems, Severity};

/// A directory with more policies than this is the wrong directory.
const FILES_MAX: usize = 10_000;
/// Directories within directories.
const DEPTH_MAX: usize = 16;

/// Tells whether policies are valid and free of hazards.
///
/// Exit status: 0 if all are valid, 1 if one is not. Warnings do not fail unless `--deny-warnings`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Policy files, or directories in which every `.yaml` and `.yml` file is one.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Fail if there is a warning.
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// One file and what was found in it.
struct Checked {
    path: String,
    /// Name of the service, if the policy is valid.
    service: Option<String>,
    problems: Problems,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let files = policy_files(&args.paths)?;
    let checked: Vec<Checked> = files.iter().map(|file| check(file)).collect::<Result<_, _>>()?;
    let failed = checked
        .iter()
        .any(|one| one.service.is_none() || (args.deny_warnings && !one.problems.list.is_empty()));
    match args.format {
        Format::Text => text(&checked, out),
        Format::Json => out.line(as_json(&checked, failed).to_string()),
    }
    Ok(if failed { Exit::Input } else { Exit::Done })
}
/// The policies among these files and directories. None at all is a mistake, not an empty success.
pub(super) fn policy_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, true, 0, &mut files)?;
    }
    if files.is_empty() {
        return Err(Failure::new(Exit::Input, "there is no policy in these directories")
            .hint("policies end in `.yaml` or `.yml`"));
    }
    Ok(files)
}

/// The files that `path` names. A directory's files are sorted, so that two runs agree.
fn collect(
    path: &Path,
    named: bool,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::Input, format!("read `{}`: {error}", path.display()))
    };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if named || yaml {
            files.push(path.to_owned());
        }
        if files.len() > FILES_MAX {
            return Err(Failure::new(Exit::Input, format!("more than {FILES_MAX} files")));
        }
        return Ok(());
    }
    if depth >= DEPTH_MAX {
        let message = format!("`{}` is too deep in other directories", path.display());
        return Err(Failure::new(Exit::Input, message));
    }
    let mut inside = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        inside.push(entry.map_err(unreadable)?.path());
    }
    inside.sort();
    for path in inside {
        collect(&path, false, depth + 1, files)?;
    }
    Ok(())
}

fn check(file: &Path) -> Result<Checked, Failure> {
    let path = file.display().to_string();
    let bytes = read_bounded(file, policy::BYTES_MAX)
        .map_err(|error| Failure::new(Exit::Input, format!("read `{path}`: {error}")))?;
    Ok(match policy::load_bytes(&bytes, &path) {
        Ok((policy, warnings)) => Checked {
            service: Some(policy.service.to_string()),
            problems: Problems { path: path.clone(), list: warnings, unlisted: 0 },
            path,
        },
        Err(problems) => Checked { path, service: None, problems },
    })
}

/// At most one byte more than a file of its kind may have: enough to see that it is too large.
pub(super) fn read_bounded(file: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(file)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn count(checked: &[Checked], severity: Severity) -> usize {
    let all = checked.iter().flat_map(|one| &one.problems.list);
    all.filter(|problem| problem.severity == severity).count()
}

/// Problems are what was asked for, so they are the output.
fn text(checked: &[Checked], out: &mut Output) {
    // `anstream` takes the colours away again where they do not belong.
    let colour = std::io::stdout().is_terminal();
    for one in checked {
        if !one.problems.list.is_empty() {
            out.line(one.problems.render(colour));
            out.line("");
        }
    }
    for one in checked {
        match (&one.service, one.problems.list.is_empty()) {
            (Some(service), true) => out.line(format!("{}: `{service}` is valid", one.path)),
            (Some(service), false) => {
                out.line(format!("{}: `{service}` is valid, with warnings", one.path));
            }
            (None, _) => out.line(format!("{}: not valid", one.path)),
        }
    }
    let (errors, warnings) = (count(checked, Severity::Error), count(checked, Severity::Warning));
    if errors + warnings > 0 {
        out.line(format!("{}, {}", some(errors, "error"), some(warnings, "warning")));
    }
}

fn some(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn as_json(checked: &[Checked], failed: bool) -> serde_json::Value {
    let files: Vec<serde_json::Value> = checked
        .iter()
        .map(|one| {
            let problems: Vec<&Problem> = one.problems.list.iter().collect();
            json!({
                "path": one.path,
                "service": one.service,
                "valid": one.service.is_some(),
                "problems": problems,
                "unlisted": one.problems.unlisted,
            })
        })
        .collect();
    json!({ "ok": !failed, "files": files })
}
