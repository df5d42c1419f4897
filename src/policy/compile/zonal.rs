//! Zonal shifts of a balancer.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::At;
use super::super::problem::{Code, Finding, Findings, quoted};
use super::super::units::Text;
use super::super::{Policy, Source, ZonalShift, raw, raw_care};
use super::rules::within;
use super::{DAY, HOUR, MINUTE, check_entries, limited_span};

/// "You can set a zonal shift to be active initially for up to three days (72 hours)" (API reference of
/// ARC zonal shift, "`StartZonalShift`"), in whole minutes or hours.
const EXPIRES_MAX: u64 = 72 * HOUR;

pub(super) fn compile(
    written: &At<raw_care::ZonalShift>,
    balancer: &raw::Balancer,
    aws_region: Option<&str>,
    to: &mut Findings<'_>,
) -> Option<ZonalShift> {
    let errors = to.errors();
    let shift = &written.value;
    check_entries(&shift.zones, "zones", to)?;
    let mut zones = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for entry in &shift.zones.list {
        let Some(id) = &entry.value else { continue };
        if aws_region.is_some_and(|region| !is_zone_of(&entry.name, region)) {
            let message = format!("{} is not a zone of this region", quoted(&entry.name));
            to.add(
                Finding::new(Code::Malformed, entry.at, message)
                    .label("not such a name")
                    .help("expected the name of a zone and its id: `eu-west-1a: euw1-az2`"),
            );
        }
        check_id(id, to);
        if !ids.insert(id.value.0.clone()) {
            let message = format!("{} is the id of another zone already", quoted(&id.value.0));
            to.add(Finding::new(Code::DuplicateTarget, id.at, message).label("second use"));
        }
        zones.insert(entry.name.clone(), id.value.0.clone());
    }
    if shift.zones.list.len() == 1 {
        to.add(
            Finding::new(Code::WrongShape, shift.zones.at, "there is no zone to go to")
                .label("one zone only")
                .help("name every zone of the balancer; it has two at least"),
        );
    }
    if balancer.arn.is_none() {
        to.add(
            Finding::new(Code::Conflict, written.at, "nobody knows which load balancer this is")
                .label("it has no `arn`")
                .help("add `arn: \"arn:aws:elasticloadbalancing:...:loadbalancer/app/...\"` to the balancer"),
        );
    }
    if balancer.target_groups.as_ref().is_none_or(Vec::is_empty) {
        to.add(
            Finding::new(Code::Conflict, written.at, "nothing tells which zone is bad")
                .label("it has no `target_groups`")
                .help("add the ARNs of the balancer's target groups"),
        );
    }
    let rest = within(&shift.rest, 0.01..=1.0, "rest", to);
    let expires = limited_span(&shift.expires, MINUTE..=EXPIRES_MAX, "expires", to);
    if expires.is_some_and(|expires| expires.as_secs() % 60 != 0 || expires.subsec_nanos() != 0) {
        to.add(
            Finding::new(Code::OutOfRange, shift.expires.at, "the service counts in minutes")
                .label("not a whole number of minutes")
                .help("write `90m` or `3h`"),
        );
    }
    let back_after = limited_span(&shift.back_after, MINUTE..=DAY, "back_after", to);
    let shift = ZonalShift { zones, rest: rest?, expires: expires?, back_after: back_after? };
    (to.errors() == errors).then_some(shift)
}

/// `eu-west-1a`; local zones are longer: `us-west-2-lax-1a`.
fn is_zone_of(name: &str, aws_region: &str) -> bool {
    let rest = name.strip_prefix(aws_region).unwrap_or_default();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    rest.bytes().last().is_some_and(|b| b.is_ascii_lowercase()) && rest.bytes().all(plain)
}

/// `use1-az1`
fn check_id(written: &At<Text>, to: &mut Findings<'_>) {
    let text = written.value.0.as_str();
    let fits = text.rsplit_once("-az").is_some_and(|(area, number)| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !area.is_empty()
            && area.bytes().all(plain)
            && (1..=2).contains(&number.len())
            && number.bytes().all(|b| b.is_ascii_digit())
    });
    if !fits {
        let message = format!("{} is not the id of a zone", quoted(text));
        to.add(
            Finding::new(Code::Malformed, written.at, message)
                .label("not such an id")
                .help("expected something like `euw1-az2`, as `aws ec2 describe-availability-zones` tells it for your account"),
        );
    }
}

/// Which zone is bad is told by its targets and by nothing else.
pub(super) fn check_signal(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let told = |signal: &super::super::Signal| matches!(signal.source, Source::TargetHealth { .. });
    if policy.signals.values().any(told) {
        return;
    }
    let regions = file.regions.0.iter().flat_map(|regions| &regions.list);
    for entry in regions
        .filter_map(|region| region.value.as_ref()?.balancers.as_ref())
        .flat_map(|balancers| &balancers.list)
    {
        let shifts = entry.value.as_ref().and_then(|balancer| balancer.zonal_shift.as_ref());
        if let Some(shift) = shifts.and_then(|part| part.0.as_ref()) {
            to.add(
                Finding::new(Code::Conflict, shift.at, "nothing tells which zone is bad")
                    .label("there is no signal `target_health`")
                    .help("add `targets: { class: inside, fresh_for: 2m, target_health: { every: 15s } }` to `signals`"),
            );
        }
    }
}
