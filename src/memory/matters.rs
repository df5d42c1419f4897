//! Matters beside the regions: the cached copy of the last resort, and messages that nobody understood.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

/// What became of a new copy of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Why there is no new one. The one before stays then.
    pub failure: Option<String>,
    /// When that one was made, if there is one.
    pub kept_from: Option<Timestamp>,
    pub pages: usize,
    pub octets: usize,
}

/// What is known of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteState {
    pub copied_at: Option<Timestamp>,
    /// Since when no new copy can be made, and why not.
    pub failing: Option<(Timestamp, String)>,
}

impl SiteState {
    pub(super) fn apply(&mut self, at: Timestamp, copied: &Copied) {
        match &copied.failure {
            None => *self = Self { copied_at: Some(at), failing: None },
            Some(why) => {
                self.copied_at = copied.kept_from;
                let since = self.failing.as_ref().map_or(at, |(since, _)| *since);
                self.failing = Some((since, why.clone()));
            }
        }
    }
}

/// After so long without another one a message that was not understood is news again.
const ASIDE_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Messages from outside that were kept aside, since the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    pub since: Timestamp,
    pub last: Timestamp,
    pub count: u64,
    /// By door: the reason of the newest.
    pub doors: BTreeMap<String, String>,
}

impl Aside {
    pub(super) fn take(
        before: Option<Self>,
        at: Timestamp,
        doors: &BTreeMap<String, String>,
        count: u64,
    ) -> Self {
        let new = Self { since: at, last: at, count: 0, doors: BTreeMap::new() };
        let going_on = before.filter(|before| at.since(before.last) < ASIDE_AFTER);
        let mut aside = going_on.unwrap_or(new);
        aside.last = at;
        aside.count = aside.count.saturating_add(count);
        // The names of doors are a closed list of ours.
        aside.doors.extend(doors.clone());
        aside
    }
}
