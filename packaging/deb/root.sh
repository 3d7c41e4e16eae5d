#!/usr/bin/env bash
# Builds, once, the Debian 12 that compiles portald for another architecture, or on a newer Debian, and prints its directory.
#
# What is linked against Debian 12's libraries runs on 13 too; the other way round it does not. Kept outside the tree under a
# name made from everything that goes into it; progress goes to stderr.
#
#   root.sh ARCH                amd64 or arm64
#   PORTALD_DEB_CACHE           where it is kept            default ~/.cache/portald
#   PORTALD_DEB_MIRROR          another mirror              default http://deb.debian.org/debian
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PORTALD_DEB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portald}
mirror=${PORTALD_DEB_MIRROR:-http://deb.debian.org/debian}
suite=bookworm
arch=$1

main() {
    [[ $EUID -eq 0 ]] || die "building for $arch here needs a Debian 12 of its own, and that root (debootstrap makes device nodes)" "run it with sudo"
    [[ $(dpkg --print-architecture) == amd64 ]] || die "this builds on amd64 hosts only; this one is $(dpkg --print-architecture)" "build on Debian 12, for the host's own architecture"
    local key root build
    key=$({ cat "${BASH_SOURCE[0]}"; wanted; echo "$mirror $arch"; } | sha256sum | cut -c1-16)
    root=$cache/build-$arch-$key
    mkdir -p "$cache"
    # Two at once must not build it twice; the lock goes with the process, however that ends.
    exec 9>"$cache/build-$arch.lock"
    flock 9
    if [[ ! -d $root ]]; then
        # Never older than this script's run: the lock is ours.
        rm -rf --one-file-system "$cache"/building-"$arch".*
        build=$(mktemp -d "$cache/building-$arch.XXXXXX")
        trap "rm -rf --one-file-system '$build'" EXIT
        trap 'exit 130' INT TERM HUP
        build_root "$build"
        # The older ones have served; then the last step, and one that happens wholly or not at all.
        find "$cache" -mindepth 1 -maxdepth 1 -type d -name "build-$arch-*" -exec rm -rf --one-file-system {} +
        mv "$build/root" "$root"
    fi
    echo "$root"
}

build_root() {
    local build=$1 root=$1/root
    say "building it (some minutes, once): 1/2 Debian 12 from $mirror"
    isolated debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" >"$build/debootstrap.log" 2>&1 ||
        { tail -20 "$build/debootstrap.log" >&2; die "debootstrap failed" "see the lines above"; }
    say "2/2 compilers and libraries"
    cat >"$root/etc/apt/sources.list" <<LIST
deb $mirror $suite main
deb $mirror $suite-updates main
deb http://deb.debian.org/debian-security $suite-security main
LIST
    printf 'force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' >"$root/etc/dpkg/dpkg.cfg.d/build"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    # shellcheck disable=SC2046 # one word per package is meant
    isolated --root="$root" env HOME=/root bash -euc "
        [[ $arch == amd64 ]] || dpkg --add-architecture $arch
        apt-get -qq update
        apt-get -qq -y --no-install-recommends install $(wanted | tr '\n' ' ')
        apt-get clean" >"$build/apt.log" 2>&1 ||
        { tail -20 "$build/apt.log" >&2; die "apt-get install failed in it" "see the lines above"; }
}

# The group `build` of packages.txt: programs of the host's architecture, libraries of the target's.
wanted() {
    local package
    for package in $(awk '$1 == "build" { print $2 }' "$here/../packages.txt"); do
        case $package:$arch in
        *:amd64) echo "$package" ;;
        lib*) echo "$package:$arch" ;;
        gcc:arm64) echo gcc; echo libc6-dev; echo gcc-aarch64-linux-gnu ;;
        rustc-web:*) echo "$package"; echo "libstd-rust-web-dev:$arch" ;;
        *) echo "$package" ;;
        esac
    done
}

# Runs a command in namespaces of its own: what it mounts or leaves running is gone when it ends, or this script does.
isolated() {
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc "$@"
}

say() {
    echo "build root for $arch: $*" >&2
}

die() {
    echo "build root for $arch: error: $1; $2" >&2
    exit 1
}

main
