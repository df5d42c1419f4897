//! Recorded outages, played against a policy: the same rounds, executor and journal as `leeward play`,
//! around a world in this process, in virtual time, judged by what the trace demands.
//!
//! The format is described in `tests/traces/FORMAT.md`. Nothing here decides.

mod expect;
mod fit;
mod judge;
mod model;
mod node;
mod place;
mod read;
mod seen;
mod signal;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::names::{diagnosis_name, hold_name};
use crate::decide::Decision;
use crate::domain::{RegionName, Timestamp};
use crate::journal::{JournalError, Log, Record};
use crate::memory::{Acts, Entry};
use crate::play::{Hello, Opposite, PlayError, Player};
use crate::policy::{Policy, Recording};

pub use fit::Misfit;
pub use judge::Verdict;
pub use model::Trace;
pub use node::{Mistake, TraceError};
pub use read::{BYTES_MAX, load};
pub use world::World;

/// What a trace came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// The rules of every trace, then the expectations of this one.
    pub verdicts: Vec<Verdict>,
    /// Kinds of expectations that the test leaves out.
    pub without: BTreeSet<String>,
    pub lost_user_minutes: f64,
    /// Rounds in which something was done, or thought otherwise than before.
    pub moments: Vec<Moment>,
    /// The weights at the end, as last accepted.
    pub ends: BTreeMap<RegionName, u8>,
    /// What the test itself expects besides, and did not get.
    pub missing: Vec<Missing>,
}

/// One round worth telling.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Of the trace.
    pub at: Timestamp,
    /// Actions since the round before, as sentences.
    pub done: Vec<String>,
    pub decision: Decision,
}

/// Something that a test expects on top of its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// A diagnosis that was never made.
    Diagnosis(String),
    /// A hold that was never given.
    Hold(String),
    /// Weights at the end.
    Ends { region: RegionName, expected: u8, found: u8 },
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error(transparent)]
    Play(#[from] PlayError),
}

impl Verdict {
    /// Whether it makes a test fail.
    fn fails(&self, without: &BTreeSet<String>) -> bool {
        self.hard && !self.met && !without.contains(&self.label)
    }
}

impl Ran {
    pub fn passed(&self) -> bool {
        self.failed().next().is_none() && self.missing.is_empty()
    }

    /// The verdicts that make it fail.
    pub fn failed(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.fails(&self.without))
    }
}

/// Plays a trace with the policy that its own intent asks for.
pub fn run_alone(trace: &Trace) -> Result<Ran, RunError> {
    let hello = trace.hello().map_err(Misfit::file)?;
    let policy = hello.policy().map_err(Misfit::file)?;
    Ok(played(trace, &hello, &policy)?.ran)
}

/// Plays a trace against a policy, with the names mapped as the test says.
pub fn run(policy: &Policy, trace: &Trace, recording: &Recording) -> Result<Ran, RunError> {
    let (trace, policy) = fit::fit(policy, trace, recording)?;
    let hello = trace.hello().map_err(Misfit::file)?;
    let levers = hello.levers_for(&policy).map_err(Misfit::file)?;
    let policy = Policy { levers, ..policy };
    let Heard { mut ran, finds, holds } = played(&trace, &hello, &policy)?;
    ran.without.clone_from(&recording.without);
    let never = |name: &&String, seen: &BTreeSet<&str>| !seen.contains(name.as_str());
    let diagnoses = recording.finds.iter().filter(|name| never(name, &finds)).cloned();
    ran.missing.extend(diagnoses.map(Missing::Diagnosis));
    let held = recording.holds.iter().filter(|name| never(name, &holds)).cloned();
    ran.missing.extend(held.map(Missing::Hold));
    for (region, weight) in &recording.ends {
        let (expected, found) = (weight.0, ran.ends.get(region).copied().unwrap_or_default());
        if expected != found {
            ran.missing.push(Missing::Ends { region: region.clone(), expected, found });
        }
    }
    Ok(ran)
}

/// A trace that was played, with all that was found and held in it.
struct Heard {
    ran: Ran,
    finds: BTreeSet<&'static str>,
    holds: BTreeSet<&'static str>,
}

fn played(trace: &Trace, hello: &Hello, policy: &Policy) -> Result<Heard, RunError> {
    let mut stage = Stage::new(trace);
    let disk = Disk::default();
    // Once for each life of the controller: a restart keeps what the log says, and nothing else.
    while !stage.world.is_over() {
        let (log, acts) = (Box::new(disk.clone()), disk.acts().map_err(PlayError::Journal)?);
        Player { hello, policy: policy.clone(), log, acts }.play(&mut stage)?;
    }
    let names = hello.regions.iter().map(|region| region.id.clone());
    let ran = Ran {
        verdicts: stage.world.judge(),
        without: BTreeSet::new(),
        lost_user_minutes: stage.world.lost_user_minutes(),
        moments: stage.moments,
        ends: names.zip(stage.world.weights().iter().copied()).collect(),
        missing: Vec::new(),
    };
    Ok(Heard { ran, finds: stage.finds, holds: stage.holds })
}

/// What two rounds must share for the second to need no words.
fn thoughts(decision: &Decision) -> Vec<String> {
    let found = decision
        .findings
        .iter()
        .map(|found| format!("{} {:?} {:?}", found.diagnosis, found.region, found.balancer));
    found.chain(decision.holds.iter().map(|hold| hold_name(hold).to_owned())).collect()
}

