//! Deploys as AWS tells of them (AWS `CodeDeploy` User Guide, "Monitoring deployments with Amazon SNS event
//! notifications"; AWS `CodePipeline` User Guide, "Monitoring `CodePipeline` events"; Amazon ECS Developer
//! Guide, "Amazon ECS deployment state change events").
//!
//! Begin, end and failure all count: half a roll-out and a roll-back change what runs as well.

use serde_json::Value;

use super::bridge::{event, nothing, region};
use super::json::{self, needed, text};
use super::{Deploy, Event, Place, Unknown, What, key};

fn mark(aws_region: String, version: String, scope: String) -> What {
    What::Deploy(Deploy { service: None, place: Place::Aws(aws_region), version, scope })
}

pub(super) fn codedeploy(value: &Value) -> Result<Event, Unknown> {
    let state = needed(value, &["detail", "state"])?;
    if state == "READY" {
        return nothing(value, "a deployment that is prepared");
    }
    if !matches!(state.as_str(), "START" | "SUCCESS" | "FAILURE" | "STOP") {
        return Err(Unknown::new(format!("`{state}` is not a state of a deployment")));
    }
    let place = text(value, &["detail", "region"]).or_else(|| region(value));
    let place = place.ok_or_else(|| Unknown::new("a deployment without a region"))?;
    let application = needed(value, &["detail", "application"])?;
    let version = needed(value, &["detail", "deploymentId"])?;
    event(value, mark(place, version, format!("{application} {}", state.to_lowercase())))
}

/// What a trigger of `CodeDeploy` itself sends to SNS.
pub(super) fn codedeploy_trigger(value: &Value) -> Result<Event, Unknown> {
    let version = needed(value, &["deploymentId"])?;
    let state = needed(value, &["status"])?;
    let place = needed(value, &["region"])?;
    let application = needed(value, &["applicationName"])?;
    let key = key(&["codedeploy", &place, &version, &state]);
    let at = text(value, &["completeTime"]).or_else(|| text(value, &["createTime"]));
    let what = match state.as_str() {
        "READY" => What::Nothing { why: "a deployment that is prepared".to_owned() },
        "CREATED" | "QUEUED" | "IN_PROGRESS" | "SUCCEEDED" | "FAILED" | "STOPPED" => {
            mark(place, version, format!("{application} {}", state.to_lowercase()))
        }
        _ => return Err(Unknown::new(format!("`{state}` is not a state of a deployment"))),
    };
    Ok(Event { key, at: at.and_then(|text| time_in_words(&text)), topic: None, what })
}

/// `Fri Feb 26 04:46:13 UTC 2016`, or what every other writer writes.
fn time_in_words(text: &str) -> Option<crate::domain::Timestamp> {
    json::time_of(text).or_else(|| {
        let time = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S UTC %Y", text).ok()?;
        json::time_of(&time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().to_string())
    })
}

/// Only actions that deploy, at the region that they name.
pub(super) fn codepipeline_action(value: &Value) -> Result<Event, Unknown> {
    if needed(value, &["detail", "type", "category"])? != "Deploy" {
        return nothing(value, "an action of a pipeline that deploys nothing");
    }
    let state = needed(value, &["detail", "state"])?;
    let place = text(value, &["detail", "region"]).or_else(|| region(value));
    let place = place.ok_or_else(|| Unknown::new("a deploy action without a region"))?;
    let pipeline = needed(value, &["detail", "pipeline"])?;
    let action = needed(value, &["detail", "action"])?;
    let version = needed(value, &["detail", "execution-id"])?;
    let scope = format!("{pipeline} {action} {}", state.to_lowercase());
    event(value, mark(place, version, json::clip(&scope, 300)))
}

pub(super) fn ecs(value: &Value) -> Result<Event, Unknown> {
    let name = needed(value, &["detail", "eventName"])?;
    let state = match name.as_str() {
        "SERVICE_DEPLOYMENT_IN_PROGRESS" => "in progress",
        "SERVICE_DEPLOYMENT_COMPLETED" => "completed",
        "SERVICE_DEPLOYMENT_FAILED" => "failed",
        _ => return Err(Unknown::new(format!("`{name}` is not a state of a deployment"))),
    };
    let place = region(value).ok_or_else(|| Unknown::new("a deployment without a region"))?;
    let version = needed(value, &["detail", "deploymentId"])?;
    let resource = value.get("resources").and_then(|list| list.get(0)).and_then(Value::as_str);
    let service = resource.and_then(|arn| arn.rsplit('/').next()).unwrap_or("a service");
    event(value, mark(place, version, json::clip(&format!("{service} {state}"), 300)))
}
