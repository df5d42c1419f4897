//! The laboratory's ELB and CloudWatch: what the balancers know, through the ports that AWS uses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::balancer::Balancer;
use crate::domain::Timestamp;
use crate::policy::QueryBody;
use crate::ports::{CallFailed, Metrics, Point, Target, TargetHealth};

/// The dimension by which a metric names its balancer.
const DIMENSION: &str = "LoadBalancer";

/// The instruments of all regions. They do not depend on what they measure: a region that is down still
/// has its targets told unhealthy, and no data points any more.
#[derive(Debug, Default)]
pub struct Instruments {
    by_group: BTreeMap<String, Arc<Balancer>>,
    by_name: BTreeMap<String, Arc<Balancer>>,
}

impl Instruments {
    pub fn add(&mut self, name: String, target_group: String, balancer: &Arc<Balancer>) {
        self.by_name.insert(name, Arc::clone(balancer));
        self.by_group.insert(target_group, Arc::clone(balancer));
    }
}

#[async_trait]
impl TargetHealth for Instruments {
    async fn targets(
        &self,
        _aws_region: &str,
        target_group: &str,
    ) -> Result<Vec<Target>, CallFailed> {
        let balancer = self.by_group.get(target_group).ok_or_else(|| CallFailed::NotFound {
            code: "TargetGroupNotFound".to_owned(),
            why: format!("no target group `{target_group}`"),
        })?;
        Ok(balancer.targets())
    }
}

#[async_trait]
impl Metrics for Instruments {
    async fn query(
        &self,
        _aws_region: &str,
        queries: &[QueryBody],
        period: Duration,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Vec<Point>>, CallFailed> {
        queries.iter().map(|query| self.points(query, period, from, to)).collect()
    }
}

impl Instruments {
    fn points(
        &self,
        query: &QueryBody,
        period: Duration,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Point>, CallFailed> {
        match query {
            QueryBody::Metric { name, dimensions, .. } => {
                let balancer = dimensions.get(DIMENSION).and_then(|name| self.by_name.get(name));
                Ok(balancer
                    .map(|balancer| balancer.points(name, period, from, to))
                    .unwrap_or_default())
            }
            QueryBody::Expression { .. } | QueryBody::Share(_) => Err(CallFailed::Refused {
                code: "ValidationError".to_owned(),
                why: "the laboratory has no metric math".to_owned(),
            }),
        }
    }
}
