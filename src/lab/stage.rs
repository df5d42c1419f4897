//! One performance: starts everything, breaks what the script says, shows it, and sums up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::control::{At, Control, Moment};
use super::outage::{Act, Demand, Outage, Script};
use super::pipeline::{self, NEW_VERSION};
use super::region::Fault;
use super::remote::{Order, Remote};
use super::setup::Front;
use super::show;
use super::summary::{Facts, Summary, Verdict};
use super::world::{NoWorld, Size, World};
use crate::domain::{RegionName, Timestamp};
use crate::policy;
use crate::ports::Clock;

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A line speaks of the second that ended this long ago: by then its requests have their answers, but
/// for those that wait in vain.
const LINE_DELAY: Duration = Duration::from_millis(100);
/// The last requests get their answers in this time, or never.
const LAST_ANSWERS: Duration = Duration::from_millis(300);

/// What is to be played.
#[derive(Debug, Clone, Copy)]
pub struct Show<'a> {
    /// `None`: hands on.
    pub outage: Option<Outage>,
    pub size: Size,
    /// A refresh of a grey balancer makes it worse.
    pub harm: bool,
    /// Hands on ends after this long, if not by ctrl-c.
    pub lasts: Option<Duration>,
    /// Where orders from another terminal come in.
    pub control: Option<std::net::SocketAddr>,
    pub state: &'a Path,
    /// Where the service answers; any free port if it is not given.
    pub listen: Option<std::net::SocketAddr>,
    /// The whole policy is printed at the beginning.
    pub print_policy: bool,
}

/// Why there is no performance.
#[derive(Debug, thiserror::Error)]
pub enum NoShow {
    #[error(transparent)]
    World(#[from] NoWorld),
    #[error("write `{path}`: {error}")]
    Write { path: String, error: std::io::Error },
    #[error("the laboratory's own policy is wrong:\n{0}")]
    Policy(String),
    #[error("copy the shop for the last resort: {0}")]
    Resort(String),
    #[error("find a free port: {0}")]
    Port(std::io::Error),
    #[error("listen for orders on {address}: {error}")]
    Remote { address: std::net::SocketAddr, error: std::io::Error },
    #[error("the controller ended: {0}")]
    Ended(String),
}

/// Plays it. `screen` takes one line at a time. `stop` ends it early and in order.
pub async fn play(
    show: Show<'_>,
    clock: Arc<dyn Clock>,
    screen: &mut dyn FnMut(&str),
    stop: CancellationToken,
) -> Result<(Summary, Verdict), NoShow> {
    let mut world = World::start(show.size, Arc::clone(&clock)).await?;
    let copy = show.state.join("copy");
    world.open_the_resort(&copy, clock.now()).await.map_err(NoShow::Resort)?;
    if let Some((_, key)) = &mut world.layout.pipeline {
        *key = std::path::absolute(show.state.join("pipeline.key"))
            .unwrap_or_else(|_| show.state.join("pipeline.key"));
        std::fs::write(&*key, pipeline::KEY)
            .map_err(|error| NoShow::Write { path: key.display().to_string(), error })?;
    }
    let text = world.layout.policy();
    let path = show.state.join("policy.yaml");
    std::fs::write(&path, &text)
        .map_err(|error| NoShow::Write { path: path.display().to_string(), error })?;
    let (policy, warnings) = policy::load(&text, &path.display().to_string())
        .map_err(|problems| NoShow::Policy(problems.render(false)))?;
    let script =
        show.outage.map(|outage| outage.script(show.size.regions, show.size.tempo, show.harm));
    let title = script.as_ref().map_or("hands on", |script| script.title);
    let visitors = show.size.requests_per_second;
    let listen = match show.listen {
        Some(address) => address,
        None => free_address()?,
    };
    let file = path.display().to_string();
    screen(&show::head(&world.layout, title, &file, listen, visitors));
    for warning in warnings {
        screen(&format!("  warning: {}", warning.message));
    }
    if show.print_policy {
        text.lines().for_each(|line| screen(&format!("    {line}")));
        screen("");
    }
    let (orders, given) = mpsc::channel(16);
    let remote = match show.control {
        Some(address) => Some(
            Remote::start(address, &world.layout, orders)
                .await
                .map_err(|error| NoShow::Remote { address, error })?,
        ),
        None => None,
    };
    if let Some(remote) = &remote {
        screen(&remote.usage(&world.layout));
    }
    screen(&show::columns(&world.layout));
    let now = Arc::clone(&clock);
    let intake = world.pipeline.is_some().then(free_address).transpose()?;
    let control = Control::start(&world, policy.service, path, show.state, listen, intake, now);
    let mut stage = Stage::new(&show, script, world, control, clock, given);
    stage.intake = intake;
    let interrupted = stage.run(screen, stop).await?;
    let ended_at = stage.clock.now();
    sleep(LAST_ANSWERS).await;
    let result = stage.sum_up(interrupted, ended_at);
    stage.control.stop().await;
    stage.world.stop().await;
    drop(remote);
    Ok(result)
}

/// A port that was free a moment ago: its number is printed before the service listens.
fn free_address() -> Result<std::net::SocketAddr, NoShow> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|listener| listener.local_addr()).map_err(NoShow::Port)
}

