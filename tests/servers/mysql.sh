#!/usr/bin/env bash
# A real MySQL 9.7 server for the tests and the demo, on loopback, in directories of its own.
#
#   mysql.sh install                      put the server and its clients into the cache, print the root
#   mysql.sh start DIR PORT [OPTION...]   start a server on 127.0.0.1:PORT with its data in DIR/data
#   mysql.sh stop DIR                     end it in order; nothing to do is no error
#   mysql.sh kill DIR                     end it the hard way (SIGKILL), as a crash would
#
# `install` unpacks the Debian packages, with the C library they were built against, into
# $BINLAKE_CACHE/mysql-9.7/root and leaves the system's packages alone. <root>/bin has mysqld, mysql,
# mysqldump, mysqlbinlog and mysqladmin.
#
# A started server has the user root@localhost without a password (the socket and 127.0.0.1), GTIDs on,
# full row metadata and TLS with certificates of its own: DIR/data/ca.pem is its authority. Every OPTION
# goes to mysqld after the defaults below and wins over them; write it as --name=value. Files in DIR:
#   mysqld.pid    the process        mysqld.log    its error log (all starts, one after another)
#   mysqld.sock   the socket; where DIR is too long for one, a symbolic link to the socket under /tmp
#   data          the data directory: kept by stop and kill, used again by the next start
#
# Environment:
#   BINLAKE_CACHE           the cache directory (default ~/.cache/binlake)
#   BINLAKE_MYSQLD          path of a mysqld 8.0 or newer to use in place of the private one;
#                           its clients are looked for beside it, then on PATH
#   BINLAKE_DEBIAN_MIRROR   the Debian mirror (default: the one in this machine's apt sources)
#   BINLAKE_START_LIMIT     seconds a server may take to accept connections (default 120)
#   BINLAKE_STOP_LIMIT      seconds `stop` waits before it turns to SIGKILL (default 60)
set -euo pipefail

readonly SCRIPT=mysql.sh
readonly SUITE=sid
readonly SERIES=9.7
readonly KEPT_AS=mysql-$SERIES
readonly PACKAGES=(mysql-server-core mysql-client-core)
readonly CLIENTS=(mysql mysqldump mysqlbinlog mysqladmin)
readonly SERVER=mysqld
# shellcheck disable=SC2016 # $root is the wrapper's
readonly WRAPPED_OPTIONS='--basedir="$root/usr" --lc-messages-dir="$root/usr/share/mysql" \
    --plugin-dir="$root/usr/lib/mysql/plugin" --secure-file-priv= --mysqlx=OFF'
readonly STARTED_OPTIONS=(--gtid-mode=ON --enforce-gtid-consistency=ON)
readonly OR_OUTSIDE=', or BINLAKE_MYSQLD to a MySQL server of your own'

find_outside() {
    [[ -n ${BINLAKE_MYSQLD:-} ]] || return 0
    [[ -x $BINLAKE_MYSQLD ]] || die "BINLAKE_MYSQLD=$BINLAKE_MYSQLD is not an executable"
    # Not resolved further: a mysqld finds its files by the path it is called with.
    outside=$(realpath -s -- "$BINLAKE_MYSQLD")
    root=$home/outside-$(printf '%s' "$outside" | sha256sum | cut -c1-12)
}

# Write the executables of a root $1 that stands for a server installed by someone else.
write_outside_wrappers() {
    local into=$1 name program options
    mkdir -p -- "$into/bin"
    for name in mysqld "${CLIENTS[@]}"; do
        options=
        if [[ $name == mysqld ]]; then
            program=$outside
            options=' --no-defaults --secure-file-priv= --mysqlx=OFF'
        elif [[ -x ${outside%/*}/$name ]]; then
            program=${outside%/*}/$name
        else
            program=$(command -v "$name") || continue
        fi
        printf '#!/bin/sh\nexec %q%s "$@"\n' "$program" "$options" >"$into/bin/$name"
        chmod 755 "$into/bin/$name"
    done
}

# The version number of the server in root $1, for example 9.7.0.
version_of() {
    local text
    text=$("$1/bin/mysqld" --version) || die "the server in $1 does not run"
    [[ $text != *MariaDB* && $text =~ Ver\ ([0-9]+\.[0-9]+\.[0-9]+) ]] || die "not a MySQL server: $text"
    printf '%s\n' "${BASH_REMATCH[1]}"
}

judge_version() {
    if [[ -n $outside ]]; then
        ((${1%%.*} >= 8)) || die "BINLAKE_MYSQLD is MySQL $1; 8.0 or newer is needed"
    elif [[ $1 != "$SERIES".* ]]; then
        say "warning: Debian $SUITE now carries MySQL $1, not $SERIES"
    fi
}

initialise() {
    local data=$1
    shift
    "$root/bin/mysqld" --datadir="$data" --initialize-insecure --skip-log-bin --innodb-buffer-pool-size=128M "$@" || return 1
    # Every server makes its own server_uuid.
    rm -f -- "$data/auto.cnf"
}

# shellcheck source=tests/servers/server.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/server.sh"
