//! Plays an outage trace in closed loop: observations in, actions out, the real round in between.
//!
//! Nothing here decides. Observations become samples and events, the ports of the round become actions
//! whose results arrive with the next line, and the clock is the trace's. The protocol is the one of the
//! `outage-trace` format: a `hello` line, then one observation and one list of actions for each tick.
//! Who speaks it is an [`Opposite`]: a player behind stdin and stdout, or a world in this process.

mod hello;
mod intake;
mod world;

use std::future::Future;
use std::io::{BufRead, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::{Value, json};

use self::intake::Intake;
use crate::decide::Decision;
use crate::domain::Timestamp;
use crate::journal::{Forgetful, Journal, JournalError, Log};
use crate::memory::{Acts, Outcome};
use crate::pace::Pacer;
use crate::policy::{Pace, Policy};
use crate::ports::{Clock as _, Levers};
use crate::runtime::round::Service;

pub use hello::Hello;
pub use world::World;

/// The longest line that is read: a tick of a hundred regions takes a tenth of it.
const LINE_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    #[error("read the next line")]
    Read(#[source] std::io::Error),
    #[error("write the actions")]
    Write(#[source] std::io::Error),
    #[error("line {line}: {what}")]
    Line { line: usize, what: String },
    /// Of a world in this process, so a bug of ours.
    #[error("after {at} s: {what}")]
    Tick { at: u64, what: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Who gives observations and takes actions.
pub trait Opposite {
    /// The next observation; `None` when there will be no more for this player.
    fn hear(&mut self) -> Result<Option<Value>, PlayError>;

    /// The actions since the last observation, in order.
    fn speak(&mut self, actions: &[Value]) -> Result<(), PlayError>;

    /// A round that began at this time came to this decision.
    fn decided(&mut self, _at: Timestamp, _decision: &Decision) {}

    /// What was heard last cannot be understood.
    fn wrong(&self, what: String) -> PlayError;

    /// There are no more observations, and a round still waits for the results of its actions.
    fn cut_off(&self) -> Result<(), PlayError>;
}

/// Who plays: a policy, and what was done before.
pub struct Player<'a> {
    pub hello: &'a Hello,
    /// Its regions are those of the `hello`, and its levers the stand-ins of [`Hello::levers_for`].
    pub policy: Policy,
    pub log: Box<dyn Log>,
    /// What the log says so far.
    pub acts: Acts,
}

impl std::fmt::Debug for Player<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("service", &self.policy.service).finish_non_exhaustive()
    }
}

/// Plays until the input ends. With `state`, what was done survives a restart in that file.
pub fn play(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    state: Option<&Path>,
) -> Result<(), PlayError> {
    let mut lines = Lines { input, output, number: 0 };
    let Some(first) = lines.hear()? else { return Ok(()) };
    let hello: Hello = first
        .get("hello")
        .cloned()
        .ok_or_else(|| "expected `hello`".to_owned())
        .and_then(|hello| serde_json::from_value(hello).map_err(|error| error.to_string()))
        .map_err(|what| lines.wrong(what))?;
    let policy = hello.policy().map_err(|what| lines.wrong(what))?;
    let (log, acts): (Box<dyn Log>, _) = match state {
        Some(path) => {
            let (journal, recovered) = Journal::open(path)?;
            (Box::new(journal), Some(recovered.acts))
        }
        None => (Box::new(Forgetful), None),
    };
    let acts = acts.unwrap_or_default();
    Player { hello: &hello, policy, log, acts }.play(&mut lines)
}

impl Player<'_> {
    /// Plays until the opposite has no more to say.
    pub fn play(self, opposite: &mut dyn Opposite) -> Result<(), PlayError> {
        let Self { hello, policy, log, acts } = self;
        let world = Arc::new(World::new(hello));
        world.remember(acts.order.as_ref());
        // Pauses between calls are decided in virtual time; the real-time buckets must not interfere.
        let free = Pace {
            requests_per_second: 1e6,
            requests_burst: 1e6,
            changes_per_second: 1e6,
            changes_burst: 1e6,
        };
        let levers = Levers {
            weights: Some(world.clone()),
            resolver: None,
            gates: hello
                .has("health_flip")
                .then(|| world.clone() as Arc<dyn crate::ports::Switches>),
            balancers: hello
                .has("lb_refresh")
                .then(|| world.clone() as Arc<dyn crate::ports::Balancers>),
            ..Levers::default()
        };
        let mut intake = Intake::new(hello, &policy);
        let pace = Arc::new(Pacer::new(free));
        let holder = "play".to_owned();
        let mut service = Service::new(policy, levers, log, world.clone(), pace, holder);
        service.outbox = Some(world.clone());
        service.memory.acts = acts;
        // What was moved before the trace begins was moved by those whose intent we follow.
        let ordered = &mut service.memory.acts.ordered;
        *ordered = ordered.take().or_else(|| hello.starts_away());
        let mut talk = Talk { world: &world, opposite, held: Vec::new() };
        let mut started = false;
        while let Some(line) = talk.opposite.hear()? {
            world.observe(&line).map_err(|what| talk.opposite.wrong(what))?;
            talk.held.push(line);
            if !started {
                started = true;
                let start = pin!(service.start());
                let Some(ended) = talk.run(start)? else { return talk.opposite.cut_off() };
                report(&world, ended?.as_ref());
            }
            // One round for all lines that came in while the round before waited for its results.
            while !talk.held.is_empty() {
                let (mut samples, mut events) = (Vec::new(), Vec::new());
                for line in std::mem::take(&mut talk.held) {
                    let (more, happened) =
                        intake.take(&line).map_err(|what| talk.opposite.wrong(what))?;
                    samples.extend(more);
                    events.extend(happened);
                }
                let began = world.now();
                let round = pin!(service.round(samples, events));
                let Some(done) = talk.run(round)? else { return talk.opposite.cut_off() };
                let done = done?;
                talk.opposite.decided(began, &done.decision);
                report(&world, done.ended.as_ref());
            }
            talk.opposite.speak(&world.spoken())?;
        }
        Ok(())
    }
}

