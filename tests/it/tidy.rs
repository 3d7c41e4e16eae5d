//! What no compiler checks: who uses whom, how long files get, and whether the documents tell the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file without its tests, in lines: what one can read in one sitting.
const MAX_LINES: usize = 400;
/// `main.rs` only wires.
const MAX_MAIN: usize = 80;
/// Files over [`MAX_LINES`], each with its own bound and the reason.
const LONG: [(&str, usize, &str); 0] = [];
/// What the pure part may not touch: time, threads, files and the process.
const IMPURE: [&str; 8] = [
    "std::time::SystemTime",
    "std::thread",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::net::TcpStream",
    "std::net::UdpSocket",
];
/// Paths that README names and that only exist once something was built or run.
const GENERATED: [&str; 3] = ["target/", "benches/out", "fuzz/artifacts"];

#[test]
fn modules_use_only_what_architecture_md_says() {
    let table = table_of_uses();
    let crates = dependencies();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (file, text) in sources() {
        let module = module_of(&file);
        let unit = module.first().cloned().unwrap_or_else(|| "main".into());
        if file == Path::new("src/lib.rs") {
            continue; // a list of modules
        }
        let Some(allowed) = table.get(&unit) else {
            wrong.push(format!("{}: ARCHITECTURE.md has no row for `{unit}`", file.display()));
            continue;
        };
        for path in paths(&tokens(&text)) {
            let Some(target) = target(&path, &module, &crates) else { continue };
            let target = target.join("::");
            let is_prefix = |entry: &&String| target == **entry || target.starts_with(&format!("{entry}::"));
            match allowed.iter().filter(is_prefix).max_by_key(|entry| entry.len()) {
                Some(entry) => drop(used.insert((unit.clone(), entry.clone()))),
                None => wrong.push(format!("{}: `{unit}` may not use `{target}`", file.display())),
            }
        }
    }
    for (unit, entries) in table {
        let unused = entries.into_iter().filter(|entry| !used.contains(&(unit.clone(), entry.clone())));
        wrong.extend(unused.map(|entry| format!("ARCHITECTURE.md: `{unit}` does not use `{entry}`")));
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rules_are_pure() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if !file.starts_with("src/proto") {
            continue;
        }
        let tokens = tokens(&text);
        for path in paths(&tokens).iter().map(|path| path.join("::")) {
            if path == "Instant::now" || IMPURE.iter().any(|impure| path.starts_with(impure)) {
                wrong.push(format!("{}: `{path}` is no business of a state machine", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_short() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        let exception = LONG.iter().find(|(long, ..)| file == Path::new(long));
        let limit = match exception {
            _ if file == Path::new("src/main.rs") => MAX_MAIN,
            Some((_, limit, _)) => *limit,
            None => MAX_LINES,
        };
        if lines > limit {
            wrong.push(format!("{}: {lines} lines without tests, {limit} are allowed", file.display()));
        }
        if exception.is_some() && lines <= MAX_LINES {
            wrong.push(format!("{}: no longer needs its place in LONG", file.display()));
        }
    }
    let gone = LONG.iter().filter(|(file, ..)| !root().join(file).exists());
    wrong.extend(gone.map(|(file, ..)| format!("{file}: is gone; remove it from LONG")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documents_link_to_what_exists() {
    let top = top_directories();
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = read(document);
        let links = between(&text, "](", ")").into_iter().filter(|link| !link.contains("://"));
        let files = links.map(|link| link.split('#').next().unwrap_or_default().to_owned());
        let spans = between(&without_blocks(&text), "`", "`").into_iter().filter(|span| is_path(span, &top));
        let missing: Vec<_> =
            files.chain(spans).filter(|path| !path.is_empty() && !root().join(path).exists()).collect();
        assert!(missing.is_empty(), "{document} names what is not there: {missing:?}");
    }
    let headings = anchors(&read("README.md"));
    let unknown: Vec<_> = between(&read("README.md"), "](#", ")")
        .into_iter()
        .filter(|anchor| !headings.contains(anchor))
        .collect();
    assert!(unknown.is_empty(), "README.md links to headings it does not have: {unknown:?}");
}

#[test]
fn every_make_command_of_the_readme_exists() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.contains(":="))
        .filter_map(|line| line.split_once(':').map(|(name, _)| name))
        .collect();
    let readme = read("README.md");
    let lines = readme.lines().filter(|line| line.starts_with("make ")).map(str::to_owned);
    let spans =
        between(&without_blocks(&readme), "`", "`").into_iter().filter(|span| span.starts_with("make "));
    let named: Vec<String> = lines.chain(spans).collect();
    assert!(
        named.first().is_some_and(|line| line.starts_with("make demo"))
            && named.get(1).is_some_and(|line| line.starts_with("make test")),
        "README.md begins with the two commands: {named:?}"
    );
    for line in named {
        let command = line.split('#').next().unwrap_or_default();
        for target in command.split_whitespace().skip(1) {
            assert!(targets.contains(target), "README.md: `{line}`: the Makefile has no `{target}`");
        }
    }
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let example = between(&read("README.md"), "```toml\n", "```").concat();
    let file = std::env::temp_dir().join(format!("portald-readme-{}.toml", std::process::id()));
    fs::write(&file, example).unwrap();
    let settings = portald::config::load_with(Some(&file), []);
    fs::remove_file(&file).unwrap();
    let settings = settings.unwrap_or_else(|error| panic!("README.md: {error}"));
    assert!(settings.cameras.len() >= 2, "{settings:?}");
}

/// Troubleshooting is found by the message a user sees, so each heading must be one that the code can print;
/// `…` stands for what varies.
#[test]
fn troubleshooting_headings_are_messages_of_the_code() {
    let code: String = files_under("src", "rs").iter().chain(&files_under("web", "js")).map(read).collect();
    let readme = read("README.md");
    let section = section(&readme, "## Troubleshooting");
    let headings: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(headings.len() >= 8, "only {} headings", headings.len());
    for heading in headings {
        let messages = between(heading, "`", "`");
        assert!(!messages.is_empty(), "`{heading}` is no message");
        for fragment in messages.iter().flat_map(|message| message.split('…')).map(str::trim) {
            assert!(code.contains(fragment), "README.md: no code says `{fragment}`");
        }
    }
}

#[test]
fn the_limits_in_architecture_md_exist() {
    let text = read("ARCHITECTURE.md");
    let rows = rows(section(&text, "## Limits"));
    assert!(rows.len() > 20, "only {} limits", rows.len());
    for row in rows {
        let place = row.get(2).unwrap_or_else(|| panic!("too short: {row:?}"));
        let spans = between(place, "`", "`");
        let (file, names) = spans.split_last().unwrap_or_else(|| panic!("no file: {row:?}"));
        let code = read(file);
        for name in names {
            let last = name.rsplit("::").next().unwrap_or(name);
            assert!(
                tokens(&code).iter().any(|token| token == last),
                "ARCHITECTURE.md: {file} has no `{name}`"
            );
        }
    }
}

#[test]
fn the_negotiation_is_drawn_as_it_is() {
    let edges = |text: &str, from: &str, arrow: &str, label: &str| -> BTreeSet<(String, String, String)> {
        let tidy = |part: &str| part.trim_matches([' ', '"', ']', ';', '[']).replace('_', "-");
        let edge = |line: &str| {
            let (source, rest) = line.trim().strip_prefix(from)?.split_once(arrow)?;
            let (target, inputs) = rest.split_once(label)?;
            Some((tidy(source), tidy(target), tidy(inputs)))
        };
        text.lines().filter_map(edge).collect()
    };
    let dot = edges(&read("src/proto/negotiation.dot"), "\"", "->", "[label=");
    let document = read("ARCHITECTURE.md");
    let drawn = edges(section(&document, "## The negotiation"), "", "-->", ": ");
    assert!(dot.len() > 8, "only {} edges in the .dot", dot.len());
    let drawn: BTreeSet<_> = drawn.into_iter().filter(|(from, ..)| !from.contains('*')).collect();
    assert_eq!(dot, drawn, "negotiation.dot (left) and ARCHITECTURE.md (right) differ");
}

#[test]
fn every_dependency_says_what_for() {
    let manifest = read("Cargo.toml");
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && line.contains('=') {
            assert!(line.contains(" # "), "Cargo.toml: no comment says what this is for: {line}");
        }
    }
    assert!(manifest.contains("[dependencies]"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files with this ending below `directory`, by path from the root.
fn files_under(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The source files that are not tests, each without the tests at its end.
fn sources() -> Vec<(PathBuf, String)> {
    let files: Vec<(PathBuf, String)> =
        files_under("src", "rs").into_iter().map(|file| (file.clone(), read(file))).collect();
    assert!(files.len() > 30, "only {} files in src", files.len());
    let tests: BTreeSet<Vec<String>> = files
        .iter()
        .flat_map(|(file, text)| {
            let declared = between(text, "#[cfg(test)]\nmod ", ";").into_iter();
            declared.filter(|name| !name.contains(' ')).map(|name| [module_of(file), vec![name]].concat())
        })
        .collect();
    let without_tests = |text: String| match text.find("#[cfg(test)]\nmod tests {") {
        Some(end) => text[..end].to_owned(),
        None => text,
    };
    files
        .into_iter()
        .filter(|(file, _)| !tests.contains(&module_of(file)))
        .map(|(file, text)| (file, without_tests(text)))
        .collect()
}

/// `src/a/b.rs` is `a::b`.
fn module_of(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let parts = parts.iter().skip(1).map(|part| part.to_str().unwrap().to_owned());
    parts.filter(|part| !["lib", "main", "mod"].contains(&part.as_str())).collect()
}

/// The table of ARCHITECTURE.md: what each module may use, of ours and of others.
fn table_of_uses() -> BTreeMap<String, Vec<String>> {
    let text = read("ARCHITECTURE.md");
    let rows = rows(section(&text, "## Who may use whom"));
    assert!(rows.len() > 10, "only {} rows", rows.len());
    rows.iter()
        .map(|row| (between(&row[0], "`", "`").concat(), between(&row[1..].join(" "), "`", "`")))
        .collect()
}

/// The crates of Cargo.toml as code names them.
fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let names = manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_"));
    names.chain(["portald".to_owned()]).collect()
}

/// What a path in `module` leads to: another module of ours or another crate. `None`: the module's own things, or std.
fn target(path: &[String], module: &[String], crates: &BTreeSet<String>) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let ours = match path[0].as_str() {
        "crate" => path[1..].to_vec(),
        "super" => [&module[..module.len().saturating_sub(supers)], &path[supers..]].concat(),
        other => return crates.contains(other).then(|| path.to_vec()),
    };
    (!ours.is_empty() && ours.first() != module.first()).then_some(ours)
}

/// Names, `::` and single characters of Rust code; no comments, texts or lifetimes.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let raw = rest.strip_prefix('r').map(|text| (text, text.len() - text.trim_start_matches('#').len()));
        rest = if rest.starts_with("//") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if let Some((text, hashes)) = raw.filter(|(text, n)| text[*n..].starts_with('"')) {
            let end = format!("\"{}", "#".repeat(hashes));
            text[hashes + 1..].split_once(&end).map_or("", |(_, rest)| rest)
        } else if c == '"' {
            after_text(&rest[1..])
        } else if c == '\'' {
            after_quote(&rest[1..])
        } else if let Some(rest) = rest.strip_prefix("::") {
            tokens.push("::".into());
            rest
        } else if is_word(c) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(rest[..end].into());
            &rest[end..]
        } else {
            if !c.is_whitespace() {
                tokens.push(c.into());
            }
            &rest[c.len_utf8()..]
        };
    }
    tokens
}

/// What follows a text whose first quote is already read.
fn after_text(rest: &str) -> &str {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' if !escaped => return &rest[at + 1..],
            _ => escaped = c == '\\' && !escaped,
        }
    }
    ""
}

