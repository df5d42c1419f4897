//! Each failure as a real listener on loopback makes it.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else is measured fails the test")]

use std::io::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::clock::SystemClock;

const HOST: &str = "shop.example.test";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall ok\n";

fn spec(protocol: ProbeProtocol, port: u16) -> Probe {
    let short = Duration::from_millis(400);
    Probe {
        protocol,
        host: Some(HOST.to_owned()),
        port,
        path: "/health?deep=1".to_owned(),
        every: Duration::from_secs(5),
        timeout: ProbeTimeouts {
            connect: short,
            tls: Duration::from_secs(5),
            first_byte: short,
            body: short,
        },
        expect: ProbeExpect { status: vec![(200, 299)], body_contains: Some("ok".to_owned()) },
        regions: std::collections::BTreeSet::new(),
        from: std::collections::BTreeSet::new(),
    }
}

async fn seen(trust: &Trust, spec: &Probe, source: Option<&str>) -> Sample {
    let target = Target {
        region: "east".parse().unwrap(),
        balancer: Some("web".parse().unwrap()),
        connect: "127.0.0.1".to_owned(),
        source: source.map(|source| source.parse().unwrap()),
    };
    let (signal, vantage) = ("outside".parse().unwrap(), "here".parse().unwrap());
    let probe =
        probe_trusting(trust, &signal, Class::Outside, spec, &target, &vantage, &SystemClock);
    tokio::time::timeout(Duration::from_secs(20), probe).await.expect("a probe ends by itself")
}

async fn measure(spec: &Probe) -> Measure {
    seen(&Trust::in_roots(Err("none".to_owned())), spec, None).await.measure
}

fn failure(measure: &Measure) -> Option<ProbeFailure> {
    match measure {
        Measure::Probe { success, failure, .. } => {
            assert_eq!(*success < 0.5, failure.is_some(), "{measure:?}");
            *failure
        }
        other => panic!("not a probe: {other:?}"),
    }
}

/// A listener that reads one request head and then does as told; ends with the test.
struct Server {
    port: u16,
    heads: mpsc::UnboundedReceiver<(SocketAddr, String)>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server<F, R>(act: F) -> Server
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heads) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, from)) = listener.accept().await {
            let head = head(&mut stream).await;
            sender.send((from, head)).ok();
            act(stream).await;
        }
    });
    Server { port, heads, task }
}

async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") && read.len() < 4096 {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

async fn says(answer: &'static [u8]) -> Server {
    server(move |mut stream| async move {
        stream.write_all(answer).await.ok();
        stream.shutdown().await.ok();
        // Wait for the other side, so that nothing unread turns the end into a reset.
        tokio::time::timeout(Duration::from_secs(2), head(&mut stream)).await.ok();
    })
    .await
}

async fn after_saying(answer: &'static [u8]) -> Option<ProbeFailure> {
    let server = says(answer).await;
    failure(&measure(&spec(ProbeProtocol::Http, server.port)).await)
}

#[tokio::test]
async fn a_good_answer_is_a_success_with_a_latency() {
    let server = says(OK).await;
    let sample = seen(
        &Trust::in_roots(Err("none".to_owned())),
        &spec(ProbeProtocol::Http, server.port),
        None,
    )
    .await;
    assert_eq!(failure(&sample.measure), None);
    let Measure::Probe { latency_ms: Some(latency), .. } = sample.measure else { panic!() };
    assert!(latency > 0.0 && latency < 5000.0);
    assert_eq!(sample.about.region.unwrap().as_str(), "east");
    assert_eq!(sample.about.balancer.unwrap().as_str(), "web");
    assert_eq!(sample.about.vantage.unwrap().as_str(), "here");
    assert!(sample.taken_at <= sample.heard_at && sample.taken_at.as_secs() > 0);
}

#[tokio::test]
async fn the_service_name_is_sent_whatever_is_connected_to() {
    let mut server = says(OK).await;
    let trust = Trust::in_roots(Err("none".to_owned()));
    seen(&trust, &spec(ProbeProtocol::Http, server.port), Some("127.0.0.77")).await;
    let (from, head) = server.heads.recv().await.unwrap();
    assert!(head.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {HOST}:{}\r\n", server.port)), "{head}");
    assert!(head.contains("user-agent: leeward/"), "{head}");
    assert_eq!(from.ip().to_string(), "127.0.0.77");
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    for protocol in [ProbeProtocol::Http, ProbeProtocol::Tcp] {
        let refused = measure(&spec(protocol, port)).await;
        assert_eq!(failure(&refused), Some(ProbeFailure::ConnectRefused));
    }
}

#[tokio::test]
async fn a_full_backlog_is_a_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let connect = TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(150), connect).await {
            Ok(Ok(stream)) => waiting.push(stream),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    assert!(waiting.len() < 8, "the backlog never fills");
    let late = measure(&spec(ProbeProtocol::Tcp, address.port())).await;
    assert_eq!(failure(&late), Some(ProbeFailure::ConnectTimeout));
}

