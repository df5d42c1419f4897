//! A trace and a policy that speak of each other: names are mapped, sizes are the trace's, and what does
//! not fit is refused with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::model::Trace;
use crate::domain::span;
use crate::policy::{Policy, Recording, Role};

/// Why a trace cannot be played against a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Misfit {
    pub what: String,
    pub help: Option<String>,
}

impl Misfit {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: Some(help.into()) }
    }

    /// The trace cannot be played at all.
    pub(super) fn file(what: String) -> Self {
        Self { what, help: None }
    }
}

/// The trace in the policy's words, and the policy in the trace's sizes.
pub(super) fn fit(
    policy: &Policy,
    trace: &Trace,
    recording: &Recording,
) -> Result<(Trace, Policy), Misfit> {
    let mut trace = trace.clone();
    let names = names(policy, &trace, recording)?;
    rename(&mut trace, &names);
    fits(policy, &trace)?;
    let mut policy = policy.clone();
    policy.mode = recording.mode.unwrap_or(policy.mode);
    // What was recorded is as large as it was: capacities and demand that the policy states are those of
    // the trace, or nothing that is proven by the one would hold in the other.
    policy.shift.demand_rps =
        policy.shift.demand_rps.map(|_| super::World::new(&trace).base_demand());
    for region in &mut trace.regions {
        let Ok(name) = region.id.name.parse() else { continue };
        if let Some(own) = policy.regions.get_mut(&name) {
            own.capacity_rps = own.capacity_rps.map(|_| region.capacity);
            region.weight = own.weight.0;
        }
    }
    Ok((trace, policy))
}

/// From names of the trace to names of the policy.
#[derive(Debug, Default)]
struct Map {
    regions: BTreeMap<String, String>,
    balancers: BTreeMap<String, String>,
    probers: BTreeMap<String, String>,
}

fn names(policy: &Policy, trace: &Trace, recording: &Recording) -> Result<Map, Misfit> {
    let own = |names: &BTreeMap<String, String>, name: &str| {
        names.get(name).cloned().unwrap_or_else(|| name.to_owned())
    };
    let written = texts(&recording.regions);
    let regions: Vec<&str> = trace.regions.iter().map(|r| r.id.name.as_str()).collect();
    known(&written, &regions, "region")?;
    let mut map = Map::default();
    for region in &regions {
        let name = own(&written, region);
        if !policy.regions.keys().any(|known| known.as_str() == name) {
            let all: Vec<&str> =
                policy.regions.keys().map(crate::domain::RegionName::as_str).collect();
            return Err(Misfit::new(
                format!("region `{region}` of the trace is none of this policy"),
                format!("say which it is: `regions: {{ {region}: {} }}`", all.join(" | ")),
            ));
        }
        map.regions.insert((*region).to_owned(), name);
    }
    let used: BTreeSet<&String> = map.regions.values().collect();
    if used.len() < map.regions.len() {
        return Err(Misfit::new(
            "two regions of the trace are the same of this policy",
            "each is one",
        ));
    }
    if let Some(left) = policy.regions.keys().find(|name| !used.contains(&name.to_string())) {
        return Err(Misfit::new(
            format!("the trace has no region for `{left}` of this policy"),
            format!("its regions are `{}`", regions.join("`, `")),
        ));
    }
    let balancers: Vec<&str> = trace.balancers.iter().map(|b| b.id.name.as_str()).collect();
    map.balancers = texts(&recording.balancers);
    known(&map.balancers, &balancers, "balancer")?;
    let probers: Vec<&str> = trace.probers.iter().map(|prober| prober.name.as_str()).collect();
    map.probers = texts(&recording.vantages);
    known(&map.probers, &probers, "prober")?;
    let vantage = |name: &str| policy.vantages.keys().any(|vantage| vantage.as_str() == name);
    for prober in probers.iter().filter(|prober| vantage(prober)) {
        map.probers.entry((*prober).to_owned()).or_insert_with(|| (*prober).to_owned());
    }
    let taken: BTreeSet<String> = map.probers.values().cloned().collect();
    let mut free = policy.vantages.keys().map(ToString::to_string).filter(|v| !taken.contains(v));
    for prober in probers {
        if !map.probers.contains_key(prober)
            && let Some(vantage) = free.next()
        {
            map.probers.insert(prober.to_owned(), vantage);
        }
    }
    Ok(map)
}

