//! One pass: observe, judge, diagnose, decide, plan, act, verify, tell. Timer, alarm and operator all
//! come through here; so do the laboratory, the simulator and the player of traces.

mod balancers;
mod hear;
mod orders;
mod switches;
mod zones;

use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::timeout;
use tracing::{info, warn};

use self::orders::{
    goes_on, is_still_wanted, lever_of, spoiled, takes_other_lever, undoes, votes_are_over,
};
use crate::bulletin::{Page, Phase};
use crate::decide::{Asking, Decision, Diagnosis, Hold, decide};
use crate::domain::{RegionName, Timestamp};
use crate::execute::zonal::Looked;
use crate::execute::{Executor, Progress, read_inventory};
use crate::health::{Answers, Event, Observations, Sample};
use crate::journal::{JournalError, Log};
use crate::memory::{Abort, Asked, Entry, Memory, Order, Outcome, Request};
use crate::pace::Pacer;
use crate::plan::batch::{Unplannable, plan};
use crate::plan::{Inventory, Plan, RefreshAct, Wanted};
use crate::policy::{LeverKind, Mode, Policy};
use crate::ports::{CallFailed, Clock, Levers, Outbox};
use crate::report::plan::checksum;
use crate::tell::{Letter, Lost, Receipt};
use switches::Watched;

/// On a calm day the records are read this often: often enough to show a stranger's edit within a
/// minute, and two calls of Route 53's ten a second for a hundred services.
const REREAD_CALM: Duration = Duration::from_secs(60);

/// In an incident, and while they cannot be read: soon after the service is back it is used.
const REREAD_BUSY: Duration = Duration::from_secs(10);

/// Several times what a page of records takes. What takes longer goes on beside the rounds.
const READ_PATIENCE: Duration = Duration::from_secs(3);

/// A reading of the records that is under way.
type Reading = Pinned<Box<dyn Future<Output = Result<Inventory, CallFailed>> + Send>>;

/// What one service needs to run, and what it knows.
pub struct Service {
    pub policy: Policy,
    pub memory: Memory,
    pub levers: Levers,
    /// `None`: nobody is to be told.
    pub outbox: Option<Arc<dyn Outbox>>,
    pub log: Box<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub pace: Arc<Pacer>,
    /// Who we are, for the epoch record.
    pub holder: String,
    pub inventory: Option<Inventory>,
    /// Why the records could not be read, if they could not.
    pub unread: Option<CallFailed>,
    pub last: Option<Decision>,
    pub reach: Reach,
    /// How a round is decided. Another way than [`decide`] is for comparing it with.
    pub judge: fn(&Policy, &Memory, Timestamp) -> Decision,
    /// Why the last request that was dropped was.
    pub dropped: Option<String>,
    /// A round waits so long for the records where another lever could be pulled meanwhile. `None`, as where
    /// time does not pass by itself: until they are read.
    pub read_patience: Option<Duration>,
    pub watched: Watched,
    read_at: Option<Timestamp>,
    reading: Option<Reading>,
    /// An order ended since the records were read, or somebody said that they changed.
    outdated: bool,
    journaled: Option<Shape>,
    zones_looked: Looked,
    behind_looked: Looked,
}

/// How much of what is decided a round carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Everything,
    /// Only what a human asked for: a command that was told to do one thing does no other.
    Asked,
}

/// What a round came to, for whoever called it.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    pub decision: Decision,
    /// How an order ended in this round, if one did.
    pub ended: Option<Outcome>,
    /// Why the wanted move could not be worked out, if it could not.
    pub unplannable: Option<Unplannable>,
}

type Shape = (Vec<(Diagnosis, Option<RegionName>)>, Vec<String>, bool);

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("service", &self.policy.service).finish_non_exhaustive()
    }
}

impl Service {
    pub fn new(
        policy: Policy,
        levers: Levers,
        log: Box<dyn Log>,
        clock: Arc<dyn Clock>,
        pace: Arc<Pacer>,
        holder: String,
    ) -> Self {
        Self {
            policy,
            memory: Memory::default(),
            levers,
            outbox: None,
            log,
            clock,
            pace,
            holder,
            inventory: None,
            unread: None,
            last: None,
            reach: Reach::Everything,
            judge: decide,
            dropped: None,
            read_patience: Some(READ_PATIENCE),
            watched: Watched::default(),
            read_at: None,
            reading: None,
            outdated: false,
            journaled: None,
            zones_looked: Looked::new(),
            behind_looked: Looked::new(),
        }
    }

