//! What an event means to the service of one policy: look now, keep in mind, or nothing. No IO, no clock.

use std::time::Duration;

use super::{Alarm, Answer, Deploy, Event, Notice, Place, Reading, What};
use crate::domain::{RegionName, Timestamp};
use crate::health::{About, Happening, Measure, Sample};
use crate::policy::{Measures, Policy, Source};

/// A deploy that is told of later than this is history.
const DEPLOY_LATE: Duration = Duration::from_secs(24 * 3600);
/// A source whose clock runs ahead by more is not believed.
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// What follows from an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// Look now. What happened is kept in mind, as context.
    Look { happening: Option<Happening> },
    /// A reading for the windows. No look: it is one of many.
    Sample(Box<Sample>),
    /// A human's word.
    Answer(Answer),
    /// Nothing follows.
    Nothing,
}

/// An event with what it means and why, in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub meaning: Meaning,
    /// One line for journals and people.
    pub text: String,
}

impl Judged {
    fn look(happening: Happening, text: String) -> Self {
        Self { meaning: Meaning::Look { happening: Some(happening) }, text }
    }

    fn nothing(text: impl Into<String>) -> Self {
        Self { meaning: Meaning::Nothing, text: text.into() }
    }
}

/// What `event` means to the service of `policy` at `now`.
pub fn judge(policy: &Policy, event: &Event, now: Timestamp) -> Judged {
    if event.what.service().is_some_and(|service| *service != policy.service) {
        return Judged::nothing("meant for another service");
    }
    let at = event.at.unwrap_or(now);
    if at > now.plus(AHEAD_MAX) {
        return Judged::nothing(format!("stamped {at}, which is still to come"));
    }
    let late = now.since(at) > policy.triggers.late_after;
    match &event.what {
        What::Alarm(alarm) => self::alarm(policy, alarm, late),
        What::Deploy(deploy) if now.since(at) > DEPLOY_LATE => {
            Judged::nothing(format!("deploy of {} came too late", deploy.version))
        }
        What::Deploy(deploy) => self::deploy(policy, deploy),
        What::Notice(Notice { aws_region, text, .. }) => {
            let ours = |code: &String| !regions_at(policy, code).is_empty();
            if !aws_region.as_ref().is_none_or(ours) {
                return Judged::nothing("a notice about a region that is not ours");
            }
            if late {
                return Judged::nothing("a notice that came too late");
            }
            Judged::look(Happening::Notice { text: text.clone() }, text.clone())
        }
        What::Changed { text, .. } if late => Judged::nothing(format!("{text}, too late")),
        What::Changed { text, .. } => {
            Judged { meaning: Meaning::Look { happening: None }, text: text.clone() }
        }
        What::Look { reason, .. } if late => Judged::nothing(format!("{reason}, too late")),
        What::Look { reason, .. } => {
            Judged { meaning: Meaning::Look { happening: None }, text: reason.clone() }
        }
        What::Answer(_) if late => Judged::nothing("an answer that came too late"),
        What::Answer(answer) => {
            let word = if answer.yes_for.is_some() { "yes" } else { "no" };
            let text = format!("{word}: {}", answer.reason);
            Judged { meaning: Meaning::Answer(answer.clone()), text }
        }
        What::Reading(reading) => self::reading(policy, reading, at, now),
        What::Handshake(_) => Judged::nothing("a handshake"),
        What::Nothing { why } => Judged::nothing(why.clone()),
    }
}

/// All states ask for a look alike: `OK` may be a recovery, and an alarm without data says nothing that
/// the signals would not say themselves. For the same reason their order does not matter.
fn alarm(policy: &Policy, alarm: &Alarm, late: bool) -> Judged {
    let state = super::alarm::state_word(alarm.state);
    let suppressed = if alarm.suppressed { ", suppressed" } else { "" };
    let text = format!("alarm `{}` is {state}{suppressed}", alarm.name);
    if late {
        return Judged::nothing(format!("{text}, told too late"));
    }
    let at = alarm.aws_region.as_ref().map(|code| regions_at(policy, code)).unwrap_or_default();
    let region = at.first().cloned();
    Judged::look(Happening::Alarm { alarm: alarm.name.clone(), region, state: alarm.state }, text)
}

fn deploy(policy: &Policy, deploy: &Deploy) -> Judged {
    let regions = match &deploy.place {
        Place::Aws(code) => regions_at(policy, code),
        Place::Ours(named) => {
            named.iter().filter(|name| policy.regions.contains_key(*name)).cloned().collect()
        }
    };
    if regions.is_empty() {
        return Judged::nothing(format!("deploy of {} to no region of ours", deploy.version));
    }
    let names: Vec<&str> = regions.iter().map(RegionName::as_str).collect();
    let text = format!("deploy of {} ({}) to {}", deploy.version, deploy.scope, names.join(", "));
    let (version, scope) = (deploy.version.clone(), deploy.scope.clone());
    Judged::look(Happening::Deploy { regions, version, scope }, text)
}

fn regions_at(policy: &Policy, code: &str) -> Vec<RegionName> {
    let there =
        policy.regions.iter().filter(|(_, region)| region.aws_region.as_deref() == Some(code));
    there.map(|(name, _)| name.clone()).collect()
}

/// Only what the policy expects to be pushed, and only while it is fresh.
fn reading(policy: &Policy, reading: &Reading, at: Timestamp, now: Timestamp) -> Judged {
    let Some(signal) = policy.signals.get(&reading.signal) else {
        return Judged::nothing(format!("`{}` is no signal of the policy", reading.signal));
    };
    if signal.source != Source::Pushed {
        return Judged::nothing(format!("`{}` is not a pushed signal", reading.signal));
    }
    let Some(region) = policy.regions.get(&reading.region) else {
        return Judged::nothing(format!("`{}` is no region of the policy", reading.region));
    };
    let known = |name| region.balancers.iter().any(|balancer| &balancer.name == name);
    if !reading.balancer.as_ref().is_none_or(known) {
        return Judged::nothing("a reading of a balancer that is not ours");
    }
    if now.since(at) > signal.fresh_for {
        return Judged::nothing("a reading that is too old");
    }
    let value = reading.value;
    let measure = match reading.measures {
        Measures::BalancerErrors => Measure::BalancerErrors(value),
        Measures::TargetErrors => Measure::TargetErrors(value),
        Measures::Requests => Measure::Requests(value),
        Measures::Capacity => Measure::Capacity(value),
        Measures::ReplicationLag => Measure::ReplicationLag(value),
        Measures::HealthyHosts => Measure::HealthyHosts(value),
        Measures::Latency => Measure::Latency(value),
        Measures::Verdict => Measure::Verdict { value, bad: reading.bad },
    };
    let sample = Sample {
        signal: reading.signal.clone(),
        class: signal.class,
        about: About {
            region: Some(reading.region.clone()),
            balancer: reading.balancer.clone(),
            vantage: None,
        },
        measure,
        taken_at: at.min(now),
        heard_at: now,
    };
    let text = format!("reading of `{}`", reading.signal);
    Judged { meaning: Meaning::Sample(Box::new(sample)), text }
}
