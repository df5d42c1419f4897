//! A name server of a Route 53 zone: says what the TXT record is at the server behind, or lags behind it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hickory_net::runtime::Time;
use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use leeward::domain::{RecordName, ZoneId};
use leeward::plan::RecordData;
use leeward::ports::Weights;
use tokio::net::UdpSocket;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    #[default]
    Well,
    Silent,
    /// `SERVFAIL`
    Failing,
}

/// Ends when dropped.
pub(crate) struct NameServer {
    pub(crate) address: String,
    zone: Zone,
    _server: Server<Zone>,
}

#[derive(Clone)]
struct Zone {
    id: ZoneId,
    records: Arc<dyn Weights>,
    behind: Arc<AtomicBool>,
    mood: Arc<Mutex<Mood>>,
    asked_while_behind: Arc<AtomicUsize>,
}

impl NameServer {
    pub(crate) async fn start(id: ZoneId, records: Arc<dyn Weights>) -> Self {
        let (behind, mood, asked_while_behind) = Default::default();
        let zone = Zone { id, records, behind, mood, asked_while_behind };
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let mut server = Server::new(zone.clone());
        server.register_socket(socket);
        Self { address, zone, _server: server }
    }

    /// From now on it knows of no change, or of every one.
    pub(crate) fn lag(&self, behind: bool) {
        self.zone.behind.store(behind, Ordering::SeqCst);
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.zone.mood.lock().unwrap() = mood;
    }

    /// How often it said that there is nothing.
    pub(crate) fn asked_while_behind(&self) -> usize {
        self.zone.asked_while_behind.load(Ordering::SeqCst)
    }
}

impl Zone {
    async fn texts(&self, name: &RecordName) -> Vec<String> {
        if self.behind.load(Ordering::SeqCst) {
            self.asked_while_behind.fetch_add(1, Ordering::SeqCst);
            return Vec::new();
        }
        let sets = self.records.read(&self.id, Some(name)).await.unwrap();
        let texts = sets.into_iter().find(|set| set.kind == "TXT").map(|set| set.data);
        match texts {
            Some(RecordData::Values(values)) => {
                values.iter().map(|value| value.trim_matches('"').to_owned()).collect()
            }
            Some(RecordData::Alias { .. }) | None => Vec::new(),
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let asked = request.request_info().unwrap().query.original();
        assert_eq!(asked.query_type(), RecordType::TXT);
        let mood = *self.mood.lock().unwrap();
        if mood == Mood::Silent {
            std::future::pending::<()>().await;
        }
        let texts = self.texts(&asked.name().to_ascii().parse().unwrap()).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        if mood == Mood::Failing {
            metadata.response_code = ResponseCode::ServFail;
        } else if texts.is_empty() {
            metadata.response_code = ResponseCode::NXDomain;
        }
        let record =
            |text| Record::from_rdata(asked.name().clone(), 60, RData::TXT(TXT::new(vec![text])));
        let texts = texts.into_iter().filter(|_| mood == Mood::Well);
        let answers: Vec<Record> = texts.map(record).collect();
        let message = MessageResponseBuilder::from_message_request(request);
        let built = message.build(metadata, &answers, [], [], []);
        // The asker may have been killed meanwhile.
        let gone = |_| Header { metadata, counts: HeaderCounts::default() }.into();
        response.send_response(built).await.unwrap_or_else(gone)
    }
}
