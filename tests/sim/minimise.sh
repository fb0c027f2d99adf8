#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: minimise.sh SIM SIM_WITH_BUG SCENARIO SEED...: what the minimiser makes of a seed that the bug turns red says
# truly what was left out, breaks the same, needs each fault that is left, is nothing to a good build, and comes again.
set -euo pipefail
sim=$1 bug=$2 scenario=$3
shift 3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "$scenario $seed: $1"
    exit 1
}

# ends WANTED COMMAND...: its output, once it ended as wanted.
ends() {
    local wanted=$1 code=0
    shift
    "$@" >"$scratch/out" 2>&1 || code=$?
    [ $code -eq "$wanted" ] || fail "$* ended with $code, not $wanted: $(tail -3 "$scratch/out")"
}

violation() {
    grep -m 1 -o '^VIOLATION [a-z_]*' "$scratch/out" || true
}

count() {
    grep -c "^$1 " "$2" || true
}

# What streams of a plan produce, in bytes.
produced() {
    grep '^stream ' "$1" | { grep -o ' bytes=[0-9]*' || true; } | awk -F= '{ sum += $2 } END { printf "%d", sum }'
}

for seed in "$@"; do
    whole=$scratch/whole small=$scratch/small
    ends 0 "$sim" --scenario "$scenario" --seeds "$seed" --plan-write "$whole"
    ends 1 "$bug" --scenario "$scenario" --seeds "$seed"
    broken=$(violation)
    ends 1 "$bug" --scenario "$scenario" --seeds "$seed" --minimise --out "$small"
    [ -s "$small" ] || fail "no plan was written"
    [ "$(count fault "$small")" -lt "$(count fault "$whole")" ] || fail "no fault was left out"
    [ "$(produced "$small")" -lt "$(produced "$whole")" ] || fail "as much is produced as before"
    told="# Faults $(count fault "$whole") -> $(count fault "$small"), streams $(count stream "$whole") -> \
$(count stream "$small"), nodes $(count node "$whole") -> $(count node "$small"), bytes $(produced "$whole") -> \
$(produced "$small");"
    grep -qF "$told" "$small" || fail "the file does not say: $told"
    grep -q "^# Violation ${broken#* } of scenario $scenario seed $seed\.$" "$small" || fail "it has another name"

    ends 1 "$bug" --plan-file "$small"
    [ "$(violation)" = "$broken" ] || fail "the seed has $broken, its small plan $(violation)"
    ends 0 "$sim" --plan-file "$small"
    for line in $(grep -n '^fault ' "$small" | cut -d: -f1); do
        sed "${line}d" "$small" >"$scratch/without"
        "$bug" --plan-file "$scratch/without" >"$scratch/out" 2>&1 || true
        [ "$(violation)" != "$broken" ] || fail "the fault in line $line of the small plan does not matter"
    done
    ends 1 "$bug" --scenario "$scenario" --seeds "$seed" --minimise --out "$scratch/again"
    cmp "$small" "$scratch/again" || fail "minimised again it is another plan"
    ends 0 "$sim" --scenario "$scenario" --seeds "$seed" --minimise --out "$scratch/none"
    [ ! -e "$scratch/none" ] || fail "a plan was written for a good build"
    echo "$scenario $seed: ${broken#* }, ${told#\# }"
done
