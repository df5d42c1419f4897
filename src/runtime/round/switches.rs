//! Looks at gates and routing controls on calm days: somebody else may have turned one. It is told, and left
//! as it is. And what an order that turns them cannot see: whether users left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::warn;

use super::Service;
use crate::decide::left;
use crate::domain::{InAnswers, Left, RegionName, Timestamp};
use crate::execute::{Progress, users_go_within};
use crate::journal::JournalError;
use crate::memory::{Entry, Turning};
use crate::plan::{Move, Wanted};
use crate::policy::LeverKind;
use crate::ports::CallFailed;

/// A look costs some calls, and nothing hangs on it.
const EVERY: Duration = Duration::from_secs(60);

type Standing = BTreeMap<RegionName, InAnswers>;

/// Looks that are under way, beside the rounds, and what was seen first. They end with the service.
#[derive(Debug, Default)]
pub struct Watched {
    /// Whether anything is looked for: only where time passes by itself.
    pub on: bool,
    last: Option<Timestamp>,
    looks: JoinSet<(LeverKind, Timestamp, Result<Standing, CallFailed>)>,
    /// Controls that we never turned, as they stood at the first look: they may be off on a calm day.
    first: BTreeMap<LeverKind, Standing>,
}

impl Service {
    /// Looks whether a move beside a hanging order came into force.
    pub(super) async fn see_beside(&mut self) -> Result<Progress, JournalError> {
        let beside = self.memory.acts.beside.as_ref();
        let left = beside.map_or(Left::Unknown, |beside| self.left(&beside.moved, beside.at));
        self.executor().see_beside(left).await
    }

    /// Takes the open order on. Whether users left is what it cannot see itself.
    pub(super) async fn advance(&mut self) -> Result<Progress, JournalError> {
        let left = match self.memory.acts.order.as_ref().map(|o| (&o.plan.wanted, o.turning)) {
            Some((Wanted::Move(moved), Turning::Stands { at })) => self.left(moved, at),
            Some(_) | None => Left::Unknown,
        };
        self.executor().advance_seeing(left).await
    }

    fn left(&self, moved: &Move, since: Timestamp) -> Left {
        let gone_by = since.plus(users_go_within(&self.policy, moved));
        left(&self.policy, &self.memory.evidence, moved, gone_by)
    }

    /// Takes in the looks that ended, and begins others when it is time.
    pub(super) fn watch_switches(&mut self, now: Timestamp) -> Result<(), JournalError> {
        if !self.watched.on {
            return Ok(());
        }
        while let Some(look) = self.watched.looks.try_join_next() {
            // A look that failed tells nothing: `leeward doctor` says why.
            let Ok((kind, begun, Ok(found))) = look else { continue };
            if !self.is_turning(kind, begun) {
                self.compare(kind, &found)?;
            }
        }
        let last = *self.watched.last.get_or_insert(now);
        if now.since(last) < EVERY || !self.watched.looks.is_empty() {
            return Ok(());
        }
        self.watched.last = Some(now);
        for kind in [LeverKind::Gates, LeverKind::Arc] {
            let switches = self.levers.switches(kind).filter(|_| self.policy.has_lever(kind));
            let Some(switches) = switches.filter(|_| !self.is_turning(kind, now)).map(Arc::clone)
            else {
                continue;
            };
            self.watched.looks.spawn(async move { (kind, now, switches.standing().await) });
        }
        Ok(())
    }

    /// Whether it is not sure, by our own doing, how these switches stood at `when`.
    fn is_turning(&self, kind: LeverKind, when: Timestamp) -> bool {
        let acts = &self.memory.acts;
        let tried = acts.levers.get(&kind).and_then(|lever| lever.tries.last());
        acts.order.as_ref().is_some_and(|order| order.lever() == kind)
            || acts.doubtful.contains_key(&kind)
            || tried.is_some_and(|at| *at >= when)
    }

