//! The words of the trade as types: names, weights, splits, times. Once built, a value is right. No IO.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is not the name, number or time it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}, expected {expected}")]
pub struct Malformed {
    pub text: String,
    pub what: &'static str,
    pub expected: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Shared: a round copies names by the hundred, and compares each with copies of itself.
        #[derive(Clone, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type {
            /// The first octets as one number, which settles nearly every comparison.
            head: u64,
            text: Arc<str>,
        }

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.head == other.head
                    && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
            }
        }

        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.text.hash(state);
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($type)).field(&self.as_str()).finish()
            }
        }

        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                self.head.cmp(&other.head).then_with(|| {
                    if Arc::ptr_eq(&self.text, &other.text) {
                        Ordering::Equal
                    } else {
                        self.text.cmp(&other.text)
                    }
                })
            }
        }

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl FromStr for $type {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                if plain_name(text) {
                    Ok(Self { head: head(text), text: text.into() })
                } else {
                    Err(Malformed {
                        text: text.chars().take(80).collect(),
                        what: concat!($what, " name"),
                        expected: "1 to 63 letters, digits, `-`, `_` or `.`, beginning with a letter or digit",
                    })
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = Malformed;

            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.text.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }
    };
}

name!(
    /// The unit that fails over; one policy file each.
    ServiceName, "service");
name!(
    /// One deployment of a service, usually named like its AWS region.
    RegionName, "region");
name!(
    /// A load balancer inside a region, as the policy calls it.
    BalancerName, "balancer");
name!(
    /// A place from which an outside signal is taken.
    VantageName, "vantage");
name!(
    /// One source of readings, as the policy calls it.
    SignalName, "signal");

/// The first eight octets so that numbers are in the order of the texts. Names have no octet of zero, which
/// stands for the end of a shorter one.
fn head(text: &str) -> u64 {
    let mut octets = [0; 8];
    octets.iter_mut().zip(text.bytes()).for_each(|(place, octet)| *place = octet);
    u64::from_be_bytes(octets)
}

fn plain_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.len() <= 63
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A record name: lower case, without the final dot, labels of at most 63 and a whole of at most 253
/// octets (RFC 1035, 2.3.4). A leading `*` label and underscores are allowed, and so are the octal
/// escapes (`\100`) with which Route 53 lists every other octet, so that any zone can be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordName(String);

impl RecordName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if this name is `zone` or lies below it.
    pub fn is_in(&self, zone: &Self) -> bool {
        self.0 == zone.0
            || self
                .0
                .strip_suffix(&zone.0)
                .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
    }
}

impl FromStr for RecordName {
    type Err = Malformed;

    /// Takes a leading `\052` for the wildcard `*`, as Route 53 lists it.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let lower = text.trim_end_matches('.').to_ascii_lowercase();
        let lower = match lower.strip_prefix("\\052.") {
            Some(rest) => format!("*.{rest}"),
            None => lower,
        };
        let octets = |(place, label): (usize, &str)| {
            let octets = if place == 0 && label == "*" { Some(1) } else { label_octets(label) };
            octets.filter(|octets| (1..=63).contains(octets))
        };
        // Each label costs one octet more for the dot, save the last.
        let sum: Option<usize> =
            lower.split('.').enumerate().map(|label| octets(label).map(|octets| octets + 1)).sum();
        if sum.is_some_and(|sum| sum <= 254) {
            Ok(Self(lower))
        } else {
            Err(Malformed {
                text: text.chars().take(80).collect(),
                what: "record name",
                expected: "something like `api.example.com`",
            })
        }
    }
}

/// The length of a label of plain octets and escapes, `None` if there is anything else in it.
fn label_octets(label: &str) -> Option<usize> {
    let mut bytes = label.bytes();
    let mut octets = 0;
    while let Some(byte) = bytes.next() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut escape = || {
            let digits = [bytes.next(), bytes.next(), bytes.next()];
            digits.into_iter().all(|digit| digit.is_some_and(|d| (b'0'..=b'7').contains(&d)))
        };
        if !(plain || byte == b'\\' && escape()) {
            return None;
        }
        octets += 1;
    }
    Some(octets)
}

