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
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"

scratch=
trap '[[ -z $scratch ]] || rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

java=${BINLAKE_JAVA:-java}

fetch_libs() {
    command -v "$java" >/dev/null || die "$java is not there: install a JDK 17 or newer, or set BINLAKE_JAVA"
    fetch_jars "$libs" "Flink $VERSION" "$here/flink/pom.xml" 'flink-sql-connector-kafka-*.jar' dependency:copy-dependencies \
        -Dflink="$VERSION" -DincludeScope=runtime -DoutputDirectory=@
}

install() {
    set_cache
    libs=$cache/flink-$VERSION/libs
    mkdir -p -- "${libs%/libs}"
    ensure "$libs" fetch_libs
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
