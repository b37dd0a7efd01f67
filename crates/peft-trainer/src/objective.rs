//! From scores to losses and probabilities, for each kind of target.

use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, sigmoid, softmax};
use peft_data::{IGNORED, Target};
use peft_kernels::loss::cross_entropy;

use crate::choices::{choice_losses_of, choice_scores, side_by_side, token_losses};
use crate::metrics::{Targets, labelled};

/// The losses whose mean is what the reference minimises: one a row, or, of positions, one for each that has a class.
///
/// `scores`: `[rows, positions, outputs]`, one position for what is said of a whole text. Classes: cross-entropy. Sets of
/// classes: binary cross-entropy, averaged over the outputs. Values: squared error of the one output. Spans: the mean of
/// the cross-entropies, over the row's positions, of the beginning and of the end. Texts: the cross-entropy of each
/// token. Choices: T-Few's, see [`choice_losses`](crate::choices::choice_losses); the rows of `scores` are the choices.
///
/// # Panics
/// If there are not as many targets as rows.
pub fn losses(scores: Tensor<3>, targets: &Targets) -> Tensor<1> {
    objective(scores, targets).0
}

/// [`losses`], and what is to be kept of the scores to judge by: of texts their mean log-likelihood a token and how many
/// they are, `[rows, 1, 2]`, of choices their scores, `[rows, 1, choices]`, lowest where a row has fewer; else the scores.
///
/// # Panics
/// If there are not as many targets as rows.
pub fn objective(scores: Tensor<3>, targets: &Targets) -> (Tensor<1>, Tensor<3>) {
    objective_of(scores, targets, targets)
}

/// [`objective`] of a share of the rows of a batch: the losses are those that the rows have in the batch of `whole`.
pub(crate) fn objective_of(scores: Tensor<3>, targets: &Targets, whole: &Targets) -> (Tensor<1>, Tensor<3>) {
    match targets {
        Targets::Texts(texts) => {
            let nll = token_losses(scores, texts);
            let mean = choice_scores(nll.clone().detach(), texts, 1.0);
            let [rows, positions] = nll.dims();
            let tokens: Vec<f32> = texts.iter().map(|text| text.iter().filter(|&&id| id >= 0).count() as f32).collect();
            let tokens = Tensor::<1>::from_data(TensorData::from(tokens.as_slice()), &nll.device());
            let kept = Tensor::stack::<2>(vec![mean, tokens], 1).unsqueeze_dim(1);
            let places: Vec<i64> = labelled(texts, positions).map(|(place, _)| place).collect();
            if places.is_empty() {
                // Nothing to learn here, as where no word has a tag.
                return (nll.sum(), kept);
            }
            let places = Tensor::<1, Int>::from_data(TensorData::from(places.as_slice()), &nll.device());
            (nll.reshape([rows * positions]).select(0, places), kept)
        }
        Targets::Choices { choices, weights, most } => {
            let nll = token_losses(scores, &choices.labels);
            let by_length = choice_scores(nll.clone().detach(), &choices.labels, weights.length_norm);
            let kept = side_by_side(by_length, &choices.by_row(), *most).unsqueeze_dim(1);
            let whole = if let Targets::Choices { choices, .. } = whole { choices } else { choices };
            (choice_losses_of(nll, choices, weights, whole), kept)
        }
        _ => (of_positions(scores.clone(), targets, whole), scores),
    }
}

