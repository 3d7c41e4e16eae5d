#!/usr/bin/env bash
# `make fuzz`: builds the fuzz targets and runs each for a while, two at a time; fails when one finds something.
#
#   run.sh [TARGET…]             these, or all
#   run.sh --minimize            writes to fuzz/corpus the fewest inputs that reach what all found here so far do
#
#   FUZZ_SECONDS                 for each target           default 60
#   PORTALD_CARGO_FUZZ           the program               default cargo-fuzz; `make fuzz` installs one
#
# What is found goes to fuzz/target/corpus and helps the next run. An input that breaks something goes to
# fuzz/artifacts/TARGET; put it into fuzz/regressions/TARGET under a name that says what it is, and `cargo test` replays it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/.." && pwd)
cargo_fuzz=${PORTALD_CARGO_FUZZ:-cargo-fuzz}
seconds=${FUZZ_SECONDS:-60}
built=$here/target/built
logs=$here/target/logs
# The longest input that is kept in the repository, in bytes: enough for the smaller of browsers' answers.
kept=1024

main() {
    case ${1:-} in
    --one)
        one "$2"
        return
        ;;
    --minimize)
        build
        for target in $(targets); do minimize "$target"; done
        return
        ;;
    esac
    [[ $# -gt 0 ]] || set -- $(targets)
    build
    mkdir -p "$logs"
    local status=0
    # Two at a time: one core each on the smallest machine that CI has.
    printf '%s\n' "$@" | FUZZ_SECONDS=$seconds xargs -P 2 -I '{}' "${BASH_SOURCE[0]}" --one '{}' || status=1
    summary "$@"
    return $status
}

targets() {
    sed -n 's|^path = "targets/\(.*\)\.rs"|\1|p' "$here/Cargo.toml"
}

# The compiler's flags for fuzzing are not stable, so this asks a stable compiler to take them: there is one in Debian.
build() {
    local sanitizer=none binary
    # Debian's Rust may come without the sanitizer's run-time; panics and hangs are found all the same.
    [[ -z $(find "$(rustc --print sysroot)/lib" -name 'librustc*_rt.asan.a' -print -quit) ]] || sanitizer=address
    # The product's own versions of everything; cargo adds libFuzzer's.
    [[ $here/Cargo.lock -nt $tree/Cargo.lock ]] || cp "$tree/Cargo.lock" "$here/Cargo.lock"
    echo "fuzz: building, sanitizer: $sanitizer"
    (cd "$tree" && RUSTC_BOOTSTRAP=1 "$cargo_fuzz" build --sanitizer "$sanitizer" --target-dir "$here/target")
    mkdir -p "$built"
    for target in $(targets); do
        binary=$(ls -t "$here"/target/*/release/"$target" | head -n 1)
        ln -sf "$binary" "$built/$target"
    done
}

one() {
    local target=$1 options
    mkdir -p "$here/target/corpus/$target" "$here/artifacts/$target" "$here/regressions/$target"
    options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len="$(longest "$target")" -print_final_stats=1
        -artifact_prefix="$here/artifacts/$target/")
    [[ ! -e $here/dict/$target.dict ]] || options+=(-dict="$here/dict/$target.dict")
    # What is found goes to the first directory. The limit is for an engine that does not keep its own.
    if ! timeout --kill-after=10 $((seconds + 120)) nice "$built/$target" "${options[@]}" "$here/target/corpus/$target" \
        "$here/corpus/$target" "$here/regressions/$target" >"$logs/$target.log" 2>&1; then
        echo "fuzz: $target: FOUND SOMETHING; the end of $logs/$target.log:" >&2
        grep -E -A 3 'panicked at|ERROR:|Test unit written' "$logs/$target.log" | cut -c 1-500 | tail -n 30 >&2
        return 1
    fi
}

# The longest input worth trying, in bytes: somewhat over the limit of what is read, where there is one.
longest() {
    case $1 in
    message) echo 66000 ;;
    description) echo 40000 ;;
    config | template) echo 16384 ;;
    room) echo 512 ;;
    *) echo 4096 ;;
    esac
}

summary() {
    local target log executions coverage inputs
    printf '%-12s %12s %10s %8s\n' target executions edges inputs
    for target in "$@"; do
        log=$logs/$target.log
        executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
        coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
        inputs=$(sed -n 's/.* corp: \([0-9]*\)\/.*/\1/p' "$log" | tail -n 1)
        printf '%-12s %12s %10s %8s\n' "$target" "${executions:-?}" "${coverage:-?}" "${inputs:-?}"
    done
}

minimize() {
    local target=$1 new
    mkdir -p "$logs" "$here/target/corpus/$target"
    new=$(mktemp -d "$here/target/minimized.XXXXXX")
    # The fewest that reach each place in the code; counting how often, as libFuzzer does, would take ten times the space.
    "$built/$target" -set_cover_merge=1 -use_counters=0 -max_len=$kept "$new" "$here/corpus/$target" "$here/target/corpus/$target" >"$logs/$target.merge.log" 2>&1
    rm -rf "${here:?}/corpus/$target"
    mv "$new" "$here/corpus/$target"
    chmod 755 "$here/corpus/$target"
    echo "fuzz: $target: $(ls "$here/corpus/$target" | wc -l) inputs, $(cat "$here/corpus/$target"/* | wc -c) bytes"
}

main "$@"
