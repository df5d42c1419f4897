//! `leeward doctor` with the real program on the wire: what it finds, and that it only ever reads.

use std::collections::BTreeSet;

use leeward::plan::{RecordSet, Swap};
use serde_json::Value;

use super::program::{Place, output, with_credentials, words};
use super::service::{READING, Shop, central, eu};
use crate::wire::cluster::{Cluster, GET, control};
use crate::wire::http::{self, Message};
use crate::wire::proxy::Fault;
use crate::wire::servers::templates;

/// The operations that the preflight may call, without the services' names.
fn reads() -> BTreeSet<&'static str> {
    leeward::aws::preflight_actions().filter_map(|action| action.split(':').nth(1)).collect()
}

/// Exit status and report; fails if anything but a read was called.
async fn doctor(shop: &Shop, place: &Place, more: &[&str]) -> (Option<i32>, Value) {
    let proxy = &shop.world.proxy;
    proxy.forget();
    let mut doctor = place.leeward("doctor", &proxy.url());
    for service in ["sts", "iam", "s3"] {
        doctor.arg("--endpoint").arg(format!("{service}={}", proxy.url()));
    }
    doctor.args(["--format", "json", "--here", "eu-central-1"]).args(more);
    let said = output(with_credentials(&mut doctor)).await;
    let reads = reads();
    assert!(!proxy.seen().is_empty());
    for seen in proxy.seen() {
        let reads_object = seen.action.starts_with("GET /");
        let reads = reads_object || reads.contains(seen.action.as_str());
        assert!(reads, "doctor called {}", seen.action);
    }
    let report = serde_json::from_slice(&said.stdout);
    (said.status.code(), report.unwrap_or_else(|error| panic!("{error}: {}", words(&said))))
}

fn found(report: &Value, severity: &str, what: &str) -> bool {
    report["findings"].as_array().unwrap().iter().any(|finding| {
        finding["severity"] == severity && finding["what"].as_str().unwrap().contains(what)
    })
}

/// The id of a new health check.
async fn health_check(port: u16, config: &str) -> String {
    let body = format!(
        "<CreateHealthCheckRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><CallerReference>{}</CallerReference><HealthCheckConfig>{config}</HealthCheckConfig></CreateHealthCheckRequest>",
        config.len()
    );
    let answer = http::call(port, "POST", "/2013-04-01/healthcheck", &body).await.unwrap();
    let text = answer.text();
    let id = text.split("<Id>").nth(1).and_then(|rest| rest.split("</Id>").next());
    id.unwrap_or_else(|| panic!("no id in {text}")).to_owned()
}

/// The test server writes `True`, Route 53 writes `true`.
fn spelled() -> Fault {
    Fault::rewrite(|mut answer| {
        answer.body =
            answer.text().replace(">True<", ">true<").replace(">False<", ">false<").into_bytes();
        answer
    })
}

#[tokio::test]
async fn the_trap_is_found_on_the_wire_and_nothing_is_changed() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    let (_, report) = doctor(&shop, &place, &[]).await;
    assert!(!found(&report, "stops", "is inverted"), "{report:#}");
    assert!(found(&report, "note", "is not there yet"), "the epoch record: {report:#}");
    assert!(found(&report, "weakens", "accelerated recovery is off"), "{report:#}");

    let trap = "<IPAddress>127.0.0.11</IPAddress><Port>80</Port><Type>HTTP</Type><RequestInterval>30</RequestInterval><FailureThreshold>3</FailureThreshold><Inverted>true</Inverted>";
    let id = health_check(shop.world.server.port, trap).await;
    let sets = shop.world.edge.weights.read(&shop.zones[0], None).await.unwrap();
    let before = sets.into_iter().find(|set| set.set_identifier.as_deref() == Some("eu")).unwrap();
    let after = RecordSet { health_check: Some(id), ..before.clone() };
    shop.world.swap(vec![Swap { before: Some(before), after }]).await.unwrap();
    let rule = shop.world.proxy.inject("GetHealthCheck", "spelled", spelled(), usize::MAX);
    let (status, report) = doctor(&shop, &place, &[]).await;
    assert!(rule.fired() > 0);
    assert_eq!(status, Some(3), "{report:#}");
    let trap = format!("is inverted and watches the app of `{}`", eu());
    assert!(found(&report, "stops", &trap), "{report:#}");
    assert!(found(&report, "stops", "a private address"), "{report:#}");
    assert!(found(&report, "weakens", "needs 1m 30s to change its mind"), "{report:#}");
    assert!(found(&report, "weakens", "some sets are health-checked, not central"), "{report:#}");
}

