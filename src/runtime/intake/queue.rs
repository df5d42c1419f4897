//! Polls queues and hands what they bring to the services that name them.
//!
//! A message is deleted when it was handled, or kept aside. What could not be handled is let go early, so
//! that it comes again soon; how often that may happen is for the queue's own redrive policy to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Door, From, Intake};
use crate::domain::ServiceName;
use crate::ports::{Message, Queue, QueuePlace};

/// Between two tries at a queue that does not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);
/// A message that could not be handled comes again after this long for each time it came before.
const RELEASE_AFTER: Duration = Duration::from_secs(5);
const RELEASE_AFTER_MAX: Duration = Duration::from_secs(120);

type Wanted = (String, String);

/// Polls whatever queues the running policies name, until `stop`.
pub async fn poll_all(queues: Arc<dyn Queue>, intake: Arc<Intake>, stop: CancellationToken) {
    let mut changed = intake.registry.subscribe();
    let mut tasks = JoinSet::new();
    let mut running: BTreeMap<Wanted, (Id, CancellationToken)> = BTreeMap::new();
    loop {
        let wanted: BTreeSet<Wanted> = intake.registry.queues().into_keys().collect();
        running.retain(|queue, (_, end)| {
            let keep = wanted.contains(queue);
            if !keep {
                end.cancel();
            }
            keep
        });
        for (aws_region, url) in wanted {
            let key = (aws_region.clone(), url.clone());
            if running.contains_key(&key) {
                continue;
            }
            info!(url, aws_region, "Polling a queue.");
            let end = stop.child_token();
            let place = QueuePlace { url, aws_region };
            let poller = Poller { queues: Arc::clone(&queues), intake: Arc::clone(&intake), place };
            let task = tasks.spawn(poller.run(end.clone()));
            running.insert(key, (task.id(), end));
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Ok(()) = changed.changed() => {}
            Some(ended) = tasks.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => {
                        error!(%error, "Polling a queue broke down and begins again.");
                        sleep(AGAIN_AFTER).await;
                        error.id()
                    }
                };
                running.retain(|_, (running, _)| *running != id);
            }
        }
    }
    tasks.shutdown().await;
}

pub(super) struct Poller {
    pub(super) queues: Arc<dyn Queue>,
    pub(super) intake: Arc<Intake>,
    pub(super) place: QueuePlace,
}

impl Poller {
    async fn run(self, stop: CancellationToken) {
        let mut wait = AGAIN_AFTER;
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = self.queues.receive(&self.place) => received,
            };
            match received {
                Ok(messages) => {
                    wait = AGAIN_AFTER;
                    // Together: they wait for the same round.
                    let all = messages.iter().map(|message| self.handle(message));
                    futures_util::future::join_all(all).await;
                }
                Err(failure) => {
                    warn!(url = self.place.url, %failure, "A queue cannot be read.");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(wait) => {}
                    }
                    wait = (wait * 2).min(AGAIN_AFTER_MAX);
                }
            }
        }
    }

    async fn handle(&self, message: &Message) {
        let mut later = None;
        let services: BTreeSet<ServiceName> = self
            .intake
            .registry
            .queues()
            .remove(&(self.place.aws_region.clone(), self.place.url.clone()))
            .unwrap_or_default();
        if services.is_empty() {
            later = Some("no service names this queue any more".to_owned());
        }
        for service in services {
            let why = self.bring(&service, message.body.as_bytes()).await;
            later = later.or(why);
        }
        let result = match &later {
            None => self.queues.delete(&self.place, message).await,
            Some(why) => {
                warn!(
                    url = self.place.url,
                    id = message.id,
                    why,
                    "Not handled; it will come again."
                );
                let times = message.times.clamp(1, 64);
                let after = (RELEASE_AFTER * times).min(RELEASE_AFTER_MAX);
                self.queues.release(&self.place, message, after).await
            }
        };
        if let Err(failure) = result {
            // It comes again by itself, and is then known as a duplicate.
            warn!(url = self.place.url, id = message.id, %failure, "A message could not be put away.");
        }
    }

    /// Brings it to one service; why it is to come again, if it is.
    pub(super) async fn bring(&self, service: &ServiceName, body: &[u8]) -> Option<String> {
        // Its policy may have dropped the queue since: then nothing says whose word counts.
        let Some(topics) = self.topics(service) else {
            return Some(format!("`{service}` does not name this queue any more"));
        };
        let from = From { door: Door::Queue, by: None, may: None, topics: &topics };
        self.intake.take(service, from, body).await.later
    }

    /// Topics that are taken, where empty means all; `None` if the service does not name this queue.
    fn topics(&self, service: &ServiceName) -> Option<BTreeSet<String>> {
        let registered = self.intake.registry.find(service)?;
        let mut queues = registered.policy.triggers.queues.iter();
        let queue = queues.find(|queue| queue.url == self.place.url)?;
        Some(queue.topics.clone())
    }
}
