//! How parameters start.

use burn::prelude::*;
pub(crate) use peft_core::draw::{normal, uniform};

/// N(0, `std`²) cut at two standard deviations: whatever lies beyond is drawn again.
pub(crate) fn truncated<const D: usize>(shape: [usize; D], std: f64, device: &Device) -> Tensor<D> {
    let mut values = normal(shape, std, device);
    loop {
        let beyond = values.clone().abs().greater_scalar(2.0 * std);
        if !beyond.clone().any().into_scalar::<bool>() {
            return values;
        }
        values = values.mask_where(beyond, normal(shape, std, device));
    }
}
