//! From windows to a picture: the vantage x region x balancer matrix, three-valued throughout.
//!
//! Nothing here decides anything. What cannot be told is `Unknown`, and stays so.

use std::collections::BTreeMap;
use std::mem::take;
use std::time::Duration;

use super::evidence::{Evidence, Probed, Track};
use super::failures::mostly;
use super::few::Few;
use super::instruments::Site;
use super::looks::{Look, Looks};
use super::picture::{BalancerView, ClassView, Failing, Instruments, Picture, RegionView, Says};
use super::{Answers, ProbeFailure, Reading};
use crate::domain::{BalancerName, Ratio, RegionName, Split, Tally, Timestamp, VantageName};
use crate::policy::{Class, Measures, Policy, Region, Role};

/// Fewer requests per second than this are no traffic to speak of: one failed request would be a
/// large share.
pub(super) const REQUESTS_MIN: f64 = 1.0;

/// Within the quarter of an hour that demand is remembered it may fall by a fifth for reasons of its own.
const DEMAND_FALLS_TO: f64 = 0.8;

/// Hosts missing beyond this part are a part of the region gone (one of three zones is a third; one
/// host of ten may be a deploy).
const HOSTS_WHOLE: f64 = 0.85;

/// Bad spells are remembered this long for telling flapping.
const SPELLS_KEPT: Duration = Duration::from_secs(2 * 3600);

/// The trees of a region's last view, to be filled anew.
type Maps = (BTreeMap<VantageName, Reading>, BTreeMap<BalancerName, BalancerView>);

/// With a smaller part of the requests that its share should bring, users do not get through to the balancer,
/// and its error counters say little about them. If users are lost on the way as `outside` says, that part
/// arrives; if only the probes fail, all do. Half-way between the two tells which is nearer.
fn arriving(outside: Option<f64>) -> f64 {
    outside.map_or(0.5, |success| f64::midpoint(1.0, success)).min(DEMAND_FALLS_TO)
}

impl Evidence {
    pub(super) fn assess(&mut self, policy: &Policy, now: Timestamp) {
        let mut looks = self.looks(policy, now);
        let vantages = self.vantages(policy, &mut looks, now);
        let states: Vec<Instruments> =
            policy.regions.keys().map(|name| self.instruments(policy, name, now)).collect();
        self.hear_demand(policy, &states, now);
        self.judge_zones(policy, now);
        let demand_rps = self.demand.largest();
        // The last picture's tree is filled anew: most of a round's memory is in it.
        let mut regions = take(&mut self.picture.regions);
        if !regions.keys().eq(policy.regions.keys()) {
            regions.retain(|name, _| policy.regions.contains_key(name));
        }
        let all = policy.regions.iter().zip(states).enumerate();
        for (place, ((name, region), metrics)) in all {
            let was = regions.get_mut(name);
            let maps = was.map(|v| (take(&mut v.by_vantage), take(&mut v.balancers)));
            let seen = Seen { looks: &looks, of_region: looks.at(place), demand_rps };
            let view = self.region(policy, name, region, metrics, &seen, maps, now);
            match regions.get_mut(name) {
                Some(was) => *was = view,
                None => drop(regions.insert(name.clone(), view)),
            }
        }
        self.picture = Picture { regions, vantages, demand_rps };
    }

