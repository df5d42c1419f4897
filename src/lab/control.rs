//! Leeward in the laboratory: the real service round with the real watch, and a chronicle of what it did.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::world::World;
use crate::answers::DnsResolver;
use crate::decide::{Decision, Diagnosis};
use crate::domain::{RegionName, SignalName, Split, Timestamp, VantageName};
use crate::health::{Reading, Sample};
use crate::journal::{Journal, JournalError};
use crate::memory::Outcome;
use crate::pace::Pacer;
use crate::plan::Wanted;
use crate::policy::{Class, Pace, Policy, Probe};
use crate::ports::{CallFailed, Clock, Levers, Messenger};
use crate::probe::{self, Target};
use crate::runtime::peer::Readings;
use crate::runtime::round::Service;
use crate::runtime::watch::{Beacon, IN_FLIGHT_MAX, Prober, SAMPLES_MAX, Sources};
use crate::telemetry::Numbers;
use crate::tell::Note;

/// How long a name server of the laboratory may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Moments that wait to be shown.
pub const MOMENTS_MAX: usize = 1024;

/// Something that Leeward saw or did, for the first time.
#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// A region begins to look bad. Much has to follow before it is condemned.
    Suspected {
        region: RegionName,
    },
    /// A region reads bad, or no longer.
    Read {
        region: RegionName,
        reading: Reading,
    },
    /// The gravest finding is another one.
    Diagnosed {
        diagnosis: Diagnosis,
        region: Option<RegionName>,
    },
    /// Every guard let a move pass.
    Decided {
        to: Split,
    },
    /// Route 53 took the change.
    Accepted {
        to: Split,
    },
    /// In sync, and answered by the name server.
    InForce,
    /// An order ended otherwise.
    Ended(Outcome),
    Told(Note),
}

#[derive(Debug, Clone, PartialEq)]
pub struct At {
    pub at: Timestamp,
    pub what: Moment,
}

/// The controller's side of the laboratory. Stops when dropped.
#[derive(Debug)]
pub struct Control {
    /// The last decision.
    pub decision: watch::Receiver<Option<Decision>>,
    pub moments: mpsc::Receiver<At>,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), JournalError>>,
}

