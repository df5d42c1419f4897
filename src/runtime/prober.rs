//! The real looks outwards: probes, beacons and peers over the network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::Method;

use crate::domain::{SignalName, VantageName};
use crate::health::Sample;
use crate::policy::{Class, Policy, Probe};
use crate::ports::Clock;
use crate::probe::{self, Target};
use crate::runtime::http::{Ask, ask};
use crate::runtime::peer::Readings;
use crate::runtime::watch::{Beacon, Prober};

/// A peer that has not answered by then is silent. Below the rhythm at which peers are asked.
const PEER_WITHIN: Duration = Duration::from_secs(4);
/// 512 readings of about 400 octets, and as much again.
const READINGS_BYTES_MAX: usize = 512 * 1024;

#[derive(Debug)]
pub struct Network {
    clock: Arc<dyn Clock>,
}

impl Network {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

#[async_trait]
impl Prober for Network {
    async fn probe(
        &self,
        signal: &SignalName,
        class: Class,
        spec: &Probe,
        target: &Target,
        vantage: &VantageName,
    ) -> Sample {
        probe::probe(signal, class, spec, target, vantage, self.clock.as_ref()).await
    }

    async fn beacon(&self, beacon: &Beacon) -> Sample {
        let Beacon { signal, class, url, timeout, vantage, source } = beacon;
        probe::beacon(signal, *class, url, *timeout, vantage, *source, self.clock.as_ref()).await
    }

    async fn readings(&self, url: &str, policy: &Policy) -> Result<Readings, String> {
        let url = format!("{}/v1/readings?service={}", url.trim_end_matches('/'), policy.service);
        let asked = Ask {
            method: Method::GET,
            url: &url,
            headers: Vec::new(),
            body: Bytes::new(),
            answer_max: READINGS_BYTES_MAX,
            within: PEER_WITHIN,
        };
        let (status, body) = ask(asked).await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("the peer answered {status}"));
        }
        serde_json::from_slice(&body).map_err(|error| format!("not readings of Leeward: {error}"))
    }
}
