#!/usr/bin/env bash
# Runs inside the virtual machine: puts the daemon under test where a package would, and starts nothing.
set -euo pipefail
# Once: the shared folder is slow, and there are several tests.
[[ /usr/bin/portald -nt /share/portald ]] || install -m 755 /share/portald /usr/bin/portald
install -D -m 644 /share/portald.toml /etc/portald/portald.toml
if [[ -e /share/sysusers.conf ]]; then
    systemd-sysusers /share/sysusers.conf
fi
install -m 644 /share/portald.service /etc/systemd/system/portald.service
# For this machine only. Under emulation orc's just-in-time code is slower than its plain C (videoconvert: 22 s against 10 s),
# and a first scan of GStreamer's plugins takes 20 s.
mkdir -p /etc/systemd/system/portald.service.d
cat >/etc/systemd/system/portald.service.d/vm.conf <<'UNIT'
[Service]
Environment=ORC_CODE=backup GST_REGISTRY=/var/cache/vm-gstreamer/registry.bin
ReadWritePaths=/var/cache/vm-gstreamer
UNIT
# As `systemctl enable` would, which a unit without [Install] refuses. Being wanted also makes systemd remember how the unit ended.
systemctl -q add-wants multi-user.target portald.service
