# What the scripts of the servers share: messages, and the life of a process that this script, or an earlier run of it, has started.
#
# Sourced, with SCRIPT set before: its name in messages.
# shellcheck shell=bash disable=SC2154 # set by who sources it

say() { printf '%s: %s\n' "$SCRIPT" "$*" >&2; }
die() {
    say "$@"
    exit 1
}

# How the script is called: the comment at its top.
usage() {
    sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

# Set the global `cache`.
set_cache() {
    cache=${BINLAKE_CACHE:-${HOME:?neither BINLAKE_CACHE nor HOME is set}/.cache/binlake}
    mkdir -p -- "$cache"
    cache=$(realpath -- "$cache")
}

# Whether process $1 holds nothing any more: gone, or a zombie without other threads. A killed server
# loses its arguments first, and its port and file locks only with its last thread.
is_gone() {
    local stat tasks
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    [[ ${stat##*) } == Z* ]] || return 1
    tasks=("/proc/$1/task"/*)
    ((${#tasks[@]} <= 1))
}

# Wait until process $1 is gone, at most $2 seconds.
wait_gone() {
    local deadline=$((SECONDS + $2))
    until is_gone "$1"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# Wait until process $1, which was told to end, is gone, and kill it when that takes too long; $2 names it for people.
wait_end() {
    wait_gone "$1" "${BINLAKE_STOP_LIMIT:-60}" && return
    say "$2 did not stop in time; killing it"
    kill -KILL "$1" 2>/dev/null || true
    wait_gone "$1" 60 || die "$2 is still there after SIGKILL"
}

# The pid of the process of directory $1, if it runs. It is only believed when the process has the argument $2, which names the directory: the
# number may have been given to another one since.
pid_with() {
    local pid
    pid=$(cat -- "$1/pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    grep -zqxF -e "$2" "/proc/$pid/cmdline" 2>/dev/null || return 1
    printf '%s\n' "$pid"
}

# When this script ends, however it does: end the process `starting`, which did not come up, by signal $1, and remove the directory `scratch`.
undo_at_the_end() {
    starting=''
    scratch=''
    # shellcheck disable=SC2064 # the signal of now
    trap "undo $1" EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

undo() {
    if [[ -n $starting ]]; then
        kill -"$1" "$starting" 2>/dev/null || true
        wait "$starting" 2>/dev/null || true
    fi
    [[ -z $scratch ]] || rm -rf -- "$scratch"
}

# Whether somebody listens on port $1.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Wait until the process `starting`, of directory $1, listens on port $2, and leave it running then; $3 names it for people.
wait_listening() { wait_started "$1" "$3" listens "$2"; }

# Wait until a command, which stands behind the first two arguments, says that the process `starting` of directory $1 has started, and leave it
# running then; $2 names it for people.
wait_started() {
    local deadline=$((SECONDS + ${BINLAKE_START_LIMIT:-120}))
    until "${@:3}"; do
        if ! kill -0 "$starting" 2>/dev/null || ((SECONDS >= deadline)); then
            say "$2 in $1 did not start; the end of its log:"
            tail -n 15 -- "$1/log" >&2
            exit 1
        fi
        sleep 0.1
    done
    disown "$starting"
    starting=
}

# Kill the process of directory $1 that has the argument $2 with that directory behind it; $3 names it for people. None is no error.
kill_with() {
    local dir pid
    [[ -d $1 ]] || return 0
    dir=$(realpath -- "$1")
    take_dir "$dir"
    pid=$(pid_with "$dir" "$2$dir") || return 0
    kill -KILL "$pid" 2>/dev/null || true
    wait_gone "$pid" 60 || die "$3 $pid in $dir is still there after SIGKILL"
}

# Close every file above standard error, but for the one bash reads this script from.
close_files() {
    local path fd
    for path in "/proc/$BASHPID/fd"/*; do
        fd=${path##*/}
        if ((fd > 2 && fd != 255)); then exec {fd}>&-; fi
    done
}

# Hold the lock of directory $1 until this script ends.
take_dir() {
    local lock
    exec {lock}>"$1/.lock"
    flock "$lock"
}
