//! GStreamer: does it start, are the plug-ins there, and are they of one version.

use std::collections::{BTreeMap, BTreeSet};

use super::live::{End, Looked, Word};
use super::tree::Tree;
use super::{Finding, Group};
use crate::config::settings::Source;

/// Distributions that have Debian's packages, by `ID` or `ID_LIKE` of os-release(5).
const DEBIANS: [&str; 3] = ["debian", "ubuntu", "raspbian"];

/// The package of libcamera's modules that know the sensors. Debian 12's libcamera only suggests it.
const SENSORS: &str = "libcamera-ipa";

/// What GStreamer says of itself.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) version: Option<String>,
    elements: Vec<Element>,
    fault: Option<(String, String)>,
    end: End,
    /// Packages of plug-ins that dpkg has installed.
    installed: BTreeSet<String>,
    is_debian: bool,
}

/// An element that portald uses.
#[derive(Debug)]
struct Element {
    name: String,
    package: String,
    required: bool,
    /// Of its plug-in; none: it is not there.
    version: Option<String>,
}

impl Facts {
    pub(super) fn gather(tree: &Tree, looked: Looked) -> Self {
        let release = tree.text("/etc/os-release").unwrap_or_default();
        let ids = release
            .lines()
            .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
        let is_debian = ids.flat_map(|ids| ids.trim_matches('"').split(' ')).any(|id| DEBIANS.contains(&id));
        let lists = tree.names("/var/lib/dpkg/info").into_iter();
        let installed = lists
            .filter_map(|name| Some(name.strip_suffix(".list")?.split(':').next()?.to_owned()))
            .filter(|name| name.starts_with("gstreamer") || name == SENSORS)
            .collect();
        let mut facts = Self { is_debian, installed, end: looked.end, ..Self::default() };
        for word in looked.words {
            match word {
                Word::Gstreamer { version } => facts.version = Some(version),
                Word::Element { name, package, required, version } => {
                    facts.elements.push(Element { name, package, required, version });
                }
                Word::Fault { what, hint } => facts.fault = Some((what, hint)),
                _ => {}
            }
        }
        facts
    }

    /// The version of the plug-in that has `element`.
    pub(super) fn plugin(&self, element: &str) -> Option<&str> {
        self.elements.iter().find(|known| known.name == element)?.version.as_deref()
    }
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let (me, group) = (&facts.gstreamer, Group::GStreamer);
    let broken =
        |found: String| Finding::broken(group, "start", found).because("no camera can be shown without it");
    if let Some((what, hint)) = &me.fault {
        return vec![broken(what.clone()).mend(hint.clone())];
    }
    let Some(version) = &me.version else {
        let why = match &me.end {
            End::Late(seconds) => {
                format!("GStreamer did not start within {seconds} s: one of its plug-ins, or a driver, hangs")
            }
            End::Failed(why) => format!("GStreamer took its process with it: {why}"),
            End::Done => "GStreamer did not say which version it is".to_owned(),
        };
        return vec![
            broken(why).mend("GST_DEBUG=3 gst-inspect-1.0 | tail -20; its last line names the plug-in"),
        ];
    };
    let mut found = missing(facts);
    if me.has_all() {
        let present = me.elements.iter().filter(|element| element.version.is_some()).count();
        let what =
            format!("GStreamer {version} has what is needed ({present} of {} elements)", me.elements.len());
        found.insert(0, Finding::fine(group, "required", what));
    }
    found.extend(mixed(me, version));
    found.extend(knows_no_sensor(facts));
    found
}

/// libcamera finds no camera without the module that knows its sensor.
fn knows_no_sensor(facts: &super::Facts) -> Option<Finding> {
    let me = &facts.gstreamer;
    let lacks = me.plugin("libcamerasrc").is_some() && me.is_debian && !me.installed.contains(SENSORS);
    (lacks && facts.cameras.wants_libcamera).then(|| {
        Finding::warning(
            Group::GStreamer,
            "sensors",
            "libcamera's modules that know sensors are not installed",
        )
        .because("libcamera finds no ribbon-cable camera without them")
        .mend(format!("sudo apt install {SENSORS}"))
    })
}

