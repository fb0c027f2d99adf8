#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/seeds counts right: all seeds once, a broken build red, with the command that replays it, a promise that was
not kept named; stopped, it goes on where it was, and with no other build.
usage: campaign.py TOOLS_SEEDS HELIO_SIM HELIO_SIM_WITH_BUG"""
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
        check({name: row["seeds"] for name, row in found["scenarios"].items()} == {"idle": 7, "power": 10},
              f"each scenario has its share: {found}")
        again = json.loads(run(tool, program, "--state", state, "--first", "1").stdout)
        check(again["scenarios"] == found["scenarios"], f"nothing is run twice: {again}")
        few = run(tool, program, "--state", state, "--first", "1", "--seeds-promised", "10")
        broken = json.loads(few.stdout)["promises_broken"]
        check(few.returncode == 1 and broken and all(name == "power" for name, _ in broken),
              f"10 seeds of power keep not all promises, 7 of idle promise none: {few}")
        check(f"{broken[0][1]} never happened: no seed of scenario power" in few.stderr, f"it is named: {few}")
        often = {what for key, part in json.load(open(state, encoding="utf-8"))["done"].items()
                 for what in part[2] if key.startswith("power")}
        check("power_losses" in often and not often & {what for _, what in broken}, f"the state has the rest: {often}")
        part = run(tool, program, "--first", "1", "--minutes", "0.000001", "--seeds-promised", "1")
        check(part.returncode == 0, f"what was not run breaks no promise: {part}")
        aged = os.path.join(directory, "aged")
        with open(state, encoding="utf-8") as file:
            kept = json.load(file)
        kept["done"] = {key: part[:2] for key, part in kept["done"].items()}
        with open(aged, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        refused = run(tool, program, "--state", aged, "--first", "1")
        check(refused.returncode != 0 and "rare things" in refused.stderr, f"an older state is refused: {refused}")
        other = run(tool, bug, "--state", state, "--first", "1")
        check(other.returncode != 0 and "another build" in other.stderr, f"two builds are not one run: {other}")
    done = run(tool, bug, "--first", "1")
    check(done.returncode == 1 and json.loads(done.stdout)["violations"] > 0, f"a bug is red: {done}")
    check("replay: helio-sim --scenario power --seeds" in done.stderr, f"it says how to see it again: {done}")
    check(run(tool, program, "--scenarios", "sunshine").returncode == 2, "a scenario that is none")
    print("ok")


if __name__ == "__main__":
    main()
