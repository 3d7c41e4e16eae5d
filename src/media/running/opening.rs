//! The device is opened: what it gives, and where that goes.

use tokio::sync::mpsc;

use crate::config::settings::Source;
use crate::media::MediaError;
use crate::media::camera::Shared;
use crate::media::capture::{Capture, Event, Outlets};
use crate::media::passthrough::Passage;
use crate::media::plan::{self, CapturePlan, Rendition};
use crate::proto::negotiation::Codec;

/// Chooses what to ask of the device, and opens it; blocks until it is open.
pub(super) fn open(
    shared: &Shared,
    outlets: &Outlets,
    events: &mpsc::Sender<Event>,
) -> Result<(CapturePlan, Capture), MediaError> {
    let mut planned = plan::capture(&shared.resolved(), &shared.encoders)?;
    let stamp = matches!(shared.settings().source, Source::Test(_)).then(|| shared.name().as_str());
    let main = shared.fanout(Rendition::Main, Codec::H264);
    let passage = planned.encoded.then(|| Passage::new(&shared.timeline, main, planned.transcoded.is_none()));
    let capture = Capture::start(&shared.timeline, &planned, outlets, passage, stamp, events)?;
    if let Some((width, height)) = capture.size() {
        (planned.width, planned.height) = (width, height);
    }
    if let Some(framerate) = capture.framerate() {
        planned.framerate = framerate;
    }
    Ok((planned, capture))
}
