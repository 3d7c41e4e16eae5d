//! Says when something under `/dev` changes, so that nobody needs to look again and again.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// How often to look without being told: where the kernel refuses to tell, and in case a word of it is lost.
pub const LOOK: Duration = Duration::from_secs(5);
/// The same where the kernel does not tell.
const LOOK_BLINDLY: Duration = Duration::from_secs(1);
/// Room for the events of one reading; what does not fit is read the next time.
const EVENTS: usize = 4096;

/// Watches paths that need not exist, nor the directories that they are in.
#[derive(Debug)]
pub struct Watcher {
    /// None where the kernel refuses (its limit of inotify instances).
    events: Option<AsyncFd<OwnedFd>>,
    paths: Vec<PathBuf>,
    /// The directories that are watched, by the kernel's number.
    directories: HashMap<i32, PathBuf>,
}

impl Watcher {
    /// Watches `paths`; of one that is a directory, also what is in it. To be called within the runtime.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let made = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        // Deprecated for types that could close their descriptor early, which an OwnedFd cannot; its successor is unsafe.
        #[allow(deprecated)]
        let events = made.and_then(|fd| AsyncFd::new(fd).ok());
        let mut watcher = Self { events, paths, directories: HashMap::new() };
        watcher.watch();
        watcher
    }

    /// Watches other paths from now on.
    pub fn set(&mut self, paths: Vec<PathBuf>) {
        if self.paths != paths {
            *self = Self::new(paths);
        }
    }

    /// Returns when one of the paths came, went, or got other permissions (`true`), or when it is time to look without
    /// being told (`false`).
    pub async fn changed(&mut self) -> bool {
        let Some(events) = &self.events else {
            sleep(LOOK_BLINDLY).await;
            return false;
        };
        let told = tokio::time::timeout(LOOK, relevant(events, &self.directories, &self.paths)).await;
        if told.is_ok() {
            self.watch(); // directories may have come with it
        }
        told.is_ok()
    }

    /// Watches every directory on the way to the paths that is there. Watching one again changes nothing.
    fn watch(&mut self) {
        let Some(events) = &self.events else { return };
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        self.directories.clear();
        for directory in on_the_way(&self.paths) {
            if let Ok(number) = inotify::add_watch(events.get_ref(), directory, flags) {
                self.directories.insert(number, directory.to_owned());
            }
        }
    }
}

/// The paths and the directories that they are in, the outer before the inner: one that is made meanwhile is either told of
/// by the outer, or there when it has its turn. Not the root, which changes for other reasons.
fn on_the_way(paths: &[PathBuf]) -> Vec<&Path> {
    let mut all: Vec<&Path> = paths.iter().flat_map(|path| path.ancestors()).collect();
    all.retain(|path| path.parent().is_some());
    all.sort_by_key(|path| path.components().count());
    all.dedup();
    all
}

/// Waits for an event that concerns one of `paths`.
async fn relevant(events: &AsyncFd<OwnedFd>, directories: &HashMap<i32, PathBuf>, paths: &[PathBuf]) {
    loop {
        let Ok(mut ready) = events.readable().await else { return sleep(LOOK).await };
        let mut room = [MaybeUninit::uninit(); EVENTS];
        let mut reader = Reader::new(events.get_ref(), &mut room);
        let mut concerned = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let directory = directories.get(&event.wd());
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    concerned |= match (directory, name) {
                        (Some(directory), Some(name)) => concerns(&directory.join(name), paths),
                        // The directory itself went, or events were lost.
                        _ => !event.events().contains(ReadFlags::ATTRIB),
                    };
                }
                Err(Errno::AGAIN) => break ready.clear_ready(),
                Err(_) => break,
            }
        }
        if concerned {
            return;
        }
    }
}

fn concerns(changed: &Path, paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| path.starts_with(changed) || changed.parent() == Some(path.as_path()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    /// Waits for a change, which must come by the kernel's word and not by the next look.
    async fn told(watcher: &mut Watcher, what: &str, act: impl FnOnce()) {
        let begun = Instant::now();
        act();
        assert!(watcher.changed().await, "{what} was seen only by looking");
        println!("{what}: told after {:?}", begun.elapsed());
    }

    #[test]
    fn outer_directories_are_watched_before_inner_ones() {
        let paths = [PathBuf::from("/dev/v4l/by-id/usb-x"), PathBuf::from("/dev/video0")];
        let order: Vec<_> = on_the_way(&paths).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(order, ["/dev", "/dev/v4l", "/dev/video0", "/dev/v4l/by-id", "/dev/v4l/by-id/usb-x"]);
    }

    #[tokio::test]
    async fn what_comes_goes_and_changes_is_told_though_no_directory_was_there() {
        let root = std::env::temp_dir().join(format!("portald-hotplug-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        let (by_id, node) = (root.join("v4l/by-id"), root.join("video0"));
        let link = by_id.join("usb-x");
        let mut watcher = Watcher::new(vec![link.clone(), node.clone()]);
        told(&mut watcher, "a directory", || fs::create_dir(root.join("v4l")).unwrap()).await;
        told(&mut watcher, "a directory in it", || fs::create_dir(&by_id).unwrap()).await;
        told(&mut watcher, "a link", || std::os::unix::fs::symlink(&node, &link).unwrap()).await;
        told(&mut watcher, "a node", || fs::write(&node, "").unwrap()).await;
        told(&mut watcher, "permissions", || {
            fs::set_permissions(&node, fs::Permissions::from_mode(0o600)).unwrap();
        })
        .await;
        told(&mut watcher, "a node that goes", || fs::remove_file(&node).unwrap()).await;
        fs::write(root.join("video1"), "").unwrap();
        let other = tokio::time::timeout(Duration::from_millis(300), watcher.changed()).await;
        assert!(!matches!(other, Ok(true)), "another node is none of its business");
        watcher.set(vec![by_id.clone()]);
        told(&mut watcher, "anything in a directory", || fs::write(by_id.join("usb-y"), "").unwrap()).await;
        fs::remove_dir_all(&root).unwrap();
    }
}
