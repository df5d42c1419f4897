//! The pipeline of the laboratory's shop: it rolls new versions out, says so by a signed event, and takes one
//! back when it is called.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::door::{Answerer, says};
use super::region::{Fault, Faulty};
use super::setup::SERVICE;
use crate::domain::Timestamp;
use crate::runtime::http::{Ask, ask};

/// Where it takes calls.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 10, 2);
/// The path that takes the last version back.
pub const ROLLBACK: &str = "/rollback";
/// As the policy calls it.
pub const SENDER: &str = "pipeline";
/// What it signs with. The laboratory has no other secret, and nobody else listens on loopback.
pub const KEY: &str = "a key of the laboratory, of no use elsewhere";
const OLD_VERSION: &str = "v41";
pub const NEW_VERSION: &str = "v42";
/// A call is a few hundred octets.
const CALL_MAX: usize = 64 * 1024;
/// Leeward answers when the round that was asked for is over.
const SAID_WITHIN: Duration = Duration::from_secs(10);

/// Rolls versions out over all regions.
#[derive(Debug)]
pub struct Pipeline {
    regions: Vec<Faulty>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    version: &'static str,
    /// Versions that were taken back, one for each call that did so.
    undone: Vec<String>,
}

impl Pipeline {
    pub fn new(regions: Vec<Faulty>) -> Arc<Self> {
        let state = Mutex::new(State { version: OLD_VERSION, undone: Vec::new() });
        Arc::new(Self { regions, state })
    }

    /// Brings the new version everywhere. It says that it is alive, and fails every request.
    pub fn roll_out(&self) {
        self.lock().version = NEW_VERSION;
        for region in &self.regions {
            region.break_with(Fault::Rotten);
        }
    }

    /// How many times a version was taken back.
    pub fn undone(&self) -> usize {
        self.lock().undone.len()
    }

    /// The version that was asked for, if it is the one that runs, and is it no longer.
    fn undo(&self, version: &str) -> bool {
        let mut state = self.lock();
        if state.version != version {
            return false;
        }
        state.version = OLD_VERSION;
        state.undone.push(version.to_owned());
        for region in &self.regions {
            region.break_with(Fault::None);
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Answerer for Pipeline {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::POST || request.uri().path() != ROLLBACK {
            return says(StatusCode::NOT_FOUND, "POST /rollback takes a version back\n");
        }
        let body = Limited::new(request.into_body(), CALL_MAX).collect().await;
        let call: Value = match body.map(|body| serde_json::from_slice(&body.to_bytes())) {
            Ok(Ok(call)) => call,
            Ok(Err(_)) | Err(_) => return says(StatusCode::BAD_REQUEST, "no call of a hook\n"),
        };
        let version = call["version"].as_str().unwrap_or_default();
        if self.undo(version) {
            says(StatusCode::OK, format!("{OLD_VERSION} runs again\n"))
        } else {
            says(StatusCode::NOT_FOUND, format!("`{version}` does not run\n"))
        }
    }
}

/// Says by a signed event that the new version was rolled out over these regions. The error is for people.
pub async fn announce(
    intake: SocketAddr,
    regions: Vec<String>,
    now: Timestamp,
) -> Result<(), String> {
    let event = json!({
        "leeward": 1,
        "id": format!("rollout-{NEW_VERSION}"),
        "deploy": { "version": NEW_VERSION, "regions": regions },
    });
    let body = event.to_string();
    let (timestamp, nonce) = (now.as_secs().to_string(), format!("{}", now.as_millis()));
    let signed = format!("leeward-v1\n{SERVICE}\n{SENDER}\n{timestamp}\n{nonce}\n{body}");
    let made = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), signed.as_bytes());
    let signature = made.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let request = Ask {
        method: Method::POST,
        url: &format!("http://{intake}/v1/events/{SERVICE}/signed"),
        headers: vec![
            ("x-leeward-sender", SENDER.to_owned()),
            ("x-leeward-timestamp", timestamp),
            ("x-leeward-nonce", nonce),
            ("x-leeward-signature", signature),
        ],
        body: Bytes::from(body),
        answer_max: CALL_MAX,
        within: SAID_WITHIN,
    };
    match ask(request).await {
        Ok((StatusCode::OK, _)) => Ok(()),
        Ok((status, said)) => Err(format!("{status}: {}", String::from_utf8_lossy(&said).trim())),
        Err(error) => Err(error.to_string()),
    }
}
