//! The port [`Account`]: what `leeward doctor` reads of Route 53, Elastic Load Balancing, STS and IAM.
//!
//! Every call here reads. `iam:SimulatePrincipalPolicy` is one of them: it judges policies, and grants
//! and calls nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2 as elb;
use aws_sdk_iam as iam;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use aws_sdk_route53 as route53;
use aws_sdk_route53::types::{
    HealthCheckConfig, HostedZoneConfig, HostedZoneLimit, HostedZoneLimitType,
};
use aws_sdk_sts as sts;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};

use super::arc::{Cluster, ClusterSpec};
use super::fail::failed;
use super::s3::S3;
use super::{Base, Call, PerRegion, Service};
use crate::domain::{Timestamp, ZoneId};
use crate::policy::ArcLever;
use crate::ports::{
    Account, BalancerFacts, CallFailed, Caller, CheckFacts, ControlFacts, GroupFacts, Objects as _,
    Permission, Quota, Verdict, ZoneFacts,
};

/// What this client calls, for the policy of least privilege of the preflight.
pub(super) const ACTIONS: &[&str] = &[
    "route53:GetHostedZone",
    "route53:GetHostedZoneLimit",
    "route53:GetHealthCheck",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeAccountLimits",
    "sts:GetCallerIdentity",
    "iam:SimulatePrincipalPolicy",
];

/// Pages of a listing of limits: there are some thirty limits.
const PAGES_MAX: usize = 10;

#[derive(Debug)]
pub(super) struct AwsAccount {
    base: Base,
    route53: route53::Client,
    sts: sts::Client,
    iam: iam::Client,
    elb: PerRegion<elb::Client>,
    objects: S3,
}

impl AwsAccount {
    pub(super) fn new(base: &Base) -> Self {
        let control = &base.settings.control_region;
        let home = base.settings.home_region.as_deref().unwrap_or(control);
        let route53 = configured!(route53, base, Service::Route53, control, Call::List);
        // The regional endpoint of the place where this runs: the global one is another region's.
        let sts = configured!(sts, base, Service::Sts, home, Call::Status);
        let iam = configured!(iam, base, Service::Iam, control, Call::Status);
        Self {
            route53: route53::Client::from_conf(route53.build()),
            sts: sts::Client::from_conf(sts.build()),
            iam: iam::Client::from_conf(iam.build()),
            elb: PerRegion::new(),
            objects: S3::new(base.clone()),
            base: base.clone(),
        }
    }

    fn elb(&self, aws_region: &str) -> elb::Client {
        self.elb.client(aws_region, || {
            let config = configured!(elb, &self.base, Service::Elb, aws_region, Call::Targets);
            elb::Client::from_conf(config.build())
        })
    }
}

/// Keeps the `Date` of the last answer.
#[derive(Debug, Clone, Default)]
struct DateOf(Arc<Mutex<Option<Timestamp>>>);

