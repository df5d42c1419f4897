//! From readings to a decision: one pure function, one result. No IO, no clock, no chance.

mod ask;
mod calm;
mod cause;
mod convict;
mod diagnose;
mod guard;
mod hold;
mod hooks;
mod left;
mod notes;
mod public;
mod refresh;
mod respond;
mod shares;
mod zonal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::calm::is_calm;
pub use self::hold::{Hold, StayWhy};
pub use self::left::left;
pub use self::shares::effective;

use self::convict::Charge;
use self::refresh::Treatment;
use self::respond::Response;
use self::shares::Shares;
use crate::bulletin::Bulletin;
use crate::domain::{BalancerName, InAnswers, Ratio, RegionName, Split, Timestamp, VantageName};
use crate::health::{Answers, Deploy, Evidence, Picture, Reading};
use crate::memory::{Acts, Memory, Order, Request};
use crate::pace::Refreshed;
use crate::plan::{HookCall, Purpose, RefreshAct, Wanted, ZonePlan};
use crate::policy::{Class, LeverKind, Mode, Policy};
use crate::tell::Letter;

/// What is wrong, as a closed list. Policies match these names, never raw metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Diagnosis {
    Well,
    RegionDown,
    RegionDegraded,
    BalancerFault,
    ZoneFault,
    CommonCause,
    ObserverIsolated,
    PathBroken,
    SignalsStale,
    StandbyUnready,
    ControlPlaneImpaired,
    NowhereToGo,
    Flapping,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One diagnosis, about whom, since when and by what evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub diagnosis: Diagnosis,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub region: Option<RegionName>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub balancer: Option<BalancerName>,
    pub since: Timestamp,
    /// Sentences with the numbers that led here.
    pub evidence: Vec<String>,
    /// What else it could have been, and why it is not.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ruled_out: Vec<String>,
    /// The smallest change of what is seen that would make another diagnosis of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub turns_if: Option<String>,
}

/// What one region looks like, whatever is done about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub reading: Reading,
    pub classes: BTreeMap<Class, ClassReading>,
    pub vantages: BTreeMap<VantageName, Reading>,
    pub balancers: BTreeMap<BalancerName, Reading>,
    pub success: Option<Ratio>,
    pub latency_ms: Option<f64>,
    pub bad_since: Option<Timestamp>,
    pub good_since: Option<Timestamp>,
    /// Whether traffic may be sent here, and if not, why.
    pub fit: Fitness,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassReading {
    pub reading: Reading,
    /// Age of the newest sample behind it.
    pub age: Option<Duration>,
    pub says: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// `room_rps` is what it can take on top, if known.
    Fit {
        room_rps: Option<f64>,
    },
    Unfit {
        why: String,
    },
    Unproven {
        why: String,
    },
}

/// What one round came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use = "a decision that nobody executes or prints is a silent outage"]
pub struct Decision {
    pub at: Timestamp,
    pub mode: Mode,
    pub regions: BTreeMap<RegionName, Verdict>,
    /// The gravest first. Never empty: `Well` is a finding.
    pub findings: Vec<Finding>,
    /// What is to be done now: every guard let it pass.
    pub wanted: Option<Wanted>,
    /// What would be done if the guards let it, for `advise`, `plan` and `why`.
    pub proposed: Option<Wanted>,
    /// What is to be done about a zone, beside everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZonePlan>,
    /// Why `proposed` is not (wholly) `wanted`.
    pub holds: Vec<Hold>,
    /// An open order that is no longer right and should be given up before it takes effect.
    pub withdraw: Option<String>,
    /// Hooks to call now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<HookCall>,
    pub notes: Vec<Letter>,
    pub incident: bool,
    /// How far what a human asked for has come.
    #[serde(default)]
    pub asked: Asking,
    /// What the public would be told now; `None` without a status page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<Bulletin>,
    /// The split in the answers as last read.
    pub split: Option<Split>,
}

/// How far a human's request has come in this round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asking {
    /// Nothing is asked, or it was met before.
    #[default]
    Nothing,
    /// Held, or under way.
    Waits,
    /// What is wanted is what was asked.
    Moves,
    /// The answers are as asked.
    Met,
}

