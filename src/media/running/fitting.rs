//! Keeps each rendition within what the box can encode: see [`crate::media::admission`].
//!
//! One that has to become less does so at once, and one that may be more again waits a while. Its encoder is stopped
//! and another started, which every driver can do; the viewers see a key frame of another size on the same track.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::{RENDITIONS, Running, blocking, close};
use crate::budget::{Demand, Picture};
use crate::media::MediaError;
use crate::media::admission::{Admission, Place};
use crate::media::encode::Recipe;
use crate::media::plan;

/// How long there must be room before a rendition becomes larger again: each change is a key frame, and who looks from
/// one camera to the next would otherwise see all others change with each click.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one waits for others that have to become less; then it starts nevertheless.
const GIVE_WAY: Duration = Duration::from_secs(2);

/// A rendition's part of what the box can encode.
#[derive(Default)]
pub(super) struct Fit {
    place: Option<Place>,
    /// Why it is less than wished for.
    why: Option<String>,
    /// What the log has of that.
    said: Option<String>,
    /// What was captured when it was fitted.
    of: Option<Picture>,
    /// Since when it waits for others to become less.
    waiting: Option<Instant>,
    /// Since when it might be more.
    roomier: Option<Instant>,
}

impl Fit {
    /// The encoder stopped, and will start again.
    pub(super) fn stopped(&self) {
        if let Some(place) = &self.place {
            place.hold(None);
        }
    }
}

impl Running {
    /// How a rendition is to be encoded now; none: not before others became less.
    pub(super) async fn fitted(&mut self, index: usize) -> Result<Option<Recipe>, MediaError> {
        let (wished, demand) = self.choose(index, None).await?;
        let (captured, wish, shared) = (self.captured(), demand.wish, Arc::clone(&self.shared));
        let Some(slot) = self.slots.get_mut(index) else { return Ok(None) };
        let fit = &mut slot.fit;
        let place = match fit.place.take() {
            Some(place) => {
                place.ask(demand);
                place
            }
            None => Admission::seat(&shared.encoders, shared.name(), index, demand, &shared.wake),
        };
        let (grant, may_start) = (place.grant(), place.may_start());
        fit.place = Some(place);
        let since = *fit.waiting.get_or_insert_with(Instant::now);
        if !may_start && since.elapsed() < GIVE_WAY {
            return Ok(None);
        }
        let (picture, why) = grant.map_or((wish, None), |grant| (grant.picture, grant.why));
        let recipe = if picture == wish { wished } else { self.choose(index, Some(picture)).await?.0 };
        if let Some(fit) = self.slots.get_mut(index).map(|slot| &mut slot.fit) {
            (fit.why, fit.of, fit.waiting, fit.roomier) = (why, Some(captured), None, None);
            if let Some(place) = &fit.place {
                place.hold(Some(picture));
            }
        }
        Ok(Some(recipe))
    }

    /// The best encoder that works, and what it takes; as `picture`, or as it is wished for.
    async fn choose(&self, index: usize, picture: Option<Picture>) -> Result<(Recipe, Demand), MediaError> {
        let (rendition, codec) = RENDITIONS.get(index).copied().unwrap_or(RENDITIONS[0]);
        let (known, planned) = (Arc::clone(&self.shared), self.planned.clone());
        let choose = move || {
            let (settings, encoders) = (known.resolved(), &known.encoders);
            let recipe = plan::encoding(&settings, &planned, rendition, codec, encoders, picture)?;
            let wish = recipe.picture(planned.framerate);
            let draws = encoders.draws(&recipe, codec, wish.framerate);
            Ok((recipe, Demand { wish, draws }))
        };
        blocking("the choice of an encoder", choose).await
    }

    /// Has a running rendition encoded anew where it has to be less, or may be more, or the camera sends another size.
    pub(super) async fn refit(&mut self, index: usize) {
        if !self.is_due(index) {
            return;
        }
        let present = self.slots.get(index).and_then(|slot| slot.recipe.clone());
        let changed = match self.fitted(index).await {
            Ok(Some(recipe)) if Some(&recipe) != present.as_ref() => {
                let encoder = self.slots.get_mut(index).and_then(|slot| slot.encoder.take());
                close("the encoder", encoder).await;
                self.begin(index, recipe).await
            }
            Ok(_) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
            self.fail_encoder(index, &error).await;
        }
    }

    fn is_due(&mut self, index: usize) -> bool {
        let (captured, must_shrink) = (self.captured(), self.must_shrink(index));
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let (Some(recipe), Some(place)) = (&slot.recipe, &slot.fit.place) else { return false };
        let Some(grant) = place.grant() else { return false };
        if must_shrink || slot.fit.of != Some(captured) {
            return true;
        }
        if grant.picture == recipe.picture(captured.framerate) {
            (slot.fit.why, slot.fit.roomier) = (grant.why, None);
            return false;
        }
        slot.fit.roomier.get_or_insert_with(Instant::now).elapsed() >= PATIENCE
    }

    /// Whether a running rendition has to become less.
    pub(super) fn must_shrink(&self, index: usize) -> bool {
        let Some(slot) = self.slots.get(index) else { return false };
        let made = slot.recipe.as_ref().map(|recipe| recipe.picture(self.planned.framerate).samples());
        let granted = slot.fit.place.as_ref().and_then(Place::grant).map(|grant| grant.picture.samples());
        made.zip(granted).is_some_and(|(made, granted)| granted < made)
    }

    /// Why a rendition is less than wished for.
    pub(super) fn degraded(&self, index: usize) -> Option<String> {
        let fitted = self.slots.get(index).and_then(|slot| slot.fit.why.clone());
        let all: Vec<String> = self.planned.limited.iter().cloned().chain(fitted).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Tells the log, once for each change, whether a rendition is what it is wished to be.
    pub(super) fn say_what_was_granted(&mut self, index: usize) {
        let camera = self.shared.name().as_str();
        let rendition = RENDITIONS.get(index).map_or("", |(rendition, _)| rendition.as_str());
        let framerate = self.planned.framerate;
        let Some(slot) = self.slots.get_mut(index) else { return };
        let picture = slot.recipe.as_ref().map(|recipe| recipe.picture(framerate));
        if let Some(Picture { width, height, .. }) = picture
            && slot.fit.why != slot.fit.said
        {
            let fps = picture.map_or(0.0, |picture| picture.fps());
            match &slot.fit.why {
                Some(why) => warn!(
                    camera, rendition, width, height, framerate = fps;
                    "camera {camera}: {rendition} is {why}; the cameras that stand first in the configuration keep most"
                ),
                None => info!(
                    camera, rendition, width, height, framerate = fps;
                    "camera {camera}: {rendition} is as wished for again"
                ),
            }
            slot.fit.said.clone_from(&slot.fit.why);
        }
    }

    /// What the camera sends.
    fn captured(&self) -> Picture {
        let plan::CapturePlan { width, height, framerate, .. } = self.planned;
        Picture { width, height, framerate }
    }
}
