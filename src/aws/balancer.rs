//! The port [`Configurations`] over Elastic Load Balancing, version 2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::{Client, types as elb};

use super::body::Body;
use super::fail::failed;
use super::{Base, Call as Kind, PerRegion, Service, words};
use crate::balancer::{Call, Snapshot, Tree};
use crate::domain::Timestamp;
use crate::ports::{CallFailed, Configurations};

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &[
    "elasticloadbalancing:AddTags",
    "elasticloadbalancing:CreateTargetGroup",
    "elasticloadbalancing:DeleteTargetGroup",
    "elasticloadbalancing:DeregisterTargets",
    "elasticloadbalancing:DescribeListenerAttributes",
    "elasticloadbalancing:DescribeListenerCertificates",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "elasticloadbalancing:ModifyListener",
    "elasticloadbalancing:ModifyLoadBalancerAttributes",
    "elasticloadbalancing:ModifyRule",
    "elasticloadbalancing:ModifyTargetGroup",
    "elasticloadbalancing:ModifyTargetGroupAttributes",
    "elasticloadbalancing:RegisterTargets",
    "elasticloadbalancing:SetSubnets",
];

/// Things whose tags one call tells (API reference, "`DescribeTags`": up to 20).
const TAGGED_MAX: usize = 20;
/// Pages of one listing. 400 to a page, and far fewer of anything on one balancer by default.
const PAGES_MAX: usize = 50;

/// Sends a listing page by page, and gives what each page says.
macro_rules! pages {
    ($action:literal, $request:expr) => {{
        let mut told: Vec<Tree> = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let body = Body::default();
            let answer = $request
                .set_marker(marker.take())
                .customize()
                .interceptor(body.clone())
                .send()
                .await
                .map_err(|error| failed(&error))?;
            told.push(body.result($action)?);
            marker = answer.next_marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                break;
            }
            if told.len() >= PAGES_MAX {
                let why = concat!($action, " does not end").to_owned();
                return Err(CallFailed::Unknown { why });
            }
        }
        told
    }};
}

/// Sends a request that has one answer, and gives what it says.
macro_rules! once {
    ($action:literal, $request:expr) => {{
        let body = Body::default();
        $request
            .customize()
            .interceptor(body.clone())
            .send()
            .await
            .map_err(|error| failed(&error))?;
        body.result($action)?
    }};
}

#[derive(Debug)]
pub(super) struct Balancers {
    base: Base,
    reading: PerRegion<Client>,
    changing: PerRegion<Client>,
}

impl Balancers {
    pub(super) fn new(base: Base) -> Arc<Self> {
        Arc::new(Self { base, reading: PerRegion::new(), changing: PerRegion::new() })
    }

    fn client(&self, aws_region: &str, call: Kind) -> Client {
        let clients = if call == Kind::Change { &self.changing } else { &self.reading };
        clients.client(aws_region, || {
            let config = configured!(
                aws_sdk_elasticloadbalancingv2,
                &self.base,
                Service::Elb,
                aws_region,
                call
            );
            Client::from_conf(config.build())
        })
    }
}

#[async_trait]
impl Configurations for Balancers {
    async fn read(
        &self,
        arn: &str,
        also: &BTreeSet<String>,
        at: Timestamp,
    ) -> Result<Snapshot, CallFailed> {
        let aws_region = region_of(arn)?;
        let client = self.client(&aws_region, Kind::Targets);
        let told = pages!(
            "DescribeLoadBalancers",
            client.describe_load_balancers().load_balancer_arns(arn)
        );
        let balancer = members(&told, "LoadBalancers").next().ok_or_else(|| not_found(arn))?;
        let (subnets, rest) = words::balancer(balancer)?;
        let told = once!(
            "DescribeLoadBalancerAttributes",
            client.describe_load_balancer_attributes().load_balancer_arn(arn)
        );
        let mut snapshot = Snapshot {
            taken_at: at,
            aws_region,
            arn: arn.to_owned(),
            subnets,
            attributes: words::pairs(told.field("Attributes")),
            tags: BTreeMap::new(),
            listeners: BTreeMap::new(),
            groups: BTreeMap::new(),
            rest,
        };
        read_listeners(&client, &mut snapshot).await?;
        read_groups(&client, &mut snapshot, also).await?;
        read_tags(&client, &mut snapshot).await?;
        Ok(snapshot)
    }

