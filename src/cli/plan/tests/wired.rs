//! Plans by switches against health checks as an account has them.

use super::*;
use crate::doctor::Read;
use crate::ports::{
    BalancerFacts, Caller, CheckFacts, GroupFacts, Permission, Quota, Verdict, ZoneFacts,
};

/// An account of which only health checks can be read.
#[derive(Debug)]
struct Checked(BTreeMap<String, CheckFacts>);

fn unasked<T>() -> Read<T> {
    panic!("a plan does not ask for this")
}

#[async_trait::async_trait]
impl Account for Checked {
    async fn check(&self, id: &str) -> Result<CheckFacts, CallFailed> {
        let missing =
            || CallFailed::NotFound { code: "NoSuchHealthCheck".to_owned(), why: id.to_owned() };
        self.0.get(id).cloned().ok_or_else(missing)
    }

    async fn caller(&self) -> Result<Caller, CallFailed> {
        unasked()
    }

    async fn zone(&self, _zone: &ZoneId) -> Result<ZoneFacts, CallFailed> {
        unasked()
    }

    async fn zone_quota(&self, _zone: &ZoneId) -> Result<Quota, CallFailed> {
        unasked()
    }

    async fn group(&self, _aws_region: &str, _arn: &str) -> Result<GroupFacts, CallFailed> {
        unasked()
    }

    async fn balancer(&self, _aws_region: &str, _arn: &str) -> Result<BalancerFacts, CallFailed> {
        unasked()
    }

    async fn balancing_limits(
        &self,
        _aws_region: &str,
    ) -> Result<BTreeMap<String, u64>, CallFailed> {
        unasked()
    }

    async fn object(
        &self,
        _aws_region: &str,
        _bucket: &str,
        _key: &str,
    ) -> Result<bool, CallFailed> {
        unasked()
    }

    async fn controls(&self, _lever: &ArcLever) -> ControlFacts {
        ControlFacts::default()
    }

    async fn may(&self, _principal: &str, _asked: &Permission) -> Result<Verdict, CallFailed> {
        unasked()
    }
}

fn gate_check() -> CheckFacts {
    CheckFacts {
        kind: "HTTPS".to_owned(),
        inverted: true,
        disabled: false,
        endpoint: Some("gates.s3.eu-central-1.amazonaws.com".to_owned()),
        address: None,
        port: Some(443),
        path: Some("/shop/eu-west-1".to_owned()),
        search: None,
        every: Duration::from_secs(10),
        failures: 3,
        threshold: None,
        children: Vec::new(),
        alarm_region: None,
        without_data: None,
        routing_control: None,
    }
}

