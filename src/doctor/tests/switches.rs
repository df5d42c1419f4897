//! Gates, routing controls and witnesses: a sound account, and one thing wrong with it at a time.

#[cfg(test)]
mod wired;

use super::*;
use crate::domain::InAnswers;
use crate::policy::{ArcLever, Check, Gate, GatesLever, Proof, Slot, Votes, Witness};
use crate::ports::GateFacts;
use crate::steer::Found;

const SERVER: &str = "ns-1.awsdns-00.com:53";
const OTHER_SERVER: &str = "ns-2.awsdns-00.net:53";
const ENDPOINTS: [&str; 5] =
    ["us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-2"];
/// The calculated check over the gate and the control of the region that is protected.
const BOTH: &str = "both-eu";
const GATE: &str = "gate-eu";
const CONTROLS: [&str; 2] = ["control-eu", "control-central"];

fn eu() -> RegionName {
    "eu-west-1".parse().unwrap()
}

fn central() -> RegionName {
    "eu-central-1".parse().unwrap()
}

fn arn(region: &RegionName) -> String {
    format!(
        "arn:aws:route53-recovery-control::123456789012:controlpanel/0123/routingcontrol/{region}"
    )
}

fn witness() -> Witness {
    let name = "_where.api.example.com".parse().unwrap();
    Witness { zone: zone(), name, servers: [SERVER, OTHER_SERVER].map(str::to_owned).into() }
}

fn txt(region: &RegionName, weight: u8, check: &str) -> RecordSet {
    RecordSet {
        name: witness().name,
        kind: "TXT".to_owned(),
        data: RecordData::Values(vec![format!("\"{region}\"")]),
        health_check: Some(check.to_owned()),
        ..set(region.as_str(), weight)
    }
}

impl Bench {
    /// A gate and a routing control for the first region, a control for the second, a witness for both.
    fn switched() -> Self {
        let mut bench = Self::sound();
        let gate = Gate::S3 {
            bucket: "gates".to_owned(),
            key: "shop/eu-west-1/{holder}".to_owned(),
            aws_region: "eu-central-1".to_owned(),
            url: None,
        };
        let slot = Slot { gate, health_check: Some(GATE.to_owned()) };
        let proof = Proof {
            ttl: Duration::from_secs(60),
            in_force_within: Duration::from_secs(300),
            witness: Some(witness()),
        };
        let gates = GatesLever {
            slots: [(eu(), vec![slot])].into(),
            check: Check { every: Duration::from_secs(10), failures: 3 },
            votes: Votes { needed: 1, of: 1 },
            proof: proof.clone(),
        };
        let arc = ArcLever {
            endpoints: ENDPOINTS.map(|region| (region.to_owned(), "https://x".to_owned())).into(),
            controls: [eu(), central()].map(|region| (region.clone(), arn(&region))).into(),
            override_rules: Vec::new(),
            proof,
        };
        bench.policy.levers.splice(0..0, [Lever::Gates(gates), Lever::Arc(arc)]);
        bench.sets()[0].health_check = Some(BOTH.to_owned());
        bench.sets()[1].health_check = Some(CONTROLS[1].to_owned());
        let shown = [txt(&eu(), 100, BOTH), txt(&central(), 0, CONTROLS[1])];
        bench.sets().extend(shown);
        let both = CheckFacts {
            kind: "CALCULATED".to_owned(),
            endpoint: None,
            threshold: Some(2),
            children: vec![GATE.to_owned(), CONTROLS[0].to_owned()],
            ..check()
        };
        let gate = CheckFacts {
            endpoint: Some("gates.s3.eu-central-1.amazonaws.com".to_owned()),
            path: Some("/shop/eu-west-1/t".to_owned()),
            inverted: true,
            ..check()
        };
        let control = |region: RegionName| CheckFacts {
            kind: "RECOVERY_CONTROL".to_owned(),
            endpoint: None,
            routing_control: Some(arn(&region)),
            ..check()
        };
        let checks = [
            (BOTH, both),
            (GATE, gate),
            (CONTROLS[0], control(eu())),
            (CONTROLS[1], control(central())),
        ];
        bench.facts.checks = checks.map(|(id, check)| (id.to_owned(), Ok(check))).into();
        let open = GateFacts { kept: Some(Ok(false)), outside: Ok(404), stranger: false };
        bench.facts.gates = [((eu(), 0), open)].into();
        let nobody = Found { healthy: 0, checkers: 16 };
        bench.facts.found = [(GATE.to_owned(), Ok(nobody))].into();
        let on = || [eu(), central()].map(|region| (region, Ok(InAnswers::In))).into();
        bench.facts.controls = ENDPOINTS.map(|region| (region.to_owned(), on())).into();
        bench.facts.servers = [(SERVER.to_owned(), Ok(vec!["eu-west-1".to_owned()]))].into();
        let may = permissions(&bench.policy, "t").into_iter();
        bench.facts.may = may.map(|asked| (asked, Ok(Verdict::Allowed))).collect();
        bench
    }

