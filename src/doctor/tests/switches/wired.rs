//! What is answered by the wiring as it was read: a sound account, and one thing wrong with it at a time.

use super::*;
use crate::doctor::{Answered, Standing, answered, unsound};

fn standing(gate: InAnswers, control: InAnswers) -> Standing {
    Standing { gates: [(eu(), gate)].into(), controls: [(eu(), control)].into(), voters: 1 }
}

/// In whole per cent.
#[expect(clippy::cast_possible_truncation, reason = "0 to 100")]
fn share(answered: &[Answered], region: &RegionName) -> i64 {
    answered[0].shares.get(region).map_or(0, |share| (share.get() * 100.0).round() as i64)
}

impl Bench {
    /// The share of the first region, with its gate like this.
    fn by_gate(&self, gate: InAnswers) -> i64 {
        let standing = standing(gate, InAnswers::In);
        share(&answered(&self.policy, &self.facts, &standing).unwrap(), &eu())
    }

    /// With its gate open, and closed.
    fn around(&self) -> (i64, i64) {
        (self.by_gate(InAnswers::In), self.by_gate(InAnswers::Out))
    }

    fn warns(&self, of: &str) {
        let told = unsound(&self.policy, &self.facts);
        assert!(told.iter().any(|one| one.contains(of)), "{of}: {told:#?}");
    }
}

#[test]
fn a_sound_wiring_answers_as_the_switches_stand() {
    let bench = Bench::switched();
    assert_eq!(unsound(&bench.policy, &bench.facts), Vec::<String>::new());
    for (gate, control, expected) in [
        (InAnswers::In, InAnswers::In, 100),
        (InAnswers::Out, InAnswers::In, 0),
        (InAnswers::In, InAnswers::Out, 0),
        (InAnswers::Out, InAnswers::Out, 0),
    ] {
        let told = answered(&bench.policy, &bench.facts, &standing(gate, control)).unwrap();
        assert_eq!((told.len(), told[0].name.as_str()), (1, "api.example.com A"));
        assert_eq!(share(&told, &eu()), expected, "{gate:?} {control:?}");
        assert_eq!(share(&told, &central()), 100 - expected);
    }
}

#[test]
fn what_is_wrong_with_the_wiring_shows_in_the_answers() {
    type Change = fn(&mut Bench);
    let cases: [(&str, Change, (i64, i64)); 11] = [
        ("has no health check", |bench| bench.sets()[0].health_check = None, (100, 100)),
        // An open gate takes the region out, and publishing it lets it in.
        ("is not inverted", |bench| bench.facts_of(GATE).inverted = false, (0, 100)),
        ("disabled and inverted", |bench| bench.facts_of(GATE).disabled = true, (0, 0)),
        (
            "is disabled: healthy",
            |bench| {
                let gate = bench.facts_of(GATE);
                (gate.disabled, gate.inverted) = (true, false);
            },
            (100, 100),
        ),
        ("is disabled: healthy", |bench| bench.facts_of(BOTH).disabled = true, (100, 100)),
        ("calculated check both-eu is inv", |bench| bench.facts_of(BOTH).inverted = true, (0, 100)),
        ("2 published gate(s)", |bench| bench.facts_of(BOTH).threshold = Some(1), (100, 100)),
        ("always healthy", |bench| bench.facts_of(BOTH).threshold = Some(0), (100, 100)),
        ("it never is", |bench| bench.facts_of(BOTH).threshold = Some(3), (0, 0)),
        (
            "and the gate stands at",
            |bench| bench.facts_of(GATE).path = Some("/elsewhere".to_owned()),
            (100, 100),
        ),
        (
            "in the body of the answer",
            |bench| bench.facts_of(GATE).search = Some("closed".to_owned()),
            (100, 100),
        ),
    ];
    for (what, change, expected) in cases {
        let bench = Bench::change(change);
        assert_eq!(bench.around(), expected, "{what}");
        bench.warns(what);
    }
    // An app check beside the gate is taken for healthy, whichever way round it is.
    for inverted in [false, true] {
        let bench = Bench::change(|bench| {
            let app = CheckFacts { inverted, ..check() };
            bench.facts.checks.insert("app".to_owned(), Ok(app));
            let both = bench.facts_of(BOTH);
            both.children.push("app".to_owned());
            both.threshold = Some(3);
        });
        assert_eq!(bench.around(), (100, 0));
    }
}

