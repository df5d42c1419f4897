//! Drawn timelines: what is seen, a character for each ten seconds, and what is done.
//!
//! Probes: `.` well, `x` fails, `~` half fails, `s` slow, `?` no reading. Counters: `.` well, `x` errors,
//! `?` silent. What is done: `S` a shift, `H` home, `L` last resort, `R` a refresh, `-` nothing; `f` a change
//! of records that failed, `g` a switch that did not turn, `G` one that did.

mod asked;
mod calm;
mod doubt;
mod ladder;
mod matters;
mod public;
mod shields;

use std::collections::BTreeMap;
use std::time::Duration;

use leeward::balancer::Snapshot;
use leeward::balancer::cure::{Cure, Purpose as Aim};
use leeward::decide::{Decision, Diagnosis, Hold, decide, decide_in_full, is_calm};
use leeward::domain::{RegionName, Split, Tally, Timestamp, Weight};
use leeward::health::{
    About, Answers, Event, Happening, Measure, Observations, ProbeFailure, Sample,
};
use leeward::memory::{CureNote, Entry, Memory, Outcome, Pin};
use leeward::plan::{Batch, HookAnswer, HookCall, HookEnd, Plan, Purpose, RefreshAct, Wanted};
use leeward::policy::{Class, LeverKind, Mode, Policy, RungKind, load};
use leeward::ports::{CallFailed, ChangeId};
use proptest::prelude::*;

mod gates;
mod grey;
mod hooks;
mod zonal;

const POLICY: &str = r"
version: 1
service: shop
mode: auto
regions:
  east:
    role: primary
    weight: 100
    capacity: 3000 rps
    balancers: { east-web: { carries: 70% }, east-api: { carries: 30% } }
  west:
    role: standby
    weight: 0
    capacity: 3000 rps
    balancers: { west-web: { carries: 70% }, west-api: { carries: 30% } }
vantages: { one: { source: 127.0.0.1 }, two: { source: 127.0.0.2 }, three: { source: 127.0.0.3 } }
levers:
  - weights:
      records: [{ zone: Z1, name: shop.example.com, types: [A], members: { east: east, west: west } }]
      epoch_record: { zone: Z1, name: _leeward.shop.example.com }
      ttl: 60s
      in_sync_within: 5m
      readback: none
signals:
  probes: { class: outside, fresh_for: 30s, pushed: {} }
  metrics: { class: traffic, fresh_for: 3m, pushed: {} }
  beacons: { class: context, fresh_for: 30s, pushed: {} }
judge: { success_below: 85%, latency_above: 3s, window: 1m, sustain: 2m, vantages: 2, classes: 2, healthy_hosts_below: 50%, deploy_guard: 30m }
shift: { demand: 2000 rps, ramp: [100%], hold: 2m, spare: 10%, overflow: hold, last_resort: never, unready: hold }
failback: manual
guards: { cooldown: 10m, shifts: { max: 2, within: 1h }, latch: { after: 4, within: 24h }, replication_lag: 30s, standby_healthy_hosts: 70% }
tell: { channels: [], status_every: 15m }
";

/// The policy of most pictures, with some lines changed.
fn policy(changes: &[(&str, &str)]) -> Policy {
    let mut text = POLICY.to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "`{old}` is not in the policy");
        text = text.replace(old, new);
    }
    match load(&text, "picture.yaml") {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

/// What one service sees and does, step by step, with every wanted move carried out at once.
struct Picture {
    policy: Policy,
    memory: Memory,
    now: i64,
    split: Split,
    answers: Answering,
    lag: Option<f64>,
    requests: f64,
    capacity: f64,
    lever: Lever,
    switch: Lever,
    last: Option<Decision>,
    /// Every call of a hook so far, and how many of them were answered.
    called: Vec<HookCall>,
    answered: usize,
    /// What hooks answer before the next step; nothing yet if there is none.
    hooks_say: Option<HookAnswer>,
    /// Rounds in which there was nothing to decide. Every picture checks that this was so.
    calm: u32,
    /// What is decided to be told is told.
    tells: bool,
    /// What the targets of each balancer say of their zones in the next step.
    zones: Vec<(String, Vec<leeward::health::ZoneHosts>)>,
    /// What was done about zones, a character for each step.
    zone_done: String,
    /// How probes of balancers fail that are drawn one by one, if they say so.
    fails_by: Option<ProbeFailure>,
}

#[derive(Clone, Copy, PartialEq)]
enum Answering {
    Split,
    Drift,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lever {
    Works,
    /// Throttled: nothing happened.
    Fails,
    /// No answer: nobody knows whether it happened.
    Silent,
    Hangs,
}

#[derive(Default)]
struct Seen<'a> {
    east: &'a str,
    west: &'a str,
    /// Vantages that see `east` as drawn; the others see it well. All if empty.
    only: &'a [&'a str],
    east_counters: &'a str,
    west_counters: &'a str,
    /// Beacons of vantage `one`.
    beacon: &'a str,
}

impl Picture {
    fn new(policy: Policy) -> Self {
        let split = policy.home_split().unwrap();
        let mut picture = Self {
            policy,
            memory: Memory::default(),
            now: 1_000_000,
            split,
            answers: Answering::Split,
            lag: Some(1.0),
            requests: 2000.0,
            capacity: 3000.0,
            lever: Lever::Works,
            switch: Lever::Works,
            last: None,
            called: Vec::new(),
            answered: 0,
            hooks_say: Some(HookAnswer::Yes),
            calm: 0,
            tells: false,
            zones: Vec::new(),
            zone_done: String::new(),
            fails_by: None,
        };
        // Windows are full before a picture begins.
        picture.see(&Seen { east: "......", ..Seen::default() });
        picture
    }

    fn see(&mut self, seen: &Seen<'_>) -> String {
        let mut done = String::new();
        for step in 0..seen.east.len() {
            done.push(self.step(seen, step));
        }
        done
    }

