//! From the text of a trace to a checked [`Trace`]: bounded, and every mistake with its place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{
    Api, Autoscale, Balancer, BalancerPhase, Dns, Event, Gauge, Gauges, Metrics, Named, Phase,
    ProberPhase, Region, RegionPhase, Responder, Severity, ShiftCost, Trace,
};
use super::node::{Node, Reading, TraceError};
use super::signal::Signal;

/// Two hundred times the largest that was seen.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Two and a half days in steps of ten seconds.
const TICKS_MAX: u64 = 20_000;
/// Regions, balancers, probers: each is looked at from each in every step.
const NAMES_MAX: usize = 32;
const PHASES_MAX: usize = 500;
const EVENTS_MAX: usize = 5000;
const STEPS_MAX: usize = 1000;
/// Expectations, responders, costs.
const LISTED_MAX: usize = 500;
/// Seconds: more than any trace is long, and far from every overflow.
const TIME_MAX: f64 = 1e8;

const REQUIRED: [&str; 18] = [
    "format",
    "version",
    "id",
    "title",
    "seed",
    "duration_s",
    "tick_s",
    "users",
    "demand_rps",
    "regions",
    "probers",
    "dns",
    "levers",
    "intent",
    "noise",
    "phases",
    "events",
    "expect",
];
/// `reference` and the texts are for the validator of the format and for people.
const OPTIONAL: [&str; 10] = [
    "family",
    "inspired_by",
    "story",
    "reference",
    "responders",
    "shift_costs",
    "sparse_counts",
    "beacons",
    "metric_delay_s",
    "notes",
];
const INTENT: [&str; 20] = [
    "home",
    "sustain_s",
    "react_s",
    "bad_ok_below",
    "slow_ms_above",
    "min_vantages",
    "max_replication_lag_s",
    "deploy_guard_s",
    "failback",
    "failback_hold_s",
    "failback_max_step",
    "lb_refresh_first",
    "lb_refresh_wait_s",
    "lb_refresh_max",
    "lb_order",
    "status_every_s",
    "spare_margin",
    "max_shifts_per_hour",
    "needs_approval",
    "spill_when_full",
];
const LEVERS: [&str; 4] = ["dns_change", "health_flip", "lb_refresh", "notify"];
const ROLES: [&str; 4] = ["primary", "active", "standby", "static"];
const TAGS: [&str; 21] = [
    "deploy",
    "missing_data",
    "stale_data",
    "probe_network",
    "control_plane",
    "capacity",
    "replication",
    "zone",
    "flapping",
    "no_safe_target",
    "clock",
    "throttle",
    "stuck_change",
    "latency",
    "correlated",
    "operator_hold",
    "recovered",
    "shifted",
    "lb",
    "region_down",
    "overload",
];

/// The checked trace, or everything that is wrong with it. `path` is only shown in messages.
pub fn load(bytes: &[u8], path: &str) -> Result<Trace, TraceError> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let reading = Reading::new(path, text);
    if bytes.len() > BYTES_MAX {
        let what = format!("the file is too large: a trace has at most {} KiB", BYTES_MAX / 1024);
        reading.at(1, 1, what);
    } else if let Err(error) = std::str::from_utf8(bytes) {
        let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
        reading.at(line + 1, 1, "this is not text: a byte here is not UTF-8".to_owned());
    } else {
        match serde_json::from_str::<Value>(text) {
            Err(error) => {
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                reading.at(error.line().max(1), error.column().max(1), format!("not JSON: {what}"));
            }
            Ok(value) => {
                let trace = Reader::default().trace(&Node::root(&reading, &value));
                return reading.finish().map(|()| trace);
            }
        }
    }
    match reading.finish() {
        Err(error) => Err(error),
        // Not reached: each branch above has complained.
        Ok(()) => Err(TraceError { path: path.to_owned(), mistakes: Vec::new(), unlisted: 0 }),
    }
}

/// The names that references may use.
#[derive(Default)]
pub(super) struct Reader {
    regions: Vec<String>,
    balancers: Vec<String>,
    /// Of each balancer.
    owners: Vec<usize>,
    probers: Vec<String>,
    phases: Vec<String>,
}

