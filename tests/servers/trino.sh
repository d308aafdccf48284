#!/usr/bin/env bash
# A real Trino 476 for the tests, with its Hive connector alone: on loopback, in a directory of its own, without a login.
#
#   trino.sh install                       put it into the cache (820 MB fetched by Maven, 430 MB kept); prints where
#   trino.sh jdk                           print the home of the JDK that it runs on
#   trino.sh start DIR PORT METASTORE_PORT start one on 127.0.0.1:PORT, for the metastore on that port; its catalog is `lake`
#   trino.sh run PORT FILE [OPTION…]       run the statements of FILE, print what they answer; fails with the first that fails. Options are those of
#                                          Trino's own client, e.g. --ignore-errors
#   trino.sh kill DIR                      end it; nothing to do is no error
#
# Files in DIR: pid, log (of the last start), etc, data.
#
# Environment:
#   BINLAKE_CACHE         the cache directory (default ~/.cache/binlake)
#   BINLAKE_JDK           a JDK 24 or newer (default: one in /usr/lib/jvm)
#   BINLAKE_START_LIMIT   seconds it may take to start (default 120)
set -euo pipefail

readonly SCRIPT=trino.sh
readonly VERSION=476
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"

undo_at_the_end KILL

fetch_trino() {
    command -v mvn >/dev/null || die "mvn is not there: install Maven"
    local plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1 artefact
    scratch=$(mktemp -d "$1.new.XXXXXX")
    for artefact in "io.trino:trino-server:$VERSION:tar.gz" "io.trino:trino-cli:$VERSION:jar:executable"; do
        mvn --quiet --batch-mode --no-transfer-progress "-Dmaven.repo.local=$scratch/repository" "$plugin:get" -Dtransitive=false \
            "-Dartifact=$artefact" </dev/null >"$1.log" 2>&1 || {
            tail -n 20 -- "$1.log" >&2
            die "$artefact could not be fetched"
        }
    done
    # All of it, for its jars are hard links into other connectors.
    tar -C "$scratch" -xzf "$scratch"/repository/io/trino/trino-server/$VERSION/*.tar.gz
    mkdir "$scratch/made"
    mv -- "$scratch/trino-server-$VERSION" "$scratch/made/server"
    mv -- "$scratch"/repository/io/trino/trino-cli/$VERSION/*-executable.jar "$scratch/made/trino.jar"
    find "$scratch/made/server/plugin" -mindepth 1 -maxdepth 1 ! -name hive -exec rm -rf -- {} +
    mv -T -- "$scratch/made" "$1"
    rm -rf -- "$scratch"
    scratch=
}

# Set the global `trino`, and fetch what is to be there.
install() {
    set_cache
    trino=$cache/trino-$VERSION
    ensure "$trino" fetch_trino "$trino"
}

newest_jdk() {
    local jdk
    for jdk in ${BINLAKE_JDK:-/usr/lib/jvm/*}; do
        if [[ -r $jdk/release ]] && (($(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$jdk/release") >= 24)); then
            realpath -- "$jdk"
            return
        fi
    done
    die "Trino wants a JDK 24 or newer: install one, or set BINLAKE_JDK"
}

write_settings() {
    mkdir -p -- "$1/etc/catalog" "$1/data"
    sed -e "s#@PORT@#$2#g" "$here/trino/config.properties" >"$1/etc/config.properties"
    sed -e "s#@METASTORE@#$3#g" "$here/trino/lake.properties" >"$1/etc/catalog/lake.properties"
    printf '%s\n' io.trino=WARN Bootstrap=WARN >"$1/etc/log.properties"
}

start() {
    local dir port=$2 jdk
    mkdir -p -- "$1"
    dir=$(realpath -- "$1")
    jdk=$(newest_jdk)
    install
    take_dir "$dir"
    if pid_with "$dir" "-Dbinlake.trino=$dir" >/dev/null; then die "it runs already in $dir"; fi
    if listens "$port"; then die "port $port is taken"; fi
    write_settings "$dir" "$port" "$3"
    # A session of its own: a Ctrl-C at the terminal goes to the test, which ends its servers itself. And no file of the caller's.
    (
        close_files
        cd -- "$dir"
        exec setsid "$jdk/bin/java" "-Dbinlake.trino=$dir" -Xmx1g -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -XX:ReservedCodeCacheSize=128M \
            -Djdk.attach.allowAttachSelf=true -Dfile.encoding=UTF-8 --add-modules=jdk.incubator.vector -cp "$trino/server/lib/*" \
            -Dnode.environment=tests -Dnode.id=one -Dnode.data-dir="$dir/data" -Dnode.bind-ip=127.0.0.1 -Dnode.internal-address=127.0.0.1 \
            -Dconfig="$dir/etc/config.properties" -Dlog.levels-file="$dir/etc/log.properties" -Dcatalog.config-dir="$dir/etc/catalog" \
            -Dplugin.dir="$trino/server/plugin" io.trino.server.TrinoServer
    ) </dev/null >"$dir/log" 2>&1 &
    starting=$!
    printf '%s\n' "$starting" >"$dir/pid"
    wait_started "$dir" Trino takes_queries "$port"
}

# It listens, and says that it has started, before it does.
takes_queries() { client "$1" --execute "SELECT 1" >/dev/null 2>&1; }

client() {
    local port=$1
    shift
    "$(newest_jdk)/bin/java" -Xmx256m -XX:TieredStopAtLevel=1 -jar "$trino/trino.jar" --server "http://127.0.0.1:$port" --user tests --catalog lake \
        --output-format TSV "$@" </dev/null
}

run() {
    install
    client "$1" --file "$2" "${@:3}"
}

case ${1:-} in
install)
    (($# == 1)) || usage
    install
    printf '%s\n' "$trino"
    ;;
jdk)
    (($# == 1)) || usage
    newest_jdk
    ;;
start)
    (($# == 4)) || usage
    shift
    start "$@"
    ;;
run)
    (($# >= 3)) || usage
    run "${@:2}"
    ;;
kill)
    (($# == 2)) || usage
    kill_with "$2" -Dbinlake.trino= Trino
    ;;
*) usage ;;
esac
