//! Zones of balancers in the simulated world: they fall alone, and shifts take traffic out of them.

#![expect(clippy::wildcard_enum_match_arm, reason = "each trouble concerns one place in the world")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;

use super::doors::{Doors, TIME_OUT};
use super::scenario::Trouble;
use super::world::{State, World};
use crate::domain::{BalancerName, RegionName, Timestamp};
use crate::health::ZoneHosts;
use crate::memory::Acts;
use crate::ports::{CallFailed, ShiftBegun, ShiftSeen, Shiftable, ZonalShifts};

/// Every balancer that can be shifted has these, and as many targets in each.
pub(super) const ZONES: [&str; 3] = ["a", "b", "c"];
const TARGETS: u32 = 4;
/// A zone may be taken out for so long after it was last sick: instruments are late, and rounds as well.
const SICK_LATELY: Duration = Duration::from_secs(900);
/// A journal of which nothing is known for certain yet: calls arrive late, and are looked for now and then.
const UNSETTLED: Duration = Duration::from_secs(120);

/// The id by which the service knows a zone.
pub(super) fn id_of(zone: &str) -> String {
    format!("sim-az-{zone}")
}

/// A zonal shift that stands.
#[derive(Debug, Clone)]
pub(super) struct Away {
    id: String,
    zone_id: String,
    until: Timestamp,
    comment: String,
}

/// What there is of shifts, and when zones were sick.
#[derive(Debug, Default)]
pub(super) struct Zonal {
    away: BTreeMap<BalancerName, Away>,
    begun: u64,
    /// Calls that were given up by their caller and have not arrived yet.
    late: Vec<(Timestamp, BalancerName, Late)>,
    called_at: Timestamp,
    sick_at: BTreeMap<(BalancerName, String), Timestamp>,
}

#[derive(Debug, Clone)]
enum Late {
    Start { zone_id: String, until: Timestamp, comment: String },
    Renew { id: String, until: Timestamp },
    Cancel { id: String },
}

impl Zonal {
    /// How many shifts were begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// The zone that is out of a balancer.
    pub(super) fn out_of(&self, balancer: &BalancerName, now: Timestamp) -> Option<&str> {
        let away = self.away.get(balancer).filter(|away| now < away.until)?;
        ZONES.into_iter().find(|zone| id_of(zone) == away.zone_id)
    }

    /// Zones that were sick a moment ago, as far as instruments can tell moments apart.
    pub(super) fn sick_lately(&self, now: Timestamp) -> BTreeSet<(BalancerName, String)> {
        let lately = self.sick_at.iter().filter(|(_, at)| now.since(**at) < SICK_LATELY);
        lately.map(|(place, _)| place.clone()).collect()
    }

    pub(super) fn fall(&mut self, sick: Vec<(BalancerName, String)>, now: Timestamp) {
        self.sick_at.extend(sick.into_iter().map(|place| (place, now)));
    }

    /// One shift of a balancer at a time, as the service has it.
    fn make(
        &mut self,
        balancer: &BalancerName,
        call: Late,
        now: Timestamp,
    ) -> Result<(), CallFailed> {
        let standing = self.away.get_mut(balancer).filter(|away| now < away.until);
        match (call, standing) {
            (Late::Start { .. }, Some(_)) => Err(CallFailed::Refused {
                code: "ConflictException".to_owned(),
                why: "there is a shift already".to_owned(),
            }),
            (Late::Start { zone_id, until, comment }, None) => {
                self.begun += 1;
                let id = format!("shift-{}", self.begun);
                self.away.insert(balancer.clone(), Away { id, zone_id, until, comment });
                Ok(())
            }
            (Late::Renew { id, until }, Some(away)) if away.id == id => {
                away.until = until;
                Ok(())
            }
            (Late::Cancel { id }, Some(away)) if away.id == id => {
                self.away.remove(balancer);
                Ok(())
            }
            (Late::Renew { .. } | Late::Cancel { .. }, _) => Err(CallFailed::NotFound {
                code: "ResourceNotFoundException".to_owned(),
                why: "no such shift".to_owned(),
            }),
        }
    }

