//! How much each number of a model matters to a task: the diagonal of its empirical Fisher information.

use std::collections::BTreeMap;

use burn::tensor::Gradients;
use peft_core::tensors::{Tensors, export, export_gradients};
use peft_core::{Error, Result};

use crate::selected::Selected;

/// A score for each number of a model: the sum of squared gradients over batches.
///
/// With batches of one row and the gradient of −log p of the row's own label this is, up to a factor, the diagonal of
/// the empirical Fisher information that Sung et al. 2021 (arXiv:2111.09839) take. Larger batches square the mean of the
/// rows' gradients, which is faster and coarser. The scores are in the memory of the host, four bytes each.
#[derive(Clone, Debug)]
pub struct Importance {
    /// By the parameter's name in files, in the layout of files.
    scores: BTreeMap<String, Vec<f32>>,
    batches: usize,
}

impl Importance {
    /// Nothing measured yet. The numbers to choose among are those that `copies` trains: all of the base for a fresh
    /// [`FULL`](crate::Kind::Full), which runs as the base does.
    pub fn of(copies: &Selected) -> Self {
        let zeros = |(name, data): (String, _)| (name, vec![0.0; burn::tensor::TensorData::num_elements(&data)]);
        Self { scores: export(copies).into_iter().map(zeros).collect(), batches: 0 }
    }

    /// Scores of another making, by the names and in the layout of [`export`]: random ones, or magnitudes.
    pub fn from_scores(scores: Tensors) -> Self {
        let scores = scores.into_iter().map(|(name, data)| (name, data.iter::<f32>().collect())).collect();
        Self { scores, batches: 1 }
    }

    /// Adds the squares of a batch's gradients: those of the mean loss of the batch, run under `copies`.
    pub fn add(&mut self, copies: &Selected, gradients: &Gradients) {
        for (name, gradient) in export_gradients(copies, gradients) {
            let Some(scores) = self.scores.get_mut(&name) else { continue };
            scores.iter_mut().zip(gradient.iter::<f32>()).for_each(|(score, g)| *score += g * g);
        }
        self.batches += 1;
    }

    /// How many batches were added.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// The scores of the parameter that files call `name`.
    pub(crate) fn scores(&self, name: &str) -> Option<&[f32]> {
        self.scores.get(name).map(Vec::as_slice)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.scores.keys()
    }
}

/// The positions of the `count` greatest of all `scores`, ascending in each list; of equal ones the first.
///
/// # Errors
/// [`Error::Config`] for a score that is no number.
pub(crate) fn greatest(scores: &[&[f32]], count: usize) -> Result<Vec<Vec<usize>>> {
    let mut all = scores.concat();
    if all.iter().any(|score| !score.is_finite()) {
        let reason = "a score is NaN or infinite; measure it on the loss of a model that has not diverged";
        return Err(Error::config("importance", reason));
    }
    if count == 0 || all.is_empty() {
        return Ok(vec![Vec::new(); scores.len()]);
    }
    let last = count.min(all.len()) - 1;
    let (_, &mut bound, _) = all.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
    let mut equal = last + 1 - all.iter().filter(|&&score| score > bound).count();
    let mut kept = |score: f32| {
        let tied = score == bound && equal > 0;
        equal -= usize::from(tied);
        tied || score > bound
    };
    Ok(scores.iter().map(|list| (0..list.len()).filter(|&i| kept(list[i])).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_scores_the_first_are_kept() {
        let (a, b) = ([1.0, 3.0, 2.0], [2.0, 2.0, 0.0, 5.0]);
        let kept = |count| greatest(&[&a, &b], count).unwrap();
        assert_eq!(kept(1), [vec![], vec![3]]);
        assert_eq!(kept(3), [vec![1, 2], vec![3]]);
        assert_eq!(kept(4), [vec![1, 2], vec![0, 3]]);
        assert_eq!(kept(5), [vec![1, 2], vec![0, 1, 3]]);
        assert_eq!(kept(7), [vec![0, 1, 2], vec![0, 1, 2, 3]]);
        assert_eq!(kept(9), kept(7));
        assert_eq!(greatest(&[&[0.0, -0.0], &[0.0]], 2).unwrap(), [vec![0, 1], vec![]]);
        assert!(greatest(&[&[f32::NAN]], 1).is_err());
    }
}
