//! The `hello` line: what the operator of a trace wants, as a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::domain::{
    BalancerName, Ratio, RegionName, SignalName, Split, VantageName, Weight, ZoneId,
};
use crate::policy::{
    Balancer, Class, ElbPace, EpochRecord, Failback, GatesLever, Guards, Judge, LastResort, Lever,
    Mode, Overflow, Pace, Policy, Readback, Records, RefreshRules, Region, Role, ShiftRules,
    Signal, Source, Tell, Triggers, Unready, Vantage, WeightsLever, WhichRecords,
};

#[derive(Debug, Clone, Deserialize)]
pub struct Hello {
    pub tick_s: f64,
    pub demand_rps: Option<f64>,
    pub regions: Vec<HelloRegion>,
    pub probers: Vec<VantageName>,
    pub dns: HelloDns,
    pub levers: Vec<String>,
    pub intent: Intent,
    #[serde(default = "a_minute")]
    pub metric_delay_s: f64,
    /// Error counters are published only when they are not zero.
    #[serde(default)]
    pub sparse_counts: bool,
}

fn a_minute() -> f64 {
    60.0
}

#[derive(Debug, Clone, Deserialize)]
pub struct HelloRegion {
    pub id: RegionName,
    pub role: String,
    pub weight: u8,
    pub capacity_rps: Option<f64>,
    pub load_balancers: Vec<HelloBalancer>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct HelloBalancer {
    pub id: BalancerName,
    pub carries: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct HelloDns {
    pub ttl_s: f64,
    pub sync_s: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Intent {
    pub home: RegionName,
    pub sustain_s: f64,
    pub react_s: Option<f64>,
    pub bad_ok_below: f64,
    pub slow_ms_above: Option<f64>,
    pub min_vantages: Option<usize>,
    pub max_replication_lag_s: Option<f64>,
    pub needs_approval: Option<String>,
    pub deploy_guard_s: Option<f64>,
    pub lb_refresh_first: Option<bool>,
    pub lb_order: Option<Order>,
    pub lb_refresh_wait_s: Option<f64>,
    pub lb_refresh_max: Option<u32>,
    pub failback: String,
    pub failback_hold_s: Option<f64>,
    pub failback_max_step: Option<f64>,
    pub spare_margin: Option<f64>,
    pub spill_when_full: Option<bool>,
    pub status_every_s: Option<f64>,
    pub max_shifts_per_hour: Option<u32>,
}

/// Which balancer is refreshed first: those that are listed here, or as a word says.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Order {
    Listed(Vec<BalancerName>),
    /// `busiest` (as without any), or `listed`: as the regions list them.
    Word(String),
}

/// The only zone and name of a trace.
pub(super) const ZONE: &str = "TRACE";
pub(super) const NAME: &str = "service.trace";
pub(super) const EPOCH_NAME: &str = "_leeward.service.trace";

const PROBES: &str = "probes";
const METRICS: &str = "metrics";
const BEACONS: &str = "beacons";

impl Hello {
    pub fn has(&self, lever: &str) -> bool {
        self.levers.iter().any(|l| l == lever)
    }

    /// The policy that says what the intent says. What an intent does not mention is set to what hurts
    /// least: most vantages must agree, home is well for ten minutes before traffic returns, no ramp, no latch
    /// below a hundred shifts a day, and the lesser of two evils is to hold. `needs_approval` is a text that says
    /// when a human must approve: we cannot read it, so it is always.
    pub fn policy(&self) -> Result<Policy, String> {
        let intent = &self.intent;
        let minute = Duration::from_secs(60);
        let tick = seconds(self.tick_s);
        let weights = self.weights_at_home();
        let regions: BTreeMap<RegionName, Region> = self
            .regions
            .iter()
            .zip(weights)
            .map(|(region, weight)| region.checked(weight).map(|r| (region.id.clone(), r)))
            .collect::<Result<_, _>>()?;
        let has_resort = regions.values().any(|region| region.role == Role::LastResort);
        let judge = Judge {
            success_below: Ratio::new(intent.bad_ok_below),
            latency_above: intent.slow_ms_above.map(|ms| seconds(ms / 1000.0)),
            window: minute.max(tick),
            sustain: seconds(intent.sustain_s),
            vantages_min: intent.min_vantages.unwrap_or(self.probers.len() / 2 + 1),
            classes_min: 2,
            healthy_hosts_below: Ratio::new(0.5),
            deploy_guard: intent.deploy_guard_s.map(seconds),
        };
        let ttl = seconds(self.dns.ttl_s);
        let react = seconds(intent.react_s.unwrap_or(60.0));
        let shift = ShiftRules {
            demand_rps: self.demand_rps,
            ramp: vec![Ratio::ONE],
            hold: ttl * 2,
            spare: Ratio::new(intent.spare_margin.unwrap_or(0.0)),
            overflow: match intent.spill_when_full {
                Some(true) => Overflow::Spill,
                Some(false) | None => Overflow::Hold,
            },
            last_resort: if has_resort { LastResort::After(react) } else { LastResort::Never },
            unready: Unready::Hold,
        };
        let failback = match intent.failback.as_str() {
            "manual" => Failback::Manual,
            "auto" => Failback::Auto {
                hold: intent.failback_hold_s.map_or(judge.sustain.max(minute * 10), seconds),
                step_max: Ratio::new(intent.failback_max_step.unwrap_or(1.0)),
                // A step shows in the counters when it is in force, most cached answers are gone, and a window
                // of it was counted.
                every: seconds(self.dns.sync_s)
                    + ttl * 2
                    + judge.window
                    + seconds(self.metric_delay_s),
            },
            other => return Err(format!("`failback` is `{other}`, expected `auto` or `manual`")),
        };
        let order = self.order()?;
        let refreshes = intent.lb_refresh_first == Some(true) && self.has("lb_refresh");
        let refresh = refreshes.then(|| RefreshRules {
            order,
            wait: seconds(intent.lb_refresh_wait_s.unwrap_or(300.0)),
            tries_max: intent.lb_refresh_max.unwrap_or(1),
            pace: ElbPace::default(),
            care: BTreeMap::new(),
        });
        let guards = Guards {
            cooldown: seconds(intent.sustain_s),
            shifts_max: intent.max_shifts_per_hour.unwrap_or(u32::MAX),
            shifts_window: minute * 60,
            latch_after: 100,
            latch_window: minute * 1440,
            replication_lag_max: intent.max_replication_lag_s.map(seconds),
            needs_approval: intent.needs_approval.clone(),
            // As for calling a region bad. What the hosts that are left can carry is told by the capacity.
            standby_healthy_hosts_min: judge.healthy_hosts_below,
            blocked: Vec::new(),
        };
        Ok(Policy {
            service: parsed("trace")?,
            mode: Mode::Auto,
            levers: self.lever_list(&regions)?,
            regions,
            vantages: self
                .probers
                .iter()
                .map(|v| (v.clone(), Vantage::Here { source: None }))
                .collect(),
            signals: self.signals(tick)?,
            judge,
            shift,
            failback,
            refresh,
            guards,
            tell: Tell { channels: Vec::new(), status_every: intent.status_every_s.map(seconds) },
            status_page: None,
            site: None,
            triggers: Triggers::default(),
            hooks: crate::policy::Hooks::default(),
            tests: Vec::new(),
        })
    }

    /// The weights of a calm day: those at the start, unless traffic is away then. A standby or a cached copy
    /// that carries more than home does got that from it, and a home that carries nothing lost all to the largest.
    fn weights_at_home(&self) -> Vec<u8> {
        let mut weights: Vec<u8> = self.regions.iter().map(|region| region.weight).collect();
        let Some(home) = self.regions.iter().position(|region| region.id == self.intent.home)
        else {
            return weights;
        };
        let own = weights[home];
        for (place, region) in self.regions.iter().enumerate() {
            let waits = matches!(region.role.as_str(), "standby" | "static");
            if waits && weights[place] > own {
                weights[home] = weights[home].saturating_add(std::mem::take(&mut weights[place]));
            }
        }
        let most = (0..weights.len()).max_by_key(|place| weights[*place]);
        if let Some(most) = most.filter(|_| weights[home] == 0) {
            weights.swap(home, most);
        }
        weights
    }

    /// The split of the start if it is not that of a calm day: traffic is away, and goes home by the intent.
    pub fn starts_away(&self) -> Option<Split> {
        let own = self.regions.iter().map(|region| region.weight);
        if own.clone().eq(self.weights_at_home()) {
            return None;
        }
        Split::new(self.regions.iter().map(|r| (r.id.clone(), Weight(r.weight))).collect()).ok()
    }

    /// The order of refreshes as names; none is by what they carry.
    fn order(&self) -> Result<Vec<BalancerName>, String> {
        let all = || self.regions.iter().flat_map(|region| &region.load_balancers);
        match &self.intent.lb_order {
            None => Ok(Vec::new()),
            Some(Order::Listed(names)) => Ok(names.clone()),
            Some(Order::Word(word)) => match word.as_str() {
                "busiest" => Ok(Vec::new()),
                "listed" => Ok(all().map(|balancer| balancer.id.clone()).collect()),
                other => Err(format!(
                    "`lb_order` is `{other}`, expected names of balancers, `busiest` or `listed`"
                )),
            },
        }
    }

    fn signals(&self, tick: Duration) -> Result<BTreeMap<SignalName, Signal>, String> {
        let signal = |class, fresh_for, usual_delay| Signal {
            class,
            fresh_for,
            usual_delay,
            source: Source::Pushed,
        };
        let probes = (tick * 3).max(Duration::from_secs(30));
        // Metrics may be as late again as they usually are, and a minute for their period.
        let delay = seconds(self.metric_delay_s);
        let metrics = delay * 2 + Duration::from_secs(60) + tick * 2;
        Ok(BTreeMap::from([
            (parsed(PROBES)?, signal(Class::Outside, probes, None)),
            (parsed(METRICS)?, signal(Class::Traffic, metrics, Some(delay))),
            (parsed(BEACONS)?, signal(Class::Context, probes, None)),
        ]))
    }

    fn lever_list(&self, regions: &BTreeMap<RegionName, Region>) -> Result<Vec<Lever>, String> {
        let mut levers = Vec::new();
        if self.has("dns_change") {
            levers.push(Lever::Weights(self.stand_in(regions)?));
        }
        if self.has("health_flip") {
            let ttl = seconds(self.dns.ttl_s);
            levers.push(Lever::Gates(GatesLever::unnamed(regions.keys().cloned(), ttl)));
        }
        Ok(levers)
    }

    /// The levers of a policy as far as the trace has them too, in the policy's order. A trace has one
    /// name, which stands for all the records of the policy.
    pub fn levers_for(&self, policy: &Policy) -> Result<Vec<Lever>, String> {
        let mut levers = Vec::new();
        for lever in &policy.levers {
            match lever {
                Lever::Weights(own) if self.has("dns_change") => {
                    levers.push(Lever::Weights(WeightsLever {
                        in_sync_within: own.in_sync_within,
                        ttl: own.ttl,
                        ..self.stand_in(&policy.regions)?
                    }));
                }
                Lever::Gates(own) if self.has("health_flip") => {
                    let regions = policy.regions.keys().cloned();
                    levers.push(Lever::Gates(GatesLever::unnamed(regions, own.proof.ttl)));
                }
                Lever::Weights(_) | Lever::Gates(_) | Lever::Arc(_) => {}
            }
        }
        Ok(levers)
    }

    fn stand_in(&self, regions: &BTreeMap<RegionName, Region>) -> Result<WeightsLever, String> {
        let zone: ZoneId = parsed(ZONE)?;
        Ok(WeightsLever {
            records: vec![Records {
                zone: zone.clone(),
                which: WhichRecords::Named {
                    name: parsed(NAME)?,
                    types: BTreeSet::from(["A".to_owned()]),
                },
                members: regions.keys().map(|name| (name.clone(), name.to_string())).collect(),
            }],
            epoch_record: EpochRecord { zone, name: parsed(EPOCH_NAME)? },
            pace: Pace { changes_burst: 1000.0, ..Pace::default() },
            in_sync_within: (seconds(self.dns.sync_s) * 5).max(Duration::from_secs(300)),
            readback: Readback::None,
            ttl: seconds(self.dns.ttl_s),
        })
    }
}

impl HelloRegion {
    /// With the weight of a calm day.
    fn checked(&self, weight: u8) -> Result<Region, String> {
        let role = match self.role.as_str() {
            "primary" => Role::Primary,
            "active" => Role::Active,
            "standby" => Role::Standby,
            "static" => Role::LastResort,
            other => return Err(format!("role `{other}` of region `{}` is not known", self.id)),
        };
        let balancers = self.load_balancers.iter().map(|balancer| Balancer {
            name: balancer.id.clone(),
            carries: Ratio::new(balancer.carries),
            connect: None,
            arn: None,
            target_groups: Vec::new(),
            zonal_shift: None,
        });
        Ok(Region {
            role,
            weight: Weight(weight),
            capacity_rps: self.capacity_rps,
            aws_region: None,
            balancers: balancers.collect(),
        })
    }
}

fn parsed<T: std::str::FromStr<Err = crate::domain::Malformed>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: crate::domain::Malformed| error.to_string())
}

/// Bounded, so that no number in a trace can overflow a duration.
fn seconds(secs: f64) -> Duration {
    if secs.is_finite() { Duration::from_secs_f64(secs.clamp(0.0, 1e9)) } else { Duration::ZERO }
}
