//! A service, its outage and its records, as the texts of the tests need them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::history::Line;
use super::view::{Did, OpenOrder, PolicyState, Readiness, View};
use crate::balancer::cure::{Cure, Floor, Step, Until};
use crate::balancer::{Call, Snapshot};
use crate::bulletin::{Bulletin, Light, Phase, Update};
use crate::decide::{
    Asking, ClassReading, Decision, Diagnosis, Digest, Finding, Fitness, Hold, Verdict,
};
use crate::domain::{InAnswers, Ratio, RegionName, Split, Timestamp, Turn, Weight};
use crate::health::{Answers, Reading};
use crate::memory::{
    Abort, Acts, Asked, Copied, CureNote, Entry, Guard, Outcome, Pin, Request, ZoneEnd, ZoneNote,
};
use crate::plan::{
    Batch, Epoch, HookAnswer, HookCall, HookEnd, Move, Plan, Purpose, RecordData, RecordSet, Swap,
    Wanted, ZoneAct, ZoneStep,
};
use crate::policy::{
    Balancer, Class, EpochRecord, Failback, Guards, Judge, LastResort, Lever, LeverKind, Mode,
    Overflow, Pace, Policy, Probe, ProbeExpect, ProbeProtocol, ProbeTimeouts, Readback, Region,
    Role, RungKind, ShiftRules, Signal, Source, Tell, Triggers, Unready, Vantage, WeightsLever,
};
use crate::ports::{CallFailed, ChangeId};
use crate::tell::{Letter, Note, Severity};

/// 2026-11-21T03:00:00Z
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_230_000);

/// Snapshots stand with the other files of the tests.
pub(crate) fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../tests/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

fn ago(seconds: u64) -> Timestamp {
    NOW.minus(Duration::from_secs(seconds))
}

fn split(west: u8, central: u8) -> Split {
    let weights = [(region("eu-west-1"), Weight(west)), (region("eu-central-1"), Weight(central))];
    Split::new(weights.into()).unwrap()
}

pub(crate) fn answers() -> Answers {
    Answers::Split { split: split(100, 0), read_at: NOW }
}

pub(crate) fn pin() -> Pin {
    Pin {
        by: "ana".to_owned(),
        reason: "database upgrade".to_owned(),
        since: ago(600),
        until: Some(NOW.plus(Duration::from_secs(3600))),
    }
}

pub(crate) fn request() -> Request {
    Request {
        by: "ana".to_owned(),
        reason: "drill".to_owned(),
        at: ago(30),
        until: NOW.plus(Duration::from_secs(3600)),
        what: Asked::Shift { to: region("eu-central-1"), share: Ratio::new(0.25) },
        overrides: [Guard::Cooldown].into(),
        met_at: None,
    }
}

pub(crate) fn abort() -> Abort {
    Abort {
        by: "ben".to_owned(),
        reason: "wrong region".to_owned(),
        at: ago(5),
        until: NOW.plus(Duration::from_secs(600)),
    }
}

