//! How each balancer may be refreshed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::decode::{At, Entries, Part, Written, written};
use super::super::problem::{Code, Finding, Findings, quoted};
use super::super::units::{Rate, Text};
use super::super::{
    BalancerCare, Declared, DeclaredForward, ElbPace, GiveUp, Owned, Policy, Reassert, RollTargets,
    Rung, SwapGroups, ZoneByZone, raw, raw_care,
};
use super::rules::{ramp, within};
use super::{
    HOUR, Names, Referred, SECOND, check_entries, check_reference, limited, limited_span, name_of,
};
use crate::domain::BalancerName;

/// The largest weight of a target group (Elastic Load Balancing API reference, "`TargetGroupTuple`").
const WEIGHT_MAX: u32 = 999;

pub(super) fn compile(
    written: &Entries<raw_care::BalancerCare>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<BalancerName, BalancerCare>> {
    check_entries(written, "balancers", to)?;
    let errors = to.errors();
    let mut all = BTreeMap::new();
    for entry in &written.list {
        let known = names.balancers.as_ref();
        let reference = check_reference(&entry.name, entry.at, Referred::Balancer, known, to);
        let name: Option<BalancerName> = reference.and_then(|()| name_of(entry, to));
        let care = entry.value.as_ref().and_then(|care| one(care, to));
        if let (Some(name), Some(care)) = (name, care) {
            all.insert(name, care);
        }
    }
    (to.errors() == errors && all.len() == written.list.len()).then_some(all)
}

pub(super) fn pace(written: &raw_care::ElbPace, to: &mut Findings<'_>) -> Option<ElbPace> {
    let rate = |rate: &At<Rate>, what, to: &mut Findings<'_>| {
        limited(rate.value.0, rate.at, &(0.01..=1000.0), what, to)
    };
    let calls = rate(&written.calls, "calls", to);
    let calls_burst = limited(
        written.calls_burst.value.0,
        written.calls_burst.at,
        &(1..=1000),
        "calls_burst",
        to,
    );
    let registrations = rate(&written.registrations, "registrations", to);
    let changes = rate(&written.changes, "changes", to);
    let subnets = rate(&written.subnets, "subnets", to);
    Some(ElbPace {
        calls_per_second: calls?,
        calls_burst: f64::from(calls_burst?),
        registrations_per_second: registrations?,
        changes_per_second: changes?,
        subnets_per_second: subnets?,
    })
}

/// What has no ARN cannot be found, so nothing could be done to it.
pub(super) fn check_arns(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let Written::Yes(refresh) = written(file.refresh.as_ref()) else { return };
    for entry in refresh.balancers.iter().flat_map(|entries| &entries.list) {
        let known = policy.regions.values().flat_map(|region| &region.balancers);
        let found = known.into_iter().find(|balancer| balancer.name.as_str() == entry.name);
        if found.is_some_and(|balancer| balancer.arn.is_none()) {
            let message = format!("nobody knows which load balancer {} is", quoted(&entry.name));
            to.add(
                Finding::new(Code::Conflict, entry.at, message)
                    .label("it has no `arn`")
                    .help("add `arn: \"arn:aws:elasticloadbalancing:...:loadbalancer/app/...\"` to the balancer in its region"),
            );
        }
    }
}

fn one(care: &raw_care::BalancerCare, to: &mut Findings<'_>) -> Option<BalancerCare> {
    let owned = care.owned.0.as_ref().and_then(|owned| self::owned(owned, to));
    let declared = match written(care.declared.as_ref()) {
        Written::No => Some(Declared::default()),
        Written::Broken => None,
        Written::Yes(declared) => self::declared(declared, to),
    };
    let rungs = care.rungs.0.as_ref().and_then(|rungs| self::rungs(rungs, declared.as_ref(), to));
    let give_up = care.give_up.0.as_ref().map(|give_up| match give_up {
        raw_care::GiveUp::Shift => GiveUp::Shift,
        raw_care::GiveUp::Page => GiveUp::Page,
    });
    let rungs = rungs?;
    let patience = rungs.iter().map(|rung| match rung {
        Rung::Reassert(_) => Duration::ZERO,
        Rung::Targets(rules) => rules.healthy_within,
        Rung::Swap(rules) => rules.healthy_within,
        Rung::Zones(rules) => rules.healthy_within,
    });
    // Five checks of thirty seconds and two more: the defaults of a target group (User Guide, "Target
    // group health checks"), for policies whose rungs never wait for a target.
    let healthy_within = patience.max().unwrap_or_default().max(Duration::from_secs(210));
    Some(BalancerCare {
        owned: owned?,
        rungs,
        give_up: give_up?,
        declared: declared?,
        healthy_within,
    })
}

