//! Doors put in front of the levers: one that lets nothing out, and one that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::balancer::{Call, Snapshot};
use crate::domain::{BalancerName, InAnswers, RecordName, RegionName, Timestamp, Turn, ZoneId};
use crate::plan::{Batch, RecordSet};
use crate::policy::Mode;
use crate::ports::{
    Balancers, CallFailed, ChangeId, ChangeStatus, Configurations, Followed, Levers, ShiftBegun,
    Shiftable, Switches, Weights, ZonalShifts,
};
use crate::telemetry::{ByCall, Numbers};

/// The levers that a mode may touch: all of them, or all of them behind `ReadOnly`.
pub fn levers_for(mode: Mode, levers: &Levers) -> Levers {
    match mode {
        Mode::Approve | Mode::Auto => levers.clone(),
        Mode::Observe | Mode::Advise => read_only(levers),
    }
}

/// The same levers without a way to change anything. A dry run gets these and nothing else.
pub fn read_only(levers: &Levers) -> Levers {
    Levers {
        weights: levers
            .weights
            .clone()
            .map(|weights| Arc::new(ReadOnly(weights)) as Arc<dyn Weights>),
        resolver: levers.resolver.clone(),
        gates: levers.gates.clone().map(|gates| Arc::new(Looked(gates)) as Arc<dyn Switches>),
        arc: levers.arc.clone().map(|arc| Arc::new(Looked(arc)) as Arc<dyn Switches>),
        balancers: levers.balancers.as_ref().map(|_| Arc::new(Locked) as Arc<dyn Balancers>),
        // A hook changes things: without one, none is called.
        hooks: None,
        configurations: levers
            .configurations
            .clone()
            .map(|inner| Arc::new(Looking(inner)) as Arc<dyn Configurations>),
        zonal_shifts: levers
            .zonal_shifts
            .clone()
            .map(|inner| Arc::new(ShiftsSeen(inner)) as Arc<dyn ZonalShifts>),
        // It could make switches that turn.
        switchboard: None,
    }
}

fn refused() -> CallFailed {
    CallFailed::Refused {
        code: "ReadOnly".to_owned(),
        why: "this run may read and change nothing".to_owned(),
    }
}

/// Reads go through; a change ends here and never reaches a client.
#[derive(Debug)]
struct ReadOnly(Arc<dyn Weights>);

#[async_trait]
impl Weights for ReadOnly {
    async fn read(
        &self,
        zone: &ZoneId,
        name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed> {
        self.0.read(zone, name).await
    }

    async fn change(&self, _batch: &Batch) -> Result<ChangeId, CallFailed> {
        Err(refused())
    }

    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        self.0.status(change).await
    }

    async fn name_servers(&self, zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
        self.0.name_servers(zone).await
    }
}

/// A lever that can only change things has nothing to offer to a reader.
#[derive(Debug)]
struct Locked;

/// Switches that can be looked at and not turned.
#[derive(Debug)]
struct Looked(Arc<dyn Switches>);

#[async_trait]
impl Switches for Looked {
    async fn turn(&self, _turns: &[Turn]) -> Result<(), CallFailed> {
        Err(refused())
    }

    async fn standing(&self) -> Result<BTreeMap<RegionName, InAnswers>, CallFailed> {
        self.0.standing().await
    }

    async fn followed(&self, turns: &[Turn]) -> Result<Followed, CallFailed> {
        self.0.followed(turns).await
    }
}

#[async_trait]
impl Balancers for Locked {
    async fn refresh(&self, _balancer: &BalancerName) -> Result<(), CallFailed> {
        Err(refused())
    }
}

/// Configurations are read and never written.
#[derive(Debug)]
struct Looking(Arc<dyn Configurations>);

#[async_trait]
impl Configurations for Looking {
    async fn read(
        &self,
        arn: &str,
        also: &BTreeSet<String>,
        at: Timestamp,
    ) -> Result<Snapshot, CallFailed> {
        self.0.read(arn, also, at).await
    }

    async fn change(&self, _live: &Snapshot, _call: &Call) -> Result<(), CallFailed> {
        Err(refused())
    }
}

/// Zonal shifts are seen and none is begun, renewed or taken back.
#[derive(Debug)]
struct ShiftsSeen(Arc<dyn ZonalShifts>);

