//! `leeward lab`: Plays an outage on this machine, with no account.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Output};
use crate::clock::SystemClock;
use crate::lab::outage::Outage;
use crate::lab::region::{FAULT_NAMES, Fault};
use crate::lab::remote::DEFAULT_PORT;
use crate::lab::setup::{REGIONS_MAX, REGIONS_MIN, SERVICE, Tempo};
use crate::lab::stage::{NoShow, Show, play};
use crate::lab::summary::{Summary, Verdict};
use crate::lab::world::Size;
use crate::runtime::http::{Ask, ask};
use crate::runtime::pin;

/// Requests per second that visitors may make; a region takes 300.
const VISITORS_MAX: i64 = 250;
/// How long an order to a laboratory may take.
const ORDER_WITHIN: Duration = Duration::from_secs(3);
/// Where orders are taken if nothing else is said.
const DEFAULT_CONTROL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);

/// Plays an outage on this machine, with no account.
///
/// Regions as real HTTP services on loopback behind small balancers, a name server with weighted
/// records, visitors, and the controller with a real policy against them. Exit status: 0 it came out
/// as it must, 3 it should have moved and held, 5 anything else.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch of the command line")]
pub struct Args {
    #[command(subcommand)]
    order: Option<Order>,

    /// What goes wrong.
    #[arg(long, value_enum, required_unless_present = "hands_on", conflicts_with = "hands_on")]
    outage: Option<Outage>,

    /// With --outage grey-balancer: the first refresh does harm instead of good.
    #[arg(long, requires = "outage")]
    refresh_makes_it_worse: bool,

    /// Nothing goes wrong by itself: break things from another terminal.
    #[arg(long)]
    hands_on: bool,

    /// With --hands-on: ends by itself after so many seconds.
    #[arg(long = "for", value_name = "SECONDS", requires = "hands_on")]
    lasts: Option<u64>,

    /// How many regions.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(REGIONS_MIN as i64..=REGIONS_MAX as i64))]
    regions: u8,

    /// Everything faster than eyes can follow.
    #[arg(long)]
    fast: bool,

    /// Requests that visitors make in a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=VISITORS_MAX))]
    visitors: u32,

    /// Which of the visitors is sent where: the same seed, the same lots.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// The name server's port; any free one if it is not given.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    dns_port: u16,

    /// Where orders from another terminal are taken. On by itself with --hands-on.
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: Option<SocketAddr>,

    /// Where the service answers `leeward status`, `why` and `history`; any free port if not given.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Where policy and journal are kept. Without it they go when the laboratory goes.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Prints the whole policy at the beginning.
    #[arg(long)]
    show_policy: bool,

    /// How the sum is told. With json it is all that goes to stdout.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Orders to a laboratory that is running in another terminal.
#[derive(Debug, clap::Subcommand)]
enum Order {
    /// Lets a fault into a region.
    Break {
        region: String,
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(FAULT_NAMES))]
        fault: String,
        #[command(flatten)]
        to: To,
    },
    /// Makes a region well again.
    Heal {
        region: String,
        #[command(flatten)]
        to: To,
    },
    /// Breaks the controller's own network.
    Isolate(To),
    /// Mends the controller's own network.
    Rejoin(To),
}

#[derive(Debug, clap::Args)]
struct To {
    /// Where the laboratory takes orders.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = DEFAULT_CONTROL)]
    control: SocketAddr,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| trouble(&error))?;
    match &args.order {
        Some(order) => runtime.block_on(give(order, out)),
        None => runtime.block_on(perform(args, out)),
    }
}

fn trouble(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Trouble, error.to_string())
}

async fn give(order: &Order, out: &mut Output) -> Result<Exit, Failure> {
    let (path, to) = match order {
        Order::Break { region, fault, to } => {
            // Checked by the parser of arguments; this one knows what it means.
            let known = fault.parse::<Fault>();
            known.map_err(|error| Failure::new(Exit::Input, error.to_string()))?;
            (format!("break/{region}/{fault}"), to)
        }
        Order::Heal { region, to } => (format!("heal/{region}"), to),
        Order::Isolate(to) => ("isolate".to_owned(), to),
        Order::Rejoin(to) => ("rejoin".to_owned(), to),
    };
    let request = Ask {
        method: Method::POST,
        url: &format!("http://{}/{path}", to.control),
        headers: Vec::new(),
        body: Bytes::new(),
        answer_max: 4096,
        within: ORDER_WITHIN,
    };
    let (status, said) = ask(request).await.map_err(|error| {
        trouble(&error).hint("start it with `leeward lab --hands-on` in another terminal")
    })?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if status.is_success() {
        out.line(said);
        Ok(Exit::Done)
    } else {
        Err(Failure::new(Exit::Input, said))
    }
}

