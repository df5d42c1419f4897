//! The plan as a person reviews it: why, what exactly, what it leans on, how long, what undoing costs.
//! No IO.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::card::{mode, title, wish};
use super::drift::{self, Drift};
use super::path::{self, Part, Step};
use super::switches::Distribution;
use super::{GOOD, STRONG, UNKNOWN, paint, paragraph, plain, switches, zones};
use crate::decide::{Decision, Diagnosis, Hold};
use crate::domain::{RegionName, ServiceName, Timestamp, Turn, span};
use crate::health::Answers;
use crate::plan::{Batch, Move, Plan, RecordData, RecordSet, Swap, Wanted};
use crate::policy::{LeverKind, Mode, Policy, Source, WeightsLever};

/// How long Route 53 usually takes until an accepted change is on all its name servers ("typically within
/// 60 seconds", Developer Guide, "How Amazon Route 53 uses..."; `GetChange` tells the real time).
const IN_SYNC_TYPICAL: Duration = Duration::from_secs(60);

/// What a dry run found.
#[derive(Debug, Serialize)]
pub struct Rehearsal<'a> {
    pub service: &'a ServiceName,
    pub mode: Mode,
    pub at: Timestamp,
    /// As given on the command line: `eu-west-1=down`.
    pub assumed: Vec<String>,
    /// How long live signals were watched.
    pub watched_seconds: u64,
    pub decision: &'a Decision,
    pub answers: &'a Answers,
    /// Why the records could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<&'a Plan>,
    /// Why what is wanted cannot be turned into calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unplannable: Option<String>,
    /// Of the plan without the time it was made: the same records and the same move give the same sum. Where
    /// nothing is to be moved, of what would be mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What the bounds are made of, and where each number comes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub formula: Vec<Part>,
    /// Where the way of the rescue runs through a region that it is to empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub through_the_sick: Vec<(RegionName, String)>,
    /// Regions whose failure takes the lever with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lever_depends_on: Vec<RegionName>,
    /// What is answered by the rules of Route 53, where switches decide it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_switches: Option<Distribution>,
    /// Switches of which it is not known how they stand; they are taken for what the journal says, or open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub switches_unread: Vec<String>,
    /// Balancers of which the policy declares something.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// Always false: a dry run has no client that could change anything.
    pub changed: bool,
}

/// How long it takes until users are served, in parts that add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    pub probe_every: Duration,
    /// Until the mean over the window falls under the limit when everything fails.
    pub mean_falls: Duration,
    pub sustain: Duration,
    pub round_every: Duration,
    /// Waiting for our own token buckets; of switches, the calls themselves.
    pub paced: Duration,
    /// Of gates, until the health checks have followed.
    pub in_sync_typical: Duration,
    /// Of switches, `in_force_within`.
    pub in_sync_within: Duration,
    pub ttl: Duration,
}

impl Bounds {
    /// Of a move by switches.
    pub fn of_switches(policy: &Policy, moved: &Move, turns: &[Turn]) -> Option<Self> {
        let proof = policy.proof(moved.lever)?;
        let (paced, in_sync_typical) = switches::times(policy, moved, turns);
        let (in_sync_within, ttl) = (proof.in_force_within, proof.ttl);
        Some(Self { paced, in_sync_typical, in_sync_within, ttl, ..Self::judging(policy) })
    }

    /// Detection and decision, and no lever.
    fn judging(policy: &Policy) -> Self {
        let probe_every = policy.signals.values().filter_map(|signal| match &signal.source {
            Source::Probe(probe) => Some(probe.every),
            Source::TargetHealth { every } | Source::Beacon { every, .. } => Some(*every),
            Source::Metric(metric) => Some(metric.every),
            Source::Pushed => None,
        });
        Self {
            probe_every: probe_every.max().unwrap_or_default(),
            mean_falls: policy.judge.window.mul_f64(1.0 - policy.judge.success_below.get()),
            sustain: policy.judge.sustain,
            round_every: policy.round_every(),
            paced: Duration::ZERO,
            in_sync_typical: Duration::ZERO,
            in_sync_within: Duration::ZERO,
            ttl: Duration::ZERO,
        }
    }

