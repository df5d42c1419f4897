//! Zones of a balancer, drawn: `.` six healthy targets of six, `x` none of six, `~` four, `?` nothing told,
//! `o` healthy and shifted away by somebody. What is done: `Z` a zonal shift, `z` its renewal, `b` back, `h` held.

use leeward::decide::StayWhy;
use leeward::health::ZoneHosts;
use leeward::memory::{ZoneEnd, ZoneNote};
use leeward::plan::ZoneStep;

use super::*;

const BALANCERS: &str = "balancers: { east-web: { carries: 70% }, east-api: { carries: 30% } }";
const SHIFT: &str = "zonal_shift: { zones: { eu-west-1a: euw1-az2, eu-west-1b: euw1-az3, eu-west-1c: euw1-az1 }, rest: 60%, \
                     expires: 10m, back_after: 5m }";

/// Zonal shifts are allowed for `east-web` and `east-api`.
fn allowed(changes: &[(&str, &str)]) -> Policy {
    let arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333";
    let one = |name: &str, carries: &str| {
        format!(
            "{name}: {{ carries: {carries}, arn: \"{arn}:loadbalancer/app/{name}/1\", target_groups: \
             [\"{arn}:targetgroup/{name}/1\"], {SHIFT} }}"
        )
    };
    let balancers = format!(
        "aws_region: eu-west-1\n    balancers: {{ {}, {} }}",
        one("east-web", "70%"),
        one("east-api", "30%")
    );
    let targets =
        "  targets: { class: inside, fresh_for: 2m, target_health: { every: 15s } }\n  beacons:";
    let mut all = vec![(BALANCERS, balancers.as_str()), ("  beacons:", targets)];
    all.extend(changes);
    policy(&all)
}

fn hosts(zone: &str, drawn: char) -> Option<ZoneHosts> {
    let (healthy, shifted) = match drawn {
        'x' => (0, 0),
        '~' => (4, 0),
        'o' => (6, 6),
        '?' => return None,
        _ => (6, 0),
    };
    Some(ZoneHosts { zone: zone.to_owned(), healthy, unhealthy: 6 - healthy, shifted })
}

impl Picture {
    /// What a round decided about a zone, carried out as the executor does where every call succeeds.
    pub(super) fn shift_zone(&mut self, decision: &Decision) -> char {
        let now = Timestamp::from_secs(self.now);
        let over = |away: &leeward::memory::ZoneAway| {
            away.stands.as_ref().is_some_and(|stands| now >= stands.until)
        };
        let ended: Vec<_> = self
            .memory
            .acts
            .zones_away
            .iter()
            .filter(|(_, a)| over(a))
            .map(|(n, _)| n.clone())
            .collect();
        for balancer in ended {
            let note = ZoneNote::Ended { end: ZoneEnd::Expired };
            self.note(&Entry::Zone { balancer, note });
        }
        let Some(plan) = &decision.zone else { return '-' };
        if !plan.go {
            return 'h';
        }
        let act = plan.act.clone();
        let balancer = act.balancer.clone();
        let mut note = |note| self.note(&Entry::Zone { balancer: balancer.clone(), note });
        match act.step {
            ZoneStep::Start { expires } => {
                let mark = "leeward".to_owned();
                note(ZoneNote::Intended { act: Box::new(act), mark });
                note(ZoneNote::Stands { id: "z-1".to_owned(), until: now.plus(expires) });
                'Z'
            }
            ZoneStep::Renew { expires } => {
                note(ZoneNote::Calling { step: act.step });
                note(ZoneNote::Stands { id: "z-1".to_owned(), until: now.plus(expires) });
                'z'
            }
            ZoneStep::Cancel => {
                note(ZoneNote::Calling { step: act.step });
                note(ZoneNote::Ended { end: ZoneEnd::Cancelled });
                'b'
            }
        }
    }

