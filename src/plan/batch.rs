//! From a wanted move and the records as read to the fewest calls that do it. No IO.
//!
//! One batch for each zone where the limits of Route 53 allow, as `DELETE(exact old)` and
//! `CREATE(new)` of every set whose weight changes, and the epoch TXT in the first batch of its zone:
//! a second writer, or a late one, is refused as a whole. A name is never split over two batches, so
//! that no name is ever half moved.

use std::collections::BTreeMap;

use crate::domain::{RecordName, RegionName, ServiceName, Split, Timestamp, Weight, ZoneId, span};
use crate::memory::{BatchState, Order};
use crate::plan::inventory::{Group, Unclear};
use crate::plan::{
    Batch, Epoch, EpochTxt, Inventory, Move, Plan, Purpose, RecordData, RecordSet, Swap, Wanted,
};
use crate::policy::{LeverKind, Pace, Policy, WeightsLever};

/// `ResourceRecord` elements in one request, aliases included (Developer Guide, "Maximums on
/// `ChangeResourceRecordSets` requests"). `DELETE` and `CREATE` count one each for every value.
pub const ELEMENTS_MAX: usize = 1000;
/// Characters of all `Value` elements in one request (same place).
pub const CHARACTERS_MAX: usize = 32_000;
/// Changes in one request (same place).
pub const CHANGES_MAX: usize = 1000;
/// Characters of the comment of a batch (API reference, `ChangeBatch`).
pub const COMMENT_MAX: usize = 256;
/// Time to live of a new epoch TXT. Proof asks the zone's own servers, which never cache it.
const EPOCH_TTL_SECONDS: u32 = 60;

/// Why a wanted move cannot be worked out. Nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplannable {
    #[error("the policy has no `weights` lever")]
    NoLever,
    #[error("the records of a zone were not read")]
    NotRead,
    #[error("the records are not as the policy describes them: {0}")]
    Drift(String),
    #[error("the move starts from {from}, but the records say {found}")]
    NotAsRead { from: Split, found: Split },
    #[error(
        "`{name}` {kind} in zone {zone} would have weight 0 everywhere, which answers all regions alike"
    )]
    AllZero { zone: ZoneId, name: RecordName, kind: String },
    #[error(
        "`{name}` {kind} in zone {zone} has no set for region `{region}`, which is to get weight {weight}"
    )]
    NoMember { zone: ZoneId, name: RecordName, kind: String, region: RegionName, weight: Weight },
    #[error("every record has the wanted weight already")]
    NothingToDo,
    #[error("`{name}` in zone {zone} alone needs more than one request may carry: {needs}")]
    NameTooBig { zone: ZoneId, name: RecordName, needs: String },
    #[error("the epoch record `{name}` in zone {zone} is not ours: {why}")]
    EpochNotOurs { zone: ZoneId, name: RecordName, why: String },
    #[error(
        "the epoch TXT would be {length} characters long, at most {} fit",
        crate::plan::epoch::VALUE_MAX
    )]
    EpochTooLong { length: usize },
}

impl From<Unclear> for Unplannable {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::NotRead => Self::NotRead,
            Unclear::Drift(what) => Self::Drift(what),
        }
    }
}

