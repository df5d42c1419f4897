//! What a human asks for and takes back: done by the same guards, less those that were named.

use leeward::decide::Asking;
use leeward::domain::Ratio;
use leeward::memory::{Abort, Asked, Guard, Request};

use super::*;

const CALM: &str = "........";

fn shift(picture: &Picture, to: &str, part: f64, overrides: &[Guard]) -> Request {
    ask(picture, Asked::Shift { to: to.parse().unwrap(), share: Ratio::new(part) }, overrides)
}

fn ask(picture: &Picture, what: Asked, overrides: &[Guard]) -> Request {
    let at = Timestamp::from_secs(picture.now);
    Request {
        by: "ana".to_owned(),
        reason: "drill".to_owned(),
        at,
        until: at.plus(Duration::from_secs(600)),
        what,
        overrides: overrides.iter().copied().collect(),
        met_at: None,
    }
}

/// As the round does: met is written down.
fn calm(picture: &mut Picture, seen: &Seen<'_>) -> String {
    let mut done = String::new();
    for step in 0..seen.east.len() {
        done.push(picture.step(seen, step));
        if picture.last.as_ref().unwrap().asked == Asking::Met {
            picture.note(&Entry::AskMet);
        }
    }
    done
}

fn asked(picture: &mut Picture, request: Request) {
    picture.note(&Entry::Asked(Box::new(request)));
}

fn share(picture: &Picture, region: &str) -> f64 {
    picture.split.share(&region.parse().unwrap()).get()
}

fn asking(picture: &Picture) -> Asking {
    picture.last.as_ref().unwrap().asked
}

#[test]
fn a_part_goes_where_a_human_asked_once() {
    let mut picture = Picture::new(policy(&[]));
    let request = shift(&picture, "west", 0.25, &[]);
    asked(&mut picture, request);
    assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), "o-------");
    assert!((share(&picture, "west") - 0.25).abs() < 0.01);
    assert!(picture.memory.acts.request.as_ref().unwrap().met_at.is_some());
    assert_eq!(asking(&picture), Asking::Nothing, "it is met, and asked no more");
    assert!(!picture.last.as_ref().unwrap().incident, "a human's move is no incident");
}

#[test]
fn nobody_sends_traffic_into_a_bad_region_whatever_is_overridden() {
    let mut picture = Picture::new(policy(&[]));
    let dark = Seen { east: CALM, west: "xxxxxxxxxxxxxxxx", ..Seen::default() };
    calm(&mut picture, &dark);
    let request = shift(&picture, "west", 1.0, &Guard::ALL);
    asked(&mut picture, request);
    assert_eq!(calm(&mut picture, &dark), "--------");
    picture.holds(|hold| matches!(hold, Hold::DestinationUnready { .. }));
    assert_eq!(asking(&picture), Asking::Waits);
}

#[test]
fn an_unproven_region_gets_nothing_either() {
    let mut picture = Picture::new(policy(&[]));
    let silent =
        Seen { east: CALM, west: "????????????????", west_counters: SILENT, ..Seen::default() };
    calm(&mut picture, &silent);
    let request = shift(&picture, "west", 1.0, &Guard::ALL);
    asked(&mut picture, request);
    assert_eq!(calm(&mut picture, &silent), "--------");
    picture.holds(|hold| matches!(hold, Hold::DestinationUnready { .. }));
}

#[test]
fn the_cooldown_holds_a_human_too_unless_it_is_named() {
    for (overrides, done) in [(&[][..], "--------"), (&[Guard::Cooldown], "o-------")] {
        let mut picture = Picture::new(policy(&[]));
        let first = shift(&picture, "west", 0.25, &[]);
        asked(&mut picture, first);
        calm(&mut picture, &Seen { east: CALM, ..Seen::default() });
        let second = shift(&picture, "west", 0.5, overrides);
        asked(&mut picture, second);
        assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), done);
        if overrides.is_empty() {
            picture.holds(|hold| matches!(hold, Hold::Cooldown { .. }));
        }
    }
}

