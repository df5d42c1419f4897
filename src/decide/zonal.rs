//! A bad zone of a balancer: taken out of it by a zonal shift, kept out, put in again.

use std::collections::BTreeSet;

use super::hold::StayWhy;
use super::{Case, Hold, diagnose, guard, respond, warming_up};
use crate::domain::{RegionName, Timestamp};
use crate::health::{Reading, RegionView, ZoneView};
use crate::memory::{Standing, ZoneAway};
use crate::plan::{Purpose, SETTLED_AFTER, ZoneAct, ZonePlan, ZoneStep};
use crate::policy::{Balancer, ZonalShift};

/// What is to be done about zones in one round.
#[derive(Debug, Default)]
pub(super) struct Zonal {
    pub(super) plan: Option<ZonePlan>,
    pub(super) holds: Vec<Hold>,
    /// Regions that are not left, because what ails them is a zone that is being taken out of them.
    pub(super) spared: BTreeSet<RegionName>,
}

/// One thing at a time: a zone that is to come back or to stay away before one that is to leave.
pub(super) fn zonal(case: &Case<'_>) -> Zonal {
    let mut found = Zonal::default();
    let mut wishes = Vec::new();
    for (name, region) in &case.policy.regions {
        let Some(view) = case.picture.regions.get(name) else { continue };
        for balancer in &region.balancers {
            let Some(rules) = &balancer.zonal_shift else { continue };
            let place = Place { case, name, view, balancer, rules };
            match case.acts.zones_away.get(&balancer.name) {
                Some(away) => {
                    place.spare(away, &mut found);
                    wishes.push(place.go_on(away));
                }
                None => wishes.push(place.begin()),
            }
        }
    }
    wishes.sort_by_key(|wish| matches!(wish, Wish::Act(act) if begins(act)));
    for wish in wishes {
        match wish {
            Wish::Nothing => {}
            Wish::Hold(hold) => found.holds.push(hold),
            Wish::Act(_) if found.plan.as_ref().is_some_and(|plan| plan.go) => {}
            Wish::Act(act) => settle(case, act, &mut found),
        }
    }
    found
}

/// A zone of a balancer that has been bad for long enough.
pub(super) fn bad<'a>(
    case: &'a Case<'_>,
    view: &'a RegionView,
) -> impl Iterator<Item = (&'a crate::domain::BalancerName, &'a ZoneView)> {
    view.balancers.iter().flat_map(move |(name, seen)| {
        seen.zones.iter().filter(|zone| sustained(case, zone)).map(move |zone| (name, zone))
    })
}

fn sustained(case: &Case<'_>, zone: &ZoneView) -> bool {
    zone.reading == Reading::Bad
        && zone.bad_since.is_some_and(|at| case.now.since(at) >= case.policy.judge.sustain)
}

enum Wish {
    Nothing,
    Hold(Hold),
    Act(ZoneAct),
}

/// One balancer, whose policy allows zonal shifts.
struct Place<'a> {
    case: &'a Case<'a>,
    name: &'a RegionName,
    view: &'a RegionView,
    balancer: &'a Balancer,
    rules: &'a ZonalShift,
}

