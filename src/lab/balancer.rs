//! A small load balancer: passes requests to the targets that are alive, counts, and turns away too many.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::door::{Answerer, Ask, ask, fetch, says, typed};
use super::losses::Losses;
use super::region::ALIVE;
use crate::balancer::Call;
use crate::domain::Timestamp;
use crate::ports::{Clock, Point, Target, TargetState};

/// Between two checks of each target, and how long one may take.
const CHECK_EVERY: Duration = Duration::from_millis(300);
const CHECK_WITHIN: Duration = Duration::from_millis(1000);
/// Equal checks in a row that change a target's state.
const CHECKS_IN_A_ROW: u32 = 2;
/// An answer of a target may take so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A target that was taken out is told to drain for so long.
const DRAINS_FOR: Duration = Duration::from_secs(1);
/// The part of the requests that a grey balancer drops.
const GREY_DROPS: f64 = 0.5;
/// Seconds of counts that are kept.
const SECONDS_KEPT: i64 = 120;

/// What went through in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Tally {
    requests: u64,
    target_errors: u64,
    balancer_errors: u64,
    /// Requests that came to their end in this second, answered or given up by the caller.
    ended: u64,
    latency_ms: f64,
}

#[derive(Debug)]
struct Checked {
    address: SocketAddr,
    state: TargetState,
    in_a_row: u32,
    /// Taken out: it gets nothing new, and is not told any more after this.
    gone_at: Option<Instant>,
}

/// A target as the balancer knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    pub address: SocketAddr,
    pub state: TargetState,
}

/// What a grey balancer makes of being written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stirred {
    /// Well again once all of its targets were registered anew; nothing else helps.
    Cured,
    /// Drops everything from the first write on, and stays so.
    Worse,
}

/// A fault of the balancer itself: its targets are idle and well.
#[derive(Debug)]
struct Grey {
    drops: f64,
    stirred: Stirred,
    renewed: BTreeSet<SocketAddr>,
    losses: Losses,
}

/// The balancer of one region.
#[derive(Debug)]
pub struct Balancer {
    targets: Mutex<Vec<Checked>>,
    tallies: Mutex<BTreeMap<i64, Tally>>,
    grey: Mutex<Option<Grey>>,
    cured_at: Mutex<Option<Timestamp>>,
    turn: AtomicUsize,
    /// Requests per second; what comes on top is answered 503.
    capacity_rps: u64,
    clock: Arc<dyn Clock>,
}

