//! Files of a box, below the root directory of this one or of one that a test made up.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most that is read of a file, in bytes. `/var/lib/dpkg/status` of a desktop has 6 MB; all others are small.
const MAX_FILE: u64 = 32 * 1024 * 1024;
/// Most entries of a directory that are looked at. `/proc` has one for each process.
const MAX_NAMES: usize = 65_536;

/// Paths given to it begin with `/`, and are looked up below its root.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where `path` is.
    #[must_use]
    pub fn place(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's content.
    ///
    /// # Errors
    /// What the system said; `InvalidData` when it is larger than 32 MiB.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.place(path))?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it has more than 32 MiB"));
        }
        Ok(bytes)
    }

    /// A file's text without the white space around it; none when it cannot be read.
    #[must_use]
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = self.read(path).ok()?;
        // Strings of the device tree end with a NUL.
        Some(
            String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned(),
        )
    }

    /// A file that holds one number.
    #[must_use]
    pub fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The names in a directory, in order; empty when it cannot be read.
    #[must_use]
    pub fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.place(path)).into_iter().flatten().flatten().take(MAX_NAMES);
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Whether there is something at `path`.
    #[must_use]
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.place(path)).is_ok()
    }

    /// Whether the directory at `path` is there, and may not be listed.
    #[must_use]
    pub fn is_forbidden(&self, path: impl AsRef<Path>) -> bool {
        fs::read_dir(self.place(path)).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// What the link at `path` says.
    #[must_use]
    pub fn link(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        fs::read_link(self.place(path)).ok()
    }

    /// Where `path` leads to when all links are followed, as a path of this tree.
    #[must_use]
    pub fn real(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let root = fs::canonicalize(&self.root).ok()?;
        let real = fs::canonicalize(self.place(path)).ok()?;
        Some(Path::new("/").join(real.strip_prefix(root).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_are_of_the_tree_and_what_is_not_there_is_nothing() {
        let root = std::env::temp_dir().join(format!("portald-tree-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("sys/a")).unwrap();
        fs::write(root.join("sys/a/speed"), "480\n").unwrap();
        symlink("a", root.join("sys/b")).unwrap();
        let tree = Tree::new(&root);
        assert_eq!((tree.number("/sys/b/speed"), tree.number("/sys/c/speed")), (Some(480), None));
        assert_eq!(tree.real("/sys/b/speed"), Some("/sys/a/speed".into()));
        assert_eq!(tree.names("/sys"), ["a", "b"]);
        assert!(tree.has("/sys/b") && !tree.has("/proc") && tree.names("/proc").is_empty());
        fs::remove_dir_all(root).unwrap();
    }
}
