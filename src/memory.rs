//! What the controller remembers: what it did (durable, the fold of the journal) and what it saw lately
//! (volatile: after a restart the windows fill anew). No IO.

mod asked;
mod cure;
mod elsewhere;
mod matters;
mod switches;
mod told;
mod zonal;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balancer::cure::Cure;
use crate::bulletin::{Bulletin, Chronicle};
use crate::domain::{BalancerName, InAnswers, RegionName, Split, Tally, Timestamp, Turn};
use crate::health::{Event, Evidence, Happening};
use crate::pace::Refreshed;
use crate::plan::{Epoch, HookAnswer, HookCall, HookEnd, Plan};
use crate::policy::{HookPhase, LeverKind, RungKind};
use crate::ports::{CallFailed, ChangeId};
use crate::tell::{Letter, Lost, Note, Severity, Thread, Topic};

pub use self::cure::{CallState, CureNote, LeftOver, OpenCure, Twinned};
pub use self::matters::{Aside, Copied, SiteState};
pub use self::switches::{Beside, Calling};
pub use self::told::Tellings;
pub(crate) use self::told::is_grave;
pub use self::zonal::{Standing, ZoneAway, ZoneEnd, ZoneNote, ZonePause};
pub use asked::{Abort, Asked, Guard, Request};

#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub acts: Acts,
    pub evidence: Evidence,
    /// What other services of this process did to balancers that are ours as well.
    pub elsewhere: BTreeMap<BalancerName, Refreshed>,
}

/// One line of the journal. An intention stands there before the call it announces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The controller came up.
    Started {
        version: String,
    },
    /// Everything up to here, so that older lines may be dropped.
    Snapshot(Box<Acts>),
    /// A decision that differs from the one before, with the readings that led to it.
    Decided(Box<crate::decide::Digest>),
    Intended(Box<Plan>),
    /// The next thing is the call for batch `batch` of the order.
    Sending {
        epoch: Epoch,
        batch: usize,
    },
    Accepted {
        epoch: Epoch,
        batch: usize,
        change: ChangeId,
    },
    /// Found by reading that a call of unknown outcome did happen.
    FoundDone {
        epoch: Epoch,
        batch: usize,
    },
    Failed {
        epoch: Epoch,
        batch: usize,
        failure: CallFailed,
    },
    InSync {
        epoch: Epoch,
    },
    Ended {
        epoch: Epoch,
        outcome: Outcome,
    },
    /// Reading the records failed or went well again.
    LeverHeard {
        lever: LeverKind,
        failure: Option<CallFailed>,
    },
    /// The next thing is the call that turns these switches.
    Turning {
        lever: LeverKind,
        turns: Vec<Turn>,
    },
    Turned {
        lever: LeverKind,
        turns: Vec<Turn>,
        failure: Option<CallFailed>,
    },
    /// Switches of which it was not known how they stand were read. Doubt ends where no call can change that
    /// any more.
    Stood {
        lever: LeverKind,
        standing: BTreeMap<RegionName, InAnswers>,
    },
    /// These gates stand as our votes, and took nobody out yet since not enough others have voted. They stay.
    /// `back`: the turns that would take them back.
    Voted {
        back: Vec<Turn>,
    },
    /// Somebody else turned these: how they stand now, where that is not how we left them. None: they stand
    /// as we left them again.
    TurnedElsewhere {
        lever: LeverKind,
        found: BTreeMap<RegionName, InAnswers>,
    },
    /// Written by older versions, as [`Entry::Turning`] of one gate.
    Gating {
        region: RegionName,
        to: InAnswers,
    },
    /// Written by older versions, as [`Entry::Turned`] of one gate.
    Gated {
        region: RegionName,
        to: InAnswers,
        failure: Option<CallFailed>,
    },
    /// The next thing is to turn the switches of a move beside an order that hangs.
    MovingBeside(Box<crate::plan::Move>),
    /// All switches of such a move stand.
    MovedByGates(Box<crate::plan::Move>),
    /// Such a move was seen in the answers, or was given up and turned back.
    BesideEnded {
        outcome: Outcome,
    },
    Refreshing {
        balancer: BalancerName,
    },
    Refreshed {
        balancer: BalancerName,
        failure: Option<CallFailed>,
    },
    /// Of a refresh that is made of steps.
    Cure {
        balancer: BalancerName,
        note: CureNote,
    },
    /// Of a zonal shift of a balancer.
    Zone {
        balancer: BalancerName,
        note: ZoneNote,
    },
    /// Handed over to be told. What becomes of it comes back later, or never.
    Posted(Box<Letter>),
    /// What became of a note.
    Told {
        severity: Severity,
        about: Vec<Topic>,
        key: String,
        text: String,
        delivered: bool,
        /// The channels that took it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        took: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lost: Vec<Lost>,
    },
    /// A human sent this to the public.
    Worded {
        by: String,
        bulletin: Box<Bulletin>,
    },
    Pinned(Pin),
    Unpinned {
        by: String,
    },
    Approved {
        by: String,
        until: Option<Timestamp>,
    },
    Denied {
        by: String,
    },
    /// A human looked at a latch and opened it.
    Unlatched {
        by: String,
    },
    /// An event from outside was taken in. What it tells of is kept in mind, if it is context.
    Heard {
        key: String,
        text: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        event: Option<Event>,
    },
    /// An incident began or ended.
    Incident {
        open: bool,
    },
    /// The next thing is the call of a hook.
    HookCalled(Box<HookCall>),
    HookEnded(HookEnd),
    /// Something outside was read and differs from what we ordered.
    Drifted {
        what: String,
    },
    /// A human asked for a move; it takes the place of what was asked before.
    Asked(Box<Request>),
    /// The answers were seen to be as asked.
    AskMet,
    /// What was asked will not be done.
    AskDropped {
        why: String,
    },
    /// A human took back what is asked and what is under way.
    Aborted(Abort),
    /// A new copy of the site for the last resort was made, or could not be.
    Copied(Copied),
    /// Messages from outside were not understood and kept aside; by door the reason of the newest.
    KeptAside {
        doors: BTreeMap<String, String>,
        count: u64,
    },
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Accepted, in sync and, where it can be seen, answered.
    Done,
    /// Given up with nothing changed, or with what changed put back.
    Abandoned { why: String },
    /// Refused as a whole: somebody else had changed the records.
    Refused { why: String },
}

