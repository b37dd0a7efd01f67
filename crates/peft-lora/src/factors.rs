//! The factors of one module's update, and what they make of the module.

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::module::embedding;
use peft_core::kernels::linear;
use peft_core::{Dropout, EmbeddingOp, LinearForm, LinearOp, LowRank};

use crate::dora;

/// The factors of one module's update: of a linear map `d_in -> d_out`, or of a table of `d_in` rows.
#[derive(Module, Debug)]
pub struct LoraFactors {
    /// `[d_in, r]`, the transpose of the reference's A.
    pub a: Param<Tensor<2>>,
    /// `[r, d_out]`, the transpose of the reference's B.
    pub b: Param<Tensor<2>>,
    /// The bias of B, `[d_out]`, with `lora_bias`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The magnitudes of DoRA, `[d_out]`.
    pub magnitude: Option<Param<Tensor<1>>>,
    /// What the initialisation took from the weight; not trained.
    pub(crate) start: Option<Start>,
    /// s: α/r, or α/√r when rank-stabilised.
    pub scale: f64,
}

/// The factors A₀ and B₀ that an initialisation from the weight itself starts at. The layer runs with `W - s·B₀A₀`, so
/// that a fresh adapter changes nothing. Constants of the base: neither trained, counted nor recorded.
#[derive(Module, Debug)]
pub(crate) struct Start {
    /// `[d_in, r]`.
    pub(crate) a: Tensor<2>,
    /// `[r, d_out]`.
    pub(crate) b: Tensor<2>,
}

impl LoraFactors {
    /// The update of the weight, `[d_in, d_out]`.
    pub fn delta(&self) -> Tensor<2> {
        let delta = self.a.val().matmul(self.b.val());
        let delta = match &self.start {
            Some(start) => delta - start.a.clone().matmul(start.b.clone()),
            None => delta,
        };
        delta * self.scale
    }

    /// The layer with its low-rank path. `bias` replaces the layer's own.
    pub(crate) fn linear(
        &self,
        op: LinearOp<'_>,
        bias: Option<Tensor<1>>,
        x: Tensor<3>,
        dropout: &Dropout,
    ) -> Tensor<3> {
        if let Some(magnitude) = &self.magnitude {
            return dora::linear(self, magnitude.val(), op, bias, x, dropout);
        }
        if self.start.is_some() || self.bias.is_some() {
            return self.base(op, bias, x.clone()) + self.path(dropout.forward(x));
        }
        let input = dropout.is_active(&x.device()).then(|| dropout.forward(x.clone()));
        op.run_low_rank(bias, x, LowRank { input, a: self.a.val(), b: self.b.val(), scale: self.scale })
    }

    /// [`linear`](Self::linear) without dropout in closed form. DoRA has none: its magnitudes are those of a weight that
    /// has to be made first.
    pub(crate) fn linear_form(&self, inside: LinearForm) -> Option<LinearForm> {
        if self.magnitude.is_some() {
            return None;
        }
        let inside = match &self.start {
            Some(start) => inside.low_rank(start.a.clone(), start.b.clone(), -self.scale),
            None => inside,
        };
        let form = inside.low_rank(self.a.val(), self.b.val(), self.scale);
        Some(match self.added_bias() {
            Some(bias) => form.shifted(bias),
            None => form,
        })
    }

    /// The layer without its low-rank path, and without what the initialisation took from the weight.
    pub(crate) fn base(&self, op: LinearOp<'_>, bias: Option<Tensor<1>>, x: Tensor<3>) -> Tensor<3> {
        let y = op.run_replaced(None, bias, x.clone());
        match &self.start {
            Some(start) => y - linear(linear(x, start.a.clone(), None) * self.scale, start.b.clone(), None),
            None => y,
        }
    }

    /// `s·(B(Ax) + bias)`.
    pub(crate) fn path(&self, x: Tensor<3>) -> Tensor<3> {
        linear(linear(x, self.a.val(), None) * self.scale, self.b.val(), self.added_bias())
    }

    /// The table with its low-rank part: of A only the rows that are looked up are read.
    pub(crate) fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        let path = linear(embedding(self.a.val(), ids.clone()) * self.scale, self.b.val(), None);
        match &self.magnitude {
            Some(magnitude) => {
                let gain = dora::gain(self, magnitude.val(), op.weight_inside());
                (op.run(ids) + path) * gain.unsqueeze()
            }
            None => op.run(ids) + path,
        }
    }

    /// The weight or the table with the update in it.
    pub(crate) fn folded(&self, value: Tensor<2>) -> Tensor<2> {
        match &self.magnitude {
            Some(magnitude) => {
                let gain = dora::gain(self, magnitude.val(), value.clone());
                (value + self.delta()) * gain.unsqueeze()
            }
            None => value + self.delta(),
        }
    }

    /// What is added to the layer's bias, `[d_out]`.
    pub(crate) fn added_bias(&self) -> Option<Tensor<1>> {
        self.bias.as_ref().map(|bias| bias.val() * self.scale)
    }

    /// The update apart from any graph.
    pub(crate) fn detached_delta(&self) -> Tensor<2> {
        let delta = self.a.val().detach().matmul(self.b.val().detach());
        let delta = match &self.start {
            Some(start) => delta - start.a.clone().matmul(start.b.clone()),
            None => delta,
        };
        delta * self.scale
    }
}