#[tokio::test]
async fn a_listener_is_enough_for_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(failure(&measure(&spec(ProbeProtocol::Tcp, port)).await), None);
}

#[tokio::test]
async fn silence_after_the_request_is_a_first_byte_timeout() {
    let silent = server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(stream);
    });
    let silent = silent.await;
    let late = measure(&spec(ProbeProtocol::Http, silent.port)).await;
    assert_eq!(failure(&late), Some(ProbeFailure::FirstByteTimeout));
}

#[tokio::test]
async fn a_body_that_stops_is_a_body_timeout() {
    let stuck = server(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await.ok();
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let stuck = stuck.await;
    let late = measure(&spec(ProbeProtocol::Http, stuck.port)).await;
    assert_eq!(failure(&late), Some(ProbeFailure::BodyTimeout));
}

#[tokio::test]
async fn half_a_body_and_no_answer_at_all_are_resets() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok, but hal";
    assert_eq!(after_saying(half).await, Some(ProbeFailure::Reset));
    assert_eq!(after_saying(b"").await, Some(ProbeFailure::Reset));
    let rude = server(|stream| async move {
        stream.set_zero_linger().unwrap();
        drop(stream);
    });
    let cut = measure(&spec(ProbeProtocol::Http, rude.await.port)).await;
    assert_eq!(failure(&cut), Some(ProbeFailure::Reset));
}

#[tokio::test]
async fn an_unexpected_status_is_named_and_a_redirect_is_not_followed() {
    let busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(after_saying(busy).await, Some(ProbeFailure::Status(503)));
    let away = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/ok\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(after_saying(away).await, Some(ProbeFailure::Status(302)));
}

#[tokio::test]
async fn a_body_without_the_text_fails() {
    let sick = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick";
    assert_eq!(after_saying(sick).await, Some(ProbeFailure::Body));
}

#[tokio::test]
async fn only_the_first_16_kib_of_a_body_count() {
    let long = |before: usize| {
        server(move |mut stream| async move {
            let body = format!("{}ok", " ".repeat(before));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30);
            stream.write_all(head.as_bytes()).await.ok();
            stream.write_all(body.as_bytes()).await.ok();
            stream.write_all(&vec![b' '; 64 * 1024]).await.ok();
            tokio::time::timeout(Duration::from_secs(2), stream.read_u8()).await.ok();
        })
    };
    let (near, far) = (long(16 * 1024 - 2).await, long(16 * 1024 - 1).await);
    assert_eq!(failure(&measure(&spec(ProbeProtocol::Http, near.port)).await), None);
    let missed = measure(&spec(ProbeProtocol::Http, far.port)).await;
    assert_eq!(failure(&missed), Some(ProbeFailure::Body));
}

#[tokio::test]
async fn what_is_not_http_is_garbage() {
    assert_eq!(after_saying(b"220 smtp.example.test ready\r\n").await, Some(ProbeFailure::Garbage));
    assert_eq!(after_saying(b"\x15\x03\x03\x00\x02\x02\x46").await, Some(ProbeFailure::Garbage));
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n";
    assert_eq!(after_saying(chunks).await, Some(ProbeFailure::Garbage));
}

#[tokio::test]
async fn a_head_without_end_is_garbage() {
    let endless = server(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.ok();
        for _ in 0..64 {
            if stream.write_all(&[b'x'; 4096]).await.is_err() {
                break;
            }
        }
        tokio::time::timeout(Duration::from_secs(2), stream.read_u8()).await.ok();
    });
    let flooded = measure(&spec(ProbeProtocol::Http, endless.await.port)).await;
    assert_eq!(failure(&flooded), Some(ProbeFailure::Garbage));
}

#[tokio::test]
async fn trouble_of_our_own_says_nothing_about_the_region() {
    let server = says(OK).await;
    let trust = Trust::in_roots(Err("no roots here".to_owned()));
    // An address that is not ours, from the block for documentation.
    let sample = seen(&trust, &spec(ProbeProtocol::Http, server.port), Some("192.0.2.1")).await;
    assert!(matches!(sample.measure, Measure::NoProbe { .. }), "{sample:?}");
    let https = ProbeProtocol::Https { verify: Verify::Certificate };
    let Measure::NoProbe { why } = measure(&spec(https, server.port)).await else { panic!() };
    assert_eq!(why, "none");
}