impl Reader {
    fn trace(&mut self, node: &Node<'_, '_>) -> Trace {
        node.object(&REQUIRED, &OPTIONAL);
        if node.get("format").is_some_and(|format| format.text() != "outage-trace") {
            node.need("format").wrong("expected `outage-trace`");
        }
        node.need("version").whole(1, 1);
        let duration = node.need("duration_s").whole(1, 100_000_000);
        let tick = node.need("tick_s").whole(1, 86_400);
        if !duration.is_multiple_of(tick) {
            node.need("duration_s")
                .wrong(format!("{duration} s is not a whole number of ticks of {tick} s"));
        }
        if duration / tick > TICKS_MAX {
            node.need("duration_s").wrong(format!("more than {TICKS_MAX} ticks"));
        }
        let (regions, balancers) = self.regions(&node.need("regions"));
        let probers = node.need("probers").list(NAMES_MAX);
        self.probers = probers.iter().map(|name| name.text().to_owned()).collect();
        unique(&self.probers, "prober", &node.need("probers"));
        let dns = node.need("dns");
        dns.object(&["ttl_s", "sync_s", "straggler_share", "straggler_s"], &[]);
        let phases = self.phases(&node.need("phases"));
        let events = node.need("events");
        let (events, restarts) = self.events(&events);
        let expect = node.need("expect").list(LISTED_MAX);
        let optional =
            |name: &str| node.get(name).map(|list| list.list(LISTED_MAX)).unwrap_or_default();
        self.intent(&node.need("intent"));
        let levers = node.need("levers").list(LISTED_MAX);
        let levers = levers.iter().filter_map(|lever| lever.one_of("a lever", &LEVERS));
        let seed = node.need("seed");
        Trace {
            id: node.need("id").text().to_owned(),
            title: node.need("title").text().to_owned(),
            duration,
            tick,
            seed: seed
                .value()
                .as_i64()
                .map_or_else(|| seed.whole(0, u64::MAX).to_string(), |s| s.to_string()),
            users: node.need("users").number(0.0, 1e10),
            demand: signal(&node.need("demand_rps"), 1.0, 1e7, false),
            regions,
            balancers,
            probers: self.probers.iter().map(|name| Named::new(name)).collect(),
            dns: Dns {
                ttl: dns.need("ttl_s").number(0.001, TIME_MAX),
                sync: dns.need("sync_s").number(0.0, TIME_MAX),
                straggler_share: dns.need("straggler_share").number(0.0, 1.0),
                straggler: dns.need("straggler_s").number(0.001, TIME_MAX),
            },
            levers: levers.filter_map(|place| LEVERS.get(place)).map(|l| (*l).to_owned()).collect(),
            intent: node.need("intent").value().clone(),
            noise: noise(&node.need("noise")),
            phases,
            calm: Phase::default(),
            events,
            restarts,
            expect: expect.iter().filter_map(|one| self.expectation(one)).collect(),
            responders: optional("responders").iter().map(|one| self.responder(one)).collect(),
            shift_costs: optional("shift_costs").iter().map(shift_cost).collect(),
            sparse_counts: node.get("sparse_counts").is_some_and(|flag| flag.flag()),
            beacons: node.get("beacons").is_some_and(|flag| flag.flag()),
            metric_delay: node
                .get("metric_delay_s")
                .map_or(60.0, |delay| delay.number(0.0, TIME_MAX)),
        }
    }

    fn regions(&mut self, node: &Node<'_, '_>) -> (Vec<Region>, Vec<Balancer>) {
        let (mut regions, mut balancers) = (Vec::new(), Vec::new());
        let listed = node.list(NAMES_MAX);
        if listed.len() < 2 {
            node.wrong("expected at least two regions");
        }
        for (place, region) in listed.iter().enumerate() {
            region.object(
                &["id", "role", "weight", "capacity_rps", "load_balancers"],
                &["zones", "autoscale", "overload_collapse"],
            );
            let role =
                region.need("role").one_of("a role", &ROLES).and_then(|place| ROLES.get(place));
            let of_region = region.need("load_balancers").list(NAMES_MAX);
            let mut parts = 0.0;
            for balancer in &of_region {
                balancer.object(&["id", "carries"], &["kind"]);
                let carries = balancer.need("carries").number(0.0, 1.0);
                parts += carries;
                let id = Named::new(balancer.need("id").text());
                self.balancers.push(id.name.clone());
                self.owners.push(place);
                balancers.push(Balancer { id, region: place, carries });
            }
            if (parts - 1.0_f64).abs() > 1e-9 {
                region
                    .need("load_balancers")
                    .wrong(format!("the balancers carry {parts:.3}, not 1"));
            }
            let id = Named::new(region.need("id").text());
            self.regions.push(id.name.clone());
            regions.push(Region {
                id,
                role: role.copied().unwrap_or("primary").to_owned(),
                weight: u8::try_from(region.need("weight").whole(0, 255)).unwrap_or(u8::MAX),
                capacity: region.need("capacity_rps").number(0.001, 1e9),
                overload_collapse: region
                    .get("overload_collapse")
                    .map_or(0.7, |n| n.number(0.0, 1.0)),
                autoscale: region.get("autoscale").map(|node| autoscale(&node)),
            });
        }
        unique(&self.regions, "region", node);
        unique(&self.balancers, "balancer", node);
        if !listed.is_empty() && regions.iter().all(|region| region.weight == 0) {
            node.wrong("all weights are zero");
        }
        (regions, balancers)
    }

