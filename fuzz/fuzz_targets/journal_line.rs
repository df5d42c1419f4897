//! Any line of a journal is a record or is none. Every other run gives it the right checksum, so that
//! what lies behind the checksum is reached.
#![no_main]

use leeward::journal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = journal::parse(bytes);
    let mut line = format!("{:08x} ", crc32fast::hash(bytes)).into_bytes();
    line.extend_from_slice(bytes);
    let _ = journal::parse(&line);
});
