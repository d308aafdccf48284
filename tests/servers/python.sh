#!/usr/bin/env bash
# A Python with DuckDB and pyarrow: the readers, not ours, that the tests and the demo look at the lake with.
#
#   python.sh            make it if it is not there, print the path of its interpreter
#
# It is a virtual environment in $BINLAKE_CACHE/python. A stamp, written last, says that it is whole and what is in it: an
# environment without the stamp, or with another one, is made anew.
#
# Environment:
#   BINLAKE_CACHE    the cache directory (default ~/.cache/binlake)
#   BINLAKE_PYTHON   the interpreter to start from (default python3)
set -euo pipefail

readonly PACKAGES=(duckdb pyarrow pytz)

say() { printf 'python.sh: %s\n' "$*" >&2; }
die() {
    say "$@"
    exit 1
}

if (($# > 0)); then
    sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
fi

cache=${BINLAKE_CACHE:-${HOME:?neither BINLAKE_CACHE nor HOME is set}/.cache/binlake}
mkdir -p -- "$cache"
cache=$(realpath -- "$cache")
environment=$cache/python
base=${BINLAKE_PYTHON:-python3}

is_whole() {
    [[ -x $environment/bin/python && -r $environment/.whole && $(<"$environment/.whole") == "${PACKAGES[*]}" ]]
}

build() {
    local log=$cache/python.log
    command -v "$base" >/dev/null || die "$base is not there: install Python 3.9 or newer, or set BINLAKE_PYTHON"
    rm -rf -- "$environment"
    if ! "$base" -m venv "$environment" >"$log" 2>&1 ||
        ! "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --retries 3 --timeout 60 --only-binary :all: "${PACKAGES[@]}" >>"$log" 2>&1 ||
        ! "$environment/bin/python" -c 'import duckdb, pyarrow.parquet' >>"$log" 2>&1; then
        tail -n 20 -- "$log" >&2
        die "the environment in $environment could not be made (Debian wants the package python3-venv)"
    fi
    printf '%s' "${PACKAGES[*]}" >"$environment/.whole"
}

if ! is_whole; then
    exec {lock}>"$environment.lock"
    flock "$lock"
    # Another run may have made it while this one waited. Nothing of ours that stays behind may hold the lock.
    is_whole || build {lock}>&-
    exec {lock}>&-
fi
printf '%s\n' "$environment/bin/python"
