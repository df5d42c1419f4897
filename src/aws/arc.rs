//! Routing controls of Amazon Application Recovery Controller (ARC), over the endpoints of their cluster.
//!
//! A cluster has five endpoints in five regions and answers as long as three of those are up (Developer
//! Guide, "About ARC components"). Any one of them may be the dead one, so: a random one first, all of
//! them tried, each with a short time-out of ours and no retry of the SDK's (Developer Guide, "Best
//! practices for routing control"; the same page says to keep endpoints and ARNs at hand, since looking
//! them up needs the control plane). Nothing here needs any other region or service.
//!
//! A switch says what it is when asked, and setting it twice does no harm. Hence the way: look, write
//! what differs to the endpoint that answered, look again. The second look is no luxury: the SDK does
//! not read the body of a successful update, so that any answer with status 200, whoever it came from,
//! looks like success.
//!
//! Never tried on a real cluster. The signing region is that of the endpoint, as in AWS's sample code;
//! the text of the service's model names `us-west-2` for all of them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::Region;
use aws_sdk_route53recoverycluster::Client;
use aws_sdk_route53recoverycluster::config::Builder;
use aws_sdk_route53recoverycluster::types::{RoutingControlState, UpdateRoutingControlStateEntry};
use aws_smithy_types::retry::RetryConfig;
use futures_util::StreamExt as _;
use futures_util::future::{join_all, try_join_all};
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout};

use super::fail::failed;
use super::pace::Recent;
use super::{Base, Call, Service};
use crate::domain::{InAnswers, RegionName, Turn};
use crate::policy::ArcLever;
use crate::ports::{CallFailed, ControlFacts, Switches};

/// AWS allows three mutating calls per second and cluster endpoint (Developer Guide, "Quotas for
/// routing control"). We keep to it for the cluster as a whole; a second as it may look to the other end, where
/// calls arrive closer together than they were sent.
pub(super) fn writes() -> Recent {
    Recent::new(3, Duration::from_millis(1100))
}

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &[
    "route53-recovery-cluster:GetRoutingControlState",
    "route53-recovery-cluster:UpdateRoutingControlStates",
];

/// Those of them that change nothing.
pub(super) const READS: &[&str] = &["route53-recovery-cluster:GetRoutingControlState"];

/// Of one `UpdateRoutingControlStates` (Developer Guide, "Quotas for routing control").
const CONTROLS_PER_CALL_MAX: usize = 10;

/// What the service says when a safety rule, or the time that it takes between two changes, forbids one.
const CONFLICT: &str = "ConflictException";

/// Refusals that every endpoint would repeat, as they are about the request. Whatever else is refused
/// may be the fault of the endpoint that refused it: permissions are checked in its own region.
const ABOUT_THE_REQUEST: [&str; 2] = ["ValidationException", "ServiceLimitExceededException"];

/// Which of so many endpoints comes first. Chance comes in from outside, so that a test can choose.
#[derive(Clone)]
pub struct Dice(Arc<dyn Fn(usize) -> usize + Send + Sync>);

impl Dice {
    pub fn new(roll: impl Fn(usize) -> usize + Send + Sync + 'static) -> Self {
        Self(Arc::new(roll))
    }

    fn roll(&self, sides: usize) -> usize {
        (self.0)(sides) % sides.max(1)
    }
}

impl Default for Dice {
    fn default() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _, RandomState};
        // A new `RandomState` is keyed at random: the one source of chance in the standard library.
        Self::new(|sides| {
            let drawn = RandomState::new().build_hasher().finish() >> 16;
            usize::try_from(drawn).unwrap_or(0) % sides.max(1)
        })
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dice")
    }
}

/// What is needed of a cluster to turn the switches of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSpec {
    /// AWS region and address of each endpoint, as `DescribeCluster` tells them.
    pub endpoints: Vec<(String, String)>,
    /// The routing control of each region, by ARN.
    pub controls: BTreeMap<RegionName, String>,
    /// ARNs of safety rules that may be overridden when they stand in the way, and only then.
    pub overrides: Vec<String>,
}

impl From<&ArcLever> for ClusterSpec {
    fn from(lever: &ArcLever) -> Self {
        let endpoints = lever.endpoints.iter().map(|(region, url)| (region.clone(), url.clone()));
        Self {
            endpoints: endpoints.collect(),
            controls: lever.controls.clone(),
            overrides: lever.override_rules.clone(),
        }
    }
}

/// The switches of one service.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    clients: Vec<Client>,
    /// Shared with the other services of the same cluster.
    writes: Arc<Recent>,
    dice: Dice,
    limits: super::Timeouts,
}

/// How the controls of the service stand, and who said so.
struct Seen {
    states: BTreeMap<RegionName, InAnswers>,
    endpoint: usize,
}

