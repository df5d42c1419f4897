//! One word of a human, carried out without a running service: the journal is taken, signals are watched
//! for as long as the judgement needs, and rounds are made until the word is met, held or too late.
//!
//! Nothing but this one word is carried out; what the machine would do by itself waits for `leeward run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::World;
use super::doors::levers_for;
use super::pin::{self, Says};
use super::prober::Network;
use super::round::{Done, Reach, Service};
use super::telling::{Teller, ways};
use super::watch::{IN_FLIGHT_MAX, SAMPLES_MAX, Sources, watch};
use crate::decide::{Asking, Hold};
use crate::journal::{Journal, JournalError, Log as _};
use crate::memory::{Entry, Outcome};
use crate::policy::Policy;
use crate::telemetry::Numbers;

/// Rounds after the windows are full, before a hold is taken for the answer.
const ROUNDS_SLACK: u32 = 2;

/// Messages under way get so long after the work is done.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// What is to be done, by whom it is called and how long it may take.
#[derive(Debug)]
pub struct Task {
    pub policy: Policy,
    pub state: PathBuf,
    pub holder: String,
    pub says: Says,
    /// Signals are watched for so long before a hold is believed.
    pub watch: Duration,
    /// After that so long until what was begun is in force.
    pub within: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// The answers are as asked.
    Met,
    /// The open order was given up, as far as it had not happened.
    Withdrawn {
        why: String,
    },
    /// There was nothing to withdraw.
    NothingOpen,
    /// The order is accepted as a whole and cannot be recalled.
    Accepted,
    Held {
        holds: Vec<Hold>,
    },
    /// It cannot be done.
    Refused {
        why: String,
    },
    /// It was begun and is not in force yet. The journal keeps it for the next start.
    UnderWay,
}

/// Carries out one word. Fails if another controller holds the journal, or if it cannot be written.
pub async fn once(task: Task, world: World) -> Result<Came, JournalError> {
    let path = pin::journal_path(&task.state, &task.policy.service);
    let (mut journal, recovered) = Journal::open(&path)?;
    let mut acts = recovered.acts;
    let now = world.clock.now();
    if let Some(pin) = pin::read(&task.state, &task.policy.service) {
        let entry = Entry::Pinned(pin);
        journal.append(now, &entry)?;
        acts.apply(now, &entry);
    }
    let mut service = Service::new(
        task.policy.clone(),
        levers_for(task.policy.mode, &world.levers),
        Box::new(journal),
        Arc::clone(&world.clock),
        Arc::new(super::slowest(std::iter::once(&task.policy))),
        task.holder.clone(),
    );
    service.memory.acts = acts;
    service.reach = Reach::Asked;
    let mut tellers = JoinSet::new();
    let ways = ways(&task.policy, &world.reach);
    if !ways.is_empty() {
        let (teller, desk) = Teller::new(ways, None);
        tellers.spawn(desk);
        service.outbox = Some(Arc::new(teller));
    }
    let came = work(&mut service, task, &world).await;
    drop(service);
    // What is not taken by then is told again by the next start.
    let told = async { while tellers.join_next().await.is_some() {} };
    let _ = timeout(TOLD_WITHIN, told).await;
    came
}

async fn work(service: &mut Service, task: Task, world: &World) -> Result<Came, JournalError> {
    match task.says {
        Says::Abort(abort) => {
            // Before anything is taken further: what was left half done must not be finished first.
            service.abort(abort)?;
            withdraw(service, task.within).await
        }
        Says::Ask(request) => {
            service.start().await?;
            service.ask(*request)?;
            let spans = (task.watch, task.within);
            carry_out(service, world, spans).await
        }
    }
}

async fn withdraw(service: &mut Service, within: Duration) -> Result<Came, JournalError> {
    if service.memory.acts.order.is_none() {
        return Ok(Came::NothingOpen);
    }
    let until = Instant::now() + within;
    let mut beat = interval(service.policy.round_every());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let done = service.round(Vec::new(), Vec::new()).await?;
        match (&done.ended, &service.memory.acts.order) {
            (Some(Outcome::Abandoned { why } | Outcome::Refused { why }), None) => {
                return Ok(Came::Withdrawn { why: why.clone() });
            }
            (_, None) => return Ok(Came::Accepted),
            (_, Some(order)) if !order.has_unsent() && !order.is_repair() => {
                return Ok(Came::Accepted);
            }
            (_, Some(_)) if Instant::now() >= until => return Ok(Came::UnderWay),
            (_, Some(_)) => {}
        }
    }
}

async fn carry_out(
    service: &mut Service,
    world: &World,
    (watching, within): (Duration, Duration),
) -> Result<Came, JournalError> {
    let policy = Arc::new(service.policy.clone());
    let sources = Sources {
        prober: Arc::new(Network::new(Arc::clone(&world.clock))),
        targets: world.targets.clone(),
        metrics: world.metrics.clone(),
        clock: Arc::clone(&world.clock),
        numbers: Arc::new(Numbers::new()),
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        pace: Arc::clone(&service.pace),
        look_now: None,
    };
    let (sender, mut receiver) = mpsc::channel(SAMPLES_MAX);
    let stop = CancellationToken::new();
    let mut watchers = JoinSet::new();
    watchers.spawn(watch(Arc::clone(&policy), sources, sender, stop.clone()));
    let every = policy.round_every();
    let watched = Instant::now() + watching.max(policy.judge.window) + every * ROUNDS_SLACK;
    let until = watched + within;
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let came = loop {
        beat.tick().await;
        let mut samples = Vec::new();
        while let Ok(sample) = receiver.try_recv() {
            samples.push(sample);
        }
        let done = service.round(samples, Vec::new()).await?;
        let now = Instant::now();
        if let Some(came) = judge(service, &done, now >= watched, now >= until) {
            break came;
        }
    };
    stop.cancel();
    watchers.shutdown().await;
    if let Came::Held { .. } | Came::Refused { .. } = came
        && service.memory.acts.request.is_some()
    {
        service.drop_request("the command that asked has ended".to_owned())?;
    }
    Ok(came)
}

/// What a round says about the request; `None`: go on.
fn judge(service: &Service, done: &Done, watched: bool, late: bool) -> Option<Came> {
    let acts = &service.memory.acts;
    let Some(request) = &acts.request else {
        let why = service.dropped.clone().unwrap_or_else(|| "it was taken back".to_owned());
        return Some(Came::Refused { why });
    };
    if request.met_at.is_some() {
        return Some(Came::Met);
    }
    match &done.ended {
        Some(Outcome::Refused { why } | Outcome::Abandoned { why }) => {
            return Some(Came::Refused { why: why.clone() });
        }
        Some(Outcome::Done) | None => {}
    }
    if let Some(why) = done.unplannable.as_ref().filter(|_| watched) {
        return Some(Came::Refused { why: why.to_string() });
    }
    if acts.order.is_some() || done.ended.is_some() {
        return late.then_some(Came::UnderWay);
    }
    match done.decision.asked {
        Asking::Waits if watched => Some(Came::Held { holds: done.decision.holds.clone() }),
        Asking::Nothing => Some(Came::Refused { why: "its time is over".to_owned() }),
        Asking::Waits | Asking::Moves | Asking::Met => late.then_some(Came::UnderWay),
    }
}