    /// Zones a, b and c of one balancer, with whatever else is seen.
    fn zones_of(&mut self, balancer: &str, zones: [&str; 3], seen: &Seen<'_>) -> String {
        self.zone_done.clear();
        let steps = zones[0].len();
        for step in 0..steps {
            let at = |line: &str| line.chars().nth(step).unwrap_or('.');
            let names = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];
            let told: Vec<ZoneHosts> =
                names.iter().zip(zones).filter_map(|(name, line)| hosts(name, at(line))).collect();
            self.zones.clear();
            if !told.is_empty() {
                self.zones.push((balancer.to_owned(), told));
            }
            self.step(seen, step);
        }
        self.zones.clear();
        self.zone_done.clone()
    }

    fn zones(&mut self, zones: [&str; 3]) -> String {
        self.zones_of("east-web", zones, &Seen::default())
    }

    #[track_caller]
    fn stays(&self, is: impl Fn(&StayWhy) -> bool) {
        self.holds(|hold| matches!(hold, Hold::ZoneMustStay { why, .. } if is(why)));
    }

    fn away(&self) -> bool {
        !self.memory.acts.zones_away.is_empty()
    }
}

#[test]
fn a_bad_zone_is_taken_out_kept_out_and_put_in_again() {
    let mut picture = Picture::new(allowed(&[]));
    let well = &".".repeat(13);
    let done = picture.zones(["xxxxxxxxxxxxx", well, well]);
    assert_eq!(done, "------------Z", "after the sustained time, once");
    picture.finds(Diagnosis::ZoneFault);
    let act = &picture.memory.acts.zones_away[&"east-web".parse().unwrap()].act;
    assert_eq!((act.zone.as_str(), act.zone_id.as_str()), ("eu-west-1a", "euw1-az2"));
    assert!(act.call().contains("awayFrom=euw1-az2 expiresIn=10m"), "{}", act.call());

    // Renewed when a third of its time is left, as long as it takes.
    let long = &".".repeat(90);
    let done = picture.zones([&"x".repeat(90), long, long]);
    assert_eq!(done.matches('z').count(), 2, "{done}");
    assert_eq!(done.find('z'), Some(39), "{done}");
    assert!(!done.contains(['Z', 'b']), "{done}");
    picture.finds(Diagnosis::ZoneFault);

    // Well for as long as is asked; a relapse begins anew.
    let done = picture.zones([".........x...................................", long, long]);
    assert_eq!(done.find('b'), Some(40), "{done}");
    assert!(!picture.away());
    // And when it is all over there is nothing more to decide.
    let calm = picture.calm;
    assert_eq!(picture.zones([well, well, well]), "-".repeat(13));
    assert_eq!(picture.calm, calm + 13);
}

#[test]
fn a_zone_stays_where_the_rest_cannot_carry_it() {
    let (bad, well) = (&"x".repeat(20), &".".repeat(20));
    for (zones, why) in [
        ([bad, bad, well], "another is bad"),
        ([bad, &"~".repeat(20), well], "another is not well"),
    ] {
        let mut picture = Picture::new(allowed(&[]));
        assert_eq!(picture.zones(zones.map(String::as_str)), "-".repeat(20), "{why}");
        picture.stays(|why| matches!(why, StayWhy::OthersBad { .. }));
        picture.finds(Diagnosis::ZoneFault);
    }
    let mut small = Picture::new(allowed(&[("rest: 60%", "rest: 70%")]));
    assert_eq!(small.zones([bad, well, well]), "-".repeat(20));
    small.stays(|why| matches!(why, StayWhy::RestTooSmall { healthy: 12, all: 18, .. }));

    // 2,000 of 3,000 requests per second fit into two zones of three; 2,500 do not.
    let mut full = Picture::new(allowed(&[]));
    full.requests = 2500.0;
    assert_eq!(full.zones([bad, well, well]), "-".repeat(20));
    full.stays(|why| matches!(why, StayWhy::NoRoom { .. }));

    let mut unseen = Picture::new(allowed(&[]));
    let dark = Seen { east: "????????????????????????????????????????", ..Seen::default() };
    let (bad, well) = (&"x".repeat(40), &".".repeat(40));
    assert!(!unseen.zones_of("east-web", [bad, well, well], &dark).contains('Z'));
    unseen.stays(|why| matches!(why, StayWhy::Unseen));
}

