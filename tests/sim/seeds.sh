#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: seeds.sh SIM SEEDS_FILE: runs the kept seeds, each a line "scenario seed", # begins a comment.
set -uo pipefail
failed=0
while read -r scenario seed _; do
    [ -z "$scenario" ] || [ "${scenario:0:1}" = "#" ] || "$1" --scenario "$scenario" --seeds "$seed" || failed=1
done <"$2"
exit $failed
