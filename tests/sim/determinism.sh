#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: determinism.sh SIM SIM_O0: the same seeds twice, once without optimisation, and in two processes, must hash
# alike, also where regions have quorums and epochs; so must a seed and the file of its plan, in every scenario.
set -euo pipefail
hash_of() {
    "$@" --json | grep -o '"trace_hash": "[0-9a-f]*"'
}
# The first of these and all others, which a list of && would not end the script for.
alike() {
    for hash in "$@"; do
        if [ -z "$1" ] || [ "$hash" != "$1" ]; then
            echo "not alike"
            exit 1
        fi
    done
}
for scenario in pair power rollback; do
    first=$(hash_of "$1" --scenario $scenario --seeds 1-8)
    again=$(hash_of "$1" --scenario $scenario --seeds 1-8)
    plain=$(hash_of "$2" --scenario $scenario --seeds 1-8)
    shared=$(hash_of "$1" --scenario $scenario --seeds 1-8 --jobs 2)
    echo "$scenario: $first, again $again, -O0 $plain, two processes $shared"
    alike "$first" "$again" "$plain" "$shared"
done
for scenario in quorum cluster failover atlas; do
    first=$(hash_of "$1" --scenario $scenario --seeds 1-2)
    plain=$(hash_of "$2" --scenario $scenario --seeds 1-2)
    echo "$scenario: $first, -O0 $plain"
    alike "$first" "$plain"
done
plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
for scenario in $("$1" --list | cut -d' ' -f1); do
    [ $scenario != fec ] || continue # runs a seed twice, the second time without parity
    "$1" --scenario $scenario --seeds 4 --plan-write "$plan"
    seed=$(hash_of "$1" --scenario $scenario --seeds 4)
    file=$(hash_of "$1" --plan-file "$plan")
    echo "$scenario: seed 4 $seed, its plan's file $file"
    alike "$seed" "$file"
done
