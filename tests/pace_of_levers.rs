//! Both switches fail, in whatever way: they are tried in turn at a growing pace, on virtual time, and the
//! first that works again is enough.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use leeward::domain::{InAnswers, RegionName, Turn};
use leeward::health::Sample;
use leeward::journal::Forgetful;
use leeward::pace::Pacer;
use leeward::policy::{ArcLever, GatesLever, Lever, Pace, Policy, Proof, load};
use leeward::ports::{CallFailed, Clock, Levers, Switches};
use leeward::runtime::round::Service;
use tokio::time::{Instant, sleep};

use crate::made_up::{Virtual, about, serving};

const SECOND: Duration = Duration::from_secs(1);
/// Of a service that throttles.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const POLICY: &str = include_str!("pace_of_levers.yaml");

/// How calls of one lever go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Nothing is sent: no credentials, no connection.
    NotSent,
    /// A time-out, and nothing happens; questions are answered.
    LostWrites,
    /// A time-out, and it happens; questions are not answered.
    LostAnswers,
    /// A time-out for everything, and nothing happens.
    Silent,
    /// By a rule, or for want of a permission; questions are answered.
    Refused,
    Throttled,
}

#[derive(Debug)]
struct Switch {
    /// As routing controls do: what stands is found by asking, and not written again.
    asks_first: bool,
    trouble: Mutex<Trouble>,
    standing: Mutex<BTreeMap<RegionName, InAnswers>>,
    writes: Mutex<Vec<Instant>>,
}

impl Switch {
    fn new(trouble: Trouble, asks_first: bool) -> Arc<Self> {
        let standing = ["east", "west"].map(|name| (name.parse().unwrap(), InAnswers::In));
        let (trouble, standing) = (Mutex::new(trouble), Mutex::new(standing.into()));
        Arc::new(Self { asks_first, trouble, standing, writes: Mutex::default() })
    }

    fn is(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn is_out(&self) -> bool {
        self.standing.lock().unwrap()[&"east".parse::<RegionName>().unwrap()] == InAnswers::Out
    }

    fn tries(&self) -> Vec<Instant> {
        self.writes.lock().unwrap().clone()
    }
}

fn lost() -> CallFailed {
    CallFailed::Unknown { why: "no answer".to_owned() }
}

#[async_trait]
impl Switches for Switch {
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        let trouble = *self.trouble.lock().unwrap();
        let began = Instant::now();
        let found = if self.asks_first { self.standing().await } else { Ok(BTreeMap::new()) };
        let stands =
            |turn: &Turn| found.as_ref().is_ok_and(|f| f.get(&turn.region) == Some(&turn.to));
        if turns.iter().all(stands) {
            return Ok(());
        }
        self.writes.lock().unwrap().push(began);
        found?;
        if matches!(trouble, Trouble::None | Trouble::LostAnswers) {
            let turned = turns.iter().map(|turn| (turn.region.clone(), turn.to));
            self.standing.lock().unwrap().extend(turned);
        }
        let code = || "C".to_owned();
        match trouble {
            Trouble::None => Ok(()),
            Trouble::NotSent => Err(CallFailed::NotSent { why: "no connection".to_owned() }),
            Trouble::LostWrites | Trouble::LostAnswers | Trouble::Silent => {
                sleep(SECOND * 2).await;
                Err(lost())
            }
            Trouble::Refused => Err(CallFailed::Refused { code: code(), why: String::new() }),
            Trouble::Throttled => Err(CallFailed::Throttled { code: code(), why: String::new() }),
        }
    }

    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::None | Trouble::LostWrites | Trouble::Refused => {
                Ok(self.standing.lock().unwrap().clone())
            }
            Trouble::NotSent => Err(CallFailed::NotSent { why: "no connection".to_owned() }),
            Trouble::LostAnswers | Trouble::Silent => {
                sleep(SECOND * 2).await;
                Err(lost())
            }
            Trouble::Throttled => {
                Err(CallFailed::Throttled { code: "C".to_owned(), why: String::new() })
            }
        }
    }
}

fn policy() -> Policy {
    let (mut policy, _) = load(POLICY, "pace.yaml").unwrap();
    let regions = || policy.regions.keys().cloned();
    let gates = GatesLever::unnamed(regions(), SECOND * 60);
    let arc = ArcLever {
        endpoints: BTreeMap::new(),
        controls: regions().map(|name| (name.clone(), format!("arn:{name}"))).collect(),
        override_rules: Vec::new(),
        proof: Proof { ttl: SECOND * 60, in_force_within: SECOND * 300, witness: None },
    };
    policy.levers = vec![Lever::Gates(gates), Lever::Arc(arc)];
    policy
}

