//! What fuzzing keeps, replayed: each file of `fuzz/corpus` and `fuzz/regressions` through the target it is for.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// The most that the kept inputs may take, in bytes: they are in every clone.
const MAX_CORPUS: u64 = 300_000;

#[test]
fn inputs_that_were_kept_break_no_promise() {
    let mut total = 0;
    for (name, run) in targets::TARGETS {
        let kept = ["corpus", "regressions"].map(|kind| files(&Path::new("fuzz").join(kind).join(name)));
        assert!(kept[0].len() >= 10, "fuzz/corpus/{name} has only {} files", kept[0].len());
        for file in kept.concat() {
            let data = fs::read(&file).unwrap();
            total += data.len() as u64;
            if std::panic::catch_unwind(|| run(&data)).is_err() {
                panic!("{}: see above; `make fuzz` says how to run it alone", file.display());
            }
        }
    }
    assert!(total < MAX_CORPUS, "fuzz/corpus and fuzz/regressions have {total} bytes: `make fuzz-min`");
}

/// The files of a directory; none when it is not there.
fn files(directory: &Path) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