#[tokio::test]
async fn the_role_of_the_template_may_do_what_the_rescue_needs_and_nobody_else() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    let zone = format!("HostedZoneId={}", shop.zones[0]);
    let names = "RecordNames=api.shop0.example,_leeward.shop0.example";
    let port = shop.world.server.port.to_string();
    let stack = templates(&[
        "deploy",
        &port,
        "eu-central-1",
        "infra/cloudformation/weights.yaml",
        &zone,
        names,
    ])
    .await;
    assert_eq!(stack["status"], "CREATE_COMPLETE", "{stack:#}");
    let role = stack["outputs"]["RoleName"].as_str().unwrap();
    let principal = format!("arn:aws:iam::000000000000:role/{role}");
    let (_, report) = doctor(&shop, &place, &["--principal", &principal]).await;
    assert!(shop.world.proxy.count("SimulatePrincipalPolicy") >= 2);
    assert!(!found(&report, "stops", "is not allowed by any statement"), "{report:#}");
    // The same role for another zone.
    let text = std::fs::read_to_string(&place.policy).unwrap();
    let other = shop.world.zone("other.example").await;
    let moved = text.replace(shop.zones[0].as_str(), other.as_str());
    std::fs::write(&place.policy, moved).unwrap();
    let (status, report) = doctor(&shop, &place, &["--principal", &principal]).await;
    assert_eq!(status, Some(3));
    assert!(found(&report, "stops", "is not allowed by any statement"), "{report:#}");
    assert!(found(&report, "stops", "are not as the policy describes them"), "{report:#}");
}

#[tokio::test]
async fn what_may_not_be_read_is_said_with_the_permission_that_is_missing() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    for (action, severity, permission) in [
        ("ListResourceRecordSets", "stops", "route53:ListResourceRecordSets"),
        ("GetHostedZoneLimit", "note", "route53:GetHostedZoneLimit"),
        ("DescribeTargetHealth", "stops", "elasticloadbalancing:DescribeTargetHealth"),
        ("DescribeTargetGroups", "weakens", "elasticloadbalancing:DescribeTargetGroups"),
        ("DescribeAccountLimits", "note", "elasticloadbalancing:DescribeAccountLimits"),
    ] {
        let denied = Fault::error(403, "AccessDenied", "not authorized");
        let rule = shop.world.proxy.inject(action, "denied", denied, usize::MAX);
        let (_, report) = doctor(&shop, &place, &[]).await;
        assert!(rule.fired() > 0, "{action}");
        let what = format!("could not be read: permission `{permission}` is missing");
        assert!(found(&report, severity, &what), "{action}: {report:#}");
        shop.world.proxy.calm();
    }
    let broken = Fault::error(500, "InternalFailure", "x");
    shop.world.proxy.inject("ListResourceRecordSets", "broken", broken, usize::MAX);
    let (_, report) = doctor(&shop, &place, &[]).await;
    assert!(found(&report, "trouble", "could not be read: outcome unknown"), "{report:#}");
}

const BUCKET: &str = "preflight-gates";
const KEY: &str = "shop/eu-west-1";

