//! A rescue without the control plane: rounds of the real service over routing controls and gates on the
//! wire, with endpoints that are dead, rules that forbid, calls that fail and a controller that is cut off.
//!
//! Time is made up: each round is five seconds later than the last.

mod bench;
mod home;
mod killed;
mod matrix;

use futures_util::future::join_all;
use leeward::memory::{Entry, Outcome};
use leeward::policy::LeverKind;

use super::program::{Place, stop, wait_for};
use super::service::{Shop, eu};
use crate::wire::cluster::{Cluster, Demand, Rule, UPDATE, control, rule};
use crate::wire::proxy::{ALL, Fault};
use bench::{Bench, CENTRAL, Order, arc_lever};

#[tokio::test]
async fn the_first_lever_moves_once_and_calls_nobody_else() {
    let (arc, gates) = tokio::join!(Bench::new(Order::ArcFirst), Bench::new(Order::GatesFirst));
    for (mut bench, by_arc) in [(arc, true), (gates, false)] {
        bench.calm().await;
        assert_eq!(bench.writes(), (0, 0), "nothing is turned on a calm day");
        bench.lose();
        assert_eq!(bench.until_an_order_ends().await, Outcome::Done);
        assert_eq!(bench.is_out().await, (by_arc, !by_arc));
        bench.rounds(4).await;
        let (turned, published) = bench.writes();
        assert_eq!((turned, published), if by_arc { (1, 0) } else { (0, 1) });
        assert_eq!(bench.story(), "intended, turning, turned, in sync, done");
        // Nobody called another region than the plan names: the object's own, and those of the endpoints.
        let called = bench.regions_called();
        if by_arc {
            let named: Vec<String> =
                bench.cluster.addresses().into_iter().map(|(r, _)| r).collect();
            assert!(called.iter().all(|region| named.contains(region)), "{called:?}");
        } else {
            assert_eq!(called, [CENTRAL.to_owned()].into());
        }
    }
}

#[tokio::test]
async fn one_dead_endpoint_is_passed_over_and_five_make_the_next_lever_turn() {
    let (mut one, mut all) = tokio::join!(Bench::new(Order::ArcFirst), Bench::new(Order::ArcFirst));
    for bench in [&mut one, &mut all] {
        bench.calm().await;
        bench.lose();
    }
    one.cluster.endpoints[0].shut(true).await;
    one.cluster.endpoints[3].inject(ALL, "silent", Fault::SilenceBefore, usize::MAX);
    for endpoint in &all.cluster.endpoints {
        endpoint.shut(true).await;
    }
    let (one_ended, all_ended) = tokio::join!(one.until_an_order_ends(), all.until_an_order_ends());
    assert_eq!(one_ended, Outcome::Done);
    assert_eq!((one.is_out().await, one.writes()), ((true, false), (1, 0)));

    // The order by routing controls is given up in the round in which it failed; the gate is closed.
    assert!(matches!(all_ended, Outcome::Abandoned { .. }), "{all_ended:?}");
    assert_eq!(all.is_out().await, (false, true), "{}", all.story());
    assert_eq!(all.until_an_order_ends().await, Outcome::Done);
    // When the endpoints are back, nothing flips by itself.
    for endpoint in &all.cluster.endpoints {
        endpoint.shut(false).await;
    }
    all.rounds(30).await;
    assert_eq!((all.is_out().await, all.writes()), ((false, true), (0, 1)), "{}", all.story());
}

#[tokio::test]
async fn a_safety_rule_is_respected_explained_and_the_next_lever_turns() {
    let mut bench = Bench::new(Order::ArcFirst).await;
    bench.cluster.add(Rule::assertion("stay", &["eu"], Demand::All));
    bench.calm().await;
    bench.lose();
    bench.until_out().await;
    assert_eq!((bench.is_out().await, bench.cluster.changes()), ((false, true), 0));
    let refused = bench.journal().into_iter().find_map(|record| {
        let Entry::Turned { lever: LeverKind::Arc, failure, .. } = record.entry else {
            return None;
        };
        failure
    });
    let refused = refused.expect("it was tried").to_string();
    assert!(refused.contains(&format!("safety rule {} forbids it", rule("stay"))), "{refused}");
    let why = bench.explained();
    assert!(why.contains(&rule("stay")), "people are told which rule: {why}");
}

/// Where the controller is when it is cut off: with the call on its way, before or after its effect.
#[tokio::test]
async fn cut_off_in_the_middle_of_a_turn_the_next_start_does_nothing_twice() {
    let plays = [
        (Order::ArcFirst, true),
        (Order::ArcFirst, false),
        (Order::GatesFirst, true),
        (Order::GatesFirst, false),
    ]
    .map(async |(order, after)| {
        let mut bench = Bench::new(order).await;
        bench.calm().await;
        bench.lose();
        let what = format!("{order:?}, after the effect: {after}");
        let fault = if after { Fault::SilenceAfter } else { Fault::SilenceBefore };
        let rules = bench.hold_up(&fault);
        bench.cut_off_while_held_up(&rules).await;
        bench.release(&rules);
        let turned = usize::from(after);
        assert_eq!(bench.effects(), turned, "{what}");
        let settled = bench.start_again().await;
        // What stands is found by reading; what does not is decided anew, from new evidence.
        if after {
            assert_eq!(bench.writes_since_start(), 0, "{what}: {}", bench.story());
        } else {
            assert!(matches!(settled, Some(Outcome::Abandoned { .. })), "{what}: {settled:?}");
        }
        bench.until_out().await;
        bench.rounds(30).await;
        assert_eq!(bench.effects(), 1, "{what}: {}", bench.story());
        assert!(bench.acts().order.is_none(), "{what}: {}", bench.story());
        assert_eq!(bench.story().matches("done").count(), 1, "{what}: {}", bench.story());
    });
    join_all(plays).await;
}

/// The program as it is run: a policy with routing controls moves by them.
#[tokio::test]
async fn the_program_turns_routing_controls() {
    let shop = Shop::open(1).await;
    let cluster = Cluster::start(&[("eu", true), ("central", false)]).await;
    let place = Place::new(&shop);
    place.put_first(&arc_lever(&cluster));
    let (running, log) = (place.start("run", &shop.world.proxy.url()), place.log("run"));
    let looks = || shop.world.proxy.count("DescribeTargetHealth");
    wait_for("the first looks", &log, async || looks() > 12).await;
    assert_eq!(cluster.count(UPDATE), 0, "nothing is turned on a calm day");
    shop.kill(&eu());
    wait_for("routing controls turned", &log, async || cluster.changes() > 0).await;
    assert_eq!((cluster.is_on("eu"), cluster.is_on("central")), (false, true));
    let done = || {
        let is_done = |entry: &Entry| matches!(entry, Entry::Ended { outcome: Outcome::Done, .. });
        place.journal().iter().any(|record| is_done(&record.entry))
    };
    wait_for("the end of the order", &log, async || done()).await;
    assert_eq!(stop(running).await, Some(0));
    assert_eq!((cluster.changes(), shop.changes().len()), (1, 0), "by this lever alone");
    let taken = &cluster.taken()[0];
    assert_eq!(taken.states, [(control("eu"), false), (control("central"), true)].into());
}
