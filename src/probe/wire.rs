//! One exchange on a fresh connection, phase by phase, and what its end means.

use std::error::Error as _;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError};

use super::trust::Trust;
use crate::health::ProbeFailure;
use crate::policy::{ProbeExpect, ProbeProtocol, ProbeTimeouts};

/// So much of a body is read; `body_contains` is looked for in it.
const BODY_MAX: usize = 16 * 1024;
/// A head larger than this is garbage. Load balancers refuse well below (ALB: 64 KiB in all).
const HEAD_MAX: usize = 64 * 1024;
/// A name with more addresses is cut. Large ALBs answer 8 at a time.
const ADDRESSES_MAX: usize = 32;

/// All that one exchange needs.
pub(super) struct Call<'a> {
    pub(super) protocol: ProbeProtocol,
    pub(super) connect: &'a str,
    pub(super) source: Option<IpAddr>,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) path: &'a str,
    pub(super) timeout: ProbeTimeouts,
    pub(super) expect: &'a ProbeExpect,
}

/// What the other side did.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) failure: Option<ProbeFailure>,
    /// From the first packet to the last byte that was read; absent without an answer.
    pub(super) latency: Option<Duration>,
}

/// What kept us from asking. Says nothing about the other side.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No way out of this machine.
    Network(String),
    /// No file handles, no roots, a request that cannot be built.
    Machine(String),
}

/// The end of an exchange that did not go to its end.
#[derive(Debug)]
enum Ended {
    Failed(ProbeFailure),
    Ours(Trouble),
}

impl From<ProbeFailure> for Ended {
    fn from(failure: ProbeFailure) -> Self {
        Self::Failed(failure)
    }
}

pub(super) async fn call(trust: &Trust, call: &Call<'_>) -> Result<Seen, Trouble> {
    match exchange(trust, call).await {
        Ok(seen) => Ok(seen),
        Err(Ended::Failed(failure)) => Ok(Seen { failure: Some(failure), latency: None }),
        Err(Ended::Ours(trouble)) => Err(trouble),
    }
}

async fn exchange(trust: &Trust, call: &Call<'_>) -> Result<Seen, Ended> {
    let deadline = Instant::now() + call.timeout.connect;
    let addresses = resolve(call, deadline).await?;
    let begun = Instant::now();
    let stream = connect(call, &addresses, deadline).await?;
    let failure = match call.protocol {
        ProbeProtocol::Tcp => None,
        ProbeProtocol::Http => converse(call, stream).await?,
        ProbeProtocol::Https { verify } => {
            let machine = |why: String| Ended::Ours(Trouble::Machine(why));
            let connector = trust.connector(verify).map_err(machine)?;
            let name = ServerName::try_from(call.host.to_owned())
                .map_err(|_| machine(format!("`{}` is no name for TLS", call.host)))?;
            let secured = timeout(call.timeout.tls, connector.connect(name, stream))
                .await
                .map_err(|_| ProbeFailure::Tls)?
                .map_err(|error| broken(&error).unwrap_or_else(|| unsecured(&error)))?;
            converse(call, secured).await?
        }
    };
    Ok(Seen { failure, latency: Some(begun.elapsed()) })
}

/// The addresses to try, beginning with another one each time: a balancer has several nodes, and each
/// of them shall be seen.
async fn resolve(call: &Call<'_>, deadline: Instant) -> Result<Vec<SocketAddr>, Ended> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let looked_up = tokio::time::timeout_at(deadline, lookup_host((call.connect, call.port))).await;
    let found: Vec<SocketAddr> = match looked_up {
        Ok(Ok(found)) => found.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => return Err(unresolved(call.connect, &error)),
        // Our own resolver is silent; whether the name exists is not known.
        Err(_) => {
            let why = format!("looking up `{}` took too long", call.connect);
            return Err(Ended::Ours(Trouble::Network(why)));
        }
    };
    let mut found: Vec<SocketAddr> = found
        .into_iter()
        .filter(|address| call.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()))
        .collect();
    if found.is_empty() {
        return Err(ProbeFailure::Resolve.into());
    }
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % found.len();
    found.rotate_left(turn);
    Ok(found)
}

/// Tells "there is no such name" from "nobody could be asked". The standard library has no other
/// mark for the second than glibc's and musl's words for `EAI_AGAIN`.
fn unresolved(name: &str, error: &Error) -> Ended {
    let text = error.to_string();
    if text.contains("emporary failure") || text.contains("Try again") {
        return Ended::Ours(Trouble::Network(format!("looking up `{name}`: {text}")));
    }
    ours(error).map_or(Ended::Failed(ProbeFailure::Resolve), Ended::Ours)
}

/// Connects to the first address that can be reached from here at all. An address whose balancer
/// refuses or stays silent ends the probe: trying the next one would hide a dead node.
async fn connect(
    call: &Call<'_>,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, Ended> {
    let mut trouble = Trouble::Network(format!("`{}` has no address", call.connect));
    for address in addresses {
        let tried = tokio::time::timeout_at(deadline, connect_to(*address, call.source)).await;
        match tried {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => match ours(&error) {
                Some(found) => trouble = found,
                None => return Err(not_connected(&error).into()),
            },
            Err(_) => return Err(ProbeFailure::ConnectTimeout.into()),
        }
    }
    Err(Ended::Ours(trouble))
}

