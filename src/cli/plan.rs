//! `leeward plan`: the dry run. The same judgement on the same kind of evidence, and no client that
//! could change anything.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::apply::{PlanFile, Reviewed};
use super::edge::{self, EdgeArgs};
use super::hands::read_drift;
use super::{Exit, Failure, Format, Output, block_on, doctor, history, json, parse_duration};
use crate::decide::{Decision, Hold, decide};
use crate::doctor::{Facts, checks_of};
use crate::domain::{InAnswers, RegionName, span};
use crate::execute::read_inventory;
use crate::health::{Answers, Observations, Sample};
use crate::journal::acts_of;
use crate::memory::{Acts, Entry, Memory};
use crate::plan::batch;
use crate::plan::{Inventory, Wanted};
use crate::policy::{LeverKind, Policy};
use crate::ports::{Account, CallFailed, ControlFacts};
use crate::report::drift::{self, Drift};
use crate::report::path::{Credentials, formula, steps, through_the_sick};
use crate::report::plan::{Bounds, Rehearsal, checksum, lever_depends_on, page, standing_holds};
use crate::report::switches::{self, Distribution};
use crate::runtime::doors::read_only;
use crate::runtime::gates;
use crate::runtime::pin;
use crate::runtime::prober::Network;
use crate::runtime::watch::{IN_FLIGHT_MAX, SAMPLES_MAX, Sources, watch};
use crate::runtime::{World, slowest};
use crate::telemetry::Numbers;

mod assume;
#[cfg(test)]
mod tests;

use assume::{Assume, history_of};

/// Live signals are not watched for longer: a dry run is for a person who waits.
const WATCH_MAX: Duration = Duration::from_secs(3600);
/// A region has one health check, or a few below a calculated one; Route 53 answers five calls a second.
const CHECKS_MAX: usize = 100;
/// Until all of them were read.
const CHECKS_WITHIN: Duration = Duration::from_secs(60);

/// Says what would be done now, to the last record, and changes nothing.
///
/// Watches the live signals for a while, reads the records, decides as `leeward run` would, and prints
/// diagnosis, changes, time and cost. With `--assume` the evidence about a region is made up, so that a
/// bad day can be rehearsed on a good one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policy file.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Judge a region as if it were `down`, `bad`, `zone`, `well` or `unknown`. May be repeated.
    #[arg(long, value_name = "REGION=STATE")]
    assume: Vec<Assume>,
    /// Watch live signals for so long; the judgement's own window by default. Regions that are not
    /// assumed are judged by what is seen in it.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    /// Take cooldowns, shifts and holds from this state directory.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Exit with 2 if changes are planned.
    #[arg(long)]
    detailed_exit_code: bool,
    /// Also write the plan, with its checksum, to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Who would act, as written into the epoch record.
    #[arg(long, value_name = "NAME", env = "LEEWARD_HOLDER", default_value = "leeward")]
    holder: String,
    #[command(flatten)]
    surroundings: Surroundings,
    #[command(flatten)]
    edge: EdgeArgs,
}

/// What the environment tells of credentials: said in the plan, and used for nothing else.
#[derive(Debug, clap::Args)]
struct Surroundings {
    /// The AWS region in which `leeward run` runs.
    #[arg(long, value_name = "REGION", env = "AWS_REGION")]
    here: Option<String>,
    #[arg(long, env = "AWS_PROFILE", hide = true)]
    profile: Option<String>,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide = true, hide_env_values = true)]
    key: Option<String>,
    #[arg(long, env = "AWS_WEB_IDENTITY_TOKEN_FILE", hide = true)]
    token_file: Option<String>,
    #[arg(long, env = "AWS_ROLE_ARN", hide = true)]
    role: Option<String>,
    #[arg(long, env = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", hide = true)]
    container: Option<String>,
}

impl Surroundings {
    fn credentials(&self) -> Credentials {
        Credentials {
            profile: self.profile.clone(),
            has_keys: self.key.is_some(),
            web_identity_role: self.token_file.as_ref().and(self.role.clone()),
            from_container: self.container.is_some(),
            here: self.here.clone(),
        }
    }
}

