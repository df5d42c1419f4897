//! The port [`Metrics`] over CloudWatch `GetMetricData`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{MetricDataQuery, MetricDataResult, ScanBy, StatusCode};

use super::convert::Wanted;
use super::fail::failed;
use super::{Base, Call, PerRegion, Service, convert};
use crate::domain::Timestamp;
use crate::policy::{MetricInput, QueryBody};
use crate::ports::{CallFailed, Metrics, Point};

/// What this client calls, for the policy of least privilege.
pub(super) const ACTIONS: &[&str] = &["cloudwatch:GetMetricData"];

/// Of one call (API reference, `GetMetricData`: "as many as 500 `MetricDataQuery` structures").
/// Expressions and their inputs count too.
const CALL_QUERIES_MAX: usize = 500;

/// A call answers 100,800 points a page, which is 201 of each of 500 queries: one page for any window
/// that makes sense here.
const PAGES_MAX: usize = 20;

#[derive(Debug)]
pub(super) struct CloudWatch {
    base: Base,
    clients: PerRegion<Client>,
}

/// When to look.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Timestamp,
    to: Timestamp,
}

impl CloudWatch {
    pub(super) fn new(base: Base) -> Self {
        Self { base, clients: PerRegion::new() }
    }

    fn client(&self, aws_region: &str) -> Client {
        self.clients.client(aws_region, || {
            let config = configured!(
                aws_sdk_cloudwatch,
                &self.base,
                Service::CloudWatch,
                aws_region,
                Call::Metrics
            );
            Client::from_conf(config.build())
        })
    }

    /// The points of one batch, by id, whatever the order of the answer and however many pages it has.
    async fn fetch(
        &self,
        client: &Client,
        batch: Vec<MetricDataQuery>,
        window: Window,
    ) -> Result<BTreeMap<String, Vec<Point>>, CallFailed> {
        let mut found = Found::default();
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let page = client
                .get_metric_data()
                .set_metric_data_queries(Some(batch.clone()))
                .start_time(convert::date_time(window.from))
                .end_time(convert::date_time(window.to))
                .scan_by(ScanBy::TimestampAscending)
                .set_next_token(token.take())
                .send()
                .await
                .map_err(|error| failed(&error))?;
            page.metric_data_results().iter().for_each(|result| found.add(result));
            token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(found.complete());
            }
        }
        Err(CallFailed::Unknown { why: format!("metrics have more than {PAGES_MAX} pages") })
    }
}

#[async_trait]
impl Metrics for CloudWatch {
    async fn query(
        &self,
        aws_region: &str,
        queries: &[QueryBody],
        period: Duration,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Vec<Point>>, CallFailed> {
        let period_seconds = i32::try_from(period.as_secs().max(1)).unwrap_or(i32::MAX);
        let window = Window { from, to };
        let client = self.client(aws_region);
        let mut points = vec![Vec::new(); queries.len()];
        for batch in batches(queries, period_seconds)? {
            let ids = batch.ids;
            let mut found = self.fetch(&client, batch.queries, window).await?;
            for (place, id) in ids {
                if let (Some(slot), Some(mut found)) = (points.get_mut(place), found.remove(&id)) {
                    found.sort_by_key(|point| point.at);
                    *slot = found;
                }
            }
        }
        Ok(points)
    }
}

/// What one call carries.
#[derive(Debug, Default)]
struct CallBatch {
    queries: Vec<MetricDataQuery>,
    /// Which place in the caller's list each answer belongs to.
    ids: Vec<(usize, String)>,
}

/// As few calls as the limit allows; an expression stays together with its inputs.
fn batches(queries: &[QueryBody], period_seconds: i32) -> Result<Vec<CallBatch>, CallFailed> {
    let mut all: Vec<CallBatch> = Vec::new();
    for (place, query) in queries.iter().enumerate() {
        let id = format!("q{place}");
        let parts = parts(&id, query, period_seconds);
        if parts.len() > CALL_QUERIES_MAX {
            return Err(CallFailed::NotSent {
                why: format!("an expression has more than {} inputs", CALL_QUERIES_MAX - 1),
            });
        }
        let fits = all.last().is_some_and(|b| b.queries.len() + parts.len() <= CALL_QUERIES_MAX);
        if !fits {
            all.push(CallBatch::default());
        }
        if let Some(batch) = all.last_mut() {
            batch.queries.extend(parts);
            batch.ids.push((place, id));
        }
    }
    Ok(all)
}

fn parts(id: &str, query: &QueryBody, period_seconds: i32) -> Vec<MetricDataQuery> {
    match query {
        QueryBody::Metric { namespace, name, statistic, dimensions } => {
            let metric = MetricInput {
                namespace: namespace.clone(),
                name: name.clone(),
                statistic: statistic.clone(),
                dimensions: dimensions.clone(),
            };
            vec![convert::metric_query(id, &metric, period_seconds, Wanted::Answer)]
        }
        // Asked for part by part by whoever looks.
        QueryBody::Share(_) => Vec::new(),
        QueryBody::Expression { expression, inputs } => {
            let own = |input: &str| format!("{id}_{input}");
            let mut parts: Vec<_> = inputs
                .iter()
                .map(|(input, metric)| {
                    convert::metric_query(&own(input), metric, period_seconds, Wanted::Input)
                })
                .collect();
            let expression =
                rename(expression, |word| inputs.contains_key(word).then(|| own(word)));
            parts.push(convert::expression_query(id, &expression, period_seconds));
            parts
        }
    }
}

/// Renames the ids in a metric-math expression, and nothing inside quotation marks.
///
/// Ids are per call, but two expressions of one call may both call their inputs `m1`.
fn rename(expression: &str, new: impl Fn(&str) -> Option<String>) -> String {
    let mut renamed = String::with_capacity(expression.len());
    let mut word = String::new();
    let mut quote = None;
    let finish = |word: &mut String, renamed: &mut String| {
        renamed.push_str(&new(word).unwrap_or_else(|| word.clone()));
        word.clear();
    };
    for c in expression.chars() {
        if quote.is_none() && (c.is_ascii_alphanumeric() || c == '_') {
            word.push(c);
            continue;
        }
        finish(&mut word, &mut renamed);
        renamed.push(c);
        quote = match quote {
            Some(open) if open == c => None,
            None if matches!(c, '"' | '\'') => Some(c),
            unchanged => unchanged,
        };
    }
    finish(&mut word, &mut renamed);
    renamed
}

/// What came back so far.
#[derive(Debug, Default)]
struct Found {
    results: BTreeMap<String, (Option<StatusCode>, Vec<Point>)>,
}

impl Found {
    fn add(&mut self, result: &MetricDataResult) {
        let Some(id) = result.id() else { return };
        let (status, points) = self.results.entry(id.to_owned()).or_default();
        *status = result.status_code().cloned();
        points.extend(convert::points(result));
    }