    fn change(change: impl FnOnce(&mut Self)) -> Self {
        let mut bench = Self::switched();
        change(&mut bench);
        bench
    }

    fn gates(&mut self) -> &mut GatesLever {
        let Lever::Gates(lever) = &mut self.policy.levers[0] else { unreachable!("comes first") };
        lever
    }

    fn facts_of(&mut self, id: &str) -> &mut CheckFacts {
        self.facts.checks.get_mut(id).unwrap().as_mut().unwrap()
    }

    fn gate(&mut self) -> &mut GateFacts {
        self.facts.gates.get_mut(&(eu(), 0)).unwrap()
    }

    fn told(&mut self, endpoint: usize, region: &RegionName, read: Read<InAnswers>) {
        let endpoint = self.facts.controls.get_mut(ENDPOINTS[endpoint]).unwrap();
        endpoint.insert(region.clone(), read);
    }

    /// Every endpoint says the same.
    fn stands(&mut self, region: &RegionName, stands: InAnswers) {
        for endpoint in 0..ENDPOINTS.len() {
            self.told(endpoint, region, Ok(stands));
        }
    }
}

#[test]
fn sound_switches_have_notes_only() {
    Bench::switched().finds_nothing_bad();
    // The other names that S3 has for the same object.
    for (host, path) in [
        ("s3.eu-central-1.amazonaws.com", "/gates/shop/eu-west-1/t"),
        ("gates.s3.dualstack.eu-central-1.amazonaws.com", "/shop/eu-west-1/another-controller"),
    ] {
        let bench = Bench::change(|bench| {
            let check = bench.facts_of(GATE);
            (check.endpoint, check.path) = (Some(host.to_owned()), Some(path.to_owned()));
        });
        bench.finds_nothing_bad();
    }
}

#[test]
fn a_gate_that_is_published_on_a_calm_day_is_found() {
    let closed = Bench::change(|bench| {
        *bench.gate() = GateFacts { kept: Some(Ok(true)), outside: Ok(200), stranger: false };
        bench.facts.found.clear();
    });
    closed.finds(Severity::Weakens, "is published now: `eu-west-1` is taken out");
    let served = Bench::change(|bench| {
        *bench.gate() = GateFacts { kept: None, outside: Ok(200), stranger: false };
        bench.facts.found.clear();
    });
    served.finds(Severity::Weakens, "is published now");
    let all = Bench::change(|bench| {
        let gate = GateFacts { kept: Some(Ok(true)), outside: Ok(200), stranger: false };
        bench.facts.gates = [((eu(), 0), gate.clone()), ((central(), 0), gate)].into();
    });
    all.finds(Severity::Stops, "those of every region are closed");
}

/// Only what this program answers is its gate; behind its address anybody may answer.
#[test]
fn a_page_in_the_place_of_a_gate_is_named() {
    let page = |status, search: Option<&str>| {
        Bench::change(|bench| {
            *bench.gate() = GateFacts { kept: None, outside: Ok(status), stranger: true };
            bench.facts.found.clear();
            bench.facts_of(GATE).search = search.map(str::to_owned);
        })
    };
    for (status, search, severity) in [
        (200, None, Severity::Stops),
        (302, None, Severity::Stops),
        (200, Some("out"), Severity::Weakens),
        (404, None, Severity::Weakens),
        (503, None, Severity::Weakens),
    ] {
        let what = format!("answers {status} from outside with a page that is not the gate's");
        let bench = page(status, search);
        bench.finds(severity, &what);
        let told = bench.findings();
        assert!(!told.iter().any(|one| one.what.contains("is published now")), "{told:#?}");
    }
    let ours = Bench::change(|bench| {
        *bench.gate() = GateFacts { kept: None, outside: Ok(404), stranger: false };
    });
    assert!(!ours.findings().iter().any(|one| one.what.contains("a page that is not")));
}

