//! From scores to losses and probabilities, for each kind of target.

use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, log_softmax, sigmoid, softmax};
use peft_data::Target;

use crate::metrics::Targets;

/// The loss of each row, `[rows]`; their mean is what the reference minimises.
///
/// `logits`: `[rows, outputs]`. Classes: cross-entropy. Sets of classes: binary cross-entropy, averaged over the
/// outputs. Values: squared error of the one output.
///
/// # Panics
/// If there are not as many targets as rows.
pub fn losses(logits: Tensor<2>, targets: &Targets) -> Tensor<1> {
    let [rows, outputs] = logits.dims();
    let device = logits.device();
    match targets {
        Targets::Classes(classes) => {
            let ids: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, 1]), &device);
            log_softmax(logits, 1).gather(1, ids).neg().squeeze_dim(1)
        }
        Targets::Sets(sets) => {
            let members: Vec<f32> = sets.iter().flatten().map(|&member| f32::from(u8::from(member))).collect();
            let y = Tensor::<2>::from_data(TensorData::new(members, [rows, outputs]), &device);
            let positive = log_sigmoid(logits.clone()) * y.clone();
            let negative = log_sigmoid(logits.neg()) * (y.neg() + 1.0);
            (positive + negative).neg().mean_dim(1).squeeze_dim(1)
        }
        Targets::Values(values) => {
            let y = Tensor::<1>::from_data(TensorData::from(values.as_slice()), &device);
            (logits.narrow(1, 0, 1).squeeze_dim(1) - y).square()
        }
    }
}

/// Probabilities `[rows, outputs]` of the classes; in regression the value itself.
pub fn probabilities(target: Target, logits: Tensor<2>) -> Tensor<2> {
    match target {
        Target::Single => softmax(logits, 1),
        Target::Multi => sigmoid(logits),
        Target::Regression => logits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Tensor<2> {
        Tensor::from_data([[2.0, 0.0], [-1.0, 1.0]], &Device::flex())
    }

    fn close(loss: Tensor<1>, want: [f32; 2]) {
        loss.into_data().assert_approx_eq::<f32>(&TensorData::from(want), burn::tensor::Tolerance::absolute(1e-6));
    }

    // Expected values: torch 2.9.0, torch.nn.functional with reduction="none".
    #[test]
    fn losses_are_those_of_the_reference() {
        close(losses(logits(), &Targets::Classes(vec![0, 0])), [0.126_928, 2.126_928]);
        close(losses(logits(), &Targets::Sets(vec![vec![true, true], vec![false, true]])), [0.410_037_6, 0.313_261_7]);
        close(losses(logits(), &Targets::Values(vec![1.5, -3.0])), [0.25, 4.0]);
    }
}
