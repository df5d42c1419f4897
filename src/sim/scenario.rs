//! A policy and a timeline of troubles, both drawn from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::dice::Dice;
use super::zones::{ZONES, id_of};
use crate::domain::{
    BalancerName, Malformed, Ratio, RecordName, RegionName, Timestamp, VantageName, Weight, ZoneId,
};
use crate::policy::{
    Balancer, Class, ElbPace, EpochRecord, Failback, GatesLever, Guards, Judge, LastResort, Lever,
    LeverKind, Mode, Overflow, Pace, Policy, Readback, Records, RefreshRules, Region, Role,
    ShiftRules, Signal, Source, Tell, Triggers, Unready, Vantage, WeightsLever, WhichRecords,
    ZonalShift,
};

/// Signals by the names under which the world files its samples.
pub(super) const PROBES: &str = "probes";
pub(super) const METRICS: &str = "metrics";
pub(super) const BEACONS: &str = "beacons";
/// Shows that nothing moves inside this time when the policy blocks it.
pub(super) const START: Timestamp = Timestamp::from_secs(1_790_000_000);

/// How far a region can grow, times what it began with.
pub(super) const GROWS_TO: f64 = 3.0;

/// How much of the world a seed stands for: seeds that were kept as cases stay what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// Regions, balancers, records, instruments, deaths, humans and strangers.
    Plain,
    /// And slow calls, a budget that others use up, gates that are lost on their way, orders stopped midway.
    Gated,
    /// And users who follow late, capacity that grows, and zones.
    Whole,
}

/// What a run is about; some invariants only hold, or only bind, for one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every region is well; instruments, networks and calls are not. Nothing may ever move.
    OnlyInstruments,
    /// One region goes down for good and the rest is well: it must be left in time.
    LoneSick,
    /// Everything at once.
    Chaos,
}

/// What is wrong for a while.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// Part of the requests that still succeed in the region.
    Sick {
        region: RegionName,
        success: f64,
    },
    /// A balancer that makes errors itself, until it is refreshed.
    Grey {
        balancer: BalancerName,
    },
    /// Nothing leaves this vantage.
    Isolated(VantageName),
    /// The way from one vantage to one region is broken.
    Path(VantageName, RegionName),
    /// No probe of this vantage is heard at all.
    ProbesSilent(VantageName),
    MetricsSilent(RegionName),
    /// The same numbers with the same stamps.
    MetricsFrozen(RegionName),
    /// This much later than usual.
    MetricsLate(RegionName, Duration),
    /// `None`: the instrument says that it does not know.
    Lag(RegionName, Option<f64>),
    /// Part of the changes that fail, and how.
    Changes(CallTrouble, f64),
    ReadsFail(f64),
    StatusFails(f64),
    GatesFail(f64),
    /// Part of the calls of gates that get no answer, and take effect all the same.
    GatesLost(LostGate, f64),
    RefreshFails(f64),
    /// Changes are accepted and do not come into force.
    Stuck,
    ServersSilent,
    MessengerFails,
    /// The targets of one zone of a balancer are dead.
    ZoneSick {
        balancer: BalancerName,
        zone: &'static str,
    },
    /// Part of the calls about zonal shifts that are throttled.
    ZonesFail(f64),
    /// Part of them that get no answer, and take effect all the same: at once, or later.
    ZonesLost(f64),
    /// Every call takes so much longer, and is answered all the same.
    Slow(Duration),
    /// Other services have used up the shared budget but for so many calls a round.
    FewTokens(u32),
}

/// What may be believed after a change that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallTrouble {
    NotSent,
    Throttled,
    Busy,
    Refused,
    /// Time-out; it never arrived.
    LostBefore,
    /// Time-out; it was made.
    LostAfter,
    /// Time-out; it is made when the next call comes, or half a minute later.
    LandsLate,
}

/// When a gate is turned by a call that gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostGate {
    AtOnce,
    /// After it was given up.
    Late,
}

