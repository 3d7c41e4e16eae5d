//! Debian's changelog, from CHANGELOG.md.

/// Columns of a line, as Debian's tools expect it.
const WIDTH: usize = 78;

/// What an entry of Debian's changelog is signed with.
#[derive(Debug)]
pub(crate) struct Signature<'a> {
    /// Version of the package, such as `0.1.0`.
    pub(crate) version: &'a str,
    /// `Name <address>`.
    pub(crate) maintainer: &'a str,
    /// When, as RFC 5322 writes it.
    pub(crate) date: &'a str,
}

/// The newest section of CHANGELOG.md that says anything, as the one entry of a Debian changelog. Those before are in the
/// file itself, which the package has, too.
#[must_use]
pub(crate) fn entry(changelog: &str, signature: &Signature<'_>) -> String {
    let mut text = format!("portald ({}) stable; urgency=medium\n\n", signature.version);
    let newest =
        changelog.split("\n## ").skip(1).find(|section| section.contains("\n- ")).unwrap_or_default();
    let mut points: Vec<String> = Vec::new();
    for line in newest.lines().skip(1).map(str::trim) {
        if let Some(point) = line.strip_prefix("- ") {
            points.push(point.to_owned());
        } else if let Some(heading) = line.strip_prefix("### ") {
            points.push(format!("{heading}:"));
        } else if let Some(last) = points.last_mut().filter(|_| !line.is_empty()) {
            last.push(' ');
            last.push_str(line);
        }
    }
    for point in points {
        text.push_str(&wrapped(&point));
    }
    let Signature { maintainer, date, .. } = signature;
    text + &format!("\n -- {maintainer}  {date}\n")
}

fn wrapped(point: &str) -> String {
    let (mut text, mut line) = (String::new(), "  *".to_owned());
    for word in point.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = "   ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text + &line + "\n"
}
