//! Route 53's data plane in the laboratory: a server of objects on the standby side, and the health checks
//! that look at them from all over the world.
//!
//! The checkers keep to the times of real ones and to the documented rules (`steer`). What they do not
//! have is the time that the last step takes, from a verdict to the name servers: nobody tells it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::door::{Answerer, Ask, Door, ask, says, serve};
use super::zone::Zones;
use crate::ports::{CallFailed, Objects};
use crate::runtime::http;
use crate::steer::{Checks, Found, HealthCheck, Watches};

/// The bucket, on the side that takes over.
pub const BUCKET: &str = "lab-gates";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 12, 2);
/// As many as Route 53 has for a check by default (Developer Guide, "How Amazon Route 53 determines
/// whether a health check is healthy").
const CHECKERS: u32 = 16;
/// One look of a checker, all in all.
const LOOK_WITHIN: Duration = Duration::from_secs(4);
/// One call of the bucket.
const CALL_WITHIN: Duration = Duration::from_secs(2);

/// A bucket over HTTP: who knows a path may `PUT` and `DELETE` there, and everybody may `GET`.
#[derive(Debug, Default)]
struct Store(Mutex<BTreeSet<String>>);

#[async_trait]
impl Answerer for Store {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *request.method() {
            Method::PUT => {
                objects.insert(path);
                says(StatusCode::OK, "")
            }
            Method::DELETE => {
                objects.remove(&path);
                says(StatusCode::NO_CONTENT, "")
            }
            _ if objects.contains(&path) => says(StatusCode::OK, "out\n"),
            _ => says(StatusCode::NOT_FOUND, "no such object\n"),
        }
    }
}

/// Listens for the bucket.
pub async fn bucket() -> io::Result<TcpListener> {
    TcpListener::bind((IpAddr::V4(ADDRESS), 0)).await
}

/// Serves the bucket until dropped.
pub async fn serve_bucket(listener: TcpListener, door: Door) {
    serve(listener, door, Arc::new(Store::default())).await;
}

/// The bucket as Leeward calls it.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    pub address: SocketAddr,
}

impl Bucket {
    /// Where everybody finds an object.
    pub fn url(self, bucket: &str, key: &str) -> String {
        format!("http://{}/{bucket}/{key}", self.address)
    }

    async fn call(self, method: Method, url: &str) -> Result<StatusCode, CallFailed> {
        let call = http::Ask {
            method,
            url,
            body: Bytes::new(),
            headers: Vec::new(),
            answer_max: 1024,
            within: CALL_WITHIN,
        };
        match http::ask(call).await {
            Ok((status, _)) => Ok(status),
            Err(error) => Err(CallFailed::Unknown { why: error.to_string() }),
        }
    }
}

fn well(status: StatusCode) -> Result<(), CallFailed> {
    if status.is_success() {
        return Ok(());
    }
    Err(CallFailed::Refused { code: status.as_str().to_owned(), why: "the bucket".to_owned() })
}

#[async_trait]
impl Objects for Bucket {
    async fn put(&self, _: &str, bucket: &str, key: &str, _: &str) -> Result<(), CallFailed> {
        well(self.call(Method::PUT, &self.url(bucket, key)).await?)
    }

    async fn delete(&self, _: &str, bucket: &str, key: &str) -> Result<(), CallFailed> {
        well(self.call(Method::DELETE, &self.url(bucket, key)).await?)
    }

    async fn exists(&self, _: &str, bucket: &str, key: &str) -> Result<bool, CallFailed> {
        Ok(self.call(Method::GET, &self.url(bucket, key)).await?.is_success())
    }
}

/// One inverted health check, as it was made beforehand.
#[derive(Debug, Clone)]
pub struct Looks {
    pub id: String,
    pub address: SocketAddr,
    pub path: String,
    pub every: Duration,
    pub failures: u32,
}

impl Looks {
    /// Looks until dropped, and tells the name servers what the check says. The checkers look one after
    /// the other, evenly spread over the interval, each `every`.
    pub async fn run(self, zones: Arc<Zones>) {
        let mut checkers = vec![Checker::default(); CHECKERS as usize];
        loop {
            for place in 0..checkers.len() {
                sleep(self.every / CHECKERS).await;
                let there = self.look().await;
                checkers[place].sees(there, self.failures);
                let healthy = checkers.iter().filter(|checker| checker.healthy).count();
                let healthy = u32::try_from(healthy).unwrap_or(CHECKERS);
                let found = Some(Found { healthy, checkers: CHECKERS });
                let watches = Watches::Endpoint { found };
                let check = HealthCheck { inverted: true, ..HealthCheck::new(watches) };
                if let Ok(verdict) = Checks([(self.id.clone(), check)].into()).verdict(&self.id) {
                    zones.set_health(&self.id, verdict);
                }
            }
        }
    }

    /// Whether a checker would call it healthy: 2xx or 3xx in time.
    async fn look(&self) -> bool {
        let host = self.address.to_string();
        let path = &self.path;
        let look =
            Ask { address: self.address, source: None, host: &host, path, within: LOOK_WITHIN };
        matches!(ask(look).await, Ok((status, _)) if status.is_success() || status.is_redirection())
    }
}

/// What one checker makes of it. The check is older than the laboratory: the object was never there.
#[derive(Debug, Clone, Default)]
struct Checker {
    healthy: bool,
    otherwise: u32,
}

impl Checker {
    fn sees(&mut self, healthy: bool, failures: u32) {
        self.otherwise = if healthy == self.healthy { 0 } else { self.otherwise + 1 };
        if self.otherwise >= failures {
            self.healthy = healthy;
            self.otherwise = 0;
        }
    }
}
