//! A load balancer's configuration: from what was said on the wire to our words, and from ours to the SDK's.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types as elb;

use super::convert::{is_shifted, target_state};
use crate::balancer::{
    Action, Form, Forward, Group, Health, Listener, Rule, Target, Tree, Weighted, in_order, tail,
};
use crate::ports::{CallFailed, TargetState};

/// Told of every target group, and changing with what it is attached to.
const GROUP_NOT_OWN: [&str; 3] = ["TargetGroupArn", "TargetGroupName", "LoadBalancerArns"];
/// What is understood of a registration.
const TARGET: [&str; 3] = ["Id", "Port", "AvailabilityZone"];

/// The fields of an element without some, and without empty ones: `<X/>` says as much as nothing.
fn rest(told: &Tree, without: &[&str]) -> BTreeMap<String, Tree> {
    let Tree::Fields(fields) = told else { return BTreeMap::new() };
    let empty = |value: &Tree| matches!(value, Tree::Text(text) if text.trim().is_empty());
    fields
        .iter()
        .filter(|(name, value)| !without.contains(&name.as_str()) && !empty(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn needed(told: &Tree, name: &str) -> Result<String, CallFailed> {
    told.said(name)
        .filter(|said| !said.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| CallFailed::Unknown { why: format!("an answer without `{name}`") })
}

/// `<Attributes><member><Key/><Value/></member></Attributes>`, and tags likewise.
pub(super) fn pairs(list: Option<&Tree>) -> BTreeMap<String, String> {
    let pair = |member: &Tree| {
        let value = member.said("Value").unwrap_or_default().to_owned();
        Some((member.said("Key")?.to_owned(), value))
    };
    list.map(Tree::members).unwrap_or_default().iter().filter_map(pair).collect()
}

/// By zone.
pub(super) type Subnets = BTreeMap<String, String>;
/// What is not interpreted, by its name.
pub(super) type Rest = BTreeMap<String, Tree>;

/// The subnets by zone, and everything else of a balancer.
pub(super) fn balancer(told: &Tree) -> Result<(Subnets, Rest), CallFailed> {
    let mut subnets = BTreeMap::new();
    let mut rest = rest(told, &["AvailabilityZones", "State", "CreatedTime", "LoadBalancerArn"]);
    // Sets, whatever the order in which they are told.
    if let Some(Tree::List(members)) = rest.get_mut("SecurityGroups") {
        members.sort_by_key(|member| format!("{member:?}"));
    }
    for zone in told.field("AvailabilityZones").map(Tree::members).unwrap_or_default() {
        let name = needed(zone, "ZoneName")?;
        let more = self::rest(zone, &["ZoneName", "SubnetId"]);
        if !more.is_empty() {
            rest.insert(format!("AvailabilityZones {name}"), Tree::Fields(more));
        }
        subnets.insert(name, needed(zone, "SubnetId")?);
    }
    Ok((subnets, rest))
}

pub(super) fn listener(told: &Tree) -> Result<(String, Listener), CallFailed> {
    let port = needed(told, "Port")?;
    let port = port.parse().map_err(|_| CallFailed::Unknown {
        why: format!("`{port}` is not the port of a listener"),
    })?;
    let listener = Listener {
        port,
        actions: actions(told.field("DefaultActions")),
        rules: BTreeMap::new(),
        certificates: Vec::new(),
        attributes: BTreeMap::new(),
        tags: BTreeMap::new(),
        rest: rest(told, &["ListenerArn", "LoadBalancerArn", "Port", "DefaultActions"]),
    };
    Ok((needed(told, "ListenerArn")?, listener))
}

/// `None` for the default rule, which is the listener's default action told again.
pub(super) fn rule(told: &Tree) -> Result<Option<(String, Rule)>, CallFailed> {
    if told.said("IsDefault") == Some("true") || told.said("Priority") == Some("default") {
        return Ok(None);
    }
    let rule = Rule {
        priority: needed(told, "Priority")?,
        actions: actions(told.field("Actions")),
        tags: BTreeMap::new(),
        rest: rest(told, &["RuleArn", "Priority", "Actions"]),
    };
    Ok(Some((needed(told, "RuleArn")?, rule)))
}

fn actions(list: Option<&Tree>) -> Vec<Action> {
    let as_told =
        |told: &Tree| forward(told).unwrap_or_else(|| Action::Other { told: told.clone() });
    in_order(list.map(Tree::members).unwrap_or_default().iter().map(as_told).collect())
}

/// A forward of which every field is understood.
fn forward(told: &Tree) -> Option<Action> {
    let only = |tree: &Tree, known: &[&str]| rest(tree, known).is_empty();
    if told.said("Type") != Some("forward")
        || !only(told, &["Type", "Order", "TargetGroupArn", "ForwardConfig"])
    {
        return None;
    }
    let order = told.said("Order").map(str::to_owned);
    let config = told.field("ForwardConfig").filter(|config| matches!(config, Tree::Fields(_)));
    let Some(config) = config else {
        let groups = vec![Weighted { group: group_name(told.said("TargetGroupArn")?)?, weight: 1 }];
        return Some(Action::Forward(Forward {
            order,
            groups,
            stickiness: None,
            form: Form::Plain,
        }));
    };
    if !only(config, &["TargetGroups", "TargetGroupStickinessConfig"]) {
        return None;
    }
    let mut groups = Vec::new();
    for tuple in config.field("TargetGroups").map(Tree::members).unwrap_or_default() {
        if !only(tuple, &["TargetGroupArn", "Weight"]) {
            return None;
        }
        let weight = match tuple.said("Weight") {
            None | Some("") => 1,
            Some(weight) => weight.parse().ok()?,
        };
        groups.push(Weighted { group: group_name(tuple.said("TargetGroupArn")?)?, weight });
    }
    let stickiness = config.field("TargetGroupStickinessConfig");
    if stickiness.is_some_and(|told| !only(told, &["Enabled", "DurationSeconds"])) {
        return None;
    }
    let stickiness = stickiness.filter(|told| matches!(told, Tree::Fields(_))).cloned();
    (!groups.is_empty()).then_some(Action::Forward(Forward {
        order,
        groups,
        stickiness,
        form: Form::Weighted,
    }))
}

/// `web` of `arn:...:targetgroup/web/73e2d6bc24d8a067`.
pub(super) fn group_name(arn: &str) -> Option<String> {
    let mut parts = tail(arn).split('/');
    (parts.next() == Some("targetgroup")).then(|| parts.next().map(str::to_owned)).flatten()
}

pub(super) fn group(told: &Tree) -> Result<(String, Group), CallFailed> {
    let group = Group {
        arn: Some(needed(told, "TargetGroupArn")?),
        settings: rest(told, &GROUP_NOT_OWN),
        attributes: BTreeMap::new(),
        tags: BTreeMap::new(),
        targets: BTreeSet::new(),
        foreign: Vec::new(),
        health: Vec::new(),
    };
    Ok((needed(told, "TargetGroupName")?, group))
}

/// Puts the registrations and their health into the group. A target that drains is no longer registered.
pub(super) fn health(group: &mut Group, told: &Tree) -> Result<(), CallFailed> {
    for member in told.field("TargetHealthDescriptions").map(Tree::members).unwrap_or_default() {
        let nothing = Tree::Text(String::new());
        let described = member.field("Target").unwrap_or(&nothing);
        let health = member.field("TargetHealth").unwrap_or(&nothing);
        let target = Target {
            id: needed(described, "Id")?,
            port: described.said("Port").and_then(|port| port.parse().ok()),
            zone: described
                .said("AvailabilityZone")
                .filter(|zone| !zone.is_empty())
                .map(str::to_owned),
        };
        let told = health.said("State").map_or(TargetState::Other, target_state);
        let shift = member.field("AdministrativeOverride").and_then(|shift| shift.said("State"));
        let is_away = told == TargetState::Healthy && shift.is_some_and(is_shifted);
        let state = if is_away { TargetState::ShiftedAway } else { told };
        let gone =
            state == TargetState::Draining || health.said("Reason") == Some("Target.NotRegistered");
        if !gone {
            group.targets.insert(target.clone());
            group.foreign.extend(rest(described, &TARGET).into_keys());
        }
        group.health.push(Health { target, state });
    }
    Ok(())
}

/// Actions as the SDK writes them. Those that cannot be written whole are refused by name.
pub(super) fn written(
    actions: &[Action],
    arn: impl Fn(&str) -> Result<String, CallFailed>,
) -> Result<Vec<elb::Action>, CallFailed> {
    actions.iter().map(|action| self::action(action, &arn)).collect()
}

fn refused(why: String) -> CallFailed {
    CallFailed::Refused { code: "NotUnderstood".to_owned(), why }
}

pub(super) fn number(text: &str, what: &str) -> Result<i32, CallFailed> {
    text.parse().map_err(|_| refused(format!("`{text}` is not a number, as {what} should be")))
}

fn action(
    action: &Action,
    arn: &impl Fn(&str) -> Result<String, CallFailed>,
) -> Result<elb::Action, CallFailed> {
    if let Some(what) = action.unwritable() {
        return Err(refused(format!("{what} cannot be written back")));
    }
    let order = |order: Option<&str>| order.map(|text| number(text, "an order")).transpose();
    match action {
        Action::Forward(forward) => {
            let mut built = elb::Action::builder()
                .r#type(elb::ActionTypeEnum::Forward)
                .set_order(order(forward.order.as_deref())?);
            match (forward.form, forward.groups.as_slice()) {
                (Form::Plain, [only]) => built = built.target_group_arn(arn(&only.group)?),
                (Form::Plain | Form::Weighted, _) => {
                    built = built.forward_config(forward_config(forward, arn)?);
                }
            }
            Ok(built.build())
        }
        Action::Other { told } => {
            let text = |config: &Tree, name: &str| {
                config.said(name).filter(|said| !said.is_empty()).map(str::to_owned)
            };
            let built = elb::Action::builder().set_order(order(told.said("Order"))?);
            let built = match (told.field("RedirectConfig"), told.field("FixedResponseConfig")) {
                (Some(config), _) => {
                    let status = text(config, "StatusCode");
                    let redirect = elb::RedirectActionConfig::builder()
                        .set_protocol(text(config, "Protocol"))
                        .set_port(text(config, "Port"))
                        .set_host(text(config, "Host"))
                        .set_path(text(config, "Path"))
                        .set_query(config.said("Query").map(str::to_owned))
                        .set_status_code(status.map(|s| s.as_str().into()));
                    built.r#type(elb::ActionTypeEnum::Redirect).redirect_config(redirect.build())
                }
                (None, Some(config)) => {
                    let response = elb::FixedResponseActionConfig::builder()
                        .set_message_body(config.said("MessageBody").map(str::to_owned))
                        .set_status_code(text(config, "StatusCode"))
                        .set_content_type(text(config, "ContentType"));
                    built
                        .r#type(elb::ActionTypeEnum::FixedResponse)
                        .fixed_response_config(response.build())
                }
                (None, None) => return Err(refused("an action without its settings".to_owned())),
            };
            Ok(built.build())
        }
    }
}

fn forward_config(
    forward: &Forward,
    arn: &impl Fn(&str) -> Result<String, CallFailed>,
) -> Result<elb::ForwardActionConfig, CallFailed> {
    let mut config = elb::ForwardActionConfig::builder();
    for weighted in &forward.groups {
        let weight = i32::try_from(weighted.weight).unwrap_or(i32::MAX);
        config = config.target_groups(
            elb::TargetGroupTuple::builder()
                .target_group_arn(arn(&weighted.group)?)
                .weight(weight)
                .build(),
        );
    }
    if let Some(told) = &forward.stickiness {
        let seconds = told.said("DurationSeconds").filter(|said| !said.is_empty());
        let seconds = seconds.map(|said| number(said, "a duration")).transpose()?;
        let stickiness = elb::TargetGroupStickinessConfig::builder()
            .set_enabled(told.said("Enabled").map(|said| said == "true"))
            .set_duration_seconds(seconds);
        config = config.target_group_stickiness_config(stickiness.build());
    }
    Ok(config.build())
}

pub(super) fn descriptions(
    targets: &BTreeSet<Target>,
    by_address: bool,
) -> Vec<elb::TargetDescription> {
    targets
        .iter()
        .map(|target| {
            // Only addresses take a zone (API reference, "`TargetDescription`").
            let zone = target.zone.clone().filter(|_| by_address);
            elb::TargetDescription::builder()
                .id(&target.id)
                .set_port(target.port.map(i32::from))
                .set_availability_zone(zone)
                .build()
        })
        .collect()
}