/// The regions of one call, and where each is to stand.
type Turns = [(RegionName, InAnswers)];

impl Cluster {
    pub(super) fn new(base: &Base, spec: ClusterSpec, writes: Arc<Recent>) -> Self {
        let client = |(region, url): &(String, String)| {
            let url = base.settings.endpoint(Service::RecoveryCluster, region).unwrap_or(url);
            let config = Builder::from(&base.sdk)
                .region(Region::new(region.clone()))
                .endpoint_url(url)
                .retry_config(RetryConfig::disabled())
                .timeout_config(base.timeouts(Call::Switch));
            Client::from_conf(config.build())
        };
        let clients = spec.endpoints.iter().map(client).collect();
        let (dice, limits) = (base.settings.dice.clone(), base.settings.timeouts);
        Self { spec, clients, writes, dice, limits }
    }

    /// How all controls stand, from the first endpoint that tells.
    pub async fn states(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        let first = self.dice.roll(self.clients.len());
        self.look(first).await.map(|seen| seen.states)
    }

    /// How all controls stand by each endpoint, all of them asked at once. Turns nothing.
    pub(super) async fn by_endpoint(&self) -> ControlFacts {
        let clients = self.spec.endpoints.iter().zip(&self.clients);
        let told = clients.map(async |((aws_region, _), client)| {
            let controls = self.spec.controls.iter();
            let told =
                controls.map(async |(region, arn)| (region.clone(), state(client, arn).await));
            (aws_region.clone(), join_all(told).await.into_iter().collect())
        });
        join_all(told).await.into_iter().collect()
    }

    /// Turns switches, and says `Ok` only when they were seen to stand as asked.
    ///
    /// Up to ten of them move in one transaction. More take several, those that are turned on first, so
    /// that at no moment everything is off.
    pub async fn set(&self, turns: &Turns) -> Result<(), CallFailed> {
        let mut ordered = turns.to_vec();
        // `In` sorts before `Out`.
        ordered.sort_by_key(|(_, to)| *to);
        let calls = ordered.chunks(CONTROLS_PER_CALL_MAX);
        let of = calls.len();
        for (place, call) in calls.enumerate() {
            self.transaction(call).await.map_err(|failure| match failure {
                failure if place == 0 => failure,
                failure => CallFailed::Unknown {
                    why: format!("{place} of {of} calls are done, then: {failure}"),
                },
            })?;
        }
        Ok(())
    }

    async fn transaction(&self, turns: &Turns) -> Result<(), CallFailed> {
        let began = Instant::now();
        let first = self.dice.roll(self.clients.len());
        // Nothing was sent yet, whatever became of the question.
        let seen = self.look(first).await.map_err(|failure| {
            if failure.nothing_happened() {
                return failure;
            }
            CallFailed::NotSent { why: failure.to_string() }
        })?;
        if stands(&seen, turns) {
            return Ok(());
        }
        keeps_something_on(&seen, turns)?;
        let mut untried = self.from(seen.endpoint);
        let mut failures = Failures::default();
        let mut overriding = false;
        while let Some(endpoint) = untried.pop_front() {
            let left = self.limits.switch_whole.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            if timeout(left, self.writes.turn()).await.is_err() {
                let why = "other calls to this cluster took the whole pace".to_owned();
                failures.add(self.name(endpoint), CallFailed::NotSent { why });
                break;
            }
            let rules = if overriding { self.spec.overrides.as_slice() } else { &[] };
            let answer = self.update(endpoint, turns, rules).await;
            let taken = answer.is_ok();
            let failure = match answer {
                Ok(()) => CallFailed::Unknown { why: "taken, but not seen".to_owned() },
                Err(failure) => failure,
            };
            let conflict = is_refused_for(&failure, &[CONFLICT]);
            if conflict || !failure.nothing_happened() {
                // What was lost may have landed, and what conflicts may be there already. Whoever took
                // it is asked first, whoever lost it last.
                let next = if taken { Some(endpoint) } else { untried.front().copied() };
                let next = next.unwrap_or(endpoint);
                match self.look(next).await {
                    Ok(seen) if stands(&seen, turns) => return Ok(()),
                    Ok(seen) => prefer(&mut untried, seen.endpoint),
                    // Nobody can tell any more, and none of the others would take it either.
                    Err(_) => untried.clear(),
                }
            }
            if conflict && !overriding && !self.spec.overrides.is_empty() {
                overriding = true;
                untried.push_front(endpoint);
                continue;
            }
            let ends = conflict
                || matches!(failure, CallFailed::NotFound { .. })
                || is_refused_for(&failure, &ABOUT_THE_REQUEST);
            failures.add(self.name(endpoint), failure);
            if ends {
                break;
            }
        }
        Err(failures.of_a_change(overriding))
    }