    fn step(&mut self, seen: &Seen<'_>, step: usize) -> char {
        let at = |line: &str| line.chars().nth(step).unwrap_or('.');
        let mut samples = Vec::new();
        for vantage in ["one", "two", "three"] {
            let drawn = seen.only.is_empty() || seen.only.contains(&vantage);
            let east = if drawn { at(seen.east) } else { '.' };
            self.probe(&mut samples, "east", vantage, east);
            self.probe(&mut samples, "west", vantage, at(seen.west));
            if !seen.beacon.is_empty() {
                let success = if vantage == "one" && at(seen.beacon) == 'x' { 0.0 } else { 1.0 };
                let about = About { vantage: Some(vantage.parse().unwrap()), ..About::default() };
                self.sample(
                    &mut samples,
                    "beacons",
                    Class::Context,
                    about,
                    Measure::Beacon { success },
                );
            }
        }
        self.counters(&mut samples, "east", at(seen.east_counters));
        self.counters(&mut samples, "west", at(seen.west_counters));
        for (balancer, hosts) in &self.zones {
            let (region, balancer) =
                (Some("east".parse().unwrap()), Some(balancer.parse().unwrap()));
            let about = About { region, balancer, vantage: None };
            let measure = Measure::Zones(hosts.clone());
            self.sample(&mut samples, "targets", Class::Inside, about, measure);
        }
        self.decide(samples, Vec::new())
    }

    fn decide(&mut self, samples: Vec<Sample>, events: Vec<Event>) -> char {
        let now = Timestamp::from_secs(self.now);
        let answers = match self.answers {
            Answering::Split => Answers::Split { split: self.split.clone(), read_at: now },
            Answering::Drift => {
                Answers::Drift { what: "`shop.example.com` A set `east` is gone".to_owned() }
            }
            Answering::Unknown => Answers::Unknown,
        };
        let seen = Observations { samples, events, answers };
        self.hear_hooks();
        self.memory.evidence.take_in(&self.policy, &seen, now);
        let decision = decide(&self.policy, &self.memory, now);
        if is_calm(&self.policy, &self.memory, now) {
            self.calm += 1;
            nothing_in(&decision, self.memory.acts.incident_since.is_some());
            // To the last number and word.
            assert_eq!(decision, decide_in_full(&self.policy, &self.memory, now));
        }
        if decision.incident != self.memory.acts.incident_since.is_some() {
            self.note(&Entry::Incident { open: decision.incident });
        }
        for call in &decision.calls {
            self.note(&Entry::HookCalled(Box::new(call.clone())));
            self.called.push(call.clone());
        }
        self.withdraw(&decision);
        let done = match decision.wanted.clone() {
            None => '-',
            Some(Wanted::Refresh { balancer, .. }) => {
                self.note(&Entry::Refreshing { balancer: balancer.clone() });
                self.note(&Entry::Refreshed { balancer, failure: None });
                'R'
            }
            Some(wanted @ Wanted::Move(_)) => self.carry_out(wanted),
        };
        let zone = self.shift_zone(&decision);
        self.zone_done.push(zone);
        if self.tells {
            self.hand_over(&decision.notes);
        }
        self.last = Some(decision);
        self.now += 10;
        done
    }

    fn carry_out(&mut self, wanted: Wanted) -> char {
        let Wanted::Move(moved) = wanted.clone() else { panic!("not a move") };
        if moved.lever.is_switch() {
            return self.turn(&moved);
        }
        if self.memory.acts.order.is_some() {
            return '=';
        }
        if moved.lever.is_switch() {
            for turn in &moved.turns {
                let (region, to) = (turn.region.clone(), turn.to);
                self.note(&Entry::Gated { region, to, failure: None });
            }
            self.note(&Entry::MovedByGates(Box::new(moved.clone())));
            return letter(moved.purpose);
        }
        let epoch = self.memory.acts.epoch.next();
        let batch =
            Batch { zone: "Z1".parse().unwrap(), comment: String::new(), swaps: Vec::new() };
        let plan = Plan {
            service: self.policy.service.clone(),
            epoch,
            made_at: Timestamp::from_secs(self.now),
            wanted,
            batches: vec![batch],
            result: moved.to.weights().clone(),
        };
        self.note(&Entry::Intended(Box::new(plan)));
        self.note(&Entry::Sending { epoch, batch: 0 });
        match self.lever {
            Lever::Fails | Lever::Silent => {
                let failure = self.lever.failure();
                self.note(&Entry::Failed { epoch, batch: 0, failure });
                return 'f';
            }
            Lever::Works | Lever::Hangs => {
                self.note(&Entry::Accepted { epoch, batch: 0, change: ChangeId("C1".to_owned()) });
            }
        }
        self.split = moved.to;
        if self.lever == Lever::Works {
            self.note(&Entry::InSync { epoch });
            self.note(&Entry::Ended { epoch, outcome: Outcome::Done });
        }
        letter(moved.purpose)
    }

    fn note(&mut self, entry: &Entry) {
        self.memory.acts.apply(Timestamp::from_secs(self.now), entry);
    }

    fn sample(
        &self,
        to: &mut Vec<Sample>,
        signal: &str,
        class: Class,
        about: About,
        measure: Measure,
    ) {
        let at = Timestamp::from_secs(self.now);
        let signal = signal.parse().unwrap();
        to.push(Sample { signal, class, about, measure, taken_at: at, heard_at: at });
    }

    fn probe(&self, to: &mut Vec<Sample>, region: &str, vantage: &str, drawn: char) {
        let (success, ms) = match drawn {
            'x' => (0.0, None),
            '~' => (0.5, Some(200.0)),
            's' => (1.0, Some(9000.0)),
            '?' => return,
            _ => (1.0, Some(100.0)),
        };
        for part in ["web", "api"] {
            let about = About {
                region: Some(region.parse().unwrap()),
                balancer: Some(format!("{region}-{part}").parse().unwrap()),
                vantage: Some(vantage.parse().unwrap()),
            };
            let measure = Measure::Probe { success, latency_ms: ms, failure: None };
            self.sample(to, "probes", Class::Outside, about, measure);
        }
    }

