//! The zone refuses what Route 53 refuses, and answers what is in force.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::domain::Weight;

#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::SeqCst))
    }
}

const PROPAGATION: Duration = Duration::from_secs(30);

fn zones() -> (Arc<Hand>, Zones) {
    let hand = Arc::new(Hand::default());
    let zones = Zones::new(Arc::<Hand>::clone(&hand), PROPAGATION, 7);
    zones.add(
        zone_id(),
        "lab.test".parse().unwrap(),
        vec!["ns1.lab.test".to_owned()],
        [weighted("one", 100), weighted("two", 0)],
    );
    (hand, zones)
}

fn zone_id() -> ZoneId {
    "ZLAB".parse().unwrap()
}

fn weighted(id: &str, weight: u8) -> RecordSet {
    RecordSet {
        zone: zone_id(),
        name: "shop.lab.test".parse().unwrap(),
        kind: "A".to_owned(),
        set_identifier: Some(id.to_owned()),
        weight: Some(Weight(weight)),
        ttl: Some(2),
        data: RecordData::Values(vec![
            if id == "one" { "127.0.11.1" } else { "127.0.12.1" }.into(),
        ]),
        health_check: None,
        foreign: Vec::new(),
    }
}

fn txt(text: &str) -> RecordSet {
    RecordSet {
        name: "_leeward.shop.lab.test".parse().unwrap(),
        kind: "TXT".to_owned(),
        set_identifier: None,
        weight: None,
        data: RecordData::Values(vec![format!("\"{text}\"")]),
        ..weighted("one", 0)
    }
}

fn batch(swaps: Vec<(Option<RecordSet>, RecordSet)>) -> Batch {
    let swaps = swaps.into_iter().map(|(before, after)| Swap { before, after }).collect();
    Batch { zone: zone_id(), comment: "shop: epoch 1".to_owned(), swaps }
}

fn moved() -> Batch {
    batch(vec![
        (Some(weighted("one", 100)), weighted("one", 0)),
        (Some(weighted("two", 0)), weighted("two", 100)),
        (None, txt("epoch=1")),
    ])
}

fn asked(zones: &Zones, times: usize) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for _ in 0..times {
        let Answer::Found(found) = zones.answer(&"shop.lab.test".parse().unwrap(), "A") else {
            panic!("no answer");
        };
        *counted.entry(found.values[0].clone()).or_default() += 1;
    }
    counted
}

#[tokio::test]
async fn a_change_is_listed_at_once_and_answered_when_in_sync() {
    let (hand, zones) = zones();
    let change = zones.change(&moved()).await.unwrap();
    let name = "shop.lab.test".parse().unwrap();
    let listed = zones.read(&zone_id(), Some(&name)).await.unwrap();
    assert!(listed.contains(&weighted("two", 100)));
    assert_eq!(zones.status(&change).await.unwrap(), ChangeStatus::Pending);
    assert_eq!(asked(&zones, 50).get("127.0.11.1"), Some(&50));

    hand.0.store(29, Ordering::SeqCst);
    assert_eq!(asked(&zones, 5).get("127.0.12.1"), None);
    hand.0.store(30, Ordering::SeqCst);
    assert_eq!(asked(&zones, 50).get("127.0.12.1"), Some(&50));
    assert_eq!(zones.status(&change).await.unwrap(), ChangeStatus::InSync);
    let epoch = zones.answer(&"_leeward.shop.lab.test".parse().unwrap(), "TXT");
    assert!(matches!(epoch, Answer::Found(found) if found.values == ["\"epoch=1\""]));
}

#[tokio::test]
async fn a_batch_happens_as_a_whole_or_not_at_all() {
    let (_, zones) = zones();
    let stale = batch(vec![
        (Some(weighted("one", 100)), weighted("one", 0)),
        (Some(weighted("two", 50)), weighted("two", 100)),
    ]);
    let before = zones.read(&zone_id(), None).await.unwrap();
    assert!(matches!(zones.change(&stale).await, Err(CallFailed::Conflict { .. })));
    assert_eq!(zones.read(&zone_id(), None).await.unwrap(), before);
    assert_eq!(zones.changes(), 0);
}

#[tokio::test]
async fn the_second_of_two_writers_is_refused() {
    let (_, zones) = zones();
    zones.change(&moved()).await.unwrap();
    assert!(matches!(zones.change(&moved()).await, Err(CallFailed::Conflict { .. })));
}

#[tokio::test]
async fn a_create_over_something_is_a_conflict() {
    let (_, zones) = zones();
    let over = batch(vec![(None, weighted("one", 1))]);
    assert!(matches!(zones.change(&over).await, Err(CallFailed::Conflict { .. })));
}

