//! `portald doctor`: what is wrong with this box, why it matters, and the command that mends it.
//!
//! ```text
//!  Tree (files below a root) ─┐
//!                             ├─► gather ─► Facts ─► judge ─► findings ─► Report ─► words, JSON, or masked for others
//!  Live (the running box)  ───┘   (time limits)     (pure)
//! ```
//!
//! Each subject is a file with a `gather` and a `judge`. Whatever goes through a driver, which may hang for ever or take
//! its process with it, is done by a child process ([`live::Look`]); everything else by a thread that is not waited for
//! longer than its limit.

mod cameras;
mod clock;
mod configuration;
mod directories;
mod encoders;
#[cfg(feature = "media")]
mod here;
mod known;
pub mod live;
#[cfg(feature = "media")]
mod look;
mod memory;
mod network;
mod people;
mod plugins;
mod processes;
pub mod report;
mod rights;
mod service;
mod share;
pub mod tree;
mod usb;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use self::live::{Live, Look};
use self::people::{Groups, Person, Unit};
use self::processes::Processes;
pub use self::report::{About, Finding, Group, Report, Severity};
use self::tree::Tree;

/// How long reading files and asking the kernel may take for one subject; a network drive that is away may block.
const READING: Duration = Duration::from_secs(10);
/// How long the answers of children may take; [`here`] ends each child before.
const LOOKING: Duration = Duration::from_secs(150);

/// What to examine.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration file; none: the one in `/etc`.
    pub config: Option<PathBuf>,
    /// The environment: `PORTALD_…` are settings, `XDG_…` say where things are kept.
    pub environment: Vec<(String, String)>,
    /// Whether what identifies the box and its people is masked.
    pub share: bool,
}

