//! What the services publish and the HTTP side reads: the newest view of each, and own readings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{ServiceName, Timestamp};
use crate::health::Sample;
use crate::ports::Clock;
use crate::report::view::View;
use crate::runtime::gates::Served;
use crate::runtime::peer::{Own, Readings};
use crate::telemetry::Numbers;

/// A service whose last round is older than this hangs: a round is made every few seconds and gives up
/// on a slow edge within half a minute.
pub const ROUND_OLD_AFTER: Duration = Duration::from_secs(90);

/// The body of `/v1/state`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub version: String,
    pub at: Timestamp,
    pub services: BTreeMap<ServiceName, View>,
}

/// Shared by all services and the HTTP side. Locks are held for a copy and no longer.
#[derive(Debug)]
pub struct Board {
    posts: Mutex<BTreeMap<ServiceName, Post>>,
    pub numbers: Arc<Numbers>,
    /// The gates that this process answers.
    pub gates: Arc<Served>,
    clock: Arc<dyn Clock>,
    started: Timestamp,
}

#[derive(Debug)]
struct Post {
    view: View,
    own: Own,
}

impl Board {
    pub fn new(numbers: Arc<Numbers>, clock: Arc<dyn Clock>) -> Self {
        let started = clock.now();
        Self { posts: Mutex::default(), numbers, gates: Arc::default(), clock, started }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn publish(&self, view: View) {
        let mut posts = self.lock();
        match posts.get_mut(&view.service) {
            Some(post) => post.view = view,
            None => {
                posts.insert(view.service.clone(), Post { view, own: Own::default() });
            }
        }
    }

    pub fn keep_readings(&self, service: &ServiceName, samples: &[Sample]) {
        if let Some(post) = self.lock().get_mut(service) {
            for sample in samples {
                post.own.keep(sample);
            }
        }
    }

    /// After a reload: signals and regions may have other names now.
    pub fn forget_readings(&self, service: &ServiceName) {
        if let Some(post) = self.lock().get_mut(service) {
            post.own.clear();
        }
    }

    pub fn state(&self) -> State {
        let posts = self.lock();
        let services = posts.iter().map(|(name, post)| (name.clone(), post.view.clone())).collect();
        State { version: env!("CARGO_PKG_VERSION").to_owned(), at: self.now(), services }
    }

    pub fn readings(&self, service: &ServiceName) -> Option<Readings> {
        let samples = self.lock().get(service)?.own.samples();
        Some(Readings { service: service.clone(), at: self.now(), samples })
    }

    /// What is wrong with the process itself; empty if nothing is.
    pub fn ill(&self) -> Vec<String> {
        let now = self.now();
        let posts = self.lock();
        let old = posts.values().filter_map(|post| {
            let age = now.since(post.view.last_round.unwrap_or(self.started));
            (age > ROUND_OLD_AFTER)
                .then(|| format!("{}: no round for {}s", post.view.service, age.as_secs()))
        });
        let mut ill: Vec<String> = old.collect();
        if posts.is_empty() && now.since(self.started) > ROUND_OLD_AFTER {
            ill.push("no service runs".to_owned());
        }
        ill
    }

    /// What is missing before all services can be relied on; empty if nothing is.
    pub fn unready(&self) -> Vec<String> {
        let posts = self.lock();
        if posts.is_empty() {
            return vec!["no service runs yet".to_owned()];
        }
        let missing = posts.values().flat_map(|post| {
            let service = &post.view.service;
            let of = |done: bool, what: &str| (!done).then(|| format!("{service}: {what}"));
            [
                of(post.view.ready.journal_open, "the journal is not open"),
                of(post.view.ready.answers_read, "the records were never read"),
                of(post.view.ready.windows_full, "the windows are not full"),
            ]
        });
        missing.flatten().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Post>> {
        // A view is replaced whole, so that a panic elsewhere leaves no half of one behind.
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
