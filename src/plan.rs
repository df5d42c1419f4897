//! What is going to be done, in order, before anything is done. No IO.
//!
//! A [`Move`] is what the decision wants; a [`Plan`] is what the executor obeys. `plan::batch` makes
//! one from the other and from the records as they were read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod batch;
pub mod epoch;
pub mod hook;
pub mod inventory;
pub mod zonal;

pub use batch::{Unplannable, plan};
pub use epoch::EpochTxt;
pub use hook::{HookAnswer, HookCall, HookEnd};
pub use inventory::Inventory;
pub use zonal::{ZoneAct, ZonePlan, ZoneStep};

use crate::domain::{
    BalancerName, InAnswers, RecordName, RegionName, ServiceName, Split, Tally, Timestamp, Turn,
    Weight, ZoneId,
};
use crate::policy::{LeverKind, RungKind};

/// A call of unknown outcome may still land. Only after so long is "not there" believed for good: the
/// longest that the edge waits for one call, and as much again.
pub const SETTLED_AFTER: Duration = Duration::from_secs(30);

/// Counts the splits that were ever ordered for a service. Published in the epoch TXT.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why traffic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Away from a bad region.
    Evacuate,
    /// More of the same move, after the last step held.
    Ramp,
    /// Home again.
    Failback,
    /// To the cached copy.
    LastResort,
    /// A human asked for it.
    Operator,
    /// Back to what was ordered, after a crash left records half-way.
    Repair,
}

/// What the decision wants done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Move(Move),
    /// Refresh the configuration of one balancer.
    Refresh {
        balancer: BalancerName,
        region: RegionName,
        /// What exactly; the lever's own way if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        act: Option<RefreshAct>,
        /// How probes of it go before it begins.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        before: Option<Tally>,
    },
}

/// What is done to a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshAct {
    Rung(RungKind),
    /// The last one made it worse: back to how it was.
    Undo,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Move {
    pub lever: LeverKind,
    pub purpose: Purpose,
    /// The split that was read and that this move starts from.
    pub from: Split,
    pub to: Split,
    /// What is turned, for levers that turn switches: those that let in before those that take out.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub turns: Vec<Turn>,
    /// One sentence for people.
    pub because: String,
}

impl Move {
    /// What is turned. Orders in journals of older versions do not say it: their gates follow the split.
    ///
    /// A region that had nothing and gets nothing keeps its gate: closing it would only keep it from
    /// taking over later.
    pub fn turned(&self) -> Vec<Turn> {
        if !self.turns.is_empty() || !self.lever.is_switch() {
            return self.turns.clone();
        }
        let turn = |(region, weight): (&RegionName, &Weight)| {
            let to = match weight.0 {
                0 if self.from.weight(region).0 == 0 => return None,
                0 => InAnswers::Out,
                _ => InAnswers::In,
            };
            Some(Turn { region: region.clone(), to })
        };
        let mut turns: Vec<Turn> = self.to.weights().iter().filter_map(turn).collect();
        turns.sort_by_key(|turn| turn.to);
        turns
    }
}

/// One weighted (or TXT) record set, whole: what a `DELETE` must carry to the last value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    pub zone: ZoneId,
    pub name: RecordName,
    /// `A`, `AAAA`, `CNAME`, `TXT`, ... in upper case.
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub set_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weight: Option<Weight>,
    /// Seconds. Absent on alias records.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttl: Option<u32>,
    pub data: RecordData,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health_check: Option<String>,
    /// Fields that Leeward does not understand, by name. Such a set is never written.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub foreign: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordData {
    /// As on the wire: TXT values with their quotation marks.
    Values(Vec<String>),
    Alias {
        zone: ZoneId,
        /// Exactly as read: Route 53 compares it.
        name: String,
        evaluate_target_health: bool,
    },
}

/// `DELETE(before)` and `CREATE(after)` in one atomic batch: a compare-and-swap of one record set.
///
/// Without `before` it is a plain `CREATE`, which is refused if the set exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<RecordSet>,
    pub after: RecordSet,
}

/// What one `ChangeResourceRecordSets` call carries. All of it happens, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub zone: ZoneId,
    /// At most 256 characters; stored by Route 53 with the change.
    pub comment: String,
    pub swaps: Vec<Swap>,
}

impl Batch {
    /// Change tokens this batch costs: CREATE 1, DELETE 1.
    pub fn change_tokens(&self) -> usize {
        self.swaps.iter().map(|swap| 1 + usize::from(swap.before.is_some())).sum()
    }
}

/// A move, worked out to the last call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub service: ServiceName,
    pub epoch: Epoch,
    pub made_at: Timestamp,
    pub wanted: Wanted,
    /// In this order. For moves by the `weights` lever; empty otherwise.
    pub batches: Vec<Batch>,
    /// What each name of the service answers afterwards, by share.
    pub result: BTreeMap<RegionName, Weight>,
}
