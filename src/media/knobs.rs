//! What of an encoder is changed while it runs, as its template says: the bit rate, and key frames where its element
//! does not hear GStreamer's own request for one.
//!
//! Both are done on the encoder's own streaming thread, just before its next picture: a control goes into a driver, which
//! may not return, and neither a viewer's task nor the supervisor may wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::glib::subclass::SignalId;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use log::warn;

use super::MediaError;
use super::capture::by_name;
use crate::template::{Deed, Setting};

/// The element that a template's settings are about.
const ELEMENT: &str = "encoder";

/// What is to be done with the next picture.
#[derive(Debug, Default)]
pub(crate) struct Knobs {
    /// How a key frame is asked for, if not by GStreamer's own event.
    keyframe: Option<Setting>,
    keyframe_asked: AtomicBool,
    /// The newest that is wished for.
    bitrate: Mutex<Option<Setting>>,
}

impl Knobs {
    /// Takes a pipeline that was built of a template. Requests for key frames are turned into `force_keyframe` from now
    /// on; `set_bitrate` is what will be used for rates.
    ///
    /// # Errors
    /// [`MediaError`] when the encoder lacks what a setting names.
    pub(crate) fn attach(
        pipeline: &gst::Pipeline,
        set_bitrate: Option<&Setting>,
        force_keyframe: Option<&Setting>,
    ) -> Result<Arc<Self>, MediaError> {
        let knobs = Arc::new(Self { keyframe: force_keyframe.cloned(), ..Self::default() });
        if set_bitrate.is_none() && force_keyframe.is_none() {
            return Ok(knobs);
        }
        let element = by_name::<gst::Element>(pipeline, ELEMENT)?;
        for setting in set_bitrate.into_iter().chain(force_keyframe) {
            Checked::new(&element, setting)?;
        }
        let pad = |name| {
            let missing = || MediaError::pipeline("encoder", format!("has no pad `{name}`"));
            element.static_pad(name).ok_or_else(missing)
        };
        let on_picture = Arc::clone(&knobs);
        pad("sink")?.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
            if let Some(element) = pad.parent_element() {
                on_picture.turn(&element);
            }
            gst::PadProbeReturn::Ok
        });
        if force_keyframe.is_some() {
            let on_request = Arc::clone(&knobs);
            pad("src")?.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
                let asks = |event: &gst::Event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok();
                if !info.event().is_some_and(asks) {
                    return gst::PadProbeReturn::Ok;
                }
                on_request.keyframe_asked.store(true, Ordering::Release);
                // An element that hears the event too, in a later version, would make two. Taken and not dropped: for what
                // a probe drops on its way up, GStreamer 1.22 complains.
                drop(info.data.take());
                gst::PadProbeReturn::Handled
            });
        }
        Ok(knobs)
    }

    /// Has the encoder of `pipeline` work to another bit rate from its next picture on.
    ///
    /// # Errors
    /// [`MediaError`] when it does not take it.
    pub(crate) fn set_bitrate(&self, pipeline: &gst::Pipeline, setting: Setting) -> Result<(), MediaError> {
        Checked::new(&by_name(pipeline, ELEMENT)?, &setting)?;
        *self.bitrate.lock().unwrap_or_else(PoisonError::into_inner) = Some(setting);
        Ok(())
    }

    fn turn(&self, element: &gst::Element) {
        let bitrate = self.bitrate.lock().unwrap_or_else(PoisonError::into_inner).take();
        let asked = self.keyframe_asked.swap(false, Ordering::AcqRel);
        for setting in bitrate.iter().chain(self.keyframe.as_ref().filter(|_| asked)) {
            match Checked::new(element, setting) {
                Ok(checked) => checked.apply(element),
                Err(error) => warn!("{error}"), // it was good when the encoder started
            }
        }
    }
}

/// A setting that an element has, and whose value it takes: what else would be a panic.
enum Checked<'a> {
    Property(&'a str, glib::Value),
    Signal(&'a str),
}

impl<'a> Checked<'a> {
    fn new(element: &gst::Element, setting: &'a Setting) -> Result<Self, MediaError> {
        let fail = |why: &str| {
            let name = element.factory().map_or_else(String::new, |factory| factory.name().to_string());
            MediaError::pipeline("encoder", format!("{name} cannot do `{setting}` of its template: {why}"))
        };
        match setting.deed() {
            Deed::Property(name, text) => {
                let spec = element.find_property(name).ok_or_else(|| fail("there is no such property"))?;
                let flags = spec.flags();
                if !flags.contains(glib::ParamFlags::WRITABLE)
                    || flags.contains(glib::ParamFlags::CONSTRUCT_ONLY)
                {
                    return Err(fail("the property cannot be written"));
                }
                let value = glib::Value::deserialize_with_pspec(text, &spec);
                let value = value.map_err(|_| fail("the property does not take that value"))?;
                if !is_in_range(&spec, &value) {
                    return Err(fail("the value is out of the property's range"));
                }
                Ok(Self::Property(name, value))
            }
            Deed::Signal(name) => {
                let signal = SignalId::lookup(name, element.type_()).map(|signal| signal.query());
                let fits = |signal: &glib::subclass::SignalQuery| {
                    signal.flags().contains(glib::SignalFlags::ACTION)
                        && signal.n_params() == 0
                        && signal.return_type() == glib::Type::UNIT
                };
                if !signal.as_ref().is_some_and(fits) {
                    return Err(fail("there is no such action signal without parameters"));
                }
                Ok(Self::Signal(name))
            }
        }
    }

    fn apply(&self, element: &gst::Element) {
        match self {
            Self::Property(name, value) => element.set_property_from_value(name, value),
            Self::Signal(name) => element.emit_by_name::<()>(name, &[]),
        }
    }
}

/// Whether a property takes a value of its own type. Of a type that is not known here it takes none.
fn is_in_range(spec: &glib::ParamSpec, value: &glib::Value) -> bool {
    macro_rules! check {
        ($($kind:ident $number:ty),+) => {
            $(if let Some(spec) = spec.downcast_ref::<glib::$kind>() {
                return value.get::<$number>().is_ok_and(|value| (spec.minimum()..=spec.maximum()).contains(&value));
            })+
        };
    }
    check!(ParamSpecInt i32, ParamSpecUInt u32, ParamSpecInt64 i64, ParamSpecUInt64 u64);
    check!(ParamSpecFloat f32, ParamSpecDouble f64);
    let unbounded =
        [glib::Type::BOOL, glib::Type::STRING, glib::Type::ENUM, glib::Type::FLAGS, glib::Type::BOXED];
    unbounded.into_iter().any(|known| value.type_().is_a(known))
}

#[cfg(test)]
mod tests;