    fn land(&mut self, now: Timestamp) {
        let due: Vec<_> = self.late.extract_if(.., |(due, ..)| *due <= now).collect();
        for (_, balancer, call) in due {
            // Nobody hears whether it was refused.
            let _ = self.make(&balancer, call, now);
        }
    }
}

impl State {
    fn sick_zones(&self, balancer: &BalancerName, at: Duration) -> BTreeSet<&'static str> {
        let sick = self.troubles(at).filter_map(|trouble| match trouble {
            Trouble::ZoneSick { balancer: of, zone } if of == balancer => Some(*zone),
            _ => None,
        });
        sick.collect()
    }

    /// Part of the requests to a balancer that come to a zone which answers.
    pub(super) fn zones_serve(&self, balancer: &BalancerName, at: Duration) -> f64 {
        let sick = self.sick_zones(balancer, at);
        let out = self.zonal.out_of(balancer, super::scenario::START.plus(at));
        let used = ZONES.into_iter().filter(|zone| Some(*zone) != out);
        let (all, well) = used.fold((0.0, 0.0), |(all, well), zone| {
            (all + 1.0, if sick.contains(zone) { well } else { well + 1.0 })
        });
        well / all
    }

    /// The targets of a balancer by zone. `whole` is the part of them that is healthy if no zone is sick.
    pub(super) fn zone_hosts(
        &self,
        balancer: &BalancerName,
        at: Duration,
        well: bool,
    ) -> Vec<ZoneHosts> {
        let sick = self.sick_zones(balancer, at);
        let out = self.zonal.out_of(balancer, super::scenario::START.plus(at));
        let hosts = ZONES.into_iter().map(|zone| {
            let healthy = if sick.contains(zone) || !well { 0 } else { TARGETS };
            ZoneHosts {
                zone: zone.to_owned(),
                healthy,
                unhealthy: TARGETS - healthy,
                shifted: if out == Some(zone) { TARGETS } else { 0 },
            }
        });
        hosts.collect()
    }

    /// Remembers which zones are sick now.
    pub(super) fn watch_zones(&mut self, at: Duration, now: Timestamp) {
        let sick = self.troubles(at).filter_map(|trouble| match trouble {
            Trouble::ZoneSick { balancer, zone } => Some((balancer.clone(), (*zone).to_owned())),
            _ => None,
        });
        let sick = sick.collect();
        self.zonal.fall(sick, now);
        self.zonal.land(now);
    }

    /// Which zones are out of the balancers of a region.
    pub(super) fn zones_out(&self, region: &RegionName, now: Timestamp) -> BTreeSet<String> {
        let region = self.scenario.policy.regions.get(region);
        let balancers = region.into_iter().flat_map(|region| &region.balancers);
        balancers.filter_map(|b| self.zonal.out_of(&b.name, now)).map(str::to_owned).collect()
    }
}

impl World {
    /// What stands is in the journal, unless a call of the last minutes may still be looked for.
    pub(super) fn know_zones(&self) {
        let now = self.time.truth();
        let mut state = self.state();
        if state.scenario.has_clock_steps() || now.since(state.zonal.called_at) < UNSETTLED {
            return;
        }
        let mut acts = Acts::default();
        for (at, entry) in &state.log {
            acts.apply(*at, entry);
        }
        let standing = state.zonal.away.iter().filter(|(_, away)| now < away.until);
        let unknown =
            standing.map(|(balancer, _)| balancer).find(|b| !acts.zones_away.contains_key(*b));
        if let Some(balancer) = unknown.cloned() {
            state.check.fail(format!("a zone is out of `{balancer}`, and nobody knows"));
        }
    }

