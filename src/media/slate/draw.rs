//! Draws a slate: text on a dark ground, in planes of I420.
//!
//! The letters are Spleen 16x32 by Frederic Cambus (`spleen-16x32.bin`, licence in `spleen-LICENSE`), scaled to any size
//! with smooth edges. GStreamer's own text overlay would bring pango, cairo and X11 to a box without a screen.

/// The letters U+0020 to U+017F, 64 bytes each: 32 rows of 16 pixels, most significant bit first.
const FONT: &[u8] = include_bytes!("spleen-16x32.bin");
/// First and last letter in [`FONT`].
const LETTERS: (u32, u32) = (0x20, 0x17f);
/// A letter's size there.
const LETTER: (usize, usize) = (16, 32);
/// Samples along each side of a pixel: nine make edges smooth enough to read.
const SAMPLES: usize = 3;
/// Luma of the ground, and its chroma: a dark grey with a little blue.
const GROUND: (u8, u8, u8) = (34, 132, 126);
/// The bar beside the text: amber.
const BAR: (u8, u8, u8) = (160, 60, 165);
/// Luma of the title, of what is wrong, and of the rest.
const BRIGHT: u8 = 235;
/// See [`BRIGHT`].
const MEDIUM: u8 = 205;
/// See [`BRIGHT`].
const DIM: u8 = 172;
/// Smallest letters that can be read, in pixels of height.
const MIN_HEIGHT: usize = 12;

/// What a slate says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Text {
    /// The camera's title.
    pub(super) title: String,
    /// What is wrong, in a few words.
    pub(super) headline: String,
    /// Why.
    pub(super) reason: String,
    /// What to do.
    pub(super) next: String,
    /// Since when.
    pub(super) since: String,
}

/// The planes of a picture in I420.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Y, U and V, each with the bytes of a row.
    pub(super) planes: [(&'a mut [u8], usize); 3],
}

impl Picture<'_> {
    /// Paints all of it. Text that does not fit ends in an ellipsis.
    pub(super) fn draw(&mut self, text: &Text) {
        self.fill((0, 0), (self.width, self.height), GROUND);
        // Sizes are those of a picture of 360 lines; a tall narrow picture counts by its width.
        let unit = self.height.min(self.width * 9 / 16).max(1);
        let of_unit = |size: usize| (size * unit / 360).max(MIN_HEIGHT);
        let (left, right) = (self.width / 12, self.width - self.width / 20);
        let mut lines = Vec::new();
        for (part, height, luma, most) in [
            (&text.title, of_unit(44), BRIGHT, 2),
            (&text.headline, of_unit(30), MEDIUM, 2),
            (&text.reason, of_unit(24), DIM, 4),
            (&text.next, of_unit(24), DIM, 3),
            (&text.since, of_unit(20), DIM, 1),
        ] {
            let columns = (right - left) / cell(height).0;
            let wrapped = wrap(part, columns.max(4), most);
            for (index, line) in wrapped.into_iter().enumerate() {
                // Room between the parts, none between the lines of one.
                let above = if index == 0 && !lines.is_empty() { height / 3 } else { 0 };
                lines.push((line, height, luma, above));
            }
        }
        let room = self.height * 19 / 20;
        let height_of = |lines: &[(String, usize, u8, usize)]| -> usize {
            lines.iter().map(|(_, height, _, above)| height + above).sum()
        };
        while height_of(&lines) > room && lines.len() > 1 {
            lines.pop();
            if let Some((last, ..)) = lines.last_mut() {
                last.push('…');
            }
        }
        let total = height_of(&lines);
        let mut top = self.height.saturating_sub(total) / 2;
        self.fill((left / 2, top), (left / 2 + (left / 8).max(2), top + total), BAR);
        for (line, height, luma, above) in lines {
            top += above;
            self.write(&line, (left, top), height, luma);
            top += height;
        }
    }

    /// A rectangle between two corners (the second outside), in one colour.
    fn fill(&mut self, from: (usize, usize), to: (usize, usize), (y, u, v): (u8, u8, u8)) {
        for ((plane, stride), (value, shift)) in self.planes.iter_mut().zip([(y, 0), (u, 1), (v, 1)]) {
            let rows =
                plane.chunks_mut((*stride).max(1)).take(to.1.div_ceil(1 << shift)).skip(from.1 >> shift);
            for row in rows {
                let end = to.0.div_ceil(1 << shift).min(row.len());
                if let Some(span) = row.get_mut(from.0 >> shift..end) {
                    span.fill(value);
                }
            }
        }
    }

    fn write(&mut self, line: &str, (left, top): (usize, usize), height: usize, luma: u8) {
        let (width, stride) = (self.width, self.planes[0].1.max(1));
        let (cell_width, cell_height) = cell(height);
        for (column, letter) in line.chars().enumerate() {
            let x = left + column * cell_width;
            if x + cell_width >= width {
                return;
            }
            let rows = self.planes[0].0.chunks_mut(stride).take(self.height).skip(top).take(cell_height);
            for (y, row) in rows.enumerate() {
                let Some(pixels) = row.get_mut(x..x + cell_width) else { continue };
                for (x, pixel) in pixels.iter_mut().enumerate() {
                    let covered = coverage(letter, (x, y), (cell_width, cell_height));
                    let (from, to) = (usize::from(*pixel), usize::from(luma));
                    let mixed = (from * (SAMPLES * SAMPLES - covered) + to * covered) / (SAMPLES * SAMPLES);
                    *pixel = u8::try_from(mixed).unwrap_or(luma);
                }
            }
        }
    }
}