/// A decision as the journal keeps it: small, and enough to explain it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    pub findings: Vec<Finding>,
    pub holds: Vec<Hold>,
    pub wanted: Option<Wanted>,
    pub proposed: Option<Wanted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZonePlan>,
    pub split: Option<Split>,
    /// Per region: class readings in words.
    pub readings: BTreeMap<RegionName, Vec<String>>,
}

impl Decision {
    pub fn diagnosis(&self) -> Diagnosis {
        self.findings.first().map_or(Diagnosis::Well, |finding| finding.diagnosis)
    }

    pub fn digest(&self) -> Digest {
        let says = |verdict: &Verdict| {
            verdict
                .classes
                .iter()
                .map(|(class, c)| format!("{class:?}: {:?}, {}", c.reading, c.says))
                .collect()
        };
        Digest {
            findings: self.findings.clone(),
            holds: self.holds.clone(),
            wanted: self.wanted.clone(),
            proposed: self.proposed.clone(),
            zone: self.zone.clone(),
            split: self.split.clone(),
            readings: self
                .regions
                .iter()
                .map(|(name, verdict)| (name.clone(), says(verdict)))
                .collect(),
        }
    }
}

/// Everything one decision looks at.
struct Case<'a> {
    policy: &'a Policy,
    acts: &'a Acts,
    evidence: &'a Evidence,
    /// Refreshes of the same balancers by other services.
    elsewhere: &'a BTreeMap<BalancerName, Refreshed>,
    picture: &'a Picture,
    now: Timestamp,
    /// Where traffic belongs: the region with the most weight on a calm day.
    home: RegionName,
    home_split: Split,
    /// The records as last read, or as last ordered.
    split: Split,
    /// What records and gates together answer.
    shares: Shares,
    /// When the incident began; now, if there is none yet.
    incident: Timestamp,
    charges: BTreeMap<RegionName, Charge>,
}

impl Case<'_> {
    fn convicted_since(&self, name: &RegionName) -> Option<Timestamp> {
        match self.charges.get(name)? {
            Charge::Convicted { since } => Some(*since),
            Charge::None | Charge::Accused(_) => None,
        }
    }

    /// Since when records that are to be read cannot be. A policy without a lever that reads any lacks
    /// nothing.
    fn unread_since(&self) -> Option<Timestamp> {
        self.policy.weights_lever()?;
        self.evidence.answers_unknown_since()
    }

    fn share(&self, name: &RegionName) -> f64 {
        self.shares.get(name).copied().unwrap_or(0.0)
    }

    /// The change that is the first suspect for what ails `sick`: young enough, made before the trouble,
    /// and made there.
    fn deploy_behind(&self, sick: &BTreeSet<RegionName>) -> Option<&Deploy> {
        let guard = self.policy.judge.deploy_guard?;
        let began =
            sick.iter().filter_map(|name| self.picture.regions.get(name)?.bad_since).min()?;
        self.evidence.deploys().iter().rev().find(|deploy| {
            began.since(deploy.at) <= guard
                && deploy.at <= began.plus(self.policy.judge.window)
                && sick.iter().any(|name| deploy.regions.contains(name))
        })
    }

    /// The same change, if it reached `other` as well and is still young.
    fn suspected_deploy(&self, sick: &BTreeSet<RegionName>, other: &RegionName) -> Option<&Deploy> {
        let guard = self.policy.judge.deploy_guard?;
        self.deploy_behind(sick).filter(|suspect| {
            self.evidence.deploys().iter().any(|deploy| {
                deploy.version == suspect.version
                    && deploy.regions.contains(other)
                    && self.now.since(deploy.at) <= guard
            })
        })
    }
}

/// What one round wants, before the guards.
struct Proposal {
    wanted: Option<Wanted>,
    purpose: Option<Purpose>,
    gaining: BTreeSet<RegionName>,
    holds: Vec<Hold>,
}

