//! How good written texts are, against the texts that are right.
//!
//! burn-train has a BLEU and a ROUGE-L, and neither gives the numbers that the field reports: its BLEU is the mean of
//! batches' BLEUs and not that of the corpus, and takes one reference; its ROUGE-L gives two empty texts 1; there is no
//! ROUGE-1 or 2; and both compare ids, so that the words must be cut here anyway. So the scores are here, and held to
//! `sacrebleu` and `rouge_score`.

mod bleu;
mod rouge;

pub use bleu::Bleu;
pub use rouge::Rouge;

use crate::questions::answer_f1;

/// Scores of written texts, added up text by text.
///
/// ```
/// use peft_data::TextMetrics;
///
/// let mut metrics = TextMetrics::default();
/// metrics.add("complaint", &["no complaint"]);
/// metrics.add(" no complaint", &["no complaint"]);
/// let score = metrics.score();
/// assert_eq!((score.exact_match, score.texts), (0.5, 2));
/// assert_eq!(score.rouge.rouge1, (2.0 / 3.0 + 1.0) / 2.0);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextMetrics {
    exact: usize,
    f1: f64,
    rouge: Rouge,
    bleu: Bleu,
    texts: usize,
}

/// How good some written texts are; every number is from 0 to 1, where the papers print percents.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TextScore {
    /// The share of the texts that are one of their references, blanks around both left out.
    pub exact_match: f64,
    /// The mean F1 of the texts' words, by SQuAD's rules ([`answer_f1`]).
    pub f1: f64,
    /// The mean of each ROUGE.
    pub rouge: Rouge,
    /// BLEU of all texts together ([`Bleu::score`]).
    pub bleu: f64,
    /// How many texts there are.
    pub texts: usize,
}

impl TextMetrics {
    /// Adds a text and what it may be. Of several references each score but BLEU, which has a rule of its own, takes
    /// that which is best for it. A text without any is passed over, and `false` returned.
    pub fn add(&mut self, predicted: &str, references: &[&str]) -> bool {
        if references.is_empty() {
            return false;
        }
        self.exact += usize::from(references.iter().any(|reference| reference.trim() == predicted.trim()));
        self.f1 += references.iter().map(|reference| answer_f1(predicted, reference)).fold(0.0, f64::max);
        let best = references.iter().map(|reference| Rouge::of(predicted, reference)).reduce(Rouge::best);
        self.rouge = self.rouge.plus(best.unwrap_or_default());
        self.bleu.add(predicted, references);
        self.texts += 1;
        true
    }

    /// The score of the texts so far; of none, all zeros.
    pub fn score(&self) -> TextScore {
        let share = 1.0 / self.texts.max(1) as f64;
        TextScore {
            exact_match: self.exact as f64 * share,
            f1: self.f1 * share,
            rouge: self.rouge.times(share),
            bleu: self.bleu.score(),
            texts: self.texts,
        }
    }
}
