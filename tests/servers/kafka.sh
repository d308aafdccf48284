#!/usr/bin/env bash
# Real Apache Kafka brokers (KRaft, broker and controller in one) for the tests and the demo, on loopback, in directories of their own.
#
#   kafka.sh install                             put the broker into the cache, print the directory of its jars
#   kafka.sh start DIR NODES PORT [KEY=VALUE...] start 1 or 3 nodes: node I answers on 127.0.0.1:(PORT + 2 x (I - 1)) and keeps
#                                                the port behind that one to itself
#   kafka.sh node DIR I                          start node I again, with its data
#   kafka.sh stop DIR [I]                        end all nodes, or node I, in order; nothing to do is no error
#   kafka.sh kill DIR [I]                        end them the hard way (SIGKILL), as a crash would
#
# `install` fetches the jars with Maven (44 MB), and makes a class archive of one trial start: later ones take a second or two.
#
# A cluster makes no topic of its own accord, and notices within three seconds that a node is gone. Every KEY=VALUE is a broker setting
# that wins over kafka/server.properties. Files in DIR/nI: pid, log (of the last start; log.old of the one before), data,
# server.properties. Data are kept by stop and kill, and used again by the next start.
#
# Environment:
#   BINLAKE_CACHE         the cache directory (default ~/.cache/binlake)
#   BINLAKE_JAVA          the java to run it with, 17 or newer (default java)
#   BINLAKE_START_LIMIT   seconds a node may take to start (default 120)
#   BINLAKE_STOP_LIMIT    seconds `stop` waits before it turns to SIGKILL (default 60)
set -euo pipefail

readonly SCRIPT=kafka.sh
readonly VERSION=4.3.1
# Any will do: what tells clusters apart is their ports.
readonly CLUSTER=binlakeTestClusterAAAA
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"

# What the exit trap undoes: a directory half made, nodes that did not come up.
scratch=
starting=()

