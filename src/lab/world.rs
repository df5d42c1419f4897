//! Everything that runs in the laboratory except Leeward itself: regions, name server, beacon, visitors.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clients::{Book, Crowd};
use super::door::{Answerer, Door, says, serve};
use super::elb::Elb;
use super::gates::{self, BUCKET, Looks};
use super::instruments::Instruments;
use super::nameserver::NameServer;
use super::pipeline::{self, Pipeline};
use super::region::{Fault, Region};
use super::resort;
use super::setup::{
    self, BEACON, CAPACITY_RPS, CHECK_EVERY, CHECK_FAILURES, HOST, Layout, Place, Props, Resort,
    Tempo, WITNESS, ZONE, ZONE_ID, places, vantage_addresses,
};
use super::zone::{Impairment, Zones};
use crate::domain::{Malformed, RegionName, Timestamp, Weight};
use crate::plan::{RecordData, RecordSet};
use crate::ports::Clock;
use crate::steer::weighted;

/// As long as a real caller waits for a change that is not answered, or longer.
const NO_ANSWER: Duration = Duration::from_secs(8);
/// Ports tried until one is free at every address.
const PORT_TRIES_MAX: usize = 32;

/// What the world is made of.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub regions: usize,
    /// Visitors' requests per second.
    pub requests_per_second: u32,
    /// Of the name server; zero for any.
    pub dns_port: u16,
    pub tempo: Tempo,
    pub seed: u64,
    pub props: Props,
}

/// The running world. Stops when dropped.
#[derive(Debug)]
pub struct World {
    pub layout: Layout,
    pub regions: Vec<Region>,
    pub zones: Arc<Zones>,
    pub book: Arc<Book>,
    pub instruments: Arc<Instruments>,
    pub pipeline: Option<Arc<Pipeline>>,
    /// Where the last resort will answer.
    resort: Option<TcpListener>,
    pub elb: Arc<Elb>,
    barred: watch::Sender<BTreeSet<IpAddr>>,
    name_server: NameServer,
    _keeps_open: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Why there is no world.
#[derive(Debug, thiserror::Error)]
pub enum NoWorld {
    #[error("listen on loopback: {0}")]
    Listen(#[from] io::Error),
    #[error(transparent)]
    Name(#[from] Malformed),
}

impl World {
    pub async fn start(size: Size, clock: Arc<dyn Clock>) -> Result<Self, NoWorld> {
        let places = places(size.regions, size.props.two);
        let (barred, bars) = watch::channel(BTreeSet::new());
        let resort = setup::resort().filter(|_| size.props.resort);
        let addresses = places.iter().flat_map(|place| &place.fronts).map(|front| front.address);
        let addresses: Vec<IpAddr> =
            addresses.chain(resort.iter().map(|resort| resort.address)).collect();
        let mut listeners = listeners(&addresses).await?;
        let at_resort = if resort.is_some() { listeners.pop() } else { None };
        let port = listeners.first().map_or(Ok(0), |first| first.local_addr().map(|a| a.port()))?;
        let mut regions = Vec::new();
        let mut instruments = Instruments::default();
        let mut elb = Elb::default();
        let mut listeners = listeners.into_iter();
        for place in &places {
            let mut region: Option<Region> = None;
            for (front, listener) in place.fronts.iter().zip(&mut listeners) {
                let (bars, clock) = (bars.clone(), Arc::clone(&clock));
                let balancer = match &mut region {
                    Some(region) => region.add(listener, CAPACITY_RPS, bars, clock).await?,
                    None => {
                        let name = place.region.clone();
                        let new = Region::start(name, listener, CAPACITY_RPS, bars, clock).await?;
                        Arc::clone(&region.insert(new).balancer)
                    }
                };
                let group = front.target_group(place.aws_region);
                instruments.add(front.name(), group, &balancer);
                elb.add(place.aws_region, front, port, &balancer);
            }
            regions.extend(region);
        }
        let zones = Arc::new(Zones::new(Arc::clone(&clock), size.tempo.propagation, size.seed));
        let name_server = NameServer::start(Arc::clone(&zones), size.dns_port).await?;
        let records = records(&places, resort.as_ref(), size.tempo)?;
        let address = name_server.address;
        zones.add(ZONE_ID.parse()?, ZONE.parse()?, vec![format!("ns1.{ZONE}")], records);

        let beacon = TcpListener::bind((BEACON, 0)).await?;
        let bucket = gates::bucket().await?;
        let mut layout = Layout {
            places,
            port,
            name_server: address,
            beacon: beacon.local_addr()?,
            bucket: bucket.local_addr()?,
            tempo: size.tempo,
            resort,
            pipeline: None,
        };
        let (keeps_open, open) = watch::channel(true);
        let mut tasks = JoinSet::new();
        let (_, everybody) = watch::channel(BTreeSet::new());
        let bucket_door = Door { open: open.clone(), barred: everybody };
        tasks.spawn(gates::serve_bucket(bucket, bucket_door));
        if let Some(home) = layout.places.first() {
            tasks.spawn(looks(&layout, home).run(Arc::clone(&zones)));
        }
        let pipeline = if size.props.pipeline {
            let listener = TcpListener::bind((pipeline::ADDRESS, 0)).await?;
            layout.pipeline = Some((listener.local_addr()?, PathBuf::new()));
            let pipeline = Pipeline::new(regions.iter().map(Region::faulty).collect());
            let (_, everybody) = watch::channel(BTreeSet::new());
            let door = Door { open: open.clone(), barred: everybody };
            tasks.spawn(serve(listener, door, Arc::<Pipeline>::clone(&pipeline)));
            Some(pipeline)
        } else {
            None
        };
        tasks.spawn(serve(beacon, Door { open, barred: bars }, Arc::new(Neutral)));
        let book = Arc::new(Book::default());
        tasks.spawn(crowd(&layout, size, clock, &book)?.run());
        let instruments = Arc::new(instruments);
        Ok(Self {
            layout,
            regions,
            zones,
            book,
            instruments,
            pipeline,
            resort: at_resort,
            elb: Arc::new(elb),
            barred,
            name_server,
            _keeps_open: keeps_open,
            tasks,
        })
    }

    /// Copies the shop into `folder`, and shows the copy where the last resort is. Nothing, if there is none.
    pub async fn open_the_resort(&mut self, folder: &Path, now: Timestamp) -> Result<(), String> {
        let Some(listener) = self.resort.take() else { return Ok(()) };
        let Some(home) = self.regions.first() else { return Ok(()) };
        let show = resort::copy(home.address, folder, now).await?;
        self.tasks.spawn(show.serve(listener, CancellationToken::new()));
        Ok(())
    }

    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name.as_str() == name)
    }

