//! Attention: the weights of some queries at a time, forwards and again backwards.

mod kernel;
mod softmax;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn_flex::FlexTensor;

use super::graph::{or_nothing, present, register};
use crate::attention::{Attention, Dropped};
use kernel::{Inputs, Kept, Wanted};

/// Attention as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait AttentionOps: Backend {
    /// See [`Attention`].
    fn peft_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        hidden: BoolTensor<Self>,
        scale: f32,
        dropout: Option<Dropped>,
    ) -> FloatTensor<Self>;
}

/// See [`Attention::fused`].
pub(crate) fn attention(op: Attention) -> Tensor<4> {
    let bias = or_nothing(op.bias, &op.query);
    Tensor::from_dispatch(<Dispatch as AttentionOps>::peft_attention(
        op.query.into_dispatch(),
        op.key.into_dispatch(),
        op.value.into_dispatch(),
        bias.into_dispatch(),
        op.hidden.into_dispatch(),
        op.scale as f32,
        op.dropout,
    ))
}

impl AttentionOps for Flex {
    fn peft_attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        bias: FlexTensor,
        hidden: FlexTensor,
        scale: f32,
        dropout: Option<Dropped>,
    ) -> FlexTensor {
        kernel::forward(&Inputs::new(query, key, value, present(bias), hidden, scale, dropout)).0
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn peft_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        hidden: BoolTensor<Self>,
        scale: f32,
        dropout: Option<Dropped>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Attend;
        impl Backward<Flex, 4> for Attend {
            type State = Kept;

            fn backward(self, ops: Ops<Kept, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<Flex>(&ops.node);
                let [query, key, value, bias] = ops.parents.map(|node| node.map(|node| node.id));
                let wanted =
                    Wanted { query: query.is_some(), key: key.is_some(), value: value.is_some(), bias: bias.is_some() };
                let found = kernel::backward(&ops.state, grad, wanted);
                let found = [(query, found.query), (key, found.key), (value, found.value), (bias, found.bias)];
                register(grads, found);
            }
        }
        let nodes = [query.node(), key.node(), value.node(), bias.node()];
        let [query, key, value, bias] = [query, key, value, bias].map(|tensor| tensor.into_primitive());
        let inputs = Inputs::new(query, key, value, present(bias), hidden, scale, dropout);
        let (context, statistics) = kernel::forward(&inputs);
        match Attend.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(Kept::new(inputs, statistics), context),
            OpsKind::UnTracked(prep) => prep.finish(context),
        }
    }
}