    /// Says that the controller came up, and settles what the last run left open.
    pub async fn start(&mut self) -> Result<Option<Outcome>, JournalError> {
        self.note(&Entry::Started { version: env!("CARGO_PKG_VERSION").to_owned() })?;
        // What was measured is forgotten by a restart; what was deployed still runs.
        self.memory.evidence.recall(&self.memory.acts.context);
        self.executor().recover_beside().await?;
        let now = self.clock.now();
        let Some(order) = &self.memory.acts.order else { return Ok(None) };
        if self.memory.acts.pin_at(now).is_some() && order.has_unsent() {
            return Ok(None);
        }
        let progress = self.executor().recover().await?;
        Ok(ended(progress))
    }

    /// The next round reads the records, however lately they were read.
    pub fn look_again(&mut self) {
        self.read_at = None;
        // Begun before whatever is to be seen.
        self.reading = None;
        self.outdated = true;
    }

    /// One round with what arrived since the last.
    pub async fn round(
        &mut self,
        samples: Vec<Sample>,
        events: Vec<Event>,
    ) -> Result<Done, JournalError> {
        let now = self.clock.now();
        self.take_receipts()?;
        for event in &events {
            self.hear(event, now)?;
        }
        let ended = self.levers.hooks.as_ref().map(|hooks| hooks.ended()).unwrap_or_default();
        for end in ended {
            self.note(&Entry::HookEnded(end))?;
        }
        self.watch_switches(now)?;
        let answers = self.read_answers(now).await;
        let seen = Observations { samples, events, answers };
        self.memory.evidence.take_in(&self.policy, &seen, now);
        self.hear_others();
        let mut decision = (self.judge)(&self.policy, &self.memory, now);
        let (mut ended, mut unplannable) = self.follow(&decision, now).await?;
        // A lever that does not answer is passed over at once for the next one. Its own order stays open
        // until it was read what became of it; until then both ask for the same.
        for _ in 1..self.policy.levers.len() {
            let Some(failed) = self.lever_that_failed(&decision, now) else { break };
            let next = (self.judge)(&self.policy, &self.memory, self.clock.now());
            if next.wanted.as_ref().and_then(lever_of).is_none_or(|lever| lever == failed) {
                break;
            }
            let (outcome, cannot) = self.follow(&next, self.clock.now()).await?;
            (ended, unplannable) = (outcome.or(ended), cannot);
            decision = next;
        }
        // After everything else: no region waits for a zone.
        self.tend_zones(&decision).await?;
        self.tend_aftermath().await?;
        self.last = Some(decision.clone());
        Ok(Done { decision, ended, unplannable })
    }

