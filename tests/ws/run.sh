#!/usr/bin/env bash
# `make test-ws`: the fuzzing client of the Autobahn test suite against the accept loop and the WebSocket upgrade of portald.
#
#   run.sh ECHO               ECHO is the built examples/ws_echo.rs
#
#   PORTALD_WS_LOGS           where the reports are left    default target/ws
#   PORTALD_WS_TIMEOUT        seconds for all cases         default 900
#
# Server and client run in network, process and mount namespaces that end with this script, however it ends.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
logs=${PORTALD_WS_LOGS:-$tree/target/ws}
limit=${PORTALD_WS_TIMEOUT:-900}
port=9001

main() {
    if [[ ${1:-} == --inside ]]; then
        inside "$2" "$3"
        return
    fi
    local echo=${1:?give the path of the built ws_echo} image tool
    [[ $EUID -eq 0 ]] || die "this test needs root (for namespaces and a Debian of its own)" "run it with sudo"
    for tool in unshare setpriv timeout ip node; do
        command -v "$tool" >/dev/null || die "$tool is missing" "make test-ws installs the group ws of packaging/packages.txt"
    done
    # A mirror may stumble; 130 is somebody's Ctrl-C.
    image=$(build_image) || { [[ $? -ne 130 ]] || exit 130; image=$(build_image); }
    mkdir -p "$logs"
    rm -rf "${logs:?}"/*
    trap 'kill -KILL $! 2>/dev/null; exit 143' INT TERM HUP
    setpriv --pdeathsig KILL timeout --foreground --verbose --signal=KILL "$limit" \
        setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc \
        "${BASH_SOURCE[0]}" --inside "$echo" "$image" <&0 &
    wait $!
    node "$here/report.mjs" "$logs/index.json"
}

# No run may hang on a mirror that does not answer.
build_image() {
    timeout --foreground --verbose --kill-after=10 1200 "$here/image.sh"
}

# From here on as the first process of the namespaces.
inside() {
    local echo=$1 image=$2 tries=0
    ip link set lo up
    "$echo" "127.0.0.1:$port" >"$logs/echo.log" 2>&1 &
    until grep -q '^ws://' "$logs/echo.log"; do
        ((++tries < 1200)) && kill -0 $! || { cat "$logs/echo.log" >&2; die "the echo server did not start" "see the lines above"; }
        sleep 0.1
    done
    # The image is cached: nothing is written there.
    mount --bind "$image" "$image"
    mount -o remount,bind,ro "$image"
    mount -t tmpfs tmpfs "$image/tmp"
    # Cases of 9 are about speed; those here have messages that fit our limit of 64 KiB. 12 and 13 are about compression,
    # which is not offered.
    cat >"$image/tmp/spec.json" <<JSON
{
  "outdir": "/tmp/reports",
  "servers": [{ "agent": "portald", "url": "$(grep -m1 '^ws://' "$logs/echo.log")" }],
  "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.2.1", "9.7.*", "9.8.*", "10.*"],
  "exclude-cases": [],
  "exclude-agent-cases": {}
}
JSON
    chroot "$image" env HOME=/tmp PYTHONDONTWRITEBYTECODE=1 wstest -m fuzzingclient -s /tmp/spec.json >"$logs/wstest.log" 2>&1 ||
        { tail -20 "$logs/wstest.log" >&2; die "the suite itself failed" "see the lines above"; }
    cp "$image"/tmp/reports/*.json "$logs/"
}

die() {
    echo "Autobahn: error: $1; $2" >&2
    exit 1
}

main "$@"
