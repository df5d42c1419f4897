//! Switches (gates, routing controls) and balancers: what can be set again without harm needs no
//! compare-and-swap.
//!
//! The life of an order by switches: intended → turning → all of them stand → what looks at them has
//! followed and the name servers answer so → ended. What does not come into force in the policy's time
//! has failed: it is turned back, so that it cannot take effect late, and the next lever is tried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::domain::{BalancerName, InAnswers, Left, RegionName, Timestamp, Turn};
use crate::execute::{Executor, Progress};
use crate::journal::JournalError;
use crate::memory::{Entry, Order, Outcome, Turning};
use crate::plan::{Move, Purpose, Wanted};
use crate::policy::{LeverKind, Mode, Policy, Proof, Votes, Witness};
use crate::ports::{CallFailed, Followed, Levers, Resolver};

/// How long the health check of a routing control may take to follow it. No documentation gives a bound: it is
/// taken for no slower than the slowest other check, which looks every 30 s (API reference, `HealthCheckConfig`).
const CONTROL_FOLLOWS: Duration = Duration::from_secs(30);

/// Questions to one name server in one look, at least.
const QUESTIONS_MIN: u32 = 8;

/// A region that still answers with the share it had would be missed with this chance at most.
const MISSED_CHANCE: f64 = 0.001;

/// If that share is smaller, it is missed more often: for a hundredth it takes seven hundred questions.
const LOST_MIN: f64 = 0.05;

/// Counts this many standard deviations off are those of another share: one look in a thousand errs, and
/// the next tells.
const DEVIATIONS_MAX: f64 = 3.3;

