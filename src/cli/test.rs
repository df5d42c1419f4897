//! `leeward test`: plays the drawn and recorded outages of policies, and tells what differs.

mod junit;
mod progress;
mod recorded;
mod show;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::progress::Progress;
use super::check::{policy_files, read_bounded};
use super::{Exit, Failure, Output};
use crate::policy::{self, Case, Problems, Test};
use crate::scenario::{self, Fault, Ran, trace};

/// Plays the `tests` of policies: drawn and recorded outages, in virtual time, by the decision that `run`
/// makes. A `.json` file is a recorded outage (`outage-trace`), played with the policy that its own intent
/// asks for.
///
/// Exit status: 0 if all pass, 1 if one fails or a policy is not valid.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Policy files, directories in which every `.yaml` and `.yml` file is one, or traces.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print step by step what is seen, found and done in this case, whether it passes or not.
    #[arg(long, value_name = "CASE", conflicts_with = "format")]
    explain: Option<String>,
    /// Do not say on stderr how far a long run is.
    #[arg(long)]
    quiet: bool,
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
    /// Not a trace, with all that is wrong.
    InvalidTrace(String),
    Played {
        /// The service, or the title of a trace.
        of: String,
        played: Vec<Played>,
    },
}

struct Played {
    name: String,
    /// In the policy file; a trace that is played alone has none.
    line: Option<usize>,
    how: How,
}

enum How {
    Drawn(Box<Case>, Ran),
    Recorded(Box<trace::Ran>),
    /// It could not be played: why, with its place.
    Broken(String),
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let files = policy_files(&args.paths)?;
    let mut progress = Progress::new(args.quiet, files.len());
    if let Some(name) = &args.explain {
        return explain(&files, name, &mut progress, out);
    }
    let mut tested = Vec::new();
    for file in &files {
        let one = test(file, |_| true, &mut progress)?;
        if args.format == Format::Text {
            progress.clear();
            // At once, so that a long run shows what it has so far.
            out.line(show::file(&one).trim_end());
        }
        tested.push(one);
    }
    progress.clear();
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
            What::Invalid(_) | What::InvalidTrace(_) => false,
            What::Played { played, .. } => played.iter().all(Played::passed),
        }
    }

    fn played(&self) -> &[Played] {
        match &self.what {
            What::Invalid(_) | What::InvalidTrace(_) => &[],
            What::Played { played, .. } => played,
        }
    }

    /// Why nothing was played, if that is so.
    fn invalid(&self) -> Option<String> {
        match &self.what {
            What::Invalid(problems) => Some(problems.render(false)),
            What::InvalidTrace(why) => Some(why.clone()),
            What::Played { .. } => None,
        }
    }
}

impl Played {
    fn passed(&self) -> bool {
        match &self.how {
            How::Drawn(_, ran) => ran.passed(),
            How::Recorded(ran) => ran.passed(),
            How::Broken(_) => false,
        }
    }
}

fn test(
    file: &Path,
    wanted: impl Fn(&str) -> bool,
    progress: &mut Progress,
) -> Result<Tested, Failure> {
    let path = file.display().to_string();
    progress.next_file();
    if file.extension().is_some_and(|extension| extension == "json") {
        return alone(file, path, wanted, progress);
    }
    let bytes = read_bounded(file, policy::BYTES_MAX)
        .map_err(|error| Failure::new(Exit::Input, format!("read `{path}`: {error}")))?;
    let policy = match policy::load_bytes(&bytes, &path) {
        Ok((policy, _)) => policy,
        Err(problems) => return Ok(Tested { path, what: What::Invalid(problems) }),
    };
    let mut played = Vec::new();
    for test in policy.tests.iter().filter(|test| wanted(test.name())) {
        progress.begins(&path, test.name());
        let how = match test {
            Test::Drawn(case) => {
                let ran = scenario::run(&policy, case).map_err(|error| {
                    Failure::new(
                        Exit::Trouble,
                        format!("play `{}` of `{path}`: {error}", case.name),
                    )
                })?;
                How::Drawn(Box::new(case.clone()), ran)
            }
            Test::Recorded(recording) => recorded::play(&policy, recording, file)?,
        };
        played.push(Played { name: test.name().to_owned(), line: Some(test.line()), how });
    }
    Ok(Tested { path, what: What::Played { of: policy.service.to_string(), played } })
}

