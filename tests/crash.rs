//! A crash at every step of an order: finished, abandoned or put back after the restart, never twice.
//!
//! The process is killed before, in the middle of and after every line of the journal, and before and
//! after the effect of every call; then started again, at once or much later, with the journal on disk
//! and the world as it was left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use leeward::execute::Progress;
use leeward::journal::{Journal, Log};
use leeward::memory::{Entry, Outcome, Pin};
use leeward::pace::Pacer;
use leeward::policy::Pace;
use leeward::ports::{CallFailed, Clock};

use crate::orders::world::{
    ByHand, Fault, Fuse, IN_SYNC_WITHIN, Mortal, Route53, evacuation, policy, split, zone,
};

/// Rounds of five seconds after which an order that is still open is a failure of the test. A batch that
/// was found done by reading counts as in force after `in_sync_within`, five minutes here.
const ROUNDS_MAX: usize = 100;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Case {
    zones: usize,
    down_for: Duration,
    /// Somebody else changes a record of the second zone while the controller is down.
    edited: bool,
    /// The second zone was throttled, and the controller had given the order up before it died.
    withdrawn: bool,
}

const AT_ONCE: Duration = Duration::from_secs(1);
const MUCH_LATER: Duration = Duration::from_secs(2 * 300);

/// From start to the end of whatever order is open. Runs in a task of its own, so that it can be killed.
async fn live(case: Case, world: Route53, clock: ByHand, path: std::path::PathBuf, first: bool) {
    let (journal, recovered) = Journal::open(&path).unwrap();
    let mut log = Mortal { journal, path, fuse: world.fuse.clone() };
    let mut acts = recovered.acts;
    let (policy, levers) = (policy(case.zones), world.levers());
    let pace = Pacer::new(Pace::default());
    macro_rules! executor {
        () => {
            leeward::execute::Executor {
                policy: &policy,
                levers: &levers,
                log: &mut log,
                acts: &mut acts,
                clock: &clock,
                pace: &pace,
            }
        };
    }
    let mut progress = if first {
        // Over already, or nothing would be sent: it is only to be there after the restarts.
        let pin = Pin {
            by: "anna".to_owned(),
            reason: "a drill".to_owned(),
            since: clock.now(),
            until: Some(clock.now()),
        };
        let entry = Entry::Pinned(pin);
        log.append(clock.now(), &entry).unwrap();
        acts.apply(clock.now(), &entry);
        let plan = evacuation(&policy, &world, &acts, clock.now()).await;
        if case.withdrawn {
            let (code, why) = ("Throttling".to_owned(), "Rate exceeded".to_owned());
            let fault = Fault::Fails(CallFailed::Throttled { code, why });
            world.world().faults = [None, Some(fault)].into();
        }
        let progress = executor!().carry_out(plan).await.unwrap();
        if case.withdrawn {
            executor!().withdraw("no longer needed").await.unwrap()
        } else {
            progress
        }
    } else {
        executor!().recover().await.unwrap()
    };
    for _ in 0..ROUNDS_MAX {
        if progress != Progress::Working {
            return;
        }
        clock.pass(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.bring_in_sync();
        progress = executor!().advance().await.unwrap();
    }
    panic!("the order is still open after {ROUNDS_MAX} rounds: {:?}", acts.order);
}

/// How it ended, by the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    NotBegun,
    Finished,
    Abandoned,
    PutBack,
    Refused,
}

/// Reads the journal like the next start would, and holds it against the world.
fn judge(case: Case, world: &Route53, path: &Path, before: &Route53) -> Ending {
    let records = Journal::read(path).unwrap();
    let (journal, recovered) = Journal::open(path).unwrap();
    drop(journal);
    let acts = recovered.acts;
    assert_eq!(acts.order, None, "an order was left open");
    assert_eq!(world.bystanders(), before.bystanders(), "somebody else's records were touched");
    let seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    let changes = world.world().changes.clone();
    for (place, change) in changes.iter().enumerate() {
        assert!(!changes[..place].contains(change), "a batch was made twice");
    }
    let ended = records.iter().rev().find_map(|record| {
        let Entry::Ended { outcome, .. } = &record.entry else { return None };
        Some(outcome.clone())
    });
    let ending = match ended {
        None => Ending::NotBegun,
        Some(Outcome::Done) => Ending::Finished,
        Some(Outcome::Abandoned { .. }) if changes.is_empty() => Ending::Abandoned,
        Some(Outcome::Abandoned { .. }) => Ending::PutBack,
        Some(Outcome::Refused { .. }) => Ending::Refused,
    };
    if ending != Ending::NotBegun {
        assert!(acts.last_end.is_some(), "the cooldown is forgotten");
        assert_eq!(acts.pin.as_ref().map(|pin| pin.by.as_str()), Some("anna"), "the pin is gone");
    }
    let weights = |n: usize| world.weights(n);
    let edited = |n: usize| case.edited && n == 1;
    for n in (0..case.zones).filter(|n| !edited(*n)) {
        let expected = if ending == Ending::Finished { (100, 0) } else { (0, 100) };
        assert_eq!(weights(n), expected, "zone {n} after {ending:?}");
    }
    if case.edited {
        assert_eq!(weights(1).1, 90, "somebody else's edit was overwritten");
    }
    if ending == Ending::Finished {
        assert_eq!(acts.ordered, Some(split(100, 0)));
        assert_eq!(acts.shifts.len(), 1, "a shift counts once");
        assert_eq!(changes.len(), case.zones);
        // Nothing is called done that the name servers do not answer.
        let world = world.world();
        for n in (0..case.zones).filter(|n| !edited(*n)) {
            assert_eq!(world.served[&zone(n)], world.zones[&zone(n)]);
        }
    }
    ending
}

