//! The queue before one channel: the gravest first, what belongs together as one message, a bounded rate, a
//! bounded number of tries.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Bundle, Way, rank};
use crate::tell::{Letter, Severity, Thread};

/// Messages that may wait for one channel. More are refused and go elsewhere.
const WAITING_MAX: usize = 64;

/// Waits before the second and the third try. A channel that failed last time gets one try only: those
/// that stand in for it must not wait for nothing each time.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Messages at once after a pause, and the time in which one more is allowed. Pages have an allowance of
/// their own, which no flood of warnings can use up. Slack's webhooks take one a second, `PagerDuty` two.
const BURST: u32 = 10;
const ONE_EACH: Duration = Duration::from_secs(10);

/// A note that somebody waits for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) letter: Letter,
    pub(super) done: oneshot::Sender<Result<(), String>>,
}

/// A token bucket by tokio's clock.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Takes one, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.left < BURST && now.duration_since(self.since) >= ONE_EACH {
            self.left += 1;
            self.since += ONE_EACH;
        }
        if self.left == BURST {
            self.since = now;
        }
        self.left = self.left.checked_sub(1).ok_or(self.since + ONE_EACH)?;
        Ok(())
    }
}

enum Next {
    Send(Vec<Job>),
    Wait(Instant),
    Nothing,
}

pub(super) struct Line {
    way: Way,
    jobs: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    pages: Allowance,
    others: Allowance,
    failed: bool,
}

impl Line {
    pub(super) fn new(way: &Way) -> (mpsc::Sender<Job>, Self) {
        let (sender, jobs) = mpsc::channel(WAITING_MAX);
        let now = Instant::now();
        let line = Self {
            way: way.clone(),
            jobs,
            waiting: VecDeque::new(),
            pages: Allowance::new(now),
            others: Allowance::new(now),
            failed: false,
        };
        (sender, line)
    }

    pub(super) async fn run(mut self) {
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                self.take_in(job);
            }
            match self.next(Instant::now()) {
                Next::Send(jobs) => self.send(jobs).await,
                Next::Wait(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    Some(job) = self.jobs.recv() => self.take_in(job),
                },
                Next::Nothing => match self.jobs.recv().await {
                    Some(job) => self.take_in(job),
                    None => return,
                },
            }
        }
    }

    fn take_in(&mut self, job: Job) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(job);
        } else {
            // Whoever waits for it may be gone; then nobody is to be told.
            let _ = job.done.send(Err("too many messages wait for it".to_owned()));
        }
    }

    /// All that waits of the thread with the gravest note; of several the one that waits longest.
    fn next(&mut self, now: Instant) -> Next {
        let gravest =
            |jobs: &VecDeque<Job>| jobs.iter().map(|job| rank(job.letter.note.severity)).max();
        let Some(most) = gravest(&self.waiting) else { return Next::Nothing };
        let allowance =
            if most == rank(Severity::Page) { &mut self.pages } else { &mut self.others };
        if let Err(until) = allowance.take(now) {
            return Next::Wait(until);
        }
        let first = self.waiting.iter().find(|job| rank(job.letter.note.severity) == most);
        let thread: Option<Thread> = first.map(|job| job.letter.note.thread.clone());
        let (together, others): (Vec<Job>, Vec<Job>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|job| Some(&job.letter.note.thread) == thread.as_ref());
        self.waiting = others.into();
        Next::Send(together)
    }

    async fn send(&mut self, jobs: Vec<Job>) {
        let mut letters: Vec<&Letter> = jobs.iter().map(|job| &job.letter).collect();
        letters.sort_by_key(|letter| letter.note.sequence);
        let page = letters.last().and_then(|letter| letter.page.clone());
        let notes = letters.into_iter().map(|letter| letter.note.clone()).collect();
        let result = self.carry(&Bundle { notes, page }).await;
        self.failed = result.is_err();
        for job in jobs {
            // Whoever waits for it may be gone; then nobody is to be told.
            let _ = job.done.send(result.clone());
        }
    }

    async fn carry(&self, bundle: &Bundle) -> Result<(), String> {
        let mut pauses = AGAIN_AFTER.iter();
        loop {
            let (why, again) = match timeout(self.way.within, self.way.carrier.carry(bundle)).await
            {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(untaken)) => (untaken.why, untaken.again),
                Err(_) => (format!("no answer within {:?}", self.way.within), true),
            };
            match pauses.next().filter(|_| again && !self.failed) {
                Some(pause) => sleep(*pause).await,
                None => return Err(why),
            }
        }
    }
}
