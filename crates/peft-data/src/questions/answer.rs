//! From a model's logits to an answer: the likeliest stretch over all windows of a question, cut from the context as it
//! was written.

use std::collections::HashSet;
use std::ops::Range;

use crate::tokens::Window;

/// How an answer is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnswerOptions {
    /// How many starts and ends are looked at in each window, and how many candidates are given; at least 1.
    pub n_best: usize,
    /// The most tokens an answer may have; at least 1.
    pub max_length: usize,
    /// Whether "no answer" may be predicted (SQuAD 2), and by how much its score must exceed the best candidate's.
    /// `None`: it may not, and every question gets an answer.
    pub null_threshold: Option<f32>,
}

impl Default for AnswerOptions {
    /// The reference's: 20 candidates, 30 tokens, always an answer.
    fn default() -> Self {
        Self { n_best: 20, max_length: 30, null_threshold: None }
    }
}

/// A window and what the model says of it: for each position how likely an answer begins and ends there. A batch's
/// padding behind the window's tokens may be left on.
#[derive(Debug, Clone, Copy)]
pub struct WindowLogits<'a> {
    /// The window.
    pub window: &'a Window,
    /// The logits of the answer's first token.
    pub start: &'a [f32],
    /// The logits of its last token.
    pub end: &'a [f32],
}

/// What may be the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The text; empty for "no answer".
    pub text: String,
    /// Its characters in the context; `None` for "no answer".
    pub span: Option<Range<usize>>,
    /// The sum of its two logits.
    pub score: f32,
    /// Its probability among the candidates.
    pub probability: f32,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictedAnswer {
    /// The text; empty for "no answer".
    pub text: String,
    /// By how much the score of "no answer" exceeds the best candidate's, where "no answer" may be predicted and there
    /// is a candidate. The answer is empty where this exceeds the threshold.
    pub null_margin: Option<f32>,
    /// The best candidates, best first. "No answer" is among them where it may be predicted.
    pub candidates: Vec<Candidate>,
}

/// Chooses the answer to one question from its windows.
///
/// As in the reference's script, the best starts and ends of each window are paired, and "no answer" scores what
/// `[CLS]` scores in the window that wants it least. There are two differences: only positions in the context compete
/// to be among the best, so that a poor model too gives an answer; and a stretch that lies in two windows is one
/// candidate, not two.
///
/// # Panics
///
/// If there are fewer logits than a window has tokens.
pub fn predict_answer(context: &str, windows: &[WindowLogits<'_>], options: &AnswerOptions) -> PredictedAnswer {
    let n_best = options.n_best.max(1);
    let mut spans: Vec<(Range<usize>, f32)> = windows.iter().flat_map(|window| spans(window, options)).collect();
    spans.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut seen = HashSet::new();
    spans.retain(|(span, _)| seen.insert(span.clone()));
    spans.truncate(n_best);

    let null = windows.iter().map(|window| window.start[0] + window.end[0]).min_by(f32::total_cmp);
    let null = null.filter(|_| options.null_threshold.is_some());
    let boundaries: Vec<usize> = context.char_indices().map(|(byte, _)| byte).chain([context.len()]).collect();
    let cut = |span: &Range<usize>| context[boundaries[span.start]..boundaries[span.end]].to_owned();
    let mut candidates: Vec<Candidate> = spans
        .into_iter()
        .map(|(span, score)| Candidate { text: cut(&span), span: Some(span), score, probability: 0.0 })
        .collect();
    let best = candidates.first().map(|candidate| (candidate.text.clone(), candidate.score));
    if let Some(score) = null {
        let at = candidates.partition_point(|candidate| candidate.score >= score);
        candidates.insert(at, Candidate { text: String::new(), span: None, score, probability: 0.0 });
        if candidates.len() > n_best && at < n_best {
            candidates.pop();
        }
    }
    share(&mut candidates);

    let null_margin = null.zip(best.as_ref()).map(|(null, (_, best))| null - best);
    let no_answer = null_margin.zip(options.null_threshold).is_some_and(|(margin, threshold)| margin > threshold);
    let text = best.filter(|_| !no_answer).map(|(text, _)| text).unwrap_or_default();
    PredictedAnswer { text, null_margin, candidates }
}

/// The stretches of a window that begin at one of its best starts and end at one of its best ends.
fn spans(logits: &WindowLogits<'_>, options: &AnswerOptions) -> Vec<(Range<usize>, f32)> {
    let window = logits.window;
    let length = window.encoded.len();
    assert!(logits.start.len() >= length && logits.end.len() >= length, "one logit a position");
    let best = |logits: &[f32]| {
        let mut positions: Vec<usize> = window.context.clone().collect();
        positions.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        positions.truncate(options.n_best.max(1));
        positions
    };
    let (starts, ends) = (best(logits.start), best(logits.end));
    let mut spans = Vec::new();
    for &first in &starts {
        for &last in ends.iter().filter(|&&last| last >= first && last - first < options.max_length.max(1)) {
            let offset = |position: usize| window.offsets[position - window.context.start];
            let (start, end) = (offset(first).0, offset(last).1);
            // A token that stands for no character is no answer.
            if start < end {
                spans.push((start..end, logits.start[first] + logits.end[last]));
            }
        }
    }
    spans
}

/// Gives each candidate its share of the softmax over all.
fn share(candidates: &mut [Candidate]) {
    let highest = candidates.iter().map(|candidate| candidate.score).fold(f32::NEG_INFINITY, f32::max);
    let weight = |candidate: &Candidate| (candidate.score - highest).exp();
    let sum: f32 = candidates.iter().map(weight).sum();
    for candidate in candidates {
        candidate.probability = weight(candidate) / sum;
    }
}
