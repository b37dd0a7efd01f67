//! Choices by likelihood: a row offers several candidate texts, and the model's answer is the likeliest of them.
//!
//! The losses are T-Few's (Liu et al. 2022, arXiv:2205.05638), value for value those of its code (r-three/t-few,
//! `src/models/EncoderDecoder.py`). Everything follows from one number a token, which [`token_losses`] makes once: a
//! vocabulary is tens of thousands wide, so scores are the largest tensor of a step.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use peft_data::IGNORED;

/// What T-Few adds to 1 - p, so that a wrong text the model is sure of has a finite loss.
const UNLIKELY: f64 = 1e-2;
/// The score of a choice that is not there, in the softmax of a row with fewer choices than others.
const ABSENT: f64 = -1e9;

/// The candidate texts of a batch's rows, all in one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// The tokens of each text, [`IGNORED`] where it is over.
    pub labels: Vec<Vec<i64>>,
    /// The row that each text is a choice of, counted from 0. Rows may differ in the number of their choices.
    pub rows: Vec<usize>,
    /// Of each row the right choice, counted from 0 among the row's own.
    pub right: Vec<usize>,
}

impl Choices {
    /// The texts of each row, in their order.
    ///
    /// # Panics
    /// If a text's row does not exist, or there is not a row for each text.
    pub fn by_row(&self) -> Vec<Vec<usize>> {
        assert_eq!(self.rows.len(), self.labels.len(), "a row for each text");
        let mut of_row = vec![Vec::new(); self.right.len()];
        for (text, &row) in self.rows.iter().enumerate() {
            of_row[row].push(text);
        }
        of_row
    }

    /// Those of some rows.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn share(&self, rows: Range<usize>) -> Self {
        let own = || self.rows.iter().zip(&self.labels).filter(|(row, _)| rows.contains(row));
        Self {
            labels: own().map(|(_, text)| text.clone()).collect(),
            rows: own().map(|(row, _)| row - rows.start).collect(),
            right: self.right[rows.clone()].to_vec(),
        }
    }

    /// Tokens of the right texts, and of the wrong ones.
    fn tokens(&self) -> [usize; 2] {
        let right = self.right_texts();
        let all = self.labels.iter().map(|ids| tokens(ids)).sum::<usize>();
        let right = right.iter().map(|&text| tokens(&self.labels[text])).sum();
        [right, all - right]
    }

    /// The place in the list of each row's right text.
    ///
    /// # Panics
    /// If a row has no choice of that number.
    pub fn right_texts(&self) -> Vec<usize> {
        self.by_row().iter().zip(&self.right).map(|(texts, &right)| texts[right]).collect()
    }
}

/// How T-Few's three losses are added, and what a choice's length does to its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChoiceWeights {
    /// Of LM: the right text's tokens are to be likely.
    pub lm: f64,
    /// Of LN: the right text is to be the likeliest by length-normalised score.
    pub ln: f64,
    /// Of UL: the wrong texts' tokens are to be unlikely.
    pub ul: f64,
    /// The power of a text's length that its log-likelihood is divided by; 0 to leave it as it is.
    pub length_norm: f64,
}

impl Default for ChoiceWeights {
    /// T-Few's.
    fn default() -> Self {
        Self { lm: 1.0, ln: 1.0, ul: 1.0, length_norm: 1.0 }
    }
}

/// The negative log-likelihood of each token, `[texts, positions]`, 0 where a text is over.
///
/// `scores`: `[texts, positions, vocabulary]`; `labels`: the tokens of each text. Of `scores` one copy is kept for the
/// backward pass, their exponentials.
///
/// # Panics
/// If there are not as many labels as texts, or a text has more tokens than positions.
pub fn token_losses(scores: Tensor<3>, labels: &[Vec<i64>]) -> Tensor<2> {
    let [texts, positions, vocabulary] = scores.dims();
    assert_eq!(texts, labels.len(), "labels for each text");
    let padded = |text: &Vec<i64>| {
        assert!(text.len() <= positions, "a text has more tokens than positions");
        text.iter().copied().chain(std::iter::repeat(IGNORED)).take(positions).collect::<Vec<_>>()
    };
    let ids: Vec<i64> = labels.iter().flat_map(padded).collect();
    peft_kernels::loss::cross_entropy(scores.reshape([texts * positions, vocabulary]), &ids).reshape([texts, positions])
}

/// The score of each text, `[texts]`: its log-likelihood over its number of tokens to the power `length_norm`. The
/// higher, the likelier.
///
/// `nll`: what [`token_losses`] makes of the same `labels`.
pub fn choice_scores(nll: Tensor<2>, labels: &[Vec<i64>], length_norm: f64) -> Tensor<1> {
    let device = nll.device();
    let scores = nll.sum_dim(1).squeeze_dim::<1>(1).neg();
    if length_norm == 0.0 {
        return scores;
    }
    let length = |text: &Vec<i64>| tokens(text).max(1) as f64;
    let lengths: Vec<f32> = labels.iter().map(|text| length(text).powf(length_norm) as f32).collect();
    scores / Tensor::from_data(TensorData::from(lengths.as_slice()), &device)
}

