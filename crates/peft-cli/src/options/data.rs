//! Which columns of a data file are read.

use peft::core::targets::OneOrMany;
use peft_data::{ColumnNames, ReadOptions};
use serde::{Deserialize, Serialize};

use super::parse::names;

/// Which columns of a data file are read, and how.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DataOptions {
    /// The column of texts; guessed from its name by default
    #[arg(long, value_name = "NAME")]
    pub(crate) text_column: Option<String>,
    /// The column of second texts, for pairs
    #[arg(long, value_name = "NAME")]
    pub(crate) pair_column: Option<String>,
    /// The column of labels, or of texts to write; guessed from its name by default
    #[arg(long, value_name = "NAME")]
    pub(crate) label_column: Option<String>,
    /// The text, made of columns: "Review: {body} Stars:"
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["text_column", "pair_column"])]
    pub(crate) template: Option<String>,
    /// choice: the columns of the texts to choose from, or one of lists; guessed by default
    #[arg(long, value_name = "NAMES", value_parser = names)]
    pub(crate) choice_columns: Option<OneOrMany<String>>,
    /// The file has no header; columns are called 0, 1, …
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) no_header: Option<bool>,
    /// Double quotes enclose values (the default for CSV)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", conflicts_with = "no_quotes")]
    pub(crate) quotes: Option<bool>,
    /// Double quotes are ordinary characters (the default for TSV)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) no_quotes: Option<bool>,
}

impl DataOptions {
    pub(crate) fn names(&self) -> ColumnNames {
        ColumnNames {
            text: self.text_column.clone(),
            text_pair: self.pair_column.clone(),
            label: self.label_column.clone(),
            template: self.template.clone(),
            choices: self.choice_columns.as_ref().map(|names| names.as_slice().to_vec()),
        }
    }

    pub(crate) fn reading(&self) -> ReadOptions {
        let quoting = match (self.quotes, self.no_quotes) {
            (Some(quotes), _) => Some(quotes),
            (None, Some(no_quotes)) => Some(!no_quotes),
            (None, None) => None,
        };
        ReadOptions { header: !self.no_header.unwrap_or(false), quoting, ..ReadOptions::default() }
    }
}