fn owned(written: &raw_care::Owned, to: &mut Findings<'_>) -> Option<Owned> {
    match written {
        raw_care::Owned::Tag(tag) => {
            Some(Owned::Tag { key: tag.key.value.0.clone(), value: tag.value.value.0.clone() })
        }
        raw_care::Owned::Listed(arns) => {
            if arns.value.is_empty() {
                to.add(
                    Finding::new(Code::WrongShape, arns.at, "no target group is listed")
                        .label("empty")
                        .help("list the ARN of each group that may be touched, or name a tag"),
                );
                return None;
            }
            for arn in &arns.value {
                super::regions::check_arn(arn, "targetgroup", None, to);
            }
            Some(Owned::Listed(arns.value.iter().map(|arn| arn.value.0.clone()).collect()))
        }
    }
}

fn rungs(
    written: &At<Vec<Part<At<raw_care::Rung>>>>,
    declared: Option<&Declared>,
    to: &mut Findings<'_>,
) -> Option<Vec<Rung>> {
    if written.value.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, written.at, "a ladder without a rung")
                .label("empty")
                .help("the mildest is `reassert: as_read`; leave the balancer out if nothing may be tried"),
        );
        return None;
    }
    let mut rungs: Vec<Option<Rung>> = Vec::new();
    for part in &written.value {
        let Some(at) = &part.0 else {
            rungs.push(None);
            continue;
        };
        let rung = rung(&at.value, to);
        if let Some(rung) = &rung {
            if *rung == Rung::Reassert(Reassert::Declared)
                && declared.is_some_and(Declared::is_empty)
            {
                to.add(
                    Finding::new(Code::Conflict, at.at, "there is nothing declared to write back")
                        .label("`declared` is missing")
                        .help("add `declared` to the balancer, or write `reassert: as_read`"),
                );
            }
            // Mildest first: what comes later may do more harm, never less.
            if let Some(Some(before)) = rungs.last()
                && before.kind() >= rung.kind()
            {
                let message = format!("`{}` comes after `{}`", rung.kind(), before.kind());
                to.add(
                    Finding::new(Code::Conflict, at.at, message)
                        .label("not stronger than the one before")
                        .help("the order is `reassert`, `targets`, `swap`, `zones`, each at most once: the mildest is tried first"),
                );
            }
        }
        rungs.push(rung);
    }
    rungs.into_iter().collect()
}

fn rung(written: &raw_care::Rung, to: &mut Findings<'_>) -> Option<Rung> {
    match written {
        raw_care::Rung::Reassert(raw_care::Reassert::AsRead) => {
            Some(Rung::Reassert(Reassert::AsRead))
        }
        raw_care::Rung::Reassert(raw_care::Reassert::Declared) => {
            Some(Rung::Reassert(Reassert::Declared))
        }
        raw_care::Rung::Targets(rules) => {
            let batch = limited(rules.batch.value.0, rules.batch.at, &(1..=100), "batch", to);
            let floor = within(&rules.floor, 0.01..=1.0, "floor", to);
            let healthy = limited_span(&rules.healthy_within, SECOND..=HOUR, "healthy_within", to);
            let drained =
                limited_span(&rules.drained_within, SECOND..=2 * HOUR, "drained_within", to);
            Some(Rung::Targets(RollTargets {
                batch: usize::try_from(batch?).ok()?,
                floor: floor?,
                healthy_within: healthy?,
                drained_within: drained?,
            }))
        }
        raw_care::Rung::Swap(rules) => {
            let steps = ramp(&rules.steps, to);
            let hold = limited_span(&rules.hold, SECOND..=HOUR, "hold", to);
            let healthy = limited_span(&rules.healthy_within, SECOND..=HOUR, "healthy_within", to);
            let drain = limited_span(&rules.drain, SECOND..=2 * HOUR, "drain", to);
            Some(Rung::Swap(SwapGroups {
                steps: steps?,
                hold: hold?,
                healthy_within: healthy?,
                drain: drain?,
            }))
        }
        raw_care::Rung::Zones(rules) => {
            let rest = within(&rules.rest, 0.01..=1.0, "rest", to);
            let pause = limited_span(&rules.pause, SECOND..=HOUR, "pause", to);
            let healthy = limited_span(&rules.healthy_within, SECOND..=HOUR, "healthy_within", to);
            Some(Rung::Zones(ZoneByZone { rest: rest?, pause: pause?, healthy_within: healthy? }))
        }
    }
}

