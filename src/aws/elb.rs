//! The port [`TargetHealth`] over Elastic Load Balancing, version 2.

use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::Client;

use super::fail::failed;
use super::{Base, Call, PerRegion, Service, convert};
use crate::ports::{CallFailed, Target, TargetHealth};

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &["elasticloadbalancing:DescribeTargetHealth"];

#[derive(Debug)]
pub(super) struct Elb {
    base: Base,
    clients: PerRegion<Client>,
}

impl Elb {
    pub(super) fn new(base: Base) -> Self {
        Self { base, clients: PerRegion::new() }
    }

    fn client(&self, aws_region: &str) -> Client {
        self.clients.client(aws_region, || {
            let config = configured!(
                aws_sdk_elasticloadbalancingv2,
                &self.base,
                Service::Elb,
                aws_region,
                Call::Targets
            );
            Client::from_conf(config.build())
        })
    }
}

#[async_trait]
impl TargetHealth for Elb {
    /// One call: this listing has no pages, 1,000 targets at most by default.
    async fn targets(
        &self,
        aws_region: &str,
        target_group: &str,
    ) -> Result<Vec<Target>, CallFailed> {
        let described = self
            .client(aws_region)
            .describe_target_health()
            .target_group_arn(target_group)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        Ok(described.target_health_descriptions().iter().map(convert::target).collect())
    }
}
