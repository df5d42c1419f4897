//! Two regions on loopback and the real binary beside them. Everything ends with its owner.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use leeward::runtime::http::{Ask, ask};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// Nothing of these tests takes longer; a machine under load may.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// Two regions at 127.0.0.1 and 127.0.0.2, probed twice a second, judged over two seconds.
pub(crate) fn policy_text(mode: &str, port: u16) -> String {
    format!(
        r"version: 1
service: shop
mode: {mode}
regions:
  east:
    role: primary
    weight: 100
    balancers:
      web-east: {{ carries: 100%, connect: 127.0.0.1 }}
  west:
    role: standby
    weight: 0
    balancers:
      web-west: {{ carries: 100%, connect: 127.0.0.2 }}
vantages: {{ here: {{}} }}
levers:
  - weights:
      records:
        - {{ zone: Z0123456789ABC, name: api.example.com, types: [A], members: {{ east: east, west: west }} }}
      epoch_record: {{ zone: Z0123456789ABC, name: _leeward.api.example.com }}
      ttl: 60s
      in_sync_within: 5m
      readback: none
signals:
  outside:
    class: outside
    fresh_for: 5s
    probe:
      protocol: http
      host: api.example.com
      port: {port}
      path: /health
      every: 500ms
      timeout: {{ connect: 1s, tls: 1s, first_byte: 1s, body: 1s }}
      expect: {{ status: [200-299] }}
judge: {{ success_below: 95%, window: 2s, sustain: 1s, vantages: 1, classes: 1, healthy_hosts_below: 50% }}
shift: {{ ramp: [100%], hold: 10s, spare: 10%, overflow: spill, last_resort: never, unready: hold }}
failback: manual
guards: {{ cooldown: 10m, shifts: {{ max: 2, within: 1h }}, latch: {{ after: 4, within: 24h }}, standby_healthy_hosts: 70% }}
"
    )
}

/// A region: answers 200 while it is well and 503 while it is not.
#[derive(Debug)]
struct Region {
    well: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Region {
    fn start(listener: TcpListener) -> Self {
        let well = Arc::new(AtomicBool::new(true));
        let is_well = Arc::clone(&well);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let status = if is_well.load(Ordering::SeqCst) { "200 OK" } else { "503 Oh" };
                connections.spawn(async move {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { well, task }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Both regions, a policy file about them and a state directory.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) port: u16,
    east: Region,
    _west: Region,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        for _ in 0..50 {
            let east = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = east.local_addr().unwrap().port();
            // The port may be taken at the other address; then another one is tried.
            let Ok(west) = TcpListener::bind(("127.0.0.2", port)).await else { continue };
            let bench = Self {
                directory: tempfile::tempdir().unwrap(),
                port,
                east: Region::start(east),
                _west: Region::start(west),
            };
            bench.write_policy(&policy_text("observe", port));
            return bench;
        }
        panic!("no port is free at both addresses");
    }

    pub(crate) fn east_is_well(&self, well: bool) {
        self.east.well.store(well, Ordering::SeqCst);
    }

    pub(crate) fn policy(&self) -> PathBuf {
        self.directory.path().join("shop.yaml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn write_policy(&self, text: &str) {
        std::fs::write(self.policy(), text).unwrap();
    }

    pub(crate) async fn start(&self) -> Sidecar {
        Sidecar::start(&self.policy(), &self.state()).await
    }
}

/// The program with the environment of a test: no AWS but one where nothing answers.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeward"));
    command.stdin(Stdio::null()).env_clear().env("USER", "ana").kill_on_drop(true);
    if cfg!(feature = "aws") {
        command.env("LEEWARD_ENDPOINTS", "route53=http://127.0.0.1:1,elbv2=http://127.0.0.1:1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    }
    command
}

/// `leeward run`, killed with its owner.
#[derive(Debug)]
pub(crate) struct Sidecar {
    child: Child,
    pub(crate) url: String,
    log: JoinHandle<String>,
}

impl Sidecar {
    pub(crate) async fn start(policy: &Path, state: &Path) -> Self {
        Self::start_all(&[policy.to_owned()], state).await
    }

    pub(crate) async fn start_all(policies: &[PathBuf], state: &Path) -> Self {
        let mut child = program()
            .arg("run")
            .args(policies)
            .args(["--listen", "127.0.0.1:0", "--log", "json", "--holder", "test", "--state"])
            .arg(state)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let address = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it runs on");
                log.push_str(&line);
                log.push('\n');
                let value: Value = serde_json::from_str(&line).expect("a log line in JSON");
                if let Some(address) = value["address"].as_str() {
                    break address.to_owned();
                }
            }
        };
        let address = timeout(WITHIN, address).await.expect("it says where it listens");
        // Read on, so that it never waits for a full pipe.
        let log = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        Self { child, url: format!("http://{address}"), log }
    }

    /// Status and body of one of its pages.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        let (status, body) = ask(Ask {
            method: hyper::Method::GET,
            url: &url,
            headers: Vec::new(),
            body: Bytes::new(),
            answer_max: 16 * 1024 * 1024,
            within: WITHIN,
        })
        .await
        .unwrap();
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    }

    pub(crate) async fn shop(&self) -> Value {
        let (status, body) = self.get("/v1/state").await;
        assert_eq!(status, 200);
        let mut state: Value = serde_json::from_str(&body).unwrap();
        state["services"]["shop"].take()
    }

    /// The state once it is as wanted.
    pub(crate) async fn shop_when(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            let shop = self.shop().await;
            if wanted(&shop) {
                return shop;
            }
            assert!(Instant::now() < deadline, "waiting until {what}, but {shop:#}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([name, &id]).status().await.unwrap();
        assert!(sent.success());
    }

    /// The exit status, if it ends in time, and everything it logged.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        let status = timeout(WITHIN, self.child.wait()).await.expect("it ends").unwrap();
        (status.code(), self.log.await.unwrap())
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}
