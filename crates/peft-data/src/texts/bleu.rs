//! BLEU (Papineni et al., ACL 2002) as `sacrebleu` computes it unless told otherwise: of a corpus, n-grams up to four
//! words, tokenisation 13a, exponential smoothing, case counted.

use std::collections::HashMap;

use crate::questions::{is_blank, words};

const ORDERS: usize = 4;

/// What BLEU is made of, added up text by text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bleu {
    correct: [u64; ORDERS],
    total: [u64; ORDERS],
    predicted: u64,
    reference: u64,
}

impl Bleu {
    /// Adds a text and its references. An n-gram counts as often as it stands in the reference that has most of it, and
    /// the text's length is held against the reference nearest in length, the shorter of two.
    pub fn add(&mut self, predicted: &str, references: &[&str]) {
        let predicted = tokenize(predicted);
        let references: Vec<Vec<String>> = references.iter().map(|reference| tokenize(reference)).collect();
        let distance = |length: &usize| (length.abs_diff(predicted.len()), *length);
        self.predicted += predicted.len() as u64;
        self.reference += references.iter().map(Vec::len).min_by_key(distance).unwrap_or(0) as u64;
        for order in 1..=ORDERS {
            let references: Vec<_> = references.iter().map(|reference| ngrams(reference, order)).collect();
            for (ngram, count) in ngrams(&predicted, order) {
                let most = references.iter().filter_map(|reference| reference.get(ngram)).max();
                self.total[order - 1] += count;
                self.correct[order - 1] += most.map_or(0, |&most| most.min(count));
            }
        }
    }

    /// BLEU of all texts together, from 0 to 1. It is not the mean of the texts' own.
    ///
    /// An order without a right n-gram has the precision 1/(2·total), the next such order 1/(4·total) and so on. It is 0
    /// where nothing is right and where no text is as long as four words.
    pub fn score(&self) -> f64 {
        if self.correct == [0; ORDERS] || self.total.contains(&0) {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let mut logs = 0.0;
        for (&correct, &total) in self.correct.iter().zip(&self.total) {
            let right = if correct == 0 {
                smoothing *= 2.0;
                1.0 / smoothing
            } else {
                correct as f64
            };
            logs += (right / total as f64).ln();
        }
        let (predicted, reference) = (self.predicted as f64, self.reference as f64);
        let brevity = if predicted < reference { (1.0 - reference / predicted).exp() } else { 1.0 };
        brevity * (logs / ORDERS as f64).exp()
    }
}

fn ngrams(words: &[String], order: usize) -> HashMap<&[String], u64> {
    let mut counts = HashMap::new();
    for ngram in words.windows(order) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

/// Tokenisation 13a, that of NIST's `mteval-v13a`: punctuation apart, but for points and commas inside numbers and for
/// hyphens and apostrophes.
fn tokenize(text: &str) -> Vec<String> {
    let text = text.trim_end_matches(is_blank).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let mut apart = String::from(" ");
    for c in text.chars() {
        if matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/') {
            apart.extend([' ', c, ' ']);
        } else {
            apart.push(c);
        }
    }
    apart.push(' ');
    let digit = |c: char| c.is_ascii_digit();
    let stop = |c: char| matches!(c, '.' | ',');
    let apart = rewrite(&apart, |a, b| !digit(a) && stop(b), |a, b| [a, ' ', b, ' ']);
    let apart = rewrite(&apart, |a, b| stop(a) && !digit(b), |a, b| [' ', a, ' ', b]);
    let apart = rewrite(&apart, |a, b| digit(a) && b == '-', |a, b| [a, ' ', b, ' ']);
    words(&apart).map(str::to_owned).collect()
}

/// Replaces pairs of characters, left to right and none twice, as a regular expression does.
fn rewrite(text: &str, matched: impl Fn(char, char) -> bool, with: impl Fn(char, char) -> [char; 4]) -> String {
    let mut written = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        match rest.next_if(|&second| matched(first, second)) {
            Some(second) => written.extend(with(first, second)),
            None => written.push(first),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // sacrebleu 2.6.0: Tokenizer13a()(text)
    #[rstest]
    #[case("Hello, world.", "Hello , world .")]
    #[case("It costs £1,000.50 (or so)...", "It costs £1,000.50 ( or so ) . . .")]
    #[case("in 1990-91 a well-known man's e.g. test", "in 1990 - 91 a well-known man's e . g . test")]
    #[case("&quot;A&quot; &amp; <skipped>B a-\nb\nc", "\" A \" & B ab c")]
    #[case("a..b ,,c 3.x .5", "a . . b , , c 3 . x . 5")]
    #[case("x@y.com/z [1] {2} ~ ^_^", "x @ y . com / z [ 1 ] { 2 } ~ ^ _ ^")]
    fn tokenisation_13a(#[case] text: &str, #[case] tokens: &str) {
        assert_eq!(tokenize(text).join(" "), tokens);
    }
}
