//! The single values of the language: times, parts, rates, numbers, names. Each says what it expects.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{Decode, wrong_shape};
use super::problem::{Code, Finding, Findings, quoted};
use super::tree::{Node, Value};
use crate::domain::{
    BalancerName, Ratio, RecordName, RegionName, ServiceName, SignalName, VantageName, ZoneId,
};

/// Longer spans are typing errors.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// A value read from one text.
trait Unit: Sized {
    /// What it is called, with article.
    const WHAT: &'static str;
    /// The same with limits and an example, for `expected ...`.
    const EXPECTED: &'static str;
    /// Regular expression for editors, and what editors show.
    const PATTERN: &'static str;
    /// What YAML takes the text for, if no quotes are around it.
    const YAML_TYPES: &'static [&'static str] = &["string"];

    /// `Err` with further help if there is any.
    fn parse(text: &str) -> Result<Self, Option<String>>;
}

macro_rules! units {
    ($($type:ident)+) => {$(
        impl Decode for $type {
            fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
                decode_unit(node, to)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": <$type as Unit>::YAML_TYPES,
                    "pattern": <$type as Unit>::PATTERN,
                    "title": <$type as Unit>::EXPECTED,
                })
            }
        }
    )+};
}

fn decode_unit<T: Unit>(node: &Node, to: &mut Findings<'_>) -> Option<T> {
    let Value::Scalar(text) = &node.value else {
        to.add(wrong_shape(node, T::EXPECTED));
        return None;
    };
    match T::parse(text) {
        Ok(value) => Some(value),
        Err(help) => {
            let message = format!("expected {}, found {}", T::EXPECTED, quoted(text));
            let label = format!("not {}", T::WHAT);
            to.add(Finding::new(Code::Malformed, node.at, message).label(label).maybe_help(help));
            None
        }
    }
}

units!(Span LagText Percent Weight RequestRate Rate Count Number Port Address Url Text StatusRange);

/// `90s`, `2m`, `1h 30m`, `500ms`, `1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl Unit for Span {
    const WHAT: &'static str = "a time";
    const EXPECTED: &'static str = "a time like `90s`, `2m`, `1h 30m` or `500ms`";
    const PATTERN: &'static str = r"^([0-9]+(ms|s|m|h|d) ?)+$";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let mut rest = text;
        let mut total = Duration::ZERO;
        if rest.is_empty() {
            return Err(None);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let tail = tail.strip_prefix(' ').unwrap_or(tail);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let Ok(number) = number.parse::<u64>() else {
                let long = (digits > 0).then(|| "that is longer than a year".to_owned());
                return Err(long);
            };
            let millis = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "" => return Err(Some(format!("did you mean `{number}s` or `{number}m`?"))),
                _ => return Err(Some("the units are `ms`, `s`, `m`, `h` and `d`".to_owned())),
            };
            let Some(part) = number.checked_mul(millis).map(Duration::from_millis) else {
                return Err(Some("that is longer than a year".to_owned()));
            };
            total = total.saturating_add(part);
            if total > SPAN_MAX {
                return Err(Some("that is longer than a year".to_owned()));
            }
            rest = tail.trim_start_matches(' ');
        }
        Ok(Self(total))
    }
}

/// `3m`, or `unknown`: how far data is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LagText(pub(super) Option<Duration>);

impl Unit for LagText {
    const WHAT: &'static str = "a lag";
    const EXPECTED: &'static str = "a time like `30s`, or `unknown`";
    const PATTERN: &'static str = r"^(unknown|([0-9]+(ms|s|m|h|d) ?)+)$";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        match text {
            "unknown" => Ok(Self(None)),
            _ => Span::parse(text).map(|span| Self(Some(span.0))),
        }
    }
}

/// `95%`, `0.5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percent(pub(super) f64);

impl Unit for Percent {
    const WHAT: &'static str = "a part in per cent";
    const EXPECTED: &'static str = "a part of 0% to 100%, like `95%`";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? ?%$";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let Some(number) = text.strip_suffix('%') else {
            return Err(match decimal(text) {
                Some(number) if number > 1.0 => Some(format!("did you mean `{text}%`?")),
                Some(number) => Some(format!("did you mean `{}`?", Ratio::new(number))),
                None => None,
            });
        };
        match decimal(number.trim_end_matches(' ')) {
            Some(percent) if percent <= 100.0 => Ok(Self(percent / 100.0)),
            Some(_) => Err(Some("100% is the whole".to_owned())),
            None => Err(None),
        }
    }
}