impl Executor<'_> {
    /// Refreshes the configuration of one balancer, written down before and after.
    pub async fn refresh(&mut self, balancer: &BalancerName) -> Result<Progress, JournalError> {
        self.note(&Entry::Refreshing { balancer: balancer.clone() })?;
        let answer = match &self.levers.balancers {
            Some(balancers) => balancers.refresh(balancer).await,
            None => Err(CallFailed::NotSent { why: "there is no client for balancers".to_owned() }),
        };
        let failure = answer.err();
        self.note(&Entry::Refreshed { balancer: balancer.clone(), failure: failure.clone() })?;
        Ok(Progress::Ended(match failure {
            None => Outcome::Done,
            Some(failure) => Outcome::Refused { why: failure.to_string() },
        }))
    }

    /// Takes the open order by switches on as far as it goes now.
    pub(super) async fn take_switches_on(&mut self) -> Result<Progress, JournalError> {
        let Some(order) = self.acts.order.clone() else { return Ok(Progress::Nothing) };
        let Wanted::Move(moved) = &order.plan.wanted else { return Ok(Progress::Nothing) };
        match order.turning {
            Turning::Waiting | Turning::Sent { .. } => {
                if !self.pinned() {
                    self.turn(moved.lever, &moved.turned()).await?;
                }
                Ok(Progress::Working)
            }
            Turning::Stands { at } => self.see_in_force(&order, moved, at, Left::Unknown).await,
        }
    }

    /// The same as [`Executor::advance`], where it is known whether users left.
    pub async fn advance_seeing(&mut self, left: Left) -> Result<Progress, JournalError> {
        let Some(order) = self.acts.order.clone() else { return Ok(Progress::Nothing) };
        match (&order.plan.wanted, order.turning) {
            (Wanted::Move(moved), Turning::Stands { at })
                if moved.lever.is_switch() && !self.waits(moved.lever) =>
            {
                self.see_in_force(&order, moved, at, left).await
            }
            _ => self.advance().await,
        }
    }

    /// After a start. What was not turned is decided anew. A call of unknown outcome is found out by
    /// reading; where nothing can be read it is made again, if the order is still young.
    pub(super) async fn recover_switches(&mut self) -> Result<Progress, JournalError> {
        let Some(order) = self.acts.order.clone() else { return Ok(Progress::Nothing) };
        let Wanted::Move(moved) = &order.plan.wanted else { return Ok(Progress::Nothing) };
        let kind = moved.lever;
        match order.turning {
            Turning::Stands { .. } => return self.take_switches_on().await,
            Turning::Waiting => {
                let why = "stopped before anything was turned; decided anew after the start";
                return self.end(Outcome::Abandoned { why: why.to_owned() }).map(Progress::Ended);
            }
            Turning::Sent { .. } => {}
        }
        let turns = moved.turned();
        let read = match self.levers.switches(kind) {
            Some(switches) => switches.standing().await.unwrap_or_default(),
            None => BTreeMap::new(),
        };
        if turns.iter().all(|turn| read.get(&turn.region) == Some(&turn.to)) {
            self.note(&Entry::Turned { lever: kind, turns, failure: None })?;
            return self.take_switches_on().await;
        }
        let known = turns.iter().all(|turn| read.contains_key(&turn.region));
        let within = self.policy.proof(kind).map(|proof| proof.in_force_within);
        let young = within.is_some_and(|within| self.clock.now().since(order.intended_at) < within);
        if !known && young {
            return self.take_switches_on().await;
        }
        if known {
            let mine = |region: &RegionName| turns.iter().any(|turn| turn.region == *region);
            let standing = read.into_iter().filter(|(region, _)| mine(region)).collect();
            self.note(&Entry::Stood { lever: kind, standing })?;
        }
        let why = "stopped while it was turned; decided anew after the start";
        self.end(Outcome::Abandoned { why: why.to_owned() }).map(Progress::Ended)
    }

    /// After a start: a move beside a hanging order of which all switches stand was made. Of any other the
    /// next decision says whether it goes on.
    pub async fn recover_beside(&mut self) -> Result<(), JournalError> {
        let Some(beside) = self.acts.beside.clone().filter(|beside| beside.turning) else {
            return Ok(());
        };
        let (kind, turns) = (beside.moved.lever, beside.moved.turned());
        let called = turns.iter().any(|turn| self.acts.doubts(kind, &turn.region));
        let Some(switches) = self.levers.switches(kind).filter(|_| called) else { return Ok(()) };
        let read = switches.standing().await.unwrap_or_default();
        if turns.iter().any(|turn| read.get(&turn.region) != Some(&turn.to)) {
            return Ok(());
        }
        self.note(&Entry::Turned { lever: kind, turns, failure: None })?;
        self.note(&Entry::MovedByGates(Box::new(beside.moved)))
    }

    /// Moves by switches while an order by another lever hangs. That order keeps its place.
    ///
    /// The life of such a move: announced → turning → all of them stand → seen in force, or turned back.
    pub async fn move_beside(&mut self, moved: &Move) -> Result<Progress, JournalError> {
        if self.acts.beside.as_ref().is_none_or(|beside| beside.moved != *moved) {
            self.note(&Entry::MovingBeside(Box::new(moved.clone())))?;
        }
        if self.turn(moved.lever, &moved.turned()).await? {
            self.note(&Entry::MovedByGates(Box::new(moved.clone())))?;
        }
        Ok(Progress::Working)
    }

    /// Looks whether a move beside a hanging order came into force. What does not in its time is turned
    /// back.
    pub async fn see_beside(&mut self, left: Left) -> Result<Progress, JournalError> {
        let Some(beside) = self.acts.beside.clone() else { return Ok(Progress::Nothing) };
        let moved = &beside.moved;
        let Some(proof) = self.policy.proof(moved.lever).cloned() else {
            let why = format!("the policy has no lever `{}` any more", moved.lever);
            return self.end_beside(Outcome::Abandoned { why });
        };
        if beside.turning {
            return Ok(Progress::Working);
        }
        if self.is_seen(&proof, moved, beside.at, left).await {
            return self.end_beside(Outcome::Done);
        }
        if self.clock.now().since(beside.at) < proof.in_force_within || self.pinned() {
            return Ok(Progress::Working);
        }
        let why = self.give_back(moved, &beside.turns_back(), &proof, left).await?;
        self.end_beside(Outcome::Abandoned { why })
    }

    /// Gives up a move beside a hanging order as long as its switches do not all stand.
    pub async fn withdraw_beside(&mut self, why: &str) -> Result<Progress, JournalError> {
        let Some(beside) = self.acts.beside.clone().filter(|beside| beside.turning) else {
            return Ok(Progress::Nothing);
        };
        let (kind, back) = (beside.moved.lever, beside.turns_back());
        let called = back.iter().any(|turn| self.acts.doubts(kind, &turn.region));
        if called && self.pinned() {
            return Ok(Progress::Working);
        }
        if called {
            self.turn(kind, &back).await?;
        }
        self.end_beside(Outcome::Abandoned { why: why.to_owned() })
    }

    fn end_beside(&mut self, outcome: Outcome) -> Result<Progress, JournalError> {
        self.note(&Entry::BesideEnded { outcome: outcome.clone() })?;
        Ok(Progress::Ended(outcome))
    }

    /// Reads how switches stand of which it is not known, for as long as nothing is about to turn them, and
    /// turns those that do not stand as they have to. What can still be changed by a call that was lost
    /// stays in doubt. `next`: the lever that is about to be pulled.
    pub async fn settle_doubt(&mut self, next: Option<LeverKind>) -> Result<(), JournalError> {
        let may_turn = matches!(self.policy.mode, Mode::Approve | Mode::Auto) && !self.pinned();
        let kinds: Vec<LeverKind> = self.acts.doubtful.keys().copied().collect();
        for kind in kinds.into_iter().filter(|_| may_turn) {
            let busy = next == Some(kind) || self.acts.is_turning(kind) || self.waits(kind);
            let Some(switches) = self.levers.switches(kind).filter(|_| !busy) else { continue };
            let read = match switches.standing().await {
                Ok(read) => read,
                Err(failure) => {
                    self.note(&Entry::LeverHeard { lever: kind, failure: Some(failure) })?;
                    continue;
                }
            };
            let doubted = self.acts.doubtful.get(&kind).cloned().unwrap_or_default();
            let found = |region: &RegionName| Some((region.clone(), *read.get(region)?));
            let mut standing: BTreeMap<RegionName, InAnswers> =
                doubted.iter().filter_map(found).collect();
            let wrong = standing.iter().filter_map(|(region, stands)| {
                let to = self.acts.has_to_stand(kind, region).filter(|to| to != stands)?;
                Some(Turn { region: region.clone(), to })
            });
            let wrong: Vec<Turn> = wrong.collect();
            if !wrong.is_empty() {
                self.turn(kind, &wrong).await?;
                continue;
            }
            let settled = self.acts.is_settled(kind, self.clock.now());
            standing.retain(|region, to| settled || !self.acts.may_change(kind, region, *to));
            if !standing.is_empty() {
                self.note(&Entry::Stood { lever: kind, standing })?;
            }
        }
        Ok(())
    }

    /// Gives up an order by switches that do not all stand: what may have been turned is turned back to
    /// where it stood, as well as that goes.
    pub(super) async fn withdraw_switches(&mut self, why: &str) -> Result<Progress, JournalError> {
        let Some(order) = self.acts.order.clone() else { return Ok(Progress::Nothing) };
        let Wanted::Move(moved) = &order.plan.wanted else { return Ok(Progress::Nothing) };
        match order.turning {
            Turning::Stands { .. } => return Ok(Progress::Working),
            Turning::Waiting => {}
            Turning::Sent { .. } if self.pinned() => return Ok(Progress::Working),
            Turning::Sent { .. } => {
                self.turn(moved.lever, &order.turns_back()).await?;
            }
        }
        self.end(Outcome::Abandoned { why: why.to_owned() }).map(Progress::Ended)
    }

    /// True if all of them stand. Gates that stand so are left alone; routing controls go in one call,
    /// which their safety rules judge as a whole.
    async fn turn(&mut self, kind: LeverKind, turns: &[Turn]) -> Result<bool, JournalError> {
        let stands = |turn: &Turn| {
            let known = !self.acts.doubts(kind, &turn.region);
            known && self.acts.stands(kind, &turn.region) == turn.to
        };
        let due: Vec<Turn> = match kind {
            LeverKind::Arc => turns.to_vec(),
            LeverKind::Gates | LeverKind::Weights => {
                turns.iter().filter(|turn| !stands(turn)).cloned().collect()
            }
        };
        self.note(&Entry::Turning { lever: kind, turns: due.clone() })?;
        let answer = match self.levers.switches(kind) {
            _ if due.is_empty() => Ok(()),
            Some(switches) => switches.turn(&due).await,
            None => Err(CallFailed::NotSent { why: format!("there is no client for `{kind}`") }),
        };
        let failure = answer.err();
        let stands = failure.is_none();
        self.note(&Entry::Turned { lever: kind, turns: due, failure })?;
        Ok(stands)
    }

    /// In force is what the name servers answer. Where they cannot be asked, it is what the checks say,
    /// and the time that those need, twice over: nobody tells how long the last step takes.
    async fn see_in_force(
        &mut self,
        order: &Order,
        moved: &Move,
        since: Timestamp,
        left: Left,
    ) -> Result<Progress, JournalError> {
        let Some(proof) = self.policy.proof(moved.lever).cloned() else {
            let why = format!("the policy has no lever `{}` any more", moved.lever);
            return self.end(Outcome::Abandoned { why }).map(Progress::Ended);
        };
        let now = self.clock.now();
        if self.is_seen(&proof, moved, since, left).await {
            if order.in_sync_at.is_none() {
                self.note(&Entry::InSync { epoch: order.plan.epoch })?;
            }
            return self.end(Outcome::Done).map(Progress::Ended);
        }
        if now.since(since) < proof.in_force_within || self.pinned() {
            return Ok(Progress::Working);
        }
        self.fail(order, moved, &proof, left).await
    }

    /// The verdict over switches that stand and changed nothing: they are turned back.
    async fn fail(
        &mut self,
        order: &Order,
        moved: &Move,
        proof: &Proof,
        left: Left,
    ) -> Result<Progress, JournalError> {
        let why = self.give_back(moved, &order.turns_back(), proof, left).await?;
        self.end(Outcome::Abandoned { why }).map(Progress::Ended)
    }

    /// Turns back what changed nothing, and says why. A vote changes nothing until others have voted: it
    /// stays, and the next lever is tried meanwhile.
    async fn give_back(
        &mut self,
        moved: &Move,
        back: &[Turn],
        proof: &Proof,
        left: Left,
    ) -> Result<String, JournalError> {
        let lever = moved.lever;
        let within = crate::domain::span(proof.in_force_within);
        let (votes, back) = self.votes(moved, back);
        let why = match (self.policy.gates_lever(), left) {
            (Some(gates), _) if !votes.is_empty() => {
                let Votes { needed, of } = gates.votes;
                format!("not {needed} of {of} voted for it within {within}; the vote stands")
            }
            (_, Left::No(part)) => {
                format!("turned, but {part} of the requests still arrive after {within}")
            }
            (_, Left::Unknown | Left::NotToldYet) => {
                format!("turned, but not in the answers within {within}")
            }
        };
        if !votes.is_empty() {
            self.note(&Entry::Voted { back: votes })?;
        }
        if !back.is_empty() {
            self.turn(lever, &back).await?;
        }
        let failure = CallFailed::Refused { code: "NotInForce".to_owned(), why: why.clone() };
        self.note(&Entry::LeverHeard { lever, failure: Some(failure) })?;
        Ok(why)
    }

    /// Which of the turns that would take a move back take back a vote for leaving a region, and the rest.
    fn votes(&self, moved: &Move, back: &[Turn]) -> (Vec<Turn>, Vec<Turn>) {
        let counted = self.policy.gates_lever().is_some_and(|gates| gates.votes.needed > 1)
            && moved.lever == LeverKind::Gates
            && moved.purpose != Purpose::Failback;
        let closes =
            |turn: &Turn| self.acts.stands(moved.lever, &turn.region).open() < turn.to.open();
        back.iter().cloned().partition(|turn| counted && closes(turn))
    }

    /// Takes votes back that changed nothing: nobody has to be left any more.
    pub async fn withdraw_votes(&mut self) -> Result<(), JournalError> {
        let kind = LeverKind::Gates;
        let back =
            self.acts.voted.iter().map(|(region, to)| Turn { region: region.clone(), to: *to });
        let back: Vec<Turn> = back.collect();
        if back.is_empty() || self.pinned() || self.acts.is_turning(kind) || self.waits(kind) {
            return Ok(());
        }
        self.turn(kind, &back).await.map(|_| ())
    }

    /// Name servers that answer otherwise are enough to say no. That they answer so is enough for a region
    /// that went or came as a whole; one share is told from another only roughly.
    async fn is_seen(&mut self, proof: &Proof, moved: &Move, since: Timestamp, left: Left) -> bool {
        match answered(self.levers, proof, moved).await {
            Some(false) => false,
            Some(true) if !is_step(moved) => true,
            Some(true) | None => {
                let stood = self.clock.now().since(since);
                let stays = match left {
                    Left::Unknown => false,
                    // What is not counted in time tells nothing.
                    Left::NotToldYet => stood < proof.in_force_within,
                    Left::No(_) => true,
                };
                let long = stood >= in_force_after(self.policy, moved);
                long && !stays && followed(self.levers, moved).await
            }
        }
    }
}

