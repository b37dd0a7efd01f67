//! Answers to choose from that each row brings along, as in COPA or HellaSwag: a column of lists, or a column each.

use super::columns::Columns;
use crate::error::DataError;
use crate::table::{Cell, Table};

/// Columns of lists.
const LISTS: [&str; 3] = ["choices", "endings", "options"];

/// What columns of one choice each begin with; a number follows.
const SERIES: [&str; 4] = ["choice", "ending", "option", "solution"];

/// The columns of choices that a table has by their names: one of lists, or `choice1`, `choice2` and so on, numbered
/// from 0 or 1. None where there is nothing of the kind.
pub(super) fn guess(table: &Table) -> Vec<String> {
    let find = |wanted: &str| table.columns().iter().find(|column| column.to_lowercase() == wanted).cloned();
    if let Some(list) = LISTS.into_iter().find_map(find) {
        return vec![list];
    }
    let series = |(name, first): (&&str, usize)| {
        let columns: Vec<String> = (first..).map_while(|number| find(&format!("{name}{number}"))).collect();
        (columns.len() > 1).then_some(columns)
    };
    SERIES.iter().flat_map(|name| [(name, 0), (name, 1)]).find_map(series).unwrap_or_default()
}

/// Where a table's choices stand.
pub(super) struct ChoiceColumns<'a> {
    table: &'a Table,
    columns: Vec<usize>,
}

impl<'a> ChoiceColumns<'a> {
    pub(super) fn find(table: &'a Table, columns: &Columns) -> Result<Self, DataError> {
        if columns.choices.is_empty() {
            return Err(DataError::CannotGuess {
                path: table.path().to_owned(),
                role: "choices",
                option: "--choice-columns",
                available: table.columns().to_vec(),
            });
        }
        let columns = columns.choices.iter().map(|name| table.column(name)).collect::<Result<_, _>>()?;
        Ok(Self { table, columns })
    }

    /// The choices of a row: those of a list, or one of each column.
    pub(super) fn row(&self, row: usize) -> Result<Vec<String>, DataError> {
        if let [column] = self.columns[..]
            && let Cell::List(choices) = self.table.value(row, column)?
        {
            return if choices.is_empty() { Err(self.table.missing(row, column)) } else { Ok(choices.clone()) };
        }
        self.columns.iter().map(|&column| Ok(self.table.text(row, column)?.to_owned())).collect()
    }

    /// The choice a label names: by its text or, where that is none of them, by its index from 0.
    pub(super) fn index(&self, row: usize, label: &str, choices: &[String]) -> Result<usize, DataError> {
        let by_text = choices.iter().position(|choice| choice.trim() == label);
        by_text.or_else(|| label.parse().ok().filter(|&index| index < choices.len())).ok_or_else(|| {
            DataError::NoSuchChoice {
                path: self.table.path().to_owned(),
                place: self.table.place(row),
                label: label.to_owned(),
                choices: choices.to_vec(),
            }
        })
    }
}