/// The batches of a move: the fewest calls, the busiest names first.
///
/// `epoch` is raised above a published one, so that it only ever counts up. Moves by gates and
/// refreshes have no batches.
pub fn plan(
    policy: &Policy,
    inventory: &Inventory,
    wanted: &Wanted,
    epoch: Epoch,
    holder: &str,
    now: Timestamp,
) -> Result<Plan, Unplannable> {
    let bare = |epoch, result| Plan {
        service: policy.service.clone(),
        epoch,
        made_at: now,
        wanted: wanted.clone(),
        batches: Vec::new(),
        result,
    };
    let wanted = match wanted {
        Wanted::Refresh { .. } => {
            let result =
                policy.weights_lever().map(|lever| inventory.answers(lever, &policy.regions));
            return Ok(bare(epoch, split_of(result)));
        }
        Wanted::Move(wanted) if wanted.lever.is_switch() => {
            return Ok(bare(epoch, wanted.to.weights().clone()));
        }
        Wanted::Move(wanted) => wanted,
    };
    let lever = policy.weights_lever().ok_or(Unplannable::NoLever)?;
    let groups = inventory.groups(lever)?;
    starts_as_read(policy, lever, inventory, wanted)?;
    let names = swaps_by_name(&groups, &wanted.to)?;
    if names.is_empty() {
        return Err(Unplannable::NothingToDo);
    }
    let epoch = inventory.epoch(lever).map_or(epoch, |txt| epoch.max(txt.epoch.next()));
    let text = EpochTxt {
        service: policy.service.clone(),
        epoch,
        split: wanted.to.clone(),
        holder: holder.to_owned(),
        at: now,
    };
    let published = epoch_swap(lever, inventory.epoch_set(lever), &text)?;
    let comment = comment(&policy.service, epoch, &wanted.because);
    let batches = pack(&lever.pace, published, names, &comment)?;
    let mut result: BTreeMap<_, _> =
        policy.regions.keys().map(|region| (region.clone(), Weight(0))).collect();
    result.extend(wanted.to.weights().clone());
    Ok(Plan { batches, ..bare(epoch, result) })
}

fn split_of(answers: Option<crate::health::Answers>) -> BTreeMap<RegionName, Weight> {
    use crate::health::Answers;
    match answers {
        Some(Answers::Split { split, .. }) => split.weights().clone(),
        Some(Answers::Drift { .. } | Answers::Unknown) | None => BTreeMap::new(),
    }
}

/// The move must start from what the records say now: an order worked out for another world is wrong.
fn starts_as_read(
    policy: &Policy,
    lever: &WeightsLever,
    inventory: &Inventory,
    wanted: &Move,
) -> Result<(), Unplannable> {
    use crate::health::Answers;
    let found = match inventory.answers(lever, &policy.regions) {
        Answers::Split { split, .. } => split,
        Answers::Drift { what } => return Err(Unplannable::Drift(what)),
        Answers::Unknown => return Err(Unplannable::NotRead),
    };
    let mut regions = found.weights().keys().chain(wanted.from.weights().keys());
    if regions.all(|region| found.weight(region) == wanted.from.weight(region)) {
        Ok(())
    } else {
        Err(Unplannable::NotAsRead { from: wanted.from.clone(), found })
    }
}

/// The swaps of one name, all types together: never parted.
struct Name {
    zone: ZoneId,
    name: RecordName,
    swaps: Vec<Swap>,
}

