//! What was written, judged as text.

use std::sync::Arc;

use peft_data::{Encoder, LabelWords, TextMetrics};

use super::classes::ClassCounts;
use super::kind::ScoreKind;

/// The texts that are right, and what it takes to read those that were written.
pub struct Written {
    references: Vec<String>,
    meant: Option<Meant>,
    encoder: Arc<Encoder>,
}

/// Labels in words, and the label of each row.
#[derive(Clone, Debug)]
pub struct Meant {
    /// The words of each label.
    pub words: LabelWords,
    /// The label of each row.
    pub classes: Vec<usize>,
}

impl Written {
    /// A text that is right for each row; with `meant`, the words of its label.
    ///
    /// # Panics
    /// If there are not as many classes as texts.
    pub fn new(references: Vec<String>, meant: Option<Meant>, encoder: Arc<Encoder>) -> Self {
        assert!(meant.as_ref().is_none_or(|meant| meant.classes.len() == references.len()), "a class for each text");
        Self { references, meant, encoder }
    }

    /// What is right for a row.
    pub fn reference(&self, row: usize) -> &str {
        &self.references[row]
    }

    /// The scores it gives, the most important first.
    pub(crate) fn kinds(&self) -> Vec<ScoreKind> {
        match self.meant {
            Some(_) => vec![ScoreKind::Accuracy, ScoreKind::F1, ScoreKind::ExactMatch],
            None => vec![
                ScoreKind::RougeL,
                ScoreKind::Rouge1,
                ScoreKind::Rouge2,
                ScoreKind::Bleu,
                ScoreKind::ExactMatch,
                ScoreKind::F1,
            ],
        }
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Written").field("references", &self.references.len()).field("meant", &self.meant).finish()
    }
}

/// Texts counted so far.
#[derive(Clone, Debug)]
pub(crate) struct WrittenTally {
    of: Arc<Written>,
    metrics: TextMetrics,
    classes: ClassCounts,
    pub(crate) texts: usize,
}

impl WrittenTally {
    pub(crate) fn new(of: Arc<Written>) -> Self {
        let labels = of.meant.as_ref().map_or(0, |meant| meant.words.words().len());
        Self { of, metrics: TextMetrics::default(), classes: ClassCounts::new(labels), texts: 0 }
    }

    /// Counts what was written for a row. Ids that are no text at all count as an empty one.
    pub(crate) fn add(&mut self, row: usize, ids: &[u32]) {
        let text = self.of.encoder.decode(ids).unwrap_or_default();
        self.metrics.add(&text, &[self.of.reference(row)]);
        if let Some(Meant { words, classes }) = &self.of.meant {
            let class = words.parse(&text).unwrap_or_else(|| words.nearest(&text));
            self.classes.add(class, classes[row]);
        }
        self.texts += 1;
    }

    pub(crate) fn score(&self, kind: ScoreKind) -> f64 {
        let score = self.metrics.score();
        match (kind, &self.of.meant) {
            _ if self.texts == 0 => f64::NAN,
            (ScoreKind::Accuracy, Some(_)) => self.classes.accuracy(),
            (ScoreKind::F1, Some(_)) => self.classes.f1(),
            (ScoreKind::F1, None) => score.f1,
            (ScoreKind::ExactMatch, _) => score.exact_match,
            (ScoreKind::Rouge1, _) => score.rouge.rouge1,
            (ScoreKind::Rouge2, _) => score.rouge.rouge2,
            (ScoreKind::RougeL, _) => score.rouge.rouge_l,
            (ScoreKind::Bleu, _) => score.bleu,
            _ => f64::NAN,
        }
    }
}
