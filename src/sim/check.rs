//! What must never happen, looked at from outside the controller: in its calls, in its journal, and in
//! the world. The first broken invariant ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::scenario::{Kind, Scenario};
use crate::decide::effective;
use crate::domain::{
    BalancerName, InAnswers, RecordName, RegionName, Split, Timestamp, Turn, Weight, ZoneId,
};
use crate::memory::{CureNote, Entry, Outcome, Pin, ZoneNote};
use crate::plan::{
    Batch, Epoch, EpochTxt, Move, Plan, Purpose, RecordData, RecordSet, Wanted, ZoneAct, ZoneStep,
};
use crate::policy::{Failback, Mode, Policy, Unready};

/// Shares closer than this are the same, as in the decision: weights are integers.
const SAME: f64 = 0.02;

/// What the world knows at the moment of a call.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) scenario: &'a Scenario,
    /// The controller's clock.
    pub(super) now: Timestamp,
    pub(super) true_now: Timestamp,
    /// Regions that every usable vantage has seen wholly down, without a break, since then.
    pub(super) down_since: &'a BTreeMap<RegionName, Timestamp>,
    /// Epochs of changes that are accepted and not in force.
    pub(super) pending: &'a BTreeSet<Epoch>,
    /// How gates stand.
    pub(super) switches: &'a BTreeMap<RegionName, InAnswers>,
    /// Regions whose gate was turned so lately that no checker can have seen it.
    pub(super) unseen: &'a BTreeSet<RegionName>,
    /// Zones that are sick, or were a while ago.
    pub(super) sick_zones: &'a BTreeSet<(BalancerName, String)>,
    /// Zones that are out of the balancers of each region.
    pub(super) zones_out: &'a BTreeMap<RegionName, BTreeSet<String>>,
}

/// What a move does to the answers, with the gates as they stood when it was intended: records behind a
/// closed gate say nothing.
#[derive(Debug, Clone)]
struct Made {
    purpose: Purpose,
    before: BTreeMap<RegionName, f64>,
    after: BTreeMap<RegionName, f64>,
}

impl Made {
    fn of(moved: &Move, switches: &BTreeMap<RegionName, InAnswers>) -> Self {
        // An order that turns gates is written in answers, one that writes records in weights.
        let none = BTreeMap::new();
        let switches = if moved.lever.is_switch() { &none } else { switches };
        let shares = |split: &Split| effective(split, switches);
        Self { purpose: moved.purpose, before: shares(&moved.from), after: shares(&moved.to) }
    }

    /// How much more of the answers each region gets.
    fn gains(&self) -> impl Iterator<Item = (&RegionName, f64)> {
        let regions: BTreeSet<&RegionName> = self.before.keys().chain(self.after.keys()).collect();
        let of = |shares: &BTreeMap<RegionName, f64>, region: &RegionName| {
            shares.get(region).copied().unwrap_or_default()
        };
        regions.into_iter().map(move |r| (r, of(&self.after, r) - of(&self.before, r)))
    }
}

/// A human's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Yes { until: Option<Timestamp> },
    No,
}

/// The memory of the invariants.
#[derive(Debug, Default)]
pub(super) struct Check {
    pub(super) broken: Option<String>,
    plan: Option<Plan>,
    plans: Vec<(Plan, Option<Made>)>,
    open: bool,
    /// When a batch was found done by reading, and so has no id to ask for.
    found_done: Option<Timestamp>,
    sending: Option<(Epoch, usize)>,
    epoch: Epoch,
    pin: Option<Pin>,
    /// What a human said of moving: a yes, with its end, or a no.
    word: Option<Word>,
    unlatched_at: Option<Timestamp>,
    /// What was last begun beside an order.
    beside: Option<Move>,
    started: Timestamp,
    last_end: Option<Timestamp>,
    /// Something of the open order was written.
    written: bool,
    moves: Vec<(Timestamp, Made)>,
    /// Orders that ended after a change without an id had all the time that the policy gives it.
    timed_out: BTreeSet<Epoch>,
    effects: BTreeSet<(ZoneId, Epoch)>,
    touched: bool,
}

impl Check {
    pub(super) fn fail(&mut self, what: impl Into<String>) {
        self.broken = self.broken.take().or_else(|| Some(what.into()));
    }

