//! `leeward lb`: a load balancer's configuration, what a refresh would do to it, and doing it.
//!
//! Nothing is changed without `--yes`. What is changed goes through the journal of the service, so that a
//! refresh that was cut short is taken up again by whoever opens it next: this command or `leeward run`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::edge::{self, EdgeArgs};
use super::hold::said;
use super::{Exit, Failure, Format, Output, block_on, json};
use crate::balancer::cure::{Cure, Purpose};
use crate::balancer::restore::way;
use crate::balancer::rungs::{as_declared, draft};
use crate::balancer::{Difference, Snapshot, spell, tail};
use crate::domain::{BalancerName, span};
use crate::execute::cure::cure_of;
use crate::execute::{Executor, Progress};
use crate::journal::Journal;
use crate::memory::{Acts, Outcome};
use crate::pace::Pacer;
use crate::policy::{BalancerCare, Policy, RungKind};
use crate::ports::{CallFailed, Configurations, Levers};
use crate::report::plain;
use crate::runtime::World;
use crate::runtime::doors::read_only;
use crate::runtime::pin;

/// Between two looks at a refresh that goes on.
const LOOK_FIRST: Duration = Duration::from_millis(100);
/// Between two looks at a refresh that waits, at last.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A snapshot is a few hundred kilobytes at most.
const SNAPSHOT_MAX: u64 = 64 * 1024 * 1024;

/// Shows, plans, refreshes and restores the configuration of a load balancer.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows the configuration as it is now, its targets, and where it differs from what is declared.
    Show {
        #[command(flatten)]
        which: Which,
        /// Also write the whole snapshot to this file, for `leeward lb restore`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Shows every call that each rung of the policy would make, or why it cannot be taken.
    Plan {
        #[command(flatten)]
        which: Which,
    },
    /// Takes one rung, or mends what differs from `declared`. A dry run without `--yes`.
    Refresh {
        #[command(flatten)]
        which: Which,
        /// The rung of the policy.
        #[arg(long, value_enum, required_unless_present = "mend", conflicts_with = "mend")]
        rung: Option<Kind>,
        /// Writes what differs from `declared`.
        #[arg(long)]
        mend: bool,
        #[command(flatten)]
        doing: Doing,
    },
    /// Brings the configuration of a snapshot back. A dry run without `--yes`.
    Restore {
        #[command(flatten)]
        which: Which,
        /// A file from beside the journal, or from `leeward lb show --out`.
        #[arg(value_name = "SNAPSHOT")]
        snapshot: PathBuf,
        #[command(flatten)]
        doing: Doing,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The policy file.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The balancer, as the policy calls it.
    #[arg(value_name = "BALANCER")]
    balancer: BalancerName,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    edge: EdgeArgs,
}

#[derive(Debug, clap::Args)]
struct Doing {
    /// Why, for whoever reads the journal.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who says so.
    #[arg(long, value_name = "NAME", env = "USER")]
    by: String,
    /// The state directory of `leeward run`; needed with `--yes`.
    #[arg(long, value_name = "DIR", env = "LEEWARD_STATE")]
    state: Option<PathBuf>,
    /// Does it. Without this only the calls are shown.
    #[arg(long, visible_alias = "execute")]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Reassert,
    Targets,
    Swap,
    Zones,
}

impl From<Kind> for RungKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Reassert => Self::Reassert,
            Kind::Targets => Self::Targets,
            Kind::Swap => Self::Swap,
            Kind::Zones => Self::Zones,
        }
    }
}

