//! The life of one service: its journal, its watchers, its rounds, until it is told to stop.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch as channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::RunError;
use super::board::Board;
use super::doors::levers_for;
use super::file;
use super::hooks::HookRunner;
use super::intake::{ARRIVALS_MAX, Arrival, Registry, Taken};
use super::pin::{self, Answer, News, Says};
use super::reports::{Gathered, REPORTS_MAX, Report};
use super::round::{Done, Service};
use super::site::fresh::Keeper;
use super::telling::{Reach, Teller, ways};
use super::watch::{SAMPLES_MAX, Sources, watch};
use crate::decide::{Diagnosis, Hold};
use crate::domain::{ServiceName, Timestamp};
use crate::health::{Event, Happening, Reading, Sample};
use crate::journal::{Journal, JournalError, Log};
use crate::memory::{Acts, Entry, Pin, Request};
use crate::pace::Pacer;
use crate::policy::{Mode, Policy, Problem};
use crate::ports::{Levers, Outbox};
use crate::report::history::Line;
use crate::report::view::{Did, PolicyState, Readiness, View};
use crate::telemetry::{ByDiagnosis, ByRegion, ByService, Numbers};

/// Journal lines that are shown with the state.
const TAIL: usize = 20;
/// A policy file is looked at this often, whatever the rounds.
const FILE_EVERY: Duration = Duration::from_secs(5);
/// At the end a channel that works has time to take what is under way.
const TELLING_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// After an event, for others that come with it.
const GATHER_FOR: Duration = Duration::from_millis(200);
/// Events wake at most one round a second.
const WOKEN_EVERY: Duration = Duration::from_secs(1);
/// Signals are looked at out of rhythm at most this often, whoever asks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What one look came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Once {
    /// One for each event.
    pub taken: Vec<Taken>,
    /// The last round; `None` if no event asked for a look.
    pub done: Option<Done>,
    /// An order was begun and is not over: the next start follows it up.
    pub order_open: bool,
    /// Why the records cannot be read.
    pub unread: Option<String>,
}

/// An order that was begun is followed up for so long after the time is over.
const FOLLOW_UP_MAX: Duration = Duration::from_secs(600);

/// Nobody who was asked for one look may leave what he began: an order, or a move beside one that hangs, which is
/// in force or turned back first.
fn is_over(acts: &Acts, ended: bool, settled: bool) -> bool {
    acts.beside.is_none() && (ended || (settled && acts.order.is_none()))
}

/// What all services share.
#[derive(Debug, Clone)]
pub(super) struct Tended {
    pub(super) registry: Arc<Registry>,
    pub(super) state: PathBuf,
    pub(super) holder: String,
    pub(super) board: Arc<Board>,
    pub(super) sources: Sources,
    pub(super) levers: Levers,
    pub(super) reach: Reach,
    pub(super) pace: Arc<Pacer>,
    pub(super) reload: channel::Sender<()>,
}

/// A policy with the bytes it was made of.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) path: PathBuf,
    bytes: Vec<u8>,
    pub(super) policy: Policy,
    pub(super) warnings: Vec<Problem>,
}

impl Loaded {
    pub(super) fn read(path: &Path) -> Result<Self, RunError> {
        let bytes = file::read(path)
            .map_err(|source| RunError::Unreadable { path: path.to_owned(), source })?;
        let (policy, warnings) = file::load(&bytes, path)
            .map_err(|problems| RunError::Invalid { path: path.to_owned(), problems })?;
        Ok(Self { path: path.to_owned(), bytes, policy, warnings })
    }
}

type Tail = Arc<Mutex<VecDeque<Line>>>;

/// A journal that was taken, with what it says.
#[derive(Debug)]
pub(super) struct Opened {
    log: Told,
    acts: Acts,
    tail: Tail,
}

/// The journal, with its newest lines for the state and the time each takes for the numbers.
#[derive(Debug)]
struct Told {
    journal: Journal,
    numbers: Arc<Numbers>,
    tail: Tail,
}

