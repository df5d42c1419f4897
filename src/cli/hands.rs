//! One balancer and the executor, by hand: for `leeward lb` and for what `leeward apply` mends.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Exit, Failure};
use crate::balancer::cure::{Cure, Purpose};
use crate::balancer::rungs::{as_declared, draft};
use crate::balancer::{Difference, Snapshot};
use crate::domain::{BalancerName, span};
use crate::execute::cure::cure_of;
use crate::execute::{Executor, Progress};
use crate::journal::{Journal, JournalError, Log as _};
use crate::memory::{Acts, Entry, Outcome, Pin};
use crate::pace::Pacer;
use crate::policy::{BalancerCare, Mode, Policy, Reassert, Rung};
use crate::ports::{CallFailed, Configurations, Levers};
use crate::report::card::mode;
use crate::report::drift::Drift;
use crate::report::plain;
use crate::runtime::World;
use crate::runtime::pin::{self, News};

/// Between two looks at a refresh that goes on.
const LOOK_FIRST: Duration = Duration::from_millis(100);
/// Between two looks at a refresh that waits, at last.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Names of twins that are tried.
const NAMES_MAX: usize = 40;
/// For one balancer of a dry run: whoever plans in an outage waits for no drift.
const DRIFT_WITHIN: Duration = Duration::from_secs(20);

/// One balancer with what the policy says of it.
pub(super) struct Place<'a> {
    pub(super) policy: &'a Policy,
    pub(super) balancer: &'a BalancerName,
    pub(super) arn: &'a str,
    pub(super) care: Option<&'a BalancerCare>,
}

pub(super) fn place<'a>(policy: &'a Policy, name: &'a BalancerName) -> Result<Place<'a>, Failure> {
    let all = || policy.regions.values().flat_map(|region| &region.balancers);
    let Some(found) = all().find(|balancer| &balancer.name == name) else {
        let known: Vec<&str> = all().map(|balancer| balancer.name.as_str()).collect();
        let why = format!("`{name}` is not a balancer of `{}`", policy.service);
        let hint = format!("balancers: {}", known.join(", "));
        return Err(Failure::new(Exit::Input, why).hint(hint));
    };
    let Some(arn) = &found.arn else {
        let why = format!("the policy names no ARN for `{name}`");
        return Err(Failure::new(Exit::Input, why).hint("add `arn` to the balancer"));
    };
    let care = policy.refresh.as_ref().and_then(|refresh| refresh.care.get(name));
    Ok(Place { policy, balancer: name, arn, care })
}

pub(super) fn cared<'a>(place: &Place<'a>) -> Result<&'a BalancerCare, Failure> {
    place.care.ok_or_else(|| {
        let why = format!("the policy does not say what may be done to `{}`", place.balancer);
        Failure::new(Exit::Held, why).hint("write `refresh: { balancers: ... }` into the policy")
    })
}

/// `also`: target groups that are looked for although no action names them any more.
pub(super) async fn look(
    place: &Place<'_>,
    also: &BTreeSet<String>,
    world: &World,
) -> Result<Snapshot, Failure> {
    let client = client(&world.levers)?;
    let declared = place.care.map(|care| care.declared.groups()).unwrap_or_default();
    let also = declared.union(also).cloned().collect();
    let read = client.read(place.arn, &also, world.clock.now()).await;
    read.map_err(|failure| unread(place, &failure))
}

/// As [`look`], with whatever has a name that one of these rungs would give to a new target group.
pub(super) async fn look_for(
    place: &Place<'_>,
    rungs: &[Rung],
    world: &World,
) -> Result<Snapshot, Failure> {
    let mut also = BTreeSet::new();
    loop {
        let live = look(place, &also, world).await?;
        let Some(care) = place.care else { return Ok(live) };
        let drafts = rungs.iter().filter_map(|rung| draft(&live, rung, care).ok());
        let names: BTreeSet<String> = drafts.flat_map(|draft| draft.made()).collect();
        if names.is_subset(&also) || also.len() > NAMES_MAX {
            return Ok(live);
        }
        also.extend(names);
    }
}

