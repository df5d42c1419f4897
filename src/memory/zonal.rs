//! Zonal shifts of our own, as the journal tells them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Acts;
use crate::domain::{BalancerName, Timestamp, backoff};
use crate::plan::{ZoneAct, ZoneStep};
use crate::ports::CallFailed;

/// What the journal says of a zonal shift, in the order in which it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneNote {
    /// The next thing is the call that begins it, with this comment.
    Intended {
        act: Box<ZoneAct>,
        mark: String,
    },
    /// The next thing is the call that renews it or takes it back.
    Calling {
        step: ZoneStep,
    },
    /// It is in force, by the answer to a call or by what was read.
    Stands {
        id: String,
        until: Timestamp,
    },
    Failed {
        failure: CallFailed,
    },
    Ended {
        end: ZoneEnd,
    },
    /// Nothing was touched, and nothing is tried before then.
    Waits {
        until: Timestamp,
        why: String,
    },
}

/// How a zonal shift ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneEnd {
    /// We took it back.
    Cancelled,
    /// Its time was over.
    Expired,
    /// Somebody else took it back.
    TakenBack,
    /// The call that was to begin it never arrived.
    NeverBegan,
}

/// A zonal shift that we began, or may have begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ZoneAway {
    pub act: ZoneAct,
    /// Its comment.
    pub mark: String,
    pub intended_at: Timestamp,
    /// Its id, since when it stands, and when it ends by itself. `None` while nobody knows whether it began.
    pub stands: Option<Standing>,
    /// A call about it whose outcome is unknown, and when it was announced.
    pub calling: Option<(ZoneStep, Timestamp)>,
    /// Failed calls in a row, and the last of them.
    pub failures: u32,
    pub failed: Option<(Timestamp, CallFailed)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub id: String,
    pub since: Timestamp,
    pub until: Timestamp,
}

/// No zonal shift of a balancer is begun before then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZonePause {
    pub until: Timestamp,
    pub why: String,
    /// Calls that failed in a row.
    pub failures: u32,
    /// Of a call that may arrive late: a shift with this comment is ours.
    pub mark: Option<String>,
}

/// After a failed call; doubled with each further one in a row.
const RETRY_FIRST: Duration = Duration::from_secs(30);
const RETRY_MAX: Duration = Duration::from_secs(480);

fn retry_after(failures: u32) -> Duration {
    backoff(RETRY_FIRST, failures, RETRY_MAX)
}

impl ZoneAway {
    /// When the next call may be made after one that failed.
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.failed.as_ref().map(|(at, _)| at.plus(retry_after(self.failures)))
    }

    /// Nobody knows what became of the last call.
    pub fn is_in_doubt(&self) -> bool {
        self.stands.is_none() || self.calling.is_some()
    }
}

impl Acts {
    pub(super) fn note_zone(&mut self, at: Timestamp, balancer: &BalancerName, note: &ZoneNote) {
        match note {
            ZoneNote::Intended { act, mark } => {
                let away = ZoneAway {
                    act: (**act).clone(),
                    mark: mark.clone(),
                    intended_at: at,
                    stands: None,
                    calling: Some((act.step, at)),
                    failures: 0,
                    failed: None,
                };
                self.zones_away.insert(balancer.clone(), away);
            }
            ZoneNote::Calling { step } => {
                if let Some(away) = self.zones_away.get_mut(balancer) {
                    away.calling = Some((*step, at));
                }
            }
            ZoneNote::Stands { id, until } => {
                self.zones_paused.remove(balancer);
                let Some(away) = self.zones_away.get_mut(balancer) else { return };
                let since = away.stands.as_ref().map_or(at, |stands| stands.since);
                away.stands = Some(Standing { id: id.clone(), since, until: *until });
                away.calling = None;
                away.failures = 0;
                away.failed = None;
            }
            ZoneNote::Failed { failure } => self.fail_zone(at, balancer, failure),
            ZoneNote::Ended { end } => self.end_zone(at, balancer, *end),
            ZoneNote::Waits { until, why } => {
                self.pause_zone(balancer, *until, why.clone(), |pause| pause.failures = 0);
            }
        }
    }

    fn fail_zone(&mut self, at: Timestamp, balancer: &BalancerName, failure: &CallFailed) {
        let Some(away) = self.zones_away.get_mut(balancer) else { return };
        away.failures += 1;
        away.failed = Some((at, failure.clone()));
        if !failure.nothing_happened() {
            return;
        }
        away.calling = None;
        if away.stands.is_none() {
            self.zones_away.remove(balancer);
            let failures = self.zones_paused.get(balancer).map_or(0, |pause| pause.failures) + 1;
            let until = at.plus(retry_after(failures));
            self.pause_zone(balancer, until, failure.to_string(), |pause| {
                pause.failures = failures;
            });
        }
    }

    fn end_zone(&mut self, at: Timestamp, balancer: &BalancerName, end: ZoneEnd) {
        let Some(away) = self.zones_away.remove(balancer) else { return };
        match end {
            ZoneEnd::Cancelled | ZoneEnd::Expired => {}
            ZoneEnd::TakenBack => {
                // Whoever took it back had a reason. It is not begun again before it would have ended.
                let until = away.stands.map_or(at, |stands| stands.until).max(at);
                let why = "somebody took the last one back".to_owned();
                self.pause_zone(balancer, until, why, |_| {});
            }
            ZoneEnd::NeverBegan => {
                let failures = self.zones_paused.get(balancer).map_or(0, |p| p.failures) + 1;
                let why = "the last call was never answered, and had no effect".to_owned();
                self.pause_zone(balancer, at.plus(retry_after(failures)), why, |pause| {
                    pause.failures = failures;
                    pause.mark = Some(away.mark);
                });
            }
        }
    }

    fn pause_zone(
        &mut self,
        balancer: &BalancerName,
        until: Timestamp,
        why: String,
        change: impl FnOnce(&mut ZonePause),
    ) {
        let mark = self.zones_paused.remove(balancer).and_then(|pause| pause.mark);
        let mut pause = ZonePause { until, why, failures: 0, mark };
        change(&mut pause);
        self.zones_paused.insert(balancer.clone(), pause);
    }
}