/// What happens at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Blow {
    /// The controller dies after so many more steps (calls and lines of the journal).
    Crash {
        steps: u32,
    },
    /// Its clock jumps by so many seconds.
    ClockStep(i64),
    Freeze {
        lasts: Option<Duration>,
    },
    /// A human says stop while an order is under way: as soon as the next one is begun, after so many
    /// more lines of the journal.
    FreezeOrder {
        lines: u32,
        lasts: Option<Duration>,
    },
    Unfreeze,
    Approve,
    Deny,
    Deploy(Vec<RegionName>),
    Stranger(Edit),
}

/// What somebody else makes of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// A split of their own on every name.
    Split,
    /// The same on the first name alone.
    OneName,
    AllZero,
    /// The time to live of one record.
    Ttl,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    pub kind: Kind,
    pub policy: Policy,
    /// True requests per second and what each region can take.
    pub demand_rps: f64,
    pub capacity_rps: BTreeMap<RegionName, f64>,
    /// From acceptance to `INSYNC`.
    pub propagation: Duration,
    pub metric_delay: Duration,
    /// Users whose resolvers keep answers for longer than they may: which part of them, and after how long two
    /// in three of those have followed.
    pub stragglers: (f64, Duration),
    /// While a region is nearly full its capacity grows by so much of itself a minute, up to
    /// three times what it began with.
    pub growth_per_minute: f64,
    pub troubles: Vec<(Duration, Duration, Trouble)>,
    pub blows: Vec<(Duration, Blow)>,
    pub lasts: Duration,
    /// For [`Kind::LoneSick`]: who must be left, and by when, since the start.
    pub must_leave: Option<(RegionName, Duration)>,
}

impl Scenario {
    /// What a seed stands for.
    pub fn of(seed: u64, drawn: Drawn) -> Result<Self, Malformed> {
        let mut scenario = Self::plain(seed)?;
        if drawn != Drawn::Plain {
            scenario.worsen(&mut Dice::of(seed, "worse"));
            scenario.lose_gates(&mut Dice::of(seed, "lost gates"));
        }
        if drawn == Drawn::Whole {
            scenario.enlarge(&mut Dice::of(seed, "larger"));
        }
        Ok(scenario)
    }

    /// Users who follow late, capacity that grows, and zones that fall alone.
    fn enlarge(&mut self, dice: &mut Dice) {
        if dice.chance(0.6) {
            self.stragglers = (dice.unit() * 0.3, dice.span(600, 5400));
        }
        if dice.chance(0.4) {
            self.growth_per_minute = 0.05 + dice.unit() * 0.3;
        }
        if dice.chance(0.5) {
            self.divide(dice);
        }
    }

    /// Balancers in three zones each, which the policy lets be shifted.
    fn divide(&mut self, dice: &mut Dice) {
        let rules = ZonalShift {
            zones: ZONES.into_iter().map(|zone| (zone.to_owned(), id_of(zone))).collect(),
            rest: Ratio::new(0.5),
            expires: seconds(dice, &[600, 1800]),
            back_after: seconds(dice, &[120, 300]),
        };
        let mut names = Vec::new();
        for balancer in self.policy.regions.values_mut().flat_map(|region| &mut region.balancers) {
            balancer.arn = Some(format!("arn:sim:{}", balancer.name));
            balancer.zonal_shift = Some(rules.clone());
            names.push(balancer.name.clone());
        }
        if self.kind == Kind::Chaos {
            for _ in 0..=dice.below(2) {
                let (balancer, zone) = (dice.pick(&names).cloned(), dice.pick(&ZONES).copied());
                let (from, to) = self.when(dice, 1500);
                let sick =
                    balancer.zip(zone).map(|(balancer, zone)| Trouble::ZoneSick { balancer, zone });
                self.troubles.extend(sick.map(|sick| (from, to, sick)));
            }
        }
        for _ in 0..dice.below(3) {
            let part = 0.2 + dice.unit() * 0.8;
            let trouble =
                if dice.chance(0.5) { Trouble::ZonesFail(part) } else { Trouble::ZonesLost(part) };
            let latest = self.must_leave.as_ref().map_or(self.lasts.as_secs() * 3 / 4, |_| 900);
            let from = dice.span(0, latest);
            self.trouble_for(from, dice.span(20, 900), trouble);
        }
    }

