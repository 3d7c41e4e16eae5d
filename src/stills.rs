//! Still pictures on demand: who waits for one, of which camera and how wide, and the newest that was made.
//!
//! The server asks here and whoever runs a camera makes pictures here, and neither knows the other. What is asked for
//! in one size is made once: everybody who waits at the moment gets the same picture, and all readers of a stream share
//! one encoder, which runs at the rate of the fastest. A reader who is slow misses pictures; none wait for it.

mod line;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

pub use self::line::Line;
use self::line::{Latest, Schedule, Want};
use crate::proto::ids::Name;

/// Pictures a second of a stream. Who wants more wants video.
pub const FPS: RangeInclusive<u32> = 1..=15;
/// The rate of a stream for which none is asked: what surveillance programs ask of cameras.
pub const DEFAULT_FPS: u32 = 5;
/// A picture older than this is not given out again: what is promised is one second, and it has a way to go.
const FRESH: Duration = Duration::from_millis(500);
/// One that was just made may be older: what a slow box makes is never younger, and it would have none to give.
const NEW: Duration = Duration::from_millis(900);
/// Who may wait for a picture of one camera at a time; each is a request, and so a connection.
const MAX_WAITING: usize = 32;
/// Readers of one camera's stream: each is a copy of some 100 kB, several times a second.
const MAX_READERS: usize = 8;
/// Readers of all cameras' streams: at 5 pictures of 100 kB a second they fill a 100 Mbit/s link.
const MAX_READERS_IN_ALL: usize = 24;
/// Sizes of one camera that are made at a time: each is an encoder.
const MAX_SIZES: usize = 4;
/// How long an encoder is kept when nobody waits any more: a program that asks every second should not pay for a start.
const GRACE: Duration = Duration::from_secs(2);
/// One JPEG.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The file.
    pub jpeg: Arc<[u8]>,
    /// When it was captured.
    pub taken: Instant,
    /// Counts the pictures of its size, from 1.
    number: u64,
}

/// Why there is no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody makes pictures of this camera.
    #[error("it is not running")]
    NotRunning,
    /// A limit is reached.
    #[error("{0}; try again later")]
    Busy(&'static str),
    /// The encoder does not start, or broke.
    #[error("its pictures cannot be encoded as JPEG; the log says why")]
    Broken,
}

/// Who wants still pictures, and who makes them; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stills(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    desks: Mutex<BTreeMap<Name, Desk>>,
    counters: Counters,
}

/// What happened since the start; each only grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Pictures encoded.
    pub made: AtomicU64,
    /// Single pictures given out.
    pub snapshots: AtomicU64,
    /// Streams begun.
    pub streams: AtomicU64,
    /// Pictures given to streams.
    pub streamed: AtomicU64,
    /// Pictures that streams missed because their readers were slow.
    pub skipped: AtomicU64,
    /// Requests refused because a limit was reached.
    pub refused: AtomicU64,
}

/// One camera's.
#[derive(Debug)]
struct Desk {
    orders: mpsc::Sender<Order>,
    lines: Vec<Arc<Line>>,
}

impl Stills {
    /// Takes the orders for pictures of `camera` from now on, until the receiver is dropped.
    #[must_use]
    pub fn open(&self, camera: &Name) -> Orders {
        let (orders, receiver) = mpsc::channel(MAX_SIZES);
        self.desks().insert(camera.clone(), Desk { orders, lines: Vec::new() });
        Orders(receiver)
    }

    /// Nobody makes pictures of `camera` any more.
    pub fn close(&self, camera: &Name) {
        self.desks().remove(camera);
    }

