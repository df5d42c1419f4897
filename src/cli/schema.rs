//! `leeward schema`: Prints the JSON Schema of policy files.

use super::{Exit, Failure, Output};

/// Prints the JSON Schema of policy files.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _out: &mut Output) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Trouble, "not built yet"))
}
