#!/usr/bin/env python3
"""table.py - lost user-minutes over the open traces: doing nothing, the ideal run, Leeward

  table.py LEEWARD-BINARY

Plays every trace of open/ in closed loop and prints a table in Markdown. Exit status 1 if one fails.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import check

HERE = pathlib.Path(__file__).parent


def main(binary):
    failed = 0
    print("| outage | nothing | ideal | Leeward | verdict |")
    print("|---|---:|---:|---:|---|")
    for path in sorted((HERE / "open").glob("*.json")):
        trace = json.loads(path.read_text())
        nothing = check.run_script(trace, []).total_lost()
        ideal = check.run_script(trace, check.unroll(trace["reference"]["ideal"])).total_lost()
        with tempfile.TemporaryDirectory() as state:
            command = [sys.executable, str(HERE / "check.py"), "--play", str(path), binary, "play",
                       "--state", state + "/journal"]
            played = subprocess.run(command, capture_output=True, text=True, timeout=300)
        lost = re.search(r"lost (\d+) user-minutes", played.stdout)
        failed += played.returncode != 0
        print("| %s | %s | %s | %s | %s |" % (
            trace["title"], f"{round(nothing):,}", f"{round(ideal):,}",
            f"{int(lost.group(1)):,}" if lost else "?", "passed" if played.returncode == 0 else "FAILED"))
    return 1 if failed else 0


sys.exit(main(sys.argv[1]))