/// A human's order not to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub by: String,
    pub reason: String,
    pub since: Timestamp,
    /// `None` only where the source of the order has no end (traces); the command line demands one.
    pub until: Option<Timestamp>,
}

impl Pin {
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// An order that is not over yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub plan: Plan,
    pub intended_at: Timestamp,
    /// One for each batch of the plan.
    pub batches: Vec<BatchState>,
    pub in_sync_at: Option<Timestamp>,
    /// A call of it went unanswered. Though it was not there when it was looked for, it may still land.
    #[serde(default)]
    pub lost_call: bool,
    /// For orders that turn switches.
    #[serde(default)]
    pub turning: Turning,
    /// How those switches stood before, as far as it was known.
    #[serde(default)]
    pub stood: BTreeMap<RegionName, InAnswers>,
}

/// How far an order has come that turns switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turning {
    /// None was turned.
    #[default]
    Waiting,
    /// Announced; if nothing follows, or the outcome is unknown, some may be turned.
    Sent { at: Timestamp },
    /// All of them stand.
    Stands { at: Timestamp },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    Waiting,
    /// Announced; if nothing follows, the outcome is unknown.
    Sending {
        at: Timestamp,
    },
    Accepted {
        at: Timestamp,
        change: Option<ChangeId>,
    },
}

impl Order {
    /// The lever that it pulls.
    pub fn lever(&self) -> LeverKind {
        match &self.plan.wanted {
            crate::plan::Wanted::Move(wanted) => wanted.lever,
            crate::plan::Wanted::Refresh { .. } => LeverKind::Weights,
        }
    }

    /// True if it can still be given up as if it had never been. Switches that were called and may not
    /// stand can be turned back.
    pub fn is_unsent(&self) -> bool {
        if self.lever().is_switch() {
            return !matches!(self.turning, Turning::Stands { .. });
        }
        !self.batches.is_empty() && self.batches.iter().all(|batch| *batch == BatchState::Waiting)
    }