#[test]
fn room_holds_a_human_unless_it_is_named() {
    for (overrides, done) in [(&[][..], "--------"), (&[Guard::Room], "o-------")] {
        let mut picture =
            Picture::new(policy(&[("shift: { demand: 2000 rps", "shift: { demand: 9000 rps")]));
        picture.requests = 9000.0;
        calm(&mut picture, &Seen { east: CALM, ..Seen::default() });
        let request = shift(&picture, "west", 1.0, overrides);
        asked(&mut picture, request);
        assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), done);
        if overrides.is_empty() {
            picture.holds(|hold| matches!(hold, Hold::NoRoom { .. }));
        }
    }
}

#[test]
fn lag_latch_and_blocked_hours_are_overridden_one_by_one() {
    let blocked = "replication_lag: 30s, blocked: [\"Mon 00:00-Sun 23:59 UTC\"]";
    let mut picture = Picture::new(policy(&[("replication_lag: 30s", blocked)]));
    picture.lag = Some(300.0);
    calm(&mut picture, &Seen { east: CALM, ..Seen::default() });
    let request = shift(&picture, "west", 1.0, &[Guard::Lag]);
    asked(&mut picture, request);
    assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), "--------");
    picture.holds(|hold| matches!(hold, Hold::Blocked { .. }));
    let holds = &picture.last.as_ref().unwrap().holds;
    assert!(!holds.iter().any(|hold| matches!(hold, Hold::LagTooHigh { .. })), "{holds:?}");
    let request = shift(&picture, "west", 1.0, &[Guard::Lag, Guard::Blocked]);
    asked(&mut picture, request);
    assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), "o-------");
}

#[test]
fn a_pin_and_a_mode_that_only_looks_stop_a_human_as_well() {
    let mut picture = Picture::new(policy(&[]));
    let pin = Pin {
        by: "ben".to_owned(),
        reason: "x".to_owned(),
        since: Timestamp::default(),
        until: None,
    };
    picture.note(&Entry::Pinned(pin));
    let request = shift(&picture, "west", 1.0, &Guard::ALL);
    asked(&mut picture, request);
    assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), "--------");
    picture.holds(|hold| matches!(hold, Hold::Pinned { .. }));
    picture.note(&Entry::Unpinned { by: "ben".to_owned() });
    picture.policy.mode = Mode::Advise;
    assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), "--------");
    picture.holds(|hold| matches!(hold, Hold::ModeObserves { .. }));
}

#[test]
fn a_request_is_its_own_approval_and_outranks_an_older_no() {
    let mut picture = Picture::new(policy(&[("mode: auto", "mode: approve")]));
    picture.note(&Entry::Denied { by: "ben".to_owned() });
    picture.now += 10;
    let request = shift(&picture, "west", 1.0, &[]);
    asked(&mut picture, request);
    assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), "o-------");
    let mut picture = Picture::new(policy(&[("mode: auto", "mode: approve")]));
    let request = shift(&picture, "west", 1.0, &[]);
    asked(&mut picture, request);
    picture.now += 10;
    picture.note(&Entry::Denied { by: "ben".to_owned() });
    assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), "--------");
}

#[test]
fn while_a_request_holds_nothing_goes_home_by_itself_and_afterwards_it_does() {
    let home = ("failback: manual", "failback: { auto: { hold: 1m, step: 100%, every: 1m } }");
    let mut picture = Picture::new(policy(&[home, ("cooldown: 10m", "cooldown: 1m")]));
    let request = shift(&picture, "west", 1.0, &[]);
    let until = request.until;
    asked(&mut picture, request);
    let quiet = Seen { east: "..............................", ..Seen::default() };
    assert_eq!(calm(&mut picture, &quiet), "o-----------------------------");
    picture.holds(|hold| matches!(hold, Hold::Kept { .. }));
    let done = calm(&mut picture, &Seen { east: DARK_BUT_WELL, ..Seen::default() });
    assert!(Timestamp::from_secs(picture.now) > until);
    assert!(done.contains('H'), "{done}");
}

/// Longer than a request holds.
const DARK_BUT_WELL: &str = "........................................";

#[test]
fn a_request_that_is_over_is_not_begun() {
    let mut picture = Picture::new(policy(&[]));
    let mut request = shift(&picture, "west", 1.0, &[]);
    request.until = request.at;
    asked(&mut picture, request);
    still(&mut picture, &Seen { east: CALM, ..Seen::default() });
}