    fn counters(&self, to: &mut Vec<Sample>, region: &str, drawn: char) {
        let whole = About { region: Some(region.parse().unwrap()), ..About::default() };
        if drawn == '?' {
            let silence = Measure::Silence { why: "no answer".to_owned() };
            return self.sample(to, "metrics", Class::Traffic, whole, silence);
        }
        let share = self.split.share(&region.parse().unwrap()).get();
        let carries = share > 0.0;
        for part in ["web", "api"] {
            let balancer = Some(format!("{region}-{part}").parse().unwrap());
            let about = About { balancer, ..whole.clone() };
            // `x`: the targets fail. `b`: the balancer itself does, with well targets. `h`: hosts are gone.
            let (own, targets) = match drawn {
                'x' => (0.001, 0.6),
                'b' => (0.5, 0.001),
                _ => (0.001, 0.001),
            };
            let hosts = if drawn == 'h' { 0.6 } else { 1.0 };
            self.sample(
                to,
                "metrics",
                Class::Traffic,
                about.clone(),
                Measure::HealthyHosts(Some(hosts)),
            );
            let count = |value: f64| carries.then_some(value);
            self.sample(
                to,
                "metrics",
                Class::Traffic,
                about.clone(),
                Measure::BalancerErrors(count(own)),
            );
            self.sample(
                to,
                "metrics",
                Class::Traffic,
                about,
                Measure::TargetErrors(count(targets)),
            );
        }
        self.sample(
            to,
            "metrics",
            Class::Traffic,
            whole.clone(),
            Measure::Requests(Some(share * self.requests)),
        );
        self.sample(
            to,
            "metrics",
            Class::Traffic,
            whole.clone(),
            Measure::Capacity(Some(self.capacity)),
        );
        if region == "west" {
            self.sample(to, "metrics", Class::Traffic, whole, Measure::ReplicationLag(self.lag));
        }
    }

    #[track_caller]
    fn holds(&self, is: impl Fn(&Hold) -> bool) {
        let holds = &self.last.as_ref().unwrap().holds;
        assert!(holds.iter().any(is), "not among the holds: {holds:#?}");
        for hold in holds {
            assert!(!hold.to_string().is_empty() && !hold.flips_when().is_empty());
        }
    }

    #[track_caller]
    fn finds(&self, diagnosis: Diagnosis) {
        let findings = &self.last.as_ref().unwrap().findings;
        assert!(
            findings.iter().any(|f| f.diagnosis == diagnosis),
            "{diagnosis} is not among {findings:#?}"
        );
    }

    fn event(&mut self, what: Happening) {
        let at = Timestamp::from_secs(self.now);
        self.decide(Vec::new(), vec![Event { at, heard_at: at, what }]);
    }
}

const fn letter(purpose: Purpose) -> char {
    match purpose {
        Purpose::Evacuate | Purpose::Ramp => 'S',
        Purpose::Failback => 'H',
        Purpose::LastResort => 'L',
        Purpose::Operator | Purpose::Repair => 'o',
    }
}

const DARK: &str = "xxxxxxxxxxxxxxxxxxxxxxxx";
const SILENT: &str = "????????????????????????";
const STILL: &str = "------------------------";

#[track_caller]
fn still(picture: &mut Picture, seen: &Seen<'_>) {
    let done = picture.see(seen);
    assert_eq!(done, STILL[..done.len()], "holds: {:?}", picture.last.as_ref().map(|d| &d.holds));
}

#[test]
fn a_dead_region_is_left_once_after_the_sustained_time() {
    let mut picture = Picture::new(policy(&[]));
    let done = picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    // One of six samples bad is 83 %, under the limit of 85 %; two minutes later it is left.
    assert_eq!(done, "------------S-----------");
    picture.finds(Diagnosis::RegionDown);
}

#[test]
fn a_brownout_is_degraded_and_left() {
    let mut picture = Picture::new(policy(&[]));
    let counters = "xxxxxxxxxxxxxxxxxxxxxxxx";
    let done =
        picture.see(&Seen { east: "~~~~~~~~~~~~~~~", east_counters: counters, ..Seen::default() });
    assert_eq!(done.matches('S').count(), 1);
    picture.finds(Diagnosis::RegionDegraded);
}

#[test]
fn slowness_alone_is_enough() {
    let mut picture = Picture::new(policy(&[]));
    let done = picture.see(&Seen { east: "ssssssssssssssssssssssss", ..Seen::default() });
    assert_eq!(done.matches('S').count(), 1);
}

#[test]
fn a_short_blip_moves_nothing() {
    let mut picture = Picture::new(policy(&[]));
    still(&mut picture, &Seen { east: "xxxx....................", ..Seen::default() });
    picture.finds(Diagnosis::Well);
}

#[test]
fn bad_is_not_yet_bad_enough() {
    let mut picture = Picture::new(policy(&[]));
    still(&mut picture, &Seen { east: "xxxxxxxx", ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::NotSustained { .. }));
}

#[test]
fn silence_is_not_failure() {
    let mut picture = Picture::new(policy(&[]));
    let seen = Seen { east: "????????????????????????", east_counters: SILENT, ..Seen::default() };
    still(&mut picture, &seen);
    still(&mut picture, &seen);
    picture.finds(Diagnosis::SignalsStale);
}

#[test]
fn one_vantage_is_not_enough() {
    let mut picture = Picture::new(policy(&[]));
    still(&mut picture, &Seen { east: DARK, only: &["one"], ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::TooFewVantages { seen: 1, .. }));
    picture.finds(Diagnosis::PathBroken);
}

#[test]
fn a_vantage_that_lost_its_own_network_is_not_believed() {
    let mut picture = Picture::new(policy(&[]));
    let seen = Seen { east: DARK, west: DARK, only: &["one"], beacon: DARK, ..Seen::default() };
    still(&mut picture, &seen);
    picture.finds(Diagnosis::ObserverIsolated);
}

#[test]
fn probes_that_users_contradict_move_nothing() {
    let mut picture = Picture::new(policy(&[]));
    still(&mut picture, &Seen { east: DARK, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::OneClassOnly { .. }));
}

#[test]
fn counters_alone_move_nothing() {
    let mut picture = Picture::new(policy(&[]));
    still(
        &mut picture,
        &Seen { east: "........................", east_counters: DARK, ..Seen::default() },
    );
    picture.holds(|hold| matches!(hold, Hold::OneClassOnly { .. }));
}

#[test]
fn nothing_moves_before_the_windows_are_full() {
    let mut picture = Picture::new(policy(&[]));
    picture.memory = Memory::default();
    let short = policy(&[("sustain: 2m", "sustain: 30s"), ("window: 1m", "window: 3m")]);
    picture.policy = short;
    let done = picture.see(&Seen { east: "xxxxxxxxxx", east_counters: SILENT, ..Seen::default() });
    assert!(!done.contains('S'), "{done}");
    picture.holds(|hold| matches!(hold, Hold::WarmingUp { .. }));
}

#[test]
fn observing_proposes_and_moves_nothing() {
    for mode in [Mode::Observe, Mode::Advise] {
        let mut picture = Picture::new(policy(&[]));
        picture.policy.mode = mode;
        still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
        picture.holds(|hold| matches!(hold, Hold::ModeObserves { .. }));
        assert!(picture.last.as_ref().unwrap().proposed.is_some());
    }
}

