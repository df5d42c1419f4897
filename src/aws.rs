//! The AWS edge: the only place where SDK types appear. It never decides.
//!
//! One file per service, `convert` between the SDK's types and ours, `fail` for what may be believed
//! after a call went wrong. Each service file lists the IAM actions it uses beside its client;
//! `infra/iam/policy.json` allows their union and nothing else, and a test holds the two together.

/// What a client of one service is configured with: where it calls, how long it waits, how often it tries.
///
/// A macro, because every service's crate has a builder type of its own and no trait is common to them.
macro_rules! configured {
    ($sdk:ident, $base:expr, $service:expr, $aws_region:expr, $call:expr) => {{
        let (base, aws_region, call): (&$crate::aws::Base, &str, _) = ($base, $aws_region, $call);
        let mut config = $sdk::config::Builder::from(&base.sdk)
            .region(::aws_config::Region::new(aws_region.to_owned()))
            .retry_config($crate::aws::Base::retries(call))
            .timeout_config(base.timeouts(call));
        if let Some(url) = base.settings.endpoint($service, aws_region) {
            config.set_endpoint_url(Some(url.to_owned()));
        }
        config
    }};
}

mod account;
mod arc;
mod balancer;
mod body;
mod checks;
mod cloudwatch;
mod convert;
mod elb;
mod fail;
mod pace;
mod pages;
mod route53;
mod s3;
mod session;
mod settings;
mod sns;
mod sqs;
mod tree;
mod unknown;
mod words;
mod zonal;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use crate::policy::ArcLever;
use crate::ports;
use crate::ports::{
    Account, Configurations, HealthChecks, Metrics, Objects, Pages, Queue, TargetHealth, Topics,
    Weights, ZonalShifts,
};

pub use arc::{Cluster, ClusterSpec, Dice};
pub use settings::{Call, Endpoint, MalformedEndpoint, Service, Settings, Timeouts};

/// Every IAM action that some client here uses.
pub fn actions() -> impl Iterator<Item = &'static str> {
    let clients = [
        route53::ACTIONS,
        checks::ACTIONS,
        elb::ACTIONS,
        balancer::ACTIONS,
        cloudwatch::ACTIONS,
        s3::ACTIONS,
        arc::ACTIONS,
        sqs::ACTIONS,
        sns::ACTIONS,
        pages::ACTIONS,
        zonal::ACTIONS,
    ];
    clients.into_iter().flatten().copied()
}

/// Every IAM action of `leeward doctor`. All of them read.
pub fn preflight_actions() -> impl Iterator<Item = &'static str> {
    let looks = ["route53:ListResourceRecordSets"];
    [account::ACTIONS, checks::ACTIONS, elb::ACTIONS, s3::READS, arc::READS]
        .into_iter()
        .flatten()
        .copied()
        .chain(looks)
}

/// The ports that AWS answers.
#[derive(Debug, Clone)]
pub struct Edge {
    pub weights: Arc<dyn Weights>,
    pub targets: Arc<dyn TargetHealth>,
    pub metrics: Arc<dyn Metrics>,
    pub queues: Arc<dyn Queue>,
    clusters: Arc<Clusters>,
    pub account: Arc<dyn Account>,
    pub topics: Arc<dyn Topics>,
    pub pages: Arc<dyn Pages>,
    pub configurations: Arc<dyn Configurations>,
    pub objects: Arc<dyn Objects>,
    pub checks: Arc<dyn HealthChecks>,
    pub zonal_shifts: Arc<dyn ZonalShifts>,
    sessions: SharedCredentialsProvider,
}

impl Edge {
    /// Reads the SDK's standard environment and files. Makes no call: credentials are fetched with the
    /// first request, so a missing one is that request's failure and no reason not to start.
    pub async fn connect(settings: &Settings) -> Self {
        let sessions = session::Sessions::new(issuers(settings).await, Arc::clone(&settings.clock));
        let sessions = SharedCredentialsProvider::new(sessions);
        // The behaviour version is named, not `latest`: an update of the SDK must not change timeouts
        // or retries behind our back.
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            // Every call names its region itself. Without this the SDK would ask the instance
            // metadata service for one on every start outside AWS.
            .region(Region::new(settings.control_region.clone()))
            // Its cache gives up a session whose renewal fails; ours is behind the provider.
            .identity_cache(IdentityCache::no_cache())
            .credentials_provider(sessions.clone());
        let base = Base { sdk: loader.load().await, settings: settings.clone() };
        Self {
            weights: Arc::new(route53::Route53::new(&base)),
            account: Arc::new(account::AwsAccount::new(&base)),
            checks: Arc::new(checks::Checks::new(&base)),
            objects: Arc::new(s3::S3::new(base.clone())),
            targets: Arc::new(elb::Elb::new(base.clone())),
            configurations: balancer::Balancers::new(base.clone()),
            metrics: Arc::new(cloudwatch::CloudWatch::new(base.clone())),
            queues: Arc::new(sqs::Sqs::new(base.clone())),
            topics: Arc::new(sns::Sns::new(base.clone())),
            pages: Arc::new(pages::S3Pages::new(base.clone())),
            zonal_shifts: Arc::new(zonal::Zonal::new(base.clone())),
            clusters: Arc::new(Clusters { base, writes: Mutex::default() }),
            sessions,
        }
    }

