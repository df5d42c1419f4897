//! Rounds of the real service while services behind levers do not answer, on virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use leeward::domain::{InAnswers, RecordName, RegionName, Turn, Weight, ZoneId};
use leeward::health::{Measure, Sample};
use leeward::journal::Forgetful;
use leeward::pace::Pacer;
use leeward::plan::{Batch, RecordData, RecordSet, Wanted};
use leeward::policy::{Class, GatesLever, Lever, LeverKind, Pace, Policy, Votes, Witness, load};
use leeward::ports::{
    CallFailed, ChangeId, ChangeStatus, Clock, Levers, Resolver, Switches, Weights,
};
use leeward::runtime::round::Service;
use tokio::time::{Instant, sleep};

use crate::made_up::{Virtual, about, sample, serving};

/// As long as the edge waits for one call.
const NO_ANSWER: Duration = Duration::from_secs(8);
const SUSTAIN: Duration = Duration::from_secs(60);

const POLICY: &str = r"
version: 1
service: shop
mode: auto
regions:
  east: { role: primary, weight: 100, balancers: { east-web: { carries: 100% } } }
  west: { role: standby, weight: 0, balancers: { west-web: { carries: 100% } } }
vantages: { one: { source: 127.0.0.1 }, two: { source: 127.0.0.2 } }
levers:
  - weights:
      records: [{ zone: Z1, name: shop.example.com, types: [A], members: { east: east, west: west } }]
      epoch_record: { zone: Z1, name: _leeward.shop.example.com }
      ttl: 60s
      in_sync_within: 5m
      readback: none
signals:
  probes: { class: outside, fresh_for: 30s, pushed: {} }
  metrics: { class: traffic, fresh_for: 3m, pushed: {} }
judge: { success_below: 85%, window: 15s, sustain: 60s, vantages: 2, classes: 2, healthy_hosts_below: 50% }
shift: { ramp: [100%], hold: 2m, spare: 0%, overflow: spill, last_resort: never, unready: hold }
failback: manual
guards: { cooldown: 10m, shifts: { max: 2, within: 1h }, latch: { after: 4, within: 24h }, standby_healthy_hosts: 70% }
tell: { channels: [], status_every: 15m }
";

/// How calls of the records fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Well,
    /// Nothing is answered, and nothing happens.
    Hangs,
    /// Changes happen and are not answered; nothing can be read.
    HangsAfter,
    Throttles,
}

#[derive(Debug)]
struct Records {
    api: Mutex<Api>,
    sets: Mutex<Vec<RecordSet>>,
    changes: AtomicUsize,
    reads: AtomicUsize,
}

impl Records {
    async fn answers(&self) -> Result<(), CallFailed> {
        let api = *self.api.lock().unwrap();
        match api {
            Api::Well => Ok(()),
            Api::Throttles => {
                Err(CallFailed::Throttled { code: "Throttling".to_owned(), why: String::new() })
            }
            Api::Hangs | Api::HangsAfter => {
                sleep(NO_ANSWER).await;
                Err(CallFailed::Unknown { why: "no answer".to_owned() })
            }
        }
    }
}

#[async_trait]
impl Weights for Records {
    async fn read(&self, _: &ZoneId, _: Option<&RecordName>) -> Result<Vec<RecordSet>, CallFailed> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.answers().await?;
        Ok(self.sets.lock().unwrap().clone())
    }

    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        if *self.api.lock().unwrap() == Api::HangsAfter {
            self.take(batch);
        }
        self.answers().await?;
        self.take(batch);
        Ok(ChangeId("C1".to_owned()))
    }

    async fn status(&self, _: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        self.answers().await?;
        Ok(ChangeStatus::InSync)
    }

    async fn name_servers(&self, _: &ZoneId) -> Result<Vec<String>, CallFailed> {
        Ok(Vec::new())
    }
}

impl Records {
    fn take(&self, batch: &Batch) {
        let mut sets = self.sets.lock().unwrap();
        for swap in &batch.swaps {
            sets.retain(|set| Some(set) != swap.before.as_ref());
            sets.push(swap.after.clone());
        }
    }

    fn weight(&self, region: &str) -> u8 {
        let sets = self.sets.lock().unwrap();
        let set = sets.iter().find(|set| set.set_identifier.as_deref() == Some(region));
        set.unwrap().weight.unwrap().0
    }
}

