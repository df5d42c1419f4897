//! Orders against a world that fails in every way Route 53 does.

use std::time::Duration;

use leeward::execute::{Call, Execute, Progress, Rehearse};
use leeward::memory::{BatchState, Entry, LeverState, Outcome};
use leeward::plan::{EpochTxt, Purpose, RecordData, Wanted};
use leeward::policy::{LeverKind, Readback};
use leeward::ports::{CallFailed, Clock};

use world::{Controller, Fault, IN_SYNC_WITHIN, Route53, evacuation, lever, policy, split, zone};

pub(crate) mod world;

impl Controller {
    async fn evacuate(&mut self, world: &Route53) -> Progress {
        let plan = evacuation(&self.policy, world, &self.acts, self.clock.now()).await;
        self.executor().carry_out(plan).await.unwrap()
    }

    async fn advance(&mut self) -> Progress {
        self.executor().advance().await.unwrap()
    }

    /// Advances after so long.
    async fn after(&mut self, span: Duration) -> Progress {
        self.clock.pass(span);
        tokio::time::sleep(span).await;
        self.advance().await
    }

    fn lever_state(&self) -> LeverState {
        self.acts.levers.get(&LeverKind::Weights).cloned().unwrap_or_default()
    }
}

fn throttled() -> CallFailed {
    CallFailed::Throttled { code: "Throttling".to_owned(), why: "Rate exceeded".to_owned() }
}

fn silent() -> CallFailed {
    CallFailed::Unknown { why: "time-out".to_owned() }
}

