//! Questions whose answer is a stretch of a given text: extractive question answering, as SQuAD has it.

mod answer;
mod metrics;
mod squad;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use answer::{AnswerOptions, Candidate, PredictedAnswer, WindowLogits, predict_answer};
pub use metrics::{AnswerMetrics, AnswerScore, answer_f1, exact_match, normalize_answer};
pub(crate) use metrics::{is_blank, words};

use crate::error::DataError;
use crate::random::Random;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What tells it apart in a file of predictions.
    pub id: String,
    /// The question.
    pub text: String,
    /// The text that holds the answer, shared by all questions about it.
    pub context: Arc<str>,
    /// The answers people gave; none where the question is impossible or the file does not say.
    pub answers: Vec<Answer>,
    /// Whether the context holds no answer (SQuAD 2).
    pub impossible: bool,
}

/// An answer and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// The first character of the answer in the context, in Unicode characters; `None` if the answer does not stand
    /// where its file says. Such an answer is still right in evaluation, which compares texts, but cannot be learned.
    pub start: Option<usize>,
}

/// The questions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions {
    /// The file they come from.
    pub path: PathBuf,
    /// The questions, in the file's order.
    pub rows: Vec<Question>,
    /// The answers that do not stand where the file says.
    pub misaligned: Vec<Misaligned>,
}

/// A note about an answer that does not stand where its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misaligned {
    /// The question.
    pub id: String,
    /// The answer.
    pub answer: String,
    /// The character it should begin at.
    pub start: i64,
    /// What stands there.
    pub found: String,
}

impl fmt::Display for Misaligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, start, .. } = self;
        let [answer, found] = [&self.answer, &self.found].map(|text| text.replace(['\n', '\r'], " "));
        write!(f, "question `{id}`: the answer `{answer}` should begin at character {start}, where `{found}` stands")
    }
}

impl Question {
    /// What a model is trained to give: the first answer whose place is known.
    pub fn target(&self) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.start.is_some())
    }
}

impl Questions {
    /// The number of questions.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no question; a file without one is not read.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether some questions are impossible, so that "no answer" is one to predict (SQuAD 2).
    pub fn has_impossible(&self) -> bool {
        self.rows.iter().any(|question| question.impossible)
    }

    /// The questions to train on: the impossible ones and those with an answer whose place is known. Also gives how
    /// many others were left out.
    pub fn trainable(mut self) -> (Self, usize) {
        let before = self.rows.len();
        self.rows.retain(|question| question.impossible || question.target().is_some());
        let left_out = before - self.rows.len();
        (self, left_out)
    }

    /// Splits off a fraction of the questions, at random but by whole contexts: a text that was trained on would make
    /// the questions about it easier. So the number set aside is `fraction` of all as nearly as whole contexts allow.
    /// Returns what is left and what was set aside, both in the file's order.
    pub fn split(self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let rows = self.rows.len();
        let mut group_of: HashMap<&str, usize> = HashMap::new();
        let mut sizes: Vec<usize> = Vec::new();
        let groups: Vec<usize> = self
            .rows
            .iter()
            .map(|q| {
                *group_of.entry(&q.context).or_insert_with(|| {
                    sizes.push(0);
                    sizes.len() - 1
                })
            })
            .collect();
        groups.iter().for_each(|&group| sizes[group] += 1);
        let wanted = (rows as f64 * fraction).round() as usize;
        if !(fraction > 0.0 && fraction < 1.0) || wanted == 0 || sizes.len() < 2 {
            return Err(DataError::Split { fraction, rows });
        }
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        Random::new(seed, 0).shuffle(&mut order);
        let mut aside = vec![false; sizes.len()];
        let mut left = wanted.min(rows - 1);
        for &group in &order {
            if sizes[group] <= left {
                aside[group] = true;
                left -= sizes[group];
            }
        }
        if !aside.contains(&true)
            && let Some(&smallest) = order.iter().min_by_key(|&&group| sizes[group])
        {
            // Every context has more questions than are wanted.
            aside[smallest] = true;
        }
        let (mut kept, mut held_out) = (Vec::new(), Vec::new());
        for (question, group) in self.rows.into_iter().zip(groups) {
            if aside[group] { held_out.push(question) } else { kept.push(question) }
        }
        let part = |rows: Vec<Question>| {
            let ids: HashSet<&str> = rows.iter().map(|question| question.id.as_str()).collect();
            let misaligned = self.misaligned.iter().filter(|note| ids.contains(note.id.as_str())).cloned().collect();
            Self { path: self.path.clone(), misaligned, rows }
        };
        Ok((part(kept), part(held_out)))
    }
}