/// Decides one round for one service.
///
/// `memory.evidence` has taken in this round's observations already ([`crate::health::Evidence::take_in`]).
/// The same arguments always give the same decision. A round in which there is nothing to decide takes a
/// short way to it ([`is_calm`]).
pub fn decide(policy: &Policy, memory: &Memory, now: Timestamp) -> Decision {
    if is_calm(policy, memory, now) {
        calm::decision(policy, memory, now)
    } else {
        decide_in_full(policy, memory, now)
    }
}

/// The same, without the short way: what tests compare it with.
pub fn decide_in_full(policy: &Policy, memory: &Memory, now: Timestamp) -> Decision {
    let Some(case) = build(policy, memory, now) else {
        return nothing(policy, now);
    };
    let mut treated = BTreeMap::new();
    for (name, view) in case.picture.regions.iter().filter(|(name, _)| case.share(name) > 0.0) {
        // A balancer that drops requests is seen by probes alone: its own counters contradict them, so
        // its region is not convicted, and need not be.
        treated.insert(name.clone(), refresh::treatment(&case, name, view));
    }
    // One whose balancer could not be cured is left although its own counters see nothing.
    let spent = |name: &RegionName| matches!(treated.get(name), Some(Treatment::GiveUp(..)));
    let sick: BTreeSet<RegionName> = case
        .charges
        .iter()
        .filter(|(name, charge)| {
            (respond::convicted(charge) || spent(name)) && case.share(name) >= shares::SAME / 2.0
        })
        .map(|(name, _)| name.clone())
        .collect();
    let curable = |name: &RegionName| {
        matches!(treated.get(name), Some(Treatment::Refresh(..) | Treatment::Wait(..)))
    };
    let treatable: BTreeSet<RegionName> =
        treated.keys().filter(|name| curable(name)).cloned().collect();
    let zonal = zonal::zonal(&case);
    let stays = |name: &RegionName| curable(name) || zonal.spared.contains(name);
    let leaving: BTreeSet<RegionName> = sick.iter().filter(|name| !stays(name)).cloned().collect();
    let sick: BTreeSet<RegionName> = sick.union(&treatable).cloned().collect();
    let response = if leaving.is_empty() {
        respond::leave_last_resort(&case)
    } else {
        respond::leave(&case, &all_bad(&case, &leaving))
    };
    let homeward = if sick.is_empty() { respond::go_home(&case) } else { Response::default() };
    let proposal = propose(&case, &response, &homeward, &treatable, &treated);
    let away = shares::distance(&respond::plain(&case.home_split), &case.shares) >= shares::SAME;
    let mut findings = diagnose::findings(&case, &sick, &treated, &response);
    // What ails them has a name of its own.
    let explained = |finding: &Finding| {
        matches!(finding.diagnosis, Diagnosis::RegionDown | Diagnosis::RegionDegraded)
            && finding.region.as_ref().is_some_and(|name| zonal.spared.contains(name))
    };
    findings.retain(|finding| !explained(finding));
    let (settled, asked) = settle_both(&case, proposal);
    let Settled { wanted, proposed, mut holds, withdraw, mut calls } = settled;
    let (undo, against) = hooks::rollback(&case, &response);
    calls.extend(undo);
    calls.extend(hooks::after(&case));
    for hold in against.into_iter().chain(zonal.holds) {
        if !holds.contains(&hold) {
            holds.push(hold);
        }
    }
    if findings.is_empty() {
        findings.push(diagnose::well(case.policy, case.picture, now));
    }
    let unseen = notes::unseen(&case, &sick).map(|(name, _, _)| name.clone());
    let hurt: BTreeSet<RegionName> = sick.iter().cloned().chain(unseen).collect();
    let incident = is_incident(&case, &hurt, away);
    let mut decision = Decision {
        at: now,
        mode: policy.mode,
        regions: case
            .picture
            .regions
            .iter()
            .map(|(name, view)| {
                let charge = case.charges.get(name).unwrap_or(&Charge::None);
                (name.clone(), diagnose::verdict(policy, case.picture, charge, name, view))
            })
            .collect(),
        findings,
        wanted,
        proposed,
        zone: zonal.plan,
        holds,
        withdraw,
        calls,
        notes: Vec::new(),
        incident,
        asked,
        public: None,
        // What nobody has read or ordered is not shown as if it were known.
        split: case.evidence.split().or(case.acts.ordered.as_ref()).cloned(),
    };
    decision.public = public::bulletin(&case, &decision, &hurt);
    decision.notes = notes::notes(
        &case,
        &decision,
        &notes::Facts { sick: &sick, treated: &treated, response: &response, away },
    );
    decision
}

