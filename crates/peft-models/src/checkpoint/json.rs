//! Reading a JSON file so that a mistake is found at once: file, line and column.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Reads a JSON file into `T`, or into [`serde_json::Value`].
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Json`] with line and column if it is malformed or lacks a field.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(|error| Error::read(path, &error))?;
    if text.trim_ascii().is_empty() {
        return Err(Error::file(path, "the file is empty; fetch it again"));
    }
    serde_json::from_slice(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let (reason, at) = (error.to_string(), format!(" at line {line} column {column}"));
        let reason = reason.strip_suffix(&at).unwrap_or(&reason).to_string();
        Error::Json { path: path.into(), line, column, reason }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Config {
        #[allow(dead_code)]
        hidden_size: usize,
    }

    #[test]
    fn a_mistake_is_found_by_line_and_column() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let message = |text: &str| {
            fs::write(&path, text).unwrap();
            read_json::<Config>(&path).unwrap_err().to_string()
        };
        let text = message("{\n  \"hidden_size\": twelve\n}");
        assert!(text.contains("config.json, line 2, column 19: expected ident;"), "{text}");
        let text = message("{\"hidden_size\": -1}");
        assert!(text.contains("line 1, column 18: invalid value: integer `-1`, expected usize"), "{text}");
        assert!(message("{}").contains("missing field `hidden_size`"));
        assert!(message("{\"hidden_size\"").contains("EOF while parsing"));
        assert!(message(" \n").contains("config.json: the file is empty"));
        fs::remove_file(&path).unwrap();
        assert!(read_json::<Value>(&path).unwrap_err().to_string().contains("config.json: no such file"));
    }
}
