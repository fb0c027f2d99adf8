#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: plans.sh SIM green|red PLAN...: each plan file breaks nothing, or (SIM with a rule broken) breaks something.
set -uo pipefail
sim=$1 wanted=$2 failed=0
shift 2
for plan in "$@"; do
    out=$("$sim" --plan-file "$plan")
    code=$?
    grep -m 1 VIOLATION <<<"$out" || [ $wanted = green ] || echo "$plan: no violation"
    if { [ $wanted = green ] && [ $code -ne 0 ]; } || { [ $wanted = red ] && [ $code -ne 1 ]; }; then
        tail -20 <<<"$out"
        echo "$sim --plan-file $plan should be $wanted and ended with $code"
        failed=1
    fi
done
[ $failed -ne 0 ] || echo "$# plans, all $wanted"
exit $failed
