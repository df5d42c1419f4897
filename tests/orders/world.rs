//! Route 53 in memory: whole-batch compare-and-swap, lists that show pending changes, answers that do
//! not; faults on demand; and a fuse that kills whoever calls at a chosen moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use leeward::domain::{Ratio, RecordName, RegionName, Split, Timestamp, Weight, ZoneId};
use leeward::execute::{Executor, read_inventory};
use leeward::health::Answers;
use leeward::journal::{Journal, JournalError, Log};
use leeward::memory::{Acts, Entry};
use leeward::pace::Pacer;
use leeward::plan::{Batch, Move, Plan, Purpose, RecordData, RecordSet, Wanted, plan};
use leeward::policy::{
    EpochRecord, Failback, Guards, Judge, LastResort, Lever, LeverKind, Mode, Overflow, Pace,
    Policy, Readback, Records, Region, Role, ShiftRules, Tell, Triggers, Unready, WeightsLever,
    WhichRecords,
};
use leeward::ports::{CallFailed, ChangeId, ChangeStatus, Clock, Levers, Resolver, Weights};

pub(crate) const EAST: &str = "eu-central-1";
pub(crate) const WEST: &str = "eu-west-1";
pub(crate) const IN_SYNC_WITHIN: Duration = Duration::from_secs(300);

/// A policy whose records are one name in each of `zones` zones, the epoch in the first.
pub(crate) fn policy(zones: usize) -> Policy {
    let region = |role, weight| Region {
        role,
        weight: Weight(weight),
        capacity_rps: None,
        aws_region: None,
        balancers: Vec::new(),
    };
    let members: BTreeMap<RegionName, String> = [(EAST, "central"), (WEST, "west")]
        .map(|(r, id)| (r.parse().unwrap(), id.to_owned()))
        .into();
    let records = (0..zones).map(|n| Records {
        zone: zone(n),
        which: WhichRecords::Named { name: name(n), types: BTreeSet::from(["A".to_owned()]) },
        members: members.clone(),
    });
    Policy {
        service: "shop".parse().unwrap(),
        mode: Mode::Auto,
        regions: [
            (EAST.parse().unwrap(), region(Role::Standby, 0)),
            (WEST.parse().unwrap(), region(Role::Primary, 100)),
        ]
        .into(),
        vantages: BTreeMap::new(),
        levers: vec![Lever::Weights(WeightsLever {
            records: records.collect(),
            epoch_record: EpochRecord { zone: zone(0), name: epoch_name() },
            pace: Pace::default(),
            in_sync_within: IN_SYNC_WITHIN,
            readback: Readback::NameServers,
            ttl: Duration::from_secs(60),
        })],
        signals: BTreeMap::new(),
        judge: Judge {
            success_below: Ratio::new(0.95),
            latency_above: None,
            window: Duration::from_secs(60),
            sustain: Duration::from_secs(60),
            vantages_min: 1,
            classes_min: 1,
            healthy_hosts_below: Ratio::new(0.5),
            deploy_guard: None,
        },
        shift: ShiftRules {
            demand_rps: None,
            ramp: vec![Ratio::ONE],
            hold: Duration::from_secs(60),
            spare: Ratio::ZERO,
            overflow: Overflow::Spill,
            last_resort: LastResort::Never,
            unready: Unready::Hold,
        },
        failback: Failback::Manual,
        refresh: None,
        guards: Guards {
            cooldown: Duration::from_secs(600),
            shifts_max: 2,
            shifts_window: Duration::from_secs(3600),
            latch_after: 4,
            latch_window: Duration::from_secs(86_400),
            replication_lag_max: None,
            needs_approval: None,
            standby_healthy_hosts_min: Ratio::new(0.7),
            blocked: Vec::new(),
        },
        tell: Tell::default(),
        status_page: None,
        site: None,
        triggers: Triggers::default(),
        hooks: leeward::policy::Hooks::default(),
        tests: Vec::new(),
    }
}

pub(crate) fn lever(policy: &mut Policy) -> &mut WeightsLever {
    match &mut policy.levers[0] {
        Lever::Weights(lever) => lever,
        Lever::Gates(_) | Lever::Arc(_) => panic!("the first lever is `weights`"),
    }
}

pub(crate) fn zone(n: usize) -> ZoneId {
    format!("Z{n}").parse().unwrap()
}

pub(crate) fn name(n: usize) -> RecordName {
    format!("api.z{n}.example.com").parse().unwrap()
}

