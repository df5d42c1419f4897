//! From windows to a picture: the vantage x region x balancer matrix, three-valued throughout.
//!
//! Nothing here decides anything. What cannot be told is `Unknown`, and stays so.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::Evidence;
use super::looks::Look;
use super::picture::{
    BalancerView, ClassView, Failing, Instruments, Picture, RegionView, VantageView,
};
use super::{Answers, Reading};
use crate::domain::{BalancerName, Ratio, RegionName, Split, Timestamp, VantageName};
use crate::policy::{Class, Measures, Policy, Region, Role};

/// Fewer requests per second than this are no traffic to speak of: one failed request would be a
/// large share.
pub(super) const REQUESTS_MIN: f64 = 1.0;

/// Less than this part of the requests that its share should bring means that users do not get
/// through to the balancer; then its error counters say little about users.
const REQUESTS_EXPECTED_PART: f64 = 0.5;

/// Hosts missing beyond this part are a part of the region gone (one of three zones is a third; one
/// host of ten may be a deploy).
const HOSTS_WHOLE: f64 = 0.85;

/// Bad spells are remembered this long for telling flapping.
const SPELLS_KEPT: Duration = Duration::from_secs(2 * 3600);

impl Evidence {
    pub(super) fn assess(&mut self, policy: &Policy, now: Timestamp) {
        let looks = self.looks(policy, now);
        let vantages = self.vantages(policy, &looks, now);
        self.hear_demand(policy, now);
        let mut regions = BTreeMap::new();
        for (name, region) in &policy.regions {
            let view = self.region(policy, name, region, &looks, &vantages, now);
            regions.insert(name.clone(), view);
        }
        self.picture = Picture { regions, vantages, demand_rps: self.demand.largest() };
    }

    fn region(
        &mut self,
        policy: &Policy,
        name: &RegionName,
        region: &Region,
        looks: &BTreeMap<RegionName, BTreeMap<VantageName, Look>>,
        vantages: &BTreeMap<VantageName, VantageView>,
        now: Timestamp,
    ) -> RegionView {
        let usable: Vec<(&VantageName, &Look)> = looks
            .get(name)
            .into_iter()
            .flatten()
            .filter(|(vantage, _)| {
                vantages.get(*vantage).is_none_or(|v| v.isolated_since.is_none())
            })
            .collect();
        let needed = policy.judge.vantages_min.min(policy.vantages.len()).max(1);
        let readings = usable.iter().map(|(_, look)| look.reading);
        let reading = agreed(readings, needed);
        let track = self.region_tracks.entry(name.clone()).or_default();
        let was_bad = track.bad_since.is_some();
        track.take(reading, now);
        let (bad_since, good_since) = (track.bad_since, track.good_since);
        let blind = self.blind_tracks.entry(name.clone()).or_default();
        blind.take(bad_if(reading == Reading::Unknown), now);
        let blind_since = blind.bad_since;
        let spells = self.spells.entry(name.clone()).or_default();
        if bad_since.is_some() && !was_bad {
            spells.push(now);
        }
        spells.retain(|began| now.since(*began) < SPELLS_KEPT);
        let spells = spells.len();
        let success = median(usable.iter().filter_map(|(_, look)| look.success));
        let latency_ms = median(usable.iter().filter_map(|(_, look)| look.latency));
        let failing = (reading == Reading::Bad).then(|| {
            let errors = success.is_some_and(|s| s < policy.judge.success_below.get())
                || usable.iter().any(|(_, look)| {
                    look.balancers
                        .values()
                        .any(|b| b.success.is_some_and(|s| s < policy.judge.success_below.get()))
                });
            if errors { Failing::Errors } else { Failing::Slow }
        });
        let mut by_vantage: BTreeMap<VantageName, Reading> =
            usable.iter().map(|(vantage, look)| ((*vantage).clone(), look.reading)).collect();
        for vantage in looks.get(name).into_iter().flatten().map(|(vantage, _)| vantage) {
            by_vantage.entry(vantage.clone()).or_insert(Reading::Unknown);
        }
        let metrics = self.instruments(policy, name, now);
        let balancers = self.balancers(policy, region, name, &usable, metrics, needed, now);
        let outside = ClassView {
            reading,
            age: self.probe_age(name, now),
            says: says_outside(&by_vantage, success, latency_ms),
        };
        let hosts = self.hosts(policy, name, region, &balancers, metrics, now);
        let requests_rps = self.told(policy, name, Measures::Requests, metrics, now);
        let traffic = self.traffic(policy, name, region, &balancers, metrics, requests_rps, now);
        let inside = inside(policy, hosts, metrics);
        let capacity_rps = self.capacity(policy, name, region, metrics, now);
        let part_gone = hosts.is_some_and(|h| h < HOSTS_WHOLE) && reading == Reading::Good;
        let zone = self.zone_tracks.entry(name.clone()).or_default();
        zone.take(if part_gone { Reading::Bad } else { Reading::Good }, now);
        let part_gone_since = zone.bad_since;
        let track = self.traffic_tracks.entry(name.clone()).or_default();
        track.take(traffic.reading, now);
        let traffic_bad_since = track.bad_since;
        let mut view = RegionView {
            by_vantage,
            outside,
            traffic,
            traffic_bad_since,
            inside,
            success: success.map(Ratio::new),
            latency_ms,
            failing,
            bad_since,
            good_since,
            blind_since,
            still_bad: agreed(usable.iter().map(|(_, look)| bad_if(look.newest_bad)), needed)
                == Reading::Bad,
            balancers,
            hosts,
            requests_rps,
            capacity_rps,
            lag: self.lag(name, metrics),
            metrics,
            part_gone_since,
            fit_since: None,
            unfit: None,
            spells,
        };
        view.unfit = unfit(policy, region, &view);
        let fit = match (&view.unfit, view.outside.reading, metrics) {
            (Some(_), _, _) | (None, Reading::Bad, _) => Reading::Bad,
            (None, Reading::Good, Instruments::Usable | Instruments::None) => Reading::Good,
            (None, _, _) => Reading::Unknown,
        };
        let track = self.fit_tracks.entry(name.clone()).or_default();
        track.take(fit, now);
        view.fit_since = track.good_since;
        view
    }

