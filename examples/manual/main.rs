//! Writes what the package has besides the program, from the texts that are there anyway: manual pages and shell completions
//! from the program's own help, portald.toml(5) from the comments of the shipped configuration, Debian's changelog and copyright file.
//!
//! `cargo run --example manual -- DIRECTORY [VERSION MAINTAINER DATE]`: without the last three, neither changelog nor copyright file.

mod changelog;
mod command;
mod copyright;
mod roff;
mod settings;

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, bail};
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use portald::cli::Cli;

/// What is installed as /etc/portald/portald.toml.
const SHIPPED: &str = include_str!("../../packaging/portald.toml");
/// Our own part of the copyright file, and the texts of licences.
const COPYRIGHT: &str = include_str!("../../packaging/deb/copyright.in");
const CHANGELOG: &str = include_str!("../../CHANGELOG.md");

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (directory, signature) = match arguments.as_slice() {
        [directory] => (directory, None),
        [directory, version, maintainer, date] => {
            (directory, Some(changelog::Signature { version, maintainer, date }))
        }
        _ => bail!("usage: manual DIRECTORY [VERSION MAINTAINER DATE]"),
    };
    let directory = PathBuf::from(directory);
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let version = env!("CARGO_PKG_VERSION");
    let mut files = vec![
        ("portald.8", command::page(Cli::command(), version)),
        ("portald.toml.5", settings::page(SHIPPED, version)),
    ];
    if let Some(signature) = signature {
        files.push(("changelog", changelog::entry(CHANGELOG, &signature)));
        files.push(("copyright", copyright::file(COPYRIGHT)?));
    }
    for (name, text) in files {
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut Cli::command(), "portald", &directory)?;
    }
    Ok(())
}
