//! What turns gradients into steps: AdamW, or Adafactor as T-Few uses it.
//!
//! AdamW's update is one operation ([`peft_kernels::optim::AdamW`]); its state and its records are burn's. Adafactor is
//! burn's. It is held below against Hugging Face Transformers', which T-Few (Liu et al. 2022, arXiv:2205.05638) trains
//! with: an external learning rate (`relative_step=False`) that is multiplied by each parameter's root mean square
//! (`scale_parameter=True`, at least 1e-3), updates clipped at 1, decay rate -0.8, no first moment. They differ in the
//! weight decay alone: burn's, as PyTorch's, subtracts rate × decay × weight; Transformers' multiplies that by the root
//! mean square too. T-Few has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::ParamGroup;
use burn::optim::{AdafactorConfig, AdamWState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Which optimizer changes the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).
    #[default]
    AdamW,
    /// Second moments kept by row and by column, and steps in proportion to the weights (Shazeer and Stern 2018,
    /// arXiv:1804.04235).
    Adafactor,
}

/// What gradients are multiplied with on their way into an optimizer: 1 until it is set. Clones are one number, so that a
/// loop which has given the optimizer away still has a hand on it: clipping costs no pass over the gradients.
#[derive(Clone, Debug)]
pub struct Factor(Arc<AtomicU64>);

impl Default for Factor {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1f64.to_bits())))
    }
}

impl Factor {
    /// Sets it for all steps to come.
    pub fn set(&self, factor: f64) {
        self.0.store(factor.to_bits(), Ordering::Relaxed);
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// The optimizer of `settings`, which multiplies gradients with `factor`; vectors (biases, normalisations) are not
/// decayed.
pub fn optimizer(settings: &Settings, factor: &Factor) -> ModuleOptimizer {
    let decay = settings.weight_decay as f32;
    let vectors = ParamGroup::from_predicate(".vectors.");
    match settings.optimizer {
        OptimizerKind::AdamW => {
            let of = |weight_decay| AdamW { weight_decay, factor: factor.clone() };
            ModuleOptimizer::from(of(decay)).with_group(vectors, of(0.0), None)
        }
        OptimizerKind::Adafactor => {
            let config = AdafactorConfig::new().with_relative_step(false);
            let of = |config: AdafactorConfig| Multiplied { by: config.build(), factor: factor.clone() };
            ModuleOptimizer::from(of(config.clone().with_weight_decay(decay))).with_group(vectors, of(config), None)
        }
    }
}

/// AdamW with the numbers that everyone uses.
#[derive(Clone)]
struct AdamW {
    weight_decay: f32,
    factor: Factor,
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        weight: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let (before, moments) = match state.map(|state| state.momentum) {
            Some(momentum) => (momentum.time, Some([momentum.moment_1, momentum.moment_2])),
            None => (0, None),
        };
        let step = peft_kernels::optim::AdamW {
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            learning_rate,
            weight_decay: f64::from(self.weight_decay),
            time: before + 1,
            factor: self.factor.get(),
        };
        let (weight, [first, second]) = step.step(weight, grad, moments);
        (weight, Some(AdamWState::new(AdaptiveMomentumState::new(before + 1, first, second))))
    }

    fn to_device<const D: usize>(mut state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

/// One of burn's optimizers behind a [`Factor`].
#[derive(Clone)]
struct Multiplied<O> {
    by: O,
    factor: Factor,
}

impl<O: Optimizer> Optimizer for Multiplied<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        weight: Tensor<D>,
        grad: Tensor<D>,
        state: Option<O::State<D>>,
    ) -> (Tensor<D>, Option<O::State<D>>) {
        let grad = match self.factor.get() {
            1.0 => grad,
            factor => grad * factor,
        };
        self.by.step(learning_rate, weight, grad, state)
    }

    fn to_device<const D: usize>(state: O::State<D>, device: &Device) -> O::State<D> {
        O::to_device(state, device)
    }
}

#[cfg(test)]
mod tests;
