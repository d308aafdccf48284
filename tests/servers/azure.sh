#!/usr/bin/env bash
# Azure's blob storage for the tests, by Microsoft's emulator (Azurite), on loopback, with containers that are gone when it stops.
#
#   azure.sh install              put it into the cache, print the path of its program
#   azure.sh start DIR PORT       start it on 127.0.0.1:PORT; it keeps all it has in DIR
#   azure.sh container DIR NAME   make an empty container in the one that was started so
#   azure.sh stop|kill DIR        end it; nothing to do is no error
#
# Wants Node 18 or newer. The account and its key are those that every emulator has.
#
# Environment:
#   BINLAKE_CACHE         the cache directory (default ~/.cache/binlake)
#   BINLAKE_START_LIMIT   seconds it may take to start (default 120)
set -euo pipefail

readonly SCRIPT=azure.sh
readonly VERSION=3.37.0
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"

set_cache
undo_at_the_end KILL

install() {
    npm_packages "$cache/azurite-$VERSION" "azurite@$VERSION"
    program=$cache/azurite-$VERSION/node_modules/azurite/dist/src/blob/main.js
    [[ -r $program ]] || die "the package azurite has no $program"
}

start() {
    local dir port=$2
    mkdir -p -- "$1"
    dir=$(realpath -- "$1")
    take_dir "$dir"
    if pid_with "$dir" "$dir" >/dev/null; then return 0; fi
    if listens "$port"; then die "somebody listens on port $port already"; fi
    (
        close_files
        exec setsid node "$program" --blobHost 127.0.0.1 --blobPort "$port" --disableTelemetry --skipApiVersionCheck \
            --silent --location "$dir" </dev/null >"$dir/log" 2>&1
    ) &
    starting=$!
    printf '%s\n' "$starting" >"$dir/pid"
    printf '%s\n' "$port" >"$dir/port"
    wait_listening "$dir" "$port" "the emulator"
}

# One call, signed with the account's key.
container() {
    node --input-type=commonjs --eval '
        const [port, name] = process.argv.slice(1)
        const account = "devstoreaccount1"
        const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        const said = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2021-12-02" }
        const lines = Object.entries(said).map(([header, value]) => `${header}:${value}\n`).join("")
        const signed = "PUT" + "\n".repeat(12) + lines + `/${account}/${account}/${name}\nrestype:container`
        const signature = require("crypto").createHmac("sha256", Buffer.from(key, "base64")).update(signed).digest("base64")
        const headers = { ...said, Authorization: `SharedKey ${account}:${signature}`, "Content-Length": 0 }
        const path = `/${account}/${name}?restype=container`
        const request = require("http").request({ host: "127.0.0.1", port, path, method: "PUT", headers }, (answer) => {
            if (answer.statusCode !== 201) throw new Error(`${answer.statusCode} ${answer.statusMessage}`)
            answer.resume()
        })
        request.end()' -- "$(<"$1/port")" "$2"
}

case ${1:-} in
install)
    (($# == 1)) || usage
    install
    printf '%s\n' "$program"
    ;;
start)
    (($# == 3)) || usage
    install
    start "$2" "$3"
    ;;
container)
    (($# == 3)) || usage
    container "$2" "$3"
    ;;
stop | kill)
    (($# == 2)) || usage
    kill_with "$2" "" "the emulator"
    ;;
*) usage ;;
esac
