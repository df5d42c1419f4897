//! A service with two levers of the data plane, an AWS on the wire behind them, and time by the round.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use leeward::aws::{Edge, Settings};
use leeward::domain::InAnswers;
use leeward::health::Sample;
use leeward::journal::{Journal, Record};
use leeward::memory::{Acts, Asked, Entry, Outcome, Request};
use leeward::pace::Pacer;
use leeward::policy::{self, Lever, LeverKind, Pace, Policy};
use leeward::ports::{Clock, Levers};
use leeward::runtime::gates::Board;
use leeward::runtime::round::Service;

use crate::aws_wire::gates::checkers;
use crate::aws_wire::service::folded;
use crate::aws_wire::{credentials, kind_of, settings};
use crate::made_up::{StepClock, about, serving};
use crate::wire::cluster::{Cluster, UPDATE, control};
use crate::wire::http;
use crate::wire::proxy::{Fault, Proxy, Rule, Seen};
use crate::wire::servers::{self, Server};
use crate::wire::sts::{self, Sts};

pub(super) const EU: &str = "eu-west-1";
pub(super) const CENTRAL: &str = "eu-central-1";
const STEP: Duration = Duration::from_secs(5);
const BUCKET: &str = "rescue-gates";
/// How the checkers of a health check find what they look at.
pub(super) const STATUS: &str = "GetHealthCheckStatus";
/// Shorter than the calls that need a session: what a call came to depends on no other time-out.
const SESSION_WITHIN: Duration = Duration::from_millis(1000);
/// Ten minutes.
const ROUNDS_MAX: usize = 120;

/// Which lever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    ArcFirst,
    GatesFirst,
}

pub(super) struct Bench {
    pub(super) order: Order,
    pub(super) cluster: Cluster,
    /// Before the bucket.
    pub(super) bucket: Proxy,
    /// Before whoever issues sessions.
    pub(super) sts: Proxy,
    _issuer: Sts,
    server: Arc<Server>,
    key: String,
    clock: Arc<StepClock>,
    policy: Policy,
    levers: Levers,
    service: Service,
    /// What the checkers of the gate find.
    published: Arc<AtomicBool>,
    lost: bool,
    writes_at_start: usize,
    flips_before: (usize, usize),
    told_before: usize,
    folder: tempfile::TempDir,
}

/// The lever as the policy of a shop in these two regions has it. It is done as early as a policy may say: nobody
/// sees whether it is in force.
pub(super) fn arc_lever(cluster: &Cluster) -> String {
    let endpoints: Vec<String> = cluster
        .addresses()
        .into_iter()
        .map(|(region, url)| format!("        {region}: \"{url}\"\n"))
        .collect();
    format!(
        "  - arc:\n      endpoints:\n{}      controls: {{ {EU}: \"{}\", {CENTRAL}: \"{}\" }}\n      ttl: 60s\n      \
         in_force_within: 10s\n      witness: none\n",
        endpoints.concat(),
        control("eu"),
        control("central"),
    )
}

fn gates_lever(key: &str) -> String {
    // Nobody answers at the address, so that nothing is seen from outside.
    format!(
        "  - gates:\n      regions:\n        {EU}: {{ s3: {{ bucket: {BUCKET}, key: {key}, aws_region: {CENTRAL}, url: \
         \"http://127.0.0.1:9/gate\" }} }}\n      check: {{ every: 10s, failures: 3 }}\n      ttl: 60s\n      \
         in_force_within: 2m\n      witness: none\n"
    )
}

