//! Levers of the DNS data plane: gates and routing controls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::decode::{At, Entries, OneOrMany, Part};
use super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::raw;
use super::super::switches::{
    ArcLever, Check, Gate, GatesLever, HOLDER, Proof, Slot, Votes, Witness,
};
use super::super::units::{Span, Text};
use super::regions::aws_region_code;
use super::{
    HOUR, Names, Referred, SECOND, check_length, check_reference, levers, limited, limited_span,
    parsed,
};
use crate::domain::RegionName;

/// A cluster has one endpoint in each of five AWS regions (ARC Developer Guide, "Components of routing
/// control").
const ENDPOINTS: usize = 5;
/// Weighted record sets of one name and type (Developer Guide, "Quotas", weighted records).
const SLOTS_MAX: usize = 100;
/// Request intervals of health checks (API reference, `HealthCheckConfig`).
const INTERVALS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(30)];
/// Bytes of an object's key (S3 User Guide, "Naming Amazon S3 objects").
const KEY_BYTES_MAX: usize = 1024;
/// Characters of a health check's id (API reference, `GetHealthCheck`).
const CHECK_ID_MAX: usize = 64;

pub(super) fn gates(
    written: &raw::Gates,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<GatesLever> {
    let votes = match &written.votes {
        None => Some(Votes { needed: 1, of: 1 }),
        Some(votes) => compile_votes(votes, to),
    };
    let slots = compile_slots(&written.regions, names, votes, to);
    let check = compile_check(&written.check.value, to);
    let proof = proof(&written.ttl, &written.in_force_within, &written.witness, to);
    let (check, proof) = (check?, proof?);
    if let Some(within) = written.in_force_within.0.as_ref()
        && proof.in_force_within <= check.flips_within() * 2
    {
        let least = crate::domain::span(check.flips_within() * 2);
        to.add(
            Finding::new(
                Code::OutOfRange,
                within.at,
                "the patience is over before the health checks have looked",
            )
            .label(format!("not longer than two times the checks' own {least}"))
            .help("several minutes: what fails here is turned back"),
        );
        return None;
    }
    if let (Some(voted), Some(votes), None) = (&written.votes, votes, &proof.witness)
        && votes.needed > 1
    {
        to.add(
            Finding::new(
                Code::MissingField,
                voted.at,
                "the votes of others are seen by a witness only",
            )
            .label("needs `witness: { txt: ... }`")
            .help("without one this controller's own vote would be taken for the region being out"),
        );
        return None;
    }
    Some(GatesLever { slots: slots?, check, votes: votes?, proof })
}

pub(super) fn arc(written: &raw::Arc, names: &Names, to: &mut Findings<'_>) -> Option<ArcLever> {
    let endpoints = compile_endpoints(&written.endpoints, to);
    let controls = compile_controls(&written.controls, names, to);
    let override_rules = match &written.override_safety_rules {
        None => Some(Vec::new()),
        Some(rules) => compile_overrides(rules, to),
    };
    let proof = proof(&written.ttl, &written.in_force_within, &written.witness, to);
    Some(ArcLever {
        endpoints: endpoints?,
        controls: controls?,
        override_rules: override_rules?,
        proof: proof?,
    })
}

fn proof(
    ttl: &Part<At<Span>>,
    within: &Part<At<Span>>,
    witness: &Part<raw::Witness>,
    to: &mut Findings<'_>,
) -> Option<Proof> {
    let ttl = ttl.0.as_ref().and_then(|ttl| levers::compile_ttl(ttl, to));
    let within = within
        .0
        .as_ref()
        .and_then(|within| limited_span(within, 10 * SECOND..=HOUR, "in_force_within", to));
    let witness = witness.0.as_ref().and_then(|witness| match witness {
        raw::Witness::Nothing => Some(None),
        raw::Witness::Txt(txt) => Some(Some(Witness {
            zone: txt.zone.value.clone(),
            name: txt.name.value.clone(),
            servers: levers::compile_hosts(&txt.servers, to)?,
        })),
    });
    Some(Proof { ttl: ttl?, in_force_within: within?, witness: witness? })
}

fn compile_check(written: &raw::GateCheck, to: &mut Findings<'_>) -> Option<Check> {
    let every = written.every.value.0;
    if !INTERVALS.contains(&every) {
        let message = format!("health checks do not look every {}", crate::domain::span(every));
        to.add(
            Finding::new(Code::OutOfRange, written.every.at, message)
                .label("expected 10s or 30s")
                .help("the request interval of the Route 53 health check, as it was made"),
        );
        return None;
    }
    let failures = &written.failures;
    let failures = limited(failures.value.0, failures.at, &(1..=10), "failures", to)?;
    Some(Check { every, failures })
}

fn compile_votes(written: &At<raw::Votes>, to: &mut Findings<'_>) -> Option<Votes> {
    let (needed, of) = (&written.value.needed, &written.value.of);
    // A calculated check has at most 256 children (API reference, `HealthCheckConfig`).
    let all = limited(of.value.0, of.at, &(1..=256), "of", to)?;
    if (1..=all).contains(&needed.value.0) {
        return Some(Votes { needed: needed.value.0, of: all });
    }
    let message = format!("{} of {all} votes are needed", needed.value.0);
    to.add(
        Finding::new(Code::OutOfRange, needed.at, message)
            .label(format!("expected 1 to {all}"))
            .help("with 0 nobody would have to agree, with more than all nobody could"),
    );
    None
}

fn compile_slots(
    written: &Entries<OneOrMany<At<raw::Slot>>>,
    names: &Names,
    votes: Option<Votes>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<RegionName, Vec<Slot>>> {
    let mut slots = BTreeMap::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut whole = true;
    for entry in &written.list {
        let region = region(&entry.name, entry.at, names, to);
        let Some(OneOrMany(list)) = &entry.value else {
            whole = false;
            continue;
        };
        if list.is_empty() || list.len() > SLOTS_MAX {
            let message = format!("region {} has {} gates", quoted(&entry.name), list.len());
            to.add(
                Finding::new(Code::OutOfRange, entry.at, message)
                    .label(format!("expected 1 to {SLOTS_MAX}")),
            );
            whole = false;
            continue;
        }
        let mut gates = Vec::new();
        for slot in list {
            let Some(gate) = compile_gate(slot, to) else {
                whole = false;
                continue;
            };
            check_place(&gate, slot.at, votes, &mut known, to);
            let health_check = match &slot.value.health_check {
                None => None,
                Some(id) => check_id(id, to),
            };
            gates.push(Slot { gate, health_check });
        }
        match region {
            Some(region) => {
                slots.insert(region, gates);
            }
            None => whole = false,
        }
    }
    whole.then_some(slots)
}

fn region(text: &str, at: Bytes, names: &Names, to: &mut Findings<'_>) -> Option<RegionName> {
    let known = check_reference(text, at, Referred::Region, names.regions.as_ref(), to);
    known.and_then(|()| parsed(text, at, to))
}

fn compile_gate(written: &At<raw::Slot>, to: &mut Findings<'_>) -> Option<Gate> {
    match (&written.value.s3, &written.value.http) {
        (Some(s3), None) => compile_s3(&s3.value, to),
        (None, Some(http)) => {
            let aws_region = match &http.value.aws_region {
                None => None,
                Some(code) => Some(aws_region_code(&code.value.0, code.at, to)?),
            };
            Some(Gate::Http { url: http.value.url.value.0.clone(), aws_region })
        }
        (None, None) => {
            to.add(
                Finding::new(Code::MissingField, written.at, "a gate needs a place")
                    .label("`s3` or `http` is missing")
                    .help("`s3: { bucket: ..., key: ..., aws_region: ... }` stays when the controller stops"),
            );
            None
        }
        (Some(_), Some(http)) => {
            to.add(
                Finding::new(Code::Conflict, http.at, "a gate stands in one place")
                    .label("second place")
                    .help("a region with several gates has a list of them"),
            );
            None
        }
    }
}

fn compile_s3(written: &raw::S3Gate, to: &mut Findings<'_>) -> Option<Gate> {
    let bucket = &written.bucket;
    let name = bucket.value.0.as_str();
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    let named = (3..=63).contains(&name.len())
        && bytes.iter().copied().all(allowed)
        && ends(bytes.first())
        && ends(bytes.last());
    if !named {
        let message = format!("{} is not the name of a bucket", quoted(name));
        to.add(
            Finding::new(Code::Malformed, bucket.at, message)
                .label("not a bucket")
                .help("3 to 63 lower-case letters, digits, dots and hyphens"),
        );
    }
    let key = &written.key;
    let fits = !key.value.0.is_empty()
        && key.value.0.len() <= KEY_BYTES_MAX
        && !key.value.0.starts_with('/');
    if !fits {
        let message = format!("{} is no key for a gate", quoted(&key.value.0));
        to.add(Finding::new(Code::Malformed, key.at, message).label("not a key").help(format!(
            "1 to {KEY_BYTES_MAX} bytes without a slash in front: `shop/eu-west-1`"
        )));
    }
    let aws_region = aws_region_code(&written.aws_region.value.0, written.aws_region.at, to)?;
    (named && fits).then(|| Gate::S3 {
        bucket: name.to_owned(),
        key: key.value.0.clone(),
        aws_region,
        url: written.url.as_ref().map(|url| url.value.0.clone()),
    })
}

/// No two gates in one place, and a place of its own for each of several voters.
fn check_place(
    gate: &Gate,
    at: Bytes,
    votes: Option<Votes>,
    known: &mut BTreeSet<String>,
    to: &mut Findings<'_>,
) {
    let place = match gate {
        Gate::S3 { bucket, key, .. } => format!("s3://{bucket}/{key}"),
        Gate::Http { url, .. } => url.clone(),
        Gate::Unnamed => return,
    };
    if let Some(votes) = votes.filter(|votes| votes.of > 1)
        && !place.contains(HOLDER)
    {
        let message = format!("{} controllers would publish {}", votes.of, quoted(&place));
        to.add(
            Finding::new(Code::Conflict, at, message)
                .label("one place for all votes")
                .help(format!("write `{HOLDER}` into it: each controller puts its own name there")),
        );
    }
    if !known.insert(place.clone()) {
        let message = format!("a second gate stands at {}", quoted(&place));
        to.add(
            Finding::new(Code::DuplicateTarget, at, message)
                .label("second use")
                .help("one object that is published would close both"),
        );
    }
}

fn check_id(written: &At<Text>, to: &mut Findings<'_>) -> Option<String> {
    let id = written.value.0.as_str();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !id.is_empty() && id.len() <= CHECK_ID_MAX && id.bytes().all(allowed) {
        return Some(id.to_owned());
    }
    let message = format!("{} is not the id of a health check", quoted(id));
    to.add(
        Finding::new(Code::Malformed, written.at, message)
            .label("not an id")
            .help("expected something like `1f9a3c5e-7b2d-4c6f-8a1b-2c3d4e5f6a7b`"),
    );
    None
}

fn compile_endpoints(
    written: &At<Entries<At<super::super::units::Url>>>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<String, String>> {
    let list = &written.value.list;
    if list.len() != ENDPOINTS {
        let message = format!("a cluster has {ENDPOINTS} endpoints, here are {}", list.len());
        to.add(
            Finding::new(Code::OutOfRange, written.at, message)
                .label(format!("expected {ENDPOINTS}"))
                .help("`aws route53-recovery-control-config describe-cluster` lists them; it is a call of the control plane, so they are written down"),
        );
        return None;
    }
    let mut endpoints = BTreeMap::new();
    for entry in list {
        let region = aws_region_code(&entry.name, entry.at, to);
        if let (Some(region), Some(url)) = (region, &entry.value) {
            endpoints.insert(region, url.value.0.clone());
        }
    }
    (endpoints.len() == ENDPOINTS).then_some(endpoints)
}

fn compile_controls(
    written: &Entries<At<Text>>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<RegionName, String>> {
    let mut controls: BTreeMap<RegionName, String> = BTreeMap::new();
    let mut whole = true;
    for entry in &written.list {
        let region = region(&entry.name, entry.at, names, to);
        let arn = entry.value.as_ref().and_then(|arn| check_arn(arn, "routingcontrol", to));
        let (Some(region), Some(arn)) = (region, arn) else {
            whole = false;
            continue;
        };
        if controls.values().any(|other| *other == arn) {
            to.add(
                Finding::new(Code::DuplicateTarget, entry.at, "a second region for one control")
                    .label("second use")
                    .help("each region has a routing control of its own"),
            );
            whole = false;
        }
        controls.insert(region, arn);
    }
    whole.then_some(controls)
}

fn compile_overrides(written: &At<Vec<At<Text>>>, to: &mut Findings<'_>) -> Option<Vec<String>> {
    check_length(&written.value, "safety rules", to)?;
    let rules: Vec<Option<String>> =
        written.value.iter().map(|rule| check_arn(rule, "safetyrule", to)).collect();
    let rules: Vec<String> = rules.into_iter().collect::<Option<_>>()?;
    if !rules.is_empty() {
        let message = format!("{} of the cluster's safety rules may be overridden", rules.len());
        to.add(
            Finding::new(Code::SafetyOverridden, written.at, message)
                .label("overridden when they stand in the way")
                .help("remove it after the day for which it was written"),
        );
    }
    Some(rules)
}

/// `arn:aws:route53-recovery-control::ACCOUNT:controlpanel/PANEL/KIND/ID`
fn check_arn(written: &At<Text>, kind: &str, to: &mut Findings<'_>) -> Option<String> {
    let text = written.value.0.as_str();
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let right = match parts.as_slice() {
        ["arn", partition, "route53-recovery-control", "", account, resource] => {
            let path: Vec<&str> = resource.split('/').collect();
            let word =
                |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
            partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && matches!(path.as_slice(), ["controlpanel", panel, k, id]
                    if *k == kind && word(panel) && word(id))
        }
        _ => false,
    };
    if right {
        return Some(text.to_owned());
    }
    let message = format!("{} is not the ARN of a {kind}", quoted(text));
    to.add(Finding::new(Code::Malformed, written.at, message).label(format!("not a {kind}")).help(
        format!(
            "expected `arn:aws:route53-recovery-control::111122223333:controlpanel/.../{kind}/...`"
        ),
    ));
    None
}
