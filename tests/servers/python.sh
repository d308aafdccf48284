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

readonly SCRIPT=python.sh
readonly PACKAGES=(duckdb pyarrow pytz)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"

(($# == 0)) || usage
set_cache
python_environment python 3.9 'import duckdb, pyarrow.parquet' --only-binary :all:
printf '%s\n' "$environment/bin/python"
