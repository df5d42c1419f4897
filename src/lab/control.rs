//! Leeward in the laboratory: the very service that `leeward run` is, and a chronicle of what it did,
//! taken from its board and its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gates::Bucket;
use super::world::World;
use crate::answers::DnsResolver;
use crate::balancer::cure::Purpose;
use crate::decide::{Decision, Diagnosis};
use crate::domain::{BalancerName, RegionName, ServiceName, Split, Timestamp};
use crate::health::Reading;
use crate::journal::{Journal, Record};
use crate::memory::{CureNote, Entry, Outcome};
use crate::plan::Wanted;
use crate::policy::LeverKind;
use crate::ports::{Clock, Levers};
use crate::runtime::board::Board;
use crate::runtime::{self, RunError, Settings, pin};
use crate::telemetry::Numbers;
use crate::tell::Severity;

/// How long a name server of the laboratory may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Notes that are remembered, so that a repetition is not shown again.
const TOLD_MAX: usize = 256;

/// Something that Leeward saw or did, for the first time.
#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// A region begins to look bad. Much has to follow before it is condemned.
    Suspected {
        region: RegionName,
    },
    /// A region reads bad, or good again.
    Read {
        region: RegionName,
        reading: Reading,
    },
    /// The gravest finding is another one.
    Diagnosed {
        diagnosis: Diagnosis,
        region: Option<RegionName>,
        balancer: Option<BalancerName>,
    },
    /// Every guard let a move pass, and the intention is in the journal.
    Decided {
        lever: LeverKind,
        to: Split,
    },
    /// Route 53 took the change.
    Accepted,
    /// The switches stand; what looks at them has not followed yet.
    Turned {
        lever: LeverKind,
    },
    /// In sync, and answered by the name server.
    InForce,
    /// The steps of a refresh are in the journal.
    Refreshing {
        balancer: BalancerName,
        purpose: Purpose,
        because: String,
    },
    /// They are through, or given up.
    Refreshed {
        balancer: BalancerName,
        /// Unknown if it began before the laboratory did.
        purpose: Option<Purpose>,
        outcome: Outcome,
    },
    /// An order ended otherwise.
    Ended(Outcome),
    Told {
        severity: Severity,
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct At {
    pub at: Timestamp,
    pub what: Moment,
}

/// The running service. Stops when told to.
#[derive(Debug)]
pub struct Control {
    service: ServiceName,
    board: Arc<Board>,
    journal: PathBuf,
    last: Last,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

/// What was last heard of each thing, so that only news is told.
#[derive(Debug, Default)]
struct Last {
    round: Option<Timestamp>,
    seq: u64,
    suspected: BTreeMap<RegionName, bool>,
    readings: BTreeMap<RegionName, Reading>,
    finding: Option<(Diagnosis, Option<RegionName>, Option<BalancerName>)>,
    /// What the open refresh is for.
    curing: Option<Purpose>,
    told: BTreeSet<String>,
}

impl Control {
    /// Starts the service with the policy and the journal in `state`, answering on `listen`.
    pub fn start(
        world: &World,
        service: ServiceName,
        policy: PathBuf,
        state: &Path,
        listen: SocketAddr,
        intake: Option<SocketAddr>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let settings = Settings {
            policies: vec![policy],
            state: state.to_owned(),
            listen,
            intake,
            sns_chain: Vec::new(),
            holder: format!("leeward-lab-{}", std::process::id()),
        };
        let outside = runtime::World {
            levers: Levers {
                weights: Some(Arc::clone(&world.zones) as Arc<_>),
                resolver: Some(Arc::new(DnsResolver::new(ANSWER_WITHIN))),
                configurations: Some(Arc::clone(&world.elb) as Arc<_>),
                ..Levers::default()
            },
            targets: Some(Arc::clone(&world.instruments) as Arc<_>),
            metrics: Some(Arc::clone(&world.instruments) as Arc<_>),
            queues: None,
            reach: runtime::telling::Reach::default(),
            objects: Some(Arc::new(Bucket { address: world.layout.bucket })),
            checks: None,
            clusters: None,
            clock: Arc::clone(&clock),
        };
        let board = Arc::new(Board::new(Arc::new(Numbers::new()), clock));
        let stop = CancellationToken::new();
        let running = runtime::run_until(settings, outside, Arc::clone(&board), stop.clone());
        let journal = pin::journal_path(state, &service);
        let task = tokio::spawn(running);
        Self { service, board, journal, last: Last::default(), stop, task }
    }

    /// The last decision.
    pub fn decision(&self) -> Option<Decision> {
        self.board.state().services.remove(&self.service)?.decision
    }

    /// What is new since it was last asked, the oldest first.
    pub fn news(&mut self) -> Vec<At> {
        let Some(view) = self.board.state().services.remove(&self.service) else {
            return Vec::new();
        };
        let mut news = Vec::new();
        if let Some(decision) =
            view.decision.filter(|decision| Some(decision.at) != self.last.round)
        {
            self.last.round = Some(decision.at);
            self.last.compare(&decision, &mut news);
        }
        if view.journal.last().is_some_and(|line| line.seq > self.last.seq) {
            // A journal that cannot be read now is read with the next line.
            for record in Journal::read(&self.journal).unwrap_or_default() {
                if record.seq > self.last.seq {
                    self.last.seq = record.seq;
                    news.extend(self.last.moment(record));
                }
            }
        }
        news.sort_by_key(|news| news.at);
        news
    }

    /// Whether the service ended, and why if not by a signal.
    pub async fn ended(&mut self) -> Option<Result<(), String>> {
        if !self.task.is_finished() {
            return None;
        }
        Some(match (&mut self.task).await {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        })
    }

    pub async fn stop(self) {
        self.stop.cancel();
        if !self.task.is_finished() {
            // How it ended is of no interest any more.
            let _ = self.task.await;
        }
    }
}

impl Last {
    fn compare(&mut self, decision: &Decision, news: &mut Vec<At>) {
        let mut say = |what| news.push(At { at: decision.at, what });
        for (region, verdict) in &decision.regions {
            let suspected = verdict.bad_since.is_some();
            if self.suspected.insert(region.clone(), suspected) == Some(false) && suspected {
                say(Moment::Suspected { region: region.clone() });
            }
            // What is unclear for a moment in between is no news.
            let reading = verdict.reading;
            if reading != Reading::Unknown
                && self.readings.insert(region.clone(), reading) != Some(reading)
            {
                say(Moment::Read { region: region.clone(), reading });
            }
        }
        let finding = decision.findings.first();
        let finding = finding
            .map(|finding| (finding.diagnosis, finding.region.clone(), finding.balancer.clone()));
        if finding != self.finding {
            if let Some((diagnosis, region, balancer)) = finding.clone() {
                say(Moment::Diagnosed { diagnosis, region, balancer });
            }
            self.finding = finding;
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not shown has no moment")]
    fn moment(&mut self, record: Record) -> Option<At> {
        let what = match record.entry {
            Entry::Intended(plan) => match plan.wanted {
                Wanted::Move(moved) => Moment::Decided { lever: moved.lever, to: moved.to },
                Wanted::Refresh { .. } => return None,
            },
            // The laboratory's records lie in one zone, so a move is one batch.
            Entry::Accepted { .. } => Moment::Accepted,
            Entry::Turned { lever, failure: None, .. } => Moment::Turned { lever },
            Entry::Ended { outcome: Outcome::Done, .. }
            | Entry::BesideEnded { outcome: Outcome::Done } => Moment::InForce,
            Entry::Cure { balancer, note: CureNote::Intended(cure) } => {
                self.curing = Some(cure.purpose);
                Moment::Refreshing { balancer, purpose: cure.purpose, because: cure.because }
            }
            Entry::Cure { balancer, note: CureNote::Ended { outcome } } => {
                Moment::Refreshed { balancer, purpose: self.curing.take(), outcome }
            }
            Entry::Ended { outcome, .. } => Moment::Ended(outcome),
            Entry::Told { severity, text, .. } => {
                let new = self.told.insert(text.clone());
                while self.told.len() > TOLD_MAX {
                    self.told.pop_first();
                }
                if !new {
                    return None;
                }
                Moment::Told { severity, text }
            }
            _ => return None,
        };
        Some(At { at: record.at, what })
    }
}