fn texts<N: ToString>(map: &BTreeMap<String, N>) -> BTreeMap<String, String> {
    map.iter().map(|(from, to)| (from.clone(), to.to_string())).collect()
}

fn known(map: &BTreeMap<String, String>, names: &[&str], what: &str) -> Result<(), Misfit> {
    match map.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Misfit::new(
            format!("`{name}` is not a {what} of the trace"),
            format!("its {what}s are `{}`", names.join("`, `")),
        )),
    }
}

/// What would be misread if it were played.
fn fits(policy: &Policy, trace: &Trace) -> Result<(), Misfit> {
    let sum: f64 = trace.regions.iter().map(|region| f64::from(region.weight)).sum();
    let home = policy.home_split();
    for region in &trace.regions {
        let name = &region.id.name;
        let Some((name, own)) = policy.regions.iter().find(|(known, _)| known.as_str() == name)
        else {
            continue;
        };
        if (own.role == Role::LastResort) != (region.role == "static") {
            return Err(Misfit::new(
                format!(
                    "`{name}` is `{}` in the trace, and `{:?}` in this policy",
                    region.role, own.role
                ),
                "a last resort is a last resort in both",
            ));
        }
        for balancer in &own.balancers {
            let elsewhere = trace.balancers.iter().find(|b| b.id.name == balancer.name.as_str());
            let there = elsewhere.and_then(|b| trace.regions.get(b.region));
            if there.is_some_and(|there| there.id.name != name.as_str()) {
                return Err(Misfit::new(
                    format!(
                        "balancer `{}` is in `{name}`, and in another region in the trace",
                        balancer.name
                    ),
                    "map balancers within the regions that are mapped",
                ));
            }
        }
        let (recorded, wanted) =
            (f64::from(region.weight) / sum, home.as_ref().map_or(0.0, |h| h.share(name).get()));
        if (recorded - wanted).abs() >= super::world::SAME_SHARE {
            return Err(Misfit::new(
                format!(
                    "`{name}` begins with {:.0}% of the traffic in the trace, and has {:.0}% in this policy",
                    recorded * 100.0,
                    wanted * 100.0
                ),
                "what the trace demands is true for its own shares only",
            ));
        }
    }
    let tick = Duration::from_secs(trace.tick);
    if let Some((name, signal)) = policy.signals.iter().find(|(_, signal)| signal.fresh_for < tick)
    {
        return Err(Misfit::new(
            format!(
                "signal `{name}` is fresh for {}, and the trace has a step of {}",
                span(signal.fresh_for),
                span(tick)
            ),
            "it would be stale in every round",
        ));
    }
    Ok(())
}

/// New names everywhere but in the noise, which was recorded with the old ones.
fn rename(trace: &mut Trace, map: &Map) {
    let new = |map: &BTreeMap<String, String>, name: &mut String| {
        if let Some(new) = map.get(name) {
            name.clone_from(new);
        }
    };
    for region in &mut trace.regions {
        new(&map.regions, &mut region.id.name);
    }
    for balancer in &mut trace.balancers {
        new(&map.balancers, &mut balancer.id.name);
    }
    for prober in &mut trace.probers {
        new(&map.probers, &mut prober.name);
    }
    let subject = |name: &String| {
        map.regions.get(name).or_else(|| map.balancers.get(name)).unwrap_or(name).clone()
    };
    for expect in &mut trace.expect {
        if let super::model::Demand::Notify { about_any, .. } = &mut expect.demand {
            *about_any = about_any.iter().map(subject).collect();
        }
    }
    for responder in &mut trace.responders {
        responder.about_any = responder.about_any.iter().map(subject).collect();
    }
    let text = |value: &mut Value| {
        if let Some(name) = value.as_str().and_then(|name| map.regions.get(name)) {
            *value = Value::String(name.clone());
        }
    };
    for event in &mut trace.events {
        if let Some(region) = event.shown.get_mut("region") {
            text(region);
        }
        let regions = event.shown.get_mut("regions").and_then(Value::as_array_mut);
        regions.into_iter().flatten().for_each(text);
    }
    if let Some(home) = trace.intent.get_mut("home") {
        text(home);
    }
    let order = trace.intent.get_mut("lb_order").and_then(Value::as_array_mut);
    for name in order.into_iter().flatten() {
        if let Some(new) = name.as_str().and_then(|name| map.balancers.get(name)) {
            *name = Value::String(new.clone());
        }
    }
}
