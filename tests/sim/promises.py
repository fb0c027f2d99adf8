#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""helio-sim --promises: seeds that don't reach what their scenario promises end with 1, and each promise that was not
kept is named, no other; without the option, or with seeds enough, they end with 0.
usage: promises.py HELIO_SIM SCENARIO SEEDS_TOO_FEW SEEDS_ENOUGH"""
import json
import re
import subprocess
import sys


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def run(*words):
    return subprocess.run([*words], capture_output=True, text=True, timeout=100)


def main():
    program, scenario, few, enough = sys.argv[1:5]
    command = [program, "--scenario", scenario, "--json", "--seeds"]
    promised = next(set(row["promises"]) for row in json.loads(run(program, "--list", "--json").stdout)
                    if row["name"] == scenario)
    asks = ["--promises"]
    for seeds, words, kept in ((few, [], True), (few, asks, False), (few, asks + ["--jobs", "2"], False),
                               (enough, asks, True)):
        done = run(*command, seeds, *words)
        result = json.loads(done.stdout)
        check(result["violations"] == 0, f"no seed breaks anything: {done}")
        missing = {name for name in promised if result["sometimes"][name] == 0}
        check(bool(missing) == (seeds == few), f"seeds {seeds} were chosen for what they reach: {missing}")
        named = set(re.findall(rf"^helio-sim: (\w+) never happened: the seeds of scenario {scenario} ",
                               done.stderr, re.M))
        check(named == (set() if kept else missing), f"{missing} never happened, and of that is named {named}: {done}")
        check(done.returncode == (0 if kept else 1), f"seeds {seeds} {words}: {done}")
        print(f"{scenario} {seeds} {' '.join(words)}: exit {done.returncode}, not reached {sorted(missing)}")


if __name__ == "__main__":
    main()
