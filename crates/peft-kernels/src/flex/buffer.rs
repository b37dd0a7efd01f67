//! The values of tensors as slices.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DType, Flex};
use burn::tensor::{Bytes, Shape};
use burn_flex::{FlexTensor, Layout};

/// A tensor whose values lie one behind the other: a copy if they did not.
pub(crate) struct Dense(FlexTensor);

impl Dense {
    pub(crate) fn new(tensor: FloatTensor<Flex>) -> Self {
        Self(tensor.to_contiguous())
    }

    pub(crate) fn values(&self) -> &[f32] {
        let layout = self.0.layout();
        let start = layout.start_offset();
        &self.0.storage::<f32>()[start..start + layout.num_elements()]
    }

    pub(crate) fn shape(&self) -> &Shape {
        self.0.layout().shape()
    }
}

/// A new tensor of `shape` that holds `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: Shape) -> FloatTensor<Flex> {
    debug_assert_eq!(values.len(), shape.num_elements());
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}