    async fn change(&self, live: &Snapshot, call: &Call) -> Result<(), CallFailed> {
        let client = self.client(&live.aws_region, Kind::Change);
        let arn = |name: &str| group_arn(live, name);
        match call {
            Call::BalancerAttributes { attributes } => {
                let request = client.modify_load_balancer_attributes().load_balancer_arn(&live.arn);
                let pairs = attributes.iter().map(|(key, value)| {
                    elb::LoadBalancerAttribute::builder().key(key).value(value).build()
                });
                let request = request.set_attributes(Some(pairs.collect()));
                request.send().await.map(drop).map_err(|error| failed(&error))
            }
            Call::ListenerActions { listener, actions } => {
                let actions = words::written(actions, arn)?;
                let request = client.modify_listener().listener_arn(listener);
                let request = request.set_default_actions(Some(actions));
                request.send().await.map(drop).map_err(|error| failed(&error))
            }
            Call::RuleActions { rule, actions, .. } => {
                let actions = words::written(actions, arn)?;
                let request = client.modify_rule().rule_arn(rule).set_actions(Some(actions));
                request.send().await.map(drop).map_err(|error| failed(&error))
            }
            Call::GroupSettings { group, settings } => {
                modify_group(&client, &arn(group)?, settings).await
            }
            Call::GroupAttributes { group, attributes } => {
                let request = client.modify_target_group_attributes().target_group_arn(arn(group)?);
                let pairs = attributes.iter().map(|(key, value)| {
                    elb::TargetGroupAttribute::builder().key(key).value(value).build()
                });
                let request = request.set_attributes(Some(pairs.collect()));
                request.send().await.map(drop).map_err(|error| failed(&error))
            }
            Call::Register { group, targets } => {
                let targets = words::descriptions(targets, by_address(live, group));
                let request = client.register_targets().target_group_arn(arn(group)?);
                let request = request.set_targets(Some(targets));
                request.send().await.map(drop).map_err(|error| failed(&error))
            }
            Call::Deregister { group, targets } => {
                let targets = words::descriptions(targets, by_address(live, group));
                let request = client.deregister_targets().target_group_arn(arn(group)?);
                let request = request.set_targets(Some(targets));
                request.send().await.map(drop).map_err(|error| failed(&error))
            }
            Call::CreateGroup { group, settings, tags } => {
                create_group(&client, group, settings, tags).await
            }
            Call::DeleteGroup { group } => {
                let request = client.delete_target_group().target_group_arn(arn(group)?);
                request.send().await.map(drop).map_err(|error| failed(&error))
            }
            Call::Subnets { subnets } => {
                let request = client.set_subnets().load_balancer_arn(&live.arn);
                let request = request.set_subnets(Some(subnets.values().cloned().collect()));
                request.send().await.map(drop).map_err(|error| failed(&error))
            }
        }
    }
}

async fn read_listeners(client: &Client, snapshot: &mut Snapshot) -> Result<(), CallFailed> {
    let told =
        pages!("DescribeListeners", client.describe_listeners().load_balancer_arn(&snapshot.arn));
    for listener in members(&told, "Listeners") {
        let (arn, mut listener) = words::listener(listener)?;
        let told = once!(
            "DescribeListenerAttributes",
            client.describe_listener_attributes().listener_arn(&arn)
        );
        listener.attributes = words::pairs(told.field("Attributes"));
        let told = pages!("DescribeRules", client.describe_rules().listener_arn(&arn));
        for rule in members(&told, "Rules") {
            listener.rules.extend(words::rule(rule)?);
        }
        if matches!(listener.rest.get("Protocol").and_then(Tree::text), Some("HTTPS" | "TLS")) {
            let told = pages!(
                "DescribeListenerCertificates",
                client.describe_listener_certificates().listener_arn(&arn)
            );
            listener.certificates = members(&told, "Certificates").cloned().collect();
            listener.certificates.sort_by_key(|tree| format!("{tree:?}"));
        }
        snapshot.listeners.insert(arn, listener);
    }
    Ok(())
}

