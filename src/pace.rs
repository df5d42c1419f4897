//! Our own limits on calls and on record changes, over all services together, well under the account's.

mod refreshed;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::refreshed::Refreshes;
use crate::policy::{ElbPace, Pace};

pub use self::refreshed::Refreshed;

/// A throttled call halves both rates for so long.
const SLOW_FOR: Duration = Duration::from_secs(30);
/// At most so many halvings: an eighth of the pace is slow enough, and never zero.
const HALVINGS_MAX: u32 = 3;
/// A wait is never said to be longer, whatever the rates.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The buckets of Elastic Load Balancing, each per account and region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Elb {
    Reads,
    /// Looks at targets, as a signal: half as much again as reads, in a bucket of their own, because a
    /// refresh reads twenty things at once and would never find as many tokens beside steady looks.
    Watching,
    Registrations,
    Writes,
    Subnets,
}

impl Elb {
    /// Tokens a second, and at most so many together. The bursts of changes are half of the service's.
    const fn rate(self, pace: &ElbPace) -> (f64, f64) {
        match self {
            Self::Reads => (pace.calls_per_second, pace.calls_burst),
            Self::Watching => pace.looks(),
            Self::Registrations => (pace.registrations_per_second, 10.0),
            Self::Writes => (pace.changes_per_second, 10.0),
            Self::Subnets => (pace.subnets_per_second, 5.0),
        }
    }
}

/// Two token buckets, one for calls and one for record changes. Share it in an `Arc`.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    state: Mutex<State>,
    elb_pace: ElbPace,
    /// By region: tokens, and when they were counted.
    elb: Mutex<BTreeMap<(String, Elb), (f64, Instant)>>,
    /// By region: whose turn it is to wait for tokens.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    refreshes: Mutex<Refreshes>,
}

#[derive(Debug)]
struct State {
    requests: f64,
    changes: f64,
    filled_at: Instant,
    halvings: u32,
    slow_until: Instant,
}

impl Pacer {
    pub fn new(pace: Pace) -> Self {
        let now = Instant::now();
        let state = State {
            requests: pace.requests_burst,
            changes: pace.changes_burst,
            filled_at: now,
            halvings: 0,
            slow_until: now,
        };
        let elb_pace = ElbPace::default();
        Self {
            pace,
            state: Mutex::new(state),
            elb_pace,
            elb: Mutex::default(),
            turns: Mutex::default(),
            refreshes: Mutex::default(),
        }
    }

    /// The same with other limits for Elastic Load Balancing.
    #[must_use]
    pub fn with_elb(self, elb_pace: ElbPace) -> Self {
        Self { elb_pace, ..self }
    }

    /// Takes the tokens of one step, all or none; says how long to wait otherwise.
    ///
    /// What is dearer than the whole burst passes when the bucket is full and is paid off afterwards;
    /// the planner never makes such a batch.
    pub fn try_take(&self, requests: u32, change_tokens: usize) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let factor = self.refill(&mut state);
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most 1,000 changes")]
        let (requests, changes) = (f64::from(requests), change_tokens as f64);
        let wait = wait_for(
            requests,
            state.requests,
            self.pace.requests_per_second * factor,
            self.pace.requests_burst,
        )
        .max(wait_for(
            changes,
            state.changes,
            self.pace.changes_per_second * factor,
            self.pace.changes_burst,
        ));
        if wait > Duration::ZERO {
            return Err(wait);
        }
        state.requests -= requests;
        state.changes -= changes;
        Ok(())
    }

    /// A call that took so many tokens is over. The service may have counted it as late as now, and nothing flows
    /// into a bucket that is full: what flowed into ours while the call was on its way is not ours to spend on
    /// top of that.
    pub fn answered(&self, change_tokens: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.refill(&mut state);
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most 1,000 changes")]
        let left = self.pace.changes_burst - change_tokens as f64;
        state.changes = state.changes.min(left.max(0.0));
    }

    /// Takes tokens of a bucket of Elastic Load Balancing, all or none; says how long to wait otherwise.
    /// What is dearer than the burst passes when the bucket is full and is paid off afterwards.
    pub fn try_take_elb(&self, aws_region: &str, bucket: Elb, tokens: u32) -> Result<(), Duration> {
        let (rate, burst) = bucket.rate(&self.elb_pace);
        let now = Instant::now();
        let mut buckets = self.elb.lock().unwrap_or_else(PoisonError::into_inner);
        let (has, at) = buckets.entry((aws_region.to_owned(), bucket)).or_insert((burst, now));
        *has = (*has + now.saturating_duration_since(*at).as_secs_f64() * rate).min(burst);
        *at = now;
        let wait = wait_for(f64::from(tokens), *has, rate, burst);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        *has -= f64::from(tokens);
        Ok(())
    }

    /// Waits for the tokens of so many looks at targets. Whoever came first has them first.
    pub async fn turn_to_watch(&self, aws_region: &str, looks: usize) {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(aws_region.to_owned()).or_default())
        };
        let _mine = turn.lock().await;
        let tokens = u32::try_from(looks).unwrap_or(u32::MAX);
        while let Err(wait) = self.try_take_elb(aws_region, Elb::Watching, tokens) {
            tokio::time::sleep(wait).await;
        }
    }

    /// The service said that we are too fast, whatever our own count: somebody else shares the account.
    pub fn throttled(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.refill(&mut state);
        state.halvings = (state.halvings + 1).min(HALVINGS_MAX);
        state.slow_until = Instant::now() + SLOW_FOR;
        state.requests = state.requests.min(0.0);
    }

    /// Adds what has flowed in since the last look. Returns the part of the full rate now in force.
    fn refill(&self, state: &mut State) -> f64 {
        let now = Instant::now();
        let add = |state: &mut State, until: Instant, factor: f64| {
            let seconds = until.saturating_duration_since(state.filled_at).as_secs_f64() * factor;
            state.requests = (state.requests + seconds * self.pace.requests_per_second)
                .min(self.pace.requests_burst);
            state.changes = (state.changes + seconds * self.pace.changes_per_second)
                .min(self.pace.changes_burst);
            state.filled_at = state.filled_at.max(until);
        };
        if state.halvings > 0 {
            let slow_until = state.slow_until.min(now);
            add(state, slow_until, slowed(state.halvings));
            if now >= state.slow_until {
                state.halvings = 0;
            }
        }
        let factor = slowed(state.halvings);
        add(state, now, factor);
        factor
    }
}