#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<BTreeSet<RegionName>>,
    calls: Mutex<Vec<(Instant, Vec<Turn>)>>,
    /// So many calls are not answered.
    silent: AtomicUsize,
    /// Those happen all the same.
    takes: AtomicBool,
}

#[async_trait]
impl Switches for Gate {
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        self.calls.lock().unwrap().push((Instant::now(), turns.to_vec()));
        let silent = self.silent.load(Ordering::SeqCst);
        self.silent.store(silent.saturating_sub(1), Ordering::SeqCst);
        if silent == 0 || self.takes.load(Ordering::SeqCst) {
            let mut closed = self.closed.lock().unwrap();
            for turn in turns {
                match turn.to {
                    InAnswers::In => closed.remove(&turn.region),
                    InAnswers::Out | InAnswers::Part { .. } => closed.insert(turn.region.clone()),
                };
            }
        }
        if silent > 0 {
            return Err(CallFailed::Unknown { why: "no answer".to_owned() });
        }
        Ok(())
    }

    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        let closed = self.closed.lock().unwrap();
        let stands =
            |name: &RegionName| if closed.contains(name) { InAnswers::Out } else { InAnswers::In };
        Ok(["east", "west"]
            .map(|name| name.parse::<RegionName>().unwrap())
            .map(|name| (name.clone(), stands(&name)))
            .into())
    }
}

struct Bench {
    service: Service,
    records: Arc<Records>,
    gate: Arc<Gate>,
    clock: Arc<Virtual>,
    dead: Option<Instant>,
    /// Of 1,000 requests a second, how many arrive at `east`; nobody counts where this is `None`.
    arrives: Option<fn(&Bench) -> Option<f64>>,
}

fn record(region: &str, weight: u8) -> RecordSet {
    RecordSet {
        zone: "Z1".parse().unwrap(),
        name: "shop.example.com".parse().unwrap(),
        kind: "A".to_owned(),
        set_identifier: Some(region.to_owned()),
        weight: Some(Weight(weight)),
        ttl: Some(60),
        data: RecordData::Values(vec!["192.0.2.1".to_owned()]),
        health_check: None,
        foreign: Vec::new(),
    }
}

fn policy(gates_at: Option<usize>) -> Policy {
    let (mut policy, _) = load(POLICY, "ladder.yaml").unwrap();
    if let Some(place) = gates_at {
        let gates = GatesLever::unnamed(policy.regions.keys().cloned(), SUSTAIN);
        policy.levers.insert(place, Lever::Gates(gates));
    }
    policy
}

impl Bench {
    /// `gates_at`: the place of the gates among the levers.
    fn new(gates_at: Option<usize>) -> Self {
        let records = Arc::new(Records {
            api: Mutex::new(Api::Well),
            sets: Mutex::new(vec![record("east", 100), record("west", 0)]),
            changes: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
        });
        let (gate, clock) = (Arc::new(Gate::default()), Virtual::start());
        let levers = Levers {
            weights: Some(records.clone()),
            gates: Some(gate.clone()),
            ..Levers::default()
        };
        let pace = Arc::new(Pacer::new(Pace::default()));
        let service = Service::new(
            policy(gates_at),
            levers,
            Box::new(Forgetful),
            clock.clone(),
            pace,
            "test".to_owned(),
        );
        Self { service, records, gate, clock, dead: None, arrives: None }
    }

    fn api(&self, is: Api) {
        *self.records.api.lock().unwrap() = is;
    }

    fn samples(&self) -> Vec<Sample> {
        let now = self.clock.now();
        let seen = |name: &str| {
            let part = if self.dead.is_some() && name == "east" { 0.0 } else { 1.0 };
            serving(now, about(name, &format!("{name}-web")), ["one", "two"], part)
        };
        let mut samples = [seen("east"), seen("west")].concat();
        if let Some(arrives) = self.arrives {
            let east = arrives(self);
            let west = 1000.0 - east.unwrap_or(1000.0);
            let east = ("east", east);
            // What is no number is not even told.
            let told = [east, ("west", Some(west))].into_iter();
            for (name, rps) in told.filter(|(_, rps)| !rps.is_some_and(f64::is_nan)) {
                let (about, requests) =
                    (about(name, &format!("{name}-web")), Measure::Requests(rps));
                samples.push(sample(now, "metrics", Class::Traffic, about, requests));
            }
        }
        samples
    }