    fn phases(&mut self, node: &Node<'_, '_>) -> Vec<Phase> {
        let listed = node.list(PHASES_MAX);
        let mut phases: Vec<Phase> = Vec::new();
        for one in &listed {
            let phase = self.phase(one);
            let rises = phases.last().map_or(phase.at == 0.0, |before| before.at < phase.at);
            if !rises {
                one.need("t").wrong("phases begin at 0 and rise");
            }
            self.phases.push(phase.name.clone());
            phases.push(phase);
        }
        if phases.is_empty() {
            node.wrong("expected a phase at 0");
        }
        unique(&self.phases, "phase", node);
        phases
    }

    fn phase(&self, node: &Node<'_, '_>) -> Phase {
        node.object(&["t", "name"], &["regions", "apis", "probers", "noise", "note"]);
        let mut phase = Phase {
            at: node.need("t").number(0.0, TIME_MAX),
            name: node.need("name").text().to_owned(),
            noise: node.get("noise").map(|node| noise(&node)).unwrap_or_default(),
            ..Phase::default()
        };
        for (name, region) in node.get("regions").iter().flat_map(Node::entries) {
            if let Some(place) = known(name, &self.regions, "region", &region) {
                phase.regions.insert(place, self.region_phase(place, &region));
            }
        }
        for (name, prober) in node.get("probers").iter().flat_map(Node::entries) {
            if let Some(place) = known(name, &self.probers, "prober", &prober) {
                phase.probers.insert(place, self.prober_phase(&prober));
            }
        }
        if let Some(apis) = node.get("apis") {
            apis.object(&[], &["dns_change", "lb_control", "notify"]);
            let api = |name: &str| apis.get(name).map(|node| api(&node)).unwrap_or_default();
            phase.dns_change = api("dns_change");
            phase.lb_control = api("lb_control");
            phase.notify = api("notify");
        }
        phase
    }

    fn region_phase(&self, region: usize, node: &Node<'_, '_>) -> RegionPhase {
        node.object(&[], &["truth", "seen", "metrics", "clock_skew_s", "lbs"]);
        let mut phase = RegionPhase {
            seen: node.get("seen").map(|node| gauges(&node, Gauge::ALL.len())).unwrap_or_default(),
            metrics: node.get("metrics").map(|node| metrics(&node)).unwrap_or_default(),
            clock_skew: node
                .get("clock_skew_s")
                .map_or(0.0, |skew| skew.number(-TIME_MAX, TIME_MAX)),
            ..RegionPhase::default()
        };
        if let Some(truth) = node.get("truth") {
            truth.object(&[], &["ok", "ms", "capacity_factor"]);
            let of =
                |name: &str, most: f64| truth.get(name).map(|node| signal(&node, 0.0, most, false));
            phase.truth_ok = of("ok", 1.0);
            phase.truth_ms = of("ms", 120_000.0);
            phase.capacity_factor = of("capacity_factor", 3.0);
        }
        for (name, balancer) in node.get("lbs").iter().flat_map(Node::entries) {
            let Some(place) = known(name, &self.balancers, "balancer", &balancer) else { continue };
            if self.owners.get(place) != Some(&region) {
                balancer.wrong(format!("balancer `{name}` is in another region"));
            }
            phase.balancers.insert(place, balancer_phase(&balancer, true));
        }
        phase
    }

