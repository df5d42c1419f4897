//! `leeward approve`: a yes, or a no, to what waits for one.

use std::time::Duration;

use super::hold::{Place, said};
use super::{Exit, Failure, Format, Output, json, parse_duration};
use crate::clock::SystemClock;
use crate::domain::{ServiceName, span};
use crate::ports::Clock as _;
use crate::runtime::pin::{self, Answer, Approval};

/// An approval is for what is seen now; tomorrow it is another decision.
const APPROVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Says yes to what a service holds for approval, or no with `--deny`.
///
/// Guards that are not about approval still hold: a pin, a cooldown, an unfit destination. A yes also
/// covers replication lag and blocked windows, which ask for a human.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as its policy calls it.
    service: ServiceName,
    /// For how long the yes holds, at most 24h.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, default_value = "1h")]
    time: Duration,
    /// Why, for whoever reads the history.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Says no instead: nothing is moved until somebody says yes.
    #[arg(long)]
    deny: bool,
    #[command(flatten)]
    place: Place,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let (reason, by) = (said("reason", &args.reason)?, args.place.by()?);
    if args.time.is_zero() || args.time > APPROVAL_MAX {
        let why = format!("an approval of {} is not between 1s and 24h", span(args.time));
        return Err(Failure::new(Exit::Input, why));
    }
    let state = args.place.state_of(&args.service)?;
    let at = SystemClock.now();
    let answer = if args.deny { Answer::No } else { Answer::Yes { until: at.plus(args.time) } };
    let word = Approval { by, reason, at, answer };
    pin::write_approval(state, &args.service, &word).map_err(|error| {
        Failure::new(Exit::Trouble, format!("write the answer into `{}`: {error}", state.display()))
    })?;
    match args.format {
        Format::Json => out.line(json(&word)?),
        Format::Text => out.line(match answer {
            Answer::Yes { until } => {
                format!("`{}`: approved until {until} by {}", args.service, word.by)
            }
            Answer::No => format!("`{}`: denied by {}", args.service, word.by),
        }),
    }
    Ok(Exit::Done)
}
