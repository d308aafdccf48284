#!/usr/bin/env bash
# A Docker engine of the tests' own, and compose: images and volumes in the cache, apart from whatever else this machine runs.
#
#   docker.sh install     the engine (by apt-get, where it is missing and this is root) and compose (unpacked into the cache); print
#                         the path of compose
#   docker.sh client      print the path of a client that fits the engine
#   docker.sh start DIR   start an engine that answers at DIR/docker.sock; its images and volumes are those of the last time
#   docker.sh stop DIR    end it; nothing to do is no error
#
# An engine needs root, and shares the packet filter and the bridge docker0 of the machine: where another one runs, it is not started.
# Compose is Debian's, newer than the system's own, with the C library it was built against. Files in DIR: pid, log, docker.sock.
#
# Environment:
#   BINLAKE_CACHE           the cache directory (default ~/.cache/binlake)
#   BINLAKE_DEBIAN_MIRROR   the Debian mirror (default: the one in this machine's apt sources)
#   BINLAKE_START_LIMIT     seconds an engine may take to start (default 120)
set -euo pipefail

readonly SCRIPT=docker.sh
readonly SUITE=sid
readonly PACKAGES=(docker-compose)
readonly CLIENTS=(docker-compose)
readonly SERVER=
readonly WRAPPED_OPTIONS=
readonly OR_OUTSIDE=
# The engine's: docker.io brings containerd and runc.
readonly ENGINE=(docker.io iptables debootstrap)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/debian.sh
source "$here/debian.sh"
undo_at_the_end TERM

set_cache
home=$cache/docker
mkdir -p -- "$home"
root=$home/compose
outside=

write_outside_wrappers() { :; }
version_of() { "$1/bin/docker-compose" version --short || die "compose in $1 does not run"; }
judge_version() { [[ $1 == 2.* ]] || say "warning: Debian $SUITE now carries compose $1, not 2"; }

install_engine() {
    local log=$home/install.log program missing=
    for program in dockerd containerd runc iptables debootstrap; do
        command -v "$program" >/dev/null || missing=1
    done
    [[ -n $missing ]] || return 0
    if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then die "install ${ENGINE[*]}, as root"; fi
    if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${ENGINE[@]}"; } >"$log" 2>&1; then
        tail -n 20 -- "$log" >&2
        die "these packages could not be installed: ${ENGINE[*]}"
    fi
}

# The one beside Debian's engine, which builds by itself, before another one that wants a plug-in for that.
print_client() {
    if [[ -x /usr/bin/docker ]]; then
        echo /usr/bin/docker
    else
        command -v docker || die "there is no docker"
    fi
}

# The pid of the engine of directory $1, if it runs.
running_pid() { pid_with "$1" "unix://$1/docker.sock"; }

start() {
    local dir pid deadline=$((SECONDS + ${BINLAKE_START_LIMIT:-120}))
    [[ $(id -u) == 0 ]] || die "an engine needs root"
    mkdir -p -- "$1"
    dir=$(realpath -- "$1")
    install_engine
    take_dir "$dir"
    if running_pid "$dir" >/dev/null; then die "it runs already in $dir"; fi
    for pid in $(pgrep -x dockerd); do
        is_gone "$pid" || die "this machine runs an engine already, and two share one packet filter: stop it first"
    done
    # A session of its own: a Ctrl-C at the terminal goes to the test, which stops its engine itself. And no file of the caller's.
    (
        close_files
        exec setsid dockerd --host "unix://$dir/docker.sock" --data-root "$home/data" --exec-root "$dir/exec" --pidfile "$dir/dockerd.pid"
    ) </dev/null >"$dir/log" 2>&1 &
    starting=$!
    printf '%s\n' "$starting" >"$dir/pid"
    until curl --silent --fail --unix-socket "$dir/docker.sock" http://localhost/_ping >/dev/null; do
        if is_gone "$starting" || ((SECONDS >= deadline)); then
            say "the engine in $dir did not start; the end of its log:"
            tail -n 15 -- "$dir/log" >&2
            exit 1
        fi
        sleep 0.1
    done
    disown "$starting"
    starting=
}

stop() {
    local dir pid
    [[ -d $1 ]] || return 0
    dir=$(realpath -- "$1")
    take_dir "$dir"
    pid=$(running_pid "$dir") || return 0
    kill -TERM "$pid" 2>/dev/null || true
    # It ends its containers, and its containerd.
    wait_gone "$pid" 120 || die "the engine $pid does not end"
    rm -f -- "$dir/pid"
}

case ${1:-} in
install)
    (($# == 1)) || usage
    install_engine
    ensure_root
    printf '%s\n' "$root/bin/docker-compose"
    ;;
client)
    (($# == 1)) || usage
    print_client
    ;;
start)
    (($# == 2)) || usage
    start "$2"
    ;;
stop)
    (($# == 2)) || usage
    stop "$2"
    ;;
*) usage ;;
esac
