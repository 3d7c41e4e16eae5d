//! The figures as rows against their goals, as a table and as JSON.

use serde_json::{Value, json};

use crate::table;

/// One figure and its goal.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    measured: String,
    goal: &'static str,
    met: bool,
}

/// The goals of `make bench`. Those of the slopes are what a prototype reached; the others are promises.
pub(crate) const WARM_MS: (f64, f64) = (150.0, 300.0);
/// p95 of a join to a closed camera.
pub(crate) const COLD_MS: f64 = 1500.0;
/// MB that 50 starts and stops of a camera may leave behind: as many as the test of joins and leaves allows.
const COLD_GROWTH_MB: f64 = 10.0;
/// p50 and p95 from stamp to display.
pub(crate) const LATENCY_MS: (f64, f64) = (20.0, 40.0);
/// Per viewer: percent of a core, MB, threads, descriptors; with the keys of the steps.
pub(crate) const PER_VIEWER: [(&str, f64); 4] =
    [("cpu_percent", 1.1), ("rss_mb", 1.5), ("threads", 7.0), ("descriptors", 9.0)];
/// Percent of a core with nobody watching.
const IDLE_PERCENT: f64 = 1.0;
/// Joins with key frames 10 s apart: camera, kind, name of the row, most of p95. Where the camera makes no key frame, the
/// replay is as a prototype's was.
const GROUPS: [(&str, &str, &str, f64, &str); 4] = [
    ("own", "warm", "10 s group, warm", WARM_MS.1, "p95 300 ms"),
    ("network", "warm", "10 s group, warm, passed on", 700.0, "p95 700 ms"),
    ("own", "cold", "10 s group, cold", COLD_MS, "p95 1500 ms"),
    ("network", "cold", "10 s group, cold, passed on", COLD_MS, "p95 1500 ms"),
];
/// From a fault to the slate, and from its end to pictures.
const RECOVERY_MS: (f64, f64) = (2000.0, 3000.0);
/// Percent of a core for four pictures a second that do not change.
const SLATE_PERCENT: f64 = 5.0;
/// From a click to a full picture.
const SWITCH_MS: f64 = 400.0;
/// What a level of latency may differ from another: half a frame's time, and a refresh of the screen.
const LASTING_MS: f64 = 10.0;
/// From a failure to a wall that says so, and from its end to one that is live.
const HEAL_MS: (f64, f64) = (2500.0, 5000.0);
/// The page until its first live tile, with heads of answers.
const PAGE_KB: f64 = 100.0;
/// A slope's threads and descriptors are whole numbers, give or take those that come and go.
const WHOLE: f64 = 0.05;

/// The rows of what was measured.
pub(crate) fn rows(figures: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let join = |kind: &str| {
        let (p50, p95) = (number(&figures[kind]["p50_ms"]), number(&figures[kind]["p95_ms"]));
        (p50, p95, format!("p50 {p50:.0} ms, p95 {p95:.0} ms, {} joins", figures[kind]["joins"]))
    };
    let warm =
        [("warm", "join to first picture, warm"), ("warm_in_chromium", "the same in Chromium, displayed")];
    for (key, name) in warm.into_iter().filter(|(key, _)| figures[*key].is_object()) {
        let (p50, p95, measured) = join(key);
        let met = p50 <= WARM_MS.0 && p95 <= WARM_MS.1;
        rows.push(Row { name, measured, goal: "p50 150 ms, p95 300 ms", met });
    }
    if figures["cold"].is_object() {
        let (_, p95, measured) = join("cold");
        let met = p95 <= COLD_MS;
        rows.push(Row { name: "join to first picture, cold", measured, goal: "p95 1500 ms", met });
        let growth = number(&figures["cold"]["rss_growth_mb"]);
        let measured = format!("{growth:.0} MB, {} starts", figures["cold"]["joins"]);
        let met = growth <= COLD_GROWTH_MB;
        rows.push(Row { name: "memory kept by closed cameras", measured, goal: "10 MB", met });
    }
    if let Some(steps) = figures["viewers"]["steps"].as_array() {
        let slope = |key: &str| number(&figures["viewers"]["slopes"][key]["per_viewer"]);
        let [(cpu, cpu_goal), (rss, rss_goal), (threads, threads_goal), (files, files_goal)] = PER_VIEWER;
        let mut push = |name, measured, goal, met| rows.push(Row { name, measured, goal, met });
        push("CPU per viewer", format!("{:.2} % of a core", slope(cpu)), "1.1 %", slope(cpu) <= cpu_goal);
        push("memory per viewer", format!("{:.2} MB", slope(rss)), "1.5 MB", slope(rss) <= rss_goal);
        let met = slope(threads) <= threads_goal + WHOLE;
        push("threads per viewer", format!("{:.2}", slope(threads)), "7", met);
        let met = slope(files) <= files_goal + WHOLE;
        push("descriptors per viewer", format!("{:.2}", slope(files)), "9", met);
        if let Some(most) = steps.last() {
            let (lost, frames) = (number(&most["frames_lost"]), &most["received"]["frames"]);
            let measured = format!("{lost:.0} of {} × {frames}", most["viewers"]);
            push("frames lost, 64 viewers", measured, "0", lost == 0.0);
            let rate = number(&most["received"]["frames_per_second"]);
            push("frames encoded, 64 viewers", format!("{rate:.1} a second"), "30", rate >= 29.7);
        }
    }
    if figures["latency"].is_object() {
        let part = &figures["latency"]["stamp_to_display"];
        let (p50, p95) = (number(&part["p50_ms"]), number(&part["p95_ms"]));
        let measured = format!("p50 {p50:.1} ms, p95 {p95:.1} ms, {} frames", figures["latency"]["frames"]);
        let met = p50 <= LATENCY_MS.0 && p95 <= LATENCY_MS.1;
        rows.push(Row { name: "stamp to display, Chromium", measured, goal: "p50 20 ms, p95 40 ms", met });
    }
    for (key, name) in
        [("idle", "CPU idle, freshly started"), ("idle_after", "CPU idle, after all have left")]
    {
        if figures[key].is_object() {
            let cpu = number(&figures[key]["cpu_percent"]);
            let measured = format!("{cpu:.2} % of a core");
            rows.push(Row { name, measured, goal: "1 %", met: cpu <= IDLE_PERCENT });
        }
    }
    rows.extend(more_rows(figures));
    rows
}

