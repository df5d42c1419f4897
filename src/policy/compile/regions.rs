//! Regions and their balancers.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::{At, Entries, Entry, Written, written};
use super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::units::{Percent, Text};
use super::super::{Balancer, Region, Role, raw};
use super::{limited, name_of, ratio, zonal};
use crate::domain::{BalancerName, Ratio, RegionName, Weight};

/// By how much the parts of a region may miss 100%, because thirds cannot be written.
const CARRIES_TOLERANCE: f64 = 0.005;

pub(super) fn compile(
    written: &Entries<raw::Region>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<RegionName, Region>> {
    let errors = to.errors();
    let mut regions = BTreeMap::new();
    let mut targets = Targets::default();
    for entry in &written.list {
        let name: Option<RegionName> = name_of(entry, to);
        let (Some(name), Some(region)) = (name, &entry.value) else { continue };
        if let Some(region) = compile_region(&name, entry, region, &mut targets, to) {
            regions.insert(name, region);
        }
    }
    check_roles(written, to);
    check_balancer_names(written, to);
    // A part that is broken, even if something was left of it, must not look whole.
    let whole = regions.len() == written.list.len() && to.errors() == errors;
    whole.then_some(regions)
}

/// Addresses that are taken already, by what kind of thing.
#[derive(Debug, Default)]
struct Targets {
    seen: BTreeSet<(&'static str, String)>,
}

impl Targets {
    fn check(&mut self, kind: &'static str, text: &At<Text>, to: &mut Findings<'_>) {
        if !self.seen.insert((kind, text.value.0.to_ascii_lowercase())) {
            to.add(
                Finding::new(
                    Code::DuplicateTarget,
                    text.at,
                    format!("{} is the {kind} of another balancer already", quoted(&text.value.0)),
                )
                .label("second use")
                .help("a fault there would be seen twice; each balancer needs its own"),
            );
        }
    }
}

fn compile_region(
    name: &RegionName,
    entry: &Entry<raw::Region>,
    region: &raw::Region,
    targets: &mut Targets,
    to: &mut Findings<'_>,
) -> Option<Region> {
    let role = role_of(&region.role.value);
    let weight = region.weight.0.as_ref().map(|weight| {
        check_weight(role, weight.value.0, weight.at, to);
        Weight(weight.value.0)
    });
    let capacity_rps = match written(region.capacity.as_ref()) {
        Written::Yes(rate) => limited(rate.value.0, rate.at, &(1.0..=1e9), "capacity", to),
        Written::No | Written::Broken => None,
    };
    let aws_region = match &region.aws_region {
        Some(written) => aws_region_code(&written.value.0, written.at, to),
        None => is_aws_region(name.as_str()).then(|| name.as_str().to_owned()),
    };
    let balancers = match &region.balancers {
        Some(balancers) => compile_balancers(entry, balancers, aws_region.as_deref(), targets, to),
        None => Vec::new(),
    };
    Some(Region { role, weight: weight?, capacity_rps, aws_region, balancers })
}

fn role_of(role: &raw::Role) -> Role {
    match role {
        raw::Role::Primary => Role::Primary,
        raw::Role::Active => Role::Active,
        raw::Role::Standby => Role::Standby,
        raw::Role::LastResort => Role::LastResort,
    }
}

fn check_weight(role: Role, weight: u8, at: Bytes, to: &mut Findings<'_>) {
    let (wrong, message, help) = match role {
        Role::Primary | Role::Active => (
            weight == 0,
            "a region that carries traffic needs weight",
            "give it a weight of 1 to 255, or the role `standby`",
        ),
        Role::Standby => (
            weight > 0,
            "a standby waits with weight 0",
            "write `weight: 0`, or the role `active` if it carries a part of the traffic",
        ),
        Role::LastResort => (
            weight > 0,
            "a last resort has weight 0 on a calm day",
            "write `weight: 0`; `shift.last_resort` says when it gets the traffic",
        ),
    };
    if wrong {
        to.add(
            Finding::new(Code::RoleWeight, at, message)
                .label(format!("weight {weight}"))
                .help(help),
        );
    }
}

/// The code as written, if it is one.
pub(super) fn aws_region_code(text: &str, at: Bytes, to: &mut Findings<'_>) -> Option<String> {
    if is_aws_region(text) {
        return Some(text.to_owned());
    }
    let message = format!("{} is not the code of an AWS region", quoted(text));
    to.add(
        Finding::new(Code::Malformed, at, message)
            .label("not a region code")
            .help("expected something like `eu-west-1`"),
    );
    None
}

/// Something like `eu-west-1` or `us-gov-east-1`.
pub(super) fn is_aws_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    match parts.as_slice() {
        [area, middle @ .., number] => {
            area.len() == 2
                && letters(area)
                && (1..=2).contains(&middle.len())
                && middle.iter().all(letters)
                && (1..=2).contains(&number.len())
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        [] | [_] => false,
    }
}

/// What the balancers of all regions have to be together.
fn check_roles(written: &Entries<raw::Region>, to: &mut Findings<'_>) {
    let roles: Option<Vec<Role>> = written
        .list
        .iter()
        .map(|entry| entry.value.as_ref().map(|region| role_of(&region.role.value)))
        .collect();
    let Some(roles) = roles else { return };
    let last_resorts = roles.iter().filter(|role| **role == Role::LastResort).count();
    let serving = roles.len() - last_resorts;
    if serving == 0 || (serving == 1 && last_resorts == 0) {
        let message = match serving {
            0 => "no region can carry the service",
            _ => "there is nowhere to go",
        };
        to.add(
            Finding::new(Code::TooFewRegions, written.at, message)
                .label(if serving == 0 { "none" } else { "one region only" })
                .help("a policy needs two regions, or one and a `last_resort`"),
        );
    }
    if last_resorts > 1 {
        to.add(
            Finding::new(Code::Conflict, written.at, "only one region can be the last resort")
                .label(format!("{last_resorts} last resorts")),
        );
    }
    if serving > 0 && !roles.iter().any(|role| matches!(role, Role::Primary | Role::Active)) {
        to.add(
            Finding::new(Code::NoHome, written.at, "no region carries traffic on a calm day")
                .label("only standbys")
                .help(
                    "give one region the role `primary`, or several the role `active`, and weight",
                ),
        );
    }
}

/// What was done to a balancer is remembered and shown by its name alone.
fn check_balancer_names(written: &Entries<raw::Region>, to: &mut Findings<'_>) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for region in &written.list {
        let balancers = region.value.as_ref().and_then(|region| region.balancers.as_ref());
        for balancer in balancers.into_iter().flat_map(|balancers| &balancers.list) {
            let name = balancer.name.as_str();
            let Some(owner) = owners.insert(name, &region.name) else { continue };
            let message = format!("{} is a balancer of {} already", quoted(name), quoted(owner));
            to.add(
                Finding::new(Code::DuplicateBalancer, balancer.at, message)
                    .label("second of that name")
                    .help("a balancer is known by its name alone: `web-eu`, `web-us`"),
            );
        }
    }
}

fn compile_balancers(
    region: &Entry<raw::Region>,
    written: &Entries<raw::Balancer>,
    aws_region: Option<&str>,
    targets: &mut Targets,
    to: &mut Findings<'_>,
) -> Vec<Balancer> {
    if written.list.is_empty() {
        let message = format!("region {} has an empty list of balancers", quoted(&region.name));
        to.add(
            Finding::new(Code::WrongShape, written.at, message)
                .label("empty")
                .help("name one, or leave `balancers` out"),
        );
    }
    let parts = check_carries(written, to);
    let mut balancers = Vec::new();
    for (entry, carries) in written.list.iter().zip(parts) {
        let name: Option<BalancerName> = name_of(entry, to);
        let (Some(name), Some(balancer)) = (name, &entry.value) else { continue };
        if let Some(connect) = &balancer.connect {
            check_host(connect, to);
            targets.check("address", connect, to);
        }
        if let Some(arn) = &balancer.arn {
            check_arn(arn, "loadbalancer", aws_region, to);
            targets.check("ARN", arn, to);
        }
        for group in balancer.target_groups.iter().flatten() {
            check_arn(group, "targetgroup", aws_region, to);
            targets.check("target group", group, to);
        }
        balancers.push(Balancer {
            name,
            carries,
            connect: balancer.connect.as_ref().map(|text| text.value.0.clone()),
            arn: balancer.arn.as_ref().map(|text| text.value.0.clone()),
            target_groups: balancer
                .target_groups
                .iter()
                .flatten()
                .map(|text| text.value.0.clone())
                .collect(),
            zonal_shift: match self::written(balancer.zonal_shift.as_ref()) {
                Written::No | Written::Broken => None,
                Written::Yes(shift) => zonal::compile(shift, balancer, aws_region, to),
            },
        });
    }
    balancers
}

/// The parts of the balancers, in their order: as written, or equal ones if none is written.
fn check_carries(written: &Entries<raw::Balancer>, to: &mut Findings<'_>) -> Vec<Ratio> {
    let parts: Vec<Option<&At<Percent>>> = written
        .list
        .iter()
        .map(|entry| entry.value.as_ref().and_then(|balancer| balancer.carries.as_ref()))
        .collect();
    let broken = written.list.iter().any(|entry| entry.value.is_none());
    if broken || parts.iter().all(Option::is_none) {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let equal = Ratio::new(1.0 / parts.len().max(1) as f64);
        return vec![equal; parts.len()];
    }
    for (entry, part) in written.list.iter().zip(&parts) {
        if part.is_none() {
            let message = format!("balancer {} does not say what it carries", quoted(&entry.name));
            to.add(
                Finding::new(Code::CarriesSum, entry.at, message)
                    .label("`carries` is missing")
                    .help("write `carries` for all balancers of a region, or for none if they carry equal parts"),
            );
        }
    }
    let sum: f64 = parts.iter().flatten().map(|part| part.value.0).sum();
    if parts.iter().all(Option::is_some) && (sum - 1.0).abs() > CARRIES_TOLERANCE {
        let percent = format!("{:.1}", sum * 100.0);
        let percent = percent.strip_suffix(".0").unwrap_or(&percent);
        let message = format!("the balancers carry {percent}% together");
        to.add(
            Finding::new(Code::CarriesSum, written.at, message)
                .label("not 100%")
                .help("the `carries` of a region's balancers add up to 100%"),
        );
    }
    parts.iter().map(|part| part.map_or(Ratio::ZERO, |part| ratio(part.value))).collect()
}

/// A host name or an IP address, without port.
pub(super) fn check_host(written: &At<Text>, to: &mut Findings<'_>) -> Option<()> {
    let text = written.value.0.as_str();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let name = text.len() <= 253 && text.trim_end_matches('.').split('.').all(label);
    if name || text.parse::<std::net::IpAddr>().is_ok() {
        return Some(());
    }
    let message = format!("{} is not a host name or address", quoted(text));
    let help = if text.contains("://") {
        "write the name alone, without `http://` and path"
    } else if text.contains(':') {
        "write the name alone; the port belongs to the probe"
    } else {
        "expected something like `web-eu.example.com` or `192.0.2.10`"
    };
    to.add(Finding::new(Code::Malformed, written.at, message).label("not a host").help(help));
    None
}

/// `arn:aws:elasticloadbalancing:REGION:ACCOUNT:KIND/...`
pub(super) fn check_arn(
    written: &At<Text>,
    kind: &str,
    aws_region: Option<&str>,
    to: &mut Findings<'_>,
) {
    let parts: Vec<&str> = written.value.0.split(':').collect();
    let (region, resource) = match parts.as_slice() {
        ["arn", partition, "elasticloadbalancing", region, account, resource]
            if partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (*region, *resource)
        }
        _ => ("", ""),
    };
    let pieces: Vec<&str> = resource.split('/').collect();
    let fits = match pieces.as_slice() {
        ["loadbalancer", "app" | "net" | "gwy", name, id] => {
            kind == "loadbalancer" && !name.is_empty() && !id.is_empty()
        }
        ["targetgroup", name, id] => kind == "targetgroup" && !name.is_empty() && !id.is_empty(),
        _ => false,
    };
    if !fits {
        let (what, example) = match kind {
            "targetgroup" => ("target group", "targetgroup/web/73e2d6bc24d8a067"),
            _ => ("load balancer", "loadbalancer/app/web/50dc6c495c0c9188"),
        };
        let message = format!("this is not the ARN of a {what}");
        let help = format!(
            "expected something like `arn:aws:elasticloadbalancing:eu-west-1:111122223333:{example}`"
        );
        to.add(
            Finding::new(Code::Malformed, written.at, message).label("not such an ARN").help(help),
        );
        return;
    }
    if let Some(own) = aws_region
        && own != region
    {
        let message = format!("the ARN lies in `{region}`, its region of the policy in `{own}`");
        to.add(
            Finding::new(Code::Conflict, written.at, message)
                .label("another AWS region")
                .help("put the balancer below its own region, or correct `aws_region`"),
        );
    }
}
