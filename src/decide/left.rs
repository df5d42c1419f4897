//! Whether a region that was taken out by switches is really left. Where no name server can be asked, its own
//! counters are the only ones who can tell that a control or a gate hangs on no record.

use crate::domain::{Left, Ratio, Timestamp};
use crate::health::Evidence;
use crate::plan::{Move, Purpose};
use crate::policy::{Lever, Policy};

/// Above this part of what it had, a region was not left. A lever that did nothing leaves all of it; one that
/// worked leaves those who overstay the time to live or keep their connections. Nothing documented says how many
/// those are: the middle is an assumption of ours.
const STAYS: f64 = 0.5;

/// Requests per second. Fewer prove nothing.
const HAD_MIN: f64 = 1.0;

/// What the regions that lose everything by this move still get. `gone_by`: until then users may come without
/// anything being wrong.
///
/// A region's part of the demand is what it had: demand is kept as it was before users failed, so a region at
/// which next to nothing arrives while it is sick is never taken for one that is still used. Only a move that has
/// another lever behind it is judged: turning the last one back would help nobody. So is none that goes home.
pub fn left(policy: &Policy, evidence: &Evidence, moved: &Move, gone_by: Timestamp) -> Left {
    let mut behind = policy.levers.iter().map(Lever::kind).skip_while(|kind| *kind != moved.lever);
    if behind.nth(1).is_none() || moved.purpose == Purpose::Failback {
        return Left::Unknown;
    }
    let Some(demand) = super::shares::demand(policy, evidence.picture()) else {
        return Left::Unknown;
    };
    let mut left = Left::Unknown;
    for region in moved.to.weights().keys() {
        let had = moved.from.share(region).get() * demand;
        if moved.to.share(region).get() > 0.0 || had < HAD_MIN {
            continue;
        }
        let Some((arrives, counted_from)) = evidence.arrives(policy, region) else { continue };
        if arrives <= had * STAYS {
            continue;
        }
        if counted_from >= gone_by {
            return Left::No(Ratio::new(arrives / had));
        }
        left = Left::NotToldYet;
    }
    left
}
