//! A steady stream of clients that ask the laboratory's name server, keep its answers as long as they may,
//! and count what they get.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::door::{Ask, ask};
use crate::answers::DnsResolver;
use crate::domain::{RecordName, RegionName, Timestamp};
use crate::ports::{Clock, Resolver};

/// One in so many clients keeps an answer longer than it may, as some of the world's resolvers do.
const STRAGGLER_EACH: u32 = 20;
/// How many times longer.
const STRAGGLER_KEEPS: u32 = 2;
/// Clients; each asks in turn, so each keeps its own answer.
const CLIENTS: u32 = 20;
/// Patience of a client.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// The grain of the book.
const GRAIN_MILLIS: i64 = 100;
/// Grains that are kept: six hours.
const GRAINS_MAX: usize = 6 * 3600 * 10;

/// What was sent in a while, by the region it was addressed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    pub regions: BTreeMap<RegionName, Count>,
    /// Requests that had no address to go to.
    pub unresolved: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub sent: u64,
    pub served: u64,
}

impl Sent {
    pub fn all(&self) -> Count {
        let mut all = Count { sent: self.unresolved, served: 0 };
        for count in self.regions.values() {
            all.sent += count.sent;
            all.served += count.served;
        }
        all
    }

    fn add(&mut self, other: &Self) {
        self.unresolved += other.unresolved;
        for (region, count) in &other.regions {
            let sum = self.regions.entry(region.clone()).or_default();
            sum.sent += count.sent;
            sum.served += count.served;
        }
    }
}

/// The book that all clients write into, by the time at which a request was sent.
#[derive(Debug, Default)]
pub struct Book(Mutex<BTreeMap<i64, Sent>>);

impl Book {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, at: Timestamp, region: Option<&RegionName>) {
        let mut book = self.lock();
        let sent = book.entry(grain(at)).or_default();
        match region {
            Some(region) => sent.regions.entry(region.clone()).or_default().sent += 1,
            None => sent.unresolved += 1,
        }
        while book.len() > GRAINS_MAX {
            book.pop_first();
        }
    }

    /// Written down under the time at which it was sent.
    fn served(&self, sent_at: Timestamp, region: &RegionName) {
        let mut book = self.lock();
        let count = book.get_mut(&grain(sent_at)).and_then(|sent| sent.regions.get_mut(region));
        if let Some(count) = count {
            count.served += 1;
        }
    }

    /// What was sent from `from` on and before `to`, to a tenth of a second.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Sent {
        let mut sum = Sent::default();
        if from < to {
            for (_, sent) in self.lock().range(grain(from)..grain(to)) {
                sum.add(sent);
            }
        }
        sum
    }
}

fn grain(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(GRAIN_MILLIS)
}

/// What clients know: whom to ask, and what for.
#[derive(Debug, Clone)]
pub struct Crowd {
    pub name_server: SocketAddr,
    pub host: RecordName,
    pub port: u16,
    pub regions: BTreeMap<IpAddr, RegionName>,
    pub ttl: Duration,
    /// Over all clients together.
    pub requests_per_second: u32,
    pub clock: Arc<dyn Clock>,
    pub book: Arc<Book>,
}

impl Crowd {
    /// Sends until dropped.
    pub async fn run(self) {
        let mut clients = JoinSet::new();
        let apart = Duration::from_secs(1) / self.requests_per_second.max(1);
        for number in 0..CLIENTS {
            let client = Client {
                crowd: self.clone(),
                number: number as usize,
                keeps: if number % STRAGGLER_EACH == STRAGGLER_EACH - 1 {
                    self.ttl * STRAGGLER_KEEPS
                } else {
                    self.ttl
                },
            };
            // Each begins at its place in the row, so that requests are evenly spread.
            clients.spawn(client.run(apart * number, apart * CLIENTS));
        }
        while clients.join_next().await.is_some() {}
    }
}

struct Client {
    crowd: Crowd,
    /// Which of several addresses it takes.
    number: usize,
    keeps: Duration,
}

impl Client {
    async fn run(self, first: Duration, every: Duration) {
        sleep(first).await;
        let crowd = Arc::new(self.crowd);
        let mut kept: Option<(SocketAddr, Instant)> = None;
        let mut under_way = JoinSet::new();
        let mut beat = interval(every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            beat.tick().await;
            if kept.is_none_or(|(_, until)| until <= Instant::now()) {
                let address = resolve(&crowd, self.number).await;
                kept = address.map(|address| (address, Instant::now() + self.keeps));
            }
            // A slow answer must not keep a visitor from trying again: people press reload.
            under_way.spawn(visit(Arc::clone(&crowd), kept.map(|(address, _)| address)));
            while under_way.try_join_next().is_some() {}
        }
    }
}

async fn resolve(crowd: &Crowd, number: usize) -> Option<SocketAddr> {
    let resolver = DnsResolver::new(PATIENCE);
    let answer = resolver.ask(&crowd.name_server.to_string(), &crowd.host, "A").await.ok()?;
    let address: IpAddr = answer.get(number % answer.len().max(1))?.parse().ok()?;
    Some(SocketAddr::new(address, crowd.port))
}

async fn visit(crowd: Arc<Crowd>, address: Option<SocketAddr>) {
    let sent_at = crowd.clock.now();
    let region = address.and_then(|address| crowd.regions.get(&address.ip()));
    crowd.book.sent(sent_at, region);
    let (Some(address), Some(region)) = (address, region) else { return };
    let host = crowd.host.as_str();
    let request = Ask { address, source: None, host, path: "/", within: PATIENCE };
    if ask(request).await.is_ok_and(|(status, _)| status == StatusCode::OK) {
        crowd.book.served(sent_at, region);
    }
}
