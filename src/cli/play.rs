//! `leeward play`: plays an outage trace in closed loop on stdin and stdout.

use std::io::{BufReader, Write};
use std::path::PathBuf;

use super::{Exit, Failure, Output};
use crate::play::{PlayError, play};

/// Plays an outage trace in closed loop: observations on stdin, actions on stdout.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep what was done in this file, so that a restart in the middle of a trace goes on from there.
    #[arg(long)]
    state: Option<PathBuf>,
}

pub fn run(args: &Args, _out: &mut Output) -> Result<Exit, Failure> {
    let mut input = BufReader::new(std::io::stdin());
    let mut output = std::io::stdout().lock();
    match play(&mut input, &mut output, args.state.as_deref()) {
        Ok(()) => Ok(Exit::Done),
        // The player has what it wanted and closed the pipe.
        Err(PlayError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(Exit::Done)
        }
        Err(error @ PlayError::Line { .. }) => Err(Failure::new(Exit::Input, error.to_string())
            .hint("the first line is {\"hello\": {...}}, then one observation a line")),
        Err(error) => Err(Failure::new(Exit::Trouble, error.to_string())),
    }
    .inspect(|_| {
        let _ = output.flush();
    })
}
