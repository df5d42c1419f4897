//! Any body is parsed into events or kept aside, and judged for a policy.
#![no_main]

use std::sync::OnceLock;

use leeward::domain::Timestamp;
use leeward::policy::{Policy, load};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_030);

fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let text = include_str!("../../policies/two-region-web.yaml");
        load(text, "shop.yaml").map(|(policy, _)| policy).ok().expect("an example is valid")
    })
}

fuzz_target!(|bytes: &[u8]| {
    let parts = leeward::event::parse(bytes);
    assert!(!parts.is_empty());
    for event in parts.into_iter().flatten() {
        assert!(event.key.len() <= 400, "{}", event.key.len());
        let _ = leeward::event::judge(policy(), &event, NOW);
    }
});
