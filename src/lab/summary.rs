//! What it came to: how long each stage took, and what it cost, counted at the visitors.

use std::time::Duration;

use serde::Serialize;

use super::clients::Book;
use super::control::{At, Moment};
use super::outage::{Demand, Outage};
use super::setup::Tempo;
use crate::balancer::cure::Purpose;
use crate::domain::{BalancerName, RegionName, Timestamp};
use crate::policy::{LeverKind, RungKind};

/// The grain of the visitors' book.
const TENTH: Duration = Duration::from_millis(100);

/// Everything that is known when the curtain falls.
#[derive(Debug)]
pub struct Facts<'a> {
    pub outage: Option<Outage>,
    pub demand: Option<Demand>,
    /// When home, which carried the visitors, broke for the first time, and when it was well again.
    pub broke_at: Option<Timestamp>,
    pub healed_at: Option<Timestamp>,
    pub home: &'a RegionName,
    /// When the region that a move had to wait for was well again.
    pub destination_healed_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    /// When visitors began to be counted.
    pub began_at: Timestamp,
    pub chronicle: &'a [At],
    pub book: &'a Book,
    /// The last resort, if there is one.
    pub resort: Option<&'a RegionName>,
    pub tempo: Tempo,
    /// How often a version was taken back.
    pub taken_back: usize,
    /// Shares of the answers at the end, in per cent.
    pub answers_at_home: u8,
    /// Balancers at home that are to be cured, and those that were, in that order.
    pub fronts: Vec<String>,
    pub cured: Vec<String>,
    /// How long the end has to be without a lost request.
    pub after: Duration,
    /// Somebody ended it before its time.
    pub interrupted: bool,
}

/// The figures, in seconds from the moment in which the fault began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub outage: Option<String>,
    pub ok: bool,
    pub verdict: String,
    pub detected_after: Option<f64>,
    pub decided_after: Option<f64>,
    pub accepted_after: Option<f64>,
    pub in_force_after: Option<f64>,
    /// The last request that was lost.
    pub last_loss_after: Option<f64>,
    pub moves: usize,
    /// Rungs that were taken, in order, each with its balancer.
    pub refreshes: Vec<String>,
    /// The lever of the first move.
    pub lever: Option<LeverKind>,
    pub requests: u64,
    pub lost: u64,
    /// What would have been lost had nothing moved; absent if nothing moved.
    pub lost_without: Option<u64>,
    /// How that was worked out.
    pub lost_without_how: Option<String>,
}

/// How a run is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    AsDemanded,
    /// It had to move and did not.
    Held,
    /// Anything else that must not be.
    Wrong,
}

