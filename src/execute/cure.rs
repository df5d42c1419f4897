//! Refreshes of a balancer that are made of steps: one call after the other, each written down before it
//! is made and read back after it.
//!
//! Elastic Load Balancing has no compare-and-swap (API reference: no call takes a version), so before
//! every call the whole configuration is read and compared with what the plan expects to find there. What
//! differs was done by somebody else: nothing more is done then, and what we did is taken back where it
//! still stands. After a crash the same comparison tells whether a call of unknown outcome happened.
//!
//! The way back is a plan of its own ([`Purpose::Undo`]), made from what is read when it is needed, and
//! takes the place of the open one in one line of the journal. It is never turned back itself: a call of
//! it that is refused is left out, said so, and the rest is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::balancer::cure::{Cure, Floor, Purpose, Reached, Step, in_short};
use crate::balancer::restore::{rebased, way, without};
use crate::balancer::rungs::{Draft, draft};
use crate::balancer::{Call, Snapshot};
use crate::domain::{BalancerName, Tally, Timestamp, backoff};
use crate::execute::{Executor, Progress, RETRY_FIRST, RETRY_MAX, SETTLED_AFTER};
use crate::journal::JournalError;
use crate::memory::{CallState, CureNote, Entry, OpenCure, Outcome};
use crate::pace::Elb;
use crate::plan::RefreshAct;
use crate::policy::BalancerCare;
use crate::ports::CallFailed;

/// Steps that one round may take: a round has other things to do.
const STEPS_A_ROUND: usize = 8;
/// A write that is not told back after so long was not taken, or somebody else wrote over it.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// So long a difference may last before a call, for an earlier write of ours to be told everywhere.
const DIFFERS_FOR: Duration = Duration::from_secs(30);
/// So long a call waits for the floor to hold again.
const FLOOR_FOR: Duration = Duration::from_secs(600);
/// A call that failed without effect is tried so often.
const TRIES_MAX: u32 = 6;
/// Names of twins that are tried.
const NAMES_MAX: usize = 40;
/// For configurations of which the policy says nothing: a human's restore.
const HEALTHY_WITHIN: Duration = Duration::from_secs(300);

/// What a look at the open refresh came to.
enum Turn {
    /// Nothing was called: what was read still counts.
    Next,
    /// Something was called, so everything is read again.
    Called,
    Later,
    /// To be taken back: it does harm, or may.
    Back(String),
    /// To be taken back, and no harm: a call was refused, or somebody else came in between.
    Withdraw(String),
    Over(Outcome),
}

