# The entry point of the stand-in for mysql:9.7: makes a server with root's password, runs /docker-entrypoint-initdb.d, starts it.
# The arguments are options of the server.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=tests/compose/stand_ins/known.sh
source /known.sh
# Of those that the image documents, what docker-compose.yml uses.
only_known MYSQL_ROOT_PASSWORD
[[ -n ${MYSQL_ROOT_PASSWORD:-} ]] || fail "MYSQL_ROOT_PASSWORD is not set"
for option in "$@"; do [[ $option == --* ]] || fail "not an option of mysqld: $option"; done

data=/var/lib/mysql
socket=/var/run/mysqld/mysqld.sock
server=(setpriv --reuid=999 --regid=999 --clear-groups /opt/mysql/bin/mysqld "--datadir=$data" "--socket=$socket")
client=(/opt/mysql/bin/mysql "--socket=$socket" --user=root)

if [[ ! -d $data/mysql ]]; then
    chown mysql:mysql "$data"
    "${server[@]}" --initialize-insecure
    # Without TCP, as the official image does: who asks there finds the server when it is ready.
    "${server[@]}" --skip-networking "$@" &
    until "${client[@]}" --execute 'SELECT 1' >/dev/null 2>&1; do
        kill -0 "$!" || fail "the server ended while it was set up"
        sleep 0.2
    done
    "${client[@]}" <<SQL
CREATE USER root@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
ALTER USER root@localhost IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
SQL
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sql) MYSQL_PWD=$MYSQL_ROOT_PASSWORD "${client[@]}" <"$file" ;;
        *'*') ;;
        *) fail "not an SQL file: $file" ;;
        esac
    done
    kill "$!"
    wait "$!"
fi
exec "${server[@]}" "$@"
