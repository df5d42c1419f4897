//! What a human asked for, as a proposal: which split, who gains, and what speaks against it that no
//! human may override.

use std::collections::{BTreeMap, BTreeSet};

use super::respond::{self, Response};
use super::shares::{self, Shares};
use super::{Case, Hold, Proposal};
use crate::domain::{InAnswers, RegionName};
use crate::health::Reading;
use crate::memory::{Asked, Request};
use crate::plan::{Purpose, Wanted};
use crate::policy::{Failback, Role};

/// The request that is neither met nor over.
pub(super) fn open<'a>(case: &Case<'a>) -> Option<&'a Request> {
    case.acts.request_at(case.now).filter(|request| request.met_at.is_none())
}

/// The answers are as asked, as far as they were read, and nothing is under way.
pub(super) fn is_met(case: &Case<'_>, request: &Request) -> bool {
    let read = case.policy.weights_lever().is_none()
        || (case.evidence.split().is_some() && case.evidence.answers_unknown_since().is_none());
    let as_asked = match &request.what {
        Asked::Shift { to, share } => (case.share(to) - share.get()).abs() < shares::SAME,
        Asked::Failback => is_home(case),
        Asked::Reviewed { wanted, .. } => {
            shares::distance(&respond::plain(&wanted.to), &case.shares) < shares::SAME
        }
    };
    read && as_asked && case.acts.order.is_none()
}

fn is_home(case: &Case<'_>) -> bool {
    let home = respond::plain(&case.home_split);
    shares::distance(&home, &case.shares) < shares::SAME
        && shares::distance(&home, &respond::plain(&case.split)) < shares::SAME
        && case.acts.gates.values().all(|gate| *gate == InAnswers::In)
}

/// Whether this request may pass a hold. A request is its own approval, and what is said later outranks
/// what was said before.
pub(super) fn passes(request: &Request, hold: &Hold) -> bool {
    if let Hold::ApprovalNeeded { .. } = hold {
        return true;
    }
    if let Hold::Denied { since } | Hold::Aborted { since, .. } = hold {
        return *since <= request.at;
    }
    hold.guard().is_some_and(|guard| request.overrides.contains(&guard))
}

/// The proposal of an open request, whether or not it may be carried out.
pub(super) fn proposal(case: &Case<'_>, request: &Request) -> Proposal {
    let because = format!("{} asked: {}", request.by, request.reason);
    let (target, purpose) = match &request.what {
        Asked::Shift { to, share } => match toward(case, to, share.get()) {
            Some(target) => (target, Purpose::Operator),
            None => return held(vec![Hold::NowhereToGo]),
        },
        Asked::Failback => match homeward(case) {
            Ok(target) => (target, Purpose::Failback),
            Err(hold) => return held(vec![hold]),
        },
        Asked::Reviewed { wanted, .. } => (respond::plain(&wanted.to), wanted.purpose),
    };
    let gaining = target.iter().filter(|(name, share)| **share - case.share(name) >= shares::SAME);
    let mut holds: Vec<Hold> = gaining.clone().filter_map(|(name, _)| unfit(case, name)).collect();
    holds.extend(gaining.filter_map(|(name, share)| {
        cramped(case, name, *share).filter(|hold| !passes(request, hold))
    }));
    if let Some(hold) = soaking(case, request, &target).filter(|hold| !passes(request, hold)) {
        holds.push(hold);
    }
    if !holds.is_empty() {
        return held(holds);
    }
    let response = Response {
        whole: Some(target.clone()),
        target: Some((target, purpose, because)),
        ..Response::default()
    };
    let (no_cure, no_home) = (BTreeSet::new(), Response::default());
    let mut proposal = super::propose(case, &response, &no_home, &no_cure, &BTreeMap::new());
    if let (Asked::Reviewed { wanted, .. }, Some(_)) = (&request.what, &proposal.wanted) {
        // To the last weight as it was reviewed, by the lever that was reviewed.
        proposal.wanted = Some(Wanted::Move((**wanted).clone()));
    }
    proposal
}

