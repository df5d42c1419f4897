//! The program itself, as an operator starts it: `plan`, then `run`, against the same wire, in real time.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use leeward::journal::{Journal, Record};
use leeward::plan::Plan;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::service::{READING, Shop, central, eu, on_the_wire, split};

/// Debug builds on loaded machines included.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// The policy of the shop, with spans short enough to be waited for.
pub(super) fn hurried(shop: &Shop) -> String {
    let text = shop.policy_text.clone();
    let changes = [
        ("every: 5s", "every: 1s"),
        ("window: 30s", "window: 5s"),
        ("sustain: 30s", "sustain: 5s"),
    ];
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

pub(super) struct Place {
    folder: tempfile::TempDir,
    pub(super) policy: PathBuf,
}

impl Place {
    pub(super) fn new(shop: &Shop) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("shop.yaml");
        std::fs::write(&policy, hurried(shop)).unwrap();
        Self { folder, policy }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a run writes what it logs.
    pub(super) fn log(&self, run: &str) -> PathBuf {
        self.path(&format!("{run}.log"))
    }

    /// The service, with its state in this place.
    pub(super) fn start(&self, run: &str, url: &str) -> Child {
        let mut program = self.leeward("run", url);
        program.args(["--listen", "127.0.0.1:0", "--state"]).arg(self.path("state"));
        program.stderr(std::fs::File::create(self.log(run)).unwrap()).stdout(Stdio::null());
        with_credentials(&mut program).spawn().unwrap()
    }

    pub(super) fn journal(&self) -> Vec<Record> {
        Journal::read(&self.path("state").join("shop.journal")).unwrap()
    }

    /// The policy gets one more lever, before all others.
    pub(super) fn put_first(&self, lever: &str) {
        let text = std::fs::read_to_string(&self.policy).unwrap();
        assert_eq!(text.matches("levers:\n").count(), 1, "{text}");
        let text = text.replace("levers:\n", &format!("levers:\n{lever}"));
        std::fs::write(&self.policy, text).unwrap();
    }

    /// The program with nothing of this machine's settings, at this address instead of AWS.
    pub(super) fn leeward(&self, command: &str, url: &str) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_leeward"));
        program
            .env_clear()
            .env("HOME", self.folder.path())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        program.arg(command).arg(&self.policy).args(["--holder", "wire-test"]);
        for service in ["route53", "elbv2", "cloudwatch"] {
            program.arg("--endpoint").arg(format!("{service}={url}"));
        }
        program.stdin(Stdio::null()).kill_on_drop(true);
        program
    }
}

pub(super) fn with_credentials(program: &mut Command) -> &mut Command {
    program.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test")
}

pub(super) async fn output(program: &mut Command) -> Output {
    timeout(PATIENCE, program.output()).await.expect("it ends in time").unwrap()
}

pub(super) fn words(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}\n{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn saved_plan(path: &Path) -> Plan {
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_value(saved["plan"].clone()).unwrap()
}

/// A batch on the wire without what depends on the minute: the comment and the time in the epoch.
fn timeless(body: &str) -> String {
    let (head, rest) = body.split_once("<Comment>").unwrap();
    let tail = rest.split_once("</Comment>").unwrap().1;
    let (tail, rest) = tail.split_once(" at=").unwrap();
    format!("{head}{tail}{}", &rest["2026-11-21T00:00:00Z".len()..])
}

/// Until `condition`, or a panic with `what` and what the program said.
pub(super) async fn wait_for(what: &str, log: &Path, mut condition: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition().await {
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < until, "not in time: {what}; it said:\n{}", said());
        sleep(Duration::from_millis(100)).await;
    }
}

/// By SIGKILL.
pub(super) async fn kill(running: &mut Child) {
    running.start_kill().unwrap();
    let status = timeout(PATIENCE, running.wait()).await.expect("it dies").unwrap();
    assert_eq!(status.signal(), Some(9), "it was killed and did not end by itself");
}

pub(super) async fn stop(mut running: Child) -> Option<i32> {
    let pid = running.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    timeout(PATIENCE, running.wait()).await.expect("it stops in time").unwrap().code()
}

#[tokio::test]
async fn what_plan_printed_is_what_run_does() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    let proxy = &shop.world.proxy;

    let saved = place.path("plan.json");
    let mut plan = place.leeward("plan", &proxy.url());
    plan.arg("--assume").arg(format!("{}=down", eu()));
    plan.arg("--assume").arg(format!("{}=well", central()));
    plan.arg("--detailed-exit-code").arg("--out").arg(&saved);
    let planned = output(with_credentials(&mut plan)).await;
    assert_eq!(planned.status.code(), Some(2), "changes are planned: {}", words(&planned));
    assert!(words(&planned).contains("api.shop0.example"), "{}", words(&planned));
    assert!(proxy.count("ListResourceRecordSets") > 0);
    for seen in proxy.seen() {
        assert!(READING.contains(&seen.action.as_str()), "plan called {}", seen.action);
    }
    proxy.forget();

    let (running, log) = (place.start("run", &proxy.url()), place.log("run"));
    wait_for("the first looks", &log, async || proxy.count("DescribeTargetHealth") > 20).await;
    assert_eq!(shop.changes().len(), 0, "nothing is written on a calm day");
    shop.kill(&eu());
    let zone = &shop.zones[0];
    wait_for("the move", &log, async || shop.weights(zone).await == split([100, 0])).await;
    assert_eq!(stop(running).await, Some(0));

    let sent: Vec<String> = shop.changes().iter().map(|c| timeless(&c.request.text())).collect();
    let planned = on_the_wire(&saved_plan(&saved).batches).await;
    assert_eq!(planned.iter().map(|body| timeless(body)).collect::<Vec<_>>(), sent);
    assert_eq!(shop.epoch().await.unwrap().holder, "wire-test");
}

#[tokio::test]
async fn plan_without_credentials_says_so_and_calls_nobody() {
    let shop = Shop::open(1).await;
    let place = Place::new(&shop);
    let mut plan = place.leeward("plan", &shop.world.proxy.url());
    plan.arg("--assume").arg(format!("{}=down", eu()));
    plan.arg("--assume").arg(format!("{}=well", central()));
    let planned = output(&mut plan).await;
    assert_eq!(planned.status.code(), Some(5), "{}", words(&planned));
    for word in ["no AWS credentials", "AWS_PROFILE"] {
        assert!(words(&planned).contains(word), "{}", words(&planned));
    }
    assert!(shop.world.proxy.seen().is_empty());
}
