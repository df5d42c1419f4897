//! Signals as AWS tells them: target health in all its states, metrics and expressions.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum};
use aws_sdk_elasticloadbalancingv2::types::{ProtocolEnum, TargetDescription, TargetTypeEnum};
use leeward::aws::{Edge, Settings};
use leeward::domain::Timestamp;
use leeward::policy::{MetricInput, QueryBody};
use leeward::ports::{Point, TargetState};

use super::{World, credentials, kind_of, settings};
use crate::wire::http::Message;
use crate::wire::proxy::{Fault, Proxy};
use crate::wire::servers;

const REGION: &str = "eu-west-1";
const HEALTH: &str = "DescribeTargetHealth";
const METRICS: &str = "GetMetricData";

/// For laying out what the tests look at, past the proxy.
async fn direct(port: u16, region: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .credentials_provider(credentials())
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .load()
        .await
}

async fn target_group(port: u16) -> String {
    target_group_in(port, REGION).await
}

/// A target group with one healthy target, in this region.
pub(super) async fn target_group_in(port: u16, region: &str) -> String {
    let client = aws_sdk_elasticloadbalancingv2::Client::new(&direct(port, region).await);
    let made = client
        .create_target_group()
        .name("web")
        .protocol(ProtocolEnum::Http)
        .port(8080)
        .vpc_id("vpc-1")
        .target_type(TargetTypeEnum::Ip)
        .send()
        .await
        .unwrap();
    let arn = made.target_groups()[0].target_group_arn().unwrap().to_owned();
    let target = TargetDescription::builder().id("10.0.0.1").port(8080).build();
    client.register_targets().target_group_arn(&arn).targets(target).send().await.unwrap();
    arn
}

#[tokio::test]
async fn target_health_keeps_every_state_and_its_reason() {
    let world = World::start().await;
    let arn = target_group(world.server.port).await;
    let targets = || world.edge.targets.targets(REGION, &arn);
    let well = targets().await.unwrap();
    assert_eq!(well.len(), 1);
    assert_eq!((well[0].id.as_str(), well[0].port), ("10.0.0.1", Some(8080)));
    assert_eq!((well[0].state, &well[0].reason), (TargetState::Healthy, &None));
    for (state, reason, expected) in [
        ("initial", "Elb.RegistrationInProgress", TargetState::Initial),
        ("initial", "Elb.InitialHealthChecking", TargetState::Initial),
        ("unhealthy", "Target.ResponseCodeMismatch", TargetState::Unhealthy),
        ("unhealthy", "Target.Timeout", TargetState::Unhealthy),
        ("unhealthy", "Target.FailedHealthChecks", TargetState::Unhealthy),
        ("unhealthy", "Elb.InternalError", TargetState::Unhealthy),
        ("unhealthy.draining", "Target.FailedHealthChecks", TargetState::UnhealthyDraining),
        ("unused", "Target.NotRegistered", TargetState::Unused),
        ("unused", "Target.NotInUse", TargetState::Unused),
        ("unused", "Target.InvalidState", TargetState::Unused),
        ("unused", "Target.IpUnusable", TargetState::Unused),
        ("draining", "Target.DeregistrationInProgress", TargetState::Draining),
        ("unavailable", "Target.HealthCheckDisabled", TargetState::Unavailable),
        ("unavailable", "Elb.InternalError", TargetState::Unavailable),
        ("resting", "Target.Novel", TargetState::Other),
    ] {
        let to = format!("<State>{state}</State><Reason>{reason}</Reason>");
        let fault = Fault::replace("<State>healthy</State>", &to);
        let rule = world.proxy.inject(HEALTH, state, fault, 1);
        let seen = targets().await.unwrap();
        assert_eq!(rule.fired(), 1, "{state} {reason}");
        assert_eq!((seen[0].state, seen[0].reason.as_deref()), (expected, Some(reason)), "{state}");
        assert!(!seen[0].shifted_away);
    }
}

#[tokio::test]
async fn a_zonal_shift_is_no_sickness_of_the_target() {
    let world = World::start().await;
    let arn = target_group(world.server.port).await;
    for (state, shifted) in [
        ("zonal_shift_active", true),
        ("zonal_shift_delegated_to_dns", true),
        ("no_override", false),
        ("unknown", false),
    ] {
        let to = format!(
            "</TargetHealth><AdministrativeOverride><State>{state}</State></AdministrativeOverride>"
        );
        let rule = world.proxy.inject(HEALTH, state, Fault::replace("</TargetHealth>", &to), 1);
        let seen = world.edge.targets.targets(REGION, &arn).await.unwrap();
        assert_eq!(rule.fired(), 1, "{state}");
        assert_eq!(
            (seen[0].shifted_away, seen[0].state),
            (shifted, TargetState::Healthy),
            "{state}"
        );
    }
}