    /// Slow calls, a budget that others use up, humans who say stop in the middle, and services without
    /// records to change.
    fn worsen(&mut self, dice: &mut Dice) {
        if dice.chance(0.15) {
            let regions = self.policy.regions.keys().cloned();
            let ttl = self.policy.weights_lever().map_or(Duration::from_secs(60), |own| own.ttl);
            self.policy.levers = vec![Lever::Gates(GatesLever::unnamed(regions, ttl))];
        }
        for _ in 0..dice.below(3) {
            let trouble = match dice.below(2) {
                0 => Trouble::Slow(Duration::from_millis(200 + dice.below(8000))),
                _ => Trouble::FewTokens(small(dice, 3)),
            };
            let latest = self.must_leave.as_ref().map_or(self.lasts.as_secs() * 3 / 4, |_| 900);
            let from = dice.span(0, latest);
            self.trouble_for(from, dice.span(20, 600), trouble);
        }
        if self.kind == Kind::Chaos && dice.chance(0.5) {
            let lasts = dice.chance(0.7).then(|| dice.span(30, 900));
            let at = dice.span(0, self.lasts.as_secs() / 2);
            self.blows.push((at, Blow::FreezeOrder { lines: small(dice, 8), lasts }));
            self.blows.sort_by_key(|(at, _)| *at);
        }
    }

    /// Calls of gates that are lost on their way back.
    fn lose_gates(&mut self, dice: &mut Dice) {
        let gated = self.policy.levers.iter().any(|lever| lever.kind() == LeverKind::Gates);
        if !gated || dice.chance(0.4) {
            return;
        }
        for _ in 0..=dice.below(2) {
            let how = if dice.chance(0.5) { LostGate::AtOnce } else { LostGate::Late };
            let trouble = Trouble::GatesLost(how, 0.3 + dice.unit() * 0.7);
            let latest = self.must_leave.as_ref().map_or(self.lasts.as_secs() * 3 / 4, |_| 900);
            let from = dice.span(0, latest);
            self.trouble_for(from, dice.span(20, 600), trouble);
        }
    }

    /// What must be left is left so much later.
    fn trouble_for(&mut self, from: Duration, span: Duration, trouble: Trouble) {
        if let Some((_, by)) = &mut self.must_leave {
            *by += span + Duration::from_secs(60);
            self.lasts = *by + Duration::from_secs(30);
        }
        self.troubles.push((from, from + span, trouble));
    }

    fn plain(seed: u64) -> Result<Self, Malformed> {
        let mut dice = Dice::of(seed, "scenario");
        let kind = match dice.below(4) {
            0 => Kind::OnlyInstruments,
            1 => Kind::LoneSick,
            _ => Kind::Chaos,
        };
        let policy = policy(&mut Dice::of(seed, "policy"), kind)?;
        let demand_rps = 100.0 + dice.unit() * 4000.0;
        let scarce = kind == Kind::Chaos && dice.chance(0.3);
        let capacity_rps = policy
            .regions
            .keys()
            .map(|name| {
                let spare = if scarce { 0.6 + dice.unit() } else { 1.5 + dice.unit() };
                (name.clone(), demand_rps * spare)
            })
            .collect();
        let mut scenario = Self {
            kind,
            demand_rps,
            capacity_rps,
            propagation: dice.span(5, 60),
            metric_delay: dice.span(60, 150),
            stragglers: (0.0, Duration::from_secs(600)),
            growth_per_minute: 0.0,
            troubles: Vec::new(),
            blows: Vec::new(),
            lasts: Duration::from_secs(2400),
            must_leave: None,
            policy,
        };
        match kind {
            Kind::OnlyInstruments => scenario.break_instruments(&mut dice),
            Kind::LoneSick => scenario.fell_one(&mut dice),
            Kind::Chaos => scenario.rage(&mut dice),
        }
        scenario.blows.sort_by_key(|(at, _)| *at);
        let told: BTreeMap<_, _> =
            scenario.capacity_rps.iter().map(|(n, c)| (n.clone(), *c)).collect();
        for (name, region) in &mut scenario.policy.regions {
            region.capacity_rps = dice.chance(0.7).then(|| told.get(name).copied()).flatten();
        }
        Ok(scenario)
    }

