//! A human's word to move, or not to: left for the running service, or carried out at once if none runs.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::edge::{self, EdgeArgs};
use super::hold::{Place, said};
use super::{Exit, Failure, Format, Output, block_on, json, parse_duration};
use crate::clock::SystemClock;
use crate::decide::Hold;
use crate::domain::{RegionName, ServiceName, span};
use crate::journal::{Journal, JournalError};
use crate::memory::{Abort, Asked, Guard, Request};
use crate::policy::Policy;
use crate::ports::Clock as _;
use crate::runtime::once::{Came, Task, once};
use crate::runtime::pin::{self, Says};

/// What is asked for longer than this is a policy, not a request.
const ASK_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longer than any round is apart from the next.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What an order may take beyond the policy's own `in_sync_within`: calls, waits, proof.
const EXECUTION_SLACK: Duration = Duration::from_secs(120);

/// Who says it, for how long, and what is carried out where nothing runs.
#[derive(Debug, clap::Args)]
pub(super) struct Word {
    /// Until when it holds, at most 7d: not begun later, and until then nothing goes home by itself.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Duration,
    /// Why, for whoever reads the history.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    pub(super) place: Place,
    /// The policy, for a command that does it by itself because no service runs here.
    #[arg(long, value_name = "PATH")]
    pub(super) policy: Option<PathBuf>,
    /// Watch live signals for so long before it is decided; the judgement's own window at least.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    watch: Option<Duration>,
    /// Who acts, as written into the epoch record.
    #[arg(long, value_name = "NAME", env = "LEEWARD_HOLDER", default_value = "leeward")]
    pub(super) holder: String,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) edge: EdgeArgs,
}

/// The guards that a human may pass by name.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Overrides {
    /// Pass this guard: cooldown, shifts, latch, blocked, lag, room, warmup or soak. May be repeated.
    ///
    /// No other can be passed: not a region that is bad or not proven fit, nor records that are not as
    /// read, a hold, the mode, or an order under way.
    #[arg(long = "override", value_name = "GUARD")]
    guards: Vec<Guard>,
}

impl Overrides {
    pub(super) fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }
}

impl Word {
    pub(super) fn request(&self, what: Asked, overrides: &Overrides) -> Result<Request, Failure> {
        let (reason, by) = self.checked()?;
        let at = SystemClock.now();
        let overrides = overrides.guards.iter().copied().collect();
        Ok(Request { by, reason, at, until: at.plus(self.time), what, overrides, met_at: None })
    }

    pub(super) fn abort(&self) -> Result<Abort, Failure> {
        let (reason, by) = self.checked()?;
        let at = SystemClock.now();
        Ok(Abort { by, reason, at, until: at.plus(self.time) })
    }

    pub(super) fn checked(&self) -> Result<(String, String), Failure> {
        if self.time.is_zero() || self.time > ASK_MAX {
            let why = format!("`--for {}` is not between 1s and 7d", span(self.time));
            return Err(Failure::new(Exit::Input, why));
        }
        Ok((said("reason", &self.reason)?, self.place.by()?))
    }

    /// Leaves it for the service that runs, or does it here.
    pub(super) fn carry(
        &self,
        service: &ServiceName,
        says: Says,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let state = self.place.state_of(service)?;
        let path = pin::journal_path(state, service);
        if Journal::is_held(&path).map_err(|error| trouble(&error))? {
            return self.leave(service, says, out);
        }
        let Some(policy) = &self.policy else {
            let why = format!("no service runs on `{}`", state.display());
            return Err(Failure::new(Exit::Input, why)
                .hint("name the policy with `--policy PATH`, and this command does it"));
        };
        let (policy, _) = edge::policy(policy)?;
        if policy.service != *service {
            let why = format!("the policy is of `{}`, not of `{service}`", policy.service);
            return Err(Failure::new(Exit::Input, why));
        }
        if let Says::Ask(request) = &says
            && let Asked::Shift { to, .. } = &request.what
            && !policy.regions.contains_key(to)
        {
            let known: Vec<&str> = policy.regions.keys().map(RegionName::as_str).collect();
            let why = format!("`{to}` is not a region of `{service}`");
            return Err(
                Failure::new(Exit::Input, why).hint(format!("regions: {}", known.join(", ")))
            );
        }
        self.perform(policy, says, out)
    }