/// Users are hurt, or traffic is away from home because they were. Once open, it stays open until every
/// region that carries traffic has been well for as long as it takes to call one bad.
fn is_incident(case: &Case<'_>, hurt: &BTreeSet<RegionName>, away: bool) -> bool {
    let open = case.acts.incident_since.is_some();
    let calm =
        case.picture.regions.iter().filter(|(name, _)| case.share(name) > 0.0).all(|(_, view)| {
            view.good_since.is_some_and(|since| case.now.since(since) >= case.policy.judge.sustain)
        });
    // Where a human put traffic on a calm day is no incident.
    let by_hand = case.acts.shifts.last().is_some_and(|last| last.purpose == Purpose::Operator);
    let moved = case.acts.ordered.is_some() && !by_hand;
    !hurt.is_empty() || (open && !calm) || (away && (open || moved))
}

/// Regions that must not be chosen: those that are left, and everything else that is bad and carries.
fn all_bad(case: &Case<'_>, leaving: &BTreeSet<RegionName>) -> BTreeSet<RegionName> {
    let convicted = case
        .charges
        .iter()
        .filter(|(_, charge)| respond::convicted(charge))
        .map(|(name, _)| name.clone());
    leaving.iter().cloned().chain(convicted).collect()
}

fn nothing(policy: &Policy, now: Timestamp) -> Decision {
    Decision { holds: vec![Hold::AnswersUnknown], ..blank(policy, now) }
}

/// A decision in which nothing was found, and nothing is wanted or said.
fn blank(policy: &Policy, now: Timestamp) -> Decision {
    Decision {
        at: now,
        mode: policy.mode,
        regions: BTreeMap::new(),
        findings: Vec::new(),
        wanted: None,
        proposed: None,
        zone: None,
        holds: Vec::new(),
        withdraw: None,
        calls: Vec::new(),
        notes: Vec::new(),
        incident: false,
        asked: Asking::Nothing,
        public: None,
        split: None,
    }
}

fn build<'a>(policy: &'a Policy, memory: &'a Memory, now: Timestamp) -> Option<Case<'a>> {
    let (acts, evidence) = (&memory.acts, &memory.evidence);
    let picture = evidence.picture();
    let home_split = policy.home_split()?;
    let home = home_split
        .weights()
        .iter()
        .max_by_key(|(_, weight)| **weight)
        .map(|(name, _)| name.clone())?;
    let split = evidence.split().or(acts.ordered.as_ref()).unwrap_or(&home_split).clone();
    let shares = shares::effective(&split, &acts.let_in());
    let charges = picture
        .regions
        .iter()
        .map(|(name, view)| (name.clone(), convict::charge(policy, evidence, name, view, now)))
        .collect();
    let incident = acts.incident_since.unwrap_or(now);
    Some(Case {
        policy,
        acts,
        evidence,
        elsewhere: &memory.elsewhere,
        picture,
        now,
        home,
        home_split,
        split,
        shares,
        incident,
        charges,
    })
}