    pub fn has_clock_steps(&self) -> bool {
        self.blows.iter().any(|(_, blow)| matches!(blow, Blow::ClockStep(_)))
    }

    fn when(&self, dice: &mut Dice, longest: u64) -> (Duration, Duration) {
        let from = dice.span(0, self.lasts.as_secs() * 3 / 4);
        (from, from + dice.span(20, longest))
    }

    fn break_instruments(&mut self, dice: &mut Dice) {
        for _ in 0..=dice.below(5) {
            let trouble = self.instrument(dice);
            let (from, to) = self.when(dice, 1500);
            self.troubles.extend(trouble.map(|trouble| (from, to, trouble)));
        }
        for _ in 0..dice.below(3) {
            let trouble = self.call(dice);
            let (from, to) = self.when(dice, 900);
            self.troubles.push((from, to, trouble));
        }
        if dice.chance(0.4) {
            let (at, _) = self.when(dice, 1);
            self.blows.push((at, Blow::Crash { steps: small(dice, 8) }));
        }
        if dice.chance(0.2) {
            let (at, _) = self.when(dice, 1);
            let step = i64::from(small(dice, 1200)) - 600;
            self.blows.push((at, Blow::ClockStep(step)));
        }
    }

    /// One region is sick from some time on; calls fail for a while; the controller may die.
    fn fell_one(&mut self, dice: &mut Dice) {
        let home = self.policy.regions.iter().max_by_key(|(_, region)| region.weight);
        let Some(home) = home.map(|(name, _)| name.clone()) else { return };
        let onset = dice.span(150, 500);
        let mut quiet_from = onset;
        let success = if dice.chance(0.5) { 0.0 } else { dice.unit() * 0.6 };
        let forever = Duration::from_secs(100_000);
        self.troubles.push((onset, forever, Trouble::Sick { region: home.clone(), success }));
        for _ in 0..dice.below(4) {
            let from = dice.span(0, 900);
            let to = from + dice.span(20, 400);
            quiet_from = quiet_from.max(to);
            let trouble = self.call(dice);
            self.troubles.push((from, to, trouble));
        }
        for _ in 0..dice.below(3) {
            let at = dice.span(0, 900);
            quiet_from = quiet_from.max(at + Duration::from_secs(60));
            self.blows.push((at, Blow::Crash { steps: small(dice, 12) }));
        }
        let bound = quiet_from + self.patience();
        self.must_leave = Some((home, bound));
        self.lasts = bound + Duration::from_secs(30);
    }

    /// The longest that a sick region may go on carrying after everything else is well: the windows
    /// (twice after a restart), the longest pause between calls, an old order that must first come
    /// into force or be given up, and the ramp.
    fn patience(&self) -> Duration {
        let policy = &self.policy;
        let lever = policy.weights_lever();
        let (ttl, within) = lever
            .map_or((Duration::from_secs(60), Duration::from_secs(300)), |l| {
                (l.ttl, l.in_sync_within)
            });
        let step =
            policy.shift.hold + ttl * 3 + policy.judge.window + self.propagation + within / 2;
        let steps = u32::try_from(policy.shift.ramp.len()).unwrap_or(1);
        policy.judge.window * 2
            + policy.judge.sustain
            + Duration::from_secs(300)
            + within
            + step * steps
            + Duration::from_secs(120)
    }

