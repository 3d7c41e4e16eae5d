#!/usr/bin/env bash
# `make test-mdns`: the wall is found by Avahi on another machine, whether or not Avahi runs on the box too.
#
#   run.sh PORTALD            PORTALD is the built program
#
#   PORTALD_MDNS_LOGS         where logs are left           default target/mdns
#   PORTALD_MDNS_TIMEOUT      seconds for all               default 900
#
# Two machines, each a network namespace with its own system bus and Avahi: `client` looks, `box` runs portald. All of it
# ends with this script, however it ends.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
logs=${PORTALD_MDNS_LOGS:-$tree/target/mdns}
limit=${PORTALD_MDNS_TIMEOUT:-900}
# portald reads every other variable that begins so.
unset "${!PORTALD_@}"

main() {
    if [[ ${1:-} == --inside ]]; then
        portald=$2 logs=$3
        inside
        return
    fi
    local portald tool
    portald=$(realpath "${1:?give the path of the built portald}")
    [[ $EUID -eq 0 ]] || die "this test needs root (for namespaces)" "run it with sudo"
    for tool in unshare nsenter setpriv timeout ip curl dbus-daemon avahi-daemon avahi-browse; do
        command -v "$tool" >/dev/null || die "$tool is missing" "make test-mdns installs the group mdns of packaging/packages.txt"
    done
    mkdir -p "$logs"
    rm -rf "${logs:?}"/*
    trap 'kill -KILL $! 2>/dev/null; exit 143' INT TERM HUP
    setpriv --pdeathsig KILL timeout --foreground --verbose --signal=KILL "$limit" \
        setpriv --pdeathsig KILL unshare --net --mount --uts --pid --fork --kill-child --mount-proc \
        "${BASH_SOURCE[0]}" --inside "$portald" "$logs" <&0 &
    wait $!
}

# From here on as the first process of the namespaces; this is the client.
inside() {
    mount --make-rprivate /
    hostname client
    machine
    unshare --net --mount --uts sleep infinity &
    box_pid=$!
    until [[ $(readlink /proc/$box_pid/ns/net) != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.1; done
    ip link add lan0 type veth peer name lan0 netns "$box_pid"
    ip addr add 10.9.0.1/24 dev lan0
    ip link set lan0 up
    box hostname box
    box ip addr add 10.9.0.2/24 dev lan0
    box ip link set lan0 up
    # A container's bridge, which no client can reach.
    box ip link add docker0 type veth peer name veth0
    box ip addr add 172.17.0.1/16 dev docker0
    box ip link set docker0 up
    box ip link set veth0 up
    box bash -c "$(declare -f machine); machine"
    avahi client

    step "a box without Avahi is found, with what a browser needs, on the interface that clients can reach"
    start_portald
    found '^=;lan0;IPv4;Cameras\\032of\\032box;[^;]*;local;box-portald\.local;10\.9\.0\.2;8080;"path=/"$'
    curl -sSf --resolve box-portald.local:8080:10.9.0.2 http://box-portald.local:8080/healthz >/dev/null ||
        fail "the name that is announced is refused"
    ! browse | grep -F 172.17.0.1 || fail "the address of a container's bridge is announced"
    found '^=;lan0;IPv4;Cameras\\032of\\032box;'
    ! avahi-resolve -4n box.local 2>/dev/null | grep -F 10.9 || fail "box.local is claimed, which is not ours"
    portald_log 'mDNS: announced as "Cameras of box", http://box-portald.local:8080/'

    step "it is gone from the lists when portald ends"
    stop_portald
    gone 'Cameras\\032of\\032box'

    step "beside Avahi on the box both are found, and the box keeps its name"
    box_avahi
    resolves box.local 10.9.0.2
    start_portald
    found '^=;lan0;IPv4;Cameras\\032of\\032box;[^;]*;local;box-portald\.local;10\.9\.0\.2;8080;'
    resolves box-portald.local 10.9.0.2

    step "Avahi that starts after portald keeps its name, too"
    kill "$avahi_pid"
    wait "$avahi_pid" || true
    box_avahi
    resolves box.local 10.9.0.2
    found '^=;lan0;IPv4;Cameras\\032of\\032box;'
    ! grep -hE 'conflict|box-2' "$logs"/avahi-box*.log || fail "Avahi on the box saw a conflict"

    step "an address that comes later is announced, one that has gone is not"
    box ip addr add 10.9.0.3/24 dev lan0
    box ip addr del 10.9.0.2/24 dev lan0
    box ip addr add 10.9.0.3/24 dev lan0 2>/dev/null || true # the second of a network goes with the first
    resolves box-portald.local 10.9.0.3
    box ip addr del 10.9.0.3/24 dev lan0
    box ip addr add 10.9.0.2/24 dev lan0
    resolves box-portald.local 10.9.0.2

    step "with TLS it is another service"
    stop_portald
    start_portald '[server.tls]' 'self_signed = true'
    kind=_https._tcp found '^=;lan0;IPv4;Cameras\\032of\\032box;[^;]*;local;box-portald\.local;10\.9\.0\.2;8080;"path=/"$'
    stop_portald

    step "mdns = false, or a socket for this box alone: nothing is announced"
    start_portald 'mdns = false'
    gone 'Cameras\\032of\\032box'
    ! grep -F mDNS "$logs/portald.log" || fail "it speaks of mDNS"
    stop_portald
    start_portald 'listen = "127.0.0.1:8080"'
    gone 'Cameras\\032of\\032box'
    stop_portald
    echo "the wall is found by Avahi, with and without Avahi on the box"
}

# What a machine has of its own: loopback, and a place for the sockets of its bus and its Avahi.
machine() {
    ip link set lo up
    mount -t tmpfs tmpfs /run
    mkdir -p /run/dbus /run/avahi-daemon
    chown avahi:avahi /run/avahi-daemon
    dbus-daemon --system --fork --nopidfile
}

box() {
    nsenter -t "$box_pid" --net --mount --uts -- "$@"
}

# avahi CLIENT-OR-BOX [COMMAND…]
avahi() {
    local name=$1
    shift
    "$@" avahi-daemon --no-drop-root --no-chroot --no-rlimits >>"$logs/avahi-$name.log" 2>&1 &
    avahi_pid=$!
    wait_for "Avahi of $name to start" grep -q 'Server startup complete' "$logs/avahi-$name.log"
}

box_avahi() {
    boots=$((${boots:-0} + 1))
    avahi "box$boots" nsenter -t "$box_pid" --net --mount --uts --
}

# start_portald [LINE OF [server]…]
start_portald() {
    local state=/run/portald
    box mkdir -p "$state"
    { echo '[server]'; printf '%s\n' "$@"; printf '[camera.one]\nsource = "test"\n'; } >"$logs/portald.toml"
    # No function: signals are for the program itself.
    STATE_DIRECTORY=$state nsenter -t "$box_pid" --net --mount --uts -- \
        "$portald" run --config "$logs/portald.toml" >"$logs/portald.log" 2>&1 &
    portald_pid=$!
    wait_for "portald to serve" portald_log 'the wall of 1 cameras is at'
}

portald_log() {
    grep -qF "$1" "$logs/portald.log"
}

stop_portald() {
    kill -TERM "$portald_pid"
    wait "$portald_pid" || { cat "$logs/portald.log" >&2; fail "portald did not end in order"; }
}

# What the client's Avahi knows of web servers, after asking.
browse() {
    timeout 20 avahi-browse --parsable --resolve --terminate --ignore-local "${kind:-_http._tcp}" 2>&1 || true
}

is_found() {
    browse | grep -qE "$1"
}

is_gone() {
    ! is_found "$1"
}

does_resolve() {
    avahi-resolve -4n "$1" 2>/dev/null | grep -qF "$2"
}

found() {
    wait_for "the client to find $1" is_found "$1"
}

# Asked twice: what is to come comes within a second of portald's start.
gone() {
    sleep 3
    wait_for "the client to forget $1" is_gone "$1"
    is_gone "$1" || fail "$1 is back"
}

resolves() {
    wait_for "$1 to be $2" does_resolve "$1" "$2"
}

wait_for() {
    local what=$1 tries=0
    shift
    until "$@"; do
        ((++tries < 120)) || fail "waited in vain for $what"
        sleep 0.5
    done
}

step() {
    echo "-- $1"
}

fail() {
    echo "failed: $1" >&2
    tail -n 30 "$logs"/*.log >&2
    browse >&2
    exit 1
}

die() {
    echo "$1: $2" >&2
    exit 1
}

main "$@"