#[test]
fn a_pin_is_absolute_and_ends() {
    let mut picture = Picture::new(policy(&[]));
    let until = Timestamp::from_secs(picture.now + 200);
    let pin =
        Pin { by: "ana".to_owned(), reason: "drill".to_owned(), since: until, until: Some(until) };
    picture.note(&Entry::Pinned(pin));
    let done = picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    assert_eq!(done, "--------------------S---");
}

#[test]
fn a_pin_without_end_holds_until_it_is_lifted() {
    let mut picture = Picture::new(policy(&[]));
    let pin = Pin {
        by: "ana".to_owned(),
        reason: "x".to_owned(),
        since: Timestamp::default(),
        until: None,
    };
    picture.note(&Entry::Pinned(pin));
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::Pinned { .. }));
    picture.note(&Entry::Unpinned { by: "ana".to_owned() });
    let done = picture.see(&Seen { east: "xx", east_counters: "??", ..Seen::default() });
    assert_eq!(done, "S-");
}

#[test]
fn approval_is_waited_for_and_a_no_is_a_no() {
    let mut picture = Picture::new(policy(&[("mode: auto", "mode: approve")]));
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::ApprovalNeeded { .. }));
    picture.note(&Entry::Denied { by: "ana".to_owned() });
    still(&mut picture, &Seen { east: "xx", east_counters: "??", ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::Denied { .. }));
    picture.note(&Entry::Approved { by: "ben".to_owned(), until: None });
    assert_eq!(picture.see(&Seen { east: "xx", east_counters: "??", ..Seen::default() }), "S-");
}

#[test]
fn a_standby_that_is_behind_loses_writes() {
    let mut picture = Picture::new(policy(&[]));
    picture.lag = Some(45.0);
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::LagTooHigh { .. }));
    picture.lag = None;
    still(&mut picture, &Seen { east: "xx", east_counters: "??", ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::LagUnknown { .. }));
    picture.lag = Some(29.0);
    assert_eq!(picture.see(&Seen { east: "xx", east_counters: "??", ..Seen::default() }), "S-");
}

#[test]
fn an_unfit_standby_gets_nothing() {
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen { east: "..............", west: DARK, ..Seen::default() });
    picture.finds(Diagnosis::StandbyUnready);
    still(&mut picture, &Seen { east: DARK, west: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::DestinationUnready { .. }));
    picture.holds(|hold| matches!(hold, Hold::NowhereToGo));
}

#[test]
fn nowhere_to_go_is_named_when_the_standby_fell_long_before() {
    let mut picture = Picture::new(policy(&[]));
    for _ in 0..5 {
        picture.see(&Seen { east: "........................", west: DARK, ..Seen::default() });
    }
    still(&mut picture, &Seen { east: DARK, west: DARK, east_counters: SILENT, ..Seen::default() });
    picture.finds(Diagnosis::NowhereToGo);
}

#[test]
fn a_fault_everywhere_has_one_cause_and_moves_nothing() {
    let mut picture = Picture::new(policy(&[]));
    let regions: Vec<RegionName> = vec!["east".parse().unwrap(), "west".parse().unwrap()];
    picture.event(Happening::Deploy { regions, version: "v7".to_owned(), scope: "all".to_owned() });
    let bad = "~~~~~~~~~~~~~~~~~~~~~~~~";
    still(&mut picture, &Seen { east: bad, west: bad, east_counters: DARK, ..Seen::default() });
    picture.finds(Diagnosis::CommonCause);
    picture.holds(
        |hold| matches!(hold, Hold::CommonCause { change: Some(change) } if change.contains("v7")),
    );
}

#[test]
fn the_other_region_runs_the_suspected_version_too() {
    let mut picture = Picture::new(policy(&[]));
    let regions: Vec<RegionName> = vec!["east".parse().unwrap(), "west".parse().unwrap()];
    picture.event(Happening::Deploy { regions, version: "v7".to_owned(), scope: "all".to_owned() });
    still(
        &mut picture,
        &Seen { east: "~~~~~~~~~~~~~~~~~~~~~~~~", east_counters: DARK, ..Seen::default() },
    );
    picture.holds(|hold| matches!(hold, Hold::DeploySuspected { .. }));
}

#[test]
fn the_first_wave_is_left() {
    let mut picture = Picture::new(policy(&[]));
    let regions: Vec<RegionName> = vec!["east".parse().unwrap()];
    picture.event(Happening::Deploy {
        regions,
        version: "v7".to_owned(),
        scope: "canary".to_owned(),
    });
    let done = picture.see(&Seen {
        east: "~~~~~~~~~~~~~~~~~~~~~~~~",
        east_counters: DARK,
        ..Seen::default()
    });
    assert_eq!(done.matches('S').count(), 1);
}

#[test]
fn what_does_not_fit_is_held_or_spilled() {
    let mut picture = Picture::new(policy(&[]));
    picture.capacity = 1000.0;
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::NoRoom { .. }));
    let mut picture = Picture::new(policy(&[("overflow: hold", "overflow: spill")]));
    picture.capacity = 1000.0;
    let done = picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    assert_eq!(done.matches('S').count(), 1);
    // 90 % of 1,000 of 2,000 requests a second.
    assert_eq!(picture.split.weight(&"west".parse().unwrap()), Weight(45));
}

#[test]
fn nothing_flows_back_to_where_nothing_works() {
    let rules = [("overflow: hold", "overflow: spill"), ("cooldown: 10m", "cooldown: 1m")];
    let mut picture = Picture::new(policy(&rules));
    picture.capacity = 1000.0;
    let seen = Seen { east: DARK, east_counters: SILENT, ..Seen::default() };
    picture.see(&seen);
    let moved = picture.split.clone();
    assert_eq!(moved.weight(&"west".parse().unwrap()), Weight(45));
    // The destination loses half of its hosts under the load.
    picture.capacity = 500.0;
    picture.see(&seen);
    assert_eq!(picture.split, moved);
}

#[test]
fn a_ramp_goes_step_by_step() {
    let mut picture = Picture::new(policy(&[("ramp: [100%]", "ramp: [25%, 100%]")]));
    let long = "x".repeat(60);
    let done =
        picture.see(&Seen { east: &long, east_counters: &"?".repeat(60), ..Seen::default() });
    assert_eq!(done.matches('S').count(), 2, "{done}");
    let first = done.find('S').unwrap();
    let second = first + 1 + done[first + 1..].find('S').unwrap();
    assert!(second - first >= 12, "the second step waits for two minutes at least: {done}");
}

