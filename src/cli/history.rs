//! `leeward history`: what a service did and saw, out of its journal, running or not.

use std::path::PathBuf;

use super::{Exit, Failure, Format, Output, hold};
use crate::domain::ServiceName;
use crate::journal::{Journal, Record};
use crate::report::history::Line;
use crate::runtime::pin;

/// Shows the journal of a service, oldest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as its policy calls it; may be left out if there is only one.
    #[arg(long, value_name = "NAME")]
    service: Option<ServiceName>,
    /// The state directory of `leeward run`.
    #[arg(long, value_name = "DIR", env = "LEEWARD_STATE")]
    state: PathBuf,
    /// Only the newest so many lines.
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// `json` is one object a line, with everything the journal knows.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let service = choose(args.service.as_ref(), hold::known_services(&args.state)?)?;
    let records = read(&args.state, &service)?;
    let skip = args.last.map_or(0, |last| records.len().saturating_sub(last));
    for record in &records[skip..] {
        match args.format {
            Format::Text => out.line(Line::of(record.seq, record.at, &record.entry).text()),
            Format::Json => out
                .line(serde_json::to_string(record).map_err(|error| {
                    Failure::new(Exit::Trouble, format!("write JSON: {error}"))
                })?),
        }
    }
    Ok(Exit::Done)
}

/// The named one if it is there, or the only one.
pub(super) fn choose(
    wanted: Option<&ServiceName>,
    known: Vec<ServiceName>,
) -> Result<ServiceName, Failure> {
    let names: Vec<&str> = known.iter().map(ServiceName::as_str).collect();
    let here = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    match wanted {
        Some(name) if known.contains(name) => Ok(name.clone()),
        Some(name) => Err(Failure::new(Exit::Input, format!("there is no service `{name}` here"))
            .hint(format!("known here: {here}"))),
        None => match <[ServiceName; 1]>::try_from(known) {
            Ok([only]) => Ok(only),
            Err(_) => Err(Failure::new(Exit::Input, "which service?")
                .hint(format!("name one; known here: {here}"))),
        },
    }
}

pub(super) fn read(state: &std::path::Path, service: &ServiceName) -> Result<Vec<Record>, Failure> {
    let path = pin::journal_path(state, service);
    Journal::read(&path).map_err(|error| {
        Failure::new(Exit::Trouble, format!("read the journal `{}`: {error}", path.display()))
    })
}
