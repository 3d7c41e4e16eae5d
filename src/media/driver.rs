//! What V4L2 drivers say when GStreamer does not pass it on.
//!
//! The plug-in's buffer pool writes the driver's errno (28: no USB bandwidth left) only to GStreamer's debug log; the
//! error on the bus says "Failed to allocate required memory" whatever the reason. Both happen on the same thread, one
//! right after the other (gstv4l2bufferpool.c, 1.22 and 1.26), so the log is listened to and the last word kept there.

use std::cell::RefCell;
use std::sync::Once;

use gstreamer as gst;
use log::{debug, warn};

/// The log categories of the plug-in that hold the driver's answers.
const CATEGORIES: [&str; 2] = ["v4l2bufferpool", "v4l2"];

thread_local! {
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What the plug-in makes GLib complain of for each node that is no camera, without being told by anybody (1.22).
const NOISE: &str = "gst_element_message_full_with_details: assertion 'GST_IS_ELEMENT (element)' failed";

/// Listens from now on. GStreamer is started.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::glib::log_set_default_handler(|domain, level, message| match level {
            gst::glib::LogLevel::Error | gst::glib::LogLevel::Critical | gst::glib::LogLevel::Warning
                if message != NOISE =>
            {
                warn!("{}: {message}", domain.unwrap_or("GLib"));
            }
            _ => debug!("{}: {message}", domain.unwrap_or("GLib")),
        });
        // Who debugs GStreamer has set what to see, and sees it on stderr.
        if std::env::var_os("GST_DEBUG").is_none() {
            gst::log::remove_default_log_function();
            for category in CATEGORIES {
                gst::log::set_threshold_for_name(category, gst::DebugLevel::Error);
            }
        }
        gst::log::add_log_function(|category, level, _, _, _, _, message| {
            if level == gst::DebugLevel::Error && CATEGORIES.contains(&category.name()) {
                let text = message.get().map(|text| text.to_string());
                SAID.with_borrow_mut(|said| *said = text);
            }
        });
    });
}

/// What the driver last said on this thread; once.
pub(super) fn said() -> Option<String> {
    SAID.with_borrow_mut(Option::take)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_heard_on_its_thread() {
        gst::init().unwrap();
        listen();
        let category = gst::DebugCategory::new(
            "v4l2bufferpool",
            gst::DebugColorFlags::empty(),
            Some("as in the plug-in"),
        );
        gst::error!(category, "error with STREAMON 28 (No space left on device)");
        std::thread::spawn(|| assert_eq!(said(), None)).join().unwrap();
        assert_eq!(said().as_deref(), Some("error with STREAMON 28 (No space left on device)"));
        assert_eq!(said(), None);
    }
}
