//! Levers and the records that they move.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::decode::{self, At, Entries, Part, Written};
use super::super::problem::{Code, Finding, Findings, quoted};
use super::super::units::{Rate, Span, Text};
use super::super::{EpochRecord, Lever, Pace, Readback, Records, WeightsLever, WhichRecords, raw};
use super::{
    DAY, HOUR, Names, Referred, SECOND, check_reference, limited, limited_span, parsed, switches,
};
use crate::domain::{RecordName, RegionName, ZoneId};

/// The types that Route 53 takes for weighted records.
const TYPES: &[&str] = &[
    "A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "PTR", "SPF", "SRV", "SSHFP",
    "SVCB", "TLSA", "TXT",
];

pub(super) fn compile(
    written: &At<Vec<Part<At<raw::Lever>>>>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<Vec<Lever>> {
    if written.value.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, written.at, "there is no lever")
                .label("empty")
                .help("nothing could be moved; write at least `weights`"),
        );
        return None;
    }
    let mut levers: Vec<Option<Lever>> = Vec::new();
    let mut seen = BTreeSet::new();
    for lever in &written.value {
        let lever = match &lever.0 {
            Some(At { value, at }) => {
                let (kind, help) = match value {
                    raw::Lever::Weights(_) => ("weights", "write all records into one lever"),
                    raw::Lever::Gates(_) => {
                        ("gates", "write the gates of all regions into one lever")
                    }
                    raw::Lever::Arc(_) => {
                        ("arc", "write the controls of all regions into one lever")
                    }
                };
                if !seen.insert(kind) {
                    to.add(
                        Finding::new(Code::Conflict, *at, format!("a second `{kind}` lever"))
                            .label("second lever of that kind")
                            .help(help),
                    );
                }
                match value {
                    raw::Lever::Weights(weights) => {
                        weights_lever(weights, names, to).map(Lever::Weights)
                    }
                    raw::Lever::Gates(gates) => switches::gates(gates, names, to).map(Lever::Gates),
                    raw::Lever::Arc(arc) => switches::arc(arc, names, to).map(Lever::Arc),
                }
            }
            None => None,
        };
        levers.push(lever);
    }
    levers.into_iter().collect()
}

fn weights_lever(
    written: &raw::Weights,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<WeightsLever> {
    let records =
        written.records.0.as_ref().and_then(|records| compile_records(records, names, to));
    let epoch_record = written.epoch_record.0.as_ref().map(|record| {
        let records = written.records.0.as_ref();
        check_epoch(record, records.map_or(&[], |records| records.value.as_slice()), to);
        EpochRecord { zone: record.zone.value.clone(), name: record.name.value.clone() }
    });
    let ttl = written.ttl.0.as_ref().and_then(|ttl| compile_ttl(ttl, to));
    let in_sync_within = written
        .in_sync_within
        .0
        .as_ref()
        .and_then(|span| limited_span(span, SECOND..=HOUR, "in_sync_within", to));
    let readback = written.readback.0.as_ref().and_then(|readback| match readback {
        raw::Readback::NameServers => Some(Readback::NameServers),
        raw::Readback::Servers(servers) => compile_servers(servers, to),
        raw::Readback::Nothing => Some(Readback::None),
    });
    let pace = match decode::written(written.pace.as_ref()) {
        Written::No => Some(Pace::default()),
        Written::Broken => None,
        Written::Yes(pace) => compile_pace(pace, to),
    };
    Some(WeightsLever {
        records: records?,
        epoch_record: epoch_record?,
        pace: pace?,
        in_sync_within: in_sync_within?,
        readback: readback?,
        ttl: ttl?,
    })
}

pub(super) fn compile_ttl(written: &At<Span>, to: &mut Findings<'_>) -> Option<Duration> {
    let ttl = limited_span(written, SECOND..=DAY, "ttl", to)?;
    if !ttl.as_millis().is_multiple_of(1000) {
        to.add(
            Finding::new(Code::OutOfRange, written.at, "`ttl` has parts of a second")
                .label("expected whole seconds"),
        );
    }
    Some(ttl)
}

/// What a record set is known by, for finding it twice.
type Known = BTreeMap<ZoneId, BTreeSet<(RecordName, String)>>;

fn compile_records(
    written: &At<Vec<Part<raw::Records>>>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<Vec<Records>> {
    if written.value.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, written.at, "there is no record to move").label("empty"),
        );
        return None;
    }
    let mut known = Known::new();
    let whole_zones: BTreeSet<&ZoneId> = written
        .value
        .iter()
        .filter_map(|part| part.0.as_ref())
        .filter(|records| records.all.as_ref().is_some_and(|all| all.value))
        .map(|records| &records.zone.value)
        .collect();
    let mut whole_zones_seen = BTreeSet::new();
    let mut compiled = Vec::new();
    for part in &written.value {
        let Some(records) = &part.0 else {
            compiled.push(None);
            continue;
        };
        let members = compile_members(&records.members, names, to);
        let which = which_records(records, to);
        match &which {
            Some(WhichRecords::Named { name, types }) => {
                if whole_zones.contains(&records.zone.value) {
                    let at = records.name.as_ref().map_or(records.zone.at, |name| name.at);
                    to.add(
                        Finding::new(
                            Code::DuplicateRecord,
                            at,
                            format!("`{name}` is moved by `all: true` of its zone already"),
                        )
                        .label("second mention")
                        .help("name all records of the zone, or none"),
                    );
                }
                check_twice(records, name, types, &mut known, to);
            }
            Some(WhichRecords::All) if !whole_zones_seen.insert(&records.zone.value) => {
                let zone = &records.zone;
                let message = format!("all records of zone `{}` are moved twice", zone.value);
                to.add(
                    Finding::new(Code::DuplicateRecord, zone.at, message).label("second mention"),
                );
            }
            Some(WhichRecords::All) | None => {}
        }
        let zone = records.zone.value.clone();
        compiled.push(which.zip(members).map(|(which, members)| Records { zone, which, members }));
    }
    compiled.into_iter().collect()
}