/// What is to be swapped, name by name, in the order of the groups. Sets that keep their weight are
/// not touched.
fn swaps_by_name(groups: &[Group<'_>], to: &Split) -> Result<Vec<Name>, Unplannable> {
    let mut places: BTreeMap<(&ZoneId, &RecordName), usize> = BTreeMap::new();
    let mut names: Vec<Name> = Vec::new();
    for group in groups {
        check_result(group, to)?;
        for (region, set) in &group.sets {
            let weight = to.weight(region);
            if set.weight == Some(weight) {
                continue;
            }
            let after = RecordSet { weight: Some(weight), ..(*set).clone() };
            let swap = Swap { before: Some((*set).clone()), after };
            let place = *places.entry((group.zone, &group.name)).or_insert_with(|| {
                let (zone, name) = (group.zone.clone(), group.name.clone());
                names.push(Name { zone, name, swaps: Vec::new() });
                names.len() - 1
            });
            names[place].swaps.push(swap);
        }
    }
    Ok(names)
}

fn check_result(group: &Group<'_>, to: &Split) -> Result<(), Unplannable> {
    let (zone, name, kind) = (group.zone.clone(), group.name.clone(), group.kind.clone());
    for (region, weight) in to.weights() {
        if weight.0 > 0 && !group.sets.contains_key(region) {
            let (region, weight) = (region.clone(), *weight);
            return Err(Unplannable::NoMember { zone, name, kind, region, weight });
        }
    }
    if group.sets.keys().all(|region| to.weight(region).0 == 0) {
        return Err(Unplannable::AllZero { zone, name, kind });
    }
    Ok(())
}

/// The swap that publishes `text`, in place of what was read or as a new record.
fn epoch_swap(
    lever: &WeightsLever,
    before: Option<&RecordSet>,
    text: &EpochTxt,
) -> Result<Swap, Unplannable> {
    let record = &lever.epoch_record;
    let not_ours = |why: String| Unplannable::EpochNotOurs {
        zone: record.zone.clone(),
        name: record.name.clone(),
        why,
    };
    let value = text.encode();
    if value.len() > crate::plan::epoch::VALUE_MAX {
        return Err(Unplannable::EpochTooLong { length: value.len() });
    }
    let mut after = RecordSet {
        zone: record.zone.clone(),
        name: record.name.clone(),
        kind: "TXT".to_owned(),
        set_identifier: None,
        weight: None,
        ttl: Some(EPOCH_TTL_SECONDS),
        data: RecordData::Values(vec![value]),
        health_check: None,
        foreign: Vec::new(),
    };
    let Some(before) = before else {
        return Ok(Swap { before: None, after });
    };
    if before.set_identifier.is_some() || !before.foreign.is_empty() {
        return Err(not_ours("it is not a plain record".to_owned()));
    }
    let values = match &before.data {
        RecordData::Values(values) => values.as_slice(),
        RecordData::Alias { .. } => &[],
    };
    let [value] = values else {
        return Err(not_ours(format!("it has {} values, expected 1", values.len())));
    };
    let found = EpochTxt::parse(value).map_err(|why| not_ours(why.to_string()))?;
    if found.service != text.service {
        return Err(not_ours(format!("it belongs to service `{}`", found.service)));
    }
    after.ttl = before.ttl;
    Ok(Swap { before: Some(before.clone()), after })
}

/// What a batch costs by each limit.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    elements: usize,
    characters: usize,
    changes: usize,
}

impl Cost {
    fn of(swaps: &[Swap]) -> Self {
        let sets = swaps.iter().flat_map(|swap| swap.before.iter().chain([&swap.after]));
        sets.fold(Self::default(), |cost, set| {
            let (elements, characters) = match &set.data {
                RecordData::Values(values) => {
                    (values.len(), values.iter().map(|value| value.chars().count()).sum())
                }
                // Counted as one element: the guide says "alias records included".
                RecordData::Alias { .. } => (1, 0),
            };
            cost.plus(Self { elements, characters, changes: 1 })
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            elements: self.elements + other.elements,
            characters: self.characters + other.characters,
            changes: self.changes + other.changes,
        }
    }

    fn fits(self, changes_max: usize) -> bool {
        self.elements <= ELEMENTS_MAX
            && self.characters <= CHARACTERS_MAX
            && self.changes <= changes_max
    }
}

/// Changes in one batch that both the request limit and the burst of our own bucket let pass: a dearer
/// batch would be throttled for ever.
pub fn changes_max(pace: &Pace) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    let burst = pace.changes_burst.clamp(0.0, 1e9).floor() as usize;
    burst.min(CHANGES_MAX)
}