/// What was found out about the world.
struct Seen {
    answers: Answers,
    unread: Option<String>,
    inventory: Option<Inventory>,
    /// How the switches of the policy stand, or why that is not known.
    switches: BTreeMap<LeverKind, Result<BTreeMap<RegionName, InAnswers>, String>>,
    /// Records and health checks as they hang together, or why that is not known.
    wiring: Result<Facts, String>,
    live: Vec<Sample>,
    drift: Vec<Drift>,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let (policy, warnings) = edge::policy(&args.path)?;
    for warning in &warnings {
        let line = warning.place.as_ref().map_or(1, |place| place.line);
        tell(&format!("warning: {}:{line}: {}", args.path.display(), warning.message));
    }
    check_regions(&policy, &args.assume)?;
    let acts =
        args.state.as_deref().map_or(Ok(Acts::default()), |state| remembered(state, &policy))?;
    let time = watch_time(args, &policy)?;
    block_on(async {
        let mut world = args.edge.connect().await?;
        // From here on nothing that could change anything is within reach.
        world.levers = read_only(&world.levers);
        let mut seen = look(&policy, &world, time).await;
        if [LeverKind::Gates, LeverKind::Arc].into_iter().any(|kind| policy.has_lever(kind)) {
            let account = args.edge.account(args.surroundings.here.as_deref()).await;
            let account = account.map_err(|failure| failure.message);
            seen.switches = standing(args, &policy, account.as_deref()).await;
            seen.wiring = match account {
                Ok(account) => wiring(&policy, &world, &seen, account.as_ref(), &args.holder).await,
                Err(why) => Err(why),
            };
        }
        let (text, exit) = rehearse(args, &policy, acts, &world, &seen, time)?;
        out.line(text);
        Ok(exit)
    })
}

fn tell(text: &str) {
    // Nothing is left to tell if stderr is closed.
    let _ = writeln!(anstream::stderr(), "{text}");
}

fn check_regions(policy: &Policy, assumed: &[Assume]) -> Result<(), Failure> {
    for assume in assumed {
        if !policy.regions.contains_key(&assume.region) {
            let known: Vec<&str> = policy.regions.keys().map(RegionName::as_str).collect();
            let why = format!("`{}` is not a region of `{}`", assume.region, policy.service);
            return Err(
                Failure::new(Exit::Input, why).hint(format!("regions: {}", known.join(", ")))
            );
        }
    }
    Ok(())
}

/// Nothing is watched if every serving region is assumed.
fn watch_time(args: &Args, policy: &Policy) -> Result<Duration, Failure> {
    let assumed = |name: &RegionName| args.assume.iter().any(|assume| &assume.region == name);
    let all_assumed = policy.serving().all(|(name, _)| assumed(name));
    let time = match args.time {
        Some(time) => time,
        None if all_assumed => Duration::ZERO,
        None => policy.judge.window,
    };
    if time > WATCH_MAX {
        return Err(Failure::new(Exit::Input, format!("`--for` is at most {}", span(WATCH_MAX))));
    }
    if time > Duration::ZERO {
        tell(&format!("watching live signals for {} (`--for` sets the time)", span(time)));
    }
    Ok(time)
}

/// What was done, from the journal, and the hold that is there now.
fn remembered(state: &Path, policy: &Policy) -> Result<Acts, Failure> {
    let mut acts = acts_of(&history::read(state, &policy.service)?);
    if let Some(pin) = pin::read(state, &policy.service) {
        acts.apply(pin.since, &Entry::Pinned(pin));
    }
    Ok(acts)
}

async fn look(policy: &Policy, world: &World, time: Duration) -> Seen {
    let stop = CancellationToken::new();
    let (sender, mut receiver) = mpsc::channel(SAMPLES_MAX);
    let sources = Sources {
        prober: Arc::new(Network::new(Arc::clone(&world.clock))),
        targets: world.targets.clone(),
        metrics: world.metrics.clone(),
        clock: Arc::clone(&world.clock),
        numbers: Arc::new(Numbers::new()),
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        pace: Arc::new(slowest(std::iter::once(policy))),
        look_now: None,
    };
    let mut live = Vec::new();
    let collect = async {
        while let Some(sample) = receiver.recv().await {
            live.push(sample);
        }
    };
    let watched = async {
        if time > Duration::ZERO {
            let halt = async {
                sleep(time).await;
                stop.cancel();
            };
            tokio::join!(watch(Arc::new(policy.clone()), sources, sender, stop.clone()), halt);
        } else {
            drop(sender);
        }
    };
    let ((), (), drift) = tokio::join!(watched, collect, read_drift(policy, world));
    // The records last, so that the plan is made from what is there now.
    let (answers, unread, inventory) = records(policy, world).await;
    let wiring = Err("no account was asked".to_owned());
    Seen { answers, unread, inventory, switches: BTreeMap::new(), wiring, live, drift }
}

