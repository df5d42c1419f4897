//! One cell of the matrix: a shop of its own at the shared server, its region dies, one kind of call
//! fails in one way for a while, and then no longer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leeward::answers::DnsResolver;
use leeward::aws::Edge;
use leeward::domain::{Timestamp, ZoneId};
use leeward::health::{About, Measure, ProbeFailure, Sample};
use leeward::journal::Journal;
use leeward::memory::{Entry, Outcome};
use leeward::pace::Pacer;
use leeward::plan::{Batch, RecordData, RecordSet, Swap};
use leeward::policy::{self, Class, Pace, Policy, QueryBody};
use leeward::ports::{CallFailed, Clock, Levers, TargetState};
use leeward::runtime::round::Service;

use super::{CHANGE, Cell, Step, fault_of};
use crate::aws_wire::faults::{Kind, Told};
use crate::aws_wire::service::folded;
use crate::aws_wire::signals::page_of;
use crate::aws_wire::{create_zone, kind_of, settings, weighted};
use crate::made_up::{StepClock, about, sample};
use crate::wire::nameserver::{Mood, NameServer};
use crate::wire::proxy::{Fault, Proxy, Rule, Seen};

const EU: &str = "eu-west-1";
const CENTRAL: &str = "eu-central-1";
const STEP: Duration = Duration::from_secs(5);
/// Windows fill.
const CALM_ROUNDS: usize = 6;
/// How long a fault lasts once it struck, in rounds of five seconds.
const FAULT_ROUNDS: usize = 6;
/// Ten minutes; the longest wait of ours is one.
const ROUNDS_MAX: usize = 120;
/// Looked at afterwards: nothing more happens.
const AFTER_ROUNDS: usize = 4;

/// What all cells share: an AWS without faults, and the target groups in it.
pub(super) struct Ground {
    pub(super) port: u16,
    pub(super) groups: BTreeMap<&'static str, String>,
    /// Past all proxies.
    pub(super) direct: Edge,
}

struct Bench<'a> {
    cell: Cell,
    ground: &'a Ground,
    /// Before Route 53.
    proxy: Proxy,
    /// Before what is looked at.
    looks: Proxy,
    edge: Edge,
    zone: ZoneId,
    name: String,
    servers: NameServer,
    clock: Arc<StepClock>,
    service: Service,
    journal: PathBuf,
    dead: bool,
    _folder: tempfile::TempDir,
}

/// Plays the cell, and panics if the end is not right.
pub(super) async fn play(cell: Cell, number: usize, ground: &Ground) -> Told {
    let mut bench = Bench::open(cell, number, ground).await;
    // What is looked at all day long is broken from the start, so that nothing of it is known.
    let mut rule = if cell.step.is_looked_at() { bench.break_step().await } else { None };
    for _ in 0..CALM_ROUNDS {
        assert_eq!(bench.round().await, None, "{cell}");
    }
    assert_eq!(bench.changes(), 0, "{cell}: nothing is written on a calm day");
    bench.kill();
    if !cell.step.is_looked_at() {
        rule = bench.break_step().await;
    }
    let mut struck = 0;
    let mut done = false;
    for _ in 0..ROUNDS_MAX {
        done |= bench.round().await == Some(Outcome::Done);
        struck += usize::from(rule.as_ref().is_none_or(|rule| rule.fired() > 0));
        if done || struck >= FAULT_ROUNDS {
            break;
        }
    }
    if let Some(rule) = &rule {
        let (calls, most) = (rule.fired(), cell.step.calls_max(cell.fault));
        assert!((1..=most).contains(&calls), "{cell}: {calls} calls into the fault");
    }
    let moved = bench.is_moved().await;
    assert!(moved || !done, "{cell}: said to be done and is not");
    let during = if done {
        "done"
    } else if moved {
        "moved, not yet proven"
    } else {
        "holds"
    };
    bench.mend(rule.as_ref()).await;
    for _ in 0..ROUNDS_MAX {
        if done {
            break;
        }
        done = bench.round().await == Some(Outcome::Done);
    }
    assert!(done, "{cell}: never done: {}", bench.story());
    for _ in 0..AFTER_ROUNDS {
        assert_eq!(bench.round().await, None, "{cell}: nothing after the end");
    }
    assert!(bench.is_moved().await, "{cell}: done and not moved");
    assert_eq!(bench.changes(), 1, "{cell}: changed once");
    Told { during, story: bench.story() }
}