#[test]
fn what_is_not_told_is_no_reason() {
    let mut picture = Picture::new(allowed(&[]));
    let seen = Seen { east_counters: "hhhhhhhhhhhhhhhhhhhh", ..Seen::default() };
    let none = &"?".repeat(20);
    assert_eq!(picture.zones_of("east-web", [none, none, none], &seen), "-".repeat(20));
    picture.finds(Diagnosis::ZoneFault);
    picture.stays(|why| matches!(why, StayWhy::NotTold));

    // A zone of which the policy has no id.
    let mut picture = Picture::new(allowed(&[("eu-west-1a: euw1-az2, ", "")]));
    let (bad, well) = (&"x".repeat(20), &".".repeat(20));
    assert_eq!(picture.zones([bad, well, well]), "-".repeat(20));
    picture.stays(|why| matches!(why, StayWhy::NoId));
}

#[test]
fn one_zone_of_a_region_at_a_time_whoever_took_it_out() {
    let (bad, well, shifted) = (&"x".repeat(20), &".".repeat(20), &"o".repeat(20));
    // Somebody else has taken out another zone, or the very same.
    let mut foreign = Picture::new(allowed(&[]));
    assert_eq!(foreign.zones([bad, shifted, well]), "-".repeat(20));
    foreign.stays(|why| matches!(why, StayWhy::OneAway { zone } if zone == "eu-west-1b"));

    // Another balancer's zone is away by our doing: the same zone may go, another must stay.
    let mut ours = Picture::new(allowed(&[]));
    assert!(ours.zones([bad, well, well]).contains('Z'));
    assert!(ours.zones_of("east-api", [bad, well, well], &Seen::default()).contains('Z'));
    assert_eq!(ours.memory.acts.zones_away.len(), 2);
    let mut other = Picture::new(allowed(&[]));
    assert!(other.zones([bad, well, well]).contains('Z'));
    assert!(!other.zones_of("east-api", [well, bad, well], &Seen::default()).contains('Z'));
    other.stays(|why| matches!(why, StayWhy::OneAway { zone } if zone == "eu-west-1a"));
}

#[test]
fn what_nobody_can_tell_is_neither_renewed_nor_taken_back() {
    let mut picture = Picture::new(allowed(&[]));
    let (bad, well) = (&"x".repeat(13), &".".repeat(13));
    assert!(picture.zones([bad, well, well]).contains('Z'));
    let (none, long) = (&"?".repeat(80), &".".repeat(80));
    // Told of the others and not of this one, then of none.
    assert_eq!(picture.zones([none, long, long]), "-".repeat(80));
    assert!(!picture.away(), "it ended by itself");
}

#[test]
fn a_zone_that_is_well_is_back_at_once_when_another_goes() {
    let mut picture = Picture::new(allowed(&[]));
    let (bad, well) = (&"x".repeat(13), &".".repeat(13));
    assert!(picture.zones([bad, well, well]).contains('Z'));
    let done = picture.zones([&".".repeat(20), &"x".repeat(20), &".".repeat(20)]);
    assert_eq!(done.find('b'), Some(12), "{done}");
}

#[test]
fn modes_pins_and_approvals_hold_for_zones_as_well() {
    let (bad, well) = (&"x".repeat(20), &".".repeat(20));
    for (mode, why) in [
        ("mode: observe", "ModeObserves"),
        ("mode: advise", "ModeObserves"),
        ("mode: approve", "ApprovalNeeded"),
    ] {
        let mut picture = Picture::new(allowed(&[("mode: auto", mode)]));
        assert_eq!(
            picture.zones([bad, well, well]),
            format!("{}hhhhhhhh", "-".repeat(12)),
            "{mode}"
        );
        picture.holds(|hold| format!("{hold:?}").starts_with(why));
        assert!(!picture.away(), "{mode}");
    }
    let pin = |picture: &mut Picture| {
        let (by, reason) = ("ana".to_owned(), "x".to_owned());
        picture.note(&Entry::Pinned(Pin { by, reason, since: Timestamp::default(), until: None }));
    };
    let mut pinned = Picture::new(allowed(&[]));
    pin(&mut pinned);
    assert!(!pinned.zones([bad, well, well]).contains('Z'));
    pinned.holds(|hold| matches!(hold, Hold::Pinned { .. }));

    // What was approved is upheld and taken back without another yes; under a pin nothing is.
    let mut approved = Picture::new(allowed(&[("mode: auto", "mode: approve")]));
    approved.note(&Entry::Approved { by: "ana".to_owned(), until: None });
    assert!(approved.zones([bad, well, well]).contains('Z'));
    approved.memory.acts.approved = None;
    let (bad, well) = (&"x".repeat(40), &".".repeat(40));
    assert!(approved.zones([bad, well, well]).contains('z'));
    let well = &".".repeat(32);
    pin(&mut approved);
    assert!(!approved.zones([well, well, well]).contains('b'));
    approved.memory.acts.pin = None;
    assert!(approved.zones([well, well, well]).contains('b'));
}