fn check_twice(
    records: &raw::Records,
    name: &RecordName,
    types: &BTreeSet<String>,
    known: &mut Known,
    to: &mut Findings<'_>,
) {
    let seen = known.entry(records.zone.value.clone()).or_default();
    for kind in types {
        if !seen.insert((name.clone(), kind.clone())) {
            let at = records.name.as_ref().map_or(records.zone.at, |name| name.at);
            let message = format!("record `{name}` {kind} is moved twice");
            to.add(Finding::new(Code::DuplicateRecord, at, message).label("second mention"));
        }
    }
}

fn which_records(records: &raw::Records, to: &mut Findings<'_>) -> Option<WhichRecords> {
    let all = records.all.as_ref().filter(|all| all.value);
    match (&records.name, &records.types, all) {
        (Some(name), Some(types), None) => {
            let types = compile_types(types, to)?;
            Some(WhichRecords::Named { name: name.value.clone(), types })
        }
        (None, None, Some(_)) => Some(WhichRecords::All),
        (Some(_), None, None) => {
            to.add(
                Finding::new(
                    Code::MissingField,
                    records.zone.at,
                    "a named record needs its `types`",
                )
                .label("`types` is missing")
                .help("the types that move together: `types: [A, AAAA]`"),
            );
            None
        }
        (None, _, None) => {
            to.add(
                Finding::new(Code::MissingField, records.zone.at, "which records of the zone?")
                    .label("`name` is missing")
                    .help("write `name` and `types`, or `all: true` for every weighted name of the zone that has these members"),
            );
            None
        }
        (Some(RecordAt { at, .. }), _, Some(_)) => {
            to.add(
                Finding::new(Code::Conflict, *at, "`name` and `all: true` exclude each other")
                    .label("one name, or all?"),
            );
            None
        }
        (None, Some(types), Some(_)) => {
            to.add(
                Finding::new(
                    Code::Conflict,
                    types.at,
                    "`types` and `all: true` exclude each other",
                )
                .label("`all` has every type"),
            );
            None
        }
    }
}

type RecordAt = At<RecordName>;

fn compile_types(written: &At<Vec<At<Text>>>, to: &mut Findings<'_>) -> Option<BTreeSet<String>> {
    if written.value.is_empty() {
        to.add(Finding::new(Code::WrongShape, written.at, "there is no type").label("empty"));
        return None;
    }
    let mut types = BTreeSet::new();
    let mut whole = true;
    for kind in &written.value {
        let text = kind.value.0.as_str();
        if !TYPES.contains(&text) {
            whole = false;
            let upper = text.to_ascii_uppercase();
            let help = if TYPES.contains(&upper.as_str()) {
                format!("did you mean `{upper}`?")
            } else {
                format!("the types are {}", TYPES.join(", "))
            };
            let message = format!("{} is not a type of weighted records", quoted(text));
            to.add(
                Finding::new(Code::UnknownChoice, kind.at, message)
                    .label("unknown type")
                    .help(help),
            );
        } else if !types.insert(text.to_owned()) {
            whole = false;
            let message = format!("type `{text}` is written twice");
            to.add(Finding::new(Code::DuplicateRecord, kind.at, message).label("again"));
        }
    }
    whole.then_some(types)
}

