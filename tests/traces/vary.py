#!/usr/bin/env python3
"""vary.py - the same outages under other names, times, numbers and noise.

  vary.py TRACE... --out DIR [--seeds N] [--changed]

--seeds N    N copies of each trace that differ only in the noise
--changed    one copy of each trace with renamed regions, balancers and probers, everything moved
             370 s later behind a longer calm, and demand, capacity, users and what may be lost
             multiplied by 3.7

Judgement that passes these as it passes the originals is not fitted to them. Standard library only.
"""
import argparse
import json
import pathlib
import re

LATER = 370
MORE = 3.7
TIMES = {"t", "t_deliver", "until", "from_t", "to_t", "by", "not_before", "since_t", "duration_s", "until_t"}
LOADS = {"demand_rps", "capacity_rps", "users", "user_minutes"}


def names(trace):
    old = [r["id"] for r in trace["regions"]] + trace["probers"]
    old += [b["id"] for r in trace["regions"] for b in r["load_balancers"]]
    return {name: "n%d-%s" % (i, name[::-1].strip("-")) for i, name in enumerate(sorted(set(old)))}


def later(value, key, tick):
    shift = LATER - LATER % tick
    return value + shift if key in TIMES and isinstance(value, (int, float)) else value


def walk(value, change, key=None):
    if isinstance(value, dict):
        return {change(k, None): walk(v, change, k) for k, v in value.items()}
    if isinstance(value, list):
        return [walk(v, change, key) for v in value]
    return change(value, key)


def changed(trace):
    new = names(trace)
    tick = trace["tick_s"]

    def change(value, key):
        if isinstance(value, str):
            return new.get(value, value)
        if isinstance(value, bool) or value is None:
            return value
        if key in LOADS:
            return value * MORE
        return later(value, key, tick)

    out = walk({k: v for k, v in trace.items() if k != "reference"}, change)
    first = dict(out["phases"][0], t=0)
    out["phases"] = [first] + out["phases"][1:]
    for cost in out.get("shift_costs", []):
        cost["from_t"] = 0
    for rule in out["expect"]:
        if rule["kind"] in ("no_shift", "no_refresh", "max_notes", "max_share") and rule["from_t"] <= LATER:
            rule["from_t"] = 0
    if trace["phases"][0].get("regions"):
        # What is ill from the start is ill for longer here: it costs more, and who mends it is told as
        # early as before but must not be done before the story needs it.
        for rule in out["expect"]:
            if rule["kind"] == "max_lost":
                rule["hard"] = False
        for responder in out.get("responders", []):
            responder["after_s"] += LATER
    out["id"] = trace["id"] + "-changed"
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("traces", nargs="+", type=pathlib.Path)
    ap.add_argument("--out", type=pathlib.Path, required=True)
    ap.add_argument("--seeds", type=int, default=0)
    ap.add_argument("--changed", action="store_true")
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for path in a.traces:
        trace = json.loads(path.read_text())
        for n in range(a.seeds):
            copy = dict(trace, seed=trace["seed"] * 1000 + 17 * n + 1, id="%s-s%d" % (trace["id"], n))
            (a.out / (copy["id"] + ".json")).write_text(json.dumps(copy))
        if a.changed:
            copy = changed(trace)
            (a.out / (copy["id"] + ".json")).write_text(json.dumps(copy))


main()
