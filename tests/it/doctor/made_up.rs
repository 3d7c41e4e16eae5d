//! A box made of a table: its files in a directory, and the answers that no file gives.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use portald::doctor::live::{Encoder, End, Live, Look, Looked, Node, Space, Word};
use toml::{Table, Value};

/// One box; its directory goes with it.
pub(super) struct MadeUp {
    root: PathBuf,
    table: Table,
}

/// `base` with what `other` has: tables are merged, `false` takes out, all else replaces.
pub(super) fn merged(mut base: Table, other: Table) -> Table {
    for (key, value) in other {
        match (base.remove(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => drop(base.insert(key, merged(old, new).into())),
            // What a box is not, such as `synchronized = false`, is a fact and not a gap.
            (_, Value::Boolean(false))
                if !["works", "present", "keyframe_on_request", "synchronized"].contains(&key.as_str()) => {}
            (_, value) => drop(base.insert(key, value)),
        }
    }
    base
}

impl MadeUp {
    pub(super) fn new(name: &str, table: Table) -> Self {
        let number = std::thread::current().id();
        let root =
            std::env::temp_dir().join(format!("portald-doctor-{name}-{}-{number:?}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let made = Self { root, table };
        for (path, text) in made.all("files") {
            let place = made.place(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text.as_str().unwrap().trim_start_matches('\n')).unwrap();
        }
        for (path, target) in made.all("links") {
            let (place, target) = (made.place(path), target.as_str().unwrap());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            // What a process has open is named as it is; other links lead to places in this tree.
            let is_literal = path.starts_with("/proc/");
            symlink(if is_literal { target.into() } else { made.place(target) }, place).unwrap();
        }
        made
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn all(&self, table: &str) -> impl Iterator<Item = (&str, &Value)> {
        let table = self.table.get(table).and_then(Value::as_table);
        table.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        let (last, tables) = path.split_last()?;
        tables.iter().try_fold(&self.table, |table, name| table.get(*name)?.as_table())?.get(*last)
    }

    fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    fn listed(&self, table: &str, key: &str) -> Vec<String> {
        let list = self.at(&[table, key]).and_then(Value::as_array);
        list.into_iter().flatten().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    /// The number of a user or group in the made-up files.
    fn number(&self, file: &str, name: &str) -> u32 {
        let text = fs::read_to_string(self.place(file)).unwrap();
        let line = text.lines().find(|line| line.split(':').next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} is not in {file}")).split(':').nth(2).unwrap().parse().unwrap()
    }

    fn gstreamer(&self) -> Vec<Word> {
        let version = self.text(&["gstreamer", "version"]).unwrap_or("1.22.0").to_owned();
        let elements = self.all("elements").map(|(name, what)| {
            let mut parts = what.as_str().unwrap().split(' ');
            let (package, needed) = (parts.next().unwrap().to_owned(), parts.next().unwrap());
            let (required, version) = (needed == "needed", parts.next().map(str::to_owned));
            Word::Element { name: name.to_owned(), package, required, version }
        });
        std::iter::once(Word::Gstreamer { version }).chain(elements).collect()
    }

    fn cameras(&self, nodes: impl Iterator<Item = PathBuf>) -> Vec<Word> {
        let (mut words, mut ribbon) = (Vec::new(), Vec::new());
        for node in nodes {
            words.push(Word::Opening(node.clone()));
            let name = node.to_str().unwrap().to_owned();
            let of = |key: &str| self.at(&["camera", &name, key]);
            if let Some(said) = of("refused") {
                words.push(Word::Refused { node: node.clone(), words: said.as_str().unwrap().to_owned() });
            } else if of("hangs").is_none() {
                let modes = of("modes").and_then(Value::as_integer).unwrap_or(0) as usize;
                let choice = of("choice").map(|choice| choice.as_str().unwrap().to_owned());
                let megabits = of("megabits").and_then(Value::as_integer).map(|n| n as u32);
                words.push(Word::Opened { node: node.clone(), modes, choice, megabits });
            }
            if of("ribbon").is_some() {
                ribbon.push(Word::Ribbon(node));
            }
        }
        words.append(&mut ribbon);
        words
    }

    fn encoders(&self) -> Vec<Word> {
        let mut words = Vec::new();
        for (name, table) in self.all("encoder") {
            words.push(Word::Trying(name.to_owned()));
            let is = |key: &str, otherwise| table.get(key).and_then(Value::as_bool).unwrap_or(otherwise);
            if is("hangs", false) {
                return words;
            }
            let present = is("present", true);
            let text = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
            words.push(Word::Encoder(Encoder {
                name: name.to_owned(),
                codec: text("codec").unwrap(),
                rank: table["rank"].as_integer().unwrap() as u32,
                package: text("package"),
                present,
                trial: text("trial"),
                works: present && is("works", true),
                keyframe_on_request: is("keyframe_on_request", true),
                speed: table.get("speed").and_then(Value::as_float).unwrap_or(0.0),
            }));
        }
        words
    }
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Live for MadeUp {
    fn node(&self, path: &Path) -> Option<Node> {
        let text = self.text(&["nodes", path.to_str()?]).or_else(|| {
            // What is only a file of the tree belongs to root.
            let found = fs::metadata(self.place(path.to_str()?)).ok()?;
            Some(if found.is_dir() { "root:root 755" } else { "root:root 644" })
        })?;
        let (owner, mode) = text.split_once(' ').unwrap();
        let (user, group) = owner.split_once(':').unwrap();
        let (uid, gid) = (self.number("/etc/passwd", user), self.number("/etc/group", group));
        Some(Node { uid, gid, mode: u32::from_str_radix(mode, 8).unwrap() })
    }

    fn is_hidden(&self, path: &Path) -> bool {
        self.listed("live", "hidden").iter().any(|hidden| Path::new(hidden) == path)
    }

    fn may_use(&self, _: &Path) -> bool {
        false // the bits tell
    }

    fn space(&self, path: &Path) -> Option<Space> {
        let text = path.ancestors().find_map(|above| self.text(&["live", "space", above.to_str()?]))?;
        let free = text.split(' ').next().unwrap().parse::<u64>().unwrap() * 1024 * 1024;
        Some(Space { free, read_only: text.contains("read-only") })
    }

    fn now(&self) -> u64 {
        self.at(&["live", "now"]).and_then(Value::as_integer).unwrap() as u64
    }

    fn is_synchronized(&self) -> Option<bool> {
        self.at(&["live", "synchronized"])?.as_bool()
    }

    fn addresses(&self) -> Vec<(String, IpAddr)> {
        let pair = |text: String| {
            let (name, ip) = text.split_once(' ').unwrap();
            (name.to_owned(), ip.parse().unwrap())
        };
        self.listed("live", "addresses").into_iter().map(pair).collect()
    }

    fn listen(&self, address: SocketAddr) -> io::Result<()> {
        match self.at(&["live", "taken", &address.to_string()]) {
            Some(number) => Err(io::Error::from_raw_os_error(number.as_integer().unwrap() as i32)),
            None => Ok(()),
        }
    }

    fn ask(&self, _: SocketAddr, path: &str) -> Result<(u16, String), String> {
        let text = self.text(&["live", "answers", path]).unwrap();
        match text.split_once(' ').and_then(|(code, body)| Some((code.parse().ok()?, body))) {
            Some((code, body)) => Ok((code, body.to_owned())),
            None => Err(text.to_owned()),
        }
    }

    fn look(&self, look: &Look) -> Looked {
        let (name, words) = match look {
            Look::Gstreamer => ("gstreamer", self.gstreamer()),
            Look::Cameras(nodes) => ("cameras", self.cameras(nodes.keys().cloned())),
            Look::Encoders => ("encoders", self.encoders()),
        };
        let end = match self.at(&["end", name]) {
            None => End::Done,
            Some(Value::Integer(seconds)) => End::Late(*seconds as u64),
            Some(why) => {
                return Looked { words: Vec::new(), end: End::Failed(why.as_str().unwrap().to_owned()) };
            }
        };
        let words = match (self.text(&["fault", name, "what"]), self.text(&["fault", name, "hint"])) {
            (Some(what), Some(hint)) => vec![Word::Fault { what: what.to_owned(), hint: hint.to_owned() }],
            _ => words,
        };
        Looked { words, end }
    }
}
