//! Any bytes are a recorded outage or are refused with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = leeward::scenario::trace::load(bytes, "trace.json") {
        assert!(!error.to_string().is_empty());
    }
});
