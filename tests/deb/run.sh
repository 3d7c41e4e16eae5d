#!/usr/bin/env bash
# `make test-deb`: builds the package, holds it to Debian's rules, and lives through its life in containers with Debian 12 and 13.
#
#   run.sh [SUITE…]            default: bookworm trixie
#   PORTALD_DEB_LOGS           where logs are left          default target/deb-test
#
# The containers have systemd as their first process, no network but loopback, and are thrown away; nothing of the host changes.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
logs=${PORTALD_DEB_LOGS:-$tree/target/deb-test}
# What systemd-analyze may find at most, in tenths: each Debian's has its own way of counting.
declare -A threshold=([bookworm]=15 [trixie]=13)
# Seconds for a container, whatever happens in it.
limit=900

main() {
    [[ $EUID -eq 0 ]] || die "this test needs root (for the containers)" "run it with sudo"
    [[ $(dpkg --print-architecture) == amd64 || $(dpkg --print-architecture) == arm64 ]] || die "there is no package for this architecture" "run it on amd64 or arm64"
    [[ $# -gt 0 ]] || set -- bookworm trixie
    rm -rf "$logs"
    mkdir -p "$logs"
    local new old suite failed=0
    say "the package"
    # The older build differs by its number alone.
    old=$(DEB_VERSION=0.0.1 "$tree/packaging/deb/build.sh")
    mv "$old" "$logs/old.deb"
    new=$("$tree/packaging/deb/build.sh")
    "$here/look.sh" "$new" || failed=1
    for suite in "$@"; do
        live "$suite" "$new" || failed=1
    done
    # Debian's own eye on what a package leaves behind; once, because it looks at the same things in every release.
    rules "$1" "$new" || failed=1
    return $failed
}

live() {
    local suite=$1 new=$2 image share=$logs/$1
    # A mirror may stumble; 130 is somebody's Ctrl-C.
    image=$("$here/image.sh" "$suite" "$new") || { [[ $? -ne 130 ]] || exit 130; image=$("$here/image.sh" "$suite" "$new"); }
    say "$suite: install, use, upgrade, purge"
    mkdir -p "$share"
    cp "$here/guest.sh" "$logs/old.deb" "$share/"
    cp "$new" "$share/new.deb"
    echo "${threshold[$suite]}" >"$share/threshold"
    # A scope of systemd's is not to be had where this runs: --register=no --keep-unit. It dies with this script, however that ends:
    # while one is left, systemd-nspawn calls the image busy.
    setpriv --pdeathsig KILL timeout --foreground --kill-after=10 "$limit" \
        setpriv --pdeathsig KILL systemd-nspawn --quiet --directory="$image" --volatile=overlay --register=no --keep-unit \
        --machine="portald-$suite-$$" --private-network --bind="$share:/share" --boot systemd.show_status=0 \
        </dev/null >"$share/console.log" 2>&1 || true
    [[ ! -e $share/output ]] || sed "s/^/  $suite  /" "$share/output"
    [[ $(cat "$share/status" 2>/dev/null) == 0 ]] || {
        say "$suite failed; what it said is in $share"
        return 1
    }
}

# In a copy of the image that has what the package depends on, so that only the package itself is put in and taken out.
rules() {
    local suite=$1 new=$2 image work
    image=$("$here/image.sh" "$suite" "$new")
    say "$suite: piuparts"
    work=$(mktemp -d /var/tmp/portald-piuparts.XXXXXX)
    trap "rm -rf --one-file-system '$work'" EXIT
    timeout --kill-after=10 "$limit" piuparts --existing-chroot="$image" --distribution="$suite" --mirror="${PORTALD_DEB_MIRROR:-http://deb.debian.org/debian} main" \
        --tmpdir="$work" --no-upgrade-test --allow-database "$new" >"$logs/piuparts.log" 2>&1 || {
        grep -E 'ERROR|FAIL' "$logs/piuparts.log" | tail -20 >&2
        say "piuparts failed; what it said is in $logs/piuparts.log"
        return 1
    }
}

say() {
    echo "deb: $*" >&2
}

die() {
    echo "deb: error: $1; $2" >&2
    exit 1
}

main "$@"
