//! The sidecar: looks, decides, acts and tells, one task for each service, until it is told to stop.
//!
//! Every task has an owner. A service whose task ends by a fault of ours or of the disk begins again in
//! observation; the others do not notice. Stopping is bounded: what is not finished by then is found
//! out by the next start, as after a crash.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch as channel};
use tokio::task::{Id, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub mod board;
mod disk;
pub mod doors;
pub mod file;
pub mod gates;
mod heard;
pub mod hooks;
pub mod http;
pub mod intake;
pub mod once;
pub mod peer;
pub mod pin;
pub mod prober;
pub mod reports;
pub mod round;
mod secret;
pub mod serve;
pub mod site;
pub mod telling;
pub mod tend;
pub mod watch;

use crate::domain::ServiceName;
use crate::journal::JournalError;
use crate::pace::Pacer;
use crate::policy::{ElbPace, Pace, Policy};
use crate::ports::{
    Clock, Clusters, HealthChecks, Levers, Metrics, Objects, Queue, Switchboard, TargetHealth,
    Weights,
};
use crate::telemetry::Numbers;

use board::Board;
use doors::Counted;
use intake::quarantine::Quarantine;
use intake::sns::Verifier;
use intake::{Intake, Registry};
use prober::Network;
use telling::Reach;
use tend::{Loaded, Opened, Tended};

pub use tend::Once;
use watch::{IN_FLIGHT_MAX, Sources};

/// After a stop was asked for, rounds under way have so long to come to their end.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Before a service that broke down begins again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// The same for what serves all of them: a gate that nobody answers stands open.
const SERVED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What `leeward run` was told.
#[derive(Debug, Clone)]
pub struct Settings {
    pub policies: Vec<PathBuf>,
    pub state: PathBuf,
    pub listen: SocketAddr,
    pub holder: String,
    /// Where events are taken in over HTTP; `None`: nowhere.
    pub intake: Option<SocketAddr>,
    /// Certificates between that of SNS and the roots of this machine, as PEM.
    pub sns_chain: Vec<u8>,
}

/// Everything outside that services may read and, as far as their mode allows, change.
#[derive(Debug, Clone)]
pub struct World {
    pub levers: Levers,
    pub targets: Option<Arc<dyn TargetHealth>>,
    pub metrics: Option<Arc<dyn Metrics>>,
    pub queues: Option<Arc<dyn Queue>>,
    /// How channels and status pages in the cloud are reached.
    pub reach: Reach,
    pub objects: Option<Arc<dyn Objects>>,
    pub checks: Option<Arc<dyn HealthChecks>>,
    pub clusters: Option<Arc<dyn Clusters>>,
    pub clock: Arc<dyn Clock>,
}

/// Why the sidecar does not start. Once it runs, nothing but a signal ends it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("read the policy `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` is not a valid policy\n\n{problems}", path.display())]
    Invalid { path: PathBuf, problems: String },
    #[error("`{}` and `{}` both are policies of `{service}`", first.display(), second.display())]
    Twice { service: ServiceName, first: PathBuf, second: PathBuf },
    #[error("make the state directory `{}`: {source}", path.display())]
    State { path: PathBuf, source: io::Error },
    #[error("open the journal of `{service}`: {source}")]
    Journal { service: ServiceName, source: JournalError },
    #[error("listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("listen to signals: {0}")]
    Signals(io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(settings: Settings, world: World) -> Result<(), RunError> {
    let board = Arc::new(Board::new(Arc::new(Numbers::new()), Arc::clone(&world.clock)));
    run_until(settings, world, board, CancellationToken::new()).await
}

/// One look for these events, by a process that ends afterwards. Fails if another controller holds the
/// journal: then that one must be told.
pub async fn look_once(
    policy: &std::path::Path,
    state: &std::path::Path,
    holder: String,
    world: World,
    events: &[crate::event::Event],
    time: Duration,
) -> Result<Once, RunError> {
    let loaded = Loaded::read(policy)?;
    std::fs::create_dir_all(state)
        .map_err(|source| RunError::State { path: state.to_owned(), source })?;
    let service = loaded.policy.service.clone();
    let numbers = Arc::new(Numbers::new());
    let journal = |source| RunError::Journal { service: service.clone(), source };
    let opened = Opened::of(state, &service, &numbers).await.map_err(journal)?;
    let pace = Arc::new(slowest(std::iter::once(&loaded.policy)));
    let tended = Tended {
        registry: Arc::default(),
        state: state.to_owned(),
        holder,
        board: Arc::new(Board::new(Arc::clone(&numbers), Arc::clone(&world.clock))),
        sources: sources(&world, &numbers, &pace),
        pace,
        levers: counted(world.levers, &numbers),
        reach: world.reach,
        reload: channel::channel(()).0,
    };
    Box::pin(tended.tend_once(loaded, opened, events, time)).await.map_err(journal)
}

/// The same until `stop`, or a signal if that comes first, with its state on `board`.
pub async fn run_until(
    settings: Settings,
    world: World,
    board: Arc<Board>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let loaded = load_all(&settings.policies)?;
    std::fs::create_dir_all(&settings.state)
        .map_err(|source| RunError::State { path: settings.state.clone(), source })?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|source| RunError::Listen { address: settings.listen, source })?;
    let intake_listener = match settings.intake {
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|source| RunError::Listen { address, source })?)
        }
        None => None,
    };
    if !settings.listen.ip().is_loopback() {
        warn!(address = %settings.listen, "State is told to everybody who reaches this address.");
    }
    let numbers = Arc::clone(&board.numbers);
    let pace = Arc::new(slowest(loaded.iter().map(|one| &one.policy)));
    let (reload, _) = channel::channel(());
    let registry = Arc::new(Registry::default());
    let tended = Tended {
        registry: Arc::clone(&registry),
        state: settings.state.clone(),
        holder: settings.holder.clone(),
        board: Arc::clone(&board),
        sources: sources(&world, &numbers, &pace),
        levers: counted(with_switches(&world, &settings.holder, &board), &numbers),
        reach: world.reach,
        pace,
        reload: reload.clone(),
    };
    // All journals first: a second controller must not begin with some of the services.
    let mut opened = Vec::new();
    for one in loaded {
        let service = one.policy.service.clone();
        let journal = Opened::of(&settings.state, &service, &numbers)
            .await
            .map_err(|source| RunError::Journal { service, source })?;
        opened.push((one, journal));
    }
    let address = listener.local_addr().unwrap_or(settings.listen);
    info!(%address, services = opened.len(), holder = settings.holder, "Running.");
    let mut serving = JoinSet::new();
    let (listener, views, end) = (Arc::new(listener), Arc::clone(&board), stop.clone());
    serving.spawn(keep_going("telling over HTTP", stop.clone(), move || {
        serve::serve(Arc::clone(&listener), Arc::clone(&views), end.clone())
    }));
    let intake = intake(&settings, registry, &world.clock, &numbers);
    if let Some(listener) = intake_listener {
        let address = listener.local_addr().ok();
        info!(?address, "Events are taken in.");
        let (listener, end) = (Arc::new(listener), stop.clone());
        let doors = intake::http::router(Arc::clone(&intake));
        serving.spawn(keep_going("taking events in", stop.clone(), move || {
            intake::http::serve(Arc::clone(&listener), doors.clone(), end.clone())
        }));
    } else if opened.iter().any(|(one, _)| one.policy.triggers.over_http()) {
        warn!(
            "A policy has triggers over HTTP, but no address to listen on: `--intake` names one."
        );
    }
    match world.queues {
        Some(queues) => {
            let end = stop.clone();
            serving.spawn(keep_going("polling queues", stop.clone(), move || {
                intake::queue::poll_all(Arc::clone(&queues), Arc::clone(&intake), end.clone())
            }));
        }
        None if opened.iter().any(|(one, _)| !one.policy.triggers.queues.is_empty()) => {
            warn!("A policy names queues, and this build cannot poll them.");
        }
        None => {}
    }
    let mut owner =
        Owner { tended, tasks: JoinSet::new(), services: HashMap::new(), stop: stop.clone() };
    for (one, journal) in opened {
        owner.start(one, Some(journal), Duration::ZERO);
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hang_up.recv() => {
                info!("Looking at the policy files.");
                reload.send_replace(());
            }
            () = owner.restart_what_ended() => {}
        }
    }
    info!("Stopping.");
    stop.cancel();
    owner.end().await;
    serving.shutdown().await;
    info!("Stopped.");
    Ok(())
}

