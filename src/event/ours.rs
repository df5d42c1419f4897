//! Our own form, for pipelines, people and instruments: `{"leeward": 1, "id": "...", "at": "...", ...}` with
//! exactly one of `look`, `deploy`, `notice`, `approve`, `deny` and `reading`. Unknown fields are refused:
//! what is not understood in whole is not acted on in part.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Deploy, Event, Notice, Place, Reading, Unknown, What, digest, json, key};
use crate::domain::{BalancerName, RegionName, ServiceName, SignalName};
use crate::policy::Measures;

/// Keys of events in this form begin with it.
pub(super) const KEY: &str = "ours ";
/// The version of this form.
const VERSION: u32 = 1;
/// Regions of one deploy.
const REGIONS_MAX: usize = 64;
/// As for `leeward approve`: an approval is for what is seen now.
const APPROVAL_MAX: Duration = Duration::from_secs(24 * 3600);
const APPROVAL_USUAL: Duration = Duration::from_secs(3600);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    leeward: u32,
    /// Chosen by the sender: the same for every copy, another one for everything else.
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    service: Option<ServiceName>,
    #[serde(default)]
    look: Option<LookBody>,
    #[serde(default)]
    deploy: Option<DeployBody>,
    #[serde(default)]
    notice: Option<NoticeBody>,
    #[serde(default)]
    approve: Option<ApproveBody>,
    #[serde(default)]
    deny: Option<DenyBody>,
    #[serde(default)]
    reading: Option<ReadingBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LookBody {
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeployBody {
    version: String,
    regions: Vec<RegionName>,
    #[serde(default)]
    scope: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticeBody {
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveBody {
    reason: String,
    #[serde(default, rename = "for")]
    lasts: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DenyBody {
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadingBody {
    signal: SignalName,
    region: RegionName,
    #[serde(default)]
    balancer: Option<BalancerName>,
    measures: Measures,
    /// `null` says that the source could not tell; leaving it out is a mistake.
    value: Value,
    #[serde(default)]
    bad: Option<bool>,
}

pub(super) fn read(value: &Value, bytes: &[u8]) -> Result<Event, Unknown> {
    let body: Body = serde_json::from_value(value.clone())
        .map_err(|error| Unknown::new(format!("not in our form: {error}")))?;
    if body.leeward != VERSION {
        return Err(Unknown::new(format!("our form in version {}", body.leeward)));
    }
    let at = match body.at.as_deref() {
        Some(text) => {
            let odd = || Unknown::new(format!("`at`: `{}` is not a time", json::clip(text, 60)));
            Some(json::time_of(text).ok_or_else(odd)?)
        }
        None => None,
    };
    let id = match body.id.as_deref().map(str::trim) {
        Some("") => return Err(Unknown::new("`id` says nothing")),
        Some(id) => json::clip(id, 200),
        None => digest(bytes),
    };
    let what = what(body)?;
    // A no is no copy of the yes whose id it was given.
    let is_no = matches!(&what, What::Answer(answer) if answer.yes_for.is_none());
    let id = if is_no { format!("{id} no") } else { id };
    Ok(Event { key: key(&[KEY.trim_end(), &id]), at, topic: None, what })
}

fn what(body: Body) -> Result<What, Unknown> {
    let service = body.service;
    let mut all = Vec::new();
    if let Some(look) = body.look {
        all.push(What::Look { service: service.clone(), reason: said(&look.reason)? });
    }
    if let Some(deploy) = body.deploy {
        all.push(self::deploy(service.clone(), deploy)?);
    }
    if let Some(notice) = body.notice {
        let text = said(&notice.text)?;
        all.push(What::Notice(Notice { service: service.clone(), aws_region: None, text }));
    }
    if let Some(approve) = body.approve {
        let (reason, service) = (said(&approve.reason)?, service.clone());
        let yes_for = Some(lasting(approve.lasts.as_deref())?);
        all.push(What::Answer(Answer { service, yes_for, reason }));
    }
    if let Some(deny) = body.deny {
        let (reason, service) = (said(&deny.reason)?, service.clone());
        all.push(What::Answer(Answer { service, yes_for: None, reason }));
    }
    if let Some(reading) = body.reading {
        all.push(self::reading(service, reading)?);
    }
    match <[What; 1]>::try_from(all) {
        Ok([what]) => Ok(what),
        Err(all) => Err(Unknown::new(format!(
            "our form with {} of `look`, `deploy`, `notice`, `approve`, `deny` and `reading`, expected one",
            all.len()
        ))),
    }
}

fn said(text: &str) -> Result<String, Unknown> {
    let text = json::clip(text.trim(), 600);
    if text.is_empty() { Err(Unknown::new("a text that says nothing")) } else { Ok(text) }
}

fn deploy(service: Option<ServiceName>, body: DeployBody) -> Result<What, Unknown> {
    if body.regions.is_empty() || body.regions.len() > REGIONS_MAX {
        return Err(Unknown::new(format!("a deploy to {} regions", body.regions.len())));
    }
    Ok(What::Deploy(Deploy {
        service,
        place: Place::Ours(body.regions),
        version: said(&body.version)?,
        scope: body.scope.as_deref().map_or(Ok("everything".to_owned()), said)?,
    }))
}

fn lasting(text: Option<&str>) -> Result<Duration, Unknown> {
    let Some(text) = text else { return Ok(APPROVAL_USUAL) };
    let odd = || Unknown::new("an approval lasts from `1s` to `24h`");
    let span: jiff::Span = text.parse().map_err(|_| odd())?;
    let lasts = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| odd())?;
    let lasts = Duration::try_from(lasts).map_err(|_| odd())?;
    if lasts < Duration::from_secs(1) || lasts > APPROVAL_MAX { Err(odd()) } else { Ok(lasts) }
}

fn reading(service: Option<ServiceName>, body: ReadingBody) -> Result<What, Unknown> {
    let value = match &body.value {
        Value::Null => None,
        Value::Number(number) => number.as_f64(),
        Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            return Err(Unknown::new("`value` is neither a number nor null"));
        }
    };
    if let Some(value) = value {
        in_range(body.measures, value)?;
    }
    let verdict = body.measures == Measures::Verdict;
    let bad = match (verdict, body.bad) {
        (true, Some(bad)) => bad,
        (true, None) => return Err(Unknown::new("a verdict without `bad`")),
        (false, None) => false,
        (false, Some(_)) => return Err(Unknown::new("`bad` belongs to a verdict only")),
    };
    Ok(What::Reading(Reading {
        service,
        signal: body.signal,
        region: body.region,
        balancer: body.balancer,
        measures: body.measures,
        value,
        bad,
    }))
}

/// Numbers within what they measure: JSON has no NaN, but it has -7 and 1e300.
fn in_range(measures: Measures, value: f64) -> Result<(), Unknown> {
    let most = match measures {
        Measures::BalancerErrors | Measures::TargetErrors | Measures::HealthyHosts => 1.0,
        Measures::Requests | Measures::Capacity => 1e9,
        Measures::ReplicationLag => 1e7,
        Measures::Latency => 3_600_000.0,
        Measures::Verdict => return Ok(()),
    };
    if (0.0..=most).contains(&value) {
        Ok(())
    } else {
        Err(Unknown::new(format!("{value} is not from 0 to {most}")))
    }
}