impl Log for Told {
    fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        let begun = Instant::now();
        let result = self.journal.append(at, entry);
        self.numbers.journal_append_seconds.observe(begun.elapsed().as_secs_f64());
        if result.is_ok() {
            keep(&self.tail, Line::of(self.journal.seq(), at, entry));
        }
        result
    }

    fn keep(&mut self, name: &str, text: &[u8]) -> Result<Option<String>, JournalError> {
        self.journal.keep(name, text)
    }
}

fn keep(tail: &Tail, line: Line) {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.push_back(line);
    while tail.len() > TAIL {
        tail.pop_front();
    }
}

/// A process that was killed while it started another leaves its lock to that child until the child has become
/// its program. That is a moment, and a supervisor may be quicker.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const LOCK_TRIED_EVERY: Duration = Duration::from_millis(50);

impl Opened {
    /// Waits a little for a controller that has just died. One that lives keeps its journal.
    pub(super) async fn of(
        state: &Path,
        service: &ServiceName,
        numbers: &Arc<Numbers>,
    ) -> Result<Self, JournalError> {
        let until = Instant::now() + LOCK_WITHIN;
        loop {
            match Self::new(state, service, numbers) {
                Err(JournalError::Held { .. }) if Instant::now() < until => {
                    sleep(LOCK_TRIED_EVERY).await;
                }
                opened => return opened,
            }
        }
    }

    fn new(
        state: &Path,
        service: &ServiceName,
        numbers: &Arc<Numbers>,
    ) -> Result<Self, JournalError> {
        let path = pin::journal_path(state, service);
        let (journal, recovered) = Journal::open(&path)?;
        if recovered.dropped_bytes > 0 {
            warn!(%service, octets = recovered.dropped_bytes, "The journal's torn end was set aside.");
        }
        let tail = Tail::default();
        let records = Journal::read(&path)?;
        for record in &records[records.len().saturating_sub(TAIL)..] {
            keep(&tail, Line::of(record.seq, record.at, &record.entry));
        }
        let log = Told { journal, numbers: Arc::clone(numbers), tail: Arc::clone(&tail) };
        Ok(Self { log, acts: recovered.acts, tail })
    }
}

impl Tended {
    /// Runs one service until `stop`. Ends by itself only if the journal cannot be written: without it
    /// nothing may be done.
    pub(super) async fn tend(
        self,
        loaded: Loaded,
        opened: Option<Opened>,
        stop: CancellationToken,
    ) -> Result<(), JournalError> {
        let opened = match opened {
            Some(opened) => opened,
            None => Opened::new(&self.state, &loaded.policy.service, &self.board.numbers)?,
        };
        let mut reload = self.reload.subscribe();
        let mut life = Life::new(self, loaded, opened, stop.clone());
        // A hold that was left while nothing ran is in force before anything else is.
        life.heed_a_hold()?;
        life.publish(None);
        life.start_telling();
        if let Some(outcome) = life.service.start().await? {
            info!(service = %life.name(), ?outcome, "What the last run left open is settled.");
        }
        life.start_watching();
        life.start_keeping();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = reload.changed() => life.file_due = None,
                Some(arrival) = life.arrivals.recv() => life.gather(arrival).await,
                _ = life.beat.tick() => {}
            }
            life.look_at_the_file().await;
            life.keep_watching();
            life.one_round(Vec::new()).await?;
        }
        life.watchers.shutdown().await;
        life.end_telling().await
    }

    /// Takes in events once, and if a look is asked for makes rounds until there is an answer, `time` is over
    /// or an order that was begun has ended.
    ///
    /// Evidence fills anew in each process, so that a look takes as long as the judgement's windows.
    pub(super) async fn tend_once(
        self,
        loaded: Loaded,
        opened: Opened,
        told: &[crate::event::Event],
        time: Duration,
    ) -> Result<Once, JournalError> {
        let mut life = Life::new(self, loaded, opened, CancellationToken::new());
        life.heed_a_hold()?;
        life.start_telling();
        life.service.start().await?;
        let mut once = Once { taken: Vec::new(), done: None, order_open: false, unread: None };
        let (mut events, mut look) = (Vec::new(), false);
        for event in told {
            let heard = life.service.hear_event(event, None, life.shared.board.now())?;
            events.extend(heard.event);
            look |= heard.look;
            once.taken.push(heard.taken);
        }
        if look {
            life.start_watching();
            once.done = Some(life.rounds_until_settled(events, time).await?);
            life.watchers.shutdown().await;
        }
        once.order_open = life.service.memory.acts.order.is_some();
        once.unread = life.service.unread.as_ref().map(ToString::to_string);
        life.end_telling().await?;
        Ok(once)
    }

    /// Shows on the board that a service is not there just now.
    pub(super) fn broke_down(&self, loaded: &Loaded, why: &str) {
        let state = self.board.state();
        let Some(mut view) = state.services.get(&loaded.policy.service).cloned() else { return };
        view.ready = Readiness::default();
        view.trouble = Some(why.to_owned());
        self.board.publish(view);
    }
}

