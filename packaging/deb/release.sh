#!/usr/bin/env bash
# `make release`: the packages of the version in Cargo.toml with their sums, in target/release-VERSION. Refuses when something is
# uncommitted, when CHANGELOG.md does not have the version, or when this commit has not passed .ci/run.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

main() {
    local version commit directory arch
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
    commit=$(git rev-parse HEAD)
    [[ -z $(git status --porcelain) ]] || die "there is something that is not committed" "look at git status; commit it, or put it away"
    grep -Eq "^## \[${version//./\\.}\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
        die "CHANGELOG.md has no heading \`## [$version] - DATE\`" "give what is below [Unreleased] that heading, and commit it"
    ! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || [[ $(git rev-parse "v$version^{commit}") == "$commit" ]] ||
        die "v$version is another commit" "give Cargo.toml the next version"
    [[ $(cat target/tested 2>/dev/null) == "$commit" ]] || die "this commit has not been tested" "run .ci/run, which notes what passed"
    directory=target/release-$version
    rm -rf "$directory"
    mkdir -p "$directory"
    for arch in amd64 arm64; do
        cp "$(packaging/deb/build.sh "$arch")" "$directory/"
    done
    (cd "$directory" && sha256sum -- *.deb >SHA256SUMS)
    echo "$directory has the packages; now: git tag -a v$version -m 'portald $version'"
}

die() {
    echo "release: error: $1; $2" >&2
    exit 1
}

main
