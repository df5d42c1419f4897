//! Readings that Leewards exchange, so that each sees the regions from several places.
//!
//! A peer is believed only about what it probed itself, under the vantage name that our own policy
//! gives it, and only about signals, regions and balancers that our policy knows. No network here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{ServiceName, SignalName, Timestamp, VantageName};
use crate::health::{About, Measure, Sample};
use crate::policy::{Policy, Source};

/// The newest readings that are kept for peers, per service.
const READINGS_MAX: usize = 512;

/// The form on the wire. A peer of another version may say more: unknown fields are left aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    pub service: ServiceName,
    /// The peer's clock, so that ages can be told without trusting it to agree with ours.
    pub at: Timestamp,
    pub samples: Vec<Sample>,
}

/// Probes that were made here: the newest of each signal, region and balancer.
#[derive(Debug, Clone, Default)]
pub struct Own(BTreeMap<(SignalName, About), Sample>);

impl Own {
    /// Keeps it if it is a probe; everything else a peer can ask for itself.
    pub fn keep(&mut self, sample: &Sample) {
        let key = (sample.signal.clone(), sample.about.clone());
        if is_probe(sample) && (self.0.len() < READINGS_MAX || self.0.contains_key(&key)) {
            self.0.insert(key, sample.clone());
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn samples(&self) -> Vec<Sample> {
        self.0.values().cloned().collect()
    }
}

fn is_probe(sample: &Sample) -> bool {
    matches!(sample.measure, Measure::Probe { .. } | Measure::NoProbe { .. })
}

/// What came from one peer so far, so that a reading is taken in once.
#[derive(Debug, Clone, Default)]
pub struct Heard(BTreeMap<(SignalName, About), Timestamp>);

impl Heard {
    /// The new readings of a peer, as samples of ours.
    pub fn take(
        &mut self,
        policy: &Policy,
        vantage: &VantageName,
        readings: Readings,
        now: Timestamp,
    ) -> Vec<Sample> {
        if readings.service != policy.service {
            return Vec::new();
        }
        let their_now = readings.at;
        let fitting = readings.samples.into_iter().take(READINGS_MAX).filter_map(|sample| {
            let about = About { vantage: Some(vantage.clone()), ..sample.about.clone() };
            let class = known(policy, &sample, vantage)?;
            let last = self.0.entry((sample.signal.clone(), about.clone())).or_default();
            if sample.taken_at <= *last {
                return None;
            }
            *last = sample.taken_at;
            // Their clock may be wrong by hours; the age they tell is not.
            let taken_at = now.minus(their_now.since(sample.taken_at));
            Some(Sample { class, about, taken_at, heard_at: now, ..sample })
        });
        fitting.collect()
    }
}

/// The class of the signal if our policy lets this peer speak about it.
fn known(policy: &Policy, sample: &Sample, vantage: &VantageName) -> Option<crate::policy::Class> {
    let signal = policy.signals.get(&sample.signal)?;
    let Source::Probe(probe) = &signal.source else { return None };
    let region = policy.regions.get(sample.about.region.as_ref()?)?;
    let balancer_known = sample
        .about
        .balancer
        .as_ref()
        .is_none_or(|name| region.balancers.iter().any(|balancer| &balancer.name == name));
    let asked = probe.from.is_empty() || probe.from.contains(vantage);
    (is_probe(sample) && sound(&sample.measure) && balancer_known && asked).then_some(signal.class)
}

/// Numbers within their range: JSON has no NaN, but it has -7 and 1e300.
fn sound(measure: &Measure) -> bool {
    match measure {
        Measure::Probe { success, latency_ms, .. } => {
            (0.0..=1.0).contains(success)
                && latency_ms.is_none_or(|ms| (0.0..=3_600_000.0).contains(&ms))
        }
        Measure::NoProbe { why } => why.len() <= 1000,
        Measure::HealthyHosts(_)
        | Measure::Zones(_)
        | Measure::BalancerErrors(_)
        | Measure::TargetErrors(_)
        | Measure::Requests(_)
        | Measure::Capacity(_)
        | Measure::ReplicationLag(_)
        | Measure::Latency(_)
        | Measure::Verdict { .. }
        | Measure::Beacon { .. }
        | Measure::Silence { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Class;
    use crate::report::samples;

    fn sample(region: &str, taken_at: Timestamp) -> Sample {
        Sample {
            signal: "outside".parse().unwrap(),
            class: Class::Context,
            about: About {
                region: Some(region.parse().unwrap()),
                balancer: None,
                vantage: Some("root".parse().unwrap()),
            },
            measure: Measure::Probe { success: 1.0, latency_ms: Some(3.0), failure: None },
            taken_at,
            heard_at: taken_at,
        }
    }

    fn readings(samples: Vec<Sample>, at: Timestamp) -> Readings {
        Readings { service: "shop".parse().unwrap(), at, samples }
    }

    fn take(heard: &mut Heard, samples: Vec<Sample>, at: Timestamp) -> Vec<Sample> {
        let vantage = "us".parse().unwrap();
        heard.take(&samples::policy(), &vantage, readings(samples, at), samples::NOW)
    }

    #[test]
    fn a_peer_speaks_under_our_name_for_it_and_in_our_class() {
        let at = samples::NOW;
        let got = take(&mut Heard::default(), vec![sample("eu-west-1", at)], at);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].about.vantage.as_ref().unwrap().as_str(), "us");
        assert_eq!(got[0].class, Class::Outside);
    }

    #[test]
    fn a_reading_is_taken_in_once() {
        let (mut heard, at) = (Heard::default(), samples::NOW);
        assert_eq!(take(&mut heard, vec![sample("eu-west-1", at)], at).len(), 1);
        assert_eq!(take(&mut heard, vec![sample("eu-west-1", at)], at).len(), 0);
    }

    #[test]
    fn a_wrong_clock_does_not_change_an_age() {
        let theirs = Timestamp::from_secs(1000);
        let old = theirs.minus(std::time::Duration::from_secs(40));
        let got = take(&mut Heard::default(), vec![sample("eu-west-1", old)], theirs);
        assert_eq!(samples::NOW.since(got[0].taken_at).as_secs(), 40);
    }

    #[test]
    fn what_our_policy_does_not_know_is_left_aside() {
        let at = samples::NOW;
        let mut odd_signal = sample("eu-west-1", at);
        odd_signal.signal = "other".parse().unwrap();
        let mut odd_measure = sample("eu-west-1", at);
        odd_measure.measure = Measure::HealthyHosts(Some(1.0));
        let mut odd_number = sample("eu-west-1", at);
        odd_number.measure = Measure::Probe { success: 7.0, latency_ms: None, failure: None };
        let odd = vec![sample("mars", at), odd_signal, odd_measure, odd_number];
        assert_eq!(take(&mut Heard::default(), odd, at), Vec::new());
    }
}
