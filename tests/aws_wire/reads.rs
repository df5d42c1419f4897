//! What is read is what is there: pages, names, changes, name servers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use leeward::domain::ZoneId;
use leeward::plan::{RecordData, RecordSet, Swap};
use leeward::ports::{ChangeId, ChangeStatus};

use super::{World, kind_of, weighted};
use crate::wire::http::Message;
use crate::wire::proxy::Fault;

const LIST: &str = "ListResourceRecordSets";

fn samples(zone: &ZoneId) -> Vec<RecordSet> {
    let simple = |name: &str, kind: &str, values: &[&str]| RecordSet {
        set_identifier: None,
        weight: None,
        kind: kind.to_owned(),
        data: RecordData::Values(values.iter().map(|value| (*value).to_owned()).collect()),
        ..weighted(zone, name, "", 0)
    };
    let alias = |identifier, weight| RecordSet {
        kind: "AAAA".to_owned(),
        ttl: None,
        data: RecordData::Alias {
            zone: "Z35SXDOTRQ7X7K".parse().unwrap(),
            name: "dualstack.Web-1.us-east-1.elb.amazonaws.com.".to_owned(),
            evaluate_target_health: true,
        },
        ..weighted(zone, "api.example.com", identifier, weight)
    };
    vec![
        weighted(zone, "api.example.com", "central", 0),
        weighted(zone, "api.example.com", "eu", 255),
        alias("central", 0),
        alias("eu", 100),
        simple("_leeward.example.com", "TXT", &["\"one \\\"two\\\"\" \"three\"", "\"four\""]),
        simple("www.example.com", "CNAME", &["api.example.com."]),
        RecordSet {
            health_check: Some("abc".to_owned()),
            ..weighted(zone, "*.example.com", "x", 1)
        },
    ]
}

fn sorted(mut sets: Vec<RecordSet>) -> Vec<RecordSet> {
    sets.sort_by_key(|set| (set.name.clone(), set.kind.clone(), set.set_identifier.clone()));
    sets
}

#[tokio::test]
async fn records_are_read_as_they_were_written() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    world.create(samples(&zone)).await.unwrap();
    let mut read = world.edge.weights.read(&zone, None).await.unwrap();
    read.retain(|set| set.kind != "NS" && set.kind != "SOA");
    assert_eq!(sorted(read), sorted(samples(&zone)));
    for name in ["api.example.com", "*.example.com", "www.example.com"] {
        let name = name.parse().unwrap();
        let read = world.edge.weights.read(&zone, Some(&name)).await.unwrap();
        let mut expected = samples(&zone);
        expected.retain(|set| set.name == name);
        assert_eq!(sorted(read), sorted(expected), "{name}");
    }
    let nobody = "nobody.example.com".parse().unwrap();
    assert_eq!(world.edge.weights.read(&zone, Some(&nobody)).await, Ok(Vec::new()));
}

/// With the two sets of the apex, the first page ends after the first member of a name.
const NAMES: usize = 120;
const MEMBERS: [&str; 3] = ["a", "b", "c"];

async fn large_zone(world: &World) -> ZoneId {
    let zone = world.zone("large.example").await;
    let sets = (0..NAMES).flat_map(|number| {
        let name = format!("n{number:03}.large.example");
        MEMBERS.map(|member| weighted(&zone, &name, member, 1))
    });
    world.create(sets.collect()).await.unwrap();
    world.proxy.forget();
    zone
}