#[tokio::test]
async fn the_balancer_not_knowing_is_unknown_and_not_bad() {
    let world = World::start().await;
    let arn = target_group(world.server.port).await;
    for (code, status, expected, requests) in [
        ("HealthUnavailable", 500, "unknown", 3),
        ("ThrottlingException", 400, "throttled", 3),
        ("TargetGroupNotFound", 400, "not found", 1),
        ("AccessDenied", 403, "refused", 1),
    ] {
        world.proxy.forget();
        let rule = world.proxy.inject(HEALTH, code, Fault::error(status, code, "m"), requests);
        let failure = world.edge.targets.targets(REGION, &arn).await.unwrap_err();
        assert_eq!(kind_of(&failure), expected, "{code}: {failure}");
        assert_eq!((rule.fired(), world.proxy.count(HEALTH)), (requests, requests), "{code}");
    }
}

#[tokio::test]
async fn each_aws_region_has_its_own_address() {
    let (west, east) = (servers::ministack().await, servers::ministack().await);
    let (to_west, to_east) = (Proxy::start(west.port).await, Proxy::start(east.port).await);
    let endpoints =
        [format!("elbv2@{REGION}={}", to_west.url()), format!("elbv2={}", to_east.url())];
    let endpoints = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
    let edge = Edge::connect(&Settings { endpoints, ..settings(&to_east.url()) }).await;
    let arn = target_group(west.port).await;
    assert_eq!(edge.targets.targets(REGION, &arn).await.unwrap().len(), 1);
    assert_eq!((to_west.count(HEALTH), to_east.count(HEALTH)), (1, 0));
    let failure = edge.targets.targets("us-east-1", &arn).await.unwrap_err();
    assert_eq!(kind_of(&failure), "not found", "{failure}");
    assert_eq!((to_west.count(HEALTH), to_east.count(HEALTH)), (1, 1));
    let signed_for = |proxy: &Proxy| {
        let seen = proxy.seen().pop().unwrap();
        seen.request.header("authorization").unwrap().to_owned()
    };
    assert!(signed_for(&to_west).contains("/eu-west-1/elasticloadbalancing/"));
    assert!(signed_for(&to_east).contains("/us-east-1/elasticloadbalancing/"));
}

fn dimensions(value: &str) -> BTreeMap<String, String> {
    [("LoadBalancer".to_owned(), value.to_owned())].into()
}

fn metric(balancer: &str) -> QueryBody {
    QueryBody::Metric {
        namespace: "Leeward".to_owned(),
        name: "Errors".to_owned(),
        statistic: "Sum".to_owned(),
        dimensions: dimensions(balancer),
    }
}

fn expression(text: &str) -> QueryBody {
    let input = MetricInput {
        namespace: "Leeward".to_owned(),
        name: "Errors".to_owned(),
        statistic: "Sum".to_owned(),
        dimensions: dimensions("a"),
    };
    QueryBody::Expression { expression: text.to_owned(), inputs: [("m1".to_owned(), input)].into() }
}

/// A full minute some while ago, so that all points lie in closed periods.
fn minute(server_now: i64) -> i64 {
    server_now.div_euclid(60) * 60 - 600
}

const PERIOD: Duration = Duration::from_secs(60);

#[tokio::test]
async fn metrics_come_back_by_query_and_oldest_first() {
    let world = World::start().await;
    let client = aws_sdk_cloudwatch::Client::new(&direct(world.server.port, REGION).await);
    let start = minute(jiff::Timestamp::now().as_second());
    for (balancer, offset, value) in
        [("b", 60, 5.0), ("a", 120, 3.0), ("a", 0, 1.0), ("a", 60, 2.0)]
    {
        let datum = MetricDatum::builder()
            .metric_name("Errors")
            .dimensions(Dimension::builder().name("LoadBalancer").value(balancer).build())
            .timestamp(DateTime::from_secs(start + offset))
            .value(value)
            .build();
        client.put_metric_data().namespace("Leeward").metric_data(datum).send().await.unwrap();
    }
    let queries = [metric("b"), metric("nobody"), metric("a")];
    let (from, to) = (Timestamp::from_secs(start), Timestamp::from_secs(start + 300));
    let found = world.edge.metrics.query(REGION, &queries, PERIOD, from, to).await.unwrap();
    let at = |offset: i64, value| Point { at: Timestamp::from_secs(start + offset), value };
    assert_eq!(found, [vec![at(60, 5.0)], vec![], vec![at(0, 1.0), at(60, 2.0), at(120, 3.0)]]);
    assert_eq!(world.proxy.count(METRICS), 1, "one call for all of them");
}

