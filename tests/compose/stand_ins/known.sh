# How a stand-in looks at what it was given. Sourced by the entry points.
# shellcheck shell=bash

fail() {
    printf 'stand-in: %s\n' "$*" >&2
    exit 64
}

# Fail on every variable of the environment that is neither one of these patterns nor one that every container has: the official image
# would pass it over in silence.
only_known() {
    local name pattern
    while read -r name; do
        for pattern in PATH HOME HOSTNAME PWD OLDPWD SHLVL TERM _ 'LC_*' LANG "$@"; do
            # shellcheck disable=SC2053 # a pattern is what it is to be
            [[ $name != $pattern ]] || continue 2
        done
        fail "the official image does not document the variable $name"
    done < <(compgen -e)
}
