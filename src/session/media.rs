//! What a connected viewer is given: which rendition, and nothing while its page does not show it.

use std::sync::Arc;
use std::time::Instant;

use gstreamer_app::AppSrc;
use log::debug;
use tokio::task::spawn_blocking;

use super::Task;
use crate::media::MediaError;
use crate::media::fanout::Subscription;
use crate::media::plan::Rendition;
use crate::proto::negotiation::Codec;
use crate::quality::Choice;
use crate::status::viewers::Listed;
use crate::template::Values;

/// What flows once the viewer is connected and its certificate checked.
pub(super) struct Media {
    /// Where its frames go.
    pub(super) source: AppSrc,
    /// None while the page does not show them.
    pub(super) subscription: Option<Subscription>,
    pub(super) codec: Codec,
    pub(super) choice: Choice,
    /// Frames it had been given when last looked.
    pub(super) sent: u64,
    /// Frames and bytes it was given before it last rested.
    pub(super) before: (u64, u64),
    /// Its figures in the metrics.
    pub(super) listed: Listed,
}

impl Task {
    pub(super) async fn start_media(&mut self, payload_type: u8, codec: Codec) -> Result<(), MediaError> {
        let template = self.camera.templates().viewer(codec.as_str());
        let template = template.ok_or_else(|| MediaError::Template(format!("viewer/{}", codec.as_str())))?;
        let launch = template
            .render(&Values::new().with("payload_type", payload_type))
            .map_err(|error| MediaError::Template(error.to_string()))?;
        let peer = Arc::clone(&self.peer);
        let started = spawn_blocking(move || peer.start_media(codec, payload_type, &launch)).await;
        let source = started.map_err(|_| MediaError::Template("the payloader panicked".into()))??;
        let choice = self.suitable();
        let subscription = Some(self.camera.subscribe(rendition(choice), codec, source.clone()));
        let listed = self.camera.viewers().enter(self.camera.name());
        if let Some(number) = listed.number() {
            let (camera, peer) = (self.camera.name().as_str(), self.viewer.id.as_str());
            debug!(camera, peer; "camera {camera}: in /metrics {peer} is viewer {number}");
        }
        self.media = Some(Media { source, subscription, codec, choice, sent: 0, before: (0, 0), listed });
        Ok(())
    }

    /// By the sizes that are captured, which may not be those of the configuration.
    pub(super) fn suitable(&mut self) -> Choice {
        let [main, sub] = self.camera.sizes();
        self.chooser.sizes(main, sub);
        self.chooser.choose(Instant::now())
    }

    /// Gives the viewer the rendition that suits it now.
    pub(super) fn choose(&mut self) {
        if self.media.is_none() {
            return;
        }
        let choice = self.suitable();
        let Some(media) = &mut self.media else { return };
        if choice == std::mem::replace(&mut media.choice, choice) {
            return;
        }
        let rendition = rendition(choice);
        let Some(subscription) = &mut media.subscription else { return };
        self.camera.change(subscription, rendition, media.codec);
        let (camera, peer) = (self.camera.name().as_str(), self.viewer.id.as_str());
        let (name, why) = (rendition.as_str(), self.chooser.why());
        debug!(camera, peer; "camera {camera}: {peer} gets {name}: {why}");
    }

    /// Sends nothing to a page that does not show it, and lets go of the camera; begins again when it does.
    pub(super) fn rest(&mut self) {
        let rests = self.chooser.rests(Instant::now());
        if self.media.as_ref().is_none_or(|media| rests == media.subscription.is_none()) {
            return;
        }
        let choice = self.suitable();
        let Some(media) = &mut self.media else { return };
        if let Some(subscription) = media.subscription.take_if(|_| rests) {
            let (frames, bytes) = subscription.given();
            media.before = (media.before.0 + frames, media.before.1 + bytes);
            self.attendance = None;
        } else {
            self.attendance.get_or_insert_with(|| self.camera.attend());
            media.choice = choice;
            media.sent = 0;
            media.subscription =
                Some(self.camera.subscribe(rendition(media.choice), media.codec, media.source.clone()));
        }
        let (camera, peer) = (self.camera.name().as_str(), self.viewer.id.as_str());
        let what = if rests { "does not show it, and is sent nothing" } else { "shows it again" };
        debug!(camera, peer; "camera {camera}: {peer} {what}");
    }

    pub(super) fn subscription(&self) -> Option<&Subscription> {
        self.media.as_ref()?.subscription.as_ref()
    }

    pub(super) fn measure(&mut self) {
        let Some(media) = &self.media else { return };
        let report = self.peer.reports().take();
        media.listed.update(|figures| {
            figures.rendition = rendition(media.choice).as_str();
            figures.codec = media.codec.as_str().to_uppercase();
            let (frames, bytes) = media.subscription.as_ref().map_or((0, 0), Subscription::given);
            (figures.frames, figures.bytes) = (media.before.0 + frames, media.before.1 + bytes);
            figures.lost = self.peer.reports().lost();
            figures.loss = report.map(|report| report.lost).or(figures.loss);
            figures.round_trip = report.and_then(|report| report.round_trip).or(figures.round_trip);
        });
        if let Some(report) = report {
            self.chooser.report(Instant::now(), report);
        }
        self.rest();
        self.choose();
    }
}

fn rendition(choice: Choice) -> Rendition {
    match choice {
        Choice::Main => Rendition::Main,
        Choice::Sub => Rendition::Sub,
    }
}