/// Picks the one thing to do: leave a sick region, cure a balancer, go home; in that order.
fn propose(
    case: &Case<'_>,
    response: &Response,
    homeward: &Response,
    treatable: &BTreeSet<RegionName>,
    treated: &BTreeMap<RegionName, Treatment>,
) -> Proposal {
    let mut proposal =
        Proposal { wanted: None, purpose: None, gaining: BTreeSet::new(), holds: Vec::new() };
    proposal.holds.extend(response.holds.iter().cloned());
    for (name, charge) in &case.charges {
        if let Charge::Accused(hold) = charge
            && case.share(name) > 0.0
        {
            proposal.holds.push(hold.clone());
        }
    }
    for treatment in treated.values() {
        if let Treatment::GiveUp(hold, _) = treatment {
            proposal.holds.push(hold.clone());
        }
    }
    let chosen = response.target.as_ref().or(homeward.target.as_ref());
    if let Some((target, purpose, because)) = chosen {
        let (lever, impaired) = pick_lever(case, target, *purpose);
        proposal.holds.extend(impaired);
        if proposal.holds.contains(&Hold::StepNeedsWeights) {
            return proposal;
        }
        let (lever, target) = match lever {
            Some(kind)
                if kind.is_switch() && !respond::switches_reach(case, kind, target, *purpose) =>
            {
                match in_part(case, response, kind) {
                    Some((lever, whole)) => (Some(lever), whole.unwrap_or(target)),
                    None => {
                        proposal.holds.push(Hold::StepNeedsWeights);
                        return proposal;
                    }
                }
            }
            lever => (lever, target),
        };
        proposal.purpose = Some(*purpose);
        proposal.gaining = target
            .iter()
            .filter(|(n, s)| **s - case.share(n) >= shares::SAME)
            .map(|(n, _)| n.clone())
            .collect();
        let because = because.clone();
        // Without a working lever the move is still shown, by the lever that was pulled and waits for
        // its next try, or by the one that is preferred.
        let pulled = case.acts.order.as_ref().map(Order::lever);
        let shown = lever
            .or(pulled.filter(|kind| case.policy.has_lever(*kind)))
            .or_else(|| case.policy.levers.first().map(crate::policy::Lever::kind));
        proposal.wanted =
            shown.and_then(|kind| respond::order(case, kind, target, *purpose, because));
        return proposal;
    }
    for name in treatable {
        match treated.get(name) {
            Some(Treatment::Refresh(wanted, _)) => {
                proposal.wanted = Some(wanted.clone());
                return proposal;
            }
            Some(Treatment::Wait(hold, _)) => proposal.holds.push(hold.clone()),
            Some(Treatment::None | Treatment::GiveUp(..)) | None => {}
        }
    }
    proposal.holds.extend(homeward.holds.iter().cloned());
    proposal
}

/// The lever for a move. Going home past closed gates first sets the weights behind them, so that
/// opening a gate gives the region no more than the step it may have. Where there are no weights to set
/// the gate stays closed, and the hold says so: `step` is a ceiling that somebody chose.
fn pick_lever(
    case: &Case<'_>,
    target: &Shares,
    purpose: Purpose,
) -> (Option<LeverKind>, Vec<Hold>) {
    let read_at = case.evidence.read_at();
    let unknown = case.evidence.answers_unknown_since();
    let drifted = matches!(case.evidence.answers(), Answers::Drift { .. });
    let (lever, holds) = guard::lever(case.policy, case.acts, unknown, read_at, drifted, case.now);
    let Some(closed) = closed_by(case).filter(|_| lever.is_some()) else { return (lever, holds) };
    let behind = shares::distance(&respond::plain(&case.split), target) < shares::SAME;
    // Opening a gate shows what stands behind it: somebody else's split is not ours to show.
    let shows = behind || respond::steps_to(case, closed, target, purpose);
    if purpose != Purpose::Failback || (shows && is_ours(case)) {
        return (Some(closed), holds);
    }
    if weights_may_step(case, read_at) {
        return (Some(LeverKind::Weights), holds);
    }
    (None, holds.into_iter().chain([Hold::StepNeedsWeights]).collect())
}

/// The switches that keep a region out, the preferred ones first.
fn closed_by(case: &Case<'_>) -> Option<LeverKind> {
    let keeps_out = |kind: &LeverKind| {
        case.acts.in_effect(*kind).values().any(|stands| *stands != InAnswers::In)
    };
    case.policy.levers.iter().map(crate::policy::Lever::kind).find(keeps_out)
}

/// A split that somebody else made is theirs, behind a gate as well.
fn is_ours(case: &Case<'_>) -> bool {
    case.split == case.home_split || case.acts.ordered.as_ref() == Some(&case.split)
}

