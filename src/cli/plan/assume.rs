//! Evidence that is made up: a region as it would look on a bad day, in every signal of the policy, over
//! every window that is judged.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::{RegionName, SignalName, Timestamp, VantageName};
use crate::health::{About, Measure, Sample, ZoneHosts};
use crate::policy::{Class, Measures, Policy, Region, Signal, Source, ZonalShift};

/// More rounds than this say nothing new: twelve hours at five seconds.
const ROUNDS_MAX: u32 = 10_000;

/// `eu-west-1=down`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assume {
    pub(super) region: RegionName,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Everything fails.
    Down,
    /// Every other request fails.
    Bad,
    Well,
    /// Users are served, and one zone of its balancers has no healthy target.
    Zone,
    /// Nothing is heard of it.
    Unknown,
}

impl FromStr for Assume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected REGION=down, =bad, =zone, =well or =unknown";
        let (region, state) = text.split_once('=').ok_or(expected)?;
        let region = region.parse().map_err(|error| format!("{error}"))?;
        let state = match state {
            "down" => State::Down,
            "bad" => State::Bad,
            "well" => State::Well,
            "zone" => State::Zone,
            "unknown" => State::Unknown,
            _ => return Err(expected.to_owned()),
        };
        Ok(Self { region, state })
    }
}

impl fmt::Display for Assume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Down => "down",
            State::Bad => "bad",
            State::Well => "well",
            State::Zone => "zone",
            State::Unknown => "unknown",
        };
        write!(f, "{}={state}", self.region)
    }
}

/// The rounds that lead up to `now`, with what each would have heard: made-up samples about assumed
/// regions in all of them, live samples about the others when they were really heard.
pub(super) fn history_of(
    policy: &Policy,
    assumed: &[Assume],
    live: &[Sample],
    now: Timestamp,
) -> Vec<(Timestamp, Vec<Sample>)> {
    let step = policy.round_every();
    let span = needed(policy);
    let count = u32::try_from(span.as_millis() / step.as_millis().max(1)).unwrap_or(ROUNDS_MAX);
    let count = count.clamp(1, ROUNDS_MAX);
    let about_assumed = |sample: &&Sample| {
        let region = sample.about.region.as_ref();
        assumed.iter().any(|assume| region == Some(&assume.region))
    };
    let real: Vec<&Sample> = live.iter().filter(|sample| !about_assumed(sample)).collect();
    let mut rounds = Vec::new();
    let mut from = Timestamp::default();
    for left in (0..count).rev() {
        let at = now.minus(step.saturating_mul(left));
        let mut samples: Vec<Sample> = real
            .iter()
            .filter(|sample| from < sample.heard_at && sample.heard_at <= at)
            .map(|sample| (*sample).clone())
            .collect();
        samples.extend(assumed.iter().flat_map(|assume| made_up(policy, assume, at)));
        rounds.push((at, samples));
        from = at;
    }
    rounds
}

/// So long that every window is full, every spell sustained and every reading fresh.
fn needed(policy: &Policy) -> Duration {
    let freshest = policy.signals.values().map(|signal| signal.fresh_for).max().unwrap_or_default();
    policy.judge.window * 2 + policy.judge.sustain * 2 + freshest + Duration::from_secs(60)
}

fn made_up(policy: &Policy, assume: &Assume, at: Timestamp) -> Vec<Sample> {
    let Some(region) = policy.regions.get(&assume.region) else { return Vec::new() };
    if assume.state == State::Unknown {
        return Vec::new();
    }
    let signals = policy.signals.iter();
    signals.flat_map(|(name, signal)| of_signal(policy, assume, region, name, signal, at)).collect()
}

fn of_signal(
    policy: &Policy,
    assume: &Assume,
    region: &Region,
    name: &SignalName,
    signal: &Signal,
    at: Timestamp,
) -> Vec<Sample> {
    let sample = |about: About, measure: Measure| Sample {
        signal: name.clone(),
        class: signal.class,
        about: About { region: Some(assume.region.clone()), ..about },
        measure,
        taken_at: at,
        heard_at: at,
    };
    let well = part_well(policy, assume.state);
    match &signal.source {
        Source::Probe(probe) => {
            if !probe.regions.is_empty() && !probe.regions.contains(&assume.region) {
                return Vec::new();
            }
            let vantages = vantages(policy).into_iter();
            let vantages =
                vantages.filter(|name| probe.from.is_empty() || probe.from.contains(name));
            let probed = vantages.flat_map(|vantage| {
                region.balancers.iter().filter(|b| b.connect.is_some()).map(move |balancer| About {
                    region: None,
                    balancer: Some(balancer.name.clone()),
                    vantage: Some(vantage.clone()),
                })
            });
            probed.map(|about| sample(about, probed_as(assume.state))).collect()
        }
        Source::TargetHealth { .. } => {
            let with_targets = region.balancers.iter().filter(|b| !b.target_groups.is_empty());
            let about = |b: &crate::policy::Balancer| About {
                balancer: Some(b.name.clone()),
                ..About::default()
            };
            let of_zones = |b: &crate::policy::Balancer| match (&b.zonal_shift, assume.state) {
                (Some(shift), State::Zone) => zones(shift),
                (_, _) => (well, Vec::new()),
            };
            let made = with_targets.flat_map(|b| {
                let (hosts, zones) = of_zones(b);
                let zones = (!zones.is_empty()).then(|| sample(about(b), Measure::Zones(zones)));
                [sample(about(b), Measure::HealthyHosts(Some(hosts)))].into_iter().chain(zones)
            });
            made.collect()
        }
        Source::Metric(metric) => {
            let queries = metric.queries.get(&assume.region).map_or(&[][..], Vec::as_slice);
            let made = queries.iter().filter_map(|query| {
                let about = About { balancer: query.balancer.clone(), ..About::default() };
                Some(sample(about, measured_as(metric.measures, well)?))
            });
            made.collect()
        }
        // A pushed signal says good or bad of its region; context never does.
        Source::Pushed if signal.class != Class::Context => {
            let bad = !matches!(assume.state, State::Well | State::Zone);
            let value = Some(if bad { 1.0 } else { 0.0 });
            vec![sample(About::default(), Measure::Verdict { value, bad })]
        }
        Source::Pushed | Source::Beacon { .. } => Vec::new(),
    }
}

