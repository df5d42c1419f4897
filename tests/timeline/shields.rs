//! What keeps a region from being left, and what does not: refreshes under way or over, a copy that serves, an
//! answer that a human owes.

use super::grey::{BOTH, Parts, REFRESH, WEB, left_at};
use super::*;
use leeward::balancer::swap::Apart;
use leeward::balancer::{Call, Target};
use leeward::domain::{InAnswers, Turn};
use leeward::pace::Refreshed;
use leeward::policy::{ArcLever, GatesLever, Lever as Levers, Proof};
use leeward::tell::{Kind, Severity};

const DEAD: Parts = Parts::new("xxx", "xxx").with('?');

fn begin(picture: &mut Picture, purpose: Aim, well: f64) {
    let note = CureNote::Intended(Box::new(cure(purpose, well)));
    picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note });
}

/// A refresh of its balancer does not keep a region that dies meanwhile.
#[test]
fn a_region_that_dies_while_its_balancer_is_refreshed_is_left_as_soon_as_ever() {
    let without = left_at(DEAD);
    let mut picture = Picture::new(policy(&LADDER));
    begin(&mut picture, Aim::Rung(RungKind::Targets), 0.0);
    let done = picture.greys(30, DEAD);
    assert_eq!(done.find('S'), Some(without), "{done}");
}

/// Nor does it keep another region, whose balancers nobody touches.
#[test]
fn no_region_waits_for_the_refresh_of_another_ones_balancer() {
    let mut picture = Picture::new(policy(&LADDER));
    begin(&mut picture, Aim::Rung(RungKind::Targets), 18.0);
    // Traffic is in the west, which dies.
    let turned = [("east", 0), ("west", 100)].map(|(r, w)| (r.parse().unwrap(), Weight(w)));
    picture.split = Split::new(turned.into()).unwrap();
    let done = picture.see(&Seen {
        east: "........................",
        west: DARK,
        west_counters: SILENT,
        ..Seen::default()
    });
    assert!(done.contains('S'), "{done} {:?}", picture.last.as_ref().map(|d| &d.holds));
}

/// A refresh of which nothing is heard any more is not waited for: its API may be down for hours.
#[test]
fn a_refresh_that_stands_still_keeps_no_region() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    picture.greys(left_at(BOTH) - 1, BOTH);
    begin(&mut picture, Aim::Rung(RungKind::Targets), 9.0);
    let done = picture.greys(30, BOTH);
    let left = done.find('S').unwrap_or_else(|| panic!("never left: {done}"));
    assert!((11..=14).contains(&left), "two minutes without a word: {done}");
}

/// What was refreshed is watched; but a region that dies is not kept for that.
#[test]
fn a_region_that_dies_after_a_refresh_is_not_watched_for_long() {
    for parts in [DEAD, BOTH.with('x')] {
        let mut picture = Picture::new(policy(&[REFRESH]));
        let done = picture.greys(left_at(BOTH) + 2, BOTH);
        assert!(done.contains('R'), "{done}");
        let done = picture.greys(20, parts);
        let left = done.find('S').unwrap_or_else(|| panic!("never left: {done}"));
        assert!(left <= 8, "{done}");
    }
}

/// A refresh that made it worse was taken back, and the policy says to page: the next outage is another matter.
#[test]
fn a_refresh_that_was_taken_back_keeps_no_region_that_dies_later() {
    let mut picture = Picture::new(policy(&LADDER));
    picture.greys(left_at(WEB), WEB);
    begin(&mut picture, Aim::Rung(RungKind::Reassert), 9.0);
    begin(&mut picture, Aim::Undo, 9.0);
    let ended = CureNote::Ended { outcome: Outcome::Abandoned { why: "worse".to_owned() } };
    picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note: ended });
    assert!(!picture.greys(12, WEB).contains('S'), "the policy says page");
    picture.holds(|hold| matches!(hold, Hold::RefreshExhausted { .. }));
    let done = picture.greys(20, DEAD);
    assert!(done.find('S').is_some_and(|at| at <= 8), "{done}");
}

