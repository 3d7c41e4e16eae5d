#!/usr/bin/env bash
# Runs inside a container that has just booted, as root: installs the package, looks at it from all sides, upgrades it, and
# removes it. /share has old.deb, new.deb, and the exposure that this Debian's systemd may find (in tenths).
set -uo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive SYSTEMD_PAGER= HOME=/root
url=http://localhost:8080
conf=/etc/portald/portald.toml
unit=/usr/lib/systemd/system/portald.service
failures=0

main() {
    files >/tmp/before
    fresh_install
    configuration
    secrets
    reload
    restarts
    removal
    upgrade
    echo "$failures failures"
    [[ $failures -eq 0 ]]
}

fresh_install() {
    check "apt installs it" install /share/new.deb
    check "the package enables the unit" systemctl -q is-enabled portald
    check "the package starts the unit" systemctl -q is-active portald
    check "it serves" patiently curl -fsS $url/healthz
    check "the wall page is served" fetch / '<title>'
    check "the client module is served" fetch /client.js PortalGun
    check "what dpkg installed is as it was packed" unchanged
    check "it runs as its user, in the groups of devices" groups_are
    check "only root and portald read the configuration" is "$(stat -c '%U:%G %a' $conf)" 'root:portald 640'
    check "the configuration is valid and says nothing but the defaults" portald check-config
    check "systemd-analyze verify" verify
    check "exposure" systemd-analyze security --offline=true --threshold="$(cat /share/threshold)" $unit
    check "state and cache belong to portald alone" is "$(stat -c '%U %a' /var/lib/portald /var/cache/portald | tr '\n' ' ')" 'portald 700 portald 755 '
    check "GStreamer's registry is kept in the cache" test -s /var/cache/portald/registry.bin
}

configuration() {
    printf '[camera.yard]\nsource = "test"\ntitle = "Yard"\n' >>$conf
    check "restart with a test camera" systemctl restart portald
    check "the camera is listed" patiently fetch /api/cameras '"name":"yard"'
    check "its picture is a JPEG" patiently snapshot
    check "the journal has the camera as a field" patiently journal CAMERA=yard
    check "the journal has the version as a field" patiently journal VERSION=
    check "the sandbox denied nothing that GStreamer complains of" lacks "$(journalctl -u portald -p warning --no-pager -o cat)" 'Permission denied|Operation not permitted'
    mkdir -p /etc/portald/pipelines/encoder
    sed 's/^# about: .*/# about: An encoder of this box alone/' /usr/share/portald/pipelines/encoder/x264enc.pipeline >/etc/portald/pipelines/encoder/board.pipeline
    check "an encoder in /etc is found" contains "$(portald devices 2>&1)" board
    mv /etc/portald/pipelines/encoder/{board,vp8enc}.pipeline
    sed -i 's/^# codec: .*/# codec: none/' /etc/portald/pipelines/encoder/vp8enc.pipeline
    check "a file in /etc stands for the package's of the same name" contains "$(portald devices 2>&1)" /etc/portald/pipelines/encoder/vp8enc.pipeline
    rm -r /etc/portald/pipelines
}

# A password that only root can read, handed over by systemd.
secrets() {
    mkdir -p /etc/systemd/system/portald.service.d
    (umask 077; echo correct-horse >/root/password)
    printf '[Service]\nLoadCredential=viewer-password:/root/password\n' >/etc/systemd/system/portald.service.d/password.conf
    cp -p $conf /root/portald.toml
    printf '[access]\nviewer_password_file = "viewer-password"\n' >>$conf
    systemctl daemon-reload
    check "restart with a credential" systemctl restart portald
    check "without the password nobody gets in" patiently is_status 401 /api/cameras
    check "with it one does" is_status 200 /api/cameras -H 'Authorization: Bearer correct-horse'
    check "the password is in no log" lacks "$(journalctl --no-pager -o export)" correct-horse
    rm -r /etc/systemd/system/portald.service.d
    cat /root/portald.toml >$conf
    systemctl daemon-reload
    check "restart without it" systemctl restart portald
}

reload() {
    local pid
    pid=$(main_pid)
    check "reload with a good file" systemctl reload portald
    check "it still serves" patiently curl -fsS $url/healthz
    echo 'lisen = 1' >>$conf
    systemctl reload portald
    check "reload with a bad file goes on with what there was" patiently fetch /api/cameras '"name":"yard"'
    check "the journal names line and column" patiently journal_says "$conf:$(wc -l <$conf):1"
    check "neither was a restart" is "$(main_pid)" "$pid"
    check "check-config names line and column" contains "$(portald check-config 2>&1)" "$conf:$(wc -l <$conf):1"
    systemctl restart portald
    check "a bad file at the start is fatal" patiently is_failed 78
    sleep 5
    check "and not tried again" is_failed 78
    cat /root/portald.toml >$conf
    systemctl reset-failed portald
    check "start with the good file" systemctl start portald
}

restarts() {
    local before pid
    before=$(restart_count)
    kill -KILL "$(main_pid)"
    check "killed, it is restarted" patiently restarted_since "$before"
    check "it serves again" patiently curl -fsS $url/healthz
    pid=$(main_pid)
    # Longer than WatchdogSec: whoever does not feed it is gone by then.
    sleep 40
    check "left alone, the watchdog leaves it alone" is "$(main_pid)" "$pid"
    before=$(restart_count)
    kill -STOP "$(main_pid)"
    check "stopped dead, the watchdog restarts it" patiently restarted_since "$before"
    check "and the journal says why" patiently contains_watchdog
    check "it serves after that" patiently curl -fsS $url/healthz
}

