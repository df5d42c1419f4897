//! The way a plan takes: each step's plane, the AWS region it leans on, whose credentials, how long, and
//! what happens if it fails; and where the way runs through the region that is to be rescued. No IO.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::plan::Bounds;
use super::{paragraph, switches};
use crate::domain::{RegionName, span};
use crate::plan::{Batch, Move, Plan, Wanted};
use crate::policy::{Lever, LeverKind, Policy, Readback, WeightsLever};

/// The control plane of Route 53 is hosted in this region only (AWS Fault Isolation Boundaries,
/// Appendix B, "Edge network global service guidance").
pub const CONTROL_PLANE: &str = "us-east-1";
/// How long an ALB keeps a client's connection by default (API reference of Elastic Load Balancing,
/// `LoadBalancerAttribute`, `client_keep_alive.seconds`).
const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    /// Can be down for hours while answers go on: AWS asks not to need it in a rescue.
    Control,
    Data,
}

/// One step of a plan, as a person weighs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub what: String,
    pub plane: Plane,
    /// The AWS region that has to work for it; `None` if no single one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whose word it takes, and what it may do.
    pub credentials: String,
    pub calls: usize,
    pub change_tokens: usize,
    /// After the first failure, at worst.
    pub by: Duration,
    pub if_it_fails: String,
}

/// One addend of the time until users are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub what: &'static str,
    pub takes: Duration,
    /// Where the number comes from.
    pub source: &'static str,
    /// Counted into the bound; what is not comes on top for some clients.
    pub counted: bool,
}

/// How this process comes by its credentials, as its surroundings tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    pub profile: Option<String>,
    pub has_keys: bool,
    pub web_identity_role: Option<String>,
    pub from_container: bool,
    /// The AWS region in which this runs.
    pub here: Option<String>,
}

impl Credentials {
    /// In the order in which the SDK's standard chain looks (AWS SDKs and Tools Reference Guide,
    /// "Standardized credential providers").
    pub fn path(&self) -> String {
        let sts = self.here.as_deref().map_or_else(
            || "the STS endpoint of the configured region".to_owned(),
            |here| format!("STS in {here}"),
        );
        if self.has_keys {
            "keys in the environment, which need nobody".to_owned()
        } else if let Some(role) = &self.web_identity_role {
            format!("role {role} by web identity, which needs {sts} each time they are renewed")
        } else if let Some(profile) = &self.profile {
            format!("profile `{profile}` of the shared files (a role in it needs {sts})")
        } else if self.from_container {
            "the task's role, from the container agent on this host".to_owned()
        } else {
            "the default profile or the instance's role, from its metadata service".to_owned()
        }
    }
}

/// The steps of a plan by `weights`: send, see it in sync, see it answered.
pub fn steps(
    policy: &Policy,
    lever: &WeightsLever,
    plan: &Plan,
    bounds: &Bounds,
    credentials: &Credentials,
) -> Vec<Step> {
    let tokens: usize = plan.batches.iter().map(Batch::change_tokens).sum();
    let zones: std::collections::BTreeSet<_> = plan.batches.iter().map(|b| &b.zone).collect();
    let path = credentials.path();
    let sent = bounds.detected() + bounds.round_every + bounds.paced;
    let next = next_lever(policy, LeverKind::Weights);
    let (place, whose) = readback(&lever.readback);
    vec![
        Step {
            what: format!("{} atomic call(s) on {} zone(s)", plan.batches.len(), zones.len()),
            plane: Plane::Control,
            region: Some(CONTROL_PLANE.to_owned()),
            credentials: format!("{path}; route53:ChangeResourceRecordSets"),
            calls: plan.batches.len(),
            change_tokens: tokens,
            by: sent,
            if_it_fails: format!(
                "refused because the records are others: nothing happens, and it is decided anew; no \
                 answer: read first; otherwise {next}"
            ),
        },
        Step {
            what: "wait until in sync".to_owned(),
            plane: Plane::Control,
            region: Some(CONTROL_PLANE.to_owned()),
            credentials: format!("{path}; route53:GetChange"),
            calls: plan.batches.len(),
            change_tokens: 0,
            by: sent + bounds.in_sync_within,
            if_it_fails: format!(
                "after {} it is stuck: page, and no second order is stacked on it; {next}",
                span(bounds.in_sync_within)
            ),
        },
        Step {
            what: place.to_owned(),
            plane: Plane::Data,
            region: None,
            credentials: whose.to_owned(),
            calls: 0,
            change_tokens: 0,
            by: bounds.worst(),
            if_it_fails: "it is not called done; asked again each round".to_owned(),
        },
    ]
}

/// What is tried when the lever fails, in words.
pub(super) fn next_lever(policy: &Policy, kind: LeverKind) -> String {
    let mut rest = policy.levers.iter().map(Lever::kind).skip_while(|other| *other != kind);
    match rest.nth(1) {
        Some(next) => format!("lever `{}` is next", format!("{next:?}").to_lowercase()),
        None => "tried again at a growing pace, held and paged: there is no other lever".to_owned(),
    }
}