    fn balancer_of(&self, arn: &str) -> Result<BalancerName, CallFailed> {
        let state = self.state();
        let mut all = state.scenario.policy.regions.values().flat_map(|region| &region.balancers);
        let found = all.find(|balancer| balancer.arn.as_deref() == Some(arn));
        found.map(|balancer| balancer.name.clone()).ok_or_else(|| CallFailed::NotFound {
            code: "ResourceNotFoundException".to_owned(),
            why: "no such balancer".to_owned(),
        })
    }

    /// A call that changes a shift, through whatever befalls calls now.
    async fn call_zone(&self, arn: &str, call: Late) -> Result<BalancerName, CallFailed> {
        self.step("before a zonal shift").await;
        self.take_time();
        let balancer = self.balancer_of(arn)?;
        let now = self.time.truth();
        self.state().zonal.land(now);
        self.state().zonal.called_at = now;
        if self.fails(|t| if let Trouble::ZonesFail(p) = t { Some(*p) } else { None }) {
            return Err(CallFailed::Throttled {
                code: "ThrottlingException".to_owned(),
                why: "rate exceeded".to_owned(),
            });
        }
        let lost = self.fails(|t| if let Trouble::ZonesLost(p) = t { Some(*p) } else { None });
        self.say(|| format!("zonal shift of {balancer}: {call:?}, answer lost: {lost}"));
        if lost {
            let mut state = self.state();
            if state.ports.chance(0.5) {
                let due = now.plus(TIME_OUT + state.ports.span(1, 15));
                state.zonal.late.push((due, balancer, call));
            } else {
                let _ = state.zonal.make(&balancer, call, now);
            }
            drop(state);
            return Err(self.timed_out());
        }
        self.state().zonal.make(&balancer, call, now)?;
        self.step("after a zonal shift").await;
        Ok(balancer)
    }
}

#[async_trait]
impl ZonalShifts for Doors {
    async fn read(&self, balancer_arn: &str) -> Result<Shiftable, CallFailed> {
        let world = &self.0;
        world.step("before shifts are read").await;
        world.take_time();
        let balancer = world.balancer_of(balancer_arn)?;
        if world.fails(|t| if let Trouble::ZonesFail(p) = t { Some(*p) } else { None }) {
            return Err(world.timed_out());
        }
        let now = world.time.truth();
        let mut state = world.state();
        state.zonal.land(now);
        let standing = state.zonal.away.get(&balancer).filter(|away| now < away.until);
        let shifts = standing.map(|away| ShiftSeen {
            id: away.id.clone(),
            zone_id: away.zone_id.clone(),
            until: Some(away.until),
            comment: away.comment.clone(),
            kind: "ZONAL_SHIFT".to_owned(),
        });
        Ok(Shiftable {
            zones: ZONES.into_iter().map(id_of).collect(),
            shifts: shifts.into_iter().collect(),
        })
    }

    async fn start(
        &self,
        balancer_arn: &str,
        zone_id: &str,
        expires: Duration,
        comment: &str,
    ) -> Result<ShiftBegun, CallFailed> {
        let world = &self.0;
        let until = world.time.truth().plus(expires);
        let (zone_id, comment) = (zone_id.to_owned(), comment.to_owned());
        let balancer =
            world.call_zone(balancer_arn, Late::Start { zone_id, until, comment }).await?;
        let id = world.state().zonal.away.get(&balancer).map(|away| away.id.clone());
        Ok(ShiftBegun { id: id.unwrap_or_default(), until })
    }

    async fn renew(
        &self,
        balancer_arn: &str,
        id: &str,
        expires: Duration,
    ) -> Result<Timestamp, CallFailed> {
        let until = self.0.time.truth().plus(expires);
        self.0.call_zone(balancer_arn, Late::Renew { id: id.to_owned(), until }).await?;
        Ok(until)
    }

    async fn cancel(&self, balancer_arn: &str, id: &str) -> Result<(), CallFailed> {
        self.0.call_zone(balancer_arn, Late::Cancel { id: id.to_owned() }).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Entry, ZoneNote};
    use crate::plan::{ZoneAct, ZoneStep};
    use crate::policy::Mode;
    use crate::sim::check::{Check, Facts};
    use crate::sim::scenario::{Drawn, Kind, START, Scenario};

