//! Rows with a meaning: a text, perhaps a second one, perhaps a label, and the line to blame.

use std::path::PathBuf;

use super::{Columns, Labels, Target};
use crate::error::{DataError, nearest};
use crate::table::{Cell, Table};

/// What a row says is right.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// The class.
    Class(usize),
    /// The classes, ascending and each once.
    Classes(Vec<usize>),
    /// The value.
    Value(f32),
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub text_pair: Option<String>,
    /// What is right, where the file says so.
    pub label: Option<Label>,
    /// The line of the file (in Parquet the row) it comes from, from 1.
    pub line: usize,
}

/// The rows of a file, and the labels their ids are ids of.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// The file they come from.
    pub path: PathBuf,
    /// The rows, in the file's order.
    pub rows: Vec<Example>,
    /// The labels; `None` in regression and where no label is read.
    pub labels: Option<Labels>,
}

impl Examples {
    /// Reads the columns of a table. Without `labels` those found in the table become the labels; with them (a
    /// validation file, a resumed run) a label outside is an error that names the row.
    pub fn from_table(
        table: &Table,
        columns: &Columns,
        target: Target,
        labels: Option<&Labels>,
    ) -> Result<Self, DataError> {
        let text = table.column(&columns.text)?;
        let pair = columns.text_pair.as_deref().map(|name| table.column(name)).transpose()?;
        let label = match &columns.label {
            Some(name) => Some(LabelColumn { table, column: table.column(name)?, separator: &columns.separator }),
            None => None,
        };
        let labels = match (target, &label, labels) {
            (Target::Regression, ..) | (_, None, None) => None,
            (_, _, Some(labels)) => Some(labels.clone()),
            (_, Some(column), None) => Some(column.labels(target)?),
        };
        let rows = (0..table.len())
            .map(|row| {
                Ok(Example {
                    text: table.text(row, text)?.to_owned(),
                    text_pair: pair.map(|column| table.text(row, column).map(str::to_owned)).transpose()?,
                    label: match (&label, &labels) {
                        (None, _) => None,
                        (Some(column), Some(labels)) => Some(column.class(row, target, labels)?),
                        (Some(column), None) => Some(column.number(row)?),
                    },
                    line: table.place(row).number(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { path: table.path().to_owned(), rows, labels })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The label column of a table.
struct LabelColumn<'a> {
    table: &'a Table,
    column: usize,
    separator: &'a str,
}

impl<'a> LabelColumn<'a> {
    /// The label names of a row. In a multi-label task a list or a separated text, which may be empty; else
    /// exactly one, which may not.
    fn names(&self, row: usize, target: Target) -> Result<Vec<&'a str>, DataError> {
        if target != Target::Multi {
            let name = self.table.text(row, self.column)?.trim();
            if name.is_empty() {
                return Err(self.table.missing(row, self.column));
            }
            return Ok(vec![name]);
        }
        let names: Vec<&str> = match self.table.value(row, self.column)? {
            Cell::List(names) => names.iter().map(String::as_str).collect(),
            Cell::Text(text) if self.separator.is_empty() => vec![text],
            Cell::Text(text) => text.split(self.separator).collect(),
        };
        Ok(names.into_iter().map(str::trim).filter(|name| !name.is_empty()).collect())
    }

    fn labels(&self, target: Target) -> Result<Labels, DataError> {
        let mut all = Vec::new();
        for row in 0..self.table.len() {
            all.extend(self.names(row, target)?);
        }
        let labels = Labels::from_values(all);
        if labels.is_empty() {
            return Err(DataError::Labels {
                reason: format!(
                    "no row of `{}` has a value in column `{}`; name another with --label-column",
                    self.table.path().display(),
                    self.table.columns()[self.column]
                ),
            });
        }
        Ok(labels)
    }

    fn class(&self, row: usize, target: Target, labels: &Labels) -> Result<Label, DataError> {
        let mut ids = self
            .names(row, target)?
            .into_iter()
            .map(|name| {
                labels.id(name).ok_or_else(|| DataError::UnknownLabel {
                    path: self.table.path().to_owned(),
                    place: self.table.place(row),
                    label: name.to_owned(),
                    nearest: nearest(name, labels.names()),
                    known: labels.names().to_vec(),
                })
            })
            .collect::<Result<Vec<usize>, _>>()?;
        if target == Target::Multi {
            ids.sort_unstable();
            ids.dedup();
            Ok(Label::Classes(ids))
        } else {
            Ok(Label::Class(ids[0]))
        }
    }

    fn number(&self, row: usize) -> Result<Label, DataError> {
        let name = self.names(row, Target::Regression)?[0];
        match name.parse() {
            Ok(value) if f32::is_finite(value) => Ok(Label::Value(value)),
            _ => Err(DataError::NotANumber {
                path: self.table.path().to_owned(),
                place: self.table.place(row),
                column: self.table.columns()[self.column].clone(),
                value: name.to_owned(),
            }),
        }
    }
}