/// Kills at step after step, until a life goes by without being killed.
async fn kill_at_every_step(case: Case) -> (usize, BTreeMap<Ending, usize>) {
    let mut endings = BTreeMap::new();
    for steps in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.journal");
        let (mut world, clock) = (Route53::with(case.zones), ByHand::new());
        world.fuse = Fuse::of(steps);
        let fuse = world.fuse.clone();
        let first = tokio::spawn(live(case, world.clone(), clock.clone(), path.clone(), true));
        let result = first.await;
        let Some(died_at) = fuse.died_at() else {
            result.unwrap();
            return (steps, endings);
        };
        clock.pass(case.down_for);
        if case.edited {
            world.edit(1, 90);
        }
        world.fuse = Fuse::default();
        let second = tokio::spawn(live(case, world.clone(), clock, path.clone(), false));
        let what = format!("killed {died_at} ({steps} steps in), {case:?}");
        second.await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let judged =
            std::panic::catch_unwind(|| judge(case, &world, &path, &Route53::with(case.zones)));
        let ending = judged.unwrap_or_else(|_| panic!("{what}"));
        if died_at == "after line `intended`" && !case.withdrawn {
            assert_eq!(
                ending,
                Ending::Abandoned,
                "{what}: nothing was sent, so it is decided anew"
            );
        }
        *endings.entry(ending).or_insert(0) += 1;
    }
    unreachable!("the steps of a life are finite")
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_at_any_step_the_next_start_finishes_abandons_or_puts_back() {
    assert!(MUCH_LATER > IN_SYNC_WITHIN);
    let mut all: BTreeMap<Ending, usize> = BTreeMap::new();
    for (zones, down_for, edited, withdrawn) in [
        (1, AT_ONCE, false, false),
        (1, MUCH_LATER, false, false),
        (3, AT_ONCE, false, false),
        (3, MUCH_LATER, false, false),
        (3, AT_ONCE, true, false),
        (3, MUCH_LATER, true, false),
        (3, AT_ONCE, false, true),
    ] {
        let case = Case { zones, down_for, edited, withdrawn };
        let (points, endings) = kill_at_every_step(case).await;
        eprintln!(
            "{zones} zones, down {down_for:?}, edited {edited}: {points} points, {endings:?}"
        );
        assert!(points >= 25, "only {points} points: the fuse does not see the calls");
        for (ending, count) in endings {
            *all.entry(ending).or_insert(0) += count;
        }
    }
    for ending in [Ending::Finished, Ending::Abandoned, Ending::PutBack, Ending::Refused] {
        assert!(all.contains_key(&ending), "{ending:?} never occurs: {all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_kill_during_the_recovery_changes_nothing() {
    for (zones, down_for) in [(1, AT_ONCE), (2, MUCH_LATER)] {
        let case = Case { zones, down_for, edited: false, withdrawn: false };
        let mut points = 0;
        'first: for first_steps in 0.. {
            for second_steps in (0..).step_by(2) {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("shop.journal");
                let (mut world, clock) = (Route53::with(zones), ByHand::new());
                let mut died = [false; 2];
                for (life, steps) in [first_steps, second_steps].into_iter().enumerate() {
                    world.fuse = Fuse::of(steps);
                    let task = live(case, world.clone(), clock.clone(), path.clone(), life == 0);
                    let _ = tokio::spawn(task).await;
                    died[life] = world.fuse.died_at().is_some();
                    clock.pass(down_for);
                }
                if !died[0] {
                    break 'first;
                }
                world.fuse = Fuse::default();
                let third = live(case, world.clone(), clock, path.clone(), false);
                tokio::spawn(third).await.unwrap();
                judge(case, &world, &path, &Route53::with(zones));
                points += 1;
                if !died[1] {
                    break;
                }
            }
        }
        eprintln!("{zones} zones, down {down_for:?}: {points} pairs of kills");
        assert!(points > 100);
    }
}
