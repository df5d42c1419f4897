//! `leeward test`: plays the drawn outages of policies, and tells what differs.

mod junit;
mod show;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::check::{policy_files, read_bounded};
use super::{Exit, Failure, Output};
use crate::policy::{self, Case, Policy, Problems};
use crate::scenario::{self, Fault, Ran};

/// Plays the `tests` of policies: drawn outages, in virtual time, by the decision that `run` makes.
///
/// Exit status: 0 if all pass, 1 if one fails or a policy is not valid.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Policy files, or directories in which every `.yaml` and `.yml` file is one.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print step by step what is seen, found and done in this case, whether it passes or not.
    #[arg(long, value_name = "CASE", conflicts_with = "format")]
    explain: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    /// XML as JUnit writes it, for CI.
    Junit,
}

/// One file and how its tests went.
struct Tested {
    path: String,
    what: What,
}

enum What {
    Invalid(Problems),
    Played(Box<Policy>, Vec<Played>),
}

struct Played {
    case: Case,
    ran: Ran,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let files = policy_files(&args.paths)?;
    if let Some(name) = &args.explain {
        return explain(&files, name, out);
    }
    let mut tested = Vec::new();
    for file in &files {
        let one = test(file, |_| true)?;
        if args.format == Format::Text {
            // At once, so that a long run shows how far it is.
            out.line(show::file(&one).trim_end());
        }
        tested.push(one);
    }
    match args.format {
        Format::Text => out.line(show::summary(&tested)),
        Format::Json => out.line(super::json(&as_json(&tested))?),
        Format::Junit => out.line(junit::xml(&tested).trim_end()),
    }
    Ok(if tested.iter().all(Tested::passed) { Exit::Done } else { Exit::Input })
}

impl Tested {
    fn passed(&self) -> bool {
        match &self.what {
            What::Invalid(_) => false,
            What::Played(_, played) => played.iter().all(|one| one.ran.passed()),
        }
    }

    fn played(&self) -> &[Played] {
        match &self.what {
            What::Invalid(_) => &[],
            What::Played(_, played) => played,
        }
    }
}

fn test(file: &Path, wanted: impl Fn(&Case) -> bool) -> Result<Tested, Failure> {
    let path = file.display().to_string();
    let bytes = read_bounded(file)
        .map_err(|error| Failure::new(Exit::Input, format!("read `{path}`: {error}")))?;
    let policy = match policy::load_bytes(&bytes, &path) {
        Ok((policy, _)) => policy,
        Err(problems) => return Ok(Tested { path, what: What::Invalid(problems) }),
    };
    let mut played = Vec::new();
    for case in policy.tests.iter().filter(|case| wanted(case)) {
        let ran = scenario::run(&policy, case).map_err(|error| {
            Failure::new(Exit::Trouble, format!("play `{}` of `{path}`: {error}", case.name))
        })?;
        played.push(Played { case: case.clone(), ran });
    }
    Ok(Tested { path, what: What::Played(Box::new(policy), played) })
}

fn explain(files: &[PathBuf], name: &str, out: &mut Output) -> Result<Exit, Failure> {
    let mut known = Vec::new();
    let (mut found, mut passed) = (false, true);
    for file in files {
        let one = test(file, |case| case.name == name)?;
        match &one.what {
            What::Invalid(problems) => {
                return Err(Failure::new(Exit::Input, problems.render(false)));
            }
            What::Played(policy, played) => {
                known.extend(policy.tests.iter().map(|case| case.name.clone()));
                for played in played {
                    found = true;
                    passed &= played.ran.passed();
                    out.line(show::timeline(&one.path, policy, played).trim_end());
                }
            }
        }
    }
    if found {
        return Ok(if passed { Exit::Done } else { Exit::Input });
    }
    let nearest = known.iter().min_by_key(|other| strsim::damerau_levenshtein(other, name));
    let failure = Failure::new(Exit::Input, format!("no test is called `{name}`"));
    Err(match nearest {
        Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
        None => failure.hint("these policies have no tests"),
    })
}

fn as_json(tested: &[Tested]) -> Value {
    let files: Vec<Value> = tested.iter().map(file_json).collect();
    json!({ "ok": tested.iter().all(Tested::passed), "files": files })
}

fn file_json(one: &Tested) -> Value {
    match &one.what {
        What::Invalid(problems) => {
            json!({ "path": one.path, "valid": false, "problems": problems.list, "tests": [] })
        }
        What::Played(policy, played) => {
            let tests: Vec<Value> = played.iter().map(case_json).collect();
            json!({ "path": one.path, "valid": true, "service": policy.service, "tests": tests })
        }
    }
}

fn case_json(played: &Played) -> Value {
    let Played { case, ran } = played;
    let faults: Vec<Value> = ran
        .faults
        .iter()
        .map(|fault| {
            let step = match fault {
                Fault::Done { step, .. } => Some(*step),
                Fault::NotFound { .. } | Fault::NotHeld { .. } | Fault::Ends { .. } => None,
            };
            json!({ "what": show::fault(case, fault), "step": step })
        })
        .collect();
    let shown = ran.step_to_show().filter(|_| !ran.passed()).map(|(step, seen)| {
        json!({ "step": step, "findings": seen.decision.findings, "holds": seen.decision.holds })
    });
    json!({
        "name": case.name,
        "line": case.line,
        "passed": ran.passed(),
        "expected": case.expect.as_ref().map(ToString::to_string),
        "done": ran.line(),
        "ends": ran.end,
        "faults": faults,
        "shown": shown,
    })
}
