#!/usr/bin/env bash
# The demo: a school's MySQL under load, its tables kept in a lake by binlake, and the same report out of both.
#
#   make demo            with the embedded change log
#   make demo KAFKA=1    through a throwaway Kafka broker
#   make demo HIVE=1     registered in a throwaway Hive Metastore, and read by Spark as well
#
# It builds, starts a throwaway MySQL with about a million rows, lets a load change them from before the daemon starts until the
# end, runs the daemon for about a minute, and then holds the lake against MySQL: the renewal report, and every table row by row.
# Exit 0: equal. Everything it makes lies in one temporary directory and is gone afterwards, also on Ctrl-C.
#
# Environment:
#   DEMO_SECONDS     how long the daemon runs under load (default 60)
#   DEMO_RATE        row changes a second that the load makes (default 1200)
#   DEMO_MYSQL_URL   mysql://user:password@host:port of a server to use in place of a throwaway one: a user who may create a
#                    database and replicate. The database binlake_school is made there, and dropped at the end
#   DEMO_KAFKA       not empty: through Kafka
#   DEMO_HIVE        not empty: in a Hive Metastore, read by Spark
#   BINLAKE_MYSQLD   a mysqld 8.0 or newer for the throwaway server; without apt-get, the mysqld on the PATH
#   BINLAKE_CACHE    where downloads are kept (default ~/.cache/binlake)
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$here/../.." && pwd)
servers=$repository/tests/servers
seconds=${DEMO_SECONDS:-60}
rate=${DEMO_RATE:-1200}
tables=(students teachers courses orders order_items refunds renewals)

work=
server_started=
broker_started=
metastore_started=
metastore=
spark=()
changelog='{kind: local, dir: state/changelog}'
school_made=
load=
daemon=
watch=
catching_up=
loud=1

say() { printf '\n[%3d s] %s\n' "$SECONDS" "$*"; }
die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

