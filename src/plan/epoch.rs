//! The epoch TXT: one DNS query tells anybody who moved traffic, when and whereto. No IO.
//!
//! The text is `leeward v=1 service=shop epoch=41 split=eu-west-1:0,eu-central-1:100 holder=host
//! at=2026-11-21T05:00:00Z`. As a record value it is cut into quoted character strings of at most 255
//! octets each (RFC 1035, 3.3), of which Route 53 takes 4,000 octets in one value.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::domain::{RegionName, ServiceName, Split, Timestamp, Weight};
use crate::plan::Epoch;

/// One character string of a TXT value (RFC 1035, 3.3).
const CHARACTER_STRING_MAX: usize = 255;
/// One TXT value in Route 53 (Developer Guide, "Supported DNS record types", TXT).
pub const VALUE_MAX: usize = 4000;
/// More is not looked at: a value with every octet escaped as `\DDD`, and its quotation marks.
const INPUT_MAX: usize = 5 * VALUE_MAX;
const HOLDER_MAX: usize = 63;

/// What the epoch TXT says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochTxt {
    pub service: ServiceName,
    pub epoch: Epoch,
    pub split: Split,
    /// Who wrote it: letters, digits, `-`, `_` and `.`, at most 63.
    pub holder: String,
    /// To the second.
    pub at: Timestamp,
}

/// Why a text is not an epoch TXT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEpoch {
    #[error("it does not begin with `leeward v=1`")]
    NotOurs,
    #[error("it is longer than {INPUT_MAX} octets")]
    TooLong,
    #[error("its quotation marks do not match")]
    Quotes,
    #[error("its field `{0}` is missing or wrong")]
    Field(&'static str),
}

impl EpochTxt {
    /// `holder` with everything that is not a letter, digit, `-`, `_` or `.` made `_`.
    pub fn clean_holder(holder: &str) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }
        };
        let clean: String = holder.chars().map(plain).take(HOLDER_MAX).collect();
        if clean.is_empty() { "_".to_owned() } else { clean }
    }

    fn text(&self) -> String {
        let mut split = String::new();
        for (place, (region, weight)) in self.split.weights().iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let _ = write!(split, "{comma}{region}:{weight}");
        }
        format!(
            "leeward v=1 service={} epoch={} split={split} holder={} at={}",
            self.service,
            self.epoch,
            Self::clean_holder(&self.holder),
            self.at
        )
    }

    /// The value as Route 53 takes it: quoted strings of at most 255 octets, parted by a space.
    ///
    /// No octet of the text needs an escape: names are plain and the holder is cleaned.
    pub fn encode(&self) -> String {
        let text = self.text();
        let chunks: Vec<String> = text
            .as_bytes()
            .chunks(CHARACTER_STRING_MAX)
            .map(|chunk| format!("\"{}\"", String::from_utf8_lossy(chunk)))
            .collect();
        chunks.join(" ")
    }

    /// Reads a value with its quotation marks, or the bare text as resolvers hand it out.
    pub fn parse(value: &str) -> Result<Self, NotEpoch> {
        if value.len() > INPUT_MAX {
            return Err(NotEpoch::TooLong);
        }
        let value = value.trim();
        let text = if value.starts_with('"') { unquote(value)? } else { value.to_owned() };
        let mut words = text.split_ascii_whitespace();
        if (words.next(), words.next()) != (Some("leeward"), Some("v=1")) {
            return Err(NotEpoch::NotOurs);
        }
        // Fields that a later version adds are passed over; the first of a kind counts.
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            fields.entry(name).or_insert(value);
        }
        let field = |name: &'static str| fields.get(name).copied().ok_or(NotEpoch::Field(name));
        let at: jiff::Timestamp = field("at")?.parse().map_err(|_| NotEpoch::Field("at"))?;
        Ok(Self {
            service: field("service")?.parse().map_err(|_| NotEpoch::Field("service"))?,
            epoch: Epoch(field("epoch")?.parse().map_err(|_| NotEpoch::Field("epoch"))?),
            split: parse_split(field("split")?).ok_or(NotEpoch::Field("split"))?,
            holder: Self::clean_holder(field("holder")?),
            at: Timestamp::from_secs(at.as_second()),
        })
    }
}

fn parse_split(text: &str) -> Option<Split> {
    let mut weights = BTreeMap::new();
    for part in text.split(',') {
        let (region, weight) = part.split_once(':')?;
        let known =
            weights.insert(region.parse::<RegionName>().ok()?, Weight(weight.parse().ok()?));
        if known.is_some() {
            return None;
        }
    }
    Split::new(weights).ok()
}

