//! What Route 53 answers, from records and health checks: a model of the documented rules. No IO.
//!
//! The rules are those of the Developer Guide: "How Route 53 chooses records when health checking is
//! configured", "How Amazon Route 53 determines whether a health check is healthy", "Values that you
//! specify when you create or update health checks", and of the API reference (`ResourceRecordSet`,
//! `HealthCheckConfig`). What real resolvers make of it, and how long the last step from a verdict to
//! an answer takes, is told nowhere and is not in here.

use std::collections::BTreeMap;
use std::time::Duration;

/// Healthy if more than this part of the checkers say so (Developer Guide, "How Amazon Route 53
/// determines whether a health check is healthy"). AWS says that it may change.
const CHECKERS_PART: f64 = 0.18;

/// What a health check, or a target, is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Healthy,
    Unhealthy,
}

impl Health {
    pub const fn of(healthy: bool) -> Self {
        if healthy { Self::Healthy } else { Self::Unhealthy }
    }

    #[must_use]
    pub const fn inverted(self) -> Self {
        match self {
            Self::Healthy => Self::Unhealthy,
            Self::Unhealthy => Self::Healthy,
        }
    }
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub what: Watches,
    /// Its verdict is turned round.
    pub inverted: bool,
    /// It looks no more and counts as healthy; turned round, as unhealthy.
    pub disabled: bool,
}

impl HealthCheck {
    /// As the console makes one: neither inverted nor disabled.
    pub const fn new(what: Watches) -> Self {
        Self { what, inverted: false, disabled: false }
    }
}

/// What a health check goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watches {
    /// An address: how many of the checkers find it healthy. `None` before the first look, when it
    /// counts as healthy.
    Endpoint { found: Option<Found> },
    /// Other checks, of which so many must be healthy. With 0 it is always healthy, with more than there
    /// are never.
    Calculated { threshold: u32, children: Vec<String> },
    /// The data stream of an alarm's metric.
    Metric { says: Option<Health>, without_data: WithoutData },
    /// A routing control: `On` is healthy.
    RecoveryControl(Health),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub healthy: u32,
    pub checkers: u32,
}

/// What a metric without data counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutData {
    Healthy,
    Unhealthy,
    /// `None` for a new check, which counts as healthy.
    LastKnown(Option<Health>),
}

/// Health checks by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks(pub BTreeMap<String, HealthCheck>);

/// A set of checks that Route 53 does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    #[error("there is no health check `{0}`")]
    NoSuchCheck(String),
    #[error("calculated check `{parent}` has the calculated check `{child}` below it")]
    Nested { parent: String, child: String },
}

impl Checks {
    /// The verdict of one check.
    pub fn verdict(&self, id: &str) -> Result<Health, Unsound> {
        let check = self.0.get(id).ok_or_else(|| Unsound::NoSuchCheck(id.to_owned()))?;
        let seen = if check.disabled { Health::Healthy } else { self.seen(id, &check.what)? };
        Ok(if check.inverted { seen.inverted() } else { seen })
    }

    fn seen(&self, id: &str, what: &Watches) -> Result<Health, Unsound> {
        Ok(match what {
            Watches::Endpoint { found: None } => Health::Healthy,
            Watches::Endpoint { found: Some(found) } => {
                let needed = CHECKERS_PART * f64::from(found.checkers);
                Health::of(f64::from(found.healthy) > needed)
            }
            Watches::Calculated { threshold, children } => {
                let mut healthy = 0;
                for child in children {
                    let known = self.0.get(child).map(|child| &child.what);
                    if matches!(known, Some(Watches::Calculated { .. })) {
                        let (parent, child) = (id.to_owned(), child.clone());
                        return Err(Unsound::Nested { parent, child });
                    }
                    healthy += u32::from(self.verdict(child)? == Health::Healthy);
                }
                Health::of(healthy >= *threshold)
            }
            Watches::Metric { says: Some(health), .. } | Watches::RecoveryControl(health) => {
                *health
            }
            Watches::Metric { says: None, without_data } => match without_data {
                WithoutData::Healthy => Health::Healthy,
                WithoutData::Unhealthy => Health::Unhealthy,
                WithoutData::LastKnown(last) => last.unwrap_or(Health::Healthy),
            },
        })
    }

