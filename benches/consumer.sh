#!/usr/bin/env bash
# A Kafka consumer for Python that is not ours, into the cache; prints the directory to import it from.
#
# Environment: BINLAKE_CACHE   the cache directory (default ~/.cache/binlake)
set -euo pipefail

readonly PACKAGE=confluent-kafka==2.16.1

cache=${BINLAKE_CACHE:-${HOME:?neither BINLAKE_CACHE nor HOME is set}/.cache/binlake}
mkdir -p -- "$cache"
home=$(realpath -- "$cache")/consumer

# A stamp, written last, says that it is whole.
if [[ ! -r $home/.whole || $(<"$home/.whole") != "$PACKAGE" ]]; then
    python=$("$(dirname -- "${BASH_SOURCE[0]}")/../tests/servers/python.sh")
    rm -rf -- "$home"
    "$python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: --target "$home" "$PACKAGE"
    printf '%s' "$PACKAGE" >"$home/.whole"
fi
printf '%s\n' "$home"
