//! A crash at every step of an order: finished, abandoned or put back after the restart, never twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use leeward::domain::{Ratio, RecordName, Split, Timestamp, Weight, ZoneId};
use leeward::execute::{Executor, Progress, read_inventory};
use leeward::health::Answers;
use leeward::journal::{Journal, Log};
use leeward::memory::{Acts, Entry, Outcome};
use leeward::pace::Pacer;
use leeward::plan::{Batch, Move, Plan, Purpose, RecordData, RecordSet, Wanted, plan};
use leeward::policy::*;
use leeward::ports::*;

const EAST: &str = "eu-central-1";
const WEST: &str = "eu-west-1";

/// A policy whose records are one name in each of `zones` zones, the epoch in the first.
fn policy(zones: usize) -> Policy {
    let region = |role, weight| Region {
        role,
        weight: Weight(weight),
        capacity_rps: None,
        aws_region: None,
        balancers: Vec::new(),
    };
    let members: BTreeMap<_, _> = [(EAST, "central"), (WEST, "west")]
        .map(|(region, id)| (region.parse().unwrap(), id.to_owned()))
        .into();
    let records = (0..zones)
        .map(|n| Records {
            zone: zone(n),
            which: WhichRecords::Named { name: name(n), types: BTreeSet::from(["A".to_owned()]) },
            members: members.clone(),
        })
        .collect();
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
            records,
            epoch_record: EpochRecord { zone: zone(0), name: epoch_name() },
            pace: Pace::default(),
            in_sync_within: Duration::from_secs(300),
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
    }
}

fn zone(n: usize) -> ZoneId {
    format!("Z{n}").parse().unwrap()
}

fn name(n: usize) -> RecordName {
    format!("api.z{n}.example.com").parse().unwrap()
}

fn epoch_name() -> RecordName {
    "_leeward.z0.example.com".parse().unwrap()
}

fn split(east: u8, west: u8) -> Split {
    Split::new(
        [(EAST.parse().unwrap(), Weight(east)), (WEST.parse().unwrap(), Weight(west))].into(),
    )
    .unwrap()
}

/// Route 53 in memory: whole-batch compare-and-swap, changes pending until told otherwise.
#[derive(Debug, Default)]
struct World {
    zones: BTreeMap<ZoneId, Vec<RecordSet>>,
    changes: Vec<(Batch, ChangeStatus)>,
}

#[derive(Debug, Clone, Default)]
struct Route53(Arc<Mutex<World>>);

impl Route53 {
    fn with(zones: usize) -> Self {
        let sets = |n: usize| {
            [("central", 0, "192.0.2.1"), ("west", 100, "192.0.2.2")]
                .map(|(id, weight, address)| RecordSet {
                    zone: zone(n),
                    name: name(n),
                    kind: "A".to_owned(),
                    set_identifier: Some(id.to_owned()),
                    weight: Some(Weight(weight)),
                    ttl: Some(60),
                    data: RecordData::Values(vec![address.to_owned()]),
                    health_check: None,
                    foreign: Vec::new(),
                })
                .to_vec()
        };
        let zones = (0..zones).map(|n| (zone(n), sets(n))).collect();
        Self(Arc::new(Mutex::new(World { zones, changes: Vec::new() })))
    }

    fn bring_in_sync(&self) {
        for (_, status) in &mut self.0.lock().unwrap().changes {
            *status = ChangeStatus::InSync;
        }
    }
}

#[async_trait]
impl Weights for Route53 {
    async fn read(
        &self,
        zone: &ZoneId,
        _name: Option<&RecordName>,
    ) -> Result<Vec<RecordSet>, CallFailed> {
        Ok(self.0.lock().unwrap().zones[zone].clone())
    }