    /// True if nothing of it is known to have been taken: it can be given up as soon as it is sure that a
    /// call of unknown outcome did nothing. A put-back is always carried to its end.
    pub fn may_be_given_up(&self) -> bool {
        let crate::plan::Wanted::Move(wanted) = &self.plan.wanted else { return false };
        if wanted.purpose == crate::plan::Purpose::Repair {
            return false;
        }
        if self.lever().is_switch() {
            return self.is_unsent();
        }
        !self.batches.is_empty()
            && !self.batches.iter().any(|batch| matches!(batch, BatchState::Accepted { .. }))
    }

    /// True if going on with it would send something.
    pub fn has_unsent(&self) -> bool {
        if self.lever().is_switch() {
            return self.is_unsent();
        }
        !self.batches.iter().all(|batch| matches!(batch, BatchState::Accepted { .. }))
    }

    /// True if some of its records were written.
    pub fn has_written(&self) -> bool {
        self.batches.iter().any(|batch| matches!(batch, BatchState::Accepted { .. }))
    }

    /// True for a put-back of what another order had written.
    pub fn is_repair(&self) -> bool {
        use crate::plan::{Purpose, Wanted};
        matches!(&self.plan.wanted, Wanted::Move(moved) if moved.purpose == Purpose::Repair)
    }

    /// The turns that undo those of this order.
    pub fn turns_back(&self) -> Vec<Turn> {
        let crate::plan::Wanted::Move(moved) = &self.plan.wanted else { return Vec::new() };
        switches::turns_back(moved, &self.stood)
    }

    /// True if each of these turns is one of its own, and not one back.
    fn asks_for(&self, turns: &[Turn]) -> bool {
        let crate::plan::Wanted::Move(moved) = &self.plan.wanted else { return false };
        switches::asks_for(moved, turns)
    }

    /// When the last batch was accepted, if all were.
    pub fn accepted_at(&self) -> Option<Timestamp> {
        self.batches
            .iter()
            .map(|batch| match batch {
                BatchState::Accepted { at, .. } => Some(*at),
                BatchState::Waiting | BatchState::Sending { .. } => None,
            })
            .collect::<Option<Vec<_>>>()
            .and_then(|all| all.into_iter().max())
    }
}

/// A shift that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    pub at: Timestamp,
    pub from: Split,
    pub to: Split,
    pub purpose: crate::plan::Purpose,
    /// Switches that were not wholly open when records were written: what is behind them is in no answer.
    /// Empty for moves by switches, whose splits are of answers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub closed: BTreeMap<RegionName, InAnswers>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is what one line of the journal says")]
pub struct Refresh {
    pub at: Timestamp,
    pub accepted: bool,
    /// When it began; `at` moves on to when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// `None` where a balancer is refreshed in one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<RungKind>,
    /// How probes of it went before it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Tally>,
    /// It was undone, or is being undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undone: bool,
    /// It could not be planned: nothing was touched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// It was taken back, or is being, and did no harm: a call was refused, or somebody else came in between.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

impl Refresh {
    /// One that begins.
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            accepted: false,
            began: Some(at),
            rung: None,
            before: None,
            undone: false,
            refused: false,
            withdrawn: false,
        }
    }
}

/// What a lever did lately.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LeverState {
    pub tries: Vec<Timestamp>,
    pub failures_in_a_row: u32,
    pub first_failure: Option<Timestamp>,
    pub last_failure: Option<(Timestamp, CallFailed)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub at: Timestamp,
    pub severity: Severity,
    pub delivered: bool,
    /// What is still to be said; empty once it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaid: Option<Unsaid>,
    /// Handed over, and nothing heard of it yet.
    #[serde(default)]
    pub on_its_way: bool,
    /// How often it was handed over without being delivered.
    #[serde(default)]
    pub tries: u32,
    /// Absent in what earlier versions left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
}

/// A letter of which nothing was heard for so long is lost. Its carrier gives up much earlier.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(900);

impl Told {
    /// Neither delivered nor given up at `now`.
    pub fn is_on_its_way(&self, now: Timestamp) -> bool {
        self.on_its_way && now.since(self.at) < ON_ITS_WAY_MAX
    }

