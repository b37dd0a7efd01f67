//! A backbone on several devices: the hidden state goes to the layer, and what an adapter has stands where its layer is.

use burn::prelude::*;
use burn::tensor::kind::Basic;

use crate::virtual_tokens::KeyValue;

/// `tensor` on `device`: itself where it is there already. Gradients find the way back.
pub fn on_device<const D: usize, K: Basic>(tensor: Tensor<D, K>, device: &Device) -> Tensor<D, K> {
    if tensor.device() == *device { tensor } else { tensor.to_device(device) }
}

/// The sum of `terms`, on the device of the first.
pub fn sum_of<const D: usize>(terms: impl IntoIterator<Item = Tensor<D>>) -> Option<Tensor<D>> {
    terms.into_iter().reduce(|sum, term| {
        let term = on_device(term, &sum.device());
        sum + term
    })
}

impl KeyValue {
    /// The same on `device`.
    pub fn on_device(self, device: &Device) -> Self {
        Self { key: on_device(self.key, device), value: on_device(self.value, device) }
    }
}
