//! `leeward lb`: a load balancer's configuration, what a refresh would do to it, and doing it.
//!
//! Nothing is changed without `--yes`. What is changed goes through the journal of the service, so that a
//! refresh that was cut short is taken up again by whoever opens it next: this command or `leeward run`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::edge::{self, EdgeArgs};
use super::hands::{
    Hands, Place, cared, desk, differences, ended, look, look_for, mend_of, place, trouble,
};
use super::hold::said;
use super::{Exit, Failure, Format, Output, block_on, history, json};
use crate::balancer::cure::{Cure, Purpose, Step};
use crate::balancer::restore::way;
use crate::balancer::rungs::{draft, floor_of};
use crate::balancer::swap::apart;
use crate::balancer::{Snapshot, spell, tail};
use crate::domain::{BalancerName, span};
use crate::execute::cure::cure_of;
use crate::journal::{Journal, acts_of};
use crate::memory::{Acts, LeftOver, Outcome};
use crate::policy::{Rung, RungKind};
use crate::report::cures::of_one;
use crate::report::plain;
use crate::runtime::World;
use crate::runtime::doors::read_only;

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
        /// The state directory of `leeward run`: also tells what could not be taken back of a refresh.
        #[arg(long, value_name = "DIR", env = "LEEWARD_STATE")]
        state: Option<PathBuf>,
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
            Command::Show { out: file, state, .. } => {
                let live = look(&place, &BTreeSet::new(), &world).await?;
                if let Some(file) = file {
                    save(file, &live)?;
                }
                let left = match state {
                    Some(state) => left_over(&place, state)?,
                    None => None,
                };
                show(&place, &live, left.as_ref(), which.format, out)
            }
            Command::Plan { .. } => {
                let rungs = place.care.map(|care| care.rungs.as_slice()).unwrap_or_default();
                let live = look_for(&place, rungs, &world).await?;
                plans(&place, &live, &world, which.format, out)
            }
            Command::Refresh { rung, mend, doing, .. } => {
                let desk = desk_for(&place, doing, &world).await?;
                let rungs: Vec<Rung> = place
                    .care
                    .into_iter()
                    .flat_map(|care| &care.rungs)
                    .filter(|own| rung.is_some_and(|kind| own.kind() == kind.into()))
                    .cloned()
                    .collect();
                let live = look_for(&place, &rungs, &world).await?;
                let because = because(doing)?;
                let cure = match (rung, mend) {
                    (Some(kind), false) => rung_of(&place, (*kind).into(), live, &because, &world)?,
                    _ => mend_of(&place, live, &because, &world)?,
                };
                do_it(&place, cure, desk, &world, which.format, out).await
            }
            Command::Restore { snapshot, doing, .. } => {
                let desk = desk_for(&place, doing, &world).await?;
                let wanted = load(snapshot, &place)?;
                let also = wanted.groups.keys().cloned().collect();
                let live = look(&place, &also, &world).await?;
                let because = because(doing)?;
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

/// What the journal knows that could not be taken back of it.
fn left_over(place: &Place<'_>, state: &Path) -> Result<Option<LeftOver>, Failure> {
    let mut acts = acts_of(&history::read(state, &place.policy.service)?);
    Ok(acts.left_over.remove(place.balancer))
}

fn show(
    place: &Place<'_>,
    live: &Snapshot,
    left: Option<&LeftOver>,
    format: Format,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let drift = differences(place, live);
    if format == Format::Json {
        let drift = match &drift {
            Ok(drift) => json!(drift),
            Err(why) => json!({ "unknown": why }),
        };
        out.line(json(&json!({
            "balancer": place.balancer, "configuration": live, "drift": drift, "left_over": left,
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
    for apart in apart(live) {
        say(format!("  since a swap, {apart}"));
    }
    if let Some(left) = left {
        say(format!("  {}", of_one(left)));
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
        rest: draft.rest,
        left: draft.left,
        ..cure_of(place.balancer, Purpose::Rung(kind), because, live, now)
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
        floor: floor_of(&live, &way.draft.steps, place.care),
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
    let drift = differences(place, live);
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
    let waits: Duration = cure.steps.iter().map(Step::patience).sum();
    out.line(format!("  waits take {} at most\n", span(waits)));
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

/// Where it is written down what is done.
struct Desk<'a> {
    state: &'a Path,
    journal: Journal,
    acts: Acts,
}

/// If anything is to be done.
async fn desk_for<'a>(
    place: &Place<'_>,
    doing: &'a Doing,
    world: &World,
) -> Result<Option<Desk<'a>>, Failure> {
    if !doing.yes {
        return Ok(None);
    }
    super::hands::may_change(place.policy)?;
    let Some(state) = &doing.state else {
        let why = "`--yes` needs `--state DIR`: what is done is written down there first";
        return Err(Failure::new(Exit::Input, why));
    };
    let (journal, acts) = desk(place.policy, state, world).await?;
    Ok(Some(Desk { state, journal, acts }))
}

async fn do_it(
    place: &Place<'_>,
    cure: Cure,
    desk: Option<Desk<'_>>,
    world: &World,
    format: Format,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let Some(mut desk) = desk.filter(|_| !cure.steps.is_empty()) else {
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
    let policy = place.policy;
    let (state, journal, acts) = (desk.state, &mut desk.journal, &mut desk.acts);
    let mut hands = Hands { policy, state, world, journal, acts };
    let outcome = hands.go_on(Some(cure)).await.map_err(|error| trouble(&error))?;
    match format {
        Format::Text => out.line(plain(&ended(&outcome))),
        Format::Json => {
            out.line(json(&json!({ "balancer": place.balancer, "outcome": outcome }))?);
        }
    }
    Ok(if outcome == Outcome::Done { Exit::Done } else { Exit::Held })
}
