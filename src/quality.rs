//! Which rendition suits a viewer: what it wishes, how large it shows the picture, and what its link carries.
//!
//! A plain state machine: wishes, sizes, reports and time in, a choice out. An explicit wish always wins, and at once.
//! `auto` follows the size and the link, and changes its mind once in [`HOLD`] at most.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::proto::message::Quality;

/// Least time between two changes that nobody asked for: each is a key frame, and a moment of another sharpness.
pub const HOLD: Duration = Duration::from_secs(2);
/// Shown wider than the small picture by this, the full one is worth it …
const ENLARGED: f64 = 1.2;
/// … and below this no longer. In between it stays what it is.
const REDUCED: f64 = 1.1;
/// A link that loses this part of the packets freezes a full picture more often than retransmission can mend (measured
/// on webrtcbin: none at 5 %, some at 10 %) …
const LOSSY: f64 = 0.08;
/// … and below this it is sound. In between it stays what it is.
const SOUND: f64 = 0.02;
/// A round trip longer than the shortest by this is a queue that fills, on the way to loss.
const QUEUED: Duration = Duration::from_millis(500);
/// What reports are averaged over: one burst of Wi-Fi is no bad link.
const WINDOW: Duration = Duration::from_secs(2);
/// Least time that reports must cover to tell.
const EVIDENCE: Duration = Duration::from_millis(800);
/// Reports kept; at one in half a second there are four in the window.
const MAX_REPORTS: usize = 16;
/// How long a link must be sound before the full picture is tried again: first, and longest. Doubled each time that it
/// was too much, because the small picture's good fortune says nothing of the full one's.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// The full picture was too much if the link is bad again within this.
const RELAPSE: Duration = Duration::from_secs(60);
/// After a silence of this length a link has to prove itself anew. GStreamer reports every 5 s.
const GAP: Duration = Duration::from_secs(12);

/// A page that has not shown the picture for so long is sent nothing until it does again: who looks at another window for
/// a moment comes back to a picture that never stopped.
pub const UNSEEN: Duration = Duration::from_secs(20);

/// What a viewer is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The full pictures.
    Main,
    /// The small ones.
    Sub,
}

/// How a page shows a camera: the payload of our addition to the wire `view`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct View {
    /// Of the place for the picture, in pixels of the screen (CSS pixels times `devicePixelRatio`).
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Whether it is to be seen at all.
    #[serde(default = "yes")]
    pub visible: bool,
}

fn yes() -> bool {
    true
}

/// What a viewer's link did since the report before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Lost packets among those sent, 0 to 1.
    pub lost: f64,
    /// There and back, where it could be measured.
    pub round_trip: Option<Duration>,
}

/// The state machine of one viewer.
#[derive(Debug)]
pub struct Chooser {
    main: (u32, u32),
    sub: (u32, u32),
    wish: Quality,
    view: Option<View>,
    /// Since when the page has not shown the picture.
    unseen: Option<Instant>,
    link: Link,
    chosen: Option<Choice>,
    /// When it last changed without having been asked to.
    changed: Option<Instant>,
}

impl Chooser {
    /// For a camera whose pictures have these sizes, width and height in pixels.
    #[must_use]
    pub fn new(main: (u32, u32), sub: (u32, u32)) -> Self {
        let (wish, view, link) = (Quality::Auto, None, Link::default());
        Self { main, sub, wish, view, unseen: None, link, chosen: None, changed: None }
    }

    /// The pictures have these sizes from now on.
    pub fn sizes(&mut self, main: (u32, u32), sub: (u32, u32)) {
        (self.main, self.sub) = (main, sub);
    }

    /// The viewer asks for a rendition, or leaves it to us.
    pub fn wish(&mut self, wish: Quality) {
        self.wish = wish;
    }

    /// The viewer shows the picture like this from `now` on.
    pub fn view(&mut self, now: Instant, view: View) {
        self.view = Some(view);
        self.unseen = if view.visible { None } else { self.unseen.or(Some(now)) };
    }

    /// Whether the viewer need not be sent anything, whatever rendition it wished for.
    #[must_use]
    pub fn rests(&self, now: Instant) -> bool {
        self.unseen.is_some_and(|since| now.saturating_duration_since(since) >= UNSEEN)
    }

    /// The viewer's link did this until `now`.
    pub fn report(&mut self, now: Instant, report: Report) {
        self.link.report(now, report);
    }

    /// What the viewer is to get from `now` on. To be asked when pictures flow, and then on every occasion.
    pub fn choose(&mut self, now: Instant) -> Choice {
        let target = match self.wish {
            Quality::Main => Choice::Main,
            Quality::Sub => Choice::Sub,
            Quality::Auto => self.suitable(),
        };
        let Some(present) = self.chosen.filter(|present| *present != target) else {
            self.chosen = Some(target);
            return target;
        };
        if self.wish == Quality::Auto {
            if self.changed.is_some_and(|at| now.saturating_duration_since(at) < HOLD) {
                return present;
            }
            self.changed = Some(now);
        }
        self.chosen = Some(target);
        target
    }

