//! Dry runs against records in memory that take changes as Route 53 does, and count them.

#[cfg(test)]
mod wired;

use clap::Parser as _;

use std::collections::BTreeSet;

use super::*;
use crate::balancer::{Call, Snapshot};
use crate::clock::SystemClock;
use crate::domain::{RecordName, Timestamp, Weight, ZoneId};
use crate::lab::zone::Zones;
use crate::plan::{Batch, RecordData, RecordSet, Swap};
use crate::policy::{
    ArcLever, BalancerCare, Check, Declared, ElbPace, Gate, GatesLever, Lever, Mode, Proof,
    Records, RefreshRules, Slot, Votes, WhichRecords,
};
use crate::ports::{CallFailed, Configurations, Levers, Weights};
use crate::report::samples;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(more: &[&str]) -> Args {
    // A file that is there: its sum goes into a plan that is written.
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/two-region-web.yaml");
    Line::try_parse_from([&["plan", policy], more].concat()).unwrap().args
}

fn zone() -> ZoneId {
    "Z1".parse().unwrap()
}

fn record(set: &str, weight: u8, value: &str) -> RecordSet {
    RecordSet {
        zone: zone(),
        name: "api.example.com".parse().unwrap(),
        kind: "A".to_owned(),
        set_identifier: Some(set.to_owned()),
        weight: Some(Weight(weight)),
        ttl: Some(60),
        data: RecordData::Values(vec![value.to_owned()]),
        health_check: None,
        foreign: Vec::new(),
    }
}

struct Bench {
    policy: Policy,
    zones: Arc<Zones>,
    world: World,
}

impl Bench {
    /// One name in two regions; one class of evidence is enough, so that a probe alone decides.
    fn new(mode: Mode) -> Self {
        let mut policy = samples::policy();
        policy.mode = mode;
        policy.judge.classes_min = 1;
        let Lever::Weights(lever) = &mut policy.levers[0] else { unreachable!("the only lever") };
        let members = [("eu-west-1", "eu"), ("eu-central-1", "central")];
        lever.records = vec![Records {
            zone: zone(),
            which: WhichRecords::Named {
                name: "api.example.com".parse().unwrap(),
                types: ["A".to_owned()].into(),
            },
            members: members.map(|(region, set)| (region.parse().unwrap(), set.to_owned())).into(),
        }];
        let clock = Arc::new(SystemClock);
        let zones = Arc::new(Zones::new(clock.clone(), Duration::ZERO, 1));
        let apex: RecordName = "example.com".parse().unwrap();
        let records = [record("eu", 100, "192.0.2.1"), record("central", 0, "198.51.100.1")];
        zones.add(zone(), apex, Vec::new(), records);
        let weights = Arc::clone(&zones) as Arc<dyn Weights>;
        let levers = read_only(&Levers { weights: Some(weights), ..Levers::default() });
        let world = World {
            levers,
            targets: None,
            metrics: None,
            queues: None,
            reach: crate::runtime::telling::Reach::default(),
            objects: None,
            checks: None,
            clusters: None,
            clock,
        };
        Self { policy, zones, world }
    }

    async fn plan(&self, more: &[&str]) -> (String, Exit) {
        self.plan_after(more, Acts::default()).await
    }

    async fn plan_after(&self, more: &[&str], acts: Acts) -> (String, Exit) {
        let (args, before) = (args(more), self.zones.changes());
        let seen = look(&self.policy, &self.world, Duration::ZERO).await;
        let (text, exit) =
            rehearse(&args, &self.policy, acts, &self.world, &seen, Duration::ZERO).unwrap();
        assert_eq!(self.zones.changes(), before, "a dry run changes nothing");
        (anstream::adapter::strip_str(&text).to_string(), exit)
    }
}

const OUTAGE: &[&str] = &["--assume", "eu-west-1=down", "--assume", "eu-central-1=well"];

