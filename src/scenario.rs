//! A policy's own tests, played: drawn readings in, the real round and executor, records in memory.
//!
//! Nothing here decides. Time is virtual: a day passes in seconds, and the same case always ends alike.
//! What is drawn is drawn: the picture does not change because traffic moved.

mod draw;
mod names;
mod switches;
pub mod trace;
mod world;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use self::draw::Pencil;
use self::switches::{Switchable, Trouble};
use self::world::{Answering, Clockwork, Refresher, records};
use crate::decide::{Decision, effective};
use crate::domain::{InAnswers, RegionName, Split, Timestamp, Weight};
use crate::health::{Event, Happening};
use crate::journal::{Forgetful, JournalError};
use crate::lab::zone::{Impairment, Zones};
use crate::memory::{Acts, Turning};
use crate::pace::Pacer;
use crate::plan::{Purpose, Wanted};
use crate::policy::{Case, Happens, Line, Pace, Policy, Refreshes};
use crate::ports::{CallFailed, Hooks, Levers, Switches, Weights};
use crate::runtime::round::Service;
use crate::tell::Letter;

pub use names::{diagnosis_name, hold_name};

/// Changes are in force after half a minute: Route 53 says "generally within 60 seconds".
const PROPAGATION: Duration = Duration::from_secs(30);

/// What a case came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// One for each character of a line.
    pub steps: Vec<Step>,
    /// The records at the end, as last accepted.
    pub end: Split,
    /// What is not as expected. Empty: the case passed.
    pub faults: Vec<Fault>,
}

/// What was done in one step, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub at: Timestamp,
    /// The first thing that was done, as drawn in `expect`.
    pub done: char,
    /// Of the round that did it; of the last round of the step if nothing was done.
    pub decision: Decision,
    /// What people and the public were told in all rounds of the step.
    pub told: Vec<Letter>,
}

/// One difference between what is expected and what happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The first step in which something else was done.
    Done { step: usize, expected: char, done: char },
    /// A diagnosis that was never made.
    NotFound { diagnosis: String },
    /// A hold that was never given.
    NotHeld { hold: String },
    /// A hook that was never called.
    NotCalled { hook: String },
    /// A weight at the end.
    Ends { region: RegionName, expected: Weight, found: Weight },
}

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// All ports answer at once here, so this is a bug of ours.
    #[error("a round waits for something that never comes")]
    Stuck,
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Nothing can be played without a split on a calm day.
    #[error("the policy has no region with weight")]
    NoHome,
}

impl Ran {
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }

    /// What was done, drawn.
    pub fn line(&self) -> String {
        self.steps.iter().map(|step| step.done).collect()
    }

    /// Where to look first: the step that differs, or the last.
    pub fn step_to_show(&self) -> Option<(usize, &Step)> {
        let differs = self.faults.iter().find_map(|fault| match fault {
            Fault::Done { step, .. } => Some(*step),
            Fault::NotFound { .. }
            | Fault::NotHeld { .. }
            | Fault::NotCalled { .. }
            | Fault::Ends { .. } => None,
        });
        let place = differs.unwrap_or(self.steps.len().saturating_sub(1));
        self.steps.get(place).map(|step| (place, step))
    }
}

