//! The executor without clients: says what would be called, and cannot call it.

use crate::domain::{BalancerName, Turn};
use crate::execute::{Execute, Progress};
use crate::journal::JournalError;
use crate::plan::{Batch, Plan, Wanted};
use crate::policy::LeverKind;

/// One call that would be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Change(Batch),
    Turn(LeverKind, Vec<Turn>),
    Refresh(BalancerName),
}

/// Collects the calls of the plans it is given. Holds no client, so nothing can go out.
#[derive(Debug, Clone, Default)]
pub struct Rehearse {
    pub calls: Vec<Call>,
}

#[async_trait::async_trait]
impl Execute for Rehearse {
    async fn carry_out(&mut self, plan: Plan) -> Result<Progress, JournalError> {
        match plan.wanted {
            Wanted::Refresh { balancer, .. } => self.calls.push(Call::Refresh(balancer)),
            Wanted::Move(moved) if moved.lever.is_switch() => {
                self.calls.push(Call::Turn(moved.lever, moved.turned()));
            }
            Wanted::Move(_) => self.calls.extend(plan.batches.into_iter().map(Call::Change)),
        }
        Ok(Progress::Nothing)
    }
}
