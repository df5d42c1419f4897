//! Whatever another controller answers is taken in or left, and no number out of range gets through.
#![no_main]

use std::sync::OnceLock;

use leeward::domain::{Timestamp, VantageName};
use leeward::policy::{Policy, load};
use leeward::runtime::peer::{Heard, Readings};
use libfuzzer_sys::fuzz_target;

fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let text = include_str!("../../policies/two-region-web.yaml");
        load(text, "two-region-web.yaml").expect("an example policy is right").0
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(readings) = serde_json::from_slice::<Readings>(bytes) else { return };
    let vantage: VantageName = "us".parse().expect("a name");
    let now = Timestamp::from_secs(1_800_000_000);
    for sample in Heard::default().take(policy(), &vantage, readings, now) {
        assert_eq!(sample.about.vantage.as_ref(), Some(&vantage));
        assert!(sample.taken_at <= now);
    }
});
