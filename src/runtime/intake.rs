//! Where events come in: queues that are polled, and HTTP for those who prove who they are.
//!
//! An event asks a service to look now; what is done is decided from what is seen then. An event counts as
//! handled when it is in the journal and the round that it asked for is over. Nothing is lost before that: a
//! queue delivers again, and whoever sends over HTTP is told to come back.

mod base64;
mod bucket;
pub mod http;
pub mod quarantine;
pub mod queue;
mod secret;
pub mod sns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch as channel};
use tokio::time::timeout;
use tracing::warn;

use crate::domain::{ServiceName, Timestamp};
use crate::event::{self, Event, Kind, Meaning, Unknown};
use crate::health::Sample;
use crate::policy::Policy;
use crate::ports::Clock;
use crate::runtime::reports::Report;
use crate::telemetry::{ByDoor, Numbers};

use quarantine::Quarantine;
use sns::Verifier;

/// Events that wait for one service. A storm of two hundred alarms fits.
pub const ARRIVALS_MAX: usize = 256;
/// SNS waits 15 s for an answer (Amazon SNS Developer Guide, "HTTP/HTTPS subscriptions"), EventBridge 5 s
/// (Amazon EventBridge User Guide, "API destinations"). Whoever is told to come back loses nothing.
const HANDLED_WITHIN: Duration = Duration::from_secs(4);

/// An event on its way to a service.
#[derive(Debug)]
pub struct Arrival {
    pub event: Event,
    /// Who has signed it, if somebody did.
    pub by: Option<String>,
    /// Told when it was handled. Dropped if it could not be.
    pub done: oneshot::Sender<Taken>,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is in the journal, and the round that it asked for was made.
    Handled { text: String },
    /// Seen before: nothing follows again.
    Duplicate,
    /// Understood, and nothing follows.
    Nothing { why: String },
}

/// By which door something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    Queue,
    Sns,
    EventBridge,
    Alertmanager,
    Signed,
    Command,
}

impl Door {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Sns => "sns",
            Self::EventBridge => "eventbridge",
            Self::Alertmanager => "alertmanager",
            Self::Signed => "signed",
            Self::Command => "command",
        }
    }

    /// What may come through it. Who says yes must be known, and a number that moves traffic must be signed
    /// for: neither comes through a door that only knows a machine.
    pub fn lets_in(self, kind: Kind) -> bool {
        match kind {
            Kind::Look => true,
            // Whoever may ring the bell may not say why.
            Kind::Deploy | Kind::Notice => self != Self::Alertmanager,
            Kind::Answer => self == Self::Signed,
            Kind::Reading => matches!(self, Self::Signed | Self::Queue),
        }
    }
}

/// The services that run, with the policy each has now.
#[derive(Debug, Default)]
pub struct Registry {
    services: Mutex<BTreeMap<ServiceName, Registered>>,
    changed: channel::Sender<()>,
}

#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) policy: Arc<Policy>,
    arrivals: mpsc::Sender<Arrival>,
    samples: mpsc::Sender<Sample>,
    /// Where it hears of what was kept aside.
    reports: Option<mpsc::Sender<Report>>,
}

impl Registry {
    /// From now on events for this service go there. Whoever was registered for it before is forgotten.
    pub fn enter(
        &self,
        policy: Arc<Policy>,
        arrivals: mpsc::Sender<Arrival>,
        samples: mpsc::Sender<Sample>,
    ) {
        let service = policy.service.clone();
        let registered = Registered { policy, arrivals, samples, reports: None };
        self.lock().insert(service, registered);
        self.changed.send_replace(());
    }

    /// What is kept aside for this service is reported there.
    pub fn report_to(&self, service: &ServiceName, reports: mpsc::Sender<Report>) {
        if let Some(registered) = self.lock().get_mut(service) {
            registered.reports = Some(reports);
        }
    }

    pub(crate) fn find(&self, service: &ServiceName) -> Option<Registered> {
        self.lock().get(service).cloned()
    }

    /// Every queue that some policy names, with the services that do.
    fn queues(&self) -> BTreeMap<(String, String), BTreeSet<ServiceName>> {
        let mut queues: BTreeMap<_, BTreeSet<ServiceName>> = BTreeMap::new();
        for (service, registered) in self.lock().iter() {
            for queue in &registered.policy.triggers.queues {
                let key = (queue.aws_region.clone(), queue.url.clone());
                queues.entry(key).or_default().insert(service.clone());
            }
        }
        queues
    }

    fn subscribe(&self) -> channel::Receiver<()> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Registered>> {
        // An entry is replaced whole, so that a panic elsewhere leaves no half of one behind.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all doors share.
#[derive(Debug)]
pub struct Intake {
    pub registry: Arc<Registry>,
    pub quarantine: Quarantine,
    pub verifier: Verifier,
    pub clock: Arc<dyn Clock>,
    pub numbers: Arc<Numbers>,
}

/// What a body came to at one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Came {
    pub(crate) handled: u32,
    pub(crate) duplicates: u32,
    pub(crate) nothing: u32,
    /// Kept aside, each with the reason.
    pub(crate) aside: Vec<String>,
    /// Not taken in now; the same body may come again.
    pub(crate) later: Option<String>,
}

/// Where a body comes from, for checks and for the report of what is kept aside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) door: Door,
    /// Who has signed it.
    pub(crate) by: Option<&'a str>,
    /// What this sender may send, if that is less than the door lets in.
    pub(crate) may: Option<&'a BTreeSet<Kind>>,
    /// Topics that are taken; empty: all.
    pub(crate) topics: &'a BTreeSet<String>,
}

