#!/usr/bin/python3
"""An RTSP server for the tests: GStreamer's own, on loopback. Prints the port it took, then serves until it is ended.

usage: rtsp-server.py PORT NAME=LAUNCH…

Each NAME becomes rtsp://127.0.0.1:PORT/NAME with the launch line's streams; PORT 0 takes any. With RTSP_PASSWORD in the
environment, only the user `admin` with that password gets in, by digest authentication. On SIGUSR1 every capsfilter
called `size` goes over to half the width and height, in mid-stream.
"""
import os
import signal
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])

password = os.environ.get("RTSP_PASSWORD")
if password:
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(2)  # digest
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_digest("admin", password, token)
    server.set_auth(auth)

sizes = []


def note_size(factory, media):
    size = media.get_element().get_by_name("size")
    if size:
        sizes.append(size)


def halve():
    for size in sizes:
        caps = size.get_property("caps").copy()
        for side in ("width", "height"):
            caps.set_value(side, caps.get_structure(0).get_int(side)[1] // 2)
        size.set_property("caps", caps)
    return True


GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR1, halve)

for argument in sys.argv[2:]:
    name, launch = argument.split("=", 1)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch("( " + launch + " )")
    factory.connect("media-configure", note_size)
    factory.set_shared(True)  # one encoder for all who watch, as in a camera
    factory.add_role_from_structure(
        Gst.Structure.new_from_string(
            "user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        )
    )
    server.get_mount_points().add_factory("/" + name, factory)

server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