    /// Writes a decision down, tells of it and carries it out.
    async fn follow(
        &mut self,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(Option<Outcome>, Option<Unplannable>), JournalError> {
        self.write_down(decision)?;
        if decision.asked == Asking::Met {
            self.note(&Entry::AskMet)?;
        }
        self.call_hooks(decision)?;
        // Handed over before the calls, which may take long, and never waited for: neither delays the
        // other. What became of it is heard in a later round.
        for letter in &decision.notes {
            self.post(letter)?;
        }
        self.act(decision, now).await
    }

    /// The lever of a move that was wanted in this round, if it failed in it.
    fn lever_that_failed(&self, decision: &Decision, since: Timestamp) -> Option<LeverKind> {
        let lever = decision.wanted.as_ref().and_then(lever_of)?;
        let state = self.memory.acts.levers.get(&lever)?;
        let (at, _) = state.last_failure.as_ref().filter(|_| state.failures_in_a_row > 0)?;
        (*at >= since).then_some(lever)
    }

    /// Another lever than the records could be pulled.
    fn has_switches(&self) -> bool {
        [LeverKind::Gates, LeverKind::Arc].into_iter().any(|kind| self.policy.has_lever(kind))
    }

    /// Whether it is of use to ask the service behind the records what became of a call. Where another
    /// lever can be pulled nobody waits for a service that does not even list them.
    fn records_answer(&self) -> bool {
        !self.has_switches() || (self.unread.is_none() && self.reading.is_none())
    }

    /// Takes a human's request into the journal; the next round works on it. One that can never be met
    /// is written down and dropped at once.
    pub fn ask(&mut self, request: Request) -> Result<(), JournalError> {
        let unknown = match &request.what {
            Asked::Shift { to, .. } => (!self.policy.regions.contains_key(to)).then(|| to.clone()),
            Asked::Failback | Asked::Reviewed { .. } => None,
        };
        self.note(&Entry::Asked(Box::new(request)))?;
        match unknown {
            Some(region) => self.drop_request(format!("`{region}` is no region of the policy")),
            None => Ok(()),
        }
    }

    /// Takes a human's abort into the journal; the next round withdraws what has not happened.
    pub fn abort(&mut self, abort: Abort) -> Result<(), JournalError> {
        self.note(&Entry::Aborted(abort))
    }

    pub fn drop_request(&mut self, why: String) -> Result<(), JournalError> {
        self.dropped = Some(why.clone());
        self.note(&Entry::AskDropped { why })
    }

    fn executor(&mut self) -> Executor<'_> {
        Executor {
            policy: &self.policy,
            levers: &self.levers,
            log: self.log.as_mut(),
            acts: &mut self.memory.acts,
            clock: self.clock.as_ref(),
            pace: &self.pace,
        }
    }

    fn note(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.note_at(self.clock.now(), entry)
    }

    fn note_at(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        self.log.append(at, entry)?;
        self.memory.acts.apply(at, entry);
        Ok(())
    }

    fn post(&mut self, letter: &Letter) -> Result<(), JournalError> {
        self.note(&Entry::Posted(Box::new(letter.clone())))?;
        let page = letter.note.public.is_some().then(|| self.page()).flatten().map(Arc::new);
        let letter = &Letter { page, ..letter.clone() };
        let refused = match &self.outbox {
            Some(outbox) => outbox.post(letter.clone()).err(),
            // The log and the journal are all there is, and saying it again each minute would fill them.
            None => {
                let note = &letter.note;
                warn!(service = %note.service, note = note.text, "No channel to tell it to.");
                let (took, lost) = (Vec::new(), Vec::new());
                let letter = letter.clone();
                return self.take_receipt(Receipt { letter, delivered: true, took, lost });
            }
        };
        let Some(why) = refused else { return Ok(()) };
        let lost = vec![Lost { channel: "outbox".to_owned(), why: why.to_string() }];
        let letter = letter.clone();
        self.take_receipt(Receipt { letter, delivered: false, took: Vec::new(), lost })
    }

    /// The status page as it is by all that the public was told.
    pub fn page(&self) -> Option<Page> {
        let frame = self.policy.page_frame()?;
        Some(Page::of(&frame, &self.memory.acts.public, self.clock.now()))
    }

    /// A human sends what is new to the public: what the last round would have said, in other words and
    /// another phase if they are given. `false` if no round was made yet. Without an incident there is nothing to
    /// say, and it is left.
    pub fn say_publicly(
        &mut self,
        by: &str,
        text: Option<&str>,
        phase: Option<Phase>,
    ) -> Result<bool, JournalError> {
        let last = self.last.as_ref().and_then(|decision| decision.public.as_ref());
        let Some(mut bulletin) = last.cloned() else { return Ok(false) };
        let now = self.clock.now();
        bulletin.at = now;
        if bulletin.incident.is_none() && self.memory.acts.public.open().is_none() {
            // It was over before they were heard.
            let service = &self.policy.service;
            warn!(%service, by, text, "Words for the public without an incident; no page shows them.");
            return Ok(true);
        }
        if let Some(update) = &mut bulletin.update {
            update.at = now;
            // While an incident is open nobody can say that it is over.
            let open = bulletin.incident.is_some();
            update.phase = match phase {
                Some(Phase::Resolved) if open => Phase::Monitoring,
                Some(phase) if open => phase,
                Some(_) | None => update.phase,
            };
            if let Some(text) = text {
                text.clone_into(&mut update.text);
            }
        }
        self.note(&Entry::Worded { by: by.to_owned(), bulletin: Box::new(bulletin) })?;
        Ok(true)
    }

