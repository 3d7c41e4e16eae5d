//! Who has what of what the cameras share: encoders' chips, the CPU, USB buses.
//!
//! Only what runs costs. Whenever a rendition is wanted, or no longer, it is counted anew what each may be, by
//! [`budget::admit`]; whose part changes is woken. The order is that of the configuration, so what somebody sees depends
//! on what is watched, and not on who came first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::plan::Rendition;
use super::running::RENDITIONS;
use crate::budget::{self, Demand, Draw, Grant, Picture, Pool};
use crate::config::settings::Limits;
use crate::modes::{Choice, Mode};
use crate::proto::ids::Name;
use crate::proto::negotiation::Codec;
use crate::usb::{PERIODIC, Port};

/// A camera that the kernel found no place for on its bus is given a mode with less than this part of the one refused.
const REFUSED: f64 = 0.9;

/// The shared part of all cameras.
#[derive(Debug)]
pub struct Admission {
    cpu: Pool,
    /// `/sys`
    sys: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The cameras as configured; others behind them as they come.
    order: Vec<Name>,
    seats: Vec<Seat>,
    buses: BTreeMap<Name, OnBus>,
}

/// A rendition that is wanted.
#[derive(Debug)]
struct Seat {
    camera: Name,
    /// Of [`RENDITIONS`].
    index: usize,
    demand: Demand,
    grant: Grant,
    /// What its encoder makes now.
    held: Option<(Picture, Vec<Draw>)>,
    wake: Arc<Notify>,
}

/// A camera's part of its bus.
#[derive(Debug, Clone, Copy)]
struct OnBus {
    port: Port,
    part: f64,
    open: bool,
    /// The part that the kernel refused.
    refused: Option<f64>,
}

impl Admission {
    /// With so much of all cores for encoding, in percent.
    #[must_use]
    pub fn new(percent: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let holds = cores as f64 * f64::from(percent) / 100.0;
        let about =
            format!("the {holds:.1} of {cores} cores that encoding may use (encoding_cpu in [limits])");
        let cpu = Pool { name: "cpu".into(), holds, about };
        Self { cpu, sys: "/sys".into(), inner: Mutex::default() }
    }

    /// The CPU.
    #[must_use]
    pub fn cpu(&self) -> &Pool {
        &self.cpu
    }

    /// The cameras in the order of the configuration, the first of which keeps most. May be told again at any time.
    pub fn order(&self, cameras: impl IntoIterator<Item = Name>) {
        let mut inner = self.lock();
        let mut order: Vec<Name> = cameras.into_iter().collect();
        for known in std::mem::take(&mut inner.order) {
            if !order.contains(&known) {
                order.push(known);
            }
        }
        inner.order = order;
        inner.count();
    }

    /// Rendition `index` of `camera` is wanted as `demand`, until the seat is dropped. `wake` is told when its part
    /// changes.
    pub(super) fn seat(
        encoders: &Arc<super::encoders::Encoders>,
        camera: &Name,
        index: usize,
        demand: Demand,
        wake: &Arc<Notify>,
    ) -> Place {
        let grant = Grant { picture: demand.wish, why: None };
        let (camera, wake) = (camera.clone(), Arc::clone(wake));
        let mut inner = encoders.admission().lock();
        inner.place_of(&camera);
        inner.seats.retain(|seat| !seat.is(&camera, index));
        inner.seats.push(Seat { camera: camera.clone(), index, demand, grant, held: None, wake });
        inner.count();
        drop(inner);
        Place { encoders: Arc::clone(encoders), camera, index }
    }

    /// What fits on the bus of the V4L2 camera at `path`, of what it offers; and why it is less, for people.
    #[must_use]
    pub fn on_bus(
        &self,
        camera: &Name,
        path: &std::path::Path,
        offers: Vec<Mode>,
    ) -> (Vec<Mode>, Option<Bus>) {
        let Some(port) = Port::of(&self.sys, path) else {
            self.lock().buses.remove(camera);
            return (offers, None);
        };
        let mut inner = self.lock();
        let rank = inner.place_of(camera);
        let others = inner.buses.iter().filter(|(other, on)| {
            let before = inner.order.iter().position(|name| name == *other).is_some_and(|at| at < rank);
            *other != camera && on.port == port && (before || on.open)
        });
        let left = PERIODIC - others.map(|(_, on)| on.part).sum::<f64>();
        let refused = inner.buses.get(camera).and_then(|on| on.refused);
        let left = refused.map_or(left, |refused| left.min(refused * REFUSED));
        (port.fitting(&offers, left), Some(Bus { port, refused: refused.is_some() }))
    }

    /// The mode that a camera on a bus will be captured in.
    pub fn takes(&self, camera: &Name, bus: &Bus, choice: &Choice) {
        let part = bus.port.part(&choice.format, choice.width, choice.height, choice.framerate);
        let mut inner = self.lock();
        let before = inner.buses.get(camera);
        let (open, refused) = before.map_or((false, None), |on| (on.open, on.refused));
        inner.buses.insert(camera.clone(), OnBus { port: bus.port, part, open, refused });
    }

