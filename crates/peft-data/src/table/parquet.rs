//! Parquet, through the record interface: rows of flat columns, and lists of flat values for several labels.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::{Cell, Parsed, ReadOptions};
use crate::error::{DataError, Place};

pub(super) fn parse(path: &Path, _: &ReadOptions) -> Result<Parsed, DataError> {
    let file = File::open(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    let broken = |reason: String| DataError::Parquet { path: path.to_owned(), reason };
    // The decoders check less than a stranger's file deserves, and some damage reaches an `unwrap` of theirs.
    let parsed = catch_unwind(AssertUnwindSafe(|| rows(file)))
        .map_err(|_| broken("its pages are damaged".to_owned()))?
        .map_err(|error| broken(error.to_string()))?;
    if parsed.rows.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    Ok(parsed)
}

fn rows(file: File) -> Result<Parsed, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns: Vec<String> = schema.get_fields().iter().map(|f| f.name().to_owned()).collect();
    let (mut rows, mut places) = (Vec::new(), Vec::new());
    for group in 0..reader.num_row_groups() {
        for row in reader.get_row_group(group)?.get_row_iter(None)? {
            rows.push(row?.into_columns().into_iter().map(|(_, field)| cell(field)).collect());
            places.push(Place::Row(rows.len()));
        }
    }
    Ok(Parsed { columns, rows, places })
}

fn cell(field: Field) -> Option<Cell> {
    match field {
        Field::Null => None,
        Field::ListInternal(list) => Some(Cell::List(list.elements().iter().map(text).collect())),
        other => Some(Cell::Text(text(&other))),
    }
}

fn text(field: &Field) -> String {
    match field {
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        Field::Float(number) => number.to_string(),
        Field::Double(number) => number.to_string(),
        other => other.to_string(),
    }
}
