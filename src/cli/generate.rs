//! `leeward generate`: completions and manual pages, for packagers. Hidden from the help.

use std::path::PathBuf;

use clap::CommandFactory as _;

use super::{Cli, Exit, Failure, Output};

/// Writes completions for a shell or manual pages.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A completion script on stdout.
    Completions { shell: clap_complete::Shell },
    /// Manual pages, one for each command, into a directory.
    Man { directory: PathBuf },
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match &args.what {
        What::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "leeward", &mut script);
            out.line(String::from_utf8_lossy(&script).trim_end());
        }
        What::Man { directory } => {
            clap_mangen::generate_to(Cli::command(), directory).map_err(|error| {
                Failure::new(Exit::Input, format!("write to `{}`: {error}", directory.display()))
            })?;
        }
    }
    Ok(Exit::Done)
}