fn report(world: &World, ended: Option<&Outcome>) {
    if ended == Some(&Outcome::Done) {
        world.say(json!({"do": "report", "state": "done"}));
    }
}

/// The player's side of the conversation.
struct Talk<'a> {
    world: &'a World,
    opposite: &'a mut dyn Opposite,
    /// Lines that came in while a round was waiting, still to be looked at.
    held: Vec<Value>,
}

impl Talk<'_> {
    /// Runs one future of the round. Whenever it waits, it waits for the world: the actions so far go out
    /// and the next line brings their results. `None` if there is no next line: the player was stopped in
    /// the middle of a round, as by a crash.
    fn run<F: Future>(
        &mut self,
        mut future: std::pin::Pin<&mut F>,
    ) -> Result<Option<F::Output>, PlayError> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return Ok(Some(done));
            }
            self.opposite.speak(&self.world.spoken())?;
            let Some(line) = self.opposite.hear()? else { return Ok(None) };
            self.world.observe(&line).map_err(|what| self.opposite.wrong(what))?;
            self.held.push(line);
        }
    }
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
    number: usize,
}

impl Opposite for Lines<'_> {
    fn hear(&mut self) -> Result<Option<Value>, PlayError> {
        let mut text = Vec::new();
        let mut bounded = std::io::Read::take(&mut *self.input, LINE_MAX as u64);
        let length = bounded.read_until(b'\n', &mut text).map_err(PlayError::Read)?;
        if length == 0 {
            return Ok(None);
        }
        self.number += 1;
        if length >= LINE_MAX {
            return Err(self.wrong(format!("longer than {LINE_MAX} octets")));
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| self.wrong(error.to_string()))
    }

    fn speak(&mut self, actions: &[Value]) -> Result<(), PlayError> {
        let line = serde_json::to_string(actions).unwrap_or_else(|_| "[]".to_owned());
        writeln!(self.output, "{line}").and_then(|()| self.output.flush()).map_err(PlayError::Write)
    }

    fn wrong(&self, what: String) -> PlayError {
        PlayError::Line { line: self.number, what }
    }

    fn cut_off(&self) -> Result<(), PlayError> {
        let what = "the input ended before the results of the last actions came".to_owned();
        Err(self.wrong(what))
    }
}
