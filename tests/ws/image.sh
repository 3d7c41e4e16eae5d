#!/usr/bin/env bash
# Builds the Debian 11 that the Autobahn test suite runs in, once, and prints its directory.
#
# The suite needs Python 2.7, which Debian 12 no longer has. Kept outside the tree under a name made from everything that goes
# into it, so that a change here or in a list beside makes a new one; progress goes to stderr.
#
#   PORTALD_WS_CACHE    where it is kept            default ~/.cache/portald
#   PORTALD_WS_MIRROR   another mirror              default http://deb.debian.org/debian
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PORTALD_WS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portald}
mirror=${PORTALD_WS_MIRROR:-http://deb.debian.org/debian}
suite=bullseye
# What runs the suite, and what builds those of its parts that come as source; python-pip-whl has a pip to get pip with.
packages=ca-certificates,python2.7,python2.7-dev,python-pip-whl,gcc,libc6-dev

main() {
    [[ $EUID -eq 0 ]] || die "building the suite's Debian needs root (debootstrap makes device nodes and changes roots)" "run it with sudo"
    [[ $(dpkg --print-architecture) == amd64 ]] || die "its packages are for amd64; this host is $(dpkg --print-architecture)" "run it on an amd64 host"
    command -v debootstrap >/dev/null || die "debootstrap is missing" "apt-get install debootstrap"
    local key image build
    key=$({ cat "${BASH_SOURCE[0]}" "$here"/{installer,requirements}.txt; echo "$mirror"; } | sha256sum | cut -c1-16)
    image=$cache/autobahn-$key
    mkdir -p "$cache"
    # Two tests at once must not build it twice; the lock goes with the process, however that ends.
    exec 9>"$cache/autobahn.lock"
    flock 9
    if [[ ! -d $image ]]; then
        # Never older than this script's run: the lock is ours, so whatever lies here was left by a run that was killed.
        rm -rf --one-file-system "$cache"/autobahn-building.*
        build=$(mktemp -d "$cache/autobahn-building.XXXXXX")
        trap "rm -rf --one-file-system '$build'" EXIT
        trap 'exit 130' INT TERM HUP
        build_root "$build"
        # The older ones have served; then the last step, and one that happens wholly or not at all.
        find "$cache" -mindepth 1 -maxdepth 1 -type d -name 'autobahn-[0-9a-f]*' ! -name 'autobahn-building.*' -exec rm -rf --one-file-system {} +
        mv "$build/root" "$image"
    fi
    echo "$image"
}

build_root() {
    local build=$1 root=$1/root
    say "building it (a minute or two, once): 1/2 Debian $suite from $mirror"
    isolated debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >"$build/debootstrap.log" 2>&1 ||
        { tail -20 "$build/debootstrap.log" >&2; die "debootstrap failed" "see the lines above; a release that has left the mirrors is at http://archive.debian.org/debian (PORTALD_WS_MIRROR)"; }
    say "2/2 the suite"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    # Whatever authorities this host reaches the package index by.
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    cp "$here"/{installer,requirements}.txt "$root/root/"
    isolated --root="$root" env HOME=/root PIP_DISABLE_PIP_VERSION_CHECK=1 bash -euc '
        pip=$(ls /usr/share/python-wheels/pip-*.whl)/pip
        # Each file is the one whose hash is written down, and builds with what is installed.
        python2.7 "$pip" install --no-cache-dir --no-deps --require-hashes -r /root/installer.txt
        python2.7 -m pip install --no-cache-dir --no-deps --require-hashes --no-build-isolation -r /root/requirements.txt
        wstest --help' >"$build/pip.log" 2>&1 ||
        { tail -20 "$build/pip.log" >&2; die "installing the suite failed" "see the lines above"; }
    rm -rf "$root"/var/cache/apt/{*.bin,archives/*.deb} "$root/etc/resolv.conf"
    say "done: $(du -sh "$root" | cut -f1)"
}

# Runs a command in namespaces of its own: what it mounts or leaves running is gone when it ends, or this script does.
isolated() {
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc "$@"
}

say() {
    echo "Autobahn: $*" >&2
}

die() {
    echo "Autobahn: error: $1; $2" >&2
    exit 1
}

main "$@"
