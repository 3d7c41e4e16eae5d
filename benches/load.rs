//! `make bench`, second part: the signalling server under load, beside the plain Node.js relay of `tests/relay`.
//!
//! 1000 sockets in 10 mesh rooms, on this machine, over loopback, both servers in processes of their own and measured
//! in turn with the same load; the clients run here and take their share of the processor, so what a server can do
//! alone is told by its CPU time for a message rather than by messages a second. portald is the server part of this
//! build with its limits raised; with `PORTALD_BIN` it is that program, and `[limits]` in its configuration.
//! Results: a table and `benches/out/load.json`.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

mod crowd;
#[allow(dead_code, reason = "the other benchmark uses all of it")]
mod machine;
#[allow(dead_code, reason = "the other benchmark uses all of it")]
mod process;
mod servers;
#[allow(dead_code, reason = "the other benchmark uses all of it")]
mod statistics;
mod table;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use crate::crowd::{Crowd, Mode};
use crate::servers::Contender;
use crate::statistics::percentile;

/// Rooms, and members of each.
const ROOMS: usize = 10;
const MEMBERS: usize = 100;
/// Sizes of a room that the table shows.
const SIZES: [usize; 4] = [1, 10, 50, 100];
/// Viewers of the wall.
const VIEWERS: usize = 1000;
/// Messages a second of all members together when the latency is measured: a fraction of what either server can do.
const RATE: f64 = 4000.0;
/// Measurements of each kind, of which the median is shown.
const ROUNDS: usize = 3;
/// Of one measurement, and what goes before it.
const WINDOW: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(700);
/// Until sockets at rest have given back what opening them took.
const REST: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == servers::ARGUMENT) {
        return Runtime::new().expect("a runtime").block_on(servers::serve());
    }
    // `cargo test --benches` runs this too, and wants no figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    if servers::raise_descriptors() {
        return;
    }
    let mut machine = machine::describe();
    machine["node"] = machine::version("node").into();
    machine["load_before"] = machine::load().into();
    let figures = Runtime::new().expect("a runtime").block_on(measure());
    machine["load_after"] = machine::load().into();
    show(&machine, &figures);
}

async fn measure() -> Value {
    let contenders = [Contender::portald(), Contender::relay()];
    let mut figures = json!({});
    let mut crowds = Vec::new();
    for contender in &contenders {
        eprintln!("{} members join {} …", ROOMS * MEMBERS, contender.name());
        let before = contender.read();
        let mut crowd = Crowd::new(contender.address());
        let joins = joins(&mut crowd).await;
        sleep(REST).await;
        let kilobytes = (contender.read().rss - before.rss) * 1024.0 / crowd.len() as f64;
        figures[contender.name()] =
            json!({ "joins": joins, "kilobytes_per_socket": kilobytes, "rounds": [] });
        crowds.push(crowd);
    }
    for round in 0..ROUNDS {
        // In turn, so that what else the machine does hits both.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for index in order {
            let (contender, crowd) = (&contenders[index], &crowds[index]);
            eprintln!("round {} of {ROUNDS}: {} …", round + 1, contender.name());
            let figure = json!({ "saturated": saturated(contender, crowd).await, "paced": paced(contender, crowd).await });
            let rounds = figures[contender.name()]["rounds"].as_array_mut();
            rounds.expect("made above").push(figure);
        }
    }
    for crowd in crowds {
        crowd.leave().await;
    }
    eprintln!("{VIEWERS} viewers join a wall …");
    figures["wall"] = wall(&contenders[0]).await;
    figures
}

/// All rooms grow by one member at a time: how long until a joiner has its roster, how long until all of its room have
/// theirs, and what is sent for that.
async fn joins(crowd: &mut Crowd) -> Value {
    let mut steps = Vec::new();
    for member in 0..MEMBERS {
        let (mut own, mut all) = (Vec::new(), Vec::new());
        let bytes = crowd.info_bytes();
        for room in 0..ROOMS {
            // Two neighbours write to each other.
            let name = |member: usize| format!("r{room}-m{member:03}");
            let query = format!("room=load-{room}&id={}", name(member));
            let times = crowd.join(&query, &name(member ^ 1), member % 2 == 0, member + 1).await;
            own.push(times.0);
            all.push(times.1);
        }
        let bytes = (crowd.info_bytes() - bytes) as f64 / ROOMS as f64;
        steps.push(json!({
            "members": member + 1, "bytes": bytes,
            "joiner_ms": percentile(&own, 50.0), "everyone_ms": percentile(&all, 50.0),
        }));
    }
    steps.into()
}

/// Each pair keeps one message under way.
async fn saturated(contender: &Contender, crowd: &Crowd) -> Value {
    let figure = window(contender, crowd, Mode::Saturated).await;
    crowd.set(Mode::Idle);
    sleep(WARM_UP).await;
    figure
}

/// Each member writes at fixed times, whatever has become of what it wrote before.
async fn paced(contender: &Contender, crowd: &Crowd) -> Value {
    let mut figure = window(contender, crowd, Mode::Paced).await;
    crowd.set(Mode::Idle);
    let latencies = crowd.take_latencies();
    for (name, percent) in [("p50_ms", 50.0), ("p95_ms", 95.0), ("p99_ms", 99.0)] {
        figure[name] = percentile(&latencies, percent).into();
    }
    sleep(WARM_UP).await;
    figure
}