#[tokio::test]
async fn a_page_may_end_inside_a_weighted_set() {
    let world = World::start().await;
    let zone = large_zone(&world).await;
    let read = world.edge.weights.read(&zone, None).await.unwrap();
    assert_eq!(read.len(), NAMES * MEMBERS.len() + 2);
    let lists = world.proxy.seen();
    assert_eq!(lists.len(), 2);
    assert!(lists[0].request.first.contains("maxitems=300"), "{}", lists[0].request.first);
    assert!(lists[1].request.first.contains("identifier=b"), "{}", lists[1].request.first);
    // The same zone from a server that forgets the member: the set is begun again, and counted once.
    let forgetful = Fault::rewrite(|mut answer| {
        let text = answer.text();
        let (head, rest) = text.split_once("<NextRecordIdentifier>").unwrap();
        let tail = rest.split_once("</NextRecordIdentifier>").unwrap().1;
        answer.body = format!("{head}{tail}").into_bytes();
        answer
    });
    let rule = world.proxy.inject(LIST, "forgets the member", forgetful, 1);
    assert_eq!(world.edge.weights.read(&zone, None).await.unwrap(), read);
    assert_eq!(rule.fired(), 1);
    let last = world.proxy.seen().pop().unwrap();
    assert!(!last.request.first.contains("identifier="), "{}", last.request.first);
}

#[tokio::test]
async fn one_name_of_a_large_zone_costs_one_page() {
    let world = World::start().await;
    let zone = large_zone(&world).await;
    let name = "n001.large.example".parse().unwrap();
    let read = world.edge.weights.read(&zone, Some(&name)).await.unwrap();
    assert_eq!(read.len(), MEMBERS.len());
    assert_eq!(world.proxy.count(LIST), 1);
}

#[tokio::test]
async fn a_listing_that_never_ends_is_given_up() {
    let world = World::start().await;
    let zone = large_zone(&world).await;
    let first: Mutex<Option<Message>> = Mutex::default();
    let again = Fault::rewrite(move |answer| first.lock().unwrap().get_or_insert(answer).clone());
    let rule = world.proxy.inject(LIST, "the same page for ever", again, usize::MAX);
    let failure = world.edge.weights.read(&zone, None).await.unwrap_err();
    assert_eq!(kind_of(&failure), "unknown");
    assert!(failure.to_string().contains("does not get past"), "{failure}");
    assert_eq!(rule.fired(), 2);
}

/// Always a next page, and always another one.
#[tokio::test]
async fn a_listing_without_an_end_is_given_up_after_four_hundred_pages() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    let page = AtomicUsize::new(0);
    let onwards = Fault::rewrite(move |mut answer| {
        let next = format!(
            "<IsTruncated>true</IsTruncated><NextRecordName>p{}.example.com.</NextRecordName><NextRecordType>A</NextRecordType>",
            page.fetch_add(1, Ordering::SeqCst)
        );
        let text = answer.text().replace("<IsTruncated>false</IsTruncated>", &next);
        answer.body = text.into_bytes();
        answer
    });
    let again = world.proxy.inject(LIST, "always another page", onwards, usize::MAX);
    let failure = world.edge.weights.read(&zone, None).await.unwrap_err();
    assert_eq!(kind_of(&failure), "unknown", "{failure}");
    assert!(failure.to_string().contains("more than 400 pages"), "{failure}");
    assert_eq!(again.fired(), 400);
}

#[tokio::test]
async fn what_even_the_sdk_does_not_know_is_foreign_and_never_written() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    world.create(samples(&zone)).await.unwrap();
    let novel = Fault::replace("<Weight>255</Weight>", "<Weight>255</Weight><Mood>calm</Mood>");
    let rule = world.proxy.inject(LIST, "a new element", novel, 1);
    let read = world.edge.weights.read(&zone, None).await.unwrap();
    assert_eq!(rule.fired(), 1);
    let (odd, known): (Vec<_>, Vec<_>) = read.into_iter().partition(|set| !set.foreign.is_empty());
    assert_eq!(known.len(), samples(&zone).len() + 1, "all but one, NS and SOA among them");
    assert_eq!(odd.len(), 1);
    assert_eq!(
        (odd[0].set_identifier.as_deref(), odd[0].foreign.as_slice()),
        (Some("eu"), &["Mood".to_owned()][..])
    );
    world.proxy.forget();
    let after = RecordSet { weight: None, foreign: Vec::new(), ..odd[0].clone() };
    let failure = world.swap(vec![Swap { before: Some(odd[0].clone()), after }]).await.unwrap_err();
    assert_eq!(kind_of(&failure), "not sent", "{failure}");
    assert!(world.proxy.seen().is_empty());
}

