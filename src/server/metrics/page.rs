//! Prometheus' text format 0.0.4, as it is written.

use std::fmt::{Display, Write};

/// Labels of a series.
pub(super) type Labels<'a> = &'a [(&'a str, &'a dyn Display)];

/// What is answered.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// What follows is one metric.
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One series of it.
    pub(super) fn line(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.text.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text.to_string().replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A metric with one series and no labels.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(name, &[], value);
    }

    /// All that was written.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_prometheus_reads() {
        let mut page = Page::default();
        page.single("a_total", "counter", "Help.", 1);
        page.line("a_total", &[("x", &"1"), ("y", &"z")], 2);
        page.line("a_total", &[("x", &"a \"b\" \\ c\nd")], 0.5);
        page.head("b", "gauge", "In\ntwo lines, with \\.");
        assert_eq!(
            page.into_text(),
            "# HELP a_total Help.\n# TYPE a_total counter\na_total 1\na_total{x=\"1\",y=\"z\"} 2\n\
             a_total{x=\"a \\\"b\\\" \\\\ c\\nd\"} 0.5\n\
             # HELP b In\\ntwo lines, with \\\\.\n# TYPE b gauge\n"
        );
    }
}
