//! A region of the laboratory: two instances of the shop behind a balancer, and what can go wrong with it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::balancer::{Balancer, lock};
use super::door::{Answerer, Door, says, serve, typed};
use super::losses::Losses;
use crate::domain::{Malformed, RegionName};
use crate::ports::Clock;

/// Instances behind each balancer.
const INSTANCES: usize = 2;
/// Where the balancer asks an instance whether it is alive. Shallow on purpose: it says nothing about
/// whether the shop works, as most such checks in the world.
pub const ALIVE: &str = "/alive";

/// What is wrong with a region.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Fault {
    #[default]
    None,
    /// Balancer and instances are gone: connections are refused.
    Down,
    /// This part of the requests fails.
    Brownout(f64),
    /// Everything takes so much longer.
    Slow(Duration),
    /// The shop fails every request, yet its instances say they are alive.
    Rotten,
}

/// What a fault is called on the command line.
pub const FAULT_NAMES: [&str; 4] = ["down", "brownout", "slow", "rotten"];

impl FromStr for Fault {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "down" => Ok(Self::Down),
            "brownout" => Ok(Self::Brownout(0.5)),
            "slow" => Ok(Self::Slow(Duration::from_millis(1500))),
            "rotten" => Ok(Self::Rotten),
            _ => Err(Malformed {
                text: text.chars().take(40).collect(),
                what: "fault",
                expected: "`down`, `brownout`, `slow` or `rotten`",
            }),
        }
    }
}

impl fmt::Display for Fault {
    /// What is true of the region: "is ...".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("well"),
            Self::Down => f.write_str("down: connections are refused"),
            Self::Brownout(part) => {
                write!(f, "browning out: {:.0}% of the requests fail", part * 100.0)
            }
            Self::Slow(by) => write!(f, "slow: every answer takes {} ms more", by.as_millis()),
            Self::Rotten => f.write_str("rotten: it says it is alive and fails every request"),
        }
    }
}

/// What lets faults into a region, for whoever breaks and mends it.
#[derive(Debug, Clone)]
pub struct Faulty {
    fault: watch::Sender<Fault>,
    open: watch::Sender<bool>,
}

impl Faulty {
    /// Lets a fault in, or heals the region.
    pub fn break_with(&self, fault: Fault) {
        self.fault.send_replace(fault);
        self.open.send_replace(fault != Fault::Down);
    }
}

/// A running region. Stops when dropped.
#[derive(Debug)]
pub struct Region {
    pub name: RegionName,
    pub balancer: Arc<Balancer>,
    pub address: SocketAddr,
    /// Further balancers, each with instances of its own.
    pub more: Vec<Arc<Balancer>>,
    faulty: Faulty,
    tasks: JoinSet<()>,
}

impl Region {
    /// Starts the instances, and the balancer on `listener`.
    pub async fn start(
        name: RegionName,
        listener: TcpListener,
        capacity_rps: u64,
        barred: watch::Receiver<BTreeSet<IpAddr>>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (fault, open) = (watch::channel(Fault::None).0, watch::channel(true).0);
        let (mut tasks, faulty) = (JoinSet::new(), Faulty { fault, open });
        let balancer =
            front(&name, listener, capacity_rps, barred, clock, &faulty, &mut tasks).await?;
        Ok(Self { name, balancer, address, more: Vec::new(), faulty, tasks })
    }

    /// One more balancer.
    pub async fn add(
        &mut self,
        listener: TcpListener,
        capacity_rps: u64,
        barred: watch::Receiver<BTreeSet<IpAddr>>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Arc<Balancer>> {
        let (faulty, tasks) = (&self.faulty, &mut self.tasks);
        let more = front(&self.name, listener, capacity_rps, barred, clock, faulty, tasks).await?;
        self.more.push(Arc::clone(&more));
        Ok(more)
    }

    /// All of them.
    pub fn balancers(&self) -> impl Iterator<Item = &Arc<Balancer>> {
        std::iter::once(&self.balancer).chain(&self.more)
    }

    /// Lets a fault in, or heals the region.
    pub fn break_with(&self, fault: Fault) {
        self.faulty.break_with(fault);
    }

    pub fn fault(&self) -> Fault {
        *self.faulty.fault.borrow()
    }

    pub fn faulty(&self) -> Faulty {
        self.faulty.clone()
    }
}

/// Instances and, on `listener`, the balancer before them.
async fn front(
    name: &RegionName,
    listener: TcpListener,
    capacity_rps: u64,
    barred: watch::Receiver<BTreeSet<IpAddr>>,
    clock: Arc<dyn Clock>,
    faulty: &Faulty,
    tasks: &mut JoinSet<()>,
) -> std::io::Result<Arc<Balancer>> {
    let nobody = watch::channel(BTreeSet::new()).1;
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        instances.push(listener.local_addr()?);
        let instance = Instance {
            region: name.clone(),
            fault: faulty.fault.subscribe(),
            losses: Mutex::default(),
        };
        let door = Door { open: faulty.open.subscribe(), barred: nobody.clone() };
        tasks.spawn(serve(listener, door, Arc::new(instance)));
    }
    let balancer = Arc::new(Balancer::new(instances, capacity_rps, clock));
    let door = Door { open: faulty.open.subscribe(), barred };
    let answerer: Arc<dyn Answerer> = Arc::<Balancer>::clone(&balancer);
    tasks.spawn(serve(listener, door, answerer));
    let checking = Arc::clone(&balancer);
    tasks.spawn(async move { checking.check_for_ever().await });
    Ok(balancer)
}

