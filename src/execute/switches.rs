//! Switches (gates, routing controls) and balancers: what can be set again without harm needs no
//! compare-and-swap.
//!
//! The life of an order by switches: intended → turning → all of them stand → what looks at them has
//! followed and the name servers answer so → ended. What does not come into force in the policy's time
//! has failed: it is turned back, so that it cannot take effect late, and the next lever is tried.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::domain::{BalancerName, InAnswers, RegionName, Timestamp, Turn, Weight};
use crate::execute::{Executor, Progress};
use crate::journal::JournalError;
use crate::memory::{Entry, Order, Outcome, Turning};
use crate::plan::{Move, Wanted};
use crate::policy::{LeverKind, Proof, Witness};
use crate::ports::{CallFailed, Followed, Levers, Resolver};

/// Questions to one name server in one look, at least and at most.
const QUESTIONS_MIN: u32 = 8;
const QUESTIONS_MAX: u32 = 48;

/// A region that still answers with the share it had would be missed with this chance at most.
const MISSED_CHANCE: f64 = 0.001;

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
            Turning::Stands { at } => self.see_in_force(&order, moved, at).await,
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

    /// Moves by switches while an order by another lever hangs. That order keeps its place; the switches
    /// need none, because setting them again does no harm: after a crash the next decision finishes them.
    pub async fn move_beside(&mut self, moved: &Move) -> Result<Progress, JournalError> {
        if !self.turn(moved.lever, &moved.turned()).await? {
            return Ok(Progress::Working);
        }
        self.note(&Entry::MovedByGates(Box::new(moved.clone())))?;
        Ok(Progress::Ended(Outcome::Done))
    }

    /// Looks whether a move beside a hanging order came into force. What does not in its time is turned
    /// back.
    pub async fn see_beside(&mut self) -> Result<(), JournalError> {
        let Some(beside) = self.acts.beside.clone() else { return Ok(()) };
        let moved = &beside.moved;
        let Some(proof) = self.policy.proof(moved.lever).cloned() else {
            let why = format!("the policy has no lever `{}` any more", moved.lever);
            return self.note(&Entry::BesideEnded { outcome: Outcome::Abandoned { why } });
        };
        if self.is_seen(&proof, moved, beside.at).await {
            return self.note(&Entry::BesideEnded { outcome: Outcome::Done });
        }
        if self.clock.now().since(beside.at) < proof.in_force_within || self.pinned() {
            return Ok(());
        }
        let back = moved.turned().into_iter().filter(|turn| turn.to != InAnswers::In);
        let back: Vec<Turn> = back.map(|turn| Turn { to: InAnswers::In, ..turn }).collect();
        let why = self.give_back(moved.lever, &back, &proof).await?;
        self.note(&Entry::BesideEnded { outcome: Outcome::Abandoned { why } })
    }

    /// Reads how switches stand of which it is not known, for as long as no order is about to turn them.
    pub async fn settle_doubt(&mut self) -> Result<(), JournalError> {
        let kinds: Vec<LeverKind> = self.acts.doubtful.keys().copied().collect();
        for kind in kinds {
            let ordered = self.acts.order.as_ref().is_some_and(|order| order.lever() == kind);
            let waits = self.retry_at(kind).is_some_and(|at| self.clock.now() < at);
            let Some(switches) = self.levers.switches(kind).filter(|_| !ordered && !waits) else {
                continue;
            };
            match switches.standing().await {
                Ok(standing) => {
                    let doubted = self.acts.doubtful.get(&kind).cloned().unwrap_or_default();
                    let all = doubted.iter().all(|region| standing.contains_key(region));
                    if all {
                        let standing = doubted
                            .iter()
                            .filter_map(|region| Some((region.clone(), *standing.get(region)?)))
                            .collect();
                        self.note(&Entry::Stood { lever: kind, standing })?;
                    }
                }
                Err(failure) => {
                    self.note(&Entry::LeverHeard { lever: kind, failure: Some(failure) })?;
                }
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
            let known = self.acts.standing(kind).and_then(|all| all.get(&turn.region)).copied();
            known.unwrap_or(InAnswers::In) == turn.to && !self.acts.doubts(kind, &turn.region)
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
    ) -> Result<Progress, JournalError> {
        let Some(proof) = self.policy.proof(moved.lever).cloned() else {
            let why = format!("the policy has no lever `{}` any more", moved.lever);
            return self.end(Outcome::Abandoned { why }).map(Progress::Ended);
        };
        let now = self.clock.now();
        if self.is_seen(&proof, moved, since).await {
            if order.in_sync_at.is_none() {
                self.note(&Entry::InSync { epoch: order.plan.epoch })?;
            }
            return self.end(Outcome::Done).map(Progress::Ended);
        }
        if now.since(since) < proof.in_force_within || self.pinned() {
            return Ok(Progress::Working);
        }
        self.fail(order, moved, &proof).await
    }

    /// The verdict over switches that stand and changed nothing: they are turned back.
    async fn fail(
        &mut self,
        order: &Order,
        moved: &Move,
        proof: &Proof,
    ) -> Result<Progress, JournalError> {
        let why = self.give_back(moved.lever, &order.turns_back(), proof).await?;
        self.end(Outcome::Abandoned { why }).map(Progress::Ended)
    }

    /// Turns back what changed nothing, and says why.
    async fn give_back(
        &mut self,
        lever: LeverKind,
        back: &[Turn],
        proof: &Proof,
    ) -> Result<String, JournalError> {
        let within = crate::domain::span(proof.in_force_within);
        let why = format!("turned, but not in the answers within {within}");
        self.turn(lever, back).await?;
        let failure = CallFailed::Refused { code: "NotInForce".to_owned(), why: why.clone() };
        self.note(&Entry::LeverHeard { lever, failure: Some(failure) })?;
        Ok(why)
    }

    async fn is_seen(&mut self, proof: &Proof, moved: &Move, since: Timestamp) -> bool {
        match answered(self.levers, proof, moved).await {
            Some(seen) => seen,
            None => {
                let long = self.clock.now().since(since) >= self.in_force_after(moved);
                followed(self.levers, moved).await && long
            }
        }
    }

    fn in_force_after(&self, moved: &Move) -> std::time::Duration {
        let gates = || self.policy.gates_lever().map(|lever| lever.check.flips_within() * 2);
        match moved.lever {
            LeverKind::Gates => gates().unwrap_or_default(),
            LeverKind::Arc | LeverKind::Weights => std::time::Duration::ZERO,
        }
    }
}

/// What looks at the switches sees them turned, or cannot be asked.
async fn followed(levers: &Levers, moved: &Move) -> bool {
    let Some(switches) = levers.switches(moved.lever) else { return true };
    match switches.followed(&moved.turned()).await {
        Ok(Followed::Yes | Followed::CannotTell) | Err(_) => true,
        Ok(Followed::NotYet) => false,
    }
}

/// Whether the name servers answer as the move wants. `None` if there is no witness to ask.
async fn answered(levers: &Levers, proof: &Proof, moved: &Move) -> Option<bool> {
    let witness = proof.witness.as_ref()?;
    let resolver = levers.resolver.clone()?;
    let counts = ask_witness(&resolver, witness, questions(witness, moved)).await;
    // A server that stays silent proves nothing; one that answers otherwise proves the contrary.
    let shows = |region: &RegionName| counts.contains_key(region.as_str());
    let lost = |weight: &Weight| weight.0 == 0;
    let weights = moved.to.weights();
    let none_left = weights.iter().all(|(region, weight)| !lost(weight) || !shows(region));
    let gained =
        |region: &RegionName, weight: &Weight| !lost(weight) && moved.from.weight(region).0 == 0;
    let all_there = weights.iter().all(|(region, w)| !gained(region, w) || shows(region));
    Some(!counts.is_empty() && none_left && all_there)
}

/// So many questions to each server that a region which is still in the answers would have shown.
fn questions(witness: &Witness, moved: &Move) -> u32 {
    let lost = moved
        .to
        .weights()
        .keys()
        .map(|region| moved.from.share(region).get() - moved.to.share(region).get())
        .filter(|lost| *lost > 0.0)
        .fold(1.0, f64::min);
    let all = MISSED_CHANCE.ln() / (1.0 - lost.clamp(0.01, 0.99)).ln();
    let servers = u32::try_from(witness.servers.len().max(1)).unwrap_or(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 700, by the clamp above"
    )]
    let each = (all.ceil() as u32).div_ceil(servers);
    each.clamp(QUESTIONS_MIN, QUESTIONS_MAX)
}

/// How often each value was answered, over all servers.
async fn ask_witness(
    resolver: &Arc<dyn Resolver>,
    witness: &Witness,
    questions: u32,
) -> BTreeMap<String, u32> {
    let mut asking = JoinSet::new();
    for server in witness.servers.clone() {
        let (resolver, name) = (Arc::clone(resolver), witness.name.clone());
        asking.spawn(async move {
            let mut values = Vec::new();
            for _ in 0..questions {
                match resolver.ask(&server, &name, "TXT").await {
                    Ok(answer) => values.extend(answer),
                    // It costs a time-out each: one is enough.
                    Err(_) => break,
                }
            }
            values
        });
    }
    let mut counts = BTreeMap::new();
    while let Some(answered) = asking.join_next().await {
        for value in answered.unwrap_or_default() {
            *counts.entry(value).or_insert(0) += 1;
        }
    }
    counts
}
