//! Which column is the text, which its pair, which the label.
//!
//! Most data sets use one of a handful of names, so naming columns is only needed for the others. A guess is never
//! silent: the caller gets the resolved names and prints them.

use std::fmt;

use super::Target;
use crate::error::DataError;
use crate::table::Table;

/// Texts and their pairs, most telling first: a pair of names comes before a name that may stand alone, so that
/// `question` and `sentence` (QNLI) are not taken for a single `sentence`.
const PAIRS: [(&str, &str); 7] = [
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question", "passage"),
    ("#1 string", "#2 string"),
];

const TEXTS: [&str; 14] = [
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
];

const LABELS: [&str; 10] =
    ["label", "labels", "category", "score", "gold_label", "class", "intent", "sentiment", "target", "quality"];

/// The names a user gave; what is `None` is guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnNames {
    /// The text.
    pub text: Option<String>,
    /// The second text of a pair. It is only guessed where the text is.
    pub text_pair: Option<String>,
    /// The label.
    pub label: Option<String>,
}

/// The columns that are read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Columns {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub text_pair: Option<String>,
    /// The label; `None` where there is nothing to learn from, as in prediction.
    pub label: Option<String>,
    /// What stands between several labels in one text cell.
    pub separator: String,
}

impl Columns {
    /// What stands between several labels unless the user says otherwise.
    pub const SEPARATOR: &str = ",";

    /// The columns a user named, and guesses for the others. With `target` a label column must be found; without
    /// (prediction) the label is `None` unless named.
    pub fn resolve(table: &Table, names: &ColumnNames, target: Option<Target>) -> Result<Self, DataError> {
        for name in [&names.text, &names.text_pair, &names.label].into_iter().flatten() {
            table.column(name)?;
        }
        let find = |wanted: &str| table.columns().iter().find(|column| column.to_lowercase() == wanted).cloned();
        let unnamed = |role, option| DataError::CannotGuess {
            path: table.path().to_owned(),
            role,
            option,
            available: table.columns().to_vec(),
        };
        let (text, guessed_pair) = match &names.text {
            Some(text) => (text.clone(), None),
            None => PAIRS
                .iter()
                .find_map(|(first, second)| Some((find(first)?, Some(find(second)?))))
                .or_else(|| TEXTS.iter().find_map(|name| Some((find(name)?, None))))
                .ok_or_else(|| unnamed("text", "--text-column"))?,
        };
        let label = match (&names.label, target) {
            (Some(label), _) => Some(label.clone()),
            (None, None) => None,
            (None, Some(_)) => {
                Some(LABELS.iter().find_map(|name| find(name)).ok_or_else(|| unnamed("label", "--label-column"))?)
            }
        };
        Ok(Self {
            text,
            text_pair: names.text_pair.clone().or(guessed_pair),
            label,
            separator: Self::SEPARATOR.to_owned(),
        })
    }
}

/// The sentence that tells a user what was resolved.
impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text from `{}`", self.text)?;
        if let Some(pair) = &self.text_pair {
            write!(f, ", pair from `{pair}`")?;
        }
        if let Some(label) = &self.label {
            write!(f, ", label from `{label}`")?;
        }
        Ok(())
    }
}