    fn hold(&mut self, law: bool, what: &str) {
        if !law {
            self.fail(what);
        }
    }

    /// The epoch of the order that was begun last.
    pub(super) fn open_epoch(&self) -> Option<Epoch> {
        self.plan.as_ref().map(|plan| plan.epoch)
    }

    /// An order is under way.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// The laws of the journal. Called before the line is kept.
    pub(super) fn line(&mut self, at: Timestamp, entry: &Entry, facts: &Facts<'_>) {
        match entry {
            Entry::Started { .. } => self.started = at,
            Entry::Pinned(pin) => self.pin = Some(pin.clone()),
            Entry::Unpinned { .. } => self.pin = None,
            Entry::Approved { until, .. } => self.word = Some(Word::Yes { until: *until }),
            Entry::Denied { .. } => self.word = Some(Word::No),
            // Both are of one incident. A no may come before it.
            Entry::Incident { open } => {
                self.word = self.word.filter(|word| *open && *word != Word::No);
            }
            Entry::Unlatched { .. } => self.unlatched_at = Some(at),
            Entry::Intended(plan) => self.intended(at, plan, facts),
            Entry::Sending { epoch, batch } => self.sending = Some((*epoch, *batch)),
            Entry::FoundDone { .. } => {
                self.found_done = Some(at);
                self.written = true;
            }
            Entry::Accepted { .. } => self.written = true,
            Entry::Ended { epoch, outcome } => {
                self.hold(self.open, "an order ended that was not open");
                // Without the id of a change only time can tell, and the policy says how much.
                let lever = facts.scenario.policy.weights_lever();
                let blind = self
                    .found_done
                    .zip(lever)
                    .is_some_and(|(found, lever)| at.since(found) >= lever.in_sync_within);
                if blind {
                    self.timed_out.insert(*epoch);
                }
                if *outcome == Outcome::Done {
                    self.hold(
                        blind || !facts.pending.contains(epoch),
                        "`Done` was journaled while a change was not in force",
                    );
                    let moved = match self.plan.as_ref().map(|plan| &plan.wanted) {
                        Some(Wanted::Move(moved)) if moved.lever.is_switch() => Some(moved.clone()),
                        Some(_) | None => None,
                    };
                    self.seen(moved.as_ref(), facts);
                }
                self.open = false;
                // What did nothing cools nothing.
                if *outcome == Outcome::Done || self.written {
                    self.last_end = Some(at);
                }
                self.written = false;
            }
            Entry::Turning { .. } | Entry::Gating { .. } => {
                self.mutates("a gate was turned", facts);
            }
            Entry::Refreshing { .. } => self.mutates("a balancer was refreshed", facts),
            Entry::Cure { note, .. } => {
                if let CureNote::Calling { .. } = note {
                    self.mutates("a balancer was changed", facts);
                }
            }
            Entry::Zone { note, .. } => {
                if let ZoneNote::Intended { .. } | ZoneNote::Calling { .. } = note {
                    self.mutates("a zone was shifted", facts);
                }
                if let ZoneNote::Intended { act, .. } = note {
                    self.zone(act, facts);
                }
            }
            Entry::MovingBeside(moved) => {
                self.mutates("a move beside an order was begun", facts);
                self.asked(facts);
                self.beside = Some((**moved).clone());
                self.fit(&Made::of(moved, facts.switches), facts);
            }
            Entry::MovedByGates(moved) => self.moves.push((at, Made::of(moved, facts.switches))),
            Entry::Turned { turns, failure: None, .. } => self.turned(at, turns),
            Entry::Gated { failure: None, .. } => self.last_end = Some(at),
            Entry::BesideEnded { outcome: Outcome::Done } => {
                let beside = self.beside.take();
                self.seen(beside.as_ref(), facts);
            }
            Entry::Snapshot(_)
            | Entry::Decided(_)
            | Entry::Failed { .. }
            | Entry::InSync { .. }
            | Entry::LeverHeard { .. }
            | Entry::Turned { .. }
            | Entry::Stood { .. }
            | Entry::TurnedElsewhere { .. }
            | Entry::Voted { .. }
            | Entry::BesideEnded { .. }
            | Entry::Gated { .. }
            | Entry::Refreshed { .. }
            | Entry::Posted(_)
            | Entry::Worded { .. }
            | Entry::Told { .. }
            | Entry::HookCalled(_)
            | Entry::HookEnded(_)
            | Entry::Heard { .. }
            | Entry::Drifted { .. }
            | Entry::Asked(_)
            | Entry::AskMet
            | Entry::AskDropped { .. }
            | Entry::Aborted(_)
            | Entry::Copied(_)
            | Entry::KeptAside { .. } => {}
        }
    }