/// Runs what serves all services until `stop`: none of it ends by itself, and what breaks down begins again.
async fn keep_going<F>(what: &'static str, stop: CancellationToken, mut begin: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut task = JoinSet::new();
        task.spawn(begin());
        let ended = task.join_next().await;
        if stop.is_cancelled() {
            return;
        }
        let broke = ended.and_then(Result::err).map(|error| error.to_string());
        let why = broke.unwrap_or_else(|| "it returned".to_owned());
        error!(what, why, "What serves all services broke down and begins again.");
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(SERVED_AGAIN_AFTER) => {}
        }
    }
}

/// The tasks of all services.
struct Owner {
    tended: Tended,
    tasks: JoinSet<Result<(), JournalError>>,
    services: HashMap<Id, Loaded>,
    stop: CancellationToken,
}

impl Owner {
    fn start(&mut self, loaded: Loaded, journal: Option<Opened>, after: Duration) {
        let (tended, stop) = (self.tended.clone(), self.stop.clone());
        let policy = loaded.clone();
        let task = self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(after) => {}
            }
            Box::pin(tended.tend(policy, journal, stop)).await
        });
        self.services.insert(task.id(), loaded);
    }

    /// Waits for a service that ends by itself, which none should, and starts it again.
    async fn restart_what_ended(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, why) = match ended {
            Ok((id, Ok(()))) => (id, "it returned".to_owned()),
            Ok((id, Err(error))) => (id, error.to_string()),
            Err(error) => (error.id(), error.to_string()),
        };
        let Some(loaded) = self.services.remove(&id) else { return };
        if self.stop.is_cancelled() {
            return;
        }
        error!(service = %loaded.policy.service, why, "A service broke down and begins again.");
        self.tended.broke_down(&loaded, &why);
        // The file may have changed since: begin with what is in it now, if that is valid.
        let fresh = Loaded::read(&loaded.path).ok();
        let loaded =
            fresh.filter(|new| new.policy.service == loaded.policy.service).unwrap_or(loaded);
        self.start(loaded, None, AGAIN_AFTER);
    }

    async fn end(&mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOP_WITHIN, all).await.is_err() {
            warn!("A round did not end in time; the next start finds out what became of it.");
        }
        self.tasks.shutdown().await;
    }
}

