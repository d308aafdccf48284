#!/usr/bin/env bash
# A real HiveServer2 4.0.1 for the tests, with Tez in local mode: on loopback, in a directory of its own, without a login.
#
#   hive.sh install                       put it into the cache (280 MB, by Maven)
#   hive.sh start DIR PORT METASTORE_PORT start one on 127.0.0.1:PORT, for the metastore (4.x) on that port
#   hive.sh run PORT FILE                 run the statements of FILE, print what they answer; fails with the first that fails
#   hive.sh kill DIR                      end it; nothing to do is no error
#
# The zone of its JVM is UTC: Hive shows timestamps in it. Files in DIR: pid, log (of the last start), conf, tmp.
#
# Environment:
#   BINLAKE_CACHE         the cache directory (default ~/.cache/binlake)
#   BINLAKE_JAVA          the java to run it with: 17 or newer (default java)
#   BINLAKE_START_LIMIT   seconds it may take to start (default 120)
set -euo pipefail

readonly SCRIPT=hive.sh
readonly VERSION=4.0.1
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"
java=${BINLAKE_JAVA:-java}

undo_at_the_end KILL

fetch_libs() {
    fetch_jars "$libs" "Hive $VERSION" "$here/hive/pom.xml" 'hive-service-*.jar' dependency:copy-dependencies -Dhive="$VERSION" \
        -DincludeScope=runtime -DoutputDirectory=@
}

# Set the global `libs`, and fetch what is to be there.
install() {
    set_cache
    libs=$cache/hive-$VERSION
    ensure "$libs" fetch_libs
}

# The options of a JVM with Hive in it, one a line.
jvm_options() {
    local package
    printf '%s\n' -Xmx1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Duser.timezone=UTC
    for package in lang lang.ref lang.reflect lang.invoke io net nio util util.concurrent util.concurrent.atomic util.regex text time math; do
        printf '%s\n' "--add-opens=java.base/java.$package=ALL-UNNAMED"
    done
    printf '%s\n' --add-opens=java.sql/java.sql=ALL-UNNAMED --add-exports=java.base/sun.nio.ch=ALL-UNNAMED
}

write_settings() {
    local file
    # Each part of it reads a file of its own name.
    for file in hive-site core-site tez-site mapred-site; do
        sed -e "s#@DIRECTORY@#$1#g; s#@PORT@#$2#g; s#@METASTORE@#$3#g" "$here/hive/hive-site.xml" >"$1/conf/$file.xml"
    done
    cp -- "$here/metastore/log4j2.properties" "$1/conf/hive-log4j2.properties"
    cp -- "$here/metastore/log4j2.properties" "$1/conf/log4j2.properties"
}

start() {
    local dir port=$2 options
    mkdir -p -- "$1/conf" "$1/tmp"
    dir=$(realpath -- "$1")
    install
    take_dir "$dir"
    if pid_with "$dir" "-Dbinlake.hive=$dir" >/dev/null; then die "it runs already in $dir"; fi
    if listens "$port"; then die "port $port is taken"; fi
    write_settings "$dir" "$port" "$3"
    mapfile -t options < <(jvm_options)
    # A session of its own: a Ctrl-C at the terminal goes to the test, which ends its servers itself. And no file of the caller's.
    (
        close_files
        cd -- "$dir"
        export TZ=UTC
        exec setsid "$java" "-Dbinlake.hive=$dir" "${options[@]}" -Dproc_hiveserver2 -cp "$dir/conf:$libs/*" \
            org.apache.hive.service.server.HiveServer2
    ) </dev/null >"$dir/log" 2>&1 &
    starting=$!
    printf '%s\n' "$starting" >"$dir/pid"
    wait_listening "$dir" "$port" Hive
}

run() {
    local python jars
    # Its own client is in no public repository; the one in Spark's jars talks to it.
    python=$("$here/spark.sh")
    jars=$(echo "${python%/bin/python}"/lib/python3.*/site-packages/pyspark/jars)
    TZ=UTC "$java" -Xmx256m -XX:TieredStopAtLevel=1 -cp "$jars/*" org.apache.hive.beeline.BeeLine --silent=true --showHeader=false --outputformat=tsv2 \
        -n tests -u "jdbc:hive2://127.0.0.1:$1/default;auth=noSasl" -f "$2" </dev/null
}

case ${1:-} in
install)
    (($# == 1)) || usage
    install
    ;;
start)
    (($# == 4)) || usage
    shift
    start "$@"
    ;;
run)
    (($# == 3)) || usage
    run "$2" "$3"
    ;;
kill)
    (($# == 2)) || usage
    kill_with "$2" -Dbinlake.hive= Hive
    ;;
*) usage ;;
esac
