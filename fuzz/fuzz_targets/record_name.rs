//! A record name that is accepted is the same after being written and read again.
#![no_main]

use leeward::domain::{RecordName, ZoneId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<RecordName>() {
        // Each of at most 253 octets may be written as `\ooo`.
        assert!(name.as_str().len() <= 4 * 253);
        assert_eq!(name.as_str().parse(), Ok(name.clone()));
        assert!(name.is_in(&name));
    }
    if let Ok(zone) = text.parse::<ZoneId>() {
        assert_eq!(zone.as_str().parse(), Ok(zone.clone()));
    }
});
