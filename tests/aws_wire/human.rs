//! A human beats the machine: `shift`, `failback`, `abort` and `apply`, with the real program on the wire.

use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::program::{Place, output, stop, wait_for, with_credentials, words};
use super::service::{READING, Shop, central, eu, on_the_wire, split};

struct Desk {
    shop: Shop,
    place: Place,
}

impl Desk {
    async fn open() -> Self {
        let shop = Shop::open(1).await;
        let place = Place::new(&shop);
        std::fs::create_dir(place.path("state")).unwrap();
        Self { shop, place }
    }

    /// `leeward COMMAND ...` with the policy, the state directory, an author and a reason.
    fn says(&self, command: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_leeward"));
        program
            .env_clear()
            .env("HOME", self.place.path(""))
            .env("AWS_EC2_METADATA_DISABLED", "true");
        program.args(command).args(["--by", "ana", "--reason", "drill", "--unknown-service"]);
        program.arg("--state").arg(self.place.path("state"));
        program.arg("--policy").arg(&self.place.policy).args(["--holder", "wire-test"]);
        for service in ["route53", "elbv2", "cloudwatch"] {
            program.arg("--endpoint").arg(format!("{service}={}", self.shop.world.proxy.url()));
        }
        program.stdin(Stdio::null()).kill_on_drop(true);
        with_credentials(&mut program);
        program
    }

    /// Exit status, and everything it said.
    async fn hears(&self, command: &[&str]) -> (Option<i32>, String) {
        let output = output(&mut self.says(command)).await;
        (output.status.code(), words(&output))
    }

    async fn weights(&self) -> std::collections::BTreeMap<String, u8> {
        self.shop.weights(&self.shop.zones[0]).await
    }

    async fn history(&self) -> String {
        let mut program = Command::new(env!("CARGO_BIN_EXE_leeward"));
        program.env_clear().args(["history", "--state"]).arg(self.place.path("state"));
        words(&output(&mut program).await)
    }

    fn run(&self, log: &Path) -> Child {
        let mut run = self.place.leeward("run", &self.shop.world.proxy.url());
        run.args(["--listen", "127.0.0.1:0", "--state"]).arg(self.place.path("state"));
        run.stderr(std::fs::File::create(log).unwrap()).stdout(Stdio::null());
        with_credentials(&mut run).spawn().unwrap()
    }

    async fn plan(&self, file: &Path) {
        let mut plan = self.place.leeward("plan", &self.shop.world.proxy.url());
        plan.args(["--assume", "eu-west-1=down", "--assume", "eu-central-1=well", "--out"])
            .arg(file);
        let planned = output(with_credentials(&mut plan)).await;
        assert_eq!(planned.status.code(), Some(0), "{}", words(&planned));
    }
}

#[tokio::test]
async fn a_human_moves_a_part_and_goes_home_where_nothing_runs() {
    let desk = Desk::open().await;
    let (to, quarter) = (central().to_string(), "25");
    let shift = ["shift", "shop", "--to", &to, "--percent", quarter, "--for", "1h"];
    let (status, said) = desk.hears(&shift).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("the answers are so"), "{said}");
    assert_eq!(desk.weights().await, split([25, 75]));
    assert_eq!(desk.shop.epoch().await.unwrap().holder, "wire-test");

    let (status, said) = desk.hears(&["failback", "shop", "--for", "1h"]).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("cooling down") && said.contains("--override cooldown"), "{said}");
    assert_eq!(desk.weights().await, split([25, 75]));
    let home = ["failback", "shop", "--for", "1h", "--override", "cooldown"];
    let (status, said) = desk.hears(&home).await;
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(desk.weights().await, split([0, 100]));

    let history = desk.history().await;
    for line in [
        "25% of the answers to `eu-central-1`, by ana until",
        "the answers are as asked",
        "home, by ana until",
        "(overrides cooldown)",
        "dropped    what was asked: the command that asked has ended",
    ] {
        assert!(history.contains(line), "{line} in\n{history}");
    }
}

#[tokio::test]
async fn no_override_sends_traffic_into_a_dead_region() {
    let desk = Desk::open().await;
    desk.shop.kill(&central());
    let mut shift = vec!["shift", "shop", "--to", "eu-central-1", "--for", "1h"];
    for guard in ["cooldown", "shifts", "latch", "blocked", "lag", "room", "warmup", "soak"] {
        shift.extend(["--override", guard]);
    }
    let (status, said) = desk.hears(&shift).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("`eu-central-1` is not ready"), "{said}");
    assert_eq!(desk.weights().await, split([0, 100]));
    assert!(desk.shop.changes().is_empty());
    let (status, said) = desk
        .hears(&[
            "shift",
            "shop",
            "--to",
            "eu-central-1",
            "--for",
            "1h",
            "--override",
            "destination",
        ])
        .await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("no other guard can be overridden"), "{said}");
}