    fn intended(&mut self, at: Timestamp, plan: &Plan, facts: &Facts<'_>) {
        let Wanted::Move(moved) = &plan.wanted else { return };
        let repair = moved.purpose == Purpose::Repair;
        self.hold(!self.open || repair, "an order was stacked on an open one");
        self.hold(plan.epoch > self.epoch, "the epoch did not count up");
        let policy = &facts.scenario.policy;
        if !repair {
            self.mutates("an order was begun", facts);
            if !facts.scenario.has_clock_steps() {
                self.hold(
                    at.since(self.started) >= policy.judge.window,
                    "an order was begun before the windows were full",
                );
                self.budget(at, moved, policy);
                self.latched(at, moved, policy);
            }
            self.asked(facts);
            self.homeward(moved, facts);
            self.fit(&Made::of(moved, facts.switches), facts);
        }
        self.epoch = self.epoch.max(plan.epoch);
        self.plan = Some(plan.clone());
        let made = (!repair).then(|| Made::of(moved, facts.switches));
        self.plans.push((plan.clone(), made));
        self.open = true;
        self.found_done = None;
        self.touched = false;
    }

    /// Human's pins and modes that only look forbid every touch of the world.
    fn mutates(&mut self, what: &str, facts: &Facts<'_>) {
        let pinned = self.pin.as_ref().is_some_and(|p| p.until.is_none_or(|u| facts.now < u));
        self.hold(!pinned, &format!("{what} while pinned"));
        let looks_only = match facts.scenario.policy.mode {
            Mode::Observe | Mode::Advise => true,
            Mode::Approve | Mode::Auto => false,
        };
        self.hold(!looks_only, &format!("{what} in a mode that only looks"));
        self.hold(
            facts.scenario.kind != Kind::OnlyInstruments,
            &format!("{what} though every region was well all the time"),
        );
    }

    /// Where the policy asks a human, one has said yes; and nobody moves after a no.
    fn asked(&mut self, facts: &Facts<'_>) {
        let policy = &facts.scenario.policy;
        let asks = policy.mode == Mode::Approve || policy.guards.needs_approval.is_some();
        let yes = match self.word {
            Some(Word::Yes { until }) => until.is_none_or(|until| facts.now < until),
            Some(Word::No) | None => false,
        };
        self.hold(self.word != Some(Word::No), "an order was begun after a no");
        self.hold(yes || !asks, "an order was begun without the yes that the policy asks for");
    }

    /// On the way home no step is longer than the policy allows.
    fn homeward(&mut self, moved: &Move, facts: &Facts<'_>) {
        let Failback::Auto { step_max, .. } = facts.scenario.policy.failback else { return };
        // A gate lets a region in as a whole.
        let closed = facts.switches.values().any(|stands| *stands != InAnswers::In);
        if moved.purpose != Purpose::Failback || moved.lever.is_switch() || closed {
            return;
        }
        let made = Made::of(moved, facts.switches);
        let longest = made.gains().map(|(_, gain)| gain).fold(0.0, f64::max);
        self.hold(
            longest <= step_max.get() + 1e-9,
            "a step home was longer than the policy allows",
        );
    }

    /// Only a zone that is sick is taken out, and never two of a region.
    fn zone(&mut self, act: &ZoneAct, facts: &Facts<'_>) {
        let place = (act.balancer.clone(), act.zone.clone());
        self.hold(facts.sick_zones.contains(&place), "a zone that is well was taken out");
        let out = facts.zones_out.get(&act.region);
        let other = out.is_some_and(|out| out.iter().any(|zone| *zone != act.zone));
        self.hold(!other, "a second zone of a region was taken out");
        let balancers = facts.scenario.policy.regions.get(&act.region).map(|r| &r.balancers);
        let mut all = balancers.into_iter().flatten();
        let rules = all.find(|b| b.name == act.balancer).and_then(|b| b.zonal_shift.as_ref());
        let right = match act.step {
            ZoneStep::Start { expires } => rules.is_some_and(|rules| rules.expires == expires),
            ZoneStep::Renew { .. } | ZoneStep::Cancel => false,
        };
        self.hold(right, "a zone was taken out for another time than the policy says");
    }

