//! Where templates are read from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{ENDING, MAX_FILE, Problem, TemplateError};

/// The templates in a directory, by name; a directory that is not there has none.
pub(super) fn files_in(dir: &Path) -> Result<BTreeMap<String, PathBuf>, TemplateError> {
    let fail = |error| TemplateError::new(dir, 1, Problem::Read(error));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Editors leave hidden files and copies with other endings behind.
        if let Some(name) = name.strip_suffix(ENDING).filter(|name| !name.starts_with('.')) {
            files.insert(name.to_owned(), path.clone());
        }
    }
    Ok(files)
}

/// A template file's text.
pub(super) fn read(file: &Path) -> Result<String, TemplateError> {
    let fail = |problem| TemplateError::new(file, 1, problem);
    let size = fs::metadata(file).map_err(|error| fail(Problem::Read(error)))?.len();
    if size > MAX_FILE {
        return Err(fail(Problem::TooLarge));
    }
    fs::read_to_string(file).map_err(|error| fail(Problem::Read(error)))
}
