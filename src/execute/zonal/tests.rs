//! Zonal shifts against a service in memory: never two, nothing of somebody else's touched, and after a death
//! at every line and every call the same end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use super::*;
use crate::execute::mortal::Mortal;
use crate::journal::Log;
use crate::memory::{Acts, Pin};
use crate::pace::Pacer;
use crate::policy::Pace;
use crate::ports::{Clock, Levers, ShiftBegun, ZonalShifts};
use crate::report::samples;

const EXPIRES: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answers {
    Told,
    /// No answer, and nothing happened.
    LostBefore,
    /// No answer, and it happened.
    LostAfter,
    /// No answer, and it happens after this long.
    Late(Duration),
    Refused,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    shift: Option<ShiftSeen>,
    /// Somebody else's, told first.
    before: Option<ShiftSeen>,
    /// A call on its way.
    late: Option<(Timestamp, ShiftSeen)>,
    zones: BTreeSet<String>,
    calls: Vec<&'static str>,
    begun: usize,
    answers: Answers,
    unreadable: bool,
    process: Mortal,
}

/// The service, a disk and a clock.
#[derive(Debug, Clone)]
struct World(Arc<Mutex<State>>);

fn unknown() -> CallFailed {
    CallFailed::Unknown { why: "no answer".to_owned() }
}

impl World {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            now: samples::NOW,
            shift: None,
            before: None,
            late: None,
            zones: ["euw1-az1", "euw1-az2", "euw1-az3"].map(str::to_owned).into(),
            calls: Vec::new(),
            begun: 0,
            answers: Answers::Told,
            unreadable: false,
            process: Mortal::default(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn pass(&self, time: Duration) {
        let mut state = self.state();
        state.now = state.now.plus(time);
        let now = state.now;
        if state.shift.as_ref().is_some_and(|shift| shift.until.is_some_and(|until| now >= until)) {
            state.shift = None;
        }
        if state.late.as_ref().is_some_and(|(at, _)| now >= *at) {
            let (_, shift) = state.late.take().unwrap();
            if state.shift.is_none() {
                state.begun += 1;
                state.shift = Some(shift);
            }
        }
    }

    fn acts(&self) -> Acts {
        self.state().process.acts()
    }

    fn begun(&self) -> usize {
        self.state().begun
    }

    fn shifted(&self) -> bool {
        self.state().shift.is_some()
    }

    fn notes(&self) -> Vec<ZoneNote> {
        let notes = self.state().process.log.clone().into_iter().map(|(_, entry)| {
            let Entry::Zone { note, .. } = entry else { panic!("{entry:?}") };
            note
        });
        notes.collect()
    }

    /// What becomes of a call: done or not, and what is said of it.
    fn call(&self, name: &'static str, effect: impl FnOnce(&mut State)) -> Result<(), CallFailed> {
        if self.state().process.burns() {
            return Err(unknown());
        }
        let answers = {
            let mut state = self.state();
            state.calls.push(name);
            let answers = state.answers;
            if matches!(answers, Answers::Told | Answers::LostAfter) {
                effect(&mut state);
            }
            answers
        };
        if self.state().process.burns() {
            return Err(unknown());
        }
        match answers {
            Answers::Told => Ok(()),
            Answers::LostBefore | Answers::LostAfter | Answers::Late(_) => Err(unknown()),
            Answers::Refused => Err(CallFailed::Refused {
                code: "AccessDeniedException".to_owned(),
                why: "not allowed".to_owned(),
            }),
        }
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        self.state().now
    }
}

#[async_trait]
impl ZonalShifts for World {
    async fn read(&self, _arn: &str) -> Result<Shiftable, CallFailed> {
        let state = self.state();
        if state.unreadable {
            return Err(unknown());
        }
        let shifts = state.before.iter().chain(&state.shift).cloned().collect();
        Ok(Shiftable { zones: state.zones.clone(), shifts })
    }

    async fn start(
        &self,
        _arn: &str,
        zone_id: &str,
        expires: Duration,
        comment: &str,
    ) -> Result<ShiftBegun, CallFailed> {
        let until = self.state().now.plus(expires);
        let shift = ShiftSeen {
            id: "z-1".to_owned(),
            zone_id: zone_id.to_owned(),
            until: Some(until),
            comment: comment.to_owned(),
            kind: "ZONAL_SHIFT".to_owned(),
        };
        let answers = self.state().answers;
        if let Answers::Late(after) = answers {
            let at = self.state().now.plus(after);
            self.state().late = Some((at, shift.clone()));
        }
        self.call("start", |state| {
            assert!(state.shift.is_none(), "a second shift of the same balancer");
            state.begun += 1;
            state.shift = Some(shift);
        })?;
        Ok(ShiftBegun { id: "z-1".to_owned(), until })
    }