    fn rage(&mut self, dice: &mut Dice) {
        let regions: Vec<RegionName> = self.policy.regions.keys().cloned().collect();
        for _ in 0..=dice.below(3) {
            let Some(region) = dice.pick(&regions).cloned() else { return };
            let (from, to) = self.when(dice, 1500);
            let success = if dice.chance(0.5) { 0.0 } else { dice.unit() };
            self.troubles.push((from, to, Trouble::Sick { region, success }));
        }
        if dice.chance(0.3) {
            let balancers: Vec<BalancerName> = self
                .policy
                .regions
                .values()
                .flat_map(|region| region.balancers.iter().map(|b| b.name.clone()))
                .collect();
            let grey = dice.pick(&balancers).map(|b| Trouble::Grey { balancer: b.clone() });
            let (from, to) = self.when(dice, 1500);
            self.troubles.extend(grey.map(|grey| (from, to, grey)));
        }
        for _ in 0..dice.below(4) {
            let trouble = self.instrument(dice);
            let (from, to) = self.when(dice, 900);
            self.troubles.extend(trouble.map(|trouble| (from, to, trouble)));
        }
        for _ in 0..dice.below(5) {
            let trouble = self.call(dice);
            let (from, to) = self.when(dice, 900);
            self.troubles.push((from, to, trouble));
        }
        for _ in 0..dice.below(7) {
            let (at, _) = self.when(dice, 1);
            let blow = match dice.below(10) {
                0..=2 => Blow::Crash { steps: small(dice, 15) },
                3 => Blow::ClockStep(i64::from(small(dice, 1200)) - 600),
                4 => Blow::Freeze { lasts: dice.chance(0.5).then(|| dice.span(60, 1200)) },
                5 => Blow::Unfreeze,
                6 => Blow::Approve,
                7 => Blow::Deny,
                8 => Blow::Deploy(if dice.chance(0.5) {
                    regions.clone()
                } else {
                    dice.pick(&regions).cloned().into_iter().collect()
                }),
                _ => Blow::Stranger(match dice.below(4) {
                    0 => Edit::Split,
                    1 => Edit::OneName,
                    2 => Edit::AllZero,
                    _ => Edit::Ttl,
                }),
            };
            self.blows.push((at, blow));
        }
    }

    fn instrument(&self, dice: &mut Dice) -> Option<Trouble> {
        let regions: Vec<&RegionName> = self.policy.regions.keys().collect();
        let vantages: Vec<&VantageName> = self.policy.vantages.keys().collect();
        let region = (*dice.pick(&regions)?).clone();
        let vantage = (*dice.pick(&vantages)?).clone();
        // When every way to a region is cut, nobody outside can tell that from its fall.
        let first = (*vantages.first()?).clone();
        let cut = if self.kind == Kind::Chaos { vantage.clone() } else { first };
        Some(match dice.below(8) {
            0 => Trouble::Isolated(vantage),
            1 => Trouble::Path(cut, region),
            2 => Trouble::ProbesSilent(vantage),
            3 => Trouble::MetricsSilent(region),
            4 => Trouble::MetricsFrozen(region),
            5 => Trouble::MetricsLate(region, dice.span(60, 900)),
            6 => Trouble::Lag(region, None),
            _ => Trouble::Lag(region, Some(dice.unit() * 200.0)),
        })
    }

    fn call(&self, dice: &mut Dice) -> Trouble {
        let part = 0.2 + dice.unit() * 0.8;
        let certain = self.kind == Kind::LoneSick;
        match dice.below(15) {
            0 => Trouble::Changes(CallTrouble::NotSent, part),
            1 => Trouble::Changes(CallTrouble::Throttled, part),
            2 => Trouble::Changes(CallTrouble::Busy, part),
            // A refusal ends an order, and the next one is a new shift: the budget may forbid it.
            3 if !certain => Trouble::Changes(CallTrouble::Refused, part),
            3 | 4 => Trouble::Changes(CallTrouble::LostBefore, part),
            5 | 6 => Trouble::Changes(CallTrouble::LostAfter, part),
            7 => Trouble::Changes(CallTrouble::LandsLate, part),
            8 => Trouble::ReadsFail(part),
            9 => Trouble::StatusFails(part),
            10 => Trouble::Stuck,
            11 => Trouble::ServersSilent,
            12 => Trouble::GatesFail(part),
            13 => Trouble::RefreshFails(part),
            _ => Trouble::MessengerFails,
        }
    }
}

