//! What is known of switches beyond how we left them: what somebody else turned.

use std::collections::BTreeMap;

use super::Acts;
use crate::domain::{InAnswers, RegionName, Turn};
use crate::policy::LeverKind;

impl Acts {
    pub(super) fn find_elsewhere(
        &mut self,
        lever: LeverKind,
        found: &BTreeMap<RegionName, InAnswers>,
    ) {
        if found.is_empty() {
            self.elsewhere.remove(&lever);
        } else {
            self.elsewhere.insert(lever, found.clone());
        }
    }

    /// What we turned stands as we turned it.
    pub(super) fn turned_by_us(&mut self, lever: LeverKind, turns: &[Turn]) {
        let Some(found) = self.elsewhere.get_mut(&lever) else { return };
        found.retain(|region, _| !turns.iter().any(|turn| turn.region == *region));
        if found.is_empty() {
            self.elsewhere.remove(&lever);
        }
    }
}