impl TryFrom<String> for RecordName {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<RecordName> for String {
    fn from(name: RecordName) -> Self {
        name.0
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a Route 53 hosted zone, without the `/hostedzone/` in front: 1 to 32 letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneId(String);

impl ZoneId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ZoneId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bare = text.strip_prefix("/hostedzone/").unwrap_or(text);
        if (1..=32).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(bare.to_owned()))
        } else {
            Err(Malformed {
                text: text.chars().take(80).collect(),
                what: "hosted zone id",
                expected: "something like `Z0123456789ABCDEFGHIJ`",
            })
        }
    }
}

impl TryFrom<String> for ZoneId {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<ZoneId> for String {
    fn from(id: ZoneId) -> Self {
        id.0
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Milliseconds since the Unix epoch, as told by whoever called us.
///
/// Wall time, because cooldowns and pins outlive a restart. Wall time can jump: [`Timestamp::since`]
/// never underflows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Time passed since `earlier`; zero if `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }
}

/// Whole milliseconds; as many as there can be for what is longer.
fn millis(span: Duration) -> i64 {
    let whole = span.as_secs().saturating_mul(1000).saturating_add(u64::from(span.subsec_millis()));
    i64::try_from(whole).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.as_secs()) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The integer 0 to 255 on a weighted record that makes its share of the answers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Weight(pub u8);

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Tries that went well, of how many. A try may count in part, where one reading stands for several.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Tally {
    pub well: f64,
    pub all: f64,
}

/// A part of a whole, 0 to 1. Not-a-number cannot be built; anything outside is clamped.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Ratio(f64);

impl Ratio {
    pub const ZERO: Self = Self(0.0);
    pub const ONE: Self = Self(1.0);

    pub fn new(value: f64) -> Self {
        if value.is_nan() { Self(0.0) } else { Self(value.clamp(0.0, 1.0)) }
    }

    pub const fn get(self) -> f64 {
        self.0
    }
}

impl From<f64> for Ratio {
    fn from(value: f64) -> Self {
        Self::new(value)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.0
    }
}

impl fmt::Display for Ratio {
    /// In per cent, with one decimal only where it matters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if (percent - percent.round()).abs() < 0.05 {
            write!(f, "{percent:.0}%")
        } else {
            write!(f, "{percent:.1}%")
        }
    }
}

/// The weights of all regions of a record.
///
/// Route 53 answers with *every* record when all weights are zero ([`ResourceRecordSet`, `Weight`][api]),
/// so such a split cannot be built.
///
/// [api]: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<RegionName, Weight>", into = "BTreeMap<RegionName, Weight>")]
pub struct Split(BTreeMap<RegionName, Weight>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a split needs at least one weight above zero")]
pub struct EmptySplit;

impl Split {
    pub fn new(weights: BTreeMap<RegionName, Weight>) -> Result<Self, EmptySplit> {
        if weights.values().any(|w| w.0 > 0) { Ok(Self(weights)) } else { Err(EmptySplit) }
    }

    pub fn weights(&self) -> &BTreeMap<RegionName, Weight> {
        &self.0
    }

    pub fn weight(&self, region: &RegionName) -> Weight {
        self.0.get(region).copied().unwrap_or_default()
    }

    /// Part of the answers that point to `region`: its weight over the sum of weights.
    pub fn share(&self, region: &RegionName) -> Ratio {
        let sum: u32 = self.0.values().map(|w| u32::from(w.0)).sum();
        Ratio::new(f64::from(self.weight(region).0) / f64::from(sum.max(1)))
    }

    /// The split with these shares, on a scale of 100 so that a person reads weights as per cent.
    pub fn from_shares(shares: &BTreeMap<RegionName, f64>) -> Result<Self, EmptySplit> {
        let sum: f64 = shares.values().map(|s| s.max(0.0)).sum();
        if sum <= 0.0 {
            return Err(EmptySplit);
        }
        let weights = shares.iter().map(|(region, share)| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
            let weight = (share.max(0.0) / sum * 100.0).round() as u8;
            (region.clone(), Weight(weight))
        });
        Self::new(weights.collect())
    }

    /// The same, where no region gains more than its share for being rounded: one that gains is rounded down,
    /// and those that keep a part of what they have `now` get the rest.
    pub fn towards(
        shares: &BTreeMap<RegionName, f64>,
        now: &BTreeMap<RegionName, f64>,
    ) -> Result<Self, EmptySplit> {
        let sum: f64 = shares.values().map(|s| s.max(0.0)).sum();
        let of = |all: &BTreeMap<RegionName, f64>, name| all.get(name).copied().unwrap_or_default();
        let (gaining, keeping): (Vec<_>, Vec<_>) = shares
            .iter()
            .map(|(name, share)| (name, share.max(0.0) / sum.max(f64::MIN_POSITIVE)))
            .partition(|(name, share)| *share > of(now, name));
        let mut weights: BTreeMap<RegionName, Weight> = BTreeMap::new();
        let mut left = 100_u8;
        for (name, share) in gaining {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
            let weight = ((share * 100.0 + 1e-6).floor() as u8).min(left);
            left -= weight;
            weights.insert(name.clone(), Weight(weight));
        }
        let mut kept: f64 = keeping.iter().map(|(_, share)| share).sum();
        for (name, share) in keeping {
            // The last of them gets all that is left.
            let part = if kept > 0.0 { (share / kept).min(1.0) } else { 0.0 };
            kept -= share;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
            let weight = (part * f64::from(left)).round() as u8;
            left -= weight;
            weights.insert(name.clone(), Weight(weight));
        }
        Self::new(weights).or_else(|_| Self::from_shares(shares))
    }

    /// The largest difference of share that any region sees between the two.
    pub fn distance(&self, other: &Self) -> f64 {
        let regions = self.0.keys().chain(other.0.keys());
        regions.map(|r| (self.share(r).get() - other.share(r).get()).abs()).fold(0.0, f64::max)
    }
}

