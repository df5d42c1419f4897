//! Refreshes of a balancer by the program, on the wire: two listeners, five rules, three target groups and
//! twelve targets, on a server that others wrote and that keeps weighted forwards (moto).
//!
//! moto tells no zone of a target and no other state than `healthy`; the zone is put into its answers on
//! their way, as AWS tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use futures_util::future::join_all;
use leeward::balancer::Snapshot;
use leeward::balancer::cure::Purpose;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::program::{output, with_credentials, words};
use crate::cures;
use crate::wire::proxy::{Fault, Proxy, Seen};
use crate::wire::servers::{self, Server};

mod drift;

/// For one call of a running program: debug builds on loaded machines, and a wait before a second try.
const PATIENCE: Duration = Duration::from_secs(120);

const RUNGS: [&str; 4] = ["reassert", "targets", "swap", "zones"];

const POLICY: &str = r#"version: 1
service: shop
mode: approve
regions:
  eu-west-1:
    role: primary
    weight: 100
    balancers:
      web:
        connect: 127.0.0.1
        arn: "ARN"
  us-west-2:
    role: standby
    weight: 0
    balancers:
      web-us: { connect: 127.0.0.2 }
vantages: { here: {} }
levers:
  - weights:
      records:
        - { zone: Z0123456789ABC, name: api.example.com, types: [A], members: { eu-west-1: eu, us-west-2: us } }
      epoch_record: { zone: Z0123456789ABC, name: _leeward.api.example.com }
      ttl: 60s
      in_sync_within: 5m
      readback: none
signals:
  outside: { class: outside, fresh_for: 30s, pushed: {} }
  burn: { class: traffic, fresh_for: 3m, pushed: {} }
judge: { success_below: 95%, window: 1m, sustain: 2m, vantages: 1, classes: 2, healthy_hosts_below: 50% }
shift: { ramp: [100%], hold: 2m, spare: 10%, overflow: spill, last_resort: never, unready: hold }
failback: manual
refresh:
  wait: 5m
  tries: 4
  # A server of its own on this machine: nobody shares it. The default is a look in four seconds.
  pace: { calls: 1000/s, calls_burst: 1000, registrations: 1000/s, changes: 1000/s, subnets: 1000/s }
  balancers:
    web:
      owned: { tag: { key: leeward, value: may-refresh } }
      rungs:
        - reassert: as_read
        - targets: { batch: 2, floor: 50%, healthy_within: 30s, drained_within: 30s }
        - swap: { steps: [10%, 100%], hold: 1s, healthy_within: 30s, drain: 1s }
        - zones: { rest: 40%, pause: 1s, healthy_within: 30s }
      give_up: page
guards:
  cooldown: 10m
  shifts: { max: 2, within: 1h }
  latch: { after: 4, within: 24h }
  standby_healthy_hosts: 70%
tell: { channels: [{ command: ["/usr/bin/true"] }] }
"#;

