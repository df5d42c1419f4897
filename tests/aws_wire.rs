//! The AWS edge on the wire: the real SDK against servers that others wrote, with faults in between.
//!
//! Route 53 is ministack's, the one server with its compare-and-swap. Needs `tests/wire/setup.sh`.

mod alarm;
mod arc;
mod changes;
mod doctor;
mod faults;
mod gates;
mod human;
mod killed;
mod matrix;
mod permissions;
mod program;
mod reads;
mod refresh;
mod rescue;
mod service;
mod signals;
mod words;
mod zonal;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use leeward::aws::{Edge, Settings, Timeouts};
use leeward::domain::{Weight, ZoneId};
use leeward::plan::{Batch, RecordData, RecordSet, Swap};
use leeward::ports::{CallFailed, ChangeId};

use crate::wire::http;
use crate::wire::proxy::Proxy;
use crate::wire::servers::{self, Server};

/// Short, as every one of them is waited for here; still far above a loopback round trip.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_millis(700),
    read_attempt: Duration::from_millis(1500),
    read_whole: Duration::from_secs(8),
    change: Duration::from_millis(1500),
    gate: Duration::from_millis(1500),
    gate_whole: Duration::from_secs(8),
    switch: Duration::from_millis(1500),
    switch_stagger: Duration::from_millis(150),
    switch_whole: Duration::from_secs(8),
};

/// An empty AWS, a proxy before it, and the edge that only knows the proxy.
struct World {
    server: Server,
    proxy: Proxy,
    edge: Edge,
}

impl World {
    async fn start() -> Self {
        let server = servers::ministack().await;
        let proxy = Proxy::start(server.port).await;
        let edge = Edge::connect(&settings(&proxy.url())).await;
        Self { server, proxy, edge }
    }

    async fn zone(&self, name: &str) -> ZoneId {
        create_zone(self.server.port, name).await
    }

    async fn create(&self, sets: Vec<RecordSet>) -> Result<ChangeId, CallFailed> {
        self.swap(sets.into_iter().map(|after| Swap { before: None, after }).collect()).await
    }

    async fn swap(&self, swaps: Vec<Swap>) -> Result<ChangeId, CallFailed> {
        let zone = swaps[0].after.zone.clone();
        self.edge.weights.change(&Batch { zone, comment: "wire test".to_owned(), swaps }).await
    }
}

/// All services at one address, with credentials that are good enough for it.
fn settings(url: &str) -> Settings {
    let endpoints =
        ["route53", "elbv2", "cloudwatch", "s3", "sns"].map(|service| format!("{service}={url}"));
    Settings {
        endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
        credentials: Some(credentials()),
        timeouts: TIMEOUTS,
        ..Settings::default()
    }
}

pub(crate) fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "tests"))
}

async fn create_zone(port: u16, name: &str) -> ZoneId {
    let body = format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{name}</Name><CallerReference>{name}</CallerReference></CreateHostedZoneRequest>"
    );
    let answer = http::call(port, "POST", "/2013-04-01/hostedzone", &body).await.unwrap();
    let text = answer.text();
    let id = text.split("<Id>").nth(1).and_then(|rest| rest.split("</Id>").next());
    id.unwrap_or_else(|| panic!("no zone id in {text}")).parse().unwrap()
}

fn weighted(zone: &ZoneId, name: &str, identifier: &str, weight: u8) -> RecordSet {
    RecordSet {
        zone: zone.clone(),
        name: name.parse().unwrap(),
        kind: "A".to_owned(),
        set_identifier: Some(identifier.to_owned()),
        weight: Some(Weight(weight)),
        ttl: Some(60),
        data: RecordData::Values(vec!["192.0.2.1".to_owned()]),
        health_check: None,
        foreign: Vec::new(),
    }
}

fn kind(outcome: &Result<ChangeId, CallFailed>) -> &'static str {
    match outcome {
        Ok(_) => "accepted",
        Err(failure) => kind_of(failure),
    }
}

fn kind_of(failure: &CallFailed) -> &'static str {
    match failure {
        CallFailed::NotSent { .. } => "not sent",
        CallFailed::Throttled { .. } => "throttled",
        CallFailed::Busy => "busy",
        CallFailed::Conflict { .. } => "conflict",
        CallFailed::Refused { .. } => "refused",
        CallFailed::NotFound { .. } => "not found",
        CallFailed::Unknown { .. } => "unknown",
    }
}
