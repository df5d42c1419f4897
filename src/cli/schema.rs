//! `leeward schema`: prints the JSON Schema of policy files.

use super::{Exit, Failure, Output};
use crate::policy;

/// Prints the JSON Schema of policy files, for editors.
///
/// Name it in the first line of a policy: `# yaml-language-server: $schema=schema.json`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For people: every field with its meaning.
    #[arg(long)]
    markdown: bool,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    if args.markdown {
        out.line(policy::markdown().trim_end());
    } else {
        out.line(format!("{:#}", policy::json_schema()));
    }
    Ok(Exit::Done)
}