    /// A result that says it is incomplete on its last page is no data: half a sum looks like a drop.
    fn complete(self) -> BTreeMap<String, Vec<Point>> {
        let complete = |(id, (status, points)): (String, (Option<StatusCode>, Vec<Point>))| {
            if status == Some(StatusCode::Complete) {
                return Some((id, points));
            }
            let status = status.as_ref().map_or("no status", StatusCode::as_str);
            tracing::warn!(query = id, status, "CloudWatch gave no complete answer to a query.");
            None
        };
        self.results.into_iter().filter_map(complete).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str) -> MetricInput {
        MetricInput {
            namespace: "N".to_owned(),
            name: name.to_owned(),
            statistic: "Sum".to_owned(),
            dimensions: [("LoadBalancer".to_owned(), "app/web/1".to_owned())].into(),
        }
    }

    fn plain() -> QueryBody {
        let MetricInput { namespace, name, statistic, dimensions } = metric("M");
        QueryBody::Metric { namespace, name, statistic, dimensions }
    }

    fn ratio() -> QueryBody {
        QueryBody::Expression {
            expression: "IF(m1 > 0, m1 / (m1+m10), 'm1')".to_owned(),
            inputs: [("m1".to_owned(), metric("Errors")), ("m10".to_owned(), metric("Requests"))]
                .into(),
        }
    }

    fn result(id: &str, status: &str, points: &[(i64, f64)]) -> MetricDataResult {
        MetricDataResult::builder()
            .id(id)
            .status_code(status.into())
            .set_timestamps(Some(
                points
                    .iter()
                    .map(|(at, _)| convert::date_time(Timestamp::from_secs(*at)))
                    .collect(),
            ))
            .set_values(Some(points.iter().map(|(_, value)| *value).collect()))
            .build()
    }

    #[test]
    fn expressions_do_not_mix_up_their_inputs() {
        let all = batches(&[ratio(), plain(), ratio()], 60).unwrap();
        let ids: Vec<_> = all[0].queries.iter().map(|query| query.id().unwrap()).collect();
        assert_eq!(ids, ["q0_m1", "q0_m10", "q0", "q1", "q2_m1", "q2_m10", "q2"]);
        assert_eq!(
            all[0].queries[2].expression(),
            Some("IF(q0_m1 > 0, q0_m1 / (q0_m1+q0_m10), 'm1')")
        );
        assert_eq!(all[0].queries[0].return_data(), Some(false));
        assert_eq!(all[0].queries[2].return_data(), Some(true));
        let asked = all[0].queries[0].metric_stat().unwrap();
        assert_eq!((asked.period(), asked.stat()), (Some(60), Some("Sum")));
    }

    #[test]
    fn no_call_carries_more_than_the_limit_and_no_expression_is_torn_apart() {
        let queries: Vec<_> = std::iter::repeat_n(ratio(), 400).collect();
        let all = batches(&queries, 60).unwrap();
        let sizes: Vec<_> = all.iter().map(|batch| batch.queries.len()).collect();
        assert_eq!(sizes, [498, 498, 204]);
        let answered: Vec<_> = all.iter().flat_map(|b| &b.ids).map(|(place, _)| *place).collect();
        assert_eq!(answered, (0..400).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_incomplete_at_the_end_is_no_data() {
        let mut found = Found::default();
        found.add(&result("q0", "PartialData", &[(60, 1.0)]));
        found.add(&result("q1", "PartialData", &[(60, 1.0)]));
        found.add(&result("q2", "InternalError", &[(60, 1.0)]));
        found.add(&result("q3", "Complete", &[(60, f64::NAN)]));
        // The next page brings the rest of the first.
        found.add(&result("q0", "Complete", &[(120, 2.0)]));
        let complete = found.complete();
        assert_eq!(complete.keys().collect::<Vec<_>>(), ["q0", "q3"]);
        assert_eq!(complete["q0"].len(), 2);
        assert!(complete["q3"].is_empty(), "not a number is not a point");
    }
}
