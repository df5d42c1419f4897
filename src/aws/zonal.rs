//! The port [`ZonalShifts`] over ARC zonal shift, each load balancer at the endpoint of its own AWS region.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_arczonalshift::Client;
use aws_sdk_arczonalshift::operation::start_zonal_shift::StartZonalShiftError;
use aws_sdk_arczonalshift::operation::update_zonal_shift::UpdateZonalShiftError;
use aws_sdk_arczonalshift::types::error::ConflictException;
use aws_sdk_arczonalshift::types::{
    AppliedStatus, AutoshiftAppliedStatus, ShiftType, ZonalShiftInResource,
};
use aws_smithy_types::DateTime;

use super::fail::failed;
use super::{Base, Call, PerRegion, Service, convert};
use crate::domain::Timestamp;
use crate::plan::zonal::minutes;
use crate::ports::{CallFailed, ShiftBegun, ShiftSeen, Shiftable, ZonalShifts};

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &[
    "arc-zonal-shift:CancelZonalShift",
    "arc-zonal-shift:GetManagedResource",
    "arc-zonal-shift:StartZonalShift",
    "arc-zonal-shift:UpdateZonalShift",
];

#[derive(Debug)]
pub(super) struct Zonal {
    base: Base,
    reading: PerRegion<Client>,
    changing: PerRegion<Client>,
}

impl Zonal {
    pub(super) fn new(base: Base) -> Self {
        Self { base, reading: PerRegion::new(), changing: PerRegion::new() }
    }

    fn client(&self, arn: &str, call: Call) -> Result<Client, CallFailed> {
        let aws_region = super::balancer::region_of(arn)?;
        let clients = if call == Call::Change { &self.changing } else { &self.reading };
        Ok(clients.client(&aws_region, || {
            let config = configured!(
                aws_sdk_arczonalshift,
                &self.base,
                Service::ZonalShift,
                &aws_region,
                call
            );
            Client::from_conf(config.build())
        }))
    }
}

#[async_trait]
impl ZonalShifts for Zonal {
    /// `GetManagedResource` alone tells everything: shifts of all kinds, autoshifts among them, and the
    /// zones. A balancer whose attribute `zonal_shift.config.enabled` is off is not found.
    async fn read(&self, balancer_arn: &str) -> Result<Shiftable, CallFailed> {
        let told = self
            .client(balancer_arn, Call::Targets)?
            .get_managed_resource()
            .resource_identifier(balancer_arn)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        // Somebody on the way who says 200 to everything names no balancer.
        if told.arn() != Some(balancer_arn) {
            let why = format!("the answer is about {}", told.arn().unwrap_or("nothing"));
            return Err(CallFailed::Unknown { why });
        }
        let zones: BTreeSet<String> = told.applied_weights().keys().cloned().collect();
        // A practice run gives way to a shift of a customer, and what is not applied keeps nobody away (User Guide of
        // Amazon Application Recovery Controller, "Precedence for zonal shifts").
        let counts = |shift: &&ZonalShiftInResource| {
            *shift.applied_status() == AppliedStatus::Applied
                && shift.shift_type() != Some(&ShiftType::PracticeRun)
        };
        let mut shifts: Vec<ShiftSeen> = told
            .zonal_shifts()
            .iter()
            .filter(counts)
            .map(|shift| ShiftSeen {
                id: shift.zonal_shift_id().to_owned(),
                zone_id: shift.away_from().to_owned(),
                until: convert::timestamp(*shift.expiry_time()),
                comment: shift.comment().to_owned(),
                kind: shift.shift_type().map_or("ZONAL_SHIFT", |kind| kind.as_str()).to_owned(),
            })
            .collect();
        // One that is not applied is outdone by a shift of a customer.
        let applied = told
            .autoshifts()
            .iter()
            .filter(|shift| *shift.applied_status() == AutoshiftAppliedStatus::Applied);
        shifts.extend(applied.map(|shift| ShiftSeen {
            id: String::new(),
            zone_id: shift.away_from().to_owned(),
            until: None,
            comment: "by AWS".to_owned(),
            kind: "ZONAL_AUTOSHIFT".to_owned(),
        }));
        Ok(Shiftable { zones, shifts })
    }

    async fn start(
        &self,
        balancer_arn: &str,
        zone_id: &str,
        expires: Duration,
        comment: &str,
    ) -> Result<ShiftBegun, CallFailed> {
        let begun = self
            .client(balancer_arn, Call::Change)?
            .start_zonal_shift()
            .resource_identifier(balancer_arn)
            .away_from(zone_id)
            .expires_in(minutes(expires))
            .comment(comment)
            .send()
            .await
            .map_err(|error| match error.as_service_error() {
                Some(StartZonalShiftError::ConflictException(conflict)) => conflicting(conflict),
                _ => failed(&error),
            })?;
        if begun.away_from() != zone_id || begun.zonal_shift_id().is_empty() {
            return Err(about_another());
        }
        Ok(ShiftBegun {
            id: begun.zonal_shift_id().to_owned(),
            until: expiry(begun.expiry_time())?,
        })
    }

    async fn renew(
        &self,
        balancer_arn: &str,
        id: &str,
        expires: Duration,
    ) -> Result<Timestamp, CallFailed> {
        let renewed = self
            .client(balancer_arn, Call::Change)?
            .update_zonal_shift()
            .zonal_shift_id(id)
            .expires_in(minutes(expires))
            .send()
            .await
            .map_err(|error| match error.as_service_error() {
                Some(UpdateZonalShiftError::ConflictException(conflict)) => conflicting(conflict),
                _ => failed(&error),
            })?;
        if renewed.zonal_shift_id() != id {
            return Err(about_another());
        }
        expiry(renewed.expiry_time())
    }

    async fn cancel(&self, balancer_arn: &str, id: &str) -> Result<(), CallFailed> {
        let cancelled = self
            .client(balancer_arn, Call::Change)?
            .cancel_zonal_shift()
            .zonal_shift_id(id)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        if cancelled.zonal_shift_id() == id { Ok(()) } else { Err(about_another()) }
    }
}

/// With its reason, such as `ZonalShiftAlreadyExists` or `PracticeOutcomeAlarmsRed`.
fn conflicting(conflict: &ConflictException) -> CallFailed {
    let code = format!("ConflictException: {}", conflict.reason().as_str());
    CallFailed::Refused { code, why: conflict.message().to_owned() }
}

/// Somebody on the way who answers everything alike.
fn about_another() -> CallFailed {
    CallFailed::Unknown { why: "the answer is about another shift".to_owned() }
}

fn expiry(told: &DateTime) -> Result<Timestamp, CallFailed> {
    convert::timestamp(*told)
        .ok_or_else(|| CallFailed::Unknown { why: "the answer has no time".to_owned() })
}
