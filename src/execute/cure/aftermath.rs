//! What refreshes left behind: what a way back could not take back, until it stands as it should, and twins of
//! groups in which somebody goes on registering. Both are looked at now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::no_client;
use crate::balancer::swap::{apart, twins};
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
    /// Looks at what is left behind. `looked` says when; it is no harm to lose it.
    pub async fn tend_aftermath(
        &mut self,
        looked: &mut BTreeMap<BalancerName, Timestamp>,
    ) -> Result<(), JournalError> {
        let acts = &*self.acts;
        let behind: BTreeSet<BalancerName> =
            acts.left_over.keys().chain(acts.twinned.keys()).cloned().collect();
        looked.retain(|balancer, _| behind.contains(balancer));
        let now = self.clock.now();
        for balancer in behind {
            let young = |at: &Timestamp| *at <= now && now.since(*at) < LOOK_EVERY;
            if looked.get(&balancer).is_some_and(young) {
                continue;
            }
            looked.insert(balancer.clone(), now);
            if let Ok(live) = self.look_behind(&balancer).await {
                self.see_aftermath(&balancer, &live)?;
            }
        }
        Ok(())
    }

    async fn look_behind(&mut self, balancer: &BalancerName) -> Result<Snapshot, CallFailed> {
        let Some(client) = self.levers.configurations.clone() else { return Err(no_client()) };
        let left = self.acts.left_over.get(balancer);
        let twinned = self.acts.twinned.get(balancer).map(|twinned| &twinned.arn);
        let Some(arn) = left.map(|left| &left.arn).or(twinned) else { return Err(no_client()) };
        // `arn:aws:elasticloadbalancing:REGION:...`
        let aws_region = arn.split(':').nth(3).unwrap_or_default();
        if self.pace.try_take_elb(aws_region, Elb::Reads, LOOK_COST).is_err() {
            return Err(CallFailed::NotSent { why: "no tokens left".to_owned() });
        }
        let calls = left.into_iter().flat_map(|left| &left.calls);
        let also: BTreeSet<String> = calls.filter_map(Call::group).cloned().collect();
        client.read(arn, &also, self.clock.now()).await
    }

    /// Takes in what a look shows.
    pub(super) fn see_aftermath(
        &mut self,
        balancer: &BalancerName,
        live: &Snapshot,
    ) -> Result<(), JournalError> {
        let stands = |calls: &[Call]| calls.iter().all(|call| live.shows(call));
        if self.acts.left_over.get(balancer).is_some_and(|left| stands(&left.calls)) {
            let note = CureNote::StandsAgain;
            self.note(&Entry::Cure { balancer: balancer.clone(), note })?;
        }
        let Some(twinned) = self.acts.twinned.get(balancer) else { return Ok(()) };
        let (stand, apart) = (twins(live).next().is_some(), apart(live));
        if stand && apart == twinned.apart {
            return Ok(());
        }
        let note = CureNote::Twins { stand, apart };
        self.note(&Entry::Cure { balancer: balancer.clone(), note })
    }
}
