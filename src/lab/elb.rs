//! The laboratory's Elastic Load Balancing: configurations that are read and written call by call. What is
//! written to the registrations of a balancer is what it really sends visitors to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::balancer::{Balancer, Registration};
use super::setup::{Front, OWNED};
use crate::balancer::{
    Action, Call, Form, Forward, Group, Health, Listener, Snapshot, Target, Tree, Weighted,
};
use crate::domain::Timestamp;
use crate::ports::{CallFailed, Configurations, TargetState};

/// The configurations of all balancers.
#[derive(Debug, Default)]
pub struct Elb(BTreeMap<String, One>);

#[derive(Debug)]
struct One {
    configuration: Mutex<Snapshot>,
    /// Its only target group.
    group: String,
    balancer: Arc<Balancer>,
}

impl Elb {
    pub fn add(&mut self, aws_region: &str, front: &Front, port: u16, balancer: &Arc<Balancer>) {
        let configuration = Mutex::new(configuration(aws_region, front, port));
        let (group, balancer) = (front.group_name(), Arc::clone(balancer));
        self.0.insert(front.arn(aws_region), One { configuration, group, balancer });
    }

    fn one(&self, arn: &str) -> Result<&One, CallFailed> {
        self.0.get(arn).ok_or_else(|| CallFailed::NotFound {
            code: "LoadBalancerNotFound".to_owned(),
            why: format!("no load balancer `{arn}`"),
        })
    }
}

impl One {
    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Configurations for Elb {
    async fn read(
        &self,
        arn: &str,
        _also: &BTreeSet<String>,
        at: Timestamp,
    ) -> Result<Snapshot, CallFailed> {
        let one = self.one(arn)?;
        let mut told = one.lock().clone();
        told.taken_at = at;
        if let Some(group) = told.groups.get_mut(&one.group) {
            let registered = one.balancer.registrations();
            let target = |registration: &Registration| target(registration.address);
            let health = registered.iter().map(|registration| Health {
                target: target(registration),
                state: registration.state,
            });
            group.health = health.collect();
            let stays = |one: &&Registration| one.state != TargetState::Draining;
            group.targets = registered.iter().filter(stays).map(target).collect();
        }
        Ok(told)
    }

    async fn change(&self, live: &Snapshot, call: &Call) -> Result<(), CallFailed> {
        let one = self.one(&live.arn)?;
        let refused = |why| CallFailed::Refused { code: "ValidationError".to_owned(), why };
        one.lock().apply(call).map_err(refused)?;
        if let Call::Register { targets, .. } | Call::Deregister { targets, .. } = call {
            for target in targets {
                let address = address(target).map_err(refused)?;
                if matches!(call, Call::Register { .. }) {
                    one.balancer.register(address);
                } else {
                    one.balancer.deregister(address);
                }
            }
        }
        one.balancer.touched(call);
        Ok(())
    }
}

fn target(address: SocketAddr) -> Target {
    Target { id: address.ip().to_string(), port: Some(address.port()), zone: None }
}

fn address(target: &Target) -> Result<SocketAddr, String> {
    let ip = target.id.parse().map_err(|_| format!("`{}` is no address", target.id))?;
    let port = target.port.ok_or_else(|| format!("`{target}` has no port"))?;
    Ok(SocketAddr::new(ip, port))
}

/// One listener that forwards to one group.
fn configuration(aws_region: &str, front: &Front, port: u16) -> Snapshot {
    let text = |text: &str| Tree::Text(text.to_owned());
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let group = front.group_name();
    let forward = Forward {
        order: None,
        groups: vec![Weighted { group: group.clone(), weight: 1 }],
        stickiness: None,
        form: Form::Plain,
    };
    let listener = Listener {
        port,
        actions: vec![Action::Forward(forward)],
        rules: BTreeMap::new(),
        certificates: Vec::new(),
        attributes: BTreeMap::new(),
        tags: BTreeMap::new(),
        rest: [("Protocol".to_owned(), text("HTTP"))].into(),
    };
    let settings = [
        ("Protocol", "HTTP"),
        ("TargetType", "ip"),
        ("HealthCheckPath", super::region::ALIVE),
        ("HealthCheckProtocol", "HTTP"),
    ];
    let group = Group {
        arn: Some(front.target_group(aws_region)),
        settings: settings.map(|(key, value)| (key.to_owned(), text(value))).into(),
        attributes: pairs(&[("deregistration_delay.timeout_seconds", "1")]),
        tags: pairs(&[OWNED]),
        targets: BTreeSet::new(),
        foreign: Vec::new(),
        health: Vec::new(),
    };
    Snapshot {
        taken_at: Timestamp::from_secs(0),
        aws_region: aws_region.to_owned(),
        arn: front.arn(aws_region),
        subnets: pairs(&[("lab-a", "subnet-a"), ("lab-b", "subnet-b")]),
        attributes: pairs(&[("idle_timeout.timeout_seconds", "60")]),
        tags: BTreeMap::new(),
        listeners: [(front.listener(aws_region), listener)].into(),
        groups: [(front.group_name(), group)].into(),
        rest: BTreeMap::new(),
    }
}