/// One balancer with what the policy says of it.
struct Place<'a> {
    policy: &'a Policy,
    balancer: &'a BalancerName,
    arn: &'a str,
    care: Option<&'a BalancerCare>,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let which = match &args.command {
        Command::Show { which, .. }
        | Command::Plan { which }
        | Command::Refresh { which, .. }
        | Command::Restore { which, .. } => which,
    };
    let (policy, _) = edge::policy(&which.path)?;
    let place = place(&policy, &which.balancer)?;
    block_on(async {
        let mut world = which.edge.connect().await?;
        if !may_change(&args.command) {
            // From here on nothing that could change anything is within reach.
            world.levers = read_only(&world.levers);
        }
        match &args.command {
            Command::Show { out: file, .. } => {
                let live = look(&place, &world).await?;
                if let Some(file) = file {
                    save(file, &live)?;
                }
                show(&place, &live, which.format, out)
            }
            Command::Plan { .. } => {
                let live = look(&place, &world).await?;
                plans(&place, &live, &world, which.format, out)
            }
            Command::Refresh { rung, mend, doing, .. } => {
                let desk = desk(&place, doing, &world).await?;
                let live = look(&place, &world).await?;
                let because = because(doing)?;
                let cure = match (rung, mend) {
                    (Some(kind), false) => rung_of(&place, (*kind).into(), live, &because, &world)?,
                    _ => mend_of(&place, live, &because, &world)?,
                };
                do_it(&place, cure, desk, &world, which.format, out).await
            }
            Command::Restore { snapshot, doing, .. } => {
                let desk = desk(&place, doing, &world).await?;
                let live = look(&place, &world).await?;
                let because = because(doing)?;
                let wanted = load(snapshot, &place)?;
                let cure = restore_of(&place, live, &wanted, &because, &world);
                do_it(&place, cure, desk, &world, which.format, out).await
            }
        }
    })
}

fn may_change(command: &Command) -> bool {
    match command {
        Command::Show { .. } | Command::Plan { .. } => false,
        Command::Refresh { doing, .. } | Command::Restore { doing, .. } => doing.yes,
    }
}

fn because(doing: &Doing) -> Result<String, Failure> {
    Ok(format!("{}: {}", said("by", &doing.by)?, said("reason", &doing.reason)?))
}

fn place<'a>(policy: &'a Policy, name: &'a BalancerName) -> Result<Place<'a>, Failure> {
    let all = || policy.regions.values().flat_map(|region| &region.balancers);
    let Some(found) = all().find(|balancer| &balancer.name == name) else {
        let known: Vec<&str> = all().map(|balancer| balancer.name.as_str()).collect();
        let why = format!("`{name}` is not a balancer of `{}`", policy.service);
        let hint = format!("balancers: {}", known.join(", "));
        return Err(Failure::new(Exit::Input, why).hint(hint));
    };
    let Some(arn) = &found.arn else {
        let why = format!("the policy names no ARN for `{name}`");
        return Err(Failure::new(Exit::Input, why).hint("add `arn` to the balancer"));
    };
    let care = policy.refresh.as_ref().and_then(|refresh| refresh.care.get(name));
    Ok(Place { policy, balancer: name, arn, care })
}

fn cared<'a>(place: &Place<'a>) -> Result<&'a BalancerCare, Failure> {
    place.care.ok_or_else(|| {
        let why = format!("the policy does not say what may be done to `{}`", place.balancer);
        Failure::new(Exit::Held, why).hint("write `refresh: { balancers: ... }` into the policy")
    })
}

async fn look(place: &Place<'_>, world: &World) -> Result<Snapshot, Failure> {
    let client = client(&world.levers)?;
    let read = client.read(place.arn, &BTreeSet::new(), world.clock.now()).await;
    read.map_err(|failure| unread(place, &failure))
}

fn client(levers: &Levers) -> Result<Arc<dyn Configurations>, Failure> {
    let none = || Failure::new(Exit::Trouble, "this build has no AWS edge");
    levers.configurations.clone().ok_or_else(none)
}

fn unread(place: &Place<'_>, failure: &CallFailed) -> Failure {
    Failure::new(Exit::Trouble, format!("read `{}`: {failure}", place.balancer))
}

fn save(file: &Path, live: &Snapshot) -> Result<(), Failure> {
    let text = json(live)?;
    std::fs::write(file, text + "\n").map_err(|error| {
        Failure::new(Exit::Trouble, format!("write the snapshot to `{}`: {error}", file.display()))
    })
}

fn load(file: &Path, place: &Place<'_>) -> Result<Snapshot, Failure> {
    let wrong = |why: String| {
        Failure::new(Exit::Input, format!("read the snapshot `{}`: {why}", file.display()))
    };
    let length = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if length > SNAPSHOT_MAX {
        return Err(wrong(format!("{length} octets are no snapshot")));
    }
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let snapshot: Snapshot =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if snapshot.arn != place.arn {
        return Err(wrong(format!("it is of `{}`", plain(&snapshot.arn))));
    }
    Ok(snapshot)
}

