//! Asks the name servers of a zone what they really answer.
//!
//! One question to one named server, without a cache in between: a change is in the answers only when
//! each of a zone's servers says so itself. Works without the AWS SDK.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsRequestSender, FirstAnswer};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::domain::RecordName;
use crate::ports::{CallFailed, Resolver};

const DNS_PORT: u16 = 53;

/// Datagrams per question: the first one and two repetitions, spread evenly over the timeout.
const SENDS_MAX: u8 = 3;

/// What fits into a datagram that no network fragments (DNS Flag Day 2020).
const DATAGRAM_OCTETS_MAX: u16 = 1232;

/// Addresses of one server that are tried: a name server has one or two, v4 and v6.
const ADDRESSES_MAX: usize = 4;

/// Values taken from one answer. Route 53 gives one for a weighted name, and 8 at most for others.
const VALUES_MAX: usize = 100;

/// Asks over UDP, and over TCP what does not fit.
#[derive(Debug, Clone, Copy)]
pub struct DnsResolver {
    timeout: Duration,
}

impl DnsResolver {
    /// `timeout` bounds a question to one address over one protocol, repetitions included.
    pub const fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    async fn ask_address(
        &self,
        server: SocketAddr,
        query: &Message,
    ) -> Result<Message, CallFailed> {
        let answer = self.over_udp(server, query).await?;
        if answer.metadata.truncation { self.over_tcp(server, query).await } else { Ok(answer) }
    }

    async fn over_udp(&self, server: SocketAddr, query: &Message) -> Result<Message, CallFailed> {
        let interval = self.timeout / u32::from(SENDS_MAX);
        let mut options = DnsRequestOptions::default();
        options.retry_interval = interval;
        let mut stream = UdpClientStream::builder(server, TokioRuntimeProvider::new())
            .with_timeout(Some(self.timeout))
            .with_max_retries(SENDS_MAX)
            .with_retry_interval_floor(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX))
            .build();
        let sent = stream.send_message(DnsRequest::new(query.clone(), options));
        sent.first_answer()
            .await
            .map(hickory_proto::op::DnsResponse::into_message)
            .map_err(|error| unknown(server, "UDP", &error))
    }

    async fn over_tcp(&self, server: SocketAddr, query: &Message) -> Result<Message, CallFailed> {
        match timeout(self.timeout, exchange_over_tcp(server, query)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unknown(server, "TCP", &error)),
            Err(elapsed) => Err(unknown(server, "TCP", &elapsed)),
        }
    }
}

#[async_trait]
impl Resolver for DnsResolver {
    /// TXT values come as their plain text, the strings of one record put together, without quotation
    /// marks; names without the final dot. Aliases (CNAME) in the answer are followed, not returned,
    /// unless they are what was asked for.
    async fn ask(
        &self,
        server: &str,
        name: &RecordName,
        kind: &str,
    ) -> Result<Vec<String>, CallFailed> {
        let kind = record_type(kind)?;
        let query = question(name, kind)?;
        let mut last = None;
        for address in addresses(server, self.timeout).await? {
            match self.ask_address(address, &query).await {
                Ok(answer) => return values(server, &answer, kind),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| CallFailed::NotSent {
            why: format!("name server `{server}` has no address"),
        }))
    }
}

/// Two octets of length come before each message (RFC 1035, 4.2.2), so nothing is larger than 64 KiB.
async fn exchange_over_tcp(server: SocketAddr, query: &Message) -> std::io::Result<Message> {
    let sent = query.to_vec().map_err(std::io::Error::other)?;
    let length = u16::try_from(sent.len()).map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes()[..], &sent].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(std::io::Error::other)?;
    if answer.metadata.id != query.metadata.id || answer.queries != query.queries {
        return Err(std::io::Error::other("the answer is to another question"));
    }
    Ok(answer)
}

fn record_type(kind: &str) -> Result<RecordType, CallFailed> {
    match kind {
        "A" => Ok(RecordType::A),
        "AAAA" => Ok(RecordType::AAAA),
        "CNAME" => Ok(RecordType::CNAME),
        "TXT" => Ok(RecordType::TXT),
        other => {
            Err(CallFailed::NotSent { why: format!("cannot ask for records of type {other}") })
        }
    }
}

fn question(name: &RecordName, kind: RecordType) -> Result<Message, CallFailed> {
    let asked = Name::from_str(&format!("{name}."))
        .map_err(|error| CallFailed::NotSent { why: format!("cannot ask for {name}: {error}") })?;
    let mut message = Message::query();
    // The authority itself is asked; it has nobody to pass the question on to.
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(asked, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM_OCTETS_MAX);
    message.set_edns(edns);
    Ok(message)
}

