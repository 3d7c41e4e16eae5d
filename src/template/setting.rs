//! What is done to an encoder while it runs: `PROPERTY=VALUE`, or `SIGNAL()`, of its element.

use std::fmt;

use super::error::Problem;
use super::values::{PLACEHOLDERS, placeholders};
use super::{Kind, Shape};

/// One thing done to the element called `encoder`: a property set to a value, as in a launch line, or an action signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting(String);

/// What a [`Setting`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed<'a> {
    /// Sets the property of this name to a value that GStreamer reads as in a launch line.
    Property(&'a str, &'a str),
    /// Emits the action signal of this name.
    Signal(&'a str),
}

impl Setting {
    /// Reads what a header says, or a rendered setting; placeholders must be an encoder's, and one of `any_of` be there.
    ///
    /// # Errors
    /// [`Problem`]
    pub fn parse(text: &str, any_of: &'static [&'static str]) -> Result<Self, Problem> {
        let setting = Self(text.to_owned());
        if setting.split().is_none() {
            return Err(Problem::Setting { found: text.to_owned() });
        }
        let known =
            |name: &&str| PLACEHOLDERS.iter().any(|p| p.name == *name && p.kinds.contains(&Kind::Encoder));
        if let Some(found) = placeholders(text).find(|name| !known(name)) {
            return Err(Problem::UnknownPlaceholder { kind: Kind::Encoder, found: found.to_owned() });
        }
        if !any_of.is_empty() && !placeholders(text).any(|name| any_of.contains(&name)) {
            return Err(Problem::MissingPlaceholder { any_of });
        }
        Ok(setting)
    }

    /// What it does.
    #[must_use]
    pub fn deed(&self) -> Deed<'_> {
        self.split().unwrap_or(Deed::Property("", "")) // `parse` lets no other in
    }

    fn split(&self) -> Option<Deed<'_>> {
        let is_name = |name: &&str| Shape::Word.fits(name);
        match self.0.split_once('=') {
            Some((name, value)) => {
                is_name(&name).then_some(Deed::Property(name, value)).filter(|_| !value.is_empty())
            }
            None => self.0.strip_suffix("()").filter(is_name).map(Deed::Signal),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::{Template, Templates, Values};
    use super::*;

    fn values() -> Values {
        Values::new()
            .picture(640, 360, (30, 1))
            .encoding(900, Duration::from_secs(2), (30, 1))
            .with("threads", 2)
    }

    #[test]
    fn every_encoder_of_ours_says_how_its_rate_is_changed_and_renders_it() {
        let templates = Templates::load(&[]).unwrap();
        for encoder in templates.iter().filter(|template| template.kind == Kind::Encoder) {
            let setting = encoder.set_bitrate.as_ref().unwrap_or_else(|| panic!("{}", encoder.name));
            let rendered = encoder.render_setting(setting, &values()).unwrap();
            let Deed::Property(_, value) = rendered.deed() else { panic!("{rendered}") };
            assert!(value.ends_with("900") || value.ends_with("900000"), "{}: {rendered}", encoder.name);
        }
        let pi = templates.encoder("v4l2h264enc").unwrap();
        let force = pi.force_keyframe.as_ref().unwrap();
        assert_eq!(force.deed(), Deed::Property("extra-controls", "controls,force_key_frame=1"));
        let jetson = templates.encoder("nvv4l2h264enc").unwrap();
        assert_eq!(jetson.force_keyframe.as_ref().unwrap().deed(), Deed::Signal("force-IDR"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let with = |kind, header: &str| {
            let text = format!(
                "# about: x\n# element: x\n# codec: h264\n# rank: 1\n{header}\nenc b={{bitrate_bit}} k={{keyframe_ms}}"
            );
            Template::parse(kind, "mine", Path::new("mine.pipeline"), &text)
        };
        for (header, told) in [
            ("# set-bitrate: bitrate", "mine.pipeline:5: found `bitrate`; allowed: PROPERTY=VALUE"),
            ("# set-bitrate: bit rate={bitrate_bit}", "mine.pipeline:5: found `bit rate={bitrate_bit}`"),
            ("# set-bitrate: bitrate=2000", "mine.pipeline:5: found no {bitrate_kbit} or {bitrate_bit}"),
            ("# set-bitrate: go()", "mine.pipeline:5: found no {bitrate_kbit} or {bitrate_bit}"),
            (
                "# set-bitrate: b={bitrate}",
                "mine.pipeline:5: found the placeholder `{bitrate}`; allowed: {width}",
            ),
            ("# set-bitrate: b={device}", "mine.pipeline:5: found the placeholder `{device}`"),
            ("# force-keyframe: force=", "mine.pipeline:5: found `force=`"),
            ("# force-keyframe: ()", "mine.pipeline:5: found `()`"),
        ] {
            let error = with(Kind::Encoder, header).unwrap_err();
            assert!(error.to_string().starts_with(told), "{error}\nexpected {told}");
            assert!(!error.hint().is_empty());
        }
        let error = Template::parse(
            Kind::Source,
            "mine",
            Path::new("mine.pipeline"),
            "# about: x\n# element: x\n# force-keyframe: force-IDR()\nsrc",
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "mine.pipeline:3: found the header `force-keyframe`; only encoders have it"
        );
        let plain = with(Kind::Encoder, "# nothing is set").unwrap();
        assert_eq!((plain.set_bitrate, plain.force_keyframe), (None, None));
    }
}
