//! What a run learns to do: the words for it, and what follows from each.

use std::path::Path;

use anyhow::{Result, bail};
use peft::models::{Head, ModelConfig};
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
    /// Another text for a text.
    Text,
    /// One of the texts that a row offers.
    Choice,
    /// The words hidden in plain text: how BERT is pre-trained.
    Mlm,
    /// The spans taken out of plain text: how T5 is pre-trained.
    Spans,
}

/// How a model says which label a text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LabelAs {
    /// By a classifier on top of it.
    Head,
    /// It writes the label's words.
    Text,
    /// The likeliest of all labels' words is the one.
    Choice,
}

impl LabelAs {
    /// The word of `--label-as`.
    fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Text => "text",
            Self::Choice => "choice",
        }
    }
}

/// What a model does for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Gives scores.
    Scored,
    /// Writes a text.
    Written,
    /// Chooses the likeliest of several texts.
    Chosen,
}

impl Task {
    /// What an adapter was trained for, by what its configuration says and the outputs of its classifier.
    pub(crate) fn of(config: &Map<String, Value>, outputs: Option<usize>) -> Self {
        let text = |field: &str| config.get(field).and_then(Value::as_str);
        match text("task_type") {
            Some("TOKEN_CLS") => Self::Token,
            Some("QUESTION_ANS") => Self::Qa,
            Some("SEQ_2_SEQ_LM") => Self::Text,
            _ if text("problem_type") == Self::Multi.problem_type() => Self::Multi,
            _ if outputs == Some(1) => Self::Regression,
            _ => Self::Single,
        }
    }

