#!/usr/bin/env bash
# Builds the program, packs it and tries the packed thing. PROFILE (release), TARGET (this machine's), FEATURES (none), OUT (target/dist);
# PROGRAM: one that is built already is packed.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PROFILE:-release}
host=$(rustc -vV | sed -n 's/^host: //p')
target=${TARGET:-$host}
out=${OUT:-target/dist}
words=(--locked --profile "$profile" --bin pulse)
features=()
[ -z "${FEATURES:-}" ] || features=(--features "$FEATURES")
[ "$target" = "$host" ] || words+=(--target "$target")

[ -n "${PROGRAM:-}" ] || cargo build "${words[@]}" "${features[@]}"
built=${CARGO_TARGET_DIR:-target}
[ "$target" = "$host" ] || built=$built/$target
folder=$profile
[ "$profile" != dev ] || folder=debug
program=${PROGRAM:-$built/$folder/pulse}

# what it asks of the system: the C library and zlib (librdkafka's), or nothing at all; with kafka-tls OpenSSL too
case $target in
*musl*) allowed='^$' ;;
*) allowed='^(linux-vdso|libc|libm|libgcc_s|libz|libpthread|libdl|librt|ld-linux.*)\.so' ;;
esac
case ${FEATURES:-} in *kafka-tls*) allowed="$allowed|^(libssl|libcrypto)\.so" ;; esac
needed=$(ldd "$program" 2>/dev/null | sed -n 's#^[[:space:]]*\(/[^ ]*/\)\{0,1\}\([^ ]*\.so[^ ]*\).*#\2#p' || true)
echo "links to: ${needed//$'\n'/ }"
if wrong=$(grep -vE "$allowed" <<<"$needed" | grep .); then
    echo "the program asks for libraries of the system: $wrong" >&2
    exit 1
fi

version=$("$program" --version | awk '{print $2}')
name=pulse-$version-${target/-unknown/}
[ "$profile" = release ] || name=$name-$profile
root=$out/$name
rm -rf "$root" "$out/$name.tar.gz"
mkdir -p "$root"/{bin,etc,share/man/man1,share/bash-completion/completions,share/zsh/site-functions,share/fish/vendor_completions.d,lib/systemd/system,lib/sysusers.d,share/doc/pulse}
install -m 755 "$program" "$root/bin/pulse"
[ "$profile" = release ] || strip --strip-debug "$root/bin/pulse" # a quick build carries every name
"$program" config init "$root/etc/pulse.toml" >/dev/null
"$program" man --out "$root/share/man/man1"
"$program" completions bash >"$root/share/bash-completion/completions/pulse"
"$program" completions zsh >"$root/share/zsh/site-functions/_pulse"
"$program" completions fish >"$root/share/fish/vendor_completions.d/pulse.fish"
install -m 644 deploy/systemd/*.service "$root/lib/systemd/system/"
install -m 644 deploy/systemd/pulse.sysusers "$root/lib/sysusers.d/pulse.conf"
install -m 644 LICENSE README.md CHANGELOG.md docs/*.md "$root/share/doc/pulse/"
cargo metadata --format-version 1 --locked --filter-platform "$target" "${features[@]}" | deploy/sbom.py "$root/share/doc/pulse"

# the same files give the same bytes
when=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
tar --sort=name --mtime="@$when" --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX -C "$out" -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >SHA256SUMS)
deploy/smoke.sh "$out/$name.tar.gz"
ls -l "$out/$name.tar.gz"
