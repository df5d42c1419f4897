//! Batches against a model of a zone: the fewest calls, within every limit, and nothing else changes.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::health::Answers;
use crate::policy::{EpochRecord, Lever, Records, WhichRecords};

const WEST: &str = "eu-west-1";
const FAR: &str = "us-west-2";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A zone's names: how many, and what each of their sets holds.
#[derive(Debug, Clone)]
struct Zone {
    names: usize,
    kinds: Vec<&'static str>,
    alias: bool,
    value_length: usize,
}

impl Zone {
    fn of_addresses(names: usize) -> Self {
        Self { names, kinds: vec!["A"], alias: false, value_length: 9 }
    }
}

fn zone_id(n: usize) -> ZoneId {
    format!("Z{n}").parse().unwrap()
}

fn split(west: u8, far: u8) -> Split {
    Split::new([(WEST.parse().unwrap(), Weight(west)), (FAR.parse().unwrap(), Weight(far))].into())
        .unwrap()
}

/// A policy that selects every weighted name of every zone, with the epoch record in zone `epoch`.
fn policy(zones: usize, epoch: usize, pace: Pace) -> Policy {
    let text = include_str!("../../../policies/active-active.yaml");
    let (mut policy, _) = crate::policy::load(text, "active-active.yaml").unwrap();
    let members: BTreeMap<RegionName, String> =
        [(WEST, "west"), (FAR, "far")].map(|(r, id)| (r.parse().unwrap(), id.to_owned())).into();
    let records = (0..zones).map(|n| Records {
        zone: zone_id(n),
        which: WhichRecords::All,
        members: members.clone(),
    });
    policy.levers = vec![Lever::Weights(WeightsLever {
        records: records.collect(),
        epoch_record: EpochRecord {
            zone: zone_id(epoch),
            name: format!("_leeward.z{epoch}.test").parse().unwrap(),
        },
        pace,
        in_sync_within: Duration::from_secs(300),
        readback: crate::policy::Readback::NameServers,
        ttl: Duration::from_secs(60),
    })];
    policy
}

fn record(zone: usize, name: &str, kind: &str, id: Option<&str>, weight: u8) -> RecordSet {
    RecordSet {
        zone: zone_id(zone),
        name: format!("{name}.z{zone}.test").parse().unwrap(),
        kind: kind.to_owned(),
        set_identifier: id.map(str::to_owned),
        weight: id.map(|_| Weight(weight)),
        ttl: Some(60),
        data: RecordData::Values(vec!["192.0.2.1".to_owned()]),
        health_check: None,
        foreign: Vec::new(),
    }
}

fn inventory(zones: &[Zone], at: &Split) -> Inventory {
    let mut all = Inventory { read_at: NOW, zones: BTreeMap::new() };
    for (n, zone) in zones.iter().enumerate() {
        let mut sets = vec![
            record(n, "plain", "A", None, 0),
            record(n, "other", "A", Some("somebody"), 3),
            record(n, "other", "A", Some("else"), 0),
        ];
        for name in 0..zone.names {
            for kind in &zone.kinds {
                for (region, id) in [(WEST, "west"), (FAR, "far")] {
                    let weight = at.weight(&region.parse().unwrap()).0;
                    let mut set = record(n, &format!("n{name:05}"), kind, Some(id), weight);
                    set.data = if zone.alias {
                        let (zone, name) = (zone_id(99), format!("lb-{id}.test."));
                        RecordData::Alias { zone, name, evaluate_target_health: true }
                    } else {
                        RecordData::Values(vec!["x".repeat(zone.value_length)])
                    };
                    set.ttl = (!zone.alias).then_some(60);
                    sets.push(set);
                }
            }
        }
        all.zones.insert(zone_id(n), sets);
    }
    all
}

fn wanted(from: &Split, to: &Split) -> Wanted {
    Wanted::Move(Move {
        lever: LeverKind::Weights,
        purpose: Purpose::Evacuate,
        from: from.clone(),
        to: to.clone(),
        turns: Vec::new(),
        because: "`eu-west-1` is down".to_owned(),
    })
}

fn planned(policy: &Policy, inventory: &Inventory, to: &Split) -> Result<Plan, Unplannable> {
    let Answers::Split { split: from, .. } =
        inventory.answers(policy.weights_lever().unwrap(), &policy.regions)
    else {
        panic!("the model agrees with itself");
    };
    plan(policy, inventory, &wanted(&from, to), Epoch(1), "host", NOW)
}