    pub fn home(&self) -> Option<&Region> {
        self.regions.first()
    }

    /// The way from all vantages to everywhere breaks, or is open again. Visitors come another way.
    pub fn isolate(&self, isolated: bool) {
        let from = if isolated { vantage_addresses().collect() } else { BTreeSet::new() };
        self.barred.send_replace(from);
    }

    pub fn is_isolated(&self) -> bool {
        !self.barred.borrow().is_empty()
    }

    /// The API of Route 53 answers no call any more, or again. Name servers and health checks go on.
    pub fn break_the_api(&self, broken: bool) {
        self.zones.impair(if broken { Impairment::Hangs(NO_ANSWER) } else { Impairment::None });
    }

    /// Shares of the answers now, in per cent, by the weights and the health checks in force.
    pub fn answers(&self) -> BTreeMap<RegionName, u8> {
        let Ok(zone) = ZONE_ID.parse() else { return BTreeMap::new() };
        let sets = self.zones.in_force(&zone);
        let weighed = sets.into_iter().filter(|set| set.kind == "A").filter_map(|set| {
            let health = self.zones.health_of(&set);
            Some((set.set_identifier?.parse::<RegionName>().ok()?, set.weight?.0, health))
        });
        let shares = weighted(weighed).into_iter();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let percent = shares.map(|(region, share)| (region, (share * 100.0).round() as u8));
        percent.collect()
    }

    /// Whether a region that carries visitors is broken.
    pub fn fault_of(&self, region: &RegionName) -> Fault {
        self.region(region.as_str()).map_or(Fault::None, Region::fault)
    }

    /// Balancers at home that drop requests.
    pub fn is_grey(&self) -> bool {
        self.home().is_some_and(|home| home.balancers().any(|balancer| balancer.is_grey()))
    }

