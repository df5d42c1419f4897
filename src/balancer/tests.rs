//! Laws of refreshing, on configurations that chance makes: whatever stops it and wherever, the way back
//! leads home, and on no step of any way are there too few targets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::cure::{Cure, Floor, Purpose, Step};
use super::restore::{way, without};
use super::rungs::{Draft, Refusal, as_declared, draft, least};
use super::*;
use crate::domain::Ratio;
use crate::policy::{
    BalancerCare, Declared, DeclaredForward, GiveUp, Owned, Reassert, RollTargets, Rung, RungKind,
    SwapGroups, ZoneByZone,
};

const WITHIN: Duration = Duration::from_secs(300);

fn arn(kind: &str, name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:eu-west-1:111122223333:{kind}/{name}")
}

fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

fn group(name: &str, targets: BTreeSet<Target>) -> Group {
    let health = targets
        .iter()
        .map(|target| Health { target: target.clone(), state: TargetState::Healthy })
        .collect();
    Group {
        arn: Some(arn("targetgroup", &format!("{name}/0123456789abcdef"))),
        settings: [
            ("Protocol", "HTTP"),
            ("Port", "80"),
            ("HealthCheckPath", "/health"),
            ("HealthCheckIntervalSeconds", "30"),
        ]
        .map(|(key, value)| (key.to_owned(), text(value)))
        .into(),
        attributes: [("deregistration_delay.timeout_seconds".to_owned(), "300".to_owned())].into(),
        tags: [("leeward".to_owned(), "may-refresh".to_owned())].into(),
        targets,
        foreign: Vec::new(),
        health,
    }
}

fn target(zone: usize, number: usize) -> Target {
    Target {
        id: format!("10.0.{zone}.{number}"),
        port: Some(8080),
        zone: Some(format!("eu-west-1{}", ["a", "b", "c"][zone])),
    }
}

pub(crate) fn forward(groups: &[(&str, u32)]) -> Action {
    let groups = groups
        .iter()
        .map(|(group, weight)| Weighted { group: (*group).to_owned(), weight: *weight });
    Action::Forward(Forward {
        order: None,
        groups: groups.collect(),
        stickiness: None,
        form: Form::Weighted,
    })
}

fn other(kind: &str) -> Action {
    let fields = [("Type".to_owned(), text(kind))].into();
    Action::Other { told: Tree::Fields(fields) }
}

/// Two listeners, five rules, three groups, so many targets in each zone of each.
pub(crate) fn snapshot(per_zone: [[usize; 3]; 3]) -> Snapshot {
    let names = ["api", "files", "web"];
    let groups = names.iter().zip(per_zone).enumerate().map(|(place, (name, zones))| {
        let of_zone = |(zone, count): (usize, usize)| {
            (0..count).map(move |number| target(zone, 10 * place + number))
        };
        let targets = zones.into_iter().enumerate().flat_map(of_zone).collect();
        ((*name).to_owned(), group(name, targets))
    });
    let rule = |priority: &str, actions: Vec<Action>| {
        let rule = Rule {
            priority: priority.to_owned(),
            actions,
            tags: BTreeMap::new(),
            rest: [("Conditions".to_owned(), text(priority))].into(),
        };
        (arn("listener-rule", &format!("app/shop/1/2/{priority}")), rule)
    };
    let listener = |port: u16, actions: Vec<Action>, rules: Vec<(String, Rule)>| {
        let listener = Listener {
            port,
            actions,
            rules: rules.into_iter().collect(),
            certificates: Vec::new(),
            attributes: BTreeMap::new(),
            tags: BTreeMap::new(),
            rest: [("Protocol".to_owned(), text("HTTP"))].into(),
        };
        (arn("listener", &format!("app/shop/1/{port}")), listener)
    };
    Snapshot {
        taken_at: Timestamp::from_secs(0),
        aws_region: "eu-west-1".to_owned(),
        arn: arn("loadbalancer", "app/shop/1"),
        subnets: ["a", "b", "c"].map(|z| (format!("eu-west-1{z}"), format!("subnet-{z}"))).into(),
        attributes: [
            ("idle_timeout.timeout_seconds".to_owned(), "60".to_owned()),
            ("access_logs.s3.bucket".to_owned(), String::new()),
        ]
        .into(),
        tags: BTreeMap::new(),
        listeners: [
            listener(
                80,
                vec![forward(&[("web", 1)])],
                vec![rule("1", vec![forward(&[("api", 1)])])],
            ),
            listener(
                443,
                vec![forward(&[("files", 30), ("web", 70)])],
                vec![
                    rule("1", vec![forward(&[("api", 1)])]),
                    rule("2", vec![forward(&[("files", 1)])]),
                    rule("3", vec![other("redirect")]),
                    rule("4", vec![forward(&[("web", 999)])]),
                ],
            ),
        ]
        .into(),
        groups: groups.collect(),
        rest: [("Scheme".to_owned(), text("internet-facing"))].into(),
    }
}

