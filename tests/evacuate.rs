//! 10,000 weighted records in 10 zones, moved through the real AWS edge against a server that enforces
//! both buckets of Route 53: the fewest calls, nothing throttled, the busiest names first.
//!
//! Time is scaled: the server and our own pace are both [`FASTER`] times as fast as in an account, with
//! the same bursts, so that minutes take seconds and the arithmetic stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leeward::aws::{Edge, Endpoint, Service, Settings};
use leeward::clock::SystemClock;
use leeward::execute::{Executor, Progress, read_inventory};
use leeward::health::Answers;
use leeward::memory::{Acts, Outcome};
use leeward::pace::Pacer;
use leeward::plan::{Batch, Move, Purpose, Wanted, plan};
use leeward::policy::{EpochRecord, LeverKind, Pace, Policy, Records, WhichRecords};
use leeward::ports::{Clock, Levers};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;
use tokio::process::{Child, Command};

use crate::orders::world::{EAST, Kept, WEST, lever, policy, split};
use crate::wire::http;

const FASTER: f64 = 40.0;
const ZONES: usize = 10;
const NAMES: usize = 5000;
/// On any machine: an idle one takes 6 seconds.
const MOVED_WITHIN: Duration = Duration::from_secs(180);

/// The server; killed when dropped.
struct Simulator {
    port: u16,
    _process: Child,
}

impl Simulator {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
        let python = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|directory| directory.join("python3"))
            .find(|program| program.is_file())
            .expect("python3 is installed");
        let mut process = Command::new(&python)
            .arg(wire.join("launch.py"))
            .arg(&python)
            .arg(wire.join("r53sim.py"))
            .args(["--port", &port.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = tokio::io::BufReader::new(process.stdout.take().unwrap());
        let ready = tokio::time::timeout(http::PATIENCE, output.read_line(&mut line)).await;
        assert!(ready.is_ok() && line.trim() == "ready", "the simulator said {line:?}");
        Self { port, _process: process }
    }

    async fn ask(&self, what: &str, body: Value) -> Value {
        let path = format!("/_sim/{what}");
        let answer = http::call(self.port, "POST", &path, &body.to_string()).await.unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }
}

/// All names of all zones, the zone with the highest number being the busiest.
fn policy_for(zones: &BTreeMap<String, String>) -> Policy {
    let mut policy = policy(1);
    let members: BTreeMap<_, _> = [(WEST, "region-a"), (EAST, "region-b")]
        .map(|(region, id)| (region.parse().unwrap(), id.to_owned()))
        .into();
    let lever = lever(&mut policy);
    lever.records = zones
        .keys()
        .rev()
        .map(|zone| Records {
            zone: zone.parse().unwrap(),
            which: WhichRecords::All,
            members: members.clone(),
        })
        .collect();
    let (id, name) = zones.first_key_value().unwrap();
    lever.epoch_record = EpochRecord {
        zone: id.parse().unwrap(),
        name: format!("_leeward.{name}").parse().unwrap(),
    };
    let pace = Pace::default();
    lever.pace = Pace {
        requests_per_second: pace.requests_per_second * FASTER,
        changes_per_second: pace.changes_per_second * FASTER,
        ..pace
    };
    policy
}

