//! CloudWatch metrics: as written, or derived from the ARN of a balancer.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::{At, Entries};
use super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::units::Text;
use super::super::{
    BadWhen, Balancer, Measures, Metric, MetricInput, MetricQuery, QueryBody, Region, Role, raw,
};
use super::regions::aws_region_code;
use super::{HOUR, MINUTE, Names, Referred, SECOND, check_reference, limited_span, parsed};
use crate::domain::{BalancerName, RegionName};

/// The namespace of Application Load Balancers.
const ALB_NAMESPACE: &str = "AWS/ApplicationELB";

pub(super) fn compile(
    written: &At<raw::Metric>,
    names: &Names,
    regions: Option<&BTreeMap<RegionName, Region>>,
    to: &mut Findings<'_>,
) -> Option<Metric> {
    let metric = &written.value;
    let measures = measures_of(&metric.measures.value);
    let bad = bad_when(metric, measures, to);
    let every = limited_span(&metric.every, SECOND..=HOUR, "every", to);
    let period = limited_span(&metric.period, SECOND..=HOUR, "period", to);
    let window = limited_span(&metric.window, SECOND..=24 * HOUR, "window", to);
    check_period(metric, to);
    let queries = match (&metric.from, &metric.queries) {
        (Some(from), None) => {
            let raw::Derived::Alb = from.value;
            regions.and_then(|regions| derive(from.at, measures, period?.as_secs(), regions, to))
        }
        (None, Some(queries)) => compile_queries(queries, names, regions, to),
        (Some(from), Some(_)) => {
            to.add(
                Finding::new(Code::Conflict, from.at, "`from` and `queries` exclude each other")
                    .label("derived, or written?"),
            );
            None
        }
        (None, None) => {
            to.add(
                Finding::new(Code::MissingField, written.at, "a metric needs `queries` or `from`")
                    .label("what to ask for?")
                    .help("`from: alb` derives the queries from the ARNs of the balancers; `queries` names them by region"),
            );
            None
        }
    };
    Some(Metric {
        measures,
        every: every?,
        period: period?,
        window: window?,
        queries: queries?,
        bad: bad.ok()?,
    })
}

fn measures_of(measures: &raw::Measures) -> Measures {
    match measures {
        raw::Measures::BalancerErrors => Measures::BalancerErrors,
        raw::Measures::TargetErrors => Measures::TargetErrors,
        raw::Measures::Requests => Measures::Requests,
        raw::Measures::Capacity => Measures::Capacity,
        raw::Measures::ReplicationLag => Measures::ReplicationLag,
        raw::Measures::HealthyHosts => Measures::HealthyHosts,
        raw::Measures::Latency => Measures::Latency,
        raw::Measures::Verdict => Measures::Verdict,
    }
}

/// The limit that belongs to a verdict, and to nothing else. `Err` after a complaint.
fn bad_when(
    metric: &raw::Metric,
    measures: Measures,
    to: &mut Findings<'_>,
) -> Result<Option<BadWhen>, ()> {
    let complaint = match (measures == Measures::Verdict, &metric.above, &metric.below) {
        (true, Some(above), None) => return Ok(Some(BadWhen::Above(above.value.0))),
        (true, None, Some(below)) => return Ok(Some(BadWhen::Below(below.value.0))),
        (false, None, None) => return Ok(None),
        (true, None, None) => {
            Finding::new(Code::MissingField, metric.measures.at, "a verdict needs a limit")
                .label("when is it bad?")
                .help("write `above: 5` or `below: 100`")
        }
        (true, Some(above), Some(_)) => {
            Finding::new(Code::Conflict, above.at, "`above` and `below` exclude each other")
                .label("one limit only")
                .help("write a second signal for the other limit")
        }
        (false, above, below) => {
            let at = above.as_ref().or(below.as_ref()).map_or(metric.measures.at, |limit| limit.at);
            Finding::new(Code::Conflict, at, "a limit of its own is for `measures: verdict` only")
                .label("no effect here")
                .help("the limits of other measures stand in `judge`")
        }
    };
    to.add(complaint);
    Err(())
}

