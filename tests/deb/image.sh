#!/usr/bin/env bash
# Builds, once, a minimal Debian with systemd and what the package depends on, and prints its directory.
#
# It has exactly what apt would bring along with the package: an empty package with the same Depends is installed in it, and
# removed. So the test itself needs no network, and a dependency that is missing is missing there, too. Kept outside the tree
# under a name made from everything that goes into it; progress goes to stderr.
#
#   image.sh SUITE PACKAGE.deb   bookworm or trixie
#   PORTALD_DEB_CACHE            where images are kept      default ~/.cache/portald
#   PORTALD_DEB_MIRROR           another mirror             default http://deb.debian.org/debian
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PORTALD_DEB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portald}
mirror=${PORTALD_DEB_MIRROR:-http://deb.debian.org/debian}
suite=$1
package=$2

main() {
    [[ $EUID -eq 0 ]] || die "building a Debian needs root (debootstrap makes device nodes and changes roots)" "run it with sudo"
    local key image build depends
    depends=$(dpkg-deb -f "$package" Depends)
    key=$({ cat "${BASH_SOURCE[0]}"; container_packages; echo "$mirror $suite $depends"; } | sha256sum | cut -c1-16)
    image=$cache/container-$suite-$key
    mkdir -p "$cache"
    # Two tests at once must not build it twice; the lock goes with the process, however that ends.
    exec 9>"$cache/container-$suite.lock"
    flock 9
    if [[ ! -d $image ]]; then
        # Never older than this script's run: the lock is ours.
        rm -rf --one-file-system "$cache/container-building-$suite".*
        build=$(mktemp -d "$cache/container-building-$suite.XXXXXX")
        trap "rm -rf --one-file-system '$build'" EXIT
        trap 'exit 130' INT TERM HUP
        build_root "$build" "$depends"
        # The older ones have served; then the last step, and one that happens wholly or not at all.
        find "$cache" -mindepth 1 -maxdepth 1 -type d -name "container-$suite-*" -exec rm -rf --one-file-system {} +
        mv "$build/root" "$image"
    fi
    echo "$image"
}

build_root() {
    local build=$1 depends=$2 root=$1/root
    say "building it (some minutes, once): 1/3 Debian $suite from $mirror"
    isolated debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" >"$build/debootstrap.log" 2>&1 ||
        { tail -20 "$build/debootstrap.log" >&2; die "debootstrap failed" "see the lines above"; }
    say "2/3 systemd, and what looks at portald from inside"
    cat >"$root/etc/apt/sources.list" <<LIST
deb $mirror $suite main
deb $mirror $suite-updates main
deb http://deb.debian.org/debian-security $suite-security main
LIST
    printf 'force-unsafe-io\n' >"$root/etc/dpkg/dpkg.cfg.d/test"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    # shellcheck disable=SC2046 # one word per package is meant
    in_root bash -euc "apt-get -qq update
        apt-get -qq -y --no-install-recommends install $(container_packages | tr '\n' ' ')" >"$build/apt.log" 2>&1 ||
        { tail -20 "$build/apt.log" >&2; die "apt-get install failed in it" "see the lines above"; }
    say "3/3 what the package depends on"
    mkdir -p "$build/empty/DEBIAN"
    cat >"$build/empty/DEBIAN/control" <<CONTROL
Package: portald-depends
Version: 1
Architecture: $(dpkg-deb -f "$package" Architecture)
Maintainer: nobody <nobody@example.org>
Depends: $depends
Description: what portald depends on
CONTROL
    dpkg-deb -b "$build/empty" "$root/root/depends.deb" >/dev/null
    in_root bash -euc "apt-get -qq -y --no-install-recommends install /root/depends.deb
        dpkg -P portald-depends; rm /root/depends.deb; apt-get clean" >"$build/apt.log" 2>&1 ||
        { tail -20 "$build/apt.log" >&2; die "apt-get cannot install what the package depends on" "see the lines above"; }
    # debootstrap leaves a policy that no service may start.
    rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
    echo box >"$root/etc/hostname"
    echo '127.0.0.1 localhost box' >"$root/etc/hosts"
    in_root systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer systemd-networkd-wait-online.service console-getty.service getty.target
    cat >"$root/etc/systemd/system/test.service" <<'UNIT'
[Unit]
Description=Run the test that the host put into /share
After=multi-user.target
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=bash /share/guest.sh
ExecStopPost=sh -c 'echo "$EXIT_STATUS" >/share/status; systemctl poweroff --no-block'
StandardOutput=file:/share/output
StandardError=file:/share/output
TimeoutStartSec=infinity
UNIT
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/share"
    ln -s ../test.service "$root/etc/systemd/system/multi-user.target.wants/test.service"
}

container_packages() {
    awk '$1 == "container" { print $2 }' "$here/../../packaging/packages.txt"
}

in_root() {
    isolated --root="$root" env HOME=/root "$@"
}

# Runs a command in namespaces of its own: what it mounts or leaves running is gone when it ends, or this script does.
isolated() {
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc "$@"
}

say() {
    echo "container image $suite: $*" >&2
}

die() {
    echo "container image $suite: error: $1; $2" >&2
    exit 1
}

main