    fn prober_phase(&self, node: &Node<'_, '_>) -> ProberPhase {
        node.object(&[], &["ok_factor", "paths", "extra_ms"]);
        let mut paths = BTreeMap::new();
        for (name, path) in node.get("paths").iter().flat_map(Node::entries) {
            if let Some(place) = known(name, &self.regions, "region", &path) {
                paths.insert(place, path.number(0.0, 1.0));
            }
        }
        ProberPhase {
            ok_factor: node.get("ok_factor").map_or(1.0, |factor| factor.number(0.0, 1.0)),
            paths,
            extra_ms: node.get("extra_ms").map_or(0.0, |ms| ms.number(0.0, 120_000.0)),
        }
    }

    fn events(&self, node: &Node<'_, '_>) -> (Vec<Event>, Vec<(f64, f64)>) {
        let (mut events, mut restarts) = (Vec::new(), Vec::new());
        for one in node.list(EVENTS_MAX) {
            let at = one.need("t").number(0.0, TIME_MAX);
            let deliver = one.get("t_deliver").map_or(at, |at| at.number(0.0, TIME_MAX));
            let common = ["t_deliver", "n", "until", "region", "about", "scope", "regions"];
            let kinds = ["deploy", "alarm", "operator", "notice", "controller_restart"];
            match one.need("type").one_of("an event", &kinds) {
                Some(0) => one.object(&["t", "type", "regions", "version"], &common),
                Some(1) => {
                    one.object(&["t", "type", "alarm", "region", "state"], &common);
                    one.need("state").one_of("a state", &["ALARM", "OK", "INSUFFICIENT_DATA"]);
                }
                Some(2) => {
                    one.object(&["t", "type", "do"], &common);
                    one.need("do").one_of("an order", &["freeze", "unfreeze", "approve", "deny"]);
                }
                Some(3) => one.object(&["t", "type", "text"], &common),
                Some(_) => {
                    one.object(&["t", "type", "down_s"], &common);
                    restarts.push((at, at + one.need("down_s").number(0.0, TIME_MAX)));
                }
                None => {}
            }
            let named = one.get("regions").map(|list| list.list(NAMES_MAX)).unwrap_or_default();
            for region in named.iter().chain(&one.get("region")) {
                known(region.text(), &self.regions, "region", region);
            }
            let mut shown = one.value().clone();
            if let Some(map) = shown.as_object_mut() {
                map.remove("t_deliver");
            }
            events.push(Event { deliver, shown });
        }
        events.sort_by(|a, b| a.deliver.total_cmp(&b.deliver));
        (events, restarts)
    }

    fn intent(&self, node: &Node<'_, '_>) {
        node.object(&["home", "sustain_s", "bad_ok_below", "failback"], &INTENT);
        if let Some(home) = node.get("home") {
            known(home.text(), &self.regions, "region", &home);
        }
        if let Some(order) = node.get("lb_order").filter(|order| !order.value().is_null()) {
            if order.value().is_string() {
                order.one_of("an order", &["busiest", "listed"]);
                return;
            }
            for balancer in order.list(NAMES_MAX) {
                known(balancer.text(), &self.balancers, "balancer", &balancer);
            }
        }
    }

    fn responder(&self, node: &Node<'_, '_>) -> Responder {
        node.object(&["on", "after_s", "clears"], &["note"]);
        let on = node.need("on");
        on.object(&["severity", "about_any"], &["not_before"]);
        let mut clears = Vec::new();
        for one in node.need("clears").list(LISTED_MAX) {
            one.object(&["phase"], &["region"]);
            let phase = one.need("phase");
            let region = one.get("region").map(|region| self.region(&region));
            clears.extend(known(phase.text(), &self.phases, "phase", &phase).map(|p| (p, region)));
        }
        Responder {
            severity: severity(&on.need("severity")),
            about_any: self.tags(&on.need("about_any")),
            not_before: on.get("not_before").map_or(0.0, |at| at.number(0.0, TIME_MAX)),
            after: node.need("after_s").number(0.0, TIME_MAX),
            clears,
        }
    }

    pub(super) fn region(&self, node: &Node<'_, '_>) -> usize {
        known(node.text(), &self.regions, "region", node).unwrap_or_default()
    }

    pub(super) fn regions_named(&self, node: &Node<'_, '_>) -> Vec<usize> {
        node.list(NAMES_MAX).iter().map(|region| self.region(region)).collect()
    }

    pub(super) fn shares(&self, node: &Node<'_, '_>) -> Vec<(usize, f64)> {
        let entries = node.entries().into_iter();
        let shares = entries.map(|(name, share)| {
            let region = known(name, &self.regions, "region", &share).unwrap_or_default();
            (region, share.number(0.0, 1.0))
        });
        shares.collect()
    }