/// Periods are 1, 5, 10, 20 or 30 seconds, or whole minutes (CloudWatch API, `MetricStat`, `Period`).
fn check_period(metric: &raw::Metric, to: &mut Findings<'_>) {
    let (period, window) = (metric.period.value.0, metric.window.value.0);
    let millis = period.as_millis();
    if !millis.is_multiple_of(u128::from(MINUTE))
        && ![1000, 5000, 10_000, 20_000, 30_000].contains(&millis)
    {
        to.add(
            Finding::new(Code::OutOfRange, metric.period.at, "CloudWatch has no such period")
                .label("not a period")
                .help("1s, 5s, 10s, 20s, 30s or whole minutes"),
        );
    }
    if window < period {
        to.add(
            Finding::new(
                Code::OutOfRange,
                metric.window.at,
                "the window is shorter than one period",
            )
            .label("no data point fits in"),
        );
    }
}

/// The queries of every balancer in every serving region.
fn derive(
    at: Bytes,
    measures: Measures,
    period_seconds: u64,
    regions: &BTreeMap<RegionName, Region>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<RegionName, Vec<MetricQuery>>> {
    let Some(formula) = Formula::of(measures, period_seconds) else {
        to.add(
            Finding::new(Code::NoMetric, at, "this measure cannot be derived from a balancer")
                .label("not known to the balancer")
                .help("`balancer_errors`, `target_errors`, `requests` and `latency` can; write `queries` for others"),
        );
        return None;
    };
    let mut queries = BTreeMap::new();
    let mut unknown = Vec::new();
    for (name, region) in regions.iter().filter(|(_, region)| region.role != Role::LastResort) {
        if region.balancers.is_empty() {
            unknown.push(format!("`{name}`"));
        }
        let mut of_region = Vec::new();
        for balancer in &region.balancers {
            match dimension(balancer) {
                Some((aws_region, load_balancer)) => of_region.push(MetricQuery {
                    balancer: Some(balancer.name.clone()),
                    aws_region: aws_region.to_owned(),
                    what: formula.query(load_balancer),
                }),
                None => unknown.push(format!("`{}`", balancer.name)),
            }
        }
        queries.insert(name.clone(), of_region);
    }
    if unknown.is_empty() {
        return Some(queries);
    }
    let message = format!("no Application Load Balancer is known for {}", unknown.join(", "));
    to.add(Finding::new(Code::NoMetric, at, message).label("cannot be derived").help(
        "add to each balancer `arn: \"arn:aws:elasticloadbalancing:...:loadbalancer/app/...\"`",
    ));
    None
}

/// Where an Application Load Balancer's metrics are, and its `LoadBalancer` dimension: the tail
/// `app/name/hash` of its ARN.
fn dimension(balancer: &Balancer) -> Option<(&str, &str)> {
    let mut parts = balancer.arn.as_deref()?.splitn(6, ':').skip(3);
    let (aws_region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let tail = resource.strip_prefix("loadbalancer/")?;
    tail.starts_with("app/").then_some((aws_region, tail))
}

/// Metric math over the metrics of one balancer.
///
/// The error counts are reported only when there were errors, so a missing one is zero. Requests are
/// counted only while they flow, and a missing count is no data, not health. `RequestCount` counts
/// requests for which a target was chosen, so errors that the balancer itself made come on top.
#[derive(Debug)]
struct Formula {
    expression: String,
    /// Id, metric, statistic.
    inputs: &'static [(&'static str, &'static str, &'static str)],
}

impl Formula {
    fn of(measures: Measures, period_seconds: u64) -> Option<Self> {
        let (expression, inputs): (String, &[(&str, &str, &str)]) = match measures {
            Measures::BalancerErrors => (
                "FILL(e, 0) / (r + FILL(e, 0))".to_owned(),
                &[("e", "HTTPCode_ELB_5XX_Count", "Sum"), ("r", "RequestCount", "Sum")],
            ),
            Measures::TargetErrors => (
                "FILL(e, 0) / r".to_owned(),
                &[("e", "HTTPCode_Target_5XX_Count", "Sum"), ("r", "RequestCount", "Sum")],
            ),
            Measures::Requests => {
                (format!("r / {}", period_seconds.max(1)), &[("r", "RequestCount", "Sum")])
            }
            // Reported in seconds.
            Measures::Latency => ("t * 1000".to_owned(), &[("t", "TargetResponseTime", "p95")]),
            Measures::Capacity
            | Measures::ReplicationLag
            | Measures::HealthyHosts
            | Measures::Verdict => return None,
        };
        Some(Self { expression, inputs })
    }

