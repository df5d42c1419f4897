//! What Leeward says about itself: log lines for people and machines, and the numbers it exports.
//!
//! The numbers live in a registry that this process owns; nothing is global but the log subscriber.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For eyes.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Log lines that are written without `RUST_LOG`.
const DEFAULT_FILTER: &str = "info,hyper=warn,hickory_proto=error,hickory_net=error";

/// Sends log lines to stderr from now on. A second call in one process changes nothing.
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The only failure is that a subscriber is there already, as in tests.
    let _ = match format {
        LogFormat::Text => {
            // As all other output: `NO_COLOR` and no terminal mean no colour.
            let choice = anstream::AutoStream::choice(&std::io::stderr());
            let colour = choice != anstream::ColorChoice::Never;
            lines.with_ansi(colour).with_target(false).try_init()
        }
        LogFormat::Json => {
            lines.json().flatten_event(true).with_span_list(false).with_target(false).try_init()
        }
    };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByService {
    pub service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySignal {
    pub service: String,
    pub signal: String,
    /// What one sample says by itself: `good`, `bad`, `unknown` or just a `number`.
    pub reading: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByRegion {
    pub service: String,
    pub region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDiagnosis {
    pub service: String,
    pub diagnosis: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByCall {
    pub lever: &'static str,
    pub call: &'static str,
    /// `done`, `throttled`, `busy`, `conflict`, `refused`, `not_found`, `not_sent` or `unknown`.
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDoor {
    pub service: String,
    pub door: &'static str,
    /// `handled`, `duplicate`, `nothing`, `aside` or `later`.
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByVersion {
    pub version: &'static str,
}

type Number = Gauge<f64, AtomicU64>;
type Whole = Gauge<i64, AtomicI64>;

/// Every number that is exported, with its handles. Names begin with `leeward_`.
pub struct Numbers {
    registry: Registry,
    pub rounds: Family<ByService, Counter>,
    pub round_seconds: Family<ByService, Histogram, fn() -> Histogram>,
    pub round_failures: Family<ByService, Counter>,
    pub last_round: Family<ByService, Number>,
    pub samples: Family<BySignal, Counter>,
    pub samples_dropped: Family<ByService, Counter>,
    pub watcher_deaths: Family<ByService, Counter>,
    /// 1 good, 0 unknown, -1 bad.
    pub region_reading: Family<ByRegion, Whole>,
    pub region_share: Family<ByRegion, Number>,
    /// 1 for the diagnoses that hold now, 0 for those that did earlier in this run.
    pub diagnosis: Family<ByDiagnosis, Whole>,
    pub epoch: Family<ByService, Whole>,
    pub pin_active: Family<ByService, Whole>,
    pub armed: Family<ByService, Whole>,
    pub order_open: Family<ByService, Whole>,
    pub policy_reload_ok: Family<ByService, Whole>,
    pub calls: Family<ByCall, Counter>,
    pub events: Family<ByDoor, Counter>,
    pub journal_append_seconds: Histogram,
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbers").finish_non_exhaustive()
    }
}

/// From 1 ms to about 16 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 8))
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}

impl Numbers {
    pub fn new() -> Self {
        let mut numbers = Self {
            registry: Registry::with_prefix("leeward"),
            rounds: Family::default(),
            round_seconds: Family::new_with_constructor(seconds),
            round_failures: Family::default(),
            last_round: Family::default(),
            samples: Family::default(),
            samples_dropped: Family::default(),
            watcher_deaths: Family::default(),
            region_reading: Family::default(),
            region_share: Family::default(),
            diagnosis: Family::default(),
            epoch: Family::default(),
            pin_active: Family::default(),
            armed: Family::default(),
            order_open: Family::default(),
            policy_reload_ok: Family::default(),
            calls: Family::default(),
            events: Family::default(),
            journal_append_seconds: seconds(),
        };
        numbers.register();
        numbers
    }

    fn register(&mut self) {
        let build = Family::<ByVersion, Whole>::default();
        build.get_or_create(&ByVersion { version: env!("CARGO_PKG_VERSION") }).set(1);
        let r = &mut self.registry;
        r.register("build", "The version that runs", build);
        r.register("rounds", "Rounds that were finished", self.rounds.clone());
        r.register_with_unit(
            "round",
            "Time one round took",
            Unit::Seconds,
            self.round_seconds.clone(),
        );
        r.register("round_failures", "Rounds that ended in an error", self.round_failures.clone());
        r.register_with_unit(
            "last_round_timestamp",
            "When the last round ended, since 1970",
            Unit::Seconds,
            self.last_round.clone(),
        );
        r.register("samples", "Samples that arrived, by what they say", self.samples.clone());
        r.register(
            "samples_dropped",
            "Samples lost because a round took too long",
            self.samples_dropped.clone(),
        );
        r.register(
            "watcher_deaths",
            "Watchers that ended by themselves and were started again",
            self.watcher_deaths.clone(),
        );
        r.register(
            "region_reading",
            "1 good, 0 unknown, -1 bad; unknown is never good",
            self.region_reading.clone(),
        );
        r.register(
            "region_share",
            "Part of the answers that point to the region, as last read",
            self.region_share.clone(),
        );
        r.register("diagnosis", "1 while the diagnosis holds", self.diagnosis.clone());
        r.register("epoch", "Counts the splits ever ordered", self.epoch.clone());
        r.register("pin_active", "1 while a human holds the service", self.pin_active.clone());
        r.register(
            "armed",
            "1 if the service may move traffic by itself: mode `auto`, no pin",
            self.armed.clone(),
        );
        r.register("order_open", "1 while an order is not over", self.order_open.clone());
        r.register(
            "policy_reload_ok",
            "0 while a changed policy file is refused and the old one is in force",
            self.policy_reload_ok.clone(),
        );
        r.register("calls", "Calls of levers by outcome", self.calls.clone());
        r.register(
            "events",
            "Events from outside by the door they came through and what became of them",
            self.events.clone(),
        );
        r.register_with_unit(
            "journal_append",
            "Time until a journal line was durable",
            Unit::Seconds,
            self.journal_append_seconds.clone(),
        );
    }

    /// The whole registry in the OpenMetrics text format.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_the_prefix_and_help() {
        let numbers = Numbers::new();
        numbers.rounds.get_or_create(&ByService { service: "shop".to_owned() }).inc();
        let text = numbers.render().unwrap();
        assert!(text.contains("leeward_rounds_total{service=\"shop\"} 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            assert!(line.starts_with("# TYPE leeward_"), "{line}");
        }
    }
}
