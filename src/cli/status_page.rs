//! `leeward status-page`: what the public is told, looked at before the bad day and sent on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use super::hold::{Place, said};
use super::{Exit, Failure, Format, Output, edge, history, json};
use crate::bulletin::Light::{Degraded, MajorOutage, Operational, PartialOutage};
use crate::bulletin::{Bulletin, Chronicle, Light, Page, Phase, Update};
use crate::clock::SystemClock;
use crate::domain::{ServiceName, Timestamp};
use crate::journal::acts_of;
use crate::policy::{Policy, StatusPage};
use crate::ports::Clock as _;
use crate::runtime::pin::{self, Words};
use crate::runtime::telling::write;

/// Sends what is new to the public, or shows what it would look like.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Publish(Publish),
    Preview(Preview),
}

/// Sends the draft of a running `leeward run` to the public, in the words of the policy or in others.
///
/// The states of components are as they are measured. While an incident is open it cannot be called
/// resolved. What was sent is renewed by itself until there is something new. Words stand on the page with
/// an incident: while none is open, and none waits for its end to be told, they are refused.
#[derive(Debug, clap::Args)]
struct Publish {
    /// The service, as its policy calls it.
    service: ServiceName,
    /// Other words than those of the policy.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// How far the incident has come, if not as far as is seen.
    #[arg(long, value_enum)]
    phase: Option<PhaseArg>,
    #[command(flatten)]
    place: Place,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PhaseArg {
    Investigating,
    Identified,
    Monitoring,
    Resolved,
}

impl From<PhaseArg> for Phase {
    fn from(phase: PhaseArg) -> Self {
        match phase {
            PhaseArg::Investigating => Self::Investigating,
            PhaseArg::Identified => Self::Identified,
            PhaseArg::Monitoring => Self::Monitoring,
            PhaseArg::Resolved => Self::Resolved,
        }
    }
}

/// Writes the page of a policy as it would be on a calm day, during an outage and after it.
///
/// Three folders with the files that would be published. Nothing is published.
#[derive(Debug, clap::Args)]
struct Preview {
    /// A policy file with a `status_page`.
    policy: PathBuf,
    /// Where the folders are made.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::Publish(args) => publish(args, out),
        Command::Preview(args) => preview(args, out),
    }
}

fn publish(args: &Publish, out: &mut Output) -> Result<Exit, Failure> {
    let (by, at) = (args.place.by()?, SystemClock.now());
    let text = args.text.as_deref().map(|text| said("text", text)).transpose()?;
    let state = args.place.state_of(&args.service)?;
    if !shows_words(state, &args.service)? {
        let why = format!(
            "`{}`: no incident is open and none waits for its end to be told: the page has no place for words",
            args.service
        );
        return Err(Failure::new(Exit::Held, why).hint(
            "send them when an incident is open (`leeward history` shows it); what Leeward does not see, \
             such as maintenance, belongs on a page of your own",
        ));
    }
    let words = Words { by, at, text, phase: args.phase.map(Phase::from) };
    pin::write_words(state, &args.service, &words).map_err(|error| {
        Failure::new(Exit::Trouble, format!("write the words into `{}`: {error}", state.display()))
    })?;
    match args.format {
        Format::Json => out.line(json(&words)?),
        Format::Text => out.line(format!(
            "`{}`: published with the next round, in {} words, by {}",
            args.service,
            if words.text.is_some() { "these" } else { "the policy's" },
            words.by
        )),
    }
    Ok(Exit::Done)
}

/// Whether the public reads of an incident, or would if somebody found words for it: by the journal, which a
/// running controller may be writing.
fn shows_words(state: &Path, service: &ServiceName) -> Result<bool, Failure> {
    let acts = acts_of(&history::read(state, service)?);
    Ok(acts.incident_since.is_some() || acts.public.open().is_some())
}

fn preview(args: &Preview, out: &mut Output) -> Result<Exit, Failure> {
    let (policy, _) = edge::policy(&args.policy)?;
    let (Some(page), Some(frame)) = (&policy.status_page, policy.page_frame()) else {
        let why = format!("`{}` has no `status_page`", args.policy.display());
        return Err(Failure::new(Exit::Input, why)
            .hint("`status_page: { title: Example Shop status, publish: [{ directory: /var/www/status }] }`"));
    };
    let now = SystemClock.now();
    for (name, told) in examples(&policy, page, now) {
        let folder = args.out.join(name);
        write(&folder, &Page::of(&frame, &told, now)).map_err(|error| {
            Failure::new(Exit::Trouble, format!("write `{}`: {error}", folder.display()))
        })?;
        out.line(folder.join("index.html").display().to_string());
    }
    Ok(Exit::Done)
}

/// An outage of forty minutes in the words of the policy: before it, in the middle of it, after it.
fn examples(policy: &Policy, page: &StatusPage, now: Timestamp) -> [(&'static str, Chronicle); 3] {
    let names: Vec<&str> = page.components.values().map(|one| one.name.as_str()).collect();
    let minutes = |count: u64| now.minus(Duration::from_secs(60 * count));
    let began = minutes(40);
    let words = |phase| {
        let template = match phase {
            Phase::Investigating => &page.words.investigating,
            Phase::Identified => &page.words.identified,
            Phase::Monitoring => &page.words.monitoring,
            Phase::Resolved => &page.words.resolved,
        };
        template.fill(|place| match place {
            "components" => names.join(", "),
            "since" => began.to_string(),
            _ => policy.service.to_string(),
        })
    };
    let bulletin = |at, first: Light, others: Light, open: bool, phase: Option<Phase>| Bulletin {
        at,
        components: page
            .components
            .keys()
            .enumerate()
            .map(|(place, id)| (id.clone(), if place == 0 { first } else { others }))
            .collect(),
        incident: open.then(|| (format!("{}-example", policy.service), began)),
        update: phase.map(|phase| Update { at, phase, text: words(phase) }),
        blind: None,
        unworded: false,
    };
    let mut calm = Chronicle::default();
    calm.take(&bulletin(minutes(1), Operational, Operational, false, None));
    let mut outage = Chronicle::default();
    for one in [
        bulletin(began, MajorOutage, Degraded, true, Some(Phase::Investigating)),
        bulletin(minutes(37), MajorOutage, Degraded, true, Some(Phase::Identified)),
        bulletin(minutes(22), PartialOutage, Operational, true, None),
    ] {
        outage.take(&one);
    }
    let mut over = outage.clone();
    over.take(&bulletin(minutes(12), Operational, Operational, true, Some(Phase::Monitoring)));
    over.take(&bulletin(minutes(2), Operational, Operational, false, Some(Phase::Resolved)));
    [("calm", calm), ("outage", outage), ("over", over)]
}
