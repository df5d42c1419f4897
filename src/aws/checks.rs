//! The port [`HealthChecks`] over Route 53. A development aid by AWS's own word, and a call of the
//! control plane: nothing waits for it, and what cannot be asked is not known.

use async_trait::async_trait;
use aws_sdk_route53::Client;

use super::fail::failed;
use super::{Base, Call, Service};
use crate::ports::{CallFailed, HealthChecks};
use crate::steer::Found;

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &["route53:GetHealthCheckStatus"];

#[derive(Debug)]
pub(super) struct Checks {
    client: Client,
}

impl Checks {
    pub(super) fn new(base: &Base) -> Self {
        let region = &base.settings.control_region;
        let config = configured!(aws_sdk_route53, base, Service::Route53, region, Call::Status);
        let config = config.retry_config(Base::retries(Call::Change));
        Self { client: Client::from_conf(config.build()) }
    }
}

#[async_trait]
impl HealthChecks for Checks {
    /// What the checkers find, before the check is inverted.
    async fn found(&self, id: &str) -> Result<Found, CallFailed> {
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