impl<'a> Bench<'a> {
    async fn open(cell: Cell, number: usize, ground: &'a Ground) -> Self {
        let domain = format!("m{number}.example");
        let zone = create_zone(ground.port, &domain).await;
        let name = format!("api.{domain}");
        let address = |region: &str, weight, address: &str| RecordSet {
            data: RecordData::Values(vec![address.to_owned()]),
            ..weighted(&zone, &name, region, weight)
        };
        let sets = [address(EU, 100, "127.0.0.11"), address(CENTRAL, 0, "127.0.0.12")];
        let swaps = sets.map(|after| Swap { before: None, after }).into();
        let batch = Batch { zone: zone.clone(), comment: "matrix".to_owned(), swaps };
        ground.direct.weights.change(&batch).await.unwrap();

        let records = Arc::clone(&ground.direct.weights);
        let servers = NameServer::start(zone.clone(), records).await;
        let proxy = Proxy::start(ground.port).await;
        name_the_server(&proxy, &servers);
        let looks = Proxy::start(ground.port).await;
        let mut settings = settings(&looks.url());
        settings.endpoints.insert(0, format!("route53={}", proxy.url()).parse().unwrap());
        let edge = Edge::connect(&settings).await;
        let policy = compiled(&policy_text(&zone, &domain, &ground.groups, cell.step));
        let clock = StepClock::start();
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let log = Box::new(Journal::open(&journal).unwrap().0);
        let levers = Levers {
            weights: Some(Arc::clone(&edge.weights)),
            resolver: Some(Arc::new(DnsResolver::new(Duration::from_millis(1500)))),
            ..Levers::default()
        };
        // The one thing that runs in real time, of which hardly any passes here.
        let pace = Arc::new(Pacer::new(Pace { requests_per_second: 2000.0, ..Pace::default() }));
        let shared: Arc<dyn Clock> = Arc::<StepClock>::clone(&clock);
        let service = Service::new(policy, levers, log, shared, pace, "matrix".to_owned());
        Self {
            cell,
            ground,
            proxy,
            looks,
            edge,
            zone,
            name,
            servers,
            clock,
            service,
            journal,
            dead: false,
            _folder: folder,
        }
    }

    async fn round(&mut self) -> Option<Outcome> {
        self.clock.advance(STEP);
        let samples = self.look().await;
        self.service.round(samples, Vec::new()).await.unwrap().ended
    }

    /// Everything that can be seen now. What the cell is not about is made up.
    async fn look(&mut self) -> Vec<Sample> {
        let now = self.clock.now();
        let sample = |signal, class, about, measure| sample(now, signal, class, about, measure);
        let mut samples = Vec::new();
        for name in [EU, CENTRAL] {
            let well = !(self.dead && name == EU);
            let about = |vantage: Option<&str>| About {
                vantage: vantage.map(|name| name.parse().unwrap()),
                ..about(name, &format!("web-{name}"))
            };
            for vantage in ["here", "there"] {
                let measure = Measure::Probe {
                    success: if well { 1.0 } else { 0.0 },
                    latency_ms: None,
                    failure: (!well).then_some(ProbeFailure::ConnectRefused),
                };
                samples.push(sample("outside", Class::Outside, about(Some(vantage)), measure));
            }
            // What users get is asked of the region that has users; its targets are not looked at then.
            if self.cell.step == Step::Metrics && name == EU {
                let told = self.errors(name, now).await;
                let measure =
                    told.map_or_else(|failure| silence(&failure), Measure::BalancerErrors);
                samples.push(sample("errors", Class::Traffic, about(None), measure));
            } else {
                let told = if self.cell.step == Step::Targets {
                    self.healthy(name).await
                } else {
                    Ok(Some(if well { 1.0 } else { 0.0 }))
                };
                let measure = told.map_or_else(|failure| silence(&failure), Measure::HealthyHosts);
                samples.push(sample("targets", Class::Inside, about(None), measure));
            }
        }
        samples
    }

