#!/usr/bin/env python3
"""rare.py - outages whose intent or instruments are out of the ordinary, as traces: rare.py DIR

Built as those of more.py: an intent that says little, traffic that is away from home at the start, a no
that was meant for another outage, restarts that forget, instruments that stop while they tell of
trouble, a notifier that wants long pauses. Standard library only.
"""
from more import BROWN, DARK, NR, NS, base, fin, ph, sh, write

T = []


def without(trace, *keys):
    for key in keys:
        del trace["intent"][key]
    return trace


def page(by, *about):
    return {"kind": "notify", "severity": "page", "about_any": list(about), "by": by}


def quiet(from_t, to_t):
    return {"kind": "no_shift", "from_t": from_t, "to_t": to_t}


def west(**seen):
    return {"west": {"seen": seen}}


def static(**k):
    """A third region: a cached copy."""
    return {"id": "cache", "role": "static", "weight": 0, "capacity_rps": 9000, "load_balancers": [{"id": "cache-1", "carries": 1.0}], **k}


ROLLOUT = {"t": 880, "type": "deploy", "regions": ["east", "west"], "version": "v2", "scope": "all"}
RESTART = {"t": 950, "type": "controller_restart", "down_s": 60}
T.append(base("deploy-then-restart", phases=[ph(0, "c"), ph(900, "k", {"east": BROWN})], events=[ROLLOUT, RESTART],
              expect=[quiet(0, 2000), page(1400, "deploy")]))
T.append(base("deny-then-again", duration_s=9000, phases=[ph(0, "c"), ph(900, "d", {"east": DARK}), ph(2400, "well"), ph(5000, "e", {"east": DARK})],
              intent={"max_replication_lag_s": 30},
              events=[{"t": 960, "type": "operator", "do": "deny", "scope": "it is back in a minute"}],
              expect=[quiet(0, 5000), sh(5110, 5240), fin(0, 1)]))
T.append(base("deny-long-before", phases=[ph(0, "c"), ph(3000, "d", {"east": DARK})],
              events=[{"t": 300, "type": "operator", "do": "deny", "scope": "no drill now"}],
              expect=[sh(3110, 3240), fin(0, 1)]))
T.append(base("deny-lasts", phases=[ph(0, "c"), ph(900, "d", {"east": DARK})],
              events=[{"t": 960, "type": "operator", "do": "deny", "scope": "we mend it"}],
              expect=[NS, page(1300, "operator_hold", "east")]))
T.append(base("deny-flaps", phases=[ph(0, "c"), ph(900, "d", {"east": DARK}), ph(1200, "up"), ph(1500, "e", {"east": DARK})],
              events=[{"t": 1060, "type": "operator", "do": "deny", "scope": "we mend it"}], intent={"needs_approval": "always"},
              expect=[NS, page(1300, "operator_hold", "east")]))
ZONE = {"healthy_hosts": 0.67}
T.append(base("zone-gone-in-standby", phases=[ph(0, "c"), ph(600, "z", west(**ZONE)), ph(1500, "d", {"east": DARK, "west": {"seen": ZONE}})],
              expect=[sh(1610, 1740), fin(0, 1)]))
T.append(base("half-of-standby-gone", phases=[ph(0, "c"), ph(600, "z", west(healthy_hosts=0.3)), ph(1500, "d", {"east": DARK, "west": {"seen": {"healthy_hosts": 0.3}}})],
              expect=[NS, page(1900, "no_safe_target")]))
LATE = {"seen": {"replication_lag_s": 400}}
GONE = {"metrics": {"mode": "missing"}}
T.append(base("lag-high-then-silent", phases=[ph(0, "c"), ph(600, "l", {"west": LATE}), ph(840, "m", {"west": GONE}), ph(900, "d", {"east": DARK, "west": GONE})],
              events=[{"t": 1500, "type": "operator", "do": "approve", "scope": "lose them"}],
              expect=[quiet(0, 1500), page(1300, "replication"), sh(1500, 1600), fin(0, 1)]))
T.append(base("lag-null-then-silent", phases=[ph(0, "c"), ph(600, "l", west(replication_lag_s=None)), ph(840, "m", {"west": GONE}), ph(900, "d", {"east": DARK, "west": GONE})],
              events=[{"t": 1500, "type": "operator", "do": "approve", "scope": "lose them"}],
              expect=[quiet(0, 1500), page(1300, "replication"), sh(1500, 1600), fin(0, 1)]))