# End process $1, one of ours, and wait for it: SIGTERM, and SIGKILL after $2 seconds.
end() {
    local pid=$1 deadline=$((SECONDS + $2))
    [[ -n $pid ]] || return 0
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

clean_up() {
    local code=$?
    trap '' INT TERM HUP
    if ((code != 0)) && [[ -n $loud && -s $work/daemon.log ]]; then
        printf '\nthe end of the daemon'\''s log:\n' >&2
        tail -n 40 -- "$work/daemon.log" >&2
    fi
    end "$watch" 0
    end "$catching_up" 12
    end "$daemon" 12
    end "$load" 10
    if [[ -n $school_made && -z $server_started ]]; then "$school" drop || printf 'demo: the database binlake_school could not be dropped\n' >&2; fi
    if [[ -n $metastore_started ]]; then "$servers/metastore.sh" kill "$work/metastore" || true; fi
    if [[ -n $broker_started ]]; then "$servers/kafka.sh" kill "$work/kafka" || true; fi
    if [[ -n $server_started ]]; then "$servers/mysql.sh" kill "$work/mysql" || true; fi
    if [[ -n $work ]]; then rm -rf -- "$work"; fi
}
trap clean_up EXIT
trap 'loud=; exit 130' INT
trap 'loud=; exit 143' TERM HUP

[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "DEMO_SECONDS=$seconds is not a number of seconds"
[[ $rate =~ ^[1-9][0-9]*$ ]] || die "DEMO_RATE=$rate is not a number of row changes"

# A port that nobody listens on now.
free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Start a server on a port that nobody listens on, which goes into `port`: `on_a_port WHAT COMMAND…`, and the port behind it.
on_a_port() {
    local what=$1
    shift
    for _ in 1 2 3; do
        # Below the ports that connections get; Kafka wants the next one, too.
        port=$((10000 + $(free_port) % 20000))
        if "$@" "$port"; then return; fi
    done
    die "$what did not start"
}
start_mysql() { "$servers/mysql.sh" start "$work/mysql" "$1" --binlog-expire-logs-seconds=86400; }

start_server() {
    local port
    if ! command -v apt-get >/dev/null && [[ -z ${BINLAKE_MYSQLD:-} ]]; then
        BINLAKE_MYSQLD=$(command -v mysqld) ||
            die "there is neither apt-get nor a mysqld on the PATH: set DEMO_MYSQL_URL, or install MySQL 8.0 or newer"
        export BINLAKE_MYSQLD
    fi
    server_started=1
    on_a_port MySQL start_mysql
    SCHOOL_URL=mysql://root@127.0.0.1:$port
    client=$("$servers/mysql.sh" install)/bin/mysql
    SCHOOL_PASSWORD=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
    # What binlake needs, and no more: BACKUP_ADMIN and XA_RECOVER_ADMIN let it read a consistent position and prepared transactions.
    "$client" --no-defaults -uroot -h127.0.0.1 -P "$port" <<SQL
CREATE USER binlake@'127.0.0.1' IDENTIFIED BY '$SCHOOL_PASSWORD';
CREATE USER binlake@localhost IDENTIFIED BY '$SCHOOL_PASSWORD';
GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT, BACKUP_ADMIN, XA_RECOVER_ADMIN ON *.* TO binlake@'127.0.0.1', binlake@localhost;
SQL
    SCHOOL_USER=binlake
    server=127.0.0.1:$port
    export SCHOOL_URL SCHOOL_USER SCHOOL_PASSWORD
}

# A Kafka broker, and the `changelog` section of the configuration that uses it.
start_broker() {
    local port
    broker_started=1
    on_a_port Kafka "$servers/kafka.sh" start "$work/kafka" 1
    changelog="{kind: kafka, brokers: ['127.0.0.1:$port'], replication: 1}"
}

# A Hive Metastore, and the line of the configuration that names it.
start_metastore() {
    local port
    metastore_started=1
    on_a_port "the metastore" "$servers/metastore.sh" start "$work/metastore" 4.1.0
    metastore=thrift://127.0.0.1:$port
}

# Take DEMO_MYSQL_URL to pieces: no password goes into the YAML.
use_server() {
    local pieces
    mapfile -t pieces < <("$python" - <<'PYTHON'
import os, urllib.parse
url = urllib.parse.urlsplit(os.environ["DEMO_MYSQL_URL"])
if url.scheme == "mysql" and url.hostname and url.username:
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    print(f"{host}:{url.port or 3306}", *(urllib.parse.unquote(text or "") for text in (url.username, url.password)), sep="\n")
PYTHON
    )
    ((${#pieces[@]} >= 2)) || die "DEMO_MYSQL_URL is not mysql://user:password@host:port"
    server=${pieces[0]}
    SCHOOL_USER=${pieces[1]}
    SCHOOL_PASSWORD=${pieces[2]:-}
    SCHOOL_URL=$DEMO_MYSQL_URL
    export SCHOOL_URL SCHOOL_USER SCHOOL_PASSWORD
}

write_config() {
    cat >"$work/binlake.yaml" <<YAML
state: sqlite:state/binlake.db
scratch: state/scratch
changelog: $changelog
lake:
  url: file://$work/lake${metastore:+
  metastore: $metastore}
  commit: {interval: 5s}
  datetime_zone: UTC
sources:
  - name: school
    url: mysql://$server
    user: \${SCHOOL_USER}
    password: \${SCHOOL_PASSWORD}
    tables:
      - table: binlake_school.*
YAML
}

# ---- what it needs -----------------------------------------------------------------------------------------------------------

command -v cargo >/dev/null || die "cargo is not there: install Rust 1.95 or newer"
say "making ready: a Python with DuckDB, a MySQL server, a release build"
"$servers/libraries.sh"
if [[ -n ${DEMO_KAFKA:-} ]]; then "$servers/kafka.sh" install >/dev/null; fi
python=$("$servers/python.sh")
if [[ -n ${DEMO_HIVE:-} ]]; then
    "$servers/metastore.sh" install >/dev/null
    spark=("$("$servers/spark.sh")" "$servers/spark.py" "$("$servers/metastore.sh" client)")
fi
if [[ -z ${DEMO_MYSQL_URL:-} && -z ${BINLAKE_MYSQLD:-} ]] && command -v apt-get >/dev/null; then
    "$servers/mysql.sh" install >/dev/null
fi
(cd -- "$repository" && cargo build --release --locked --bin binlake --example school)
target=$(cd -- "$repository" && cargo metadata --no-deps --format-version 1 --offline |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
binlake=$target/release/binlake
school=$target/release/examples/school

SECONDS=0
work=$(mktemp -d "${TMPDIR:-/tmp}/binlake-demo.XXXXXX")
mkdir "$work/mysql-side" "$work/state"

# ---- the school --------------------------------------------------------------------------------------------------------------

if [[ -n ${DEMO_MYSQL_URL:-} ]]; then
    say "the server of DEMO_MYSQL_URL gets the database binlake_school"
    use_server
else
    say "starting a throwaway MySQL"
    start_server
fi
if [[ -n ${DEMO_KAFKA:-} ]]; then
    say "starting a throwaway Kafka broker"
    start_broker
fi
if [[ -n ${DEMO_HIVE:-} ]]; then
    say "starting a throwaway Hive Metastore"
    start_metastore
fi
say "filling it with a school"
school_made=1
"$school" seed
write_config

say "starting the load: $rate row changes a second, from here to the end"
"$school" load --rate "$rate" >"$work/load.txt" 2>&1 &
load=$!
"$binlake" check -c "$work/binlake.yaml"

# ---- binlake -----------------------------------------------------------------------------------------------------------------

say "starting binlake for $seconds seconds"
cat "$work/binlake.yaml"
"$binlake" run -c "$work/binlake.yaml" >"$work/daemon.log" 2>&1 </dev/null &
daemon=$!
"$python" "$here/watch.py" "$binlake" "$work/binlake.yaml" "$daemon" "$work/watch.json" &
watch=$!
deadline=$((SECONDS + seconds))
while ((SECONDS < deadline)); do
    kill -0 "$daemon" 2>/dev/null || die "the daemon ended before its time"
    kill -0 "$load" 2>/dev/null || die "the load ended before its time: $(tail -n 3 -- "$work/load.txt")"
    sleep 0.5
done

say "stopping the load"
kill -TERM "$load"
wait "$load" || die "the load failed: $(tail -n 3 -- "$work/load.txt")"
load=
load_ended=$(date +%s%N)
cat "$work/load.txt"

say "stopping the daemon, and letting a second run take in what is left"
kill -TERM "$watch"
wait "$watch" || die "the watcher failed"
watch=
kill -TERM "$daemon"
wait "$daemon" || die "the daemon ended with an error"
daemon=
timeout 120 "$binlake" run --until-caught-up -c "$work/binlake.yaml" >>"$work/daemon.log" 2>&1 </dev/null &
catching_up=$!
wait "$catching_up" || die "binlake run --until-caught-up failed"
catching_up=
caught_up_ms=$((($(date +%s%N) - load_ended) / 1000000))

# ---- the proof ---------------------------------------------------------------------------------------------------------------

say "the renewal report, out of MySQL and out of the lake"
"$school" report "$here/report.sql" "$work/mysql-side"
"$school" dump "$work/mysql-side"
for table in "${tables[@]}"; do
    "$binlake" files "binlake_school.$table" -c "$work/binlake.yaml" >"$work/$table.files"
done
if [[ -n $metastore ]]; then
    mkdir "$work/spark"
    "$python" "$here/hive.py" "$here/report.sql" "$work" "${spark[0]}" "${spark[1]}" "$metastore" "${spark[2]}" "${tables[@]}"
fi
"$python" "$here/report.py" "$here/report.sql" "$work" "$caught_up_ms" "${tables[@]}"
say "done"
