//! Cameras that nobody configured: published when they are found, at the start and whenever one is plugged in.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::info;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::config::settings::{self, MAX_CAMERAS, Settings, Source};
use crate::hotplug::Watcher;
use crate::identity::Places;
use crate::media::has_element;
use crate::media::probe::{self, Device, Look};
use crate::media::sensors::{self, Sensor};
use crate::proto::ids::{MAX_NAME, Name};

/// A camera brings two or more nodes and as many links; udev makes them within this time.
const SETTLE: Duration = Duration::from_millis(200);
/// libcamera that gave no answer is asked again after so long, then after twice as long, and so on.
const AGAIN: Duration = Duration::from_secs(30);
/// So often: to about an hour after the start.
const MAX_LAPSES: u32 = 7;

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

/// Why libcamera has no camera.
struct NotFound {
    why: String,
    /// It gave no answer: a box that has just started may be too busy.
    again: bool,
}

/// The cameras of libcamera. Blocks while it is asked.
fn ribbon() -> Result<Vec<Find>, NotFound> {
    let none = |but: String, again| {
        let why = format!("this box has what receives a ribbon-cable camera, but {but}");
        Err(NotFound { why, again })
    };
    if !has_element("libcamerasrc") {
        let package = "apt install gstreamer1.0-libcamera libcamera-ipa";
        return none(format!("not what makes pictures of it: {package}"), false);
    }
    match sensors::in_child() {
        Err(why) => none(format!("it cannot be found: {why}"), true),
        Ok((sensors, _)) if !sensors.is_empty() => Ok(sensors.iter().map(Find::from).collect()),
        Ok((_, Some(said))) => none(format!("libcamera finds none: {said}"), false),
        Ok((_, None)) => {
            none("libcamera finds none; if one is connected: apt install libcamera-ipa".to_owned(), false)
        }
    }
}

/// Looks for cameras: at first, and whenever something was plugged in.
pub(crate) struct Finder {
    news: News,
    /// A look that is under way; opening a camera may take long.
    looking: Option<JoinHandle<Look>>,
    /// libcamera is being asked, which takes longer: nobody else's camera waits for it.
    asking: Option<JoinHandle<Result<Vec<Find>, NotFound>>>,
    /// How it is asked.
    how: fn() -> Result<Vec<Find>, NotFound>,
    /// The nodes that libcamera was last asked about. Such cameras stay, and a question may disturb one that runs.
    asked: BTreeSet<PathBuf>,
    /// When it is asked again, and how often it was: it gave no answer.
    again: Option<Instant>,
    lapses: u32,
    /// Why libcamera gave none, as the log has it already.
    told: Option<String>,
}

impl Finder {
    /// Looks for the first time. Must be called within the runtime.
    pub(crate) fn new() -> Self {
        let looking = Some(spawn_blocking(probe::look));
        let (asking, asked, again, lapses, told) = Default::default();
        Self { news: News::new(), looking, asking, how: ribbon, asked, again, lapses, told }
    }

    /// Whether there will be an answer soon, without anything being plugged in.
    pub(crate) fn is_looking(&self) -> bool {
        self.looking.is_some() || self.asking.is_some()
    }

    /// Asks libcamera.
    fn ask(&mut self) {
        self.again = None;
        self.asking = Some(spawn_blocking(self.how));
    }

    /// What there is, when there may be something new. One that is unplugged stays listed, as absent. May be dropped and
    /// called again.
    pub(crate) async fn next(&mut self) -> Vec<Find> {
        loop {
            tokio::select! {
                look = end_of(&mut self.looking) => {
                    let Look { cameras, ribbon } = look.unwrap_or_default();
                    if self.asking.is_none() && !ribbon.is_subset(&self.asked) {
                        self.asked = ribbon;
                        self.ask();
                    }
                    return cameras.into_iter().map(Find::from).collect();
                }
                () = sleep_until(self.again.unwrap_or_else(Instant::now)), if self.again.is_some() => self.ask(),
                answer = end_of(&mut self.asking) => match answer.unwrap_or_else(|| Ok(Vec::new())) {
                    Ok(found) => return found,
                    Err(NotFound { why, again }) => {
                        if again && self.lapses < MAX_LAPSES {
                            self.again = Some(Instant::now() + AGAIN * 2_u32.pow(self.lapses));
                            self.lapses += 1;
                        } else {
                            // What is plugged in next may be what was missing.
                            self.asked.clear();
                        }
                        if self.told.as_ref() != Some(&why) {
                            info!("{why}");
                        }
                        self.told = Some(why);
                        return Vec::new();
                    }
                },
                () = self.news.next(), if self.looking.is_none() => {
                    self.looking = Some(spawn_blocking(|| {
                        std::thread::sleep(SETTLE);
                        probe::look()
                    }));
                }
            }
        }
    }
}

/// What came of work that is under way, which then no longer is; none: it panicked.
async fn end_of<T>(work: &mut Option<JoinHandle<T>>) -> Option<T> {
    let Some(handle) = work else { return pending().await };
    let result = handle.await.ok();
    *work = None;
    result
}

/// Whether something was plugged in.
struct News {
    dev: PathBuf,
    watcher: Watcher,
    known: BTreeSet<PathBuf>,
}

impl News {
    fn new() -> Self {
        let dev = Places::default().dev;
        let linked = ["by-id", "by-path"].map(|kind| dev.join("v4l").join(kind));
        let watcher = Watcher::new(linked.to_vec());
        Self { known: nodes(&dev), dev, watcher }
    }

    async fn next(&mut self) {
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

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

    #[tokio::test(start_paused = true)]
    async fn libcamera_that_gives_no_answer_is_asked_again() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let how = || match ASKED.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(NotFound { why: "it is late".to_owned(), again: true }),
            _ => Ok(vec![device("cam", "/dev/video0").into()]),
        };
        let nodes = BTreeSet::from([PathBuf::from("/dev/video0")]);
        let mut finder = Finder { looking: None, how, asked: nodes.clone(), ..Finder::new() };
        finder.ask();
        let begun = Instant::now();
        let found = loop {
            let found = finder.next().await;
            if !found.is_empty() {
                break found;
            }
        };
        assert_eq!(found, [device("cam", "/dev/video0").into()]);
        assert_eq!(ASKED.load(Ordering::Relaxed), 3);
        assert!(begun.elapsed() >= AGAIN * 3, "first after a while, then after twice as long");
        assert_eq!(finder.asked, nodes, "and no more about what it has answered");
        assert!(finder.again.is_none());
    }

    #[test]
    fn two_sensors_of_one_model_are_two_cameras() {
        let mut settings = crate::config::load_with(Some(Path::new("/dev/null")), []).unwrap();
        for place in ["i2c@88000", "i2c@80000"] {
            let name = format!("/base/axi/pcie@1000120000/rp1/{place}/imx708@1a");
            let sensor: Sensor = serde_json::from_value(json!({ "name": name, "caps": "" })).unwrap();
            settings.cameras.extend(camera(&settings, Find::from(&sensor)));
        }
        let found =
            settings.cameras.iter().map(|camera| (camera.name.to_string(), camera.source.to_string()));
        let source = "libcamera:/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a";
        assert_eq!(found.collect::<Vec<_>>()[..1], [("imx708".to_owned(), source.to_owned())]);
        assert_eq!(settings.cameras.last().unwrap().name.to_string(), "imx708-2");
    }
}