    pub fn of(policy: &Policy, lever: &WeightsLever, plan: &Plan) -> Self {
        let tokens: usize = plan.batches.iter().map(Batch::change_tokens).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let over = |needed: usize, burst: f64, rate: f64| {
            let missing = (needed as f64 - burst).max(0.0);
            if missing > 0.0 {
                Duration::try_from_secs_f64(missing / rate).unwrap_or(Duration::MAX)
            } else {
                Duration::ZERO
            }
        };
        let pace = lever.pace;
        Self {
            paced: over(plan.batches.len(), pace.requests_burst, pace.requests_per_second)
                .max(over(tokens, pace.changes_burst, pace.changes_per_second)),
            in_sync_typical: IN_SYNC_TYPICAL,
            in_sync_within: lever.in_sync_within,
            ttl: lever.ttl,
            ..Self::judging(policy)
        }
    }

    pub fn detected(&self) -> Duration {
        self.probe_every + self.mean_falls + self.sustain
    }

    pub fn typical(&self) -> Duration {
        self.detected() + self.round_every + self.paced + self.in_sync_typical + self.ttl
    }

    pub fn worst(&self) -> Duration {
        self.detected() + self.round_every + self.paced + self.in_sync_within + self.ttl
    }
}

/// SHA-256 over the plan as JSON, without the times it was made: the same move on the same records
/// gives the same sum. The first 16 hexadecimal digits.
pub fn checksum(plan: &Plan, lever: Option<&WeightsLever>) -> String {
    let mut timeless = Plan { made_at: Timestamp::default(), ..plan.clone() };
    // The epoch TXT says when it was made; what it replaces is part of the sum, what it becomes is not.
    let epoch_record = lever.map(|lever| &lever.epoch_record);
    let swaps = timeless.batches.iter_mut().flat_map(|batch| &mut batch.swaps);
    for swap in swaps {
        let is_epoch = epoch_record.is_some_and(|record| {
            swap.after.zone == record.zone
                && swap.after.name == record.name
                && swap.after.kind == "TXT"
        });
        if is_epoch {
            swap.after.data = RecordData::Values(Vec::new());
        }
    }
    let text = serde_json::to_vec(&timeless).unwrap_or_default();
    Sha256::digest(text).iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What differs between a plan that was reviewed and the same move worked out anew, in sentences.
pub fn differences(reviewed: &Plan, found: &Plan, lever: Option<&WeightsLever>) -> Vec<String> {
    let mut lines = Vec::new();
    if reviewed.epoch != found.epoch {
        lines.push(format!(
            "epoch {} would be {}: something was moved since",
            reviewed.epoch, found.epoch
        ));
    }
    if reviewed.wanted != found.wanted {
        lines.push(format!("the move is {}, not {}", wish(&found.wanted), wish(&reviewed.wanted)));
    }
    let epoch_record = lever.map(|lever| &lever.epoch_record);
    let sets = |plan: &Plan| -> BTreeMap<_, _> {
        let swaps = plan.batches.iter().flat_map(|batch| &batch.swaps);
        let ours = |swap: &&Swap| {
            epoch_record
                .is_none_or(|record| swap.after.name != record.name || swap.after.kind != "TXT")
        };
        swaps
            .filter(ours)
            .map(|swap| {
                let set = &swap.after;
                let id = set.set_identifier.clone().unwrap_or_default();
                ((set.zone.clone(), set.name.clone(), set.kind.clone(), id), swap.clone())
            })
            .collect()
    };
    let (before, after) = (sets(reviewed), sets(found));
    for (key, swap) in &before {
        let was = swap.before.as_ref().map_or("nothing".to_owned(), record);
        match after.get(key) {
            None => lines.push(format!("no change any more of {was}")),
            Some(now) if now != swap => {
                let is = now.before.as_ref().map_or("nothing".to_owned(), record);
                lines.push(format!("reviewed: {was}; found: {is}"));
            }
            Some(_) => {}
        }
    }
    for (_, swap) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        lines.push(format!("not reviewed: {}", record(&swap.after)));
    }
    if lines.is_empty() {
        lines.push("the calls are cut differently, or the epoch record is another".to_owned());
    }
    lines
}

