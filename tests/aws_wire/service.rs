//! The whole of it: two regions that really serve, Route 53 on the wire, and the real rounds between.
//!
//! Time is the one thing that is made up: each round is five seconds later than the last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leeward::aws::Edge;
use leeward::clock::SystemClock;
use leeward::decide::Diagnosis;
use leeward::domain::{RegionName, ZoneId};
use leeward::health::{About, Measure, Sample};
use leeward::journal::{Journal, Log};
use leeward::lab::region::{Fault as Broken, Region};
use leeward::memory::{Entry, Outcome};
use leeward::pace::Pacer;
use leeward::plan::{Batch, EpochTxt, Plan, RecordData, RecordSet};
use leeward::policy::{self, Class, Mode, Pace, Policy, Source, Vantage};
use leeward::ports::{Clock, Levers, TargetState};
use leeward::probe::{Target, probe};
use leeward::runtime::round::{Done, Service};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::signals::target_group_in;
use super::{World, settings, weighted};
use crate::made_up::StepClock;
use crate::wire::http::Message;
use crate::wire::proxy::{Fault, Proxy, Seen};

pub(super) const CHANGE: &str = "ChangeResourceRecordSets";
pub(super) const READING: [&str; 5] = [
    "ListResourceRecordSets",
    "GetHostedZone",
    "GetChange",
    "DescribeTargetHealth",
    "GetMetricData",
];
const STEP: Duration = Duration::from_secs(5);

/// One deployment: what serves, and the target group that watches it.
struct Deployment {
    region: Region,
    group: String,
}

