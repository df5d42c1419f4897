//! Every conversion between the SDK's types and ours.
//!
//! What a record set carries and we do not is named in `foreign`, and a set with such a field is never
//! written. `unknown` finds what even the SDK does not know.

use aws_sdk_cloudwatch::types as cloudwatch;
use aws_sdk_elasticloadbalancingv2::types as elb;
use aws_sdk_route53::types as route53;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::operation::BuildError;

use crate::domain::{Malformed, Timestamp, Weight, ZoneId};
use crate::plan::{Batch, RecordData, RecordSet};
use crate::policy::MetricInput;
use crate::ports::{CallFailed, ChangeStatus, Point, Target, TargetState};

/// A record set as listed, with the names of all fields that we do not carry.
pub(super) fn record_set(
    zone: &ZoneId,
    listed: &route53::ResourceRecordSet,
) -> Result<RecordSet, Malformed> {
    let mut foreign = foreign_fields(listed);
    let weight = listed.weight.and_then(|weight| u8::try_from(weight).ok()).map(Weight);
    if listed.weight.is_some() && weight.is_none() {
        foreign.push("weight out of range".to_owned());
    }
    let ttl = listed.ttl.and_then(|ttl| u32::try_from(ttl).ok());
    if listed.ttl.is_some() && ttl.is_none() {
        foreign.push("ttl out of range".to_owned());
    }
    let values: Vec<String> =
        listed.resource_records().iter().map(|record| record.value.clone()).collect();
    let data = match &listed.alias_target {
        Some(alias) => {
            if !values.is_empty() {
                foreign.push("values beside an alias".to_owned());
            }
            RecordData::Alias {
                zone: alias.hosted_zone_id.parse()?,
                name: alias.dns_name.clone(),
                evaluate_target_health: alias.evaluate_target_health,
            }
        }
        None => {
            if values.is_empty() {
                foreign.push("neither values nor alias".to_owned());
            }
            RecordData::Values(values)
        }
    };
    Ok(RecordSet {
        zone: zone.clone(),
        name: listed.name.parse()?,
        kind: listed.r#type.as_str().to_ascii_uppercase(),
        set_identifier: listed.set_identifier.clone(),
        weight,
        ttl,
        data,
        health_check: listed.health_check_id.clone(),
        foreign,
    })
}

fn foreign_fields(listed: &route53::ResourceRecordSet) -> Vec<String> {
    [
        ("region", listed.region.is_some()),
        ("geo location", listed.geo_location.is_some()),
        ("failover", listed.failover.is_some()),
        ("multi-value answer", listed.multi_value_answer.is_some()),
        ("traffic policy instance", listed.traffic_policy_instance_id.is_some()),
        ("CIDR routing", listed.cidr_routing_config.is_some()),
        ("geoproximity location", listed.geo_proximity_location.is_some()),
    ]
    .into_iter()
    .filter(|(_, present)| *present)
    .map(|(name, _)| name.to_owned())
    .collect()
}

/// The SDK's form of a batch: for each swap the delete first, so that the create finds the place free.
pub(super) fn change_batch(batch: &Batch) -> Result<route53::ChangeBatch, CallFailed> {
    let mut builder = route53::ChangeBatch::builder().comment(&batch.comment);
    for swap in &batch.swaps {
        if let Some(before) = &swap.before {
            builder = builder.changes(change(&batch.zone, route53::ChangeAction::Delete, before)?);
        }
        builder = builder.changes(change(&batch.zone, route53::ChangeAction::Create, &swap.after)?);
    }
    builder.build().map_err(not_built)
}

fn change(
    zone: &ZoneId,
    action: route53::ChangeAction,
    set: &RecordSet,
) -> Result<route53::Change, CallFailed> {
    if &set.zone != zone {
        return Err(CallFailed::NotSent {
            why: format!("record {} of zone {} is in a batch for zone {zone}", set.name, set.zone),
        });
    }
    if !set.foreign.is_empty() {
        return Err(CallFailed::NotSent {
            why: format!(
                "record {} {} carries what Leeward does not understand: {}",
                set.name,
                set.kind,
                set.foreign.join(", ")
            ),
        });
    }
    route53::Change::builder()
        .action(action)
        .resource_record_set(resource_record_set(set).map_err(not_built)?)
        .build()
        .map_err(not_built)
}