    /// What is done was seen by those who decide what is answered.
    fn seen(&mut self, moved: Option<&Move>, facts: &Facts<'_>) {
        if facts.scenario.has_clock_steps() {
            return;
        }
        let turns = moved.map(Move::turned).unwrap_or_default();
        let early = turns.iter().any(|turn| facts.unseen.contains(&turn.region));
        self.hold(!early, "`Done` was journaled before a checker can have seen the gate");
    }

    /// After so many shifts a human looks before anything moves again.
    fn latched(&mut self, at: Timestamp, moved: &Move, policy: &Policy) {
        if moved.purpose == Purpose::Ramp {
            return;
        }
        let mut turns = turns(&self.moves);
        turns.retain(|turn| self.unlatched_at.is_none_or(|opened| *turn > opened));
        let Some(latest) = turns.last().copied() else { return };
        let window = policy.guards.latch_window;
        let within = turns.iter().filter(|turn| latest.since(**turn) < window).count();
        let fallen = within >= policy.guards.latch_after as usize && at.since(latest) < window;
        self.hold(!fallen, "an order was begun though the latch had fallen");
    }

    /// The open order has turned all its switches.
    fn turned(&mut self, at: Timestamp, turns: &[Turn]) {
        let last = self.plans.last().filter(|_| self.open && !self.touched);
        let Some((Plan { wanted: Wanted::Move(moved), .. }, Some(made))) = last else { return };
        if moved.lever.is_switch() && moved.turns == turns {
            self.moves.push((at, made.clone()));
            self.touched = true;
        }
    }

    /// Cooldown and shifts per window, counted from the accepted orders.
    fn budget(&mut self, at: Timestamp, moved: &Move, policy: &Policy) {
        match moved.purpose {
            Purpose::Ramp | Purpose::Repair => return,
            Purpose::Evacuate | Purpose::Failback | Purpose::LastResort | Purpose::Operator => {}
        }
        let goes_on = self.moves.last().is_some_and(|(_, last)| last.purpose == moved.purpose);
        let cooled = self.last_end.is_none_or(|end| at.since(end) >= policy.guards.cooldown);
        self.hold(
            goes_on || cooled || self.moves.is_empty(),
            "an order was begun within the cooldown",
        );
        let window = policy.guards.shifts_window;
        let turns = turns(&self.moves).into_iter().filter(|turn| at.since(*turn) < window).count();
        let homeward = moved.purpose == Purpose::Failback && goes_on;
        let max = policy.guards.shifts_max as usize;
        self.hold(
            homeward || turns < max,
            "more shifts were begun within the window than the policy allows",
        );
    }

    /// Nobody is sent where everybody sees that nothing works.
    fn fit(&mut self, made: &Made, facts: &Facts<'_>) {
        let policy = &facts.scenario.policy;
        if policy.shift.unready == Unready::ShiftAnyway {
            return;
        }
        let patience = policy.judge.window + Duration::from_secs(60);
        for (region, _) in made.gains().filter(|(_, gain)| *gain >= SAME) {
            let long = facts
                .down_since
                .get(region)
                .is_some_and(|since| facts.true_now.since(*since) > patience);
            self.hold(!long, &format!("traffic was moved to `{region}`, which is down"));
        }
    }

    /// The laws of a call, whether or not it arrives.
    pub(super) fn call(&mut self, batch: &Batch, facts: &Facts<'_>) {
        let Some(plan) = self.plan.clone() else {
            return self.fail("records were changed without an intention in the journal");
        };
        self.hold(self.open, "records were changed with no open order");
        let number = plan.batches.iter().position(|planned| planned == batch);
        self.hold(
            number.is_some_and(|number| self.sending == Some((plan.epoch, number))),
            "a call was made that the journal does not announce",
        );
        self.mutates("records were changed", facts);
        let repair =
            matches!(&plan.wanted, Wanted::Move(moved) if moved.purpose == Purpose::Repair);
        self.hold(
            repair
                || facts
                    .pending
                    .iter()
                    .all(|epoch| *epoch == plan.epoch || self.timed_out.contains(epoch)),
            "a change was sent while one of an earlier order was pending",
        );
    }