/// An action as people read it.
fn sentence(action: &Value) -> String {
    let text = |key: &str| action.get(key).and_then(Value::as_str).unwrap_or_default();
    let words = |key: &str, separator: &str, one: &dyn Fn(&String, &Value) -> String| {
        let map = action.get(key).and_then(Value::as_object);
        let words: Vec<String> = map.into_iter().flatten().map(|(k, v)| one(k, v)).collect();
        words.join(separator)
    };
    match text("do") {
        "set_weights" => format!("weights {}", words("weights", " ", &|k, v| format!("{k}={v}"))),
        "health_flip" => {
            let healthy = action.get("healthy").and_then(Value::as_bool) == Some(true);
            format!("{} {} the answers", text("region"), if healthy { "into" } else { "out of" })
        }
        "refresh_lb" => format!("refresh {}", text("lb")),
        "notify" => {
            let about = action.get("about").and_then(Value::as_array);
            let about: Vec<&str> = about.into_iter().flatten().filter_map(Value::as_str).collect();
            format!("{} about {}", text("severity"), about.join(", "))
        }
        "report" => format!("reports {}", text("state")),
        _ => action.to_string(),
    }
}

/// The world as the opposite of a player. A controller that is killed hears nothing more; the world goes
/// on without it.
struct Stage<'t> {
    world: World<'t>,
    first: bool,
    /// Nobody heard what came since, and nobody will.
    killed: bool,
    /// The first that the next life of the controller hears.
    kept: Option<Value>,
    /// Actions since the last decision.
    done: Vec<String>,
    moments: Vec<Moment>,
    thought: Vec<String>,
    finds: BTreeSet<&'static str>,
    holds: BTreeSet<&'static str>,
}

impl<'t> Stage<'t> {
    fn new(trace: &'t Trace) -> Self {
        Self {
            world: World::new(trace),
            first: true,
            killed: false,
            kept: None,
            done: Vec::new(),
            moments: Vec::new(),
            thought: Vec::new(),
            finds: BTreeSet::new(),
            holds: BTreeSet::new(),
        }
    }

    fn is_down(&self) -> bool {
        let now = world::seconds(self.world.now());
        self.world.trace.restarts.iter().any(|(from, until)| (*from..*until).contains(&now))
    }
}

impl Opposite for Stage<'_> {
    fn hear(&mut self) -> Result<Option<Value>, PlayError> {
        if let Some(kept) = self.kept.take() {
            return Ok(Some(kept));
        }
        if !std::mem::take(&mut self.first) {
            self.world.advance();
        }
        while !self.world.is_over() {
            let observation = self.world.observe();
            if self.is_down() {
                self.killed = true;
                self.world.advance();
            } else if std::mem::take(&mut self.killed) {
                self.kept = Some(observation);
                return Ok(None);
            } else {
                return Ok(Some(observation));
            }
        }
        Ok(None)
    }

    fn speak(&mut self, actions: &[Value]) -> Result<(), PlayError> {
        for action in actions {
            self.world.act(action);
            self.done.push(sentence(action));
        }
        Ok(())
    }

    fn decided(&mut self, at: Timestamp, decision: &Decision) {
        self.finds.extend(decision.findings.iter().map(|found| diagnosis_name(found.diagnosis)));
        self.holds.extend(decision.holds.iter().map(hold_name));
        let thought = thoughts(decision);
        let done = std::mem::take(&mut self.done);
        if self.thought != thought || !done.is_empty() || self.moments.is_empty() {
            self.moments.push(Moment { at, done, decision: decision.clone() });
        }
        self.thought = thought;
    }

    fn wrong(&self, what: String) -> PlayError {
        PlayError::Tick { at: self.world.now(), what }
    }

    /// The trace ends, or the controller is killed, in the middle of a round.
    fn cut_off(&self) -> Result<(), PlayError> {
        Ok(())
    }
}

/// What survives a restart: the lines of the log, as they would stand in its file.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Vec<String>>>);

impl Disk {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the lines come to.
    fn acts(&self) -> Result<Acts, JournalError> {
        let mut acts = Acts::default();
        for line in self.lines().iter() {
            let record: Record = serde_json::from_str(line)?;
            acts.apply(record.at, &record.entry);
        }
        Ok(acts)
    }
}

impl Log for Disk {
    fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        let mut lines = self.lines();
        let seq = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        lines.push(serde_json::to_string(&Record { seq, at, entry: entry.clone() })?);
        Ok(())
    }
}

impl Trace {
    /// What a controller is told before the first tick.
    fn hello(&self) -> Result<Hello, String> {
        let regions: Vec<Value> = self
            .regions
            .iter()
            .enumerate()
            .map(|(place, region)| {
                let own = self.balancers.iter().filter(|balancer| balancer.region == place);
                let balancers: Vec<Value> =
                    own.map(|b| json!({"id": b.id.name, "carries": b.carries})).collect();
                json!({
                    "id": region.id.name, "role": region.role, "weight": region.weight,
                    "capacity_rps": region.capacity, "load_balancers": balancers,
                })
            })
            .collect();
        let probers: Vec<&str> = self.probers.iter().map(|prober| prober.name.as_str()).collect();
        let hello = json!({
            "tick_s": self.tick, "demand_rps": World::new(self).base_demand(), "regions": regions,
            "probers": probers, "dns": {"ttl_s": self.dns.ttl, "sync_s": self.dns.sync},
            "levers": self.levers, "intent": self.intent, "metric_delay_s": self.metric_delay,
            "sparse_counts": self.sparse_counts,
        });
        serde_json::from_value(hello).map_err(|error| error.to_string())
    }
}
