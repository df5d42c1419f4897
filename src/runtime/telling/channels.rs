//! The channels that a policy names.

use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::line::TRY_WITHIN;
use super::{Bundle, Carrier, Untaken, Way};
use crate::policy::{Channel, Tell};
use crate::runtime::http::{Ask, ask};
use crate::tell::Severity;

/// What a webhook answers is of no interest beyond its status.
const ANSWER_MAX: usize = 64 * 1024;

/// The ways of a policy, in its order.
pub fn ways(tell: &Tell) -> Vec<Way> {
    let way = |(place, channel): (usize, &Channel)| Way {
        name: format!("channel {}", place + 1),
        carrier: Arc::new(channel.clone()),
        from: Severity::Info,
        stands_in: false,
        keeps_alerts: false,
        takes_status: true,
    };
    tell.channels.iter().enumerate().map(way).collect()
}

#[async_trait]
impl Carrier for Channel {
    async fn carry(&self, bundle: &Bundle) -> Result<(), Untaken> {
        for note in &bundle.notes {
            let body = serde_json::to_vec(note)
                .map_err(|error| Untaken { why: error.to_string(), again: false })?;
            match self {
                Self::Webhook { url } => webhook(url, &body).await?,
                Self::Command { program, arguments } => command(program, arguments, &body).await?,
            }
        }
        Ok(())
    }
}

async fn webhook(url: &str, body: &[u8]) -> Result<(), Untaken> {
    let answer = ask(Ask {
        method: Method::POST,
        url,
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body),
        answer_max: ANSWER_MAX,
        within: TRY_WITHIN,
    });
    match answer.await {
        Ok((status, _)) if status.is_success() => Ok(()),
        Ok((status, _)) => {
            let again = status.is_server_error() || status.as_u16() == 429;
            Err(Untaken { why: format!("it answered {status}"), again })
        }
        Err(error) => Err(Untaken { why: error.to_string(), again: true }),
    }
}

async fn command(program: &str, arguments: &[String], body: &[u8]) -> Result<(), Untaken> {
    let broken =
        |error: std::io::Error| Untaken { why: format!("{program}: {error}"), again: false };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Whoever does not end in time is ended with us no longer waiting.
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input may still do its work: its status decides.
        let _ = input.write_all(body).await;
        let _ = input.write_all(b"\n").await;
    }
    let status = child.wait().await.map_err(broken)?;
    if status.success() {
        return Ok(());
    }
    let why = format!("{program} ended with {status}");
    Err(Untaken { why, again: true })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::report::samples;
    use crate::tell::Note;

    fn bundle() -> Bundle {
        let text =
            r#"{"service":"shop","at":0,"severity":"page","about":[],"text":"eu-west-1 is down"}"#;
        let note: Note = serde_json::from_str(text).unwrap();
        Bundle { notes: vec![Note { at: samples::NOW, ..note }] }
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
        channel.carry(&bundle()).await.unwrap();
        let text = heard.await.unwrap();
        assert!(text.starts_with("POST /hook HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("\"text\":\"eu-west-1 is down\""), "{text}");
    }

    #[tokio::test]
    async fn a_webhook_that_refuses_did_not_deliver() {
        let (channel, _heard) = hook("500 Oh").await;
        let untaken = channel.carry(&bundle()).await.unwrap_err();
        assert!(untaken.why.contains("500") && untaken.again, "{untaken:?}");
    }

    #[tokio::test]
    async fn a_program_gets_the_note_on_its_standard_input() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("note");
        let script = format!("cat > {}", file.display());
        let arguments = vec!["-c".to_owned(), script];
        let tell = Channel::Command { program: "sh".to_owned(), arguments };
        tell.carry(&bundle()).await.unwrap();
        assert!(std::fs::read_to_string(file).unwrap().contains("eu-west-1 is down"));
    }
}
