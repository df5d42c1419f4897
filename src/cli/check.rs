//! `leeward check`: Tells whether policies are valid and free of hazards.

use super::{Exit, Failure, Output};

/// Tells whether policies are valid and free of hazards.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _out: &mut Output) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Trouble, "not built yet"))
}