pub(crate) fn policy() -> Policy {
    let place = |name: &str, role, weight| {
        let balancer = Balancer {
            name: format!("{name}-web").parse().unwrap(),
            carries: Ratio::ONE,
            connect: Some("127.0.0.1".to_owned()),
            arn: None,
            target_groups: Vec::new(),
            zonal_shift: None,
        };
        let here = Region {
            role,
            weight: Weight(weight),
            capacity_rps: None,
            aws_region: Some(name.to_owned()),
            balancers: vec![balancer],
        };
        (region(name), here)
    };
    let phase = Duration::from_secs(2);
    let probe = Probe {
        protocol: ProbeProtocol::Http,
        host: Some("api.example.com".to_owned()),
        port: 80,
        path: "/health".to_owned(),
        every: Duration::from_secs(5),
        timeout: ProbeTimeouts { connect: phase, tls: phase, first_byte: phase, body: phase },
        expect: ProbeExpect { status: vec![(200, 299)], body_contains: None },
        regions: BTreeSet::new(),
        from: BTreeSet::new(),
    };
    let outside = Signal {
        class: Class::Outside,
        fresh_for: Duration::from_secs(30),
        usual_delay: None,
        source: Source::Probe(probe),
    };
    Policy {
        service: "shop".parse().unwrap(),
        mode: Mode::Advise,
        regions: [place("eu-west-1", Role::Primary, 100), place("eu-central-1", Role::Standby, 0)]
            .into(),
        vantages: [("here".parse().unwrap(), Vantage::Here { source: None })].into(),
        levers: vec![Lever::Weights(WeightsLever {
            records: Vec::new(),
            epoch_record: EpochRecord {
                zone: "Z1".parse().unwrap(),
                name: "_leeward.api.example.com".parse().unwrap(),
            },
            pace: Pace::default(),
            in_sync_within: Duration::from_secs(300),
            readback: Readback::NameServers,
            ttl: Duration::from_secs(60),
        })],
        signals: [("outside".parse().unwrap(), outside)].into(),
        judge: Judge {
            success_below: Ratio::new(0.95),
            latency_above: None,
            window: Duration::from_secs(60),
            sustain: Duration::from_secs(120),
            vantages_min: 1,
            classes_min: 2,
            healthy_hosts_below: Ratio::new(0.5),
            deploy_guard: None,
        },
        shift: ShiftRules {
            demand_rps: None,
            ramp: vec![Ratio::ONE],
            hold: Duration::from_secs(120),
            spare: Ratio::new(0.1),
            overflow: Overflow::Spill,
            last_resort: LastResort::Never,
            unready: Unready::Hold,
        },
        failback: Failback::Manual,
        refresh: None,
        guards: Guards {
            cooldown: Duration::from_secs(600),
            shifts_max: 2,
            shifts_window: Duration::from_secs(3600),
            latch_after: 4,
            latch_window: Duration::from_secs(86_400),
            replication_lag_max: None,
            needs_approval: None,
            standby_healthy_hosts_min: Ratio::new(0.7),
            blocked: Vec::new(),
        },
        tell: Tell::default(),
        status_page: None,
        site: None,
        triggers: Triggers::default(),
        hooks: crate::policy::Hooks::default(),
        tests: Vec::new(),
    }
}

fn verdict(reading: Reading, success: f64, fit: Fitness) -> Verdict {
    let class = |reading, age, says: &str| ClassReading {
        reading,
        age: Some(Duration::from_secs(age)),
        says: says.to_owned(),
    };
    let said = if reading == Reading::Bad { "12% of probes succeed" } else { "all probes succeed" };
    Verdict {
        reading,
        classes: [
            (Class::Outside, class(reading, 6, said)),
            (
                Class::Traffic,
                ClassReading {
                    reading: Reading::Unknown,
                    age: None,
                    says: "no data point".to_owned(),
                },
            ),
        ]
        .into(),
        vantages: [("here".parse().unwrap(), reading), ("us".parse().unwrap(), reading)].into(),
        balancers: [("web".parse().unwrap(), reading)].into(),
        success: Some(Ratio::new(success)),
        latency_ms: Some(if reading == Reading::Bad { 2071.0 } else { 92.4 }),
        bad_since: (reading == Reading::Bad).then(|| ago(130)),
        good_since: (reading == Reading::Good).then(|| ago(86_400)),
        fit,
    }
}

fn decision(west: Verdict, findings: Vec<Finding>) -> Decision {
    let central = verdict(Reading::Good, 1.0, Fitness::Fit { room_rps: Some(2700.0) });
    Decision {
        at: NOW,
        mode: Mode::Advise,
        regions: [(region("eu-west-1"), west), (region("eu-central-1"), central)].into(),
        findings,
        wanted: None,
        proposed: None,
        zone: None,
        holds: Vec::new(),
        withdraw: None,
        calls: Vec::new(),
        notes: Vec::new(),
        incident: false,
        asked: Asking::Nothing,
        public: None,
        split: Some(split(100, 0)),
    }
}

pub(crate) fn calm() -> Decision {
    let well = Finding {
        diagnosis: Diagnosis::Well,
        region: None,
        balancer: None,
        since: ago(86_400),
        evidence: vec!["both regions answer".to_owned()],
        ruled_out: Vec::new(),
        turns_if: None,
    };
    decision(verdict(Reading::Good, 1.0, Fitness::Fit { room_rps: None }), vec![well])
}