/// The shop with all three levers: a gate in a bucket, routing controls, and the weights that it had.
async fn with_switches(shop: &Shop, place: &Place, cluster: &Cluster, check: &str) {
    let (proxy, port) = (shop.world.proxy.url(), shop.world.server.port);
    let there = format!(
        "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        central()
    );
    let made = http::call(port, "PUT", &format!("/{BUCKET}"), &there).await.unwrap();
    assert_eq!(made.status(), 200, "{}", made.text());
    let endpoints: Vec<String> = cluster
        .addresses()
        .into_iter()
        .map(|(region, url)| format!("        {region}: \"{url}\"\n"))
        .collect();
    let proof = "      ttl: 60s\n      in_force_within: 2m\n      witness: none\n";
    let levers = format!(
        "levers:\n  - gates:\n      regions:\n        {}: {{ s3: {{ bucket: {BUCKET}, key: {KEY}, aws_region: {}, url: \
         \"{proxy}/{BUCKET}/{KEY}\" }}, health_check: {check} }}\n      check: {{ every: 10s, failures: 3 }}\n{proof}  \
         - arc:\n      endpoints:\n{}      controls: {{ {}: \"{}\", {}: \"{}\" }}\n{proof}",
        eu(),
        central(),
        endpoints.concat(),
        eu(),
        control("eu"),
        central(),
        control("central"),
    );
    let text = std::fs::read_to_string(&place.policy).unwrap();
    std::fs::write(&place.policy, text.replacen("levers:\n", &levers, 1)).unwrap();
}

/// Requests for objects of the bucket, and to the cluster, since they were forgotten.
fn looks(shop: &Shop, cluster: &Cluster) -> (usize, usize) {
    for seen in cluster.endpoints.iter().flat_map(crate::wire::proxy::Proxy::seen) {
        assert_eq!(seen.action, GET, "a routing control was turned");
    }
    (shop.world.proxy.count(&format!("GET /{BUCKET}/{KEY}")), cluster.count(GET))
}

#[tokio::test]
async fn switches_are_looked_at_and_none_is_turned() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    let cluster = Cluster::start(&[("eu", true), ("central", false)]).await;
    let port = shop.world.server.port;
    let gate = "<IPAddress>127.0.0.11</IPAddress><Port>80</Port><Type>HTTP</Type><ResourcePath>/elsewhere</ResourcePath><RequestInterval>10</RequestInterval><FailureThreshold>3</FailureThreshold>";
    let id = health_check(port, gate).await;
    with_switches(&shop, &place, &cluster, &id).await;

    let (_, report) = doctor(&shop, &place, &[]).await;
    // By its bucket and from outside; each endpoint about each control.
    assert_eq!(looks(&shop, &cluster), (2, 10));
    assert!(found(&report, "weakens", "is `Off`"), "the standby's control: {report:#}");
    assert!(found(&report, "stops", "is not inverted"), "{report:#}");
    assert!(
        found(&report, "stops", "looks at 127.0.0.11/elsewhere, and the gate stands at"),
        "{report:#}"
    );
    assert!(found(&report, "stops", "has no health check"), "on the record: {report:#}");
    assert!(!found(&report, "weakens", "is published now"), "{report:#}");

    // Somebody left it published, and the cluster is gone.
    let put = http::call(port, "PUT", &format!("/{BUCKET}/{KEY}"), "out").await.unwrap();
    assert_eq!(put.status(), 200);
    for endpoint in &cluster.endpoints {
        endpoint.shut(true).await;
    }
    let (status, report) = doctor(&shop, &place, &[]).await;
    assert_eq!(status, Some(3), "{report:#}");
    assert!(found(&report, "weakens", "is published now: `eu-west-1` is taken out"), "{report:#}");
    assert!(found(&report, "stops", "0 of 5 endpoints tell"), "{report:#}");

    let body = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let denied = Fault::Answer(Message::answer(403, "application/xml", body));
    shop.world.proxy.inject(&format!("GET /{BUCKET}/{KEY}"), "denied", denied, usize::MAX);
    let (_, report) = doctor(&shop, &place, &[]).await;
    let what = "permission `s3:GetObject` and `s3:ListBucket` is missing";
    assert!(found(&report, "stops", what), "{report:#}");
}

