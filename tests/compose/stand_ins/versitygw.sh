# The entry point of the stand-in for versity/versitygw: the program itself refuses options that it does not know.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=tests/compose/stand_ins/known.sh
source /known.sh
only_known ROOT_ACCESS_KEY ROOT_SECRET_KEY
exec /app/versitygw "$@"