/// Plays one case of a policy.
pub fn run(policy: &Policy, case: &Case) -> Result<Ran, ScenarioError> {
    let policy = changed(policy, case);
    let home = policy.home_split().ok_or(ScenarioError::NoHome)?;
    // Windows are full, and health is proven, before a picture begins.
    let calm = policy.judge.window.max(policy.judge.sustain) + policy.round_every();
    let clock = Arc::new(Clockwork::new(case.begins.minus(calm)));
    let zones = Arc::new(Zones::new(clock.clone(), PROPAGATION, 0));
    records(&policy, &zones);
    let switches = Switchables {
        gates: Arc::new(Switchable::of(policy.regions.keys())),
        arc: Arc::new(Switchable::of(policy.regions.keys())),
    };
    let mut service = service(&policy, case, &zones, &switches, &clock);
    at_once(service.start())??;
    let mut pencil = Pencil::new(&policy, case);
    let mut seen = Seen::default();
    let mut events = case.events.iter().peekable();
    let every = policy.round_every();
    let begins = case.begins;
    let end = begins.plus(case.step * u32::try_from(case.steps).unwrap_or(u32::MAX));
    let mut now = begins.minus(calm);
    while now < end {
        clock.set(now);
        let step = (now >= begins).then(|| step_at(case, now));
        zones.impair(impairment(case, step));
        switches.gates.set(trouble(case.gates.as_ref(), step));
        switches.arc.set(trouble(case.arc.as_ref(), step));
        let mut happened = Vec::new();
        while let Some((_, what)) = events.next_if(|(after, _)| begins.plus(*after) <= now) {
            happened.push(Event { at: now, heard_at: now, what: happening(what) });
        }
        let split = answered(&service.memory.acts, &home);
        let samples = pencil.samples(now, step, &split);
        let turning = service.memory.acts.order.as_ref().is_some_and(|o| o.lever().is_switch());
        let decision = at_once(service.round(samples, happened))??.decision;
        if let Some(step) = step {
            let done = done_at(&service.memory.acts, now, turning);
            seen.take(step, now, done, decision);
        }
        now = now.plus(every);
    }
    let end = answered(&service.memory.acts, &home);
    let faults = seen.faults(case, &end);
    Ok(Ran { steps: seen.steps, end, faults })
}

#[derive(Debug)]
struct Switchables {
    gates: Arc<Switchable>,
    arc: Arc<Switchable>,
}

/// What is answered: the records as ordered, after the switches that stand.
fn answered(acts: &Acts, home: &Split) -> Split {
    let split = acts.ordered.as_ref().unwrap_or(home);
    let let_in = acts.let_in();
    if let_in.values().all(|stands| *stands == InAnswers::In) {
        return split.clone();
    }
    Split::from_shares(&effective(split, &let_in)).unwrap_or_else(|_| split.clone())
}

fn trouble(line: Option<&Line>, step: Option<usize>) -> Trouble {
    match line.zip(step).map(|(line, step)| line.mark(step)) {
        Some('x') => Trouble::Fails,
        Some('p') => Trouble::WithoutEffect,
        Some(_) | None => Trouble::None,
    }
}

/// The policy as the case wants it.
fn changed(policy: &Policy, case: &Case) -> Policy {
    let mut policy = policy.clone();
    policy.mode = case.mode.unwrap_or(policy.mode);
    for (name, capacity) in &case.capacity_rps {
        if let Some(region) = policy.regions.get_mut(name) {
            region.capacity_rps = Some(*capacity);
        }
    }
    policy
}

fn service(
    policy: &Policy,
    case: &Case,
    zones: &Arc<Zones>,
    switches: &Switchables,
    clock: &Arc<Clockwork>,
) -> Service {
    let refresher = match case.refreshes {
        Refreshes::Work => Some(Arc::new(Refresher) as Arc<dyn crate::ports::Balancers>),
        Refreshes::Fail => None,
    };
    let weights: Arc<dyn Weights> = zones.clone();
    let hooks: Arc<dyn Hooks> = Arc::new(Answering::new(&case.vetoes));
    let (gates, arc) = (Arc::clone(&switches.gates), Arc::clone(&switches.arc));
    let levers = Levers {
        weights: policy.weights_lever().map(|_| weights),
        gates: policy.gates_lever().map(|_| gates as Arc<dyn Switches>),
        arc: policy.arc_lever().map(|_| arc as Arc<dyn Switches>),
        balancers: refresher,
        hooks: Some(hooks),
        ..Levers::default()
    };
    // The buckets run in real time, which does not pass here.
    let free = Pace {
        requests_per_second: 1e6,
        requests_burst: 1e6,
        changes_per_second: 1e6,
        changes_burst: 1e6,
    };
    let pace = Arc::new(Pacer::new(free));
    let log = Box::new(Forgetful);
    Service::new(policy.clone(), levers, log, clock.clone(), pace, "test".to_owned())
}

fn happening(what: &Happens) -> Happening {
    let by = "a human".to_owned();
    match what {
        Happens::Deploy { regions, version } => {
            let scope = regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Happening::Deploy { regions: regions.clone(), version: version.clone(), scope }
        }
        Happens::Freeze { reason } => Happening::Freeze { by, reason: reason.clone(), until: None },
        Happens::Unfreeze => Happening::Unfreeze { by },
        Happens::Approve => Happening::Approve { by, until: None },
        Happens::Deny => Happening::Deny { by },
    }
}

