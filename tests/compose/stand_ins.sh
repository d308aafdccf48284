#!/usr/bin/env bash
# Makes the images that docker-compose.yml names, where the official ones cannot be pulled: under the same names, out of Debian and of the
# servers that the other tests use. Where it can be, a stand-in is the same software in the same version; each fails on what the official
# image does not document.
#
#   stand_ins.sh          in the engine of DOCKER_HOST; what is made already is left as it is, by the engine's own cache of layers
#
#   debian:12-slim      debootstrap's smallest
#   mysql               Debian's MySQL of the same series
#   apache/kafka        the same, out of its jars
#   versity/versitygw   the same, built by Go
#   apache/hive         the metastore of the same version, with Hadoop's S3 client
#   trinodb/trino       the same, with its Hive connector only
#   prom/prometheus     Debian's, which is older
#   grafana/grafana     a program that reads what is provisioned: grafana.py
#
# Environment: BINLAKE_CACHE as everywhere, BINLAKE_JDK: a JDK 24 or newer for Trino (default: one in /usr/lib/jvm).
set -euo pipefail

readonly SCRIPT=stand_ins.sh
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
servers=$here/../servers
files=$here/stand_ins
# shellcheck source=tests/servers/process.sh
source "$servers/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$servers/fetch.sh"
# For the mirror of this machine only.
# shellcheck source=tests/servers/debian.sh
source "$servers/debian.sh"
set_cache
home=$cache/docker
mkdir -p -- "$home"
scratch=
context=
trap '[[ -z $scratch ]] || rm -rf -- "$scratch"; [[ -z $context ]] || rm -rf -- "$context"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
[[ -n ${DOCKER_HOST:-} ]] || die "DOCKER_HOST is not set: this is for the engine of tests/servers/docker.sh"
docker=$("$servers/docker.sh" client)
export DOCKER_BUILDKIT=1

# Build image $1 by the Dockerfile of $2 with the files behind; `NAME=PATH` is a file or directory that is called NAME there.
build() {
    local image=$1 name=$2 file
    shift 2
    context=$(mktemp -d "$home/context.XXXXXX")
    for file in "$@"; do
        # Links where that can be: some are hundreds of megabytes.
        cp -al -- "${file#*=}" "$context/${file%%=*}" 2>/dev/null || cp -a -- "${file#*=}" "$context/${file%%=*}"
    done
    say "$image"
    if ! "$docker" build --quiet --tag "$image" --file "$files/$name.Dockerfile" "$context" >"$home/build.log" 2>&1; then
        tail -n 30 -- "$home/build.log" >&2
        die "the stand-in for $image could not be built"
    fi
    rm -rf -- "$context"
    context=
}

# ---- what goes into them -----------------------------------------------------------------------------------------------------

make_debian() {
    scratch=$(mktemp -d "$home/debian.XXXXXX")
    debootstrap --variant=minbase bookworm "$scratch/root" "$(debian_mirror)" >"$home/debootstrap.log" 2>&1 || {
        tail -n 20 -- "$home/debootstrap.log" >&2
        die "debootstrap failed"
    }
    rm -rf -- "$scratch"/root/var/cache/apt/archives/*.deb "$scratch"/root/usr/share/{doc,man,locale}
    # As in the official image: apt keeps nothing of what it installs.
    printf '%s\n' 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";' 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };' \
        >"$scratch/root/etc/apt/apt.conf.d/docker-clean"
    tar -C "$scratch/root" -c . | "$docker" import - debian:12-slim >/dev/null
    rm -rf -- "$scratch"
    scratch=
}

make_versitygw() {
    command -v go >/dev/null || die "go is not there: install Go 1.25 or newer"
    scratch=$(mktemp -d "$home/go.XXXXXX")
    if ! (
        cd -- "$scratch"
        export GOFLAGS=-mod=mod CGO_ENABLED=0
        go mod init stand-in
        go get github.com/versity/versitygw/cmd/versitygw@v1.8.0
        go build -trimpath -ldflags '-s -w' -o versitygw github.com/versity/versitygw/cmd/versitygw
    ) >"$home/go.log" 2>&1; then
        tail -n 20 -- "$home/go.log" >&2
        die "versitygw could not be built"
    fi
    mv -- "$scratch/versitygw" "$1"
    rm -rf -- "$scratch"
    scratch=
}

# The names of all settings of the broker.
make_settings() {
    java -cp "$("$servers/kafka.sh" install)/*" "$files/Settings.java" >"$1.new"
    mv -- "$1.new" "$1"
}

fetch_s3a() {
    fetch_jars "$1" "Hadoop's S3 client" "$files/s3a.xml" 'hadoop-aws-*.jar' dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=@
}

# ---- the images --------------------------------------------------------------------------------------------------------------

jdk=$("$servers/trino.sh" jdk)
trino=$("$servers/trino.sh" install)
"$docker" image inspect debian:12-slim >/dev/null 2>&1 || make_debian
build binlake-stand-in base known.sh="$files/known.sh"
build mysql:9.7 mysql root="$("$servers/mysql.sh" install)" mysql.sh="$files/mysql.sh"
ensure "$home/settings-4.3.1.txt" make_settings "$home/settings-4.3.1.txt"
build apache/kafka:4.3.1 kafka libs="$("$servers/kafka.sh" install)" settings.txt="$home/settings-4.3.1.txt" kafka.sh="$files/kafka.sh"
ensure "$home/versitygw-1.8.0" make_versitygw "$home/versitygw-1.8.0"
build versity/versitygw:v1.8.0 versitygw versitygw="$home/versitygw-1.8.0" versitygw.sh="$files/versitygw.sh"
"$servers/metastore.sh" install 4.1.0
ensure "$home/s3a-3.4.3" fetch_s3a "$home/s3a-3.4.3"
build apache/hive:4.1.0 hive libs="$cache/metastore-4.1.0/libs" s3a="$home/s3a-3.4.3" hive-site.xml="$files/hive-site.xml" \
    metastore-log4j2.properties="$servers/metastore/log4j2.properties" hive.sh="$files/hive.sh"
build trinodb/trino:476 trino jdk="$jdk" server="$trino/server" trino.jar="$trino/trino.jar" etc="$files/trino_etc" \
    trino.sh="$files/trino.sh"
build prom/prometheus:v3.13.3 prometheus prometheus="$("$servers/promtool.sh" prometheus)" prometheus.sh="$files/prometheus.sh"
build grafana/grafana:13.2.3 grafana grafana.py="$files/grafana.py"
# What they were before.
"$docker" image prune --force >/dev/null
