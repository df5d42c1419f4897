//! `leeward shift`: a human moves traffic.

use super::ask::{Overrides, Word};
use super::{Exit, Failure, Output};
use crate::domain::{Ratio, RegionName, ServiceName};
use crate::memory::Asked;
use crate::runtime::pin::Says;

/// Sends a part of the answers to one region; the others keep their proportions.
///
/// A running service takes it in with its next round; without one this command does it (`--policy`), and
/// waits until it is in force. The guards hold a human as well, less those named with `--override`.
/// While it holds, nothing goes home by itself; a region that fails is still left.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as its policy calls it.
    service: ServiceName,
    /// The region that is to get it.
    #[arg(long, value_name = "REGION")]
    to: RegionName,
    /// How much of the answers, 1 to 100.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u8).range(1..=100))]
    percent: u8,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    word: Word,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let share = Ratio::new(f64::from(args.percent) / 100.0);
    let what = Asked::Shift { to: args.to.clone(), share };
    let request = args.word.request(what, &args.overrides)?;
    args.word.carry(&args.service, Says::Ask(Box::new(request)), out)
}