/// Width and height of a letter of that height, in pixels.
fn cell(height: usize) -> (usize, usize) {
    ((height * LETTER.0 / LETTER.1).max(1), height)
}

/// How many of the samples of a pixel of a letter's cell are ink.
fn coverage(letter: char, (x, y): (usize, usize), (width, height): (usize, usize)) -> usize {
    let Some(glyph) = glyph(letter) else { return 0 };
    let source = |at: usize, sample: usize, size: usize, full: usize| {
        ((at * SAMPLES + sample) * full + full / 2) / (size * SAMPLES)
    };
    let ink = |row: usize, column: usize| {
        let byte = glyph.get(row * 2 + column / 8).copied().unwrap_or(0);
        byte >> (7 - column % 8) & 1 == 1
    };
    let samples = (0..SAMPLES).flat_map(|down| (0..SAMPLES).map(move |across| (down, across)));
    let hit = |(down, across): &(usize, usize)| {
        ink(source(y, *down, height, LETTER.1), source(x, *across, width, LETTER.0).min(LETTER.0 - 1))
    };
    samples.filter(hit).count()
}

/// The letter's rows; what the font lacks is a question mark.
fn glyph(letter: char) -> Option<&'static [u8]> {
    let code = match letter {
        '–' | '—' | '‑' => '-',
        '‘' | '’' | '‚' => '\'',
        '“' | '”' | '„' => '"',
        '…' => '\u{85}', // drawn below
        other => other,
    } as u32;
    let at = |code: u32| {
        let index = usize::try_from(code.checked_sub(LETTERS.0)?).ok()? * 64;
        FONT.get(index..index + 64).filter(|_| code <= LETTERS.1)
    };
    if code == 0x85 {
        return Some(&ELLIPSIS);
    }
    let known = at(code).filter(|rows| code == 0x20 || code == 0xa0 || rows.iter().any(|byte| *byte != 0));
    known.or_else(|| at('?' as u32))
}

/// Three dots on the base line.
static ELLIPSIS: [u8; 64] = {
    let mut rows = [0u8; 64];
    let mut row = 21;
    while row < 25 {
        rows[row * 2] = 0b1110_0111;
        rows[row * 2 + 1] = 0b1100_0111;
        row += 1;
    }
    rows
};

/// The text in lines of at most `columns` letters, at most `most` of them; broken at spaces where there are any.
fn wrap(text: &str, columns: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= columns {
                line.extend((gap > 0).then_some(' '));
                line.extend(&word);
                break;
            }
            if used > 0 {
                lines.push(std::mem::take(&mut line));
                continue;
            }
            let rest = word.split_off(columns); // longer than a line: a path, an id
            line.extend(&word);
            word = rest;
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let kept: String = last.chars().take(columns.saturating_sub(1)).collect();
            *last = format!("{}…", kept.trim_end());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws `text`, and returns the luma plane.
    fn drawn(width: usize, height: usize, text: &Text) -> Vec<u8> {
        let (mut y, mut u, mut v) =
            (vec![0; width * height], vec![0; width * height / 4], vec![0; width * height / 4]);
        let planes = [(&mut y[..], width), (&mut u[..], width / 2), (&mut v[..], width / 2)];
        Picture { width, height, planes }.draw(text);
        assert!(u.iter().chain(&v).all(|byte| *byte != 0), "all of it is painted");
        if let Ok(directory) = std::env::var("PORTALD_SLATES") {
            let header = format!("P5 {width} {height} 255\n").into_bytes();
            let file = format!("{directory}/slate-{width}x{height}-{}.pgm", text.title.len());
            std::fs::write(file, [header, y.clone()].concat()).unwrap();
        }
        y
    }

    fn example() -> Text {
        Text {
            title: "Haustür Süd – Garten".into(),
            headline: "Camera failed, trying again".into(),
            reason: "/dev/video0 is in use by another program: motion (process 1234)".into(),
            next: "end that program, or give it another camera".into(),
            since: "since 14:32".into(),
        }
    }

    #[test]
    fn it_is_readable_at_every_size_and_stays_inside() {
        for (width, height) in
            [(1920, 1080), (1280, 720), (640, 360), (640, 480), (320, 240), (160, 120), (16, 16)]
        {
            let luma = drawn(width, height, &example());
            let bright = luma.iter().filter(|byte| **byte > 150).count();
            assert!(width < 64 || bright > 100, "{width}x{height}: {bright} bright pixels");
            let edge = luma.iter().enumerate().any(|(i, byte)| i % width == width - 1 && *byte != GROUND.0);
            assert!(!edge, "{width}x{height}: text at the right edge");
        }
    }

    #[test]
    fn texts_of_any_length_and_script_are_drawn() {
        let long = Text { title: "x".repeat(200), reason: "word ".repeat(400), ..example() };
        drawn(640, 360, &long);
        drawn(640, 360, &Text::default());
        drawn(640, 360, &Text { title: "カメラ 1\u{7}".into(), ..example() });
        assert_eq!(glyph('カ'), glyph('?'), "what the font lacks is a question mark");
        assert_ne!(glyph('ü'), glyph('u'));
        assert_ne!(glyph('ł'), glyph('?'));
    }

    #[test]
    fn lines_break_at_spaces_and_end_in_an_ellipsis() {
        assert_eq!(wrap("a word or two", 6, 9), ["a word", "or two"]);
        assert_eq!(wrap("/dev/v4l/by-id/usb x", 8, 9), ["/dev/v4l", "/by-id/u", "sb x"]);
        assert_eq!(wrap("one two three", 5, 2), ["one", "two…"]);
        assert!(wrap("  ", 5, 2).is_empty());
    }
}
