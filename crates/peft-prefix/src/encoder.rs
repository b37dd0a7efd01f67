//! Where the numbers of a prefix come from: a table, or a small network that is trained in its place.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::module::linear;
use peft_core::{Stored, draw};

use crate::config::{InitWeights, Sizes};

/// The name of the whole prefix in files.
pub(crate) const TABLE: &str = "prompt_embeddings";

/// The prefix of all layers, `[p, 2·L·H]`.
#[derive(Module, Debug)]
pub(crate) struct Encoder {
    /// The prefix itself, or `[p, H]` where it is projected.
    embedding: Param<Tensor<2>>,
    projection: Option<Projection>,
}

/// `Linear(H,h) → tanh → Linear(h,2LH)`.
#[derive(Module, Debug)]
struct Projection {
    down: Linear,
    up: Linear,
}

impl Encoder {
    /// The prefix as it is.
    pub(crate) fn table(sizes: &Sizes, init: Option<InitWeights>, device: &Device) -> Self {
        let shape = [sizes.tokens, sizes.width()];
        let embedding = Param::from_tensor(match init {
            Some(InitWeights::Zero) => Tensor::zeros(shape, device),
            None => draw::normal(shape, 1.0, device),
        });
        Self { embedding, projection: None }
    }

    /// The network that makes it. Where `init` says zero, its last layer is.
    pub(crate) fn projected(sizes: &Sizes, init: Option<InitWeights>, device: &Device) -> Self {
        let embedding = Param::from_tensor(draw::normal([sizes.tokens, sizes.d_model()], 1.0, device));
        let down = affine(sizes.d_model(), sizes.hidden, bound(sizes.d_model()), device);
        let up = match init {
            Some(InitWeights::Zero) => affine(sizes.hidden, sizes.width(), 0.0, device),
            None => affine(sizes.hidden, sizes.width(), bound(sizes.hidden), device),
        };
        Self { embedding, projection: Some(Projection { down, up }) }
    }

    /// Whether the prefix is computed.
    pub(crate) fn is_projected(&self) -> bool {
        self.projection.is_some()
    }

    /// Some columns of the prefix, `[p, columns]`.
    ///
    /// Of the projection only what makes them is computed: the hidden state, small, and its product with their share of
    /// the last matrix, so that all layers together cost one projection.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Tensor<2> {
        let Some(Projection { down, up }) = &self.projection else {
            return self.embedding.val().slice_dim(1, columns);
        };
        let hidden = down.forward(self.embedding.val()).tanh();
        let bias = up.bias.as_ref().map(|bias| bias.val().slice_dim(0, columns.clone()));
        linear(hidden, up.weight.val().slice_dim(1, columns), bias)
    }

    /// How its parameters are stored.
    pub(crate) fn stored(&self) -> Vec<Stored> {
        let Some(Projection { down, up }) = &self.projection else {
            return vec![Stored::new(self.embedding.id, TABLE)];
        };
        let mut stored = vec![Stored::new(self.embedding.id, "prompt_encoder.embedding.weight").unshipped()];
        for (layer, at) in [(down, 0), (up, 2)] {
            let name = |leaf: &str| format!("prompt_encoder.transform.{at}.{leaf}");
            stored.push(Stored::new(layer.weight.id, name("weight")).transposed().unshipped());
            stored.extend(layer.bias.iter().map(|bias| Stored::new(bias.id, name("bias")).unshipped()));
        }
        stored
    }
}

/// A layer drawn from the uniform distribution between minus and plus `bound`.
fn affine(d_in: usize, d_out: usize, bound: f64, device: &Device) -> Linear {
    let weight = Param::from_tensor(uniform([d_in, d_out], bound, device));
    Linear { weight, bias: Some(Param::from_tensor(uniform([d_out], bound, device))) }
}

/// The reference's bound for a new layer's weights and bias.
fn bound(d_in: usize) -> f64 {
    1.0 / (d_in as f64).sqrt()
}

fn uniform<const D: usize>(shape: [usize; D], bound: f64, device: &Device) -> Tensor<D> {
    match bound {
        0.0 => Tensor::zeros(shape, device),
        bound => draw::uniform(shape, bound, device),
    }
}