    /// A camera was opened, or closed.
    pub fn opened(&self, camera: &Name, open: bool) {
        if let Some(on) = self.lock().buses.get_mut(camera) {
            on.open = open;
        }
    }

    /// The kernel found no place for a camera on its bus.
    pub fn refused(&self, camera: &Name) {
        if let Some(on) = self.lock().buses.get_mut(camera) {
            on.refused = Some(on.part);
        }
    }

    /// A camera is not there any more: others may have its part of the bus.
    pub fn forget(&self, camera: &Name) {
        self.lock().buses.remove(camera);
    }

    /// What was refused is tried again the next time.
    pub fn forgive(&self, camera: &Name) {
        if let Some(on) = self.lock().buses.get_mut(camera) {
            on.refused = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is in there is whole between statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(Limits::default().encoding_cpu)
    }
}

/// The bus of a camera.
#[derive(Debug, Clone, Copy)]
pub struct Bus {
    port: Port,
    refused: bool,
}

impl Bus {
    /// Why a camera is captured with less than it offers, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Port { bus, speed } = self.port;
        match self.refused {
            true => format!("USB bus {bus} ({speed} Mbit/s) had no place for more"),
            false => format!("no more is left of USB bus {bus} ({speed} Mbit/s)"),
        }
    }
}

/// What an encoder's chip holds, by the header of its template.
#[must_use]
pub fn chip(encoder: &str, budget: u64) -> Draw {
    let holds = budget as f64;
    let about = format!("the {:.1} million pixels a second of {encoder}", holds / 1e6);
    Draw { pool: Pool { name: encoder.to_owned(), holds, about }, per_sample: 1.0 }
}

/// Where renditions of one camera stand: small ones first, because they cost an eighth and are what a wall shows.
#[must_use]
pub fn importance(rendition: Rendition, codec: Codec) -> usize {
    match (rendition, codec) {
        (Rendition::Sub, Codec::H264) => 0,
        (Rendition::Main, Codec::H264) => 1,
        (Rendition::Sub, Codec::Vp8) => 2,
        (Rendition::Main, Codec::Vp8) => 3,
    }
}

/// The seat of a rendition; dropping it leaves.
#[derive(Debug)]
pub(super) struct Place {
    encoders: Arc<super::encoders::Encoders>,
    camera: Name,
    index: usize,
}

impl Place {
    /// Asks for something else.
    pub(super) fn ask(&self, demand: Demand) {
        let mut inner = self.encoders.admission().lock();
        if let Some(seat) = inner.seat(&self.camera, self.index)
            && seat.demand != demand
        {
            seat.demand = demand;
            inner.count();
        }
    }

    /// What it is to be now.
    pub(super) fn grant(&self) -> Option<Grant> {
        self.encoders.admission().lock().seat(&self.camera, self.index).map(|seat| seat.grant.clone())
    }

    /// Whether there is room for it: others that have to become less may not have done so yet.
    pub(super) fn may_start(&self) -> bool {
        let inner = self.encoders.admission().lock();
        let Some(own) = inner.seats.iter().find(|seat| seat.is(&self.camera, self.index)) else {
            return true;
        };
        let others = inner.seats.iter().filter(|seat| !seat.is(&self.camera, self.index));
        let held = others.filter_map(|seat| seat.held.as_ref());
        let mine = (&own.grant.picture, own.demand.draws.as_slice());
        let used = budget::in_use(held.map(|(picture, draws)| (picture, draws.as_slice())).chain([mine]));
        let fits =
            |draw: &Draw| used.get(&draw.pool.name).is_none_or(|used| *used <= draw.pool.holds * 1.000_001);
        own.demand.draws.iter().all(fits)
    }

    /// Its encoder makes this now; none: it stopped.
    pub(super) fn hold(&self, picture: Option<Picture>) {
        let mut inner = self.encoders.admission().lock();
        if let Some(seat) = inner.seat(&self.camera, self.index) {
            let before = seat.held.take().map(|(picture, _)| picture.samples());
            seat.held = picture.map(|picture| (picture, seat.demand.draws.clone()));
            let is_less = before.is_some_and(|before| picture.is_none_or(|now| now.samples() < before));
            if is_less {
                inner.wake();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.encoders.admission().lock();
        inner.seats.retain(|seat| !seat.is(&self.camera, self.index));
        inner.count();
        inner.wake();
    }
}

impl Seat {
    fn is(&self, camera: &Name, index: usize) -> bool {
        self.camera == *camera && self.index == index
    }
}

impl Inner {
    fn seat(&mut self, camera: &Name, index: usize) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.is(camera, index))
    }