/// Where the configuration is not as declared.
fn drift(place: &Place<'_>, live: &Snapshot) -> Result<Vec<Difference>, String> {
    let Some(care) = place.care else { return Ok(Vec::new()) };
    let wanted = as_declared(live, &care.declared).map_err(|why| why.to_string())?;
    Ok(live.differences(&wanted))
}

fn show(
    place: &Place<'_>,
    live: &Snapshot,
    format: Format,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let drift = drift(place, live);
    if format == Format::Json {
        let drift = match &drift {
            Ok(drift) => json!(drift),
            Err(why) => json!({ "unknown": why }),
        };
        out.line(json(&json!({
            "balancer": place.balancer, "configuration": live, "drift": drift,
        }))?);
        return Ok(Exit::Done);
    }
    let mut say = |text: String| out.line(plain(&text));
    say(format!("{} ({})", place.balancer, tail(&live.arn)));
    let zones: Vec<&str> = live.subnets.keys().map(String::as_str).collect();
    say(format!("  zones {}", zones.join(" ")));
    for (holder, actions) in live.action_lists() {
        say(format!("  {holder}: {}", spell(actions)));
        for what in actions.iter().filter_map(crate::balancer::Action::unwritable) {
            say(format!("    not understood, never written: {what}"));
        }
    }
    for (name, group) in &live.groups {
        let healthy: usize = group.healthy().values().sum();
        let used = if live.is_used(name) { "" } else { ", gets no requests" };
        say(format!("  group {name}: {healthy} of {} targets healthy{used}", group.targets.len()));
        for target in group.targets.iter().filter(|target| !group.is_healthy(target)) {
            say(format!("    {target} {:?} {}", group.state(target), target.zone()));
        }
    }
    match drift {
        Ok(drift) if drift.is_empty() => {}
        Ok(drift) => {
            say("  differs from what the policy declares:".to_owned());
            for difference in &drift {
                say(format!("    {difference}"));
            }
        }
        Err(why) => say(format!("  what the policy declares cannot be compared: {why}")),
    }
    Ok(Exit::Done)
}

fn rung_of(
    place: &Place<'_>,
    kind: RungKind,
    live: Snapshot,
    because: &str,
    world: &World,
) -> Result<Cure, Failure> {
    let care = cared(place)?;
    let Some(rung) = care.rungs.iter().find(|rung| rung.kind() == kind) else {
        let why = format!("the policy does not allow `{kind}` on `{}`", place.balancer);
        let known: Vec<String> = care.rungs.iter().map(|rung| rung.kind().to_string()).collect();
        return Err(Failure::new(Exit::Held, why).hint(format!("rungs: {}", known.join(", "))));
    };
    let draft =
        draft(&live, rung, care).map_err(|why| Failure::new(Exit::Held, why.to_string()))?;
    let now = world.clock.now();
    Ok(Cure {
        steps: draft.steps,
        floor: draft.floor,
        left: draft.left,
        ..cure_of(place.balancer, Purpose::Rung(kind), because, live, now)
    })
}

fn mend_of(
    place: &Place<'_>,
    live: Snapshot,
    because: &str,
    world: &World,
) -> Result<Cure, Failure> {
    let care = cared(place)?;
    let rung = crate::policy::Rung::Reassert(crate::policy::Reassert::Declared);
    let draft =
        draft(&live, &rung, care).map_err(|why| Failure::new(Exit::Held, why.to_string()))?;
    let now = world.clock.now();
    Ok(Cure {
        steps: draft.steps,
        left: draft.left,
        ..cure_of(place.balancer, Purpose::Mend, because, live, now)
    })
}

fn restore_of(
    place: &Place<'_>,
    live: Snapshot,
    wanted: &Snapshot,
    because: &str,
    world: &World,
) -> Cure {
    let patience = place.care.map_or(Duration::from_secs(300), |care| care.healthy_within);
    let way = way(&live, wanted, patience);
    let cannot = way.cannot.into_iter().map(|what| format!("cannot be brought back: {what}"));
    Cure {
        steps: way.draft.steps,
        left: cannot.collect(),
        to: Some(wanted.clone()),
        ..cure_of(place.balancer, Purpose::Restore, because, live, world.clock.now())
    }
}

