#!/usr/bin/env bash
# `make deb`: builds portald_VERSION_ARCH.deb into target/debian and prints its path.
#
#   build.sh [ARCH]             amd64, arm64; default: this host's
#   DEB_VERSION                 another version, for tests of upgrades; default: see version.sh
#   CARGO_DEB                   the program that packs
#
# One file is for Debian 12 and 13 alike, so it is compiled against Debian 12's libraries: here, if this is Debian 12 and of that
# architecture, else in a Debian 12 of its own (root.sh).
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
arch=${1:-$(dpkg --print-architecture)}
generated=$tree/target/deb
cd "$tree"

main() {
    case $arch in
    amd64) triple=x86_64-unknown-linux-gnu gnu=x86_64-linux-gnu ;;
    arm64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu ;;
    *) die "there is no package for $arch" "build amd64 or arm64; on Debian's armhf the two releases differ in the size of time, so no file suits both" ;;
    esac
    # Times in the package are those of the last commit: the same source gives the same file.
    # From an archive without history, those of the source.
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
    export SOURCE_DATE_EPOCH
    local version options=()
    version=${DEB_VERSION:-$("$here/version.sh")}
    if [[ $arch == "$(dpkg --print-architecture)" && $(. /etc/os-release && echo "${VERSION_CODENAME:-}") == bookworm ]]; then
        cargo build --release --locked >&2
    else
        build_elsewhere
        options=(--target "$triple")
        # cargo-deb looks for the binary below the directory that cargo used.
        export CARGO_TARGET_DIR=$tree/target/elsewhere
    fi
    # What the package needs is written in Cargo.toml for both architectures; Intel's and AMD's encoders are on one only.
    [[ $arch == amd64 ]] || options+=(--variant "$arch")
    generate "$version"
    [[ $arch != "$(dpkg --print-architecture)" ]] || check_libraries
    "${CARGO_DEB:-cargo-deb}" --no-build --no-strip --deb-version "$version" --output "$tree/target/debian/" "${options[@]}"
}

# Manual pages and completions come from the program's own help and the shipped configuration, the changelog from CHANGELOG.md,
# the copyright file from the crates.
generate() {
    local maintainer
    maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
    rm -rf "$generated"
    CARGO_TARGET_DIR=$tree/target cargo run --quiet --locked --example manual -- \
        "$generated" "$1" "$maintainer" "$(date -R -u -d "@$SOURCE_DATE_EPOCH")" >&2
    # The postinst that cargo-deb writes names the file by what it is called here, not by what it is installed as.
    cp packaging/sysusers.conf "$generated/portald.conf"
    # Under the name that a package without a Debian revision has; cargo-deb would give it the other.
    gzip -9n "$generated/changelog"
}

# The libraries in Cargo.toml's `depends` are those that the program is linked with.
check_libraries() {
    local scratch wanted written
    [[ $(. /etc/os-release && echo "${VERSION_CODENAME:-}") == bookworm ]] || return 0
    scratch=$(mktemp -d)
    trap "rm -rf '$scratch'" EXIT
    mkdir "$scratch/debian"
    : >"$scratch/debian/control"
    wanted=$(cd "$scratch" && dpkg-shlibdeps -O "$tree/target/release/portald" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
    written=$(sed -n '/^depends = /,/"""$/p' Cargo.toml | sed 's/\\$//' | tr -d '\n')
    [[ -n $wanted && $written == *"$wanted"* ]] ||
        die "Cargo.toml's \`depends\` is not what the program is linked with" "it must have: $wanted"
}

build_elsewhere() {
    local root
    root=$("$here/root.sh" "$arch")
    cargo fetch --locked --target "$triple" >&2
    mkdir -p "$tree/target/elsewhere"
    # Mounted for this command alone.
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc bash -euc '
        root=$1 tree=$2 cargo=$3
        mkdir -p "$root/src" "$root/cargo"
        mount --bind "$tree" "$root/src"
        mount --bind "$cargo" "$root/cargo"
        shift 3
        exec chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root CARGO_HOME=/cargo CARGO_TARGET_DIR=/src/target/elsewhere "$@"
    ' bash "$root" "$tree" "${CARGO_HOME:-$HOME/.cargo}" \
        "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" \
        "CARGO_TARGET_${triple_upper:=$(tr 'a-z-' 'A-Z_' <<<"$triple")}_LINKER=$gnu-gcc" \
        "CC_${triple//-/_}=$gnu-gcc" \
        PKG_CONFIG_ALLOW_CROSS=1 "PKG_CONFIG_LIBDIR=/usr/lib/$gnu/pkgconfig:/usr/share/pkgconfig" \
        cargo build --manifest-path /src/Cargo.toml --release --frozen --target "$triple" ${JOBS:+--jobs "$JOBS"} >&2
}

die() {
    echo "deb: error: $1; $2" >&2
    exit 1
}

main
