//! Routing controls over the five endpoints of a cluster: dead ones, rules, overrides, lost answers.

use std::time::Duration;

use leeward::aws::{Cluster as Switches, ClusterSpec, Dice, Edge, Settings};
use leeward::domain::{InAnswers, RegionName};
use leeward::ports::CallFailed;
use tokio::time::Instant;

use super::{TIMEOUTS, kind_of, settings};
use crate::wire::cluster::{Cluster, Demand, GET, REGIONS, Rule, UPDATE, control, rule};
use crate::wire::http::Message;
use crate::wire::proxy::{ALL, Fault, Proxy};

const EU: &str = "eu-west-1";
const CENTRAL: &str = "eu-central-1";

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

fn turn(name: &str, to: InAnswers) -> (RegionName, InAnswers) {
    (region(name), to)
}

/// Away from `eu-west-1`.
fn over() -> [(RegionName, InAnswers); 2] {
    [turn(EU, InAnswers::Out), turn(CENTRAL, InAnswers::In)]
}

fn back() -> [(RegionName, InAnswers); 2] {
    [turn(EU, InAnswers::In), turn(CENTRAL, InAnswers::Out)]
}

/// `eu-west-1` is on and `eu-central-1` is off.
async fn cluster() -> Cluster {
    Cluster::start(&[(EU, true), (CENTRAL, false)]).await
}

fn spec(cluster: &Cluster, regions: &[&str]) -> ClusterSpec {
    ClusterSpec {
        endpoints: cluster.addresses(),
        controls: regions.iter().map(|name| (region(name), control(name))).collect(),
        overrides: Vec::new(),
    }
}

/// Begins at the first endpoint, always; whoever stands in for the other services is not called.
async fn edge(elsewhere: &Proxy) -> Edge {
    let dice = Dice::new(|_| 0);
    Edge::connect(&Settings { dice, ..settings(&elsewhere.url()) }).await
}

async fn nobody() -> Proxy {
    Proxy::start(1).await
}

async fn switches(cluster: &Cluster) -> Switches {
    edge(&nobody().await).await.cluster(spec(cluster, &[EU, CENTRAL]))
}

fn assert_moved(cluster: &Cluster, what: &str) {
    assert_eq!((cluster.is_on(EU), cluster.is_on(CENTRAL)), (false, true), "{what}");
    assert_eq!(cluster.changes(), 1, "{what}: done once");
}

#[tokio::test]
async fn on_and_off_go_in_one_call_to_one_endpoint_and_to_nobody_else() {
    let (cluster, elsewhere) = (cluster().await, nobody().await);
    let edge = edge(&elsewhere).await;
    let switches = edge.cluster(spec(&cluster, &[EU, CENTRAL]));
    let before = switches.states().await.unwrap();
    assert_eq!(before, back().into());
    assert_eq!(cluster.count(UPDATE), 0);

    switches.set(&over()).await.unwrap();
    assert_moved(&cluster, "as asked");
    assert_eq!(switches.states().await.unwrap(), over().into());
    let sent = cluster.endpoints[0].seen();
    let update = sent.iter().find(|seen| seen.action == UPDATE).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&update.request.body).unwrap();
    assert_eq!(body["UpdateRoutingControlStateEntries"].as_array().unwrap().len(), 2);
    assert!(body.get("SafetyRulesToOverride").is_none(), "{body}");
    let signed = update.request.header("authorization").unwrap();
    let scope = format!("/{}/route53-recovery-cluster/", REGIONS[0]);
    assert!(signed.contains(&scope), "{signed}");

    // What stands is found by reading, and not sent again.
    switches.set(&over()).await.unwrap();
    assert_eq!(cluster.count(UPDATE), 1);
    for other in &cluster.endpoints[1..] {
        assert!(other.seen().is_empty(), "the first endpoint answers well");
    }
    assert!(elsewhere.seen().is_empty(), "and no other service is needed");
}