#[tokio::test]
async fn a_zone_that_is_not_there_is_not_found() {
    let world = World::start().await;
    let zone = "ZNOTTHERE".parse().unwrap();
    let failure = world.edge.weights.read(&zone, None).await.unwrap_err();
    assert_eq!(kind_of(&failure), "not found", "{failure}");
    let failure = world.edge.weights.name_servers(&zone).await.unwrap_err();
    assert_eq!(kind_of(&failure), "not found", "{failure}");
}

#[tokio::test]
async fn a_change_is_pending_and_then_in_sync() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    let change = world.create(samples(&zone)).await.unwrap();
    assert!(!change.0.contains('/'), "{change:?}");
    let weights = &world.edge.weights;
    assert_eq!(weights.status(&change).await, Ok(ChangeStatus::Pending));
    assert_eq!(weights.status(&change).await, Ok(ChangeStatus::InSync));
    // As `ChangeResourceRecordSets` answered it, and as the manual writes it.
    let long = ChangeId(format!("/change/{}", change.0));
    assert_eq!(weights.status(&long).await, Ok(ChangeStatus::InSync));
    let stuck = Fault::replace("INSYNC", "PENDING");
    let rule = world.proxy.inject("GetChange", "stuck", stuck, 3);
    for _ in 0..3 {
        assert_eq!(weights.status(&change).await, Ok(ChangeStatus::Pending));
    }
    assert_eq!(rule.fired(), 3);
    assert_eq!(weights.status(&change).await, Ok(ChangeStatus::InSync));
    let odd = world.proxy.inject("GetChange", "odd", Fault::replace("INSYNC", "ALMOST"), 1);
    assert_eq!(weights.status(&change).await, Ok(ChangeStatus::Pending), "not in sync by a guess");
    assert_eq!(odd.fired(), 1);
    let failure = weights.status(&ChangeId("CNOTTHERE".to_owned())).await.unwrap_err();
    assert_eq!(kind_of(&failure), "not found", "{failure}");
}

#[tokio::test]
async fn the_name_servers_of_a_zone_are_host_names() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    let servers = world.edge.weights.name_servers(&zone).await.unwrap();
    assert!(!servers.is_empty());
    for server in servers {
        assert!(server.contains('.') && !server.ends_with('.'), "{server}");
    }
}

/// What three attempts make of a reading: how many faults, what comes out, how many requests.
#[tokio::test]
async fn readings_are_tried_three_times_and_only_where_it_helps() {
    let world = World::start().await;
    let zone = world.zone("example.com").await;
    let busy = || Fault::error(400, "PriorRequestNotComplete", "wait");
    let throttling = || Fault::error(400, "Throttling", "Rate exceeded");
    let html = || Fault::Answer(Message::answer(503, "text/html", "<html>sorry</html>"));
    let garbage = || Fault::rewrite(|_| Message::answer(200, "text/xml", "not a page"));
    for (name, fault, times, expected, requests) in [
        ("throttled twice", throttling(), 2, "read", 3),
        ("throttled", throttling(), 3, "throttled", 3),
        ("an earlier change", busy(), 3, "busy", 3),
        ("a bad gateway once", html(), 1, "read", 2),
        ("a bad gateway", html(), 3, "unknown", 3),
        ("closed without an answer", Fault::CloseAfter, 1, "read", 2),
        ("garbage", garbage(), 1, "unknown", 1),
        ("a body that breaks off", Fault::CutBody, 1, "read", 2),
        ("bodies that break off", Fault::CutBody, 3, "unknown", 3),
        ("no permission", Fault::error(403, "AccessDenied", "no"), 1, "refused", 1),
    ] {
        world.proxy.forget();
        world.proxy.calm();
        let rule = world.proxy.inject(LIST, name, fault, times);
        let read = world.edge.weights.read(&zone, None).await;
        let outcome = read.as_ref().map_or_else(kind_of, |_| "read");
        assert_eq!(outcome, expected, "{name}: {read:?}");
        assert_eq!(rule.fired(), times, "{name}");
        assert_eq!(world.proxy.count(LIST), requests, "{name}");
    }
}