impl Facts<'_> {
    pub fn sum_up(&self) -> (Summary, Verdict) {
        let from = self.broke_at.unwrap_or(self.began_at);
        let first = |wanted: &dyn Fn(&Moment) -> bool| {
            let found =
                self.chronicle.iter().find(|moment| moment.at >= from && wanted(&moment.what));
            found.map(|moment| moment.at)
        };
        let after = |at: Option<Timestamp>| {
            at.filter(|_| self.broke_at.is_some()).map(|at| at.since(from).as_secs_f64())
        };
        let suspected =
            |what: &Moment| matches!(what, Moment::Suspected { region } if region == self.home);
        // On a starved machine a slow probe may have raised the suspicion before anything broke; it
        // then stands at once.
        let before =
            || self.chronicle.iter().any(|moment| moment.at < from && suspected(&moment.what));
        let detected = first(&suspected).or_else(|| before().then_some(from));
        let moves: Vec<Timestamp> = self
            .chronicle
            .iter()
            .filter(|moment| matches!(moment.what, Moment::Accepted | Moment::Turned { .. }))
            .map(|moment| moment.at)
            .collect();
        let all = self.book.between(self.began_at, self.ended_at).all();
        let last_lost = self.last_lost(from);
        let without = moves.first().and_then(|_| self.lost_without(from));
        let (verdict, words) = self.judge(&moves);
        let summary = Summary {
            outage: self.outage.map(name),
            ok: verdict == Verdict::AsDemanded,
            verdict: words,
            detected_after: after(detected),
            decided_after: after(first(&|what| matches!(what, Moment::Decided { .. }))),
            accepted_after: after(first(&|what| {
                matches!(what, Moment::Accepted | Moment::Turned { .. })
            })),
            in_force_after: after(first(&|what| matches!(what, Moment::InForce))),
            last_loss_after: after(last_lost),
            moves: moves.len(),
            refreshes: self.rungs().map(|(name, rung)| format!("{name}: {rung}")).collect(),
            lever: self.lever(),
            requests: all.sent,
            lost: all.sent - all.served,
            lost_without: without.as_ref().map(|(lost, _)| *lost),
            lost_without_how: without.map(|(_, how)| how),
        };
        (summary, verdict)
    }

    fn rungs(&self) -> impl Iterator<Item = (&BalancerName, RungKind)> {
        self.chronicle.iter().filter_map(|moment| {
            let Moment::Refreshing { balancer, purpose: Purpose::Rung(rung), .. } = &moment.what
            else {
                return None;
            };
            Some((balancer, *rung))
        })
    }

    fn cured(&self, moves: &[Timestamp]) -> (Verdict, String) {
        let cured = self.cured.join(", then ");
        let missed: Vec<&str> =
            self.fronts.iter().filter(|f| !self.cured.contains(f)).map(String::as_str).collect();
        if !moves.is_empty() {
            (Verdict::Wrong, "moved, where a refresh would have done".to_owned())
        } else if missed.is_empty() {
            (Verdict::AsDemanded, format!("cured {cured}, and nothing moved"))
        } else if cured.is_empty() {
            (Verdict::Held, "cured nothing".to_owned())
        } else {
            (Verdict::Wrong, format!("cured {cured}, and not {}", missed.join(" or ")))
        }
    }

    fn moved_after_harm(&self, moves: &[Timestamp]) -> (Verdict, String) {
        match self.rungs().count() {
            1 => {
                let (verdict, words) = self.moved(moves, self.broke_at);
                (verdict, format!("one refresh did harm; {words}"))
            }
            0 => (Verdict::Wrong, "refreshed nothing".to_owned()),
            rungs => (Verdict::Wrong, format!("{rungs} refreshes, though the first did harm")),
        }
    }

    fn lever(&self) -> Option<LeverKind> {
        self.chronicle.iter().find_map(|moment| match &moment.what {
            Moment::Turned { lever } => Some(*lever),
            Moment::Accepted => Some(LeverKind::Weights),
            Moment::Suspected { .. }
            | Moment::Read { .. }
            | Moment::Diagnosed { .. }
            | Moment::Decided { .. }
            | Moment::InForce
            | Moment::Refreshing { .. }
            | Moment::Refreshed { .. }
            | Moment::Ended(_)
            | Moment::Told { .. } => None,
        })
    }

    /// To a tenth of a second: the end of the last tenth in which a request was lost.
    fn last_lost(&self, from: Timestamp) -> Option<Timestamp> {
        let mut at = self.ended_at;
        while at > from {
            let before = at.minus(TENTH);
            let all = self.book.between(before, at).all();
            if all.served < all.sent {
                return Some(at);
            }
            at = before;
        }
        None
    }

    /// Had nothing moved, every visitor would have gone on to home, and failed as often as those did
    /// who were still sent there.
    fn lost_without(&self, from: Timestamp) -> Option<(u64, String)> {
        let until = self.healed_at.unwrap_or(self.ended_at);
        // The tenth of a second in which it broke was well for a part.
        let sent = self.book.between(from.plus(TENTH), until);
        let at_home = sent.regions.get(self.home).copied().unwrap_or_default();
        if at_home.sent == 0 {
            return None;
        }
        let all = sent.all().sent;
        #[expect(clippy::cast_precision_loss, reason = "counts of one laboratory")]
        let failing = (at_home.sent - at_home.served) as f64 / at_home.sent as f64;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a count"
        )]
        let lost = (all as f64 * failing).round() as u64;
        let how = format!(
            "{all} requests were made while `{}` was not well; of those still sent there {:.0}% failed",
            self.home,
            failing * 100.0
        );
        Some((lost, how))
    }

    fn all_served_at_the_end(&self) -> bool {
        // The last requests may still be under way.
        let until = self.ended_at.minus(super::clients::PATIENCE);
        let all = self.book.between(until.minus(self.after / 2), until).all();
        all.sent > 0 && all.sent == all.served
    }

    fn judge(&self, moves: &[Timestamp]) -> (Verdict, String) {
        let (said, words) = match self.demand {
            None => (Verdict::AsDemanded, "hands on: you were the outage".to_owned()),
            Some(_) if self.interrupted => (Verdict::Wrong, "stopped before its time".to_owned()),
            Some(Demand::Moves) => self.moved(moves, self.broke_at),
            Some(Demand::MovesOnceHealed { .. }) => self.moved(moves, self.destination_healed_at),
            Some(Demand::Cured) => self.cured(moves),
            Some(Demand::MovesAfterHarm) => self.moved_after_harm(moves),
            Some(Demand::Stays) if moves.is_empty() => {
                (Verdict::AsDemanded, "held still, as it should".to_owned())
            }
            Some(Demand::Stays) => (Verdict::Wrong, "moved, and should not have".to_owned()),
            Some(Demand::MovesOnceAtMost) => match moves.len() {
                0 => (Verdict::AsDemanded, "did not run after it".to_owned()),
                1 => (Verdict::AsDemanded, "moved once and stayed on the steady side".to_owned()),
                _ => (Verdict::Wrong, "moved to and fro".to_owned()),
            },
            Some(Demand::LastResortAndHome) => self.there_and_back(),
            Some(Demand::TakenBack) => match (moves.len(), self.taken_back) {
                (0, 1) => {
                    (Verdict::AsDemanded, "moved nothing; the version was taken back".to_owned())
                }
                (0, 0) => (Verdict::Held, "the version was not taken back".to_owned()),
                (0, _) => (Verdict::Wrong, "the version was taken back twice".to_owned()),
                (_, _) => (Verdict::Wrong, "moved, and should not have".to_owned()),
            },
        };
        let served = self.demand.is_none() || self.interrupted || self.all_served_at_the_end();
        if said == Verdict::AsDemanded && !served {
            return (Verdict::Wrong, format!("{words}, but visitors are still not all served"));
        }
        (said, words)
    }

    /// To the last resort when patience was over and not long after it, and home once.
    fn there_and_back(&self) -> (Verdict, String) {
        let decided: Vec<(Timestamp, &RegionName)> =
            self.chronicle.iter().filter_map(|at| Some((at.at, destination(&at.what)?))).collect();
        let patience = self.tempo.sustain * 2;
        let (Some(resort), Some(broke_at)) = (self.resort, self.broke_at) else {
            return (Verdict::Wrong, "there is no last resort".to_owned());
        };
        match decided.as_slice() {
            [] => (Verdict::Held, "did not move".to_owned()),
            [(at, to), ..] if *to != resort || *at < broke_at.plus(patience) => {
                (Verdict::Wrong, "moved before patience was over, or elsewhere".to_owned())
            }
            // A machine under load judges late as well.
            [(at, _), ..] if *at > broke_at.plus(patience * 2 + self.tempo.window) => {
                (Verdict::Wrong, "the last resort came late".to_owned())
            }
            [_, (_, to)] if *to == self.home && self.answers_at_home == 100 => (
                Verdict::AsDemanded,
                "a cached copy while nothing was left, and home again".to_owned(),
            ),
            [_] => (Verdict::Held, "did not come home".to_owned()),
            [_, _, ..] => (Verdict::Wrong, "moved to and fro".to_owned()),
        }
    }

    fn moved(&self, moves: &[Timestamp], not_before: Option<Timestamp>) -> (Verdict, String) {
        match moves.first() {
            None => (Verdict::Held, "did not move".to_owned()),
            Some(at) if not_before.is_none_or(|earliest| *at < earliest) => {
                (Verdict::Wrong, "moved before there was reason to".to_owned())
            }
            Some(_) if self.answers_at_home > 0 => {
                (Verdict::Wrong, format!("`{}` is still in the answers", self.home))
            }
            Some(_) => {
                let words = if self.outage == Some(Outage::ControlPlaneDown) {
                    "moved by a gate while the API was dead, and every visitor is served again"
                } else {
                    "moved, and every visitor is served again"
                };
                (Verdict::AsDemanded, words.to_owned())
            }
        }
    }
}

/// Where a move brings everybody.
fn destination(what: &Moment) -> Option<&RegionName> {
    let Moment::Decided { to, .. } = what else { return None };
    let mut carrying = to.weights().iter().filter(|(_, weight)| weight.0 > 0);
    let (region, _) = carrying.next()?;
    carrying.next().is_none().then_some(region)
}

fn name(outage: Outage) -> String {
    use clap::ValueEnum as _;
    outage.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
