#!/usr/bin/env bash
# `make test-vm`: boots a virtual machine with Debian's stock kernel and runs a test beside it, on a network of their own.
#
#   run.sh                     runs node --test tests/vm/*.test.mjs
#   run.sh COMMAND…            runs COMMAND instead, with the machine up (`run.sh bash` to look around)
#
#   PORTALD_BIN                the binary under test     default target/release/portald
#   PORTALD_DEB                the package under test    none: its test fails
#   PORTALD_VM_LOGS            where logs are left       default target/vm
#   PORTALD_VM_TIMEOUT         seconds for all of it     default 2400, after the image is built
#
# Host and guest share a network cable and nothing else: 192.168.213.1 here, 192.168.213.2 there, UDP and TCP without forwarding.
# The test, its browser and qemu run in network, process and mount namespaces that end with this script, however it ends:
# the kernel then kills what is left in them and takes the network away, so nothing can stay behind.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
binary=${PORTALD_BIN:-${CARGO_TARGET_DIR:-$tree/target}/release/portald}
logs=${PORTALD_VM_LOGS:-$tree/target/vm}
limit=${PORTALD_VM_TIMEOUT:-2400}

main() {
    if [[ ${1:-} == --inside ]]; then
        shift
        inside "$@"
        return
    fi
    check_host
    local image
    # Two to four minutes where the mirror is near; no run may hang on one that does not answer.
    # A mirror may stumble; 130 is somebody's Ctrl-C.
    image=$(build_image) || { [[ $? -ne 130 ]] || exit 130; image=$(build_image); }
    export PORTALD_VM_IMAGE=$image
    # Each process here dies with the one before it, and the last takes the namespaces along. In the background, and with a trap,
    # because unshare does not listen to signals.
    trap 'kill -KILL $! 2>/dev/null; exit 143' INT TERM HUP
    setpriv --pdeathsig KILL timeout --foreground --verbose --signal=KILL "$limit" \
        setpriv --pdeathsig KILL unshare --net --pid --fork --kill-child --mount-proc \
        "${BASH_SOURCE[0]}" --inside "$@" <&0 &
    wait $!
}

build_image() {
    timeout --foreground --verbose --kill-after=10 1800 "$here/image.sh"
}

check_host() {
    [[ $EUID -eq 0 ]] || die "this test needs root (for the image, the namespaces and the tap device)" "run it with sudo"
    [[ -x $binary ]] || die "no binary at $binary" "cargo build --release"
    [[ -c /dev/net/tun ]] || modprobe tun || die "this kernel has no /dev/net/tun" "load its module tun"
    local tool
    for tool in qemu-system-x86_64 ip unshare setpriv timeout cc node "${CHROMIUM:-chromium}"; do
        command -v "$tool" >/dev/null || die "$tool is missing" "make test-vm installs the groups build, vm and test of packaging/packages.txt"
    done
    [[ -d $tree/tests/browser/node_modules/playwright-core ]] ||
        die "playwright-core is missing" "npm ci --prefix tests/browser"
}

# From here on as the first process of the namespaces.
inside() {
    mkdir -p "$logs"
    rm -rf "$logs"/{share,*.log,*.png,tests.txt}
    make_network
    make_share
    boot
    if [[ $# -eq 0 ]]; then
        # One after the other: there is one machine.
        set -- node --test --test-concurrency=1 --test-reporter=spec --test-reporter-destination=stdout \
            --test-reporter=spec --test-reporter-destination="$logs/tests.txt" "$here"/*.test.mjs
    fi
    export PORTALD_VM_SHARE=$share PORTALD_VM_PID=$qemu PORTALD_VM_LOGS=$logs PORTALD_VM_URL=http://192.168.213.2:8080/
    # Not exec: the first process must outlive the test to reap what it leaves.
    local status=0
    "$@" || status=$?
    if [[ $status -ne 0 ]]; then
        local log
        for log in "$logs"/*.portald.log; do
            [[ ! -e $log ]] || { say "the daemon's last words in $(basename "$log" .portald.log):"; tail -40 "$log" >&2; }
        done
        # What failed comes last, where it is looked for.
        [[ ! -e $logs/tests.txt ]] || sed -n '/failing tests:/,$p' "$logs/tests.txt" >&2
        say "failed; the machine's console, the daemon's whole journals and pictures of the page are in $logs"
    fi
    return $status
}

make_network() {
    ip link set lo up
    ip tuntap add mode tap name vm0
    ip addr add 192.168.213.1/24 dev vm0
    ip link set vm0 up
    # Nothing answers there, but without any default route Chromium believes that it has no network and finds no address for WebRTC.
    ip route add default via 192.168.213.2
}

# The folder that the guest mounts on /share.
make_share() {
    share=$logs/share
    mkdir -p "$share/ctl"
    cp "$here"/guest/* "$share/"
    cp "$binary" "$share/portald"
    [[ -z ${PORTALD_DEB:-} ]] || cp "$PORTALD_DEB" "$share/portald.deb"
    # Static, because the guest need not be of this host's release.
    cc -O2 -Wall -Wextra -Werror -static -pthread -o "$share/usbcam" "$here/guest/usbcam.c"
    cc -O2 -Wall -Wextra -Werror -shared -fPIC -nostdlib -o "$share/vimc.so" "$here/guest/vimc.c"
    local extra
    for extra in systemd/portald.service packaging/sysusers.conf; do
        [[ ! -e $tree/$extra ]] || cp "$tree/$extra" "$share/"
    done
}

boot() {
    # Emulated, not KVM: the test must run the same on a machine that is itself virtual. `snapshot` leaves the image as it is.
    qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -nodefaults -no-user-config -no-reboot -display none \
        -kernel "$PORTALD_VM_IMAGE/vmlinuz" -initrd "$PORTALD_VM_IMAGE/initrd.img" \
        -append "console=ttyS0 quiet panic=-1 net.ifnames=0 systemd.show_status=0 mitigations=off" \
        -drive "file=$PORTALD_VM_IMAGE/root.ext4,format=raw,if=virtio,snapshot=on,cache=unsafe" \
        -netdev tap,id=n0,ifname=vm0,script=no,downscript=no -device virtio-net-pci,netdev=n0,romfile= \
        -virtfs "local,path=$share,mount_tag=share,security_model=none" \
        -device virtio-rng-pci -serial "file:$logs/console.log" &
    qemu=$!
    # 20 to 30 s on an idle host, 70 were seen on a busy one.
    local n
    for ((n = 0; n < 6000; n++)); do
        [[ ! -e $share/ctl/ready ]] || { say "$(<"$share/ctl/ready")"; return; }
        kill -0 "$qemu" 2>/dev/null || break
        sleep 0.1
    done
    tail -30 "$logs/console.log" >&2 || true
    die "the virtual machine did not come up" "its console is in $logs/console.log"
}

say() {
    echo "vm: $*" >&2
}

die() {
    echo "vm: error: $1; $2" >&2
    exit 1
}

main "$@"
