//! Text as man(7) wants it.

/// A manual page in the making.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// `name` is in the manual's `section`; `version` and the manual's title are at its foot and head.
    #[must_use]
    pub(crate) fn new(name: &str, section: u8, version: &str) -> Self {
        let text = format!(
            ".TH {} {section} \"\" \"portald {version}\" \"portald manual\"\n.nh\n.ad l\n",
            escaped(&name.to_uppercase())
        );
        Self { text }
    }

    /// A section's heading.
    pub(crate) fn section(&mut self, heading: &str) -> &mut Self {
        self.line(&format!(".SH {}", escaped(heading)))
    }

    /// A heading within a section.
    pub(crate) fn subsection(&mut self, heading: &str) -> &mut Self {
        self.line(&format!(".SS {}", escaped(heading)))
    }

    /// A paragraph; what stands in backticks is bold.
    pub(crate) fn paragraph(&mut self, text: &str) -> &mut Self {
        self.line(".PP").words(text)
    }

    /// Something in bold, which may break after a colon, and below it, indented, what it is.
    pub(crate) fn item(&mut self, term: &str, text: &str) -> &mut Self {
        self.line(".TP").line(&format!("\\fB{}\\fP", escaped(term).replace(':', ":\\:"))).words(text)
    }

    /// A paragraph that belongs to the item before it.
    pub(crate) fn more(&mut self, text: &str) -> &mut Self {
        self.line(".sp").words(text)
    }

    /// Lines that stay lines.
    pub(crate) fn verbatim(&mut self, lines: &[String]) -> &mut Self {
        self.line(".sp").line(".nf");
        for line in lines {
            let shown = format!("\\&{}", escaped(line));
            self.line(&shown);
        }
        self.line(".fi")
    }

    /// The page's source.
    #[must_use]
    pub(crate) fn finish(&self) -> &str {
        &self.text
    }

    fn words(&mut self, text: &str) -> &mut Self {
        let mut shown = String::new();
        for (at, part) in escaped(text).split('`').enumerate() {
            if at > 0 {
                shown.push_str(if at % 2 == 1 { "\\fB" } else { "\\fP" });
            }
            shown.push_str(part);
        }
        // A dot or quote at a line's begin would be a request.
        self.line(&format!("\\&{shown}"))
    }

    fn line(&mut self, line: &str) -> &mut Self {
        self.text.push_str(line);
        self.text.push('\n');
        self
    }
}

/// Backslashes, and hyphens that are to be copied as the minus sign that they are.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('…', "...")
}