fn client(levers: &Levers) -> Result<Arc<dyn Configurations>, Failure> {
    let none = || Failure::new(Exit::Trouble, "this build has no AWS edge");
    levers.configurations.clone().ok_or_else(none)
}

fn unread(place: &Place<'_>, failure: &CallFailed) -> Failure {
    Failure::new(Exit::Trouble, format!("read `{}`: {failure}", place.balancer))
}

pub(super) fn mend_of(
    place: &Place<'_>,
    live: Snapshot,
    because: &str,
    world: &World,
) -> Result<Cure, Failure> {
    let care = cared(place)?;
    let rung = Rung::Reassert(Reassert::Declared);
    let draft =
        draft(&live, &rung, care).map_err(|why| Failure::new(Exit::Held, why.to_string()))?;
    let now = world.clock.now();
    Ok(Cure {
        steps: draft.steps,
        floor: draft.floor,
        left: draft.left,
        ..cure_of(place.balancer, Purpose::Mend, because, live, now)
    })
}

/// Where the configuration is not as declared.
pub(super) fn differences(place: &Place<'_>, live: &Snapshot) -> Result<Vec<Difference>, String> {
    let Some(care) = place.care else { return Ok(Vec::new()) };
    let wanted = as_declared(live, &care.declared).map_err(|why| why.to_string())?;
    Ok(live.differences(&wanted))
}

/// Every balancer of which the policy declares something, as it is now.
pub(super) async fn read_drift(policy: &Policy, world: &World) -> Vec<Drift> {
    let care = policy.refresh.iter().flat_map(|refresh| &refresh.care);
    let mut found = Vec::new();
    for (name, _) in care.filter(|(_, care)| !care.declared.is_empty()) {
        let unread = |why: String| Drift { unread: Some(why), ..Drift::of(name) };
        let read = async {
            let place = place(policy, name)?;
            let live = look(&place, &BTreeSet::new(), world).await?;
            Ok::<_, Failure>(drift_of(&place, live, world))
        };
        found.push(match timeout(DRIFT_WITHIN, read).await {
            Ok(Ok(drift)) => drift,
            Ok(Err(failure)) => unread(failure.message),
            Err(_) => unread(format!("no answer within {}", span(DRIFT_WITHIN))),
        });
    }
    found
}

pub(super) fn drift_of(place: &Place<'_>, live: Snapshot, world: &World) -> Drift {
    let nothing = Drift::of(place.balancer);
    let differences = match differences(place, &live) {
        Ok(differences) if differences.is_empty() => return nothing,
        Ok(differences) => differences,
        Err(why) => return Drift { unmendable: Some(why), ..nothing },
    };
    match mend_of(place, live, "", world) {
        Ok(cure) => {
            let calls = cure.calls().map(ToString::to_string).collect();
            Drift { differences, calls, steps: cure.steps, ..nothing }
        }
        Err(failure) => Drift { differences, unmendable: Some(failure.message), ..nothing },
    }
}

/// In some modes nothing is changed, whoever asks.
pub(super) fn may_change(policy: &Policy) -> Result<(), Failure> {
    match policy.mode {
        Mode::Approve | Mode::Auto => Ok(()),
        Mode::Observe | Mode::Advise => {
            let why = format!("in mode `{}` nothing is changed", mode(policy.mode));
            Err(Failure::new(Exit::Held, why).hint("write `mode: approve` into the policy"))
        }
    }
}

/// Where it is written down what is done.
///
/// A refresh that was cut short is taken to its end first, before anything new is worked out: half-way
/// there may be a zone too few for any plan.
pub(super) async fn desk(
    policy: &Policy,
    state: &Path,
    world: &World,
) -> Result<(Journal, Acts), Failure> {
    let path = pin::journal_path(state, &policy.service);
    let (mut journal, recovered) = Journal::open(&path).map_err(|error| trouble(&error))?;
    let mut acts = recovered.acts;
    if let Some(pin) = pin::in_force(state, &policy.service, world.clock.now()) {
        let why = format!("`{}` is held by {}: {}", policy.service, pin.by, pin.reason);
        return Err(Failure::new(Exit::Held, plain(&why)).hint("`leeward resume`"));
    }
    let mut hands = Hands { policy, state, world, journal: &mut journal, acts: &mut acts };
    hands.heed_a_hold().map_err(|error| trouble(&error))?;
    if hands.acts.cure.is_none() {
        return Ok((journal, acts));
    }
    tell("an earlier refresh was cut short and is taken to its end first");
    let outcome = hands.go_on(None).await.map_err(|error| trouble(&error))?;
    let why = "only the earlier refresh was ended; give the command again";
    Err(Failure::new(Exit::Held, format!("{why} ({})", plain(&ended(&outcome)))))
}