/// How gates and routing controls stand, read through a port that has no way to turn one.
async fn standing(
    args: &Args,
    policy: &Policy,
    account: Result<&dyn Account, &String>,
) -> BTreeMap<LeverKind, Result<BTreeMap<RegionName, InAnswers>, String>> {
    let mut standing = BTreeMap::new();
    if let Some(lever) = policy.gates_lever() {
        let read = match account {
            Ok(account) => gates::standing(lever, account, &args.holder).await,
            Err(why) => Err(why.clone()),
        };
        standing.insert(LeverKind::Gates, read);
    }
    if let Some(lever) = policy.arc_lever() {
        let read = match account {
            Ok(account) => first_to_tell(account.controls(lever).await),
            Err(why) => Err(why.clone()),
        };
        standing.insert(LeverKind::Arc, read);
    }
    standing
}

/// Which health checks the records hang on, or why that is not known.
async fn wiring(
    policy: &Policy,
    world: &World,
    seen: &Seen,
    account: &dyn Account,
    holder: &str,
) -> Result<Facts, String> {
    let mut facts = Facts { at: world.clock.now(), holder: holder.to_owned(), ..Facts::default() };
    match (&seen.inventory, &seen.unread) {
        (Some(inventory), _) => {
            let zones = inventory.zones.iter().map(|(zone, sets)| (zone.clone(), Ok(sets.clone())));
            facts.records = zones.collect();
        }
        (None, Some(why)) => return Err(why.clone()),
        (None, None) => {}
    }
    if checks_of(policy, &facts).len() > CHECKS_MAX {
        return Err(format!("more than {CHECKS_MAX} health checks hang on the records"));
    }
    let reading = doctor::wiring(policy, account, world.levers.weights.as_ref(), &mut facts);
    let read = timeout(CHECKS_WITHIN, reading).await;
    read.map_err(|_| format!("not all could be read within {}", span(CHECKS_WITHIN)))?;
    Ok(facts)
}

/// The controls as the first endpoint has them that tells of all, or what the last one said instead.
fn first_to_tell(told: ControlFacts) -> Result<BTreeMap<RegionName, InAnswers>, String> {
    let mut last = Err("the cluster has no endpoint".to_owned());
    for (aws_region, controls) in told {
        let whole: Result<BTreeMap<_, _>, _> = controls
            .into_iter()
            .map(|(region, read)| Ok::<_, CallFailed>((region, read?)))
            .collect();
        match whole {
            Ok(whole) => return Ok(whole),
            Err(failure) => last = Err(format!("{aws_region}: {failure}")),
        }
    }
    last
}

async fn records(policy: &Policy, world: &World) -> (Answers, Option<String>, Option<Inventory>) {
    let Some(lever) = policy.weights_lever() else { return (Answers::Unknown, None, None) };
    let Some(weights) = &world.levers.weights else {
        let why = "this build has no AWS edge, so the records cannot be read";
        return (Answers::Unknown, Some(why.to_owned()), None);
    };
    match read_inventory(lever, weights.as_ref(), world.clock.now()).await {
        Ok(inventory) => (inventory.answers(lever, &policy.regions), None, Some(inventory)),
        Err(failure) => (Answers::Unknown, Some(failure.to_string()), None),
    }
}

