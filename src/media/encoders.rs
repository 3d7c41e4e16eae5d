//! Which encoder a rendition gets: the best of those that were proven on this box, at this size.
//!
//! A trial takes a second or two, so what it found is kept, in memory and in a file in the cache directory, for as long
//! as kernel, GStreamer and drivers are the same. The file is a convenience: without it the trials are run again.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use gstreamer as gst;
use gstreamer::prelude::*;
use log::{debug, info, warn};
use serde::{Deserialize, Serialize};

use super::admission::{self, Admission};
use super::encode::Recipe;
use super::proof::{self, Job, Verdict};
use super::{MediaError, has_element, missing};
use crate::budget::Draw;
use crate::config::settings::EncoderChoice;
use crate::proto::negotiation::Codec;
use crate::status::trials::{Trial, Trials};
use crate::template::{Encoder, Setting, Templates};

/// An encoder that failed while it ran is passed over for this long, if there is another.
const PASSED_OVER: Duration = Duration::from_secs(600);
/// A trial that failed is believed for this long, in seconds: the cause may have been another program.
const BAD_NEWS: u64 = 24 * 3600;
/// One that was given up for this long, in seconds: the machine may have been busy, and then all is well a little later.
/// Twice as long each time that it is given up again, to [`BAD_NEWS`]: who comes to watch waits for the trial.
const LATE_NEWS: u64 = 600;
/// Verdicts that are kept. A box has a few encoders and a few sizes.
const MAX_VERDICTS: usize = 256;
/// The file in the cache directory.
const FILE: &str = "encoders.json";

/// Who tries an encoder out.
#[derive(Debug, Clone)]
pub enum Prover {
    /// A child process of this program (see [`proof::in_child`]).
    Child(PathBuf),
    /// Nobody: what is installed is believed to work. For tests that register encoders of their own.
    Nobody,
}

/// The encoders of this box and what is known of them.
#[derive(Debug)]
pub struct Encoders {
    templates: Arc<Templates>,
    prover: Prover,
    /// The file that verdicts are kept in.
    kept: Option<PathBuf>,
    known: Mutex<Known>,
    admission: Admission,
    /// Where what is known is shown.
    told: Trials,
    /// Held during a trial: two at once would slow each other down, and one camera's result serves all.
    trial: Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    verdicts: BTreeMap<String, Dated>,
    /// When an encoder of this template, size and rate failed while it ran.
    failed: HashMap<String, Instant>,
}

/// A verdict, what it is about, and when it was found, in seconds since 1970 (UTC).
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Dated {
    at: u64,
    encoder: String,
    codec: String,
    width: u32,
    height: u32,
    verdict: Verdict,
    /// How often in a row it was given up before this.
    #[serde(default)]
    lapses: u32,
}

impl Dated {
    fn now(recipe: &Recipe, codec: Codec, verdict: Verdict) -> Self {
        let Recipe { encoder, width, height, .. } = recipe;
        let (encoder, codec) = (encoder.clone(), codec.as_str().to_owned());
        Self { at: seconds_now(), encoder, codec, width: *width, height: *height, verdict, lapses: 0 }
    }

    /// Whether it is still believed.
    fn stands(&self) -> bool {
        let Self { at, verdict, lapses, .. } = self;
        let late = LATE_NEWS.saturating_mul(1 << lapses.min(&16));
        let believed = if verdict.late { late.min(BAD_NEWS) } else { BAD_NEWS };
        verdict.is_good() || seconds_now().saturating_sub(*at) <= believed
    }

    fn told(&self) -> Trial {
        let Self { at, encoder, codec, width, height, verdict, .. } = self;
        Trial {
            encoder: encoder.clone(),
            codec: codec.clone(),
            width: *width,
            height: *height,
            at: at * 1000,
            works: verdict.is_good(),
            told: verdict.in_words(),
        }
    }
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What the verdicts depend on; another box, kernel or GStreamer starts anew.
    system: String,
    verdicts: BTreeMap<String, Dated>,
}