pub(crate) fn evacuation() -> Wanted {
    Wanted::Move(Move {
        lever: LeverKind::Weights,
        purpose: Purpose::Evacuate,
        from: split(100, 0),
        to: split(0, 100),
        turns: Vec::new(),
        because: "eu-west-1 has been down for 2m 10s".to_owned(),
    })
}

pub(crate) fn outage() -> Decision {
    let down = Finding {
        diagnosis: Diagnosis::RegionDown,
        region: Some(region("eu-west-1")),
        balancer: None,
        since: ago(130),
        evidence: vec![
            "outside: 12% of probes succeed from 2 of 2 vantages, at least 95% are asked for"
                .to_owned(),
            "inside: 3 of 18 targets are healthy".to_owned(),
        ],
        ruled_out: vec!["CommonCause: eu-central-1 is well".to_owned()],
        turns_if: Some("1 of the 2 vantages sees it well".to_owned()),
    };
    let unfit = Fitness::Unfit { why: "it is down".to_owned() };
    Decision {
        proposed: Some(evacuation()),
        holds: vec![
            Hold::ModeObserves { mode: Mode::Advise },
            Hold::Cooldown { until: NOW.plus(Duration::from_secs(240)) },
        ],
        incident: true,
        asked: Asking::Nothing,
        public: None,
        ..decision(verdict(Reading::Bad, 0.12, unfit), vec![down])
    }
}

fn record(set: &str, weight: u8, value: &str) -> RecordSet {
    RecordSet {
        zone: "Z1".parse().unwrap(),
        name: "api.example.com".parse().unwrap(),
        kind: "A".to_owned(),
        set_identifier: Some(set.to_owned()),
        weight: Some(Weight(weight)),
        ttl: Some(60),
        data: RecordData::Values(vec![value.to_owned()]),
        health_check: None,
        foreign: Vec::new(),
    }
}

pub(crate) fn plan() -> Plan {
    let swap = |set, before, after, value| Swap {
        before: Some(record(set, before, value)),
        after: record(set, after, value),
    };
    Plan {
        service: "shop".parse().unwrap(),
        epoch: Epoch(42),
        made_at: NOW,
        wanted: evacuation(),
        batches: vec![Batch {
            zone: "Z1".parse().unwrap(),
            comment: "leeward shop epoch 42".to_owned(),
            swaps: vec![swap("eu", 100, 0, "192.0.2.1"), swap("central", 0, 100, "198.51.100.1")],
        }],
        result: [(region("eu-west-1"), Weight(0)), (region("eu-central-1"), Weight(100))].into(),
    }
}

fn view(decision: Decision) -> View {
    View {
        service: "shop".parse().unwrap(),
        mode: Mode::Advise,
        holder: "leeward-1".to_owned(),
        policy: PolicyState { path: "shop.yaml".to_owned(), loaded_at: ago(86_400), refused: None },
        ready: Readiness { journal_open: true, answers_read: true, windows_full: true },
        last_round: Some(NOW),
        trouble: None,
        decision: Some(decision),
        did: Did::default(),
        journal: vec![Line::of(1, ago(7200), &Entry::Started { version: "0.1.0".to_owned() })],
    }
}

pub(crate) fn calm_view() -> View {
    view(calm())
}

pub(crate) fn outage_view() -> View {
    let mut view = view(outage());
    view.did.epoch = Epoch(42);
    view.did.order = Some(OpenOrder {
        epoch: Epoch(42),
        wanted: evacuation(),
        intended_at: ago(12),
        batches: 1,
        accepted: 1,
        outcome_unknown: 0,
        in_sync_at: None,
    });
    view.did.last_end = Some(ago(360));
    view.policy.refused = Some("line 4: `modus` is not a setting".to_owned());
    view
}

pub(crate) fn letter() -> Letter {
    let text = r#"{"service":"shop","at":0,"severity":"page","about":[],"text":"shop: down",
        "thread":"shop-20261121T120400Z","sequence":1,"kind":"opened"}"#;
    let note: Note = serde_json::from_str(text).unwrap();
    Letter { key: "down".to_owned(), note: Note { at: NOW, ..note }, page: None }
}

pub(crate) fn bulletin() -> Bulletin {
    let text = "We see errors.".to_owned();
    Bulletin {
        at: NOW,
        components: [("shop".to_owned(), Light::PartialOutage)].into(),
        incident: Some(("shop-20261121T025500Z".to_owned(), ago(300))),
        update: Some(Update { at: NOW, phase: Phase::Investigating, text }),
        blind: None,
        unworded: false,
    }
}