/// One balancer on a server of its own, and a place on disk.
struct Shop {
    _server: Server,
    proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let server = servers::moto().await;
        let arn = servers::balancer(server.port).await;
        let proxy = Proxy::start(server.port).await;
        proxy.inject("DescribeTargetHealth", "zones", Fault::rewrite(with_zones), usize::MAX);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop.yaml"), POLICY.replace("ARN", &arn)).unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        Self { _server: server, proxy, folder }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn lb(&self, command: &str, more: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_leeward"));
        program.env_clear().env("HOME", self.folder.path());
        program.env("AWS_EC2_METADATA_DISABLED", "true");
        program.args(["lb", command]).arg(self.folder.path().join("shop.yaml")).arg("web");
        program.args(more).args(["--endpoint", &format!("elbv2={}", self.proxy.url())]);
        program.stdin(std::process::Stdio::null()).kill_on_drop(true);
        with_credentials(&mut program);
        program
    }

    async fn json(&self, command: &str, more: &[&str]) -> serde_json::Value {
        let done = output(self.lb(command, more).args(["--format", "json"])).await;
        assert!(done.status.success(), "{}", words(&done));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    async fn live(&self) -> Snapshot {
        let shown = self.json("show", &[]).await;
        serde_json::from_value(shown["configuration"].clone()).unwrap()
    }

    fn doing(&self, rung: &str) -> Vec<String> {
        let state = self.state().display().to_string();
        ["--rung", rung, "--reason", "a test", "--by", "ana", "--yes", "--state", &state]
            .map(str::to_owned)
            .into()
    }

    async fn refresh(&self, rung: &str) -> Output {
        let more = self.doing(rung);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        output(&mut self.lb("refresh", &more)).await
    }

    /// Everything that changed something, in order.
    fn changes(&self) -> Vec<Seen> {
        let seen = self.proxy.seen().into_iter();
        seen.filter(|seen| !seen.action.starts_with("Describe")).collect()
    }

    /// The snapshot that was kept before the first call.
    fn kept(&self) -> PathBuf {
        let found = std::fs::read_dir(self.state()).unwrap().map(|entry| entry.unwrap().path());
        let mut kept: Vec<PathBuf> =
            found.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
        kept.sort();
        kept.first().expect("a snapshot is kept").clone()
    }
}

fn with_zones(mut answer: crate::wire::http::Message) -> crate::wire::http::Message {
    let mut text = answer.text();
    for (place, zone) in ["a", "b", "c"].into_iter().enumerate() {
        let before = format!("<Id>10.0.{place}.");
        let mut parts = text.split(&before);
        let mut whole = parts.next().unwrap().to_owned();
        for part in parts {
            let (number, rest) = part.split_once("</Id>").unwrap();
            let told = format!("<AvailabilityZone>eu-west-1{zone}</AvailabilityZone>");
            whole.extend([before.as_str(), number, "</Id>", &told, rest]);
        }
        text = whole;
    }
    answer.body = text.into_bytes();
    answer
}

/// `Targets.member.1.Id=10.0.0.10`, as the names stand in the body of a request.
fn targets(seen: &Seen) -> (String, BTreeSet<String>) {
    let text = seen.request.text();
    let value = |pair: &str| pair.split_once('=').map(|(_, value)| value.replace("%2F", "/"));
    let group = text.split('&').find(|pair| pair.starts_with("TargetGroupArn=")).and_then(value);
    let ids = text.split('&').filter(|pair| {
        pair.starts_with("Targets.member.") && pair.split('=').next().unwrap().ends_with(".Id")
    });
    let name = group.unwrap().split('/').nth(1).unwrap().to_owned();
    (name, ids.filter_map(value).collect())
}

/// Plays what went over the wire onto the targets as they were, and holds each state to the floor.
fn assert_floor_held(before: &Snapshot, changes: &[Seen]) {
    let mut groups: BTreeMap<String, BTreeSet<String>> = before
        .groups
        .iter()
        .map(|(name, group)| (name.clone(), group.targets.iter().map(|t| t.id.clone()).collect()))
        .collect();
    let zone = |id: &String| id.split('.').nth(2).unwrap().to_owned();
    let count = |ids: &BTreeSet<String>| {
        ids.iter().fold(BTreeMap::<String, usize>::new(), |mut zones, id| {
            *zones.entry(zone(id)).or_default() += 1;
            zones
        })
    };
    let whole: BTreeMap<String, BTreeMap<String, usize>> =
        groups.iter().map(|(name, ids)| (name.clone(), count(ids))).collect();
    for seen in changes {
        match seen.action.as_str() {
            "RegisterTargets" => {
                let (group, ids) = targets(seen);
                groups.entry(group).or_default().extend(ids);
            }
            "DeregisterTargets" => {
                let (group, ids) = targets(seen);
                groups.get_mut(&group).unwrap().retain(|id| !ids.contains(id));
            }
            _ => {}
        }
        for (name, zones) in &whole {
            let now = count(&groups[name]);
            for (zone, all) in zones {
                let has = now.get(zone).copied().unwrap_or(0);
                assert!(has * 2 >= *all, "{has} of {all} in zone {zone} of {name}");
            }
        }
    }
}

