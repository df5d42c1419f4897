//! Zonal shifts on the wire: rounds of the real service, a bad zone, and calls whose answers are lost.
//!
//! Time is made up: each round is ten seconds later than the last.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leeward::aws::{Edge, Endpoint, Service as Aws};
use leeward::health::{Measure, Sample, ZoneHosts};
use leeward::journal::Journal;
use leeward::pace::Pacer;
use leeward::policy::{self, Class, Mode, Pace, Policy};
use leeward::ports::{CallFailed, Clock, Levers};
use leeward::runtime::doors::levers_for;
use leeward::runtime::round::Service;

use super::settings;
use crate::made_up::{StepClock, about, probes, sample};
use crate::wire::proxy::{ALL, Fault};
use crate::wire::zonal::ZonalShifts;

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/web/50dc6c495c0c9188";
const ZONES: [&str; 3] = ["euw1-az1", "euw1-az2", "euw1-az3"];
const START: &str = "POST /zonalshifts";
const STEP: Duration = Duration::from_secs(10);

struct Bench {
    aws: ZonalShifts,
    policy: Policy,
    levers: Levers,
    clock: Arc<StepClock>,
    service: Service,
    /// Healthy targets of six in zone a.
    healthy: u32,
    folder: tempfile::TempDir,
}

fn compiled(mode: &str) -> Policy {
    let text = format!(
        r#"version: 1
service: shop
mode: {mode}
regions:
  eu-west-1:
    role: primary
    weight: 100
    balancers:
      web:
        arn: "{ARN}"
        target_groups: ["arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/1"]
        zonal_shift: {{ zones: {{ eu-west-1a: euw1-az2, eu-west-1b: euw1-az3, eu-west-1c: euw1-az1 }}, rest: 60%, expires: 10m, back_after: 2m }}
  eu-central-1: {{ role: standby, weight: 0, balancers: {{ web-central: {{ carries: 100% }} }} }}
vantages: {{ here: {{ source: 127.0.0.1 }}, there: {{ source: 127.0.0.50 }} }}
levers:
  - weights:
      records: [{{ zone: Z1, name: shop.example.com, types: [A], members: {{ eu-west-1: eu, eu-central-1: central }} }}]
      epoch_record: {{ zone: Z1, name: _leeward.shop.example.com }}
      ttl: 60s
      in_sync_within: 5m
      readback: none
signals:
  probes: {{ class: outside, fresh_for: 30s, pushed: {{}} }}
  targets: {{ class: inside, fresh_for: 1m, target_health: {{ every: 15s }} }}
judge: {{ success_below: 95%, window: 30s, sustain: 30s, vantages: 2, classes: 1, healthy_hosts_below: 50% }}
shift: {{ ramp: [100%], hold: 1m, spare: 0%, overflow: spill, last_resort: never, unready: hold }}
failback: manual
guards: {{ cooldown: 30s, shifts: {{ max: 4, within: 1h }}, latch: {{ after: 9, within: 24h }}, standby_healthy_hosts: 70% }}
tell: {{ channels: [ {{ command: [/bin/true] }} ], status_every: 15m }}
"#
    );
    match policy::load(&text, "zones.yaml") {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

fn service(policy: &Policy, levers: &Levers, clock: &Arc<StepClock>, journal: &Path) -> Service {
    let (log, recovered) = Journal::open(journal).unwrap();
    let pace = Arc::new(Pacer::new(Pace::default()));
    let clock = Arc::<StepClock>::clone(clock);
    let mut service =
        Service::new(policy.clone(), levers.clone(), Box::new(log), clock, pace, "one".to_owned());
    service.memory.acts = recovered.acts;
    service
}

impl Bench {
    fn new(mode: &str) -> impl Future<Output = Self> + '_ {
        Box::pin(Self::begin(mode))
    }

    async fn begin(mode: &str) -> Self {
        let aws = ZonalShifts::start(ARN, &ZONES).await;
        let mut settings = settings(&aws.proxy.url());
        settings.endpoints = vec![Endpoint {
            service: Aws::ZonalShift,
            aws_region: Some("eu-west-1".to_owned()),
            url: aws.proxy.url(),
        }];
        let edge = Edge::connect(&settings).await;
        let policy = compiled(mode);
        let all = Levers { zonal_shifts: Some(edge.zonal_shifts), ..Levers::default() };
        let levers = levers_for(policy.mode, &all);
        let clock = StepClock::start();
        let folder = tempfile::tempdir().unwrap();
        let service = service(&policy, &levers, &clock, &folder.path().join("journal"));
        let mut bench = Self { aws, policy, levers, clock, service, healthy: 6, folder };
        bench.service.start().await.unwrap();
        bench.rounds(6).await;
        bench
    }

    fn samples(&self) -> Vec<Sample> {
        let now = self.clock.now();
        let mut samples = Vec::new();
        for (region, balancer) in [("eu-west-1", "web"), ("eu-central-1", "web-central")] {
            let about = about(region, balancer);
            samples.extend(probes(now, &about, ["here", "there"], 1.0));
            if region == "eu-west-1" {
                let away = self.aws.active().is_some_and(|shift| shift.away_from == "euw1-az2");
                let zone = |zone: &str, healthy, shifted| ZoneHosts {
                    zone: zone.to_owned(),
                    healthy,
                    unhealthy: 6 - healthy,
                    shifted,
                };
                let zones = vec![
                    zone("eu-west-1a", self.healthy, if away { 6 } else { 0 }),
                    zone("eu-west-1b", 6, 0),
                    zone("eu-west-1c", 6, 0),
                ];
                samples.push(sample(now, "targets", Class::Inside, about, Measure::Zones(zones)));
            }
        }
        samples
    }

    async fn round(&mut self) {
        self.clock.advance(STEP);
        self.aws.set_time(self.clock.now().as_millis() / 1000);
        let samples = self.samples();
        self.service.round(samples, Vec::new()).await.unwrap();
    }

    async fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.round().await;
        }
    }

    /// A new process on the same journal.
    async fn start_again(&mut self) {
        let other = self.folder.path().join("other");
        self.service = service(&self.policy, &self.levers, &self.clock, &other);
        let journal = self.folder.path().join("journal");
        self.service = service(&self.policy, &self.levers, &self.clock, &journal);
        self.service.start().await.unwrap();
    }

    fn known(&self) -> bool {
        let away = self.service.memory.acts.zones_away.values().next();
        away.is_some_and(|away| !away.is_in_doubt())
    }

    /// How often each path was called that changes something.
    fn changes(&self) -> (usize, usize, usize) {
        let of = |verb: &str| {
            self.aws.proxy.seen().iter().filter(|seen| seen.request.first.starts_with(verb)).count()
        };
        (of("POST"), of("PATCH"), of("DELETE"))
    }
}