fn declared(written: &raw_care::Declared, to: &mut Findings<'_>) -> Option<Declared> {
    let errors = to.errors();
    let text = |entries: &Entries<At<Text>>| -> BTreeMap<String, String> {
        let value = |text: &Option<At<Text>>| text.as_ref().map(|text| text.value.0.clone());
        let pairs = entries.list.iter();
        pairs.filter_map(|entry| Some((entry.name.clone(), value(&entry.value)?))).collect()
    };
    let attributes = written.attributes.as_ref().map(text).unwrap_or_default();
    let forwards: Vec<Option<DeclaredForward>> = written
        .forwards
        .iter()
        .flatten()
        .map(|part| part.0.as_ref().and_then(|at| forward(at, to)))
        .collect();
    let mut targets = BTreeMap::new();
    for entry in written.targets.iter().flat_map(|entries| &entries.list) {
        let Some(list) = &entry.value else { continue };
        if list.value.is_empty() {
            to.add(
                Finding::new(Code::WrongShape, list.at, "a target group without targets")
                    .label("empty")
                    .help(
                        "a group with nothing in it answers nobody; leave it out to leave it alone",
                    ),
            );
        }
        let parsed: BTreeSet<Option<(String, u16)>> =
            list.value.iter().map(|text| target(text, to)).collect();
        targets.insert(entry.name.clone(), parsed.into_iter().flatten().collect());
    }
    let forwards = forwards.into_iter().collect::<Option<Vec<_>>>()?;
    (to.errors() == errors).then_some(Declared { attributes, forwards, targets })
}

fn forward(
    written: &At<raw_care::DeclaredForward>,
    to: &mut Findings<'_>,
) -> Option<DeclaredForward> {
    let forward = &written.value;
    let mut weights = BTreeMap::new();
    for entry in &forward.weights.list {
        let Some(weight) = &entry.value else { continue };
        let weight = limited(weight.value.0, weight.at, &(0..=WEIGHT_MAX), "weight", to)?;
        weights.insert(entry.name.clone(), weight);
    }
    if weights.values().all(|weight| *weight == 0) {
        to.add(
            Finding::new(Code::Conflict, forward.weights.at, "a forward to nothing")
                .label("no group has weight")
                .help("give one target group a weight of 1 to 999"),
        );
        return None;
    }
    Some(DeclaredForward {
        listener: forward.listener.value.0,
        rule: forward.rule.as_ref().map(|rule| rule.value.0.clone()),
        weights,
    })
}

/// `10.0.0.1:8080`, `[2001:db8::1]:80`, `i-0123456789abcdef0:80`.
fn target(written: &At<Text>, to: &mut Findings<'_>) -> Option<(String, u16)> {
    let text = written.value.0.as_str();
    let parsed = text.rsplit_once(':').and_then(|(id, port)| {
        let id = id.strip_prefix('[').and_then(|id| id.strip_suffix(']')).unwrap_or(id);
        let fits = id.parse::<std::net::IpAddr>().is_ok() || id.starts_with("i-");
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        fits.then(|| (id.to_owned(), port))
    });
    if parsed.is_none() {
        let message = format!("{} is not a target", quoted(text));
        to.add(
            Finding::new(Code::Malformed, written.at, message)
                .label("not a target")
                .help("expected an address or instance with a port: `10.0.0.1:8080`, `i-0123456789abcdef0:80`"),
        );
    }
    parsed
}
