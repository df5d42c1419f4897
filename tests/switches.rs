//! Orders that turn switches, against switches that fail in every way: gates and routing controls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use leeward::domain::{InAnswers, Left, RecordName, RegionName, Timestamp, Turn};
use leeward::execute::Progress;
use leeward::memory::{Acts, Entry, Order, Outcome, Pin, Turning};
use leeward::plan::{Epoch, Move, Plan, Purpose, SETTLED_AFTER, Wanted};
use leeward::policy::{
    ArcLever, Gate, GatesLever, Lever, LeverKind, Policy, Proof, Votes, Witness,
};
use leeward::ports::{CallFailed, Clock, Followed, Resolver, Switches};

use crate::orders::world::{Controller, EAST, Route53, WEST, policy, split};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(300);

fn sick() -> RegionName {
    WEST.parse().unwrap()
}

fn well() -> RegionName {
    EAST.parse().unwrap()
}

/// How the next call that turns something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing happens, and it is known.
    Refused,
    /// It happens, and the answer is lost.
    LostAfter,
    /// It does not happen, and the answer is lost.
    LostBefore,
    /// It happens when [`World::land`] says so, and the answer is lost.
    LandsLate,
}

#[derive(Debug, Default)]
struct State {
    standing: BTreeMap<RegionName, InAnswers>,
    calls: Vec<Vec<Turn>>,
    fault: Option<Fault>,
    unreadable: bool,
    followed: Option<Followed>,
    /// What the witness answers, one after the other.
    shown: Vec<&'static str>,
    asked: usize,
    /// Name servers that answer nothing.
    silent: Vec<String>,
    late: Vec<Turn>,
}

/// Switches, and the name servers behind them.
#[derive(Debug, Clone, Default)]
struct World(Arc<Mutex<State>>);

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn land(&self) {
        let mut state = self.state();
        let late = std::mem::take(&mut state.late);
        state.standing.extend(late.into_iter().map(|turn| (turn.region, turn.to)));
    }

    fn of(&self, region: &RegionName) -> InAnswers {
        self.state().standing.get(region).copied().unwrap_or(InAnswers::In)
    }
}

#[async_trait]
impl Switches for World {
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        let mut state = self.state();
        state.calls.push(turns.to_vec());
        let fault = state.fault.take();
        if fault == Some(Fault::LandsLate) {
            state.late = turns.to_vec();
        }
        if matches!(fault, None | Some(Fault::LostAfter)) {
            state.standing.extend(turns.iter().map(|turn| (turn.region.clone(), turn.to)));
        }
        match fault {
            None => Ok(()),
            Some(Fault::Refused) => {
                Err(CallFailed::Refused { code: "AccessDenied".to_owned(), why: String::new() })
            }
            Some(Fault::LostAfter | Fault::LostBefore | Fault::LandsLate) => {
                Err(CallFailed::Unknown { why: "no answer".to_owned() })
            }
        }
    }

    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        if self.state().unreadable {
            return Err(CallFailed::Unknown { why: "no answer".to_owned() });
        }
        Ok([sick(), well()].into_iter().map(|name| (name.clone(), self.of(&name))).collect())
    }

    async fn followed(&self, _turns: &[Turn]) -> Result<Followed, CallFailed> {
        Ok(self.state().followed.unwrap_or(Followed::CannotTell))
    }
}

#[async_trait]
impl Resolver for World {
    async fn ask(&self, server: &str, _: &RecordName, _: &str) -> Result<Vec<String>, CallFailed> {
        let mut state = self.state();
        if state.silent.iter().any(|silent| silent == server) {
            return Err(CallFailed::Unknown { why: "no answer".to_owned() });
        }
        state.asked += 1;
        let place = state.asked % state.shown.len().max(1);
        match state.shown.get(place) {
            Some(region) => Ok(vec![(*region).to_owned()]),
            None => Err(CallFailed::Unknown { why: "no answer".to_owned() }),
        }
    }
}