/// What follows a character or the begin of a lifetime, whose quote is already read.
fn after_quote(rest: &str) -> &str {
    let mut chars = rest.char_indices();
    let first = chars.next();
    match (first, chars.next()) {
        (Some((_, '\\')), Some((_, c))) => {
            rest[1 + c.len_utf8()..].split_once('\'').map_or("", |(_, rest)| rest)
        }
        (Some(_), Some((at, '\''))) => &rest[at + 1..],
        _ => rest,
    }
}

/// Every path of the code, `use` trees spread out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map(|before| tokens[before].as_str());
        if is_name(&tokens[at]) && before != Some(".") {
            let used = before == Some("use");
            at = tree(tokens, at, Vec::new(), used, &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads a path or a tree of paths from `at` on; returns where it ends.
fn tree(
    tokens: &[String],
    mut at: usize,
    mut path: Vec<String>,
    used: bool,
    found: &mut Vec<Vec<String>>,
) -> usize {
    loop {
        path.push(tokens[at].clone());
        at += 1;
        let next = |ahead: usize| tokens.get(at + ahead).map(String::as_str);
        match (next(0), next(1)) {
            (Some("::"), Some("{")) => {
                at += 2;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = match tokens[at].as_str() {
                        "as" => at + 2,
                        name if is_name(name) => tree(tokens, at, path.clone(), true, found),
                        _ => at + 1,
                    };
                }
                return at + 1;
            }
            (Some("::"), Some(name)) if is_name(name) => at += 1,
            _ => {
                if path.len() > 1 || used {
                    found.push(path);
                }
                return at;
            }
        }
    }
}

fn is_name(token: &str) -> bool {
    token != "use" && token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// What stands between `begin` and the next `end`, each time.
fn between(text: &str, begin: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((inside, after)) = rest.split_once(begin).and_then(|(_, inside)| inside.split_once(end)) {
        found.push(inside.to_owned());
        rest = after;
    }
    found
}

/// A document without its fenced blocks.
fn without_blocks(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// A document's part below `heading`, up to the next of the same level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}")).unwrap_or_else(|| panic!("no `{heading}`"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The rows of the tables in a section, without their heads.
fn rows(section: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let is_row = |line: &&str| line.starts_with("| ") && line.contains('`');
    section.lines().filter(is_row).map(cells).collect()
}

/// Whether a code span is a path of this repository.
fn is_path(span: &str, top: &BTreeSet<String>) -> bool {
    let is_plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let is_ours = span.split_once('/').is_some_and(|(first, _)| top.contains(first));
    is_plain && is_ours && !GENERATED.iter().any(|generated| span.starts_with(generated))
}

fn top_directories() -> BTreeSet<String> {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let directories = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    directories.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The anchors that GitHub makes of a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let plain = |heading: &str| -> String {
        let kept = heading.trim_start_matches(['#', ' ']).to_lowercase();
        kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect()
    };
    headings.map(|heading| plain(heading).replace(' ', "-")).collect()
}

#[test]
fn paths_are_found_in_code_and_not_in_texts() {
    let code = r##"
        use ::log::Level; use gst as g; use crate::{a::{self, B as X}, c};
        // crate::comment::x
        fn f<'a>(x: &'a str) { warp::ws(); x.tokio::<u8>(); let c = '"'; "serde::text"; r#"uuid::"#; super::d::e('\''); }
    "##;
    let found: Vec<String> = paths(&tokens(code)).iter().map(|path| path.join("::")).collect();
    let expected =
        ["log::Level", "gst", "crate::a::self", "crate::a::B", "crate::c", "warp::ws", "super::d::e"];
    assert_eq!(found, expected);
}
