//! What was seen lately, in windows, with how long each thing has been as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::picture::Picture;
use super::window::Series;
use super::{Answers, Event, Happening, Measure, Observations, Reading, Sample};
use crate::domain::{BalancerName, RegionName, SignalName, Timestamp, VantageName};
use crate::policy::{Class, Measures, Policy};

/// Deploys and notices remembered; more than a day of busy rollout.
const EVENTS_MAX: usize = 64;

/// A change that was made to what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    pub at: Timestamp,
    pub regions: Vec<RegionName>,
    pub version: String,
    pub scope: String,
}

pub(super) type ProbeKey = (RegionName, Option<BalancerName>, VantageName);
pub(super) type MetricKey = (RegionName, Option<BalancerName>, Measures);

#[derive(Debug, Clone, Default)]
pub(super) struct ProbeSeries {
    pub(super) success: Series,
    pub(super) latency: Series,
}

/// How the stamps of one source of metrics relate to our clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamps {
    /// The newest stamp, and when we heard it.
    pub(super) newest: Option<(Timestamp, Timestamp)>,
    /// The usual delay, learned while stamps advanced evenly.
    usual: Option<Duration>,
    /// The stamps jumped: the age they claim cannot be believed since then.
    pub(super) odd_since: Option<Timestamp>,
    /// A whole source was asked and did not answer.
    pub(super) silent_since: Option<Timestamp>,
    /// The source has been unusable (silent, old, odd) since.
    pub(super) unusable_since: Option<Timestamp>,
}

/// A delay smaller than this fraction of the usual one is more than a source can do: it stamps old
/// values anew, or its clock runs ahead. Half leaves room for the saw-tooth of one-minute periods.
const USUAL_DELAY_FRACTION: f64 = 0.5;

/// Below this usual delay a jump cannot be told from jitter.
const USUAL_DELAY_MIN: Duration = Duration::from_secs(20);

impl Stamps {
    fn hear(&mut self, stamp: Timestamp, heard: Timestamp) {
        self.silent_since = None;
        if self.newest.is_some_and(|(newest, _)| newest == stamp) {
            return;
        }
        let ahead = stamp > heard;
        let delay = heard.since(stamp);
        let too_fast = self.usual.is_some_and(|usual| {
            usual >= USUAL_DELAY_MIN
                && delay.as_secs_f64() < usual.as_secs_f64() * USUAL_DELAY_FRACTION
        });
        if ahead || too_fast {
            self.odd_since = self.odd_since.or(Some(heard));
        } else {
            self.odd_since = None;
            // The usual delay is the smallest that was seen without a jump, so that a source which is
            // late for an hour does not make its normal pace look suspicious afterwards.
            self.usual = Some(self.usual.map_or(delay, |usual| usual.min(delay)));
        }
        self.newest = Some((stamp, heard));
    }
}

/// Since when a thing has been good or bad, as far as readings tell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Track {
    pub(super) bad_since: Option<Timestamp>,
    pub(super) good_since: Option<Timestamp>,
}

impl Track {
    pub(super) fn take(&mut self, reading: Reading, now: Timestamp) {
        match reading {
            Reading::Bad => {
                self.bad_since = self.bad_since.or(Some(now));
                self.good_since = None;
            }
            Reading::Good => {
                self.good_since = self.good_since.or(Some(now));
                self.bad_since = None;
            }
            // Unknown proves nothing: unbroken health is broken by it, a bad spell is neither ended
            // nor lengthened into a verdict (that takes a fresh bad reading).
            Reading::Unknown => self.good_since = None,
        }
    }
}

/// Everything that the judgement looks at.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub(super) started: Option<Timestamp>,
    pub(super) probes: BTreeMap<ProbeKey, ProbeSeries>,
    /// With the signal that tells it, whose stamps say how old it is.
    pub(super) metrics: BTreeMap<MetricKey, (SignalName, Series)>,
    pub(super) verdicts: BTreeMap<(RegionName, SignalName), (Class, Series)>,
    pub(super) stamps: BTreeMap<(RegionName, SignalName), Stamps>,
    pub(super) beacons: BTreeMap<VantageName, Series>,
    pub(super) deploys: Vec<Deploy>,
    pub(super) notices: Vec<(Timestamp, String)>,
    pub(super) answers: Answers,
    pub(super) answers_unknown_since: Option<Timestamp>,
    pub(super) region_tracks: BTreeMap<RegionName, Track>,
    pub(super) balancer_tracks: BTreeMap<BalancerName, Track>,
    pub(super) vantage_tracks: BTreeMap<VantageName, Track>,
    pub(super) path_tracks: BTreeMap<(VantageName, RegionName), Track>,
    pub(super) blind_tracks: BTreeMap<RegionName, Track>,
    pub(super) traffic_tracks: BTreeMap<RegionName, Track>,
    pub(super) zone_tracks: BTreeMap<RegionName, Track>,
    pub(super) fit_tracks: BTreeMap<RegionName, Track>,
    /// Bad spells that began lately, per region, for telling flapping.
    pub(super) spells: BTreeMap<RegionName, Vec<Timestamp>>,
    /// Requests per second summed over all regions that carry traffic.
    pub(super) demand: Series,
    pub(super) picture: Picture,
}

