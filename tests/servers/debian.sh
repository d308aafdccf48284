# A private root made of Debian packages: programs with the C library and the libraries they were built against, in a directory of their
# own. The system's packages are left alone.
#
# Sourced after process.sh, with these set before: SUITE (of Debian), PACKAGES, CLIENTS (programs of usr/bin that get a wrapper in
# <root>/bin), SERVER (one of usr/sbin, with WRAPPED_OPTIONS: shell text for every call of it, in which $root is the private root; empty
# where there is none), OR_OUTSIDE (the end of a sentence about what is missing), and when it is called `root`, and `outside`: nothing, or
# what somebody else has installed. `scratch` is a directory half made: whoever sources this removes it at the end. And these functions:
#   write_outside_wrappers ROOT   write the executables of a root that stands for what somebody else has installed
#   version_of ROOT               print the version number
#   judge_version VERSION         complain of a version that is not the one wanted
# shellcheck shell=bash disable=SC2154 # set by who sources it

scratch=

# The Debian mirror of this machine, as apt itself reads its sources.
debian_mirror() {
    if [[ -n ${BINLAKE_DEBIAN_MIRROR:-} ]]; then
        printf '%s\n' "$BINLAKE_DEBIAN_MIRROR"
        return
    fi
    # shellcheck disable=SC2016 # apt-get fills $(REPO_URI) in, not the shell
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
        awk '/\/debian(\.list)?\/*$/ && !found { print; found = 1 }'
}

# Write the configuration of a private apt in directory $1, whose only source is SUITE.
write_apt_config() {
    local dir=$1 mirror keyring signed=
    mirror=$(debian_mirror)
    [[ -n $mirror ]] ||
        die "no Debian mirror in this machine's apt sources: set BINLAKE_DEBIAN_MIRROR$OR_OUTSIDE"
    for keyring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
        if [[ -r $keyring ]]; then
            signed="[signed-by=$keyring] "
            break
        fi
    done
    mkdir -p "$dir"/{lists/partial,cache/archives/partial,state}
    # An empty list of installed packages: every library comes along, the C library too.
    : >"$dir/state/status"
    printf 'deb %s%s %s main\n' "$signed" "$mirror" "$SUITE" >"$dir/sources.list"
    # Read after the machine's own settings, so a proxy set there stays.
    cat >"$dir/apt.conf" <<CONF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages {
    MetaKey "\$(COMPONENT)/binary-\$(ARCHITECTURE)/Packages";
    flatMetaKey "Packages";
    ShortDescription "Packages";
    Description "\$(RELEASE)/\$(COMPONENT) \$(ARCHITECTURE) Packages";
    flatDescription "\$(RELEASE) Packages";
    Optional "no";
};
Acquire::Languages "none";
Acquire::Retries "3";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Default-Release "";
APT::Sandbox::User "root";
APT::Get::List-Cleanup "false";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$dir/state";
Dir::State::lists "$dir/lists";
Dir::State::status "$dir/state/status";
Dir::Cache "$dir/cache";
Dir::Cache::archives "$dir/cache/archives";
CONF
}

# Download the packages and all they depend on into $1/cache/archives.
download_packages() {
    local dir=$1 try
    for try in 1 2 3; do
        # The suite moves: a package can be replaced between the two steps, so both are tried again.
        if apt-get -c "$dir/apt.conf" -q -o APT::Update::Error-Mode=any update &&
            apt-get -c "$dir/apt.conf" -q -y --download-only install "${PACKAGES[@]}"; then
            return 0
        fi
        printf 'attempt %s failed\n' "$try"
        sleep "$try"
    done >"$dir/apt.log" 2>&1
    tail -n 25 -- "$dir/apt.log" >&2
    die "the packages ${PACKAGES[*]} could not be downloaded"
}

# Write the executables of the private root $1. They find the root by their own place.
write_wrappers() {
    local into=$1 name
    mkdir -p -- "$into/bin"
    for name in ${SERVER:+"$SERVER"} "${CLIENTS[@]}"; do
        local program=usr/bin/$name options='' skip=''
        if [[ $name == "$SERVER" ]]; then
            program=usr/sbin/$name
            # The server takes it once, in the first place.
            # shellcheck disable=SC2016
            skip='if [ "${1:-}" = --no-defaults ]; then shift; fi
'
            options=" --no-defaults $WRAPPED_OPTIONS"
        fi
        [[ -x $into/$program ]] || die "the packages hold no $program"
        cat >"$into/bin/$name" <<WRAPPER
#!/bin/sh
# $name with the C library and the libraries it came with.
${skip}self=\$(readlink -f -- "\$0")
root=\${self%/bin/*}
for loader in "\$root"/usr/lib64/ld-linux-*.so.* "\$root"/usr/lib/ld-linux-*.so.* "\$root"/lib64/ld-linux-*.so.* \
    "\$root"/lib/ld-linux-*.so.*; do
    [ -x "\$loader" ] && break
done
libraries=
for directory in "\$root"/usr/lib/*-linux-gnu* "\$root"/lib/*-linux-gnu*; do
    [ ! -d "\$directory" ] || libraries=\$libraries\${libraries:+:}\$directory
done
exec "\$loader" --argv0 "\$root/$program" --library-path "\$libraries" "\$root/$program"$options "\$@"
WRAPPER
        chmod 755 "$into/bin/$name"
    done
}

# Build the root in a directory aside and rename it: a root that is there is whole.
build_root() {
    local version package
    rm -rf -- "$root".new.*
    scratch=$(mktemp -d "$root.new.XXXXXX")
    chmod 755 "$scratch"
    if [[ -n $outside ]]; then
        write_outside_wrappers "$scratch"
    else
        if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
            die "apt-get and dpkg are needed$OR_OUTSIDE"
        fi
        write_apt_config "$scratch/apt"
        download_packages "$scratch/apt"
        for package in "$scratch"/apt/cache/archives/*.deb; do
            dpkg -x "$package" "$scratch"
        done
        rm -rf -- "$scratch/apt" "$scratch"/usr/share/{doc,man,locale,perl,lintian,bash-completion}
        write_wrappers "$scratch"
    fi
    version=$(version_of "$scratch")
    judge_version "$version"
    # A server of someone else's may be upgraded under the same path: its version is asked for each time.
    [[ -n $outside ]] || printf '%s\n' "$version" >"$scratch/VERSION"
    mv -T -- "$scratch" "$root"
    scratch=
}

ensure_root() {
    [[ ! -d $root ]] || return 0
    local lock
    exec {lock}>"$root.lock"
    flock "$lock"
    # Another run may have built it while this one waited.
    [[ -d $root ]] || build_root
    exec {lock}>&-
}
