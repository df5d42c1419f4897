//! The ports of the controller, as the world answers them: late, wrongly, or not at all; and the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::scenario::{CallTrouble, LostGate, Trouble};
use super::world::World;
use crate::domain::{
    BalancerName, InAnswers, RecordName, RegionName, Split, Timestamp, Turn, Weight, ZoneId,
};
use crate::health::Happening;
use crate::journal::{JournalError, Log};
use crate::memory::Entry;
use crate::plan::{Batch, RecordData, RecordSet, Swap};
use crate::ports::{
    Balancers, CallFailed, ChangeId, ChangeStatus, Outbox, Resolver, Switches, Weights,
};
use crate::sim::check::epoch_of;
use crate::sim::scenario::Edit;
use crate::tell::{Letter, Lost, Receipt};

/// What a call takes, and what one takes that gets no answer.
const CALL: Duration = Duration::from_millis(50);
pub(super) const TIME_OUT: Duration = Duration::from_secs(10);

impl World {
    /// One step of the controller. If it dies here, nothing of it runs any more.
    fn burns(&self, at: &str) -> bool {
        let mut state = self.state();
        if state.dead {
            return true;
        }
        match state.fuse {
            Some(0) => {
                state.fuse = None;
                state.dead = true;
                drop(state);
                self.say(|| format!("the controller dies {at}"));
                self.died.notify_one();
                true
            }
            Some(left) => {
                state.fuse = Some(left - 1);
                false
            }
            None => false,
        }
    }

    /// A human who wants to stop an order says so while it is open; it is heard in the next round.
    fn aim(&self) {
        let mut state = self.state();
        let Some((lines, lasts)) = state.aim.filter(|_| state.check.is_open()) else { return };
        if lines > 0 {
            state.aim = Some((lines - 1, lasts));
            return;
        }
        state.aim = None;
        let until = lasts.map(|span| self.time.told().plus(span));
        let (by, reason) = ("ann".to_owned(), "stop that order".to_owned());
        state.aimed.push(Happening::Freeze { by, reason, until });
    }

    pub(super) async fn step(&self, at: &str) {
        if self.burns(at) {
            std::future::pending::<()>().await;
        }
    }

    /// Whether a call of this sort fails now.
    pub(super) fn fails(&self, part: impl Fn(&Trouble) -> Option<f64>) -> bool {
        let mut chance = 0.0_f64;
        let found = std::cell::Cell::new(0.0);
        if self.troubled(|trouble| part(trouble).map(|p| found.set(p)).is_some()) {
            chance = found.get();
        }
        self.state().ports.chance(chance)
    }

    /// Whether the answer to a call of a gate is lost now, and how.
    fn loses_gate(&self) -> Option<LostGate> {
        let how = std::cell::Cell::new(None);
        self.troubled(|trouble| {
            let Trouble::GatesLost(lost, part) = trouble else { return false };
            how.set(Some((*lost, *part)));
            true
        });
        let (lost, part) = how.get()?;
        self.state().ports.chance(part).then_some(lost)
    }

    /// What a call takes now.
    pub(super) fn take_time(&self) {
        let slow = std::cell::Cell::new(Duration::ZERO);
        self.troubled(|trouble| {
            let Trouble::Slow(by) = trouble else { return false };
            slow.set(*by);
            true
        });
        self.time.pass(CALL + slow.get());
    }

    pub(super) fn timed_out(&self) -> CallFailed {
        self.time.pass(TIME_OUT);
        CallFailed::Unknown { why: "time-out".to_owned() }
    }

    /// Makes a change, by the rules of the real service.
    async fn apply(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        let epoch = batch.swaps.iter().find_map(|swap| epoch_of(&swap.after));
        let plan_epoch = self.state().check.open_epoch();
        let change = self.zones.change(batch).await?;
        let after = self.zones.accepted(&batch.zone);
        let now = crate::ports::Clock::now(self);
        let mut state = self.state();
        if let Some(epoch) = epoch.or(plan_epoch) {
            state.changes.push((change.clone(), epoch));
        }
        let scenario = state.scenario.clone();
        state.check.effect(batch, &after, now, &scenario);
        Ok(change)
    }

    fn arriving(&self, whatever: bool) -> Option<Batch> {
        let now = self.time.truth();
        let mut state = self.state();
        let place = state.late.iter().position(|(due, _)| whatever || *due <= now)?;
        Some(state.late.remove(place).1)
    }

    /// Calls that were given up by their caller and arrive after all.
    pub(super) async fn land(&self, whatever: bool) {
        loop {
            let Some(batch) = self.arriving(whatever) else { return };
            let landed = self.apply(&batch).await;
            self.say(|| format!("a late change arrives: {}", said(&landed)));
        }
    }