/// `host`, `host:port`, an address, or `[v6]:port`.
async fn addresses(server: &str, limit: Duration) -> Result<Vec<SocketAddr>, CallFailed> {
    if let Ok(address) = server.parse() {
        return Ok(vec![address]);
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (
            host,
            port.parse().map_err(|_| CallFailed::NotSent {
                why: format!("`{server}` is not a name server, expected host:port"),
            })?,
        ),
        _ => (server, DNS_PORT),
    };
    let not_sent = |why: String| CallFailed::NotSent {
        why: format!("no address for name server `{server}`: {why}"),
    };
    match timeout(limit, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => Ok(found.take(ADDRESSES_MAX).collect()),
        Ok(Err(error)) => Err(not_sent(error.to_string())),
        Err(elapsed) => Err(not_sent(elapsed.to_string())),
    }
}

/// A server without the authority repeats what it heard some time ago, which proves nothing.
fn values(server: &str, answer: &Message, kind: RecordType) -> Result<Vec<String>, CallFailed> {
    let code = answer.metadata.response_code;
    if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
        return Err(CallFailed::Refused {
            code: format!("{code:?}"),
            why: format!("name server `{server}` says: {code}"),
        });
    }
    if !answer.metadata.authoritative {
        return Err(CallFailed::Refused {
            code: "not authoritative".to_owned(),
            why: format!("name server `{server}` does not serve the zone"),
        });
    }
    if code == ResponseCode::NXDomain {
        return Err(CallFailed::NotFound {
            code: format!("{code:?}"),
            why: format!("name server `{server}` knows no such name"),
        });
    }
    let of_kind = answer.answers.iter().filter(|record| record.record_type() == kind);
    Ok(of_kind.take(VALUES_MAX).map(|record| text(&record.data)).collect())
}

fn text(data: &RData) -> String {
    if let RData::TXT(strings) = data {
        // Shows the strings of the record, one after the other.
        return strings.to_string();
    }
    data.to_string().trim_end_matches('.').to_ascii_lowercase()
}