/// A cached copy is the last resort, after a minute.
const RESORT: [(&str, &str); 4] = [
    (
        "vantages: {",
        "  cache: { role: last_resort, weight: 0, balancers: { cache-edge: { carries: 100% } } }\nvantages: {",
    ),
    ("members: { east: east, west: west }", "members: { east: east, west: west, cache: cache }"),
    ("last_resort: never", "last_resort: { after: 1m }"),
    ("cooldown: 10m", "cooldown: 1m"),
];

impl Picture {
    /// A step in which the copy is well.
    fn beside_a_copy(&mut self, east: char, west: char, east_counters: char) -> char {
        let mut samples = Vec::new();
        for vantage in ["one", "two", "three"] {
            self.probe(&mut samples, "east", vantage, east);
            self.probe(&mut samples, "west", vantage, west);
            let edge = About {
                region: Some("cache".parse().unwrap()),
                balancer: Some("cache-edge".parse().unwrap()),
                vantage: Some(vantage.parse().unwrap()),
            };
            let measure = Measure::Probe { success: 1.0, latency_ms: Some(50.0), failure: None };
            self.sample(&mut samples, "probes", Class::Outside, edge, measure);
        }
        self.counters(&mut samples, "east", east_counters);
        self.counters(&mut samples, "west", '.');
        self.decide(samples, Vec::new())
    }
}

#[test]
fn the_last_resort_waits_for_patience_and_comes_home() {
    let mut changes = RESORT.to_vec();
    changes.push(("failback: manual", "failback: { auto: { hold: 5m, step: 100%, every: 1m } }"));
    let mut picture = Picture::new(policy(&changes));
    let mut done = String::new();
    for (east, west, counters, steps) in [('x', 'x', '?', 40), ('.', '.', '.', 60)] {
        for _ in 0..steps {
            done.push(picture.beside_a_copy(east, west, counters));
        }
    }
    assert_eq!(done.matches('L').count(), 1, "{done}");
    assert_eq!(done.matches('H').count(), 1, "{done}");
    assert!(done.find('L').unwrap() >= 18, "two minutes of proof and one of patience: {done}");
}

#[test]
fn going_home_is_a_humans_matter_unless_said_otherwise() {
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    still(&mut picture, &Seen { east: "........................", ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::FailbackManual { .. }));
}

#[test]
fn going_home_soaks_and_goes_in_steps() {
    let auto = "failback: { auto: { hold: 10m, step: 50%, every: 5m } }";
    let mut picture = Picture::new(policy(&[("failback: manual", auto)]));
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    let calm = ".".repeat(24);
    still(&mut picture, &Seen { east: &calm, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::FailbackSoaking { .. }));
    let longer = ".".repeat(120);
    let done = picture.see(&Seen { east: &longer, ..Seen::default() });
    assert_eq!(done.matches('H').count(), 2, "{done}");
    let first = done.find('H').unwrap();
    assert!(first >= 60 - 24 - 6, "ten minutes of unbroken health: {done}");
    assert_eq!(picture.split, picture.policy.home_split().unwrap());
}

#[test]
fn a_region_that_became_worse_is_left_even_towards_home() {
    let mut picture = Picture::new(policy(&[("cooldown: 10m", "cooldown: 1m")]));
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.see(&Seen { east: &".".repeat(24), ..Seen::default() });
    let seen = Seen { east: &".".repeat(24), west: DARK, west_counters: SILENT, ..Seen::default() };
    let done = picture.see(&seen);
    assert_eq!(done.matches('S').count(), 1, "{done}");
    assert_eq!(picture.split.weight(&"west".parse().unwrap()), Weight(0));
}

#[test]
fn shifts_are_bounded_and_cooled_and_latched() {
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    let back = Seen { east: &".".repeat(24), west: DARK, west_counters: SILENT, ..Seen::default() };
    still(&mut picture, &back);
    picture.holds(|hold| matches!(hold, Hold::Cooldown { .. }));

    let mut picture =
        Picture::new(policy(&[("cooldown: 10m", "cooldown: 1s"), ("max: 2", "max: 1")]));
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    still(&mut picture, &back);
    picture.holds(|hold| matches!(hold, Hold::ShiftsExhausted { .. }));

    let latch = ("latch: { after: 4, within: 24h }", "latch: { after: 1, within: 24h }");
    let shifts = ("shifts: { max: 2, within: 1h }", "shifts: { max: 1, within: 1m }");
    let mut picture = Picture::new(policy(&[("cooldown: 10m", "cooldown: 1s"), latch, shifts]));
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    still(&mut picture, &back);
    picture.holds(|hold| matches!(hold, Hold::Latched { .. }));
    picture.note(&Entry::Unlatched { by: "ana".to_owned() });
    let done =
        picture.see(&Seen { east: "..", west: "xx", west_counters: "??", ..Seen::default() });
    assert_eq!(done, "S-");
}

#[test]
fn nothing_moves_in_a_blocked_window() {
    let blocked = "blocked: [\"Mon 00:00-Sun 23:59 UTC\"], standby_healthy_hosts";
    let mut picture = Picture::new(policy(&[("standby_healthy_hosts", blocked)]));
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::Blocked { .. }));
}

#[test]
fn records_that_somebody_else_changed_are_not_overwritten() {
    let mut picture = Picture::new(policy(&[]));
    picture.answers = Answering::Drift;
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::Drift { .. }));
}

#[test]
fn records_that_were_never_read_are_not_written() {
    let mut picture = Picture::new(policy(&[]));
    picture.memory = Memory::default();
    picture.answers = Answering::Unknown;
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::AnswersUnknown));
    picture.finds(Diagnosis::ControlPlaneImpaired);
}

#[test]
fn no_order_is_stacked_on_one_that_hangs() {
    let mut picture = Picture::new(policy(&[]));
    picture.lever = Lever::Hangs;
    let done = picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    assert_eq!(done.matches('S').count(), 1);
    // West falls as well while the order hangs: another move is right, and waits.
    picture.see(&Seen { east: &".".repeat(24), ..Seen::default() });
    let seen = Seen { east: &".".repeat(24), west: DARK, west_counters: SILENT, ..Seen::default() };
    still(&mut picture, &seen);
    picture.holds(|hold| matches!(hold, Hold::ChangeStuck { .. }));
    picture.finds(Diagnosis::ControlPlaneImpaired);
}