/// Whether the weights behind a closed gate may be set now: only where they are as on a calm day or as we
/// ordered them. Unlike when a region is left, a lever that failed is tried again at its pace: there is no
/// haste, and no other lever does.
fn weights_may_step(case: &Case<'_>, read_at: Option<Timestamp>) -> bool {
    let paused = case.acts.levers.get(&LeverKind::Weights).is_some_and(|state| {
        guard::retry_at(LeverKind::Weights, state, read_at, case.now).is_some()
    });
    case.policy.weights_lever().is_some()
        && is_ours(case)
        && case.evidence.answers_unknown_since().is_none()
        && !paused
}

/// How to take a step that switches cannot take, as one knows no half: by weights, if they work; else the
/// region is left at once, if all of it fits elsewhere: better without the ramp than never. The way home
/// has no such haste and waits.
fn in_part<'a>(
    case: &Case<'_>,
    response: &'a Response,
    kind: LeverKind,
) -> Option<(LeverKind, Option<&'a Shares>)> {
    let weights = case.acts.levers.get(&LeverKind::Weights).cloned().unwrap_or_default();
    let works = case.policy.weights_lever().is_some()
        && case.evidence.answers_unknown_since().is_none()
        && weights.failures_in_a_row == 0;
    if works {
        return Some((LeverKind::Weights, None));
    }
    response.whole.as_ref().map(|whole| (kind, Some(whole)))
}

/// What the guards and the hooks left of a proposal.
#[derive(Default)]
struct Settled {
    wanted: Option<Wanted>,
    proposed: Option<Wanted>,
    holds: Vec<Hold>,
    withdraw: Option<String>,
    calls: Vec<HookCall>,
}

/// A human beats the machine: what is asked is done if the guards let it. If they do not, the machine
/// goes on as if nobody had asked, with the reasons of both.
fn settle_both(case: &Case<'_>, machine: Proposal) -> (Settled, Asking) {
    let Some(request) = ask::open(case) else {
        return (settle(case, machine, None), Asking::Nothing);
    };
    if ask::is_met(case, request) {
        return (settle(case, machine, None), Asking::Met);
    }
    let asked = settle(case, ask::proposal(case, request), Some(request));
    if asked.wanted.is_some() {
        return (asked, Asking::Moves);
    }
    if machine.wanted.is_none() {
        let mut asked = asked;
        asked.holds.extend(machine.holds);
        return (asked, Asking::Waits);
    }
    let mut settled = settle(case, machine, None);
    let new = asked.holds.into_iter().filter(|hold| !settled.holds.contains(hold));
    settled.holds.extend(new.collect::<Vec<_>>());
    let known = |call: &HookCall| settled.calls.iter().any(|other| other.key == call.key);
    let new: Vec<HookCall> = asked.calls.into_iter().filter(|call| !known(call)).collect();
    settled.calls.extend(new);
    (settled, Asking::Waits)
}

/// Lets the guards take away. What is left is wanted; what was taken away is still shown.
fn settle(case: &Case<'_>, proposal: Proposal, request: Option<&Request>) -> Settled {
    let mut holds = proposal.holds;
    let proposed = proposal.wanted;
    let open = case.acts.order.as_ref();
    let Some(wanted) = proposed.clone() else {
        let withdraw = open
            .filter(|order| order.may_be_given_up())
            .map(|_| "it is no longer right".to_owned());
        return Settled { holds, withdraw, ..Settled::default() };
    };
    let mut objections = Vec::new();
    let purpose = proposal.purpose.unwrap_or(Purpose::Operator);
    let intent = guard::Intent { purpose, gaining: &proposal.gaining };
    objections.extend(guard::objections(case.policy, case.acts, case.picture, &intent, case.now));
    objections.extend(warming_up(case));
    if let Wanted::Refresh { act, .. } = &wanted {
        let undoes = *act == Some(RefreshAct::Undo);
        objections.retain(|hold| speaks_against_refresh(case.policy, hold, undoes));
    }
    if let Wanted::Move(wanted) = &wanted {
        objections.extend(lever_objections(case, wanted.lever, &holds));
        objections.extend(order_objections(case, wanted));
    }
    if let Some(request) = request {
        objections.retain(|hold| !ask::passes(request, hold));
    }
    let withdraw = open
        .filter(|order| order.may_be_given_up() && !same_move(order, &wanted))
        .map(|_| "another move is right now".to_owned());
    let mut calls = Vec::new();
    if let Wanted::Move(moved) = &wanted
        && objections.is_empty()
        && !open.is_some_and(|order| same_move(order, &wanted))
    {
        let asked = hooks::before(case, moved);
        calls = asked.calls;
        objections.extend(asked.hold);
    }
    if objections.is_empty() {
        return Settled { wanted: Some(wanted), proposed, holds, withdraw, calls };
    }
    let withdraw = withdraw.or_else(|| {
        let stop = objections.iter().find(|hold| {
            matches!(hold, Hold::Pinned { .. } | Hold::Denied { .. } | Hold::Aborted { .. })
        });
        stop.filter(|_| open.is_some_and(Order::may_be_given_up)).map(ToString::to_string)
    });
    objections.append(&mut holds);
    Settled { wanted: None, proposed, holds: objections, withdraw, calls }
}