fn intake(
    settings: &Settings,
    registry: Arc<Registry>,
    clock: &Arc<dyn Clock>,
    numbers: &Arc<Numbers>,
) -> Arc<Intake> {
    Arc::new(Intake {
        registry,
        quarantine: Quarantine::new(&settings.state),
        verifier: Verifier::of_this_machine(&settings.sns_chain),
        clock: Arc::clone(clock),
        numbers: Arc::clone(numbers),
    })
}

fn load_all(paths: &[PathBuf]) -> Result<Vec<Loaded>, RunError> {
    let mut seen: BTreeMap<ServiceName, PathBuf> = BTreeMap::new();
    let mut all = Vec::new();
    for path in paths {
        let one = Loaded::read(path)?;
        let service = one.policy.service.clone();
        if let Some(first) = seen.insert(service.clone(), path.clone()) {
            return Err(RunError::Twice { service, first, second: path.clone() });
        }
        for warning in &one.warnings {
            warn!(policy = %path.display(), line = warning.place.as_ref().map(|place| place.line), "{}", warning.message);
        }
        all.push(one);
    }
    Ok(all)
}

/// One account, one pace: of several policies the slowest holds for all.
pub fn slowest<'a>(policies: impl Iterator<Item = &'a Policy> + Clone) -> Pacer {
    let refreshes = policies.clone().filter_map(|policy| policy.refresh.as_ref());
    let elb = refreshes.map(|refresh| refresh.pace).reduce(ElbPace::slower).unwrap_or_default();
    let paces = policies.filter_map(Policy::weights_lever).map(|lever| lever.pace);
    let slower = |a: Pace, b: Pace| Pace {
        requests_per_second: a.requests_per_second.min(b.requests_per_second),
        requests_burst: a.requests_burst.min(b.requests_burst),
        changes_per_second: a.changes_per_second.min(b.changes_per_second),
        changes_burst: a.changes_burst.min(b.changes_burst),
    };
    Pacer::new(paces.reduce(slower).unwrap_or_default()).with_elb(elb)
}

/// The levers, with switches made of what this deployment reaches.
fn with_switches(world: &World, holder: &str, board: &Board) -> Levers {
    let switchboard: Arc<dyn Switchboard> = Arc::new(gates::Board {
        objects: world.objects.clone(),
        checks: world.checks.clone(),
        clusters: world.clusters.clone(),
        served: Arc::clone(&board.gates),
        holder: holder.to_owned(),
    });
    Levers { switchboard: Some(switchboard), ..world.levers.clone() }
}

fn counted(levers: Levers, numbers: &Arc<Numbers>) -> Levers {
    let count = |weights| Arc::new(Counted::new(weights, Arc::clone(numbers))) as Arc<dyn Weights>;
    Levers { weights: levers.weights.map(count), ..levers }
}

fn sources(world: &World, numbers: &Arc<Numbers>, pace: &Arc<Pacer>) -> Sources {
    Sources {
        prober: Arc::new(Network::new(Arc::clone(&world.clock))),
        targets: world.targets.clone(),
        metrics: world.metrics.clone(),
        clock: Arc::clone(&world.clock),
        numbers: Arc::clone(numbers),
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        pace: Arc::clone(pace),
        look_now: None,
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_serves_all_begins_again_when_it_breaks_down_and_ends_with_the_stop() {
        let (begun, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (count, end) = (Arc::clone(&begun), stop.clone());
        let task = tokio::spawn(keep_going("a test", stop.clone(), move || {
            let (time, end) = (count.fetch_add(1, Ordering::SeqCst), end.clone());
            async move {
                match time {
                    0 => panic!("it breaks down"),
                    1 => {}
                    _ => end.cancelled().await,
                }
            }
        }));
        sleep(SERVED_AGAIN_AFTER * 10).await;
        assert_eq!(begun.load(Ordering::SeqCst), 3, "after a panic and after an end");
        stop.cancel();
        task.await.unwrap();
    }
}
