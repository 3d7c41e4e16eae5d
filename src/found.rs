//! Cameras that nobody configured: published when they are found, at the start and whenever one is plugged in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::info;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::config::settings::{self, MAX_CAMERAS, Settings, Source};
use crate::hotplug::Watcher;
use crate::identity::Places;
use crate::media::probe::{self, Device};
use crate::proto::ids::{MAX_NAME, Name};

/// A camera brings two or more nodes and as many links; udev makes them within this time.
const SETTLE: Duration = Duration::from_millis(200);

/// How a device that was found is published; none when it is already, or when there are too many.
pub(crate) fn camera(settings: &Settings, device: Device) -> Option<settings::Camera> {
    let source = Source::V4l2(device.path);
    if settings.cameras.len() >= MAX_CAMERAS || settings.cameras.iter().any(|camera| camera.source == source)
    {
        return None;
    }
    let is_free = |name: &Name| settings.cameras.iter().all(|camera| camera.name != *name);
    let name = names(&device.name).filter_map(|name| Name::new(name).ok()).find(is_free)?;
    let camera = name.as_str();
    info!(camera; "camera {camera}: found {} at {source}", device.title);
    let mut found = settings.found_camera(name, source);
    found.title = device.title;
    Some(found)
}

/// Looks for cameras: at first, and whenever something was plugged in.
pub(crate) struct Finder {
    dev: PathBuf,
    watcher: Watcher,
    known: BTreeSet<PathBuf>,
    /// A look that is under way; opening a camera may take long.
    looking: Option<JoinHandle<Vec<Device>>>,
    /// Whether there was none yet.
    first: bool,
}

impl Finder {
    /// Must be called within the runtime.
    pub(crate) fn new() -> Self {
        let dev = Places::default().dev;
        let linked = ["by-id", "by-path"].map(|kind| dev.join("v4l").join(kind));
        let watcher = Watcher::new(linked.to_vec());
        Self { known: nodes(&dev), dev, watcher, looking: None, first: true }
    }

    /// What there is, when there may be something new. One that is unplugged stays listed, as absent. May be dropped and
    /// called again.
    pub(crate) async fn next(&mut self) -> Vec<Device> {
        if self.looking.is_none() {
            if !self.first {
                self.news().await;
            }
            let after = if self.first { Duration::ZERO } else { SETTLE };
            self.first = false;
            self.looking = Some(spawn_blocking(move || {
                std::thread::sleep(after);
                probe::devices()
            }));
        }
        let devices = match &mut self.looking {
            Some(looking) => looking.await.unwrap_or_default(),
            None => Vec::new(),
        };
        self.looking = None;
        devices
    }

    async fn news(&mut self) {
        loop {
            let told = self.watcher.changed().await;
            // Asking opens every camera: not without a reason.
            let present = nodes(&self.dev);
            let is_news = told || !present.is_subset(&self.known);
            self.known = present;
            if is_news {
                return;
            }
        }
    }
}

/// The V4L2 nodes there are.
fn nodes(dev: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(dev).into_iter().flatten().flatten();
    let is_video = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix("video").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    entries.map(|entry| entry.path()).filter(is_video).collect()
}

/// The name, and what it becomes when that is taken.
fn names(name: &str) -> impl Iterator<Item = String> {
    let name = name.to_owned();
    (1..=MAX_CAMERAS).map(move |number| match number {
        1 => name.clone(),
        _ => {
            let ending = format!("-{number}");
            let kept: String = name.chars().take(MAX_NAME - ending.len()).collect();
            format!("{}{ending}", kept.trim_end_matches('-'))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, path: &str) -> Device {
        let (name, title) = (name.to_owned(), name.to_owned());
        Device { name, title, path: path.into(), node: path.into(), modes: Vec::new() }
    }

    #[test]
    fn a_camera_is_published_once_and_under_a_name_of_its_own() {
        let mut settings = crate::config::load_with(Some(Path::new("/dev/null")), []).unwrap();
        let names: Vec<_> =
            [("cam", "/dev/v4l/by-id/a"), ("cam", "/dev/v4l/by-path/b"), ("cam", "/dev/v4l/by-id/a")]
                .into_iter()
                .map(|(name, path)| {
                    let found = camera(&settings, device(name, path));
                    settings.cameras.extend(found.clone());
                    found.map(|camera| camera.name.to_string())
                })
                .collect();
        assert_eq!(names, [Some("cam".into()), Some("cam-2".into()), None]);
    }
}
