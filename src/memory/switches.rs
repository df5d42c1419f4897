//! Gates and routing controls: how they stand, how they have to stand, and what is not known of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Acts, Order, Outcome, Shift, Turning};
use crate::domain::{InAnswers, RegionName, Timestamp, Turn};
use crate::plan::{Move, Plan, SETTLED_AFTER, Wanted};
use crate::policy::{LeverKind, Policy};
use crate::ports::CallFailed;

/// A move by switches beside an order that hangs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    pub moved: Move,
    /// Since when its switches stand; before that, when it was intended.
    pub at: Timestamp,
    /// They do not all stand yet, as far as is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub turning: bool,
    /// How those switches stood before, as far as it was known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stood: BTreeMap<RegionName, InAnswers>,
}

impl Beside {
    /// The turns that undo those of this move.
    pub fn turns_back(&self) -> Vec<Turn> {
        turns_back(&self.moved, &self.stood)
    }
}

/// Switches that a call is about to turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calling {
    pub lever: LeverKind,
    /// Those that were not in doubt before it.
    pub sure: BTreeSet<RegionName>,
    /// What it asks for that no lost call before it asks for as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fresh: Vec<Turn>,
}

/// The turns that undo those of a move. What was let in and had not been known to be out stays: it took
/// nothing from anybody.
pub(super) fn turns_back(moved: &Move, stood: &BTreeMap<RegionName, InAnswers>) -> Vec<Turn> {
    let back = |turn: Turn| {
        let stood = stood.get(&turn.region).copied();
        let to = if turn.to == InAnswers::In { stood? } else { stood.unwrap_or(InAnswers::In) };
        Some(Turn { to, ..turn })
    };
    let mut turns: Vec<Turn> = moved.turned().into_iter().filter_map(back).collect();
    turns.sort_by_key(|turn| turn.to);
    turns
}

/// True if each of these turns is one of the move's own, and not one back.
pub(super) fn asks_for(moved: &Move, turns: &[Turn]) -> bool {
    let own = moved.turned();
    turns.iter().all(|turn| own.contains(turn))
}

impl Acts {
    /// How the switches of one kind stand.
    pub fn standing(&self, kind: LeverKind) -> Option<&BTreeMap<RegionName, InAnswers>> {
        match kind {
            LeverKind::Gates => Some(&self.gates),
            LeverKind::Arc => Some(&self.controls),
            LeverKind::Weights => None,
        }
    }

    fn standing_mut(&mut self, kind: LeverKind) -> &mut BTreeMap<RegionName, InAnswers> {
        match kind {
            // No entry names weights here; a strange journal that does changes nothing that is read.
            LeverKind::Gates | LeverKind::Weights => &mut self.gates,
            LeverKind::Arc => &mut self.controls,
        }
    }

    /// How one switch stands, or has to where that is in doubt.
    pub fn stands(&self, kind: LeverKind, region: &RegionName) -> InAnswers {
        let known = self.standing(kind).and_then(|all| all.get(region)).copied();
        known.unwrap_or(InAnswers::In)
    }

    /// How one switch has to stand while nothing is about to turn it. `None` for a control that nobody turned
    /// yet: it may be off on a calm day.
    pub fn has_to_stand(&self, kind: LeverKind, region: &RegionName) -> Option<InAnswers> {
        let known = self.standing(kind).and_then(|all| all.get(region)).copied();
        known.or((kind == LeverKind::Gates).then_some(InAnswers::In))
    }

    /// How far the switches of one kind let each region in. A vote that not enough others have joined keeps
    /// nobody out.
    pub fn in_effect(&self, kind: LeverKind) -> BTreeMap<RegionName, InAnswers> {
        let mut all = self.standing(kind).cloned().unwrap_or_default();
        if kind == LeverKind::Gates {
            all.extend(self.voted.clone());
        }
        all
    }

    /// How far each region is let in by gates and routing controls together: the stricter one counts,
    /// since both must be healthy.
    pub fn let_in(&self) -> BTreeMap<RegionName, InAnswers> {
        let mut all = self.in_effect(LeverKind::Gates);
        for (region, stands) in &self.controls {
            let place = all.entry(region.clone()).or_insert(*stands);
            if stands.open() < place.open() {
                *place = *stands;
            }
        }
        all
    }

