//! How much a box can encode at once, and who gets it.
//!
//! What encodes can do only so many pixels a second: a chip for all cameras together, the CPU as much as measuring
//! said. Of what is wanted at a time, each rendition gets what it wishes for, in order, as long as it lasts; the others
//! get fewer pictures a second, then smaller ones. Nobody gets nothing: a picture of [`LEAST_WIDTH`] at [`LEAST_RATE`]
//! is set aside for each before the first gets more. A pure function: the same demands give the same answer, whoever
//! came first.

use std::collections::BTreeMap;

use serde::Serialize;

/// No picture is made narrower than this to save work, in pixels: one still sees who it is.
pub const LEAST_WIDTH: u32 = 320;
/// Nor slower than this, in pictures a second: below it motion is lost.
pub const LEAST_RATE: u32 = 5;
/// First the rate is lowered, down to this; then the size; below it again the rate. Motion at ten pictures a second is
/// still followed well, while a picture that is too small to read is of no use at any rate.
pub const SMOOTH_RATE: u32 = 10;
/// Widths that are tried, in eighths of what is wished for: few, because an encoder has to prove itself at each.
const EIGHTHS: [u64; 5] = [6, 5, 4, 3, 2];
/// Encoders work in blocks of 16x16 luma samples.
const BLOCK: u32 = 16;
/// Sums of products in floating point are off by no more.
const ROUNDING: f64 = 1e-9;

/// Size and rate of a rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Pictures a second, as a fraction.
    pub framerate: (u32, u32),
}

impl Picture {
    /// Luma samples a second, as an encoder counts them: in whole blocks.
    #[must_use]
    pub fn samples(&self) -> f64 {
        let side = |pixels: u32| f64::from(pixels.div_ceil(BLOCK)) * f64::from(BLOCK);
        side(self.width) * side(self.height) * self.fps()
    }

    /// Pictures a second.
    #[must_use]
    pub fn fps(&self) -> f64 {
        f64::from(self.framerate.0) / f64::from(self.framerate.1.max(1))
    }

    /// What it may become, the best first: itself, then less and less work. The last is the least that anyone gets.
    #[must_use]
    pub fn ladder(&self) -> Vec<Self> {
        let (n, d) = self.framerate;
        // Each second, each third picture and so on: others would come unevenly.
        let slower = |least: u32| {
            let by = |times: &u32| f64::from(n) >= f64::from(least) * f64::from(d.max(1)) * f64::from(*times);
            (2..=240).take_while(by).map(|times| (n, d.saturating_mul(times))).collect::<Vec<_>>()
        };
        let mut ladder = vec![*self];
        ladder.extend(slower(SMOOTH_RATE).into_iter().map(|framerate| Self { framerate, ..*self }));
        let smooth = ladder.last().map_or(self.framerate, |last| last.framerate);
        let part =
            |eighths: u64| u32::try_from(u64::from(self.width) * eighths / 8).unwrap_or(self.width) & !1;
        let widths = EIGHTHS.into_iter().map(part).filter(|width| *width > LEAST_WIDTH);
        let least = (self.width > LEAST_WIDTH).then_some(LEAST_WIDTH);
        ladder.extend(widths.chain(least).map(|width| Self { framerate: smooth, ..self.narrowed(width) }));
        let small = ladder.last().copied().unwrap_or(*self);
        let below = slower(LEAST_RATE).into_iter().filter(|(_, d)| *d > smooth.1);
        ladder.extend(below.map(|framerate| Self { framerate, ..small }));
        ladder
    }

    /// The least that anyone gets.
    #[must_use]
    pub fn least(&self) -> Self {
        self.ladder().last().copied().unwrap_or(*self)
    }

    /// In the same shape; sides are even, as 4:2:0 needs them.
    fn narrowed(&self, width: u32) -> Self {
        let even = |pixels: u32| (pixels & !1).max(2);
        let height = u64::from(self.height) * u64::from(width) / u64::from(self.width.max(1));
        Self { width: even(width), height: even(u32::try_from(height).unwrap_or(self.height)), ..*self }
    }