/// The regions that share an AWS region with what the lever needs: if that one fails, so may the lever.
/// Route 53 takes changes in us-east-1 only, a gate stands where its object is, and routing controls turn as
/// long as any endpoint of their cluster answers. `switches`: the move, if it is one by switches.
pub fn lever_depends_on(policy: &Policy, switches: Option<&Move>) -> Vec<RegionName> {
    let needs = |code: &str| match switches {
        None => code == path::CONTROL_PLANE,
        Some(moved) if moved.lever == LeverKind::Gates => {
            !switches::standing_in(policy, moved, code).is_empty()
        }
        Some(_) => false,
    };
    let shared =
        policy.regions.iter().filter(|(_, region)| region.aws_region.as_deref().is_some_and(needs));
    shared.map(|(name, _)| name.clone()).collect()
}

/// The holds that would stand in the way of a real run, without the mode: a dry run is there to look past it.
pub fn standing_holds(decision: &Decision) -> impl Iterator<Item = &Hold> {
    decision.holds.iter().filter(|hold| !matches!(hold, Hold::ModeObserves { .. }))
}

/// The whole page.
pub fn page(rehearsal: &Rehearsal<'_>, policy: &Policy) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "{}", headline(rehearsal));
    evidence(&mut page, rehearsal);
    answers(&mut page, rehearsal, policy);
    let turned = rehearsal.plan.and_then(switches::of);
    if let (Some(plan), Some(_), Some(bounds)) = (rehearsal.plan, turned, &rehearsal.bounds) {
        path::show(&mut page, &rehearsal.steps, &rehearsal.through_the_sick);
        path::times(&mut page, &rehearsal.formula, bounds);
        let text =
            format!("the same turns backwards as epoch {}, in the same time", plan.epoch.next());
        paragraph(&mut page, "undo", &text);
    }
    match (rehearsal.plan.filter(|_| turned.is_none()), policy.weights_lever()) {
        (Some(plan), Some(lever)) => {
            path::show(&mut page, &rehearsal.steps, &rehearsal.through_the_sick);
            batches(&mut page, plan);
            cost(&mut page, plan, lever);
            if let Some(bounds) = &rehearsal.bounds {
                path::times(&mut page, &rehearsal.formula, bounds);
            }
            undo(&mut page, plan);
        }
        (Some(plan), None) => paragraph(&mut page, "step", &wish(&plan.wanted)),
        (None, _) => {}
    }
    if let Some(why) = &rehearsal.unplannable {
        paragraph(&mut page, "refused", why);
    }
    if let Some((label, text)) = zones::wish(rehearsal.decision) {
        paragraph(&mut page, label, &text);
    }
    drift::show(&mut page, &rehearsal.drift, rehearsal.plan.is_some());
    for hold in &rehearsal.decision.holds {
        paragraph(&mut page, "holds", &format!("{hold}; flips when {}", hold.flips_when()));
    }
    paragraph(&mut page, "changed", "nothing was changed: a dry run has no client that could");
    page
}

fn headline(rehearsal: &Rehearsal<'_>) -> String {
    let decision = rehearsal.decision;
    let held = standing_holds(decision).next().is_some();
    let (word, style) = match (decision.wanted.as_ref().or(decision.proposed.as_ref()), held) {
        (Some(_), false) => ("PLAN", STRONG),
        (None, false) if decision.zone.is_some() => ("PLAN", STRONG),
        (Some(_), true) => ("HELD", UNKNOWN),
        (None, _) if rehearsal.unread.is_some() => ("CANNOT SAY", UNKNOWN),
        (None, true) => ("HOLDS", UNKNOWN),
        (None, false) if rehearsal.drift.iter().any(Drift::is_drift) => ("DRIFT", UNKNOWN),
        (None, false) => ("NOTHING TO DO", GOOD),
    };
    let mut line = format!("{} {}", paint(style, word), paint(STRONG, rehearsal.service.as_str()));
    if let Some(Wanted::Move(wanted)) = decision.wanted.as_ref().or(decision.proposed.as_ref()) {
        let _ = write!(line, ": {} -> {}", wanted.from, wanted.to);
    }
    let _ = write!(line, "   mode {}", mode(rehearsal.mode));
    if let Some(plan) = rehearsal.plan {
        let _ = write!(line, "   epoch {}", plan.epoch);
    }
    if let Some(sum) = &rehearsal.checksum {
        let _ = write!(line, "   checksum {sum}");
    }
    line
}