#[test]
fn an_order_under_way_is_waited_for() {
    let mut picture = Picture::new(policy(&[("in_sync_within: 5m", "in_sync_within: 50m")]));
    picture.lever = Lever::Hangs;
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.see(&Seen { east: &".".repeat(24), ..Seen::default() });
    let seen = Seen { east: &".".repeat(24), west: DARK, west_counters: SILENT, ..Seen::default() };
    still(&mut picture, &seen);
    picture.holds(|hold| matches!(hold, Hold::OrderOpen { .. }));
}

#[test]
fn a_lever_that_fails_is_tried_at_a_civil_pace() {
    let mut picture = Picture::new(policy(&[]));
    picture.lever = Lever::Fails;
    let long = "x".repeat(40);
    let done =
        picture.see(&Seen { east: &long, east_counters: &"?".repeat(40), ..Seen::default() });
    assert_eq!(done.matches('f').count(), 1, "{done}");
    picture.finds(Diagnosis::ControlPlaneImpaired);
    let state = picture.memory.acts.levers.get(&LeverKind::Weights).unwrap();
    assert_eq!(state.failures_in_a_row, 1);
    // The open order keeps its place until the pause is over; then it is sent again, not given anew.
    assert!(done.contains('='), "{done}");
    picture.note(&Entry::Failed {
        epoch: picture.memory.acts.epoch,
        batch: 0,
        failure: CallFailed::Throttled { code: "Throttling".to_owned(), why: "rate".to_owned() },
    });
    still(&mut picture, &Seen { east: "xx", east_counters: "??", ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::LeverImpaired { .. }));
}

#[test]
fn a_grey_balancer_is_refreshed_watched_and_given_up() {
    let refresh = "refresh: { order: [east-web, east-api], wait: 5m, tries: 1 }\nguards:";
    let mut picture = Picture::new(policy(&[("guards:", refresh)]));
    let grey = "~".repeat(16);
    let own = "b".repeat(16);
    let done = picture.see(&Seen { east: &grey, east_counters: &own, ..Seen::default() });
    assert_eq!(done.matches('R').count(), 1, "{done}");
    picture.finds(Diagnosis::BalancerFault);
    picture.holds(|hold| matches!(hold, Hold::RefreshWatching { .. }));
    let long = "~".repeat(90);
    let done =
        picture.see(&Seen { east: &long, east_counters: &"b".repeat(90), ..Seen::default() });
    // The second balancer gets its turn, then the region is left.
    assert_eq!(done.matches('R').count(), 1, "{done}");
    assert_eq!(done.matches('S').count(), 1, "{done}");
    assert!(done.find('R').unwrap() < done.find('S').unwrap(), "{done}");
}

const LADDER: [(&str, &str); 2] = [
    (
        "east-web: { carries: 70% }, east-api: { carries: 30% }",
        "east-web: { carries: 70%, arn: \"arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/web/1\" }, east-api: { carries: 30% }",
    ),
    (
        "guards:",
        "refresh:
  order: [east-web]
  wait: 2m
  tries: 4
  balancers:
    east-web:
      owned: { tag: { key: leeward, value: may-refresh } }
      rungs:
        - reassert: as_read
        - targets: { batch: 1, floor: 50%, healthy_within: 2m, drained_within: 2m }
      give_up: page
guards:",
    ),
];

#[test]
fn a_ladder_ends_after_as_many_tries_as_the_policy_allows() {
    let once = LADDER[1].1.replace("tries: 4", "tries: 1");
    let mut picture = Picture::new(policy(&[LADDER[0], (LADDER[1].0, &once)]));
    let seen = "~".repeat(90);
    picture.see(&Seen { east: &seen, east_counters: &"b".repeat(90), ..Seen::default() });
    // The other balancer is refreshed as well, and is none of the ladder's.
    let tries = |name: &str| picture.memory.acts.refreshes[&name.parse().unwrap()].len();
    assert_eq!((tries("east-web"), tries("east-api")), (1, 1));
}

fn wanted_act(picture: &Picture) -> Option<RefreshAct> {
    match &picture.last.as_ref().unwrap().wanted {
        Some(Wanted::Refresh { act, .. }) => *act,
        Some(Wanted::Move(_)) | None => None,
    }
}

/// Only `east-web` is at fault, so its ladder is climbed: no effect, next rung, then a page and no move.
#[test]
fn a_ladder_is_climbed_rung_by_rung_and_then_somebody_is_called() {
    let mut picture = Picture::new(policy(&LADDER));
    let mut acts = Vec::new();
    for _ in 0..90 {
        let done = picture.see(&Seen { east: "~", east_counters: "b", ..Seen::default() });
        assert_ne!(done, "S", "the policy says page");
        acts.extend(wanted_act(&picture));
    }
    let rungs = [RungKind::Reassert, RungKind::Targets].map(RefreshAct::Rung);
    assert_eq!(acts, rungs);
    picture.holds(|hold| matches!(hold, Hold::RefreshExhausted { .. }));
}

/// A refresh of `east-web`, and how its probes went before it.
fn cure(purpose: Aim, well: f64) -> Cure {
    Cure {
        balancer: "east-web".parse().unwrap(),
        made_at: Timestamp::from_secs(1_000_000),
        purpose,
        because: "a test".to_owned(),
        before: Snapshot {
            taken_at: Timestamp::from_secs(0),
            aws_region: "eu-west-1".to_owned(),
            arn: "arn:of:it".to_owned(),
            subnets: [].into(),
            attributes: [].into(),
            tags: [].into(),
            listeners: [].into(),
            groups: [].into(),
            rest: [].into(),
        },
        kept_in: None,
        steps: Vec::new(),
        floor: [].into(),
        rest: [].into(),
        tally: Some(Tally { well, all: 18.0 }),
        to: None,
        skipped: Vec::new(),
        left: Vec::new(),
        harmless: false,
    }
}

