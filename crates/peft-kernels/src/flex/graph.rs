//! What the extensions need of Burn's autodiff.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::{Flex, TensorMetadata};
use burn::prelude::*;

use burn_flex::FlexTensor;

/// An extension takes no `Option`: a tensor that is not there is an empty one.
pub(crate) fn or_nothing<const D: usize, const E: usize>(tensor: Option<Tensor<D>>, like: &Tensor<E>) -> Tensor<D> {
    tensor.unwrap_or_else(|| Tensor::empty([0; D], &like.device()))
}

/// The tensor, unless it stands for none.
pub(crate) fn present(tensor: FlexTensor) -> Option<FlexTensor> {
    (tensor.shape().num_elements() > 0).then_some(tensor)
}

/// Hands the gradients on to those nodes that are tracked.
pub(crate) fn register<const N: usize>(grads: &mut Gradients, found: [(Option<NodeId>, Option<FlexTensor>); N]) {
    for (node, grad) in found {
        if let (Some(node), Some(grad)) = (node, grad) {
            grads.register::<Flex>(node, grad);
        }
    }
}
