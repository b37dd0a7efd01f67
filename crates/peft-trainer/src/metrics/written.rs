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

#[cfg(test)]
mod tests {
    use super::super::judge::Judge;
    use super::super::scored::Targets;
    use super::super::tally::{Tally, Values};
    use super::*;
    use crate::rows::tests::encoder;
    use peft_data::Labels;

    /// What the scores of `kinds` are once all was written, three rows in two batches.
    fn scores<const N: usize>(judge: &Judge, written: [&str; 3], kinds: [ScoreKind; N]) -> [f64; N] {
        let encoder = encoder();
        let ids = encoder.encode_targets(&written, 20).unwrap();
        let mut tally = Tally::new(judge);
        assert!(kinds.iter().all(|&kind| tally.score(kind).is_nan()));
        let targets = Targets::Texts(Vec::new());
        for (rows, texts) in [(&[2, 0][..], vec![ids[2].clone(), ids[0].clone()]), (&[1], vec![ids[1].clone()])] {
            tally.add(&Values { values: &[], positions: 1, outputs: 2, rows, texts: &texts }, &targets);
        }
        assert_eq!(tally.rows(), 3);
        assert!(tally.score(ScoreKind::Matthews).is_nan());
        kinds.map(|kind| tally.score(kind))
    }

    #[test]
    fn a_label_is_the_one_meant_or_nearest() {
        let words = Labels::new(["bad", "very_good"]).unwrap().words().unwrap();
        let references = [1, 0, 1].map(|class: usize| words.words()[class].clone()).to_vec();
        let meant = Meant { words, classes: vec![1, 0, 1] };
        let judge = Judge::Written(Arc::new(Written::new(references, Some(meant), encoder())));
        assert_eq!(judge.kinds(), [ScoreKind::Accuracy, ScoreKind::F1, ScoreKind::ExactMatch]);
        let of = |written| scores(&judge, written, [ScoreKind::Accuracy, ScoreKind::ExactMatch, ScoreKind::F1]);
        assert_eq!(of(["very good", "bad", "very good"]), [1.0, 1.0, 1.0]);
        // `good` is nearer to `bad` (3 edits) than to `very good` (5), and `very long` to `very good` (3).
        assert_eq!(of(["good", "bad", "very long"]), [2.0 / 3.0, 1.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(of(["very god", "bad", "very good"]), [1.0, 2.0 / 3.0, 1.0]);
        // The last is `bad`: two of three are right, and of the two good ones one is found.
        assert_eq!(of(["very good", "bad", "bad"]), [2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]);
    }

    #[test]
    fn free_texts_are_compared_word_by_word() {
        let references = ["the film was good", "bad", "very good"].map(str::to_string).to_vec();
        let judge = Judge::Written(Arc::new(Written::new(references, None, encoder())));
        let kinds = [ScoreKind::RougeL, ScoreKind::Rouge1, ScoreKind::Rouge2, ScoreKind::Bleu, ScoreKind::ExactMatch];
        assert_eq!(judge.kinds()[..5], kinds);
        let whole = scores(&judge, ["the film was good", "bad", "very good"], kinds);
        assert_eq!(whole[..2], [1.0, 1.0]);
        assert_eq!(whole[4], 1.0);
        // Row 0: three of four words in another order: ROUGE-1 4/4, of pairs only `the film` and `was good`, 2/3; the
        // longest common subsequence is 2 of 4. Row 1: nothing. Row 2: all.
        let some = scores(&judge, ["was good the film", "good", "very good"], kinds);
        let want = [(0.5 + 0.0 + 1.0) / 3.0, 2.0 / 3.0, (2.0 / 3.0 + 0.0 + 1.0) / 3.0];
        for (got, want) in some.into_iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{some:?}");
        }
        assert_eq!(some[4], 1.0 / 3.0);
    }

    /// Ids that are no token, and nothing at all.
    #[test]
    fn what_is_no_text_counts_as_an_empty_one() {
        let mut tally = WrittenTally::new(Arc::new(Written::new(vec!["bad".into(); 2], None, encoder())));
        tally.add(0, &[4_000_000]);
        tally.add(1, &[]);
        assert_eq!((tally.texts, tally.score(ScoreKind::ExactMatch), tally.score(ScoreKind::F1)), (2, 0.0, 0.0));
    }
}