    /// Somebody else changes the records.
    pub(super) async fn stranger(&self, edit: Edit) {
        let scenario = self.state().scenario.clone();
        let Some(lever) = scenario.policy.weights_lever() else { return };
        for (number, records) in lever.records.iter().enumerate() {
            let sets = self.zones.accepted(&records.zone);
            let crate::policy::WhichRecords::Named { name, .. } = &records.which else { continue };
            let mut swaps = Vec::new();
            for (place, set) in sets.iter().filter(|set| set.name == *name).enumerate() {
                let mut after = set.clone();
                match edit {
                    Edit::Split | Edit::OneName => {
                        after.weight = Some(Weight(if place == 0 { 33 } else { 67 }));
                    }
                    Edit::AllZero => after.weight = Some(Weight(0)),
                    Edit::Ttl => after.ttl = set.ttl.map(|ttl| ttl + 1),
                }
                swaps.push(Swap { before: Some(set.clone()), after });
            }
            let comment = "by hand".to_owned();
            let made =
                self.zones.change(&Batch { zone: records.zone.clone(), comment, swaps }).await;
            self.say(|| format!("a stranger edits {name}: {edit:?}, {}", said(&made)));
            if edit == Edit::OneName && number == 0 {
                return;
            }
        }
        if edit == Edit::Split {
            let sets = lever.records.first().map(|records| self.zones.accepted(&records.zone));
            let theirs = split_of(&scenario, &sets.unwrap_or_default());
            self.state().theirs = theirs;
        }
    }
}

fn split_of(scenario: &super::Scenario, sets: &[RecordSet]) -> Option<Split> {
    let name = super::scenario::record(0).ok()?;
    let mut weights = scenario.policy.home();
    for set in sets.iter().filter(|set| set.name == name) {
        let region = set.set_identifier.as_ref()?.parse().ok()?;
        weights.insert(region, set.weight?);
    }
    Split::new(weights).ok()
}

fn said<T: std::fmt::Debug>(answer: &Result<T, CallFailed>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(failure) => failure.to_string(),
    }
}

/// The controller's doors to the world.
#[derive(Debug, Clone)]
pub(super) struct Doors(pub(super) Arc<World>);

#[async_trait]
impl Weights for Doors {
    async fn read(
        &self,
        zone: &ZoneId,
        name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed> {
        let world = &self.0;
        world.step("before a list").await;
        world.take_time();
        let fails = |t: &Trouble| if let Trouble::ReadsFail(p) = t { Some(*p) } else { None };
        if world.fails(fails) {
            return Err(world.timed_out());
        }
        let sets = self.0.zones.read(zone, name).await;
        world.step("after a list").await;
        sets
    }

    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        let world = &self.0;
        world.step("before a change").await;
        world.land(true).await;
        world.take_time();
        world.check(|check, facts| check.call(batch, facts));
        let theirs = world.state().theirs.clone();
        world.state().check.not_theirs(theirs.as_ref());
        let which = std::cell::Cell::new(None);
        let trouble = |trouble: &Trouble| {
            let Trouble::Changes(how, part) = trouble else { return None };
            which.set(Some(*how));
            Some(*part)
        };
        let fails = world.fails(trouble);
        let answer = match which.get().filter(|_| fails) {
            None => world.apply(batch).await,
            Some(CallTrouble::NotSent) => Err(CallFailed::NotSent { why: "no route".to_owned() }),
            Some(CallTrouble::Throttled) => Err(CallFailed::Throttled {
                code: "Throttling".to_owned(),
                why: "rate exceeded".to_owned(),
            }),
            Some(CallTrouble::Busy) => Err(CallFailed::Busy),
            Some(CallTrouble::Refused) => Err(CallFailed::Refused {
                code: "AccessDenied".to_owned(),
                why: "not authorized".to_owned(),
            }),
            Some(CallTrouble::LostBefore) => Err(world.timed_out()),
            Some(CallTrouble::LostAfter) => {
                // If it was refused, that is lost as well.
                let _ = world.apply(batch).await;
                Err(world.timed_out())
            }
            Some(CallTrouble::LandsLate) => {
                let wait = world.state().ports.span(1, 15);
                let due = world.time.truth().plus(TIME_OUT + wait);
                world.state().late.push((due, batch.clone()));
                Err(world.timed_out())
            }
        };
        world.say(|| format!("change {}: {}", batch.comment, said(&answer)));
        world.step("after a change").await;
        answer
    }

    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        let world = &self.0;
        world.step("before asking for a change").await;
        world.take_time();
        let fails = |t: &Trouble| if let Trouble::StatusFails(p) = t { Some(*p) } else { None };
        if world.fails(fails) {
            return Err(world.timed_out());
        }
        let status = world.zones.status(change).await;
        world.step("after asking for a change").await;
        status
    }

    async fn name_servers(&self, zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
        self.0.step("before asking for name servers").await;
        self.0.take_time();
        self.0.zones.name_servers(zone).await
    }
}