    #[expect(clippy::too_many_arguments, reason = "one caller; the parts of one picture")]
    fn balancers(
        &mut self,
        policy: &Policy,
        region: &Region,
        name: &RegionName,
        usable: &[(&VantageName, &Look)],
        metrics: Instruments,
        needed: usize,
        now: Timestamp,
    ) -> BTreeMap<BalancerName, BalancerView> {
        let mut views = BTreeMap::new();
        for balancer in &region.balancers {
            let looks = || usable.iter().filter_map(|(_, look)| look.balancers.get(&balancer.name));
            let outside = agreed(looks().map(|look| look.reading), needed);
            let still_bad =
                agreed(looks().map(|look| bad_if(look.newest_bad)), needed) == Reading::Bad;
            let track = self.balancer_tracks.entry(balancer.name.clone()).or_default();
            track.take(outside, now);
            let bad_since = track.bad_since;
            let read = |measures| match metrics {
                Instruments::Usable => {
                    self.mean_of(policy, name, Some(&balancer.name), measures, now)
                }
                Instruments::None
                | Instruments::Silent { .. }
                | Instruments::Old { .. }
                | Instruments::Odd { .. } => None,
            };
            let view = BalancerView {
                outside,
                success: median(looks().filter_map(|look| look.success)),
                own_errors: read(Measures::BalancerErrors),
                target_errors: read(Measures::TargetErrors),
                hosts: read(Measures::HealthyHosts),
                bad_since,
                still_bad,
                unanimous: looks().all(|look| look.reading == Reading::Bad),
            };
            views.insert(balancer.name.clone(), view);
        }
        views
    }

    /// What users got, by the balancers' own counters.
    #[expect(clippy::too_many_arguments, reason = "one caller; the parts of one picture")]
    fn traffic(
        &self,
        policy: &Policy,
        name: &RegionName,
        region: &Region,
        balancers: &BTreeMap<BalancerName, BalancerView>,
        metrics: Instruments,
        requests: Option<f64>,
        now: Timestamp,
    ) -> ClassView {
        let unknown =
            |says: &str| ClassView { reading: Reading::Unknown, age: None, says: says.to_owned() };
        let verdict = self.verdict(policy, name, Class::Traffic, now);
        if metrics != Instruments::Usable && verdict.is_none() {
            return unknown("no usable counters");
        }
        if requests.is_some_and(|rps| rps < REQUESTS_MIN) {
            return unknown("no requests to count");
        }
        let expected = match &self.answers {
            Answers::Split { split, .. } => self
                .demand
                .largest()
                .or(policy.shift.demand_rps)
                .map(|all| all * split.share(name).get()),
            Answers::Drift { .. } | Answers::Unknown => None,
        };
        if let (Some(requests), Some(expected)) = (requests, expected)
            && requests < expected * REQUESTS_EXPECTED_PART
        {
            return unknown(&format!(
                "only {requests:.0} of about {expected:.0} requests per second arrive"
            ));
        }
        let (mut lost, mut part, mut worst) = (0.0, 0.0, 1.0_f64);
        for balancer in &region.balancers {
            let Some(view) = balancers.get(&balancer.name) else { continue };
            if view.own_errors.is_none() && view.target_errors.is_none() {
                continue;
            }
            let errors = view.own_errors.unwrap_or(0.0) + view.target_errors.unwrap_or(0.0);
            worst = worst.min(1.0 - errors);
            lost += balancer.carries.get() * errors.min(1.0);
            part += balancer.carries.get();
        }
        if part <= 0.0 {
            // Counters of the region as a whole, where the policy names no balancer for them.
            let whole = |measures| self.told(policy, name, measures, metrics, now);
            let counted = [whole(Measures::BalancerErrors), whole(Measures::TargetErrors)];
            if counted.iter().any(Option::is_some) {
                lost = counted.iter().flatten().sum::<f64>().min(1.0);
                part = 1.0;
                worst = 1.0 - lost;
            }
        }
        let latency_bad = self
            .told(policy, name, Measures::Latency, metrics, now)
            .zip(policy.judge.latency_above)
            .is_some_and(|(ms, limit)| ms > limit.as_secs_f64() * 1000.0);
        let age = self.stamp_age(name, now);
        if part <= 0.0 {
            return match verdict {
                Some(bad) => {
                    ClassView { reading: bad_if(bad), age, says: "by its own limit".to_owned() }
                }
                None => unknown("no error counters"),
            };
        }
        let success = 1.0 - lost / part;
        // As for probes: the limit holds for the region as a whole and for each of its balancers.
        let least = success.min(worst);
        let bad = least < policy.judge.success_below.get() || latency_bad || verdict == Some(true);
        ClassView {
            reading: bad_if(bad),
            age,
            says: format!("{} succeed at the balancers", Ratio::new(success)),
        }
    }

