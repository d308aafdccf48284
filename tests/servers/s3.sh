#!/usr/bin/env bash
# A real S3 endpoint (moto's server) for the tests, on loopback, with buckets of its own that are gone when it stops.
#
#   s3.sh install          put moto into the cache, print the path of its program
#   s3.sh start DIR PORT   start a server on 127.0.0.1:PORT that keeps its pid and log in DIR
#   s3.sh stop|kill DIR    end it; nothing to do is no error
#
# `install` makes a virtual environment in $BINLAKE_CACHE/s3. A stamp, written last, says that it is whole and what is in it: an
# environment without the stamp, or with another one, is made anew. A server holds its objects in memory; it takes any credentials.
#
# Environment:
#   BINLAKE_CACHE         the cache directory (default ~/.cache/binlake)
#   BINLAKE_PYTHON        the interpreter to start from (default python3)
#   BINLAKE_START_LIMIT   seconds a server may take to start (default 60)
set -euo pipefail

readonly SCRIPT=s3.sh
readonly PACKAGES=('moto[server]')
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"

set_cache

install() {
    python_environment s3 3.9 'import moto.server'
    program=$environment/bin/moto_server
}

# Whether the pid in directory $1 is a server of ours: a number may have been given to another process.
is_ours() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 1
    ! is_gone "$pid" && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF moto_server
}

answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

start() {
    local dir=$1 port=$2 pid deadline
    mkdir -p -- "$dir"
    take_dir "$dir"
    if is_ours "$dir"; then return 0; fi
    if answers "$port"; then die "somebody listens on port $port already"; fi
    (
        close_files
        exec setsid env MOTO_S3_DEFAULT_MAX_KEYS=1000 PYTHONDONTWRITEBYTECODE=1 \
            "$program" -H 127.0.0.1 -p "$port" </dev/null >"$dir/log" 2>&1
    ) &
    pid=$!
    printf '%s\n' "$pid" >"$dir/pid"
    deadline=$((SECONDS + ${BINLAKE_START_LIMIT:-60}))
    until answers "$port"; do
        if is_gone "$pid" || ((SECONDS >= deadline)); then
            kill -KILL "$pid" 2>/dev/null || true
            rm -f -- "$dir/pid"
            tail -n 20 -- "$dir/log" >&2
            die "the server on port $port did not start"
        fi
        sleep 0.05
    done
}

stop() {
    local dir=$1 pid
    [[ -d $dir ]] || return 0
    take_dir "$dir"
    if is_ours "$dir"; then
        pid=$(<"$dir/pid")
        kill -KILL "$pid" 2>/dev/null || true
        wait_gone "$pid" 10 || die "process $pid does not end"
    fi
    rm -f -- "$dir/pid"
}

case ${1:-} in
install)
    (($# == 1)) || usage
    install
    printf '%s\n' "$program"
    ;;
start)
    (($# == 3)) || usage
    install
    start "$2" "$3"
    ;;
stop | kill)
    (($# == 2)) || usage
    stop "$2"
    ;;
*) usage ;;
esac
