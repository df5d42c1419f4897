//! A TXT value of anybody is an epoch or is none, and an epoch is the same after being written again.
#![no_main]

use leeward::plan::epoch::EpochTxt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(epoch) = EpochTxt::parse(text) {
        assert_eq!(EpochTxt::parse(&epoch.encode()), Ok(epoch));
    }
});