    /// Given up by whoever carried it.
    pub fn is_lost(&self, now: Timestamp) -> bool {
        !self.delivered && !self.is_on_its_way(now)
    }
}

/// A message that was not delivered yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unsaid {
    pub since: Timestamp,
    pub about: Vec<Topic>,
    pub text: String,
    /// With its number. Absent in what earlier versions left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<Note>>,
}

/// A way to people that did not work when it was last tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadChannel {
    pub since: Timestamp,
    pub why: String,
}

/// The number of the newest note of a thread, and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    pub last: u32,
    pub at: Timestamp,
}

/// A hook that was called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookState {
    pub hook: String,
    pub phase: HookPhase,
    pub attempt: u32,
    /// The change to undo, for `rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub called_at: Timestamp,
    /// When it ended, how, and what it said.
    pub ended: Option<(Timestamp, HookAnswer, String)>,
}

/// Bounds of what is remembered: the newest of each list.
const REMEMBERED_MAX: usize = 256;

/// Events from outside that are known again: several storms of two hundred alarms.
const HEARD_MAX: usize = 1024;

/// Deploys and notices that outlive a restart.
const CONTEXT_MAX: usize = 64;

/// A no answers the incident in which it was said. Younger than this it counts for the next one as well: who looks
/// at graphs may be faster than we are, and a region that falls again at once is the same question.
const NO_AHEAD: Duration = Duration::from_secs(900);

/// What was done, rebuilt by reading the journal from its last snapshot on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Acts {
    pub epoch: Epoch,
    pub order: Option<Order>,
    /// The last split that was accepted by our order.
    pub ordered: Option<Split>,
    /// End of the last execution, whatever its outcome.
    pub last_end: Option<Timestamp>,
    /// End of the last one that changed something: the cooldown runs from here. `None` in what earlier
    /// versions left.
    pub cools_from: Option<Timestamp>,
    pub shifts: Vec<Shift>,
    /// Moves of which a part was accepted and the rest not: visitors were sent elsewhere all the same.
    pub torn: Vec<Shift>,
    pub refreshes: BTreeMap<BalancerName, Vec<Refresh>>,
    pub cure: Option<OpenCure>,
    /// The last rung that was taken to its end, for undoing it.
    pub cured: BTreeMap<BalancerName, Cure>,
    /// What ways back had to leave as it was.
    pub left_over: BTreeMap<BalancerName, LeftOver>,
    /// Balancers of which a swap was taken to its end, until their twins get no requests.
    pub twinned: BTreeMap<BalancerName, Twinned>,
    /// Zonal shifts of ours that are not over.
    pub zones_away: BTreeMap<BalancerName, ZoneAway>,
    pub zones_paused: BTreeMap<BalancerName, ZonePause>,
    pub levers: BTreeMap<LeverKind, LeverState>,
    /// How gates stand as far as we turned or read them, and have to stand where that is in doubt. What is
    /// not here is in the answers.
    pub gates: BTreeMap<RegionName, InAnswers>,
    /// The same for routing controls.
    pub controls: BTreeMap<RegionName, InAnswers>,
    /// Gates that stand as votes and changed nothing yet: how far each region was let in before.
    pub voted: BTreeMap<RegionName, InAnswers>,
    /// Switches that may stand otherwise than it says above: a call of unknown outcome went out, and may
    /// still land, or one that turns back failed. They are read, and put right.
    pub doubtful: BTreeMap<LeverKind, BTreeSet<RegionName>>,
    /// Switches that somebody else turned, as they were found.
    pub elsewhere: BTreeMap<LeverKind, BTreeMap<RegionName, InAnswers>>,
    /// What calls of unknown outcome asked for, as long as they may still land.
    pub lost: BTreeMap<LeverKind, BTreeMap<RegionName, BTreeSet<InAnswers>>>,
    /// A move beside an order that hangs, until it is seen in the answers or given up.
    pub beside: Option<Beside>,
    /// A call that turns switches, between its announcement and its outcome.
    pub calling: Option<Calling>,
    pub pin: Option<Pin>,
    pub approved: Option<Approval>,
    pub denied_at: Option<Timestamp>,
    pub latched_since: Option<Timestamp>,
    pub unlatched_at: Option<Timestamp>,
    pub incident_since: Option<Timestamp>,
    /// The newest thing that a human asked for, met or not.
    pub request: Option<Request>,
    pub abort: Option<Abort>,
    pub status_at: Option<Timestamp>,
    pub told: Tellings,
    pub threads: BTreeMap<Thread, Numbered>,
    pub dead_channels: BTreeMap<String, DeadChannel>,
    /// By key: so that nothing is done twice.
    pub hooks: BTreeMap<String, HookState>,
    /// Events from outside, by key, with the time they were taken in: so that none counts twice.
    pub heard: BTreeMap<String, Timestamp>,
    /// Deploys and notices: what runs is not forgotten by a restart, as what was measured is.
    pub context: Vec<Event>,
    /// What the public was told.
    pub public: Chronicle,
    pub site: SiteState,
    pub aside: Option<Aside>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: String,
    pub at: Timestamp,
    pub until: Option<Timestamp>,
}