#[test]
fn a_gate_must_look_from_outside_as_it_stands() {
    for (kept, outside, severity, what) in [
        (
            Some(false),
            Ok(200),
            Severity::Stops,
            "answers 200 from outside though the object is not there",
        ),
        (Some(false), Ok(302), Severity::Stops, "answers 302 from outside"),
        (
            Some(true),
            Ok(403),
            Severity::Stops,
            "answers 403 from outside though the object is there",
        ),
        (Some(false), Ok(403), Severity::Note, "for what is missing and for what is private"),
        (
            Some(false),
            Err("no answer".to_owned()),
            Severity::Trouble,
            "does not answer from here: no answer",
        ),
        (None, Err("refused".to_owned()), Severity::Trouble, "does not answer from here: refused"),
        (None, Ok(502), Severity::Weakens, "answers 502 from outside, and not the 404"),
    ] {
        let bench = Bench::change(|bench| {
            *bench.gate() = GateFacts { kept: kept.map(Ok), outside, stranger: false }
        });
        bench.finds(severity, what);
    }
    let kept = |failure| Bench::change(|bench| bench.gate().kept = Some(Err(failure)));
    kept(refused())
        .finds(Severity::Stops, "permission `s3:GetObject` and `s3:ListBucket` is missing");
    let gone = CallFailed::NotFound { code: "NoSuchBucket".to_owned(), why: "x".to_owned() };
    kept(gone).finds(Severity::Stops, "NoSuchBucket");
    kept(silent()).finds(Severity::Trouble, "could not be read");
}

#[test]
fn what_checkers_find_is_held_against_the_gate() {
    let found = |healthy| {
        Bench::change(|bench| {
            bench.facts.found.insert(GATE.to_owned(), Ok(Found { healthy, checkers: 16 }));
        })
    };
    found(2).finds_nothing_bad();
    found(3).finds(Severity::Stops, "is open and 3 of 16 checkers find it published");
    let mut unseen = found(0);
    *unseen.gate() = GateFacts { kept: Some(Ok(true)), outside: Ok(200), stranger: false };
    unseen.finds(Severity::Stops, "is published and 16 of 16 checkers find it open");
    let mut unread = found(0);
    unread.facts.found.insert(GATE.to_owned(), Err(refused()));
    unread.finds(Severity::Note, "permission `route53:GetHealthCheckStatus` is missing");
}

#[test]
fn the_check_of_a_gate_is_inverted_and_sees_the_gate() {
    let wired = |change: fn(&mut CheckFacts)| Bench::change(|bench| change(bench.facts_of(GATE)));
    wired(|check| check.inverted = false).finds(Severity::Stops, "is not inverted");
    wired(|check| check.disabled = true).finds(Severity::Stops, "unhealthy for good");
    wired(|check| check.kind = "TCP".to_owned())
        .finds(Severity::Stops, "is of type TCP, which does not see");
    wired(|check| check.path = Some("/shop/eu-central-1/t".to_owned())).finds(
        Severity::Stops,
        "and the gate stands at https://gates.s3.eu-central-1.amazonaws.com",
    );
    wired(|check| check.search = Some("healthy".to_owned()))
        .finds(Severity::Stops, "wants `healthy` in the body");
    wired(|check| check.search = Some(" takes ".to_owned())).finds_nothing_bad();
    wired(|check| check.failures = 2)
        .finds(Severity::Weakens, "asks every 10s, 2 times; the policy says");
    let unread = Bench::change(|bench| {
        bench.facts.checks.insert(GATE.to_owned(), Err(refused()));
    });
    unread.finds(Severity::Weakens, "permission `route53:GetHealthCheck` is missing");
}

#[test]
fn a_gate_over_http_is_looked_at_where_it_is() {
    let over = |url: &str, port: Option<u16>| {
        Bench::change(|bench| {
            let slot = &mut bench.gates().slots.get_mut(&eu()).unwrap()[0];
            slot.gate = Gate::Http { url: url.to_owned(), aws_region: None };
            bench.gate().kept = None;
            let check = bench.facts_of(GATE);
            (check.endpoint, check.port) = (Some("Leeward.example.net".to_owned()), port);
            check.path = Some("/gates/shop/eu-west-1/0".to_owned());
        })
    };
    let path = "gates/shop/eu-west-1/0";
    over(&format!("https://leeward.example.net/{path}"), Some(443)).finds_nothing_bad();
    over(&format!("https://leeward.example.net/{path}"), None).finds_nothing_bad();
    over(&format!("https://leeward.example.net:9464/{path}"), Some(9464)).finds_nothing_bad();
    for (url, port) in [
        (format!("https://leeward.example.net:9464/{path}"), Some(443)),
        (format!("https://other.example.net/{path}"), Some(443)),
        ("https://leeward.example.net/gates/shop/eu-west-1/1".to_owned(), Some(443)),
    ] {
        over(&url, port).finds(Severity::Stops, "and the gate stands at");
    }
}