    /// The laws of what an accepted batch makes of the records. `after` is the whole zone.
    pub(super) fn effect(
        &mut self,
        batch: &Batch,
        after: &[RecordSet],
        at: Timestamp,
        scenario: &Scenario,
    ) {
        let planned = self.plans.iter().rev().find(|(plan, _)| plan.batches.contains(batch));
        let Some((plan, made)) = planned.cloned() else { return };
        let first = self.effects.insert((batch.zone.clone(), plan.epoch));
        self.hold(first, "one batch took effect twice");
        for swap in &batch.swaps {
            self.hold(owned(scenario, &swap.after), "a record of somebody else was touched");
            if swap.after.kind == "TXT" {
                let epoch = |set: &RecordSet| epoch_of(set).unwrap_or_default();
                let before = swap.before.as_ref().map(epoch).unwrap_or_default();
                self.hold(before < epoch(&swap.after), "the published epoch did not count up");
            } else {
                let same = swap.before.as_ref().is_some_and(|before| {
                    RecordSet { weight: None, ..before.clone() }
                        == RecordSet { weight: None, ..swap.after.clone() }
                });
                self.hold(same, "more than the weight of a record was changed");
            }
        }
        self.no_empty_answers(after);
        if !self.touched {
            self.touched = true;
            self.moves.extend(made.map(|made| (at, made)));
        }
    }

    fn no_empty_answers(&mut self, sets: &[RecordSet]) {
        let mut sums: BTreeMap<(&RecordName, &str), u32> = BTreeMap::new();
        for set in sets {
            if let Some(Weight(weight)) = set.weight {
                *sums.entry((&set.name, set.kind.as_str())).or_default() += u32::from(weight);
            }
        }
        self.hold(sums.values().all(|sum| *sum > 0), "every weight of a name became 0");
    }

    /// A split that somebody else made is theirs: the way home does not set out from it.
    pub(super) fn not_theirs(&mut self, theirs: Option<&Split>) {
        let (Some(theirs), Some(plan)) = (theirs, &self.plan) else { return };
        if let Wanted::Move(moved) = &plan.wanted
            && moved.purpose == Purpose::Failback
            && moved.from == *theirs
        {
            self.fail("somebody else's split was taken home");
        }
    }

    pub(super) fn must_be_left(&mut self, region: &RegionName, share: f64) {
        self.fail(format!(
            "`{region}` is down, a standby is fit, and {:.0} % of the answers still point there",
            share * 100.0
        ));
    }
}

/// Moves that turn traffic round; those that go on in the direction of the one before are no new shift.
fn turns(moves: &[(Timestamp, Made)]) -> Vec<Timestamp> {
    let mut turns = Vec::new();
    let mut flow: BTreeMap<RegionName, bool> = BTreeMap::new();
    for (at, made) in moves {
        let change: BTreeMap<RegionName, bool> = made
            .gains()
            .filter(|(_, gain)| gain.abs() >= SAME)
            .map(|(region, gain)| (region.clone(), gain > 0.0))
            .collect();
        if change.is_empty() {
            continue;
        }
        let back = change.iter().any(|(region, up)| flow.get(region).is_some_and(|was| was != up));
        if turns.is_empty() || back {
            turns.push(*at);
            flow.clear();
        }
        flow.extend(change);
    }
    turns
}

fn owned(scenario: &Scenario, set: &RecordSet) -> bool {
    use crate::policy::WhichRecords;
    let Some(lever) = scenario.policy.weights_lever() else { return false };
    let epoch = &lever.epoch_record;
    (set.kind == "TXT" && set.name == epoch.name && set.zone == epoch.zone)
        || lever.records.iter().any(|records| match &records.which {
            WhichRecords::Named { name, types } => {
                *name == set.name && types.contains(&set.kind) && records.zone == set.zone
            }
            WhichRecords::All => false,
        })
}

/// The epoch of an epoch record.
pub(super) fn epoch_of(set: &RecordSet) -> Option<Epoch> {
    match &set.data {
        RecordData::Values(values) => Some(EpochTxt::parse(values.first()?).ok()?.epoch),
        RecordData::Alias { .. } => None,
    }
}
