//! Refreshes of balancers in sentences. No IO.

use super::history::outcome;
use crate::domain::BalancerName;
use crate::memory::{Acts, CureNote, LeftOver, Outcome};

/// One line of the journal.
pub(super) fn line(balancer: &BalancerName, note: &CureNote) -> (&'static str, String) {
    let about = format!("balancer `{balancer}`");
    match note {
        CureNote::Intended(cure) => {
            let kept =
                cure.kept_in.as_ref().map_or(String::new(), |file| format!(", kept in {file}"));
            let calls = cure.calls().count();
            (
                "refreshing",
                format!("{about}, {}, {calls} calls{kept}: {}", cure.purpose, cure.because),
            )
        }
        CureNote::Calling { step } => ("calling", format!("{about}, step {}", step + 1)),
        CureNote::Called { step, failure } => {
            ("called", outcome(&format!("{about}, step {}", step + 1), "taken", failure.as_ref()))
        }
        CureNote::Reached { step } => ("reached", format!("{about}, step {} is over", step + 1)),
        CureNote::Ended { outcome } => (
            "refreshed",
            match outcome {
                Outcome::Done => format!("{about}: done"),
                Outcome::Abandoned { why } => format!("{about}: abandoned, {why}"),
                Outcome::Refused { why } => format!("{about}: refused, {why}"),
            },
        ),
        CureNote::Refused { rung, why } => {
            let rung = rung.map_or(String::new(), |rung| format!(", {rung}"));
            ("refused", format!("{about}{rung}: {why}"))
        }
        CureNote::Twins { stand: false, .. } => {
            ("twins", format!("{about}: no twin gets the requests of a group any more"))
        }
        CureNote::Twins { stand: true, apart } if apart.is_empty() => {
            ("twins", format!("{about}: groups and their twins have the same targets"))
        }
        CureNote::Twins { stand: true, apart } => {
            let apart: Vec<String> = apart.iter().map(ToString::to_string).collect();
            ("twins", format!("{about}: {}", apart.join("; ")))
        }
        CureNote::StandsAgain => {
            ("stands", format!("{about}: what could not be taken back is as before again"))
        }
    }
}

/// What ways back could not take back, and twins that are not registered in as their groups.
pub(super) fn left_over(acts: &Acts) -> Vec<String> {
    let left = acts.left_over.iter();
    let left = left.map(|(balancer, left)| format!("balancer `{balancer}`: {}", of_one(left)));
    let apart = acts.twinned.iter().flat_map(|(balancer, twinned)| {
        twinned.apart.iter().map(move |apart| format!("balancer `{balancer}`: {apart}"))
    });
    left.chain(apart).collect()
}

/// What is left over of one balancer, and how it is brought back.
pub fn of_one(left: &LeftOver) -> String {
    let calls: Vec<String> =
        left.calls.iter().zip(&left.why).map(|(call, why)| format!("{call} ({why})")).collect();
    let file = left
        .kept_in
        .as_ref()
        .map_or(String::new(), |file| format!("; `leeward lb restore` with {file} brings it back"));
    format!("not taken back since {}: {}{file}", left.since, calls.join("; "))
}