    /// Since when the gate of `east` is closed.
    fn closed_for(&self) -> Option<Duration> {
        let calls = self.gate.calls.lock().unwrap();
        let out = calls.iter().find(|(_, turns)| turns.iter().any(|t| t.to == InAnswers::Out));
        out.map(|(at, _)| at.elapsed())
    }

    /// One round, at most as often as the policy says; how long it took.
    async fn round(&mut self) -> Duration {
        let began = Instant::now();
        let samples = self.samples();
        self.service.round(samples, Vec::new()).await.unwrap();
        let took = began.elapsed();
        sleep(self.service.policy.round_every().saturating_sub(took)).await;
        took
    }

    async fn rounds(&mut self, span: Duration) {
        let began = Instant::now();
        while began.elapsed() < span {
            self.round().await;
        }
    }

    /// Calm for some minutes, then `east` is lost; until `span` is over.
    async fn outage(&mut self, api: Api, at_rest: Duration, span: Duration) {
        self.rounds(at_rest).await;
        self.dead = Some(Instant::now());
        self.api(api);
        self.rounds(span).await;
    }

    /// When the region was first kept out of the answers, from the moment at which it had to be judged.
    fn out_after(&self) -> Duration {
        let calls = self.gate.calls.lock().unwrap();
        let out = calls.iter().find(|(_, turns)| turns.iter().any(|t| t.to == InAnswers::Out));
        let (at, _) = out.unwrap_or_else(|| panic!("{:?}", self.service.last));
        at.duration_since(self.dead.unwrap()).saturating_sub(SUSTAIN)
    }

    fn is_out(&self) -> bool {
        self.gate.closed.lock().unwrap().contains(&"east".parse::<RegionName>().unwrap())
    }
}