#[test]
fn records_must_hang_on_the_gates_of_their_region() {
    let bare = Bench::change(|bench| {
        let checks = &mut bench.sets()[0].health_check;
        *checks = None;
    });
    bare.finds(Severity::Stops, "has no health check");
    let other = Bench::change(|bench| bench.facts_of(BOTH).children = vec![CONTROLS[0].to_owned()]);
    other.finds(Severity::Stops, "hangs on check both-eu, which counts none of theirs");
    let plain = Bench::change(|bench| bench.sets()[0].health_check = Some(CONTROLS[0].to_owned()));
    plain.finds(Severity::Stops, "hangs on check control-eu, which is none of theirs");
    let inverted = Bench::change(|bench| bench.facts_of(BOTH).inverted = true);
    inverted.finds(Severity::Stops, "the calculated check both-eu is inverted");
    // Nobody knows a record.
    let unnamed = Bench::change(|bench| {
        bench.policy.levers.truncate(1);
        bench.gates().proof.witness = None;
    });
    unnamed.finds(Severity::Note, "no record is known that hangs on them");
    // The witness alone tells the wiring.
    let alone = Bench::change(|bench| {
        bench.policy.levers.truncate(1);
        bench.facts.checks.remove(BOTH);
        bench.sets()[2].health_check = Some(CONTROLS[0].to_owned());
    });
    alone.finds(Severity::Stops, "hangs on check control-eu, which is none of theirs");
}

/// Also where the policy does not name the check that a record hangs on.
#[test]
fn a_check_that_is_not_inverted_is_found_by_what_it_looks_at() {
    for on_record in [BOTH, GATE] {
        let upright = Bench::change(|bench| {
            let slots = bench.gates().slots.values_mut().flatten();
            slots.for_each(|slot| slot.health_check = None);
            bench.sets()[0].health_check = Some(on_record.to_owned());
            bench.facts_of(GATE).inverted = false;
        });
        upright.finds(Severity::Stops, "is not inverted");
    }
}

#[test]
fn votes_take_a_region_out_as_the_policy_says() {
    // One of two children is enough to stay: the gate alone takes nothing out.
    let lone = Bench::change(|bench| bench.facts_of(BOTH).threshold = Some(1));
    lone.finds(Severity::Stops, "2 published gate(s) take it out, the policy says 1");
    let voted = |needed, threshold| {
        Bench::change(|bench| {
            bench.gates().votes = Votes { needed, of: 3 };
            for id in ["gate-b", "gate-c"] {
                let check = bench.facts_of(GATE).clone();
                let path = Some(format!("/shop/eu-west-1/{id}"));
                bench.facts.checks.insert(id.to_owned(), Ok(CheckFacts { path, ..check }));
            }
            let both = bench.facts_of(BOTH);
            both.children = [GATE, "gate-b", "gate-c"].map(str::to_owned).into();
            both.threshold = Some(threshold);
        })
    };
    let of_votes = |bench: &Bench| {
        let all = bench.findings().into_iter();
        all.filter(|finding| finding.what.contains("take it out")).count()
    };
    assert_eq!(of_votes(&voted(2, 2)), 0);
    voted(2, 1).finds(Severity::Stops, "3 published gate(s) take it out, the policy says 2");
    voted(2, 3).finds(Severity::Weakens, "1 published gate(s) take it out, the policy says 2");
    let uncounted = Bench::change(|bench| {
        bench.gates().votes = Votes { needed: 2, of: 3 };
        bench.sets()[0].health_check = Some(GATE.to_owned());
    });
    uncounted.finds(Severity::Weakens, "1 published gate(s) take it out, the policy says 2");
}

#[test]
fn endpoints_of_a_cluster_must_answer() {
    let mut bench = Bench::switched();
    for (endpoint, failure) in [(0, silent()), (1, silent())] {
        for region in [eu(), central()] {
            bench.told(endpoint, &region, Err(failure.clone()));
        }
    }
    bench.finds(Severity::Trouble, "could not be read: outcome unknown: no answer");
    let few = "endpoints tell how the controls stand";
    assert!(!bench.findings().iter().any(|finding| finding.what.contains(few)));
    bench.told(2, &eu(), Err(silent()));
    bench.finds(Severity::Weakens, &format!("2 of 5 {few}"));
    for endpoint in 0..ENDPOINTS.len() {
        bench.told(endpoint, &eu(), Err(refused()));
    }
    bench.finds(Severity::Stops, &format!("0 of 5 {few}"));
    bench.finds(
        Severity::Stops,
        "permission `route53-recovery-cluster:GetRoutingControlState` is missing",
    );
    let gone =
        CallFailed::NotFound { code: "ResourceNotFoundException".to_owned(), why: "x".to_owned() };
    let bench = Bench::change(|bench| bench.told(0, &central(), Err(gone)));
    bench.finds(Severity::Stops, "ResourceNotFoundException");
}

