//! Signals, and the vantages that outside signals are taken from.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::{At, Entries, Entry, Part};
use super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::units::{StatusRange, Text};
use super::super::{
    Class, Probe, ProbeExpect, ProbeProtocol, ProbeTimeouts, Region, Role, Signal, Source, Vantage,
    Verify, raw,
};
use super::regions::check_host;
use super::{HOUR, MINUTE, Names, Referred, SECOND, limited_span, metrics, name_of, references};
use crate::domain::{RegionName, SignalName, VantageName, span};

/// Faster than this, probes see themselves.
const EVERY_MIN: u64 = 100;

pub(super) fn vantages(
    written: &Entries<raw::Vantage>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<VantageName, Vantage>> {
    let mut vantages: BTreeMap<VantageName, Vantage> = BTreeMap::new();
    for entry in &written.list {
        let name: Option<VantageName> = name_of(entry, to);
        let (Some(name), Some(vantage)) = (name, &entry.value) else { continue };
        let vantage = match (&vantage.source, &vantage.peer) {
            (source, None) => Vantage::Here { source: source.as_ref().map(|at| at.value.0) },
            (None, Some(peer)) => Vantage::Peer { url: peer.value.0.clone() },
            (Some(source), Some(_)) => {
                to.add(
                    Finding::new(
                        Code::Conflict,
                        source.at,
                        "`source` and `peer` exclude each other",
                    )
                    .label("here, or a peer?")
                    .help("the peer chooses its own source address"),
                );
                continue;
            }
        };
        if let Some((other, _)) = vantages.iter().find(|(_, other)| **other == vantage) {
            let message = format!("{} looks from the same place as `{other}`", quoted(&entry.name));
            to.add(
                Finding::new(Code::Conflict, entry.at, message)
                    .label("same place")
                    .help("one place must not be counted as two witnesses"),
            );
            continue;
        }
        vantages.insert(name, vantage);
    }
    (vantages.len() == written.list.len()).then_some(vantages)
}

/// What a signal is compiled against.
struct Surroundings<'a> {
    names: &'a Names,
    /// `None` if the regions are broken.
    regions: Option<&'a BTreeMap<RegionName, Region>>,
}

