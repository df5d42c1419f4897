//! Whether a round has anything to decide. In a year nearly none has, and need not weigh half a million
//! times what to do about nothing.

use std::collections::BTreeMap;

use crate::domain::{InAnswers, RegionName, Timestamp};
use crate::health::{Answers, Reading, RegionView};
use crate::memory::{Acts, Memory};
use crate::policy::{Mode, Policy};

use super::convict::Charge;
use super::{Decision, blank, diagnose, notes, shares};

/// True if [`super::decide`] could come to nothing but `Well`: nothing wanted, held, told or withdrawn, no
/// incident. Then only its numbers would be new. When in doubt it is false.
///
/// `memory.evidence` has taken in this round's observations already.
pub fn is_calm(policy: &Policy, memory: &Memory, now: Timestamp) -> bool {
    let picture = memory.evidence.picture();
    memory.evidence.answers_unknown_since().is_none()
        && at_home(policy, memory)
        && watches_over(policy, memory, now)
        && quiet(policy, &memory.acts, now)
        && !picture.regions.is_empty()
        && picture.regions.values().all(well)
        && picture
            .vantages
            .values()
            .all(|vantage| vantage.isolated_since.is_none() && vantage.broken_paths.is_empty())
        && roomy(policy, memory)
        && memory.evidence.started().is_some_and(|started| started <= now)
}

/// What a calm round comes to: the numbers, and that all is well.
pub(super) fn decision(policy: &Policy, memory: &Memory, now: Timestamp) -> Decision {
    let picture = memory.evidence.picture();
    let regions: BTreeMap<_, _> = picture
        .regions
        .iter()
        .map(|(name, view)| {
            (name.clone(), diagnose::verdict(policy, picture, &Charge::None, name, view))
        })
        .collect();
    Decision {
        regions,
        findings: vec![diagnose::well(policy, picture, now)],
        split: memory.evidence.split().cloned(),
        ..blank(policy, now)
    }
}

/// The records are as on a calm day, to the weight.
fn at_home(policy: &Policy, memory: &Memory) -> bool {
    let Answers::Split { split, .. } = memory.evidence.answers() else { return false };
    let weights = split.weights();
    weights.len() == policy.regions.len()
        && weights.iter().zip(&policy.regions).all(|((name, weight), (region, declared))| {
            name == region && *weight == declared.weight
        })
}

/// Whoever may not act says so every day, an operator's hooks may still have to hear of a move, and a status
/// page is renewed on a clock.
fn watches_over(policy: &Policy, memory: &Memory, now: Timestamp) -> bool {
    let acts = matches!(policy.mode, Mode::Approve | Mode::Auto);
    acts && memory.acts.pin_at(now).is_none()
        && policy.hooks.after.is_empty()
        && policy.status_page.is_none()
}

/// Nothing that was done, or left unsaid, asks for more.
fn quiet(policy: &Policy, acts: &Acts, now: Timestamp) -> bool {
    acts.order.is_none()
        && acts.cure.is_none()
        && acts.zones_away.is_empty()
        && acts.left_over.is_empty()
        && acts.twinned.values().all(|twinned| twinned.apart.is_empty())
        && acts.incident_since.is_none()
        && acts.request.is_none()
        && acts.abort.is_none()
        && acts.dead_channels.is_empty()
        && acts.site.failing.is_none()
        && acts.aside.is_none()
        && acts.hooks.is_empty()
        && acts.gates.values().chain(acts.controls.values()).all(|stands| *stands == InAnswers::In)
        && acts.doubtful.is_empty()
        && acts.elsewhere.is_empty()
        && acts.beside.is_none()
        && acts.calling.is_none()
        && acts.levers.values().all(|lever| lever.failures_in_a_row == 0)
        && acts.told.all_said()
        && notes::lasting(&policy.service, &acts.told, now).next().is_none()
}

fn well(view: &RegionView) -> bool {
    view.outside.reading == Reading::Good
        && view.by_vantage.values().all(|reading| *reading == Reading::Good)
        && view.bad_since.is_none()
        && view.blind_since.is_none()
        && view.traffic.reading != Reading::Bad
        && view.traffic_bad_since.is_none()
        && view.inside.reading != Reading::Bad
        && view.unfit.is_none()
        && view.part_gone_since.is_none()
        && view.balancers.values().all(|seen| seen.zones.iter().all(|z| z.bad_since.is_none()))
        && view.metrics.trouble_since().is_none()
        && view.spells < diagnose::FLAPPING_SPELLS
}

/// Each region that could be needed has room for everything: nobody must be told that it is too small.
fn roomy(policy: &Policy, memory: &Memory) -> bool {
    let picture = memory.evidence.picture();
    let Some(needs) = shares::demand(policy, picture) else { return true };
    let room = |name: &RegionName| shares::room(policy, picture, name);
    policy.serving().all(|(name, _)| room(name).is_none_or(|room| room >= needs))
}