fn compile_members(
    written: &Entries<At<Text>>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<RegionName, String>> {
    const IDENTIFIER_CHARS_MAX: usize = 128;
    let mut members = BTreeMap::new();
    let mut whole = true;
    for entry in &written.list {
        let known = names.regions.as_ref();
        let known = check_reference(&entry.name, entry.at, Referred::Region, known, to);
        let Some(identifier) = &entry.value else {
            whole = false;
            continue;
        };
        let text = identifier.value.0.clone();
        if text.chars().count() > IDENTIFIER_CHARS_MAX {
            whole = false;
            to.add(
                Finding::new(Code::OutOfRange, identifier.at, "a set identifier is too long")
                    .label(format!("expected at most {IDENTIFIER_CHARS_MAX} characters")),
            );
        }
        if let Some((other, _)) = members.iter().find(|(_, other)| **other == text) {
            whole = false;
            let message = format!("set identifier {} is that of `{other}` already", quoted(&text));
            to.add(
                Finding::new(Code::DuplicateIdentifier, identifier.at, message)
                    .label("second use")
                    .help("each region has a record of its own, with its own set identifier"),
            );
        }
        match known.and_then(|()| parsed::<RegionName>(&entry.name, entry.at, to)) {
            Some(region) => {
                members.insert(region, text);
            }
            None => whole = false,
        }
    }
    let missing: Vec<&str> = names
        .regions
        .iter()
        .flatten()
        .map(String::as_str)
        .filter(|region| !written.names().any(|name| name == *region))
        .collect();
    let strange = written.names().filter(|name| !names.has_region(name)).count();
    // A misspelt region has been complained of; that it is missing as well is no news.
    if missing.len() > strange {
        whole = false;
        let missing = missing.join("`, `");
        to.add(
            Finding::new(
                Code::MembersMismatch,
                written.at,
                "a record needs a member in every region",
            )
            .label(format!("`{missing}` is missing"))
            .help("a name that some regions do not answer for cannot be moved there"),
        );
    }
    whole.then_some(members)
}

fn check_epoch(epoch: &raw::EpochRecord, records: &[Part<raw::Records>], to: &mut Findings<'_>) {
    let collides = records.iter().filter_map(|part| part.0.as_ref()).any(|records| {
        records.zone.value == epoch.zone.value
            && records.name.as_ref().is_some_and(|name| name.value == epoch.name.value)
    });
    if collides {
        let message = format!("`{}` is a record of the service itself", epoch.name.value);
        to.add(
            Finding::new(Code::EpochCollision, epoch.name.at, message)
                .label("taken")
                .help(format!("take a name of its own, like `_leeward.{}`", epoch.name.value)),
        );
    }
}

fn compile_servers(written: &At<Vec<At<Text>>>, to: &mut Findings<'_>) -> Option<Readback> {
    compile_hosts(written, to).map(Readback::Servers)
}

/// Name servers, each as host and port.
pub(super) fn compile_hosts(
    written: &At<Vec<At<Text>>>,
    to: &mut Findings<'_>,
) -> Option<Vec<String>> {
    if written.value.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, written.at, "there is no server to ask")
                .label("empty")
                .help("write `none` if nobody can be asked"),
        );
        return None;
    }
    let mut servers = Vec::new();
    for server in &written.value {
        if host_and_port(&server.value.0) {
            servers.push(server.value.0.clone());
        } else {
            let message = format!("{} is not a host with a port", quoted(&server.value.0));
            to.add(
                Finding::new(Code::Malformed, server.at, message)
                    .label("not host and port")
                    .help("expected something like `192.0.2.53:53`"),
            );
        }
    }
    (servers.len() == written.value.len()).then_some(servers)
}

fn host_and_port(text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() > 0) {
        return true;
    }
    text.rsplit_once(':').is_some_and(|(host, port)| {
        host.parse::<RecordName>().is_ok() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn compile_pace(written: &raw::Pace, to: &mut Findings<'_>) -> Option<Pace> {
    let rate = |rate: &At<Rate>, what, to: &mut Findings<'_>| {
        limited(rate.value.0, rate.at, &(0.1..=1000.0), what, to)
    };
    let requests = rate(&written.requests, "requests", to);
    let changes = rate(&written.changes, "changes", to);
    let requests_burst = limited(
        written.requests_burst.value.0,
        written.requests_burst.at,
        &(1..=1000),
        "requests_burst",
        to,
    );
    // One record moved with the epoch beside it: two deletes and two creates.
    let changes_burst = limited(
        written.changes_burst.value.0,
        written.changes_burst.at,
        &(4..=10_000),
        "changes_burst",
        to,
    );
    Some(Pace {
        requests_per_second: requests?,
        requests_burst: f64::from(requests_burst?),
        changes_per_second: changes?,
        changes_burst: f64::from(changes_burst?),
    })
}
