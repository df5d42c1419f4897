//! Any bytes are a policy or are refused: never a panic, and messages that fit on a screen.
#![no_main]

use leeward::policy::{self, Severity};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match policy::load_bytes(bytes, "policy.yaml") {
        Ok((policy, warnings)) => {
            assert!(warnings.iter().all(|problem| problem.severity == Severity::Warning));
            assert!(policy.home_split().is_some());
            assert!(policy.judge.classes_min >= 1 && policy.judge.vantages_min >= 1);
            let last = policy.shift.ramp.last().map(|part| part.get());
            assert_eq!(last, Some(1.0));
        }
        Err(problems) => {
            assert!(problems.has_errors());
            let shown = problems.render(false);
            assert!(shown.len() < 500_000);
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        }
    }
});