/// Two regions, their zones, and a controller in `auto` mode.
pub(super) struct Shop {
    pub(super) world: World,
    pub(super) policy_text: String,
    policy: Policy,
    clock: Arc<StepClock>,
    deployments: BTreeMap<RegionName, Deployment>,
    pub(super) zones: Vec<ZoneId>,
    pub(super) service: Service,
    journal: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

pub(super) fn eu() -> RegionName {
    "eu-west-1".parse().unwrap()
}

pub(super) fn central() -> RegionName {
    "eu-central-1".parse().unwrap()
}

/// Two listeners with the same port on addresses of their own.
async fn doors() -> (TcpListener, TcpListener) {
    for _ in 0..20 {
        let first = TcpListener::bind("127.0.0.11:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        if let Ok(second) = TcpListener::bind(("127.0.0.12", port)).await {
            return (first, second);
        }
    }
    panic!("no port is free on both addresses");
}

fn policy_text(zones: &[ZoneId], port: u16, groups: [&str; 2]) -> String {
    let records: Vec<String> = zones
        .iter()
        .enumerate()
        .map(|(place, zone)| {
            format!(
                "        - {{ zone: {zone}, name: api.shop{place}.example, types: [A], members: {{ eu-west-1: eu, eu-central-1: central }} }}\n"
            )
        })
        .collect();
    let [eu_group, central_group] = groups;
    let (records, zone) = (records.concat(), &zones[0]);
    format!(
        r#"version: 1
service: shop
mode: auto
regions:
  eu-west-1:
    role: primary
    weight: 100
    balancers:
      web: {{ carries: 100%, connect: 127.0.0.11, target_groups: ["{eu_group}"] }}
  eu-central-1:
    role: standby
    weight: 0
    balancers:
      web-central: {{ carries: 100%, connect: 127.0.0.12, target_groups: ["{central_group}"] }}
vantages:
  here: {{}}
  there: {{ source: 127.0.0.50 }}
levers:
  - weights:
      records:
{records}      epoch_record: {{ zone: {zone}, name: _leeward.shop0.example }}
      ttl: 60s
      in_sync_within: 5m
      readback: none
signals:
  outside:
    class: outside
    fresh_for: 30s
    probe: {{ protocol: http, port: {port}, path: /, every: 5s, timeout: {{ connect: 2s, tls: 2s, first_byte: 2s, body: 2s }}, expect: {{ status: [200-299] }} }}
  targets: {{ class: inside, fresh_for: 2m, target_health: {{ every: 5s }} }}
judge: {{ success_below: 95%, window: 30s, sustain: 30s, vantages: 2, classes: 2, healthy_hosts_below: 50% }}
shift: {{ ramp: [100%], hold: 1m, spare: 0%, overflow: spill, last_resort: never, unready: hold }}
failback: manual
guards: {{ cooldown: 30s, shifts: {{ max: 4, within: 1h }}, latch: {{ after: 9, within: 24h }}, standby_healthy_hosts: 50% }}
tell: {{ channels: [ {{ command: ["/bin/true"] }} ], status_every: 15m }}
"#
    )
}

fn compiled(text: &str) -> Policy {
    match policy::load(text, "shop.yaml") {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

impl Shop {
    pub(super) async fn open(zone_count: usize) -> Self {
        let world = World::start().await;
        let mut zones = Vec::new();
        for place in 0..zone_count {
            let zone = world.zone(&format!("shop{place}.example")).await;
            let name = format!("api.shop{place}.example");
            let address = |set: RecordSet, address: &str| RecordSet {
                data: RecordData::Values(vec![address.to_owned()]),
                ..set
            };
            let sets = vec![
                address(weighted(&zone, &name, "eu", 100), "127.0.0.11"),
                address(weighted(&zone, &name, "central", 0), "127.0.0.12"),
            ];
            world.create(sets).await.unwrap();
            zones.push(zone);
        }
        let (first, second) = doors().await;
        let port = first.local_addr().unwrap().port();
        let mut deployments = BTreeMap::new();
        for (name, listener) in [(eu(), first), (central(), second)] {
            let barred = watch::channel(BTreeSet::new()).1;
            let clock = Arc::new(SystemClock);
            let region = Region::start(name.clone(), listener, 10_000, barred, clock).await;
            let group = target_group_in(world.server.port, name.as_str()).await;
            deployments.insert(name, Deployment { region: region.unwrap(), group });
        }
        let groups = [&eu(), &central()].map(|name| deployments[name].group.as_str());
        let policy_text = policy_text(&zones, port, groups);
        let policy = compiled(&policy_text);
        let clock = StepClock::start();
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("shop.journal");
        let log = Box::new(Journal::open(&journal).unwrap().0);
        let service = service(&policy, &world.edge, log, &clock);
        world.proxy.forget();
        Self {
            world,
            policy_text,
            policy,
            clock,
            deployments,
            zones,
            service,
            journal,
            _folder: folder,
        }
    }

    /// The region stops serving, and its balancer sees that.
    pub(super) fn kill(&self, name: &RegionName) {
        let deployment = &self.deployments[name];
        deployment.region.break_with(Broken::Down);
        let sick = "<State>unhealthy</State><Reason>Target.Timeout</Reason>";
        let fault = Fault::replace("<State>healthy</State>", sick);
        self.world.proxy.inject_about(
            "DescribeTargetHealth",
            deployment.group.rsplit('/').next().unwrap(),
            fault,
        );
    }

    /// Everything that can be seen now, by real probes and real calls.
    async fn look(&self) -> Vec<Sample> {
        let clock = self.clock.as_ref();
        let mut samples = Vec::new();
        let signal = "outside".parse().unwrap();
        let Source::Probe(spec) = &self.policy.signals[&signal].source else { panic!("a probe") };
        for (name, region) in &self.policy.regions {
            let balancer = &region.balancers[0];
            for (vantage, place) in &self.policy.vantages {
                let Vantage::Here { source } = place else { panic!("a place of our own") };
                let target = Target {
                    region: name.clone(),
                    balancer: Some(balancer.name.clone()),
                    connect: balancer.connect.clone().unwrap(),
                    source: *source,
                };
                let class = Class::Outside;
                samples.push(probe(&signal, class, spec, &target, vantage, clock).await);
            }
            let group = &balancer.target_groups[0];
            let targets = self.world.edge.targets.targets(name.as_str(), group).await.unwrap();
            let healthy = targets.iter().filter(|t| t.state == TargetState::Healthy).count();
            #[expect(clippy::cast_precision_loss, reason = "a handful of targets")]
            let part = healthy as f64 / targets.len() as f64;
            let balancer = Some(balancer.name.clone());
            samples.push(Sample {
                signal: "targets".parse().unwrap(),
                class: Class::Inside,
                about: About { region: Some(name.clone()), balancer, vantage: None },
                measure: Measure::HealthyHosts(Some(part)),
                taken_at: clock.now(),
                heard_at: clock.now(),
            });
        }
        samples
    }

    pub(super) async fn round(&mut self) -> Done {
        self.clock.advance(STEP);
        let samples = self.look().await;
        self.service.round(samples, Vec::new()).await.unwrap()
    }

    pub(super) async fn calm(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let done = self.round().await;
            assert_eq!(done.decision.wanted, None, "{:?}", done.decision.findings);
        }
    }

    /// Rounds until an order ends.
    async fn until_an_order_ends(&mut self) -> Outcome {
        for _ in 0..ROUNDS_MAX {
            if let Some(outcome) = self.round().await.ended {
                return outcome;
            }
        }
        panic!("no order ended: {:#?}", self.service.last);
    }

    /// Weights of a zone, by set identifier, as they are at the server now.
    pub(super) async fn weights(&self, zone: &ZoneId) -> BTreeMap<String, u8> {
        let sets = self.world.edge.weights.read(zone, None).await.unwrap();
        let weighted =
            sets.into_iter().filter_map(|set| Some((set.set_identifier?, set.weight?.0)));
        weighted.collect()
    }

    pub(super) async fn epoch(&self) -> Option<EpochTxt> {
        let name = "_leeward.shop0.example".parse().unwrap();
        let sets = self.world.edge.weights.read(&self.zones[0], Some(&name)).await.unwrap();
        let RecordData::Values(values) = &sets.first()?.data else { panic!("a TXT has values") };
        Some(EpochTxt::parse(&values[0]).unwrap())
    }

    pub(super) fn changes(&self) -> Vec<Seen> {
        self.world.proxy.seen().into_iter().filter(|seen| seen.action == CHANGE).collect()
    }
}

/// Ten minutes of made-up time; the shift takes less than two.
const ROUNDS_MAX: usize = 120;

fn service(policy: &Policy, edge: &Edge, log: Box<dyn Log>, clock: &Arc<StepClock>) -> Service {
    let levers = Levers { weights: Some(Arc::clone(&edge.weights)), ..Levers::default() };
    // The one thing that runs in real time, of which hardly any passes here.
    let pace = Pace { requests_per_second: 2000.0, ..Pace::default() };
    let pace = Arc::new(Pacer::new(pace));
    let clock: Arc<dyn Clock> = Arc::<StepClock>::clone(clock);
    Service::new(policy.clone(), levers, log, clock, pace, "wire-test".to_owned())
}

pub(super) fn split(weights: [u8; 2]) -> BTreeMap<String, u8> {
    ["central", "eu"].map(str::to_owned).into_iter().zip(weights).collect()
}

/// What the batches look like on the wire, by sending them to somebody who keeps them to himself.
pub(super) async fn on_the_wire(batches: &[Batch]) -> Vec<String> {
    let nobody = Proxy::start(1).await;
    nobody.inject(CHANGE, "only looks", Fault::error(400, "InvalidInput", "no"), usize::MAX);
    let edge = Edge::connect(&settings(&nobody.url())).await;
    for batch in batches {
        edge.weights.change(batch).await.unwrap_err();
    }
    nobody.seen().iter().map(|seen| seen.request.text()).collect()
}

#[tokio::test]
async fn a_dead_region_is_left_in_one_change_per_zone_just_as_planned() {
    let mut shop = Shop::open(2).await;
    // The same service in `advise`: it sees the same and may do nothing. What it would do is the plan.
    let advised = Policy { mode: Mode::Advise, ..shop.policy.clone() };
    let watched = Proxy::start(shop.world.server.port).await;
    let advisor_edge = Edge::connect(&settings(&watched.url())).await;
    let log = Box::new(leeward::journal::Forgetful);
    let mut advisor = service(&advised, &advisor_edge, log, &shop.clock);

    shop.calm(24).await;
    assert_eq!(shop.changes().len(), 0, "nothing is written on a calm day");
    shop.kill(&eu());

    let mut planned: Option<Plan> = None;
    let mut outcome = None;
    for _ in 0..ROUNDS_MAX {
        shop.clock.advance(STEP);
        let samples = shop.look().await;
        let advice = advisor.round(samples.clone(), Vec::new()).await.unwrap().decision;
        assert_eq!(advice.wanted, None, "an advisor wants nothing done");
        let plan = advice.proposed.and_then(|w| advisor.plan(&w, shop.clock.now()).ok());
        let done = shop.service.round(samples, Vec::new()).await.unwrap();
        if done.decision.wanted.is_some() && planned.is_none() {
            planned = plan;
        }
        outcome = done.ended;
        if outcome.is_some() {
            break;
        }
    }
    assert_eq!(outcome, Some(Outcome::Done));

    for zone in &shop.zones {
        assert_eq!(shop.weights(zone).await, split([100, 0]), "{zone}");
    }
    let epoch = shop.epoch().await.expect("the epoch is published");
    assert_eq!((epoch.epoch.0, epoch.holder.as_str()), (1, "wire-test"));

    let changes = shop.changes();
    assert_eq!(changes.len(), shop.zones.len(), "one change per zone");
    for (zone, change) in shop.zones.iter().zip(&changes) {
        assert!(change.request.first.contains(zone.as_str()), "{}", change.request.first);
        let body = change.request.text();
        assert!(!body.contains("UPSERT"), "{body}");
        assert!(body.contains("<Action>DELETE</Action>"), "compare-and-swap: {body}");
    }
    let planned = planned.expect("the advisor saw the same");
    let sent: Vec<String> = changes.iter().map(|change| change.request.text()).collect();
    assert_eq!(on_the_wire(&planned.batches).await, sent, "what is planned is what is sent");

    assert!(watched.count("ListResourceRecordSets") > 0);
    for seen in watched.seen() {
        assert!(READING.contains(&seen.action.as_str()), "advice made a call: {}", seen.action);
    }

    let entries = Journal::read(&shop.journal).unwrap();
    let place = |wanted: fn(&Entry) -> bool| entries.iter().position(|r| wanted(&r.entry)).unwrap();
    let intended = place(|entry| matches!(entry, Entry::Intended(_)));
    let sending = place(|entry| matches!(entry, Entry::Sending { .. }));
    let accepted = place(|entry| matches!(entry, Entry::Accepted { .. }));
    assert!(intended < sending && sending < accepted, "{intended} {sending} {accepted}");
}

#[tokio::test]
async fn observing_and_advising_make_no_change_in_the_worst_of_outages() {
    for mode in [Mode::Observe, Mode::Advise, Mode::Approve] {
        let mut shop = Shop::open(1).await;
        shop.policy.mode = mode;
        shop.service.policy.mode = mode;
        shop.calm(24).await;
        shop.kill(&eu());
        let mut proposed = false;
        for _ in 0..24 {
            let done = shop.round().await;
            assert_eq!(done.decision.wanted, None, "{mode:?}");
            proposed |= done.decision.proposed.is_some();
        }
        assert!(proposed, "{mode:?} sees what should be done");
        assert_eq!(shop.weights(&shop.zones[0]).await, split([0, 100]), "{mode:?}");
        for seen in shop.world.proxy.seen() {
            assert!(READING.contains(&seen.action.as_str()), "{mode:?} called {}", seen.action);
        }
    }
}

#[tokio::test]
async fn somebody_elses_edit_is_not_overwritten_and_the_move_is_planned_anew() {
    let mut shop = Shop::open(1).await;
    let zone = shop.zones[0].clone();
    shop.calm(24).await;
    shop.kill(&eu());
    // Between our reading and our writing, somebody sets the weight of `eu` to 55.
    let edit = "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes><Change><Action>UPSERT</Action><ResourceRecordSet><Name>api.shop0.example</Name><Type>A</Type><SetIdentifier>eu</SetIdentifier><Weight>55</Weight><TTL>60</TTL><ResourceRecords><ResourceRecord><Value>127.0.0.11</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>";
    let edit = Message {
        first: format!("POST /2013-04-01/hostedzone/{zone}/rrset HTTP/1.1"),
        headers: vec![("host".to_owned(), "127.0.0.1".to_owned())],
        body: edit.as_bytes().to_vec(),
    };
    let rule = shop.world.proxy.inject(CHANGE, "somebody was faster", Fault::Before(edit), 1);

    let outcome = shop.until_an_order_ends().await;
    let Outcome::Refused { why } = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("55"), "it is told what was found: {why}");
    assert_eq!(rule.fired(), 1);
    assert_eq!(shop.changes().len(), 1, "a conflict is not tried again as it is");
    assert_eq!(shop.weights(&zone).await, split([0, 55]), "nothing is overwritten");
    assert_eq!(shop.epoch().await, None, "and nothing of the batch is there");

    assert_eq!(shop.until_an_order_ends().await, Outcome::Done);
    assert_eq!(shop.weights(&zone).await, split([100, 0]));
    let second = shop.changes().pop().unwrap().request.text();
    assert!(second.contains("<Weight>55</Weight>"), "from what was read anew: {second}");
}

/// The change was taken, but its answer got lost: it is found by reading, and not sent twice.
#[tokio::test]
async fn a_lost_answer_is_found_out_by_reading() {
    let mut shop = Shop::open(1).await;
    shop.calm(24).await;
    shop.kill(&eu());
    let rule = shop.world.proxy.inject(CHANGE, "answer lost", Fault::CloseAfter, 1);
    assert_eq!(shop.until_an_order_ends().await, Outcome::Done);
    assert_eq!(rule.fired(), 1);
    assert_eq!(shop.weights(&shop.zones[0]).await, split([100, 0]));
    assert_eq!(shop.changes().len(), 1, "what has happened is not sent again");
}

#[tokio::test]
async fn a_change_that_stays_pending_is_neither_done_nor_stacked_upon() {
    let mut shop = Shop::open(1).await;
    shop.calm(24).await;
    shop.kill(&eu());
    let stuck = shop.world.proxy.inject(
        "GetChange",
        "stuck",
        Fault::rewrite(|mut answer| {
            answer.body = answer.text().replace("INSYNC", "PENDING").into_bytes();
            answer
        }),
        usize::MAX,
    );
    // Twice the time after which a pending change counts as stuck.
    for _ in 0..ROUNDS_MAX {
        let done = shop.round().await;
        assert_eq!(done.ended, None, "not done before it is in sync");
    }
    assert!(stuck.fired() > 10, "{}", stuck.fired());
    assert_eq!(shop.changes().len(), 1, "no order is stacked on one that is pending");
    let findings = &shop.service.last.as_ref().unwrap().findings;
    let impaired = findings.iter().any(|f| f.diagnosis == Diagnosis::ControlPlaneImpaired);
    assert!(impaired, "a human is told: {findings:?}");
    shop.world.proxy.relieve(&stuck);
    assert_eq!(shop.until_an_order_ends().await, Outcome::Done);
    assert_eq!(shop.changes().len(), 1);
}

#[tokio::test]
async fn throttled_changes_are_carried_out_in_the_end() {
    let mut shop = Shop::open(1).await;
    shop.calm(24).await;
    shop.kill(&eu());
    let throttling = Fault::error(400, "Throttling", "Rate exceeded");
    let rule = shop.world.proxy.inject(CHANGE, "throttled", throttling, 2);
    assert_eq!(shop.until_an_order_ends().await, Outcome::Done);
    assert_eq!(rule.fired(), 2);
    let changes = shop.changes();
    assert_eq!(changes.len(), 3, "two refused, one taken");
    assert_eq!(changes.iter().filter(|change| change.forwarded).count(), 1);
    assert_eq!(shop.weights(&shop.zones[0]).await, split([100, 0]));
}

/// A story in words, each word or two that come again right away told once.
pub(super) fn folded(story: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in story {
        words.push(word);
        for length in [1, 2] {
            let end = words.len();
            if end >= 2 * length && words[end - length..] == words[end - 2 * length..end - length] {
                words.truncate(end - length);
            }
        }
    }
    words.join(", ")
}