    /// Why it is what was last chosen, for the log.
    #[must_use]
    pub fn why(&self) -> String {
        match (self.wish, self.view) {
            (Quality::Main | Quality::Sub, _) => "the viewer asked for it".into(),
            (Quality::Auto, _) if self.link.is_bad => {
                let Link { loss, trip, .. } = &self.link;
                let trip = trip.map(|trip| format!(", round trip {} ms", trip.as_millis()));
                format!("its link loses {:.0} % of the packets{}", loss * 100.0, trip.unwrap_or_default())
            }
            (Quality::Auto, Some(view)) if !view.visible => "nobody looks at it".into(),
            (Quality::Auto, Some(view)) => format!("shown at {}x{}", view.width, view.height),
            (Quality::Auto, None) => "its link is sound".into(),
        }
    }

    /// Until a page says how it shows the picture it gets the full one, as one that knows nothing of this expects.
    fn suitable(&self) -> Choice {
        let Some(view) = self.view.filter(|_| !self.link.is_bad) else {
            return if self.link.is_bad { Choice::Sub } else { Choice::Main };
        };
        let limit = match self.chosen {
            Some(Choice::Main) => REDUCED,
            Some(Choice::Sub) | None => ENLARGED,
        };
        if view.visible && self.shown_width(view) > f64::from(self.sub.0) * limit {
            Choice::Main
        } else {
            Choice::Sub
        }
    }

    /// The picture keeps its shape within the view.
    fn shown_width(&self, view: View) -> f64 {
        let (width, height) = (f64::from(self.main.0), f64::from(self.main.1.max(1)));
        f64::from(view.width).min(f64::from(view.height) * width / height)
    }
}

/// What is known of a viewer's link.
#[derive(Debug)]
struct Link {
    /// When a report came, the time it covers, and what it said.
    reports: VecDeque<(Instant, Duration, Report)>,
    is_bad: bool,
    /// Averages, for the log.
    loss: f64,
    trip: Option<Duration>,
    shortest: Option<Duration>,
    last: Option<Instant>,
    sound_since: Option<Instant>,
    /// When it was last found good again.
    recovered: Option<Instant>,
    patience: Duration,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            reports: VecDeque::new(),
            is_bad: false,
            loss: 0.0,
            trip: None,
            shortest: None,
            last: None,
            sound_since: None,
            recovered: None,
            patience: PATIENCE.0,
        }
    }
}

impl Link {
    fn report(&mut self, now: Instant, report: Report) {
        let since = |at: Instant| now.saturating_duration_since(at);
        let silence = self.last.map(since);
        if silence.is_some_and(|silence| silence > GAP) {
            self.reports.clear();
            self.sound_since = None;
        }
        self.last = Some(now);
        // Of the first it is not known what it covers.
        self.reports.push_back((now, silence.unwrap_or_default().min(WINDOW), report));
        while self.reports.len() > MAX_REPORTS
            || self.reports.front().is_some_and(|(at, ..)| since(*at) > WINDOW)
        {
            self.reports.pop_front();
        }
        self.measure();
        self.judge(now);
    }

    fn measure(&mut self) {
        let covered = self.covered().as_secs_f64();
        let lost =
            self.reports.iter().map(|(_, span, report)| report.lost.clamp(0.0, 1.0) * span.as_secs_f64());
        self.loss = if covered > 0.0 { lost.sum::<f64>() / covered } else { 0.0 };
        // A queue shows in every report; one that was late itself does not count.
        self.trip = self.reports.iter().filter_map(|(.., report)| report.round_trip).min();
        self.shortest = self.shortest.into_iter().chain(self.trip).min();
    }

    fn covered(&self) -> Duration {
        self.reports.iter().map(|(_, span, _)| *span).sum()
    }

