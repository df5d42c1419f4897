//! What is asked of CloudWatch about a balancer of which the policy tells the ARN.
//!
//! Names, dimensions and when a metric has a data point: User Guides of Elastic Load Balancing, "CloudWatch metrics
//! for your Application Load Balancer" and "… Network Load Balancer".

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::RegionName;
use crate::policy::problem::{Bytes, Code, Finding, Findings};
use crate::policy::{
    Balancer, Measures, MetricInput, MetricQuery, QueryBody, Region, Role, Share, Symptom,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Application,
    Network,
}

impl Kind {
    const fn namespace(self) -> &'static str {
        match self {
            Self::Application => "AWS/ApplicationELB",
            Self::Network => "AWS/NetworkELB",
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Application => "Application Load Balancer",
            Self::Network => "Network Load Balancer",
        }
    }

    /// What counts the requests that everything else is compared with.
    const fn requests(self) -> &'static str {
        match self {
            Self::Application => "RequestCount",
            Self::Network => "NewFlowCount",
        }
    }

    const fn tail(self) -> &'static str {
        match self {
            Self::Application => "app/",
            Self::Network => "net/",
        }
    }

    /// Where a balancer's metrics are, and its `LoadBalancer` dimension: the tail of its ARN.
    fn dimension(self, balancer: &Balancer) -> Option<(&str, &str)> {
        let mut parts = balancer.arn.as_deref()?.splitn(6, ':').skip(3);
        let (aws_region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let tail = resource.strip_prefix("loadbalancer/")?;
        tail.starts_with(self.tail()).then_some((aws_region, tail))
    }

    fn sum(self, name: &str, load_balancer: &str) -> QueryBody {
        QueryBody::Metric {
            namespace: self.namespace().to_owned(),
            name: name.to_owned(),
            statistic: "Sum".to_owned(),
            dimensions: dimensions(load_balancer),
        }
    }

    /// Of all target groups: without a `TargetGroup` dimension these are not counted.
    fn over_groups(self, name: &str, load_balancer: &str, period: Duration) -> QueryBody {
        let (namespace, seconds) = (self.namespace(), period.as_secs().max(1));
        QueryBody::Expression {
            expression: format!(
                "SUM(SEARCH('{{{namespace},LoadBalancer,TargetGroup}} MetricName=\"{name}\" \
                 LoadBalancer=\"{load_balancer}\"', 'Sum', {seconds}))"
            ),
            inputs: BTreeMap::new(),
        }
    }
}

fn dimensions(load_balancer: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("LoadBalancer".to_owned(), load_balancer.to_owned())])
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) measures: Measures,
    pub(super) symptom: Option<Symptom>,
}

impl Wanted {
    /// One balancer. Requests are counted only while they flow, and a missing count is no data, not health.
    /// `RequestCount` counts requests for which a target was chosen, so errors that the balancer itself made come on
    /// top. Those that it made because no connection to a target came about are counted as the targets' instead.
    fn of(self, load_balancer: &str, period: Duration) -> Option<QueryBody> {
        let sum = |name| self.kind.sum(name, load_balancer);
        let math = |expression: String, id: &str, name: &str, statistic: &str| {
            let input = MetricInput {
                namespace: self.kind.namespace().to_owned(),
                name: name.to_owned(),
                statistic: statistic.to_owned(),
                dimensions: dimensions(load_balancer),
            };
            QueryBody::Expression { expression, inputs: [(id.to_owned(), input)].into() }
        };
        let requests = self.kind.requests();
        let share = |of, but, beside| {
            QueryBody::Share(Share { of, but, among: vec![sum(requests)], beside })
        };
        let application = self.kind == Kind::Application;
        Some(match (self.measures, self.symptom) {
            (Measures::BalancerErrors, None) if application => share(
                vec![sum("HTTPCode_ELB_5XX_Count")],
                vec![sum("TargetConnectionErrorCount")],
                true,
            ),
            (Measures::TargetErrors, None) if application => share(
                vec![sum("HTTPCode_Target_5XX_Count"), sum("TargetConnectionErrorCount")],
                Vec::new(),
                false,
            ),
            (Measures::Requests, None) => {
                let per_second = format!("r / {}", period.as_secs().max(1));
                math(per_second, "r", requests, "Sum")
            }
            // Reported in seconds.
            (Measures::Latency, None) if application => {
                math("t * 1000".to_owned(), "t", "TargetResponseTime", "p95")
            }
            (Measures::Verdict, Some(symptom)) => {
                let name = match (self.kind, symptom) {
                    (Kind::Application, Symptom::FailOpen) => "UnhealthyRoutingRequestCount",
                    (Kind::Application, Symptom::ConnectionErrors) => "TargetConnectionErrorCount",
                    (Kind::Application, Symptom::HandshakeErrors) => {
                        "ClientTLSNegotiationErrorCount"
                    }
                    (Kind::Application, Symptom::RejectedConnections) => "RejectedConnectionCount",
                    (Kind::Network, Symptom::FailOpen) => "UnhealthyRoutingFlowCount",
                    (Kind::Network, Symptom::Resets) => "TCP_ELB_Reset_Count",
                    (Kind::Application | Kind::Network, _) => return None,
                };
                let of = if symptom == Symptom::FailOpen {
                    self.kind.over_groups(name, load_balancer, period)
                } else {
                    sum(name)
                };
                // Whom it never let in is in no count of requests.
                let beside =
                    matches!(symptom, Symptom::HandshakeErrors | Symptom::RejectedConnections);
                share(vec![of], Vec::new(), beside)
            }
            _ => return None,
        })
    }
}