/// One service while it runs.
struct Life {
    shared: Tended,
    path: PathBuf,
    /// As last seen on disk, valid or not.
    bytes: Vec<u8>,
    loaded_at: Timestamp,
    refused: Option<String>,
    file_due: Option<Instant>,
    service: Service,
    tail: Tail,
    beat: Interval,
    samples: mpsc::Receiver<Sample>,
    sender: mpsc::Sender<Sample>,
    arrivals: mpsc::Receiver<Arrival>,
    arriving: mpsc::Sender<Arrival>,
    reports: mpsc::Receiver<Report>,
    reporting: mpsc::Sender<Report>,
    gathered: Gathered,
    /// Events for the next round.
    waiting: Vec<Arrival>,
    look_now: channel::Sender<()>,
    looked_at: Option<Instant>,
    round_at: Option<Instant>,
    watchers: JoinSet<()>,
    /// Of the copy for the last resort.
    keepers: JoinSet<()>,
    /// `None` if the policy names nobody to tell.
    teller: Option<Arc<Teller>>,
    /// Those of older policies too, until what they have under way is over.
    tellers: JoinSet<()>,
    /// Outlives a change of the policy, so that no answer of a hook is lost.
    hooks: HookRunner,
    stop: CancellationToken,
    stop_watching: CancellationToken,
    /// Diagnoses made in this run, so that those that are over can be set to zero.
    seen: BTreeSet<Diagnosis>,
}

/// What the policy's mode may touch, the operator's hooks among it.
fn levers_with(policy: &Policy, levers: &Levers, hooks: &HookRunner) -> Levers {
    let hooks = Arc::new(hooks.clone()) as Arc<dyn crate::ports::Hooks>;
    levers_for(policy.mode, &Levers { hooks: Some(hooks), ..levers.clone() })
}

