//! One observation line as samples and events: the same that the live service takes in.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::hello::{BEACONS, Hello, METRICS, PROBES};
use crate::domain::{BalancerName, RegionName, SignalName, Timestamp, VantageName};
use crate::health::{About, AlarmState, Event, Happening, Measure, Sample};
use crate::policy::Class;

#[derive(Debug, Deserialize)]
struct Line {
    t: f64,
    regions: BTreeMap<RegionName, RegionLine>,
    #[serde(default)]
    vantages: BTreeMap<VantageName, VantageLine>,
    #[serde(default)]
    events: Vec<EventLine>,
}

#[derive(Debug, Deserialize)]
struct RegionLine {
    #[serde(default)]
    probes: BTreeMap<VantageName, BTreeMap<BalancerName, ProbeLine>>,
    metrics: Option<MetricsLine>,
}

#[derive(Debug, Deserialize)]
struct ProbeLine {
    ok: Option<f64>,
    ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct MetricsLine {
    stamp: f64,
    #[serde(default)]
    lbs: BTreeMap<BalancerName, BalancerLine>,
    requests_rps: Option<f64>,
    capacity_rps: Option<f64>,
    /// Absent and `null` are two things: no such instrument, and an instrument that does not know.
    #[serde(default, deserialize_with = "told")]
    replication_lag_s: Option<Option<f64>>,
}

fn told<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::<f64>::deserialize(from).map(Some)
}

#[derive(Debug, Deserialize)]
struct BalancerLine {
    healthy_hosts: Option<f64>,
    elb_5xx: Option<f64>,
    target_5xx: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct VantageLine {
    beacon_ok: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct EventLine {
    t: f64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

pub(super) fn intake(hello: &Hello, line: &Value) -> Result<(Vec<Sample>, Vec<Event>), String> {
    let line: Line = Line::deserialize(line).map_err(|error| error.to_string())?;
    let now = stamp(line.t);
    let mut taken = Intake { now, samples: Vec::new() };
    for (region, seen) in &line.regions {
        taken.probes(region, &seen.probes)?;
        taken.metrics(hello, region, seen.metrics.as_ref())?;
    }
    for (vantage, seen) in &line.vantages {
        if let Some(success) = seen.beacon_ok {
            let about = About { vantage: Some(vantage.clone()), ..About::default() };
            taken.push(BEACONS, Class::Context, about, Measure::Beacon { success }, now)?;
        }
    }
    let events = line.events.iter().filter_map(|event| happened(event, now)).collect();
    Ok((taken.samples, events))
}

struct Intake {
    now: Timestamp,
    samples: Vec<Sample>,
}

impl Intake {
    fn push(
        &mut self,
        signal: &str,
        class: Class,
        about: About,
        measure: Measure,
        taken_at: Timestamp,
    ) -> Result<(), String> {
        let signal: SignalName =
            signal.parse().map_err(|error: crate::domain::Malformed| error.to_string())?;
        self.samples.push(Sample { signal, class, about, measure, taken_at, heard_at: self.now });
        Ok(())
    }

    fn probes(
        &mut self,
        region: &RegionName,
        probes: &BTreeMap<VantageName, BTreeMap<BalancerName, ProbeLine>>,
    ) -> Result<(), String> {
        for (vantage, balancers) in probes {
            for (balancer, probe) in balancers {
                let about = About {
                    region: Some(region.clone()),
                    balancer: Some(balancer.clone()),
                    vantage: Some(vantage.clone()),
                };
                let measure = match probe.ok {
                    Some(success) => {
                        Measure::Probe { success, latency_ms: probe.ms, failure: None }
                    }
                    None => Measure::NoProbe { why: "no data point".to_owned() },
                };
                self.push(PROBES, Class::Outside, about, measure, self.now)?;
            }
        }
        Ok(())
    }

    fn metrics(
        &mut self,
        hello: &Hello,
        region: &RegionName,
        metrics: Option<&MetricsLine>,
    ) -> Result<(), String> {
        let whole = About { region: Some(region.clone()), ..About::default() };
        let Some(metrics) = metrics else {
            let why = "no metrics of this region".to_owned();
            return self.push(METRICS, Class::Traffic, whole, Measure::Silence { why }, self.now);
        };
        let taken = stamp(metrics.stamp);
        // A counter that is only published when it is not zero says zero by its silence, if there was
        // anything to count.
        let counted = |value: Option<f64>| {
            let silent_zero =
                hello.sparse_counts && metrics.requests_rps.is_some_and(|rps| rps >= 1.0);
            value.or(silent_zero.then_some(0.0))
        };
        for (balancer, seen) in &metrics.lbs {
            let about = About { balancer: Some(balancer.clone()), ..whole.clone() };
            let measures = [
                Measure::HealthyHosts(seen.healthy_hosts),
                Measure::BalancerErrors(counted(seen.elb_5xx)),
                Measure::TargetErrors(counted(seen.target_5xx)),
            ];
            for measure in measures {
                self.push(METRICS, Class::Traffic, about.clone(), measure, taken)?;
            }
        }
        let mut measures =
            vec![Measure::Requests(metrics.requests_rps), Measure::Capacity(metrics.capacity_rps)];
        measures.extend(metrics.replication_lag_s.map(Measure::ReplicationLag));
        for measure in measures {
            self.push(METRICS, Class::Traffic, whole.clone(), measure, taken)?;
        }
        Ok(())
    }
}

/// Events of kinds that are not known are left out: they may not be acted on.
fn happened(event: &EventLine, now: Timestamp) -> Option<Event> {
    let text =
        |key: &str| event.rest.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let what = match event.kind.as_str() {
        "deploy" => Happening::Deploy {
            regions: serde_json::from_value(event.rest.get("regions")?.clone()).ok()?,
            version: text("version"),
            scope: text("scope"),
        },
        "alarm" => Happening::Alarm {
            alarm: text("alarm"),
            region: text("region").parse().ok(),
            state: serde_json::from_value(event.rest.get("state")?.clone())
                .unwrap_or(AlarmState::InsufficientData),
        },
        "notice" => Happening::Notice { text: text("text") },
        "operator" => {
            let (by, reason) = ("operator".to_owned(), text("scope"));
            let until = event.rest.get("until").and_then(Value::as_f64).map(stamp);
            match text("do").as_str() {
                "freeze" => Happening::Freeze { by, reason, until },
                "unfreeze" => Happening::Unfreeze { by },
                "approve" => Happening::Approve { by, until: None },
                "deny" => Happening::Deny { by },
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Event { at: stamp(event.t), heard_at: now, what })
}

/// Seconds of a trace as a time. Bounded, so that no number can overflow.
pub(super) fn stamp(seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to far less than i64 holds")]
    Timestamp::from_millis((seconds.clamp(-1e12, 1e12) * 1000.0).round() as i64)
}