/// T-Few's loss of each row, `[rows]`; their mean is the loss of the batch.
///
/// `nll`: what [`token_losses`] makes of the same labels. LM is the mean over all tokens of the right texts; LN the
/// cross-entropy of each row's softmax over the scores of its choices; UL the sum of -ln(1 - p + 0.01), p being a
/// token's likelihood, over the number of tokens of the wrong texts. As in T-Few's code, the sum is over all positions
/// of all texts, with p = 0 at those of right texts and of padding: -ln 1.01 for each, which has no gradient.
///
/// # Panics
/// If a row has no right choice, or `choices` are not those of `nll`.
pub fn choice_losses(nll: Tensor<2>, choices: &Choices, weights: &ChoiceWeights) -> Tensor<1> {
    choice_losses_of(nll, choices, weights, choices)
}

/// [`choice_losses`] as the rows have them in the batch of `whole`, which they may be a share of: what is divided by are its
/// rows and its tokens.
pub(crate) fn choice_losses_of(
    nll: Tensor<2>,
    choices: &Choices,
    weights: &ChoiceWeights,
    whole: &Choices,
) -> Tensor<1> {
    let [texts, positions] = nll.dims();
    assert_eq!(texts, choices.labels.len(), "labels for each text");
    let (device, rows) = (nll.device(), choices.right.len());
    let by_row = choices.by_row();
    let right = choices.right_texts();
    let (all_rows, [right_tokens, wrong_tokens]) = (whole.right.len(), whole.tokens());
    let indices = |texts: &[usize]| {
        let texts: Vec<i64> = texts.iter().map(|&text| text as i64).collect();
        Tensor::<1, Int>::from_data(TensorData::from(texts.as_slice()), &device)
    };
    let mut loss = Tensor::zeros([rows], &device);
    if weights.lm != 0.0 {
        let sums = nll.clone().select(0, indices(&right)).sum_dim(1).squeeze_dim::<1>(1);
        loss = loss + sums * (weights.lm * all_rows as f64 / right_tokens.max(1) as f64);
    }
    if weights.ln != 0.0 {
        let scores = choice_scores(nll.clone(), &choices.labels, weights.length_norm);
        loss = loss + cross_entropy(scores, &by_row, &choices.right) * weights.ln;
    }
    if weights.ul != 0.0 {
        let is_wrong = |(text, ids): (usize, &Vec<i64>)| if right.contains(&text) { vec![] } else { ids.clone() };
        let wrong: Vec<Vec<i64>> = choices.labels.iter().enumerate().map(is_wrong).collect();
        if wrong_tokens > 0 {
            let p = nll.neg().exp() * there(&wrong, positions, &device);
            let sums: Tensor<2> = (p.neg() + (1.0 + UNLIKELY)).log().neg().sum_dim(1).transpose();
            // A sum by index would add in any order on a GPU, and a resumed run must end in the same bytes.
            let of_row = |row| choices.rows.iter().map(move |&of| f32::from(u8::from(of == row)));
            let of_row: Vec<f32> = (0..rows).flat_map(of_row).collect();
            let of_row = Tensor::<2>::from_data(TensorData::new(of_row, [rows, texts]), &device);
            let sums = (of_row * sums).sum_dim(1).squeeze_dim::<1>(1);
            loss = loss + sums * (weights.ul * all_rows as f64 / wrong_tokens as f64);
        }
    }
    loss
}

/// Scores of texts, `[texts]`, as those of each row's choices, `[rows, width]`; lowest where a row has fewer.
pub fn side_by_side(scores: Tensor<1>, by_row: &[Vec<usize>], width: usize) -> Tensor<2> {
    let (device, rows) = (scores.device(), by_row.len());
    let place = |texts: &Vec<usize>, choice: usize| texts.get(choice).map_or(0, |&text| text as i64);
    let places: Vec<i64> = by_row.iter().flat_map(|texts| (0..width).map(|choice| place(texts, choice))).collect();
    let absent: Vec<bool> = by_row.iter().flat_map(|texts| (0..width).map(|choice| choice >= texts.len())).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::from(places.as_slice()), &device);
    let absent = Tensor::<2, Bool>::from_data(TensorData::new(absent, [rows, width]), &device);
    scores.select(0, places).reshape([rows, width]).mask_fill(absent, ABSENT)
}

/// The cross-entropy of each row's right choice, `[texts]` to `[rows]`.
fn cross_entropy(scores: Tensor<1>, by_row: &[Vec<usize>], right: &[usize]) -> Tensor<1> {
    let (device, rows) = (scores.device(), by_row.len());
    let width = by_row.iter().map(Vec::len).max().unwrap_or_default();
    let right: Vec<i64> = right.iter().map(|&choice| choice as i64).collect();
    let right = Tensor::<2, Int>::from_data(TensorData::new(right, [rows, 1]), &device);
    log_softmax(side_by_side(scores, by_row, width), 1).gather(1, right).neg().squeeze_dim(1)
}

/// One where a text has a token, zero behind it, `[texts, positions]`.
fn there(labels: &[Vec<i64>], positions: usize, device: &Device) -> Tensor<2> {
    let ones = |text: &Vec<i64>| {
        let ones: Vec<f32> = text.iter().map(|&id| f32::from(u8::from(id != IGNORED))).collect();
        ones.into_iter().chain(std::iter::repeat(0.0)).take(positions).collect::<Vec<_>>()
    };
    let values: Vec<f32> = labels.iter().flat_map(ones).collect();
    Tensor::from_data(TensorData::new(values, [labels.len(), positions]), device)
}

/// Tokens of a text that count.
fn tokens(text: &[i64]) -> usize {
    text.iter().filter(|&&id| id != IGNORED).count()
}

#[cfg(test)]
mod tests;