pub(super) fn compile(
    written: &Entries<raw::Signal>,
    names: &Names,
    regions: Option<&BTreeMap<RegionName, Region>>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<SignalName, Signal>> {
    let around = Surroundings { names, regions };
    if written.list.is_empty() {
        to.add(
            Finding::new(Code::WrongShape, written.at, "there is no signal")
                .label("empty")
                .help("without readings nothing is ever known"),
        );
        return None;
    }
    let mut signals = BTreeMap::new();
    for entry in &written.list {
        let name: Option<SignalName> = name_of(entry, to);
        let Some(signal) = &entry.value else { continue };
        let compiled = compile_signal(entry, signal, &around, to);
        if let (Some(name), Some(signal)) = (name, compiled) {
            signals.insert(name, signal);
        }
    }
    (signals.len() == written.list.len()).then_some(signals)
}

fn compile_signal(
    entry: &Entry<raw::Signal>,
    signal: &raw::Signal,
    around: &Surroundings<'_>,
    to: &mut Findings<'_>,
) -> Option<Signal> {
    let class = class_of(&signal.class.value);
    let fresh_for = limited_span(&signal.fresh_for, SECOND..=24 * HOUR, "fresh_for", to);
    only_one_source(entry, signal, to)?;
    let source = if let Some(Part(probe)) = &signal.probe {
        check_class(signal, Class::Outside, "a probe is `outside` evidence", to)?;
        let probe = probe.as_ref()?;
        check_fresh(signal, &probe.value.every, to);
        Source::Probe(compile_probe(signal, probe, around, to)?)
    } else if let Some(Part(health)) = &signal.target_health {
        check_class(signal, Class::Inside, "target health is `inside` evidence", to)?;
        let health = health.as_ref()?;
        check_fresh(signal, &health.value.every, to);
        check_target_groups(health.at, around, to);
        let every = limited_span(&health.value.every, SECOND..=HOUR, "every", to)?;
        Source::TargetHealth { every }
    } else if let Some(Part(metric)) = &signal.metric {
        let metric = metric.as_ref()?;
        let slower = if metric.value.every.value.0 < metric.value.period.value.0 {
            &metric.value.period
        } else {
            &metric.value.every
        };
        check_fresh(signal, slower, to);
        Source::Metric(metrics::compile(metric, around.names, around.regions, to)?)
    } else if let Some(Part(beacon)) = &signal.beacon {
        check_class(signal, Class::Context, "a beacon is `context`: it speaks of no region", to)?;
        let beacon = beacon.as_ref()?;
        check_fresh(signal, &beacon.value.every, to);
        let every = limited_span(&beacon.value.every, EVERY_MIN..=HOUR, "every", to);
        let timeout = limited_span(&beacon.value.timeout, 10..=MINUTE, "timeout", to);
        Source::Beacon { url: beacon.value.url.0.clone(), every: every?, timeout: timeout? }
    } else {
        signal.pushed.as_ref().and_then(|part| part.0.as_ref())?;
        Source::Pushed
    };
    Some(Signal { class, fresh_for: fresh_for?, usual_delay: None, source })
}

pub(super) fn class_of(class: &raw::Class) -> Class {
    match class {
        raw::Class::Outside => Class::Outside,
        raw::Class::Traffic => Class::Traffic,
        raw::Class::Inside => Class::Inside,
        raw::Class::Context => Class::Context,
    }
}

fn only_one_source(
    entry: &Entry<raw::Signal>,
    signal: &raw::Signal,
    to: &mut Findings<'_>,
) -> Option<()> {
    let written: Vec<&str> = [
        ("probe", signal.probe.is_some()),
        ("target_health", signal.target_health.is_some()),
        ("metric", signal.metric.is_some()),
        ("beacon", signal.beacon.is_some()),
        ("pushed", signal.pushed.is_some()),
    ]
    .iter()
    .filter(|(_, written)| *written)
    .map(|(name, _)| *name)
    .collect();
    let (message, label) = match written.as_slice() {
        [_] => return Some(()),
        [] => {
            (format!("signal {} has no source", quoted(&entry.name)), "nothing to read".to_owned())
        }
        [..] => (
            format!("signal {} has several sources", quoted(&entry.name)),
            format!("`{}`", written.join("`, `")),
        ),
    };
    to.add(
        Finding::new(Code::Conflict, entry.at, message)
            .label(label)
            .help("write exactly one of `probe`, `target_health`, `metric`, `beacon` and `pushed`"),
    );
    None
}

fn check_class(signal: &raw::Signal, right: Class, why: &str, to: &mut Findings<'_>) -> Option<()> {
    if class_of(&signal.class.value) == right {
        return Some(());
    }
    to.add(
        Finding::new(Code::Conflict, signal.class.at, why)
            .label("another class")
            .help("if one kind of evidence could count as two, no second witness would be needed"),
    );
    None
}

fn check_fresh(signal: &raw::Signal, every: &At<super::Span>, to: &mut Findings<'_>) {
    let (fresh, every) = (signal.fresh_for.value.0, every.value.0);
    if fresh < every.saturating_mul(2) {
        let message =
            format!("readings are stale after {} and come every {}", span(fresh), span(every));
        to.add(
            Finding::new(Code::FreshTooShort, signal.fresh_for.at, message)
                .label("one late reading and nothing is known")
                .help(format!(
                    "at least twice as long: `fresh_for: {}`",
                    span(every.saturating_mul(2))
                )),
        );
    }
}

fn check_target_groups(at: Bytes, around: &Surroundings<'_>, to: &mut Findings<'_>) {
    let Some(regions) = around.regions else { return };
    let none = regions.values().flat_map(|r| &r.balancers).all(|b| b.target_groups.is_empty());
    if none {
        to.add(
            Finding::new(Code::NowhereToConnect, at, "no balancer names its target groups")
                .label("nothing to ask for")
                .help("add `target_groups` to the balancers of every region"),
        );
    }
}

fn compile_probe(
    signal: &raw::Signal,
    written: &At<raw::Probe>,
    around: &Surroundings<'_>,
    to: &mut Findings<'_>,
) -> Option<Probe> {
    let probe = &written.value;
    let (protocol, port) = match probe.protocol.value {
        raw::Protocol::Http => (ProbeProtocol::Http, Some(80)),
        raw::Protocol::Https => (ProbeProtocol::Https { verify: Verify::Certificate }, Some(443)),
        raw::Protocol::HttpsUnverified => {
            (ProbeProtocol::Https { verify: Verify::Nothing }, Some(443))
        }
        raw::Protocol::Tcp => (ProbeProtocol::Tcp, None),
    };
    let port = probe.port.as_ref().map(|port| port.value.0).or(port);
    if port.is_none() {
        to.add(
            Finding::new(Code::MissingField, probe.protocol.at, "a TCP probe needs a `port`")
                .label("`port` is missing")
                .help("add the port that must accept connections: `port: 5432`"),
        );
    }
    check_tcp(probe, to);
    let host = match &probe.host {
        Some(host) => check_host(host, to).map(|()| Some(host.value.0.clone())),
        None => Some(None),
    };
    let path = match &probe.path {
        Some(path) => check_path(path, to),
        None => Some("/".to_owned()),
    };
    let every = limited_span(&probe.every, EVERY_MIN..=HOUR, "every", to);
    let timeout = timeouts(signal, &probe.timeout, to);
    let expect = expectation(probe.expect.as_ref().map(|expect| &expect.value), to);
    let regions = probe.regions.as_deref().unwrap_or_default();
    let regions: Option<Vec<RegionName>> =
        references(regions, Referred::Region, around.names.regions.as_ref(), to);
    let from = probe.from.as_deref().unwrap_or_default();
    let from: Option<Vec<VantageName>> =
        references(from, Referred::Vantage, around.names.vantages.as_ref(), to);
    let regions: BTreeSet<RegionName> = regions?.into_iter().collect();
    check_connect(written.at, &regions, around, to);
    Some(Probe {
        protocol,
        host: host?,
        port: port?,
        path: path?,
        every: every?,
        timeout: timeout?,
        expect: expect?,
        regions,
        from: from?.into_iter().collect(),
    })
}

/// Settings of HTTP that a TCP probe would silently ignore.
fn check_tcp(probe: &raw::Probe, to: &mut Findings<'_>) {
    if !matches!(probe.protocol.value, raw::Protocol::Tcp) {
        return;
    }
    let ignored = [
        ("host", probe.host.as_ref().map(|host| host.at)),
        ("path", probe.path.as_ref().map(|path| path.at)),
        ("expect", probe.expect.as_ref().map(|expect| expect.at)),
    ];
    for (name, at) in ignored {
        if let Some(at) = at {
            let message = format!("a TCP probe has no `{name}`");
            to.add(
                Finding::new(Code::Conflict, at, message)
                    .label("not for `tcp`")
                    .help("remove it, or take the protocol `http` or `https`"),
            );
        }
    }
}

fn check_path(written: &At<Text>, to: &mut Findings<'_>) -> Option<String> {
    let text = written.value.0.as_str();
    let plain = text.starts_with('/') && !text.contains('#');
    if plain && text.parse::<http::uri::PathAndQuery>().is_ok() {
        return Some(text.to_owned());
    }
    let message = format!("{} is not a path", quoted(text));
    to.add(
        Finding::new(Code::Malformed, written.at, message)
            .label("not a path")
            .help("expected something like `/health` or `/health?deep=1`"),
    );
    None
}

fn timeouts(
    signal: &raw::Signal,
    written: &raw::ProbeTimeout,
    to: &mut Findings<'_>,
) -> Option<ProbeTimeouts> {
    let limits = || 10..=MINUTE;
    let connect = limited_span(&written.connect, limits(), "connect", to);
    let tls = limited_span(&written.tls, limits(), "tls", to);
    let first_byte = limited_span(&written.first_byte, limits(), "first_byte", to);
    let body = limited_span(&written.body, limits(), "body", to);
    let (connect, tls, first_byte, body) = (connect?, tls?, first_byte?, body?);
    let sum = connect + tls + first_byte + body;
    let fresh = signal.fresh_for.value.0;
    if sum >= fresh {
        let message = format!(
            "a slow probe takes up to {} and its reading is stale after {}",
            span(sum),
            span(fresh)
        );
        to.add(
            Finding::new(Code::FreshTooShort, signal.fresh_for.at, message)
                .label("stale before the probe ends")
                .help("shorten the timeouts, or lengthen `fresh_for`"),
        );
    }
    Some(ProbeTimeouts { connect, tls, first_byte, body })
}

fn expectation(written: Option<&raw::ProbeExpect>, to: &mut Findings<'_>) -> Option<ProbeExpect> {
    let status = match written.and_then(|expect| expect.status.as_ref()) {
        Some(status) if status.value.is_empty() => {
            to.add(
                Finding::new(Code::WrongShape, status.at, "no status would be good")
                    .label("empty")
                    .help("write `status: [200-299]`, or leave it out"),
            );
            return None;
        }
        Some(status) => status.value.iter().map(|StatusRange(low, high)| (*low, *high)).collect(),
        None => vec![(200, 299)],
    };
    let body_contains = written.and_then(|e| e.body_contains.as_ref()).map(|t| t.value.0.clone());
    Some(ProbeExpect { status, body_contains })
}

/// Every balancer of the probed regions needs an address.
fn check_connect(
    at: Bytes,
    wanted: &BTreeSet<RegionName>,
    around: &Surroundings<'_>,
    to: &mut Findings<'_>,
) {
    let Some(regions) = around.regions else { return };
    for (name, region) in regions {
        let probed =
            if wanted.is_empty() { region.role != Role::LastResort } else { wanted.contains(name) };
        if !probed {
            continue;
        }
        let deaf: Vec<&str> = region
            .balancers
            .iter()
            .filter(|balancer| balancer.connect.is_none())
            .map(|balancer| balancer.name.as_str())
            .collect();
        let (label, help) = if region.balancers.is_empty() {
            (format!("`{name}` has no balancers"), "add `balancers` with a `connect` to the region")
        } else if deaf.is_empty() {
            continue;
        } else {
            let deaf = deaf.join("`, `");
            (
                format!("`{deaf}` in `{name}` has no `connect`"),
                "add `connect: NAME_OR_ADDRESS` to the balancer",
            )
        };
        to.add(
            Finding::new(
                Code::NowhereToConnect,
                at,
                format!("the probe has nowhere to connect in `{name}`"),
            )
            .label(label)
            .help(help)
            .help("or name the regions to probe: `regions: [...]`"),
        );
    }
}