fn proof(witness: bool) -> Proof {
    let witness = witness.then(|| Witness {
        zone: "Z0123456789ABC".parse().unwrap(),
        name: "_where.api.example.com".parse().unwrap(),
        servers: vec!["192.0.2.53:53".to_owned(), "192.0.2.54:53".to_owned()],
    });
    Proof { ttl: SECOND * 60, in_force_within: PATIENCE, witness }
}

fn gated(witness: bool) -> Policy {
    let mut policy = policy(1);
    let gates = GatesLever::unnamed([sick(), well()], SECOND * 60);
    assert!(gates.slots.values().flatten().all(|slot| slot.gate == Gate::Unnamed));
    policy.levers.insert(0, Lever::Gates(GatesLever { proof: proof(witness), ..gates }));
    let arn = |name: &RegionName| format!("arn:{name}");
    policy.levers.push(Lever::Arc(ArcLever {
        endpoints: BTreeMap::new(),
        controls: [sick(), well()].into_iter().map(|name| (name.clone(), arn(&name))).collect(),
        override_rules: Vec::new(),
        proof: proof(witness),
    }));
    policy
}

fn controller(world: &World, witness: bool) -> Controller {
    let mut controller = Controller::of(gated(witness), &Route53::with(1));
    controller.levers.gates = Some(Arc::new(world.clone()));
    controller.levers.arc = Some(Arc::new(world.clone()));
    controller.levers.resolver = Some(Arc::new(world.clone()));
    controller
}

fn away(lever: LeverKind, now: Timestamp) -> Plan {
    let turns = vec![
        Turn { region: well(), to: InAnswers::In },
        Turn { region: sick(), to: InAnswers::Out },
    ];
    Plan {
        service: policy(1).service,
        epoch: Epoch(1),
        made_at: now,
        wanted: Wanted::Move(Move {
            lever,
            purpose: Purpose::Evacuate,
            from: split(0, 100),
            to: split(100, 0),
            turns,
            because: "it is down".to_owned(),
        }),
        batches: Vec::new(),
        result: split(100, 0).weights().clone(),
    }
}

impl Controller {
    async fn turn_away(&mut self, lever: LeverKind) -> Progress {
        let plan = Plan { epoch: self.acts.epoch.next(), ..away(lever, self.clock.now()) };
        self.executor().carry_out(plan).await.unwrap()
    }

    async fn later(&mut self, span: Duration) -> Progress {
        self.clock.pass(span);
        self.executor().advance().await.unwrap()
    }

    async fn give_up(&mut self) -> Progress {
        self.executor().withdraw("it is no longer right").await.unwrap()
    }

    async fn settle_after(&mut self, span: Duration) {
        self.clock.pass(span);
        self.executor().settle_doubt(None).await.unwrap();
    }

    async fn move_beside(&mut self, moved: &Move) {
        let progress = self.executor().move_beside(moved).await.unwrap();
        assert_eq!(progress, Progress::Working);
    }

