//! Settings that are right one by one and wrong together, and those that will hurt on a bad day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::decode::{Written, written};
use super::super::problem::{Bytes, Code, Finding, Findings};
use super::super::{
    Class, GatesLever, LastResort, Lever, LeverKind, Measures, Policy, Region, Role, Signal,
    Source, raw,
};
use crate::domain::{RegionName, SignalName, span};

/// Route 53's control plane lives there, and nowhere else (aws docs, "Resilience in Route 53").
const CONTROL_PLANE_REGION: &str = "us-east-1";
/// Below this a time to live is never the slowest part of a shift.
const SHORT_TTL: Duration = Duration::from_secs(60);

/// What several parts of the file have to agree on.
pub(super) fn together(
    file: &raw::File,
    signals: Option<&BTreeMap<SignalName, Signal>>,
    regions: Option<&BTreeMap<RegionName, Region>>,
    to: &mut Findings<'_>,
) {
    let judge = file.judge.0.as_ref();
    if let (Some(judge), Some(signals)) = (judge, signals) {
        let judge = &judge.value;
        check_classes(judge, signals, to);
        check_sustain(judge, signals, to);
        let count = match written(file.vantages.as_ref()) {
            Written::No => Some(0),
            Written::Broken => None,
            Written::Yes(vantages) => Some(vantages.list.len()),
        };
        if let Some(count) = count {
            check_vantages(judge, count, signals, to);
        }
    }
    if let (Some(shift), Some(regions)) = (&file.shift.0, regions) {
        let exists = regions.values().any(|region| region.role == Role::LastResort);
        let at = shift.value.last_resort.at;
        match (&shift.value.last_resort.value, exists) {
            (raw::LastResort::After(_), false) => to.add(
                Finding::new(Code::UnusedLastResort, at, "there is no last resort to go to")
                    .label("no region has the role `last_resort`")
                    .help("add such a region, or write `last_resort: never`"),
            ),
            (raw::LastResort::Never, true) => to.add(
                Finding::new(Code::UnusedLastResort, at, "the last resort is never used")
                    .label("never")
                    .help("`last_resort: { after: 5m }`, or remove the region of that role"),
            ),
            (raw::LastResort::After(_), true) | (raw::LastResort::Never, false) => {}
        }
    }
}

/// The classes that can be evidence.
fn classes(signals: &BTreeMap<SignalName, Signal>) -> BTreeSet<Class> {
    signals.values().map(|signal| signal.class).filter(|class| *class != Class::Context).collect()
}

fn check_classes(
    judge: &raw::Judge,
    signals: &BTreeMap<SignalName, Signal>,
    to: &mut Findings<'_>,
) {
    let available = classes(signals);
    let (needed, at) = (judge.classes.value.0 as usize, judge.classes.at);
    if needed > available.len() {
        let message = format!("{needed} classes must agree, but signals have {}", available.len());
        to.add(
            Finding::new(Code::ClassesOutOfReach, at, message)
                .label("can never be reached")
                .help("add a signal of another class (`outside`, `traffic`, `inside`); `context` is no evidence"),
        );
    } else if needed == 1 {
        to.add(
            Finding::new(Code::OneClass, at, "one class of evidence is enough to move traffic")
                .label("no second witness")
                .help("a broken instrument would look like an outage; add a second class and write `classes: 2`"),
        );
    }
}

fn check_vantages(
    judge: &raw::Judge,
    count: usize,
    signals: &BTreeMap<SignalName, Signal>,
    to: &mut Findings<'_>,
) {
    let needed = judge.vantages.value.0 as usize;
    let probes = signals.values().any(|signal| matches!(signal.source, Source::Probe(_)));
    if probes && needed > count {
        let message = format!("{needed} vantages must agree, but the policy has {count}");
        to.add(
            Finding::new(Code::VantagesOutOfReach, judge.vantages.at, message)
                .label("can never be reached")
                .help("add to `vantages`, or lower `judge.vantages`"),
        );
        return;
    }
    for (name, signal) in signals {
        let Source::Probe(probe) = &signal.source else { continue };
        if !probe.from.is_empty() && probe.from.len() < needed {
            let message = format!(
                "{needed} vantages must agree, but `{name}` is probed from {}",
                probe.from.len()
            );
            to.add(
                Finding::new(Code::VantagesOutOfReach, judge.vantages.at, message)
                    .label("can never be reached")
                    .help(format!("add vantages to `signals.{name}.probe.from`, or leave it out")),
            );
        }
    }
}