/// Those of the parts with daemons of their own.
fn more_rows(figures: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    for (camera, kind, name, limit, goal) in GROUPS {
        let part = &figures["groups"][camera][kind];
        if part.is_object() {
            let (p50, p95) = (number(&part["p50_ms"]), number(&part["p95_ms"]));
            let measured = format!("p50 {p50:.0} ms, p95 {p95:.0} ms, {} joins", part["joins"]);
            rows.push(Row { name, measured, goal, met: p95 <= limit });
        }
    }
    for (fault, name) in
        [("killed", "network camera dies and returns"), ("silent", "it is silent and goes on")]
    {
        let Some(rounds) = figures["recovery"][fault].as_array() else { continue };
        let worst = |key: &str| rounds.iter().map(|round| number(&round[key])).fold(f64::NAN, f64::max);
        let (slate, live) = (worst("slate_ms"), worst("live_ms"));
        let measured = format!("slate {slate:.0} ms, live {live:.0} ms, worst of {}", rounds.len());
        let met = slate <= RECOVERY_MS.0 && live <= RECOVERY_MS.1 && figures["recovery"]["offers"] == 1;
        rows.push(Row { name, measured, goal: "slate 2000 ms, live 3000 ms", met });
    }
    if figures["slate"].is_object() {
        let cpu = number(&figures["slate"]["cpu_percent"]);
        let measured = format!("{cpu:.2} % of a core");
        rows.push(Row {
            name: "CPU of a slate, one viewer",
            measured,
            goal: "5 %",
            met: cpu <= SLATE_PERCENT,
        });
    }
    if figures["switch"].is_object() {
        let (p50, p95) = (number(&figures["switch"]["p50_ms"]), number(&figures["switch"]["p95_ms"]));
        let measured = format!("p50 {p50:.0} ms, p95 {p95:.0} ms, {} clicks", figures["switch"]["clicks"]);
        rows.push(Row { name: "click to full picture", measured, goal: "p95 400 ms", met: p95 <= SWITCH_MS });
    }
    for (key, name) in
        [("join", "delay left by a replayed join"), ("stall", "delay left when all stood still")]
    {
        let part = &figures["delay"][key];
        if part.is_object() {
            let (before, after) = (number(&part["before"]), number(&part["after"]));
            let measured = format!("{:+.1} ms ({before:.1} to {after:.1} ms)", after - before);
            rows.push(Row { name, measured, goal: "10 ms", met: after - before <= LASTING_MS });
        }
    }
    rows.extend(page_rows(&figures["heal"]));
    rows
}

/// What the wall's page promises.
fn page_rows(heal: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for (failure, name) in [
        ("killed", "wall: daemon killed, restarted"),
        ("box", "wall: box stood still"),
        ("tab", "wall: tab frozen"),
    ] {
        let Some(rounds) = heal[failure].as_array() else { continue };
        // A frozen tab can tell nothing; nor does anybody look at it.
        let worst = |key: &str| rounds.iter().filter_map(|round| round[key].as_f64()).reduce(f64::max);
        let (told, live) = (worst("told_ms"), worst("live_ms").unwrap_or(f64::NAN));
        let said = told.map(|told| format!("said {told:.0} ms, ")).unwrap_or_default();
        let measured = format!("{said}live {live:.0} ms, worst of {}", rounds.len());
        let met = told.is_none_or(|told| told <= HEAL_MS.0) && live <= HEAL_MS.1;
        rows.push(Row { name, measured, goal: "said 2500 ms, live 5000 ms", met });
    }
    if let Some(bytes) = heal["bytes"].as_f64() {
        let kb = bytes / 1000.0;
        let measured = format!("{kb:.0} kB");
        rows.push(Row { name: "page until a live tile", measured, goal: "100 kB", met: kb <= PAGE_KB });
    }
    rows
}

/// The rows for people.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells = |Row { name, measured, goal, met }: &Row| {
        let verdict = if *met { "met" } else { "not met" };
        [*name, measured, goal, verdict].map(str::to_owned).to_vec()
    };
    table::text(&["row", "measured", "goal", "verdict"], &rows.iter().map(cells).collect::<Vec<_>>())
}

/// The rows for programs.
pub(crate) fn as_json(rows: &[Row]) -> Value {
    rows.iter()
        .map(|Row { name, measured, goal, met }| {
            json!({"row": name, "measured": measured, "goal": goal, "verdict": if *met { "met" } else { "not met" }})
        })
        .collect()
}
