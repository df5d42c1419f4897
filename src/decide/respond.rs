//! From what is wrong to what is wanted: leave a region, grow the move, go home, use the last resort.

use std::collections::BTreeSet;
use std::time::Duration;

use super::convict::Charge;
use super::shares::{self, Shares};
use super::{Case, Hold};
use crate::domain::{InAnswers, RegionName, Split, Timestamp, Turn};
use crate::health::{Lag, Reading};
use crate::memory::Asked;
use crate::plan::{Move, Purpose, Wanted};
use crate::policy::{Class, Failback, LastResort, LeverKind, Role, Source, Unready};

/// A partial move grows by at least a tenth of the traffic at a time. Smaller steps would use up calls
/// and warm caches for little; larger ones may never come, because a region that scales at 70 % load
/// and is filled to 90 % makes room for a quarter more of what it has.
const GROWTH_MIN: f64 = 0.1;

/// A share that no split on a scale of 100 can show.
const NOTHING: f64 = 0.005;

/// Home is reached to the weight: shares that are computed in two ways differ by less than this.
const EXACT: f64 = 1e-6;

/// What to do about sick regions.
#[derive(Debug, Default)]
pub(super) struct Response {
    pub(super) target: Option<(Shares, Purpose, String)>,
    /// The same without the policy's ramp, if all of it fits: for levers that know no half.
    pub(super) whole: Option<Shares>,
    pub(super) holds: Vec<Hold>,
    pub(super) nowhere: bool,
    pub(super) partial: bool,
    pub(super) common: Option<Common>,
}

/// The same fault in several regions.
#[derive(Debug)]
pub(super) struct Common {
    /// The change that came just before, in words.
    pub(super) change: Option<String>,
}

/// Leaves convicted regions that carry traffic.
pub(super) fn leave(case: &Case<'_>, sick: &BTreeSet<RegionName>) -> Response {
    let (fit, suspects) = candidates(case, sick);
    if fit.is_empty() {
        return nowhere(case, sick, suspects);
    }
    place(case, sick, fit, because(case, sick))
}

/// A cached copy serves nobody whom a region could: it is left for any that has been fit for long enough. One
/// that traffic belongs to waits for the policy's way home.
pub(super) fn leave_last_resort(case: &Case<'_>) -> Response {
    let resort = case.policy.last_resort().filter(|name| case.share(name) >= shares::SAME);
    let Some(resort) = resort else { return Response::default() };
    // Home is on its way by itself, and two moves hurt more than one.
    let homes = case.policy.serving().filter(|(_, region)| region.weight.0 > 0);
    let fit_since = |name: &RegionName| case.picture.regions.get(name).and_then(|v| v.fit_since);
    let comes_home = case.policy.failback != Failback::Manual
        && homes.into_iter().any(|(name, _)| fit_since(name).is_some());
    if comes_home {
        return Response::default();
    }
    let copy = BTreeSet::from([resort.clone()]);
    let (mut fit, _) = candidates(case, &copy);
    fit.retain(|name| {
        case.home_split.weight(name).0 == 0
            && fit_since(name).is_some_and(|at| case.now.since(at) >= case.policy.judge.sustain)
    });
    if fit.is_empty() {
        return Response::default();
    }
    let names = fit.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
    place(case, &copy, fit, format!("{names} can serve again"))
}

