//! What it is that fails, by how probes fail and what counters know: for people, and for whether a refresh
//! could cure it.

use std::collections::BTreeMap;
use std::fmt;

use super::diagnose::DOWN_BELOW;
use crate::domain::BalancerName;
use crate::health::{BalancerView, ProbeFailure, Reading, RegionView};
use crate::policy::{Policy, Symptom};

/// The likeliest culprit behind what probes of one balancer, or of a region, run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Its name has no address.
    Name,
    /// Connections are refused: no listener has that port.
    Listener,
    /// Nobody gets a connection, and nobody says no.
    Network {
        /// No requests are counted there either, as far as counters tell.
        counted: bool,
    },
    /// A part of the connections times out.
    Node,
    Certificate(ProbeFailure),
    /// Its targets make the errors.
    Targets,
    /// It answers with errors, or cuts connections, while its targets are well.
    Balancer(ProbeFailure),
    /// Something answers, and not as a probe expects.
    Answer(ProbeFailure),
    /// It takes connections and does not answer in time.
    Silent,
}

impl Cause {
    /// No rung of a refresh changes names, ports, certificates or who may connect: those write back settings,
    /// register targets, swap target groups and set subnets.
    pub(super) const fn is_cured_by_no_refresh(self) -> bool {
        match self {
            Self::Name | Self::Listener | Self::Network { .. } | Self::Certificate(_) => true,
            Self::Node | Self::Targets | Self::Balancer(_) | Self::Answer(_) | Self::Silent => {
                false
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("its name has no address: a record is gone or misspelt"),
            Self::Listener => {
                f.write_str("connections are refused: no listener has the port that is probed")
            }
            Self::Network { counted } => {
                f.write_str("connections time out")?;
                if !counted {
                    f.write_str(" and no usual requests are counted")?;
                }
                f.write_str(": looks like a security group, a network ACL or a route")
            }
            Self::Node => f.write_str(
                "a part of the connections times out: looks like a node of it, or the way to one of its zones",
            ),
            Self::Certificate(ProbeFailure::CertificateExpired) => {
                f.write_str("its certificate has expired")
            }
            Self::Certificate(ProbeFailure::CertificateName) => {
                f.write_str("its certificate is for another name")
            }
            Self::Certificate(ProbeFailure::CertificateUntrusted) => {
                f.write_str("its certificate is signed by nobody whom the vantages trust")
            }
            Self::Certificate(_) => f.write_str(
                "TLS fails: looks like the certificate or the TLS policy of the listener",
            ),
            Self::Targets => f.write_str("its targets make the errors"),
            Self::Balancer(ProbeFailure::Status(status)) => write!(
                f,
                "it answers {status} while its targets are well: looks like the balancer itself"
            ),
            Self::Balancer(_) => f.write_str(
                "it cuts connections while its targets are well: looks like the balancer itself",
            ),
            Self::Answer(ProbeFailure::Status(status)) => {
                write!(f, "it answers {status}, which the probe does not expect")
            }
            Self::Answer(ProbeFailure::Body) => {
                f.write_str("it answers without the text that the probe looks for")
            }
            Self::Answer(ProbeFailure::Garbage) => {
                f.write_str("what it answers is no HTTP: looks like another listener on that port")
            }
            Self::Answer(_) => f.write_str("it cuts connections"),
            Self::Silent => f.write_str("it takes connections and does not answer in time"),
        }
    }
}

/// What balancers count of trouble beside their errors, in words.
pub(super) const fn says(symptom: Symptom) -> &'static str {
    match symptom {
        Symptom::FailOpen => {
            "requests are sent to targets although none is healthy (fail-open): it is the targets, not the balancer"
        }
        Symptom::ConnectionErrors => {
            "balancers cannot connect to targets: looks like a security group, or targets at their limit"
        }
        Symptom::HandshakeErrors => {
            "clients do not agree on TLS with balancers: looks like a certificate or the TLS policy of a listener"
        }
        Symptom::RejectedConnections => "balancers refuse connections: they are at their limit",
        Symptom::Resets => "balancers reset connections",
    }
}

/// What ails one balancer that is seen bad from outside, where probes or counters tell.
pub(super) fn of(policy: &Policy, view: &RegionView, seen: &BalancerView) -> Option<Cause> {
    let accepted = 1.0 - policy.judge.success_below.get();
    let targets_fail = seen.target_errors.is_some_and(|errors| errors >= accepted);
    let targets_well = seen.target_errors.is_some_and(|errors| errors < accepted);
    let all = seen.success.is_some_and(|success| success < DOWN_BELOW);
    let answered = named(view, seen.failing_by, all, targets_well);
    if targets_fail && !answered.is_some_and(Cause::is_cured_by_no_refresh) {
        return Some(Cause::Targets);
    }
    answered
}

fn named(
    view: &RegionView,
    failing_by: Option<ProbeFailure>,
    all: bool,
    targets_well: bool,
) -> Option<Cause> {
    Some(match failing_by? {
        ProbeFailure::Resolve => Cause::Name,
        ProbeFailure::ConnectRefused => Cause::Listener,
        ProbeFailure::ConnectTimeout if all => {
            Cause::Network { counted: view.traffic.reading != Reading::Unknown }
        }
        ProbeFailure::ConnectTimeout => Cause::Node,
        failure @ (ProbeFailure::Tls
        | ProbeFailure::CertificateExpired
        | ProbeFailure::CertificateName
        | ProbeFailure::CertificateUntrusted) => Cause::Certificate(failure),
        ProbeFailure::FirstByteTimeout | ProbeFailure::BodyTimeout => Cause::Silent,
        failure @ ProbeFailure::Status(500..) if targets_well => Cause::Balancer(failure),
        failure @ ProbeFailure::Reset if targets_well => Cause::Balancer(failure),
        failure @ (ProbeFailure::Status(_)
        | ProbeFailure::Reset
        | ProbeFailure::Body
        | ProbeFailure::Garbage) => Cause::Answer(failure),
    })
}

/// A line for each cause, with the balancers that have it; without balancers, what ails the region.
pub(super) fn lines(policy: &Policy, view: &RegionView) -> Vec<String> {
    let mut causes: BTreeMap<Cause, Vec<&BalancerName>> = BTreeMap::new();
    for (name, seen) in view.balancers.iter().filter(|(_, seen)| seen.outside == Reading::Bad) {
        if let Some(cause) = of(policy, view, seen) {
            causes.entry(cause).or_default().push(name);
        }
    }
    if view.balancers.is_empty() && view.outside.reading == Reading::Bad {
        let all = view.success.is_some_and(|success| success.get() < DOWN_BELOW);
        let cause = named(view, view.failing_by, all, false);
        return cause.map(|cause| cause.to_string()).into_iter().collect();
    }
    let line = |(cause, names): (Cause, Vec<&BalancerName>)| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("{}: {cause}", names.join(" and "))
    };
    causes.into_iter().map(line).collect()
}
