//! CloudWatch metrics: as written, or derived from the ARN of a balancer.

mod derive;

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::{At, Entries};
use super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::units::Text;
use super::super::{
    BadWhen, Measures, Metric, MetricInput, MetricQuery, QueryBody, Region, Symptom, raw,
};
use super::regions::aws_region_code;
use super::{HOUR, MINUTE, Names, Referred, SECOND, check_reference, limited_span, parsed};
use crate::domain::{BalancerName, RegionName};

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
    let symptom = metric.of.as_ref().map(|of| symptom_of(&of.value));
    if let Some(of) = &metric.of
        && (metric.from.is_none() || measures != Measures::Verdict)
    {
        to.add(
            Finding::new(
                Code::Conflict,
                of.at,
                "`of` is for verdicts that are derived `from` a balancer",
            )
            .label("no effect here")
            .help("write `measures: verdict`, `from: alb` and `above`"),
        );
        return None;
    }
    let queries = match (&metric.from, &metric.queries) {
        (Some(from), None) => {
            let wanted = derive::Wanted { kind: kind_of(&from.value), measures, symptom };
            regions.and_then(|regions| derive::derive(from.at, wanted, period?, regions, to))
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
        symptom,
    })
}

fn kind_of(derived: &raw::Derived) -> derive::Kind {
    match derived {
        raw::Derived::Alb => derive::Kind::Application,
        raw::Derived::Nlb => derive::Kind::Network,
    }
}

fn symptom_of(written: &raw::Symptom) -> Symptom {
    match written {
        raw::Symptom::FailOpen => Symptom::FailOpen,
        raw::Symptom::ConnectionErrors => Symptom::ConnectionErrors,
        raw::Symptom::HandshakeErrors => Symptom::HandshakeErrors,
        raw::Symptom::RejectedConnections => Symptom::RejectedConnections,
        raw::Symptom::Resets => Symptom::Resets,
    }
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
