//! What the rows mean: which columns are read, what the labels are, and the examples that come of both.

mod choices;
mod columns;
mod examples;
mod labels;
mod split;
mod template;
mod words;

pub use columns::{ColumnNames, Columns};
pub use examples::{Example, Examples, Label};
pub use labels::Labels;
pub use words::LabelWords;

/// What a model learns to predict from a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// One class of several.
    Single,
    /// Any number of classes, none included.
    Multi,
    /// A number.
    Regression,
    /// A text.
    Text,
    /// One of the choices that the row brings along.
    Choice,
}