    async fn renew(
        &self,
        _arn: &str,
        id: &str,
        expires: Duration,
    ) -> Result<Timestamp, CallFailed> {
        let until = self.state().now.plus(expires);
        self.call("renew", |state| {
            let shift = state.shift.as_mut().filter(|shift| shift.id == id).unwrap();
            shift.until = Some(until);
        })?;
        Ok(until)
    }

    async fn cancel(&self, _arn: &str, id: &str) -> Result<(), CallFailed> {
        self.call("cancel", |state| {
            assert_eq!(state.shift.take().unwrap().id, id, "only ours");
        })
    }
}

struct Disk(World);

impl Log for Disk {
    fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        self.0.state().process.append(at, entry)
    }

    fn keep(&mut self, name: &str, _text: &[u8]) -> Result<Option<String>, JournalError> {
        panic!("{name} is kept")
    }
}

/// One process: what it remembers comes from the disk.
struct Life {
    world: World,
    acts: Acts,
    looked: Looked,
}

impl Life {
    fn new(world: &World) -> Self {
        Self { world: world.clone(), acts: world.acts(), looked: Looked::new() }
    }

    async fn round(&mut self, step: Option<ZoneStep>) -> Result<(), JournalError> {
        self.world.pass(Duration::from_secs(5));
        let policy = samples::policy();
        let port: Arc<dyn ZonalShifts> = Arc::new(self.world.clone());
        let levers = Levers { zonal_shifts: Some(port), ..Levers::default() };
        let pace = Pacer::new(Pace::default());
        let mut executor = Executor {
            policy: &policy,
            levers: &levers,
            log: &mut Disk(self.world.clone()),
            acts: &mut self.acts,
            clock: &self.world,
            pace: &pace,
        };
        executor.tend_zones(&mut self.looked).await?;
        match step {
            Some(step) => {
                let act = ZoneAct { step, ..samples::zone_act() };
                executor.shift_zone(&act, &mut self.looked).await
            }
            None => Ok(()),
        }
    }

    /// As the decision would have it, which waits for what is in doubt and for a pause.
    async fn toward(&mut self, step: ZoneStep) -> Result<(), JournalError> {
        let now = self.world.now();
        let balancer = samples::zone_act().balancer;
        let paused = self.acts.zones_paused.get(&balancer).is_some_and(|p| now < p.until);
        let due = match (step, self.acts.zones_away.get(&balancer)) {
            (ZoneStep::Start { .. }, None) => !paused,
            (ZoneStep::Start { .. }, Some(_)) | (_, None) => false,
            (_, Some(away)) => !away.is_in_doubt() && away.retry_at().is_none_or(|at| now >= at),
        };
        self.round(due.then_some(step)).await
    }

    fn stands(&self) -> bool {
        let away = self.acts.zones_away.get(&samples::zone_act().balancer);
        away.is_some_and(|away| !away.is_in_doubt())
    }

    async fn until(
        &mut self,
        step: ZoneStep,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), JournalError> {
        for _ in 0..400 {
            if done(self) {
                return Ok(());
            }
            self.toward(step).await?;
        }
        panic!("never: {:?} {:?}", self.acts.zones_away, self.acts.zones_paused);
    }
}

const START: ZoneStep = ZoneStep::Start { expires: EXPIRES };
const RENEW: ZoneStep = ZoneStep::Renew { expires: EXPIRES };