fn step_at(case: &Case, now: Timestamp) -> usize {
    let passed = now.since(case.begins).as_millis() / case.step.as_millis().max(1);
    usize::try_from(passed).unwrap_or(usize::MAX)
}

fn impairment(case: &Case, step: Option<usize>) -> Impairment {
    let line = case.control_plane.as_ref();
    match line.zip(step).map(|(line, step)| line.mark(step)) {
        Some('x') => {
            Impairment::Fails(CallFailed::Unknown { why: "503 Service Unavailable".to_owned() })
        }
        Some('p') => Impairment::Stuck,
        Some(_) | None => Impairment::None,
    }
}

/// What was done in the round of this time. `turning`: an order by switches was open before it, so its
/// shift, which counts when it is in force, was drawn when they were turned.
fn done_at(acts: &Acts, now: Timestamp, turning: bool) -> Option<char> {
    let stands = acts.order.as_ref().filter(|order| order.turning == Turning::Stands { at: now });
    if let Some(Wanted::Move(moved)) = stands.map(|order| &order.plan.wanted) {
        return Some(mark(moved.purpose));
    }
    let refreshed =
        || acts.refreshes.values().flatten().any(|refresh| refresh.at == now).then_some('R');
    let moved = acts.shifts.iter().find(|shift| shift.at == now && !turning);
    moved.map(|shift| mark(shift.purpose)).or_else(refreshed)
}

fn mark(purpose: Purpose) -> char {
    match purpose {
        Purpose::Evacuate | Purpose::Ramp | Purpose::Operator | Purpose::Repair => 'S',
        Purpose::Failback => 'H',
        Purpose::LastResort => 'L',
    }
}

/// What the rounds of the picture came to.
#[derive(Default)]
struct Seen {
    steps: Vec<Step>,
    finds: BTreeSet<&'static str>,
    holds: BTreeSet<&'static str>,
    calls: BTreeSet<String>,
}

impl Seen {
    fn take(&mut self, place: usize, at: Timestamp, done: Option<char>, decision: Decision) {
        self.finds.extend(decision.findings.iter().map(|found| diagnosis_name(found.diagnosis)));
        self.holds.extend(decision.holds.iter().map(hold_name));
        self.calls.extend(decision.calls.iter().map(|call| call.hook.clone()));
        if let Some(step) = self.steps.get_mut(place) {
            step.told.extend(decision.notes.iter().cloned());
        }
        match self.steps.get_mut(place) {
            None => {
                let told = decision.notes.clone();
                self.steps.push(Step { at, done: done.unwrap_or('-'), decision, told });
            }
            Some(step) if step.done == '-' => {
                step.done = done.unwrap_or('-');
                step.decision = decision;
            }
            Some(_) => {}
        }
    }

    fn faults(&self, case: &Case, end: &Split) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(line) = &case.expect {
            let differs = self.steps.iter().enumerate().find_map(|(step, seen)| {
                let (expected, done) = (line.mark(step), seen.done);
                (expected != '.' && expected != done).then_some(Fault::Done {
                    step,
                    expected,
                    done,
                })
            });
            faults.extend(differs);
        }
        let missing = |name: &&String, seen: &BTreeSet<&str>| !seen.contains(name.as_str());
        let finds = case.finds.iter().filter(|name| missing(name, &self.finds));
        faults.extend(finds.map(|name| Fault::NotFound { diagnosis: name.clone() }));
        let holds = case.holds.iter().filter(|name| missing(name, &self.holds));
        faults.extend(holds.map(|name| Fault::NotHeld { hold: name.clone() }));
        let calls = case.calls.iter().filter(|name| !self.calls.contains(*name));
        faults.extend(calls.map(|name| Fault::NotCalled { hook: name.clone() }));
        faults.extend(case.ends.iter().filter_map(|(region, expected)| {
            let (expected, found) = (*expected, end.weight(region));
            (expected != found).then(|| Fault::Ends { region: region.clone(), expected, found })
        }));
        faults
    }
}

/// The result of a future that never waits, since all ports answer at once.
fn at_once<F: Future>(future: F) -> Result<F::Output, ScenarioError> {
    /// Joined futures may be asked again after one of them moved on.
    const POLLS_MAX: usize = 16;
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Ok(done);
        }
    }
    Err(ScenarioError::Stuck)
}
