//! A year of ten signals, once a minute, through the evidence and the decision that the service uses.
//!
//! `cargo bench --no-default-features --bench year` prints CPU seconds and peak memory. Nothing is left
//! out: each minute ten samples are taken in, the decision is made, and what is wanted is carried out and
//! remembered, as by a lever that always works.
//!
//! Ten signals are two vantages that probe each of two regions, the home region's requests, errors of its
//! balancer, errors of its targets and healthy hosts, and the standby's requests and healthy hosts. Three
//! rules are three remedies, each with conditions of its own: leave a region that is bad, refresh a
//! balancer that is, and go home again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is its own command and may panic"
)]

use std::time::Duration;

use leeward::decide::{decide, is_calm};
use leeward::domain::{Split, Timestamp};
use leeward::health::{About, Answers, Measure, Observations, Sample};
use leeward::memory::{Entry, Memory, Outcome};
use leeward::plan::{Batch, Plan, Purpose, Wanted};
use leeward::policy::{Class, Policy, load};
use leeward::ports::ChangeId;

const POLICY: &str = r"
version: 1
service: shop
mode: auto
regions:
  east: { role: primary, weight: 100, capacity: 3000 rps, balancers: { east-web: { carries: 100% } } }
  west: { role: standby, weight: 0, capacity: 3000 rps, balancers: { west-web: { carries: 100% } } }
vantages: { here: { source: 127.0.0.1 }, there: { source: 127.0.0.2 } }
levers:
  - weights:
      records: [{ zone: Z1, name: shop.example.com, types: [A], members: { east: east, west: west } }]
      epoch_record: { zone: Z1, name: _leeward.shop.example.com }
      ttl: 60s
      in_sync_within: 5m
      readback: none
signals:
  east-here: { class: outside, fresh_for: 3m, pushed: {} }
  east-there: { class: outside, fresh_for: 3m, pushed: {} }
  west-here: { class: outside, fresh_for: 3m, pushed: {} }
  west-there: { class: outside, fresh_for: 3m, pushed: {} }
  east-requests: { class: traffic, fresh_for: 5m, pushed: {} }
  east-balancer: { class: traffic, fresh_for: 5m, pushed: {} }
  east-targets: { class: traffic, fresh_for: 5m, pushed: {} }
  east-hosts: { class: inside, fresh_for: 5m, pushed: {} }
  west-requests: { class: traffic, fresh_for: 5m, pushed: {} }
  west-hosts: { class: inside, fresh_for: 5m, pushed: {} }
judge: { success_below: 85%, latency_above: 3s, window: 3m, sustain: 5m, vantages: 2, classes: 2, healthy_hosts_below: 50% }
shift: { demand: 2000 rps, ramp: [100%], hold: 5m, spare: 10%, overflow: hold, last_resort: never, unready: hold }
refresh: { order: [east-web], wait: 10m, tries: 1 }
failback: { auto: { hold: 1h, step: 50%, every: 15m } }
guards: { cooldown: 10m, shifts: { max: 2, within: 1h }, latch: { after: 8, within: 24h }, standby_healthy_hosts: 70% }
tell: { channels: [], status_every: 15m }
";

const MINUTE: i64 = 60;
const ROUNDS: i64 = 365 * 24 * 60;
/// Every month something breaks for three hours: the region twice, the balancer the third time.
const MONTH: i64 = ROUNDS / 12;
const OUTAGE: std::ops::Range<i64> = 20_000..20_180;

const AIM_SECONDS: f64 = 1.5;
const AIM_MIB: f64 = 32.0;

#[derive(Debug, Default, PartialEq)]
struct Done {
    left: u32,
    home: u32,
    refreshed: u32,
    told: usize,
    /// Rounds in which there was nothing to decide.
    calm: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Nothing,
    Region,
    Balancer,
}