/// A trace without a policy file: its intent is the policy.
fn alone(
    file: &Path,
    path: String,
    wanted: impl Fn(&str) -> bool,
    progress: &mut Progress,
) -> Result<Tested, Failure> {
    let bytes = read_bounded(file, trace::BYTES_MAX)
        .map_err(|error| Failure::new(Exit::Input, format!("read `{path}`: {error}")))?;
    let trace = match trace::load(&bytes, &path) {
        Ok(trace) => trace,
        Err(error) => return Ok(Tested { path, what: What::InvalidTrace(error.to_string()) }),
    };
    let mut played = Vec::new();
    if wanted(&trace.id) {
        progress.begins(&path, &trace.id);
        let how = recorded::play_alone(&trace, &path)?;
        played.push(Played { name: trace.id.clone(), line: None, how });
    }
    Ok(Tested { path, what: What::Played { of: trace.title, played } })
}

fn explain(
    files: &[PathBuf],
    name: &str,
    progress: &mut Progress,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let known = std::cell::RefCell::new(Vec::<String>::new());
    let (mut found, mut passed) = (false, true);
    for file in files {
        let wanted = |other: &str| {
            known.borrow_mut().push(other.to_owned());
            other == name
        };
        let one = test(file, wanted, progress)?;
        progress.clear();
        if let Some(why) = one.invalid() {
            return Err(Failure::new(Exit::Input, why));
        }
        for played in one.played() {
            found = true;
            passed &= played.passed();
            out.line(show::timeline(&one, played).trim_end());
        }
    }
    if found {
        return Ok(if passed { Exit::Done } else { Exit::Input });
    }
    let known = known.into_inner();
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
        What::InvalidTrace(why) => {
            json!({ "path": one.path, "valid": false, "problems": [{ "message": why }], "tests": [] })
        }
        What::Played { of, played } => {
            let tests: Vec<Value> = played.iter().map(played_json).collect();
            json!({ "path": one.path, "valid": true, "service": of, "tests": tests })
        }
    }
}

fn played_json(played: &Played) -> Value {
    let mut value = match &played.how {
        How::Drawn(case, ran) => case_json(case, ran),
        How::Recorded(ran) => recorded::json(ran),
        How::Broken(why) => json!({ "faults": [{ "what": why, "step": null }] }),
    };
    if let Some(map) = value.as_object_mut() {
        map.insert("name".to_owned(), json!(played.name));
        map.insert("line".to_owned(), json!(played.line));
        map.insert("passed".to_owned(), json!(played.passed()));
    }
    value
}

fn case_json(case: &Case, ran: &Ran) -> Value {
    let faults: Vec<Value> = ran
        .faults
        .iter()
        .map(|fault| {
            let step = match fault {
                Fault::Done { step, .. } => Some(*step),
                Fault::NotFound { .. }
                | Fault::NotHeld { .. }
                | Fault::NotCalled { .. }
                | Fault::Ends { .. } => None,
            };
            json!({ "what": show::fault(case, fault), "step": step })
        })
        .collect();
    let shown = ran.step_to_show().filter(|_| !ran.passed()).map(|(step, seen)| {
        json!({ "step": step, "findings": seen.decision.findings, "holds": seen.decision.holds })
    });
    json!({
        "expected": case.expect.as_ref().map(ToString::to_string),
        "done": ran.line(),
        "ends": ran.end,
        "faults": faults,
        "shown": shown,
    })
}
