//! A camera in the network: GStreamer's RTSP server, with key frames 10 s apart.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Pictures between two key frames, at 30 a second.
const GROUP: u32 = 300;

/// The server; dropping it ends it.
#[derive(Debug)]
pub(crate) struct NetworkCamera {
    child: Child,
    port: u16,
}

impl NetworkCamera {
    /// Starts it; `None` where its packages are missing.
    pub(crate) fn start() -> Option<Self> {
        let found = spawn(0);
        if found.is_none() {
            eprintln!("  not measured: apt install python3-gi gir1.2-gst-rtsp-server-1.0");
        }
        found.map(|(child, port)| Self { child, port })
    }

    /// A `source` for the configuration.
    pub(crate) fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/live", self.port)
    }

    /// Ends it, as when its power fails.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again at the same port.
    pub(crate) fn restart(&mut self) {
        (self.child, _) = spawn(self.port).expect("it started before");
    }

    /// Makes it silent, or lets it go on.
    pub(crate) fn set_silent(&self, silent: bool) {
        signal(self.child.id(), if silent { "-STOP" } else { "-CONT" });
    }
}

impl Drop for NetworkCamera {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process of ours; std can only kill.
pub(crate) fn signal(id: u32, name: &str) {
    let status =
        Command::new("/bin/sh").args(["-c", "kill \"$1\" \"$2\"", "sh", name, &id.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill {name} {id}");
}

fn spawn(port: u16) -> Option<(Child, u16)> {
    // Bright: a viewer that decodes takes a dark picture for a slate.
    let launch = format!(
        "live=videotestsrc is-live=true pattern=ball background-color=0xffd0d0d0 foreground-color=0xff202020 ! \
         video/x-raw,format=I420,width=1280,height=720,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=superfast key-int-max={GROUP} bitrate=2000 ! \
         video/x-h264,profile=constrained-baseline ! rtph264pay name=pay0 pt=96"
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/rtsp-server.py");
    let mut child = Command::new("/usr/bin/python3")
        .args([script, &port.to_string(), &launch])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let _ = BufReader::new(child.stdout.take()?).read_line(&mut line);
    match line.trim().parse() {
        Ok(port) => Some((child, port)),
        Err(_) => {
            let _ = child.wait();
            None
        }
    }
}
