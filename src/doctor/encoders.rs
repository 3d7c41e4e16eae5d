//! Encoders, each with what came of trying it: an encoder is trusted when it has encoded.

use super::live::{Encoder, End, Looked, Word};
use super::{Finding, Group};
use crate::config::settings::EncoderChoice;

/// Pictures of 1280x720 a second that an encoder should manage: one camera's.
const ENOUGH: f64 = 30.0;

/// What was tried.
#[derive(Debug, Default)]
pub(super) struct Facts {
    all: Vec<Encoder>,
    fault: Option<(String, String)>,
    /// The one that was being tried when the look did not end.
    trying: Option<String>,
    end: End,
}

impl Facts {
    pub(super) fn gather(looked: Looked) -> Self {
        let mut facts = Self { end: looked.end, ..Self::default() };
        for word in looked.words {
            match word {
                Word::Trying(name) => facts.trying = Some(name),
                Word::Encoder(encoder) => {
                    facts.trying = None;
                    facts.all.push(encoder);
                }
                Word::Fault { what, hint } => facts.fault = Some((what, hint)),
                _ => {}
            }
        }
        facts
    }

    fn best(&self, codec: &str) -> Option<&Encoder> {
        let usable = |encoder: &&Encoder| encoder.codec == codec && encoder.works && encoder.rank > 0;
        self.all.iter().filter(usable).max_by_key(|encoder| encoder.rank)
    }

    /// Whether the template of this name is installed and works.
    pub(super) fn works(&self, name: &str) -> bool {
        self.all.iter().any(|encoder| encoder.name == name && encoder.works)
    }
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let (me, group) = (&facts.encoders, Group::Encoders);
    let mut found = Vec::new();
    if let Some((what, hint)) = &me.fault {
        // What GStreamer lacks is told in its own group.
        if facts.gstreamer.has_all() {
            found.push(
                Finding::broken(group, "templates", what.clone())
                    .because("portald does not start with it")
                    .mend(hint.clone()),
            );
        }
        return found;
    }
    match &me.end {
        End::Done => {}
        End::Failed(_) if facts.gstreamer.version.is_none() => {}
        End::Failed(why) => found.push(
            Finding::broken(group, "looking", format!("the encoders could not be tried: {why}"))
                .because("a driver or plug-in that does this to the doctor does it to portald")
                .mend("portald -v devices"),
        ),
        End::Late(seconds) => {
            let which = me.trying.as_deref().unwrap_or("the encoders");
            found.push(
                Finding::broken(group, "hung", format!("{which} did not come to an end within {seconds} s"))
                    .because("its driver hangs, and portald waits for each trial")
                    .mend("sudo dmesg --level=err,warn | tail -30"),
            );
        }
    }
    if facts.gstreamer.version.is_none() || me.all.is_empty() {
        return found;
    }
    for encoder in me.all.iter().filter(|encoder| encoder.present) {
        let trial = encoder.trial.as_deref().unwrap_or("was not tried");
        let what = format!("{} {trial}", encoder.name);
        if encoder.works || encoder.trial.is_none() {
            found.push(Finding::fine(group, "trial", what));
        } else {
            let others = me.best(&encoder.codec).map(|best| best.name.as_str());
            let why = others.map_or_else(
                || "there is no other".to_owned(),
                |best| format!("{best} is used instead, if `encoder` is \"auto\""),
            );
            found.push(
                Finding::warning(group, "trial", what)
                    .because(why)
                    .mend("portald -v devices; for drivers: sudo dmesg | tail -30"),
            );
        }
    }
    found.extend(used(me, "h264"));
    found.extend(used(me, "vp8"));
    found.extend(named(facts));
    found
}

/// What is wrong with the best of a codec.
fn used(me: &Facts, codec: &str) -> Option<Finding> {
    let group = Group::Encoders;
    let Some(best) = me.best(codec) else {
        let mut absent: Vec<&Encoder> =
            me.all.iter().filter(|encoder| encoder.codec == codec && !encoder.present).collect();
        // Software works on every box; hardware comes with its own.
        absent.sort_by_key(|encoder| {
            (!matches!(encoder.name.as_str(), "x264enc" | "openh264enc" | "vp8enc"), encoder.rank)
        });
        let package = absent.iter().find_map(|encoder| encoder.package.as_deref());
        let mend = package
            .map_or_else(|| "portald -v devices".to_owned(), |package| format!("sudo apt install {package}"));
        return Some(if codec == "h264" {
            Finding::broken(group, "h264", "no H.264 encoder works")
                .because("Safari shows nothing, and other browsers VP8 at best, which costs more")
                .mend(mend)
        } else {
            Finding::warning(group, "vp8", "no VP8 encoder works")
                .because("browsers without H.264, such as a fresh Firefox, get no picture")
                .mend(mend)
        });
    };
    if best.trial.is_some() && best.speed > 0.0 && best.speed < ENOUGH {
        let what = format!(
            "{} makes {:.0} pictures of 1280x720 a second, fewer than one camera's 30",
            best.name, best.speed
        );
        return Some(
            Finding::warning(group, "slow", what)
                .because("pictures are dropped; the box is too slow, or busy just now")
                .mend("in the cameras' tables: width = 640, height = 360, framerate = 15"),
        );
    }
    if best.trial.is_some() && !best.keyframe_on_request {
        let what = format!("{} makes no key frames when asked", best.name);
        return Some(
            Finding::warning(group, "keyframes", what)
                // v4l2h264enc: GStreamer 8dd51501d0, in 1.22.4; Debian 12 has 1.22.0.
                .because("who loses packets waits for the next one; v4l2h264enc can from GStreamer 1.22.4 on")
                .mend("in the cameras' tables: keyframe_interval = 1.0"),
        );
    }
    None
}

/// Encoders that the configuration names and that do not work.
fn named(facts: &super::Facts) -> Vec<Finding> {
    let cameras =
        facts.configuration.settings().map(|settings| settings.cameras.as_slice()).unwrap_or_default();
    let wrong = cameras.iter().filter_map(|camera| match &camera.encoder {
        EncoderChoice::Named(name) if camera.enabled && !facts.encoders.works(name) => Some((camera, name)),
        _ => None,
    });
    wrong
        .map(|(camera, name)| {
            let what = format!("camera {} wants the encoder {name}, which does not work here", camera.name);
            Finding::broken(Group::Encoders, "named", what)
                .because("viewers see a slate")
                .mend(format!("in [camera.{}]: encoder = \"auto\"", camera.name))
        })
        .collect()
}
