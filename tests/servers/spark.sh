#!/usr/bin/env bash
# A Python with Spark 4: the engine that users read the lake with. Its jars hold a Hive Metastore 2.3.10 as well.
#
#   spark.sh             make it if it is not there, print the path of its interpreter
#
# It is a virtual environment in $BINLAKE_CACHE/spark (520 MB, of which most is Spark itself). A stamp, written last, says that it is
# whole and what is in it: an environment without the stamp, or with another one, is made anew.
#
# Environment:
#   BINLAKE_CACHE    the cache directory (default ~/.cache/binlake)
#   BINLAKE_PYTHON   the interpreter to start from (default python3)
set -euo pipefail

readonly SCRIPT=spark.sh
readonly PACKAGES=(pyspark==4.3.0)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"

(($# == 0)) || usage
set_cache
environment=$cache/spark
base=${BINLAKE_PYTHON:-python3}

is_whole() {
    [[ -x $environment/bin/python && -r $environment/.whole && $(<"$environment/.whole") == "${PACKAGES[*]}" ]]
}

build() {
    local log=$cache/spark.log
    command -v "$base" >/dev/null || die "$base is not there: install Python 3.10 or newer, or set BINLAKE_PYTHON"
    rm -rf -- "$environment"
    if ! "$base" -m venv "$environment" >"$log" 2>&1 ||
        ! "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-cache-dir \
            --retries 3 --timeout 60 "${PACKAGES[@]}" >>"$log" 2>&1 ||
        ! "$environment/bin/python" -c 'import pyspark.sql' >>"$log" 2>&1; then
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