/// ministack cannot compute expressions and says `InternalError` for them, which is what is tested of
/// its answer here; what we send is read off the wire.
#[tokio::test]
async fn an_expression_is_sent_with_inputs_of_its_own() {
    let world = World::start().await;
    let (from, to) = (Timestamp::from_secs(0), Timestamp::from_secs(600));
    let queries = [expression("m1 * 2"), metric("a"), expression("SUM([m1]) + 1")];
    let found = world.edge.metrics.query(REGION, &queries, PERIOD, from, to).await.unwrap();
    assert_eq!(found, [vec![], vec![], vec![]]);
    let sent = world.proxy.seen().pop().unwrap();
    assert_eq!(sent.action, METRICS);
    let body = sent.request.text();
    for part in ["q0_m1 * 2", "SUM([q2_m1]) + 1", "ReturnData", "TimestampAscending"] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
}

/// The few forms of CBOR (RFC 8949) that an answer of CloudWatch needs.
mod cbor {
    pub(super) fn text(text: &str) -> Vec<u8> {
        [&[0x78, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    pub(super) fn array(items: &[Vec<u8>]) -> Vec<u8> {
        [vec![0x98, u8::try_from(items.len()).unwrap()], items.concat()].concat()
    }

    pub(super) fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let entries: Vec<u8> =
            entries.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
        [&[0xbf], entries.as_slice(), &[0xff]].concat()
    }

    pub(super) fn double(value: f64) -> Vec<u8> {
        [&[0xfb], value.to_be_bytes().as_slice()].concat()
    }

    /// Tag 1: seconds since 1970.
    pub(super) fn time(seconds: i64) -> Vec<u8> {
        #[expect(clippy::cast_precision_loss, reason = "small in tests")]
        [vec![0xc1], double(seconds as f64)].concat()
    }
}

/// The one point of the one query.
pub(super) fn page_of(id: &str, at: i64, value: f64) -> Fault {
    page(&[(id, "Complete", at, value)], None)
}

/// A refusal in the binary form that CloudWatch speaks.
pub(super) fn cbor_error(status: u16, code: &str, message: &str) -> Fault {
    let body = cbor::map(&[("__type", cbor::text(code)), ("message", cbor::text(message))]);
    let mut answer = Message::answer(status, "application/cbor", body);
    answer.headers.push(("smithy-protocol".to_owned(), "rpc-v2-cbor".to_owned()));
    Fault::Answer(answer)
}

fn page(results: &[(&str, &str, i64, f64)], next: Option<&str>) -> Fault {
    let results: Vec<_> = results
        .iter()
        .map(|(id, status, at, value)| {
            cbor::map(&[
                ("Id", cbor::text(id)),
                ("StatusCode", cbor::text(status)),
                ("Timestamps", cbor::array(&[cbor::time(*at)])),
                ("Values", cbor::array(&[cbor::double(*value)])),
            ])
        })
        .collect();
    let mut parts = vec![("MetricDataResults", cbor::array(&results))];
    parts.extend(next.map(|token| ("NextToken", cbor::text(token))));
    let mut answer = Message::answer(200, "application/cbor", cbor::map(&parts));
    answer.headers.push(("smithy-protocol".to_owned(), "rpc-v2-cbor".to_owned()));
    Fault::Answer(answer)
}

#[tokio::test]
async fn pages_of_metrics_are_put_together_and_partial_ones_are_no_data() {
    let world = World::start().await;
    let second = page(&[("q0", "Complete", 60, 1.0), ("q1", "PartialData", 60, 7.0)], None);
    let second = world.proxy.inject(METRICS, "second page", second, 1);
    let first =
        page(&[("q1", "PartialData", 120, 8.0), ("q0", "PartialData", 120, 2.0)], Some("page-two"));
    let first = world.proxy.inject(METRICS, "first page", first, 1);
    let (from, to) = (Timestamp::from_secs(0), Timestamp::from_secs(600));
    let queries = [metric("a"), metric("b")];
    let found = world.edge.metrics.query(REGION, &queries, PERIOD, from, to).await.unwrap();
    let at = |seconds, value| Point { at: Timestamp::from_secs(seconds), value };
    assert_eq!(found, [vec![at(60, 1.0), at(120, 2.0)], vec![]]);
    assert_eq!((first.fired(), second.fired()), (1, 1));
    assert!(world.proxy.seen()[1].request.text().contains("page-two"), "the token is sent back");

    let endless = world.proxy.inject(METRICS, "endless", page(&[], Some("page-two")), usize::MAX);
    let failure = world.edge.metrics.query(REGION, &queries, PERIOD, from, to).await.unwrap_err();
    assert_eq!(kind_of(&failure), "unknown", "{failure}");
    assert_eq!(endless.fired(), 20);
}
