//! `leeward hold`: keeps a service where it is, by a file that needs no network and no running process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Exit, Failure, Format, Output, json, parse_duration};
use crate::clock::SystemClock;
use crate::domain::{ServiceName, span};
use crate::memory::Pin;
use crate::ports::Clock as _;
use crate::runtime::pin;

/// A hold that nobody looks at for longer than this is forgotten, not meant.
const HOLD_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// A reason is read by somebody at three in the morning.
const REASON_MAX: usize = 1000;

/// Keeps a service where it is: nothing is moved until the end, or until `leeward resume`.
///
/// Works without a network and without a running controller; it is honoured within one round. Orders
/// that were accepted already are followed up, not recalled.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as its policy calls it.
    service: ServiceName,
    /// For how long, at most 7d.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Duration,
    /// Why, for whoever is on call.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    place: Place,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Where a human's word is left, and whose it is.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The state directory of `leeward run`.
    #[arg(long, value_name = "DIR", env = "LEEWARD_STATE")]
    state: PathBuf,
    /// Who says so.
    #[arg(long, value_name = "NAME", env = "USER")]
    by: String,
    /// Also for a service that never ran here.
    #[arg(long)]
    unknown_service: bool,
}

impl Place {
    pub(super) fn by(&self) -> Result<String, Failure> {
        said("by", &self.by)
    }

    /// The directory, if it is the one of this service. A hold that is left in the wrong place would be
    /// believed and not be there.
    pub(super) fn state_of(&self, service: &ServiceName) -> Result<&Path, Failure> {
        let known = known_services(&self.state)?;
        if known.contains(service) || self.unknown_service {
            return Ok(&self.state);
        }
        let names: Vec<&str> = known.iter().map(ServiceName::as_str).collect();
        let what = format!("`{service}` has no journal in `{}`", self.state.display());
        let hint = if names.is_empty() {
            "is this the state directory? `--unknown-service` if it never ran yet".to_owned()
        } else {
            format!("known here: {}", names.join(", "))
        };
        Err(Failure::new(Exit::Input, what).hint(hint))
    }
}

pub(super) fn known_services(state: &Path) -> Result<Vec<ServiceName>, Failure> {
    pin::services(state).map_err(|error| {
        Failure::new(Exit::Input, format!("read `{}`: {error}", state.display()))
            .hint("name the state directory of `leeward run` with `--state DIR`")
    })
}

/// Something is said, and not a novel.
pub(super) fn said(what: &str, text: &str) -> Result<String, Failure> {
    let text = crate::report::plain(text.trim());
    if text.is_empty() {
        return Err(Failure::new(Exit::Input, format!("`--{what}` says nothing")));
    }
    if text.chars().count() > REASON_MAX {
        let why = format!("`--{what}` is longer than {REASON_MAX} characters");
        return Err(Failure::new(Exit::Input, why));
    }
    Ok(text)
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let (reason, by) = (said("reason", &args.reason)?, args.place.by()?);
    if args.time.is_zero() || args.time > HOLD_MAX {
        let why = format!("a hold of {} is not between 1s and 7d", span(args.time));
        return Err(Failure::new(Exit::Input, why).hint("hold it again when this one is over"));
    }
    let state = args.place.state_of(&args.service)?;
    let now = SystemClock.now();
    let held = Pin { by, reason, since: now, until: Some(now.plus(args.time)) };
    pin::write(state, &args.service, &held).map_err(|error| {
        Failure::new(Exit::Trouble, format!("write the hold into `{}`: {error}", state.display()))
    })?;
    match args.format {
        Format::Json => out.line(json(&held)?),
        Format::Text => out.line(format!(
            "`{}` is held until {} by {}: {}",
            args.service,
            now.plus(args.time),
            held.by,
            held.reason
        )),
    }
    Ok(Exit::Done)
}
