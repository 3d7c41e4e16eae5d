//! What the server counts, and `/metrics`.

mod cameras;
mod page;
mod process;
mod viewers;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use self::page::Page;
use super::Context;
use super::refusals::Reason;
use super::socket::End;
use super::tls::Failure;
use crate::proto::ids::Kind;
use crate::status::UplinkStatus;
use crate::status::sessions::{BUCKETS, STATES, Sessions};

/// Counts since the start. Nothing is decided by them, so their order among each other does not matter.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// WebSockets opened.
    pub(super) opened: AtomicU64,
    /// Frames from clients.
    pub(super) frames: AtomicU64,
    /// Frames that were no message.
    pub(super) malformed: AtomicU64,
    /// Frames over the rate.
    pub(super) over_rate: AtomicU64,
    /// Answers to malformed frames that found no place in the queue.
    pub(super) unanswered: AtomicU64,
    ended: [AtomicU64; End::LABELS.len()],
    handshakes: [AtomicU64; Failure::ALL.len()],
}

impl Counters {
    /// TLS did not come up.
    pub(super) fn handshake_failed(&self, failure: Failure) {
        for (count, _) in self.handshakes.iter().zip(Failure::ALL).filter(|(_, kind)| *kind == failure) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A WebSocket ended.
    pub(super) fn ended(&self, end: &End) {
        let label = end.label();
        for (count, _) in self.ended.iter().zip(End::LABELS).filter(|(_, l)| *l == label) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// The `/metrics` page, Prometheus text format 0.0.4.
pub(super) async fn render(context: &Context) -> String {
    let site = &context.site;
    let counters = &context.counters;
    let hub = site.hub.counters();
    let load = |count: &AtomicU64| count.load(Relaxed);
    let mut page = Page::default();

    page.head("portald_build_info", "gauge", "The running version.");
    page.line("portald_build_info", &[("version", &site.version)], 1);

    page.head("portald_connections", "gauge", "TCP connections now.");
    page.line("portald_connections", &[], context.slots.taken());
    page.head(
        "portald_refused_total",
        "counter",
        "What was refused, by reason; limits by their key in [limits].",
    );
    for reason in Reason::ALL {
        page.line("portald_refused_total", &[("reason", &reason.label())], context.refusals.total(reason));
    }
    let (camera, total) = site.places.refused();
    page.head("portald_sessions_waited_total", "counter", "Viewers that had to wait for a place, by limit.");
    page.line("portald_sessions_waited_total", &[("limit", &"sessions_per_camera")], camera);
    page.line("portald_sessions_waited_total", &[("limit", &"sessions")], total);
    page.head(
        "portald_login_addresses_forgotten_total",
        "counter",
        "Addresses with wrong passwords that were forgotten to make room for others.",
    );
    page.line("portald_login_addresses_forgotten_total", &[], context.addresses_forgotten());

    page.head(
        "portald_tls_handshakes_failed_total",
        "counter",
        "Connections on which TLS did not come up, by reason.",
    );
    for (kind, count) in Failure::ALL.iter().zip(&counters.handshakes).filter(|_| site.tls.is_some()) {
        page.line("portald_tls_handshakes_failed_total", &[("reason", &kind.label())], load(count));
    }
    let help = "When the certificate stops being valid, in seconds since 1970.";
    page.head("portald_tls_certificate_expiry_seconds", "gauge", help);
    if let Some(until) = site.tls.as_ref().and_then(|tls| tls.valid_until()) {
        page.line("portald_tls_certificate_expiry_seconds", &[], until);
    }

    page.head("portald_sockets_opened_total", "counter", "WebSockets opened.");
    page.line("portald_sockets_opened_total", &[], load(&counters.opened));
    page.head("portald_sockets_ended_total", "counter", "WebSockets ended, by reason.");
    for (label, count) in End::LABELS.iter().zip(&counters.ended) {
        page.line("portald_sockets_ended_total", &[("reason", label)], load(count));
    }
    page.head("portald_frames_total", "counter", "WebSocket frames from clients.");
    page.line("portald_frames_total", &[], load(&counters.frames));
    page.head("portald_frames_dropped_total", "counter", "Frames from clients that were dropped, by reason.");
    page.line("portald_frames_dropped_total", &[("reason", &"malformed")], load(&counters.malformed));
    page.line("portald_frames_dropped_total", &[("reason", &"rate")], load(&counters.over_rate));
    page.head(
        "portald_errors_unsent_total",
        "counter",
        "Error answers dropped because the client reads too slowly.",
    );
    page.line("portald_errors_unsent_total", &[], load(&counters.unanswered));

    for (name, help, count) in [
        ("portald_hub_joins_total", "Connections that asked for a seat in a room.", &hub.joins),
        ("portald_hub_messages_total", "Messages from members.", &hub.messages),
        ("portald_hub_relayed_total", "Messages passed on to another member.", &hub.relayed),
        ("portald_hub_infos_total", "Rosters sent.", &hub.infos),
        ("portald_hub_slow_closed_total", "Members closed because their queue was full.", &hub.slow_closed),
    ] {
        page.head(name, "counter", help);
        page.line(name, &[], load(count));
    }
    page.head("portald_hub_dropped_total", "counter", "Messages the hub dropped, by reason.");
    for (reason, count) in [
        ("no_target", &hub.dropped_no_target),
        ("renewals", &hub.dropped_renewals),
        ("seat_queue", &hub.dropped_seat_queue),
        ("invalid", &hub.dropped_invalid),
    ] {
        page.line("portald_hub_dropped_total", &[("reason", &reason)], load(count));
    }

    // A hub that does not answer must not take the other figures with it.
    if let Some(rooms) = context.rooms().await {
        page.head("portald_members", "gauge", "Members of each room, by kind.");
        for room in &rooms {
            for (kind, label) in [(Kind::Camera, "camera"), (Kind::Peer, "peer")] {
                let count = room.members.iter().filter(|m| m.kind == kind).count();
                page.line("portald_members", &[("room", &room.name), ("kind", &label)], count);
            }
        }
    }

    page.uplinks(&site.uplinks.list());
    let stills = site.stills.counters();
    for (name, help, count) in [
        ("portald_stills_made_total", "Pictures encoded as JPEG.", &stills.made),
        ("portald_snapshots_total", "Single pictures given out.", &stills.snapshots),
        ("portald_mjpeg_streams_total", "Streams of JPEGs begun.", &stills.streams),
        ("portald_mjpeg_pictures_total", "Pictures given to streams of JPEGs.", &stills.streamed),
        ("portald_mjpeg_skipped_total", "Pictures that slow readers of streams missed.", &stills.skipped),
        ("portald_stills_refused_total", "Requests for pictures over a limit.", &stills.refused),
    ] {
        page.head(name, "counter", help);
        page.line(name, &[], load(count));
    }
    page.head("portald_mjpeg_readers", "gauge", "Readers of streams of JPEGs now.");
    page.line("portald_mjpeg_readers", &[], site.stills.readers());

    cameras::write(&mut page, &site.cameras.list(), &site.cameras.counts());
    viewers::write(&mut page, site.cameras.viewers());
    sessions(&mut page, site.cameras.sessions());
    process::write(&mut page);
    page.into_text()
}

/// What the sessions between cameras and viewers come to.
fn sessions(page: &mut Page, sessions: &Sessions) {
    // The code's own words have hyphens, labels underscores.
    let label = |word: &str| word.replace('-', "_");
    page.head("portald_sessions", "gauge", "Sessions between a camera and a viewer, by state.");
    for (state, count) in STATES.iter().zip(sessions.now()) {
        page.line("portald_sessions", &[("state", &label(state))], count);
    }
    page.head("portald_sessions_ended_total", "counter", "Sessions that ended, by reason.");
    for (reason, count) in sessions.ended() {
        page.line("portald_sessions_ended_total", &[("reason", &label(reason))], count);
    }
    let help = "What viewers sent their session that was not used, by reason.";
    page.head("portald_session_inputs_ignored_total", "counter", help);
    for (reason, count) in sessions.ignored() {
        page.line("portald_session_inputs_ignored_total", &[("reason", &label(reason))], count);
    }
    let help = "Events of viewers' pipelines that their session lost.";
    page.head("portald_session_events_lost_total", "counter", help);
    page.line("portald_session_events_lost_total", &[], sessions.lost_events());
    let help = "Seconds from a session's begin to the first frame given to its connected viewer.";
    page.head("portald_first_frame_seconds", "histogram", help);
    let histogram = sessions.first_frame();
    let counts = histogram.at_most();
    let infinity: &dyn Display = &"+Inf";
    let bounds = BUCKETS.iter().map(|bound| bound as &dyn Display).chain([infinity]);
    for (bound, count) in bounds.zip(counts) {
        page.line("portald_first_frame_seconds_bucket", &[("le", bound)], count);
    }
    page.line("portald_first_frame_seconds_sum", &[], histogram.sum());
    page.line("portald_first_frame_seconds_count", &[], counts[BUCKETS.len()]);
}

impl UplinkStatus {
    fn labels(&self) -> [(&'static str, &dyn Display); 2] {
        [("uplink", &self.uplink), ("camera", &self.camera)]
    }
}

impl Page {
    /// The ways of our cameras to other servers.
    fn uplinks(&mut self, uplinks: &[Arc<UplinkStatus>]) {
        let name = "portald_uplink_connected";
        self.head(name, "gauge", "Whether a camera has its seat in a room of another server.");
        for uplink in uplinks {
            self.line(name, &uplink.labels(), u8::from(uplink.connected.load(Relaxed)));
        }
        let name = "portald_uplink_ended_total";
        self.head(
            name,
            "counter",
            "Connections to other servers that ended or did not come about, by reason.",
        );
        for uplink in uplinks {
            for (reason, count) in uplink.ends() {
                let [link, camera] = uplink.labels();
                self.line(name, &[link, camera, ("reason", &reason)], count);
            }
        }
        let name = "portald_uplink_dropped_total";
        self.head(
            name,
            "counter",
            "Messages not sent to another server: the socket was away, or their session over.",
        );
        for uplink in uplinks {
            self.line(name, &uplink.labels(), uplink.dropped.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_label_of_its_own_that_is_counted() {
        let labels: std::collections::BTreeSet<_> = End::LABELS.into_iter().collect();
        assert_eq!(labels.len(), End::LABELS.len());
        let counters = Counters::default();
        counters.ended(&End::Silent);
        assert_eq!(counters.ended.iter().map(|c| c.load(Relaxed)).sum::<u64>(), 1);
    }
}
