#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: corpus.sh [SECONDS [TARGET...]]: makes tests/fuzz/corpus anew: what the encoders write (fuzz-seeds), files with
# names that people gave, and of what SECONDS (20) of fuzzing find the smallest that cover more, 100 in all at most.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd tests/fuzz && ls ./*_fuzz.c | sed 's|./||; s|_fuzz.c||')
names=("${targets[@]/#/tests/fuzz/}")
tools/build --fuzz tests/fuzz/fuzz-seeds "${names[@]/%/_fuzz}" >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/seeds"
build-fuzz/tests/fuzz/fuzz-seeds "$work/seeds"
for target in "${targets[@]}"; do
    corpus=tests/fuzz/corpus/$target
    mkdir -p "$work/$target" "$work/merged" "$work/seeds/$target" "$corpus"
    program=build-fuzz/tests/fuzz/${target}_fuzz
    # Small ones first: a corpus is read by people, and run by everyone.
    for length in 64 512; do
        "$program" -max_len=$length -max_total_time="$seconds" -artifact_prefix="build-fuzz/crash-$target-" \
            "$work/$target" "$work/seeds/$target" "$corpus" 2>"$work/log" ||
            { tail -40 "$work/log"; exit 1; }
    done
    find "$corpus" -type f -regextype egrep ! -regex '.*/[0-9a-f]{12}' -exec cp {} "$work/merged/" \;
    cp -r "$work/seeds/$target/." "$work/merged/"
    ls "$work/merged" >"$work/named"
    "$program" -merge=1 -max_len=1024 "$work/merged" "$corpus" "$work/$target" 2>"$work/log" ||
        { tail -40 "$work/log"; exit 1; }
    rm -rf "$corpus"
    mkdir "$corpus"
    while read -r name; do mv "$work/merged/$name" "$corpus/"; done <"$work/named"
    room=$((100 - $(wc -l <"$work/named")))
    find "$work/merged" -type f -printf '%s %f\n' | sort -n | head -$room >"$work/found"
    while read -r _ name; do mv "$work/merged/$name" "$corpus/${name:0:12}"; done <"$work/found"
    rm -rf "$work/merged"
    echo "$target: $(find "$corpus" -type f | wc -l) files, $(du -sb "$corpus" | cut -f 1) bytes"
done
