//! `make bench`: what the release binary does and costs, as rows against their goals.
//!
//! Everything runs on this machine over loopback, so a figure holds for the machine and the load that it is printed
//! with. Slopes and ratios are of one run. `cargo bench --bench wall -- warm viewers` measures only those parts (all:
//! idle, viewers, warm, chromium, cold, latency; groups, recovery, slate, switch, delay and heal have daemons of their
//! own). Results: a table, `benches/out/bench.json`, `benches/out/bench.svg`.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

mod browser;
mod daemon;
mod groups;
mod joins;
mod latency;
mod machine;
mod network;
mod pages;
mod plot;
mod process;
mod receivers;
mod recovery;
mod report;
mod scale;
mod statistics;
mod table;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/viewer.rs"]
mod viewer;

use std::path::Path;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::daemon::Daemon;

/// The room and the camera that are watched by many.
const ROOM: &str = "home";
/// See [`ROOM`].
const CAMERA: &str = "bench";
/// Cameras that are opened anew for each join, each in a room of its own with the same name.
const COLD: [&str; 2] = ["cold-a", "cold-b"];
/// Noise, because nothing else that a test camera draws makes the encoder use its 2 Mbit/s.
const PATTERN: &str = "snow";
/// What can be measured, in this order.
const PARTS: [&str; 11] = [
    "idle", "viewers", "warm", "chromium", "cold", "latency", "groups", "recovery", "slate", "switch",
    "delay",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, port, room] = arguments.as_slice()
        && first == receivers::ARGUMENT
    {
        return receivers::run(port.parse().expect("a port"), room);
    }
    // `cargo test --benches` runs this too, and wants no figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    if let Some(unknown) = named.iter().find(|name| !PARTS.contains(name)) {
        eprintln!("there is no `{unknown}` to measure; there are {}", PARTS.join(", "));
        std::process::exit(2);
    }
    let wanted = |part: &str| named.is_empty() || named.contains(&part);
    measure(&wanted);
}

fn measure(wanted: &dyn Fn(&str) -> bool) {
    gstreamer::init().expect("GStreamer");
    let mut machine = machine::describe();
    machine["gstreamer"] = gstreamer::version_string().as_str().into();
    machine["chromium"] = machine::version(&machine::chromium()).into();
    machine["load_before"] = machine::load().into();
    let daemon = Daemon::start(&config());
    let runtime = Runtime::new().expect("a runtime");
    let mut figures = json!({});
    let mut part = |name: &str, key: &str, work: &dyn Fn() -> Value| {
        if wanted(name) {
            eprintln!("measuring {key} …");
            figures[key] = work();
        }
    };
    part("idle", "idle", &|| scale::idle(&daemon));
    // Before what closes cameras again and again: memory that was freed hides what a viewer takes.
    part("viewers", "viewers", &|| scale::measure(&daemon));
    part("warm", "warm", &|| joins::warm(&runtime, &daemon));
    part("chromium", "warm_in_chromium", &|| joins::warm_in_chromium(&daemon));
    part("cold", "cold", &|| joins::cold(&runtime, &daemon));
    part("latency", "latency", &|| {
        let latency = latency::measure(&daemon);
        daemon.wait_until_idle(CAMERA);
        latency
    });
    part("idle", "idle_after", &|| scale::idle(&daemon));
    drop(daemon);
    let mut part = |name: &str, work: &dyn Fn() -> Value| {
        if wanted(name) {
            eprintln!("measuring {name} …");
            figures[name] = work();
        }
    };
    part("groups", &|| groups::measure(&runtime));
    part("recovery", &|| recovery::measure(&runtime));
    part("slate", &recovery::slate);
    part("switch", &pages::switch);
    part("delay", &pages::delay);
    part("heal", &pages::heal);
    machine["load_after"] = machine::load().into();
    show(&machine, &figures);
}

fn show(machine: &Value, figures: &Value) {
    let rows = report::rows(figures);
    let text = |key: &str| machine[key].as_str().map_or_else(|| machine[key].to_string(), str::to_owned);
    let kbits = figures["viewers"]["steps"][0]["received"]["kbits_per_second"].as_f64();
    let place = format!(
        "{} × {}, Linux {}, {}, {}, load {} before, {} after",
        text("cores"),
        text("cpu"),
        text("kernel"),
        text("gstreamer"),
        text("chromium"),
        text("load_before"),
        text("load_after"),
    );
    println!("\nportald {} on {}\n{place}", text("portald"), text("system"));
    println!(
        "camera: test:{PATTERN}, 1280x720 at 30 fps, 2000 kbit/s asked, {} measured\n",
        kbits.map_or_else(|| "not".into(), |kbits| format!("{kbits:.0} kbit/s"))
    );
    print!("{}", report::table(&rows));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/out");
    std::fs::create_dir_all(&directory).expect("benches/out");
    let all = json!({
        "machine": machine, "camera": {"pattern": PATTERN, "kbits_per_second": kbits},
        "rows": report::as_json(&rows), "figures": figures,
    });
    let json = serde_json::to_string_pretty(&all).expect("plain JSON");
    std::fs::write(directory.join("bench.json"), json + "\n").expect("written");
    std::fs::write(directory.join("bench.svg"), plot::svg(figures, &place)).expect("written");
    println!("\nbenches/out/bench.json, benches/out/bench.svg");
}

fn config() -> String {
    let rooms: String = [ROOM].into_iter().chain(COLD).map(|room| format!("[room.{room}]\n")).collect();
    let camera = |name: &str, room: &str| {
        format!(
            "[camera.{name}]\nrooms = [\"{room}\"]\nsource = \"test:{PATTERN}\"\nwidth = 1280\nheight = 720\n\
             framerate = 30\nbitrate = 2000\n"
        )
    };
    let cold: String = COLD.into_iter().map(|name| camera(name, name)).collect();
    format!("{rooms}{}{cold}", camera(CAMERA, ROOM))
}
