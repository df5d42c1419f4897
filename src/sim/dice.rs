//! Chance from a seed: the same seed and purpose give the same throws, whatever else is thrown.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood, 2014): one word of state, and every seed is a good one.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// A stream of its own for each purpose, so that a new throw in one place moves no other.
    pub(super) fn of(seed: u64, purpose: &str) -> Self {
        // FNV-1a.
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut dice = Self(seed ^ hash);
        dice.throw();
        dice
    }

    pub(super) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1, without 1.
    pub(super) fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let part = (self.throw() >> 11) as f64;
        part / 9_007_199_254_740_992.0
    }

    pub(super) fn chance(&mut self, part: f64) -> bool {
        self.unit() < part
    }

    /// One of the numbers below `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.throw() % bound.max(1)
    }

    /// Whole seconds from `least` to `most`, both included.
    pub(super) fn span(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_secs(least + self.below(most.saturating_sub(least) + 1))
    }

    /// One of them; `None` if there are none.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.below(from.len() as u64);
        from.get(usize::try_from(index).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_purpose() {
        let throws = |seed, purpose| {
            let mut dice = Dice::of(seed, purpose);
            [dice.throw(), dice.throw(), dice.throw()]
        };
        assert_eq!(throws(7, "ports"), throws(7, "ports"));
        assert_ne!(throws(7, "ports"), throws(7, "world"));
        assert_ne!(throws(7, "ports"), throws(8, "ports"));
    }

    #[test]
    fn throws_stay_within_their_bounds() {
        let mut dice = Dice::of(1, "bounds");
        let mut mean = 0.0;
        for _ in 0..10_000 {
            assert!(dice.below(3) < 3);
            let span = dice.span(5, 9).as_secs();
            assert!((5..=9).contains(&span));
            mean += dice.unit() / 10_000.0;
        }
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