    /// The same after these turns.
    pub fn let_in_after(
        &self,
        lever: LeverKind,
        turns: &[Turn],
    ) -> BTreeMap<RegionName, InAnswers> {
        let turned = turns.iter().map(|turn| (turn.region.clone(), turn.to));
        let mut after = Self {
            gates: self.in_effect(LeverKind::Gates),
            controls: self.controls.clone(),
            ..Self::default()
        };
        after.standing_mut(lever).extend(turned);
        after.let_in()
    }

    pub fn doubts(&self, kind: LeverKind, region: &RegionName) -> bool {
        self.doubtful.get(&kind).is_some_and(|regions| regions.contains(region))
    }

    /// An order, or a move beside one, is about to turn switches of this kind, or waits for them.
    pub fn is_turning(&self, kind: LeverKind) -> bool {
        self.order.as_ref().is_some_and(|order| order.lever() == kind)
            || self.beside.as_ref().is_some_and(|beside| beside.moved.lever == kind)
    }

    /// No call that turned switches of this kind can still be on its way: one that went unanswered began, or
    /// was given up, long enough ago.
    pub fn is_settled(&self, kind: LeverKind, at: Timestamp) -> bool {
        let Some(lever) = self.levers.get(&kind) else { return true };
        let failed = lever.last_failure.as_ref().map(|(at, _)| at);
        lever.tries.last().into_iter().chain(failed).all(|last| at.since(*last) >= SETTLED_AFTER)
    }

    /// Why a changed policy may not be taken yet: a switch that keeps a region out, or may, would be left
    /// behind, and nobody would open it.
    pub fn left_behind(&self, old: &Policy, new: &Policy) -> Option<String> {
        let same = |kind: LeverKind, region: &RegionName| match kind {
            LeverKind::Gates => {
                let slots = |policy: &Policy| policy.gates_lever()?.slots.get(region).cloned();
                slots(old) == slots(new)
            }
            LeverKind::Arc => {
                let control = |policy: &Policy| policy.arc_lever()?.controls.get(region).cloned();
                control(old) == control(new)
            }
            LeverKind::Weights => true,
        };
        [LeverKind::Gates, LeverKind::Arc].into_iter().find_map(|kind| {
            let kept_out = self.kept_out(kind).into_iter();
            let mut regions = kept_out.filter(|region| old.regions.contains_key(*region));
            let region = regions.find(|region| !same(kind, region))?;
            Some(format!(
                "lever `{kind}` keeps `{region}` out of the answers, and would not know of it any more"
            ))
        })
    }

    /// Switches that keep a region out, or may, and of which this policy does not know: one that was changed while
    /// nothing ran.
    pub fn forgotten(&self, policy: &Policy) -> Vec<(LeverKind, RegionName)> {
        let kinds = [LeverKind::Gates, LeverKind::Arc].into_iter();
        let kept_out = |kind| self.kept_out(kind).into_iter().map(move |region| (kind, region));
        let unknown =
            |(kind, region): &(LeverKind, &RegionName)| policy.switches(*kind, region) == 0;
        let all = kinds.flat_map(kept_out).filter(unknown);
        all.map(|(kind, region)| (kind, region.clone())).collect()
    }

    /// The regions that switches of this kind keep out of the answers, or may.
    fn kept_out(&self, kind: LeverKind) -> BTreeSet<&RegionName> {
        let standing = self.standing(kind).into_iter().flatten();
        let out = standing.filter(|(_, stands)| **stands != InAnswers::In);
        let doubted = self.doubtful.get(&kind).into_iter().flatten();
        out.map(|(region, _)| region).chain(doubted).collect()
    }

    /// A lost call that may still land would make something else of a switch that stands so.
    pub fn may_change(&self, kind: LeverKind, region: &RegionName, stands: InAnswers) -> bool {
        let asked = self.lost.get(&kind).and_then(|lost| lost.get(region));
        asked.is_some_and(|asked| asked.iter().any(|to| *to != stands))
    }

