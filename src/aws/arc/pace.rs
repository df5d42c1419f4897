//! At most three writes a second to one cluster, over all services together.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// AWS allows three mutating calls per second and cluster endpoint (Developer Guide, "Quotas for
/// routing control"). We keep to it for the cluster as a whole.
const WRITES_MAX: usize = 3;
/// A second as it may look to the other end, where calls arrive closer together than they were sent.
const SECOND: Duration = Duration::from_millis(1100);

/// When the last writes went out.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    sent: Mutex<VecDeque<Instant>>,
}

impl Writes {
    /// Waits until one more write is allowed, and takes it.
    pub(crate) async fn turn(&self) {
        while let Some(wait) = self.wait() {
            sleep(wait).await;
        }
    }

    /// How long to wait; `None` if the write was taken.
    fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|at| now.saturating_duration_since(*at) < SECOND);
        match sent.front() {
            Some(oldest) if sent.len() >= WRITES_MAX => {
                Some((*oldest + SECOND).duration_since(now))
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
        let writes = Arc::new(Writes::default());
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