fn unknown(server: SocketAddr, protocol: &str, error: &dyn std::error::Error) -> CallFailed {
    CallFailed::Unknown {
        why: format!("no answer from name server {server} over {protocol}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_net::runtime::Time;
    use hickory_net::xfer::Protocol;
    use hickory_proto::op::{HeaderCounts, Metadata};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME, TXT};
    use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
    use hickory_server::zone_handler::MessageResponseBuilder;
    use tokio::net::{TcpListener, UdpSocket};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(900);

    /// Serves `api.example.com`, the way each test wants it.
    #[derive(Clone, Default)]
    struct Zone {
        not_authoritative: bool,
        refuse: bool,
        /// So many datagrams are lost first.
        lose: usize,
        datagrams: Arc<AtomicUsize>,
        streams: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl RequestHandler for Zone {
        async fn handle_request<R: ResponseHandler, T: Time>(
            &self,
            request: &Request,
            mut responder: R,
        ) -> ResponseInfo {
            let asked = request.request_info().unwrap();
            let name: Name = asked.query.name().clone().into();
            let mut metadata = Metadata::response_from_request(&request.metadata);
            metadata.authoritative = !self.not_authoritative;
            let over_udp = request.protocol() == Protocol::Udp;
            let count = if over_udp { &self.datagrams } else { &self.streams };
            if count.fetch_add(1, Ordering::SeqCst) < self.lose && over_udp {
                return ResponseInfo::from(hickory_proto::op::Header {
                    metadata,
                    counts: HeaderCounts::default(),
                });
            }
            let record = |data| Record::from_rdata(name.clone(), 60, data);
            let long = || RData::TXT(TXT::new(vec!["x".repeat(255); 8]));
            let mut answers = Vec::new();
            match (name.to_string().as_str(), asked.query.query_type()) {
                _ if self.refuse => metadata.response_code = ResponseCode::Refused,
                ("api.example.com.", RecordType::A) => {
                    answers.push(record(RData::A(A::new(192, 0, 2, 1))));
                }
                ("www.example.com.", RecordType::A | RecordType::CNAME) => {
                    let target: Name = "API.example.com.".parse().unwrap();
                    answers.push(record(RData::CNAME(CNAME(target.clone()))));
                    if asked.query.query_type() == RecordType::A {
                        let data = RData::A(A::new(192, 0, 2, 1));
                        answers.push(Record::from_rdata(target, 60, data));
                    }
                }
                ("_leeward.example.com.", RecordType::TXT) => {
                    let strings = vec!["shop epoch=7 ".to_owned(), "eu=100".to_owned()];
                    answers.push(record(RData::TXT(TXT::new(strings))));
                }
                ("long.example.com.", RecordType::TXT) if over_udp => metadata.truncation = true,
                ("long.example.com.", RecordType::TXT) => answers.push(record(long())),
                ("api.example.com.", _) => {}
                _ => metadata.response_code = ResponseCode::NXDomain,
            }
            let response = MessageResponseBuilder::from_message_request(request);
            let response = response.build(metadata, &answers, [], [], []);
            responder.send_response(response).await.unwrap()
        }
    }

    async fn serve(zone: Zone) -> (Server<Zone>, String) {
        let mut server = Server::new(zone);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        server.register_socket(socket);
        server.register_listener(TcpListener::bind(address).await.unwrap(), TIMEOUT, 512);
        (server, address.to_string())
    }

    async fn ask(server: &str, name: &str, kind: &str) -> Result<Vec<String>, CallFailed> {
        DnsResolver::new(TIMEOUT).ask(server, &name.parse().unwrap(), kind).await
    }

    #[tokio::test]
    async fn an_authoritative_answer_comes_as_text() {
        let (_server, address) = serve(Zone::default()).await;
        for (name, kind, expected) in [
            ("api.example.com", "A", vec!["192.0.2.1"]),
            ("www.example.com", "A", vec!["192.0.2.1"]),
            ("www.example.com", "CNAME", vec!["api.example.com"]),
            ("_leeward.example.com", "TXT", vec!["shop epoch=7 eu=100"]),
            ("api.example.com", "AAAA", vec![]),
        ] {
            assert_eq!(ask(&address, name, kind).await.unwrap(), expected, "{name} {kind}");
        }
        let port = address.rsplit_once(':').unwrap().1;
        let by_host = ask(&format!("localhost:{port}"), "api.example.com", "A").await;
        assert_eq!(by_host.unwrap(), ["192.0.2.1"]);
    }

    #[tokio::test]
    async fn an_answer_without_authority_proves_nothing() {
        let (_server, address) = serve(Zone { not_authoritative: true, ..Zone::default() }).await;
        let answer = ask(&address, "api.example.com", "A").await;
        assert!(matches!(answer, Err(CallFailed::Refused { .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn no_such_name_differs_from_no_such_record_and_from_a_refusal() {
        let (_server, address) = serve(Zone::default()).await;
        let answer = ask(&address, "nobody.example.com", "A").await;
        assert!(matches!(answer, Err(CallFailed::NotFound { .. })), "{answer:?}");
        let (_server, address) = serve(Zone { refuse: true, ..Zone::default() }).await;
        let answer = ask(&address, "api.example.com", "A").await;
        assert!(matches!(answer, Err(CallFailed::Refused { .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn what_does_not_fit_a_datagram_is_asked_again_over_tcp() {
        let zone = Zone::default();
        let (_server, address) = serve(zone.clone()).await;
        let answer = ask(&address, "long.example.com", "TXT").await.unwrap();
        assert_eq!(answer, ["x".repeat(8 * 255)]);
        assert_eq!(zone.datagrams.load(Ordering::SeqCst), 1);
        assert_eq!(zone.streams.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_lost_datagram_is_sent_again() {
        let zone = Zone { lose: 2, ..Zone::default() };
        let (_server, address) = serve(zone.clone()).await;
        assert_eq!(ask(&address, "api.example.com", "A").await.unwrap(), ["192.0.2.1"]);
        assert_eq!(zone.datagrams.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up_in_time() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let started = tokio::time::Instant::now();
        let answer = ask(&address, "api.example.com", "A").await;
        assert!(matches!(answer, Err(CallFailed::Unknown { .. })), "{answer:?}");
        assert!(started.elapsed() < TIMEOUT * 3, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_not_sent() {
        // A label of more than 63 octets is turned down before anybody is asked for it.
        let no_host = "x".repeat(70);
        for (server, kind) in [("127.0.0.1:5353", "MX"), ("127.0.0.1:port", "A"), (&no_host, "A")] {
            let answer = ask(server, "api.example.com", kind).await;
            assert!(matches!(answer, Err(CallFailed::NotSent { .. })), "{server} {answer:?}");
        }
    }
}