    /// Asks the endpoints from `first` on: the next one as soon as one fails, or has not answered for a
    /// moment. The first whole answer counts.
    async fn look(&self, first: usize) -> Result<Seen, CallFailed> {
        let mut unasked = self.from(first);
        let mut asked = FuturesUnordered::new();
        let mut failures = Failures::default();
        loop {
            if let Some(endpoint) = unasked.pop_front() {
                asked.push(async move { (endpoint, self.ask(endpoint).await) });
            }
            let patience = async {
                if unasked.is_empty() {
                    std::future::pending::<()>().await;
                }
                sleep(self.limits.switch_stagger).await;
            };
            let answer = tokio::select! {
                answer = asked.next() => answer,
                () = patience => continue,
            };
            match answer {
                Some((endpoint, Ok(states))) => return Ok(Seen { states, endpoint }),
                Some((endpoint, Err(failure))) => failures.add(self.name(endpoint), failure),
                None => return Err(failures.of_a_question()),
            }
        }
    }

    /// One endpoint about every control of the service.
    async fn ask(&self, endpoint: usize) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        let Some(client) = self.clients.get(endpoint) else { return Err(no_endpoint()) };
        let asked = self
            .spec
            .controls
            .iter()
            .map(async |(region, arn)| Ok((region.clone(), state(client, arn).await?)));
        try_join_all(asked).await.map(|states| states.into_iter().collect())
    }

    async fn update(
        &self,
        endpoint: usize,
        turns: &Turns,
        overrides: &[String],
    ) -> Result<(), CallFailed> {
        let Some(client) = self.clients.get(endpoint) else { return Err(no_endpoint()) };
        let mut entries = Vec::new();
        for (region, to) in turns {
            let Some(arn) = self.spec.controls.get(region) else {
                let why = format!("region `{region}` has no routing control");
                return Err(CallFailed::NotFound { code: "NoRoutingControl".to_owned(), why });
            };
            let state = match to {
                InAnswers::In => RoutingControlState::On,
                // One control knows no half; a part of it would be all of it.
                InAnswers::Out | InAnswers::Part { .. } => RoutingControlState::Off,
            };
            let entry = UpdateRoutingControlStateEntry::builder()
                .routing_control_arn(arn)
                .routing_control_state(state)
                .build()
                .map_err(|error| CallFailed::NotSent { why: error.to_string() })?;
            entries.push(entry);
        }
        client
            .update_routing_control_states()
            .set_update_routing_control_state_entries(Some(entries))
            .set_safety_rules_to_override((!overrides.is_empty()).then(|| overrides.to_vec()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| failed(&error))
    }

    /// Every endpoint once, from this one on.
    fn from(&self, first: usize) -> VecDeque<usize> {
        let endpoints = self.clients.len();
        (0..endpoints).map(|place| (first + place) % endpoints).collect()
    }

    fn name(&self, endpoint: usize) -> &str {
        self.spec.endpoints.get(endpoint).map_or("?", |(region, _)| region.as_str())
    }
}

#[async_trait]
impl Switches for Cluster {
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        let turns: Vec<_> = turns.iter().map(|turn| (turn.region.clone(), turn.to)).collect();
        self.set(&turns).await
    }

    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        self.states().await
    }
}

/// How one control stands by one endpoint.
async fn state(client: &Client, arn: &str) -> Result<InAnswers, CallFailed> {
    let told = client.get_routing_control_state().routing_control_arn(arn).send().await;
    let told = told.map_err(|error| failed(&error))?;
    let state = match told.routing_control_state().as_str() {
        "On" => Some(InAnswers::In),
        "Off" => Some(InAnswers::Out),
        _ => None,
    };
    // An empty document parses too; it is not about the control that was asked for.
    state.filter(|_| told.routing_control_arn() == arn).ok_or_else(|| CallFailed::Unknown {
        why: format!("the answer about routing control {arn} is not in the form we know"),
    })
}

fn no_endpoint() -> CallFailed {
    CallFailed::NotSent { why: "the cluster has no endpoint".to_owned() }
}

fn stands(seen: &Seen, turns: &Turns) -> bool {
    turns.iter().all(|(region, to)| seen.states.get(region) == Some(to))
}

/// With every control off, every health check behind them fails, and Route 53 answers as if all were
/// well (Developer Guide, "How Amazon Route 53 chooses records when health checking is configured"):
/// traffic would go back to where it was taken from.
fn keeps_something_on(seen: &Seen, turns: &Turns) -> Result<(), CallFailed> {
    let after = |(region, state): (&RegionName, &InAnswers)| {
        turns.iter().find(|(turned, _)| turned == region).map_or(*state, |(_, to)| *to)
    };
    if seen.states.iter().map(after).any(|state| state == InAnswers::In) {
        return Ok(());
    }
    Err(CallFailed::Refused {
        code: "NothingOn".to_owned(),
        why: "it would leave no routing control on, and then all regions are answered".to_owned(),
    })
}

