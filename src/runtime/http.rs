//! One HTTP exchange with somebody we trust only so far: bounded in time and size, no redirects.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::probe::verified_tls;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("`{0}` is not an http or https address")]
    Address(String),
    #[error("connect to `{host}`: {why}")]
    Connect { host: String, why: String },
    #[error("`{host}`: {why}")]
    Broken { host: String, why: String },
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// Largest head of an answer that is read.
const HEAD_MAX: usize = 16 * 1024;

/// What is asked, and how far an answer is waited for.
#[derive(Debug)]
pub struct Ask<'a> {
    pub method: Method,
    pub url: &'a str,
    /// Beside those of every request, or in place of them; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, unless a header says otherwise; empty for a `GET`.
    pub body: Bytes,
    pub answer_max: usize,
    pub within: Duration,
}

/// Asks once, over a fresh connection.
pub async fn ask(ask: Ask<'_>) -> Result<(StatusCode, Bytes), NoAnswer> {
    let answer = fetch(ask).await?;
    Ok((answer.status(), answer.into_body()))
}

/// The same, with the head of the answer.
pub async fn fetch(ask: Ask<'_>) -> Result<Response<Bytes>, NoAnswer> {
    let within = ask.within;
    tokio::time::timeout(within, exchange(ask)).await.map_err(|_| NoAnswer::Late(within))?
}

async fn exchange(ask: Ask<'_>) -> Result<Response<Bytes>, NoAnswer> {
    let odd = || NoAnswer::Address(ask.url.chars().take(200).collect());
    let uri: Uri = ask.url.parse().map_err(|_| odd())?;
    let authority = uri.authority().ok_or_else(odd)?.as_str().to_owned();
    let host = uri.host().ok_or_else(odd)?.trim_matches(['[', ']']).to_owned();
    let (secure, port) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        Some(_) | None => return Err(odd()),
    };
    let port = uri.port_u16().unwrap_or(port);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(ask.method)
        .uri(path)
        .header("host", authority)
        .header("user-agent", concat!("leeward/", env!("CARGO_PKG_VERSION")))
        .header("content-type", "application/json");
    for (name, value) in &ask.headers {
        let value = value.parse().map_err(|_| odd())?;
        request.headers_mut().and_then(|headers| headers.insert(*name, value));
    }
    let request = request.body(Full::new(ask.body)).map_err(|_| odd())?;
    let connect = |why: String| NoAnswer::Connect { host: host.clone(), why };
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|error| connect(error.to_string()))?;
    if !secure {
        return converse(stream, request, ask.answer_max, &host).await;
    }
    let name = ServerName::try_from(host.clone()).map_err(|_| odd())?;
    let connector = verified_tls().map_err(connect)?;
    let stream =
        connector.connect(name, stream).await.map_err(|error| connect(error.to_string()))?;
    converse(stream, request, ask.answer_max, &host).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    answer_max: usize,
    host: &str,
) -> Result<Response<Bytes>, NoAnswer> {
    let broken = |why: String| NoAnswer::Broken { host: host.to_owned(), why };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let answer = async {
        let answer =
            sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, answer_max).collect().await;
        let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    tokio::pin!(answer);
    // The connection is driven here and dropped with us, so that no task outlives the exchange.
    tokio::select! {
        biased;
        result = &mut answer => result,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(broken(error.to_string())),
        },
    }
}
