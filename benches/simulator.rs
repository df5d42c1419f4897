//! Many seeds through the simulator, on two threads, and how much faster than real time that is.
//!
//! `cargo bench --no-default-features --bench simulator` runs 1,000; `SIM_SEEDS=n` and `SIM_FIRST=n` say
//! how many and from where. Fails if a seed breaks an invariant; `SIM_SEED=n cargo test sim` tells its story.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is its own command and may panic"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leeward::sim::{Drawn, Scenario, run};
use tokio::time::Instant;

const SEEDS: u64 = 1000;
const THREADS: usize = 2;
/// The speed is told for services of so many regions or more.
const REGIONS: usize = 3;
/// Times real time, on one thread.
const AIM: f64 = 10_000.0;

/// What one thread has seen.
#[derive(Default)]
struct Sum {
    seeds: u64,
    rounds: u64,
    changes: u64,
    deaths: u64,
    zones: u64,
    /// Virtual and real time of services with three regions.
    lasted: Duration,
    took: Duration,
    broken: BTreeMap<String, Vec<u64>>,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.rounds += other.rounds;
        self.changes += other.changes;
        self.deaths += other.deaths;
        self.zones += other.zones;
        self.lasted += other.lasted;
        self.took += other.took;
        for (law, seeds) in other.broken {
            self.broken.entry(law).or_default().extend(seeds);
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let told = std::env::vars().find(|(key, _)| key == name);
    told.map_or(otherwise, |(_, value)| value.parse().unwrap())
}

fn main() {
    let (first, seeds) = (number("SIM_FIRST", 0), number("SIM_SEEDS", SEEDS));
    let next = AtomicU64::new(first);
    let began = Instant::now();
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| work(&next, first + seeds))).collect();
        for thread in threads {
            sum.add(thread.join().unwrap());
        }
    });
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} seeds from {first} in {took:.1} s: {} rounds, {} changes, {} deaths, {} zonal shifts",
        sum.seeds, sum.rounds, sum.changes, sum.deaths, sum.zones
    );
    println!(
        "three regions or more: {:.0} x real time on one thread (aim {AIM:.0})",
        sum.lasted.as_secs_f64() / sum.took.as_secs_f64()
    );
    for (law, seeds) in &mut sum.broken {
        seeds.sort_unstable();
        let some: Vec<_> = seeds.iter().take(8).collect();
        println!("broken by {} seeds, {some:?}: {law}", seeds.len());
    }
    assert!(sum.broken.is_empty(), "an invariant is broken");
}

fn work(next: &AtomicU64, end: u64) -> Sum {
    let mut sum = Sum::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return sum;
        }
        let regions = Scenario::of(seed, Drawn::Whole).unwrap().policy.regions.len();
        let began = Instant::now();
        let run = run(seed, false).unwrap();
        if regions >= REGIONS {
            sum.took += began.elapsed();
            sum.lasted += run.lasted;
        }
        sum.seeds += 1;
        sum.rounds += run.rounds;
        sum.changes += run.changes;
        sum.deaths += u64::from(run.deaths);
        sum.zones += run.zones;
        if let Some((_, law)) = run.broken {
            sum.broken.entry(law).or_default().push(seed);
        }
    }
}
