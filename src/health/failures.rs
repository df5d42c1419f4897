//! How failed probes failed.

use std::collections::{BTreeMap, VecDeque};

use super::ProbeFailure;
use crate::domain::Timestamp;

/// Of one vantage and balancer; the newest stay. More than a window of probes every second or two.
const KEPT_MAX: usize = 64;

/// Less than this part of the failures having something in common says nothing about the others.
const MOSTLY: f64 = 0.8;

/// The newest failures that were told with how they came about.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures(VecDeque<(Timestamp, ProbeFailure)>);

impl Failures {
    pub(super) fn push(&mut self, at: Timestamp, failure: ProbeFailure) {
        // As for numbers: a clock that steps back leaves nothing from the future.
        while self.0.back().is_some_and(|(last, _)| *last > at) {
            self.0.pop_back();
        }
        self.0.push_back((at, failure));
        if self.0.len() > KEPT_MAX {
            self.0.pop_front();
        }
    }

    pub(super) fn after(&self, from: Timestamp) -> impl Iterator<Item = ProbeFailure> {
        self.0.iter().filter(move |(at, _)| *at > from).map(|(_, failure)| *failure)
    }
}

/// What nearly all of them have in common, if anything.
pub(super) fn mostly(failures: impl Iterator<Item = ProbeFailure>) -> Option<ProbeFailure> {
    let mut counts: BTreeMap<ProbeFailure, u32> = BTreeMap::new();
    for failure in failures {
        *counts.entry(failure).or_default() += 1;
    }
    let (first, _) = counts.iter().max_by_key(|(_, count)| **count)?;
    let alike = counts.iter().filter(|(other, _)| first.is_like(**other));
    let alike: u32 = alike.map(|(_, count)| count).sum();
    let all: u32 = counts.values().sum();
    (f64::from(alike) >= f64::from(all) * MOSTLY).then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_in_many_ways_has_no_name() {
        use ProbeFailure::{BodyTimeout, ConnectRefused, FirstByteTimeout, Reset, Status};
        let named = |failures: &[ProbeFailure]| mostly(failures.iter().copied());
        assert_eq!(named(&[]), None);
        assert_eq!(named(&[ConnectRefused; 3]), Some(ConnectRefused));
        assert_eq!(named(&[Reset, Reset, ConnectRefused]), None);
        assert_eq!(named(&[Reset, Reset, Reset, Reset, ConnectRefused]), Some(Reset));
        // What differs in a number only, or in how far it came, is one kind.
        assert_eq!(named(&[Status(502), Status(502), Status(504)]), Some(Status(502)));
        assert_eq!(named(&[Status(502), Status(404)]), None);
        assert_eq!(
            named(&[FirstByteTimeout, FirstByteTimeout, BodyTimeout]),
            Some(FirstByteTimeout)
        );
    }

    #[test]
    fn only_the_newest_are_kept_and_none_from_the_future() {
        let mut failures = Failures::default();
        for at in 0..200 {
            failures.push(Timestamp::from_secs(at), ProbeFailure::Reset);
        }
        assert_eq!(failures.after(Timestamp::from_secs(0)).count(), KEPT_MAX);
        assert_eq!(failures.after(Timestamp::from_secs(190)).count(), 9);
        failures.push(Timestamp::from_secs(150), ProbeFailure::Tls);
        let left: Vec<_> = failures.after(Timestamp::from_secs(149)).collect();
        assert_eq!(left, [ProbeFailure::Reset, ProbeFailure::Tls]);
    }
}