/// The mildest refresh there is.
pub(crate) fn refresh() -> Cure {
    let attributes: BTreeMap<_, _> =
        [("idle_timeout.timeout_seconds".to_owned(), "60".to_owned())].into();
    let before = Snapshot {
        taken_at: NOW,
        aws_region: "eu-west-1".to_owned(),
        arn: "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/web/50dc6c49"
            .to_owned(),
        subnets: BTreeMap::new(),
        attributes: attributes.clone(),
        tags: BTreeMap::new(),
        listeners: BTreeMap::new(),
        groups: BTreeMap::new(),
        rest: BTreeMap::new(),
    };
    Cure {
        balancer: "web".parse().unwrap(),
        made_at: NOW,
        purpose: crate::balancer::cure::Purpose::Rung(RungKind::Reassert),
        because: "diagnosed: BalancerFault".to_owned(),
        before,
        kept_in: Some("shop.journal.web-1795230000000.json".to_owned()),
        steps: vec![Step {
            call: Some(Call::BalancerAttributes { attributes }),
            until: Until::Told,
        }],
        floor: Floor::new(),
        tally: None,
        to: None,
        rest: BTreeMap::new(),
        skipped: Vec::new(),
        left: Vec::new(),
        harmless: false,
    }
}

pub(crate) fn zone_act() -> ZoneAct {
    ZoneAct {
        balancer: "web".parse().unwrap(),
        region: region("eu-west-1"),
        arn: "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/web/1"
            .to_owned(),
        zone: "eu-west-1a".to_owned(),
        zone_id: "euw1-az2".to_owned(),
        step: ZoneStep::Start { expires: Duration::from_secs(3 * 3600) },
        because: "1 of 6 targets are healthy there, 12 of 12 in the other zones".to_owned(),
    }
}

