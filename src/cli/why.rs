//! `leeward why`: the reasons of the last decision, and what would flip it.

use super::status::{Found, From};
use super::{Exit, Failure, Format, Output, history, json};
use crate::domain::ServiceName;
use crate::report::why;

/// Tells why a service acts or does not act, and the smallest change that would flip it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as its policy calls it; may be left out if there is only one.
    service: Option<ServiceName>,
    #[command(flatten)]
    from: From,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let nothing = |service: &ServiceName| {
        Failure::new(Exit::Input, format!("`{service}` has decided nothing yet"))
    };
    match args.from.find()? {
        Found::Running(state) => {
            let known = state.services.keys().cloned().collect();
            let service = history::choose(args.service.as_ref(), known)?;
            let decision = state.services.get(&service).and_then(|view| view.decision.as_ref());
            let decision = decision.ok_or_else(|| nothing(&service))?;
            match args.format {
                Format::Json => out.line(json(decision)?),
                Format::Text => out.line(why::why(&service, decision).trim_end()),
            }
        }
        Found::Left(left) => {
            let known = left.iter().map(|one| one.service.clone()).collect();
            let service = history::choose(args.service.as_ref(), known)?;
            let one = left.iter().find(|one| one.service == service);
            let decided = one.and_then(|one| Some((one.decided_at?, one.decided.as_ref()?)));
            let (at, digest) = decided.ok_or_else(|| nothing(&service))?;
            match args.format {
                Format::Json => out.line(json(digest)?),
                Format::Text => out.line(why::digest(&service, at, digest).trim_end()),
            }
        }
    }
    Ok(Exit::Done)
}
