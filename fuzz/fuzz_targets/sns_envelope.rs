//! Any envelope is read or refused, and what is signed is made of what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = leeward::event::Envelope::parse(bytes) {
        let _ = (envelope.signed_text(), envelope.at(), envelope.aws_region());
    }
});