#[test]
fn a_control_decides_by_the_check_that_hangs_on_it() {
    let by_control = |bench: &Bench| {
        let told = answered(&bench.policy, &bench.facts, &standing(InAnswers::In, InAnswers::Out));
        share(&told.unwrap(), &eu())
    };
    assert_eq!(by_control(&Bench::switched()), 0);
    let other = Bench::change(|bench| {
        bench.facts_of(CONTROLS[0]).routing_control = Some("arn:of:another".to_owned());
    });
    assert_eq!(by_control(&other), 100);
    other.warns("none of its health checks hangs on the control");
    let inverted = Bench::change(|bench| bench.facts_of(CONTROLS[0]).inverted = true);
    assert_eq!((inverted.by_gate(InAnswers::In), by_control(&inverted)), (0, 100));
}

#[test]
fn one_vote_of_several_changes_nothing() {
    let bench = Bench::change(|bench| {
        bench.gates().votes = Votes { needed: 2, of: 3 };
        for id in ["gate-b", "gate-c"] {
            let path = Some(format!("/shop/eu-west-1/{id}"));
            let check = CheckFacts { path, ..bench.facts_of(GATE).clone() };
            bench.facts.checks.insert(id.to_owned(), Ok(check));
        }
        bench.facts.holder = "t".to_owned();
        let both = bench.facts_of(BOTH);
        both.children = [GATE, "gate-b", "gate-c"].map(str::to_owned).into();
        both.threshold = Some(2);
    });
    let by = |voters| {
        let standing = Standing { voters, ..standing(InAnswers::Out, InAnswers::In) };
        share(&answered(&bench.policy, &bench.facts, &standing).unwrap(), &eu())
    };
    assert_eq!((by(1), by(2), by(3)), (100, 0, 0));
}

#[test]
fn slots_are_closed_one_by_one_and_a_witness_stands_for_records_that_are_not_named() {
    let mut bench = Bench::switched();
    bench.policy.levers.truncate(1);
    let slot = bench.gates().slots[&eu()][0].clone();
    let numbered = |number: &str| {
        let Gate::S3 { bucket, aws_region, .. } = slot.gate.clone() else { unreachable!() };
        let gate = Gate::S3 { bucket, key: format!("shop/{number}"), aws_region, url: None };
        Slot { gate, health_check: None }
    };
    bench.gates().slots = [(eu(), vec![numbered("0"), numbered("1")])].into();
    for number in ["0", "1"] {
        let path = Some(format!("/shop/{number}"));
        let check = CheckFacts { path, ..bench.facts_of(GATE).clone() };
        bench.facts.checks.insert(format!("slot-{number}"), Ok(check));
    }
    let shown =
        [txt(&eu(), 50, "slot-0"), txt(&eu(), 50, "slot-1"), txt(&central(), 100, CONTROLS[1])];
    *bench.sets() = shown.into();
    let part = InAnswers::Part { closed: 1, of: 2 };
    let third = bench.by_gate(part);
    assert_eq!((bench.by_gate(InAnswers::In), bench.by_gate(InAnswers::Out)), (50, 0));
    assert_eq!(third, 33);
}

/// Gates may hang on a failover pair, which Leeward never writes: its sets have no weight.
#[test]
fn a_failover_pair_is_answered_by_its_primary_unless_the_gate_is_closed() {
    let mut bench = Bench::switched();
    bench.policy.levers.truncate(1);
    let failover = |region: &RegionName, check: &str| RecordSet {
        weight: None,
        foreign: vec!["failover".to_owned()],
        ..txt(region, 0, check)
    };
    *bench.sets() = vec![failover(&eu(), BOTH), failover(&central(), CONTROLS[1])];
    assert_eq!(bench.around(), (100, 0));
}

#[test]
fn what_was_not_read_is_said_and_not_guessed() {
    let why = |bench: &Bench| {
        let standing = standing(InAnswers::In, InAnswers::In);
        answered(&bench.policy, &bench.facts, &standing).unwrap_err()
    };
    let unread = Bench::change(|bench| {
        bench.facts.checks.insert(CONTROLS[0].to_owned(), Err(refused()));
    });
    assert!(
        why(&unread).contains("check control-eu of api.example.com A \"eu\" could not be read")
    );
    let missing = Bench::change(|bench| drop(bench.facts.checks.remove(GATE)));
    assert!(why(&missing).contains("check gate-eu"), "{}", why(&missing));
    let zoneless = Bench::change(|bench| {
        bench.facts.records.insert(zone(), Err(silent()));
    });
    assert!(why(&zoneless).contains("records of zone"), "{}", why(&zoneless));
    let nameless = Bench::change(|bench| {
        bench.policy.levers.truncate(1);
        bench.gates().proof.witness = None;
    });
    assert!(why(&nameless).contains("names no record"), "{}", why(&nameless));
}
