//! Small real HTTP: a server whose door can be shut or barred to some, and one request on a fresh connection.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections one server holds at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 512;
/// So long the first line of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// A barred caller waits in vain for at most so long.
const SILENCE: Duration = Duration::from_secs(10);
/// Between two tries to open a door again.
const REOPEN_AFTER: Duration = Duration::from_millis(50);
/// Octets of an answer's body that are read.
const BODY_MAX: usize = 64 * 1024;

/// Whoever answers requests.
#[async_trait]
pub trait Answerer: Send + Sync + fmt::Debug + 'static {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>>;
}

/// A plain answer.
pub fn says(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

/// The same, of a kind that is said.
pub fn typed(mut response: Response<Full<Bytes>>, kind: &str) -> Response<Full<Bytes>> {
    if kind.is_empty() {
        return response;
    }
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    }
    response
}

/// Who is let in.
#[derive(Debug, Clone)]
pub struct Door {
    /// A shut door refuses connections, and cuts those that are open.
    pub open: watch::Receiver<bool>,
    /// Callers from these addresses are let in and then met with silence, as if packets got lost.
    pub barred: watch::Receiver<BTreeSet<IpAddr>>,
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, mut door: Door, answerer: Arc<dyn Answerer>) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let open = *door.open.borrow_and_update();
        if !open {
            listener = None;
            connections.shutdown().await;
            if door.open.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(listening) = &listener else {
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                sleep(REOPEN_AFTER).await;
            }
            continue;
        };
        tokio::select! {
            changed = door.open.changed() => if changed.is_err() { return },
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listening.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((_, peer)) if door.barred.borrow().contains(&peer.ip()) => {
                    connections.spawn(silence(accepted.map(|(stream, _)| stream).ok()));
                }
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&answerer)));
                }
                Err(_) => sleep(REOPEN_AFTER).await,
            },
        }
    }
}

async fn silence(stream: Option<TcpStream>) {
    sleep(SILENCE).await;
    drop(stream);
}

async fn converse(stream: TcpStream, answerer: Arc<dyn Answerer>) {
    let service = service_fn(|request| {
        let answerer = Arc::clone(&answerer);
        async move { Ok::<_, Infallible>(answerer.answer(request).await) }
    });
    // A caller that breaks off is its own business.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// One request, and how long all of it may take.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub address: SocketAddr,
    pub source: Option<IpAddr>,
    pub host: &'a str,
    pub path: &'a str,
    pub within: Duration,
}

/// Sends it on a fresh connection. The error is for people.
pub async fn ask(ask: Ask<'_>) -> Result<(StatusCode, Bytes), String> {
    let answer = fetch(ask).await?;
    Ok((answer.status(), answer.into_body()))
}

/// The same, with the head of the answer.
pub async fn fetch(ask: Ask<'_>) -> Result<Response<Bytes>, String> {
    match timeout(ask.within, exchange(ask)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn exchange(
    ask: Ask<'_>,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let socket = TcpSocket::new_v4()?;
    if let Some(source) = ask.source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(ask.address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(ask.path)
        .header(http::header::HOST, ask.host)
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection is over; what it brought can still be taken.
        _ = connection => answer.await,
    }
}
