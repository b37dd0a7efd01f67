//! Rows with a meaning: a text, perhaps a second one, perhaps a label, and the line to blame.

use std::path::PathBuf;

use super::choices::ChoiceColumns;
use super::template::Template;
use super::{Columns, Labels, Target};
use crate::error::{DataError, nearest};
use crate::table::{Cell, Table};

/// What a row says is right.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// The class, or the choice among those of the row.
    Class(usize),
    /// The classes, ascending and each once.
    Classes(Vec<usize>),
    /// The value.
    Value(f32),
    /// The text to write, as the file has it.
    Text(String),
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub text_pair: Option<String>,
    /// What there is to choose from, in [`Target::Choice`].
    pub choices: Option<Vec<String>>,
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
    /// The labels; `None` where the target is no class of a fixed set, and where no label is read.
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
        let text = Text::of(table, columns)?;
        let pair = columns.text_pair.as_deref().map(|name| table.column(name)).transpose()?;
        let label = match &columns.label {
            Some(name) => Some(LabelColumn { table, column: table.column(name)?, separator: &columns.separator }),
            None => None,
        };
        let choices = match target {
            Target::Choice => Some(ChoiceColumns::find(table, columns)?),
            _ => None,
        };
        let labels = match (target, &label, labels) {
            (Target::Regression | Target::Text | Target::Choice, ..) | (_, None, None) => None,
            (_, _, Some(labels)) => Some(labels.clone()),
            (_, Some(column), None) => Some(column.labels(target)?),
        };
        let rows = (0..table.len())
            .map(|row| {
                let offered = choices.as_ref().map(|choices| choices.row(row)).transpose()?;
                let label = match (&label, &labels) {
                    (None, _) => None,
                    (Some(column), Some(labels)) => Some(column.class(row, target, labels)?),
                    (Some(column), None) => Some(match (target, &choices, &offered) {
                        (Target::Text, ..) => Label::Text(column.text(row)?),
                        (_, Some(choices), Some(offered)) => {
                            Label::Class(choices.index(row, column.name(row)?, offered)?)
                        }
                        _ => column.number(row)?,
                    }),
                };
                Ok(Example {
                    text: text.row(table, row)?,
                    text_pair: pair.map(|column| table.text(row, column).map(str::to_owned)).transpose()?,
                    choices: offered,
                    label,
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

/// Where the text of a row comes from.
enum Text {
    Column(usize),
    Template(Template),
}

impl Text {
    fn of(table: &Table, columns: &Columns) -> Result<Self, DataError> {
        match (&columns.template, &columns.text) {
            (Some(template), _) => Ok(Self::Template(Template::parse(template, table)?)),
            (None, text) => Ok(Self::Column(table.column(text.as_deref().unwrap_or_default())?)),
        }
    }

    fn row(&self, table: &Table, row: usize) -> Result<String, DataError> {
        match self {
            Self::Column(column) => Ok(table.text(row, *column)?.to_owned()),
            Self::Template(template) => template.fill(table, row),
        }
    }
}

/// The label column of a table.
struct LabelColumn<'a> {
    table: &'a Table,
    column: usize,
    separator: &'a str,
}

impl<'a> LabelColumn<'a> {
    /// The one label name of a row.
    fn name(&self, row: usize) -> Result<&'a str, DataError> {
        let name = self.table.text(row, self.column)?.trim();
        if name.is_empty() { Err(self.table.missing(row, self.column)) } else { Ok(name) }
    }

    /// The text to write, blanks around it included; nothing but blanks is missing.
    fn text(&self, row: usize) -> Result<String, DataError> {
        self.name(row)?;
        Ok(self.table.text(row, self.column)?.to_owned())
    }

    /// The label names of a row. In a multi-label task a list or a separated text, which may be empty; else
    /// exactly one, which may not.
    fn names(&self, row: usize, target: Target) -> Result<Vec<&'a str>, DataError> {
        if target != Target::Multi {
            return Ok(vec![self.name(row)?]);
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
        let name = self.name(row)?;
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
