//! The command line: arguments, dispatch, exit status. Data to stdout, everything else to stderr.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod check;
pub mod lab;
pub mod play;
pub mod schema;

/// Exit statuses: the whole list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// The input is wrong.
    Input = 1,
    /// Changes are planned (`plan --detailed-exit-code`).
    Planned = 2,
    /// Refused or held by safety.
    Held = 3,
    /// A human must approve.
    Approval = 4,
    /// Our trouble: AWS, the network, a bug.
    Trouble = 5,
}

/// A multi-region failover controller: sees a regional outage, names it, moves traffic, proves it.
#[derive(Debug, Parser)]
#[command(name = "leeward", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Schema(schema::Args),
    Lab(lab::Args),
    Play(play::Args),
}

/// What a command that could not do its work tells the person: what, and what to do next.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The one way to stdout. A closed pipe (`leeward plan | head`) ends the output, not the program.
#[derive(Debug, Default)]
pub struct Output {
    closed: bool,
}

impl Output {
    pub fn line(&mut self, text: impl AsRef<str>) {
        if !self.closed {
            self.closed = writeln!(anstream::stdout(), "{}", text.as_ref()).is_err();
        }
    }
}

/// Parses the process's arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Output::default();
    let result = match &cli.command {
        Command::Check(args) => check::run(args, &mut out),
        Command::Schema(args) => schema::run(args, &mut out),
        Command::Lab(args) => lab::run(args, &mut out),
        Command::Play(args) => play::run(args, &mut out),
    };
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            let mut stderr = anstream::stderr();
            // Nothing is left to tell if stderr is closed as well.
            let _ = writeln!(stderr, "error: {}", failure.message);
            if let Some(hint) = failure.hint {
                let _ = writeln!(stderr, "\nhint: {hint}");
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}
