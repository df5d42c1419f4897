//! Gates as health checks find them: objects in buckets, and addresses that this process answers.
//!
//! An object that is there, or an address that answers 200, is a closed gate: the check that looks at it
//! is inverted. What cannot be reached is an open one, so a controller that is dead takes nothing out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use hyper::Method;
use tokio::time::{Instant, timeout};

use crate::domain::{InAnswers, RegionName, ServiceName, Turn};
use crate::memory::Acts;
use crate::policy::{ArcLever, Gate, GatesLever, HOLDER, Slot};
use crate::ports::{
    Account, CallFailed, Clusters, Followed, GateFacts, HealthChecks, Objects, Switchboard,
    Switches,
};
use crate::report::switches::GATES_TURN_MAX;
use crate::runtime::http::{Ask, ask};
use crate::steer::{Checks, Health, HealthCheck, Watches};

/// Until an address has answered once, seen from here.
const LOOK_WITHIN: Duration = Duration::from_secs(4);
/// Of the body of a gate, which says nothing that is needed.
const BODY_MAX: usize = 64 * 1024;
/// Gates of one region that are set or read side by side.
const GATES_AT_ONCE: usize = 10;
/// `GetHealthCheckStatus` has a bucket of 4 that refills with one a second, for the whole account
/// (Developer Guide, "Throttling"); a check does not change its mind faster than this anyway.
const CHECKS_EVERY: Duration = Duration::from_secs(10);
/// So many at once fit into that bucket, with one left for others.
const CHECKS_AT_ONCE: usize = 3;
/// They are a call of the control plane, which may hang when gates are needed: no round waits for it.
const CHECKS_WITHIN: Duration = Duration::from_secs(2);

/// One gate by its place in the policy.
type Place = (ServiceName, RegionName, usize);

/// The gates that this process answers itself. Closed ones only; everything else is open.
#[derive(Debug, Default)]
pub struct Served(Mutex<BTreeSet<Place>>);

impl Served {
    /// True if that gate is closed. Anybody may ask.
    pub fn is_closed(&self, service: &ServiceName, region: &RegionName, slot: usize) -> bool {
        let closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closed.contains(&(service.clone(), region.clone(), slot))
    }

    fn set(&self, place: Place, to: Stands) {
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match to {
            Stands::Closed => closed.insert(place),
            Stands::Open => closed.remove(&place),
        };
    }