fn prefer(untried: &mut VecDeque<usize>, endpoint: usize) {
    if let Some(place) = untried.iter().position(|known| *known == endpoint) {
        untried.remove(place);
        untried.push_front(endpoint);
    }
}

fn is_refused_for(failure: &CallFailed, codes: &[&str]) -> bool {
    matches!(failure, CallFailed::Refused { code, .. } if codes.contains(&code.as_str()))
}

/// What each endpoint said, in the order in which it was tried.
#[derive(Debug, Default)]
struct Failures(Vec<(String, CallFailed)>);

impl Failures {
    fn add(&mut self, endpoint: &str, failure: CallFailed) {
        self.0.push((endpoint.to_owned(), failure));
    }

    /// Why nobody told how the controls stand.
    fn of_a_question(&self) -> CallFailed {
        match self.weightiest() {
            Some(CallFailed::Refused { code, .. }) => {
                CallFailed::Refused { code: code.clone(), why: self.told() }
            }
            Some(CallFailed::NotFound { code, .. }) => {
                CallFailed::NotFound { code: code.clone(), why: self.told() }
            }
            Some(CallFailed::Throttled { code, .. }) => {
                CallFailed::Throttled { code: code.clone(), why: self.told() }
            }
            Some(
                CallFailed::NotSent { .. }
                | CallFailed::Busy
                | CallFailed::Conflict { .. }
                | CallFailed::Unknown { .. },
            )
            | None => CallFailed::Unknown { why: self.told() },
        }
    }

    /// What may be believed of a change: that of unknown outcome makes the whole unknown.
    fn of_a_change(&self, overridden: bool) -> CallFailed {
        if self.0.iter().any(|(_, failure)| !failure.nothing_happened()) {
            return CallFailed::Unknown { why: self.told() };
        }
        match self.weightiest() {
            Some(CallFailed::Refused { code, why }) if code == CONFLICT => {
                CallFailed::Refused { code: code.clone(), why: forbidden(why, overridden) }
            }
            Some(failure @ CallFailed::NotFound { .. }) => failure.clone(),
            Some(CallFailed::Refused { code, .. }) => {
                CallFailed::Refused { code: code.clone(), why: self.told() }
            }
            Some(CallFailed::Throttled { code, .. }) => {
                CallFailed::Throttled { code: code.clone(), why: self.told() }
            }
            Some(
                CallFailed::NotSent { .. }
                | CallFailed::Busy
                | CallFailed::Conflict { .. }
                | CallFailed::Unknown { .. },
            )
            | None => CallFailed::NotSent { why: self.told() },
        }
    }

    /// The failure that says most about what to do.
    fn weightiest(&self) -> Option<&CallFailed> {
        let weight = |failure: &CallFailed| match failure {
            CallFailed::Refused { code, .. } if code == CONFLICT => 5,
            CallFailed::NotFound { .. } => 4,
            CallFailed::Refused { .. } => 3,
            CallFailed::Throttled { .. } => 2,
            CallFailed::Unknown { .. } | CallFailed::Busy | CallFailed::Conflict { .. } => 1,
            CallFailed::NotSent { .. } => 0,
        };
        self.0.iter().map(|(_, failure)| failure).max_by_key(|failure| weight(failure))
    }

    fn told(&self) -> String {
        /// Of one endpoint; five of them still fit into a line of the journal.
        const CHARS_MAX: usize = 120;
        let one = |(endpoint, failure): &(String, CallFailed)| {
            let said: String = failure.to_string().chars().take(CHARS_MAX).collect();
            format!("{endpoint}: {said}")
        };
        let said: Vec<String> = self.0.iter().map(one).collect();
        format!("no endpoint of the cluster did it ({})", said.join("; "))
    }
}

/// A refusal by the cluster's safety rules, with the rule in front if the service named it.
///
/// The text of the service is for people and not documented; only the form of a rule's ARN is.
fn forbidden(message: &str, overridden: bool) -> String {
    let rule = message
        .split(|c: char| c.is_whitespace() || "\"'`,;()[]{}".contains(c))
        .find(|word| word.contains(":controlpanel/") && word.contains("/safetyrule/"))
        .map(|rule| rule.trim_end_matches('.'));
    let which = rule.map_or_else(
        || "a safety rule of the cluster, or its wait period,".to_owned(),
        |rule| format!("safety rule {rule}"),
    );
    let although =
        if overridden { " although the rules of the policy were overridden" } else { "" };
    format!("{which} forbids it{although}: {message}")
}

#[cfg(test)]
mod tests;