fn and(more: &[&'static str]) -> Vec<&'static str> {
    [OUTAGE, more].concat()
}

#[tokio::test]
async fn an_outage_is_planned_to_the_last_record() {
    let bench = Bench::new(Mode::Auto);
    let (text, exit) = bench.plan(OUTAGE).await;
    assert_eq!(exit, Exit::Done, "{text}");
    for line in [
        "PLAN shop: eu-central-1=0 eu-west-1=100 -> eu-central-1=100 eu-west-1=0",
        "DELETE api.example.com A \"eu\" weight 100 ttl 60 192.0.2.1",
        "CREATE api.example.com A \"eu\" weight 0 ttl 60 192.0.2.1",
        "DELETE api.example.com A \"central\" weight 0 ttl 60 198.51.100.1",
        "CREATE api.example.com A \"central\" weight 100 ttl 60 198.51.100.1",
        "CREATE _leeward.api.example.com TXT",
        "batch 1 of 1   zone Z1   5 change tokens",
        "nothing was changed",
    ] {
        assert!(text.contains(line), "`{line}` in\n{text}");
    }
}

#[tokio::test]
async fn the_exit_status_says_what_a_script_needs() {
    for (mode, more, expected) in [
        (Mode::Auto, &[][..], Exit::Done),
        (Mode::Auto, &["--detailed-exit-code"], Exit::Planned),
        (Mode::Approve, &["--detailed-exit-code"], Exit::Approval),
        // What a mode may not do is still planned: that is what a dry run is for.
        (Mode::Advise, &["--detailed-exit-code"], Exit::Planned),
        (Mode::Observe, &["--detailed-exit-code"], Exit::Planned),
    ] {
        let (text, exit) = Bench::new(mode).plan(&and(more)).await;
        assert_eq!(exit, expected, "{mode:?} {more:?}\n{text}");
        assert!(text.contains("-> eu-central-1=100 eu-west-1=0"), "{text}");
    }
}

#[tokio::test]
async fn a_calm_day_has_nothing_to_do() {
    let well = ["--assume", "eu-west-1=well", "--assume", "eu-central-1=well"];
    let well = [&well[..], &["--detailed-exit-code"]].concat();
    let (text, exit) = Bench::new(Mode::Auto).plan(&well).await;
    assert_eq!(exit, Exit::Done, "{text}");
    assert!(text.starts_with("NOTHING TO DO shop"), "{text}");
}

#[tokio::test]
async fn nowhere_to_go_is_held() {
    let down = ["--assume", "eu-west-1=down", "--assume", "eu-central-1=down"];
    let (text, exit) = Bench::new(Mode::Auto).plan(&down).await;
    assert_eq!(exit, Exit::Held, "{text}");
}

#[tokio::test]
async fn records_that_cannot_be_read_are_our_trouble_and_said() {
    let bench = Bench::new(Mode::Auto);
    let silent = crate::ports::CallFailed::Unknown { why: "the API is silent".to_owned() };
    bench.zones.impair(crate::lab::zone::Impairment::Fails(silent));
    let (text, exit) = bench.plan(OUTAGE).await;
    assert_eq!(exit, Exit::Trouble, "{text}");
    assert!(text.contains("now unknown: outcome unknown: the API is silent"), "{text}");
}

#[tokio::test]
async fn a_hold_by_a_human_is_shown_and_held() {
    let bench = Bench::new(Mode::Auto);
    let mut acts = Acts::default();
    let until = Some(bench.world.clock.now().plus(Duration::from_secs(600)));
    let pin = crate::memory::Pin { until, ..samples::pin() };
    acts.apply(pin.since, &Entry::Pinned(pin));
    let (text, exit) = bench.plan_after(OUTAGE, acts).await;
    assert_eq!(exit, Exit::Held, "{text}");
    assert!(text.starts_with("HELD shop") && text.contains("pinned by ana"), "{text}");
}

#[tokio::test]
async fn the_same_move_on_the_same_records_has_the_same_checksum() {
    let bench = Bench::new(Mode::Auto);
    let json = and(&["--format", "json"]);
    let sum = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["checksum"].as_str().expect("a checksum").to_owned()
    };
    let first = sum(&bench.plan(&json).await.0);
    assert_eq!(first, sum(&bench.plan(&json).await.0));
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let more = [OUTAGE, &["--out", &path]].concat();
    bench.plan(&more).await;
    assert_eq!(sum(&std::fs::read_to_string(&path).unwrap()), first);
    let other = Batch {
        zone: zone(),
        comment: String::new(),
        swaps: vec![Swap {
            before: Some(record("eu", 100, "192.0.2.1")),
            after: RecordSet { ttl: Some(30), ..record("eu", 100, "192.0.2.1") },
        }],
    };
    bench.zones.change(&other).await.unwrap();
    assert_ne!(first, sum(&bench.plan(&json).await.0));
}

/// A gate in this AWS region, and routing controls over endpoints in these.
fn switches(gate_in: &str, endpoints_in: &[&str]) -> (Lever, Lever) {
    let proof = Proof {
        ttl: Duration::from_secs(60),
        in_force_within: Duration::from_secs(180),
        witness: None,
    };
    let slot = |region: &str, aws_region: &str| {
        let (bucket, key) = ("gates".to_owned(), format!("shop/{region}"));
        let gate = Gate::S3 { bucket, key, aws_region: aws_region.to_owned(), url: None };
        (region.parse().unwrap(), vec![Slot { gate, health_check: None }])
    };
    let gates = GatesLever {
        // That of the standby stands with the primary, and is not needed to leave it.
        slots: [slot("eu-west-1", gate_in), slot("eu-central-1", "eu-west-1")].into(),
        check: Check { every: Duration::from_secs(10), failures: 3 },
        votes: Votes { needed: 1, of: 1 },
        proof: proof.clone(),
    };
    let endpoint = |region: &&str| ((*region).to_owned(), format!("https://{region}.example.com"));
    let control = |region: &str| (region.parse().unwrap(), format!("arn:{region}"));
    let arc = ArcLever {
        endpoints: endpoints_in.iter().map(endpoint).collect(),
        controls: ["eu-west-1", "eu-central-1"].map(control).into(),
        override_rules: Vec::new(),
        proof,
    };
    (Lever::Gates(gates), Lever::Arc(arc))
}

const FIVE: [&str; 5] = ["eu-west-1", "us-east-1", "us-west-2", "ap-northeast-1", "ap-southeast-2"];

#[tokio::test]
async fn a_move_by_gates_is_planned_to_the_last_object_and_says_what_is_answered() {
    let mut bench = Bench::new(Mode::Auto);
    let (gates, arc) = switches("eu-central-1", &FIVE);
    bench.policy.levers = vec![gates, arc];
    let (text, exit) = bench.plan(&and(&["--here", "eu-central-1"])).await;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "now eu-central-1 0%, eu-west-1 100%, by the switches as they are known to stand",
        "after eu-central-1 100%, eu-west-1 0%, in force",
        "1 publish s3://gates/shop/eu-west-1 data plane, eu-central-1 by +2m 27s",
        "costs 2 call(s), 0 change tokens",
        "s3:PutObject, s3:GetObject",
        "no answer: read first, then lever `arc` is next",
        "2 the health checks follow data plane, no single region by +2m 57s",
        "what is not in the answers after 3m is turned back, and lever `arc` is next",
        "3 not observed: `witness: none` data plane, no single region by +6m 27s",
        "detection: sustain 2m",
        "+ lever: calls, at most 14s",
        "+ lever: in the answers, at most 3m",
        "+ time to live 1m",
        "in force 3m 57s after the first failure, 6m 27s at worst",
        "The checks need `every` times `failures` of it",
        "stragglers 1m",
        "keep-alive 1h",
        "undo the same turns backwards",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("WARNING") && !text.contains("withdraw"), "{text}");
    assert_eq!(exit, Exit::Done);
}

