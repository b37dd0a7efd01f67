//! What a run learns to do: the words for it, and what follows from each.

use std::path::Path;

use anyhow::{Result, bail};
use peft::models::Head;
use peft_data::{AnswerOptions, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::options::{DataOptions, TrainOptions};

/// What `--task` may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Task {
    /// One class of several for a text.
    #[default]
    Single,
    /// Any number of classes for a text.
    Multi,
    /// A number for a text.
    Regression,
    /// A tag for each word.
    Token,
    /// Where in a context the answer to a question stands.
    Qa,
}

impl Task {
    /// What an adapter was trained for, by what its configuration says and the outputs of its classifier.
    pub(crate) fn of(config: &Map<String, Value>, outputs: Option<usize>) -> Self {
        let text = |field: &str| config.get(field).and_then(Value::as_str);
        match text("task_type") {
            Some("TOKEN_CLS") => Self::Token,
            Some("QUESTION_ANS") => Self::Qa,
            _ if text("problem_type") == Self::Multi.problem_type() => Self::Multi,
            _ if outputs == Some(1) => Self::Regression,
            _ => Self::Single,
        }
    }

    /// The reference's word for it.
    pub(crate) fn task_type(self) -> &'static str {
        match self {
            Self::Single | Self::Multi | Self::Regression => "SEQ_CLS",
            Self::Token => "TOKEN_CLS",
            Self::Qa => "QUESTION_ANS",
        }
    }

    /// Transformers' word for what is said of a text.
    pub(crate) fn problem_type(self) -> Option<&'static str> {
        match self {
            Self::Single => Some("single_label_classification"),
            Self::Multi => Some("multi_label_classification"),
            Self::Regression => Some("regression"),
            Self::Token | Self::Qa => None,
        }
    }

    /// The word of `--task`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Multi => "multi",
            Self::Regression => "regression",
            Self::Token => "token",
            Self::Qa => "qa",
        }
    }

    /// What the labels of texts are, where texts have labels.
    pub(crate) fn target(self) -> Option<Target> {
        match self {
            Self::Single => Some(Target::Single),
            Self::Multi => Some(Target::Multi),
            Self::Regression => Some(Target::Regression),
            Self::Token | Self::Qa => None,
        }
    }

    /// The head it takes.
    pub(crate) fn head(self) -> Head {
        match self {
            Self::Single | Self::Multi | Self::Regression => Head::Sequence,
            Self::Token => Head::Token,
            Self::Qa => Head::QuestionAnswering,
        }
    }

    /// Tokens of the longest text by default: a context takes more than a sentence.
    fn max_length(self) -> usize {
        if self == Self::Qa { 384 } else { 128 }
    }

    /// Refuses options of columns where the format says which is which.
    pub(crate) fn refuse_columns(self, given: &DataOptions) -> Result<()> {
        let DataOptions { text_column, pair_column, label_column, no_header, quotes, no_quotes } = given;
        let options = [
            ("text_column", text_column.is_some()),
            ("pair_column", pair_column.is_some()),
            ("label_column", label_column.is_some()),
            ("no_header", no_header.is_some()),
            ("quotes", quotes.is_some()),
            ("no_quotes", no_quotes.is_some()),
        ];
        if let Some((option, _)) = options.into_iter().find(|(_, given)| *given && self.target().is_none()) {
            bail!("{option}: the files of the task {} have no columns to choose; leave it out", self.name());
        }
        Ok(())
    }
}

/// Tokens of the shortest text: the special ones and a word.
pub(crate) const SHORTEST: usize = 4;

impl TrainOptions {
    /// The task.
    pub(crate) fn task(&self) -> Task {
        self.task.unwrap_or_default()
    }

    /// The longest text for a model of so many positions, some of which virtual tokens may take; of any number, where
    /// positions are relative.
    pub(crate) fn max_length(&self, positions: Option<usize>) -> usize {
        let free = positions.map_or(usize::MAX, |all| all.saturating_sub(self.num_virtual_tokens.unwrap_or(0)));
        self.max_length.unwrap_or(free.min(self.task().max_length()))
    }

