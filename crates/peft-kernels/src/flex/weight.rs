//! The weight of a linear map, in the type that it is kept in.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, QuantizedTensor};
use burn::backend::{Autodiff, Backend, DType, Dispatch, ExtensionType, Flex, TensorMetadata};
use burn::prelude::*;
use burn_flex::FlexQTensor;

use super::buffer::matrix;
use super::gemm::{Narrow, Scales, Source};

/// A weight, `[d_in, d_out]`.
#[derive(ExtensionType, Clone, Debug)]
pub(crate) enum Weight<B: Backend> {
    /// In f32.
    Float(FloatTensor<B>),
    /// In whole numbers and their scales.
    Quantised(QuantizedTensor<B>),
}

impl Weight<Dispatch> {
    pub(crate) fn new(weight: Tensor<2>) -> Self {
        match weight.dtype() {
            DType::QFloat(_) => Self::Quantised(weight.into_dispatch()),
            _ => Self::Float(weight.into_dispatch()),
        }
    }
}

impl<C: CheckpointStrategy> Weight<Autodiff<Flex, C>> {
    /// Without a graph, in which a weight that is not trained is not.
    pub(crate) fn frozen(self) -> Weight<Flex> {
        match self {
            Self::Float(weight) => {
                debug_assert!(!weight.is_tracked(), "no gradient is made of a frozen weight");
                Weight::Float(weight.into_primitive())
            }
            Self::Quantised(weight) => Weight::Quantised(weight),
        }
    }
}

impl Weight<Flex> {
    /// As a product packs it: no widened copy of the whole is made.
    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Self::Float(weight) => Source::Full(matrix(weight)),
            Self::Quantised(weight) => Source::Narrow(narrow(weight)),
        }
    }
}

fn narrow(weight: &FlexQTensor) -> Narrow<'_> {
    let layout = weight.tensor().layout();
    let (shape, strides) = (layout.shape(), layout.strides());
    let stride = |d: usize| usize::try_from(strides[d]).expect("no weight is flipped");
    let values = &weight.tensor().storage::<i8>()[layout.start_offset()..];
    Narrow::new(values, scales(weight), [shape[0], shape[1]], [stride(0), stride(1)])
}

/// The scales of its blocks; where it has one scale, it is one block.
fn scales(weight: &FlexQTensor) -> Scales<'_> {
    let DType::QFloat(scheme) = weight.dtype() else { unreachable!("it is quantised") };
    let shape = weight.tensor().shape();
    let block = scheme.block_size().map_or([shape[0], shape[1]], |block| {
        let dims = block.to_dim_vec(2);
        [usize::from(dims[0]), usize::from(dims[1])]
    });
    Scales::new(weight.scales(), block, shape[1])
}