T.append(base("lag-fell-then-silent", phases=[ph(0, "c"), ph(300, "l", {"west": LATE}), ph(600, "ok"), ph(840, "m", {"west": GONE}), ph(900, "d", {"east": DARK, "west": GONE})],
              expect=[sh(1010, 1140), fin(0, 1)]))
ALONE = [base("x")["regions"][0], static()]
NOTHING = {"seen": {"replication_lag_s": None}}
T.append(base("copy-has-no-lag", regions=ALONE, phases=[ph(0, "c", {"cache": NOTHING}), ph(900, "d", {"east": DARK, "cache": NOTHING})],
              expect=[{"kind": "shift", "from": "east", "to": ["cache"], "not_before": 1010, "by": 1300}]))
T.append(without(base("vantages-unsaid", phases=[ph(0, "c"), ph(900, "d", {"east": DARK}, probers={"p-eu": {"paths": {"west": 0.0}}})],
                      expect=[sh(1010, 1140), fin(0, 1)]), "min_vantages"))
T.append(without(base("vantages-unsaid-one-blind", phases=[ph(0, "c"), ph(900, "d", probers={"p-eu": {"paths": {"east": 0.0}}})], expect=[NS, NR]), "min_vantages"))
T.append(without(base("hold-unsaid", duration_s=10800, intent={"failback": "auto", "failback_max_step": 0.25, "max_shifts_per_hour": 6},
                      phases=[ph(0, "c"), ph(900, "d", {"east": DARK}), ph(2000, "up"), ph(2200, "d2", {"east": DARK}), ph(3000, "ok")],
                      expect=[sh(1010, 1140), quiet(1200, 3590), {"kind": "max_step", "region": "east", "step": 0.26, "from_t": 2000, "to_t": 10800},
                              {"kind": "shift", "from": "west", "to": ["east"], "by": 7200}, fin(1, 0), {"kind": "max_shifts", "n": 2}]), "failback_hold_s"))
LITTLE = without(base("intent-says-little", phases=[ph(0, "c"), ph(900, "d", {"east": DARK})], expect=[sh(1010, 1140), page(1140, "east"), fin(0, 1)]),
                 *[k for k in base("x")["intent"] if k not in ("home", "sustain_s", "bad_ok_below", "failback")])
T.append(LITTLE)
TWO = {"lbs": {lb: {"truth": {"ok": 0.5}, "seen": {"elb_5xx": 0.5, "target_5xx": 0.0005}, "fault": lb, "heals_on_refresh": True, "heal_s": 60} for lb in ("east-web", "east-api")}}
for word, first, second in (("busiest", "east-web", "east-api"), ("listed", "east-api", "east-web")):
    regions = base("x")["regions"]
    regions[0]["load_balancers"].reverse()
    T.append(base("order-" + word, regions=regions, intent={"lb_order": word}, phases=[ph(0, "c"), ph(900, "d", {"east": TWO})],
                  expect=[NS, {"kind": "refresh", "lb": first, "by": 1200, "ahead_of": [second]}]))
DIM = {"p-eu": {"ok_factor": 0.92}}
T.append(base("dim-beacon", beacons=True, intent={"bad_ok_below": 0.95, "min_vantages": 1}, phases=[ph(0, "c"), ph(600, "dim", probers=DIM), ph(900, "d", {"east": DARK}, probers=DIM)],
              expect=[sh(1010, 1140), {"kind": "notify", "severity": "warn", "about_any": ["probe_network"], "by": 1800}, fin(0, 1)]))
AWAY = base("x")["regions"]
AWAY[0]["weight"], AWAY[1]["weight"] = 0, 100
BACK = {"failback": "auto", "failback_hold_s": 600, "failback_max_step": 0.5}
T.append(base("starts-away", regions=AWAY, intent=BACK, phases=[ph(0, "c", {"east": {"truth": {"ok": 0.2}, "seen": {"target_5xx": 0.8}}}), ph(1200, "ok")],
              expect=[quiet(0, 1790), {"kind": "shift", "from": "west", "to": ["east"], "not_before": 1790, "by": 4800},
                      {"kind": "max_step", "region": "east", "step": 0.51, "from_t": 0, "to_t": 7200}, fin(1, 0), {"kind": "max_shifts", "n": 1}]))
T.append(base("starts-away-by-hand", regions=AWAY, phases=[ph(0, "c")], expect=[NS, fin(0, 1)]))
T.append(base("starts-away-restart", regions=AWAY, intent=BACK, phases=[ph(0, "c")], events=[{"t": 300, "type": "controller_restart", "down_s": 60}],
              expect=[quiet(0, 590), {"kind": "shift", "from": "west", "to": ["east"], "by": 4800}, fin(1, 0)]))
