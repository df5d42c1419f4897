//! The rhythm, the words and the ends of watchers, with fakes that hold state, in virtual time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::Timestamp;
use crate::health::{About, ProbeFailure};
use crate::pace::Elb;
use crate::policy::{Measures, Metric, MetricQuery, Pace, QueryBody, Signal, Source, Vantage};
use crate::ports::{CallFailed, Point, Target as HostTarget, TargetState};
use crate::report::samples;

/// Follows the paused clock of the test.
#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        samples::NOW.plus(self.0.elapsed())
    }
}

#[derive(Debug, Default)]
struct FakeProber {
    clock: Option<Arc<TestClock>>,
    probes: AtomicUsize,
    at_once: AtomicUsize,
    at_once_max: AtomicUsize,
    takes: Duration,
    panics: AtomicUsize,
    peers: Mutex<Option<Readings>>,
}

#[async_trait]
impl Prober for FakeProber {
    async fn probe(
        &self,
        signal: &SignalName,
        class: Class,
        _spec: &Probe,
        target: &Target,
        vantage: &VantageName,
    ) -> Sample {
        self.probes.fetch_add(1, Ordering::SeqCst);
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once_max.fetch_max(at_once, Ordering::SeqCst);
        sleep(self.takes).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let dies =
            self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        assert!(dies.is_err(), "the fake was told to panic");
        let now = self.clock.as_ref().unwrap().now();
        Sample {
            signal: signal.clone(),
            class,
            about: About {
                region: Some(target.region.clone()),
                balancer: target.balancer.clone(),
                vantage: Some(vantage.clone()),
            },
            measure: Measure::Probe {
                success: 0.0,
                latency_ms: None,
                failure: Some(ProbeFailure::ConnectRefused),
            },
            taken_at: now,
            heard_at: now,
        }
    }

    async fn beacon(&self, _beacon: &Beacon) -> Sample {
        unreachable!("no policy of these tests has a beacon")
    }

    async fn readings(&self, url: &str, _policy: &Policy) -> Result<Readings, String> {
        self.peers.lock().unwrap().clone().ok_or_else(|| format!("{url} does not answer"))
    }
}

/// Target groups by ARN; a group it does not hold is refused as AWS does.
#[derive(Debug, Default)]
struct FakeTargets(BTreeMap<String, Vec<HostTarget>>);

#[async_trait]
impl TargetHealth for FakeTargets {
    async fn targets(&self, _region: &str, group: &str) -> Result<Vec<HostTarget>, CallFailed> {
        self.0.get(group).cloned().ok_or_else(|| CallFailed::NotFound {
            code: "TargetGroupNotFound".to_owned(),
            why: group.to_owned(),
        })
    }
}

#[derive(Debug)]
struct FakeMetrics(Vec<Vec<Point>>, AtomicUsize);

#[async_trait]
impl Metrics for FakeMetrics {
    async fn query(
        &self,
        _aws_region: &str,
        queries: &[QueryBody],
        _period: Duration,
        _from: Timestamp,
        _to: Timestamp,
    ) -> Result<Vec<Vec<Point>>, CallFailed> {
        self.1.fetch_add(1, Ordering::SeqCst);
        assert_eq!(queries.len(), self.0.len(), "all queries of one place go in one call");
        Ok(self.0.clone())
    }
}

struct Bench {
    policy: Policy,
    prober: FakeProber,
    targets: Option<Arc<dyn TargetHealth>>,
    metrics: Option<Arc<dyn Metrics>>,
    in_flight: usize,
    pace: Arc<Pacer>,
    room: usize,
    look_now: Option<channel::Receiver<()>>,
}

struct Seen {
    samples: Vec<Sample>,
    prober: Arc<FakeProber>,
    numbers: Arc<Numbers>,
}

impl Bench {
    fn new() -> Self {
        Self {
            policy: samples::policy(),
            prober: FakeProber::default(),
            targets: None,
            metrics: None,
            in_flight: IN_FLIGHT_MAX,
            pace: Arc::new(Pacer::new(Pace::default())),
            room: SAMPLES_MAX,
            look_now: None,
        }
    }

