#!/usr/bin/env python3
"""verdicts.py - how the reference runs of traces are judged: verdicts.py TRACE...

Prints one JSON line for each trace and run (doing nothing, the ideal run, the naive ones): the actions, each
verdict as the judge words it, and the lost user-minutes. For holding another judge against this one.
"""
import json
import pathlib
import sys

import check

for path in map(pathlib.Path, sys.argv[1:]):
    trace = json.loads(path.read_text())
    runs = [("nothing", []), ("ideal", trace["reference"]["ideal"])]
    runs += [(run["name"], run["actions"]) for run in trace["reference"]["naive"]]
    # What no reference does: ill-formed actions, zero weights, a claim too early, and everything at once.
    regions, lbs = trace["regions"], [b["id"] for r in trace["regions"] for b in r["load_balancers"]]
    away = {r["id"]: 0 if r["weight"] else 100 for r in regions}
    home = {r["id"]: r["weight"] for r in regions}
    runs.append(("wild", [
        {"t": 300, "do": "notify", "severity": "page", "about": [regions[0]["id"], "region_down", "deploy"]},
        {"t": 310, "do": "set_weights", "weights": {}},
        {"t": 320, "do": "set_weights", "weights": {r["id"]: 0 for r in regions}},
        {"t": 330, "do": "report", "state": "done"},
        {"t": 340, "do": "health_flip", "region": regions[0]["id"], "healthy": False},
        {"t": 350, "do": "dance"},
    ] + [{"t": 900, "do": "refresh_lb", "lb": lb, "every_s": 400, "until_t": 2600} for lb in lbs] + [
        {"t": 1000, "do": "set_weights", "weights": away, "every_s": 900, "until_t": 6000},
        {"t": 1450, "do": "set_weights", "weights": home, "every_s": 900, "until_t": 6000},
        {"t": 1500, "do": "health_flip", "region": regions[0]["id"], "healthy": True},
        {"t": 1600, "do": "notify", "severity": "status", "about": [], "every_s": 700, "until_t": 5000},
    ]))
    for name, actions in runs:
        actions = [dict(a, t=-(-a["t"] // trace["tick_s"]) * trace["tick_s"]) for a in check.unroll(actions)]
        actions = [a for a in actions if a["t"] < trace["duration_s"]]
        world = check.run_script(trace, actions)
        print(json.dumps({"path": str(path), "run": name, "lost": world.total_lost(), "verdicts": check.judge(trace, world),
                          "actions": [a for _, a in sorted(enumerate(actions), key=lambda x: (x[1]["t"], x[0]))]}))