fn small(dice: &mut Dice, bound: u64) -> u32 {
    u32::try_from(dice.below(bound)).unwrap_or(0)
}

fn seconds(dice: &mut Dice, choices: &[u64]) -> Duration {
    Duration::from_secs(dice.pick(choices).copied().unwrap_or(60))
}

#[expect(clippy::too_many_lines, reason = "one field after the other")]
fn policy(dice: &mut Dice, kind: Kind) -> Result<Policy, Malformed> {
    let both = dice.chance(0.25);
    let mut names = vec![("east", Role::Primary, 100_u8), ("west", Role::Standby, 0)];
    if both {
        names = vec![("east", Role::Active, 60), ("west", Role::Active, 40)];
    }
    if dice.chance(0.5) {
        names.push(("north", Role::Standby, 0));
    }
    let resort = kind != Kind::LoneSick && dice.chance(0.3);
    if resort {
        names.push(("static", Role::LastResort, 0));
    }
    let mut regions: BTreeMap<RegionName, Region> = BTreeMap::new();
    for (name, role, weight) in names {
        let parts: &[(&str, f64)] = match role {
            Role::LastResort => &[],
            Role::Primary | Role::Active | Role::Standby if dice.chance(0.5) => {
                &[("web", 0.7), ("api", 0.3)]
            }
            Role::Primary | Role::Active | Role::Standby => &[("web", 1.0)],
        };
        let balancers = parts
            .iter()
            .map(|(part, carries)| {
                Ok(Balancer {
                    name: format!("{name}-{part}").parse()?,
                    carries: Ratio::new(*carries),
                    connect: None,
                    arn: None,
                    target_groups: Vec::new(),
                    zonal_shift: None,
                })
            })
            .collect::<Result<_, Malformed>>()?;
        let region = Region {
            role,
            weight: Weight(weight),
            capacity_rps: None,
            aws_region: None,
            balancers,
        };
        regions.insert(name.parse()?, region);
    }
    let mut vantages = BTreeMap::new();
    let witnesses = 2 + dice.below(2);
    for name in ["here", "there", "yonder"].iter().take(usize::try_from(witnesses).unwrap_or(2)) {
        vantages.insert(name.parse()?, Vantage::Here { source: None });
    }
    let mode = match (kind, dice.below(8)) {
        (Kind::LoneSick, _) | (_, 3..) => Mode::Auto,
        (_, 0) => Mode::Observe,
        (_, 1) => Mode::Advise,
        (_, _) => Mode::Approve,
    };
    let signal = |class, fresh| Signal {
        class,
        fresh_for: Duration::from_secs(fresh),
        usual_delay: None,
        source: Source::Pushed,
    };
    let signals = BTreeMap::from([
        (PROBES.parse()?, signal(Class::Outside, 30)),
        (METRICS.parse()?, signal(Class::Traffic, 400)),
        (BEACONS.parse()?, signal(Class::Context, 30)),
    ]);
    let window = seconds(dice, &[60, 60, 120]);
    let failback = if dice.chance(0.5) {
        Failback::Manual
    } else {
        Failback::Auto {
            hold: seconds(dice, &[120, 300, 600]),
            step_max: Ratio::new(if dice.chance(0.5) { 1.0 } else { 0.25 }),
            every: seconds(dice, &[60, 180]),
        }
    };
    let chaos = kind == Kind::Chaos;
    let levers = levers(dice, &regions)?;
    Ok(Policy {
        service: "sim".parse()?,
        mode,
        levers,
        vantages,
        signals,
        judge: Judge {
            success_below: Ratio::new(0.9),
            latency_above: None,
            window,
            sustain: seconds(dice, &[60, 120, 180]),
            vantages_min: 2,
            classes_min: if dice.chance(0.8) { 2 } else { 1 },
            healthy_hosts_below: Ratio::new(0.5),
            deploy_guard: (chaos && dice.chance(0.5)).then(|| Duration::from_secs(900)),
        },
        shift: ShiftRules {
            demand_rps: None,
            ramp: if dice.chance(0.7) {
                vec![Ratio::ONE]
            } else {
                vec![Ratio::new(0.25), Ratio::ONE]
            },
            hold: seconds(dice, &[60, 120]),
            spare: Ratio::new(if dice.chance(0.5) { 0.0 } else { 0.1 }),
            overflow: if dice.chance(0.5) { Overflow::Spill } else { Overflow::Hold },
            last_resort: if resort {
                LastResort::After(seconds(dice, &[60, 300]))
            } else {
                LastResort::Never
            },
            unready: if chaos && dice.chance(0.2) { Unready::ShiftAnyway } else { Unready::Hold },
        },
        failback,
        refresh: dice.chance(0.5).then(|| RefreshRules {
            order: Vec::new(),
            wait: Duration::from_secs(120),
            tries_max: 1,
            pace: ElbPace::default(),
            care: BTreeMap::new(),
        }),
        guards: Guards {
            cooldown: seconds(dice, &[120, 300, 600]),
            shifts_max: if kind == Kind::LoneSick { 10 } else { small(dice, 3) + 1 },
            shifts_window: seconds(dice, &[1200, 3600]),
            latch_after: if kind == Kind::LoneSick { 20 } else { small(dice, 4) + 2 },
            latch_window: Duration::from_secs(86_400),
            replication_lag_max: (chaos && dice.chance(0.4)).then(|| Duration::from_secs(30)),
            needs_approval: (chaos && dice.chance(0.1)).then(|| "writes may be lost".to_owned()),
            standby_healthy_hosts_min: Ratio::new(0.7),
            blocked: Vec::new(),
        },
        regions,
        tell: Tell { channels: Vec::new(), status_every: Some(Duration::from_secs(900)) },
        status_page: None,
        site: None,
        triggers: Triggers::default(),
        hooks: crate::policy::Hooks::default(),
        tests: Vec::new(),
    })
}