#[tokio::test]
async fn a_way_through_the_region_that_is_left_is_warned_of() {
    let (sick_gate, sick_cluster) = switches("eu-west-1", &FIVE);
    let elsewhere = FIVE.map(|region| if region == "eu-west-1" { "eu-north-1" } else { region });
    let (_, arc) = switches("eu-central-1", &elsewhere);
    for (lever, here, warning) in [
        (sick_gate.clone(), "eu-central-1", Some("the gate of `eu-west-1` stands in eu-west-1")),
        (sick_gate, "eu-west-1", Some("this controller runs in eu-west-1")),
        (sick_cluster, "eu-central-1", Some("one of 5 endpoints of the cluster is in eu-west-1")),
        (arc, "eu-central-1", None),
    ] {
        let mut bench = Bench::new(Mode::Auto);
        bench.policy.levers = vec![lever];
        let (text, _) = bench.plan(&and(&["--here", here])).await;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let warned = text.contains("WARNING the way runs through `eu-west-1`, which is to be left");
        assert_eq!(warned, warning.is_some(), "{text}");
        assert!(text.contains(warning.unwrap_or_default()), "{warning:?}\n{text}");
    }
}

#[tokio::test]
async fn a_move_by_routing_controls_is_one_call_over_any_endpoint() {
    let mut bench = Bench::new(Mode::Auto);
    let (gates, arc) = switches("eu-central-1", &FIVE);
    bench.policy.levers = vec![arc, gates];
    let (text, _) = bench.plan(&and(&["--format", "json"])).await;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let step = &told["steps"][0];
    let what = "turn routing controls: eu-central-1 On, eu-west-1 Off";
    assert_eq!((step["what"].as_str(), step["plane"].as_str()), (Some(what), Some("data")));
    assert_eq!((step["calls"].as_u64(), step["change_tokens"].as_u64()), (Some(5), Some(0)));
    assert!(step.get("region").is_none() && told.get("lever_depends_on").is_none(), "{told:#}");
    let fails = step["if_it_fails"].as_str().unwrap();
    assert!(fails.contains("the next of 5 endpoints") && fails.contains("never overridden"));
    assert_eq!(told["by_switches"]["after"]["eu-central-1"], 1.0);
    assert_eq!(told["changed"], false);
}

