//! Memory of the box, what the unit may take of it, and whether the power is enough.

use std::path::{Path, PathBuf};

use super::tree::Tree;
use super::{Finding, Group};

const MIB: u64 = 1024 * 1024;
/// The daemon with one camera and ten viewers takes 61 MiB (measured); below this nothing else has room.
const LITTLE: u64 = 100 * MIB;
/// A limit under which one camera and a few viewers do not fit.
const TIGHT: u64 = 96 * MIB;
/// Contiguous memory that a Raspberry Pi's encoder wants for 1920x1080: 20 MB and the queues, 3 to 6 MB each.
const CONTIGUOUS: u64 = 128 * MIB;
/// Where systemd 252 and later keep the unit's limits.
const UNIT: &str = "/sys/fs/cgroup/system.slice/portald.service";

/// Memory and power.
#[derive(Debug, Default)]
pub(super) struct Facts {
    total: Option<u64>,
    available: u64,
    swap: u64,
    contiguous: Option<u64>,
    /// The limit, and where it was found.
    limit: Option<(u64, PathBuf)>,
    killed: u64,
    /// The Raspberry Pi's own sensor: whether the voltage fell too low since the start.
    is_undervolted: bool,
}

impl Facts {
    pub(super) fn gather(tree: &Tree) -> Self {
        let text = tree.text("/proc/meminfo").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        let own = tree.text("/proc/self/cgroup").unwrap_or_default();
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .map(|path| Path::new("/sys/fs/cgroup").join(path));
        // A limit may be set at any level above; "max" is no number.
        let places = if tree.has(UNIT) { Some(PathBuf::from(UNIT)) } else { own };
        let levels = places
            .iter()
            .flat_map(|place| place.ancestors())
            .take_while(|place| place.starts_with("/sys/fs/cgroup"));
        let limits =
            levels.filter_map(|level| Some((tree.number(level.join("memory.max"))?, level.to_owned())));
        let events = tree.text(Path::new(UNIT).join("memory.events")).unwrap_or_default();
        let killed = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.parse().ok());
        let sensors =
            tree.names("/sys/class/hwmon").into_iter().map(|name| Path::new("/sys/class/hwmon").join(name));
        let mut volts =
            sensors.filter(|place| tree.text(place.join("name")).is_some_and(|name| name == "rpi_volt"));
        Self {
            total: field("MemTotal"),
            available: field("MemAvailable").unwrap_or_default(),
            swap: field("SwapTotal").unwrap_or_default(),
            contiguous: field("CmaTotal"),
            limit: limits.min(),
            killed: killed.unwrap_or_default(),
            is_undervolted: volts.any(|place| tree.number(place.join("in0_lcrit_alarm")) == Some(1)),
        }
    }
}

pub(super) fn judge(facts: &super::Facts) -> Vec<Finding> {
    let (me, group) = (&facts.memory, Group::Memory);
    let Some(total) = me.total else { return Vec::new() };
    let mib = |bytes: u64| bytes / MIB;
    let mut found = Vec::new();
    let what = format!(
        "{} MiB, {} MiB of them available, {} MiB of swap",
        mib(total),
        mib(me.available),
        mib(me.swap)
    );
    if me.available < LITTLE {
        found.push(
            Finding::warning(group, "available", what)
                .because(
                    "a camera with ten viewers takes 61 MiB; when memory runs out the kernel ends programs",
                )
                .mend("ps -e -o rss,comm --sort=-rss | head; end what is not needed"),
        );
    } else {
        found.push(Finding::fine(group, "available", what));
    }
    if let Some((limit, place)) = &me.limit {
        let what = format!("{} allows {} MiB", place.display(), mib(*limit));
        if *limit < TIGHT {
            found.push(
                Finding::warning(group, "limit", what)
                    .because("one camera with a few viewers takes more, and is ended for it")
                    .mend("sudo systemctl set-property portald MemoryMax=80%"),
            );
        } else {
            found.push(Finding::fine(group, "limit", what));
        }
    }
    if me.killed > 0 {
        found.push(
            Finding::warning(
                group,
                "killed",
                format!("the kernel ended portald's processes {} times for want of memory", me.killed),
            )
            .because("the wall is dark for some seconds each time")
            .mend("in [limits], fewer viewers: sessions = 16; or smaller pictures in the cameras' tables"),
        );
    }
    let has_pi_encoder = facts.cameras.devices.iter().any(|device| device.label.starts_with("bcm2835-codec"));
    if let Some(contiguous) = me.contiguous.filter(|bytes| has_pi_encoder && *bytes < CONTIGUOUS) {
        found.push(
            Finding::warning(
                group,
                "contiguous",
                format!("{} MiB of contiguous memory (CMA)", mib(contiguous)),
            )
            .because("the Raspberry Pi's encoder fails to start for want of it (\"cma_alloc\" in dmesg)")
            .mend("in /boot/firmware/config.txt: dtoverlay=vc4-kms-v3d,cma-256; then sudo reboot"),
        );
    }
    if me.is_undervolted {
        found.push(
            Finding::broken(group, "power", "the power supply's voltage fell too low")
                .because("the processor is slowed down, and USB cameras drop off the bus")
                .mend("use the board's own power supply with a short cable, or a USB hub with its own power for the cameras"),
        );
    }
    found
}
