#!/usr/bin/env bash
# A real HDFS for the tests, a NameNode and a DataNode: on loopback, in a directory of its own.
#
#   hdfs.sh install                       put Hadoop into the cache (90 MB, with Maven)
#   hdfs.sh start DIR PORT                start what of the two does not run, and wait until they know each other
#   hdfs.sh stop|kill DIR [NODE]          end both, or one (namenode or datanode), in order or by SIGKILL; nothing to do is no error
#   hdfs.sh shell DIR ARGUMENT...         Hadoop's own shell: -ls, -get, -cat, ...
#
# PORT is the NameNode's; its pages have PORT + 1, the DataNode's data, calls and pages PORT + 2 to PORT + 4. Files in DIR: conf, and for each
# node pid, log (of the last start) and its data, which are kept by stop and kill, and used again by the next start.
#
# Environment:
#   BINLAKE_CACHE         the cache directory (default ~/.cache/binlake)
#   BINLAKE_JAVA          the java to run it with, 11 or 17 (default java)
#   BINLAKE_START_LIMIT   seconds a node may take to start (default 120)
#   BINLAKE_STOP_LIMIT    seconds `stop` waits before it turns to SIGKILL (default 60)
set -euo pipefail

readonly SCRIPT=hdfs.sh
readonly NODES=(namenode datanode)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"
java=${BINLAKE_JAVA:-java}

undo_at_the_end KILL

install() {
    set_cache
    libs=$cache/hdfs-3.3.6
    ensure "$libs" fetch_jars "$libs" HDFS "$here/hdfs/pom.xml" 'libs/hadoop-client-minicluster-*.jar' process-resources -Dtarget=@
}

# ---- start -----------------------------------------------------------------------------------------

write_settings() {
    local dir=$1 port=$2 file
    # The pages themselves are in no jar; without their directories the servers do not start.
    mkdir -p -- "$dir"/conf/webapps/{hdfs,datanode,static} "$dir"/{namenode,datanode}
    for file in core-site.xml hdfs-site.xml log4j.properties; do
        sed -e "s#@DIRECTORY@#$dir#g; s#@RPC@#$port#g; s#@NAMENODE@#$((port + 1))#g; s#@DATA@#$((port + 2))#g" \
            -e "s#@IPC@#$((port + 3))#g; s#@DATANODE@#$((port + 4))#g" "$here/hdfs/$file" >"$dir/conf/$file"
    done
}

# Set the global `jvm`: with the settings of directory $1; it is known again by $2, which names it.
set_jvm() {
    jvm=("$java" "-Dbinlake.hdfs=$2" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$1/conf:$libs/libs/*")
}

# Start node $2 of directory $1 with the class $3, unless it runs, and wait for what stands behind.
start_node() {
    local dir=$1 node=$2 main=$3
    if pid_with "$dir/$node" "-Dbinlake.hdfs=$dir/$node" >/dev/null; then return 0; fi
    set_jvm "$dir" "$dir/$node"
    # A session of its own: a Ctrl-C at the terminal goes to the test, which stops its servers itself. And no file of the caller's.
    (
        close_files
        cd -- "$dir"
        exec setsid "${jvm[@]}" "$main"
    ) </dev/null >"$dir/$node/log" 2>&1 &
    starting=$!
    printf '%s\n' "$starting" >"$dir/$node/pid.new"
    mv -- "$dir/$node/pid.new" "$dir/$node/pid"
    wait_started "$dir/$node" "the $node" "${@:4}"
}

# Whether what a node says of itself on port $1, under the name $2, has the words $3 in it.
says() {
    local said
    # shellcheck disable=SC2016 # the inner shell's
    said=$(timeout 10 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" &&
        printf "GET /jmx?qry=Hadoop:service=%s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" "$2" >&3 && cat <&3' \
        _ "$1" "$2" 2>/dev/null) || return 1
    [[ $said == *"$3"* ]]
}

takes_part() { says "$1" DataNode,name=DataNodeInfo '\"ActorState\":\"RUNNING\"'; }

is_open() { says "$1" NameNode,name=NameNodeInfo '"Safemode" : ""'; }

start() {
    local dir port=$2 deadline
    if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65531)); then die "not a port: $port"; fi
    mkdir -p -- "$1"
    dir=$(realpath -- "$1")
    install
    take_dir "$dir"
    write_settings "$dir" "$port"
    if [[ ! -e $dir/namenode/name/current/VERSION ]]; then
        set_jvm "$dir" format
        "${jvm[@]}" org.apache.hadoop.hdfs.server.namenode.NameNode -format -nonInteractive \
            </dev/null >"$dir/format.log" 2>&1 || { tail -n 20 -- "$dir/format.log" >&2; die "the NameNode could not be formatted"; }
    fi
    start_node "$dir" namenode org.apache.hadoop.hdfs.server.namenode.NameNode listens "$port"
    start_node "$dir" datanode org.apache.hadoop.hdfs.server.datanode.DataNode takes_part $((port + 4))
    deadline=$((SECONDS + ${BINLAKE_START_LIMIT:-120}))
    until takes_part $((port + 4)) && is_open $((port + 1)); do
        ((SECONDS < deadline)) || die "the nodes in $dir do not come together"
        sleep 0.1
    done
}

# ---- stop and kill ---------------------------------------------------------------------------------

end() {
    local signal=$1 dir pid node
    [[ -d $2 ]] || return 0
    dir=$(realpath -- "$2")
    take_dir "$dir"
    for node in "${@:3}"; do
        pid=$(pid_with "$dir/$node" "-Dbinlake.hdfs=$dir/$node") || continue
        kill -"$signal" "$pid" 2>/dev/null || true
        wait_end "$pid" "the $node $pid in $dir"
    done
}

case ${1:-} in
install)
    (($# == 1)) || usage
    install
    ;;
start)
    (($# == 3)) || usage
    start "$2" "$3"
    ;;
stop | kill)
    (($# == 2 || $# == 3)) || usage
    [[ ${3:-namenode} =~ ^(namenode|datanode)$ ]] || usage
    signal=TERM
    [[ $1 == stop ]] || signal=KILL
    if (($# == 3)); then end "$signal" "$2" "$3"; else end "$signal" "$2" "${NODES[@]}"; fi
    ;;
shell)
    (($# >= 3)) || usage
    install
    set_jvm "$(realpath -- "$2")" shell
    "${jvm[@]}" org.apache.hadoop.fs.FsShell "${@:3}"
    ;;
*) usage ;;
esac