impl Place<'_> {
    fn zones(&self) -> &[ZoneView] {
        self.view.balancers.get(&self.balancer.name).map_or(&[], |seen| seen.zones.as_slice())
    }

    fn act(&self, zone: &str, step: ZoneStep, because: String) -> Option<ZoneAct> {
        Some(ZoneAct {
            balancer: self.balancer.name.clone(),
            region: self.name.clone(),
            arn: self.balancer.arn.clone()?,
            zone: zone.to_owned(),
            zone_id: self.rules.zones.get(zone)?.clone(),
            step,
            because,
        })
    }

    fn stay(&self, zone: &str, why: StayWhy) -> Wish {
        let (balancer, zone) = (self.balancer.name.clone(), zone.to_owned());
        Wish::Hold(Hold::ZoneMustStay { balancer, zone, why })
    }

    fn paused(&self, why: String, until: Timestamp) -> Wish {
        Wish::Hold(Hold::ZoneShiftPaused { balancer: self.balancer.name.clone(), why, until })
    }

    /// No zone of it is away by our doing.
    fn begin(&self) -> Wish {
        let case = self.case;
        if case.share(self.name) <= 0.0 {
            return Wish::Nothing;
        }
        let own = bad(case, self.view).filter(|(name, _)| **name == self.balancer.name);
        let own: Vec<&ZoneView> = own.map(|(_, zone)| zone).collect();
        let Some(zone) = own.first() else {
            let untold = self.view.balancers.values().all(|seen| seen.zones.is_empty())
                && diagnose::zone(case, self.name, self.view).is_some();
            return if untold { self.stay("unknown", StayWhy::NotTold) } else { Wish::Nothing };
        };
        if let Some(why) = self.objection(zone) {
            return self.stay(&zone.zone, why);
        }
        if let Some(pause) = case.acts.zones_paused.get(&self.balancer.name)
            && case.now < pause.until
        {
            return self.paused(pause.why.clone(), pause.until);
        }
        let expires = self.rules.expires;
        let because = says(zone, self.zones());
        self.act(&zone.zone, ZoneStep::Start { expires }, because)
            .map_or_else(|| self.stay(&zone.zone, StayWhy::NoId), Wish::Act)
    }

    /// Why this zone must stay in use, bad as it is.
    fn objection(&self, bad: &ZoneView) -> Option<StayWhy> {
        if self.view.outside.reading == Reading::Unknown {
            return Some(StayWhy::Unseen);
        }
        let open = self.case.acts.cure.as_ref().map(|open| &open.cure.balancer);
        if let Some(balancer) =
            open.filter(|name| self.case.policy.region_of(name) == Some(self.name))
        {
            return Some(StayWhy::Refreshed { balancer: balancer.clone() });
        }
        let ours = |name| self.case.acts.zones_away.get(name).map(|away| away.act.zone.as_str());
        let away = self.view.balancers.iter().find_map(|(name, seen)| {
            let ours = ours(name);
            let other = ours.filter(|zone| *zone != bad.zone).map(str::to_owned);
            other.or_else(|| {
                let shifted = seen.zones.iter().filter(|zone| zone.shifted);
                let mut foreign = shifted.filter(|zone| ours != Some(zone.zone.as_str()));
                foreign.next().map(|zone| zone.zone.clone())
            })
        });
        if let Some(zone) = away {
            return Some(StayWhy::OneAway { zone });
        }
        let mut elsewhere =
            self::bad(self.case, self.view).filter(|(_, zone)| zone.zone != bad.zone);
        if let Some((_, zone)) = elsewhere.next() {
            return Some(StayWhy::OthersBad { zone: zone.zone.clone() });
        }
        self.rest(bad)
    }

    /// Why the other zones cannot carry what this one does.
    fn rest(&self, bad: &ZoneView) -> Option<StayWhy> {
        let others = || self.zones().iter().filter(|zone| zone.zone != bad.zone);
        if let Some(zone) = others().find(|zone| zone.reading != Reading::Good) {
            return Some(StayWhy::OthersBad { zone: zone.zone.clone() });
        }
        let healthy: u32 = others().map(|zone| zone.healthy).sum();
        let all: u32 = self.zones().iter().map(|zone| zone.known).sum();
        let part = f64::from(healthy) / f64::from(all.max(1));
        if part < self.rules.rest.get() {
            return Some(StayWhy::RestTooSmall { healthy, all, needs: self.rules.rest });
        }
        let (requests, capacity) = (self.view.requests_rps?, self.view.capacity_rps?);
        (requests > capacity * part)
            .then_some(StayWhy::NoRoom { room_rps: capacity * part, needs_rps: requests })
    }

    /// A zone of it is away by our doing.
    fn go_on(&self, away: &ZoneAway) -> Wish {
        let now = self.case.now;
        let Some(stands) = away.stands.as_ref().filter(|_| !away.is_in_doubt()) else {
            let since = away.calling.map_or(away.intended_at, |(_, at)| at);
            let why = "the last call was not answered, so it is read what became of it".to_owned();
            return self.paused(why, since.plus(SETTLED_AFTER).max(now));
        };
        let wish = self.wish(away, stands);
        let retry_at = away.retry_at().filter(|at| now < *at);
        match (wish, retry_at) {
            (Wish::Act(_), Some(at)) => {
                let why = away.failed.as_ref().map(|(_, failure)| failure.to_string());
                self.paused(why.unwrap_or_default(), at)
            }
            (wish, _) => wish,
        }
    }

    fn wish(&self, away: &ZoneAway, stands: &Standing) -> Wish {
        let now = self.case.now;
        let Some(zone) = self.zones().iter().find(|zone| zone.zone == away.act.zone) else {
            return Wish::Nothing;
        };
        let make = |step, because| {
            let act = ZoneAct { step, because, ..away.act.clone() };
            Wish::Act(act)
        };
        let well_for = zone.good_since.map(|since| now.since(since));
        if well_for.is_some_and(|well| well >= self.rules.back_after) {
            return make(ZoneStep::Cancel, says(zone, self.zones()));
        }
        // Better the one that has just got well than those that have just gone bad.
        let mut others = self.zones().iter().filter(|other| other.zone != zone.zone);
        let worse = others.any(|other| sustained(self.case, other));
        if zone.reading == Reading::Good && worse {
            return make(ZoneStep::Cancel, says(zone, self.zones()));
        }
        let expires = self.rules.expires;
        // Soon enough for several tries. A zone that is well, but not for long, stays away as well.
        let soon = now >= stands.until.minus(expires / 3);
        if soon && now < stands.until && zone.reading != Reading::Unknown {
            return make(ZoneStep::Renew { expires }, says(zone, self.zones()));
        }
        Wish::Nothing
    }

    /// For the time that it takes to see an effect the region is not left.
    fn spare(&self, away: &ZoneAway, found: &mut Zonal) {
        let judge = &self.case.policy.judge;
        let since = away.stands.as_ref().map_or(away.intended_at, |stands| stands.since);
        let until = since.plus(judge.window + judge.sustain);
        if self.convicted() && self.case.now < until {
            found.spare(self.name, &away.act, until);
        }
    }

    fn convicted(&self) -> bool {
        self.case.charges.get(self.name).is_some_and(respond::convicted)
    }
}

