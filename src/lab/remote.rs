//! Orders from another terminal: break this, heal that. Loopback only, one line of text each.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::door::{Answerer, Door, says, serve};
use super::region::{FAULT_NAMES, Fault};
use super::setup::Layout;
use crate::domain::RegionName;

/// What somebody wants done to the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    Break { region: RegionName, fault: Fault },
    Heal { region: RegionName },
    Isolate,
    Rejoin,
}

/// The listener. Stops when dropped.
#[derive(Debug)]
pub struct Remote {
    address: SocketAddr,
    _keeps_open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Remote {
    pub async fn start(
        address: SocketAddr,
        layout: &Layout,
        orders: mpsc::Sender<Order>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (keeps_open, open) = watch::channel(true);
        let regions = layout.places.iter().map(|place| place.region.clone()).collect();
        let clerk = Clerk { regions, orders };
        let barred = watch::channel(std::collections::BTreeSet::new()).1;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Door { open, barred }, Arc::new(clerk)));
        Ok(Self { address, _keeps_open: keeps_open, _tasks: tasks })
    }

    /// What to type in the other terminal.
    pub fn usage(&self, layout: &Layout) -> String {
        let region = layout.places.first().map_or("REGION", |place| place.region.as_str());
        let at = if self.address.port() == DEFAULT_PORT {
            String::new()
        } else {
            format!(" --control {}", self.address)
        };
        format!(
            "  from another terminal:\n    leeward lab break {region} {faults}{at}\n    \
             leeward lab heal {region}{at}\n    leeward lab isolate{at}   and   leeward lab rejoin{at}\n    \
             curl -X POST http://{}/break/{region}/down\n",
            self.address,
            faults = FAULT_NAMES.join("|"),
        )
    }
}

/// Where `lab break` looks for the laboratory.
pub const DEFAULT_PORT: u16 = 9465;

#[derive(Debug)]
struct Clerk {
    regions: Vec<RegionName>,
    orders: mpsc::Sender<Order>,
}

#[async_trait]
impl Answerer for Clerk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::POST {
            return says(StatusCode::METHOD_NOT_ALLOWED, "orders are sent by POST\n");
        }
        match read(request.uri().path(), &self.regions) {
            Ok(order) => match self.orders.try_send(order) {
                Ok(()) => says(StatusCode::OK, "done\n"),
                Err(_) => says(StatusCode::SERVICE_UNAVAILABLE, "too many orders\n"),
            },
            Err(why) => says(StatusCode::BAD_REQUEST, format!("{why}\n")),
        }
    }
}

fn read(path: &str, regions: &[RegionName]) -> Result<Order, String> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let region = |name: &str| {
        let found = regions.iter().find(|region| region.as_str() == name);
        let known = || regions.iter().map(RegionName::as_str).collect::<Vec<_>>().join(", ");
        found.cloned().ok_or_else(|| format!("there is no such region; there are {}", known()))
    };
    match parts.as_slice() {
        ["break", name, fault] => {
            let fault = fault.parse::<Fault>().map_err(|error| error.to_string())?;
            Ok(Order::Break { region: region(name)?, fault })
        }
        ["heal", name] => Ok(Order::Heal { region: region(name)? }),
        ["isolate"] => Ok(Order::Isolate),
        ["rejoin"] => Ok(Order::Rejoin),
        _ => Err("expected /break/REGION/FAULT, /heal/REGION, /isolate or /rejoin".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_nonsense_is_refused() {
        let down = Order::Break { region: "dublin".parse().unwrap(), fault: Fault::Down };
        let regions = ["dublin".parse().unwrap()];
        assert_eq!(read("/break/dublin/down", &regions), Ok(down));
        assert_eq!(read("/isolate", &regions), Ok(Order::Isolate));
        for nonsense in ["", "/", "/break/dublin", "/break/dublin/up", "/heal/../x", "/heal/oslo"] {
            assert!(read(nonsense, &regions).is_err(), "{nonsense}");
        }
    }
}
