#!/usr/bin/env bash
# docker-compose.yml, tried as a whole: the images are built, the stack comes up in order, the school's report out of MySQL and by Trino
# out of the lake is the same, what watches it works, and `down -v` leaves nothing.
#
#   compose.sh            needs root, and a machine that runs no Docker engine of its own
#
# The official images cannot be pulled in every place where this runs: stand_ins.sh makes others under their names. The binaries are
# compiled here and not in the builder, with which deploy/Dockerfile says how users build them.
#
# Environment:
#   BINLAKE_CACHE    where downloads, images and what they are made of are kept (default ~/.cache/binlake; about 5 GB)
#   BINLAKE_BINARY   a binlake to use in place of one that is built
#   BINLAKE_SCHOOL   the same for the school of tests/demo
set -euo pipefail

readonly SCRIPT=compose.sh
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$here/../.." && pwd)
servers=$repository/tests/servers
# shellcheck source=tests/servers/process.sh
source "$servers/process.sh"
(($# == 0)) || usage

work=$(mktemp -d "${TMPDIR:-/tmp}/binlake-compose.XXXXXX")
stack_is_up=
clean_up() {
    local code=$?
    trap '' INT TERM HUP
    if ((code != 0)) && [[ -n $stack_is_up ]]; then
        compose ps --all >&2 || true
        compose logs --no-color --tail 15 >&2 || true
    fi
    if [[ -n $stack_is_up ]]; then compose down --volumes --timeout 5 >/dev/null 2>&1 || true; fi
    "$servers/docker.sh" stop "$work/engine" || true
    rm -rf -- "$work" "$repository/target/image"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

told() { printf '\n[%3d s] %s\n' "$SECONDS" "$*"; }
compose() { (cd -- "$repository" && "$compose_program" "$@" </dev/null); }

# Wait until a command succeeds: `within SECONDS WHAT COMMAND…`.
within() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        ((SECONDS < deadline)) || die "not within its time: $what"
        sleep 1
    done
}

# ---- what it needs -----------------------------------------------------------------------------------------------------------

told "the binaries"
if [[ -z ${BINLAKE_BINARY:-} || -z ${BINLAKE_SCHOOL:-} ]]; then
    "$servers/libraries.sh"
    (cd -- "$repository" && cargo build --release --locked --bin binlake --example school)
    target=$(cd -- "$repository" && cargo metadata --no-deps --format-version 1 --offline |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
fi
mkdir -p -- "$repository/target/image"
cp -- "${BINLAKE_BINARY:-$target/release/binlake}" "$repository/target/image/binlake"
cp -- "${BINLAKE_SCHOOL:-$target/release/examples/school}" "$repository/target/image/school"
strip -- "$repository"/target/image/*

told "the engine, and stand-ins for the official images"
compose_program=$("$servers/docker.sh" install)
"$servers/docker.sh" start "$work/engine"
export DOCKER_HOST=unix://$work/engine/docker.sock
docker=$("$servers/docker.sh" client)
"$here/stand_ins.sh"

# ---- the stack ---------------------------------------------------------------------------------------------------------------

export BINLAKE_BINARIES=given SCHOOL_SCALE=0.1 SCHOOL_RATE=200
read -r BINLAKE_PORT PROMETHEUS_PORT GRAFANA_PORT TRINO_PORT < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*[one.getsockname()[1] for one in sockets])')
export BINLAKE_PORT PROMETHEUS_PORT GRAFANA_PORT TRINO_PORT

is_healthy() { python3 "$here/stack.py" health "$("$compose_program" --file "$repository/docker-compose.yml" ps --all --format json)"; }
status() { compose exec -T binlake binlake status --json; }
is_live() { status >"$work/status.json" && python3 "$here/stack.py" live "$work/status.json"; }
is_caught_up() { status >"$work/status.json" && python3 "$here/stack.py" caught-up "$work/status.json"; }

told "up"
stack_is_up=1
compose up --detach --build
within 180 "every service is healthy" is_healthy
compose ps
within 240 "every table is live" is_live

told "while the load goes on: what watches"
python3 "$here/stack.py" watched "$PROMETHEUS_PORT" "$GRAFANA_PORT" "$repository/deploy"

told "the image"
[[ $(compose exec -T binlake id -u) == 10001 ]] || die "binlake runs as root"
if compose exec -T binlake touch /etc/binlake/x 2>/dev/null; then die "the root file system can be written"; fi
"$docker" image ls --format '{{.Repository}} {{.Size}}' binlake

told "the load ends; the report, twice"
compose stop load
within 120 "every table has what the server has, and shows it" is_caught_up
"$compose_program" --file "$repository/docker-compose.yml" exec -T -e MYSQL_PWD=root-of-the-laptop mysql \
    mysql --batch --user=root --default-character-set=utf8mb4 binlake_school <"$repository/tests/demo/report.sql" >"$work/mysql.tsv"
python3 "$here/stack.py" trino "$repository/tests/demo/report.sql" >"$work/report.sql"
"$docker" cp "$work/report.sql" "$(compose ps --quiet trino):/tmp/report.sql" >/dev/null
compose exec -T trino trino --catalog lake --schema ods_binlake_school --output-format TSV_HEADER --file /tmp/report.sql >"$work/trino.tsv"
python3 "$here/stack.py" same "$work/mysql.tsv" "$work/trino.tsv"

told "what README.md asks"
python3 "$here/stack.py" readme "$repository/README.md" >"$work/readme.sh"
(cd -- "$repository" && PATH=$here/path:$PATH COMPOSE_PROGRAM=$compose_program bash -euo pipefail "$work/readme.sh" </dev/null)

told "stand-ins refuse what the official images do not document"
images=$("$compose_program" --file "$repository/docker-compose.yml" config --images | grep -v '^binlake' | sort -u)
for image in $images; do
    code=0
    "$docker" run --rm --env KAFKA_NOT_A_SETTING=1 "$image" >"$work/refused" 2>&1 || code=$?
    ((code == 64)) || die "$image took a variable that nobody knows: $code $(tail -n 3 "$work/refused")"
done

told "down"
compose down --volumes --timeout 20
stack_is_up=
for kind in 'ps --all' 'volume ls' 'network ls'; do
    # shellcheck disable=SC2086 # two words
    left=$("$docker" $kind --quiet --filter label=com.docker.compose.project=binlake)
    [[ -z $left ]] || die "left behind by down -v: $kind: $left"
done
told "done"