    /// The camera's place in the order; a new one is the last.
    fn place_of(&mut self, camera: &Name) -> usize {
        self.order.iter().position(|name| name == camera).unwrap_or_else(|| {
            self.order.push(camera.clone());
            self.order.len() - 1
        })
    }

    /// Counts anew what each gets.
    fn count(&mut self) {
        let order = &self.order;
        self.seats.sort_by_key(|seat| {
            let (rendition, codec) = RENDITIONS.get(seat.index).copied().unwrap_or(RENDITIONS[0]);
            (order.iter().position(|name| *name == seat.camera), importance(rendition, codec))
        });
        let demands: Vec<Demand> = self.seats.iter().map(|seat| seat.demand.clone()).collect();
        for (seat, grant) in self.seats.iter_mut().zip(budget::admit(&demands)) {
            if seat.grant != grant {
                seat.grant = grant;
                seat.wake.notify_one();
            }
        }
    }

    /// Something was given back: who waits for it may start.
    fn wake(&self) {
        for seat in self.seats.iter().filter(|seat| seat.held.is_none()) {
            seat.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::config::Wish;
    use crate::modes::{self, Format, Rates};

    /// A box whose `/sys` has cameras on USB bus 1.
    struct UsbBox(Admission, PathBuf);

    impl UsbBox {
        fn new(test: &str) -> Self {
            let root = std::env::temp_dir().join(format!("portald-buses-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            let device = root.join("devices/usb1/1-1");
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("busnum"), "1\n").unwrap();
            fs::write(device.join("speed"), "480\n").unwrap();
            Self(Admission { sys: root.clone(), ..Admission::default() }, root)
        }

        /// Plans the capture of `camera`, and says how it comes out.
        fn plan(&self, camera: &str) -> String {
            let Self(admission, root) = self;
            let (node, class) = (root.join(camera), root.join("class/video4linux").join(camera));
            if !node.exists() {
                fs::write(&node, "").unwrap();
                fs::create_dir_all(&class).unwrap();
                symlink(root.join("devices/usb1/1-1"), class.join("device")).unwrap();
            }
            self.plan_at(camera, &node, admission)
        }

        fn plan_at(&self, camera: &str, node: &Path, admission: &Admission) -> String {
            let mode =
                |format, rates| Mode { format, width: 640, height: 480, framerates: Rates::List(rates) };
            let offers = vec![
                mode(Format::Raw("YUY2".into()), vec![(30, 1), (15, 1)]),
                mode(Format::Mjpeg, vec![(30, 1), (15, 1)]),
            ];
            let (fitting, bus) = admission.on_bus(&name(camera), node, offers);
            let choice =
                modes::choose(&fitting, &Wish { width: 640, height: 480, framerate: 30 }, true).unwrap();
            if let Some(bus) = bus {
                admission.takes(&name(camera), &bus, &choice);
            }
            choice.in_words()
        }
    }

    impl Drop for UsbBox {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.1);
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    const RAW: &str = "640x480 YUY2 at 30 fps";
    const JPEG: &str = "640x480 MJPEG at 30 fps";

    #[test]
    fn a_camera_takes_what_those_before_it_and_those_that_are_open_leave() {
        let made = UsbBox::new("order");
        made.0.order(["a", "b", "c"].map(name));
        assert_eq!(made.plan("b"), RAW, "it is alone");
        made.0.opened(&name("b"), true);
        assert_eq!(made.plan("a"), JPEG, "the other is not disturbed, though it stands behind");
        made.0.opened(&name("b"), false);
        assert_eq!(made.plan("a"), RAW);
        assert_eq!((made.plan("b"), made.plan("c")), (JPEG.into(), JPEG.into()), "the first keeps its place");
        // Unplugged: its device is not there any more when it is looked for.
        fs::remove_file(made.1.join("a")).unwrap();
        made.plan_at("a", &made.1.join("a"), &made.0);
        assert_eq!(made.plan("b"), RAW);
    }

    #[test]
    fn what_the_kernel_refuses_is_not_tried_again_before_the_camera_was_closed() {
        let made = UsbBox::new("refused");
        assert_eq!(made.plan("a"), RAW);
        made.0.refused(&name("a"));
        assert_eq!(made.plan("a"), JPEG, "raw at 15 is less of a picture");
        made.0.refused(&name("a"));
        assert_eq!(made.plan("a"), "640x480 MJPEG at 15 fps");
        made.0.refused(&name("a"));
        assert_eq!(made.plan("a"), "640x480 MJPEG at 15 fps", "the least there is");
        made.0.forgive(&name("a"));
        assert_eq!(made.plan("a"), RAW);
    }

    #[test]
    fn the_configuration_may_be_told_again() {
        let admission = Admission::default();
        admission.order(["a", "b"].map(name));
        admission.order(["b", "c"].map(name));
        assert_eq!(admission.lock().order, ["b", "c", "a"].map(name));
        assert_eq!(admission.lock().place_of(&name("found")), 3);
    }
}