/// Route 53's own rules for one request; the zone is changed as a whole or not at all.
fn apply(inventory: &mut Inventory, batch: &Batch) {
    let sets = inventory.zones.get_mut(&batch.zone).unwrap();
    for before in batch.swaps.iter().filter_map(|swap| swap.before.as_ref()) {
        let place = sets.iter().position(|set| set == before).expect("it is as it was read");
        sets.remove(place);
    }
    for after in batch.swaps.iter().map(|swap| &swap.after) {
        let key =
            |set: &RecordSet| (set.name.clone(), set.kind.clone(), set.set_identifier.clone());
        assert!(!sets.iter().any(|set| key(set) == key(after)), "it already exists");
        sets.push(after.clone());
    }
}

/// The fewest calls for `names` alike names of `cost` changes each, with `extra` changes in one of them.
fn fewest(names: usize, cost: usize, cap: usize, extra: usize) -> usize {
    let first = (cap - extra) / cost;
    let rest = names.saturating_sub(first).div_ceil(cap / cost);
    usize::from(names > 0 || extra > 0) + rest
}

#[test]
fn ten_thousand_records_take_the_computed_minimum_of_calls() {
    let shapes = [
        (Zone::of_addresses(500), 21),
        (Zone { alias: true, ..Zone::of_addresses(500) }, 21),
        // 62 characters, four times a name: 129 names of 248 characters in each call.
        (Zone { kinds: vec!["CNAME"], value_length: 62, ..Zone::of_addresses(500) }, 40),
    ];
    for (zone, calls) in shapes {
        let zones = vec![zone.clone(); 10];
        let inventory = inventory(&zones, &split(100, 0));
        let policy = policy(10, 0, Pace::default());
        let plan = planned(&policy, &inventory, &split(0, 100)).unwrap();
        assert_eq!(plan.batches.len(), calls, "{zone:?}");
        // DELETE and CREATE of 10,000 sets, and the new epoch TXT.
        let tokens: usize = plan.batches.iter().map(Batch::change_tokens).sum();
        assert_eq!(tokens, 20_001);
    }
}

#[test]
fn a_batch_never_costs_more_than_the_bucket_holds() {
    let pace = Pace { changes_burst: 750.0, ..Pace::default() };
    let inventory = inventory(&[Zone::of_addresses(500)], &split(100, 0));
    let plan = planned(&policy(1, 0, pace), &inventory, &split(0, 100)).unwrap();
    assert_eq!(plan.batches.len(), 3);
    assert!(plan.batches.iter().all(|batch| batch.change_tokens() <= 750));
    let tight = Pace { changes_burst: 3.0, ..Pace::default() };
    let refused = planned(&policy(1, 0, tight), &inventory, &split(0, 100)).unwrap_err();
    assert!(matches!(refused, Unplannable::NameTooBig { .. }), "{refused}");
}

#[test]
fn what_keeps_its_weight_is_not_touched() {
    let inventory = inventory(&[Zone::of_addresses(1)], &split(100, 0));
    let plan = planned(&policy(1, 0, Pace::default()), &inventory, &split(100, 50)).unwrap();
    let sets: Vec<_> =
        plan.batches[0].swaps.iter().map(|swap| swap.after.set_identifier.as_deref()).collect();
    assert_eq!(sets, [None, Some("far")]);
    let nothing = planned(&policy(1, 0, Pace::default()), &inventory, &split(100, 0));
    assert_eq!(nothing, Err(Unplannable::NothingToDo));
}