fn of_positions(scores: Tensor<3>, targets: &Targets, whole: &Targets) -> Tensor<1> {
    let [rows, positions, outputs] = scores.dims();
    assert_eq!(rows, targets.rows(), "a target for each row");
    let device = scores.device();
    match targets {
        Targets::Classes(classes) => {
            let ids: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
            cross_entropy(scores.squeeze_dim(1), &ids)
        }
        Targets::Sets(sets) => {
            let logits: Tensor<2> = scores.squeeze_dim(1);
            let members: Vec<f32> = sets.iter().flatten().map(|&member| f32::from(u8::from(member))).collect();
            let y = Tensor::<2>::from_data(TensorData::new(members, [rows, outputs]), &device);
            let positive = log_sigmoid(logits.clone()) * y.clone();
            let negative = log_sigmoid(logits.neg()) * (y.neg() + 1.0);
            (positive + negative).neg().mean_dim(1).squeeze_dim(1)
        }
        Targets::Values(values) => {
            let y = Tensor::<1>::from_data(TensorData::from(values.as_slice()), &device);
            (scores.squeeze_dim::<2>(1).narrow(1, 0, 1).squeeze_dim(1) - y).square()
        }
        Targets::Tokens(classes) => {
            let mut all = vec![IGNORED; rows * positions];
            labelled(classes, positions).for_each(|(place, class)| all[place as usize] = class);
            let places: Vec<i64> = labelled(classes, positions).map(|(place, _)| place).collect();
            if places.is_empty() {
                // Nothing to learn here; the reference has no number for it.
                return scores.mul_scalar(0.0).sum();
            }
            let places = Tensor::<1, Int>::from_data(TensorData::from(places.as_slice()), &device);
            cross_entropy(scores.reshape([rows * positions, outputs]), &all).select(0, places)
        }
        Targets::Spans(spans) => {
            let all = if let Targets::Spans(all) = whole { all } else { spans };
            let first = |spans: &[(usize, usize)]| spans.iter().map(|span| span.0).collect::<Vec<_>>();
            let last = |spans: &[(usize, usize)]| spans.iter().map(|span| span.1).collect::<Vec<_>>();
            let of = |output| scores.clone().narrow(2, output, 1).squeeze_dim(2);
            let first = of_places(of(0), &first(spans), &first(all));
            let last = of_places(of(1), &last(spans), &last(all));
            (first + last).div_scalar(2.0)
        }
        Targets::Texts(_) | Targets::Choices { .. } => unreachable!("they have losses of their own"),
    }
}

/// The cross-entropy of a place among the positions, `[rows, positions]` to `[rows]`. A place that is not there costs
/// nothing, and the others so much more that the mean over `all` is the mean of those.
fn of_places(logits: Tensor<2>, places: &[usize], all: &[usize]) -> Tensor<1> {
    let positions = logits.dims()[1];
    let there = all.iter().filter(|&&place| place < positions).count();
    let share = all.len() as f32 / there.max(1) as f32;
    let weights: Vec<f32> = places.iter().map(|&place| if place < positions { share } else { 0.0 }).collect();
    let weights = Tensor::<1>::from_data(TensorData::from(weights.as_slice()), &logits.device());
    let places: Vec<i64> = places.iter().map(|&place| place.min(positions - 1) as i64).collect();
    cross_entropy(logits, &places) * weights
}

