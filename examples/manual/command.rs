//! portald(8), from what `portald --help` says.

use clap::{Arg, Command};

use crate::roff::Page;

/// What is not in the program's help: everything else it has to do with.
const FILES: [(&str, &str); 6] = [
    ("/etc/portald/portald.toml", "The configuration, portald.toml(5)."),
    (
        "/etc/portald/pipelines/",
        "GStreamer pipelines of this box: each file stands for the one with the same name in the next directory.",
    ),
    ("/usr/share/portald/pipelines/", "Those of the package."),
    ("/var/lib/portald/", "The certificate that portald made for itself."),
    ("/var/cache/portald/", "Verdicts on encoders, and GStreamer's list of plug-ins. May be deleted."),
    ("/usr/share/doc/portald/README.md", "The whole documentation."),
];
const SIGNALS: [(&str, &str); 2] = [
    (
        "SIGHUP",
        "Reads again what can change while running; what is wrong with it is logged and changes nothing.",
    ),
    ("SIGTERM, SIGINT", "End in order within 5 s; the second one at once."),
];
const EXIT: [(&str, &str); 3] = [
    ("0", "It did what it was asked to."),
    ("1", "It did not; the last lines on standard error say why, and what to do."),
    ("78", "`portald run` cannot use the configuration. systemd does not start it again."),
];

/// The page.
#[must_use]
pub(crate) fn page(mut command: Command, version: &str) -> String {
    command.build();
    let about = told(command.get_about());
    let mut page = Page::new("portald", 8, version);
    page.section("NAME").paragraph(&format!("portald - {}", about.trim_end_matches('.')));
    page.section("SYNOPSIS");
    for each in visible(&command) {
        let words: Vec<String> = own(each).map(|arg| format!("[{}]", usage(arg))).collect();
        page.paragraph(format!("`portald {}` {}", each.get_name(), words.join(" ")).trim());
    }
    page.section("DESCRIPTION").paragraph(&about).paragraph(
        "Each camera is opened once and encoded once, whatever the number of viewers, and only while somebody watches. The \
         wall is at http://BOX:8080/ unless portald.toml(5) says otherwise. As a service it is started with `systemctl start portald`; \
         its log is in `journalctl -u portald`.",
    );
    page.section("COMMANDS");
    for each in visible(&command) {
        page.subsection(each.get_name()).paragraph(&told(each.get_about()));
        for arg in own(each) {
            page.item(&usage(arg), &told(arg.get_help()));
        }
    }
    page.section("OPTIONS");
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        page.item(&usage(arg), &told(arg.get_help()));
    }
    for (heading, items) in [("EXIT STATUS", &EXIT[..]), ("SIGNALS", &SIGNALS), ("FILES", &FILES)] {
        page.section(heading);
        for (term, text) in items {
            page.item(term, text);
        }
    }
    page.section("ENVIRONMENT").paragraph(
        "`PORTALD_`TABLE`__`KEY stands for a key of portald.toml(5) and wins over the file, such as `PORTALD_SERVER__PATH`.",
    );
    page.section("SEE ALSO").paragraph("portald.toml(5), systemctl(1), journalctl(1), gst-launch-1.0(1)");
    page.finish().to_owned()
}

/// The commands that are for people.
pub(crate) fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|each| !each.is_hide_set() && each.get_name() != "help")
}

/// A command's own options: without those that every command has.
fn own(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help" && arg.get_id() != "version"
    })
}

fn usage(arg: &Arg) -> String {
    let value =
        arg.get_value_names().filter(|_| arg.get_action().takes_values()).map(|names| names[0].to_string());
    let names = [arg.get_short().map(|c| format!("-{c}")), arg.get_long().map(|long| format!("--{long}"))];
    let names: Vec<String> = names.into_iter().flatten().collect();
    match (names.is_empty(), value) {
        (true, value) => value.unwrap_or_default(),
        (false, Some(value)) => format!("{} {value}", names.join(", ")),
        (false, None) => names.join(", "),
    }
}

fn told(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    if text.is_empty() || text.ends_with('.') { text } else { text + "." }
}