/// Puts the traffic of `sick` on regions that are fit, by the policy's ramp.
fn place(
    case: &Case<'_>,
    sick: &BTreeSet<RegionName>,
    mut fit: BTreeSet<RegionName>,
    because: String,
) -> Response {
    let mut response = Response::default();
    // A region that only has more than it can take keeps what it can.
    let overloaded: BTreeSet<RegionName> =
        sick.iter().filter(|name| is_overloaded(case, name)).cloned().collect();
    if shares::may_spill(case.policy) {
        fit.extend(overloaded.iter().cloned());
    }
    let Some(allocation) = shares::allocate(case.policy, case.picture, &fit, &case.shares) else {
        return response;
    };
    let mut target = allocation.shares;
    if allocation.unplaced_rps > 0.0 {
        response.partial = true;
        if !shares::may_spill(case.policy) {
            let needs = shares::demand(case.policy, case.picture).unwrap_or(0.0);
            let region = fit.iter().next().cloned().unwrap_or_else(|| case.home.clone());
            let room = needs - allocation.unplaced_rps;
            response.holds.push(Hold::NoRoom { region, room_rps: room, needs_rps: needs });
            return response;
        }
    }
    response.whole = (!response.partial).then(|| target.clone());
    let goes_on = is_going_on(case, sick);
    ramp(case, sick, &mut target, goes_on);
    let step = shares::distance(&target, &case.shares);
    let left = |name: &RegionName| target.get(name).is_none_or(|share| *share <= 0.0);
    // The last point of a region that is left counts as well: some users are still there.
    if step < shares::SAME && !(step >= NOTHING && sick.iter().all(left)) {
        return response;
    }
    if goes_on {
        let last = case.acts.shifts.last().map_or(case.now, |shift| shift.at);
        let settled = case.now.since(last) >= case.policy.shift.hold.max(settling(case));
        let finishes = !response.partial;
        if !settled || (step < GROWTH_MIN && !finishes) {
            return response;
        }
    }
    let purpose = if goes_on { Purpose::Ramp } else { Purpose::Evacuate };
    response.target = Some((target, purpose, because));
    response
}

/// Regions that may take traffic: proven fit now. With them, those left out because the change that is
/// suspected reached them too.
fn candidates(
    case: &Case<'_>,
    sick: &BTreeSet<RegionName>,
) -> (BTreeSet<RegionName>, Option<Hold>) {
    let mut fit = BTreeSet::new();
    let mut suspect = None;
    for (name, _) in case.policy.serving() {
        if sick.contains(name) || !is_fit(case, name) {
            continue;
        }
        match case.suspected_deploy(sick, name) {
            Some(deploy) => {
                let (version, age) = (deploy.version.clone(), case.now.since(deploy.at));
                suspect = Some(Hold::DeploySuspected { version, age });
            }
            None => {
                fit.insert(name.clone());
            }
        }
    }
    (fit, suspect)
}

/// Fit to take traffic at this moment: probes good, nothing against it. Counters and hosts that are
/// unknown do not speak for it; the policy says whether that is enough.
pub(super) fn is_fit(case: &Case<'_>, name: &RegionName) -> bool {
    let Some(view) = case.picture.regions.get(name) else { return false };
    match (view.outside.reading, &view.unfit) {
        (Reading::Good, None) => view.bad_since.is_none(),
        (Reading::Unknown, None) => case.policy.shift.unready == Unready::ShiftAnyway,
        (_, Some(_)) | (Reading::Bad, None) => false,
    }
}

pub(super) fn is_overloaded(case: &Case<'_>, name: &RegionName) -> bool {
    let Some(view) = case.picture.regions.get(name) else { return false };
    let well = view.hosts.is_none_or(|hosts| hosts >= case.policy.judge.healthy_hosts_below.get());
    view.requests_rps.zip(view.capacity_rps).is_some_and(|(rps, capacity)| rps > capacity) && well
}

