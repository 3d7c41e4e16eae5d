//! Debian's copyright file (DEP-5): a paragraph for each crate that is compiled in, from what the crates say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// Licences as SPDX names them, the most convenient first, and Debian's name for each. Where a crate leaves the choice, the
/// first is taken. Each needs its text in the template.
const LICENSES: [(&str, &str); 9] = [
    ("MIT", "Expat"),
    ("BSD-2-Clause", "BSD-2-Clause"),
    ("BSD-3-Clause", "BSD-3-Clause"),
    ("ISC", "ISC"),
    ("Zlib", "Zlib"),
    ("Apache-2.0", "Apache-2.0"),
    ("Unicode-3.0", "Unicode-3.0"),
    ("Apache-2.0 WITH LLVM-exception", "Apache-2.0-with-LLVM-exception"),
    ("MPL-2.0", "MPL-2.0"),
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    authors: Vec<String>,
    manifest_path: String,
}

/// The file: the template, which has the words of every licence, and between its halves the crates.
///
/// # Errors
/// A crate without a licence, or with one whose text the template does not have.
pub(crate) fn file(template: &str) -> anyhow::Result<String> {
    let (head, texts) = template.split_once("\n%CRATES%\n").context("the template has no line %CRATES%")?;
    let mut paragraphs = String::new();
    for package in compiled_in()? {
        let Package { name, version, license, .. } = &package;
        let license = license.as_deref().with_context(|| format!("{name} names no licence"))?;
        let chosen = debian(license).with_context(|| format!("{name}: {license}"))?;
        for each in chosen.split(" and ") {
            ensure!(
                texts.contains(&format!("\nLicense: {each}\n")),
                "{name}: packaging/deb/copyright.in has no text of {each}"
            );
        }
        let holders = holders(&package).join("\n ");
        paragraphs.push_str(&format!(
            "\nFiles: {name}-{version}/*\nCopyright: {holders}\nLicense: {chosen}\nComment: https://crates.io/crates/{name}\n"
        ));
    }
    Ok(format!("{head}\n{paragraphs}\n{texts}"))
}

/// The crates that the program is made of, on either architecture: those it depends on, not those that only help to build or
/// to test it.
fn compiled_in() -> anyhow::Result<Vec<Package>> {
    let [amd64, arm64] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
    let tree = cargo(&[
        "tree", "--locked", "--edges", "normal", "--target", amd64, "--target", arm64, "--prefix", "none",
    ])?;
    let used: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?.strip_prefix('v')?))
        })
        .filter(|(name, _)| *name != "portald")
        .collect();
    let metadata: Metadata =
        serde_json::from_str(&cargo(&["metadata", "--locked", "--format-version", "1"])?)?;
    let mut packages: BTreeMap<(String, String), Package> = BTreeMap::new();
    for package in metadata.packages {
        if used.contains(&(package.name.as_str(), package.version.as_str())) {
            packages.insert((package.name.clone(), package.version.clone()), package);
        }
    }
    ensure!(packages.len() == used.len(), "cargo's tree and its metadata differ");
    Ok(packages.into_values().collect())
}

fn cargo(arguments: &[&str]) -> anyhow::Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The copyright lines of a crate's licence files; else its authors.
fn holders(package: &Package) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let directory = Path::new(&package.manifest_path).parent().map(fs::read_dir);
    let mut files: Vec<_> =
        directory.into_iter().flatten().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if !["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"]
            .iter()
            .any(|begin| name.starts_with(begin))
        {
            continue;
        }
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            if let Some(holder) = holder(line).filter(|holder| !found.contains(holder)) {
                found.push(holder);
            }
        }
    }
    if found.is_empty() {
        found.extend(package.authors.iter().cloned());
    }
    if found.is_empty() {
        found.push(format!("the authors of {}", package.name));
    }
    found
}

/// `Copyright (c) 2014-2026 Somebody` is `2014-2026 Somebody`; `[yyyy]` and sentences about copyright are nobody.
fn holder(line: &str) -> Option<String> {
    let line = line.trim_start_matches(['/', '#', '*', ' ', '\t']).trim();
    let rest = line.strip_prefix("Copyright ")?;
    let rest = ["(c)", "(C)", "©"].iter().find_map(|sign| rest.strip_prefix(sign)).unwrap_or(rest).trim();
    let begins_with_year = rest.get(..4).is_some_and(|year| year.bytes().all(|b| b.is_ascii_digit()));
    let named = rest.starts_with("The ") || rest.starts_with("the ");
    (begins_with_year || named).then(|| rest.trim_end_matches(" All rights reserved.").to_owned())
}

/// The licences that a crate's SPDX expression asks for, where it leaves a choice the most convenient ones.
fn debian(expression: &str) -> anyhow::Result<String> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let chosen = either(&words, &mut at)?.context("none of its licences is known")?;
    ensure!(at == words.len(), "not an expression");
    Ok(chosen.into_iter().map(|rank| LICENSES[rank].1).collect::<Vec<_>>().join(" and "))
}

/// Ranks of licences that all apply; none: one of them is not known.
type Chosen = Option<BTreeSet<usize>>;

fn either(words: &[&str], at: &mut usize) -> anyhow::Result<Chosen> {
    let mut best = all(words, at)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        let other = all(words, at)?;
        let worst = |chosen: &BTreeSet<usize>| chosen.last().copied();
        best = match (best, other) {
            (Some(one), Some(other)) => Some(if worst(&other) < worst(&one) { other } else { one }),
            (one, other) => one.or(other),
        };
    }
    Ok(best)
}

fn all(words: &[&str], at: &mut usize) -> anyhow::Result<Chosen> {
    let mut together = one(words, at)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        let other = one(words, at)?;
        together = together.zip(other).map(|(mut one, other)| {
            one.extend(other);
            one
        });
    }
    Ok(together)
}

fn one(words: &[&str], at: &mut usize) -> anyhow::Result<Chosen> {
    let word = *words.get(*at).context("an expression ends too early")?;
    *at += 1;
    if word == "(" {
        let inside = either(words, at)?;
        ensure!(words.get(*at) == Some(&")"), "a bracket is not closed");
        *at += 1;
        return Ok(inside);
    }
    let mut name = word.to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{word} WITH {}", words.get(*at + 1).context("an expression ends too early")?);
        *at += 2;
    }
    Ok(LICENSES.iter().position(|(spdx, _)| *spdx == name).map(|rank| BTreeSet::from([rank])))
}
