//! `leeward lab`: Plays an outage on this machine, with no account.

use super::{Exit, Failure, Output};

/// Plays an outage on this machine, with no account.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _out: &mut Output) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Trouble, "not built yet"))
}
