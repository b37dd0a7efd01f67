//! Where an adapter stands in its block: what goes in, where the residual branches off, what follows.

use burn::prelude::*;
use peft_core::Sublayer;

use crate::activation::Activation;
use crate::config::BottleneckConfig;
use crate::config_fields::{ResidualBeforeLn, Scaling};

/// What a configuration says of an adapter beside its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) activation: Activation,
    /// The constant factor; 1 where it is trained.
    pub(crate) scale: f64,
    pub(crate) parallel: bool,
    /// Whether the model's own sum and normalisation follow.
    pub(crate) original_ln_after: bool,
    pub(crate) adapter_residual_before_ln: bool,
    original_ln_before: bool,
    residual_before_ln: ResidualBeforeLn,
}

/// What an adapter reads, and what is added to what it writes.
pub(crate) struct Ready {
    /// `[batch, seq, d_model]`.
    pub(crate) x: Tensor<3>,
    /// `[batch, seq, d_model]`.
    pub(crate) residual: Tensor<3>,
}

impl Place {
    pub(crate) fn new(config: &BottleneckConfig, activation: Activation) -> Self {
        Self {
            activation,
            scale: if let Scaling::Fixed(scale) = config.scaling { scale } else { 1.0 },
            parallel: config.is_parallel,
            original_ln_after: config.original_ln_after,
            adapter_residual_before_ln: config.adapter_residual_before_ln,
            original_ln_before: config.original_ln_before,
            residual_before_ln: config.residual_before_ln,
        }
    }

    /// What the adapter gets at the end of a block whose output is `h`.
    pub(crate) fn before(&self, at: &Sublayer<'_>, h: &Tensor<3>) -> Ready {
        if self.parallel {
            return Ready { x: at.residual.clone(), residual: at.residual.clone() };
        }
        let sum = self.original_ln_before.then(|| h.clone() + at.residual.clone());
        let x = sum.clone().map_or_else(|| h.clone(), |sum| at.normalise(sum));
        let residual = match (self.residual_before_ln, sum) {
            (ResidualBeforeLn::Flag(true), _) => h.clone(),
            (ResidualBeforeLn::Named(_), Some(sum)) => sum,
            _ => x.clone(),
        };
        Ready { x, residual }
    }

    /// What the block hands on, given what the adapter made of it: the model's own sum follows.
    pub(crate) fn after(&self, output: Tensor<3>, h: Tensor<3>) -> Tensor<3> {
        if self.parallel { output + h } else { output }
    }
}