fn evidence(page: &mut String, rehearsal: &Rehearsal<'_>) {
    if !rehearsal.assumed.is_empty() {
        let text =
            format!("{}: its evidence is made up, all else is live", rehearsal.assumed.join(", "));
        paragraph(page, "assumes", &text);
    }
    if rehearsal.watched_seconds > 0 {
        let text =
            format!("live signals for {}", span(Duration::from_secs(rehearsal.watched_seconds)));
        paragraph(page, "watched", &text);
    }
    for finding in &rehearsal.decision.findings {
        let says = finding.evidence.join("; ");
        let label = if finding.diagnosis == Diagnosis::Well { "sees" } else { "because" };
        let text =
            if says.is_empty() { title(finding) } else { format!("{}: {says}", title(finding)) };
        paragraph(page, label, &text);
        for other in &finding.ruled_out {
            paragraph(page, "ruled out", other);
        }
    }
}

fn answers(page: &mut String, rehearsal: &Rehearsal<'_>, policy: &Policy) {
    let now = match (rehearsal.answers, &rehearsal.unread) {
        (Answers::Split { split, .. }, _) => {
            let shares = policy.regions.keys().map(|name| format!("{name} {}", split.share(name)));
            shares.collect::<Vec<_>>().join(", ")
        }
        (Answers::Drift { what }, _) => format!("the records are not as ordered: {what}"),
        (Answers::Unknown, Some(why)) => format!("unknown: {why}"),
        (Answers::Unknown, None) => "unknown: this policy has no lever that reads them".to_owned(),
    };
    paragraph(page, "answers", &format!("now {now}"));
    if let Some(shares) = &rehearsal.by_switches {
        let now = Distribution::words(&shares.before);
        let by = match shares.checks_unread {
            None => "by records and health checks as they were read",
            Some(_) => "by the policy's idea of the health checks",
        };
        let text = format!("now {now}, by the switches as they are known to stand, and {by}");
        paragraph(page, "", &text);
        let text = rehearsal.bounds.map_or(String::new(), |bounds| {
            let (first, last) = (bounds.typical(), bounds.worst());
            format!(", in force {} after the first failure, {} at worst", span(first), span(last))
        });
        let text = match &shares.after_if {
            Some(votes) => format!(", if {votes}; from the last of these votes{text}"),
            None => text,
        };
        paragraph(page, "", &format!("after {}{text}", Distribution::words(&shares.after)));
        for unread in &rehearsal.switches_unread {
            paragraph(page, "", unread);
        }
        if let Some(why) = &shares.checks_unread {
            let text = format!("which records hang on which health checks is not known: {why}");
            paragraph(page, "", &text);
        }
        for warning in &shares.warnings {
            paragraph(page, "WARNING", warning);
        }
    } else if let Some(plan) = rehearsal.plan {
        let sum: u32 = plan.result.values().map(|weight| u32::from(weight.0)).sum();
        let share =
            |weight: u8| crate::domain::Ratio::new(f64::from(weight) / f64::from(sum.max(1)));
        let after: Vec<String> = plan
            .result
            .iter()
            .map(|(name, weight)| format!("{name} {}", share(weight.0)))
            .collect();
        paragraph(page, "", &format!("after {}", after.join(", ")));
    }
}

fn batches(page: &mut String, plan: &Plan) {
    for (place, batch) in plan.batches.iter().enumerate() {
        let _ = writeln!(
            page,
            "\n batch {} of {}   zone {}   {} change tokens   {}",
            place + 1,
            plan.batches.len(),
            batch.zone,
            batch.change_tokens(),
            plain(&batch.comment)
        );
        for swap in &batch.swaps {
            if let Some(before) = &swap.before {
                let _ = writeln!(page, "   DELETE {}", record(before));
            }
            let _ = writeln!(page, "   CREATE {}", record(&swap.after));
        }
    }
    let _ = writeln!(page);
}

