//! Events of EventBridge: one envelope, many kinds (Amazon EventBridge User Guide, "Events from AWS
//! services"; AWS Health User Guide, "Monitoring events with Amazon EventBridge"; Amazon EC2 Auto Scaling
//! User Guide, "Event reference").

use serde_json::Value;

use super::json::{self, needed, text};
use super::{Event, Notice, Unknown, What, alarm, deploy, key};

pub(super) fn read(value: &Value) -> Result<Event, Unknown> {
    let source = needed(value, &["source"])?;
    let kind = needed(value, &["detail-type"])?;
    if !value.get("detail").is_some_and(Value::is_object) {
        return Err(Unknown::new(format!("an event `{kind}` without `detail`")));
    }
    match (source.as_str(), kind.as_str()) {
        ("aws.cloudwatch", "CloudWatch Alarm State Change") => alarm::from_bridge(value),
        ("aws.cloudwatch", "CloudWatch Alarm Configuration Change") => {
            nothing(value, "an alarm was configured")
        }
        ("aws.health", "AWS Health Event") => health(value),
        ("aws.health", _) => {
            nothing(value, "a notice of AWS Health that is not about its services")
        }
        ("aws.codedeploy", "CodeDeploy Deployment State-change Notification") => {
            deploy::codedeploy(value)
        }
        ("aws.codepipeline", "CodePipeline Action Execution State Change") => {
            deploy::codepipeline_action(value)
        }
        ("aws.codepipeline", "CodePipeline Pipeline Execution State Change") => {
            nothing(value, "a pipeline does not say where it deploys, its actions do")
        }
        ("aws.codepipeline", "CodePipeline Stage Execution State Change") => {
            nothing(value, "a stage does not say where it deploys, its actions do")
        }
        ("aws.ecs", "ECS Deployment State Change") => deploy::ecs(value),
        ("aws.codedeploy", "CodeDeploy Instance State-change Notification") => {
            nothing(value, "one instance of a deployment")
        }
        ("aws.autoscaling" | "aws.ec2" | "aws.ecs", _) => changed(value, &kind),
        (_, "AWS API Call via CloudTrail") => api_call(value),
        (_, _) => Err(Unknown::new(format!("an event `{kind}` of `{source}`"))),
    }
}

/// When it happened and what tells it from others: the id stays the same when it is delivered again.
pub(super) fn event(value: &Value, what: What) -> Result<Event, Unknown> {
    let id = needed(value, &["id"])?;
    let at = json::time(value, &["time"]);
    Ok(Event { key: key(&["event", &id]), at, topic: None, what })
}

pub(super) fn nothing(value: &Value, why: &str) -> Result<Event, Unknown> {
    event(value, What::Nothing { why: why.to_owned() })
}

/// Only trouble is a notice: planned changes and letters about the account say nothing about now.
fn health(value: &Value) -> Result<Event, Unknown> {
    let category = needed(value, &["detail", "eventTypeCategory"])?;
    let status = text(value, &["detail", "statusCode"]).unwrap_or_else(|| "open".to_owned());
    if category != "issue" && category != "investigation" {
        return nothing(value, "a notice of AWS Health about no trouble");
    }
    let code = needed(value, &["detail", "eventTypeCode"])?;
    let about = text(value, &["detail", "service"]).unwrap_or_else(|| "a service".to_owned());
    let region = text(value, &["detail", "eventRegion"])
        .or_else(|| text(value, &["region"]))
        .filter(|region| json::is_region(region));
    let description = value["detail"]["eventDescription"]
        .get(0)
        .and_then(|first| text(first, &["latestDescription"]))
        .unwrap_or_default();
    let place = region.as_deref().unwrap_or("no region in particular");
    let words = format!("AWS Health, {status}: {about} in {place}: {code} {description}");
    let notice = Notice { service: None, aws_region: region, text: json::clip(words.trim(), 600) };
    // The same trouble is told again with each update; each is a notice of its own.
    event(value, What::Notice(notice))
}

fn changed(value: &Value, kind: &str) -> Result<Event, Unknown> {
    let about = text(value, &["detail", "AutoScalingGroupName"])
        .or_else(|| text(value, &["detail", "instance-id"]))
        .or_else(|| text(value, &["detail", "group"]))
        .or_else(|| text(value, &["detail", "eventName"]));
    let state = text(value, &["detail", "state"]);
    let words = [Some(kind.to_owned()), about, state].into_iter().flatten().collect::<Vec<_>>();
    event(value, What::Changed { aws_region: region(value), text: words.join(": ") })
}

/// Calls that change what is behind a balancer. Reading calls never come as events.
fn api_call(value: &Value) -> Result<Event, Unknown> {
    let source = needed(value, &["detail", "eventSource"])?;
    let call = needed(value, &["detail", "eventName"])?;
    match source.as_str() {
        "elasticloadbalancing.amazonaws.com" | "route53.amazonaws.com" => {
            event(value, What::Changed { aws_region: region(value), text: call })
        }
        _ => Err(Unknown::new(format!("a call `{call}` of `{source}`"))),
    }
}

pub(super) fn region(value: &Value) -> Option<String> {
    text(value, &["region"]).filter(|region| json::is_region(region))
}

/// A notification that a group sends to SNS by itself (Amazon EC2 Auto Scaling User Guide, "Amazon SNS
/// notification options").
pub(super) fn scaling_notification(value: &Value) -> Result<Event, Unknown> {
    let kind = needed(value, &["Event"])?;
    let id = needed(value, &["RequestId"])?;
    let what = if kind == "autoscaling:TEST_NOTIFICATION" {
        What::Nothing { why: "a test of Auto Scaling".to_owned() }
    } else {
        let group = needed(value, &["AutoScalingGroupName"])?;
        let arn = text(value, &["AutoScalingGroupARN"]);
        let aws_region = arn.as_deref().and_then(json::arn).map(|arn| arn.aws_region.to_owned());
        What::Changed { aws_region, text: format!("{kind}: {group}") }
    };
    let at = json::time(value, &["Time"]);
    let instance = text(value, &["EC2InstanceId"]).unwrap_or_default();
    Ok(Event { key: key(&["scaling", &id, &instance]), at, topic: None, what })
}