PART = base("x")["regions"]
PART[0]["weight"], PART[1]["weight"] = 25, 75
T.append(base("starts-on-the-way", regions=PART, intent=BACK, phases=[ph(0, "c")], expect=[quiet(0, 590), fin(1, 0)]))
T.append(base("starts-away-and-leaves", regions=AWAY, phases=[ph(0, "c"), ph(900, "d", {"west": DARK})],
              expect=[{"kind": "shift", "from": "west", "to": ["east"], "not_before": 1010, "by": 1140}, fin(1, 0)]))
CROWD = {"truth": {"ok": 0.5, "ms": 900}, "seen": {"target_5xx": 0.5, "requests_factor": 1.3}}
T.append(base("retries", phases=[ph(0, "c"), ph(900, "d", {"east": CROWD})], expect=[sh(1010, 1200), fin(0, 1)]))
LESS = {"truth": {"ok": 0.2, "ms": 900}, "seen": {"target_5xx": 0.8, "requests_factor": 0.4}}
SMALL = base("x")["regions"]
SMALL[1]["capacity_rps"] = 1500
T.append(base("users-gave-up", regions=SMALL, phases=[ph(0, "c"), ph(900, "d", {"east": LESS})], expect=[NS, page(1300, "capacity", "overload")]))
FLASH = {"steps": [[0, 2000], [900, 4200]]}
T.append(base("flash-crowd", demand_rps=FLASH, phases=[ph(0, "c")], expect=[NS, NR, page(1500, "capacity", "overload")]))
STALE = {"metrics": {"mode": "frozen"}}
T.append(base("frozen-then-restart", phases=[ph(0, "c"), ph(500, "f", {"east": STALE}), ph(900, "d", {"east": dict(STALE, truth={"ok": 0.3, "ms": 1000})})],
              events=[{"t": 700, "type": "controller_restart", "down_s": 60}], expect=[sh(1010, 1200), fin(0, 1)]))
T.append(base("frozen-from-the-start", phases=[ph(0, "f", {"east": STALE}), ph(900, "d", {"east": dict(STALE, truth={"ok": 0.3, "ms": 1000})})],
              expect=[sh(1010, 1200), {"kind": "notify", "severity": "warn", "about_any": ["stale_data", "clock"], "by": 900}, fin(0, 1)]))
T.append(base("notify-slow-pace", phases=[ph(0, "c"), ph(900, "d", {"east": DARK}, apis={"notify": {"mode": "throttle", "accept_share": 1.0, "min_gap_s": 90}})],
              expect=[sh(1010, 1140), page(1200, "east"), {"kind": "status_gap", "from_t": 2000, "to_t": 7200, "max_gap_s": 1200}, fin(0, 1)]))
T.append(base("notify-slower-pace", phases=[ph(0, "c"), ph(600, "n", apis={"notify": {"mode": "throttle", "accept_share": 0.6, "min_gap_s": 200}}), ph(900, "d", {"east": DARK}, apis={"notify": {"mode": "throttle", "accept_share": 0.6, "min_gap_s": 200}})],
              expect=[sh(1010, 1140), page(1900, "east"), {"kind": "status_gap", "from_t": 2400, "to_t": 7200, "max_gap_s": 1800}, fin(0, 1)]))
T.append(base("dns-slow-pace", duration_s=9000, phases=[ph(0, "c"), ph(900, "d", {"east": DARK}, apis={"dns_change": {"mode": "throttle", "accept_share": 0.7, "min_gap_s": 400}})],
              expect=[sh(1010, 5000), {"kind": "max_shifts", "n": 1}, fin(0, 1)]))
UNPROBED = {"truth": {"ok": 0.2}, "seen": {"probe_ok": None, "target_5xx": 0.8, "healthy_hosts": 0.2}}
T.append(base("no-probes-users-fail", phases=[ph(0, "c"), ph(900, "d", {"east": UNPROBED})],
              expect=[quiet(0, 7200), page(1400, "east"), {"kind": "status_gap", "from_t": 1400, "to_t": 7200, "max_gap_s": 960}]))
T.append(base("shallow-probe-status", phases=[ph(0, "c"), ph(900, "d", {"east": {"truth": {"ok": 0.5}, "seen": {"probe_ok": 1.0, "target_5xx": 0.5}}})],
              expect=[page(1400, "east"), {"kind": "status_gap", "from_t": 1400, "to_t": 7200, "max_gap_s": 960}]))
if __name__ == "__main__":
    write(T)
