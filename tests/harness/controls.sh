#!/usr/bin/env bash
# The harness shown to fail: builds the program with faults put in (controls.patch) in a copy of this tree, and lets the harness
# look for each, seed by seed, until it is found. Nothing here is changed.
#   tests/harness/controls.sh [checkpoint | fence | entry | position]...
# PULSE_HARNESS_SEED  the first seed (default 1)
# PULSE_CONTROLS      folder for the copy and its build (default: a new one, which goes at the end)
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- checkpoint fence entry position
folder=${PULSE_CONTROLS:-$(mktemp -d)}
[ -n "${PULSE_CONTROLS:-}" ] || trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/tree"
tar c --exclude=./target --exclude=./.git . | tar x -C "$folder/tree"
patch -s -d "$folder/tree" -p1 <tests/harness/controls.patch
build=(cargo test --workspace --locked --features pulse-ecom/kafka-tls --test harness)
(cd "$folder/tree" && CARGO_TARGET_DIR=$folder/target "${build[@]}" --no-run)
"${build[@]}" --no-run
for fault in "$@"; do
    seed=${PULSE_HARNESS_SEED:-1}
    while PULSE_PLANTED=$fault PULSE_HARNESS_PROGRAM=$folder/target/debug/pulse PULSE_HARNESS_SEEDS=$seed \
        "${build[@]}" -- --nocapture whatever_fails >"$folder/$fault.log" 2>&1; do
        seed=$((seed + 1))
        [ "$seed" -lt $((${PULSE_HARNESS_SEED:-1} + 20)) ] || { echo "$fault: not found" && exit 1; }
    done
    echo "$fault: found with seed $seed"
    sed -n '/WENT WRONG/,/^seed/p' "$folder/$fault.log" | grep '^  ' | cut -c1-300
done
