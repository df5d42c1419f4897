//! What ways back had to leave: looked at now and then until it stands as it should.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::no_client;
use crate::balancer::{Call, Snapshot};
use crate::domain::{BalancerName, Timestamp};
use crate::execute::Executor;
use crate::journal::JournalError;
use crate::memory::{CureNote, Entry};
use crate::pace::Elb;
use crate::ports::CallFailed;

/// Somebody has to mend it by hand, which takes minutes at least.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// What a look at a balancer of a few groups takes.
const LOOK_COST: u32 = 20;

impl Executor<'_> {
    /// Looks at what is left over. `looked` says when; it is no harm to lose it.
    pub async fn tend_left_over(
        &mut self,
        looked: &mut BTreeMap<BalancerName, Timestamp>,
    ) -> Result<(), JournalError> {
        looked.retain(|balancer, _| self.acts.left_over.contains_key(balancer));
        let now = self.clock.now();
        for balancer in self.acts.left_over.keys().cloned().collect::<Vec<_>>() {
            let young = |at: &Timestamp| *at <= now && now.since(*at) < LOOK_EVERY;
            if looked.get(&balancer).is_some_and(young) {
                continue;
            }
            looked.insert(balancer.clone(), now);
            if let Ok(live) = self.look_at_left_over(&balancer).await {
                self.see_left_over(&balancer, &live)?;
            }
        }
        Ok(())
    }

    async fn look_at_left_over(&mut self, balancer: &BalancerName) -> Result<Snapshot, CallFailed> {
        let (Some(client), Some(left)) =
            (self.levers.configurations.clone(), self.acts.left_over.get(balancer))
        else {
            return Err(no_client());
        };
        // `arn:aws:elasticloadbalancing:REGION:...`
        let aws_region = left.arn.split(':').nth(3).unwrap_or_default();
        if self.pace.try_take_elb(aws_region, Elb::Reads, LOOK_COST).is_err() {
            return Err(CallFailed::NotSent { why: "no tokens left".to_owned() });
        }
        let also: BTreeSet<String> = left.calls.iter().filter_map(Call::group).cloned().collect();
        client.read(&left.arn, &also, self.clock.now()).await
    }

    /// Forgets what is left over of a balancer if all of it stands.
    pub(super) fn see_left_over(
        &mut self,
        balancer: &BalancerName,
        live: &Snapshot,
    ) -> Result<(), JournalError> {
        let left = self.acts.left_over.get(balancer);
        if !left.is_some_and(|left| left.calls.iter().all(|call| live.shows(call))) {
            return Ok(());
        }
        let note = CureNote::StandsAgain;
        self.note(&Entry::Cure { balancer: balancer.clone(), note })
    }
}
