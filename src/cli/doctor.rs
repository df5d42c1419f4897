//! `leeward doctor`: a preflight of a policy against the account. Reads, and can do nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::edge::{self, EdgeArgs};
use super::{Exit, Failure, Format, Output, block_on, json};
use crate::doctor::{Facts, Severity, checks_of, checks_of_gates, examine, permissions, role_of};
use crate::policy::{LeverKind, Policy, Witness};
use crate::ports::{Account, CallFailed, Clock, HealthChecks, Resolver, TargetHealth, Weights};
use crate::report::doctor::{Report, page};
use crate::runtime::doors::read_only;
use crate::runtime::{World, gates};

/// Looks for what would stop a rescue, or make it slower, before the day it is needed.
///
/// Reads records, health checks, gates, routing controls, target groups, balancers, quotas and permissions,
/// and says for each finding what it is, why it matters and how to mend it. Changes nothing. Exits with 3 if something would
/// stop a rescue, with 5 if it could not be found out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policy file.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The AWS region in which `leeward run` runs.
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    here: Option<String>,
    /// The role or user whose permissions are simulated, if it is not the one that asks.
    #[arg(long, value_name = "ARN")]
    principal: Option<String>,
    /// Who acts, as written into the epoch record.
    #[arg(long, value_name = "NAME", env = "LEEWARD_HOLDER", default_value = "leeward")]
    holder: String,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    edge: EdgeArgs,
}

/// `GetHealthCheckStatus` has a bucket of 4 that refills with one a second, for the whole account
/// (Developer Guide, "Throttling").
const CHECKERS_AT_ONCE: usize = 3;
const CHECKERS_EVERY: Duration = Duration::from_secs(1);

/// All that a preflight has of the world: ports without a way to change anything, and records behind a door
/// that is locked.
struct Eyes {
    account: Arc<dyn Account>,
    records: Option<Arc<dyn Weights>>,
    targets: Option<Arc<dyn TargetHealth>>,
    checks: Option<Arc<dyn HealthChecks>>,
    resolver: Option<Arc<dyn Resolver>>,
    clock: Arc<dyn Clock>,
}

impl Eyes {
    /// Keeps what looks, and lets go of everything else.
    fn of(world: World, account: Arc<dyn Account>) -> Self {
        let levers = read_only(&world.levers);
        Self {
            account,
            records: levers.weights,
            targets: world.targets,
            checks: world.checks,
            resolver: levers.resolver,
            clock: world.clock,
        }
    }
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let (policy, warnings) = edge::policy(&args.path)?;
    let facts = block_on(async {
        let account = args.edge.account(args.here.as_deref()).await?;
        // From here on nothing that could change anything is within reach.
        let eyes = Eyes::of(args.edge.connect().await?, account);
        Ok(read(&policy, &eyes, args).await)
    })?;
    let findings = examine(&policy, &facts);
    let any = |severity| findings.iter().any(|finding| finding.severity == severity);
    let exit = if any(Severity::Stops) {
        Exit::Held
    } else if any(Severity::Trouble) {
        Exit::Trouble
    } else {
        Exit::Done
    };
    let warnings = warnings.iter().map(|warning| warning.message.clone()).collect();
    let report = Report { service: &policy.service, at: facts.at, findings: &findings, warnings };
    match args.format {
        Format::Text => out.line(page(&report).trim_end()),
        Format::Json => out.line(json(&report)?),
    }
    Ok(exit)
}

fn none_here<T>() -> Result<T, CallFailed> {
    Err(CallFailed::NotSent { why: "this build has no AWS edge".to_owned() })
}

async fn read(policy: &Policy, eyes: &Eyes, args: &Args) -> Facts {
    let account = eyes.account.as_ref();
    let mut facts = Facts {
        at: eyes.clock.now(),
        holder: args.holder.clone(),
        here: args.here.clone(),
        ..Facts::default()
    };
    facts.caller = Some(account.caller().await);
    zones(policy, eyes.records.as_ref(), account, &mut facts).await;
    witnesses(policy, eyes, &mut facts).await;
    checks(policy, account, &mut facts).await;
    switches(policy, eyes, &mut facts).await;
    balancing(policy, eyes.targets.as_ref(), account, &mut facts).await;
    let caller = facts.caller.as_ref().and_then(|read| read.as_ref().ok());
    let own = caller.and_then(|caller| role_of(&caller.arn));
    if let Some(principal) = args.principal.clone().or(own) {
        let asked = permissions(policy, &args.holder);
        let said = join_all(asked.iter().map(|one| account.may(&principal, one))).await;
        facts.may = asked.into_iter().zip(said).collect();
    }
    facts
}