fn slowed(halvings: u32) -> f64 {
    0.5_f64.powi(i32::try_from(halvings).unwrap_or(0))
}

fn wait_for(needs: f64, has: f64, rate: f64, burst: f64) -> Duration {
    let missing = needs.min(burst) - has;
    // A billionth of a token is rounding, not a shortage.
    if missing <= 1e-9 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(missing / rate)
        .unwrap_or(WAIT_MAX)
        .clamp(Duration::from_millis(1), WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer() -> Pacer {
        Pacer::new(Pace {
            requests_per_second: 5.0,
            requests_burst: 25.0,
            changes_per_second: 80.0,
            changes_burst: 1200.0,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_rules() {
        let pacer = pacer();
        for _ in 0..25 {
            assert_eq!(pacer.try_take(1, 0), Ok(()));
        }
        assert_eq!(pacer.try_take(1, 0), Err(Duration::from_millis(200)));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(pacer.try_take(1, 0), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn subnets_are_set_once_in_ten_seconds_and_regions_do_not_share() {
        let pacer = pacer();
        for _ in 0..5 {
            assert_eq!(pacer.try_take_elb("eu-west-1", Elb::Subnets, 1), Ok(()));
        }
        let wait = pacer.try_take_elb("eu-west-1", Elb::Subnets, 1).unwrap_err();
        assert_eq!(wait, Duration::from_secs(10));
        assert_eq!(pacer.try_take_elb("us-east-1", Elb::Subnets, 1), Ok(()));
        assert_eq!(pacer.try_take_elb("eu-west-1", Elb::Writes, 1), Ok(()));
        tokio::time::advance(wait).await;
        assert_eq!(pacer.try_take_elb("eu-west-1", Elb::Subnets, 1), Ok(()));
        // A large reading passes once and is paid off.
        assert_eq!(pacer.try_take_elb("eu-west-1", Elb::Reads, 50), Ok(()));
        assert!(
            pacer.try_take_elb("eu-west-1", Elb::Reads, 1).unwrap_err() > Duration::from_secs(6)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_policy_may_set_other_limits_for_balancers() {
        let slow = ElbPace { calls_per_second: 0.5, calls_burst: 2.0, ..ElbPace::default() };
        let pacer = pacer().with_elb(slow.slower(ElbPace::default()));
        assert_eq!(pacer.try_take_elb("eu-west-1", Elb::Reads, 2), Ok(()));
        let wait = pacer.try_take_elb("eu-west-1", Elb::Reads, 1).unwrap_err();
        assert_eq!(wait, Duration::from_secs(2));
        assert_eq!(pacer.try_take_elb("eu-west-1", Elb::Registrations, 10), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_have_a_bucket_of_their_own() {
        let pacer = pacer();
        assert_eq!(pacer.try_take(1, 1000), Ok(()));
        assert_eq!(pacer.try_take(1, 1000), Err(Duration::from_secs(10)));
        assert_eq!(pacer.try_take(1, 200), Ok(()));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(pacer.try_take(1, 1200), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_does_not_let_the_next_one_be_too_early() {
        let pacer = pacer();
        assert_eq!(pacer.try_take(1, 1000), Ok(()));
        tokio::time::advance(Duration::from_secs(30)).await;
        pacer.answered(1000);
        assert_eq!(pacer.try_take(1, 1000), Err(Duration::from_secs(10)));
        assert_eq!(pacer.try_take(1, 200), Ok(()));
        // A bucket that was not full loses nothing by a call.
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(pacer.try_take(1, 700), Ok(()));
        tokio::time::advance(Duration::from_secs(2)).await;
        pacer.answered(700);
        assert_eq!(pacer.try_take(1, 260), Ok(()));
        assert!(pacer.try_take(1, 1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_when_one_bucket_is_short() {
        let pacer = pacer();
        assert_eq!(pacer.try_take(0, 1200), Ok(()));
        for _ in 0..100 {
            assert!(pacer.try_take(1, 1).is_err());
        }
        assert_eq!(pacer.try_take(25, 0), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_rate_and_not_for_ever() {
        let pacer = pacer();
        pacer.throttled();
        assert_eq!(pacer.try_take(1, 0), Err(Duration::from_millis(400)));
        for _ in 0..10 {
            pacer.throttled();
        }
        assert_eq!(pacer.try_take(1, 0), Err(Duration::from_millis(1600)));
        tokio::time::advance(SLOW_FOR + Duration::from_secs(10)).await;
        assert_eq!(pacer.try_take(25, 0), Ok(()));
        assert_eq!(pacer.try_take(1, 0), Err(Duration::from_millis(200)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dearer_than_the_burst_passes_once_it_is_full_and_is_paid_off() {
        let pacer = pacer();
        assert_eq!(pacer.try_take(1, 2000), Ok(()));
        assert_eq!(pacer.try_take(1, 80), Err(Duration::from_secs(11)));
    }
}