async fn read_groups(
    client: &Client,
    snapshot: &mut Snapshot,
    also: &BTreeSet<String>,
) -> Result<(), CallFailed> {
    let told = pages!(
        "DescribeTargetGroups",
        client.describe_target_groups().load_balancer_arn(&snapshot.arn)
    );
    for group in members(&told, "TargetGroups") {
        snapshot.groups.extend([words::group(group)?]);
    }
    // A group that an action names is read even if the listing by balancer does not tell it (yet).
    let weighted = snapshot.forwards().flat_map(|forward| &forward.groups);
    let named: BTreeSet<String> = weighted.map(|weighted| weighted.group.clone()).collect();
    // One by one: a listing by names is refused as a whole if one of them is not there.
    for name in also.union(&named) {
        if snapshot.groups.contains_key(name) {
            continue;
        }
        match named_group(client, name).await {
            Ok(found) => snapshot.groups.extend(found),
            Err(CallFailed::NotFound { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    for group in snapshot.groups.values_mut() {
        let arn = group.arn.clone().unwrap_or_default();
        let told = once!(
            "DescribeTargetGroupAttributes",
            client.describe_target_group_attributes().target_group_arn(&arn)
        );
        group.attributes = words::pairs(told.field("Attributes"));
        let told =
            once!("DescribeTargetHealth", client.describe_target_health().target_group_arn(&arn));
        words::health(group, &told)?;
    }
    Ok(())
}

async fn named_group(
    client: &Client,
    name: &str,
) -> Result<Vec<(String, crate::balancer::Group)>, CallFailed> {
    let told = pages!("DescribeTargetGroups", client.describe_target_groups().names(name));
    members(&told, "TargetGroups").map(words::group).collect()
}

async fn read_tags(client: &Client, snapshot: &mut Snapshot) -> Result<(), CallFailed> {
    let mut arns = vec![snapshot.arn.clone()];
    for (arn, listener) in &snapshot.listeners {
        arns.push(arn.clone());
        arns.extend(listener.rules.keys().cloned());
    }
    arns.extend(snapshot.groups.values().filter_map(|group| group.arn.clone()));
    let mut tags: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for some in arns.chunks(TAGGED_MAX) {
        let told =
            once!("DescribeTags", client.describe_tags().set_resource_arns(Some(some.to_vec())));
        for member in members(std::slice::from_ref(&told), "TagDescriptions") {
            let arn = member.said("ResourceArn").unwrap_or_default().to_owned();
            tags.insert(arn, words::pairs(member.field("Tags")));
        }
    }
    let mut of = |arn: &str| tags.remove(arn).unwrap_or_default();
    snapshot.tags = of(&snapshot.arn);
    for (arn, listener) in &mut snapshot.listeners {
        listener.tags = of(arn);
        for (arn, rule) in &mut listener.rules {
            rule.tags = of(arn);
        }
    }
    for group in snapshot.groups.values_mut() {
        group.tags = of(group.arn.as_deref().unwrap_or_default());
    }
    Ok(())
}

/// The members of a list, over all pages.
fn members<'t>(pages: &'t [Tree], list: &'t str) -> impl Iterator<Item = &'t Tree> {
    pages.iter().flat_map(move |page| page.field(list).map(Tree::members).unwrap_or_default())
}

fn not_found(what: &str) -> CallFailed {
    CallFailed::NotFound { code: "NotThere".to_owned(), why: format!("`{what}` is not listed") }
}

pub(super) fn region_of(arn: &str) -> Result<String, CallFailed> {
    let region = arn.split(':').nth(3).filter(|region| !region.is_empty());
    region
        .map(str::to_owned)
        .ok_or_else(|| CallFailed::NotSent { why: format!("`{arn}` names no region") })
}

fn group_arn(live: &Snapshot, name: &str) -> Result<String, CallFailed> {
    live.groups.get(name).and_then(|group| group.arn.clone()).ok_or_else(|| not_found(name))
}

fn by_address(live: &Snapshot, group: &str) -> bool {
    let kind = live.groups.get(group).and_then(|group| group.settings.get("TargetType"));
    kind.and_then(Tree::text) == Some("ip")
}

fn said<'t>(settings: &'t BTreeMap<String, Tree>, name: &str) -> Option<&'t str> {
    settings.get(name).and_then(Tree::text)
}

fn numbered(
    settings: &BTreeMap<String, Tree>,
    name: &'static str,
) -> Result<Option<i32>, CallFailed> {
    said(settings, name).map(|text| words::number(text, name)).transpose()
}

fn matcher(settings: &BTreeMap<String, Tree>) -> Option<elb::Matcher> {
    let told = settings.get("Matcher")?;
    let text = |name| told.said(name).map(str::to_owned);
    Some(
        elb::Matcher::builder()
            .set_http_code(text("HttpCode"))
            .set_grpc_code(text("GrpcCode"))
            .build(),
    )
}

async fn modify_group(
    client: &Client,
    arn: &str,
    settings: &BTreeMap<String, Tree>,
) -> Result<(), CallFailed> {
    let text = |name| said(settings, name).map(str::to_owned);
    let request = client
        .modify_target_group()
        .target_group_arn(arn)
        .set_health_check_protocol(said(settings, "HealthCheckProtocol").map(Into::into))
        .set_health_check_port(text("HealthCheckPort"))
        .set_health_check_path(text("HealthCheckPath"))
        .set_health_check_enabled(said(settings, "HealthCheckEnabled").map(|on| on == "true"))
        .set_health_check_interval_seconds(numbered(settings, "HealthCheckIntervalSeconds")?)
        .set_health_check_timeout_seconds(numbered(settings, "HealthCheckTimeoutSeconds")?)
        .set_healthy_threshold_count(numbered(settings, "HealthyThresholdCount")?)
        .set_unhealthy_threshold_count(numbered(settings, "UnhealthyThresholdCount")?)
        .set_matcher(matcher(settings));
    request.send().await.map(drop).map_err(|error| failed(&error))
}

/// Made again with the same settings, the service gives back the one that is there (API reference,
/// "`CreateTargetGroup`": idempotent), so a call of unknown outcome may be repeated.
async fn create_group(
    client: &Client,
    name: &str,
    settings: &BTreeMap<String, Tree>,
    tags: &BTreeMap<String, String>,
) -> Result<(), CallFailed> {
    let text = |name| said(settings, name).map(str::to_owned);
    let tags = tags.iter().map(|(key, value)| elb::Tag::builder().key(key).value(value).build());
    let request = client
        .create_target_group()
        .name(name)
        .set_protocol(said(settings, "Protocol").map(Into::into))
        .set_protocol_version(text("ProtocolVersion"))
        .set_port(numbered(settings, "Port")?)
        .set_target_control_port(numbered(settings, "TargetControlPort")?)
        .set_vpc_id(text("VpcId"))
        .set_target_type(said(settings, "TargetType").map(Into::into))
        .set_ip_address_type(said(settings, "IpAddressType").map(Into::into))
        .set_health_check_protocol(said(settings, "HealthCheckProtocol").map(Into::into))
        .set_health_check_port(text("HealthCheckPort"))
        .set_health_check_path(text("HealthCheckPath"))
        .set_health_check_enabled(said(settings, "HealthCheckEnabled").map(|on| on == "true"))
        .set_health_check_interval_seconds(numbered(settings, "HealthCheckIntervalSeconds")?)
        .set_health_check_timeout_seconds(numbered(settings, "HealthCheckTimeoutSeconds")?)
        .set_healthy_threshold_count(numbered(settings, "HealthyThresholdCount")?)
        .set_unhealthy_threshold_count(numbered(settings, "UnhealthyThresholdCount")?)
        .set_matcher(matcher(settings))
        .set_tags(Some(tags.collect()).filter(|tags: &Vec<_>| !tags.is_empty()));
    let made = request.send().await.map_err(|error| failed(&error))?;
    if made.target_groups().is_empty() {
        return Err(CallFailed::Unknown { why: "an answer without the group".to_owned() });
    }
    Ok(())
}
