#!/usr/bin/env bash
# Makes a release: target/dist/binlake-VERSION-ARCHITECTURE-linux-gnu.tar.gz, and its SHA-256 beside it.
#
#   release.sh            build, strip, collect the licences, pack, and try what was packed
#
# The binary is linked to the C library of GNU, OpenSSL 3 and zlib, and to nothing else that is not part of every Linux. It runs where they
# are as new as those it was built with, and this prints what it asks for: built on Debian 12, glibc 2.34 (Debian 12, Ubuntu 22.04,
# RHEL 9 and newer). For older systems build on one.
#
# Environment:
#   BINLAKE_BINARY   a binary from `cargo build --release --locked` to pack in place of one that is built
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$here/../.." && pwd)
cd -- "$repository"
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

die() {
    printf 'release.sh: %s\n' "$*" >&2
    exit 1
}
if (($# > 0)); then
    sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
fi

if [[ -z ${BINLAKE_BINARY:-} ]]; then
    tests/servers/libraries.sh
    cargo build --release --locked --bin binlake
    BINLAKE_BINARY=$(cargo metadata --no-deps --format-version 1 --offline |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/binlake
fi
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(uname -m)
name=binlake-$version-$architecture-linux-gnu
root=$work/$name
mkdir -p -- "$root" target/dist

strip -o "$root/binlake" "$BINLAKE_BINARY"
cp -- README.md CHANGELOG.md LICENSE config/binlake.example.yaml "$root"
cp -r -- docs "$root/docs"
mkdir -- "$root/deploy"
cp -r -- deploy/systemd deploy/prometheus deploy/grafana deploy/kubernetes "$root/deploy"
# Of normal dependencies only: what builds and what tests is not in the binary.
cargo tree --locked -e normal --target "$architecture-unknown-linux-gnu" --prefix none -f '{p}' |
    awk '{ sub(/^v/, "", $2); print $1, $2 }' | sort -u >"$work/crates"
python3 "$here/licences.py" "$work/crates" >"$root/LICENSES.txt"

# What lies in an archive depends on the commit alone, but for the binary.
time=$(git log -1 --format=%ct 2>/dev/null || date +%s)
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" -czf "target/dist/$name.tar.gz" "$name"
(cd target/dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")

# What was packed is what works.
mkdir -- "$work/unpacked"
tar -C "$work/unpacked" -xzf "target/dist/$name.tar.gz"
said=$("$work/unpacked/$name/binlake" --version)
[[ $said == "binlake $version" ]] || die "the packed binary says: $said"
MYSQL_PASSWORD=x "$work/unpacked/$name/binlake" check --offline -c "$work/unpacked/$name/binlake.example.yaml" >/dev/null ||
    die "the packed example is refused by the packed binary"
others=$(objdump -p "$root/binlake" | awk '/NEEDED/ { print $2 }' |
    grep -vE '^(libc|libm|libgcc_s|ld-linux-[a-z0-9-]*)\.so|^libssl\.so\.3$|^libcrypto\.so\.3$|^libz\.so\.1$' || true)
[[ -z $others ]] || die "the binary wants other libraries: $others"
glibc=$(objdump -T "$root/binlake" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
printf '%s: %s, %s or newer, OpenSSL 3, zlib\n' "target/dist/$name.tar.gz" "$(du -h "target/dist/$name.tar.gz" | cut -f 1)" "${glibc/_/ }"