    fn query(&self, load_balancer: &str) -> QueryBody {
        let input = |(id, name, statistic): &(&str, &str, &str)| {
            let input = MetricInput {
                namespace: ALB_NAMESPACE.to_owned(),
                name: (*name).to_owned(),
                statistic: (*statistic).to_owned(),
                dimensions: BTreeMap::from([("LoadBalancer".to_owned(), load_balancer.to_owned())]),
            };
            ((*id).to_owned(), input)
        };
        QueryBody::Expression {
            expression: self.expression.clone(),
            inputs: self.inputs.iter().map(input).collect(),
        }
    }
}

fn compile_queries(
    written: &Entries<super::super::decode::OneOrMany<raw::Query>>,
    names: &Names,
    regions: Option<&BTreeMap<RegionName, Region>>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<RegionName, Vec<MetricQuery>>> {
    if written.list.is_empty() {
        to.add(Finding::new(Code::WrongShape, written.at, "there is no query").label("empty"));
        return None;
    }
    let mut queries = BTreeMap::new();
    for entry in &written.list {
        let known =
            check_reference(&entry.name, entry.at, Referred::Region, names.regions.as_ref(), to);
        let Some(list) = &entry.value else { continue };
        let region: Option<RegionName> = known.and_then(|()| parsed(&entry.name, entry.at, to));
        let Some(region) = region else { continue };
        let settings = regions.and_then(|regions| regions.get(&region));
        let compiled: Vec<Option<MetricQuery>> =
            list.0.iter().map(|query| compile_query(entry.at, query, settings, to)).collect();
        if let Some(compiled) = compiled.into_iter().collect() {
            queries.insert(region, compiled);
        }
    }
    (queries.len() == written.list.len()).then_some(queries)
}

fn compile_query(
    at: Bytes,
    query: &raw::Query,
    region: Option<&Region>,
    to: &mut Findings<'_>,
) -> Option<MetricQuery> {
    let balancer = match (&query.balancer, region) {
        (Some(written), Some(region)) => {
            let known = region.balancers.iter().map(|b| b.name.to_string()).collect();
            check_reference(&written.value.0, written.at, Referred::Balancer, Some(&known), to)?;
            Some(parsed::<BalancerName>(&written.value.0, written.at, to)?)
        }
        (Some(_), None) | (None, _) => None,
    };
    let aws_region = match &query.aws_region {
        Some(written) => aws_region_code(&written.value.0, written.at, to),
        None => {
            let own = region.and_then(|region| region.aws_region.clone());
            if own.is_none() && region.is_some() {
                to.add(
                    Finding::new(Code::MissingField, at, "where is CloudWatch to be asked?")
                        .label("no AWS region is known")
                        .help("add `aws_region` to the region or to the query"),
                );
            }
            own
        }
    };
    let what = query_body(at, query, to);
    Some(MetricQuery { balancer, aws_region: aws_region?, what: what? })
}

fn query_body(at: Bytes, query: &raw::Query, to: &mut Findings<'_>) -> Option<QueryBody> {
    let single = [&query.namespace, &query.name, &query.statistic];
    match (&query.expression, &query.inputs) {
        (Some(expression), Some(inputs)) => {
            if let Some(extra) = single.into_iter().flatten().next() {
                to.add(
                    Finding::new(
                        Code::Conflict,
                        extra.at,
                        "an expression takes its metrics from `inputs`",
                    )
                    .label("belongs into an input"),
                );
                return None;
            }
            let text = expression.value.0.clone();
            Some(QueryBody::Expression {
                inputs: compile_inputs(expression, inputs, to)?,
                expression: text,
            })
        }
        (Some(at), None) => {
            to.add(
                Finding::new(Code::MissingField, at.at, "an expression needs its `inputs`")
                    .label("over which metrics?"),
            );
            None
        }
        (None, Some(inputs)) => {
            to.add(
                Finding::new(Code::MissingField, inputs.at, "`inputs` need an `expression`")
                    .label("what is made of them?"),
            );
            None
        }
        (None, None) => {
            let (Some(namespace), Some(name), Some(statistic)) =
                (&query.namespace, &query.name, &query.statistic)
            else {
                to.add(
                    Finding::new(
                        Code::MissingField,
                        at,
                        "a query needs `namespace`, `name` and `statistic`",
                    )
                    .label("which metric?")
                    .help("or `expression` and `inputs` for metric math"),
                );
                return None;
            };
            check_statistic(statistic, to)?;
            Some(QueryBody::Metric {
                namespace: namespace.value.0.clone(),
                name: name.value.0.clone(),
                statistic: statistic.value.0.clone(),
                dimensions: dimensions(query.dimensions.as_ref())?,
            })
        }
    }
}

fn compile_inputs(
    expression: &At<Text>,
    written: &Entries<raw::Input>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<String, MetricInput>> {
    let words: BTreeSet<&str> = expression
        .value
        .0
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let mut inputs = BTreeMap::new();
    for entry in &written.list {
        // As CloudWatch demands of the ids of metrics.
        let id = entry.name.starts_with(|c: char| c.is_ascii_lowercase())
            && entry.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && entry.name.len() <= 255;
        if !id {
            let message = format!("{} is not an id for an input", quoted(&entry.name));
            to.add(
                Finding::new(Code::Malformed, entry.at, message)
                    .label("not an id")
                    .help("a small letter, then letters, digits and `_`: `errors`"),
            );
        } else if !words.contains(entry.name.as_str()) {
            let message = format!("input {} does not occur in the expression", quoted(&entry.name));
            to.add(Finding::new(Code::NoEffect, entry.at, message).label("asked for and not used"));
        }
        let Some(input) = &entry.value else { continue };
        let statistic = check_statistic(&input.statistic, to);
        let dimensions = dimensions(input.dimensions.as_ref());
        if let (true, Some(()), Some(dimensions)) = (id, statistic, dimensions) {
            inputs.insert(
                entry.name.clone(),
                MetricInput {
                    namespace: input.namespace.0.clone(),
                    name: input.name.0.clone(),
                    statistic: input.statistic.value.0.clone(),
                    dimensions,
                },
            );
        }
    }
    (inputs.len() == written.list.len()).then_some(inputs)
}

fn dimensions(written: Option<&Entries<Text>>) -> Option<BTreeMap<String, String>> {
    let mut dimensions = BTreeMap::new();
    for entry in written.iter().flat_map(|entries| &entries.list) {
        dimensions.insert(entry.name.clone(), entry.value.as_ref()?.0.clone());
    }
    Some(dimensions)
}

fn check_statistic(written: &At<Text>, to: &mut Findings<'_>) -> Option<()> {
    let text = written.value.0.as_str();
    let percentile = |text: &str| {
        text.strip_prefix('p')
            .is_some_and(|n| n.parse::<f64>().is_ok_and(|n| (0.0..=100.0).contains(&n)))
    };
    let trimmed = ["tm", "wm", "tc", "ts", "PR", "TM", "WM", "TC", "TS", "IQM"];
    let known = ["Average", "Sum", "Minimum", "Maximum", "SampleCount"];
    if known.contains(&text) || percentile(text) || trimmed.iter().any(|t| text.starts_with(t)) {
        return Some(());
    }
    let help = super::did_you_mean(text, known, to).unwrap_or_else(|| {
        "`Average`, `Sum`, `Minimum`, `Maximum`, `SampleCount` or a percentile like `p95`"
            .to_owned()
    });
    let message = format!("{} is not a statistic of CloudWatch", quoted(text));
    to.add(
        Finding::new(Code::UnknownChoice, written.at, message)
            .label("unknown statistic")
            .help(help),
    );
    None
}
