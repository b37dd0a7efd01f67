//! Adapters that began as parts of the weight, as plain ones.

use burn::module::Param;
use burn::prelude::*;

use crate::config::{Init, LoraConfig};
use crate::factors::LoraFactors;
use crate::lora::Lora;

impl Lora {
    /// The adapter as a plain LoRA of twice the rank that computes the same on the same base: what the reference writes
    /// for `path_initial_model_for_weight_conversion`. One that did not begin as a part of the weight is returned as it is.
    ///
    /// `s·(BA - B₀A₀)` is the product of `[A; A₀]` and `[B, -B₀]`. What it gives needs no decomposition to be loaded and
    /// can be combined with others.
    pub fn converted(&self, config: &LoraConfig) -> (LoraConfig, Self) {
        if self.factors.iter().all(|factors| factors.start.is_none()) {
            return (config.clone(), self.clone());
        }
        let factors = self.factors.iter().map(|factors| factors.converted()).collect();
        // The scale is to stay: that of α/√r needs the root.
        let growth = if config.use_rslora { 2f64.sqrt() } else { 2.0 };
        let converted = LoraConfig {
            rank: config.rank * 2,
            alpha: config.alpha * growth,
            rank_pattern: config.rank_pattern.iter().map(|(key, rank)| (key.clone(), rank * 2)).collect(),
            alpha_pattern: config.alpha_pattern.iter().map(|(key, alpha)| (key.clone(), alpha * growth)).collect(),
            init_lora_weights: Init::Standard(true),
            ..config.clone()
        };
        (converted, Self { factors, ..self.clone() })
    }
}

impl LoraFactors {
    fn converted(&self) -> Self {
        let (a, b) = (self.a.val().detach(), self.b.val().detach());
        // A table does not begin as a part of its weight, but has the configuration's rank too.
        let (a0, b0) = match &self.start {
            Some(start) => (start.a.clone(), start.b.clone()),
            None => (a.zeros_like(), b.zeros_like()),
        };
        Self {
            a: Param::from_tensor(Tensor::cat(vec![a, a0], 1)),
            b: Param::from_tensor(Tensor::cat(vec![b, -b0], 0)),
            start: None,
            ..self.clone()
        }
    }
}