    /// A picture that is fresh, at most `width` pixels wide; waits until there is one, without a limit.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn snapshot(&self, camera: &Name, width: Option<u32>) -> Result<Picture, Refusal> {
        // An encoder may just be ending because nobody wanted it; the second one is ours.
        for _ in 0..2 {
            let mut wish = self.wish(camera, width, Want::One)?;
            if let Some(picture) = wish.next().await {
                self.0.counters.snapshots.fetch_add(1, Ordering::Relaxed);
                return Ok(picture);
            }
        }
        Err(Refusal::Broken)
    }

    /// Pictures one after the other, `fps` a second at most.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn stream(&self, camera: &Name, fps: u32) -> Result<Wish, Refusal> {
        let fps = fps.clamp(*FPS.start(), *FPS.end());
        let wish = self.wish(camera, None, Want::Many { fps })?;
        self.0.counters.streams.fetch_add(1, Ordering::Relaxed);
        Ok(wish)
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Readers of streams now.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.desks().values().map(Desk::readers).sum()
    }

    fn wish(&self, camera: &Name, width: Option<u32>, want: Want) -> Result<Wish, Refusal> {
        let wish = self.try_wish(camera, width, want);
        if matches!(wish, Err(Refusal::Busy(_))) {
            self.0.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        wish
    }

    fn try_wish(&self, camera: &Name, width: Option<u32>, want: Want) -> Result<Wish, Refusal> {
        let mut desks = self.desks();
        let readers: usize = desks.values().map(Desk::readers).sum();
        let desk = desks.get_mut(camera).ok_or(Refusal::NotRunning)?;
        match want {
            Want::One if desk.waiting() >= MAX_WAITING => {
                return Err(Refusal::Busy("too many wait for a picture of it"));
            }
            Want::Many { .. } if desk.readers() >= MAX_READERS => {
                return Err(Refusal::Busy("its stream has all the readers it may have"));
            }
            Want::Many { .. } if readers >= MAX_READERS_IN_ALL => {
                return Err(Refusal::Busy("the streams of all cameras have all the readers they may have"));
            }
            _ => {}
        }
        let known = desk.lines.iter().find(|line| line.width == width);
        let line = match known {
            Some(line) => Arc::clone(line),
            None if desk.lines.len() >= MAX_SIZES => {
                return Err(Refusal::Busy("its pictures are made in too many sizes"));
            }
            None => {
                let line = Line::new(width);
                let order = Order { camera: camera.clone(), line: Arc::clone(&line), stills: self.clone() };
                // A refused order tidies up behind itself, for which it needs the desks.
                if let Err(refused) = desk.orders.try_send(order) {
                    drop(desks);
                    drop(refused);
                    return Err(Refusal::NotRunning);
                }
                desk.lines.push(Arc::clone(&line));
                line
            }
        };
        Ok(Wish::new(line, want, self.clone()))
    }

    fn desks(&self) -> MutexGuard<'_, BTreeMap<Name, Desk>> {
        lock(&self.0.desks)
    }
}

impl Desk {
    fn waiting(&self) -> usize {
        self.lines.iter().map(|line| lock(&line.demand).waiting).sum()
    }

    fn readers(&self) -> usize {
        self.lines.iter().map(|line| lock(&line.demand).readers.len()).sum()
    }
}

/// The orders for one camera's pictures.
#[derive(Debug)]
pub struct Orders(mpsc::Receiver<Order>);

impl Orders {
    /// The next one; `None` when another took the orders over.
    pub async fn next(&mut self) -> Option<Order> {
        self.0.recv().await
    }
}

/// Pictures of one camera in one size are wanted; dropping it says that there will be no more.
#[derive(Debug)]
pub struct Order {
    camera: Name,
    line: Arc<Line>,
    stills: Stills,
}

impl Order {
    /// What the encoder's thread needs.
    #[must_use]
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Returns when nobody has wanted a picture for a while.
    pub async fn unwanted(&self) {
        loop {
            let idle = lock(&self.line.demand).idle;
            match idle {
                Some(since) if since.elapsed() >= GRACE => return,
                Some(since) => sleep_until(since + GRACE).await,
                None => self.line.idle.notified().await,
            }
        }
    }

    /// Hands out a picture that was captured at `taken`.
    pub fn publish(&self, jpeg: Arc<[u8]>, taken: Instant) {
        self.line.publish(jpeg, taken, &self.stills);
    }

    /// The means to hand out pictures, for another thread.
    pub fn publisher(&self) -> impl Fn(Arc<[u8]>, Instant) + Send + Sync + 'static {
        let (line, stills) = (Arc::clone(&self.line), self.stills.clone());
        move |jpeg, taken| line.publish(jpeg, taken, &stills)
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(desk) = self.stills.desks().get_mut(&self.camera) {
            desk.lines.retain(|line| !Arc::ptr_eq(line, &self.line));
        }
        self.line.latest.send_modify(|latest| latest.over = true);
    }
}

/// Somebody wants pictures, until it is dropped.
#[derive(Debug)]
pub struct Wish {
    line: Arc<Line>,
    want: Want,
    latest: watch::Receiver<Latest>,
    schedule: Schedule,
    /// Of the last picture looked at.
    number: u64,
    /// What comes now was made after this was wished.
    is_new: bool,
    stills: Stills,
}

