//! What was found: each finding with why it matters and what mends it, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

/// Columns that a line may have before it is folded.
const WIDTH: usize = 100;
/// Where the text of a finding begins.
const INDENT: &str = "           ";

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Fine,
    /// It works, but not as it could, or not for long.
    Warning,
    /// Something does not work.
    Broken,
}

impl Severity {
    /// What the process exits with: 0, 1, 2.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Warning => 1,
            Self::Broken => 2,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Broken => "BROKEN",
        }
    }
}

/// What a finding is about; also the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The file and the secrets it names.
    Configuration,
    /// The daemon and its unit.
    Service,
    /// Device nodes, who may open them, who has them open.
    Cameras,
    /// Which camera is on which bus.
    Usb,
    /// What makes H.264 and VP8.
    Encoders,
    /// The framework and its plug-ins.
    GStreamer,
    /// Ports, and where the wall is.
    Network,
    /// The time.
    Clock,
    /// Memory and power.
    Memory,
    /// Directories.
    Disk,
    /// Versions that are known to be bad.
    Versions,
}

impl Group {
    fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Service => "Service",
            Self::Cameras => "Cameras",
            Self::Usb => "USB",
            Self::Encoders => "Encoders",
            Self::GStreamer => "GStreamer",
            Self::Network => "Network",
            Self::Clock => "Clock",
            Self::Memory => "Memory and power",
            Self::Disk => "Disk",
            Self::Versions => "Versions",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub group: Group,
    /// Which check found it; a name that stays.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// Why it matters; empty when all is fine.
    pub why: String,
    /// The command, or the words, that mend it; empty when all is fine.
    pub mend: String,
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn fine(group: Group, check: &'static str, found: impl Into<String>) -> Self {
        let (why, mend) = (String::new(), String::new());
        Self { group, check, severity: Severity::Fine, found: found.into(), why, mend }
    }

    /// It could be better.
    #[must_use]
    pub fn warning(group: Group, check: &'static str, found: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::fine(group, check, found) }
    }

    /// It does not work.
    #[must_use]
    pub fn broken(group: Group, check: &'static str, found: impl Into<String>) -> Self {
        Self { severity: Severity::Broken, ..Self::fine(group, check, found) }
    }

    /// With why it matters.
    #[must_use]
    pub fn because(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    /// With what mends it.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: mend.into(), ..self }
    }
}

/// What the box is, for whoever reads a report elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// portald's version.
    pub portald: String,
    /// The distribution.
    pub system: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture.
    pub architecture: String,
    /// What the board calls itself; empty on a PC.
    pub board: String,
    /// GStreamer's version; empty when it does not start.
    pub gstreamer: String,
    /// The user that portald would run as.
    pub user: String,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst of the findings.
    pub verdict: Severity,
    /// Where.
    #[serde(rename = "box")]
    pub about: About,
    /// In the order of [`Group`]; within a group as they were found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// With the findings in order.
    #[must_use]
    pub fn new(about: About, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.group);
        let verdict = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Fine);
        Self { verdict, about, findings }
    }

    /// As JSON, for programs.
    #[must_use]
    pub fn json(&self) -> String {
        // Texts, lists and a few names: nothing in it cannot be written as JSON.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        let About { portald, system, kernel, architecture, board, gstreamer, user } = &self.about;
        let mut text = format!("portald {portald} on {system}, Linux {kernel}, {architecture}");
        for part in [board.clone(), with("GStreamer ", gstreamer), with("for the user ", user)] {
            if !part.is_empty() {
                let _ = write!(text, "; {part}");
            }
        }
        text = folded(&text, "  ") + "\n";
        let mut group = None;
        for finding in &self.findings {
            if group != Some(finding.group) {
                let _ = write!(text, "\n{}\n", finding.group.title());
                group = Some(finding.group);
            }
            let line = format!("  {:<9}{}", finding.severity.label(), finding.found);
            let _ = writeln!(text, "{}", folded(&line, INDENT));
            if !finding.why.is_empty() {
                let _ = writeln!(text, "{}", folded(&format!("{INDENT}why: {}", finding.why), INDENT));
            }
            // Not folded: it is there to be copied.
            if !finding.mend.is_empty() {
                let _ = writeln!(text, "{INDENT}mend: {}", finding.mend);
            }
        }
        let _ = write!(text, "\n{}\n", self.summary());
        text
    }

    fn summary(&self) -> String {
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let warnings = match count(Severity::Warning) {
            0 => "no warnings".to_owned(),
            1 => "1 warning".to_owned(),
            number => format!("{number} warnings"),
        };
        match (count(Severity::Broken), self.verdict) {
            (0, Severity::Fine) => "All is fine.".to_owned(),
            (0, _) => format!("Nothing is broken; {warnings}."),
            (broken, _) => format!("{broken} broken, {warnings}. Begin with what is broken."),
        }
    }
}

fn with(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

/// `line` in lines of at most [`WIDTH`] columns where it has blanks, all but the first behind `indent`.
fn folded(line: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    let (blanks, words) = line.split_at(line.len() - line.trim_start().len());
    for word in words.split(' ') {
        let length = word.chars().count();
        if column == 0 {
            text.push_str(blanks);
            column = blanks.len();
        } else if column + 1 + length > WIDTH && !word.is_empty() {
            text.push('\n');
            text.push_str(indent);
            column = indent.len();
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_verdict_and_groups_come_in_order() {
        let report = Report::new(
            About::default(),
            vec![
                Finding::warning(Group::Disk, "a", "x").because("y").mend("z"),
                Finding::fine(Group::Cameras, "b", "x"),
            ],
        );
        assert_eq!((report.verdict, report.verdict.exit_code()), (Severity::Warning, 1));
        assert_eq!(report.findings[0].group, Group::Cameras);
        let words = report.words();
        assert!(words.contains("\nDisk\n  warning  x\n           why: y\n           mend: z\n"), "{words}");
        assert!(words.ends_with("\nNothing is broken; 1 warning.\n"), "{words}");
        assert_eq!(Report::new(About::default(), Vec::new()).verdict.exit_code(), 0);
    }

    #[test]
    fn long_lines_are_folded_at_blanks_and_commands_are_not() {
        let long = "word ".repeat(40);
        let folded = folded(&format!("  ok       {}", long.trim()), INDENT);
        assert!(folded.lines().count() == 3 && folded.lines().all(|line| line.len() <= WIDTH), "{folded}");
        let finding = Finding::broken(Group::Disk, "a", "x").mend(long.trim());
        let words = Report::new(About::default(), vec![finding]).words();
        assert!(words.contains(long.trim()), "{words}");
    }
}
