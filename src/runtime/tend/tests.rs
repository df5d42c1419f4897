//! When a look that was asked for once is over.

use super::*;
use crate::memory::Outcome;
use crate::plan::Wanted;
use crate::report::samples;

#[test]
fn one_look_ends_when_what_it_began_beside_a_hanging_order_is_over() {
    let at = Timestamp::from_secs(1_800_000_000);
    let mut acts = Acts::default();
    assert!(is_over(&acts, false, true) && !is_over(&acts, false, false));
    acts.apply(at, &Entry::Intended(Box::new(samples::plan())));
    assert!(!is_over(&acts, false, true), "an order is open");
    let Wanted::Move(moved) = samples::evacuation() else { panic!("it moves") };
    acts.apply(at, &Entry::MovingBeside(Box::new(moved.clone())));
    assert!(!is_over(&acts, true, true), "its gates do not stand yet");
    acts.apply(at, &Entry::MovedByGates(Box::new(moved)));
    assert!(!is_over(&acts, true, true), "they were not seen in force yet");
    acts.apply(at, &Entry::BesideEnded { outcome: Outcome::Done });
    assert!(is_over(&acts, true, false));
}
