//! `leeward schema`: prints the JSON Schema of policy files.

use super::{Exit, Failure, Output};
use crate::policy;

/// Prints the JSON Schema of policy files, for editors.
///
/// Name it in the first line of a policy: `# yaml-language-server: $schema=schema.json`
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    out.line(format!("{:#}", policy::json_schema()));
    Ok(Exit::Done)
}