/// Whatever the moment at which the API died: the records may be due for a reading, or just read.
#[tokio::test(start_paused = true)]
async fn a_gate_is_closed_soon_while_every_call_of_the_api_hangs() {
    for offset in [0, 7, 13, 22, 31, 40, 49, 58] {
        for gates_at in [0, 1] {
            let mut bench = Bench::new(Some(gates_at));
            let rest = Duration::from_secs(120 + offset);
            bench.outage(Api::Hangs, rest, SUSTAIN * 3).await;
            assert!(bench.is_out());
            // The window, a round, one try of the records and one look at them.
            let most = Duration::from_secs(if gates_at == 0 { 25 } else { 33 });
            let took = bench.out_after();
            assert!(took <= most, "{offset} {gates_at}: {took:?}");
            assert_eq!(bench.records.weight("east"), 100, "nothing was written");
            // One order that may still happen, and the gates beside it.
            assert!(bench.records.changes.load(Ordering::SeqCst) <= 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_does_not_wait_for_records_while_another_lever_is_there() {
    let mut bench = Bench::new(Some(1));
    bench.rounds(Duration::from_secs(120)).await;
    bench.api(Api::Hangs);
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        longest = longest.max(bench.round().await);
    }
    assert!(longest <= Duration::from_secs(3), "{longest:?}");
    // It is read again when it answers again.
    bench.api(Api::Well);
    bench.rounds(Duration::from_secs(30)).await;
    assert!(bench.service.unread.is_none());

    let mut alone = Bench::new(None);
    alone.rounds(Duration::from_secs(120)).await;
    alone.api(Api::Hangs);
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        longest = longest.max(alone.round().await);
    }
    assert_eq!(longest, NO_ANSWER, "where nothing else can be done the records are waited for");
}

/// The next lever is taken in the very round in which one failed.
#[tokio::test(start_paused = true)]
async fn a_throttled_change_is_given_up_and_the_gate_closed_in_the_same_round() {
    let mut bench = Bench::new(Some(1));
    bench.outage(Api::Well, Duration::from_secs(120), SUSTAIN / 2).await;
    bench.api(Api::Throttles);
    while bench.records.changes.load(Ordering::SeqCst) == 0
        && bench.gate.calls.lock().unwrap().is_empty()
    {
        bench.round().await;
    }
    assert!(bench.is_out(), "{:?}", bench.service.last.as_ref().map(|last| &last.holds));
    let wanted = bench.service.last.as_ref().and_then(|last| last.wanted.clone());
    assert!(matches!(wanted, Some(Wanted::Move(moved)) if moved.lever == LeverKind::Gates));
}

/// A change that happened without an answer and the gate ask for the same; when the records can be read
/// again the order is found done, and nothing is done twice.
#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_found_out_when_the_records_answer_again() {
    let mut bench = Bench::new(Some(1));
    bench.outage(Api::Well, Duration::from_secs(120), SUSTAIN / 2).await;
    bench.api(Api::HangsAfter);
    bench.rounds(SUSTAIN * 3).await;
    assert!(bench.is_out());
    assert!(bench.service.memory.acts.order.is_some(), "nobody knows what became of it");
    bench.api(Api::Well);
    // Without the id of the change, it is known to be in sync when its time is over.
    bench.rounds(SUSTAIN * 8).await;
    assert!(bench.service.memory.acts.order.is_none());
    assert_eq!(bench.records.changes.load(Ordering::SeqCst), 1);
    assert_eq!(bench.records.weight("west"), 100);
    assert!(bench.is_out(), "nothing flips by itself when the better lever returns");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_does_not_answer_once_is_tried_again_within_seconds() {
    let mut bench = Bench::new(Some(0));
    bench.gate.silent.store(1, Ordering::SeqCst);
    bench.outage(Api::Hangs, Duration::from_secs(120), SUSTAIN * 3).await;
    assert!(bench.is_out());
    let calls = bench.gate.calls.lock().unwrap();
    let between = calls[1].0.duration_since(calls[0].0);
    assert!(between <= Duration::from_secs(20), "{between:?}");
}

/// Closed without an answer beside an order that hangs: the same move as with one.
#[tokio::test(start_paused = true)]
async fn a_gate_that_was_closed_without_an_answer_is_a_shift_and_is_seen_in_force() {
    for takes in [true, false] {
        let mut bench = Bench::new(Some(1));
        bench.rounds(Duration::from_secs(120)).await;
        bench.gate.silent.store(1, Ordering::SeqCst);
        bench.gate.takes.store(takes, Ordering::SeqCst);
        bench.dead = Some(Instant::now());
        bench.rounds(SUSTAIN / 2).await;
        bench.api(Api::Hangs);
        bench.rounds(SUSTAIN * 3 / 2).await;
        assert!(bench.is_out());
        let acts = &bench.service.memory.acts;
        assert!(acts.order.is_some(), "it hangs");
        assert_eq!(acts.shifts.len(), 1, "takes {takes}: {:?}", bench.service.last);
        assert!(acts.beside.as_ref().is_some_and(|beside| !beside.turning));
        bench.rounds(SUSTAIN * 4).await;
        let acts = &bench.service.memory.acts;
        assert_eq!((acts.beside.as_ref(), acts.shifts.len()), (None, 1), "seen in force");
        assert!(bench.is_out());
    }
}

/// It is well again before anything was heard of the gate.
#[tokio::test(start_paused = true)]
async fn a_gate_that_was_closed_without_an_answer_is_opened_when_the_region_is_well() {
    let mut bench = Bench::new(Some(1));
    bench.outage(Api::Well, Duration::from_secs(120), SUSTAIN / 2).await;
    bench.api(Api::Hangs);
    bench.gate.silent.store(usize::MAX, Ordering::SeqCst);
    bench.gate.takes.store(true, Ordering::SeqCst);
    bench.rounds(SUSTAIN * 3 / 2).await;
    assert!(bench.is_out());
    assert_eq!(bench.service.memory.acts.shifts, [], "nobody knows");
    bench.dead = None;
    bench.rounds(SUSTAIN / 2).await;
    bench.gate.silent.store(0, Ordering::SeqCst);
    bench.rounds(SUSTAIN * 3).await;
    assert!(!bench.is_out(), "{:?}", bench.service.memory.acts.levers);
    let acts = &bench.service.memory.acts;
    assert_eq!((acts.beside.as_ref(), acts.doubtful.len()), (None, 0));
}

/// Name servers that never leave out the region that is to be left: nobody else has voted.
#[derive(Debug)]
struct Unmoved;

#[async_trait]
impl Resolver for Unmoved {
    async fn ask(&self, _: &str, _: &RecordName, _: &str) -> Result<Vec<String>, CallFailed> {
        Ok(vec!["east".to_owned()])
    }
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_nobody_joins_stands_while_the_next_lever_is_taken() {
    let mut bench = Bench::new(Some(0));
    bench.service.levers.resolver = Some(Arc::new(Unmoved));
    for lever in &mut bench.service.policy.levers {
        if let Lever::Gates(gates) = lever {
            gates.votes = Votes { needed: 2, of: 3 };
            let zone = "Z1".parse().unwrap();
            let name = "_where.shop.example.com".parse().unwrap();
            let servers = vec!["192.0.2.53:53".to_owned()];
            gates.proof.witness = Some(Witness { zone, name, servers });
        }
    }
    bench.outage(Api::Well, Duration::from_secs(120), SUSTAIN * 9).await;
    assert_eq!(bench.records.weight("east"), 0, "{:?}", bench.service.last);
    assert!(bench.is_out(), "the vote stands as long as the region is down");
    let acts = &bench.service.memory.acts;
    assert_eq!(acts.shifts.len(), 1, "the vote was none");
    assert_eq!(acts.voted.len(), 1);
    bench.dead = None;
    bench.rounds(SUSTAIN * 4).await;
    assert!(!bench.is_out(), "{:?}", bench.service.last);
    assert_eq!(bench.service.memory.acts.voted.len(), 0);
}

/// What somebody wrote into the epoch record stops the weights, and nothing else.
#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_moved_leave_the_other_lever() {
    let mut bench = Bench::new(Some(1));
    bench.records.sets.lock().unwrap().push(RecordSet {
        name: "_leeward.shop.example.com".parse().unwrap(),
        kind: "TXT".to_owned(),
        set_identifier: None,
        weight: None,
        data: RecordData::Values(vec!["\"somebody's own\"".to_owned()]),
        ..record("east", 0)
    });
    bench.outage(Api::Well, Duration::from_secs(120), SUSTAIN * 2).await;
    assert!(bench.is_out(), "{:?}", bench.service.last);
    assert_eq!(bench.records.changes.load(Ordering::SeqCst), 0);
    assert!(bench.out_after() <= Duration::from_secs(25), "{:?}", bench.out_after());
}

/// Nobody shows whether a gate is in force: the counters of the region do, where they can.
#[tokio::test(start_paused = true)]
async fn a_region_that_is_used_on_is_not_left_and_the_next_lever_is_pulled() {
    const MINUTE: Duration = Duration::from_secs(60);
    type Arrives = fn(&Bench) -> Option<f64>;
    let cases: [(&str, Arrives, bool); 7] = [
        ("as if nothing had been done", |_| Some(1000.0), true),
        (
            "two thirds",
            |bench| Some(if bench.closed_for().is_some() { 667.0 } else { 1000.0 }),
            true,
        ),
        // Those who overstay and those who keep their connections.
        ("a third", |bench| Some(if bench.closed_for().is_some() { 333.0 } else { 1000.0 }), false),
        (
            "they go when the time to live is over",
            |bench| Some(if bench.closed_for() > Some(2 * MINUTE) { 50.0 } else { 1000.0 }),
            false,
        ),
        (
            "nobody counts any more",
            |bench| if bench.dead.is_some() { None } else { Some(1000.0) },
            false,
        ),
        // They were counted while they might still come.
        (
            "nobody counts after the first two minutes",
            |bench| Some(if bench.closed_for() > Some(2 * MINUTE) { f64::NAN } else { 1000.0 }),
            false,
        ),
        // What arrives is no less after the turn than before it, and that proves nothing.
        (
            "next to nothing since it is lost",
            |bench| Some(if bench.dead.is_some() { 20.0 } else { 1000.0 }),
            false,
        ),
    ];
    for (what, arrives, passed_over) in cases {
        let mut bench = Bench::new(Some(0));
        bench.arrives = Some(arrives);
        bench.outage(Api::Well, 4 * MINUTE, 12 * MINUTE).await;
        let weight = bench.records.weight("east");
        assert_eq!(weight == 0, passed_over, "{what}: {:?}", bench.service.last);
        assert_eq!(bench.is_out(), !passed_over, "{what}: what was no use is turned back");
        let acts = &bench.service.memory.acts;
        assert!(acts.order.is_none() && acts.doubtful.is_empty(), "{what}");
        let calls = bench.gate.calls.lock().unwrap().len();
        assert_eq!(calls, if passed_over { 2 } else { 1 }, "{what}");
        assert_eq!(acts.shifts.len(), 1, "{what}: counted once");
    }
    // The last lever is not turned back: that would help nobody.
    let mut bench = Bench::new(Some(1));
    bench.arrives = Some(|_| Some(1000.0));
    bench.outage(Api::Throttles, 4 * MINUTE, 12 * MINUTE).await;
    assert!(bench.is_out(), "{:?}", bench.service.last);
    assert_eq!(bench.gate.calls.lock().unwrap().len(), 1);
}