struct Stage {
    outage: Option<Outage>,
    lasts: Option<Duration>,
    script: Option<Script>,
    next_step: usize,
    world: World,
    control: Control,
    clock: Arc<dyn Clock>,
    orders: mpsc::Receiver<Order>,
    began: Instant,
    began_at: Timestamp,
    lines: u32,
    chronicle: Vec<At>,
    broke_at: Option<Timestamp>,
    healed_at: Option<Timestamp>,
    destination_healed_at: Option<Timestamp>,
    /// Where the service takes events.
    intake: Option<std::net::SocketAddr>,
    /// Events on their way to it.
    announcing: JoinSet<Result<(), String>>,
    /// Since when visitors are sent to the last resort.
    at_resort_since: Option<Instant>,
    /// Since when nothing was lost and nothing was left to do.
    calm_since: Option<Instant>,
    home: RegionName,
}

impl Stage {
    fn new(
        show: &Show<'_>,
        script: Option<Script>,
        world: World,
        control: Control,
        clock: Arc<dyn Clock>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let home = world.layout.places[0].region.clone();
        Self {
            outage: show.outage,
            lasts: show.lasts,
            script,
            next_step: 0,
            world,
            control,
            orders,
            began: Instant::now(),
            began_at: clock.now(),
            clock,
            lines: 0,
            chronicle: Vec::new(),
            broke_at: None,
            healed_at: None,
            destination_healed_at: None,
            intake: None,
            announcing: JoinSet::new(),
            at_resort_since: None,
            calm_since: None,
            home,
        }
    }

