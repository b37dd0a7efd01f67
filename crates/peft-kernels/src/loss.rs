//! Cross-entropy in one operation.

use burn::prelude::*;

use crate::switch::covers;

/// The cross-entropy of each row's class: `logits` `[rows, classes]` to `[rows]`. A row whose class is below zero (the
/// `-100` of the field) costs nothing and has no gradient.
///
/// The kernel keeps two numbers a row, and writes the gradient over the logits where nobody else has them: with a
/// vocabulary of tens of thousands they are the largest tensor of a step.
///
/// # Panics
/// If there is not a class for each row, or one is beyond the last.
pub fn cross_entropy(logits: Tensor<2>, classes: &[i64]) -> Tensor<1> {
    let [rows, width] = logits.dims();
    assert_eq!(rows, classes.len(), "a class for each row");
    assert!(classes.iter().all(|&class| class < width as i64), "a class is beyond the last of {width}");
    #[cfg(feature = "flex")]
    if width > 0 && covers(&logits) {
        return crate::flex::loss::cross_entropy(logits, classes);
    }
    let _ = covers::<2>;
    composed(logits, classes)
}

fn composed(logits: Tensor<2>, classes: &[i64]) -> Tensor<1> {
    let (rows, device) = (classes.len(), logits.device());
    let ints = |values: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::from(values.as_slice()), &device);
    let counted: Vec<i64> = (0..rows as i64).filter(|&row| classes[row as usize] >= 0).collect();
    // Where hardly any row counts, as where words are hidden, the others are not worth a softmax.
    if counted.len() * 2 < rows {
        let zeros = Tensor::<1>::zeros([rows], &device).cast(logits.dtype());
        if counted.is_empty() {
            return zeros + logits.sum_dim(1).squeeze_dim(1) * 0.0;
        }
        let of: Vec<i64> = counted.iter().map(|&row| classes[row as usize]).collect();
        let counted = ints(counted);
        let losses = all(logits.select(0, counted.clone()), ints(of));
        return zeros.select_assign(0, counted, losses, burn::tensor::IndexingUpdateOp::Add);
    }
    let counts: Vec<f32> = classes.iter().map(|&class| f32::from(u8::from(class >= 0))).collect();
    let losses = all(logits, ints(classes.iter().map(|&class| class.max(0)).collect()));
    if counted.len() == rows {
        return losses;
    }
    let counts = Tensor::<1>::from_data(TensorData::from(counts.as_slice()), &device).cast(losses.dtype());
    losses * counts
}

/// Where every row has a class. `log_softmax` would be one more tensor of the logits' size.
fn all(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    let largest = logits.clone().detach().max_dim(1);
    let chosen = logits.clone().gather(1, classes.unsqueeze_dim(1)) - largest.clone();
    let sum = (logits - largest).exp().sum_dim(1);
    (sum.log() - chosen).squeeze_dim(1)
}

#[cfg(all(test, feature = "flex"))]
mod tests;