fn compiled(order: Order, cluster: &Cluster, key: &str) -> Policy {
    let (arc, gates) = (arc_lever(cluster), gates_lever(key));
    let levers = match order {
        Order::ArcFirst => format!("{arc}{gates}"),
        Order::GatesFirst => format!("{gates}{arc}"),
    };
    let text = format!(
        r"version: 1
service: shop
mode: auto
regions:
  {EU}: {{ role: primary, weight: 100, balancers: {{ web: {{ carries: 100% }} }} }}
  {CENTRAL}: {{ role: standby, weight: 0, balancers: {{ web-central: {{ carries: 100% }} }} }}
vantages: {{ here: {{ source: 127.0.0.1 }}, there: {{ source: 127.0.0.50 }} }}
levers:
{levers}signals:
  probes: {{ class: outside, fresh_for: 30s, pushed: {{}} }}
  metrics: {{ class: traffic, fresh_for: 3m, pushed: {{}} }}
judge: {{ success_below: 95%, window: 15s, sustain: 10s, vantages: 2, classes: 2, healthy_hosts_below: 50% }}
shift: {{ ramp: [100%], hold: 1m, spare: 0%, overflow: spill, last_resort: never, unready: hold }}
failback: manual
guards: {{ cooldown: 30s, shifts: {{ max: 4, within: 1h }}, latch: {{ after: 9, within: 24h }}, standby_healthy_hosts: 50% }}
tell: {{ channels: [ {{ command: [/bin/true] }} ], status_every: 15m }}
"
    );
    match policy::load(&text, "rescue.yaml") {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

impl Bench {
    pub(super) async fn new(order: Order) -> Self {
        Self::at(order, &Arc::new(servers::ministack().await), 0, false).await
    }

    /// `number` keeps its object apart from those of others at the same server. `checked`: the policy names the health
    /// check of the gate, which is asked before the gate is called done.
    pub(super) async fn at(
        order: Order,
        server: &Arc<Server>,
        number: usize,
        checked: bool,
    ) -> Self {
        let cluster = Cluster::start(&[("eu", true), ("central", false)]).await;
        let bucket = Proxy::start(server.port).await;
        let there = format!(
            "<CreateBucketConfiguration><LocationConstraint>{CENTRAL}</LocationConstraint></CreateBucketConfiguration>"
        );
        // Made already, if others are at this server.
        http::call(server.port, "PUT", &format!("/{BUCKET}"), &there).await.unwrap();
        let clock = StepClock::start();
        let hands = Arc::clone(&clock);
        let issuer = Sts::start(move || hands.now(), |_| sts::Endpoint::Well).await;
        let sts = Proxy::start(issuer.port).await;
        let settings = Settings {
            credentials: Some(sessions(&sts).await),
            clock: Arc::<StepClock>::clone(&clock),
            ..settings(&bucket.url())
        };
        let edge = Edge::connect(&settings).await;
        let published = Arc::new(AtomicBool::new(false));
        let found = Arc::clone(&published);
        let told = Fault::rewrite(move |_| checkers(found.load(Ordering::SeqCst)));
        bucket.inject_last(STATUS, "", told);
        let key = format!("shop/{number}");
        let mut policy = compiled(order, &cluster, &key);
        let gates = policy.levers.iter_mut().find_map(|lever| match lever {
            Lever::Gates(gates) => Some(gates),
            Lever::Weights(_) | Lever::Arc(_) => None,
        });
        for slot in gates.unwrap().slots.values_mut().flatten().filter(|_| checked) {
            slot.health_check = Some("gate".to_owned());
        }
        let board = Board {
            objects: Some(Arc::clone(&edge.objects)),
            checks: Some(Arc::clone(&edge.checks)),
            clusters: Some(edge.clusters()),
            served: Arc::default(),
            holder: "one".to_owned(),
        };
        let levers = Levers { switchboard: Some(Arc::new(board)), ..Levers::default() }.of(&policy);
        let folder = tempfile::tempdir().unwrap();
        let service = service(&policy, &levers, &clock, &folder.path().join("journal"));
        Self {
            order,
            cluster,
            bucket,
            sts,
            _issuer: issuer,
            server: Arc::clone(server),
            key,
            clock,
            policy,
            levers,
            service,
            published,
            lost: false,
            writes_at_start: 0,
            flips_before: (0, 0),
            told_before: 0,
            folder,
        }
    }

    pub(super) async fn calm(&mut self) {
        self.service.start().await.unwrap();
        self.rounds(6).await;
    }

    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    pub(super) fn recover(&mut self) {
        self.lost = false;
    }

    /// Somebody asks for the way home.
    pub(super) fn go_home(&mut self) {
        let at = self.clock.now();
        let request = Request {
            by: "ana".to_owned(),
            reason: "it is mended".to_owned(),
            at,
            until: at.plus(Duration::from_secs(3600)),
            what: Asked::Failback,
            overrides: BTreeSet::new(),
            met_at: None,
        };
        self.service.ask(request).unwrap();
    }

    /// With a session at hand, as a running service has one.
    pub(super) async fn have_session(&mut self) {
        let gates = self.levers.switches(LeverKind::Gates).unwrap();
        // A machine with much else to do needs more than one try.
        for _ in 0..20 {
            if gates.standing().await.is_ok() {
                break;
            }
        }
    }

    /// So much later that the session in force is past half of its life, or over. What was seen before is old.
    pub(super) fn session_ages(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    fn samples(&self) -> Vec<Sample> {
        let now = self.clock.now();
        let seen = |name: &str, balancer| {
            let part = if self.lost && name == EU { 0.0 } else { 1.0 };
            serving(now, about(name, balancer), ["here", "there"], part)
        };
        [seen(EU, "web"), seen(CENTRAL, "web-central")].concat()
    }

    pub(super) async fn round(&mut self) -> Option<Outcome> {
        self.clock.advance(STEP);
        let samples = self.samples();
        let (_, published) = self.is_out().await;
        self.published.store(published, Ordering::SeqCst);
        self.service.round(samples, Vec::new()).await.unwrap().ended
    }

    pub(super) async fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.round().await;
        }
    }

    pub(super) async fn until_an_order_ends(&mut self) -> Outcome {
        for _ in 0..ROUNDS_MAX {
            if let Some(outcome) = self.round().await {
                return outcome;
            }
        }
        panic!("no order ends: {} {:?}", self.story(), self.service.last);
    }

    /// Until a lever keeps the region out of the answers.
    pub(super) async fn until_out(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.is_out().await != (false, false) {
                return;
            }
            self.round().await;
        }
        panic!("it is never left: {} {:?}", self.story(), self.service.last);
    }

    /// By routing control, and by gate.
    pub(super) async fn is_out(&mut self) -> (bool, bool) {
        let path = format!("/{BUCKET}/{}", self.key);
        let object = http::call(self.server.port, "GET", &path, "").await.unwrap();
        (!self.cluster.is_on("eu"), object.status() == 200)
    }

    /// Updates that were taken, and objects that were put.
    pub(super) fn writes(&self) -> (usize, usize) {
        (
            self.cluster.taken().len(),
            self.bucket.seen().iter().filter(|seen| self.is_put(seen)).count(),
        )
    }

    /// How often the control was turned, and how often the object came or went.
    pub(super) fn flips(&self) -> (usize, usize) {
        let written = self.bucket.seen().into_iter().filter(|seen| {
            let is_write = self.is_put(seen) || seen.action == self.delete();
            is_write && seen.forwarded && seen.status.is_some_and(|status| status < 300)
        });
        let (mut stands, mut count) = (false, 0);
        for put in written.map(|seen| self.is_put(&seen)) {
            count += usize::from(put != stands);
            stands = put;
        }
        let (controls, objects) = self.flips_before;
        (self.cluster.changes() - controls, count - objects)
    }

    /// What follows is counted and told by itself.
    pub(super) fn begin_again(&mut self) {
        self.flips_before = (0, 0);
        self.flips_before = self.flips();
        self.told_before = self.journal().len();
    }

    /// How the journal has it: out by routing control, and by gate.
    pub(super) fn believed(&self) -> (bool, bool) {
        let region = EU.parse().unwrap();
        let out = |kind| self.acts().stands(kind, &region) == InAnswers::Out;
        (out(LeverKind::Arc), out(LeverKind::Gates))
    }

    fn is_put(&self, seen: &Seen) -> bool {
        seen.forwarded && seen.action == self.put()
    }

    pub(super) fn put(&self) -> String {
        format!("PUT /{BUCKET}/{}", self.key)
    }

    pub(super) fn delete(&self) -> String {
        format!("DELETE /{BUCKET}/{}", self.key)
    }

    pub(super) fn get(&self) -> String {
        format!("GET /{BUCKET}/{}", self.key)
    }

    /// Calls of the lever under test that changed something: each of them would be one too many if it
    /// came twice.
    pub(super) fn effects(&self) -> usize {
        match self.order {
            Order::ArcFirst => self.cluster.changes(),
            Order::GatesFirst => self.writes().1,
        }
    }

    /// Every write of the lever under test goes like this from now on.
    pub(super) fn hold_up(&self, fault: &Fault) -> Vec<Rule> {
        match self.order {
            Order::ArcFirst => self
                .cluster
                .endpoints
                .iter()
                .map(|endpoint| endpoint.inject(UPDATE, "held up", fault.clone(), usize::MAX))
                .collect(),
            Order::GatesFirst => {
                vec![self.bucket.inject(&self.put(), "held up", fault.clone(), usize::MAX)]
            }
        }
    }

    pub(super) fn release(&self, rules: &[Rule]) {
        for rule in rules {
            self.bucket.relieve(rule);
            self.sts.relieve(rule);
            self.cluster.endpoints.iter().for_each(|endpoint| endpoint.relieve(rule));
        }
    }

    /// Rounds until a call is held up; then the process is no more.
    pub(super) async fn cut_off_while_held_up(&mut self, rules: &[Rule]) {
        let noted = |proxy: &Proxy| proxy.seen().iter().any(|seen| seen.fault.is_some());
        for _ in 0..ROUNDS_MAX {
            self.clock.advance(STEP);
            let samples = self.samples();
            let (bucket, endpoints) = (&self.bucket, &self.cluster.endpoints);
            let held = async {
                let is_held = || noted(bucket) || endpoints.iter().any(noted);
                while !is_held() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                biased;
                () = held => return,
                done = self.service.round(samples, Vec::new()) => drop(done.unwrap()),
            }
            assert!(rules.iter().all(|rule| rule.fired() == 0), "it was answered after all");
        }
        panic!("nothing was called: {}", self.story());
    }

    /// A new process on the same journal.
    pub(super) async fn start_again(&mut self) -> Option<Outcome> {
        self.writes_at_start = self.sent();
        let nowhere =
            service(&self.policy, &self.levers, &self.clock, &self.folder.path().join("other"));
        // The lock of the journal goes with the old process.
        self.service = nowhere;
        self.service =
            service(&self.policy, &self.levers, &self.clock, &self.folder.path().join("journal"));
        self.service.start().await.unwrap()
    }

    fn sent(&self) -> usize {
        self.cluster.count(UPDATE) + self.bucket.count(&self.put())
    }

    pub(super) fn writes_since_start(&self) -> usize {
        self.sent() - self.writes_at_start
    }

    /// The AWS regions that requests were signed for.
    pub(super) fn regions_called(&self) -> BTreeSet<String> {
        let signed = |seen: Seen| sts::signed_for(&seen.request);
        let endpoints = self.cluster.endpoints.iter().flat_map(Proxy::seen);
        self.bucket.seen().into_iter().chain(endpoints).filter_map(signed).collect()
    }

    pub(super) fn acts(&self) -> &Acts {
        &self.service.memory.acts
    }

    pub(super) fn journal(&self) -> Vec<Record> {
        Journal::read(&self.folder.path().join("journal")).unwrap()
    }

    /// What people were told, one after the other.
    #[expect(clippy::wildcard_enum_match_arm, reason = "other entries tell nobody")]
    pub(super) fn explained(&self) -> String {
        let told = self.journal().into_iter().filter_map(|record| match record.entry {
            Entry::Posted(letter) => Some(letter.note.text),
            _ => None,
        });
        told.collect::<Vec<_>>().join("\n")
    }

    /// What the journal says of orders, without repetitions.
    pub(super) fn story(&self) -> String {
        folded(self.journal()[self.told_before..].iter().filter_map(|record| word(&record.entry)))
    }
}