/// A rung that was taken back because a call was refused, or somebody else came in between, did no harm: the
/// next one is taken. What could not be taken back ends it.
#[test]
fn what_was_taken_back_without_harm_is_followed_by_the_next_rung() {
    for harmless in [true, false] {
        let mut picture = Picture::new(policy(&LADDER));
        picture.greys(left_at(WEB), WEB);
        begin(&mut picture, Aim::Rung(RungKind::Reassert), 9.0);
        let undo = Cure { harmless, ..cure(Aim::Undo, 9.0) };
        let ended = Outcome::Abandoned { why: "AccessDenied".to_owned() };
        for note in [CureNote::Intended(Box::new(undo)), CureNote::Ended { outcome: ended }] {
            picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note });
        }
        let mut acts = Vec::new();
        for _ in 0..12 {
            picture.grey(WEB);
            acts.extend(wanted_act(&picture));
        }
        let next = harmless.then_some(RefreshAct::Rung(RungKind::Targets));
        assert_eq!(acts.first().copied(), next);
    }
}

/// Somebody is woken for what no way back could take back, with the command, until it stands again.
#[test]
fn what_is_left_over_of_a_refresh_wakes_somebody() {
    let mut picture = Picture::new(policy(&LADDER));
    picture.tells = true;
    picture.see(&Seen { east: &".".repeat(12), ..Seen::default() });
    begin(&mut picture, Aim::Rung(RungKind::Zones), 9.0);
    let call = Call::Subnets { subnets: [("a".to_owned(), "subnet-a".to_owned())].into() };
    let undo = Cure {
        skipped: vec![call],
        left: vec!["somebody's".to_owned(), "SetSubnets: AccessDenied".to_owned()],
        kept_in: Some("shop.journal.east-web-1.json".to_owned()),
        ..cure(Aim::Undo, 9.0)
    };
    let note = |picture: &mut Picture, note| {
        picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note });
    };
    note(&mut picture, CureNote::Intended(Box::new(undo)));
    let outcome = Outcome::Abandoned { why: "worse".to_owned() };
    note(&mut picture, CureNote::Ended { outcome });
    let told = |picture: &mut Picture| {
        picture.see(&Seen { east: ".", ..Seen::default() });
        let notes = picture.last.as_ref().unwrap().notes.clone();
        let of_it = notes.into_iter().filter(|letter| letter.key.contains("left-over:east-web:"));
        of_it.map(|letter| letter.note).collect::<Vec<_>>()
    };
    let page = told(&mut picture).pop().expect("a page");
    assert_eq!((page.severity, page.kind), (Severity::Page, Kind::NeedsYou));
    for word in [
        "`SetSubnets a=subnet-a`",
        "SetSubnets: AccessDenied",
        "leeward lb restore POLICY east-web STATE/shop.journal.east-web-1.json",
    ] {
        assert!(page.text.contains(word), "{word}: {}", page.text);
    }
    assert!(!page.text.contains("somebody's"), "{}", page.text);
    assert!(told(&mut picture).is_empty(), "once");
    note(&mut picture, CureNote::StandsAgain);
    let over = told(&mut picture).pop().expect("its end");
    assert!(over.text.contains("configured as before"), "{}", over.text);
}

/// A refresh is blamed for what follows it, and not for what comes much later.
#[test]
fn a_refresh_is_not_taken_back_for_trouble_of_another_hour() {
    let balancers = LADDER[0].1.replace("api: { carries: 30% }", "api: { carries: 30%, arn: \"arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/api/1\" }");
    // The other balancer stays bad, and somebody is called for it: that keeps the incident open.
    let rules = LADDER[1].1.replace(
        "      give_up: page\n",
        "      give_up: page\n    east-api:\n      owned: { tag: { key: leeward, value: may-refresh } }\n      \
         rungs: [{ reassert: as_read }]\n      give_up: page\n",
    );
    let other = Parts::new("...", "~~~");
    for (later, undone) in [(0, true), (60, false)] {
        let mut picture = Picture::new(policy(&[(LADDER[0].0, &balancers), (LADDER[1].0, &rules)]));
        assert!(!picture.greys(50, other).contains('S'));
        begin(&mut picture, Aim::Rung(RungKind::Targets), 18.0);
        let ended = CureNote::Ended { outcome: Outcome::Done };
        picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note: ended });
        picture.greys(later, other);
        let mut acts = Vec::new();
        for _ in 0..16 {
            picture.grey(BOTH);
            acts.extend(wanted_act(&picture));
        }
        assert_eq!(acts.contains(&RefreshAct::Undo), undone, "{later}: {acts:?}");
    }
}

