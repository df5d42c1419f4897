//! What gates do beyond the region they close: who else would be answered, and what a torn move counts for.

use leeward::domain::{InAnswers, Split, Turn, Weight};
use leeward::memory::Outcome;
use leeward::plan::{Plan, Purpose, Wanted};
use leeward::policy::{GatesLever, Lever as Levers};
use leeward::ports::CallFailed;

use super::*;

const THIRD: [(&str, &str); 2] = [
    (
        "\nvantages:",
        "\n  cold: { role: standby, weight: 0, capacity: 3000 rps, balancers: { cold-web: {} } }\nvantages:",
    ),
    ("west: west }", "west: west, cold: cold }"),
];

/// A third region with weight 0 that nothing proves fit, and a gate for each region.
fn gated(more: &[(&str, &str)]) -> Picture {
    let changes: Vec<_> = THIRD.iter().chain(more).copied().collect();
    let mut policy = policy(&changes);
    let names = policy.regions.clone().into_keys();
    policy.levers = vec![Levers::Gates(GatesLever::unnamed(names, Duration::from_secs(60)))];
    let mut picture = Picture::new(policy);
    picture.answers = Answering::Unknown;
    picture
}

fn turns(picture: &Picture) -> Vec<(String, InAnswers)> {
    let wanted = picture.last.as_ref().unwrap().wanted.clone();
    let Some(Wanted::Move(moved)) = wanted else { panic!("no move: {wanted:?}") };
    moved.turns.iter().map(|turn| (turn.region.to_string(), turn.to)).collect()
}

/// Until something is wanted.
fn until_wanted(picture: &mut Picture, seen: &Seen<'_>) {
    for _ in 0..200 {
        picture.see(seen);
        if picture.last.as_ref().unwrap().wanted.is_some() {
            return;
        }
    }
    panic!("nothing is wanted: {:?}", picture.last.as_ref().map(|last| &last.holds));
}

fn gate(picture: &mut Picture, region: &str, to: InAnswers) {
    picture.note(&Entry::Gated { region: region.parse().unwrap(), to, failure: None });
}

/// With the primary out, Route 53 answers every healthy record of weight 0. One that nothing proves fit
/// is taken out first, and let in again on the way home.
#[test]
fn who_would_be_answered_uninvited_is_kept_out() {
    let auto = "failback: { auto: { hold: 10m, step: 100%, every: 5m } }";
    let mut picture = gated(&[("failback: manual", auto)]);
    until_wanted(&mut picture, &Seen { east: "x", east_counters: "?", ..Seen::default() });
    let closed = [("cold", InAnswers::Out), ("east", InAnswers::Out)];
    assert_eq!(turns(&picture), closed.map(|(region, to)| (region.to_owned(), to)));

    let mut home = gated(&[("failback: manual", auto)]);
    gate(&mut home, "cold", InAnswers::Out);
    gate(&mut home, "east", InAnswers::Out);
    until_wanted(&mut home, &Seen { east: ".", ..Seen::default() });
    let opened = [("east", InAnswers::In), ("cold", InAnswers::In)];
    assert_eq!(turns(&home), opened.map(|(region, to)| (region.to_owned(), to)));

    // Half of that was done: what is left to open is opened, though no answer changes by it.
    let mut half = gated(&[("failback: manual", auto)]);
    gate(&mut half, "cold", InAnswers::Out);
    until_wanted(&mut half, &Seen { east: ".", ..Seen::default() });
    assert_eq!(turns(&half), [("cold".to_owned(), InAnswers::In)]);
    half.see(&Seen { east: &".".repeat(90), ..Seen::default() });
    assert_eq!(half.last.unwrap().wanted, None, "once is enough");
}

/// Visitors that half a move sent elsewhere were sent elsewhere.
#[test]
fn a_torn_move_counts_as_a_shift() {
    let one = "shifts: { max: 1, within: 1h }";
    let mut picture = Picture::new(policy(&[("shifts: { max: 2, within: 1h }", one)]));
    let home = picture.policy.home_split().unwrap();
    let away = [("east", 0), ("west", 100)].map(|(r, w)| (r.parse().unwrap(), Weight(w)));
    let epoch = picture.memory.acts.epoch.next();
    let batch = Batch { zone: "Z1".parse().unwrap(), comment: String::new(), swaps: Vec::new() };
    let to = Split::new(away.into()).unwrap();
    let moved = leeward::plan::Move {
        lever: LeverKind::Weights,
        purpose: Purpose::Evacuate,
        from: home,
        to: to.clone(),
        turns: Vec::<Turn>::new(),
        because: String::new(),
    };
    let plan = Plan {
        service: picture.policy.service.clone(),
        epoch,
        made_at: Timestamp::from_secs(picture.now),
        wanted: Wanted::Move(moved),
        batches: vec![batch.clone(), batch],
        result: to.weights().clone(),
    };
    picture.note(&Entry::Intended(Box::new(plan)));
    picture.note(&Entry::Sending { epoch, batch: 0 });
    picture.note(&Entry::Accepted { epoch, batch: 0, change: ChangeId("C1".to_owned()) });
    let failure = CallFailed::Throttled { code: "Throttling".to_owned(), why: String::new() };
    picture.note(&Entry::Failed { epoch, batch: 1, failure });
    assert_eq!((picture.memory.acts.shifts.len(), picture.memory.acts.torn.len()), (0, 1));
    let why = "could not be written in time".to_owned();
    picture.note(&Entry::Ended { epoch, outcome: Outcome::Abandoned { why } });
    picture.now += 3000;
    still(&mut picture, &Seen { east: DARK, east_counters: SILENT, ..Seen::default() });
    picture.holds(|hold| matches!(hold, Hold::ShiftsExhausted { .. }));
}