/// How long switches have to stand until they are taken for followed, where nobody shows it.
fn in_force_after(policy: &Policy, moved: &Move) -> Duration {
    let gates = || policy.gates_lever().map(|lever| lever.check.flips_within() * 2);
    // Of a routing control nothing can be asked but the control itself, which shows what was told to it.
    match moved.lever {
        LeverKind::Gates => gates().unwrap_or_default(),
        LeverKind::Arc => policy.proof(LeverKind::Arc).map_or(CONTROL_FOLLOWS, |proof| {
            (CONTROL_FOLLOWS + proof.ttl).min(proof.in_force_within)
        }),
        LeverKind::Weights => Duration::ZERO,
    }
}

/// How long after switches were turned users of a region that they took out may still come to it: until they
/// are followed, and until answers that were given just before are too old.
pub fn users_go_within(policy: &Policy, moved: &Move) -> Duration {
    let ttl = policy.proof(moved.lever).map(|proof| proof.ttl);
    in_force_after(policy, moved) + ttl.unwrap_or_default()
}

/// What looks at the switches sees them turned, or cannot be asked.
async fn followed(levers: &Levers, moved: &Move) -> bool {
    let Some(switches) = levers.switches(moved.lever) else { return true };
    match switches.followed(&moved.turned()).await {
        Ok(Followed::Yes | Followed::CannotTell) | Err(_) => true,
        Ok(Followed::NotYet) => false,
    }
}