/// Two services of one process may name the same balancer: what the other does is waited for, and counts.
#[test]
fn refreshes_by_another_service_are_waited_for_and_counted() {
    let name = || "east-web".parse().unwrap();
    for (made, waits) in [(1, true), (8, false)] {
        let mut picture = Picture::new(policy(&LADDER));
        let newest = Timestamp::from_secs(picture.now + 200);
        let other = Refreshed { made: vec![newest; made], newest: Some(newest) };
        picture.memory.elsewhere.insert(name(), other);
        let mut acts = Vec::new();
        for step in 0..60 {
            picture.grey(WEB);
            acts.extend(wanted_act(&picture).map(|act| (step, act)));
            if step == 20 {
                picture.holds(|hold| matches!(hold, Hold::RefreshWatching { .. }));
            }
        }
        // Its two minutes of watching are ours too; and eight within the time of the latch are the most.
        match acts.first() {
            Some((step, _)) => assert!(waits && *step >= 32, "{acts:?}"),
            None => assert!(!waits),
        }
    }
}

/// After a swap somebody goes on registering in the old group: what gets no requests wakes somebody.
#[test]
fn targets_that_a_swap_left_without_requests_wake_somebody() {
    let mut picture = Picture::new(policy(&LADDER));
    picture.tells = true;
    begin(&mut picture, Aim::Rung(RungKind::Swap), 9.0);
    let target = Target { id: "10.0.0.9".to_owned(), port: Some(80), zone: None };
    let apart = Apart {
        group: "web".to_owned(),
        twin: "web-lw1".to_owned(),
        unserved: [target].into(),
        gone: [].into(),
    };
    let ended = CureNote::Ended { outcome: Outcome::Done };
    for note in [ended, CureNote::Twins { stand: true, apart: vec![apart] }] {
        picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note });
    }
    picture.see(&Seen { east: ".", ..Seen::default() });
    let notes = picture.last.as_ref().unwrap().notes.clone();
    let page = notes.into_iter().find(|letter| letter.key.starts_with("apart:east-web:")).unwrap();
    assert_eq!(page.note.severity, Severity::Page);
    assert!(page.note.text.contains("in `web` only, without requests: 10.0.0.9:80"), "{page:?}");
}

/// A balancer that drops requests counts none of them. When no refresh helps, its region is left, as another
/// balancer there is reached by the same probes.
#[test]
fn a_balancer_with_clean_counters_that_no_refresh_cures_is_left() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    let done = picture.greys(100, WEB.with('.'));
    let refreshed = done.find('R').unwrap_or_else(|| panic!("{done}"));
    let left = done.find('S').unwrap_or_else(|| panic!("never left: {done}"));
    assert!(left - refreshed >= 30, "its effect is watched for five minutes: {done}");
}

/// Where probes fail everywhere and nobody counts anything, they may be what is wrong: somebody is called.
#[test]
fn when_all_balancers_fail_by_probes_alone_a_human_is_called() {
    let mut picture = Picture::new(policy(&[REFRESH]));
    let mut pages = Vec::new();
    let mut done = String::new();
    for _ in 0..140 {
        done.push(picture.grey(BOTH.with('.')));
        let notes = picture.last.as_ref().unwrap().notes.clone();
        pages.extend(
            notes.into_iter().filter(|n| n.key.starts_with("given-up:")).map(|n| n.note.text),
        );
    }
    assert!(done.contains('R') && !done.contains('S'), "{done}");
    assert!(pages.iter().any(|text| text.contains("somebody has to look")), "{pages:?}");
}

#[test]
fn mode_approve_asks_before_a_balancer_is_touched() {
    let mut picture = Picture::new(policy(&[REFRESH, ("mode: auto", "mode: approve")]));
    let done = picture.greys(left_at(BOTH) + 6, BOTH);
    assert!(!done.contains('R'), "{done}");
    picture.holds(|hold| matches!(hold, Hold::ApprovalNeeded { .. }));
    picture.note(&Entry::Approved { by: "anna".to_owned(), until: None });
    assert!(picture.greys(2, BOTH).contains('R'));
}

/// What does harm is taken back also in hours in which nothing is begun.
#[test]
fn a_blocked_hour_does_not_keep_harm_going_on() {
    let blocked =
        ("guards: { cooldown", "guards: { blocked: [\"Mon 00:00-Sun 23:59 UTC\"], cooldown");
    let mut changes = LADDER.to_vec();
    changes.push(blocked);
    let mut picture = Picture::new(policy(&changes));
    picture.greys(14, WEB);
    assert_eq!(wanted_act(&picture), None);
    picture.holds(|hold| matches!(hold, Hold::Blocked { .. }));
    begin(&mut picture, Aim::Rung(RungKind::Targets), 18.0);
    let mut acts = Vec::new();
    for _ in 0..12 {
        picture.grey(WEB);
        acts.extend(wanted_act(&picture));
    }
    assert_eq!(acts.first(), Some(&RefreshAct::Undo));
}