impl Intercept for DateOf {
    fn name(&self) -> &'static str {
        "DateOf"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        let at = date.map(|date| Timestamp::from_secs(date.secs()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
        Ok(())
    }
}

fn not_told(what: &str) -> CallFailed {
    CallFailed::Unknown { why: format!("the answer says nothing about {what}") }
}

fn seconds(count: Option<i32>) -> Duration {
    Duration::from_secs(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

fn positive(count: Option<i32>) -> u32 {
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

fn check(config: &HealthCheckConfig) -> CheckFacts {
    CheckFacts {
        kind: config.r#type().as_str().to_owned(),
        inverted: config.inverted().unwrap_or(false),
        disabled: config.disabled().unwrap_or(false),
        endpoint: config.fully_qualified_domain_name().map(str::to_owned),
        address: config.ip_address().map(str::to_owned),
        port: config.port().and_then(|port| u16::try_from(port).ok()),
        path: config.resource_path().map(str::to_owned),
        search: config.search_string().map(str::to_owned),
        every: seconds(config.request_interval()),
        failures: positive(config.failure_threshold()),
        threshold: config.health_threshold().and_then(|count| u32::try_from(count).ok()),
        children: config.child_health_checks().to_vec(),
        alarm_region: config.alarm_identifier().map(|alarm| alarm.region().as_str().to_owned()),
        without_data: config
            .insufficient_data_health_status()
            .map(|status| status.as_str().to_owned()),
        routing_control: config.routing_control_arn().map(str::to_owned),
    }
}

#[async_trait]
impl Account for AwsAccount {
    async fn caller(&self) -> Result<Caller, CallFailed> {
        let date = DateOf::default();
        let said = self
            .sts
            .get_caller_identity()
            .customize()
            .interceptor(date.clone())
            .send()
            .await
            .map_err(|error| failed(&error))?;
        let says_now = *date.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (said.account(), said.arn()) {
            (Some(account), Some(arn)) => {
                Ok(Caller { account: account.to_owned(), arn: arn.to_owned(), says_now })
            }
            (_, _) => Err(not_told("the caller")),
        }
    }

    async fn zone(&self, zone: &ZoneId) -> Result<ZoneFacts, CallFailed> {
        let call = self.route53.get_hosted_zone().id(zone.as_str());
        let found = call.send().await.map_err(|error| failed(&error))?;
        let zone = found.hosted_zone().ok_or_else(|| not_told("the zone"))?;
        let features = zone.features().and_then(|all| all.accelerated_recovery_status());
        let bare = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        Ok(ZoneFacts {
            name: bare(zone.name()),
            private: zone.config().is_some_and(HostedZoneConfig::private_zone),
            accelerated_recovery: features.map(|status| status.as_str().to_owned()),
            name_servers: found
                .delegation_set()
                .map(|set| set.name_servers().iter().map(|name| bare(name)).collect())
                .unwrap_or_default(),
        })
    }

    async fn zone_quota(&self, zone: &ZoneId) -> Result<Quota, CallFailed> {
        let call = self
            .route53
            .get_hosted_zone_limit()
            .hosted_zone_id(zone.as_str())
            .r#type(HostedZoneLimitType::MaxRrsetsByZone);
        let found = call.send().await.map_err(|error| failed(&error))?;
        let max = found.limit().map(HostedZoneLimit::value).ok_or_else(|| not_told("the limit"))?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Quota { used: count(found.count()), max: count(max) })
    }

    async fn check(&self, id: &str) -> Result<CheckFacts, CallFailed> {
        let call = self.route53.get_health_check().health_check_id(id);
        let found = call.send().await.map_err(|error| failed(&error))?;
        let config = found.health_check().and_then(|found| found.health_check_config());
        config.map(check).ok_or_else(|| not_told("the check"))
    }

    async fn group(&self, aws_region: &str, arn: &str) -> Result<GroupFacts, CallFailed> {
        let client = self.elb(aws_region);
        let groups = client.describe_target_groups().target_group_arns(arn);
        let groups = groups.send().await.map_err(|error| failed(&error))?;
        let group = groups.target_groups().first().ok_or_else(|| not_told("the group"))?;
        let attributes = client.describe_target_group_attributes().target_group_arn(arn);
        let attributes = attributes.send().await.map_err(|error| failed(&error))?;
        let pair =
            |key: Option<&str>, value: Option<&str>| Some((key?.to_owned(), value?.to_owned()));
        Ok(GroupFacts {
            name: group.target_group_name().unwrap_or_default().to_owned(),
            target_type: group.target_type().map_or(String::new(), |kind| kind.as_str().to_owned()),
            health_checked: group.health_check_enabled().unwrap_or(true),
            every: seconds(group.health_check_interval_seconds()),
            timeout: seconds(group.health_check_timeout_seconds()),
            healthy_after: positive(group.healthy_threshold_count()),
            unhealthy_after: positive(group.unhealthy_threshold_count()),
            matcher: group
                .matcher()
                .and_then(|matcher| matcher.http_code().or(matcher.grpc_code()))
                .map(str::to_owned),
            balancers: group.load_balancer_arns().to_vec(),
            attributes: attributes
                .attributes()
                .iter()
                .filter_map(|attribute| pair(attribute.key(), attribute.value()))
                .collect(),
        })
    }

    async fn balancer(&self, aws_region: &str, arn: &str) -> Result<BalancerFacts, CallFailed> {
        let client = self.elb(aws_region);
        let found = client.describe_load_balancers().load_balancer_arns(arn);
        let found = found.send().await.map_err(|error| failed(&error))?;
        let found = found.load_balancers().first().ok_or_else(|| not_told("the balancer"))?;
        let attributes = client.describe_load_balancer_attributes().load_balancer_arn(arn);
        let attributes = attributes.send().await.map_err(|error| failed(&error))?;
        let state = found.state().and_then(|state| state.code());
        let pair =
            |key: Option<&str>, value: Option<&str>| Some((key?.to_owned(), value?.to_owned()));
        Ok(BalancerFacts {
            state: state.map_or("unknown".to_owned(), |code| code.as_str().to_owned()),
            dns_name: found.dns_name().unwrap_or_default().to_ascii_lowercase(),
            attributes: attributes
                .attributes()
                .iter()
                .filter_map(|attribute| pair(attribute.key(), attribute.value()))
                .collect(),
        })
    }

    async fn balancing_limits(
        &self,
        aws_region: &str,
    ) -> Result<BTreeMap<String, u64>, CallFailed> {
        let client = self.elb(aws_region);
        let (mut limits, mut marker) = (BTreeMap::new(), None);
        for _ in 0..PAGES_MAX {
            let page = client.describe_account_limits().set_marker(marker);
            let page = page.send().await.map_err(|error| failed(&error))?;
            for limit in page.limits() {
                if let (Some(name), Some(Ok(max))) = (limit.name(), limit.max().map(str::parse)) {
                    limits.insert(name.to_owned(), max);
                }
            }
            match page.next_marker() {
                Some(next) if !next.is_empty() => marker = Some(next.to_owned()),
                Some(_) | None => return Ok(limits),
            }
        }
        Err(CallFailed::Unknown { why: format!("more than {PAGES_MAX} pages of limits") })
    }

    async fn object(&self, aws_region: &str, bucket: &str, key: &str) -> Result<bool, CallFailed> {
        self.objects.exists(aws_region, bucket, key).await
    }

    async fn controls(&self, lever: &ArcLever) -> ControlFacts {
        Cluster::new(&self.base, ClusterSpec::from(lever), Arc::new(super::arc::writes()))
            .by_endpoint()
            .await
    }

    async fn may(&self, principal: &str, asked: &Permission) -> Result<Verdict, CallFailed> {
        let is_boolean = |value: &String| value == "true" || value == "false";
        let entries = asked.context.iter().map(|(key, values)| {
            let kind = if values.iter().all(is_boolean) {
                ContextKeyTypeEnum::Boolean
            } else {
                ContextKeyTypeEnum::StringList
            };
            ContextEntry::builder()
                .context_key_name(key)
                .set_context_key_values(Some(values.clone()))
                .context_key_type(kind)
                .build()
        });
        let call = self
            .iam
            .simulate_principal_policy()
            .policy_source_arn(principal)
            .action_names(&asked.action)
            .resource_arns(&asked.resource)
            .set_context_entries(Some(entries.collect()));
        let said = call.send().await.map_err(|error| failed(&error))?;
        let result = said.evaluation_results().first().ok_or_else(|| not_told("the permission"))?;
        let decision = result.eval_decision();
        Ok(if *decision == PolicyEvaluationDecisionType::Allowed {
            Verdict::Allowed
        } else if *decision == PolicyEvaluationDecisionType::ExplicitDeny {
            Verdict::Denied
        } else {
            Verdict::NotAllowed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_route53::types::{AlarmIdentifier, CloudWatchRegion, HealthCheckType};

    #[test]
    fn a_check_is_read_with_everything_that_turns_its_verdict() {
        let alarm = AlarmIdentifier::builder().region(CloudWatchRegion::EuWest1).name("down");
        let config = HealthCheckConfig::builder()
            .r#type(HealthCheckType::CloudwatchMetric)
            .inverted(true)
            .disabled(true)
            .request_interval(10)
            .failure_threshold(3)
            .health_threshold(2)
            .child_health_checks("a")
            .alarm_identifier(alarm.build().unwrap())
            .build()
            .unwrap();
        let check = check(&config);
        assert_eq!((check.inverted, check.disabled), (true, true));
        assert_eq!((check.every, check.failures), (Duration::from_secs(10), 3));
        assert_eq!((check.threshold, check.children), (Some(2), vec!["a".to_owned()]));
        assert_eq!(check.alarm_region.as_deref(), Some("eu-west-1"));
        let plain = HealthCheckConfig::builder().r#type(HealthCheckType::Https).build().unwrap();
        let check = super::check(&plain);
        assert_eq!((check.inverted, check.disabled, check.failures), (false, false, 0));
    }
}
