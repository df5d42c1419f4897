//! What balancers count of trouble, beside their errors: whether a verdict with a name of its own is bad.

use super::assess::freshness;
use super::evidence::Evidence;
use crate::domain::{RegionName, Timestamp};
use crate::policy::{Policy, Source, Symptom};

impl Evidence {
    /// The symptoms that are seen in a region now.
    pub fn symptoms(&self, policy: &Policy, region: &RegionName, now: Timestamp) -> Vec<Symptom> {
        let Some(heard) = self.heard.get(region) else { return Vec::new() };
        let seen = heard.verdicts.iter().filter_map(|(name, class, series)| {
            let Source::Metric(metric) = &policy.signals.get(name)?.source else { return None };
            let newest = series.newest(now.minus(freshness(policy, *class)))?;
            metric.symptom.filter(|_| newest > 0.5)
        });
        let mut seen: Vec<Symptom> = seen.collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }
}
