//! What must not be believed, and what must not be hoped for.

use super::*;

#[test]
fn traffic_does_not_go_where_nobody_looks() {
    let mut picture = Picture::new(policy(&[]));
    let seen = Seen {
        east: DARK,
        west: SILENT,
        east_counters: SILENT,
        west_counters: SILENT,
        ..Seen::default()
    };
    still(&mut picture, &seen);
    picture.holds(|hold| matches!(hold, Hold::DestinationUnready { .. }));
    // Unless the policy names that as the lesser evil.
    let mut picture = Picture::new(policy(&[("unready: hold", "unready: shift_anyway")]));
    assert_eq!(picture.see(&seen).matches('S').count(), 1);
}

/// A prober beside the standby that loses all else: the standby alone looks well from there.
#[test]
fn one_who_sees_only_its_own_region_moves_nothing() {
    let three =
        "{ one: { source: 127.0.0.1 }, two: { source: 127.0.0.2 }, three: { source: 127.0.0.3 } }";
    let alone = [(three, "{ one: { source: 127.0.0.1 } }"), ("vantages: 2", "vantages: 1")];
    let mut picture = Picture::new(policy(&alone));
    let seen = Seen { east: DARK, east_counters: SILENT, beacon: DARK, ..Seen::default() };
    still(&mut picture, &seen);
    picture.finds(Diagnosis::ObserverIsolated);
    picture.holds(|hold| matches!(hold, Hold::ObserverIsolated { .. }));
    // With a way to neutral places it is believed.
    let mut picture = Picture::new(policy(&alone));
    let seen = Seen { beacon: "........................", ..seen };
    assert_eq!(picture.see(&seen).matches('S').count(), 1);
}

/// One step of an outage in the east: its counters say that all is well and are `age` seconds old by
/// their stamps, and another source tells its targets.
fn outage_beside_counters(picture: &mut Picture, east: char, age: u64) -> char {
    let mut samples = Vec::new();
    for vantage in ["one", "two", "three"] {
        picture.probe(&mut samples, "east", vantage, east);
        picture.probe(&mut samples, "west", vantage, '.');
    }
    picture.counters(&mut samples, "west", '.');
    let before = samples.len();
    picture.counters(&mut samples, "east", '.');
    for sample in &mut samples[before..] {
        sample.taken_at = sample.heard_at.minus(Duration::from_secs(age));
    }
    let about = About { region: Some("east".parse().unwrap()), ..About::default() };
    let hosts = Measure::HealthyHosts(Some(1.0));
    picture.sample(&mut samples, "targets", Class::Inside, about, hosts);
    picture.decide(samples, Vec::new())
}

/// Counters that come a minute late on a calm day, and all at once bear the stamp of the moment, repeat
/// what they said before. That another source of the region is sound does not make them so.
#[test]
fn old_counters_under_fresh_stamps_contradict_nobody() {
    let targets = "beacons: { class: context, fresh_for: 30s, pushed: {} }\n  targets: { class: inside, fresh_for: 3m, pushed: {} }";
    let beacons = "beacons: { class: context, fresh_for: 30s, pushed: {} }";
    for (age, moves) in [(0, 1), (60, 0)] {
        let mut picture = Picture::new(policy(&[(beacons, targets)]));
        picture.memory = Memory::default();
        for _ in 0..12 {
            assert_eq!(outage_beside_counters(&mut picture, '.', 60), '-');
        }
        let done: String =
            (0..24).map(|_| outage_beside_counters(&mut picture, 'x', age)).collect();
        assert_eq!(done.matches('S').count(), moves, "{age} s old: {done}");
        if moves == 0 {
            picture.holds(|hold| matches!(hold, Hold::OneClassOnly { .. }));
        }
    }
}