impl Executor<'_> {
    /// Begins a rung, or the way back from the last one.
    ///
    /// `because` says whose wish it is, and why, for whoever reads the journal.
    pub async fn treat(
        &mut self,
        balancer: &BalancerName,
        act: RefreshAct,
        before: Option<Tally>,
        because: &str,
    ) -> Result<Progress, JournalError> {
        match (act, &self.acts.cure) {
            // What is on its way may still land, and would be found by nobody afterwards.
            (RefreshAct::Undo, Some(open)) if self.is_calling(open) => {
                return Ok(Progress::Working);
            }
            (RefreshAct::Undo, Some(_)) => {
                return match self.look().await {
                    Ok(live) => {
                        self.turn_back(&live, because, false)?;
                        self.advance_cure().await
                    }
                    Err(_) => Ok(Progress::Working),
                };
            }
            (RefreshAct::Rung(_), Some(_)) => return Ok(Progress::Working),
            (RefreshAct::Rung(_) | RefreshAct::Undo, None) => {}
        }
        let arn = self.arn_of(balancer);
        let begins = matches!(act, RefreshAct::Rung(_));
        if let Some(arn) = arn.filter(|_| begins)
            && !self.pace.claim_balancer(&self.policy.service, &arn, self.clock.now())
        {
            // Another service has just begun with it. The next round knows.
            return Ok(Progress::Working);
        }
        if self.levers.configurations.is_none() && self.levers.balancers.is_some() {
            // A world that knows one kind of refresh: every rung is that.
            return self.refresh(balancer).await;
        }
        let mut also = BTreeSet::new();
        let (live, drafted) = loop {
            let live = match self.read(balancer, &also).await {
                Ok(live) => live,
                Err(failure) => return self.not_begun(balancer, failure),
            };
            let drafted = self.drafted(balancer, act, &live);
            let names = drafted.as_ref().map(Draft::made).unwrap_or_default();
            // A twin that an earlier swap left behind is in no listing of the balancer, and its name not free.
            if names.is_subset(&also) || also.len() > NAMES_MAX {
                break (live, drafted);
            }
            also.extend(names);
        };
        let cure = match act {
            RefreshAct::Rung(kind) => drafted.map(|draft| Cure {
                steps: draft.steps,
                floor: draft.floor,
                rest: draft.rest,
                left: draft.left,
                tally: before,
                ..cure_of(balancer, Purpose::Rung(kind), because, live, self.clock.now())
            }),
            RefreshAct::Undo => match self.acts.cured.get(balancer) {
                Some(last) => Ok(self.undo_of(last, last.steps.len(), &live, because, false)),
                None => Err("there is nothing to undo".to_owned()),
            },
        };
        match cure {
            Ok(cure) => self.take_cure(cure).await,
            Err(why) => {
                let rung = match act {
                    RefreshAct::Rung(kind) => Some(kind),
                    RefreshAct::Undo => None,
                };
                let note = CureNote::Refused { rung, why: why.clone() };
                self.note(&Entry::Cure { balancer: balancer.clone(), note })?;
                Ok(Progress::Ended(Outcome::Refused { why }))
            }
        }
    }

    fn drafted(
        &self,
        balancer: &BalancerName,
        act: RefreshAct,
        live: &Snapshot,
    ) -> Result<Draft, String> {
        let RefreshAct::Rung(kind) = act else { return Ok(Draft::default()) };
        let missing = || "the policy has no such rung".to_owned();
        let care = self.care(balancer).ok_or_else(missing)?;
        let rung = care.rungs.iter().find(|rung| rung.kind() == kind).ok_or_else(missing)?;
        draft(live, rung, care).map_err(|why| why.to_string())
    }

    /// A call whose outcome is unknown, and that may still happen.
    fn is_calling(&self, open: &OpenCure) -> bool {
        matches!(open.call, CallState::Calling { at } if self.clock.now().since(at) < SETTLED_AFTER)
    }

    /// Takes on a plan that was made and shown before: keeps the snapshot, writes the plan down, begins.
    ///
    /// A plan that does not hold together is refused before anything is written.
    pub async fn take_cure(&mut self, mut cure: Cure) -> Result<Progress, JournalError> {
        if let Some(open) = &self.acts.cure {
            let why = format!("the refresh of `{}` is not over", open.cure.balancer);
            return Ok(Progress::Ended(Outcome::Refused { why }));
        }
        if let Err(why) = cure.states() {
            return Ok(Progress::Ended(Outcome::Refused { why }));
        }
        if cure.kept_in.is_none() {
            let name = format!("{}-{}.json", cure.balancer, cure.made_at.as_millis());
            let text = serde_json::to_vec_pretty(&cure.before)?;
            cure.kept_in = self.log.keep(&name, &text)?;
        }
        self.intend(cure)?;
        self.advance_cure().await
    }

    /// Takes the open refresh further without waiting, as far as it goes now.
    pub async fn advance_cure(&mut self) -> Result<Progress, JournalError> {
        let mut known = None;
        for _ in 0..STEPS_A_ROUND {
            let Some(open) = self.acts.cure.clone() else { return Ok(Progress::Nothing) };
            // A pin is absolute, also half-way: whoever set it knows best what stands where.
            if self.pinned() {
                return Ok(Progress::Working);
            }
            let retry = open.last_at.plus(backoff(RETRY_FIRST, open.failures, RETRY_MAX));
            if open.failures > 0 && self.clock.now() < retry {
                return Ok(Progress::Working);
            }
            // Nothing is known, so nothing is done. The next round looks again.
            let live = match known.take() {
                Some(live) => live,
                None => match self.look().await {
                    Ok(live) => live,
                    Err(_) => return Ok(Progress::Working),
                },
            };
            match Box::pin(self.one_step(&open, &live)).await? {
                Turn::Next => known = Some(live),
                Turn::Called => {}
                Turn::Later => return Ok(Progress::Working),
                Turn::Back(why) | Turn::Withdraw(why) if self.is_untouched() => {
                    return self.end_cure(&open, Outcome::Refused { why });
                }
                Turn::Back(why) => self.turn_back(&live, &why, false)?,
                Turn::Withdraw(why) => self.turn_back(&live, &why, true)?,
                Turn::Over(outcome) => {
                    let ended = self.end_cure(&open, outcome)?;
                    self.see_aftermath(&open.cure.balancer, &live)?;
                    return Ok(ended);
                }
            }
        }
        Ok(Progress::Working)
    }

    /// Nothing of a rung was done, so there is nothing to take back, and nothing came of it.
    fn is_untouched(&self) -> bool {
        self.acts.cure.as_ref().is_some_and(|open| {
            open.done == 0
                && open.call == CallState::Waiting
                && matches!(open.cure.purpose, Purpose::Rung(_))
        })
    }

    fn end_cure(&mut self, open: &OpenCure, outcome: Outcome) -> Result<Progress, JournalError> {
        let balancer = open.cure.balancer.clone();
        let note = CureNote::Ended { outcome: outcome.clone() };
        self.note(&Entry::Cure { balancer, note })?;
        Ok(Progress::Ended(outcome))
    }

    async fn one_step(&mut self, open: &OpenCure, live: &Snapshot) -> Result<Turn, JournalError> {
        let now = self.clock.now();
        let cure = &open.cure;
        let (expected, reached) = match (cure.state(open.done), cure.state(open.done + 1)) {
            (Ok(expected), Ok(reached)) => (expected, reached),
            (Err(why), _) | (_, Err(why)) => return Ok(Turn::Withdraw(why)),
        };
        let Some(step) = cure.steps.get(open.done) else {
            return Ok(Turn::Over(outcome_of(cure)));
        };
        let number = open.done;
        match open.call {
            CallState::Waiting => {
                let found = expected.differences(live);
                if !found.is_empty() {
                    let since = if number == 0 { open.intended_at } else { open.last_at };
                    return Ok(if now.since(since) < DIFFERS_FOR && number > 0 {
                        Turn::Later
                    } else {
                        Turn::Withdraw(format!("somebody else changed it: {}", in_short(&found)))
                    });
                }
                let Some(call) = &step.call else {
                    self.cure_note(open, CureNote::Calling { step: number })?;
                    self.cure_note(open, CureNote::Called { step: number, failure: None })?;
                    return Ok(Turn::Next);
                };
                if let Some(why) = cure.broken_floor(live, call) {
                    return Ok(if now.since(open.last_at) < FLOOR_FOR {
                        Turn::Later
                    } else {
                        self.skip(open, call, &why);
                        Turn::Back(why)
                    });
                }
                self.make_call(open, live, call).await
            }
            CallState::Calling { at } => {
                let (before, after) = (expected.differences(live), reached.differences(live));
                if after.is_empty() && (step.call.is_none() || !before.is_empty()) {
                    self.cure_note(open, CureNote::Called { step: number, failure: None })?;
                    return Ok(Turn::Next);
                }
                // A write of what is there already may be sent twice, whenever the first one lands. If
                // nobody says what became of the second one either, it is as it should be all the same.
                let harmless = after.is_empty() && before.is_empty();
                if harmless && open.failures > 0 {
                    self.cure_note(open, CureNote::Called { step: number, failure: None })?;
                    return Ok(Turn::Next);
                }
                if now.since(at) < SETTLED_AFTER && !harmless {
                    return Ok(Turn::Later);
                }
                if before.is_empty() {
                    let why = "its effect is not there".to_owned();
                    let failure = Some(CallFailed::NotSent { why });
                    self.cure_note(open, CureNote::Called { step: number, failure })?;
                    return match &step.call {
                        // Nobody refused it, so there is nothing to wait for.
                        Some(call) if harmless && call.removes().is_none() => {
                            self.make_call(open, live, call).await
                        }
                        _ => Ok(Turn::Next),
                    };
                }
                Ok(Turn::Withdraw(format!("somebody else changed it: {}", in_short(&after))))
            }
            CallState::Called { at } => {
                let after = reached.differences(live);
                if !after.is_empty() {
                    return Ok(if now.since(at) < TOLD_WITHIN {
                        Turn::Later
                    } else {
                        Turn::Withdraw(format!("it is not told back: {}", in_short(&after)))
                    });
                }
                match step.reached(live, now.since(at)) {
                    Reached::NotYet => return Ok(Turn::Later),
                    // On the way back there is nothing better to turn to.
                    Reached::Never(why) if cure.purpose != Purpose::Undo => {
                        return Ok(Turn::Back(why));
                    }
                    Reached::Yes | Reached::Never(_) => {}
                }
                self.cure_note(open, CureNote::Reached { step: number })?;
                Ok(Turn::Next)
            }
        }
    }

    async fn make_call(
        &mut self,
        open: &OpenCure,
        live: &Snapshot,
        call: &Call,
    ) -> Result<Turn, JournalError> {
        let Some(client) = self.levers.configurations.clone() else {
            return Ok(Turn::Later);
        };
        if self.pace.try_take_elb(&live.aws_region, bucket(call), 1).is_err() {
            return Ok(Turn::Later);
        }
        let step = open.done;
        self.cure_note(open, CureNote::Calling { step })?;
        let failure = client.change(live, call).await.err();
        self.cure_note(open, CureNote::Called { step, failure: failure.clone() })?;
        let tries = open.failures + 1;
        Ok(match failure {
            None | Some(CallFailed::Unknown { .. }) => Turn::Called,
            Some(CallFailed::Throttled { .. } | CallFailed::Busy | CallFailed::NotSent { .. })
                // The way back is not given up for a service that is busy.
                if tries < TRIES_MAX || open.cure.purpose == Purpose::Undo =>
            {
                Turn::Later
            }
            // One that gets no requests any more is in use until that is told everywhere.
            Some(CallFailed::Refused { .. })
                if matches!(call, Call::DeleteGroup { .. }) && tries < TRIES_MAX =>
            {
                Turn::Later
            }
            Some(failure) => {
                let why = format!("{}: {failure}", call.operation());
                self.skip(open, call, &why);
                Turn::Withdraw(why)
            }
        })
    }

    /// A call of the way back that cannot be made is left out of it, and said so.
    fn skip(&mut self, open: &OpenCure, call: &Call, why: &str) {
        if let Some(open) = self.acts.cure.as_mut().filter(|_| open.cure.purpose == Purpose::Undo) {
            open.cure.skipped.push(call.clone());
            open.cure.left.push(why.to_owned());
            open.cure.because.push_str("; not taken back: ");
            open.cure.because.push_str(why);
        }
    }

    /// Writes down the way back in place of what is open.
    fn turn_back(
        &mut self,
        live: &Snapshot,
        why: &str,
        harmless: bool,
    ) -> Result<(), JournalError> {
        let Some(open) = self.acts.cure.clone() else { return Ok(()) };
        let cure = if open.cure.purpose == Purpose::Undo {
            self.again(&open.cure, live)
        } else {
            let called = open.done + usize::from(open.call != CallState::Waiting);
            let mut undo = self.undo_of(&open.cure, called, live, why, harmless);
            undo.kept_in.clone_from(&open.cure.kept_in);
            undo
        };
        self.intend(cure)
    }

    /// The way back from a refresh of which the first `called` steps may have had their effect.
    fn undo_of(
        &self,
        cure: &Cure,
        called: usize,
        live: &Snapshot,
        why: &str,
        harmless: bool,
    ) -> Cure {
        let (to, mut left) = without(live, cure, called);
        let patience = self.care(&cure.balancer).map_or(HEALTHY_WITHIN, |care| care.healthy_within);
        let back = way(live, &to, patience);
        left.extend(back.cannot);
        Cure {
            steps: back.draft.steps,
            floor: cure.floor.clone(),
            left,
            to: Some(to),
            kept_in: cure.kept_in.clone(),
            harmless,
            ..cure_of(&cure.balancer, Purpose::Undo, why, live.clone(), self.clock.now())
        }
    }

    /// The rest of the way back, from where it stands now and without what was refused.
    fn again(&self, cure: &Cure, live: &Snapshot) -> Cure {
        let patience = self.care(&cure.balancer).map_or(HEALTHY_WITHIN, |care| care.healthy_within);
        let to = rebased(&cure.before, cure.to.as_ref().unwrap_or(live), live);
        let back = way(live, &to, patience);
        let kept = |step: &Step| step.call.as_ref().is_none_or(|call| !cure.skipped.contains(call));
        Cure {
            steps: back.draft.steps.into_iter().filter(kept).collect(),
            made_at: self.clock.now(),
            before: live.clone(),
            to: Some(to),
            ..cure.clone()
        }
    }

    fn intend(&mut self, cure: Cure) -> Result<(), JournalError> {
        let balancer = cure.balancer.clone();
        let note = CureNote::Intended(Box::new(cure));
        self.note(&Entry::Cure { balancer, note })
    }

    fn cure_note(&mut self, open: &OpenCure, note: CureNote) -> Result<(), JournalError> {
        self.note(&Entry::Cure { balancer: open.cure.balancer.clone(), note })
    }

    /// It could not even be looked at: counts as a try that failed, as with a refresh in one call.
    fn not_begun(
        &mut self,
        balancer: &BalancerName,
        failure: CallFailed,
    ) -> Result<Progress, JournalError> {
        self.note(&Entry::Refreshing { balancer: balancer.clone() })?;
        let why = failure.to_string();
        let failure = Some(failure);
        self.note(&Entry::Refreshed { balancer: balancer.clone(), failure })?;
        Ok(Progress::Ended(Outcome::Refused { why }))
    }

    fn care(&self, balancer: &BalancerName) -> Option<&BalancerCare> {
        self.policy.refresh.as_ref()?.care.get(balancer)
    }

    /// The configuration of the balancer whose refresh is open.
    async fn look(&mut self) -> Result<Snapshot, CallFailed> {
        let Some(open) = &self.acts.cure else {
            return Err(CallFailed::NotSent { why: "no refresh is open".to_owned() });
        };
        let cure = &open.cure;
        let mut also: BTreeSet<String> = cure.before.groups.keys().cloned().collect();
        also.extend(cure.to.iter().flat_map(|to| to.groups.keys().cloned()));
        also.extend(cure.calls().filter_map(|call| new_group(call).cloned()));
        let cost = cost(&cure.before);
        if self.pace.try_take_elb(&cure.before.aws_region, Elb::Reads, cost).is_err() {
            return Err(CallFailed::NotSent { why: "no tokens left".to_owned() });
        }
        let Some(client) = self.levers.configurations.clone() else { return Err(no_client()) };
        client.read(&cure.before.arn, &also, self.clock.now()).await
    }

    fn arn_of(&self, balancer: &BalancerName) -> Option<String> {
        let all = self.policy.regions.values().flat_map(|region| &region.balancers);
        all.filter(|known| &known.name == balancer).find_map(|known| known.arn.clone())
    }

    async fn read(
        &mut self,
        balancer: &BalancerName,
        also: &BTreeSet<String>,
    ) -> Result<Snapshot, CallFailed> {
        let Some(client) = self.levers.configurations.clone() else { return Err(no_client()) };
        let Some(arn) = self.arn_of(balancer) else {
            let why = format!("the policy names no ARN for `{balancer}`");
            return Err(CallFailed::NotSent { why });
        };
        client.read(&arn, also, self.clock.now()).await
    }
}

