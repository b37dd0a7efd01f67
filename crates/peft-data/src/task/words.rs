//! Labels as words, for models that write their answer: what to learn to write for each class, and which class a
//! written text means.

use std::collections::BTreeMap;

use super::Labels;
use crate::error::{DataError, nearest};

/// The words of each label.
///
/// ```
/// use peft_data::Labels;
///
/// let words = Labels::from_values(["no_complaint", "complaint"]).words()?;
/// assert_eq!(words.words(), ["complaint", "no complaint"]);
/// assert_eq!(words.parse(" no complaint "), Some(1));
/// assert_eq!(words.parse("no complaints"), None);
/// assert_eq!(words.nearest("no complaints"), 1);
/// # Ok::<(), peft_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelWords {
    words: Vec<String>,
}

impl Labels {
    /// Each label's name as words: with blanks for underscores, as in the reference's walkthrough of prompt tuning.
    ///
    /// # Errors
    /// Two labels of the same words, a label of none, and no label at all.
    pub fn words(&self) -> Result<LabelWords, DataError> {
        LabelWords::new(self, self.names().iter().map(|name| name.replace('_', " ")).collect())
    }
}

impl LabelWords {
    /// Words given by label.
    ///
    /// # Errors
    /// A label without words, words of a name that is no label, and what [`Labels::words`] refuses.
    pub fn named(labels: &Labels, words: &BTreeMap<String, String>) -> Result<Self, DataError> {
        if let Some(stranger) = words.keys().find(|name| labels.id(name).is_none()) {
            let close = nearest(stranger, labels.names());
            let known = if close.is_empty() { labels.names() } else { &close };
            return Err(wrong(format!(
                "there are words for `{stranger}`, which is no label; correct it to one of {}",
                known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            )));
        }
        let by_id: BTreeMap<usize, &String> =
            words.iter().filter_map(|(name, words)| Some((labels.id(name)?, words))).collect();
        let of = |(id, name): (usize, &String)| {
            by_id.get(&id).map(|words| (*words).clone()).ok_or_else(|| wrong(format!("give label `{name}` its words")))
        };
        Self::new(labels, labels.names().iter().enumerate().map(of).collect::<Result<_, _>>()?)
    }

    fn new(labels: &Labels, words: Vec<String>) -> Result<Self, DataError> {
        let words: Vec<String> = words.into_iter().map(|words| words.trim().to_owned()).collect();
        let mut seen = BTreeMap::new();
        for (name, words) in labels.names().iter().zip(&words) {
            if words.is_empty() {
                return Err(wrong(format!("label `{name}` has no words; give it some")));
            }
            if let Some(other) = seen.insert(words, name) {
                return Err(wrong(format!("`{other}` and `{name}` have the same words, `{words}`; give them others")));
            }
        }
        if words.is_empty() {
            return Err(wrong("there is none to put into words".to_owned()));
        }
        Ok(Self { words })
    }

    /// The words, by the labels' ids.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The label that a text is the words of, blanks around it left out.
    pub fn parse(&self, text: &str) -> Option<usize> {
        self.words.iter().position(|words| words == text.trim())
    }

    /// The label whose words take the fewest edits (Levenshtein's, in characters) to make of a text; the first of
    /// several.
    pub fn nearest(&self, text: &str) -> usize {
        let edits = |id: &usize| strsim::levenshtein(&self.words[*id], text.trim());
        (0..self.words.len()).min_by_key(edits).unwrap_or(0)
    }
}

fn wrong(reason: String) -> DataError {
    DataError::Labels { reason }
}
