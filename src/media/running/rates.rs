//! Bit rates that are changed while encoders run.

use log::{info, warn};

use super::{RENDITIONS, Running, close};
use crate::media::MediaError;
use crate::template::Values;

impl Running {
    /// Gives running encoders the bit rates that are wished for now. One that cannot change its rate is stopped, to be
    /// started with the new one.
    pub(super) async fn follow_rates(&mut self) {
        for (index, (rendition, _)) in RENDITIONS.into_iter().enumerate() {
            let wished = self.shared.bitrate(rendition);
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let (Some(encoder), Some(recipe)) = (&slot.encoder, &mut slot.recipe) else { continue };
            if recipe.bitrate == wished {
                continue;
            }
            let framerate = recipe.framerate.unwrap_or(self.planned.framerate);
            let interval = self.shared.settings().keyframe_interval;
            let values = Values::new()
                .picture(recipe.width, recipe.height, framerate)
                .encoding(wished, interval, framerate)
                .with("threads", crate::media::plan::threads());
            let template = self.shared.encoders.templates().encoder(&recipe.encoder);
            let setting = template.and_then(|template| Some((template, template.set_bitrate.as_ref()?)));
            let set = setting.map(|(template, setting)| {
                let rendered = template.render_setting(setting, &values);
                let rendered = rendered.map_err(|error| MediaError::pipeline(&recipe.encoder, error))?;
                encoder.set_bitrate(rendered.clone())?;
                recipe.set_bitrate = Some(rendered);
                Ok::<_, MediaError>(())
            });
            recipe.bitrate = wished;
            let (camera, name, by) = (self.shared.name().as_str(), rendition.as_str(), &recipe.encoder);
            match set {
                Some(Ok(())) => {
                    let look = super::Look { bitrate: wished, ..self.shared.look(index) };
                    self.shared.set_look(index, look);
                    info!(camera; "camera {camera}: {name} goes on at {wished} kbit/s by {by}");
                    continue;
                }
                Some(Err(error)) => {
                    warn!(camera; "camera {camera}: {name}: {by} is started again for its new rate: {error}");
                }
                None => {
                    info!(camera;
                        "camera {camera}: {name}: {by} is started again for its new rate, its template has no `set-bitrate`");
                }
            }
            close("the encoder", slot.encoder.take()).await;
        }
    }
}