pub(crate) fn care(rungs: Vec<Rung>) -> BalancerCare {
    BalancerCare {
        owned: Owned::Tag { key: "leeward".to_owned(), value: "may-refresh".to_owned() },
        rungs,
        give_up: GiveUp::Page,
        declared: Declared::default(),
        healthy_within: WITHIN,
    }
}

pub(crate) fn roll(batch: usize, floor: f64) -> Rung {
    Rung::Targets(RollTargets {
        batch,
        floor: Ratio::new(floor),
        healthy_within: WITHIN,
        drained_within: WITHIN,
    })
}

pub(crate) fn swap_in(steps: &[f64]) -> Rung {
    Rung::Swap(SwapGroups {
        steps: steps.iter().map(|step| Ratio::new(*step)).collect(),
        hold: Duration::from_secs(60),
        healthy_within: WITHIN,
        drain: WITHIN,
    })
}

pub(crate) fn zones(rest: f64) -> Rung {
    Rung::Zones(ZoneByZone {
        rest: Ratio::new(rest),
        pause: Duration::from_secs(60),
        healthy_within: WITHIN,
    })
}

fn cure(before: &Snapshot, kind: RungKind, draft: Draft) -> Cure {
    Cure {
        balancer: "shop".parse().unwrap(),
        made_at: Timestamp::from_secs(0),
        purpose: Purpose::Rung(kind),
        because: "a test".to_owned(),
        before: before.clone(),
        kept_in: None,
        steps: draft.steps,
        floor: draft.floor,
        tally: None,
        to: None,
        rest: draft.rest,
        skipped: Vec::new(),
        left: draft.left,
        harmless: false,
    }
}

/// What the service does by itself: targets of attached groups get well, those that left are gone.
pub(crate) fn settle(state: &mut Snapshot) {
    let attached: BTreeSet<String> =
        state.groups.keys().filter(|name| state.is_attached(name)).cloned().collect();
    for (name, group) in &mut state.groups {
        group.health.retain(|health| health.state != TargetState::Draining);
        for health in group.health.iter_mut().filter(|_| attached.contains(name)) {
            if matches!(health.state, TargetState::Initial | TargetState::Unused) {
                health.state = TargetState::Healthy;
            }
        }
    }
}

/// No request is sent to a group without a healthy target, and no zone is below its floor.
pub(crate) fn assert_served(state: &Snapshot, floor: &Floor, when: &str) {
    for forward in state.forwards() {
        let with_weight: Vec<_> = forward.groups.iter().filter(|w| w.weight > 0).collect();
        assert!(!with_weight.is_empty(), "{when}: a forward to nothing");
        for weighted in with_weight {
            let healthy: usize = state.groups[&weighted.group].healthy().values().sum();
            assert!(healthy > 0, "{when}: `{}` has no healthy target", weighted.group);
        }
    }
    for (name, zones) in floor {
        let healthy = state.groups[name].healthy();
        for (zone, least) in zones {
            let has = healthy.get(zone).copied().unwrap_or(0);
            assert!(has >= *least, "{when}: {has} of {least} in {zone} of `{name}`");
        }
    }
    assert!(state.subnets.len() >= ZONES_MIN, "{when}: too few zones");
}

