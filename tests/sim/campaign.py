#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/seeds counts right: all seeds once, a broken build red, with the command that replays it; stopped, it goes
on where it was, and with no other build. usage: campaign.py TOOLS_SEEDS HELIO_SIM HELIO_SIM_WITH_BUG"""
import json
import os
import subprocess
import sys
import tempfile


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def run(tool, program, *words):
    return subprocess.run([tool, "--program", program, "--scenarios", "idle,power", "--count", "16", "--json", *words],
                          capture_output=True, text=True, timeout=100)


def main():
    tool, program, bug = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as directory:
        state = os.path.join(directory, "state")
        done = run(tool, program, "--state", state, "--first", "1", "--minutes", "0.000001")
        check(done.returncode == 0 and json.loads(done.stdout)["seeds"] == 0, f"no time, no seeds: {done}")
        done = run(tool, program, "--state", state, "--first", "1")
        found = json.loads(done.stdout)
        check(done.returncode == 0 and found["violations"] == 0, f"a good build is green: {done}")
        check({name: row["seeds"] for name, row in found["scenarios"].items()} == {"idle": 6, "power": 10},
              f"each scenario has its share: {found}")
        again = json.loads(run(tool, program, "--state", state, "--first", "1").stdout)
        check(again["scenarios"] == found["scenarios"], f"nothing is run twice: {again}")
        other = run(tool, bug, "--state", state, "--first", "1")
        check(other.returncode != 0 and "another build" in other.stderr, f"two builds are not one run: {other}")
    done = run(tool, bug, "--first", "1")
    check(done.returncode == 1 and json.loads(done.stdout)["violations"] > 0, f"a bug is red: {done}")
    check("replay: helio-sim --scenario power --seeds" in done.stderr, f"it says how to see it again: {done}")
    check(run(tool, program, "--scenarios", "sunshine").returncode == 2, "a scenario that is none")
    print("ok")


if __name__ == "__main__":
    main()