    /// Everything that arrives in so much virtual time.
    async fn watch_for(self, time: Duration) -> Seen {
        let clock = Arc::new(TestClock(Instant::now()));
        let prober = Arc::new(FakeProber { clock: Some(Arc::clone(&clock)), ..self.prober });
        let numbers = Arc::new(Numbers::new());
        let sources = Sources {
            prober: Arc::clone(&prober) as Arc<dyn Prober>,
            targets: self.targets,
            metrics: self.metrics,
            clock,
            numbers: Arc::clone(&numbers),
            in_flight: Arc::new(Semaphore::new(self.in_flight)),
            pace: self.pace,
            look_now: self.look_now,
        };
        let (sender, mut receiver) = mpsc::channel(self.room);
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch(Arc::new(self.policy), sources, sender, stop.clone()));
        sleep(time).await;
        stop.cancel();
        timeout(Duration::from_secs(1), watching).await.expect("stops at once").unwrap();
        let mut seen = Vec::new();
        while let Ok(sample) = receiver.try_recv() {
            seen.push(sample);
        }
        Seen { samples: seen, prober, numbers }
    }
}

#[tokio::test(start_paused = true)]
async fn each_balancer_is_probed_at_the_rhythm_of_the_policy() {
    let seen = Bench::new().watch_for(Duration::from_secs(60)).await;
    // Two balancers every 5 s for a minute, spread within the first 5 s.
    assert!((23..=24).contains(&seen.samples.len()), "{}", seen.samples.len());
    assert!(seen.samples.iter().all(|sample| sample.about.vantage.is_some()));
}

