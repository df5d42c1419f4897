//! Many seeds through the simulator. `SIM_SEED=n` replays one with its trace, `SIM_SEEDS=n` runs many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leeward::sim::{Drawn, Kind, Run, run, run_in, run_in_full};
use tokio::time::Instant;

/// A debug build takes minutes for them on two cores; a release build runs more in a bench
/// (`benches/simulator.rs`).
const SEEDS: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::vars().find(|(key, _)| key == name).and_then(|(_, value)| value.parse().ok())
}

/// The invariant and the last events of a seed, to be read by whoever mends it.
fn story(seed: u64, run: &Run) -> String {
    let told = leeward::sim::run(seed, true).unwrap();
    assert_eq!(told.broken, run.broken, "the same seed must give the same run");
    let last = told.trace.iter().rev().take(40).rev().cloned().collect::<Vec<_>>().join("\n");
    let (at, what) = run.broken.clone().unwrap();
    format!("SIM_SEED={seed} {:?}: {what}, after {}s\n{last}\n", run.kind, at.as_secs())
}

#[expect(clippy::cast_precision_loss, reason = "for eyes")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Seeds that broke an invariant once, and what was wrong.
const MENDED: [(u64, &str); 6] = [
    (107, "a step of a ramp was ordered from gates, which know no half: the region was never left"),
    (167, "the same, with records that could have taken the step"),
    (179, "the same, with an order that changed nothing every cooldown"),
    (1319, "a batch without a change id counted as in force when another zone's servers showed it"),
    (1672, "the same, with another policy"),
    (2471, "a step of the way home was ordered from gates, again and again"),
];

/// The same of worlds with gates and the other later troubles.
const MENDED_WITH_GATES: [(u64, &str); 8] = [
    (1158, "the last resort was answered beside the standbys once a gate had closed the primary"),
    (1167, "a dead standby was answered beside the other once a gate had closed the primary"),
    (1416, "a split that somebody else made behind a gate of ours was taken home"),
    (4014, "a move of which half was accepted and put back did not count as a shift"),
    (8977, "somebody else's split, put back after an order of ours, was taken home as ours"),
    (19231, "a call that landed after it was looked for left two zones apart for ever"),
    (19621, "what did not fit any more flowed back into the region that was down"),
    (25061, "the same, from one region that was down into another"),
];

#[test]
fn mended_seeds_stay_mended() {
    for (seed, what) in MENDED_WITH_GATES {
        let run = run_in(Drawn::Gated, seed, false).unwrap();
        assert_eq!(run.broken, None, "gated seed {seed}: {what}");
    }
    for (seed, what) in MENDED {
        let run = run_in(Drawn::Plain, seed, false).unwrap();
        assert_eq!(run.broken, None, "plain seed {seed}: {what}");
    }
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        let told = run(seed, true).unwrap();
        for line in &told.trace {
            eprintln!("{line}");
        }
        assert_eq!(told.broken, None, "SIM_SEED={seed}");
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let began = Instant::now();
    let work = || {
        let mut runs = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return runs;
            }
            runs.push((seed, run(seed, false).unwrap()));
        }
    };
    let runs: BTreeMap<u64, Run> = std::thread::scope(|scope| {
        let others: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        others.into_iter().flat_map(|other| other.join().unwrap()).collect()
    });
    let took = began.elapsed().as_secs_f64();
    let virtual_time: Duration = runs.values().map(|run| run.lasted).sum();
    let rounds: u64 = runs.values().map(|run| run.rounds).sum();
    eprintln!(
        "{seeds} seeds in {took:.1} s: {:.0} seeds/s, {:.0} rounds/s, {:.0} x real time; \
         {} changes, {} deaths",
        per_second(runs.len() as u64, took),
        per_second(rounds, took),
        virtual_time.as_secs_f64() / took,
        runs.values().map(|run| run.changes).sum::<u64>(),
        runs.values().map(|run| run.deaths).sum::<u32>(),
    );
    let broken: Vec<_> = runs.iter().filter(|(_, run)| run.broken.is_some()).collect();
    let mut laws: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (seed, run) in &broken {
        laws.entry(run.broken.as_ref().unwrap().1.as_str()).or_default().push(**seed);
    }
    for (law, seeds) in &laws {
        let some: Vec<_> = seeds.iter().take(8).collect();
        eprintln!("{} seeds: {law}: {some:?}", seeds.len());
    }
    let stories: Vec<String> =
        laws.values().map(|seeds| story(seeds[0], &runs[&seeds[0]])).collect();
    assert!(broken.is_empty(), "{} seeds broke an invariant\n{}", broken.len(), stories.join("\n"));
    // Where nothing ever happens nothing is proved.
    for kind in [Kind::OnlyInstruments, Kind::LoneSick, Kind::Chaos] {
        let of_kind: Vec<&Run> = runs.values().filter(|run| run.kind == kind).collect();
        let changes: u64 = of_kind.iter().map(|run| run.changes).sum();
        assert!(seeds < 100 || !of_kind.is_empty(), "{kind:?}");
        assert!(seeds < 100 || kind == Kind::OnlyInstruments || changes > 0, "{kind:?}");
    }
    assert!(seeds < 100 || runs.values().any(|run| run.zones > 0), "no zone was ever taken out");
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    for seed in 0..12 {
        assert_eq!(run(seed, true).unwrap(), run(seed, true).unwrap(), "seed {seed}");
    }
}

#[test]
fn the_short_way_of_a_calm_round_leads_where_the_long_way_leads() {
    for seed in 0..24 {
        assert_eq!(run(seed, true).unwrap(), run_in_full(seed, true).unwrap(), "seed {seed}");
    }
}
