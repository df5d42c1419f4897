//! Mail through one SMTP server (RFC 5321), one connection for each message.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncTransport as _, Message, Tokio1Executor};

use super::secret::read;
use super::{Bundle, Untaken, forms};
use crate::policy::{Mail, MailTls};

/// For each answer of the server; the whole try has its own limit.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

pub(super) async fn send(server: &Mail, bundle: &Bundle) -> Result<(), Untaken> {
    let message = message(server, bundle)?;
    let transport = match server.tls {
        MailTls::Implicit => AsyncSmtpTransport::<Tokio1Executor>::relay(&server.host),
        MailTls::Starttls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&server.host),
        MailTls::Nothing => {
            Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host))
        }
    };
    let mut transport = transport
        .map_err(|error| Untaken::for_good(error.to_string()))?
        .port(server.port)
        .timeout(Some(ANSWER_WITHIN));
    if let (Some(user), Some(password)) = (&server.user, &server.password) {
        transport = transport.credentials(Credentials::new(user.clone(), read(password)?));
    }
    match transport.build().send(message).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Untaken { why: error.to_string(), again: !error.is_permanent() }),
    }
}

fn message(server: &Mail, bundle: &Bundle) -> Result<Message, Untaken> {
    let address = |text: &str| {
        let parsed = text.parse::<Mailbox>();
        parsed.map_err(|error| Untaken::for_good(format!("`{text}`: {error}")))
    };
    let mut message = Message::builder()
        .from(address(&server.sender)?)
        .subject(forms::subject(bundle))
        .header(ContentType::TEXT_PLAIN);
    for to in &server.to {
        message = message.to(address(to)?);
    }
    if let Some(note) = bundle.newest() {
        let (own, first) = forms::message_ids(note);
        if own != first {
            message = message.in_reply_to(first.clone()).references(first);
        }
        message = message.message_id(Some(own));
    }
    let body = forms::everything(bundle);
    message.body(body).map_err(|error| Untaken::for_good(error.to_string()))
}