/// A role whose sessions are issued behind this proxy.
async fn sessions(sts: &Proxy) -> SharedCredentialsProvider {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(CENTRAL))
        .endpoint_url(sts.url())
        .credentials_provider(credentials())
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(SESSION_WITHIN).build())
        .retry_config(RetryConfig::disabled())
        .load()
        .await;
    let role = AssumeRoleProvider::builder("arn:aws:iam::111122223333:role/leeward");
    SharedCredentialsProvider::new(role.configure(&config).build().await)
}

fn service(policy: &Policy, levers: &Levers, clock: &Arc<StepClock>, path: &Path) -> Service {
    let (log, recovered) = Journal::open(path).unwrap();
    let pace = Arc::new(Pacer::new(Pace { requests_per_second: 2000.0, ..Pace::default() }));
    let clock: Arc<dyn Clock> = Arc::<StepClock>::clone(clock);
    let (policy, levers) = (policy.clone(), levers.clone());
    let mut service = Service::new(policy, levers, Box::new(log), clock, pace, "one".to_owned());
    service.memory.acts = recovered.acts;
    service
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other entries are no part of the story")]
pub(super) fn word(entry: &Entry) -> Option<String> {
    let by = |lever: &LeverKind, what: &str| match lever {
        LeverKind::Gates => format!("gate {what}"),
        LeverKind::Arc => format!("arc {what}"),
        LeverKind::Weights => format!("weights {what}"),
    };
    match entry {
        Entry::Intended(_) => Some("intended".to_owned()),
        Entry::Turning { turns, .. } if turns.is_empty() => None,
        Entry::Turning { .. } => Some("turning".to_owned()),
        Entry::Turned { turns, failure: None, .. } => {
            (!turns.is_empty()).then(|| "turned".to_owned())
        }
        Entry::Turned { lever, failure: Some(failure), .. }
        | Entry::LeverHeard { lever, failure: Some(failure) } => {
            Some(by(lever, &format!("failed ({})", kind_of(failure))))
        }
        Entry::Stood { lever, .. } => Some(by(lever, "read")),
        Entry::InSync { .. } => Some("in sync".to_owned()),
        Entry::Ended { outcome: Outcome::Done, .. }
        | Entry::BesideEnded { outcome: Outcome::Done } => Some("done".to_owned()),
        Entry::Ended { .. } | Entry::BesideEnded { .. } => Some("given up".to_owned()),
        _ => None,
    }
}
