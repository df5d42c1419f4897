//! The expectations of a trace, read. What is not known is refused, never taken for met.

use super::model::{Called, Demand, Expect, Window};
use super::node::Node;
use super::read::{Reader, severity};
use crate::policy::EXPECTATIONS;

/// Seconds.
const TIME_MAX: f64 = 1e8;
const COUNT_MAX: f64 = 1e9;

impl Reader {
    #[expect(clippy::too_many_lines, reason = "one arm for each kind, a few lines each")]
    pub(super) fn expectation(&self, node: &Node<'_, '_>) -> Option<Expect> {
        let place = node.need("kind").one_of("an expectation", EXPECTATIONS)?;
        let kind = EXPECTATIONS.get(place).copied()?;
        let fields = |required: &[&str], optional: &[&str]| {
            let required: Vec<&str> = ["kind"].iter().chain(required).copied().collect();
            let optional: Vec<&str> = ["hard", "why"].iter().chain(optional).copied().collect();
            node.object(&required, &optional);
        };
        let time = |name: &str| node.need(name).number(0.0, TIME_MAX);
        let time_or =
            |name: &str, or: f64| node.get(name).map_or(or, |at| at.number(0.0, TIME_MAX));
        let part = |name: &str| node.need(name).number(0.0, 1.0);
        let part_or = |name: &str, or: f64| node.get(name).map_or(or, |part| part.number(0.0, 1.0));
        let count = || node.need("n").number(0.0, COUNT_MAX);
        let window = || {
            let window = Window { from: time("from_t"), to: time("to_t") };
            if window.from >= window.to {
                node.wrong("an empty window: `from_t` is not before `to_t`");
            }
            window
        };
        let share_in = || {
            fields(&["region", "share", "from_t", "to_t"], &[]);
            (self.region(&node.need("region")), part("share"), window())
        };
        let demand = match kind {
            "shift" => {
                fields(&["from", "to", "by"], &["not_before", "since_t", "min_share", "max_left"]);
                Demand::Shift {
                    from: self.region(&node.need("from")),
                    to: self.regions_named(&node.need("to")),
                    by: time("by"),
                    not_before: time_or("not_before", 0.0),
                    since: time_or("since_t", 0.0),
                    min_share: part_or("min_share", 0.9),
                    max_left: part_or("max_left", 1.0),
                }
            }
            "no_shift" => {
                fields(&["from_t", "to_t"], &[]);
                Demand::NoShift(window())
            }
            "final_shares" => {
                fields(&["shares"], &["tolerance"]);
                let shares = self.shares(&node.need("shares"));
                Demand::FinalShares { shares, tolerance: part_or("tolerance", 0.05) }
            }
            "max_shifts" => {
                fields(&["n"], &[]);
                Demand::MaxShifts(count())
            }
            "max_share" => {
                let (region, share, window) = share_in();
                Demand::MaxShare { region, share, window }
            }
            "min_share" => {
                let (region, share, window) = share_in();
                Demand::MinShare { region, share, window }
            }
            "max_step" => {
                fields(&["region", "step", "from_t", "to_t"], &[]);
                let region = self.region(&node.need("region"));
                Demand::MaxStep { region, step: part("step"), window: window() }
            }
            "refresh" => {
                fields(&["lb", "by"], &["not_before", "ahead_of"]);
                let ahead_of = node.get("ahead_of").map(|list| self.balancers(&list));
                Demand::Refresh {
                    balancer: self.balancer(&node.need("lb")),
                    by: time("by"),
                    not_before: time_or("not_before", 0.0),
                    ahead_of: ahead_of.unwrap_or_default().into_iter().collect(),
                }
            }
            "no_refresh" => {
                fields(&["lbs", "from_t", "to_t"], &[]);
                Demand::NoRefresh { balancers: self.balancers(&node.need("lbs")), window: window() }
            }
            "max_refreshes" => {
                fields(&["lbs", "n"], &["total"]);
                Demand::MaxRefreshes {
                    balancers: self.balancers(&node.need("lbs")),
                    n: count(),
                    total: node.get("total").is_some_and(|flag| flag.flag()),
                }
            }
            "notify" => {
                fields(&["by", "severity", "about_any"], &["not_before"]);
                Demand::Notify {
                    by: time("by"),
                    severity: severity(&node.need("severity")),
                    about_any: self.tags(&node.need("about_any")),
                    not_before: time_or("not_before", 0.0),
                }
            }
            "max_notes" => {
                fields(&["severity", "n", "from_t", "to_t"], &[]);
                let severity = severity(&node.need("severity"));
                Demand::MaxNotes { severity, n: count(), window: window() }
            }
            "status_gap" => {
                fields(&["from_t", "to_t", "max_gap_s"], &[]);
                Demand::StatusGap { window: window(), max_gap: time("max_gap_s") }
            }
            "max_calls" => {
                fields(&["api", "n", "window_s"], &[]);
                Demand::MaxCalls {
                    api: called(&node.need("api")),
                    n: count(),
                    window: time("window_s"),
                }
            }
            "tries" => {
                fields(&["api", "n", "from_t", "to_t"], &[]);
                Demand::Tries { api: called(&node.need("api")), n: count(), window: window() }
            }
            _ => {
                fields(&["user_minutes"], &[]);
                Demand::MaxLost(node.need("user_minutes").number(0.0, 1e15))
            }
        };
        Some(Expect {
            kind,
            why: node.get("why").map(|why| why.text().to_owned()).unwrap_or_default(),
            hard: node.get("hard").is_none_or(|flag| flag.flag()),
            demand,
        })
    }
}

fn called(node: &Node<'_, '_>) -> Called {
    match node.one_of("an interface", &["dns_change", "lb_control", "notify"]) {
        Some(1) => Called::LbControl,
        Some(2) => Called::Notify,
        Some(_) | None => Called::DnsChange,
    }
}