    /// Refuses texts that are longer than a model of so many positions takes.
    pub(crate) fn refuse_too_long(&self, positions: Option<usize>) -> Result<()> {
        let max_length = self.max_length(positions);
        let Some(positions) = positions else { return Ok(()) };
        match self.num_virtual_tokens.unwrap_or(0) {
            _ if max_length < SHORTEST => {
                bail!("num_virtual_tokens: the model has {positions} positions and texts need some; use fewer")
            }
            0 if max_length > positions => {
                bail!("max_length: {max_length} is more than the model's {positions} positions")
            }
            tokens if max_length + tokens > positions => bail!(
                "max_length: {max_length} and num_virtual_tokens, {tokens}, are together more than the model's \
                 {positions} positions; use fewer of either"
            ),
            _ => Ok(()),
        }
    }

    /// By how many tokens the windows of one context overlap.
    pub(crate) fn doc_stride(&self, max_length: usize) -> usize {
        self.doc_stride.unwrap_or(max_length / 3)
    }

    /// How answers are chosen; `impossible` says whether the rows have questions without one.
    pub(crate) fn answers(&self, impossible: bool) -> AnswerOptions {
        let none = self.no_answer.unwrap_or(impossible);
        AnswerOptions { null_threshold: none.then_some(0.0), ..AnswerOptions::default() }
    }

    /// Refuses options of another task.
    pub(crate) fn resolve_task(self) -> Result<Self> {
        let task = self.task();
        task.refuse_columns(&self.data())?;
        let asked = [("doc_stride", self.doc_stride.is_some()), ("no_answer", self.no_answer.is_some())];
        if let Some((option, _)) = asked.into_iter().find(|(_, given)| *given && task != Task::Qa) {
            bail!("{option}: not an option of the task {}; leave it out, or choose --task qa", task.name());
        }
        Ok(Self { task: Some(task), ..self })
    }
}

/// A path as a reader here would write it: relative to the working folder where it lies below that.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(Task::Single)]
    #[case(Task::Multi)]
    #[case(Task::Regression)]
    #[case(Task::Token)]
    #[case(Task::Qa)]
    fn a_task_is_found_again_by_its_words(#[case] task: Task) {
        assert_eq!(serde_json::to_value(task).unwrap(), task.name());
        let outputs = if task == Task::Regression { 1 } else { 3 };
        let config = json!({"task_type": task.task_type(), "problem_type": task.problem_type()});
        assert_eq!(Task::of(config.as_object().unwrap(), Some(outputs)), task);
    }

    #[test]
    fn lengths_follow_the_task_and_the_model() {
        let of = |task| TrainOptions { task: Some(task), ..TrainOptions::default() };
        assert_eq!([of(Task::Token).max_length(Some(512)), of(Task::Qa).max_length(None)], [128, 384]);
        assert_eq!(of(Task::Qa).max_length(Some(64)), 64);
        let prompted = TrainOptions { num_virtual_tokens: Some(20), ..TrainOptions::default() };
        assert_eq!([prompted.max_length(Some(64)), prompted.max_length(Some(512))], [44, 128]);
        let long = TrainOptions { max_length: Some(45), ..prompted.clone() };
        assert!(prompted.refuse_too_long(Some(64)).is_ok() && long.refuse_too_long(Some(65)).is_ok());
        assert!(long.refuse_too_long(Some(64)).is_err() && prompted.refuse_too_long(Some(23)).is_err());
        assert_eq!([of(Task::Qa).doc_stride(384), of(Task::Qa).doc_stride(64)], [128, 21]);
    }

    #[test]
    fn without_impossible_questions_every_question_gets_an_answer() {
        let options = TrainOptions::default();
        assert_eq!(options.answers(false).null_threshold, None);
        assert_eq!(options.answers(true).null_threshold, Some(0.0));
        let never = TrainOptions { no_answer: Some(false), ..options };
        assert_eq!(never.answers(true).null_threshold, None);
    }
}