/// `api.example.com A "eu" weight 100 ttl 60 192.0.2.1`
fn record(record: &RecordSet) -> String {
    let mut text = format!("{} {}", record.name, record.kind);
    if let Some(set) = &record.set_identifier {
        let _ = write!(text, " \"{set}\"");
    }
    if let Some(weight) = record.weight {
        let _ = write!(text, " weight {weight}");
    }
    if let Some(ttl) = record.ttl {
        let _ = write!(text, " ttl {ttl}");
    }
    match &record.data {
        RecordData::Values(values) => {
            let _ = write!(text, " {}", values.join(" "));
        }
        RecordData::Alias { zone, name, evaluate_target_health } => {
            let evaluates = if *evaluate_target_health { ", evaluates health" } else { "" };
            let _ = write!(text, " alias {name} in {zone}{evaluates}");
        }
    }
    if let Some(check) = &record.health_check {
        let _ = write!(text, " health check {check}");
    }
    plain(&text)
}

fn cost(page: &mut String, plan: &Plan, lever: &WeightsLever) {
    let tokens: usize = plan.batches.iter().map(Batch::change_tokens).sum();
    let text = format!(
        "{} call(s) of a burst of {:.0}, {tokens} change tokens of a burst of {:.0}",
        plan.batches.len(),
        lever.pace.requests_burst,
        lever.pace.changes_burst
    );
    paragraph(page, "costs", &text);
}

