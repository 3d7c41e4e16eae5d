//! What follows from what the camera sends: whether it is passed on, and the size of its pictures, also when that
//! changes in mid-stream.

use log::{info, warn};

use super::{CapturePlan, RENDITIONS, Running};
use crate::media::camera::Look;
use crate::media::plan::{self, Rendition};

impl Running {
    /// Logs whether a camera's own H.264 is passed on, and notes why if it is not.
    pub(super) fn say_what_is_passed_on(&mut self) {
        let Some(passage) = self.passage() else { return };
        let camera = self.shared.name().as_str();
        let profile = passage.profile().unwrap_or_else(|| "unknown".into());
        if !passage.is_direct() {
            let why = *self.planned.transcoded.get_or_insert(
                "the camera's H.264 has B-frames, which browsers do not put in order; switch them off in the camera",
            );
            let camera = self.shared.name().as_str();
            warn!(camera; "camera {camera}: its H.264 is decoded and encoded anew: {why}");
        } else if profile == "constrained-baseline" {
            info!(camera; "camera {camera}: main is passed on as the camera encodes it ({profile} profile)");
        } else {
            warn!(
                camera;
                "camera {camera}: main is passed on as the camera encodes it; its profile is {profile}, which Safari \
                 may show black: set the camera to baseline, or name an encoder in the configuration"
            );
        }
    }

    /// Notes what the renditions look like by what is captured; what an encoder makes of it now, it tells itself.
    pub(super) fn note_looks(&self) {
        let (direct, settings) = (self.is_direct(), self.shared.resolved());
        let looks = RENDITIONS.map(|(rendition, _)| {
            let (picture, bitrate) = plan::wished(&settings, &self.planned, rendition);
            let (width, height) = match direct && rendition == Rendition::Main {
                true => (self.planned.width, self.planned.height),
                false => (picture.width, picture.height),
            };
            Look { width, height, framerate: picture.framerate, bitrate }
        });
        self.shared.set_sizes([looks[0].size(), looks[1].size()]);
        for (index, (slot, look)) in self.slots.iter().zip(looks).enumerate() {
            if slot.encoder.is_none() {
                self.shared.set_look(index, look);
            }
        }
    }

    /// Takes note when the camera sends another size or rate than before. Encoders follow.
    pub(super) fn follow(&mut self) {
        let Some(capture) = &self.capture else { return };
        let CapturePlan { width, height, framerate, .. } = self.planned;
        let before = ((width, height), framerate);
        let now = (capture.size().unwrap_or(before.0), capture.framerate().unwrap_or(framerate));
        if now == before {
            return;
        }
        let ((width, height), framerate) = now;
        (self.planned.width, self.planned.height, self.planned.framerate) = (width, height, framerate);
        let (camera, (n, d)) = (self.shared.name().as_str(), framerate);
        info!(camera, width, height; "camera {camera}: sends {width}x{height} at {n}/{d} from now on");
        self.note_looks();
    }
}
