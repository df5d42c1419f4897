//! A stand-in for a cluster of routing controls (ARC), for which no test server exists: the shapes and
//! refusals of the service model (`route53-recovery-cluster`, JSON 1.0, target prefix
//! `ToggleCustomerAPI`), atomic updates, safety rules and their wait period, a quota for writes.
//!
//! The texts of refusals are made up; the model has only their codes and statuses. That the rule's ARN
//! is in the text is second-hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::{self, Message};
use super::proxy::Proxy;

pub(crate) const UPDATE: &str = "UpdateRoutingControlStates";
pub(crate) const GET: &str = "GetRoutingControlState";

/// Where the endpoints of the cluster are: any five will do.
pub(crate) const REGIONS: [&str; 5] =
    ["ap-northeast-1", "ap-southeast-2", "eu-west-1", "us-east-1", "us-west-2"];

const PANEL: &str = "arn:aws:route53-recovery-control::111122223333:controlpanel/\
                     0123456789abcdef0123456789abcdef";
const ENTRIES_MAX: usize = 10;
const WRITES_PER_SECOND: usize = 3;

/// The ARN of a routing control, by a name of ours.
pub(crate) fn control(name: &str) -> String {
    format!("{PANEL}/routingcontrol/{name}")
}

pub(crate) fn rule(name: &str) -> String {
    format!("{PANEL}/safetyrule/{name}")
}

/// `RuleConfig` of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// `ATLEAST` with this threshold.
    AtLeast(usize),
    /// `AND`
    All,
    /// `OR`
    Any,
}

impl Demand {
    fn holds(self, on: usize, of: usize) -> bool {
        match self {
            Self::AtLeast(threshold) => on >= threshold,
            Self::All => on == of,
            Self::Any => on > 0,
        }
    }
}

/// A safety rule. `gates` is empty for an assertion, which is about the controls that it guards.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) guarded: Vec<String>,
    pub(crate) gates: Vec<String>,
    pub(crate) demand: Demand,
    pub(crate) inverted: bool,
    pub(crate) wait: Duration,
}

impl Rule {
    pub(crate) fn assertion(name: &str, guarded: &[&str], demand: Demand) -> Self {
        Self {
            name: name.to_owned(),
            guarded: guarded.iter().map(|name| control(name)).collect(),
            gates: Vec::new(),
            demand,
            inverted: false,
            wait: Duration::ZERO,
        }
    }
}

/// An update that was taken: what it said, and whether it changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) states: BTreeMap<String, bool>,
    pub(crate) changed: bool,
    pub(crate) overridden: Vec<String>,
}

#[derive(Default)]
struct State {
    on: BTreeMap<String, bool>,
    rules: Vec<Rule>,
    changed_at: BTreeMap<String, Instant>,
    writes: VecDeque<Instant>,
    taken: Vec<Taken>,
    /// After each update: how many controls were on.
    on_after: Vec<usize>,
}

/// Five endpoints, each behind a proxy of its own, before one state. Ends when dropped.
pub(crate) struct Cluster {
    pub(crate) endpoints: Vec<Proxy>,
    state: Arc<Mutex<State>>,
    _server: http::Server,
}

impl Cluster {
    /// With these controls, of which those with `true` are on.
    pub(crate) async fn start(controls: &[(&str, bool)]) -> Self {
        let on = controls.iter().map(|(name, on)| (control(name), *on)).collect();
        let state = Arc::new(Mutex::new(State { on, ..State::default() }));
        let shared = Arc::clone(&state);
        let server = http::Server::start(move |request| Some(answer(request, &shared))).await;
        let mut endpoints = Vec::new();
        for _ in REGIONS {
            endpoints.push(Proxy::start(server.port).await);
        }
        Self { endpoints, state, _server: server }
    }

    pub(crate) fn add(&self, rule: Rule) {
        self.state.lock().unwrap().rules.push(rule);
    }

    /// Region and address of each endpoint, as a policy names them.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let named = |(region, proxy): (&&str, &Proxy)| ((*region).to_owned(), proxy.url());
        REGIONS.iter().zip(&self.endpoints).map(named).collect()
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.state.lock().unwrap().on[&control(name)]
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.state.lock().unwrap().taken.clone()
    }

    /// Updates that really changed something.
    pub(crate) fn changes(&self) -> usize {
        self.taken().iter().filter(|taken| taken.changed).count()
    }

    pub(crate) fn fewest_on(&self) -> usize {
        self.state.lock().unwrap().on_after.iter().copied().min().unwrap_or(usize::MAX)
    }

    /// Requests of this kind, over all endpoints.
    pub(crate) fn count(&self, action: &str) -> usize {
        self.endpoints.iter().map(|endpoint| endpoint.count(action)).sum()
    }

    /// Somebody else sets a control, past the endpoints.
    pub(crate) fn set(&self, name: &str, on: bool) {
        self.state.lock().unwrap().on.insert(control(name), on);
    }
}