/// What is known of a box before it is judged.
#[derive(Debug, Default)]
struct Facts {
    configuration: configuration::Facts,
    unit: Option<Unit>,
    person: Person,
    groups: Groups,
    processes: Processes,
    service: service::Facts,
    rights: rights::Facts,
    cameras: cameras::Facts,
    usb: usb::Facts,
    gstreamer: plugins::Facts,
    encoders: encoders::Facts,
    network: network::Facts,
    clock: clock::Facts,
    memory: memory::Facts,
    directories: directories::Facts,
    known: known::Facts,
    /// What did not come back, each with its limit in seconds.
    late: Vec<(&'static str, u64)>,
}

/// Examines the box of `tree` and `live`.
#[must_use]
pub fn examine(tree: &Tree, live: &Arc<dyn Live>, options: &Options) -> Report {
    let facts = gather(tree, live, options);
    let report = Report::new(about(&facts, tree), judge(&facts));
    if options.share { share::masked(report, &share::Known::gather(tree, &facts)) } else { report }
}

/// Examines this box, with the configuration `config` or the one in `/etc`.
#[cfg(feature = "media")]
pub(crate) fn here(config: Option<PathBuf>, share: bool) -> Report {
    let program = std::env::current_exe().unwrap_or_else(|_| "portald".into());
    let live: Arc<dyn Live> = Arc::new(here::Here::new(program));
    // A value that is not Unicode is kept readable enough to be refused where it matters.
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    // Children and threads have no directory of their own, but the tree has.
    let config = config.map(|path| std::path::absolute(&path).unwrap_or(path));
    examine(&Tree::new("/"), &live, &Options { config, environment: environment.collect(), share })
}

#[cfg(feature = "media")]
pub(crate) use self::look::run as look;

fn gather(tree: &Tree, live: &Arc<dyn Live>, options: &Options) -> Facts {
    let mut facts = Facts::default();
    let mut late = Vec::new();
    // Each closure owns what it reads: its thread may outlive the question.
    macro_rules! within {
        ($limit:expr, $what:literal, |$($own:ident),*| $gather:expr) => {{
            $(let $own = $own.clone();)*
            within($limit, $what, &mut late, move || $gather)
        }};
    }
    facts.unit = within!(READING, "the unit of portald", |tree| Unit::gather(&tree));
    let unit = facts.unit.clone();
    facts.person = within!(READING, "the users", |tree, unit| Person::gather(&tree, unit.as_ref()));
    facts.groups = within!(READING, "the groups", |tree| Groups::gather(&tree));
    let person = facts.person.clone();
    facts.configuration = within!(READING, "the configuration", |tree, live, options| {
        configuration::Facts::gather(&tree, live.as_ref(), &options)
    });
    let settings = facts.configuration.settings_or_default();
    facts.processes = within!(READING, "the processes", |tree| Processes::gather(&tree));
    facts.usb = within!(READING, "USB", |tree| usb::Facts::gather(&tree));
    facts.memory = within!(READING, "the memory", |tree| memory::Facts::gather(&tree));
    facts.clock = within!(READING, "the clock", |live| clock::Facts::gather(live.as_ref()));
    facts.directories = within!(READING, "the directories", |live, person, options| {
        directories::Facts::gather(live.as_ref(), &person, &options)
    });
    facts.rights = within!(READING, "the devices", |tree, live| rights::Facts::gather(&tree, live.as_ref()));
    let processes = facts.processes.clone();
    facts.network = within!(READING, "the network", |tree, live, settings, processes| {
        network::Facts::gather(&tree, live.as_ref(), &settings, &processes)
    });
    facts.service = within!(READING, "the daemon", |live, settings, processes| {
        service::Facts::gather(live.as_ref(), &settings, &processes)
    });
    // First alone: it fills GStreamer's list of plug-ins, which the others would do each for itself.
    facts.gstreamer = within!(LOOKING, "GStreamer", |tree, live| {
        plugins::Facts::gather(&tree, live.look(&Look::Gstreamer))
    });
    facts.cameras = within!(LOOKING, "the cameras", |tree, live, settings| {
        cameras::Facts::gather(&tree, live.as_ref(), &settings)
    });
    // After the cameras, which may need the processor to answer in time.
    facts.encoders =
        within!(LOOKING, "the encoders", |live| { encoders::Facts::gather(live.look(&Look::Encoders)) });
    facts.known = within!(READING, "the versions", |tree| known::Facts::gather(&tree));
    facts.late = late;
    facts
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let late = facts.late.iter().map(|(what, seconds)| {
        Finding::broken(Group::Service, "late", format!("{what} could not be read within {seconds} s"))
            .because("a disk, network drive or driver hangs; portald would wait for it too")
            .mend("sudo dmesg --level=err,warn | tail -30")
    });
    late.chain(configuration::judge(facts))
        .chain(service::judge(facts))
        .chain(rights::judge(facts))
        .chain(cameras::judge(facts))
        .chain(usb::judge(facts))
        .chain(encoders::judge(facts))
        .chain(plugins::judge(facts))
        .chain(network::judge(facts))
        .chain(clock::judge(&facts.clock))
        .chain(memory::judge(facts))
        .chain(directories::judge(facts))
        .chain(known::judge(facts))
        .collect()
}

fn about(facts: &Facts, tree: &Tree) -> About {
    let release = tree.text("/etc/os-release").unwrap_or_default();
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    About {
        portald: env!("CARGO_PKG_VERSION").into(),
        system: system.map_or_else(|| "an unknown system".into(), |name| name.trim_matches('"').to_owned()),
        kernel: facts.known.kernel.clone(),
        architecture: tree.text("/proc/sys/kernel/arch").unwrap_or_else(|| std::env::consts::ARCH.into()),
        board: facts.known.board.clone(),
        gstreamer: facts.gstreamer.version.clone().unwrap_or_default(),
        user: facts.person.name.clone(),
    }
}

/// What `gather` says, or nothing when it takes longer than `limit`; then its thread is left to itself.
fn within<T: Default + Send + 'static>(
    limit: Duration,
    what: &'static str,
    late: &mut Vec<(&'static str, u64)>,
    gather: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (tell, told) = mpsc::sync_channel(1);
    // A thread that cannot be had is told like one that does not answer.
    let spawned = thread::Builder::new().spawn(move || {
        // Nobody waits any more when it is late.
        let _ = tell.send(gather());
    });
    let answer = spawned.ok().and_then(|_| told.recv_timeout(limit).ok());
    answer.unwrap_or_else(|| {
        late.push((what, limit.as_secs()));
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_named_and_not_waited_for() {
        let mut late = Vec::new();
        let (_keep, never) = mpsc::channel::<()>();
        let answer: u32 = within(Duration::from_millis(10), "the disk", &mut late, move || {
            let _ = never.recv();
            1
        });
        assert_eq!((answer, late), (0, vec![("the disk", 0)]));
        let facts = Facts { late: vec![("the disk", 10)], ..Facts::default() };
        let finding = judge(&facts).into_iter().find(|finding| finding.check == "late").unwrap();
        assert_eq!(finding.found, "the disk could not be read within 10 s");
    }
}
