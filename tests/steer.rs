//! The model of Route 53's answers against each documented rule, one test a rule, over drawn groups.

use std::collections::BTreeMap;
use std::time::Duration;

use leeward::steer::{
    Answered, Checks, Found, Health, HealthCheck, Record, Unsound, Watches, WithoutData, failover,
    flips, in_force_within, weighted,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A weighted group: weight and health of each record.
type Group = Vec<(u8, bool)>;

fn shares(group: &Group) -> BTreeMap<usize, f64> {
    let records = group.iter().enumerate();
    weighted(records.map(|(key, (weight, healthy))| (key, *weight, Health::of(*healthy))))
}

/// The shares are those of these parts.
fn is_by(shares: &BTreeMap<usize, f64>, parts: impl Fn(usize) -> f64) -> bool {
    let sum: f64 = shares.keys().map(|key| parts(*key)).sum();
    shares.iter().all(|(key, share)| (share - parts(*key) / sum).abs() < 1e-9)
}

fn group() -> impl Strategy<Value = Group> {
    vec((prop_oneof![Just(0_u8), any::<u8>()], any::<bool>()), 1..12)
}

fn check(what: Watches) -> HealthCheck {
    HealthCheck::new(what)
}

fn endpoint(healthy: bool) -> HealthCheck {
    let healthy = if healthy { 16 } else { 0 };
    check(Watches::Endpoint { found: Some(Found { healthy, checkers: 16 }) })
}

fn checks(all: impl IntoIterator<Item = (String, HealthCheck)>) -> Checks {
    Checks(all.into_iter().collect())
}

fn one(check: HealthCheck) -> Health {
    checks([("c".to_owned(), check)]).verdict("c").unwrap()
}

proptest! {
    #[test]
    fn a_share_is_the_weight_over_the_sum_of_weights(weights in vec(1_u8..=255, 1..100)) {
        let group: Group = weights.iter().map(|weight| (*weight, true)).collect();
        prop_assert!(is_by(&shares(&group), |key| f64::from(weights[key])));
    }

    #[test]
    fn shares_add_up_to_one_whatever_the_group(group in group()) {
        let sum: f64 = shares(&group).values().sum();
        prop_assert!((sum - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_health_checks_weight_zero_is_off(weights in vec(any::<u8>(), 2..12), place in 0..12_usize) {
        let mut group: Group = weights.iter().map(|weight| (*weight, true)).collect();
        let place = place % group.len();
        group[place].0 = 0;
        prop_assume!(group.iter().any(|(weight, _)| *weight > 0));
        prop_assert!(shares(&group)[&place] == 0.0);
    }

    #[test]
    fn every_weight_zero_answers_all_alike(count in 1..100_usize) {
        let group: Group = vec![(0, true); count];
        prop_assert!(is_by(&shares(&group), |_| 1.0));
    }

    #[test]
    fn every_weight_zero_with_checks_answers_the_healthy_ones_alike(healthy in vec(any::<bool>(), 1..12)) {
        prop_assume!(healthy.contains(&true));
        let group: Group = healthy.iter().map(|healthy| (0, *healthy)).collect();
        prop_assert!(is_by(&shares(&group), |key| f64::from(u8::from(healthy[key]))));
    }

    #[test]
    fn only_weights_above_zero_count_while_one_of_them_is_healthy(group in group()) {
        prop_assume!(group.iter().any(|(weight, healthy)| *weight > 0 && *healthy));
        let part = |key: usize| if group[key].1 { f64::from(group[key].0) } else { 0.0 };
        prop_assert!(is_by(&shares(&group), part));
    }

    #[test]
    fn when_all_with_weight_are_unhealthy_those_of_weight_zero_are_used(
        weights in vec(1_u8..=255, 1..6),
        standbys in vec(any::<bool>(), 1..6),
    ) {
        prop_assume!(standbys.contains(&true));
        let sick = weights.iter().map(|weight| (*weight, false));
        let group: Group = sick.chain(standbys.iter().map(|healthy| (0, *healthy))).collect();
        let part = |key: usize| if group[key].1 { 1.0 } else { 0.0 };
        prop_assert!(is_by(&shares(&group), part));
    }

    #[test]
    fn all_unhealthy_counts_as_all_healthy_and_weights_apply_again(group in group()) {
        let sick: Group = group.iter().map(|(weight, _)| (*weight, false)).collect();
        let well: Group = group.iter().map(|(weight, _)| (*weight, true)).collect();
        prop_assert_eq!(shares(&sick), shares(&well));
    }

    #[test]
    fn a_record_without_a_health_check_is_always_healthy(target in any::<bool>()) {
        let none = Record::default();
        prop_assert_eq!(Checks::default().eligible(&none), Ok(Health::Healthy));
        let alias = Record { check: None, target: Some(Health::of(target)) };
        prop_assert_eq!(Checks::default().eligible(&alias), Ok(Health::of(target)));
    }

    #[test]
    fn a_check_and_an_evaluated_target_must_both_be_healthy(own in any::<bool>(), target in any::<bool>()) {
        let record = Record { check: Some("c".to_owned()), target: Some(Health::of(target)) };
        let known = checks([("c".to_owned(), endpoint(own))]);
        prop_assert_eq!(known.eligible(&record), Ok(Health::of(own && target)));
    }

    #[test]
    fn healthy_needs_more_than_18_percent_of_the_checkers(healthy in 0..=100_u32) {
        let found = Some(Found { healthy, checkers: 100 });
        prop_assert_eq!(one(check(Watches::Endpoint { found })), Health::of(healthy > 18));
    }

    #[test]
    fn inverting_turns_every_verdict_round(healthy in any::<bool>()) {
        let plain = endpoint(healthy);
        let inverted = HealthCheck { inverted: true, ..plain.clone() };
        prop_assert_eq!(one(inverted), one(plain).inverted());
    }

    #[test]
    fn a_disabled_check_is_healthy_whatever_it_would_see(healthy in any::<bool>()) {
        let disabled = HealthCheck { disabled: true, ..endpoint(healthy) };
        prop_assert_eq!(one(disabled.clone()), Health::Healthy);
        prop_assert_eq!(one(HealthCheck { inverted: true, ..disabled }), Health::Unhealthy);
    }

    #[test]
    fn a_calculated_check_counts_its_healthy_children(
        children in vec((any::<bool>(), any::<bool>()), 0..20),
        threshold in 0..25_u32,
    ) {
        // A child that is disabled counts as healthy.
        let named = children.iter().enumerate().map(|(key, (healthy, disabled))| {
            (format!("c{key}"), HealthCheck { disabled: *disabled, ..endpoint(*healthy) })
        });
        let mut all: BTreeMap<String, HealthCheck> = named.collect();
        let names: Vec<String> = all.keys().cloned().collect();
        all.insert("sum".to_owned(), check(Watches::Calculated { threshold, children: names }));
        let healthy = children.iter().filter(|(healthy, disabled)| *healthy || *disabled).count();
        let verdict = Checks(all).verdict("sum").unwrap();
        prop_assert_eq!(verdict, Health::of(healthy >= threshold as usize));
        if threshold == 0 {
            prop_assert_eq!(verdict, Health::Healthy);
        }
        if threshold as usize > children.len() {
            prop_assert_eq!(verdict, Health::Unhealthy);
        }
    }

    #[test]
    fn a_metric_without_data_counts_as_its_setting_says(last in any::<Option<bool>>()) {
        let says = |without_data| one(check(Watches::Metric { says: None, without_data }));
        prop_assert_eq!(says(WithoutData::Healthy), Health::Healthy);
        prop_assert_eq!(says(WithoutData::Unhealthy), Health::Unhealthy);
        let known = last.map(Health::of);
        prop_assert_eq!(says(WithoutData::LastKnown(known)), known.unwrap_or(Health::Healthy));
    }

    #[test]
    fn a_routing_control_that_is_on_is_healthy(on in any::<bool>()) {
        prop_assert_eq!(one(check(Watches::RecoveryControl(Health::of(on)))), Health::of(on));
    }

    #[test]
    fn checkers_are_not_coordinated(every in prop_oneof![Just(10_u64), Just(30)], failures in 1..=10_u32) {
        let interval = Duration::from_secs(every);
        let (first, last) = flips(interval, failures);
        // The first look of a checker is anywhere within its interval.
        prop_assert_eq!(last, first + interval);
        prop_assert_eq!(last, interval * failures);
        let ttl = Duration::from_secs(60);
        prop_assert_eq!(in_force_within(interval, failures, ttl), last + ttl);
    }
}

#[test]
fn failover_answers_the_primary_unless_only_the_secondary_is_healthy() {
    use Health::{Healthy, Unhealthy};
    assert_eq!(failover(Healthy, Healthy), Answered::Primary);
    assert_eq!(failover(Healthy, Unhealthy), Answered::Primary);
    assert_eq!(failover(Unhealthy, Healthy), Answered::Secondary);
    assert_eq!(failover(Unhealthy, Unhealthy), Answered::Primary);
    // So a pair is answered as a group of weights 1 and 0 is: what is told of weighted records holds for it.
    for primary in [Healthy, Unhealthy] {
        for secondary in [Healthy, Unhealthy] {
            let shares = weighted([(0, 1, primary), (1, 0, secondary)]);
            let answered = if shares[&0] > 0.0 { Answered::Primary } else { Answered::Secondary };
            assert_eq!(answered, failover(primary, secondary), "{primary:?} {secondary:?}");
            assert!(shares.values().any(|share| *share > 0.999), "{shares:?}");
        }
    }
}

#[test]
fn a_new_check_is_healthy_and_a_new_inverted_one_is_not() {
    let new = check(Watches::Endpoint { found: None });
    assert_eq!(one(new.clone()), Health::Healthy);
    assert_eq!(one(HealthCheck { inverted: true, ..new }), Health::Unhealthy);
}

#[test]
fn calculated_checks_do_not_nest() {
    let sum =
        |child: &str| check(Watches::Calculated { threshold: 1, children: vec![child.to_owned()] });
    let all = checks([("a".to_owned(), sum("b")), ("b".to_owned(), sum("c"))]);
    let nested = Unsound::Nested { parent: "a".to_owned(), child: "b".to_owned() };
    assert_eq!(all.verdict("a"), Err(nested));
    assert_eq!(all.verdict("b"), Err(Unsound::NoSuchCheck("c".to_owned())));
}

/// Standby takes over primary: what is published takes out, what cannot be reached does not.
#[test]
fn a_dead_gate_takes_nothing_out() {
    let gate = |published| HealthCheck { inverted: true, ..endpoint(published) };
    let answers = |published| {
        weighted([("primary", 100, one(gate(published))), ("standby", 0, Health::Healthy)])
    };
    assert!(answers(false)["primary"] > 0.999);
    assert!(answers(true)["standby"] > 0.999);
}

/// Two of three controllers must publish: one alone, or a dead one, changes nothing.
#[test]
fn votes_are_counted_by_a_calculated_check() {
    for published in 0..=3_usize {
        let voters = (0..3).map(|n| {
            let gate = HealthCheck { inverted: true, ..endpoint(n < published) };
            (format!("v{n}"), gate)
        });
        let mut all: BTreeMap<String, HealthCheck> = voters.collect();
        // Healthy while no two have published: at least two of three gates are open.
        let children = all.keys().cloned().collect();
        all.insert("sum".to_owned(), check(Watches::Calculated { threshold: 2, children }));
        let verdict = Checks(all).verdict("sum").unwrap();
        assert_eq!(verdict, Health::of(published < 2), "{published}");
    }
}