    pub(super) fn balancer(&self, node: &Node<'_, '_>) -> usize {
        known(node.text(), &self.balancers, "balancer", node).unwrap_or_default()
    }

    /// Names, or `*` for all.
    pub(super) fn balancers(&self, node: &Node<'_, '_>) -> BTreeSet<usize> {
        if node.value().as_str() == Some("*") {
            return (0..self.balancers.len()).collect();
        }
        node.list(LISTED_MAX).iter().map(|balancer| self.balancer(balancer)).collect()
    }

    /// Subjects of notes: words of the format, regions, balancers.
    pub(super) fn tags(&self, node: &Node<'_, '_>) -> Vec<String> {
        let named = self.regions.iter().chain(&self.balancers).map(String::as_str);
        let all: Vec<&str> = TAGS.iter().copied().chain(named).collect();
        let listed = node.list(LISTED_MAX);
        listed
            .iter()
            .map(|tag| {
                tag.one_of("a subject of notes", &all);
                tag.text().to_owned()
            })
            .collect()
    }
}

pub(super) fn severity(node: &Node<'_, '_>) -> Severity {
    let name = node.one_of("a severity", &Severity::NAMES).and_then(|n| Severity::NAMES.get(n));
    name.and_then(|name| Severity::parse(name)).unwrap_or(Severity::Info)
}

fn autoscale(node: &Node<'_, '_>) -> Autoscale {
    node.object(&["max_factor", "per_min"], &["start_factor", "trigger_util"]);
    Autoscale {
        start: node.get("start_factor").map_or(1.0, |factor| factor.number(0.0, 1e6)),
        max: node.need("max_factor").number(0.0, 1e6),
        per_min: node.need("per_min").number(0.0, 1e6),
        trigger: node.get("trigger_util").map_or(0.7, |part| part.number(0.0, 1e6)),
    }
}

fn balancer_phase(node: &Node<'_, '_>, may_change: bool) -> BalancerPhase {
    let reactions = ["truth", "seen", "fault", "heals_on_refresh", "heal_s", "worse_on_refresh"];
    node.object(&[], if may_change { &reactions } else { &["truth", "seen"] });
    let truth = node.get("truth");
    if let Some(truth) = &truth {
        truth.object(&[], &["ok"]);
    }
    let heals = node.get("heals_on_refresh").is_some_and(|flag| flag.flag());
    let phase = BalancerPhase {
        truth_ok: truth.and_then(|truth| truth.get("ok")).map(|ok| signal(&ok, 0.0, 1.0, false)),
        seen: node.get("seen").map(|node| gauges(&node, Gauge::OF_BALANCERS)).unwrap_or_default(),
        fault: node.get("fault").map(|fault| fault.text().to_owned()),
        heals: heals.then(|| node.get("heal_s").map_or(60.0, |secs| secs.number(0.0, TIME_MAX))),
        worse: node
            .get("worse_on_refresh")
            .filter(|_| may_change)
            .map(|worse| Box::new(balancer_phase(&worse, false))),
    };
    if (phase.heals.is_some() || phase.worse.is_some()) && phase.fault.is_none() {
        node.wrong("what reacts to a refresh needs a `fault`");
    }
    phase
}

fn gauges(node: &Node<'_, '_>, most: usize) -> Gauges {
    let allowed: Vec<_> = Gauge::ALL.iter().take(most).collect();
    let names: Vec<&str> = allowed.iter().map(|(gauge, _, _)| gauge.name()).collect();
    node.object(&[], &names);
    let shown = allowed.into_iter().filter_map(|(gauge, least, most)| {
        node.get(gauge.name()).map(|node| (*gauge, signal(&node, *least, *most, true)))
    });
    shown.collect()
}

fn noise(node: &Node<'_, '_>) -> BTreeMap<Gauge, f64> {
    let names: Vec<&str> = Gauge::ALL.iter().map(|(gauge, _, _)| gauge.name()).collect();
    node.object(&[], &names);
    let levels = Gauge::ALL.iter().filter_map(|(gauge, _, _)| {
        node.get(gauge.name()).map(|level| (*gauge, level.number(0.0, 1e6)))
    });
    levels.collect()
}

fn metrics(node: &Node<'_, '_>) -> Metrics {
    node.object(&["mode"], &["delay_s"]);
    match node.need("mode").one_of("a mode", &["ok", "missing", "delayed", "frozen"]) {
        Some(1) => Metrics::Missing,
        Some(2) => {
            node.object(&["mode", "delay_s"], &[]);
            Metrics::Delayed(node.need("delay_s").number(0.0, TIME_MAX))
        }
        Some(3) => Metrics::Frozen,
        Some(_) | None => Metrics::Ok,
    }
}

