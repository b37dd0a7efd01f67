//! Which column is the text, which its pair, which the label. A template makes the text of several columns.
//!
//! Most data sets use one of a handful of names, so naming columns is only needed for the others. A guess is never
//! silent: the caller gets the resolved names and prints them.

use std::fmt;

use super::template::Template;
use super::{Target, choices};
use crate::error::DataError;
use crate::table::Table;

/// Texts and their pairs, most telling first: a pair of names comes before a name that may stand alone, so that
/// `question` and `sentence` (QNLI) are not taken for a single `sentence`.
const PAIRS: [(&str, &str); 8] = [
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("#1 string", "#2 string"),
];

const TEXTS: [&str; 27] = [
    "text",
    "sentence",
    "sentence1",
    "question1",
    "premise",
    "tweet",
    "tweet text",
    "review",
    "comment",
    "content",
    "utterance",
    "document",
    "query",
    "question",
    "input",
    "inputs",
    "input_text",
    "source",
    "article",
    "dialogue",
    "mr",
    "prompt",
    "instruction",
    "context",
    "ctx",
    "startphrase",
    "goal",
];

const LABELS: [&str; 11] = [
    "label",
    "labels",
    "category",
    "score",
    "gold_label",
    "class",
    "intent",
    "sentiment",
    "target",
    "quality",
    "answer",
];

/// Texts to write, most telling first: a label that is a number often stands beside its words.
const WRITTEN: [&str; 18] = [
    "target",
    "targets",
    "target_text",
    "text_label",
    "summary",
    "highlights",
    "answer",
    "output",
    "output_text",
    "response",
    "completion",
    "reference",
    "ref",
    "human_reference",
    "translation",
    "headline",
    "label",
    "labels",
];

/// The names a user gave; what is `None` is guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnNames {
    /// The text.
    pub text: Option<String>,
    /// The second text of a pair. It is only guessed where the text is.
    pub text_pair: Option<String>,
    /// The label.
    pub label: Option<String>,
    /// The text as a template over columns, in place of a column; see [`Columns::template`].
    pub template: Option<String>,
    /// The choices of a row: one column of lists, or a column each.
    pub choices: Option<Vec<String>>,
}

/// The columns that are read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Columns {
    /// The text; `None` where a template makes it.
    pub text: Option<String>,
    /// The text as a template: `{name}` is a column, `{{` and `}}` are braces.
    #[serde(default)]
    pub template: Option<String>,
    /// The second text of a pair.
    pub text_pair: Option<String>,
    /// The label; `None` where there is nothing to learn from, as in prediction.
    pub label: Option<String>,
    /// What stands between several labels in one text cell.
    pub separator: String,
    /// The choices of [`Target::Choice`]: one column of lists, or a column each.
    #[serde(default)]
    pub choices: Vec<String>,
}

impl Columns {
    /// What stands between several labels unless the user says otherwise.
    pub const SEPARATOR: &str = ",";

    /// The columns a user named, and guesses for the others. With `target` a label column must be found; without
    /// (prediction) the label is `None` unless named. Choices are guessed where they are the target and in prediction.
    pub fn resolve(table: &Table, names: &ColumnNames, target: Option<Target>) -> Result<Self, DataError> {
        let one = [&names.text, &names.text_pair, &names.label].into_iter().flatten();
        for name in one.chain(names.choices.iter().flatten()) {
            table.column(name)?;
        }
        let (text, guessed_pair) = match &names.template {
            Some(template) => {
                Template::parse(template, table)?;
                if let Some(text) = &names.text {
                    let reason = format!("the text is to be column `{text}` too; give one of them");
                    return Err(DataError::Template { template: template.clone(), reason });
                }
                (None, None)
            }
            None => text(table, names)?,
        };
        let label = match (&names.label, target) {
            (Some(label), _) => Some(label.clone()),
            (None, None) => None,
            (None, Some(target)) => Some(label(table, target)?),
        };
        let choices = match (&names.choices, target) {
            (Some(choices), _) => choices.clone(),
            (None, None | Some(Target::Choice)) => choices::guess(table),
            (None, Some(_)) => Vec::new(),
        };
        Ok(Self {
            text,
            template: names.template.clone(),
            text_pair: names.text_pair.clone().or(guessed_pair),
            label,
            separator: Self::SEPARATOR.to_owned(),
            choices,
        })
    }
}

/// The column of a name, whatever its case.
fn find(table: &Table, wanted: &str) -> Option<String> {
    table.columns().iter().find(|column| column.to_lowercase() == wanted).cloned()
}

/// The column of the text, and that of its pair where both are guessed.
fn text(table: &Table, names: &ColumnNames) -> Result<(Option<String>, Option<String>), DataError> {
    if let Some(text) = &names.text {
        return Ok((Some(text.clone()), None));
    }
    let pair = PAIRS.iter().find_map(|(first, second)| Some((find(table, first)?, find(table, second)?)));
    if let Some((first, second)) = pair {
        return Ok((Some(first), Some(second)));
    }
    let text = TEXTS.iter().find_map(|name| find(table, name));
    Ok((Some(text.ok_or_else(|| unnamed(table, "text", "--text-column"))?), None))
}

fn label(table: &Table, target: Target) -> Result<String, DataError> {
    let usual: &[&str] = if target == Target::Text { &WRITTEN } else { &LABELS };
    usual.iter().find_map(|name| find(table, name)).ok_or_else(|| unnamed(table, "label", "--label-column"))
}

fn unnamed(table: &Table, role: &'static str, option: &'static str) -> DataError {
    DataError::CannotGuess { path: table.path().to_owned(), role, option, available: table.columns().to_vec() }
}

/// The sentence that tells a user what was resolved.
impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.template, &self.text) {
            (Some(template), _) => write!(f, "text from the template `{template}`")?,
            (None, text) => write!(f, "text from `{}`", text.as_deref().unwrap_or_default())?,
        }
        if let Some(pair) = &self.text_pair {
            write!(f, ", pair from `{pair}`")?;
        }
        if let Some(label) = &self.label {
            write!(f, ", label from `{label}`")?;
        }
        if !self.choices.is_empty() {
            write!(f, ", choices from `{}`", self.choices.join("`, `"))?;
        }
        Ok(())
    }
}
