#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: bug.sh SIM SCENARIO SEEDS: a build with one rule broken must turn red within these seeds.
set -uo pipefail
out=$("$1" --scenario "$2" --seeds "1-$3" --until-violation)
code=$?
grep -m 1 VIOLATION <<<"$out"
if [ $code -ne 1 ]; then
    echo "$1 ran $3 seeds of $2 and found nothing (exit $code): the simulator no longer sees this bug"
    exit 1
fi
