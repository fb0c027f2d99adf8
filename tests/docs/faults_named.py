#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever docs/faults.md says a fault is shown by is there: units and real processes are tests of this build,
scenarios are in helio-sim --list, fuzzers have their file.

    faults_named.py SOURCE_ROOT BUILD_ROOT HELIO_SIM"""
import json
import os
import re
import subprocess
import sys

KINDS = ("unit", "sim", "real", "fuzz")
SUITES = {"unit": "unit", "real": "integration", "sim": "sim"}
ROWS_MIN = 60  # fewer were found: the table is no longer read rightly


def printed(*words):
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)


def known(source, build, helio_sim):
    names = {kind: set() for kind in KINDS}
    for test in printed("meson", "introspect", build, "--tests"):
        for kind, suite in SUITES.items():
            if any(one.split(":")[-1] == suite for one in test["suite"]):
                names[kind].add(test["name"])
    names["sim"] |= {scenario["name"] for scenario in printed(helio_sim, "--list", "--json")}
    names["fuzz"] = {file[:-len("_fuzz.c")] for file in os.listdir(os.path.join(source, "tests", "fuzz"))
                     if file.endswith("_fuzz.c")}
    return names


def without_brackets(text):
    while True:
        shorter = re.sub(r"\([^()]*\)", "", text)
        if shorter == text:
            return text
        text = shorter


def named(cell):
    """[(kind, name)]: what stands in backquotes right behind the word for its kind, and behind commas and `and`; prose
    and brackets say more of it."""
    found = []
    for kind, names in re.findall(r"\b(unit|sim|real|fuzz) ((?:`[^`]+`(?:, | and |, and )?)+)", without_brackets(cell)):
        found += [(kind, name) for name in re.findall(r"`([^`]+)`", names)]
    return found


def main():
    source, build, helio_sim = sys.argv[1:]
    names, rows, wrong = known(source, build, helio_sim), 0, []
    with open(os.path.join(source, "docs", "faults.md"), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            cells = line.split(" | ")
            if not line.startswith("| ") or len(cells) < 4:
                continue
            here = named(" ".join(cells[2].split()))
            rows += len(here) > 0
            wrong += [f"docs/faults.md:{number}: {kind} `{name}` is not there" for kind, name in here
                      if name not in names[kind]]
    print("\n".join(wrong) or f"{rows} rows, and all that they name is there")
    if rows < ROWS_MIN:
        print(f"only {rows} rows name anything")
    sys.exit(1 if wrong or rows < ROWS_MIN else 0)


if __name__ == "__main__":
    main()
