//! The port [`HealthChecks`] over Route 53. A development aid by AWS's own word, and a call of the
//! control plane: nothing waits for it, and what cannot be asked, or not yet, is not known.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_route53::Client;

use super::fail::failed;
use super::pace::Recent;
use super::{Base, Call, Service};
use crate::ports::{CallFailed, HealthChecks};
use crate::steer::Found;

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &["route53:GetHealthCheckStatus"];

#[derive(Debug)]
pub(super) struct Checks {
    client: Client,
    /// Shared by all services: the account has a bucket of four calls, which refills with one a second, for
    /// everybody who asks (Developer Guide, "Throttling").
    calls: Recent,
}

impl Checks {
    pub(super) fn new(base: &Base) -> Self {
        let region = &base.settings.control_region;
        let config = configured!(aws_sdk_route53, base, Service::Route53, region, Call::Status);
        let config = config.retry_config(Base::retries(Call::Change));
        Self {
            client: Client::from_conf(config.build()),
            calls: Recent::new(3, Duration::from_secs(6)),
        }
    }
}

#[async_trait]
impl HealthChecks for Checks {
    /// What the checkers find, before the check is inverted.
    async fn found(&self, id: &str) -> Result<Found, CallFailed> {
        if let Some(wait) = self.calls.wait() {
            let why = format!("our own pace: the next call in {}", crate::domain::span(wait));
            return Err(CallFailed::NotSent { why });
        }
        let answer = self.client.get_health_check_status().health_check_id(id).send().await;
        let answer = answer.map_err(|error| failed(&error))?;
        let reports = answer
            .health_check_observations()
            .iter()
            .filter_map(|seen| seen.status_report()?.status());
        let (mut healthy, mut checkers) = (0, 0);
        for report in reports {
            checkers += 1;
            // The text begins with the verdict (API reference, `StatusReport`).
            healthy += u32::from(report.starts_with("Success"));
        }
        Ok(Found { healthy, checkers })
    }
}
