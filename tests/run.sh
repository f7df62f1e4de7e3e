#!/usr/bin/env bash
# All tests. Installs first what they need beside the Rust toolchain; arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

# the README's commands are run as a reader would run them
if ! command -v curl >/dev/null; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update -q
    $as_root apt-get install -qy --no-install-recommends curl
fi

# a real Apache Kafka; the tests start and stop it themselves
tests/services/kafka.sh install

exec cargo test --workspace --locked "$@"