    /// Balancers at home that were cured, in that order.
    pub fn cured(&self) -> Vec<String> {
        let (Some(home), Some(place)) = (self.home(), self.layout.places.first()) else {
            return Vec::new();
        };
        let mut cured: Vec<_> = home
            .balancers()
            .zip(&place.fronts)
            .filter_map(|(balancer, front)| Some((balancer.cured_at()?, front.name())))
            .collect();
        cured.sort();
        cured.into_iter().map(|(_, name)| name).collect()
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.name_server.stop().await;
    }
}

/// One listener for each balancer and the last resort, all on the same port.
async fn listeners(addresses: &[IpAddr]) -> io::Result<Vec<TcpListener>> {
    let mut tries = 0;
    loop {
        let mut listeners: Vec<TcpListener> = Vec::new();
        let mut failed = None;
        for address in addresses {
            let port =
                listeners.first().map_or(Ok(0), |first| first.local_addr().map(|a| a.port()))?;
            match TcpListener::bind((*address, port)).await {
                Ok(listener) => listeners.push(listener),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => return Ok(listeners),
            Some(error) if tries == PORT_TRIES_MAX => return Err(error),
            Some(_) => tries += 1,
        }
    }
}

/// The shop's own records, and beside each a witness of the same weight and health check.
fn records(
    places: &[Place],
    resort: Option<&Resort>,
    tempo: Tempo,
) -> Result<Vec<RecordSet>, Malformed> {
    let health_check = |number: usize| places.first().filter(|_| number == 0).map(Place::gate_key);
    let record = |(number, (region, addresses)): (usize, (&RegionName, Vec<IpAddr>))| {
        let shop = RecordSet {
            zone: ZONE_ID.parse()?,
            name: HOST.parse()?,
            kind: "A".to_owned(),
            set_identifier: Some(region.to_string()),
            weight: Some(Weight(if number == 0 { 100 } else { 0 })),
            ttl: Some(u32::try_from(tempo.ttl.as_secs()).unwrap_or(1)),
            data: RecordData::Values(addresses.iter().map(ToString::to_string).collect()),
            health_check: health_check(number),
            foreign: Vec::new(),
        };
        let witness = RecordSet {
            name: WITNESS.parse()?,
            kind: "TXT".to_owned(),
            data: RecordData::Values(vec![format!("\"{region}\"")]),
            ..shop.clone()
        };
        Ok([shop, witness])
    };
    let fronts = |place: &Place| place.fronts.iter().map(|front| front.address).collect();
    let all = places.iter().map(|place| (&place.region, fronts(place)));
    let all = all.chain(resort.iter().map(|resort| (&resort.region, vec![resort.address])));
    let both: Result<Vec<_>, Malformed> = all.enumerate().map(record).collect();
    Ok(both?.into_iter().flatten().collect())
}

/// The health check that was made for the gate of the home region.
fn looks(layout: &Layout, home: &Place) -> Looks {
    Looks {
        id: home.gate_key(),
        address: layout.bucket,
        path: format!("/{BUCKET}/{}", home.gate_key()),
        every: CHECK_EVERY,
        failures: CHECK_FAILURES,
    }
}

fn crowd(
    layout: &Layout,
    size: Size,
    clock: Arc<dyn Clock>,
    book: &Arc<Book>,
) -> Result<Crowd, Malformed> {
    Ok(Crowd {
        name_server: layout.name_server,
        host: HOST.parse()?,
        port: layout.port,
        regions: layout
            .places
            .iter()
            .flat_map(|place| &place.fronts)
            .map(|front| (front.address, front.region.clone()))
            .chain(layout.resort.iter().map(|resort| (resort.address, resort.region.clone())))
            .collect(),
        ttl: size.tempo.ttl,
        requests_per_second: size.requests_per_second,
        clock,
        book: Arc::clone(book),
    })
}

/// A place that has nothing to do with the shop.
#[derive(Debug)]
struct Neutral;

#[async_trait]
impl Answerer for Neutral {
    async fn answer(&self, _request: Request<Incoming>) -> Response<Full<Bytes>> {
        says(StatusCode::OK, "still here\n")
    }
}
