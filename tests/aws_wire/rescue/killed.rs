//! SIGKILL of the real program while it turns routing controls: started again, it finishes the move, turns
//! nothing twice and pulls no other lever.

use std::time::Duration;

use futures_util::future::join_all;
use leeward::memory::{Entry, Outcome};
use tokio::time::{Instant, sleep};

use super::bench::{arc_lever, word};
use crate::aws_wire::program::{PATIENCE, Place, kill, stop, wait_for};
use crate::aws_wire::service::{Shop, eu, folded};
use crate::wire::cluster::{Cluster, GET, UPDATE, control};
use crate::wire::proxy::{Fault, Proxy, Rule, Seen};

/// Where in the move the process is when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// It asks how the controls stand.
    BeforeTheQuestion,
    /// The update is on its way.
    BeforeTheEffect,
    /// The update was taken, its answer not yet heard.
    AfterTheEffect,
}

/// What becomes of it, and the story that the journal tells then.
const POINTS: [(Point, &str); 3] = [
    (
        Point::BeforeTheQuestion,
        "intended, turning, arc read, given up, intended, turning, turned, in sync, done",
    ),
    (
        Point::BeforeTheEffect,
        "intended, turning, arc read, given up, intended, turning, turned, in sync, done",
    ),
    (Point::AfterTheEffect, "intended, turning, turned, in sync, done"),
];

struct Case {
    point: Point,
    shop: Shop,
    cluster: Cluster,
    place: Place,
}

impl Case {
    async fn prepare(point: Point) -> Self {
        let shop = Shop::open(1).await;
        let cluster = Cluster::start(&[("eu", true), ("central", false)]).await;
        let place = Place::new(&shop);
        place.put_first(&arc_lever(&cluster));
        Self { point, shop, cluster, place }
    }

    fn hold_up(&self) -> Vec<Rule> {
        let (action, fault) = match self.point {
            Point::BeforeTheQuestion => (GET, Fault::SilenceBefore),
            Point::BeforeTheEffect => (UPDATE, Fault::SilenceBefore),
            Point::AfterTheEffect => (UPDATE, Fault::SilenceAfter),
        };
        let hold = |endpoint: &Proxy| endpoint.inject(action, "held", fault.clone(), usize::MAX);
        self.cluster.endpoints.iter().map(hold).collect()
    }

    fn is_held_up(&self) -> bool {
        // A request is noted when it had its effect, if it is to have one.
        let held = |seen: &Seen| seen.fault.is_some();
        self.cluster.endpoints.iter().any(|endpoint| endpoint.seen().iter().any(held))
    }

    fn is_done(&self) -> bool {
        let done = |entry: &Entry| matches!(entry, Entry::Ended { outcome: Outcome::Done, .. });
        self.place.journal().iter().any(|record| done(&record.entry))
    }

    async fn play(self, story: &str) {
        let (point, proxy) = (self.point, &self.shop.world.proxy);
        let mut running = self.place.start("first", &proxy.url());
        let log = self.place.log("first");
        wait_for("the first looks", &log, async || proxy.count("DescribeTargetHealth") > 12).await;
        assert_eq!(self.cluster.count(UPDATE), 0, "{point:?}: nothing is turned on a calm day");
        let rules = self.hold_up();
        self.shop.kill(&eu());
        // Each endpoint is waited for by two seconds only.
        let until = Instant::now() + PATIENCE;
        while !self.is_held_up() {
            assert!(Instant::now() < until, "{point:?}: nothing was called");
            sleep(Duration::from_millis(5)).await;
        }
        kill(&mut running).await;
        assert!(!self.is_done(), "{point:?}: the order is open");
        let turned = usize::from(point == Point::AfterTheEffect);
        assert_eq!(self.cluster.changes(), turned, "{point:?}: before the second start");
        for endpoint in &self.cluster.endpoints {
            for rule in &rules {
                endpoint.relieve(rule);
            }
        }

        let sent = self.cluster.count(UPDATE);
        let running = self.place.start("second", &proxy.url());
        let log = self.place.log("second");
        wait_for("the end of the move", &log, async || self.is_done()).await;
        // By now it has seen more of the dead region, and finds nothing to do.
        let looks = proxy.count("DescribeTargetHealth");
        let more = || proxy.count("DescribeTargetHealth") > looks + 20;
        wait_for("more looks", &log, async || more()).await;
        assert_eq!(stop(running).await, Some(0), "{point:?}");

        let moved = [(control("eu"), false), (control("central"), true)].into();
        let taken = self.cluster.taken();
        assert_eq!(taken.iter().map(|t| &t.states).collect::<Vec<_>>(), [&moved], "{point:?}");
        assert_eq!(self.cluster.changes(), 1, "{point:?}: turned once");
        assert_eq!(
            self.cluster.count(UPDATE) - sent,
            1 - turned,
            "{point:?}: what stands is found"
        );
        assert_eq!(self.shop.changes().len(), 0, "{point:?}: no other lever was pulled");
        let told = folded(self.place.journal().iter().filter_map(|record| word(&record.entry)));
        assert_eq!(told, story, "{point:?}");
    }
}

/// All at the same time: they mostly wait.
#[tokio::test]
async fn killed_while_it_turns_routing_controls_it_finishes_and_turns_nothing_twice() {
    let plays = POINTS.map(async |(point, story)| {
        Box::pin(Box::pin(Case::prepare(point)).await.play(story)).await;
    });
    join_all(plays).await;
}
