//! Counts per request, out of the data points of each.

use std::collections::BTreeMap;

use crate::domain::Timestamp;
use crate::policy::{QueryBody, Share};
use crate::ports::Point;

/// What is asked for, one query after the other: those of a share are asked for apart.
pub(super) fn asked(bodies: &[QueryBody]) -> Vec<QueryBody> {
    let parts = |body: &QueryBody| match body {
        QueryBody::Share(share) => {
            share.of.iter().chain(&share.but).chain(&share.among).cloned().collect()
        }
        QueryBody::Metric { .. } | QueryBody::Expression { .. } => vec![body.clone()],
    };
    bodies.iter().flat_map(parts).collect()
}

/// The answers to `bodies`, out of those to all that was [`asked`].
pub(super) fn joined(bodies: &[QueryBody], answers: Vec<Vec<Point>>) -> Vec<Vec<Point>> {
    let mut answers = answers.into_iter();
    let one = |body: &QueryBody| match body {
        QueryBody::Metric { .. } | QueryBody::Expression { .. } => {
            answers.next().unwrap_or_default()
        }
        QueryBody::Share(share) => {
            let mut sum = |queries: &[QueryBody]| -> BTreeMap<Timestamp, f64> {
                let mut sums = BTreeMap::new();
                for point in answers.by_ref().take(queries.len()).flatten() {
                    if point.value.is_finite() {
                        *sums.entry(point.at).or_default() += point.value;
                    }
                }
                sums
            };
            let (of, but, among) = (sum(&share.of), sum(&share.but), sum(&share.among));
            shares(share, &of, &but, &among)
        }
    };
    bodies.iter().map(one).collect()
}

/// A count without a data point is zero where requests have one. Without requests there is nothing to say, unless
/// the count speaks for itself.
fn shares(
    share: &Share,
    of: &BTreeMap<Timestamp, f64>,
    but: &BTreeMap<Timestamp, f64>,
    among: &BTreeMap<Timestamp, f64>,
) -> Vec<Point> {
    let mut times: Vec<Timestamp> = among.keys().copied().collect();
    if share.beside {
        times.extend(of.iter().filter(|(_, count)| **count > 0.0).map(|(at, _)| *at));
        times.sort_unstable();
        times.dedup();
    }
    let said =
        |counts: &BTreeMap<Timestamp, f64>, at: &Timestamp| counts.get(at).copied().unwrap_or(0.0);
    let value = |at: &Timestamp| {
        let counted = said(of, at);
        let all = said(among, at) + if share.beside { counted } else { 0.0 };
        let left = (counted - said(but, at)).max(0.0);
        (all > 0.0).then(|| Point { at: *at, value: (left / all).min(1.0) })
    };
    times.iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str) -> QueryBody {
        QueryBody::Expression { expression: name.to_owned(), inputs: BTreeMap::new() }
    }

    fn points(values: &[(i64, f64)]) -> Vec<Point> {
        values
            .iter()
            .map(|(at, value)| Point { at: Timestamp::from_secs(*at), value: *value })
            .collect()
    }

    fn share(beside: bool) -> QueryBody {
        let but = if beside { vec![count("connects")] } else { Vec::new() };
        QueryBody::Share(Share {
            of: vec![count("errors")],
            but,
            among: vec![count("requests")],
            beside,
        })
    }

    #[test]
    fn what_is_not_counted_is_zero_where_requests_speak_and_nothing_elsewhere() {
        let requests = points(&[(0, 100.0), (60, 100.0), (180, 0.0)]);
        for (errors, expected) in [
            (points(&[]), points(&[(0, 0.0), (60, 0.0)])),
            (points(&[(60, 25.0), (120, 7.0)]), points(&[(0, 0.0), (60, 0.25)])),
        ] {
            let found = joined(&[share(false)], vec![errors, requests.clone()]);
            assert_eq!(found, [expected]);
        }
        assert_eq!(joined(&[share(false)], vec![points(&[(0, 3.0)]), Vec::new()]), [Vec::new()]);
    }

    #[test]
    fn errors_beside_the_requests_speak_for_themselves_and_those_of_targets_are_taken_off() {
        let requests = points(&[(0, 75.0), (60, 90.0)]);
        let errors = points(&[(0, 25.0), (60, 10.0), (120, 8.0)]);
        let connects = points(&[(60, 4.0)]);
        let bodies = [count("a"), share(true), count("b")];
        assert_eq!(asked(&bodies).len(), 5);
        let (a, b) = (points(&[(0, 1.0)]), points(&[(0, 2.0)]));
        let answers = vec![a.clone(), errors, connects, requests, b.clone()];
        let expected = points(&[(0, 0.25), (60, 0.06), (120, 1.0)]);
        assert_eq!(joined(&bodies, answers), [a, expected, b]);
    }
}