    /// As people write it: `1280x720 at 30 fps`.
    #[must_use]
    pub fn in_words(&self) -> String {
        // 29.97, but 30 and 7.5.
        let fps = format!("{:.2}", self.fps());
        let fps = fps.trim_end_matches('0').trim_end_matches('.');
        format!("{}x{} at {fps} fps", self.width, self.height)
    }
}

/// Something that encoders share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pool {
    /// The encoder's template, or `cpu`.
    pub name: String,
    /// What there is in all: luma samples a second, or cores.
    pub holds: f64,
    /// What it is, in words: `the 62.9 million pixels a second of v4l2h264enc`.
    pub about: String,
}

/// What one luma sample a second takes of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// Of which.
    pub pool: Pool,
    /// How much.
    pub per_sample: f64,
}

/// A rendition that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// As the configuration asks for it.
    pub wish: Picture,
    /// What encoding it takes.
    pub draws: Vec<Draw>,
}

/// What a rendition gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// What it is to be.
    pub picture: Picture,
    /// Why it is not as wished for, for people.
    pub why: Option<String>,
}

/// What each of `demands` gets; those that come first keep most.
#[must_use]
pub fn admit(demands: &[Demand]) -> Vec<Grant> {
    let mut left = BTreeMap::new();
    for draw in demands.iter().flat_map(|demand| &demand.draws) {
        left.insert(draw.pool.name.clone(), draw.pool.holds);
    }
    let leasts: Vec<Picture> = demands.iter().map(|demand| demand.wish.least()).collect();
    for (demand, least) in demands.iter().zip(&leasts) {
        take(&mut left, demand, least, 1.0);
    }
    let grant = |(demand, least): (&Demand, &Picture)| {
        take(&mut left, demand, least, -1.0);
        let mut short = None;
        let ladder = demand.wish.ladder();
        let fitting = ladder.into_iter().find(|picture| match first_short(&left, demand, picture) {
            Some(pool) => {
                short = Some(pool);
                false
            }
            None => true,
        });
        let picture = fitting.unwrap_or(*least);
        take(&mut left, demand, &picture, 1.0);
        let why = short.filter(|_| picture != demand.wish).map(|pool| {
            format!(
                "{} instead of {}: no more is left of {}",
                picture.in_words(),
                demand.wish.in_words(),
                pool.about
            )
        });
        Grant { picture, why }
    };
    demands.iter().zip(&leasts).map(grant).collect()
}

/// What `pictures` with these draws take of each pool, by its name.
pub fn in_use<'a>(pictures: impl Iterator<Item = (&'a Picture, &'a [Draw])>) -> BTreeMap<String, f64> {
    let mut used = BTreeMap::new();
    for (picture, draws) in pictures {
        for Draw { pool, per_sample } in draws {
            *used.entry(pool.name.clone()).or_default() += per_sample * picture.samples();
        }
    }
    used
}

fn take(left: &mut BTreeMap<String, f64>, demand: &Demand, picture: &Picture, times: f64) {
    for Draw { pool, per_sample } in &demand.draws {
        if let Some(left) = left.get_mut(&pool.name) {
            *left -= times * per_sample * picture.samples();
        }
    }
}