impl Acts {
    /// Takes in one line of the journal. Total: any sequence of entries gives a state.
    #[expect(clippy::too_many_lines, reason = "one arm for each entry, each a line or two")]
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) {
        match entry {
            // Whoever carried letters did not survive. They are told again: twice is better than never.
            Entry::Started { .. } => {
                self.told.lose_carriers();
                self.cut_hooks(at);
            }
            Entry::Decided(_) | Entry::Drifted { .. } => {}
            Entry::HookCalled(call) => self.call_hook(at, call),
            Entry::HookEnded(end) => {
                let state = self.hooks.get_mut(&end.key);
                if let Some(state) = state.filter(|state| state.attempt == end.attempt) {
                    state.ended = Some((at, end.answer, end.says.clone()));
                }
            }
            Entry::Snapshot(acts) => *self = (**acts).clone(),
            Entry::Intended(plan) => {
                self.epoch = plan.epoch;
                self.replace_beside(plan);
                self.order = Some(Order {
                    plan: (**plan).clone(),
                    intended_at: at,
                    batches: vec![BatchState::Waiting; plan.batches.len()],
                    in_sync_at: None,
                    lost_call: false,
                    turning: Turning::Waiting,
                    stood: BTreeMap::new(),
                });
            }
            Entry::Sending { epoch, batch } => {
                self.set_batch(*epoch, *batch, BatchState::Sending { at });
                self.try_lever(LeverKind::Weights, at);
            }
            Entry::Accepted { epoch, batch, change } => {
                self.set_batch(
                    *epoch,
                    *batch,
                    BatchState::Accepted { at, change: Some(change.clone()) },
                );
                self.lever(LeverKind::Weights).failures_in_a_row = 0;
                self.lever(LeverKind::Weights).first_failure = None;
                self.note_shift(at);
            }
            Entry::FoundDone { epoch, batch } => {
                self.set_batch(*epoch, *batch, BatchState::Accepted { at, change: None });
                self.note_shift(at);
            }
            Entry::Failed { epoch, batch, failure } => {
                if failure.nothing_happened() {
                    self.set_batch(*epoch, *batch, BatchState::Waiting);
                } else if let Some(order) = &mut self.order {
                    order.lost_call = true;
                }
                self.fail_lever(LeverKind::Weights, at, failure);
            }
            Entry::InSync { epoch } => {
                if let Some(order) = self.order.as_mut().filter(|order| order.plan.epoch == *epoch)
                {
                    order.in_sync_at = Some(at);
                }
            }
            Entry::Ended { epoch, outcome } => {
                if let Some(order) = self.order.take_if(|order| order.plan.epoch == *epoch) {
                    self.last_end = Some(at);
                    if *outcome == Outcome::Done || order.has_written() {
                        self.cools_from = Some(at);
                    } else {
                        self.cools_from =
                            self.cools_from.or(self.shifts.last().map(|last| last.at));
                    }
                    if *outcome == Outcome::Done && order.lever().is_switch() {
                        self.lever_works(order.lever());
                    }
                    if let (crate::plan::Wanted::Move(moved), Outcome::Done) =
                        (&order.plan.wanted, outcome)
                    {
                        self.is_seen(moved);
                    }
                    if *outcome != Outcome::Done && order.turning != Turning::Waiting {
                        self.owe(order.lever(), &order.turns_back());
                    }
                    self.note_turned_shift(at, &order, outcome);
                }
            }
            Entry::LeverHeard { lever, failure } => match failure {
                Some(failure) => self.fail_lever(*lever, at, failure),
                None => self.lever_works(*lever),
            },
            Entry::Turning { lever, turns } => self.begin_turning(*lever, turns, at),
            Entry::Turned { lever, turns, failure } => {
                self.end_turning(*lever, turns, failure.as_ref(), at);
                if failure.is_none() {
                    self.turned_by_us(*lever, turns);
                }
            }
            Entry::Voted { back } => self.vote(back),
            Entry::TurnedElsewhere { lever, found } => self.find_elsewhere(*lever, found),
            Entry::Stood { lever, standing } => self.note_stood(*lever, standing, at),
            Entry::Gating { .. } => self.try_lever(LeverKind::Gates, at),
            Entry::Gated { region, to, failure } => {
                let turn = Turn { region: region.clone(), to: *to };
                self.end_turning(LeverKind::Gates, &[turn], failure.as_ref(), at);
                if failure.is_none() {
                    self.lever_works(LeverKind::Gates);
                    self.last_end = Some(at);
                    self.cools_from = Some(at);
                }
            }
            Entry::MovingBeside(moved) => self.begin_beside(moved, at),
            Entry::MovedByGates(moved) => {
                self.last_end = Some(at);
                self.cools_from = Some(at);
                self.push_shift(at, moved);
                self.lever_works(moved.lever);
                self.stand_beside(moved, at);
            }
            Entry::BesideEnded { outcome } => self.end_beside(outcome),
            Entry::Refreshing { balancer } => {
                let list = self.refreshes.entry(balancer.clone()).or_default();
                list.push(Refresh::at(at));
                trim(list);
            }
            Entry::Refreshed { balancer, failure } => {
                if let Some(last) = self.refreshes.entry(balancer.clone()).or_default().last_mut() {
                    last.accepted = failure.is_none();
                }
            }
            Entry::Cure { balancer, note } => self.note_cure(at, balancer, note),
            Entry::Zone { balancer, note } => self.note_zone(at, balancer, note),
            Entry::Posted(letter) => self.post(at, letter),
            Entry::Told { severity, about, key, text, delivered, took, lost } => {
                if *severity == Severity::Status && *delivered {
                    self.status_at = Some(at);
                }
                let before = self.told.get(key);
                let tries = before.map_or(1, |told| told.tries.max(1));
                let unsaid = before.and_then(|told| told.unsaid.clone()).unwrap_or(Unsaid {
                    since: at,
                    about: about.clone(),
                    text: text.clone(),
                    note: None,
                });
                let unsaid = (!delivered).then_some(unsaid);
                let (severity, delivered) = (*severity, *delivered);
                let thread = before.and_then(|told| told.thread.clone());
                let on_its_way = false;
                let told = Told { at, severity, delivered, unsaid, on_its_way, tries, thread };
                self.told.put(key.clone(), told);
                self.told.trim(REMEMBERED_MAX);
                self.hear_of_channels(at, took, lost);
            }
            Entry::Worded { bulletin, .. } => {
                self.public.take(bulletin);
                // To be published at once.
                self.status_at = None;
            }
            Entry::Pinned(pin) => self.pin = Some(pin.clone()),
            Entry::Unpinned { .. } => self.pin = None,
            Entry::Approved { by, until } => {
                self.approved = Some(Approval { by: by.clone(), at, until: *until });
                self.denied_at = None;
                self.abort = None;
            }
            Entry::Denied { .. } => {
                self.approved = None;
                self.denied_at = Some(at);
            }
            Entry::Unlatched { .. } => {
                self.latched_since = None;
                self.unlatched_at = Some(at);
            }
            Entry::Heard { key, event, .. } => self.hear(at, key, event.as_ref()),
            Entry::Incident { open } => {
                self.incident_since = open.then_some(at);
                self.denied_at = self.denied_at.filter(|no| at.since(*no) < NO_AHEAD);
                if !open {
                    self.approved = None;
                }
            }
            Entry::Asked(request) => self.request = Some((**request).clone()),
            Entry::AskMet => {
                if let Some(request) = &mut self.request {
                    request.met_at = Some(at);
                }
            }
            Entry::AskDropped { .. } => self.request = None,
            Entry::Aborted(abort) => {
                self.request = None;
                self.abort = Some(abort.clone());
            }
            Entry::Copied(copied) => self.site.apply(at, copied),
            Entry::KeptAside { doors, count } => {
                self.aside = Some(Aside::take(self.aside.take(), at, doors, *count));
            }
        }
    }

    fn hear(&mut self, at: Timestamp, key: &str, event: Option<&Event>) {
        self.heard.insert(key.to_owned(), at);
        while self.heard.len() > HEARD_MAX {
            let oldest = self.heard.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            oldest.map(|key| self.heard.remove(&key));
        }
        let lasting = event.filter(|event| {
            matches!(event.what, Happening::Deploy { .. } | Happening::Notice { .. })
        });
        self.context.extend(lasting.cloned());
        if self.context.len() > CONTEXT_MAX {
            self.context.drain(..self.context.len() - CONTEXT_MAX);
        }
    }

    /// The pin that is in force at `now`.
    pub fn pin_at(&self, now: Timestamp) -> Option<&Pin> {
        self.pin.as_ref().filter(|pin| pin.is_in_force(now))
    }

    /// What a human asked for and still holds at `now`, met or not.
    pub fn request_at(&self, now: Timestamp) -> Option<&Request> {
        self.request.as_ref().filter(|request| now < request.until)
    }

    /// The abort that still keeps the machine from moving at `now`.
    pub fn abort_at(&self, now: Timestamp) -> Option<&Abort> {
        self.abort.as_ref().filter(|abort| now < abort.until)
    }

    /// Shifts accepted in the window that ends now.
    pub fn shifts_within(&self, window: Duration, now: Timestamp) -> usize {
        self.shifts.iter().filter(|shift| now.since(shift.at) < window).count()
    }

    /// The split from which the evacuation that is going on set out.
    pub fn evacuation_began(&self) -> Option<&Split> {
        use crate::plan::Purpose;
        let last_turn = self.shifts.iter().rposition(|shift| shift.purpose != Purpose::Ramp)?;
        self.shifts.get(last_turn).map(|shift| &shift.from)
    }

    fn lever(&mut self, kind: LeverKind) -> &mut LeverState {
        self.levers.entry(kind).or_default()
    }

    fn try_lever(&mut self, kind: LeverKind, at: Timestamp) {
        let tries = &mut self.lever(kind).tries;
        tries.push(at);
        trim(tries);
    }

    fn lever_works(&mut self, kind: LeverKind) {
        let lever = self.lever(kind);
        (lever.failures_in_a_row, lever.first_failure) = (0, None);
    }

    fn fail_lever(&mut self, kind: LeverKind, at: Timestamp, failure: &CallFailed) {
        let lever = self.lever(kind);
        lever.failures_in_a_row = lever.failures_in_a_row.saturating_add(1);
        lever.first_failure = lever.first_failure.or(Some(at));
        lever.last_failure = Some((at, failure.clone()));
    }

    fn call_hook(&mut self, at: Timestamp, call: &HookCall) {
        let state = HookState {
            hook: call.hook.clone(),
            phase: call.phase,
            attempt: call.attempt,
            version: call.version.clone(),
            called_at: at,
            ended: None,
        };
        self.hooks.insert(call.key.clone(), state);
        while self.hooks.len() > REMEMBERED_MAX {
            let oldest = self.hooks.iter().min_by_key(|(_, hook)| hook.called_at);
            oldest.map(|(key, _)| key.clone()).map(|key| self.hooks.remove(&key));
        }
    }

    /// A hook that ran when the controller ended: nobody knows how it went.
    fn cut_hooks(&mut self, at: Timestamp) {
        for state in self.hooks.values_mut().filter(|state| state.ended.is_none()) {
            let says = "Leeward ended while it ran".to_owned();
            state.ended = Some((at, HookAnswer::Cut, says));
        }
    }

    fn set_batch(&mut self, epoch: Epoch, batch: usize, state: BatchState) {
        let order = self.order.as_mut().filter(|order| order.plan.epoch == epoch);
        if let Some(slot) = order.and_then(|order| order.batches.get_mut(batch)) {
            *slot = state;
        }
    }

    /// A move counts as a shift once all of it is accepted, and as torn while only a part is.
    fn note_shift(&mut self, at: Timestamp) {
        let Some(order) = &self.order else { return };
        let crate::plan::Wanted::Move(wanted) = &order.plan.wanted else { return };
        let (from, to, purpose) = (wanted.from.clone(), wanted.to.clone(), wanted.purpose);
        let mut closed = self.let_in();
        closed.retain(|_, stands| *stands != InAnswers::In);
        let shift = Shift { at, from, to, purpose, closed };
        let same = |torn: &mut Shift| {
            torn.at >= order.intended_at && Shift { at, ..torn.clone() } == shift
        };
        let torn = self.torn.pop_if(same);
        if order.accepted_at().is_some() {
            // What is put back is only ours if it was before.
            let repairs = shift.purpose == crate::plan::Purpose::Repair;
            if !repairs || self.shifts.iter().any(|before| before.to == shift.to) {
                self.ordered = Some(shift.to.clone());
            }
            self.shifts.push(shift);
            trim(&mut self.shifts);
        } else {
            self.torn.push(torn.unwrap_or(shift));
            trim(&mut self.torn);
        }
    }
}

