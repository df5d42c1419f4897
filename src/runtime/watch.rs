//! Looks at everything a policy names, each at its own rhythm, and hands the samples to the round.
//!
//! Silence is said aloud: a source that was asked and did not answer gives a sample that says so, and
//! a sample never says more than was seen. Every look has an owner that notices its end.

mod job;
mod look;
mod share;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc, watch as channel};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::domain::{SignalName, VantageName};
use crate::health::{Measure, Sample};
use crate::pace::Pacer;
use crate::policy::{Class, Policy, Probe};
use crate::ports::{Clock, Metrics, TargetHealth};
use crate::probe::Target;
use crate::runtime::peer::Readings;
use crate::telemetry::{ByService, BySignal, Numbers};

use job::{Job, jobs};
use look::Looker;

/// Samples that wait for the next round. A round takes them every few seconds; at 100 sources a
/// second this is forty seconds of them.
pub const SAMPLES_MAX: usize = 4096;
/// Looks under way at once, over all services: sockets and handshakes of one process.
pub const IN_FLIGHT_MAX: usize = 64;
/// A look that takes longer than any sum of time-outs is given up.
const LOOK_MAX: Duration = Duration::from_secs(120);
/// Before a watcher that died is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// What looks outwards from this process.
#[async_trait]
pub trait Prober: Send + Sync + fmt::Debug {
    async fn probe(
        &self,
        signal: &SignalName,
        class: Class,
        spec: &Probe,
        target: &Target,
        vantage: &VantageName,
    ) -> Sample;

    async fn beacon(&self, beacon: &Beacon) -> Sample;

    /// What a peer saw, or why it could not be asked.
    async fn readings(&self, url: &str, policy: &Policy) -> Result<Readings, String>;
}

/// A neutral place, and from where it is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Beacon {
    pub signal: SignalName,
    pub class: Class,
    pub url: String,
    pub timeout: Duration,
    pub vantage: VantageName,
    pub source: Option<std::net::IpAddr>,
}

/// Everything a watcher needs from outside.
#[derive(Debug, Clone)]
pub struct Sources {
    pub prober: Arc<dyn Prober>,
    pub targets: Option<Arc<dyn TargetHealth>>,
    pub metrics: Option<Arc<dyn Metrics>>,
    pub clock: Arc<dyn Clock>,
    pub numbers: Arc<Numbers>,
    /// Shared by all services.
    pub in_flight: Arc<Semaphore>,
    /// Shared by all services, and with the refreshes of their balancers.
    pub pace: Arc<Pacer>,
    /// Everything is looked at out of rhythm when this changes; `None` if nobody ever asks for it.
    pub look_now: Option<channel::Receiver<()>>,
}

/// Watches all signals of `policy` until `stop`. The samples go to `samples`; if nobody takes them in
/// time, the newest are dropped and counted.
pub async fn watch(
    policy: Arc<Policy>,
    sources: Sources,
    samples: mpsc::Sender<Sample>,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    let mut owned: HashMap<Id, Arc<Job>> = HashMap::new();
    let start = |job: &Arc<Job>, after: Duration, tasks: &mut JoinSet<()>| {
        let looker = Looker::new(Arc::clone(&policy), sources.clone());
        let line = Line {
            service: policy.service.to_string(),
            samples: samples.clone(),
            numbers: Arc::clone(&sources.numbers),
        };
        let asked = sources.look_now.clone();
        tasks.spawn(repeat(Arc::clone(job), after, looker, line, asked, stop.clone())).id()
    };
    for job in jobs(&policy) {
        let job = Arc::new(job);
        owned.insert(start(&job, job.first_after, &mut tasks), job);
    }
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => break,
            ended = tasks.join_next_with_id(), if !tasks.is_empty() => ended,
        };
        let (id, why) = match ended {
            Some(Ok((id, ()))) => (id, "it returned".to_owned()),
            Some(Err(error)) => (error.id(), error.to_string()),
            None => break,
        };
        let Some(job) = owned.remove(&id) else { continue };
        if stop.is_cancelled() || samples.is_closed() {
            continue;
        }
        let service = ByService { service: policy.service.to_string() };
        sources.numbers.watcher_deaths.get_or_create(&service).inc();
        error!(service = %policy.service, job = %job, why, "A watcher ended and is started again.");
        owned.insert(start(&job, RESTART_AFTER, &mut tasks), job);
    }
    tasks.shutdown().await;
}

/// The way of samples from one watcher to the round.
struct Line {
    service: String,
    samples: mpsc::Sender<Sample>,
    numbers: Arc<Numbers>,
}

impl Line {
    fn send(&self, sample: Sample) {
        let labels = BySignal {
            service: self.service.clone(),
            signal: sample.signal.to_string(),
            reading: word(&sample.measure),
        };
        self.numbers.samples.get_or_create(&labels).inc();
        if let Err(mpsc::error::TrySendError::Full(_)) = self.samples.try_send(sample) {
            let labels = ByService { service: self.service.clone() };
            self.numbers.samples_dropped.get_or_create(&labels).inc();
        }
    }
}

/// What one sample says by itself. A bare number says nothing without the policy.
fn word(measure: &Measure) -> &'static str {
    match measure {
        Measure::Probe { failure: None, success, .. } | Measure::Beacon { success }
            if *success > 0.0 =>
        {
            "good"
        }
        Measure::Verdict { value: Some(_), bad: false } => "good",
        Measure::Probe { .. }
        | Measure::Beacon { .. }
        | Measure::Verdict { value: Some(_), bad: true } => "bad",
        Measure::HealthyHosts(Some(_))
        | Measure::Zones(_)
        | Measure::BalancerErrors(Some(_))
        | Measure::TargetErrors(Some(_))
        | Measure::Requests(Some(_))
        | Measure::Capacity(Some(_))
        | Measure::ReplicationLag(Some(_))
        | Measure::Latency(Some(_)) => "number",
        Measure::HealthyHosts(None)
        | Measure::BalancerErrors(None)
        | Measure::TargetErrors(None)
        | Measure::Requests(None)
        | Measure::Capacity(None)
        | Measure::ReplicationLag(None)
        | Measure::Latency(None)
        | Measure::Verdict { value: None, .. }
        | Measure::NoProbe { .. }
        | Measure::Silence { .. } => "unknown",
    }
}

/// Until somebody asks for a look; for ever if nobody can.
async fn look_now(asked: &mut Option<channel::Receiver<()>>) {
    let changed = match asked {
        Some(asked) => asked.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

async fn repeat(
    job: Arc<Job>,
    after: Duration,
    mut looker: Looker,
    line: Line,
    mut asked: Option<channel::Receiver<()>>,
    stop: CancellationToken,
) {
    let rhythm = async {
        sleep(after).await;
        let mut beat = interval_at(Instant::now(), job.every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = look_now(&mut asked) => {}
            }
            let seen = timeout(LOOK_MAX, looker.look(&job)).await;
            let seen = seen.unwrap_or_else(|_| looker.silence(&job, "the look took too long"));
            for sample in seen {
                line.send(sample);
            }
            if line.samples.is_closed() {
                return;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = rhythm => {}
    }
}
