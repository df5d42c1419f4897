//! A sound account, and one thing wrong with it at a time.

#[cfg(test)]
mod switches;

use std::time::Duration;

use super::*;
use crate::domain::Weight;
use crate::plan::RecordData;
use crate::policy::{Lever, Mode, Readback, Records, WhichRecords};
use crate::ports::TargetState;
use crate::report::samples;

const GROUP_EU: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/eu/1";
const GROUP_CENTRAL: &str =
    "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/central/2";
const BALANCER: &str =
    "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/central/3";

struct Bench {
    policy: Policy,
    facts: Facts,
}

fn zone() -> ZoneId {
    "Z1".parse().unwrap()
}

fn set(id: &str, weight: u8) -> RecordSet {
    RecordSet {
        zone: zone(),
        name: "api.example.com".parse().unwrap(),
        kind: "A".to_owned(),
        set_identifier: Some(id.to_owned()),
        weight: Some(Weight(weight)),
        ttl: Some(60),
        data: RecordData::Values(vec!["192.0.2.1".to_owned()]),
        health_check: None,
        foreign: Vec::new(),
    }
}

fn check() -> CheckFacts {
    CheckFacts {
        kind: "HTTPS".to_owned(),
        inverted: false,
        disabled: false,
        endpoint: Some("eu.example.com".to_owned()),
        address: None,
        port: Some(443),
        path: Some("/health".to_owned()),
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

fn target(state: TargetState) -> Target {
    Target {
        id: "i-1".to_owned(),
        port: None,
        zone: None,
        state,
        reason: None,
        shifted_away: false,
    }
}

fn group() -> GroupFacts {
    let attributes = [
        ("deregistration_delay.timeout_seconds", "300"),
        ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
        ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ];
    GroupFacts {
        name: "eu".to_owned(),
        target_type: "instance".to_owned(),
        health_checked: true,
        every: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        healthy_after: 2,
        unhealthy_after: 2,
        matcher: Some("200".to_owned()),
        balancers: vec![BALANCER.to_owned()],
        attributes: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

fn refused() -> CallFailed {
    CallFailed::Refused { code: "AccessDenied".to_owned(), why: "not authorized".to_owned() }
}

fn silent() -> CallFailed {
    CallFailed::Unknown { why: "no answer".to_owned() }
}

impl Bench {
    /// Everything is as it should be.
    fn sound() -> Self {
        let mut policy = samples::policy();
        policy.mode = Mode::Auto;
        let Lever::Weights(lever) = &mut policy.levers[0] else { unreachable!("the only lever") };
        let members = [("eu-west-1", "eu"), ("eu-central-1", "central")];
        lever.records = vec![Records {
            zone: zone(),
            which: WhichRecords::Named {
                name: "api.example.com".parse().unwrap(),
                types: ["A".to_owned()].into(),
            },
            members: members.map(|(region, id)| (region.parse().unwrap(), id.to_owned())).into(),
        }];
        lever.epoch_record.zone = zone();
        let connects = [
            ("eu-west-1", "eu.example.com", GROUP_EU),
            ("eu-central-1", "central.example.com", GROUP_CENTRAL),
        ];
        for (name, connect, group) in connects {
            let region = policy.regions.get_mut(&name.parse::<RegionName>().unwrap()).unwrap();
            region.capacity_rps = Some(1000.0);
            region.balancers[0].connect = Some(connect.to_owned());
            region.balancers[0].target_groups = vec![group.to_owned()];
        }
        let central: RegionName = "eu-central-1".parse().unwrap();
        policy.regions.get_mut(&central).unwrap().balancers[0].arn = Some(BALANCER.to_owned());
        let zone_facts = ZoneFacts {
            name: "example.com".to_owned(),
            private: false,
            accelerated_recovery: Some("ENABLED".to_owned()),
            name_servers: vec!["ns-1.awsdns-1.com".to_owned()],
        };
        let caller = Caller {
            account: "123456789012".to_owned(),
            arn: "arn:aws:sts::123456789012:assumed-role/leeward/i-1".to_owned(),
            says_now: Some(samples::NOW),
        };
        let healthy = vec![target(TargetState::Healthy), target(TargetState::Healthy)];
        let keep = [("client_keep_alive.seconds".to_owned(), "300".to_owned())];
        let balancer = BalancerFacts {
            state: "active".to_owned(),
            dns_name: "central.example.com".to_owned(),
            attributes: keep.into(),
        };
        let limits = [("targets-per-target-group".to_owned(), 1000)];
        let may = permissions(&policy, "t").into_iter().map(|asked| (asked, Ok(Verdict::Allowed)));
        let facts = Facts {
            at: samples::NOW,
            holder: "t".to_owned(),
            here: Some("eu-central-1".to_owned()),
            caller: Some(Ok(caller)),
            zones: [(zone(), Ok(zone_facts))].into(),
            quotas: [(zone(), Ok(Quota { used: 12, max: 10_000 }))].into(),
            records: [(zone(), Ok(vec![set("eu", 100), set("central", 0)]))].into(),
            checks: BTreeMap::new(),
            groups: [GROUP_EU, GROUP_CENTRAL].map(|arn| (arn.to_owned(), Ok(group()))).into(),
            targets: [GROUP_EU, GROUP_CENTRAL]
                .map(|arn| (arn.to_owned(), Ok(healthy.clone())))
                .into(),
            balancers: [(BALANCER.to_owned(), Ok(balancer))].into(),
            limits: [("eu-west-1".to_owned(), Ok(limits.into()))].into(),
            may: may.collect(),
            ..Facts::default()
        };
        Self { policy, facts }
    }

    fn sets(&mut self) -> &mut Vec<RecordSet> {
        self.facts.records.get_mut(&zone()).unwrap().as_mut().unwrap()
    }

    /// Attaches a check to the record of a region.
    fn check(&mut self, place: usize, check: CheckFacts) {
        let id = format!("check-{place}");
        self.sets()[place].health_check = Some(id.clone());
        self.facts.checks.insert(id, Ok(check));
    }

    fn both_checked(change: impl Fn(usize, &mut CheckFacts)) -> Self {
        let mut bench = Self::sound();
        for (place, endpoint) in ["eu.example.com", "central.example.com"].into_iter().enumerate() {
            let mut one = CheckFacts { endpoint: Some(endpoint.to_owned()), ..check() };
            change(place, &mut one);
            bench.check(place, one);
        }
        bench
    }

    fn group(&mut self, arn: &str) -> &mut GroupFacts {
        self.facts.groups.get_mut(arn).unwrap().as_mut().unwrap()
    }

    fn targets(&mut self, arn: &str) -> &mut Vec<Target> {
        self.facts.targets.get_mut(arn).unwrap().as_mut().unwrap()
    }

    fn evaluate(&mut self) {
        for set in self.sets() {
            set.ttl = None;
            set.data = RecordData::Alias {
                zone: "Z2".parse().unwrap(),
                name: "central.example.com.".to_owned(),
                evaluate_target_health: true,
            };
        }
    }

    fn findings(&self) -> Vec<Finding> {
        examine(&self.policy, &self.facts)
    }

    #[track_caller]
    fn finds(&self, severity: Severity, what: &str) {
        let findings = self.findings();
        let found = findings.iter().any(|f| f.severity == severity && f.what.contains(what));
        assert!(found, "{severity:?} `{what}` is not among {findings:#?}");
        for finding in findings {
            assert!(!finding.why.is_empty() && !finding.mend.is_empty(), "{finding:?}");
        }
    }

    #[track_caller]
    fn finds_nothing_bad(&self) {
        let bad: Vec<Finding> =
            self.findings().into_iter().filter(|f| f.severity != Severity::Note).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

#[test]
fn a_sound_account_has_notes_only() {
    Bench::sound().finds_nothing_bad();
    Bench::both_checked(|_, _| {}).finds_nothing_bad();
}

#[test]
fn the_trap_of_an_inverted_app_check_stops() {
    let bench = Bench::both_checked(|place, check| check.inverted = place == 0);
    bench.finds(Severity::Stops, "is inverted and watches the app of `eu-west-1`");
    let bench = Bench::both_checked(|place, check| {
        check.inverted = place == 0;
        check.endpoint = Some("api.example.com".to_owned());
    });
    bench.finds(Severity::Stops, "watches the service's own name");
}

#[test]
fn a_gate_watches_the_standby_side() {
    let gate = |host: &'static str| {
        move |place: usize, check: &mut CheckFacts| {
            if place == 0 {
                check.inverted = true;
                check.endpoint = Some(host.to_owned());
            }
        }
    };
    Bench::both_checked(gate("gates.s3.eu-central-1.amazonaws.com")).finds_nothing_bad();
    let bench = Bench::both_checked(gate("gates.s3.eu-west-1.amazonaws.com"));
    bench.finds(Severity::Stops, "in the region that it takes out");
    // A code inside another word is no code.
    Bench::both_checked(gate("xeu-west-10.example.net")).finds_nothing_bad();
}

#[test]
fn a_check_on_the_wrong_record_stops() {
    let swapped = |place: usize, check: &mut CheckFacts| {
        let other = ["central.example.com", "eu.example.com"][place];
        check.endpoint = Some(other.to_owned());
    };
    let bench = Bench::both_checked(swapped);
    bench.finds(Severity::Stops, "is on the record of `eu-west-1` and watches `eu-central-1`");
}

#[test]
fn a_check_that_sees_nothing_or_too_late_is_found() {
    Bench::both_checked(|_, check| check.disabled = true)
        .finds(Severity::Stops, "is disabled: healthy for good");
    Bench::both_checked(|_, check| (check.disabled, check.inverted) = (true, true))
        .finds(Severity::Stops, "unhealthy for good");
    Bench::both_checked(|_, check| check.every = Duration::from_secs(30))
        .finds(Severity::Weakens, "needs 1m 30s to change its mind (30s x 3)");
    Bench::both_checked(|_, check| check.address = Some("10.1.2.3".to_owned()))
        .finds(Severity::Stops, "a private address");
    let mut bench = Bench::both_checked(|_, _| {});
    bench.facts.checks.insert("check-0".to_owned(), Err(refused()));
    bench.finds(Severity::Weakens, "permission `route53:GetHealthCheck` is missing");
    let gone = CallFailed::NotFound { code: "NoSuchHealthCheck".to_owned(), why: "x".to_owned() };
    bench.facts.checks.insert("check-0".to_owned(), Err(gone));
    bench.finds(Severity::Stops, "NoSuchHealthCheck");
}

#[test]
fn a_calculated_check_must_be_able_to_turn() {
    let calculated = |threshold| {
        move |place: usize, check: &mut CheckFacts| {
            if place == 0 {
                check.kind = "CALCULATED".to_owned();
                check.endpoint = None;
                check.threshold = Some(threshold);
                check.children = vec!["a".to_owned(), "b".to_owned()];
            }
        }
    };
    Bench::both_checked(calculated(0)).finds(Severity::Stops, "it is always healthy");
    Bench::both_checked(calculated(3)).finds(Severity::Stops, "wants 3 of 2 children healthy");
    let mut bench = Bench::both_checked(calculated(2));
    bench.finds_nothing_bad();
    let inverted = CheckFacts { inverted: true, ..check() };
    bench.facts.checks.insert("a".to_owned(), Ok(inverted));
    bench.finds(Severity::Stops, "is inverted and watches the app");
}

#[test]
fn an_alarm_in_the_watched_region_is_found() {
    let alarm = |place: usize, check: &mut CheckFacts| {
        if place == 0 {
            check.kind = "CLOUDWATCH_METRIC".to_owned();
            check.alarm_region = Some("eu-west-1".to_owned());
            check.without_data = Some("Healthy".to_owned());
        }
    };
    let bench = Bench::both_checked(alarm);
    bench.finds(Severity::Weakens, "hangs on an alarm in eu-west-1");
    bench.finds(Severity::Weakens, "counts missing data as healthy");
}

#[test]
fn some_sets_with_checks_and_some_without_is_found() {
    let mut bench = Bench::sound();
    bench.check(0, check());
    bench.finds(Severity::Weakens, "some sets are health-checked, not central");
    Bench::both_checked(|_, _| {}).finds(Severity::Note, "weight 0 is a last resort here");
}

#[test]
fn records_must_be_as_the_policy_says() {
    let mut bench = Bench::sound();
    bench.sets().pop();
    bench.finds(Severity::Stops, "the set `central` of region `eu-central-1` is missing");
    let mut bench = Bench::sound();
    bench.sets()[0].set_identifier = None;
    bench.finds(Severity::Stops, "found a plain record");
    let mut bench = Bench::sound();
    bench.sets()[1].foreign = vec!["geo location".to_owned()];
    bench.finds(Severity::Stops, "`geo location`, which is not understood");
    let mut bench = Bench::sound();
    (bench.sets()[0].weight, bench.sets()[1].weight) = (Some(Weight(0)), Some(Weight(100)));
    bench.finds(Severity::Note, "the policy says");
}

#[test]
fn what_cannot_be_read_is_said_with_the_permission() {
    let mut bench = Bench::sound();
    bench.facts.records.insert(zone(), Err(refused()));
    bench.finds(Severity::Stops, "permission `route53:ListResourceRecordSets` is missing");
    let mut bench = Bench::sound();
    bench.facts.records.insert(zone(), Err(silent()));
    bench.finds(Severity::Trouble, "could not be read: outcome unknown: no answer");
    let mut bench = Bench::sound();
    let odd = CallFailed::Refused { code: "InvalidInput".to_owned(), why: "unknown".to_owned() };
    bench.facts.quotas.insert(zone(), Err(odd));
    bench.finds(Severity::Note, "could not be read: refused (InvalidInput)");
    bench.facts.quotas.insert(zone(), Err(refused()));
    bench.finds(Severity::Note, "permission `route53:GetHostedZoneLimit` is missing");
    bench.facts.targets.insert(GROUP_CENTRAL.to_owned(), Err(refused()));
    bench.finds(Severity::Stops, "`elasticloadbalancing:DescribeTargetHealth` is missing");
    bench.facts.caller = Some(Err(silent()));
    bench.finds(Severity::Trouble, "could not be read");
}

#[test]
fn times_to_live_are_held_against_the_policy_and_against_sense() {
    for (ttl, severity, what) in [
        (90, Severity::Weakens, "is cached for 90s, the policy says 1m"),
        (200, Severity::Weakens, "is cached for 200s"),
        (3600, Severity::Stops, "is cached for 3600s"),
    ] {
        let mut bench = Bench::sound();
        bench.sets().iter_mut().for_each(|set| set.ttl = Some(ttl));
        bench.finds(severity, what);
    }
    let mut bench = Bench::sound();
    bench.sets()[0].ttl = Some(30);
    bench.finds(Severity::Weakens, "different times to live: [30, 60]");
}

#[test]
fn the_epoch_record_must_be_ours() {
    let txt = |value: &str| RecordSet {
        name: "_leeward.api.example.com".parse().unwrap(),
        kind: "TXT".to_owned(),
        set_identifier: None,
        weight: None,
        data: RecordData::Values(vec![value.to_owned()]),
        ..set("x", 0)
    };
    Bench::sound().finds(Severity::Note, "is not there yet");
    let mut bench = Bench::sound();
    bench.sets().push(txt("\"v=spf1 -all\""));
    bench.finds(Severity::Stops, "is not ours");
}

#[test]
fn an_empty_group_makes_a_good_region_look_dead() {
    let mut bench = Bench::sound();
    bench.targets(GROUP_EU).clear();
    bench.finds(Severity::Weakens, "has no targets");
    bench.evaluate();
    bench.finds(Severity::Stops, "has no targets");
    let mut bench = Bench::sound();
    bench.targets(GROUP_CENTRAL).clear();
    bench.finds(Severity::Stops, "has no targets");
}

#[test]
fn minimums_of_fail_open_are_counted_against_what_is_healthy() {
    let mut bench = Bench::sound();
    bench.evaluate();
    let key = "target_group_health.dns_failover.minimum_healthy_targets.count".to_owned();
    bench.group(GROUP_CENTRAL).attributes.insert(key.clone(), "3".to_owned());
    bench.finds(Severity::Stops, "2 healthy targets are below the minimum");
    bench.group(GROUP_CENTRAL).attributes.insert(key, "off".to_owned());
    bench.finds(Severity::Weakens, "its DNS failover settings are off");
}

#[test]
fn settings_that_hide_or_invent_death_are_found() {
    let change = |change: fn(&mut GroupFacts)| {
        let mut bench = Bench::sound();
        change(bench.group(GROUP_CENTRAL));
        bench
    };
    change(|group| group.unhealthy_after = 10)
        .finds(Severity::Weakens, "calls a target dead after 1m 40s");
    change(|group| group.timeout = Duration::from_secs(10))
        .finds(Severity::Weakens, "waits 10s in an interval of 10s");
    change(|group| group.matcher = Some("200-499".to_owned()))
        .finds(Severity::Weakens, "takes 200-499 for healthy");
    change(|group| group.balancers.clear())
        .finds(Severity::Stops, "is not attached to any balancer");
    change(|group| {
        group
            .attributes
            .insert("deregistration_delay.timeout_seconds".to_owned(), "3600".to_owned());
    })
    .finds(Severity::Note, "drains targets for 1h");
    change(|group| (group.target_type, group.health_checked) = ("lambda".to_owned(), false))
        .finds(Severity::Weakens, "a function as its target");
}

#[test]
fn a_standby_must_be_ready_now() {
    let mut bench = Bench::sound();
    bench.targets(GROUP_CENTRAL)[0].state = TargetState::Unhealthy;
    bench.finds(Severity::Stops, "1 of 2 targets are healthy");
    let mut bench = Bench::sound();
    bench.targets(GROUP_CENTRAL).iter_mut().for_each(|one| one.state = TargetState::Unavailable);
    bench.finds(Severity::Weakens, "says nothing about any of its targets");
    let mut bench = Bench::sound();
    bench.targets(GROUP_CENTRAL)[0].shifted_away = true;
    bench.finds(Severity::Note, "shifted away by a zonal shift");
    let mut bench = Bench::sound();
    let central: RegionName = "eu-central-1".parse().unwrap();
    bench.policy.regions.get_mut(&central).unwrap().capacity_rps = None;
    bench.finds(Severity::Weakens, "nobody knows how much it can take");
}

#[test]
fn balancers_must_serve_and_let_go() {
    for (state, severity, what) in [
        ("failed", Severity::Stops, "is failed"),
        ("active_impaired", Severity::Weakens, "is active_impaired"),
    ] {
        let mut bench = Bench::sound();
        let found = bench.facts.balancers.get_mut(BALANCER).unwrap().as_mut().unwrap();
        found.state = state.to_owned();
        bench.finds(severity, what);
        let found = bench.facts.balancers.get_mut(BALANCER).unwrap().as_mut().unwrap();
        found.attributes.clear();
        bench.finds(Severity::Weakens, "lets clients keep a connection for 1h");
    }
}

#[test]
fn accelerated_recovery_is_told_for_what_it_is() {
    for (status, severity, what) in [
        (None, Severity::Weakens, "accelerated recovery is off"),
        (Some("DISABLED"), Severity::Weakens, "accelerated recovery is off"),
        (Some("ENABLED"), Severity::Note, "accelerated recovery is on"),
        (Some("ENABLE_FAILED"), Severity::Weakens, "ENABLE_FAILED"),
        (Some("ENABLING_HOSTED_ZONE_LOCKED"), Severity::Stops, "ENABLING_HOSTED_ZONE_LOCKED"),
    ] {
        let mut bench = Bench::sound();
        let zone = bench.facts.zones.get_mut(&zone()).unwrap().as_mut().unwrap();
        zone.accelerated_recovery = status.map(str::to_owned);
        bench.finds(severity, what);
    }
    let mut bench = Bench::sound();
    bench.facts.zones.get_mut(&zone()).unwrap().as_mut().unwrap().private = true;
    let Lever::Weights(lever) = &mut bench.policy.levers[0] else { unreachable!("the only lever") };
    lever.readback = Readback::NameServers;
    bench.finds(Severity::Stops, "is private and has no name servers");
}

#[test]
fn quotas_clock_and_place_are_looked_at() {
    let mut bench = Bench::sound();
    bench.facts.quotas.insert(zone(), Ok(Quota { used: 10_000, max: 10_000 }));
    bench.finds(Severity::Stops, "is full");
    bench.facts.quotas.insert(zone(), Ok(Quota { used: 9_500, max: 10_000 }));
    bench.finds(Severity::Weakens, "is nearly full");
    let mut bench = Bench::sound();
    let small = [("targets-per-target-group".to_owned(), 1)];
    bench.facts.limits.insert("eu-central-1".to_owned(), Ok(small.into()));
    bench.finds(Severity::Weakens, "the largest region has 2 targets");
    for (off, severity) in [(20, Severity::Weakens), (600, Severity::Stops)] {
        let mut bench = Bench::sound();
        bench.facts.at = samples::NOW.plus(Duration::from_secs(off));
        bench.finds(severity, " off");
    }
    let mut bench = Bench::sound();
    bench.facts.here = Some("eu-west-1".to_owned());
    bench.finds(Severity::Weakens, "the controller runs in eu-west-1");
    bench.facts.here = None;
    bench.finds(Severity::Note, "it is not known where it runs");
    let home: RegionName = "eu-west-1".parse().unwrap();
    bench.policy.regions.get_mut(&home).unwrap().aws_region = Some("us-east-1".to_owned());
    bench.finds(Severity::Stops, "`weights` is the only lever");
}

#[test]
fn what_the_rescue_needs_is_asked_with_names_types_and_actions() {
    let bench = Bench::sound();
    let asked = permissions(&bench.policy, "t");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].resource, "arn:aws:route53:::hostedzone/Z1");
    let key = |name: &str| &asked[0].context[&format!("route53:ChangeResourceRecordSets{name}")];
    assert_eq!(key("NormalizedRecordNames"), &["_leeward.api.example.com", "api.example.com"]);
    assert_eq!(key("RecordTypes"), &["A", "TXT"]);
    assert_eq!(key("Actions"), &["CREATE", "DELETE"]);
}

#[test]
fn a_permission_that_is_missing_stops_whoever_acts() {
    for verdict in [Verdict::Denied, Verdict::NotAllowed] {
        let mut bench = Bench::sound();
        let asked = permissions(&bench.policy, "t").remove(0);
        bench.facts.may.insert(asked, Ok(verdict));
        bench.finds(Severity::Stops, "statement");
        bench.policy.mode = Mode::Observe;
        bench.finds(Severity::Weakens, "statement");
    }
    let mut bench = Bench::sound();
    let asked = permissions(&bench.policy, "t").remove(0);
    bench.facts.may.insert(asked, Err(refused()));
    bench.finds(Severity::Weakens, "permission `iam:SimulatePrincipalPolicy` is missing");
}

#[test]
fn the_role_of_a_session_is_asked_about() {
    for (arn, role) in [
        ("arn:aws:sts::1:assumed-role/leeward/i-1", Some("arn:aws:iam::1:role/leeward")),
        ("arn:aws:iam::1:user/ops/ana", Some("arn:aws:iam::1:user/ops/ana")),
        ("arn:aws-cn:sts::1:assumed-role/a/b", Some("arn:aws-cn:iam::1:role/a")),
        ("arn:aws:iam::1:root", None),
        ("arn:aws:sts::1:federated-user/x", None),
        ("rubbish", None),
    ] {
        assert_eq!(role_of(arn).as_deref(), role, "{arn}");
    }
}
