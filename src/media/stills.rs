//! JPEGs of a camera while somebody wants them: `appsrc ! scale, convert ! jpegenc ! appsink` on its raw pictures.

use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use log::warn;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::blocking::blocking;
use super::camera::Camera;
use super::capture::{Event, Origin, Outlets, build, by_name, plain_words, play, stop};
use super::{MediaError, Timeline};
use crate::shutdown::ending;
use crate::stills::{Order, Orders};

/// Makes the pictures of `camera` that are ordered, until `shutdown`.
pub async fn run(camera: Camera, mut orders: Orders, mut shutdown: watch::Receiver<bool>) {
    let mut making = JoinSet::new();
    loop {
        tokio::select! {
            Some(order) = orders.next() => {
                making.spawn(make(camera.clone(), order, shutdown.clone()));
            }
            Some(_) = making.join_next() => {}
            () = ending(&mut shutdown) => break,
        }
    }
    drop(orders);
    while making.join_next().await.is_some() {}
}

/// Keeps the camera open and an encoder running for as long as its pictures are wanted.
async fn make(camera: Camera, order: Order, mut shutdown: watch::Receiver<bool>) {
    let _attendance = camera.attend();
    let (events, mut broken) = mpsc::channel(1);
    let order = Arc::new(order);
    let started = {
        let (camera, order) = (camera.clone(), Arc::clone(&order));
        blocking("the JPEG encoder", move || {
            JpegEncoder::start(camera.timeline(), &camera.shared.outlets, &order, &events)
        })
    };
    let name = camera.name().as_str();
    let encoder = match started.await {
        Ok(encoder) => encoder,
        Err(error) => {
            return warn!(camera = name; "camera {name}: no still pictures: {error}; {}", error.hint());
        }
    };
    tokio::select! {
        () = order.unwanted() => {}
        Some(event) = broken.recv() => {
            let error = MediaError::from(event);
            warn!(camera = name; "camera {name}: no still pictures: {error}; {}", error.hint());
        }
        () = ending(&mut shutdown) => {}
    }
    // Those who come now need another order.
    drop(order);
    let stopped = blocking("the JPEG encoder", move || {
        drop(encoder);
        Ok(())
    });
    if let Err(error) = stopped.await {
        warn!(camera = name; "camera {name}: {error}");
    }
}

/// A running encoder of JPEGs.
struct JpegEncoder {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
    outlets: Outlets,
}

impl JpegEncoder {
    fn start(
        timeline: &Timeline,
        outlets: &Outlets,
        order: &Order,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, MediaError> {
        let pipeline = build("JPEG", &launch(order.line().width()))?;
        timeline.adopt(&pipeline);
        let input = by_name::<gst_app::AppSrc>(&pipeline, "in")?;
        input.set_is_live(true);
        input.set_format(gst::Format::Time);
        if let Some(pad) = input.static_pad("src") {
            let line = Arc::clone(order.line());
            // Before anything is converted: what is not wanted costs nothing.
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                if line.due(Instant::now()) { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Drop }
            });
        }
        let sink = by_name::<gst_app::AppSink>(&pipeline, "out")?;
        sink.set_property("sync", false);
        sink.set_property("async", false); // it prerolls with its first picture only
        sink.set_property("enable-last-sample", false);
        let (publish, clock) = (order.publisher(), timeline.clone());
        let new_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(map) = sample.buffer().and_then(|buffer| buffer.map_readable().ok()) {
                publish(map.as_slice().into(), taken(&sample, &clock));
            }
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(new_sample).build());
        let encoder = Self { pipeline, input: input.clone(), outlets: outlets.clone() };
        play(&encoder.pipeline, Origin::Stills, events, Box::new(plain_words))?;
        outlets.add(input);
        Ok(encoder)
    }
}

impl Drop for JpegEncoder {
    fn drop(&mut self) {
        self.outlets.remove(&self.input);
        stop(&self.pipeline);
    }
}

/// With square pixels, never wider than `width`, never enlarged. JPEG knows full-range BT.601 only (JFIF): unless the
/// picture is converted to that, it looks washed out. By way of RGB, because from BT.601 to BT.601 videoconvert (1.22)
/// takes a short cut that leaves the range as it is.
fn launch(width: Option<u32>) -> String {
    let scale = match width {
        Some(width) => format!("videoscale ! video/x-raw,width=[1,{width}],pixel-aspect-ratio=1/1 ! "),
        None => String::new(),
    };
    format!(
        "appsrc name=in ! {scale}videoconvert ! video/x-raw,format=RGBx ! videoconvert ! \
         video/x-raw,format=I420,colorimetry=(string)1:4:0:0 ! jpegenc ! \
         appsink name=out"
    )
}

/// When a picture was captured.
fn taken(sample: &gst::Sample, timeline: &Timeline) -> Instant {
    let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>().cloned());
    let pts = sample.buffer().and_then(gst::BufferRef::pts);
    let captured = segment.and_then(|segment| segment.to_running_time(pts?));
    let age = captured.map_or(gst::ClockTime::ZERO, |captured| timeline.now().saturating_sub(captured));
    let now = Instant::now();
    now.checked_sub(Duration::from(age)).unwrap_or(now)
}
