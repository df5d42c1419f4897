//! Events over HTTP, on a listener of its own: SNS, API destinations of EventBridge, Alertmanager, and
//! whoever signs. A body is taken in, bounded in size and time, and authenticated before anything in it counts;
//! rate and connections are bounded.
//!
//! TLS is ended in front of this: SNS demands it only of addresses that begin with `https`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::bucket::ByDoor;
use super::secret;
use super::sns::{Untrusted, check_place};
use super::{Came, Door, From, Intake, Registered};
use crate::domain::{ServiceName, Timestamp};
use crate::event::{BYTES_MAX, Envelope, EnvelopeKind, Kind};
use crate::policy::{May, Secret};
use crate::runtime::serve::{Bounds, serve_router};

/// A signed request is believed for so long before and after its time.
const SIGNED_WITHIN: Duration = Duration::from_secs(300);
/// Nonces remembered: a hundred senders at one request in three seconds each.
const NONCES_MAX: usize = 20_000;
/// Requests of one door of one service: a storm of two hundred alarms passes, twenty a second last.
const BURST: f64 = 200.0;
const PER_SECOND: f64 = 20.0;
/// Strangers of one door of one service that the log names: then one in ten seconds.
const STRANGERS_BURST: f64 = 10.0;
const STRANGERS_PER_SECOND: f64 = 0.1;
/// From the head of a request to its answer: also for a body that comes drop by drop.
const ANSWERED_WITHIN: Duration = Duration::from_secs(14);

/// Answers on `listener` until `stop`.
pub(crate) async fn serve(
    listener: impl Into<Arc<TcpListener>>,
    doors: Router,
    stop: CancellationToken,
) {
    serve_router(listener, doors, stop, Bounds::FEW).await;
}

/// What was used once is remembered for as long as this router lives.
pub(crate) fn router(intake: Arc<Intake>) -> Router {
    let doors = Arc::new(Doors {
        intake,
        pace: ByDoor::new(BURST, PER_SECOND),
        strangers: ByDoor::new(STRANGERS_BURST, STRANGERS_PER_SECOND),
        nonces: Mutex::default(),
    });
    Router::new()
        .route("/v1/events/{service}/sns", post(sns))
        .route("/v1/events/{service}/eventbridge", post(eventbridge))
        .route("/v1/events/{service}/alertmanager", post(alertmanager))
        .route("/v1/events/{service}/signed", post(signed))
        .fallback(async || no(StatusCode::NOT_FOUND, "no such door"))
        .layer(DefaultBodyLimit::max(BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .with_state(doors)
}

/// Whoever is slow gives his place back: a body is read before anybody knows who sends it.
async fn in_time(request: Request, next: Next) -> Response {
    match timeout(ANSWERED_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => come_again("it took too long"),
    }
}

/// Of one service and one sender.
type Nonce = (ServiceName, String, String);

#[derive(Debug)]
struct Doors {
    intake: Arc<Intake>,
    pace: ByDoor,
    /// Those who were not believed, by the same measure: they fill no log.
    strangers: ByDoor,
    /// By service, sender and nonce.
    nonces: Mutex<BTreeMap<Nonce, Timestamp>>,
}

/// A refusal. It never says which of several checks failed to somebody who is nobody.
fn no(status: StatusCode, why: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], format!("{why}\n")).into_response()
}

fn closed() -> Response {
    no(StatusCode::NOT_FOUND, "no such door")
}

fn come_again(why: &str) -> Response {
    let body = format!("{why}; come again\n");
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], body).into_response()
}

impl Doors {
    fn service(&self, name: &str) -> Option<(ServiceName, Registered)> {
        let name: ServiceName = name.parse().ok()?;
        let registered = self.intake.registry.find(&name)?;
        Some((name, registered))
    }

    /// The answer for somebody who is not believed, and a line in the log unless there are many.
    fn stranger(
        &self,
        service: &ServiceName,
        door: Door,
        status: StatusCode,
        why: &str,
    ) -> Response {
        if self.strangers.take(service, door) {
            warn!(%service, door = door.as_str(), why, "Somebody was not believed.");
        }
        let text = if status == StatusCode::UNAUTHORIZED { "who are you?" } else { "not believed" };
        no(status, text)
    }

    /// The secrets that hold; `None` if they cannot be read, which is written to the log.
    fn secrets(service: &ServiceName, door: Door, from: &Secret) -> Option<Vec<Vec<u8>>> {
        let told = |error: &std::io::Error| {
            warn!(%service, door = door.as_str(), %error, "The secret of a door cannot be read; it stays shut.");
        };
        secret::read(from).inspect_err(told).ok()
    }

