//! `leeward run`: the sidecar service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::edge::{self, EdgeArgs};
use super::{Exit, Failure, Output, block_on};
use crate::runtime::{self, RunError, Settings};
use crate::telemetry::{LogFormat, start_logging};

/// Watches the services of one or many policies and does what their modes allow, until it is stopped.
///
/// SIGTERM and SIGINT end it after the round that is under way; an open order is left for the next
/// start, which finds out by reading what became of it. SIGHUP looks at the policy files at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Policy files, one service each.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where journals and holds are kept. One controller at a time.
    #[arg(long, value_name = "DIR", env = "LEEWARD_STATE")]
    state: PathBuf,
    /// Where state and numbers are told over HTTP. Nothing can be changed there.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// Where events are taken in over HTTP: the doors that policies open under `triggers`. Nowhere if it is
    /// not given.
    #[arg(long, value_name = "ADDRESS")]
    intake: Option<SocketAddr>,
    /// Certificates (PEM) between that of SNS and the roots of this machine, should SNS not send them.
    #[arg(long, value_name = "FILE")]
    sns_chain: Option<PathBuf>,
    /// Who we are, as written into the epoch record.
    #[arg(long, value_name = "NAME", env = "LEEWARD_HOLDER")]
    holder: Option<String>,
    /// How log lines are written to stderr; `RUST_LOG` says which.
    #[arg(long, value_enum, default_value_t)]
    log: LogFormat,
    #[command(flatten)]
    edge: EdgeArgs,
}

pub fn run(args: &Args, _out: &mut Output) -> Result<Exit, Failure> {
    start_logging(args.log);
    let settings = Settings {
        policies: args.paths.clone(),
        state: args.state.clone(),
        listen: args.listen,
        intake: args.intake,
        sns_chain: chain(args.sns_chain.as_deref())?,
        holder: args.holder.clone().unwrap_or_else(this_machine),
    };
    block_on(async {
        // What cannot be read is said by the service itself.
        let policies = args.paths.iter().filter_map(|path| edge::policy(path).ok());
        let policies: Vec<_> = policies.map(|(policy, _)| policy).collect();
        let world = args.edge.connect_for(&policies.iter().collect::<Vec<_>>()).await?;
        runtime::run(settings, world).await.map_err(|error| failure(&error))
    })?;
    Ok(Exit::Done)
}

fn chain(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let Some(path) = path else { return Ok(Vec::new()) };
    std::fs::read(path).map_err(|error| {
        Failure::new(Exit::Input, format!("read the certificates `{}`: {error}", path.display()))
    })
}

pub(super) fn failure(error: &RunError) -> Failure {
    match error {
        RunError::Unreadable { path, source } => edge::unreadable(path, source),
        RunError::Invalid { .. } | RunError::Twice { .. } => {
            Failure::new(Exit::Input, error.to_string())
        }
        RunError::Journal { source: crate::journal::JournalError::Held { .. }, .. } => {
            Failure::new(Exit::Trouble, error.to_string())
                .hint("another `leeward run` uses this state directory; give each its own")
        }
        RunError::Journal { .. } | RunError::State { .. } | RunError::Signals(_) => {
            Failure::new(Exit::Trouble, error.to_string())
        }
        RunError::Listen { .. } => Failure::new(Exit::Trouble, error.to_string())
            .hint("choose another address with `--listen`"),
    }
}

/// The host's own name: an operator reads it in the epoch record.
fn this_machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "leeward".to_owned() } else { name.chars().take(63).collect() }
}
