#!/usr/bin/env bash
# The manifests of deploy/kubernetes, held against the schemas of Kubernetes without a cluster.
#
#   kubernetes.sh            fetch what the check needs, print the path of kubectl
#   kubernetes.sh check      build every directory with kustomize, and check every resource of Kubernetes' own, unknown fields too
#   kubernetes.sh operator   the same for those of the Prometheus operator; wants Node 18 or newer with npm
#
# kubectl is Debian's, which has kustomize in it, with the libraries it was built against, in $BINLAKE_CACHE/kubernetes/root; the schemas
# come with the Python package kubernetes-validate, the operator's types with the npm package @kubernetes-models/prometheus-operator.
#
# Environment:
#   BINLAKE_CACHE           the cache directory (default ~/.cache/binlake)
#   BINLAKE_DEBIAN_MIRROR   the Debian mirror (default: the one in this machine's apt sources)
#   BINLAKE_PYTHON          the interpreter to start from (default python3)
set -euo pipefail

readonly SCRIPT=kubernetes.sh
readonly SUITE=sid
readonly CLIENTS=(kubectl)
readonly SERVER=
readonly WRAPPED_OPTIONS=
readonly OR_OUTSIDE=
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
manifests=$here/../../deploy/kubernetes
# shellcheck source=tests/servers/process.sh
source "$here/process.sh"
# shellcheck source=tests/servers/debian.sh
source "$here/debian.sh"
# shellcheck source=tests/servers/fetch.sh
source "$here/fetch.sh"
built=
trap '[[ -z $scratch ]] || rm -rf -- "$scratch"; [[ -z $built ]] || rm -rf -- "$built"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

write_outside_wrappers() { :; }
version_of() { "$1/bin/kubectl" version --client | sed -n 's/^Kustomize Version: //p'; }
judge_version() { [[ $1 == v* ]] || die "this kubectl has no kustomize"; }

install() {
    set_cache
    mkdir -p -- "$cache/kubernetes"
    outside=
    root=$cache/kubernetes/root
    PACKAGES=(kubernetes-client)
    ensure_root
    PACKAGES=(kubernetes-validate==1.37.0)
    python_environment kubernetes/schemas 3.10 'import kubernetes_validate'
}

# Build every directory into a file of its own in `built`.
build() {
    local directory
    built=$(mktemp -d)
    for directory in "$manifests"/*/; do
        directory=$(basename -- "$directory")
        "$root/bin/kubectl" kustomize "$manifests/$directory" >"$built/$directory.yaml" || die "$directory cannot be built"
    done
}

# The types know every field, and the validators what may stand in it.
check_operator() {
    local operator=$cache/kubernetes/operator-6.0.0
    npm_packages "$operator" @kubernetes-models/prometheus-operator@6.0.0 typescript@5.9.3
    "$environment/bin/python" "$here/kubernetes/typescript.py" "$built"/*.yaml >"$built/resources.ts"
    ln -s -- "$operator/node_modules" "$built/node_modules"
    printf '{"type":"module"}\n' >"$built/package.json"
    (
        cd -- "$built" &&
            node_modules/.bin/tsc --strict --skipLibCheck --target es2022 --module nodenext --moduleResolution nodenext resources.ts &&
            node resources.js
    ) || die "that is not how the operator's resources look"
}

case ${1:-} in
'')
    install
    printf '%s\n' "$root/bin/kubectl"
    ;;
check)
    install
    build
    "$environment/bin/python" "$here/kubernetes/check.py" "$built"/*.yaml
    ;;
operator)
    install
    build
    check_operator
    ;;
*) usage ;;
esac