/// Ways to be dead, of which each costs a different time to find out.
fn deaths() -> [(&'static str, Option<Fault>); 6] {
    let unavailable =
        Fault::json_error(503, "EndpointTemporarilyUnavailableException", "try another");
    let html = Fault::Answer(Message::answer(502, "text/html", "<html>sorry</html>"));
    [
        ("refused", None),
        ("reset", Some(Fault::Reset)),
        ("silent", Some(Fault::SilenceBefore)),
        ("unavailable", Some(unavailable)),
        ("bad gateway", Some(html)),
        ("denied", Some(Fault::json_error(403, "AccessDeniedException", "no"))),
    ]
}

async fn kill(endpoint: &Proxy, death: Option<&Fault>) {
    match death {
        Some(fault) => drop(endpoint.inject(ALL, "dead", fault.clone(), usize::MAX)),
        None => endpoint.shut(true).await,
    }
}

#[tokio::test]
async fn with_one_to_four_endpoints_dead_the_switch_turns_at_once_and_once() {
    let plays = deaths().map(async |(name, death)| {
        for dead in 1..REGIONS.len() {
            let cluster = cluster().await;
            for endpoint in &cluster.endpoints[..dead] {
                kill(endpoint, death.as_ref()).await;
            }
            let switches = switches(&cluster).await;
            let began = Instant::now();
            switches.set(&over()).await.unwrap();
            let took = began.elapsed();
            assert_moved(&cluster, &format!("{dead} {name}"));
            // The dead ones are found out by asking, a moment each, not by a time-out each.
            assert!(took < Duration::from_secs(4), "{dead} {name}: {took:?}");
        }
    });
    futures_util::future::join_all(plays).await;
}

#[tokio::test]
async fn with_all_endpoints_dead_it_fails_in_time_and_nothing_was_sent() {
    let plays = deaths().map(async |(name, death)| {
        let cluster = cluster().await;
        for endpoint in &cluster.endpoints {
            kill(endpoint, death.as_ref()).await;
        }
        let switches = switches(&cluster).await;
        let began = Instant::now();
        let failure = switches.set(&over()).await.unwrap_err();
        assert!(failure.nothing_happened(), "{name}: {failure}");
        for region in REGIONS {
            assert!(failure.to_string().contains(region), "{name}: {failure}");
        }
        let bound = TIMEOUTS.switch + TIMEOUTS.switch_stagger * 5 + Duration::from_secs(3);
        assert!(began.elapsed() < bound, "{name}: {:?}", began.elapsed());
        assert_eq!(cluster.count(UPDATE), 0, "{name}");
        assert!(cluster.is_on(EU), "{name}");
    });
    futures_util::future::join_all(plays).await;
}

/// What becomes of the first update: its fault, and whether it had its effect.
fn lost_updates() -> [(&'static str, Fault, usize); 6] {
    let garbage = || Message::answer(200, "text/html", "<html>welcome</html>");
    [
        ("silence before", Fault::SilenceBefore, 2),
        ("silence after", Fault::SilenceAfter, 1),
        ("closed after", Fault::CloseAfter, 1),
        ("reset before", Fault::Reset, 2),
        ("internal error", Fault::json_error(500, "InternalServerException", "?"), 2),
        // The SDK takes this for success.
        ("somebody else's welcome", Fault::Answer(garbage()), 2),
    ]
}

#[tokio::test]
async fn a_lost_update_is_looked_for_before_it_is_sent_again() {
    let plays = lost_updates().map(async |(name, fault, updates)| {
        let cluster = cluster().await;
        let rule = cluster.endpoints[0].inject(UPDATE, name, fault, 1);
        switches(&cluster).await.set(&over()).await.unwrap();
        assert_eq!(rule.fired(), 1, "{name}");
        assert_moved(&cluster, name);
        assert_eq!(cluster.count(UPDATE), updates, "{name}");
    });
    futures_util::future::join_all(plays).await;
}

#[tokio::test]
async fn endpoints_that_tell_and_do_not_take_end_as_unknown_in_time() {
    let cluster = cluster().await;
    for endpoint in &cluster.endpoints {
        endpoint.inject(UPDATE, "silent", Fault::SilenceBefore, usize::MAX);
    }
    let began = Instant::now();
    let failure = switches(&cluster).await.set(&over()).await.unwrap_err();
    assert_eq!(kind_of(&failure), "unknown", "{failure}");
    let bound = TIMEOUTS.switch_whole + TIMEOUTS.switch + Duration::from_secs(3);
    assert!(began.elapsed() < bound, "{:?}", began.elapsed());
    assert_eq!(cluster.count(UPDATE), REGIONS.len(), "each endpoint once");
}

#[tokio::test]
async fn a_safety_rule_is_respected_and_named() {
    let cluster = Cluster::start(&[(EU, true), (CENTRAL, true), ("us-east-2", false)]).await;
    cluster.add(Rule::assertion("two-on", &[EU, CENTRAL, "us-east-2"], Demand::AtLeast(2)));
    let edge = edge(&nobody().await).await;
    let switches = edge.cluster(spec(&cluster, &[EU, CENTRAL, "us-east-2"]));
    let failure = switches.set(&[turn(EU, InAnswers::Out)]).await.unwrap_err();
    let CallFailed::Refused { code, why } = &failure else { panic!("{failure}") };
    assert_eq!(code, "ConflictException");
    assert!(why.contains(&format!("safety rule {} forbids it", rule("two-on"))), "{why}");
    assert_eq!(cluster.count(UPDATE), 1, "no other endpoint would think otherwise");
    assert_eq!(cluster.changes(), 0);
    // The same with another one let in instead, in one transaction: the rule holds throughout.
    let instead = [turn(EU, InAnswers::Out), turn("us-east-2", InAnswers::In)];
    switches.set(&instead).await.unwrap();
    assert_eq!((cluster.changes(), cluster.fewest_on()), (1, 2));
}

#[tokio::test]
async fn gating_inverted_and_waiting_rules_are_told_like_any_other() {
    let gated = Rule {
        gates: vec![control("master")],
        ..Rule::assertion("gated", &[EU, CENTRAL], Demand::All)
    };
    let never_two = Rule { inverted: true, ..Rule::assertion("one", &[EU, CENTRAL], Demand::All) };
    let waiting = Rule {
        wait: Duration::from_secs(600),
        ..Rule::assertion("waiting", &[EU, CENTRAL], Demand::Any)
    };
    for (name, rule_of, turns) in
        [("gated", gated, over().to_vec()), ("one", never_two, vec![turn(CENTRAL, InAnswers::In)])]
    {
        let cluster = Cluster::start(&[(EU, true), (CENTRAL, false), ("master", false)]).await;
        cluster.add(rule_of);
        let failure = switches(&cluster).await.set(&turns).await.unwrap_err();
        assert!(failure.to_string().contains(&rule(name)), "{failure}");
        assert_eq!(cluster.changes(), 0, "{name}");
    }
    let cluster = cluster().await;
    cluster.add(waiting);
    let switches = switches(&cluster).await;
    switches.set(&over()).await.unwrap();
    let failure = switches.set(&back()).await.unwrap_err();
    assert!(failure.to_string().contains(&rule("waiting")), "{failure}");
    assert_moved(&cluster, "the second has to wait");
}

#[tokio::test]
async fn rules_are_overridden_only_where_the_policy_says_so_and_only_in_need() {
    let cluster = cluster().await;
    cluster.add(Rule::assertion("stay", &[EU], Demand::All));
    let edge = edge(&nobody().await).await;
    let spec = spec(&cluster, &[EU, CENTRAL]);
    edge.cluster(spec.clone()).set(&over()).await.unwrap_err();
    assert_eq!(cluster.changes(), 0, "no flag, no override");

    let overriding = ClusterSpec { overrides: vec![rule("stay")], ..spec.clone() };
    edge.cluster(overriding.clone()).set(&over()).await.unwrap();
    assert_moved(&cluster, "overridden");
    assert_eq!(cluster.taken()[0].overridden, [rule("stay")]);
    // Home again: no rule stands in the way, so none is overridden.
    edge.cluster(overriding).set(&back()).await.unwrap();
    assert_eq!(cluster.taken()[1].overridden, Vec::<String>::new());

    let wrong = ClusterSpec { overrides: vec![rule("another")], ..spec };
    let failure = edge.cluster(wrong).set(&over()).await.unwrap_err();
    assert_eq!(kind_of(&failure), "not found", "{failure}");
}

#[tokio::test]
async fn nothing_on_at_all_is_never_asked_for() {
    let cluster = cluster().await;
    let failure = switches(&cluster).await.set(&[turn(EU, InAnswers::Out)]).await.unwrap_err();
    assert_eq!(kind_of(&failure), "refused", "{failure}");
    assert!(failure.to_string().contains("no routing control on"), "{failure}");
    assert_eq!(cluster.count(UPDATE), 0);
}

#[tokio::test]
async fn more_than_ten_take_several_calls_and_something_is_always_on() {
    let names: Vec<String> = (0..24).map(|number| format!("region-{number}")).collect();
    let controls: Vec<(&str, bool)> =
        names.iter().enumerate().map(|(place, name)| (name.as_str(), place < 12)).collect();
    let cluster = Cluster::start(&controls).await;
    let regions: Vec<&str> = names.iter().map(String::as_str).collect();
    let edge = edge(&nobody().await).await;
    let switches = edge.cluster(spec(&cluster, &regions));
    let turns: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(place, name)| turn(name, if place < 12 { InAnswers::Out } else { InAnswers::In }))
        .collect();
    switches.set(&turns).await.unwrap();
    assert_eq!(switches.states().await.unwrap(), turns.into_iter().collect());
    assert_eq!((cluster.count(UPDATE), cluster.changes()), (3, 3));
    assert!(cluster.fewest_on() >= 12, "turned on first: {}", cluster.fewest_on());
}

#[tokio::test]
async fn two_services_share_the_pace_of_a_cluster() {
    let cluster = Cluster::start(&[(EU, true), (CENTRAL, false), ("us-east-2", true)]).await;
    let edge = edge(&nobody().await).await;
    let one = edge.cluster(spec(&cluster, &[EU, CENTRAL]));
    let two = edge.cluster(spec(&cluster, &["us-east-2", CENTRAL]));
    for round in 0..3 {
        let (there, other) = if round % 2 == 0 {
            (InAnswers::Out, InAnswers::In)
        } else {
            (InAnswers::In, InAnswers::In)
        };
        one.set(&[turn(CENTRAL, InAnswers::In), turn(EU, there)]).await.unwrap();
        two.set(&[turn("us-east-2", there), turn(CENTRAL, other)]).await.unwrap();
    }
    assert_eq!(cluster.count(UPDATE), 6);
    let throttled = |proxy: &Proxy| proxy.seen().iter().filter(|s| s.status == Some(429)).count();
    assert_eq!(cluster.endpoints.iter().map(throttled).sum::<usize>(), 0, "never too fast");
}

#[tokio::test]
async fn one_throttled_endpoint_is_passed_over_and_five_are_told() {
    let throttling = || Fault::json_error(429, "ThrottlingException", "Rate exceeded");
    let cluster = cluster().await;
    let switches = switches(&cluster).await;
    let rule = cluster.endpoints[0].inject(UPDATE, "throttled", throttling(), 1);
    switches.set(&over()).await.unwrap();
    assert_eq!(rule.fired(), 1);
    assert_moved(&cluster, "the second endpoint takes it");
    for endpoint in &cluster.endpoints {
        endpoint.inject(UPDATE, "throttled", throttling(), usize::MAX);
    }
    let failure = switches.set(&back()).await.unwrap_err();
    assert_eq!(kind_of(&failure), "throttled", "{failure}");
    assert_eq!(cluster.changes(), 1);
}

/// Slow is not dead; but while one is slow, another one may be asked.
#[tokio::test]
async fn slow_endpoints_are_waited_for_and_somebody_elses_turn_is_seen() {
    let cluster = cluster().await;
    for endpoint in &cluster.endpoints {
        endpoint.inject(ALL, "slow", Fault::Slow(Duration::from_millis(400)), usize::MAX);
    }
    let switches = switches(&cluster).await;
    switches.set(&over()).await.unwrap();
    assert_moved(&cluster, "slow");
    assert_eq!(cluster.count(UPDATE), 1);
    cluster.set(EU, true);
    assert_eq!(switches.states().await.unwrap()[&region(EU)], InAnswers::In);
    switches.set(&over()).await.unwrap();
    assert_eq!((cluster.is_on(EU), cluster.count(UPDATE)), (false, 2));
}

/// The answers of a question that are none: wrong control, no state, a state nobody knows.
#[tokio::test]
async fn an_answer_about_something_else_is_no_answer() {
    let json = |body: &str| Fault::Answer(Message::answer(200, "application/x-amz-json-1.0", body));
    let odd = format!(r#"{{"RoutingControlArn":"{}","RoutingControlState":"Ajar"}}"#, control(EU));
    for body in ["{}", "<html>", &odd] {
        let cluster = cluster().await;
        for endpoint in &cluster.endpoints[..4] {
            endpoint.inject(GET, "odd", json(body), usize::MAX);
        }
        let switches = switches(&cluster).await;
        assert_eq!(switches.states().await.unwrap(), back().into(), "the fifth knows");
        cluster.endpoints[4].inject(GET, "odd", json(body), usize::MAX);
        let failure = switches.set(&over()).await.unwrap_err();
        assert_eq!(kind_of(&failure), "not sent", "{failure}");
        assert_eq!(cluster.count(UPDATE), 0);
    }
}
