#!/usr/bin/env bash
# What librdkafka, which binlake is built with, needs of the machine: C and C++ compilers, make, pkg-config, and the headers of zlib and OpenSSL.
#
#   libraries.sh         install what is missing with apt-get, if there is one and this is root; else say what to install
#
# Nothing is done where all is there.
set -euo pipefail

readonly PACKAGES=(gcc g++ libc6-dev make pkg-config zlib1g-dev libssl-dev)

say() { printf 'libraries.sh: %s\n' "$*" >&2; }

is_there() {
    command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null && command -v pkg-config >/dev/null &&
        pkg-config --exists zlib && pkg-config --exists openssl
}

if (($# > 0)); then
    sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
if is_there; then exit 0; fi
if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then
    say "to build binlake, install C and C++ compilers, make, pkg-config, and the headers of zlib and OpenSSL"
    say "on Debian or Ubuntu: sudo apt-get install ${PACKAGES[*]}"
    exit 1
fi
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
# A list of packages that is too old names versions that are gone.
if ! DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${PACKAGES[@]}" >"$log" 2>&1 &&
    ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${PACKAGES[@]}"; } >>"$log" 2>&1; then
    tail -n 20 -- "$log" >&2
    say "these packages could not be installed: ${PACKAGES[*]}"
    exit 1
fi
is_there || {
    say "they are installed, and pkg-config does not find zlib or openssl"
    exit 1
}
