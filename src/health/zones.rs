//! The zones of a balancer, by the health of the targets in each.

use std::time::Duration;

use super::evidence::{Evidence, Heard, Track};
use super::instruments::Site;
use super::picture::ZoneView;
use super::{Reading, ZoneHosts};
use crate::domain::{BalancerName, SignalName, Timestamp};
use crate::policy::{Judge, Policy};

/// What the targets of one balancer said last, and since when each zone has been as it is.
#[derive(Debug, Clone)]
pub(super) struct Zoned {
    balancer: BalancerName,
    signal: SignalName,
    heard_at: Timestamp,
    hosts: Vec<ZoneHosts>,
    views: Vec<ZoneView>,
}

impl Heard {
    pub(super) fn hear_zones(
        &mut self,
        balancer: &BalancerName,
        signal: &SignalName,
        hosts: &[ZoneHosts],
        at: Timestamp,
    ) {
        let known = self.zoned.iter_mut().find(|zoned| zoned.balancer == *balancer);
        if let Some(zoned) = known {
            zoned.heard_at = at;
            zoned.signal = signal.clone();
            zoned.hosts = hosts.to_vec();
            return;
        }
        self.zoned.push(Zoned {
            balancer: balancer.clone(),
            signal: signal.clone(),
            heard_at: at,
            hosts: hosts.to_vec(),
            views: Vec::new(),
        });
    }
}

impl Evidence {
    /// Since when each zone has been good or bad. What is old, or of no target's health, is neither.
    pub(super) fn judge_zones(&mut self, policy: &Policy, now: Timestamp) {
        for zoned in self.heard.values_mut().flat_map(|heard| &mut heard.zoned) {
            let fresh_for = policy.signals.get(&zoned.signal).map(|signal| signal.fresh_for);
            let fresh = now.since(zoned.heard_at) <= fresh_for.unwrap_or(Duration::ZERO);
            let enough = policy.guards.standby_healthy_hosts_min.get();
            let before = std::mem::take(&mut zoned.views);
            let view = |hosts: &ZoneHosts| {
                let was = before.iter().find(|view| view.zone == hosts.zone);
                let mut track = Track {
                    bad_since: was.and_then(|view| view.bad_since),
                    good_since: was.and_then(|view| view.good_since),
                };
                let reading =
                    if fresh { read(&policy.judge, enough, hosts) } else { Reading::Unknown };
                track.take(reading, now);
                ZoneView {
                    zone: hosts.zone.clone(),
                    healthy: hosts.healthy,
                    known: hosts.healthy + hosts.unhealthy,
                    shifted: hosts.shifted > 0,
                    reading,
                    bad_since: track.bad_since,
                    good_since: track.good_since,
                }
            };
            zoned.views = zoned.hosts.iter().map(view).collect();
        }
    }
}

/// Bad as a region is by its targets, good as a standby must be; between them nothing is said.
fn read(judge: &Judge, enough: f64, hosts: &ZoneHosts) -> Reading {
    let known = hosts.healthy + hosts.unhealthy;
    if known == 0 {
        return Reading::Unknown;
    }
    let part = f64::from(hosts.healthy) / f64::from(known);
    if part < judge.healthy_hosts_below.get() {
        Reading::Bad
    } else if part >= enough {
        Reading::Good
    } else {
        Reading::Unknown
    }
}

impl Site<'_> {
    pub(super) fn zones(&self, balancer: &BalancerName) -> Vec<ZoneView> {
        let zoned = self.heard.into_iter().flat_map(|heard| &heard.zoned);
        zoned.filter(|zoned| zoned.balancer == *balancer).flat_map(|z| z.views.clone()).collect()
    }
}
