//! A template file and the values for it: `[kind][file]`, then parts of `[which][value]`.

use std::path::Path;

use portald::template::{Kind, PLACEHOLDERS, Shape, Template, Values};

use super::{parts, tagged};

/// Reads the template and fills it in.
pub fn run(data: &[u8]) {
    let mut parts = parts(data);
    let Some((tag, text)) = parts.next().and_then(tagged) else { return };
    let (kind, name) = match tag {
        b's' => (Kind::Source, "test"),
        b'e' => (Kind::Encoder, "test"),
        b'h' => (Kind::Viewer, "h264"),
        b'v' => (Kind::Viewer, "vp8"),
        _ => return,
    };
    let template = match Template::parse(kind, name, Path::new("test.pipeline"), text) {
        Ok(template) => template,
        Err(error) => {
            assert!((1..=text.lines().count().max(1)).contains(&error.line), "{error}");
            assert!(!error.hint().is_empty() && !error.to_string().is_empty());
            return;
        }
    };
    assert!(!template.launch.is_empty() && !template.launch.contains(|c: char| c.is_control() && c != '\t'));
    assert!(template.kind == Kind::Source || template.codec.is_some());
    let mut values = Values::new()
        .picture(640, 360, (30, 1))
        .encoding(800, std::time::Duration::from_secs(2), (30, 1))
        .with("device", "/dev/video0")
        .with("camera", "imx219")
        .with("pattern", "ball")
        .with("format", "YUY2")
        .with("threads", 2)
        .with("payload_type", 96);
    let mut given: Vec<(&str, Shape, &str)> = Vec::new();
    for (which, value) in parts.filter_map(tagged) {
        let placeholder = &PLACEHOLDERS[usize::from(which) % PLACEHOLDERS.len()];
        values = values.with(placeholder.name, value);
        given.retain(|(name, ..)| *name != placeholder.name);
        given.push((placeholder.name, placeholder.shape, value));
    }
    let used = |name: &str| template.launch.contains(&format!("{{{name}}}"));
    let unsafe_one = given.iter().any(|(name, shape, value)| used(name) && !shape.fits(value));
    match template.render(&values) {
        Ok(rendered) => {
            assert!(!unsafe_one, "an unsafe value got into {rendered:?}");
            let count = |text: &str, what: char| text.chars().filter(|c| *c == what).count();
            // A camera's name may be twice as long: its backslashes are written twice.
            let longest = template.launch.matches('{').count() * 512;
            assert!(rendered.len() <= template.launch.len() + longest);
            // It may have spaces, too, between its quotes.
            let name = given.iter().find(|(name, ..)| *name == "camera").map_or("", |(.., value)| value);
            let names = template.launch.matches("{camera}").count();
            for (what, written) in [('!', 0), ('\\', 2), (' ', 1), ('(', 0), (')', 0), ('\'', 0), (';', 0)] {
                assert_eq!(
                    count(&rendered, what),
                    count(&template.launch, what) + names * written * count(name, what),
                    "a value changed {rendered:?}"
                );
            }
        }
        Err(error) => assert!(unsafe_one, "it was taken, and now it is not: {error}"),
    }
}
