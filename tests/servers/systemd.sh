#!/usr/bin/env bash
# The unit of deploy/systemd, held against systemd's own reading of it.
#
#   systemd.sh check     every line is known and right, and what the service may do stays little: an exposure of at most 1.5 of 10
#
# Where systemd-analyze is missing, it is installed by apt-get if this is root; nothing is started.
set -euo pipefail

readonly SCRIPT=systemd.sh
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
[[ ${1:-} == check && $# == 1 ]] || usage

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
if ! command -v systemd-analyze >/dev/null; then
    if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then die "install systemd"; fi
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends systemd; } >"$work/apt.log" 2>&1 || {
        tail -n 20 -- "$work/apt.log" >&2
        die "systemd could not be installed"
    }
fi

# A binary that is there, so that what is left to complain of is the unit's.
printf '#!/bin/sh\n' >"$work/binlake"
chmod 755 "$work/binlake"
sed "s#/usr/local/bin/binlake#$work/binlake#" "$here/../../deploy/systemd/binlake.service" >"$work/binlake.service"
# A line that is not known is a warning only.
said=$(systemd-analyze verify "$work/binlake.service" 2>&1) || die "$said"
[[ -z $said ]] || die "$said"
systemd-analyze security --offline=true --threshold=15 "$work/binlake.service" >"$work/exposure" || {
    grep '✗' "$work/exposure" >&2
    die "the service may do more than it did"
}
sed -n 's/^→ //p' "$work/exposure"
