//! Cameras that nobody configured: published when they are found, at the start and whenever one is plugged in.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::config::settings::{self, MAX_CAMERAS, Settings, Source};
use crate::hotplug::Watcher;
use crate::identity::Places;
use crate::media::has_element;
use crate::media::probe::{self, Device, Look};
use crate::media::sensors::{self, Sensor};
use crate::proto::ids::{MAX_NAME, Name};

/// A camera brings two or more nodes and as many links; udev makes them within this time.
const SETTLE: Duration = Duration::from_millis(200);

/// A camera that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Find {
    /// A name for it, which may be taken.
    name: String,
    title: String,
    source: Source,
}

impl From<Device> for Find {
    fn from(Device { name, title, path, .. }: Device) -> Self {
        Self { name, title, source: Source::V4l2(path) }
    }
}

impl From<&Sensor> for Find {
    fn from(sensor: &Sensor) -> Self {
        let title = sensor.title().to_owned();
        Self { name: probe::name_from(&title), title, source: Source::Libcamera(Some(sensor.name.clone())) }
    }
}

/// How a camera that was found is published; none when it is already, or when there are too many.
pub(crate) fn camera(settings: &Settings, find: Find) -> Option<settings::Camera> {
    let Find { name, title, source } = find;
    if settings.cameras.len() >= MAX_CAMERAS || settings.cameras.iter().any(|camera| camera.source == source)
    {
        return None;
    }
    let is_free = |name: &Name| settings.cameras.iter().all(|camera| camera.name != *name);
    let name = names(&name).filter_map(|name| Name::new(name).ok()).find(is_free)?;
    let camera = name.as_str();
    info!(camera; "camera {camera}: found {title} at {source}");
    let mut found = settings.found_camera(name, source);
    found.title = title;
    Some(found)
}

/// What there is. Blocks while every camera is opened, and libcamera asked.
fn look() -> Vec<Find> {
    let Look { cameras, has_ribbon } = probe::look();
    let mut found: Vec<_> = cameras.into_iter().map(Find::from).collect();
    // Most boxes have none, and need no libcamera.
    if has_ribbon {
        found.extend(ribbon());
    }
    found
}

/// The cameras of libcamera; if there are none, the log says why.
fn ribbon() -> Vec<Find> {
    const NONE: &str = "this box has what receives a ribbon-cable camera, but";
    if !has_element("libcamerasrc") {
        info!("{NONE} not what makes pictures of it: apt install gstreamer1.0-libcamera libcamera-ipa");
        return Vec::new();
    }
    let asked = env::current_exe().map_err(|error| error.to_string());
    match asked.and_then(|program| sensors::in_child(&program)) {
        Ok(sensors) if sensors.is_empty() => {
            info!("{NONE} libcamera knows none; if one is connected: apt install libcamera-ipa");
            Vec::new()
        }
        Ok(sensors) => sensors.iter().map(Find::from).collect(),
        Err(why) => {
            warn!("{NONE} it cannot be found: {why}");
            Vec::new()
        }
    }
}

/// Looks for cameras: at first, and whenever something was plugged in.
pub(crate) struct Finder {
    dev: PathBuf,
    watcher: Watcher,
    known: BTreeSet<PathBuf>,
    /// A look that is under way; opening a camera may take long.
    looking: Option<JoinHandle<Vec<Find>>>,
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
    pub(crate) async fn next(&mut self) -> Vec<Find> {
        if self.looking.is_none() {
            if !self.first {
                self.news().await;
            }
            let after = if self.first { Duration::ZERO } else { SETTLE };
            self.first = false;
            self.looking = Some(spawn_blocking(move || {
                std::thread::sleep(after);
                look()
            }));
        }
        let found = match &mut self.looking {
            Some(looking) => looking.await.unwrap_or_default(),
            None => Vec::new(),
        };
        self.looking = None;
        found
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
                    let found = camera(&settings, device(name, path).into());
                    settings.cameras.extend(found.clone());
                    found.map(|camera| camera.name.to_string())
                })
                .collect();
        assert_eq!(names, [Some("cam".into()), Some("cam-2".into()), None]);
    }
}
