//! What a round does about zones, after everything else.

use tracing::info;

use super::{Reach, Service};
use crate::decide::Decision;
use crate::journal::JournalError;

impl Service {
    /// Follows up zonal shifts, and carries out what was decided about one.
    pub(super) async fn tend_zones(&mut self, decision: &Decision) -> Result<(), JournalError> {
        let act = decision.zone.as_ref().filter(|plan| plan.go).map(|plan| &plan.act);
        if act.is_none() && self.memory.acts.zones_away.is_empty() {
            return Ok(());
        }
        let mut looked = std::mem::take(&mut self.zones_looked);
        let mut executor = self.executor();
        let tended = executor.tend_zones(&mut looked).await;
        let acted = match (act, tended) {
            (Some(act), Ok(())) if self.reach == Reach::Everything => {
                info!(service = %self.policy.service, %act, "Shifting a zone.");
                self.executor().shift_zone(act, &mut looked).await
            }
            (_, tended) => tended,
        };
        self.zones_looked = looked;
        acted
    }
}