#[tokio::test]
async fn a_bad_zone_is_shifted_renewed_and_taken_back_by_the_calls_of_the_plan() {
    let mut bench = Bench::new("auto").await;
    assert_eq!(bench.aws.proxy.seen().len(), 0, "nothing is asked on a calm day");
    bench.healthy = 0;
    bench.rounds(6).await;
    let shift = bench.aws.active().expect("begun");
    assert_eq!((shift.away_from.as_str(), shift.arn.as_str()), ("euw1-az2", ARN));
    assert!(shift.comment.starts_with("leeward ") && shift.comment.contains("shop"), "{shift:?}");
    assert!(bench.known());
    bench.rounds(100).await;
    assert_eq!(bench.aws.shifts().len(), 1, "one, and renewed");
    let (begun, renewed, cancelled) = bench.changes();
    assert_eq!((begun, cancelled), (1, 0));
    assert!((2..=3).contains(&renewed), "{renewed} in 1,000 seconds, at 400 seconds each");
    bench.healthy = 6;
    bench.rounds(14).await;
    assert_eq!(bench.aws.shifts()[0].status, "CANCELED");
    assert_eq!(bench.changes().2, 1);
    let before = bench.aws.proxy.seen().len();
    bench.rounds(20).await;
    assert_eq!(bench.aws.proxy.seen().len(), before, "nothing more is asked");
}

#[tokio::test]
async fn a_lost_answer_is_read_about_and_nothing_is_begun_twice() {
    for (fault, began) in
        [(Fault::SilenceAfter, true), (Fault::SilenceBefore, false), (Fault::CutBody, true)]
    {
        let mut bench = Bench::new("auto").await;
        bench.healthy = 0;
        let rule = bench.aws.proxy.inject(START, "lost", fault, 1);
        while rule.fired() == 0 {
            bench.round().await;
        }
        assert_eq!(bench.aws.active().is_some(), began);
        assert!(!bench.known());
        // The process dies as well.
        bench.start_again().await;
        bench.rounds(16).await;
        assert!(bench.known());
        assert_eq!(bench.aws.shifts().len(), 1);
        assert_eq!(bench.changes().0, if began { 1 } else { 2 });
    }
}