/// All places that look, peers included.
fn vantages(policy: &Policy) -> Vec<VantageName> {
    let named: Vec<VantageName> = policy.vantages.keys().cloned().collect();
    if named.is_empty() { "here".parse().into_iter().collect() } else { named }
}

/// Part of the requests, or of the hosts, that is well: for `bad` half of what the policy accepts.
fn part_well(policy: &Policy, state: State) -> f64 {
    let accepted = policy.judge.success_below.get().min(policy.judge.healthy_hosts_below.get());
    match state {
        State::Down | State::Unknown => 0.0,
        State::Bad => accepted / 2.0,
        State::Well | State::Zone => 1.0,
    }
}

/// Two targets in each zone, of which those in the first are not healthy; and the part that is.
fn zones(shift: &ZonalShift) -> (f64, Vec<ZoneHosts>) {
    let zone = |(place, name): (usize, &String)| {
        let (healthy, unhealthy) = if place == 0 { (0, 2) } else { (2, 0) };
        ZoneHosts { zone: name.clone(), healthy, unhealthy, shifted: 0 }
    };
    let zones: Vec<ZoneHosts> = shift.zones.keys().enumerate().map(zone).collect();
    let healthy: u32 = zones.iter().map(|hosts| hosts.healthy).sum();
    let all: u32 = zones.iter().map(|hosts| hosts.healthy + hosts.unhealthy).sum();
    (f64::from(healthy) / f64::from(all.max(1)), zones)
}

fn probed_as(state: State) -> Measure {
    let success = match state {
        State::Down | State::Unknown => 0.0,
        State::Bad => 0.5,
        State::Well | State::Zone => 1.0,
    };
    let latency_ms = (state != State::Down).then_some(1.0);
    // Nobody knows how they would fail.
    Measure::Probe { success, latency_ms, failure: None }
}

/// Amounts (requests, capacity, lag) are not made up: nobody knows them.
fn measured_as(measures: Measures, well: f64) -> Option<Measure> {
    match measures {
        Measures::BalancerErrors => Some(Measure::BalancerErrors(Some(1.0 - well))),
        Measures::TargetErrors => Some(Measure::TargetErrors(Some(1.0 - well))),
        Measures::HealthyHosts => Some(Measure::HealthyHosts(Some(well))),
        Measures::Verdict => {
            let bad = well < 1.0;
            Some(Measure::Verdict { value: Some(if bad { 1.0 } else { 0.0 }), bad })
        }
        Measures::Requests | Measures::Capacity | Measures::ReplicationLag | Measures::Latency => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn assume(text: &str) -> Assume {
        text.parse().unwrap()
    }

    #[test]
    fn an_assumption_names_a_region_and_a_state() {
        for text in [
            "eu-west-1=down",
            "eu-west-1=bad",
            "eu-west-1=well",
            "eu-west-1=unknown",
            "eu-west-1=zone",
        ] {
            assert_eq!(assume(text).to_string(), text);
        }
        for text in ["", "eu-west-1", "eu-west-1=", "eu-west-1=sad", "=down", "a b=down"] {
            assert!(text.parse::<Assume>().is_err(), "{text}");
        }
    }

    #[test]
    fn made_up_evidence_fills_every_window_and_replaces_what_is_live() {
        let policy = samples::policy();
        let now = samples::NOW;
        let live = made_up(&policy, &assume("eu-west-1=well"), now);
        let rounds = history_of(&policy, &[assume("eu-west-1=down")], &live, now);
        assert_eq!(rounds.last().unwrap().0, now);
        let reach = now.since(rounds.first().unwrap().0);
        assert!(reach > policy.judge.window + policy.judge.sustain, "{reach:?}");
        assert!(rounds.iter().all(|(_, samples)| samples.len() == 1));
        let measures = rounds.iter().flat_map(|(_, samples)| samples).map(|sample| &sample.measure);
        assert!(
            measures
                .into_iter()
                .all(|m| matches!(m, Measure::Probe { success, .. } if *success < 0.1))
        );
    }

    #[test]
    fn live_samples_come_in_the_round_that_heard_them() {
        let policy = samples::policy();
        let heard = samples::NOW.minus(Duration::from_secs(17));
        let live = made_up(&policy, &assume("eu-central-1=well"), heard);
        let rounds = history_of(&policy, &[], &live, samples::NOW);
        let with: Vec<_> = rounds.iter().filter(|(_, samples)| !samples.is_empty()).collect();
        assert_eq!(with.len(), 1);
        assert_eq!(with[0].0, samples::NOW.minus(Duration::from_secs(15)));
    }

    #[test]
    fn of_an_unknown_region_nothing_is_heard() {
        let policy = samples::policy();
        let live = made_up(&policy, &assume("eu-west-1=well"), samples::NOW);
        let rounds = history_of(&policy, &[assume("eu-west-1=unknown")], &live, samples::NOW);
        assert!(rounds.iter().all(|(_, samples)| samples.is_empty()));
    }
}