fn main() {
    let (policy, _) = load(POLICY, "year.yaml").unwrap_or_else(|p| panic!("{}", p.render(false)));
    let (all, every) = replay(policy.clone(), false);
    let (some, skipping) = replay(policy, true);
    assert_eq!(Done { calm: 0, ..skipping }, every, "what is skipped makes no difference");
    let expected = Done { left: 8, home: 16, refreshed: 4, told: every.told, calm: 0 };
    assert_eq!(every, expected, "not what a year like this calls for");
    println!("{skipping:?}");
    println!("{ROUNDS} rounds of 10 signals and 3 rules");
    println!("  calm rounds not put into words: {}", figures(some));
    println!("  every round put into words:     {}", figures(all));
    println!("  aim: {AIM_SECONDS} CPU s; peak {:.1} MiB of {AIM_MIB}", peak_mib());
}

fn figures(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    format!("{seconds:.2} CPU s, {:.2} us a round", seconds * 1e6 / 525_600.0)
}

/// A year, and the CPU time that it took.
fn replay(policy: Policy, skip: bool) -> (Duration, Done) {
    let before = cpu();
    let mut year = Year::new(policy, skip);
    for round in 0..ROUNDS {
        year.round(round);
    }
    (cpu().saturating_sub(before), year.done)
}

struct Year {
    policy: Policy,
    skip: bool,
    memory: Memory,
    seen: Observations,
    split: Split,
    cured: bool,
    done: Done,
}

impl Year {
    fn new(policy: Policy, skip: bool) -> Self {
        let split = policy.home_split().unwrap();
        let seen = Observations { samples: samples(&policy), ..Observations::default() };
        let (memory, done) = (Memory::default(), Done::default());
        Self { policy, skip, memory, seen, split, cured: false, done }
    }

    fn round(&mut self, round: i64) {
        let now = Timestamp::from_secs(1_790_000_000 + round * MINUTE);
        let broken = match (OUTAGE.contains(&(round % MONTH)), round / MONTH % 3) {
            (false, _) => {
                self.cured = false;
                Broken::Nothing
            }
            (true, 2) if self.cured => Broken::Nothing,
            (true, 2) => Broken::Balancer,
            (true, _) => Broken::Region,
        };
        let east = self.split.share(self.policy.regions.keys().next().unwrap()).get();
        self.measure(round, now, broken, east);
        if let Answers::Split { split, read_at } = &mut self.seen.answers
            && *split == self.split
        {
            *read_at = now;
        } else {
            self.seen.answers = Answers::Split { split: self.split.clone(), read_at: now };
        }
        self.memory.evidence.take_in(&self.policy, &self.seen, now);
        if self.skip && is_calm(&self.policy, &self.memory, now) {
            self.done.calm += 1;
            return;
        }
        let decision = decide(&self.policy, &self.memory, now);
        if decision.incident != self.memory.acts.incident_since.is_some() {
            self.note(now, &Entry::Incident { open: decision.incident });
        }
        for keyed in decision.notes {
            self.done.told += 1;
            let about = keyed.note.about.into_iter().collect();
            let (severity, text) = (keyed.note.severity, keyed.note.text);
            self.note(
                now,
                &Entry::Told {
                    severity,
                    about,
                    key: keyed.key,
                    text,
                    delivered: true,
                    took: Vec::new(),
                    lost: Vec::new(),
                },
            );
        }
        match decision.wanted {
            None => {}
            Some(Wanted::Refresh { balancer, .. }) => {
                self.note(now, &Entry::Refreshing { balancer: balancer.clone() });
                self.note(now, &Entry::Refreshed { balancer, failure: None });
                self.cured = true;
                self.done.refreshed += 1;
            }
            Some(wanted @ Wanted::Move(_)) => self.carry_out(now, wanted),
        }
    }

    fn carry_out(&mut self, now: Timestamp, wanted: Wanted) {
        let Wanted::Move(moved) = wanted.clone() else { return };
        let epoch = self.memory.acts.epoch.next();
        let zone = "Z1".parse().unwrap();
        let plan = Plan {
            service: self.policy.service.clone(),
            epoch,
            made_at: now,
            wanted,
            batches: vec![Batch { zone, comment: String::new(), swaps: Vec::new() }],
            result: moved.to.weights().clone(),
        };
        let change = ChangeId("C1".to_owned());
        self.note(now, &Entry::Intended(Box::new(plan)));
        self.note(now, &Entry::Sending { epoch, batch: 0 });
        self.note(now, &Entry::Accepted { epoch, batch: 0, change });
        self.note(now, &Entry::InSync { epoch });
        self.note(now, &Entry::Ended { epoch, outcome: Outcome::Done });
        if moved.purpose == Purpose::Failback {
            self.done.home += 1;
        } else {
            self.done.left += 1;
        }
        self.split = moved.to;
    }

