//! The values of tensors as slices.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DType, Flex};
use burn::tensor::Shape;
use burn_flex::{FlexTensor, Layout};

use super::gemm::Matrix;
use super::pool::Values;

/// A tensor whose values lie one behind the other: a copy if they did not.
#[derive(Clone, Debug)]
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

    /// Its rows: all dimensions but the last are one.
    pub(crate) fn rows(&self) -> Matrix<'_> {
        let (values, cols) = (self.values(), self.shape().last().copied().unwrap_or(1));
        Matrix::new(values, [values.len() / cols.max(1), cols])
    }

    pub(crate) fn shape(&self) -> &Shape {
        self.0.layout().shape()
    }
}

/// A tensor of two dimensions as it lies.
pub(crate) fn matrix(tensor: &FlexTensor) -> Matrix<'_> {
    let layout = tensor.layout();
    let (shape, strides) = (layout.shape(), layout.strides());
    let stride = |d: usize| usize::try_from(strides[d]).expect("no tensor of this crate is flipped");
    let data = &tensor.storage::<f32>()[layout.start_offset()..];
    Matrix::strided(data, [shape[0], shape[1]], [stride(0), stride(1)])
}

/// A new tensor of `shape` that holds `values`.
pub(crate) fn tensor(values: impl Into<Values>, shape: Shape) -> FloatTensor<Flex> {
    let values = values.into();
    debug_assert_eq!(values.len(), shape.num_elements());
    FlexTensor::new(values.into_bytes(), Layout::contiguous(shape), DType::F32)
}
