//! Calls the operator's hooks: local programs and HTTP addresses. Each runs in a task of its own, so that
//! a round never waits for one; what it said comes back with a later round.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::plan::{HookAnswer, HookCall, HookEnd};
use crate::policy::{Hook, HookDoes, Secret};
use crate::ports::Hooks;
use crate::runtime::http::{Ask, ask};
use crate::runtime::secret;

/// What is kept of what a hook says: a screen for the journal, not a log file.
const KEPT_BYTES: usize = 2048;
/// What is read of it at most. The rest is read and thrown away, so that a full pipe stops nobody.
const READ_BYTES: usize = 64 * 1024;
/// Exit status and HTTP status of a veto, as opposed to a failure.
const VETO_EXIT: i32 = 3;
const VETO_STATUS: u16 = 409;

/// Runs hooks of one service.
#[derive(Debug, Default, Clone)]
pub struct HookRunner {
    ended: Arc<Mutex<Vec<HookEnd>>>,
}

impl Hooks for HookRunner {
    fn begin(&self, hook: &Hook, call: &HookCall) {
        let (ended, hook, call) = (Arc::clone(&self.ended), hook.clone(), call.clone());
        tokio::spawn(async move {
            let (answer, says) = run(&hook.does, hook.timeout, &call).await;
            let end = HookEnd { key: call.key, attempt: call.attempt, answer, says: kept(&says) };
            ended.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        });
    }