struct Bench {
    service: Service,
    gates: Arc<Switch>,
    arc: Arc<Switch>,
    clock: Arc<Virtual>,
    lost: bool,
}

impl Bench {
    fn new(gates: Trouble, arc: Trouble) -> Self {
        let (gates, arc) = (Switch::new(gates, false), Switch::new(arc, true));
        let clock = Virtual::start();
        let levers =
            Levers { gates: Some(gates.clone()), arc: Some(arc.clone()), ..Levers::default() };
        let (pace, log) = (Arc::new(Pacer::new(Pace::default())), Box::new(Forgetful));
        let service = Service::new(policy(), levers, log, clock.clone(), pace, "test".to_owned());
        Self { service, gates, arc, clock, lost: false }
    }

    fn samples(&self) -> Vec<Sample> {
        let now = self.clock.now();
        let seen = |name: &str| {
            let part = if self.lost && name == "east" { 0.0 } else { 1.0 };
            serving(now, about(name, &format!("{name}-web")), ["one", "two"], part)
        };
        [seen("east"), seen("west")].concat()
    }

    async fn rounds(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let began = Instant::now();
            let samples = self.samples();
            self.service.round(samples, Vec::new()).await.unwrap();
            sleep(self.service.policy.round_every().saturating_sub(began.elapsed())).await;
        }
    }

    async fn lose_the_region(&mut self) {
        self.rounds(SECOND * 120).await;
        assert!(self.gates.tries().is_empty() && self.arc.tries().is_empty(), "a calm day");
        self.lost = true;
    }
}

const ALL: [Trouble; 6] = [
    Trouble::NotSent,
    Trouble::LostWrites,
    Trouble::LostAnswers,
    Trouble::Silent,
    Trouble::Refused,
    Trouble::Throttled,
];

fn pairs() -> impl Iterator<Item = (Trouble, Trouble)> {
    ALL.into_iter().flat_map(|gates| ALL.map(|arc| (gates, arc)))
}

/// Writes of one lever in a span from the first of them on.
fn within(tries: &[Instant], from: Duration, to: Duration) -> usize {
    let Some(first) = tries.first() else { return 0 };
    tries.iter().filter(|at| (from..to).contains(&at.duration_since(*first))).count()
}

#[tokio::test(start_paused = true)]
async fn two_levers_that_fail_are_tried_at_a_growing_pace() {
    for (gates, arc) in pairs() {
        let what = format!("gates {gates:?}, arc {arc:?}");
        let mut bench = Bench::new(gates, arc);
        bench.lose_the_region().await;
        bench.rounds(SECOND * 420).await;
        for (name, switch) in [("gates", &bench.gates), ("arc", &bench.arc)] {
            let tries = switch.tries();
            let first = *tries.first().unwrap_or_else(|| panic!("{what}: {name} is never tried"));
            let told: Vec<u64> =
                tries.iter().map(|at| at.duration_since(first).as_secs()).collect();
            // The first minute may need several tries, as each may be the one that counts; then fewer.
            let (minute, later) = (within(&tries, Duration::ZERO, SECOND * 60), SECOND * 180);
            assert!(minute <= 6, "{what}: {name} {told:?}");
            // A try a minute, and what it may have done is taken back.
            assert!(within(&tries, later, later * 2) <= 7, "{what}: {name} {told:?}");
        }
    }
}

/// Whatever it was, the lever that works again is pulled within the longest pause, and the other is left.
#[tokio::test(start_paused = true)]
async fn the_first_that_works_again_is_enough() {
    for (gates, arc) in pairs().filter(|(gates, arc)| gates == arc || *arc == Trouble::Silent) {
        for (name, heals_gates) in [("gates", true), ("arc", false)] {
            let what = format!("gates {gates:?}, arc {arc:?}, {name} heals");
            let mut bench = Bench::new(gates, arc);
            bench.lose_the_region().await;
            bench.rounds(SECOND * 600).await;
            let healed = if heals_gates { &bench.gates } else { &bench.arc };
            healed.is(Trouble::None);
            let healed = Arc::clone(healed);
            bench.rounds(LONGEST_PAUSE + SECOND * 10).await;
            assert!(healed.is_out(), "{what}: {:?}", bench.service.last);
            // Until it is in force, and a while longer.
            bench.rounds(SECOND * 300).await;
            assert!(healed.is_out(), "{what}");
            assert!(bench.service.memory.acts.order.is_none(), "{what}");
        }
    }
}
