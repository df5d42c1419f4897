//! What is told of moves, and which of several losses in one incident a page is about.

use std::collections::BTreeSet;

use super::super::shares;
use super::{Desk, Draft, region, word};
use crate::domain::{RegionName, Split};
use crate::memory::Shift;
use crate::plan::{Move, Purpose, Wanted};
use crate::policy::{Policy, Role};
use crate::tell::{Account, Kind, Severity, Topic, Word};

/// Where traffic was moved away from in an incident so far.
#[derive(Debug, Default, PartialEq)]
struct Losses {
    count: usize,
    /// What the last move left; nothing after a step home.
    left: BTreeSet<RegionName>,
}

impl Losses {
    /// Another region than the one that is left already. More of the same move is no news.
    fn is_another(&self, left: &BTreeSet<RegionName>) -> bool {
        !left.is_subset(&self.left)
    }

    fn take(&mut self, policy: &Policy, shift: &Shift) {
        match shift.purpose {
            Purpose::Repair => return,
            Purpose::Failback => {
                self.left.clear();
                return;
            }
            Purpose::Evacuate | Purpose::Ramp | Purpose::LastResort | Purpose::Operator => {}
        }
        let left = left_by(policy, &shift.from, &shift.to);
        if self.is_another(&left) {
            self.count += 1;
            self.left = left;
        }
    }
}

/// The regions that a move takes traffic from. Leaving the last resort is no loss.
fn left_by(policy: &Policy, from: &Split, to: &Split) -> BTreeSet<RegionName> {
    let serves = |name: &&RegionName| {
        policy.regions.get(*name).is_none_or(|region| region.role != Role::LastResort)
    };
    let loses = |name: &&RegionName| from.share(name).get() > to.share(name).get();
    from.weights().keys().filter(serves).filter(loses).cloned().collect()
}

impl Desk<'_> {
    /// What tells a page about `name` from those of earlier losses in this incident: nothing for the first. Where
    /// traffic went may fail as well, or home again after the way back, and then somebody must hear of it anew.
    pub(super) fn which_loss(&self, name: &RegionName) -> String {
        let (case, acts) = (self.case, self.case.acts);
        let mut losses = Losses::default();
        let here = |shift: &&Shift| acts.incident_since.is_some_and(|since| shift.at >= since);
        let shifts: Vec<&Shift> = acts.shifts.iter().filter(here).collect();
        for shift in &shifts {
            losses.take(case.policy, shift);
        }
        let order = acts.order.as_ref().map(|order| &order.plan.wanted);
        let moving: Option<&Move> = match self.decision.wanted.as_ref().or(order) {
            Some(Wanted::Move(moved)) if moved.purpose != Purpose::Failback => Some(moved),
            Some(_) | None => None,
        };
        let leaves = moving.map(|moved| left_by(case.policy, &moved.from, &moved.to));
        let another = match leaves.filter(|left| left.contains(name)) {
            Some(left) => losses.is_another(&left),
            None => !losses.left.contains(name) && case.share(name) >= shares::SAME,
        };
        let last = shifts.last().map(|shift| shift.purpose);
        let resort = moving.map(|moved| moved.purpose).or(last) == Some(Purpose::LastResort);
        let resort = if resort { ":resort" } else { "" };
        match losses.count + usize::from(another) {
            0 | 1 => resort.to_owned(),
            count => format!(":{count}{resort}"),
        }
    }

    /// What a move came to, once it is in force.
    pub(super) fn moved(&mut self) {
        let acts = self.case.acts;
        let Some(shift) = acts.shifts.last().filter(|shift| {
            acts.order.is_none()
                && acts.incident_since.is_some_and(|since| shift.at >= since)
                && acts.last_end.is_some_and(|end| end >= shift.at)
        }) else {
            return;
        };
        let took = shift.at;
        let text = format!("traffic was moved: {}", shares::changes(&shift.from, &shift.to));
        let gaining = shift.to.weights().keys();
        let gaining =
            gaining.filter(|name| shift.to.share(name).get() > shift.from.share(name).get());
        let topics: Vec<Topic> =
            [word(Word::Shifted)].into_iter().chain(gaining.map(region)).collect();
        let account = Account { done: vec![text.clone()], ..Account::default() };
        self.tell(Draft {
            severity: Severity::Info,
            key: format!("moved:{took}"),
            kind: Kind::Changed,
            about: &topics,
            text: &text,
            account,
        });
    }
}
