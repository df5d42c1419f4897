//! `leeward apply`: carries out a plan that was reviewed, if it is still the same plan.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::ask::{Overrides, Word, trouble};
use super::edge;
use super::hands::{Hands, desk, drift_of, ended, look, may_change, mend_of, place};
use super::{Exit, Failure, Format, Output, block_on, json};
use crate::balancer::cure::Cure;
use crate::clock::SystemClock;
use crate::execute::read_inventory;
use crate::journal::{Journal, acts_of};
use crate::memory::{Acts, Asked, Outcome};
use crate::plan::{Plan, Wanted, batch};
use crate::policy::Policy;
use crate::ports::Clock as _;
use crate::report::drift::{self, Drift};
use crate::report::plain;
use crate::report::plan::{checksum, differences};
use crate::runtime::World;
use crate::runtime::doors::read_only;
use crate::runtime::file;
use crate::runtime::pin::{self, Says};

/// The most that is read of a plan file: a plan of 10,000 records takes 12 MiB.
const PLAN_MAX: u64 = 64 * 1024 * 1024;
const VERSION: u32 = 1;

/// Carries out a plan file that `leeward plan --out` wrote and a human has reviewed.
///
/// It is worked out anew from the same policy and from the records as they are now. Only if that gives
/// the same checksum it is carried out, by the same guards, executor and journal as everything else;
/// otherwise it says what differs and exits with 3. Refused while a service runs on the state directory.
/// A plan that moves nothing mends what differs from `declared`, one balancer after the other; what fails
/// is taken back, and no further one is touched.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan file.
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    word: Word,
}

/// A plan on disk, with what it was made from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PlanFile {
    version: u32,
    checksum: String,
    /// SHA-256 of the policy file, in hexadecimal.
    policy: String,
    #[serde(flatten)]
    what: Reviewed,
}

/// What a human has reviewed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reviewed {
    Plan(Box<Plan>),
    /// Balancers that are not as declared, with the calls that mend them.
    Mends(Vec<Drift>),
}

impl PlanFile {
    pub(super) fn new(what: Reviewed, checksum: &str, policy: &Path) -> Result<Self, Failure> {
        Ok(Self { version: VERSION, checksum: checksum.to_owned(), policy: sum_of(policy)?, what })
    }
}