/// While steps are taken nothing else is begun; when it gets worse meanwhile, it is taken back.
#[test]
fn a_refresh_under_way_is_waited_for_and_taken_back_when_it_does_harm() {
    for (well, expected) in [(9.0, None), (18.0, Some(RefreshAct::Undo))] {
        let mut picture = Picture::new(policy(&LADDER));
        let long =
            Seen { east: &"~".repeat(14), east_counters: &"b".repeat(14), ..Seen::default() };
        picture.see(&long);
        let note = CureNote::Intended(Box::new(cure(Aim::Rung(RungKind::Targets), well)));
        picture.note(&Entry::Cure { balancer: "east-web".parse().unwrap(), note });
        let mut acts = Vec::new();
        for _ in 0..12 {
            picture.see(&Seen { east: "~", east_counters: "b", ..Seen::default() });
            acts.extend(wanted_act(&picture));
        }
        assert_eq!(acts.first().copied(), expected);
        if expected.is_none() {
            picture.holds(|hold| matches!(hold, Hold::RefreshUnderWay { .. }));
        }
    }
}

/// Where leaving is not possible either, it is said that refreshing has done what it may.
#[test]
fn refreshing_is_bounded_and_said_to_be() {
    let refresh = "refresh: { order: [east-web, east-api], wait: 1m, tries: 1 }\nguards:";
    let mut picture = Picture::new(policy(&[("guards:", refresh)]));
    picture.lag = Some(900.0);
    let done = picture.see(&Seen {
        east: &"~".repeat(90),
        east_counters: &"b".repeat(90),
        ..Seen::default()
    });
    assert_eq!(done.matches('R').count(), 2, "{done}");
    assert!(!done.contains('S'), "{done}");
    picture.holds(|hold| matches!(hold, Hold::RefreshExhausted { .. }));
}

#[test]
fn trouble_that_cannot_be_confirmed_is_not_acted_on() {
    let mut picture = Picture::new(policy(&[]));
    let seen = "xxxxxxx?????????????????";
    still(&mut picture, &Seen { east: seen, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::EvidenceStale { .. }));
}

#[test]
fn blind_observers_convict_nobody() {
    let mut picture = Picture::new(policy(&[("vantages: 2, classes", "vantages: 3, classes")]));
    let seen = Seen { east: DARK, west: DARK, only: &["one"], beacon: DARK, ..Seen::default() };
    still(&mut picture, &seen);
    picture.holds(|hold| matches!(hold, Hold::ObserverIsolated { .. }));
}

/// East was left by its gate alone. `levers`: as the policy orders them.
fn gone_by_gate(levers: Vec<leeward::policy::Lever>, step: &str) -> Picture {
    let auto = format!("failback: {{ auto: {{ hold: 10m, step: {step}, every: 5m }} }}");
    let mut policy = policy(&[("failback: manual", &auto)]);
    policy.levers = levers;
    let mut picture = Picture::new(policy);
    let (region, to) = ("east".parse().unwrap(), leeward::domain::InAnswers::Out);
    picture.note(&Entry::Gated { region, to, failure: None });
    picture
}

/// A gate knows no half: what may only go home in steps goes by weights, or waits and says why.
#[test]
fn the_way_home_past_a_gate_keeps_to_its_steps() {
    let weights = policy(&[]).levers[0].clone();
    let names = policy(&[]).regions.into_keys();
    let gates = leeward::policy::GatesLever::unnamed(names, Duration::from_secs(60));
    let gates = leeward::policy::Lever::Gates(gates);
    let calm = ".".repeat(90);
    let seen = Seen { east: &calm, ..Seen::default() };

    let mut alone = gone_by_gate(vec![gates.clone()], "50%");
    alone.answers = Answering::Unknown;
    assert!(alone.see(&seen).chars().all(|done| done == '-'));
    alone.holds(|hold| matches!(hold, Hold::StepNeedsWeights));

    let mut whole = gone_by_gate(vec![gates.clone()], "100%");
    whole.answers = Answering::Unknown;
    assert!(whole.see(&seen).contains('H'), "{:?}", whole.last.map(|d| d.holds));

    for levers in [vec![gates.clone(), weights.clone()], vec![weights.clone(), gates.clone()]] {
        let mut both = gone_by_gate(levers, "50%");
        assert!(both.see(&seen).contains('H'));
        let first = &both.memory.acts.shifts[0];
        assert_eq!(first.to.weight(&"east".parse().unwrap()), Weight(50), "{first:?}");
    }

    let mut theirs = gone_by_gate(vec![gates.clone(), weights.clone()], "50%");
    theirs.split = Split::new(
        [("east", 33), ("west", 67)].map(|(r, w)| (r.parse().unwrap(), Weight(w))).into(),
    )
    .unwrap();
    assert!(!theirs.see(&seen).contains('H'), "somebody else's split stays theirs");
    theirs.holds(|hold| matches!(hold, Hold::StepNeedsWeights));

    let mut failing = gone_by_gate(vec![weights, gates], "50%");
    failing.lever = Lever::Fails;
    let done = failing.see(&seen);
    assert!(done.contains("f-"), "at a pace: {done}");
    assert!(!done.contains('H'), "never whole by the gate: {done}");
}

/// Gates beside a hanging order count as a shift, and not as an order.
#[test]
fn gates_beside_a_hanging_order_count_as_a_shift() {
    let mut picture = Picture::new(policy(&[]));
    picture.lever = Lever::Hangs;
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    let order = picture.memory.acts.order.clone();
    let home = picture.policy.home_split().unwrap();
    let moved = leeward::plan::Move {
        lever: LeverKind::Gates,
        purpose: Purpose::Evacuate,
        from: home,
        to: picture.split.clone(),
        turns: Vec::new(),
        because: String::new(),
    };
    let before = picture.memory.acts.shifts.len();
    picture.note(&Entry::MovedByGates(Box::new(moved)));
    assert_eq!(picture.memory.acts.shifts.len(), before + 1);
    assert_eq!(picture.memory.acts.order, order);
}

#[test]
fn refreshing_a_balancer_that_is_pinned_waits_too() {
    let refresh = "refresh: { order: [east-web, east-api], wait: 5m, tries: 1 }\nguards:";
    let mut picture = Picture::new(policy(&[("guards:", refresh)]));
    let pin = Pin {
        by: "ana".to_owned(),
        reason: "x".to_owned(),
        since: Timestamp::default(),
        until: None,
    };
    picture.note(&Entry::Pinned(pin));
    still(
        &mut picture,
        &Seen {
            east: "~~~~~~~~~~~~~~~~~~~~~~~~",
            east_counters: "bbbbbbbbbbbbbbbbbbbbbbbb",
            ..Seen::default()
        },
    );
    picture.holds(|hold| matches!(hold, Hold::Pinned { .. }));
}

