# What the scripts fetch into the cache, each once and whole: jars by Maven, environments of Python, and packages of npm.
#
# Sourced behind process.sh; `scratch` is the caller's, whose exit trap removes it.
# shellcheck shell=bash disable=SC2154 # set by who sources it

# Run a function that makes $1 unless it is there, and never twice at a time.
ensure() {
    local made=$1 lock
    shift
    [[ ! -e $made ]] || return 0
    exec {lock}>"$made.lock"
    flock "$lock"
    # Another run may have made it while this one waited. Nothing of ours that stays behind may hold the lock.
    [[ -e $made ]] || "$@" {lock}>&-
    exec {lock}>&-
}

# Let Maven do what stands behind the first four arguments, with `@` for a directory aside, and rename that to $1: a directory that is there
# is whole. $2 names it for people, $3 is the pom, and $4 a pattern of what must be in it then.
fetch_jars() {
    local target=$1 what=$2 pom=$3 expected=$4
    shift 4
    command -v mvn >/dev/null || die "mvn is not there: install Maven"
    rm -rf -- "$target".new.*
    scratch=$(mktemp -d "$target.new.XXXXXX")
    if ! mvn --quiet --batch-mode --no-transfer-progress --file "$pom" "${@//@/$scratch}" </dev/null >"$target.log" 2>&1; then
        tail -n 20 -- "$target.log" >&2
        die "the jars of $what could not be fetched"
    fi
    compgen -G "$scratch/$expected" >/dev/null || die "Maven left no $expected in $scratch"
    mv -T -- "$scratch" "$target"
    scratch=
}

# Make the virtual environment $cache/$1 of the packages PACKAGES, unless it is there; $2 is the oldest Python that will do, $3 what has to
# run in it, and the rest are pip's options. A stamp, written last, says that it is whole and what is in it: an environment without
# the stamp, or with another one, is made anew. Sets the global `environment`.
python_environment() {
    local lock
    environment=$cache/$1
    environment_is_whole && return 0
    exec {lock}>"$environment.lock"
    flock "$lock"
    # As in `ensure`.
    environment_is_whole || make_environment "${@:2}" {lock}>&-
    exec {lock}>&-
}

environment_is_whole() {
    [[ -x $environment/bin/python && -r $environment/.whole && $(<"$environment/.whole") == "${PACKAGES[*]}" ]]
}

make_environment() {
    local oldest=$1 check=$2 log=$environment.log base=${BINLAKE_PYTHON:-python3}
    command -v "$base" >/dev/null || die "$base is not there: install Python $oldest or newer, or set BINLAKE_PYTHON"
    rm -rf -- "$environment"
    if ! "$base" -m venv "$environment" >"$log" 2>&1 ||
        ! "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --retries 3 --timeout 60 "${@:3}" "${PACKAGES[@]}" >>"$log" 2>&1 ||
        ! "$environment/bin/python" -c "$check" >>"$log" 2>&1; then
        tail -n 20 -- "$log" >&2
        die "the environment in $environment could not be made (Debian wants the package python3-venv)"
    fi
    printf '%s' "${PACKAGES[*]}" >"$environment/.whole"
}

# Make the directory $1 with the npm packages behind it in its node_modules, unless it is there; the versions belong into its name.
npm_packages() {
    ensure "$1" fetch_npm_packages "$@"
}

fetch_npm_packages() {
    local target=$1
    shift
    command -v npm >/dev/null || die "npm is not there: install Node 18 or newer"
    rm -rf -- "$target".new.*
    scratch=$(mktemp -d "$target.new.XXXXXX")
    printf '{"type":"module","private":true}\n' >"$scratch/package.json"
    if ! (cd -- "$scratch" && npm install --no-audit --no-fund --silent "$@") </dev/null >"$target.log" 2>&1; then
        tail -n 20 -- "$target.log" >&2
        die "the packages $* could not be fetched"
    fi
    mv -T -- "$scratch" "$target"
    scratch=
}
