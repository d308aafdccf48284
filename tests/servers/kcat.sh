#!/usr/bin/env bash
# kcat, a reader of Kafka topics that is not ours, in the cache; prints the path of the program.
#
#   kcat.sh              unpack it if it is not there, print its path
#
# It is Debian's, with the libraries it was built against, in $BINLAKE_CACHE/kcat/root: the system's packages are left alone.
#
# Environment:
#   BINLAKE_CACHE           the cache directory (default ~/.cache/binlake)
#   BINLAKE_DEBIAN_MIRROR   the Debian mirror (default: the one in this machine's apt sources)
set -euo pipefail

readonly SCRIPT=kcat.sh
readonly SUITE=bookworm
readonly PACKAGES=(kcat)
readonly CLIENTS=(kcat)
readonly SERVER=
readonly WRAPPED_OPTIONS=
readonly OR_OUTSIDE=
here=$(dirname -- "${BASH_SOURCE[0]}")

# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/debian.sh
source "$here/debian.sh"
trap '[[ -z $scratch ]] || rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

write_outside_wrappers() { :; }

# The version number of kcat in root $1.
version_of() {
    local text
    text=$("$1/bin/kcat" -V 2>&1) || die "kcat in $1 does not run: $text"
    [[ $text =~ Version\ ([0-9.]+) ]] || die "not kcat: $text"
    # Records are asked for as JSON.
    [[ $text == *JSON* ]] || die "this kcat prints no JSON: $text"
    printf '%s\n' "${BASH_REMATCH[1]}"
}

judge_version() { :; }

(($# == 0)) || usage
set_cache
mkdir -p -- "$cache/kcat"
root=$cache/kcat/root
outside=
ensure_root
printf '%s\n' "$root/bin/kcat"
