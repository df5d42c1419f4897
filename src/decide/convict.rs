//! Whether a region is bad enough, for long enough, by enough witnesses. Three answers: it is not
//! accused, it is accused but not convicted (with the hold that says why), it is convicted.

use std::time::Duration;

use super::Hold;
use crate::domain::{RegionName, Timestamp, VantageName};
use crate::health::{Evidence, Failing, Reading, RegionView};
use crate::policy::{Class, Policy};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Charge {
    /// Nothing speaks against it.
    None,
    /// Something does, but not enough.
    Accused(Hold),
    Convicted {
        since: Timestamp,
    },
}

/// Judges one region.
///
/// Outside evidence is the ground of every conviction: enough vantages, on the mean over the window,
/// without a break for as long as the policy demands, and in the newest probes still. Then the other
/// classes are heard:
/// - what users got at the balancers contradicts it, if those counters are usable, users do arrive,
///   and all of what was counted lies after the trouble began: then probes alone move nothing;
/// - if no other class confirms it (the counters of a dead region are silent), every vantage that is
///   not isolated must agree, not only the policy's minimum.
pub(super) fn charge(
    policy: &Policy,
    evidence: &Evidence,
    name: &RegionName,
    view: &RegionView,
    now: Timestamp,
) -> Charge {
    let judge = &policy.judge;
    let (bad_vantages, needs) = (view.bad_vantages(), policy.vantages_needed());
    let Some(since) = view.bad_since.filter(|_| view.outside.reading == Reading::Bad) else {
        if let Some(hold) = blind(evidence, name, view) {
            return Charge::Accused(hold);
        }
        if bad_vantages > 0 {
            return Charge::Accused(Hold::TooFewVantages {
                region: name.clone(),
                seen: bad_vantages,
                needs,
            });
        }
        if view.traffic.reading == Reading::Bad || view.inside.reading == Reading::Bad {
            let seen = accusers(view);
            return Charge::Accused(Hold::OneClassOnly {
                region: name.clone(),
                seen,
                needs: judge.classes_min,
            });
        }
        return Charge::None;
    };
    if now.since(since) < judge.sustain || !view.still_bad {
        return Charge::Accused(Hold::NotSustained {
            region: name.clone(),
            since,
            needs: judge.sustain,
        });
    }
    if judge.classes_min >= 2 {
        if contradicted(policy, evidence, name, view, since) {
            let hold = Hold::OneClassOnly {
                region: name.clone(),
                seen: accusers(view),
                needs: judge.classes_min,
            };
            return Charge::Accused(hold);
        }
        let confirmed = view.traffic.reading == Reading::Bad || view.inside.reading == Reading::Bad;
        let heard = view.by_vantage.values().filter(|r| **r != Reading::Unknown).count();
        if !confirmed && bad_vantages < heard {
            let hold =
                Hold::TooFewVantages { region: name.clone(), seen: bad_vantages, needs: heard };
            return Charge::Accused(hold);
        }
    }
    Charge::Convicted { since }
}

/// Probes tell nothing now: the trouble that was seen cannot be confirmed, or those who look have lost
/// their own network.
fn blind(evidence: &Evidence, name: &RegionName, view: &RegionView) -> Option<Hold> {
    if view.outside.reading != Reading::Unknown {
        return None;
    }
    let isolated: Vec<VantageName> = evidence
        .picture()
        .vantages
        .iter()
        .filter(|(_, vantage)| vantage.isolated_since.is_some())
        .map(|(vantage, _)| vantage.clone())
        .collect();
    if !isolated.is_empty() {
        return Some(Hold::ObserverIsolated { vantages: isolated });
    }
    view.bad_since.map(|_| Hold::EvidenceStale { region: name.clone() })
}

/// Users are served, say counters that cover the time of the trouble. Counters of errors say nothing
/// about slowness.
fn contradicted(
    policy: &Policy,
    evidence: &Evidence,
    name: &RegionName,
    view: &RegionView,
    since: Timestamp,
) -> bool {
    let covers = evidence.stamped(name).is_some_and(|stamp| stamp.minus(covered(policy)) >= since);
    view.traffic.reading == Reading::Good && view.failing == Some(Failing::Errors) && covers
}

/// So much of the counters' past goes into their mean. Half the window: by then most of what was
/// counted must be of the time of the trouble.
fn covered(policy: &Policy) -> Duration {
    policy.judge.window / 2
}

fn accusers(view: &RegionView) -> Vec<Class> {
    let classes = [
        (Class::Outside, &view.outside),
        (Class::Traffic, &view.traffic),
        (Class::Inside, &view.inside),
    ];
    classes.into_iter().filter(|(_, c)| c.reading == Reading::Bad).map(|(class, _)| class).collect()
}