/// One process of the shop.
#[derive(Debug)]
struct Instance {
    region: RegionName,
    fault: watch::Receiver<Fault>,
    losses: Mutex<Losses>,
}

#[async_trait]
impl Answerer for Instance {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let fault = *self.fault.borrow();
        let path = request.uri().path().to_owned();
        if path == ALIVE {
            return says(StatusCode::OK, "alive\n");
        }
        let well = || shop(&path, &self.region);
        match fault {
            Fault::None | Fault::Down => well(),
            Fault::Slow(by) => {
                sleep(by).await;
                well()
            }
            Fault::Rotten => says(StatusCode::INTERNAL_SERVER_ERROR, "the shop is broken\n"),
            Fault::Brownout(part) => {
                if lock(&self.losses).takes(&path, part) {
                    says(StatusCode::SERVICE_UNAVAILABLE, "too much to do\n")
                } else {
                    well()
                }
            }
        }
    }
}

/// The shop when it works: two pages, their style, and a word for everything else.
fn shop(path: &str, region: &RegionName) -> Response<Full<Bytes>> {
    let page = |title: &str, text: &str| {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <link rel=\"stylesheet\" href=\"/shop.css\"></head>\n<body><h1>{title}</h1>\n<p>{text}</p>\n\
             <p>ok from {region}</p></body></html>\n"
        )
    };
    let (kind, text) = match path {
        "/" => {
            let links = "<a href=\"/help\">Help</a> <a href=\"/cart\">Your cart</a>";
            (HTML, page("The shop", &format!("Everything must go. {links}")))
        }
        "/help" => (HTML, page("Help", "We are here for you. <a href=\"/\">Back to the shop</a>")),
        "/shop.css" => {
            ("text/css", "body { font: 1.1rem/1.5 sans-serif; margin: 2rem }\n".to_owned())
        }
        _ => ("text/plain", format!("ok from {region}\n")),
    };
    typed(says(StatusCode::OK, text), kind)
}

const HTML: &str = "text/html; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::lab::door::{Ask, ask};
    use crate::ports::TargetState;

    async fn region() -> (Region, watch::Sender<BTreeSet<IpAddr>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (bar, barred) = watch::channel(BTreeSet::new());
        let name = "dublin".parse().unwrap();
        (Region::start(name, listener, 100, barred, Arc::new(SystemClock)).await.unwrap(), bar)
    }

    async fn get(region: &Region) -> Result<StatusCode, String> {
        let request = Ask {
            address: region.address,
            source: Some("127.0.0.9".parse().unwrap()),
            host: "shop.lab.test",
            path: "/",
            within: Duration::from_secs(5),
        };
        ask(request).await.map(|(status, _)| status)
    }

    #[tokio::test]
    async fn a_region_serves_breaks_and_heals() {
        let (region, _bar) = region().await;
        assert_eq!(get(&region).await, Ok(StatusCode::OK));
        region.break_with(Fault::Rotten);
        assert_eq!(get(&region).await, Ok(StatusCode::INTERNAL_SERVER_ERROR));
        region.break_with(Fault::Down);
        for _ in 0..100 {
            if get(&region).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert!(get(&region).await.unwrap_err().contains("refused"));
        region.break_with(Fault::None);
        for _ in 0..100 {
            if get(&region).await == Ok(StatusCode::OK) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("it never heals");
    }

    #[tokio::test]
    async fn a_brownout_fails_its_part_of_the_requests() {
        let (region, _bar) = region().await;
        region.break_with(Fault::Brownout(0.5));
        let mut failed = 0;
        for _ in 0..60 {
            failed += u32::from(get(&region).await == Ok(StatusCode::SERVICE_UNAVAILABLE));
        }
        assert!((25..=35).contains(&failed), "{failed}");
    }

    #[tokio::test]
    async fn a_barred_caller_meets_silence() {
        let (region, bar) = region().await;
        bar.send_replace(BTreeSet::from(["127.0.0.9".parse().unwrap()]));
        let request = Ask {
            address: region.address,
            source: Some("127.0.0.9".parse().unwrap()),
            host: "shop.lab.test",
            path: "/",
            within: Duration::from_millis(200),
        };
        assert_eq!(ask(request).await.unwrap_err(), "no answer in time");
        let other = Ask { source: None, within: Duration::from_secs(5), ..request };
        assert_eq!(ask(other).await.unwrap().0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_region_that_is_down_has_unhealthy_targets() {
        let (region, _bar) = region().await;
        let all = |state| region.balancer.targets().iter().all(|target| target.state == state);
        for (fault, state) in
            [(Fault::None, TargetState::Healthy), (Fault::Down, TargetState::Unhealthy)]
        {
            region.break_with(fault);
            for _ in 0..200 {
                if all(state) {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            assert!(all(state), "{:?}", region.balancer.targets());
        }
    }

    #[tokio::test]
    async fn more_than_the_capacity_is_turned_away() {
        let (region, _bar) = region().await;
        let mut turned_away = 0;
        for _ in 0..400 {
            turned_away += u32::from(get(&region).await == Ok(StatusCode::SERVICE_UNAVAILABLE));
        }
        // All of it takes well under four seconds on any machine that can run this.
        assert!(turned_away > 0);
    }
}
