//! Orders that turn switches, against switches that fail in every way: gates and routing controls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use leeward::domain::{InAnswers, RecordName, RegionName, Timestamp, Turn};
use leeward::execute::Progress;
use leeward::memory::{Acts, Entry, Order, Outcome, Pin, Turning};
use leeward::plan::{Epoch, Move, Plan, Purpose, Wanted};
use leeward::policy::{ArcLever, Gate, GatesLever, Lever, LeverKind, Policy, Proof, Witness};
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
}

/// Switches, and the name servers behind them.
#[derive(Debug, Clone, Default)]
struct World(Arc<Mutex<State>>);

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
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
        if matches!(fault, None | Some(Fault::LostAfter)) {
            state.standing.extend(turns.iter().map(|turn| (turn.region.clone(), turn.to)));
        }
        match fault {
            None => Ok(()),
            Some(Fault::Refused) => {
                Err(CallFailed::Refused { code: "AccessDenied".to_owned(), why: String::new() })
            }
            Some(Fault::LostAfter | Fault::LostBefore) => {
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
    async fn ask(&self, _: &str, _: &RecordName, _: &str) -> Result<Vec<String>, CallFailed> {
        let mut state = self.state();
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
        let plan = away(lever, self.clock.now());
        self.executor().carry_out(plan).await.unwrap()
    }

    async fn later(&mut self, span: Duration) -> Progress {
        self.clock.pass(span);
        self.executor().advance().await.unwrap()
    }

    async fn give_up(&mut self) -> Progress {
        self.executor().withdraw("it is no longer right").await.unwrap()
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

#[tokio::test(start_paused = true)]
async fn what_could_not_be_undone_is_read_later() {
    let world = World::default();
    world.state().fault = Some(Fault::LostAfter);
    let mut controller = controller(&world, true);
    assert_eq!(controller.turn_away(LeverKind::Gates).await, Progress::Working);
    world.state().fault = Some(Fault::LostBefore);
    let ended = controller.give_up().await;
    assert!(matches!(ended, Progress::Ended(Outcome::Abandoned { .. })), "{ended:?}");
    assert!(controller.acts.doubts(LeverKind::Gates, &sick()));
    controller.clock.pass(SECOND * 120);
    controller.executor().settle_doubt().await.unwrap();
    assert_eq!(controller.acts.gates.get(&sick()), Some(&InAnswers::Out), "as it really stands");
    assert!(controller.acts.doubtful.is_empty());
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