impl TryFrom<BTreeMap<RegionName, Weight>> for Split {
    type Error = EmptySplit;

    fn try_from(weights: BTreeMap<RegionName, Weight>) -> Result<Self, EmptySplit> {
        Self::new(weights)
    }
}

impl From<Split> for BTreeMap<RegionName, Weight> {
    fn from(split: Split) -> Self {
        split.0
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (region, weight)) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { " " };
            write!(f, "{gap}{region}={weight}")?;
        }
        Ok(())
    }
}

/// How long to wait after so many failures in a row: `first`, then twice as long each time, `most` at most.
pub fn backoff(first: Duration, failures: u32, most: Duration) -> Duration {
    const DOUBLINGS_MAX: u32 = 16;
    first.saturating_mul(2_u32.pow(failures.saturating_sub(1).min(DOUBLINGS_MAX))).min(most)
}

/// A time span as a person writes it: `90s`, `2m`, `1h 30m`.
pub fn span(duration: Duration) -> String {
    let total = duration.as_secs();
    let (hours, minutes, seconds) = (total / 3600, total % 3600 / 60, total % 60);
    match (hours, minutes, seconds) {
        (0, 0, 0) if duration.as_millis() > 0 => format!("{}ms", duration.as_millis()),
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, 0, _) => format!("{h}h"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

/// One region's switches, and how they are to stand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Turn {
    pub region: RegionName,
    pub to: InAnswers,
}

/// Whether users left a region that was taken out of the answers, as its own counters tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Left {
    /// Nobody tells, or most of them did.
    Unknown,
    /// It carried more than the rest of a region that was left, when it was last counted: before they had to be gone.
    NotToldYet,
    /// This part of its requests still arrives.
    No(Ratio),
}

/// How far a region's switches let it into the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InAnswers {
    In,
    /// Some of its slots are closed: more than none and fewer than all.
    Part {
        closed: u16,
        of: u16,
    },
    Out,
}

impl InAnswers {
    /// `closed` of `of` slots.
    pub fn slots(closed: usize, of: usize) -> Self {
        let narrow = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        match closed {
            0 => Self::In,
            closed if closed >= of => Self::Out,
            closed => Self::Part { closed: narrow(closed), of: narrow(of) },
        }
    }

    /// The part that is open, 0 to 1.
    pub fn open(self) -> f64 {
        match self {
            Self::In => 1.0,
            Self::Part { closed, of } => 1.0 - f64::from(closed) / f64::from(of.max(1)),
            Self::Out => 0.0,
        }
    }

