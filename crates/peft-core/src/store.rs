//! Writing files so that a crash leaves the old one or the new one, never half of either.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes `bytes` to `path` atomically: to a temporary file beside it, flushed to disk, then renamed.
///
/// # Errors
/// [`Error::File`] naming `path`; the temporary file is removed and an existing `path` is untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_at(0, bytes)?;
    file.commit()
}

/// A file that is written piece by piece, in any order, and appears whole or not at all: until it is committed it is a
/// temporary one beside its place, and dropped before that it is removed.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    committed: bool,
}

impl AtomicFile {
    /// Begins the file at `path`.
    ///
    /// # Errors
    /// [`Error::File`] naming `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let file = File::create(&temporary).map_err(|error| Error::io(path, error))?;
        Ok(Self { path: path.to_path_buf(), temporary, file, committed: false })
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// [`Error::File`] naming the path.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let done = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.write_all(bytes));
        done.map_err(|error| Error::io(&self.path, error))
    }

    /// Flushes it to disk and puts it in its place.
    ///
    /// # Errors
    /// [`Error::File`] naming the path; what was there before is untouched.
    pub fn commit(mut self) -> Result<()> {
        let done = self.file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path)).and_then(|()| {
            self.committed = true;
            sync_folder(self.path.parent().unwrap_or(Path::new(".")))
        });
        done.map_err(|error| Error::io(&self.path, error))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes the renames and creations in `folder` durable.
///
/// # Errors
/// Whatever the operating system reports.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Reads a whole file.
///
/// # Errors
/// [`Error::File`] naming it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let missing = dir.path().join("none").join("a.json");
        let error = write_atomic(&missing, b"x").unwrap_err().to_string();
        assert!(error.contains("a.json") && error.contains("no such file"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