/// A plan by gates, with these health checks in the account, and one on the record.
async fn planned(
    on_record: Option<&str>,
    checks: &[(&str, CheckFacts)],
    more: &[&'static str],
) -> String {
    let mut bench = Bench::new(Mode::Auto);
    let (mut gates, _) = switches("eu-central-1", &FIVE);
    let Lever::Gates(lever) = &mut gates else { unreachable!("asked for") };
    lever.slots.retain(|region, _| region.as_str() == "eu-west-1");
    // The records are those of the lever behind it.
    bench.policy.levers.insert(0, gates);
    let on_record = on_record.map(str::to_owned);
    let swap = Swap {
        before: Some(record("eu", 100, "192.0.2.1")),
        after: RecordSet { health_check: on_record, ..record("eu", 100, "192.0.2.1") },
    };
    let batch = Batch { zone: zone(), comment: String::new(), swaps: vec![swap] };
    if batch.swaps[0].before != Some(batch.swaps[0].after.clone()) {
        bench.zones.change(&batch).await.unwrap();
    }
    let account = checks.iter().map(|(id, check)| ((*id).to_owned(), check.clone()));
    let account = Checked(account.collect());
    let (args, before) = (args(&and(more)), bench.zones.changes());
    let mut seen = look(&bench.policy, &bench.world, Duration::ZERO).await;
    seen.wiring = wiring(&bench.policy, &bench.world, &seen, &account, "t").await;
    let acts = Acts::default();
    let (text, _) =
        rehearse(&args, &bench.policy, acts, &bench.world, &seen, Duration::ZERO).unwrap();
    assert_eq!(bench.zones.changes(), before, "a dry run changes nothing");
    let text = anstream::adapter::strip_str(&text).to_string();
    if more.is_empty() { text.split_whitespace().collect::<Vec<_>>().join(" ") } else { text }
}

const AS_READ: &str = "by records and health checks as they were read";

#[tokio::test]
async fn a_plan_shows_what_is_answered_by_the_health_checks_as_they_are() {
    let text = planned(Some("gate"), &[("gate", gate_check())], &[]).await;
    assert!(text.contains(AS_READ) && !text.contains("WARNING"), "{text}");
    assert!(text.contains("now eu-central-1 0%, eu-west-1 100%, by"), "{text}");
    assert!(text.contains("after eu-central-1 100%, eu-west-1 0%"), "{text}");

    let over = |threshold| CheckFacts {
        kind: "CALCULATED".to_owned(),
        inverted: false,
        threshold: Some(threshold),
        children: vec!["gate".to_owned(), "app".to_owned()],
        ..gate_check()
    };
    let app =
        CheckFacts { inverted: false, endpoint: Some("eu.example.com".to_owned()), ..gate_check() };
    let below =
        |threshold| vec![("both", over(threshold)), ("gate", gate_check()), ("app", app.clone())];
    let stays = "after eu-central-1 0%, eu-west-1 100%";
    let goes = "after eu-central-1 100%, eu-west-1 0%";
    for (what, checks, before, after) in [
        (
            "is disabled: healthy for good",
            vec![("gate", CheckFacts { disabled: true, inverted: false, ..gate_check() })],
            "eu-west-1 100%",
            stays,
        ),
        (
            "is disabled and inverted: unhealthy for good",
            vec![("gate", CheckFacts { disabled: true, ..gate_check() })],
            "eu-west-1 0%",
            goes,
        ),
        (
            "hangs on check gate, which is none of theirs",
            vec![("gate", CheckFacts { path: Some("/other".to_owned()), ..gate_check() })],
            "eu-west-1 100%",
            stays,
        ),
        ("has no health check", Vec::new(), "eu-west-1 100%", stays),
        ("2 published gate(s) take it out, the policy says 1", below(1), "eu-west-1 100%", stays),
    ] {
        let text = planned(checks.first().map(|(id, _)| *id), &checks, &[]).await;
        assert!(text.contains(AS_READ), "{what}: {text}");
        assert!(text.contains("WARNING") && text.contains(what), "{what}: {text}");
        assert!(text.contains(&format!("{before}, by the switches")), "{what}: {text}");
        assert!(text.contains(after), "{what}: {text}");
        let warned = text.contains("after it `eu-west-1` still has 100% of the answers");
        assert_eq!(warned, after == stays, "{what}: {text}");
    }
    // Both needed: the gate alone is enough.
    let text = planned(Some("both"), &below(2), &[]).await;
    assert!(text.contains(goes) && !text.contains("WARNING"), "{text}");

    // Not inverted: an open gate keeps the region out, and publishing it lets it in.
    let plain = CheckFacts { inverted: false, ..gate_check() };
    let json = planned(Some("gate"), &[("gate", plain)], &["--format", "json"]).await;
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    let shares = &told["by_switches"];
    assert_eq!(
        (&shares["before"]["eu-west-1"], &shares["after"]["eu-west-1"]),
        (&0.0.into(), &1.0.into())
    );
    let warnings = shares["warnings"].to_string();
    assert!(
        warnings.contains("still has 100%") && warnings.contains("is not inverted"),
        "{told:#}"
    );
    assert!(shares.get("checks_unread").is_none(), "{told:#}");
}

#[tokio::test]
async fn without_the_checks_the_policys_idea_is_shown_and_named_so() {
    let (gates, _) = switches("eu-central-1", &FIVE);
    let mut bench = Bench::new(Mode::Auto);
    bench.policy.levers = vec![gates];
    let (text, _) = bench.plan(OUTAGE).await;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("by the policy's idea of the health checks"), "{text}");
    assert!(text.contains("is not known: no account was asked"), "{text}");

    // The record has a check that the account does not tell of.
    let text = planned(Some("gone"), &[("gate", gate_check())], &[]).await;
    assert!(text.contains("by the policy's idea of the health checks"), "{text}");
    assert!(text.contains("check gone of api.example.com A \"eu\" could not be read"), "{text}");
    assert!(text.contains("after eu-central-1 100%, eu-west-1 0%"), "{text}");
}