/// Only a part of what a region had moves.
fn is_step(moved: &Move) -> bool {
    let in_part = |turn: &Turn| matches!(turn.to, InAnswers::Part { .. });
    let mut changed = moved.to.weights().keys().map(|region| {
        let (from, to) = (moved.from.share(region).get(), moved.to.share(region).get());
        (from > 0.0) != (to > 0.0)
    });
    moved.turned().iter().any(in_part) || !changed.any(|whole| whole)
}

/// Whether the name servers answer as the move wants. `None` if there is no witness to ask.
async fn answered(levers: &Levers, proof: &Proof, moved: &Move) -> Option<bool> {
    let witness = proof.witness.as_ref()?;
    let resolver = levers.resolver.clone()?;
    let needed = questions(moved);
    // So many to each that half of the servers are enough.
    let half = u32::try_from(witness.servers.len().div_ceil(2)).unwrap_or(1).max(1);
    let each = needed.div_ceil(half).max(QUESTIONS_MIN);
    let heard = ask_witness(&resolver, witness, each).await;
    let answers: u32 = heard.counts.values().sum();
    // A server that stays silent proves nothing; one that answers otherwise proves the contrary.
    if heard.servers < half || answers < needed {
        return Some(false);
    }
    let fits = |region: &RegionName| {
        let count = heard.counts.get(region.as_str()).copied().unwrap_or_default();
        let (from, to) = (moved.from.share(region).get(), moved.to.share(region).get());
        match (from > 0.0, to > 0.0) {
            (_, false) => count == 0,
            (false, true) => count > 0,
            (true, true) => !is_step(moved) || is_likely(to, count, answers),
        }
    };
    Some(moved.to.weights().keys().all(fits))
}