fn resource_record_set(set: &RecordSet) -> Result<route53::ResourceRecordSet, BuildError> {
    let builder = route53::ResourceRecordSet::builder()
        .name(set.name.as_str())
        .r#type(set.kind.as_str().into())
        .set_set_identifier(set.set_identifier.clone())
        .set_weight(set.weight.map(|weight| i64::from(weight.0)))
        .set_ttl(set.ttl.map(i64::from))
        .set_health_check_id(set.health_check.clone());
    match &set.data {
        RecordData::Values(values) => {
            let records = values
                .iter()
                .map(|value| route53::ResourceRecord::builder().value(value).build())
                .collect::<Result<_, _>>()?;
            builder.set_resource_records(Some(records)).build()
        }
        RecordData::Alias { zone, name, evaluate_target_health } => builder
            .alias_target(
                route53::AliasTarget::builder()
                    .hosted_zone_id(zone.as_str())
                    .dns_name(name)
                    .evaluate_target_health(*evaluate_target_health)
                    .build()?,
            )
            .build(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn not_built(error: BuildError) -> CallFailed {
    CallFailed::NotSent { why: error.to_string() }
}

/// Anything but `INSYNC` is not there yet.
pub(super) fn change_status(status: &route53::ChangeStatus) -> ChangeStatus {
    if *status == route53::ChangeStatus::Insync {
        ChangeStatus::InSync
    } else {
        ChangeStatus::Pending
    }
}

/// One line of `DescribeTargetHealth`.
pub(super) fn target(described: &elb::TargetHealthDescription) -> Target {
    let target = described.target();
    let health = described.target_health();
    let state = health.and_then(elb::TargetHealth::state).map(elb::TargetHealthStateEnum::as_str);
    let shift = described.administrative_override().and_then(elb::AdministrativeOverride::state);
    Target {
        id: target.and_then(|target| target.id.clone()).unwrap_or_default(),
        port: target.and_then(|target| target.port).and_then(|port| u16::try_from(port).ok()),
        zone: target.and_then(|target| target.availability_zone.clone()),
        state: state.map_or(TargetState::Other, target_state),
        reason: health.and_then(elb::TargetHealth::reason).map(|reason| reason.as_str().to_owned()),
        shifted_away: shift.is_some_and(|state| is_shifted(state.as_str())),
    }
}

/// Whether an administrative override keeps requests away. Delegated to DNS is shifted away too, only by
/// other means (API reference, "`AdministrativeOverride`").
pub(super) fn is_shifted(state: &str) -> bool {
    matches!(state, "zonal_shift_active" | "zonal_shift_delegated_to_dns")
}

pub(super) fn target_state(state: &str) -> TargetState {
    match state {
        "initial" => TargetState::Initial,
        "healthy" => TargetState::Healthy,
        "unhealthy" => TargetState::Unhealthy,
        "unhealthy.draining" => TargetState::UnhealthyDraining,
        "unused" => TargetState::Unused,
        "draining" => TargetState::Draining,
        "unavailable" => TargetState::Unavailable,
        _ => TargetState::Other,
    }
}

/// One metric to fetch; `id` names it in the answer and in expressions.
pub(super) fn metric_query(
    id: &str,
    metric: &MetricInput,
    period_seconds: i32,
    wanted: Wanted,
) -> cloudwatch::MetricDataQuery {
    let dimensions = metric
        .dimensions
        .iter()
        .map(|(name, value)| cloudwatch::Dimension::builder().name(name).value(value).build())
        .collect();
    let what = cloudwatch::Metric::builder()
        .namespace(&metric.namespace)
        .metric_name(&metric.name)
        .set_dimensions(Some(dimensions))
        .build();
    let statistic = cloudwatch::MetricStat::builder()
        .metric(what)
        .period(period_seconds)
        .stat(&metric.statistic)
        .build();
    cloudwatch::MetricDataQuery::builder()
        .id(id)
        .metric_stat(statistic)
        .return_data(wanted == Wanted::Answer)
        .build()
}

/// Metric math over queries of the same call.
pub(super) fn expression_query(
    id: &str,
    expression: &str,
    period_seconds: i32,
) -> cloudwatch::MetricDataQuery {
    cloudwatch::MetricDataQuery::builder()
        .id(id)
        .expression(expression)
        .period(period_seconds)
        .return_data(true)
        .build()
}

/// Whether a query's data points come back, or only feed an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Answer,
    Input,
}

/// The data points of one result. A value that is no number is no data point.
pub(super) fn points(result: &cloudwatch::MetricDataResult) -> impl Iterator<Item = Point> {
    result
        .timestamps()
        .iter()
        .zip(result.values())
        .filter(|(_, value)| value.is_finite())
        .filter_map(|(at, &value)| Some(Point { at: timestamp(*at)?, value }))
}

pub(super) fn date_time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

pub(super) fn timestamp(at: DateTime) -> Option<Timestamp> {
    at.to_millis().ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Swap;

    fn zone() -> ZoneId {
        "Z1".parse().unwrap()
    }

    fn listed() -> aws_sdk_route53::types::builders::ResourceRecordSetBuilder {
        let record = route53::ResourceRecord::builder().value("\"two words\"").build().unwrap();
        route53::ResourceRecordSet::builder()
            .name("\\052.Example.com.")
            .r#type(route53::RrType::Txt)
            .set_identifier("Eu \"1\"")
            .weight(255)
            .ttl(60)
            .health_check_id("abc")
            .resource_records(record)
    }

    fn round_trip(listed: &route53::ResourceRecordSet) -> route53::ResourceRecordSet {
        resource_record_set(&record_set(&zone(), listed).unwrap()).unwrap()
    }

    #[test]
    fn values_survive_the_way_to_us_and_back() {
        let listed = listed().build().unwrap();
        let ours = record_set(&zone(), &listed).unwrap();
        assert_eq!(ours.name.as_str(), "*.example.com");
        assert_eq!(ours.data, RecordData::Values(vec!["\"two words\"".to_owned()]));
        assert!(ours.foreign.is_empty());
        let mut back = round_trip(&listed);
        // The one thing that may differ: Route 53 takes both spellings of a name.
        back.name.clone_from(&listed.name);
        assert_eq!(back, listed);
    }

    #[test]
    fn an_alias_keeps_its_target_to_the_letter() {
        let alias = route53::AliasTarget::builder()
            .hosted_zone_id("Z35SXDOTRQ7X7K")
            .dns_name("DualStack.Web-1.us-east-1.elb.amazonaws.com.")
            .evaluate_target_health(true)
            .build()
            .unwrap();
        let listed = route53::ResourceRecordSet::builder()
            .name("api.example.com")
            .r#type(route53::RrType::A)
            .set_identifier("eu")
            .weight(0)
            .alias_target(alias)
            .build()
            .unwrap();
        let mut back = round_trip(&listed);
        assert_eq!(back.resource_records.take(), None, "an alias has no values");
        assert_eq!(back, listed);
    }

    #[test]
    fn every_field_we_do_not_carry_is_named() {
        let everything = listed()
            .region(route53::ResourceRecordSetRegion::EuWest1)
            .geo_location(route53::GeoLocation::builder().country_code("NL").build())
            .failover(route53::ResourceRecordSetFailover::Primary)
            .multi_value_answer(false)
            .traffic_policy_instance_id("t")
            .cidr_routing_config(
                route53::CidrRoutingConfig::builder()
                    .collection_id("c")
                    .location_name("l")
                    .build()
                    .unwrap(),
            )
            .geo_proximity_location(route53::GeoProximityLocation::builder().bias(1).build())
            .weight(256)
            .ttl(-1)
            .build()
            .unwrap();
        let ours = record_set(&zone(), &everything).unwrap();
        assert_eq!(
            ours.foreign,
            [
                "region",
                "geo location",
                "failover",
                "multi-value answer",
                "traffic policy instance",
                "CIDR routing",
                "geoproximity location",
                "weight out of range",
                "ttl out of range"
            ]
        );
        let batch = Batch {
            zone: zone(),
            comment: String::new(),
            swaps: vec![Swap {
                before: Some(ours.clone()),
                after: RecordSet { foreign: vec![], ..ours },
            }],
        };
        assert!(matches!(change_batch(&batch), Err(CallFailed::NotSent { .. })));
    }

    #[test]
    fn a_set_without_any_data_is_foreign() {
        let bare = listed().set_resource_records(None).build().unwrap();
        assert_eq!(record_set(&zone(), &bare).unwrap().foreign, ["neither values nor alias"]);
    }

    #[test]
    fn a_swap_deletes_before_it_creates() {
        let before = record_set(&zone(), &listed().build().unwrap()).unwrap();
        let after = RecordSet { weight: Some(Weight(0)), ..before.clone() };
        let swaps = vec![
            Swap { before: Some(before.clone()), after: after.clone() },
            Swap { before: None, after },
        ];
        let batch = Batch { zone: zone(), comment: "why".to_owned(), swaps };
        let built = change_batch(&batch).unwrap();
        let actions: Vec<&str> =
            built.changes.iter().map(|change| change.action.as_str()).collect();
        assert_eq!(actions, ["DELETE", "CREATE", "CREATE"]);
        assert_eq!(built.comment(), Some("why"));
        let elsewhere = Batch { zone: "Z2".parse().unwrap(), ..batch };
        assert!(matches!(change_batch(&elsewhere), Err(CallFailed::NotSent { .. })));
    }

    #[test]
    fn an_unknown_target_state_is_neither_well_nor_sick() {
        for (state, expected) in [
            ("initial", TargetState::Initial),
            ("healthy", TargetState::Healthy),
            ("unhealthy", TargetState::Unhealthy),
            ("unhealthy.draining", TargetState::UnhealthyDraining),
            ("unused", TargetState::Unused),
            ("draining", TargetState::Draining),
            ("unavailable", TargetState::Unavailable),
            ("resting", TargetState::Other),
        ] {
            let health = elb::TargetHealth::builder().state(state.into()).build();
            let described = elb::TargetHealthDescription::builder().target_health(health).build();
            assert_eq!(target(&described).state, expected, "{state}");
        }
        let bare = elb::TargetHealthDescription::builder().build();
        assert_eq!(target(&bare).state, TargetState::Other);
    }
}
