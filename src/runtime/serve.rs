//! What a running Leeward tells over HTTP. It only ever tells: no path changes anything.
//!
//! Connections, heads and lifetimes are bounded; rubbish ends its own connection and nothing else.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::domain::{RegionName, ServiceName};
use crate::runtime::board::Board;
use crate::runtime::gates::{GATE_CLOSED, GATE_OPEN};

/// How many may come at once, and whether they may stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections open at once.
    pub(super) connections: usize,
    /// Of one address: who says nothing keeps nobody else out.
    pub(super) each: usize,
    /// Whether a connection may be used again after its answer.
    pub(super) keep_alive: bool,
}

impl Bounds {
    /// Scrapers, peers, people, health checkers and those who send events.
    pub(super) const FEW: Self = Self { connections: 1024, each: 64, keep_alive: true };
}

/// Until a request's head is complete; also the longest silence between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// No connection lives longer, so that a slow reader cannot keep its place.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(300);
/// After a failure to accept (usually no file handles left) before the next try.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Connections by the address that they come from.
#[derive(Debug, Default)]
struct Guests(Mutex<HashMap<IpAddr, usize>>);

/// One connection of an address, until it is dropped.
#[derive(Debug)]
struct Guest {
    all: Arc<Guests>,
    from: IpAddr,
}

impl Guests {
    fn let_in(all: &Arc<Self>, from: IpAddr, most: usize) -> Option<Guest> {
        let mut open = all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = open.entry(from).or_default();
        (*here < most).then(|| {
            *here += 1;
            Guest { all: Arc::clone(all), from }
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut here) = open.entry(self.from) {
            *here.get_mut() -= 1;
            if *here.get() == 0 {
                here.remove();
            }
        }
    }
}

/// Answers on `listener` until `stop`.
pub async fn serve(
    listener: impl Into<Arc<TcpListener>>,
    board: Arc<Board>,
    stop: CancellationToken,
) {
    serve_router(listener, router(board), stop, Bounds::FEW).await;
}

/// The same, with any paths.
pub(super) async fn serve_router(
    listener: impl Into<Arc<TcpListener>>,
    router: Router,
    stop: CancellationToken,
    bounds: Bounds,
) {
    let listener = listener.into();
    let places = Arc::new(Semaphore::new(bounds.connections));
    let guests = Arc::new(Guests::default());
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            // Ended connections are taken off the list as they end.
            Some(_) = connections.join_next() => continue,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(guest) = Guests::let_in(&guests, peer.ip(), bounds.each) else {
                    debug!(%peer, "It has too many connections open.");
                    continue;
                };
                let router = router.clone();
                connections.spawn(async move {
                    converse(stream, peer, router, bounds.keep_alive).await;
                    drop((place, guest));
                });
            }
            Err(error) => {
                warn!(%error, "A connection could not be accepted.");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
    connections.shutdown().await;
}

async fn converse(stream: TcpStream, peer: SocketAddr, router: Router, keep_alive: bool) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(keep_alive)
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_LIFE_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%peer, %error, "A connection ended badly."),
        Err(_) => debug!(%peer, "A connection was open for too long."),
    }
}

fn router(board: Arc<Board>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/state", get(state))
        .route("/v1/readings", get(readings))
        .route("/gates/{service}/{region}/{slot}", get(gate))
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .with_state(board)
}

const PATHS: &str = "Leeward answers on /healthz /readyz /metrics /v1/state /v1/readings /gates/SERVICE/REGION/NUMBER\n";
const FRESH: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

fn verdict(missing: &[String]) -> Response {
    let (status, text) = if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("\n")))
    };
    (status, [FRESH], text).into_response()
}

/// The process does its rounds. Says nothing about the regions: a controller must not be killed
/// because it sees an outage.
async fn healthz(State(board): State<Arc<Board>>) -> Response {
    verdict(&board.ill())
}

async fn readyz(State(board): State<Arc<Board>>) -> Response {
    verdict(&board.unready())
}

async fn metrics(State(board): State<Arc<Board>>) -> Response {
    match board.numbers.render() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind), FRESH], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let kind = "application/json";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind), FRESH], body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn state(State(board): State<Arc<Board>>) -> Response {
    json(&board.state())
}

#[derive(Debug, Deserialize)]
struct Which {
    service: String,
}

async fn readings(State(board): State<Arc<Board>>, Query(which): Query<Which>) -> Response {
    let found =
        which.service.parse::<ServiceName>().ok().and_then(|service| board.readings(&service));
    match found {
        Some(readings) => json(&readings),
        None => (StatusCode::NOT_FOUND, "no such service here\n").into_response(),
    }
}

/// What an inverted health check looks at: 200, with a text that it may search for, takes the region out of the
/// answers, and everything else, silence too, leaves it in.
async fn gate(
    State(board): State<Arc<Board>>,
    Path((service, region, slot)): Path<(String, String, usize)>,
) -> Response {
    let names = service.parse::<ServiceName>().ok().zip(region.parse::<RegionName>().ok());
    let closed =
        names.is_some_and(|(service, region)| board.gates.is_closed(&service, &region, slot));
    let (status, text) =
        if closed { (StatusCode::OK, GATE_CLOSED) } else { (StatusCode::NOT_FOUND, GATE_OPEN) };
    (status, [FRESH], text).into_response()
}

#[cfg(test)]
pub(super) mod tests;