/// Lag, budgets and approvals of moves are about traffic; a refresh moves none. What does harm is taken back
/// whatever the hour, and without another yes: only a pin and a mode that never acts keep it.
fn speaks_against_refresh(policy: &Policy, hold: &Hold, undoes: bool) -> bool {
    let asks = matches!(hold, Hold::ApprovalNeeded { .. } | Hold::Denied { .. });
    let waits =
        matches!(hold, Hold::Blocked { .. } | Hold::WarmingUp { .. } | Hold::Aborted { .. });
    matches!(hold, Hold::Pinned { .. } | Hold::ModeObserves { .. })
        || (!undoes && (waits || (asks && policy.mode == Mode::Approve)))
}

/// After a start the windows fill first.
fn warming_up(case: &Case<'_>) -> Option<Hold> {
    let until = case.evidence.started()?.plus(case.policy.judge.window);
    (case.now < until).then_some(Hold::WarmingUp { until })
}

fn lever_objections(case: &Case<'_>, lever: LeverKind, holds: &[Hold]) -> Vec<Hold> {
    let mut objections = Vec::new();
    let impaired =
        |hold: &Hold| matches!(hold, Hold::LeverImpaired { lever: kind, .. } if *kind == lever);
    objections.extend(holds.iter().find(|hold| impaired(hold)).cloned());
    if lever == LeverKind::Weights {
        match case.evidence.answers() {
            Answers::Drift { what } => objections.push(Hold::Drift { what: what.clone() }),
            // Never read since the start, and no order of ours to go by.
            Answers::Unknown if case.acts.ordered.is_none() => {
                objections.push(Hold::AnswersUnknown);
            }
            Answers::Unknown | Answers::Split { .. } => {}
        }
    }
    objections
}

/// No order is stacked on one that is under way. Another lever may be taken when it is stuck.
fn order_objections(case: &Case<'_>, wanted: &crate::plan::Move) -> Option<Hold> {
    let order = case.acts.order.as_ref().filter(|order| !order.is_unsent())?;
    let since = order.accepted_at().unwrap_or(order.intended_at);
    let stuck = is_stuck(case, order);
    // Switches that stand hang at nothing: they come into force, or are turned back when their time is over.
    let hangs = order.accepted_at().is_none()
        && (!order.lever().is_switch() || order.lever() == wanted.lever);
    if wanted.lever.is_switch() && (stuck || hangs) {
        return None;
    }
    let to = match &order.plan.wanted {
        Wanted::Move(wanted) => wanted.to.clone(),
        Wanted::Refresh { .. } => return None,
    };
    Some(if stuck { Hold::ChangeStuck { since } } else { Hold::OrderOpen { since, to } })
}

fn is_stuck(case: &Case<'_>, order: &Order) -> bool {
    let within =
        case.policy.weights_lever().map_or(Duration::from_secs(300), |lever| lever.in_sync_within);
    order.in_sync_at.is_none() && order.accepted_at().is_some_and(|at| case.now.since(at) >= within)
}

fn same_move(order: &Order, wanted: &Wanted) -> bool {
    match (&order.plan.wanted, wanted) {
        (Wanted::Move(a), Wanted::Move(b)) => a.lever == b.lever && a.to == b.to,
        (Wanted::Refresh { .. }, _) | (_, Wanted::Refresh { .. }) => false,
    }
}
