//! A file of one JSON value per line that survives a crash at any moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How much is read at a time in search of the last line's end.
const BLOCK: u64 = 4096;

/// An append-only file of JSON lines.
///
/// A line is handed to the system in one write, so a killed process leaves whole lines, or at worst a torn last one,
/// which [`open`](Self::open) drops. A checkpoint records [`position`](Self::position); a run resumed from it cuts the
/// file there, so that steps that are run again are not listed twice.
#[derive(Debug)]
pub struct JsonLines {
    file: File,
    path: PathBuf,
    position: u64,
}

impl JsonLines {
    /// Opens or creates the file. `keep_bytes` cuts it to that length, `Some(0)` starts it anew, and `None` keeps all
    /// of it; in each case a last line without an end is dropped. A file shorter than `keep_bytes` (someone edited it)
    /// is kept as it is, with a warning in the log.
    ///
    /// # Errors
    ///
    /// Those of the system, with the path in the message.
    pub fn open(path: impl AsRef<Path>, keep_bytes: Option<u64>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        Self::open_at(&path, keep_bytes).map_err(|error| with_path(&path, &error))
    }

    fn open_at(path: &Path, keep_bytes: Option<u64>) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        let keep = keep_bytes.unwrap_or(length).min(length);
        if keep_bytes.is_some_and(|bytes| bytes > length) {
            log::warn!("{}: shorter than the checkpoint says; lines are missing", path.display());
        }
        let position = end_of_last_line(&mut file, keep)?;
        if position < length {
            file.set_len(position)?;
        }
        file.seek(SeekFrom::Start(position))?;
        Ok(Self { file, path: path.to_path_buf(), position })
    }

    /// Appends a value as one line.
    ///
    /// # Errors
    ///
    /// If the line cannot be written, for instance because the disk is full. What was written of it is taken back, so
    /// the file still ends with a whole line and the next write may succeed.
    pub fn write(&mut self, value: &serde_json::Value) -> io::Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(|error| {
            // If even this fails, the next `open` drops the torn line.
            let _ = self.file.set_len(self.position);
            let _ = self.file.seek(SeekFrom::Start(self.position));
            with_path(&self.path, &error)
        })?;
        self.position += line.len() as u64;
        Ok(())
    }

    /// Waits until the disk has the lines: before a checkpoint that records their length.
    ///
    /// # Errors
    ///
    /// Those of the system, with the path in the message.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|error| with_path(&self.path, &error))
    }

    /// The length of the file in bytes, all of them whole lines.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The offset after the last line feed among the first `length` bytes, 0 if there is none.
fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        if let Some(place) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;
    use std::fs;

    #[test]
    fn lines_are_appended_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut lines = JsonLines::open(&path, None).unwrap();
        lines.write(&json!({"step": 1, "loss": 0.5, "text": "a\nb"})).unwrap();
        let text = "{\"step\":1,\"loss\":0.5,\"text\":\"a\\nb\"}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(lines.position(), text.len() as u64);
        drop(lines);
        let mut again = JsonLines::open(&path, None).unwrap();
        again.write(&json!(2)).unwrap();
        again.sync().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{text}2\n"));
    }

    #[rstest]
    #[case::all("1\n2\n3\n", None, "1\n2\n3\n")]
    #[case::to_the_checkpoint("1\n2\n3\n", Some(4), "1\n2\n")]
    #[case::anew("1\n2\n", Some(0), "")]
    #[case::a_torn_line("1\n2\n{\"st", None, "1\n2\n")]
    #[case::cut_within_a_line("1\n2\n{\"step\":3}\n", Some(7), "1\n2\n")]
    #[case::only_a_torn_line("{\"st", None, "")]
    #[case::shorter_than_recorded("1\n", Some(100), "1\n")]
    fn opening_leaves_whole_lines(#[case] before: &str, #[case] keep: Option<u64>, #[case] after: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, before).unwrap();
        let mut lines = JsonLines::open(&path, keep).unwrap();
        assert_eq!(lines.position(), after.len() as u64);
        lines.write(&json!("new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{after}\"new\"\n"));
    }

    #[test]
    fn a_torn_line_may_be_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, format!("1\n{}", "x".repeat(3 * BLOCK as usize))).unwrap();
        assert_eq!(JsonLines::open(&path, None).unwrap().position(), 2);
    }

    #[test]
    fn an_error_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = JsonLines::open(folder.path().join("missing").join("metrics.jsonl"), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("metrics.jsonl"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let mut lines = JsonLines::open("/dev/full", None).unwrap();
        let error = lines.write(&json!(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("/dev/full: "), "{error}");
        assert_eq!(lines.position(), 0);
    }
}
