#!/usr/bin/env bash
# Builds the virtual machine of `make test-vm`, once, and prints the directory that holds it: vmlinuz, initrd.img, root.ext4.
#
# A Debian of this host's own suite (the portald built here must find its libc and GStreamer there), Debian's stock kernel with
# virtual cameras, and an agent that runs what the host asks for. Kept outside the tree under a name made from
# everything that goes into it, so that a change here or in packages.txt makes a new one; progress goes to stderr.
# Delete the directory to build anew, with the suite's packages of the day.
#
#   PORTALD_VM_CACHE   where images are kept        default ~/.cache/portald/vm
#   PORTALD_VM_SUITE   another Debian release       default this host's
#   PORTALD_VM_MIRROR  another mirror               default http://deb.debian.org/debian
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
packages_file=$here/../../packaging/packages.txt
cache=${PORTALD_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portald/vm}
mirror=${PORTALD_VM_MIRROR:-http://deb.debian.org/debian}

# What the guest must be able to load: its disk, network and shared folder; vivid; a camera fed by a program; one that only
# libcamera can use; and what a USB camera that is a program is made of.
modules=(virtio_pci virtio_blk virtio_net virtio_rng ext4 9p 9pnet_virtio overlay vivid v4l2loopback vimc uvcvideo dummy_hcd gadgetfs)
# What must be there before the root file system is.
boot_modules=(virtio_pci virtio_blk ext4)
# Room for the largest Debian so far (0.9 GB) and for a package under test; the file is sparse.
root_size=2560M
# Images that no test has used for so long are deleted when a new one is made.
keep_days=14

main() {
    check_host
    local suite key image build
    suite=${PORTALD_VM_SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-}")}
    [[ -n $suite ]] || die "/etc/os-release names no Debian release" "set PORTALD_VM_SUITE, for example to bookworm"
    key=$({ cat "${BASH_SOURCE[0]}"; packages guest run module; echo "$suite $mirror"; } | sha256sum | cut -c1-16)
    image=$cache/$suite-$key
    mkdir -p "$cache"
    # Two tests at once must not build the same image twice; the lock goes with the process, however that ends.
    exec 9>"$cache/lock"
    flock 9
    if [[ ! -d $image ]]; then
        # Never older than this script's run: the lock is ours, so whatever lies here was left by a run that was killed.
        rm -rf --one-file-system "$cache"/building.*
        build=$(mktemp -d "$cache/building.XXXXXX")
        trap "rm -rf --one-file-system '$build'" EXIT
        trap 'exit 130' INT TERM HUP
        build_image "$suite" "$build"
        mkdir "$build/image"
        mv "$build/vmlinuz" "$build/initrd.img" "$build/root.ext4" "$build/image/"
        # The last step, and one that happens wholly or not at all: a directory of this name is a complete image.
        mv "$build/image" "$image"
        find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime "+$keep_days" -exec rm -rf --one-file-system {} +
    fi
    touch "$image"
    echo "$image"
}

check_host() {
    [[ $EUID -eq 0 ]] || die "building the virtual machine needs root (debootstrap makes device nodes and changes roots)" "run it with sudo"
    [[ $(dpkg --print-architecture) == amd64 ]] || die "this builds amd64 machines only; this host is $(dpkg --print-architecture)" "run it on an amd64 host"
    local tool
    for tool in debootstrap mke2fs cpio unshare setpriv flock; do
        command -v "$tool" >/dev/null || die "$tool is missing" "apt-get install $(packages vm | tr '\n' ' ')"
    done
}

build_image() {
    local suite=$1 build=$2 root=$2/root
    say "building the $suite image (some minutes, once): 1/6 base system"
    isolated debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$build/debootstrap.log" ||
        { tail -20 "$build/debootstrap.log" >&2; die "debootstrap failed" "see the lines above"; }
    say "2/6 packages"
    install_packages "$suite" "$root"
    say "3/6 kernel"
    install_kernel "$build" "$root"
    say "4/6 settings"
    settle_guest "$root"
    say "5/6 GStreamer's registry"
    warm_gstreamer "$root"
    say "6/6 initrd and disk"
    make_initrd "$build" "$root"
    make_disk "$build" "$root"
    say "done: $(du -h "$build/root.ext4" | cut -f1) on disk"
}

install_packages() {
    local suite=$1 root=$2
    # The security suite too, because the host has it: the two GStreamers must be of one version.
    cat >"$root/etc/apt/sources.list" <<LIST
deb $mirror $suite main
deb $mirror $suite-updates main
deb http://deb.debian.org/debian-security $suite-security main
LIST
    cat >"$root/etc/dpkg/dpkg.cfg.d/vm" <<'CFG'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
CFG
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    in_root "$root" apt-get -qq update >&2
    # shellcheck disable=SC2046 # one word per package is meant
    in_root "$root" apt-get -qq -y --no-install-recommends install $(packages guest run) >"$root/../apt.log" 2>&1 ||
        { tail -20 "$root/../apt.log" >&2; die "apt-get install failed in the image" "see the lines above"; }
}

# Unpacks the kernel that linux-image-amd64 stands for today, and keeps of its modules what `modules` needs: 400 MB less.
install_kernel() {
    local build=$1 root=$2 package version full kept path
    package=$(in_root "$root" apt-cache depends --important linux-image-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
    [[ -n $package ]] || die "linux-image-amd64 names no kernel" "look at: apt-cache depends linux-image-amd64"
    say "    $package"
    in_root "$root" sh -c "cd /tmp && apt-get -qq download $package" >&2
    dpkg-deb -x "$root"/tmp/linux-image-*.deb "$build/kernel"
    rm "$root"/tmp/linux-image-*.deb
    cp "$build"/kernel/boot/vmlinuz-* "$build/vmlinuz"
    # lib/modules in Debian 12, usr/lib/modules in 13; in the guest /lib is a link to usr/lib.
    full=$(dirname "$(find "$build/kernel" -name modules.builtin)")
    version=$(basename "$full")
    kept=$root/usr/lib/modules/$version
    mkdir -p "$root/usr/lib/modules"
    mv "$full" "$kept"
    build_modules "$build" "$root" "$version"
    install -D -m 644 -t "$kept/updates" "$build"/{v4l2loopback,vimc}.ko
    in_root "$root" depmod "$version"
    module_files "$root" "$version" "${modules[@]}" | sort -u >"$build/modules.list"
    mv "$kept" "$build/modules.full"
    while read -r path; do
        install -D -m 644 "$build/modules.full/$path" "$kept/$path"
    done <"$build/modules.list"
    cp "$build"/modules.full/modules.{builtin,builtin.modinfo,order} "$kept/"
    in_root "$root" depmod "$version"
    echo "$version" >"$build/kernel-version"
}

# v4l2loopback, a camera fed by a program, is no part of Debian's kernel: Debian has its source, to be compiled against the
# kernel's headers. So with vimc, a camera like those on ribbon cables, of which Debian has the kernel's own source. That is done
# in a copy of the guest, of which nothing else is kept.
build_modules() {
    local build=$1 root=$2 version=$3 maker=$1/maker source=linux-source-$(cut -d. -f1,2 <<<"$3") vimc
    say "    v4l2loopback and vimc for $version"
    vimc=$source/drivers/media/test-drivers/vimc
    cp -a "$root" "$maker"
    compile_modules >"$build/module.log" 2>&1 ||
        { tail -20 "$build/module.log" >&2; die "v4l2loopback or vimc does not build" "see the lines above"; }
    mv "$maker"/usr/src/v4l2loopback-*/v4l2loopback.ko "$maker/usr/src/$vimc/vimc.ko" "$build/"
    rm -rf --one-file-system "$maker"
}

# Joined by &&: whoever calls it looks at its end, and then bash does not look at each command's.
compile_modules() {
    # shellcheck disable=SC2046 # one word per package is meant
    in_root "$maker" apt-get -qq -y --no-install-recommends install "linux-headers-$version" $(packages module | grep -v -- '-dkms$') &&
        # Not installed: dkms would build for the kernel of this host.
        in_root "$maker" sh -ec 'cd /tmp && apt-get -qq download "$1" "$2" && dpkg-deb -x "$1"_*.deb /' - "$(packages module | grep -- '-dkms$')" "$source" &&
        in_root "$maker" sh -ec "make -C /usr/src/linux-headers-$version M=\$(echo /usr/src/v4l2loopback-*) modules" &&
        dpkg-deb --fsys-tarfile "$maker"/tmp/"$source"_*.deb | tar -xO "./usr/src/$source.tar.xz" | tar -xJ -C "$maker/usr/src" "$vimc" &&
        in_root "$maker" make -C "/usr/src/linux-headers-$version" M="/usr/src/$vimc" CONFIG_VIDEO_VIMC=m modules
}

# The files of some modules and of all they need, relative to the version's directory, in the order in which to load them.
module_files() {
    local root=$1 version=$2 module lines
    shift 2
    for module in "$@"; do
        # Not in a pipe: a module that is not there must end the build.
        lines=$(in_root "$root" modprobe -S "$version" --show-depends "$module") || die "the kernel has no module $module" "look at: apt-file show $version"
        # No pattern: a version may hold characters that mean something in one (6.12.117+deb13-amd64).
        awk -v from="/$version/" '$1 == "insmod" { print substr($2, index($2, from) + length(from)) }' <<<"$lines"
    done
}

settle_guest() {
    local root=$1 wants=$1/etc/systemd/system/multi-user.target.wants
    rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
    echo portald-vm >"$root/etc/hostname"
    echo '127.0.0.1 localhost portald-vm' >"$root/etc/hosts"
    : >"$root/etc/fstab"
    in_root "$root" passwd -q -d root
    in_root "$root" systemd-machine-id-setup >/dev/null 2>&1
    # Nothing of Debian's housekeeping may take the slow, emulated processor from a test.
    in_root "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer man-db.timer systemd-tmpfiles-clean.timer systemd-logind.service getty.target
    # The agent itself comes with the shared folder, so that it can change without a new image.
    mkdir -p "$root/share" "$wants"
    cat >"$root/etc/systemd/system/vm-agent.service" <<'UNIT'
[Unit]
Description=Run what the host of this virtual machine asks for
After=basic.target
[Service]
ExecStartPre=modprobe 9pnet_virtio
ExecStartPre=mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share
ExecStart=bash /share/agent.sh
StandardOutput=journal+console
StandardError=journal+console
UNIT
    ln -s ../vm-agent.service "$wants/vm-agent.service"
}

# A first scan of the plugins takes 20 s of an emulated processor. The registry lies where every user in the guest may read and
# replace it (a camera that comes makes GStreamer look at its v4l2 plugin again).
warm_gstreamer() {
    local root=$1 registry=/var/cache/vm-gstreamer
    mkdir -m 777 "$root$registry"
    in_root "$root" env GST_REGISTRY=$registry/registry.bin HOME=/tmp gst-inspect-1.0 webrtcbin >/dev/null 2>&1 ||
        die "GStreamer in the image has no webrtcbin" "look at group run of packages.txt"
    chmod 666 "$root$registry/registry.bin"
    rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}

# Just enough to mount the disk: Debian's kernel has even virtio and ext4 as modules.
make_initrd() {
    local build=$1 root=$2 tree=$1/initrd version order="" path name
    version=$(<"$build/kernel-version")
    mkdir -p "$tree"/{bin,dev,proc,sys,root,modules}
    cp "$root/bin/busybox" "$tree/bin/busybox"
    ln -s busybox "$tree/bin/sh"
    for path in $(module_files "$root" "$version" "${boot_modules[@]}" | awk '!seen[$0]++'); do
        name=$(basename "$path")
        name=${name%.xz}
        # Debian 13 compresses modules; busybox's insmod may not know how to read that, its unxz does.
        if [[ $path == *.xz ]]; then
            "$root/bin/busybox" unxz -c "$root/usr/lib/modules/$version/$path" >"$tree/modules/$name"
        else
            cp "$root/usr/lib/modules/$version/$path" "$tree/modules/$name"
        fi
        order+=" $name"
    done
    cat >"$tree/init" <<INIT
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t devtmpfs dev /dev; \$b mount -t proc proc /proc; \$b mount -t sysfs sys /sys
for m in$order; do \$b insmod /modules/\$m || echo "initrd: cannot load \$m"; done
n=0; while [ ! -b /dev/vda ] && [ \$n -lt 100 ]; do \$b sleep 0.1; n=\$((n+1)); done
\$b mount -t ext4 -o rw /dev/vda /root || { echo "initrd: no root file system on /dev/vda"; \$b poweroff -f; }
for d in dev proc sys; do \$b mount --move /\$d /root/\$d; done
exec \$b switch_root /root /sbin/init
INIT
    chmod 755 "$tree/init"
    (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$build/initrd.img"
}

make_disk() {
    local build=$1 root=$2
    mke2fs -q -t ext4 -O ^has_journal -m 0 -L root -d "$root" "$build/root.ext4" "$root_size" >&2
}

# The packages of some groups of packages.txt, one a line.
packages() {
    awk -v groups=" $* " '$1 !~ /^#/ && NF == 2 && index(groups, " " $1 " ") { print $2 }' "$packages_file"
}

# Runs a command in namespaces of its own: what it mounts or leaves running is gone when it ends, or this script does.
isolated() {
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc "$@"
}

in_root() {
    local root=$1
    shift
    isolated --root="$root" env HOME=/root "$@"
}

say() {
    echo "vm image: $*" >&2
}

die() {
    echo "vm image: error: $1; $2" >&2
    exit 1
}

main "$@"
