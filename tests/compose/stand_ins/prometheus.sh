# The entry point of the stand-in for prom/prometheus, which takes no variables.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=tests/compose/stand_ins/known.sh
source /known.sh
only_known
exec /bin/prometheus "$@"
