//! `leeward trigger`: one look for one event, for cron, functions and pipelines.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::edge::{self, EdgeArgs};
use super::{Exit, Failure, Format, Output, block_on, json, parse_duration, run};
use crate::decide::{Decision, Hold};
use crate::domain::{ServiceName, span};
use crate::event::{self, Event, Unknown};
use crate::memory::Outcome;
use crate::policy::Policy;
use crate::report::plan::standing_holds;
use crate::report::why;
use crate::runtime::intake::quarantine::Quarantine;
use crate::runtime::intake::{Door, Taken};
use crate::runtime::{self, Once};
use crate::telemetry::{LogFormat, start_logging};

/// A function runtime ends a process sooner; a person gives up.
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// Rounds after the windows are full and the trouble is sustained.
const ROUNDS_AFTER: u32 = 6;

/// Takes one event in, looks, decides, and does what the policy's mode allows.
///
/// For cron, function runtimes and pipelines: where `leeward run` runs, let it take events in itself. The
/// event asks for a look and decides nothing: signals are watched for as long as the judgement needs
/// (`--for`), and the decision is printed. What was done is in the journal of `--state`, by which a copy of
/// the event is known again and followed by nothing. A shape that is not known is kept aside in
/// `quarantine` there. A deploy is remembered for the next look.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policy file.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The event: a file, or `-` for standard input. Any body that a queue or `--intake` would bring.
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// Where the journal is kept, from one call to the next.
    #[arg(long, value_name = "DIR", env = "LEEWARD_STATE")]
    state: PathBuf,
    /// Look for so long at most; by default the judgement's `window` and `sustain` and a little more.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    /// Who we are, as written into the epoch record.
    #[arg(long, value_name = "NAME", env = "LEEWARD_HOLDER", default_value = "leeward")]
    holder: String,
    /// How log lines are written to stderr; `RUST_LOG` says which.
    #[arg(long, value_enum, default_value_t)]
    log: LogFormat,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    edge: EdgeArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Told<'a> {
    service: &'a ServiceName,
    events: Vec<EventTold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<&'a Outcome>,
    order_open: bool,
}

#[derive(Debug, Serialize)]
struct EventTold {
    outcome: &'static str,
    text: String,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    start_logging(args.log);
    let (policy, _) = edge::policy(&args.path)?;
    let body = read(&args.event)?;
    let events = events(args, &policy, &body)?;
    let time = args.time.unwrap_or_else(|| {
        policy.judge.window + policy.judge.sustain + policy.round_every() * ROUNDS_AFTER
    });
    if time > LOOK_MAX {
        return Err(Failure::new(Exit::Input, format!("`--for` is at most {}", span(LOOK_MAX))));
    }
    let once = block_on(async {
        let world = args.edge.connect_for(&[&policy]).await?;
        let (path, state) = (&args.path, &args.state);
        let once = runtime::look_once(path, state, args.holder.clone(), world, &events, time).await;
        once.map_err(|error| run::failure(&error))
    })?;
    print(args, &policy, &once, out)?;
    Ok(exit(&once))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let most = u64::try_from(event::BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut body = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut body)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut body))
    };
    result.map_err(|error| {
        Failure::new(Exit::Input, format!("read the event `{}`: {error}", path.display()))
    })?;
    Ok(body)
}

/// The events of the body. If one of its parts is unknown, or may not come this way, the body is kept aside;
/// if nothing else is in it, that is all.
fn events(args: &Args, policy: &Policy, body: &[u8]) -> Result<Vec<Event>, Failure> {
    let (mut known, mut wrong) = (Vec::new(), Vec::new());
    for part in event::parse(body) {
        match part {
            Ok(event) if event.what.kind().is_none_or(|kind| Door::Command.lets_in(kind)) => {
                known.push(event);
            }
            Ok(_) => wrong.push("an answer or a reading must be signed".to_owned()),
            Err(Unknown { why }) => wrong.push(why),
        }
    }
    let Some(why) = wrong.first() else { return Ok(known) };
    let kept = std::fs::create_dir_all(&args.state).and_then(|()| {
        let now = crate::ports::Clock::now(&crate::clock::SystemClock);
        Quarantine::new(&args.state).keep(&policy.service, Door::Command, why, body, now)
    });
    let kept = match kept {
        Ok(path) => format!("kept as `{}`", path.display()),
        Err(error) => format!("not kept: {error}"),
    };
    let message = format!("the event is not acted on: {why}; {kept}");
    if known.is_empty() {
        let failure = Failure::new(Exit::Input, message);
        return Err(failure.hint("a yes or a no is for `leeward approve`"));
    }
    // Nothing is left to tell if stderr is closed.
    let _ = writeln!(anstream::stderr(), "warning: {message}");
    Ok(known)
}

fn print(args: &Args, policy: &Policy, once: &Once, out: &mut Output) -> Result<(), Failure> {
    let told = |taken: &Taken| match taken {
        Taken::Handled { text } => EventTold { outcome: "handled", text: text.clone() },
        Taken::Duplicate => {
            EventTold { outcome: "duplicate", text: "was heard before, nothing follows".to_owned() }
        }
        Taken::Nothing { why } => EventTold { outcome: "nothing", text: why.clone() },
    };
    let events: Vec<EventTold> = once.taken.iter().map(told).collect();
    let decision = once.done.as_ref().map(|done| &done.decision);
    match args.format {
        Format::Json => out.line(json(&Told {
            service: &policy.service,
            events,
            decision,
            ended: once.done.as_ref().and_then(|done| done.ended.as_ref()),
            order_open: once.order_open,
        })?),
        Format::Text => {
            for event in events {
                out.line(format!("{}: {}", event.outcome, event.text));
            }
            if let Some(decision) = decision {
                out.line(why::why(&policy.service, decision).trim_end());
            }
            match once.done.as_ref().and_then(|done| done.ended.as_ref()) {
                Some(Outcome::Done) => {
                    out.line("done, and seen in the answers as far as they are read");
                }
                Some(Outcome::Abandoned { why }) => out.line(format!("given up: {why}")),
                Some(Outcome::Refused { why }) => out.line(format!("refused: {why}")),
                None if once.order_open => {
                    out.line("an order is under way: the next call follows it up");
                }
                None => {}
            }
        }
    }
    Ok(())
}

fn exit(once: &Once) -> Exit {
    let Some(done) = &once.done else { return Exit::Done };
    let approval = |hold: &Hold| matches!(hold, Hold::ApprovalNeeded { .. });
    match &done.ended {
        Some(Outcome::Done) => return Exit::Done,
        Some(Outcome::Abandoned { .. } | Outcome::Refused { .. }) => return Exit::Held,
        None => {}
    }
    if once.unread.is_some() || once.order_open {
        Exit::Trouble
    } else if standing_holds(&done.decision).any(|hold| !approval(hold))
        || done.unplannable.is_some()
    {
        Exit::Held
    } else if done.decision.holds.iter().any(approval) {
        Exit::Approval
    } else {
        Exit::Done
    }
}
