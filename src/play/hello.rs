//! The `hello` line: what the operator of a trace wants, as a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::domain::{Ratio, RegionName, SignalName, VantageName, Weight, ZoneId};
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
    pub id: crate::domain::BalancerName,
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
    #[serde(default)]
    pub lb_refresh_first: bool,
    #[serde(default)]
    pub lb_order: Vec<crate::domain::BalancerName>,
    pub lb_refresh_wait_s: Option<f64>,
    pub lb_refresh_max: Option<u32>,
    pub failback: String,
    pub failback_hold_s: Option<f64>,
    pub failback_max_step: Option<f64>,
    pub spare_margin: Option<f64>,
    #[serde(default)]
    pub spill_when_full: bool,
    pub status_every_s: Option<f64>,
    pub max_shifts_per_hour: Option<u32>,
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
    /// least: no ramp, no latch below a hundred shifts a day, and the lesser of two evils is to hold.
    pub fn policy(&self) -> Result<Policy, String> {
        let intent = &self.intent;
        let minute = Duration::from_secs(60);
        let tick = seconds(self.tick_s);
        let regions: BTreeMap<RegionName, Region> = self
            .regions
            .iter()
            .map(|region| region.checked().map(|r| (region.id.clone(), r)))
            .collect::<Result<_, _>>()?;
        let has_resort = regions.values().any(|region| region.role == Role::LastResort);
        let judge = Judge {
            success_below: Ratio::new(intent.bad_ok_below),
            latency_above: intent.slow_ms_above.map(|ms| seconds(ms / 1000.0)),
            window: minute.max(tick),
            sustain: seconds(intent.sustain_s),
            vantages_min: intent.min_vantages.unwrap_or(1),
            classes_min: 2,
            healthy_hosts_below: Ratio::new(0.5),
            deploy_guard: intent.deploy_guard_s.map(seconds),
        };
        let react = seconds(intent.react_s.unwrap_or(60.0));
        let shift = ShiftRules {
            demand_rps: self.demand_rps,
            ramp: vec![Ratio::ONE],
            hold: seconds(self.dns.ttl_s) * 2,
            spare: Ratio::new(intent.spare_margin.unwrap_or(0.0)),
            overflow: if intent.spill_when_full { Overflow::Spill } else { Overflow::Hold },
            last_resort: if has_resort { LastResort::After(react) } else { LastResort::Never },
            unready: Unready::Hold,
        };
        let failback = match intent.failback.as_str() {
            "manual" => Failback::Manual,
            "auto" => Failback::Auto {
                hold: seconds(intent.failback_hold_s.unwrap_or(0.0)),
                step_max: Ratio::new(intent.failback_max_step.unwrap_or(1.0)),
                every: minute * 10,
            },
            other => return Err(format!("`failback` is `{other}`, expected `auto` or `manual`")),
        };
        let refresh = (intent.lb_refresh_first && self.has("lb_refresh")).then(|| RefreshRules {
            order: intent.lb_order.clone(),
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
            standby_healthy_hosts_min: Ratio::new(0.7),
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

    fn signals(&self, tick: Duration) -> Result<BTreeMap<SignalName, Signal>, String> {
        let signal = |class, fresh_for| Signal { class, fresh_for, source: Source::Pushed };
        let probes = (tick * 3).max(Duration::from_secs(30));
        // Metrics may be as late again as they usually are, and a minute for their period.
        let metrics = seconds(self.metric_delay_s) * 2 + Duration::from_secs(60) + tick * 2;
        Ok(BTreeMap::from([
            (parsed(PROBES)?, signal(Class::Outside, probes)),
            (parsed(METRICS)?, signal(Class::Traffic, metrics)),
            (parsed(BEACONS)?, signal(Class::Context, probes)),
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
    fn checked(&self) -> Result<Region, String> {
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
            weight: Weight(self.weight),
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
