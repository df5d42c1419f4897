//! Refreshes against a balancer in memory: what is called, what is written down, and what is left of it
//! after a crash at every line and every call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use super::*;
use crate::balancer::tests::{assert_served, care, floors, roll, snapshot, swap_in, zones};
use crate::balancer::{Target, ZONES_MIN};
use crate::execute::mortal::Mortal;
use crate::journal::Log;
use crate::memory::{Acts, Pin};
use crate::pace::Pacer;
use crate::policy::{ElbPace, Pace, Policy, Reassert, RefreshRules, Rung, RungKind};
use crate::ports::{Clock, Levers, TargetState};
use crate::report::samples;

/// Targets are well so long after they were registered, and gone so long after they were taken out.
const SETTLES: Duration = Duration::from_secs(20);
const BEAT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct State {
    now: Timestamp,
    live: Snapshot,
    changed_at: Timestamp,
    calls: Vec<Call>,
    seen: Vec<Snapshot>,
    kept: Vec<String>,
    process: Mortal,
    refuse: Option<&'static str>,
    lose_answers: bool,
    /// Calls of this kind are throttled until then.
    throttle: Option<(&'static str, Timestamp)>,
    /// No call is answered, and each lands so much later.
    late: Option<Duration>,
    landing: Vec<(Timestamp, Call)>,
}

/// A balancer, a disk and a clock.
#[derive(Debug, Clone)]
struct World(Arc<Mutex<State>>);

impl World {
    fn new(live: Snapshot) -> Self {
        let now = samples::NOW;
        Self(Arc::new(Mutex::new(State {
            now,
            seen: vec![live.clone()],
            live,
            changed_at: now,
            calls: Vec::new(),
            kept: Vec::new(),
            process: Mortal::default(),
            refuse: None,
            lose_answers: false,
            throttle: None,
            late: None,
            landing: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn pass(&self, time: Duration) {
        let mut state = self.state();
        state.now = state.now.plus(time);
        let now = state.now;
        let (landed, landing) =
            std::mem::take(&mut state.landing).into_iter().partition(|(at, _)| *at <= now);
        state.landing = landing;
        for (_, call) in landed as Vec<(Timestamp, Call)> {
            state.live.apply(&call).unwrap();
            state.changed_at = now;
            state.calls.push(call);
        }
        if state.now.since(state.changed_at) >= SETTLES {
            crate::balancer::tests::settle(&mut state.live);
            let settled = state.live.clone();
            state.seen.push(settled);
        }
    }

    fn acts(&self) -> Acts {
        self.state().process.acts()
    }

    /// The targets of each call that took some out.
    fn removals(&self) -> Vec<BTreeSet<Target>> {
        let state = self.state();
        let removed = state.calls.iter().filter_map(Call::removes);
        removed.map(|(_, targets)| targets.clone()).collect()
    }

    /// Whether a target was taken out at some time.
    fn has_taken(&self, target: &Target) -> bool {
        self.removals().iter().flatten().any(|taken| taken.is(target))
    }

    /// Of the healthy ones these fall ill.
    fn sicken(&self, chosen: impl Fn(&Target) -> bool) {
        let mut live = self.state().live.clone();
        for health in live.groups.values_mut().flat_map(|group| &mut group.health) {
            if health.state == TargetState::Healthy && chosen(&health.target) {
                health.state = TargetState::Unhealthy;
            }
        }
        self.state().live = live;
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        self.state().now
    }
}

#[async_trait]
impl crate::ports::Configurations for World {
    async fn read(
        &self,
        _arn: &str,
        also: &BTreeSet<String>,
        at: Timestamp,
    ) -> Result<Snapshot, CallFailed> {
        let mut live = self.state().live.clone();
        live.taken_at = at;
        // As a listing by balancer does.
        let told: BTreeSet<String> =
            live.groups.keys().filter(|name| live.is_attached(name)).cloned().collect();
        live.groups.retain(|name, _| told.contains(name) || also.contains(name));
        for (name, group) in &mut live.groups {
            group.arn.get_or_insert(format!("arn:of:{name}"));
        }
        Ok(live)
    }

    async fn change(&self, _live: &Snapshot, call: &Call) -> Result<(), CallFailed> {
        let dead = || CallFailed::Unknown { why: "dead".to_owned() };
        if self.state().process.burns() {
            return Err(dead());
        }
        {
            let mut state = self.state();
            if state.refuse == Some(call.operation()) {
                let (code, why) = ("AccessDenied".to_owned(), "not allowed".to_owned());
                return Err(CallFailed::Refused { code, why });
            }
            let now = state.now;
            if state.throttle.is_some_and(|(what, until)| what == call.operation() && now < until) {
                let (code, why) = ("Throttling".to_owned(), "slower".to_owned());
                return Err(CallFailed::Throttled { code, why });
            }
            if let Some(late) = state.late {
                state.landing.push((now.plus(late), call.clone()));
                return Err(dead());
            }
            state.live.apply(call).unwrap();
            state.changed_at = state.now;
            state.calls.push(call.clone());
            let live = state.live.clone();
            state.seen.push(live);
        }
        if self.state().process.burns() || self.state().lose_answers {
            return Err(dead());
        }
        Ok(())
    }
}

struct Disk(World);

impl Log for Disk {
    fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        self.0.state().process.append(at, entry)
    }

    fn keep(&mut self, name: &str, text: &[u8]) -> Result<Option<String>, JournalError> {
        assert!(self.0.state().calls.is_empty(), "kept before the first call");
        let back: Snapshot = serde_json::from_slice(text).unwrap();
        assert_eq!(back.differences(&self.0.state().live), []);
        self.0.state().kept.push(name.to_owned());
        Ok(Some(name.to_owned()))
    }
}

fn policy(rungs: Vec<Rung>) -> Policy {
    let mut policy = samples::policy();
    let balancer = policy.regions.values_mut().find_map(|r| r.balancers.first_mut()).unwrap();
    balancer.arn = Some("arn:of:the:balancer".to_owned());
    let name = balancer.name.clone();
    policy.refresh = Some(RefreshRules {
        order: Vec::new(),
        wait: Duration::from_secs(60),
        tries_max: 3,
        pace: ElbPace::default(),
        care: [(name, care(rungs))].into(),
    });
    policy
}

/// One process of the controller: what it remembers comes from the disk.
struct Life {
    policy: Policy,
    world: World,
    acts: Acts,
    levers: Levers,
    pace: Pacer,
}

impl Life {
    fn new(world: &World, policy: &Policy) -> Self {
        let levers = Levers { configurations: Some(Arc::new(world.clone())), ..Levers::default() };
        Self {
            policy: policy.clone(),
            world: world.clone(),
            acts: world.acts(),
            levers,
            pace: Pacer::new(Pace::default()),
        }
    }

    fn balancer(&self) -> BalancerName {
        self.policy.refresh.as_ref().unwrap().care.keys().next().unwrap().clone()
    }

    async fn with<T>(
        &mut self,
        act: impl AsyncFnOnce(&mut Executor<'_>) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let mut disk = Disk(self.world.clone());
        let mut executor = Executor {
            policy: &self.policy,
            levers: &self.levers,
            log: &mut disk,
            acts: &mut self.acts,
            clock: &self.world,
            pace: &self.pace,
        };
        act(&mut executor).await
    }

    async fn treat(&mut self, act: RefreshAct) -> Result<Progress, JournalError> {
        let balancer = self.balancer();
        self.with(async |executor| executor.treat(&balancer, act, None, "a test").await).await
    }

    /// On and on until it ends, or until the disk is gone.
    async fn go_on(&mut self) -> Result<Option<Outcome>, JournalError> {
        for _ in 0..2000 {
            if self.acts.cure.is_none() {
                return Ok(None);
            }
            tokio::time::advance(BEAT).await;
            self.world.pass(BEAT);
            let progress = self.with(async |executor| executor.advance_cure().await).await?;
            if let Progress::Ended(outcome) = progress {
                return Ok(Some(outcome));
            }
        }
        panic!("it never ends: {:?}", self.acts.cure.as_ref().map(|open| (open.done, open.call)));
    }

    async fn run(&mut self, kind: RungKind) -> Result<Outcome, JournalError> {
        match self.treat(RefreshAct::Rung(kind)).await? {
            Progress::Ended(outcome) => Ok(outcome),
            Progress::Working | Progress::Nothing => Ok(self.go_on().await?.unwrap()),
        }
    }
}

fn ladder() -> Vec<Rung> {
    vec![Rung::Reassert(Reassert::AsRead), roll(2, 0.5), swap_in(&[0.1, 0.5, 1.0]), zones(0.5)]
}

fn well() -> Snapshot {
    snapshot([[2, 1, 1], [2, 1, 1], [2, 1, 1]])
}

/// One listener, one group: few enough places to die for each to be tried.
fn narrow() -> Snapshot {
    let mut narrow = wide();
    narrow.listeners.retain(|_, listener| listener.port == 80);
    for listener in narrow.listeners.values_mut() {
        listener.rules.clear();
    }
    narrow.groups.retain(|name, _| name == "web");
    narrow
}

fn wide() -> Snapshot {
    snapshot([[2, 2, 2]; 3])
}

#[tokio::test(start_paused = true)]
async fn every_rung_makes_the_calls_of_its_plan_and_no_other() {
    for kind in ladder().iter().map(Rung::kind) {
        let before = wide();
        let world = World::new(before.clone());
        let mut process = Life::new(&world, &policy(ladder()));
        let outcome = process.run(kind).await.unwrap();
        assert_eq!(outcome, Outcome::Done, "{kind}");
        let planned: Vec<Call> =
            world.acts().cured.values().flat_map(|cure| cure.calls().cloned()).collect();
        assert_eq!(world.state().calls, planned, "{kind}");
        assert_eq!(world.state().kept.len(), 1, "{kind}");
        for seen in &world.state().seen {
            assert_served(seen, &floors(&before, 0.5), &kind.to_string());
        }
        if kind != RungKind::Swap {
            let live = world.state().live.clone();
            assert_eq!(before.differences(&live), [], "{kind}");
        }
        let last = world.acts().refreshes.values().flatten().last().cloned().unwrap();
        assert!(last.accepted && last.rung == Some(kind) && last.at > last.began.unwrap());
    }
}

/// Each line and each call is a place to die, before its effect and after it.
#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_ends_in_completion_or_in_the_beginning() {
    for kind in ladder().iter().map(Rung::kind) {
        let policy = policy(ladder());
        let mut deaths = 0;
        for fuse in 0.. {
            let before = narrow();
            let world = World::new(before.clone());
            world.state().process.fuse = Some(fuse);
            let mut first = Life::new(&world, &policy);
            let died = first.run(kind).await.is_err();
            world.state().process.fuse = None;
            let mut second = Life::new(&world, &policy);
            let outcome = second.go_on().await.unwrap();
            let live = world.state().live.clone();
            let acts = world.acts();
            let done = acts.cured.values().next().map(|cure| {
                let states = cure.states().unwrap();
                states.last().unwrap().differences(&live)
            });
            match done {
                Some(differences) => assert_eq!(differences, [], "{kind} {fuse}: completed"),
                None => assert_eq!(before.differences(&live), [], "{kind} {fuse}: {outcome:?}"),
            }
            for seen in &world.state().seen {
                assert_served(seen, &floors(&before, 0.5), &format!("{kind}, death {fuse}"));
            }
            if !died {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 15, "{kind}: only {deaths} places to die");
    }
}

#[tokio::test(start_paused = true)]
async fn what_made_it_worse_is_undone_at_any_step() {
    for kind in [RungKind::Targets, RungKind::Swap, RungKind::Zones] {
        for beats in 0.. {
            let before = wide();
            let world = World::new(before.clone());
            let mut process = Life::new(&world, &policy(ladder()));
            let mut over = false;
            let _ = process.treat(RefreshAct::Rung(kind)).await.unwrap();
            for _ in 0..beats * 7 {
                world.pass(BEAT);
                tokio::time::advance(BEAT).await;
                let progress = process.with(async |e| e.advance_cure().await).await.unwrap();
                over |= matches!(progress, Progress::Ended(_));
            }
            // As every round does while it does harm: the first look may have to wait for tokens.
            let undone = |process: &Life| {
                process
                    .acts
                    .refreshes
                    .values()
                    .flatten()
                    .last()
                    .is_some_and(|refresh| refresh.undone)
            };
            while !undone(&process) {
                let _ = process.treat(RefreshAct::Undo).await.unwrap();
                tokio::time::advance(BEAT).await;
                world.pass(BEAT);
            }
            process.go_on().await.unwrap();
            world.pass(SETTLES);
            let live = world.state().live.clone();
            assert_eq!(before.differences(&live), [], "{kind} after {beats}");
            for seen in &world.state().seen {
                assert_served(seen, &floors(&before, 0.5), &format!("{kind} after {beats}"));
            }
            let last = world.acts().refreshes.values().flatten().last().cloned().unwrap();
            assert!(last.undone && !last.accepted);
            if over {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_turns_the_refresh_back() {
    for (kind, operation) in [
        (RungKind::Targets, "RegisterTargets"),
        (RungKind::Swap, "ModifyRule"),
        (RungKind::Reassert, "ModifyListener"),
    ] {
        let before = wide();
        let world = World::new(before.clone());
        let mut process = Life::new(&world, &policy(ladder()));
        let _ = process.treat(RefreshAct::Rung(kind)).await.unwrap();
        // Refused from the second call on, so that something is to be taken back.
        let refuse = operation;
        while world.state().calls.len() < 2 {
            world.pass(BEAT);
            tokio::time::advance(BEAT).await;
            let _ = process.with(async |e| e.advance_cure().await).await.unwrap();
        }
        if process.acts.cure.is_none() {
            continue;
        }
        world.state().refuse = (kind != RungKind::Targets).then_some(refuse);
        if kind == RungKind::Targets {
            // What was taken out does not come back by itself: the way back is refused as well, once.
            world.state().refuse = Some("DeregisterTargets");
        }
        let outcome = process.go_on().await.unwrap();
        assert!(
            matches!(&outcome, Some(Outcome::Abandoned { why }) if why.contains("AccessDenied")),
            "{kind}: {outcome:?}"
        );
        world.pass(SETTLES);
        let live = world.state().live.clone();
        assert_eq!(before.differences(&live), [], "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_edit_stops_it_and_stands() {
    let before = wide();
    let world = World::new(before.clone());
    let mut process = Life::new(&world, &policy(ladder()));
    let _ = process.treat(RefreshAct::Rung(RungKind::Targets)).await.unwrap();
    let theirs: BTreeMap<String, String> =
        [("idle_timeout.timeout_seconds".to_owned(), "17".to_owned())].into();
    let call = Call::BalancerAttributes { attributes: theirs };
    world.state().live.apply(&call).unwrap();
    let outcome = process.go_on().await.unwrap();
    let Some(Outcome::Abandoned { why }) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("idle_timeout"), "{why}");
    world.pass(SETTLES);
    let live = world.state().live.clone();
    let places: Vec<String> = before.differences(&live).into_iter().map(|d| d.place).collect();
    assert_eq!(places, ["attributes / idle_timeout.timeout_seconds"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_found_out_by_reading() {
    let before = wide();
    let world = World::new(before.clone());
    world.state().lose_answers = true;
    let mut process = Life::new(&world, &policy(ladder()));
    assert_eq!(process.run(RungKind::Targets).await.unwrap(), Outcome::Done);
    let planned: Vec<Call> =
        world.acts().cured.values().flat_map(|cure| cure.calls().cloned()).collect();
    assert_eq!(world.state().calls, planned, "none of them twice");
}

#[tokio::test(start_paused = true)]
async fn a_pin_stops_it_where_it_stands() {
    let world = World::new(wide());
    let mut process = Life::new(&world, &policy(ladder()));
    let _ = process.treat(RefreshAct::Rung(RungKind::Targets)).await.unwrap();
    let pin =
        Pin { by: "ana".to_owned(), reason: "wait".to_owned(), since: samples::NOW, until: None };
    process.acts.apply(samples::NOW, &Entry::Pinned(pin));
    let calls = world.state().calls.len();
    for _ in 0..50 {
        world.pass(BEAT);
        tokio::time::advance(BEAT).await;
        assert_eq!(
            process.with(async |e| e.advance_cure().await).await.unwrap(),
            Progress::Working
        );
    }
    assert_eq!(world.state().calls.len(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_come_back_turns_it_back_and_no_other_is_taken_out() {
    let before = wide();
    let world = World::new(before.clone());
    let mut process = Life::new(&world, &policy(ladder()));
    let _ = process.treat(RefreshAct::Rung(RungKind::Targets)).await.unwrap();
    assert!(!world.removals().is_empty());
    let mut outcome = None;
    for _ in 0..400 {
        world.pass(BEAT);
        tokio::time::advance(BEAT).await;
        world.sicken(|target| world.has_taken(target));
        if let Progress::Ended(ended) =
            process.with(async |e| e.advance_cure().await).await.unwrap()
        {
            outcome = Some(ended);
            break;
        }
    }
    let Some(Outcome::Abandoned { why }) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("did not become healthy"), "{why}");
    assert_eq!(world.removals().len(), 1, "no second batch");
    let live = world.state().live.clone();
    assert_eq!(before.differences(&live), []);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_planned_touches_nothing_and_is_remembered() {
    let world = World::new(well());
    let mut two = world.state().live.clone();
    two.subnets.pop_first();
    assert_eq!(two.subnets.len(), ZONES_MIN);
    let before = two.clone();
    world.state().live = two;
    let mut process = Life::new(&world, &policy(ladder()));
    let outcome = process.run(RungKind::Zones).await.unwrap();
    assert!(matches!(&outcome, Outcome::Refused { why } if why.contains("zones")), "{outcome:?}");
    assert!(world.state().calls.is_empty() && world.state().kept.is_empty());
    assert!(world.acts().refreshes.values().flatten().last().unwrap().refused);
    assert_eq!(before.differences(&world.state().live.clone()), []);
}

impl Life {
    async fn beat(&mut self, act: RefreshAct) {
        let _ = self.treat(act).await.unwrap();
        tokio::time::advance(BEAT).await;
        self.world.pass(BEAT);
    }

    async fn until_called(&mut self, kind: RungKind) {
        let _ = self.treat(RefreshAct::Rung(kind)).await.unwrap();
        while self.world.state().calls.is_empty() && self.world.state().landing.is_empty() {
            self.world.pass(BEAT);
            tokio::time::advance(BEAT).await;
            let _ = self.with(async |e| e.advance_cure().await).await.unwrap();
        }
    }

    async fn undo(&mut self) {
        for _ in 0..100 {
            let over =
                self.acts.cure.as_ref().is_none_or(|open| open.cure.purpose == Purpose::Undo);
            if over {
                return;
            }
            self.beat(RefreshAct::Undo).await;
        }
        panic!("it is not turned back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_service_does_not_end_the_way_back() {
    let before = wide();
    let world = World::new(before.clone());
    let mut process = Life::new(&world, &policy(ladder()));
    process.until_called(RungKind::Zones).await;
    assert_ne!(before.differences(&world.state().live.clone()), []);
    let until = world.now().plus(Duration::from_secs(900));
    world.state().throttle = Some(("SetSubnets", until));
    process.undo().await;
    let outcome = process.go_on().await.unwrap();
    assert!(matches!(&outcome, Some(Outcome::Abandoned { .. })), "{outcome:?}");
    assert_eq!(before.differences(&world.state().live.clone()), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_back_is_said() {
    let before = wide();
    let world = World::new(before.clone());
    let mut process = Life::new(&world, &policy(ladder()));
    process.until_called(RungKind::Zones).await;
    world.state().refuse = Some("SetSubnets");
    process.undo().await;
    let Some(Outcome::Abandoned { why }) = process.go_on().await.unwrap() else { panic!() };
    assert!(why.contains("not taken back: SetSubnets"), "{why}");
    let name = process.balancer();
    let left = world.acts().left_over.get(&name).cloned().unwrap();
    let whole = Call::Subnets { subnets: before.subnets.clone() };
    assert_eq!(left.calls, std::slice::from_ref(&whole));
    assert!(left.why[0].contains("AccessDenied") && left.kept_in.is_some(), "{left:?}");
    // Looked at now and then, and forgotten when somebody has mended it.
    let mut looked = BTreeMap::new();
    for mended in [false, true] {
        if mended {
            world.state().live.apply(&whole).unwrap();
        }
        for _ in 0..100 {
            process.with(async |e| e.tend_aftermath(&mut looked).await).await.unwrap();
            tokio::time::advance(BEAT).await;
            world.pass(BEAT);
        }
        assert_eq!(world.acts().left_over.is_empty(), mended);
    }
}

/// What changed nothing for the worse, and is taken back as a whole, is no harm; what is not is.
#[tokio::test(start_paused = true)]
async fn a_refusal_half_way_is_taken_back_and_is_no_harm() {
    for whole in [true, false] {
        let before = wide();
        let world = World::new(before.clone());
        let mut process = Life::new(&world, &policy(ladder()));
        process.until_called(RungKind::Zones).await;
        if whole {
            let theirs = [("idle_timeout.timeout_seconds".to_owned(), "17".to_owned())].into();
            let call = Call::BalancerAttributes { attributes: theirs };
            world.state().live.apply(&call).unwrap();
        } else {
            world.state().refuse = Some("SetSubnets");
        }
        let outcome = process.go_on().await.unwrap();
        assert!(matches!(outcome, Some(Outcome::Abandoned { .. })), "{outcome:?}");
        let last = world.acts().refreshes.values().flatten().last().cloned().unwrap();
        assert!(last.withdrawn && last.undone != whole && !last.refused, "{last:?}");
        assert_eq!(world.acts().left_over.is_empty(), whole);
        assert_eq!(world.state().live.subnets == before.subnets, whole);
    }
}

/// Nothing was touched, so nothing is undone, and the next rung may be taken.
#[tokio::test(start_paused = true)]
async fn a_first_call_that_is_refused_is_no_harm() {
    let before = wide();
    let world = World::new(before.clone());
    world.state().refuse = Some("ModifyLoadBalancerAttributes");
    let mut process = Life::new(&world, &policy(ladder()));
    let outcome = process.run(RungKind::Reassert).await.unwrap();
    assert!(matches!(&outcome, Outcome::Refused { why } if why.contains("AccessDenied")));
    assert!(world.state().calls.is_empty());
    let last = world.acts().refreshes.values().flatten().last().cloned().unwrap();
    assert!(last.refused && !last.undone && !last.accepted);
}

/// The way back is worked out anew when somebody else comes in between, and takes nothing of theirs back.
#[tokio::test(start_paused = true)]
async fn an_edit_during_the_way_back_stands() {
    let before = wide();
    let world = World::new(before.clone());
    let mut process = Life::new(&world, &policy(ladder()));
    process.until_called(RungKind::Targets).await;
    let until = world.now().plus(Duration::from_secs(60));
    world.state().throttle = Some(("RegisterTargets", until));
    process.undo().await;
    let new = Target { id: "10.0.1.99".to_owned(), port: Some(8080), zone: None };
    let theirs = Call::Register { group: "web".to_owned(), targets: [new.clone()].into() };
    let timeout = [("idle_timeout.timeout_seconds".to_owned(), "17".to_owned())].into();
    for call in [theirs, Call::BalancerAttributes { attributes: timeout }] {
        world.state().live.apply(&call).unwrap();
    }
    process.go_on().await.unwrap();
    let live = world.state().live.clone();
    let places: Vec<String> = before.differences(&live).into_iter().map(|d| d.place).collect();
    assert_eq!(places.len(), 2, "{places:?}");
    assert!(live.groups["web"].targets.contains(&new), "{places:?}");
    assert!(!world.has_taken(&new));
}

/// A call whose answer was lost lands while everything is taken back: it is taken back as well.
#[tokio::test(start_paused = true)]
async fn what_lands_late_is_taken_back_too() {
    let before = wide();
    let world = World::new(before.clone());
    world.state().late = Some(Duration::from_secs(20));
    let mut process = Life::new(&world, &policy(ladder()));
    process.until_called(RungKind::Targets).await;
    assert_eq!(world.state().landing.len(), 1, "on its way");
    world.state().late = None;
    process.undo().await;
    process.go_on().await.unwrap();
    world.pass(SETTLES);
    assert_eq!(before.differences(&world.state().live.clone()), []);
}

/// It was there when it was planned. Who falls ill meanwhile is counted before the next batch goes.
#[tokio::test(start_paused = true)]
async fn the_floor_is_asked_before_every_call() {
    let world = World::new(wide());
    let mut process = Life::new(&world, &policy(ladder()));
    process.until_called(RungKind::Targets).await;
    assert_eq!(world.removals().len(), 1);
    for _ in 0..100 {
        world.sicken(|target| !world.has_taken(target));
        world.pass(BEAT);
        tokio::time::advance(BEAT).await;
        let _ = process.with(async |e| e.advance_cure().await).await.unwrap();
    }
    // Where those that came back are well the ill ones may follow; where nobody is well, nobody leaves.
    let left = world.removals();
    assert!(left.iter().flatten().all(|target| target.zone() != "eu-west-1c"), "{left:?}");
    assert!(process.acts.cure.is_some(), "it waits for them to be well again");
}

/// A twin that nobody forwards to is in no listing: its name is not free all the same.
#[tokio::test(start_paused = true)]
async fn a_name_left_of_an_earlier_swap_is_not_taken_again() {
    let mut live = wide();
    for (twin, old) in [("web-lw1", "web"), ("web-lw2", "web"), ("api-lw1", "api")] {
        let mut left = live.groups[old].clone();
        left.tags.insert("leeward:twin-of".to_owned(), old.to_owned());
        live.groups.insert(twin.to_owned(), left);
    }
    let world = World::new(live.clone());
    let mut process = Life::new(&world, &policy(ladder()));
    assert_eq!(process.run(RungKind::Swap).await.unwrap(), Outcome::Done);
    let now = world.state().live.clone();
    for (twin, old) in [("web-lw3", "web"), ("api-lw2", "api")] {
        assert!(now.is_used(twin) && !now.is_used(old), "{twin}");
    }
    assert_eq!(now.groups["web-lw1"], live.groups["web-lw1"]);
    let left = world.acts().cured.values().next().unwrap().left.join("; ");
    assert!(left.contains("`web-lw2` is left of an earlier swap"), "{left}");
}

/// Whoever registers targets knows nothing of the twin: new ones get no requests, and that is told.
#[tokio::test(start_paused = true)]
async fn who_goes_on_registering_in_the_old_group_is_noticed() {
    let world = World::new(wide());
    let mut process = Life::new(&world, &policy(ladder()));
    assert_eq!(process.run(RungKind::Swap).await.unwrap(), Outcome::Done);
    let name = process.balancer();
    let gone = world.state().live.groups["web"].targets.first().cloned().unwrap();
    let new = Target { id: "10.0.1.99".to_owned(), port: Some(8080), zone: None };
    let (web, twin) = ("web".to_owned(), "web-lw1".to_owned());
    let add =
        |group: &String| Call::Register { group: group.clone(), targets: [new.clone()].into() };
    let take =
        |group: &String| Call::Deregister { group: group.clone(), targets: [gone.clone()].into() };
    let mut looked = BTreeMap::new();
    let mut seen = Vec::new();
    for changes in [vec![], vec![add(&web), take(&web)], vec![add(&twin), take(&twin)]] {
        for call in changes {
            world.state().live.apply(&call).unwrap();
        }
        for _ in 0..100 {
            process.with(async |e| e.tend_aftermath(&mut looked).await).await.unwrap();
            tokio::time::advance(BEAT).await;
            world.pass(BEAT);
        }
        seen.push(world.acts().twinned[&name].apart.clone());
    }
    let apart = seen.remove(1);
    assert_eq!(apart.len(), 1);
    assert_eq!((&apart[0].group, &apart[0].twin), (&web, &twin));
    assert_eq!(apart[0].unserved, [new].into());
    assert_eq!(apart[0].gone, [gone].into());
    assert_eq!(seen, [vec![], vec![]], "alike before and after");
    // Requests go to the old groups again: that is over.
    let back = wide().listeners;
    world.state().live.listeners = back;
    for _ in 0..100 {
        process.with(async |e| e.tend_aftermath(&mut looked).await).await.unwrap();
        tokio::time::advance(BEAT).await;
    }
    world.pass(BEAT * 100);
    process.with(async |e| e.tend_aftermath(&mut looked).await).await.unwrap();
    assert!(world.acts().twinned.is_empty());
}

/// Two services of one process name the same balancer: only one of them begins.
#[tokio::test(start_paused = true)]
async fn what_another_service_has_just_begun_is_not_begun_as_well() {
    let world = World::new(wide());
    let mut process = Life::new(&world, &policy(ladder()));
    let other = "search".parse().unwrap();
    assert!(process.pace.claim_balancer(&other, "arn:of:the:balancer", world.now()));
    for _ in 0..5 {
        process.beat(RefreshAct::Rung(RungKind::Reassert)).await;
        assert!(process.acts.cure.is_none() && world.state().calls.is_empty());
    }
    world.pass(Duration::from_secs(60));
    assert_eq!(process.run(RungKind::Reassert).await.unwrap(), Outcome::Done);
}
