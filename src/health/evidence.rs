//! What was seen lately, in windows, with how long each thing has been as it is.

use std::time::Duration;

use super::failures::Failures;
use super::few::Few;
use super::picture::Picture;
use super::window::Series;
use super::zones::Zoned;
use super::{About, Answers, Event, Happening, Measure, Observations, Reading, Sample};
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

/// What was heard about one region. Lists, because they are short: a look through one costs less than
/// building the key of a tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) probes: Vec<Probed>,
    pub(super) metrics: Vec<Metered>,
    /// By name, so that what is said of several does not depend on who spoke first.
    pub(super) verdicts: Vec<(SignalName, Class, Series)>,
    /// By name as well.
    pub(super) stamps: Vec<(SignalName, Stamps)>,
    pub(super) zoned: Vec<Zoned>,
}

/// What one vantage saw of one balancer, or of the region as a whole.
#[derive(Debug, Clone)]
pub(super) struct Probed {
    pub(super) vantage: VantageName,
    pub(super) balancer: Option<BalancerName>,
    pub(super) success: Series,
    pub(super) latency: Series,
    pub(super) failures: Failures,
}

/// One number of a balancer, or of the region as a whole.
#[derive(Debug, Clone)]
pub(super) struct Metered {
    pub(super) measures: Measures,
    pub(super) balancer: Option<BalancerName>,
    /// The signal that tells it, whose stamps say how old it is.
    pub(super) signal: SignalName,
    /// Older numbers do not count, by the policy of this round.
    pub(super) fresh_from: Timestamp,
    pub(super) series: Series,
}

impl Heard {
    pub(super) fn probed(
        &self,
        balancer: Option<&BalancerName>,
        vantage: &VantageName,
    ) -> Option<&Probed> {
        self.probes.iter().find(|p| p.vantage == *vantage && p.balancer.as_ref() == balancer)
    }

    pub(super) fn metered(
        &self,
        balancer: Option<&BalancerName>,
        measures: Measures,
    ) -> Option<&Metered> {
        self.metrics.iter().find(|m| m.measures == measures && m.balancer.as_ref() == balancer)
    }

    fn sample(&mut self, policy: &Policy, sample: &Sample) {
        let at = sample.heard_at;
        let About { balancer, vantage, .. } = &sample.about;
        let balancer = balancer.as_ref();
        let (measures, value) = match &sample.measure {
            Measure::Probe { success, latency_ms, failure } => {
                let Some(vantage) = vantage else { return };
                let series = self.probes_of(balancer, vantage);
                series.success.push(at, Some(*success));
                series.latency.push(at, *latency_ms);
                if let Some(failure) = failure {
                    series.failures.push(at, *failure);
                }
                return;
            }
            Measure::NoProbe { .. } => {
                let Some(vantage) = vantage else { return };
                self.probes_of(balancer, vantage).success.push(at, None);
                return;
            }
            Measure::Beacon { .. } => return,
            Measure::Silence { .. } => {
                let stamps = self.stamps_of(&sample.signal);
                stamps.silent_since = stamps.silent_since.or(Some(at));
                return;
            }
            Measure::Verdict { value, bad } => {
                let value = value.map(|_| f64::from(u8::from(*bad)));
                self.verdicts_of(&sample.signal, sample.class).push(at, value);
                return;
            }
            Measure::Zones(zones) => {
                if let Some(balancer) = balancer {
                    self.hear_zones(balancer, &sample.signal, zones, at);
                }
                return;
            }
            Measure::HealthyHosts(value) => (Measures::HealthyHosts, value),
            Measure::BalancerErrors(value) => (Measures::BalancerErrors, value),
            Measure::TargetErrors(value) => (Measures::TargetErrors, value),
            Measure::Requests(value) => (Measures::Requests, value),
            Measure::Capacity(value) => (Measures::Capacity, value),
            Measure::ReplicationLag(value) => (Measures::ReplicationLag, value),
            Measure::Latency(value) => (Measures::Latency, value),
        };
        // Numbers that are too old, or whose stamps cannot be believed, are heard as "could not tell".
        let stamps = self.stamps_of(&sample.signal);
        if stamps.newest.is_none() {
            let told = policy.signals.get(&sample.signal).and_then(|signal| signal.usual_delay);
            stamps.usual = told.or(stamps.usual);
        }
        stamps.hear(sample.taken_at, at);
        let fresh = stamps.fresh_for(policy, &sample.signal).unwrap_or(Duration::MAX);
        let believed = stamps.odd_since.is_none() && sample.age(at) <= fresh;
        let value = value.filter(|_| believed);
        self.metrics_of(balancer, measures, &sample.signal).push(at, value);
    }

    fn probes_of(&mut self, balancer: Option<&BalancerName>, vantage: &VantageName) -> &mut Probed {
        let of = |p: &Probed| p.vantage == *vantage && p.balancer.as_ref() == balancer;
        let place = self.probes.iter().position(of).unwrap_or_else(|| {
            self.probes.push(Probed {
                vantage: vantage.clone(),
                balancer: balancer.cloned(),
                success: Series::default(),
                latency: Series::default(),
                failures: Failures::default(),
            });
            self.probes.len() - 1
        });
        &mut self.probes[place]
    }

    fn metrics_of(
        &mut self,
        balancer: Option<&BalancerName>,
        measures: Measures,
        signal: &SignalName,
    ) -> &mut Series {
        let of = |m: &Metered| m.measures == measures && m.balancer.as_ref() == balancer;
        let place = self.metrics.iter().position(of).unwrap_or_else(|| {
            let (balancer, signal) = (balancer.cloned(), signal.clone());
            let (fresh_from, series) = (Timestamp::default(), Series::default());
            self.metrics.push(Metered { measures, balancer, signal, fresh_from, series });
            self.metrics.len() - 1
        });
        &mut self.metrics[place].series
    }