fn readback(readback: &Readback) -> (&'static str, &'static str) {
    match readback {
        Readback::NameServers => ("ask the zone's own name servers", "none: DNS"),
        Readback::Servers(_) => ("ask the configured name servers", "none: DNS"),
        Readback::None => ("not observed: `readback: none`", "none"),
    }
}

/// The addends of the bound, with their sources. `switches`: the move, if it is one by switches.
pub fn formula(bounds: &Bounds, switches: Option<&Move>) -> Vec<Part> {
    let part = |what, takes, source, counted| Part { what, takes, source, counted };
    let mut parts = vec![
        part("detection: probe every", bounds.probe_every, "policy, `signals`", true),
        part(
            "detection: mean falls",
            bounds.mean_falls,
            "policy, `judge`: window x (1 - success_below)",
            true,
        ),
        part("detection: sustain", bounds.sustain, "policy, `judge: sustain`", true),
        part("decision: one round", bounds.round_every, "a twelfth of the window, 1s to 5s", true),
    ];
    parts.extend(match switches {
        Some(moved) => switches::parts(moved, bounds),
        None => vec![
            part("lever: own pace", bounds.paced, "policy, `pace`", true),
            part(
                "lever: in sync, at most",
                bounds.in_sync_within,
                "policy, `in_sync_within`; AWS: typically 60s",
                true,
            ),
        ],
    });
    parts.extend([
        part(
            "time to live",
            bounds.ttl,
            "policy, `ttl`; `leeward doctor` compares the records",
            true,
        ),
        part(
            "stragglers",
            bounds.ttl,
            "inferred: resolvers that overstay by one time to live",
            false,
        ),
        part(
            "keep-alive",
            KEEP_ALIVE_DEFAULT,
            "AWS default of an ALB, `client_keep_alive.seconds`",
            false,
        ),
    ]);
    parts
}

/// Where the way runs through a region that the plan is to empty.
pub fn through_the_sick(
    policy: &Policy,
    plan: &Plan,
    credentials: &Credentials,
) -> Vec<(RegionName, String)> {
    let Wanted::Move(moved) = &plan.wanted else { return Vec::new() };
    let mut warnings = Vec::new();
    for (name, region) in &policy.regions {
        let loses = moved.to.share(name).get() < moved.from.share(name).get();
        let Some(code) = region.aws_region.as_deref().filter(|_| loses) else { continue };
        if moved.lever == LeverKind::Weights && code == CONTROL_PLANE {
            let what =
                format!("lever `weights` is pulled in {code}: the control plane of Route 53");
            warnings.push((name.clone(), what));
        }
        if moved.lever == LeverKind::Gates {
            for gate in switches::standing_in(policy, moved, code) {
                warnings.push((name.clone(), format!("the gate of `{gate}` stands in {code}")));
            }
        }
        let clusters = policy.arc_lever().filter(|_| moved.lever == LeverKind::Arc);
        if let Some(lever) = clusters.filter(|lever| lever.endpoints.contains_key(code)) {
            let what = format!(
                "one of {} endpoints of the cluster is in {code}: if it is asked first, its time-out is \
                 waited for before the next one is",
                lever.endpoints.len()
            );
            warnings.push((name.clone(), what));
        }
        if credentials.here.as_deref() == Some(code) {
            let what =
                format!("this controller runs in {code}, and its credentials are renewed there");
            warnings.push((name.clone(), what));
        }
    }
    warnings
}

/// The steps as text.
pub(super) fn show(page: &mut String, steps: &[Step], warnings: &[(RegionName, String)]) {
    let _ = writeln!(page);
    for (place, step) in steps.iter().enumerate() {
        let plane = match step.plane {
            Plane::Control => "control plane",
            Plane::Data => "data plane",
        };
        let region = step.region.as_deref().unwrap_or("no single region");
        let line = format!(
            "  {}  {:<34} {plane}, {region:<20} by +{}",
            place + 1,
            step.what,
            span(step.by)
        );
        let _ = writeln!(page, "{}", line.trim_end());
        if step.calls > 0 {
            let tokens = format!("{} call(s), {} change tokens", step.calls, step.change_tokens);
            paragraph(page, "     costs", &tokens);
        }
        paragraph(page, "     as", &step.credentials);
        paragraph(page, "     fails", &step.if_it_fails);
    }
    for (region, what) in warnings {
        let text = format!("the way runs through `{region}`, which is to be left: {what}");
        paragraph(page, "WARNING", &text);
    }
}

/// The formula as text.
pub(super) fn times(page: &mut String, parts: &[Part], bounds: &Bounds) {
    for (place, part) in parts.iter().filter(|part| part.counted).enumerate() {
        let label = if place == 0 { "time" } else { "" };
        let sign = if place == 0 { ' ' } else { '+' };
        let text = format!("{sign} {} {}   ({})", part.what, span(part.takes), part.source);
        paragraph(page, label, text.trim_start());
    }
    let text = format!(
        "{} after the first failure, {} at worst",
        span(bounds.typical()),
        span(bounds.worst())
    );
    paragraph(page, "in force", &text);
    let later: Vec<String> = parts
        .iter()
        .filter(|part| !part.counted)
        .map(|part| format!("{} {} ({})", part.what, span(part.takes), part.source))
        .collect();
    paragraph(page, "on top", &format!("for some clients: {}", later.join("; ")));
}
