//! Any lines on the player's input end in actions or in an error that names the line.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// A calm world, so that what follows is reached.
const HELLO: &[u8] = br#"{"hello":{"tick_s":10,"duration_s":100,"demand_rps":100,"regions":[{"id":"a","role":"primary","weight":100,"capacity_rps":200,"load_balancers":[{"id":"a1","carries":1}]},{"id":"b","role":"standby","weight":0,"capacity_rps":200,"load_balancers":[{"id":"b1","carries":1}]}],"probers":["p","q"],"dns":{"ttl_s":60,"sync_s":40},"levers":["dns_change","notify"],"intent":{"home":"a","sustain_s":20,"bad_ok_below":0.8,"failback":"manual"}}}
"#;

fuzz_target!(|bytes: &[u8]| {
    let _ = leeward::play::play(&mut &*bytes, &mut std::io::sink(), None);
    let lines = [HELLO, bytes].concat();
    let _ = leeward::play::play(&mut &*lines, &mut std::io::sink(), None);
});