/// Joins quoted character strings; knows `\"`, `\\` and the octal `\DDD` of Route 53.
fn unquote(value: &str) -> Result<String, NotEpoch> {
    let mut text = Vec::with_capacity(value.len());
    let mut bytes = value.bytes().peekable();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        match (quoted, byte) {
            (_, b'"') => quoted = !quoted,
            (false, b' ' | b'\t') => {}
            (false, _) => return Err(NotEpoch::Quotes),
            (true, b'\\') => {
                let first = bytes.next().ok_or(NotEpoch::Quotes)?;
                if first.is_ascii_digit() {
                    let digits = [Some(first), bytes.next(), bytes.next()];
                    text.push(octal(digits).ok_or(NotEpoch::Quotes)?);
                } else {
                    text.push(first);
                }
            }
            (true, other) => text.push(other),
        }
    }
    if quoted {
        return Err(NotEpoch::Quotes);
    }
    String::from_utf8(text).map_err(|_| NotEpoch::NotOurs)
}

fn octal(digits: [Option<u8>; 3]) -> Option<u8> {
    let number = digits.into_iter().try_fold(0_u32, |sum, digit| {
        let digit = digit.filter(|d| (b'0'..=b'7').contains(d))?;
        Some(sum * 8 + u32::from(digit - b'0'))
    })?;
    u8::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch(regions: usize) -> EpochTxt {
        let weights = (0..regions)
            .map(|n| (format!("region-{n:03}-with-a-long-name").parse().unwrap(), Weight(1)))
            .collect();
        EpochTxt {
            service: "shop".parse().unwrap(),
            epoch: Epoch(41),
            split: Split::new(weights).unwrap(),
            holder: "host-1".to_owned(),
            at: Timestamp::from_secs(1_700_000_000),
        }
    }

    #[test]
    fn the_text_is_the_documented_one() {
        let weights = [("eu-central-1", 100), ("eu-west-1", 0)]
            .map(|(region, weight)| (region.parse().unwrap(), Weight(weight)));
        let epoch = EpochTxt { split: Split::new(weights.into()).unwrap(), ..epoch(1) };
        assert_eq!(
            epoch.encode(),
            "\"leeward v=1 service=shop epoch=41 split=eu-central-1:100,eu-west-1:0 \
             holder=host-1 at=2023-11-14T22:13:20Z\""
        );
    }

    #[test]
    fn long_texts_are_cut_into_strings_of_255_octets() {
        let long = epoch(30);
        let value = long.encode();
        assert!(value.split("\" \"").all(|part| part.trim_matches('"').len() <= 255));
        assert!(value.contains("\" \""));
        assert_eq!(EpochTxt::parse(&value), Ok(long));
    }

    #[test]
    fn a_bare_text_is_read_like_a_quoted_one() {
        let known = epoch(2);
        assert_eq!(EpochTxt::parse(&known.text()), Ok(known));
    }

    #[test]
    fn what_is_not_ours_is_told_apart_from_what_is_broken() {
        assert_eq!(EpochTxt::parse("\"v=spf1 -all\""), Err(NotEpoch::NotOurs));
        assert_eq!(EpochTxt::parse("\"leeward v=1"), Err(NotEpoch::Quotes));
        assert_eq!(EpochTxt::parse("\"leeward v=2 service=a\""), Err(NotEpoch::NotOurs));
        assert_eq!(EpochTxt::parse("\"leeward v=1 service=a\""), Err(NotEpoch::Field("at")));
        assert_eq!(EpochTxt::parse(&"x".repeat(INPUT_MAX + 1)), Err(NotEpoch::TooLong));
        let twice = epoch(1).text().replace(":1 ", ":1,region-000-with-a-long-name:2 ");
        assert_eq!(EpochTxt::parse(&twice), Err(NotEpoch::Field("split")));
        let zeros = epoch(1).text().replace(":1 ", ":0 ");
        assert_eq!(EpochTxt::parse(&zeros), Err(NotEpoch::Field("split")));
    }

    #[test]
    fn a_holder_cannot_break_out_of_its_field() {
        let spiteful = EpochTxt { holder: "a\" epoch=99 \\".to_owned(), ..epoch(1) };
        let read = EpochTxt::parse(&spiteful.encode()).unwrap();
        assert_eq!((read.epoch, read.holder.as_str()), (Epoch(41), "a__epoch_99__"));
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = EpochTxt::parse(&text);
            let _ = EpochTxt::parse(&format!("\"leeward v=1 {text}"));
        }

        #[test]
        fn what_is_written_is_read_again(regions in 1_usize..60, number in any::<u64>(), secs in 0_i64..4_000_000_000) {
            let known = EpochTxt { epoch: Epoch(number), at: Timestamp::from_secs(secs), ..epoch(regions) };
            prop_assert_eq!(EpochTxt::parse(&known.encode()), Ok(known));
        }
    }
}