fn plans(
    place: &Place<'_>,
    live: &Snapshot,
    world: &World,
    format: Format,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let allowed = cared(place)?;
    let mut told = Vec::new();
    for rung in &allowed.rungs {
        let kind = rung.kind();
        match rung_of(place, kind, live.clone(), "a dry run", world) {
            Ok(cure) => match format {
                Format::Text => page(&cure, out),
                Format::Json => told.push(as_json(&cure, false)),
            },
            Err(refused) => match format {
                Format::Text => out.line(plain(&format!("{kind}: not now: {}\n", refused.message))),
                Format::Json => told.push(json!({ "purpose": kind, "refused": refused.message })),
            },
        }
    }
    let drift = drift(place, live);
    match (format, &drift) {
        (Format::Json, drift) => {
            let drift = drift.as_ref().map_or_else(|why| json!({ "unknown": why }), |d| json!(d));
            out.line(json(&json!({ "balancer": place.balancer, "rungs": told, "drift": drift }))?);
        }
        (Format::Text, Ok(drift)) if drift.is_empty() => {}
        (Format::Text, Ok(drift)) => {
            out.line("differs from what the policy declares (`leeward lb refresh --mend`):");
            for difference in drift {
                out.line(plain(&format!("  {difference}")));
            }
        }
        (Format::Text, Err(why)) => out.line(plain(&format!("declared: {why}"))),
    }
    Ok(Exit::Done)
}

fn page(cure: &Cure, out: &mut Output) {
    let radius = match cure.purpose {
        Purpose::Rung(kind) => format!(", touches {}", kind.radius()),
        Purpose::Undo | Purpose::Restore | Purpose::Mend => String::new(),
    };
    let calls = cure.calls().count();
    out.line(format!("{} of `{}`: {calls} calls{radius}", cure.purpose, cure.balancer));
    for (place, step) in cure.steps.iter().enumerate() {
        out.line(plain(&format!("  {:>3}. {step}", place + 1)));
    }
    for left in &cure.left {
        out.line(plain(&format!("  left as it is: {left}")));
    }
    for (group, zones) in &cure.floor {
        for (zone, least) in zones {
            let zone = if zone.is_empty() { "the zone that is not told" } else { zone };
            out.line(plain(&format!("  floor: {least} healthy in {zone} of {group}")));
        }
    }
    let waits: Duration = cure.steps.iter().map(patience).sum();
    out.line(format!("  waits take {} at most\n", span(waits)));
}

fn patience(step: &crate::balancer::cure::Step) -> Duration {
    use crate::balancer::cure::Until;
    match &step.until {
        Until::Told => Duration::ZERO,
        Until::Healthy { within, .. } | Until::Drained { within, .. } => *within,
        Until::Passed { time } => *time,
    }
}

fn as_json(cure: &Cure, changed: bool) -> serde_json::Value {
    let radius = match cure.purpose {
        Purpose::Rung(kind) => Some(kind.radius()),
        Purpose::Undo | Purpose::Restore | Purpose::Mend => None,
    };
    json!({
        "balancer": cure.balancer, "purpose": cure.purpose, "touches": radius,
        "calls": cure.calls().map(ToString::to_string).collect::<Vec<_>>(),
        "steps": cure.steps, "floor": cure.floor, "left": cure.left, "changed": changed,
    })
}

/// Where it is written down what is done, if anything is to be done.
///
/// A refresh that was cut short is taken to its end first, before anything new is worked out: half-way
/// there may be a zone too few for any plan.
async fn desk(
    place: &Place<'_>,
    doing: &Doing,
    world: &World,
) -> Result<Option<(Journal, Acts)>, Failure> {
    if !doing.yes {
        return Ok(None);
    }
    let Some(state) = &doing.state else {
        let why = "`--yes` needs `--state DIR`: what is done is written down there first";
        return Err(Failure::new(Exit::Input, why));
    };
    let path = pin::journal_path(state, &place.policy.service);
    let (mut journal, recovered) = Journal::open(&path).map_err(|error| trouble(&error))?;
    let mut acts = recovered.acts;
    if let Some(pin) = pin::read(state, &place.policy.service)
        .filter(|pin| pin.until.is_none_or(|until| world.clock.now() < until))
    {
        let why = format!("`{}` is held by {}: {}", place.policy.service, pin.by, pin.reason);
        return Err(Failure::new(Exit::Held, plain(&why)).hint("`leeward resume`"));
    }
    if acts.cure.is_none() {
        return Ok(Some((journal, acts)));
    }
    tell("an earlier refresh was cut short and is taken to its end first");
    let mut hands = Hands { place, world, journal: &mut journal, acts: &mut acts };
    let outcome = hands.go_on(None).await.map_err(|error| trouble(&error))?;
    let why = "only the earlier refresh was ended; give the command again";
    Err(Failure::new(Exit::Held, format!("{why} ({})", plain(&ended(&outcome)))))
}