    /// Of a service that may act, and whose balancers can be shifted.
    fn scenario() -> Scenario {
        let drawn = (0..1000).map(|seed| Scenario::of(seed, Drawn::Whole).unwrap());
        let mut fitting = drawn.filter(|scenario| {
            let policy = &scenario.policy;
            let zonal = policy.regions.values().flat_map(|region| &region.balancers);
            let mut zonal = zonal.map(|balancer| balancer.zonal_shift.is_some());
            !scenario.has_clock_steps()
                && scenario.kind == Kind::Chaos
                && policy.mode == Mode::Auto
                && zonal.any(|shifted| shifted)
        });
        fitting.next().unwrap()
    }

    /// What the laws say of taking out zone `a` of the first balancer.
    fn said(sick: &[&str], out: &[&str], longer: Duration) -> Option<String> {
        let scenario = scenario();
        let (region, declared) = scenario.policy.regions.first_key_value().unwrap();
        let balancer = &declared.balancers[0];
        let expires = balancer.zonal_shift.as_ref().unwrap().expires + longer;
        let names = |zones: &[&str]| zones.iter().map(|&zone| zone.to_owned()).collect();
        let sick: BTreeSet<String> = names(sick);
        let facts = Facts {
            scenario: &scenario,
            now: START,
            true_now: START,
            down_since: &BTreeMap::new(),
            pending: &BTreeSet::new(),
            switches: &BTreeMap::new(),
            unseen: &BTreeSet::new(),
            sick_zones: &sick.into_iter().map(|zone| (balancer.name.clone(), zone)).collect(),
            zones_out: &BTreeMap::from([(region.clone(), names(out))]),
        };
        let act = ZoneAct {
            balancer: balancer.name.clone(),
            region: region.clone(),
            arn: balancer.arn.clone().unwrap(),
            zone: "a".to_owned(),
            zone_id: id_of("a"),
            step: ZoneStep::Start { expires },
            because: String::new(),
        };
        let mut check = Check::default();
        let note = ZoneNote::Intended { act: Box::new(act), mark: "ours".to_owned() };
        check.line(START, &Entry::Zone { balancer: balancer.name.clone(), note }, &facts);
        check.broken
    }

    #[test]
    fn the_laws_of_zones_can_be_broken() {
        assert_eq!(said(&["a"], &["a"], Duration::ZERO), None);
        let law = |sick: &[&str], out: &[&str], longer| said(sick, out, longer).unwrap();
        assert!(law(&["b"], &[], Duration::ZERO).contains("well was taken out"));
        assert!(law(&["a"], &["b"], Duration::ZERO).contains("second zone"));
        assert!(law(&["a"], &[], Duration::from_secs(60)).contains("another time"));
    }

    #[test]
    fn a_shift_that_nobody_knows_is_found() {
        let world = World::new(1, scenario(), false).unwrap();
        world.time.pass(UNSETTLED);
        world.know_zones();
        assert_eq!(world.state().check.broken, None);
        let balancer = world.balancer_of("arn:sim:east-web").unwrap();
        let (now, comment) = (world.time.truth(), "ours".to_owned());
        let start = || Late::Start {
            zone_id: id_of("a"),
            until: now.plus(Duration::from_secs(600)),
            comment: comment.clone(),
        };
        world.state().zonal.make(&balancer, start(), now).unwrap();
        assert_eq!(world.state().zonal.out_of(&balancer, now), Some("a"));
        let second = world.state().zonal.make(&balancer, start(), now).unwrap_err();
        assert!(second.nothing_happened(), "{second}");
        let later = now.plus(Duration::from_secs(600));
        assert_eq!(world.state().zonal.out_of(&balancer, later), None, "it ends by itself");
        world.know_zones();
        assert!(world.state().check.broken.as_ref().unwrap().contains("nobody knows"));
    }
}