#[tokio::test(start_paused = true)]
async fn slow_probes_are_skipped_and_not_stacked() {
    let mut bench = Bench::new();
    bench.prober.takes = Duration::from_secs(12);
    let seen = bench.watch_for(Duration::from_secs(60)).await;
    // The beat that was missed comes at once, those behind it are left out: one after the other.
    assert!(seen.prober.probes.load(Ordering::SeqCst) <= 10);
    assert!(seen.prober.at_once_max.load(Ordering::SeqCst) <= 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_looks_than_the_bound_are_under_way() {
    let mut bench = Bench::new();
    bench.in_flight = 1;
    bench.prober.takes = Duration::from_secs(4);
    let seen = bench.watch_for(Duration::from_secs(60)).await;
    assert_eq!(seen.prober.at_once_max.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_dies_is_counted_and_started_again() {
    let mut bench = Bench::new();
    bench.prober.panics = AtomicUsize::new(1);
    let seen = bench.watch_for(Duration::from_secs(60)).await;
    assert!(seen.samples.len() >= 20, "{}", seen.samples.len());
    let text = seen.numbers.render().unwrap();
    assert!(text.contains("leeward_watcher_deaths_total{service=\"shop\"} 1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn samples_that_nobody_takes_are_dropped_and_counted() {
    let mut bench = Bench::new();
    bench.room = 3;
    let seen = bench.watch_for(Duration::from_secs(60)).await;
    assert_eq!(seen.samples.len(), 3);
    assert!(seen.numbers.render().unwrap().contains("leeward_samples_dropped_total{"));
}

fn host(state: TargetState, reason: Option<&str>, shifted_away: bool) -> HostTarget {
    HostTarget {
        id: "i-1".to_owned(),
        port: Some(80),
        zone: None,
        state,
        reason: reason.map(str::to_owned),
        shifted_away,
    }
}

async fn healthy_hosts(groups: Vec<(&str, Vec<HostTarget>)>) -> Measure {
    told_of(groups).await.remove(0)
}

/// Everything that one look says.
async fn told_of(groups: Vec<(&str, Vec<HostTarget>)>) -> Vec<Measure> {
    let mut bench = Bench::new();
    let source = Source::TargetHealth { every: Duration::from_secs(15) };
    let (fresh_for, usual_delay) = (Duration::from_secs(60), None);
    let signal = Signal { class: Class::Inside, fresh_for, usual_delay, source };
    bench.policy.signals = [("targets".parse().unwrap(), signal)].into();
    let region = bench.policy.regions.get_mut(&"eu-west-1".parse().unwrap()).unwrap();
    region.balancers[0].target_groups = groups.iter().map(|(arn, _)| (*arn).to_owned()).collect();
    let held = groups.into_iter().filter(|(_, hosts)| !hosts.is_empty());
    let held = held.map(|(arn, hosts)| (arn.to_owned(), hosts)).collect();
    bench.targets = Some(Arc::new(FakeTargets(held)));
    let samples = bench.watch_for(Duration::from_secs(15)).await.samples;
    samples.into_iter().map(|sample| sample.measure).collect()
}

#[tokio::test(start_paused = true)]
async fn zones_are_told_as_far_as_targets_tell_them() {
    use TargetState::{Healthy, Initial, Unhealthy};
    let at = |zone: &str, host: HostTarget| HostTarget { zone: Some(zone.to_owned()), ..host };
    let hosts = vec![
        at("eu-west-1b", host(Healthy, None, false)),
        at("eu-west-1a", host(Unhealthy, None, true)),
        at("eu-west-1a", host(Healthy, None, true)),
        at("eu-west-1a", host(Unhealthy, Some("Elb.InternalError"), true)),
        at("eu-west-1b", host(Initial, None, false)),
        at("all", host(Healthy, None, false)),
        host(Unhealthy, None, false),
    ];
    let told = told_of(vec![("one", hosts)]).await;
    let zone = |zone: &str, healthy, unhealthy, shifted| crate::health::ZoneHosts {
        zone: zone.to_owned(),
        healthy,
        unhealthy,
        shifted,
    };
    // Those that are shifted away count here and not in the part of the region that is healthy.
    let zones = vec![zone("eu-west-1a", 1, 1, 3), zone("eu-west-1b", 1, 0, 0)];
    assert_eq!(told, [Measure::HealthyHosts(Some(2.0 / 3.0)), Measure::Zones(zones)]);
}

#[tokio::test(start_paused = true)]
async fn targets_whose_health_is_not_known_do_not_count() {
    use TargetState::{Draining, Healthy, Initial, Other, Unavailable, Unhealthy, Unused};
    let mut hosts: Vec<_> = [Healthy, Unhealthy, Unhealthy, Initial, Other, Unavailable, Unused]
        .map(|state| host(state, None, false))
        .into();
    hosts.push(host(Draining, None, false));
    hosts.push(host(Unhealthy, Some("Elb.InternalError"), false));
    hosts.push(host(Unhealthy, None, true));
    let group = ("one", hosts);
    assert_eq!(healthy_hosts(vec![group]).await, Measure::HealthyHosts(Some(1.0 / 3.0)));
}

#[tokio::test(start_paused = true)]
async fn only_unknown_targets_are_no_number() {
    let hosts = vec![host(TargetState::Initial, None, false)];
    assert_eq!(healthy_hosts(vec![("one", hosts)]).await, Measure::HealthyHosts(None));
}

#[tokio::test(start_paused = true)]
async fn one_group_that_cannot_be_asked_makes_the_whole_silent() {
    let hosts = vec![host(TargetState::Healthy, None, false)];
    let measure = healthy_hosts(vec![("one", hosts), ("gone", Vec::new())]).await;
    assert!(matches!(&measure, Measure::Silence { why } if why.contains("gone")), "{measure:?}");
}

fn with_metric(points: Vec<Vec<Point>>) -> (Bench, Arc<FakeMetrics>) {
    let mut bench = Bench::new();
    let what = QueryBody::Expression { expression: "m1/m2".to_owned(), inputs: BTreeMap::new() };
    let query = MetricQuery { balancer: None, aws_region: "eu-west-1".to_owned(), what };
    let regions = ["eu-west-1", "eu-central-1"].into_iter().take(points.len());
    let metric = Metric {
        measures: Measures::BalancerErrors,
        every: Duration::from_secs(60),
        period: Duration::from_secs(60),
        window: Duration::from_secs(300),
        queries: regions.map(|name| (name.parse().unwrap(), vec![query.clone()])).collect(),
        bad: None,
        symptom: None,
    };
    let source = Source::Metric(metric);
    let (fresh_for, usual_delay) = (Duration::from_secs(180), None);
    let signal = Signal { class: Class::Traffic, fresh_for, usual_delay, source };
    bench.policy.signals = [("errors".parse().unwrap(), signal)].into();
    let fake = Arc::new(FakeMetrics(points, AtomicUsize::new(0)));
    bench.metrics = Some(Arc::clone(&fake) as Arc<dyn Metrics>);
    (bench, fake)
}

fn point(seconds_ago: u64, value: f64) -> Point {
    Point { at: samples::NOW.minus(Duration::from_secs(seconds_ago)), value }
}

#[tokio::test(start_paused = true)]
async fn all_regions_asked_in_one_place_are_one_call() {
    let (bench, fake) = with_metric(vec![vec![point(120, 0.5)], vec![]]);
    let seen = bench.watch_for(Duration::from_secs(60)).await;
    assert_eq!(fake.1.load(Ordering::SeqCst), 1);
    // In the order of the regions' names: central has the point, west has none.
    assert_eq!(seen.samples[0].measure, Measure::BalancerErrors(Some(0.5)));
    assert_eq!(seen.samples[0].taken_at, samples::NOW.minus(Duration::from_secs(60)));
    assert_eq!(seen.samples[1].measure, Measure::BalancerErrors(None));
}

#[tokio::test(start_paused = true)]
async fn a_period_that_still_runs_is_not_the_newest_word() {
    let points = vec![point(180, 0.1), point(120, 0.2), point(0, 0.9), point(60, f64::NAN)];
    let (bench, _) = with_metric(vec![points]);
    let seen = bench.watch_for(Duration::from_secs(60)).await;
    assert_eq!(seen.samples[0].measure, Measure::BalancerErrors(Some(0.2)));
}

#[tokio::test(start_paused = true)]
async fn a_set_up_without_metrics_says_so() {
    let (mut bench, _) = with_metric(vec![vec![]]);
    bench.metrics = None;
    let seen = bench.watch_for(Duration::from_secs(60)).await;
    assert!(matches!(seen.samples[0].measure, Measure::Silence { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_silence_about_every_region() {
    let mut bench = Bench::new();
    let url = "http://127.0.0.1:1".to_owned();
    bench.policy.vantages = [("us".parse().unwrap(), Vantage::Peer { url })].into();
    let seen = bench.watch_for(Duration::from_secs(5)).await;
    assert_eq!(seen.samples.len(), 2);
    for sample in seen.samples {
        assert!(matches!(&sample.measure, Measure::Silence { why } if why.contains("127.0.0.1:1")));
        assert_eq!(sample.about.vantage.unwrap().as_str(), "us");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_looked_at_when_somebody_asks() {
    let calm = Bench::new().watch_for(Duration::from_secs(20)).await;
    let (ask, asked) = channel::channel(());
    let bench = Bench { look_now: Some(asked), ..Bench::new() };
    let asking = tokio::spawn(async move {
        sleep(Duration::from_secs(12)).await;
        ask.send_replace(());
        sleep(Duration::from_secs(60)).await;
    });
    let seen = bench.watch_for(Duration::from_secs(20)).await;
    asking.abort();
    let regions = samples::policy().regions.len();
    assert_eq!(seen.samples.len(), calm.samples.len() + regions, "one look more at each");
}

/// What an account may ask of Elastic Load Balancing in one region, enforced: 10 calls a second, 40 at once
/// (User Guide, "API throttling for Elastic Load Balancing").
#[derive(Debug)]
struct Enforced {
    bucket: Mutex<(f64, Instant)>,
    throttled: AtomicUsize,
    /// When each group was asked for.
    asked: Mutex<BTreeMap<String, Vec<Instant>>>,
}

impl Enforced {
    fn new() -> Self {
        Self {
            bucket: Mutex::new((40.0, Instant::now())),
            throttled: AtomicUsize::new(0),
            asked: Mutex::default(),
        }
    }

    fn take(&self) -> Result<(), CallFailed> {
        let mut bucket = self.bucket.lock().unwrap();
        let now = Instant::now();
        bucket.0 = (bucket.0 + (now - bucket.1).as_secs_f64() * 10.0).min(40.0);
        bucket.1 = now;
        if bucket.0 < 1.0 {
            self.throttled.fetch_add(1, Ordering::SeqCst);
            let (code, why) = ("Throttling".to_owned(), "Rate exceeded".to_owned());
            return Err(CallFailed::Throttled { code, why });
        }
        bucket.0 -= 1.0;
        Ok(())
    }
}

#[async_trait]
impl TargetHealth for Enforced {
    async fn targets(&self, _region: &str, group: &str) -> Result<Vec<HostTarget>, CallFailed> {
        self.take()?;
        self.asked.lock().unwrap().entry(group.to_owned()).or_default().push(Instant::now());
        Ok(vec![host(TargetState::Healthy, None, false)])
    }
}

/// Two hundred of them want 800 looks a minute, and the account allows 600 calls; a refresh of one of them
/// goes on beside it, with a look of 22 calls whenever its own bucket has as many.
#[tokio::test(start_paused = true)]
async fn two_hundred_balancers_of_one_account_stay_within_its_buckets() {
    const BALANCERS: usize = 200;
    const TIME: Duration = Duration::from_secs(600);
    let mut bench = Bench::new();
    let source = Source::TargetHealth { every: Duration::from_secs(15) };
    let (fresh_for, usual_delay) = (Duration::from_secs(120), None);
    let signal = Signal { class: Class::Inside, fresh_for, usual_delay, source };
    bench.policy.signals = [("targets".parse().unwrap(), signal)].into();
    for region in bench.policy.regions.values_mut() {
        region.balancers.iter_mut().for_each(|balancer| balancer.target_groups.clear());
    }
    let region = bench.policy.regions.get_mut(&"eu-west-1".parse().unwrap()).unwrap();
    let one = region.balancers[0].clone();
    region.balancers = (0..BALANCERS)
        .map(|number| crate::policy::Balancer {
            name: format!("web-{number}").parse().unwrap(),
            target_groups: vec![format!("group-{number}")],
            zonal_shift: None,
            ..one.clone()
        })
        .collect();
    let account = Arc::new(Enforced::new());
    bench.targets = Some(Arc::clone(&account) as Arc<dyn TargetHealth>);
    let (pace, service) = (Arc::clone(&bench.pace), Arc::clone(&account));
    let refresh = tokio::spawn(async move {
        let mut looks = 0_u32;
        loop {
            match pace.try_take_elb("eu-west-1", Elb::Reads, 22) {
                Ok(()) => {
                    looks += 1;
                    for _ in 0..22 {
                        service.take().expect("a refresh is not throttled by looks");
                    }
                }
                Err(wait) if looks > 100 => return wait,
                Err(wait) => sleep(wait).await,
            }
        }
    });
    let began = Instant::now();
    let seen = bench.watch_for(TIME).await;
    assert_eq!(account.throttled.load(Ordering::SeqCst), 0);
    assert!(refresh.is_finished(), "looks starve a refresh");
    refresh.await.unwrap();
    let asked = account.asked.lock().unwrap();
    assert_eq!(asked.len(), BALANCERS);
    for (group, times) in asked.iter() {
        let ends = [began, began + TIME];
        let mut all: Vec<Instant> = times.iter().copied().chain(ends).collect();
        all.sort();
        let longest = all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        // 200 looks at 2.5 a second are 80 seconds; nobody is passed over.
        assert!(longest <= Duration::from_secs(100), "{group}: {longest:?}");
    }
    let silent = |sample: &&Sample| matches!(sample.measure, Measure::Silence { .. });
    assert_eq!(seen.samples.iter().filter(silent).count(), 0);
}
