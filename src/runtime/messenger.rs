//! Tells people: JSON to a webhook, or on the standard input of a local program. Bounded, never retried
//! here: a note that was not delivered stays so in the journal and is told again by a later round.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;
use tracing::warn;

use crate::policy::{Channel, Tell};
use crate::ports::{CallFailed, Messenger};
use crate::runtime::http::{Ask, ask};
use crate::tell::Note;

/// A round waits for its notes, so a silent channel must not hold it up for longer.
const TELL_WITHIN: Duration = Duration::from_secs(5);
/// What a webhook answers is of no interest beyond its status.
const ANSWER_MAX: usize = 64 * 1024;

/// Tells every channel of a policy.
#[derive(Debug)]
pub struct Channels(Vec<Channel>);

impl Channels {
    /// `None` if the policy names nobody to tell.
    pub fn of(tell: &Tell) -> Option<Arc<dyn Messenger>> {
        (!tell.channels.is_empty())
            .then(|| Arc::new(Self(tell.channels.clone())) as Arc<dyn Messenger>)
    }
}

#[async_trait]
impl Messenger for Channels {
    /// Delivered once one channel took it: another one being down must not repeat it to all.
    async fn send(&self, note: &Note) -> Result<(), CallFailed> {
        let body = serde_json::to_vec(note)
            .map_err(|error| CallFailed::NotSent { why: error.to_string() })?;
        let mut delivered = false;
        let mut last = CallFailed::NotSent { why: "no channel".to_owned() };
        for channel in &self.0 {
            let sent = match channel {
                Channel::Webhook { url } => webhook(url, &body).await,
                Channel::Command { program, arguments } => command(program, arguments, &body).await,
            };
            match sent {
                Ok(()) => delivered = true,
                Err(failure) => {
                    warn!(service = %note.service, %failure, "A note was not delivered.");
                    last = failure;
                }
            }
        }
        if delivered { Ok(()) } else { Err(last) }
    }
}

async fn webhook(url: &str, body: &[u8]) -> Result<(), CallFailed> {
    let answer = ask(Ask {
        method: Method::POST,
        url,
        body: Bytes::copy_from_slice(body),
        answer_max: ANSWER_MAX,
        within: TELL_WITHIN,
    });
    match answer.await {
        Ok((status, _)) if status.is_success() => Ok(()),
        Ok((status, _)) => Err(CallFailed::Refused {
            code: status.as_u16().to_string(),
            why: "the webhook did not take it".to_owned(),
        }),
        Err(error) => Err(CallFailed::Unknown { why: error.to_string() }),
    }
}

async fn command(program: &str, arguments: &[String], body: &[u8]) -> Result<(), CallFailed> {
    let not_sent =
        |error: std::io::Error| CallFailed::NotSent { why: format!("{program}: {error}") };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Whoever does not end in time is ended with us no longer waiting.
        .kill_on_drop(true)
        .spawn()
        .map_err(not_sent)?;
    let run = async {
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read its input may still do its work: its status decides.
            let _ = input.write_all(body).await;
            let _ = input.write_all(b"\n").await;
        }
        child.wait().await
    };
    match timeout(TELL_WITHIN, run).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(CallFailed::Refused {
            code: status.code().map_or("signal".to_owned(), |code| code.to_string()),
            why: format!("{program} did not take it"),
        }),
        Ok(Err(error)) => Err(not_sent(error)),
        Err(_) => Err(CallFailed::Unknown { why: format!("{program} did not end in time") }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::report::samples;
    use crate::tell::Severity;

    fn note() -> Note {
        Note {
            service: "shop".parse().unwrap(),
            at: samples::NOW,
            severity: Severity::Page,
            about: std::collections::BTreeSet::new(),
            text: "eu-west-1 is down".to_owned(),
        }
    }

    fn channels(list: Vec<Channel>) -> Arc<dyn Messenger> {
        Channels::of(&Tell { channels: list, status_every: None }).unwrap()
    }

    /// One answer with this status; gives back what was sent to it.
    async fn hook(status: &'static str) -> (Channel, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"}") {
                let mut part = [0; 1024];
                let read = stream.read(&mut part).await.unwrap();
                text.extend_from_slice(&part[..read]);
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(text).unwrap()
        });
        (Channel::Webhook { url }, heard)
    }

    #[tokio::test]
    async fn a_webhook_gets_the_note_as_json() {
        let (channel, heard) = hook("204 No Content").await;
        channels(vec![channel]).send(&note()).await.unwrap();
        let text = heard.await.unwrap();
        assert!(text.starts_with("POST /hook HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("\"text\":\"eu-west-1 is down\""), "{text}");
    }

    #[tokio::test]
    async fn a_webhook_that_refuses_did_not_deliver() {
        let (channel, _heard) = hook("500 Oh").await;
        let failure = channels(vec![channel]).send(&note()).await.unwrap_err();
        assert!(matches!(failure, CallFailed::Refused { code, .. } if code == "500"));
    }

    #[tokio::test]
    async fn a_program_gets_the_note_on_its_standard_input() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("note");
        let script = format!("cat > {}", file.display());
        let arguments = vec!["-c".to_owned(), script];
        let tell = Channel::Command { program: "sh".to_owned(), arguments };
        channels(vec![tell]).send(&note()).await.unwrap();
        assert!(std::fs::read_to_string(file).unwrap().contains("eu-west-1 is down"));
    }

    #[tokio::test]
    async fn one_channel_that_works_is_enough() {
        let broken = Channel::Command { program: "/does/not/exist".to_owned(), arguments: vec![] };
        let works = Channel::Command { program: "true".to_owned(), arguments: vec![] };
        assert!(channels(vec![broken.clone()]).send(&note()).await.is_err());
        assert!(channels(vec![broken, works]).send(&note()).await.is_ok());
    }
}