    /// How many of `of` slots are closed.
    pub fn closed(self, of: usize) -> usize {
        match self {
            Self::In => 0,
            Self::Part { closed, .. } => usize::from(closed).min(of),
            Self::Out => of,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is at hand for comparing names quickly, they are in the order of their texts.
        #[test]
        fn names_are_in_the_order_of_their_texts(
            (one, other) in ("[a-c][a-c.-]{0,9}", "[a-c][a-c.-]{0,9}")
        ) {
            let (a, b): (RegionName, RegionName) = (one.parse().unwrap(), other.parse().unwrap());
            prop_assert_eq!(a.cmp(&b), one.cmp(&other));
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(&a, &one.parse().unwrap());
        }
    }

    fn split(pairs: &[(&str, u8)]) -> Result<Split, EmptySplit> {
        Split::new(pairs.iter().map(|(r, w)| (r.parse().unwrap(), Weight(*w))).collect())
    }

    #[test]
    fn a_split_of_zeros_cannot_be_built() {
        assert_eq!(split(&[("east", 0), ("west", 0)]), Err(EmptySplit));
        assert_eq!(split(&[]), Err(EmptySplit));
    }

    #[test]
    fn a_share_is_the_weight_over_the_sum() {
        let split = split(&[("east", 50), ("west", 150)]).unwrap();
        assert!((split.share(&"west".parse().unwrap()).get() - 0.75).abs() < 1e-9);
        assert!(split.share(&"north".parse().unwrap()).get().abs() < 1e-9);
    }

    #[test]
    fn record_names_are_compared_without_case_and_dot() {
        assert_eq!("API.Example.COM.".parse::<RecordName>(), "api.example.com".parse());
        assert_eq!("\\052.example.com".parse::<RecordName>().unwrap().as_str(), "*.example.com");
        for name in ["a..b", "", ".", "a b", "*.*.example.com", "a\\08.example.com", "a\\05"] {
            assert!(name.parse::<RecordName>().is_err(), "{name}");
        }
        for name in ["\\100.example.com", "a.\\052.example.com", "x\\052.example.com"] {
            assert_eq!(name.parse::<RecordName>().unwrap().as_str(), name, "as Route 53 lists it");
        }
        let label = "\\100".repeat(63);
        assert!(label.parse::<RecordName>().is_ok(), "63 octets in 252 characters");
        assert!(format!("{label}a").parse::<RecordName>().is_err());
        assert!(
            "api.example.com".parse::<RecordName>().unwrap().is_in(&"example.com".parse().unwrap())
        );
        assert!(
            !"badexample.com".parse::<RecordName>().unwrap().is_in(&"example.com".parse().unwrap())
        );
    }

    #[test]
    fn time_never_runs_below_zero() {
        let (early, late) = (Timestamp::from_secs(10), Timestamp::from_secs(70));
        assert_eq!(late.since(early), Duration::from_secs(60));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Timestamp::from_secs(0).to_string(), "1970-01-01T00:00:00Z");
    }
    #[test]
    fn no_region_gains_more_than_its_share_by_rounding() {
        let shares = |a: f64, b: f64, c: f64| {
            [("a", a), ("b", b), ("c", c)].map(|(n, s)| (n.parse().unwrap(), s)).into()
        };
        for (to, now, expected) in [
            (shares(0.875, 0.125, 0.0), shares(1.0, 0.0, 0.0), [88, 12, 0]),
            (shares(0.5909, 0.4091, 0.0), shares(1.0, 0.0, 0.0), [60, 40, 0]),
            (shares(0.334, 0.333, 0.333), shares(1.0, 0.0, 0.0), [34, 33, 33]),
            (shares(0.0, 1.0, 0.0), shares(0.99, 0.01, 0.0), [0, 100, 0]),
            (shares(0.0, 0.667, 0.333), shares(1.0, 0.0, 0.0), [0, 66, 33]),
            // Nothing that could be shown on this scale is left to gain.
            (shares(0.996, 0.004, 0.0), shares(1.0, 0.0, 0.0), [100, 0, 0]),
            (shares(0.125, 0.125, 0.75), shares(0.2, 0.2, 0.6), [13, 12, 75]),
        ] {
            let split = Split::towards(&to, &now).unwrap();
            let weights: Vec<u8> = split.weights().values().map(|weight| weight.0).collect();
            assert_eq!(weights, expected, "{to:?}");
        }
    }
}