#[test]
fn controls_are_on_on_a_calm_day() {
    Bench::change(|bench| bench.stands(&central(), InAnswers::Out))
        .finds(Severity::Weakens, "is `Off`");
    let home = Bench::change(|bench| bench.stands(&eu(), InAnswers::Out));
    let finding = home.findings().into_iter().find(|finding| finding.what == "is `Off`").unwrap();
    assert!(finding.why.contains("traffic is away"), "{finding:?}");
    let none = Bench::change(|bench| {
        bench.stands(&eu(), InAnswers::Out);
        bench.stands(&central(), InAnswers::Out);
    });
    none.finds(Severity::Stops, "none of them is `On`");
    Bench::change(|bench| bench.told(3, &eu(), Ok(InAnswers::Out)))
        .finds(Severity::Weakens, "some endpoints say `On` and some `Off`");
}

#[test]
fn records_must_hang_on_the_control_of_their_region() {
    let swapped = Bench::change(|bench| {
        let (one, two) = (arn(&eu()), arn(&central()));
        bench.facts_of(CONTROLS[0]).routing_control = Some(two);
        bench.facts_of(CONTROLS[1]).routing_control = Some(one);
    });
    swapped.finds(Severity::Stops, "hangs on the control of `eu-central-1`");
    Bench::change(|bench| bench.facts_of(CONTROLS[1]).inverted = true)
        .finds(Severity::Stops, "check control-central is inverted");
    let none = Bench::change(|bench| bench.sets()[1].health_check = Some(GATE.to_owned()));
    none.finds(Severity::Stops, "none of its health checks hangs on the control");
}

#[test]
fn a_witness_shows_what_the_service_answers() {
    Bench::change(|bench| drop(bench.sets().pop()))
        .finds(Severity::Stops, "has no TXT set with the value `eu-central-1`");
    Bench::change(|bench| bench.sets()[2].weight = Some(Weight(50)))
        .finds(Severity::Stops, "has another weight or another health check");
    Bench::change(|bench| bench.sets()[2].health_check = None)
        .finds(Severity::Stops, "has another weight or another health check");
    let answers = |read| {
        Bench::change(|bench| {
            bench.facts.servers.insert(OTHER_SERVER.to_owned(), read);
        })
    };
    answers(Ok(vec!["eu-west-1".to_owned()])).finds_nothing_bad();
    answers(Err(silent())).finds(Severity::Weakens, "is not answered by ns-2.awsdns-00.net:53");
    answers(Ok(Vec::new())).finds(Severity::Weakens, "(no such record)");
    Bench::change(|bench| drop(bench.facts.servers.insert(SERVER.to_owned(), Err(silent()))))
        .finds(Severity::Trouble, "is not answered by");
    let unread = Bench::change(|bench| {
        bench.policy.levers.truncate(1);
        bench.facts.records.insert(zone(), Err(refused()));
    });
    unread.finds(Severity::Stops, "permission `route53:ListResourceRecordSets` is missing");
}

#[test]
fn permissions_of_switches_are_asked_with_what_they_are_for() {
    let mut bench = Bench::switched();
    let asked = permissions(&bench.policy, "t");
    let asks = |action: &str, resource: &str| {
        asked.iter().any(|one| one.action == action && one.resource == resource)
    };
    for action in ["s3:PutObject", "s3:DeleteObject", "s3:GetObject"] {
        assert!(asks(action, "arn:aws:s3:::gates/shop/eu-west-1/t"), "{asked:#?}");
    }
    assert!(asks("s3:ListBucket", "arn:aws:s3:::gates"));
    for region in [eu(), central()] {
        for action in ["UpdateRoutingControlStates", "GetRoutingControlState"] {
            assert!(asks(&format!("route53-recovery-cluster:{action}"), &arn(&region)));
        }
    }
    let overrides = |bench: &Bench| {
        let asked = permissions(&bench.policy, "t").into_iter();
        let mut values =
            asked.flat_map(|one| one.context).filter(|(key, _)| key.ends_with("Overrides"));
        values.next().unwrap().1
    };
    assert_eq!(overrides(&bench), ["false"]);
    let Lever::Arc(lever) = &mut bench.policy.levers[1] else { unreachable!("comes second") };
    lever.override_rules =
        vec!["arn:aws:route53-recovery-control::1:controlpanel/0/safetyrule/1".to_owned()];
    assert_eq!(overrides(&bench), ["true"]);
}
