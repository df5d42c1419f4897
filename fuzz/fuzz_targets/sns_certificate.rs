//! Whatever stands at the address of a certificate, a message that nobody signed is not believed.
#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use leeward::domain::Timestamp;
use leeward::event::Envelope;
use leeward::runtime::intake::sns::{Fetch, Verifier, check_place};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

#[derive(Debug)]
struct Serves(Bytes);

#[async_trait]
impl Fetch for Serves {
    async fn fetch(&self, _: &str) -> Result<Bytes, String> {
        Ok(self.0.clone())
    }
}

const ROOT: &[u8] = include_bytes!("../../tests/sns/root.pem");
const CHAIN: &[u8] = include_bytes!("../../tests/sns/chain.pem");
const SIGNED: &[u8] = include_bytes!("../../tests/sns/v2.json");

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(place) = check_place(&text, "eu-west-1") {
        assert_eq!(text, format!("https://sns.eu-west-1.amazonaws.com{place}"));
        assert!(place.is_empty() || place.starts_with(['/', '?', '#']), "{text}");
    }
    // The true chain with some octets changed, and a signature that never fits.
    let mut chain = CHAIN.to_vec();
    for change in bytes.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]])) % chain.len();
        chain[place] = change[2];
    }
    let Ok(mut envelope) = Envelope::parse(SIGNED) else { panic!("a fixture") };
    envelope.message.push('!');
    let roots: Vec<_> = CertificateDer::pem_slice_iter(ROOT).filter_map(Result::ok).collect();
    for served in [chain, bytes.to_vec()] {
        let verifier = Verifier::new(Arc::new(Serves(served.into())), &roots, Vec::new());
        let topics = BTreeSet::from([envelope.topic.clone()]);
        let now = envelope.at().unwrap_or(Timestamp::from_secs(1_800_000_000));
        let verified = verifier.verify(&envelope, &topics, now).now_or_never();
        assert!(verified.expect("nothing waits here").is_err(), "nobody signed this");
    }
});
