//! An authoritative name server on loopback, over UDP and TCP, that answers what is in force in the zones.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_net::runtime::Time;
use hickory_proto::op::{HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record};
use hickory_server::Server;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use super::zone::{Answer, Found, Zones};
use crate::domain::RecordName;

/// A TCP connection without a question is closed after this long.
const TCP_IDLE: Duration = Duration::from_secs(5);
/// Answers waiting per TCP connection.
const TCP_ANSWERS_MAX: usize = 32;
/// Ports tried until one is free for UDP and TCP alike.
const PORT_TRIES_MAX: usize = 32;
/// Seconds that "there is no such name" may be remembered.
const NOTHING_TTL: u32 = 1;

/// The running server. Stops when dropped.
pub struct NameServer {
    server: Server<Handler>,
    pub address: SocketAddr,
}

impl std::fmt::Debug for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl NameServer {
    /// Listens on `port` of 127.0.0.1; any free one if it is zero.
    pub async fn start(zones: Arc<Zones>, port: u16) -> std::io::Result<Self> {
        let (udp, tcp) = sockets(port).await?;
        let address = udp.local_addr()?;
        let mut server = Server::new(Handler { zones });
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS_MAX);
        Ok(Self { server, address })
    }

    /// Stops listening and waits for open questions.
    pub async fn stop(mut self) {
        // What a server has to say while it ends interests nobody any more.
        let _ = self.server.shutdown_gracefully().await;
    }
}

async fn sockets(port: u16) -> std::io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if port != 0 || tries == PORT_TRIES_MAX => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

struct Handler {
    zones: Arc<Zones>,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let Said { metadata, answers, soa } = self.say(request);
        let message = MessageResponseBuilder::from_message_request(request);
        let none: [&Record; 0] = [];
        let built = message.build(metadata, &answers, none, &soa, none);
        response.send_response(built).await.unwrap_or_else(|_| unsent(metadata))
    }
}

/// The asker went away; the library still wants to know what was said.
fn unsent(metadata: Metadata) -> ResponseInfo {
    hickory_proto::op::Header { metadata, counts: HeaderCounts::default() }.into()
}

/// One answer, not yet written down.
struct Said {
    metadata: Metadata,
    answers: Vec<Record>,
    soa: Vec<Record>,
}

impl Handler {
    fn say(&self, request: &Request) -> Said {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let mut refuse = |code| {
            metadata.response_code = code;
            Said { metadata, answers: Vec::new(), soa: Vec::new() }
        };
        let Ok(info) = request.request_info() else { return refuse(ResponseCode::FormErr) };
        if request.metadata.op_code != OpCode::Query {
            return refuse(ResponseCode::NotImp);
        }
        let asked = info.query.original();
        let Ok(name) = asked.name().to_ascii().parse::<RecordName>() else {
            return refuse(ResponseCode::Refused);
        };
        if asked.query_class() != DNSClass::IN {
            return refuse(ResponseCode::Refused);
        }
        metadata.authoritative = true;
        let answer = self.zones.answer(&name, &asked.query_type().to_string());
        let (answers, soa) = match answer {
            Answer::Found(found) => (records(asked.name(), &found), Vec::new()),
            Answer::NoData { apex } => (Vec::new(), self.soa(&apex)),
            Answer::NoSuchName { apex } => {
                metadata.response_code = ResponseCode::NXDomain;
                (Vec::new(), self.soa(&apex))
            }
            Answer::NotOurs => {
                metadata.authoritative = false;
                metadata.response_code = ResponseCode::Refused;
                (Vec::new(), Vec::new())
            }
        };
        Said { metadata, answers, soa }
    }

    fn soa(&self, apex: &RecordName) -> Vec<Record> {
        let Ok(name) = Name::from_ascii(format!("{apex}.")) else { return Vec::new() };
        match self.zones.answer(apex, "SOA") {
            Answer::Found(found) => records(&name, &Found { ttl: NOTHING_TTL, ..found }),
            Answer::NoData { .. } | Answer::NoSuchName { .. } | Answer::NotOurs => Vec::new(),
        }
    }
}

/// Values that cannot be written as their type are left out, as if they had never been set.
fn records(name: &Name, found: &Found) -> Vec<Record> {
    let data = found.values.iter().filter_map(|value| data(&found.kind, value));
    data.map(|data| Record::from_rdata(name.clone(), found.ttl, data)).collect()
}

