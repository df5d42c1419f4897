//! `leeward resume`: lifts a hold, and opens a latch if told to.

use super::hold::{Place, said};
use super::{Exit, Failure, Format, Output, json};
use crate::clock::SystemClock;
use crate::domain::ServiceName;
use crate::ports::Clock as _;
use crate::runtime::pin::{self, Resume};

/// Lifts the hold on a service; with `--unlatch` also the latch that too many shifts have closed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as its policy calls it.
    service: ServiceName,
    /// Why it may move again.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Also open the latch.
    #[arg(long)]
    unlatch: bool,
    #[command(flatten)]
    place: Place,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let (reason, by) = (said("reason", &args.reason)?, args.place.by()?);
    let state = args.place.state_of(&args.service)?;
    let trouble = |error: std::io::Error| {
        Failure::new(Exit::Trouble, format!("write into `{}`: {error}", state.display()))
    };
    let word = Resume { by, reason, at: SystemClock.now(), unlatch: args.unlatch };
    // The word first: if the second step fails, the service stays held.
    pin::write_resume(state, &args.service, &word).map_err(trouble)?;
    let lifted = pin::remove(state, &args.service).map_err(trouble)?;
    match args.format {
        Format::Json => {
            let value =
                serde_json::json!({ "lifted": lifted, "unlatch": args.unlatch, "by": word.by });
            out.line(json(&value)?);
        }
        Format::Text => {
            let hold = if lifted { "is no longer held" } else { "was not held" };
            let latch = if args.unlatch { "; the latch opens with the next round" } else { "" };
            out.line(format!("`{}` {hold}{latch}", args.service));
        }
    }
    Ok(Exit::Done)
}
