#!/usr/bin/env bash
# Tries a packed release: unpacks it, reads everything in it, starts it on an empty folder, sends an event, sees it scored, stops it.
set -euo pipefail
archive=$(realpath "$1")
(cd "$(dirname "$archive")" && sha256sum --check --quiet SHA256SUMS)
work=$(mktemp -d)
pid=
finish() {
    # it may have ended by itself, and nothing here may hide how the trial went
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
tar -xzf "$archive" -C "$work"
root=$(echo "$work"/*)
pulse=$root/bin/pulse
docs=$root/share/doc/pulse

"$pulse" --version
"$pulse" config check "$root/etc/pulse.toml" >/dev/null
[ "$(find "$root/share/man/man1" -name 'pulse*.1' | wc -l)" -gt 20 ]
grep -q '^\.TH' "$root/share/man/man1/pulse.1"
bash -n "$root/share/bash-completion/completions/pulse"
grep -q '#compdef pulse' "$root/share/zsh/site-functions/_pulse"
grep -q 'complete -c pulse' "$root/share/fish/vendor_completions.d/pulse.fish"
[ -s "$docs/LICENSE" ] && [ -s "$docs/THIRD-PARTY-LICENSES.txt" ]
python3 - "$docs/sbom.cdx.json" <<'PYTHON'
import json, sys
bom = json.load(open(sys.argv[1]))
refs = {c["bom-ref"] for c in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
assert bom["bomFormat"] == "CycloneDX" and bom["specVersion"] == "1.5" and len(refs) > 100, len(refs)
assert all(c["licenses"][0]["expression"] != "NOASSERTION" for c in bom["components"])
assert all(d["ref"] in refs and set(d["dependsOn"]) <= refs for d in bom["dependencies"])
PYTHON

cd "$work"
env -i PATH="$PATH" HOME="$work" "$pulse" run --once --no-auth --data "$work/data" --config "$root/etc/pulse.toml" \
    --gateway 127.0.0.1:0 --sidecar 127.0.0.1:0 >"$work/out" 2>"$work/err" </dev/null &
pid=$!
address() { sed -n "s/^$1 *//p" "$work/out"; }
wait_for() {
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "never: $*" >&2
    cat "$work/err" >&2
    exit 1
}
wait_for grep -q ^sidecar "$work/out"
gateway=$(address gateway) sidecar=$(address sidecar)
wait_for curl -sf "$gateway/readyz"
curl -sf "$gateway/api/v1/events" -H 'content-type: application/json' \
    -d '{"id":"o-1","type":"order.completed","source":"web","customer_id":"c-1","amount":129.9,"currency":"EUR"}' >/dev/null
wait_for curl -sf "$sidecar/api/v1/events/o-1"
curl -sf "$sidecar/metrics" | grep -q pulse_build_info
kill -TERM "$pid"
wait "$pid"
pid=
"$pulse" audit --data "$work/data" | tail -1 | grep -qx agrees
echo "the packed program works"