impl Encoders {
    /// Those of `templates`; what is known is read from the file `kept`, and written there.
    #[must_use]
    pub fn new(templates: Arc<Templates>, prover: Prover, kept: Option<PathBuf>) -> Self {
        let verdicts = kept.as_deref().and_then(read_kept).unwrap_or_default();
        let known = Mutex::new(Known { verdicts, failed: HashMap::new() });
        let (admission, told) = Default::default();
        Self { templates, prover, kept, known, admission, told, trial: Mutex::new(()) }
    }

    /// Shows in `trials` what is known, now and later.
    #[must_use]
    pub fn telling(self, trials: Trials) -> Self {
        trials.set(self.lock().verdicts.values().map(Dated::told).collect());
        Self { told: trials, ..self }
    }

    /// With another share of the CPU, in percent of all cores.
    #[must_use]
    pub fn sharing(self, percent: u32) -> Self {
        Self { admission: Admission::new(percent), ..self }
    }

    /// What the cameras share, and who has what of it.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// What encoding by `recipe` takes of what cameras share. Blocks while the encoder is tried.
    #[must_use]
    pub fn draws(&self, recipe: &Recipe, codec: Codec, framerate: (u32, u32)) -> Vec<Draw> {
        let cpu = self.verdict(recipe, codec, framerate).cpu;
        let chip = self.templates.encoder(&recipe.encoder).and_then(|template| template.budget);
        let chip = chip.map(|budget| admission::chip(&recipe.encoder, budget));
        let cpu = (cpu > 0.0).then(|| Draw { pool: self.admission.cpu().clone(), per_sample: cpu / 1e9 });
        chip.into_iter().chain(cpu).collect()
    }

    /// The templates.
    #[must_use]
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// The recipe of the encoder to use: the one that is named, or the best that works. `recipe` renders a template's
    /// recipe; `framerate` is what it will be given, as a fraction. Blocks while an encoder is tried.
    ///
    /// # Errors
    /// [`MediaError`] says why none can be used.
    pub fn choose(
        &self,
        choice: &EncoderChoice,
        codec: Codec,
        framerate: (u32, u32),
        recipe: impl Fn(&Encoder) -> Result<Recipe, MediaError>,
    ) -> Result<Recipe, MediaError> {
        if let Some(named) = self.named(choice, codec)? {
            let made = recipe(named)?;
            let verdict = self.verdict(&made, codec, framerate);
            if let Some(fault) = &verdict.fault {
                let encoder = named.name.as_str();
                warn!(encoder, reason = fault.as_str(); "encoder {encoder}, which the configuration names, does not work: {fault}");
                return Err(MediaError::Encoder { encoder: named.name.clone(), fault: fault.clone() });
            }
            return Ok(made);
        }
        let mut faults = Vec::new();
        let mut passed_over = None;
        for encoder in self.templates.encoders(codec.as_str()).into_iter().filter(|encoder| encoder.rank > 0)
        {
            if !has_element(&encoder.element) {
                continue;
            }
            let made = recipe(encoder)?;
            match self.verdict(&made, codec, framerate).fault {
                Some(fault) => faults.push(format!("{}: {fault}", encoder.name)),
                None if self.failed_lately(&made) => passed_over = passed_over.or(Some(made)),
                None => return Ok(made),
            }
        }
        if let Some(made) = passed_over {
            return Ok(made); // it failed, but it is the best there is
        }
        let encoders = self.templates.encoders(codec.as_str());
        match encoders.iter().find(|encoder| encoder.rank > 0) {
            _ if !faults.is_empty() => Err(MediaError::pipeline("no encoder works", faults.join("; "))),
            Some(best) => Err(missing(&best.element)),
            None => Err(MediaError::pipeline("encoder", format!("no template for {}", codec.as_str()))),
        }
    }

    /// The running encoder of `recipe` failed: the next choice is another one, if there is. `false`: there is none.
    pub fn failed(&self, recipe: &Recipe, codec: Codec) -> bool {
        let key = self.key(recipe);
        self.lock().failed.insert(key, Instant::now());
        let usable = |encoder: &&Encoder| {
            encoder.rank > 0 && encoder.name != recipe.encoder && has_element(&encoder.element)
        };
        self.templates.encoders(codec.as_str()).into_iter().any(|encoder| usable(&encoder))
    }

