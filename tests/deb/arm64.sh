#!/usr/bin/env bash
# `make test-arm64`: the arm64 package, built for it elsewhere, runs by emulation with the arm64 libraries that apt finds for it,
# of Debian 12 and of 13.
#
#   arm64.sh [PACKAGE.deb]     default: one is built
#   PORTALD_DEB_MIRROR         another mirror          default http://deb.debian.org/debian
#
# The libraries are unpacked, not installed: what is asked here is whether the program starts, finds its plug-ins, and speaks to
# GStreamer. They are thrown away.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
mirror=${PORTALD_DEB_MIRROR:-http://deb.debian.org/debian}
emulator=$(command -v qemu-aarch64-static)
scratch=$(mktemp -d /var/tmp/portald-arm64.XXXXXX)
trap 'rm -rf --one-file-system "$scratch"' EXIT
# shellcheck source=tests/deb/check.sh
source "$here/check.sh"
# Where packages have libraries that a script of theirs makes known.
libraries=/usr/lib/aarch64-linux-gnu
export libraries=$libraries/pulseaudio:$libraries/blas:$libraries/lapack

main() {
    [[ $EUID -eq 0 ]] || { echo "arm64: error: this test needs root (it changes roots); run it with sudo" >&2; exit 1; }
    local package=${1:-} suite
    [[ -n $package ]] || package=$("$tree/packaging/deb/build.sh" arm64)
    check "lintian finds neither errors nor warnings" lintian --fail-on error,warning --allow-root --tag-display-limit 0 "$package"
    check "it is for arm64" test "$(dpkg-deb -f "$package" Package Architecture | tr '\n' ' ')" = 'Package: portald Architecture: arm64 '
    for suite in bookworm trixie; do
        live "$suite" "$package"
    done
    [[ $failures -eq 0 ]]
}

live() {
    local suite=$1 package=$2 root=$scratch/$1/root file
    check "$suite: apt resolves what it depends on" resolve "$suite" "$package"
    mkdir -p "$root"/{tmp,proc,sys,dev}
    for file in "$scratch/$suite/cache/archives"/*.deb "$package"; do
        dpkg-deb -x "$file" "$root"
    done
    # The directories that a package of Debian's puts in place by a script.
    [[ -e $root/lib ]] || ln -s usr/lib "$root/lib"
    cp "$emulator" "$root/qemu"
    check "$suite: it starts" contains "$(in_root "$root" --version)" portald
    check "$suite: the shipped configuration is valid" contains "$(in_root "$root" check-config)" valid
    check "$suite: it finds the encoders" contains "$(in_root "$root" devices)" x264enc
}

# Into a state of apt's of its own, in which nothing is installed.
resolve() {
    local suite=$1 package=$2 dir=$scratch/$1
    mkdir -p "$dir"/{state/lists/partial,cache/archives/partial,etc}
    : >"$dir/status"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\ndeb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security %s-security main\n' \
        "$mirror" "$suite" "$suite" >"$dir/etc/sources.list"
    cat >"$dir/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Dir::State "$dir/state";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc "$dir/etc";
CONF
    APT_CONFIG=$dir/apt.conf apt-get -qq update
    APT_CONFIG=$dir/apt.conf apt-get -qq -y --download-only install "$(realpath "$package")"
}

# Its children cannot be emulated without changing the host's kernel: GStreamer looks at plug-ins itself, and portald says of the
# encoders that it could not try them out.
in_root() {
    local root=$1
    shift
    # Mounted for this command alone: plug-ins look at the processor while they are loaded.
    timeout --kill-after=5 300 setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child bash -euc '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --bind -o ro /sys "$root/sys"
        mount --bind /dev "$root/dev"
        exec env -i HOME=/tmp XDG_CACHE_HOME=/tmp GST_REGISTRY_FORK=no GST_V4L2_FORCE_DRAIN=1 MALLOC_ARENA_MAX=2 LD_LIBRARY_PATH="$libraries" \
            "$(command -v chroot)" "$root" /qemu /usr/bin/portald "$@"
    ' bash "$root" "$@" 2>&1
}

contains() { [[ $1 == *"$2"* ]] || { echo "no \`$2\` in: $1"; return 1; }; }

main "$@"