async fn window(contender: &Contender, crowd: &Crowd, mode: Mode) -> Value {
    crowd.set(mode);
    sleep(WARM_UP).await;
    crowd.take_latencies();
    let (before, relayed, begun) = (contender.read(), crowd.relayed(), std::time::Instant::now());
    sleep(WINDOW).await;
    let (after, relayed, seconds) =
        (contender.read(), crowd.relayed() - relayed, begun.elapsed().as_secs_f64());
    json!({
        "messages_per_second": relayed as f64 / seconds,
        "cpu_us_per_message": 1e6 * (after.cpu - before.cpu) / relayed as f64,
        "cpu_percent": after.cpu_percent_since(&before),
    })
}

/// One room in which nobody sees the others: what a joiner costs must not grow.
async fn wall(portald: &Contender) -> Value {
    let mut crowd = Crowd::new(portald.address());
    let mut steps = Vec::new();
    let hundred = VIEWERS / 10;
    for group in 0..10 {
        let bytes = crowd.info_bytes();
        let mut own = Vec::new();
        for viewer in 0..hundred {
            let query = format!("room=wall&id=w{group}-{viewer:03}");
            own.push(crowd.join(&query, "nobody", false, 1).await.0);
        }
        let bytes = (crowd.info_bytes() - bytes) as f64 / hundred as f64;
        steps.push(json!({
            "viewers": (group + 1) * hundred, "joiner_ms": percentile(&own, 50.0), "bytes": bytes,
        }));
    }
    crowd.leave().await;
    json!({ "cameras": portald.cameras(), "steps": steps })
}

fn show(machine: &Value, figures: &Value) {
    let [ours, theirs] = [&figures[servers::PORTALD], &figures[servers::RELAY]];
    let median = |of: &Value, kind: &str, key: &str| {
        let rounds = of["rounds"].as_array().into_iter().flatten();
        percentile(&rounds.filter_map(|round| round[kind][key].as_f64()).collect::<Vec<_>>(), 50.0)
    };
    let mut rows = Vec::new();
    let mut row = |name: &str, unit: &str, digits: usize, of: &dyn Fn(&Value) -> f64| {
        let (a, b) = (of(ours), of(theirs));
        let cell = |value: f64| format!("{value:.digits$} {unit}");
        rows.push(vec![name.to_owned(), cell(a), cell(b), format!("{:.2}", a / b)]);
    };
    row("messages relayed, saturated", "/s", 0, &|of| median(of, "saturated", "messages_per_second"));
    row("CPU of the server for a message, saturated", "µs", 1, &|of| {
        median(of, "saturated", "cpu_us_per_message")
    });
    let paced = format!("at {RATE:.0} messages/s");
    row(&format!("CPU of the server for a message, {paced}"), "µs", 1, &|of| {
        median(of, "paced", "cpu_us_per_message")
    });
    for (name, key) in [("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms")] {
        row(&format!("latency {name}, {paced}"), "ms", 2, &|of| median(of, "paced", key));
    }
    row("memory for a socket", "kB", 1, &|of| of["kilobytes_per_socket"].as_f64().unwrap_or(f64::NAN));
    for size in SIZES {
        let of_join =
            |key: &'static str| move |of: &Value| of["joins"][size - 1][key].as_f64().unwrap_or(f64::NAN);
        row(&format!("join as member {size}: joiner knows"), "ms", 2, &of_join("joiner_ms"));
        row(&format!("join as member {size}: everyone knows"), "ms", 2, &of_join("everyone_ms"));
        row(&format!("join as member {size}: rosters sent"), "B", 0, &of_join("bytes"));
    }
    let text = |key: &str| machine[key].as_str().map_or_else(|| machine[key].to_string(), str::to_owned);
    println!(
        "\nportald {} and a plain relay on Node.js {} ({})\n{} × {}, Linux {}, load {} before, {} after",
        text("portald"),
        text("node"),
        text("system"),
        text("cores"),
        text("cpu"),
        text("kernel"),
        text("load_before"),
        text("load_after"),
    );
    println!(
        "{} sockets in {ROOMS} rooms, the clients on the same machine; medians of {ROUNDS} rounds in turn\n",
        ROOMS * MEMBERS
    );
    print!("{}", table::text(&["row", "portald", "Node.js relay", "ratio"], &rows));
    let steps: Vec<Vec<String>> = figures["wall"]["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| {
            let number = |key: &str| step[key].as_f64().unwrap_or(f64::NAN);
            vec![
                format!("{}", step["viewers"]),
                format!("{:.2} ms", number("joiner_ms")),
                format!("{:.0} B", number("bytes")),
            ]
        })
        .collect();
    println!("\na wall of {} cameras (the relay has no walls)\n", figures["wall"]["cameras"]);
    print!("{}", table::text(&["viewers", "joiner knows", "rosters sent to viewers for a join"], &steps));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/out");
    std::fs::create_dir_all(&directory).expect("benches/out");
    let json =
        serde_json::to_string_pretty(&json!({ "machine": machine, "figures": figures })).expect("plain JSON");
    std::fs::write(directory.join("load.json"), json + "\n").expect("written");
    println!("\nbenches/out/load.json");
}