/// Nothing acceptable is left: the last resort if there is one, else a page.
fn nowhere(case: &Case<'_>, sick: &BTreeSet<RegionName>, suspect: Option<Hold>) -> Response {
    let mut response = Response { nowhere: true, ..Response::default() };
    let deploy = case.deploy_behind(sick);
    let change = deploy.map(|deploy| format!("deploy `{}` ({})", deploy.version, deploy.scope));
    if is_common(case, sick) || suspect.is_some() {
        response.common = Some(Common { change: change.clone() });
        response.holds.push(suspect.unwrap_or(Hold::CommonCause { change }));
    }
    for (name, _) in case.policy.serving().filter(|(name, _)| case.share(name) < shares::SAME) {
        let why = case.picture.regions.get(name).and_then(|view| view.unfit.clone());
        let why = why.unwrap_or_else(|| "nothing proves it fit".to_owned());
        response.holds.push(Hold::DestinationUnready { region: name.clone(), why });
    }
    let patience = match case.policy.shift.last_resort {
        LastResort::After(patience) => patience,
        LastResort::Never => {
            response.holds.push(Hold::NowhereToGo);
            return response;
        }
    };
    // A cached copy that nobody probes has nothing against it; one that is probed must be good.
    let resort = case.policy.last_resort().filter(|name| {
        case.picture.regions.get(*name).is_some_and(|view| match view.outside.reading {
            Reading::Good => true,
            Reading::Unknown => !is_probed(case, name),
            Reading::Bad => false,
        })
    });
    let Some(resort) = resort.filter(|name| !sick.contains(*name)) else {
        response.holds.push(Hold::NowhereToGo);
        return response;
    };
    let began = |name| {
        let bad_since = || case.picture.regions.get(name).and_then(|view| view.bad_since);
        case.convicted_since(name).or_else(bad_since)
    };
    let since = sick.iter().filter_map(began).min().unwrap_or(case.now);
    let until = since.plus(case.policy.judge.sustain).plus(patience);
    if case.now < until {
        let first = sick.iter().min_by_key(|name| began(name).unwrap_or(case.now));
        let region = first.unwrap_or(resort).clone();
        response.holds.push(Hold::NotSustained {
            region,
            since,
            needs: case.policy.judge.sustain + patience,
        });
        return response;
    }
    let target: Shares = case
        .policy
        .regions
        .keys()
        .map(|name| (name.clone(), if name == resort { 1.0 } else { 0.0 }))
        .collect();
    if shares::distance(&target, &case.shares) >= shares::SAME {
        response.target = Some((target, Purpose::LastResort, because(case, sick)));
    }
    response
}

/// Whether readings from outside are to be had at all.
pub(super) fn is_probed(case: &Case<'_>, name: &RegionName) -> bool {
    case.policy.signals.values().any(|signal| match &signal.source {
        Source::Probe(probe) => probe.regions.contains(name),
        Source::Pushed => signal.class == Class::Outside,
        Source::TargetHealth { .. } | Source::Metric(_) | Source::Beacon { .. } => false,
    })
}

/// Several regions fell within this time of each other: one cause.
const TOGETHER: Duration = Duration::from_secs(15 * 60);

fn is_common(case: &Case<'_>, sick: &BTreeSet<RegionName>) -> bool {
    let bad: Vec<Timestamp> = case
        .policy
        .serving()
        .filter_map(|(name, _)| case.picture.regions.get(name)?.bad_since)
        .collect();
    let (Some(first), Some(last)) = (bad.iter().min(), bad.iter().max()) else { return false };
    bad.len() >= 2 && (last.since(*first) <= TOGETHER || case.deploy_behind(sick).is_some())
}

/// The move that is wanted is more of the one that was made.
fn is_going_on(case: &Case<'_>, sick: &BTreeSet<RegionName>) -> bool {
    let Some(last) = case.acts.shifts.last() else { return false };
    let away =
        |name: &RegionName| last.from.share(name).get() - last.to.share(name).get() >= shares::SAME;
    let purpose = matches!(last.purpose, Purpose::Evacuate | Purpose::Ramp);
    purpose && sick.iter().any(away) && last.at >= case.incident
}

/// How long the world needs to show the effect of the last step: in force, six of seven cached answers
/// gone (two times their time to live), and a window of counters on top.
fn settling(case: &Case<'_>) -> Duration {
    let ttl = case.policy.weights_lever().map_or(Duration::from_secs(60), |lever| lever.ttl);
    ttl * 2 + case.policy.judge.window
}

/// Limits the target to the next step of the policy's ramp.
fn ramp(case: &Case<'_>, sick: &BTreeSet<RegionName>, target: &mut Shares, goes_on: bool) {
    let on_sick = |shares: &Shares| sick.iter().filter_map(|name| shares.get(name)).sum::<f64>();
    let began = if goes_on {
        case.acts.evacuation_began().map(|split| on_sick(&plain(split)))
    } else {
        None
    };
    let began = began.unwrap_or_else(|| on_sick(&case.shares));
    if began < shares::SAME {
        return;
    }
    let moved = 1.0 - on_sick(&case.shares) / began;
    let wanted = 1.0 - on_sick(target) / began;
    let next = case
        .policy
        .shift
        .ramp
        .iter()
        .map(|step| step.get())
        .find(|step| *step > moved + shares::SAME);
    let limit = next.unwrap_or(1.0);
    if wanted <= limit {
        return;
    }
    let part = if wanted > moved { (limit - moved) / (wanted - moved) } else { 1.0 };
    for (name, share) in target.iter_mut() {
        let now = case.shares.get(name).copied().unwrap_or(0.0);
        *share = now + (*share - now) * part;
    }
}