    /// Writes down what became of letters since it was last asked.
    pub fn take_receipts(&mut self) -> Result<(), JournalError> {
        for receipt in self.outbox.as_ref().map(|outbox| outbox.receipts()).unwrap_or_default() {
            self.take_receipt(receipt)?;
        }
        Ok(())
    }

    /// Writes down what became of one letter.
    pub fn take_receipt(&mut self, receipt: Receipt) -> Result<(), JournalError> {
        let Receipt { letter: Letter { key, note, .. }, delivered, took, lost } = receipt;
        let about = note.about.into_iter().collect();
        let (severity, text) = (note.severity, note.text);
        self.note(&Entry::Told { severity, about, key, text, delivered, took, lost })
    }

    /// What the records say: as read now, or as read lately.
    async fn read_answers(&mut self, now: Timestamp) -> Answers {
        let (Some(lever), Some(weights)) =
            (self.policy.weights_lever(), self.levers.weights.clone())
        else {
            return Answers::Unknown;
        };
        let busy = self.unread.is_some()
            || self.memory.acts.order.is_some()
            || self.memory.acts.incident_since.is_some()
            || self.inventory.is_none();
        let every = if busy { REREAD_BUSY } else { REREAD_CALM };
        let due = self.read_at.is_none_or(|at| now.since(at) >= every || at > now);
        if due && self.reading.is_none() {
            self.read_at = Some(now);
            let lever = lever.clone();
            self.reading =
                Some(Box::pin(async move { read_inventory(&lever, weights.as_ref(), now).await }));
        }
        if let Some(mut reading) = self.reading.take() {
            let patience = self.read_patience.filter(|_| self.has_switches());
            let read = match (reading.as_mut().now_or_never(), patience) {
                (Some(read), _) => Some(read),
                (None, Some(patience)) => timeout(patience, reading.as_mut()).await.ok(),
                (None, None) => Some(reading.as_mut().await),
            };
            match read {
                Some(Ok(inventory)) => {
                    self.inventory = Some(inventory);
                    self.unread = None;
                    self.outdated = false;
                }
                Some(Err(failure)) => self.unread = Some(failure),
                None => self.reading = Some(reading),
            }
        }
        let Some(lever) = self.policy.weights_lever() else { return Answers::Unknown };
        match (&self.unread, &self.inventory) {
            (None, Some(inventory)) if !self.outdated => {
                inventory.answers(lever, &self.policy.regions)
            }
            (None | Some(_), _) => Answers::Unknown,
        }
    }

    /// Incidents and changed decisions go into the journal, with the readings that led to them.
    fn write_down(&mut self, decision: &Decision) -> Result<(), JournalError> {
        if decision.incident != self.memory.acts.incident_since.is_some() {
            // By the time of the decision: its notes name the incident by when it began.
            self.note_at(decision.at, &Entry::Incident { open: decision.incident })?;
        }
        let shape = shape(decision);
        if self.journaled.as_ref() != Some(&shape) {
            self.note(&Entry::Decided(Box::new(decision.digest())))?;
            self.journaled = Some(shape);
        }
        Ok(())
    }

    /// Begins the hooks that the decision wants called, each written down before. They run by themselves.
    fn call_hooks(&mut self, decision: &Decision) -> Result<(), JournalError> {
        let Some(hooks) = self.levers.hooks.clone() else { return Ok(()) };
        for call in &decision.calls {
            let Some(hook) = self.policy.hooks.find(call.phase, &call.hook).cloned() else {
                continue;
            };
            self.note(&Entry::HookCalled(Box::new(call.clone())))?;
            info!(service = %call.service, hook = call.hook, key = call.key, "Calling a hook.");
            hooks.begin(&hook, call);
        }
        Ok(())
    }