#[async_trait]
impl Resolver for Doors {
    async fn ask(
        &self,
        _server: &str,
        name: &RecordName,
        kind: &str,
    ) -> Result<Vec<String>, CallFailed> {
        self.0.step("before a DNS question").await;
        self.0.take_time();
        if self.0.troubled(|trouble| *trouble == Trouble::ServersSilent) {
            return Err(CallFailed::Unknown { why: "no answer".to_owned() });
        }
        let zone = super::scenario::zone(0);
        let sets = zone.map(|zone| self.0.zones.in_force(&zone)).unwrap_or_default();
        let found = sets.into_iter().find(|set| set.name == *name && set.kind == kind);
        Ok(match found.map(|set| set.data) {
            Some(RecordData::Values(values)) => values,
            Some(RecordData::Alias { .. }) | None => Vec::new(),
        })
    }
}

#[async_trait]
impl Switches for Doors {
    /// One object after the other; the first that fails ends it, and those before it stand.
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        let world = &self.0;
        for turn in turns {
            world.step("before a gate").await;
            world.land_turns();
            world.take_time();
            if world.fails(gates_fail) {
                return Err(world.timed_out());
            }
            let lost = world.loses_gate();
            match lost {
                Some(LostGate::Late) => {
                    let wait = world.state().ports.span(1, 15);
                    let due = world.time.truth().plus(TIME_OUT + wait);
                    world.state().late_turns.push((due, turn.clone()));
                }
                Some(LostGate::AtOnce) | None => world.turn_gate(turn),
            }
            if lost.is_some() {
                return Err(world.timed_out());
            }
            world.step("after a gate").await;
        }
        Ok(())
    }

    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        let world = &self.0;
        world.step("before gates are read").await;
        world.land_turns();
        world.take_time();
        if world.fails(gates_fail) {
            return Err(world.timed_out());
        }
        let mut standing: BTreeMap<RegionName, InAnswers> = {
            let state = world.state();
            let regions = state.scenario.policy.regions.keys();
            regions.map(|name| (name.clone(), InAnswers::In)).collect()
        };
        let turned = world.state().gates.clone();
        standing.extend(turned.into_iter().map(|(region, (to, _))| (region, to)));
        Ok(standing)
    }
}

fn gates_fail(trouble: &Trouble) -> Option<f64> {
    if let Trouble::GatesFail(part) = trouble { Some(*part) } else { None }
}

#[async_trait]
impl Balancers for Doors {
    async fn refresh(&self, balancer: &BalancerName) -> Result<(), CallFailed> {
        let world = &self.0;
        world.step("before a refresh").await;
        world.take_time();
        let fails = |t: &Trouble| if let Trouble::RefreshFails(p) = t { Some(*p) } else { None };
        if world.fails(fails) {
            return Err(world.timed_out());
        }
        world.state().cured.insert(balancer.clone());
        world.say(|| format!("refreshed {balancer}"));
        world.step("after a refresh").await;
        Ok(())
    }
}

impl Outbox for Doors {
    fn post(&self, letter: Letter) -> Result<(), CallFailed> {
        // A dead controller hands over nothing, and what it did not get rid of dies with it.
        if self.0.burns("before a note") {
            return Ok(());
        }
        let fails = self.0.troubled(|trouble| *trouble == Trouble::MessengerFails);
        let note = &letter.note;
        self.0.say(|| format!("told ({:?}, {}): {}", note.severity, !fails, note.text));
        let channel = "pager".to_owned();
        let mut receipt = Receipt { letter, delivered: !fails, took: Vec::new(), lost: Vec::new() };
        if fails {
            // Of every other letter nothing is ever heard again: its channel hangs.
            if receipt.letter.note.sequence.is_multiple_of(2) {
                return Ok(());
            }
            receipt.lost.push(Lost { channel, why: "nobody there".to_owned() });
        } else {
            receipt.took.push(channel);
        }
        self.0.state().receipts.push(receipt);
        Ok(())
    }

    fn receipts(&self) -> Vec<Receipt> {
        std::mem::take(&mut self.0.state().receipts)
    }
}

/// The journal's disk. What was appended stays, whatever happens to the one who appended.
#[derive(Debug)]
pub(super) struct Disk(pub(super) Arc<World>);

impl Log for Disk {
    fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        let world = &self.0;
        let gone = || JournalError::Poisoned { path: "the disk of the dead".into() };
        // A line that was torn by the crash is cut off at the next start: as if never written.
        if world.burns("before a line") {
            return Err(gone());
        }
        world.check(|check, facts| check.line(at, entry, facts));
        world.say(|| {
            let text = format!("{entry:?}");
            let text: String = text.chars().take(400).collect();
            format!("journal: {text}")
        });
        world.state().log.push((at, entry.clone()));
        world.aim();
        if world.burns("after a line") { Err(gone()) } else { Ok(()) }
    }
}