/// Any change of the policy file asks for another review.
fn sum_of(policy: &Path) -> Result<String, Failure> {
    use std::fmt::Write as _;
    let bytes = file::read(policy).map_err(|error| edge::unreadable(policy, &error))?;
    Ok(Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let saved = read(&args.plan)?;
    let Some(path) = &args.word.policy else {
        return Err(Failure::new(
            Exit::Input,
            "the plan was made from a policy, and none is named",
        )
        .hint("`--policy PATH`"));
    };
    let (policy, _) = edge::policy(path)?;
    check_file(&saved, &policy, path)?;
    let plan = match &saved.what {
        Reviewed::Plan(plan) => plan,
        Reviewed::Mends(mends) => return mend(args, mends, &policy, out),
    };
    let Wanted::Move(wanted) = &plan.wanted else {
        return Err(Failure::new(Exit::Input, "the plan moves nothing"));
    };
    let state = args.word.place.state_of(&policy.service)?;
    let journal = pin::journal_path(state, &policy.service);
    if Journal::is_held(&journal).map_err(|error| trouble(&error))? {
        let why = format!("a service runs on `{}` and decides by itself", state.display());
        return Err(Failure::new(Exit::Held, why)
            .hint("`leeward shift` and `leeward approve` are heard by it; or stop it first"));
    }
    let records = Journal::read(&journal).map_err(|error| trouble(&error))?;
    let acts = acts_of(&records);
    still_the_same(args, plan, &saved.checksum, &policy, &acts)?;
    let what =
        Asked::Reviewed { wanted: Box::new(wanted.clone()), checksum: saved.checksum.clone() };
    let request = args.word.request(what, &args.overrides)?;
    args.word.perform(policy, Says::Ask(Box::new(request)), out)
}

fn read(path: &Path) -> Result<PlanFile, Failure> {
    use std::io::Read as _;
    let wrong = |why: String| {
        Failure::new(Exit::Input, format!("`{}` is not a plan: {why}", path.display()))
            .hint("`leeward plan --out FILE` writes one")
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(PLAN_MAX).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    let saved: PlanFile =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if saved.version == VERSION {
        Ok(saved)
    } else {
        Err(wrong(format!("version {}, expected {VERSION}", saved.version)))
    }
}

fn check_file(saved: &PlanFile, policy: &Policy, path: &Path) -> Result<(), Failure> {
    let sum = match &saved.what {
        Reviewed::Plan(plan) if plan.service != policy.service => {
            let why = format!("the plan is for `{}`, not for `{}`", plan.service, policy.service);
            return Err(Failure::new(Exit::Input, why));
        }
        Reviewed::Plan(plan) => checksum(plan, policy.weights_lever()),
        Reviewed::Mends(mends) => drift::checksum(mends),
    };
    if sum != saved.checksum {
        let why = format!(
            "the plan was changed after it was written: its checksum is {sum}, it says {}",
            saved.checksum
        );
        return Err(Failure::new(Exit::Held, why).hint("make a new one with `leeward plan --out`"));
    }
    if saved.policy != sum_of(path)? {
        let why = format!("`{}` is not the policy from which the plan was made", path.display());
        return Err(Failure::new(Exit::Held, why).hint("plan anew, and review what has changed"));
    }
    Ok(())
}

/// Works it out anew from the records as they are now; says what differs if it differs.
fn still_the_same(
    args: &Args,
    reviewed: &Plan,
    sum: &str,
    policy: &Policy,
    acts: &Acts,
) -> Result<(), Failure> {
    let lever = policy.weights_lever();
    let inventory = block_on(async {
        let world = args.word.edge.connect().await?;
        let levers = read_only(&world.levers);
        match (lever, levers.weights) {
            (Some(lever), Some(weights)) => {
                read_inventory(lever, weights.as_ref(), world.clock.now()).await.map_err(
                    |failure| Failure::new(Exit::Trouble, format!("read the records: {failure}")),
                )
            }
            (Some(_), None) => {
                let why = "this build has no AWS edge, so the records cannot be read";
                Err(Failure::new(Exit::Trouble, why))
            }
            (None, _) => Ok(crate::plan::Inventory::default()),
        }
    })?;
    let (wanted, now) = (&reviewed.wanted, SystemClock.now());
    let epoch = acts.epoch.next();
    let found = batch::plan(policy, &inventory, wanted, epoch, &args.word.holder, now)
        .map_err(|why| differs(&[why.to_string()]))?;
    if checksum(&found, lever) == sum {
        return Ok(());
    }
    Err(differs(&differences(reviewed, &found, lever)))
}

/// Mends what was reviewed, one balancer after the other, if everything is still as it was reviewed.
fn mend(args: &Args, mends: &[Drift], policy: &Policy, out: &mut Output) -> Result<Exit, Failure> {
    let (reason, by) = args.word.checked()?;
    if !args.overrides.is_empty() {
        let why = "nothing is moved, so there is no guard to pass with `--override`";
        return Err(Failure::new(Exit::Input, why));
    }
    may_change(policy)?;
    let state = args.word.place.state_of(&policy.service)?;
    let because = format!("{by}: {reason}");
    let told = block_on(async {
        let world = args.word.edge.connect().await?;
        let (mut journal, mut acts) = desk(policy, state, &world).await?;
        // All of them before the first is touched.
        for reviewed in mends {
            cure_for(reviewed, policy, &because, &world).await?;
        }
        let mut told = Vec::new();
        for reviewed in mends {
            let cure = cure_for(reviewed, policy, &because, &world).await?;
            let (journal, acts) = (&mut journal, &mut acts);
            let mut hands = Hands { policy, state, world: &world, journal, acts };
            let outcome = hands.go_on(Some(cure)).await.map_err(|error| trouble(&error))?;
            let done = outcome == Outcome::Done;
            told.push((&reviewed.balancer, outcome));
            if !done {
                break;
            }
        }
        Ok(told)
    })?;
    let all = told.len() == mends.len() && told.iter().all(|(_, o)| *o == Outcome::Done);
    match args.word.format {
        Format::Json => {
            let told = told
                .iter()
                .map(|(balancer, outcome)| json!({ "balancer": balancer, "outcome": outcome }));
            out.line(json(&told.collect::<Vec<_>>())?);
        }
        Format::Text => {
            for (balancer, outcome) in &told {
                out.line(plain(&format!("`{balancer}`: {}", ended(outcome))));
            }
            for left in mends.iter().skip(told.len()) {
                out.line(format!("`{}`: not touched, since the one before failed", left.balancer));
            }
        }
    }
    Ok(if all { Exit::Done } else { Exit::Held })
}

/// The refresh that mends a balancer, worked out anew, if it is the one that was reviewed.
async fn cure_for(
    reviewed: &Drift,
    policy: &Policy,
    because: &str,
    world: &World,
) -> Result<Cure, Failure> {
    let place = place(policy, &reviewed.balancer)?;
    let live = look(&place, &BTreeSet::new(), world).await?;
    let found = drift_of(&place, live.clone(), world);
    if found != *reviewed {
        let fields = |drift: &Drift| {
            drift.differences.iter().map(ToString::to_string).collect::<BTreeSet<_>>()
        };
        let (was, is) = (fields(reviewed), fields(&found));
        let gone = was.difference(&is).map(|field| format!("no change any more of {field}"));
        let new = is.difference(&was).map(|field| format!("not reviewed: {field}"));
        let mut what: Vec<String> = gone.chain(new).chain(found.unmendable).collect();
        if what.is_empty() {
            what.push(format!("the calls that mend `{}` are others", reviewed.balancer));
        }
        return Err(differs(&what));
    }
    mend_of(&place, live, because, world)
}

fn differs(what: &[String]) -> Failure {
    let list = what.join("\n  ");
    Failure::new(Exit::Held, format!("worked out anew it is another plan:\n  {list}"))
        .hint("`leeward plan --out` again, and review what has changed")
}
