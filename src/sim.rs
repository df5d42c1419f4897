//! A seeded world in virtual time around the real round, executor and journal.
//!
//! [`run`] draws a policy and a timeline of troubles from a seed, answers every port by them, kills and
//! restarts the controller, steps its clock, lets humans and strangers interfere; and looks on from
//! outside whether an invariant breaks. Nothing here is real time and nothing is chance: the same seed
//! gives the same run to the last call.

mod check;
mod dice;
mod doors;
mod scenario;
mod world;
mod zones;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use self::doors::{Disk, Doors};
use self::scenario::Blow;
pub use self::scenario::{Drawn, Kind, Scenario, Trouble};
use self::world::World;
use crate::decide::{Decision, decide, decide_in_full};
use crate::domain::{Malformed, Timestamp};
use crate::health::{Event, Happening};
use crate::journal::JournalError;
use crate::memory::{Acts, Entry, Memory};
use crate::pace::Pacer;
use crate::policy::{LeverKind, Mode, Pace, Policy, Readback};
use crate::ports::{Clock, Levers};
use crate::runtime::round::Service;

/// A budget that nobody else uses.
const FREE: Pace = Pace {
    requests_per_second: 1e6,
    requests_burst: 1e6,
    changes_per_second: 1e6,
    changes_burst: 1e6,
};