fn check_sustain(
    judge: &raw::Judge,
    signals: &BTreeMap<SignalName, Signal>,
    to: &mut Findings<'_>,
) {
    let slowest = signals.iter().filter_map(|(name, signal)| match &signal.source {
        Source::Probe(probe) => Some((probe.every, name)),
        Source::TargetHealth { .. }
        | Source::Metric(_)
        | Source::Beacon { .. }
        | Source::Pushed => None,
    });
    let Some((every, name)) = slowest.max() else { return };
    for (what, written) in [("sustain", &judge.sustain), ("window", &judge.window)] {
        if written.value.0 < every {
            let message = format!(
                "`{what}` is {}, but `{name}` probes every {}",
                span(written.value.0),
                span(every)
            );
            to.add(
                Finding::new(Code::SustainTooShort, written.at, message)
                    .label("over before a second look")
                    .help(format!("several times longer: `{what}: {}`", span(every * 4))),
            );
        }
    }
}

/// What a right policy can still do badly.
pub(super) fn of(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    check_ttl(policy, file, to);
    check_blind(policy, file, to);
    check_self_rescue(policy, file, to);
    check_switches(policy, file, to);
    check_demand(policy, file, to);
    check_telling(policy, file, to);
    check_triggers(policy, file, to);
    check_looks(policy, file, to);
    if let (LastResort::After(patience), Some(judge)) = (policy.shift.last_resort, &file.judge.0)
        && patience < policy.judge.sustain
    {
        let at = file.shift.0.as_ref().map_or(judge.at, |shift| shift.value.last_resort.at);
        to.add(
            Finding::new(
                Code::NoEffect,
                at,
                "the patience for the last resort is over before `sustain` is",
            )
            .label("shorter than `judge.sustain`")
            .help("nothing counts as down before that; make it longer to give a recovery a chance"),
        );
    }
}

/// Looks at targets share a bucket of calls in each region, whatever `every` says. Where each target group
/// waits longer for its turn than its reading is believed, nothing is known for a part of the time.
fn check_looks(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let pace = policy.refresh.as_ref().map(|refresh| refresh.pace).unwrap_or_default();
    let (rate, _) = pace.looks();
    let health = |signal: &Signal| matches!(signal.source, Source::TargetHealth { .. });
    let signals = policy.signals.values().filter(|signal| health(signal)).count();
    let mut groups: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for region in policy.regions.values() {
        let here = region.balancers.iter().map(|balancer| balancer.target_groups.len());
        *groups.entry(region.aws_region.as_deref()).or_default() += here.sum::<usize>();
    }
    let Some(most) = groups.into_values().max().filter(|_| signals > 0) else { return };
    let Ok(looks) = u32::try_from(most.saturating_mul(signals)) else { return };
    let Ok(round) = Duration::try_from_secs_f64((f64::from(looks) / rate).ceil()) else { return };
    for entry in file.signals.0.iter().flat_map(|signals| &signals.list) {
        let compiled =
            entry.name.parse().ok().and_then(|name: SignalName| policy.signals.get(&name));
        let (Some(written), Some(signal)) = (&entry.value, compiled) else { continue };
        if !health(signal) || signal.fresh_for >= round {
            continue;
        }
        let message = format!(
            "readings are stale after {}, and it takes {} to look at {looks} target groups in turn",
            span(signal.fresh_for),
            span(round)
        );
        to.add(
            Finding::new(Code::FreshTooShort, written.fresh_for.at, message)
                .label("stale before the next look")
                .help(format!(
                    "looks at targets are held to {rate} a second in each region, half of `refresh.pace.calls`; \
                     write `fresh_for: {}`, or name fewer target groups",
                    span(round * 2)
                )),
        );
    }
}

