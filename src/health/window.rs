//! One series of numbers over a bounded stretch of time.

use std::time::Duration;

use crate::domain::{Tally, Timestamp};

/// The longest stretch that any judgement looks back.
pub(super) const KEPT: Duration = Duration::from_secs(900);

/// More than this many points within [`KEPT`] are thinned out by dropping the oldest: a probe a second
/// for a quarter of an hour.
const POINTS_MAX: usize = 1024;

/// Numbers by the time at which we heard them. `None` is a source that was asked and could not tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    /// The oldest first. A list and not a ring: it is read many times for each time that it is written.
    points: Vec<(Timestamp, Option<f64>)>,
    /// Those before this place are forgotten.
    from: usize,
}

impl Series {
    pub(super) fn push(&mut self, at: Timestamp, value: Option<f64>) {
        let value = value.filter(|v| v.is_finite());
        // A clock that steps back must not leave points from the future in the way of the present.
        while self.kept().last().is_some_and(|(last, _)| *last > at) {
            self.points.pop();
        }
        self.points.push((at, value));
        self.from = self.from.max(self.points.len().saturating_sub(POINTS_MAX));
        let oldest = at.minus(KEPT);
        while self.points.get(self.from).is_some_and(|(t, _)| *t < oldest) {
            self.from += 1;
        }
        // Moved together when more is forgotten than kept, so that each is moved about once.
        if self.from * 2 > self.points.len() {
            self.points.drain(..self.from);
            self.from = 0;
        }
    }

    fn kept(&self) -> &[(Timestamp, Option<f64>)] {
        self.points.get(self.from..).unwrap_or_default()
    }

    /// Mean of what was told after `after`; the newest alone if that is older, but not older than
    /// `fresh_from`. `None` is "unknown".
    pub(super) fn mean(&self, after: Timestamp, fresh_from: Timestamp) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0_u32);
        for (at, value) in self.kept().iter().rev() {
            if *at <= after {
                break;
            }
            if let Some(value) = value {
                sum += value;
                count += 1;
            }
        }
        if count > 0 { Some(sum / f64::from(count)) } else { self.newest(fresh_from) }
    }

    /// Sum and number of what was told after `from` and until `to`.
    pub(super) fn tally(&self, from: Timestamp, to: Timestamp) -> Tally {
        let told = self.kept().iter().filter(|(at, _)| *at > from && *at <= to);
        told.filter_map(|(_, value)| *value).fold(Tally::default(), |sum, value| Tally {
            well: sum.well + value,
            all: sum.all + 1.0,
        })
    }

    /// The newest number, if it is not older than `fresh_from`.
    pub(super) fn newest(&self, fresh_from: Timestamp) -> Option<f64> {
        let (at, value) = self.kept().last()?;
        if *at >= fresh_from { *value } else { None }
    }

    /// The newest point however old, as it was told.
    pub(super) fn points_newest(&self) -> Option<Option<f64>> {
        self.kept().last().map(|(_, value)| *value)
    }

    /// The newest number however old, looking past silence.
    pub(super) fn last_known(&self) -> Option<(Timestamp, f64)> {
        self.kept().iter().rev().find_map(|(at, value)| value.map(|v| (*at, v)))
    }

    /// The largest number that is still kept.
    pub(super) fn largest(&self) -> Option<f64> {
        self.kept()
            .iter()
            .filter_map(|(_, value)| *value)
            .fold(None, |most, v| Some(most.map_or(v, |m: f64| m.max(v))))
    }

    /// Forgets what was told after `at`, if anything older is known.
    pub(super) fn forget_after(&mut self, at: Timestamp) {
        if self.kept().first().is_some_and(|(first, _)| *first <= at) {
            let stay = self.kept().partition_point(|(told, _)| *told <= at);
            self.points.truncate(self.from + stay);
        }
    }

    pub(super) fn heard_at(&self) -> Option<Timestamp> {
        self.kept().last().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// The mean of a minute, by what is at most as old.
    fn mean(series: &Series, now: i64) -> Option<f64> {
        series.mean(at(now - 60), at(now - 60))
    }

    #[test]
    fn the_mean_covers_the_window_and_no_more() {
        let mut series = Series::default();
        for t in 0..10 {
            series.push(at(t * 10), Some(if t < 5 { 1.0 } else { 0.0 }));
        }
        // Points at 40, 50, .., 90 lie less than a minute before 90.
        assert!((mean(&series, 90).unwrap() - 1.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn silence_is_unknown_and_not_zero() {
        let mut series = Series::default();
        series.push(at(0), Some(1.0));
        series.push(at(10), None);
        assert_eq!(series.newest(at(-50)), None);
        assert_eq!(mean(&series, 20), Some(1.0));
        assert_eq!(mean(&series, 200), None);
    }

    #[test]
    fn what_is_forgotten_leaves_what_was_before() {
        let mut series = Series::default();
        for t in [0, 60, 120] {
            series.push(at(t), Some(f64::from(u8::try_from(t).unwrap())));
        }
        series.forget_after(at(60));
        assert_eq!(series.last_known(), Some((at(60), 60.0)));
        series.forget_after(at(-1));
        assert_eq!(series.last_known(), Some((at(60), 60.0)), "nothing older is known");
    }

    #[test]
    fn what_is_old_is_unknown_whatever_it_said() {
        let mut series = Series::default();
        series.push(at(0), Some(1.0));
        assert_eq!(series.newest(at(0)), Some(1.0));
        assert_eq!(series.newest(at(1)), None);
        assert_eq!(mean(&series, 61), None);
    }

    #[test]
    fn a_clock_that_steps_back_leaves_nothing_from_the_future() {
        let mut series = Series::default();
        series.push(at(1000), Some(0.0));
        series.push(at(500), Some(1.0));
        assert_eq!(series.newest(at(445)), Some(1.0));
        assert_eq!(mean(&series, 505), Some(1.0));
    }
}