#[tokio::test]
async fn a_plan_by_switches_reads_them_and_turns_none() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    let cluster = Cluster::start(&[("eu", true), ("central", true)]).await;
    let (port, proxy) = (shop.world.server.port, &shop.world.proxy);
    // A check that finds the gate, on the records of the region.
    let endpoint = format!(
        "<IPAddress>127.0.0.1</IPAddress><Port>{}</Port><Type>HTTP</Type><ResourcePath>/{BUCKET}/{KEY}</ResourcePath><RequestInterval>10</RequestInterval><FailureThreshold>3</FailureThreshold>",
        proxy.port
    );
    let id = health_check(port, &format!("{endpoint}<Inverted>true</Inverted>")).await;
    with_switches(&shop, &place, &cluster, &id).await;
    let hang = async |id: &str| {
        let sets = shop.world.edge.weights.read(&shop.zones[0], None).await.unwrap();
        let eu = sets.into_iter().find(|set| set.set_identifier.as_deref() == Some("eu"));
        let before = eu.unwrap();
        let after = RecordSet { health_check: Some(id.to_owned()), ..before.clone() };
        shop.world.swap(vec![Swap { before: Some(before), after }]).await.unwrap();
    };
    hang(&id).await;
    proxy.inject("GetHealthCheck", "spelled", spelled(), usize::MAX);
    let plan = async || {
        proxy.forget();
        let mut plan = place.leeward("plan", &proxy.url());
        plan.arg("--endpoint").arg(format!("s3={}", proxy.url()));
        plan.arg("--assume").arg(format!("{}=down", eu()));
        plan.arg("--assume").arg(format!("{}=well", central()));
        let said = output(with_credentials(&mut plan).args(["--format", "json"])).await;
        for seen in proxy.seen() {
            let action = seen.action.as_str();
            let reads = action.starts_with("GET /") || action == "GetHealthCheck";
            assert!(reads || READING.contains(&action), "plan called {action}");
        }
        assert!(proxy.count("GetHealthCheck") > 0);
        let report: Value = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", words(&said)));
        (report["by_switches"].clone(), words(&said))
    };
    let (shares, said) = plan().await;
    assert!(looks(&shop, &cluster).0 > 0, "{said}");
    assert!(looks(&shop, &cluster).1 > 0, "{said}");
    assert_eq!(shares["before"][eu().as_str()], 1.0, "{said}");
    assert_eq!(shares["after"][eu().as_str()], 0.0, "{said}");
    assert!(shares.get("checks_unread").is_none(), "{said}");
    // The same with a check that was disabled: the region stays in the answers, and that is warned of.
    let broken = format!("{endpoint}<Inverted>false</Inverted><Disabled>true</Disabled>");
    hang(&health_check(port, &broken).await).await;
    let (shares, said) = plan().await;
    assert_eq!(shares["after"][eu().as_str()], 1.0, "{said}");
    assert!(said.contains("is disabled: healthy for good"), "{said}");
    // An account that does not tell of its checks.
    let denied = Fault::error(403, "AccessDenied", "not authorized");
    let denied = proxy.inject("GetHealthCheck", "denied", denied, usize::MAX);
    let (shares, said) = plan().await;
    assert_eq!(shares["after"][eu().as_str()], 0.0, "{said}");
    assert!(shares["checks_unread"].to_string().contains("could not be read"), "{said}");
    proxy.relieve(&denied);
    hang(&id).await;
    // What is published already is out of the answers now, whoever did it.
    let put = http::call(port, "PUT", &format!("/{BUCKET}/{KEY}"), "out").await.unwrap();
    assert_eq!(put.status(), 200);
    let (shares, said) = plan().await;
    assert_eq!(shares["before"][eu().as_str()], 0.0, "{said}");
    for endpoint in &cluster.endpoints {
        endpoint.shut(true).await;
    }
    let (_, said) = plan().await;
    assert!(said.contains("how `arc` stands could not be read"), "{said}");
}
