//! What a dry run says of a move by switches: what is turned, what it depends on, when it is in force, and
//! what is answered before and after. No IO.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::path::{Credentials, Part, Plane, Step, next_lever};
use super::plan::Bounds;
use crate::doctor::{Answered, Facts, Standing, answered, unsound};
use crate::domain::{InAnswers, Ratio, RegionName, Turn, Weight, span};
use crate::health::Answers;
use crate::memory::Acts;
use crate::plan::{Move, Plan, Wanted};
use crate::policy::{Gate, LeverKind, Policy, Proof, Votes};
use crate::steer::{Health, flips, weighted};

/// One call of a gate with its retries, and one turn of routing controls over five endpoints, at most: the
/// time-outs of the edge.
pub(crate) const GATE_CALL_MAX: Duration = Duration::from_secs(7);
pub(crate) const TURN_MAX: Duration = Duration::from_secs(18);
/// All gates of a move: what is not set by then is read before it is set again.
pub(crate) const GATES_TURN_MAX: Duration = Duration::from_secs(20);

/// A page of a plan shows no more of what is wrong with records and checks.
const UNSOUND_MAX: usize = 10;

/// The move by switches of a plan, if it is one.
pub fn of(plan: &Plan) -> Option<&Move> {
    match &plan.wanted {
        Wanted::Move(moved) if moved.lever.is_switch() => Some(moved),
        Wanted::Move(_) | Wanted::Refresh { .. } => None,
    }
}

/// What would be turned: gates that are known to stand so are left alone, routing controls go in one call.
pub fn due(moved: &Move, acts: &Acts) -> Vec<Turn> {
    let mut turns = moved.turned();
    if moved.lever == LeverKind::Gates {
        let stands = |turn: &Turn| acts.stands(moved.lever, &turn.region) == turn.to;
        turns.retain(|turn| !stands(turn) || acts.doubts(moved.lever, &turn.region));
    }
    turns
}

