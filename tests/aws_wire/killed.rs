//! The program, killed with SIGKILL at each stage of a move and started again: nothing is lost, nothing is
//! done twice.
//!
//! What is killed is the real process, in real time; where it stands is known from the wire, where the
//! proxy holds it up. The move has two zones, hence two calls.

use std::process::Stdio;
use std::sync::Arc;

use futures_util::future::join_all;
use leeward::decide::Diagnosis;
use leeward::journal::Record;
use leeward::memory::{Entry, Outcome};
use leeward::plan::EpochTxt;

use super::program::{Place, hurried, kill, output, stop, wait_for, words};
use super::service::{CHANGE, READING, Shop, eu, split};
use crate::wire::nameserver::NameServer;
use crate::wire::proxy::{Fault, Rule, Seen};

const HELD_UP: [&str; 2] = [CHANGE, "GetChange"];

/// Where the process is when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// The first zone has moved; the call for the second was announced and is held up.
    BeforeTheEffect,
    /// The call for the first zone had its effect, but no answer.
    AfterTheEffect,
    /// The call for the first zone is held up on its way, and arrives after the new process has looked.
    BeforeTheEffectThatComesLate,
    /// Both calls are accepted; the changes are pending.
    BeforeInSync,
    /// The service says that all is in sync; the name servers do not answer so yet.
    BeforeTheAnswers,
}

const POINTS: [(Point, &str); 5] = [
    (
        Point::BeforeTheEffect,
        "started intended sending-0 accepted-0 sending-1 \
         started failed-1 sending-1 accepted-1 in-sync done",
    ),
    (
        Point::AfterTheEffect,
        "started intended sending-0 \
         started found-0 sending-1 accepted-1 in-sync done",
    ),
    (
        Point::BeforeTheEffectThatComesLate,
        "started intended sending-0 \
         started failed-0 sending-0 found-0 sending-1 accepted-1 in-sync done",
    ),
    (
        Point::BeforeInSync,
        "started intended sending-0 accepted-0 sending-1 accepted-1 \
         started in-sync done",
    ),
    (
        Point::BeforeTheAnswers,
        "started intended sending-0 accepted-0 sending-1 accepted-1 in-sync \
         started done",
    ),
];

/// One shop with its controller's place on disk.
struct Case {
    point: Point,
    shop: Shop,
    servers: NameServer,
    place: Place,
}

impl Case {
    async fn prepare(point: Point) -> Self {
        let shop = Shop::open(2).await;
        let records = Arc::clone(&shop.world.edge.weights);
        let servers = NameServer::start(shop.zones[0].clone(), records).await;
        let place = Place::new(&shop);
        let readback = format!("readback: {{ servers: [\"{}\"] }}", servers.address);
        let policy = hurried(&shop).replace("readback: none", &readback);
        assert!(policy.contains(&readback), "{policy}");
        std::fs::write(&place.policy, policy).unwrap();
        Self { point, shop, servers, place }
    }

    /// The zone of the epoch record is written first.
    fn hold_up(&self, place: usize, fault: Fault) -> Rule {
        let name = format!("api.shop{place}.example");
        self.shop.world.proxy.inject_about(CHANGE, &name, fault)
    }

    /// Prepares what holds the process up at the point; `None` where that is the name server.
    fn arrange(&self) -> Option<Rule> {
        match self.point {
            Point::BeforeTheEffect => Some(self.hold_up(1, Fault::SilenceBefore)),
            Point::BeforeTheEffectThatComesLate => Some(self.hold_up(0, Fault::SilenceBefore)),
            Point::AfterTheEffect => Some(self.hold_up(0, Fault::SilenceAfter)),
            Point::BeforeInSync => {
                let pending = Fault::replace("INSYNC", "PENDING");
                Some(self.shop.world.proxy.inject("GetChange", "pending", pending, usize::MAX))
            }
            Point::BeforeTheAnswers => {
                self.servers.lag(true);
                None
            }
        }
    }

    /// Whether the process has come as far as it can, as seen from outside.
    fn is_reached(&self, hold: Option<&Rule>) -> bool {
        // A request is noted when it had its effect, if it is to have one.
        let is_stuck =
            |seen: &Seen| seen.fault.is_some() && HELD_UP.contains(&seen.action.as_str());
        match hold {
            Some(rule) => rule.fired() > 0 && self.shop.world.proxy.seen().iter().any(is_stuck),
            None => self.servers.asked_while_behind() > 0,
        }
    }

    /// The world behaves again, but for what was still on its way. Says what that will have done.
    fn release(&self, hold: Option<&Rule>) -> Option<Rule> {
        self.servers.lag(false);
        let proxy = &self.shop.world.proxy;
        if let Some(hold) = hold {
            proxy.relieve(hold);
        }
        (self.point == Point::BeforeTheEffectThatComesLate).then(|| {
            let lost = self.shop.changes().pop().unwrap().request;
            proxy.inject(CHANGE, "the lost call arrives", Fault::Before(lost), 1)
        })
    }