async fn zones(
    policy: &Policy,
    weights: Option<&Arc<dyn Weights>>,
    account: &dyn Account,
    facts: &mut Facts,
) {
    let Some(lever) = policy.weights_lever() else { return };
    let mut zones: Vec<_> = lever.records.iter().map(|records| records.zone.clone()).collect();
    zones.push(lever.epoch_record.zone.clone());
    zones.sort();
    zones.dedup();
    for zone in zones {
        // The same reading as before a move: whole zones.
        let records = match weights {
            Some(weights) => weights.read(&zone, None).await,
            None => none_here(),
        };
        facts.records.insert(zone.clone(), records);
        facts.quotas.insert(zone.clone(), account.zone_quota(&zone).await);
        facts.zones.insert(zone.clone(), account.zone(&zone).await);
    }
}

/// The records and the health checks that decide what is answered when switches are turned.
pub(super) async fn wiring(
    policy: &Policy,
    account: &dyn Account,
    records: Option<&Arc<dyn Weights>>,
    facts: &mut Facts,
) {
    shown(policy, records, facts).await;
    checks(policy, account, facts).await;
}

fn witnesses_of(policy: &Policy) -> impl Iterator<Item = &Witness> {
    let proofs =
        [LeverKind::Gates, LeverKind::Arc].into_iter().filter_map(|kind| policy.proof(kind));
    proofs.filter_map(|proof| proof.witness.as_ref())
}

/// The records that show which regions are answered, if they were not read yet.
async fn shown(policy: &Policy, records: Option<&Arc<dyn Weights>>, facts: &mut Facts) {
    for Witness { zone, .. } in witnesses_of(policy) {
        if !facts.records.contains_key(zone) {
            let records = match records {
                Some(weights) => weights.read(zone, None).await,
                None => none_here(),
            };
            facts.records.insert(zone.clone(), records);
        }
    }
}

/// These records, and who answers them.
async fn witnesses(policy: &Policy, eyes: &Eyes, facts: &mut Facts) {
    shown(policy, eyes.records.as_ref(), facts).await;
    for Witness { name, servers, .. } in witnesses_of(policy) {
        let Some(resolver) = &eyes.resolver else { continue };
        let asked = servers.iter().filter(|server| !facts.servers.contains_key(*server));
        let said =
            asked.map(async |server| (server.clone(), resolver.ask(server, name, "TXT").await));
        let said = join_all(said).await;
        facts.servers.extend(said);
    }
}

/// How gates and routing controls stand, and what checkers find at the gates.
async fn switches(policy: &Policy, eyes: &Eyes, facts: &mut Facts) {
    if let Some(lever) = policy.gates_lever() {
        facts.gates = gates::found(lever, eyes.account.as_ref(), &facts.holder).await;
    }
    if let Some(lever) = policy.arc_lever() {
        facts.controls = eyes.account.controls(lever).await;
    }
    let Some(checks) = &eyes.checks else { return };
    for (place, id) in checks_of_gates(policy).into_iter().enumerate() {
        // A calculated check has no checkers of its own.
        if !matches!(facts.checks.get(&id), Some(Ok(check)) if check.kind.starts_with("HTTP")) {
            continue;
        }
        if place >= CHECKERS_AT_ONCE {
            tokio::time::sleep(CHECKERS_EVERY).await;
        }
        let found = checks.found(&id).await;
        facts.found.insert(id, found);
    }
}

/// The checks of the records and gates, and the children of calculated ones. Those have no children of their own
/// (API reference, `HealthCheckConfig`: a calculated check cannot monitor another).
async fn checks(policy: &Policy, account: &dyn Account, facts: &mut Facts) {
    for _ in 0..2 {
        let children = facts.checks.values().flatten().flat_map(|check| check.children.clone());
        let mut ids: Vec<String> = checks_of(policy, facts).into_iter().chain(children).collect();
        ids.retain(|id| !facts.checks.contains_key(id));
        ids.sort();
        ids.dedup();
        for id in ids {
            let read = account.check(&id).await;
            facts.checks.insert(id, read);
        }
    }
}

async fn balancing(
    policy: &Policy,
    targets: Option<&Arc<dyn TargetHealth>>,
    account: &dyn Account,
    facts: &mut Facts,
) {
    for region in policy.regions.values() {
        let Some(code) = region.aws_region.as_deref() else { continue };
        let arns = region.balancers.iter().filter_map(|balancer| balancer.arn.clone());
        for arn in arns {
            let read = account.balancer(code, &arn).await;
            facts.balancers.insert(arn, read);
        }
        let groups: Vec<&String> =
            region.balancers.iter().flat_map(|balancer| &balancer.target_groups).collect();
        if !groups.is_empty() {
            facts.limits.insert(code.to_owned(), account.balancing_limits(code).await);
        }
        for arn in groups {
            let health = match targets {
                Some(targets) => targets.targets(code, arn).await,
                None => none_here(),
            };
            facts.targets.insert(arn.clone(), health);
            facts.groups.insert(arn.clone(), account.group(code, arn).await);
        }
    }
}