    async fn healthy(&mut self, region: &str) -> Result<Option<f64>, CallFailed> {
        let targets = self.edge.targets.targets(region, &self.ground.groups[region]).await?;
        let healthy = targets.iter().filter(|target| target.state == TargetState::Healthy).count();
        #[expect(clippy::cast_precision_loss, reason = "a handful of targets")]
        let part = healthy as f64 / targets.len() as f64;
        Ok(Some(part))
    }

    async fn errors(&mut self, region: &str, now: Timestamp) -> Result<Option<f64>, CallFailed> {
        let metric = QueryBody::Metric {
            namespace: "AWS/ApplicationELB".to_owned(),
            name: "Errors".to_owned(),
            statistic: "Sum".to_owned(),
            dimensions: BTreeMap::new(),
        };
        let (minute, from) = (Duration::from_secs(60), now.minus(Duration::from_secs(600)));
        let found = self.edge.metrics.query(region, &[metric], minute, from, now).await?;
        Ok(found[0].last().map(|point| point.value))
    }

    /// The region stops serving, and everybody who looks sees it.
    fn kill(&mut self) {
        self.dead = true;
        let group = self.ground.groups[EU].rsplit('/').next().unwrap();
        let sick = "<State>unhealthy</State><Reason>Target.Timeout</Reason>";
        let fault = Fault::replace("<State>healthy</State>", sick);
        self.looks.inject_last("DescribeTargetHealth", group, fault);
        let at = self.clock.now().as_millis() / 1000;
        self.looks.inject_last("GetMetricData", "", page_of("q0", at, 1.0));
    }

    fn faulty(&self) -> &Proxy {
        match self.cell.step {
            Step::Targets | Step::Metrics => &self.looks,
            Step::Records | Step::Change | Step::InSync | Step::NameServers | Step::Answers => {
                &self.proxy
            }
        }
    }

    /// From now on the call of the step fails. `None` if nobody counts how often.
    async fn break_step(&mut self) -> Option<Rule> {
        let fault = match (self.cell.step.action(), self.cell.fault) {
            (None, Kind::HangBefore) => {
                self.servers.is(Mood::Silent);
                return None;
            }
            (None, Kind::ServerError) => {
                self.servers.is(Mood::Failing);
                return None;
            }
            (None, _) => {
                self.servers.lag(true);
                return None;
            }
            (Some(_), Kind::Refused) => {
                self.faulty().shut(true).await;
                return None;
            }
            (Some(_), _) => fault_of(self.cell),
        };
        let action = self.cell.step.action().unwrap();
        if self.cell.fault == Kind::HangThenThrottled {
            let first = self.faulty().inject(action, "its answer is lost", Fault::SilenceAfter, 1);
            return Some(self.faulty().inject_after(&first, "the fault of the cell", fault));
        }
        Some(self.faulty().inject(action, "the fault of the cell", fault, usize::MAX))
    }

    /// The world behaves again, but the region stays dead.
    async fn mend(&mut self, rule: Option<&Rule>) {
        self.faulty().shut(false).await;
        if let Some(rule) = rule {
            self.faulty().relieve(rule);
        }
        self.servers.lag(false);
        self.servers.is(Mood::Well);
    }

    /// By the server's own word, past the proxy.
    async fn is_moved(&mut self) -> bool {
        let name = self.name.parse().unwrap();
        let sets = self.ground.direct.weights.read(&self.zone, Some(&name)).await.unwrap();
        let weight = |id: &str| {
            let set = sets.iter().find(|set| set.set_identifier.as_deref() == Some(id));
            set.unwrap().weight.unwrap().0
        };
        (weight(EU), weight(CENTRAL)) == (0, 100)
    }

    /// Changes that had an effect.
    fn changes(&self) -> usize {
        let effective =
            |seen: &Seen| seen.action == CHANGE && seen.forwarded && seen.status == Some(200);
        self.proxy.seen().iter().filter(|seen| effective(seen)).count()
    }

    /// What the journal says of the order, a word for each line.
    fn story(&self) -> String {
        folded(
            Journal::read(&self.journal).unwrap().iter().filter_map(|record| word(&record.entry)),
        )
    }
}