    /// From the calm day over the death of region and process to the end of the move, and some more.
    async fn play(self, story: &str) {
        let point = self.point;
        let proxy = &self.shop.world.proxy;
        let mut running = self.place.start("first", &proxy.url());
        let log = self.place.log("first");
        wait_for("the first looks", &log, async || proxy.count("DescribeTargetHealth") > 12).await;
        assert_eq!(self.shop.changes().len(), 0, "{point:?}: nothing is written on a calm day");
        let hold = self.arrange();
        self.shop.kill(&eu());
        wait_for(&format!("{point:?}"), &log, async || self.is_reached(hold.as_ref())).await;
        kill(&mut running).await;
        assert!(!self.is_ended(), "{point:?}: the order is open");

        let late = self.release(hold.as_ref());
        let running = self.place.start("second", &proxy.url());
        let log = self.place.log("second");
        wait_for("the end of the order", &log, async || self.is_ended()).await;
        // By now it has convicted the region a second time, from new evidence, and finds nothing to do.
        wait_for("a second conviction", &log, async || self.is_convicted_again()).await;
        assert_eq!(stop(running).await, Some(0), "{point:?}");

        self.assert_moved_once(late.as_ref()).await;
        assert_eq!(self.told_story().await, story, "{point:?}");
    }

    fn is_ended(&self) -> bool {
        self.place.journal().iter().any(|record| matches!(record.entry, Entry::Ended { .. }))
    }

    fn is_convicted_again(&self) -> bool {
        let journal = self.place.journal();
        let started = journal.iter().rposition(|r| matches!(r.entry, Entry::Started { .. }));
        journal[started.unwrap()..].iter().any(|record| {
            matches!(&record.entry, Entry::Decided(digest)
                if digest.findings.iter().any(|f| f.diagnosis == Diagnosis::RegionDown))
        })
    }

    async fn assert_moved_once(&self, late: Option<&Rule>) {
        let point = self.point;
        for (place, zone) in self.shop.zones.iter().enumerate() {
            assert_eq!(self.shop.weights(zone).await, split([100, 0]), "{point:?} {zone}");
            let had_effect = |seen: &Seen| {
                seen.request.first.contains(zone.as_str()) && seen.status == Some(200)
            };
            let here = self.shop.changes().into_iter().filter(had_effect).count();
            let late = if place == 0 { late.map_or(0, Rule::fired) } else { 0 };
            assert_eq!(here + late, 1, "{point:?}: effective changes of zone {place}");
        }
        let epoch: EpochTxt = self.shop.epoch().await.expect("the epoch is published");
        assert_eq!((epoch.epoch.0, epoch.holder.as_str()), (1, "wire-test"), "{point:?}");
        for seen in self.shop.world.proxy.seen() {
            let known = seen.action == CHANGE || READING.contains(&seen.action.as_str());
            assert!(known, "{point:?} called {}", seen.action);
        }
    }

    /// What `leeward history` says of starts and orders, in a word each.
    async fn told_story(&self) -> String {
        let mut history = tokio::process::Command::new(env!("CARGO_BIN_EXE_leeward"));
        history.args(["history", "--format", "json", "--state"]).arg(self.place.path("state"));
        history.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        let told = output(&mut history).await;
        assert!(told.status.success(), "{}", words(&told));
        let lines = String::from_utf8(told.stdout).unwrap();
        let records = lines.lines().map(|line| serde_json::from_str::<Record>(line).unwrap());
        records.filter_map(|record| word(&record.entry)).collect::<Vec<_>>().join(" ")
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other entries are no part of the story")]
fn word(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Started { .. } => Some("started".to_owned()),
        Entry::Intended(_) => Some("intended".to_owned()),
        Entry::Sending { batch, .. } => Some(format!("sending-{batch}")),
        Entry::Accepted { batch, .. } => Some(format!("accepted-{batch}")),
        Entry::FoundDone { batch, .. } => Some(format!("found-{batch}")),
        Entry::Failed { batch, .. } => Some(format!("failed-{batch}")),
        Entry::InSync { .. } => Some("in-sync".to_owned()),
        Entry::Ended { outcome: Outcome::Done, .. } => Some("done".to_owned()),
        Entry::Ended { outcome, .. } => Some(format!("{outcome:?}")),
        Entry::Drifted { what } => Some(format!("drifted: {what}")),
        _ => None,
    }
}

/// All at the same time: they mostly wait.
#[tokio::test]
async fn killed_at_any_stage_it_finishes_the_move_and_does_nothing_twice() {
    let plays = POINTS.map(async |(point, story)| {
        Box::pin(Box::pin(Case::prepare(point)).await.play(story)).await;
    });
    join_all(plays).await;
}
