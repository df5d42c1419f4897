//! Starts and ends the servers in `.venv`: ministack (AWS's wire) and microburst (faults).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::http;

/// A server in a process of its own. Ends when dropped, and with the thread that started it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Killed on drop.
    process: Child,
    log: tempfile::NamedTempFile,
}

/// AWS's wire with no fault of its own, empty.
pub(crate) async fn ministack() -> Server {
    lenient_or_strict("false").await
}

/// The same with signatures and permissions enforced.
pub(crate) async fn strict_ministack() -> Server {
    lenient_or_strict("true").await
}

async fn lenient_or_strict(auth: &str) -> Server {
    start("ministack", "/_ministack/health", |command, port| {
        command
            .env("BIND_HOST", "127.0.0.1")
            .env("MINISTACK_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("IOT_MTLS_ENABLED", "0")
            .env("AUTH", auth);
    })
    .await
}

/// A user with the permissions of `infra/iam/policy.json`, and two zones, of which it names one.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Granted {
    pub(crate) ours: String,
    pub(crate) other: String,
    pub(crate) id: String,
    pub(crate) secret: String,
}

pub(crate) async fn grant(port: u16) -> Granted {
    let granted = Command::new(installed("python"))
        .arg(wire_dir().join("grant.py"))
        .arg(port.to_string())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/iam/policy.json"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let granted = tokio::time::timeout(START_PATIENCE, granted).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&granted.stderr);
    assert!(granted.status.success(), "{told}");
    serde_json::from_slice(&granted.stdout).unwrap()
}

/// What `tests/wire/templates.py` says.
pub(crate) async fn templates(arguments: &[&str]) -> serde_json::Value {
    let told = Command::new(installed("python"))
        .arg(wire_dir().join("templates.py"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let told = tokio::time::timeout(START_PATIENCE, told).await.unwrap().unwrap();
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&told.stdout).unwrap()
}

/// What cfn-lint complains of; nothing if all is well.
pub(crate) async fn lint(templates: &[PathBuf]) -> String {
    let told = Command::new(installed("cfn-lint")).args(templates).kill_on_drop(true).output();
    let told = tokio::time::timeout(START_PATIENCE, told).await.unwrap().unwrap();
    let mut said = String::from_utf8_lossy(&told.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&told.stderr));
    if said.is_empty() && !told.status.success() { "no reason given".to_owned() } else { said }
}

/// Another AWS wire: it keeps weighted forwards, and compares nothing.
pub(crate) async fn moto() -> Server {
    start("moto_server", "/moto-api/data.json", |command, port| {
        command.args(["-H", "127.0.0.1", "-p"]).arg(port.to_string());
    })
    .await
}

/// A load balancer on moto, by its ARN: see `balancer.py`.
pub(crate) async fn balancer(port: u16) -> String {
    let made = Command::new(installed("python"))
        .arg(wire_dir().join("balancer.py"))
        .arg(port.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let made = tokio::time::timeout(START_PATIENCE, made).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{told}");
    let said: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    said["arn"].as_str().unwrap().to_owned()
}

/// A proxy that injects faults, written by others.
pub(crate) async fn microburst(upstream: u16) -> Server {
    start("microburst", "/_microburst/health", |command, port| {
        command.arg("--upstream").arg(format!("http://127.0.0.1:{upstream}"));
        command.arg("--port").arg(port.to_string());
    })
    .await
}

/// How often another port is tried, should somebody take ours between asking for it and using it.
const STARTS_MAX: usize = 3;
/// Loaded machines included; it is 0.6 s on an idle one.
const START_PATIENCE: Duration = Duration::from_secs(120);

async fn start(name: &str, health: &str, arrange: impl Fn(&mut Command, u16)) -> Server {
    let program = installed(name);
    let mut logs = Vec::new();
    for _ in 0..STARTS_MAX {
        let port = free_port();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(program.with_file_name("python"));
        command.arg(wire_dir().join("launch.py")).arg(program.with_file_name("python"));
        command.arg(&program);
        arrange(&mut command, port);
        let process = command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(File::create(log.path()).unwrap())
            .stderr(File::options().append(true).open(log.path()).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut server = Server { port, process, log };
        if server.is_healthy(health).await {
            return server;
        }
        logs.push(std::fs::read_to_string(server.log.path()).unwrap_or_default());
    }
    panic!("{name} does not start; its logs:\n{}", logs.join("\n---\n"));
}

impl Server {
    async fn is_healthy(&mut self, path: &str) -> bool {
        let until = Instant::now() + START_PATIENCE;
        while Instant::now() < until && self.process.try_wait().unwrap().is_none() {
            if http::get(self.port, path).await.is_ok_and(|answer| answer.status() == 200) {
                return true;
            }
            sleep(Duration::from_millis(30)).await;
        }
        false
    }
}

fn wire_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// A missing server fails the test: a wire test that was skipped proves nothing.
fn installed(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin").join(name);
    assert!(program.exists(), "{} is missing: run tests/wire/setup.sh first", program.display());
    program
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
