//! What is known about one running service, as one value: published as JSON, printed as a card. No IO.

use serde::{Deserialize, Serialize};

use crate::decide::Decision;
use crate::domain::{ServiceName, Split, Timestamp};
use crate::memory::{Abort, Acts, BatchState, Order, Pin, Request};
use crate::plan::{Epoch, Wanted};
use crate::policy::Mode;
use crate::report::history::Line;
use crate::report::{cures, zones};

/// Everything that `/v1/state` tells about one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub service: ServiceName,
    pub mode: Mode,
    /// Who acts, as written into the epoch record.
    pub holder: String,
    pub policy: PolicyState,
    pub ready: Readiness,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_round: Option<Timestamp>,
    /// Why the last round could not be finished.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trouble: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<Decision>,
    pub did: Did,
    /// The newest lines of the journal, oldest first.
    pub journal: Vec<Line>,
}

/// The policy file in force, and what became of the last attempt to replace it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyState {
    pub path: String,
    pub loaded_at: Timestamp,
    /// Set while the file on disk is refused and the older policy stays in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
}

/// What has to be true before a service may be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Readiness {
    pub journal_open: bool,
    /// The records were read at least once. True for a policy without a lever that reads any.
    pub answers_read: bool,
    pub windows_full: bool,
}

impl Readiness {
    pub fn ready(self) -> bool {
        self.journal_open && self.answers_read && self.windows_full
    }
}

/// What was done, out of [`Acts`], without the records themselves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Did {
    pub epoch: Epoch,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pin: Option<Pin>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub order: Option<OpenOrder>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ordered: Option<Split>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_end: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latched_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident_since: Option<Timestamp>,
    /// What a human asked for and still holds, met or not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<Request>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub abort: Option<Abort>,
    /// Zones out of which a balancer was taken, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub zones_away: Vec<String>,
    /// What a way back could not take back of a balancer, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_over: Vec<String>,
}

/// How far an order has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenOrder {
    pub epoch: Epoch,
    pub wanted: Wanted,
    pub intended_at: Timestamp,
    pub batches: usize,
    pub accepted: usize,
    /// Announced and not answered: it may or may not have happened.
    pub outcome_unknown: usize,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_sync_at: Option<Timestamp>,
}

impl Did {
    pub fn of(acts: &Acts, now: Timestamp) -> Self {
        Self {
            epoch: acts.epoch,
            pin: acts.pin_at(now).cloned(),
            order: acts.order.as_ref().map(OpenOrder::of),
            ordered: acts.ordered.clone(),
            last_end: acts.last_end,
            latched_since: acts.latched_since,
            incident_since: acts.incident_since,
            request: acts.request_at(now).cloned(),
            abort: acts.abort_at(now).cloned(),
            zones_away: zones::away(acts),
            left_over: cures::left_over(acts),
        }
    }
}

impl OpenOrder {
    fn of(order: &Order) -> Self {
        let count = |wanted: fn(&BatchState) -> bool| {
            order.batches.iter().filter(|state| wanted(state)).count()
        };
        Self {
            epoch: order.plan.epoch,
            wanted: order.plan.wanted.clone(),
            intended_at: order.intended_at,
            batches: order.batches.len(),
            accepted: count(|state| matches!(state, BatchState::Accepted { .. })),
            outcome_unknown: count(|state| matches!(state, BatchState::Sending { .. })),
            in_sync_at: order.in_sync_at,
        }
    }
}