#[tokio::test]
async fn it_is_written_down_before_it_is_called() {
    let world = World::new();
    let mut life = Life::new(&world);
    life.until(START, Life::stands).await.unwrap();
    life.round(Some(RENEW)).await.unwrap();
    life.round(Some(ZoneStep::Cancel)).await.unwrap();
    assert_eq!(world.state().calls, ["start", "renew", "cancel"]);
    let kinds: Vec<String> = world
        .notes()
        .iter()
        .map(|note| format!("{note:?}").split([' ', '{']).next().unwrap().to_owned())
        .collect();
    let expected = ["Intended", "Stands", "Calling", "Stands", "Calling", "Ended"];
    assert_eq!(kinds, expected);
    assert!(world.state().shift.is_none() && life.acts.zones_away.is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_found_out_by_reading_and_never_doubled() {
    for (answers, begun) in [(Answers::LostAfter, 1), (Answers::LostBefore, 1)] {
        let world = World::new();
        let mut life = Life::new(&world);
        world.state().answers = answers;
        life.round(Some(START)).await.unwrap();
        assert!(!life.stands());
        world.state().answers = Answers::Told;
        life.until(START, Life::stands).await.unwrap();
        assert_eq!(world.begun(), begun, "{answers:?}");
        let calls = if answers == Answers::LostAfter { 1 } else { 2 };
        assert_eq!(world.state().calls.len(), calls, "{answers:?}");
    }
}

/// Given up for lost, and then it arrives: it is ours, and it is one.
#[tokio::test]
async fn a_call_that_arrives_after_it_was_given_up_is_known_again() {
    let world = World::new();
    let mut life = Life::new(&world);
    world.state().answers = Answers::Late(Duration::from_secs(40));
    life.round(Some(START)).await.unwrap();
    world.state().answers = Answers::Told;
    life.until(START, Life::stands).await.unwrap();
    assert_eq!(world.begun(), 1);
    assert_eq!(world.state().calls, ["start"]);
    assert!(world.notes().contains(&ZoneNote::Ended { end: ZoneEnd::NeverBegan }));
    life.round(Some(ZoneStep::Cancel)).await.unwrap();
    assert!(world.state().shift.is_none(), "and it can be taken back");
}

/// Also where somebody else's is told before it.
#[tokio::test]
async fn ours_is_known_again_behind_another_one() {
    let world = World::new();
    let mut life = Life::new(&world);
    world.state().answers = Answers::Late(Duration::from_secs(40));
    life.round(Some(START)).await.unwrap();
    world.state().answers = Answers::Told;
    world.state().before = Some(ShiftSeen {
        id: "theirs".to_owned(),
        zone_id: "euw1-az3".to_owned(),
        until: None,
        comment: "drill".to_owned(),
        kind: "FIS_EXPERIMENT".to_owned(),
    });
    life.until(START, Life::stands).await.unwrap();
    assert_eq!(world.state().calls, ["start"]);
}

#[tokio::test]
async fn renewing_and_taking_back_survive_lost_answers() {
    for answers in [Answers::LostAfter, Answers::LostBefore] {
        for step in [RENEW, ZoneStep::Cancel] {
            let world = World::new();
            let mut life = Life::new(&world);
            life.until(START, Life::stands).await.unwrap();
            world.pass(Duration::from_secs(120));
            world.state().answers = answers;
            life.round(Some(step)).await.unwrap();
            world.state().answers = Answers::Told;
            if step == RENEW {
                let late = world.now().plus(EXPIRES / 2);
                let renewed = |life: &Life| {
                    let away = life.acts.zones_away.values().next().unwrap();
                    life.stands() && away.stands.as_ref().unwrap().until > late
                };
                life.until(step, renewed).await.unwrap();
                assert!(world.state().shift.is_some());
            } else {
                life.until(step, |life| life.acts.zones_away.is_empty()).await.unwrap();
                assert!(world.state().shift.is_none(), "{answers:?}");
            }
        }
    }
}

#[tokio::test]
async fn somebody_elses_shift_is_seen_and_left_alone() {
    let world = World::new();
    let theirs = ShiftSeen {
        id: "theirs".to_owned(),
        zone_id: "euw1-az2".to_owned(),
        until: Some(world.now().plus(Duration::from_secs(1000))),
        comment: "drill".to_owned(),
        kind: "ZONAL_SHIFT".to_owned(),
    };
    world.state().shift = Some(theirs.clone());
    let mut life = Life::new(&world);
    for _ in 0..20 {
        life.toward(START).await.unwrap();
    }
    assert_eq!(world.state().calls, Vec::<&str>::new());
    assert_eq!(world.state().shift, Some(theirs));
    assert!(life.acts.zones_paused.values().next().unwrap().why.contains("drill"));
    // When it is over, ours begins.
    life.until(START, Life::stands).await.unwrap();
    assert_eq!(world.begun(), 1);
    // Ours is taken back by somebody, and another one stands in its place.
    world.state().shift.as_mut().unwrap().id = "another".to_owned();
    world.state().shift.as_mut().unwrap().comment = "a human".to_owned();
    for _ in 0..20 {
        life.round(None).await.unwrap();
    }
    assert!(world.notes().contains(&ZoneNote::Ended { end: ZoneEnd::TakenBack }));
    assert!(life.acts.zones_away.is_empty(), "it is not ours to renew or cancel");
    assert_eq!(world.state().shift.as_ref().unwrap().id, "another");
}

#[tokio::test]
async fn nothing_is_called_for_a_zone_that_the_balancer_does_not_have() {
    let world = World::new();
    world.state().zones = ["euw1-az1", "euw1-az3"].map(str::to_owned).into();
    let mut life = Life::new(&world);
    life.round(Some(START)).await.unwrap();
    assert_eq!(world.state().calls, Vec::<&str>::new());
    let pause = life.acts.zones_paused.values().next().unwrap();
    assert!(pause.why.contains("euw1-az1, euw1-az3"), "{}", pause.why);
    // Nor while it cannot be read what is shifted.
    let world = World::new();
    world.state().unreadable = true;
    let mut life = Life::new(&world);
    life.round(Some(START)).await.unwrap();
    assert_eq!(world.state().calls, Vec::<&str>::new());
    assert!(life.acts.zones_away.is_empty());
}

#[tokio::test]
async fn a_refusal_is_tried_again_at_a_growing_pace() {
    let world = World::new();
    world.state().answers = Answers::Refused;
    let mut life = Life::new(&world);
    for _ in 0..120 {
        life.toward(START).await.unwrap();
    }
    // After 0, 30, 90, 210 and 450 seconds, with rounds of five.
    assert_eq!(world.state().calls.len(), 5);
    assert!(life.acts.zones_away.is_empty(), "nothing happened");
    world.state().answers = Answers::Told;
    life.until(START, Life::stands).await.unwrap();
    assert!(life.acts.zones_paused.is_empty());
}

#[tokio::test]
async fn under_a_pin_nothing_is_called() {
    let world = World::new();
    let mut life = Life::new(&world);
    let (by, reason) = ("ana".to_owned(), "look first".to_owned());
    let pin = Pin { by, reason, since: world.now(), until: None };
    life.acts.apply(world.now(), &Entry::Pinned(pin));
    life.round(Some(START)).await.unwrap();
    assert_eq!(world.state().calls, Vec::<&str>::new());
}

#[tokio::test]
async fn what_ends_by_itself_is_over() {
    let world = World::new();
    let mut life = Life::new(&world);
    life.until(START, Life::stands).await.unwrap();
    for _ in 0..140 {
        life.round(None).await.unwrap();
    }
    assert_eq!(world.notes().last(), Some(&ZoneNote::Ended { end: ZoneEnd::Expired }));
    assert!(life.acts.zones_away.is_empty() && life.acts.zones_paused.is_empty());
}

/// Killed before and after every line and every call, then started again.
#[tokio::test]
async fn a_death_at_any_point_changes_nothing_of_the_end() {
    let mut deaths = 0;
    for fuse in 0.. {
        let world = World::new();
        world.state().process.fuse = Some(fuse);
        let whole = async {
            let mut life = Life::new(&world);
            life.until(START, Life::stands).await?;
            life.round(Some(RENEW)).await?;
            life.round(Some(ZoneStep::Cancel)).await
        };
        let died = whole.await.is_err();
        world.state().process.fuse = None;
        if !died {
            break;
        }
        deaths += 1;
        let mut life = Life::new(&world);
        // What was on its way back is not wanted away any more.
        let step = ZoneStep::Cancel;
        let leaves = |note: &ZoneNote| *note == ZoneNote::Calling { step };
        if !world.notes().iter().any(leaves) {
            life.until(START, Life::stands).await.unwrap();
            assert_eq!(world.begun(), 1, "fuse {fuse}: {:?}", world.notes());
        }
        life.until(step, |life| life.acts.zones_away.is_empty()).await.unwrap();
        assert!(!world.shifted(), "fuse {fuse}: {:?}", world.notes());
        assert_eq!(world.begun(), 1, "fuse {fuse}");
    }
    assert_eq!(deaths, 18, "two for each of six lines and three calls");
}
