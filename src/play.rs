//! Plays an outage trace in closed loop: JSON lines in, actions out, the real round in between.
//!
//! Nothing here decides. Observations become samples and events, the ports of the round become actions
//! whose results arrive with the next line, and the clock is the trace's. The protocol is the one of the
//! `outage-trace` format: a `hello` line, then one observation and one list of actions for each tick.

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

use crate::journal::{Forgetful, Journal, JournalError, Log};
use crate::memory::Outcome;
use crate::pace::Pacer;
use crate::policy::Pace;
use crate::ports::Levers;
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
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Plays until the input ends. With `state`, what was done survives a restart in that file.
pub fn play(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    state: Option<&Path>,
) -> Result<(), PlayError> {
    let mut lines = Lines { input, number: 0, held: Vec::new() };
    let Some(first) = lines.next()? else { return Ok(()) };
    let hello: Hello = first
        .get("hello")
        .cloned()
        .ok_or_else(|| "expected `hello`".to_owned())
        .and_then(|hello| serde_json::from_value(hello).map_err(|error| error.to_string()))
        .map_err(|what| lines.wrong(what))?;
    let policy = hello.policy().map_err(|what| lines.wrong(what))?;
    let world = Arc::new(World::new(&hello));
    let (log, acts): (Box<dyn Log>, _) = match state {
        Some(path) => {
            let (journal, recovered) = Journal::open(path)?;
            (Box::new(journal), Some(recovered.acts))
        }
        None => (Box::new(Forgetful), None),
    };
    let acts = acts.unwrap_or_default();
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
        gates: hello.has("health_flip").then(|| world.clone() as Arc<dyn crate::ports::Gates>),
        balancers: hello
            .has("lb_refresh")
            .then(|| world.clone() as Arc<dyn crate::ports::Balancers>),
    };
    let mut service = Service::new(
        policy,
        levers,
        log,
        world.clone(),
        Arc::new(Pacer::new(free)),
        "play".to_owned(),
    );
    service.outbox = Some(world.clone());
    service.memory.acts = acts;
    let mut started = false;
    while let Some(line) = lines.next()? {
        world.observe(&line).map_err(|what| lines.wrong(what))?;
        lines.held.push(line);
        if !started {
            started = true;
            let start = pin!(service.start());
            let ended = run(start, &world, &mut lines, output)??;
            report(&world, ended.as_ref());
        }
        // One round for all lines that came in while the round before waited for its results.
        while !lines.held.is_empty() {
            let (mut samples, mut events) = (Vec::new(), Vec::new());
            for line in std::mem::take(&mut lines.held) {
                let (more, happened) =
                    intake::intake(&hello, &line).map_err(|what| lines.wrong(what))?;
                samples.extend(more);
                events.extend(happened);
            }
            let round = pin!(service.round(samples, events));
            let done = run(round, &world, &mut lines, output)??;
            report(&world, done.ended.as_ref());
        }
        speak(output, &world.spoken())?;
    }
    Ok(())
}

fn report(world: &World, ended: Option<&Outcome>) {
    if ended == Some(&Outcome::Done) {
        world.say(json!({"do": "report", "state": "done"}));
    }
}

/// Runs one future of the round. Whenever it waits, it waits for the world: the actions so far go out
/// and the next line brings their results.
fn run<F: Future>(
    mut future: std::pin::Pin<&mut F>,
    world: &World,
    lines: &mut Lines<'_>,
    output: &mut dyn Write,
) -> Result<F::Output, PlayError> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Ok(done);
        }
        speak(output, &world.spoken())?;
        let Some(line) = lines.next()? else {
            return Err(lines
                .wrong("the input ended before the results of the last actions came".to_owned()));
        };
        world.observe(&line).map_err(|what| lines.wrong(what))?;
        lines.held.push(line);
    }
}

fn speak(output: &mut dyn Write, actions: &[Value]) -> Result<(), PlayError> {
    let line = serde_json::to_string(actions).unwrap_or_else(|_| "[]".to_owned());
    writeln!(output, "{line}").and_then(|()| output.flush()).map_err(PlayError::Write)
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: usize,
    /// Lines that came in while a round was waiting, still to be looked at.
    held: Vec<Value>,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<Value>, PlayError> {
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

    fn wrong(&self, what: String) -> PlayError {
        PlayError::Line { line: self.number, what }
    }
}