    /// After a start: the gates stand as the journal says.
    pub fn restore(&self, service: &ServiceName, lever: &GatesLever, acts: &Acts) {
        for (region, slots) in &lever.slots {
            let stands = acts.gates.get(region).copied().unwrap_or(InAnswers::In);
            let closed = stands.closed(slots.len());
            for number in 0..slots.len() {
                let to = if number < closed { Stands::Closed } else { Stands::Open };
                self.set((service.clone(), region.clone(), number), to);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Open,
    Closed,
}

/// Makes the switches of policies from what this deployment can reach.
#[derive(Debug, Clone)]
pub struct Board {
    pub objects: Option<Arc<dyn Objects>>,
    pub checks: Option<Arc<dyn HealthChecks>>,
    pub clusters: Option<Arc<dyn Clusters>>,
    pub served: Arc<Served>,
    pub holder: String,
}

impl Switchboard for Board {
    fn gates(&self, service: &ServiceName, lever: &GatesLever) -> Option<Arc<dyn Switches>> {
        Some(Arc::new(Gates {
            service: service.clone(),
            lever: lever.clone(),
            board: self.clone(),
            asked: Mutex::new(None),
        }))
    }

    fn arc(&self, _service: &ServiceName, lever: &ArcLever) -> Option<Arc<dyn Switches>> {
        Some(self.clusters.as_ref()?.cluster(lever))
    }
}

/// The gates of one service.
#[derive(Debug)]
struct Gates {
    service: ServiceName,
    lever: GatesLever,
    board: Board,
    /// When the health checks were asked last.
    asked: Mutex<Option<Instant>>,
}

impl Gates {
    /// What is to stand where, slot by slot.
    fn due<'a>(
        &'a self,
        turn: &'a Turn,
    ) -> impl Iterator<Item = (usize, &'a Slot, Stands)> + use<'a> {
        let slots = self.lever.slots.get(&turn.region).map_or(&[][..], Vec::as_slice);
        let closed = turn.to.closed(slots.len());
        slots.iter().enumerate().map(move |(number, slot)| {
            (number, slot, if number < closed { Stands::Closed } else { Stands::Open })
        })
    }

    fn own(&self, text: &str) -> String {
        text.replace(HOLDER, &self.board.holder)
    }

    fn objects(&self) -> Result<&Arc<dyn Objects>, CallFailed> {
        self.board.objects.as_ref().ok_or_else(|| CallFailed::NotSent {
            why: "this build has no client for buckets".to_owned(),
        })
    }

    async fn set(
        &self,
        region: &RegionName,
        number: usize,
        gate: &Gate,
        to: Stands,
    ) -> Result<(), CallFailed> {
        let mut lost = None;
        match gate {
            Gate::S3 { bucket, key, aws_region, .. } => {
                let objects = self.objects()?;
                let key = self.own(key);
                let written = match to {
                    Stands::Closed => {
                        let body = format!("{} takes {region} out\n", self.board.holder);
                        objects.put(aws_region, bucket, &key, &body).await
                    }
                    Stands::Open => objects.delete(aws_region, bucket, &key).await,
                };
                match written {
                    Err(failure) if failure.nothing_happened() => return Err(failure),
                    written => lost = written.err(),
                }
            }
            Gate::Http { .. } => {
                self.board.served.set((self.service.clone(), region.clone(), number), to);
            }
            Gate::Unnamed => {
                let why = format!("nobody knows where the gate of `{region}` stands");
                return Err(CallFailed::NotSent { why });
            }
        }
        // Read back: what was accepted and does not stand is not done, and what got no answer may be.
        match self.stands(region, number, gate).await {
            Ok(found) if found == to => Ok(()),
            Ok(_) => Err(lost.unwrap_or_else(|| CallFailed::Unknown {
                why: format!("the gate of `{region}` was set and does not stand so"),
            })),
            Err(failure) => Err(CallFailed::Unknown {
                why: format!("the gate of `{region}` was set and cannot be read back: {failure}"),
            }),
        }
    }

    /// How one gate stands, by the service behind it.
    async fn stands(
        &self,
        region: &RegionName,
        number: usize,
        gate: &Gate,
    ) -> Result<Stands, CallFailed> {
        let closed = match gate {
            Gate::S3 { bucket, key, aws_region, .. } => {
                self.objects()?.exists(aws_region, bucket, &self.own(key)).await?
            }
            Gate::Http { .. } => self.board.served.is_closed(&self.service, region, number),
            Gate::Unnamed => {
                return Err(CallFailed::NotSent { why: "nobody knows where it stands".to_owned() });
            }
        };
        Ok(if closed { Stands::Closed } else { Stands::Open })
    }

    /// Whether a gate looks from outside as it is to stand. `None` if nothing was heard. Behind an address anybody
    /// may answer, a proxy with a page of its own: closed is only what this program answers.
    async fn looks(&self, gate: &Gate, to: Stands) -> Option<bool> {
        let (status, body) = answer(gate, &self.board.holder).await.ok()?;
        let seen = GateFacts { kept: None, outside: Ok(status), stranger: is_strange(gate, &body) };
        let closed = seen.looks_closed()?;
        Some(if to == Stands::Closed { closed && !seen.stranger } else { !closed })
    }

    /// Whether it is time to ask the health checks again.
    fn may_ask(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = asked.is_none_or(|at| at.elapsed() >= CHECKS_EVERY);
        if due {
            *asked = Some(Instant::now());
        }
        due
    }

    /// What the check that looks at a gate finds. `None` if it cannot be asked.
    async fn checked(&self, slot: &Slot) -> Option<Stands> {
        let (id, checks) = (slot.health_check.as_ref()?, self.board.checks.as_ref()?);
        let found = checks.found(id).await.ok().filter(|found| found.checkers > 0)?;
        let check = HealthCheck::new(Watches::Endpoint { found: Some(found) });
        let verdict = Checks([(id.clone(), check)].into()).verdict(id).ok()?;
        Some(if verdict == Health::Healthy { Stands::Closed } else { Stands::Open })
    }
}

/// What a gate that this process answers says when it is closed, and a check may search for.
pub(crate) const GATE_CLOSED: &str = "out\n";
/// What it says when it is open.
pub(crate) const GATE_OPEN: &str = "in\n";

/// Whether this is no answer of ours. An object's text is its publisher's.
fn is_strange(gate: &Gate, body: &Bytes) -> bool {
    matches!(gate, Gate::Http { .. }) && ![GATE_CLOSED, GATE_OPEN].iter().any(|text| body == text)
}

/// How a gate looks from outside.
async fn seen(gate: &Gate, holder: &str) -> GateFacts {
    let (outside, stranger) = match answer(gate, holder).await {
        Ok((status, body)) => (Ok(status), is_strange(gate, &body)),
        Err(why) => (Err(why), false),
    };
    GateFacts { kept: None, outside, stranger }
}

/// Asks for a gate without credentials, as a checker does: status and body of the answer.
async fn answer(gate: &Gate, holder: &str) -> Result<(u16, Bytes), String> {
    let url = gate.url(holder).ok_or("nobody knows where it stands")?;
    let look = Ask {
        method: Method::GET,
        url: &url,
        body: Bytes::new(),
        headers: Vec::new(),
        answer_max: BODY_MAX,
        within: LOOK_WITHIN,
    };
    let (status, body) = ask(look).await.map_err(|error| error.to_string())?;
    Ok((status.as_u16(), body))
}

/// How every gate of a lever is found, through what can only read.
pub async fn found(
    lever: &GatesLever,
    account: &dyn Account,
    holder: &str,
) -> BTreeMap<(RegionName, usize), GateFacts> {
    let gates = lever.slots.iter().flat_map(|(region, slots)| {
        slots.iter().enumerate().map(move |(number, slot)| (region, number, &slot.gate))
    });
    let found = gates.map(async |(region, number, gate)| {
        let (kept, seen) = tokio::join!(kept(gate, account, holder), seen(gate, holder));
        ((region.clone(), number), GateFacts { kept, ..seen })
    });
    join_all(found).await.into_iter().collect()
}

/// Whether its bucket keeps a gate's object. `None` for a gate that no bucket keeps.
async fn kept(
    gate: &Gate,
    account: &dyn Account,
    holder: &str,
) -> Option<Result<bool, CallFailed>> {
    let Gate::S3 { bucket, key, aws_region, .. } = gate else { return None };
    Some(account.object(aws_region, bucket, &key.replace(HOLDER, holder)).await)
}

/// How far the gates of a lever let each region in, through what can only read; or why that is not known.
pub async fn standing(
    lever: &GatesLever,
    account: &dyn Account,
    holder: &str,
) -> Result<BTreeMap<RegionName, InAnswers>, String> {
    let closed = async |gate| match kept(gate, account, holder).await {
        Some(kept) => kept.map_err(|failure| failure.to_string()),
        None => {
            let seen = seen(gate, holder).await;
            seen.closed().ok_or_else(|| seen.outside.err().unwrap_or_default())
        }
    };
    let mut standing = BTreeMap::new();
    for (region, slots) in &lever.slots {
        let asked = join_all(slots.iter().map(|slot| closed(&slot.gate))).await;
        let stands: Vec<bool> = asked.into_iter().collect::<Result<_, _>>()?;
        let count = stands.iter().filter(|closed| **closed).count();
        standing.insert(region.clone(), InAnswers::slots(count, slots.len()));
    }
    Ok(standing)
}

#[async_trait]
impl Switches for Gates {
    async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        // Until then nothing else is decided, and nothing withdrawn.
        timeout(GATES_TURN_MAX, self.turn_all(turns)).await.unwrap_or_else(|_| Err(late("set")))
    }

    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        timeout(GATES_TURN_MAX, self.read_all()).await.unwrap_or_else(|_| Err(late("read")))
    }

    async fn followed(&self, turns: &[Turn]) -> Result<Followed, CallFailed> {
        let due: Vec<(usize, &Slot, Stands)> =
            turns.iter().flat_map(|turn| self.due(turn)).collect();
        let looks = due.iter().map(async |(_, slot, to)| self.looks(&slot.gate, *to).await);
        let checks = async {
            if !self.may_ask() {
                return Vec::new();
            }
            // The last that were turned are the last to follow.
            let asked = due.iter().rev().filter(|(_, slot, _)| slot.health_check.is_some());
            let asked = asked.take(CHECKS_AT_ONCE);
            let asked = asked.map(async |(_, slot, to)| Some(self.checked(slot).await? == *to));
            timeout(CHECKS_WITHIN, join_all(asked)).await.unwrap_or_default()
        };
        let (looked, checked) = tokio::join!(join_all(looks), checks);
        let seen: Vec<bool> = looked.into_iter().chain(checked).flatten().collect();
        Ok(match seen.as_slice() {
            [] => Followed::CannotTell,
            seen if seen.iter().all(|follows| *follows) => Followed::Yes,
            _ => Followed::NotYet,
        })
    }
}

impl Gates {
    /// One region after the other, as the order of turns keeps somebody in the answers; the gates of one
    /// region side by side.
    async fn turn_all(&self, turns: &[Turn]) -> Result<(), CallFailed> {
        let mut done = 0;
        for turn in turns {
            let due: Vec<(usize, &Slot, Stands)> = self.due(turn).collect();
            for some in due.chunks(GATES_AT_ONCE) {
                let set = some.iter().map(async |(number, slot, to)| {
                    self.set(&turn.region, *number, &slot.gate, *to).await
                });
                let failures: Vec<CallFailed> =
                    join_all(set).await.into_iter().filter_map(Result::err).collect();
                done += some.len() - failures.len();
                let Some(first) = failures.first() else { continue };
                if done == 0 && failures.iter().all(CallFailed::nothing_happened) {
                    return Err(first.clone());
                }
                let why = format!("{done} gates are set, the next is not: {first}");
                return Err(CallFailed::Unknown { why });
            }
        }
        Ok(())
    }

    async fn read_all(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        let mut standing = BTreeMap::new();
        let mut first = None;
        for (region, slots) in &self.lever.slots {
            let mut stands = Vec::new();
            let slots: Vec<(usize, &Slot)> = slots.iter().enumerate().collect();
            for some in slots.chunks(GATES_AT_ONCE) {
                let read = some
                    .iter()
                    .map(async |(number, slot)| self.stands(region, *number, &slot.gate).await);
                stands.extend(join_all(read).await);
            }
            match stands.into_iter().collect::<Result<Vec<Stands>, CallFailed>>() {
                Ok(stands) => {
                    let closed = stands.iter().filter(|one| **one == Stands::Closed).count();
                    standing.insert(region.clone(), InAnswers::slots(closed, slots.len()));
                }
                Err(failure) => first = first.or(Some(failure)),
            }
        }
        match first {
            Some(failure) if standing.is_empty() => Err(failure),
            Some(_) | None => Ok(standing),
        }
    }
}

fn late(what: &str) -> CallFailed {
    let within = crate::domain::span(GATES_TURN_MAX);
    CallFailed::Unknown { why: format!("not all gates could be {what} within {within}") }
}