/// One of each kind.
#[expect(clippy::too_many_lines, reason = "one line or two for each kind")]
pub(crate) fn entries() -> Vec<Entry> {
    let epoch = Epoch(42);
    let throttled =
        CallFailed::Throttled { code: "Throttling".to_owned(), why: "Rate exceeded".to_owned() };
    let told = |delivered| Entry::Told {
        severity: Severity::Page,
        about: Vec::new(),
        key: "down".to_owned(),
        text: "eu-west-1 is down,\nmoving".to_owned(),
        delivered,
        took: Vec::new(),
        lost: Vec::new(),
    };
    let zone = |note| Entry::Zone { balancer: "web".parse().unwrap(), note };
    let cure = |note| Entry::Cure { balancer: "web".parse().unwrap(), note };
    let outcomes = [
        Outcome::Done,
        Outcome::Abandoned { why: "eu-west-1 is well again".to_owned() },
        Outcome::Refused { why: "somebody else changed api.example.com A".to_owned() },
    ];
    let mut entries = vec![
        Entry::Started { version: "0.1.0".to_owned() },
        Entry::Snapshot(Box::new(Acts { epoch, ..Acts::default() })),
        Entry::Decided(Box::new(outage().digest())),
        Entry::Decided(Box::new(Digest {
            wanted: Some(evacuation()),
            holds: Vec::new(),
            ..outage().digest()
        })),
        Entry::Intended(Box::new(plan())),
        Entry::Sending { epoch, batch: 0 },
        Entry::Accepted { epoch, batch: 0, change: ChangeId("C123".to_owned()) },
        Entry::FoundDone { epoch, batch: 0 },
        Entry::Failed { epoch, batch: 0, failure: throttled.clone() },
        Entry::InSync { epoch },
    ];
    let turns = vec![
        Turn { region: region("us-west-2"), to: InAnswers::In },
        Turn { region: region("eu-west-1"), to: InAnswers::Part { closed: 3, of: 10 } },
    ];
    let standing = [(region("eu-west-1"), InAnswers::Out)].into();
    entries.extend(outcomes.map(|outcome| Entry::Ended { epoch, outcome }));
    entries.extend([
        Entry::LeverHeard { lever: LeverKind::Weights, failure: Some(throttled) },
        Entry::LeverHeard { lever: LeverKind::Weights, failure: None },
        Entry::Turning { lever: LeverKind::Gates, turns: turns.clone() },
        Entry::Turned { lever: LeverKind::Gates, turns, failure: None },
        Entry::Stood { lever: LeverKind::Arc, standing },
        Entry::Voted { back: vec![Turn { region: region("eu-west-1"), to: InAnswers::In }] },
        Entry::Gating { region: region("eu-west-1"), to: InAnswers::Out },
        Entry::Gated { region: region("eu-west-1"), to: InAnswers::Out, failure: None },
        Entry::BesideEnded { outcome: Outcome::Done },
        Entry::Refreshing { balancer: "web".parse().unwrap() },
        Entry::Refreshed { balancer: "web".parse().unwrap(), failure: None },
        Entry::Posted(Box::new(letter())),
        Entry::HookCalled(Box::new(hook_call())),
        Entry::HookEnded(HookEnd {
            key: hook_call().key,
            attempt: 1,
            answer: HookAnswer::Veto,
            says: "half the batch runs".to_owned(),
        }),
        Entry::Worded { by: "ana".to_owned(), bulletin: Box::new(bulletin()) },
        cure(CureNote::Intended(Box::new(refresh()))),
        cure(CureNote::Calling { step: 0 }),
        cure(CureNote::Called { step: 0, failure: None }),
        cure(CureNote::Reached { step: 0 }),
        cure(CureNote::Ended { outcome: Outcome::Done }),
        cure(CureNote::Refused {
            rung: Some(RungKind::Zones),
            why: "it has 2 zones; one can only be taken out of three or more".to_owned(),
        }),
        zone(ZoneNote::Intended {
            mark: zone_act().mark(&"shop".parse().unwrap(), NOW),
            act: Box::new(zone_act()),
        }),
        zone(ZoneNote::Calling { step: ZoneStep::Cancel }),
        zone(ZoneNote::Stands { id: "z-1".to_owned(), until: NOW }),
        zone(ZoneNote::Failed { failure: CallFailed::Busy }),
        zone(ZoneNote::Ended { end: ZoneEnd::TakenBack }),
        zone(ZoneNote::Waits { until: NOW, why: "somebody else has shifted it".to_owned() }),
        told(true),
        told(false),
        Entry::Pinned(pin()),
        Entry::Unpinned { by: "ana".to_owned() },
        Entry::Approved { by: "ana".to_owned(), until: Some(NOW) },
        Entry::Denied { by: "ana".to_owned() },
        Entry::Unlatched { by: "ana".to_owned() },
        Entry::Heard {
            key: "alarm x ALARM 1".to_owned(),
            text: "alarm `x` is ALARM".to_owned(),
            event: None,
        },
        Entry::Incident { open: true },
        Entry::Incident { open: false },
        Entry::Drifted { what: "api.example.com A eu weighs 7".to_owned() },
        Entry::Asked(Box::new(request())),
        Entry::AskMet,
        Entry::AskDropped { why: "`eu-north-1` is no region of the policy".to_owned() },
        Entry::Aborted(abort()),
        copied(None),
        copied(Some("https://shop.example.com/: answers 500".to_owned())),
        Entry::TurnedElsewhere {
            lever: LeverKind::Gates,
            found: [(region("eu-west-1"), InAnswers::Out)].into(),
        },
        Entry::TurnedElsewhere { lever: LeverKind::Gates, found: BTreeMap::new() },
        Entry::KeptAside {
            doors: [("sns".to_owned(), "its topic is not on the policy's list".to_owned())].into(),
            count: 3,
        },
    ]);
    entries
}

fn copied(failure: Option<String>) -> Entry {
    Entry::Copied(Copied { failure, kept_from: Some(NOW), pages: 12, octets: 345_678 })
}

fn hook_call() -> HookCall {
    HookCall {
        service: "shop".parse().unwrap(),
        hook: "freeze-jobs".to_owned(),
        phase: crate::policy::HookPhase::Before,
        key: "shop/freeze-jobs/Evacuate/eu-west-1/0".to_owned(),
        attempt: 1,
        purpose: Some(Purpose::Evacuate),
        from: None,
        to: None,
        version: None,
        because: "`eu-west-1` is down".to_owned(),
    }
}