#[async_trait]
impl ZonalShifts for ShiftsSeen {
    async fn read(&self, balancer_arn: &str) -> Result<Shiftable, CallFailed> {
        self.0.read(balancer_arn).await
    }

    async fn start(
        &self,
        _balancer_arn: &str,
        _zone_id: &str,
        _expires: Duration,
        _comment: &str,
    ) -> Result<ShiftBegun, CallFailed> {
        Err(refused())
    }

    async fn renew(
        &self,
        _balancer_arn: &str,
        _id: &str,
        _expires: Duration,
    ) -> Result<Timestamp, CallFailed> {
        Err(refused())
    }

    async fn cancel(&self, _balancer_arn: &str, _id: &str) -> Result<(), CallFailed> {
        Err(refused())
    }
}

/// Counts calls by what came of them.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Weights>,
    numbers: Arc<Numbers>,
}

impl Counted {
    pub fn new(inner: Arc<dyn Weights>, numbers: Arc<Numbers>) -> Self {
        Self { inner, numbers }
    }

    fn count<T>(&self, call: &'static str, result: Result<T, CallFailed>) -> Result<T, CallFailed> {
        let outcome = match &result {
            Ok(_) => "done",
            Err(CallFailed::NotSent { .. }) => "not_sent",
            Err(CallFailed::Throttled { .. }) => "throttled",
            Err(CallFailed::Busy) => "busy",
            Err(CallFailed::Conflict { .. }) => "conflict",
            Err(CallFailed::Refused { .. }) => "refused",
            Err(CallFailed::NotFound { .. }) => "not_found",
            Err(CallFailed::Unknown { .. }) => "unknown",
        };
        self.numbers.calls.get_or_create(&ByCall { lever: "weights", call, outcome }).inc();
        result
    }
}

#[async_trait]
impl Weights for Counted {
    async fn read(
        &self,
        zone: &ZoneId,
        name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed> {
        self.count("read", self.inner.read(zone, name).await)
    }

    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        self.count("change", self.inner.change(batch).await)
    }

    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        self.count("status", self.inner.status(change).await)
    }

    async fn name_servers(&self, zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
        self.count("name_servers", self.inner.name_servers(zone).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::report::samples;

    /// Takes every change, and counts.
    #[derive(Debug, Default)]
    struct Open(AtomicUsize);

    #[async_trait]
    impl Weights for Open {
        async fn read(
            &self,
            _zone: &ZoneId,
            _name: Option<&RecordName>,
        ) -> Result<Vec<RecordSet>, CallFailed> {
            Ok(Vec::new())
        }

        async fn change(&self, _batch: &Batch) -> Result<ChangeId, CallFailed> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(ChangeId("C1".to_owned()))
        }

        async fn status(&self, _change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
            Ok(ChangeStatus::InSync)
        }

        async fn name_servers(&self, _zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
            Ok(Vec::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_modes_that_may_act_reach_the_client() {
        for (mode, reached) in
            [(Mode::Observe, 0), (Mode::Advise, 0), (Mode::Approve, 1), (Mode::Auto, 1)]
        {
            let open = Arc::new(Open::default());
            let client = Arc::clone(&open) as Arc<dyn Weights>;
            let levers = Levers { weights: Some(client), ..Levers::default() };
            let weights = levers_for(mode, &levers).weights.unwrap();
            let batch = samples::plan().batches.remove(0);
            assert_eq!(weights.change(&batch).await.is_ok(), reached == 1, "{mode:?}");
            assert_eq!(open.0.load(Ordering::SeqCst), reached, "{mode:?}");
            assert!(weights.read(&batch.zone, None).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_by_outcome() {
        let numbers = Arc::new(Numbers::new());
        let locked = Arc::new(ReadOnly(Arc::new(Open::default())));
        let counted = Counted::new(locked, Arc::clone(&numbers));
        let batch = samples::plan().batches.remove(0);
        assert!(counted.change(&batch).await.is_err());
        let line = "leeward_calls_total{lever=\"weights\",call=\"change\",outcome=\"refused\"} 1";
        let text = numbers.render().unwrap();
        assert!(text.contains(line), "{text}");
    }
}
