//! Probes of an endpoint from here: HTTP, HTTPS and TCP, a fresh connection each, and the neutral beacon.
//!
//! A probe connects to one balancer's own name or address and sends the service's host name as `Host`
//! and SNI, so that each balancer is seen by itself, whatever DNS answers at the moment. What comes
//! back is a [`Sample`] and never an error: a failure of the other side is a fact about the region, a
//! trouble of our own is [`Measure::NoProbe`] and says nothing about it. Redirects are not followed.

mod trust;
mod wire;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::{BalancerName, RegionName, SignalName, VantageName};
use crate::health::{About, Measure, ProbeFailure, Sample};
use crate::policy::{Class, Probe, ProbeExpect, ProbeProtocol, ProbeTimeouts, Verify};
use crate::ports::Clock;

use trust::Trust;
use wire::{Call, Seen, Trouble};

/// What one probe speaks about, and where it connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub region: RegionName,
    pub balancer: Option<BalancerName>,
    /// A host name or an address, without port.
    pub connect: String,
    /// The address to send from; `None` leaves the choice to the system.
    pub source: Option<IpAddr>,
}

/// TLS that believes the system's roots, for our own clients (peers, webhooks). The error is why not.
pub fn verified_tls() -> Result<tokio_rustls::TlsConnector, String> {
    Trust::of_this_machine().connector(Verify::Certificate).cloned()
}

/// Probes `target` once. Takes at most the sum of the four timeouts.
pub async fn probe(
    signal: &SignalName,
    class: Class,
    spec: &Probe,
    target: &Target,
    vantage: &VantageName,
    clock: &dyn Clock,
) -> Sample {
    probe_trusting(Trust::of_this_machine(), signal, class, spec, target, vantage, clock).await
}

async fn probe_trusting(
    trust: &Trust,
    signal: &SignalName,
    class: Class,
    spec: &Probe,
    target: &Target,
    vantage: &VantageName,
    clock: &dyn Clock,
) -> Sample {
    let taken_at = clock.now();
    let call = Call {
        protocol: spec.protocol,
        connect: &target.connect,
        source: target.source,
        host: spec.host.as_deref().unwrap_or(&target.connect),
        port: spec.port,
        path: &spec.path,
        timeout: spec.timeout,
        expect: &spec.expect,
    };
    let measure = match wire::call(trust, &call).await {
        Ok(Seen { failure, latency }) => Measure::Probe {
            success: if failure.is_none() { 1.0 } else { 0.0 },
            latency_ms: latency.map(|latency| latency.as_secs_f64() * 1000.0),
            failure,
        },
        Err(Trouble::Network(why) | Trouble::Machine(why)) => Measure::NoProbe { why },
    };
    let about = About {
        region: Some(target.region.clone()),
        balancer: target.balancer.clone(),
        vantage: Some(vantage.clone()),
    };
    Sample { signal: signal.clone(), class, about, measure, taken_at, heard_at: clock.now() }
}

/// Asks a neutral place whether our own network is well. Any answer in HTTP will do.
///
/// `timeout` holds for each phase. What is a trouble of our own for a probe (no route from here) is
/// for a beacon the very thing it is asked for.
pub async fn beacon(
    signal: &SignalName,
    class: Class,
    url: &str,
    timeout: Duration,
    vantage: &VantageName,
    source: Option<IpAddr>,
    clock: &dyn Clock,
) -> Sample {
    let taken_at = clock.now();
    let measure = match Address::parse(url) {
        Some(address) => light(&address, timeout, source).await,
        None => Measure::NoProbe { why: format!("`{url}` is not an http or https address") },
    };
    let about = About { region: None, balancer: None, vantage: Some(vantage.clone()) };
    Sample { signal: signal.clone(), class, about, measure, taken_at, heard_at: clock.now() }
}

async fn light(address: &Address, timeout: Duration, source: Option<IpAddr>) -> Measure {
    let call = Call {
        protocol: address.protocol,
        connect: &address.host,
        source,
        host: &address.host,
        port: address.port,
        path: &address.path,
        timeout: ProbeTimeouts {
            connect: timeout,
            tls: timeout,
            first_byte: timeout,
            body: timeout,
        },
        expect: &ProbeExpect { status: vec![(100, 599)], body_contains: None },
    };
    match wire::call(Trust::of_this_machine(), &call).await {
        Ok(Seen { failure: None, .. }) => Measure::Beacon { success: 1.0 },
        Ok(Seen { failure: Some(failure), .. }) => Measure::Beacon {
            success: match failure {
                // It answered, if not well: the way there is open.
                ProbeFailure::Status(_) | ProbeFailure::Body | ProbeFailure::Garbage => 1.0,
                ProbeFailure::Resolve
                | ProbeFailure::ConnectRefused
                | ProbeFailure::ConnectTimeout
                | ProbeFailure::Tls
                | ProbeFailure::CertificateExpired
                | ProbeFailure::CertificateName
                | ProbeFailure::CertificateUntrusted
                | ProbeFailure::FirstByteTimeout
                | ProbeFailure::BodyTimeout
                | ProbeFailure::Reset => 0.0,
            },
        },
        Err(Trouble::Network(_)) => Measure::Beacon { success: 0.0 },
        Err(Trouble::Machine(why)) => Measure::NoProbe { why },
    }
}

/// The parts of an `http` or `https` address that a beacon needs.
#[derive(Debug, PartialEq)]
struct Address {
    protocol: ProbeProtocol,
    host: String,
    port: u16,
    path: String,
}

impl Address {
    fn parse(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        // A beacon only tells that a way is open; whose certificate answers does not matter.
        let (protocol, port) = match uri.scheme_str()? {
            "http" => (ProbeProtocol::Http, 80),
            "https" => (ProbeProtocol::Https { verify: Verify::Nothing }, 443),
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { protocol, host, port: uri.port_u16().unwrap_or(port), path })
    }
}
