//! Gates and balancers: switches that can be set again without harm, so no compare-and-swap.

use crate::domain::{BalancerName, RegionName};
use crate::execute::{Executor, Progress};
use crate::journal::JournalError;
use crate::memory::{Entry, Outcome};
use crate::plan::Wanted;
use crate::ports::{CallFailed, InAnswers};

impl Executor<'_> {
    /// Sets one gate, written down before and after.
    pub async fn gate(
        &mut self,
        region: &RegionName,
        to: InAnswers,
    ) -> Result<Progress, JournalError> {
        self.note(&Entry::Gating { region: region.clone(), to })?;
        let answer = match &self.levers.gates {
            Some(gates) => gates.set(region, to).await,
            None => Err(CallFailed::NotSent { why: "there are no gates".to_owned() }),
        };
        let failure = answer.err();
        self.note(&Entry::Gated { region: region.clone(), to, failure: failure.clone() })?;
        Ok(ended(failure))
    }

    /// Refreshes the configuration of one balancer, written down before and after.
    pub async fn refresh(&mut self, balancer: &BalancerName) -> Result<Progress, JournalError> {
        self.note(&Entry::Refreshing { balancer: balancer.clone() })?;
        let answer = match &self.levers.balancers {
            Some(balancers) => balancers.refresh(balancer).await,
            None => Err(CallFailed::NotSent { why: "there is no client for balancers".to_owned() }),
        };
        let failure = answer.err();
        self.note(&Entry::Refreshed { balancer: balancer.clone(), failure: failure.clone() })?;
        Ok(ended(failure))
    }

    /// Opens gates before it closes any, so that the answers are never empty, and goes on where it was
    /// stopped: a gate may be set twice.
    pub(super) async fn take_gates_on(&mut self) -> Result<Progress, JournalError> {
        let Some(Wanted::Move(moved)) = self.acts.order.as_ref().map(|order| &order.plan.wanted)
        else {
            return Ok(Progress::Nothing);
        };
        let mut wanted: Vec<(InAnswers, RegionName)> = moved
            .to
            .weights()
            .iter()
            .map(|(region, weight)| {
                let to = if weight.0 > 0 { InAnswers::In } else { InAnswers::Out };
                (to, region.clone())
            })
            .collect();
        // `In` sorts before `Out`.
        wanted.sort();
        for (to, region) in wanted {
            if self.acts.gates.get(&region) == Some(&to) {
                continue;
            }
            match self.gate(&region, to).await? {
                Progress::Ended(Outcome::Done) => {}
                Progress::Ended(_) | Progress::Working | Progress::Nothing => {
                    return Ok(Progress::Working);
                }
            }
        }
        self.end(Outcome::Done).map(Progress::Ended)
    }
}

fn ended(failure: Option<CallFailed>) -> Progress {
    Progress::Ended(match failure {
        None => Outcome::Done,
        Some(failure) => Outcome::Refused { why: failure.to_string() },
    })
}
