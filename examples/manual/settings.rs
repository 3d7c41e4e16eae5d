//! portald.toml(5), from the comments of the configuration that is installed.

use crate::roff::Page;

/// What the file is made of: comments, then the table or key that they are about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Paragraphs that are about nothing below them.
    Text(Vec<String>),
    /// `[table]`.
    Table(String, Vec<String>),
    /// `key = default`.
    Key(String, String, Vec<String>),
}

/// The page.
#[must_use]
pub(crate) fn page(shipped: &str, version: &str) -> String {
    let mut page = Page::new("portald.toml", 5, version);
    page.section("NAME").paragraph("portald.toml - configuration of portald");
    page.section("SYNOPSIS").paragraph("`/etc/portald/portald.toml`").section("DESCRIPTION");
    let mut in_tables = false;
    for part in parts(shipped) {
        match part {
            Part::Text(lines) => told(&mut page, &lines, false),
            Part::Table(name, lines) => {
                if !in_tables {
                    page.section("TABLES AND KEYS");
                    in_tables = true;
                }
                page.subsection(&format!("[{name}]"));
                told(&mut page, &lines, false);
            }
            Part::Key(key, value, lines) => {
                let begins = lines.iter().position(|line| line.starts_with(' ')).unwrap_or(lines.len());
                page.item(&format!("{key} = {value}"), &lines[..begins].join(" "));
                told(&mut page, &lines[begins..], true);
            }
        }
    }
    page.section("SEE ALSO").paragraph("portald(8), systemd.exec(5) about LoadCredential=");
    page.finish().to_owned()
}

/// Reads the file: `# text` is text, `#[table]` and `#key = value` are commented out.
#[must_use]
pub(crate) fn parts(shipped: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text: Vec<String> = Vec::new();
    for line in shipped.lines().chain([""]) {
        if let Some(words) = line.strip_prefix("# ") {
            text.push(words.to_owned());
            continue;
        }
        let commented = line.strip_prefix('#').unwrap_or_default();
        if let Some(table) = commented.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            parts.push(Part::Table(table.to_owned(), std::mem::take(&mut text)));
        } else if let Some((key, value)) = commented.split_once(" = ") {
            parts.push(Part::Key(key.to_owned(), value.to_owned(), std::mem::take(&mut text)));
        } else if line == "#" || line.is_empty() {
            // A blank line within a comment ends a paragraph; one outside ends the comment.
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
        } else {
            text.push(line.to_owned()); // nothing of it gets lost, whatever it is
        }
    }
    parts
}

/// Paragraphs; indented lines stay lines, as does a list of them.
fn told(page: &mut Page, lines: &[String], in_item: bool) {
    let mut rest = lines;
    while let Some(first) = rest.first() {
        let indented = first.starts_with(' ');
        let end = rest.iter().position(|line| line.starts_with(' ') != indented).unwrap_or(rest.len());
        let (now, after) = rest.split_at(end);
        if indented {
            page.verbatim(now);
        } else if in_item {
            page.more(&now.join(" "));
        } else {
            page.paragraph(&now.join(" "));
        }
        rest = after;
    }
}