    pub(super) fn begin_turning(&mut self, lever: LeverKind, turns: &[Turn], at: Timestamp) {
        if self.is_settled(lever, at) {
            self.lost.remove(&lever);
        }
        self.try_lever(lever, at);
        let doubtful = self.doubtful.entry(lever).or_default();
        let known = |turn: &&Turn| !doubtful.contains(&turn.region);
        let sure: BTreeSet<RegionName> =
            turns.iter().filter(known).map(|turn| turn.region.clone()).collect();
        doubtful.extend(sure.iter().cloned());
        // Lost, until its outcome is heard.
        let lost = self.lost.entry(lever).or_default();
        let new = |turn: &&Turn| lost.entry(turn.region.clone()).or_default().insert(turn.to);
        let fresh = turns.iter().filter(new).cloned().collect();
        self.calling = Some(Calling { lever, sure, fresh });
        let standing = self.standing(lever).cloned().unwrap_or_default();
        if let Some(order) = self.order.as_mut().filter(|order| order.lever() == lever) {
            if order.turning == Turning::Waiting {
                let known = |turn: &Turn| Some((turn.region.clone(), *standing.get(&turn.region)?));
                order.stood = turns.iter().filter_map(known).collect();
            }
            // What stood is turned back, and nothing else.
            if !matches!(order.turning, Turning::Stands { .. }) {
                order.turning = Turning::Sent { at };
            }
        }
    }

    /// What was sure before the call is sure again after a failure that certainly had no effect. After one
    /// that went well all is, but what a lost call before it may still change.
    pub(super) fn end_turning(
        &mut self,
        lever: LeverKind,
        turns: &[Turn],
        failure: Option<&CallFailed>,
        at: Timestamp,
    ) {
        let calling = self.calling.take().filter(|calling| calling.lever == lever);
        if let Some(calling) =
            calling.as_ref().filter(|_| failure.is_none_or(CallFailed::nothing_happened))
        {
            self.is_heard_of(lever, &calling.fresh);
        }
        let settled: BTreeSet<RegionName> = match (failure, calling) {
            (None, _) => {
                let fast = |turn: &&Turn| !self.may_change(lever, &turn.region, turn.to);
                turns.iter().filter(fast).map(|turn| turn.region.clone()).collect()
            }
            (Some(failure), Some(calling)) if failure.nothing_happened() => calling.sure,
            (Some(_), _) => BTreeSet::new(),
        };
        self.be_sure(lever, &settled);
        let sure = !self.doubtful.contains_key(&lever);
        let order = self.order.as_mut().filter(|order| order.lever() == lever);
        let beside = self.beside.as_ref().filter(|beside| beside.moved.lever == lever);
        // What stood so already, or is only turned back, tells nothing of a lever that failed to turn it.
        let works = !turns.is_empty()
            && (order.as_ref().is_some_and(|order| order.asks_for(turns))
                || beside.is_some_and(|beside| asks_for(&beside.moved, turns)));
        let Some(failure) = failure else {
            if let Some(order) = order {
                order.turning = Turning::Stands { at };
            }
            let turned = turns.iter().map(|turn| (turn.region.clone(), turn.to));
            self.standing_mut(lever).extend(turned);
            self.count_votes();
            if works {
                self.lever_works(lever);
            }
            return;
        };
        let sent = |order: &&mut Order| matches!(order.turning, Turning::Sent { .. });
        if let Some(order) = order.filter(|_| sure).filter(sent) {
            order.turning = Turning::Waiting;
        }
        self.fail_lever(lever, at, failure);
    }

    /// A reading. It ends doubt about what no lost call can change after it.
    pub(super) fn note_stood(
        &mut self,
        lever: LeverKind,
        standing: &BTreeMap<RegionName, InAnswers>,
        at: Timestamp,
    ) {
        self.standing_mut(lever).extend(standing.clone());
        if self.is_settled(lever, at) {
            self.lost.remove(&lever);
        }
        let fast = standing.iter().filter(|(region, to)| !self.may_change(lever, region, **to));
        let fast = fast.map(|(region, _)| region.clone()).collect();
        self.be_sure(lever, &fast);
        self.count_votes();
    }