    /// False if this nonce was used before, or cannot be remembered.
    fn is_new(&self, nonce: &Nonce, now: Timestamp) -> bool {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if nonces.len() >= NONCES_MAX {
            nonces.retain(|_, at| now.since(*at) <= SIGNED_WITHIN * 2);
        }
        if nonces.len() >= NONCES_MAX || nonces.contains_key(nonce) {
            return false;
        }
        nonces.insert(nonce.clone(), now);
        true
    }

    fn forget(&self, nonce: &Nonce) {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).remove(nonce);
    }

    /// Takes a body in, and says what came of it.
    async fn take(&self, service: &ServiceName, from: From<'_>, body: &[u8]) -> Response {
        answer(&self.intake.take(service, from, body).await)
    }
}

fn answer(came: &Came) -> Response {
    if let Some(why) = &came.later {
        return come_again(why);
    }
    let body = json!({
        "handled": came.handled,
        "duplicates": came.duplicates,
        "nothing": came.nothing,
        "aside": came.aside,
    });
    // What is kept aside is taken in all the same: sending it again would not make it known.
    let status = if came.aside.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn sns(
    State(doors): State<Arc<Doors>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((service, registered)) = doors.service(&name) else { return closed() };
    let topics = &registered.policy.triggers.topics;
    if topics.is_empty() {
        return closed();
    }
    // Raw delivery has no signature (Amazon SNS Developer Guide, "Raw message delivery").
    if headers.contains_key("x-amz-sns-rawdelivery") {
        return no(StatusCode::FORBIDDEN, "raw delivery is not signed: turn it off");
    }
    let envelope = match Envelope::parse(&body) {
        Ok(envelope) => envelope,
        Err(unknown) => return no(StatusCode::BAD_REQUEST, &unknown.why),
    };
    if !topics.contains(&envelope.topic) {
        return doors.stranger(&service, Door::Sns, StatusCode::FORBIDDEN, "another topic");
    }
    let now = doors.intake.clock.now();
    match doors.intake.verifier.verify(&envelope, topics, now).await {
        Ok(()) => {}
        Err(Untrusted::Fetch(why)) => {
            if doors.strangers.take(&service, Door::Sns) {
                warn!(%service, why, "The certificate of SNS cannot be fetched.");
            }
            return come_again("the certificate cannot be fetched");
        }
        Err(untrusted) => {
            let why = untrusted.to_string();
            return doors.stranger(&service, Door::Sns, StatusCode::FORBIDDEN, &why);
        }
    }
    // Only what is SNS's own is counted: a topic is no secret, and forged messages use up nobody's allowance. A
    // status from 200 to 499 is the end of it for SNS: only 5xx comes again (Amazon SNS Developer Guide,
    // "HTTP/HTTPS subscriptions").
    if !doors.pace.take(&service, Door::Sns) {
        return come_again("too many");
    }
    match envelope.kind {
        EnvelopeKind::Notification => {
            let from = From { door: Door::Sns, by: None, may: None, topics };
            doors.take(&service, from, &body).await
        }
        EnvelopeKind::SubscriptionConfirmation => confirm(&doors, &service, &envelope).await,
        EnvelopeKind::UnsubscribeConfirmation => {
            let mut came = Came::default();
            doors.intake.report_ended(&registered, &envelope.topic, &body, &mut came);
            answer(&came)
        }
    }
}

/// Says yes to a topic that is on the policy's list, at SNS's own address and nowhere else.
async fn confirm(doors: &Doors, service: &ServiceName, envelope: &Envelope) -> Response {
    let url = envelope.subscribe_url.as_deref().unwrap_or_default();
    let right = check_place(url, envelope.aws_region())
        .is_ok_and(|path| path.starts_with("/?") && path.contains("Action=ConfirmSubscription"));
    if !right {
        warn!(%service, url, "A subscription is to be confirmed at a place that is not SNS's.");
        return no(StatusCode::FORBIDDEN, "not believed");
    }
    match doors.intake.verifier.get(url).await {
        Ok(()) => {
            info!(%service, topic = envelope.topic, "Subscribed.");
            no(StatusCode::OK, "confirmed")
        }
        Err(why) => {
            warn!(%service, topic = envelope.topic, why, "A subscription could not be confirmed.");
            come_again("it could not be confirmed")
        }
    }
}

async fn eventbridge(
    State(doors): State<Arc<Doors>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((service, registered)) = doors.service(&name) else { return closed() };
    let Some(key) = &registered.policy.triggers.eventbridge else { return closed() };
    let given = headers.get(&key.header).map(|value| value.as_bytes().to_vec());
    with_token(&doors, &service, Door::EventBridge, &key.key, given, &body).await
}

async fn alertmanager(
    State(doors): State<Arc<Doors>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((service, registered)) = doors.service(&name) else { return closed() };
    let Some(token) = &registered.policy.triggers.alertmanager else { return closed() };
    let given = text(&headers, "authorization")
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(|token| token.as_bytes().to_vec());
    with_token(&doors, &service, Door::Alertmanager, token, given, &body).await
}

async fn with_token(
    doors: &Doors,
    service: &ServiceName,
    door: Door,
    from: &Secret,
    given: Option<Vec<u8>>,
    body: &[u8],
) -> Response {
    let Some(secrets) = Doors::secrets(service, door, from) else {
        return come_again("this door cannot be opened now");
    };
    if !given.is_some_and(|given| secret::is_one_of(&secrets, &given)) {
        return doors.stranger(service, door, StatusCode::UNAUTHORIZED, "without the right key");
    }
    if !doors.pace.take(service, door) {
        return no(StatusCode::TOO_MANY_REQUESTS, "too many");
    }
    let from = From { door, by: None, may: None, topics: &BTreeSet::new() };
    doors.take(service, from, body).await
}

/// What is signed: everything that says who sends what to whom, and when.
///
/// `x-leeward-signature` is the HMAC-SHA256 of this text with the sender's secret, in hexadecimal digits.
pub fn signed_text(
    service: &str,
    sender: &str,
    timestamp: &str,
    nonce: &str,
    body: &[u8],
) -> Vec<u8> {
    let head = format!("leeward-v1\n{service}\n{sender}\n{timestamp}\n{nonce}\n");
    [head.as_bytes(), body].concat()
}

async fn signed(
    State(doors): State<Arc<Doors>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((service, registered)) = doors.service(&name) else { return closed() };
    let senders = &registered.policy.triggers.senders;
    if senders.is_empty() {
        return closed();
    }
    let who = || no(StatusCode::UNAUTHORIZED, "who are you?");
    let header = |name: &str| text(&headers, name);
    let (Some(sender), Some(timestamp), Some(nonce), Some(signature)) = (
        header("x-leeward-sender"),
        header("x-leeward-timestamp"),
        header("x-leeward-nonce"),
        header("x-leeward-signature"),
    ) else {
        return who();
    };
    let Some(known) = senders.get(sender) else { return who() };
    let Some(secrets) = Doors::secrets(&service, Door::Signed, &known.key) else {
        return come_again("this door cannot be opened now");
    };
    let text = signed_text(service.as_str(), sender, timestamp, nonce, &body);
    if !secret::signed_by_one_of(&secrets, &text, signature) {
        let why = format!("the signature does not fit `{sender}`");
        return doors.stranger(&service, Door::Signed, StatusCode::UNAUTHORIZED, &why);
    }
    // From here on it is known who it is, and why can be said.
    let now = doors.intake.clock.now();
    let at = timestamp.parse::<i64>().ok().map(Timestamp::from_secs);
    if !at.is_some_and(|at| now.since(at) <= SIGNED_WITHIN && at.since(now) <= SIGNED_WITHIN) {
        return no(StatusCode::FORBIDDEN, "the timestamp is not of now (seconds since 1970)");
    }
    if !(8..=64).contains(&nonce.len()) || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return no(StatusCode::FORBIDDEN, "a nonce has 8 to 64 visible characters");
    }
    if !doors.pace.take(&service, Door::Signed) {
        return no(StatusCode::TOO_MANY_REQUESTS, "too many");
    }
    let used = (service.clone(), sender.to_owned(), nonce.to_owned());
    if !doors.is_new(&used, now) {
        return no(StatusCode::CONFLICT, "this nonce was used before");
    }
    let may: BTreeSet<Kind> = known.may.iter().copied().map(kind).collect();
    let from =
        From { door: Door::Signed, by: Some(sender), may: Some(&may), topics: &BTreeSet::new() };
    let came = doors.intake.take(&service, from, &body).await;
    if came.later.is_some() {
        // It is to come again as it is.
        doors.forget(&used);
    }
    answer(&came)
}

fn kind(may: May) -> Kind {
    match may {
        May::Look => Kind::Look,
        May::Deploy => Kind::Deploy,
        May::Notice => Kind::Notice,
        May::Reading => Kind::Reading,
        May::Approve => Kind::Answer,
    }
}
