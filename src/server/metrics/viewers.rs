//! What each viewer gets; why its series are named as they are is said in `status::viewers`.

use std::fmt::Display;

use super::page::Page;
use crate::status::viewers::{Figures, Playback, Viewers};

/// Writes all of it.
pub(super) fn write(page: &mut Page, viewers: &Viewers) {
    let list = viewers.list();
    let name = "portald_viewer_info";
    page.head(
        name,
        "gauge",
        "1 for the rendition that a viewer is given; viewers are numbered for each camera.",
    );
    for ((camera, number), figures) in &list {
        let labels: [(&str, &dyn Display); 4] = [
            ("camera", camera),
            ("viewer", number),
            ("rendition", &figures.rendition),
            ("codec", &figures.codec),
        ];
        page.line(name, &labels, 1);
    }
    for (name, kind, help, value) in [
        (
            "portald_viewer_sent_frames_total",
            "counter",
            "Frames given to a viewer.",
            (|f| Some(f.frames as f64)) as fn(&Figures) -> Option<f64>,
        ),
        (
            "portald_viewer_sent_bytes_total",
            "counter",
            "Bytes of them, without what the network adds and what is sent again.",
            |f| Some(f.bytes as f64),
        ),
        (
            "portald_viewer_packets_lost_total",
            "counter",
            "Packets that did not reach a viewer, as it reports; most are mended by sending them again.",
            |f| Some(f.lost as f64),
        ),
        (
            "portald_viewer_loss_ratio",
            "gauge",
            "Lost packets among those sent between its last two reports, 0 to 1.",
            |f| f.loss,
        ),
        ("portald_viewer_round_trip_seconds", "gauge", "Round trip to a viewer, as last measured.", |f| {
            f.round_trip.map(|trip| trip.as_secs_f64())
        }),
        (
            "portald_viewer_decoded_frames_total",
            "counter",
            "Frames that a viewer's page says it decoded.",
            |f| page_says(f, |p| p.decoded as f64),
        ),
        (
            "portald_viewer_dropped_frames_total",
            "counter",
            "Frames that a viewer's page says it received and did not show.",
            |f| page_says(f, |p| p.dropped as f64),
        ),
        (
            "portald_viewer_freezes_total",
            "counter",
            "Times the picture stood still, as a viewer's page says.",
            |f| page_says(f, |p| p.freezes as f64),
        ),
        ("portald_viewer_frozen_seconds_total", "counter", "Seconds for which it did.", |f| {
            page_says(f, |p| p.frozen)
        }),
    ] {
        page.head(name, kind, help);
        for ((camera, number), figures) in &list {
            if let Some(value) = value(figures) {
                page.line(name, &[("camera", camera), ("viewer", number)], value);
            }
        }
    }
    let help = "Viewers that are only counted, because too many others have series of their own.";
    page.single("portald_viewers_unlisted", "gauge", help, viewers.unlisted());
}

fn page_says(figures: &Figures, value: fn(Playback) -> f64) -> Option<f64> {
    figures.playback.map(value)
}