    /// These gates stand and changed nothing yet. `back`: the turns that would take them back.
    pub(super) fn vote(&mut self, back: &[Turn]) {
        for Turn { region, to } in back {
            self.voted.entry(region.clone()).or_insert(*to);
        }
        self.count_votes();
    }

    /// A gate that was opened again is no vote.
    fn count_votes(&mut self) {
        let gates = &self.gates;
        let stands = |region: &RegionName| gates.get(region).map_or(1.0, |stands| stands.open());
        self.voted.retain(|region, before| stands(region) < before.open());
    }

    /// What was seen in the answers is more than a vote.
    pub(super) fn is_seen(&mut self, moved: &Move) {
        if moved.lever == LeverKind::Gates {
            let turned = moved.turned();
            self.voted.retain(|region, _| turned.iter().all(|turn| turn.region != *region));
        }
    }

    fn is_heard_of(&mut self, lever: LeverKind, turns: &[Turn]) {
        let Some(lost) = self.lost.get_mut(&lever) else { return };
        for Turn { region, to } in turns {
            if let Some(asked) = lost.get_mut(region) {
                asked.remove(to);
            }
        }
        lost.retain(|_, asked| !asked.is_empty());
        self.lost.retain(|_, lost| !lost.is_empty());
    }

    fn be_sure(&mut self, lever: LeverKind, of: &BTreeSet<RegionName>) {
        if let Some(doubtful) = self.doubtful.get_mut(&lever) {
            doubtful.retain(|region| !of.contains(region));
        }
        self.doubtful.retain(|_, regions| !regions.is_empty());
    }

    /// A move was given up: its switches have to stand as before. What does not, or could not be turned
    /// back, is in doubt until it was read so. A vote stands until it is withdrawn.
    pub(super) fn owe(&mut self, lever: LeverKind, back: &[Turn]) {
        let votes = (lever == LeverKind::Gates).then_some(&self.voted).cloned().unwrap_or_default();
        for Turn { region, to } in back.iter().filter(|turn| !votes.contains_key(&turn.region)) {
            let stood = self.standing_mut(lever).insert(region.clone(), *to);
            if stood.unwrap_or(InAnswers::In) != *to {
                self.doubtful.entry(lever).or_default().insert(region.clone());
            }
        }
    }

    pub(super) fn begin_beside(&mut self, moved: &Move, at: Timestamp) {
        let standing = self.standing(moved.lever).cloned().unwrap_or_default();
        let known = |turn: Turn| Some((turn.region.clone(), *standing.get(&turn.region)?));
        let stood = moved.turned().into_iter().filter_map(known).collect();
        self.beside = Some(Beside { moved: moved.clone(), at, turning: true, stood });
    }

    /// Older versions did not announce such a move.
    pub(super) fn stand_beside(&mut self, moved: &Move, at: Timestamp) {
        let announced = self.beside.take().filter(|beside| beside.moved.lever == moved.lever);
        let stood = announced.map(|beside| beside.stood).unwrap_or_default();
        self.beside = Some(Beside { moved: moved.clone(), at, turning: false, stood });
    }

    /// What never came into force and was turned back was no shift, and the next lever need not wait.
    pub(super) fn end_beside(&mut self, outcome: &Outcome) {
        let Some(beside) = self.beside.take() else { return };
        if *outcome == Outcome::Done {
            self.is_seen(&beside.moved);
            return;
        }
        self.owe(beside.moved.lever, &beside.turns_back());
        let counted = |last: &mut Shift| {
            !beside.turning && last.at == beside.at && last.to == beside.moved.to
        };
        if self.shifts.pop_if(counted).is_some() {
            self.cools_from = self.shifts.last().map(|last| last.at);
        }
    }

    /// An order by the same lever takes the place of a move beside the one before.
    pub(super) fn replace_beside(&mut self, plan: &Plan) {
        let Wanted::Move(moved) = &plan.wanted else { return };
        if self.beside.as_ref().is_some_and(|beside| beside.moved.lever == moved.lever) {
            self.beside = None;
        }
    }
}