    /// What is known of an encoder, found out now if need be. Blocks while it is tried.
    #[must_use]
    pub fn verdict(&self, recipe: &Recipe, codec: Codec, framerate: (u32, u32)) -> Verdict {
        let Prover::Child(program) = &self.prover else {
            return Verdict { keyframe_on_request: true, ..Verdict::default() };
        };
        let key = self.key(recipe);
        if let Some(verdict) = self.known(&key) {
            return verdict;
        }
        let _one_at_a_time = self.trial.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = self.known(&key) {
            return verdict;
        }
        let verdict = proof::in_child(program, &Job::of(recipe, codec.as_str(), framerate));
        let Recipe { encoder, width, height, .. } = recipe;
        info!(encoder = encoder.as_str(); "encoder {encoder} at {width}x{height}: {}", verdict.in_words());
        if !verdict.interrupted {
            self.remember(key, Dated::now(recipe, codec, verdict.clone()));
        }
        verdict
    }

    fn named(&self, choice: &EncoderChoice, codec: Codec) -> Result<Option<&Encoder>, MediaError> {
        let EncoderChoice::Named(name) = choice else { return Ok(None) };
        let Some(named) = self.templates.encoder(name) else {
            let known: Vec<_> = self.templates.encoders("h264").iter().map(|e| e.name.clone()).collect();
            return Err(MediaError::pipeline(
                format!("encoder `{name}`"),
                format!("no such template; there are {}", known.join(", ")),
            ));
        };
        // The name is of one codec; the other has its own best.
        if named.codec.as_deref() != Some(codec.as_str()) {
            return Ok(None);
        }
        if has_element(&named.element) { Ok(Some(named)) } else { Err(missing(&named.element)) }
    }

    fn known(&self, key: &str) -> Option<Verdict> {
        let known = self.lock();
        known.verdicts.get(key).filter(|dated| dated.stands()).map(|dated| dated.verdict.clone())
    }

    fn failed_lately(&self, recipe: &Recipe) -> bool {
        self.lock().failed.get(&self.key(recipe)).is_some_and(|at| at.elapsed() < PASSED_OVER)
    }

    fn remember(&self, key: String, mut found: Dated) {
        let mut known = self.lock();
        if let Some(before) = known.verdicts.get(&key)
            && before.verdict.late
            && found.verdict.late
        {
            found.lapses = before.lapses.saturating_add(1);
        }
        if known.verdicts.len() >= MAX_VERDICTS {
            known.verdicts.clear();
        }
        known.verdicts.insert(key, found);
        self.told.set(known.verdicts.values().map(Dated::told).collect());
        let kept = Kept { system: system(), verdicts: known.verdicts.clone() };
        drop(known);
        if let Some(file) = &self.kept
            && let Err(error) = write_kept(file, &kept)
        {
            debug!("what is known of the encoders is not kept: {error}");
        }
    }

    /// What a verdict is about: the template as it is written, and the picture. Its bit rate may change at any time.
    fn key(&self, recipe: &Recipe) -> String {
        let Recipe { encoder, width, height, .. } = recipe;
        let of = |setting: &Option<Setting>| {
            setting.as_ref().map(|setting| format!("; {setting}")).unwrap_or_default()
        };
        let written = self.templates.encoder(encoder).map(|template| {
            [template.launch.clone(), of(&template.set_bitrate), of(&template.force_keyframe)].concat()
        });
        format!("{width}x{height} {encoder}: {}", written.unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Kernel, GStreamer and the drivers that encoders stand on.
fn system() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let nvidia = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let nvidia = nvidia.lines().next().unwrap_or_default();
    // Plug-ins are updated apart from the core, and a VA driver apart from both.
    let plugins: Vec<String> =
        ["v4l2src", "vah264enc", "vaapih264enc", "x264enc", "openh264enc", "h264parse"]
            .iter()
            .filter_map(|element| Some(gst::ElementFactory::find(element)?.plugin()?.version().to_string()))
            .collect();
    let drivers: Vec<String> = ["/usr/lib/x86_64-linux-gnu/dri", "/usr/lib/aarch64-linux-gnu/dri"]
        .iter()
        .filter_map(|directory| fs::metadata(directory).ok()?.modified().ok())
        .filter_map(|at| Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs().to_string()))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "portald {version}, CPU time measured; {}; {}; {}; {}; {nvidia}",
        kernel.trim(),
        gst::version_string(),
        plugins.join(" "),
        drivers.join(" ")
    )
}

