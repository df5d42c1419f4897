//! The configuration of one load balancer in our words, and what a call does to it. No IO.
//!
//! A [`Snapshot`] is all that could be read; a [`Call`] is one write; [`Snapshot::apply`] says what the
//! configuration is after it. From these three come everything else: what a plan expects to find before
//! each step and after it, what a crash left half done, and the way back.
//!
//! What Elastic Load Balancing tells and we do not interpret stays in `rest` as it was told, so that it
//! is compared, shown and kept, and never written. A list that holds something of which nobody here
//! knows how it is written (an authentication action, an element newer than this program) is not written
//! either: the lists of Elastic Load Balancing are replaced whole (API reference, "`ModifyListener`"), so
//! what is not understood would be lost.

pub mod cure;
pub mod restore;
pub mod rungs;
pub mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::Timestamp;
use crate::ports::TargetState;

/// Target groups in one forward action at most (API reference, "`ForwardActionConfig`": 5).
const GROUPS_MAX: usize = 5;
/// The largest weight in a forward action (API reference, "`TargetGroupTuple`": 0 to 999).
pub const WEIGHT_MAX: u32 = 999;
/// An Application Load Balancer has subnets in at least so many zones (API reference, "`SetSubnets`").
pub const ZONES_MIN: usize = 2;

/// Something as the service told it: kept and compared, not interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tree {
    Text(String),
    List(Vec<Tree>),
    Fields(BTreeMap<String, Tree>),
}