pub(crate) fn epoch_name() -> RecordName {
    "_leeward.z0.example.com".parse().unwrap()
}

pub(crate) fn split(east: u8, west: u8) -> Split {
    let weights = [(EAST.parse().unwrap(), Weight(east)), (WEST.parse().unwrap(), Weight(west))];
    Split::new(weights.into()).unwrap()
}

/// Counts down with every step of the code under test, and kills it when it burns down.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fuse(Arc<Mutex<(Option<usize>, Option<String>)>>);

impl Fuse {
    pub(crate) fn of(steps: usize) -> Self {
        Self(Arc::new(Mutex::new((Some(steps), None))))
    }

    /// Where it burned down, if it did.
    pub(crate) fn died_at(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn burns(&self, at: &str) -> bool {
        let mut fuse = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fuse.0 {
            Some(0) => {
                *fuse = (None, Some(at.to_owned()));
                true
            }
            Some(left) => {
                fuse.0 = Some(left - 1);
                false
            }
            None => false,
        }
    }

    /// Like `SIGKILL`: nothing of the caller runs after it but the release of its file handles.
    fn step(&self, at: &str) {
        if self.burns(at) {
            std::panic::resume_unwind(Box::new("killed"));
        }
    }
}

/// The journal on disk of a process that may be killed before, in the middle of, or after a write.
pub(crate) struct Mortal {
    pub(crate) journal: Journal,
    pub(crate) path: PathBuf,
    pub(crate) fuse: Fuse,
}

impl Log for Mortal {
    fn append(&mut self, at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        let what = serde_json::to_value(entry).unwrap();
        let what = what.as_object().unwrap().keys().next().unwrap().clone();
        self.fuse.step(&format!("before line `{what}`"));
        if self.fuse.burns(&format!("in line `{what}`")) {
            use std::io::Write as _;
            let mut file = std::fs::OpenOptions::new().append(true).open(&self.path).unwrap();
            file.write_all(b"0badcafe {\"seq\":99,\"at\":").unwrap();
            std::panic::resume_unwind(Box::new("killed"));
        }
        self.journal.append(at, entry)?;
        self.fuse.step(&format!("after line `{what}`"));
        Ok(())
    }
}

/// What happens to the next change call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Fails(CallFailed),
    /// Time-out; the change never arrived.
    LostBefore,
    /// Time-out; the change was made.
    LostAfter,
    /// Time-out; the change is made just before the next change call.
    LandsLate,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    /// As accepted; lists show this.
    pub(crate) zones: BTreeMap<ZoneId, Vec<RecordSet>>,
    /// As in force; name servers answer this.
    pub(crate) served: BTreeMap<ZoneId, Vec<RecordSet>>,
    /// Accepted, in order.
    pub(crate) changes: Vec<Batch>,
    in_sync: usize,
    /// Change ids that the service has forgotten.
    pub(crate) forgotten: bool,
    /// One for each change call; `None` lets it pass.
    pub(crate) faults: VecDeque<Option<Fault>>,
    pub(crate) status_fault: Option<CallFailed>,
    pub(crate) read_fault: Option<CallFailed>,
    late: Option<Batch>,
    /// Change calls that arrived, refused ones included.
    pub(crate) calls: usize,
    pub(crate) silent: BTreeSet<String>,
    pub(crate) lagging: BTreeSet<String>,
}

impl World {
    /// One atomic compare-and-swap. Refuses what Route 53 refuses.
    fn apply(&mut self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        let conflict = |why: &str| CallFailed::Conflict { why: why.to_owned() };
        let mut sets = self.zones[&batch.zone].clone();
        for before in batch.swaps.iter().filter_map(|swap| swap.before.as_ref()) {
            let place = sets.iter().position(|set| set == before);
            sets.remove(place.ok_or_else(|| conflict("values do not match"))?);
        }
        for after in batch.swaps.iter().map(|swap| &swap.after) {
            let key =
                |set: &RecordSet| (set.name.clone(), set.kind.clone(), set.set_identifier.clone());
            if sets.iter().any(|set| key(set) == key(after)) {
                return Err(conflict("it already exists"));
            }
            sets.push(after.clone());
        }
        for set in sets.iter().filter(|set| set.weight.is_some()) {
            let group =
                sets.iter().filter(|other| other.name == set.name && other.kind == set.kind);
            let sum: u32 = group.map(|set| u32::from(set.weight.unwrap().0)).sum();
            assert!(sum > 0, "`{}` would have weight 0 everywhere", set.name);
        }
        self.zones.insert(batch.zone.clone(), sets);
        self.changes.push(batch.clone());
        Ok(ChangeId(format!("C{}", self.changes.len())))
    }
}