/// The first pool that has too little left for `picture`.
fn first_short<'a>(left: &BTreeMap<String, f64>, demand: &'a Demand, picture: &Picture) -> Option<&'a Pool> {
    let is_short = |draw: &&Draw| {
        let left = left.get(&draw.pool.name).copied().unwrap_or(draw.pool.holds);
        draw.per_sample * picture.samples() > left + draw.pool.holds * ROUNDING
    };
    demand.draws.iter().find(is_short).map(|draw| &draw.pool)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(width: u32, height: u32, fps: u32) -> Picture {
        Picture { width, height, framerate: (fps, 1) }
    }

    fn chip(holds: f64) -> Vec<Draw> {
        let pool = Pool { name: "chip".into(), holds, about: "the chip".into() };
        vec![Draw { pool, per_sample: 1.0 }]
    }

    /// 1080p30, and no more, in all.
    const VIDEOCORE: f64 = 62_914_560.0;

    fn shown(grants: &[Grant]) -> Vec<String> {
        grants.iter().map(|grant| grant.picture.in_words()).collect()
    }

    #[test]
    fn what_does_not_fit_loses_rate_and_then_size_in_order() {
        let demand = |wish| Demand { wish, draws: chip(VIDEOCORE) };
        let one = [demand(picture(1920, 1080, 30))];
        assert_eq!(shown(&admit(&one)), ["1920x1080 at 30 fps"]);
        let fast = [demand(picture(1920, 1080, 60))];
        assert_eq!(shown(&admit(&fast)), ["1920x1080 at 30 fps"], "more than the chip can");
        let four = vec![demand(picture(1280, 720, 30)); 4];
        let grants = admit(&four);
        assert_eq!(
            shown(&grants),
            ["1280x720 at 30 fps", "1280x720 at 30 fps", "960x540 at 10 fps", "640x360 at 10 fps"]
        );
        assert_eq!(grants[1].why, None);
        let why = "960x540 at 10 fps instead of 1280x720 at 30 fps: no more is left of the chip";
        assert_eq!(grants[2].why.as_deref(), Some(why));
        let many = vec![demand(picture(1920, 1080, 30)); 400];
        assert!(admit(&many).iter().all(|grant| grant.picture == picture(320, 180, 30).least()));
    }

    #[test]
    fn rates_stay_even_and_small_pictures_stay_as_they_are() {
        let words = |picture: Picture| picture.ladder().iter().map(Picture::in_words).collect::<Vec<_>>();
        assert_eq!(
            words(picture(1280, 720, 30)),
            [
                "1280x720 at 30 fps",
                "1280x720 at 15 fps",
                "1280x720 at 10 fps",
                "960x540 at 10 fps",
                "800x450 at 10 fps",
                "640x360 at 10 fps",
                "480x270 at 10 fps",
                "320x180 at 10 fps",
                "320x180 at 7.5 fps",
                "320x180 at 6 fps",
                "320x180 at 5 fps",
            ]
        );
        assert_eq!(words(picture(160, 120, 8)), ["160x120 at 8 fps"]);
        assert_eq!(words(picture(320, 240, 1)), ["320x240 at 1 fps"]);
        let ntsc = Picture { framerate: (30_000, 1001), ..picture(320, 240, 30) };
        assert_eq!(words(ntsc)[..2], ["320x240 at 29.97 fps", "320x240 at 14.99 fps"]);
    }

    #[test]
    fn the_cpu_may_be_what_runs_out() {
        let cpu = Pool { name: "cpu".into(), holds: 1.0, about: "the 1.0 cores".into() };
        let mut draws = chip(VIDEOCORE);
        draws.push(Draw { pool: cpu, per_sample: 1.0 / 30e6 });
        let grants = admit(&[Demand { wish: picture(1920, 1080, 30), draws }]);
        assert_eq!(shown(&grants), ["1920x1080 at 10 fps"]);
        assert!(grants[0].why.as_ref().is_some_and(|why| why.ends_with("the 1.0 cores")), "{grants:?}");
    }

    prop_compose! {
        fn any_picture()(width in 16u32..4000, height in 16u32..3000, n in 1u32..240, d in 1u32..3) -> Picture {
            Picture { width: width & !1, height: height & !1, framerate: (n, d) }
        }
    }

    /// Demands on two pools, some on one of them alone.
    fn any_demands() -> impl Strategy<Value = Vec<(Picture, f64, f64)>> {
        let cost = prop_oneof![Just(0.0), 0.1..3.0f64];
        proptest::collection::vec((any_picture(), cost.clone(), cost), 0..12)
    }

    fn demands(wishes: &[(Picture, f64, f64)], holds: (f64, f64)) -> Vec<Demand> {
        let pool = |name: &str, holds| Pool { name: name.into(), holds, about: name.into() };
        let draws = |a, b| {
            let each = [(pool("a", holds.0), a), (pool("b", holds.1), b)];
            each.into_iter().map(|(pool, per_sample)| Draw { pool, per_sample }).collect()
        };
        wishes.iter().map(|(wish, a, b)| Demand { wish: *wish, draws: draws(*a, *b) }).collect()
    }

    proptest! {
        #[test]
        fn a_ladder_goes_down_to_the_least_and_keeps_the_shape(wish in any_picture()) {
            let ladder = wish.ladder();
            prop_assert_eq!(ladder[0], wish);
            for pair in ladder.windows(2) {
                prop_assert!(pair[1].samples() <= pair[0].samples(), "{:?}", ladder);
                prop_assert!(pair[1].fps() <= pair[0].fps() && pair[1].width <= pair[0].width);
                prop_assert_ne!(pair[1], pair[0]);
            }
            for step in &ladder {
                prop_assert!(step.width >= wish.width.min(LEAST_WIDTH));
                prop_assert!(step.fps() >= wish.fps().min(f64::from(LEAST_RATE)));
                prop_assert!(step.width % 2 == 0 && step.height % 2 == 0);
                let off = f64::from(step.height) - f64::from(step.width) * f64::from(wish.height) / f64::from(wish.width);
                prop_assert!(off.abs() <= 2.0, "{:?} of {:?}", step, wish);
            }
        }

        #[test]
        fn no_pool_is_overdrawn_unless_all_have_the_least(
            wishes in any_demands(), a in 1e5..1e9f64, b in 1e5..1e9f64,
        ) {
            let demands = demands(&wishes, (a, b));
            let grants = admit(&demands);
            let used = in_use(grants.iter().zip(&demands).map(|(g, d)| (&g.picture, d.draws.as_slice())));
            for (name, holds) in [("a", a), ("b", b)] {
                let over = used.get(name).copied().unwrap_or(0.0) > holds * (1.0 + 1e-6);
                let all_least = grants.iter().zip(&demands).all(|(grant, demand)| {
                    let draws = demand.draws.iter().any(|draw| draw.pool.name == name && draw.per_sample > 0.0);
                    !draws || grant.picture == demand.wish.least()
                });
                prop_assert!(!over || all_least, "{name} holds {holds}: {grants:?}");
            }
            for (grant, demand) in grants.iter().zip(&demands) {
                prop_assert!(demand.wish.ladder().contains(&grant.picture));
                prop_assert_eq!(grant.why.is_none(), grant.picture == demand.wish);
            }
        }

        #[test]
        fn those_before_do_not_feel_what_those_behind_wish(
            wishes in any_demands(), a in 1e5..1e9f64, b in 1e5..1e9f64, at in 0usize..12,
        ) {
            let modest: Vec<_> = wishes.iter().enumerate().map(|(index, (wish, a, b))| {
                (if index > at { wish.least() } else { *wish }, *a, *b)
            }).collect();
            let (all, few) = (admit(&demands(&wishes, (a, b))), admit(&demands(&modest, (a, b))));
            prop_assert!(all.iter().zip(&few).take(at + 1).all(|(all, few)| all.picture == few.picture));
        }

        #[test]
        fn of_two_alike_the_first_has_no_less(
            wishes in any_demands(), a in 1e5..1e9f64, twin in any_picture(), at in 0usize..12,
        ) {
            let mut wishes = wishes;
            let at = at.min(wishes.len());
            wishes.insert(at, (twin, 1.0, 1.0));
            wishes.push((twin, 1.0, 1.0));
            let grants = admit(&demands(&wishes, (a, a)));
            let last = grants.len() - 1;
            prop_assert!(grants[at].picture.samples() >= grants[last].picture.samples());
        }

        #[test]
        fn with_more_the_first_to_notice_gets_more(
            wishes in any_demands(), a in 1e5..1e9f64, b in 1e5..1e9f64, more in 1.0..4.0f64,
        ) {
            let (little, much) = (admit(&demands(&wishes, (a, b))), admit(&demands(&wishes, (a * more, b * more))));
            let first = little.iter().zip(&much).find(|(little, much)| little.picture != much.picture);
            if let Some((little, much)) = first {
                prop_assert!(much.picture.samples() >= little.picture.samples());
            }
            let plenty = admit(&demands(&wishes, (1e14, 1e14)));
            prop_assert!(plenty.iter().zip(&wishes).all(|(grant, (wish, ..))| grant.picture == *wish));
        }
    }
}