pub(super) fn plain(split: &Split) -> Shares {
    split.weights().keys().map(|name| (name.clone(), split.share(name).get())).collect()
}

fn because(case: &Case<'_>, sick: &BTreeSet<RegionName>) -> String {
    let parts = sick.iter().filter_map(|name| {
        let view = case.picture.regions.get(name)?;
        Some(format!("`{name}`: {}", view.outside.says))
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// Home again: a plan of its own, slower, with its own proofs.
pub(super) fn go_home(case: &Case<'_>) -> Response {
    let mut response = Response::default();
    let home = plain(&case.home_split);
    let at_home = shares::distance(&home, &case.shares) < EXACT;
    let raw_at_home = shares::distance(&home, &plain(&case.split)) < EXACT;
    if at_home && raw_at_home && case.acts.let_in().values().all(|stands| *stands == InAnswers::In)
    {
        return response;
    }
    // Only what we moved goes home by itself. A split that somebody else made is theirs.
    let ours = case.acts.ordered.as_ref() == Some(&case.split) || !case.acts.let_in().is_empty();
    if !ours {
        return response;
    }
    let kept = case.acts.request_at(case.now).filter(|request| request.what != Asked::Failback);
    if let Some(request) = kept {
        let (by, reason) = (request.by.clone(), request.reason.clone());
        response.holds.push(Hold::Kept { by, reason, until: request.until });
        return response;
    }
    let (hold, step_max, every) = match case.policy.failback {
        Failback::Manual => {
            response.holds.push(Hold::FailbackManual { home: case.home.clone() });
            return response;
        }
        Failback::Auto { hold, step_max, every } => (hold, step_max.get(), every),
    };
    let dwell = hold * dwell_factor(case);
    for (name, region) in case.policy.serving().filter(|(_, region)| region.weight.0 > 0) {
        let gains =
            home.get(name).copied().unwrap_or(0.0) - case.shares.get(name).copied().unwrap_or(0.0);
        if gains < EXACT {
            continue;
        }
        let Some(view) = case.picture.regions.get(name) else { continue };
        let needs = shares::demand(case.policy, case.picture).unwrap_or(0.0)
            * home.get(name).copied().unwrap_or(0.0);
        let room = shares::room(case.policy, case.picture, name).unwrap_or(f64::INFINITY);
        let hold = match (view.fit_since, view.lag) {
            _ if region.role == Role::LastResort => None,
            _ if room < needs => {
                Some(Hold::NoRoom { region: name.clone(), room_rps: room, needs_rps: needs })
            }
            (None, _) => {
                let why = view.unfit.clone().unwrap_or_else(|| "nothing proves it fit".to_owned());
                Some(Hold::DestinationUnready { region: name.clone(), why })
            }
            (Some(since), _) if case.now < since.plus(dwell) => {
                Some(Hold::FailbackSoaking { home: name.clone(), until: since.plus(dwell) })
            }
            (Some(_), Lag::ReportedUnknown) if case.policy.guards.replication_lag_max.is_some() => {
                Some(Hold::LagUnknown { region: name.clone() })
            }
            (Some(_), Lag::Known(_) | Lag::ReportedUnknown | Lag::Absent) => None,
        };
        response.holds.extend(hold);
    }
    if !response.holds.is_empty() {
        return response;
    }
    let last = case.acts.shifts.last().filter(|shift| shift.purpose == Purpose::Failback);
    if let Some(until) = last.map(|shift| shift.at.plus(every)).filter(|until| case.now < *until) {
        response.holds.push(Hold::FailbackSoaking { home: case.home.clone(), until });
        return response;
    }
    let gain =
        |name: &RegionName, share: f64| share - case.shares.get(name).copied().unwrap_or(0.0);
    let largest = home.iter().map(|(name, share)| gain(name, *share)).fold(0.0, f64::max);
    let part = if largest > step_max { step_max / largest } else { 1.0 };
    let target: Shares = home
        .iter()
        .map(|(name, share)| {
            (
                name.clone(),
                case.shares.get(name).copied().unwrap_or(0.0) + gain(name, *share) * part,
            )
        })
        .collect();
    let because = format!("`{}` has been well for {}", case.home, crate::domain::span(dwell));
    response.target = Some((target, Purpose::Failback, because));
    response
}

/// Each departure within a day doubles the calm that is needed before the next return.
pub(super) fn dwell_factor(case: &Case<'_>) -> u32 {
    let day = Duration::from_secs(24 * 3600);
    let evacuations = case.acts.shifts.iter().filter(|shift| {
        matches!(shift.purpose, Purpose::Evacuate | Purpose::LastResort)
            && case.now.since(shift.at) < day
    });
    2_u32.pow(u32::try_from(evacuations.count().saturating_sub(1)).unwrap_or(0).min(4))
}

/// A move as an order for one lever.
pub(super) fn order(
    case: &Case<'_>,
    lever: LeverKind,
    target: &Shares,
    purpose: Purpose,
    because: String,
) -> Option<Wanted> {
    if !lever.is_switch() {
        let (from, to) = (case.split.clone(), weights_for(case, target)?);
        return Some(Wanted::Move(Move { lever, purpose, from, to, turns: Vec::new(), because }));
    }
    let turns = turns(case, lever, target, purpose);
    let from = Split::from_shares(&case.shares).ok()?;
    let to = Split::from_shares(&reached(case, lever, &turns)).ok()?;
    Some(Wanted::Move(Move { lever, purpose, from, to, turns, because }))
}

/// The turns that bring the answers as near to the target as these switches can.
///
/// A region with one switch has all that its weight gives it, or nothing; one with several goes in
/// steps. A region that had nothing and gets nothing keeps its switch, since closing it would keep it
/// from taking over later, with two exceptions. Where closing others would have it answered, as every
/// healthy record of weight 0 is when none with weight is left, it is closed first. And on the way home
/// it is opened again.
fn turns(case: &Case<'_>, lever: LeverKind, target: &Shares, purpose: Purpose) -> Vec<Turn> {
    let mut kept_out = BTreeSet::new();
    loop {
        let mut turns = turns_with(case, lever, target, purpose, &kept_out);
        if is_half_the_way(case, lever, purpose, &turns) {
            // Nobody is taken out of the answers for a region that is not in them yet.
            turns.retain(|turn| turn.to != InAnswers::Out);
            return turns;
        }
        let after = reached(case, lever, &turns);
        let uninvited = target.iter().filter(|(name, share)| {
            **share < shares::SAME
                && after.get(*name).is_some_and(|share| *share >= shares::SAME)
                && case.policy.switches(lever, name) > 0
        });
        let before = kept_out.len();
        kept_out.extend(uninvited.map(|(name, _)| name.clone()));
        if kept_out.len() == before {
            return turns;
        }
    }
}

fn turns_with(
    case: &Case<'_>,
    lever: LeverKind,
    target: &Shares,
    purpose: Purpose,
    kept_out: &BTreeSet<RegionName>,
) -> Vec<Turn> {
    let weight = |name: &RegionName| f64::from(case.split.weight(name).0);
    let for_its_weight = |name: &RegionName, share: f64| {
        (weight(name) > 0.0 && share >= shares::SAME).then_some(share / weight(name))
    };
    // Measured by what it gets for its weight, one region stays wholly open, and the others close
    // against it.
    let most = target.iter().filter_map(|(name, share)| for_its_weight(name, *share));
    let most = most.fold(0.0, f64::max);
    let mut turns = Vec::new();
    // What others have not joined yet is voted for again.
    let in_effect = case.acts.in_effect(lever);
    for (name, share) in target {
        let slots = case.policy.switches(lever, name);
        let known = in_effect.get(name).copied();
        let stands = known.unwrap_or(InAnswers::In);
        let to = if *share < shares::SAME {
            // Behind one with weight that is open, a standby is not answered, and ready.
            let ready = purpose == Purpose::Failback && weight(name) <= 0.0;
            if kept_out.contains(name) {
                InAnswers::Out
            } else if ready {
                InAnswers::In
            } else if case.share(name) < NOTHING {
                stands
            } else {
                InAnswers::Out
            }
        } else {
            let open = for_its_weight(name, *share).map_or(1.0, |part| part / most);
            InAnswers::slots(closed(open, slots), slots)
        };
        // A control that nobody turned yet may be off on a calm day.
        let unsure = lever == LeverKind::Arc && known.is_none() && *share >= shares::SAME;
        if slots > 0 && (to != stands || unsure || case.acts.doubts(lever, name)) {
            turns.push(Turn { region: name.clone(), to });
        }
    }
    // First those that open, of them first those that hold the traffic; then those that close, first
    // those that hold none.
    turns.sort_by_key(|turn| {
        let holds = weight(&turn.region) > 0.0;
        (turn.to, if turn.to == InAnswers::Out { holds } else { !holds })
    });
    turns
}

/// The number of slots to close so that `open` of a region's weight is left, and never all of them.
fn closed(open: f64, slots: usize) -> usize {
    // There are at most a hundred.
    let wanted = u32::try_from(slots).map_or(0.0, |slots| (1.0 - open) * f64::from(slots));
    (0..slots)
        .filter(|count| u32::try_from(*count).is_ok_and(|c| f64::from(c) + 0.5 <= wanted))
        .count()
        .min(slots.saturating_sub(1))
}

/// What the answers become after these turns.
fn reached(case: &Case<'_>, lever: LeverKind, turns: &[Turn]) -> Shares {
    shares::effective(&case.split, &case.acts.let_in_after(lever, turns))
}

/// Whether turning switches for this target changes the answers at all: one switch knows no half, so a
/// region that is to keep a part keeps everything. On the way home, opening what holds no traffic is
/// something to do as well.
pub(super) fn switches_reach(
    case: &Case<'_>,
    lever: LeverKind,
    target: &Shares,
    purpose: Purpose,
) -> bool {
    let turns = turns(case, lever, target, purpose);
    let moves = shares::distance(&reached(case, lever, &turns), &case.shares) >= shares::SAME;
    let there = shares::distance(target, &case.shares) < shares::SAME;
    moves
        || (purpose == Purpose::Failback && there && !turns.is_empty())
        || is_half_the_way(case, lever, purpose, &turns)
}

/// A switch of another lever keeps a region out as well that is to be let in: opening this one shows nothing
/// yet, and is the first half of the way.
fn is_half_the_way(case: &Case<'_>, lever: LeverKind, purpose: Purpose, turns: &[Turn]) -> bool {
    let others = || case.policy.levers.iter().map(crate::policy::Lever::kind);
    let is_out = |kind: LeverKind, turn: &Turn| {
        let standing = case.acts.standing(kind);
        standing.and_then(|all| all.get(&turn.region)) == Some(&InAnswers::Out)
    };
    let opens = |turn: &&Turn| turn.to != InAnswers::Out && is_out(lever, turn);
    matches!(purpose, Purpose::Failback | Purpose::Operator)
        && turns
            .iter()
            .filter(opens)
            .any(|turn| others().any(|kind| kind != lever && is_out(kind, turn)))
}

/// Whether these switches can take the step as it is, and give no region more than it may have.
pub(super) fn steps_to(
    case: &Case<'_>,
    lever: LeverKind,
    target: &Shares,
    purpose: Purpose,
) -> bool {
    let after = reached(case, lever, &turns(case, lever, target, purpose));
    let moves = shares::distance(&after, &case.shares) >= shares::SAME;
    moves
        && after.iter().all(|(name, share)| {
            let now = case.share(name);
            let may = target.get(name).copied().unwrap_or(0.0).max(now);
            *share < may + shares::SAME
        })
}

/// Home is written as the policy writes it; anything else on a scale of 100.
fn weights_for(case: &Case<'_>, target: &Shares) -> Option<Split> {
    if shares::distance(target, &plain(&case.home_split)) < EXACT {
        return Some(case.home_split.clone());
    }
    Split::towards(target, &case.shares).ok()
}

/// Whether a charge convicts.
pub(super) fn convicted(charge: &Charge) -> bool {
    matches!(charge, Charge::Convicted { .. })
}