/// Whether so many of the answers may well be those of a region with this share.
fn is_likely(share: f64, count: u32, of: u32) -> bool {
    let (count, of) = (f64::from(count), f64::from(of));
    let deviation = (of * share * (1.0 - share)).sqrt();
    // Half an answer more, as they are counted in whole ones.
    (count - of * share).abs() <= DEVIATIONS_MAX * deviation + 0.5
}

/// So many answers that a region which is still in them would have shown.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and 135, by the clamp"
)]
fn questions(moved: &Move) -> u32 {
    let lost = moved
        .to
        .weights()
        .keys()
        .map(|region| moved.from.share(region).get() - moved.to.share(region).get())
        .filter(|lost| *lost > 0.0)
        .fold(1.0, f64::min);
    (MISSED_CHANCE.ln() / (1.0 - lost.clamp(LOST_MIN, 0.99)).ln()).ceil() as u32
}

/// What name servers answered.
#[derive(Default)]
struct Heard {
    /// How often each value was answered, over all servers.
    counts: BTreeMap<String, u32>,
    /// How many servers answered every question.
    servers: u32,
}

async fn ask_witness(resolver: &Arc<dyn Resolver>, witness: &Witness, questions: u32) -> Heard {
    let mut asking = JoinSet::new();
    for server in witness.servers.clone() {
        let (resolver, name) = (Arc::clone(resolver), witness.name.clone());
        asking.spawn(async move {
            let mut values = Vec::new();
            for _ in 0..questions {
                match resolver.ask(&server, &name, "TXT").await {
                    Ok(answer) => values.extend(answer),
                    // It costs a time-out each: one is enough.
                    Err(_) => return (values, false),
                }
            }
            (values, true)
        });
    }
    let mut heard = Heard::default();
    while let Some(answered) = asking.join_next().await {
        let Ok((values, whole)) = answered else { continue };
        heard.servers += u32::from(whole);
        for value in values {
            *heard.counts.entry(value).or_insert(0) += 1;
        }
    }
    heard
}
