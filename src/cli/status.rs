//! `leeward status`: what a running service sees and does, or what its journal last said.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;

use super::{Exit, Failure, Format, Output, block_on, history, hold, json};
use crate::clock::SystemClock;
use crate::decide::Digest;
use crate::domain::{ServiceName, Timestamp};
use crate::journal::acts_of;
use crate::memory::Entry;
use crate::ports::Clock as _;
use crate::report::history::Line;
use crate::report::view::Did;
use crate::report::{card, why};
use crate::runtime::board::State;
use crate::runtime::http::{Ask, ask};
use crate::runtime::pin;

/// Where `leeward run` answers if it was not told otherwise.
pub(super) const ADDRESS: &str = "http://127.0.0.1:9464";
/// The views of a thousand services.
const STATE_MAX: usize = 64 * 1024 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Journal lines of a stopped service that are shown.
const TAIL: usize = 5;

/// Shows what a running service sees and does; with `--state`, what its journal last said.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: From,
    /// Only this service.
    #[arg(long, value_name = "NAME")]
    service: Option<ServiceName>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A running controller, or what it left on disk.
#[derive(Debug, clap::Args)]
pub(super) struct From {
    /// Where the controller answers.
    #[arg(long, value_name = "URL", default_value = ADDRESS, conflicts_with = "state")]
    address: String,
    /// Read the journals in this directory instead: works when nothing runs.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// What a journal tells by itself.
#[derive(Debug, Serialize)]
pub(super) struct Left {
    pub(super) service: ServiceName,
    pub(super) did: Did,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decided_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decided: Option<Box<Digest>>,
    pub(super) journal: Vec<Line>,
}

/// Either source.
pub(super) enum Found {
    Running(Box<State>),
    Left(Vec<Left>),
}

impl From {
    pub(super) fn find(&self) -> Result<Found, Failure> {
        match &self.state {
            None => block_on(fetch(&self.address)).map(|state| Found::Running(Box::new(state))),
            Some(state) => {
                let services = hold::known_services(state)?;
                let left = services.iter().map(|service| read(state, service));
                left.collect::<Result<_, _>>().map(Found::Left)
            }
        }
    }
}

async fn fetch(address: &str) -> Result<State, Failure> {
    let url = format!("{}/v1/state", address.trim_end_matches('/'));
    let asked = Ask {
        method: Method::GET,
        url: &url,
        headers: Vec::new(),
        body: Bytes::new(),
        answer_max: STATE_MAX,
        within: ANSWER_WITHIN,
    };
    let trouble = |why: String| {
        Failure::new(Exit::Trouble, format!("ask `{url}`: {why}"))
            .hint("does `leeward run` answer there? `--state DIR` reads what it left on disk")
    };
    let (status, body) = ask(asked).await.map_err(|error| trouble(error.to_string()))?;
    if !status.is_success() {
        return Err(trouble(format!("it answered {status}")));
    }
    serde_json::from_slice(&body)
        .map_err(|error| trouble(format!("not a state of Leeward: {error}")))
}

fn read(state: &Path, service: &ServiceName) -> Result<Left, Failure> {
    let records = history::read(state, service)?;
    let acts = acts_of(&records);
    let decided = records.iter().rev().find_map(|record| {
        let Entry::Decided(digest) = &record.entry else { return None };
        Some((record.at, digest.clone()))
    });
    let (decided_at, decided) = decided.unzip();
    let tail = records.len().saturating_sub(TAIL);
    let journal = records[tail..].iter().map(|r| Line::of(r.seq, r.at, &r.entry)).collect();
    let now = SystemClock.now();
    let mut did = Did::of(&acts, now);
    // The file is what a running controller would honour next.
    did.pin = pin::in_force(state, service, now);
    Ok(Left { service: service.clone(), did, decided_at, decided, journal })
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let wanted = |name: &ServiceName| args.service.as_ref().is_none_or(|service| service == name);
    let missing = || {
        let name = args.service.as_ref().map_or("any", ServiceName::as_str);
        Failure::new(Exit::Input, format!("there is no service `{name}` here"))
    };
    match args.from.find()? {
        Found::Running(mut state) => {
            state.services.retain(|name, _| wanted(name));
            if state.services.is_empty() {
                return Err(missing());
            }
            match args.format {
                Format::Json => out.line(json(&state)?),
                Format::Text => {
                    for view in state.services.values() {
                        out.line(card::card(view, state.at));
                    }
                }
            }
        }
        Found::Left(mut left) => {
            left.retain(|one| wanted(&one.service));
            if left.is_empty() {
                return Err(missing());
            }
            match args.format {
                Format::Json => out.line(json(&left)?),
                Format::Text => left.iter().for_each(|one| out.line(text(one))),
            }
        }
    }
    Ok(Exit::Done)
}

fn text(left: &Left) -> String {
    let now = SystemClock.now();
    let mut page = match (&left.decided, left.decided_at) {
        (Some(digest), Some(at)) => why::digest(&left.service, at, digest),
        (_, _) => format!("{}   nothing was decided yet\n", left.service),
    };
    page.push_str(&card::left(&left.did, &left.journal, now));
    page
}
