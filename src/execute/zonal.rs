//! Zonal shifts: begun, renewed, taken back, each written down before it is called and read back after it.
//!
//! The service knows one shift of a balancer at a time and refuses a second one. A call whose answer was lost
//! is found by the comment that it carried, which is in the journal before it; only then is it known whether
//! there is anything to do again. What carries no comment of ours is somebody else's and left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{BalancerName, Timestamp};
use crate::execute::{Executor, SETTLED_AFTER};
use crate::journal::JournalError;
use crate::memory::{Entry, ZoneAway, ZoneEnd, ZoneNote};
use crate::plan::{ZoneAct, ZoneStep};
use crate::ports::{CallFailed, ShiftSeen, Shiftable};

/// Whether a shift still stands is read so often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What became of a call without an answer.
const LOOK_IN_DOUBT: Duration = Duration::from_secs(10);
/// What the service does not tell of a balancer, or what somebody else has begun, changes rarely.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// When each balancer was last read. It is no harm to lose it.
pub type Looked = BTreeMap<BalancerName, Timestamp>;

impl Executor<'_> {
    /// Finds out what became of calls without an answer, and whether what was begun still stands.
    pub async fn tend_zones(&mut self, looked: &mut Looked) -> Result<(), JournalError> {
        let Some(port) = self.levers.zonal_shifts.clone() else { return Ok(()) };
        for (balancer, away) in self.acts.zones_away.clone() {
            let now = self.clock.now();
            let over = away.stands.as_ref().is_some_and(|stands| now >= stands.until);
            let every = if over || away.is_in_doubt() { LOOK_IN_DOUBT } else { LOOK_EVERY };
            if looked.get(&balancer).is_some_and(|at| *at <= now && now.since(*at) < every) {
                continue;
            }
            looked.insert(balancer.clone(), now);
            let Ok(seen) = port.read(&away.act.arn).await else { continue };
            if let Some(note) = self.came_of(&away, &seen) {
                self.note_zone(&balancer, note)?;
            }
        }
        Ok(())
    }

    /// What a reading says of a shift of ours; `None` if nothing new.
    fn came_of(&self, away: &ZoneAway, seen: &Shiftable) -> Option<ZoneNote> {
        let now = self.clock.now();
        let announced = away.calling.map_or(away.intended_at, |(_, at)| at);
        let settled = now.since(announced) >= SETTLED_AFTER;
        let known = away.stands.as_ref().map(|stands| stands.id.as_str());
        let found = seen.shifts.iter().find(|shift| is_ours(shift, away, known));
        let ended = |end| Some(ZoneNote::Ended { end });
        match (found, &away.stands) {
            (Some(found), Some(stands)) => {
                let until = found.until.unwrap_or(stands.until);
                let news = away.calling.is_some() || until != stands.until;
                news.then(|| ZoneNote::Stands { id: found.id.clone(), until })
            }
            (Some(found), None) => {
                let until = found.until.unwrap_or(now);
                Some(ZoneNote::Stands { id: found.id.clone(), until })
            }
            (None, None) if settled => ended(ZoneEnd::NeverBegan),
            // It may still arrive.
            (None, None) => None,
            (None, Some(stands)) if now >= stands.until => ended(ZoneEnd::Expired),
            (None, Some(_)) if matches!(away.calling, Some((ZoneStep::Cancel, _))) => {
                ended(ZoneEnd::Cancelled)
            }
            // What was begun a moment ago may not be told everywhere yet.
            (None, Some(stands)) if now.since(stands.since) < SETTLED_AFTER => None,
            (None, Some(_)) => ended(ZoneEnd::TakenBack),
        }
    }

    /// Carries out what was decided about a zone.
    pub async fn shift_zone(
        &mut self,
        act: &ZoneAct,
        looked: &mut Looked,
    ) -> Result<(), JournalError> {
        if self.pinned() {
            return Ok(());
        }
        let (step, away) = (act.step, self.acts.zones_away.get(&act.balancer).cloned());
        match (step, away) {
            (ZoneStep::Start { expires }, None) => self.start_zone(act, expires, looked).await,
            (ZoneStep::Renew { expires }, Some(away)) => self.renew_zone(act, &away, expires).await,
            (ZoneStep::Cancel, Some(away)) => self.cancel_zone(act, &away).await,
            // Never two of one balancer, and nothing to renew or take back.
            (ZoneStep::Start { .. }, Some(_))
            | (ZoneStep::Renew { .. } | ZoneStep::Cancel, None) => Ok(()),
        }
    }

    async fn start_zone(
        &mut self,
        act: &ZoneAct,
        expires: Duration,
        looked: &mut Looked,
    ) -> Result<(), JournalError> {
        let now = self.clock.now();
        let Some(port) = self.levers.zonal_shifts.clone() else {
            return self.rest_zone(
                act,
                LOOK_AGAIN,
                "there is no client for zonal shifts".to_owned(),
            );
        };
        let seen = match port.read(&act.arn).await {
            Ok(seen) => seen,
            Err(failure @ CallFailed::NotFound { .. }) => {
                let why = format!("zonal shift is not enabled for it: {failure}");
                return self.rest_zone(act, LOOK_AGAIN, why);
            }
            Err(failure) => {
                let why = format!("it cannot be read what is shifted: {failure}");
                return self.rest_zone(act, LOOK_EVERY, why);
            }
        };
        let lost = self.acts.zones_paused.get(&act.balancer).and_then(|p| p.mark.clone());
        let mark = lost.unwrap_or_else(|| act.mark(&self.policy.service, now));
        let late = |shift: &&ShiftSeen| shift.comment == mark && shift.zone_id == act.zone_id;
        if let Some(shift) = seen.shifts.iter().find(late).or(seen.shifts.first()) {
            // A call that was given up for lost and arrived all the same.
            if late(&shift) {
                self.intend_zone(act, &mark)?;
                let (id, until) = (shift.id.clone(), shift.until.unwrap_or(now.plus(expires)));
                return self.note_zone(&act.balancer, ZoneNote::Stands { id, until });
            }
            let until = shift.until.map_or(String::new(), |until| format!(" until {until}"));
            let why = format!(
                "somebody else has shifted it away from {}{until} ({}: {})",
                shift.zone_id, shift.kind, shift.comment
            );
            let rest = shift.until.map_or(LOOK_AGAIN, |until| until.since(now));
            return self.rest_zone(act, rest.clamp(LOOK_EVERY, LOOK_AGAIN), why);
        }
        if !seen.zones.is_empty() && !seen.zones.contains(&act.zone_id) {
            let zones: Vec<&str> = seen.zones.iter().map(String::as_str).collect();
            let why = format!(
                "it has no zone {}, its zones are {}: `zones` of the policy is wrong",
                act.zone_id,
                zones.join(", ")
            );
            return self.rest_zone(act, LOOK_AGAIN, why);
        }
        self.intend_zone(act, &mark)?;
        let note = match port.start(&act.arn, &act.zone_id, expires, &mark).await {
            Ok(begun) => ZoneNote::Stands { id: begun.id, until: begun.until },
            Err(failure) => ZoneNote::Failed { failure },
        };
        // Read back in the next round.
        looked.remove(&act.balancer);
        self.note_zone(&act.balancer, note)
    }

    async fn renew_zone(
        &mut self,
        act: &ZoneAct,
        away: &ZoneAway,
        expires: Duration,
    ) -> Result<(), JournalError> {
        let Some((port, stands)) = self.levers.zonal_shifts.clone().zip(away.stands.clone()) else {
            return Ok(());
        };
        self.note_zone(&act.balancer, ZoneNote::Calling { step: act.step })?;
        let note = match port.renew(&act.arn, &stands.id, expires).await {
            Ok(until) => ZoneNote::Stands { id: stands.id, until },
            Err(failure) => ZoneNote::Failed { failure },
        };
        self.note_zone(&act.balancer, note)
    }

    async fn cancel_zone(&mut self, act: &ZoneAct, away: &ZoneAway) -> Result<(), JournalError> {
        let Some((port, stands)) = self.levers.zonal_shifts.clone().zip(away.stands.clone()) else {
            return Ok(());
        };
        self.note_zone(&act.balancer, ZoneNote::Calling { step: act.step })?;
        let note = match port.cancel(&act.arn, &stands.id).await {
            Ok(()) => ZoneNote::Ended { end: ZoneEnd::Cancelled },
            Err(failure) => ZoneNote::Failed { failure },
        };
        self.note_zone(&act.balancer, note)
    }

    fn intend_zone(&mut self, act: &ZoneAct, mark: &str) -> Result<(), JournalError> {
        let act = act.clone();
        let (balancer, mark) = (act.balancer.clone(), mark.to_owned());
        self.note_zone(&balancer, ZoneNote::Intended { act: Box::new(act), mark })
    }

    fn rest_zone(
        &mut self,
        act: &ZoneAct,
        rest: Duration,
        why: String,
    ) -> Result<(), JournalError> {
        let until = self.clock.now().plus(rest);
        self.note_zone(&act.balancer, ZoneNote::Waits { until, why })
    }

    fn note_zone(&mut self, balancer: &BalancerName, note: ZoneNote) -> Result<(), JournalError> {
        self.note(&Entry::Zone { balancer: balancer.clone(), note })
    }
}

/// By its id; or, while that is not known, by the comment that only ours carries.
fn is_ours(shift: &ShiftSeen, away: &ZoneAway, id: Option<&str>) -> bool {
    match id {
        Some(id) => shift.id == id,
        None => shift.comment == away.mark && shift.zone_id == away.act.zone_id,
    }
}

#[cfg(test)]
mod tests;