    /// Whether a record may be answered: its check, and what its alias points to, must both be healthy. A
    /// record with neither is always healthy.
    pub fn eligible(&self, record: &Record) -> Result<Health, Unsound> {
        let own = record.check.as_deref().map_or(Ok(Health::Healthy), |id| self.verdict(id))?;
        let target = record.target.unwrap_or(Health::Healthy);
        Ok(Health::of(own == Health::Healthy && target == Health::Healthy))
    }
}

/// What decides about one record of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub check: Option<String>,
    /// For an alias with `EvaluateTargetHealth`: how its target is.
    pub target: Option<Health>,
}

/// The answers of a weighted group, by share. Records of one key share what they get.
pub fn weighted<K: Ord + Clone>(
    records: impl IntoIterator<Item = (K, u8, Health)>,
) -> BTreeMap<K, f64> {
    let records: Vec<(K, u8, Health)> = records.into_iter().collect();
    let parts =
        parts(&records.iter().map(|(_, weight, health)| (*weight, *health)).collect::<Vec<_>>());
    let sum = parts.iter().copied().map(f64::from).sum::<f64>();
    let mut shares = BTreeMap::new();
    for ((key, _, _), part) in records.into_iter().zip(parts) {
        *shares.entry(key).or_default() += f64::from(part) / sum;
    }
    shares
}

/// By which parts the records of a weighted group are drawn, in their order. Not all are 0 unless there
/// is no record.
///
/// Healthy records with weight are answered by weight. If there is none, healthy records of weight 0 are,
/// alike: with health checks weight 0 is a standby of last resort, without them it is off. If nothing is
/// healthy, everything counts as healthy. Where every weight is 0, all are answered alike.
pub fn parts(records: &[(u8, Health)]) -> Vec<u32> {
    let by = |part: &dyn Fn(u8, Health) -> u32| -> Option<Vec<u32>> {
        let parts: Vec<u32> =
            records.iter().map(|(weight, health)| part(*weight, *health)).collect();
        parts.iter().any(|part| *part > 0).then_some(parts)
    };
    let healthy = |health| u32::from(health == Health::Healthy);
    let zero = |weight| u32::from(weight == 0);
    by(&|weight, health| u32::from(weight) * healthy(health))
        .or_else(|| by(&|weight, health| zero(weight) * healthy(health)))
        .or_else(|| by(&|weight, _| u32::from(weight)))
        .unwrap_or_else(|| vec![1; records.len()])
}

/// Which of the two records of a failover pair is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    Primary,
    Secondary,
}

/// The primary if it is healthy, else the secondary if that is, else the primary.
pub fn failover(primary: Health, secondary: Health) -> Answered {
    match (primary, secondary) {
        (Health::Unhealthy, Health::Healthy) => Answered::Secondary,
        (Health::Healthy, _) | (Health::Unhealthy, Health::Unhealthy) => Answered::Primary,
    }
}

/// How long it takes until the last checker has changed its mind, from least to most.
///
/// Checkers are not coordinated: each looks at its own time, the first within one interval, and changes
/// its verdict after `failures` looks in a row, in both directions alike.
pub fn flips(every: Duration, failures: u32) -> (Duration, Duration) {
    (every * failures.saturating_sub(1), every * failures)
}

/// How long until clients that keep to the time to live have the new answer, at most: the checks, and
/// answers given just before.
pub fn in_force_within(every: Duration, failures: u32, ttl: Duration) -> Duration {
    flips(every, failures).1 + ttl
}
