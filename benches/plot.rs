//! The figures as one SVG: what each viewer costs, and how the latency is distributed.

use std::fmt::Write;

use serde_json::Value;

use crate::report::{LATENCY_MS, PER_VIEWER};
use crate::statistics::percentile;

/// Size of the picture and of the plots in it, in SVG units.
const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 860.0;
const PANEL: (f64, f64) = (380.0, 180.0);
const TITLES: [&str; 4] = ["CPU, % of a core", "memory (RSS), MB", "threads", "descriptors"];
/// Width of a bar of the histogram, and where its last one begins, which takes all that is later.
const BAR_MS: f64 = 2.0;
const LAST_MS: f64 = 60.0;

const STYLE: &str = "text{font:13px sans-serif;fill:#222}.small{font-size:11px;fill:#555}.title{font-weight:bold}\
.axis{stroke:#888;fill:none}.grid{stroke:#e4e4e4}.goal{stroke:#c60;stroke-dasharray:6 4;fill:none}.goal-text{fill:#a40}\
.data{stroke:#06c;stroke-width:2;fill:none}.dot{fill:#06c}.bar{fill:#06c}";

/// Draws what is there of the figures. `machine` is one line about where they are from.
pub(crate) fn svg(figures: &Value, machine: &str) -> String {
    let mut plot = Plot::default();
    plot.text(
        40.0,
        30.0,
        "title",
        "portald: what each viewer of one 1280×720, 30 fps, 2 Mbit/s camera costs",
    );
    plot.text(40.0, 48.0, "small", machine);
    for (index, ((key, goal), title)) in PER_VIEWER.into_iter().zip(TITLES).enumerate() {
        let corner = (70.0 + (index % 2) as f64 * 440.0, 90.0 + (index / 2) as f64 * 250.0);
        plot.viewers(corner, title, key, goal, &figures["viewers"]);
    }
    plot.histogram((70.0, 620.0), &figures["latency"]);
    let body = plot.body;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">\
         <style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

#[derive(Default)]
struct Plot {
    body: String,
}

impl Plot {
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>"));
    }

    fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" ")));
    }

    /// Axes with about five marks on the left and one below for each of `marks`.
    fn axes(&mut self, scale: &Scale, title: &str, marks: &[(f64, String)]) {
        let (left, bottom) = scale.at(0.0, 0.0);
        let (right, top) = (left + scale.size.0, bottom - scale.size.1);
        let step = mark(scale.max.1 / 5.0);
        let mut value = 0.0;
        while value <= scale.max.1 {
            let y = scale.at(0.0, value).1;
            self.line("grid", &[(left, y), (right, y)]);
            self.text(left - 36.0, y + 4.0, "small", &format!("{value}"));
            value += step;
        }
        for (x, label) in marks {
            let x = scale.at(*x, 0.0).0;
            self.text(x - 6.0, bottom + 16.0, "small", label);
        }
        self.line("axis", &[(left, top), (left, bottom), (right, bottom)]);
        self.text(left, top - 10.0, "title", title);
    }

    fn viewers(&mut self, corner: (f64, f64), title: &str, key: &str, goal: f64, figures: &Value) {
        let steps = figures["steps"].as_array().into_iter().flatten();
        let points: Vec<(f64, f64)> =
            steps.filter_map(|step| Some((step["viewers"].as_f64()?, step[key].as_f64()?))).collect();
        let slope = &figures["slopes"][key];
        let (Some(slope), Some(base)) = (slope["per_viewer"].as_f64(), slope["base"].as_f64()) else {
            return;
        };
        let most = points.iter().fold((1.0, 0.0), |most: (f64, f64), p| (most.0.max(p.0), most.1.max(p.1)));
        let top = most.1.max(base + goal * most.0) * 1.05;
        let scale = Scale { corner, size: PANEL, max: (most.0, top) };
        let marks: Vec<(f64, String)> =
            points.iter().filter(|p| p.0 >= 8.0 || p.0 < 2.0).map(|p| (p.0, format!("{}", p.0))).collect();
        self.axes(&scale, title, &marks);
        self.line("goal", &[scale.at(0.0, base), scale.at(most.0, base + goal * most.0)]);
        let data: Vec<(f64, f64)> = points.iter().map(|p| scale.at(p.0, p.1)).collect();
        self.line("data", &data);
        for (x, y) in data {
            self.add(format_args!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"));
        }
        self.text(corner.0 + 12.0, corner.1 + 14.0, "", &format!("{slope:.2} per viewer"));
        self.text(corner.0 + 12.0, corner.1 + 30.0, "goal-text", &format!("goal: {goal} per viewer"));
        self.text(corner.0 + PANEL.0 - 44.0, corner.1 + PANEL.1 + 32.0, "small", "viewers");
    }

    fn histogram(&mut self, corner: (f64, f64), figures: &Value) {
        let values: Vec<f64> =
            figures["each_ms"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        if values.is_empty() {
            return;
        }
        let mut bars = vec![0u32; (LAST_MS / BAR_MS) as usize + 1];
        let last = bars.len() - 1;
        for value in &values {
            bars[((value / BAR_MS) as usize).min(last)] += 1;
        }
        let most = f64::from(bars.iter().copied().max().unwrap_or(1)) * 1.1;
        let scale = Scale { corner, size: (820.0, PANEL.1), max: (LAST_MS + BAR_MS, most) };
        let marks: Vec<(f64, String)> =
            (0..=6).map(|ten| (f64::from(ten) * 10.0, format!("{}", ten * 10))).collect();
        let title = format!(
            "latency from a frame's stamp to its display in Chromium: p50 {:.1} ms, p95 {:.1} ms",
            percentile(&values, 50.0),
            percentile(&values, 95.0)
        );
        self.axes(&scale, &title, &marks);
        for (index, count) in bars.into_iter().enumerate() {
            let (x, y) = scale.at(index as f64 * BAR_MS, f64::from(count));
            let (right, bottom) = scale.at((index + 1) as f64 * BAR_MS, 0.0);
            let (width, height) = (right - x - 1.0, bottom - y);
            self.add(format_args!(
                "<rect class=\"bar\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            ));
        }
        for (goal, label) in [(LATENCY_MS.0, "goal of p50"), (LATENCY_MS.1, "goal of p95")] {
            let (x, bottom) = scale.at(goal, 0.0);
            self.line("goal", &[(x, bottom), (x, corner.1)]);
            self.text(x + 4.0, corner.1 + 12.0, "goal-text", label);
        }
        let (right, below) = (corner.0 + 700.0, corner.1 + PANEL.1 + 32.0);
        self.text(right, below, "small", &format!("ms; the last bar: {LAST_MS} and more"));
        self.text(corner.0, below, "small", "frames");
    }
}

/// Where values are drawn.
struct Scale {
    /// Top left.
    corner: (f64, f64),
    size: (f64, f64),
    max: (f64, f64),
}

impl Scale {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.corner.0 + x / self.max.0 * self.size.0, self.corner.1 + self.size.1 * (1.0 - y / self.max.1))
    }
}

/// The next of 1, 2, 5, 10, 20, … that is not smaller.
fn mark(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|mark| *mark >= least).unwrap_or(least)
}
