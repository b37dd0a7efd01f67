//! The nonlinearities of feed-forward parts.

use burn::prelude::*;
use peft_kernels::activation::{Kind, activate, gated};
use serde::{Deserialize, Serialize};

/// The nonlinearities that checkpoints use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU with the error function (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    #[default]
    Gelu,
    /// GELU by the hyperbolic tangent.
    #[serde(alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// max(x, 0).
    Relu,
    /// x·sigmoid(x).
    #[serde(alias = "swish")]
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Elementwise, same shape out.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        activate(self.kind(), x)
    }

    /// What it makes of `x`, times `gate`, same shape out.
    pub fn gated<const D: usize>(self, x: Tensor<D>, gate: Tensor<D>) -> Tensor<D> {
        gated(self.kind(), x, gate)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Gelu => Kind::Gelu,
            Self::GeluNew => Kind::GeluTanh,
            Self::Relu => Kind::Relu,
            Self::Silu => Kind::Silu,
            Self::Tanh => Kind::Tanh,
        }
    }
}