async fn perform(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    if args.refresh_makes_it_worse && args.outage != Some(Outage::GreyBalancer) {
        let why =
            "`--refresh-makes-it-worse` needs `--outage grey-balancer`: nothing else is refreshed";
        return Err(Failure::new(Exit::Input, why));
    }
    let kept = args
        .state
        .as_deref()
        .map(|state| std::fs::create_dir_all(state).map(|()| state.to_owned()));
    let passing = tempfile::Builder::new().prefix("leeward-lab-").tempdir();
    let state = match (kept, &passing) {
        (Some(kept), _) => kept.map_err(|error| trouble(&error))?,
        (None, Ok(passing)) => passing.path().to_owned(),
        (None, Err(error)) => return Err(trouble(error)),
    };
    if holds_a_journal(&state) {
        let message = format!("`{}` holds the journal of an earlier run", state.display());
        return Err(Failure::new(Exit::Input, message).hint("name an empty directory"));
    }
    let stop = CancellationToken::new();
    let asked_to_stop = stop_on_signals(stop.clone()).map_err(|error| trouble(&error))?;
    let (summary, verdict) = {
        let mut screen = |line: &str| match args.format {
            Format::Text => out.line(line),
            Format::Json => {
                // Nothing is lost if nobody looks.
                let _ = writeln!(anstream::stderr(), "{line}");
            }
        };
        play(show(args, &state), Arc::new(SystemClock), &mut screen, stop)
            .await
            .map_err(|error| failure(&error))?
    };
    asked_to_stop.abort();
    tell(args.format, &summary, out)?;
    Ok(match verdict {
        Verdict::AsDemanded => Exit::Done,
        Verdict::Held => Exit::Held,
        Verdict::Wrong => Exit::Trouble,
    })
}

/// The laboratory's world begins anew each time; an older journal would tell of another one.
fn holds_a_journal(state: &Path) -> bool {
    SERVICE.parse().is_ok_and(|service| pin::journal_path(state, &service).exists())
}

fn tempo(args: &Args) -> Tempo {
    let tempo = if args.fast { Tempo::FAST } else { Tempo::EYES };
    if args.outage == Some(Outage::GreyBalancer) {
        // Probes of one balancer are compared with those before: that takes a few dozen of them.
        return Tempo { window: tempo.window * 2, ..tempo };
    }
    tempo
}

fn show<'a>(args: &Args, state: &'a Path) -> Show<'a> {
    Show {
        outage: args.outage,
        size: Size {
            regions: usize::from(args.regions),
            requests_per_second: args.visitors,
            dns_port: args.dns_port,
            tempo: tempo(args),
            seed: args.seed,
            props: args.outage.map(Outage::props).unwrap_or_default(),
        },
        harm: args.refresh_makes_it_worse,
        lasts: args.lasts.map(Duration::from_secs),
        control: args.control.or(args.hands_on.then_some(DEFAULT_CONTROL)),
        state,
        listen: args.listen,
        print_policy: args.show_policy,
    }
}

fn tell(format: Format, summary: &Summary, out: &mut Output) -> Result<(), Failure> {
    match format {
        Format::Text => out.line(crate::lab::show::summary(summary)),
        Format::Json => {
            let text = serde_json::to_string_pretty(summary).map_err(|error| trouble(&error))?;
            out.line(text);
        }
    }
    Ok(())
}

fn failure(error: &NoShow) -> Failure {
    let failure = trouble(error);
    match error {
        NoShow::Remote { .. } => failure.hint("choose another place with `--control`"),
        NoShow::World(_)
        | NoShow::Write { .. }
        | NoShow::Policy(_)
        | NoShow::Resort(_)
        | NoShow::Port(_)
        | NoShow::Ended(_) => failure,
    }
}

/// Ctrl-c, SIGTERM and SIGHUP end it in order; the sum is still told.
fn stop_on_signals(stop: CancellationToken) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        stop.cancel();
    }))
}
