//! What a dry run says of a move by switches: what is turned, what it depends on, and when it is in force.

use std::fmt::Write as _;
use std::time::Duration;

use super::paragraph;
use crate::domain::{InAnswers, Turn, span};
use crate::plan::{Move, Plan, Wanted};
use crate::policy::{Gate, Lever, LeverKind, Policy, Proof};
use crate::steer::{flips, in_force_within};

/// The move by switches of a plan, if it is one.
pub(super) fn of(plan: &Plan) -> Option<&Move> {
    match &plan.wanted {
        Wanted::Move(moved) if moved.lever.is_switch() => Some(moved),
        Wanted::Move(_) | Wanted::Refresh { .. } => None,
    }
}

/// The steps, what they need, the times, and what happens if it fails.
pub(super) fn steps(page: &mut String, moved: &Move, policy: &Policy) {
    let _ = writeln!(page);
    let mut number = 0;
    for turn in moved.turned() {
        for (what, needs) in calls(&turn, moved.lever, policy) {
            number += 1;
            let _ = writeln!(page, "  {number}  {what:<52} data plane: {needs}");
        }
    }
    let Some(proof) = policy.proof(moved.lever) else { return };
    let _ = writeln!(page, "  {}  {:<52} data plane: DNS", number + 1, seen(proof));
    paragraph(page, "in force", &in_force(moved.lever, policy, proof));
    paragraph(page, "if it fails", &if_it_fails(moved.lever, policy, proof));
}

/// Each call of one turn, and what has to work for it.
fn calls(turn: &Turn, lever: LeverKind, policy: &Policy) -> Vec<(String, String)> {
    let region = &turn.region;
    if lever == LeverKind::Arc {
        let state = if turn.to == InAnswers::In { "On" } else { "Off" };
        let needs = "one of the cluster's five endpoints".to_owned();
        return vec![(format!("turn the routing control of {region} {state}"), needs)];
    }
    let slots = policy.gates_lever().and_then(|lever| lever.slots.get(region));
    let slots = slots.map_or(&[][..], Vec::as_slice);
    let closed = turn.to.closed(slots.len());
    let call = |(number, slot): (usize, &crate::policy::Slot)| {
        let verb = if number < closed { "publish" } else { "withdraw" };
        match &slot.gate {
            Gate::S3 { bucket, key, aws_region, .. } => {
                (format!("{verb} s3://{bucket}/{key}"), format!("S3 in {aws_region}"))
            }
            Gate::Http { url, aws_region } => {
                let place = aws_region.as_deref().unwrap_or("where it runs");
                (format!("{verb} {url}"), format!("this process, {place}"))
            }
            Gate::Unnamed => (format!("{verb} the gate of {region}"), "its own".to_owned()),
        }
    };
    slots.iter().enumerate().map(call).collect()
}

fn seen(proof: &Proof) -> &'static str {
    match proof.witness {
        Some(_) => "ask the witness at the configured name servers",
        None => "not observed: `witness: none`",
    }
}

fn in_force(lever: LeverKind, policy: &Policy, proof: &Proof) -> String {
    let ttl = span(proof.ttl);
    let check = policy.gates_lever().filter(|_| lever == LeverKind::Gates).map(|gates| gates.check);
    let Some(check) = check else {
        return format!("as soon as the name servers have it, and {ttl} for answers given before");
    };
    let (first, last) = flips(check.every, check.failures);
    let whole = in_force_within(check.every, check.failures, proof.ttl);
    format!(
        "within {}: the checks follow after {} to {} ({} times {}; checkers are not coordinated), answers \
         given before live for {ttl}; the step from a verdict to the name servers is documented nowhere",
        span(whole),
        or_at_once(first),
        span(last),
        check.failures,
        span(check.every),
    )
}

fn or_at_once(time: Duration) -> String {
    if time.is_zero() { "no time".to_owned() } else { span(time) }
}

fn if_it_fails(lever: LeverKind, policy: &Policy, proof: &Proof) -> String {
    let after = policy.levers.iter().map(Lever::kind).skip_while(|kind| *kind != lever).nth(1);
    let next =
        after.map_or("no other lever is left".to_owned(), |kind| format!("`{kind}` is tried next"));
    format!(
        "what is not in the answers after {} is turned back, and {next}",
        span(proof.in_force_within)
    )
}
