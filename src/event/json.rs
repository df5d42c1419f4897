//! Small readings of JSON that somebody else wrote: texts in bounds, times in their dialects.

use serde_json::Value;

use super::Unknown;
use crate::domain::Timestamp;

/// Far more than names of alarms (255) and ARNs need.
const TEXT_CHARS_MAX: usize = 512;

/// Bounded, on one line, without control characters: this goes to terminals and journals.
pub(super) fn clip(text: &str, most: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut clipped: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        clipped.push_str("...");
    }
    clipped
}

/// A text below these keys, if there is one that says something.
pub(super) fn text(value: &Value, path: &[&str]) -> Option<String> {
    let inner = path.iter().try_fold(value, |value, key| value.get(key))?.as_str()?.trim();
    (!inner.is_empty()).then(|| clip(inner, TEXT_CHARS_MAX))
}

pub(super) fn needed(value: &Value, path: &[&str]) -> Result<String, Unknown> {
    text(value, path).ok_or_else(|| Unknown::new(format!("without `{}`", path.join("."))))
}

/// The time below these keys; `None` if there is none or nobody can read it.
pub(super) fn time(value: &Value, path: &[&str]) -> Option<Timestamp> {
    time_of(&text(value, path)?)
}

/// RFC 3339, the same with `+0000` as CloudWatch writes it, or RFC 2822 as AWS Health writes it. Only
/// between the years 2000 and 2200: a time outside is a fault of the writer and no time.
pub(super) fn time_of(text: &str) -> Option<Timestamp> {
    const FROM: i64 = 946_684_800;
    const TO: i64 = 7_258_118_400;
    let colon = || {
        let (head, tail) = text.split_at_checked(text.len().checked_sub(4)?)?;
        let offset = head.ends_with(['+', '-']) && tail.bytes().all(|b| b.is_ascii_digit());
        offset.then(|| format!("{head}{}:{}", &tail[..2], &tail[2..]).parse().ok())?
    };
    let rfc2822 = || jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let time: jiff::Timestamp = text.parse().ok().or_else(colon).or_else(rfc2822)?;
    (FROM..TO).contains(&time.as_second()).then(|| Timestamp::from_millis(time.as_millisecond()))
}

/// The parts of `arn:PARTITION:SERVICE:REGION:ACCOUNT:REST`.
pub(super) struct Arn<'a> {
    pub(super) service: &'a str,
    pub(super) aws_region: &'a str,
    pub(super) rest: &'a str,
}

pub(super) fn arn(text: &str) -> Option<Arn<'_>> {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next();
    let ("arn", Some(partition), Some(service), Some(aws_region), Some(_), Some(rest)) =
        (next()?, next(), next(), next(), next(), next())
    else {
        return None;
    };
    let right = partition.starts_with("aws") && !rest.is_empty() && is_region(aws_region);
    right.then_some(Arn { service, aws_region, rest })
}

/// Like `eu-west-1` or `us-gov-east-1`.
pub(super) fn is_region(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    plain && text.len() <= 32 && text.split('-').count() >= 3 && !text.split('-').any(str::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_dialects_of_their_writers() {
        let expected = Some(Timestamp::from_millis(1_747_187_891_589));
        for text in [
            "2025-05-14T01:58:11.589Z",
            "2025-05-14T01:58:11.589+00:00",
            "2025-05-14T01:58:11.589+0000",
            "2025-05-14T03:58:11.589+0200",
        ] {
            assert_eq!(time_of(text), expected, "{text}");
        }
        let health = time_of("Wed, 14 May 2025 01:58:11 GMT");
        assert_eq!(health, Some(Timestamp::from_secs(1_747_187_891)));
        for text in [
            "",
            "0000",
            "+0000",
            "yesterday",
            "9999-12-31T00:00:00Z",
            "1969-01-01T00:00:00Z",
            "é000",
        ] {
            assert_eq!(time_of(text), None, "{text}");
        }
    }

    #[test]
    fn an_arn_has_a_region_that_looks_like_one() {
        let text = "arn:aws-cn:cloudwatch:cn-north-1:111122223333:alarm:a:b";
        let found = arn(text).unwrap();
        assert_eq!(
            (found.service, found.aws_region, found.rest),
            ("cloudwatch", "cn-north-1", "alarm:a:b")
        );
        for text in [
            "",
            "arn:aws:x",
            "arn:aws:cloudwatch::1:alarm:x",
            "arn:aws:cloudwatch:US East:1:alarm:x",
        ] {
            assert!(arn(text).is_none(), "{text}");
        }
    }
}