/// A cached copy is better than nothing, and any region that serves is better than a copy.
#[test]
fn the_last_resort_is_left_for_a_standby_that_was_mended() {
    let mut picture = Picture::new(policy(&RESORT));
    let mut done = String::new();
    for (west, steps) in [('x', 40), ('.', 40)] {
        for _ in 0..steps {
            done.push(picture.beside_a_copy('x', west, '?'));
        }
    }
    let (copy, home) = (done.find('L').expect("the copy"), done.find('S').expect("the standby"));
    assert!(copy < 40 && (52..=70).contains(&home), "well for two minutes: {done}");
    assert_eq!(picture.split.weight(&"west".parse().unwrap()), Weight(100));
}

/// Steps that do not add up to a hundred end at home all the same, and none is larger than allowed.
#[test]
fn the_way_home_ends_at_home() {
    for (step, most) in [("33%", 0.33), ("12.5%", 0.125)] {
        let auto = format!("failback: {{ auto: {{ hold: 5m, step: {step}, every: 1m }} }}");
        let mut picture = Picture::new(policy(&[("failback: manual", &auto)]));
        picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
        let east = "east".parse().unwrap();
        let mut share = picture.split.share(&east).get();
        for _ in 0..300 {
            picture.see(&Seen { east: ".", ..Seen::default() });
            let now = picture.split.share(&east).get();
            assert!(now - share <= most + 1e-9, "{step}: from {share} to {now}");
            share = now;
        }
        assert_eq!(picture.split, picture.policy.home_split().unwrap(), "{step}");
    }
}

/// Counters of those who arrive say nothing of those who do not.
#[test]
fn a_region_that_part_of_the_users_do_not_reach_is_left() {
    for (arrive, left) in [(0.6, true), (1.0, false)] {
        let mut picture = Picture::new(policy(&[]));
        picture.requests = 2000.0 * arrive;
        let done = picture.see(&Seen { east: &"~".repeat(24), ..Seen::default() });
        assert_eq!(done.contains('S'), left, "{arrive}: {done}");
    }
}

/// Records that somebody changed are no reason to leave users in a dead region, with a switch at hand.
#[test]
fn records_that_drifted_leave_the_other_lever() {
    let mut policy = policy(&[]);
    let names: Vec<RegionName> = policy.regions.keys().cloned().collect();
    let gates = GatesLever::unnamed(names, Duration::from_secs(60));
    policy.levers.push(Levers::Gates(gates));
    let mut picture = Picture::new(policy);
    picture.answers = Answering::Drift;
    let done = picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    assert!(done.contains('G'), "{done}");
}

/// A gate and a routing control keep the region out: each is opened, though nothing shows after the first.
#[test]
fn two_closed_switches_are_both_opened_on_the_way_home() {
    let auto = "failback: { auto: { hold: 10m, step: 100%, every: 5m } }";
    for with_weights in [false, true] {
        let mut policy = policy(&[("failback: manual", auto)]);
        let weights = policy.levers.remove(0);
        let names: Vec<RegionName> = policy.regions.keys().cloned().collect();
        let gates = GatesLever::unnamed(names.clone(), Duration::from_secs(60));
        let arc = ArcLever {
            endpoints: BTreeMap::new(),
            controls: names.iter().map(|name| (name.clone(), format!("arn:{name}"))).collect(),
            override_rules: Vec::new(),
            proof: Proof {
                ttl: Duration::from_secs(60),
                in_force_within: Duration::from_secs(300),
                witness: None,
            },
        };
        policy.levers = vec![Levers::Gates(gates), Levers::Arc(arc)];
        policy.levers.extend(with_weights.then_some(weights));
        let mut picture = Picture::new(policy);
        let out = Turn { region: "east".parse().unwrap(), to: InAnswers::Out };
        for lever in [LeverKind::Gates, LeverKind::Arc] {
            let turns = vec![out.clone()];
            picture.note(&Entry::Turning { lever, turns: turns.clone() });
            picture.note(&Entry::Turned { lever, turns, failure: None });
        }
        let done = picture.see(&Seen { east: &".".repeat(200), ..Seen::default() });
        let standing = picture.memory.acts.let_in();
        assert!(standing.values().all(|stands| *stands == InAnswers::In), "{done} {standing:?}");
        assert_eq!(done.matches('H').count(), 2, "{done}");
    }
}