/// Elements that are not there, by package: those that nothing works without, and those that this box wants.
fn missing(facts: &super::Facts) -> Vec<Finding> {
    let me = &facts.gstreamer;
    let mut packages: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
    for element in me.elements.iter().filter(|element| element.version.is_none()) {
        if element.required || wanted(facts, &element.name).is_some() {
            packages.entry((!element.required, &element.package)).or_default().push(&element.name);
        }
    }
    let finding = |((optional, package), names): ((bool, &str), Vec<&str>)| {
        let elements = names.join(", ");
        let (what, mend) = if me.installed.contains(package) {
            let what = format!("{package} is installed, but its {elements} cannot be loaded");
            // A list of plug-ins that is out of date, a library that is missing, or a variable that leads elsewhere.
            (
                what,
                format!(
                    "env | grep ^GST_; rm -f ~/.cache/gstreamer-1.0/registry.*.bin /var/cache/portald/registry.bin; sudo apt install --reinstall {package}"
                ),
            )
        } else if me.is_debian {
            (format!("GStreamer lacks {elements}"), format!("sudo apt install {package}"))
        } else {
            (format!("GStreamer lacks {elements}"), format!("install what Debian calls {package}"))
        };
        if optional {
            let why = names.first().and_then(|name| wanted(facts, name)).unwrap_or_default();
            Finding::warning(Group::GStreamer, "optional", what).because(why).mend(mend)
        } else {
            Finding::broken(Group::GStreamer, "required", what)
                .because("no camera can be shown without it")
                .mend(mend)
        }
    };
    packages.into_iter().map(finding).collect()
}

/// Why this box wants an element that others can do without.
fn wanted(facts: &super::Facts, element: &str) -> Option<&'static str> {
    let cameras =
        facts.configuration.settings().map(|settings| settings.cameras.as_slice()).unwrap_or_default();
    let has = |is_it: fn(&Source) -> bool| cameras.iter().any(|camera| is_it(&camera.source));
    let is_v4l2 = |source: &Source| matches!(source, Source::V4l2(_));
    let is_rtsp = |source: &Source| matches!(source, Source::Rtsp(_));
    match element {
        "v4l2src" if cameras.is_empty() || has(is_v4l2) => Some("USB cameras cannot be opened"),
        "jpegdec" if cameras.is_empty() || has(is_v4l2) => {
            Some("MJPEG, which most USB cameras send, cannot be decoded")
        }
        "rtspsrc" | "rtph264depay" if has(is_rtsp) => Some("network cameras cannot be opened"),
        "avdec_h264" | "openh264dec" if has(is_rtsp) && facts.gstreamer.decodes_nothing() => {
            Some("H.264 of a network camera cannot be decoded for small tiles and browsers without H.264")
        }
        "libcamerasrc" if facts.cameras.wants_libcamera => Some("ribbon-cable cameras cannot be opened"),
        _ => None,
    }
}

impl Facts {
    /// Whether it starts, and lacks nothing that every box needs.
    pub(super) fn has_all(&self) -> bool {
        self.version.is_some()
            && self.elements.iter().all(|element| !element.required || element.version.is_some())
    }

    fn decodes_nothing(&self) -> bool {
        self.plugin("avdec_h264").is_none() && self.plugin("openh264dec").is_none()
    }
}

/// Plug-ins of GStreamer's own that are of another series than its core: an upgrade that stopped halfway.
fn mixed(me: &Facts, version: &str) -> Option<Finding> {
    let series = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
    let ours = series(version);
    // libnice and libcamera count their own way.
    let own = me.elements.iter().filter(|element| {
        ["base", "good", "bad", "ugly"]
            .iter()
            .any(|part| element.package.ends_with(&format!("plugins-{part}")))
    });
    let other = own.filter_map(|element| Some((element, element.version.as_deref()?)));
    let mut other = other.filter(|(_, version)| series(version) != ours);
    let (element, theirs) = other.next()?;
    let what = format!("GStreamer is {version}, but {} ({}) is {theirs}", element.package, element.name);
    Some(
        Finding::broken(Group::GStreamer, "mixed", what)
            .because("parts of different series crash each other")
            .mend("sudo apt update && sudo apt full-upgrade"),
    )
}