    #[expect(clippy::too_many_arguments, reason = "one caller; the parts of one picture")]
    fn region(
        &mut self,
        policy: &Policy,
        name: &RegionName,
        region: &Region,
        metrics: Instruments,
        seen: &Seen<'_>,
        maps: Option<Maps>,
        now: Timestamp,
    ) -> RegionView {
        let (mut by_vantage, balancers) = maps.unwrap_or_default();
        let site = Site { policy, region, heard: self.heard.get(name), metrics, now };
        let needed = policy.vantages_needed();
        let reading = agreed(seen.usable().map(|look| look.reading), needed);
        let tracks = self.region_tracks.of(name);
        let was_bad = tracks.outside.bad_since.is_some();
        tracks.outside.take(reading, now);
        let (bad_since, good_since) = (tracks.outside.bad_since, tracks.outside.good_since);
        tracks.blind.take(bad_if(reading == Reading::Unknown), now);
        let blind_since = tracks.blind.bad_since;
        if bad_since.is_some() && !was_bad {
            tracks.spells.push(now);
        }
        tracks.spells.retain(|began| now.since(*began) < SPELLS_KEPT);
        let spells = tracks.spells.len();
        let success = median(seen.usable().filter_map(|look| look.success));
        let latency_ms = median(seen.usable().filter_map(|look| look.latency));
        let failing = (reading == Reading::Bad).then(|| {
            let low = |success: Option<f64>| {
                success.is_some_and(|s| s < policy.judge.success_below.get())
            };
            let part_low = |look| seen.looks.balancers(look).iter().any(|part| low(part.success));
            let errors = low(success) || seen.usable().any(part_low);
            if errors { Failing::Errors } else { Failing::Slow }
        });
        let looks = seen.of_region;
        let read = |look: &Look<'_>| if look.isolated { Reading::Unknown } else { look.reading };
        if by_vantage.keys().eq(looks.iter().map(|look| look.vantage)) {
            for (was, look) in by_vantage.values_mut().zip(looks) {
                *was = read(look);
            }
        } else {
            by_vantage = looks.iter().map(|look| (look.vantage.clone(), read(look))).collect();
        }
        let balancers = site.balancers(&mut self.balancer_tracks, seen, needed, balancers);
        let outside = ClassView {
            reading,
            age: site.probe_age(),
            says: says_outside(&by_vantage, success, latency_ms),
        };
        let hosts = site.hosts(&balancers);
        let requests_rps = site.told(Measures::Requests);
        let expected_rps = match &self.answers {
            Answers::Split { split, .. } => {
                seen.demand_rps.or(policy.shift.demand_rps).map(|all| all * split.share(name).get())
            }
            Answers::Drift { .. } | Answers::Unknown => None,
        };
        let traffic = site.traffic(&balancers, requests_rps, expected_rps, success);
        let inside = inside(policy, hosts, metrics);
        let part_gone = hosts.is_some_and(|h| h < HOSTS_WHOLE) && reading == Reading::Good;
        tracks.zone.take(bad_if(part_gone), now);
        let part_gone_since = tracks.zone.bad_since;
        tracks.traffic.take(traffic.reading, now);
        let traffic_bad_since = tracks.traffic.bad_since;
        let still_bad = agreed(seen.usable().map(|look| bad_if(look.newest_bad)), needed);
        let mut view = RegionView {
            by_vantage,
            outside,
            traffic,
            traffic_bad_since,
            inside,
            success: success.map(Ratio::new),
            latency_ms,
            failing,
            failing_by: site.failing_by(seen, None, reading),
            bad_since,
            good_since,
            blind_since,
            still_bad: still_bad == Reading::Bad,
            balancers,
            hosts,
            requests_rps,
            capacity_rps: site.capacity(),
            lag: site.lag(),
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
        tracks.fit.take(fit, now);
        view.fit_since = tracks.fit.good_since;
        view
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

    /// How probes of one balancer went after `from` and until `to`, from all vantages together. A quarter
    /// of an hour is remembered.
    pub fn tally(&self, name: &BalancerName, from: Timestamp, to: Timestamp) -> Tally {
        let probes = self.heard.values().flat_map(|heard| &heard.probes);
        let of_it = probes.filter(|probed| probed.balancer.as_ref() == Some(name));
        of_it.fold(Tally::default(), |sum, probed| {
            let more = probed.success.tally(from, to);
            Tally { well: sum.well + more.well, all: sum.all + more.all }
        })
    }
}

/// One region as all vantages look at it, and the requests per second of the whole service.
struct Seen<'a> {
    looks: &'a Looks<'a>,
    of_region: &'a [Look<'a>],
    demand_rps: Option<f64>,
}

impl<'a> Seen<'a> {
    /// Those that can be believed.
    fn usable(&self) -> impl Iterator<Item = &'a Look<'a>> + Clone {
        self.of_region.iter().filter(|look| !look.isolated)
    }
}

