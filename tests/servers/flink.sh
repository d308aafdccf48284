#!/usr/bin/env bash
# Apache Flink as a consumer of Kafka topics, in a process of its own: fetches it into the cache, and runs SQL.
#
#   flink.sh install        fetch the jars from the Maven repository into the cache
#   flink.sh run PARALLEL   run the statements of the standard input, see flink/Reader.java
#
# Nothing of it listens anywhere but on loopback, and nothing stays when it ends.
#
# Environment:
#   BINLAKE_CACHE         the cache directory (default ~/.cache/binlake)
#   BINLAKE_JAVA          the java to run it with, 17 or newer (default java)
#   BINLAKE_FLINK_LIMIT   seconds that a run may take (default 240)
set -euo pipefail

readonly SCRIPT=flink.sh
readonly VERSION=2.2.1
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"

scratch=
trap '[[ -z $scratch ]] || rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

java=${BINLAKE_JAVA:-java}

# Fetch the jars into a directory aside and rename it: a directory that is there is whole.
fetch_libs() {
    local log=$home/install.log
    command -v mvn >/dev/null || die "mvn is not there: install Maven"
    command -v "$java" >/dev/null || die "$java is not there: install a JDK 17 or newer, or set BINLAKE_JAVA"
    rm -rf -- "$home"/new.*
    scratch=$(mktemp -d "$home/new.XXXXXX")
    if ! mvn --quiet --batch-mode --no-transfer-progress --file "$here/flink/pom.xml" dependency:copy-dependencies \
        -Dflink="$VERSION" -DincludeScope=runtime -DoutputDirectory="$scratch/libs" </dev/null >"$log" 2>&1; then
        tail -n 20 -- "$log" >&2
        die "the jars of Flink $VERSION could not be fetched"
    fi
    compgen -G "$scratch/libs/flink-sql-connector-kafka-*.jar" >/dev/null || die "Maven left no connector in $scratch/libs"
    mv -T -- "$scratch/libs" "$libs"
    rm -rf -- "$scratch"
    scratch=
}

install() {
    local lock
    set_cache
    home=$cache/flink-$VERSION
    libs=$home/libs
    mkdir -p -- "$home"
    [[ ! -d $libs ]] || return 0
    exec {lock}>"$home/.lock"
    flock "$lock"
    # Another run may have fetched them while this one waited.
    [[ -d $libs ]] || fetch_libs {lock}>&-
    exec {lock}>&-
}

run() {
    scratch=$(mktemp -d)
    timeout --kill-after=10 "${BINLAKE_FLINK_LIMIT:-240}" "$java" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Djava.io.tmpdir="$scratch" --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=off -cp "$libs/*" "$here/flink/Reader.java" "$1"
}

case ${1:-} in
install)
    (($# == 1)) || usage
    install
    printf '%s\n' "$libs"
    ;;
run)
    (($# == 2)) || usage
    install
    run "$2"
    ;;
*) usage ;;
esac