    async fn change(&self, batch: &Batch) -> Result<ChangeId, CallFailed> {
        let mut world = self.0.lock().unwrap();
        let mut sets = world.zones[&batch.zone].clone();
        for swap in &batch.swaps {
            if let Some(before) = &swap.before {
                let place = sets.iter().position(|set| set == before);
                let place =
                    place.ok_or_else(|| CallFailed::Conflict { why: "does not match".into() })?;
                sets.remove(place);
            }
            let same = |set: &RecordSet| {
                (&set.name, &set.kind, &set.set_identifier)
                    == (&swap.after.name, &swap.after.kind, &swap.after.set_identifier)
            };
            if sets.iter().any(same) {
                return Err(CallFailed::Conflict { why: "already exists".into() });
            }
            sets.push(swap.after.clone());
        }
        world.zones.insert(batch.zone.clone(), sets);
        world.changes.push((batch.clone(), ChangeStatus::Pending));
        Ok(ChangeId(format!("C{}", world.changes.len())))
    }

    async fn status(&self, change: &ChangeId) -> Result<ChangeStatus, CallFailed> {
        let number: usize = change.0[1..].parse().unwrap();
        Ok(self.0.lock().unwrap().changes[number - 1].1)
    }

    async fn name_servers(&self, _zone: &ZoneId) -> Result<Vec<String>, CallFailed> {
        Ok(vec!["ns1".to_owned(), "ns2".to_owned()])
    }
}

#[async_trait]
impl Resolver for Route53 {
    async fn ask(
        &self,
        _server: &str,
        name: &RecordName,
        kind: &str,
    ) -> Result<Vec<String>, CallFailed> {
        let world = self.0.lock().unwrap();
        let mut sets = world.zones.values().flatten();
        let set = sets.find(|set| set.name == *name && set.kind == kind);
        Ok(match set.map(|set| &set.data) {
            Some(RecordData::Values(values)) => values.clone(),
            _ => Vec::new(),
        })
    }
}

#[derive(Debug)]
struct At(Mutex<Timestamp>);

impl Clock for At {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

async fn evacuation(policy: &Policy, world: &Route53, acts: &Acts, now: Timestamp) -> Plan {
    let lever = policy.weights_lever().unwrap();
    let inventory = read_inventory(lever, world, now).await.unwrap();
    let Answers::Split { split: from, .. } = inventory.answers(lever, &policy.regions) else {
        panic!("{:?}", inventory.answers(lever, &policy.regions));
    };
    let wanted = Wanted::Move(Move {
        lever: LeverKind::Weights,
        purpose: Purpose::Evacuate,
        from,
        to: split(100, 0),
        because: "a test".to_owned(),
    });
    plan(policy, &inventory, &wanted, acts.epoch.next(), "tester", now).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_order_is_done_only_when_the_name_servers_answer_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.journal");
    let (policy, world) = (policy(1), Route53::with(1));
    let clock = At(Mutex::new(Timestamp::from_secs(1000)));
    let levers = Levers {
        weights: Some(Arc::new(world.clone())),
        resolver: Some(Arc::new(world.clone())),
        ..Levers::default()
    };
    let pace = Pacer::new(Pace::default());
    let (mut journal, recovered) = Journal::open(&path).unwrap();
    let mut acts = recovered.acts;
    journal.append(clock.now(), &Entry::Started { version: "test".to_owned() }).unwrap();
    let plan = evacuation(&policy, &world, &acts, clock.now()).await;
    let mut executor = Executor {
        policy: &policy,
        levers: &levers,
        log: &mut journal,
        acts: &mut acts,
        clock: &clock,
        pace: &pace,
    };
    assert_eq!(executor.carry_out(plan).await.unwrap(), Progress::Working);
    assert_eq!(executor.advance().await.unwrap(), Progress::Working);
    world.bring_in_sync();
    assert_eq!(executor.advance().await.unwrap(), Progress::Ended(Outcome::Done));
    assert_eq!(executor.advance().await.unwrap(), Progress::Nothing);
    drop(journal);
    let (_journal, again) = Journal::open(&path).unwrap();
    assert_eq!(again.acts, acts);
    assert_eq!(again.acts.ordered, Some(split(100, 0)));
    assert_eq!(world.0.lock().unwrap().changes.len(), 1);
}