pub(super) fn trouble(error: &JournalError) -> Failure {
    if matches!(error, JournalError::Held { .. }) {
        Failure::new(Exit::Held, error.to_string())
            .hint("a running controller refreshes by itself; stop it to do it by hand")
    } else {
        Failure::new(Exit::Trouble, error.to_string())
    }
}

pub(super) fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "Done.".to_owned(),
        Outcome::Abandoned { why } => format!("Given up and taken back: {why}"),
        Outcome::Refused { why } => format!("Refused: {why}"),
    }
}

fn tell(text: &str) {
    // Nothing is left to tell if stderr is closed.
    let _ = writeln!(anstream::stderr(), "{}", plain(text));
}

/// The executor, by hand.
pub(super) struct Hands<'a> {
    pub(super) policy: &'a Policy,
    /// The state directory, for a hold that is left there meanwhile.
    pub(super) state: &'a Path,
    pub(super) world: &'a World,
    pub(super) journal: &'a mut Journal,
    pub(super) acts: &'a mut Acts,
}

impl Hands<'_> {
    /// As for a service that runs, the file of a hold says whether there is one.
    fn heed_a_hold(&mut self) -> Result<(), JournalError> {
        let now = self.world.clock.now();
        let known = self.acts.pin_at(now);
        let entry = match pin::news(self.state, &self.policy.service, known, now) {
            Some(News::Held(new)) => {
                tell(&format!("held by {}: {}; `leeward resume`", new.by, new.reason));
                Entry::Pinned(Pin { since: now, ..new })
            }
            Some(News::Lifted) => Entry::Unpinned { by: pin::SOMEBODY.to_owned() },
            None => return Ok(()),
        };
        self.journal.append(now, &entry)?;
        self.acts.apply(now, &entry);
        Ok(())
    }

    pub(super) async fn go_on(&mut self, cure: Option<Cure>) -> Result<Outcome, JournalError> {
        let refresh = self.policy.refresh.as_ref();
        let pace = Pacer::new(crate::policy::Pace::default())
            .with_elb(refresh.map(|refresh| refresh.pace).unwrap_or_default());
        let mut wait = LOOK_FIRST;
        let mut cure = cure;
        let (mut told, mut stood) = (usize::MAX, None);
        loop {
            self.heed_a_hold()?;
            let mut executor = Executor {
                policy: self.policy,
                levers: &self.world.levers,
                log: self.journal,
                acts: self.acts,
                clock: self.world.clock.as_ref(),
                pace: &pace,
            };
            let progress = match cure.take() {
                Some(cure) => executor.take_cure(cure).await?,
                None => executor.advance_cure().await?,
            };
            match progress {
                Progress::Ended(outcome) => return Ok(outcome),
                Progress::Nothing => return Ok(Outcome::Done),
                Progress::Working => {}
            }
            if let Some(open) = self.acts.cure.as_ref().filter(|open| open.done != told) {
                told = open.done;
                let (done, steps) = (open.done, open.cure.steps.len());
                let next = open.cure.steps.get(done).map(ToString::to_string).unwrap_or_default();
                tell(&format!("{}: {done} of {steps} steps; {next}", open.cure.purpose));
            }
            // What moves is followed at once, as fast as the pace lets it; what waits is not asked all the time.
            let stands = self.acts.cure.as_ref().map(|open| (open.done, open.call));
            wait = if stands == stood { (wait * 2).min(LOOK_EVERY) } else { LOOK_FIRST };
            stood = stands;
            tokio::time::sleep(wait).await;
        }
    }
}