    fn ended(&self) -> Vec<HookEnd> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn run(does: &HookDoes, within: Duration, call: &HookCall) -> (HookAnswer, String) {
    let body = match serde_json::to_vec(call) {
        Ok(body) => body,
        Err(error) => return (HookAnswer::Failed, error.to_string()),
    };
    let work = async {
        match does {
            HookDoes::Run { program, arguments } => program_says(program, arguments, &body).await,
            HookDoes::Call { url, token_file } => {
                address_says(url, token_file.as_deref(), &body, within, call).await
            }
        }
    };
    match timeout(within, work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => (HookAnswer::Failed, why),
        Err(_) => (HookAnswer::Failed, format!("it did not end within {within:?}")),
    }
}

/// Dropping the future ends the program, and not what that has started: its whole group could be ended only with
/// a library that calls the system for us.
async fn program_says(
    program: &str,
    arguments: &[String],
    body: &[u8],
) -> Result<(HookAnswer, String), String> {
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let tell = async {
        if let Some(mut input) = input {
            // A program that does not read its input may still do its work: its status decides.
            let _ = input.write_all(body).await;
            let _ = input.write_all(b"\n").await;
        }
    };
    let ((), said, complained) = tokio::join!(tell, all_of(output), all_of(errors));
    let status = child.wait().await.map_err(failed)?;
    let says = [said, complained].join("\n").trim().to_owned();
    let answer = match status.code() {
        Some(0) => HookAnswer::Yes,
        Some(VETO_EXIT) => HookAnswer::Veto,
        Some(_) | None => HookAnswer::Failed,
    };
    let says = if says.is_empty() && answer != HookAnswer::Yes { status.to_string() } else { says };
    Ok((answer, says))
}

/// Reads to the end and keeps the beginning: a full pipe would keep the program from ending.
async fn all_of(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut kept = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read) = from.read(&mut part).await {
        let Some(new) = part.get(..read).filter(|new| !new.is_empty()) else { break };
        if kept.len() < READ_BYTES {
            kept.extend_from_slice(new);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

async fn address_says(
    url: &str,
    token_file: Option<&str>,
    body: &[u8],
    within: Duration,
    call: &HookCall,
) -> Result<(HookAnswer, String), String> {
    let mut headers = vec![("idempotency-key", call.key.clone())];
    if let Some(path) = token_file {
        headers.push(("authorization", format!("Bearer {}", token(path)?)));
    }
    let asked = ask(Ask {
        method: Method::POST,
        url,
        headers,
        body: Bytes::copy_from_slice(body),
        answer_max: READ_BYTES,
        within,
    });
    let (status, answer) = asked.await.map_err(|error| error.to_string())?;
    let says = String::from_utf8_lossy(&answer).trim().to_owned();
    let says = if says.is_empty() { format!("status {status}") } else { says };
    Ok(match status.as_u16() {
        200..300 => (HookAnswer::Yes, says),
        VETO_STATUS => (HookAnswer::Veto, says),
        _ => (HookAnswer::Failed, format!("status {status}: {says}")),
    })
}

fn token(path: &str) -> Result<String, String> {
    let text =
        secret::text(&Secret::File(path.to_owned())).map_err(|error| format!("{path}: {error}"))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(format!("{path}: expected one word, the token"));
    }
    Ok(token.to_owned())
}

/// The beginning, on a character's border.
fn kept(says: &str) -> String {
    let end = says.char_indices().map(|(at, _)| at).find(|at| *at >= KEPT_BYTES);
    match end.and_then(|end| says.get(..end)) {
        Some(beginning) => format!("{beginning}…"),
        None => says.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::policy::{HookPhase, IfItFails};

    fn call() -> HookCall {
        HookCall {
            service: "shop".parse().unwrap(),
            hook: "freeze".to_owned(),
            phase: HookPhase::Before,
            key: "shop/freeze/1".to_owned(),
            attempt: 1,
            purpose: None,
            from: None,
            to: None,
            version: None,
            because: "a test".to_owned(),
        }
    }

    async fn says(does: HookDoes, within: Duration) -> HookEnd {
        let hook = Hook {
            name: "freeze".to_owned(),
            does,
            timeout: within,
            if_it_fails: IfItFails::Veto,
            moves: std::collections::BTreeSet::new(),
        };
        let runner = HookRunner::default();
        runner.begin(&hook, &call());
        loop {
            if let Some(end) = runner.ended().pop() {
                return end;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn shell(script: &str) -> HookDoes {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        HookDoes::Run { program: "/bin/sh".to_owned(), arguments }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_program_gets_the_call_and_its_status_is_the_answer() {
        let end = says(shell("cat"), LONG).await;
        assert_eq!(end.answer, HookAnswer::Yes);
        assert!(end.says.contains(r#""key":"shop/freeze/1""#), "{}", end.says);
        let end = says(shell("echo not now; exit 3"), LONG).await;
        assert_eq!((end.answer, end.says.as_str()), (HookAnswer::Veto, "not now"));
        let end = says(shell("echo broken >&2; exit 1"), LONG).await;
        assert_eq!((end.answer, end.says.as_str()), (HookAnswer::Failed, "broken"));
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_ended() {
        let end = says(shell("sleep 60"), Duration::from_millis(50)).await;
        assert_eq!(end.answer, HookAnswer::Failed);
        assert!(end.says.contains("did not end"), "{}", end.says);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_fails_with_its_name() {
        let program = "/nowhere/at/all".to_owned();
        let end = says(HookDoes::Run { program, arguments: Vec::new() }, LONG).await;
        assert_eq!(end.answer, HookAnswer::Failed);
        assert!(end.says.contains("/nowhere/at/all"), "{}", end.says);
    }

    #[tokio::test]
    async fn a_talkative_program_ends_and_little_of_it_is_kept() {
        let end = says(shell("head -c 1000000 /dev/zero | tr '\\0' 'ä'"), LONG).await;
        assert_eq!(end.answer, HookAnswer::Yes);
        assert!(end.says.len() <= KEPT_BYTES + 8, "{}", end.says.len());
    }

    /// One exchange: what was asked comes back, `status` goes out.
    async fn address(status: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/freeze", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            let mut part = [0; 4096];
            while !text.contains("a test") {
                let read = stream.read(&mut part).await.unwrap();
                text.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            let body = "half the batch runs";
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            text
        });
        (url, heard)
    }

    #[tokio::test]
    async fn an_address_gets_the_key_and_the_token_and_may_veto() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let (url, heard) = address("409 Conflict").await;
        let token_file = Some(file.to_str().unwrap().to_owned());
        let end = says(HookDoes::Call { url, token_file }, LONG).await;
        assert_eq!((end.answer, end.says.as_str()), (HookAnswer::Veto, "half the batch runs"));
        let heard = heard.await.unwrap();
        assert!(heard.contains("idempotency-key: shop/freeze/1\r\n"), "{heard}");
        assert!(heard.contains("authorization: Bearer s3cret\r\n"), "{heard}");
    }

    #[tokio::test]
    async fn an_address_that_breaks_has_failed_not_vetoed() {
        let (url, _heard) = address("500 Oh").await;
        let end = says(HookDoes::Call { url, token_file: None }, LONG).await;
        assert_eq!(end.answer, HookAnswer::Failed);
        let url = "http://127.0.0.1:1/freeze".to_owned();
        let end = says(HookDoes::Call { url, token_file: None }, LONG).await;
        assert_eq!(end.answer, HookAnswer::Failed);
    }
}