impl Intake {
    /// Takes in every event of a body for one service. What is unknown, and what may not come this way, is
    /// kept aside.
    pub(crate) async fn take(&self, service: &ServiceName, from: From<'_>, body: &[u8]) -> Came {
        let mut came = Came::default();
        let Some(registered) = self.registry.find(service) else {
            came.later = Some(format!("`{service}` does not run"));
            return came;
        };
        let mut events = Vec::new();
        for part in event::parse(body) {
            let refused = match &part {
                Ok(event) => refused(event, from),
                Err(Unknown { why }) => Some(why.clone()),
            };
            match (refused, part) {
                (Some(why), _) => {
                    self.report_aside(&registered, from.door, &why, body, &mut came);
                }
                (None, Ok(event)) => events.push(event),
                (None, Err(_)) => {}
            }
        }
        // All at once: they wait for the same round.
        let delivered = events.into_iter().map(|event| self.deliver(&registered, event, from.by));
        for taken in join_all(delivered).await {
            match taken {
                Ok(Taken::Handled { .. }) => came.handled += 1,
                Ok(Taken::Duplicate) => came.duplicates += 1,
                Ok(Taken::Nothing { .. }) => came.nothing += 1,
                Err(why) => came.later = Some(why),
            }
        }
        for (outcome, count) in [
            ("handled", came.handled),
            ("duplicate", came.duplicates),
            ("nothing", came.nothing),
            ("later", u32::from(came.later.is_some())),
        ] {
            self.count(service, from.door, outcome, count);
        }
        came
    }

    fn count(&self, service: &ServiceName, door: Door, outcome: &'static str, count: u32) {
        let labels = ByDoor { service: service.to_string(), door: door.as_str(), outcome };
        self.numbers.events.get_or_create(&labels).inc_by(u64::from(count));
    }

    /// Keeps it aside, and lets people know.
    fn report_aside(&self, to: &Registered, door: Door, why: &str, body: &[u8], came: &mut Came) {
        self.keep_aside(&to.policy.service, door, why, body, came);
        if let Some(reports) = &to.reports {
            // Whoever is flooded counts fewer; the quarantine has them all.
            let _ = reports.try_send(Report::Aside { door: door.as_str(), why: why.to_owned() });
        }
    }

    /// Keeps the end of a subscription aside, and lets people know: from now on its alarms are missing, and
    /// nothing else would tell.
    pub(crate) fn report_ended(&self, to: &Registered, topic: &str, body: &[u8], came: &mut Came) {
        let why = format!("the subscription to {topic} was ended: its alarms come no more");
        self.keep_aside(&to.policy.service, Door::Sns, &why, body, came);
        if let Some(reports) = &to.reports
            && reports.try_send(Report::Ended { topic: topic.to_owned() }).is_err()
        {
            came.later = Some("too much is waiting to be told".to_owned());
        }
    }

    fn keep_aside(
        &self,
        service: &ServiceName,
        door: Door,
        why: &str,
        body: &[u8],
        came: &mut Came,
    ) {
        match self.quarantine.keep(service, door, why, body, self.clock.now()) {
            Ok(path) => {
                warn!(%service, door = door.as_str(), why, path = %path.display(), "Kept aside, not acted on.");
                came.aside.push(why.to_owned());
            }
            // Not deleted where it is: it comes again when there is room.
            Err(error) => {
                warn!(%service, door = door.as_str(), why, %error, "Could not be kept aside.");
                came.later = Some(format!("it could not be kept aside: {error}"));
            }
        }
        self.count(service, door, "aside", 1);
    }

    async fn deliver(
        &self,
        to: &Registered,
        event: Event,
        by: Option<&str>,
    ) -> Result<Taken, String> {
        // A reading is one of many and goes where all samples go.
        if event.what.kind() == Some(Kind::Reading) {
            return self.reading(to, &event);
        }
        let (done, handled) = oneshot::channel();
        let arrival = Arrival { event, by: by.map(str::to_owned), done };
        to.arrivals.try_send(arrival).map_err(|_| "too many events wait".to_owned())?;
        match timeout(HANDLED_WITHIN, handled).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(_)) => Err("the service began again before it was handled".to_owned()),
            Err(_) => Err("it is not handled yet".to_owned()),
        }
    }

    fn reading(&self, to: &Registered, event: &Event) -> Result<Taken, String> {
        let now: Timestamp = self.clock.now();
        let judged = event::judge(&to.policy, event, now);
        match judged.meaning {
            Meaning::Sample(sample) => {
                let full = |_| "too many readings wait".to_owned();
                to.samples.try_send(*sample).map_err(full)?;
                Ok(Taken::Handled { text: judged.text })
            }
            Meaning::Look { .. } | Meaning::Answer(_) | Meaning::Nothing => {
                Ok(Taken::Nothing { why: judged.text })
            }
        }
    }
}

/// Why an event may not come this way, if it may not.
fn refused(event: &Event, from: From<'_>) -> Option<String> {
    if !from.topics.is_empty()
        && !event.topic.as_ref().is_some_and(|topic| from.topics.contains(topic))
    {
        let topic = event.topic.as_deref().unwrap_or("none");
        return Some(format!("its topic is {topic}, which is not on the policy's list"));
    }
    let kind = event.what.kind()?;
    let may = from.may.is_none_or(|may| may.contains(&kind));
    if from.door.lets_in(kind) && may {
        return None;
    }
    let what = match kind {
        Kind::Look => "requests to look",
        Kind::Deploy => "deploys",
        Kind::Notice => "notices",
        Kind::Answer => "a human's answers",
        Kind::Reading => "readings",
    };
    let whose = from
        .by
        .map_or_else(|| format!("the door `{}`", from.door.as_str()), |by| format!("`{by}`"));
    Some(format!("{whose} may not send {what}"))
}

#[cfg(test)]
mod tests;