/// What tells of an outage must not lie in the region that has it.
fn check_telling(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let watched = |text: &str| {
        let carrying = policy.serving().filter(|(_, region)| region.role != Role::Standby);
        let mut codes = carrying.filter_map(|(_, region)| region.aws_region.as_deref());
        let parts: Vec<&str> = text.split(['.', ':', '/', '@']).collect();
        codes.find(|code| parts.contains(code)).map(str::to_owned)
    };
    if let Written::Yes(tell) = written(file.tell.as_ref()) {
        super::tell::check_places(tell, &watched, to);
    }
    if let Written::Yes(page) = written(file.status_page.as_ref()) {
        super::status::check_places(&page.value, &watched, to);
    }
    if let Some(regions) = &file.regions.0 {
        super::site::check_places(regions, &watched, to);
    }
}

fn check_ttl(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let Some(at) = weights(file).and_then(|weights| weights.ttl.0.as_ref()).map(|ttl| ttl.at)
    else {
        return;
    };
    let Some(ttl) = policy.weights_lever().map(|lever| lever.ttl) else { return };
    long_ttl(policy, ttl, at, to);
}

fn long_ttl(policy: &Policy, ttl: Duration, at: Bytes, to: &mut Findings<'_>) {
    let sustain = policy.judge.sustain;
    if ttl > sustain.max(SHORT_TTL) {
        let message = format!("clients keep the old answer for {} after a shift", span(ttl));
        to.add(
            Finding::new(Code::LongTtl, at, message)
                .label(format!("longer than it takes to be sure of the outage ({})", span(sustain)))
                .help("60s or less is usual for records that fail over"),
        );
    }
}

fn weights(file: &raw::File) -> Option<&raw::Weights> {
    let levers = file.levers.0.as_ref()?;
    let written = levers.value.iter().filter_map(|part| part.0.as_ref());
    written.map(|lever| &lever.value).find_map(|lever| match lever {
        raw::Lever::Weights(weights) => Some(weights),
        raw::Lever::Gates(_) | raw::Lever::Arc(_) => None,
    })
}

fn place_of(file: &raw::File, region: &RegionName) -> Option<Bytes> {
    let regions = file.regions.0.as_ref()?;
    regions.list.iter().find(|entry| entry.name == region.as_str()).map(|entry| entry.at)
}

fn check_blind(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    for (name, region) in policy.serving() {
        let seen = policy.signals.values().any(|signal| looks_at(signal, name, region));
        if seen {
            continue;
        }
        let Some(at) = place_of(file, name) else { continue };
        let (message, help) = match region.role {
            Role::Standby => (
                format!("no signal looks at the standby `{name}`"),
                "it would turn out on the day of the outage whether it works; it is never proven fit",
            ),
            Role::Primary | Role::Active | Role::LastResort => {
                (format!("no signal looks at `{name}`"), "an outage there would never be seen")
            }
        };
        to.add(Finding::new(Code::BlindRegion, at, message).label("unseen").help(help));
    }
}

fn looks_at(signal: &Signal, name: &RegionName, region: &Region) -> bool {
    match &signal.source {
        Source::Probe(probe) => probe.regions.is_empty() || probe.regions.contains(name),
        Source::TargetHealth { .. } => {
            region.balancers.iter().any(|balancer| !balancer.target_groups.is_empty())
        }
        Source::Metric(metric) => metric.queries.contains_key(name),
        Source::Beacon { .. } => false,
        Source::Pushed => true,
    }
}

