#!/usr/bin/env bash
# A real MariaDB server for the tests, on loopback, in directories of its own.
#
#   mariadb.sh VERSION install                    put the server and its clients into the cache, print the root
#   mariadb.sh VERSION start DIR PORT [OPTION...] start a server on 127.0.0.1:PORT with its data in DIR/data
#   mariadb.sh VERSION stop DIR                   end it in order; nothing to do is no error
#   mariadb.sh VERSION kill DIR                   end it the hard way (SIGKILL), as a crash would
#
# VERSION is 10.11 or 11.8: what two releases of Debian carry. `install` unpacks the Debian packages, with the C library they were
# built against, into $BINLAKE_CACHE/mariadb-VERSION/root and leaves the system's packages alone. <root>/bin has mariadbd, mariadb,
# mariadb-dump, mariadb-binlog and mariadb-admin.
#
# A started server has the user root@localhost without a password (the socket and 127.0.0.1) and full row metadata. Every OPTION
# goes to mariadbd after the defaults and wins over them; write it as --name=value. Files in DIR are those of mysql.sh.
#
# Environment: BINLAKE_CACHE, BINLAKE_DEBIAN_MIRROR, BINLAKE_START_LIMIT and BINLAKE_STOP_LIMIT, as in mysql.sh.
set -euo pipefail

readonly SCRIPT=mariadb.sh
readonly SERIES=${1:-none}
shift || true
case $SERIES in
10.11) readonly SUITE=bookworm SHARE=mysql ;;
11.8) readonly SUITE=trixie SHARE=mariadb ;;
*) # Says how it is called.
    set -- ;;
esac
readonly KEPT_AS=mariadb-$SERIES
# mariadb-client brings the tools, mariadb-server the plugins; neither is configured or started.
readonly PACKAGES=(mariadb-server-core mariadb-client-core mariadb-client mariadb-server)
readonly CLIENTS=(mariadb mariadb-dump mariadb-binlog mariadb-admin)
readonly SERVER=mariadbd
# shellcheck disable=SC2016 # $root is the wrapper's
readonly WRAPPED_OPTIONS='--basedir="$root/usr" --lc-messages-dir="$root/usr/share/'${SHARE:-}'" \
    --character-sets-dir="$root/usr/share/'${SHARE:-}'/charsets" --plugin-dir="$root/usr/lib/mysql/plugin" --secure-file-priv='
# A server without an id writes no binlog that a replica may read.
readonly STARTED_OPTIONS=(--server-id=1 --binlog-format=ROW --sync-binlog=1 --gtid-strict-mode=ON)
readonly OR_OUTSIDE=

find_outside() { :; }

# The version number of the server in root $1, for example 11.8.3.
version_of() {
    local text
    text=$("$1/bin/mariadbd" --version) || die "the server in $1 does not run"
    [[ $text =~ Ver\ ([0-9]+\.[0-9]+\.[0-9]+)-MariaDB ]] || die "not a MariaDB server: $text"
    printf '%s\n' "${BASH_REMATCH[1]}"
}

judge_version() {
    [[ $1 == "$SERIES".* ]] || say "warning: Debian $SUITE now carries MariaDB $1, not $SERIES"
}

# Make the data directory $1: the server's own scripts, in its bootstrap mode.
initialise() {
    local data=$1 share=$root/usr/share/$SHARE file
    shift
    mkdir -- "$data" || return 1
    [[ $(id -u) != 0 ]] || chmod 755 "$data"
    {
        printf 'CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n'
        for file in {mysql,mariadb}_{system_tables,performance_tables,system_tables_data} maria_add_gis_sp_bootstrap \
            {mysql,mariadb}_sys_schema; do
            [[ ! -r $share/$file.sql ]] || cat -- "$share/$file.sql"
        done
        printf '%s\n' "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');"
    } | "$root/bin/mariadbd" --datadir="$data" --bootstrap --skip-log-bin --skip-grant-tables --skip-networking \
        --innodb-buffer-pool-size=128M --max-allowed-packet=8M "$@"
}

# shellcheck source=tests/servers/server.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/server.sh"