    fn probe_age(&self, name: &RegionName, now: Timestamp) -> Option<Duration> {
        let heard = self.probes.iter().filter(|((region, _, _), _)| region == name);
        heard.filter_map(|(_, series)| series.success.heard_at()).max().map(|at| now.since(at))
    }

    /// When the records were last read.
    pub fn read_at(&self) -> Option<Timestamp> {
        match &self.answers {
            Answers::Split { read_at, .. } => Some(*read_at),
            Answers::Drift { .. } | Answers::Unknown => None,
        }
    }

    /// The split that the records were last read to have.
    pub fn split(&self) -> Option<&Split> {
        match &self.answers {
            Answers::Split { split, .. } => Some(split),
            Answers::Drift { .. } | Answers::Unknown => None,
        }
    }

    /// How one balancer did in the window before `at`, over all vantages: the median of their means.
    pub fn balancer_success_at(
        &self,
        policy: &Policy,
        name: &BalancerName,
        at: Timestamp,
    ) -> Option<f64> {
        let fresh = freshness(policy, Class::Outside);
        let of_it =
            self.probes.iter().filter(|((_, balancer, _), _)| balancer.as_ref() == Some(name));
        median(
            of_it.filter_map(|(_, series)| {
                series.success.mean_until(policy.judge.window, fresh, at)
            }),
        )
    }
}

fn inside(policy: &Policy, hosts: Option<f64>, metrics: Instruments) -> ClassView {
    match hosts {
        Some(hosts) if metrics != Instruments::None => ClassView {
            reading: bad_if(hosts < policy.judge.healthy_hosts_below.get()),
            age: None,
            says: format!("{} of the targets healthy", Ratio::new(hosts)),
        },
        _ => ClassView {
            reading: Reading::Unknown,
            age: None,
            says: "target health unknown".to_owned(),
        },
    }
}

/// What speaks against sending traffic there, if anything does.
fn unfit(policy: &Policy, region: &Region, view: &RegionView) -> Option<String> {
    if view.outside.reading == Reading::Bad {
        return Some(format!("probes fail: {}", view.outside.says));
    }
    if view.traffic.reading == Reading::Bad {
        return Some(format!("its users fail: {}", view.traffic.says));
    }
    let enough = match region.role {
        Role::LastResort => 0.0,
        Role::Primary | Role::Active | Role::Standby => {
            policy.guards.standby_healthy_hosts_min.get()
        }
    };
    view.hosts.filter(|hosts| *hosts < enough).map(|hosts| {
        format!(
            "{} of its targets are healthy, {} are needed",
            Ratio::new(hosts),
            Ratio::new(enough)
        )
    })
}

fn says_outside(
    by_vantage: &BTreeMap<VantageName, Reading>,
    success: Option<f64>,
    latency: Option<f64>,
) -> String {
    let bad = by_vantage.values().filter(|r| **r == Reading::Bad).count();
    let success = success.map_or("unknown".to_owned(), |s| Ratio::new(s).to_string());
    let latency = latency.map_or(String::new(), |ms| format!(", {ms:.0} ms"));
    format!(
        "{success} of probes succeed{latency}; {bad} of {} vantages see it bad",
        by_vantage.len()
    )
}

/// What enough of them agree on. Fewer than `needed` usable looks is Unknown.
fn agreed(readings: impl Iterator<Item = Reading>, needed: usize) -> Reading {
    let (mut good, mut bad) = (0, 0);
    for reading in readings {
        match reading {
            Reading::Good => good += 1,
            Reading::Bad => bad += 1,
            Reading::Unknown => {}
        }
    }
    if bad >= needed {
        Reading::Bad
    } else if good >= needed {
        Reading::Good
    } else {
        Reading::Unknown
    }
}

fn bad_if(bad: bool) -> Reading {
    if bad { Reading::Bad } else { Reading::Good }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// The longest freshness of any signal of a class; a minute and a half if there is none.
pub(super) fn freshness(policy: &Policy, class: Class) -> Duration {
    let of_class = policy.signals.values().filter(|signal| signal.class == class);
    of_class.map(|signal| signal.fresh_for).max().unwrap_or(Duration::from_secs(90))
}
