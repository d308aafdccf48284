#!/usr/bin/env bash
# Real Hive Metastores with a Derby of their own, for the tests and the demo: on loopback, in directories of their own.
#
#   metastore.sh install [VERSION]        put a version into the cache (default: 2.3.10 and 4.1.0, and Spark's client for 4.x)
#   metastore.sh start DIR VERSION PORT   start one (2.3.10, 3.1.3 or 4.1.0) on 127.0.0.1:PORT
#   metastore.sh stop DIR                 end it in order; nothing to do is no error
#   metastore.sh kill DIR                 end it the hard way (SIGKILL), as a crash would
#   metastore.sh client                   print the directory of the jars by which Spark talks to a 4.x server
#
# 2.3.10 comes out of Spark's jars (spark.sh), the others are fetched with Maven (180 MB for 4.1.0). Files in DIR: pid, log (of the last
# start), metastore_db, warehouse. Data are kept by stop and kill, and used again by the next start.
#
# Environment:
#   BINLAKE_CACHE         the cache directory (default ~/.cache/binlake)
#   BINLAKE_JAVA          the java to run it with: that of a JDK, 17 or newer (default java)
#   BINLAKE_START_LIMIT   seconds it may take to start (default 120)
#   BINLAKE_STOP_LIMIT    seconds `stop` waits before it turns to SIGKILL (default 60)
set -euo pipefail

readonly SCRIPT=metastore.sh
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"
java=${BINLAKE_JAVA:-java}

undo_at_the_end KILL

# ---- install ---------------------------------------------------------------------------------------

# Fetch the jars of $2 (a file in metastore/) into $1.
fetch() {
    fetch_jars "$1" "the metastore ($2)" "$here/metastore/$2" 'libs/*.jar' process-resources -Dtarget=@
}

# Install a version; the jars' directories go into the global `libs`, separated by colons.
install() {
    local python
    case $1 in
    2.3.10)
        python=$("$here/spark.sh")
        libs=$(echo "${python%/bin/python}"/lib/python3.*/site-packages/pyspark/jars)
        [[ -d $libs ]] || die "Spark has no jars in $libs"
        libs="$libs/*"
        ;;
    3.1.3)
        ensure "$cache/metastore-3.1.3" fetch "$cache/metastore-3.1.3" 3.1.3.xml
        home=$(echo "$cache"/metastore-3.1.3/unpacked/apache-hive-metastore-*-bin)
        libs="$home/lib/*:$cache/metastore-3.1.3/libs/*"
        ;;
    4.1.0)
        ensure "$cache/metastore-4.1.0" fetch "$cache/metastore-4.1.0" 4.1.0.xml
        libs="$cache/metastore-4.1.0/libs/*"
        ;;
    client)
        ensure "$cache/metastore-client" fetch "$cache/metastore-client" client.xml
        libs=$cache/metastore-client/libs
        ;;
    *) die "no such version: $1" ;;
    esac
}

# ---- start -----------------------------------------------------------------------------------------

# Write the settings of version $2 in directory $1.
write_settings() {
    local dir=$1 auto=true proxy=org.apache.hadoop.hive.ql.optimizer.ppr.PartitionExpressionForMetastore
    if [[ $2 == 3.1.3 ]]; then
        # What stands for it needs hive-exec, which is not there.
        auto=false
        proxy=org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy
    fi
    sed -e "s#@DIRECTORY@#$dir#g; s#@AUTO@#$auto#g; s#@PROXY@#$proxy#g" "$here/metastore/metastore-site.xml" >"$dir/conf/metastore-site.xml"
    # Older ones read another file, and know older names.
    sed -e 's#<name>metastore\.#<name>hive.metastore.#' "$dir/conf/metastore-site.xml" >"$dir/conf/hive-site.xml"
    cp -- "$here/metastore/log4j2.properties" "$dir/conf/metastore-log4j2.properties"
    cp -- "$here/metastore/log4j2.properties" "$dir/conf/log4j2.properties"
}

# The options of the server in directory $1, one a line. The first names it: by that it is known again.
jvm_options() {
    local package
    printf '%s\n' "-Dbinlake.metastore=$1" -Xmx512m -Xss1m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    for package in lang lang.reflect io net nio util util.concurrent util.concurrent.atomic text time math; do
        printf '%s\n' "--add-opens=java.base/java.$package=ALL-UNNAMED"
    done
    printf '%s\n' --add-opens=java.sql/java.sql=ALL-UNNAMED "-Dderby.stream.error.file=$1/derby.log" \
        -Dderby.system.durability=test -Dhive.async.log.enabled=false
}

# The pid of the server of directory $1, if it runs.
running_pid() { pid_with "$1" "-Dbinlake.metastore=$1"; }

start() {
    local dir version=$2 port=$3 options main
    if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then die "not a port: $port"; fi
    mkdir -p -- "$1/conf" "$1/warehouse" "$1/external"
    dir=$(realpath -- "$1")
    set_cache
    install "$version"
    take_dir "$dir"
    if running_pid "$dir" >/dev/null; then die "it runs already in $dir"; fi
    if listens "$port"; then die "port $port is taken"; fi
    write_settings "$dir" "$version"
    mapfile -t options < <(jvm_options "$dir")
    options+=(-cp "$dir/conf:$libs")
    if [[ $version == 3.1.3 && ! -e $dir/metastore_db ]]; then
        METASTORE_HOME=$home "$java" "${options[@]}" org.apache.hadoop.hive.metastore.tools.MetastoreSchemaTool -dbType derby \
            -initSchema </dev/null >"$dir/schema.log" 2>&1 || { tail -n 20 -- "$dir/schema.log" >&2; die "no schema"; }
    fi
    case $version in
    # Their own main() binds to every interface, and has no setting for it.
    2.3.10) main=("$here/metastore/Metastore2.java" "$port") ;;
    3.1.3) main=("$here/metastore/Metastore3.java" "$port") ;;
    *) main=(org.apache.hadoop.hive.metastore.HiveMetaStore -p "$port") ;;
    esac
    # A session of its own: a Ctrl-C at the terminal goes to the test, which stops its servers itself. And no file of the caller's.
    (
        close_files
        cd -- "$dir"
        export TZ=UTC
        exec setsid "$java" "${options[@]}" "${main[@]}"
    ) </dev/null >"$dir/log" 2>&1 &
    starting=$!
    printf '%s\n' "$starting" >"$dir/pid.new"
    mv -- "$dir/pid.new" "$dir/pid"
    wait_listening "$dir" "$port" "the metastore"
}

# ---- stop and kill ---------------------------------------------------------------------------------

end() {
    local dir pid signal=TERM
    [[ -d $1 ]] || return 0
    dir=$(realpath -- "$1")
    take_dir "$dir"
    pid=$(running_pid "$dir") || return 0
    [[ $2 == stop ]] || signal=KILL
    kill -"$signal" "$pid" 2>/dev/null || true
    wait_end "$pid" "the metastore $pid in $dir"
}

case ${1:-} in
install)
    (($# <= 2)) || usage
    set_cache
    for version in ${2:-2.3.10 4.1.0 client}; do install "$version"; done
    ;;
client)
    (($# == 1)) || usage
    set_cache
    install client
    printf '%s\n' "$libs"
    ;;
start)
    (($# == 4)) || usage
    shift
    start "$@"
    ;;
stop | kill)
    (($# == 2)) || usage
    end "$2" "$1"
    ;;
*) usage ;;
esac