impl Site<'_> {
    fn balancers(
        &self,
        tracks: &mut Few<BalancerName, Track>,
        seen: &Seen<'_>,
        needed: usize,
        mut views: BTreeMap<BalancerName, BalancerView>,
    ) -> BTreeMap<BalancerName, BalancerView> {
        let balancers = &self.region.balancers;
        let known = |name: &BalancerName| balancers.iter().any(|b| b.name == *name);
        if !views.keys().all(known) {
            views.retain(|name, _| known(name));
        }
        for balancer in balancers {
            let name = &balancer.name;
            let looks = || seen.usable().filter_map(|look| seen.looks.balancer(look, name));
            let outside = agreed(looks().map(|look| look.reading), needed);
            let still_bad =
                agreed(looks().map(|look| bad_if(look.newest_bad)), needed) == Reading::Bad;
            let track = tracks.of(name);
            track.take(outside, self.now);
            let view = BalancerView {
                outside,
                success: median(looks().filter_map(|look| look.success)),
                own_errors: self.mean_of(name, Measures::BalancerErrors),
                target_errors: self.mean_of(name, Measures::TargetErrors),
                hosts: self.mean_of(name, Measures::HealthyHosts),
                bad_since: track.bad_since,
                still_bad,
                failing_by: self.failing_by(seen, Some(name), outside),
                unanimous: looks().all(|look| look.reading == Reading::Bad),
                zones: self.zones(name),
            };
            match views.get_mut(name) {
                Some(was) => *was = view,
                None => drop(views.insert(name.clone(), view)),
            }
        }
        views
    }

    /// How nearly all failed probes within the window failed, of one balancer or of all together. Asked only
    /// where they are bad.
    fn failing_by(
        &self,
        seen: &Seen<'_>,
        balancer: Option<&BalancerName>,
        reading: Reading,
    ) -> Option<ProbeFailure> {
        let heard = self.heard.filter(|_| reading == Reading::Bad)?;
        let of_it = |probed: &&Probed| {
            let usable = seen.usable().any(|look| *look.vantage == probed.vantage);
            // Probes of the region as a whole stand for every balancer that has none of its own.
            let own = |name| match &probed.balancer {
                Some(of) => of == name,
                None => heard.probed(Some(name), &probed.vantage).is_none(),
            };
            usable && balancer.is_none_or(own)
        };
        let from = self.now.minus(self.policy.judge.window);
        mostly(heard.probes.iter().filter(of_it).flat_map(|probed| probed.failures.after(from)))
    }

    /// What users got, by the balancers' own counters.
    fn traffic(
        &self,
        balancers: &BTreeMap<BalancerName, BalancerView>,
        requests: Option<f64>,
        expected: Option<f64>,
        outside: Option<f64>,
    ) -> ClassView {
        let judge = &self.policy.judge;
        let unknown = |says| ClassView { reading: Reading::Unknown, age: None, says };
        let verdict = self.verdict(Class::Traffic);
        if self.metrics != Instruments::Usable && verdict.is_none() {
            return unknown(Says::Plain("no usable counters"));
        }
        if requests.is_some_and(|rps| rps < REQUESTS_MIN) {
            return unknown(Says::Plain("no requests to count"));
        }
        if let (Some(requests), Some(expected)) = (requests, expected)
            && requests < expected * arriving(outside)
        {
            return unknown(Says::FewArrive { requests, expected });
        }
        let (mut lost, mut part, mut worst) = (0.0, 0.0, 1.0_f64);
        for balancer in &self.region.balancers {
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
            let counted = [self.told(Measures::BalancerErrors), self.told(Measures::TargetErrors)];
            if counted.iter().any(Option::is_some) {
                lost = counted.iter().flatten().sum::<f64>().min(1.0);
                part = 1.0;
                worst = 1.0 - lost;
            }
        }
        let latency_bad = self
            .told(Measures::Latency)
            .zip(judge.latency_above)
            .is_some_and(|(ms, limit)| ms > limit.as_secs_f64() * 1000.0);
        let age = self.stamp_age();
        if part <= 0.0 {
            return match verdict {
                Some(bad) => {
                    ClassView { reading: bad_if(bad), age, says: Says::Plain("by its own limit") }
                }
                None => unknown(Says::Plain("no error counters")),
            };
        }
        let success = 1.0 - lost / part;
        // As for probes: the limit holds for the region as a whole and for each of its balancers.
        let least = success.min(worst);
        let bad = least < judge.success_below.get() || latency_bad || verdict == Some(true);
        ClassView { reading: bad_if(bad), age, says: Says::Served(Ratio::new(success)) }
    }
}

fn inside(policy: &Policy, hosts: Option<f64>, metrics: Instruments) -> ClassView {
    match hosts {
        Some(hosts) if metrics != Instruments::None => ClassView {
            reading: bad_if(hosts < policy.judge.healthy_hosts_below.get()),
            age: None,
            says: Says::Healthy(Ratio::new(hosts)),
        },
        _ => ClassView {
            reading: Reading::Unknown,
            age: None,
            says: Says::Plain("target health unknown"),
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
    latency_ms: Option<f64>,
) -> Says {
    let bad = by_vantage.values().filter(|r| **r == Reading::Bad).count();
    Says::Probed { success, latency_ms, bad, vantages: by_vantage.len() }
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

/// The middle one, or the upper one of two.
fn median(mut values: impl Iterator<Item = f64>) -> Option<f64> {
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(first) };
    let Some(third) = values.next() else {
        return Some(if first.total_cmp(&second).is_gt() { first } else { second });
    };
    let mut all = vec![first, second, third];
    all.extend(values);
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// The longest freshness of any signal of a class; a minute and a half if there is none.
pub(super) fn freshness(policy: &Policy, class: Class) -> Duration {
    let of_class = policy.signals.values().filter(|signal| signal.class == class);
    of_class.map(|signal| signal.fresh_for).max().unwrap_or(Duration::from_secs(90))
}