#[test]
fn errors_of_this_machine_are_told_from_errors_of_the_other_side() {
    let of = |code| wire::ours_for_tests(&Error::from_raw_os_error(code));
    for code in [23, 24, 12, 105, 1, 13] {
        assert_eq!(of(code), Some("machine"), "{code}");
    }
    for code in [99, 100, 101, 113] {
        assert_eq!(of(code), Some("network"), "{code}");
    }
    for code in [104, 110, 111] {
        assert_eq!(of(code), None, "{code}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_does_not_resolve() {
    // `.invalid` never exists (RFC 6761). Without a resolver at all nobody can say so.
    let spec = spec(ProbeProtocol::Tcp, 9);
    let target = Target {
        region: "east".parse().unwrap(),
        balancer: None,
        connect: "nowhere.invalid".to_owned(),
        source: None,
    };
    let (signal, vantage) = ("outside".parse().unwrap(), "here".parse().unwrap());
    let sample = probe(&signal, Class::Outside, &spec, &target, &vantage, &SystemClock).await;
    match sample.measure {
        Measure::Probe { failure, .. } => assert_eq!(failure, Some(ProbeFailure::Resolve)),
        Measure::NoProbe { why } => assert!(why.contains("looking up"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A TLS listener with a certificate for [`HOST`], and the roots that believe it.
async fn tls_server() -> (u16, mpsc::UnboundedReceiver<Option<String>>, RootCertStore) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    tls_server_with(made.cert.der().clone(), made.signing_key.serialize_der()).await
}

async fn tls_server_with(
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
) -> (u16, mpsc::UnboundedReceiver<Option<String>>, RootCertStore) {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, names) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            sender.send(stream.get_ref().1.server_name().map(str::to_owned)).ok();
            head(&mut stream).await;
            stream.write_all(OK).await.ok();
            stream.shutdown().await.ok();
        }
    });
    (port, names, roots)
}

#[tokio::test]
async fn a_certificate_is_believed_only_if_a_root_vouches_for_the_name() {
    let (port, mut names, roots) = tls_server().await;
    let verified = spec(ProbeProtocol::Https { verify: Verify::Certificate }, port);
    let believed = Trust::in_roots(Ok(roots));
    assert_eq!(failure(&seen(&believed, &verified, None).await.measure), None);
    assert_eq!(names.recv().await.unwrap().as_deref(), Some(HOST), "the name sent as SNI");

    let doubted = Trust::in_roots(Ok(RootCertStore::empty()));
    let sample = seen(&doubted, &verified, None).await;
    assert_eq!(failure(&sample.measure), Some(ProbeFailure::CertificateUntrusted));
    let other = Probe { host: Some("other.example.test".to_owned()), ..verified };
    let sample = seen(&believed, &other, None).await;
    assert_eq!(failure(&sample.measure), Some(ProbeFailure::CertificateName));
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_called_so() {
    let mut asked = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap();
    (asked.not_before, asked.not_after) =
        (rcgen::date_time_ymd(2019, 1, 1), rcgen::date_time_ymd(2020, 1, 1));
    let key = rcgen::KeyPair::generate().unwrap();
    let made = asked.self_signed(&key).unwrap();
    let (port, _names, roots) = tls_server_with(made.der().clone(), key.serialize_der()).await;
    let verified = spec(ProbeProtocol::Https { verify: Verify::Certificate }, port);
    let sample = seen(&Trust::in_roots(Ok(roots)), &verified, None).await;
    assert_eq!(failure(&sample.measure), Some(ProbeFailure::CertificateExpired));
}

#[tokio::test]
async fn verify_nothing_takes_any_certificate() {
    let (port, mut names, _) = tls_server().await;
    let blind = spec(ProbeProtocol::Https { verify: Verify::Nothing }, port);
    assert_eq!(failure(&measure(&blind).await), None);
    assert_eq!(names.recv().await.unwrap().as_deref(), Some(HOST));
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_a_tls_failure() {
    let server = says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let mut spec = spec(ProbeProtocol::Https { verify: Verify::Nothing }, server.port);
    spec.timeout.tls = Duration::from_millis(500);
    assert_eq!(failure(&measure(&spec).await), Some(ProbeFailure::Tls));
}

async fn beacon_at(url: &str) -> Measure {
    let (signal, vantage) = ("beacon".parse().unwrap(), "here".parse().unwrap());
    let timeout = Duration::from_millis(400);
    beacon(&signal, Class::Context, url, timeout, &vantage, None, &SystemClock).await.measure
}

#[tokio::test]
async fn a_beacon_is_lit_by_any_answer() {
    let busy = says(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await;
    let lit = beacon_at(&format!("http://127.0.0.1:{}/", busy.port)).await;
    assert_eq!(lit, Measure::Beacon { success: 1.0 });
}

#[tokio::test]
async fn a_beacon_that_nobody_answers_is_dark() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let dark = beacon_at(&format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(dark, Measure::Beacon { success: 0.0 });
    assert!(matches!(beacon_at("ftp://example.test/").await, Measure::NoProbe { .. }));
}
