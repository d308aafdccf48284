# The entry point of the stand-in for trinodb/trino: the server itself refuses settings of catalogs that it does not know.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=tests/compose/stand_ins/known.sh
source /known.sh
only_known JAVA_HOME
exec /usr/lib/trino/bin/launcher run --etc-dir /etc/trino -Dnode.id="$HOSTNAME"
