//! Values over time, and the noise on them, as the trace format defines both.

/// A number that may be absent, over the time of its phase.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Signal {
    Level(Option<f64>),
    /// Linear over the phase.
    Ramp(f64, f64),
    /// `a` for the first `duty` of each period, then `b`.
    Square {
        period: f64,
        duty: f64,
        a: Option<f64>,
        b: Option<f64>,
    },
    /// From so long after the beginning of the phase.
    Steps(Vec<(f64, Option<f64>)>),
}

/// The time that is asked for, and the phase that it is in, in seconds of the trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct When {
    pub(super) now: f64,
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Signal {
    pub(super) fn at(&self, when: When) -> Option<f64> {
        let When { now, from, to } = when;
        match self {
            Self::Level(level) => *level,
            Self::Ramp(first, last) => {
                let part =
                    if to <= from { 0.0 } else { ((now - from) / (to - from)).clamp(0.0, 1.0) };
                Some(first + (last - first) * part)
            }
            Self::Square { period, duty, a, b } => {
                let position = (now - from).rem_euclid(*period) / period;
                if position < *duty { *a } else { *b }
            }
            Self::Steps(steps) => {
                let passed = steps.iter().take_while(|(after, _)| now - from >= *after).last();
                passed.or(steps.first()).and_then(|(_, value)| *value)
            }
        }
    }
}

/// Noise from -1 to 1 that is the same whenever the same is asked: FNV-1a of 64 bits over the parts with
/// `|` between them, then the finaliser of splitmix64, its upper 53 bits.
pub(super) fn noise(parts: &[&str]) -> f64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for byte in parts.join("|").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    hash = hash.wrapping_add(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^= hash >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let unit = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    unit * 2.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::{Signal, When};

    fn at(signal: &Signal, now: f64) -> Option<f64> {
        signal.at(When { now, from: 100.0, to: 200.0 })
    }

    #[test]
    fn signals_change_as_drawn() {
        assert_eq!(at(&Signal::Ramp(0.0, 10.0), 150.0), Some(5.0));
        assert_eq!(at(&Signal::Ramp(0.0, 10.0), 250.0), Some(10.0), "not beyond its end");
        let square = Signal::Square { period: 20.0, duty: 0.5, a: Some(1.0), b: None };
        assert_eq!((at(&square, 109.0), at(&square, 110.0)), (Some(1.0), None));
        assert_eq!(at(&square, 120.0), Some(1.0));
        let steps = Signal::Steps(vec![(0.0, Some(1.0)), (30.0, None), (60.0, Some(3.0))]);
        assert_eq!(
            (at(&steps, 129.0), at(&steps, 130.0), at(&steps, 160.0)),
            (Some(1.0), None, Some(3.0))
        );
    }

    #[test]
    fn noise_is_within_its_limits_and_repeats() {
        let noises: Vec<f64> =
            (0..1000).map(|n| super::noise(&["7", "east", &n.to_string()])).collect();
        assert!(noises.iter().all(|noise| (-1.0..1.0).contains(noise)));
        let mean = noises.iter().sum::<f64>() / 1000.0;
        assert!(mean.abs() < 0.1, "{mean}");
        assert!((super::noise(&["7", "east", "3"]) - noises[3]).abs() < f64::EPSILON);
    }
}