    /// Keeps a session at hand where nothing is asked of AWS on a calm day: on another kind of day nobody
    /// may issue one. Never ends.
    pub async fn stay_ready(self) {
        loop {
            // What went wrong was logged.
            let _ = self.sessions.provide_credentials().await;
            tokio::time::sleep(READY_EVERY).await;
        }
    }

    /// The routing controls of one service. Services of the same cluster share its pace.
    pub fn cluster(&self, spec: ClusterSpec) -> Cluster {
        self.clusters.make(spec)
    }

    /// The clusters that policies name.
    pub fn clusters(&self) -> Arc<dyn ports::Clusters> {
        Arc::<Clusters>::clone(&self.clusters)
    }
}

/// What clusters are made from, and how fast each may be written to, by its addresses.
#[derive(Debug)]
struct Clusters {
    base: Base,
    writes: Mutex<BTreeMap<Vec<String>, Arc<pace::Recent>>>,
}

impl Clusters {
    fn make(&self, spec: ClusterSpec) -> Cluster {
        let mut addresses: Vec<String> =
            spec.endpoints.iter().map(|(_, url)| url.clone()).collect();
        addresses.sort();
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = Arc::clone(writes.entry(addresses).or_insert_with(|| Arc::new(arc::writes())));
        Cluster::new(&self.base, spec, writes)
    }
}

impl ports::Clusters for Clusters {
    fn cluster(&self, lever: &ArcLever) -> Arc<dyn ports::Switches> {
        Arc::new(self.make(ClusterSpec::from(lever)))
    }
}

/// How often it is seen to that there is a session. It is renewed much more seldom than that.
const READY_EVERY: Duration = Duration::from_secs(60);

/// STS is asked in so many regions: one may be sick, and a second one as well.
const STS_REGIONS_MAX: usize = 3;

/// Who is asked for credentials, in this order.
async fn issuers(settings: &Settings) -> Vec<session::Issuer> {
    if let Some(source) = settings.credentials.clone() {
        return vec![session::Issuer { region: "none".to_owned(), source }];
    }
    let home = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .region()
        .await;
    let mut regions: Vec<String> = home.iter().map(ToString::to_string).collect();
    for region in &settings.sts_regions {
        if !regions.contains(region) {
            regions.push(region.clone());
        }
    }
    if regions.is_empty() {
        regions.push(settings.control_region.clone());
    }
    let mut issuers = Vec::new();
    for region in regions.iter().take(STS_REGIONS_MAX) {
        issuers.push(session::Issuer::standard(region).await);
    }
    issuers
}

/// Attempts of a call that only reads, the first one included.
const READ_ATTEMPTS_MAX: u32 = 3;

/// What all clients are made from. Clones share credentials, connections and caches.
#[derive(Clone)]
struct Base {
    sdk: SdkConfig,
    settings: Settings,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Base {
    fn timeouts(&self, call: Call) -> TimeoutConfig {
        let timeouts = self.settings.timeouts;
        let attempt = timeouts.attempt(call);
        TimeoutConfig::builder()
            .connect_timeout(timeouts.connect)
            .read_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .operation_timeout(timeouts.whole(call))
            .build()
    }

    /// Standard mode, never adaptive: its client-side limiter sleeps past our own timeouts and then
    /// reports a time-out in place of `Throttling`, and it is shared by all clients of the process.
    fn retries(call: Call) -> RetryConfig {
        let attempts = match call {
            // A change is tried once: whether and when to try again is the executor's to decide,
            // out of our own budget and after reading what became of the first try.
            // A switch is tried at the next endpoint of its cluster instead. A poll is repeated by
            // whoever polls; a message that was received twice counts once. What people are told is
            // tried again by whoever tells it.
            Call::Change | Call::Switch | Call::Poll | Call::Tell => 1,
            // That of a gate is for reading it: it is written by clients that try once.
            Call::List | Call::Status | Call::Targets | Call::Metrics | Call::Gate => {
                READ_ATTEMPTS_MAX
            }
        };
        RetryConfig::standard().with_max_attempts(attempts)
    }
}

/// One client per AWS region, made when first needed.
struct PerRegion<C> {
    clients: Mutex<BTreeMap<String, C>>,
}

impl<C> fmt::Debug for PerRegion<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerRegion").finish_non_exhaustive()
    }
}

impl<C: Clone> PerRegion<C> {
    fn new() -> Self {
        Self { clients: Mutex::new(BTreeMap::new()) }
    }

    fn client(&self, aws_region: &str, make: impl FnOnce() -> C) -> C {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(aws_region.to_owned()).or_insert_with(make).clone()
    }
}