fn rehearse(
    args: &Args,
    policy: &Policy,
    acts: Acts,
    world: &World,
    seen: &Seen,
    time: Duration,
) -> Result<(String, Exit), Failure> {
    let now = world.clock.now();
    let mut memory = Memory { acts, ..Memory::default() };
    for (at, samples) in history_of(policy, &args.assume, &seen.live, now) {
        let answers = match &seen.answers {
            Answers::Split { split, .. } => Answers::Split { split: split.clone(), read_at: at },
            other @ (Answers::Drift { .. } | Answers::Unknown) => other.clone(),
        };
        memory.evidence.take_in(policy, &Observations { samples, events: Vec::new(), answers }, at);
    }
    let decision = decide(policy, &memory, now);
    let wanted = decision.wanted.as_ref().or(decision.proposed.as_ref());
    // Switches need no records.
    let none = Inventory::default();
    let by_switches = matches!(wanted, Some(Wanted::Move(moved)) if moved.lever.is_switch());
    let inventory = if by_switches { Some(&none) } else { seen.inventory.as_ref() };
    let (plan, unplannable) = match (wanted, inventory) {
        (Some(wanted), Some(inventory)) => {
            let epoch = memory.acts.epoch.next();
            match batch::plan(policy, inventory, wanted, epoch, &args.holder, now) {
                Ok(plan) => (Some(plan), None),
                Err(why) => (None, Some(why.to_string())),
            }
        }
        (_, _) => (None, None),
    };
    // What is done is reckoned from the journal, as by `run`; what is answered now, from how they stand.
    let mut found = memory.acts.clone();
    for (lever, read) in &seen.switches {
        if let Ok(standing) = read {
            found.apply(now, &Entry::Stood { lever: *lever, standing: standing.clone() });
        }
    }
    let lever = policy.weights_lever();
    let mends: Vec<Drift> = seen.drift.iter().filter(|one| one.is_mendable()).cloned().collect();
    let sum = match &plan {
        Some(plan) => Some(checksum(plan, lever)),
        None => (!mends.is_empty()).then(|| drift::checksum(&mends)),
    };
    let credentials = args.surroundings.credentials();
    let moved = plan.as_ref().and_then(switches::of);
    let turns = moved.map_or(Vec::new(), |moved| switches::due(moved, &memory.acts));
    let bounds = match (moved, plan.as_ref().zip(lever)) {
        (Some(moved), _) => Bounds::of_switches(policy, moved, &turns),
        (None, way) => way.map(|(plan, lever)| Bounds::of(policy, lever, plan)),
    };
    let steps = match (moved, plan.as_ref().zip(lever), bounds.as_ref()) {
        (Some(moved), _, Some(bounds)) => {
            switches::steps(policy, moved, &turns, bounds, &credentials)
        }
        (None, Some((plan, lever)), Some(bounds)) => {
            steps(policy, lever, plan, bounds, &credentials)
        }
        (_, _, _) => Vec::new(),
    };
    let rehearsal = Rehearsal {
        service: &policy.service,
        mode: policy.mode,
        at: now,
        assumed: args.assume.iter().map(ToString::to_string).collect(),
        watched_seconds: time.as_secs(),
        decision: &decision,
        answers: &seen.answers,
        unread: seen.unread.clone(),
        plan: plan.as_ref(),
        unplannable: unplannable.clone(),
        checksum: sum.clone(),
        steps,
        formula: bounds.as_ref().map_or(Vec::new(), |bounds| formula(bounds, moved)),
        through_the_sick: plan
            .as_ref()
            .map_or(Vec::new(), |plan| through_the_sick(policy, plan, &credentials)),
        bounds,
        lever_depends_on: lever_depends_on(policy, moved),
        by_switches: moved.map(|moved| {
            let wiring = seen.wiring.as_ref().map_err(String::clone);
            Distribution::of(policy, moved, &found, &seen.answers, wiring)
        }),
        switches_unread: unread_switches(seen),
        drift: seen.drift.clone(),
        changed: false,
    };
    let text = match args.format {
        Format::Text => page(&rehearsal, policy).trim_end().to_owned(),
        Format::Json => json(&rehearsal)?,
    };
    if let (Some(file), Some(sum)) = (&args.out, &sum) {
        let what = match &plan {
            Some(plan) => Reviewed::Plan(Box::new(plan.clone())),
            None => Reviewed::Mends(mends),
        };
        save(file, &PlanFile::new(what, sum, &args.path)?)?;
    }
    Ok((text, exit(args, &decision, &rehearsal)))
}

fn unread_switches(seen: &Seen) -> Vec<String> {
    let unread = seen.switches.iter().filter_map(|(kind, read)| Some((kind, read.as_ref().err()?)));
    unread.map(|(kind, why)| format!("how `{kind}` stands could not be read: {why}")).collect()
}

fn exit(args: &Args, decision: &Decision, rehearsal: &Rehearsal<'_>) -> Exit {
    let approval = |hold: &Hold| matches!(hold, Hold::ApprovalNeeded { .. });
    if rehearsal.unread.is_some() {
        Exit::Trouble
    } else if rehearsal.unplannable.is_some()
        || standing_holds(decision).any(|hold| !approval(hold))
    {
        Exit::Held
    } else if decision.holds.iter().any(approval) {
        Exit::Approval
    } else if args.detailed_exit_code
        && (rehearsal.plan.is_some() || rehearsal.drift.iter().any(Drift::is_drift))
    {
        Exit::Planned
    } else {
        Exit::Done
    }
}

fn save(path: &Path, plan: &PlanFile) -> Result<(), Failure> {
    std::fs::write(path, json(plan)? + "\n").map_err(|error| {
        Failure::new(Exit::Trouble, format!("write the plan to `{}`: {error}", path.display()))
    })
}
