//! The ladder: what is pulled when a lever does not answer, and when.

use std::collections::BTreeMap;

use leeward::domain::Split;
use leeward::memory::{Order, Shift, Turning};
use leeward::plan::Move;
use leeward::policy::{GatesLever, Lever as Listed};

use super::*;

impl Lever {
    pub(super) fn failure(self) -> CallFailed {
        match self {
            Self::Silent => CallFailed::Unknown { why: "no answer".to_owned() },
            Self::Works | Self::Fails | Self::Hangs => {
                CallFailed::Throttled { code: "Throttling".to_owned(), why: "rate".to_owned() }
            }
        }
    }
}

impl Picture {
    /// As the executor does it: what was not taken is given up, what may have been taken keeps its place.
    pub(super) fn withdraw(&mut self, decision: &Decision) {
        let Some(why) = decision.withdraw.clone() else { return };
        let several = self.policy.levers.len() > 1;
        let given_up = |order: &&Order| {
            order.turning == Turning::Waiting && order.is_unsent() && order.may_be_given_up()
        };
        if let Some(order) = self.memory.acts.order.as_ref().filter(|_| several).filter(given_up) {
            let epoch = order.plan.epoch;
            self.note(&Entry::Ended { epoch, outcome: Outcome::Abandoned { why } });
        }
    }

    /// Turns switches, as an order or beside one that hangs.
    pub(super) fn turn(&mut self, moved: &Move) -> char {
        let lever = moved.lever;
        let beside = self.memory.acts.order.as_ref().is_some_and(|order| order.lever() != lever);
        if !beside && self.memory.acts.order.is_none() {
            let plan = Plan {
                service: self.policy.service.clone(),
                epoch: self.memory.acts.epoch.next(),
                made_at: Timestamp::from_secs(self.now),
                wanted: Wanted::Move(moved.clone()),
                batches: Vec::new(),
                result: moved.to.weights().clone(),
            };
            self.note(&Entry::Intended(Box::new(plan)));
        }
        let turns = moved.turned();
        let failure = (self.switch != Lever::Works).then(|| self.switch.failure());
        self.note(&Entry::Turning { lever, turns: turns.clone() });
        self.note(&Entry::Turned { lever, turns, failure });
        if self.switch != Lever::Works {
            return 'g';
        }
        if beside {
            self.note(&Entry::MovedByGates(Box::new(moved.clone())));
        } else {
            let epoch = self.memory.acts.epoch;
            self.note(&Entry::Ended { epoch, outcome: Outcome::Done });
        }
        match moved.purpose {
            Purpose::Failback => 'H',
            Purpose::Evacuate
            | Purpose::Ramp
            | Purpose::LastResort
            | Purpose::Operator
            | Purpose::Repair => 'G',
        }
    }
}

fn ladder(gates_first: bool) -> Policy {
    let mut policy = policy(&[]);
    let names: Vec<RegionName> = policy.regions.keys().cloned().collect();
    let gates = Listed::Gates(GatesLever::unnamed(names, Duration::from_secs(60)));
    policy.levers.insert(usize::from(!gates_first), gates);
    policy
}

/// The region was left and gone back to, some hours ago.
fn moved_before(picture: &mut Picture) {
    let split = |east, west| {
        let parts = [("east", east), ("west", west)];
        Split::new(parts.map(|(name, part)| (name.parse().unwrap(), Weight(part))).into()).unwrap()
    };
    let at = |hours: i64| Timestamp::from_secs(picture.now - hours * 3600);
    let shift = |at, from, to, purpose| Shift { at, from, to, purpose, closed: BTreeMap::new() };
    picture.memory.acts.shifts = vec![
        shift(at(9), split(100, 0), split(0, 100), Purpose::Evacuate),
        shift(at(8), split(0, 100), split(100, 0), Purpose::Failback),
    ];
    picture.memory.acts.last_end = Some(at(8));
    picture.memory.acts.cools_from = Some(at(8));
}

const OUTAGE: Seen<'static> =
    Seen { east: DARK, west: "", only: &[], east_counters: SILENT, west_counters: "", beacon: "" };

/// Where `done` has its first letter of `of`.
fn place(done: &str, of: char) -> usize {
    done.find(of).unwrap_or_else(|| panic!("no `{of}` in {done}"))
}

#[test]
fn a_lever_that_fails_is_passed_over_for_the_next_one_at_once() {
    for lever in [Lever::Fails, Lever::Silent] {
        for before in [false, true] {
            let mut picture = Picture::new(ladder(false));
            if before {
                moved_before(&mut picture);
            }
            picture.lever = lever;
            let done = picture.see(&OUTAGE);
            assert_eq!(done.matches('f').count(), 1, "{lever:?} {before}: {done}");
            assert_eq!(done.matches('G').count(), 1, "{lever:?} {before}: {done}");
            let waited = place(&done, 'G') - place(&done, 'f');
            assert_eq!(waited, 1, "{lever:?} {before}: the pause is not that of the gate: {done}");
        }
    }
}

#[test]
fn a_gate_that_failed_is_passed_over_as_well() {
    let mut picture = Picture::new(ladder(true));
    moved_before(&mut picture);
    picture.switch = Lever::Fails;
    let done = picture.see(&OUTAGE);
    assert_eq!(place(&done, 'S') - place(&done, 'g'), 1, "{done}");
    assert_eq!((done.matches('S').count(), done.matches('g').count()), (1, 1), "{done}");
}

#[test]
fn with_every_lever_silent_the_switch_is_tried_again_soon_and_its_order_stays() {
    let mut picture = Picture::new(ladder(true));
    picture.lever = Lever::Silent;
    picture.switch = Lever::Silent;
    picture.answers = Answering::Unknown;
    let done = picture.see(&OUTAGE);
    let tries = done.matches('g').count();
    assert!(tries >= 3, "a switch is tried again within seconds: {done}");
    let order = picture.memory.acts.order.clone().expect("what may be turned is not let go");
    assert_eq!(order.lever(), LeverKind::Gates);
    let told =
        |note: &leeward::tell::Letter| note.note.text.contains("lever `gates` does not turn");
    assert!(picture.last.as_ref().unwrap().notes.iter().any(told), "people are told");
    picture.switch = Lever::Works;
    let done = picture.see(&OUTAGE);
    assert!(place(&done, 'G') <= 6, "and turns within a minute of its return: {done}");
    assert_eq!(picture.memory.acts.shifts.len(), 1);
}

/// A gate that stood and was never seen in the answers was no shift: the next lever need not cool down.
#[test]
fn what_was_turned_back_is_no_reason_to_wait() {
    let mut picture = Picture::new(ladder(false));
    moved_before(&mut picture);
    picture.lever = Lever::Silent;
    let done = picture.see(&OUTAGE);
    assert!(done.contains('G'), "{done}");
    let cooled = picture.memory.acts.cools_from;
    let shifts = picture.memory.acts.shifts.len();
    let why = "not in the answers".to_owned();
    picture.note(&Entry::BesideEnded { outcome: Outcome::Abandoned { why } });
    assert_eq!(picture.memory.acts.shifts.len(), shifts - 1);
    assert!(picture.memory.acts.cools_from < cooled);
}