/// Where verdicts are kept, if there is a place: systemd's cache directory, or the user's.
#[must_use]
pub fn kept_file() -> Option<PathBuf> {
    let from = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let systemd = env::var("CACHE_DIRECTORY").ok().and_then(|list| list.split(':').next().map(PathBuf::from));
    let systemd = systemd.filter(|directory| directory.is_absolute());
    let user =
        || Some(from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache")))?.join("portald"));
    Some(systemd.or_else(user)?.join(FILE))
}

fn read_kept(file: &Path) -> Option<BTreeMap<String, Dated>> {
    let kept: Kept = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    (kept.system == system() && kept.verdicts.len() <= MAX_VERDICTS).then_some(kept.verdicts)
}

/// Written beside and renamed, so that a crash leaves the old one or the new one.
fn write_kept(file: &Path, kept: &Kept) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&beside, serde_json::to_vec_pretty(kept)?)?;
    fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use super::super::tests::executable;
    use super::*;

    /// Encoders that are tried by a script: in it `$job` is the trial.
    fn encoders(script: &str, kept: Option<&Path>) -> Encoders {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        gst::init().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let program = env::temp_dir().join(format!("portald-prover-{}-{number}", std::process::id()));
        executable(&program, &format!("job=$(cat)\n{script}"));
        let templates = Arc::new(Templates::load(&[]).unwrap());
        Encoders::new(templates, Prover::Child(program), kept.map(Into::into))
    }

    fn choose(encoders: &Encoders, choice: &EncoderChoice) -> Result<Recipe, MediaError> {
        encoders.choose(choice, Codec::H264, (30, 1), |encoder| {
            Ok(Recipe {
                encoder: encoder.name.clone(),
                launch: encoder.launch.clone(),
                width: 320,
                height: 240,
                framerate: None,
                bitrate: 1000,
                set_bitrate: None,
                force_keyframe: None,
            })
        })
    }

    const GOOD: &str = "echo '{\"fault\":null}'";

    #[test]
    fn the_best_that_works_is_taken_and_the_next_when_it_fails() {
        let bad_x264 = format!("case $job in *x264enc*) echo '{{\"fault\":\"broken\"}}';; *) {GOOD};; esac");
        let some = encoders(&bad_x264, None);
        assert_eq!(choose(&some, &EncoderChoice::Auto).unwrap().encoder, "openh264enc");
        let named = EncoderChoice::Named("x264enc".into());
        let error = choose(&some, &named).unwrap_err();
        assert!(error.to_string().contains("broken") && error.hint().contains("auto"), "{error}");

        let all = encoders(GOOD, None);
        let best = choose(&all, &EncoderChoice::Auto).unwrap();
        assert_eq!(best.encoder, "x264enc");
        assert!(all.failed(&best, Codec::H264));
        let next = choose(&all, &EncoderChoice::Auto).unwrap();
        assert_eq!(next.encoder, "openh264enc");
        all.failed(&next, Codec::H264);
        assert_eq!(
            choose(&all, &EncoderChoice::Auto).unwrap().encoder,
            "x264enc",
            "when all failed, the best"
        );

        let none = encoders("echo '{\"fault\":\"broken\"}'", None);
        let error = choose(&none, &EncoderChoice::Auto).unwrap_err().to_string();
        assert!(error.contains("x264enc: broken; openh264enc: broken"), "{error}");
    }

    #[test]
    fn a_trial_that_was_given_up_is_believed_for_minutes_and_one_that_failed_for_a_day() {
        for (age, late, lapses, asked_again) in [
            (0, true, 0, false),
            (LATE_NEWS + 60, true, 0, true),
            (LATE_NEWS + 60, true, 1, false),
            (2 * LATE_NEWS + 60, true, 1, true),
            (BAD_NEWS - 60, true, 99, false),
            (BAD_NEWS + 60, true, 99, true),
            (LATE_NEWS + 60, false, 0, false),
            (BAD_NEWS + 60, false, 0, true),
        ] {
            let encoders = encoders(GOOD, None);
            let recipe = choose(&encoders, &EncoderChoice::Auto).unwrap();
            let verdict = Verdict { late, ..Verdict::fault("it was so") };
            let mut dated = Dated { lapses, ..Dated::now(&recipe, Codec::H264, verdict) };
            dated.at -= age;
            encoders.lock().verdicts.insert(encoders.key(&recipe), dated);
            assert_eq!(
                encoders.verdict(&recipe, Codec::H264, (30, 1)).is_good(),
                asked_again,
                "{age} s, {late}, {lapses}"
            );
        }
    }

    #[test]
    fn one_that_is_given_up_again_is_believed_longer() {
        let encoders = encoders(GOOD, None);
        let recipe = choose(&encoders, &EncoderChoice::Auto).unwrap();
        let key = encoders.key(&recipe);
        let lapses = [true, true, true, false, true].map(|late| {
            let verdict = Verdict { late, ..Verdict::fault("it was so") };
            encoders.remember(key.clone(), Dated::now(&recipe, Codec::H264, verdict));
            encoders.lock().verdicts[&key].lapses
        });
        assert_eq!(lapses, [0, 1, 2, 0, 0]);
    }

    #[test]
    fn a_trial_that_was_interrupted_is_not_remembered() {
        let file = env::temp_dir().join(format!("portald-interrupted-{}", std::process::id())).join(FILE);
        let stopped = encoders("kill -TERM $$", Some(&file));
        let error = choose(&stopped, &EncoderChoice::Auto).unwrap_err().to_string();
        assert!(error.contains("interrupted"), "{error}");
        assert!(stopped.lock().verdicts.is_empty() && !file.exists());

        let crashed = encoders("kill -SEGV $$", Some(&file));
        let error = choose(&crashed, &EncoderChoice::Auto).unwrap_err().to_string();
        assert!(error.contains("took its process with it"), "{error}");
        assert!(!crashed.lock().verdicts.is_empty() && file.exists());
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_is_known_is_kept_for_this_system_only() {
        let file = env::temp_dir().join(format!("portald-kept-{}", std::process::id())).join(FILE);
        let trials = Trials::default();
        choose(&encoders(GOOD, Some(&file)).telling(trials.clone()), &EncoderChoice::Auto).unwrap();
        let told = |trials: &Trials| {
            let list = trials.list().into_iter();
            list.map(|one| (one.encoder, one.codec, one.width, one.height, one.works)).collect::<Vec<_>>()
        };
        let x264enc = [("x264enc".to_owned(), "h264".to_owned(), 320, 240, true)];
        assert_eq!(told(&trials), x264enc);
        // A prover that would find it broken is not asked.
        let trials = Trials::default();
        let again = encoders("echo '{\"fault\":\"asked\"}'", Some(&file)).telling(trials.clone());
        assert_eq!(told(&trials), x264enc, "what was kept is told, too");
        assert_eq!(choose(&again, &EncoderChoice::Auto).unwrap().encoder, "x264enc");
        for changed in ["\"system\": \"another\"", "nonsense"] {
            let text = fs::read_to_string(&file).unwrap();
            let line = text.lines().find(|line| line.contains("system")).unwrap_or(&text).to_owned();
            fs::write(&file, text.replace(&line, &format!("{changed},"))).unwrap();
            let anew = encoders("echo '{\"fault\":\"asked\"}'", Some(&file));
            assert!(
                choose(&anew, &EncoderChoice::Auto).unwrap_err().to_string().contains("asked"),
                "{changed}"
            );
        }
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
}
