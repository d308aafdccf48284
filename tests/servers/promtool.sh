#!/usr/bin/env bash
# Prometheus and its promtool, to try the alert rules with.
#
#   promtool.sh              fetch it if it is not there, print its path
#   promtool.sh prometheus   the same for the server
#   promtool.sh rules        check deploy/prometheus, and run its tests
#
# Where both are on the PATH they are taken as they are; else the system's own package is unpacked into $BINLAKE_CACHE/prometheus, and nothing is installed.
#
# Environment:
#   BINLAKE_CACHE    the cache directory (default ~/.cache/binlake)
set -euo pipefail

readonly SCRIPT=promtool.sh
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"

set_cache
home=$cache/prometheus
scratch=
trap '[[ -z $scratch ]] || rm -rf -- "$scratch"' EXIT

# Unpack the package in a directory aside and rename it: a directory that is there is whole.
fetch() {
    scratch=$(mktemp -d "$cache/prometheus.XXXXXX")
    # apt's own user may write there, or it warns.
    chmod 755 "$scratch"
    (cd "$scratch" && apt-get -qq download prometheus 2>"$cache/prometheus.log") || {
        tail -n 20 -- "$cache/prometheus.log" >&2
        die "the package prometheus could not be fetched: run apt-get update, or put prometheus and promtool on the PATH"
    }
    dpkg-deb -x "$scratch"/prometheus_*.deb "$scratch/root"
    mv -T -- "$scratch/root" "$home"
    rm -rf -- "$scratch"
    scratch=
}

tool=$(command -v promtool || true)
server=$(command -v prometheus || true)
if [[ -z $tool || -z $server ]]; then
    tool=$home/usr/bin/promtool
    server=$home/usr/bin/prometheus
    if [[ ! -x $tool ]]; then
        exec {lock}>"$home.lock"
        flock "$lock"
        # Another run may have made it while this one waited.
        [[ -x $tool ]] || fetch
        exec {lock}>&-
    fi
fi

case ${1:-} in
'') printf '%s\n' "$tool" ;;
prometheus) printf '%s\n' "$server" ;;
rules)
    rules=$here/../../deploy/prometheus
    "$tool" check rules "$rules/binlake.rules.yml"
    "$tool" test rules "$rules/binlake.rules.test.yml"
    ;;
*) usage ;;
esac
