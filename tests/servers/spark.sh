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
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"

(($# == 0)) || usage
set_cache
python_environment spark 3.10 'import pyspark.sql' --no-cache-dir
printf '%s\n' "$environment/bin/python"