clean_up() {
    local pid
    for pid in "${starting[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [[ -z $scratch ]] || rm -rf -- "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

java=${BINLAKE_JAVA:-java}

# ---- install ---------------------------------------------------------------------------------------

# Set the globals `home`, `libs`, `archive` and `formatted`: what the script keeps in the cache; there the jars, the class archive,
# and a data directory that is newly made.
set_paths() {
    set_cache
    home=$cache/kafka-$VERSION
    mkdir -p -- "$home"
    libs=$home/libs
    archive=$home/classes.jsa
    formatted=$home/formatted
}

fetch_libs() {
    command -v "$java" >/dev/null || die "$java is not there: install a JDK 17 or newer, or set BINLAKE_JAVA"
    fetch_jars "$libs" "Kafka $VERSION" "$here/kafka/pom.xml" 'kafka_*.jar' dependency:copy-dependencies \
        -Dkafka="$VERSION" -DincludeScope=runtime -DoutputDirectory=@
}

# Make a class archive of the jars with a node that is started for it. Without one everything works too, only more slowly.
make_archive() {
    local port=$((20000 + RANDOM % 10000)) log=$home/archive.log
    rm -rf -- "$home"/trial.*
    scratch=$(mktemp -d "$home/trial.XXXXXX")
    if BINLAKE_KAFKA_ARCHIVE=$scratch/archive "$here/kafka.sh" start "$scratch" 1 "$port" >"$log" 2>&1 &&
        "$here/kafka.sh" stop "$scratch" >>"$log" 2>&1 && [[ -s $scratch/archive ]]; then
        mv -- "$scratch/archive" "$archive"
    else
        "$here/kafka.sh" kill "$scratch"
        say "warning: there is no class archive, brokers will start slowly: see $log"
    fi
    rm -rf -- "$scratch"
    scratch=
}

# ---- start -----------------------------------------------------------------------------------------

# The options of the node in directory $1, one a line. The first names it: by that it is known again.
jvm_options() {
    printf '%s\n' "-Dbinlake.node=$1" -Xms64m "-Xmx${BINLAKE_KAFKA_HEAP:-256m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
        -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS
    if [[ -n ${BINLAKE_KAFKA_ARCHIVE:-} ]]; then
        printf '%s\n' "-XX:ArchiveClassesAtExit=$BINLAKE_KAFKA_ARCHIVE"
    elif [[ -r $archive ]]; then
        # Another java than the one that made it does without, and says nothing.
        printf '%s\n' "-XX:SharedArchiveFile=$archive" -Xlog:disable -Xlog:all=error:stderr
    fi
}

# Write the settings of node $2 of $3 in its directory $1, with the ports from $4 on; the rest are settings that win.
write_settings() {
    local node=$1 number=$2 nodes=$3 port=$4 voters='' other
    shift 4
    for ((other = 1; other <= nodes; other++)); do
        voters+=,$other@127.0.0.1:$((port + 2 * other - 1))
    done
    {
        sed -e "s#@ID@#$number#; s#@PORT@#$((port + 2 * number - 2))#; s#@CONTROLLER@#$((port + 2 * number - 1))#" \
            -e "s#@VOTERS@#${voters#,}#; s#@DIRECTORY@#$node#; s#@REPLICAS@#$nodes#; s#@IN_SYNC@#$((nodes / 2 + 1))#" \
            "$here/kafka/server.properties"
        printf '%s\n' "$@"
    } >"$node/server.properties"
}

# Make `formatted` by the settings of the node in directory $1.
make_formatted() {
    local log=$home/format.log
    rm -rf -- "$home"/format.*/
    scratch=$(mktemp -d "$home/format.XXXXXX")
    sed "s#^log.dirs=.*#log.dirs=$scratch/data#" "$1/server.properties" >"$scratch/server.properties"
    if ! "$java" -Xmx128m -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.tools.StorageTool format --cluster-id "$CLUSTER" \
        --config "$scratch/server.properties" </dev/null >"$log" 2>&1; then
        tail -n 20 -- "$log" >&2
        die "a data directory could not be made"
    fi
    mv -T -- "$scratch/data" "$formatted"
    rm -rf -- "$scratch"
    scratch=
}

# Make the data directory of node $2 in its directory $1.
format() {
    local node=$1 number=$2 id
    [[ ! -d $node/data ]] || return 0
    ensure "$formatted" make_formatted "$node"
    id=$(head -c 16 /dev/urandom | base64 | tr +/ -_ | tr -d =)
    rm -rf -- "$node/data.new"
    cp -r -- "$formatted" "$node/data.new"
    printf 'version=1\ncluster.id=%s\nnode.id=%s\ndirectory.id=%s\n' "$CLUSTER" "$number" "$id" >"$node/data.new/meta.properties"
    mv -T -- "$node/data.new" "$node/data"
}

# The pid of the node of directory $1, if it runs.
running_pid() { pid_with "$1" "-Dbinlake.node=$1"; }

# Start the node of directory $1; it is not up yet.
launch() {
    local node=$1 pid options
    if pid=$(running_pid "$node"); then die "node $node runs already (pid $pid)"; fi
    mapfile -t options < <(jvm_options "$node")
    [[ ! -f $node/log ]] || mv -- "$node/log" "$node/log.old"
    # A session of its own: a Ctrl-C at the terminal goes to the test, which stops its nodes itself. And no file of the caller's.
    (
        close_files
        cd -- "$node"
        exec setsid "$java" "${options[@]}" -cp "$libs/*" kafka.Kafka server.properties
    ) </dev/null >"$node/log" 2>&1 &
    starting+=("$!")
    printf '%s\n' "$!" >"$node/pid.new"
    mv -- "$node/pid.new" "$node/pid"
}

# Wait until the node of directory $1 answers.
wait_up() {
    local node=$1 pid deadline=$((SECONDS + ${BINLAKE_START_LIMIT:-120}))
    pid=$(<"$node/pid")
    until grep -qs 'Kafka Server started' "$node/log"; do
        if ! kill -0 "$pid" 2>/dev/null || ((SECONDS >= deadline)); then
            say "node $node did not start; the end of its log:"
            tail -n 15 -- "$node/log" >&2
            exit 1
        fi
        sleep 0.05
    done
}

# They run from here on; the exit trap leaves them alone.
leave_running() {
    disown "${starting[@]}"
    starting=()
}

start() {
    local nodes=$2 port=$3 dir number
    [[ $nodes =~ ^[1-9]$ ]] || die "not a number of nodes: $nodes"
    if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port + 2 * nodes > 65536)); then die "not a port: $port"; fi
    mkdir -p -- "$1"
    dir=$(realpath -- "$1")
    shift 3
    set_paths
    ensure "$libs" fetch_libs
    take_dir "$dir"
    for ((number = 1; number <= nodes; number++)); do
        mkdir -p -- "$dir/n$number"
        write_settings "$dir/n$number" "$number" "$nodes" "$port" "$@"
        format "$dir/n$number" "$number"
        launch "$dir/n$number"
    done
    for ((number = 1; number <= nodes; number++)); do wait_up "$dir/n$number"; done
    leave_running
}

start_node() {
    local dir
    dir=$(realpath -- "$1")
    [[ -r $dir/n$2/server.properties ]] || die "there is no node $2 in $dir"
    set_paths
    take_dir "$dir"
    launch "$dir/n$2"
    wait_up "$dir/n$2"
    leave_running
}

# ---- stop and kill ---------------------------------------------------------------------------------

# End node $3 of directory $1, or all of them where that is empty; $2 is `stop` or `kill`.
end() {
    local dir node pid signal=TERM pids=()
    [[ -d $1 ]] || return 0
    dir=$(realpath -- "$1")
    take_dir "$dir"
    [[ $2 == stop ]] || signal=KILL
    for node in "$dir"/n${3:-*}; do
        if pid=$(running_pid "$node"); then
            kill -"$signal" "$pid" 2>/dev/null || true
            kill -CONT "$pid" 2>/dev/null || true # a node that a test froze hears nothing else
            pids+=("$pid")
        fi
    done
    for pid in "${pids[@]}"; do
        wait_end "$pid" "node $pid in $dir"
    done
}

case ${1:-} in
install)
    (($# == 1)) || usage
    set_paths
    ensure "$libs" fetch_libs
    ensure "$archive" make_archive
    printf '%s\n' "$libs"
    ;;
start)
    (($# >= 4)) || usage
    shift
    start "$@"
    ;;
node)
    (($# == 3)) || usage
    start_node "$2" "$3"
    ;;
stop | kill)
    (($# == 2 || $# == 3)) || usage
    end "$2" "$1" "${3:-}"
    ;;
*) usage ;;
esac