#[test]
fn a_zone_is_not_a_region() {
    let mut picture = Picture::new(policy(&[]));
    still(
        &mut picture,
        &Seen {
            east: "........................",
            east_counters: &"h".repeat(24),
            ..Seen::default()
        },
    );
    picture.finds(Diagnosis::ZoneFault);
}

#[test]
fn what_comes_and_goes_is_flapping() {
    let mut picture = Picture::new(policy(&[]));
    for _ in 0..3 {
        still(&mut picture, &Seen { east: "xxxxx...................", ..Seen::default() });
    }
    picture.finds(Diagnosis::Flapping);
}

/// The same arguments give the same decision.
#[test]
fn deciding_twice_gives_the_same() {
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen {
        east: "xxxxxxxxxxxxxxx",
        east_counters: "???????????????",
        ..Seen::default()
    });
    let now = Timestamp::from_secs(picture.now);
    assert_eq!(
        decide(&picture.policy, &picture.memory, now),
        decide(&picture.policy, &picture.memory, now)
    );
}

/// The cooldown begins at the end of an execution and outlives a restart: it is in the acts.
#[test]
fn a_restart_forgets_what_was_seen_and_keeps_what_was_done() {
    let mut picture = Picture::new(policy(&[]));
    picture.see(&Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.memory = Memory { acts: picture.memory.acts.clone(), ..Memory::default() };
    let back = Seen { east: &".".repeat(24), west: DARK, west_counters: SILENT, ..Seen::default() };
    still(&mut picture, &back);
    picture.holds(|hold| matches!(hold, Hold::Cooldown { .. }));
    let end = picture.memory.acts.last_end.unwrap();
    assert!(Timestamp::from_secs(picture.now).since(end) < Duration::from_secs(600));
}

/// A split that somebody else made is theirs: it does not go home by itself.
#[test]
fn a_strangers_split_is_left_alone() {
    let auto = "failback: { auto: { hold: 1m, step: 100%, every: 1m } }";
    let mut picture = Picture::new(policy(&[("failback: manual", auto)]));
    let weights = [("east", 40), ("west", 60)];
    let weights: BTreeMap<RegionName, Weight> =
        weights.into_iter().map(|(name, weight)| (name.parse().unwrap(), Weight(weight))).collect();
    picture.split = Split::new(weights).unwrap();
    still(&mut picture, &Seen { east: "........................", ..Seen::default() });
}

#[test]
fn nothing_known_is_not_well() {
    let mut picture = Picture::new(policy(&[]));
    let nothing = "????????????????????????";
    let seen = Seen {
        east: nothing,
        west: nothing,
        east_counters: SILENT,
        west_counters: SILENT,
        ..Seen::default()
    };
    still(&mut picture, &seen);
    picture.finds(Diagnosis::SignalsStale);
    let findings = &picture.last.as_ref().unwrap().findings;
    assert!(findings.iter().all(|finding| finding.diagnosis != Diagnosis::Well));
}

/// Error counters that name no balancer speak for the region.
#[test]
fn counters_of_a_whole_region_count_too() {
    let mut picture = Picture::new(policy(&[]));
    let mut done = String::new();
    for _ in 0..24 {
        let mut samples = Vec::new();
        for vantage in ["one", "two", "three"] {
            // One of three sees it well: without a second class that agrees, nothing would move.
            let east = if vantage == "three" { '.' } else { '~' };
            picture.probe(&mut samples, "east", vantage, east);
            picture.probe(&mut samples, "west", vantage, '.');
        }
        for (region, errors) in [("east", 0.5), ("west", 0.0)] {
            let about = About { region: Some(region.parse().unwrap()), ..About::default() };
            let measure = Measure::TargetErrors(Some(errors));
            picture.sample(&mut samples, "metrics", Class::Traffic, about, measure);
        }
        done.push(picture.decide(samples, Vec::new()));
    }
    assert_eq!(done.matches('S').count(), 1, "{done}");
}

/// What a round that is called calm may come to: nothing but numbers.
#[track_caller]
fn nothing_in(decision: &Decision, was_incident: bool) {
    assert!(decision.findings.iter().all(|found| found.diagnosis == Diagnosis::Well));
    assert_eq!((&decision.wanted, &decision.proposed, &decision.withdraw), (&None, &None, &None));
    assert_eq!((&decision.holds, &decision.notes), (&Vec::new(), &Vec::new()));
    assert!(!decision.incident && !was_incident);
}

/// Mostly well, with everything else in between.
fn drawn() -> impl Strategy<Value = String> {
    prop::collection::vec("[.]{2,9}|x{1,20}|~{1,15}|s{1,15}|[?]{1,15}|[.x~]{1,5}", 1..10)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// A calm round takes a short way, and a replay leaves even that out: whatever was seen before, the
    /// decision is the one of the long way, "well, and nothing to do".
    #[test]
    fn a_calm_round_has_nothing_to_decide(
        (east, west, counters) in (drawn(), drawn(), "[.?xbh]{0,40}"),
        capacity in prop::sample::select(vec![1000.0, 2100.0, 3000.0]),
        going in prop::sample::select(vec!["failback: manual", "failback: { auto: { hold: 1m, step: 50%, every: 1m } }"]),
        lever in prop::sample::select(vec![Lever::Works, Lever::Fails, Lever::Hangs]),
        (pinned, unread, gate, tells) in (any::<bool>(), 0_u8..4, 0_u8..4, any::<bool>()),
    ) {
        let mut picture = Picture::new(policy(&[("failback: manual", going)]));
        (picture.capacity, picture.lever, picture.tells) = (capacity, lever, tells);
        if gate == 0 {
            let (region, to) = ("east".parse().unwrap(), leeward::domain::InAnswers::Out);
            picture.note(&Entry::Gated { region, to, failure: None });
        }
        if pinned {
            let (by, reason) = ("ana".to_owned(), "x".to_owned());
            picture.note(&Entry::Pinned(Pin { by, reason, since: Timestamp::default(), until: None }));
        }
        picture.see(&Seen { east: &east, west: &west, east_counters: &counters, ..Seen::default() });
        picture.answers = match unread {
            0 => Answering::Unknown,
            1 => Answering::Drift,
            _ => Answering::Split,
        };
        picture.see(&Seen { east: &west, west: &east, ..Seen::default() });
    }
}