/// Fills batches first-fit in the order of `names`, so the busiest names are in the first ones.
///
/// First-fit needs no more calls than the limits demand when names are alike in size, which is the
/// case that grows large; with mixed sizes it never leaves two batches of a zone half empty.
fn pack(
    pace: &Pace,
    epoch: Swap,
    names: Vec<Name>,
    comment: &str,
) -> Result<Vec<Batch>, Unplannable> {
    let changes_max = changes_max(pace);
    let mut open: Vec<(Batch, Cost)> = Vec::new();
    let mut epoch = Some(epoch);
    for Name { zone, name, swaps } in names {
        let cost = Cost::of(&swaps);
        let fits = |(batch, sum): &&mut (Batch, Cost)| {
            batch.zone == zone && sum.plus(cost).fits(changes_max)
        };
        if let Some((batch, sum)) = open.iter_mut().find(fits) {
            *sum = sum.plus(cost);
            batch.swaps.extend(swaps);
            continue;
        }
        // The epoch rides in the first batch of its zone, whoever else is in there.
        let epoch = epoch.take_if(|epoch| {
            epoch.after.zone == zone
                && cost.plus(Cost::of(std::slice::from_ref(epoch))).fits(changes_max)
        });
        let swaps: Vec<Swap> = epoch.into_iter().chain(swaps).collect();
        let sum = Cost::of(&swaps);
        if !sum.fits(changes_max) {
            let needs = format!(
                "{} changes (at most {changes_max}), {} values (at most {ELEMENTS_MAX}), {} characters \
                 (at most {CHARACTERS_MAX})",
                sum.changes, sum.elements, sum.characters
            );
            return Err(Unplannable::NameTooBig { zone, name, needs });
        }
        open.push((Batch { zone, comment: comment.to_owned(), swaps }, sum));
    }
    if let Some(epoch) = epoch {
        let cost = Cost::of(std::slice::from_ref(&epoch));
        let zone = epoch.after.zone.clone();
        let fits = |(batch, sum): &&mut (Batch, Cost)| {
            batch.zone == zone && sum.plus(cost).fits(changes_max)
        };
        match open.iter_mut().find(fits) {
            Some((batch, _)) => batch.swaps.insert(0, epoch),
            None => {
                let comment = comment.to_owned();
                open.push((Batch { zone, comment, swaps: vec![epoch] }, cost));
            }
        }
    }
    Ok(open.into_iter().map(|(batch, _)| batch).collect())
}

fn comment(service: &ServiceName, epoch: Epoch, because: &str) -> String {
    let text = format!("leeward {service} epoch {epoch}: {because}");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(COMMENT_MAX).collect()
}

/// The order that swaps back exactly what `order` has written so far, and nothing else.
///
/// The epoch counts on: putting back is a change like any other, and is published. `None` if nothing
/// was written.
pub fn put_back(order: &Order, lever: &WeightsLever, why: &str, now: Timestamp) -> Option<Plan> {
    let Wanted::Move(moved) = &order.plan.wanted else { return None };
    let written: Vec<&Batch> = order
        .plan
        .batches
        .iter()
        .zip(&order.batches)
        .filter(|(_, state)| matches!(state, BatchState::Accepted { .. }))
        .map(|(batch, _)| batch)
        .collect();
    if written.is_empty() {
        return None;
    }
    let epoch = order.plan.epoch.next();
    let because = format!(
        "puts back epoch {} after {}: {why}",
        order.plan.epoch,
        span(now.since(order.intended_at))
    );
    let comment = comment(&order.plan.service, epoch, &because);
    let is_epoch = |swap: &&Swap| {
        swap.after.name == lever.epoch_record.name
            && swap.after.zone == lever.epoch_record.zone
            && swap.after.kind == "TXT"
    };
    let mut batches: Vec<Batch> = Vec::new();
    for batch in &written {
        let swaps: Vec<Swap> = batch
            .swaps
            .iter()
            .filter_map(|swap| {
                if is_epoch(&swap) {
                    return Some(next_epoch(swap, &swap.after, epoch, moved, now));
                }
                let before = swap.before.clone()?;
                Some(Swap { before: Some(swap.after.clone()), after: before })
            })
            .collect();
        batches.push(Batch { zone: batch.zone.clone(), comment: comment.clone(), swaps });
    }
    Some(Plan {
        service: order.plan.service.clone(),
        epoch,
        made_at: now,
        wanted: Wanted::Move(Move {
            lever: LeverKind::Weights,
            purpose: Purpose::Repair,
            from: moved.to.clone(),
            to: moved.from.clone(),
            turns: Vec::new(),
            because,
        }),
        batches,
        result: moved.from.weights().clone(),
    })
}

/// The epoch swap of a put-back: from what stands there to the old split under the next epoch.
fn next_epoch(
    swap: &Swap,
    standing: &RecordSet,
    epoch: Epoch,
    moved: &Move,
    now: Timestamp,
) -> Swap {
    let mut after = swap.after.clone();
    if let RecordData::Values(values) = &mut after.data
        && let Some(value) = values.first_mut()
        && let Ok(text) = EpochTxt::parse(value)
    {
        *value = EpochTxt { epoch, split: moved.from.clone(), at: now, ..text }.encode();
    }
    Swap { before: Some(standing.clone()), after }
}

#[cfg(test)]
mod tests;