#[tokio::test]
async fn ten_thousand_records_move_in_the_fewest_calls_without_being_throttled() {
    let simulator = Simulator::start().await;
    let seeded = simulator.ask("seed", json!({"zones": ZONES, "names": NAMES, "kind": "A"})).await;
    let zones: BTreeMap<String, String> = serde_json::from_value(seeded["zones"].clone()).unwrap();
    let limits = json!({"rps": 10.0 * FASTER, "burst": 50, "change_rate": 100.0 * FASTER,
                        "change_burst": 1500});
    simulator.ask("limits", limits).await;
    simulator.ask("reset", json!({})).await;
    let url = format!("http://127.0.0.1:{}", simulator.port);
    let edge = Edge::connect(&Settings {
        endpoints: vec![Endpoint { service: Service::Route53, aws_region: None, url }],
        credentials: Some(crate::aws_wire::credentials()),
        ..Settings::default()
    })
    .await;

    let policy = policy_for(&zones);
    let lever = policy.weights_lever().unwrap();
    let inventory = read_inventory(lever, edge.weights.as_ref(), SystemClock.now()).await.unwrap();
    let Answers::Split { split: from, .. } = inventory.answers(lever, &policy.regions) else {
        panic!("all names agree");
    };
    let wanted = Wanted::Move(Move {
        lever: LeverKind::Weights,
        purpose: Purpose::Evacuate,
        from,
        to: split(100, 0),
        turns: Vec::new(),
        because: "a test of scale".to_owned(),
    });
    let mut acts = Acts::default();
    let now = SystemClock.now();
    let plan = plan(&policy, &inventory, &wanted, acts.epoch.next(), "tester", now).unwrap();
    // 1,000 sets a zone, DELETE and CREATE: 2,000 elements in requests of 1,000. The epoch TXT makes a
    // third request in its zone.
    assert_eq!(plan.batches.len(), 2 * ZONES + 1);
    assert!(plan.batches.iter().all(|batch| batch.change_tokens() <= 1000));
    let tokens: usize = plan.batches.iter().map(Batch::change_tokens).sum();
    assert_eq!(tokens, 4 * NAMES + 1);

    // Without a resolver: the simulator has no name servers, so in sync is the end.
    let levers = Levers { weights: Some(Arc::clone(&edge.weights)), ..Levers::default() };
    let (mut log, pace) = (Kept::default(), Pacer::new(lever.pace));
    let mut executor = Executor {
        policy: &policy,
        levers: &levers,
        log: &mut log,
        acts: &mut acts,
        clock: &SystemClock,
        pace: &pace,
    };
    let began = tokio::time::Instant::now();
    let mut progress = executor.carry_out(plan).await.unwrap();
    // Our own pace allows 1,200 changes at once and 80 a second after that, 40 times as fast here: it
    // cannot be faster. Beyond the arithmetic there is only the time of the calls themselves, which is the
    // machine's.
    let least = Duration::from_secs_f64((4.0 * 5000.0 + 1.0 - 1200.0) / (80.0 * FASTER));
    while progress == Progress::Working {
        assert!(began.elapsed() < MOVED_WITHIN, "still moving after {MOVED_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        progress = executor.advance().await.unwrap();
    }
    let took = began.elapsed();
    assert_eq!(progress, Progress::Ended(Outcome::Done));

    let changed = simulator.ask("changed", json!({})).await;
    assert_eq!(changed, json!({"a_zero": NAMES, "b_full": NAMES}));
    let stats = simulator.ask("stats", json!({})).await;
    eprintln!("{took:?} at {FASTER} times the pace: {stats}");
    assert_eq!(stats["call:ChangeResourceRecordSets"], json!(2 * ZONES + 1));
    assert_eq!(stats["changes"], json!(tokens));
    assert_eq!(stats["call:GetChange"], json!(2 * ZONES + 1));
    // The busiest zone first, each zone as a whole before the next.
    let mut order: Vec<String> = serde_json::from_value(stats["zones"].clone()).unwrap();
    order.dedup();
    let busiest_first = (0..ZONES).rev().map(|zone| format!("z{zone}.example.test."));
    assert_eq!(order, busiest_first.collect::<Vec<_>>());
    // 1,002 sets a zone in pages of 300.
    assert_eq!(stats["call:ListResourceRecordSets"], json!(4 * ZONES));
    for refusal in
        ["throttled", "throttled_changes", "reject:too_many", "reject:chars", "reject:stale"]
    {
        assert_eq!(stats.get(refusal), None, "{stats}");
    }
    assert!(took >= least, "{took:?} is faster than our own pace allows ({least:?})");
}