    fn judge(&mut self, now: Instant) {
        if self.covered() < EVIDENCE {
            return;
        }
        let longer = self.trip.zip(self.shortest).map(|(trip, shortest)| trip.saturating_sub(shortest));
        let queued = longer.is_some_and(|longer| longer > QUEUED);
        let within =
            |at: Option<Instant>, limit| at.is_some_and(|at| now.saturating_duration_since(at) < limit);
        if self.loss < SOUND && !queued {
            let since = *self.sound_since.get_or_insert(now);
            if self.is_bad && !within(Some(since), self.patience) {
                self.is_bad = false;
                self.recovered = Some(now);
            }
            return;
        }
        self.sound_since = None;
        if !self.is_bad && (self.loss >= LOSSY || queued) {
            self.is_bad = true;
            let again = within(self.recovered, RELAPSE);
            self.patience = if again { (self.patience * 2).min(PATIENCE.1) } else { PATIENCE.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAIN: (u32, u32) = (1280, 720);
    const SUB: (u32, u32) = (640, 360);

    /// A viewer with a clock.
    struct Rig {
        chooser: Chooser,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self { chooser: Chooser::new(MAIN, SUB), now: Instant::now() }
        }

        fn choose(&mut self) -> Choice {
            self.chooser.choose(self.now)
        }

        /// Lets time pass with a report in each half second; returns the time until the choice was `choice`.
        fn until(&mut self, lost: f64, trip: u64, choice: Choice, limit: u64) -> Option<Duration> {
            let begun = self.now;
            while self.now - begun < Duration::from_secs(limit) {
                if self.choose() == choice {
                    return Some(self.now - begun);
                }
                self.now += Duration::from_millis(500);
                let round_trip = Some(Duration::from_millis(trip));
                self.chooser.report(self.now, Report { lost, round_trip });
            }
            None
        }

        /// The same for `seconds`, whatever is chosen.
        fn pass(&mut self, lost: f64, seconds: u64) {
            let begun = self.now;
            while self.now - begun < Duration::from_secs(seconds) {
                self.now += Duration::from_millis(500);
                self.chooser.report(self.now, Report { lost, round_trip: None });
                self.choose();
            }
        }

        fn view(&mut self, width: u32, height: u32) -> Choice {
            self.chooser.view(self.now, View { width, height, visible: true });
            self.now += HOLD;
            self.choose()
        }
    }

    #[test]
    fn the_sizes_that_count_are_those_that_are_captured() {
        let mut rig = Rig::new();
        assert_eq!(rig.view(1000, 300), Choice::Sub, "16:9 is 533 wide in there");
        rig.chooser.sizes((640, 480), (320, 240));
        assert_eq!(rig.view(1000, 300), Choice::Main, "4:3 is 400 wide, and the small picture 320");
        rig.chooser.sizes(MAIN, SUB);
        assert_eq!(rig.view(1000, 300), Choice::Sub);
    }

    #[test]
    fn who_says_nothing_gets_the_full_picture() {
        let mut rig = Rig::new();
        assert_eq!(rig.choose(), Choice::Main);
        assert_eq!(rig.until(0.0, 5, Choice::Sub, 60), None);
    }

    #[test]
    fn the_size_decides_with_some_inertia() {
        let mut rig = Rig::new();
        assert_eq!(rig.view(640, 360), Choice::Sub);
        assert_eq!(rig.view(760, 428), Choice::Sub);
        assert_eq!(rig.view(780, 440), Choice::Main);
        assert_eq!(rig.view(750, 428), Choice::Main, "not for so little");
        assert_eq!(rig.view(700, 400), Choice::Sub);
        assert_eq!(rig.view(4000, 300), Choice::Sub, "300 high, it is 533 wide");
        rig.view(1280, 720);
        rig.chooser.view(rig.now, View { width: 1280, height: 720, visible: false });
        rig.now += HOLD;
        assert_eq!(rig.choose(), Choice::Sub);
    }

    #[test]
    fn what_nobody_sees_is_not_sent_after_a_while_and_is_at_once_when_somebody_looks() {
        let mut rig = Rig::new();
        let hidden = View { width: 640, height: 360, visible: false };
        assert!(!rig.chooser.rests(rig.now + UNSEEN), "a page that says nothing of this may well show it");
        rig.chooser.view(rig.now, hidden);
        let since = rig.now;
        rig.chooser.view(since + UNSEEN / 2, hidden);
        assert!(!rig.chooser.rests(since + UNSEEN - Duration::from_millis(1)));
        assert!(rig.chooser.rests(since + UNSEEN), "said twice, it is hidden since the first time");
        rig.chooser.view(since + UNSEEN, View { visible: true, ..hidden });
        assert!(!rig.chooser.rests(since + UNSEEN));
    }

    #[test]
    fn a_squeezed_link_gets_the_small_picture_within_three_seconds() {
        let mut rig = Rig::new();
        rig.pass(0.0, 10);
        assert!(rig.until(0.6, 5, Choice::Sub, 10).unwrap() <= Duration::from_secs(3));
        assert!(rig.chooser.why().contains("loses"), "{}", rig.chooser.why());
        let mut rig = Rig::new();
        assert_eq!(rig.until(0.0, 20, Choice::Sub, 10), None);
        assert!(
            rig.until(0.0, 900, Choice::Sub, 10).unwrap() <= Duration::from_secs(4),
            "a queue that fills"
        );
        let mut rig = Rig::new();
        assert_eq!(rig.until(0.04, 5, Choice::Sub, 60), None, "retransmission mends that");
    }

    #[test]
    fn a_link_that_cannot_carry_it_is_tried_less_and_less_often() {
        let mut rig = Rig::new();
        rig.pass(0.0, 5);
        let mut waits = Vec::new();
        for _ in 0..8 {
            rig.until(0.5, 5, Choice::Sub, 30).unwrap();
            waits.push(rig.until(0.0, 5, Choice::Main, 1000).unwrap().as_secs());
        }
        assert!((10..14).contains(&waits[0]), "{waits:?}");
        assert!(waits.windows(2).all(|two| two[1] >= two[0]), "{waits:?}");
        assert!((300..304).contains(waits.last().unwrap()), "{waits:?}");
        rig.pass(0.0, 100);
        rig.until(0.5, 5, Choice::Sub, 30).unwrap();
        assert!(
            rig.until(0.0, 5, Choice::Main, 60).unwrap() < Duration::from_secs(14),
            "that was another time"
        );
    }

    #[test]
    fn one_burst_is_no_bad_link_and_silence_no_good_one() {
        let mut rig = Rig::new();
        rig.pass(0.0, 10);
        rig.now += Duration::from_millis(100);
        rig.chooser.report(rig.now, Report { lost: 0.3, round_trip: None });
        assert_eq!(rig.choose(), Choice::Main);
        rig.pass(0.0, 5);
        rig.until(0.5, 5, Choice::Sub, 10).unwrap();
        rig.now += Duration::from_secs(1000);
        assert_eq!(rig.choose(), Choice::Sub);
        rig.pass(0.0, 5);
        assert_eq!(rig.choose(), Choice::Sub, "it has to prove itself");
    }

    #[test]
    fn an_explicit_wish_wins_at_once() {
        let mut rig = Rig::new();
        rig.view(100, 100);
        rig.until(0.9, 5, Choice::Sub, 10).unwrap();
        for (wish, choice) in [(Quality::Main, Choice::Main), (Quality::Sub, Choice::Sub)] {
            rig.chooser.wish(wish);
            assert_eq!(rig.choose(), choice);
        }
    }

    #[test]
    fn a_view_is_read_from_the_wire() {
        let view: View =
            serde_json::from_str(r#"{"width":640,"height":360,"visible":false,"more":1}"#).unwrap();
        assert_eq!(view, View { width: 640, height: 360, visible: false });
        assert!(serde_json::from_str::<View>(r#"{"width":640,"height":360}"#).unwrap().visible);
        assert!(serde_json::from_str::<View>(r#"{"width":-1,"height":360}"#).is_err());
    }

    #[derive(Debug, Clone)]
    enum Event {
        Wait(u64),
        Report(f64, Option<u64>),
        View(u32, u32, bool),
        Wish(Quality),
    }

    fn event() -> impl Strategy<Value = Event> {
        let wish = prop_oneof![4 => Just(Quality::Auto), 1 => Just(Quality::Main), 1 => Just(Quality::Sub)];
        prop_oneof![
            3 => (0u64..3000).prop_map(Event::Wait),
            4 => (prop_oneof![Just(0.0), Just(0.5), 0.0..1.0, Just(f64::NAN)], proptest::option::of(0u64..5000))
                .prop_map(|(lost, trip)| Event::Report(lost, trip)),
            2 => (0u32..4000, 0u32..4000, any::<bool>()).prop_map(|(w, h, v)| Event::View(w, h, v)),
            1 => wish.prop_map(Event::Wish),
        ]
    }

    proptest! {
        #[test]
        fn it_never_flaps_and_explicit_wishes_always_win(events in proptest::collection::vec(event(), 0..300)) {
            let mut rig = Rig::new();
            let mut before = rig.choose();
            let (mut wish, mut changed) = (Quality::Auto, None::<Instant>);
            for event in events {
                match event {
                    Event::Wait(ms) => rig.now += Duration::from_millis(ms),
                    Event::Report(lost, trip) => {
                        let round_trip = trip.map(Duration::from_millis);
                        rig.chooser.report(rig.now, Report { lost, round_trip });
                    }
                    Event::View(width, height, visible) => rig.chooser.view(rig.now, View { width, height, visible }),
                    Event::Wish(new) => {
                        wish = new;
                        rig.chooser.wish(new);
                    }
                }
                let choice = rig.choose();
                match wish {
                    Quality::Main => prop_assert_eq!(choice, Choice::Main),
                    Quality::Sub => prop_assert_eq!(choice, Choice::Sub),
                    Quality::Auto if choice != before => {
                        prop_assert!(changed.is_none_or(|at| rig.now - at >= HOLD), "flaps");
                        changed = Some(rig.now);
                    }
                    Quality::Auto => {}
                }
                before = choice;
                prop_assert!(rig.chooser.link.reports.len() <= MAX_REPORTS);
            }
        }
    }
}