impl Wish {
    fn new(line: Arc<Line>, want: Want, stills: Stills) -> Self {
        {
            let mut demand = lock(&line.demand);
            demand.idle = None;
            match want {
                Want::One => demand.waiting += 1,
                Want::Many { fps } => demand.readers.push(fps),
            }
        }
        let mut latest = line.latest.subscribe();
        latest.mark_changed(); // there may be a fresh one already
        Self { line, want, latest, schedule: Schedule::default(), number: 0, is_new: false, stills }
    }

    /// The next picture that is due and fresh; the one before it is forgotten. `None`: there will be no more. May be
    /// dropped and called again.
    pub async fn next(&mut self) -> Option<Picture> {
        loop {
            self.latest.changed().await.ok()?;
            let Latest { picture, over } = self.latest.borrow_and_update().clone();
            if over {
                return None;
            }
            let limit = if self.is_new { NEW } else { FRESH };
            self.is_new = true;
            let Some(picture) = picture else { continue };
            let missed = if self.number == 0 { 0 } else { picture.number.saturating_sub(self.number + 1) };
            self.number = picture.number;
            let due = match self.want {
                Want::One => true,
                Want::Many { fps } => {
                    self.stills.counters().skipped.fetch_add(missed, Ordering::Relaxed);
                    self.schedule.take(picture.taken, fps)
                }
            };
            if due && picture.taken.elapsed() <= limit {
                if matches!(self.want, Want::Many { .. }) {
                    self.stills.counters().streamed.fetch_add(1, Ordering::Relaxed);
                }
                return Some(picture);
            }
        }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        let mut demand = lock(&self.line.demand);
        match self.want {
            Want::One => demand.waiting -= 1,
            Want::Many { fps } => {
                if let Some(at) = demand.readers.iter().position(|other| *other == fps) {
                    demand.readers.swap_remove(at);
                }
            }
        }
        if demand.waiting == 0 && demand.readers.is_empty() {
            demand.idle = Some(Instant::now());
            self.line.idle.notify_one();
        }
    }
}

