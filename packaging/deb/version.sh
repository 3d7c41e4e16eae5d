#!/usr/bin/env bash
# Prints the package's version. The one place where the version is written is Cargo.toml; CHANGELOG.md says whether it is
# released. Before that a package is numbered by its commit, and every release is newer than it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
if grep -q "^## \[$version\]" CHANGELOG.md; then
    echo "$version"
else
    commit=$(TZ=UTC git log -1 --date=format-local:%Y%m%d.%H%M%S --format=%cd.g%h 2>/dev/null) ||
        commit=$(date -u -r CHANGELOG.md +%Y%m%d.%H%M%S)
    echo "$version~$commit"
fi
