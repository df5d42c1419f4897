//! What people are told of a bad zone.

use super::{Desk, Draft, needs_a_human, region, word};
use crate::decide::{Finding, Hold};
use crate::domain::RegionName;
use crate::memory::ZoneAway;
use crate::tell::{Account, Kind, Severity, Topic, Word};

impl Desk<'_> {
    pub(super) fn zone(&mut self, name: &RegionName, finding: &Finding) {
        let mut topics = vec![region(name), word(Word::Zone), word(Word::Capacity)];
        topics.extend(finding.balancer.clone().map(Topic::Balancer));
        let mut account = Account { seen: finding.evidence.clone(), ..Account::default() };
        let mut text = finding.evidence.join("; ");
        let plan = self.decision.zone.as_ref().filter(|plan| plan.act.region == *name);
        let mut kind = Kind::Changed;
        match plan {
            Some(plan) if plan.go => {
                account.done.push(plan.act.to_string());
                text = format!("{text}; {}", plan.act);
            }
            Some(_) | None => {
                let holds = || self.decision.holds.iter().filter(|hold| is_about(hold, name, self));
                let standing: Vec<&Hold> = if plan.is_some() {
                    self.decision.holds.iter().collect()
                } else {
                    holds().collect()
                };
                account.not_done = standing.iter().map(ToString::to_string).collect();
                account.would_help = standing.iter().map(|hold| hold.flips_when()).collect();
                account.would_help.dedup();
                if let Some(plan) = plan {
                    account.not_done.insert(0, plan.act.to_string());
                    if needs_a_human(&self.decision.holds) {
                        kind = Kind::NeedsYou;
                    }
                }
                if !account.not_done.is_empty() {
                    text = format!("{text}; not done: {}", account.not_done.join("; "));
                }
            }
        }
        self.tell(Draft {
            severity: Severity::Warn,
            key: format!("zone:{name}:{}", finding.since),
            kind,
            about: &topics,
            text: &text,
            account,
        });
        let away = self.case.acts.zones_away.values();
        let ours: Vec<&ZoneAway> = away.filter(|away| away.act.region == *name).collect();
        for away in ours {
            self.zone_away(away, &topics);
        }
    }

    /// A zonal shift of ours that stands.
    fn zone_away(&mut self, away: &ZoneAway, topics: &[Topic]) {
        let Some(stands) = &away.stands else { return };
        let act = &away.act;
        let text = format!(
            "balancer `{}` is shifted away from zone {} ({}) until {}, by zonal shift {}; it is renewed while the \
             zone is bad and taken back once it has been well",
            act.balancer, act.zone, act.zone_id, stands.until, stands.id
        );
        let account = Account {
            seen: vec![act.because.clone()],
            done: vec![text.clone()],
            to_stop: vec![format!(
                "`aws arc-zonal-shift cancel-zonal-shift --zonal-shift-id {}`: it is not begun again before {}",
                stands.id, stands.until
            )],
            ..Account::default()
        };
        self.tell(Draft {
            severity: Severity::Warn,
            key: format!("zone-shift:{}:{}", act.balancer, away.intended_at),
            kind: Kind::Changed,
            about: topics,
            text: &text,
            account,
        });
    }
}

fn is_about(hold: &Hold, name: &RegionName, desk: &Desk<'_>) -> bool {
    if let Hold::ZoneMustStay { balancer, .. } | Hold::ZoneShiftPaused { balancer, .. } = hold {
        return desk.case.policy.region_of(balancer) == Some(name);
    }
    false
}
