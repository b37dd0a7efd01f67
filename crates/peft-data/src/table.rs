//! Rows and named columns, whatever the file's format.
//!
//! The rest of the crate asks one thing of a file: the value of a column in a row, and where that row stands so
//! that a message can point at it. So every format becomes the same table of texts (numbers and booleans as
//! their text), and only here does the format matter.

mod delimited;
mod json_lines;
mod parquet;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Place, nearest};

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// A text, or a number or boolean as its text.
    Text(String),
    /// A list of them: several labels in one JSON or Parquet row.
    List(Vec<String>),
}

/// How to read delimited text. The other formats describe themselves and take no options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether the first line names the columns; without it they are named `0`, `1`, ...
    pub header: bool,
    /// What stands between columns; by default a comma in `.csv` and a tab in `.tsv` and `.txt`.
    pub delimiter: Option<u8>,
    /// Whether `"` groups a value; by default in `.csv` only, since tab-separated files in the wild (MRPC for
    /// one) hold unbalanced quotes that mean themselves.
    pub quoting: Option<bool>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { header: true, delimiter: None, quoting: None }
    }
}

/// A file's rows by column.
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    columns: Vec<String>,
    /// By row, then by column; `None` is a JSON or Parquet null or an absent key.
    rows: Vec<Vec<Option<Cell>>>,
    places: Vec<Place>,
}

/// What a format hands over: names, rows, and where each row stands.
struct Parsed {
    columns: Vec<String>,
    rows: Vec<Vec<Option<Cell>>>,
    places: Vec<Place>,
}

impl Table {
    /// Reads a file in the format its extension names: `.csv`, `.tsv`, `.txt` (tab-separated), `.jsonl`, `.ndjson`,
    /// `.json` (one object per line) or `.parquet`.
    pub fn read(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self, DataError> {
        let path = path.as_ref();
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let parse = match extension.as_str() {
            "csv" => delimited::comma,
            "tsv" | "txt" => delimited::tab,
            "jsonl" | "ndjson" | "json" => json_lines::parse,
            "parquet" => parquet::parse,
            _ => {
                let found = if extension.is_empty() { "none".to_owned() } else { format!(".{extension}") };
                return Err(DataError::Extension { path: path.to_owned(), found });
            }
        };
        let Parsed { columns, rows, places } = parse(path, options)?;
        let mut seen = HashSet::new();
        if let Some(twice) = columns.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(DataError::DuplicateColumn { path: path.to_owned(), column: twice.clone() });
        }
        Ok(Self { path: path.to_owned(), columns, rows, places })
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The columns' names, in the file's order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row; a file without one does not become a table.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The index of a column, by its exact name.
    pub fn column(&self, name: &str) -> Result<usize, DataError> {
        self.columns.iter().position(|column| column == name).ok_or_else(|| DataError::UnknownColumn {
            path: self.path.clone(),
            column: name.to_owned(),
            nearest: nearest(name, &self.columns),
            available: self.columns.clone(),
        })
    }

    /// The value in a row (from 0) of a column, or `None` where the file has null or nothing.
    ///
    /// # Panics
    ///
    /// If there is no such row or column.
    pub fn cell(&self, row: usize, column: usize) -> Option<&Cell> {
        self.rows[row][column].as_ref()
    }

    /// Where a row (from 0) stands in the file.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn place(&self, row: usize) -> Place {
        self.places[row]
    }

    /// The value in a row of a column, or an error that points at the row.
    pub(crate) fn value(&self, row: usize, column: usize) -> Result<&Cell, DataError> {
        self.cell(row, column).ok_or_else(|| self.missing(row, column))
    }

    /// The text in a row of a column, or an error that points at the row.
    pub(crate) fn text(&self, row: usize, column: usize) -> Result<&str, DataError> {
        match self.value(row, column)? {
            Cell::Text(text) => Ok(text),
            Cell::List(_) => Err(DataError::List {
                path: self.path.clone(),
                place: self.place(row),
                column: self.columns[column].clone(),
            }),
        }
    }

    /// The error for a value that is not there.
    pub(crate) fn missing(&self, row: usize, column: usize) -> DataError {
        DataError::Missing { path: self.path.clone(), place: self.place(row), column: self.columns[column].clone() }
    }
}

/// The text of a file: UTF-8 without its byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, DataError> {
    const MARK: char = '\u{feff}';
    let bytes = fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count();
        DataError::Utf8 { path: path.to_owned(), line, offset }
    })?;
    if text.starts_with(MARK) {
        text.drain(..MARK.len_utf8());
    }
    if text.trim().is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    Ok(text)
}
