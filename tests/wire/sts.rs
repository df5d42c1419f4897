//! A stand-in for the Security Token Service: `AssumeRole` issues sessions of an hour, by whatever clock
//! it is given, and says in which region it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leeward::domain::Timestamp;

use super::http::{self, Message};

pub(crate) const ASSUME_ROLE: &str = "AssumeRole";
pub(crate) const SESSION: Duration = Duration::from_secs(3600);

/// How the endpoint of one region fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Well,
    /// Answers with a server error.
    Fails,
    /// Says nothing, with the connection held open.
    Hangs,
}

/// All regional endpoints at one address: a request says by its signature which one it was meant for.
/// Ends when dropped.
pub(crate) struct Sts {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _server: http::Server,
}

impl Sts {
    pub(crate) async fn start(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        is: impl Fn(&str) -> Endpoint + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&asked);
        let server = http::Server::start(move |request| {
            let region = signed_for(request).unwrap_or_default();
            noted.lock().unwrap().push(region.clone());
            match is(&region) {
                Endpoint::Well => Some(issued(now())),
                Endpoint::Fails => Some(Message::answer(503, "text/html", "<html>sorry</html>")),
                Endpoint::Hangs => None,
            }
        });
        let server = server.await;
        Self { port: server.port, asked, _server: server }
    }

    /// The regions that sessions were asked for in, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The AWS region that a request was signed for.
pub(crate) fn signed_for(request: &Message) -> Option<String> {
    let scope = request.header("authorization")?;
    scope.split("Credential=").nth(1)?.split('/').nth(2).map(str::to_owned)
}

fn issued(now: Timestamp) -> Message {
    let end = Timestamp::from_millis(now.as_millis() + i64::try_from(SESSION.as_millis()).unwrap());
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><AssumedRoleId>AROA:leeward</AssumedRoleId><Arn>arn:aws:sts::111122223333:assumed-role/leeward/leeward</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>ASIATEST</AccessKeyId><SecretAccessKey>test</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>{end}</Expiration></Credentials></AssumeRoleResult>\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>"
    );
    Message::answer(200, "text/xml", body)
}