    /// Until it is over. True if somebody stopped it.
    async fn run(
        &mut self,
        screen: &mut dyn FnMut(&str),
        stop: CancellationToken,
    ) -> Result<bool, NoShow> {
        let mut beat = interval(LOOK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(true),
                _ = beat.tick() => {}
            }
            match self.control.ended().await {
                None => {}
                // The service heard the signal first.
                Some(Ok(())) => return Ok(true),
                Some(Err(why)) => return Err(NoShow::Ended(why)),
            }
            self.look_at_the_resort();
            self.look_at_the_pipeline(screen);
            self.follow_script(screen);
            self.follow_orders(screen);
            self.hear(screen);
            self.draw(screen);
            if self.is_over() {
                return Ok(false);
            }
        }
    }

    fn follow_script(&mut self, screen: &mut dyn FnMut(&str)) {
        while let Some(script) = &self.script
            && let Some((due, act)) = script.steps.get(self.next_step).copied()
            && self.began.elapsed() >= due
            && (!matches!(act, Act::Restore { .. }) || self.was_at_resort())
        {
            self.next_step += 1;
            self.act(act, screen);
        }
    }

    /// Visitors were served by the last resort for a while.
    fn was_at_resort(&self) -> bool {
        let after = self.world.layout.tempo.after;
        self.at_resort_since.is_some_and(|since| since.elapsed() >= after)
    }

    fn look_at_the_resort(&mut self) {
        let Some(resort) = &self.world.layout.resort else { return };
        let shares = self.world.answers();
        if self.at_resort_since.is_none() && shares.get(&resort.region) == Some(&100) {
            self.at_resort_since = Some(Instant::now());
        }
    }

    /// The pipeline brings a new version everywhere, and says so.
    fn roll_out(&mut self, screen: &mut dyn FnMut(&str)) {
        let (Some(pipeline), Some(intake)) = (&self.world.pipeline, self.intake) else { return };
        let now = self.clock.now();
        pipeline.roll_out();
        self.broke_at = Some(now);
        let regions = self.world.regions.iter().map(|region| region.name.to_string()).collect();
        self.announcing.spawn(async move { pipeline::announce(intake, regions, now).await });
        let text = format!("{NEW_VERSION} is rolled out everywhere, and fails every request");
        screen(&show::done(self.began.elapsed(), &text));
    }

    fn look_at_the_pipeline(&mut self, screen: &mut dyn FnMut(&str)) {
        while let Some(said) = self.announcing.try_join_next() {
            let text = match said {
                Ok(Ok(())) => format!("the pipeline told Leeward of {NEW_VERSION}"),
                Ok(Err(why)) => format!("the pipeline could not tell Leeward of it: {why}"),
                Err(error) => format!("the pipeline could not tell Leeward of it: {error}"),
            };
            screen(&show::done(self.began.elapsed(), &text));
        }
        let undone = self.world.pipeline.as_ref().is_some_and(|pipeline| pipeline.undone() > 0);
        if undone && self.healed_at.is_none() {
            self.healed_at = Some(self.clock.now());
            let text = format!("the pipeline was called, and took {NEW_VERSION} back everywhere");
            screen(&show::done(self.began.elapsed(), &text));
        }
    }

    fn act(&mut self, act: Act, screen: &mut dyn FnMut(&str)) {
        let named = |region: usize| self.world.regions.get(region).map(|r| r.name.clone());
        match act {
            Act::Break { region, fault } => {
                if let Some(name) = named(region) {
                    self.set(&name, fault, screen);
                }
            }
            Act::RollOut => self.roll_out(screen),
            Act::Heal { region } | Act::Restore { region } => {
                if let Some(name) = named(region) {
                    self.set(&name, Fault::None, screen);
                }
            }
            Act::Isolate => self.isolate(true, screen),
            Act::Rejoin => self.isolate(false, screen),
            Act::Grey { region, balancer, stirred } => {
                let front =
                    self.world.layout.places.get(region).and_then(|p| p.fronts.get(balancer));
                let Some(name) = front.map(Front::name) else { return };
                let region = self.world.regions.get(region);
                if let Some(balancer) = region.and_then(|r| r.balancers().nth(balancer)) {
                    balancer.turn_grey(stirred);
                }
                self.broke_at = self.broke_at.or(Some(self.clock.now()));
                let text = format!("{name} drops half of the requests; its targets are well");
                screen(&show::done(self.began.elapsed(), &text));
            }
            Act::BreakApi => {
                self.world.break_the_api(true);
                let text = "the API of Route 53 is dead from now on; its name servers go on";
                screen(&show::done(self.began.elapsed(), text));
            }
        }
    }

    fn set(&mut self, name: &RegionName, fault: Fault, screen: &mut dyn FnMut(&str)) {
        let now = self.clock.now();
        let Some(region) = self.world.region(name.as_str()) else { return };
        region.break_with(fault);
        if *name == self.home {
            match fault {
                Fault::None => self.healed_at = self.broke_at.map(|_| now),
                Fault::Down | Fault::Brownout(_) | Fault::Slow(_) | Fault::Rotten => {
                    self.broke_at = self.broke_at.or(Some(now));
                    self.healed_at = None;
                }
            }
        } else if fault == Fault::None {
            self.destination_healed_at = Some(now);
        }
        let again = if fault == Fault::None { " again" } else { "" };
        screen(&show::done(self.began.elapsed(), &format!("{name} is {fault}{again}")));
    }

    fn isolate(&mut self, isolated: bool, screen: &mut dyn FnMut(&str)) {
        self.world.isolate(isolated);
        let text = if isolated {
            "our own network breaks: no probe gets an answer from anywhere"
        } else {
            "our own network is well again"
        };
        screen(&show::done(self.began.elapsed(), text));
    }

    fn follow_orders(&mut self, screen: &mut dyn FnMut(&str)) {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Break { region, fault } => self.set(&region, fault, screen),
                Order::Heal { region } => self.set(&region, Fault::None, screen),
                Order::Isolate => self.isolate(true, screen),
                Order::Rejoin => self.isolate(false, screen),
            }
        }
    }

    fn hear(&mut self, screen: &mut dyn FnMut(&str)) {
        for moment in self.control.news() {
            let at = moment.at.since(self.began_at);
            if let Some(text) = show::moment(at, &moment.what) {
                screen(&text);
            }
            self.chronicle.push(moment);
        }
    }

    /// One line for each second that is over.
    fn draw(&mut self, screen: &mut dyn FnMut(&str)) {
        while self.began.elapsed() >= Duration::from_secs(1) * (self.lines + 1) + LINE_DELAY {
            self.lines += 1;
            let at = Duration::from_secs(1) * self.lines;
            let to = self.began_at.plus(at);
            let sent = self.world.book.between(to.minus(Duration::from_secs(1)), to);
            let decision = self.control.decision();
            screen(&show::line(at, &self.world, &sent, decision.as_ref()));
            let all = sent.all();
            let calm = all.sent > 0 && all.sent == all.served && self.has_come_to_rest();
            self.calm_since = if calm { self.calm_since.or(Some(Instant::now())) } else { None };
        }
    }

    /// The script is through, and what it demands of the answers is so.
    fn has_come_to_rest(&self) -> bool {
        let Some(script) = &self.script else { return false };
        let at_home = self.world.answers().get(&self.home).copied().unwrap_or_default();
        let moved = self.chronicle.iter().any(|moment| moment.what == Moment::InForce);
        let through = self.next_step >= script.steps.len();
        match script.demand {
            Demand::Cured => through && !self.world.is_grey(),
            Demand::Moves | Demand::MovesOnceHealed { .. } | Demand::MovesAfterHarm => {
                through && moved && at_home == 0
            }
            Demand::Stays | Demand::MovesOnceAtMost => false,
            Demand::LastResortAndHome => through && at_home == 100,
            Demand::TakenBack => through && self.healed_at.is_some(),
        }
    }

    fn is_over(&self) -> bool {
        let elapsed = self.began.elapsed();
        match &self.script {
            Some(script) => {
                let calm = self
                    .calm_since
                    .is_some_and(|since| since.elapsed() >= self.world.layout.tempo.after);
                calm || elapsed >= script.limit
            }
            None => self.lasts.is_some_and(|lasts| elapsed >= lasts),
        }
    }

    fn sum_up(&self, interrupted: bool, ended_at: Timestamp) -> (Summary, Verdict) {
        let facts = Facts {
            outage: self.outage,
            demand: self.script.as_ref().map(|script| script.demand),
            broke_at: self.broke_at,
            healed_at: self.healed_at,
            home: &self.home,
            destination_healed_at: self.destination_healed_at,
            ended_at,
            began_at: self.began_at,
            chronicle: &self.chronicle,
            book: &self.world.book,
            resort: self.world.layout.resort.as_ref().map(|resort| &resort.region),
            tempo: self.world.layout.tempo,
            taken_back: self.world.pipeline.as_ref().map_or(0, |pipeline| pipeline.undone()),
            answers_at_home: self.world.answers().get(&self.home).copied().unwrap_or_default(),
            fronts: self.world.layout.places[0].fronts.iter().map(Front::name).collect(),
            cured: self.world.cured(),
            after: self.world.layout.tempo.after,
            interrupted,
        };
        facts.sum_up()
    }
}
