//! The command line.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use ::log::{LevelFilter, warn};
use clap::{Args, Parser, Subcommand};

use crate::config::{self, ConfigError};
use crate::daemon::{self, StartError};
use crate::{devices, doctor, events, log};

/// A LAN camera wall: publishes this box's cameras to browsers over WebRTC.
#[derive(Debug, Parser)]
#[command(name = "portald", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more, for finding faults.
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// Add two moving test cameras when none is configured.
        #[arg(long)]
        demo: bool,
    },
    /// Check the configuration: exit 0, or 1 and say what is wrong where.
    CheckConfig {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List libcamera's cameras: for portald itself, which starts it as a child process.
    #[command(hide = true)]
    ListSensors,
    /// Try an encoder out: for portald itself, which starts it as a child process.
    #[command(hide = true)]
    ProveEncoder,
    /// Say what is wrong with this box and how to mend it: exit 0 fine, 1 warnings, 2 broken.
    Doctor {
        #[command(flatten)]
        config: ConfigFile,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
        /// Mask names, serial numbers and public addresses, for a bug report.
        #[arg(long)]
        share: bool,
    },
    /// Look at what may hang: for `portald doctor` itself, which starts it as a child process.
    #[command(hide = true)]
    Look,
    /// Show the cameras and encoders of this box, and what it can encode at once.
    Devices {
        #[command(flatten)]
        config: ConfigFile,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file [default: /etc/portald/portald.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What ends the program early.
#[derive(Debug)]
pub enum Failure {
    /// `run` with an invalid configuration: `EX_CONFIG`, upon which systemd does not restart.
    RunConfig(ConfigError),
    /// `check-config` found a fault.
    CheckConfig(ConfigError),
    /// The daemon, or a listing, could not start.
    Start(StartError),
    /// `doctor` found something; its report is written.
    Unwell(u8),
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// Writes the error, its causes one a line, and the next step to stderr, or as one message to the journal.
    pub fn print(&self) {
        let (error, hint) = match self {
            Self::RunConfig(error) | Self::CheckConfig(error) => (chain(error), Some(error.hint())),
            Self::Start(error) => (chain(error), Some(error.hint())),
            Self::Other(error) => (chain(error.as_ref()), None),
            Self::Unwell(_) => return,
        };
        let hint = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        let event = match self {
            Self::RunConfig(_) => Some(events::CONFIG_INVALID),
            Self::Start(_) => Some(events::START_FAILED),
            Self::CheckConfig(_) | Self::Unwell(_) | Self::Other(_) => None,
        };
        match event.filter(|_| log::is_journal()) {
            Some(message_id) => {
                log::init(LevelFilter::Info);
                ::log::error!(message_id; "{error}\n{}", hint.trim_end());
            }
            None => drop(write!(io::stderr(), "error: {error}\n{hint}")),
        }
    }

    /// 78 for a configuration `run` cannot use, or a secret or template of it, 2 for what `doctor` found broken, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::RunConfig(_) => ExitCode::from(CONFIGURATION),
            Self::Start(error) if error.is_of_configuration() => ExitCode::from(CONFIGURATION),
            Self::Unwell(code) => ExitCode::from(*code),
            _ => ExitCode::FAILURE,
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n -> {error}"));
        cause = error.source();
    }
    text
}

/// `EX_CONFIG` of sysexits.h; after it systemd does not start the unit again (`RestartPreventExitStatus=`).
const CONFIGURATION: u8 = 78;
/// Told to GStreamer's V4L2 plug-in, which reads it when a device is closed. Without it 1.22 leaks a descriptor of the
/// device on each normal close (an orphaned buffer pool keeps a reference), so that the camera stays taken.
const DRAIN: (&str, &str) = ("GST_V4L2_FORCE_DRAIN", "1");
/// Told to glibc's allocator (mallopt(3)). By default threads spread over eight arenas for each processor, and each
/// arena keeps the most that it ever needed: encoders come and go here, and what they leave would add up.
const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "2");
/// Told to libcamera, which else writes some lines to stderr, and so to the journal, each time it is started.
const QUIET: (&str, &str) = ("LIBCAMERA_LOG_LEVELS", "*:ERROR");
/// Told to libcamera, too: its errors shall have no colours there.
const PLAIN: (&str, &str) = ("LIBCAMERA_LOG_NO_COLOR", "1");

/// Starts this program again with these in its environment, in place of this process. A process cannot safely change its
/// own environment.
fn set_environment() {
    let mut missing = vec![DRAIN, ARENAS, QUIET, PLAIN];
    missing.retain(|(name, _)| std::env::var_os(name).is_none());
    if missing.is_empty() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Returns only if it fails; then all works but for the leak, and takes more memory.
    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    let error = again.args(arguments).envs(missing).exec();
    warn!("cannot set {}: {error}", names.join(", "));
}

/// Does what the arguments say.
///
/// # Errors
/// [`Failure`], for `main` to print.
pub fn main(cli: Cli) -> Result<(), Failure> {
    let level = if cli.verbose { LevelFilter::Debug } else { LevelFilter::Info };
    match cli.command {
        Command::Run { config, demo } => {
            let settings = config::load(config.config.as_deref()).map_err(Failure::RunConfig)?;
            log::init(level);
            set_environment();
            daemon::run(settings, config.config, demo).map_err(Failure::Start)
        }
        Command::CheckConfig { config } => {
            let file = config.config.as_deref();
            let settings = config::load(file).map_err(Failure::CheckConfig)?;
            let templates = daemon::templates().map_err(|error| Failure::Start(error.into()))?;
            if let Some(error) = config::unknown_encoder(file, &settings, templates.encoder_names()) {
                return Err(Failure::CheckConfig(error));
            }
            let (cameras, rooms) = (settings.cameras.len(), settings.rooms.len());
            say(&format!("the configuration is valid: {cameras} cameras, {rooms} rooms\n"))
        }
        Command::ListSensors => say(&devices::sensors().map_err(Failure::Start)?),
        Command::ProveEncoder => {
            let verdict = devices::prove(io::stdin().lock()).map_err(Failure::Other)?;
            say(&verdict)
        }
        Command::Doctor { config, json, share } => {
            let report = doctor::here(config.config, share);
            say(&if json { report.json() } else { report.words() })?;
            match report.verdict.exit_code() {
                0 => Ok(()),
                code => Err(Failure::Unwell(code)),
            }
        }
        Command::Look => {
            set_environment();
            doctor::look(io::stdin().lock(), &mut io::stdout().lock()).map_err(Failure::Other)
        }
        Command::Devices { config, json } => {
            log::init(if cli.verbose { level } else { LevelFilter::Warn });
            set_environment();
            // What the box has can be seen without a configuration, too.
            let settings = config::load(config.config.as_deref()).or_else(|error| {
                warn!("the configuration is left out: {error}; `portald check-config` says more");
                config::from_bytes(config::DEFAULT_FILE.into(), Vec::new(), [])
            });
            let settings = settings.map_err(Failure::CheckConfig)?;
            say(&devices::list(json, &settings).map_err(Failure::Start)?)
        }
    }
}

fn say(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Other(e.into())),
        _ => Ok(()),
    }
}