async fn connect_to(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Error> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Troubles of this machine or its network, which would look the same whatever is at the other end.
fn ours(error: &Error) -> Option<Trouble> {
    const NO_FILE_HANDLES: [i32; 2] = [23 /* ENFILE */, 24 /* EMFILE */];
    const NO_MEMORY: [i32; 2] = [12 /* ENOMEM */, 105 /* ENOBUFS */];
    const FORBIDDEN_HERE: [i32; 2] = [1 /* EPERM: a local firewall */, 13 /* EACCES */];
    if let Some(code) = error.raw_os_error()
        && [NO_FILE_HANDLES, NO_MEMORY, FORBIDDEN_HERE].concat().contains(&code)
    {
        return Some(Trouble::Machine(error.to_string()));
    }
    matches!(
        error.kind(),
        ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::AddrInUse
    )
    .then(|| Trouble::Network(error.to_string()))
}

#[cfg(test)]
pub(super) fn ours_for_tests(error: &Error) -> Option<&'static str> {
    ours(error).map(|trouble| match trouble {
        Trouble::Network(_) => "network",
        Trouble::Machine(_) => "machine",
    })
}

fn not_connected(error: &Error) -> ProbeFailure {
    if error.kind() == ErrorKind::ConnectionRefused {
        ProbeFailure::ConnectRefused
    } else if error.kind() == ErrorKind::TimedOut {
        ProbeFailure::ConnectTimeout
    } else {
        ProbeFailure::Reset
    }
}

/// A connection that was cut, as opposed to one on which something wrong was said.
fn broken(error: &Error) -> Option<ProbeFailure> {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
    .then_some(ProbeFailure::Reset)
}

/// Why a handshake failed, where it was the certificate.
fn unsecured(error: &Error) -> ProbeFailure {
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(why)) = said else { return ProbeFailure::Tls };
    if matches!(why, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
        return ProbeFailure::CertificateExpired;
    }
    if matches!(
        why,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    ) {
        return ProbeFailure::CertificateName;
    }
    if *why == CertificateError::UnknownIssuer {
        return ProbeFailure::CertificateUntrusted;
    }
    ProbeFailure::Tls
}

/// Asks for the path and looks at what comes. `None` is success.
async fn converse<S>(call: &Call<'_>, stream: S) -> Result<Option<ProbeFailure>, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let request = request(call).map_err(|error| {
        Ended::Ours(Trouble::Machine(format!("the request cannot be built: {error}")))
    })?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| meaning(&error))?;
    let mut connection = Driven { connection: Box::pin(connection), ended: false };
    let answer = connection.until(timeout(call.timeout.first_byte, sender.send_request(request)));
    let response = answer
        .await
        .map_err(|_| ProbeFailure::FirstByteTimeout)?
        .map_err(|error| meaning(&error))?;
    let status = response.status().as_u16();
    if !call.expect.status.iter().any(|(low, high)| (*low..=*high).contains(&status)) {
        return Ok(Some(ProbeFailure::Status(status)));
    }
    let body = connection.until(timeout(call.timeout.body, beginning(response)));
    let body =
        body.await.map_err(|_| ProbeFailure::BodyTimeout)?.map_err(|error| meaning(&error))?;
    let wanted = call.expect.body_contains.as_deref();
    Ok(wanted.filter(|text| !contains(&body, text)).map(|_| ProbeFailure::Body))
}

/// As Route 53's checkers do, the port is named unless it is the usual one.
fn request(call: &Call<'_>) -> Result<Request<Empty<Bytes>>, http::Error> {
    let usual = match call.protocol {
        ProbeProtocol::Http | ProbeProtocol::Tcp => 80,
        ProbeProtocol::Https { .. } => 443,
    };
    let name =
        if call.host.contains(':') { format!("[{}]", call.host) } else { call.host.to_owned() };
    let host = if call.port == usual { name } else { format!("{name}:{}", call.port) };
    Request::get(call.path)
        .header(http::header::HOST, host)
        .header(http::header::USER_AGENT, concat!("leeward/", env!("CARGO_PKG_VERSION")))
        .header(http::header::ACCEPT, "*/*")
        .header(http::header::CONNECTION, "close")
        .body(Empty::new())
}

/// Reads the body up to [`BODY_MAX`]; what lies behind is left unread.
async fn beginning(response: Response<Incoming>) -> Result<BytesMut, hyper::Error> {
    let mut body = response.into_body();
    let mut read = BytesMut::new();
    while read.len() < BODY_MAX {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            let room = BODY_MAX - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(read)
}

fn contains(body: &[u8], text: &str) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What hyper's error says about the other side.
fn meaning(error: &hyper::Error) -> ProbeFailure {
    if error.is_parse() {
        return ProbeFailure::Garbage;
    }
    let mut cause = error.source();
    while let Some(found) = cause {
        // Hyper's word for a broken chunk, and rustls's for a broken record after a good handshake.
        if let Some(io) = found.downcast_ref::<Error>()
            && matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput)
        {
            return ProbeFailure::Garbage;
        }
        cause = found.source();
    }
    ProbeFailure::Reset
}

/// The connection, run by whoever waits for something from it: no task of its own to be forgotten.
struct Driven<C> {
    connection: Pin<Box<C>>,
    ended: bool,
}

impl<C: Future> Driven<C> {
    async fn until<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = &mut self.connection, if !self.ended => self.ended = true,
            }
        }
    }
}