    async fn act(
        &mut self,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(Option<Outcome>, Option<Unplannable>), JournalError> {
        let may_act = matches!(self.policy.mode, Mode::Approve | Mode::Auto);
        let goes_on = self.memory.acts.cure.is_some() && may_act && !undoes(decision);
        let came = self.move_on(decision, now).await?;
        if goes_on {
            // After whatever else is done: leaving a region waits for no look at a balancer.
            let _ = Box::pin(self.executor().advance_cure()).await?;
        }
        Ok(came)
    }

    async fn move_on(
        &mut self,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(Option<Outcome>, Option<Unplannable>), JournalError> {
        let mut outcome = None;
        let may_act = matches!(self.policy.mode, Mode::Approve | Mode::Auto);
        let next = decision.wanted.as_ref().and_then(lever_of);
        if may_act && votes_are_over(&self.memory.acts, decision) {
            self.executor().withdraw_votes().await?;
        }
        self.executor().settle_doubt(next).await?;
        if let Some(beside) = self.memory.acts.beside.as_ref().filter(|_| may_act)
            && !is_still_wanted(&beside.moved, self.memory.acts.order.as_ref(), decision)
        {
            let _ = self.executor().withdraw_beside("it is no longer right").await?;
        }
        // Done is what nothing hangs of any more: not the gates alone, while an order may still happen.
        let beside = ended(self.see_beside().await?);
        if beside == Some(Outcome::Done) && self.memory.acts.order.is_none() {
            outcome = beside;
        }
        if let Some(order) = &self.memory.acts.order {
            // What has been sent is followed up whatever the decision; what has not is only sent while
            // it is still wanted. A pin is absolute: while it is in force not even the rest of a
            // half-sent order goes out.
            if order.has_unsent() && self.memory.acts.pin_at(now).is_some() {
                return Ok((None, None));
            }
            if let Some(why) = self.aborted(order, now) {
                outcome = ended(self.executor().withdraw(&why).await?);
                // What is accepted as a whole cannot be recalled: it is followed up, and sends nothing.
                let follow = |order: &Order| !order.has_unsent();
                if outcome.is_none() && self.memory.acts.order.as_ref().is_some_and(follow) {
                    outcome = ended(self.advance().await?);
                }
            } else if let Some(why) = decision.withdraw.as_ref().filter(|_| order.may_be_given_up())
            {
                // A call of unknown outcome is no reason to make it again once it is no longer wanted: it
                // is found out what became of it, and that is all.
                if order.is_unsent() || self.records_answer() {
                    outcome = ended(self.executor().withdraw(why).await?);
                }
            } else if !order.is_unsent() || !order.may_be_given_up() || goes_on(order, decision) {
                outcome = ended(self.advance().await?);
            }
            // The records were read before the order wrote them, or somebody else did: they are read anew
            // before anything is decided about them. What is wanted now may be the very move that ended.
            if outcome.is_some() {
                self.look_again();
            }
            if matches!(outcome, Some(Outcome::Done | Outcome::Refused { .. })) {
                return Ok((outcome, None));
            }
        }
        if self.memory.acts.order.is_some()
            && !takes_other_lever(self.memory.acts.order.as_ref(), decision)
        {
            return Ok((outcome, None));
        }
        let (done, unplannable) = self.begin(decision, now).await?;
        Ok((done.or(outcome), unplannable))
    }

    async fn begin(
        &mut self,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(Option<Outcome>, Option<Unplannable>), JournalError> {
        let service = self.policy.service.clone();
        let wanted = decision.wanted.as_ref();
        match wanted.filter(|_| self.reach == Reach::Everything || decision.asked == Asking::Moves)
        {
            None => Ok((None, None)),
            Some(Wanted::Refresh { balancer, act, before, .. }) => {
                info!(%service, %balancer, ?act, "Refreshing.");
                let progress = match act {
                    None => self.executor().refresh(balancer).await?,
                    Some(act) => {
                        let because = match act {
                            RefreshAct::Rung(_) => format!("diagnosed: {}", decision.diagnosis()),
                            RefreshAct::Undo => match self.memory.acts.abort_at(now) {
                                Some(abort) => format!("aborted by {}: {}", abort.by, abort.reason),
                                None => "its probes fail more than before".to_owned(),
                            },
                        };
                        Box::pin(self.executor().treat(balancer, *act, *before, &because)).await?
                    }
                };
                let outcome = ended(progress);
                Ok((outcome.filter(|outcome| *outcome != Outcome::Done), None))
            }
            Some(Wanted::Move(moved)) if self.memory.acts.order.is_some() => {
                let lever = moved.lever;
                warn!(%service, %lever, to = %moved.to, "Moving beside an order that hangs.");
                let progress = self.executor().move_beside(moved).await?;
                Ok((ended(progress), None))
            }
            Some(wanted @ Wanted::Move(_)) => match self.plan(wanted, now) {
                Ok(plan) if self.is_not_as_reviewed(decision, &plan)? => Ok((None, None)),
                Ok(plan) => {
                    info!(%service, epoch = %plan.epoch, batches = plan.batches.len(), "Moving.");
                    let outcome = ended(self.executor().carry_out(plan).await?);
                    if outcome.is_some() {
                        self.look_again();
                    }
                    Ok((outcome, None))
                }
                Err(why) => {
                    warn!(%service, %why, "The move cannot be worked out.");
                    self.look_again();
                    if let Some(lever) = spoiled(wanted, &why).filter(|_| self.has_switches()) {
                        let (code, why) = ("Unplannable".to_owned(), why.to_string());
                        let failure = Some(CallFailed::Refused { code, why });
                        self.note(&Entry::LeverHeard { lever, failure })?;
                    }
                    Ok((None, Some(why)))
                }
            },
        }
    }

    /// Why an order is given up at a human's word: one that was begun before it, and is no put-back.
    fn aborted(&self, order: &Order, now: Timestamp) -> Option<String> {
        let abort = self.memory.acts.abort_at(now)?;
        let before = order.intended_at <= abort.at && !order.is_repair();
        before.then(|| format!("aborted by {}: {}", abort.by, abort.reason))
    }

    /// A reviewed plan is carried out as it was reviewed, or not at all.
    fn is_not_as_reviewed(
        &mut self,
        decision: &Decision,
        plan: &Plan,
    ) -> Result<bool, JournalError> {
        let request = self.memory.acts.request.as_ref();
        let Some(Asked::Reviewed { checksum: reviewed, .. }) =
            request.filter(|_| decision.asked == Asking::Moves).map(|request| &request.what)
        else {
            return Ok(false);
        };
        let found = checksum(plan, self.policy.weights_lever());
        if &found == reviewed {
            return Ok(false);
        }
        let why = format!("worked out anew it has the checksum {found}, not {reviewed}");
        warn!(service = %self.policy.service, why, "The reviewed plan is not carried out.");
        self.drop_request(why)?;
        Ok(true)
    }

    /// The plan of a move from the records as they were last read: the write itself checks that they
    /// are still so.
    pub fn plan(&self, wanted: &Wanted, now: Timestamp) -> Result<Plan, Unplannable> {
        let empty = Inventory::default();
        let inventory = self.inventory.as_ref().unwrap_or(&empty);
        plan(&self.policy, inventory, wanted, self.memory.acts.epoch.next(), &self.holder, now)
    }
}

fn ended(progress: Progress) -> Option<Outcome> {
    match progress {
        Progress::Ended(outcome) => Some(outcome),
        Progress::Working | Progress::Nothing => None,
    }
}

/// What makes two decisions the same for the journal: kinds, not the numbers that change each round.
fn shape(decision: &Decision) -> Shape {
    let kind = |hold: &Hold| {
        let text = format!("{hold:?}");
        text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
    };
    let mut holds: Vec<String> = decision.holds.iter().map(kind).collect();
    if let Some(plan) = &decision.zone {
        holds.push(format!("{:?}", plan.act.step));
    }
    holds.sort();
    holds.dedup();
    let findings = decision.findings.iter().map(|f| (f.diagnosis, f.region.clone())).collect();
    (findings, holds, decision.wanted.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::domain::{RecordName, Split, Weight, ZoneId};
    use crate::journal::Forgetful;
    use crate::memory::Pin;
    use crate::plan::{Batch, Epoch, Move, Purpose, RecordSet};
    use crate::policy::Pace;
    use crate::ports::{ChangeId, ChangeStatus, Weights};

    #[derive(Debug)]
    struct Still(Timestamp);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    /// Counts what would be written and what is read, and finds nothing.
    #[derive(Debug, Default)]
    struct Counted {
        changes: AtomicUsize,
        reads: AtomicUsize,
    }

    #[async_trait]
    impl Weights for Counted {
        async fn read(
            &self,
            _: &ZoneId,
            _: Option<&RecordName>,
        ) -> Result<Vec<RecordSet>, CallFailed> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            Ok(Vec::new())
        }

        async fn change(&self, _: &Batch) -> Result<ChangeId, CallFailed> {
            self.changes.fetch_add(1, Ordering::SeqCst);
            Ok(ChangeId("C2".to_owned()))
        }

        async fn status(&self, _: &ChangeId) -> Result<ChangeStatus, CallFailed> {
            Ok(ChangeStatus::InSync)
        }

        async fn name_servers(&self, _: &ZoneId) -> Result<Vec<String>, CallFailed> {
            Ok(Vec::new())
        }
    }

    fn split(east: u8, west: u8) -> Split {
        let weights = [("east", east), ("west", west)];
        let named =
            weights.into_iter().map(|(name, weight)| (name.parse().unwrap(), Weight(weight)));
        Split::new(named.collect()).unwrap()
    }

    /// A service in the middle of an order of two batches, the first of which was accepted.
    fn half_sent(records: &Arc<Counted>) -> Service {
        let now = Timestamp::from_secs(1000);
        let policy = crate::report::samples::policy();
        let levers = Levers { weights: Some(records.clone()), ..Levers::default() };
        let pace = Arc::new(Pacer::new(Pace::default()));
        let mut service = Service::new(
            policy,
            levers,
            Box::new(Forgetful),
            Arc::new(Still(now)),
            pace,
            "t".to_owned(),
        );
        let batch =
            Batch { zone: "Z1".parse().unwrap(), comment: String::new(), swaps: Vec::new() };
        let wanted = Wanted::Move(Move {
            lever: LeverKind::Weights,
            purpose: Purpose::Evacuate,
            from: split(100, 0),
            to: split(0, 100),
            turns: Vec::new(),
            because: String::new(),
        });
        let plan = Plan {
            service: service.policy.service.clone(),
            epoch: Epoch(1),
            made_at: now,
            wanted,
            batches: vec![batch.clone(), batch],
            result: split(0, 100).weights().clone(),
        };
        for entry in [
            Entry::Intended(Box::new(plan)),
            Entry::Sending { epoch: Epoch(1), batch: 0 },
            Entry::Accepted { epoch: Epoch(1), batch: 0, change: ChangeId("C1".to_owned()) },
        ] {
            service.memory.acts.apply(now, &entry);
        }
        service
    }

    #[tokio::test(start_paused = true)]
    async fn under_a_pin_not_even_the_rest_of_an_order_goes_out() {
        let records = Arc::new(Counted::default());
        let mut service = half_sent(&records);
        let (by, reason) = ("ana".to_owned(), "look first".to_owned());
        let now = Timestamp::from_secs(1000);
        service.memory.acts.apply(now, &Entry::Pinned(Pin { by, reason, since: now, until: None }));
        service.start().await.unwrap();
        service.round(Vec::new(), Vec::new()).await.unwrap();
        assert_eq!(records.changes.load(Ordering::SeqCst), 0);
        assert!(service.memory.acts.order.is_some(), "the order keeps its place");
    }

    /// Takes every letter and never says what became of it, as a channel that hangs for ever.
    #[derive(Debug, Default)]
    struct Silent(std::sync::Mutex<Vec<Letter>>);

    impl Outbox for Silent {
        fn post(&self, letter: Letter) -> Result<(), CallFailed> {
            self.0.lock().unwrap().push(letter);
            Ok(())
        }

        fn receipts(&self) -> Vec<Receipt> {
            Vec::new()
        }
    }

    fn letter() -> Letter {
        let text = r#"{"service":"shop","at":0,"severity":"page","about":[],"text":"x"}"#;
        Letter { key: "k".to_owned(), note: serde_json::from_str(text).unwrap(), page: None }
    }

    #[derive(Debug)]
    struct Hangs;

    #[async_trait]
    impl crate::runtime::telling::Carrier for Hangs {
        async fn carry(
            &self,
            _: &crate::runtime::telling::Bundle,
        ) -> Result<(), crate::runtime::telling::Untaken> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_hangs_delays_no_change_and_no_later_round() {
        use crate::runtime::telling::{Teller, Way};
        let records = Arc::new(Counted::default());
        let mut service = half_sent(&records);
        // Then there is something to tell in the first round: that automation is off.
        service.policy.mode = crate::policy::Mode::Observe;
        let way = Way {
            name: "dead".to_owned(),
            carrier: Arc::new(Hangs),
            from: crate::tell::Severity::Info,
            stands_in: false,
            keeps_alerts: false,
            takes_status: false,
            within: Duration::from_secs(5),
        };
        let (teller, desk) = Teller::new(vec![way], None);
        service.outbox = Some(Arc::new(teller));
        let task = tokio::spawn(desk);
        let begun = tokio::time::Instant::now();
        for _ in 0..5 {
            service.round(Vec::new(), Vec::new()).await.unwrap();
            assert_eq!(records.changes.load(Ordering::SeqCst), 1, "sent in the first round");
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited for the channel");
        let now = Timestamp::from_secs(1000);
        assert!(service.memory.acts.told.values().any(|told| told.is_on_its_way(now)));
        // Given up, and heard of by the next round.
        tokio::time::sleep(Duration::from_secs(60)).await;
        service.round(Vec::new(), Vec::new()).await.unwrap();
        assert!(service.memory.acts.told.values().any(|told| told.is_lost(now)));
        assert!(service.memory.acts.dead_channels.contains_key("dead"));
        drop(service);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_order_is_put_back_as_far_as_it_was_written() {
        let records = Arc::new(Counted::default());
        let mut service = half_sent(&records);
        let (by, reason) = ("ana".to_owned(), "wrong region".to_owned());
        let at = Timestamp::from_secs(1000);
        service.abort(Abort { by, reason, at, until: at.plus(Duration::from_secs(60)) }).unwrap();
        let done = service.round(Vec::new(), Vec::new()).await.unwrap();
        assert_eq!(records.changes.load(Ordering::SeqCst), 1, "the put-back of the first batch");
        let Some(Outcome::Abandoned { why }) = done.ended else { panic!("{:?}", done.ended) };
        assert!(why.contains("puts back epoch 1") && why.contains("aborted by ana: wrong region"));
        assert!(service.memory.acts.order.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_after_an_abort_is_not_withdrawn_by_it() {
        let records = Arc::new(Counted::default());
        let mut service = half_sent(&records);
        let (by, reason) = ("ana".to_owned(), "before".to_owned());
        let at = Timestamp::from_secs(900);
        service.abort(Abort { by, reason, at, until: at.plus(Duration::from_secs(600)) }).unwrap();
        service.round(Vec::new(), Vec::new()).await.unwrap();
        let order = service.memory.acts.shifts.last().expect("the rest went out");
        assert_eq!(order.purpose, Purpose::Evacuate);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_is_to_be_told_is_said_once() {
        let mut service = half_sent(&Arc::default());
        service.post(&letter()).unwrap();
        assert!(service.memory.acts.told["k"].delivered);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_on_its_way_is_lost_with_the_process() {
        let mut service = half_sent(&Arc::default());
        service.outbox = Some(Arc::new(Silent::default()));
        service.post(&letter()).unwrap();
        let now = Timestamp::from_secs(1000);
        assert!(service.memory.acts.told["k"].is_on_its_way(now));
        service.memory.acts.apply(now, &Entry::Started { version: String::new() });
        assert!(service.memory.acts.told["k"].is_lost(now));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_pin_the_rest_of_an_order_goes_out() {
        let records = Arc::new(Counted::default());
        let mut service = half_sent(&records);
        service.round(Vec::new(), Vec::new()).await.unwrap();
        assert_eq!(records.changes.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_order_wrote_is_read_before_the_next_decision() {
        let records = Arc::new(Counted::default());
        let mut service = half_sent(&records);
        let done = service.round(Vec::new(), Vec::new()).await.unwrap();
        assert_eq!(done.ended, Some(Outcome::Done));
        let reads = records.reads.load(Ordering::SeqCst);
        service.round(Vec::new(), Vec::new()).await.unwrap();
        assert!(
            records.reads.load(Ordering::SeqCst) > reads,
            "the reading is older than the order"
        );
        let reads = records.reads.load(Ordering::SeqCst);
        service.round(Vec::new(), Vec::new()).await.unwrap();
        assert_eq!(records.reads.load(Ordering::SeqCst), reads, "and then it is fresh");
    }
}
