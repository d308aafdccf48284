#!/usr/bin/env bash
# The dashboards of deploy/grafana, held against Grafana's own types: it would pass over in silence what it does not know.
#
#   grafana.sh check     wants Node 18 or newer with npm
#
# The types come with the npm package @grafana/schema, of the version that docker-compose.yml has.
#
# Environment:
#   BINLAKE_CACHE    the cache directory (default ~/.cache/binlake)
set -euo pipefail

readonly SCRIPT=grafana.sh
readonly VERSION=13.2.3
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"
[[ ${1:-} == check && $# == 1 ]] || usage
scratch=
work=$(mktemp -d)
trap 'rm -rf -- "$work"; [[ -z $scratch ]] || rm -rf -- "$scratch"' EXIT

grep -qF "image: grafana/grafana:$VERSION" "$here/../../docker-compose.yml" || die "docker-compose.yml has another Grafana than $VERSION"
set_cache
npm_packages "$cache/grafana-$VERSION" "@grafana/schema@$VERSION" typescript@5.9.3
ln -s -- "$cache/grafana-$VERSION/node_modules" "$work/node_modules"
for file in "$here"/../../deploy/grafana/dashboards/*.json; do
    {
        printf 'import { Dashboard, ThresholdsMode } from "@grafana/schema";\nexport const dashboard: Dashboard = '
        # The one enumeration, for which a text does not do.
        sed 's/"mode": "absolute"/"mode": ThresholdsMode.Absolute/' "$file"
    } >"$work/dashboard.ts"
    (cd -- "$work" && node_modules/.bin/tsc --noEmit --strict --skipLibCheck --target es2022 --module esnext --moduleResolution bundler \
        dashboard.ts) || die "that is not how a dashboard looks: $file"
    echo "$(basename -- "$file") is as Grafana $VERSION has them"
done
