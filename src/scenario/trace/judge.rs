//! Whether a controller did what a trace demands.

use std::collections::BTreeSet;

use super::model::{Called, Demand, Expect, Severity, Window};
use super::world::{Act, Did, SAME_SHARE, World, at, differ, seconds};

/// Comparing shares that were computed.
const EPSILON: f64 = 1e-9;

/// One rule or expectation, and how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The kind of the expectation, or the name of a rule that holds in every trace.
    pub label: String,
    /// Whether it counts.
    pub hard: bool,
    pub met: bool,
    /// What happened.
    pub detail: String,
    /// Why the trace demands it.
    pub why: String,
}

impl World<'_> {
    /// All verdicts: the rules that hold in every trace first, then the trace's own expectations.
    pub fn judge(&self) -> Vec<Verdict> {
        let rule = |label: &str, broken: Option<String>, fine: &str| Verdict {
            label: label.to_owned(),
            hard: true,
            met: broken.is_none(),
            detail: broken.unwrap_or_else(|| fine.to_owned()),
            why: "holds in every trace".to_owned(),
        };
        let bad = self.log.iter().find(|act| act.bad);
        let zero = self
            .log
            .iter()
            .find(|act| !act.bad && matches!(&act.did, Did::Weights { all_zero: true, .. }));
        let early =
            self.log.iter().find(|act| act.did == Did::Report { done: true, pending: true });
        let mut verdicts = vec![
            rule(
                "G1 valid actions",
                bad.map(|act| format!("invalid {}", name(&act.did))),
                "all valid",
            ),
            rule(
                "G2 never all weights zero",
                zero.map(|act| format!("all zero at {}", act.at)),
                "never",
            ),
            rule(
                "G3 no 'done' while pending",
                early.map(|act| format!("claimed at {}", act.at)),
                "none",
            ),
        ];
        verdicts.extend(self.trace.expect.iter().map(|expect| self.verdict(expect)));
        verdicts
    }

    fn verdict(&self, expect: &Expect) -> Verdict {
        let (met, detail) = match self.demand_met(&expect.demand) {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        let (label, why) = (expect.kind.to_owned(), expect.why.clone());
        Verdict { label, hard: expect.hard, met, detail, why }
    }

    fn demand_met(&self, demand: &Demand) -> Result<String, String> {
        match demand {
            Demand::Shift { .. } => self.shift(demand),
            Demand::NoShift(window) => self.no_shift(*window),
            Demand::FinalShares { shares, tolerance } => self.final_shares(shares, *tolerance),
            Demand::MaxShifts(most) => {
                let count = self.shifts();
                met(count <= *most, format!("{count} shift(s), at most {most}"))
            }
            Demand::MaxShare { region, share, window } => {
                let most = self.shares_in(*region, *window).fold(0.0, f64::max);
                let detail = format!("highest {most:.2} on {}", self.region(*region));
                met(most <= share + EPSILON, detail)
            }
            Demand::MinShare { region, share, window } => {
                let least = self.shares_in(*region, *window).fold(1.0, f64::min);
                let detail = format!("lowest {least:.2} on {}", self.region(*region));
                met(least >= share - EPSILON, detail)
            }
            Demand::MaxStep { region, step, window } => {
                let grown =
                    |(_, before, _, after): &Moved<'_>| at(after, *region) - at(before, *region);
                let large = self
                    .moves()
                    .find(|moved| window.holds(seconds(moved.2)) && grown(moved) > step + EPSILON);
                match large {
                    Some(moved) => Err(format!(
                        "step of {:.2} onto {} at {}",
                        grown(&moved),
                        self.region(*region),
                        moved.2
                    )),
                    None => Ok("steps small enough".to_owned()),
                }
            }
            Demand::Refresh { balancer, by, not_before, ahead_of } => {
                self.refreshed(*balancer, *by, *not_before, ahead_of)
            }
            Demand::NoRefresh { balancers, window } => {
                let hit = self.refreshes(balancers).find(|(_, at)| window.holds(seconds(*at)));
                match hit {
                    Some((balancer, at)) => {
                        Err(format!("refreshed {} at {at}", self.balancer(balancer)))
                    }
                    None => Ok("none refreshed".to_owned()),
                }
            }
            Demand::MaxRefreshes { balancers, n, total } => {
                let count = |of: &BTreeSet<usize>| self.refreshes(of).count();
                if *total {
                    let all = count(balancers);
                    return met(
                        number(all) <= *n,
                        format!("{all} refresh(es) in all, at most {n}"),
                    );
                }
                let each = balancers.iter().map(|one| count(&BTreeSet::from([*one])));
                let worst = each.max().unwrap_or(0);
                met(
                    number(worst) <= *n,
                    format!("{worst} refresh(es) of one balancer, at most {n}"),
                )
            }
            Demand::Notify { by, severity, about_any, not_before } => {
                self.told(*by, *severity, about_any, *not_before)
            }
            Demand::MaxNotes { severity, n, window } => {
                let notes = self
                    .notes()
                    .filter(|(at, how, _)| how == severity && window.holds(seconds(*at)));
                let count = notes.count();
                let detail = format!("{count} {} note(s), at most {n}", severity.name());
                met(number(count) <= *n, detail)
            }
            Demand::StatusGap { window, max_gap } => self.status_gap(*window, *max_gap),
            Demand::MaxCalls { api, n, window } => {
                let calls = self.calls(*api);
                let within = |first: f64| {
                    calls.iter().filter(|at| (first..first + window).contains(at)).count()
                };
                let worst = calls.iter().map(|first| within(*first)).max().unwrap_or(0);
                met(number(worst) <= *n, format!("{worst} call(s) in {window} s, at most {n}"))
            }
            Demand::Tries { api, n, window } => {
                let count = self.calls(*api).into_iter().filter(|at| window.holds(*at)).count();
                met(number(count) >= *n, format!("{count} attempt(s), at least {n}"))
            }
            Demand::MaxLost(most) => {
                let lost = self.lost_user_minutes();
                met(lost <= *most, format!("lost {lost:.0} user-minutes, at most {most:.0}"))
            }
        }
    }

    fn shift(&self, demand: &Demand) -> Result<String, String> {
        let Demand::Shift { from, to, by, not_before, since, min_share, max_left } = demand else {
            return Err("not a shift".to_owned());
        };
        let early = Window { from: *since, to: *not_before };
        for (_, before, when, after) in self.moves() {
            if early.holds(seconds(when)) && at(before, *from) - at(after, *from) >= SAME_SHARE {
                let from = self.region(*from);
                return Err(format!("left {from} at {when}, before {not_before}"));
            }
        }
        let shares = self.share_at(*by);
        let got: f64 = to.iter().map(|region| at(shares, *region)).sum();
        let names: Vec<&str> = to.iter().map(|region| self.region(*region)).collect();
        let names = names.join("+");
        if got + EPSILON < *min_share {
            return Err(format!("at {by} only {got:.2} of the share on {names}"));
        }
        let left = at(shares, *from);
        if left > max_left + EPSILON {
            return Err(format!("at {by} still {left:.2} on {}", self.region(*from)));
        }
        Ok(format!("{got:.2} on {names} by {by}"))
    }

    fn no_shift(&self, window: Window) -> Result<String, String> {
        for act in &self.log {
            let (Did::Weights { want: Some(want), .. } | Did::Flip { want: Some(want) }) = &act.did
            else {
                continue;
            };
            let now = seconds(act.at);
            if window.holds(now) && differ(self.share_at((now - 1.0).max(0.0)), want) {
                return Err(format!("tried to move traffic at {}", act.at));
            }
        }
        Ok(format!("no move in {}..{}", window.from, window.to))
    }

    fn final_shares(&self, wanted: &[(usize, f64)], tolerance: f64) -> Result<String, String> {
        let found = self.share_at(seconds(self.trace.duration));
        for (region, share) in wanted {
            let ends = at(found, *region);
            if (ends - share).abs() > tolerance + EPSILON {
                let name = self.region(*region);
                return Err(format!("ends with {ends:.2} on {name}, wanted {share:.2}"));
            }
        }
        Ok("ends as wanted".to_owned())
    }

    /// Runs of changes in the same direction count once; turning round counts.
    fn shifts(&self) -> f64 {
        let mut count = 0.0;
        let (mut gained, mut lost) = (BTreeSet::new(), BTreeSet::new());
        for (_, before, _, after) in self.moves() {
            let moved = |more: &[f64], less: &[f64]| -> BTreeSet<usize> {
                let all = 0..self.trace.regions.len();
                all.filter(|region| at(more, *region) - at(less, *region) >= SAME_SHARE).collect()
            };
            let (up, down) = (moved(after, before), moved(before, after));
            if up.is_empty() && down.is_empty() {
                continue;
            }
            if count == 0.0 || !up.is_disjoint(&lost) || !down.is_disjoint(&gained) {
                count += 1.0;
                (gained, lost) = (up, down);
            } else {
                gained.extend(up);
                lost.extend(down);
            }
        }
        count
    }

    fn refreshed(
        &self,
        balancer: usize,
        by: f64,
        not_before: f64,
        ahead_of: &[usize],
    ) -> Result<String, String> {
        let first = |of: usize| {
            let hit = |act: &&Act| act.applied && act.did == Did::Refresh { balancer: Some(of) };
            self.log.iter().find(hit).map(|act| act.at)
        };
        let name = self.balancer(balancer);
        let Some(hit) = first(balancer).filter(|hit| seconds(*hit) <= by) else {
            return Err(format!("no refresh of {name} by {by}"));
        };
        if seconds(hit) < not_before {
            return Err(format!("refreshed {name} too early ({hit})"));
        }
        for other in ahead_of {
            if first(*other).is_some_and(|at| at <= hit) {
                return Err(format!("{} was refreshed before {name}", self.balancer(*other)));
            }
        }
        Ok(format!("refreshed {name} at {hit}"))
    }

    fn told(
        &self,
        by: f64,
        severity: Severity,
        about_any: &[String],
        not_before: f64,
    ) -> Result<String, String> {
        let right = |how: Severity| match severity {
            Severity::Status => how == Severity::Status,
            Severity::Info | Severity::Warn | Severity::Page => how >= severity,
        };
        let found = self.notes().find(|(at, how, about)| {
            right(*how)
                && (not_before..=by).contains(&seconds(*at))
                && about_any.iter().any(|tag| about.contains(tag))
        });
        match found {
            Some((at, how, _)) => Ok(format!("{} at {at}", how.name())),
            None => {
                let about = about_any.join("/");
                Err(format!("no {} about {about} by {by}", severity.name()))
            }
        }
    }

    fn status_gap(&self, window: Window, max_gap: f64) -> Result<String, String> {
        let told = self.notes().filter(|(_, how, _)| *how == Severity::Status);
        let told =
            told.map(|(at, _, _)| seconds(at)).filter(|at| (window.from..=window.to).contains(at));
        let (mut last, mut gap) = (window.from, 0.0_f64);
        for at in told.chain([window.to]) {
            gap = gap.max(at - last);
            last = at;
        }
        met(gap <= max_gap, format!("longest silence {gap} s, at most {max_gap}"))
    }

    /// The accepted shares at a time.
    fn share_at(&self, when: f64) -> &[f64] {
        let last = self.accepted.iter().rposition(|(at, _)| seconds(*at) <= when).unwrap_or(0);
        self.accepted.get(last).map(|(_, shares)| shares.as_slice()).unwrap_or_default()
    }

    fn shares_in(&self, region: usize, window: Window) -> impl Iterator<Item = f64> {
        let first = at(self.share_at(window.from), region);
        let inside = self
            .accepted
            .iter()
            .filter(move |(when, _)| window.from < seconds(*when) && seconds(*when) < window.to);
        std::iter::once(first).chain(inside.map(move |(_, shares)| at(shares, region)))
    }

    /// Each accepted change with what was accepted before it.
    fn moves(&self) -> impl Iterator<Item = Moved<'_>> {
        let pairs = self.accepted.iter().zip(self.accepted.iter().skip(1));
        pairs.map(|((from, before), (to, after))| (*from, before.as_slice(), *to, after.as_slice()))
    }

    /// Attempts, whatever became of them.
    fn refreshes(&self, of: &BTreeSet<usize>) -> impl Iterator<Item = (usize, u64)> {
        self.log.iter().filter_map(move |act| match &act.did {
            Did::Refresh { balancer } => {
                balancer.filter(|balancer| of.contains(balancer)).map(|balancer| (balancer, act.at))
            }
            Did::Weights { .. }
            | Did::Flip { .. }
            | Did::Notify { .. }
            | Did::Report { .. }
            | Did::Other(_) => None,
        })
    }

    /// Notes that arrived.
    fn notes(&self) -> impl Iterator<Item = (u64, Severity, &BTreeSet<String>)> {
        self.log.iter().filter(|act| act.applied).filter_map(|act| match &act.did {
            Did::Notify { severity, about } => severity.map(|severity| (act.at, severity, about)),
            Did::Weights { .. }
            | Did::Flip { .. }
            | Did::Refresh { .. }
            | Did::Report { .. }
            | Did::Other(_) => None,
        })
    }

    /// When an interface was called.
    fn calls(&self, api: Called) -> Vec<f64> {
        let counts = |did: &Did| match api {
            Called::DnsChange => matches!(did, Did::Weights { .. }),
            Called::LbControl => matches!(did, Did::Refresh { .. }),
            Called::Notify => matches!(did, Did::Notify { .. }),
        };
        let called = self.log.iter().filter(|act| !act.bad && counts(&act.did));
        called.map(|act| seconds(act.at)).collect()
    }

    fn region(&self, place: usize) -> &str {
        self.trace.regions.get(place).map_or("?", |region| region.id.name.as_str())
    }

    fn balancer(&self, place: usize) -> &str {
        self.trace.balancers.get(place).map_or("?", |balancer| balancer.id.name.as_str())
    }
}

/// Time and shares before, time and shares after.
type Moved<'w> = (u64, &'w [f64], u64, &'w [f64]);

fn met(met: bool, detail: String) -> Result<String, String> {
    if met { Ok(detail) } else { Err(detail) }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand acts at most")]
fn number(count: usize) -> f64 {
    count as f64
}

fn name(did: &Did) -> &str {
    match did {
        Did::Weights { .. } => "set_weights",
        Did::Flip { .. } => "health_flip",
        Did::Refresh { .. } => "refresh_lb",
        Did::Notify { .. } => "notify",
        Did::Report { .. } => "report",
        Did::Other(other) => other,
    }
}
