//! What tests make up: time, and what is seen of a region.

use std::sync::Arc;
#[cfg(feature = "aws")]
use std::sync::atomic::{AtomicI64, Ordering};
#[cfg(feature = "aws")]
use std::time::Duration;

use leeward::domain::Timestamp;
use leeward::health::{About, Measure, Sample};
use leeward::policy::Class;
use leeward::ports::Clock;
use tokio::time::Instant;

/// Stands until a test moves it.
#[cfg(feature = "aws")]
#[derive(Debug)]
pub(crate) struct StepClock(AtomicI64);

#[cfg(feature = "aws")]
impl StepClock {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_800_000_000_000)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

#[cfg(feature = "aws")]
impl Clock for StepClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// The time of a paused runtime.
#[derive(Debug)]
pub(crate) struct Virtual(Instant);

impl Virtual {
    pub(crate) fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_000_000).plus(self.0.elapsed())
    }
}

/// Taken and heard now.
pub(crate) fn sample(
    now: Timestamp,
    signal: &str,
    class: Class,
    about: About,
    measure: Measure,
) -> Sample {
    let signal = signal.parse().unwrap();
    Sample { signal, class, about, measure, taken_at: now, heard_at: now }
}

pub(crate) fn about(region: &str, balancer: &str) -> About {
    About {
        region: Some(region.parse().unwrap()),
        balancer: Some(balancer.parse().unwrap()),
        vantage: None,
    }
}

/// What probes see from each vantage: this part of them succeeds.
pub(crate) fn probes(
    now: Timestamp,
    about: &About,
    vantages: [&str; 2],
    success: f64,
) -> [Sample; 2] {
    vantages.map(|vantage| {
        let about = About { vantage: Some(vantage.parse().unwrap()), ..about.clone() };
        let measure = Measure::Probe { success, latency_ms: None, failure: None };
        sample(now, "probes", Class::Outside, about, measure)
    })
}

/// What probes and metrics say of a balancer that serves this part of its requests.
pub(crate) fn serving(now: Timestamp, about: About, vantages: [&str; 2], part: f64) -> Vec<Sample> {
    let mut samples = probes(now, &about, vantages, part).to_vec();
    let hosts = Measure::HealthyHosts(Some(part));
    samples.push(sample(now, "metrics", Class::Traffic, about.clone(), hosts));
    let errors = Measure::TargetErrors(Some(1.0 - part));
    samples.push(sample(now, "metrics", Class::Traffic, about, errors));
    samples
}