/// 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight(pub(super) u8);

impl Unit for Weight {
    const WHAT: &'static str = "a weight";
    const EXPECTED: &'static str = "a weight, a whole number of 0 to 255 like `100`";
    const PATTERN: &'static str = r"^[0-9]{1,3}$";
    const YAML_TYPES: &'static [&'static str] = &["string", "number"];

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let share =
            || "weights are no per cents: a share is a weight over the sum of weights".to_owned();
        let help = text.ends_with('%').then(share);
        if text.bytes().all(|b| b.is_ascii_digit()) {
            text.parse().map(Self).map_err(|_| help)
        } else {
            Err(help)
        }
    }
}

/// `3000 rps`: requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RequestRate(pub(super) f64);

impl Unit for RequestRate {
    const WHAT: &'static str = "requests per second";
    const EXPECTED: &'static str = "requests per second, like `3000 rps`";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? ?rps$";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let number =
            text.strip_suffix("rps").and_then(|number| decimal(number.trim_end_matches(' ')));
        match (number, decimal(text)) {
            (Some(number), _) => Ok(Self(number)),
            (None, Some(number)) => Err(Some(format!("did you mean `{number} rps`?"))),
            (None, None) => Err(None),
        }
    }
}

/// `5/s`: so many a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate(pub(super) f64);

impl Unit for Rate {
    const WHAT: &'static str = "a rate";
    const EXPECTED: &'static str = "a rate like `5/s`";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)?/s$";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let number = text.strip_suffix("/s").and_then(decimal);
        match (number, decimal(text)) {
            (Some(number), _) => Ok(Self(number)),
            (None, Some(number)) => Err(Some(format!("did you mean `{number}/s`?"))),
            (None, None) => Err(None),
        }
    }
}

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(pub(super) u32);

impl Unit for Count {
    const WHAT: &'static str = "a whole number";
    const EXPECTED: &'static str = "a whole number like `1`";
    const PATTERN: &'static str = r"^[0-9]{1,9}$";
    const YAML_TYPES: &'static [&'static str] = &["string", "number"];

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let digits = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse().map(Self).map_err(|_| None) } else { Err(None) }
    }
}

/// A number, as metrics have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number(pub(super) f64);

impl Unit for Number {
    const WHAT: &'static str = "a number";
    const EXPECTED: &'static str = "a number like `5` or `0.25`";
    const PATTERN: &'static str = r"^-?[0-9]+(\.[0-9]+)?$";
    const YAML_TYPES: &'static [&'static str] = &["string", "number"];

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let magnitude = decimal(text.strip_prefix('-').unwrap_or(text)).ok_or(None)?;
        Ok(Self(if text.starts_with('-') { -magnitude } else { magnitude }))
    }
}

/// Digits with at most one point in between: no exponent, no sign, no infinity.
fn decimal(text: &str) -> Option<f64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits =
        |text: &str| (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(part) { text.parse().ok() } else { None }
}

/// 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Port(pub(super) u16);

impl Unit for Port {
    const WHAT: &'static str = "a port";
    const EXPECTED: &'static str = "a port of 1 to 65535, like `443`";
    const PATTERN: &'static str = r"^[0-9]{1,5}$";
    const YAML_TYPES: &'static [&'static str] = &["string", "number"];

    fn parse(text: &str) -> Result<Self, Option<String>> {
        match text.parse() {
            Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self(port)),
            Ok(_) | Err(_) => Err(None),
        }
    }
}

/// An IP address without port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(pub(super) IpAddr);

impl Unit for Address {
    const WHAT: &'static str = "an IP address";
    const EXPECTED: &'static str = "an IP address like `192.0.2.10`";
    const PATTERN: &'static str = r"^[0-9a-fA-F.:]+$";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        text.parse().map(Self).map_err(|_| None)
    }
}

/// `http://` or `https://`, with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url(pub(super) String);

impl Unit for Url {
    const WHAT: &'static str = "an HTTP address";
    const EXPECTED: &'static str = "an HTTP address like `https://example.com/hook`";
    const PATTERN: &'static str = r"^https?://.+$";

