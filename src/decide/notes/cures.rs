//! What is told of balancers that are cured where they stand.

use super::{Desk, Draft, region, word};
use crate::decide::Hold;
use crate::decide::refresh::Treatment;
use crate::domain::{BalancerName, RegionName};
use crate::health::RegionView;
use crate::policy::GiveUp;
use crate::tell::{Account, Kind, Severity, Topic, Word};

impl Desk<'_> {
    /// Says which balancer is refreshed, or that refreshing is over and the region stays as it is. False if
    /// the region is left or has no such balancer. `seen` says what is seen of the region.
    pub(super) fn cured_in_place(
        &mut self,
        name: &RegionName,
        view: &RegionView,
        seen: &str,
        treatment: &Treatment,
    ) -> bool {
        match treatment {
            Treatment::Wait(hold @ Hold::RefreshExhausted { .. }, balancer) => {
                let topics = topics(name, balancer);
                let rules = self.case.policy.refresh.as_ref();
                let care = rules.and_then(|rules| rules.care.get(balancer));
                let why = match care.map(|care| care.give_up) {
                    Some(GiveUp::Page) => "The policy leaves the region alone then",
                    Some(GiveUp::Shift) | None => {
                        "Its counters know of no trouble and probes fail at all of its balancers, so they \
                         may be what is wrong, and the region is not left"
                    }
                };
                let text =
                    format!("{seen}. {hold}, and it is still bad. {why}: somebody has to look");
                let key = format!("given-up:{name}:{}", self.case.incident);
                self.say(Severity::Page, key, &topics, &text);
                true
            }
            Treatment::Refresh(_, balancer) | Treatment::Wait(_, balancer) => {
                self.refreshed(name, view, seen, balancer);
                true
            }
            Treatment::None | Treatment::GiveUp(..) => false,
        }
    }

    /// What refreshes left behind, and nobody but a human can mend.
    pub(super) fn left_behind(&mut self) {
        self.left_over();
        for (balancer, twinned) in &self.case.acts.twinned {
            let seen: Vec<String> = twinned.apart.iter().map(ToString::to_string).collect();
            if seen.is_empty() {
                continue;
            }
            let unserved = twinned.apart.iter().any(|apart| !apart.unserved.is_empty());
            let help = "give whoever registers targets (an autoscaling group, a service) the twin, or the listeners \
                        the old group again";
            let text =
                format!("balancer `{balancer}`, since its swap: {}; {help}", seen.join("; "));
            let mut about = vec![Topic::Balancer(balancer.clone()), word(Word::Lb)];
            about.extend(self.case.policy.region_of(balancer).map(region));
            let would_help = vec![help.to_owned()];
            self.tell(Draft {
                severity: if unserved { Severity::Page } else { Severity::Warn },
                key: format!("apart:{balancer}:{}:{unserved}", twinned.since),
                kind: Kind::NeedsYou,
                about: &about,
                text: &text,
                account: Account { seen, would_help, ..Account::default() },
            });
        }
    }

    fn left_over(&mut self) {
        let policy = self.case.policy;
        for (balancer, left) in &self.case.acts.left_over {
            let calls: Vec<String> = left.calls.iter().map(|call| format!("`{call}`")).collect();
            let text = format!(
                "balancer `{balancer}` is not as it was before its refresh: {} could not be called ({})",
                calls.join(", "),
                left.why.join("; ")
            );
            let file = left.kept_in.as_deref().unwrap_or("SNAPSHOT");
            let command = format!(
                "`leeward lb restore POLICY {balancer} STATE/{file} --reason TEXT --state STATE --yes`"
            );
            let account = Account {
                seen: vec![text.clone()],
                not_done: calls,
                would_help: vec![format!("make these calls by hand, or {command}")],
                ..Account::default()
            };
            let mut about = vec![Topic::Balancer(balancer.clone()), word(Word::Lb)];
            about.extend(policy.region_of(balancer).map(region));
            self.tell(Draft {
                severity: Severity::Page,
                key: format!("left-over:{balancer}:{}", left.since),
                kind: Kind::NeedsYou,
                about: &about,
                text: &format!("{text}; {command} brings it back"),
                account,
            });
        }
    }

    /// The first balancer of an incident wakes somebody up. Who is awake hears of the others.
    fn refreshed(
        &mut self,
        name: &RegionName,
        view: &RegionView,
        seen: &str,
        balancer: &BalancerName,
    ) {
        let incident = self.case.incident;
        let key = |balancer: &BalancerName| format!("balancer:{name}:{balancer}:{incident}");
        let others = view.balancers.keys().filter(|other| *other != balancer);
        let told = others.filter(|other| self.case.acts.told.get(&key(other)).is_some());
        let before: Vec<String> = told.map(|other| format!("`{other}`")).collect();
        let (severity, text) = if before.is_empty() {
            let text = format!(
                "{seen}. Its targets are well, so balancer `{balancer}` is refreshed first"
            );
            (Severity::Page, text)
        } else {
            let before = before.join(" and ");
            let text = format!(
                "{seen}. After {before} it is the turn of balancer `{balancer}`: its targets are well \
                 too, so it is refreshed next"
            );
            (Severity::Warn, text)
        };
        let mut account = self.account(view.outside.says.to_string(), name);
        account.done.push(format!("balancer `{balancer}` is refreshed, then looked at"));
        self.tell(Draft {
            severity,
            key: key(balancer),
            kind: Kind::Changed,
            about: &topics(name, balancer),
            text: &text,
            account,
        });
    }
}

fn topics(name: &RegionName, balancer: &BalancerName) -> [Topic; 3] {
    [region(name), Topic::Balancer(balancer.clone()), word(Word::Lb)]
}