#[tokio::test]
async fn what_somebody_else_shifted_or_took_back_is_left_alone() {
    let mut bench = Bench::new("auto").await;
    bench.aws.begin(ARN, "euw1-az1", 60, "drill of the other team");
    bench.healthy = 0;
    bench.rounds(40).await;
    assert_eq!(bench.changes(), (0, 0, 0));
    let why = &bench.service.memory.acts.zones_paused.values().next().unwrap().why;
    assert!(why.contains("drill of the other team"), "{why}");
    let theirs = bench.aws.active().unwrap().id;
    bench.aws.cancel(&theirs);
    bench.rounds(40).await;
    let ours = bench.aws.active().expect("theirs is over");
    // Ours is taken back by a human: it is not begun again before it would have ended.
    bench.aws.cancel(&ours.id);
    bench.rounds(30).await;
    assert!(bench.aws.active().is_none());
    assert_eq!(bench.changes().0, 1);
}

#[tokio::test]
async fn a_balancer_that_is_not_enabled_and_a_refusal_are_told() {
    let mut bench = Bench::new("auto").await;
    bench.aws.disable();
    bench.healthy = 0;
    bench.rounds(8).await;
    let why = &bench.service.memory.acts.zones_paused.values().next().unwrap().why;
    assert!(why.contains("not enabled"), "{why}");
    assert_eq!(bench.changes(), (0, 0, 0));

    // Between reading and calling somebody else was faster.
    let mut raced = Bench::new("auto").await;
    raced.healthy = 0;
    let conflict = r#"{"message":"there is one","reason":"ZonalShiftAlreadyExists","zonalShiftId":"0a1b2c3d-0001"}"#;
    let mut answer = crate::wire::http::Message::answer(409, "application/json", conflict);
    answer.headers.push(("x-amzn-errortype".to_owned(), "ConflictException".to_owned()));
    let rule = raced.aws.proxy.inject(START, "raced", Fault::Answer(answer), 1);
    while rule.fired() == 0 {
        raced.round().await;
    }
    let why = &raced.service.memory.acts.zones_paused.values().next().unwrap().why;
    assert!(why.contains("ZonalShiftAlreadyExists"), "{why}");
}

#[tokio::test]
async fn who_only_looks_changes_nothing() {
    for mode in ["observe", "advise", "approve"] {
        let mut bench = Bench::new(mode).await;
        bench.healthy = 0;
        bench.rounds(20).await;
        assert_eq!(bench.changes(), (0, 0, 0), "{mode}");
        assert!(bench.service.last.as_ref().unwrap().zone.as_ref().is_some_and(|plan| !plan.go));
    }
    // Behind that there is a locked door.
    let bench = Bench::new("auto").await;
    let seen = levers_for(Mode::Observe, &bench.levers).zonal_shifts.unwrap();
    assert!(seen.read(ARN).await.is_ok());
    let hour = std::time::Duration::from_secs(3600);
    for refused in [
        seen.start(ARN, "euw1-az2", hour, "x").await.err(),
        seen.renew(ARN, "0a1b2c3d-0000", hour).await.err(),
        seen.cancel(ARN, "0a1b2c3d-0000").await.err(),
    ] {
        assert!(matches!(refused, Some(CallFailed::Refused { .. })), "{refused:?}");
    }
    assert_eq!(bench.changes(), (0, 0, 0));
}

#[tokio::test]
async fn whatever_answers_in_the_place_of_the_service_is_not_believed() {
    let bench = Bench::new("auto").await;
    let port = bench.levers.zonal_shifts.clone().unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let nonsense = crate::wire::http::Message::answer(200, "application/json", "{}");
    bench.aws.proxy.inject(ALL, "nonsense", Fault::Answer(nonsense), usize::MAX);
    assert!(port.read(ARN).await.is_err());
    for said in [
        port.start(ARN, "euw1-az2", hour, "x").await.err(),
        port.renew(ARN, "0a1b2c3d-0000", hour).await.err(),
        port.cancel(ARN, "0a1b2c3d-0000").await.err(),
    ] {
        assert!(matches!(said, Some(CallFailed::Unknown { .. })), "{said:?}");
    }
    bench.aws.proxy.calm();
    let throttled =
        crate::wire::http::Message::answer(429, "application/json", r#"{"message":"slow"}"#);
    let mut throttled = throttled;
    throttled.headers.push(("x-amzn-errortype".to_owned(), "ThrottlingException".to_owned()));
    bench.aws.proxy.inject(START, "throttled", Fault::Answer(throttled), usize::MAX);
    let said = port.start(ARN, "euw1-az2", hour, "x").await.err();
    assert!(matches!(said, Some(CallFailed::Throttled { .. })), "{said:?}");
    // The longest that is allowed, and more.
    bench.aws.proxy.calm();
    bench.aws.set_time(1_800_000_000);
    port.start(ARN, "euw1-az2", 72 * hour, "x").await.unwrap();
    let said = port.start(ARN, "euw1-az1", 73 * hour, "x").await.err();
    assert!(matches!(said, Some(CallFailed::Refused { .. })), "{said:?}");
}