#[test]
fn the_epoch_follows_the_published_one_and_is_ours_alone() {
    let policy = policy(1, 0, Pace::default());
    let mut inventory = inventory(&[Zone::of_addresses(1)], &split(100, 0));
    let first = planned(&policy, &inventory, &split(0, 100)).unwrap();
    for batch in &first.batches {
        apply(&mut inventory, batch);
    }
    // The journal was lost: our own count begins at 1 again.
    let second = planned(&policy, &inventory, &split(100, 0)).unwrap();
    assert_eq!((first.epoch, second.epoch), (Epoch(1), Epoch(2)));
    let lever = policy.weights_lever().unwrap();
    assert_eq!(inventory.next_epoch(lever, Epoch(0)), Epoch(2));
    let foreign = inventory_epoch(&first).replace("service=search", "service=shop");
    for (value, why) in [("\"v=spf1 -all\"", "does not begin"), (foreign.as_str(), "`shop`")] {
        let mut other = inventory.clone();
        let sets = other.zones.get_mut(&zone_id(0)).unwrap().iter_mut();
        for set in sets.filter(|set| set.kind == "TXT") {
            set.data = RecordData::Values(vec![value.to_owned()]);
        }
        let refused = planned(&policy, &other, &split(100, 0)).unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
}

fn inventory_epoch(plan: &Plan) -> String {
    let mut swaps = plan.batches.iter().flat_map(|batch| &batch.swaps);
    match &swaps.find(|swap| swap.after.kind == "TXT").unwrap().after.data {
        RecordData::Values(values) => values[0].clone(),
        RecordData::Alias { .. } => panic!("a TXT is no alias"),
    }
}

#[test]
fn what_would_be_wrong_is_refused_with_a_reason() {
    let policy = policy(1, 0, Pace::default());
    let good = inventory(&[Zone::of_addresses(2)], &split(100, 0));
    let refused = |inventory: &Inventory, wanted: &Wanted| {
        plan(&policy, inventory, wanted, Epoch(1), "host", NOW).unwrap_err()
    };
    let (from, to) = (split(100, 0), split(0, 100));
    assert_eq!(
        refused(&good, &wanted(&split(50, 50), &to)),
        Unplannable::NotAsRead { from: split(50, 50), found: from.clone() }
    );
    let change = |with: &dyn Fn(&mut RecordSet)| {
        let mut changed = good.clone();
        with(&mut changed.zones.get_mut(&zone_id(0)).unwrap()[3]);
        changed
    };
    let drift = |inventory: &Inventory, word: &str| {
        let refused = refused(inventory, &wanted(&from, &to));
        let Unplannable::Drift(what) = refused else { panic!("{refused:?}") };
        assert!(what.contains("`n00000.z0.test` A") || what.contains("`n00001"), "{what}");
        assert!(what.contains(word), "{what}");
    };
    drift(&change(&|set| set.weight = Some(Weight(90))), "expected 90");
    drift(&change(&|set| set.foreign = vec!["Region".to_owned()]), "`Region`");
    let mut third = good.clone();
    let extra = record(0, "n00000", "A", Some("third"), 5);
    third.zones.get_mut(&zone_id(0)).unwrap().push(extra);
    drift(&third, "`third`");
    let nowhere = Split::new([("ap-south-1".parse().unwrap(), Weight(1))].into()).unwrap();
    let refused_there = refused(&good, &wanted(&from, &nowhere));
    assert!(matches!(refused_there, Unplannable::NoMember { .. }), "{refused_there}");
    let unread = Inventory { read_at: NOW, zones: BTreeMap::new() };
    assert_eq!(refused(&unread, &wanted(&from, &to)), Unplannable::NotRead);
}

#[test]
fn a_named_record_that_is_missing_or_all_zero_is_drift() {
    let mut policy = policy(1, 0, Pace::default());
    let Lever::Weights(lever) = &mut policy.levers[0] else { panic!("the lever is `weights`") };
    lever.records[0].which = WhichRecords::Named {
        name: "n00000.z0.test".parse().unwrap(),
        types: BTreeSet::from(["A".to_owned(), "AAAA".to_owned()]),
    };
    let what = |inventory: &Inventory| match inventory
        .answers(policy.weights_lever().unwrap(), &policy.regions)
    {
        Answers::Drift { what } => what,
        other @ (Answers::Split { .. } | Answers::Unknown) => panic!("{other:?}"),
    };
    let only_a = inventory(&[Zone::of_addresses(1)], &split(100, 0));
    assert_eq!(
        what(&only_a),
        "`n00000.z0.test` AAAA in zone Z0: the set `west` of region `eu-west-1` is missing"
    );
    let both = Zone { kinds: vec!["A", "AAAA"], ..Zone::of_addresses(1) };
    let mut zeros = inventory(&[both], &split(100, 0));
    for set in zeros.zones.get_mut(&zone_id(0)).unwrap() {
        set.weight = set.weight.map(|_| Weight(0));
    }
    assert!(what(&zeros).contains("every weight is 0"));
}

#[test]
fn a_comment_fits_and_names_service_epoch_and_reason() {
    let service: ServiceName = "shop".parse().unwrap();
    let text = comment(&service, Epoch(7), &format!("line\nbreak {}", "é".repeat(400)));
    assert_eq!(text.chars().count(), COMMENT_MAX);
    assert!(text.starts_with("leeward shop epoch 7: line break é"));
}

fn zones() -> impl Strategy<Value = Vec<Zone>> {
    let kinds = prop::sample::select(vec![vec!["A"], vec!["A", "AAAA"], vec!["CNAME"]]);
    let zone = (1_usize..40, kinds, any::<bool>(), 1_usize..80)
        .prop_map(|(names, kinds, alias, value_length)| Zone { names, kinds, alias, value_length });
    prop::collection::vec(zone, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn batches_are_fewest_within_limits_and_change_nothing_else(
        zones in zones(),
        burst in 12_usize..400,
        epoch in 0_usize..4,
        (from, to) in ((1_u8..=255, any::<u8>()), (any::<u8>(), 1_u8..=255)),
    ) {
        let (from, to) = (split(from.0, from.1), split(to.0, to.1));
        let epoch = epoch % zones.len();
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let pace = Pace { changes_burst: burst as f64, ..Pace::default() };
        let policy = policy(zones.len(), epoch, pace);
        let before = inventory(&zones, &from);
        let touched = [WEST, FAR]
            .map(|region| region.parse::<RegionName>().unwrap())
            .iter()
            .filter(|region| from.weight(region) != to.weight(region))
            .count();
        let plan = planned(&policy, &before, &to);
        if touched == 0 {
            prop_assert_eq!(plan, Err(Unplannable::NothingToDo));
            return Ok(());
        }
        let plan = plan.unwrap();
        prop_assert_eq!(&planned(&policy, &before, &to).unwrap(), &plan);

        let cap = changes_max(&pace);
        let expected: usize = zones.iter().enumerate().map(|(n, zone)| {
            let cost = 2 * touched * zone.kinds.len();
            fewest(zone.names, cost, cap, usize::from(n == epoch))
        }).sum();
        prop_assert_eq!(plan.batches.len(), expected);
        for batch in &plan.batches {
            let cost = Cost::of(&batch.swaps);
            prop_assert!(cost.changes <= cap && cost.elements <= 1000 && cost.characters <= 32_000);
            prop_assert!(batch.swaps.iter().all(|swap| swap.after.zone == batch.zone));
        }
        // No name in two batches, and the names in their order.
        let mut seen: Vec<(&ZoneId, &RecordName)> = Vec::new();
        for batch in &plan.batches {
            let names: BTreeSet<_> = batch.swaps.iter().map(|swap| &swap.after.name).collect();
            for name in names {
                prop_assert!(!seen.contains(&(&batch.zone, name)));
                seen.push((&batch.zone, name));
            }
        }
        let ours: Vec<_> = seen.iter().filter(|(_, name)| name.as_str().starts_with('n')).collect();
        prop_assert!(ours.windows(2).all(|pair| pair[0] < pair[1]), "not busiest first");

        let mut after = before.clone();
        for batch in &plan.batches {
            apply(&mut after, batch);
        }
        let lever = policy.weights_lever().unwrap();
        let read = after.answers(lever, &policy.regions);
        prop_assert_eq!(read, Answers::Split { split: to.clone(), read_at: NOW });
        prop_assert_eq!(after.epoch(lever).map(|txt| (txt.epoch, txt.split)), Some((plan.epoch, to)));
        // But for weights and the epoch TXT the zones are what they were.
        let rest = |inventory: &Inventory| {
            let sets = inventory.zones.values().flatten().filter(|set| set.kind != "TXT").cloned();
            let mut sets: Vec<_> = sets
                .map(|mut set| {
                    if set.name.as_str().starts_with('n') {
                        set.weight = None;
                    }
                    (set.zone.clone(), set.name.clone(), set.kind.clone(), set.set_identifier.clone(), set)
                })
                .collect();
            sets.sort_by(|a, b| (&a.0, &a.1, &a.2, &a.3).cmp(&(&b.0, &b.1, &b.2, &b.3)));
            sets
        };
        prop_assert_eq!(rest(&before), rest(&after));
    }
}
