//! Just enough HTTP/1.1 to look at a message, pass it on, or break it. One message per connection.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Of any message of these tests; a batch of 1,000 changes is below 1 MB.
const MESSAGE_OCTETS_MAX: usize = 16 * 1024 * 1024;

/// The emulators answer within milliseconds, but the first call of a service loads its model.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Request or status line.
    pub(crate) first: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The bytes of the message, to be the last one of its connection.
    pub(crate) fn last(&self) -> Vec<u8> {
        let own = ["connection", "content-length", "transfer-encoding"];
        let mut head = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            if !own.contains(&name.to_ascii_lowercase().as_str()) {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        let _ = write!(head, "connection: close\r\ncontent-length: {}\r\n\r\n", self.body.len());
        [head.into_bytes(), self.body.clone()].concat()
    }

    pub(crate) fn answer(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            first: format!("HTTP/1.1 {status} X"),
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }
}

/// Reads one message. `None` if the peer closed before it began.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if more(stream, &mut bytes).await? == 0 {
            return if bytes.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut body = bytes.split_off(head_end + 4);
    let mut message = Message { first, headers, body: Vec::new() };
    let length = message.header("content-length").and_then(|length| length.parse::<usize>().ok());
    let chunked = message.header("transfer-encoding").is_some_and(|t| t.contains("chunked"));
    if chunked {
        message.body = loop {
            if let Some(whole) = unchunk(&body) {
                break whole;
            }
            if more(stream, &mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
    } else if let Some(length) = length {
        while body.len() < length {
            if more(stream, &mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        message.body = body;
    } else if message.first.starts_with("HTTP/") {
        while more(stream, &mut body).await? > 0 {}
        message.body = body;
    }
    Ok(Some(message))
}

async fn more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<usize> {
    if bytes.len() > MESSAGE_OCTETS_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    stream.read_buf(bytes).await
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The whole body, if the last chunk is there.
fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line_end = find(bytes, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..line_end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        let chunk = bytes.get(line_end + 2..line_end + 2 + size)?;
        bytes = bytes.get(line_end + 2 + size + 2..)?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(chunk);
    }
}

/// A server of our own, at a port of its own, until it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `None` is silence until the client gives up.
    pub(crate) async fn start(
        answer: impl Fn(&Message) -> Option<Message> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                open.spawn(async move {
                    let Ok(Some(request)) = read(&mut client).await else { return };
                    match answer(&request) {
                        Some(answer) => drop(client.write_all(&answer.last()).await),
                        None => drop(read(&mut client).await),
                    }
                });
                while open.try_join_next().is_some() {}
            }
        });
        Self { port, task: task.abort_handle() }
    }
}

/// Sends one message to `127.0.0.1:port` and reads the answer.
pub(crate) async fn exchange(port: u16, request: &Message) -> io::Result<Message> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(&request.last()).await?;
        read(&mut stream).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    timeout(PATIENCE, exchange).await?
}

pub(crate) async fn get(port: u16, path: &str) -> io::Result<Message> {
    call(port, "GET", path, "").await
}

pub(crate) async fn call(port: u16, method: &str, path: &str, json: &str) -> io::Result<Message> {
    let headers = [("host", "127.0.0.1"), ("content-type", "application/json")];
    let request = Message {
        first: format!("{method} {path} HTTP/1.1"),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        body: json.as_bytes().to_vec(),
    };
    exchange(port, &request).await
}