impl Tree {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Fields(_) => None,
        }
    }

    pub fn field(&self, name: &str) -> Option<&Tree> {
        match self {
            Self::Fields(fields) => fields.get(name),
            Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The text of a field.
    pub fn said(&self, name: &str) -> Option<&str> {
        self.field(name).and_then(Self::text)
    }

    /// The members of a list; an empty element is an empty list.
    pub fn members(&self) -> &[Tree] {
        match self {
            Self::List(members) => members,
            Self::Text(_) | Self::Fields(_) => &[],
        }
    }
}

/// Everything that could be read of one load balancer at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub taken_at: Timestamp,
    pub aws_region: String,
    pub arn: String,
    /// The subnet of each zone.
    pub subnets: BTreeMap<String, String>,
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// By ARN.
    pub listeners: BTreeMap<String, Listener>,
    /// By name, which is unique in an account and region.
    pub groups: BTreeMap<String, Group>,
    pub rest: BTreeMap<String, Tree>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub port: u16,
    pub actions: Vec<Action>,
    /// By ARN; without the default rule, which is `actions`.
    pub rules: BTreeMap<String, Rule>,
    /// All of them, the default one included, sorted.
    pub certificates: Vec<Tree>,
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub rest: BTreeMap<String, Tree>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub priority: String,
    pub actions: Vec<Action>,
    pub tags: BTreeMap<String, String>,
    /// Conditions and transforms among them.
    pub rest: BTreeMap<String, Tree>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Forward(Forward),
    /// A redirect, a fixed response, or something that is not understood.
    Other {
        told: Tree,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub order: Option<String>,
    pub groups: Vec<Weighted>,
    /// As told. `None` also where the forward was told without weights, as of Network Load Balancers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stickiness: Option<Tree>,
    pub form: Form,
}

/// How a forward action is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One target group, no weights.
    Plain,
    Weighted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighted {
    pub group: String,
    /// 0 to 999; 1 where none is told.
    pub weight: u32,
}

/// What an element of a redirect or a fixed response may carry to be written back.
const REDIRECT: [&str; 6] = ["Protocol", "Port", "Host", "Path", "Query", "StatusCode"];
const FIXED: [&str; 3] = ["MessageBody", "StatusCode", "ContentType"];

/// The same lists with the target groups of each forward by name: in which order the service tells them is
/// documented nowhere, and says nothing.
pub fn in_order(mut actions: Vec<Action>) -> Vec<Action> {
    for action in &mut actions {
        if let Action::Forward(forward) = action {
            forward.groups.sort_by(|a, b| a.group.cmp(&b.group));
        }
    }
    actions
}

impl Action {
    /// Why this action cannot be written back, if it cannot.
    pub fn unwritable(&self) -> Option<String> {
        let told = match self {
            Self::Forward(_) => return None,
            Self::Other { told } => told,
        };
        let kind = told.said("Type").unwrap_or("no type");
        let (config, known): (&str, &[&str]) = match kind {
            "redirect" => ("RedirectConfig", &REDIRECT),
            "fixed-response" => ("FixedResponseConfig", &FIXED),
            _ => return Some(format!("an action `{kind}`")),
        };
        let unknown = |tree: &Tree, known: &[&str]| match tree {
            Tree::Fields(fields) => {
                fields.keys().find(|name| !known.contains(&name.as_str())).cloned()
            }
            Tree::Text(text) if text.is_empty() => None,
            Tree::Text(_) | Tree::List(_) => Some(config.to_owned()),
        };
        unknown(told, &["Type", "Order", config])
            .or_else(|| told.field(config).and_then(|inner| unknown(inner, known)))
            .map(|name| format!("`{name}` in an action `{kind}`"))
    }

    pub fn forward(&self) -> Option<&Forward> {
        match self {
            Self::Forward(forward) => Some(forward),
            Self::Other { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `None` while it is only planned.
    pub arn: Option<String>,
    /// Protocol, port, health check and so on, as told.
    pub settings: BTreeMap<String, Tree>,
    pub attributes: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub targets: BTreeSet<Target>,
    /// What its registrations hold that is not understood: none of them is written then.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub foreign: Vec<String>,
    /// As last told; no part of the configuration.
    pub health: Vec<Health>,
}

/// One registration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    pub id: String,
    pub port: Option<u16>,
    /// `None` where the service does not tell it, as of instances.
    pub zone: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.id.contains(':') => write!(f, "[{}]:{port}", self.id),
            Some(port) => write!(f, "{}:{port}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

impl Target {
    /// The same registration, whether or not its zone is told.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.port == other.port
    }

    /// Targets without a zone are one zone of their own.
    pub fn zone(&self) -> &str {
        self.zone.as_deref().unwrap_or("")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub target: Target,
    pub state: TargetState,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    BalancerAttributes { attributes: BTreeMap<String, String> },
    ListenerActions { listener: String, actions: Vec<Action> },
    RuleActions { listener: String, rule: String, actions: Vec<Action> },
    GroupSettings { group: String, settings: BTreeMap<String, Tree> },
    GroupAttributes { group: String, attributes: BTreeMap<String, String> },
    Register { group: String, targets: BTreeSet<Target> },
    Deregister { group: String, targets: BTreeSet<Target> },
    CreateGroup { group: String, settings: BTreeMap<String, Tree>, tags: BTreeMap<String, String> },
    DeleteGroup { group: String },
    Subnets { subnets: BTreeMap<String, String> },
}

impl Call {
    /// The operation of Elastic Load Balancing.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::BalancerAttributes { .. } => "ModifyLoadBalancerAttributes",
            Self::ListenerActions { .. } => "ModifyListener",
            Self::RuleActions { .. } => "ModifyRule",
            Self::GroupSettings { .. } => "ModifyTargetGroup",
            Self::GroupAttributes { .. } => "ModifyTargetGroupAttributes",
            Self::Register { .. } => "RegisterTargets",
            Self::Deregister { .. } => "DeregisterTargets",
            Self::CreateGroup { .. } => "CreateTargetGroup",
            Self::DeleteGroup { .. } => "DeleteTargetGroup",
            Self::Subnets { .. } => "SetSubnets",
        }
    }

    /// The target group that it changes.
    pub fn group(&self) -> Option<&String> {
        match self {
            Self::GroupSettings { group, .. }
            | Self::GroupAttributes { group, .. }
            | Self::Register { group, .. }
            | Self::Deregister { group, .. }
            | Self::CreateGroup { group, .. }
            | Self::DeleteGroup { group } => Some(group),
            Self::BalancerAttributes { .. }
            | Self::ListenerActions { .. }
            | Self::RuleActions { .. }
            | Self::Subnets { .. } => None,
        }
    }

    /// True if it takes targets out of a group.
    pub fn removes(&self) -> Option<(&str, &BTreeSet<Target>)> {
        match self {
            Self::Deregister { group, targets } => Some((group, targets)),
            Self::BalancerAttributes { .. }
            | Self::ListenerActions { .. }
            | Self::RuleActions { .. }
            | Self::GroupSettings { .. }
            | Self::GroupAttributes { .. }
            | Self::Register { .. }
            | Self::CreateGroup { .. }
            | Self::DeleteGroup { .. }
            | Self::Subnets { .. } => None,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.operation())?;
        let pairs = |pairs: &BTreeMap<String, String>| {
            pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        let told = |pairs: &BTreeMap<String, Tree>| {
            let one = |(key, value): (&String, &Tree)| format!("{key}={}", brief(value));
            pairs.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        let names = |targets: &BTreeSet<Target>| {
            targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::BalancerAttributes { attributes } => f.write_str(&pairs(attributes)),
            Self::ListenerActions { listener, actions } => {
                write!(f, "{} {}", tail(listener), spell(actions))
            }
            Self::RuleActions { rule, actions, .. } => {
                write!(f, "{} {}", tail(rule), spell(actions))
            }
            Self::GroupSettings { group, settings } => write!(f, "{group} {}", told(settings)),
            Self::GroupAttributes { group, attributes } => {
                write!(f, "{group} {}", pairs(attributes))
            }
            Self::Register { group, targets } | Self::Deregister { group, targets } => {
                write!(f, "{group} {}", names(targets))
            }
            Self::CreateGroup { group, settings, tags } => {
                write!(f, "{group} {} tags {}", told(settings), pairs(tags))
            }
            Self::DeleteGroup { group } => f.write_str(group),
            Self::Subnets { subnets } => f.write_str(&pairs(subnets)),
        }
    }
}

/// What follows the account in an ARN.
pub fn tail(arn: &str) -> &str {
    arn.splitn(6, ':').nth(5).unwrap_or(arn)
}

fn brief(tree: &Tree) -> String {
    match tree {
        Tree::Text(text) => text.clone(),
        Tree::List(members) => members.iter().map(brief).collect::<Vec<_>>().join(","),
        Tree::Fields(fields) => {
            let one = |(key, value): (&String, &Tree)| format!("{key}:{}", brief(value));
            format!("{{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(","))
        }
    }
}

/// A list of actions on one line.
pub fn spell(actions: &[Action]) -> String {
    let one = |action: &Action| match action {
        Action::Forward(forward) => {
            let weighted = |w: &Weighted| match forward.form {
                Form::Plain => w.group.clone(),
                Form::Weighted => format!("{}={}", w.group, w.weight),
            };
            let groups: Vec<String> = forward.groups.iter().map(weighted).collect();
            format!("forward({})", groups.join(" "))
        }
        Action::Other { told } => told.said("Type").unwrap_or("unknown").to_owned(),
    };
    actions.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// One field that is not the same in two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub place: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |text: &Option<String>| match text {
            Some(text) => format!("`{text}`"),
            None => "nothing".to_owned(),
        };
        write!(f, "{}: {} -> {}", self.place, said(&self.before), said(&self.after))
    }
}

impl Snapshot {
    /// Without what changes by itself (health) or is only ours (the time, the ARN of a group that was
    /// planned by name).
    fn plain(&self) -> Self {
        let mut plain = self.clone();
        plain.taken_at = Timestamp::from_secs(0);
        for group in plain.groups.values_mut() {
            group.health.clear();
            group.arn = None;
        }
        for listener in plain.listeners.values_mut() {
            listener.actions = in_order(std::mem::take(&mut listener.actions));
            for rule in listener.rules.values_mut() {
                rule.actions = in_order(std::mem::take(&mut rule.actions));
            }
        }
        plain
    }

    /// The configuration field by field.
    fn facts(&self) -> BTreeMap<String, String> {
        let plain = self.plain();
        let mut facts = BTreeMap::new();
        // Our own types always become JSON.
        if let Ok(Value::Object(mut fields)) = serde_json::to_value(&plain) {
            fields.remove("taken_at");
            walk("", &Value::Object(fields), &mut facts);
        }
        facts
    }

    /// What is not in `live` as `self` says. A group that `self` only plans (it has no ARN) may have
    /// attributes, settings and tags of which the plan knows nothing: defaults are told only afterwards.
    pub fn differences(&self, live: &Self) -> Vec<Difference> {
        // The usual case, and much cheaper than every field as text.
        if self.plain() == live.plain() {
            return Vec::new();
        }
        let (mut before, after) = (self.facts(), live.facts());
        let mut found = Vec::new();
        for (place, now) in after {
            let was = before.remove(&place);
            let new = was.is_none() && self.is_default_of_planned(&place);
            if was.as_ref() != Some(&now) && !new {
                found.push(Difference { place, before: was, after: Some(now) });
            }
        }
        let gone = before.into_iter().map(|(place, was)| Difference {
            place,
            before: Some(was),
            after: None,
        });
        found.extend(gone);
        found.sort_by(|a, b| a.place.cmp(&b.place));
        found
    }

    fn is_default_of_planned(&self, place: &str) -> bool {
        self.groups.iter().filter(|(_, group)| group.arn.is_none()).any(|(name, _)| {
            ["attributes", "settings", "tags"]
                .iter()
                .any(|part| place.starts_with(&format!("groups / {name} / {part} / ")))
        })
    }

    /// Every list of actions, with what it belongs to in words.
    pub fn action_lists(&self) -> Vec<(Holder<'_>, &[Action])> {
        let mut lists = Vec::new();
        for (arn, listener) in &self.listeners {
            lists.push((
                Holder { listener: arn, port: listener.port, rule: None },
                listener.actions.as_slice(),
            ));
            for (rule_arn, rule) in &listener.rules {
                let rule_of = Some((rule_arn.as_str(), rule.priority.as_str()));
                let holder = Holder { listener: arn, port: listener.port, rule: rule_of };
                lists.push((holder, rule.actions.as_slice()));
            }
        }
        lists
    }

    /// Whether requests can reach a group by some action with weight.
    pub fn is_used(&self, group: &str) -> bool {
        self.forwards().any(|forward| {
            forward.groups.iter().any(|weighted| weighted.group == group && weighted.weight > 0)
        })
    }

    /// The zones that a zonal shift, whoever began it, keeps requests away from.
    pub fn shifted_away(&self) -> impl Iterator<Item = &str> {
        let health = self.groups.values().flat_map(|group| &group.health);
        let away = health.filter(|health| health.state == TargetState::ShiftedAway);
        away.map(|health| health.target.zone())
    }

    /// Whether some action names a group, be it with weight 0: then its targets are checked.
    pub fn is_attached(&self, group: &str) -> bool {
        self.forwards().any(|forward| forward.groups.iter().any(|w| w.group == group))
    }

    pub fn forwards(&self) -> impl Iterator<Item = &Forward> {
        self.listeners.values().flat_map(|listener| {
            let rules = listener.rules.values().flat_map(|rule| &rule.actions);
            listener.actions.iter().chain(rules).filter_map(Action::forward)
        })
    }

    pub fn is_application(&self) -> bool {
        tail(&self.arn).starts_with("loadbalancer/app/")
    }

    /// What the configuration is after the call.
    ///
    /// # Errors
    ///
    /// In words, what the service would refuse it for. A list of actions that forwards to nothing is
    /// refused here even where the service would take it.
    pub fn apply(&mut self, call: &Call) -> Result<(), String> {
        match call {
            Call::BalancerAttributes { attributes } => self.attributes.extend(attributes.clone()),
            Call::ListenerActions { listener, actions } => {
                self.check_actions(actions)?;
                let found = self.listeners.get_mut(listener);
                let found = found.ok_or_else(|| format!("no listener {}", tail(listener)))?;
                found.actions = in_order(actions.clone());
            }
            Call::RuleActions { listener, rule, actions } => {
                self.check_actions(actions)?;
                let found =
                    self.listeners.get_mut(listener).and_then(|found| found.rules.get_mut(rule));
                let found = found.ok_or_else(|| format!("no rule {}", tail(rule)))?;
                found.actions = in_order(actions.clone());
            }
            Call::GroupSettings { group, settings } => {
                self.group_mut(group)?.settings.extend(settings.clone());
            }
            Call::GroupAttributes { group, attributes } => {
                self.group_mut(group)?.attributes.extend(attributes.clone());
            }
            Call::Register { group, targets } => {
                let state = if self.is_attached(group) {
                    TargetState::Initial
                } else {
                    TargetState::Unused
                };
                let group = self.group_mut(group)?;
                for target in targets {
                    group.health.retain(|health| !health.target.is(target));
                    group.health.push(Health { target: target.clone(), state });
                    group.targets.insert(target.clone());
                }
            }
            Call::Deregister { group, targets } => {
                let group = self.group_mut(group)?;
                group.targets.retain(|known| !targets.iter().any(|target| target.is(known)));
                for health in &mut group.health {
                    if targets.iter().any(|target| target.is(&health.target)) {
                        health.state = TargetState::Draining;
                    }
                }
            }
            Call::CreateGroup { group, settings, tags } => {
                if self.groups.contains_key(group) {
                    return Err(format!("there is a target group `{group}`"));
                }
                let made = Group {
                    arn: None,
                    settings: settings.clone(),
                    attributes: BTreeMap::new(),
                    tags: tags.clone(),
                    targets: BTreeSet::new(),
                    foreign: Vec::new(),
                    health: Vec::new(),
                };
                self.groups.insert(group.clone(), made);
            }
            Call::DeleteGroup { group } => {
                self.group_mut(group)?;
                if self.is_attached(group) {
                    return Err(format!("target group `{group}` is in use"));
                }
                self.groups.remove(group);
            }
            Call::Subnets { subnets } => {
                if subnets.len() < ZONES_MIN {
                    return Err(format!("{} zones, {ZONES_MIN} are needed", subnets.len()));
                }
                self.subnets.clone_from(subnets);
            }
        }
        Ok(())
    }

    /// Whether it is as if the call had just been made.
    pub fn shows(&self, call: &Call) -> bool {
        let gone = call.group().is_some_and(|group| !self.groups.contains_key(group));
        if let Call::DeleteGroup { .. } = call {
            return gone;
        }
        let mut after = self.clone();
        (gone && call.removes().is_some())
            || (after.apply(call).is_ok() && after.differences(self).is_empty())
    }

    fn group_mut(&mut self, name: &str) -> Result<&mut Group, String> {
        self.groups.get_mut(name).ok_or_else(|| format!("no target group `{name}`"))
    }

    fn check_actions(&self, actions: &[Action]) -> Result<(), String> {
        if actions.is_empty() {
            return Err("a list without an action".to_owned());
        }
        for forward in actions.iter().filter_map(Action::forward) {
            if forward.groups.iter().all(|weighted| weighted.weight == 0) {
                return Err("a forward to nothing".to_owned());
            }
            if forward.groups.len() > GROUPS_MAX {
                return Err(format!("a forward to more than {GROUPS_MAX} target groups"));
            }
            for weighted in &forward.groups {
                if !self.groups.contains_key(&weighted.group) {
                    return Err(format!("a forward to `{}`, which is not there", weighted.group));
                }
                if weighted.weight > WEIGHT_MAX {
                    return Err(format!("a weight of {}", weighted.weight));
                }
            }
        }
        Ok(())
    }
}

/// What a list of actions belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder<'a> {
    pub listener: &'a str,
    pub port: u16,
    /// ARN and priority; `None` for the listener's default actions.
    pub rule: Option<(&'a str, &'a str)>,
}

impl Holder<'_> {
    pub fn write(&self, actions: Vec<Action>) -> Call {
        let listener = self.listener.to_owned();
        match self.rule {
            None => Call::ListenerActions { listener, actions },
            Some((rule, _)) => Call::RuleActions { listener, rule: rule.to_owned(), actions },
        }
    }
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            None => write!(f, "the default action of listener {}", self.port),
            Some((_, priority)) => write!(f, "rule {priority} of listener {}", self.port),
        }
    }
}

