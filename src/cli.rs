//! The command line: arguments, dispatch, exit status. Data to stdout, everything else to stderr.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod abort;
pub mod apply;
pub mod approve;
mod ask;
pub mod check;
pub mod doctor;
pub mod edge;
pub mod failback;
pub mod generate;
mod hands;
pub mod history;
pub mod hold;
pub mod lab;
pub mod lb;
pub mod plan;
pub mod play;
pub mod resume;
pub mod run;
pub mod schema;
pub mod shift;
pub mod site;
pub mod status;
pub mod status_page;
pub mod test;
pub mod trigger;
pub mod why;

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
#[command(
    name = "leeward",
    version,
    propagate_version = true,
    after_help = "Exit status: 0 done or nothing to do, 1 the input is wrong, 2 changes are planned \
                  (`plan --detailed-exit-code`), 3 refused or held by safety, 4 a human must approve, \
                  5 our trouble (AWS, the network, a bug)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Test(test::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Doctor(doctor::Args),
    Run(run::Args),
    Trigger(trigger::Args),
    Status(status::Args),
    StatusPage(status_page::Args),
    SnapshotSite(site::SnapshotArgs),
    ServeSite(site::ServeArgs),
    Why(why::Args),
    History(history::Args),
    Hold(hold::Args),
    Resume(resume::Args),
    Approve(approve::Args),
    Shift(shift::Args),
    Failback(failback::Args),
    Abort(abort::Args),
    Lb(lb::Args),
    Lab(lab::Args),
    Play(play::Args),
    Schema(schema::Args),
    #[command(hide = true)]
    Generate(generate::Args),
}

/// For whom the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
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

/// Pretty JSON of anything of ours.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::Trouble, format!("write JSON: {error}")))
}

/// For what a command began and left on threads of their own.
const STOPPED_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs one asynchronous command on its own small runtime.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Trouble, format!("start the runtime: {error}")))?;
    let done = runtime.block_on(command);
    // A write to a directory that hangs cannot be ended, and is not waited for.
    runtime.shutdown_timeout(STOPPED_WITHIN);
    done
}

/// `2h`, `90m`, `1d`: parsed once for all commands. Days have 24 hours here.
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let expected = || "expected a span of time such as `90s`, `15m` or `2h`".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| expected())?;
    let span =
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
    std::time::Duration::try_from(span).map_err(|_| expected())
}

/// The one way to stdout. A closed pipe (`leeward plan | head`) ends the output, not the program.
#[derive(Debug, Default)]
pub struct Output {
    closed: bool,
}

impl Output {
    pub fn line(&mut self, text: impl AsRef<str>) {
        if !self.closed {
            let mut stdout = anstream::stdout();
            let written = writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush());
            self.closed = written.is_err();
        }
    }
}

/// Parses the process's arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to tell if the stream is closed.
            let _ = error.print();
            // Not clap's own status 2, which means "changes are planned" here.
            let exit = if error.use_stderr() { Exit::Input } else { Exit::Done };
            return ExitCode::from(exit as u8);
        }
    };
    let mut out = Output::default();
    let result = match &cli.command {
        Command::Check(args) => check::run(args, &mut out),
        Command::Test(args) => test::run(args, &mut out),
        Command::Plan(args) => plan::run(args, &mut out),
        Command::Doctor(args) => doctor::run(args, &mut out),
        Command::Apply(args) => apply::run(args, &mut out),
        Command::Run(args) => run::run(args, &mut out),
        Command::Trigger(args) => trigger::run(args, &mut out),
        Command::Status(args) => status::run(args, &mut out),
        Command::StatusPage(args) => status_page::run(args, &mut out),
        Command::SnapshotSite(args) => site::snapshot(args, &mut out),
        Command::ServeSite(args) => site::serve(args, &mut out),
        Command::Why(args) => why::run(args, &mut out),
        Command::History(args) => history::run(args, &mut out),
        Command::Hold(args) => hold::run(args, &mut out),
        Command::Resume(args) => resume::run(args, &mut out),
        Command::Approve(args) => approve::run(args, &mut out),
        Command::Shift(args) => shift::run(args, &mut out),
        Command::Failback(args) => failback::run(args, &mut out),
        Command::Abort(args) => abort::run(args, &mut out),
        Command::Lb(args) => lb::run(args, &mut out),
        Command::Lab(args) => lab::run(args, &mut out),
        Command::Play(args) => play::run(args, &mut out),
        Command::Schema(args) => schema::run(args, &mut out),
        Command::Generate(args) => generate::run(args, &mut out),
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// A stop must not wait for a directory over a network that answers nobody.
    #[test]
    fn a_write_that_hangs_keeps_no_command_from_its_end() {
        let (ended, ends) = channel();
        let (go_on, hangs) = channel::<()>();
        std::thread::spawn(move || {
            let done = block_on(async move {
                let (begun, begins) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    let _ = begun.send(());
                    let _ = hangs.recv();
                });
                begins.await.map_err(|_| Failure::new(Exit::Trouble, "it never began"))
            });
            let _ = ended.send(done.is_ok());
        });
        assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(true));
        drop(go_on);
    }
}