impl Acts {
    fn post(&mut self, at: Timestamp, letter: &Letter) {
        let note = &letter.note;
        if let Some(bulletin) = &note.public {
            self.public.take(bulletin);
        }
        let newest = self.threads.entry(note.thread.clone()).or_insert(Numbered { last: 0, at });
        *newest = Numbered { last: newest.last.max(note.sequence), at };
        while self.threads.len() > REMEMBERED_MAX {
            let oldest = self.threads.iter().min_by_key(|(_, numbered)| numbered.at);
            oldest.map(|(thread, _)| thread.clone()).map(|thread| self.threads.remove(&thread));
        }
        let before = self.told.get(&letter.key);
        let since = before.and_then(|told| told.unsaid.as_ref()).map_or(at, |u| u.since);
        let tries = before.map_or(0, |told| told.tries).saturating_add(1);
        let unsaid = Unsaid {
            since,
            about: note.about.iter().cloned().collect(),
            text: note.text.clone(),
            note: Some(Box::new(note.clone())),
        };
        let (severity, unsaid) = (note.severity, Some(unsaid));
        let (delivered, on_its_way, thread) = (false, true, Some(note.thread.clone()));
        let told = Told { at, severity, delivered, unsaid, on_its_way, tries, thread };
        self.told.put(letter.key.clone(), told);
        self.told.trim(REMEMBERED_MAX);
    }