impl Control {
    /// Starts watching and deciding under `policy`, with a journal in `state`.
    pub async fn start(
        world: &World,
        policy: Policy,
        state: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JournalError> {
        let (journal, recovered) = Journal::open(&state.join("journal"))?;
        let levers = Levers {
            weights: Some(Arc::clone(&world.zones) as Arc<_>),
            resolver: Some(Arc::new(DnsResolver::new(ANSWER_WITHIN))),
            gates: None,
            balancers: None,
        };
        let pace = policy.weights_lever().map_or_else(Pace::default, |lever| lever.pace);
        let shared = Arc::new(policy.clone());
        let holder = format!("leeward-lab-{}", std::process::id());
        let mut service = Service::new(
            policy,
            levers,
            Box::new(journal),
            Arc::clone(&clock),
            Arc::new(Pacer::new(pace)),
            holder,
        );
        service.memory.acts = recovered.acts;
        let (sender, moments) = mpsc::channel(MOMENTS_MAX);
        service.messenger = Some(Arc::new(Herald { moments: sender.clone() }));
        service.start().await?;

        let stop = CancellationToken::new();
        let (samples, heard) = mpsc::channel(SAMPLES_MAX);
        let sources = Sources {
            prober: Arc::new(Eyes { clock: Arc::clone(&clock) }),
            targets: Some(Arc::clone(&world.instruments) as Arc<_>),
            metrics: Some(Arc::clone(&world.instruments) as Arc<_>),
            clock,
            numbers: Arc::new(Numbers::new()),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        };
        let (publish, decision) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let watching = crate::runtime::watch::watch(shared, sources, samples, stop.clone());
        tasks.spawn(async move {
            watching.await;
            Ok(())
        });
        let chronicle = Chronicle { publish, moments: sender, last: Last::default() };
        let every = world.layout.tempo.round;
        tasks.spawn(rounds(service, heard, chronicle, every, stop.clone()));
        Ok(Self { decision, moments, stop, tasks })
    }

    /// Why the controller ended by itself, if it did.
    pub fn ended(&mut self) -> Option<String> {
        match self.tasks.try_join_next()? {
            Ok(Ok(())) => Some("a task returned".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn rounds(
    mut service: Service,
    mut heard: mpsc::Receiver<Sample>,
    mut chronicle: Chronicle,
    every: Duration,
    stop: CancellationToken,
) -> Result<(), JournalError> {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = beat.tick() => {}
        }
        let mut samples = Vec::new();
        while let Ok(sample) = heard.try_recv() {
            samples.push(sample);
        }
        let done = service.round(samples, Vec::new()).await?;
        chronicle.write(&service, done.decision, done.ended);
    }
}

/// What was last said of each thing, so that only news is said.
#[derive(Debug, Default)]
struct Last {
    suspected: BTreeMap<RegionName, bool>,
    readings: BTreeMap<RegionName, Reading>,
    finding: Option<(Diagnosis, Option<RegionName>)>,
    wanted: Option<Split>,
    accepted: usize,
}

#[derive(Debug)]
struct Chronicle {
    publish: watch::Sender<Option<Decision>>,
    moments: mpsc::Sender<At>,
    last: Last,
}

impl Chronicle {
    fn write(&mut self, service: &Service, decision: Decision, ended: Option<Outcome>) {
        let at = decision.at;
        for (region, verdict) in &decision.regions {
            let suspected = verdict.bad_since.is_some();
            if self.last.suspected.insert(region.clone(), suspected) == Some(false) && suspected {
                self.say(at, Moment::Suspected { region: region.clone() });
            }
            // What is unclear for a moment in between is no news.
            if verdict.reading != Reading::Unknown
                && self.last.readings.insert(region.clone(), verdict.reading)
                    != Some(verdict.reading)
            {
                self.say(at, Moment::Read { region: region.clone(), reading: verdict.reading });
            }
        }
        let finding = decision.findings.first();
        let finding = finding.map(|finding| (finding.diagnosis, finding.region.clone()));
        if finding != self.last.finding {
            if let Some((diagnosis, region)) = finding.clone() {
                self.say(at, Moment::Diagnosed { diagnosis, region });
            }
            self.last.finding = finding;
        }
        let wanted = decision.wanted.as_ref().and_then(|wanted| match wanted {
            Wanted::Move(moved) => Some(moved.to.clone()),
            Wanted::Refresh { .. } => None,
        });
        if let Some(to) = wanted.clone()
            && self.last.wanted != wanted
        {
            self.say(at, Moment::Decided { to });
        }
        self.last.wanted = wanted.or(self.last.wanted.take());
        let shifts = &service.memory.acts.shifts;
        for shift in shifts.iter().skip(self.last.accepted) {
            self.say(shift.at, Moment::Accepted { to: shift.to.clone() });
        }
        self.last.accepted = shifts.len();
        match ended {
            Some(Outcome::Done) => {
                let done = service.memory.acts.last_end.unwrap_or(at);
                self.say(done, Moment::InForce);
            }
            Some(outcome) => self.say(at, Moment::Ended(outcome)),
            None => {}
        }
        self.publish.send_replace(Some(decision));
    }

    /// Nobody misses a moment of the chronicle unless a thousand of them wait.
    fn say(&self, at: Timestamp, what: Moment) {
        let _ = self.moments.try_send(At { at, what });
    }
}

/// Notes go to the screen.
#[derive(Debug)]
struct Herald {
    moments: mpsc::Sender<At>,
}

#[async_trait]
impl Messenger for Herald {
    async fn send(&self, note: &Note) -> Result<(), CallFailed> {
        let told = At { at: note.at, what: Moment::Told(note.clone()) };
        self.moments.try_send(told).map_err(|error| CallFailed::NotSent { why: error.to_string() })
    }
}

/// The real probes.
struct Eyes {
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Eyes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Eyes")
    }
}

#[async_trait]
impl Prober for Eyes {
    async fn probe(
        &self,
        signal: &SignalName,
        class: Class,
        spec: &Probe,
        target: &Target,
        vantage: &VantageName,
    ) -> Sample {
        probe::probe(signal, class, spec, target, vantage, self.clock.as_ref()).await
    }

    async fn beacon(&self, beacon: &Beacon) -> Sample {
        probe::beacon(
            &beacon.signal,
            beacon.class,
            &beacon.url,
            beacon.timeout,
            &beacon.vantage,
            beacon.source,
            self.clock.as_ref(),
        )
        .await
    }

    async fn readings(&self, url: &str, _policy: &Policy) -> Result<Readings, String> {
        Err(format!("there is no peer at `{url}` in the laboratory"))
    }
}