/// The group that a call makes.
fn new_group(call: &Call) -> Option<&String> {
    if let Call::CreateGroup { group, .. } = call { Some(group) } else { None }
}

fn no_client() -> CallFailed {
    CallFailed::NotSent { why: "there is no client for configurations".to_owned() }
}

/// Everything but the steps.
pub fn cure_of(
    balancer: &BalancerName,
    purpose: Purpose,
    because: &str,
    before: Snapshot,
    now: Timestamp,
) -> Cure {
    Cure {
        balancer: balancer.clone(),
        made_at: now,
        purpose,
        because: because.to_owned(),
        before,
        kept_in: None,
        steps: Vec::new(),
        floor: Floor::new(),
        tally: None,
        to: None,
        rest: BTreeMap::new(),
        skipped: Vec::new(),
        left: Vec::new(),
        harmless: false,
    }
}

fn outcome_of(cure: &Cure) -> Outcome {
    match cure.purpose {
        Purpose::Undo => Outcome::Abandoned { why: cure.because.clone() },
        Purpose::Rung(_) | Purpose::Restore | Purpose::Mend => Outcome::Done,
    }
}

/// Calls that one reading takes, at least.
fn cost(snapshot: &Snapshot) -> u32 {
    let (listeners, groups) = (snapshot.listeners.len(), snapshot.groups.len());
    u32::try_from(4 + 3 * listeners + 2 * groups).unwrap_or(u32::MAX)
}

/// Which of the service's buckets a call is paid from.
fn bucket(call: &Call) -> Elb {
    match call {
        Call::Register { .. } | Call::Deregister { .. } => Elb::Registrations,
        Call::Subnets { .. } => Elb::Subnets,
        Call::BalancerAttributes { .. }
        | Call::ListenerActions { .. }
        | Call::RuleActions { .. }
        | Call::GroupSettings { .. }
        | Call::GroupAttributes { .. }
        | Call::CreateGroup { .. }
        | Call::DeleteGroup { .. } => Elb::Writes,
    }
}

mod aftermath;
#[cfg(test)]
mod tests;