fn undo(page: &mut String, plan: &Plan) {
    let tokens: usize = plan.batches.iter().map(Batch::change_tokens).sum();
    let text = format!(
        "the same move backwards as epoch {}: {} call(s), {tokens} change tokens, in force within in-sync \
         time and time to live again",
        plan.epoch.next(),
        plan.batches.len()
    );
    paragraph(page, "undo", &text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::path::{Credentials, Plane};
    use crate::report::samples;

    fn rehearse(decision: &Decision, plan: Option<&Plan>) -> String {
        let policy = samples::policy();
        let answers = samples::answers();
        let bounds = plan.map(|plan| Bounds::of(&policy, policy.weights_lever().unwrap(), plan));
        let here = Some("eu-west-1".to_owned());
        let credentials =
            Credentials { profile: Some("rescue".to_owned()), here, ..Credentials::default() };
        let way = plan.zip(bounds.as_ref());
        let rehearsal = Rehearsal {
            service: &policy.service,
            mode: policy.mode,
            at: samples::NOW,
            assumed: vec!["eu-west-1=down".to_owned()],
            watched_seconds: 60,
            decision,
            answers: &answers,
            unread: None,
            plan,
            unplannable: None,
            checksum: plan.map(|plan| checksum(plan, policy.weights_lever())),
            bounds,
            steps: way.map_or(Vec::new(), |(plan, bounds)| {
                path::steps(&policy, policy.weights_lever().unwrap(), plan, bounds, &credentials)
            }),
            formula: way.map_or(Vec::new(), |(_, bounds)| path::formula(bounds, None)),
            through_the_sick: plan
                .map_or(Vec::new(), |plan| path::through_the_sick(&policy, plan, &credentials)),
            lever_depends_on: lever_depends_on(&policy, None),
            by_switches: None,
            switches_unread: Vec::new(),
            drift: Vec::new(),
            changed: false,
        };
        anstream::adapter::strip_str(&page(&rehearsal, &policy)).to_string()
    }

    #[test]
    fn a_plan_prints_every_change_and_its_time() {
        let plan = samples::plan();
        samples::settings().bind(|| {
            insta::assert_snapshot!("plan", rehearse(&samples::outage(), Some(&plan)));
        });
    }

    #[test]
    fn a_calm_plan_says_that_nothing_is_to_be_done() {
        let text = rehearse(&samples::calm(), None);
        assert!(text.starts_with("NOTHING TO DO shop"), "{text}");
        assert!(text.contains("nothing was changed"));
    }

    #[test]
    fn the_checksum_is_of_the_records_and_not_of_the_time() {
        let plan = samples::plan();
        let policy = samples::policy();
        let sum = |plan: &Plan| checksum(plan, policy.weights_lever());
        let stamped = |seconds: u64| {
            let made_at = samples::NOW.plus(Duration::from_secs(seconds));
            let mut plan = Plan { made_at, ..samples::plan() };
            let mut txt = plan.batches[0].swaps[0].after.clone();
            txt.name = policy.weights_lever().unwrap().epoch_record.name.clone();
            txt.kind = "TXT".to_owned();
            txt.data = RecordData::Values(vec![format!("at={made_at}")]);
            plan.batches[0].swaps.push(crate::plan::Swap { before: None, after: txt });
            plan
        };
        assert_eq!(sum(&stamped(0)), sum(&stamped(9)));
        let mut other = plan.clone();
        other.batches[0].swaps[0].after.ttl = Some(61);
        assert_ne!(sum(&plan), sum(&other));
    }

    #[test]
    fn the_formula_adds_up_to_the_bound_and_each_number_has_a_source() {
        let (policy, plan) = (samples::policy(), samples::plan());
        let bounds = Bounds::of(&policy, policy.weights_lever().unwrap(), &plan);
        let parts = path::formula(&bounds, None);
        let sum: Duration = parts.iter().filter(|part| part.counted).map(|part| part.takes).sum();
        assert_eq!(sum, bounds.worst());
        assert!(parts.iter().all(|part| !part.source.is_empty()));
        assert!(parts.iter().any(|part| part.what == "keep-alive"));
    }

    #[test]
    fn each_step_names_plane_region_credentials_and_what_comes_after_a_failure() {
        let (policy, plan) = (samples::policy(), samples::plan());
        let lever = policy.weights_lever().unwrap();
        let bounds = Bounds::of(&policy, lever, &plan);
        let steps = path::steps(&policy, lever, &plan, &bounds, &Credentials::default());
        let planes: Vec<Plane> = steps.iter().map(|step| step.plane).collect();
        assert_eq!(planes, [Plane::Control, Plane::Control, Plane::Data]);
        assert_eq!(steps[0].region.as_deref(), Some("us-east-1"));
        assert_eq!((steps[0].calls, steps[0].change_tokens), (1, 4));
        assert!(steps[0].if_it_fails.contains("there is no other lever"));
        assert!(steps.iter().all(|step| !step.credentials.is_empty()));
    }

    #[test]
    fn a_way_through_the_sick_region_is_warned_of() {
        let (mut policy, plan) = (samples::policy(), samples::plan());
        let warned = |policy: &Policy, here: Option<&str>| {
            let here = here.map(str::to_owned);
            path::through_the_sick(policy, &plan, &Credentials { here, ..Credentials::default() })
        };
        assert_eq!(warned(&policy, None), []);
        assert_eq!(warned(&policy, Some("eu-central-1")), [], "where traffic goes is no trouble");
        assert!(warned(&policy, Some("eu-west-1"))[0].1.contains("runs in eu-west-1"));
        let sick: RegionName = "eu-west-1".parse().unwrap();
        policy.regions.get_mut(&sick).unwrap().aws_region = Some("us-east-1".to_owned());
        assert!(warned(&policy, None)[0].1.contains("the control plane of Route 53"));
    }

    #[test]
    fn the_credential_path_is_the_one_that_the_chain_takes() {
        let mut path = Credentials::default();
        assert!(path.path().contains("metadata service"));
        path.from_container = true;
        assert!(path.path().contains("container agent"));
        path.profile = Some("rescue".to_owned());
        assert!(path.path().contains("profile `rescue`"));
        (path.web_identity_role, path.here) = (Some("r".to_owned()), Some("eu-west-2".to_owned()));
        assert!(path.path().contains("needs STS in eu-west-2"));
        path.has_keys = true;
        assert!(path.path().contains("need nobody"));
    }

    #[test]
    fn the_bounds_add_up() {
        let (policy, plan) = (samples::policy(), samples::plan());
        let bounds = Bounds::of(&policy, policy.weights_lever().unwrap(), &plan);
        // 5 s probe + 3 s until the mean falls + 120 s sustain.
        assert_eq!(bounds.detected(), Duration::from_secs(128));
        assert_eq!(bounds.typical(), Duration::from_secs(128 + 5 + 60 + 60));
        assert_eq!(bounds.worst(), Duration::from_secs(128 + 5 + 300 + 60));
    }

    #[test]
    fn more_tokens_than_the_bucket_holds_cost_time() {
        let (policy, mut plan) = (samples::policy(), samples::plan());
        let batch = plan.batches[0].clone();
        plan.batches = vec![batch; 400];
        let bounds = Bounds::of(&policy, policy.weights_lever().unwrap(), &plan);
        // 400 calls of a burst of 25 at 5 per second.
        assert_eq!(bounds.paced, Duration::from_secs(75));
    }
}