    fn parse(text: &str) -> Result<Self, Option<String>> {
        const URL_BYTES_MAX: usize = 2048;
        let uri: http::Uri = text.parse().map_err(|_| None)?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri.host().is_some_and(|host| !host.is_empty());
        let secret = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if secret {
            return Err(Some("a user name or password does not belong in an address".to_owned()));
        }
        if web && host && text.len() <= URL_BYTES_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err((!web).then(|| "it begins with `http://` or `https://`".to_owned()))
    }
}

/// Any text of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl Unit for Text {
    const WHAT: &'static str = "such a text";
    const EXPECTED: &'static str = "a text of one line, with 1 to 1024 characters";
    const PATTERN: &'static str = r"^.+$";
    const YAML_TYPES: &'static [&'static str] = &["string", "number", "boolean"];

    fn parse(text: &str) -> Result<Self, Option<String>> {
        const TEXT_CHARS_MAX: usize = 1024;
        let fits = !text.trim().is_empty() && text.chars().count() <= TEXT_CHARS_MAX;
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err((!fits).then_some(()).map_or_else(
                || Some("control characters and line breaks are not allowed".to_owned()),
                |()| None,
            ))
        }
    }
}

/// `200` or `200-299`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatusRange(pub(super) u16, pub(super) u16);

impl Unit for StatusRange {
    const WHAT: &'static str = "a status";
    const EXPECTED: &'static str = "a status of 100 to 599 like `200`, or a range like `200-299`";
    const PATTERN: &'static str = r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?$";
    const YAML_TYPES: &'static [&'static str] = &["string", "number"];

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| match text.parse::<u16>() {
            Ok(status) if (100..=599).contains(&status) && text.len() == 3 => Ok(status),
            Ok(_) | Err(_) => Err(None),
        };
        let (low, high) = (status(low)?, status(high)?);
        if low <= high {
            Ok(Self(low, high))
        } else {
            Err(Some(format!("did you mean `{high}-{low}`?")))
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
        const EXPECTED: &str = "`true` or `false`";
        match &node.value {
            Value::Scalar(text) if text == "true" => Some(true),
            Value::Scalar(text) if text == "false" => Some(false),
            Value::Scalar(text) => {
                let message = format!("expected {EXPECTED}, found {}", quoted(text));
                let meant = match text.to_ascii_lowercase().as_str() {
                    "yes" | "y" | "on" | "1" | "true" => Some("did you mean `true`?".to_owned()),
                    "no" | "n" | "off" | "0" | "false" => Some("did you mean `false`?".to_owned()),
                    _ => None,
                };
                to.add(
                    Finding::new(Code::Malformed, node.at, message)
                        .label("neither")
                        .maybe_help(meant),
                );
                None
            }
            Value::Nothing | Value::List(_) | Value::Mapping(_) => {
                to.add(wrong_shape(node, EXPECTED));
                None
            }
        }
    }
}

macro_rules! domain_names {
    ($($type:ident $expected:literal)+) => {$(
        impl Decode for $type {
            fn decode(node: &Node, to: &mut Findings<'_>) -> Option<Self> {
                let Value::Scalar(text) = &node.value else {
                    to.add(wrong_shape(node, $expected));
                    return None;
                };
                match text.parse() {
                    Ok(value) => Some(value),
                    Err(malformed) => {
                        to.add(malformed_name(&malformed, node));
                        None
                    }
                }
            }
        }

        // The schema only needs to know that it is a text.
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "title": $expected })
            }
        }
    )+};
}

domain_names! {
    ServiceName "the name of a service"
    RegionName "the name of a region"
    BalancerName "the name of a balancer"
    VantageName "the name of a vantage"
    SignalName "the name of a signal"
    RecordName "a record name like `api.example.com`"
    ZoneId "a hosted zone id like `Z0123456789ABCDEFGHIJ`"
}

fn malformed_name(malformed: &crate::domain::Malformed, node: &Node) -> Finding {
    let message = format!("{} is not a {}", quoted(&malformed.text), malformed.what);
    Finding::new(Code::Malformed, node.at, message)
        .label(format!("not a {}", malformed.what))
        .help(format!("expected {}", malformed.expected))
}
