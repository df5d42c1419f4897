//! Which balancers are refreshed by which service of a process: two policies may name the same one.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::Pacer;
use crate::domain::{ServiceName, Timestamp};

/// Of two that want to begin at once the second one sees the first in its next round.
const CLAIMED_FOR: Duration = Duration::from_secs(60);

/// Refreshes of one balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refreshed {
    /// When each ended, or began if it is not over.
    pub made: Vec<Timestamp>,
    /// The newest of these, or by when the next word of one that is not over is due.
    pub newest: Option<Timestamp>,
}

/// By ARN, and by service.
pub(super) type Refreshes = BTreeMap<String, BTreeMap<ServiceName, Refreshed>>;

impl Pacer {
    /// Takes in all that `service` did to balancers, by ARN, and gives what others did to the same ones.
    pub fn exchange_refreshes(
        &self,
        service: &ServiceName,
        own: BTreeMap<String, Refreshed>,
    ) -> BTreeMap<String, Refreshed> {
        let mut all = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = BTreeMap::new();
        for (arn, refreshed) in own {
            let of_it = all.entry(arn.clone()).or_default();
            let mut sum = Refreshed::default();
            for (_, other) in of_it.iter().filter(|(name, _)| *name != service) {
                sum.made.extend(&other.made);
                sum.newest = sum.newest.max(other.newest);
            }
            of_it.insert(service.clone(), refreshed);
            if sum != Refreshed::default() {
                others.insert(arn, sum);
            }
        }
        others
    }

    /// Whether `service` may begin to refresh a balancer now. If so, no other may for a moment: until it has
    /// heard of it.
    pub fn claim_balancer(&self, service: &ServiceName, arn: &str, now: Timestamp) -> bool {
        let mut all = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = all.entry(arn.to_owned()).or_default();
        let fresh = |at: Timestamp| now.since(at) < CLAIMED_FOR;
        if of_it.iter().any(|(name, other)| name != service && other.newest.is_some_and(fresh)) {
            return false;
        }
        of_it.entry(service.clone()).or_default().newest = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Pace;

    #[test]
    fn two_services_never_begin_with_one_balancer_at_once_and_hear_of_each_other() {
        let pacer = Pacer::new(Pace::default());
        let (shop, search): (ServiceName, ServiceName) =
            ("shop".parse().unwrap(), "search".parse().unwrap());
        let at = Timestamp::from_secs;
        let own = |made: &[i64]| {
            let made: Vec<Timestamp> = made.iter().copied().map(at).collect();
            BTreeMap::from([("arn".to_owned(), Refreshed { newest: made.last().copied(), made })])
        };
        assert!(pacer.exchange_refreshes(&shop, own(&[10, 20])).is_empty());
        assert_eq!(pacer.exchange_refreshes(&search, own(&[15])), own(&[10, 20]));
        assert_eq!(pacer.exchange_refreshes(&shop, own(&[10, 20])), own(&[15]));
        assert!(pacer.claim_balancer(&shop, "arn", at(1000)));
        assert!(pacer.claim_balancer(&shop, "arn", at(1001)), "its own");
        assert!(!pacer.claim_balancer(&search, "arn", at(1002)));
        assert!(pacer.claim_balancer(&search, "another", at(1002)));
        assert!(pacer.claim_balancer(&search, "arn", at(1062)));
    }
}