/// The world with its doors. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Route53 {
    world: Arc<Mutex<World>>,
    pub(crate) fuse: Fuse,
}

impl Route53 {
    /// `zones` zones with a name that we move, one of somebody else and a plain record each.
    pub(crate) fn with(zones: usize) -> Self {
        let zones: BTreeMap<ZoneId, Vec<RecordSet>> = (0..zones)
            .map(|n| {
                let other: RecordName = format!("other.z{n}.example.com").parse().unwrap();
                let plain: RecordName = format!("plain.z{n}.example.com").parse().unwrap();
                let sets = vec![
                    set(n, &name(n), Some(("central", 0)), "192.0.2.1"),
                    set(n, &name(n), Some(("west", 100)), "192.0.2.2"),
                    set(n, &other, Some(("central", 7)), "192.0.2.3"),
                    set(n, &other, Some(("west", 9)), "192.0.2.4"),
                    set(n, &plain, None, "192.0.2.5"),
                ];
                (zone(n), sets)
            })
            .collect();
        let world = World { served: zones.clone(), zones, ..World::default() };
        Self { world: Arc::new(Mutex::new(world)), fuse: Fuse::default() }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything accepted comes into force at every server.
    pub(crate) fn bring_in_sync(&self) {
        let mut world = self.world();
        world.in_sync = world.changes.len();
        world.served = world.zones.clone();
    }

    /// A call that was lost on the way arrives now.
    pub(crate) fn land(&self) {
        let mut world = self.world();
        let late = world.late.take().unwrap();
        world.apply(&late).unwrap();
    }

    pub(crate) fn levers(&self) -> Levers {
        Levers {
            weights: Some(Arc::new(self.clone())),
            resolver: Some(Arc::new(self.clone())),
            ..Levers::default()
        }
    }

    /// The weights of our name in zone `n`, east and west.
    pub(crate) fn weights(&self, n: usize) -> (u8, u8) {
        let world = self.world();
        let weight = |id: &str| {
            let mut sets = world.zones[&zone(n)].iter();
            let ours =
                |set: &&RecordSet| set.name == name(n) && set.set_identifier.as_deref() == Some(id);
            sets.find(ours).unwrap().weight.unwrap().0
        };
        (weight("central"), weight("west"))
    }

    /// Somebody else changes the weight of `west` in zone `n`.
    pub(crate) fn edit(&self, n: usize, weight: u8) {
        let mut world = self.world();
        let sets = world.zones.get_mut(&zone(n)).unwrap();
        let ours = |set: &&mut RecordSet| {
            set.name == name(n) && set.set_identifier.as_deref() == Some("west")
        };
        sets.iter_mut().find(ours).unwrap().weight = Some(Weight(weight));
    }

    /// What is not ours to touch, for comparing before and after.
    pub(crate) fn bystanders(&self) -> Vec<RecordSet> {
        let world = self.world();
        let ours = |set: &&RecordSet| set.kind != "TXT" && !set.name.as_str().starts_with("api.");
        world.zones.values().flatten().filter(ours).cloned().collect()
    }
}

fn set(n: usize, name: &RecordName, weighted: Option<(&str, u8)>, address: &str) -> RecordSet {
    RecordSet {
        zone: zone(n),
        name: name.clone(),
        kind: "A".to_owned(),
        set_identifier: weighted.map(|(id, _)| id.to_owned()),
        weight: weighted.map(|(_, weight)| Weight(weight)),
        ttl: Some(60),
        data: RecordData::Values(vec![address.to_owned()]),
        health_check: None,
        foreign: Vec::new(),
    }
}

#[async_trait]
impl Weights for Route53 {
    async fn read(
        &self,
        zone: &ZoneId,
        _name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed> {
        self.fuse.step("before `read`");
        let sets = {
            let world = self.world();
            world.read_fault.clone().map_or_else(|| Ok(world.zones[zone].clone()), Err)
        };
        self.fuse.step("after `read`");
        sets
    }

    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        self.fuse.step("before `change`");
        let lost = CallFailed::Unknown { why: "time-out".to_owned() };
        let answer = {
            let mut world = self.world();
            world.calls += 1;
            if let Some(late) = world.late.take() {
                let _ = world.apply(&late);
            }
            match world.faults.pop_front().flatten() {
                None => world.apply(batch),
                Some(Fault::Fails(failure)) => Err(failure),
                Some(Fault::LostBefore) => Err(lost),
                Some(Fault::LostAfter) => world.apply(batch).and(Err(lost)),
                Some(Fault::LandsLate) => {
                    world.late = Some(batch.clone());
                    Err(lost)
                }
            }
        };
        self.fuse.step("after `change`");
        answer
    }

    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        self.fuse.step("before `status`");
        let answer = {
            let world = self.world();
            let number: usize = change.0[1..].parse().unwrap();
            match &world.status_fault {
                Some(failure) => Err(failure.clone()),
                None if world.forgotten => Err(CallFailed::NotFound {
                    code: "NoSuchChange".to_owned(),
                    why: "it does not exist".to_owned(),
                }),
                None if number <= world.in_sync => Ok(ChangeStatus::InSync),
                None => Ok(ChangeStatus::Pending),
            }
        };
        self.fuse.step("after `status`");
        answer
    }