    /// Transformers' word for what is said of a text.
    pub(crate) fn problem_type(self) -> Option<&'static str> {
        match self {
            Self::Single => Some("single_label_classification"),
            Self::Multi => Some("multi_label_classification"),
            Self::Regression => Some("regression"),
            _ => None,
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
            Self::Text => "text",
            Self::Choice => "choice",
            Self::Mlm => "mlm",
            Self::Spans => "spans",
        }
    }

    /// What the labels of texts are, where texts have labels.
    pub(crate) fn target(self) -> Option<Target> {
        match self {
            Self::Single => Some(Target::Single),
            Self::Multi => Some(Target::Multi),
            Self::Regression => Some(Target::Regression),
            Self::Text => Some(Target::Text),
            Self::Choice => Some(Target::Choice),
            Self::Token | Self::Qa | Self::Mlm | Self::Spans => None,
        }
    }

    /// Whether it is learned from plain text, of which nothing is said.
    pub(crate) fn is_of_plain_text(self) -> bool {
        matches!(self, Self::Mlm | Self::Spans)
    }

    /// Tokens of the longest text by default: a context takes more than a sentence.
    fn max_length(self) -> usize {
        match self {
            Self::Qa => 384,
            Self::Text | Self::Choice => 512,
            _ => 128,
        }
    }

    /// Refuses options of columns where the format says which is which.
    pub(crate) fn refuse_columns(self, given: &DataOptions) -> Result<()> {
        let DataOptions { text_column, pair_column, label_column, template, choice_columns, .. } = given;
        let DataOptions { no_header, quotes, no_quotes, .. } = given;
        let options = [
            ("text_column", text_column.is_some()),
            ("pair_column", pair_column.is_some()),
            ("label_column", label_column.is_some()),
            ("template", template.is_some()),
            ("choice_columns", choice_columns.is_some()),
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

    /// What the model does for a row.
    pub(crate) fn form(&self) -> Form {
        match (self.task(), self.label_as) {
            (Task::Text, _) | (Task::Single, Some(LabelAs::Text)) => Form::Written,
            (Task::Choice, _) | (Task::Single, Some(LabelAs::Choice)) => Form::Chosen,
            _ => Form::Scored,
        }
    }

    /// The head it takes.
    pub(crate) fn head(&self) -> Head {
        match (self.form(), self.task()) {
            (Form::Written | Form::Chosen, _) | (_, Task::Spans) => Head::Text,
            (_, Task::Mlm) => Head::MaskedLm,
            (_, Task::Token) => Head::Token,
            (_, Task::Qa) => Head::QuestionAnswering,
            _ => Head::Sequence,
        }
    }

    /// The reference's word for the task, if it has one.
    pub(crate) fn task_type(&self) -> Option<&'static str> {
        match self.head() {
            Head::Token => Some("TOKEN_CLS"),
            Head::QuestionAnswering => Some("QUESTION_ANS"),
            Head::Text => Some("SEQ_2_SEQ_LM"),
            Head::Sequence => Some("SEQ_CLS"),
            Head::MaskedLm => None,
        }
    }

    /// Sets what the architecture decides: a model that makes texts says labels in words unless told otherwise.
    ///
    /// # Errors
    /// A task that the architecture does not do, and options of one that it would.
    pub(crate) fn resolve_for(mut self, model: &ModelConfig) -> Result<Self> {
        let (name, task, makes_text) = (model.model_type(), self.task(), model.makes_text());
        if task == Task::Single && self.label_as.is_none() {
            self.label_as = Some(if makes_text { LabelAs::Text } else { LabelAs::Head });
        }
        for (method, lacks) in [("head", "no head"), ("bitfit", "no biases")] {
            let is_there = method == "head" && self.form() == Form::Scored;
            if makes_text && self.method() == method && !is_there {
                bail!("method: `{name}` has {lacks} to train; choose another --method");
            }
        }
        match (makes_text, self.form()) {
            (true, _) if task == Task::Spans => Ok(self),
            (true, _) if task == Task::Mlm => bail!("task: `{name}` takes out spans, not words; choose spans"),
            (false, _) if task == Task::Spans => bail!("task: `{name}` hides words, not spans; choose mlm"),
            (false, Form::Written | Form::Chosen) if task == Task::Single => {
                bail!("label_as: `{name}` has no decoder and makes no text; leave it out, or use a T5")
            }
            (false, Form::Written | Form::Chosen) => {
                bail!("task: `{name}` has no decoder and makes no text; choose another --task, or use a T5")
            }
            (false, Form::Scored) => match self.wording().into_iter().find(|(_, given, _)| *given) {
                Some((option, ..)) => {
                    bail!("{option}: `{name}` has no decoder and makes no text; leave it out, or use a T5")
                }
                None => Ok(self),
            },
            (true, Form::Scored) if task == Task::Qa => bail!(
                "task: `{name}` with a head for the task qa is not built; choose --task text, which writes the answer, or \
                 use a BERT"
            ),
            _ => Ok(self),
        }
    }

    /// The options of labels in words, whether they are given, and of which ways to say a label they are.
    fn wording(&self) -> [(&'static str, bool, &'static [LabelAs]); 3] {
        const WRITTEN: &[LabelAs] = &[LabelAs::Text, LabelAs::Choice];
        [
            ("label_words", self.label_words.is_some(), WRITTEN),
            ("max_target_length", self.max_target_length.is_some(), WRITTEN),
            ("num_beams", self.num_beams.is_some(), &[LabelAs::Text]),
        ]
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
        if !task.is_of_plain_text() {
            task.refuse_columns(&self.data())?;
        }
        let own = [
            ("doc_stride", self.doc_stride.is_some(), &[Task::Qa][..]),
            ("no_answer", self.no_answer.is_some(), &[Task::Qa]),
            ("label_as", self.label_as.is_some(), &[Task::Single]),
            ("label_words", self.label_words.is_some(), &[Task::Single]),
            ("choice_columns", self.choice_columns.is_some(), &[Task::Choice]),
            ("max_target_length", self.max_target_length.is_some(), &[Task::Single, Task::Text, Task::Choice]),
            ("num_beams", self.num_beams.is_some(), &[Task::Single, Task::Text]),
            ("documents", self.documents.is_some(), &[Task::Mlm, Task::Spans]),
        ];
        if let Some((option, _, tasks)) = own.into_iter().find(|(_, given, tasks)| *given && !tasks.contains(&task)) {
            let tasks: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
            let name = task.name();
            bail!("{option}: not an option of the task {name}; leave it out, or choose --task {}", tasks.join(" or "));
        }
        if let Some(way) = self.label_as
            && let Some((option, _, ways)) =
                self.wording().into_iter().find(|(_, given, of)| *given && !of.contains(&way))
        {
            let ways: Vec<&str> = ways.iter().map(|way| way.name()).collect();
            let name = way.name();
            bail!(
                "{option}: not an option of labels as {name}; leave it out, or choose --label-as {}",
                ways.join(" or ")
            );
        }
        if self.num_beams == Some(0) {
            bail!("num_beams: must be at least 1");
        }
        if self.max_target_length.is_some_and(|longest| longest < 2) {
            bail!("max_target_length: must be at least 2, for a token and the one that ends a text");
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
mod tests;