impl Group {
    /// Healthy registrations, by zone.
    pub fn healthy(&self) -> BTreeMap<String, usize> {
        let mut zones = BTreeMap::new();
        for target in self.targets.iter().filter(|target| self.is_healthy(target)) {
            *zones.entry(target.zone().to_owned()).or_default() += 1;
        }
        zones
    }

    pub fn is_healthy(&self, target: &Target) -> bool {
        self.state(target) == Some(TargetState::Healthy)
    }

    pub fn state(&self, target: &Target) -> Option<TargetState> {
        self.health.iter().find(|health| health.target.is(target)).map(|health| health.state)
    }
}

fn walk(place: &str, value: &Value, facts: &mut BTreeMap<String, String>) {
    let below = |name: &str| {
        if place.is_empty() { name.to_owned() } else { format!("{place} / {name}") }
    };
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                walk(&below(tail(name)), inner, facts);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                // A registration is a member of a set: where it stands among the others says nothing.
                match serde_json::from_value::<Target>(item.clone()) {
                    Ok(target) if place.ends_with("targets") => {
                        // Where it is follows from its address, but for "everywhere".
                        let all = target.zone() == "all";
                        let said = if all { "registered in all zones" } else { "registered" };
                        facts.insert(below(&target.to_string()), said.to_owned());
                    }
                    Ok(_) | Err(_) => walk(&below(&(at + 1).to_string()), item, facts),
                }
            }
        }
        Value::String(text) => {
            facts.insert(place.to_owned(), text.clone());
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => {
            facts.insert(place.to_owned(), value.to_string());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