/// Users of the region fail, and one zone is why.
#[test]
fn no_region_is_left_for_a_zone_before_its_shift_was_tried() {
    let fails = "~".repeat(60);
    let seen = Seen { east: &fails, east_counters: &"x".repeat(60), ..Seen::default() };
    let (bad, well) = (&"x".repeat(60), &".".repeat(60));
    // Without leave to shift it the region is left, as after any other outage.
    let mut plain = Picture::new(policy(&[]));
    assert!(plain.see(&seen).contains('S'));

    let mut helps = Picture::new(allowed(&[]));
    let mut tried = Picture::new(allowed(&[]));
    assert!(tried.zones_of("east-web", [bad, well, well], &seen).starts_with("------------Z"));
    let left = tried.memory.acts.shifts.first().expect("it did not help").at;
    let began = tried.memory.acts.zones_away.values().next().unwrap().intended_at;
    assert!(left.since(began) >= Duration::from_secs(180), "{began} {left}");

    // It helps: the region stays.
    let done = helps.zones_of("east-web", [&bad[..20], &well[..20], &well[..20]], &seen);
    assert_eq!(done.find('Z'), Some(12), "{done}");
    helps.finds(Diagnosis::ZoneFault);
    helps.holds(|hold| matches!(hold, Hold::ZoneShiftWatching { .. }));
    assert!(
        helps
            .last
            .as_ref()
            .unwrap()
            .findings
            .iter()
            .all(|f| f.diagnosis != Diagnosis::RegionDegraded)
    );
    helps.zones_of("east-web", [bad, well, well], &Seen::default());
    assert!(helps.memory.acts.shifts.is_empty(), "{:?}", helps.memory.acts.shifts);
}

/// What is missing in a zone may be missing because a balancer is being refreshed.
#[test]
fn no_zone_is_shifted_away_while_a_balancer_is_refreshed() {
    let mut picture = Picture::new(allowed(&[]));
    let note = CureNote::Intended(Box::new(cure(Aim::Rung(RungKind::Targets), 9.0)));
    picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note });
    let (bad, well) = (&"x".repeat(20), &".".repeat(20));
    assert!(!picture.zones([bad, well, well]).contains('Z'));
    picture.stays(
        |why| matches!(why, StayWhy::Refreshed { balancer } if balancer.as_str() == "east-web"),
    );
}

/// Whoever takes our shift back had a reason.
#[test]
fn what_a_human_took_back_is_not_begun_again() {
    let mut picture = Picture::new(allowed(&[]));
    let (bad, well) = (&"x".repeat(13), &".".repeat(13));
    assert!(picture.zones([bad, well, well]).contains('Z'));
    let (balancer, note) =
        ("east-web".parse().unwrap(), ZoneNote::Ended { end: ZoneEnd::TakenBack });
    picture.note(&Entry::Zone { balancer, note });
    let (bad, well) = (&"x".repeat(50), &".".repeat(50));
    assert!(!picture.zones([bad, well, well]).contains('Z'));
    picture.holds(|hold| matches!(hold, Hold::ZoneShiftPaused { .. }));
}

#[test]
fn people_hear_of_the_zone_and_of_what_is_done() {
    let mut picture = Picture::new(allowed(&[]));
    picture.tells = true;
    let (bad, well) = (&"x".repeat(16), &".".repeat(16));
    picture.zones([bad, well, well]);
    let told: Vec<String> = picture
        .memory
        .acts
        .told
        .iter()
        .map(|(key, told)| {
            format!("{key} {}", told.unsaid.as_ref().map_or("", |u| u.text.as_str()))
        })
        .collect();
    let all = told.join("\n");
    assert!(all.contains("zone:east:") && all.contains("zone-shift:east-web:"), "{all}");
}