/// A refresh that was made and did not help is not made again, however many the policy allows.
#[test]
fn a_refresh_that_did_not_help_is_not_hoped_for_again() {
    let refresh = "refresh: { order: [east-web, east-api], wait: 1m, tries: 3 }\nguards:";
    let mut picture = Picture::new(policy(&[("guards:", refresh)]));
    picture.lag = Some(900.0);
    let (grey, own) = ("~".repeat(90), "b".repeat(90));
    let done = picture.see(&Seen { east: &grey, east_counters: &own, ..Seen::default() });
    assert_eq!(done.matches('R').count(), 2, "one for each balancer: {done}");
    picture.holds(|hold| matches!(hold, Hold::RefreshExhausted { .. }));
}

fn stays(picture: &mut Picture, seen: &Seen<'_>) {
    assert_eq!(picture.see(seen), "-".repeat(seen.east.len()));
}

#[test]
fn a_no_answers_one_outage_and_not_the_next() {
    let down = "x".repeat(120);
    let silent = "?".repeat(120);
    let outage = Seen { east: &down, east_counters: &silent, ..Seen::default() };
    let well = Seen { east: "..............................", ..Seen::default() };
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen { east: "xxxxxx", east_counters: "??????", ..Seen::default() });
    picture.note(&Entry::Denied { by: "ana".to_owned() });
    stays(&mut picture, &outage);
    picture.holds(|hold| matches!(hold, Hold::Denied { .. }));
    stays(&mut picture, &well);
    assert_eq!(
        picture.see(&outage).matches('S').count(),
        1,
        "another outage, twenty minutes later"
    );
    // Up for a few minutes and down again: nobody has changed their mind.
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen { east: "xxxxxx", east_counters: "??????", ..Seen::default() });
    picture.note(&Entry::Denied { by: "ana".to_owned() });
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    stays(&mut picture, &well);
    stays(&mut picture, &outage);
    picture.holds(|hold| matches!(hold, Hold::Denied { .. }));
}

#[test]
fn a_lag_is_not_over_because_its_instrument_stops() {
    let dark = Seen { east: DARK, east_counters: SILENT, west_counters: SILENT, ..Seen::default() };
    for (lag, silent, moves) in [
        (Some(45.0), 0, false),
        (None, 0, false),
        // What was told a quarter of an hour ago, and what was never too much, is only missing.
        (Some(45.0), 90, true),
        (Some(1.0), 0, true),
    ] {
        let mut picture = Picture::new(policy(&[]));
        picture.lag = lag;
        picture.see(&Seen { east: "......", ..Seen::default() });
        let (calm, quiet) = (".".repeat(silent), "?".repeat(silent));
        picture.see(&Seen { east: &calm, west_counters: &quiet, ..Seen::default() });
        let done = picture.see(&dark);
        assert_eq!(done.contains('S'), moves, "{lag:?} {silent}: {done}");
    }
}

/// Clients that try again make more requests, and those that give up fewer. A crowd that the region cannot take is
/// demand.
#[test]
fn what_arrives_in_an_outage_is_not_the_demand() {
    let upset = Seen { east: DARK, east_counters: DARK, ..Seen::default() };
    for (capacity, arriving, moves) in
        [(3000.0, 2800.0, true), (2100.0, 300.0, false), (3000.0, 4000.0, false)]
    {
        let mut picture = Picture::new(policy(&[]));
        picture.capacity = capacity;
        picture.see(&Seen { east: "......", ..Seen::default() });
        picture.requests = arriving;
        // Longer than numbers are kept.
        let mut done = String::new();
        for _ in 0..6 {
            done += &picture.see(&upset);
        }
        assert_eq!(done.contains('S'), moves, "{capacity} {arriving}: {done}");
    }
}

#[test]
fn users_that_fail_unseen_are_an_incident() {
    for probes in ["?", "."] {
        let east = probes.repeat(40);
        let failing = "x".repeat(40);
        let mut picture = Picture::new(policy(&[]));
        picture.tells = true;
        stays(&mut picture, &Seen { east: &east, east_counters: &failing, ..Seen::default() });
        assert!(picture.memory.acts.incident_since.is_some(), "{probes}");
        let told = |severity| picture.memory.acts.told.values().any(|t| t.severity == severity);
        assert!(told(leeward::tell::Severity::Page) && told(leeward::tell::Severity::Status));
    }
}