    async fn see_beside(&mut self) -> Progress {
        self.executor().see_beside(Left::Unknown).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_done_when_every_name_server_answers_so_and_not_before() {
    let world = World::default();
    world.state().shown = vec![WEST];
    let mut controller = controller(&world, true);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    assert_eq!(world.of(&sick()), InAnswers::Out);
    assert_eq!(controller.later(SECOND).await, Progress::Working);
    // Most answers are the new ones, some are not yet.
    world.state().shown = vec![EAST, EAST, EAST, EAST, WEST];
    assert_eq!(controller.later(SECOND).await, Progress::Working);
    world.state().shown = vec![EAST];
    assert_eq!(controller.later(SECOND).await, Progress::Ended(Outcome::Done));
    assert_eq!(controller.acts.shifts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn silent_name_servers_prove_nothing() {
    let world = World::default();
    let mut controller = controller(&world, true);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    assert_eq!(controller.later(SECOND * 299).await, Progress::Working);
}

#[tokio::test(start_paused = true)]
async fn without_a_witness_time_and_checks_must_both_agree() {
    let world = World::default();
    world.state().followed = Some(Followed::NotYet);
    let mut controller = controller(&world, false);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    assert_eq!(controller.later(SECOND * 61).await, Progress::Working);
    world.state().followed = Some(Followed::Yes);
    assert_eq!(controller.later(SECOND).await, Progress::Ended(Outcome::Done));

    let world = World::default();
    let mut controller = self::controller(&world, false);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    assert_eq!(controller.later(SECOND * 59).await, Progress::Working);
    assert_eq!(controller.later(SECOND).await, Progress::Ended(Outcome::Done));
}

/// Nothing can be asked of the check that looks at a control: only its time can be waited for.
#[tokio::test(start_paused = true)]
async fn a_control_without_a_witness_is_done_after_the_time_of_its_check_and_the_ttl() {
    let world = World::default();
    let mut controller = controller(&world, false);
    assert_eq!(controller.turn_away(LeverKind::Arc).await, Progress::Working);
    assert_eq!(controller.later(SECOND).await, Progress::Working);
    assert_eq!(controller.later(SECOND * 88).await, Progress::Working);
    assert_eq!(controller.later(SECOND).await, Progress::Ended(Outcome::Done));
}

/// Two of three have to publish.
fn voting(world: &World) -> Controller {
    let mut controller = controller(world, true);
    for lever in &mut controller.policy.levers {
        if let Lever::Gates(gates) = lever {
            gates.votes = Votes { needed: 2, of: 3 };
        }
    }
    controller
}

#[tokio::test(start_paused = true)]
async fn a_vote_stands_and_keeps_nobody_out_until_others_have_voted() {
    let world = World::default();
    world.state().shown = vec![WEST];
    let mut controller = voting(&world);
    for _ in 0..2 {
        assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
        let Progress::Ended(Outcome::Abandoned { why }) = controller.later(PATIENCE).await else {
            panic!("its time is over");
        };
        assert!(why.contains("2 of 3") && why.contains("the vote stands"), "{why}");
        controller.settle_after(SECOND * 60).await;
        assert_eq!(world.of(&sick()), InAnswers::Out, "others may vote later");
        assert_eq!(world.state().calls.len(), 1, "it is not published twice");
        let acts = &controller.acts;
        assert_eq!(acts.let_in().get(&sick()), Some(&InAnswers::In), "nobody sees an effect");
        assert_eq!((acts.shifts.len(), acts.doubtful.len()), (0, 0));
        let state = acts.levers.get(&LeverKind::Gates).unwrap();
        assert!(state.failures_in_a_row > 0, "the next lever is to be tried");
    }
    // Somebody else has voted.
    world.state().shown = vec![EAST];
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    assert_eq!(controller.later(SECOND).await, Progress::Ended(Outcome::Done));
    assert_eq!(controller.acts.let_in().get(&sick()), Some(&InAnswers::Out));
    assert_eq!((controller.acts.shifts.len(), controller.acts.voted.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_is_withdrawn_is_withdrawn_whatever_becomes_of_the_call() {
    for fault in [None, Some(Fault::Refused), Some(Fault::LostAfter), Some(Fault::LostBefore)] {
        let world = World::default();
        world.state().shown = vec![WEST];
        let mut controller = voting(&world);
        let _ = controller.turn_away(LeverKind::Gates).await;
        let _ = controller.later(PATIENCE).await;
        world.state().fault = fault;
        for _ in 0..6 {
            controller.clock.pass(SECOND * 61);
            controller.executor().withdraw_votes().await.unwrap();
            controller.executor().settle_doubt(None).await.unwrap();
        }
        assert_eq!(world.of(&sick()), InAnswers::In, "{fault:?}");
        let acts = &controller.acts;
        assert_eq!((acts.voted.len(), acts.doubtful.len()), (0, 0), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_comes_into_force_is_turned_back_and_counts_as_failed() {
    let world = World::default();
    world.state().shown = vec![WEST];
    let mut controller = controller(&world, true);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    let Progress::Ended(Outcome::Abandoned { why }) = controller.later(PATIENCE).await else {
        panic!("its time is over");
    };
    assert!(why.contains("5m"), "{why}");
    assert_eq!(world.of(&sick()), InAnswers::In, "it must not take effect late");
    let state = controller.acts.levers.get(&LeverKind::Gates).unwrap();
    assert!(state.failures_in_a_row > 0, "the next lever is to be tried");
    assert_eq!(controller.acts.shifts, []);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_unknown_outcome_is_undone_when_its_order_is_withdrawn() {
    for fault in [Fault::LostAfter, Fault::LostBefore] {
        let world = World::default();
        world.state().fault = Some(fault);
        let mut controller = controller(&world, true);
        assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
        assert!(controller.acts.order.as_ref().unwrap().is_unsent());
        let ended = controller.give_up().await;
        assert!(matches!(ended, Progress::Ended(Outcome::Abandoned { .. })), "{ended:?}");
        assert_eq!(world.of(&sick()), InAnswers::In, "{fault:?}");
        controller.settle_after(SETTLED_AFTER).await;
        assert!(controller.acts.doubtful.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_leaves_nothing_to_undo() {
    let world = World::default();
    world.state().fault = Some(Fault::Refused);
    let mut controller = controller(&world, true);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    assert!(controller.acts.doubtful.is_empty());
    let _ = controller.give_up().await;
    assert_eq!(world.state().calls.len(), 1, "the second would be for nothing");
}

/// Given up is not undone: what could not be turned back is as soon as that goes.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_undone_is_undone_later() {
    for fault in [Fault::LostBefore, Fault::Refused] {
        let world = World::default();
        world.state().fault = Some(Fault::LostAfter);
        let mut controller = controller(&world, true);
        assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
        world.state().fault = Some(fault);
        let ended = controller.give_up().await;
        assert!(matches!(ended, Progress::Ended(Outcome::Abandoned { .. })), "{ended:?}");
        assert!(controller.acts.doubts(LeverKind::Gates, &sick()));
        // Not while a human looks.
        let (by, reason, since) = ("ana".to_owned(), String::new(), controller.clock.now());
        controller.acts.pin = Some(Pin { by, reason, since, until: None });
        controller.settle_after(SECOND * 120).await;
        assert_eq!(world.of(&sick()), InAnswers::Out);
        controller.acts.pin = None;
        controller.settle_after(SECOND).await;
        assert_eq!(world.of(&sick()), InAnswers::In, "{fault:?}");
        assert!(controller.acts.doubtful.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_not_into_force_and_could_not_be_turned_back_is_later() {
    for lever in [LeverKind::Gates, LeverKind::Arc] {
        let world = World::default();
        world.state().shown = vec![WEST];
        let mut controller = controller(&world, true);
        assert_eq!(controller.turn_away(lever).await, Progress::Working);
        world.state().fault = Some(Fault::Refused);
        let ended = controller.later(PATIENCE).await;
        assert!(matches!(ended, Progress::Ended(Outcome::Abandoned { .. })), "{ended:?}");
        assert_eq!(world.of(&sick()), InAnswers::Out);
        controller.settle_after(SECOND * 10).await;
        assert_eq!(world.of(&sick()), InAnswers::In, "{lever}");
    }
}

/// The control of a standby may be off on a calm day: a call that did nothing is no reason to turn it on.
#[tokio::test(start_paused = true)]
async fn a_control_that_nobody_turned_is_left_as_it_is_found() {
    let world = World::default();
    world.state().standing.insert(well(), InAnswers::Out);
    world.state().fault = Some(Fault::LostBefore);
    let mut controller = controller(&world, true);
    assert_eq!(controller.turn_away(LeverKind::Arc).await, Progress::Working);
    let _ = controller.give_up().await;
    let calls = world.state().calls.len();
    controller.settle_after(SECOND * 10).await;
    controller.settle_after(SETTLED_AFTER).await;
    assert_eq!(world.state().calls.len(), calls);
    assert_eq!(world.of(&well()), InAnswers::Out);
    assert_eq!(controller.acts.controls.get(&well()), Some(&InAnswers::Out), "as it is found");
    assert!(controller.acts.doubtful.is_empty());
    // What was taken out is let in again all the same, whenever that landed.
    world.state().standing.insert(well(), InAnswers::In);
    let mut controller = self::controller(&world, true);
    world.state().fault = Some(Fault::LandsLate);
    assert_eq!(controller.turn_away(LeverKind::Arc).await, Progress::Working);
    world.state().fault = Some(Fault::Refused);
    let _ = controller.give_up().await;
    world.land();
    controller.settle_after(SECOND * 10).await;
    assert_eq!(world.of(&sick()), InAnswers::In);
}

/// A call that was given up takes effect after it was undone, or after it was read that it had none.
#[tokio::test(start_paused = true)]
async fn what_lands_late_is_found_and_undone() {
    for undone in [true, false] {
        let world = World::default();
        world.state().fault = Some(Fault::LandsLate);
        let mut controller = controller(&world, true);
        assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
        if undone {
            let _ = controller.give_up().await;
        } else {
            let _ = controller.executor().recover().await.unwrap();
        }
        assert!(controller.acts.order.is_none());
        controller.settle_after(SECOND * 5).await;
        assert!(controller.acts.doubts(LeverKind::Gates, &sick()), "it may still land");
        world.land();
        assert_eq!(world.of(&sick()), InAnswers::Out);
        controller.settle_after(SECOND * 5).await;
        assert_eq!(world.of(&sick()), InAnswers::In);
        controller.settle_after(SETTLED_AFTER).await;
        assert!(controller.acts.doubtful.is_empty());
        let calls = world.state().calls.len();
        controller.settle_after(SETTLED_AFTER).await;
        assert_eq!(world.state().calls.len(), calls);
    }
}

fn moved_away(controller: &Controller) -> Move {
    match away(LeverKind::Gates, controller.clock.now()).wanted {
        Wanted::Move(moved) => moved,
        Wanted::Refresh { .. } => unreachable!("a move"),
    }
}

/// Turned is not yet answered, and what else hangs of the move may still come.
#[tokio::test(start_paused = true)]
async fn a_move_beside_a_hanging_order_is_done_when_it_is_answered() {
    for fault in [None, Some(Fault::LostAfter), Some(Fault::LostBefore)] {
        let world = World::default();
        world.state().shown = vec![WEST];
        world.state().fault = fault;
        let mut controller = controller(&world, true);
        let moved = moved_away(&controller);
        controller.move_beside(&moved).await;
        if fault.is_some() {
            assert!(controller.acts.beside.as_ref().is_some_and(|beside| beside.turning));
            assert_eq!(controller.acts.shifts, []);
            // It is not given up by being looked at: the order says how it has to stand.
            controller.settle_after(SECOND * 5).await;
            controller.move_beside(&moved).await;
        }
        assert_eq!(world.of(&sick()), InAnswers::Out);
        assert_eq!(controller.acts.shifts.len(), 1, "{fault:?}");
        assert_eq!(controller.see_beside().await, Progress::Working);
        world.state().shown = vec![EAST];
        assert_eq!(controller.see_beside().await, Progress::Ended(Outcome::Done));
        assert_eq!(controller.see_beside().await, Progress::Nothing);
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_beside_a_hanging_order_that_is_given_up_is_turned_back() {
    for (fault, back) in [
        (Fault::LostAfter, None),
        (Fault::LostAfter, Some(Fault::LostBefore)),
        (Fault::LostBefore, None),
        (Fault::Refused, None),
    ] {
        let world = World::default();
        world.state().fault = Some(fault);
        let mut controller = controller(&world, true);
        controller.move_beside(&moved_away(&controller)).await;
        world.state().fault = back;
        let ended = controller.executor().withdraw_beside("well again").await.unwrap();
        assert!(matches!(ended, Progress::Ended(Outcome::Abandoned { .. })), "{ended:?}");
        assert_eq!(controller.acts.beside, None);
        let calls = world.state().calls.len();
        assert_eq!(calls, if fault == Fault::Refused { 1 } else { 2 }, "{fault:?}");
        controller.settle_after(SECOND * 10).await;
        assert_eq!(world.of(&sick()), InAnswers::In, "{fault:?}");
        assert_eq!(controller.acts.shifts, []);
    }
}

/// Killed between the announcement and the outcome.
#[tokio::test(start_paused = true)]
async fn a_move_beside_a_hanging_order_is_found_after_a_start() {
    for landed in [true, false] {
        let world = World::default();
        let mut controller = controller(&world, true);
        let (moved, now) = (moved_away(&controller), controller.clock.now());
        let (lever, turns) = (LeverKind::Gates, moved.turned());
        controller.acts.apply(now, &Entry::MovingBeside(Box::new(moved)));
        controller.acts.apply(now, &Entry::Turning { lever, turns: turns.clone() });
        if landed {
            world.state().standing = turns.into_iter().map(|t| (t.region, t.to)).collect();
        }
        controller.executor().recover_beside().await.unwrap();
        assert_eq!(controller.acts.beside.as_ref().map(|beside| beside.turning), Some(!landed));
        assert_eq!(controller.acts.shifts.len(), usize::from(landed));
        assert_eq!(world.state().calls.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_turned_back_stands_as_before_and_not_wide_open() {
    let world = World::default();
    world.state().shown = vec![WEST];
    let part = InAnswers::Part { closed: 1, of: 2 };
    let mut controller = controller(&world, true);
    for (region, stands) in [(sick(), part), (well(), InAnswers::Out)] {
        controller.acts.gates.insert(region.clone(), stands);
        world.state().standing.insert(region, stands);
    }
    controller.move_beside(&moved_away(&controller)).await;
    assert_eq!((world.of(&sick()), world.of(&well())), (InAnswers::Out, InAnswers::In));
    controller.clock.pass(PATIENCE);
    let ended = controller.see_beside().await;
    assert!(matches!(ended, Progress::Ended(Outcome::Abandoned { .. })), "{ended:?}");
    assert_eq!((world.of(&sick()), world.of(&well())), (part, InAnswers::Out));
    assert_eq!(controller.acts.shifts, []);
}

/// From a half to a quarter.
fn step(now: Timestamp) -> Plan {
    let mut plan = away(LeverKind::Gates, now);
    if let Wanted::Move(moved) = &mut plan.wanted {
        (moved.from, moved.to) = (split(50, 50), split(75, 25));
        moved.turns = vec![Turn { region: sick(), to: InAnswers::Part { closed: 1, of: 2 } }];
    }
    plan
}

/// Both regions are answered before and after, so that they are answered tells nothing.
#[tokio::test(start_paused = true)]
async fn a_step_is_done_by_its_time_its_checks_and_its_share() {
    let world = World::default();
    world.state().shown = vec![EAST, WEST];
    world.state().followed = Some(Followed::Yes);
    let mut controller = controller(&world, true);
    let plan = step(controller.clock.now());
    assert_eq!(controller.executor().carry_out(plan).await.unwrap(), Progress::Working);
    assert_eq!(controller.later(SECOND).await, Progress::Working);
    assert_eq!(controller.later(SECOND * 100).await, Progress::Working, "the shares of before");
    world.state().shown = vec![EAST, EAST, WEST, EAST];
    world.state().followed = Some(Followed::NotYet);
    assert_eq!(controller.later(SECOND).await, Progress::Working, "the checks say no");
    world.state().followed = Some(Followed::Yes);
    assert_eq!(controller.later(SECOND).await, Progress::Ended(Outcome::Done));

    let world = World::default();
    world.state().shown = vec![EAST, EAST, WEST, EAST];
    let mut controller = self::controller(&world, true);
    let plan = step(controller.clock.now());
    let _ = controller.executor().carry_out(plan).await.unwrap();
    assert_eq!(controller.later(SECOND * 50).await, Progress::Working, "too early");
    assert_eq!(controller.later(SECOND * 10).await, Progress::Ended(Outcome::Done));
}

/// Half of the servers must answer, and so often that what is left of a region would have shown.
#[tokio::test(start_paused = true)]
async fn one_name_server_of_four_does_not_speak_for_all() {
    for (silent, seen) in [(3, false), (2, true)] {
        let world = World::default();
        world.state().shown = vec![EAST];
        let mut controller = controller(&world, true);
        let servers: Vec<String> = (1..=4).map(|n| format!("192.0.2.{n}:53")).collect();
        for lever in &mut controller.policy.levers {
            let Lever::Gates(gates) = lever else { continue };
            gates.proof.witness.as_mut().unwrap().servers.clone_from(&servers);
        }
        world.state().silent = servers[..silent].to_vec();
        assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
        let ended = controller.later(SECOND).await;
        assert_eq!(ended == Progress::Ended(Outcome::Done), seen, "{silent} silent: {ended:?}");
    }
    // A tenth of the answers is missed by seventeen of them every sixth time.
    let world = World::default();
    world.state().shown = vec![EAST];
    let mut controller = controller(&world, true);
    let mut plan = away(LeverKind::Gates, controller.clock.now());
    if let Wanted::Move(moved) = &mut plan.wanted {
        moved.from = split(90, 10);
    }
    let _ = controller.executor().carry_out(plan).await.unwrap();
    let asked = world.state().asked;
    assert_eq!(controller.later(SECOND).await, Progress::Ended(Outcome::Done));
    assert!(world.state().asked - asked >= 66, "{}", world.state().asked - asked);
}

/// Dies after the announcement, before or after the effect.
#[tokio::test(start_paused = true)]
async fn a_crash_while_a_switch_is_turned_is_found_out_by_reading() {
    for effect in [false, true] {
        let world = World::default();
        world.state().shown = vec![EAST];
        let mut controller = controller(&world, true);
        let now = controller.clock.now();
        let plan = away(LeverKind::Gates, now);
        let turns = match &plan.wanted {
            Wanted::Move(moved) => moved.turned(),
            Wanted::Refresh { .. } => unreachable!("a move"),
        };
        let lever = LeverKind::Gates;
        for entry in
            [Entry::Intended(Box::new(plan)), Entry::Turning { lever, turns: turns.clone() }]
        {
            controller.acts.apply(now, &entry);
        }
        if effect {
            world.state().standing.insert(sick(), InAnswers::Out);
        }
        let ended = controller.executor().recover().await.unwrap();
        assert_eq!(world.state().calls.len(), 0, "never twice");
        if effect {
            assert_eq!(ended, Progress::Ended(Outcome::Done));
        } else {
            assert!(matches!(ended, Progress::Ended(Outcome::Abandoned { .. })), "{ended:?}");
            controller.settle_after(SETTLED_AFTER).await;
            assert_eq!(controller.acts.gates.get(&sick()), Some(&InAnswers::In));
        }
        assert!(controller.acts.doubtful.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_turned_while_a_pin_is_in_force() {
    let world = World::default();
    let mut controller = controller(&world, true);
    let pin = Pin {
        by: "ana".to_owned(),
        reason: "looking".to_owned(),
        since: controller.clock.now(),
        until: None,
    };
    controller.acts.pin = Some(pin);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    assert_eq!(controller.later(SECOND * 10).await, Progress::Working);
    assert_eq!(world.state().calls.len(), 0);
}

/// Safety rules judge a call as a whole, so `On` and `Off` go together, whatever is known; gates that
/// stand already are left alone.
#[tokio::test(start_paused = true)]
async fn routing_controls_go_in_one_call_and_gates_only_where_they_differ() {
    for (lever, turned) in [(LeverKind::Arc, 2), (LeverKind::Gates, 1)] {
        let world = World::default();
        let mut controller = controller(&world, false);
        assert_eq!(controller.turn_away(lever).await, Progress::Working);
        let calls = world.state().calls.clone();
        assert_eq!(calls.len(), 1, "{lever}");
        assert_eq!(calls[0].len(), turned, "{lever}");
        assert!(calls[0].is_sorted_by_key(|turn| turn.to), "those that let in come first");
    }
}

#[tokio::test(start_paused = true)]
async fn turning_again_what_stands_makes_no_call() {
    let world = World::default();
    world.state().shown = vec![EAST];
    let mut controller = controller(&world, true);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    assert_eq!(controller.later(SECOND).await, Progress::Ended(Outcome::Done));
    let again = Plan { epoch: Epoch(2), ..away(LeverKind::Gates, controller.clock.now()) };
    let _ = controller.executor().carry_out(again).await.unwrap();
    assert_eq!(world.state().calls.len(), 1);
}

/// Nobody would open it: the changed policy waits.
#[test]
fn a_policy_without_a_switch_that_is_closed_is_not_taken_yet() {
    let old = gated(true);
    let without = |kind: LeverKind| {
        let mut policy = gated(true);
        policy.levers.retain(|lever| lever.kind() != kind);
        policy
    };
    for kind in [LeverKind::Gates, LeverKind::Arc] {
        let mut acts = Acts::default();
        assert_eq!(acts.left_behind(&old, &without(kind)), None);
        let now = Timestamp::from_secs(1);
        let turns = vec![Turn { region: sick(), to: InAnswers::Out }];
        acts.apply(now, &Entry::Turning { lever: kind, turns: turns.clone() });
        let why = acts.left_behind(&old, &without(kind)).expect("it may be closed");
        assert!(why.starts_with(&format!("lever `{kind}`")) && why.contains(WEST), "{why}");
        acts.apply(now, &Entry::Turned { lever: kind, turns, failure: None });
        assert!(acts.left_behind(&old, &without(kind)).is_some());
        let other = if kind == LeverKind::Arc { LeverKind::Gates } else { LeverKind::Arc };
        assert_eq!(acts.left_behind(&old, &without(other)), None);
        let turns = vec![Turn { region: sick(), to: InAnswers::In }];
        acts.apply(now, &Entry::Turning { lever: kind, turns: turns.clone() });
        acts.apply(now, &Entry::Turned { lever: kind, turns, failure: None });
        let later = now.plus(SETTLED_AFTER);
        let standing = [(sick(), InAnswers::In)].into();
        acts.apply(later, &Entry::Stood { lever: kind, standing });
        assert_eq!(acts.left_behind(&old, &without(kind)), None);
    }
    // Somewhere else is another gate.
    let mut moved = gated(true);
    for lever in &mut moved.levers {
        if let Lever::Arc(arc) = lever {
            arc.controls.insert(sick(), "arn:other".to_owned());
        }
    }
    let mut acts = Acts::default();
    acts.controls.insert(sick(), InAnswers::Out);
    assert!(acts.left_behind(&old, &moved).is_some());
}

/// An order of a version that knew one gate a call and nothing of turns.
#[test]
fn orders_in_old_journals_still_read() {
    let plan = away(LeverKind::Gates, Timestamp::from_secs(1));
    let mut old = serde_json::to_value(&plan).unwrap();
    old["wanted"]["move"].as_object_mut().unwrap().remove("turns");
    let plan: Plan = serde_json::from_value(old).unwrap();
    let Wanted::Move(moved) = &plan.wanted else { panic!("a move") };
    let turned: Vec<_> = moved.turned().into_iter().map(|turn| (turn.region, turn.to)).collect();
    assert_eq!(turned, [(well(), InAnswers::In), (sick(), InAnswers::Out)]);
    let mut acts = Acts::default();
    acts.apply(Timestamp::from_secs(1), &Entry::Intended(Box::new(plan)));
    let mut old = serde_json::to_value(acts.order.as_ref().unwrap()).unwrap();
    old.as_object_mut().unwrap().retain(|key, _| key != "turning" && key != "stood");
    let order: Order = serde_json::from_value(old).unwrap();
    assert_eq!(order.turning, Turning::Waiting);
    let gate = format!(r#"{{"gated":{{"region":"{WEST}","to":"out","failure":null}}}}"#);
    let entry: Entry = serde_json::from_str(&gate).unwrap();
    acts.apply(Timestamp::from_secs(2), &entry);
    assert_eq!(acts.gates.get(&sick()), Some(&InAnswers::Out));
}