fn data(kind: &str, value: &str) -> Option<RData> {
    let name = |text: &str| Name::from_ascii(text).ok();
    match kind {
        "A" => value.parse().ok().map(|address| RData::A(A(address))),
        "AAAA" => value.parse().ok().map(|address| RData::AAAA(AAAA(address))),
        "CNAME" => name(value).map(|name| RData::CNAME(CNAME(name))),
        "NS" => name(value).map(|name| RData::NS(NS(name))),
        "TXT" => Some(RData::TXT(TXT::new(strings(value)))),
        "SOA" => {
            let mut parts = value.split(' ');
            let (first, contact) = (name(parts.next()?)?, name(parts.next()?)?);
            let mut number = || parts.next()?.parse::<u32>().ok();
            let serial = number()?;
            let mut span = || i32::try_from(number()?).ok();
            let (refresh, retry, expire) = (span()?, span()?, span()?);
            let minimum = u32::try_from(span()?).ok()?;
            let soa = SOA::new(first, contact, serial, refresh, retry, expire, minimum);
            Some(RData::SOA(soa))
        }
        _ => None,
    }
}

/// The character strings of a TXT value: quoted, with `\"` and `\\` inside.
fn strings(value: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let mut open: Option<String> = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (&mut open, character) {
            (None, '"') => open = Some(String::new()),
            (None, _) => {}
            (Some(_), '"') => strings.extend(open.take()),
            (Some(text), '\\') => text.extend(characters.next()),
            (Some(text), other) => text.push(other),
        }
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::DnsResolver;
    use crate::clock::SystemClock;
    use crate::domain::{Weight, ZoneId};
    use crate::plan::{RecordData, RecordSet};
    use crate::ports::{CallFailed, Resolver};

    fn record(name: &str, kind: &str, values: Vec<String>) -> RecordSet {
        let weighted = kind == "A";
        RecordSet {
            zone: "ZLAB".parse().unwrap(),
            name: name.parse().unwrap(),
            kind: kind.to_owned(),
            set_identifier: weighted.then(|| "one".to_owned()),
            weight: weighted.then_some(Weight(100)),
            ttl: Some(2),
            data: RecordData::Values(values),
            health_check: None,
            foreign: Vec::new(),
        }
    }

    async fn served() -> NameServer {
        let zones = Zones::new(Arc::new(SystemClock), Duration::ZERO, 1);
        let id: ZoneId = "ZLAB".parse().unwrap();
        let long = (0..20).map(|i| format!("\"{i}{}\"", "x".repeat(200))).collect();
        let records = [
            record("shop.lab.test", "A", vec!["127.0.11.1".to_owned()]),
            record("_leeward.shop.lab.test", "TXT", vec!["\"epoch=1 by=me\"".to_owned()]),
            record("long.lab.test", "TXT", long),
        ];
        zones.add(id, "lab.test".parse().unwrap(), vec!["ns1.lab.test".to_owned()], records);
        NameServer::start(Arc::new(zones), 0).await.unwrap()
    }

    async fn ask(server: &NameServer, name: &str, kind: &str) -> Result<Vec<String>, CallFailed> {
        let resolver = DnsResolver::new(Duration::from_secs(5));
        resolver.ask(&server.address.to_string(), &name.parse().unwrap(), kind).await
    }

    #[tokio::test]
    async fn what_is_in_force_is_answered_with_authority() {
        let server = served().await;
        assert_eq!(ask(&server, "shop.lab.test", "A").await.unwrap(), ["127.0.11.1"]);
        let epoch = ask(&server, "_leeward.shop.lab.test", "TXT").await.unwrap();
        assert_eq!(epoch, ["epoch=1 by=me"]);
        // Too long for a datagram: asked again over TCP.
        assert_eq!(ask(&server, "long.lab.test", "TXT").await.unwrap().len(), 20);
        server.stop().await;
    }

    #[tokio::test]
    async fn what_is_not_ours_is_refused() {
        let server = served().await;
        assert!(ask(&server, "example.org", "A").await.is_err());
        let nothing = ask(&server, "nope.lab.test", "A").await;
        assert!(nothing.as_ref().map_or(true, Vec::is_empty), "{nothing:?}");
        server.stop().await;
    }

    #[test]
    fn a_text_is_taken_out_of_its_quotation_marks() {
        assert_eq!(strings(r#""epoch=1 holder=\"me\"" "b""#), [r#"epoch=1 holder="me""#, "b"]);
        assert!(strings("bare").is_empty());
    }
}