fn check_self_rescue(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let only_weights = policy.levers.iter().all(|lever| matches!(lever, Lever::Weights(_)));
    let rescued = policy.serving().find(|(_, region)| {
        region.role != Role::Standby && region.aws_region.as_deref() == Some(CONTROL_PLANE_REGION)
    });
    let (true, Some((name, _))) = (only_weights, rescued) else { return };
    let Some(at) = place_of(file, name) else { return };
    to.add(
        Finding::new(Code::SelfRescue, at, format!("the only lever depends on the region it must rescue: `{name}`"))
            .label(format!("Route 53 changes weights from {CONTROL_PLANE_REGION}"))
            .help("when that region fails, changing weights may fail with it; keep the primary elsewhere, or be ready to act by hand"),
    );
}

/// A switch has to stand on the side that is to take over, and there has to be one.
fn check_switches(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let written = file.levers.0.as_ref();
    for lever in
        written.into_iter().flat_map(|levers| &levers.value).filter_map(|part| part.0.as_ref())
    {
        let (kind, at) = match &lever.value {
            raw::Lever::Weights(_) => continue,
            raw::Lever::Gates(gates) => (LeverKind::Gates, gates.regions.at),
            raw::Lever::Arc(arc) => (LeverKind::Arc, arc.controls.at),
        };
        let carrying = policy.serving().filter(|(_, region)| region.weight.0 > 0);
        for (name, _) in carrying.filter(|(name, _)| policy.switches(kind, name) == 0) {
            to.add(
                Finding::new(Code::NoSwitch, at, format!("`{name}` carries traffic and has no switch"))
                    .label(format!("`{name}` is missing"))
                    .help("it could not be left by this lever; a standby needs one only if it is to be left itself"),
            );
        }
        let witness = match &lever.value {
            raw::Lever::Weights(_) => None,
            raw::Lever::Gates(gates) => gates.witness.0.as_ref(),
            raw::Lever::Arc(arc) => arc.witness.0.as_ref(),
        };
        if let Some(raw::Witness::Nothing) = witness {
            to.add(
                Finding::new(Code::NoWitness, at, format!("nobody sees whether `{kind}` take traffic away"))
                    .label("`witness: none`")
                    .help("a check that hangs on no record is then found out by that region's counters of requests at best: `witness: { txt: ... }`"),
            );
        }
        let proofs = [LeverKind::Gates, LeverKind::Arc].map(|kind| policy.proof(kind));
        if let (LeverKind::Arc, [Some(gates), Some(arc)]) = (kind, proofs)
            && (gates.witness.is_none() || arc.witness.is_none())
        {
            to.add(
                Finding::new(Code::OneCheck, at, "gates and routing controls take the same records out")
                    .label("one health check for each record")
                    .help("it must be calculated over both (infra/cloudformation/gates.yaml, `RoutingControlArn`), or one of the levers moves nobody; with a `witness` for both it is found out when it is pulled"),
            );
        }
        let ttl = match &lever.value {
            raw::Lever::Weights(_) => None,
            raw::Lever::Gates(gates) => gates.ttl.0.as_ref(),
            raw::Lever::Arc(arc) => arc.ttl.0.as_ref(),
        };
        if let (Some(ttl), Some(proof)) = (ttl, policy.proof(kind)) {
            long_ttl(policy, proof.ttl, ttl.at, to);
        }
        if let raw::Lever::Gates(gates) = &lever.value {
            check_gates(policy, gates, to);
        }
    }
}

