//! What a round does about balancers beside what was decided: what refreshes left behind, and what other services
//! of this process do to the same ones.

use std::time::Duration;

use super::{Reach, Service};
use crate::balancer::cure::Step;
use crate::domain::BalancerName;
use crate::journal::JournalError;
use crate::memory::Acts;
use crate::pace::Refreshed;

impl Service {
    /// Tells other services what this one does to balancers, and hears what they do.
    pub(super) fn hear_others(&mut self) {
        if self.policy.refresh.is_none() {
            return;
        }
        let all = self.policy.regions.values().flat_map(|region| &region.balancers);
        let known: Vec<(&BalancerName, &String)> =
            all.filter_map(|balancer| Some((&balancer.name, balancer.arn.as_ref()?))).collect();
        let own = known.iter().map(|(name, arn)| ((*arn).clone(), of_one(&self.memory.acts, name)));
        let others = self.pace.exchange_refreshes(&self.policy.service, own.collect());
        let heard = known
            .into_iter()
            .filter_map(|(name, arn)| Some((name.clone(), others.get(arn)?.clone())));
        self.memory.elsewhere = heard.collect();
    }

    /// What refreshes left behind.
    pub(super) async fn tend_aftermath(&mut self) -> Result<(), JournalError> {
        let nothing = self.memory.acts.left_over.is_empty() && self.memory.acts.twinned.is_empty();
        if nothing || self.reach != Reach::Everything {
            return Ok(());
        }
        let mut looked = std::mem::take(&mut self.behind_looked);
        let tended = self.executor().tend_aftermath(&mut looked).await;
        self.behind_looked = looked;
        tended
    }
}

fn of_one(acts: &Acts, balancer: &BalancerName) -> Refreshed {
    let list = acts.refreshes.get(balancer).map(Vec::as_slice).unwrap_or_default();
    let made: Vec<_> = list.iter().filter(|done| !done.refused).map(|done| done.at).collect();
    let open = acts.cure.as_ref().filter(|open| &open.cure.balancer == balancer);
    let newest = made.last().copied().max(open.map(|open| {
        let step = open.cure.steps.get(open.done);
        open.last_at.plus(step.map_or(Duration::ZERO, Step::patience))
    }));
    Refreshed { made, newest }
}