/// Probabilities `[rows, outputs]` of the classes; in regression the value itself.
pub fn probabilities(target: Target, logits: Tensor<2>) -> Tensor<2> {
    match target {
        Target::Single | Target::Choice | Target::Text => softmax(logits, 1),
        Target::Multi => sigmoid(logits),
        Target::Regression => logits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::{ChoiceWeights, Choices};
    use burn::tensor::Tolerance;

    fn logits() -> Tensor<2> {
        Tensor::from_data([[2.0, 0.0], [-1.0, 1.0]], &Device::flex())
    }

    fn close(loss: Tensor<1>, want: [f32; 2]) {
        loss.into_data().assert_approx_eq::<f32>(&TensorData::from(want), Tolerance::absolute(1e-6));
    }

    // Expected values: torch 2.9.0, torch.nn.functional with reduction="none".
    #[test]
    fn losses_are_those_of_the_reference() {
        let of = |targets: Targets| losses(logits().unsqueeze_dim(1), &targets);
        close(of(Targets::Classes(vec![0, 0])), [0.126_928, 2.126_928]);
        close(of(Targets::Sets(vec![vec![true, true], vec![false, true]])), [0.410_037_6, 0.313_261_7]);
        close(of(Targets::Values(vec![1.5, -3.0])), [0.25, 4.0]);
    }

    #[test]
    fn a_position_without_a_class_has_no_loss() {
        let scores: Tensor<3> = logits().unsqueeze_dim(0);
        let one = losses(scores.clone(), &Targets::Tokens(vec![vec![-100, 0]]));
        one.into_data().assert_approx_eq::<f32>(&TensorData::from([2.126_928f32]), Tolerance::absolute(1e-6));
        close(losses(scores.clone(), &Targets::Tokens(vec![vec![0, 0]])), [0.126_928, 2.126_928]);
        // A row may be shorter than the longest of its batch, or have no class at all.
        assert_eq!(losses(scores.clone(), &Targets::Tokens(vec![vec![0]])).dims(), [1]);
        assert_eq!(losses(scores, &Targets::Tokens(vec![vec![-100, -100]])).into_scalar::<f32>(), 0.0);
    }

    // Expected values: transformers 5.23.0's loss of BertForQuestionAnswering, worked out with torch 2.9.0.
    #[test]
    fn a_span_costs_its_beginning_and_its_end() {
        let scores = Tensor::<3>::from_data([[[2.0, -1.0], [0.0, 1.0]], [[1.0, 0.5], [3.0, 0.0]]], &Device::flex());
        let of = |spans: [(usize, usize); 2]| losses(scores.clone(), &Targets::Spans(spans.to_vec()));
        // Beginnings 0.126928 and 0.126928, ends 0.126928 and 0.474077.
        close(of([(0, 1), (1, 0)]), [0.126_928, 0.300_502_6]);
        // An end behind the text: the mean of the ends is that of the other row.
        let mean = of([(0, 2), (1, 0)]).mean().into_scalar::<f32>();
        assert!((mean - (0.126_928 + 0.474_077) / 2.0).abs() < 1e-6, "{mean}");
        assert_eq!(of([(9, 9), (9, 9)]).sum().into_scalar::<f32>(), 0.0);
    }
    /// Made from the sine, so that torch can make the same.
    fn sine(rows: usize) -> Tensor<3> {
        let values: Vec<f32> = (0..rows * 12).map(|i| (2.5 * (f64::from(i as u32) * 1.3).sin()) as f32).collect();
        Tensor::from_data(TensorData::new(values, [rows, 3, 4]), &Device::flex())
    }

    // Expected values: torch 2.9.0, torch.nn.functional.cross_entropy with ignore_index=-100 and reduction="none".
    #[test]
    fn a_text_costs_what_its_tokens_do() {
        let of = |texts: Vec<Vec<i64>>| objective(sine(2), &Targets::Texts(texts));
        let (losses, kept) = of(vec![vec![1, 3, 0], vec![2, -100, -100]]);
        let want = TensorData::from([0.359_252f32, 1.986_081, 4.772_277, 3.332_072]);
        losses.clone().into_data().assert_approx_eq::<f32>(&want, Tolerance::absolute(1e-5));
        // reduction="mean" is the mean over the tokens, not over the rows.
        assert!((losses.mean().into_scalar::<f32>() - 2.612_421).abs() < 1e-5);
        let want = TensorData::from([[[-2.372_537f32, 3.0]], [[-3.332_072, 1.0]]]);
        kept.into_data().assert_approx_eq::<f32>(&want, Tolerance::absolute(1e-5));
        // A row may be shorter than the longest of its batch, or have no token at all.
        assert_eq!(of(vec![vec![1, 3], vec![]]).0.dims(), [2]);
        let (nothing, kept) = of(vec![vec![-100], vec![]]);
        assert_eq!((nothing.mean().into_scalar::<f32>(), kept.dims()), (0.0, [2, 1, 2]));
        assert_eq!(kept.sum().into_scalar::<f32>(), 0.0);
    }

    /// The scores and losses of `choices/tests.rs`, where they are checked one by one.
    #[test]
    fn rows_keep_the_scores_of_as_many_choices_as_they_have() {
        let labels = vec![vec![1, 2, 3], vec![3], vec![2, 0, -100], vec![1, 1, 2], vec![0]];
        let choices = Choices { labels, rows: vec![0, 0, 1, 1, 1], right: vec![1, 0] };
        let targets = Targets::Choices { choices, weights: ChoiceWeights::default(), most: 4 };
        let (losses, kept) = objective(sine(5), &targets);
        assert_eq!(losses.dims(), [2]);
        assert!((losses.mean().into_scalar::<f32>() - (2.167_686 + 0.821_972 + 0.586_416_8)).abs() < 1e-5);
        let want = [[[-0.294_167_2f32, -0.306_140_4, -1e9, -1e9]], [[-3.098_458_8, -3.032_554, -3.783_332_6, -1e9]]];
        kept.into_data().assert_approx_eq::<f32>(&TensorData::from(want), Tolerance::absolute(1e-5));
    }
}