#[test]
fn the_machine_still_leaves_a_region_that_dies_under_a_held_request() {
    let mut picture = Picture::new(policy(&[]));
    let mut request = shift(&picture, "west", 0.25, &[]);
    request.until = Timestamp::from_secs(picture.now + 10_000);
    asked(&mut picture, request);
    calm(&mut picture, &Seen { east: CALM, ..Seen::default() });
    // Cooled down since; the quarter in the west is as asked; the east goes dark.
    picture.now += 1000;
    calm(&mut picture, &Seen { east: CALM, ..Seen::default() });
    let done = calm(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    assert_eq!(done.matches('S').count(), 1, "{done}");
    assert!((share(&picture, "west") - 1.0).abs() < 0.01);
}

#[test]
fn a_human_goes_home_under_manual_failback() {
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    assert!((share(&picture, "west") - 1.0).abs() < 0.01);
    let early = ask(&picture, Asked::Failback, &Guard::ALL);
    asked(&mut picture, early);
    let done = calm(&mut picture, &Seen { east: "xxxx", east_counters: SILENT, ..Seen::default() });
    assert_eq!(done, "----", "home is still down");
    picture.holds(|hold| matches!(hold, Hold::DestinationUnready { .. }));
    picture.now += 1200;
    picture.memory.acts.request = None;
    calm(&mut picture, &Seen { east: DARK_BUT_WELL, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::FailbackManual { .. }));
    let request = ask(&picture, Asked::Failback, &[]);
    asked(&mut picture, request);
    assert_eq!(calm(&mut picture, &Seen { east: CALM, ..Seen::default() }), "H-------");
    assert_eq!(picture.split, picture.policy.home_split().unwrap());
    assert!(picture.memory.acts.request.as_ref().unwrap().met_at.is_some());
}

#[test]
fn a_human_goes_home_in_the_policys_steps_and_may_skip_the_soak() {
    let home = ("failback: manual", "failback: { auto: { hold: 30m, step: 50%, every: 1m } }");
    for (overrides, first) in [(&[][..], '-'), (&[Guard::Soak], 'H')] {
        let mut picture = Picture::new(policy(&[home, ("cooldown: 10m", "cooldown: 1m")]));
        picture.split = Split::new(
            [("east".parse().unwrap(), Weight(0)), ("west".parse().unwrap(), Weight(100))].into(),
        )
        .unwrap();
        calm(&mut picture, &Seen { east: CALM, ..Seen::default() });
        let request = ask(&picture, Asked::Failback, overrides);
        asked(&mut picture, request);
        let done = calm(&mut picture, &Seen { east: DARK_BUT_WELL, ..Seen::default() });
        assert_eq!(done.chars().next(), Some(first), "{overrides:?} {done}");
        if first == 'H' {
            assert_eq!(done.matches('H').count(), 2, "two steps: {done}");
            assert_eq!(picture.split, picture.policy.home_split().unwrap());
        } else {
            picture.holds(|hold| matches!(hold, Hold::FailbackSoaking { .. }));
        }
    }
}

#[test]
fn an_abort_holds_the_machine_until_its_end_and_takes_the_request_back() {
    let mut picture = Picture::new(policy(&[]));
    let request = shift(&picture, "west", 1.0, &[]);
    asked(&mut picture, request);
    let at = Timestamp::from_secs(picture.now);
    let abort = Abort {
        by: "ben".to_owned(),
        reason: "look first".to_owned(),
        at,
        until: at.plus(Duration::from_secs(200)),
    };
    picture.note(&Entry::Aborted(abort));
    assert!(picture.memory.acts.request.is_none());
    let done = picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    assert_eq!(done, "--------------------S---");
    let mut picture = Picture::new(policy(&[]));
    let at = Timestamp::from_secs(picture.now);
    let until = at.plus(Duration::from_secs(100_000));
    picture.note(&Entry::Aborted(Abort {
        by: "ben".to_owned(),
        reason: "x".to_owned(),
        at,
        until,
    }));
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::Aborted { .. }));
    picture.note(&Entry::Approved { by: "ana".to_owned(), until: None });
    assert_eq!(picture.see(&Seen { east: "xx", east_counters: "??", ..Seen::default() }), "S-");
}