/// Shares of the answers as Route 53's documented rules give them, by region.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    pub before: BTreeMap<RegionName, Ratio>,
    pub after: BTreeMap<RegionName, Ratio>,
    /// Only if so many controllers vote for it: `2 of 3 publish`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_if: Option<String>,
    /// Why the health checks are not those of the records, but those that the policy takes for granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks_unread: Option<String>,
    /// What of the records and their health checks keeps the move from working.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Distribution {
    /// From how all switches are known to stand, and from records and health checks as they were read. Where they
    /// were not (`wiring`), from the weights as read, or else those of a calm day, as if each record hung on the
    /// switches of its region and on nothing else.
    pub fn of(
        policy: &Policy,
        moved: &Move,
        acts: &Acts,
        answers: &Answers,
        wiring: Result<&Facts, String>,
    ) -> Self {
        let votes = policy.gates_lever().filter(|_| moved.lever == LeverKind::Gates);
        let votes = votes.map(|lever| lever.votes).filter(|votes| votes.needed > 1);
        let after_if = votes.map(|Votes { needed, of }| format!("{needed} of {of} publish"));
        let publish = votes.map_or(1, |votes| votes.needed);
        let told = wiring.and_then(|facts| as_read(policy, moved, acts, publish, facts));
        let (before, after, checks_unread, warnings) = match told {
            Ok((before, after, warnings)) => (before, after, None, warnings),
            Err(why) => {
                let after = acts.let_in_after(moved.lever, &moved.turned());
                let shares = |stands| of_the_policy(policy, answers, stands);
                (shares(&acts.let_in()), shares(&after), Some(why), Vec::new())
            }
        };
        Self { before, after, after_if, checks_unread, warnings }
    }

    /// `eu-central-1 0%, eu-west-1 100%`
    pub(super) fn words(shares: &BTreeMap<RegionName, Ratio>) -> String {
        let words = shares.iter().map(|(name, share)| format!("{name} {share}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

type Shares = BTreeMap<RegionName, Ratio>;

/// What the policy takes for granted: each record is healthy as far as its region's switches let it in.
fn of_the_policy(
    policy: &Policy,
    answers: &Answers,
    stands: &BTreeMap<RegionName, InAnswers>,
) -> Shares {
    let weight = |name: &RegionName, calm: Weight| match answers {
        Answers::Split { split, .. } => split.weight(name),
        Answers::Drift { .. } | Answers::Unknown => calm,
    };
    let records = policy.regions.iter().flat_map(|(name, region)| {
        let slots = policy.switches(LeverKind::Gates, name).max(1);
        let closed = stands.get(name).copied().unwrap_or(InAnswers::In).closed(slots);
        let health = move |slot| Health::of(slot >= closed);
        let weight = weight(name, region.weight).0;
        (0..slots).map(move |slot| (name.clone(), weight, health(slot)))
    });
    let shares = weighted(records).into_iter();
    shares.map(|(name, share)| (name, Ratio::new(share))).collect()
}

/// Before and after, by records and checks as they were read, and what is wrong with them. Of several names
/// the one that comes to be answered least as the move wants it.
fn as_read(
    policy: &Policy,
    moved: &Move,
    acts: &Acts,
    voters: u32,
    facts: &Facts,
) -> Result<(Shares, Shares, Vec<String>), String> {
    let (gates, controls) = (acts.gates.clone(), acts.controls.clone());
    let before = Standing { gates, controls, voters: 1 };
    let mut after = Standing { voters, ..before.clone() };
    let turned = moved.turned().into_iter().map(|turn| (turn.region, turn.to));
    match moved.lever {
        LeverKind::Arc => after.controls.extend(turned),
        LeverKind::Gates | LeverKind::Weights => after.gates.extend(turned),
    }
    let (before, after) = (answered(policy, facts, &before)?, answered(policy, facts, &after)?);
    let off = |one: &Answered| -> f64 {
        let share = |region| one.shares.get(region).map_or(0.0, |share| share.get());
        moved
            .to
            .weights()
            .keys()
            .map(|region| (share(region) - moved.to.share(region).get()).abs())
            .sum()
    };
    let worst = (0..after.len()).rev().max_by(|a, b| off(&after[*a]).total_cmp(&off(&after[*b])));
    let worst = worst.ok_or("no record was read")?;
    let (name, shown) = (&after[worst].name, after[worst].shares.clone());
    let mut warnings = Vec::new();
    for (region, share) in &shown {
        if moved.to.share(region).get() == 0.0 && share.get() > 0.0 {
            warnings
                .push(format!("after it `{region}` still has {share} of the answers to {name}"));
        }
    }
    let others = after.iter().filter(|one| one.shares != shown).count();
    if others > 0 {
        warnings
            .push(format!("{others} of {} names are answered otherwise than {name}", after.len()));
    }
    let wrong = unsound(policy, facts);
    let more = wrong.len().saturating_sub(UNSOUND_MAX);
    warnings.extend(wrong.into_iter().take(UNSOUND_MAX));
    if more > 0 {
        warnings.push(format!("and {more} more: `leeward doctor` tells all"));
    }
    Ok((before[worst].shares.clone(), shown, warnings))
}

/// What the calls may take in all, and how long what looks at the switches takes, at least and at most.
pub(super) fn times(policy: &Policy, moved: &Move, turns: &[Turn]) -> (Duration, Duration) {
    if moved.lever == LeverKind::Arc {
        return (TURN_MAX, Duration::ZERO);
    }
    let follows =
        policy.gates_lever().map(|lever| flips(lever.check.every, lever.check.failures).1);
    let written = turns.iter().flat_map(|turn| gates(policy, turn));
    let in_buckets = written.filter(|(gate, _)| matches!(gate, Gate::S3 { .. })).count();
    let calls = u32::try_from(in_buckets * 2).unwrap_or(u32::MAX);
    (GATE_CALL_MAX.saturating_mul(calls).min(GATES_TURN_MAX), follows.unwrap_or_default())
}

/// Each gate of a turn, and whether it is published.
fn gates<'a>(policy: &'a Policy, turn: &Turn) -> Vec<(&'a Gate, bool)> {
    let slots = policy.gates_lever().and_then(|lever| lever.slots.get(&turn.region));
    let slots = slots.map_or(&[][..], Vec::as_slice);
    let closed = turn.to.closed(slots.len());
    slots.iter().enumerate().map(|(number, slot)| (&slot.gate, number < closed)).collect()
}

/// The steps of a plan by switches: turn, be followed by the checks, be answered.
pub fn steps(
    policy: &Policy,
    moved: &Move,
    turns: &[Turn],
    bounds: &Bounds,
    credentials: &Credentials,
) -> Vec<Step> {
    let Some(proof) = policy.proof(moved.lever) else { return Vec::new() };
    let turned = bounds.detected() + bounds.round_every + bounds.paced;
    let next = next_lever(policy, moved.lever);
    let path = credentials.path();
    let mut steps = match moved.lever {
        LeverKind::Arc => vec![controls(policy, turns, turned, &path, &next)],
        LeverKind::Gates | LeverKind::Weights => {
            let all = turns.iter().flat_map(|turn| {
                let region = turn.region.clone();
                gates(policy, turn)
                    .into_iter()
                    .map(move |(gate, publish)| (region.clone(), gate, publish))
            });
            all.map(|(region, gate, publish)| one(&region, gate, publish, turned, &path, &next))
                .collect()
        }
    };
    let watcher = |what: &str, by: Duration, if_it_fails: String| Step {
        what: what.to_owned(),
        plane: Plane::Data,
        region: None,
        credentials: "none".to_owned(),
        calls: 0,
        change_tokens: 0,
        by,
        if_it_fails,
    };
    let within = span(proof.in_force_within);
    let back = format!("what is not in the answers after {within} is turned back, and {next}");
    if moved.lever == LeverKind::Gates {
        let by = turned + bounds.in_sync_typical;
        steps.push(watcher("the health checks follow", by, back.clone()));
    }
    steps.push(watcher(seen(proof), bounds.worst(), back));
    steps
}

fn one(
    region: &RegionName,
    gate: &Gate,
    publish: bool,
    by: Duration,
    path: &str,
    next: &str,
) -> Step {
    let verb = if publish { "publish" } else { "withdraw" };
    let action = if publish { "s3:PutObject" } else { "s3:DeleteObject" };
    let (what, credentials, calls) = match gate {
        Gate::S3 { bucket, key, .. } => {
            (format!("{verb} s3://{bucket}/{key}"), format!("{path}; {action}, s3:GetObject"), 2)
        }
        Gate::Http { url, .. } => {
            (format!("{verb} {url}"), "none: this process answers it".to_owned(), 0)
        }
        Gate::Unnamed => (format!("{verb} the gate of {region}"), "its own".to_owned(), 1),
    };
    let if_it_fails = format!(
        "refused: {next}; no answer: read first, then {next}; set again after 5s, at a pace that grows to 1m"
    );
    let place = gate.aws_region().map(str::to_owned);
    Step {
        what,
        plane: Plane::Data,
        region: place,
        credentials,
        calls,
        change_tokens: 0,
        by,
        if_it_fails,
    }
}

/// All controls in one transaction, over whichever endpoint answers.
fn controls(policy: &Policy, turns: &[Turn], by: Duration, path: &str, next: &str) -> Step {
    let state = |to| if to == InAnswers::In { "On" } else { "Off" };
    let turned = turns.iter().map(|turn| format!("{} {}", turn.region, state(turn.to)));
    let lever = policy.arc_lever();
    let endpoints = lever.map_or(0, |lever| lever.endpoints.len());
    let overrides = lever.is_some_and(|lever| !lever.override_rules.is_empty());
    // Asked before and after.
    let asked = lever.map_or(0, |lever| lever.controls.len() * 2);
    let rule = if overrides { "overridden where the policy names it" } else { "never overridden" };
    Step {
        what: format!("turn routing controls: {}", turned.collect::<Vec<_>>().join(", ")),
        plane: Plane::Data,
        region: None,
        credentials: format!(
            "{path}; route53-recovery-cluster:UpdateRoutingControlStates, GetRoutingControlState"
        ),
        calls: asked + 1,
        change_tokens: 0,
        by,
        if_it_fails: format!(
            "the next of {endpoints} endpoints, of which any one is enough; refused by a safety rule ({rule}): \
             told with the rule, and {next}; no answer from any: read first, then {next}"
        ),
    }
}

fn seen(proof: &Proof) -> &'static str {
    match proof.witness {
        Some(_) => "ask the witness at the configured name servers",
        None => "not observed: `witness: none`",
    }
}

/// The addends of the bound that are the lever's own, with their sources.
pub(super) fn parts(moved: &Move, bounds: &Bounds) -> Vec<Part> {
    let part = |what, takes, source, counted| Part { what, takes, source, counted };
    let calls = match moved.lever {
        LeverKind::Arc => "a question, an update and a question over five endpoints: our time-outs",
        LeverKind::Gates | LeverKind::Weights => {
            "each object written and read back: our time-outs with their retries, and no more than 20s in all"
        }
    };
    let in_force = match moved.lever {
        LeverKind::Arc => "policy, `in_force_within`; what takes longer is turned back",
        LeverKind::Gates | LeverKind::Weights => {
            "policy, `in_force_within`; what takes longer is turned back. The checks need `every` times \
             `failures` of it, checkers are not coordinated, and the step from a verdict to the name servers is \
             documented nowhere"
        }
    };
    vec![
        part("lever: calls, at most", bounds.paced, calls, true),
        part("lever: in the answers, at most", bounds.in_sync_within, in_force, true),
    ]
}

/// Gates that stand in an AWS region and would be turned.
pub(super) fn standing_in(policy: &Policy, moved: &Move, code: &str) -> Vec<RegionName> {
    let stands =
        |turn: &&Turn| gates(policy, turn).iter().any(|(gate, _)| gate.aws_region() == Some(code));
    let turns = moved.turned();
    turns.iter().filter(stands).map(|turn| turn.region.clone()).collect()
}