    async fn name_servers(&self, _zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
        self.fuse.step("in `name_servers`");
        Ok(vec!["ns1".to_owned(), "ns2".to_owned()])
    }
}

#[async_trait]
impl Resolver for Route53 {
    async fn ask(
        &self,
        server: &str,
        name: &RecordName,
        kind: &str,
    ) -> Result<Vec<String>, CallFailed> {
        let world = self.world();
        if world.silent.contains(server) {
            return Err(CallFailed::Unknown { why: "no answer".to_owned() });
        }
        if world.lagging.contains(server) {
            return Ok(Vec::new());
        }
        let mut sets = world.served.values().flatten();
        let set = sets.find(|set| set.name == *name && set.kind == kind);
        Ok(match set.map(|set| &set.data) {
            Some(RecordData::Values(values)) => values.clone(),
            Some(RecordData::Alias { .. }) | None => Vec::new(),
        })
    }
}

/// A clock that is set by hand.
#[derive(Debug, Clone)]
pub(crate) struct ByHand(Arc<Mutex<Timestamp>>);

impl ByHand {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Timestamp::from_secs(1_800_000_000))))
    }

    pub(crate) fn pass(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus(span);
    }
}

impl Clock for ByHand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// All from west to east, from whatever the records say now.
pub(crate) async fn evacuation(
    policy: &Policy,
    world: &Route53,
    acts: &Acts,
    now: Timestamp,
) -> Plan {
    let lever = policy.weights_lever().unwrap();
    let inventory = read_inventory(lever, world, now).await.unwrap();
    let from = match inventory.answers(lever, &policy.regions) {
        Answers::Split { split, .. } => split,
        other @ (Answers::Drift { .. } | Answers::Unknown) => panic!("{other:?}"),
    };
    let wanted = Wanted::Move(Move {
        lever: LeverKind::Weights,
        purpose: Purpose::Evacuate,
        from,
        to: split(100, 0),
        turns: Vec::new(),
        because: "a test".to_owned(),
    });
    plan(policy, &inventory, &wanted, acts.epoch.next(), "tester", now).unwrap()
}

/// One controller with its memory, without a disk.
pub(crate) struct Controller {
    pub(crate) policy: Policy,
    pub(crate) levers: Levers,
    pub(crate) log: Kept,
    pub(crate) acts: Acts,
    pub(crate) clock: ByHand,
    pub(crate) pace: Pacer,
}

/// A log in memory that can be told to fail.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) entries: Vec<Entry>,
    /// So many appends still work.
    pub(crate) left: Option<usize>,
}

impl Log for Kept {
    fn append(&mut self, _at: Timestamp, entry: &Entry) -> Result<(), JournalError> {
        if self.left == Some(0) {
            return Err(JournalError::Poisoned { path: PathBuf::from("disk full") });
        }
        self.left = self.left.map(|left| left - 1);
        self.entries.push(entry.clone());
        Ok(())
    }
}

impl Controller {
    pub(crate) fn of(policy: Policy, world: &Route53) -> Self {
        Self {
            levers: world.levers(),
            log: Kept::default(),
            acts: Acts::default(),
            clock: ByHand::new(),
            pace: Pacer::new(policy.weights_lever().unwrap().pace),
            policy,
        }
    }

    pub(crate) fn executor(&mut self) -> Executor<'_> {
        Executor {
            policy: &self.policy,
            levers: &self.levers,
            log: &mut self.log,
            acts: &mut self.acts,
            clock: &self.clock,
            pace: &self.pace,
        }
    }
}
