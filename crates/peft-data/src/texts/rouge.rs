//! ROUGE (Lin, 2004) as Google's `rouge_score` computes it without stemming: words in lower case, of ASCII letters and
//! digits alone, and the F-measure.

use std::collections::{BTreeSet, HashMap};

/// How much of a reference's words a text has, and of its own words the reference: F-measures from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rouge {
    /// By single words.
    pub rouge1: f64,
    /// By pairs of neighbouring words.
    pub rouge2: f64,
    /// By the longest common subsequence of words.
    pub rouge_l: f64,
    /// By the longest common subsequences of lines: the ROUGE-L of summaries. Of texts of one line it is `rouge_l`.
    pub rouge_lsum: f64,
}

impl Rouge {
    /// The scores of one text against one reference.
    ///
    /// ```
    /// use peft_data::Rouge;
    ///
    /// let rouge = Rouge::of("The cat was found.", "the cat was under the bed");
    /// assert_eq!((rouge.rouge1, rouge.rouge2, rouge.rouge_l), (0.6, 0.5, 0.6));
    /// ```
    pub fn of(predicted: &str, reference: &str) -> Self {
        let (predicted_words, reference_words) = (tokenize(predicted), tokenize(reference));
        let lines = |text: &str| text.split('\n').map(tokenize).collect::<Vec<_>>();
        let common = subsequence(&reference_words, &predicted_words).len();
        Self {
            rouge1: ngrams(&predicted_words, &reference_words, 1),
            rouge2: ngrams(&predicted_words, &reference_words, 2),
            rouge_l: f_measure(common, predicted_words.len(), reference_words.len()),
            rouge_lsum: summary(&lines(predicted), &lines(reference)),
        }
    }

    pub(super) fn best(self, other: Self) -> Self {
        self.with(other, f64::max)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    pub(super) fn times(self, factor: f64) -> Self {
        self.with(self, |a, _| a * factor)
    }

    fn with(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            rouge1: f(self.rouge1, other.rouge1),
            rouge2: f(self.rouge2, other.rouge2),
            rouge_l: f(self.rouge_l, other.rouge_l),
            rouge_lsum: f(self.rouge_lsum, other.rouge_lsum),
        }
    }
}

fn tokenize(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The F-measure of `common` things among those of a text and those of a reference; 0 where there are none.
fn f_measure(common: usize, predicted: usize, reference: usize) -> f64 {
    if common == 0 { 0.0 } else { 2.0 * common as f64 / (predicted + reference) as f64 }
}

fn ngrams(predicted: &[String], reference: &[String], order: usize) -> f64 {
    let (of_predicted, of_reference) = (counts(predicted.windows(order)), counts(reference.windows(order)));
    let shared = |(ngram, count): (&&[String], &usize)| of_predicted.get(ngram).map_or(0, |other| *count.min(other));
    let length = |words: &[String]| (words.len() + 1).saturating_sub(order);
    f_measure(of_reference.iter().map(shared).sum(), length(predicted), length(reference))
}

fn counts<T: std::hash::Hash + Eq>(items: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

/// Lines against lines: each of the reference's takes what any of the text's has in common with it, but no word counts
/// more often than it stands in either.
fn summary(predicted: &[Vec<String>], reference: &[Vec<String>]) -> f64 {
    let mut of_predicted = counts(predicted.iter().flatten());
    let mut of_reference = counts(reference.iter().flatten());
    let mut common = 0;
    for line in reference {
        let union: BTreeSet<usize> = predicted.iter().flat_map(|other| subsequence(line, other)).collect();
        for word in union.into_iter().map(|at| &line[at]) {
            if let (Some(left @ 1..), Some(right @ 1..)) = (of_predicted.get_mut(word), of_reference.get_mut(word)) {
                (*left, *right, common) = (*left - 1, *right - 1, common + 1);
            }
        }
    }
    let length = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum();
    f_measure(common, length(predicted), length(reference))
}

/// The places in `reference` of a longest common subsequence, last first. Of several it is the one `rouge_score` takes,
/// which the union of lines depends on.
fn subsequence(reference: &[String], predicted: &[String]) -> Vec<usize> {
    let width = predicted.len() + 1;
    let mut table = vec![0usize; (reference.len() + 1) * width];
    for (i, word) in reference.iter().enumerate() {
        for (j, other) in predicted.iter().enumerate() {
            table[(i + 1) * width + j + 1] = if word == other {
                table[i * width + j] + 1
            } else {
                table[i * width + j + 1].max(table[(i + 1) * width + j])
            };
        }
    }
    let (mut i, mut j) = (reference.len(), predicted.len());
    let mut places = Vec::new();
    while i > 0 && j > 0 {
        if reference[i - 1] == predicted[j - 1] {
            (i, j) = (i - 1, j - 1);
            places.push(i);
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    places
}