fn held(holds: Vec<Hold>) -> Proposal {
    Proposal { wanted: None, purpose: None, gaining: BTreeSet::new(), holds }
}

/// `part` of the answers to one region, the rest as it is spread now; as at home if nobody else carries
/// anything. `None` if the rest would belong to nobody.
fn toward(case: &Case<'_>, to: &RegionName, part: f64) -> Option<Shares> {
    case.policy.regions.get(to)?;
    let home = respond::plain(&case.home_split);
    let others = |shares: &Shares| -> f64 {
        shares.iter().filter(|(name, _)| *name != to).map(|(_, share)| share).sum()
    };
    let base = if others(&case.shares) >= shares::SAME { &case.shares } else { &home };
    let sum = others(base);
    if part < 1.0 && sum <= 0.0 {
        return None;
    }
    let share = |name: &RegionName| match name == to {
        true => part,
        false if part >= 1.0 => 0.0,
        false => base.get(name).copied().unwrap_or(0.0) / sum * (1.0 - part),
    };
    Some(case.policy.regions.keys().map(|name| (name.clone(), share(name))).collect())
}

/// Home, or the next step there as the policy's own way home would take it.
fn homeward(case: &Case<'_>) -> Result<Shares, Hold> {
    let home = respond::plain(&case.home_split);
    let now = |name: &RegionName| case.share(name);
    match case.policy.failback {
        Failback::Manual => Ok(home),
        Failback::Auto { step_max, every, .. } => {
            let last = case.acts.shifts.last().filter(|shift| shift.purpose == Purpose::Failback);
            if let Some(until) =
                last.map(|last| last.at.plus(every)).filter(|until| case.now < *until)
            {
                return Err(Hold::FailbackSoaking { home: case.home.clone(), until });
            }
            let largest = home.iter().map(|(name, share)| share - now(name)).fold(0.0, f64::max);
            let part = if largest > step_max.get() { step_max.get() / largest } else { 1.0 };
            Ok(home
                .iter()
                .map(|(name, share)| (name.clone(), now(name) + (share - now(name)) * part))
                .collect())
        }
    }
}

/// A region that is bad, or that nothing proves fit, gets no traffic whoever asks.
fn unfit(case: &Case<'_>, name: &RegionName) -> Option<Hold> {
    let role = case.policy.regions.get(name).map(|region| region.role);
    let view = case.picture.regions.get(name);
    let convicted = case.charges.get(name).is_some_and(respond::convicted);
    let fit = match (role, view) {
        (Some(Role::LastResort), Some(view)) => match view.outside.reading {
            Reading::Good => true,
            Reading::Unknown => !respond::is_probed(case, name),
            Reading::Bad => false,
        },
        (_, Some(_)) => respond::is_fit(case, name),
        (_, None) => false,
    };
    (!fit || convicted).then(|| {
        let why = view.and_then(|view| view.unfit.clone());
        let why = why.unwrap_or_else(|| "nothing proves it fit".to_owned());
        Hold::DestinationUnready { region: name.clone(), why }
    })
}

fn cramped(case: &Case<'_>, name: &RegionName, share: f64) -> Option<Hold> {
    let needs = shares::demand(case.policy, case.picture)? * share;
    let room = shares::room(case.policy, case.picture, name)?;
    let region = name.clone();
    (room < needs).then_some(Hold::NoRoom { region, room_rps: room, needs_rps: needs })
}

/// Going home by the policy's own rules wants unbroken health first.
fn soaking(case: &Case<'_>, request: &Request, target: &Shares) -> Option<Hold> {
    let (Asked::Failback, Failback::Auto { hold, .. }) = (&request.what, case.policy.failback)
    else {
        return None;
    };
    let dwell = hold * respond::dwell_factor(case);
    target.iter().filter(|(name, share)| **share - case.share(name) >= shares::SAME).find_map(
        |(name, _)| {
            let since = case.picture.regions.get(name)?.fit_since?;
            let until = since.plus(dwell);
            (case.now < until).then(|| Hold::FailbackSoaking { home: name.clone(), until })
        },
    )
}