fn check_gates(policy: &Policy, written: &raw::Gates, to: &mut Findings<'_>) {
    let Some(lever) = policy.gates_lever() else { return };
    check_steps(policy, lever, written.regions.at, to);
    for entry in &written.regions.list {
        let Ok(name) = entry.name.parse::<RegionName>() else { continue };
        let home = policy.regions.get(&name).and_then(|region| region.aws_region.as_deref());
        let slots = lever.slots.get(&name).map_or(&[][..], Vec::as_slice);
        let places = entry.value.iter().flat_map(|slots| &slots.0);
        for (slot, at) in slots.iter().zip(places.map(|slot| slot.at)) {
            let stands = slot.gate.aws_region();
            if stands.is_some() && stands == home {
                let region = home.unwrap_or_default();
                to.add(
                    Finding::new(Code::SwitchInRegion, at, format!("the gate of `{name}` stands in {region} itself"))
                        .label("down together with the region")
                        .help("the switch must stand on the standby side: when the region fails, nobody could publish there"),
                );
            }
        }
        if slots.len() > 1 && policy.weights_lever().is_some() {
            to.add(
                Finding::new(Code::Conflict, entry.at, format!("`{name}` has {} gates beside a `weights` lever", slots.len()))
                    .label("several records for one region")
                    .help("a `weights` lever moves one record for each region; give the region one gate, or leave `weights` out"),
            );
        }
    }
}

/// A region has as many records as gates. Where one has more than another, its share is larger than its
/// weight says.
fn check_steps(policy: &Policy, lever: &GatesLever, at: Bytes, to: &mut Findings<'_>) {
    let most = lever.slots.values().map(Vec::len).max().unwrap_or(0);
    let fewer = |name: &RegionName| lever.slots.get(name).map_or(0, Vec::len) < most;
    let Some((name, _)) = policy.serving().find(|(name, _)| fewer(name)).filter(|_| most > 1)
    else {
        return;
    };
    to.add(
        Finding::new(
            Code::Conflict,
            at,
            format!("`{name}` has fewer gates than the {most} of another region"),
        )
        .label("shares would not follow the weights")
        .help(
            "every region needs as many records, each with its own gate, as the one with the most",
        ),
    );
}

/// A capacity bounds a move only if it is known how much moves.
fn check_demand(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let told = policy.shift.demand_rps.is_some()
        || policy.signals.values().any(|signal| match &signal.source {
            Source::Metric(metric) => metric.measures == Measures::Requests,
            Source::Pushed => true,
            Source::Probe(_) | Source::TargetHealth { .. } | Source::Beacon { .. } => false,
        });
    let regions = file.regions.0.as_ref();
    let limited = regions.into_iter().flat_map(|regions| &regions.list).find_map(|entry| {
        match written(entry.value.as_ref()?.capacity.as_ref()) {
            Written::Yes(capacity) => Some(capacity.at),
            Written::No | Written::Broken => None,
        }
    });
    let (false, Some(at)) = (told, limited) else { return };
    to.add(
        Finding::new(Code::UnknownDemand, at, "nothing tells how many requests must fit into this capacity")
            .label("would not limit a move")
            .help("add a metric that measures `requests`, or what a busy day brings: `shift.demand: 2000 rps`"),
    );
}

/// The queue goes down with the region, and with it the word of the outage.
fn check_triggers(policy: &Policy, file: &raw::File, to: &mut Findings<'_>) {
    let Written::Yes(triggers) = written(file.triggers.as_ref()) else { return };
    let home = |code: &str| {
        let carries = |region: &Region| matches!(region.role, Role::Primary | Role::Active);
        let at = |region: &Region| region.aws_region.as_deref() == Some(code);
        policy.regions.iter().find(|(_, region)| carries(region) && at(region))
    };
    let elsewhere = policy.triggers.queues.iter().any(|queue| home(&queue.aws_region).is_none());
    for queue in triggers.value.queues.iter().flat_map(|queues| &queues.value) {
        let url = &queue.value.url;
        let compiled = policy.triggers.queues.iter().find(|other| other.url == url.value.0);
        let Some((name, _)) = compiled.and_then(|queue| home(&queue.aws_region)) else { continue };
        if elsewhere {
            continue;
        }
        let message = format!("alarms come by a queue in `{name}`, whose outage they would tell");
        to.add(
            Finding::new(Code::TriggerInRegion, url.at, message)
                .label("silent when it is needed")
                .help("a queue of SQS can subscribe to a topic in another region; put it where the standby is, or add a second one there"),
        );
    }
}