pub(super) fn zone(number: u64) -> Result<ZoneId, Malformed> {
    format!("ZSIM{number}").parse()
}

pub(super) fn record(number: u64) -> Result<RecordName, Malformed> {
    format!("api.z{number}.test").parse()
}

fn levers(
    dice: &mut Dice,
    regions: &BTreeMap<RegionName, Region>,
) -> Result<Vec<Lever>, Malformed> {
    let zones = 1 + dice.below(3);
    let mut records = Vec::new();
    for number in 0..zones {
        records.push(Records {
            zone: zone(number)?,
            which: WhichRecords::Named {
                name: record(number)?,
                types: BTreeSet::from(["A".to_owned()]),
            },
            members: regions.keys().map(|name| (name.clone(), name.to_string())).collect(),
        });
    }
    let weights = WeightsLever {
        records,
        epoch_record: EpochRecord { zone: zone(0)?, name: "_leeward.z0.test".parse()? },
        pace: Pace::default(),
        in_sync_within: seconds(dice, &[120, 300]),
        readback: match dice.below(3) {
            0 => Readback::None,
            1 => Readback::Servers(vec!["192.0.2.53:53".to_owned()]),
            _ => Readback::NameServers,
        },
        ttl: seconds(dice, &[30, 60]),
    };
    let gates = Lever::Gates(GatesLever::unnamed(regions.keys().cloned(), weights.ttl));
    let weights = Lever::Weights(weights);
    Ok(match dice.below(4) {
        0 => vec![weights, gates],
        1 => vec![gates, weights],
        _ => vec![weights],
    })
}
