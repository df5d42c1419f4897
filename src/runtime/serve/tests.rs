//! Those who hold places and say nothing, over real sockets.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::*;
use crate::clock::SystemClock;
use crate::telemetry::Numbers;

const STRANGER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const CHECKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const GATE: &str = "GET /gates/shop/east/0 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// What `run` listens with, its gates among it.
async fn listening() -> (SocketAddr, DropGuard) {
    let board = Arc::new(Board::new(Arc::new(Numbers::new()), Arc::new(SystemClock)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(serve(listener, board, stop.clone()));
    (at, stop.drop_guard())
}

/// A connection from one address of this machine.
pub(in crate::runtime) async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// What comes back until the connection ends; nothing if it is refused.
async fn asks(mut stream: TcpStream, request: &str) -> String {
    let mut answer = Vec::new();
    // Whoever is refused may find that out here.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn whoever_holds_connections_and_says_nothing_closes_no_gate_to_others() {
    let (at, _stop) = listening().await;
    let mut silent = Vec::new();
    for _ in 0..Bounds::FEW.each {
        silent.push(connect(STRANGER, at).await);
    }
    assert_eq!(asks(connect(STRANGER, at).await, GATE).await, "", "one more than an address may");
    let answer = asks(connect(CHECKER, at).await, GATE).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "an open gate, and it says so: {answer}");
    // Who leaves gives the place back.
    silent.pop();
    for _ in 0..2000 {
        if asks(connect(STRANGER, at).await, GATE).await.starts_with("HTTP/1.1 404") {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the place is not given back");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_ended() {
    let (at, _stop) = listening().await;
    let began = Instant::now();
    let mut silent = connect(STRANGER, at).await;
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or_default(), 0);
    assert!(began.elapsed() < CONNECTION_LIFE_MAX / 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_connection_lives_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    let (asked, mut hears) = mpsc::unbounded_channel();
    let router = Router::new().fallback(async move || {
        asked.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    tokio::spawn(serve_router(listener, router, stop, Bounds::FEW));
    let mut stream = connect(STRANGER, at).await;
    stream.write_all(GATE.as_bytes()).await.unwrap();
    hears.recv().await.unwrap();
    // The request is there, and its answer will never be.
    tokio::time::pause();
    let began = Instant::now();
    let ended = timeout(CONNECTION_LIFE_MAX * 2, stream.read(&mut [0; 1])).await;
    assert!(ended.is_ok_and(|read| read.is_ok_and(|octets| octets == 0)), "{:?}", began.elapsed());
}

#[tokio::test]
async fn where_a_connection_may_not_stay_it_ends_with_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    let router = Router::new().fallback(async || "here");
    let bounds = Bounds { connections: 4, each: 4, keep_alive: false };
    tokio::spawn(serve_router(listener, router, stop, bounds));
    let answer = asks(connect(STRANGER, at).await, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // Without it the connection would end as well, half a minute later.
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhere"), "{answer}");
}