fn refused() -> CallFailed {
    CallFailed::Refused { code: "AccessDenied".to_owned(), why: "not allowed".to_owned() }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn an_order_is_done_only_when_every_name_server_answers_it() {
    let world = Route53::with(2);
    let mut controller = Controller::of(policy(2), &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    assert_eq!(controller.after(SECOND).await, Progress::Working);
    world.world().lagging.insert("ns2".to_owned());
    world.bring_in_sync();
    assert_eq!(controller.after(SECOND).await, Progress::Working);
    // However long: a server that answers something else is not excused while the records stand.
    assert_eq!(controller.after(IN_SYNC_WITHIN * 3).await, Progress::Working);
    world.world().lagging.clear();
    assert_eq!(controller.after(SECOND).await, Progress::Ended(Outcome::Done));
    assert_eq!((world.weights(0), world.weights(1)), ((100, 0), (100, 0)));
    assert_eq!(world.world().calls, 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_name_server_is_waited_for_but_not_for_ever() {
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    world.world().silent.insert("ns1".to_owned());
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.bring_in_sync();
    assert_eq!(controller.after(SECOND).await, Progress::Working);
    assert_eq!(controller.after(MINUTE).await, Progress::Working);
    assert_eq!(controller.after(IN_SYNC_WITHIN).await, Progress::Ended(Outcome::Done));
}

#[tokio::test(start_paused = true)]
async fn without_readback_in_sync_is_the_end() {
    let world = Route53::with(1);
    let mut policy = policy(1);
    lever(&mut policy).readback = Readback::None;
    let mut controller = Controller::of(policy, &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.bring_in_sync();
    world.world().lagging.insert("ns1".to_owned());
    assert_eq!(controller.after(SECOND).await, Progress::Ended(Outcome::Done));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_stays_pending_stays_open_and_nothing_is_stacked_on_it() {
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    for _ in 0..20 {
        assert_eq!(controller.after(MINUTE).await, Progress::Working);
    }
    assert_eq!(controller.executor().withdraw("too slow").await.unwrap(), Progress::Working);
    let mut plan = controller.acts.order.clone().unwrap().plan;
    plan.epoch = plan.epoch.next();
    let second = controller.executor().carry_out(plan).await.unwrap();
    assert!(
        matches!(second, Progress::Ended(Outcome::Refused { why }) if why.contains("still open"))
    );
    assert_eq!(world.world().calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_is_looked_for_before_it_is_made_again() {
    for (fault, calls) in [(Fault::LostAfter, 1), (Fault::LostBefore, 2), (Fault::LandsLate, 2)] {
        let world = Route53::with(1);
        world.world().faults = [Some(fault.clone())].into();
        let mut controller = Controller::of(policy(1), &world);
        assert_eq!(controller.evacuate(&world).await, Progress::Working);
        assert_eq!(controller.after(MINUTE).await, Progress::Working, "{fault:?}");
        world.bring_in_sync();
        assert_eq!(controller.after(MINUTE).await, Progress::Ended(Outcome::Done), "{fault:?}");
        assert_eq!(world.world().changes.len(), 1, "{fault:?}");
        assert_eq!(world.world().calls, calls, "{fault:?}");
        assert_eq!(controller.acts.shifts.len(), 1, "{fault:?}");
    }
}

/// Reading is out for the whole outage, writing only at first: the batch is sent again unread, at a civil pace,
/// whatever became of the call before.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_for_is_sent_again_as_a_whole() {
    for (fault, changes) in [(Fault::LostBefore, 1), (Fault::LostAfter, 1), (Fault::LandsLate, 1)] {
        let world = Route53::with(1);
        world.world().faults = [Some(fault.clone()), Some(Fault::LostBefore)].into();
        world.world().read_fault = Some(silent());
        let mut controller = Controller::of(policy(1), &world);
        let plan = {
            world.world().read_fault = None;
            evacuation(&controller.policy, &world, &controller.acts, controller.clock.now()).await
        };
        world.world().read_fault = Some(silent());
        assert_eq!(controller.executor().carry_out(plan).await.unwrap(), Progress::Working);
        for _ in 0..29 {
            let _ = controller.after(SECOND).await;
        }
        assert_eq!(world.world().calls, 1, "{fault:?}: a lost call may still land");
        for _ in 0..120 {
            let _ = controller.after(SECOND).await;
        }
        assert_eq!(world.weights(0), (100, 0), "{fault:?}: though nothing could be read");
        assert_eq!(world.world().changes.len(), changes, "{fault:?}: once");
        let calls = world.world().calls;
        assert!((3..=5).contains(&calls), "{fault:?}: {calls} calls");
        world.world().read_fault = None;
        world.bring_in_sync();
        assert_eq!(controller.after(MINUTE).await, Progress::Ended(Outcome::Done), "{fault:?}");
        assert_eq!(controller.acts.shifts.len(), 1, "{fault:?}");
    }
}

/// Stopped between the call and its answer, with nothing to read after the start: what is given up was looked for.
#[tokio::test(start_paused = true)]
async fn what_was_sent_unread_is_looked_for_before_it_is_given_up() {
    let world = Route53::with(1);
    world.world().faults = [Some(Fault::LandsLate), Some(Fault::Fails(refused()))].into();
    let mut controller = Controller::of(policy(1), &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.world().read_fault = Some(silent());
    for _ in 0..90 {
        let _ = controller.after(SECOND).await;
    }
    assert_eq!(world.weights(0), (100, 0), "the first landed when the second came");
    let withdrawn = controller.executor().withdraw("wrong by now").await.unwrap();
    assert_eq!(withdrawn, Progress::Working, "unread, nothing is given up");
    assert!(controller.acts.order.is_some());
    world.world().read_fault = None;
    world.bring_in_sync();
    assert_eq!(
        controller.after(MINUTE).await,
        Progress::Ended(Outcome::Done),
        "found, and told so"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_sent_while_pinned() {
    let world = Route53::with(2);
    let mut controller = Controller::of(policy(2), &world);
    world.world().faults.push_back(Some(Fault::LostBefore));
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    let since = controller.clock.now();
    let until = Some(since.plus(MINUTE));
    let (by, reason) = ("ann".to_owned(), "maintenance".to_owned());
    controller.acts.pin = Some(leeward::memory::Pin { by, reason, since, until });
    assert_eq!(controller.after(SECOND * 10).await, Progress::Working);
    assert_eq!(controller.after(SECOND * 10).await, Progress::Working);
    assert_eq!(world.world().calls, 1, "looking is allowed, sending is not");
    assert_eq!(controller.after(MINUTE).await, Progress::Working);
    assert_eq!((world.weights(0), world.weights(1)), ((100, 0), (100, 0)));
}

#[tokio::test(start_paused = true)]
async fn the_servers_of_one_zone_prove_nothing_about_another() {
    let world = Route53::with(2);
    let mut controller = Controller::of(policy(2), &world);
    world.world().faults.extend([None, Some(Fault::LostAfter)]);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.bring_in_sync();
    assert_eq!(controller.after(SECOND * 10).await, Progress::Working);
    assert_eq!(controller.after(SECOND * 10).await, Progress::Working, "the second has no id");
    assert_eq!(controller.after(IN_SYNC_WITHIN).await, Progress::Ended(Outcome::Done));
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_edit_is_never_overwritten() {
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    let plan =
        evacuation(&controller.policy, &world, &controller.acts, controller.clock.now()).await;
    world.edit(0, 90);
    let progress = controller.executor().carry_out(plan).await.unwrap();
    let Progress::Ended(Outcome::Refused { why }) = progress else { panic!("{progress:?}") };
    assert!(why.contains("set `west`") && why.contains("weight 90"), "{why}");
    assert_eq!(world.weights(0), (0, 90));
    assert!(controller.log.entries.iter().any(|entry| matches!(entry, Entry::Drifted { .. })));
    assert_eq!(controller.acts.order, None);
    // A lost call of which the same is true is not made again either.
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    world.world().faults = [Some(Fault::LostBefore)].into();
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.edit(0, 90);
    let progress = controller.after(MINUTE).await;
    assert!(matches!(progress, Progress::Ended(Outcome::Refused { .. })), "{progress:?}");
    assert_eq!((world.weights(0), world.world().calls), ((0, 90), 1));
}

#[tokio::test(start_paused = true)]
async fn refused_in_one_zone_means_put_back_in_the_others() {
    let world = Route53::with(3);
    let mut controller = Controller::of(policy(3), &world);
    world.world().faults = [None, Some(Fault::Fails(refused()))].into();
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    assert_eq!(world.weights(0), (100, 0));
    assert_eq!(controller.after(MINUTE).await, Progress::Working);
    assert_eq!(world.weights(0), (0, 100));
    world.bring_in_sync();
    let progress = controller.after(MINUTE).await;
    let Progress::Ended(Outcome::Abandoned { why }) = progress else { panic!("{progress:?}") };
    assert!(why.contains("AccessDenied"), "{why}");
    assert_eq!(world.world().changes.len(), 2);
    // Published under the next epoch, with the old split.
    let world = world.world();
    let txt = world.zones[&zone(0)].iter().find(|set| set.kind == "TXT").unwrap();
    let RecordData::Values(values) = &txt.data else { panic!("{txt:?}") };
    let txt = EpochTxt::parse(&values[0]).unwrap();
    assert_eq!((txt.epoch.0, txt.split, txt.holder.as_str()), (2, split(0, 100), "tester"));
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_for_too_long_is_put_back() {
    let world = Route53::with(2);
    let mut controller = Controller::of(policy(2), &world);
    let fault = || Some(Fault::Fails(throttled()));
    world.world().faults =
        [None].into_iter().chain(std::iter::repeat_with(fault).take(30)).collect();
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    let mut rounds = 0;
    while controller.acts.order.as_ref().unwrap().plan.epoch.0 == 1 {
        assert_eq!(controller.after(5 * SECOND).await, Progress::Working);
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(rounds * 5 >= 300, "given up after only {rounds} rounds");
    // Backed off: 2, 4, 8, 16, 32 and then 60 seconds apart.
    assert!((6..=12).contains(&world.world().calls), "{} calls", world.world().calls);
    world.world().faults.clear();
    assert_eq!(controller.after(2 * MINUTE).await, Progress::Working);
    world.bring_in_sync();
    assert!(matches!(controller.after(MINUTE).await, Progress::Ended(Outcome::Abandoned { .. })));
    assert_eq!((world.weights(0), world.weights(1)), ((0, 100), (0, 100)));
}

#[tokio::test(start_paused = true)]
async fn back_off_grows_to_a_minute_and_ends_with_the_first_answer() {
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    world.world().faults = vec![Some(Fault::Fails(CallFailed::Busy)); 8].into();
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let now = controller.clock.now();
        let retry_at = controller.executor().retry_at(LeverKind::Weights).unwrap();
        let wait = retry_at.since(now);
        waits.push(wait.as_secs());
        let calls = world.world().calls;
        assert_eq!(
            controller.after(wait.saturating_sub(Duration::from_millis(1))).await,
            Progress::Working
        );
        assert_eq!(world.world().calls, calls, "tried too early");
        assert_eq!(controller.after(Duration::from_millis(1)).await, Progress::Working);
        assert_eq!(world.world().calls, calls + 1);
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(controller.after(MINUTE).await, Progress::Working);
    assert_eq!(world.world().changes.len(), 1);
    assert_eq!(controller.lever_state().failures_in_a_row, 0);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_change_is_judged_by_the_records() {
    // Still there.
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.bring_in_sync();
    world.world().forgotten = true;
    assert_eq!(controller.after(SECOND).await, Progress::Ended(Outcome::Done));
    // Gone with it: sent again.
    let world = Route53::with(1);
    let before = world.world().zones.clone();
    let mut controller = Controller::of(policy(1), &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.world().zones = before;
    world.world().forgotten = true;
    assert_eq!(controller.after(SECOND).await, Progress::Working);
    assert_eq!(controller.after(MINUTE).await, Progress::Working);
    assert_eq!(world.weights(0), (100, 0));
    // Replaced by somebody else.
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.edit(0, 90);
    world.world().forgotten = true;
    let progress = controller.after(SECOND).await;
    assert!(matches!(progress, Progress::Ended(Outcome::Refused { .. })), "{progress:?}");
    assert_eq!(world.world().calls, 1);
}

#[tokio::test(start_paused = true)]
async fn withdrawing_takes_back_what_has_not_happened_and_only_that() {
    // Nothing written: given up.
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    world.world().faults = [Some(Fault::Fails(throttled()))].into();
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    controller.clock.pass(MINUTE);
    let progress = controller.executor().withdraw("it is well again").await.unwrap();
    let why = "it is well again".to_owned();
    assert_eq!(progress, Progress::Ended(Outcome::Abandoned { why }));
    assert_eq!(world.world().changes.len(), 0);
    // Lost on the way: not believed gone before it has settled.
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    world.world().faults = [Some(Fault::LandsLate)].into();
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    assert_eq!(controller.executor().withdraw("well").await.unwrap(), Progress::Working);
    controller.clock.pass(MINUTE);
    let progress = controller.executor().withdraw("well").await.unwrap();
    assert!(matches!(progress, Progress::Ended(Outcome::Abandoned { .. })));
    // A part written: put back.
    let world = Route53::with(2);
    let mut controller = Controller::of(policy(2), &world);
    world.world().faults = [None, Some(Fault::Fails(throttled()))].into();
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    assert_eq!(controller.executor().withdraw("well").await.unwrap(), Progress::Working);
    let Some(order) = controller.acts.order.clone() else { panic!("it is being put back") };
    assert!(matches!(&order.plan.wanted, Wanted::Move(moved) if moved.purpose == Purpose::Repair));
    // What puts back is not withdrawn.
    assert_eq!(controller.executor().withdraw("well").await.unwrap(), Progress::Working);
    assert_eq!(controller.after(MINUTE).await, Progress::Working);
    assert_eq!((world.weights(0), world.weights(1)), ((0, 100), (0, 100)));
}

#[tokio::test(start_paused = true)]
async fn what_lands_after_it_was_looked_for_is_put_back() {
    let world = Route53::with(2);
    let mut controller = Controller::of(policy(2), &world);
    world.world().faults = [Some(Fault::LandsLate)].into();
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    // Looked for, and not there yet.
    controller.clock.pass(Duration::from_secs(5));
    assert_eq!(controller.executor().withdraw("well").await.unwrap(), Progress::Working);
    world.land();
    assert_eq!((world.weights(0), world.weights(1)), ((100, 0), (0, 100)), "torn");
    controller.clock.pass(MINUTE);
    assert_eq!(controller.executor().withdraw("well").await.unwrap(), Progress::Working);
    assert_eq!(controller.after(MINUTE).await, Progress::Working);
    world.bring_in_sync();
    let progress = controller.after(MINUTE).await;
    assert!(matches!(progress, Progress::Ended(Outcome::Abandoned { .. })), "{progress:?}");
    assert_eq!((world.weights(0), world.weights(1)), ((0, 100), (0, 100)));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_down_is_not_done() {
    for appends in 0..2 {
        let world = Route53::with(1);
        let mut controller = Controller::of(policy(1), &world);
        controller.log.left = Some(appends);
        let plan =
            evacuation(&controller.policy, &world, &controller.acts, controller.clock.now()).await;
        assert!(controller.executor().carry_out(plan).await.is_err());
        assert_eq!(world.world().calls, 0, "a call without a record after {appends} lines");
    }
    // The call was made, its result could not be recorded: it counts as unknown and is looked for.
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    controller.log.left = Some(2);
    let plan =
        evacuation(&controller.policy, &world, &controller.acts, controller.clock.now()).await;
    assert!(controller.executor().carry_out(plan).await.is_err());
    let order = controller.acts.order.clone().unwrap();
    assert!(matches!(order.batches[0], BatchState::Sending { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_cannot_be_asked_is_a_failure_of_the_lever_not_of_the_order() {
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    world.world().status_fault = Some(CallFailed::Unknown { why: "time-out".to_owned() });
    for failures in 1..4 {
        assert_eq!(controller.after(MINUTE).await, Progress::Working);
        assert_eq!(controller.lever_state().failures_in_a_row, failures);
    }
    world.world().status_fault = None;
    world.bring_in_sync();
    assert_eq!(controller.after(MINUTE).await, Progress::Ended(Outcome::Done));
    assert_eq!(controller.lever_state().failures_in_a_row, 0);
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_order_ends_as_refused_not_as_done() {
    let world = Route53::with(1);
    let mut controller = Controller::of(policy(1), &world);
    assert_eq!(controller.evacuate(&world).await, Progress::Working);
    // Another controller, which has read our change, moves on before ours is proven.
    let other = evacuation_home(&controller, &world).await;
    leeward::ports::Weights::change(&world, &other.batches[0]).await.unwrap();
    world.bring_in_sync();
    let progress = controller.after(SECOND).await;
    assert!(matches!(progress, Progress::Ended(Outcome::Refused { .. })), "{progress:?}");
    assert_eq!(world.weights(0), (0, 100));
}

async fn evacuation_home(controller: &Controller, world: &Route53) -> leeward::plan::Plan {
    let lever = controller.policy.weights_lever().unwrap();
    let now = controller.clock.now();
    let inventory = leeward::execute::read_inventory(lever, world, now).await.unwrap();
    let wanted = Wanted::Move(leeward::plan::Move {
        lever: LeverKind::Weights,
        purpose: Purpose::Operator,
        from: split(100, 0),
        to: split(0, 100),
        turns: Vec::new(),
        because: "home".to_owned(),
    });
    let ours = leeward::plan::Epoch(0);
    leeward::plan::plan(&controller.policy, &inventory, &wanted, ours, "other", now).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_names_the_calls_and_makes_none() {
    let world = Route53::with(3);
    let controller = Controller::of(policy(3), &world);
    let plan =
        evacuation(&controller.policy, &world, &controller.acts, controller.clock.now()).await;
    let mut rehearsal = Rehearse::default();
    assert_eq!(rehearsal.carry_out(plan.clone()).await.unwrap(), Progress::Nothing);
    let named: Vec<Call> = plan.batches.into_iter().map(Call::Change).collect();
    assert_eq!(rehearsal.calls, named);
    assert_eq!(world.world().calls, 0);
}