/// What became of one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub kind: Kind,
    /// The first invariant that was broken, and when.
    pub broken: Option<(Duration, String)>,
    pub rounds: u64,
    /// Virtual time.
    pub lasted: Duration,
    /// Changes of records that were accepted, ours and others'.
    pub changes: u64,
    pub deaths: u32,
    /// Zonal shifts that were begun.
    pub zones: u64,
    /// Lines of the journal, to compare runs by.
    pub lines: usize,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("build a runtime")]
    Runtime(#[source] std::io::Error),
    #[error("the journal cannot be read back")]
    Journal(#[source] serde_json::Error),
}

/// Runs one seed to its end or to the first broken invariant.
pub fn run(seed: u64, traced: bool) -> Result<Run, SimError> {
    play(seed, Scenario::of(seed, Drawn::Whole)?, traced, decide)
}

/// The same with every round decided in full, also those in which there is nothing to decide.
pub fn run_in_full(seed: u64, traced: bool) -> Result<Run, SimError> {
    play(seed, Scenario::of(seed, Drawn::Whole)?, traced, decide_in_full)
}

/// The same for less of the world.
pub fn run_in(drawn: Drawn, seed: u64, traced: bool) -> Result<Run, SimError> {
    play(seed, Scenario::of(seed, drawn)?, traced, decide)
}

type Judge = fn(&Policy, &Memory, Timestamp) -> Decision;

fn play(seed: u64, scenario: Scenario, traced: bool, judge: Judge) -> Result<Run, SimError> {
    let kind = scenario.kind;
    let world = Arc::new(World::new(seed, scenario, traced)?);
    // The name servers are asked in tasks, so there must be a runtime; there are no timers in it.
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().map_err(SimError::Runtime)?;
    let mut driver =
        Driver { world: Arc::clone(&world), judge, rounds: 0, deaths: 0, next_blow: 0 };
    runtime.block_on(driver.drive())?;
    let (rounds, deaths) = (driver.rounds, driver.deaths);
    let lasted = world.elapsed();
    let changes = world.zones.changes();
    let mut state = world.state();
    let broken = state.check.broken.take().map(|what| (lasted, what));
    let trace = state.trace.take().unwrap_or_default();
    let (zones, lines) = (state.zonal.begun(), state.log.len());
    Ok(Run { kind, broken, rounds, lasted, changes, deaths, zones, lines, trace })
}

struct Driver {
    world: Arc<World>,
    judge: Judge,
    rounds: u64,
    deaths: u32,
    next_blow: usize,
}

/// What became of a call into the controller.
enum Lived<T> {
    Done(T),
    Died,
}

impl Driver {
    async fn drive(&mut self) -> Result<(), SimError> {
        let scenario = self.world.state().scenario.clone();
        let every = scenario.policy.round_every();
        self.world.say(|| format!("{:?}: {:?}", scenario.kind, scenario.policy));
        for (from, to, trouble) in &scenario.troubles {
            self.world.say(|| format!("from {from:?} to {to:?}: {trouble:?}"));
        }
        let mut service: Option<Service> = None;
        while self.world.elapsed() < scenario.lasts && self.world.state().check.broken.is_none() {
            let began = self.world.time.truth();
            let mut events = self.strike(&scenario).await;
            self.world.land(false).await;
            self.world.land_turns();
            self.world.settle()?;
            let Some(mut living) = (match service.take() {
                Some(service) => Some(service),
                None => self.come_up(&scenario).await?,
            }) else {
                self.be_dead();
                continue;
            };
            events.extend(self.world.state().said.clone());
            let samples = self.world.samples()?;
            living.pace = self.budget();
            self.rounds += 1;
            let lived = self.survive(living.round(samples, events)).await;
            match lived {
                Lived::Died => self.be_dead(),
                Lived::Done(Err(error)) => {
                    self.world.state().check.broken = Some(format!("a round failed: {error}"));
                }
                Lived::Done(Ok(_)) => {
                    self.world.state().said.clear();
                    service = Some(living);
                }
            }
            self.must_leave(&scenario)?;
            let passed = self.world.time.truth().since(began);
            self.world.time.pass(every.saturating_sub(passed));
        }
        self.world.know_gates();
        self.world.know_zones();
        Ok(())
    }

    /// What others have left of the shared budget, for one round. Buckets fill in real time, which is no
    /// part of the simulation: one that is nearly empty never fills here, and is changed for another.
    fn budget(&self) -> Arc<Pacer> {
        let few = std::cell::Cell::new(None);
        self.world.troubled(|trouble| {
            let Trouble::FewTokens(left) = trouble else { return false };
            few.set(Some(*left));
            true
        });
        let Some(left) = few.get() else { return Arc::new(Pacer::new(FREE)) };
        let pace =
            Pace { requests_per_second: 1e-12, requests_burst: f64::from(left.max(1)), ..FREE };
        let pacer = Pacer::new(pace);
        if left == 0 {
            // A full bucket of one, and it is gone.
            let taken = pacer.try_take(1, 0);
            debug_assert_eq!(taken, Ok(()));
        }
        Arc::new(pacer)
    }

    /// Runs one call of the controller until it is done or the controller is dead.
    async fn survive<T>(&self, call: impl Future<Output = T>) -> Lived<T> {
        let call = pin!(call);
        let died = pin!(self.world.died.notified());
        let ended = futures_util::future::select(call, died).await;
        if self.world.state().dead {
            return Lived::Died;
        }
        match ended {
            futures_util::future::Either::Left((done, _)) => Lived::Done(done),
            futures_util::future::Either::Right(_) => Lived::Died,
        }
    }

    fn be_dead(&mut self) {
        self.deaths += 1;
        let down = {
            let mut state = self.world.state();
            state.dead = false;
            state.fuse = None;
            state.ports.span(1, 45)
        };
        self.world.time.pass(down);
    }

    /// A new controller with what the last one left on disk, in its stored form.
    async fn come_up(&self, scenario: &Scenario) -> Result<Option<Service>, SimError> {
        let world = &self.world;
        let mut acts = Acts::default();
        let mut unwritten = Acts::default();
        let log = world.state().log.clone();
        for (at, entry) in &log {
            let text = serde_json::to_string(entry).map_err(SimError::Journal)?;
            let stored: Entry = serde_json::from_str(&text).map_err(SimError::Journal)?;
            acts.apply(*at, &stored);
            unwritten.apply(*at, entry);
        }
        if acts != unwritten {
            world.state().check.broken =
                Some("the journal reads back as something else".to_owned());
        }
        // What nobody has written down is lost with whoever should have.
        world.state().receipts.clear();
        let doors = Arc::new(Doors(Arc::clone(world)));
        let lever = scenario.policy.weights_lever();
        let asked = lever.is_some_and(|lever| lever.readback != Readback::None);
        let gated = scenario.policy.levers.iter().any(|lever| lever.kind() == LeverKind::Gates);
        let levers = Levers {
            weights: lever.is_some().then(|| doors.clone() as Arc<dyn crate::ports::Weights>),
            resolver: asked.then(|| doors.clone() as Arc<dyn crate::ports::Resolver>),
            gates: gated.then(|| doors.clone() as Arc<dyn crate::ports::Switches>),
            balancers: Some(doors.clone()),
            zonal_shifts: Some(doors.clone()),
            ..Levers::default()
        };
        let mut service = Service::new(
            scenario.policy.clone(),
            levers,
            Box::new(Disk(Arc::clone(world))),
            Arc::clone(world) as Arc<dyn Clock>,
            self.budget(),
            "sim".to_owned(),
        );
        service.outbox = Some(doors);
        service.read_patience = None;
        service.judge = self.judge;
        service.memory.acts = acts;
        world.say(|| "the controller comes up".to_owned());
        let started: Lived<Result<_, JournalError>> = self.survive(service.start()).await;
        Ok(match started {
            Lived::Done(Ok(_)) => Some(service),
            Lived::Done(Err(error)) => {
                world.state().check.broken = Some(format!("the start failed: {error}"));
                Some(service)
            }
            Lived::Died => None,
        })
    }

    /// Lets everything happen whose time has come; what humans say waits until it is written down.
    async fn strike(&mut self, scenario: &Scenario) -> Vec<Event> {
        let elapsed = self.world.elapsed();
        let now = self.world.now();
        let mut events = Vec::new();
        {
            let mut state = self.world.state();
            let aimed = std::mem::take(&mut state.aimed);
            let heard = aimed.into_iter().map(|what| Event { at: now, heard_at: now, what });
            state.said.extend(heard);
        }
        while let Some((at, blow)) = scenario.blows.get(self.next_blow)
            && *at <= elapsed
        {
            self.next_blow += 1;
            self.world.say(|| format!("{blow:?}"));
            let by = "ann".to_owned();
            let human = |what| {
                self.world.state().said.push(Event { at: now, heard_at: now, what });
            };
            match blow {
                Blow::Crash { steps } => self.world.state().fuse = Some(*steps),
                Blow::ClockStep(seconds) => self.world.time.step(*seconds),
                Blow::Freeze { lasts } => human(Happening::Freeze {
                    by,
                    reason: "maintenance".to_owned(),
                    until: lasts.map(|span| now.plus(span)),
                }),
                Blow::FreezeOrder { lines, lasts } => {
                    self.world.state().aim = Some((*lines, *lasts));
                }
                Blow::Unfreeze => human(Happening::Unfreeze { by }),
                Blow::Approve => human(Happening::Approve { by, until: None }),
                Blow::Deny => human(Happening::Deny { by }),
                Blow::Deploy(regions) => {
                    let (regions, version) = (regions.clone(), "v2".to_owned());
                    let what = Happening::Deploy { regions, version, scope: "app".to_owned() };
                    events.push(Event { at: now, heard_at: now, what });
                }
                Blow::Stranger(edit) => self.world.stranger(*edit).await,
            }
        }
        events
    }

    /// A lone sick region with a fit standby and a working lever is left in time.
    fn must_leave(&self, scenario: &Scenario) -> Result<(), SimError> {
        let Some((region, by)) = &scenario.must_leave else { return Ok(()) };
        if scenario.policy.mode != Mode::Auto || self.world.elapsed() < *by {
            return Ok(());
        }
        let share = self.world.answered()?.get(region).copied().unwrap_or(0.0);
        if share > 0.02 {
            self.world.state().check.must_be_left(region, share);
        }
        Ok(())
    }
}
