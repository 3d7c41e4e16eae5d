#!/usr/bin/env bash
# Runs inside the virtual machine: gives it its address, then runs the commands that the host puts on the shared folder.
# For each N.cmd it leaves N.out and, when that is complete, N.rc. See tests/vm/guest.mjs for the other side.
set -u
cd /share/ctl || exit 1

# net.ifnames=0 on the kernel's command line: the one network card is eth0.
ip link set lo up
ip link set eth0 up
ip addr add 192.168.213.2/24 dev eth0
ip route add default via 192.168.213.1

# A pipe nobody writes to: reading it with a time limit waits without starting a process, which is dear on an emulated processor.
exec {never}<> <(:)

echo "up after $(cut -d' ' -f1 /proc/uptime) s, kernel $(uname -r)" >ready.tmp && mv ready.tmp ready
n=1
while :; do
    if [[ -e $n.cmd ]]; then
        bash "$n.cmd" >"$n.out" 2>&1 </dev/null
        echo $? >"$n.rc.tmp" && mv "$n.rc.tmp" "$n.rc"
        n=$((n + 1))
    else
        read -r -t 0.1 -u "$never"
    fi
done