/// Status, code, message, and what else is in the document.
type Refusal = (u16, &'static str, String, Value);

fn refusal(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    (status, code, message.into(), json!({}))
}

fn answer(request: &Message, state: &Mutex<State>) -> Message {
    let target = request.header("x-amz-target").unwrap_or_default();
    assert_eq!(request.header("content-type"), Some("application/x-amz-json-1.0"), "{request:?}");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let mut state = state.lock().unwrap();
    let told = match target.strip_prefix("ToggleCustomerAPI.") {
        Some(GET) => state.get(&body),
        Some(UPDATE) => state.update(&body),
        Some(_) | None => Err(refusal(400, "ValidationException", format!("{target}?"))),
    };
    let (status, document) = match told {
        Ok(document) => (200, document),
        Err((status, code, message, mut document)) => {
            document["__type"] = json!(format!("com.amazonaws.routingcontrol#{code}"));
            document["message"] = json!(message);
            (status, document)
        }
    };
    Message::answer(status, "application/x-amz-json-1.0", document.to_string())
}

impl State {
    fn get(&self, asked: &Value) -> Result<Value, Refusal> {
        let arn = asked["RoutingControlArn"].as_str().unwrap_or_default();
        let on = self.on.get(arn).ok_or_else(|| not_found(arn))?;
        let state = if *on { "On" } else { "Off" };
        Ok(json!({ "RoutingControlArn": arn, "RoutingControlState": state }))
    }

    fn update(&mut self, asked: &Value) -> Result<Value, Refusal> {
        let now = Instant::now();
        self.writes.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
        if self.writes.len() >= WRITES_PER_SECOND {
            let mut throttled = refusal(429, "ThrottlingException", "Rate exceeded");
            throttled.3 = json!({ "retryAfterSeconds": 1 });
            return Err(throttled);
        }
        self.writes.push_back(now);
        let entries = asked["UpdateRoutingControlStateEntries"].as_array().cloned();
        let entries = entries.unwrap_or_default();
        if entries.is_empty() {
            return Err(refusal(400, "ValidationException", "no entry"));
        }
        if entries.len() > ENTRIES_MAX {
            return Err(refusal(402, "ServiceLimitExceededException", "more than 10 entries"));
        }
        let mut states = BTreeMap::new();
        for entry in &entries {
            let arn = entry["RoutingControlArn"].as_str().unwrap_or_default();
            let on = match entry["RoutingControlState"].as_str() {
                Some("On") => true,
                Some("Off") => false,
                _ => return Err(refusal(400, "ValidationException", "no state")),
            };
            if !self.on.contains_key(arn) {
                return Err(not_found(arn));
            }
            states.insert(arn.to_owned(), on);
        }
        let overridden = asked["SafetyRulesToOverride"].as_array().cloned().unwrap_or_default();
        let overridden: Vec<String> =
            overridden.iter().filter_map(|arn| arn.as_str().map(str::to_owned)).collect();
        for arn in &overridden {
            if !self.rules.iter().any(|known| rule(&known.name) == *arn) {
                return Err(not_found(arn));
            }
        }
        for known in &self.rules {
            if !overridden.contains(&rule(&known.name)) {
                self.check(known, &states, now)?;
            }
        }
        let changed: Vec<String> = states
            .iter()
            .filter(|(arn, on)| self.on[*arn] != **on)
            .map(|(a, _)| a.clone())
            .collect();
        for arn in &changed {
            self.changed_at.insert(arn.clone(), now);
        }
        self.taken.push(Taken { states: states.clone(), changed: !changed.is_empty(), overridden });
        self.on.extend(states);
        self.on_after.push(self.on.values().filter(|on| **on).count());
        Ok(json!({}))
    }

    fn check(
        &self,
        rule_of: &Rule,
        states: &BTreeMap<String, bool>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let touched = |arn: &&String| states.get(*arn).is_some_and(|on| self.on[*arn] != *on);
        let arn = rule(&rule_of.name);
        if !rule_of.guarded.iter().any(|control| touched(&control)) {
            return Ok(());
        }
        let waits = rule_of.guarded.iter().filter_map(|control| self.changed_at.get(control));
        if waits.into_iter().any(|at| now.duration_since(*at) < rule_of.wait) {
            return Err(refusal(409, "ConflictException", format!("{arn} waits between changes")));
        }
        let asserted = rule_of.gates.is_empty();
        let counted = if asserted { &rule_of.guarded } else { &rule_of.gates };
        let on = counted.iter().filter(|control| {
            states.get(*control).filter(|_| asserted).copied().unwrap_or(self.on[*control])
        });
        if rule_of.demand.holds(on.count(), counted.len()) == rule_of.inverted {
            return Err(refusal(409, "ConflictException", format!("{arn} would not be satisfied")));
        }
        Ok(())
    }
}

fn not_found(arn: &str) -> Refusal {
    refusal(404, "ResourceNotFoundException", format!("{arn} does not exist"))
}