fn api(node: &Node<'_, '_>) -> Api {
    let words = ["ok", "error", "timeout", "timeout_applied", "stuck_pending"];
    if node.value().is_object() {
        node.object(&["mode"], &["sync_s", "accept_share", "min_gap_s"]);
        return match node.need("mode").one_of("a state with settings", &["slow_sync", "throttle"]) {
            Some(0) => {
                node.object(&["mode", "sync_s"], &[]);
                Api::SlowSync(node.need("sync_s").number(0.0, TIME_MAX))
            }
            Some(_) => {
                node.object(&["mode", "accept_share", "min_gap_s"], &[]);
                Api::Throttle {
                    accept: node.need("accept_share").number(0.0, 1.0),
                    gap: node.need("min_gap_s").number(0.0, TIME_MAX),
                }
            }
            None => Api::Ok,
        };
    }
    match node.one_of("a state of an interface", &words) {
        Some(1) => Api::Error,
        Some(2) => Api::Timeout,
        Some(3) => Api::TimeoutApplied,
        Some(4) => Api::StuckPending,
        Some(_) | None => Api::Ok,
    }
}

fn shift_cost(node: &Node<'_, '_>) -> ShiftCost {
    node.object(&["from_t", "to_t", "user_minutes"], &["why"]);
    ShiftCost {
        from: node.need("from_t").number(0.0, TIME_MAX),
        to: node.need("to_t").number(0.0, TIME_MAX),
        user_minutes: node.need("user_minutes").number(0.0, 1e12),
    }
}

fn signal(node: &Node<'_, '_>, least: f64, most: f64, may_be_null: bool) -> Signal {
    let one =
        |node: &Node<'_, '_>| (!(may_be_null && node.is_null())).then(|| node.number(least, most));
    let Some(map) = node.value().as_object() else { return Signal::Level(one(node)) };
    let kind = map.keys().next().map(String::as_str);
    match kind {
        Some("ramp") => {
            node.object(&["ramp"], &[]);
            let ends = node.need("ramp");
            match ends.list(2).as_slice() {
                [first, second] => {
                    Signal::Ramp(first.number(least, most), second.number(least, most))
                }
                _ => {
                    ends.wrong("expected two numbers: its beginning and its end");
                    Signal::Level(None)
                }
            }
        }
        Some("square") => {
            node.object(&["square"], &[]);
            let square = node.need("square");
            square.object(&["period_s", "duty", "a", "b"], &[]);
            Signal::Square {
                period: square.need("period_s").number(0.001, TIME_MAX),
                duty: square.need("duty").number(0.0, 1.0),
                a: one(&square.need("a")),
                b: one(&square.need("b")),
            }
        }
        Some("steps") => {
            node.object(&["steps"], &[]);
            let listed = node.need("steps");
            let mut steps: Vec<(f64, Option<f64>)> = Vec::new();
            for step in listed.list(STEPS_MAX) {
                let [after, value] = step.list(2).try_into().unwrap_or_else(|_| {
                    step.wrong("expected `[seconds, value]`");
                    [step.clone(), step.clone()]
                });
                let after_secs = after.number(-TIME_MAX, TIME_MAX);
                if steps.last().is_some_and(|(before, _)| *before > after_secs) {
                    after.wrong("steps rise in time");
                }
                steps.push((after_secs, one(&value)));
            }
            if steps.is_empty() {
                listed.wrong("expected at least one step");
            }
            Signal::Steps(steps)
        }
        Some(_) | None => {
            node.wrong("expected a number, `null`, or one of `ramp`, `square` and `steps`");
            Signal::Level(None)
        }
    }
}

fn known(name: &str, names: &[String], what: &str, node: &Node<'_, '_>) -> Option<usize> {
    let place = names.iter().position(|known| known == name);
    if place.is_none() {
        node.wrong(format!(
            "`{name}` is not a {what} of this trace; they are `{}`",
            names.join("`, `")
        ));
    }
    place
}

fn unique(names: &[String], what: &str, node: &Node<'_, '_>) {
    for (place, name) in names.iter().enumerate() {
        if names.iter().take(place).any(|earlier| earlier == name) {
            node.wrong(format!("two {what}s are called `{name}`"));
        }
    }
}
