#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: determinism.sh SIM SIM_O0: the same seeds twice, and once without optimisation, must hash alike.
set -euo pipefail
hash_of() {
    "$@" --json | grep -o '"trace_hash": "[0-9a-f]*"'
}
for scenario in pair power rollback; do
    first=$(hash_of "$1" --scenario $scenario --seeds 1-20)
    again=$(hash_of "$1" --scenario $scenario --seeds 1-20)
    plain=$(hash_of "$2" --scenario $scenario --seeds 1-20)
    echo "$scenario: $first, again $again, -O0 $plain"
    [ -n "$first" ] && [ "$first" = "$again" ] && [ "$first" = "$plain" ]
done