impl Zonal {
    fn spare(&mut self, region: &RegionName, act: &ZoneAct, until: Timestamp) {
        let (balancer, zone) = (act.balancer.clone(), act.zone.clone());
        self.holds.push(Hold::ZoneShiftWatching { balancer, zone, until });
        self.spared.insert(region.clone());
    }
}

/// What the guards say. A shift that was begun is upheld and taken back without asking again: a human
/// agreed to all of it.
fn settle(case: &Case<'_>, act: ZoneAct, found: &mut Zonal) {
    let gaining = BTreeSet::new();
    let intent = guard::Intent { purpose: Purpose::Repair, gaining: &gaining };
    let mut objections = guard::objections(case.policy, case.acts, case.picture, &intent, case.now);
    let begins = begins(&act);
    objections.retain(|hold| {
        matches!(hold, Hold::Pinned { .. } | Hold::Aborted { .. } | Hold::ModeObserves { .. })
            || (begins
                && matches!(
                    hold,
                    Hold::ApprovalNeeded { .. } | Hold::Denied { .. } | Hold::Blocked { .. }
                ))
    });
    if begins {
        objections.extend(warming_up(case));
    }
    let go = objections.is_empty();
    let judge = &case.policy.judge;
    let sick = case.charges.get(&act.region).is_some_and(respond::convicted);
    if go && begins && sick {
        found.spare(&act.region, &act, case.now.plus(judge.window + judge.sustain));
    }
    found.holds.extend(objections);
    found.plan = Some(ZonePlan { act, go });
}

fn begins(act: &ZoneAct) -> bool {
    matches!(act.step, ZoneStep::Start { .. })
}

fn says(zone: &ZoneView, all: &[ZoneView]) -> String {
    let others = || all.iter().filter(|other| other.zone != zone.zone);
    let healthy: u32 = others().map(|other| other.healthy).sum();
    let known: u32 = others().map(|other| other.known).sum();
    format!(
        "{} of {} targets are healthy there, {healthy} of {known} in the other zones",
        zone.healthy, zone.known
    )
}