fn silence(failure: &CallFailed) -> Measure {
    Measure::Silence { why: failure.to_string() }
}

/// The name servers of the zone are ours.
fn name_the_server(proxy: &Proxy, servers: &NameServer) {
    let address = servers.address.clone();
    let ours = Fault::rewrite(move |mut answer| {
        let text = answer.text();
        let (head, rest) = text.split_once("<NameServers>").unwrap();
        let tail = rest.split_once("</NameServers>").unwrap().1;
        let server = format!("<NameServers><NameServer>{address}</NameServer></NameServers>");
        answer.body = format!("{head}{server}{tail}").into_bytes();
        answer
    });
    proxy.inject("GetHostedZone", "our name server", ours, usize::MAX);
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other entries are no part of the story")]
fn word(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Intended(_) => Some("intended".to_owned()),
        Entry::Sending { .. } => Some("sending".to_owned()),
        Entry::Accepted { .. } => Some("accepted".to_owned()),
        Entry::FoundDone { .. } => Some("found done".to_owned()),
        Entry::Failed { failure, .. } => Some(format!("failed ({})", kind_of(failure))),
        Entry::InSync { .. } => Some("in sync".to_owned()),
        Entry::LeverHeard { failure: Some(failure), .. } => {
            Some(format!("lever {}", kind_of(failure)))
        }
        Entry::LeverHeard { failure: None, .. } => Some("lever well".to_owned()),
        Entry::Ended { outcome: Outcome::Done, .. } => Some("done".to_owned()),
        Entry::Ended { outcome: Outcome::Abandoned { .. }, .. } => Some("abandoned".to_owned()),
        Entry::Ended { outcome: Outcome::Refused { .. }, .. } => Some("refused".to_owned()),
        Entry::Drifted { .. } => Some("drifted".to_owned()),
        _ => None,
    }
}

fn policy_text(
    zone: &ZoneId,
    domain: &str,
    groups: &BTreeMap<&'static str, String>,
    step: Step,
) -> String {
    let (eu, central) = (&groups[EU], &groups[CENTRAL]);
    let errors = if step == Step::Metrics {
        "  errors: { class: traffic, fresh_for: 2m, pushed: {} }\n"
    } else {
        ""
    };
    format!(
        r#"version: 1
service: shop
mode: auto
regions:
  {EU}:
    role: primary
    weight: 100
    balancers:
      web-{EU}: {{ carries: 100%, connect: 127.0.0.11, target_groups: ["{eu}"] }}
  {CENTRAL}:
    role: standby
    weight: 0
    balancers:
      web-{CENTRAL}: {{ carries: 100%, connect: 127.0.0.12, target_groups: ["{central}"] }}
vantages:
  here: {{}}
  there: {{ source: 127.0.0.50 }}
levers:
  - weights:
      records:
        - {{ zone: {zone}, name: api.{domain}, types: [A], members: {{ {EU}: {EU}, {CENTRAL}: {CENTRAL} }} }}
      epoch_record: {{ zone: {zone}, name: _leeward.{domain} }}
      ttl: 60s
      in_sync_within: 5m
      readback: name_servers
signals:
  outside:
    class: outside
    fresh_for: 30s
    probe: {{ protocol: http, port: 80, path: /, every: 5s, timeout: {{ connect: 2s, tls: 2s, first_byte: 2s, body: 2s }}, expect: {{ status: [200-299] }} }}
  targets: {{ class: inside, fresh_for: 2m, target_health: {{ every: 5s }} }}
{errors}judge: {{ success_below: 95%, window: 15s, sustain: 10s, vantages: 2, classes: 2, healthy_hosts_below: 50% }}
shift: {{ ramp: [100%], hold: 1m, spare: 0%, overflow: spill, last_resort: never, unready: hold }}
failback: manual
guards: {{ cooldown: 30s, shifts: {{ max: 4, within: 1h }}, latch: {{ after: 9, within: 24h }}, standby_healthy_hosts: 50% }}
tell: {{ channels: [ {{ command: ["/bin/true"] }} ], status_every: 15m }}
"#
    )
}

fn compiled(text: &str) -> Policy {
    match policy::load(text, "matrix.yaml") {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}