#[tokio::test]
async fn shapes_that_route_53_refuses_are_refused() {
    let (_, zones) = zones();
    let simple = RecordSet { set_identifier: None, weight: None, ..weighted("one", 1) };
    let outside = RecordSet { name: "shop.other.test".parse().unwrap(), ..weighted("x", 1) };
    let half = RecordSet { weight: None, ..weighted("three", 1) };
    let empty = RecordSet { data: RecordData::Values(vec![]), ..weighted("three", 1) };
    let alone = RecordSet { kind: "CNAME".to_owned(), ..weighted("three", 1) };
    for bad in [simple, outside, half, empty, alone] {
        let refused = zones.change(&batch(vec![(None, bad.clone())])).await;
        assert!(matches!(refused, Err(CallFailed::Refused { .. })), "{bad:?}: {refused:?}");
    }
    let refused = zones.change(&batch(vec![])).await;
    assert!(matches!(refused, Err(CallFailed::Refused { .. })));
    let nowhere = Batch { zone: "ZNONE".parse().unwrap(), ..moved() };
    assert!(matches!(zones.change(&nowhere).await, Err(CallFailed::NotFound { .. })));
}

#[tokio::test]
async fn a_batch_has_at_most_1000_elements() {
    let (_, zones) = zones();
    let many = |count: usize| {
        let sets = (0..count).map(|i| {
            let name = format!("n{i}.lab.test").parse().unwrap();
            (None, RecordSet { name, ..weighted("one", 1) })
        });
        batch(sets.collect())
    };
    assert!(matches!(zones.change(&many(1001)).await, Err(CallFailed::Refused { .. })));
    zones.change(&many(1000)).await.unwrap();
}

#[tokio::test]
async fn all_weights_zero_means_all_equal() {
    let (hand, zones) = zones();
    let off = batch(vec![(Some(weighted("one", 100)), weighted("one", 0))]);
    zones.change(&off).await.unwrap();
    hand.0.store(60, Ordering::SeqCst);
    let counted = asked(&zones, 1000);
    assert!(counted.values().all(|count| (400..=600).contains(count)), "{counted:?}");
    assert_eq!(counted.len(), 2);
}

#[tokio::test]
async fn answers_follow_the_weights_and_repeat_with_the_seed() {
    let once = || async {
        let (hand, zones) = zones();
        let split = batch(vec![(Some(weighted("two", 0)), weighted("two", 25))]);
        zones.change(&split).await.unwrap();
        hand.0.store(60, Ordering::SeqCst);
        asked(&zones, 2000)
    };
    let counted = once().await;
    assert!((320..=480).contains(&counted["127.0.12.1"]), "{counted:?}");
    assert_eq!(counted, once().await);
}

#[tokio::test]
async fn a_stuck_control_plane_takes_changes_and_brings_none_into_force() {
    let (hand, zones) = zones();
    zones.impair(Impairment::Stuck);
    let change = zones.change(&moved()).await.unwrap();
    hand.0.store(3600, Ordering::SeqCst);
    assert_eq!(zones.status(&change).await.unwrap(), ChangeStatus::Pending);
    assert_eq!(asked(&zones, 5).get("127.0.12.1"), None);
    zones.impair(Impairment::None);
    hand.0.store(3630, Ordering::SeqCst);
    assert_eq!(zones.status(&change).await.unwrap(), ChangeStatus::InSync);
    assert_eq!(asked(&zones, 5).get("127.0.12.1"), Some(&5));
}

#[tokio::test]
async fn a_lost_answer_leaves_the_change_done_and_a_failing_call_does_nothing() {
    let (_, zones) = zones();
    zones.impair(Impairment::Fails(CallFailed::Throttled {
        code: "Throttling".to_owned(),
        why: "Rate exceeded".to_owned(),
    }));
    assert!(matches!(zones.change(&moved()).await, Err(CallFailed::Throttled { .. })));
    assert!(zones.read(&zone_id(), None).await.is_err());
    assert_eq!(zones.changes(), 0);
    zones.impair(Impairment::AnswerLost);
    assert!(matches!(zones.change(&moved()).await, Err(CallFailed::Unknown { .. })));
    assert!(zones.read(&zone_id(), None).await.unwrap().contains(&weighted("two", 100)));
}

#[tokio::test]
async fn names_and_types_that_are_not_there_are_told_apart() {
    let (_, zones) = zones();
    let ask = |name: &str, kind: &str| zones.answer(&name.parse().unwrap(), kind);
    assert!(matches!(ask("shop.lab.test", "AAAA"), Answer::NoData { .. }));
    assert!(matches!(ask("nope.lab.test", "A"), Answer::NoSuchName { .. }));
    assert_eq!(ask("lab.example", "A"), Answer::NotOurs);
    assert!(
        matches!(ask("lab.test", "NS"), Answer::Found(found) if found.values == ["ns1.lab.test."])
    );
    assert!(matches!(ask("lab.test", "SOA"), Answer::Found(_)));
}
