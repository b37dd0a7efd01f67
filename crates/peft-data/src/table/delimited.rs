//! Comma- and tab-separated text. The splitting is the `csv` crate's; what is added is what a message needs: the
//! physical line a row begins on, and the row whose quote is never closed.

use std::io::Read;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::{Cell, Parsed, ReadOptions, read_text};
use crate::error::{DataError, Place};

pub(super) fn comma(path: &Path, options: &ReadOptions) -> Result<Parsed, DataError> {
    let (delimiter, quoting) = (options.delimiter, options.quoting);
    parse(path, options.header, delimiter.unwrap_or(b','), quoting.unwrap_or(true))
}

pub(super) fn tab(path: &Path, options: &ReadOptions) -> Result<Parsed, DataError> {
    let (delimiter, quoting) = (options.delimiter, options.quoting);
    parse(path, options.header, delimiter.unwrap_or(b'\t'), quoting.unwrap_or(false))
}

fn parse(path: &Path, header: bool, delimiter: u8, quoting: bool) -> Result<Parsed, DataError> {
    let text = read_text(path)?;
    // One more row follows the file's last. A quote that is never closed swallows it, and only that does.
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .quoting(quoting)
        .from_reader(text.as_bytes().chain(&b"\nend"[..]));
    let mut lines = Lines::new(text.as_bytes());
    let mut columns: Option<Vec<String>> = None;
    let (mut rows, mut places) = (Vec::new(), Vec::new());
    let mut record = ByteRecord::new();
    let mut line = 1;
    let mut closed = false;
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| DataError::Read { path: path.to_owned(), source: error.into() })?
    {
        let start = record.position().map_or(0, |position| position.byte() as usize);
        let Some(found) = lines.of_row(start) else {
            closed = true;
            break;
        };
        line = found;
        let values = record.iter().map(|field| String::from_utf8_lossy(field).into_owned());
        let Some(columns) = &columns else {
            if header {
                columns = Some(values.enumerate().map(name).collect());
            } else {
                columns = Some((0..record.len()).map(|index| index.to_string()).collect());
                rows.push(values.map(|value| Some(Cell::Text(value))).collect());
                places.push(Place::Line(line));
            }
            continue;
        };
        if record.len() != columns.len() {
            if !reader.read_byte_record(&mut ByteRecord::new()).is_ok_and(|more| more) {
                break;
            }
            let fix = match (quoting, record.len() > columns.len()) {
                (true, true) => "put a value that holds the delimiter in double quotes",
                (true, false) => "add what is missing, or close a quote opened on this line",
                (false, true) => "take the delimiter out of the text, or turn quoting on (--quotes)",
                (false, false) => "add what is missing",
            };
            let (expected, found) = (columns.len(), record.len());
            return Err(DataError::RowWidth { path: path.to_owned(), line, expected, found, fix });
        }
        rows.push(values.map(|value| Some(Cell::Text(value))).collect());
        places.push(Place::Line(line));
    }
    if !closed {
        return Err(DataError::OpenQuote { path: path.to_owned(), line });
    }
    match columns {
        Some(columns) if !rows.is_empty() => Ok(Parsed { columns, rows, places }),
        _ => Err(DataError::HeaderOnly { path: path.to_owned() }),
    }
}

/// A column's name. Spreadsheet exports leave the index column's name blank: it is named by its position.
fn name((index, name): (usize, String)) -> String {
    match name.trim() {
        "" => index.to_string(),
        trimmed => trimmed.to_owned(),
    }
}

/// Counts lines as the rows go by. (The `csv` crate's own count is of where it stopped reading, which with
/// `\r\n` or blank lines is not the line the next row begins on.)
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of the row that begins at or, past line ends, after `start`; `None` past the end of the text.
    fn of_row(&mut self, start: usize) -> Option<usize> {
        while self.at < start || matches!(self.text.get(self.at), Some(b'\r' | b'\n')) {
            match self.text.get(self.at)? {
                b'\n' => self.line += 1,
                b'\r' if self.text.get(self.at + 1) != Some(&b'\n') => self.line += 1,
                _ => {}
            }
            self.at += 1;
        }
        self.text.get(self.at).map(|_| self.line)
    }
}