    /// Leaves the word as a file, and waits a moment until the service has taken it in.
    fn leave(&self, service: &ServiceName, says: Says, out: &mut Output) -> Result<Exit, Failure> {
        let state = self.place.state_of(service)?;
        let what = describe(&says);
        pin::write_spoken(state, service, says).map_err(|error| {
            let why = format!("write into `{}`: {error}", state.display());
            Failure::new(Exit::Trouble, why)
        })?;
        let is_taken = || matches!(pin::read_spoken(state, service), Ok(None));
        let taken = block_on(async {
            let until = Instant::now() + TAKEN_WITHIN;
            while !is_taken() && Instant::now() < until {
                sleep(LOOK_EVERY).await;
            }
            Ok(is_taken())
        })?;
        let heard =
            if taken { "taken in by the running service" } else { "left for it, not taken in yet" };
        match self.format {
            Format::Json => {
                out.line(json(&json!({ "service": service, "what": what, "taken": taken }))?);
            }
            Format::Text => {
                out.line(format!(
                    "`{service}`: {what}: {heard}; `leeward status` tells what becomes of it"
                ));
            }
        }
        Ok(Exit::Done)
    }

    /// One word without a running service.
    pub(super) fn perform(
        &self,
        policy: Policy,
        says: Says,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let state = self.place.state_of(&policy.service)?.to_owned();
        let service = policy.service.clone();
        let what = describe(&says);
        let in_sync = policy.weights_lever().map_or(Duration::ZERO, |lever| lever.in_sync_within);
        let task = Task {
            watch: self.watch.unwrap_or(policy.judge.window),
            within: in_sync + EXECUTION_SLACK,
            holder: self.holder.clone(),
            policy,
            state,
            says,
        };
        let came = block_on(async {
            let world = self.edge.connect_for(&[&task.policy]).await?;
            Box::pin(once(task, world)).await.map_err(|error| match error {
                JournalError::Held { .. } => Failure::new(Exit::Held, error.to_string())
                    .hint("a service has begun to run here; say it again, and it takes it in"),
                error @ (JournalError::File { .. }
                | JournalError::TooLong { .. }
                | JournalError::Shape(_)
                | JournalError::Poisoned { .. }) => trouble(&error),
            })
        })?;
        let (exit, word, holds) = outcome(&came);
        match self.format {
            Format::Json => {
                let told =
                    json!({ "service": service, "what": what, "came": word, "holds": holds });
                out.line(json(&told)?);
            }
            Format::Text => {
                out.line(format!("`{service}`: {what}: {word}"));
                for hold in holds {
                    out.line(format!(
                        "  holds: {hold}; flips when {}{}",
                        hold.flips_when(),
                        passable(hold)
                    ));
                }
            }
        }
        Ok(exit)
    }
}

fn describe(says: &Says) -> String {
    match says {
        Says::Ask(request) => request.to_string(),
        Says::Abort(abort) => {
            format!("abort, by {} until {}: {}", abort.by, abort.until, abort.reason)
        }
    }
}

fn passable(hold: &Hold) -> String {
    hold.guard()
        .map_or(String::new(), |guard| format!(", or a human says `--override {}`", guard.as_str()))
}

fn outcome(came: &Came) -> (Exit, String, &[Hold]) {
    match came {
        Came::Met => (Exit::Done, "the answers are so".to_owned(), &[]),
        Came::Withdrawn { why } => (Exit::Done, format!("withdrawn, {why}"), &[]),
        Came::NothingOpen => (
            Exit::Done,
            "nothing was under way; nothing moves by itself until then".to_owned(),
            &[],
        ),
        Came::Accepted => {
            let text = "the order is accepted as a whole and cannot be recalled; nothing else moves by \
                        itself until then";
            (Exit::Held, text.to_owned(), &[])
        }
        Came::Held { holds } => (Exit::Held, "held".to_owned(), holds),
        Came::Refused { why } => (Exit::Held, format!("not done, {why}"), &[]),
        Came::UnderWay => {
            let text = "begun and not in force yet; the journal keeps it for `leeward run`";
            (Exit::Trouble, text.to_owned(), &[])
        }
    }
}

pub(super) fn trouble(error: &JournalError) -> Failure {
    Failure::new(Exit::Trouble, error.to_string())
}