    fn hear_of_channels(&mut self, at: Timestamp, took: &[String], lost: &[Lost]) {
        for channel in took {
            self.dead_channels.remove(channel);
        }
        for Lost { channel, why } in lost {
            let since = self.dead_channels.get(channel).map_or(at, |dead| dead.since);
            self.dead_channels.insert(channel.clone(), DeadChannel { since, why: why.clone() });
            while self.dead_channels.len() > REMEMBERED_MAX {
                self.dead_channels.pop_first();
            }
        }
    }

    /// A move by switches has no batches: it counts as a shift once it is done.
    fn note_turned_shift(&mut self, at: Timestamp, order: &Order, outcome: &Outcome) {
        if let (crate::plan::Wanted::Move(moved), Outcome::Done) = (&order.plan.wanted, outcome)
            && moved.lever.is_switch()
        {
            self.push_shift(at, moved);
        }
    }

    fn push_shift(&mut self, at: Timestamp, moved: &crate::plan::Move) {
        let (from, to, purpose) = (moved.from.clone(), moved.to.clone(), moved.purpose);
        self.shifts.push(Shift { at, from, to, purpose, closed: BTreeMap::new() });
        trim(&mut self.shifts);
    }
}

fn trim<T>(list: &mut Vec<T>) {
    if list.len() > REMEMBERED_MAX {
        list.drain(..list.len() - REMEMBERED_MAX);
    }
}