/// A poisoned lock means a panic, and a panic ends the daemon; in tests the data is still whole between statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(60), future).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_picture_serves_all_who_wait_and_those_who_come_just_after() {
        let stills = Stills::default();
        assert_eq!(stills.snapshot(&name("door"), None).await.unwrap_err(), Refusal::NotRunning);
        let mut orders = stills.open(&name("door"));
        let ask = || {
            let stills = stills.clone();
            tokio::spawn(
                async move { stills.snapshot(&name("door"), None).await.map(|picture| picture.jpeg) },
            )
        };
        let asked: Vec<_> = (0..10).map(|_| ask()).collect();
        let order = soon(orders.next()).await.unwrap();
        assert_eq!(order.line().width(), None);
        tokio::task::yield_now().await;
        assert!(order.line().due(Instant::now()));
        assert!(!order.line().due(Instant::now()), "one is enough");
        order.publish(jpeg("first"), Instant::now());
        for one in asked {
            assert_eq!(soon(one).await.unwrap().unwrap(), jpeg("first"));
        }
        assert_eq!(soon(ask()).await.unwrap().unwrap(), jpeg("first"), "it is still fresh");
        tokio::time::advance(FRESH * 2).await;
        let late = ask();
        tokio::task::yield_now().await;
        assert!(order.line().due(Instant::now()));
        order.publish(jpeg("second"), Instant::now());
        assert_eq!(soon(late).await.unwrap().unwrap(), jpeg("second"));
        assert_eq!(stills.counters().made.load(Ordering::Relaxed), 2);

        // A slow box takes its time to make one: it is given to who waits for it, and to nobody who comes then.
        tokio::time::advance(FRESH * 2).await;
        let taken = Instant::now();
        let waiting = ask();
        tokio::task::yield_now().await;
        tokio::time::advance(FRESH + FRESH / 2).await;
        order.publish(jpeg("third"), taken);
        assert_eq!(soon(waiting).await.unwrap().unwrap(), jpeg("third"));
        let next = ask();
        tokio::task::yield_now().await;
        tokio::time::advance(FRESH).await;
        order.publish(jpeg("too old"), taken);
        order.publish(jpeg("fourth"), Instant::now());
        assert_eq!(soon(next).await.unwrap().unwrap(), jpeg("fourth"));
    }

    #[tokio::test(start_paused = true)]
    async fn sizes_are_made_apart_and_there_are_only_so_many() {
        let stills = Stills::default();
        let mut orders = stills.open(&name("door"));
        let ask = |width| {
            let stills = stills.clone();
            tokio::spawn(async move { stills.snapshot(&name("door"), Some(width)).await })
        };
        let mut kept = Vec::new();
        for width in 1..=MAX_SIZES as u32 {
            drop(ask(width));
            kept.push(soon(orders.next()).await.unwrap());
        }
        assert!(matches!(soon(ask(99)).await.unwrap(), Err(Refusal::Busy(_))));
        // Dropped, an order makes place for others, and those who wait are told by a fresh order.
        drop(kept);
        for _ in 0..MAX_SIZES {
            assert!(soon(orders.next()).await.is_some());
        }
        assert_eq!(stills.counters().refused.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_encoder_that_breaks_is_tried_twice_and_then_said_to_be_broken() {
        let stills = Stills::default();
        let mut orders = stills.open(&name("door"));
        let asked = tokio::spawn({
            let stills = stills.clone();
            async move { stills.snapshot(&name("door"), None).await }
        });
        for _ in 0..2 {
            drop(soon(orders.next()).await.unwrap());
        }
        assert_eq!(soon(asked).await.unwrap().unwrap_err(), Refusal::Broken);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_and_reading_are_bounded() {
        let stills = Stills::default();
        let mut orders: Vec<_> = ["a", "b", "c", "d"].iter().map(|text| stills.open(&name(text))).collect();
        let mut wishes: Vec<_> =
            (0..MAX_WAITING).map(|_| stills.wish(&name("a"), None, Want::One).unwrap()).collect();
        let order = soon(orders[0].next()).await.unwrap();
        assert!(matches!(stills.wish(&name("a"), None, Want::One), Err(Refusal::Busy(_))));
        wishes.clear();
        let mut readers: Vec<_> = (0..MAX_READERS).map(|_| stills.stream(&name("a"), 5).unwrap()).collect();
        assert!(matches!(stills.stream(&name("a"), 5), Err(Refusal::Busy(_))));
        readers.extend((0..MAX_READERS).map(|_| stills.stream(&name("b"), 5).unwrap()));
        readers.extend((0..MAX_READERS).map(|_| stills.stream(&name("c"), 5).unwrap()));
        assert_eq!(stills.readers(), MAX_READERS_IN_ALL);
        assert!(matches!(stills.stream(&name("d"), 5), Err(Refusal::Busy(_))));
        readers.clear();
        assert!(stills.stream(&name("d"), 5).is_ok());
        soon(order.unwanted()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn readers_share_the_pictures_of_the_fastest_and_the_slow_ones_skip() {
        let stills = Stills::default();
        let mut orders = stills.open(&name("door"));
        let (mut fast, mut slow) =
            (stills.stream(&name("door"), 10).unwrap(), stills.stream(&name("door"), 2).unwrap());
        let mut away = stills.stream(&name("door"), 10).unwrap();
        let order = soon(orders.next()).await.unwrap();
        let (mut made, mut seen) = (0, [0, 0]);
        for _ in 0..300 {
            if order.line().due(Instant::now()) {
                order.publish(jpeg("x"), Instant::now());
                made += 1;
            }
            for (count, wish) in seen.iter_mut().zip([&mut fast, &mut slow]) {
                tokio::select! {
                    biased;
                    Some(_) = wish.next() => *count += 1,
                    () = tokio::task::yield_now() => {}
                }
            }
            tokio::time::advance(Duration::from_millis(33)).await;
        }
        assert!((95..=103).contains(&made), "{made}");
        assert_eq!(seen[0], made);
        assert!((19..=21).contains(&seen[1]), "{seen:?}");
        assert_eq!(stills.counters().skipped.load(Ordering::Relaxed), 0);
        order.publish(jpeg("last"), Instant::now());
        assert_eq!(soon(away.next()).await.unwrap().jpeg, jpeg("last"), "nothing old is kept for the slow");
        drop(order);
        assert!(soon(away.next()).await.is_none());
        stills.close(&name("door"));
        assert_eq!(stills.stream(&name("door"), 10).unwrap_err(), Refusal::NotRunning);
    }
}
