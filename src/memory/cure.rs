//! The refresh of a balancer that is under way, as the journal tells it.

use serde::{Deserialize, Serialize};

use super::{Acts, Outcome, Refresh, trim};
use crate::balancer::Call;
use crate::balancer::cure::{Cure, Purpose};
use crate::balancer::swap::Apart;
use crate::domain::{BalancerName, Timestamp};
use crate::policy::RungKind;
use crate::ports::CallFailed;

/// What the journal says of the refresh of a balancer, in the order in which it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CureNote {
    /// The whole plan, before any call. While another is open this one takes its place: the way back.
    Intended(Box<Cure>),
    /// The next thing is the call of this step; or, where it has none, the wait begins.
    Calling {
        step: usize,
    },
    /// What is believed after the call.
    Called {
        step: usize,
        failure: Option<CallFailed>,
    },
    /// The step is over.
    Reached {
        step: usize,
    },
    Ended {
        outcome: Outcome,
    },
    /// It could not even be planned.
    Refused {
        rung: Option<RungKind>,
        why: String,
    },
    /// What a way back had left over was seen to be as it should.
    StandsAgain,
    /// How the groups of the last swap and their twins are registered in, where that is not alike. They are no
    /// twins any more if they do not `stand`.
    Twins {
        stand: bool,
        apart: Vec<Apart>,
    },
}

/// A balancer with twins that get requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twinned {
    pub since: Timestamp,
    pub arn: String,
    pub apart: Vec<Apart>,
}

/// What a way back could not take back, until it is seen to be as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOver {
    pub since: Timestamp,
    pub arn: String,
    /// The calls that could not be made.
    pub calls: Vec<Call>,
    /// Why not, for each.
    pub why: Vec<String>,
    /// The file of the configuration as it was before, beside the journal.
    pub kept_in: Option<String>,
}

/// A refresh that is not over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenCure {
    pub cure: Cure,
    pub intended_at: Timestamp,
    /// Steps that are over.
    pub done: usize,
    pub call: CallState,
    /// Failed tries of the call of this step in a row.
    pub failures: u32,
    pub last_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    Waiting,
    /// Announced; if nothing follows, the outcome is unknown.
    Calling {
        at: Timestamp,
    },
    Called {
        at: Timestamp,
    },
}

impl Acts {
    pub(super) fn note_cure(&mut self, at: Timestamp, balancer: &BalancerName, note: &CureNote) {
        match note {
            CureNote::Intended(cure) => self.begin_cure(at, balancer, cure),
            CureNote::Calling { step } => {
                self.with_step(at, *step, |open| open.call = CallState::Calling { at });
            }
            CureNote::Called { step, failure: None } => {
                self.with_step(at, *step, |open| {
                    open.call = CallState::Called { at };
                    open.failures = 0;
                });
            }
            CureNote::Called { step, failure: Some(failure) } => {
                self.with_step(at, *step, |open| {
                    open.failures += 1;
                    if failure.nothing_happened() {
                        open.call = CallState::Waiting;
                    }
                });
            }
            CureNote::Reached { step } => {
                self.with_step(at, *step, |open| {
                    open.done += 1;
                    open.call = CallState::Waiting;
                    open.failures = 0;
                });
            }
            CureNote::Ended { outcome } => self.end_cure(at, outcome),
            CureNote::Refused { rung, .. } => {
                let list = self.refreshes.entry(balancer.clone()).or_default();
                list.push(Refresh { rung: *rung, refused: true, ..Refresh::at(at) });
                trim(list);
            }
            CureNote::StandsAgain => {
                self.left_over.remove(balancer);
            }
            CureNote::Twins { stand: false, .. } => {
                self.twinned.remove(balancer);
            }
            CureNote::Twins { stand: true, apart } => {
                if let Some(twinned) = self.twinned.get_mut(balancer) {
                    twinned.apart.clone_from(apart);
                }
            }
        }
    }

    fn begin_cure(&mut self, at: Timestamp, balancer: &BalancerName, cure: &Cure) {
        let rung = match cure.purpose {
            Purpose::Rung(kind) => Some(kind),
            Purpose::Undo | Purpose::Restore | Purpose::Mend => None,
        };
        let list = self.refreshes.entry(balancer.clone()).or_default();
        if cure.purpose == Purpose::Undo {
            if let Some(last) = list.last_mut() {
                last.undone = !cure.harmless;
                last.withdrawn = cure.harmless;
            }
        } else {
            list.push(Refresh { rung, before: cure.tally, ..Refresh::at(at) });
            trim(list);
        }
        self.cured.remove(balancer);
        self.cure = Some(OpenCure {
            cure: cure.clone(),
            intended_at: at,
            done: 0,
            call: CallState::Waiting,
            failures: 0,
            last_at: at,
        });
    }

    fn end_cure(&mut self, at: Timestamp, outcome: &Outcome) {
        let Some(open) = self.cure.take() else { return };
        let balancer = open.cure.balancer.clone();
        let list = self.refreshes.entry(balancer.clone()).or_default();
        if let Some(last) = list.last_mut() {
            // The effect is looked at from here on.
            last.at = at;
            last.accepted = *outcome == Outcome::Done && open.cure.purpose != Purpose::Undo;
            // Nothing was touched: as if it could not have been planned.
            last.refused |= matches!(outcome, Outcome::Refused { .. });
            // It does not stand as before, so nothing more is tried on it.
            last.undone |= last.withdrawn && !open.cure.skipped.is_empty();
        }
        if !open.cure.skipped.is_empty() {
            self.leave_over(at, &open.cure);
        }
        if *outcome == Outcome::Done && open.cure.purpose == Purpose::Rung(RungKind::Swap) {
            let (arn, apart) = (open.cure.before.arn.clone(), Vec::new());
            self.twinned.insert(balancer.clone(), Twinned { since: at, arn, apart });
        }
        if *outcome == Outcome::Done && matches!(open.cure.purpose, Purpose::Rung(_)) {
            self.cured.insert(balancer, open.cure);
        }
    }

    fn leave_over(&mut self, at: Timestamp, cure: &Cure) {
        let calls = cure.skipped.clone();
        // Each call that is left out says why.
        let why = cure.left.iter().rev().take(calls.len()).rev().cloned().collect();
        let arn = cure.before.arn.clone();
        let mut left = LeftOver { since: at, arn, calls, why, kept_in: cure.kept_in.clone() };
        // What an earlier one left is not forgotten, and its file is the older one.
        if let Some(earlier) = self.left_over.remove(&cure.balancer) {
            for (call, why) in earlier.calls.into_iter().zip(earlier.why) {
                if !left.calls.contains(&call) {
                    left.calls.push(call);
                    left.why.push(why);
                }
            }
            left.kept_in = earlier.kept_in.or(left.kept_in);
        }
        self.left_over.insert(cure.balancer.clone(), left);
    }

    fn with_step(&mut self, at: Timestamp, step: usize, change: impl FnOnce(&mut OpenCure)) {
        if let Some(open) = self.cure.as_mut().filter(|open| open.done == step) {
            open.last_at = at;
            change(open);
        }
    }
}
