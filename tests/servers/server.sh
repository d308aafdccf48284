# What mysql.sh and mariadb.sh share: a private root made of Debian packages, and a server's life in a directory.
#
# Sourced, with these set before: SCRIPT (its name in messages), SUITE (of Debian), KEPT_AS (its directory in the cache), PACKAGES,
# SERVER (the daemon's name), CLIENTS (the programs beside it), WRAPPED_OPTIONS (shell text: options of every call of the server,
# in which $root is the private root), STARTED_OPTIONS (of every start), OR_OUTSIDE (the end of a sentence about what is missing),
# and these functions:
#   find_outside           set `outside` and `root` where the server of someone else is to be used
#   version_of ROOT        print the version number
#   judge_version VERSION  complain of a version that is not the one wanted
#   initialise DATA …      make a data directory with these options
# shellcheck shell=bash disable=SC2154 # set by who sources it

# shellcheck source=tests/servers/process.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/process.sh"
# shellcheck source=tests/servers/debian.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/debian.sh"

# The longest socket path that every client takes: sun_path has 108 bytes, the server adds ".lock".
readonly SOCKET_LIMIT=100

# What the exit trap undoes beside `scratch`: a server that did not come up.
starting=
starting_dir=

clean_up() {
    if [[ -n $starting ]]; then
        kill -KILL "$starting" 2>/dev/null || true
        wait "$starting" 2>/dev/null || true
    fi
    [[ -z $starting_dir ]] || remove_traces "$starting_dir"
    [[ -z $scratch ]] || rm -rf -- "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Set the globals `cache`, `home` (what the script keeps there), `root`, and `outside`: a server of someone else's, or nothing.
set_paths() {
    set_cache
    home=$cache/$KEPT_AS
    mkdir -p -- "$home"
    outside=
    root=$home/root
    find_outside
}

# ---- start -----------------------------------------------------------------------------------------

# The options that must be the same when a data directory is made and when it is used.
init_options() {
    local option name
    for option in "$@"; do
        name=${option%%=*}
        name=${name//_/-}
        case $name in
        --lower-case-table-names | --innodb-page-size | --innodb-data-file-path | --innodb-undo-directory | \
            --innodb-data-home-dir | --innodb-log-group-home-dir | --character-set-server | --collation-server)
            printf '%s\n' "$option"
            ;;
        esac
    done
}

as_user() { if [[ $(id -u) == 0 ]]; then printf '%s\n' --user=root; fi; }

# Set the global `template` to a freshly initialised data directory for these options, made once for
# every version and set of options.
ensure_template() {
    local options=() user=() version key lock log
    mapfile -t options < <(init_options "$@")
    mapfile -t user < <(as_user)
    if [[ -n $outside ]]; then version=$(version_of "$root"); else version=$(<"$root/VERSION"); fi
    key=$(printf '%s\n' "$root" "${options[@]}" | sha256sum | cut -c1-12)
    template=$home/template-$version-$key
    [[ ! -d $template ]] || return 0

    exec {lock}>"$template.lock"
    flock "$lock"
    if [[ ! -d $template ]]; then
        rm -rf -- "$template".new.*
        scratch=$(mktemp -d "$template.new.XXXXXX")
        log=$scratch/init.log
        initialise "$scratch/data" "${user[@]}" "${options[@]}" </dev/null >"$log" 2>&1 || {
            tail -n 25 -- "$log" >&2
            die "the data directory could not be initialised"
        }
        mv -T -- "$scratch/data" "$template"
        rm -rf -- "$scratch"
        scratch=
    fi
    exec {lock}>&-
}

# The pid in directory $1's pid file.
recorded_pid() {
    local pid
    pid=$(cat -- "$1/mysqld.pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    printf '%s\n' "$pid"
}

# The pid of the server of directory $1, if it runs. A pid is only believed when the process has this
# data directory in its arguments: it may have been given to another one since.
running_pid() {
    local pid
    pid=$(recorded_pid "$1") || return 1
    grep -zqxF -e "--datadir=$1/data" "/proc/$pid/cmdline" 2>/dev/null || return 1
    printf '%s\n' "$pid"
}

# Wait for a server of directory $1 that was killed by someone else and is on its way out.
wait_dying() {
    local pid comm
    pid=$(recorded_pid "$1") || return 0
    comm=$(cat "/proc/$pid/comm" 2>/dev/null) || return 0
    [[ $comm == ld-linux* || $comm == "$SERVER"* ]] || return 0
    # The file's size is always 0: it has to be read.
    if [[ -z $(tr -d '\0' 2>/dev/null <"/proc/$pid/cmdline") ]]; then wait_gone "$pid" 60 || true; fi
}

# Remove what a server of directory $1 leaves behind; only when none runs.
remove_traces() {
    local target
    if [[ -L $1/mysqld.sock ]]; then
        target=$(readlink -- "$1/mysqld.sock")
        [[ $target != /tmp/binlake-server.*/s ]] || rm -rf -- "${target%/s}"
    fi
    rm -f -- "$1"/mysqld.{sock,sock.lock,pid,server-pid}
}

# Whether a server greets on 127.0.0.1:$1: a packet whose fifth byte is protocol version 10.
greets() {
    local bytes
    # shellcheck disable=SC2016 # $1 is the inner shell's
    bytes=$(timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && head -c 5 <&3' _ "$1" 2>/dev/null |
        od -An -tx1) || return 1
    [[ $bytes == *' 00 0a' ]]
}

start() {
    local dir port=$2 pid user=() options=() log socket socket_dir from deadline
    if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then die "not a port: $port"; fi
    mkdir -p -- "$1"
    dir=$(realpath -- "$1")
    shift 2

    set_paths
    ensure_root
    take_dir "$dir"
    if pid=$(running_pid "$dir"); then die "a server runs in $dir already (pid $pid)"; fi
    wait_dying "$dir"
    remove_traces "$dir"

    [[ ! -d $dir/data ]] || rmdir -- "$dir/data" 2>/dev/null || true # only when empty
    if [[ ! -d $dir/data ]]; then
        ensure_template "$@"
        rm -rf -- "$dir/data.new"
        scratch=$dir/data.new
        cp -a --reflink=auto --sparse=always -- "$template" "$dir/data.new"
        mv -T -- "$dir/data.new" "$dir/data"
        scratch=
    fi
    mkdir -p -- "$dir/tmp"

    starting_dir=$dir
    socket=$dir/mysqld.sock
    if ((${#socket} > SOCKET_LIMIT)); then
        socket_dir=$(mktemp -d /tmp/binlake-server.XXXXXX)
        socket=$socket_dir/s
        ln -s -- "$socket" "$dir/mysqld.sock"
    fi

    mapfile -t user < <(as_user)
    options=(
        "${user[@]}"
        --datadir="$dir/data"
        --tmpdir="$dir/tmp"
        --socket="$socket"
        --pid-file="$dir/mysqld.server-pid"
        --bind-address=127.0.0.1
        --port="$port"
        --log-bin=binlog
        --binlog-row-metadata=FULL
        --innodb-buffer-pool-size=256M
        --max-connections=200
        "${STARTED_OPTIONS[@]}"
    )
    log=$dir/mysqld.log
    touch -- "$log"
    from=$(($(stat -c %s -- "$log") + 1))

    # A session of its own: a Ctrl-C at the terminal goes to the test, which stops its servers itself. And
    # no file of the caller's: a pipe that stays open in a server keeps its reader waiting for the end.
    (
        close_files
        exec setsid "$root/bin/$SERVER" "${options[@]}" "$@"
    ) </dev/null >>"$log" 2>&1 &
    starting=$!
    printf '%s\n' "$starting" >"$dir/mysqld.pid.new"
    mv -- "$dir/mysqld.pid.new" "$dir/mysqld.pid"

    # The server writes its own pid file once it has its socket and port: no other server can be the one
    # that greets then.
    deadline=$((SECONDS + ${BINLAKE_START_LIMIT:-120}))
    until [[ -s $dir/mysqld.server-pid ]] && greets "$port"; do
        if ! kill -0 "$starting" 2>/dev/null; then
            fail_start "$dir" "$from" "the server on port $port ended while it started"
        elif ((SECONDS >= deadline)); then
            fail_start "$dir" "$from" "the server on port $port did not accept connections in time"
        fi
        sleep 0.05
    done
    # It runs from here on; the exit trap leaves it alone.
    disown "$starting"
    starting=
    starting_dir=
}

# Report a failed start in directory $1 with the log from byte $2 on; the exit trap ends the server.
fail_start() {
    local dir=$1 from=$2
    shift 2
    say "$@"
    say "the end of $dir/mysqld.log:"
    tail -c "+$from" -- "$dir/mysqld.log" | tail -n 25 >&2
    exit 1
}

# ---- stop and kill ---------------------------------------------------------------------------------

# End the server of directory $1; $2 is `stop` or `kill`.
end() {
    local dir pid
    [[ -d $1 ]] || return 0
    dir=$(realpath -- "$1")
    take_dir "$dir"
    if pid=$(running_pid "$dir"); then
        if [[ $2 == stop ]]; then
            kill -TERM "$pid" 2>/dev/null || true
            kill -CONT "$pid" 2>/dev/null || true # a server that a test froze hears nothing else
        else
            kill -KILL "$pid" 2>/dev/null || true
        fi
        wait_end "$pid" "the server in $dir (pid $pid)"
    fi
    wait_dying "$dir"
    remove_traces "$dir"
}

case ${1:-} in
install)
    (($# == 1)) || usage
    set_paths
    ensure_root
    printf '%s\n' "$root"
    ;;
start)
    (($# >= 3)) || usage
    shift
    start "$@"
    ;;
stop | kill)
    (($# == 2)) || usage
    end "$2" "$1"
    ;;
*) usage ;;
esac