/// A balancer that is always the same, and cannot be changed.
#[derive(Debug)]
struct Still(Option<Snapshot>);

#[async_trait::async_trait]
impl Configurations for Still {
    async fn read(
        &self,
        _arn: &str,
        _also: &BTreeSet<String>,
        _at: Timestamp,
    ) -> Result<Snapshot, CallFailed> {
        self.0.clone().ok_or(CallFailed::Throttled {
            code: "Throttling".to_owned(),
            why: "slower".to_owned(),
        })
    }

    async fn change(&self, _live: &Snapshot, call: &Call) -> Result<(), CallFailed> {
        panic!("a dry run calls {call}");
    }
}

/// Declares an idle timeout of its first balancer.
fn declaring(bench: &mut Bench, seconds: &str, still: Option<Still>) {
    let balancer = bench.policy.regions.values_mut().find_map(|r| r.balancers.first_mut()).unwrap();
    balancer.arn = Some("arn:of:the:balancer".to_owned());
    let attributes = [("idle_timeout.timeout_seconds".to_owned(), seconds.to_owned())].into();
    let declared = Declared { attributes, ..Declared::default() };
    let care = BalancerCare { declared, ..crate::balancer::tests::care(Vec::new()) };
    bench.policy.refresh = Some(RefreshRules {
        order: Vec::new(),
        wait: Duration::from_secs(60),
        tries_max: 3,
        pace: ElbPace::default(),
        care: [(balancer.name.clone(), care)].into(),
    });
    bench.world.levers.configurations =
        still.map(|still| Arc::new(still) as Arc<dyn Configurations>);
}

#[tokio::test]
async fn drift_is_shown_and_a_balancer_that_cannot_be_read_says_so() {
    let well = ["--assume", "eu-west-1=well", "--assume", "eu-central-1=well"];
    let code = [&well[..], &["--detailed-exit-code"]].concat();
    let live = crate::balancer::tests::snapshot([[2, 2, 2]; 3]);
    let mut bench = Bench::new(Mode::Auto);

    declaring(&mut bench, "90", Some(Still(Some(live.clone()))));
    let (text, exit) = bench.plan(&code).await;
    assert_eq!(exit, Exit::Planned, "{text}");
    for line in [
        "DRIFT shop",
        "attributes / idle_timeout.timeout_seconds",
        "-> `90`",
        "ModifyLoadBalancerAttributes idle_timeout.timeout_seconds=90",
        "`leeward apply`",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    // A move comes first: the file that is written holds the move alone.
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = file.path().to_str().unwrap().to_owned();
    let (text, exit) = bench.plan(&[OUTAGE, &["--out", &out]].concat()).await;
    assert_eq!(exit, Exit::Done, "{text}");
    assert!(text.starts_with("PLAN shop") && text.contains("is not as declared"), "{text}");
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert!(saved["plan"].is_object() && saved.get("mends").is_none(), "{saved:#}");

    let seconds = live.attributes["idle_timeout.timeout_seconds"].clone();
    declaring(&mut bench, &seconds, Some(Still(Some(live))));
    let (text, exit) = bench.plan(&code).await;
    assert_eq!(exit, Exit::Done, "{text}");
    assert!(text.starts_with("NOTHING TO DO shop") && text.contains("is as declared"), "{text}");

    for (still, why) in [(Some(Still(None)), "Throttling"), (None, "no AWS edge")] {
        declaring(&mut bench, "90", still);
        let (text, exit) = bench.plan(&code).await;
        assert_eq!(exit, Exit::Done, "what is not known is no drift: {text}");
        assert!(text.contains("not known, ") && text.contains(why), "{text}");
        let (text, exit) = bench.plan(OUTAGE).await;
        assert_eq!(exit, Exit::Done, "no rescue waits for it: {text}");
        assert!(text.starts_with("PLAN shop"), "{text}");
    }
}

#[cfg(feature = "aws")]
#[test]
fn the_times_of_switches_are_those_of_the_edge() {
    use crate::aws::Timeouts;
    use crate::report::switches::{GATE_CALL_MAX, TURN_MAX};
    assert_eq!(GATE_CALL_MAX, Timeouts::GATE_WHOLE);
    // The last call may begin just before the whole is over, and is looked for at all five endpoints.
    let look = Timeouts::SWITCH_STAGGER * 4 + Timeouts::SWITCH;
    assert_eq!(TURN_MAX, Timeouts::SWITCH_WHOLE + Timeouts::SWITCH + look);
}
