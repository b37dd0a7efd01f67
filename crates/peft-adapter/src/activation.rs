//! The non-linearity between the two projections, under the reference's names.

use burn::prelude::*;
use burn::tensor::activation as f;
use peft_core::kernels::{Kind, activate};
use peft_core::{Error, Result};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Gelu,
    GeluClipped,
    GeluTanh,
    GeluQuick,
    LeakyRelu,
    Linear,
    Mish,
    Relu,
    ReluSquared,
    Relu6,
    Sigmoid,
    Silu,
    Tanh,
}

/// The names of `transformers.activations` (4.57), and AdapterHub's own `leakyrelu`.
const NAMES: [(&str, Activation); 19] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_10", Activation::GeluClipped),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::GeluQuick),
    ("leakyrelu", Activation::LeakyRelu),
    ("leaky_relu", Activation::LeakyRelu),
    ("linear", Activation::Linear),
    ("mish", Activation::Mish),
    ("relu", Activation::Relu),
    ("relu2", Activation::ReluSquared),
    ("relu6", Activation::Relu6),
    ("sigmoid", Activation::Sigmoid),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

impl Activation {
    /// The function called `name`, in any case.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let lower = name.to_lowercase();
        let lower = if lower == "silu" { "swish" } else { &lower };
        NAMES.iter().find(|(known, _)| *known == lower).map(|&(_, activation)| activation).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
            Error::config("non_linearity", format!("`{name}` is none of silu, {}", known.join(", ")))
        })
    }

    /// Element by element.
    pub(crate) fn forward(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gelu => activate(Kind::Gelu, x),
            Self::GeluClipped => activate(Kind::Gelu, x).clamp(-10.0, 10.0),
            Self::GeluTanh => f::gelu_approximate(x),
            Self::GeluQuick => x.clone() * f::sigmoid(x * 1.702),
            Self::LeakyRelu => f::leaky_relu(x, 0.01),
            Self::Linear => x,
            Self::Mish => f::mish(x),
            Self::Relu => f::relu(x),
            Self::ReluSquared => f::relu(x).square(),
            Self::Relu6 => f::relu6(x),
            Self::Sigmoid => f::sigmoid(x),
            Self::Silu => f::silu(x),
            Self::Tanh => f::tanh(x),
        }
    }
}