fn operations(plan: &serde_json::Value) -> Vec<String> {
    let calls = plan["calls"].as_array().unwrap();
    calls.iter().map(|call| call.as_str().unwrap().split(' ').next().unwrap().to_owned()).collect()
}

async fn play(rung: &str) {
    let shop = Shop::open().await;
    let before = shop.live().await;
    assert_eq!((before.listeners.len(), before.groups.len()), (2, 3));
    assert_eq!(before.listeners.values().map(|l| l.rules.len()).sum::<usize>(), 5);
    assert_eq!(before.groups.values().map(|g| g.targets.len()).sum::<usize>(), 12);

    let dry = ["--rung", rung, "--reason", "a test", "--by", "ana"];
    let plan = shop.json("refresh", &dry).await;
    assert_eq!(shop.changes().len(), 0, "{rung}: a dry run changes nothing");
    let done = shop.refresh(rung).await;
    assert!(done.status.success(), "{rung}: {}", words(&done));
    let changes = shop.changes();
    let made: Vec<String> = changes.iter().map(|seen| seen.action.clone()).collect();
    assert_eq!(made, operations(&plan), "{rung}: the calls of the plan and no other");
    assert_floor_held(&before, &changes);
    let after = shop.live().await;
    if rung == "swap" {
        assert_eq!(after.groups.len(), 6, "the old groups are kept");
        for name in before.groups.keys() {
            let (old, twin) = (&after.groups[name], &after.groups[&format!("{name}-lw1")]);
            assert_eq!(old.settings, twin.settings);
            assert_eq!(old.attributes, twin.attributes);
            assert!(!after.is_used(name) && after.is_used(&format!("{name}-lw1")));
        }
    } else {
        assert_eq!(before.differences(&after), [], "{rung}");
    }

    // Whatever it was, what was kept before the first call brings it back, field by field.
    let (kept, state) = (shop.kept().display().to_string(), shop.state().display().to_string());
    let restore = [&kept, "--reason", "back", "--by", "ana", "--yes", "--state", &state];
    let done = output(&mut shop.lb("restore", &restore)).await;
    assert!(done.status.success(), "{rung}: {}", words(&done));
    let back = shop.live().await;
    let settled = before.differences(&back);
    assert_eq!(settled, [], "{rung}: restored");
    // What stands as before needs no call.
    let restored = ("web".to_owned(), Purpose::Restore);
    assert_eq!(cures::begun(&shop.state()).contains(&restored), rung == "swap", "{rung}");
}

#[tokio::test]
async fn each_rung_makes_the_calls_of_its_plan_and_can_be_taken_back() {
    join_all(RUNGS.map(async |rung| play(rung).await)).await;
}

/// Until another call was seen, or the process ended by itself.
async fn next_call(shop: &Shop, running: &mut Child, seen: usize) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if running.try_wait().unwrap().is_some() {
            return false;
        }
        if shop.changes().len() > seen {
            return true;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing happens after {seen} calls");
}

/// After every single call the process is killed and another one goes on.
async fn kill_after_every_call(rung: &str) {
    let shop = Shop::open().await;
    let before = shop.live().await;
    let more = shop.doing(rung);
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut kills = 0;
    loop {
        let seen = shop.changes().len();
        let mut running =
            shop.lb("refresh", &more).stderr(std::process::Stdio::null()).spawn().unwrap();
        if !next_call(&shop, &mut running, seen).await {
            break;
        }
        running.start_kill().unwrap();
        running.wait().await.unwrap();
        kills += 1;
        assert!(kills < 200, "{rung} does not come to an end");
    }
    let after = shop.live().await;
    assert_floor_held(&before, &shop.changes());
    if rung == "swap" {
        for name in before.groups.keys() {
            assert!(!after.is_used(name) && after.is_used(&format!("{name}-lw1")), "{name}");
        }
    } else {
        assert_eq!(before.differences(&after), [], "{rung}");
    }
    assert!(kills >= 6, "{rung}: killed {kills} times");
}