impl Evidence {
    /// Takes in what arrived since the last round, and judges it.
    pub fn take_in(&mut self, policy: &Policy, seen: &Observations, now: Timestamp) {
        self.started = self.started.or(Some(now));
        for sample in &seen.samples {
            self.sample(policy, sample);
        }
        for event in &seen.events {
            self.event(event);
        }
        match &seen.answers {
            Answers::Unknown => {
                self.answers_unknown_since = self.answers_unknown_since.or(Some(now));
            }
            known @ (Answers::Split { .. } | Answers::Drift { .. }) => {
                self.answers_unknown_since = None;
                self.answers = known.clone();
            }
        }
        self.assess(policy, now);
    }

    /// What happened before this evidence began to be gathered, and is still remembered.
    pub fn recall(&mut self, events: &[Event]) {
        for event in events {
            self.event(event);
        }
    }

    /// What the last [`Evidence::take_in`] came to.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// What the records were when they were last read, however long ago.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// The records cannot be read since then.
    pub fn answers_unknown_since(&self) -> Option<Timestamp> {
        self.answers_unknown_since
    }

    pub fn deploys(&self) -> &[Deploy] {
        &self.deploys
    }

    pub fn notices(&self) -> &[(Timestamp, String)] {
        &self.notices
    }

    /// When this evidence began to be gathered: the start of the controller.
    pub fn started(&self) -> Option<Timestamp> {
        self.started
    }

    fn sample(&mut self, policy: &Policy, sample: &Sample) {
        let heard = sample.heard_at;
        let Some(region) = sample.about.region.clone() else {
            if let (Measure::Beacon { success }, Some(vantage)) =
                (&sample.measure, &sample.about.vantage)
            {
                self.beacons.entry(vantage.clone()).or_default().push(heard, Some(*success));
            }
            return;
        };
        if !policy.regions.contains_key(&region) {
            return;
        }
        let balancer = sample.about.balancer.clone();
        match &sample.measure {
            Measure::Probe { success, latency_ms, .. } => {
                let Some(vantage) = sample.about.vantage.clone() else { return };
                let series = self.probes.entry((region, balancer, vantage)).or_default();
                series.success.push(heard, Some(*success));
                series.latency.push(heard, *latency_ms);
            }
            Measure::NoProbe { .. } => {
                let Some(vantage) = sample.about.vantage.clone() else { return };
                self.probes
                    .entry((region, balancer, vantage))
                    .or_default()
                    .success
                    .push(heard, None);
            }
            Measure::Beacon { .. } => {}
            Measure::Silence { .. } => {
                let stamps = self.stamps.entry((region, sample.signal.clone())).or_default();
                stamps.silent_since = stamps.silent_since.or(Some(heard));
            }
            Measure::Verdict { value, bad } => {
                let value = value.map(|_| f64::from(u8::from(*bad)));
                let entry = self.verdicts.entry((region.clone(), sample.signal.clone()));
                entry.or_insert_with(|| (sample.class, Series::default())).1.push(heard, value);
            }
            Measure::HealthyHosts(value) => {
                self.metric(policy, (region, balancer), Measures::HealthyHosts, *value, sample);
            }
            Measure::BalancerErrors(value) => {
                self.metric(policy, (region, balancer), Measures::BalancerErrors, *value, sample);
            }
            Measure::TargetErrors(value) => {
                self.metric(policy, (region, balancer), Measures::TargetErrors, *value, sample);
            }
            Measure::Requests(value) => {
                self.metric(policy, (region, balancer), Measures::Requests, *value, sample);
            }
            Measure::Capacity(value) => {
                self.metric(policy, (region, balancer), Measures::Capacity, *value, sample);
            }
            Measure::ReplicationLag(value) => {
                self.metric(policy, (region, balancer), Measures::ReplicationLag, *value, sample);
            }
            Measure::Latency(value) => {
                self.metric(policy, (region, balancer), Measures::Latency, *value, sample);
            }
        }
    }

    /// Numbers that are too old, or whose stamps cannot be believed, are heard as "could not tell".
    fn metric(
        &mut self,
        policy: &Policy,
        (region, balancer): (RegionName, Option<BalancerName>),
        measures: Measures,
        value: Option<f64>,
        sample: &Sample,
    ) {
        let signal = sample.signal.clone();
        let stamps = self.stamps.entry((region.clone(), signal.clone())).or_default();
        stamps.hear(sample.taken_at, sample.heard_at);
        let fresh = policy.signals.get(&signal).map_or(Duration::MAX, |s| s.fresh_for);
        let believed = stamps.odd_since.is_none() && sample.age(sample.heard_at) <= fresh;
        let value = value.filter(|_| believed);
        let entry = self.metrics.entry((region, balancer, measures));
        entry.or_insert_with(|| (signal, Series::default())).1.push(sample.heard_at, value);
    }

    fn event(&mut self, event: &Event) {
        match &event.what {
            Happening::Deploy { regions, version, scope } => {
                let (regions, version, scope) = (regions.clone(), version.clone(), scope.clone());
                self.deploys.push(Deploy { at: event.at, regions, version, scope });
                if self.deploys.len() > EVENTS_MAX {
                    self.deploys.remove(0);
                }
            }
            Happening::Notice { text } => {
                self.notices.push((event.at, text.clone()));
                if self.notices.len() > EVENTS_MAX {
                    self.notices.remove(0);
                }
            }
            // An alarm means "look now", and looking is what every round does. What humans say is
            // kept in the journal, not here.
            Happening::Alarm { .. }
            | Happening::Freeze { .. }
            | Happening::Unfreeze { .. }
            | Happening::Approve { .. }
            | Happening::Deny { .. } => {}
        }
    }
}