/// Plays a cure step by step and gives the state after each.
fn play(cure: &Cure, floor: &Floor) -> Vec<Snapshot> {
    let mut state = cure.before.clone();
    let mut states = vec![state.clone()];
    for (at, step) in cure.steps.iter().enumerate() {
        let when = format!("step {}: {step}", at + 1);
        if let Some(call) = &step.call {
            assert_eq!(cure.broken_floor(&state, call), None, "{when}");
            state.apply(call).unwrap_or_else(|why| panic!("{when}: {why}"));
        }
        assert_served(&state, floor, &when);
        states.push(state.clone());
        settle(&mut state);
        assert_served(&state, floor, &when);
    }
    states
}

/// From every state of a cure, settled or not, the way back leads to where it began.
fn assert_undone_from_anywhere(cure: &Cure, states: &[Snapshot], floor: &Floor) {
    for (called, state) in states.iter().enumerate() {
        for settled in [false, true] {
            let mut live = state.clone();
            if settled {
                settle(&mut live);
            }
            let (to, left) = without(&live, cure, called);
            assert!(left.is_empty(), "{left:?}");
            assert_eq!(cure.before.differences(&to), [], "after {called} steps");
            let back = way(&live, &to, WITHIN);
            assert!(back.cannot.is_empty(), "{:?}", back.cannot);
            for step in &back.draft.steps {
                let Some(call) = &step.call else {
                    settle(&mut live);
                    continue;
                };
                live.apply(call).unwrap_or_else(|why| panic!("undo {call}: {why}"));
                // On the way back there is never less than there was when it was taken.
                if settled {
                    assert_served(&live, &Floor::new(), &format!("undo of {called}: {call}"));
                }
            }
            settle(&mut live);
            assert_eq!(cure.before.differences(&live), [], "undone after {called} steps");
            assert_served(&live, floor, "undone");
        }
    }
}

