//! A small load balancer: passes requests to the targets that are alive, counts, and turns away too many.

use std::collections::BTreeMap;
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
use super::region::ALIVE;
use crate::domain::Timestamp;
use crate::ports::{Clock, Point, Target, TargetState};

/// Between two checks of each target, and how long one may take.
const CHECK_EVERY: Duration = Duration::from_millis(300);
const CHECK_WITHIN: Duration = Duration::from_millis(1000);
/// Equal checks in a row that change a target's state.
const CHECKS_IN_A_ROW: u32 = 2;
/// An answer of a target may take so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
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
}

/// The balancer of one region.
#[derive(Debug)]
pub struct Balancer {
    targets: Mutex<Vec<Checked>>,
    tallies: Mutex<BTreeMap<i64, Tally>>,
    turn: AtomicUsize,
    /// Requests per second; what comes on top is answered 503.
    capacity_rps: u64,
    clock: Arc<dyn Clock>,
}

impl Balancer {
    pub fn new(targets: Vec<SocketAddr>, capacity_rps: u64, clock: Arc<dyn Clock>) -> Self {
        let initial = |address| Checked { address, state: TargetState::Initial, in_a_row: 0 };
        Self {
            targets: Mutex::new(targets.into_iter().map(initial).collect()),
            tallies: Mutex::default(),
            turn: AtomicUsize::new(0),
            capacity_rps,
            clock,
        }
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
            for (place, address) in addresses.into_iter().enumerate() {
                let request =
                    Ask { address, source: None, host: "alive", path: ALIVE, within: CHECK_WITHIN };
                let alive = ask(request).await.is_ok_and(|(status, _)| status.is_success());
                let state = if alive { TargetState::Healthy } else { TargetState::Unhealthy };
                if let Some(checked) = lock(&self.targets).get_mut(place) {
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
            .filter(|checked| checked.state != TargetState::Unhealthy)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