#[tokio::test]
async fn killed_after_every_single_call_it_is_completed_and_nothing_is_lost() {
    join_all(RUNGS.map(async |rung| kill_after_every_call(rung).await)).await;
}

/// What is not understood stays as it is where nothing of it is written, and is named where it would be.
#[tokio::test]
async fn what_nobody_understands_is_carried_over_or_refused_by_its_name() {
    let shop = Shop::open().await;
    // Mutual TLS and something newer than the SDK, told of both listeners.
    let strange = "<MutualAuthentication><Mode>verify</Mode></MutualAuthentication><Mood><Deep>blue</Deep></Mood><ListenerArn>";
    shop.proxy.inject(
        "DescribeListeners",
        "strange",
        Fault::replace("<ListenerArn>", strange),
        usize::MAX,
    );
    // An authentication action and an unknown element in the redirect of the rules.
    let login = Fault::rewrite(|mut answer| {
        let text = answer.text();
        let redirect = "<RedirectConfig>";
        answer.body = text.replace(redirect, "<RedirectConfig><Mood>blue</Mood>").into_bytes();
        answer
    });
    shop.proxy.inject("DescribeRules", "mood", login, usize::MAX);
    let before = shop.live().await;
    for listener in before.listeners.values() {
        assert!(listener.rest.contains_key("MutualAuthentication"), "{:?}", listener.rest);
        assert!(listener.rest.contains_key("Mood"), "{:?}", listener.rest);
    }
    let dry = ["--rung", "reassert", "--reason", "a test", "--by", "ana"];
    let plan = shop.json("refresh", &dry).await;
    let left: Vec<&str> =
        plan["left"].as_array().unwrap().iter().map(|left| left.as_str().unwrap()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains("rule 30") && left[0].contains("`Mood`"), "{left:?}");
    let done = shop.refresh("reassert").await;
    assert!(done.status.success(), "{}", words(&done));
    assert_eq!(before.differences(&shop.live().await), []);
    for seen in shop.changes() {
        let text = seen.request.text();
        assert!(!text.contains("MutualAuthentication") && !text.contains("Mood"), "{text}");
    }
}

/// A hold that is left meanwhile is heeded before the next call, and lifted as it was left.
#[tokio::test]
async fn a_hold_stops_a_refresh_by_hand_where_it_stands() {
    let shop = Shop::open().await;
    let before = shop.live().await;
    let (more, log) = (shop.doing("zones"), shop.folder.path().join("log"));
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut program = shop.lb("refresh", &more);
    program.stderr(std::fs::File::create(&log).unwrap()).stdout(std::process::Stdio::null());
    let mut running = program.spawn().unwrap();
    assert!(next_call(&shop, &mut running, 0).await);
    let human = async |words: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_leeward"));
        program.env_clear().args(words).args(["--by", "ben", "--reason", "wait", "--state"]);
        let done = output(program.arg(shop.state())).await;
        assert!(done.status.success(), "{}", super::program::words(&done));
    };
    human(&["hold", "shop", "--for", "1h"]).await;
    let held = async || std::fs::read_to_string(&log).unwrap().contains("held by ben");
    super::program::wait_for("the hold is heeded", &log, held).await;
    let made = shop.changes().len();
    let looks = shop.proxy.count("DescribeLoadBalancers");
    // It goes on looking whether it is still held, and asks the balancer nothing.
    for _ in 0..30 {
        assert_eq!(shop.changes().len(), made);
        assert_eq!(shop.proxy.count("DescribeLoadBalancers"), looks);
        sleep(Duration::from_millis(100)).await;
    }
    human(&["resume", "shop"]).await;
    let ended = tokio::time::timeout(PATIENCE, running.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{}", std::fs::read_to_string(&log).unwrap());
    assert!(shop.changes().len() > made);
    assert_eq!(before.differences(&shop.live().await), []);
}