#[tokio::test]
async fn a_running_service_takes_in_what_a_human_says() {
    let desk = Desk::open().await;
    let (log, proxy) = (desk.place.path("log"), &desk.shop.world.proxy);
    let running = desk.run(&log);
    wait_for("the first looks", &log, async || proxy.count("DescribeTargetHealth") > 20).await;
    let shift = ["shift", "shop", "--to", "eu-central-1", "--percent", "40", "--for", "1h"];
    let (status, said) = desk.hears(&shift).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("taken in by the running service"), "{said}");
    let moved = async || desk.weights().await == split([40, 60]);
    wait_for("the move", &log, moved).await;
    let met = async || desk.history().await.contains("the answers are as asked");
    wait_for("it is seen to be met", &log, met).await;
    let (status, said) = desk.hears(&["abort", "shop", "--for", "1h"]).await;
    assert_eq!(status, Some(0), "{said}");
    // Aborted: the machine leaves nothing by itself, not even a dead region.
    let changes = desk.shop.changes().len();
    desk.shop.kill(&eu());
    let held = async || desk.history().await.contains("aborted by ana until");
    wait_for("the hold", &log, held).await;
    assert_eq!(desk.shop.changes().len(), changes);
    let file = desk.place.path("plan.json");
    desk.plan(&file).await;
    let (status, said) = desk.hears(&["apply", file.to_str().unwrap(), "--for", "1h"]).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("a service runs on"), "{said}");
    assert_eq!(stop(running).await, Some(0));
}

#[tokio::test]
async fn a_reviewed_plan_is_applied_once_to_the_byte() {
    let desk = Desk::open().await;
    let file = desk.place.path("plan.json");
    desk.plan(&file).await;
    for seen in desk.shop.world.proxy.seen() {
        assert!(READING.contains(&seen.action.as_str()), "plan called {}", seen.action);
    }
    let apply = ["apply", file.to_str().unwrap(), "--for", "1h"];
    let (status, said) = desk.hears(&apply).await;
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(desk.weights().await, split([100, 0]));
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let plan: leeward::plan::Plan = serde_json::from_value(saved["plan"].clone()).unwrap();
    let records = |body: &str| {
        body.split("TXT").next().unwrap().split("<Changes>").last().unwrap().to_owned()
    };
    let planned = on_the_wire(&plan.batches).await;
    assert_eq!(records(&planned[0]), records(&desk.shop.changes()[0].request.text()));

    let (status, said) = desk.hears(&apply).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("worked out anew it is another plan"), "{said}");
    assert!(said.contains("but the records say"), "{said}");
    assert_eq!(desk.shop.changes().len(), 1, "applied once");
}

#[tokio::test]
async fn a_plan_that_was_touched_or_overtaken_is_not_applied() {
    let desk = Desk::open().await;
    let file = desk.place.path("plan.json");
    desk.plan(&file).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let apply = ["apply", file.to_str().unwrap(), "--for", "1h"];

    std::fs::write(&file, text.replace("127.0.0.12", "127.0.0.66")).unwrap();
    let (status, said) = desk.hears(&apply).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("was changed after it was written"), "{said}");

    std::fs::write(&file, &text).unwrap();
    let policy = std::fs::read_to_string(&desk.place.policy).unwrap();
    std::fs::write(&desk.place.policy, format!("{policy}\n# reviewed?\n")).unwrap();
    let (status, said) = desk.hears(&apply).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("is not the policy from which the plan was made"), "{said}");
    std::fs::write(&desk.place.policy, &policy).unwrap();

    // Somebody gives a record another time to live.
    let zone = &desk.shop.zones[0];
    let sets = desk.shop.world.edge.weights.read(zone, None).await.unwrap();
    let before = sets.into_iter().find(|set| set.set_identifier.as_deref() == Some("eu")).unwrap();
    let after = leeward::plan::RecordSet { ttl: Some(30), ..before.clone() };
    let swap = leeward::plan::Swap { before: Some(before), after };
    desk.shop.world.swap(vec![swap]).await.unwrap();
    desk.shop.world.proxy.forget();
    let (status, said) = desk.hears(&apply).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("reviewed: ") && said.contains("ttl 30"), "{said}");
    assert!(desk.shop.changes().is_empty());
    assert_eq!(desk.weights().await, split([0, 100]));

    std::fs::write(&file, "{}").unwrap();
    let (status, said) = desk.hears(&apply).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("is not a plan"), "{said}");
}

#[tokio::test]
async fn abort_without_an_open_order_says_so() {
    let desk = Desk::open().await;
    let (status, said) = desk.hears(&["abort", "shop", "--for", "10m"]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("nothing was under way"), "{said}");
    assert!(desk.shop.changes().is_empty());
}