fn beat(policy: &Policy) -> Interval {
    let mut beat = interval(policy.round_every());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

impl Life {
    fn new(shared: Tended, loaded: Loaded, opened: Opened, stop: CancellationToken) -> Self {
        let (sender, samples) = mpsc::channel(SAMPLES_MAX);
        let (arriving, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let (reporting, reports) = mpsc::channel(REPORTS_MAX);
        let policy = loaded.policy;
        let hooks = HookRunner::default();
        let mut service = Service::new(
            policy.clone(),
            levers_with(&policy, &shared.levers.of(&policy), &hooks),
            Box::new(opened.log),
            Arc::clone(&shared.sources.clock),
            Arc::clone(&shared.pace),
            shared.holder.clone(),
        );
        service.memory.acts = opened.acts;
        service.watched.on = true;
        if let Some(lever) = policy.gates_lever() {
            shared.board.gates.restore(&policy.service, lever, &service.memory.acts);
        }
        Self {
            path: loaded.path,
            bytes: loaded.bytes,
            loaded_at: shared.board.now(),
            refused: None,
            file_due: Some(Instant::now() + FILE_EVERY),
            tail: opened.tail,
            hooks,
            beat: beat(&policy),
            samples,
            sender,
            arrivals,
            arriving,
            reports,
            reporting,
            gathered: Gathered::default(),
            waiting: Vec::new(),
            look_now: channel::Sender::default(),
            looked_at: None,
            round_at: None,
            watchers: JoinSet::new(),
            keepers: JoinSet::new(),
            teller: None,
            tellers: JoinSet::new(),
            stop_watching: stop.child_token(),
            stop,
            seen: BTreeSet::new(),
            service,
            shared,
        }
    }

    fn name(&self) -> &ServiceName {
        &self.service.policy.service
    }

    fn start_watching(&mut self) {
        self.stop_watching = self.stop.child_token();
        let policy = Arc::new(self.service.policy.clone());
        let (arriving, sender) = (self.arriving.clone(), self.sender.clone());
        self.shared.registry.enter(Arc::clone(&policy), arriving, sender.clone());
        self.shared.registry.report_to(&policy.service, self.reporting.clone());
        let look_now = Some(self.look_now.subscribe());
        let sources = Sources { look_now, ..self.shared.sources.clone() };
        self.watchers.spawn(watch(policy, sources, sender, self.stop_watching.clone()));
    }

    /// Keeps the copy for the last resort fresh, if the policy has one.
    fn start_keeping(&mut self) {
        self.keepers.abort_all();
        let policy = Arc::new(self.service.policy.clone());
        let (board, pages) = (Arc::clone(&self.shared.board), self.shared.reach.pages.clone());
        let keeper = Keeper { policy, board, pages, reports: self.reporting.clone() };
        self.keepers.spawn(keeper.run(self.stop.child_token()));
    }

    fn start_telling(&mut self) {
        let ways = ways(&self.service.policy, &self.shared.reach);
        self.teller = (!ways.is_empty()).then(|| {
            let (teller, desk) = Teller::new(ways, self.teller.as_deref());
            self.tellers.spawn(desk);
            Arc::new(teller)
        });
        self.service.outbox = self.teller.clone().map(|teller| teller as Arc<dyn Outbox>);
    }

    /// What is under way gets a moment more; the rest is told again after the next start.
    async fn end_telling(mut self) -> Result<(), JournalError> {
        let teller = self.teller.take();
        let receipts = teller.as_deref().map(Teller::last_receipts);
        (self.service.outbox, self.teller) = (None, None);
        drop(teller);
        let all = async { while self.tellers.join_next().await.is_some() {} };
        if timeout(TELLING_ENDS_WITHIN, all).await.is_err() {
            warn!(service = %self.name(), "Notes are still on their way; they are told again.");
        }
        self.tellers.shutdown().await;
        for receipt in receipts.map(|take| take()).unwrap_or_default() {
            self.service.take_receipt(receipt)?;
        }
        Ok(())
    }

    /// The watchers are owned too: if their owner dies, that is noticed in the next round.
    fn keep_watching(&mut self) {
        while let Some(ended) = self.watchers.try_join_next() {
            let why = ended.err().map_or("it returned".to_owned(), |error| error.to_string());
            error!(service = %self.name(), why, "Watching ended and is started again.");
        }
        if self.watchers.is_empty() {
            self.start_watching();
        }
        while let Some(ended) = self.keepers.try_join_next() {
            if let Err(error) = ended
                && !error.is_cancelled()
            {
                error!(service = %self.name(), %error, "Keeping the copy broke down and is started again.");
                self.start_keeping();
            }
        }
        while let Some(ended) = self.tellers.try_join_next() {
            if let Err(error) = ended {
                error!(service = %self.name(), %error, "Telling broke down and is started again.");
                self.start_telling();
            }
        }
    }

    /// Takes a changed policy if it is valid; otherwise the old one stays and everybody is told.
    async fn look_at_the_file(&mut self) {
        if self.file_due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        self.file_due = Some(Instant::now() + FILE_EVERY);
        let bytes = match file::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refuse(format!("read `{}`: {error}", self.path.display()));
                return;
            }
        };
        if bytes == self.bytes {
            // Unreadable for a moment, and the same again: nothing is refused any more. A file that
            // was refused for what it says stays refused.
            if self
                .refused
                .as_ref()
                .is_some_and(|why| why.starts_with("read `") || why.starts_with("lever `"))
            {
                self.refused = None;
            }
            return;
        }
        match file::load(&bytes, &self.path) {
            Ok((policy, _)) if policy.service != *self.name() => {
                self.refuse(format!(
                    "the service is called `{}` now: start anew for that",
                    policy.service
                ));
            }
            Ok((policy, _)) => {
                let acts = &self.service.memory.acts;
                if let Some(why) = acts.left_behind(&self.service.policy, &policy) {
                    // Looked at again: it is taken as soon as the switch is open.
                    self.refuse(why);
                    return;
                }
                self.take(policy).await;
            }
            Err(problems) => self.refuse(problems),
        }
        self.bytes = bytes;
    }

    fn refuse(&mut self, why: String) {
        if self.refused.as_ref() != Some(&why) {
            warn!(service = %self.name(), why, "The changed policy is refused, the older one stays.");
            self.refused = Some(why);
        }
    }

    async fn take(&mut self, policy: Policy) {
        self.stop_watching.cancel();
        self.watchers.shutdown().await;
        for region in self.service.policy.regions.keys() {
            let labels = ByRegion { service: self.name().to_string(), region: region.to_string() };
            self.shared.board.numbers.region_reading.remove(&labels);
            self.shared.board.numbers.region_share.remove(&labels);
        }
        self.shared.board.forget_readings(self.name());
        self.beat = beat(&policy);
        self.service.levers = levers_with(&policy, &self.shared.levers.of(&policy), &self.hooks);
        // Other records may be meant: read them anew before anything is decided about them.
        self.service.inventory = None;
        self.service.look_again();
        self.service.policy = policy;
        self.start_telling();
        self.start_keeping();
        self.refused = None;
        self.loaded_at = self.shared.board.now();
        info!(service = %self.name(), mode = ?self.service.policy.mode, "A changed policy is in force.");
    }

    async fn one_round(&mut self, told: Vec<Event>) -> Result<Done, JournalError> {
        let begun = Instant::now();
        self.round_at = Some(begun);
        let mut samples = Vec::new();
        while let Ok(sample) = self.samples.try_recv() {
            samples.push(sample);
            if samples.len() >= SAMPLES_MAX {
                break;
            }
        }
        self.shared.board.keep_readings(&self.service.policy.service, &samples);
        let mut events = self.human_words()?;
        self.hear_reports()?;
        events.extend(told);
        let answers = self.take_in(&mut events, &mut samples)?;
        let result = self.service.round(samples, events).await;
        let numbers = Arc::clone(&self.shared.board.numbers);
        let labels = ByService { service: self.name().to_string() };
        numbers.round_seconds.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
        match result {
            Ok(done) => {
                numbers.rounds.get_or_create(&labels).inc();
                self.count(&done);
                self.publish(Some(&done));
                // Only now: what is not answered comes again.
                for (done, taken) in answers {
                    // Whoever waited may have gone; it is in the journal all the same.
                    let _ = done.send(taken);
                }
                Ok(done)
            }
            Err(error) => {
                numbers.round_failures.get_or_create(&labels).inc();
                Err(error)
            }
        }
    }

    /// Rounds as the service makes them, until nothing more is to be waited for.
    async fn rounds_until_settled(
        &mut self,
        mut events: Vec<Event>,
        time: Duration,
    ) -> Result<Done, JournalError> {
        let begun = Instant::now();
        let until = begun + time;
        loop {
            self.beat.tick().await;
            self.keep_watching();
            let done = self.one_round(std::mem::take(&mut events)).await?;
            let late = Instant::now();
            // Proven well, over a whole window: no finding at all is made while nothing is known yet.
            let good = self.service.policy.serving().all(|(name, _)| {
                let verdict = done.decision.regions.get(name);
                verdict.is_some_and(|verdict| verdict.reading == Reading::Good)
            });
            let well = good && begun.elapsed() > self.service.policy.judge.window;
            let settled = well || late >= until;
            let over = is_over(&self.service.memory.acts, done.ended.is_some(), settled);
            if over || late >= until + FOLLOW_UP_MAX {
                return Ok(done);
            }
        }
    }

    /// Waits a little for more events, so that a storm of them is one round.
    async fn gather(&mut self, first: Arrival) {
        self.waiting.push(first);
        let soon = Instant::now() + GATHER_FOR;
        sleep_until(self.round_at.map_or(soon, |at| soon.max(at + WOKEN_EVERY))).await;
    }

    /// Takes in the events that wait: what follows of them is in the journal before the round that they ask
    /// for, and what was heard before is not heard again.
    fn take_in(
        &mut self,
        events: &mut Vec<Event>,
        samples: &mut Vec<Sample>,
    ) -> Result<Vec<(oneshot::Sender<Taken>, Taken)>, JournalError> {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.waiting.push(arrival);
            if self.waiting.len() >= ARRIVALS_MAX {
                break;
            }
        }
        let mut answers = Vec::new();
        let mut look = false;
        for arrival in std::mem::take(&mut self.waiting) {
            let now = self.shared.board.now();
            let heard = self.service.hear_event(&arrival.event, arrival.by.as_deref(), now)?;
            events.extend(heard.event);
            samples.extend(heard.sample);
            look |= heard.look;
            answers.push((arrival.done, heard.taken));
        }
        if look && self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked_at = Some(Instant::now());
            self.service.look_again();
            self.look_now.send_replace(());
        }
        Ok(answers)
    }

    fn heed_a_hold(&mut self) -> Result<(), JournalError> {
        let now = self.shared.board.now();
        let known = self.service.memory.acts.pin_at(now);
        match pin::news(&self.shared.state, self.name(), known, now) {
            Some(News::Held(new)) => {
                self.write_down(now, &Entry::Pinned(Pin { since: now, ..new }))
            }
            // A round tells of it.
            Some(News::Lifted) | None => Ok(()),
        }
    }

    fn write_down(&mut self, now: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        self.service.log.append(now, entry)?;
        self.service.memory.acts.apply(now, entry);
        Ok(())
    }

    /// What happened beside the rounds.
    fn hear_reports(&mut self) -> Result<(), JournalError> {
        let reports: Vec<Report> = std::iter::from_fn(|| self.reports.try_recv().ok()).collect();
        let now = self.shared.board.now();
        for entry in self.gathered.lines(reports.into_iter().take(REPORTS_MAX)) {
            self.write_down(now, &entry)?;
        }
        Ok(())
    }

    /// A yes or a no goes into the journal before the round that may act on it. One that is over when it
    /// is read allows nothing.
    fn hear_an_answer(&mut self, now: Timestamp) -> Result<(), JournalError> {
        let (state, name) = (self.shared.state.clone(), self.name().clone());
        let answer = pin::read_approval(&state, &name).unwrap_or_else(|error| {
            warn!(service = %name, %error, "An answer cannot be read and allows nothing.");
            None
        });
        let Some(word) = answer else { return Ok(()) };
        let by = format!("{} ({})", word.by, word.reason);
        match word.answer {
            Answer::Yes { until } if now < until => {
                info!(service = %name, by = word.by, %until, "Approved.");
                self.write_down(now, &Entry::Approved { by, until: Some(until) })?;
            }
            Answer::Yes { until } => warn!(service = %name, %until, "An approval came too late."),
            Answer::No => {
                info!(service = %name, by = word.by, "Denied.");
                self.write_down(now, &Entry::Denied { by })?;
            }
        }
        if let Err(error) = pin::remove_approval(&state, &name) {
            warn!(service = %name, %error, "An answer could not be removed.");
        }
        Ok(())
    }

    /// What a human asked for or aborted goes into the journal before the round that works on it. What
    /// is over when it is read is dropped; what is in the journal already is not asked twice.
    fn hear_a_request(&mut self, now: Timestamp) -> Result<(), JournalError> {
        let (state, name) = (self.shared.state.clone(), self.name().clone());
        let says = pin::read_spoken(&state, &name).unwrap_or_else(|error| {
            warn!(service = %name, %error, "A request cannot be read and moves nothing.");
            None
        });
        let acts = &self.service.memory.acts;
        match says {
            None => return Ok(()),
            Some(Says::Ask(request)) if now >= request.until => {
                warn!(service = %name, by = request.by, until = %request.until, "A request came too late.");
            }
            Some(Says::Ask(request)) => {
                let same = |known: &Request| (known.at, &known.by) == (request.at, &request.by);
                if !acts.request.as_ref().is_some_and(same) {
                    info!(service = %name, by = request.by, what = %request.what, "Asked.");
                    self.service.ask(*request)?;
                }
            }
            Some(Says::Abort(abort)) => {
                if acts.abort.as_ref() != Some(&abort) {
                    info!(service = %name, by = abort.by, reason = abort.reason, "Aborted.");
                    self.service.abort(abort)?;
                }
            }
        }
        if let Err(error) = pin::remove_spoken(&state, &name) {
            warn!(service = %name, %error, "A request could not be removed.");
        }
        Ok(())
    }

    /// What a human sends to the public waits until a round has seen what there is to say.
    fn hear_words(&mut self) -> Result<(), JournalError> {
        let (state, name) = (self.shared.state.clone(), self.name().clone());
        let words = pin::read_words(&state, &name).unwrap_or_else(|error| {
            warn!(service = %name, %error, "Words for the public cannot be read and are left aside.");
            None
        });
        let Some(words) = words else { return Ok(()) };
        if self.service.policy.status_page.is_none() {
            warn!(service = %name, "There are words for the public, and no status page.");
        } else if !self.service.say_publicly(&words.by, words.text.as_deref(), words.phase)? {
            return Ok(());
        }
        if let Err(error) = pin::remove_words(&state, &name) {
            warn!(service = %name, %error, "Words for the public could not be removed.");
        }
        Ok(())
    }

    /// What humans left in the state directory since the last round, as events; an opened latch goes
    /// into the journal at once.
    fn human_words(&mut self) -> Result<Vec<Event>, JournalError> {
        self.hear_words()?;
        let now = self.shared.board.now();
        let (state, name) = (self.shared.state.clone(), self.name().clone());
        let resume = pin::read_resume(&state, &name).unwrap_or_else(|error| {
            warn!(service = %name, %error, "A resume order cannot be read and is left aside.");
            None
        });
        if let Some(word) = resume.as_ref().filter(|word| word.unlatch) {
            let by = format!("{} ({})", word.by, word.reason);
            self.write_down(now, &Entry::Unlatched { by })?;
            info!(service = %name, by = word.by, "The latch was opened.");
        }
        self.hear_an_answer(now)?;
        self.hear_a_request(now)?;
        let event = |what| Event { at: now, heard_at: now, what };
        let known = self.service.memory.acts.pin_at(now);
        let events = match pin::news(&state, &name, known, now) {
            Some(News::Held(new)) => {
                info!(service = %name, by = new.by, reason = new.reason, "Held.");
                let Pin { by, reason, until, .. } = new;
                vec![event(Happening::Freeze { by, reason, until })]
            }
            Some(News::Lifted) => {
                let by = resume.as_ref().map_or(pin::SOMEBODY.to_owned(), |word| {
                    format!("{} ({})", word.by, word.reason)
                });
                info!(service = %name, by, "No longer held.");
                vec![event(Happening::Unfreeze { by })]
            }
            None => Vec::new(),
        };
        if resume.is_some()
            && let Err(error) = pin::remove_resume(&state, &name)
        {
            warn!(service = %name, %error, "A resume order could not be removed.");
        }
        Ok(events)
    }

    fn count(&mut self, done: &Done) {
        let numbers = &self.shared.board.numbers;
        let service = self.name().to_string();
        let now = self.shared.board.now();
        let by_service = ByService { service: service.clone() };
        let decision = &done.decision;
        for (region, verdict) in &decision.regions {
            let labels = ByRegion { service: service.clone(), region: region.to_string() };
            let value = match verdict.reading {
                Reading::Good => 1,
                Reading::Unknown => 0,
                Reading::Bad => -1,
            };
            numbers.region_reading.get_or_create(&labels).set(value);
            match decision.split.as_ref().filter(|_| self.service.inventory.is_some()) {
                Some(split) => {
                    numbers.region_share.get_or_create(&labels).set(split.share(region).get());
                }
                // An unknown share is absent, not zero.
                None => {
                    numbers.region_share.remove(&labels);
                }
            }
        }
        let current: BTreeSet<Diagnosis> = decision.findings.iter().map(|f| f.diagnosis).collect();
        for diagnosis in current.union(&self.seen) {
            let labels = ByDiagnosis { service: service.clone(), diagnosis: diagnosis.to_string() };
            numbers.diagnosis.get_or_create(&labels).set(i64::from(current.contains(diagnosis)));
        }
        let acts = &self.service.memory.acts;
        let pinned = acts.pin_at(now).is_some();
        let armed = self.service.policy.mode == Mode::Auto && !pinned;
        let set = |family: &prometheus_client::metrics::family::Family<ByService, _>,
                   value: i64| {
            let gauge: &prometheus_client::metrics::gauge::Gauge =
                &family.get_or_create(&by_service);
            gauge.set(value);
        };
        set(&numbers.epoch, i64::try_from(acts.epoch.0).unwrap_or(i64::MAX));
        set(&numbers.pin_active, i64::from(pinned));
        set(&numbers.armed, i64::from(armed));
        set(&numbers.order_open, i64::from(acts.order.is_some()));
        set(&numbers.policy_reload_ok, i64::from(self.refused.is_none()));
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^52")]
        let seconds = now.as_millis() as f64 / 1000.0;
        numbers.last_round.get_or_create(&by_service).set(seconds);
        self.seen.extend(current);
    }

    fn publish(&self, done: Option<&Done>) {
        let now = self.shared.board.now();
        let policy = &self.service.policy;
        let warming = |done: &Done| {
            done.decision.holds.iter().any(|hold| matches!(hold, Hold::WarmingUp { .. }))
        };
        let unread =
            self.service.unread.as_ref().map(|why| format!("the records cannot be read: {why}"));
        let unplannable = done.and_then(|done| done.unplannable.as_ref()).map(ToString::to_string);
        let journal =
            self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        self.shared.board.publish(View {
            service: policy.service.clone(),
            mode: policy.mode,
            holder: self.shared.holder.clone(),
            policy: PolicyState {
                path: self.path.display().to_string(),
                loaded_at: self.loaded_at,
                refused: self.refused.clone(),
            },
            ready: Readiness {
                journal_open: true,
                answers_read: policy.weights_lever().is_none() || self.service.inventory.is_some(),
                windows_full: done.is_some_and(|done| !warming(done)),
            },
            last_round: done.map(|_| now),
            trouble: unread.or(unplannable),
            decision: done.map(|done| done.decision.clone()),
            did: Did::of(&self.service.memory.acts, now),
            journal,
        });
    }
}

#[cfg(test)]
mod tests;