removal() {
    touch /var/lib/portald/kept
    check "remove" apt-get -qq -y remove portald
    check "removed, it does not run" isnt_active
    check "the configuration is kept" grep -q 'camera.yard' $conf
    check "the state is kept" test -e /var/lib/portald/kept
    echo secret >/etc/portald/viewer-password
    check "purge" apt-get -qq -y purge portald
    check "purged, nothing is left" nothing_left
}

upgrade() {
    local version
    check "apt installs the older build" install /share/old.deb
    printf '[camera.yard]\nsource = "test"\n' >>$conf
    chmod 600 $conf
    chown portald $conf
    systemctl restart portald
    check "the older one serves" patiently fetch /api/cameras '"name":"yard"'
    touch /var/lib/portald/kept
    cp -p $conf /root/portald.toml
    ask &
    asking=$!
    check "apt upgrades it" install /share/new.deb
    check "the newer one serves" patiently fetch /api/cameras '"name":"yard"'
    kill $asking
    wait $asking 2>/dev/null
    version=$(dpkg-deb -f /share/new.deb Version)
    check "it is the newer one" is "$(dpkg-query -W -f '${Version} ${db:Status-Status}' portald)" "$version installed"
    check "the unit was restarted, not only started again by hand" systemctl -q is-active portald
    check "the configuration is as it was" cmp $conf /root/portald.toml
    check "and its owner and mode" is "$(stat -c '%U %a' $conf)" 'portald 600'
    check "the state is as it was" test -e /var/lib/portald/kept
    check "questions were asked all the time" test "$(wc -l </tmp/asked)" -gt 20
    check "none was turned away" is "$(cat /tmp/asked.errors)$(grep -v 200 /tmp/asked)" ''
    check "purge of the upgraded one" apt-get -qq -y purge portald
    check "nothing is left of it" nothing_left
}

# Asks over a new connection each time, as somebody who opens the page, and notes the answers.
ask() {
    trap 'exit 0' TERM
    : >/tmp/asked
    while :; do
        curl -sS -m 60 -o /dev/null -w '%{http_code}\n' $url/healthz >>/tmp/asked 2>>/tmp/asked.errors
        sleep 0.05
    done
}

install() { apt-get -qq -y --no-install-recommends -o Dpkg::Options::=--force-confold install "$1"; }
fetch() { contains "$(curl -fsS -m 20 "$url$1")" "$2"; }
snapshot() { [[ $(curl -fsS -m 20 $url/cameras/yard/snapshot.jpg | head -c 3 | od -An -tx1 | tr -d ' \n') == ffd8ff ]]; }
journal_says() { contains "$(journalctl -u portald --no-pager -o cat)" "$1"; }
journal() { [[ $(journalctl -u portald -o export --no-pager | grep -ac "^$1") -gt 0 ]]; }
is_status() { local want=$1 path=$2; shift 2; is "$(curl -s -m 20 -o /dev/null -w '%{http_code}' "$@" "$url$path")" "$want"; }
is_failed() { is "$(systemctl show -P ActiveState portald) $(systemctl show -P ExecMainStatus portald)" "failed $1"; }
isnt_active() { ! systemctl -q is-active portald && ! pgrep -u portald && ! curl -s $url; }
unchanged() { is "$(dpkg -V portald | grep -v ' c ')" ''; }
groups_are() { is "$(ps -o user= -p "$(main_pid)") $(id -nG portald | tr ' ' '\n' | sort | tr '\n' ' ')" 'portald portald render video '; }
main_pid() { systemctl show -P MainPID portald; }
restart_count() { systemctl show -P NRestarts portald; }
restarted_since() { [[ $(restart_count) -gt $1 ]] && systemctl -q is-active portald; }
contains_watchdog() { contains "$(journalctl -u portald --no-pager)" 'Watchdog timeout'; }
contains() { [[ $1 == *"$2"* ]] || { echo "no \`$2\` in: ${1: -1500}"; return 1; }; }
lacks() { ! grep -aE -m 3 "$2" <<<"$1"; }
is() { [[ $1 == "$2" ]] || { echo "found \`$1\`, not \`$2\`"; return 1; }; }

# Debian 12's systemd names the two settings that it does not know; nothing else may be said.
verify() {
    local said
    said=$(systemd-analyze verify $unit 2>&1 | grep -v "Unknown key.* 'Restart\(Steps\|MaxDelaySec\)'" | grep -v "Command 'man .*' failed")
    is "$said" ''
}

# All files but those of the running system and of dpkg and apt themselves. Users stay, as is usual: another would get their number.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /share -o -path /root -o -path /var/log \
        -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache/apt -o -path /var/cache/debconf -o -path /var/tmp -o -path /var/lib/systemd \
        -o -path '/etc/passwd-' -o -path '/etc/group-' -o -path '/etc/shadow-' -o -path '/etc/gshadow-' -o -path /etc/.pwd.lock \) -prune -o -print | sort
    find /var/lib/systemd -name '*portald*'
}
nothing_left() { files >/tmp/after && diff /tmp/before /tmp/after; }

# Tries for three minutes: only a hang takes so long. The watchdog alone may take 50 s.
patiently() {
    local n
    for ((n = 0; n < 720; n++)); do
        "$@" >/tmp/tried 2>&1 && return
        sleep 0.25
    done
    cat /tmp/tried
    return 1
}

check() {
    local what=$1
    shift
    if "$@" >/tmp/said 2>&1; then
        echo "ok    $what"
    else
        echo "FAIL  $what"
        tail -15 /tmp/said | sed 's/^/      /'
        failures=$((failures + 1))
    fi
}

main