    fn compare(&mut self, kind: LeverKind, found: &Standing) -> Result<(), JournalError> {
        let first = self.watched.first.entry(kind).or_default();
        let acts = &self.memory.acts;
        let ours = acts.standing(kind);
        let left = |region: &RegionName, stands: InAnswers, first: &mut Standing| {
            let known = ours.and_then(|all| all.get(region)).copied();
            known.unwrap_or_else(|| match kind {
                // Nobody publishes a gate but whoever takes a region out.
                LeverKind::Gates | LeverKind::Weights => InAnswers::In,
                LeverKind::Arc => *first.entry(region.clone()).or_insert(stands),
            })
        };
        let mut other = found.clone();
        other.retain(|region, stands| left(region, *stands, first) != *stands);
        if acts.elsewhere.get(&kind).cloned().unwrap_or_default() == other {
            return Ok(());
        }
        if !other.is_empty() {
            warn!(service = %self.policy.service, lever = %kind, found = ?other, "Somebody else turned switches.");
        }
        self.note(&Entry::TurnedElsewhere { lever: kind, found: other })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::decide::Decision;
    use crate::domain::Turn;
    use crate::journal::Forgetful;
    use crate::pace::Pacer;
    use crate::policy::{ArcLever, GatesLever, Lever, Pace, Proof};
    use crate::ports::{Clock, Levers, Switches};
    use crate::report::samples;

    #[derive(Debug)]
    struct Hands(AtomicI64);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    /// Switches that somebody else turns; a turn of ours would be one too many.
    #[derive(Debug, Default)]
    struct Theirs(Mutex<Standing>);

    #[async_trait]
    impl Switches for Theirs {
        async fn turn(&self, turns: &[Turn]) -> Result<(), CallFailed> {
            panic!("it is fought: {turns:?}");
        }

        async fn standing(&self) -> Result<Standing, CallFailed> {
            Ok(self.0.lock().unwrap().clone())
        }
    }

    fn west() -> RegionName {
        "eu-west-1".parse().unwrap()
    }

    struct Bench {
        hands: Arc<Hands>,
        theirs: Arc<Theirs>,
        service: Service,
    }

    impl Bench {
        fn new(kind: LeverKind) -> Self {
            let mut policy = samples::policy();
            let regions: Vec<RegionName> = policy.regions.keys().cloned().collect();
            let gates = GatesLever::unnamed(regions.clone(), Duration::from_secs(60));
            let controls = regions.iter().map(|name| (name.clone(), format!("arn:{name}")));
            let proof: Proof = gates.proof.clone();
            policy.levers = vec![match kind {
                LeverKind::Arc => Lever::Arc(ArcLever {
                    endpoints: BTreeMap::new(),
                    controls: controls.collect(),
                    override_rules: Vec::new(),
                    proof,
                }),
                LeverKind::Gates | LeverKind::Weights => Lever::Gates(gates),
            }];
            let theirs = Arc::new(Theirs::default());
            let switches: Arc<dyn Switches> = Arc::<Theirs>::clone(&theirs);
            let levers = match kind {
                LeverKind::Arc => Levers { arc: Some(switches), ..Levers::default() },
                LeverKind::Gates | LeverKind::Weights => {
                    Levers { gates: Some(switches), ..Levers::default() }
                }
            };
            let hands = Arc::new(Hands(AtomicI64::new(1_000_000)));
            let clock: Arc<dyn Clock> = Arc::<Hands>::clone(&hands);
            let pace = Arc::new(Pacer::new(Pace::default()));
            let log = Box::new(Forgetful);
            let mut service = Service::new(policy, levers, log, clock, pace, "t".to_owned());
            service.watched.on = true;
            Self { hands, theirs, service }
        }

        fn somebody_turns(&self, to: InAnswers) {
            self.theirs.0.lock().unwrap().insert(west(), to);
        }

        /// Two minutes of rounds, and what was told in them.
        async fn minutes(&mut self) -> Vec<String> {
            let mut told = Vec::new();
            for _ in 0..24 {
                self.hands.0.fetch_add(5, Ordering::SeqCst);
                let done = self.service.round(Vec::new(), Vec::new()).await.unwrap();
                told.extend(of_switches(&done.decision));
                tokio::task::yield_now().await;
            }
            told
        }
    }

    fn of_switches(decision: &Decision) -> Vec<String> {
        let notes = decision.notes.iter().filter(|letter| letter.key.starts_with("turned:"));
        notes.map(|letter| letter.note.text.clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_else_turned_is_told_once_and_left_alone() {
        let mut bench = Bench::new(LeverKind::Gates);
        assert!(bench.minutes().await.is_empty());
        bench.somebody_turns(InAnswers::Out);
        let told = bench.minutes().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("the gate of `eu-west-1` keeps it out"), "{told:?}");
        assert!(bench.minutes().await.is_empty(), "said already");
        bench.somebody_turns(InAnswers::In);
        let over = bench.minutes().await;
        assert!(over.iter().all(|text| text.contains("stand as Leeward left them")), "{over:?}");
        assert!(bench.service.memory.acts.elsewhere.is_empty());
    }

    /// A standby's control may be off on a calm day, and a gate that is ours is nobody else's.
    #[tokio::test(start_paused = true)]
    async fn what_stood_so_at_first_and_what_is_ours_is_nobody_elses() {
        let mut bench = Bench::new(LeverKind::Arc);
        bench.somebody_turns(InAnswers::Out);
        assert!(bench.minutes().await.is_empty(), "it may have been off for years");
        bench.somebody_turns(InAnswers::In);
        assert_eq!(bench.minutes().await.len(), 1);

        let mut bench = Bench::new(LeverKind::Gates);
        let turns = vec![Turn { region: west(), to: InAnswers::Out }];
        let turned = Entry::Turned { lever: LeverKind::Gates, turns, failure: None };
        bench.service.memory.acts.apply(bench.hands.now(), &turned);
        bench.somebody_turns(InAnswers::Out);
        assert!(bench.minutes().await.is_empty());
        bench.somebody_turns(InAnswers::In);
        let told = bench.minutes().await;
        assert!(told[0].contains("the gate of `eu-west-1` lets it in"), "{told:?}");
    }
}