    fn verdicts_of(&mut self, signal: &SignalName, class: Class) -> &mut Series {
        let place = self.verdicts.iter().position(|(name, ..)| name == signal);
        let place = place.unwrap_or_else(|| {
            let place = self.verdicts.partition_point(|(name, ..)| name < signal);
            self.verdicts.insert(place, (signal.clone(), class, Series::default()));
            place
        });
        &mut self.verdicts[place].2
    }

    fn stamps_of(&mut self, signal: &SignalName) -> &mut Stamps {
        let place = self.stamps.iter().position(|(name, _)| name == signal);
        let place = place.unwrap_or_else(|| {
            let place = self.stamps.partition_point(|(name, _)| name < signal);
            self.stamps.insert(place, (signal.clone(), Stamps::default()));
            place
        });
        &mut self.stamps[place].1
    }
}

/// How the stamps of one source of metrics relate to our clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamps {
    /// The newest stamp, and when we heard it.
    pub(super) newest: Option<(Timestamp, Timestamp)>,
    /// The usual delay: as told, or learned while stamps advanced evenly.
    usual: Option<Duration>,
    /// The stamps jumped: the age they claim cannot be believed since then.
    pub(super) odd_since: Option<Timestamp>,
    /// A whole source was asked and did not answer.
    pub(super) silent_since: Option<Timestamp>,
    /// The source has been unusable (silent, old, odd) since.
    pub(super) unusable_since: Option<Timestamp>,
    /// For how long its readings count, if that was looked up in this round already: `Some(None)` is a
    /// signal that the policy does not have.
    looked_up: Option<Option<Duration>>,
}

/// A delay smaller than this fraction of the usual one is more than a source can do: it stamps old
/// values anew, or its clock runs ahead. Half leaves room for the saw-tooth of one-minute periods.
const USUAL_DELAY_FRACTION: f64 = 0.5;

/// Below this usual delay a jump cannot be told from jitter.
const USUAL_DELAY_MIN: Duration = Duration::from_secs(20);

impl Stamps {
    /// For how long the readings of this signal count. Looked up once a round: the next may have another
    /// policy.
    fn fresh_for(&mut self, policy: &Policy, signal: &SignalName) -> Option<Duration> {
        let look_up = || policy.signals.get(signal).map(|signal| signal.fresh_for);
        *self.looked_up.get_or_insert_with(look_up)
    }

    /// The same, and forgets it: the last to ask in a round.
    pub(super) fn take_fresh_for(
        &mut self,
        policy: &Policy,
        signal: &SignalName,
    ) -> Option<Duration> {
        let fresh = self.fresh_for(policy, signal);
        self.looked_up = None;
        fresh
    }

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

/// Since when each thing about one region has been as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct RegionTracks {
    pub(super) outside: Track,
    pub(super) blind: Track,
    pub(super) traffic: Track,
    pub(super) zone: Track,
    pub(super) fit: Track,
    /// Bad spells that began lately, for telling flapping.
    pub(super) spells: Vec<Timestamp>,
}

/// The same about one vantage: its own network, and its way to each region.
#[derive(Debug, Clone, Default)]
pub(super) struct VantageTracks {
    pub(super) own: Track,
    pub(super) paths: Few<RegionName, Track>,
}

/// Everything that the judgement looks at.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub(super) started: Option<Timestamp>,
    pub(super) heard: Few<RegionName, Heard>,
    pub(super) beacons: Few<VantageName, Series>,
    pub(super) deploys: Vec<Deploy>,
    pub(super) notices: Vec<(Timestamp, String)>,
    pub(super) answers: Answers,
    pub(super) answers_unknown_since: Option<Timestamp>,
    pub(super) region_tracks: Few<RegionName, RegionTracks>,
    pub(super) balancer_tracks: Few<BalancerName, Track>,
    pub(super) vantage_tracks: Few<VantageName, VantageTracks>,
    /// Requests per second summed over all regions that carry traffic.
    pub(super) demand: Series,
    pub(super) picture: Picture,
}

impl Evidence {
    /// Takes in what arrived since the last round, and judges it.
    pub fn take_in(&mut self, policy: &Policy, seen: &Observations, now: Timestamp) {
        self.started = self.started.or(Some(now));
        // What arrives together is often of one region.
        for of_one in seen.samples.chunk_by(|a, b| a.about.region == b.about.region) {
            self.samples(policy, of_one);
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
                self.answered(known);
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

    /// Nearly always the split that is known already, only read anew.
    fn answered(&mut self, known: &Answers) {
        match (&mut self.answers, known) {
            (Answers::Split { split, read_at }, Answers::Split { split: same, read_at: anew })
                if split == same =>
            {
                *read_at = *anew;
            }
            (answers, _) => *answers = known.clone(),
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

    /// Samples of one region, or of none.
    fn samples(&mut self, policy: &Policy, samples: &[Sample]) {
        let Some(region) = samples.first().and_then(|sample| sample.about.region.as_ref()) else {
            for Sample { about, measure, heard_at, .. } in samples {
                if let (Measure::Beacon { success }, Some(vantage)) = (measure, &about.vantage) {
                    let beacon = self.beacons.of(vantage);
                    beacon.push(*heard_at, Some(*success));
                }
            }
            return;
        };
        if !policy.regions.contains_key(region) {
            return;
        }
        let heard = self.heard.of(region);
        for sample in samples {
            heard.sample(policy, sample);
        }
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
