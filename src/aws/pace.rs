//! So many calls in so much time, over all services together, where an account has a bucket of its own for them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// When the last calls of one kind went out.
#[derive(Debug)]
pub(crate) struct Recent {
    most: usize,
    within: Duration,
    sent: Mutex<VecDeque<Instant>>,
}

impl Recent {
    /// At most `most` in any `within`.
    pub(crate) fn new(most: usize, within: Duration) -> Self {
        Self { most, within, sent: Mutex::default() }
    }

    /// Waits until one more call is allowed, and takes it.
    pub(crate) async fn turn(&self) {
        while let Some(wait) = self.wait() {
            sleep(wait).await;
        }
    }

    /// How long to wait; `None` if the call was taken.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|at| now.saturating_duration_since(*at) < self.within);
        match sent.front() {
            Some(oldest) if sent.len() >= self.most => {
                Some((*oldest + self.within).duration_since(now))
            }
            Some(_) | None => {
                sent.push_back(now);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_three_writes_however_many_wait() {
        let writes = Arc::new(crate::aws::arc::writes());
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let writes = Arc::clone(&writes);
            waiting.spawn(async move {
                writes.turn().await;
                Instant::now()
            });
        }
        let mut times = waiting.join_all().await;
        times.sort();
        for four in times.windows(4) {
            assert!(four[3] - four[0] >= Duration::from_secs(1), "{four:?}");
        }
        let whole = times[9] - times[0];
        assert!(whole < Duration::from_secs(4), "and no slower than it must be: {whole:?}");
    }
}