/// The queries of every balancer in every serving region.
pub(super) fn derive(
    at: Bytes,
    wanted: Wanted,
    period: Duration,
    regions: &BTreeMap<RegionName, Region>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<RegionName, Vec<MetricQuery>>> {
    if wanted.of("", period).is_none() {
        let finding = match (wanted.measures, wanted.symptom) {
            (Measures::Verdict, None) => {
                Finding::new(Code::MissingField, at, "a derived verdict needs `of`")
                    .label("of what?")
                    .help("for example `of: fail_open`")
            }
            _ => Finding::new(Code::NoMetric, at, "this measure cannot be derived from a balancer")
                .label("not known to the balancer")
                .help(match wanted.kind {
                    Kind::Application => "`balancer_errors`, `target_errors`, `requests`, `latency` and verdicts can; write `queries` for others",
                    Kind::Network => "`requests` and verdicts of `fail_open` and `resets` can; write `queries` for others",
                }),
        };
        to.add(finding);
        return None;
    }
    let mut queries = BTreeMap::new();
    let mut unknown = Vec::new();
    for (name, region) in regions.iter().filter(|(_, region)| region.role != Role::LastResort) {
        if region.balancers.is_empty() {
            unknown.push(format!("`{name}`"));
        }
        let mut of_region: Vec<MetricQuery> = Vec::new();
        for balancer in &region.balancers {
            let Some((aws_region, tail)) = wanted.kind.dimension(balancer) else {
                unknown.push(format!("`{}`", balancer.name));
                continue;
            };
            let what = wanted.of(tail, period)?;
            let of_it = wanted.symptom.is_none().then(|| balancer.name.clone());
            let query = MetricQuery { balancer: of_it, aws_region: aws_region.to_owned(), what };
            let place = of_region.iter_mut().find(|other| other.aws_region == query.aws_region);
            match (place, query) {
                // A verdict is about the region as a whole.
                (
                    Some(MetricQuery { what: QueryBody::Share(all), .. }),
                    MetricQuery { balancer: None, what: QueryBody::Share(one), .. },
                ) => {
                    all.of.extend(one.of);
                    all.among.extend(one.among);
                }
                (_, query) => of_region.push(query),
            }
        }
        queries.insert(name.clone(), of_region);
    }
    if unknown.is_empty() {
        return Some(queries);
    }
    let message = format!("no {} is known for {}", wanted.kind.in_words(), unknown.join(", "));
    let tail = wanted.kind.tail();
    to.add(Finding::new(Code::NoMetric, at, message).label("cannot be derived").help(format!(
        "add to each balancer `arn: \"arn:aws:elasticloadbalancing:...:loadbalancer/{tail}...\"`"
    )));
    None
}