pub(crate) fn floors(before: &Snapshot, floor: f64) -> Floor {
    let used = before.groups.iter().filter(|(name, _)| before.is_used(name));
    used.map(|(name, group)| (name.clone(), least(group, Ratio::new(floor)))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_rung_breaks_a_floor_and_every_one_can_be_undone_from_anywhere(
        per_zone in prop::array::uniform3(prop::array::uniform3(2_usize..5)),
        batch in 1_usize..6,
        floor in 0.01_f64..0.5,
        first in 0.05_f64..0.9,
        which in 0_usize..4,
    ) {
        let before = snapshot(per_zone);
        let (rung, floor) = match which {
            0 => (Rung::Reassert(Reassert::AsRead), floors(&before, 1.0)),
            1 => (roll(batch, floor), floors(&before, floor)),
            2 => (swap_in(&[first, 1.0]), floors(&before, 1.0)),
            _ => (zones(0.3), floors(&before, 1.0)),
        };
        let drafted = match draft(&before, &rung, &care(Vec::new())) {
            Ok(drafted) => drafted,
            // Chance may leave too little in the other zones; that is told, and nothing is planned.
            Err(Refusal::RestTooSmall { .. }) => return Ok(()),
            Err(why) => panic!("{why}"),
        };
        let cure = cure(&before, rung.kind(), drafted);
        let states = play(&cure, &floor);
        assert_undone_from_anywhere(&cure, &states, &floor);
    }
}

#[test]
fn reasserting_changes_nothing_and_writes_whole_lists() {
    let mut before = snapshot([[2, 2, 2]; 3]);
    // Everything that cannot be written back is left alone and named.
    let listener = before.listeners.values_mut().next().unwrap();
    listener.rules.values_mut().next().unwrap().actions =
        vec![other("authenticate-oidc"), forward(&[("api", 1)])];
    let drafted = draft(&before, &Rung::Reassert(Reassert::AsRead), &care(Vec::new())).unwrap();
    assert_eq!(drafted.left.len(), 1);
    assert!(drafted.left[0].contains("`authenticate-oidc`"), "{:?}", drafted.left);
    let mut after = before.clone();
    let mut operations: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &drafted.steps {
        let call = step.call.as_ref().unwrap();
        *operations.entry(call.operation()).or_default() += 1;
        after.apply(call).unwrap();
        assert_eq!(before, after, "{call}");
        assert!(!call.to_string().contains("access_logs"), "an empty value is not written");
    }
    let expected = [
        ("ModifyListener", 2),
        ("ModifyLoadBalancerAttributes", 1),
        ("ModifyRule", 4),
        ("ModifyTargetGroup", 3),
        ("ModifyTargetGroupAttributes", 3),
    ];
    assert_eq!(operations, expected.into());
}

#[test]
fn what_is_not_understood_is_refused_by_name_where_it_would_have_to_be_written() {
    let mut before = snapshot([[2, 2, 2]; 3]);
    let listener = before.listeners.values_mut().last().unwrap();
    listener.actions.insert(0, other("authenticate-cognito"));
    let refused = draft(&before, &swap_in(&[1.0]), &care(Vec::new())).unwrap_err();
    assert!(matches!(refused, Refusal::NotUnderstood { .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("listener 80") || said.contains("listener 443"), "{said}");
    assert!(said.contains("`authenticate-cognito`"), "{said}");
    // An element that is newer than this program, inside an action that is known.
    let redirect = |extra: &str| {
        let inner = [("StatusCode".to_owned(), text("HTTP_301")), (extra.to_owned(), text("x"))];
        Action::Other {
            told: Tree::Fields(
                [
                    ("Type".to_owned(), text("redirect")),
                    ("RedirectConfig".to_owned(), Tree::Fields(inner.into())),
                ]
                .into(),
            ),
        }
    };
    assert_eq!(redirect("Host").unwritable(), None);
    assert_eq!(redirect("Mood").unwritable().unwrap(), "`Mood` in an action `redirect`");
}

#[test]
fn a_group_that_is_not_ours_is_not_touched() {
    let mut before = snapshot([[2, 2, 2]; 3]);
    before.groups.get_mut("web").unwrap().tags.clear();
    for rung in [roll(1, 0.5), swap_in(&[1.0])] {
        let refused = draft(&before, &rung, &care(Vec::new())).unwrap_err();
        assert!(matches!(&refused, Refusal::NotOwned { group, .. } if group == "web"), "{refused}");
    }
    let drafted = draft(&before, &Rung::Reassert(Reassert::AsRead), &care(Vec::new())).unwrap();
    assert!(drafted.left.iter().any(|why| why.contains("`web`")), "{:?}", drafted.left);
    let listed = BalancerCare {
        owned: Owned::Listed(before.groups.values().filter_map(|g| g.arn.clone()).collect()),
        ..care(Vec::new())
    };
    assert!(draft(&before, &roll(1, 0.5), &listed).is_ok());
}

#[test]
fn a_floor_that_leaves_no_room_is_refused_with_its_zone() {
    let before = snapshot([[2, 2, 2], [2, 1, 2], [2, 2, 2]]);
    let refused = draft(&before, &roll(1, 0.5), &care(Vec::new())).unwrap_err();
    let expected = Refusal::FloorTooHigh {
        group: "files".to_owned(),
        zone: "eu-west-1b".to_owned(),
        healthy: 1,
        least: 1,
    };
    assert_eq!(refused, expected);
}

#[test]
fn zones_need_a_rest_that_carries_and_a_known_place_of_every_target() {
    let refuse = |before: &Snapshot, rest| draft(before, &zones(rest), &care(Vec::new()));
    let before = snapshot([[2, 2, 2]; 3]);
    assert!(refuse(&before, 0.6).is_ok());
    assert!(matches!(refuse(&before, 0.7), Err(Refusal::RestTooSmall { .. })));
    let mut two = before.clone();
    two.subnets.remove("eu-west-1c");
    assert_eq!(refuse(&two, 0.1), Err(Refusal::TooFewZones { zones: 2 }));
    let mut instances = before.clone();
    let group = instances.groups.get_mut("api").unwrap();
    group.targets = group.targets.iter().map(|t| Target { zone: None, ..t.clone() }).collect();
    assert_eq!(refuse(&instances, 0.1), Err(Refusal::ZoneUnknown { group: "api".to_owned() }));
    let network = Snapshot { arn: arn("loadbalancer", "net/shop/1"), ..before };
    assert_eq!(refuse(&network, 0.1), Err(Refusal::NotApplication));
}

#[test]
fn the_twin_keeps_every_share_while_it_takes_over() {
    let before = snapshot([[2, 2, 2]; 3]);
    let drafted = draft(&before, &swap_in(&[0.25, 1.0]), &care(Vec::new())).unwrap();
    let cure = cure(&before, RungKind::Swap, drafted);
    let states = play(&cure, &floors(&before, 1.0));
    let share = |state: &Snapshot, port: u16, group: &str| {
        let listener = state.listeners.values().find(|l| l.port == port).unwrap();
        let forward = listener.actions[0].forward().unwrap();
        let sum: u32 = forward.groups.iter().map(|w| w.weight).sum();
        let of = |w: &&Weighted| w.group == group || w.group.starts_with(&format!("{group}-lw"));
        let own: u32 = forward.groups.iter().filter(of).map(|w| w.weight).sum();
        f64::from(own) / f64::from(sum)
    };
    for state in &states {
        assert!((share(state, 443, "web") - 0.7).abs() < 0.005);
        assert!((share(state, 443, "files") - 0.3).abs() < 0.005);
        assert!((share(state, 80, "web") - 1.0).abs() < 1e-9);
    }
    let last = states.last().unwrap();
    for name in ["api", "files", "web"] {
        assert!(!last.is_used(name) && last.is_attached(name), "{name} stays for the way back");
        let twin = &last.groups[&format!("{name}-lw1")];
        let old = &last.groups[name];
        assert_eq!(twin.targets, old.targets);
        assert_eq!((&twin.attributes, &twin.settings), (&old.attributes, &old.settings));
    }
}

#[test]
fn drift_from_what_is_declared_is_shown_and_mended_field_by_field() {
    let before = snapshot([[2, 2, 2]; 3]);
    let spare = ("10.0.0.99".to_owned(), 8080);
    let mut api: BTreeSet<(String, u16)> =
        before.groups["api"].targets.iter().map(|t| (t.id.clone(), 8080)).collect();
    let gone = api.pop_first().unwrap();
    api.insert(spare);
    let declared = Declared {
        attributes: [("idle_timeout.timeout_seconds".to_owned(), "90".to_owned())].into(),
        forwards: vec![DeclaredForward {
            listener: 443,
            rule: None,
            weights: [("web".to_owned(), 50), ("files".to_owned(), 50)].into(),
        }],
        targets: [("api".to_owned(), api)].into(),
    };
    let wanted = as_declared(&before, &declared).unwrap();
    let places: Vec<String> =
        before.differences(&wanted).into_iter().map(|found| found.place).collect();
    assert!(places.iter().any(|p| p == "attributes / idle_timeout.timeout_seconds"), "{places:?}");
    assert!(places.iter().any(|p| p.ends_with("targets / 10.0.0.99:8080")), "{places:?}");
    assert!(places.iter().any(|p| p.ends_with(&format!("targets / {}:8080", gone.0))));
    let ours = BalancerCare { declared, ..care(Vec::new()) };
    let drafted = draft(&before, &Rung::Reassert(Reassert::Declared), &ours).unwrap();
    let cure = cure(&before, RungKind::Reassert, drafted);
    let states = play(&cure, &Floor::new());
    assert_eq!(wanted.differences(states.last().unwrap()), []);
    // Registered and healthy before the old one goes.
    let place =
        |operation: &str| cure.calls().position(|call| call.operation() == operation).unwrap();
    assert!(place("RegisterTargets") < place("DeregisterTargets"));
    assert_undone_from_anywhere(&cure, &states, &Floor::new());
    let again = draft(states.last().unwrap(), &Rung::Reassert(Reassert::Declared), &ours);
    assert_eq!(again, Err(Refusal::AsDeclared));
}

#[test]
fn what_somebody_else_changed_meanwhile_is_left_as_it_is() {
    let before = snapshot([[2, 2, 2]; 3]);
    let drafted = draft(&before, &swap_in(&[1.0]), &care(Vec::new())).unwrap();
    let cure = cure(&before, RungKind::Swap, drafted);
    let mut live = play(&cure, &Floor::new()).pop().unwrap();
    settle(&mut live);
    let (listener, _) = live.listeners.iter().next().unwrap();
    let theirs = vec![forward(&[("files", 1)])];
    let call = Call::ListenerActions { listener: listener.clone(), actions: theirs.clone() };
    live.apply(&call).unwrap();
    let (to, left) = without(&live, &cure, cure.steps.len());
    assert!(!left.is_empty(), "it is said");
    let kept = to.listeners.values().filter(|l| l.actions == theirs).count();
    assert_eq!(kept, 1, "their edit stands");
}

fn set_states(snapshot: &mut Snapshot, group: &str, zone: &str, state: TargetState) {
    let health = &mut snapshot.groups.get_mut(group).unwrap().health;
    for health in health.iter_mut().filter(|h| zone.is_empty() || h.target.zone() == zone) {
        health.state = state;
    }
}

/// Where none is healthy all are asked, and of what is not known nobody says that it carries nothing.
#[test]
fn a_group_that_fails_open_loses_nobody() {
    for state in [TargetState::Unhealthy, TargetState::Unavailable, TargetState::Initial] {
        let mut before = snapshot([[2, 2, 2]; 3]);
        set_states(&mut before, "api", "", state);
        for rung in [roll(4, 0.5), swap_in(&[1.0])] {
            let refused = draft(&before, &rung, &care(Vec::new()));
            let group = "api".to_owned();
            assert_eq!(refused, Err(Refusal::NothingHealthy { group }), "{state:?}");
        }
    }
    let mut before = snapshot([[2, 2, 2]; 3]);
    set_states(&mut before, "api", "eu-west-1a", TargetState::Unavailable);
    let refused = draft(&before, &roll(4, 0.5), &care(Vec::new()));
    assert!(matches!(refused, Err(Refusal::FloorTooHigh { .. })), "{refused:?}");
    // Known to be ill, it may go and come back.
    set_states(&mut before, "api", "eu-west-1a", TargetState::Unhealthy);
    assert!(draft(&before, &roll(4, 0.5), &care(Vec::new())).is_ok());
}

/// The others are looked at again before each zone leaves, and no second one does.
#[test]
fn no_zone_leaves_when_the_others_have_got_worse_since_it_was_planned() {
    let before = snapshot([[2, 2, 2]; 3]);
    let drafted = draft(&before, &zones(0.6), &care(Vec::new())).unwrap();
    let cure = cure(&before, RungKind::Zones, drafted);
    let out = cure.calls().next().unwrap();
    assert_eq!(cure.broken_floor(&before, out), None);
    for state in [TargetState::Unhealthy, TargetState::ShiftedAway] {
        let mut live = before.clone();
        set_states(&mut live, "web", "eu-west-1c", state);
        assert!(cure.broken_floor(&live, out).is_some(), "{state:?}");
    }
    let mut shifted = before.clone();
    set_states(&mut shifted, "web", "eu-west-1a", TargetState::ShiftedAway);
    let refused = draft(&shifted, &zones(0.1), &care(Vec::new()));
    assert_eq!(refused, Err(Refusal::ZoneAway { zone: "eu-west-1a".to_owned() }));
    let refused = draft(&shifted, &roll(1, 0.5), &care(Vec::new()));
    assert!(matches!(refused, Err(Refusal::FloorTooHigh { .. })), "{refused:?}");
}

/// Whatever it is for, no call leaves a group that gets requests with nobody who answers them.
#[test]
fn no_way_leaves_a_group_in_use_without_a_healthy_target() {
    let before = snapshot([[2, 2, 2]; 3]);
    let drafted = draft(&before, &swap_in(&[1.0]), &care(Vec::new())).unwrap();
    let cure = cure(&before, RungKind::Swap, drafted);
    let all = before.groups["web"].targets.clone();
    let out = Call::Deregister { group: "web".to_owned(), targets: all.clone() };
    assert!(cure.broken_floor(&before, &out).is_some_and(|why| why.contains("no target")));
    let ill: BTreeSet<Target> = all.iter().filter(|t| t.zone() == "eu-west-1a").cloned().collect();
    let mut live = before.clone();
    for zone in ["eu-west-1b", "eu-west-1c"] {
        set_states(&mut live, "web", zone, TargetState::Unhealthy);
    }
    let out = Call::Deregister { group: "web".to_owned(), targets: ill };
    assert!(cure.broken_floor(&live, &out).is_some_and(|why| why.contains("no healthy target")));
    // Nor does one turn requests to a group where nobody is well.
    let mut live = play(&cure, &Floor::new()).pop().unwrap();
    settle(&mut live);
    let back = way(&live, &before, WITHIN).draft;
    let turn = back
        .steps
        .iter()
        .find_map(|step| step.call.clone().filter(|call| call.operation() == "ModifyListener"));
    let turn = turn.unwrap();
    assert_eq!(cure.broken_floor(&live, &turn), None);
    for group in ["web", "files"] {
        set_states(&mut live, group, "", TargetState::Unhealthy);
    }
    assert!(cure.broken_floor(&live, &turn).is_some());
}

/// What a policy declares is a list that may be old: the floor holds for it as well.
#[test]
fn mending_keeps_the_floor_of_healthy_targets() {
    let before = snapshot([[2, 2, 2]; 3]);
    let few = before.groups["api"].targets.iter().take(1);
    let few = few.map(|t| (t.id.clone(), 8080)).collect();
    let declared = Declared { targets: [("api".to_owned(), few)].into(), ..Declared::default() };
    let ours = BalancerCare { declared, ..care(Vec::new()) };
    let refused = draft(&before, &Rung::Reassert(Reassert::Declared), &ours);
    assert!(matches!(refused, Err(Refusal::FloorTooHigh { .. })), "{refused:?}");
}

/// One group is gone: the rest of the snapshot is brought back, and it is said what is not.
#[test]
fn a_snapshot_is_brought_back_as_far_as_it_can_be() {
    let wanted = snapshot([[2, 2, 2]; 3]);
    let mut live = wanted.clone();
    live.attributes.insert("idle_timeout.timeout_seconds".to_owned(), "99".to_owned());
    live.attributes.insert("access_logs.s3.bucket".to_owned(), "logs".to_owned());
    live.groups.remove("files");
    for listener in live.listeners.values_mut() {
        for rule in listener.rules.values_mut().filter(|rule| rule.priority == "2") {
            rule.actions = vec![forward(&[("web", 1)])];
        }
        if listener.port == 443 {
            listener.actions = vec![forward(&[("web", 1)])];
        }
    }
    let way = way(&live, &wanted, WITHIN);
    let calls: Vec<String> = way.draft.steps.iter().map(ToString::to_string).collect();
    assert_eq!(calls, ["ModifyLoadBalancerAttributes idle_timeout.timeout_seconds=60"]);
    let told = way.cannot.join("\n");
    for what in ["target group `files` is not there", "access_logs.s3.bucket"] {
        assert!(told.contains(what), "{what} in {told}");
    }
}

#[test]
fn a_twin_has_every_setting_or_is_not_made() {
    let mut before = snapshot([[2, 2, 2]; 3]);
    let set = |before: &mut Snapshot, key: &str| {
        let web = before.groups.get_mut("web").unwrap();
        web.settings.insert(key.to_owned(), text("3000"));
    };
    set(&mut before, "TargetControlPort");
    let drafted = draft(&before, &swap_in(&[1.0]), &care(Vec::new())).unwrap();
    let made = drafted.steps.iter().find_map(|step| match &step.call {
        Some(Call::CreateGroup { group, settings, .. }) if group == "web-lw1" => Some(settings),
        _ => None,
    });
    assert_eq!(made.unwrap().get("TargetControlPort"), Some(&text("3000")));
    set(&mut before, "Mood");
    let refused = draft(&before, &swap_in(&[1.0]), &care(Vec::new())).unwrap_err().to_string();
    assert!(refused.contains("target group `web` holds the setting `Mood`"), "{refused}");
}

#[test]
fn who_stays_with_the_old_group_for_a_cookie_is_said() {
    let mut before = snapshot([[2, 2, 2]; 3]);
    let stick = |before: &mut Snapshot, enabled: &str| {
        let fields = [("Enabled", enabled), ("DurationSeconds", "900")];
        let fields = fields.map(|(key, value)| (key.to_owned(), text(value)));
        for listener in before.listeners.values_mut() {
            for action in &mut listener.actions {
                if let Action::Forward(forward) = action {
                    forward.stickiness = Some(Tree::Fields(fields.clone().into()));
                }
            }
        }
        draft(before, &swap_in(&[1.0]), &care(Vec::new())).unwrap().left
    };
    let stays = |left: &[String]| left.iter().any(|why| why.contains("with a cookie"));
    assert!(!stays(&stick(&mut before, "false")));
    let left = stick(&mut before, "true");
    assert!(left.iter().any(|why| why.contains("for up to 900 seconds")), "{left:?}");
}

#[test]
fn the_twin_of_a_listed_group_is_as_much_ours() {
    let mut before = snapshot([[2, 2, 2]; 3]);
    let listed = BalancerCare {
        owned: Owned::Listed(before.groups.values().filter_map(|g| g.arn.clone()).collect()),
        ..care(Vec::new())
    };
    // As after a swap: the twin gets the requests of `web`, and is no part of the list.
    let twin = |before: &mut Snapshot, of: &str| {
        let mut twin = before.groups["web"].clone();
        twin.arn = Some(arn("targetgroup", "web-lw1/fedcba9876543210"));
        twin.tags = [("leeward:twin-of".to_owned(), of.to_owned())].into();
        before.groups.insert("web-lw1".to_owned(), twin);
        for listener in before.listeners.values_mut() {
            listener.actions = vec![forward(&[("web-lw1", 1), ("web", 0)])];
        }
    };
    twin(&mut before, "web");
    assert!(draft(&before, &roll(1, 0.5), &listed).is_ok());
    for stranger in ["nothing", "web-lw1"] {
        twin(&mut before, stranger);
        let refused = draft(&before, &roll(1, 0.5), &listed).unwrap_err();
        assert!(matches!(refused, Refusal::NotOwned { .. }), "{refused}");
    }
}

/// Chance may put a whole batch of instances into one zone.
#[test]
fn targets_that_tell_no_zone_leave_in_batches_that_any_zone_can_spare() {
    let largest = |per_zone: usize, floor: f64| {
        let mut before = snapshot([[per_zone; 3]; 3]);
        for group in before.groups.values_mut() {
            let nowhere = |target: &Target| Target { zone: None, ..target.clone() };
            group.targets = group.targets.iter().map(nowhere).collect();
            for health in &mut group.health {
                health.target.zone = None;
            }
        }
        let drafted = draft(&before, &roll(12, floor), &care(Vec::new())).unwrap();
        let leave = |step: &Step| match &step.call {
            Some(Call::Deregister { targets, .. }) => Some(targets.len()),
            _ => None,
        };
        drafted.steps.iter().filter_map(leave).max().unwrap()
    };
    // Of four in each zone two must stay.
    assert_eq!(largest(4, 0.5), 2);
    assert_eq!(largest(2, 0.5), 1);
    // No batch is smaller than one.
    assert_eq!(largest(1, 0.5), 1);
}

#[test]
fn the_order_in_which_target_groups_are_told_is_no_difference() {
    let before = snapshot([[2, 2, 2]; 3]);
    let mut told = before.clone();
    let listener = told.listeners.values_mut().find(|listener| listener.port == 443).unwrap();
    let Some(Action::Forward(forward)) = listener.actions.first_mut() else { panic!() };
    assert_eq!(forward.groups.len(), 2);
    forward.groups.reverse();
    assert_eq!(before.differences(&told), []);
    forward_weight(&mut told, 71);
    assert_eq!(before.differences(&told).len(), 1);
}

fn forward_weight(told: &mut Snapshot, weight: u32) {
    let listener = told.listeners.values_mut().find(|listener| listener.port == 443).unwrap();
    let Some(Action::Forward(forward)) = listener.actions.first_mut() else { panic!() };
    forward.groups.iter_mut().find(|of| of.group == "web").unwrap().weight = weight;
}
