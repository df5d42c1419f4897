//! How often something may be done: a burst at once, and after that so many a second.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Door;
use crate::domain::ServiceName;

/// A token bucket, full at first.
#[derive(Debug)]
pub(super) struct Bucket {
    most: f64,
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(most: f64, per_second: f64) -> Self {
        Self { most, per_second, tokens: most, at: Instant::now() }
    }

    /// Takes a token; false if none is left.
    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        let refill = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + refill).min(self.most);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// A bucket for each door of each service, all of the same size.
#[derive(Debug)]
pub(super) struct ByDoor {
    most: f64,
    per_second: f64,
    buckets: Mutex<BTreeMap<(ServiceName, Door), Bucket>>,
}

impl ByDoor {
    pub(super) fn new(most: f64, per_second: f64) -> Self {
        Self { most, per_second, buckets: Mutex::default() }
    }

    /// Takes a token of one door; false if too many were taken there.
    pub(super) fn take(&self, service: &ServiceName, door: Door) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry((service.clone(), door));
        bucket.or_insert_with(|| Bucket::new(self.most, self.per_second)).take()
    }
}