fn trouble(error: &crate::journal::JournalError) -> Failure {
    if matches!(error, crate::journal::JournalError::Held { .. }) {
        Failure::new(Exit::Held, error.to_string())
            .hint("a running controller refreshes by itself; stop it to do it by hand")
    } else {
        Failure::new(Exit::Trouble, error.to_string())
    }
}

async fn do_it(
    place: &Place<'_>,
    cure: Cure,
    desk: Option<(Journal, Acts)>,
    world: &World,
    format: Format,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let Some((mut journal, mut acts)) = desk.filter(|_| !cure.steps.is_empty()) else {
        match format {
            Format::Text => {
                page(&cure, out);
                if !cure.steps.is_empty() {
                    out.line("Nothing was changed. `--yes` does it.");
                }
            }
            Format::Json => out.line(json(&as_json(&cure, false))?),
        }
        return Ok(Exit::Done);
    };
    if format == Format::Text {
        page(&cure, out);
    }
    let mut hands = Hands { place, world, journal: &mut journal, acts: &mut acts };
    let outcome = hands.go_on(Some(cure)).await.map_err(|error| trouble(&error))?;
    match format {
        Format::Text => out.line(plain(&ended(&outcome))),
        Format::Json => {
            out.line(json(&json!({ "balancer": place.balancer, "outcome": outcome }))?);
        }
    }
    Ok(if outcome == Outcome::Done { Exit::Done } else { Exit::Held })
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "Done.".to_owned(),
        Outcome::Abandoned { why } => format!("Given up and taken back: {why}"),
        Outcome::Refused { why } => format!("Refused: {why}"),
    }
}

fn tell(text: &str) {
    // Nothing is left to tell if stderr is closed.
    let _ = writeln!(anstream::stderr(), "{}", plain(text));
}

/// The executor, by hand.
struct Hands<'a> {
    place: &'a Place<'a>,
    world: &'a World,
    journal: &'a mut Journal,
    acts: &'a mut Acts,
}

impl Hands<'_> {
    async fn go_on(&mut self, cure: Option<Cure>) -> Result<Outcome, crate::journal::JournalError> {
        let refresh = self.place.policy.refresh.as_ref();
        let pace = Pacer::new(crate::policy::Pace::default())
            .with_elb(refresh.map(|refresh| refresh.pace).unwrap_or_default());
        let mut wait = LOOK_FIRST;
        let mut cure = cure;
        let (mut told, mut stood) = (usize::MAX, None);
        loop {
            let mut executor = Executor {
                policy: self.place.policy,
                levers: &self.world.levers,
                log: self.journal,
                acts: self.acts,
                clock: self.world.clock.as_ref(),
                pace: &pace,
            };
            let progress = match cure.take() {
                Some(cure) => executor.take_cure(cure).await?,
                None => executor.advance_cure().await?,
            };
            match progress {
                Progress::Ended(outcome) => return Ok(outcome),
                Progress::Nothing => return Ok(Outcome::Done),
                Progress::Working => {}
            }
            if let Some(open) = self.acts.cure.as_ref().filter(|open| open.done != told) {
                told = open.done;
                let (done, steps) = (open.done, open.cure.steps.len());
                let next = open.cure.steps.get(done).map(ToString::to_string).unwrap_or_default();
                tell(&format!("{}: {done} of {steps} steps; {next}", open.cure.purpose));
            }
            // What moves is followed at once, as fast as the pace lets it; what waits is not asked all the time.
            let stands = self.acts.cure.as_ref().map(|open| (open.done, open.call));
            wait = if stands == stood { (wait * 2).min(LOOK_EVERY) } else { LOOK_FIRST };
            stood = stands;
            tokio::time::sleep(wait).await;
        }
    }
}