impl Balancer {
    pub fn new(targets: Vec<SocketAddr>, capacity_rps: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            targets: Mutex::new(targets.into_iter().map(initial).collect()),
            tallies: Mutex::default(),
            grey: Mutex::default(),
            cured_at: Mutex::default(),
            turn: AtomicUsize::new(0),
            capacity_rps,
            clock,
        }
    }

    /// From now on half of the requests are dropped, whatever the targets do.
    pub fn turn_grey(&self, stirred: Stirred) {
        let (renewed, losses) = (BTreeSet::new(), Losses::default());
        let grey = Grey { drops: GREY_DROPS, stirred, renewed, losses };
        *lock(&self.grey) = Some(grey);
    }

    pub fn is_grey(&self) -> bool {
        lock(&self.grey).is_some()
    }

    /// When it was well again.
    pub fn cured_at(&self) -> Option<Timestamp> {
        *lock(&self.cured_at)
    }

    pub fn registrations(&self) -> Vec<Registration> {
        let told = |c: &Checked| Registration { address: c.address, state: c.state };
        lock(&self.targets).iter().map(told).collect()
    }

    /// Sends requests there from now on, if it is not dead.
    pub fn register(&self, address: SocketAddr) {
        let mut targets = lock(&self.targets);
        targets.retain(|checked| checked.address != address);
        targets.push(initial(address));
    }

    /// Sends nothing new there, and forgets it when what is under way had its time.
    pub fn deregister(&self, address: SocketAddr) {
        for checked in lock(&self.targets).iter_mut().filter(|c| c.address == address) {
            checked.state = TargetState::Draining;
            checked.gone_at = Some(Instant::now() + DRAINS_FOR);
        }
    }

    /// Its configuration was written to.
    pub fn touched(&self, call: &Call) {
        let mut grey = lock(&self.grey);
        let Some(ill) = grey.as_mut() else { return };
        match (ill.stirred, call) {
            (Stirred::Worse, _) => ill.drops = 1.0,
            (Stirred::Cured, Call::Register { targets, .. }) => {
                let all = lock(&self.targets);
                ill.renewed.extend(all.iter().map(|checked| checked.address).filter(|known| {
                    targets.iter().any(|new| new.to_string() == known.to_string())
                }));
                if all.iter().all(|checked| ill.renewed.contains(&checked.address)) {
                    *grey = None;
                    *lock(&self.cured_at) = Some(self.clock.now());
                }
            }
            (Stirred::Cured, _) => {}
        }
    }

    /// Whether this request is one of those that get lost.
    fn drops(&self, path: &str) -> bool {
        let mut grey = lock(&self.grey);
        grey.as_mut().is_some_and(|ill| ill.losses.takes(path, ill.drops))
    }

    /// The targets as `DescribeTargetHealth` tells of them.
    pub fn targets(&self) -> Vec<Target> {
        let told = |checked: &Checked| Target {
            id: checked.address.ip().to_string(),
            port: Some(checked.address.port()),
            zone: None,
            state: checked.state,
            reason: match checked.state {
                TargetState::Unhealthy => Some("Target.FailedHealthChecks".to_owned()),
                TargetState::Initial => Some("Elb.InitialHealthChecking".to_owned()),
                TargetState::Healthy
                | TargetState::ShiftedAway
                | TargetState::UnhealthyDraining
                | TargetState::Unused
                | TargetState::Draining
                | TargetState::Unavailable
                | TargetState::Other => None,
            },
            shifted_away: false,
        };
        lock(&self.targets).iter().map(told).collect()
    }

    /// One metric, a point for each whole period. A period without requests has no point, except in
    /// the count of requests itself once anything was counted.
    pub fn points(
        &self,
        metric: &str,
        period: Duration,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<Point> {
        let step = i64::try_from(period.as_secs()).unwrap_or(1).max(1);
        let tallies = lock(&self.tallies);
        let mut points = Vec::new();
        let mut begin = from.as_secs().div_euclid(step) * step;
        while begin + step <= to.as_secs() {
            let mut sum = Tally::default();
            for tally in tallies.range(begin..begin + step).map(|(_, tally)| tally) {
                sum.requests += tally.requests;
                sum.target_errors += tally.target_errors;
                sum.balancer_errors += tally.balancer_errors;
                sum.ended += tally.ended;
                sum.latency_ms += tally.latency_ms;
            }
            if let Some(value) = value(metric, sum, step) {
                points.push(Point { at: Timestamp::from_secs(begin), value });
            }
            begin += step;
        }
        points
    }

    /// Checks the targets until dropped.
    pub async fn check_for_ever(&self) {
        let mut beat = interval(CHECK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let addresses: Vec<SocketAddr> =
                lock(&self.targets).iter().map(|checked| checked.address).collect();
            for address in addresses {
                let request =
                    Ask { address, source: None, host: "alive", path: ALIVE, within: CHECK_WITHIN };
                let alive = ask(request).await.is_ok_and(|(status, _)| status.is_success());
                let state = if alive { TargetState::Healthy } else { TargetState::Unhealthy };
                let mut targets = lock(&self.targets);
                targets.retain(|checked| checked.gone_at.is_none_or(|at| Instant::now() < at));
                let found = targets.iter_mut().find(|checked| checked.address == address);
                if let Some(checked) = found.filter(|checked| checked.gone_at.is_none()) {
                    checked.in_a_row =
                        if checked.state == state { 0 } else { checked.in_a_row + 1 };
                    if checked.in_a_row >= CHECKS_IN_A_ROW {
                        (checked.state, checked.in_a_row) = (state, 0);
                    }
                }
            }
        }
    }

    /// The next target that is not known to be dead; any of them if all are (it fails open, as ALBs do).
    fn next(&self) -> Option<SocketAddr> {
        let targets = lock(&self.targets);
        let alive: Vec<SocketAddr> = targets
            .iter()
            .filter(|checked| {
                !matches!(checked.state, TargetState::Unhealthy | TargetState::Draining)
            })
            .map(|checked| checked.address)
            .collect();
        let choice = if alive.is_empty() {
            targets.iter().map(|checked| checked.address).collect()
        } else {
            alive
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        choice.get(turn % choice.len().max(1)).copied()
    }

    /// Counts a request that begins now. False if it is one too many.
    fn admit(&self, second: i64) -> bool {
        let mut tallies = lock(&self.tallies);
        tallies.retain(|at, _| *at > second - SECONDS_KEPT);
        let tally = tallies.entry(second).or_default();
        tally.requests += 1;
        tally.requests <= self.capacity_rps
    }

    /// The answer, and whether it is the balancer's own.
    async fn pass_on(&self, path: &str, host: &str) -> (Response<Full<Bytes>>, bool) {
        if self.drops(path) {
            return (says(StatusCode::BAD_GATEWAY, "bad gateway\n"), true);
        }
        let Some(address) = self.next() else {
            return (says(StatusCode::SERVICE_UNAVAILABLE, "no target\n"), true);
        };
        let request = Ask { address, source: None, host, path, within: ANSWER_WITHIN };
        match fetch(request).await {
            Ok(answer) => {
                let kind = answer.headers().get(http::header::CONTENT_TYPE).cloned();
                let kind = kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
                (typed(says(answer.status(), answer.body().clone()), kind), false)
            }
            Err(_) => (says(StatusCode::BAD_GATEWAY, "bad gateway\n"), true),
        }
    }
}

#[async_trait]
impl Answerer for Balancer {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        // Also dropped, and so counted, when the caller loses patience.
        let _timed = Timed { balancer: self, begun: Instant::now() };
        let second = self.clock.now().as_secs();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        let (answer, ours) = if self.admit(second) {
            self.pass_on(path, host.unwrap_or("shop")).await
        } else {
            (says(StatusCode::SERVICE_UNAVAILABLE, "overloaded\n"), false)
        };
        let mut tallies = lock(&self.tallies);
        let tally = tallies.entry(second).or_default();
        if answer.status().is_server_error() {
            *if ours { &mut tally.balancer_errors } else { &mut tally.target_errors } += 1;
        }
        drop(tallies);
        answer
    }
}

/// One request, timed until it is answered or given up.
struct Timed<'a> {
    balancer: &'a Balancer,
    begun: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let second = self.balancer.clock.now().as_secs();
        let mut tallies = lock(&self.balancer.tallies);
        let tally = tallies.entry(second).or_default();
        tally.ended += 1;
        tally.latency_ms += self.begun.elapsed().as_secs_f64() * 1000.0;
    }
}

fn initial(address: SocketAddr) -> Checked {
    Checked { address, state: TargetState::Initial, in_a_row: 0, gone_at: None }
}

fn value(metric: &str, sum: Tally, seconds: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "counts of one laboratory")]
    let per = |count: u64, of: u64| (of > 0).then(|| count as f64 / of as f64);
    match metric {
        "TargetErrors" => per(sum.target_errors, sum.requests),
        "BalancerErrors" => per(sum.balancer_errors, sum.requests),
        "Requests" => {
            per(sum.requests, u64::try_from(seconds).unwrap_or(1)).filter(|rps| *rps > 0.0)
        }
        "Latency" => per(1, sum.ended).map(|one| sum.latency_ms * one),
        _ => None,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