    fn note(&mut self, now: Timestamp, entry: &Entry) {
        self.memory.acts.apply(now, entry);
    }

    /// The minute's numbers: never the same two minutes running.
    fn measure(&mut self, round: i64, now: Timestamp, broken: Broken, east: f64) {
        let noise = |salt: i64| {
            f64::from(i32::try_from((round * 7919 + salt * 104_729) % 1000).unwrap()) / 1000.0
        };
        for (place, sample) in self.seen.samples.iter_mut().enumerate() {
            let at_home = place < 2 || (4..8).contains(&place);
            let noise = noise(i64::try_from(place).unwrap());
            let bad = at_home && broken != Broken::Nothing;
            sample.heard_at = now;
            sample.taken_at = if place < 4 { now } else { now.minus(Duration::from_secs(60)) };
            sample.measure = match place {
                0..4 if bad && broken == Broken::Balancer => probe(0.5 + noise / 10.0, 200.0),
                0..4 if bad => probe(0.0, 0.0),
                0..4 => probe(1.0, 80.0 + 40.0 * noise),
                4 | 8 => {
                    let share = if at_home { east } else { 1.0 - east };
                    Measure::Requests(Some(share * (1500.0 + 300.0 * noise)))
                }
                5 if broken == Broken::Balancer => {
                    Measure::BalancerErrors(Some(0.4 + noise / 10.0))
                }
                5 => Measure::BalancerErrors(Some(noise / 500.0)),
                6 if broken == Broken::Region => Measure::TargetErrors(Some(0.9)),
                6 => Measure::TargetErrors(Some(noise / 500.0)),
                7 if broken == Broken::Region => Measure::HealthyHosts(Some(0.1)),
                _ => Measure::HealthyHosts(Some(1.0)),
            };
        }
    }
}

fn probe(success: f64, latency: f64) -> Measure {
    let latency_ms = (success > 0.0).then_some(latency);
    Measure::Probe { success, latency_ms, failure: None }
}

/// Who speaks of what, by the names that the policy has, as in the service; the numbers are put in each
/// minute.
fn samples(policy: &Policy) -> Vec<Sample> {
    let sample = |signal: &str, class, balancer: bool, vantage: Option<&str>| {
        let (signal, _) = policy.signals.iter().find(|(name, _)| name.as_str() == signal).unwrap();
        let of = |region: &&str| signal.as_str().starts_with(*region);
        let region = ["east", "west"].into_iter().find(of).unwrap();
        let (name, region) = policy.regions.iter().find(|(n, _)| n.as_str() == region).unwrap();
        let vantage = vantage.map(|vantage| {
            policy.vantages.keys().find(|name| name.as_str() == vantage).unwrap().clone()
        });
        let balancer = balancer.then(|| region.balancers[0].name.clone());
        Sample {
            signal: signal.clone(),
            class,
            about: About { region: Some(name.clone()), balancer, vantage },
            measure: Measure::Requests(None),
            taken_at: Timestamp::default(),
            heard_at: Timestamp::default(),
        }
    };
    vec![
        sample("east-here", Class::Outside, true, Some("here")),
        sample("east-there", Class::Outside, true, Some("there")),
        sample("west-here", Class::Outside, true, Some("here")),
        sample("west-there", Class::Outside, true, Some("there")),
        sample("east-requests", Class::Traffic, false, None),
        sample("east-balancer", Class::Traffic, true, None),
        sample("east-targets", Class::Traffic, true, None),
        sample("east-hosts", Class::Inside, true, None),
        sample("west-requests", Class::Traffic, false, None),
        sample("west-hosts", Class::Inside, true, None),
    ]
}

/// CPU time of this process: Linux tells it in hundredths of a second (proc(5), `/proc/[pid]/stat`).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// The largest resident set so far (proc(5), `VmHWM`).
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
