//! Which requests get lost where only a part of them does.

use std::collections::BTreeMap;

/// Paths that are counted apart; whatever else is asked for shares one count.
const PATHS_MAX: usize = 32;

/// Counts requests, and picks those that are lost.
///
/// Each path is counted for itself. With one count for all, a probe that comes after every thirteenth
/// request of visitors would be lost ten times in a row and then served ten times in a row: what is spread
/// evenly over all requests is not so over every n-th.
#[derive(Debug, Default)]
pub struct Losses {
    counts: BTreeMap<String, u64>,
}

impl Losses {
    /// Whether the next request of this path is one of the lost, of which there are `part` (0 to 1).
    pub fn takes(&mut self, path: &str, part: f64) -> bool {
        let known = self.counts.contains_key(path) || self.counts.len() < PATHS_MAX;
        let count = self.counts.entry(if known { path } else { "" }.to_owned()).or_default();
        *count += 1;
        spread(*count) < part
    }
}

/// 0 to 1, evenly spread over the count (the golden ratio's multiples), so that a part is met exactly
/// after a few requests.
fn spread(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let turned = count as f64 * 0.618_033_988_749_895;
    turned.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_lose_their_part_however_many_visitors_come_between() {
        for visitors in 0..40 {
            let mut losses = Losses::default();
            let lost: Vec<bool> = (0..240)
                .map(|_| {
                    for _ in 0..visitors {
                        losses.takes("/", 0.5);
                    }
                    losses.takes("/health", 0.5)
                })
                .collect();
            for window in lost.windows(8) {
                let lost = window.iter().filter(|lost| **lost).count();
                assert!((3..=5).contains(&lost), "{lost} of 8 with {visitors} visitors between");
            }
        }
    }

    #[test]
    fn paths_without_end_take_no_room_without_end() {
        let mut losses = Losses::default();
        let lost = (0..1000).filter(|n| losses.takes(&format!("/{n}"), 1.0)).count();
        assert_eq!((lost, losses.counts.len()), (1000, PATHS_MAX + 1));
    }
}
